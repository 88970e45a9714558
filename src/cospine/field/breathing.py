"""What breathing does to the place where the cord appears: chest and belly move, the field in the neck with them.

A phase-encoded image moves by that field (Raj et al. 2001, Phys Med Biol 46:3331-3340), growing from head to chest (Verma &
Cohen-Adad 2014, Magn Reson Med 72:1629-1636). Here it is measured, not removed: the apparent shift of each slice is regressed
on breathing at that slice's own time.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.errors import CoSpineError

_SMOOTH_S = 0.15  # SD: the belt's noise and the pulse in it are faster than breathing
_DRIFT_S = 128.0  # slower than this is drift of head and scanner
_FLAT_S = 10.0  # no pause between breaths holds the very same value so long
_HUBER = 2.0  # robust standard deviations; swallows and jumps lie beyond
_REWEIGHTINGS = 10
_TERMS = 2  # breathing and its derivative
_LEAST_SPARE = 10  # residual degrees of freedom


@dataclass(frozen=True)
class BreathingShift:
    """How far breathing moves the cord's image, slice by slice.

    Parameters
    ----------
    amplitude_mm : ndarray (n,)
        Peak to peak over the central 95 % of the volumes, of the part that follows breathing.
    correlation : ndarray (n,)
        Of the shift with breathing at the slice's time, both without drift: positive where breathing in moves the image
        toward the higher voxel index.
    r_squared : ndarray (n,)
        Share of the shift's variance, without drift, that breathing and its derivative explain.
    null_r_squared : float
        What as many random regressors would explain.
    volumes : int
        How many volumes the recording covers.
    mm_per_hz : float or None
        Shift of the image by 1 Hz.
    """

    amplitude_mm: NDArray[np.float64] = field(repr=False)
    correlation: NDArray[np.float64] = field(repr=False)
    r_squared: NDArray[np.float64] = field(repr=False)
    null_r_squared: float
    volumes: int
    mm_per_hz: float | None = None

    @property
    def amplitude_hz(self) -> NDArray[np.float64] | None:
        """The same in Hz, as if all of it were field; the cord's own motion is in it too."""
        return None if self.mm_per_hz is None else self.amplitude_mm / abs(self.mm_per_hz)


def breathing_shift(
    shift_mm: NDArray, times_s: NDArray, breathing: NDArray, rate_hz: float, start_s: float, *, mm_per_hz: float | None = None
) -> BreathingShift:
    """Regress the apparent shift of each slice on breathing.

    Parameters
    ----------
    shift_mm : ndarray (t, n)
        Apparent shift along the phase-encoding axis, toward the higher voxel index; NaN where not known.
    times_s : ndarray (t, n)
        When each slice was acquired, s from the start of the run.
    breathing : ndarray (samples,)
        Recording, up with inspiration, any unit.
    rate_hz : float
        Its sampling rate.
    start_s : float
        Time of its first sample, s from the start of the run.
    mm_per_hz : float, optional
        Voxel size along the phase-encoding axis times total readout time.

    Returns
    -------
    BreathingShift
        The derivative beside breathing itself lets the shift lag or lead the belt.

    Raises
    ------
    CoSpineError
        When shapes do not fit, or the recording is flat or covers fewer than half of the volumes.
    """
    shift = np.asarray(shift_mm, dtype=np.float64)
    times = np.asarray(times_s, dtype=np.float64)
    if shift.ndim != 2 or shift.shape != times.shape or not np.all(np.isfinite(times)):
        raise CoSpineError(
            f"shifts of shape {shift.shape} and times of shape {times.shape}", remedy="Give one time for each volume and slice"
        )
    if not (np.isfinite(rate_hz) and rate_hz > 0 and np.isfinite(start_s)):
        raise CoSpineError(
            f"a recording at {rate_hz} Hz from {start_s} s cannot be placed",
            "SamplingFrequency, StartTime",
            "Give both as numbers in the recording's sidecar",
        )
    wave, alive = _prepared(np.asarray(breathing, dtype=np.float64), rate_hz)
    slope = np.gradient(wave) * rate_hz
    sample = (times - start_s) * rate_hz
    covered = (sample >= 0) & (sample <= len(wave) - 1)
    covered &= alive[np.clip(np.rint(sample), 0, len(wave) - 1).astype(int)]
    whole = np.asarray(np.all(covered, axis=1), dtype=bool)
    if 2 * np.count_nonzero(whole) < len(shift):
        raise CoSpineError(
            f"the breathing recording covers {np.count_nonzero(whole)} of {len(shift)} volumes "
            f"(it lasts from {start_s:.1f} to {start_s + len(wave) / rate_hz:.1f} s)",
            remedy="Check StartTime and that the recording is this run's",
        )
    at = np.arange(len(wave))
    regressors = np.stack([np.interp(sample, at, wave), np.interp(sample, at, slope)], -1)
    n = shift.shape[1]
    amplitude, correlation, explained = (np.full(n, np.nan) for _ in range(3))
    drifts = _drift(times.mean(axis=1))
    spare = np.count_nonzero(whole) - drifts.shape[1]
    for s in range(n):
        used = whole & np.isfinite(shift[:, s])
        if np.count_nonzero(used) - drifts.shape[1] - _TERMS >= _LEAST_SPARE:
            amplitude[s], correlation[s], explained[s] = _follow(shift[used, s], regressors[used, s], drifts[used])
    return BreathingShift(
        amplitude, correlation, explained, min(_TERMS / max(spare, 1), 1.0), int(np.count_nonzero(whole)), mm_per_hz
    )


