"""Head motion from a whole series: coarse to fine, mean reference, what it must not be fooled by."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.errors import CoSpineError
from cospine.motion.brain import estimate_head_motion
from cospine.space.grid import Grid
from cospine.space.transform import rigid_matrix

SHAPE = (40, 44, 22)
GRID = Grid(SHAPE, np.array([[-3.0, 0, 0, 60], [0, 3, -0.3, -66], [0, 0.3, 4, -44], [0, 0, 0, 1.0]]))


def body() -> np.ndarray:
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPE), (1.6, 1.6, 1.2))
    index = np.indices(SHAPE)
    radius = sum(((index[a] - SHAPE[a] / 2) / (0.36 * SHAPE[a])) ** 2 for a in range(3))
    return 1000 * ndimage.gaussian_filter((radius < 1).astype(float), 0.8) * (1 + 3 * texture)


def series_of(parameters: np.ndarray, active: bool = False, drift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(9)
    volume = body()
    frames = []
    for t, pose in enumerate(rigid_matrix(parameters, GRID.centre)):
        scene = volume.copy()
        if active and t % 4 < 2:
            scene[10:16, 18:26, 9:14] *= 1.02
        back = GRID.inverse @ np.linalg.inv(pose) @ GRID.affine
        frame = ndimage.affine_transform(scene, back[:3, :3], back[:3, 3], order=5, mode="nearest")
        frames.append(frame * (1 + drift * t) + rng.normal(size=SHAPE) * 12)
    return np.asfortranarray(np.stack(frames, axis=3).astype(np.float32))


def parameters(scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(3)
    walk = np.cumsum(rng.normal(size=(12, 6)) * [0.2, 0.2, 0.2, 0.003, 0.003, 0.003], axis=0)
    walk[6:] += [0.5, -0.6, 0.8, 0.01, 0, 0.01]  # a jump
    return scale * walk


def voxel_error(poses: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance over the body after one constant rigid offset is removed, mm, by volume."""
    at = np.c_[GRID.to_ras(np.argwhere(body() > 300)[::50]), np.ones(1)[0] * np.ones(len(np.argwhere(body() > 300)[::50]))]
    offset = np.linalg.inv(truth[0]) @ poses[0]
    return np.array([np.linalg.norm(at @ (p - q @ offset)[:3].T, axis=1).mean() for p, q in zip(poses, truth, strict=True)])


def test_poses_of_a_series_with_drift_and_a_jump() -> None:
    truth = rigid_matrix(parameters(), GRID.centre)
    found = estimate_head_motion(series_of(parameters(), drift=0.004), GRID, body() > 300)
    assert voxel_error(found.poses, truth).mean() < 0.05
    assert voxel_error(np.tile(np.eye(4), (12, 1, 1)), truth).mean() > 0.5  # what standing still would score
    np.testing.assert_allclose(rigid_matrix(found.parameters, found.centre), found.poses, atol=1e-9)
    np.testing.assert_allclose(np.median(found.parameters, axis=0), 0, atol=0.01)  # the reference is the middle pose


def test_large_motion_is_caught() -> None:
    truth = rigid_matrix(parameters(6.0), GRID.centre)
    found = estimate_head_motion(series_of(parameters(6.0)), GRID, body() > 300)
    assert np.abs(parameters(6.0)[:, :3]).max() > 6
    assert voxel_error(found.poses, truth).mean() < 0.12


def test_activation_makes_no_motion() -> None:
    still = np.zeros((12, 6))
    quiet = estimate_head_motion(series_of(still), GRID, body() > 300)
    active = estimate_head_motion(series_of(still, active=True), GRID, body() > 300)
    assert np.abs(active.parameters - quiet.parameters)[:, :3].mean() < 0.01


def test_the_same_series_gives_the_same_bytes() -> None:
    series = series_of(parameters())
    first = estimate_head_motion(series, GRID, body() > 300)
    second = estimate_head_motion(series, GRID, body() > 300)
    assert first.poses.tobytes() == second.poses.tobytes()


def test_an_empty_mask_is_refused_with_a_remedy() -> None:
    with pytest.raises(CoSpineError, match="--regions cord"):
        estimate_head_motion(series_of(np.zeros((3, 6))), GRID, np.zeros(SHAPE, bool))
