"""Recordings in BIDS and PMU form, read back by a parser written from the format alone."""

import gzip
import re

import numpy as np
import pytest

from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.recordings import bids_sidecar, bids_table, draw_mpcu_offset_ms, pmu_log, record
from cospine.phantom.sensors import CLEAN, NOISY, PULSE_TRANSIT_S, TYPICAL, Sensors, electrocardiogram

DURATION = 107.2


@pytest.fixture(scope="module")
def recordings():
    return record(simulate_physiology(5, DURATION), DURATION, 5)


def parse(log):
    """Samples, triggers (sample index before the mark) and footer of a PMU log."""
    line, *footer = log.split("\n")
    body = re.sub(r"5002 .*? 6002", "", line).split()
    assert body[-1] == "5003"
    samples, triggers = [], []
    for word in body[4:-1]:
        if word == "5000":
            triggers.append(len(samples) - 1)
        else:
            samples.append(int(word))
    times = {key.strip(): int(value) for key, value in (row.split(":") for row in footer if row.startswith("Log"))}
    return np.array(samples), np.array(triggers), times, footer


def test_channels_start_apart_before_the_run_and_end_after_it(recordings):
    cardiac, respiratory = recordings["cardiac"], recordings["respiratory"]
    for recording in (cardiac, respiratory):
        assert recording.start_s < -10
        assert recording.end_s > DURATION + 10
        assert recording.samples.min() >= 0
        assert recording.samples.max() <= 4095
    assert abs(cardiac.start_s - respiratory.start_s) > 1


def test_peaks_of_the_pulse_are_where_the_truth_says(recordings):
    recording = recordings["cardiac"]
    t = recording.start_s + np.arange(recording.samples.size) / 400
    smooth = np.convolve(recording.samples, np.ones(13) / 13, "same")
    inner = recording.peaks_s[(recording.peaks_s > t[0] + 1) & (recording.peaks_s < t[-1] - 1)]
    found = np.array([t[w][smooth[w].argmax()] for w in (np.abs(t - p) < 0.15 for p in inner)])
    assert np.median(np.abs(found - inner)) < 0.02
    assert np.mean(np.abs(found - inner) < 0.05) > 0.95


def test_clipping_saturates_and_noise_free_is_clean():
    person = simulate_physiology(1, DURATION)
    clipped = record(person, DURATION, 1, Sensors(clipped=0.1))
    for channel in clipped.values():
        assert np.mean(channel.samples == 4095) == pytest.approx(0.1, abs=0.01)
    clean = record(person, DURATION, 1, CLEAN)["cardiac"].samples
    noisy = record(person, DURATION, 1)["cardiac"].samples
    assert np.abs(np.diff(clean.astype(int), 2)).mean() < 0.6 * np.abs(np.diff(noisy.astype(int), 2)).mean()


@pytest.mark.parametrize("kind", ["cardiac", "respiratory"])
def test_bids_table(recordings, kind):
    recording = recordings[kind]
    packed = bids_table(recording, 40, 2.68)
    assert packed == bids_table(recording, 40, 2.68)
    rows = [row.split("\t") for row in gzip.decompress(packed).decode().splitlines()]
    values = np.array(rows, dtype=int)
    sidecar = bids_sidecar(recording)
    assert sidecar["Columns"] == [kind, "trigger"]
    assert np.array_equal(values[:, 0], recording.samples)
    marks = np.flatnonzero(values[:, 1]) / sidecar["SamplingFrequency"] + sidecar["StartTime"]
    assert marks.size == 40
    late = marks - np.arange(40) * 2.68
    assert np.all((late > -1e-6) & (late <= 1 / 400 + 1e-6))


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("cardiac", "1 2 40 280 5002 LOGVERSION_PULS"),
        ("respiratory", "1 2 20 2 5002 LOGVERSION_RESP"),
    ],
)
def test_pmu_log_reads_back(recordings, kind, head):
    recording = recordings[kind]
    log = pmu_log(recording, 48675.86, 1362)
    samples, triggers, times, footer = parse(log)
    assert log.startswith(head)
    assert np.array_equal(samples, recording.samples)
    assert np.array_equal(triggers, recording.triggers)
    assert len(re.findall(r"5002 uiHw.*? 6002", log)) >= 3
    assert footer[-1] == "6003"
    assert times["LogStartMDHTime"] == round(1000 * (48675.86 + recording.start_s))
    assert times["LogStartMPCUTime"] - times["LogStartMDHTime"] == 1362
    lasts_ms = times["LogStopMDHTime"] - times["LogStartMDHTime"]
    assert lasts_ms == pytest.approx((samples.size - 1) * 2.5, abs=1)


