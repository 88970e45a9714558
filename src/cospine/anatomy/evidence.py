"""What the cord network sees in sections: whether there is a cord, where, and how surely."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy import network
from cospine.anatomy.localise import Head, Line, best_path
from cospine.anatomy.network import SECTION_PIXEL_MM, SECTION_SIZE
from cospine.anatomy.sections import Planes, sample_sections
from cospine.space.grid import Grid

AREA_MM2 = (15.0, 250.0)  # of a section across the cord or the medulla; outside of it nothing is one
_LEAST_MEAN = 0.7  # mean probability inside of what may be a cord
_LEAST_IN_VIEW = 0.1
_OUTLINE_PIXELS = 2  # what belongs to a cord's soft edge
_PRIOR_MM = 7.0
_SEARCH_STRIDE_MM = 20.0
_SEARCH_LEVEL_MM = 5.0
_SEARCH_MOST = 700  # sections
_SEARCH_ABOVE_MM = 20.0  # the brain's lowest point: the cord may begin so far above it
_SEARCH_PIXEL_MM = 3.0
_SEARCH_LEAST_MM = 10.0
_SEARCH_NEAR_MM = 6.0
_LINE_SIGMA_MM = 5.0

_ROWS, _COLUMNS = (np.indices((SECTION_SIZE, SECTION_SIZE)) - (SECTION_SIZE - 1) / 2) * SECTION_PIXEL_MM


@dataclass(frozen=True)
class Seen:
    """Sections looked at.

    Parameters
    ----------
    plane : ndarray (n,) of int
        Which of the planes each section lies in.
    middle_mm : ndarray (n, 2)
        Middle of each section: right, anterior.
    section : ndarray (n, 64, 64)
        What the network was shown.
    probability : ndarray (n, 64, 64)
        Of cord, kept to the one body that was picked and its soft edge; 0 throughout where there is none.
    present : ndarray (n,) of bool
        Whether there is a cord.
    position_mm : ndarray (n, 2)
        Its centroid; the section's middle where there is none.
    area_mm2 : ndarray (n,)
        In the plane.
    certainty : ndarray (n,)
        How far the probabilities in and about it are from one half, 0 to 1.
    """

    plane: NDArray[np.int_]
    middle_mm: NDArray[np.float64] = field(repr=False)
    section: NDArray[np.float32] = field(repr=False)
    probability: NDArray[np.float32] = field(repr=False)
    present: NDArray[np.bool_] = field(repr=False)
    position_mm: NDArray[np.float64] = field(repr=False)
    area_mm2: NDArray[np.float64] = field(repr=False)
    certainty: NDArray[np.float64] = field(repr=False)

    def joined(self, other: "Seen") -> "Seen":
        """Both together, by plane."""
        order = np.argsort(np.concatenate([self.plane, other.plane]), kind="stable")
        names = self.__dataclass_fields__
        return Seen(*(np.concatenate([getattr(self, name), getattr(other, name)])[order] for name in names))

    def course(self, planes: Planes, sigma_mm: float = _LINE_SIGMA_MM) -> Line:
        """The smooth line through the cord where it is present."""
        at = self.present
        return Line(planes.height_mm[self.plane[at]], self.position_mm[at], self.certainty[at] + 0.05, sigma_mm)


def look(image: NDArray, grid: Grid, planes: Planes, chosen: NDArray, middle_mm: NDArray, course: Line | None = None) -> Seen:
    """Run the cord network on sections and pick the one body in each that is the cord.

    Parameters
    ----------
    image : ndarray (x, y, z), float32
        Values.
    grid : Grid
        Their grid.
    planes : Planes
        Where sections may lie.
    chosen : ndarray (n,) of int
        Which of them.
    middle_mm : ndarray (n, 2)
        Where the cord is supposed.
    course : Line, optional
        Along which thin slices are averaged.
    """
    sections, in_view = sample_sections(image, grid, planes, chosen, middle_mm, course)
    shown = network.normalise_section(sections, in_view)
    raw = network.run_cord(shown) if len(shown) else np.zeros_like(shown)
    raw[~in_view] = 0.0
    n = len(chosen)
    kept = np.zeros_like(raw)
    present, position = np.zeros(n, dtype=bool), np.array(middle_mm, dtype=np.float64)
    area, certainty = np.zeros(n), np.zeros(n)
    for k in range(n):
        if in_view[k].mean() < _LEAST_IN_VIEW or not shown[k].any():
            continue
        body = _picked(raw[k])
        if body is None:
            continue
        outline = ndimage.binary_dilation(body, iterations=_OUTLINE_PIXELS)
        kept[k] = np.where(outline, raw[k], 0)
        area[k] = kept[k].sum() * SECTION_PIXEL_MM**2
        if not AREA_MM2[0] <= area[k] <= AREA_MM2[1] or raw[k][body].mean() < _LEAST_MEAN:
            kept[k], area[k] = 0, 0
            continue
        present[k] = True
        certainty[k] = np.abs(2 * raw[k][outline] - 1).mean()
        mass = kept[k].sum()
        position[k] += (kept[k] * _COLUMNS).sum() / mass, (kept[k] * _ROWS).sum() / mass
    return Seen(np.asarray(chosen), np.asarray(middle_mm, dtype=np.float64), shown, kept, present, position, area, certainty)


def _picked(probability: NDArray) -> NDArray[np.bool_] | None:
    """The body with the most probability near the middle; None when nothing reaches one half."""
    likely = probability >= 0.5
    if not likely.any():
        return None
    labels = np.empty(likely.shape, dtype=np.int32)
    ndimage.label(likely, output=labels)
    count = int(labels.max())
    if count == 1:
        return likely
    near = probability * np.exp(-0.5 * (_ROWS**2 + _COLUMNS**2) / _PRIOR_MM**2)
    mass = np.bincount(labels.ravel(), near.ravel(), minlength=count + 1)
    mass[0] = 0
    return labels == int(np.argmax(mass))


def search(image: NDArray, grid: Grid, planes: Planes, allowed: NDArray, head: Head) -> Line | None:
    """Look for a cord all over the field of view, for images in which the head network does not see where it runs.

    Parameters
    ----------
    image : ndarray (x, y, z), float32
        Values.
    grid : Grid
        Their grid.
    planes : Planes
        Where sections may lie.
    allowed : ndarray (planes,) of bool
        Where a cord may be.
    head : Head
        What it calls brain is no cord.

    Returns
    -------
    Line or None
        In the planes' frame; None where nothing was found.
    """
    candidates = np.flatnonzero(allowed)
    if head.holds_brain and head.brain_bottom_mm is not None:  # the cord is not beside the brain but below it
        bottom = planes.to_frame(np.array([*grid.centre[:2], head.brain_bottom_mm]))[2]
        candidates = candidates[planes.height_mm[candidates] <= bottom + _SEARCH_ABOVE_MM]
    if candidates.size == 0:
        return None
    low, high = _extent(grid, planes)
    across = [np.arange(n) * s + a for n, s, a in (_windows(low[axis], high[axis]) for axis in (0, 1))]
    middles = np.stack(np.meshgrid(*across, indexing="ij"), axis=-1).reshape(-1, 2)
    stride = max(1, round(_SEARCH_LEVEL_MM / planes.step_mm), int(np.ceil(len(middles) * candidates.size / _SEARCH_MOST)))
    levels = candidates[::stride]
    plane = np.repeat(levels, len(middles))
    seen = look(image, grid, planes, plane, np.tile(middles, (len(levels), 1)))
    places = planes.to_ras(np.column_stack([seen.position_mm, planes.height_mm[plane]]))
    at = np.flatnonzero(seen.present & ~head.in_brain(places))
    if at.size == 0:
        return None
    level = np.searchsorted(levels, seen.plane[at])
    evidence = _stamped(level, (seen.position_mm[at] - low) / _SEARCH_PIXEL_MM, seen.certainty[at], len(levels), (high - low))
    step = planes.step_mm * stride
    first, path = best_path(evidence, np.full(2, _SEARCH_PIXEL_MM), step)
    if len(path) == 0 or len(path) * step < min(_SEARCH_LEAST_MM, 0.6 * candidates.size * planes.step_mm):
        return None
    # from the pixels of the path to the candidates it leads through
    on = low + path[np.clip(level - first, 0, len(path) - 1)] * _SEARCH_PIXEL_MM
    near = np.linalg.norm(seen.position_mm[at] - on, axis=1) < _SEARCH_NEAR_MM
    near &= (level >= first) & (level < first + len(path))
    if not near.any():
        return None
    height, position = planes.height_mm[seen.plane[at]][near], seen.position_mm[at][near]
    return Line(height, position, seen.certainty[at][near], max(_LINE_SIGMA_MM, step))


def _stamped(level: NDArray, pixel: NDArray, certainty: NDArray, levels: int, extent_mm: NDArray) -> NDArray[np.float32]:
    """Evidence on a grid: each candidate's certainty, falling off about it."""
    shape = np.ceil(extent_mm / _SEARCH_PIXEL_MM).astype(int) + 1
    evidence = np.zeros((levels, *shape), dtype=np.float32)
    for k, (i, j), sure in zip(level, pixel, certainty, strict=True):
        for a in range(max(int(i) - 1, 0), min(int(i) + 3, shape[0])):
            for b in range(max(int(j) - 1, 0), min(int(j) + 3, shape[1])):
                here = sure * np.exp(-0.5 * ((a - i) ** 2 + (b - j) ** 2))
                evidence[k, a, b] = max(evidence[k, a, b], here)
    return evidence


def _extent(grid: Grid, planes: Planes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest right and anterior position of the field of view."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij")).reshape(3, -1).T
    frame = planes.to_frame(grid.to_ras(corners))[:, :2]
    return frame.min(axis=0), frame.max(axis=0)


def _windows(low: float, high: float) -> tuple[int, float, float]:
    """Number, distance and first middle of windows that cover an extent, their outer half-strides inside of it."""
    count = max(1, int(np.ceil((high - low) / _SEARCH_STRIDE_MM)))
    return count, (high - low) / count, low + (high - low) / count / 2
