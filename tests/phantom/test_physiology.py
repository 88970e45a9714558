"""Pulse, breathing and the field's breathing."""

import numpy as np
import pytest

from cospine.phantom.landmarks import typical_landmarks
from cospine.phantom.physiology import (
    b0_breathing_hz_per_unit,
    scanner_drift_hz,
    simulate_physiology,
    transit_delay_s,
    worst_case_rates,
)

LANDMARKS = typical_landmarks()


@pytest.fixture(scope="module")
def people():
    return [simulate_physiology(seed, 600.0) for seed in range(8)]


def test_rates_lie_within_the_facts_and_vary(people):
    for person in people:
        beats, breaths = np.diff(person.beat_times_s), np.diff(person.inspiration_times_s)
        assert 50 <= 60 / beats.mean() <= 90
        assert 10 <= 60 / breaths.mean() <= 20
        assert 0.02 < beats.std() / beats.mean() < 0.1
        assert 0.05 < breaths.std() / breaths.mean() < 0.3
        assert beats.min() > 0.4


def test_pulse_peaks_at_the_beats_with_its_own_height_each_time(people):
    person = people[0]
    t = np.arange(0.0, 120.0, 0.002)
    wave = person.pulse(t)
    beats = person.beat_times_s[(person.beat_times_s > 1) & (person.beat_times_s < 119)]
    at_peak = np.array([t[np.abs(t - b) < 0.15][wave[np.abs(t - b) < 0.15].argmax()] for b in beats])
    assert np.abs(at_peak - beats).max() < 0.01
    assert 0.05 < person.beat_amplitudes.std() < 0.25
    assert person.pulse(t + 0.2, 0.2) == pytest.approx(wave)


def test_pulse_is_no_fourier_series_of_its_phase(people):
    t = np.arange(0.0, 300.0, 0.02)
    left = []
    for person in people[:4]:
        phase = person.cardiac_phase(t)[:, None] * np.arange(1, 5)
        design = np.column_stack([np.ones(t.size), np.cos(phase), np.sin(phase)])
        wave = person.pulse(t)
        residual = wave - design @ np.linalg.lstsq(design, wave, rcond=None)[0]
        left.append(residual.var() / wave.var())
    assert min(left) > 0.01
    assert max(left) < 0.3


def test_cardiac_phase_is_zero_at_beats_and_linear_between(people):
    first, second = people[1].beat_times_s[50:52]
    quarters = first + (second - first) * np.array([1e-9, 0.25, 0.5, 0.75])
    assert people[1].cardiac_phase(quarters) == pytest.approx(np.pi * np.array([0, 0.5, 1, 1.5]), abs=1e-6)
    assert people[1].cardiac_phase(quarters + 0.3, 0.3) == pytest.approx(people[1].cardiac_phase(quarters), abs=1e-6)


def test_breathing_at_rest_is_one_peak_to_peak_about_a_zero_mean(people):
    for person in people:
        t = np.arange(0.0, 600.0, 0.02)
        chest = person.breathing(t)
        assert abs(chest.mean()) < 0.01
        depth = person.breathing(person.peak_times_s) - person.breathing(person.inspiration_times_s)
        inner = depth[3:-3]
        assert np.median(inner) == pytest.approx(1.0, abs=0.15)
        # Sighs: a few breaths of about twice the depth.
        assert 3 <= np.sum(inner > 1.75) <= 20


def test_respiratory_phase_turns_at_end_of_inspiration(people):
    person = people[2]
    assert person.respiratory_phase(person.peak_times_s[5:9]) == pytest.approx(np.pi)
    assert person.respiratory_phase(person.inspiration_times_s[5:9] + 1e-9) == pytest.approx(0, abs=1e-6)


def test_heat_holds_the_breath_and_narrows_the_vessels():
    onsets = 20.0 + 40.0 * np.arange(14)
    lengths = np.full(14, 4.0)
    flow, rest, height, height_rest = [], [], [], []
    for seed in range(6):
        locked = simulate_physiology(seed, 600.0, "pain", onsets, lengths)
        speed = np.abs(np.gradient(locked.breathing(np.arange(0, 600, 0.1)), 0.1))
        since = (np.arange(0, 600, 0.1)[:, None] - onsets).T
        flow.append(speed[((since > 2.5) & (since < 5.0)).any(axis=0)].mean())
        rest.append(speed[((since > 25.0) & (since < 35.0)).any(axis=0)].mean())
        from_onset = locked.beat_times_s[:, None] - onsets
        height.append(locked.beat_amplitudes[((from_onset > 6) & (from_onset < 14)).any(axis=1)].mean())
        height_rest.append(locked.beat_amplitudes[((from_onset > 24) & (from_onset < 36)).any(axis=1)].mean())
    assert np.mean(flow) < 0.75 * np.mean(rest)
    assert np.mean(height) < 0.9 * np.mean(height_rest)


def test_locking_can_be_switched_off():
    onsets = 20.0 + 40.0 * np.arange(14)
    free = simulate_physiology(3, 600.0, "pain", onsets, np.full(14, 4.0), task_locked=False)
    assert np.array_equal(free.breath_waveform, simulate_physiology(3, 600.0).breath_waveform)
    assert free.onsets_s.size == 0


@pytest.mark.parametrize(("task", "interval_s"), [("pain", 39.1), ("motorL", 23.6)])
def test_worst_case_rates_fold_onto_the_task(task, interval_s):
    tr = 2.68
    for per_min in worst_case_rates(task, tr):
        cycles = per_min / 60 * tr
        folded_hz = abs(cycles - round(cycles)) / tr
        assert folded_hz == pytest.approx(1 / interval_s)
    breaths, beats = worst_case_rates(task, tr)
    person = simulate_physiology(0, 300.0, rates_per_min=(breaths, beats))
    assert 60 / np.diff(person.inspiration_times_s).mean() == pytest.approx(breaths, rel=0.03)
    assert 60 / np.diff(person.beat_times_s).mean() == pytest.approx(beats, rel=0.03)


@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
def test_breathing_changes_the_field_more_further_down(severity):
    for seed in range(5):
        z = np.linspace(120.0, -180.0, 601)
        gain = b0_breathing_hz_per_unit(z, LANDMARKS, seed, severity)
        assert np.all(np.diff(gain) >= 0)
        heights = [LANDMARKS.vertebra_z[level] for level in ("C4", "C7")]
        c4, c7 = b0_breathing_hz_per_unit(heights, LANDMARKS, seed, severity)
        assert 3 - 1e-9 <= c4 <= 8 + 1e-9
        assert 10 - 1e-9 <= c7 <= 30 + 1e-9
        assert np.all((gain[z > 50] >= 0.5) & (gain[z > 50] <= 2.0))
        # Smooth: no kink in the log at the landmarks.
        bend = np.abs(np.diff(np.log(gain), 2))
        assert bend.max() < 2e-3


def test_scanner_drift():
    for seed in range(10):
        drift = scanner_drift_hz(np.linspace(0, 600, 100), 600.0, seed)
        assert drift[0] == 0
        assert 2 <= abs(drift[-1]) <= 10
        assert np.all(np.diff(np.abs(drift)) > 0)


def test_pulse_wave_runs_down_the_canal():
    delay = transit_delay_s([LANDMARKS.vertebra_z[level] for level in ("C1", "C4", "C7")], LANDMARKS)
    assert np.all(np.diff(delay) > 0)
    assert np.all((delay > -0.25) & (delay < -0.1))
