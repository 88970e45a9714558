"""Receive bias of an image by N4: sharpen the histogram, fit splines to what that changes, again and again.

N4ITK (Tustison et al., IEEE Trans Med Imaging 2010, doi 10.1109/TMI.2010.2046908) with the histogram deconvolution of N3 (Sled et
al., IEEE Trans Med Imaging 1998) and scattered-data B-splines (Lee et al., IEEE Trans Vis Comput Graph 1997). ITK's own adds up
what its threads find in the order in which they end: not the same bytes twice, and half a minute on lattices as coarse as here.
On a regular lattice the splines are products of small matrices, and the whole takes a second. It is found at 4 mm.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.grid import Grid
from cospine.space.lattice import downsample, resampled

_LATTICE_MM = 4.0
_BINS, _FWHM, _WIENER_NOISE = 200, 0.15, 0.01


def log_bias(
    image: NDArray,
    voxel_mm: NDArray,
    counts: NDArray[np.bool_],
    *,
    spline_mm: float = 200.0,
    iterations: tuple[int, ...] = (50, 50, 50),
    tolerance: float = 1e-6,
) -> NDArray[np.float64]:
    """Logarithm of the receive bias, by which an image is to be divided.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Image, a few millimetres a voxel. Voxels at or below 0 do not count.
    voxel_mm : ndarray (3,)
        Size of its voxels.
    counts : ndarray (x, y, z), bool
        Voxels that the fit is to follow.
    spline_mm : float
        Distance of knots at the first level; half of it at every further one.
    iterations : tuple of int
        Most of each level.
    tolerance : float
        A level ends when an iteration changes the field by less: coefficient of variation over `counts`.

    Returns
    -------
    ndarray (x, y, z)
        Smooth over the whole lattice; far from `counts` it is what the splines make of it.

    Raises
    ------
    ValueError
        When nothing counts.
    """
    within = counts & (image > 0)
    if not within.any():
        raise ValueError("no voxel above 0 counts: there is no bias to be found")
    observed = np.log(image[within].astype(np.float64))
    field = np.zeros(image.shape)
    for level, most in enumerate(iterations):
        basis = [_basis(n, float(size), spline_mm, level) for n, size in zip(image.shape, voxel_mm, strict=True)]
        squares = [b**2 for b in basis]
        cubes = [b**3 / (b**2).sum(axis=1, keepdims=True) for b in basis]
        weight = np.maximum(_onto(within.astype(np.float64), squares), 1e-12)
        residual = np.zeros(image.shape)
        for _ in range(most):
            corrected = observed - field[within]
            residual[within] = corrected - sharpened(corrected)
            lattice = _onto(residual, cubes) / weight
            update = _onto(lattice, [b.T for b in basis])
            field += update
            change = np.exp(update[within])
            if change.std() < tolerance * change.mean():
                break
    return field


def sharpened(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log intensities without the blur that a bias gives their histogram: deconvolved, then the expected value (Sled 1998)."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return values
    step = (high - low) / (_BINS - 1)
    place = (values - low) / step
    left = np.minimum(place.astype(int), _BINS - 2)
    part = place - left
    padded = 2 ** (int(np.ceil(np.log2(_BINS))) + 1)
    before = (padded - _BINS) // 2
    histogram = np.bincount(left + before, 1 - part, padded) + np.bincount(left + 1 + before, part, padded)
    width = _FWHM / step
    distance = np.minimum(np.arange(padded), padded - np.arange(padded))
    blur = np.fft.rfft(2 * np.sqrt(np.log(2) / np.pi) / width * np.exp(-4 * np.log(2) * (distance / width) ** 2)).real
    sharp = np.maximum(np.fft.irfft(np.fft.rfft(histogram) * blur / (blur**2 + _WIENER_NOISE), padded), 0)
    bins = low + (np.arange(padded) - before) * step
    above, below = (np.fft.irfft(np.fft.rfft(part) * blur, padded) for part in (bins * sharp, sharp))
    safe = below > 1e-9 * below.max()
    expected = np.where(safe, above / np.where(safe, below, 1), bins)[before : before + _BINS]
    return (1 - part) * expected[left] + part * expected[left + 1]


def correct_bias(t1w: NDArray, grid: Grid, mask: NDArray | None = None) -> NDArray[np.float32]:
    """Receive bias taken out by N4 (Tustison et al., IEEE Trans Med Imaging 2010), estimated at 4 mm.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Image.
    grid : Grid
        Its grid.
    mask : ndarray (x, y, z), bool, optional
        What counts; by default all that is brighter than the background.

    Returns
    -------
    ndarray (x, y, z), float32
        Image over its bias field. The field is 1 on average where the mask is.
    """
    small, small_grid = downsample(np.asarray(t1w, dtype=np.float32), grid, _LATTICE_MM)
    if mask is None:
        counts = foreground(small)
    else:
        counts = downsample(np.asarray(mask, dtype=np.float32), grid, _LATTICE_MM)[0] > 0.5
    if not counts.any():
        return np.array(t1w, dtype=np.float32)
    # without a brain mask bright fat would lead the fit
    image = np.minimum(small, np.percentile(small[counts], 98)) if mask is None else small
    bias = log_bias(image, small_grid.voxel_mm, counts)
    # outside of the mask the splines are free: there the field is that of the nearest voxel inside
    nearest = np.asarray(ndimage.distance_transform_edt(~counts, return_distances=False, return_indices=True))
    bias = ndimage.gaussian_filter(bias[nearest[0], nearest[1], nearest[2]], 2.0)
    bias -= bias[counts].mean()
    full = resampled(bias, small_grid, grid)
    return (t1w / np.exp(full)).astype(np.float32)


def foreground(image: NDArray) -> NDArray[np.bool_]:
    """What is brighter than the background: above a sixth of the bright end."""
    positive = image[image > 0]
    if positive.size == 0:
        return np.zeros(image.shape, dtype=bool)
    return np.asarray(image > 0.16 * np.percentile(positive, 90))


def _basis(n: int, voxel_mm: float, spline_mm: float, level: int) -> NDArray[np.float64]:
    """Cubic B-splines at n voxels, (n, elements + 3): as few elements as cover them, in the middle, halved at every level."""
    elements = max(1, int(np.ceil((n - 1) * voxel_mm / spline_mm))) * 2**level
    at = (np.arange(n) - (n - 1) / 2) * voxel_mm / spline_mm * 2**level + elements / 2
    first = np.minimum(at.astype(int), elements - 1)
    t = at - first
    result = np.zeros((n, elements + 3))
    rows = np.arange(n)
    for k, value in enumerate(((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)):
        result[rows, first + k] = value / 6
    return result


def _onto(volume: NDArray[np.float64], matrices: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Contract each axis of a volume with the first axis of its matrix."""
    first, second, third = matrices
    return np.asarray(np.einsum("xyz,xi,yj,zk->ijk", volume, first, second, third, optimize=True), dtype=np.float64)
