"""Head and cord of one run: found, followed, brought back to where they were."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.brain_mask import find_brain
from cospine.anatomy.cord_mask import CordMask, find_cord, mask_geometry
from cospine.errors import CoSpineError
from cospine.motion.brain import HeadMotion, estimate_head_motion
from cospine.motion.cord import CordMotion, estimate_cord_motion
from cospine.motion.handover import acquisition_times, head_share, slice_matrices, through_plane_mm
from cospine.space.grid import Grid
from cospine.space.resample import aligned_moments, spread_volumes

_MEAN_VOLUMES = 40  # that the reference is the mean of


@dataclass(frozen=True)
class Given:
    """Masks that the user gave; None where ours are to be used."""

    brain: NDArray[np.bool_] | None = field(default=None, repr=False)
    cord: NDArray[np.bool_] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Masks:
    """Where brain and cord are in one image, and why one of them is not."""

    brain: NDArray[np.bool_] = field(repr=False)
    cord: CordMask = field(repr=False)
    brain_reason: str = ""


@dataclass(frozen=True)
class Motion:
    """All that is known of a run's motion.

    Parameters
    ----------
    masks : Masks
        On the reference.
    reference : ndarray (x, y, z), float32
        Mean of the aligned volumes, distorted as they are: `desc-hmc_boldref`.
    head, cord : HeadMotion, CordMotion or None
        None where the region is not in the field of view or was not asked for.
    times_s : ndarray (t, slices)
        Acquisition time of every slice.
    share : ndarray (slices,)
        How much of its motion a slice takes from the head.
    matrices : ndarray (t, slices, 4, 4)
        Reference voxel to stored voxel.
    through_plane_mm : float
        RMS through-plane motion that the neck's in-plane correction leaves out.
    """

    masks: Masks
    reference: NDArray[np.float32] = field(repr=False)
    head: HeadMotion | None
    cord: CordMotion | None
    times_s: NDArray[np.float64] = field(repr=False)
    share: NDArray[np.float64] = field(repr=False)
    matrices: NDArray[np.float64] = field(repr=False)
    through_plane_mm: float

    @property
    def regions(self) -> dict[str, NDArray[np.bool_]]:
        """Masks of the regions that are there, by name."""
        masks = {"brain": self.masks.brain, "cord": self.masks.cord.mask}
        return {name: mask for name, mask in masks.items() if mask.any()}


def find_masks(mean: NDArray, grid: Grid, regions: tuple[str, ...], given: Given, slice_axis: int) -> Masks:
    """Brain and cord of a mean volume, or those given; empty with a reason where not wanted or not there."""
    none = np.zeros(grid.shape, dtype=bool)
    if given.brain is not None:
        brain, reason = given.brain, ""
    else:
        # the brain is looked for even when only the cord is wanted: it tells where the cord begins
        found = find_brain(mean, grid)
        brain, reason = found.mask, found.reason
    if regions and "cord" not in regions:
        cord = _without_cord(grid, "not asked for")
    elif given.cord is not None:
        if slice_axis != 2 or grid.axis_of("S")[0] != 2:
            raise CoSpineError(
                "slices are not axial along the third voxel axis: the cord cannot be followed in them",
                "cord mask",
                "Leave the cord out with --regions brain, or store the series with axial slices along k",
            )
        cord = mask_geometry(given.cord, grid)
    else:
        cord = find_cord(mean, grid, brain, slice_axis)
    if regions and "brain" not in regions:
        brain, reason = none, "not asked for"
    return Masks(brain, cord, reason)


def follow_motion(
    series: NDArray,
    grid: Grid,
    tr_s: float,
    slice_times_s: NDArray | None,
    masks: Masks,
    *,
    regions: tuple[str, ...] = (),
    given: Given = Given(),
    dummies: int = 0,
    slice_axis: int = 2,
) -> Motion:
    """Estimate head and cord motion of a series and join them.

    Parameters
    ----------
    series : ndarray (x, y, z, t), float32, Fortran order
        Stored series.
    grid : Grid
        Its grid.
    tr_s : float
        Time between volumes.
    slice_times_s : ndarray (slices,), optional
        From the start of a volume.
    masks : Masks
        On the plain mean of the series.
    regions : tuple of str
        Regions asked for; empty for what there is.
    given : Given
        Masks of the user.
    dummies : int
        Volumes at the start not in steady state.
    slice_axis : int
        Stored axis of the slices.
    """
    volumes, slices = series.shape[3], grid.shape[2]
    times = acquisition_times(volumes, slices, tr_s, slice_times_s)
    head = estimate_head_motion(series, grid, masks.brain, skip=dummies) if masks.brain.any() else None
    cord = None
    if masks.cord.found:
        cord = estimate_cord_motion(series, grid, masks.cord.weight, times, head, skip=dummies)
    # the mean of some volumes, each slice brought back as it will be in the end
    share = _share(grid, masks, head, cord)
    rough = slice_matrices(grid, share, times, head, cord)
    chosen = spread_volumes(volumes, _MEAN_VOLUMES, dummies)
    reference, _ = aligned_moments(series, rough, chosen)
    # the sharper reference may refine a mask, but a region stays one only where its motion was measured
    refined = find_masks(reference, grid, regions, given, slice_axis)
    keep_brain = head is None or not refined.brain.any()
    final = Masks(
        masks.brain if keep_brain else refined.brain,
        masks.cord if cord is None or not refined.cord.found else refined.cord,
        masks.brain_reason if keep_brain else refined.brain_reason,
    )
    share = _share(grid, final, head, cord)
    matrices = slice_matrices(grid, share, times, head, cord)
    left = through_plane_mm(grid, head, share) if head is not None and cord is not None else 0.0
    return Motion(final, reference, head, cord, times, share, matrices, left)


def count_dummies(series: NDArray, asked: str) -> int:
    """Volumes at the start that are not in steady state.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Stored series.
    asked : str
        A number, or ``auto``: leading volumes whose mean lies far above the rest (modified z-score beyond 3.5, Iglewicz &
        Hoaglin 1993) and by more than 1 %.
    """
    if asked != "auto":
        return min(int(asked), series.shape[3] - 1)
    level = series.mean(axis=(0, 1, 2), dtype=np.float64)[:50]
    rest = level[len(level) // 2 :]
    middle = float(np.median(rest))
    spread = 1.4826 * float(np.median(np.abs(rest - middle)))
    high = level > middle + max(3.5 * spread, 0.01 * abs(middle))
    return int(np.argmin(high)) if not high.all() else 0


def _share(grid: Grid, masks: Masks, head: HeadMotion | None, cord: CordMotion | None) -> NDArray[np.float64]:
    brain = masks.brain if head is not None else np.zeros_like(masks.brain)
    return head_share(grid, brain, cord is not None)


def _without_cord(grid: Grid, reason: str) -> CordMask:
    none = np.zeros(0)
    empty = np.zeros(grid.shape, dtype=np.float32)
    return CordMask(empty.astype(bool), empty, none.astype(int), none.reshape(0, 2), none, reason)
