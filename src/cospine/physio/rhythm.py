"""What beats and breaths have in common: a period that changes slowly, and the best sequence of events among candidates."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d

# Periods are tried in steps of 3 %.
_STEP = 0.03
# Of two periods that fit alike, a multiple of the other is not the period: an octave costs this much correlation.
_OCTAVE = 0.1
# Correlation that a change of the period by 1 (natural logarithm) from one window to the next must be worth.
_CHANGE = 1.5


@dataclass(frozen=True)
class Rules:
    """What makes a sequence of events likely, in units of a clear event's score (about 1).

    Parameters
    ----------
    shortest_s : float
        Events are at least this far apart.
    stiffness : float
        Cost of an interval's squared logarithm against the local period.
    most : float
        Largest cost of one irregular interval: an event that is clear enough stays, however early it comes.
    missing : float
        Cost of each event that must have been missed in a longer interval.
    restart : float
        Cost of going on after a pause of any length.
    """

    shortest_s: float
    stiffness: float
    most: float
    missing: float
    restart: float


def levelled(activity: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """Activity (n,) >= 0 of heartbeats, made fit for :func:`track_period`.

    Beats come out of about the same size all along, so that a movement does not outvote the beats around it; squared, so that
    lesser waves between beats count little; and broadened by 50 ms, so that a rhythm that varies with breathing still agrees with
    itself some beats later.
    """
    peaks = maximum_filter1d(activity, int(1.5 * rate_hz) | 1)
    level = np.maximum(minimum_filter1d(peaks, int(3.0 * rate_hz) | 1), 1e-3 * peaks.max() + 1e-12)
    return gaussian_filter1d(np.minimum(activity / level, 1.5) ** 2, 0.05 * rate_hz)


def track_period(
    activity: NDArray[np.float64], rate_hz: float, shortest_s: float, longest_s: float, window_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Follow the period of a signal that repeats itself.

    The autocorrelation of overlapping windows votes for every period; the path through all votes that changes least is the answer
    (dynamic programming), so that a disturbed window borrows from its neighbours.

    Parameters
    ----------
    activity : ndarray (n,)
        Large at each event, whatever its size between.
    rate_hz : float
    shortest_s, longest_s : float
        Periods looked for, s.
    window_s : float
        Length of a window, s; best a few periods.

    Returns
    -------
    times_s : ndarray (w,)
        Middles of the windows, s from the first sample.
    period_s : ndarray (w,)
        The period there; interpolate between.
    """
    width = min(activity.size, max(int(window_s * rate_hz), int(2.2 * longest_s * rate_hz)))
    hop = max(1, width // 6)
    starts = np.arange(0, max(activity.size - width, 0) + 1, hop)
    periods: NDArray[np.float64] = np.exp(np.arange(np.log(shortest_s), np.log(min(longest_s, 0.7 * width / rate_hz)), _STEP))
    lags = periods * rate_hz
    n_fft = 1 << int(np.ceil(np.log2(2 * width)))
    votes = np.empty((starts.size, periods.size))
    for first in range(0, starts.size, 512):
        rows = starts[first : first + 512, None] + np.arange(width)
        block = activity[rows]
        block = block - block.mean(axis=1, keepdims=True)
        power = np.abs(np.fft.rfft(block, n_fft, axis=1)) ** 2
        correlation = np.fft.irfft(power, n_fft, axis=1)[:, :width]
        correlation /= np.maximum(correlation[:, :1], 1e-12) * (1.0 - np.arange(width) / width)
        low = np.floor(lags).astype(int)
        part = lags - low
        votes[first : first + 512] = (1.0 - part) * correlation[:, low] + part * correlation[:, np.minimum(low + 1, width - 1)]
    votes -= _OCTAVE * (np.log2(periods) - np.log2(periods[0]))
    change = _CHANGE * _STEP * np.abs(np.subtract.outer(np.arange(periods.size), np.arange(periods.size)))
    best = votes[0]
    came = np.zeros(votes.shape, dtype=np.int64)
    for window in range(1, starts.size):
        total = best[None, :] - change
        came[window] = total.argmax(axis=1)
        best = total.max(axis=1) + votes[window]
    path = np.empty(starts.size, dtype=np.int64)
    path[-1] = int(best.argmax())
    for window in range(starts.size - 1, 0, -1):
        path[window - 1] = came[window, path[window]]
    return (starts + width / 2.0).astype(np.float64) / rate_hz, periods[path]


def period_from_events(onset_s: NDArray[np.float64], fallback_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local period at every event: the median of nine intervals around it, kept within a quarter of a first idea.

    Parameters
    ----------
    onset_s : ndarray (p,)
    fallback_s : ndarray (p,)
        The first idea; stands alone where there are fewer than five events.
    """
    if onset_s.size < 5:
        return fallback_s
    ratio = np.log(np.diff(onset_s) / (0.5 * (fallback_s[1:] + fallback_s[:-1])))
    padded = np.pad(np.concatenate([ratio[:1], ratio]), 4, mode="reflect" if ratio.size > 4 else "edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 9), axis=1)
    return fallback_s * np.exp(np.clip(middle, -0.3, 0.3))


def steady_period(
    onset_s: NDArray[np.float64], clear_s: NDArray[np.float64], period_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Local period where clear candidates alone keep one, else the given.

    Autocorrelation may take two beats for one where some come early; nine intervals that mostly agree know better.

    Parameters
    ----------
    onset_s, period_s : ndarray (n,)
        Where the period is wanted, and what is known of it.
    clear_s : ndarray (p,)
        Candidates that are events by themselves.
    """
    interval = np.diff(clear_s)
    if interval.size < 9:
        return period_s
    around = np.lib.stride_tricks.sliding_window_view(np.pad(interval, 4, mode="reflect"), 9)
    middle = np.median(around, axis=1)
    steady = np.median(np.abs(around - middle[:, None]), axis=1) < 0.12 * middle
    nearest = np.clip(np.searchsorted(clear_s, onset_s) - 1, 0, interval.size - 1)
    return np.where(steady[nearest], middle[nearest], period_s)


def reference_size(
    onset_s: NDArray[np.float64], sizes: NDArray[np.float64], period_s: NDArray[np.float64], n_bins: int = 11
) -> NDArray[np.float64]:
    """Size of a true event around every candidate (n,): the running median of the largest candidate in each bin.

    Parameters
    ----------
    onset_s, sizes : ndarray (n,)
        Candidates.
    period_s : ndarray (n,)
        Local period; a bin is a little longer, so that nearly every one holds an event.
    n_bins : int
        How many bins the median takes.
    """
    course = np.cumsum(np.diff(onset_s, prepend=onset_s[0]) / (1.2 * period_s))
    bins = np.floor(course).astype(int)
    largest = np.full(bins[-1] + 1, np.nan)
    np.fmax.at(largest, bins, sizes)
    seen = np.flatnonzero(np.isfinite(largest))
    values = largest[seen]
    half = n_bins // 2
    padded = np.pad(values, half, mode="reflect" if values.size > half else "edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    # A bin of a quiet stretch must not make giants of its noise.
    middle = np.maximum(middle, 0.1 * np.median(values))
    return np.interp(course, seen + 0.5, middle)


def crowding(onset_s: NDArray[np.float64], scores: NDArray[np.float64], period_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many clear candidates there are for each event due, around every candidate (n,), squared, 1 to 4.

    Where a movement or muscles make many, each says less, and the rhythm has to say more.
    """
    clear = onset_s[scores > 0.3]
    if clear.size < 3:
        return np.ones(onset_s.size)
    # an irregular heart has a period in name only
    reach = 2.0 * np.minimum(period_s, 1.2 * np.median(np.diff(clear)))
    number = np.searchsorted(clear, onset_s + reach, side="right") - np.searchsorted(clear, onset_s - reach)
    return np.clip((number / 5.0) ** 2, 1.0, 4.0)


def best_path(
    onset_s: NDArray[np.float64],
    scores: NDArray[np.float64],
    period_s: NDArray[np.float64],
    lost_s: NDArray[np.float64],
    rules: Rules,
    hold: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Choose the sequence of candidates with the largest sum of scores less costs of its intervals.

    Parameters
    ----------
    onset_s : ndarray (n,)
        Candidates, in order.
    scores : ndarray (n,)
        Evidence for each by itself; negative against.
    period_s : ndarray (n,)
        Local period.
    lost_s : ndarray (n,)
        Time without signal before each candidate: events in it cost nothing.
    rules : Rules
    hold : ndarray (n,), optional
        Factor on the costs of rhythm (see :func:`crowding`).

    Returns
    -------
    ndarray (p,) of int
        Chosen candidates, in order.
    """
    if onset_s.size == 0:
        return np.empty(0, dtype=np.int64)
    held = np.ones(onset_s.size) if hold is None else hold
    return _best_path(
        onset_s, scores, period_s, lost_s, held, rules.shortest_s, rules.stiffness, rules.most, rules.missing, rules.restart
    )


@njit(cache=True)
def _best_path(onset_s, scores, period_s, lost_s, hold, shortest_s, stiffness, most, missing, restart):  # pyright: ignore
    n = onset_s.size
    total = np.empty(n)
    came = np.full(n, -1, dtype=np.int64)
    # The best of those too far back to count intervals from.
    far, best_far = -1, -1
    for j in range(n):
        total[j] = scores[j]
        reach = onset_s[j] - 4.5 * period_s[j]
        while far + 1 < j and onset_s[far + 1] < reach:
            far += 1
            if best_far < 0 or total[far] > total[best_far]:
                best_far = far
        if best_far >= 0 and total[best_far] - restart > 0.0:
            total[j] = scores[j] + total[best_far] - restart
            came[j] = best_far
        for i in range(j - 1, far, -1):
            interval = onset_s[j] - onset_s[i]
            if interval < shortest_s:
                continue
            turns = max(1.0, np.round(interval / period_s[j]))
            off = np.log(interval / (turns * period_s[j]))
            cost = hold[j] * min(stiffness * off * off, most) + missing * (turns - 1.0)
            if lost_s[j] - lost_s[i] > 0.3 * period_s[j]:
                cost = min(cost, missing)
            cost = min(cost, hold[j] * restart)
            if total[i] - cost + scores[j] > total[j]:
                total[j] = total[i] - cost + scores[j]
                came[j] = i
    at = int(np.argmax(total))
    chosen = [at]
    while came[at] >= 0:
        at = came[at]
        chosen.append(at)
    return np.array(chosen[::-1], dtype=np.int64)
