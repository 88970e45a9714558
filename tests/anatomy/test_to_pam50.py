"""A cord brought to PAM50: people bent from the template by a known map, so that every point's place is known."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage

from cospine.anatomy.joint_space import join_pam50_mni
from cospine.anatomy.levels import Levels
from cospine.anatomy.segmentation import CordSegmentation
from cospine.anatomy.to_pam50 import CordWarp, normalise_cord
from cospine.errors import CoSpineError
from cospine.space.cord_template import CordTemplate, parametric_cord_template
from cospine.space.grid import Grid
from cospine.space.transform import Affine, jacobian

WIDER, DEEPER, LONGER = 1.12, 0.92, 0.93
TOP = np.array([4.0, 10.0, 30.0])  # where PAM50's (0, -46, -66) lies in the person


@lru_cache
def template() -> CordTemplate:
    return parametric_cord_template()


def bent(points: np.ndarray) -> np.ndarray:
    """PAM50 point to person's point: an arc in the sagittal plane, planes across it, another size and length."""
    down = (-66.0 - points[..., 2]) * LONGER
    radius = 150.0
    turn = down / radius - 0.35
    out = np.empty(points.shape)
    front = (points[..., 1] + 46.0) * DEEPER
    out[..., 0] = TOP[0] + points[..., 0] * WIDER
    out[..., 1] = TOP[1] + (radius + front) * np.cos(turn) - radius * np.cos(0.35)
    out[..., 2] = TOP[2] - (radius + front) * np.sin(turn) - radius * np.sin(0.35)
    return out


def straightened(points: np.ndarray) -> np.ndarray:
    """Inverse of :func:`bent`."""
    radius = 150.0
    y = points[..., 1] - TOP[1] + radius * np.cos(0.35)
    z = -(points[..., 2] - TOP[2] + radius * np.sin(0.35))
    turn = np.arctan2(z, y)
    out = np.empty(points.shape)
    out[..., 0] = (points[..., 0] - TOP[0]) / WIDER
    out[..., 1] = (np.hypot(y, z) - radius) / DEEPER - 46
    out[..., 2] = -66 - (turn + 0.35) * radius / LONGER
    return out


def person(grid: Grid, low_z: float = -190.0) -> tuple[CordSegmentation, Levels]:
    """Cord of the bent template on a grid, down to a height of PAM50, and its discs."""
    parts = np.array([-0.25, 0.25])
    share = np.zeros(grid.shape, dtype=np.float32)
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    for a in parts:
        for b in parts:
            for c in parts:
                there = straightened(grid.to_ras(index + np.array([a, b, c])))
                value = ndimage.map_coordinates(template().cord, np.moveaxis(template().grid.to_voxel(there), -1, 0), order=1)
                share += np.where(there[..., 2] >= low_z, value, 0).astype(np.float32) / 8
    axis, sign = grid.axis_of("S")
    mask = share >= 0.5
    confidence = mask.any(axis=tuple(a for a in range(3) if a != axis)).astype(float)
    held = np.flatnonzero(confidence)[::-sign]
    middles = [np.insert(ndimage.center_of_mass(np.take(mask, k, axis=axis)), axis, k) for k in held]
    line = grid.to_ras(np.array(middles))
    discs = {n: bent(np.array([0, -46.0, p[2]])) for n, p in template().discs.items() if p[2] > low_z + 3}
    return CordSegmentation(mask, share, line, axis, confidence), Levels(discs, dict.fromkeys(discs, 1.0), "given", "")


RAS = np.array([[1.0, 0, 0, -16], [0, 1.0, 0, -22], [0, 0, 1.0, -100], [0, 0, 0, 1]])
GRIDS = {
    "RAS 1 mm": Grid((40, 60, 136), RAS),
    "PIR 1 mm": Grid((60, 136, 40), np.array([[0, 0, 1.0, -16], [-1.0, 0, 0, 37], [0, -1.0, 0, 35], [0, 0, 0, 1]])),
    "EPI": Grid((28, 40, 34), RAS @ np.diag([1.5, 1.5, 4.0, 1])),
}


@lru_cache
def warped(name: str) -> CordWarp:
    cord, levels = person(GRIDS[name])
    return normalise_cord(cord, GRIDS[name], levels, template())


