"""An affine map under which two images of like contrast correlate best, over all points at once.

The squared correlation is that of one patch as large as the object, and is raised as `cospine.register.local_correlation` raises
those of many small ones: by Gauss-Newton on the residuals of normalised values, first of blurred images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cospine.register.information import smoothed
from cospine.register.local_correlation import Patches, fit_patches
from cospine.space.bspline import coefficients
from cospine.space.grid import Grid
from cospine.space.transform import Affine

_REACH_MM = 60.0  # from the middle: change of the matrix that moves points there by a mm is a unit step
_NOISE = 1e-6
_LEAST_POINTS, _LEAST_REACHED = 500, 0.25
_MOST_GROWTH = 2.0  # of the volume: more is no fit


def fit_affine(
    fixed: NDArray,
    fixed_grid: Grid,
    moving: NDArray,
    moving_grid: Grid,
    counts: NDArray[np.bool_],
    start: Affine,
    *,
    blurs_mm: Sequence[float] = (8.0, 4.0),
    steps: int = 20,
) -> Affine:
    """Align an image affinely to another one.

    Parameters
    ----------
    fixed, moving : ndarray (x, y, z)
        Images whose values follow each other, up to sign, gain and offset.
    fixed_grid, moving_grid : Grid
        Their grids.
    counts : ndarray (x, y, z), bool
        Voxels of `fixed` that are compared where the start brings them into the moving image; every n-th of them, so that about
        three are left within the blur.
    start : Affine
        Fixed point to moving point, RAS mm, right to some millimetres.
    blurs_mm : sequence of float
        Full width at half maximum that both images are smoothed to, one level each.
    steps : int
        At most so many a level.

    Returns
    -------
    Affine
        Fixed point to moving point, RAS mm. `start` where nothing correlates better, where too few of the points that count
        fall into the moving image, or where volumes would change by more than a factor of 2.
    """
    found = start
    for blur_mm in blurs_mm:
        every = np.maximum(np.round(blur_mm / 3 / fixed_grid.voxel_mm), 1).astype(int)
        index = np.argwhere(counts[:: every[0], :: every[1], :: every[2]]) * every
        points = fixed_grid.to_ras(index)
        reached = moving_grid.holds(moving_grid.to_voxel(found.map(points)))
        if reached.sum() < _LEAST_POINTS or reached.mean() < _LEAST_REACHED:
            return found
        index, points = index[reached], points[reached]
        own = smoothed(fixed, fixed_grid, np.full(3, blur_mm))[tuple(index.T)].astype(np.float64)
        own -= own.mean()
        own /= max(float(np.linalg.norm(own)), 1e-9)
        blurred = coefficients(np.ascontiguousarray(smoothed(moving, moving_grid, np.full(3, blur_mm)).T))
        floor = len(own) * _NOISE * max(float(np.abs(moving).max()), 1e-9) ** 2
        whole = Patches(points[None], own[None], blurred, moving_grid, floor)
        found = _fit(whole, points.mean(axis=0), found, steps)
        change = np.linalg.det(found.matrix[:3, :3]) / np.linalg.det(start.matrix[:3, :3])
        if not 1 / _MOST_GROWTH < change < _MOST_GROWTH:
            return start
    return found


def _fit(whole: Patches, middle: NDArray, start: Affine, steps: int) -> Affine:
    """One level: nine numbers of the matrix about a middle, three of the shift."""
    points = whole.points[0]
    away, began = points - middle, start.map(points)
    derivative = np.zeros((len(points), 3, 12))
    for axis in range(3):
        derivative[:, axis, 3 * axis : 3 * axis + 3] = away
        derivative[:, axis, 9 + axis] = 1

    def landing(_: NDArray, change: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of the same points each time."""
        return began + away @ change[:9].reshape(3, 3).T + change[9:], derivative

    unit = np.concatenate([np.full(9, 1 / _REACH_MM), np.ones(3)])
    change, _ = fit_patches(whole, landing, np.zeros(12), np.full(12, np.inf), unit, steps=steps)
    matrix = start.matrix.copy()
    matrix[:3, :3] += change[:9].reshape(3, 3)
    matrix[:3, 3] += change[9:] - change[:9].reshape(3, 3) @ middle
    return Affine(matrix)
