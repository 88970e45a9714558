"""The Gauss process between slices: it must follow breathing across an interleaved acquisition and invent nothing."""

import numpy as np
import pytest
from scipy.linalg import solve

from cospine.motion.smoothness import Prior, smooth_shifts

TR_S, VOLUMES, SLICES = 2.68, 60, 24
Z_MM = np.arange(SLICES) * 4.0


def times() -> np.ndarray:
    """Interleaved, as on the scanner: odd slices first, neighbours half a volume apart."""
    order = np.r_[np.arange(1, SLICES, 2), np.arange(0, SLICES, 2)]
    offset = np.empty(SLICES)
    offset[order] = np.arange(SLICES) * TR_S / SLICES
    return np.arange(VOLUMES)[:, None] * TR_S + offset


def breathing(period_s: float = 3.5) -> np.ndarray:
    """Breathing that grows downward, with a wandering rate, mm."""
    t = times()
    phase = 2 * np.pi * t / period_s + 0.8 * np.sin(2 * np.pi * t / 45)
    return 0.35 * np.sin(phase) * (0.3 + Z_MM[::-1] / Z_MM.max())


def swallows() -> np.ndarray:
    t = times()
    return sum(1.3 * np.exp(-0.5 * ((t - at) / 0.5) ** 2 - 0.5 * ((Z_MM - 50) / 16) ** 2) for at in (31.0, 77.7, 120.3))


def centred(shift: np.ndarray) -> np.ndarray:
    return shift - np.median(shift, axis=0)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(11).normal(size=(VOLUMES, SLICES)) * 0.09


def test_breathing_is_followed_in_both_passes(noise: np.ndarray) -> None:
    truth = breathing()
    found, spread, prior = smooth_shifts(truth + noise, np.full(truth.shape, 0.09), times(), Z_MM)
    error = centred(found) - centred(truth)
    for parity in (0, 1):
        part = error[:, parity::2]
        assert np.sqrt((part**2).mean()) < 0.2 * truth.std()
        assert np.median(np.abs(part)) < 0.04
    assert prior.breath_hz == pytest.approx(1 / 3.5, abs=0.03)
    assert 0.3 < error.std() / spread.mean() < 3  # it knows how well it knows


def test_swallows_are_not_smoothed_away(noise: np.ndarray) -> None:
    truth = breathing() + swallows()
    found, _, _ = smooth_shifts(truth + noise, np.full(truth.shape, 0.09), times(), Z_MM)
    error = centred(found) - centred(truth)
    during = np.abs(swallows()) > 0.3
    assert np.sqrt((error[during] ** 2).mean()) < 0.2
    assert np.sqrt((truth[during] ** 2).mean()) > 0.6


def test_nothing_is_made_of_nothing(noise: np.ndarray) -> None:
    found, _, _ = smooth_shifts(noise, np.full(noise.shape, 0.09), times(), Z_MM)
    assert np.sqrt((centred(found) ** 2).mean()) < 0.03


def test_a_slice_without_signal_follows_its_neighbours(noise: np.ndarray) -> None:
    truth = breathing()
    measured, sd = truth + noise, np.full(truth.shape, 0.09)
    rng = np.random.default_rng(2)
    measured[:, 10] = rng.normal(size=VOLUMES) * 2
    sd[:, 10] = 5.0
    found, _, _ = smooth_shifts(measured, sd, times(), Z_MM)
    assert np.corrcoef(found[:, 10], truth[:, 10])[0, 1] > 0.9


def test_posterior_mean_is_the_textbook_formula() -> None:
    """Rasmussen & Williams eq. 2.25 on a series short enough for one window; amplitude and level undone by hand."""
    rng = np.random.default_rng(1)
    t, z = times()[:6, :8], Z_MM[:8]
    dt, dz = np.subtract.outer(t.ravel(), t.ravel()), np.subtract.outer(np.tile(z, 6), np.tile(z, 6))
    slow = 0.8**2 * np.exp(-0.5 * (dt / 20) ** 2)
    breath = 0.6**2 * np.exp(-0.5 * (dt / 8) ** 2) * np.cos(2 * np.pi * 0.25 * dt)
    fast = 0.4**2 * np.exp(-0.5 * (dt / 0.7) ** 2 - 0.5 * (dz / 30) ** 2)
    covariance = (slow + breath) * np.exp(-0.5 * (dz / 60) ** 2) + fast
    truth = (np.linalg.cholesky(covariance + 1e-9 * np.eye(48)) @ rng.normal(size=48)).reshape(t.shape)
    measured = truth + rng.normal(size=t.shape) * 0.2
    found, _, _ = smooth_shifts(measured, np.full(t.shape, 0.2), t, z, Prior())
    level = np.median(measured, axis=0)
    scatter = 1.4826 * np.median(np.abs(measured - level), axis=0)
    square = np.maximum(scatter**2 - 0.2**2, 1e-4)
    near = np.exp(-0.5 * ((z[:, None] - z) / 20) ** 2)
    amplitude = np.sqrt((near * square).sum(axis=1) / near.sum(axis=1))
    unit = ((measured - level) / amplitude).ravel()
    variance = np.tile((0.2 / amplitude) ** 2, 6) + 1e-6
    expected = covariance @ solve(covariance + np.diag(variance), unit)
    np.testing.assert_allclose(found, expected.reshape(t.shape) * amplitude + level, atol=1e-6)
