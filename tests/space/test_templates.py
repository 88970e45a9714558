"""Templates: the brain against nilearn's own loader, the cord's built-in form alone and against PAM50."""

import gzip
import logging
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.space import templates
from cospine.space.cord_template import CONTRASTS, PAM50_BOX, CordTemplate, parametric_cord_template
from cospine.space.templates import brain_template, cord_template, with_parametric_contrasts


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder named, an empty cache, no network."""
    monkeypatch.delenv("COSPINE_TEMPLATES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COSPINE_OFFLINE", "1")


@pytest.fixture(scope="module")
def built_in() -> CordTemplate:
    return parametric_cord_template("the test asked for it")


@pytest.fixture(scope="session")
def pam50_folder(shared: Path) -> Path:
    """PAM50's folder beside the real images."""
    folder = shared / "templates" / "PAM50" / "template"
    if not folder.is_dir():
        pytest.skip(f"PAM50 is not there: {folder}")
    return folder


def dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dice of two masks in each slice."""
    return 2 * (a & b).sum(axis=(0, 1)) / (a.sum(axis=(0, 1)) + b.sum(axis=(0, 1)))


def test_brain_is_what_nilearn_loads() -> None:
    from nilearn.datasets import load_mni152_template

    theirs = load_mni152_template(resolution=1)
    ours = brain_template(1)
    np.testing.assert_allclose(ours.grid.affine, theirs.affine)
    np.testing.assert_allclose(ours.t1, theirs.get_fdata(), atol=1e-3)


def test_brain_mask_holds_its_tissues_and_agrees_with_nilearn() -> None:
    from nilearn.datasets import load_mni152_brain_mask

    brain = brain_template(1)
    theirs = load_mni152_brain_mask(resolution=1).get_fdata() > 0
    assert 2 * (brain.mask & theirs).sum() / (brain.mask.sum() + theirs.sum()) > 0.97
    assert brain.mask[(brain.grey + brain.white) > 0.8].mean() > 0.995
    assert 1.6e6 < brain.mask.sum() < 2.1e6  # mm3


def test_two_mm_brain_keeps_origin_and_places() -> None:
    fine, coarse = brain_template(1), brain_template(2)
    np.testing.assert_allclose(coarse.grid.affine[:3, 3], fine.grid.affine[:3, 3])
    np.testing.assert_allclose(coarse.grid.voxel_mm, 2.0)
    for name in ("t1", "grey", "white"):
        weights = [getattr(brain, name) / getattr(brain, name).sum() for brain in (fine, coarse)]
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            at = [
                brain.grid.affine[axis, 3] + brain.grid.voxel_mm[axis] * np.arange(w.shape[axis])
                for brain, w in zip((fine, coarse), weights, strict=True)
            ]
            centres = [float((w.sum(axis=others) * x).sum()) for w, x in zip(weights, at, strict=True)]
            assert abs(centres[0] - centres[1]) < 0.02
    assert abs(8 * coarse.mask.sum() / fine.mask.sum() - 1) < 0.005


def test_brain_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or 2 mm"):
        brain_template(3)


def test_box_is_small_enough_for_a_series_and_tall_enough_for_the_neck() -> None:
    assert np.prod(PAM50_BOX.shape) * 225 * 2 < 350e6  # bytes of 225 volumes of int16
    assert PAM50_BOX.axis_codes == ("L", "A", "S")
    np.testing.assert_allclose(PAM50_BOX.to_ras(np.array(PAM50_BOX.shape) - 1)[2], -66.84, atol=0.01)
    np.testing.assert_allclose(PAM50_BOX.to_ras(np.zeros(3)), [13.5, -56.72, -215.34], atol=0.01)


def test_built_in_tissues_fit_together(built_in: CordTemplate) -> None:
    for array in (built_in.cord, built_in.csf, built_in.grey, built_in.white):
        assert array.shape == PAM50_BOX.shape
        assert array.dtype == np.float32
        assert array.min() >= 0
        assert array.max() <= 1
    np.testing.assert_allclose(built_in.grey + built_in.white, built_in.cord, atol=1e-5)
    assert (built_in.cord + built_in.csf).max() <= 1 + 1e-5
    np.testing.assert_allclose(built_in.cord, built_in.cord[::-1], atol=1e-5)  # left and right alike


def test_built_in_cord_has_the_size_of_a_cord(built_in: CordTemplate) -> None:
    """Cross-sections of 203 healthy adults: 55-95 mm2 at C2-C3, more at C5 than at C7 (Valosek et al., 2024, fig. 3)."""
    area = built_in.cord.sum(axis=(0, 1)) * 0.25
    at = {level: np.median(area[(built_in.vertebral == level).any(axis=(0, 1))]) for level in range(1, 9)}
    assert 55 < at[3] < 95
    assert at[5] > at[7] > at[8]
    share = built_in.grey.sum(axis=(0, 1)) * 0.25 / area
    assert share.min() > 0.13
    assert share.max() < 0.26


def test_built_in_levels_are_whole_and_in_order(built_in: CordTemplate) -> None:
    for levels, last in ((built_in.vertebral, 8), (built_in.spinal, 10)):
        inside = built_in.cord >= 0.5
        assert not levels[~inside].any()
        a_slice = np.array([levels[..., k].max() for k in range(levels.shape[2])])
        assert set(a_slice[a_slice > 0]) == set(range(1, last + 1))
        named = a_slice[: np.flatnonzero(a_slice).max() + 1]
        assert (named > 0).all()
        assert (np.diff(named.astype(int)) <= 0).all()  # z grows upward, numbers downward
        assert (levels[inside][:, None] == levels.max(axis=(0, 1))[np.where(inside)[2]][:, None]).all()


def test_spinal_c6_lies_at_the_vertebral_boundary_c4_c5(built_in: CordTemplate) -> None:
    """METHODS 10: 24.5 mm above vertebral C6, at the C4-C5 disc (number 5)."""
    z = built_in.grid.affine[2, 3] + 0.5 * np.arange(built_in.grid.shape[2])
    middle = {
        name: z[(levels == 6).any(axis=(0, 1))].mean()
        for name, levels in (("spinal", built_in.spinal), ("vertebral", built_in.vertebral))
    }
    assert abs(middle["spinal"] - built_in.discs[5][2]) < 1.5
    assert abs(middle["spinal"] - middle["vertebral"] - 24.5) < 0.5


def test_discs_stand_on_the_centre_line_between_levels(built_in: CordTemplate) -> None:
    line = built_in.centre_line
    assert (np.diff(line[:, 2]) < 0).all()
    for number, disc in built_in.discs.items():
        nearest = line[np.abs(line[:, 2] - disc[2]).argmin()]
        assert np.linalg.norm(nearest[:2] - disc[:2]) < 1.5
        k = round(float(built_in.grid.to_voxel(disc)[2]))
        levels = [built_in.vertebral[..., at].max() for at in (k - 1, k + 1) if at >= 0]
        assert number in levels or number - 1 in levels


@pytest.mark.parametrize(
    ("name", "order"), [("T1", ["csf", "grey", "white"]), ("T2", ["white", "grey", "csf"]), ("T2s", ["white", "grey", "csf"])]
)
def test_contrasts_order_the_tissues(built_in: CordTemplate, name: str, order: list[str]) -> None:
    image = built_in.contrast[name]
    assert image is not None
    means = [image[getattr(built_in, tissue) > 0.9].mean() for tissue in order]
    assert means == sorted(means)
    assert means[2] - means[0] > 0.2


def test_without_a_folder_and_offline_the_built_in_one_stands_in_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        template = cord_template()
    assert template.name == "PAM50-parametric"
    assert "built-in" in template.source
    assert "downloading was forbidden" in template.source
    assert "built-in" in caplog.text


def test_failed_download_says_why(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    import pooch

    def no_network(*_: object, **__: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.delenv("COSPINE_OFFLINE")
    monkeypatch.setattr(pooch, "retrieve", no_network)
    with caplog.at_level(logging.WARNING):
        template = cord_template()
    assert template.name == "PAM50-parametric"
    assert "could not be downloaded" in template.source
    assert "ConnectionError" in caplog.text


def test_folder_without_pam50_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CoSpineError, match="no PAM50 files"):
        cord_template(tmp_path)


def write_pam50(folder: Path, template: CordTemplate, **changed: np.ndarray | None) -> None:
    """A folder in PAM50's form from a template; `changed` replaces arrays, None leaves a file out."""
    discs = np.zeros(PAM50_BOX.shape, np.uint8)
    for number, disc in template.discs.items():
        discs[tuple(np.rint(PAM50_BOX.to_voxel(disc)).astype(int))] = number
    arrays = {
        "cord": (template.cord >= 0.5).astype(np.uint8),
        "csf": (template.csf >= 0.5).astype(np.uint8),
        "gm": template.grey,
        "wm": template.white,
        "levels": template.vertebral,
        "spinal_levels": template.spinal,
        "label_disc": discs,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (arrays | changed).items():
        if array is not None:
            image = nib.Nifti1Image(array, PAM50_BOX.affine)
            (folder / f"PAM50_{name}.nii.gz").write_bytes(gzip.compress(image.to_bytes(), compresslevel=1))


@pytest.mark.parametrize("below", ["", "template", "PAM50/template"])
def test_folder_is_found_at_each_depth(
    tmp_path: Path, built_in: CordTemplate, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pam50(tmp_path / below, built_in, t1=built_in.contrast["T1"])
    monkeypatch.setenv("COSPINE_TEMPLATES", str(tmp_path))
    template = cord_template()
    assert template.name == "PAM50"
    assert "COSPINE_TEMPLATES" in template.source
    assert "differs from the one that CoSpine was tested with in: cord" in template.source
    np.testing.assert_array_equal(template.spinal, built_in.spinal)
    assert template.contrast["T1"] is not None
    assert template.contrast["T2"] is None
    filled = with_parametric_contrasts(template)
    assert all(filled.contrast[name] is not None for name in CONTRASTS)
    assert "T2, T2s: not there" in filled.source
    assert with_parametric_contrasts(filled) is filled


def test_all_faults_of_a_folder_are_told_at_once(tmp_path: Path, built_in: CordTemplate) -> None:
    write_pam50(tmp_path, built_in, csf=None, gm=np.zeros(PAM50_BOX.shape, np.float32), levels=built_in.vertebral[..., :100])
    torn = tmp_path / "PAM50_wm.nii.gz"
    torn.write_bytes(torn.read_bytes()[:5000])
    off = nib.Nifti1Image(built_in.spinal, PAM50_BOX.affine + np.array([[0, 0, 0, 0.2], [0] * 4, [0] * 4, [0] * 4]))
    (tmp_path / "PAM50_spinal_levels.nii.gz").write_bytes(gzip.compress(off.to_bytes()))
    with pytest.raises(CoSpineError) as caught:
        cord_template(tmp_path)
    for fault in (
        "csf.nii.gz: missing",
        "gm.nii.gz: empty",
        "levels.nii.gz: shape",
        "wm.nii.gz: cannot be read",
        "spinal_levels.nii.gz: not on",
    ):
        assert fault in caught.value.what


def test_download_that_differs_is_kept_apart_and_not_used(
    tmp_path: Path, built_in: CordTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    write_pam50(tmp_path / "PAM50" / "template", built_in)
    archive = tmp_path / "release.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for file in sorted((tmp_path / "PAM50" / "template").iterdir()):
            bundle.write(file, f"PAM50-r1/template/{file.name}")
        bundle.writestr("../template/PAM50_cord.txt", "not wanted")
    calls = []
    monkeypatch.delenv("COSPINE_OFFLINE")
    monkeypatch.setattr(pooch, "retrieve", lambda *_, **__: calls.append(1) or str(archive))
    for _ in range(2):
        template = cord_template()
        assert template.name == "PAM50-parametric"
        assert "differs" in template.source
    assert len(calls) == 1  # not fetched again
    # its checksums being those that are expected, it is used and cached
    shutil.rmtree(tmp_path / "cache")
    digests = {
        name: templates._digest(templates._in_box(tmp_path / "PAM50" / "template" / f"PAM50_{name}.nii.gz"))
        for name in templates._SHA256
    }
    monkeypatch.setattr(templates, "_SHA256", digests)
    for _ in range(2):
        template = cord_template()
        assert template.name == "PAM50"
        assert "verified by checksum" in template.source
    assert len(calls) == 2


@pytest.mark.shared
def test_pam50_is_read_and_verified(pam50_folder: Path) -> None:
    template = cord_template(pam50_folder)
    assert "verified by checksum" in template.source
    whole = nib.load(pam50_folder / "PAM50_cord.nii.gz")
    points = whole.affine[:3, :3] @ np.argwhere(np.asanyarray(whole.dataobj) > 0).T + whole.affine[:3, 3:]
    tall = points[:, points[2] > PAM50_BOX.affine[2, 3] - 0.01]
    assert template.cord.sum() == tall.shape[1]  # no cord voxel from C1 to T1 lies outside of the box
    inside = np.argwhere(template.cord > 0)
    np.testing.assert_allclose(template.grid.to_ras(inside).mean(axis=0), tall.mean(axis=1), atol=1e-3)
    assert template.contrast["T1"] is None
    assert template.contrast["T2"] is not None


@pytest.mark.shared
def test_built_in_agrees_with_pam50(pam50_folder: Path, built_in: CordTemplate) -> None:
    pam50 = cord_template(pam50_folder)
    cord = dice(built_in.cord >= 0.5, pam50.cord >= 0.5)
    assert np.median(cord) >= 0.97
    assert cord.min() >= 0.95
    assert np.median(dice(built_in.grey >= 0.5, pam50.grey >= 0.5)) >= 0.9
    for name in ("vertebral", "spinal"):
        ours, theirs = getattr(built_in, name), getattr(pam50, name)
        for level in np.unique(theirs)[1:]:
            tops = [np.where(levels == level)[2].max() for levels in (ours, theirs)]
            assert abs(tops[0] - tops[1]) * 0.5 <= 1.0
    for number, disc in pam50.discs.items():
        np.testing.assert_allclose(built_in.discs[number], disc, atol=0.01)
    np.testing.assert_allclose(built_in.centre_line, pam50.centre_line, atol=0.4)
    t2, theirs = built_in.contrast["T2"], pam50.contrast["T2"]
    assert t2 is not None
    assert theirs is not None
    assert np.corrcoef(t2.ravel(), theirs.ravel())[0, 1] > 0.85
