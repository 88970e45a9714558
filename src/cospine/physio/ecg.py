"""Heartbeats in an electrocardiogram: the R peak of every beat, inside the magnet too."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from cospine.physio.events import Events, mend
from cospine.physio.filters import zero_phase
from cospine.physio.rhythm import (
    Rules,
    best_path,
    crowding,
    levelled,
    period_from_events,
    reference_size,
    steady_period,
    track_period,
)
from cospine.physio.signal_quality import contrast, filled, lost_samples
from cospine.physio.template import likeness

_PERIODS_S = (0.33, 1.75)
# So many missing beats are put in where there was no signal.
_MOST_MISSING = 3
# No heart stands still for so long; nor does it saturate for so long, s.
_FLAT_S, _HELD_S = 0.6, 1.2
# Most of a QRS complex, least of T waves (below) and of gradients (above).
_QRS_HZ = (5.0, 20.0)
_WAVE_HZ = (1.0, 40.0)
_WORK_HZ = 200.0
# A weak hold of rhythm: hearts with arrhythmia are hearts.
_RULES = Rules(shortest_s=0.24, stiffness=2.5, most=0.6, missing=0.3, restart=0.6)
# A candidate speaks for itself from 0.43 of its neighbours' size on (natural logarithm), by its shape from a correlation of 0.6.
_OFFSET, _LIKENESS_WEIGHT = 0.85, 0.8
_ENVELOPE_S = 0.03
_TEMPLATE_S = (-0.12, 0.12)
# R is within this of the middle of the complex's energy, s.
_REACH_S = 0.08
# The complex points where it is larger; R up is so usual that down must be this much larger.
_DOWN = 1.25


def find_r_peaks(samples: NDArray[np.float64], rate_hz: float) -> Events:
    """Find R peaks.

    Maxima of the envelope of the 5-20 Hz band's slope are candidates, weighed by size against their neighbours, by likeness to
    the recording's own complexes, and weakly by rhythm; the best sequence wins. R is then the extremum of the 1-40 Hz signal.

    Parameters
    ----------
    samples : ndarray (n,)
        Either polarity; NaN in gaps.
    rate_hz : float
    """
    lost = lost_samples(samples, rate_hz, _FLAT_S, _HELD_S)
    if np.count_nonzero(~lost) < 3.0 * rate_hz:
        return Events.none(lost)
    whole = filled(samples, lost)
    qrs = _band(whole, rate_hz, _QRS_HZ)
    step = max(1, int(rate_hz // _WORK_HZ))
    work, work_hz, work_lost = qrs[::step], rate_hz / step, lost[::step]
    # amplitude and slope together: even within a complex, and fair to wide ones
    steep = np.gradient(work) * work_hz / (2.0 * np.pi * np.sqrt(_QRS_HZ[0] * _QRS_HZ[1]))
    envelope = np.sqrt(gaussian_filter1d(work**2 + steep**2, _ENVELOPE_S * work_hz))
    clear = ~maximum_filter1d(work_lost, int(0.16 * work_hz) | 1).astype(bool)
    times, period = track_period(levelled(envelope, work_hz), work_hz, *_PERIODS_S, window_s=10.0)
    inner = (envelope[1:-1] > envelope[:-2]) & (envelope[1:-1] >= envelope[2:])
    at = np.flatnonzero(inner & clear[1:-1]) + 1
    if at.size == 0:
        return Events.none(lost)
    onset, size = at / work_hz, np.maximum(envelope[at], 1e-12)
    local = np.interp(onset, times, period)
    lost_before = np.cumsum(work_lost)[at] / work_hz
    relative = np.log(size / reference_size(onset, size, local))
    evidence = np.clip(1.6 * (relative + _OFFSET), -2.0, 1.0) - 0.5 * np.maximum(relative - 1.0, 0.0)
    local = steady_period(onset, onset[evidence > 0.5], local)
    hold = crowding(onset, evidence, local)
    chosen = best_path(onset, evidence, local, lost_before, _RULES, hold)
    for _ in range(2):
        alike = np.abs(likeness(work, at, chosen, work_hz, _TEMPLATE_S, local))
        if chosen.size:
            local = np.interp(onset, onset[chosen], period_from_events(onset[chosen], local[chosen]))
        chosen = best_path(onset, evidence + _LIKENESS_WEIGHT * (alike - 0.6), local, lost_before, _RULES, hold)
    quality = (
        np.clip(alike[chosen], 0.0, 1.0)
        * np.sqrt(contrast(size, chosen))
        * np.exp(-np.maximum(np.abs(relative[chosen]) - 0.7, 0.0))
    )
    placed = _place_r(_band(whole, rate_hz, _WAVE_HZ), rate_hz, onset[chosen])
    return mend(placed, quality, np.zeros(placed.size, dtype=bool), local[chosen], lost, rate_hz, _MOST_MISSING)


def _band(samples: NDArray[np.float64], rate_hz: float, band_hz: tuple[float, float]) -> NDArray[np.float64]:
    high = min(band_hz[1], 0.45 * rate_hz)
    return zero_phase(samples, rate_hz, (min(band_hz[0], 0.5 * high), high), "bandpass")


def _place_r(wave: NDArray[np.float64], rate_hz: float, onset_s: NDArray[np.float64]) -> NDArray[np.float64]:
    reach = max(1, round(_REACH_S * rate_hz))
    if onset_s.size == 0:
        return onset_s
    middles = np.clip(np.round(onset_s * rate_hz).astype(int), reach, max(reach, wave.size - reach - 1))
    block = wave[np.clip(middles[:, None] + np.arange(-reach, reach + 1), 0, wave.size - 1)]
    up, down = block.max(axis=1), -block.min(axis=1)
    usual = bool(np.median(up) * _DOWN < np.median(down))
    # A complex of another origin may point the other way: then its own larger extremum is meant.
    points_down = np.where(usual, up <= 2.0 * down, down > 2.0 * up)
    signed = np.where(points_down[:, None], -block, block)
    top = np.clip(signed.argmax(axis=1), 1, 2 * reach - 1)
    rows = np.arange(len(block))
    before, here, after = signed[rows, top - 1], signed[rows, top], signed[rows, top + 1]
    bend = before - 2.0 * here + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1.0), 0.0)
    return (middles - reach + top + np.clip(shift, -0.5, 0.5)) / rate_hz
