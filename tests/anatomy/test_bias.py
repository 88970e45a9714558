"""N4 against a bias that is known, and against antspyx's."""

import ants
import numpy as np
import pytest
from ants_images import to_ants
from scipy import ndimage

from cospine.anatomy.bias import log_bias, sharpened
from cospine.space.grid import Grid

SHAPE, VOXEL = (20, 24, 18), np.array([8.0, 7.0, 9.0])


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of three tissues in a ball, its mask, and the logarithm of the bias on it."""
    rng = np.random.default_rng(4)
    place = np.moveaxis(np.indices(SHAPE), 0, -1) / np.array(SHAPE) * 2 - 1
    mask = (place**2).sum(axis=-1) < 0.85
    blobs = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.2)
    tissue = np.where(blobs > 0.4 * blobs.std(), 100.0, np.where(blobs > -0.8 * blobs.std(), 70.0, 30.0))
    truth = 0.3 * place[..., 0] - 0.25 * place[..., 1] ** 2 + 0.2 * np.sin(2 * place[..., 2])
    noise = 1 + 0.02 * rng.normal(size=SHAPE)
    return (tissue * np.exp(truth) * noise * mask).astype(np.float32), mask, truth


def test_a_known_bias_is_found(made: tuple[np.ndarray, ...]) -> None:
    image, mask, truth = made
    found = log_bias(image, VOXEL, mask)
    left = (found - truth)[mask].std()
    assert truth[mask].std() > 0.15
    assert left < 0.02
    grid = Grid(SHAPE, np.diag([*VOXEL, 1.0]))
    theirs = ants.n4_bias_field_correction(
        to_ants(image, grid),
        mask=to_ants(mask, grid),
        shrink_factor=1,
        convergence={"iters": [50, 50, 50], "tol": 1e-7},
        spline_param=200,
        return_bias_field=True,
    )
    # as good as ITK's own, which is not the same twice: its threads add up in the order in which they end
    assert left < 1.1 * (np.log(theirs.numpy()) - truth)[mask].std()


def test_no_bias_stays_none_and_brightness_does_not_matter(made: tuple[np.ndarray, ...]) -> None:
    image, mask, truth = made
    even = image / np.exp(truth)
    assert log_bias(even, VOXEL, mask)[mask].std() < 0.01
    np.testing.assert_allclose(log_bias(7 * image, VOXEL, mask), log_bias(image, VOXEL, mask), atol=1e-4)


def test_same_input_same_bytes(made: tuple[np.ndarray, ...]) -> None:
    image, mask, _ = made
    assert log_bias(image, VOXEL, mask).tobytes() == log_bias(image, VOXEL, mask).tobytes()


def test_sharpening_draws_a_blurred_peak_together_and_leaves_its_mean() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 0.07, 20000), rng.normal(1, 0.07, 20000)])
    sharp = sharpened(values)
    assert sharp[:20000].std() < 0.6 * values[:20000].std()
    assert abs(sharp[:20000].mean()) < 0.01
    np.testing.assert_array_equal(sharpened(np.full(9, 3.0)), np.full(9, 3.0))


def test_nothing_to_go_by_is_refused() -> None:
    with pytest.raises(ValueError, match="no voxel"):
        log_bias(np.zeros(SHAPE), VOXEL, np.ones(SHAPE, dtype=bool))
