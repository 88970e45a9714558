"""From head to cord without a step: one map a slice and volume.

Above the foramen magnum a slice follows the head's pose at its own acquisition time, in the neck the cord's shift; across
the brainstem one passes smoothly into the other.
"""

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.motion.brain import HeadMotion
from cospine.motion.cord import CordMotion
from cospine.space.grid import Grid
from cospine.space.transform import rigid_matrix

_ABOVE_MM, _BELOW_MM = 8.0, 16.0  # the hand-over begins and ends this far from the brain's lowest slice


def acquisition_times(volumes: int, slices: int, tr_s: float, slice_times_s: NDArray | None) -> NDArray[np.float64]:
    """When every slice of every volume was acquired.

    Parameters
    ----------
    volumes, slices : int
        Size of the series.
    tr_s : float
        Time between volumes.
    slice_times_s : ndarray (slices,), optional
        From the start of a volume; the middle of the volume for all slices when not known.

    Returns
    -------
    ndarray (volumes, slices)
        Seconds from the start of the first volume.
    """
    offset = np.full(slices, tr_s / 2) if slice_times_s is None else np.asarray(slice_times_s, dtype=np.float64)
    return np.add.outer(np.arange(volumes) * tr_s, offset)


def head_share(grid: Grid, brain: NDArray, has_cord: bool, above_mm: float = _ABOVE_MM, below_mm: float = _BELOW_MM) -> NDArray:
    """How much of its displacement each slice takes from the head (1) rather than what is below it (0), shape (slices,).

    One passes into the other from `above_mm` above to `below_mm` below the brain's lowest slice.
    """
    if not has_cord:
        return np.ones(grid.shape[2])
    if not brain.any():
        return np.zeros(grid.shape[2])
    axis, sign = grid.axis_of("S")
    held = np.flatnonzero(brain.any(axis=(0, 1)))
    lowest = held.min() if sign > 0 else held.max()
    if axis != 2:
        raise CoSpineError(
            "slices are not stacked along the body's long axis: there is no hand-over from head to cord",
            "cord mask",
            "leave the cord out with --regions brain, or the brain with --regions cord",
        )
    height = (np.arange(grid.shape[2]) - lowest) * sign * float(grid.voxel_mm[2])
    part = np.clip((height + below_mm) / (above_mm + below_mm), 0, 1)
    return part * part * (3 - 2 * part)


def head_at(head: HeadMotion, times_s: NDArray) -> NDArray[np.float64]:
    """Head motion parameters at each slice's own time, linear between the volumes' mean times, (t, slices, 6)."""
    middle = times_s.mean(axis=1)
    flat = times_s.ravel()
    columns = [np.interp(flat, middle, head.parameters[:, p]) for p in range(6)]
    return np.stack(columns, axis=-1).reshape(*times_s.shape, 6)


def slice_matrices(
    grid: Grid, share: NDArray, times_s: NDArray, head: HeadMotion | None, cord: CordMotion | None
) -> NDArray[np.float64]:
    """Pull-back map of every slice of every volume.

    Parameters
    ----------
    grid : Grid
        Grid of the series, slices along the third axis where there is cord motion.
    share : ndarray (slices,)
        From :func:`head_share`.
    times_s : ndarray (t, slices)
        Acquisition times.
    head : HeadMotion, optional
        Motion of the head.
    cord : CordMotion, optional
        Motion of the cord.

    Returns
    -------
    ndarray (t, slices, 4, 4)
        Reference voxel index to stored voxel index. In the neck it is in-plane only; above, head motion's through-plane part
        is in it.
    """
    volumes, slices = times_s.shape
    matrices = np.tile(np.eye(4), (volumes, slices, 1, 1))
    if head is not None:
        poses = rigid_matrix(head_at(head, times_s), grid.centre)
        matrices += share[:, None, None] * (grid.inverse @ poses @ grid.affine - np.eye(4))
    if cord is not None:
        matrices[:, :, :2, 3] += (1 - share)[:, None] * cord_at(cord, slices) / grid.voxel_mm[:2]
    return matrices


def cord_at(cord: CordMotion, slices: int) -> NDArray[np.float64]:
    """Cord shifts for every slice, the nearest measured one beyond the cord's ends, (t, slices, 2) in mm."""
    every = np.arange(slices)
    nearest = np.abs(every[:, None] - cord.slices[None]).argmin(axis=1)
    return cord.shift_mm[:, nearest]


def through_plane_mm(grid: Grid, head: HeadMotion, share: NDArray) -> float:
    """RMS through-plane motion that in-plane correction of the neck leaves out, were the neck to follow the head, in mm."""
    neck = np.flatnonzero(share < 1)
    if neck.size == 0:
        return 0.0
    points = grid.to_ras(
        np.stack([np.full(neck.size, (grid.shape[0] - 1) / 2), np.full(neck.size, (grid.shape[1] - 1) / 2), neck], axis=1)
    )
    moved = np.einsum("tij,nj->tni", head.poses[:, :3, :3], points) + head.poses[:, None, :3, 3] - points
    along = (moved @ grid.inverse[:3, :3].T)[..., 2] * float(grid.voxel_mm[2])
    return float(np.sqrt((((1 - share[neck]) * (along - np.median(along, axis=0))) ** 2).mean()))
