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
def test_both_are_found_whichever_way_the_axes_run(codes: str) -> None:
    image, grid, brain, cord = body(codes)
    found = find_brain(image, grid)
    assert dice(found.mask, brain) > 0.93
    spine = find_cord(image, grid, found.mask)
    assert spine.found, spine.reason
    for k, centre in zip(spine.slices, spine.centre, strict=True):
        if cord[..., k].any():
            true = np.argwhere(cord[..., k]).mean(axis=0)
            assert np.linalg.norm((centre - true) * SIZE[:2]) < 2.5
    assert 0 < spine.weight.max() <= 1
    assert not (spine.mask & found.mask).any()


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
    assert "below the brain" in spine.reason
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
