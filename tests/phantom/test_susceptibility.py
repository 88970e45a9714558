"""The static field: dipole physics against closed forms, the shim, and the figures of the project's facts."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cospine.phantom.anatomy import Anatomy, build_anatomy
from cospine.phantom.susceptibility import (
    HZ_PER_PPM,
    StaticField,
    alternative_shim,
    dipole_field,
    field_figures,
    grid_points,
    harmonics,
    shim_field,
    static_field,
    total_field,
)

RADIUS, STEP = 14.0, 2.0


@pytest.fixture(scope="module")
def sphere() -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Voxel centres (z, y, x, 3) and field with derivatives of a sphere 1 ppm above its surroundings."""
    axis = (np.arange(64) - 31.5) * STEP
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    offsets = (np.arange(4) - 1.5) / 4 * STEP
    chi = np.zeros(x.shape, np.float32)
    for dz in offsets:
        for dy in offsets:
            for dx in offsets:
                chi += (x + dx) ** 2 + (y + dy) ** 2 + (z + dz) ** 2 < RADIUS**2
    return np.stack([x, y, z], -1), dipole_field((chi / 64).astype(np.float32), STEP)


def test_field_of_a_sphere(sphere: tuple[np.ndarray, tuple[np.ndarray, ...]]) -> None:
    """Nothing inside, a dipole outside: chi / 3 (R / r)^3 (3 cos^2 - 1)."""
    points, (field, _, _) = sphere
    r = np.linalg.norm(points, axis=-1)
    outside = (r > RADIUS + 4) & (r < 45)
    cosine = points[..., 2] / np.maximum(r, 1e-9)
    expected = HZ_PER_PPM / 3 * (RADIUS / np.maximum(r, 1)) ** 3 * (3 * cosine**2 - 1)
    assert np.abs(field - expected)[outside].max() < 1.2  # of 82 Hz at the pole
    assert np.abs(field[r < RADIUS - 4]).max() < 1.5
    # above air in tissue (less negative) the field is higher: the sign that the frontal lobes have
    assert field[31 + 12, 31, 31] > 15


def test_derivatives_by_rotation_of_a_sphere(sphere: tuple[np.ndarray, tuple[np.ndarray, ...]]) -> None:
    """A body turned by +a about x sees B0 at (0, a, 1); the dipole's (r . b)^2 then changes by 2 y z a."""
    points, (_, fx, fy) = sphere
    r = np.linalg.norm(points, axis=-1)
    outside = (r > RADIUS + 4) & (r < 45)
    x, y, z = np.moveaxis(points, -1, 0)
    common = HZ_PER_PPM * (RADIUS / np.maximum(r, 1)) ** 3 * 2 / np.maximum(r, 1) ** 2
    assert np.abs(fx - common * y * z)[outside].max() < 1.5
    assert np.abs(fy + common * x * z)[outside].max() < 1.5


def test_derivatives_by_rotating_the_map() -> None:
    """A dumbbell turned by 3 degrees: its field, brought back to the body's frame, changes as the derivatives say."""
    angle, axis = np.deg2rad(3.0), (np.arange(48) - 23.5) * STEP
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    points = np.stack([x, y, z], -1)

    def blobs(at: np.ndarray) -> np.ndarray:
        centres = np.array([[0, 0, 0], [0, 14.0, 8.0], [-9.0, 3.0, -12.0]])
        parts = [np.exp(-np.sum((at - c) ** 2, -1) / (2 * 5.0**2)) for c in centres]
        return np.sum(parts, 0).astype(np.float32)

    still, fx, fy = dipole_field(blobs(points), STEP)
    c, s = np.cos(angle), np.sin(angle)
    for rotation, slope in (
        (np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), fx),
        (np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), fy),
    ):
        turned = dipole_field(blobs(points @ rotation), STEP)[0]  # chi(R^T p)
        there = (points @ rotation.T - axis[0]) / STEP
        back = map_coordinates(turned, np.moveaxis(there, -1, 0)[::-1], order=3)
        core = np.sum(points**2, -1) < 30**2
        change = (back - still)[core]
        assert np.corrcoef(change, slope[core])[0, 1] > 0.99
        assert np.polyfit(slope[core], change, 1)[0] == pytest.approx(angle, rel=0.05)


def test_shim_terms_are_harmonic() -> None:
    """No field without sources: the Laplacian of every term is zero."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-80, 80, (20, 3))
    step = 1.0
    laplacian = sum(harmonics(points + step * e) + harmonics(points - step * e) - 2 * harmonics(points) for e in np.eye(3))
    assert np.abs(laplacian).max() < 1e-12
    assert shim_field(np.eye(9)[3], [[0, 0, 50.0]]) == pytest.approx([0.5])


@pytest.fixture(scope="module")
def individual() -> tuple[Anatomy, StaticField]:
    anatomy = build_anatomy(1, (1.25, 1.25, 2.5))
    return anatomy, static_field(anatomy, 1)


def test_figures_of_the_facts(individual: tuple[Anatomy, StaticField]) -> None:
    found = field_figures(*individual)
    ranges = {
        "cord_mm": (1.5, 4.0), "disc_hz": (5.0, 15.0), "t2_mm": (10.0, 17.0), "frontal_hz": (80.0, 150.0),
        "ear_right_hz": (-100.0, -50.0), "ear_left_hz": (-100.0, -50.0), "brain_p95_hz": (60.0, 150.0),
    }  # fmt: skip
    assert set(found) == set(ranges)
    for name, (low, high) in ranges.items():
        assert low <= found[name] <= high, f"{name} {found[name]:.1f}"


def test_cord_displacement_by_hand(individual: tuple[Anatomy, StaticField]) -> None:
    """The same figure from the cord mask's own voxels: 0.0406401 s times 1.5 mm for each Hz."""
    anatomy, static = individual
    k, j, i = np.nonzero((anatomy.vertebral_level >= 1) & (anatomy.vertebral_level <= 7))
    points = np.stack([i, j, k], 1) @ anatomy.affine[:3, :3].T + anatomy.affine[:3, 3]
    displacement = np.abs(total_field(static, points)).mean() * 0.0406401 * 1.5
    assert displacement == pytest.approx(field_figures(anatomy, static)["cord_mm"], abs=0.35)


def test_field_is_smooth_along_the_cord(individual: tuple[Anatomy, StaticField]) -> None:
    anatomy, static = individual
    field = total_field(static, anatomy.centreline)
    assert np.abs(np.diff(field)).max() < 12  # Hz in a millimetre


def test_shim_of_another_sequence(individual: tuple[Anatomy, StaticField]) -> None:
    anatomy, static = individual
    other = alternative_shim(static, 3)
    points = grid_points(anatomy.brain_mask.shape, anatomy.affine)[anatomy.brain_mask.ravel()]
    difference = shim_field(other - static.shim, points)
    assert 8 < difference.std() < 60
    assert np.array_equal(other, alternative_shim(static, 3))
    assert not np.array_equal(other, alternative_shim(static, 4))


def test_same_seed_same_field(individual: tuple[Anatomy, StaticField]) -> None:
    anatomy, static = individual
    again = static_field(anatomy, 1)
    assert again.f0.tobytes() == static.f0.tobytes()
    assert again.fx.tobytes() == static.fx.tobytes()
    assert np.array_equal(again.shim, static.shim)
