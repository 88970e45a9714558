"""CMRR logs: samples on their tics, gaps where they are missing, volumes of the run."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospine.errors import CoSpineError
from cospine.physio.cmrr import TIC_S, join_logs, parse_dicom, parse_log

DAY_TICS = 34_560_000


def channel_log(
    holds: str, tics: list[int], values: list[int], every: int, uuid: str = "u", marks: tuple[int, ...] = ()
) -> bytes:
    head = f"UUID        = {uuid}\nLogVersion  = EJA_1\nLogDataType = {holds}\nSampleTime  = {every}\n\n"
    names = [holds] if holds != "ECG" else [f"ECG{lead}" for lead in (1, 2, 3, 4)]
    rows = [
        f"     {tic % DAY_TICS}     {name}   {value + 10 * lead} {f'{holds}_TRIGGER' if at in marks else ''}"
        for at, (tic, value) in enumerate(zip(tics, values, strict=True))
        for lead, name in enumerate(names)
    ]
    return (head + "ACQ_TIME_TICS  CHANNEL  VALUE  SIGNAL\n\n" + "\n".join(rows) + "\n").encode()


def info_log(starts: list[int], uuid: str = "u", echoes: int = 2) -> bytes:
    head = f"UUID        = {uuid}\nLogVersion  = EJA_1\nLogDataType = ACQUISITION_INFO\nNumSlices   = 4\n\n"
    rows = []
    for volume, start in enumerate(starts):
        for slice_ in (0, 2, 1, 3):
            for echo in range(echoes):
                at = start + 20 * slice_ + 5 * echo
                rows.append(f"{volume:6d}  {slice_:6d}  {at % DAY_TICS}  {(at + 9) % DAY_TICS}  {echo}")
    tail = f"FirstTime   = {starts[0]}\nLastTime    = {starts[-1]}\n"
    return (head + "VOLUME   SLICE   ACQ_START_TICS  ACQ_FINISH_TICS  ECHO\n\n" + "\n".join(rows) + "\n" + tail).encode()


@given(
    start=st.integers(0, DAY_TICS - 1), every=st.sampled_from([1, 2, 8]), missing=st.sets(st.integers(1, 398), max_size=30),
    seed=st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=60, deadline=1000)
def test_missing_samples_are_gaps_and_the_others_stay_in_place(start: int, every: int, missing: set[int], seed: int):
    values = np.random.default_rng(seed).integers(0, 4096, 400)
    kept = [at for at in range(400) if at not in missing]
    data = channel_log("PULS", [start + every * at for at in kept], values[kept].tolist(), every)
    (recording,) = join_logs([parse_log(data, "x_PULS.log")])
    expected = values.astype(float)
    expected[list(missing)] = np.nan
    assert np.array_equal(recording.samples, expected, equal_nan=True)
    assert recording.rate_hz == pytest.approx(400 / every)
    assert recording.clock_s == pytest.approx(start * TIC_S)


def test_samples_that_come_a_tic_early_open_no_gap():
    tics = np.cumsum([100, *([2] * 200), 1, *([2] * 200), 4, *([2] * 100)])
    (recording,) = join_logs([parse_log(channel_log("PULS", tics.tolist(), [5] * tics.size, 2), "x")])
    assert np.count_nonzero(np.isnan(recording.samples)) == 1
    assert recording.rate_hz == 200
    times = np.arange(recording.samples.size)[recording.recorded] / recording.rate_hz
    assert np.abs(times - (tics - 100) * TIC_S).max() <= 1 / 200


def test_a_clock_that_drifts_gives_the_rate():
    tics = np.rint(np.arange(20_000) * 8.002).astype(int)
    (recording,) = join_logs([parse_log(channel_log("RESP", tics.tolist(), [5] * tics.size, 8), "x")])
    assert recording.rate_hz == pytest.approx(400 / 8.002, rel=1e-5)
    assert (recording.kind, recording.sensor) == ("respiratory", "belt")


@pytest.mark.parametrize("first", [5_000_000, DAY_TICS - 300, DAY_TICS - 3000])
def test_volumes_of_the_run_reach_every_channel_over_midnight(first: int):
    starts = [first + 1072 * volume for volume in range(5)]
    pulse = channel_log("PULS", [first - 4000 + 2 * at for at in range(6000)], [7] * 6000, 2, marks=(30, 500))
    breath = channel_log("RESP", [first - 800 + 8 * at for at in range(900)], [7] * 900, 8)
    recordings = join_logs(
        [parse_log(info_log(starts), "x_Info.log"), parse_log(pulse, "x_PULS.log"), parse_log(breath, "x_RESP.log")]
    )
    assert [one.kind for one in recordings] == ["cardiac", "respiratory"]
    for one, before in zip(recordings, (4000, 800), strict=True):
        assert one.volumes_s == pytest.approx((before + 1072 * np.arange(5)) * TIC_S)
        assert one.clock_s == pytest.approx((first - before) % DAY_TICS * TIC_S)
    assert recordings[0].marks_s == pytest.approx(np.array([30, 500]) / 200)


def test_of_four_leads_one_is_the_cardiac_channel():
    recordings = join_logs(
        [parse_log(channel_log("ECG", list(range(1000, 1500)), (np.arange(500) % 80).tolist(), 1), "x_ECG.log")]
    )
    assert [one.kind for one in recordings] == ["cardiac", "other", "other", "other"]
    assert [one.source for one in recordings] == [f"x_ECG.log ECG{lead}" for lead in (1, 2, 3, 4)]
    assert all(one.rate_hz == 400 and one.sensor == "ecg" for one in recordings)


def test_external_triggers_paced_as_volumes_are_volumes():
    up = [1000 + 800 * pulse + 8 * line for pulse in range(6) for line in range(5)]
    (recording,) = join_logs([parse_log(channel_log("EXT", up, [1] * len(up), 8), "x_EXT.log")])
    assert recording.kind == "trigger"
    assert recording.volumes_s == pytest.approx(np.arange(6) * 2.0)
    assert recording.samples.sum() == len(up)


def test_lines_out_of_order_are_sorted(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        (recording,) = join_logs([parse_log(channel_log("PULS", [10, 14, 12, 12, 16], [1, 3, 2, 9, 4], 2), "x")])
    assert recording.samples.tolist() == [1, 2, 3, 4]
    assert "out of order" in caplog.text


def test_logs_of_two_runs_do_not_join():
    logs = [parse_log(channel_log("PULS", [1, 3], [1, 2], 2, uuid=uuid), f"{uuid}_PULS.log") for uuid in "ab"]
    with pytest.raises(CoSpineError, match="different runs"):
        join_logs(logs)


HEAD = b"LogDataType = PULS\nSampleTime = 2\n"


@given(st.one_of(st.binary(max_size=800), st.text(" \n\t0123456789=PULSERCGINFO_x-", max_size=800).map(str.encode)))
@settings(max_examples=150, deadline=1000)
def test_bytes_give_recordings_or_a_reason(data: bytes):
    for head in (b"", HEAD, b"LogDataType = ACQUISITION_INFO\n"):
        try:
            recordings = join_logs([parse_log(head + data, "x")])
        except CoSpineError:
            continue
        for one in recordings:
            assert np.count_nonzero(one.recorded) <= len(data.splitlines())
            assert np.isfinite(one.rate_hz)


@pytest.mark.parametrize("data", [b"\n" * 3_000_000, b" " * 3_000_000, b"1 " * 2_000_000, b"9" * 5_000_000])
def test_time_is_linear(data: bytes):
    # a hang would be noticed; quadratic time takes minutes
    assert join_logs([parse_log(HEAD + data, "x")]) == ()


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=2000)
def test_bytes_are_no_dicom_file(data: bytes):
    pytest.importorskip("pydicom", reason="pydicom is an extra (cospine[physio])")
    with pytest.raises(CoSpineError):
        parse_dicom(b"\0" * 128 + b"DICM" + data, "x.dcm")


# --- real logs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared: Path) -> Path:
    folder = shared / "data" / "physio"
    if not folder.is_dir():
        pytest.skip("no recordings there")
    return folder


@pytest.mark.shared
def test_real_logs_of_a_run(real: Path):
    files = sorted((real / "physio-examples/cmrr_vd").glob("*.log"))
    recordings = join_logs([parse_log(file.read_bytes(), file.name) for file in files])
    pulse, breath = recordings
    assert (pulse.kind, breath.kind) == ("cardiac", "respiratory")
    assert np.count_nonzero(pulse.recorded) == 9389  # lines of the log
    assert np.count_nonzero(breath.recorded) == 2355
    assert pulse.marks_s.size == 44
    assert pulse.volumes_s.size == 30
    assert np.diff(pulse.volumes_s) == pytest.approx(0.995, abs=0.006)
    assert pulse.clock_s == pytest.approx(21_747_857 * TIC_S)
    assert 50 < 60 / np.median(np.diff(pulse.marks_s)) < 120


@pytest.mark.shared
def test_dicom_form_holds_the_samples_of_bidsphysio(real: Path):
    pytest.importorskip("pydicom", reason="pydicom is an extra (cospine[physio])")
    folder = real / "bidsphysio/dcm2bids"
    pulse, breath, trigger = parse_dicom((folder / "samplePhysioCMRR.dcm").read_bytes(), "samplePhysioCMRR.dcm")
    for ours, file in ((pulse, "dcm_cardiac.tsv"), (breath, "dcm_respiratory.tsv")):
        theirs = np.genfromtxt(folder / file)[:, 0]
        # Same samples, same number of gaps. A gap may stand a sample apart: they place samples by tic, we count distances.
        assert np.array_equal(ours.samples[ours.recorded], theirs[np.isfinite(theirs)])
        assert ours.samples.size == theirs.size
    # their start is that of the first volume, and so is ours
    assert pulse.volumes_s[0] == pytest.approx(12.082, abs=0.003)
    assert np.diff(pulse.volumes_s) == pytest.approx(2.0)
    assert (pulse.rate_hz, breath.rate_hz, trigger.kind) == (200, 50, "trigger")
    assert np.diff(trigger.volumes_s) == pytest.approx(2.0)
