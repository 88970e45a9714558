"""Where a sensor saw something: lost stretches, saturation, and how good the signal is by window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A window counts as usable from this quality on.
USABLE = 0.5
_FLATS_PER_MIN = 6.0


@dataclass(frozen=True, eq=False)
class SignalQuality:
    """Quality of a signal by window.

    Parameters
    ----------
    start_s : ndarray (w,)
        Start of each window, s from the recording's first sample; each begins where the last ended.
    length_s : float
        Length of a window, s; the last may reach beyond the recording.
    quality : ndarray (w,)
        0 (nothing, or not what it should be) to 1 (every event like the others).
    usable : ndarray (w,) of bool
        Whether events in the window can be trusted.
    """

    start_s: NDArray[np.float64]
    length_s: float
    quality: NDArray[np.float64]
    usable: NDArray[np.bool_]


def by_window(
    duration_s: float,
    length_s: float,
    onset_s: NDArray[np.float64],
    quality: NDArray[np.float64],
    lost: NDArray[np.bool_],
    rate_hz: float,
) -> SignalQuality:
    """Average the quality of events by window, less the share of time that was lost.

    Parameters
    ----------
    duration_s, length_s : float
        Of the recording and of a window, s.
    onset_s, quality : ndarray (p,)
        Events.
    lost : ndarray (n,) of bool
        Samples without signal.
    rate_hz : float
    """
    n = int(np.ceil(duration_s / length_s - 1e-9))
    if n == 0:
        return SignalQuality(np.empty(0), length_s, np.empty(0), np.empty(0, dtype=bool))
    window = np.minimum((onset_s / length_s).astype(int), n - 1)
    number = np.bincount(window, minlength=n)
    total = np.bincount(window, weights=quality, minlength=n)
    of_sample = np.minimum((np.arange(lost.size) / (rate_hz * length_s)).astype(int), n - 1)
    kept = 1.0 - np.bincount(of_sample, weights=lost, minlength=n) / np.maximum(np.bincount(of_sample, minlength=n), 1)
    mean = np.where(number > 0, total / np.maximum(number, 1), 0.0) * kept
    return SignalQuality(np.arange(n, dtype=np.float64) * length_s, length_s, mean, mean >= USABLE)


def runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last sample of every run of True."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def lost_samples(samples: NDArray[np.float64], rate_hz: float, flat_s: float, held_s: float) -> NDArray[np.bool_]:
    """Samples (n,) without signal: gaps, and stretches that stand still for longer than a living signal does.

    Parameters
    ----------
    samples : ndarray (n,)
    rate_hz : float
    flat_s : float
        No living signal stands still for so long between the ends of its range.
    held_s : float
        Nor does it stay at an end, saturated, for so long; where it jumped there or back, `flat_s` holds.

    A signal that stands still many times a minute does so by its nature (coarse steps, marks instead of waves): none is lost.
    """
    gap = ~np.isfinite(samples)
    if gap.all():
        return gap
    steps = np.abs(np.diff(samples))
    still = np.zeros(samples.size, dtype=bool)
    still[1:] = steps == 0
    lost = gap.copy()
    lowest, highest = float(np.nanmin(samples)), float(np.nanmax(samples))
    moving = steps[steps > 0]
    jump = max(3.0 * float(np.quantile(moving, 0.99)), 0.02 * (highest - lowest)) if moving.size else 0.0
    found = []
    for begin, end in zip(*runs(still), strict=True):
        first = begin - 1  # the run's first sample is the one that the others equal
        length_s = (end - first) / rate_hz
        if length_s < flat_s:
            continue
        saturates = samples[first] in (lowest, highest)
        jumped = (first > 0 and steps[first - 1] > jump) or (end < samples.size and steps[end - 1] > jump)
        if not saturates or jumped or length_s > held_s:
            found.append((first, end))
    if len(found) <= max(3.0, _FLATS_PER_MIN * samples.size / rate_hz / 60.0):
        for first, end in found:
            lost[first:end] = True
    return lost


def contrast(sizes: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far chosen events (p,) stand out of the candidates between them: 1 from twice their size on, 0 at the same."""
    if chosen.size == 0:
        return np.empty(0)
    other = sizes.copy()
    other[chosen] = 0.0
    # the largest of the others after each chosen one, and before the first
    largest = np.maximum.reduceat(np.append(other, 0.0), np.insert(chosen, 0, 0))
    beside = 0.5 * (largest[:-1] + largest[1:])
    return np.clip(2.0 * (1.0 - beside / np.maximum(sizes[chosen], 1e-12)), 0.0, 1.0)


def filled(samples: NDArray[np.float64], lost: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The signal with lost stretches bridged by straight lines, for filters."""
    if not lost.any():
        return samples
    at = np.flatnonzero(~lost)
    return np.interp(np.arange(samples.size), at, samples[at])


def saturated(samples: NDArray[np.float64], rate_hz: float, limits: tuple[float, float] | None) -> NDArray[np.bool_]:
    """Samples (n,) at the upper end of the converter.

    Where its range is not known, the largest value is its end if the signal stays there for three samples and 20 ms.
    """
    finite = samples[np.isfinite(samples)]
    if finite.size == 0:
        return np.zeros(samples.size, dtype=bool)
    highest = float(finite.max())
    at_top = samples >= (highest if limits is None else min(limits[1], highest))
    if limits is not None and highest < limits[1]:
        return np.zeros(samples.size, dtype=bool)
    first, end = runs(at_top)
    keep = np.zeros(samples.size, dtype=bool)
    for a, b in zip(first, end, strict=True):
        if b - a >= max(3, 0.02 * rate_hz):
            keep[a:b] = True
    return keep
