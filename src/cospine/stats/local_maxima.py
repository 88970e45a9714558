"""Peaks of a map that stand apart from each other."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.grid import Grid


def local_maxima(values: NDArray, mask: NDArray[np.bool_], grid: Grid, *, apart_mm: float, most: int) -> NDArray[np.int64]:
    """Voxels whose absolute value is the largest around, the largest first.

    Parameters
    ----------
    values : ndarray (x, y, z)
        NaN counts as 0.
    mask : ndarray (x, y, z), bool
        Where peaks are looked for.
    grid : Grid
    apart_mm : float
        A peak nearer than this to a larger one is left out.
    most : int
        How many at most.

    Returns
    -------
    ndarray (n, 3)
        Voxel indices.
    """
    size = np.where(mask, np.abs(np.nan_to_num(values)), 0.0)
    highest = (size == ndimage.maximum_filter(size, size=3, mode="constant")) & (size > 0)
    candidates = np.argwhere(highest)
    order = np.argsort(-size[highest], kind="stable")
    kept: list[NDArray[np.int64]] = []
    for at in candidates[order]:
        if len(kept) == most:
            break
        if all(np.linalg.norm(grid.to_ras(at) - grid.to_ras(other)) >= apart_mm for other in kept):
            kept.append(at)
    return np.array(kept, dtype=np.int64).reshape(-1, 3)
