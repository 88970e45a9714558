"""Recordings in BIDS and PMU form, read back by a parser written from the format alone."""

import gzip
import re

import numpy as np
import pytest

from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.recordings import bids_sidecar, bids_table, draw_mpcu_offset_ms, pmu_log, record

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
    clipped = record(person, DURATION, 1, clipping=True)
    assert 0.01 < np.mean(clipped["cardiac"].samples == 4095) < 0.3
    assert 0.001 < np.mean(clipped["respiratory"].samples == 4095) < 0.3
    clean = record(person, DURATION, 1, noise=0.0)["cardiac"].samples
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
