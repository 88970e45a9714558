"""Pulse and breathing of the digital participant, and what breathing does to the field.

The pulse is a pressure wave with beat-to-beat amplitude and a wandering rate, breathing a sequence of
separate breaths with depth, pauses and sighs: neither is a Fourier series of its own phase, so that
modelling it as one (RETROICOR) is an approximation here as it is in life.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from cospine.phantom.draw import draw_within, smooth_noise
from cospine.phantom.landmarks import Landmarks

HEART_PER_MIN = (50.0, 90.0)
BREATHS_PER_MIN = (10.0, 20.0)
B0_BREATHING_HZ = {"brain": (0.5, 2.0), "C4": (3.0, 8.0), "C7": (10.0, 30.0)}
B0_DRIFT_HZ = (2.0, 10.0)

_STEP_S = 0.02


@dataclass(frozen=True)
class Physiology:
    """Pulse and breathing of one run, from long before it to after it; times are s from the first volume.

    Attributes
    ----------
    beat_times_s : ndarray, shape (n_beats,)
        Systolic maximum of each pulse at the finger.
    beat_amplitudes : ndarray, shape (n_beats,)
        Pulse height, mean about 1.
    inspiration_times_s, peak_times_s : ndarray, shape (n_breaths,)
        Start of each breath, and end of its inspiration.
    breath_times_s, breath_waveform : ndarray, shape (n,)
        Chest position: 0 on average over the run, 1 peak to peak for a breath at rest.
    task : str or None
    onsets_s, durations_s : ndarray, shape (n_events,)
        Stimuli that breathing and pulse (and, for grasps, the shoulders) react to; empty when nothing is
        locked.
    """

    beat_times_s: NDArray[np.float64]
    beat_amplitudes: NDArray[np.float64]
    inspiration_times_s: NDArray[np.float64]
    peak_times_s: NDArray[np.float64]
    breath_times_s: NDArray[np.float64]
    breath_waveform: NDArray[np.float64]
    task: str | None
    onsets_s: NDArray[np.float64]
    durations_s: NDArray[np.float64]

    @property
    def start_s(self) -> float:
        """First time at which both signals are defined."""
        return float(self.breath_times_s[0])

    @property
    def end_s(self) -> float:
        """Last time at which both signals are defined."""
        return float(self.breath_times_s[-1])

    def cardiac_phase(self, t_s: ArrayLike, delay_s: ArrayLike = 0.0) -> NDArray[np.float64]:
        """Phase in [0, 2 pi) of a pulse arriving ``delay_s`` later: 0 at its maximum, linear in between."""
        t = np.asarray(t_s, dtype=float) - np.asarray(delay_s, dtype=float)
        turns = np.interp(t, self.beat_times_s, np.arange(self.beat_times_s.size))
        return 2.0 * np.pi * (turns % 1.0)

    def pulse(self, t_s: ArrayLike, delay_s: ArrayLike = 0.0) -> NDArray[np.float64]:
        """Pulse wave about its mean, typical height 1, where it arrives ``delay_s`` after the finger.

        The wave rises in 0.1 s and falls slower, with a dicrotic second hump; its length goes with the root
        of the beat's, as systole's does.
        """
        t = np.asarray(t_s, dtype=float) - np.asarray(delay_s, dtype=float)
        return _pulse_wave(t, self.beat_times_s, self.beat_amplitudes) - self._pulse_mean()

    def _pulse_mean(self) -> float:
        grid: NDArray[np.float64] = np.arange(self.start_s, self.end_s, 0.05, dtype=np.float64)
        return float(_pulse_wave(grid, self.beat_times_s, self.beat_amplitudes).mean())

    def breathing(self, t_s: ArrayLike) -> NDArray[np.float64]:
        """Chest position at ``t_s``, up at the end of inspiration."""
        return np.interp(np.asarray(t_s, dtype=float), self.breath_times_s, self.breath_waveform)

    def respiratory_phase(self, t_s: ArrayLike) -> NDArray[np.float64]:
        """Phase in [0, 2 pi): 0 at the start of inspiration, pi at its end, linear between."""
        n = self.inspiration_times_s.size
        marks = np.empty(2 * n)
        marks[0::2], marks[1::2] = self.inspiration_times_s, self.peak_times_s
        half_turns = np.interp(np.asarray(t_s, dtype=float), marks, np.arange(2 * n))
        return np.pi * (half_turns % 2.0)


def simulate_physiology(
    seed: int,
    duration_s: float,
    task: str | None = None,
    onsets_s: ArrayLike = (),
    durations_s: ArrayLike = (),
    *,
    task_locked: bool = True,
    rates_per_min: tuple[float, float] | None = None,
    margin_s: float = 150.0,
) -> Physiology:
    """Simulate pulse and breathing around one run.

    Parameters
    ----------
    seed : int
    duration_s : float
        Length of the run; the signals reach ``margin_s`` beyond it on both sides.
    task : {"pain", "motorL", "motorR"} or None
    onsets_s, durations_s : array_like, shape (n_events,)
        Stimuli. Heat stops the breath and slows, then speeds the heart while the finger's vessels narrow;
        grasping speeds both.
    task_locked : bool
        False leaves these reactions out.
    rates_per_min : (breaths, beats) or None
        Mean rates and a steadier rhythm, for worst cases (:func:`worst_case_rates`); None draws them.
    """
    rng_breath, rng_pulse = (np.random.default_rng([seed, 0x9B1, part]) for part in (1, 2))
    onsets, lengths = np.asarray(onsets_s, dtype=float), np.asarray(durations_s, dtype=float)
    if task is None or not task_locked:
        onsets, lengths = np.empty(0), np.empty(0)
    start, end = -margin_s, duration_s + margin_s
    steadiness = 1.0 if rates_per_min is None else 0.3
    breath_rate = rng_breath.uniform(11.5, 18.5) if rates_per_min is None else rates_per_min[0]
    heart_rate = rng_pulse.uniform(54.0, 86.0) if rates_per_min is None else rates_per_min[1]
    breaths = _draw_breaths(rng_breath, start, end, breath_rate / 60.0, steadiness, task, onsets, lengths)
    grid: NDArray[np.float64] = np.arange(start, end + _STEP_S / 2, _STEP_S, dtype=np.float64)
    chest = _chest_position(grid, breaths) + 0.12 * smooth_noise(rng_breath, grid, 40.0)
    # The zero is the run's mean, so that a static field or position holds on average.
    chest -= chest[(grid >= 0) & (grid <= duration_s)].mean()
    beats, heights = _draw_beats(rng_pulse, grid, chest, heart_rate / 60.0, steadiness, task, onsets, lengths)
    return Physiology(beats, heights, breaths[:, 0], breaths[:, 0] + breaths[:, 1], grid, chest, task, onsets, lengths)


def worst_case_rates(task: str, tr_s: float) -> tuple[float, float]:
    """Breaths and beats a minute that this repetition time folds onto the rate of trials or blocks."""
    task_per_min = 60.0 / 39.1 if task == "pain" else 60.0 / 23.6
    sampling_per_min = 60.0 / tr_s
    return sampling_per_min - task_per_min, 3.0 * sampling_per_min - task_per_min


# --- breathing ----------------------------------------------------------------------------------------------

# A breath is a row: start, length of inspiration, of the hold after it, of expiration (s); depth.


def _draw_breaths(
    rng: np.random.Generator,
    start_s: float,
    end_s: float,
    rate_hz: float,
    steadiness: float,
    task: str | None,
    onsets: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> NDArray[np.float64]:
    # Reactions: a gasp and a held breath soon after most heat onsets; a breath at the start of many grasp
    # blocks.
    reacts = rng.random(onsets.size) < (0.7 if task == "pain" else 0.5)
    reaction_times = (onsets + rng.uniform(0.3, 0.9, onsets.size))[reacts]
    rows = []
    now = start_s - 15.0
    slow, answered = 0.0, now
    next_sigh = now + rng.uniform(20.0, 110.0)
    while now < end_s + 15.0:
        slow = 0.6 * slow + 0.8 * rng.standard_normal()
        period = float(np.clip(np.exp(steadiness * (0.08 * slow + 0.07 * rng.standard_normal())), 0.6, 1.7)) / rate_hz
        depth = float(np.clip(1.0 + steadiness * 0.18 * rng.standard_normal(), 0.45, 1.6))
        hold = 0.0
        due = reaction_times[(reaction_times > answered) & (reaction_times < now + 0.1)]
        answered = now + 0.1
        in_block = bool(np.any((now >= onsets) & (now < onsets + lengths)))
        if task == "pain" and due.size:
            depth, hold = max(depth, 1.0) * 1.2, rng.uniform(2.2, 4.0)
        elif in_block:
            depth, period = 1.15 * depth, 0.9 * period
        elif now >= next_sigh and steadiness == 1.0:
            depth, period = rng.uniform(1.9, 2.6), 1.4 * period
            next_sigh = now + rng.uniform(45.0, 120.0)
        inspiration = period * float(np.clip(rng.normal(0.38, 0.03), 0.3, 0.46))
        # A reaction due in this breath cuts its pause short, or draws it out, so that the next starts on
        # time.
        coming = reaction_times[(reaction_times >= now + 0.1) & (reaction_times < now + 1.3 * period)]
        if coming.size and not hold:
            period = float(np.clip(coming[0] - now, 0.55 * period, 1.3 * period))
        rows.append((now, inspiration, hold, period - inspiration, depth))
        now += period + hold
    return np.array(rows)


def _chest_position(t: NDArray[np.float64], breaths: NDArray[np.float64]) -> NDArray[np.float64]:
    which = np.clip(np.searchsorted(breaths[:, 0], t, side="right") - 1, 0, len(breaths) - 1)
    start, inspiration, hold, expiration, depth = breaths[which].T
    since = t - start
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(since / inspiration, 0.0, 1.0))
    # Expiration takes three quarters of what is left, then the chest rests. A held breath sinks a little.
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip((since - inspiration - hold) / (0.75 * expiration), 0.0, 1.0))
    leak = 1.0 - 0.06 * np.clip(since - inspiration, 0.0, hold)
    return depth * np.where(since < inspiration, rise, fall * leak)


# --- pulse --------------------------------------------------------------------------------------------------


def _draw_beats(
    rng: np.random.Generator,
    grid: NDArray[np.float64],
    chest: NDArray[np.float64],
    rate_hz: float,
    steadiness: float,
    task: str | None,
    onsets: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Rate: breathing (sinus arrhythmia), 0.1 Hz vasomotion, slow wander, jitter of single beats.
    tone = smooth_noise(rng, grid, 4.0)
    rate = 1.0 + steadiness * (
        rng.uniform(0.02, 0.05) * chest + 0.02 * tone + 0.03 * smooth_noise(rng, grid, 30.0)
        + 0.015 * smooth_noise(rng, grid, 1.0)
    )  # fmt: skip
    narrowing = np.zeros(grid.size)
    for onset, length in zip(onsets, lengths, strict=True):
        since = grid - onset
        if task == "pain":
            rate += -0.03 * _hump(since, 1.0, 3.0) + 0.06 * _hump(since, 3.0, 12.0)
            narrowing += 0.3 * _hump(since, 2.0, 16.0)
        else:
            rate += 0.05 * _hump(since, 0.0, length + 6.0)
            narrowing += 0.1 * _hump(since, 1.0, length + 6.0)
    turns = np.concatenate([[0.0], np.cumsum(rate_hz * np.clip(rate, 0.6, 1.6))[:-1] * _STEP_S]) + rng.random()
    beats = np.interp(np.arange(1, int(turns[-1]) + 1), turns, grid)
    beats = beats + steadiness * 0.006 * rng.standard_normal(beats.size)
    height = 1.0 - 0.1 * np.interp(beats, grid, chest) + 0.08 * np.interp(beats, grid, tone)
    height += 0.06 * rng.standard_normal(beats.size)
    height *= 1.0 - np.interp(beats, grid, np.clip(narrowing, 0.0, 0.5))
    # One beat before and after the grid, so that phase is defined everywhere on it.
    first, last = beats[0] - (beats[1] - beats[0]), beats[-1] + (beats[-1] - beats[-2])
    beats = np.concatenate([[first - 1.0 / rate_hz, first], beats, [last, last + 1.0 / rate_hz]])
    height = np.clip(np.concatenate([height[:2], height, height[-2:]]), 0.4, 1.6)
    return beats, height


def _hump(since: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    """Raised cosine between ``start`` and ``end``."""
    u = np.clip((since - start) / (end - start), 0.0, 1.0)
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * u)


def _pulse_wave(t: NDArray[np.float64], beats: NDArray[np.float64], heights: NDArray[np.float64]) -> NDArray[np.float64]:
    nearest = np.searchsorted(beats, t)
    wave = np.zeros(np.shape(t))
    lengths = np.gradient(beats)
    for offset in (-2, -1, 0, 1):
        beat = np.clip(nearest + offset, 0, beats.size - 1)
        inside = (nearest + offset >= 0) & (nearest + offset < beats.size)
        u = (t - beats[beat]) / np.sqrt(lengths[beat] / 0.9)
        systole = np.exp(-0.5 * (u / np.where(u < 0, 0.06, 0.17)) ** 2)
        dicrotic = 0.3 * np.exp(-0.5 * ((u - 0.38) / 0.1) ** 2)
        wave += np.where(inside, heights[beat] * (systole + dicrotic), 0.0)
    return wave


# --- what they do elsewhere ---------------------------------------------------------------------------------


def transit_delay_s(z_mm: ArrayLike, landmarks: Landmarks, seed: int = 0) -> NDArray[np.float64]:
    """When the pulse is at a height, relative to the finger (negative: earlier), s.

    It reaches the neck about 0.2 s before the finger; in the cord's CSF it runs down the canal at some 4-5
    m/s (Kalata et al., IEEE Trans Biomed Eng 2009), and it is in the brain slightly after the upper neck.
    """
    rng = np.random.default_rng([seed, 0x7DE1A])
    neck, speed_mm_s = -rng.uniform(0.17, 0.23), rng.uniform(4000.0, 5000.0)
    below = np.maximum(landmarks.foramen_magnum_z - np.asarray(z_mm, dtype=float), 0.0)
    above = np.clip((np.asarray(z_mm, dtype=float) - landmarks.foramen_magnum_z) / 100.0, 0.0, 1.0)
    return neck + below / speed_mm_s + 0.04 * above


def b0_breathing_hz_per_unit(z_mm: ArrayLike, landmarks: Landmarks, seed: int, severity: float = 0.5) -> NDArray[np.float64]:
    """Change of the field (Hz) at a height when chest position changes by 1, a breath at rest.

    Positive: filling lungs are the more paramagnetic body below, on the axis of the main field. Log-linear
    in height between brain, C4 and C7 (amplitudes of FACTS, after Vannesjo et al., NeuroImage 2018),
    monotone and smooth.

    Parameters
    ----------
    severity : float
        0 draws near the lower end of the ranges, 1 near the upper.
    """
    rng = np.random.default_rng([seed, 0xB0B0])
    draws = {place: draw_within(rng, limits, severity) for place, limits in B0_BREATHING_HZ.items()}
    brain_z = landmarks.foramen_magnum_z + 60.0
    c4, c7 = landmarks.vertebra_z["C4"], landmarks.vertebra_z["C7"]
    slope = np.log(draws["C7"] / draws["C4"]) / (c4 - c7)
    below = c7 - 40.0
    # Below C7 the growth slows down: the chest is no longer far.
    logs = [
        np.log(draws["C7"]) + 0.6 * slope * 40.0,
        *(np.log(draws[place]) for place in ("C7", "C4", "brain")),
    ]
    heights = [below, c7, c4, brain_z]
    # Level ends make the interpolant constant beyond them, with a continuous slope.
    curve = PchipInterpolator([below - 20.0, *heights, brain_z + 20.0], [logs[0], *logs, logs[-1]])
    z = np.clip(np.asarray(z_mm, dtype=float), below - 20.0, brain_z + 20.0)
    return np.exp(curve(z))


def scanner_drift_hz(t_s: ArrayLike, duration_s: float, seed: int, severity: float = 0.5) -> NDArray[np.float64]:
    """Drift of the centre frequency, Hz: 0 at the first volume, 2-10 Hz of either sign at ``duration_s``."""
    rng = np.random.default_rng([seed, 0xD81F7])
    total = draw_within(rng, B0_DRIFT_HZ, severity) * rng.choice([-1.0, 1.0])
    # Passive shims warm up under the gradients: fast at first, saturating.
    bend = rng.uniform(0.5, 2.0)
    u = np.asarray(t_s, dtype=float) / duration_s
    return total * (1.0 - np.exp(-bend * u)) / (1.0 - np.exp(-bend))
