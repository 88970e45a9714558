"""Vertebral levels and spinal segments of a cord: which disc is where, and how surely.

The count hangs on an anchor: the pontomedullary junction, which comes with the brain's alignment to MNI, or the foramen magnum,
or a disc that somebody named. From there the discs follow by the template's spacing and by what the image shows
(:mod:`cospine.anatomy.discs`). Without an anchor discs are named only where the picture itself leaves no doubt of the count.

Vertebral levels and spinal segments are two systems: the spinal segment C6 lies about the C4-C5 disc.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cospine.anatomy.discs import Placement, place_discs
from cospine.anatomy.neck import Neck, disc_features, extended_line, project, straighten
from cospine.anatomy.segmentation import CordSegmentation
from cospine.errors import CoSpineError
from cospine.space.cord_template import CordTemplate
from cospine.space.grid import Grid

_log = logging.getLogger(__name__)

# The middle of the medulla at the height of the pontomedullary junction, whose anterior notch is at (0, -31, -49) in MNI152.
_PMJ_MNI = np.array([0.0, -38.5, -49.0])
_ABOVE_PMJ_MNI = np.array([0.0, -38.5, -29.0])
_PMJ_SD_MM = 5.0  # of the length from there to the top of C1, people and alignment together
_FORAMEN_SD_MM = 6.0
_GIVEN_SD_MM = 1.0
# T2 .. T5 after PAM50's discs 10 .. 13: below the template's end the count goes on, where a field of view does
_THORACIC_MM = (23.0, 23.0, 24.5, 25.5)
_BEYOND_TOP_MM, _BEYOND_BOTTOM_MM = 6.0, 2.0
_MAY_BE_ELSEWHERE = 0.1
_SHOWS = 0.0  # log likelihood ratio of a disc's look
_FARTHEST_MM = 45.0  # of a given disc from the cord's middle: a disc's front edge is 30 mm away

_CERVICAL, _THORACIC, _LUMBAR, _SACRAL = 7, 12, 5, 5


class PointMap(Protocol):
    """Anything that maps points (..., 3) in RAS mm."""

    def map(self, points: NDArray) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Levels:
    """Discs of one person, on the cord.

    Parameters
    ----------
    discs : mapping of int to ndarray (3,)
        Disc number to the point of the cord's centre line at the disc's height, RAS mm. SCT's numbers: 1 is the top of C1, 2
        C1-C2, 3 C2-C3 and so on. Those in view; empty where they could not be named.
    confidence : mapping of int to float
        Probability that the disc is within 3 mm of that point; 1 for given ones.
    method : str
        How they were found, for sidecars and reports.
    reason : str
        What is in doubt, or why there are none; else empty.
    unnamed : ndarray (n, 3)
        Discs that show but could not be counted, on the cord's centre line, RAS mm, top to bottom.
    """

    discs: Mapping[int, NDArray[np.float64]]
    confidence: Mapping[int, float]
    method: str
    reason: str = ""
    unnamed: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))

    @property
    def found(self) -> bool:
        """Whether discs are named."""
        return bool(self.discs)


def find_levels(
    image: NDArray,
    grid: Grid,
    cord: CordSegmentation,
    template: CordTemplate,
    to_mni: PointMap | None = None,
    *,
    foramen_mm: NDArray | None = None,
    given: Mapping[int, NDArray] | None = None,
) -> Levels:
    """Find and name the discs beside a cord.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Image of any contrast that shows the vertebral column.
    grid : Grid
        Its grid.
    cord : CordSegmentation
        The cord in it.
    template : CordTemplate
        Whose spacing of discs is expected.
    to_mni : transform, optional
        MNI point to point of the image (the transform that brings the image to MNI): anchors the count at the brainstem.
    foramen_mm : ndarray (3,), optional
        Where the brainstem becomes cord, RAS mm: a second anchor.
    given : mapping of int to ndarray (3,), optional
        Discs that somebody named (:func:`read_discs`), RAS mm, in front of the cord or on it. They stay where they are; the
        others are found around them, and no other anchor is asked.

    Returns
    -------
    Levels

    Raises
    ------
    CoSpineError
        When given discs are far from the cord or out of order.
    """
    if not cord.found or len(cord.centre_line) < 2:
        return Levels({}, {}, "none", cord.reason or "no cord was found to count levels along")
    numbers, height_mm = _spacing(template)
    neck = straighten(image, grid, cord.centre_line)
    fixed = _given_positions(given or {}, neck, numbers)
    anchors, anchor = _anchors(neck, template, to_mni, foramen_mm, fixed)
    placed = place_discs(neck, numbers, height_mm, anchors)
    position = dict(zip(numbers, placed.position_mm.tolist(), strict=True)) | fixed
    in_view = [n for n in numbers if -_BEYOND_TOP_MM <= position[n] <= neck.length_mm + _BEYOND_BOTTOM_MM]
    rows = [numbers.index(n) for n in in_view]
    points = {n: _point(neck, position[n]) for n in in_view}
    method = f"{anchor}; discs matched along the cord to the spacing of {template.name}"
    discs_only = [row for row in rows if numbers[row] >= 3]
    doubt = float(placed.elsewhere[discs_only].max()) if discs_only else 1.0
    if not anchors and doubt > _MAY_BE_ELSEWHERE:
        shown = np.array([points[numbers[row]] for row in discs_only if placed.evidence[row] > _SHOWS]).reshape(-1, 3)
        reason = (
            f"{len(shown)} discs show, but nothing in the picture says which they are: "
            f"the count is off by one with a probability of {doubt:.0%}. Name one with --discs"
        )
        return Levels({}, {}, method, reason, shown)
    confidence = {n: 1.0 if n in fixed else float(placed.near[numbers.index(n)]) for n in in_view}
    levels = Levels(points, confidence, method, _doubts(neck, numbers, rows, placed, doubt, fixed))
    if levels.reason:
        _log.warning("vertebral levels: %s", levels.reason)
    return levels


def _spacing(template: CordTemplate) -> tuple[list[int], NDArray[np.float64]]:
    """Disc numbers, and the distances between neighbouring ones, on into the chest beyond the template's end."""
    known = sorted(template.discs)
    z = np.array([template.discs[n][2] for n in known])
    # PAM50's discs 10 .. 13; a template that itself goes further brings its own
    further = list(_THORACIC_MM[max(known[-1] - 9, 0) :])
    return list(range(known[0], known[-1] + len(further) + 1)), np.concatenate([-np.diff(z), further])


