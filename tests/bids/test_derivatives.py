import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cospine.bids import Derivatives, read_dataset
from cospine.bids.derivatives import BIDSIGNORE

AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
MAP = np.ones((4, 5, 6), np.float32)
MASK = np.ones((4, 5, 6), bool)
BOLD = np.random.default_rng(0).normal(500, 10, (4, 5, 6, 12)).astype(np.float32)


@pytest.fixture
def out(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "Raw", "DatasetDOI": "doi:10.1/x", "License": "CC0"}')
    return Derivatives(tmp_path / "out", raw, version="9.8.7")


@pytest.mark.parametrize(
    ("subject", "options", "expected"),
    [
        (
            "sub-01_task-pain",
            {"suffix": "boldref", "desc": "hmc"},
            "sub-01/func/sub-01_task-pain_desc-hmc_boldref.nii.gz",
        ),
        (
            "sub-01_ses-2_task-pain_acq-a_run-1",
            {"suffix": "xfm", "extension": ".txt", "from_": "orig", "to": "boldref", "mode": "image", "desc": "hmc"},
            "sub-01/ses-2/func/sub-01_ses-2_task-pain_acq-a_run-1_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        ),
        (
            "sub-01",
            {"suffix": "dseg", "extension": ".tsv", "datatype": "anat", "desc": "vertebrae"},
            "sub-01/anat/sub-01_desc-vertebrae_dseg.tsv",
        ),
        (
            "sub-01",
            {"suffix": "fieldmap", "datatype": "fmap", "fmapid": "pepolar", "desc": "preproc"},
            "sub-01/fmap/sub-01_fmapid-pepolar_desc-preproc_fieldmap.nii.gz",
        ),
        (
            "sub-01_task-pain_echo-1",
            {"suffix": "statmap", "space": "PAM50", "contrast": "heat", "stat": "t", "echo": None},
            "sub-01/func/sub-01_task-pain_space-PAM50_contrast-heat_stat-t_statmap.nii.gz",
        ),
        (
            "sub-01_task-pain",
            {"suffix": "boldmap", "desc": "raw", "stat": "tsnr"},
            "sub-01/func/sub-01_task-pain_desc-raw_stat-tsnr_boldmap.nii.gz",
        ),
    ],
)
def test_names_of_the_contract(out, subject, options, expected):
    assert out.path(subject, **options) == out.root / expected


def test_runs_and_participants_name_their_outputs(tree, tmp_path):
    dataset = read_dataset(tree.root)
    out = Derivatives(tmp_path / "out", tree.root)
    (person,), (run,) = dataset.participants, dataset.runnable
    assert out.path(run, "bold", desc="preproc").name == "sub-01_task-pain_desc-preproc_bold.nii.gz"
    assert out.path(person, "T1w", datatype="anat", desc="preproc").parent == out.root / "sub-01/anat"
    assert out.uri(run.bold) == "bids:raw:sub-01/func/sub-01_task-pain_bold.nii.gz"
    assert out.uri(out.path(run, "bold", desc="preproc")) == ("bids::sub-01/func/sub-01_task-pain_desc-preproc_bold.nii.gz")
    with pytest.raises(ValueError, match="neither in"):
        out.uri(Path("/elsewhere/x.nii"))


def test_uris_do_not_depend_on_how_a_folder_was_given(tree, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tree.root)
    monkeypatch.chdir(tmp_path)
    expected = "bids:raw:sub-01/func/sub-01_task-pain_bold.nii.gz"
    for raw in (Path("dataset"), Path("link"), tree.root, tmp_path / "link"):
        for given in (Path("dataset"), Path("link"), tree.root):
            (run,) = read_dataset(given, verify=False).runnable
            assert Derivatives(Path("out"), raw).uri(run.bold) == expected
    assert Derivatives(Path("out")).uri(tmp_path / "out/sub-01.html") == "bids::sub-01.html"


def test_a_name_begins_with_a_participant(out):
    with pytest.raises(ValueError, match="does not begin with a participant"):
        out.path("task-pain", "bold")


def test_images_and_their_sidecars(out):
    path = out.path("sub-01_task-pain", "mask", label="SC")
    out.write_image(path, MASK, AFFINE, {"Type": "ROI"})
    assert nib.load(path).get_data_dtype() == np.uint8
    assert json.loads(path.with_name("sub-01_task-pain_label-SC_mask.json").read_text()) == {"Type": "ROI"}
    path = out.path("sub-01_task-pain", "bold", space="PAM50", desc="preproc")
    rounding = out.write_bold(path, BOLD, AFFINE, 2.68, {"TaskName": "pain"}, noise_sd=10.0)
    image = nib.load(path)
    assert image.get_data_dtype() == np.int16
    assert image.header["sform_code"] == 4
    assert np.abs(image.get_fdata() - BOLD).max() <= rounding + 1e-4 <= 0.5 + 1e-4
    sidecar = json.loads(path.with_name("sub-01_task-pain_space-PAM50_desc-preproc_bold.json").read_text())
    assert sidecar == {"RepetitionTime": 2.68, "TaskName": "pain", "RoundingError": rounding}


def test_the_description_tells_nobodys_disk(out, tmp_path):
    out.write_dataset_description()
    written = {path.name: path.read_text() for path in out.root.iterdir()}
    assert set(written) == {"dataset_description.json", ".bidsignore", "CITATION.md"}
    assert str(tmp_path) not in "".join(written.values())
    description = json.loads(written["dataset_description.json"])
    assert description["DatasetType"] == "derivative"
    assert description["BIDSVersion"] == "1.11.0"
    assert description["GeneratedBy"] == [{"Name": "CoSpine", "Version": "9.8.7"}]
    assert description["DatasetLinks"] == {"raw": "../raw"}
    assert description["SourceDatasets"] == [{"DOI": "doi:10.1/x"}]
    assert "9.8.7" in written["CITATION.md"]


def test_a_damaged_raw_description_does_not_stop_the_writer(out):
    (out.raw / "dataset_description.json").write_text("{")
    out.write_dataset_description()
    assert json.loads((out.root / "dataset_description.json").read_text())["DatasetType"] == "derivative"


def write_everything(out):
    """Every name of the contract; return those that the validator knows and those that it does not."""
    out.write_dataset_description()
    known, unknown = [], []
    sources = {"Sources": ["bids:raw:x"]}

    def image(names, subject, suffix, data, sidecar=None, datatype="func", **entities):
        path = out.path(subject, suffix, datatype=datatype, **entities)
        out.write_image(path, data, AFFINE, {**sources, **(sidecar or {})})
        names.append(path)

    person, run = "sub-01", "sub-01_task-pain_run-1"
    image(known, person, "T1w", MAP, {"SkullStripped": False}, "anat", desc="preproc")
    image(known, person, "mask", MASK, {"Type": "Brain"}, "anat", desc="brain")
    image(known, person, "mask", MASK, {"Type": "ROI"}, "anat", label="SC")
    image(known, person, "dseg", MASK.astype(np.uint8), None, "anat", desc="vertebrae")
    table = out.path(person, "dseg", ".tsv", datatype="anat", desc="vertebrae")
    out.write_tsv(table, {"index": [1, 2], "name": ["C1", "C2"]})
    known.append(table)
    image(known, run, "mask", MASK, {"Type": "Brain"}, desc="brain")
    image(known, run, "mask", MASK, {"Type": "ROI"}, label="SC")
    for space in (None, "MNI152NLin2009aSym", "PAM50"):
        path = out.path(run, "bold", space=space, desc="preproc")
        sidecar = {**sources, "TaskName": "pain", "SkullStripped": False, "SpatialReference": "its template"}
        out.write_bold(path, BOLD, AFFINE, 2.68, sidecar, noise_sd=10.0)
        known.append(path)
    for subject, datatype, pairs in (
        (person, "anat", [("T1w", "MNI152NLin2009aSym"), ("T1w", "PAM50"), ("PAM50", "MNI152NLin2009aSym")]),
        (run, "func", [("boldref", "T1w")]),
    ):
        for start, end in pairs:
            path = out.path(subject, "xfm", ".h5", datatype=datatype, from_=start, to=end, mode="image")
            out.write_bytes(path, b"x")
            unknown.append(path)
    path = out.path(run, "xfm", ".txt", from_="orig", to="boldref", mode="image", desc="hmc")
    out.write_text(path, "x")
    out.write_json(path.with_suffix(".json"), sources)
    unknown += [path, path.with_suffix(".json")]
    for desc in ("preproc", "magnitude"):
        image(unknown, person, "fieldmap", MAP, {"Units": "Hz"}, "fmap", fmapid="pair", desc=desc)
    for desc in ("hmc", "coreg"):
        image(unknown, run, "boldref", MAP, desc=desc)
    for desc in ("raw", "preproc"):
        image(unknown, run, "boldmap", MAP, desc=desc, stat="tsnr")
    for stat in ("effect", "t", "z"):
        image(unknown, run, "statmap", MAP, space="PAM50", contrast="heat", stat=stat)
    image(unknown, run, "regressors", np.ones((1, 1, 6, 12, 4), np.float32), desc="pnm")
    for desc in ("headmotion", "cordmotion", "confounds"):
        path = out.path(run, "timeseries", ".tsv", desc=desc)
        out.write_tsv(path, {"a": [1.0, np.nan]}, {"a": {"Description": "x", "Units": "mm"}})
        unknown.append(path)
    path = out.path(run, "relmat", ".tsv", desc="residuals")
    out.write_tsv(path, {"region": ["a", "b"], "a": [1.0, 0.1], "b": [0.1, 1.0]}, {"Description": "x"})
    unknown.append(path)
    path = out.path(person, "points", ".tsv", datatype="anat", desc="discs")
    out.write_tsv(path, {"disc": [3], "z_mm": [1.0]}, {"z_mm": {"Description": "height", "Units": "mm"}})
    unknown.append(path)
    for relative in ("sub-01.html", "group.html", "group/table.tsv", "fsl/sub-01/evlist.txt", "work/sub-01/page.kept"):
        out.write_text(out.root / relative, "x")
        unknown.append(out.root / relative)
    unknown.append(out.root / "CITATION.md")
    out.write_text(out.root / "logs/sub-01.log", "x")
    known.append(out.root / "logs/sub-01.log")
    return known, unknown


def test_the_validator_accepts_the_tree_and_the_list_hides_no_more_than_needed(out, official_errors):
    def wrong() -> set[str]:
        """Paths, relative to the root, in which the official validator finds an error."""
        return {one.get("location", "").strip("/") for one in official_errors(out.root)}

    known, unknown = write_everything(out)
    assert wrong() == set()
    (out.root / ".bidsignore").unlink()
    errors = wrong()
    assert errors == {path.relative_to(out.root).as_posix() for path in unknown} | {"group", "fsl", "work"} | {
        path.relative_to(out.root).as_posix().replace(".nii.gz", ".json").replace(".tsv", ".json")
        for path in unknown
        if path.suffix in (".gz", ".tsv") and "group" not in path.parts
    }
    # each pattern is needed: without it something is an error
    for pattern in BIDSIGNORE:
        rest = [one for one in BIDSIGNORE if one != pattern]
        (out.root / ".bidsignore").write_text("\n".join(rest) + "\n")
        assert wrong(), pattern
    assert not errors & {path.relative_to(out.root).as_posix() for path in known}


def test_the_same_tree_has_the_same_bytes(tmp_path):
    def content(name):
        (tmp_path / name / "raw").mkdir(parents=True)
        out = Derivatives(tmp_path / name / "out", tmp_path / name / "raw")
        write_everything(out)
        return {path.relative_to(out.root): path.read_bytes() for path in sorted(out.root.rglob("*")) if path.is_file()}

    assert content("once") == content("again")
