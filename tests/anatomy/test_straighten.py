"""Straightening against curves and outlines worked out by hand."""

import numpy as np
import pytest

from cospine.anatomy.straighten import angles, curved_axis, outlines, smooth_along
from cospine.space.grid import Grid


def arch(count: int = 61) -> np.ndarray:
    """A quarter-like arc of a circle of 120 mm in the sagittal plane, from above downward, leaning to the right."""
    turn = np.linspace(-0.45, 0.45, count)
    return np.stack([0.1 * 120 * np.sin(turn), 120 * (np.cos(turn) - 1), -120 * np.sin(turn)], axis=1)


def test_the_frame_stands_across_the_curve_and_does_not_turn() -> None:
    axis = curved_axis(arch())
    along = np.gradient(axis.points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    for unit in (axis.right, axis.front):
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-9)
        np.testing.assert_allclose((unit * along).sum(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose((axis.right * axis.front).sum(axis=1), 0, atol=1e-9)
    assert (axis.right[:, 0] > 0.95).all()
    assert (axis.front[:, 1] > 0.8).all()
    assert along[:, 2].max() < 0


def test_the_axis_keeps_to_the_line_and_measures_its_length() -> None:
    line = arch()
    axis = curved_axis(line)
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    assert axis.given[1] == pytest.approx(length, abs=0.3)
    inner = line[8:-8]
    arc = axis.locate(inner)
    assert np.linalg.norm(axis.at(arc)[0] - inner, axis=1).max() < 0.4
    np.testing.assert_allclose(np.diff(arc), np.linalg.norm(np.diff(inner, axis=0), axis=1), atol=0.03)


def test_beyond_the_line_the_axis_is_straight() -> None:
    axis = curved_axis(arch())
    points = axis.at(np.array([-20.0, -30.0, -40.0]))[0]
    np.testing.assert_allclose(points[1] - points[0], points[2] - points[1], atol=1e-6)
    assert points[1, 2] > points[0, 2]


def test_noise_of_the_line_does_not_reach_the_axis() -> None:
    rng = np.random.default_rng(2)
    line = arch()
    noisy = line + rng.normal(0, 0.5, line.shape) * [1, 1, 0]
    arc = np.arange(10.0, 95.0)
    found, clean = curved_axis(noisy).at(arc), curved_axis(line).at(arc)
    tilt = np.degrees(np.arccos(np.clip((found[2] * clean[2]).sum(axis=1), -1, 1)))
    assert tilt.max() < 2.5
    assert np.linalg.norm(found[0] - clean[0], axis=1).max() < 0.5


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 1.0), (1.0, 1.0, 1.0), (1.5, 1.5, 4.0)])
def test_outline_of_an_ellipse(spacing: tuple[float, float, float]) -> None:
    """Half-axes 6 and 4 mm about (1.3, -0.7): radius of an ellipse about its middle by hand, shares averaged over the voxels."""
    fine = 5
    shape = tuple(int(40 / s) for s in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-19.7, -20.2, -20]
    grid = Grid(shape, affine)  # type: ignore[arg-type]
    x, y = (affine[a, 3] + (np.arange(shape[a] * fine) / fine + (1 - fine) / (2 * fine)) * spacing[a] for a in (0, 1))
    inside = ((x[:, None] - 1.3) / 6) ** 2 + ((y + 0.7) / 4) ** 2 <= 1
    share = inside.reshape(shape[0], fine, shape[1], fine).mean(axis=(1, 3))[:, :, None] * np.ones(shape[2])
    axis = curved_axis(np.array([[0, 0, 18.0], [0, 0, -18.0]]))
    arc = np.arange(6.0, 30.0, 2)
    found = outlines(share, grid, axis, arc, np.ones(shape[2]), 2)
    expected = 1 / np.hypot(np.cos(angles()) / 6, np.sin(angles()) / 4)
    np.testing.assert_allclose(found.middle, np.tile([1.3, -0.7], (len(arc), 1)), atol=0.06)
    np.testing.assert_allclose(found.radius, np.tile(expected, (len(arc), 1)), atol=0.25)
    np.testing.assert_allclose((found.radius**2).mean(axis=1) * np.pi, np.pi * 24, rtol=0.02)
    assert (found.weight == 1).all()


def test_planes_without_cord_or_confidence_weigh_nothing() -> None:
    grid = Grid((30, 30, 40), np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, -15]] * 2 + [[0, 0, 0, -20]] + [[0] * 4]))
    share = np.zeros(grid.shape)
    share[11:20, 12:19, :30] = 1
    confidence = np.ones(40)
    confidence[:8] = 0
    axis = curved_axis(np.array([[0, 0, 19.0], [0, 0, -19.0]]))
    arc = np.arange(0.0, 38, 1)
    found = outlines(share, grid, axis, arc, confidence, 2)
    z = 19 - arc
    assert (found.weight[z > 10.5] == 0).all()
    assert (found.weight[z < -13] == 0).all()
    assert (found.weight[(z > -11) & (z < 8)] == 1).all()


def test_smoothing_keeps_constants_and_bridges_gaps() -> None:
    weight = np.ones(60)
    weight[20:45] = 0
    values = np.where(weight > 0, 3.0, 1e6)
    np.testing.assert_allclose(smooth_along(values, weight, 3.0), 3.0)
    ramp = smooth_along(np.arange(60.0), weight, 3.0)
    assert ramp[32] == pytest.approx(32, abs=4)
    assert (np.diff(ramp) > 0).all()
