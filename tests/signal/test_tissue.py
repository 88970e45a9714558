"""CSF and white matter found in series whose tissue is known, and in real ones."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cospine.anatomy.brain_mask import find_brain
from cospine.anatomy.cord_mask import find_cord
from cospine.errors import CoSpineError
from cospine.signal.tissue import cord_csf, deep_white, ventricles
from cospine.space.grid import Grid

NECK = np.diag([1.5, 1.5, 4.0, 1.0])
HEAD = np.diag([3.0, 3.0, 4.0, 1.0])


def neck(seed: int = 0, volumes: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean and SD of a neck at 1.5 mm: cord in CSF in bone in muscle, a vertebral artery each side; CSF and cord."""
    rng = np.random.default_rng(seed)
    fine = np.indices((132, 132)) * 0.5 - 33
    truth = np.zeros((44, 44, 8, 5))
    for k in range(8):
        x, y = fine[0] - 0.5 * np.sin(k), fine[1] - k / 3
        kinds = np.full((132, 132), 4)  # muscle
        kinds[np.hypot(x, y) < 15] = 3  # bone
        kinds[np.hypot(np.abs(x) - 13, y) < 2] = 2  # vessel
        kinds[np.hypot(x / 9, y / 7.5) < 1] = 1  # CSF
        kinds[np.hypot(x / 6, y / 4) < 1] = 0  # cord
        for kind in range(5):
            truth[:, :, k, kind] = (kinds == kind).reshape(44, 3, 44, 3).mean(axis=(1, 3))
    level, lively = np.array([350, 460, 420, 15, 270]), np.array([0.01, 0.05, 0.06, 0.01, 0.01])
    mean = truth @ level
    sd = np.sqrt((truth @ (level * lively)) ** 2 + 30**2) * (1 + rng.normal(size=mean.shape) / np.sqrt(2 * volumes))
    return mean + rng.normal(size=mean.shape) * 30 / np.sqrt(volumes), sd, truth[..., 1], truth[..., 0]


def test_csf_around_the_cord_is_csf_and_keeps_off_the_cord() -> None:
    mean, sd, csf, cord = neck()
    found = cord_csf(mean, sd, cord > 0.5, NECK)
    assert (found.sum(axis=(0, 1)) >= 8).all()
    assert csf[found].mean() > 0.9
    assert cord[found].max() == 0
    assert not (found & ndimage.binary_dilation(cord > 0.5, np.ones((3, 3, 1))) & (cord > 0.01)).any()
    away = ndimage.distance_transform_edt(~(cord > 0.5), sampling=(1.5, 1.5, 1e6))
    assert away[found].min() > 1.5  # type: ignore[index]


@pytest.mark.parametrize(("right", "front"), [(1, 0), (0, -1), (-1, 1)])
def test_a_cord_mask_off_by_a_voxel_lets_little_cord_in(right: int, front: int) -> None:
    mean, sd, csf, cord = neck(1)
    found = cord_csf(mean, sd, np.roll(cord > 0.5, (right, front), axis=(0, 1)), NECK)
    assert (found.any(axis=(0, 1))).sum() >= 7
    assert csf[found].mean() > 0.85
    assert cord[found].mean() < 0.08


def test_which_axis_the_slices_lie_along_makes_no_difference() -> None:
    mean, sd, _, cord = neck()
    expected = cord_csf(mean, sd, cord > 0.5, NECK)
    turned = [np.moveaxis(image, 2, 0) for image in (mean, sd, cord > 0.5)]
    found = cord_csf(*turned, np.diag([4.0, 1.5, 1.5, 1.0]), slice_axis=0)
    np.testing.assert_array_equal(np.moveaxis(found, 0, 2), expected)


def test_slices_without_bright_csf_have_none() -> None:
    mean, sd, csf, cord = neck()
    mean[:, :, 3] -= 200 * csf[:, :, 3]
    found = cord_csf(mean, sd, cord > 0.5, NECK)
    assert not found[:, :, 3].any()
    assert found[:, :, 2].any()
    assert not cord_csf(mean, sd, np.zeros(mean.shape, bool), NECK).any()


def test_images_of_different_shape_are_refused() -> None:
    mean, sd, _, cord = neck()
    for function in (cord_csf, ventricles, deep_white):
        with pytest.raises(CoSpineError, match="one grid"):
            function(mean, sd[1:], cord > 0.5, NECK)


