"""Brain and cord found in images made here, and in real ones."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cospine.anatomy.brain_mask import find_brain
from cospine.anatomy.cord_mask import find_cord, mask_geometry
from cospine.space.grid import Grid

SHAPE, SIZE = (48, 52, 40), np.array([4.0, 4.0, 6.0])


def body(codes: str = "RAS", seed: int = 0) -> tuple[np.ndarray, Grid, np.ndarray, np.ndarray]:
    """A head on a neck: brain, dark skull, dim scalp and muscle, bright canal with a curve; brain and cord masks."""
    x, y, z = (np.indices(SHAPE)[a] * SIZE[a] for a in range(3))
    brain = ((x - 94) / 68) ** 2 + ((y - 104) / 82) ** 2 + ((z - 165) / 62) ** 2 < 1
    head = ((x - 94) / 82) ** 2 + ((y - 104) / 96) ** 2 + ((z - 165) / 74) ** 2 < 1
    skull = ((x - 94) / 74) ** 2 + ((y - 104) / 88) ** 2 + ((z - 165) / 68) ** 2 < 1
    neck = (np.hypot((x - 94) / 60, (y - 100) / 62) < 1) & (z < 120)
    line = 92 + 6 * np.sin(z / 40)
    canal = (np.hypot(x - 94, y - line) < 8) & (z < 112)
    vertebra = (np.hypot(x - 94, y - line) < 18) & (z < 112)
    cord = (np.hypot((x - 94) / 5.5, (y - line) / 3.9) < 1) & (z < 102)
    image = np.zeros(SHAPE)
    image[head | neck] = 260
    image[skull | vertebra] = 30
    image[brain] = 800
    image[canal & ~brain] = 750
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(image, 0.5) * (1 + 0.15 * np.sin(x / 90)) + np.abs(rng.normal(size=SHAPE)) * 12
    ornt = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes)))
    affine = np.diag([*SIZE, 1.0]) @ nib.orientations.inv_ornt_aff(ornt, SHAPE)
    turned = [nib.orientations.apply_orientation(a, ornt) for a in (image, brain, cord & ~brain)]
    return turned[0].astype(np.float32), Grid(turned[0].shape, affine), turned[1], turned[2]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAI"])
def test_a_brain_is_found_whichever_way_the_axes_run(codes: str) -> None:
    image, grid, brain, _ = body(codes)
    found = find_brain(image, grid)
    assert dice(found.mask, brain) > 0.93


def neck(seed: int = 0) -> tuple[np.ndarray, Grid, np.ndarray]:
    """Axial EPI of a neck: bright CSF about a cord that sways, dark bone around it, an airway in front, muscle; the cord."""
    shape, size = (64, 64, 24), (1.5, 1.5, 4.0)
    x, y, z = (((np.indices(shape)[a] - (shape[a] - 1) / 2) * size[a]) for a in range(3))
    y = y - 4 * np.sin(z / 25)
    section = np.hypot(x / 46, y / 44)
    image = np.where(section < 1, 330.0, 12.0)
    image[(np.hypot(x / 26, (y + 6) / 30) < 1)] = 230
    image[np.hypot(x / 15, (y - 14) / 9) < 1] = 90  # vertebral body
    image[np.hypot(x / 17, (y + 2) / 14) < 1] = 60
    image[np.hypot(x / 7, (y - 34) / 6) < 1] = 10  # airway
    image[np.hypot(x / 9.5, y / 7.5) < 1] = 820
    cord = np.hypot(x / 6.2, y / 4.3) < 1
    image[cord] = 620
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(image, (0.5, 0.5, 0)) * (1 + 0.1 * np.sin(x / 60))
    affine = np.diag([*size, 1.0])
    return np.abs(image + rng.normal(0, 15, shape)).astype(np.float32), Grid(shape, affine), cord


def test_a_cord_is_found_in_axial_slices_with_its_line_and_weight() -> None:
    image, grid, cord = neck()
    nothing = np.zeros(grid.shape, dtype=bool)
    spine = find_cord(image, grid, nothing)
    assert spine.found, spine.reason
    assert dice(spine.mask, cord) > 0.8
    assert spine.slices.size >= 22
    assert (np.diff(spine.slices) == 1).all()
    for k, centre in zip(spine.slices, spine.centre, strict=True):
        true = np.argwhere(cord[..., k]).mean(axis=0)
        assert np.linalg.norm((centre - true) * grid.voxel_mm[:2]) < 1.5
    assert 0 < spine.weight.max() <= 1
    assert spine.score.shape == spine.slices.shape
    upper = nothing.copy()
    upper[..., 14:] = True
    below = find_cord(image, grid, upper)
    assert below.found
    assert not (below.mask & upper).any()
    assert below.slices.max() <= 13


def test_slices_must_be_axial_and_lie_along_the_third_axis() -> None:
    image, grid, _ = neck()
    nothing = np.zeros(grid.shape, dtype=bool)
    assert "not axial" in find_cord(image, grid, nothing, slice_axis=0).reason
    turned = Grid((24, 64, 64), grid.affine[:, [2, 0, 1, 3]])
    spine = find_cord(np.moveaxis(image, 2, 0), turned, np.moveaxis(nothing, 2, 0), slice_axis=0)
    assert not spine.found
    assert "along voxel axis i" in spine.reason


def test_a_narrow_field_of_view_holds_no_brain() -> None:
    image, grid, _, _ = body()
    part = Grid((16, 16, 40), grid.affine)
    found = find_brain(image[16:32, 14:30], part)
    assert not found.found
    assert "64 mm wide" in found.reason


def test_nothing_is_found_in_nothing() -> None:
    image, grid, _, _ = body()
    rng = np.random.default_rng(1)
    for empty in (np.zeros_like(image), rng.normal(size=image.shape).astype(np.float32) ** 2):
        assert not find_brain(empty, grid).found
    assert not find_cord(np.zeros_like(image), grid, np.zeros(grid.shape, bool)).found
    flat = np.full_like(image, 500)
    assert not find_cord(flat, grid, np.zeros(grid.shape, bool)).found


def test_no_cord_below_a_field_of_view_that_ends_with_the_brain() -> None:
    image, grid, brain, _ = body()
    cut = Grid((48, 52, 22), grid.affine)
    spine = find_cord(image[..., 18:], cut, find_brain(image[..., 18:], cut).mask)
    assert not spine.found
    assert spine.reason
    assert brain[..., 18:].any()


def test_a_given_mask_keeps_its_voxels() -> None:
    _, grid, _, cord = body()
    given = mask_geometry(cord, grid)
    np.testing.assert_array_equal(given.mask, cord)
    assert given.weight[cord].min() > 0.5
    assert not mask_geometry(np.zeros(grid.shape), grid).found


@pytest.mark.shared
def test_real_cord_lies_in_the_canal_and_real_brains_have_the_size_of_brains(shared: Path) -> None:
    image = nib.load(shared / "data/cord-bold/sub-01/func/sub-01_task-rest_bold.nii.gz")
    mean = image.get_fdata(dtype=np.float32).mean(axis=3)
    spine = find_cord(mean, Grid(mean.shape, image.affine), np.zeros(mean.shape, bool))
    assert spine.slices.size == 6
    for k in spine.slices:  # brighter than what is about, if less so than CSF
        assert mean[..., k][spine.mask[..., k]].mean() > 1.5 * np.median(mean[..., k])
    for name, prefix in (("head-neck", "sub-01/func/sub-01_task-fa"), ("brain-task", "sub-02/func/sub-02_task-oneback_run-1")):
        image = nib.load(shared / f"data/{name}/{prefix}_bold.nii.gz")
        mean = image.get_fdata(dtype=np.float32).mean(axis=3)
        grid = Grid(mean.shape, image.affine)
        assert 900 < find_brain(mean, grid).mask.sum() * np.prod(grid.voxel_mm) / 1000 < 1800
