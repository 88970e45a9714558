"""The spinal cord in any image: mask, soft mask, centre line, and how far each slice is to be believed.

The head network says roughly where the cord runs. Axial sections about that line go through the cord network; what it
finds moves the sections onto the cord, and they go through it again. Every slice stands on its own evidence: where the
image shows no cord there is no mask, whatever lies above and below. Where there is one, its outline is moved to the image's own
edges, which neighbouring slices share.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from cospine.anatomy.belief import LEAST_LENGTH_MM, agreement_of, astray, confidence_in, in_one_stretch, medulla
from cospine.anatomy.edges import sharpen_outlines
from cospine.anatomy.evidence import Seen, look, search
from cospine.anatomy.localise import (
    CEREBELLUM_BRAINSTEM,
    FORAMEN_LEAST_ML,
    Head,
    Line,
    find_head,
    foramen_along,
    trace_centre_lines,
)
from cospine.anatomy.sections import Planes, planes_of, to_voxels
from cospine.space.grid import Grid

logger = logging.getLogger(__name__)

_TO_BRAINSTEM_MM, _BESIDE_BRAINSTEM_MM = 60.0, 8.0  # how far above a cord, and how near to its course, brainstem must be
_LEAST_CONFIDENCE = 0.25  # median over slices: less is no cord
_LEAST_BELOW_MM = 6.0  # of a centre line below the foramen magnum, to be looked at
_CLEAR_SHARE = 0.7  # of the planes along a course that the head network proposes: with so many that show a cord no other is tried
_DOUBTFUL_SHARE = 0.4  # with fewer along the best it is sought all over
_EXTEND_MM = 12.0
_ALONG_SIGMA_MM = 1.5  # smoothing along the cord, where planes are no stored slices
_SHARED_MM = 3.0  # along the cord, over which sections share their outline
_SOFT_MARGIN_MM = 16.0
LEAST_SHARE = 0.5  # of a voxel, from which on it is cord
BOLD_CSF_BRIGHTER = True
"""BOLD images are weighted by T2*, which is several times as long in CSF as in the cord; fresh CSF flows in besides."""
_LEAST_AGREEMENT = 0.5


@dataclass(frozen=True)
class CordSegmentation:
    """The cord in an image.

    Parameters
    ----------
    mask : ndarray (x, y, z), bool
        Voxels of which at least half is cord; empty when none was found.
    soft : ndarray (x, y, z), float32
        Probable share of cord of each voxel, 0 to 1.
    centre_line : ndarray (n, 3)
        RAS mm, top to bottom: one point a slice where slices are thick, else every 1.5 mm.
    slice_axis : int
        Stored axis closest to superior.
    confidence : ndarray (slices,)
        Of each stored slice along `slice_axis`, 0 to 1; 0 where there is no cord.
    reason : str
        Why there is none, else empty.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    soft: NDArray[np.float32] = field(repr=False)
    centre_line: NDArray[np.float64] = field(repr=False)
    slice_axis: int
    confidence: NDArray[np.float64] = field(repr=False)
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a cord."""
        return bool(self.mask.any())


def segment_cord(
    image: NDArray,
    grid: Grid,
    brain: NDArray | None = None,
    course_mm: NDArray | None = None,
    *,
    csf_brighter: bool | None = None,
) -> CordSegmentation:
    """Find the cord in an image of any contrast, orientation, slice thickness and field of view.

    Parameters
    ----------
    image : ndarray (x, y, z)
        One volume, or the temporal mean of a series.
    grid : Grid
        Its grid.
    brain : ndarray (x, y, z), bool, optional
        Brain mask, where one is known: its voxels are no cord, and the cord begins where it ends if the head network does not
        see where that is.
    course_mm : ndarray (n, 3), optional
        Where the cord is supposed to run, RAS mm: looked for there and nowhere else.
    csf_brighter : bool, optional
        Whether CSF is brighter than cord, where the contrast is known (`BOLD_CSF_BRIGHTER`); otherwise the image tells.

    Returns
    -------
    CordSegmentation
        On the input's grid, from the foramen magnum down to the end of the field of view.

    Raises
    ------
    ValueError
        When the image is not three-dimensional or does not fit the grid.
    """
    values = np.asarray(image, dtype=np.float32)
    if values.shape != grid.shape:
        raise ValueError(f"the image {values.shape} does not fit its grid {grid.shape}")
    if not values.max() > values.min():
        return no_cord(grid, "the image holds no signal")
    planes = planes_of(grid)
    head = find_head(values, grid)
    allowed = np.ones(len(planes.height_mm), dtype=bool)
    if head.foramen_mm is not None:
        allowed = _below(head.foramen_mm, planes)
    elif brain is not None and brain.any():
        allowed = planes.height_mm < planes.to_frame(grid.to_ras(np.argwhere(brain)))[:, 2].min() + 0.5 * planes.step_mm
    seen = _follow(values, grid, planes, head, allowed, course_mm)
    if seen is None:
        return no_cord(grid, _why_nothing(head, grid))
    course = seen.course(planes)
    if course_mm is None and not _leads_to_brainstem(head, planes, seen, course):
        return no_cord(grid, _why_nothing(head, grid))
    every = np.arange(seen.plane[seen.present].min(), seen.plane[seen.present].max() + 1)
    if head.foramen_mm is None:
        line = planes.to_ras(np.column_stack([course.at(planes.height_mm[every]), planes.height_mm[every]]))
        border = foramen_along(head.grid, head.probability, line)
        every = every[allowed[every] & (border is None or _below(border, planes)[every])]
    again = look(values, grid, planes, every, course.at(planes.height_mm[every]), course)
    agreement = agreement_of(seen, again)
    believed = again.present & (agreement >= _LEAST_AGREEMENT)
    kept = believed & ~astray(planes, again, believed)
    if head.brain_ml >= FORAMEN_LEAST_ML:
        kept &= ~medulla(planes, again, kept)
    confidence = confidence_in(planes, again, kept, agreement)
    kept = in_one_stretch(planes, again, kept, confidence)
    confidence[~kept] = 0
    least_mm = min(LEAST_LENGTH_MM, 0.6 * len(planes.height_mm) * planes.step_mm)
    if kept.sum() * planes.step_mm < least_mm or np.median(confidence[kept]) < _LEAST_CONFIDENCE:
        return no_cord(grid, _why_nothing(head, grid))
    found = _drawn(grid, planes, again, kept, confidence, csf_brighter)
    return found if brain is None else _without(found, brain, grid)


def given_segmentation(mask: NDArray, grid: Grid) -> CordSegmentation:
    """A cord mask that somebody gave, as if it had been found.

    Parameters
    ----------
    mask : ndarray (x, y, z)
        Above 0 in the cord.
    grid : Grid
        Its grid.

    Returns
    -------
    CordSegmentation
        With full confidence in every slice that holds some of the mask, and its centroids as centre line.
    """
    cord = np.asarray(mask) > 0
    axis, sign = grid.axis_of("S")
    if not cord.any():
        return no_cord(grid, "the given cord mask is empty")
    slices = np.moveaxis(cord, axis, 0)
    held = np.flatnonzero(slices.any(axis=(1, 2)))
    index = np.empty((len(held), 3))
    index[:, axis] = held
    index[:, [a for a in range(3) if a != axis]] = [ndimage.center_of_mass(slices[k]) for k in held]
    points = grid.to_ras(index[::-sign])
    if len(points) > 4 and grid.voxel_mm[axis] < 3.0:
        line = Line(points[:, 2], points[:, :2], np.ones(len(points)), 3.0)
        points = np.column_stack([line.at(points[:, 2]), points[:, 2]])
    confidence = np.asarray(slices.any(axis=(1, 2)), dtype=np.float64)
    return CordSegmentation(cord, cord.astype(np.float32), points, axis, confidence)


def no_cord(grid: Grid, reason: str) -> CordSegmentation:
    """What there is to say where no cord was found.

    Parameters
    ----------
    grid : Grid
        Of the image.
    reason : str
        Why there is none.
    """
    axis, _ = grid.axis_of("S")
    empty = np.zeros(grid.shape, dtype=np.float32, order="F")
    return CordSegmentation(empty > 0, empty, np.zeros((0, 3)), axis, np.zeros(grid.shape[axis]), reason)


def _below(foramen_mm: NDArray, planes: Planes) -> NDArray[np.bool_]:
    """Planes that lie below the foramen magnum, half of their thickness at least."""
    return planes.height_mm <= planes.to_frame(foramen_mm)[2]


def _leads_to_brainstem(head: Head, planes: Planes, seen: Seen, course: Line) -> bool:
    """Whether the course goes on into cerebellum or brainstem, where there is a whole brain above it to tell."""
    if not head.holds_brain:
        return True
    top = float(planes.height_mm[seen.plane[seen.present]].max())
    above = top + np.arange(0.0, _TO_BRAINSTEM_MM, 2.0)
    points = planes.to_ras(np.column_stack([course.at(above), above]))
    index = np.argwhere(head.probability[CEREBELLUM_BRAINSTEM] > 0.5)
    if len(index) == 0:
        return True
    return float(KDTree(head.grid.to_ras(index)).query(points)[0].min()) <= _BESIDE_BRAINSTEM_MM


def _without(found: CordSegmentation, brain: NDArray, grid: Grid) -> CordSegmentation:
    mask = found.mask & ~brain
    if not mask.any():
        return no_cord(grid, "all that looks like a cord lies in the brain mask")
    held = mask.any(axis=tuple(a for a in range(3) if a != found.slice_axis))
    soft = np.where(brain, np.float32(0), found.soft)
    return CordSegmentation(mask, soft, found.centre_line, found.slice_axis, np.where(held, found.confidence, 0.0))


def _why_nothing(head: Head, grid: Grid) -> str:
    bottom = head.brain_bottom_mm
    if not head.holds_brain or bottom is None:
        return "nothing in the field of view looks like a spinal cord"
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij")).reshape(3, -1).T
    below = bottom - 1.5 - float(grid.to_ras(corners)[:, 2].min())
    return f"a brain of {head.brain_ml:.0f} ml, no cord below it; the field of view ends {max(below, 0.0):.0f} mm below the brain"


# --- following the cord ---------------------------------------------------------------------------------------------


def _follow(image: NDArray, grid: Grid, planes: Planes, head: Head, allowed: NDArray, course_mm: NDArray | None) -> Seen | None:
    """Sections about the cord in every plane that shows it; None when no plane does."""
    proposed = trace_centre_lines(head.probability, head.grid) if course_mm is None else [course_mm]
    seen = None
    for line in proposed:
        frame = planes.to_frame(line)
        course = Line(frame[:, 2], frame[:, :2], np.ones(len(frame)), 6.0)
        margin = max(1.5, planes.step_mm / 2)
        between = (planes.height_mm <= frame[:, 2].max() + margin) & (planes.height_mm >= frame[:, 2].min() - margin)
        chosen = np.flatnonzero(allowed & between)
        if len(chosen) * planes.step_mm < min(_LEAST_BELOW_MM, 0.5 * len(allowed) * planes.step_mm):
            continue
        seen = _likelier(seen, look(image, grid, planes, chosen, course.at(planes.height_mm[chosen]), course))
        if seen.present.mean() >= _CLEAR_SHARE:
            break
    if course_mm is None and (seen is None or seen.present.mean() < _DOUBTFUL_SHARE):
        found = search(image, grid, planes, allowed, head)
        if found is not None:
            within = (planes.height_mm <= found.height_mm.max()) & (planes.height_mm >= found.height_mm.min())
            chosen = np.flatnonzero(allowed & within)
            seen = _likelier(seen, look(image, grid, planes, chosen, found.at(planes.height_mm[chosen]), found))
    if seen is None or not seen.present.any():
        return None
    for direction in (1, -1):
        seen = _extended(image, grid, planes, seen, allowed, direction)
    return seen


def _likelier(one: Seen | None, other: Seen) -> Seen:
    """Of two courses the one along which there is more of a cord, and more surely."""
    if one is None:
        return other
    worth = [float((seen.certainty * seen.present).sum()) for seen in (one, other)]
    return other if worth[1] > worth[0] else one


def _extended(image: NDArray, grid: Grid, planes: Planes, seen: Seen, allowed: NDArray, direction: int) -> Seen:
    """Go on from the end that the cord was seen at, as far as it is seen; `direction` +1 is downward."""
    count = max(1, round(_EXTEND_MM / planes.step_mm))
    while True:
        present = seen.plane[seen.present]
        end = int(present.max() if direction > 0 else present.min())
        ahead = end + direction * np.arange(1, count + 1)
        ahead = ahead[(ahead >= 0) & (ahead < len(allowed))]
        ahead = np.sort(ahead[allowed[ahead] & ~np.isin(ahead, seen.plane)])
        if ahead.size == 0:
            return seen
        course = seen.course(planes, max(5.0, planes.step_mm))
        more = look(image, grid, planes, ahead, course.at(planes.height_mm[ahead]), course)
        if not more.present.any():
            return seen
        seen = seen.joined(more)


# --- drawing --------------------------------------------------------------------------------------------------------


def _drawn(
    grid: Grid, planes: Planes, seen: Seen, kept: NDArray, confidence: NDArray, csf_brighter: bool | None
) -> CordSegmentation:
    shown = np.where(kept[:, None, None], seen.probability, 0)
    height = planes.height_mm[seen.plane]
    along_mm = max(_SHARED_MM, planes.step_mm)
    sharp = sharpen_outlines(seen.section, shown, seen.middle_mm, height, along_mm, csf_brighter=csf_brighter)
    sections, drawn = _smoothed_along(sharp, kept, planes)
    at = np.flatnonzero(drawn)
    soft = to_voxels(sections[at], grid, planes, seen.plane[at], seen.middle_mm[at], _SOFT_MARGIN_MM)
    mask = _filled(soft >= LEAST_SHARE, planes.slice_axis)
    first, last = np.flatnonzero(kept)[[0, -1]]
    every = np.arange(first, last + 1)
    height = height[every]
    weight = np.where(kept[every], np.maximum(confidence[every], 0.05), 0.0)
    # stored slices move one by one in EPI: where slices are thick the line goes through what each of them shows
    line = Line(height[kept[every]], seen.position_mm[every][kept[every]], weight[kept[every]], max(2.0, 0.4 * planes.step_mm))
    points = planes.to_ras(np.column_stack([line.at(height), height]))
    by_slice = _by_slice(grid, planes, seen, kept, confidence)
    by_slice[~mask.any(axis=tuple(a for a in range(3) if a != planes.slice_axis))] = 0
    soft[soft < 0.01] = 0
    return CordSegmentation(mask, soft, points, planes.slice_axis, by_slice)


def _smoothed_along(probability: NDArray, kept: NDArray, planes: Planes) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sections smoothed along the cord, and which of them are drawn; stored slices are left as they are."""
    if planes.stored is not None:
        return probability, kept
    drawn = kept.copy()
    # one plane without a cord between two that have one: less than a slice's thickness
    drawn[1:-1] |= kept[:-2] & kept[2:]
    weight = kept.astype(np.float32)
    sigma = _ALONG_SIGMA_MM / planes.step_mm
    total = ndimage.gaussian_filter1d(probability * weight[:, None, None], sigma, axis=0, mode="constant")
    share = ndimage.gaussian_filter1d(weight, sigma, mode="constant")
    return np.where(drawn[:, None, None], total / np.maximum(share, 1e-3)[:, None, None], 0).astype(np.float32), drawn


def _filled(mask: NDArray, axis: int) -> NDArray[np.bool_]:
    slices = np.moveaxis(mask, axis, 0)
    for k in np.flatnonzero(slices.any(axis=(1, 2))):
        slices[k] = ndimage.binary_fill_holes(slices[k])
    return mask


def _by_slice(grid: Grid, planes: Planes, seen: Seen, kept: NDArray, confidence: NDArray) -> NDArray[np.float64]:
    """Confidence of stored slices from that of planes."""
    result = np.zeros(grid.shape[planes.slice_axis])
    if planes.stored is not None:
        result[planes.stored[seen.plane]] = np.where(kept, confidence, 0)
        return result
    points = planes.to_ras(np.column_stack([seen.position_mm, planes.height_mm[seen.plane]]))
    crossed = grid.to_voxel(points)[:, planes.slice_axis]
    order = np.argsort(crossed)
    return np.interp(np.arange(len(result)), crossed[order], np.where(kept, confidence, 0.0)[order])
