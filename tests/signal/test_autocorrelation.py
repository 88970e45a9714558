"""AR(1) of the noise is found without bias, and partial F tests that know of it keep their rate."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.signal.autocorrelation import autocorrelation
from cospine.signal.partial import partial_tests

SHAPE, VOLUMES = (24, 24, 12), 110


def ar1(rng: np.random.Generator, rho: np.ndarray | float) -> np.ndarray:
    """Stationary AR(1) series (x, y, z, t) of unit variance; rho (x, y, z) or one for all."""
    noise = rng.standard_normal((*SHAPE, VOLUMES))
    for t in range(1, VOLUMES):
        noise[..., t] = rho * noise[..., t - 1] + np.sqrt(1 - np.square(rho)) * noise[..., t]
    return np.asfortranarray(500 + 10 * noise, dtype=np.float32)


def slow_columns(rng: np.random.Generator) -> np.ndarray:
    """Cosines slower than 128 s, a heartbeat that appears at 0.02-0.03 Hz with harmonics, and random columns."""
    t = np.arange(VOLUMES)
    drift = np.cos(np.pi * np.outer(t + 0.5, np.arange(1, 5)) / VOLUMES)
    phase = 2 * np.pi * (0.06 * t[:, None] + np.cumsum(rng.normal(0, 0.03, (VOLUMES, SHAPE[2])), axis=0))
    heart = [f(m * phase) for m in (1, 2, 3) for f in (np.cos, np.sin)]
    other = rng.standard_normal((SHAPE[2], VOLUMES, 14))
    return np.concatenate([np.broadcast_to(drift, (SHAPE[2], VOLUMES, 4)), np.stack(heart, -1).transpose(1, 0, 2), other], axis=2)


@pytest.mark.parametrize("rho", [-0.2, 0.0, 0.3, 0.5])
def test_bias_of_the_columns_is_undone(rho: float) -> None:
    rng = np.random.default_rng(1)
    rows = np.ones(VOLUMES, bool)
    rows[[0, 1, 50]] = False
    series = ar1(rng, rho)
    series[..., ~rows] += 300
    regions = np.ones(SHAPE, int)
    found = autocorrelation(series, slow_columns(rng), regions, (1.5, 1.5, 4.0), rows=rows)
    assert found.mean() == pytest.approx(rho, abs=0.025)
    assert found.std() < 0.03


def test_regions_are_smoothed_apart() -> None:
    rng = np.random.default_rng(2)
    regions = np.zeros(SHAPE, int)
    regions[4:20, 4:12] = 1
    regions[4:20, 12:20] = 2
    found = autocorrelation(ar1(rng, np.where(regions == 1, 0.5, 0.0)), slow_columns(rng), regions, (1.5, 1.5, 4.0))
    assert found[regions == 1].min() > 0.35
    assert found[regions == 2].max() < 0.15
    assert not found[regions == 0].any()


def test_partial_tests_keep_their_rate_on_ar1_noise() -> None:
    rng = np.random.default_rng(3)
    designs, sets = slow_columns(rng), {"cardiac": np.arange(4, 10), "other": np.arange(10, 18)}
    x = np.broadcast_to(np.linspace(0.1, 0.5, SHAPE[0])[:, None, None], SHAPE)
    series, mask = ar1(rng, x), np.ones(SHAPE, bool)
    rho = autocorrelation(series, designs, mask, (1.5, 1.5, 4.0))
    naive = partial_tests(series, designs, sets, mask=mask)
    aware = partial_tests(series, designs, sets, mask=mask, autocorrelation=rho)
    assert np.mean(naive.sets["cardiac"].p < 0.05) > 0.10
    for test in aware.sets.values():
        assert np.mean(test.p < 0.05) == pytest.approx(0.05, abs=0.012)
        assert np.mean(test.p < 0.001) < 0.0025
        assert abs(test.adjusted_r2.mean()) < 0.005
    np.testing.assert_array_equal(aware.residual_df, naive.residual_df - 1)


def test_known_autocorrelation_equals_least_squares_on_whitened_data() -> None:
    rng = np.random.default_rng(4)
    designs, sets = slow_columns(rng), {"cardiac": np.arange(4, 10)}
    rows = np.ones(VOLUMES, bool)
    rows[:2] = False
    series = ar1(rng, 0.4)
    tests = partial_tests(
        series, designs, sets, mask=np.ones(SHAPE, bool), rows=rows, autocorrelation=np.full(SHAPE, 0.4, np.float32)
    )
    k, y = 3, series[7, 5, 3].astype(float)[2:]
    x = np.column_stack([np.ones(VOLUMES), designs[k]])[2:]
    whitened_y, whitened_x = y[1:] - 0.4 * y[:-1], x[1:] - 0.4 * x[:-1]
    rss = [
        ((whitened_y - m @ np.linalg.lstsq(m, whitened_y, rcond=None)[0]) ** 2).sum()
        for m in (whitened_x, np.delete(whitened_x, range(5, 11), axis=1))
    ]
    n = VOLUMES - 3 - x.shape[1]
    assert tests.residual_df[k] == n
    assert tests.sets["cardiac"].f[7, 5, 3] == pytest.approx((rss[1] - rss[0]) / 6 / (rss[0] / n), rel=1e-3)


def test_shapes_must_fit() -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(CoSpineError, match="do not fit a series"):
        autocorrelation(ar1(rng, 0), slow_columns(rng)[:3], np.ones(SHAPE, bool), (1, 1, 1))
    with pytest.raises(CoSpineError, match="do not fit a series"):
        partial_tests(
            ar1(rng, 0),
            slow_columns(rng),
            {"a": np.array([0])},
            mask=np.ones(SHAPE, bool),
            autocorrelation=np.zeros((2, 2, 2)),
        )
