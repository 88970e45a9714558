"""Local correlation, patch by patch."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.register.local_correlation import fit_patches, patches
from cospine.space.grid import Grid

GRID = Grid((56, 60, 50), np.diag([2.0, 2, 2, 1]) + np.array([[0, 0, 0, -55], [0, 0, 0, -60], [0, 0, 0, -50], [0, 0, 0, 0.0]]))
MASK = np.zeros(GRID.shape, dtype=bool)
MASK[8:-8, 8:-8, 8:-8] = True


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Structure at a few millimetres."""
    values = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=GRID.shape), 1.8)
    return (500 + 2000 * values).astype(np.float32)


def stretched(points: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Three shifts and a stretch along z."""
    derivative = np.zeros((len(points), 3, 4))
    derivative[:, [0, 1, 2], [0, 1, 2]] = 1
    derivative[:, 2, 3] = points[:, 2]
    return points + derivative @ parameters, derivative


def test_shift_and_stretch_are_found_under_bias_and_inverted_contrast(image: np.ndarray) -> None:
    true = np.array([1.4, -0.9, 0.6, 0.03])
    points = GRID.to_ras(np.moveaxis(np.indices(GRID.shape), 0, -1).reshape(-1, 3))
    source = points - true[:3]
    source[:, 2] /= 1 + true[3]
    shown = ndimage.map_coordinates(image, GRID.to_voxel(source).T, order=3, mode="nearest").reshape(GRID.shape)
    bias = 1 + 0.4 * np.sin(points[:, 0] / 40).reshape(GRID.shape)
    moving = ((1500 - shown) * bias + np.random.default_rng(2).normal(0, 10, GRID.shape)).astype(np.float32)
    given = patches(image, GRID, moving, GRID, MASK, blur_mm=3.0)
    free, unit = np.full(4, np.inf), np.array([1, 1, 1, 1 / 50])
    found, squared = fit_patches(given, stretched, np.zeros(4), free, unit)
    assert np.abs(found - true)[:3].max() < 0.1
    assert found[3] == pytest.approx(true[3], abs=0.004)
    assert squared > 0.7
    again, _ = fit_patches(given, stretched, np.zeros(4), free, unit)
    np.testing.assert_array_equal(found, again)
    held, _ = fit_patches(given, stretched, np.zeros(4), np.array([np.inf, np.inf, np.inf, 1e-5]), unit)
    assert abs(held[3]) < 0.005 < abs(found[3])


def test_gain_and_sign_change_nothing_but_the_sign(image: np.ndarray) -> None:
    other = ndimage.gaussian_filter(image, 1.0)
    one, two = (patches(image, GRID, values, GRID, MASK, blur_mm=2.0) for values in (other, 3 * other))
    at = one.points.reshape(-1, 3) + 0.5
    np.testing.assert_allclose(one.correlation(at), two.correlation(at), atol=1e-4)
    inverted = patches(image, GRID, 1000 - other, GRID, MASK, blur_mm=2.0)
    np.testing.assert_allclose(one.correlation(at), -inverted.correlation(at), atol=0.02)
    assert one.correlation(at).max() <= 1


def test_a_small_mask_holds_no_patch(image: np.ndarray) -> None:
    small = np.zeros(GRID.shape, dtype=bool)
    small[20:22, 20:22, 20:22] = True
    assert len(patches(image, GRID, image, GRID, small, blur_mm=2.0).own) == 0
