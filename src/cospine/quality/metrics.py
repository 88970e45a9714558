"""Numbers that say how good a series is, over voxels, over slices and over time.

Images are ``(x, y, z, t)`` float32 in Fortran order, as nibabel gives them. The kernels read the C-contiguous
``(t, z, y, x)`` view, walk the series once, and accumulate in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from cospine.errors import CoSpineError

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

HEAD_RADIUS_MM = 50.0
"""Radius of the sphere on which rotations become arc lengths (Power et al. 2012)."""

DVARS_SCALE = 1000.0
"""Value that the median of the masked series is scaled to before DVARS, as nipype and fMRIPrep do."""

_IQR_OF_NORMAL = 1.349


@dataclass(frozen=True)
class RegionTsnr:
    """Distribution of tSNR inside one region.

    Attributes
    ----------
    name : str
        Name of the region, for people.
    voxels : int
        Voxels with a tSNR above zero.
    mean, median, p05, p25, p75, p95 : float
        Mean and percentiles of tSNR over those voxels; NaN when there are none.
    """

    name: str
    voxels: int
    mean: float
    median: float
    p05: float
    p25: float
    p75: float
    p95: float


@dataclass(frozen=True)
class SliceTsnr:
    """tSNR of a region slice by slice, every array of shape (slices,), NaN where the region is absent."""

    voxels: NDArray[np.int64]
    median: NDArray[np.float64]
    p25: NDArray[np.float64]
    p75: NDArray[np.float64]


def mean_image(data: FloatArray) -> NDArray[np.float32]:
    """Mean over time.

    Parameters
    ----------
    data : (x, y, z, t) array

    Returns
    -------
    (x, y, z) float32 array
    """
    return _moments(_series(data))[0].T


def temporal_sd(data: FloatArray) -> NDArray[np.float32]:
    """Standard deviation over time (ddof 1), not detrended.

    Parameters
    ----------
    data : (x, y, z, t) array, t >= 2

    Returns
    -------
    (x, y, z) float32 array
    """
    return _moments(_series(data, at_least=2))[1].T


def tsnr(data: FloatArray) -> NDArray[np.float32]:
    """Temporal signal-to-noise ratio: mean over time divided by the standard deviation over time.

    The standard deviation has ddof 1 and the series is not detrended.

    Parameters
    ----------
    data : (x, y, z, t) array, t >= 2

    Returns
    -------
    (x, y, z) float32 array
        Zero where the standard deviation is zero.

    Raises
    ------
    CoSpineError
        When `data` is not 4-D or has fewer than two volumes.
    """
    mean, sd = _moments(_series(data, at_least=2))
    ratio = np.divide(mean, sd, out=np.zeros_like(mean), where=sd > 0)
    return ratio.T


def framewise_displacement(head_motion: FloatArray, radius_mm: float = HEAD_RADIUS_MM) -> NDArray[np.float64]:
    """Framewise displacement of the head after Power et al. (2012), eq. in their section "Framewise displacement".

    Sum of the absolute changes of the three translations and of the three rotations, the latter as arc lengths
    on a sphere.

    Parameters
    ----------
    head_motion : (t, 6) array
        Three translations in mm, then three rotations in rad.
    radius_mm : float
        Radius of the sphere, mm.

    Returns
    -------
    (t,) float64 array
        Displacement from the volume before, mm; the first is NaN.

    References
    ----------
    Power JD et al. (2012) NeuroImage 59:2142-2154. doi:10.1016/j.neuroimage.2011.10.018
    """
    motion = np.asarray(head_motion, dtype=np.float64)
    if motion.ndim != 2 or motion.shape[1] != 6:
        raise CoSpineError(
            f"head motion must be (volumes, 6), not {motion.shape}",
            "head_motion",
            "Give three translations in mm, then three rotations in rad.",
        )
    steps = np.abs(np.diff(motion, axis=0))
    steps[:, 3:] *= radius_mm
    return np.concatenate([[np.nan], steps.sum(axis=1)])


def cord_framewise_displacement(shift_mm: FloatArray) -> NDArray[np.float64]:
    """Framewise displacement of the cord, slice by slice.

    Power's sum of absolute changes, of the two in-plane shifts that the cord has.

    Parameters
    ----------
    shift_mm : (t, slices, 2) array
        Shift along the first and the second in-plane axis, mm.

    Returns
    -------
    (t, slices) float64 array
        Displacement from the volume before, mm; the first row is NaN.
    """
    shift = np.asarray(shift_mm, dtype=np.float64)
    if shift.ndim != 3 or shift.shape[2] != 2:
        raise CoSpineError(
            f"cord motion must be (volumes, slices, 2), not {shift.shape}",
            "shift_mm",
            "Give the shift along i and along j, in mm, for every volume and slice.",
        )
    first = np.full((1, shift.shape[1]), np.nan)
    return np.concatenate([first, np.abs(np.diff(shift, axis=0)).sum(axis=2)])


def dvars(data: FloatArray, mask: BoolArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Root mean square change of the signal from volume to volume, plain and standardised.

    As nipype's ``ComputeDVARS`` and fMRIPrep: the masked series is scaled so that its median over voxels and
    time is 1000, voxels without variance (robust SD <= 1e-7) are left out, and the standardised form divides by
    the mean over voxels of the SD that the difference of an AR(1) series would have,
    ``sqrt(2 (1 - rho)) * IQR / 1.349`` (Nichols 2013). Quartiles are the lower order statistics, rho is the
    Yule-Walker estimate.

    Parameters
    ----------
    data : (x, y, z, t) array, t >= 3
    mask : (x, y, z) bool array

    Returns
    -------
    dvars, std_dvars : (t,) float64 arrays
        Per mille of the median signal, and a ratio that is about 1 in noise; the first of each is NaN.

    Raises
    ------
    CoSpineError
        When the mask is empty or of another shape, or nothing varies inside it.

    References
    ----------
    Power JD et al. (2012) NeuroImage 59:2142-2154; Nichols TE (2013) "Notes on creating a standardized version
    of DVARS", arXiv:1704.01469.
    """
    volumes = _series(data, at_least=3)
    inside = _inside(mask, data.shape[:3])
    series = _gather(volumes.reshape(volumes.shape[0], -1), inside)
    median = float(np.median(series))
    if not median > 0:
        raise CoSpineError(
            f"the median signal inside the mask is {median:g}, so DVARS cannot be scaled",
            "mask",
            "Check that the mask lies on the image.",
        )
    scale = DVARS_SCALE / median
    robust_sd, difference_sd = _series_spread(series, scale)
    varies = robust_sd > 1e-7
    if not varies.any():
        raise CoSpineError("no voxel inside the mask varies over time", "mask", "Check the image and the mask.")
    plain = np.sqrt(_difference_power(series, np.flatnonzero(varies))) * scale
    standardised = plain / difference_sd[varies].mean()
    return np.concatenate([[np.nan], plain]), np.concatenate([[np.nan], standardised])


