"""Gaussian smoothing that stays within a region: what lies outside neither gives to it nor takes from it.

References
----------
Knutsson H, Westin CF (1993) Normalized and differential convolution. Proc. IEEE CVPR, 515-523.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cospine.errors import CoSpineError

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


def smooth_within(
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    fwhm_mm: Sequence[float],
    voxel_mm: Sequence[float] | NDArray[np.floating],
) -> NDArray[np.float32]:
    """Smooth a map within a mask by normalised convolution (Knutsson & Westin 1993).

    Each voxel of the mask becomes a weighted mean of the mask's voxels: a constant stays constant up to the edge, and signal of
    CSF never reaches the cord.

    Parameters
    ----------
    volume : ndarray (x, y, z)
        Values outside the mask, or in it where they are not finite, are not looked at.
    mask : ndarray (x, y, z), bool
        The region.
    fwhm_mm : (3,)
        Full width at half maximum along each voxel axis, mm; 0 leaves an axis as it is.
    voxel_mm : (3,)
        Voxel size.

    Returns
    -------
    ndarray (x, y, z), float32
        NaN outside of the mask.

    Raises
    ------
    CoSpineError
        Shapes that do not fit, or a negative width.
    """
    if volume.shape != mask.shape or len(fwhm_mm) != 3 or min(fwhm_mm) < 0:
        raise CoSpineError(
            f"a map {volume.shape}, a mask {mask.shape} and widths {tuple(fwhm_mm)} mm do not go together",
            "smoothing within a region",
            "give a map and a mask of one grid, and three widths of 0 or more",
        )
    inside = mask & np.isfinite(volume)
    smooth = np.full(volume.shape, np.nan, np.float32, order="F")
    if not inside.any():
        return smooth
    sigma = [width / FWHM_PER_SIGMA / size for width, size in zip(fwhm_mm, voxel_mm, strict=True)]
    # nothing further away than the kernel's end (4 sigma) can matter: the box about the mask is enough
    where = [np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    box = tuple(slice(int(one[0]), int(one[-1]) + 1) for one in where)
    held = inside[box]
    weight = gaussian_filter(held.astype(np.float32), sigma, mode="constant")
    total = gaussian_filter(np.where(held, volume[box], 0).astype(np.float32), sigma, mode="constant")
    part = smooth[box]
    part[held] = total[held] / weight[held]
    return smooth
