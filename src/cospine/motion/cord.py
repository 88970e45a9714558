"""Cord motion: an in-plane shift of every slice at its own time.

Each slice of each volume is measured against the mean of the aligned slices inside a soft mask about the cord; what head
motion explains smoothly along the neck is fitted first, and the rest is tied between slices that are close in space and time
(`motion.smoothness`). What is found is the apparent position in the distorted image: tissue motion and breathing's B0 together.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cospine.errors import CoSpineError
from cospine.motion.brain import HeadMotion
from cospine.motion.smoothness import Prior, smooth_shifts
from cospine.register.slicewise import slice_shifts
from cospine.space.bspline import coefficients
from cospine.space.grid import Grid
from cospine.space.resample import aligned_moments

logger = logging.getLogger(__name__)

_PRIOR_SD_MM = 1.5  # how far the cord may be from where the head's motion puts it
_ROUNDS = 2
_ROOM = 6  # pixels about the soft mask: spline support and motion
_KNOT_MM = 30.0  # between knots along the neck of how much of the head's motion the cord follows
_OWN_MOTION_MM = 0.03  # floor on a measurement's SD: what the cord does beside the head
_RIDGE = 5.0
_HUBER = 2.0  # robust SDs beyond which a measurement loses weight (Huber 1981)
_REWEIGHTINGS = 4


@dataclass(frozen=True)
class CordMotion:
    """How the cord moved, slice by slice, as the distorted image shows it.

    Parameters
    ----------
    slices : ndarray (n,) of int
        Stored slices measured.
    shift_mm : ndarray (volumes, n, 2)
        Total apparent shift along the two in-plane axes against the reference, positive toward the higher index.
    measured_mm : ndarray (volumes, n, 2)
        What each slice says on its own, before slices are tied together.
    sd_mm : ndarray (volumes, n, 2)
        Posterior SD of `shift_mm`.
    """

    slices: NDArray[np.int_]
    shift_mm: NDArray[np.float64] = field(repr=False)
    measured_mm: NDArray[np.float64] = field(repr=False)
    sd_mm: NDArray[np.float64] = field(repr=False)


def estimate_cord_motion(
    series: NDArray, grid: Grid, weight: NDArray, times_s: NDArray, head: HeadMotion | None = None, *, skip: int = 0
) -> CordMotion:
    """In-plane shift of the cord in every slice and volume.

    Parameters
    ----------
    series : ndarray (x, y, z, t), float32, Fortran order
        Stored series with slices along the third axis.
    grid : Grid
        Its grid.
    weight : ndarray (x, y, z)
        Soft mask about the cord, 0 where it is not.
    times_s : ndarray (t, slices of the image)
        Acquisition time of every slice.
    head : HeadMotion, optional
        Head motion; how much of it the cord follows at each height is fitted.
    skip : int
        Volumes at the start that are not in steady state: their shifts are measured, but they shape no reference.

    Returns
    -------
    CordMotion

    Raises
    ------
    CoSpineError
        When the mask is empty.
    """
    slices = np.flatnonzero((weight > 0).any(axis=(0, 1)))
    if slices.size == 0:
        raise CoSpineError(
            "the cord mask is empty", "cord mask", "give one with --cord-mask, or leave the cord out with --regions brain"
        )
    count = series.shape[3]
    pixel_mm = grid.voxel_mm[:2]
    z_mm = slices * float(grid.voxel_mm[2])
    slice_times = times_s[:, slices]
    followed = None if head is None else _head_at_cord(head, grid, weight, slices)
    # all that is compared lies about the cord: a small box of the series stays in the cache
    box = _box(weight, slices)
    part = np.asfortranarray(series[box])
    weight_part = np.asarray(weight, dtype=np.float64)[box]
    inside = np.arange(slices.size)
    shift = np.zeros((count, slices.size, 2))
    measured = np.zeros_like(shift)
    sd = np.zeros_like(shift)
    kept = _usable(part, weight_part, skip)
    mean = np.asarray(part[..., kept].mean(axis=3, dtype=np.float64), dtype=np.float32)
    used = weight_part
    for number in range(_ROUNDS):
        reference = mean if number else gaussian_filter(mean, (0.7, 0.7, 0))
        coefs = coefficients(np.ascontiguousarray(reference.T), in_plane=True)
        found, information, _ = slice_shifts(
            coefs, part.T, inside, np.ascontiguousarray(used.T), shift / pixel_mm, _PRIOR_SD_MM / pixel_mm
        )
        measured = found * pixel_mm
        measured_sd = np.sqrt(np.diagonal(np.linalg.inv(information), axis1=2, axis2=3)) * pixel_mm
        # breathing and swallows move the cord along both axes at once: the axis that shows them better is smoothed first, and
        # what it finds may explain part of the other
        found_first: list[NDArray] = []
        for axis in np.argsort(np.median(measured_sd, axis=(0, 1)) / measured.std(axis=(0, 1))):
            explains = [*([] if followed is None else followed[..., axis]), *found_first]
            trend = _explained(measured[..., axis], measured_sd[..., axis], explains, z_mm)
            # the first round only serves to sharpen the reference: the process is learnt from the second
            rest, sd[..., axis], prior = smooth_shifts(
                measured[..., axis] - trend,
                measured_sd[..., axis],
                slice_times,
                z_mm,
                None if number == _ROUNDS - 1 else Prior(breathing=0.02),
            )
            shift[..., axis] = rest + trend
            found_first.append(rest - rest.mean(axis=0))
            logger.debug("cord motion, axis %d, round %d: %s", axis, number, prior)
        shift -= np.median(shift[kept], axis=0)
        if number < _ROUNDS - 1:  # for the next round
            mean, variance = _moments(part, shift / pixel_mm, kept)
            used = weight_part * _steadiness(variance, weight_part)
    return CordMotion(slices, shift, measured, sd)


def _usable(series: NDArray, weight: NDArray, skip: int) -> NDArray[np.int_]:
    """Volumes that may shape the reference: in steady state, and with the signal that the others have."""
    level = (series * weight[..., None]).sum(axis=(0, 1, 2), dtype=np.float64)[skip:]
    middle = np.median(level)
    good = (level > 0.5 * middle) & (level < 2 * middle)
    return skip + np.flatnonzero(good if good.sum() > 1 else np.ones(level.size, dtype=bool))


def _box(weight: NDArray, slices: NDArray) -> tuple[slice, slice, NDArray]:
    """In-plane box about the soft mask with room for the spline and for motion, and the slices themselves."""
    index = np.nonzero((weight > 0).any(axis=2))
    low = [max(int(at.min()) - _ROOM, 0) for at in index]
    high = [int(at.max()) + _ROOM + 1 for at in index]
    return slice(low[0], high[0]), slice(low[1], high[1]), slices


def _head_at_cord(head: HeadMotion, grid: Grid, weight: NDArray, slices: NDArray) -> NDArray[np.float64]:
    """What the cord's centres would do were they part of the head, as in-plane displacements in mm.

    Returns
    -------
    ndarray (2, t, n, 2)
        First what the top of the cord does, then what head rotation adds further down; in-plane axes last.
    """
    centres = np.array([[*_centroid(weight[..., k]), k] for k in slices])
    at = grid.to_ras(centres)
    moved = np.einsum("tij,nj->tni", head.poses[:, :3, :3], at) + head.poses[:, None, :3, 3] - at
    displacement = (moved @ grid.inverse[:3, :3].T * grid.voxel_mm)[..., :2]
    _, up = grid.axis_of("S")
    top = displacement[:, [-1 if up > 0 else 0]]
    both = np.stack([np.broadcast_to(top, displacement.shape), displacement - top])
    return both - both.mean(axis=1, keepdims=True)


def _centroid(plane: NDArray) -> tuple[float, float]:
    i, j = np.indices(plane.shape)
    return float((i * plane).sum() / plane.sum()), float((j * plane).sum() / plane.sum())


def _explained(shift: NDArray, sd: NDArray, explains: list[NDArray], z_mm: NDArray) -> NDArray[np.float64]:
    """Part of the shifts that others explain, each by a share that is smooth along the neck; robust ridge regression.

    Parameters
    ----------
    shift, sd : ndarray (t, n)
        Measured shifts along one axis and their SD, mm.
    explains : list of ndarray (t, n)
        What may explain them, mm: what the cord would do as part of the head, and motion along the other axis.
    z_mm : ndarray (n,)
        Heights.

    Returns
    -------
    ndarray (t, n)
    """
    if not explains:
        return np.zeros(shift.shape)
    knots = max(2, round(float(np.ptp(z_mm)) / _KNOT_MM) + 1)
    position = np.linspace(z_mm.min(), z_mm.max(), knots)
    hats = np.stack([np.interp(z_mm, position, row) for row in np.eye(knots)], axis=1)
    design = np.concatenate([part[:, :, None] * hats for part in explains], axis=2).reshape(shift.size, -1)
    target = (shift - np.median(shift, axis=0)).ravel()
    known = 1 / (sd.ravel() ** 2 + _OWN_MOTION_MM**2)
    robust = np.ones_like(known)
    fitted = np.zeros_like(target)
    for _ in range(_REWEIGHTINGS):
        w = known * robust
        normal = design.T @ (design * w[:, None]) + _RIDGE * np.eye(design.shape[1])
        fitted = design @ np.linalg.solve(normal, design.T @ (w * target))
        off = np.abs(target - fitted) * np.sqrt(known)
        robust = np.minimum(1, _HUBER * 1.4826 * np.median(off) / np.maximum(off, 1e-9))
    return fitted.reshape(shift.shape)


def _moments(series: NDArray, shift: NDArray, kept: NDArray) -> tuple[NDArray[np.float32], NDArray]:
    """Mean and variance over the kept volumes of slices each brought back by its shift in pixels, (x, y, slices) each."""
    matrices = np.tile(np.eye(4), (*shift.shape[:2], 1, 1))
    matrices[:, :, :2, 3] = shift
    return aligned_moments(series, matrices, kept)


def _steadiness(variance: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """Weight by inverse variance over time, each slice on its own; pulsating CSF loses its say."""
    steady = np.zeros(variance.shape)
    for k in np.flatnonzero((weight > 0).any(axis=(0, 1))):
        inside = weight[..., k] > 0
        level = float(np.median(variance[..., k][inside]))
        if level > 0:
            steady[..., k] = np.minimum(level / (variance[..., k] + 0.3 * level), 2.0)
    return steady