def head(
    fluid: bool = True, bias: float = 0.3, volumes: int = 100, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean and SD of a brain: cortex about white matter, grey nuclei, two ventricles; brain, CSF and white matter."""
    rng = np.random.default_rng(seed)
    shape = (56, 66, 36)
    x, y, z = ((n - (s - 1) / 2) * mm for n, s, mm in zip(np.indices(shape), shape, (3, 3, 4), strict=True))
    radius = np.sqrt((x / 66) ** 2 + (y / 82) ** 2 + (z / 62) ** 2)
    folds = 0.86 + 0.05 * np.sin(x / 5) * np.sin(y / 6) * np.cos(z / 7)
    brain = radius < 1
    white = radius < folds
    nuclei = np.sqrt(((np.abs(x) - 22) / 11) ** 2 + (y / 18) ** 2 + (z / 12) ** 2) < 1
    horns = np.sqrt(((np.abs(x) - 9) / 7) ** 2 + (y / 26) ** 2 + ((z - 8) / 10) ** 2) < 1
    csf = horns if fluid else np.zeros_like(horns)
    white = white & ~nuclei & ~csf
    grey = brain & ~white & ~csf
    level = 380 * white + 410 * grey + 460 * csf
    level = ndimage.gaussian_filter(level.astype(float), 0.4)
    vary = 0.004 * white + 0.006 * grey + 0.035 * csf
    mean = level * (1 + bias * np.exp(-(((y + 60) / 90) ** 2) - (z / 90) ** 2))
    sd = np.sqrt((vary * mean) ** 2 + (0.015 * 400) ** 2) * (1 + rng.normal(size=shape) / np.sqrt(2 * volumes))
    return mean + rng.normal(size=shape) * 6 / np.sqrt(volumes), sd, brain, csf, white


@pytest.mark.parametrize("volumes", [40, 225])
def test_ventricles_are_csf_under_a_receive_bias(volumes: int) -> None:
    mean, sd, brain, csf, white = head(volumes=volumes)
    found = ventricles(mean, sd, brain, HEAD)
    assert csf[found].mean() > 0.95
    assert found.sum() > 0.4 * csf.sum()
    deep = deep_white(mean, sd, brain, HEAD, found)
    assert white[deep].mean() > 0.93
    assert not csf[deep].any()
    assert deep.sum() * 0.036 > 20  # ml


def test_turned_axes_give_the_same_masks() -> None:
    mean, sd, brain, _, _ = head()
    expected = ventricles(mean, sd, brain, HEAD)
    turned = [np.transpose(image, (2, 0, 1))[:, ::-1] for image in (mean, sd, brain)]
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 4, -3, 3, 1
    found = ventricles(*turned, affine)
    np.testing.assert_array_equal(np.transpose(found[:, ::-1], (1, 2, 0)), expected)


def test_a_brain_without_ventricles_has_none_and_no_brain_has_nothing() -> None:
    mean, sd, brain, _, _ = head(fluid=False)
    assert not ventricles(mean, sd, brain, HEAD).any()
    nothing = np.zeros_like(brain)
    assert not ventricles(mean, sd, nothing, HEAD).any()
    assert not deep_white(mean, sd, nothing, HEAD).any()


def real(path: Path) -> tuple[np.ndarray, np.ndarray, Grid]:
    image = nib.nifti1.load(path)
    series = np.asarray(image.dataobj, dtype=np.float32)
    return series.mean(axis=3), series.std(axis=3, ddof=1), Grid(series.shape[:3], image.affine)


@pytest.mark.shared
def test_a_real_brain_has_bright_ventricles_on_both_sides(shared: Path) -> None:
    mean, sd, grid = real(shared / "data/brain-task/sub-02/func/sub-02_task-oneback_run-1_bold.nii.gz")
    brain = find_brain(mean, grid).mask
    fluid = ventricles(mean, sd, brain, grid.affine)
    white = deep_white(mean, sd, brain, grid.affine, fluid)
    ml = float(np.prod(grid.voxel_mm)) / 1000
    assert 5 < fluid.sum() * ml < 40
    assert 10 < white.sum() * ml < 250
    across = grid.to_ras(np.argwhere(fluid))[:, 0] - grid.to_ras(np.argwhere(brain))[:, 0].mean()
    assert (np.abs(across) < 35).mean() > 0.9
    assert min((across > 0).mean(), (across < 0).mean()) > 0.25
    assert mean[fluid].mean() > 1.1 * mean[white].mean()


@pytest.mark.shared
def test_a_real_cord_has_csf_in_every_slice(shared: Path) -> None:
    mean, sd, grid = real(shared / "data/cord-bold/sub-01/func/sub-01_task-rest_bold.nii.gz")
    cord = find_cord(mean, grid, np.zeros(grid.shape, bool)).mask
    found = cord_csf(mean, sd, cord, grid.affine)
    assert (found.sum(axis=(0, 1)) >= 10).all()
    for k in range(grid.shape[2]):
        assert mean[..., k][found[..., k]].mean() > 1.2 * np.percentile(mean[..., k][cord[..., k]], 25)
