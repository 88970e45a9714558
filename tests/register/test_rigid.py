"""Rigid and slice-wise registration kernels against motion that was put in with SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.register.rigid import register_rigid
from cospine.register.slicewise import slice_shifts
from cospine.space.bspline import coefficients
from cospine.space.grid import Grid
from cospine.space.transform import rigid_matrix

SHAPE = (44, 48, 24)
GRID = Grid(SHAPE, np.array([[-2.0, 0.1, 0, 44], [0.1, 2, -0.4, -48], [0, 0.2, 4, -48], [0, 0, 0, 1.0]]))


def head(seed: int = 0) -> np.ndarray:
    """A smooth body with structure inside, bright in the middle."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPE), (2.0, 2.0, 1.5))
    index = np.indices(SHAPE)
    radius = sum(((index[a] - SHAPE[a] / 2) / (0.33 * SHAPE[a])) ** 2 for a in range(3))
    body = ndimage.gaussian_filter((radius < 1).astype(float), 1.0)
    return (1000 * body * (1 + 3 * texture)).astype(np.float32)


def moved(volume: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The image after the head moved by a push-forward pose: SciPy, order 5, not our interpolation."""
    back = GRID.inverse @ np.linalg.inv(pose) @ GRID.affine
    return ndimage.affine_transform(volume.astype(float), back[:3, :3], back[:3, 3], order=5, mode="nearest")


def test_poses_are_found_whatever_gain_and_offset() -> None:
    rng = np.random.default_rng(5)
    volume = head()
    truth = rng.normal(size=(6, 6)) * [0.8, 0.8, 0.8, 0.01, 0.01, 0.01]
    poses = rigid_matrix(truth, GRID.centre)
    series = np.stack([moved(volume, p) * 1.05 + 20 + rng.normal(size=SHAPE) * 8 for p in poses], axis=3)
    series = np.asfortranarray(series.astype(np.float32))
    points = np.argwhere(ndimage.binary_dilation(volume > 300, iterations=2))
    coefs = coefficients(np.ascontiguousarray(volume.T))
    found, fit = register_rigid(coefs, series.T, GRID.affine, GRID.centre, points, np.ones(len(points)))
    pushed = np.linalg.inv(found)
    at = GRID.to_ras(points[::20])
    error = [np.linalg.norm(at @ (a - b)[:3, :3].T + (a - b)[:3, 3], axis=1).mean() for a, b in zip(pushed, poses, strict=True)]
    assert max(error) < 0.03
    np.testing.assert_allclose(fit[:, 0], 1.05, atol=0.01)
    moved_by = np.linalg.norm(at @ (poses[0] - np.eye(4))[:3, :3].T + (poses[0] - np.eye(4))[:3, 3], axis=1).mean()
    assert moved_by > 0.3  # there was something to find


def test_activation_does_not_look_like_motion() -> None:
    """A patch that brightens by 3 % moves nothing: robust weights."""
    volume = head(2)
    active = volume.copy()
    active[8:14, 20:30, 8:14] *= 1.03
    rng = np.random.default_rng(1)
    noise = (rng.normal(size=SHAPE) * 3).astype(np.float32)
    series = np.asfortranarray(np.stack([volume + noise, active + noise], axis=3))
    points = np.argwhere(ndimage.binary_dilation(volume > 300, iterations=2))
    found, _ = register_rigid(
        coefficients(np.ascontiguousarray(volume.T)), series.T, GRID.affine, GRID.centre, points, np.ones(len(points))
    )
    between = found[1] @ np.linalg.inv(found[0])
    at = GRID.to_ras(points[::20])
    shift = np.linalg.norm(at @ (between - np.eye(4))[:3, :3].T + (between - np.eye(4))[:3, 3], axis=1)
    assert shift.mean() < 0.01


def cord_slices() -> np.ndarray:
    """Bright canal with a darker cord in each of five slices, (x, y, z)."""
    x, y = np.indices((30, 30))
    cord = np.hypot((x - 15) / 3.5, (y - 15) / 2.5)
    canal = np.hypot(x - 15, y - 15)
    fine = 200 + 500 / (1 + np.exp((canal - 5.5) / 0.5)) - 250 / (1 + np.exp((cord - 1) / 0.12))
    return np.repeat(fine[..., None], 5, axis=2).astype(np.float32)


def test_slice_shifts_and_what_is_known_of_them() -> None:
    rng = np.random.default_rng(7)
    volume = cord_slices()
    truth = rng.uniform(-0.8, 0.8, (12, 5, 2))
    truth[:, 3] = 0
    series = np.empty((30, 30, 5, 12), np.float32, order="F")
    for t in range(12):
        for k in range(5):
            series[..., k, t] = ndimage.shift(volume[..., k].astype(float), truth[t, k], order=5, mode="nearest")
    series[..., 4, :] = 300  # a slice that carries nothing
    series += rng.normal(size=series.shape).astype(np.float32) * 10
    weight = np.ones((5, 30, 30))
    weight[:, :7], weight[:, 23:], weight[:, :, :7], weight[:, :, 23:] = 0, 0, 0, 0
    reference = volume.copy()
    reference[..., 4] = 300
    coefs = coefficients(np.ascontiguousarray(reference.T), in_plane=True)
    found, information, _ = slice_shifts(coefs, series.T, np.arange(5), weight, np.zeros((12, 5, 2)), np.array([1.0, 1.0]))
    error = found[:, :4] - truth[:, :4]
    assert np.sqrt((error**2).mean()) < 0.04
    predicted = np.sqrt(np.diagonal(np.linalg.inv(information), axis1=2, axis2=3))
    assert predicted[:, :4].mean() == pytest.approx(error.std(), rel=0.35)
    assert np.abs(found[:, 4]).max() < 0.5
    assert predicted[:, 4].min() > 5 * predicted[:, :4].mean()