def test_the_bent_template_is_bent_and_back() -> None:
    points = template().grid.to_ras(np.random.default_rng(1).uniform(0, 40, (50, 3)))
    np.testing.assert_allclose(straightened(bent(points)), points, atol=1e-9)


@pytest.mark.parametrize("name", GRIDS)
def test_points_of_the_cord_go_where_they_belong(name: str) -> None:
    warp = warped(name)
    seen = warp.coverage > 0
    assert warp.covered_z_mm[0] == pytest.approx(-190, abs=8 if name == "EPI" else 5)
    assert warp.covered_z_mm[1] == pytest.approx(-66.8, abs=8 if name == "EPI" else 5)
    assert np.nanmedian(warp.dice_z) >= (0.93 if name == "EPI" else 0.96)
    assert np.nanpercentile(warp.dice_z, 5) >= 0.88
    assert np.isnan(warp.dice_z[~seen]).all()
    z = np.arange(*warp.covered_z_mm, 1.0)
    for offset in ([0, 0], [4.0, 0], [0, 2.5], [-3.0, -2.0]):
        points = np.stack([np.full(len(z), offset[0]), np.full(len(z), -46 + offset[1]), z], axis=1)
        miss = warp.forward.map(points) - bent(points)
        assert np.linalg.norm(miss, axis=1).max() < 1.2
        assert np.linalg.norm(miss, axis=1).mean() < 0.4


@pytest.mark.parametrize("name", GRIDS)
def test_there_and_back_and_no_folds(name: str) -> None:
    warp = warped(name)
    assert warp.smallest_jacobian > 0.3
    assert warp.smallest_jacobian == pytest.approx(float(jacobian(warp.forward).min()))
    rng = np.random.default_rng(4)
    box = template().grid
    inside = box.to_ras(np.argwhere((template().cord > 0.5) & (warp.coverage > 0)))
    points = inside[rng.choice(len(inside), 500)] + rng.uniform(-3, 3, (500, 3)) * [1, 1, 0]
    away = np.linalg.norm(warp.inverse.map(warp.forward.map(points)) - points, axis=1)
    assert away.max() <= 0.2
    assert warp.round_trip_mm <= 0.2
    truth = straightened(warp.forward.map(points))
    assert np.linalg.norm(warp.inverse.map(warp.forward.map(points)) - truth, axis=1).mean() < 0.6


def test_storage_does_not_matter() -> None:
    one, other = warped("RAS 1 mm"), warped("PIR 1 mm")
    points = template().centre_line[(template().centre_line[:, 2] < -75) & (template().centre_line[:, 2] > -180)]
    assert np.linalg.norm(one.forward.map(points) - other.forward.map(points), axis=1).max() < 0.05


def test_levels_that_lie_elsewhere_move_the_map_along_the_cord_only() -> None:
    grid = GRIDS["RAS 1 mm"]
    cord, levels = person(grid)
    moved = {n: bent(np.array([0, -46.0, template().discs[n][2] - 5])) for n in levels.discs}
    warp = normalise_cord(cord, grid, replace(levels, discs=moved), template())
    line = np.stack([np.zeros(80), np.full(80, -46.0), np.linspace(-90, -170, 80)], axis=1)
    found = straightened(warp.forward.map(line))
    np.testing.assert_allclose(found[:, 2], line[:, 2] - 5, atol=0.8)
    assert np.abs(found[:, :2] - line[:, :2]).max() < 0.6