def _given_positions(given: Mapping[int, NDArray], neck: Neck, numbers: list[int]) -> dict[int, float]:
    """Positions along the neck of the discs that somebody named."""
    position: dict[int, float] = {}
    wrong = []
    for number, point in sorted(given.items()):
        along, away = project(neck.position_mm, neck.points, np.asarray(point, dtype=np.float64))
        if number not in numbers:
            continue  # lumbar ones: of no use here and no mistake
        if away > _FARTHEST_MM:
            wrong.append(f"disc {number} is {away:.0f} mm from the cord")
        position[number] = along
    order = sorted(position)
    for upper, lower in pairwise(order):
        if position[lower] - position[upper] < 5.0 * (lower - upper):
            gap = position[lower] - position[upper]
            wrong.append(f"disc {lower} is {gap:.1f} mm below disc {upper} along the cord")
    if wrong:
        raise CoSpineError("; ".join(wrong), "--discs", "give RAS mm of this image, numbers growing downwards (3 = C2-C3)")
    return position


def _anchors(
    neck: Neck, template: CordTemplate, to_mni: PointMap | None, foramen_mm: NDArray | None, fixed: Mapping[int, float]
) -> tuple[dict[int, tuple[float, float]], str]:
    """What the count hangs on: disc to position and SD, and how to say so."""
    if fixed:
        return {n: (at, _GIVEN_SD_MM) for n, at in fixed.items()}, "given discs " + ", ".join(map(str, sorted(fixed)))
    top = template.discs[1]
    estimates, names = [], []
    if to_mni is not None:
        junction, above = to_mni.map(np.stack([_PMJ_MNI, _ABOVE_PMJ_MNI]))
        at, away = project(neck.position_mm, neck.points, junction)
        length = float(np.linalg.norm(top - _PMJ_MNI)) * float(np.linalg.norm(above - junction))
        length /= float(np.linalg.norm(_ABOVE_PMJ_MNI - _PMJ_MNI))
        if away < _FARTHEST_MM:
            estimates.append((at + length, _PMJ_SD_MM))
            names.append("pontomedullary junction by the brain's alignment to MNI")
    if foramen_mm is not None:
        at, _ = project(neck.position_mm, neck.points, np.asarray(foramen_mm, dtype=np.float64))
        estimates.append((at + float(template.centre_line[0, 2] - top[2]), _FORAMEN_SD_MM))
        names.append("foramen magnum")
    if not estimates:
        return {}, "no anchor"
    weight = np.array([sd**-2 for _, sd in estimates])
    at = float(weight @ np.array([place for place, _ in estimates]) / weight.sum())
    # both come from the same brain: together hardly surer than the better one
    return {1: (at, min(sd for _, sd in estimates))}, "anchored at the " + " and the ".join(names)


