"""Breaths in the signal of a belt: the end of every inspiration."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cospine.physio.events import Events, mend
from cospine.physio.filters import zero_phase
from cospine.physio.maxima import between_flanks, plateau_around, vertex
from cospine.physio.rhythm import Rules, best_path, period_from_events, reference_size, steady_period, track_period
from cospine.physio.signal_quality import contrast, filled, lost_samples, saturated

# 40 and 4 a minute.
_PERIODS_S = (1.5, 15.0)
# Chests rest, and quantised rest stands still; a belt that is off does so for longer. Held deep breaths saturate for longer yet.
_FLAT_S, _HELD_S = 2.5, 8.0
_BAND_HZ = (0.04, 1.5)
_WORK_HZ = 20.0
# Hardly any hold of rhythm: breathing stops, hurries and sighs.
_RULES = Rules(shortest_s=1.1, stiffness=1.2, most=0.2, missing=0.15, restart=0.4)
# The heart's share on the chest is smoothed away over this share of a breath.
_SMOOTHING = 0.06
# A maximum speaks for a breath from a fifth of its neighbours' size on (natural logarithm): shallow breaths are breaths.
_OFFSET = 1.6
# Slopes beside a plateau are taken over this, s.
_FLANK_S = 0.15
# and noise does not end it for so long, s.
_BRIDGE_S = 0.05
# A rise or fall that an end of the recording cuts is one from this share of the other side on.
_CUT = 0.1
# A maximum so long after the rise has ended is on the plateau of a held breath, s.
_HOLD_S = 0.5
# A plateau longer than this share of a breath is a held breath too, whose inspiration ended soon after it saturated.
_LONGEST_TOP, _HIDDEN_RISE = 0.85, 0.15
# Breaths are too irregular to say where more than one missing was.
_MOST_MISSING = 1


def find_breaths(samples: NDArray[np.float64], rate_hz: float, limits: tuple[float, float] | None = None) -> Events:
    """Find ends of inspiration.

    Maxima of the smoothed signal are candidates, weighed by how far the chest rose before and fell after them against their
    neighbours, and weakly by rhythm; the best sequence wins. Where the breath is held (or the belt saturates) the maximum may lie
    anywhere on the plateau; its beginning is taken, found by carrying on the rise.

    Parameters
    ----------
    samples : ndarray (n,)
        Up with inspiration (no waveform tells a belt that is wired the other way for certain: turn it before); NaN in gaps.
    rate_hz : float
    limits : (float, float), optional
        Range of the converter.
    """
    lost = lost_samples(samples, rate_hz, _FLAT_S, _HELD_S)
    if np.count_nonzero(~lost) < 6.0 * rate_hz:
        return Events.none(lost)
    whole = filled(samples, lost)
    step = max(1, int(rate_hz // _WORK_HZ))
    calm = whole
    if rate_hz > 2.0 * _WORK_HZ:
        calm = zero_phase(whole, rate_hz, 5.0, "lowpass")
    chest, work_hz, work_lost = calm[::step], rate_hz / step, lost[::step]
    high = min(_BAND_HZ[1], 0.4 * work_hz)
    band = zero_phase(chest, work_hz, (_BAND_HZ[0], high), "bandpass")
    times, period = track_period(_bounded(band, work_hz), work_hz, *_PERIODS_S, window_s=40.0)
    typical = float(np.median(period))
    smooth = gaussian_filter1d(band, _SMOOTHING * typical * work_hz)
    at, size = _candidates(smooth, work_hz, typical, work_lost)
    if at.size == 0:
        return Events.none(lost)
    onset = at / work_hz
    local = np.interp(onset, times, period)
    lost_before = np.cumsum(work_lost)[at] / work_hz
    relative = np.log(size / reference_size(onset, size, local))
    evidence = np.clip(0.9 * (relative + _OFFSET), -2.0, 1.0)
    local = steady_period(onset, onset[evidence > 0.5], local)
    chosen = best_path(onset, evidence, local, lost_before, _RULES)
    if chosen.size:
        local = np.interp(onset, onset[chosen], period_from_events(onset[chosen], local[chosen]))
    chosen = best_path(onset, evidence, local, lost_before, _RULES)
    quality = (
        np.exp(-np.maximum(np.abs(relative[chosen]) - 0.5, 0.0))
        * np.sqrt(contrast(size, chosen))
        * _steadiness(onset[chosen], local[chosen])
    )
    chest_smooth = gaussian_filter1d(chest, min(0.5 * _SMOOTHING * typical, 0.15) * work_hz)
    full = saturated(samples, rate_hz, limits) & ~lost
    placed = _ends_of_inspiration(chest_smooth, work_hz, at[chosen], typical, whole, full, step)
    return mend(placed, quality, np.zeros(placed.size, dtype=bool), local[chosen], lost, rate_hz, _MOST_MISSING)


def _bounded(band: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """The signal with sighs and movements cut to the size of breaths around."""
    level = np.sqrt(gaussian_filter1d(np.minimum(band**2, 9.0 * np.median(band**2) + 1e-30), 15.0 * rate_hz))
    return np.tanh(band / np.maximum(level, 1e-12) / 1.5)


def _candidates(
    smooth: NDArray[np.float64], rate_hz: float, period_s: float, lost: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    from scipy.signal import peak_prominences

    at = np.flatnonzero((smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])) + 1
    at = at[~lost[at]]
    _, left, right = peak_prominences(smooth, at, wlen=2 * int(2.5 * period_s * rate_hz) + 1)
    rise, fall = smooth[at] - smooth[left], smooth[at] - smooth[right]
    # The first and the last breath may be cut; what is seen of them counts, if it is more than a wiggle.
    first, last = (left == 0) & (rise > _CUT * fall), (right == smooth.size - 1) & (fall > _CUT * rise)
    size = np.sqrt(np.where(first, np.maximum(rise, fall), rise) * np.where(last, np.maximum(rise, fall), fall))
    keep = size > 0
    return at[keep], size[keep]


def _steadiness(onset_s: NDArray[np.float64], period_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for a breath whose shorter neighbouring interval is like the period, less for a crowded one."""
    if onset_s.size < 2:
        return np.full(onset_s.size, 0.5)
    interval = np.diff(onset_s)
    shorter = np.minimum(np.append(interval, np.inf), np.insert(interval, 0, np.inf))
    return np.clip(shorter / (0.6 * period_s), 0.0, 1.0)


