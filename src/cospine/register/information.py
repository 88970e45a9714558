"""Mutual information of two images and how it changes with where each point lands.

Mattes et al. (2003, IEEE Trans Med Imaging 22:120-128) and Thévenaz & Unser (2000, IEEE Trans Image Process 9:2083-2099): the
joint histogram of an image's values at fixed points and another image's values where these points land, cubic windows along
the values that move. Its derivative by every point's position serves any smooth map, be it rigid or bent, by the chain rule.
"""

from dataclasses import dataclass, field

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.bspline import coefficients, slopes, value_and_gradient, weights
from cospine.space.grid import Grid

_PARTS = 16  # histograms filled side by side: a fixed number, so that sums do not depend on how many threads there are
_MARGIN = 2  # windows that stay empty at both ends of the moving values


@njit(cache=True, parallel=True)
def _sample(coefs, voxels, low, scale, bins, values, gradients):
    """Place on the scale of bins and its gradient by voxel index at every point; NaN outside of the lattice."""
    nz, ny, nx = coefs.shape
    for n in prange(voxels.shape[0]):
        x, y, z = voxels[n, 0], voxels[n, 1], voxels[n, 2]
        if not (x >= 0 and y >= 0 and z >= 0 and x <= nx - 1 and y <= ny - 1 and z <= nz - 1):
            values[n] = np.nan
            continue
        value, gx, gy, gz = value_and_gradient(coefs, x, y, z)
        place = (value - low) * scale + _MARGIN
        top = bins - 1 - _MARGIN
        if place < _MARGIN or place > top:  # beyond the range all values are alike
            values[n] = min(max(place, _MARGIN), top)
            gx = gy = gz = np.float32(0)
        else:
            values[n] = place
        gradients[n, 0], gradients[n, 1], gradients[n, 2] = gx * scale, gy * scale, gz * scale


