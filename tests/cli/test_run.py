"""The command line: what is said of bad input, and with which exit status."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cospine.cli.main import main

AFFINE = np.array([[-6.0, 0, 0, 96], [0, 6, 0, -96], [0, 0, 6, -60], [0, 0, 0, 1.0]])


def series(volumes: int = 12) -> np.ndarray:
    """A bright head-sized ellipsoid, a little noise."""
    rng = np.random.default_rng(0)
    index = np.indices((32, 32, 20))
    radius = sum(((index[a] - c) / r) ** 2 for a, (c, r) in enumerate(((16, 12), (16, 14), (10, 9))))
    body = np.where(radius < 1, 800 + 200 * np.sin(index[0]) * np.cos(index[1] / 2), 0)
    return (body[..., None] + rng.normal(size=(32, 32, 20, volumes)) * 8).astype(np.float32)


def make(root: Path, label: str, data: np.ndarray | None = None, **sidecar: object) -> Path:
    folder = root / label / "func"
    folder.mkdir(parents=True)
    path = folder / f"{label}_task-rest_bold.nii.gz"
    image = nib.Nifti1Image(series() if data is None else data, AFFINE)
    image.header.set_zooms((6, 6, 6, 2.0)[: image.ndim])
    nib.save(image, path)
    content = {"TaskName": "rest", "RepetitionTime": 2.0, "SliceTiming": (np.arange(20) * 0.1).tolist(), **sidecar}
    path.with_name(f"{label}_task-rest_bold.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    (root / "dataset_description.json").write_text('{"Name": "test", "BIDSVersion": "1.10.0"}')
    return path


def test_all_that_is_wrong_is_listed_at_once_and_the_rest_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = tmp_path / "bids", tmp_path / "out"
    make(raw, "sub-01")
    make(raw, "sub-02", RepetitionTime=None)
    make(raw, "sub-03", data=series()[..., 0])
    (raw / "sub-04" / "anat").mkdir(parents=True)
    cut = make(raw, "sub-05", data=series(30))
    stored = cut.read_bytes()
    cut.write_bytes(stored[: len(stored) * 2 // 3])
    holes = series()
    holes[3, 3, 3] = np.nan
    make(raw, "sub-06", data=holes, SliceTiming=[0.0, 0.5])
    assert main(["run", str(raw), str(out), "participant"]) == 1
    said = capsys.readouterr().err
    for words in ("sub-02", "RepetitionTime", "sub-03", "sub-04", "sub-05", "sub-06", "SliceTiming"):
        assert words in said
    before_work = said[: said.index("done ")]
    assert before_work.count("->") >= 6  # each with a remedy, before the work
    for label in ("sub-01", "sub-05", "sub-06"):
        assert (out / label / "func" / f"{label}_task-rest_desc-preproc_bold.nii.gz").is_file()
        assert (out / f"{label}.html").is_file()
    assert not (out / "sub-02" / "func").exists()
    salvaged = nib.load(out / "sub-05" / "func" / "sub-05_task-rest_desc-preproc_bold.nii.gz")
    assert 10 <= salvaged.shape[3] < 30


def test_salvage_alone_is_success(tmp_path: Path) -> None:
    raw = tmp_path / "bids"
    holes = series()
    holes[3, 3, 3] = np.nan
    make(raw, "sub-01", data=holes)
    assert main(["run", str(raw), str(tmp_path / "out"), "participant"]) == 0


@pytest.mark.parametrize("what", ["no folder", "no participant", "nothing runnable", "no such participant", "output is a file"])
def test_nothing_to_do_is_two(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out, more = tmp_path / "bids", tmp_path / "out", []
    if what == "no participant":
        raw.mkdir()
    elif what == "nothing runnable":
        make(raw, "sub-01", RepetitionTime=None)
    elif what == "no such participant":
        make(raw, "sub-01")
        more = ["--participant-label", "77"]
    elif what == "output is a file":
        make(raw, "sub-01")
        out.write_text("mine")
    assert main(["run", str(raw), str(out), "participant", *more]) == 2
    assert "cospine:" in capsys.readouterr().err
    if what == "output is a file":
        assert out.read_text() == "mine"
    else:
        assert not out.exists()


def test_a_wrong_command_line_is_two(tmp_path: Path) -> None:
    for arguments in ([], ["run"], ["nonsense"], ["run", "a", "b", "participant", "--dummy-scans", "few"]):
        assert main(arguments) == 2


def test_a_failing_person_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = tmp_path / "bids", tmp_path / "out"
    make(raw, "sub-01", data=np.zeros((32, 32, 20, 12), np.float32))
    make(raw, "sub-02")
    assert main(["run", str(raw), str(out), "participant"]) == 1
    assert "neither brain" in capsys.readouterr().err
    assert "neither brain" in (out / "sub-01.html").read_text()
    assert (out / "sub-02" / "func").is_dir()


def test_raw_data_are_never_changed(tmp_path: Path) -> None:
    raw = tmp_path / "bids"
    make(raw, "sub-01")
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in raw.rglob("*") if p.is_file()}
    assert main(["run", str(raw), str(tmp_path / "out"), "participant"]) == 0
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in raw.rglob("*") if p.is_file()} == before
    assert gzip.decompress((tmp_path / "out/sub-01/func/sub-01_task-rest_desc-coreg_boldref.nii.gz").read_bytes())[:4]


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "bids", "sub-01")
    assert main(["run", str(tmp_path / "bids"), str(tmp_path / "out"), "participant", "--dry-run"]) == 0
    assert "12 volumes" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cospine.cli.main import main; main(['--help']); "
        "print([m for m in ('pandas', 'nilearn', 'matplotlib', 'ants', 'scipy', 'numba') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().endswith("[]")


def test_overrides_are_checked_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out, given = tmp_path / "bids", tmp_path / "out", tmp_path / "given"
    make(raw, "sub-01")
    (given / "sub-01" / "func").mkdir(parents=True)
    wrong = given / "sub-01" / "func" / "sub-01_task-rest_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), AFFINE), wrong)
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), AFFINE), given / "sub-1_mask.nii.gz")
    assert main(["run", str(raw), str(out), "participant", "--overrides", str(given)]) == 2
    said = capsys.readouterr().err
    assert "not on the grid" in said
    assert "named as no mask" in said
    assert not out.exists()


def test_a_given_brain_mask_is_used_and_said(tmp_path: Path) -> None:
    raw, out, given = tmp_path / "bids", tmp_path / "out", tmp_path / "given"
    make(raw, "sub-01")
    name = "sub-01/func/sub-01_task-rest_desc-brain_mask.nii.gz"
    (given / name).parent.mkdir(parents=True)
    mask = (series().mean(axis=3) > 500).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, AFFINE), given / name)
    assert main(["run", str(raw), str(out), "participant", "--overrides", str(given)]) == 0
    np.testing.assert_array_equal(nib.load(out / name).get_fdata(), mask)
    assert "brain given by the user" in " ".join((out / "sub-01.html").read_text().split())


def test_what_another_setting_wrote_does_not_stay(tmp_path: Path) -> None:
    raw, out = tmp_path / "bids", tmp_path / "out"
    make(raw, "sub-01")
    assert main(["run", str(raw), str(out), "participant"]) == 0
    record = out / "logs" / "sub-01_task-rest_steps.json"
    old = out / "sub-01" / "func" / "sub-01_task-rest_desc-cordmotion_timeseries.tsv"
    old.write_text("old")
    content = json.loads(record.read_text())
    content["Steps"][1]["outputs"].append(f"bids::{old.relative_to(out).as_posix()}")
    record.write_text(json.dumps(content))
    assert main(["run", str(raw), str(out), "participant"]) == 0
    assert not old.exists()


def test_slice_times_are_written_in_stored_order(tmp_path: Path) -> None:
    raw, out = tmp_path / "bids", tmp_path / "out"
    make(raw, "sub-01", SliceEncodingDirection="k-")
    make(raw, "sub-02", SliceTiming=[0.0, 0.5])
    assert main(["run", str(raw), str(out), "participant"]) == 0
    sidecar = json.loads((out / "sub-01/func/sub-01_task-rest_desc-preproc_bold.json").read_text())
    np.testing.assert_allclose(sidecar["SliceTiming"], np.arange(20)[::-1] * 0.1)
    assert sidecar["SliceEncodingDirection"] == "k"
    assert "SliceTiming" not in json.loads((out / "sub-02/func/sub-02_task-rest_desc-preproc_bold.json").read_text())


@pytest.mark.parametrize("flags", [["--dummy-scans", "9"], ["--dummy-scans", "²"], ["--nprocs", "-1"]])
def test_impossible_numbers_are_two(tmp_path: Path, flags: list[str]) -> None:
    make(tmp_path / "bids", "sub-01")
    assert main(["run", str(tmp_path / "bids"), str(tmp_path / "out"), "participant", *flags]) == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--level", "minimal", "--clean"], "--level minimal"),
        (["--level", "minimal", "--export", "fsl", "--slow-responses", "rvt"], "--export, --slow-responses"),
        (["--high-pass", "4"], "all that sub-01_task-rest can hold"),
        (["--high-pass", "0"], "no period"),
        (["--high-pass", "nan"], "no period"),
        (["--pnm-orders", "4", "4", "2", "0"], "4 4 2 0"),
        (["--pnm-orders", "4", "4", "-1", "-1"], "make no model"),
        (["--pnm-orders", "4", "4"], "--pnm-orders"),
        (["--clean"], "as many columns as there are volumes"),
        (["--physio-peaks", "absent.tsv"], "no such file"),
    ],
)
def test_noise_models_that_cannot_be_are_two_before_the_work(
    tmp_path: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "bids", "sub-01")
    assert main(["run", str(tmp_path / "bids"), str(tmp_path / "out"), "participant", *flags]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_cleaning_is_judged_by_the_columns_there_will_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without recordings there are few; without the first volumes there is less to explain."""
    raw, out = tmp_path / "bids", tmp_path / "out"
    bold = make(raw, "sub-01", data=series(24))
    command = ["run", str(raw), str(out), "participant", "--clean", "--dry-run"]
    assert main(command) == 0
    assert main([*command, "--dummy-scans", "10"]) == 2
    physio = bold.with_name("sub-01_task-rest_physio.tsv.gz")
    physio.write_bytes(gzip.compress(b"1\n2\n"))
    physio.with_name("sub-01_task-rest_physio.json").write_text(
        '{"SamplingFrequency": 100, "StartTime": 0, "Columns": ["cardiac"]}'
    )
    assert main(command) == 2
    assert "--pnm-orders 2 2 0 0" in capsys.readouterr().err
    assert main([*command, "--pnm-orders", "1", "1", "0", "0"]) == 0
    assert main([*command, "--ignore", "physio"]) == 0


