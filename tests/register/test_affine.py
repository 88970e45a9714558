"""Affine maps between images of like contrast: what was done to an image is found."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.register.affine import fit_affine
from cospine.space.grid import Grid
from cospine.space.transform import Affine

GRID = Grid((48, 52, 44), np.array([[-3.0, 0, 0, 70], [0, 3, 0, -80], [0, 0, 3, -60], [0, 0, 0, 1]]))
MAP = Affine(np.array([[1.04, 0.05, 0.0, 4.0], [-0.06, 0.97, 0.03, -5.0], [0.02, -0.05, 1.02, 6.0], [0, 0, 0, 1.0]]))


def body(points: np.ndarray) -> np.ndarray:
    """A ball with waves inside, in the dark."""
    radius = np.linalg.norm(points / [55.0, 60, 50], axis=-1)
    waves = 1 + 0.3 * np.sin(points[..., 0] / 9) * np.cos(points[..., 1] / 11) + 0.2 * np.sin(points[..., 2] / 8)
    return waves / (1 + np.exp((radius - 1) * 30))


def points_of(grid: Grid) -> np.ndarray:
    return grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))


@pytest.mark.parametrize("gain", [1.0, -40.0])
def test_a_known_map_is_found_whatever_gain_and_offset(gain: float) -> None:
    fixed = body(points_of(GRID))
    turned = Grid((60, 58, 62), np.array([[0.0, 0, 2.8, -90], [-2.8, 0, 0, 90], [0, 2.8, 0, -80], [0, 0, 0, 1]]))
    # what is at p in the fixed image lies at MAP(p) in the moving one
    moving = 7 + gain * body(Affine(np.linalg.inv(MAP.matrix)).map(points_of(turned)))
    moving += np.random.default_rng(0).normal(scale=0.02 * abs(gain), size=moving.shape)
    counts = np.linalg.norm(points_of(GRID) / [55.0, 60, 50], axis=-1) < 1.1
    found = fit_affine(fixed, GRID, moving, turned, counts, Affine(np.eye(4)))
    points = points_of(GRID)[counts]
    assert np.linalg.norm(found.map(points) - MAP.map(points), axis=1).max() < 0.2


def test_what_the_image_does_not_reach_does_not_pull() -> None:
    points = points_of(GRID)
    fixed = body(points)
    counts = np.linalg.norm(points / [55.0, 60, 50], axis=-1) < 1.1
    # the upper third was not scanned
    cut = Grid((48, 52, 30), GRID.affine)
    moving = body(points_of(cut) - [1.5, -1.0, 0.5])
    found = fit_affine(fixed, GRID, moving, cut, counts, Affine(np.eye(4)))
    np.testing.assert_allclose(found.map(np.zeros(3)), [1.5, -1.0, 0.5], atol=0.15)


def test_nothing_that_counts_leaves_the_start() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=GRID.shape), 2)
    assert fit_affine(image, GRID, image, GRID, np.zeros(GRID.shape, bool), MAP) is MAP
    few = np.zeros(GRID.shape, bool)
    few[20:24, 20:24, 20:24] = True
    assert fit_affine(image, GRID, image, GRID, few, MAP) is MAP
    away = Affine(np.array([[1.0, 0, 0, 900], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert fit_affine(image, GRID, image, GRID, np.ones(GRID.shape, bool), away) is away
