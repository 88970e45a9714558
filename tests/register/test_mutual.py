"""Rigid registration of images of different contrast."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.register.mutual import register_mutual
from cospine.space.grid import Grid
from cospine.space.transform import rigid_matrix

SHAPE = (48, 52, 30)
AFFINE = np.diag([-3.0, 3.0, 4.0, 1.0])
AFFINE[:3, 3] = 70, -75, -55
GRID = Grid(SHAPE, AFFINE)


def tissues(points: np.ndarray) -> np.ndarray:
    """Three kinds of tissue (n,) at RAS mm: an ellipsoid with folds and two ventricles."""
    x, y, z = points.T
    radius = np.sqrt((x / 58) ** 2 + (y / 66) ** 2 + (z / 50) ** 2)
    folds = 0.06 * (np.sin(x / 5) + np.cos(y / 6) + np.sin(z / 7))
    kind = (radius < 1).astype(int) + (radius + folds < 0.8)
    ventricle = ((np.abs(x) - 12) / 6) ** 2 + ((y - 5) / 20) ** 2 + (z / 10) ** 2 < 1
    return np.where(ventricle, 3, kind)


def image(contrast: tuple[float, ...], pose: np.ndarray, grid: Grid, seed: int) -> np.ndarray:
    """What a grid shows of the tissues after a push-forward by `pose`, blurred to its voxels, with noise."""
    points = grid.to_ras(np.indices(grid.shape).reshape(3, -1).T)
    back = np.linalg.inv(pose)
    values = np.array(contrast)[tissues(points @ back[:3, :3].T + back[:3, 3])].reshape(grid.shape)
    rng = np.random.default_rng(seed)
    return (ndimage.gaussian_filter(values, 0.6) + rng.normal(0, 8, grid.shape)).astype(np.float32)


@pytest.mark.parametrize(
    "moved", [(0.0, 0, 0, 0, 0, 0), (1.5, -2.0, 1.0, 0.02, -0.015, 0.03), (-4.0, 3.0, 2.0, 0.06, 0.0, -0.05)]
)
def test_pose_is_found_whatever_the_contrast(moved: tuple[float, ...]) -> None:
    other = Grid((60, 56, 40), np.array([[0, 3.2, 0, -90], [2.8, 0, 0, -85], [0, 0, 3.0, -60], [0, 0, 0, 1.0]]))
    pose = rigid_matrix(np.array(moved), np.zeros(3))
    fixed = image((0, 400, 700, 1000), np.eye(4), GRID, 1)
    moving = image((0, 900, 500, 150), pose, other, 2)
    mask = ndimage.binary_opening(fixed > 150)
    parameters, information = register_mutual(fixed, GRID, moving, other, mask)
    centre = GRID.to_ras(np.argwhere(mask).mean(axis=0))
    found = rigid_matrix(parameters, centre)
    points = np.c_[GRID.to_ras(np.argwhere(mask)[::50]), np.ones(len(np.argwhere(mask)[::50]))]
    assert np.linalg.norm(points @ (found - pose)[:3].T, axis=1).mean() < 0.35
    assert information > 0.3


def test_images_that_never_meet_keep_the_start() -> None:
    fixed = image((0, 400, 700, 1000), np.eye(4), GRID, 1)
    away = AFFINE.copy()
    away[:3, 3] += 500
    parameters, information = register_mutual(fixed, GRID, fixed, Grid(SHAPE, away), fixed > 150)
    assert information == 0
    assert np.isfinite(parameters).all()


def test_a_common_grid_does_not_hold_the_pose() -> None:
    pose = rigid_matrix(np.array([0.8, -1.0, 1.4, 0.006, -0.004, 0.01]), np.zeros(3))
    fixed = image((0, 400, 700, 1000), np.eye(4), GRID, 1)
    moving = image((0, 900, 500, 150), pose, GRID, 2)
    mask = ndimage.binary_opening(fixed > 150)
    parameters, _ = register_mutual(fixed, GRID, moving, GRID, mask)
    found = rigid_matrix(parameters, GRID.to_ras(np.argwhere(mask).mean(axis=0)))
    at = np.argwhere(mask)[::50]
    points = np.c_[GRID.to_ras(at), np.ones(len(at))]
    error, moved = (np.linalg.norm(points @ (one - pose)[:3].T, axis=1).mean() for one in (found, np.eye(4)))
    assert moved > 1.5
    assert error < 0.35
