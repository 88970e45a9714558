"""`cospine segment`: what it writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cospine import __version__
from cospine.anatomy import network, segmentation
from cospine.anatomy.localise import CORD
from cospine.cli.main import main

AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])
SHAPE = (40, 40, 20)


@pytest.fixture
def _reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that take what is bright for the cord."""

    def head(volume: np.ndarray) -> np.ndarray:
        probability = np.zeros((5, *volume.shape), dtype=np.float32)
        probability[CORD] = np.clip(volume, 0, 1)
        return probability

    monkeypatch.setattr(network, "run_head", head)
    monkeypatch.setattr(network, "run_cord", lambda sections: np.clip(sections, 0, 1))
    monkeypatch.setattr(network, "normalise_section", lambda sections, _: (sections / 100).astype(np.float32))


def cord_image() -> np.ndarray:
    i, j = np.indices(SHAPE[:2])
    disc = (((i - 20) * 1.5 / 6) ** 2 + ((j - 18) * 1.5 / 4.5) ** 2 < 1).astype(np.float32)
    return np.repeat(100 * disc[:, :, None], SHAPE[2], axis=2)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.mark.usefixtures("_reading")
def test_a_mask_and_what_to_think_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = save(tmp_path / "t2.nii.gz", cord_image())
    output = tmp_path / "mask.nii.gz"
    assert main(["segment", str(image), "--output", str(output), "--qc", str(tmp_path / "look.svg")]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    mask = nib.load(output)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, AFFINE)
    data = np.asarray(mask.dataobj)
    assert set(np.unique(data)) == {0, 1}
    true = cord_image() > 50
    assert 2 * (data & true).sum() / (data.sum() + true.sum()) > 0.95
    about = json.loads((tmp_path / "mask.json").read_text())
    assert about["found"] is True
    assert about["slice_axis"] == 2
    assert len(about["confidence"]) == SHAPE[2]
    assert min(about["confidence"]) > 0.5
    assert about["reason"] == ""
    assert len(about["centre_line"]) == SHAPE[2]
    np.testing.assert_allclose(np.array(about["centre_line"])[:, :2], [[30, 27]] * SHAPE[2], atol=0.3)
    assert about["GeneratedBy"] == {"Name": "CoSpine", "Version": __version__}
    assert about["Thresholds"]["VoxelShare"] == 0.5
    assert "<svg" in (tmp_path / "look.svg").read_text()


@pytest.mark.usefixtures("_reading")
@pytest.mark.parametrize(
    ("name", "asked", "brighter", "said"),
    [
        ("sub-01_T1w", [], None, "as the image shows it"),
        ("mean", [], None, "as the image shows it"),
        ("sub-01_task-pain_bold", [], True, "brighter than cord"),
        ("sub-01_task-pain_sbref", [], True, "brighter than cord"),
        ("sub-01_task-pain_bold", ["--csf", "darker"], False, "darker than cord"),
        ("sub-01_T2w", ["--csf", "brighter"], True, "brighter than cord"),
    ],
)
def test_how_bright_csf_is_goes_by_the_kind_of_image_or_by_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: list[str], brighter: bool | None, said: str
) -> None:
    taken = []
    sharpen = segmentation.sharpen_outlines

    def watched(*given: Any, csf_brighter: bool | None) -> np.ndarray:
        taken.append(csf_brighter)
        return sharpen(*given, csf_brighter=csf_brighter)

    monkeypatch.setattr(segmentation, "sharpen_outlines", watched)
    image = save(tmp_path / f"{name}.nii.gz", cord_image())
    assert main(["segment", str(image), "--output", str(tmp_path / "mask.nii.gz"), *asked]) == 0
    assert taken == [brighter]
    assert json.loads((tmp_path / "mask.json").read_text())["CSF"] == said


@pytest.mark.usefixtures("_reading")
def test_a_series_is_segmented_on_its_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    series = cord_image()[..., None] + rng.normal(0, 40, size=(*SHAPE, 30)).astype(np.float32)
    one, many = tmp_path / "one.nii", tmp_path / "many.nii.gz"
    save(tmp_path / "mean.nii.gz", series.mean(axis=3))
    save(tmp_path / "series.nii.gz", series)
    assert main(["segment", str(tmp_path / "mean.nii.gz"), "--output", str(one)]) == 0
    assert main(["segment", str(tmp_path / "series.nii.gz"), "--output", str(many)]) == 0
    np.testing.assert_array_equal(np.asarray(nib.load(one).dataobj), np.asarray(nib.load(many).dataobj))
    assert json.loads((tmp_path / "many.json").read_text())["Volumes"] == 30