@njit(cache=True, parallel=True)
def _histogram(values, own, weight, bins, parts):
    """Joint histogram of own values (linear windows) and moving values (cubic windows), one part of the points each."""
    count = values.shape[0]
    for p in prange(parts.shape[0]):
        joint = parts[p]
        for n in range(p * count // parts.shape[0], (p + 1) * count // parts.shape[0]):
            place = values[n]
            if np.isnan(place):
                continue
            b = int(place)
            window = weights(place - b)
            a = int(own[n])
            rest = own[n] - a
            for c in range(4):
                share = weight[n] * window[c]
                joint[a, b - 1 + c] += share * (1 - rest)
                joint[a + 1, b - 1 + c] += share * rest


@njit(cache=True, parallel=True)
def _pull(values, gradients, own, weight, logs, total, forces):
    """Derivative of the information by every point's position."""
    for n in prange(values.shape[0]):
        place = values[n]
        if np.isnan(place):
            forces[n] = 0
            continue
        b = int(place)
        slope = slopes(place - b)
        a = int(own[n])
        rest = own[n] - a
        push = 0.0
        for c in range(4):
            push += slope[c] * ((1 - rest) * logs[a, b - 1 + c] + rest * logs[a + 1, b - 1 + c])
        for d in range(3):
            forces[n, d] = weight[n] * push * gradients[n, d] / total


@dataclass(frozen=True)
class Comparison:
    """Values of a fixed image at points, and the moving image they are compared with.

    Parameters
    ----------
    points : ndarray (n, 3)
        Where the fixed image was looked at, RAS mm.
    own : ndarray (n,)
        Values there, on the scale of bins.
    weight : ndarray (n,)
        How much each point counts.
    coefs : ndarray (z, y, x), float32
        Spline coefficients of the moving image.
    grid : Grid
        The moving image's grid.
    low, scale : float
        Moving value to the scale of bins.
    bins : int
    """

    points: NDArray[np.float64] = field(repr=False)
    own: NDArray[np.float64] = field(repr=False)
    weight: NDArray[np.float64] = field(repr=False)
    coefs: NDArray[np.float32] = field(repr=False)
    grid: Grid
    low: float
    scale: float
    bins: int

    def information(self, landed: NDArray) -> tuple[float, NDArray[np.float64], float]:
        """Mutual information when the points land somewhere in the moving image.

        Parameters
        ----------
        landed : ndarray (n, 3)
            RAS mm.

        Returns
        -------
        information : float
            Nats.
        forces : ndarray (n, 3)
            Its derivative by each of `landed`, per mm.
        share : float
            Share of the weight that landed inside of the moving image.
        """
        voxels = np.ascontiguousarray(self.grid.to_voxel(landed))
        values = np.empty(len(voxels))
        gradients = np.zeros((len(voxels), 3))
        _sample(self.coefs, voxels, self.low, self.scale, self.bins, values, gradients)
        parts = np.zeros((_PARTS, self.bins + 1, self.bins + 1))
        _histogram(values, self.own, self.weight, self.bins, parts)
        joint = parts.sum(axis=0)
        total = float(joint.sum())
        forces = np.zeros((len(voxels), 3))
        if total <= 0:
            return 0.0, forces, 0.0
        joint /= total
        rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
        tiny = 1e-12
        found = float((joint * np.log((joint + tiny) / (rows * columns + tiny))).sum())
        logs = np.log((joint + tiny) / (columns + tiny))
        _pull(values, gradients, self.own, self.weight, logs, total, forces)
        return found, forces @ self.grid.inverse[:3, :3], total / float(self.weight.sum())


def compare(
    fixed: NDArray,
    fixed_grid: Grid,
    moving: NDArray,
    moving_grid: Grid,
    points: NDArray,
    *,
    blur_mm: float,
    bins: int = 32,
    weight: NDArray | None = None,
) -> Comparison:
    """Prepare two images for comparison at one resolution.

    Parameters
    ----------
    fixed, moving : ndarray (x, y, z)
        Images of any contrast.
    fixed_grid, moving_grid : Grid
        Their grids.
    points : ndarray (n, 3)
        Where the fixed image is looked at, RAS mm.
    blur_mm : float
        Both images are smoothed to this full width at half maximum (what their voxels already average counts), or to the
        thicker voxel of the two where that is more.
    bins : int
        Of the histogram.
    weight : ndarray (n,), optional
        How much each point counts; all alike by default.

    Returns
    -------
    Comparison
    """
    thick = spacing_along(fixed_grid, moving_grid)
    one = smoothed(fixed, fixed_grid, np.maximum(blur_mm, thick))
    two = smoothed(moving, moving_grid, np.full(3, blur_mm))
    values = ndimage.map_coordinates(one, fixed_grid.to_voxel(points).T, order=1, mode="nearest")
    least, most = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    own = np.clip((values - least) / max(most - least, 1e-9) * (bins - 1), 0, bins - 1.001)
    there = ndimage.map_coordinates(two, moving_grid.to_voxel(points).T, order=1, mode="constant")
    signal = there[there > 0]
    low, high = 0.0, float(np.percentile(signal, 99.5)) if signal.size else 1.0
    return Comparison(
        np.ascontiguousarray(points, dtype=np.float64),
        own.astype(np.float64),
        np.ones(len(points)) if weight is None else np.asarray(weight, dtype=np.float64),
        coefficients(np.ascontiguousarray(two.T)),
        moving_grid,
        low,
        (bins - 1 - 2 * _MARGIN) / max(high - low, 1e-9),
        bins,
    )


def smoothed(image: NDArray, grid: Grid, width_mm: NDArray) -> NDArray[np.float32]:
    """Gaussian smoothing to a full width at half maximum along each stored axis, what a voxel averages taken off."""
    wanted = np.sqrt(np.clip(width_mm**2 - grid.voxel_mm**2, 0, None)) / 2.355
    return np.asarray(ndimage.gaussian_filter(np.asarray(image, dtype=np.float32), wanted / grid.voxel_mm), dtype=np.float32)


def spacing_along(fixed_grid: Grid, moving_grid: Grid) -> NDArray[np.float64]:
    """Voxel size (mm) of the moving grid along the nearest axis of it to each axis of the fixed grid."""
    directions = np.abs((fixed_grid.affine[:3, :3] / fixed_grid.voxel_mm).T @ (moving_grid.affine[:3, :3] / moving_grid.voxel_mm))
    return moving_grid.voxel_mm[directions.argmax(axis=1)]
