"""Heartbeats in a photoplethysmogram: the systolic maximum of every pulse."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from cospine.physio.events import Events, mend
from cospine.physio.filters import zero_phase
from cospine.physio.maxima import between_flanks, plateau_around, vertex
from cospine.physio.rhythm import Rules, best_path, crowding, levelled, period_from_events, reference_size, track_period
from cospine.physio.signal_quality import contrast, filled, lost_samples, saturated
from cospine.physio.template import likeness

# 180 and 35 a minute.
_PERIODS_S = (0.33, 1.75)
# So many missing beats are put in where there was no signal.
_MOST_MISSING = 3
# No pulse stands still for so long; nor does it saturate for so long, s.
_FLAT_S, _HELD_S = 0.6, 1.2
_BAND_HZ = (0.8, 8.0)
# The band moves a lopsided maximum by up to this, s; it is placed on the signal smoothed no more than so.
_NEAR_S, _FINE_HZ = 0.02, 15.0
_WORK_HZ = 100.0
# Premature pulses stay, if they are clear; one that is missing costs as much as a clear one brings.
_RULES = Rules(shortest_s=0.28, stiffness=4.0, most=1.0, missing=1.0, restart=2.0)
# A pulse rises within this, s.
_RISE_S = 0.35
# A candidate less of a bump than this share of its neighbours is the filter's, whatever else speaks for it.
_FLAT_SHARE, _NO_EVIDENCE = 0.1, -3.0
# What is compared with the median pulse, s from the maximum.
_TEMPLATE_S = (-0.3, 0.35)
# A maximum further than this from where its rise puts it was made by a movement, s.
_OFF_S = 0.05
# A candidate speaks for itself from 0.4 of its neighbours' size on (natural logarithm), by its shape from a correlation of 0.6.
_OFFSET, _LIKENESS_WEIGHT = 0.9, 1.5
_MOVED_QUALITY = 0.3


def find_pulses(samples: NDArray[np.float64], rate_hz: float, limits: tuple[float, float] | None = None) -> Events:
    """Find the systolic maxima of a photoplethysmogram.

    Maxima of the band-passed signal (0.8-8 Hz) are candidates, weighed by height and steepness of the rise before them against
    those of their neighbours, by likeness to the recording's own median pulse, and by how well they keep the local rhythm; the
    best sequence wins. The maximum is then placed on the signal itself; where the converter saturated, on what its flanks say.

    Parameters
    ----------
    samples : ndarray (n,)
        Systole up or down (blood absorbs light: some devices write it so); NaN in gaps.
    rate_hz : float
    limits : (float, float), optional
        Range of the converter.
    """
    lost = lost_samples(samples, rate_hz, _FLAT_S, _HELD_S)
    if np.count_nonzero(~lost) < 3.0 * rate_hz:
        return Events.none(lost)
    whole = filled(samples, lost)
    high = min(_BAND_HZ[1], 0.4 * rate_hz)
    band = zero_phase(whole, rate_hz, (_BAND_HZ[0], high), "bandpass")
    step = max(1, int(rate_hz // _WORK_HZ))
    work, work_hz, work_lost = band[::step], rate_hz / step, lost[::step]
    if _is_inverted(work, work_lost):
        samples, whole, work = -samples, -whole, -work
        limits = None if limits is None else (-limits[1], -limits[0])

    slope = np.gradient(work) * work_hz
    times, period = track_period(levelled(np.maximum(slope, 0.0), work_hz), work_hz, *_PERIODS_S, window_s=10.0)
    at, size = _candidates(work, slope, work_hz, work_lost)
    if at.size == 0:
        return Events.none(lost)
    onset = at / work_hz
    local = np.interp(onset, times, period)
    lost_before = np.cumsum(work_lost)[at] / work_hz
    relative = np.log(size / reference_size(onset, size, local))
    # Larger than a neighbour is no more a pulse; much larger is a movement.
    evidence = np.clip(1.2 * (relative + _OFFSET), -1.5, 1.0) - np.maximum(relative - 0.8, 0.0)
    bump = _bump(whole[::step], at, np.minimum(0.2, 0.25 * local) * work_hz)
    evidence = np.where(bump < _FLAT_SHARE * reference_size(onset, np.maximum(bump, 0.0), local), _NO_EVIDENCE, evidence)
    hold = crowding(onset, evidence, local)
    chosen = best_path(onset, evidence, local, lost_before, _RULES, hold)
    for _ in range(2):
        alike = likeness(work, at, chosen, work_hz, _TEMPLATE_S, local)
        if chosen.size:
            local = np.interp(onset, onset[chosen], period_from_events(onset[chosen], local[chosen]))
        chosen = best_path(onset, evidence + _LIKENESS_WEIGHT * (alike - 0.6), local, lost_before, _RULES, hold)
    quality = (
        np.clip(alike[chosen], 0.0, 1.0)
        * np.sqrt(contrast(size, chosen))
        * np.exp(-np.maximum(np.abs(relative[chosen]) - 0.5, 0.0))
    )
    placed = place_maxima(whole, rate_hz, onset[chosen], saturated(samples, rate_hz, limits) & ~lost)
    placed, moved = _from_the_rise(placed, _steepest(slope, at[chosen], work_hz))
    quality = np.where(moved, np.minimum(quality, _MOVED_QUALITY), quality)
    return mend(placed, quality, moved, local[chosen], lost, rate_hz, _MOST_MISSING)


def _bump(signal: NDArray[np.float64], at: NDArray[np.int64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height (p,) of the signal itself over the chord that spans each candidate: filters ring into pauses, where it has none."""
    before, after = np.round(at - reach).astype(int), np.round(at + reach).astype(int)
    # the same on both sides, so that a slope makes no bump
    inside = np.minimum.reduce([at - before, after - at, at, signal.size - 1 - at])
    return signal[at] - 0.5 * (signal[at - inside] + signal[at + inside])


