"""A field brought to an EPI that lies elsewhere: head by a rigid pose, neck slice by slice."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.field.alignment import align_field, distortion
from cospine.field.encoding import Encoding
from cospine.space.grid import Grid
from cospine.space.transform import rigid_matrix

AFFINE = np.diag([-2.5, 2.5, 5.0, 1.0])
AFFINE[:3, 3] = 75, -80, -150
GRID = Grid((60, 64, 48), AFFINE)
ENCODING = Encoding(1, 1, 0.04)
PIVOT = np.array([0.0, -20.0, -30.0])


def follows(z: np.ndarray) -> np.ndarray:
    """Share of the head's pose at a height: whole above -30 mm, none below -140."""
    part = np.clip((z + 140) / 110, 0, 1)
    return part * part * (3 - 2 * part)


def tissue(points: np.ndarray) -> np.ndarray:
    """Signal (n,) at RAS mm: a head with folds, a neck with canal and cord."""
    x, y, z = points.T
    radius = np.sqrt((x / 60) ** 2 + (y / 70) ** 2 + ((z - 30) / 55) ** 2)
    head = np.where(radius < 1, 500 + 120 * (np.sin(x / 6) + np.cos(y / 7) + np.sin(z / 8)), 0)
    off = np.hypot(x / 45, (y + 20) / 50)
    canal, cord = np.hypot(x, y + 20) < 11, np.hypot(x / 6, (y + 20) / 4.5) < 1
    neck = np.where(cord, 550, np.where(canal, 1000, np.where(off < 1, 250, 0)))
    return np.where(radius < 1, head, np.where(z < -15, neck, 0.0))


def field_hz(points: np.ndarray) -> np.ndarray:
    """Field (n,) in Hz that goes with the tissue."""
    x, y, z = points.T
    front = 70 * np.exp(-(x**2 + (y - 45) ** 2 + (z - 5) ** 2) / 25**2)
    return front + 30 * np.sin((z + 60) / 14) * np.exp(-(x**2 + (y + 20) ** 2) / 50**2)


def scene(parameters: np.ndarray, of, grid: Grid) -> np.ndarray:
    """A function of tissue seen on a grid when the head has moved by `parameters` and the trunk has not."""
    points = grid.to_ras(np.indices(grid.shape).reshape(3, -1).T)
    back = np.linalg.inv(rigid_matrix(parameters, PIVOT))
    rigid = points @ back[:3, :3].T + back[:3, 3]
    return of(points + follows(points[:, 2])[:, None] * (rigid - points)).reshape(grid.shape)


def distorted(image: np.ndarray, field: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Signal deposited where the field puts it, in a tenth of a voxel."""
    fine, out = 10, np.zeros(image.shape)
    rows = (np.arange(image.shape[1] * fine) + 0.5) / fine - 0.5
    for i in range(image.shape[0]):
        for k in range(image.shape[2]):
            signal = np.interp(rows, np.arange(image.shape[1]), image[i, :, k]) / fine
            where = rows + encoding.sign * encoding.readout_s * np.interp(rows, np.arange(image.shape[1]), field[i, :, k])
            below = np.floor(where).astype(int)
            for row, share in ((below, 1 - (where - below)), (below + 1, where - below)):
                inside = (row >= 0) & (row < image.shape[1])
                np.add.at(out[i, :, k], row[inside], (signal * share)[inside])
    return out


@pytest.mark.parametrize("moved", [(0.0, 0, 0, 0, 0, 0), (0.5, 1.0, -0.8, -0.035, 0.01, 0.015)])
def test_field_follows_head_and_neck(moved: tuple[float, ...]) -> None:
    parameters = np.array(moved)
    magnitude = scene(np.zeros(6), lambda p: 0.8 * tissue(p) + 40, GRID).astype(np.float32)
    field = scene(np.zeros(6), field_hz, GRID).astype(np.float32)
    still, truth = scene(parameters, tissue, GRID), scene(parameters, field_hz, GRID)
    rng = np.random.default_rng(5)
    epi = ndimage.gaussian_filter(distorted(still, truth, ENCODING), 0.4) + rng.normal(0, 6, GRID.shape)
    z = GRID.to_ras(np.c_[np.zeros((48, 2)), np.arange(48)])[:, 2]
    points = GRID.to_ras(np.indices(GRID.shape).reshape(3, -1).T)
    brain = (np.sqrt((points[:, 0] / 58) ** 2 + (points[:, 1] / 68) ** 2 + ((points[:, 2] - 30) / 53) ** 2) < 1).reshape(
        GRID.shape
    )
    middle = np.exp(-(np.hypot(points[:, 0], points[:, 1] + 20).reshape(GRID.shape) ** 2) / 10**2)
    weight = np.where((points[:, 2] < -30).reshape(GRID.shape), middle, 0).astype(np.float32)
    found = align_field(field, magnitude, GRID, epi.astype(np.float32), GRID, ENCODING, brain, weight, follows(z))
    error = found.field_hz - truth
    assert np.sqrt((error[brain] ** 2).mean()) < 2.5
    cord = (weight > 0.7) & (z > -135)
    before = scene(np.zeros(6), field_hz, GRID) - truth
    assert np.abs(error[cord]).mean() * 0.04 * 2.5 < 0.2  # mm
    if any(moved):
        assert np.sqrt((error[brain] ** 2).mean()) < 0.6 * np.sqrt((before[brain] ** 2).mean())


def test_without_brain_or_cord_the_field_lies_where_the_scanner_put_it() -> None:
    field = scene(np.zeros(6), field_hz, GRID).astype(np.float32)
    none = np.zeros(GRID.shape, dtype=bool)
    found = align_field(field, np.abs(field), GRID, np.abs(field), GRID, ENCODING, none)
    np.testing.assert_allclose(found.field_hz, field, atol=1e-3)
    assert found.neck_slices.size == 0


@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-", "k", "k-"])
def test_distortion_samples_where_the_signal_went(direction: str) -> None:
    encoding = Encoding.parse(direction, 0.05)
    field = np.random.default_rng(0).normal(0, 20, (6, 7, 8)).astype(np.float32)
    shift = distortion(field, encoding)
    assert shift.axis == "ijk".index(direction[0])
    np.testing.assert_allclose(shift.voxels, field * (-0.05 if direction.endswith("-") else 0.05), rtol=1e-6)
    assert shift.factor is not None
    expected = np.maximum(1 + np.gradient(shift.voxels, axis=shift.axis), 0)
    np.testing.assert_allclose(shift.factor, expected, rtol=1e-5)
    assert distortion(field, encoding, jacobian=False).factor is None
