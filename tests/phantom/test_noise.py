"""The receive chain: Rician statistics, correlation, ghost and leakage where they belong."""

import numpy as np
import pytest

from cospine.phantom.noise import CAIPI_SHIFT, NEIGHBOUR_WEIGHT, Receiver, bias_map, noise_map, receive, white

SHAPE = (4, 48, 40)


def receiver(**changes) -> Receiver:
    parts = {
        "bias": np.ones(SHAPE, np.float32),
        "sigma": np.full(SHAPE, 2.0, np.float32),
        "partner": np.full(SHAPE[0], -1),
        "leakage": np.zeros(SHAPE[0], np.float32),
        "ghost": 0.0,
    }
    return Receiver(**(parts | changes))


def noise(seed: int) -> np.ndarray:
    return white(np.random.default_rng(seed), SHAPE)


def test_without_noise_bias_ghost_and_leakage_the_image_passes_unchanged():
    ideal = np.random.default_rng(0).uniform(0, 1000, SHAPE).astype(np.float32)
    np.testing.assert_array_equal(receive(ideal, receiver(), None), ideal)


def test_background_is_rayleigh_and_signal_is_gaussian_with_the_given_sigma():
    """Rayleigh: mean = sigma sqrt(pi/2), SD = sigma sqrt(2 - pi/2); far above the noise: SD = sigma."""
    dark = np.stack([receive(np.zeros(SHAPE, np.float32), receiver(), noise(s)) for s in range(8)])
    assert dark.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.01)
    assert dark.std() == pytest.approx(2 * np.sqrt(2 - np.pi / 2), rel=0.015)
    bright = np.stack([receive(np.full(SHAPE, 500, np.float32), receiver(), noise(s)) for s in range(8)])
    assert (bright - 500).std() == pytest.approx(2, rel=0.015)
    assert bright.mean() == pytest.approx(np.sqrt(500**2 + 2**2), rel=1e-4)


def test_noise_is_correlated_between_neighbours_in_plane_only():
    """A three-tap kernel (w, 1, w) has autocorrelation 2w/(1 + 2w^2) at one voxel and w^2/(1 + 2w^2) at two."""
    fields = np.concatenate([receive(np.full(SHAPE, 500, np.float32), receiver(), noise(s)) for s in range(16)]) - 500
    w = NEIGHBOUR_WEIGHT
    variance = fields.var()
    for axis in (1, 2):
        lag = [np.take(fields, range(30), axis), np.take(fields, range(1, 31), axis), np.take(fields, range(2, 32), axis)]
        assert (lag[0] * lag[1]).mean() / variance == pytest.approx(2 * w / (1 + 2 * w * w), abs=0.02)
        assert (lag[0] * lag[2]).mean() / variance == pytest.approx(w * w / (1 + 2 * w * w), abs=0.02)
    assert abs((fields[:-1] * fields[1:]).mean() / variance) < 0.02


def test_ghost_lies_half_the_field_of_view_away():
    ideal = np.zeros(SHAPE, np.float32)
    ideal[2, 10, 7] = 1000
    seen = receive(ideal, receiver(ghost=0.03), None)
    assert seen[2, 10 + SHAPE[1] // 2, 7] == pytest.approx(30)
    assert np.count_nonzero(seen) == 2


def test_a_slice_leaks_into_its_partner_shifted_by_the_caipi_pattern():
    ideal = np.zeros(SHAPE, np.float32)
    ideal[0, 20, 7] = 1000
    leak = receiver(partner=np.array([2, 3, 0, 1]), leakage=np.full(SHAPE[0], 0.02, np.float32))
    seen = receive(ideal, leak, None)
    assert seen[2, (20 - int(SHAPE[1] * CAIPI_SHIFT)) % SHAPE[1], 7] == pytest.approx(20)
    assert np.count_nonzero(seen) == 2


def test_g_factor_and_bias_stay_in_their_ranges():
    points = np.stack(np.meshgrid(*(np.linspace(-90, 90, 7),) * 2, np.linspace(-130, 130, 9), indexing="ij"), -1)
    for seed in range(10):
        bias = bias_map(points, np.random.default_rng(seed))
        assert bias.min() >= 0.6
        assert bias.max() <= 1.7
        head = noise_map(points[points[..., 2] > 40], -10.0, np.random.default_rng(seed))
        assert head.min() >= 1.0
        assert head.max() < 2.2
        assert noise_map(np.array([[0.0, -20, -70]]), -10.0, np.random.default_rng(seed)) > head.mean()