def test_a_model_in_which_nothing_can_be_tested_stops_nobody(tmp_path: Path) -> None:
    """A recording, but no harmonics and no cerebrospinal fluid: the only column is 0 throughout."""
    raw, out = tmp_path / "bids", tmp_path / "out"
    physio = make(raw, "sub-01").with_name("sub-01_task-rest_physio.tsv.gz")
    wave = 1000 + 500 * np.sin(2 * np.pi * 1.1 * np.arange(0, 30, 0.01))
    physio.write_bytes(gzip.compress("\n".join(f"{value:.0f}" for value in wave).encode()))
    physio.with_name("sub-01_task-rest_physio.json").write_text(
        '{"SamplingFrequency": 100, "StartTime": 0, "Columns": ["cardiac"]}'
    )
    assert main(["run", str(raw), str(out), "participant", "--pnm-orders", "0", "0", "0", "0"]) == 0
    func = out / "sub-01" / "func"
    assert json.loads((func / "sub-01_task-rest_desc-pnm_regressors.json").read_text())["Columns"] == ["csf"]
    assert not list(func.glob("*desc-noise*"))


def test_tables_of_peaks_are_checked_with_everything_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out, given = tmp_path / "bids", tmp_path / "out", tmp_path / "given"
    for label in ("sub-01", "sub-02", "sub-03"):
        make(raw, label)
        (given / label / "func").mkdir(parents=True)
    for label, text in (
        ("sub-01", "onset_run\tkind\n1.0\tcardiac\nsoon\tcardiac\n"),
        ("sub-02", "onset\tkind\n1.0\tarterial\n"),
        ("sub-03", "onset_run\tkind\n1.0\tcardiac\n1.9\tcardiac\n"),
    ):
        (given / label / "func" / f"{label}_task-rest_desc-peaks_timeseries.tsv").write_text(text)
    (given / "sub-09_task-rest_desc-peaks_timeseries.tsv").write_text("onset\tkind\n1.0\tcardiac\n")
    nib.save(
        nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), AFFINE),
        given / "sub-03" / "func" / "sub-03_task-rest_desc-brain_mask.nii.gz",
    )
    assert main(["run", str(raw), str(out), "participant", "--overrides", str(given)]) == 2
    said = capsys.readouterr().err
    for words in ("onset_run soon is no number", "arterial is neither", "sub-09_task-rest_desc-peaks", "not on the grid"):
        assert words in said
    assert "sub-03_task-rest_desc-peaks_timeseries.tsv is no table" not in said
    assert not out.exists()


def test_a_table_of_peaks_stands_for_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out, peaks = tmp_path / "bids", tmp_path / "out", tmp_path / "peaks.tsv"
    make(raw, "sub-01")
    make(raw, "sub-02")
    peaks.write_text("onset\tkind\n1.0\tcardiac\n1.9\tcardiac\n")
    assert main(["run", str(raw), str(out), "participant", "--physio-peaks", str(peaks)]) == 2
    assert "stands for one run, but 2 are chosen" in capsys.readouterr().err
    assert not out.exists()


def test_the_dataset_is_no_place_for_output_but_its_derivatives(tmp_path: Path) -> None:
    raw = tmp_path / "bids"
    make(raw, "sub-01")
    assert main(["run", str(raw), str(raw / "sub-01" / "out"), "participant"]) == 2
    assert main(["run", str(raw), str(raw / "derivatives" / "cospine"), "participant"]) == 0
