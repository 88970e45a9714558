"""Anatomy of a small digital participant, start to end, against its truth; transforms as antspyx reads them."""

import json
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from cospine.bids import read_dataset
from cospine.cli.main import main
from cospine.errors import CoSpineError
from cospine.pipeline.anatomy_stage import Anatomy, AnatomySources, image_of
from cospine.pipeline.execute import read_chosen
from cospine.pipeline.keeper import Done
from cospine.pipeline.settings import Settings
from cospine.space.templates import PAM50_BOX, brain_template, cord_template

MNI = "MNI152NLin2009aSym"
PREFIX = "sub-01_task-pain"


@pytest.fixture(scope="module")
def anat(digital_done: Path) -> Path:
    return digital_done / "sub-01" / "anat"


@pytest.fixture(scope="module")
def func(digital_done: Path) -> Path:
    return digital_done / "sub-01" / "func"


@pytest.fixture(scope="module")
def truth(digital: Path) -> Path:
    return digital / "sourcedata" / "truth" / "sub-01"


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def ras(index: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return index @ affine[:3, :3].T + affine[:3, 3]


def by_ants(path: Path, points: np.ndarray) -> np.ndarray:
    table = pd.DataFrame(points * [-1, -1, 1], columns=["x", "y", "z"])
    return ants.apply_transforms_to_points(3, table, [str(path)])[["x", "y", "z"]].to_numpy() * [-1, -1, 1]


def truly(path: Path, points: np.ndarray) -> np.ndarray:
    values, affine = load(path)
    at = ((points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).T
    off = [ndimage.map_coordinates(values[:, :, :, 0, a], at, order=1, mode="nearest") for a in range(3)]
    return points + np.stack(off, axis=1) * [-1, -1, 1]


def slicewise_dice(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    pairs = [(found[..., k], true[..., k]) for k in range(true.shape[2]) if true[..., k].any()]
    return np.array([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])


def test_cord_of_the_t1w_lies_on_the_true_one(anat: Path, truth: Path) -> None:
    found, _ = load(anat / "sub-01_label-SC_mask.nii.gz")
    true, _ = load(truth / "anat" / "sub-01_label-SC_mask.nii.gz")
    assert np.median(slicewise_dice(found > 0, true > 0.5)) > 0.88
    about = json.loads((anat / "sub-01_label-SC_mask.json").read_text())
    assert len(about["Confidence"]) == found.shape[about["SliceAxis"]]
    held = (found > 0).any(axis=tuple(a for a in range(3) if a != about["SliceAxis"]))
    assert ((np.array(about["Confidence"]) > 0) <= held).all()


def test_cord_of_the_run_lies_on_the_true_one(func: Path, truth: Path) -> None:
    found, _ = load(func / f"{PREFIX}_label-SC_mask.nii.gz")
    true, _ = load(truth / "func" / f"{PREFIX}_label-SC_mask.nii.gz")
    per = slicewise_dice(found > 0, true > 0.5)
    # 5 voxels of 2 mm across, and a layer of CSF that such voxels do not resolve
    assert np.median(per) > 0.7
    assert 0.8 < (found > 0).sum() / (true > 0.5).sum() < 1.25
    brain, _ = load(func / f"{PREFIX}_desc-brain_mask.nii.gz")
    assert not ((found > 0) & (brain > 0)).any()


def test_discs_are_named_and_in_their_places(anat: Path, truth: Path) -> None:
    ours = pd.read_csv(anat / "sub-01_desc-discs_points.tsv", sep="\t").set_index("disc")
    true = pd.read_csv(truth / "anat" / "sub-01_desc-landmarks_points.tsv", sep="\t").set_index("name")
    shared = [n for n in ours.index if f"disc_{n}" in true.index and n >= 3]
    assert {3, 4, 5, 6, 7} <= set(shared)
    # the cord's line and the disc lie apart in depth; heights are what levels are about
    off = np.array([ours.loc[n, "z_mm"] - true.loc[f"disc_{n}", "z"] for n in shared])
    assert np.abs(off).mean() < 3.5
    assert np.abs(off).max() < 7
    assert ours["confidence"].between(0, 1).all()


def test_levels_say_which_system_they_are(anat: Path, func: Path) -> None:
    levels, _ = load(anat / "sub-01_desc-vertebrae_dseg.nii.gz")
    cord, _ = load(anat / "sub-01_label-SC_mask.nii.gz")
    assert set(np.unique(levels)) >= {0, 3, 4, 5, 6}
    assert not levels[cord == 0].any()
    table = pd.read_csv(anat / "sub-01_desc-vertebrae_dseg.tsv", sep="\t")
    assert table.set_index("index").loc[3, "name"] == "C3"
    about = json.loads((anat / "sub-01_desc-vertebrae_dseg.json").read_text())
    assert "not spinal" in about["Description"]
    assert about["CordTemplate"]
    spinal = json.loads((func / f"{PREFIX}_desc-spinalsegments_dseg.json").read_text())
    assert "not vertebral" in spinal["Description"]
    # a spinal segment lies above the vertebra of its number
    vertebral, affine = load(func / f"{PREFIX}_desc-vertebrae_dseg.nii.gz")
    segments, _ = load(func / f"{PREFIX}_desc-spinalsegments_dseg.nii.gz")
    height = lambda labels, n: ras(np.argwhere(labels == n), affine)[:, 2].mean()  # noqa: E731
    assert height(segments, 6) > height(vertebral, 6) + 8


def test_landmarks_of_the_brain_come_to_their_places(anat: Path, truth: Path) -> None:
    template = brain_template(2)
    points = template.grid.to_ras(np.argwhere(template.mask)[::499])
    there = by_ants(anat / f"sub-01_from-T1w_to-{MNI}_mode-image_xfm.h5", points)
    true = truly(truth / "anat" / f"sub-01_from-T1w_to-{MNI}_mode-image_xfm.nii.gz", points)
    off = np.linalg.norm(there - true, axis=1)
    assert off.mean() < 4.0  # a T1w of 2 mm
    back = by_ants(anat / f"sub-01_from-{MNI}_to-T1w_mode-image_xfm.h5", there)
    assert np.percentile(np.linalg.norm(back - points, axis=1), 99) < 0.5


def test_the_cords_axis_comes_to_its_place_in_pam50(anat: Path, truth: Path) -> None:
    template = cord_template()
    line = template.centre_line
    line = line[(line[:, 2] < -90) & (line[:, 2] > -190)]
    there = by_ants(anat / "sub-01_from-T1w_to-PAM50_mode-image_xfm.h5", line)
    true = truly(truth / "anat" / f"sub-01_from-T1w_to-{MNI}_mode-image_xfm.nii.gz", line)
    assert np.linalg.norm((there - true)[:, :2], axis=1).mean() < 1.5
    assert np.abs((there - true)[:, 2]).mean() < 4.0
    back = by_ants(anat / "sub-01_from-PAM50_to-T1w_mode-image_xfm.h5", there)
    assert np.linalg.norm(back - line, axis=1).max() < 0.2


def test_brain_and_pam50_share_a_world_below_the_join(anat: Path) -> None:
    path = anat / f"sub-01_from-PAM50_to-{MNI}_mode-image_xfm.h5"
    below = np.array([[0.0, -46.0, -73.0], [1.0, -45.0, -75.0]])
    np.testing.assert_allclose(by_ants(path, below), below, atol=1e-3)


def test_run_and_anatomy_are_aligned_both_ways(func: Path, truth: Path, anat: Path) -> None:
    forward, back = (func / f"{PREFIX}_from-{a}_to-{b}_mode-image_xfm.h5" for a, b in (("boldref", "T1w"), ("T1w", "boldref")))
    mask, affine = load(truth / "anat" / "sub-01_desc-brain_mask.nii.gz")
    points = ras(np.argwhere(mask > 0)[::499], affine)
    there = by_ants(forward, points)
    true = truly(truth / "func" / f"{PREFIX}_from-boldref_to-T1w_mode-image_xfm.nii.gz", points)
    assert np.linalg.norm(there - true, axis=1).mean() < 3.0  # voxels of 2 x 2 x 8 mm
    assert np.percentile(np.linalg.norm(by_ants(back, there) - points, axis=1), 99) < 0.2


@pytest.mark.parametrize(("space", "grid"), [("PAM50", PAM50_BOX), (MNI, brain_template(2).grid)], ids=["PAM50", "MNI"])
def test_series_in_template_spaces(func: Path, space: str, grid: object) -> None:
    bold = nib.load(func / f"{PREFIX}_space-{space}_desc-preproc_bold.nii.gz")
    covered, _ = load(func / f"{PREFIX}_space-{space}_desc-coverage_mask.nii.gz")
    assert bold.shape == (*grid.shape, 40)
    np.testing.assert_allclose(bold.affine, grid.affine, atol=1e-4)
    data = bold.get_fdata()
    assert not data[covered == 0].any()
    assert (covered > 0).sum() > 0.2 * covered.size
    about = json.loads((func / f"{PREFIX}_space-{space}_desc-preproc_bold.json").read_text())
    assert "no slice-specific model" in about["Warning"]
    assert about["SpatialReference"]
    # what is cord or brain there is as bright as it is in the run's own grid
    region, name = (
        ("label-SC", cord_template(offline=True).cord > 0.5) if space == "PAM50" else ("desc-brain", brain_template(2).mask)
    )
    native, _ = load(func / f"{PREFIX}_desc-coreg_boldref.nii.gz")
    own, _ = load(func / f"{PREFIX}_{region}_mask.nii.gz")
    there = data.mean(axis=3)[name & (covered > 0)]
    assert np.median(there) == pytest.approx(np.median(native[own > 0]), rel=0.1)


def test_images_are_chosen_by_session_and_contrast(digital: Path) -> None:
    participant = read_dataset(digital).participants[0]
    run = participant.runs[0]
    assert image_of(run, participant).name == "sub-01_T1w.nii.gz"


def test_what_leaves_the_anatomy_out_is_said(digital: Path) -> None:
    participant = read_dataset(digital).participants[0]
    run = participant.runs[0]

    def make(path: Path) -> Done[Anatomy]:
        raise AssertionError(f"{path} is not asked for")

    assert AnatomySources(participant, Settings(level="minimal"), make).of(run)[1] == "level minimal leaves it out"
    assert "ignored" in AnatomySources(participant, Settings(ignore=("anatomy",)), make).of(run)[1]


def test_discs_by_hand_are_checked_before_the_work(digital: Path, tmp_path: Path) -> None:
    table = tmp_path / "discs.tsv"
    table.write_text("disc\tx_mm\ty_mm\n3\t0\t1\n")
    with pytest.raises(CoSpineError, match="z_mm"):
        read_chosen(digital, Settings(discs=table))
    table.write_text("disc\tx_mm\ty_mm\tz_mm\n3\t0\t1\tup\n")
    with pytest.raises(CoSpineError, match="row 1"):
        read_chosen(digital, Settings(discs=table))
    with pytest.raises(CoSpineError, match="no such file"):
        read_chosen(digital, Settings(discs=tmp_path / "absent.tsv"))


def test_masks_on_another_grid_are_refused_before_the_work(digital: Path, tmp_path: Path) -> None:
    given = tmp_path / "sub-01" / "anat"
    given.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), given / "sub-01_label-SC_mask.nii.gz")
    with pytest.raises(CoSpineError, match=r"not on the grid of sub-01_T1w"):
        read_chosen(digital, Settings(overrides=tmp_path))


def test_minimal_refuses_what_belongs_to_the_anatomy(digital: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert main(["run", str(digital), out, "participant", "--level", "minimal", "--output-spaces", "PAM50"]) == 2