def _prepared(breathing: NDArray[np.float64], rate_hz: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Breathing in standard deviations, smooth; and which samples hold any: the belt may have come off for a while."""
    finite = np.isfinite(breathing)
    if breathing.ndim != 1 or np.count_nonzero(finite) < 2 or np.ptp(breathing[finite]) == 0:
        raise CoSpineError("the breathing recording is flat", remedy="Leave it out; was the belt connected?")
    at = np.arange(len(breathing))
    filled = np.interp(at, at[finite], breathing[finite])
    edges = np.flatnonzero(np.diff(filled)) + 1
    starts, ends = np.r_[0, edges], np.r_[edges, len(filled)]
    alive: NDArray[np.bool_] = np.repeat(ends - starts <= _FLAT_S * rate_hz, ends - starts)
    if not alive.any():
        raise CoSpineError("the breathing recording is flat", remedy="Leave it out; was the belt connected?")
    low, high = np.percentile(filled[alive], [0.5, 99.5])
    middle, half = (low + high) / 2, (high - low) / 2
    # sighs stay, spikes of the belt do not
    filled = np.clip(filled, middle - 2 * half, middle + 2 * half)
    wave = np.asarray(ndimage.gaussian_filter1d(filled, _SMOOTH_S * rate_hz, mode="nearest"), dtype=np.float64)
    spread = float(np.std(wave[alive]))
    if spread == 0:
        raise CoSpineError("the breathing recording is flat", remedy="Leave it out; was the belt connected?")
    return (wave - np.mean(wave[alive])) / spread, alive


def _drift(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines (t, columns) slower than the drift's period, the first constant."""
    t = len(times_s)
    length = (times_s[-1] - times_s[0]) * t / max(t - 1, 1)
    columns = 1 + max(1, int(2 * length / _DRIFT_S))
    phase = (times_s - times_s[0]) / max(length, 1e-9) + 0.5 / t
    return np.cos(np.pi * phase[:, None] * np.arange(columns))


def _follow(y: NDArray, breathing: NDArray, drift: NDArray) -> tuple[float, float, float]:
    """Amplitude, correlation and share of variance of one slice, by a robust regression (Huber's weights)."""
    design = np.c_[drift, breathing]
    weight = np.ones(len(y))
    beta = np.zeros(design.shape[1])
    for _ in range(_REWEIGHTINGS):
        root = np.sqrt(weight)
        beta = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        residual = np.abs(y - design @ beta)
        scale = 1.4826 * float(np.median(residual))
        if scale == 0:
            break
        weight = np.minimum(1.0, _HUBER * scale / np.maximum(residual, 1e-12 * scale))
    followed = breathing @ beta[drift.shape[1] :]
    low, high = np.percentile(followed, [2.5, 97.5])
    flat_y, flat_wave = _without(drift, y, weight), _without(drift, breathing[:, 0], weight)
    left = y - design @ beta
    total = float((weight * flat_y**2).sum())
    explained = 1 - float((weight * left**2).sum()) / total if total > 0 else 0.0
    norm = np.sqrt(total * float((weight * flat_wave**2).sum()))
    correlation = float((weight * flat_y * flat_wave).sum() / norm) if norm > 0 else 0.0
    return float(high - low), correlation, max(explained, 0.0)


def _without(drift: NDArray, y: NDArray, weight: NDArray) -> NDArray:
    root = np.sqrt(weight)
    return y - drift @ np.linalg.lstsq(drift * root[:, None], y * root, rcond=None)[0]
