"""Opening files: the format is told by the content, and what belongs to a file is found beside it."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cospine.errors import CoSpineError
from cospine.physio.io import read_recordings

PMU = b"1 2 40 280 5002 LOGVERSION_PULS   1 6002 1500 1501 5000 1502 5003\nLogStartMDHTime:  3000\nLogStopMDHTime:   3005\n6003"


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cmrr(holds: str, every: int = 2, uuid: str = "a") -> bytes:
    rows = "\n".join(f"{1000 + every * at} {holds} {at % 50}" for at in range(100))
    return f"UUID = {uuid}\nLogDataType = {holds}\nSampleTime = {every}\n\nACQ_TIME_TICS CHANNEL VALUE SIGNAL\n{rows}\n".encode()


def info(uuid: str = "a") -> bytes:
    rows = "\n".join(
        f"{volume} {slice_} {1040 + 20 * volume} {1050 + 20 * volume} 0" for volume in range(5) for slice_ in range(3)
    )
    return f"UUID = {uuid}\nLogDataType = ACQUISITION_INFO\n\nVOLUME SLICE ACQ_START_TICS ACQ_FINISH_TICS ECHO\n{rows}\n".encode()


@pytest.mark.parametrize("name", ["run1.puls", "RUN1.PULS", "log", "pulse.txt"])
def test_a_pmu_log_under_any_name(tmp_path: Path, name: str):
    (recording,) = read_recordings(write(tmp_path / name, PMU))
    assert (recording.kind, recording.samples.tolist(), recording.clock_s) == ("cardiac", [1500, 1501, 1502], 3)


def test_a_cmrr_log_takes_the_volumes_of_its_run(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for part, content in (("PULS", cmrr("PULS")), ("RESP", cmrr("RESP", 8)), ("Info", info())):
        write(tmp_path / f"Physio_x_{part}.log", content)
    (pulse,) = read_recordings(tmp_path / "Physio_x_PULS.log", 50)
    assert "the rate of 50 Hz is not used" in caplog.text
    assert (pulse.kind, pulse.rate_hz) == ("cardiac", 200)
    assert pulse.volumes_s == pytest.approx(0.1 + 0.05 * np.arange(5))
    assert [one.kind for one in read_recordings(tmp_path / "Physio_x_Info.log")] == ["cardiac", "respiratory"]


def test_volumes_of_another_run_are_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write(tmp_path / "P_Info.log", info("b"))
    (pulse,) = read_recordings(write(tmp_path / "P_PULS.log", cmrr("PULS")))
    assert pulse.volumes_s.size == 0
    assert "another run" in caplog.text
    with pytest.raises(CoSpineError, match="no samples"):
        read_recordings(tmp_path / "P_Info.log")


def test_philips(tmp_path: Path):
    rows = "\n".join(f"1 2 3 4 {at} 6 7 8 9 0000" for at in range(50))
    log = f"## x\n# v1raw v2raw  v1 v2  ppu resp  gx gy gz mark\n{rows}\n".encode()
    kinds = [one.kind for one in read_recordings(write(tmp_path / "SCANPHYSLOG20110420.log", log), 496)]
    assert kinds == ["cardiac", "other", "cardiac", "respiratory"]


def test_sidecars_are_inherited_the_nearer_one_wins(tmp_path: Path):
    write(tmp_path / "dataset_description.json", b"{}")
    write(tmp_path / "task-rest_physio.json", json.dumps({"SamplingFrequency": 10, "StartTime": 3}).encode())
    write(tmp_path / "sub-1/sub-1_task-rest_physio.json", json.dumps({"SamplingFrequency": 50, "Columns": ["PULS"]}).encode())
    write(tmp_path / "sub-1/func/sub-2_task-rest_physio.json", json.dumps({"SamplingFrequency": 7}).encode())
    file = write(tmp_path / "sub-1/func/sub-1_task-rest_run-1_physio.tsv.gz", gzip.compress(b"4\n5\n6\n"))
    (recording,) = read_recordings(file)
    assert (recording.rate_hz, recording.start_s, recording.kind, recording.samples.tolist()) == (50, 3, "cardiac", [4, 5, 6])


def test_plain_columns_with_a_rate_and_with_a_sidecar_of_their_own(tmp_path: Path):
    file = write(tmp_path / "RespData_epi", b"1\n2\n3\n")
    (recording,) = read_recordings(file, 25)
    assert (recording.kind, recording.rate_hz) == ("respiratory", 25)
    write(tmp_path / "mine.json", b'{"SamplingFrequency": 20, "Columns": ["belt"]}')
    assert read_recordings(write(tmp_path / "mine.csv", b"1\n2\n"))[0].rate_hz == 20


def test_a_gzip_stream_that_ends_early_gives_what_there_is(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    values = np.random.default_rng(0).integers(0, 4096, 20_000)
    packed = gzip.compress("\n".join(map(str, values)).encode())
    (recording,) = read_recordings(write(tmp_path / "PPG.tsv.gz", packed[: len(packed) // 2]), 100)
    assert 5000 < recording.samples.size < 20_000
    assert np.array_equal(recording.samples[:-1], values[: recording.samples.size - 1])
    assert "end early" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "rate_hz", "said"),
    [
        ("x.puls", b"", None, "is empty"),
        ("x.puls", b"nothing", None, "no log"),
        ("x_physio.json", b"{}", None, "sidecar"),
        ("x.tsv", b"1\n2\n", None, "sampling rate"),
        ("x.tsv", b"1\n2\n", -3.0, "is none"),
        ("x.tsv", b"1\n2\n", float("nan"), "is none"),
        ("x.tsv.gz", b"\x1f\x8b\x08garbage", 1.0, "damaged"),
        ("x.nii.gz", gzip.compress(b"\x5c\x01\0\0" * 100, mtime=0), 1.0, "not text"),
        ("x.acq", b"\0" * 50, None, "cannot be read"),
        ("x.dcm", b"\0" * 128 + b"DICM" + b"\1" * 40, None, "DICOM"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(
    tmp_path: Path, name: str, content: bytes, rate_hz: float | None, said: str
):
    path = write(tmp_path / name, content)
    with pytest.raises(CoSpineError, match=said) as caught:
        read_recordings(path, rate_hz)
    assert caught.value.remedy
    assert str(path) in caught.value.where


def test_a_broken_sidecar_and_missing_files_are_named(tmp_path: Path):
    write(tmp_path / "x.json", b"{")
    with pytest.raises(CoSpineError, match=r"x\.json"):
        read_recordings(write(tmp_path / "x.tsv", b"1\n2\n"))
    for path in (tmp_path / "absent.puls", tmp_path):
        with pytest.raises(CoSpineError, match=r"cannot be read|no file"):
            read_recordings(path)


@given(st.binary(max_size=300), st.sampled_from(["x.puls", "x.log", "x.tsv", "x.tsv.gz", "x", "x_Info.log"]))
@settings(max_examples=100, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_give_recordings_or_a_reason(tmp_path: Path, data: bytes, name: str):
    for head in (b"", PMU, cmrr("PULS"), b"# v1raw\n", b"DICM".rjust(132, b"\0")):
        path = write(tmp_path / name, head + data)
        try:
            recordings = read_recordings(path, 10.0)
        except CoSpineError:
            continue
        assert recordings


@pytest.mark.shared
def test_every_real_recording_is_read(shared: Path):
    folder = shared / "data/physio"
    if not folder.is_dir():
        pytest.skip("no recordings there")
    pytest.importorskip("bioread", reason="bioread is an extra (cospine[physio])")
    pytest.importorskip("pydicom", reason="pydicom is an extra (cospine[physio])")
    expected = {
        "bidsphysio/pmu2bids/sample_VB15A.puls": ["cardiac"],
        "bidsphysio/acq2bids/sample.acq": ["cardiac", "respiratory", "other", "trigger"],
        "bidsphysio/dcm2bids/samplePhysioCMRR_ecg.dcm": ["cardiac", "other", "other", "other", "cardiac", "respiratory"],
        "bidsphysio/dcm2bids/Physio_Info.log": ["cardiac", "respiratory"],
        "physio-examples/bids/PPU3T/sub-s999_task-random_run-99_physio.tsv.gz": ["cardiac", "respiratory"],
        "physio-examples/ge/PPU3T/RespData_epiRT_1025201115_44_19": ["respiratory"],
        "ds210/sub-01/func/sub-01_task-rest_run-01_physio.tsv.gz": ["cardiac", "respiratory"],
        "peakdet/ECG.csv": ["cardiac"],
    }
    for file, kinds in expected.items():
        rate_hz = 40.0 if file.startswith(("peakdet", "physio-examples/ge")) else None
        recordings = read_recordings(folder / file, rate_hz)
        assert [one.kind for one in recordings] == kinds, file
    # triggers of a joint file against the start that its sidecar states
    joint = read_recordings(folder / "physio-examples/bids/PPU3T/sub-s999_task-random_run-99_physio.tsv.gz")[0]
    assert joint.start_s is not None
    assert joint.volumes_s[0] + joint.start_s == pytest.approx(0, abs=1 / 50)