def _is_inverted(work: NDArray[np.float64], lost: NDArray[np.bool_]) -> bool:
    """A pulse rises faster than it falls, is down longer than up, and bends sharpest at its top: the cubes of all three lean."""
    slope, bend = np.diff(work)[~lost[1:]], np.diff(work, 2)[~lost[2:]]
    return _lean(slope) + _lean(work[~lost]) - _lean(bend) < -0.005


def _lean(values: NDArray[np.float64]) -> float:
    scale = float(np.quantile(np.abs(values), 0.99))
    return float(np.mean(np.clip(values / scale, -1.0, 1.0) ** 3)) if scale > 0 else 0.0


def _candidates(
    work: NDArray[np.float64], slope: NDArray[np.float64], rate_hz: float, lost: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    inner = (work[1:-1] > work[:-2]) & (work[1:-1] >= work[2:])
    clear = ~maximum_filter1d(lost, int(0.16 * rate_hz) | 1).astype(bool)
    at = np.flatnonzero(inner & clear[1:-1]) + 1
    back = max(2, int(_RISE_S * rate_hz))
    # windows that end at the sample
    foot = minimum_filter1d(work, back, origin=(back - 1) // 2)
    steepest = maximum_filter1d(slope, back, origin=(back - 1) // 2)
    size = np.sqrt(np.maximum(work - foot, 0.0) * np.maximum(steepest, 0.0))[at]
    keep = size > 0
    return at[keep], size[keep]


def place_maxima(
    samples: NDArray[np.float64], rate_hz: float, onset_s: NDArray[np.float64], saturated_at: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Place maxima on the signal itself, finer than its samples.

    Parameters
    ----------
    samples : ndarray (n,)
        Without NaN.
    rate_hz : float
    onset_s : ndarray (p,)
        Where about, s from the first sample.
    saturated_at : ndarray (n,) of bool
    """
    band_hz = (_BAND_HZ[0], min(_BAND_HZ[1], 0.4 * rate_hz))
    band = zero_phase(samples, rate_hz, band_hz, "bandpass")
    fine = samples
    if rate_hz > 2.5 * _FINE_HZ:
        fine = zero_phase(samples, rate_hz, _FINE_HZ, "lowpass")
    reach = max(1, round(0.1 * rate_hz))
    near = max(1, round(_NEAR_S * rate_hz))
    flank = max(2, round(0.03 * rate_hz))
    # a plateau may be broken by a sample or two of noise
    bridge = max(1, round(0.02 * rate_hz))
    out = np.empty(onset_s.size)
    for number, onset in enumerate(onset_s):
        middle = round(onset * rate_hz)
        low, high = max(0, middle - reach), min(samples.size, middle + reach + 1)
        plateau = np.flatnonzero(saturated_at[low:high])
        if plateau.size:
            out[number] = between_flanks(samples, *plateau_around(saturated_at, low + int(plateau[0]), bridge), flank)
        else:
            top = low + int(np.argmax(band[low:high]))
            # what the eye sees is next to it, unless the baseline is too steep for a maximum
            first, last = max(0, top - near), min(samples.size, top + near + 1)
            seen = first + int(np.argmax(fine[first:last]))
            out[number] = vertex(fine, seen) if first < seen < last - 1 else vertex(band, top)
    return out / rate_hz


def _steepest(slope: NDArray[np.float64], at: NDArray[np.int64], rate_hz: float) -> NDArray[np.float64]:
    """Time (p,) of the steepest rise before each pulse's maximum, s."""
    back = np.arange(-round(_RISE_S * rate_hz), 1)
    block = slope[np.maximum(at[:, None] + back, 0)]
    return (at + back[block.argmax(axis=1)]) / rate_hz


def _from_the_rise(placed: NDArray[np.float64], rise_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Maxima that a slow movement has shifted, put back to where neighbouring pulses have theirs after the steepest rise."""
    if placed.size < 5:
        return placed, np.zeros(placed.size, dtype=bool)
    late = placed - rise_s
    padded = np.pad(late, 7, mode="reflect" if late.size > 7 else "edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, 15)
    usual = np.median(around, axis=1)
    steady = np.median(np.abs(around - usual[:, None]), axis=1)
    moved = (np.abs(late - usual) > _OFF_S) & (steady < 0.3 * _OFF_S)
    return np.where(moved, rise_s + usual, placed), moved
