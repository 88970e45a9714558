"""Bends between images: known ones are found, can be undone, and do not depend on threads."""

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads
from scipy import ndimage
from scipy.stats import entropy

from cospine.register import diffeomorphic
from cospine.register.diffeomorphic import Elasticity, Level, bend

SHAPE = (44, 48, 40)
LEVELS = [Level(4, 30), Level(2, 30), Level(1, 20)]
SOFT = Elasticity(step=0.2, update_variance=4.0, total_variance=1.0)


def index() -> np.ndarray:
    return np.indices(SHAPE).astype(np.float64)


def texture(seed: int = 0) -> np.ndarray:
    """Blobs of three sizes in a ball, dark about it."""
    rng = np.random.default_rng(seed)
    blobs = sum(s**1.5 * ndimage.gaussian_filter(rng.normal(size=SHAPE), s) for s in (1.2, 2.5, 4.0))
    radius = sum(((index()[a] - (SHAPE[a] - 1) / 2) / (0.42 * SHAPE[a])) ** 2 for a in range(3))
    return np.clip(1 + 0.35 * blobs / blobs.std(), 0, None) / (1 + np.exp((radius - 1) * 15))


def waves() -> np.ndarray:
    """Displacement (3, x, y, z), voxels, up to 2.6 and dying out toward the border."""
    at = index()
    fade = np.prod([np.sin(np.pi * (at[a] + 0.5) / SHAPE[a]) for a in range(3)], axis=0)
    return np.stack([2.6 * np.sin(np.roll(at, 1, axis=0)[a] / 9 + a) * fade for a in range(3)])


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fixed, moving, what counts, and true displacements: fixed(p) = moving(p + u(p))."""
    moving = texture()
    fixed = ndimage.map_coordinates(moving, index() + waves(), order=3, mode="nearest")
    return fixed, moving, ndimage.binary_dilation(fixed > 0.3, iterations=2), waves()


def test_a_known_bend_is_found_and_undone(pair: tuple[np.ndarray, ...]) -> None:
    fixed, moving, counts, truth = pair
    there, back = bend(fixed, moving, counts, LEVELS, SOFT, radius=2)
    core = ndimage.binary_erosion(fixed > 0.3, iterations=2)
    error = np.linalg.norm(np.moveaxis(there, -1, 0) - truth, axis=0)[core]
    before = np.linalg.norm(truth, axis=0)[core]
    assert before.mean() > 0.9
    assert error.mean() < 0.3 * before.mean()
    # there and back
    landed = index() + np.moveaxis(there, -1, 0)
    returned = [ndimage.map_coordinates(back[..., a], landed, order=1, mode="nearest") for a in range(3)]
    assert np.abs(np.moveaxis(there, -1, 0) + returned).max() < 0.1
    slope = np.stack(np.gradient(there, axis=(0, 1, 2)), axis=-1)
    assert np.linalg.det(np.eye(3) + slope).min() > 0.3


def test_mutual_information_bends_what_has_another_contrast(pair: tuple[np.ndarray, ...]) -> None:
    fixed, moving, counts, truth = pair
    other = 1.2 * moving * np.exp(-moving)  # neither rising nor falling
    there, _ = bend(fixed, other, counts, LEVELS, SOFT, radius=2)
    core = ndimage.binary_erosion(fixed > 0.3, iterations=2)
    error = np.linalg.norm(np.moveaxis(there, -1, 0) - truth, axis=0)[core]
    assert error.mean() < 0.8 * np.linalg.norm(truth, axis=0)[core].mean()


def test_alike_images_stay_where_they_are(pair: tuple[np.ndarray, ...]) -> None:
    fixed, _, counts, _ = pair
    there, back = bend(fixed, fixed, counts, [Level(2, 10)], SOFT)
    assert max(np.abs(there).max(), np.abs(back).max()) < 0.1
    flat, _ = bend(np.ones(SHAPE), np.ones(SHAPE), counts, [Level(2, 3)], SOFT)
    assert not flat.any()
    none, _ = bend(fixed, np.roll(fixed, 2, axis=0), np.zeros(SHAPE, bool), [Level(2, 3)], SOFT)
    assert not none.any()


def test_images_on_two_lattices_are_refused(pair: tuple[np.ndarray, ...]) -> None:
    fixed, moving, counts, _ = pair
    with pytest.raises(ValueError, match="not on one lattice"):
        bend(fixed, moving[:-1], counts, LEVELS, SOFT)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(pair: tuple[np.ndarray, ...], value: float) -> None:
    fixed, moving, counts, _ = pair
    broken = moving.copy()
    broken[20, 20, 20] = value
    with pytest.raises(ValueError, match="not finite"):
        bend(fixed, broken, counts, LEVELS, SOFT)
    with pytest.raises(ValueError, match="bins"):
        bend(fixed, moving, counts, LEVELS, SOFT, bins=4)
    with pytest.raises(ValueError, match="step"):
        Elasticity(step=value)


def test_units_and_offsets_do_not_matter(pair: tuple[np.ndarray, ...]) -> None:
    fixed, moving, counts, _ = pair
    levels = [Level(4, 20), Level(2, 20)]
    plain, _ = bend(fixed, moving, counts, levels, SOFT)
    other, _ = bend(0.002 * fixed - 5, 3000 * moving + 70, counts, levels, SOFT)
    np.testing.assert_allclose(other, plain, atol=0.15)


@pytest.mark.parametrize("first", [(30, 30, 30), (21, 40, 25)])
def test_images_that_are_not_alike_do_not_fold_and_the_faces_hold_still(first: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    one, two = (ndimage.gaussian_filter(rng.random(first), 2) for _ in range(2))
    there, back = bend(one, two, np.ones(first, bool), LEVELS, Elasticity())
    slope = np.stack(np.gradient(there, axis=(0, 1, 2)), axis=-1)
    assert np.linalg.det(np.eye(3) + slope).min() > 0
    assert np.abs(there).max() > 0.5
    for field in (there, back):
        for axis in range(3):
            assert not np.moveaxis(field, axis, 0)[[0, -1]].any()


@pytest.mark.parametrize("shape", [(1, 12, 12), (2, 12, 12), (12, 1, 1)])
def test_thin_lattices(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    there, _ = bend(rng.random(shape), rng.random(shape), np.ones(shape, bool), [Level(2, 2), Level(1, 2)], SOFT)
    assert there.shape == (*shape, 3)
    assert np.isfinite(there).all()


def test_bytes_do_not_depend_on_threads(pair: tuple[np.ndarray, ...]) -> None:
    fixed, moving, counts, _ = pair
    held, found = get_num_threads(), []
    if held == 1:
        pytest.skip("there is one processor only")
    try:
        for n in (1, held):
            set_num_threads(n)
            found.append([one.tobytes() for one in bend(fixed, moving, counts, [Level(2, 4), Level(1, 2)], SOFT)])
    finally:
        set_num_threads(held)
    assert found[0] == found[1]


def test_filters_are_scipys() -> None:
    volumes = np.random.default_rng(2).normal(size=(2, 9, 12, 7)).astype(np.float32)
    taps = diffeomorphic._gaussian(1.7)
    expected = volumes.astype(np.float64)
    for axis in (1, 2, 3):
        expected = ndimage.correlate1d(expected, taps.astype(np.float64), axis=axis, mode="constant")
    np.testing.assert_allclose(diffeomorphic._filtered(volumes, taps), expected, atol=1e-5)


def test_forces_are_derivatives() -> None:
    """By differences: the squared local correlation about a voxel, and the information of the joint histogram."""
    rng = np.random.default_rng(3)
    seen = (0.8 + 0.3 * rng.normal(size=(2, 7, 7, 7))).clip(0.05, 1.9).astype(np.float32)
    seen[1] = 0.6 * seen[0] + 0.4 * seen[1]
    within = np.ones(seen.shape[1:], np.float32)
    box, place, step = np.ones(5, np.float32), (3, 3, 3), 1e-2
    inside = diffeomorphic._filtered(within[None], box)[0]
    sums = np.empty((5, *within.shape), np.float32)
    diffeomorphic._products(seen, sums)
    push, pull = np.empty_like(seen), np.empty_like(seen)
    diffeomorphic._correlation_force(seen, within, diffeomorphic._filtered(sums, box), inside, push)

    bins = 20
    scale = (bins - 1 - 2 * diffeomorphic._MARGIN) / 2.0

    def histogram(images: np.ndarray) -> np.ndarray:
        parts = np.zeros((diffeomorphic._PARTS, bins, bins))
        diffeomorphic._histogram(images, within, scale, scale, parts)
        return parts.sum(axis=0)

    def information(images: np.ndarray) -> float:
        joint = histogram(images)
        joint /= joint.sum()
        return entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - entropy(joint.ravel())

    def correlation(images: np.ndarray) -> float:
        patch = images[:, 1:6, 1:6, 1:6].reshape(2, -1).astype(np.float64)
        return float(np.corrcoef(patch)[0, 1] ** 2)

    diffeomorphic._information_force(seen, within, scale, scale, *diffeomorphic._logs(histogram(seen)), pull)
    for k in range(2):
        up, down = seen.copy(), seen.copy()
        up[(k, *place)] += step
        down[(k, *place)] -= step
        # a patch has 125 voxels, the histogram 343
        slope = (correlation(up) - correlation(down)) / (2 * step) * 125
        assert push[(k, *place)] == pytest.approx(slope, rel=0.05, abs=0.02)
        slope = (information(up) - information(down)) / (2 * step) * within.size
        assert pull[(k, *place)] == pytest.approx(slope, rel=0.05, abs=0.02)