def _doubts(neck: Neck, numbers: list[int], rows: list[int], placed: Placement, doubt: float, fixed: Mapping[int, float]) -> str:
    """What a reader must know before trusting named discs; empty when nothing."""
    seen = disc_features(neck).seen
    open_rows = [row for row in rows if numbers[row] >= 3 and numbers[row] not in fixed]
    if not open_rows:
        return ""
    if not np.interp(placed.position_mm[open_rows], neck.position_mm, seen.astype(float)).any():
        return "the vertebral column is not in view: discs by the template's spacing alone"
    if doubt > _MAY_BE_ELSEWHERE:
        return f"the count may be off by one vertebra (probability {doubt:.0%})"
    faint = [numbers[row] for row in open_rows if placed.evidence[row] <= _SHOWS]
    if len(faint) > len(open_rows) / 2:
        return f"disc{'s' if len(faint) > 1 else ''} {', '.join(map(str, faint))} hardly show: placed by the template's spacing"
    return ""


def _point(neck: Neck, position_mm: float) -> NDArray[np.float64]:
    """Point of the neck's line at a position."""
    return np.array([np.interp(position_mm, neck.position_mm, neck.points[:, axis]) for axis in range(3)])


def _along(mask: NDArray, grid: Grid, line: NDArray) -> tuple[tuple[NDArray[np.int_], ...], NDArray[np.float64]]:
    """Indices of a mask's voxels and their position along the centre line, mm."""
    index = np.nonzero(mask)
    position, points = extended_line(np.asarray(line, dtype=np.float64))
    _, nearest = KDTree(points).query(grid.to_ras(np.stack(index, axis=1)))
    return index, position[nearest]


def _disc_positions(levels: Levels, line: NDArray) -> tuple[list[int], NDArray[np.float64]]:
    """Disc numbers and their positions along the centre line."""
    position, points = extended_line(np.asarray(line, dtype=np.float64))
    numbers = sorted(levels.discs)
    return numbers, np.array([project(position, points, levels.discs[n])[0] for n in numbers])


def vertebral_labels(levels: Levels, centre_line: NDArray, mask: NDArray, grid: Grid) -> NDArray[np.uint8]:
    """Vertebral level of each voxel of the cord.

    Parameters
    ----------
    levels : Levels
        Discs in view.
    centre_line : ndarray (n, 3)
        Of the cord, RAS mm, top to bottom.
    mask : ndarray (x, y, z), bool
        The cord.
    grid : Grid
        Its grid.

    Returns
    -------
    ndarray (x, y, z), uint8
        C1 = 1 .. C7 = 7, T1 = 8 ..; 0 outside of the mask and above C1. A vertebra cut off by the field of view keeps its
        number. All 0 when no disc is named.
    """
    labels = np.zeros(mask.shape, dtype=np.uint8, order="F")
    if levels.found and mask.any():
        index, along = _along(mask, grid, centre_line)
        numbers, position = _disc_positions(levels, centre_line)
        labels[index] = np.searchsorted(position, along, side="right") + numbers[0] - 1
    return labels


