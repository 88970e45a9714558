"""How much tSNR rises by interpolation alone, so that gains can be given net of it."""

import numpy as np
from numpy.typing import NDArray

_POLE = np.sqrt(3.0) - 2.0
_REACH = 24
"""Samples on either side; the cardinal spline has fallen below 1e-13 there."""


def noise_variance_factor(shift_voxels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Variance of white noise after cubic B-spline interpolation at a shifted place, relative to before.

    The sum over samples of the squared cardinal cubic spline (Unser 1999), along one axis: 1 at whole shifts, least at
    half a voxel.

    Parameters
    ----------
    shift_voxels : array of any shape
        Shift along one axis, voxels.

    Returns
    -------
    float64 array of the same shape

    References
    ----------
    Unser M (1999) Splines: a perfect fit for signal and image processing. IEEE Signal Process Mag 16(6):22-38.
    """
    fraction = np.mod(np.asarray(shift_voxels, dtype=np.float64), 1.0)
    offsets = np.arange(-_REACH, _REACH + 1)
    prefilter = -6.0 * _POLE / (1.0 - _POLE**2) * _POLE ** np.abs(offsets)
    # B-spline weights at the four samples around the place; their convolution with the prefilter is the cardinal spline.
    near = np.arange(-1, 3)
    weights = _cubic(fraction[..., None] - near.astype(np.float64))
    gram = np.array([[_overlap(prefilter, abs(int(a - b))) for a in near] for b in near])
    return np.einsum("...a,ab,...b->...", weights, gram, weights)


def interpolation_gain(shift_voxels: NDArray[np.floating]) -> float:
    """Factor by which tSNR of a white-noise series rises when every volume is interpolated at its own shift.

    Parameters
    ----------
    shift_voxels : (..., axes) array
        Shift of every sample (volumes, and slices where they differ) along each interpolated axis, voxels.

    Returns
    -------
    float
        At least 1. Noise that is smooth already rises less.
    """
    variance = np.prod(noise_variance_factor(shift_voxels), axis=-1)
    return float(1.0 / np.sqrt(variance.mean()))


def _cubic(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cubic B-spline."""
    distance = np.abs(x)
    inner = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    outer = np.maximum(2.0 - distance, 0.0) ** 3 / 6.0
    return np.where(distance < 1.0, inner, outer)


def _overlap(prefilter: NDArray[np.floating], lag: int) -> float:
    return float(prefilter[lag:] @ prefilter[: prefilter.size - lag])
