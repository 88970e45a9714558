"""`cospine physio`: what it writes, when it refuses, and what it says on the way."""

import gzip
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cospine.cli.main import main
from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.recordings import Recording, pmu_log, record
from cospine.physio.io import read_recordings

DURATION_S = 90.0
FIRST_VOLUME_S = 48_675.86  # 13:31:15.86


@pytest.fixture(scope="module")
def truth() -> dict[str, Recording]:
    return record(simulate_physiology(4, DURATION_S), DURATION_S, 4)


@pytest.fixture(scope="module")
def logs(truth: dict[str, Recording], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pmu")
    files = []
    for kind, ending in (("cardiac", "puls"), ("respiratory", "resp")):
        files.append(folder / f"sub-01_task-pain.{ending}")
        files[-1].write_text(pmu_log(truth[kind], FIRST_VOLUME_S, 1362, info_interval_s=20.0))
    return files


@pytest.fixture(scope="module")
def converted(logs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "new"
    assert main(["physio", *map(str, logs), "--output", str(output), "--first-volume", "13:31:15.860000"]) == 0
    return output


def test_files_are_named_as_promised(converted: Path):
    stem = "sub-01_task-pain_recording-"
    each = [
        f"{stem}{kind}_{what}" for kind in ("cardiac", "respiratory") for what in ("physio.tsv.gz", "physio.json", "peaks.svg")
    ]
    assert sorted(path.name for path in converted.iterdir()) == sorted([*each, "peaks.tsv", "peaks.json"])
    for picture in converted.glob("*.svg"):
        assert ET.parse(picture).getroot().tag.endswith("svg")


@pytest.mark.parametrize("kind", ["cardiac", "respiratory"])
def test_tables_hold_the_samples_from_the_first_volume_on(converted: Path, truth: dict[str, Recording], kind: str):
    path = converted / f"sub-01_task-pain_recording-{kind}_physio.tsv.gz"
    assert path.read_bytes()[4:8] == b"\0\0\0\0"  # no time stamp: the same input gives the same bytes
    table = pd.read_csv(path, sep="\t", header=None, na_values="n/a")
    sidecar = json.loads(path.with_name(path.name.replace(".tsv.gz", ".json")).read_text())
    assert sidecar["Columns"] == [kind]
    assert (sidecar["SamplingFrequency"], sidecar["PhysioType"]) == (400, "generic")
    assert sidecar["StartTime"] == pytest.approx(truth[kind].start_s, abs=1 / 400)
    assert np.array_equal(table[0], truth[kind].samples)
    (again,) = read_recordings(path)
    assert again.clock_s == pytest.approx(FIRST_VOLUME_S + truth[kind].start_s, abs=1 / 400)
    assert again.limits == (0, 4095)


@pytest.mark.parametrize(("kind", "within_s"), [("cardiac", 0.05), ("respiratory", 0.3)])
def test_peaks_are_where_the_truth_has_them(converted: Path, truth: dict[str, Recording], kind: str, within_s: float):
    peaks = pd.read_csv(converted / "peaks.tsv", sep="\t")
    assert peaks.columns.tolist() == ["onset", "onset_run", "kind", "quality", "file"]
    mine = peaks[peaks["kind"] == kind]
    assert set(mine["file"]) == {"sub-01_task-pain." + {"cardiac": "puls", "respiratory": "resp"}[kind]}
    assert mine["quality"].between(0, 1).all()
    assert (mine["onset_run"] - mine["onset"]).to_numpy() == pytest.approx(truth[kind].start_s, abs=1 / 400)
    apart = np.abs(mine["onset_run"].to_numpy()[:, None] - truth[kind].peaks_s)
    assert np.mean(apart.min(axis=0) < within_s) > 0.95
    assert np.mean(apart.min(axis=1) < within_s) > 0.95


@pytest.mark.parametrize("form", ["dicom time", "sidecar", "date and time"])
def test_forms_of_the_first_volume(logs: list[Path], truth: dict[str, Recording], tmp_path: Path, form: str):
    said = {
        "dicom time": "133115.86",
        "sidecar": '{"AcquisitionTime": "13:31:15.860000"}',
        "date and time": '{"AcquisitionDateTime": "2025-01-31T13:31:15.86"}',
    }[form]
    if said[0] == "{":
        (tmp_path / "bold.json").write_text(said)
        said = str(tmp_path / "bold.json")
    assert main(["physio", str(logs[0]), "--output", str(tmp_path / "out"), "--first-volume", said]) == 0
    sidecar = json.loads((tmp_path / "out/sub-01_task-pain_recording-cardiac_physio.json").read_text())
    assert sidecar["StartTime"] == pytest.approx(truth["cardiac"].start_s, abs=1 / 400)


def test_a_dicom_file_as_first_volume(logs: list[Path], truth: dict[str, Recording], tmp_path: Path):
    pydicom = pytest.importorskip("pydicom", reason="pydicom is an extra (cospine[physio])")
    dataset = pydicom.Dataset()
    dataset.AcquisitionTime = "133115.860000"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.save_as(tmp_path / "first.dcm", enforce_file_format=True)
    assert main(["physio", str(logs[1]), "--output", str(tmp_path / "out"), "--first-volume", str(tmp_path / "first.dcm")]) == 0
    sidecar = json.loads((tmp_path / "out/sub-01_task-pain_recording-respiratory_physio.json").read_text())
    assert sidecar["StartTime"] == pytest.approx(truth["respiratory"].start_s, abs=1 / 400)


def test_without_a_first_volume_the_start_is_said_to_be_unknown(
    logs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["physio", str(logs[0]), "--output", str(tmp_path)]) == 0
    assert "--first-volume" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "peaks.tsv", sep="\t")["onset_run"].isna().all()
    (again,) = read_recordings(tmp_path / "sub-01_task-pain_recording-cardiac_physio.tsv.gz")
    assert again.start_s is None
    assert again.clock_s is not None


def test_marked_volumes_place_a_recording_and_the_time_given_goes_before_them(
    truth: dict[str, Recording], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pulse = truth["cardiac"]
    first_tic = round((FIRST_VOLUME_S + pulse.start_s) * 400)
    rows = "\n".join(f"{first_tic + 2 * at} PULS {value}" for at, value in enumerate(pulse.samples[::2]))
    starts = [round((FIRST_VOLUME_S + 2.68 * volume) * 400) for volume in range(30)]
    slices = "\n".join(f"{volume} 0 {start} {start + 20} 0" for volume, start in enumerate(starts))
    head = "UUID = a\nLogDataType = {}\nSampleTime = 2\n\n"
    (tmp_path / "P_PULS.log").write_text(head.format("PULS") + "ACQ_TIME_TICS CHANNEL VALUE SIGNAL\n" + rows)
    (tmp_path / "P_Info.log").write_text(head.format("ACQUISITION_INFO") + "VOLUME SLICE A B ECHO\n" + slices)
    given = [str(tmp_path / "P_Info.log"), str(tmp_path / "P_PULS.log")]

    assert main(["physio", *given, "--output", str(tmp_path / "marks")]) == 0
    assert capsys.readouterr().err == ""
    sidecar = json.loads((tmp_path / "marks/P_recording-cardiac_physio.json").read_text())
    assert sidecar["StartTime"] == pytest.approx(pulse.start_s, abs=1 / 200)
    assert sidecar["Columns"] == ["cardiac", "trigger"]

    assert main(["physio", *given, "--output", str(tmp_path / "time"), "--first-volume", "13:31:18.86"]) == 0
    assert "the time given" in capsys.readouterr().err
    sidecar = json.loads((tmp_path / "time/P_recording-cardiac_physio.json").read_text())
    assert sidecar["StartTime"] == pytest.approx(pulse.start_s - 3.0, abs=1 / 200)


def test_nothing_found_is_1_with_an_empty_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "gsr.tsv").write_text("gsr\n" + "1.5\n" * 500)
    assert main(["physio", str(tmp_path / "gsr.tsv"), "--rate", "50", "--output", str(tmp_path / "out")]) == 1
    assert "neither pulse nor breathing" in capsys.readouterr().err
    assert (tmp_path / "out/peaks.tsv").read_text() == "onset\tonset_run\tkind\tquality\tfile\n"
    said = json.loads((tmp_path / "out/peaks.json").read_text())
    assert said["found"] is False
    assert "neither pulse nor breathing" in said["reasons"][0]


def test_a_flat_line_has_no_peaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "flat.tsv").write_text("ppg\n" + "1500\n" * 3000)
    assert main(["physio", str(tmp_path / "flat.tsv"), "--rate", "50", "--output", str(tmp_path / "out")]) == 1
    assert "no beat" in capsys.readouterr().err
    assert (tmp_path / "out/flat_recording-cardiac_physio.tsv.gz").exists()
    assert len((tmp_path / "out/peaks.tsv").read_text().splitlines()) == 1