def tsnr_by_region(tsnr_map: FloatArray, regions: Mapping[str, BoolArray]) -> tuple[RegionTsnr, ...]:
    """Summarise a tSNR map inside named masks.

    Parameters
    ----------
    tsnr_map : (x, y, z) array
    regions : mapping of name to (x, y, z) bool array

    Returns
    -------
    tuple of RegionTsnr, in the order of `regions`
    """
    return tuple(_region(name, tsnr_map, mask) for name, mask in regions.items())


def tsnr_by_slice(tsnr_map: FloatArray, mask: BoolArray, slice_axis: int = 2) -> SliceTsnr:
    """tSNR inside a mask for every stored slice.

    Parameters
    ----------
    tsnr_map : (x, y, z) array
    mask : (x, y, z) bool array
    slice_axis : int
        Array axis along which slices were acquired.

    Returns
    -------
    SliceTsnr
    """
    maps = np.moveaxis(np.asarray(tsnr_map), slice_axis, 0)
    masks = np.moveaxis(np.asarray(mask, dtype=bool), slice_axis, 0) & (maps > 0)
    voxels = masks.reshape(masks.shape[0], -1).sum(axis=1)
    quartiles = np.full((3, masks.shape[0]), np.nan)
    for index in np.flatnonzero(voxels):
        quartiles[:, index] = np.percentile(maps[index][masks[index]], [25, 50, 75])
    return SliceTsnr(voxels=voxels, p25=quartiles[0], median=quartiles[1], p75=quartiles[2])


def _region(name: str, tsnr_map: FloatArray, mask: BoolArray) -> RegionTsnr:
    values = tsnr_map[np.asarray(mask, dtype=bool) & (tsnr_map > 0)]
    if values.size == 0:
        return RegionTsnr(name, 0, *[float("nan")] * 6)
    p05, p25, median, p75, p95 = (float(p) for p in np.percentile(values, [5, 25, 50, 75, 95]))
    return RegionTsnr(name, values.size, float(values.mean(dtype=np.float64)), median, p05, p25, p75, p95)