def test_slices_without_confidence_are_not_covered() -> None:
    grid = GRIDS["RAS 1 mm"]
    cord, levels = person(grid)
    doubtful = cord.confidence.copy()
    held = np.flatnonzero(doubtful)
    gap = held[len(held) // 2 : len(held) // 2 + 15]
    doubtful[gap] = 0
    share = cord.soft.copy()
    share[:, :, gap] = 0
    warp = normalise_cord(replace(cord, confidence=doubtful, soft=share, mask=share >= 0.5), grid, levels, template())
    z = template().grid.affine[2, 3] + 0.5 * np.arange(template().grid.shape[2])
    middle = straightened(cord.centre_line[[len(held) - 1 - (len(held) // 2 + 7)]])[0, 2]
    assert (warp.coverage[np.abs(z - middle) < 4] == 0).all()
    assert (warp.coverage[(np.abs(z - middle) > 16) & (z < -75) & (z > -180)] > 0.9).all()
    # bridged smoothly all the same
    points = np.stack([np.zeros(20), np.full(20, -46.0), middle + np.linspace(-7, 7, 20)], axis=1)
    assert np.linalg.norm(warp.forward.map(points) - bent(points), axis=1).max() < 1.2


def test_what_cannot_be_done_is_refused() -> None:
    grid = GRIDS["EPI"]
    cord, levels = person(grid)
    nothing = replace(cord, mask=np.zeros(grid.shape, dtype=bool), reason="no neck in the image")
    with pytest.raises(CoSpineError, match="no neck in the image"):
        normalise_cord(nothing, grid, levels, template())
    with pytest.raises(CoSpineError, match="one slice alone"):
        normalise_cord(replace(cord, centre_line=cord.centre_line[:1]), grid, levels, template())
    with pytest.raises(CoSpineError, match="its levels are not known: 1 of the discs"):
        normalise_cord(cord, grid, Levels({3: levels.discs[3]}, {3: 1.0}, "given", ""), template())
    swapped = {**levels.discs, 4: levels.discs[5], 5: levels.discs[4]}
    with pytest.raises(CoSpineError, match=r"discs 3 and 4|discs 4 and 5"):
        normalise_cord(cord, grid, replace(levels, discs=swapped), template())


def test_the_join_takes_brain_above_and_cord_below() -> None:
    warp = warped("RAS 1 mm")
    rest = np.eye(4)
    # a brain's map that agrees with the cord's but for 1.5 mm to the right
    middle = np.array([0.0, -46.0, -66.0])
    step = 0.01
    linear = np.stack([(bent(middle + step * e) - bent(middle - step * e)) / (2 * step) for e in np.eye(3)], axis=1)
    rest[:3, :3] = linear
    rest[:3, 3] = bent(middle) - linear @ middle + [1.5, 0, 0]
    brain = Affine(rest)
    joint = join_pam50_mni(brain, warp, template())
    above = np.array([[0, -40.0, -50], [30.0, 20, 40], [-20, -60, 0]])
    np.testing.assert_allclose(joint.to_image.map(above), brain.map(above), atol=1e-3)
    below = np.array([[0, -46.0, -90], [3, -44, -120], [0, -46, -170]])
    np.testing.assert_allclose(joint.to_image.map(below), warp.forward.map(below), atol=0.1)
    assert joint.z_mm.min() >= -72
    assert joint.z_mm.max() <= -60
    np.testing.assert_allclose(joint.disagreement_mm[np.abs(joint.z_mm + 67) < 2], 1.5, atol=0.5)
    # below the join the two spaces are one; above, PAM50 is found where the disagreement puts it
    np.testing.assert_allclose(joint.to_pam50.map(below), below, atol=1e-6)
    high = np.array([[0.0, -46.0, -60.5]])
    found = joint.to_pam50.map(high) - high
    assert found[0, 0] == pytest.approx(1.5 / WIDER, abs=0.3)
    # the template has no cord there to say where it is front to back
    assert np.abs(found[0, 1:]).max() < 1.5


def test_levels_of_another_part_of_the_spine_are_refused() -> None:
    grid = GRIDS["EPI"]
    cord, levels = person(grid)
    # named as if the cord seen were thoracic: all of it lies below the box
    line = cord.centre_line
    far = {8: line[0] + [0, 0, 40.0], 9: line[0] + [0, 0, 20.0]}
    with pytest.raises(CoSpineError, match="do not meet"):
        normalise_cord(cord, grid, replace(levels, discs=far), template())


def test_a_crop_of_two_levels_is_brought_to_its_place() -> None:
    grid = Grid((40, 60, 40), RAS @ np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 30], [0, 0, 0, 1]]))
    cord, levels = person(grid)
    seen = {n: p for n, p in levels.discs.items() if cord.centre_line[-1, 2] < p[2] < cord.centre_line[0, 2]}
    assert 2 <= len(seen) <= 3
    warp = normalise_cord(cord, grid, replace(levels, discs=seen), template())
    z = np.arange(warp.covered_z_mm[0] + 2, warp.covered_z_mm[1] - 2)
    assert 30 < len(z) < 42
    points = np.stack([np.zeros(len(z)), np.full(len(z), -46.0), z], axis=1)
    assert np.linalg.norm(warp.forward.map(points) - bent(points), axis=1).max() < 1.2
    assert np.nanmedian(warp.dice_z) > 0.95
