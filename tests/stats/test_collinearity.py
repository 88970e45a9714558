"""Task regressors against nilearn, R² and variance inflation against least squares, aliasing against worked examples."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.collinearity import (
    aliased_frequency,
    aliasing,
    collinearity,
    task_regressor,
    variance_inflation,
)
from cospine.stats.design import task_columns
from cospine.stats.events import Condition

TR_S = 2.68


def test_regressor_is_the_canonical_column_of_the_task() -> None:
    onsets, durations = np.array([10.1, 49.0, 90.4]), np.array([4.0, 0.0, 11.0])
    times = np.arange(60)[:, None] * TR_S + [0.0, 1.37, 2.585]
    expected = task_columns([Condition("heat", onsets, durations, np.ones(3))], times).values[..., 0]
    np.testing.assert_allclose(task_regressor(onsets, durations, times), expected, atol=1e-12)
    assert task_regressor([0.0], [1e4], [500.0])[0] == pytest.approx(1)


def test_variance_inflation_is_the_diagonal_of_the_inverse_correlation() -> None:
    rng = np.random.default_rng(1)
    nuisance = rng.standard_normal((90, 6))
    task = rng.standard_normal(90) + nuisance @ [1, 0, 0.5, 0, 0, -0.4]
    expected = np.linalg.inv(np.corrcoef(np.column_stack([task, nuisance]).T))[0, 0]
    assert variance_inflation(task, nuisance) == pytest.approx(expected, rel=1e-10)
    assert variance_inflation(nuisance[:, 2], nuisance[:, :2]) < 1.2
    assert variance_inflation(nuisance[:, 2], nuisance) > 1e9
    assert np.isnan(variance_inflation(np.ones(90), nuisance))


def test_sets_beside_drift_and_rows() -> None:
    rng = np.random.default_rng(2)
    volumes, slices = 100, 3
    rows = np.ones(volumes, bool)
    rows[:4] = False
    drift = np.cos(np.pi * np.outer(np.arange(volumes) + 0.5, np.arange(1, 6)) / volumes)
    designs = np.concatenate([np.broadcast_to(drift, (slices, volumes, 5)), rng.standard_normal((slices, volumes, 9))], axis=2)
    task = rng.standard_normal((volumes, slices)) + designs[:, :, 6].T + 3 * drift[:, :1]
    task[:4] = 1e3
    sets = {"cardiac": np.arange(5, 9), "motion": np.arange(9, 14)}
    found = collinearity(task, designs, sets, rows=rows)
    together = np.arange(5, 14)
    for name, columns in (*sets.items(), ("", together)):
        shared = found.sets.get(name, found.total)
        for k in range(slices):
            base = np.column_stack([np.ones(96), drift[4:]])
            residual = [y - base @ np.linalg.lstsq(base, y, rcond=None)[0] for y in (task[4:, k], designs[k, 4:][:, columns])]
            left = residual[0] - residual[1] @ np.linalg.lstsq(residual[1], residual[0], rcond=None)[0]
            assert shared.r2[k] == pytest.approx(1 - left @ left / (residual[0] @ residual[0]), abs=1e-10)
        np.testing.assert_allclose(shared.null_r2, len(columns) / 90)
    assert found.sets["cardiac"].r2.min() > 0.3
    summary = found.sets["cardiac"].summary()
    assert summary["vif_worst"] == pytest.approx(1 / (1 - found.sets["cardiac"].r2.max()))
    assert found.sets["cardiac"].worst_slice == found.sets["cardiac"].r2.argmax()


def test_random_columns_share_what_chance_says() -> None:
    rng = np.random.default_rng(3)
    volumes, slices = 115, 400
    times = np.arange(volumes)[:, None] * TR_S + np.linspace(0, 2.5, slices)
    task = task_regressor(13 + 24.0 * np.arange(12), np.full(12, 8.0), times)
    found = collinearity(task, rng.standard_normal((slices, volumes, 32)), {"pnm": np.arange(32)})
    assert found.total.r2.mean() == pytest.approx(32 / 114, rel=0.03)
    assert found.total.null_r2 == pytest.approx(32 / 114)


def test_aliasing_of_the_rates_that_hurt() -> None:
    """19.8 breaths a minute fold onto blocks every 24 s or so, 20.9 onto trials every 39 s."""
    np.testing.assert_allclose(aliased_frequency(np.array([19.8, 20.9, 22.3881]) / 60, TR_S), [0.0431, 0.0248, 0], atol=1e-4)
    motor, second = aliasing({"breathing": np.full(50, 19.8 / 60)}, TR_S, 13 + 23.5 * np.arange(12))
    assert (motor.harmonic, second.harmonic) == (1, 2)
    assert motor.task_hz == pytest.approx(1 / 23.5)
    assert motor.distance_hz < 0.001
    assert motor.share_near == 1
    rates = np.array([1.0, 1.1, 1.2, np.nan])
    (heart,) = aliasing({"heart": rates, "none": []}, TR_S, 10.1 + 39.1 * np.arange(15), harmonics=1)
    assert heart.rate_hz == pytest.approx(1.1)
    assert heart.aliased_hz == pytest.approx(3 / TR_S - 1.1)
    assert heart.share_near == pytest.approx(1 / 3)
    # a sampled sine shows itself where it is said to
    samples = np.sin(2 * np.pi * 1.1 * TR_S * np.arange(2048))
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(2048)))
    assert np.fft.rfftfreq(2048, TR_S)[spectrum.argmax()] == pytest.approx(heart.aliased_hz, abs=2e-4)
    assert np.isnan(aliasing({"heart": rates}, TR_S, [3.0])[0].task_hz)


def test_refusals() -> None:
    with pytest.raises(CoSpineError, match="make no condition"):
        task_regressor([1.0, 2.0], [-1.0, 1.0], [0.0])
    with pytest.raises(CoSpineError, match="do not fit designs"):
        collinearity(np.zeros((10, 2)), np.zeros((3, 10, 4)), {"a": np.array([0])})
    with pytest.raises(CoSpineError, match="do not fit designs"):
        collinearity(np.zeros((10, 3)), np.zeros((3, 10, 4)), {"a": np.array([4])})