@pytest.mark.usefixtures("_reading")
def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    image = save(tmp_path / "t2.nii.gz", cord_image())
    for name in ("a", "b"):
        assert main(["segment", str(image), "--output", str(tmp_path / f"{name}.nii.gz")]) == 0
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


@pytest.mark.usefixtures("_reading")
def test_no_cord_is_1_with_an_empty_mask_and_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speck = np.zeros(SHAPE, dtype=np.float32)
    speck[20, 20, 10] = 100
    image = save(tmp_path / "speck.nii.gz", speck)
    assert main(["segment", str(image), "--output", str(tmp_path / "mask.nii.gz")]) == 1
    assert not np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj).any()
    about = json.loads((tmp_path / "mask.json").read_text())
    assert about["found"] is False
    assert about["confidence"] == [0] * SHAPE[2]
    assert about["reason"] in capsys.readouterr().err


@pytest.mark.usefixtures("_reading")
def test_values_that_are_not_finite_count_as_0_and_are_named(tmp_path: Path) -> None:
    data = cord_image()
    data[:3] = np.nan
    image = save(tmp_path / "nan.nii.gz", data)
    assert main(["segment", str(image), "--output", str(tmp_path / "mask.nii.gz")]) == 0
    assert json.loads((tmp_path / "mask.json").read_text())["NonFiniteValues"] == 3 * SHAPE[1] * SHAPE[2]


BAD_IMAGES = {
    "absent": (None, "No such file"),
    "text": (b"this is no image at all", "NIfTI"),
    "empty": (b"", "empty"),
    "two axes": (np.ones((40, 40), np.float32), "(40, 40)"),
    "one slice": (np.ones((40, 40, 1), np.float32), "40 x 40"),
    "five axes": (np.ones((10, 10, 10, 2, 3), np.float32), "(10, 10, 10, 2, 3)"),
    "zero": (np.zeros(SHAPE, np.float32), "zero everywhere"),
    "uniform": (np.full(SHAPE, 7, np.float32), "one value everywhere"),
    "not finite": (np.full(SHAPE, np.nan, np.float32), "no finite value"),
    "tiny": (np.random.default_rng(0).random((5, 5, 5)).astype(np.float32), "too small"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_images_are_2_and_said(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, said = BAD_IMAGES[kind]
    image = tmp_path / "image.nii"
    if isinstance(content, bytes):
        image.write_bytes(content)
    elif content is not None:
        save(image, content)
    assert main(["segment", str(image), "--output", str(tmp_path / "mask.nii.gz")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert str(image) in error
    assert "Traceback" not in error
    assert not (tmp_path / "mask.nii.gz").exists()
    assert not (tmp_path / "mask.json").exists()


def test_an_affine_without_inverse_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = nib.Nifti1Image(cord_image(), AFFINE)
    image.header.set_sform(np.diag([1.5, 1.5, 0.0, 1.0]), code=1)
    image.header.set_qform(None, code=0)
    (tmp_path / "flat.nii").write_bytes(b"")
    with open(tmp_path / "flat.nii", "wb") as stream:
        header = image.header.copy()
        header["sform_code"] = 1
        header["srow_z"] = 0
        stream.write(header.binaryblock + b"\0" * (352 - 348) + cord_image().astype("<f4").tobytes(order="F"))
    assert main(["segment", str(tmp_path / "flat.nii"), "--output", str(tmp_path / "mask.nii.gz")]) == 2
    assert "flat.nii" in capsys.readouterr().err


def test_everything_wrong_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.nii.gz"
    assert main(["segment", str(missing), "--output", str(tmp_path / "no" / "mask.txt"), "--qc", str(tmp_path / "x.bmp")]) == 2
    error = capsys.readouterr().err
    for said in ("missing.nii.gz", "no name of a NIfTI image", "folder that does not exist", "no name of an SVG"):
        assert said in error


def test_the_image_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = save(tmp_path / "t2.nii.gz", cord_image())
    before = image.read_bytes()
    (tmp_path / "link.nii.gz").symlink_to(image)
    for output in (image, tmp_path / "link.nii.gz"):
        assert main(["segment", str(image), "--output", str(output)]) == 2
        assert "is the image itself" in capsys.readouterr().err
    assert image.read_bytes() == before
    assert main(["segment", str(image), "--output", str(tmp_path)]) == 2
