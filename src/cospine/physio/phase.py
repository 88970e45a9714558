"""Phase of heartbeat and breathing at any time."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cospine.physio.recording import Recording

BINS = 100
"""Bins of the histogram that turns chest position into phase (Glover 2000)."""

_LONGEST_BEAT_S = 3.0
_LONGEST_BEAT = 2.5  # in median intervals around it; what is longer holds beats that nobody saw
_LONGEST_BREATH_S = 20.0
_NEIGHBOURS = 21
_SMOOTH_S = 0.1
_SLOPE_S = 1.0
# what the chest does within a minute or two is breathing too (sighs, held breaths, a changed depth)
_BASELINE_S, _BASELINE_STEP_S = 240.0, 5.0
_BRIDGED_S = 1.0  # gaps this short are bridged


def cardiac_phase(peaks_s: ArrayLike, t_s: ArrayLike) -> NDArray[np.float64]:
    """Phase of the heartbeat, linear between peaks (Glover et al. 2000, Magn Reson Med 44:162-167, eq. 2).

    Parameters
    ----------
    peaks_s : array_like (p,)
        Times of the peaks, ascending, s.
    t_s : array_like
        Times to evaluate at, s.

    Returns
    -------
    ndarray, shape of `t_s`
        2 pi (t - t1) / (t2 - t1) in [0, 2 pi), with t1 the last peak not after t and t2 the next. NaN before the first and
        from the last peak on, and between peaks so far apart (over 3 s, or 2.5 times the median of the intervals around)
        that some were not seen.
    """
    peaks, times = np.asarray(peaks_s, dtype=np.float64), np.asarray(t_s, dtype=np.float64)
    phase = np.full(times.shape, np.nan)
    if peaks.size < 2:
        return phase
    intervals, seen = np.diff(peaks), whole_beats(peaks)
    before = np.searchsorted(peaks, times, side="right") - 1
    inside = (before >= 0) & (before < peaks.size - 1)
    inside[inside] &= seen[before[inside]]
    first = before[inside]
    phase[inside] = 2 * np.pi * (times[inside] - peaks[first]) / intervals[first]
    return phase


def whole_beats(peaks_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which intervals (p - 1,) between peaks are single beats: not over 3 s, nor 2.5 times the median of the intervals around."""
    intervals = np.diff(peaks_s)
    if intervals.size == 0:
        return np.zeros(0, dtype=bool)
    usual = ndimage.median_filter(intervals, min(_NEIGHBOURS, intervals.size), mode="nearest")
    return intervals <= np.minimum(_LONGEST_BEAT * usual, _LONGEST_BEAT_S)


def steady_belt(recording: Recording, first_s: float, last_s: float) -> tuple[NDArray[np.float64], float]:
    """Chest position during a run, fit for `respiratory_phase`: smoothed, its slow baseline taken away, spikes cut.

    Glover's histogram takes position for what it is; a cushion that loses pressure would shift all phases with time. The
    middle between the 5th and 95th percentile of the four minutes around is taken for the baseline.

    Parameters
    ----------
    recording : Recording
        Of breathing, placed in time.
    first_s, last_s : float
        Span of the run, s from the first volume; ten seconds on either side are kept.

    Returns
    -------
    samples : ndarray (n,)
        NaN in gaps longer than 1 s.
    start_s : float
        Time of the first of them.
    """
    times, rate = recording.times_s, recording.rate_hz
    chosen = (times >= first_s - 10) & (times <= last_s + 10)
    samples, times = recording.samples[chosen], times[chosen]
    good = np.isfinite(samples)
    if np.count_nonzero(good) < 2:
        return np.full(samples.shape, np.nan), float(times[0]) if times.size else first_s
    at = np.arange(samples.size)
    filled = np.interp(at, at[good], samples[good])
    missing = ~good
    # opening leaves the long gaps only
    gaps: NDArray[np.bool_] = np.asarray(ndimage.binary_opening(missing, np.ones(max(int(_BRIDGED_S * rate), 1))), dtype=bool)
    wave = np.asarray(ndimage.gaussian_filter1d(filled, _SMOOTH_S * rate, mode="nearest"), dtype=np.float64)
    half, step = int(_BASELINE_S * rate / 2), max(int(_BASELINE_STEP_S * rate), 1)
    knots = np.arange(0, samples.size + step, step)
    middles = []
    for knot in knots:
        part = wave[max(knot - half, 0) : knot + half + 1]
        present = part[~gaps[max(knot - half, 0) : knot + half + 1]]
        middles.append(np.percentile(present, [5, 95]).mean() if present.size else np.nan)
    known = np.isfinite(middles)
    wave = wave - np.interp(at, knots[known], np.asarray(middles)[known])
    low, high = np.percentile(wave[~gaps], [1, 99])
    spread = high - low
    wave = np.clip(wave, low - spread, high + 1.5 * spread)  # deep breaths stay, spikes of the belt do not
    wave[gaps] = np.nan
    return wave, float(times[0])


