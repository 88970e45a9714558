"""Heartbeats and breaths against the digital participant's own, and against signals worked by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.phantom import recordings, sensors
from cospine.phantom.physiology import Physiology, simulate_physiology
from cospine.physio.maxima import between_flanks, plateau_around, vertex
from cospine.physio.peaks import find_peaks
from cospine.physio.recording import Recording
from cospine.physio.rhythm import Rules, best_path

_DURATION_S = 300.0
_TOLERANCE_S = {"cardiac": 0.05, "respiratory": 0.3}
_SENSOR: dict[str, Any] = {"cardiac": "ppg", "respiratory": "belt"}


def _pairs(found: NDArray[np.float64], truth: NDArray[np.float64], tolerance_s: float) -> list[tuple[int, int]]:
    """Events that are the same, one to one, in order."""
    pairs, i, j = [], 0, 0
    while i < found.size and j < truth.size:
        if abs(found[i] - truth[j]) <= tolerance_s:
            pairs.append((i, j))
        i, j = i + (found[i] - truth[j] <= tolerance_s), j + (truth[j] - found[i] <= tolerance_s)
    return pairs


def _f1(found: NDArray[np.float64], truth: NDArray[np.float64], tolerance_s: float) -> float:
    return 2.0 * len(_pairs(found, truth, tolerance_s)) / (found.size + truth.size)


def _physiology(seed: int) -> Physiology:
    onsets = np.arange(10.1, _DURATION_S, 39.1)
    return simulate_physiology(seed, _DURATION_S, "pain", onsets, np.full(onsets.size, 4.0))


def _digital(seed: int, kind: str, setting: str) -> tuple[Recording, recordings.Recording, NDArray[np.float64]]:
    taken = recordings.record(_physiology(seed), _DURATION_S, seed, sensors.SENSORS[setting])[kind]
    recording = Recording(
        "cardiac" if kind == "cardiac" else "respiratory",
        taken.samples.astype(float),
        float(recordings.RATE_HZ),
        sensor=_SENSOR[kind],
        limits=(0.0, 4095.0),
    )
    return recording, taken, taken.peaks_s - taken.start_s


def _cardiac(samples: NDArray[np.float64], rate_hz: float, sensor: Any = "ppg") -> Recording:
    return Recording("cardiac", samples, rate_hz, sensor=sensor)


def _pulse(beats_s: NDArray[np.float64], rate_hz: float, end_s: float, dicrotic: float = 0.3) -> NDArray[np.float64]:
    t = np.arange(int(end_s * rate_hz)) / rate_hz
    wave = np.zeros(t.size)
    for beat in beats_s:
        u = t - beat
        wave += np.exp(-0.5 * (u / np.where(u < 0, 0.06, 0.15)) ** 2) + dicrotic * np.exp(-0.5 * ((u - 0.38) / 0.07) ** 2)
    return wave


def _beats(end_s: float, period_s: float = 0.9, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    times = 0.5 + np.cumsum(period_s * (1.0 + 0.03 * rng.standard_normal(int(1.2 * end_s / period_s))))
    return times[times < end_s - 0.5]


# --- the digital participant ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cardiac", "respiratory"])
@pytest.mark.parametrize(("setting", "least"), [("clean", 0.99), ("typical", 0.99), ("noisy", 0.95)])
def test_digital_recordings(kind: str, setting: str, least: float) -> None:
    hits = all_of_them = 0
    for seed in (0, 1, 2):
        recording, taken, truth = _digital(seed, kind, setting)
        peaks = find_peaks(recording)
        pairs = _pairs(peaks.onset_s, truth, _TOLERANCE_S[kind])
        # What happened while the sensor was off cannot be seen; a peak put in there does not count either way.
        blind = truth[~taken.visible]
        seen = np.count_nonzero(taken.visible[[j for _, j in pairs]])
        unmatched = np.delete(peaks.onset_s, [i for i, _ in pairs])
        near_blind = np.array([blind.size > 0 and np.abs(blind - time).min() < 1.0 for time in unmatched], dtype=bool)
        hits += 2 * seen
        all_of_them += 2 * seen + np.count_nonzero(~near_blind) + np.count_nonzero(taken.visible) - seen
    assert hits / all_of_them >= least


def test_clean_maxima_are_exact() -> None:
    recording, _, truth = _digital(3, "cardiac", "clean")
    found = find_peaks(recording).onset_s
    apart = [found[i] - truth[j] for i, j in _pairs(found, truth, 0.05)]
    assert np.median(np.abs(apart)) < 0.012


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("in_magnet", [False, True])
@pytest.mark.parametrize("sensor", ["ecg", ""])
def test_digital_electrocardiogram(inverted: bool, in_magnet: bool, sensor: str) -> None:
    t = np.arange(0.0, 120.0, 1.0 / 400.0)
    excitations = np.arange(0.0, 120.0, 2.68 / 35) if in_magnet else None
    volts, truth = sensors.electrocardiogram(
        _physiology(4), t, np.random.default_rng(4), inverted=inverted, excitations_s=excitations
    )
    found = find_peaks(_cardiac(np.round(volts), 400.0, sensor)).onset_s
    assert _f1(found, truth, 0.05) >= 0.99
    assert np.median([abs(found[i] - truth[j]) for i, j in _pairs(found, truth, 0.05)]) < 0.003


# --- pulses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [25.0, 50.0, 125.0, 200.0, 1000.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rates_and_polarities(rate_hz: float, sign: float) -> None:
    beats = _beats(60.0)
    found = find_peaks(_cardiac(sign * _pulse(beats, rate_hz, 60.0), rate_hz)).onset_s
    assert _f1(found, beats, 0.03) == 1.0


@pytest.mark.parametrize("period_s", [60.0 / 38, 60.0 / 170])
def test_slow_and_fast_hearts(period_s: float) -> None:
    beats = _beats(90.0, period_s)
    found = find_peaks(_cardiac(_pulse(beats, 100.0, 90.0, dicrotic=0.3 if period_s > 0.5 else 0.0), 100.0)).onset_s
    assert _f1(found, beats, 0.05) >= 0.99


def test_dicrotic_wave_taller_than_systole() -> None:
    beats = _beats(90.0)
    wave = _pulse(beats, 100.0, 90.0)
    # in a few pulses a slow swell lifts the second hump above the first
    t = np.arange(wave.size) / 100.0
    for beat in beats[10:90:17]:
        wave += 0.9 * np.exp(-0.5 * ((t - beat - 0.38) / 0.1) ** 2)
    assert _f1(find_peaks(_cardiac(wave, 100.0)).onset_s, beats, 0.05) >= 0.98


def test_pulses_that_fade_and_return() -> None:
    beats = _beats(90.0)
    t = np.arange(9000) / 100.0
    wave = _pulse(beats, 100.0, 90.0) * (1.0 - 0.8 * np.exp(-0.5 * ((t - 45.0) / 4.0) ** 2)) + 0.5 * np.sin(t / 3.0)
    assert _f1(find_peaks(_cardiac(wave, 100.0)).onset_s, beats, 0.05) == 1.0


def test_premature_pulse_stays_and_pause_is_not_filled() -> None:
    beats = _beats(90.0)
    beats[40] -= 0.25
    beats = np.delete(beats, 70)
    peaks = find_peaks(_cardiac(_pulse(beats, 100.0, 90.0), 100.0))
    assert _f1(peaks.onset_s, beats, 0.05) == 1.0
    assert not peaks.mended.any()


def test_lost_beats_are_put_in_and_marked() -> None:
    beats = _beats(90.0)
    wave = _pulse(beats, 100.0, 90.0)
    for first in (20.0, 40.0):
        wave[int(first * 100) : int(first * 100) + 200] = np.nan
    wave[6000:6250] = wave[6000]
    # eight seconds are too long to know
    wave[7500:8300] = np.nan
    peaks = find_peaks(_cardiac(wave, 100.0))
    assert np.all(peaks.quality[peaks.mended] <= 0.3)
    put_in = peaks.onset_s[peaks.mended]
    assert put_in.size >= 5
    assert np.all(((put_in > 19.5) & (put_in < 22.5)) | ((put_in > 39.5) & (put_in < 42.5)) | ((put_in > 59.5) & (put_in < 63.0)))
    assert len(_pairs(put_in, beats, 0.15)) == put_in.size
    assert not np.any((peaks.onset_s > 75.5) & (peaks.onset_s < 82.5))


def test_steps_of_gain_and_baseline() -> None:
    beats = _beats(90.0)
    wave = 800.0 * _pulse(beats, 200.0, 90.0)
    wave[6000:] = 0.4 * wave[6000:] + 900.0
    wave[12000:] -= 1500.0
    assert _f1(find_peaks(_cardiac(wave, 200.0)).onset_s, beats, 0.05) >= 0.98


# --- electrocardiograms ------------------------------------------------------------------------------------------


def _electrocardiogram(
    beats_s: NDArray[np.float64], rate_hz: float, ectopic: NDArray[np.bool_], t_wave: float = 0.3
) -> NDArray[np.float64]:
    t = np.arange(int((beats_s[-1] + 1.0) * rate_hz)) / rate_hz
    out = np.zeros(t.size)
    for beat, wide in zip(beats_s, ectopic, strict=True):
        waves = (
            ((0.0, 0.035, 1.3), (0.09, 0.04, -0.6), (0.3, 0.07, -0.5)) if wide
            else ((-0.16, 0.025, 0.12), (0.0, 0.010, 1.0), (0.028, 0.010, -0.25), (0.28, 0.05, t_wave))
        )  # fmt: skip
        for delay, width, height in waves:
            out += height * np.exp(-0.5 * ((t - beat - delay) / width) ** 2)
    return out


@pytest.mark.parametrize("rate_hz", [100.0, 250.0, 1000.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_t_waves_taller_than_r(rate_hz: float, sign: float) -> None:
    beats = _beats(60.0)
    volts = sign * _electrocardiogram(beats, rate_hz, np.zeros(beats.size, dtype=bool), t_wave=1.15)
    assert _f1(find_peaks(_cardiac(volts, rate_hz, "ecg")).onset_s, beats, 0.01) == 1.0


def test_arrhythmia_and_ectopic_beats() -> None:
    rng = np.random.default_rng(5)
    interval = np.maximum(0.75 * np.exp(0.25 * rng.standard_normal(160)), 0.35)
    ectopic = np.zeros(160, dtype=bool)
    ectopic[8::9] = True
    interval[8::9], interval[9::9] = 0.5, 1.05
    beats = 0.5 + np.cumsum(interval)
    volts = _electrocardiogram(beats, 360.0, ectopic)
    volts += 0.03 * rng.standard_normal(volts.size)
    assert _f1(find_peaks(_cardiac(volts, 360.0, "ecg")).onset_s, beats, 0.05) >= 0.98


# --- breaths -------------------------------------------------------------------------------------------------------


def test_ripples_are_no_breaths() -> None:
    t = np.arange(0.0, 180.0, 0.02)
    chest = -np.cos(2 * np.pi * t / 4.0) + 0.08 * np.sin(2 * np.pi * 1.1 * t)
    found = find_peaks(Recording("respiratory", chest, 50.0)).onset_s
    assert _f1(found, np.arange(2.0, 180.0, 4.0), 0.3) == 1.0


@pytest.mark.parametrize("per_min", [5.0, 35.0])
def test_slow_and_fast_breathing(per_min: float) -> None:
    t = np.arange(0.0, 240.0, 0.04)
    chest = -np.cos(2 * np.pi * t * per_min / 60.0)
    found = find_peaks(Recording("respiratory", chest, 25.0)).onset_s
    # those cut by the ends may go
    assert _f1(found, np.arange(0.5, per_min * 4.0) * 60.0 / per_min, 0.2) >= 0.97


def test_apnoea_stays_empty_and_sigh_is_one_breath() -> None:
    t = np.arange(0.0, 150.0, 0.02)
    chest = np.zeros(t.size)
    ends = np.array([*np.arange(3.0, 60.0, 4.0), *np.arange(90.0, 147.0, 4.0)])
    for number, end in enumerate(ends):
        chest += (3.0 if number == 7 else 1.0) * np.exp(-0.5 * ((t - end) / 0.8) ** 2)
    peaks = find_peaks(Recording("respiratory", chest, 50.0))
    assert _f1(peaks.onset_s, ends, 0.2) == 1.0
    assert not peaks.mended.any()


def test_held_breath_ends_its_inspiration_where_it_begins_to_be_held() -> None:
    t = np.arange(0.0, 120.0, 0.02)
    since = t % 8.0
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(since / 1.5, 0.0, 1.0))
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip((since - 4.5) / 2.0, 0.0, 1.0))
    # the plateau rises a little, so that the maximum is at its end
    chest = rise * fall * (1.0 + 0.01 * np.clip(since - 1.5, 0.0, 3.0))
    found = find_peaks(Recording("respiratory", chest, 50.0)).onset_s
    assert _f1(found, np.arange(1.5, 120.0, 8.0), 0.3) == 1.0


# --- saturation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.7, 0.9])
def test_flanks_of_a_bell_say_where_its_top_was(level: float) -> None:
    t = np.arange(-400, 800) / 400.0
    bell = np.exp(-0.5 * (t / np.where(t < 0, 0.12, 0.31)) ** 2)
    full = bell >= level
    first, last = plateau_around(full, int(np.flatnonzero(full)[0]))
    at = between_flanks(np.minimum(bell, level), first, last, flank=4)
    # its top is at sample 400; the middle of the plateau lies well after it
    assert abs(at - 400.0) < 0.08 * (last - first)
    assert 0.5 * (first + last) - 400.0 > 0.15 * (last - first)


def test_vertex_of_a_parabola() -> None:
    x = np.arange(9.0)
    assert vertex(5.0 - (x - 4.3) ** 2, 4) == pytest.approx(4.3)
    assert vertex(x, 8) == 8.0


# --- nothing, and noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cardiac", "respiratory"])
@pytest.mark.parametrize(
    "samples",
    [np.empty(0), np.ones(1), np.arange(800.0), np.full(20_000, 7.0), np.full(20_000, np.nan)],
    ids=["empty", "one", "two-seconds", "flat", "gap"],
)
def test_no_signal_gives_no_peak(kind: Any, samples: NDArray[np.float64]) -> None:
    peaks = find_peaks(Recording(kind, samples, 400.0))
    assert peaks.onset_s.size == peaks.quality.size == peaks.mended.size == peaks.rate_per_min.size == 0
    assert not peaks.windows.usable.any()


def test_noise_is_of_lower_quality_than_pulses() -> None:
    rng = np.random.default_rng(6)
    wave = _pulse(_beats(120.0), 100.0, 120.0)
    wave[6000:] = np.convolve(rng.standard_normal(6000), np.ones(10) / 3.0, mode="same")
    windows = find_peaks(_cardiac(wave, 100.0)).windows
    half = windows.start_s < 55.0
    assert windows.usable[half].all()
    assert windows.quality[~half].mean() < 0.7 * windows.quality[half].mean()
    assert windows.start_s.size == 12


def test_events_are_the_same_every_time_and_in_order() -> None:
    recording, _, _ = _digital(2, "cardiac", "noisy")
    one, two = find_peaks(recording), find_peaks(recording)
    assert np.array_equal(one.onset_s, two.onset_s)
    assert np.array_equal(one.quality, two.quality)
    assert np.all(np.diff(one.onset_s) > 0)
    assert np.all((one.quality >= 0) & (one.quality <= 1))


def test_other_channels_have_no_peaks() -> None:
    with pytest.raises(CoSpineError, match="trigger"):
        find_peaks(Recording("trigger", np.zeros(1000), 100.0))


# --- the path ----------------------------------------------------------------------------------------------------------------


def test_path_is_the_best_of_all() -> None:
    rules = Rules(shortest_s=0.3, stiffness=3.0, most=1.5, missing=0.4, restart=1.0)
    rng = np.random.default_rng(7)
    for _ in range(20):
        onset = np.sort(rng.uniform(0.0, 5.0, 9))
        scores, period = rng.uniform(-1.0, 1.5, 9), np.full(9, 0.9)

        def worth(chosen: tuple[int, ...], onset: Any = onset, scores: Any = scores) -> float:
            total = float(scores[list(chosen)].sum())
            for interval in np.diff(onset[list(chosen)]):
                if interval < rules.shortest_s:
                    return -np.inf
                turns = max(1.0, np.round(interval / 0.9))
                irregular = min(rules.stiffness * np.log(interval / (turns * 0.9)) ** 2, rules.most)
                total -= min(irregular + rules.missing * (turns - 1.0), rules.restart)
            return total

        subsets = itertools.chain.from_iterable(itertools.combinations(range(9), n) for n in range(1, 10))
        best = max(worth(subset) for subset in subsets)
        found = best_path(onset, scores, period, np.zeros(9), rules)
        assert worth(tuple(found.tolist())) == pytest.approx(best)
