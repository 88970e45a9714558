"""A whole session: from DICOM, recordings and logs to a dataset that the official validator accepts."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from scanner import noise, write_pain_session, write_series

from cospine.bids import read_dataset, read_json, read_tsv
from cospine.cli.main import main
from cospine.convert.mapping import built_in
from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.recordings import pmu_log, record

pytest.importorskip("dcm2niix")

RUN = "sub-01/func/sub-01_task-pain_bold"
FIRST_VOLUME_S = 10 * 3600 + 20 * 60 + 0.125
LOG = "zero,onset,kind\n3.0,,\n,5.5,heat\n,9.0,rating\n"


def mapping_file(folder: Path) -> Path:
    """The built-in mapping, with what these headers do not say, and an events rule."""
    content = yaml.safe_load(built_in())
    for rule in content["series"]:
        if rule.get("to") == "func/bold":
            rule["sidecar"] = {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.04}
        if rule.get("to") == "fmap/epi":
            rule["match"]["SeriesDescription"] = rule["match"]["SeriesDescription"].replace("(?P<dir>AP|PA)", "(?P<dir>AP)")
            rule["sidecar"] = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.04}
    other = [
        json.loads(json.dumps(rule).replace("AP", "PA").replace('"j-"', '"j"'))
        for rule in content["series"]
        if rule.get("to") == "fmap/epi"
    ]
    content["series"] += other
    row = {"onset": "onset", "duration": 4, "trial_type": "{kind}"}
    content["events"] = [{"task": "pain", "files": "*.csv", "zero": "zero", "rows": [row]}]
    content["dataset"] = {"Name": "Test", "Authors": ["A"], "License": "CC0"}
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came from the scanner: DICOM, PMU logs, a log of the task."""
    folder = write_pain_session(tmp_path_factory.mktemp("scan") / "export")
    recorded = record(simulate_physiology(4, 60.0), 60.0, 4)
    for kind, ending in (("cardiac", "puls"), ("respiratory", "resp")):
        (folder / f"pmu.{ending}").write_text(pmu_log(recorded[kind], FIRST_VOLUME_S, 1362))
    (folder / "heat.csv").write_text(LOG)
    return folder


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return ["--participant", "01", "--no-deface", "--mapping", str(mapping_file(tmp_path_factory.mktemp("map")))]


