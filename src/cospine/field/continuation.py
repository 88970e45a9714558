"""Smooth maps from scattered trust: a plane fitted in a moving window, and its continuation to where nothing was measured."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.grid import Grid

_STIFFNESS = 0.05  # of the slopes, relative to a full window: they fade where too few voxels bear them
_REACH = 3.0  # standard deviations


def fitted(values: NDArray, weight: NDArray, where: NDArray[np.bool_], grid: Grid, sd_mm: float) -> NDArray[np.float32]:
    """Value at each voxel of the plane that fits its neighbourhood best.

    Normalised convolution of first order (Knutsson & Westin 1993, CVPR:515-523): a plain average would pull the edge
    of the mask toward its inside.

    Parameters
    ----------
    values : ndarray (x, y, z)
        Finite; those of weight 0 do not count.
    weight : ndarray (x, y, z)
        Not negative.
    where : ndarray (x, y, z), bool
        Voxels to fit.
    grid : Grid
        Of all.
    sd_mm : float
        SD of the Gaussian window.

    Returns
    -------
    ndarray (x, y, z), float32
        0 where it was not asked for, or no weight is within reach.
    """
    w = np.ascontiguousarray(weight, dtype=np.float32)
    moments = _moments(w, _windows(grid, sd_mm), 2)
    first = _moments(w * np.asarray(values, dtype=np.float32), _windows(grid, sd_mm), 1)
    zeroth = moments[0, 0, 0]
    out = np.zeros(w.shape, dtype=np.float32)
    used = where & (zeroth > 1e-6 * float(w.max()))
    normal = np.empty((int(np.count_nonzero(used)), 4, 4), dtype=np.float32)
    right = np.empty((len(normal), 4, 1), dtype=np.float32)
    unit = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
    for a in range(4):
        right[:, a, 0] = (first[tuple(unit[a])][used]) / zeroth[used]
        for b in range(a, 4):
            normal[:, a, b] = normal[:, b, a] = moments[tuple(unit[a] + unit[b])][used] / zeroth[used]
        if a:
            normal[:, a, a] += _STIFFNESS
    out[used] = np.linalg.solve(normal, right)[:, 0, 0]
    return out


def _windows(grid: Grid, sd_mm: float) -> list[list[NDArray[np.float64]]]:
    """Along each axis a Gaussian times x to the power 0, 1 and 2, x in standard deviations."""
    windows = []
    for voxel in grid.voxel_mm:
        sd = sd_mm / float(voxel)
        radius = max(1, int(np.ceil(_REACH * sd)))
        x = np.arange(-radius, radius + 1) / sd
        g = np.exp(-0.5 * x * x)
        windows.append([g / g.sum() * x**power for power in range(3)])
    return windows


def _moments(image: NDArray[np.float32], windows: list[list[NDArray[np.float64]]], order: int) -> dict[tuple[int, ...], NDArray]:
    """Moments of an image in the window around each voxel, by the powers (i, j, k) of the place, up to an order."""
    done: dict[tuple[int, ...], NDArray] = {(): image}
    for axis in range(3):
        done = {
            (*powers, power): ndimage.correlate1d(before, windows[axis][power], axis=axis, mode="constant")
            for powers, before in done.items()
            for power in range(order + 1 - sum(powers))
        }
    return done


def widened(values: NDArray[np.float32], mask: NDArray[np.bool_], grid: Grid, sd_mm: float) -> NDArray[np.float32]:
    """Values inside a mask, led smoothly to everywhere else.

    Averages over ever wider windows, each giving way to a narrower one where that sees enough of the mask.

    Parameters
    ----------
    values : ndarray (x, y, z)
        Smooth inside the mask.
    mask : ndarray (x, y, z), bool
        Not empty.
    grid : Grid
        Of both.
    sd_mm : float
        SD of the narrowest window.

    Returns
    -------
    ndarray (x, y, z), float32
        Equal to `values` inside the mask, within their range elsewhere.
    """
    inside = mask.astype(np.float32)
    known = np.where(mask, values, 0).astype(np.float32)
    out = np.full(mask.shape, np.median(values[mask]), dtype=np.float32)
    longest = float((np.array(grid.shape) * grid.voxel_mm).max())
    widths = [sd_mm]
    while widths[-1] < longest / 4:
        widths.append(2 * widths[-1])
    for width in reversed(widths):
        sd = width / grid.voxel_mm
        seen = ndimage.gaussian_filter(inside, sd, mode="constant", truncate=_REACH)
        mean = ndimage.gaussian_filter(known, sd, mode="constant", truncate=_REACH) / np.maximum(seen, 1e-6)
        share = np.clip(seen / 0.1, 0, 1)
        out += share * (mean - out)
    return np.where(mask, values, out).astype(np.float32)
