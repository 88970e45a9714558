"""Numbers that say how well distortion was corrected: similarity of a pair, the cord's displacement, two fields compared."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

MENDABLE_MM = 8.0
"""Displacement of the cord up to which a corrected slice is trusted, mm: between the neck's 1.5-4 mm and the 10-17 mm at T2."""

JACOBIAN_FLOOR = 0.2
"""Stretch below which signal of five voxels is piled into one and cannot be told apart again."""

_STRETCH = 3
"""Slices in a row that must be good for the cord to count as mended there."""

_FEWEST_VOXELS = 200
_TRIM = 3.0
_MAD_OF_NORMAL = 0.6745


@dataclass(frozen=True)
class CordDisplacement:
    """Displacement of the cord slice by slice, from the top down; every array of shape (slices,).

    Attributes
    ----------
    slices : int array
        Stored index along the slice axis.
    z_mm : float array
        World height of the cord in the slice, RAS mm.
    mean_mm : float array
        Mean displacement over the cord, mm, signed as the map that was given.
    jacobian_min : float array
        Smallest Jacobian in the cord; 1 where no Jacobian was given.
    """

    slices: NDArray[np.int64]
    z_mm: NDArray[np.float64]
    mean_mm: NDArray[np.float64]
    jacobian_min: NDArray[np.float64]


@dataclass(frozen=True)
class FieldAgreement:
    """How a field from a pair agrees with one from a phase difference, shim differences removed.

    Attributes
    ----------
    slope : float
        Hz of the pair for each Hz of the phase difference; 1 is agreement, -1 a wrong sign.
    r : float
        Pearson correlation over the mask.
    rms_hz : float
        Root mean square of what remains of the difference over the mask, Hz.
    residual_hz : (x, y, z) float32 array
        Pair minus phase difference after the polynomial was taken away, Hz; 0 outside the mask.
    pair_hz, phase_hz : (voxels,) float32 array
        Both fields inside the mask without their polynomials, Hz.
    """

    slope: float
    r: float
    rms_hz: float
    residual_hz: NDArray[np.float32]
    pair_hz: NDArray[np.float32]
    phase_hz: NDArray[np.float32]


def similarity(a: FloatArray, b: FloatArray, mask: BoolArray) -> float:
    """Normalised cross-correlation of two images inside a mask.

    Parameters
    ----------
    a, b : (x, y, z) array
    mask : (x, y, z) bool array

    Returns
    -------
    float
        Between -1 and 1; NaN when an image does not vary in the mask or fewer than two voxels are finite.
    """
    inside = np.asarray(mask, dtype=bool) & np.isfinite(a) & np.isfinite(b)
    if np.count_nonzero(inside) < 2:
        return float("nan")
    return _correlation(a[inside].astype(np.float64), b[inside].astype(np.float64))


def cord_displacement(
    displacement_mm: FloatArray,
    cord_mask: BoolArray,
    affine: FloatArray,
    *,
    weights: FloatArray | None = None,
    jacobian: FloatArray | None = None,
    slice_axis: int = 2,
) -> CordDisplacement:
    """Mean displacement of the cord in every slice that holds it.

    Parameters
    ----------
    displacement_mm : (x, y, z) array
        Displacement along one axis, mm.
    cord_mask : (x, y, z) bool array
    affine : (4, 4) array
        Voxel to world, RAS mm.
    weights : (x, y, z) array, optional
        Weight of each voxel in the mean (a soft mask, the signal), not negative; equal when not given.
    jacobian : (x, y, z) array, optional
        Jacobian of the distortion, for `jacobian_min`.
    slice_axis : int
        Stored axis along which slices were acquired.

    Raises
    ------
    CoSpineError
        When the mask has no voxel (of weight).
    """
    inside = np.asarray(cord_mask, dtype=bool)
    weight = inside.astype(np.float64) if weights is None else np.where(inside, weights, 0.0).astype(np.float64)
    in_plane = tuple(axis for axis in range(3) if axis != slice_axis)
    total = weight.sum(axis=in_plane)
    slices = np.flatnonzero(total > 0)
    if slices.size == 0:
        raise CoSpineError("the cord mask is empty", "cord_mask", "Give a cord mask, or leave the cord's profile out.")
    mean = (weight * np.where(weight > 0, displacement_mm, 0.0)).sum(axis=in_plane)[slices] / total[slices]
    smallest = np.ones(slices.size)
    if jacobian is not None:
        smallest = np.where(weight > 0, jacobian, np.inf).min(axis=in_plane)[slices]
    to_world = np.asarray(affine, dtype=np.float64)
    z_mm = np.full(slices.size, to_world[2, 3])
    for axis in range(3):
        index = np.arange(weight.shape[axis]).reshape([-1 if other == axis else 1 for other in range(3)])
        z_mm += to_world[2, axis] * (weight * index).sum(axis=in_plane)[slices] / total[slices]
    down = np.argsort(-z_mm, kind="stable")
    return CordDisplacement(slices[down], z_mm[down], mean[down], smallest[down].astype(np.float64))