@pytest.fixture(scope="module")
def dataset(export: Path, flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("out") / "bids"
    assert main(["convert", str(export), str(root), "--scans", *flags]) == 0
    return root


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_official_validator_finds_no_error(dataset: Path, official_errors: Callable[[Path], list]) -> None:
    assert official_errors(dataset) == []


def test_every_file_is_there_and_nothing_else(dataset: Path) -> None:
    func, fmap = RUN.removesuffix("bold"), "sub-01/fmap/sub-01_acq-"
    images = ["sub-01/anat/sub-01_T1w", f"{RUN}"]
    images += [
        f"{fmap}{name}" for name in ("GRE_magnitude1", "GRE_magnitude2", "GRE_phasediff", "pain_dir-AP_epi", "pain_dir-PA_epi")
    ]
    recordings = [f"{func}recording-{kind}_physio" for kind in ("cardiac", "respiratory")]
    tables = [f"{func}events", "sub-01/sub-01_scans", "participants"]
    assert sorted(files(dataset)) == sorted(
        [f"{one}{ending}" for one in images for ending in (".nii.gz", ".json")]
        + [f"{one}{ending}" for one in recordings for ending in (".tsv.gz", ".json")]
        + [f"{one}{ending}" for one in tables for ending in (".tsv", ".json")]
        + ["README.md", "dataset_description.json"]
    )


def test_images_are_those_of_the_scanner(dataset: Path) -> None:
    bold = nib.load(dataset / f"{RUN}.nii.gz")
    assert np.array_equal(np.asarray(bold.dataobj), noise((16, 16, 6, 5), 12))
    # gzip without a time or a name
    assert (dataset / f"{RUN}.nii.gz").read_bytes()[3:8] == b"\0\0\0\0\0"
    assert not any(b"P4711" in gzip.decompress(data) for name, data in files(dataset).items() if name.endswith("gz"))


def test_field_maps_are_linked_both_ways_and_our_reader_follows(dataset: Path) -> None:
    run = read_json(dataset / f"{RUN}.json")
    assert run["B0FieldSource"] == ["pepolar_pain", "gre_GRE"]
    for name, identifier in (
        ("acq-pain_dir-AP_epi", "pepolar_pain"),
        ("acq-GRE_magnitude2", "gre_GRE"),
        ("acq-GRE_phasediff", "gre_GRE"),
    ):
        sidecar = read_json(dataset / f"sub-01/fmap/sub-01_{name}.json")
        assert sidecar["B0FieldIdentifier"] == identifier
        assert sidecar["IntendedFor"] == [f"bids::{RUN}.nii.gz"]
    phase = read_json(dataset / "sub-01/fmap/sub-01_acq-GRE_phasediff.json")
    assert (phase["EchoTime1"], phase["EchoTime2"]) == (0.00492, 0.00738)
    read = read_dataset(dataset)
    (person,) = read.participants
    linked = {one.kind: how for one, how in person.fieldmaps_of(person.runs[0])}
    assert linked == {"pepolar": "B0FieldSource", "phasediff": "B0FieldSource"}


def test_recordings_begin_when_they_did(dataset: Path, export: Path) -> None:
    recorded = record(simulate_physiology(4, 60.0), 60.0, 4)
    for kind in ("cardiac", "respiratory"):
        sidecar = read_json(dataset / RUN.replace("bold", f"recording-{kind}_physio.json"))
        assert sidecar["StartTime"] == pytest.approx(recorded[kind].start_s, abs=0.0051)
        assert sidecar["SamplingFrequency"] == pytest.approx(400, rel=1e-3)
        table = np.loadtxt(dataset / RUN.replace("bold", f"recording-{kind}_physio.tsv.gz"))
        assert len(table) == len(recorded[kind].samples)


def test_events_count_from_the_first_volume(dataset: Path) -> None:
    assert read_tsv(dataset / RUN.replace("bold", "events.tsv")) == {
        "onset": ["2.5", "6"], "duration": ["4", "4"], "trial_type": ["heat", "rating"],
    }  # fmt: skip


def test_again_changes_nothing_and_elsewhere_gives_the_same_bytes(
    dataset: Path, export: Path, flags: list[str], tmp_path: Path
) -> None:
    before = files(dataset)
    times = {path: path.stat().st_mtime_ns for path in dataset.rglob("*") if path.is_file()}
    assert main(["convert", str(export), str(dataset), "--scans", *flags]) == 0
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*") if path.is_file()} == times
    moved = shutil.make_archive(str(tmp_path / "moved"), "zip", export)
    assert main(["convert", moved, str(tmp_path / "bids"), "--scans", *flags]) == 0
    assert files(tmp_path / "bids") == before


def test_nothing_is_overwritten_without_force(export: Path, dataset: Path, flags: list[str], tmp_path: Path, capsys: Any) -> None:
    root = tmp_path / "bids"
    shutil.copytree(dataset, root)
    for name in (f"{RUN}.json", RUN.replace("bold", "events.tsv")):
        (root / name).write_text("{}")
    (root / f"{RUN}.nii.gz").unlink()
    before = files(root)
    assert main(["convert", str(export), str(root), "--scans", *flags]) == 2
    said = capsys.readouterr().err
    assert said.count("is there with other content") == 2
    assert files(root) == before
    assert main(["convert", str(export), str(root), "--scans", "--force", *flags]) == 0
    assert files(root) == files(dataset)


def test_a_place_that_is_taken_otherwise_is_found_before_anything_is_moved(
    export: Path, flags: list[str], tmp_path: Path, capsys: Any
) -> None:
    root = tmp_path / "bids"
    (root / "sub-01").mkdir(parents=True)
    (root / "sub-01" / "func").write_text("a file")
    assert main(["convert", str(export), str(root), *flags]) == 2
    assert "a folder is needed there" in capsys.readouterr().err
    assert files(root) == {"sub-01/func": b"a file"}


def test_a_second_person_joins(dataset: Path, export: Path, flags: list[str], tmp_path: Path) -> None:
    root = tmp_path / "bids"
    shutil.copytree(dataset, root)
    flags = ["02" if flag == "01" else flag for flag in flags]
    assert main(["convert", str(export), str(root), "--session", "ses-a", *flags]) == 0
    assert read_tsv(root / "participants.tsv")["participant_id"] == ["sub-01", "sub-02"]
    after = files(root)
    assert after.items() >= {k: v for k, v in files(dataset).items() if k != "participants.tsv"}.items()
    assert "sub-02/ses-a/func/sub-02_ses-a_task-pain_bold.nii.gz" in after


def test_a_dry_run_shows_the_plan_and_makes_nothing(export: Path, flags: list[str], tmp_path: Path, capsys: Any) -> None:
    assert main(["convert", str(export), str(tmp_path / "bids"), "--dry-run", *flags]) == 0
    said = capsys.readouterr().out
    assert f"series 12 brain-spinal_ep2d_pre_task2_R (30 files) -> {RUN}.nii.gz" in said
    assert "field map gre_GRE is for task-pain" in said
    assert "localizer_3plane (3 files): left aside" in said
    assert "heat.csv -> events of task-pain (2 events)" in said
    assert not (tmp_path / "bids").exists()


def test_all_bad_input_is_listed_before_any_work(export: Path, tmp_path: Path, capsys: Any) -> None:
    source = tmp_path / "source"
    shutil.copytree(export, source)
    write_series(source / "x", 20, "unheard of", noise((8, 8, 2)))
    root = tmp_path / "bids"
    wrong = [
        "--participant",
        "a_b",
        "--physio",
        "task-rest=a.puls",
        str(tmp_path / "no.puls"),
        "--events",
        str(source / "heat.csv"),
    ]
    assert main(["convert", str(source), str(root), *wrong]) == 2
    said = capsys.readouterr().err
    for text in ("a_b: is no BIDS label", "unheard of", "task-rest is no run", "no.puls: does not exist", "no events rule"):
        assert text in said, text
    assert not root.exists()


def test_a_series_that_fails_leaves_nothing(export: Path, flags: list[str], tmp_path: Path, capsys: Any) -> None:
    source = tmp_path / "source"
    shutil.copytree(export, source)
    sorted((source / "12").iterdir())[7].unlink()
    assert main(["convert", str(source), str(tmp_path / "bids"), *flags]) == 1
    assert "series 12" in capsys.readouterr().err
    assert not (tmp_path / "bids").exists()


def test_a_face_that_cannot_be_found_stops_the_conversion(export: Path, flags: list[str], tmp_path: Path, capsys: Any) -> None:
    flags = [flag for flag in flags if flag != "--no-deface"]
    assert main(["convert", str(export), str(tmp_path / "bids"), *flags]) == 1
    assert "sub-01_T1w.nii.gz: its face could not be found" in capsys.readouterr().err
    assert not (tmp_path / "bids").exists()


def test_the_source_is_never_written_into(export: Path, flags: list[str], capsys: Any) -> None:
    before = files(export)
    assert main(["convert", str(export), str(export / "bids"), *flags]) == 2
    assert "lies in the source" in capsys.readouterr().err
    assert files(export) == before


def test_the_mapping_can_be_shown(capsys: Any) -> None:
    assert main(["convert", "--show-mapping"]) == 0
    assert capsys.readouterr().out == built_in()
