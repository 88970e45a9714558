"""Slow effects of breathing depth and heart rate on BOLD: each convolved with its response function."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cospine.physio.phase import whole_beats

_STEP_S = 0.1
RESPONSE_S = 50.0
"""How far back the responses reach."""
_HEART_WINDOW_S = 6.0


def respiration_response(t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Response to respiration volume per time at times after it (Birn et al. 2008, NeuroImage 40:644-654, eq. 3).

    `0.6 t^2.1 exp(-t / 1.6) - 0.0023 t^3.54 exp(-t / 4.25)`, t in s; 0 before 0.
    """
    t = np.maximum(t_s, 0.0)
    return 0.6 * t**2.1 * np.exp(-t / 1.6) - 0.0023 * t**3.54 * np.exp(-t / 4.25)


def cardiac_response(t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Response to heart rate at times after it (Chang et al. 2009, NeuroImage 44:857-869, eq. 5).

    `0.6 t^2.7 exp(-t / 1.6) - 16 / sqrt(2 pi 9) exp(-(t - 12)^2 / (2 9))`, t in s; 0 before 0.
    """
    t = np.maximum(t_s, 0.0)
    response = 0.6 * t**2.7 * np.exp(-t / 1.6) - 16 / np.sqrt(18 * np.pi) * np.exp(-((t - 12) ** 2) / 18)
    return np.where(np.asarray(t_s) < 0, 0.0, response)


def respiration_volume(
    belt: NDArray[np.float64], rate_hz: float, start_s: float, breaths_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Respiration volume per time of each breath (Birn et al. 2006, NeuroImage 31:1536-1548).

    Parameters
    ----------
    belt : ndarray (n,)
        Chest position, up with inspiration; NaN where unknown.
    rate_hz, start_s : float
        Its sampling rate, and the time of its first sample.
    breaths_s : ndarray (b,)
        Ends of inspiration, ascending, s.

    Returns
    -------
    times_s, volume : ndarray (b - 1,)
        At each end of inspiration but the first: from the lowest point since the one before up to it, over the time between.
    """
    sample = np.rint((breaths_s - start_s) * rate_hz).astype(int)
    keep = (sample >= 0) & (sample < belt.size)
    sample, breaths = sample[keep], breaths_s[keep]
    times, volume = [], []
    for before, here, t0, t1 in zip(sample[:-1], sample[1:], breaths[:-1], breaths[1:], strict=True):
        part = belt[before : here + 1]
        if np.isfinite(part).all() and t1 > t0:
            times.append(t1)
            volume.append((belt[here] - part.min()) / (t1 - t0))
    return np.array(times), np.array(volume)


def heart_rate(beats_s: NDArray[np.float64], t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Beats a minute in a sliding window of 6 s (Chang et al. 2009): 60 over the mean of the intervals that end in it.

    Intervals in which beats were lost do not count. Where none ends in the window the rate is interpolated; before the first
    beat and after the last it is held.
    """
    if beats_s.size < 2:
        return np.full(np.shape(t_s), np.nan)
    single = whole_beats(beats_s)
    intervals, ends = np.diff(beats_s)[single], beats_s[1:][single]
    sums, counts = np.r_[0.0, np.cumsum(intervals)], np.arange(ends.size + 1)
    low = np.searchsorted(ends, np.asarray(t_s) - _HEART_WINDOW_S / 2)
    high = np.searchsorted(ends, np.asarray(t_s) + _HEART_WINDOW_S / 2)
    number = counts[high] - counts[low]
    rate = np.full(np.shape(t_s), np.nan)
    some = number > 0
    rate[some] = 60.0 * number[some] / (sums[high] - sums[low])[some]
    if not some.any():
        return rate
    return np.asarray(np.interp(t_s, np.asarray(t_s)[some], rate[some]), dtype=np.float64)


def respiration_column(
    belt: NDArray[np.float64], rate_hz: float, start_s: float, breaths_s: NDArray[np.float64], times_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`rvt` at every slice (t, slices), of mean 0 and SD 1; zeros where no breath is known.

    Parameters are those of `respiration_volume`; `times_s` (t, slices) is when slices were acquired.
    """
    at, volume = respiration_volume(belt, rate_hz, start_s, breaths_s)
    if at.size < 2:
        return np.zeros(times_s.shape)
    grid = _grid(times_s)
    course = np.asarray(np.interp(grid, at, volume), dtype=np.float64)
    return _convolved(course, respiration_response, grid, times_s)


def heart_column(beats_s: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """`hrv` at every slice (t, slices), of mean 0 and SD 1; zeros where no beat is known."""
    if beats_s.size < 2:
        return np.zeros(times_s.shape)
    grid = _grid(times_s)
    return _convolved(heart_rate(beats_s, grid), cardiac_response, grid, times_s)


def _grid(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    # responses reach back this far; what was not recorded then is held at its first value
    return np.asarray(np.arange(times_s.min() - RESPONSE_S, times_s.max() + _STEP_S, _STEP_S), dtype=np.float64)


def _convolved(
    course: NDArray[np.float64],
    response: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    grid: NDArray[np.float64],
    times_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    kernel = response(np.asarray(np.arange(0.0, RESPONSE_S, _STEP_S), dtype=np.float64))
    # about its mean, so that the start, with nothing before it, is no step
    slow = np.asarray(np.convolve(course - course.mean(), kernel)[: grid.size] * _STEP_S, dtype=np.float64)
    column = np.interp(times_s, grid, slow)
    spread = column.std()
    return (column - column.mean()) / spread if spread > 0 else np.zeros(times_s.shape)
