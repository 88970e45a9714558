"""Mutual information and its derivative by where points land."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.register.information import compare
from cospine.space.grid import Grid

GRID = Grid((40, 44, 36), np.array([[-2.0, 0, 0, 40], [0, 1.98, 0.28, -48], [0, -0.28, 1.98, -30], [0, 0, 0, 1]]))


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, the same in another contrast, and points in it."""
    rng = np.random.default_rng(3)
    image = ndimage.gaussian_filter(rng.normal(size=GRID.shape), 2.5)
    image = (image - image.min()) / np.ptp(image) * 800 + 100
    other = 2000 / (1 + image / 200) + rng.normal(0, 5, GRID.shape)
    points = GRID.to_ras(rng.uniform(8, np.array(GRID.shape) - 9, (4000, 3)))
    return image.astype(np.float32), other.astype(np.float32), points


def test_derivative_equals_differences(pair) -> None:
    image, other, points = pair
    given = compare(image, GRID, other, GRID, points, blur_mm=4.0)
    rng = np.random.default_rng(0)
    for _ in range(3):
        way = rng.normal(size=points.shape) * 0.2 + rng.normal(size=3)
        _, forces, share = given.information(points + 0.7)
        step = 1e-3
        slope = (given.information(points + 0.7 + step * way)[0] - given.information(points + 0.7 - step * way)[0]) / (2 * step)
        assert slope == pytest.approx(float((forces * way).sum()), rel=0.02, abs=1e-5)
        assert share == pytest.approx(1)


def test_images_tell_most_of_each_other_where_they_match(pair) -> None:
    image, other, points = pair
    given = compare(image, GRID, other, GRID, points, blur_mm=3.0)
    here = given.information(points)[0]
    assert all(given.information(points + shift)[0] < here - 0.05 for shift in 1.5 * np.vstack([np.eye(3), -np.eye(3)]))


def test_value_is_that_of_two_normal_variables() -> None:
    """-ln(1 - r^2) / 2 nats (Cover & Thomas 2006, example 8.5.1); windows and bins lose a little."""
    rng = np.random.default_rng(5)
    one, noise = rng.normal(size=(2, *GRID.shape))
    other = 5 + 0.9 * one + np.sqrt(1 - 0.81) * noise
    voxels = np.moveaxis(np.indices(GRID.shape), 0, -1)[2:-2, 2:-2, 2:-2].reshape(-1, 3)
    found = compare(one, GRID, other, GRID, GRID.to_ras(voxels), blur_mm=0.0).information(GRID.to_ras(voxels))[0]
    assert found == pytest.approx(-0.5 * np.log(1 - 0.81), rel=0.12)


def test_points_outside_say_nothing(pair) -> None:
    image, other, points = pair
    found, forces, share = compare(image, GRID, other, GRID, points, blur_mm=3.0).information(points + 1000)
    assert (found, share) == (0, 0)
    assert not forces.any()