def slice_cutoff(
    profile: CordDisplacement, *, limit_mm: float = MENDABLE_MM, jacobian_floor: float = JACOBIAN_FLOOR
) -> int | None:
    """Where, going down, the cord stops being mendable.

    A slice is bad when the cord is displaced by more than `limit_mm`, or when its Jacobian falls under
    `jacobian_floor`. The cut-off is the first bad slice under the lowest stretch of three good ones in a row: a single
    bad slice between good ones does not cut the neck off, and one or two good slices between bad ones, which
    come about where the displacement swings through zero, do not count as mended.

    Parameters
    ----------
    profile : CordDisplacement
        From the top down, as `cord_displacement` gives it.
    limit_mm : float
    jacobian_floor : float

    Returns
    -------
    int or None
        Position in the arrays of `profile` of the first slice that is not to be trusted; None when the lowest one is good.
    """
    bad = ~((np.abs(profile.mean_mm) <= limit_mm) & (profile.jacobian_min >= jacobian_floor))
    good = (~bad).astype(int)
    stretches = np.flatnonzero(np.convolve(good, np.ones(_STRETCH, dtype=int), mode="valid") == _STRETCH)
    start = int(stretches[-1]) + _STRETCH if stretches.size else 0
    below = np.flatnonzero(bad[start:])
    return start + int(below[0]) if below.size else None


def field_agreement_figures(pair_hz: FloatArray, phase_hz: FloatArray, mask: BoolArray, affine: FloatArray) -> FieldAgreement:
    """Compare two estimates of one field whose shims differ.

    A difference of shims is a polynomial of up to second order in space, so all ten terms of one are fitted by least
    squares and taken away: from the difference for the RMS, from both fields for the slope. Both fields carry noise, so the
    slope is that of the principal axis (total least squares), with voxels farther from it than three robust standard
    deviations left out until it settles; an ordinary regression would fall short of 1 by the noise of the phase difference.

    Parameters
    ----------
    pair_hz, phase_hz : (x, y, z) array
        Fields on one grid, Hz.
    mask : (x, y, z) bool array
        Where both were measured; voxels that are not finite in either are left out.
    affine : (4, 4) array
        Voxel to world, RAS mm.

    Raises
    ------
    CoSpineError
        When the mask holds too few voxels, or a field does not vary in it beyond a second-order polynomial.
    """
    inside = np.asarray(mask, dtype=bool) & np.isfinite(pair_hz) & np.isfinite(phase_hz)
    if np.count_nonzero(inside) < _FEWEST_VOXELS:
        raise CoSpineError(
            f"only {np.count_nonzero(inside)} voxels hold both fields", "mask", "Compare them where both were measured."
        )
    terms = _second_order(np.argwhere(inside) @ np.asarray(affine)[:3, :3].T)
    both = np.stack([pair_hz[inside], phase_hz[inside]], axis=1).astype(np.float64)
    both -= terms @ (terms.T @ both)
    # Terms are orthonormal, so what remains of the difference is the difference of what remains.
    residual = both[:, 0] - both[:, 1]
    if not (both.std(axis=0) > 1e-6).all():
        raise CoSpineError("a field does not vary beyond a second-order polynomial", "field", "Compare measured fields.")
    residual_hz = np.zeros(inside.shape, np.float32)
    residual_hz[inside] = residual
    return FieldAgreement(
        slope=_principal_slope(both, terms),
        r=_correlation(both[:, 0], both[:, 1]),
        rms_hz=float(np.sqrt((residual**2).mean())),
        residual_hz=residual_hz,
        pair_hz=both[:, 0].astype(np.float32),
        phase_hz=both[:, 1].astype(np.float32),
    )


def _second_order(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal columns that span all polynomials of up to second order at some points."""
    x, y, z = ((points_mm - points_mm.mean(axis=0)) / max(float(np.ptp(points_mm, axis=0).max()), 1.0)).T
    terms = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, z * x], axis=1)
    # A slab of one slice cannot tell all ten apart: keep the directions that exist.
    left, strength, _ = np.linalg.svd(terms, full_matrices=False)
    return left[:, strength > 1e-8 * strength[0]]


def _principal_slope(both: NDArray[np.float64], terms: NDArray[np.float64], rounds: int = 20) -> float:
    """Slope of the first column against the second along their principal axis, outliers left out.

    The polynomial is fitted anew without them: one wrong patch would bend it everywhere.
    """
    kept = np.ones(len(both), dtype=bool)
    slope = float("nan")
    for _ in range(rounds):
        y, x = (both - terms @ np.linalg.lstsq(terms[kept], both[kept], rcond=None)[0]).T
        axis = np.linalg.eigh(np.cov(x[kept], y[kept]))[1][:, -1]
        slope = float(axis[1] / axis[0]) if abs(axis[0]) > 1e-12 else float("inf")
        away = np.abs(x * axis[1] - y * axis[0])
        near = away <= _TRIM * np.median(away) / _MAD_OF_NORMAL
        if (near == kept).all():
            break
        kept = near
    return slope


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a_away, b_away = a - a.mean(), b - b.mean()
    # Rounding leaves a trace of variance in a constant image, and would correlate it.
    for away, values in ((a_away, a), (b_away, b)):
        if np.abs(away).max() <= 1e-12 * np.abs(values).max():
            return float("nan")
    return float(a_away @ b_away / (np.linalg.norm(a_away) * np.linalg.norm(b_away)))
