"""Head motion: one rigid pose a volume.

Coarse to fine against one volume, then once more against the mean of the aligned volumes, each voxel weighted by how
steady it is over time. Voxels that pulsate, activate or lie behind moving eyes lose their say.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from cospine.errors import CoSpineError
from cospine.register.rigid import register_rigid
from cospine.space.bspline import coefficients
from cospine.space.grid import Grid
from cospine.space.resample import aligned_moments, spread_volumes
from cospine.space.transform import rigid_matrix, rigid_parameters

logger = logging.getLogger(__name__)

_COARSE = ((8.0, 6_000), (4.0, 12_000))  # blur of the reference (SD, mm), voxels compared
_FIRST_VOXELS = 15_000
_FINAL_VOXELS = 30_000
_MEAN_VOLUMES = 20
_LEAST_VOXELS = 200


@dataclass(frozen=True)
class HeadMotion:
    """How the head moved from the median pose of the volumes in steady state.

    Parameters
    ----------
    poses : ndarray (volumes, 4, 4)
        Push-forward, RAS mm: where a point of the reference went.
    parameters : ndarray (volumes, 6)
        The same as translations (mm) and rotations (rad) about `centre`; see `space.transform.rigid_matrix`.
    centre : ndarray (3,)
        Centre of the grid, RAS mm.
    """

    poses: NDArray[np.float64] = field(repr=False)
    parameters: NDArray[np.float64] = field(repr=False)
    centre: NDArray[np.float64]


def estimate_head_motion(series: NDArray, grid: Grid, mask: NDArray, *, skip: int = 0) -> HeadMotion:
    """Rigid pose of the head in every volume.

    Parameters
    ----------
    series : ndarray (x, y, z, t), float32, Fortran order
        The stored series.
    grid : Grid
        Its grid.
    mask : ndarray (x, y, z), bool
        Brain; voxels just outside it take part, for the edge carries most of the information.
    skip : int
        Volumes at the start that must not serve as reference (not yet in steady state).

    Returns
    -------
    HeadMotion

    Raises
    ------
    CoSpineError
        When the mask holds too few voxels to measure a pose.
    """
    if mask.sum() < _LEAST_VOXELS:
        raise CoSpineError(
            f"the brain mask holds {int(mask.sum())} voxels, too few to measure head motion",
            "brain mask",
            "check the field of view, or leave the brain out with --regions cord",
        )
    count = series.shape[3]
    volumes = series.T
    around = _dilated(mask, grid)
    start = _typical_volume(series, mask, skip)
    first = np.asarray(series[..., start], dtype=np.float32)
    poses: NDArray | None = None
    for blur_mm, voxels in _COARSE:
        blurred = gaussian_filter(first, np.minimum(blur_mm / grid.voxel_mm, 4.0))
        points = _spread(around, voxels)
        poses = _register(blurred, volumes, grid, points, None, poses, iterations=15, tolerance_mm=0.02)
    points = _spread(around, _FIRST_VOXELS)
    poses = _register(first, volumes, grid, points, None, poses, iterations=6, tolerance_mm=0.01)

    chosen = spread_volumes(count, _MEAN_VOLUMES, skip)
    mean, variance = _moments(series, grid, np.linalg.inv(poses), chosen)
    points = _spread(around, _FINAL_VOXELS)
    weight = _steadiness(variance, points)
    poses = _register(mean, volumes, grid, points, weight, poses, iterations=6, tolerance_mm=0.001)
    # the reference is the pose in the middle of all: it is the cord's zero too
    pushed = np.linalg.inv(poses)
    middle = np.median(rigid_parameters(pushed[skip:], grid.centre), axis=0)
    pushed = pushed @ np.linalg.inv(rigid_matrix(middle, grid.centre))
    return HeadMotion(pushed, rigid_parameters(pushed, grid.centre), grid.centre)


def _moments(series: NDArray, grid: Grid, poses: NDArray, chosen: NDArray) -> tuple[NDArray[np.float32], NDArray]:
    """Mean and variance over time of chosen volumes, each brought to the reference."""
    return aligned_moments(series, grid.inverse @ poses @ grid.affine, chosen)


def _register(reference, volumes, grid, points, weight, poses, *, iterations, tolerance_mm):
    coefs = coefficients(np.ascontiguousarray(reference.T))
    if weight is None:
        weight = np.ones(len(points))
    poses, fit = register_rigid(
        coefs,
        volumes,
        grid.affine,
        grid.centre,
        points,
        weight,
        poses,
        iterations=iterations,
        tolerance_mm=tolerance_mm,
    )
    logger.debug("head motion: %d voxels, %.1f steps a volume", len(points), fit[:, 3].mean())
    return poses


def _dilated(mask: NDArray, grid: Grid) -> NDArray:
    """The mask and one voxel around it, in plane only where slices are thick."""
    reach = np.zeros((3, 3, 3), dtype=bool)
    reach[1, 1, 1] = True
    for axis, size in enumerate(grid.voxel_mm):
        if size <= 2 * grid.voxel_mm.min():
            index = [1, 1, 1]
            for end in (0, 2):
                index[axis] = end
                reach[tuple(index)] = True
    return np.asarray(binary_dilation(mask, reach))


def _typical_volume(series: NDArray, mask: NDArray, skip: int) -> int:
    """The volume nearest to the median of some, compared on a part of the mask."""
    count = series.shape[3]
    index = np.flatnonzero(mask.ravel(order="F"))
    index = index[:: max(1, len(index) // 20_000)]
    flat = series.reshape(-1, count, order="F")
    candidates = spread_volumes(count, 25, skip)
    some = np.stack([flat[index, t] for t in candidates])
    distance = np.abs(some - np.median(some, axis=0)).mean(axis=1)
    return int(candidates[np.argmin(distance)])


def _spread(mask: NDArray, count: int) -> NDArray[np.int32]:
    """At most `count` voxels spread evenly over the mask, in memory order.

    Evenly, not where the signal is steepest: interpolation errs most at edges, and an estimate from edges alone errs with it.
    """
    inside = np.flatnonzero(mask.ravel(order="F"))
    if len(inside) > count:
        inside = inside[np.linspace(0, len(inside) - 1, count).astype(int)]
    return np.stack(np.unravel_index(inside, mask.shape, order="F"), axis=1).astype(np.int32)


def _steadiness(variance: NDArray, points: NDArray) -> NDArray[np.float64]:
    values = variance[tuple(points.T)].astype(np.float64)
    floor = np.percentile(values, 10)
    return floor / (values + floor) if floor > 0 else np.ones(len(values))