def _ends_of_inspiration(
    chest: NDArray[np.float64],
    rate_hz: float,
    at: NDArray[np.int64],
    period_s: float,
    raw: NDArray[np.float64],
    full: NDArray[np.bool_],
    step: int,
) -> NDArray[np.float64]:
    out = np.empty(at.size)
    reach = max(1, round(0.15 * period_s * rate_hz))
    flank, bridge = (max(1, round(time_s * rate_hz * step)) for time_s in (_FLANK_S, _BRIDGE_S))
    for number, middle in enumerate(at):
        low = 0 if number == 0 else (at[number - 1] + middle) // 2
        high = chest.size if number == at.size - 1 else (at[number + 1] + middle + 1) // 2
        first, last = max(low, middle - reach), min(high, middle + reach + 1)
        plateau = np.flatnonzero(full[first * step : last * step])
        if plateau.size:
            begin, end = plateau_around(full, first * step + int(plateau[0]), bridge)
            held = end - begin > _LONGEST_TOP * period_s * rate_hz * step
            hidden = begin + _HIDDEN_RISE * period_s * rate_hz * step if held else between_flanks(raw, begin, end, flank)
            out[number] = hidden / step
        else:
            top = first + int(np.argmax(chest[first:last]))
            end = _carried_on(chest, top, low)
            out[number] = end if top - end > _HOLD_S * rate_hz else vertex(chest, top)
    return out / rate_hz


def _carried_on(chest: NDArray[np.float64], top: int, low: int) -> float:
    """Where the rise to a maximum would have ended by itself; a rise is half a cosine."""
    rise = chest[low : top + 1]
    foot = int(np.argmin(rise))
    height = rise[-1] - rise[foot]
    if height <= 0 or rise.size - foot < 4:
        return float(top)
    # (1 - cos x) / 2 is 0.5 at x = 0.5 pi and 0.8 at 0.705 pi: the last 0.295 pi take 1.44 times as long as what is between
    at50, at80 = (foot + int(np.flatnonzero(rise[foot:] <= rise[foot] + share * height)[-1]) for share in (0.5, 0.8))
    return low + at80 + 1.44 * (at80 - at50)