def respiratory_phase(belt: ArrayLike, rate_hz: float, start_s: float, t_s: ArrayLike) -> NDArray[np.float64]:
    """Phase of breathing by the histogram of chest position (Glover et al. 2000, Magn Reson Med 44:162-167, eq. 3).

    With position R scaled to 0 .. 1, `phase(t) = pi * sum(H[b] for b = 1 .. rnd(100 R)) / sum(H) * sign(dR/dt)`, where H
    counts the samples by rnd(100 R) (those at 0 in the first bin). The slope is that of a parabola fitted over 1 s
    (Savitzky & Golay 1964).

    Parameters
    ----------
    belt : array_like (n,)
        Chest position, up with inspiration; NaN where unknown.
    rate_hz, start_s : float
        Its sampling rate, and the time of its first sample.
    t_s : array_like
        Times to evaluate at, s.

    Returns
    -------
    ndarray, shape of `t_s`
        In [-pi, pi]: 0 at the end of expiration, rising to pi at the end of inspiration, from -pi back to 0. NaN outside of the
        recording, in its gaps, and where it is flat for 20 s and more.
    """
    wave, times = np.asarray(belt, dtype=np.float64), np.asarray(t_s, dtype=np.float64)
    phase = np.full(times.shape, np.nan)
    known = np.isfinite(wave)
    if np.count_nonzero(known) < 3 or np.ptp(wave[known]) == 0:
        return phase
    at = np.arange(wave.size)
    filled = np.interp(at, at[known], wave[known])
    edges = np.flatnonzero(np.diff(filled)) + 1
    starts, ends = np.r_[0, edges], np.r_[edges, filled.size]
    known = known & np.repeat(ends - starts < _LONGEST_BREATH_S * rate_hz, ends - starts)
    window = min(2 * int(_SLOPE_S * rate_hz / 2) + 1, 2 * ((wave.size - 1) // 2) + 1)
    slope = np.gradient(filled)
    if window > 2:
        from scipy.signal import savgol_filter

        slope = savgol_filter(filled, window, min(2, window - 1), deriv=1)
    low, high = float(filled[known].min()), float(filled[known].max())
    if not high > low:
        return phase
    number = np.clip(np.rint(BINS * (filled[known] - low) / (high - low)).astype(int), 1, BINS)
    share = np.cumsum(np.bincount(number, minlength=BINS + 1)[1:]) / number.size
    sample = (times - start_s) * rate_hz
    inside = (sample >= 0) & (sample <= wave.size - 1)
    nearest = np.clip(np.rint(sample), 0, wave.size - 1).astype(int)
    inside &= known[nearest]
    position = np.interp(sample[inside], at, filled)
    here = np.clip(np.rint(BINS * (position - low) / (high - low)).astype(int), 1, BINS)
    direction = np.where(np.interp(sample[inside], at, slope) < 0, -1.0, 1.0)
    phase[inside] = np.pi * share[here - 1] * direction
    return phase
