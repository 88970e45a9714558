"""Images on other lattices: what was a linear function of place stays it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cospine.space.grid import Grid
from cospine.space.lattice import at_spacing, brought, downsample, resampled, window_about
from cospine.space.transform import Affine

GRID = Grid((24, 30, 12), np.array([[0.0, -1.1, 0, 20], [0.9, 0, 0, -10], [0, 0, 3.0, 5], [0, 0, 0, 1]]))


def ramp(grid: Grid) -> NDArray[np.float32]:
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
    return (points @ [1.0, -2.0, 0.5]).astype(np.float32)


def inner(image: NDArray) -> NDArray:
    return image[3:-3, 3:-3, 1:-1]


def test_coarser_voxels_lie_where_their_grid_says_and_finer_axes_stay() -> None:
    small, grid = downsample(ramp(GRID), GRID, 2.0)
    np.testing.assert_allclose(grid.voxel_mm, [2.0, 2.0, 3.0])
    np.testing.assert_allclose(inner(small), inner(ramp(grid)), atol=1e-3)
    same, kept = downsample(ramp(GRID), GRID, 0.8)
    assert kept is GRID
    np.testing.assert_array_equal(same, ramp(GRID))


def test_voxels_are_at_most_so_large() -> None:
    fine, grid = at_spacing(ramp(GRID), GRID, 1.0)
    assert grid.voxel_mm.max() <= 1.05
    np.testing.assert_allclose(fine[4:-4, 4:-4, 4:-4], ramp(grid)[4:-4, 4:-4, 4:-4], atol=1e-3)


def test_an_affine_map_brings_points_and_says_which_were_seen() -> None:
    affine = Affine(np.array([[1.02, 0.05, 0, 1], [-0.05, 1, 0, 2], [0, 0, 0.98, -1], [0, 0, 0, 1]]))
    lattice = Grid((14, 14, 10), np.array([[2.0, 0, 0, -12], [0, 2, 0, -8], [0, 0, 3, 6], [0, 0, 0, 1]]))
    moved, reached = brought(ramp(GRID), GRID, affine, lattice)
    points = affine.map(lattice.to_ras(np.moveaxis(np.indices(lattice.shape), 0, -1)))
    assert 0.2 < reached.mean() < 0.95
    np.testing.assert_array_equal(reached, GRID.holds(GRID.to_voxel(points)))
    inside = np.all((GRID.to_voxel(points) >= 0) & (GRID.to_voxel(points) <= np.array(GRID.shape) - 1), axis=-1)
    np.testing.assert_allclose(moved[inside], (points @ [1.0, -2.0, 0.5])[inside], atol=1e-3)
    np.testing.assert_allclose(affine.inverse().map(affine.map(points)), points, atol=1e-9)


@pytest.mark.parametrize("spacing", [0.7, 2.5])
def test_from_grid_to_grid(spacing: float) -> None:
    target = Grid(
        (10, 10, 8), np.diag([spacing, spacing, spacing, 1.0]) + np.array([[0, 0, 0, -8.0], [0, 0, 0, -6], [0, 0, 0, 9], [0] * 4])
    )
    voxel = GRID.to_voxel(target.to_ras(np.moveaxis(np.indices(target.shape), 0, -1)))
    inside = np.all((voxel >= 0) & (voxel <= np.array(GRID.shape) - 1), axis=-1)
    assert inside.sum() > 50
    np.testing.assert_allclose(resampled(ramp(GRID), GRID, target)[inside], ramp(target)[inside], atol=1e-3)


def test_a_window_about_a_mask_keeps_its_voxels_where_they_are() -> None:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[1:5, 10:12, 6] = True
    window = window_about(mask, 3.0, GRID)
    assert window == (slice(0, 9), slice(7, 15), slice(5, 8))  # voxels of 0.9, 1.1 and 3 mm; the first axis ends at 0
    part = GRID.part(window)
    np.testing.assert_allclose(ramp(part), ramp(GRID)[window], atol=1e-4)
