"""Tables of samples with and without sidecars, in the dialects that are about."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospine.errors import CoSpineError
from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.recordings import bids_sidecar as phantom_sidecar
from cospine.phantom.recordings import bids_table, record
from cospine.physio.channels import kind_of
from cospine.physio.recording import Recording
from cospine.physio.tables import parse_table
from cospine.physio.written import bids_columns, bids_sidecar

RATE = {"SamplingFrequency": 100}


def table(*columns: list, header: str = "", separator: str = "\t", end: str = "\n") -> bytes:
    rows = [separator.join(map(str, row)) for row in zip(*columns, strict=True)]
    return end.join([header, *rows] if header else rows).encode() + end.encode()


def test_tables_of_the_digital_participant():
    truth = record(simulate_physiology(2, 60.0), 60.0, 2)["cardiac"]
    packed, sidecar = bids_table(truth, 22, 2.68), phantom_sidecar(truth)
    (recording,) = parse_table(gzip.decompress(packed), sidecar, "sub-01_task-pain_recording-cardiac_physio.tsv.gz")
    assert np.array_equal(recording.samples, truth.samples)
    assert (recording.kind, recording.rate_hz, recording.start_s) == ("cardiac", 400, truth.start_s)
    assert recording.volumes_s + truth.start_s == pytest.approx(np.arange(22) * 2.68, abs=1 / 400)
    assert recording.limits == (0, 4095)


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "start_s", "clock_s"),
    [
        (-33.7395, -33.7395, None),
        (0, 0, None),
        (25.5, 25.5, None),
        (48549027, None, 48549.027),  # OpenNeuro ds005883: ms since midnight
        (39008.572, None, 39008.572),  # seconds since midnight
        (9e9, None, None),
        ("48549027", None, None),
        (None, None, None),
    ],
)
def test_start_times_as_found_in_the_wild(start: object, start_s: float | None, clock_s: float | None):
    (recording,) = parse_table(table([1, 2, 3]), {**RATE, "StartTime": start, "Columns": ["PULS"]}, "x")
    assert (recording.start_s, recording.clock_s) == (start_s, clock_s)


def test_sidecar_of_the_pain_dataset(caplog: pytest.LogCaptureFixture):
    sidecar = json.loads(
        '{"SamplingFrequency": 400, "StartTime": 48549027, "Columns": ["PULS", "Trigger"], "Units": ["a.u.", "boolean"], '
        '"Duration": 10000, "Manufacturer": "Siemens", "ManufacturersModelName": "Physiologic Monitoring Unit (PMU)"}'
    )
    beats = np.cumsum(np.random.default_rng(0).normal(320, 25, 12)).astype(int)
    trigger = np.zeros(4000, int)
    trigger[beats[beats < 4000]] = 1
    (recording,) = parse_table(table([7] * 4000, trigger.tolist()), sidecar, "sub-02_task-pain_recording-pulse_physio.tsv.gz")
    assert (recording.kind, recording.sensor, recording.clock_s) == ("cardiac", "ppg", 48549.027)
    # their triggers are the pulses that the unit saw, not volumes
    assert recording.volumes_s.size == 0
    assert recording.marks_s == pytest.approx(beats[beats < 4000] / 400)
    assert "Duration" not in caplog.text


def test_a_duration_that_contradicts_the_rate_is_said(caplog: pytest.LogCaptureFixture):
    parse_table(table([7] * 4000), {"SamplingFrequency": 50, "Duration": 10_000, "Columns": ["RESP"]}, "x")
    assert "Duration says 10000" in caplog.text


# --- columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "kind", "sensor"),
    [
        ("PULS", "cardiac", "ppg"), ("cardiac", "cardiac", ""), ("Pulse", "cardiac", "ppg"), ("ECG", "cardiac", "ecg"),
        ("ppu", "cardiac", "ppg"), ("RESP", "respiratory", "belt"), ("respiratory", "respiratory", "belt"),
        ("breathing", "respiratory", "belt"), ("GSR", "other", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["sidecar", "header"])
def test_columns_of_any_spelling(column: str, kind: str, sensor: str, where: str):
    sidecar = {**RATE, "Columns": [column]} if where == "sidecar" else RATE
    (recording,) = parse_table(table([1, 2, 3], header="" if where == "sidecar" else column), sidecar, "x.tsv")
    assert (recording.kind, recording.sensor, recording.samples.tolist()) == (kind, sensor, [1, 2, 3])


@pytest.mark.parametrize("header", ["cardiac\tresp\ttrigger", ""])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_channels_of_one_file_share_start_and_volumes(header: str, end: str):
    trigger = ([1] + [0] * 49) * 6
    data = table(list(range(300)), [5] * 300, trigger, header=header, end=end)
    sidecar = {**RATE, "StartTime": -1.5, "Columns": ["cardiac", "respiratory", "trigger"]}
    pulse, breath = parse_table(data, sidecar, "x")
    assert (pulse.kind, breath.kind) == ("cardiac", "respiratory")
    for one in (pulse, breath):
        assert one.start_s == -1.5
        assert one.samples.size == 300
        assert one.volumes_s == pytest.approx(np.arange(6) * 0.5)


def test_marks_go_to_the_channel_whose_rate_they_have():
    trigger = np.zeros(6000, int)
    trigger[np.cumsum(np.random.default_rng(1).normal(400, 60, 13)).astype(int)] = 1
    sidecar = {**RATE, "Columns": ["cardiac", "respiratory", "trigger"]}
    pulse, breath = parse_table(table([1] * 6000, [2] * 6000, trigger.tolist()), sidecar, "x")
    assert (pulse.marks_s.size, breath.marks_s.size) == (0, 13)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sub-1_recording-pulse_physio.tsv", "cardiac"), ("RespData_epi_44_19", "respiratory"), ("PPG.csv", "cardiac")],
)
def test_files_that_name_no_column(name: str, kind: str):
    (recording,) = parse_table(table([-2, 0, 5]), None, name, rate_hz=40)
    assert (recording.kind, recording.rate_hz, recording.source) == (kind, 40, name)


def test_a_pulse_column_of_marks_is_no_signal(caplog: pytest.LogCaptureFixture):
    # as in PhysIO's example CPULSE3T
    (recording,) = parse_table(table(([0] * 30 + [1] + [0] * 40) * 20), {**RATE, "Columns": ["cardiac"]}, "x.tsv")
    assert recording.kind == "other"
    assert recording.marks_s == pytest.approx(0.3 + 0.71 * np.arange(20))
    assert "marks" in caplog.text


def test_absent_values_are_gaps_and_time_columns_no_channels():
    (recording,) = parse_table(b"time,ppg\n0.01,5\n0.02,n/a\n0.03,NaN\n0.04,\n0.05,inf\n0.06,7\n", RATE, "x.csv")
    assert np.array_equal(recording.samples, [5, np.nan, np.nan, np.nan, np.nan, 7], equal_nan=True)


def test_a_last_line_cut_off_is_left_out(caplog: pytest.LogCaptureFixture):
    pulse, _ = parse_table(b"1\t2\n3\t4\n5", {**RATE, "Columns": ["PULS", "RESP"]}, "x.tsv")
    assert pulse.samples.tolist() == [1, 3]
    assert "cut off" in caplog.text


def test_rate_given_goes_before_the_sidecar(caplog: pytest.LogCaptureFixture):
    (recording,) = parse_table(table([1, 2]), RATE, "PPG.txt", rate_hz=50)
    assert recording.rate_hz == 50
    assert "not at the sidecar's 100 Hz" in caplog.text


@pytest.mark.parametrize(
    ("data", "sidecar", "said"),
    [
        (b"1\n2\n", None, "sampling rate"),
        (b"1\n2\n", {"SamplingFrequency": 0}, "sampling rate"),
        (b"1\n2\n", {"SamplingFrequency": "fast"}, "sampling rate"),
        (b"", RATE, "no sample"),
        (b"cardiac\n", RATE, "no sample"),
        (b"\n\n# nothing\n", RATE, "no sample"),
        (b"1\t2\n3\n5\t6\n", RATE, "row 2 has 1 cells"),
        (b"1\t2\n3\tx\n5\t6\n", RATE, "'x' in row 2"),
        (b"\x93NUMPY\0\0", RATE, "not text"),
    ],
)
def test_what_is_no_table_is_refused_with_a_reason(data: bytes, sidecar: dict | None, said: str):
    with pytest.raises(CoSpineError, match=said) as caught:
        parse_table(data, sidecar, "x.tsv")
    assert caught.value.remedy


@given(st.one_of(st.binary(max_size=500), st.text(" \n\t,;0123456789-.einfa/", max_size=500).map(str.encode)))
@settings(max_examples=200, deadline=1000)
def test_bytes_give_recordings_or_a_reason(data: bytes):
    try:
        recordings = parse_table(data, {**RATE, "Columns": ["PULS", "RESP"]}, "x.tsv")
    except CoSpineError:
        return
    n_lines = len(data.decode("utf-8-sig", "replace").splitlines())
    assert all(0 < one.samples.size <= n_lines and not np.isinf(one.samples).any() for one in recordings)


# --- written and read again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start_s", [None, -12.25])
@pytest.mark.parametrize("clock_s", [None, 120.5, 48000.125])
def test_what_we_write_says_the_same_when_read_again(start_s: float | None, clock_s: float | None):
    samples = np.array([0, 4095, np.nan, 17, 18.5] * 40)
    first = Recording(
        "cardiac",
        samples,
        37.5,
        start_s=start_s,
        clock_s=clock_s,
        volumes_s=np.arange(1, 5) * 1.04,
        limits=(0, 4095),
        sensor="ppg",
    )
    columns, sidecar = bids_columns(first), json.loads(json.dumps(bids_sidecar(first)))
    cells = ["n/a" if np.isnan(value) else f"{value:.9g}" for value in columns["cardiac"]]
    (again,) = parse_table(table(cells, columns["trigger"].astype(int).tolist()), sidecar, "x_recording-cardiac_physio.tsv.gz")
    assert np.array_equal(again.samples, first.samples, equal_nan=True)
    assert (again.kind, again.rate_hz, again.start_s, again.clock_s) == ("cardiac", 37.5, start_s, clock_s)
    assert again.limits == (0, 4095)
    assert again.volumes_s == pytest.approx(first.volumes_s, abs=1 / 37.5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PULS", ("cardiac", "ppg")), ("ecg_lead2", ("cardiac", "ecg")), ("cardiac", ("cardiac", "")),
        ("RESP", ("respiratory", "belt")),
        ("puls_trigger", ("trigger", "")), ("scanner", ("trigger", "")), ("emg", ("other", "")),
        ("ECGData_epiRT_1025201115_44_19", ("cardiac", "")),  # GE: whatever sensor gated
    ],
)  # fmt: skip
def test_what_a_column_holds_by_its_name(name: str, kind: tuple[str, str]) -> None:
    assert kind_of(name) == kind