def test_midnight_inside_a_log(recordings):
    _, _, times, _ = parse(pmu_log(recordings["cardiac"], 86400.0 - 20.0, -500))
    assert times["LogStopMDHTime"] < times["LogStartMDHTime"] < 86_400_000


def test_clock_offset_is_seconds():
    offsets = np.array([draw_mpcu_offset_ms(seed) for seed in range(50)])
    assert np.all((np.abs(offsets) >= 300) & (np.abs(offsets) <= 2500))
    assert (offsets > 0).any()
    assert (offsets < 0).any()


LONG = 603.0


@pytest.fixture(scope="module")
def person():
    return simulate_physiology(4, LONG)


def test_the_default_is_typical_and_disturbances_move_nothing(person):
    typical, noisy = record(person, LONG, 4), record(person, LONG, 4, NOISY)
    for kind, channel in record(person, LONG, 4, TYPICAL).items():
        assert np.array_equal(channel.samples, typical[kind].samples)
        assert channel.visible.all()
        assert noisy[kind].start_s == channel.start_s
        assert np.array_equal(noisy[kind].peaks_s, channel.peaks_s)


def test_a_noisy_recording_has_every_fault(person):
    clipped, noisy = record(person, LONG, 4, Sensors(clipped=0.1)), record(person, LONG, 4, NOISY)
    for kind, channel in noisy.items():
        # about a tenth at the top, whatever movements and dropouts add
        assert 0.07 < np.mean(channel.samples == 4095) < 0.25
        still = np.flatnonzero(np.diff(np.flatnonzero(np.diff(channel.samples, prepend=-1, append=-1))) > 400)
        assert still.size >= 1
        changed = np.abs(channel.samples - clipped[kind].samples) > 400
        assert 0.02 < changed.mean() < 0.4
        assert 0.003 < np.mean(~channel.visible) < 0.1


def test_a_peak_in_a_dropout_is_not_visible(person):
    channel = record(person, LONG, 9, Sensors(dropouts_per_min=3.0))["cardiac"]
    undisturbed = record(person, LONG, 9)["cardiac"]
    at = np.round((channel.peaks_s - channel.start_s) * 400).astype(int)
    level = channel.samples[at]
    assert 0.05 < np.mean(~channel.visible) < 0.3
    assert np.array_equal(level[channel.visible], undisturbed.samples[at][channel.visible])
    for sample in at[~channel.visible]:
        around = channel.samples[sample - 40 : sample + 41]
        assert np.ptp(around[:41]) == 0 or np.ptp(around[40:]) == 0
    assert channel.triggers.size < undisturbed.triggers.size


@pytest.mark.parametrize("inverted", [False, True])
def test_electrocardiogram_has_its_r_waves_where_the_truth_says(person, inverted):
    t = np.arange(0.0, 120.0, 1 / 400)
    volts, waves = electrocardiogram(person, t, np.random.default_rng(0), inverted=inverted)
    sign = -1.0 if inverted else 1.0
    found = np.array([t[w][(sign * volts[w]).argmax()] for w in (np.abs(t - r) < 0.2 for r in waves[1:-1])])
    assert np.abs(found - waves[1:-1]).max() < 0.006
    beats = person.beat_times_s
    assert np.allclose(waves, beats[(beats >= PULSE_TRANSIT_S) & (beats <= t[-1] + PULSE_TRANSIT_S)] - PULSE_TRANSIT_S)


def test_gradients_ring_after_each_excitation_only(person):
    t = np.arange(0.0, 20.0, 1 / 400)
    shots = np.arange(0.5, 20.0, 0.1)
    plain, _ = electrocardiogram(person, t, np.random.default_rng(0))
    rung, _ = electrocardiogram(person, t, np.random.default_rng(0), excitations_s=shots)
    extra = rung - plain
    since = (t - 0.5) % 0.1
    assert np.abs(extra[t < 0.5]).max() == 0
    assert np.abs(extra[(t > 0.5) & (since < 0.02)]).max() > 100
    assert np.abs(extra[(t > 0.5) & (since > 0.06) & (since < 0.099)]).max() < 1e-9