def test_every_bad_input_is_listed_before_anything_is_written(
    logs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "noise.puls").write_bytes(bytes(range(256)))
    (tmp_path / "norate.tsv").write_text("1\n2\n")
    bad = [str(tmp_path / name) for name in ("noise.puls", "absent.resp", "norate.tsv")]
    output = tmp_path / "out"
    assert main(["physio", str(logs[0]), *bad, "--output", str(output), "--first-volume", "25:00:00"]) == 2
    said = capsys.readouterr().err
    for one in (*bad, "--first-volume 25:00:00", "--rate"):
        assert one in said
    assert not output.exists()


def test_one_name_from_two_folders_is_refused(logs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / logs[0].name
    other.write_bytes(logs[0].read_bytes())
    assert main(["physio", str(logs[0]), str(other), "--output", str(tmp_path / "out")]) == 2
    assert "same name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_cardiac_channels_of_one_file_are_numbered_and_a_file_given_twice_is_read_once(tmp_path: Path):
    t = np.arange(3000) / 50
    beat = np.exp(-(((t % 0.9) - 0.3) ** 2) / 0.005)
    rows = "".join(f"{a:.4f}\t{b:.4f}\n" for a, b in zip(beat, np.roll(beat, 5), strict=True))
    file = tmp_path / "two_physio.tsv.gz"
    file.write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "two_physio.json").write_text('{"SamplingFrequency": 50, "StartTime": -1, "Columns": ["PULS", "ECG"]}')
    assert main(["physio", str(file), str(file), "--output", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").glob("*.tsv.gz")}
    assert names == {"two_recording-cardiac_physio.tsv.gz", "two_recording-cardiac2_physio.tsv.gz"}


def test_an_output_that_is_a_file_is_refused(logs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "taken").write_text("")
    assert main(["physio", str(logs[0]), "--output", str(tmp_path / "taken")]) == 2
    assert "--output" in capsys.readouterr().err


def test_every_minute_of_a_long_recording_is_drawn(tmp_path: Path):
    t = np.arange(25 * 60 * 25) / 25
    (tmp_path / "resp.txt").write_text("\n".join(f"{value:.3f}" for value in np.sin(2 * np.pi * 0.25 * t)))
    assert main(["physio", str(tmp_path / "resp.txt"), "--rate", "25", "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("resp_recording-respiratory_peaks-*.svg"))) == 2