def _series(data: FloatArray, at_least: int = 1) -> NDArray[np.float32]:
    """The C-contiguous (t, z, y, x) float32 view that the kernels read."""
    if data.ndim != 4 or data.shape[3] < at_least:
        raise CoSpineError(
            f"a series of at least {at_least} volumes is needed, not an array of shape {data.shape}",
            "data",
            "Give a 4-D array (x, y, z, t).",
        )
    return np.ascontiguousarray(data.T, dtype=np.float32)


def _inside(mask: BoolArray, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Flat indices of the mask on the (z, y, x) view."""
    if mask.shape != shape:
        raise CoSpineError(f"the mask is {mask.shape}, the series is {shape}", "mask", "Give a mask on the grid of the series.")
    inside = np.flatnonzero(np.ascontiguousarray(np.asarray(mask, dtype=bool).T))
    if inside.size == 0:
        raise CoSpineError("the mask is empty", "mask", "Give a mask with at least one voxel.")
    return inside


@njit(cache=True, parallel=True)
def _moments(volumes):
    """Mean and SD (ddof 1) over the first axis of (t, z, y, x).

    Deviations from the first volume are summed, so that squares do not cancel where the mean is far above the SD.
    """
    nt, nz, ny, nx = volumes.shape
    mean = np.empty((nz, ny, nx), np.float32)
    sd = np.zeros((nz, ny, nx), np.float32)
    for z in prange(nz):
        total = np.zeros((ny, nx), np.float64)
        squares = np.zeros((ny, nx), np.float64)
        for t in range(1, nt):
            for y in range(ny):
                for x in range(nx):
                    deviation = np.float64(volumes[t, z, y, x]) - np.float64(volumes[0, z, y, x])
                    total[y, x] += deviation
                    squares[y, x] += deviation * deviation
        for y in range(ny):
            for x in range(nx):
                mean[z, y, x] = volumes[0, z, y, x] + total[y, x] / nt
                if nt > 1:
                    left = squares[y, x] - total[y, x] * total[y, x] / nt
                    sd[z, y, x] = np.sqrt(max(left, 0.0) / (nt - 1))
    return mean, sd


@njit(cache=True, parallel=True)
def _gather(flat, inside):
    """Series of the chosen voxels, (voxels, t), from (t, all voxels)."""
    nt = flat.shape[0]
    series = np.empty((inside.size, nt), np.float32)
    for i in prange(inside.size):
        for t in range(nt):
            series[i, t] = flat[t, inside[i]]
    return series


@njit(cache=True, parallel=True)
def _series_spread(series, scale):
    """Robust SD of each series, and the SD that the difference of an AR(1) series with that SD would have."""
    count, nt = series.shape
    robust_sd = np.empty(count, np.float64)
    difference_sd = np.empty(count, np.float64)
    low = int(np.floor(0.25 * (nt - 1)))
    high = int(np.floor(0.75 * (nt - 1)))
    for i in prange(count):
        ordered = np.sort(series[i])
        robust_sd[i] = scale * (np.float64(ordered[high]) - np.float64(ordered[low])) / _IQR_OF_NORMAL
        mean = 0.0
        for t in range(nt):
            mean += series[i, t]
        mean /= nt
        power = 0.0
        lagged = 0.0
        before = 0.0
        for t in range(nt):
            now = series[i, t] - mean
            power += now * now
            lagged += now * before
            before = now
        rho = lagged / power if power > 0 else 0.0
        difference_sd[i] = np.sqrt(2.0 * (1.0 - rho)) * robust_sd[i]
    return robust_sd, difference_sd


@njit(cache=True, parallel=True)
def _difference_power(series, chosen):
    """Mean over the chosen voxels of the squared change between neighbouring volumes, (t - 1,)."""
    nt = series.shape[1]
    # Fixed blocks summed in a fixed order: the result does not depend on the number of threads.
    block = 2048
    blocks = (chosen.size + block - 1) // block
    partial = np.zeros((blocks, nt - 1), np.float64)
    for b in prange(blocks):
        for i in range(b * block, min((b + 1) * block, chosen.size)):
            for t in range(nt - 1):
                change = np.float64(series[chosen[i], t + 1]) - np.float64(series[chosen[i], t])
                partial[b, t] += change * change
    return partial.sum(axis=0) / chosen.size