def spinal_labels(levels: Levels, centre_line: NDArray, mask: NDArray, grid: Grid, template: CordTemplate) -> NDArray[np.uint8]:
    """Spinal segment of each voxel of the cord, by the template's relation of segments to discs.

    Parameters
    ----------
    levels : Levels
        Discs in view.
    centre_line : ndarray (n, 3)
        Of the cord, RAS mm, top to bottom.
    mask : ndarray (x, y, z), bool
        The cord.
    grid : Grid
        Its grid.
    template : CordTemplate
        Whose spinal segments are meant.

    Returns
    -------
    ndarray (x, y, z), uint8
        C1 = 1 .. C8 = 8, T1 = 9 ..; 0 outside of the mask, above C1 and below the template's last segment. All 0 when fewer than
        two discs that the template has are named. Not the vertebral level.
    """
    labels = np.zeros(mask.shape, dtype=np.uint8, order="F")
    numbers, position = _disc_positions(levels, centre_line) if levels.found else ([], np.empty(0))
    known = [row for row, n in enumerate(numbers) if n in template.discs]
    if len(known) < 2 or not mask.any():
        return labels
    index, along = _along(mask, grid, centre_line)
    place = position[known]
    height = np.array([template.discs[numbers[row]][2] for row in known])
    # at the ends the nearest vertebra's scale goes on
    slope = np.diff(height) / np.diff(place)
    place = np.concatenate([[place[0] - 100.0], place, [place[-1] + 100.0]])
    height = np.concatenate([[height[0] - 100.0 * slope[0]], height, [height[-1] + 100.0 * slope[-1]]])
    z = np.interp(along, place, height)
    edges, segments = segment_edges(template)
    row = np.searchsorted(-edges, -z, side="right") - 1
    inside = (row >= 0) & (row < len(segments))
    labels[tuple(axis[inside] for axis in index)] = segments[row[inside]]
    return labels


def segment_edges(template: CordTemplate) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Heights between a template's spinal segments.

    Returns
    -------
    edge_mm : ndarray (segments + 1,)
        RAS z from the upper edge of the first segment to the lower edge of the last, falling.
    segments : ndarray (segments,), uint8
        C1 = 1 .. C8 = 8, T1 = 9 ..
    """
    up, sign = template.grid.axis_of("S")
    of_slice = np.moveaxis(template.spinal, up, 0).reshape(template.grid.shape[up], -1).max(axis=1)
    slices = np.flatnonzero(of_slice)[::-sign]
    heights = np.zeros((len(slices), 3))
    heights[:, up] = slices
    z = template.grid.to_ras(heights)[:, 2]
    half = template.grid.voxel_mm[up] / 2
    segments, first = np.unique(of_slice[slices], return_index=True)
    return np.concatenate([z[first] + half, [z[-1] - half]]), segments.astype(np.uint8)


def vertebra_name(level: int) -> str:
    """Name of a vertebral level: 1 is C1, 8 is T1, 20 is L1."""
    return _name(level, _CERVICAL)


def segment_name(segment: int) -> str:
    """Name of a spinal segment: 1 is C1, 8 is C8, 9 is T1."""
    return _name(segment, _CERVICAL + 1)


def _name(number: int, cervical: int) -> str:
    left = number
    for letter, count in (("C", cervical), ("T", _THORACIC), ("L", _LUMBAR), ("S", _SACRAL)):
        if 1 <= left <= count:
            return f"{letter}{left}"
        left -= count
    raise ValueError(f"no level has the number {number}")


def disc_name(disc: int) -> str:
    """Name of a disc as SCT counts: 1 is the top of C1, 3 is C2-C3."""
    return "top of C1" if disc == 1 else f"{vertebra_name(disc - 1)}-{vertebra_name(disc)}"


def vertebrae_table(labels: NDArray) -> dict[str, list[int] | list[str]]:
    """Columns of the table beside an image of vertebral levels: those that occur in it."""
    present = np.unique(labels[labels > 0]).astype(int).tolist()
    return {"index": present, "name": [vertebra_name(n) for n in present], "system": ["vertebral level"] * len(present)}


def segments_table(labels: NDArray) -> dict[str, list[int] | list[str]]:
    """Columns of the table beside an image of spinal segments: those that occur in it."""
    present = np.unique(labels[labels > 0]).astype(int).tolist()
    return {"index": present, "name": [segment_name(n) for n in present], "system": ["spinal segment"] * len(present)}
