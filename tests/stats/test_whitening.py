"""Noise models find the noise that was put in, apart for each region, and tests on noise that is no AR(1) keep their rate."""

import numpy as np
import pytest
from null_runs import REGIONS, null_run
from scipy import stats
from scipy.linalg import toeplitz
from scipy.signal import lfilter

from cospine.errors import CoSpineError
from cospine.stats.glm import fit
from cospine.stats.whitening import ar1_bands, noise_model, whiten, whitening_bands

SHAPE, VOLUMES = (16, 16, 6), 110
ZOOMS = (1.5, 1.5, 4.0)


def autoregressive(rng: np.random.Generator, coefficients: list[float]) -> np.ndarray:
    white = rng.standard_normal((*SHAPE, VOLUMES + 200))
    noise = lfilter([1.0], [1.0, *(-np.array(coefficients))], white, axis=-1)[..., 200:]
    return np.asfortranarray(800 + 10 * noise, dtype=np.float32)


def columns(rng: np.random.Generator) -> np.ndarray:
    """Slow cosines and others, 40 a slice."""
    drift = np.cos(np.pi * np.outer(np.arange(VOLUMES) + 0.5, np.arange(1, 6)) / VOLUMES)
    return np.concatenate([np.broadcast_to(drift, (SHAPE[2], VOLUMES, 5)), rng.standard_normal((SHAPE[2], VOLUMES, 35))], axis=2)


@pytest.mark.parametrize("coefficients", [[0.3], [0.5, -0.3], [0.25, 0.15, 0.1]])
def test_bands_are_the_inverse_root_of_the_covariance(coefficients: list[float]) -> None:
    impulse = np.zeros(5000)
    impulse[0] = 1
    response = lfilter([1.0], [1.0, *(-np.array(coefficients))], impulse)
    covariance = np.array([response[: 5000 - k] @ response[k:] for k in range(30)])  # of innovations of variance 1
    filtering = whiten(np.eye(30), whitening_bands(np.array(coefficients), 30))
    np.testing.assert_allclose(filtering @ toeplitz(covariance) @ filtering.T, np.eye(30), atol=1e-10)


def test_ar1_bands_leave_the_first_volume_as_it_is() -> None:
    y = np.random.default_rng(0).standard_normal((10, 2))
    expected = y.copy()
    expected[1:] -= 0.3 * y[:-1]
    np.testing.assert_allclose(whiten(y, ar1_bands(0.3, 10)), expected)


@pytest.mark.parametrize("coefficients", [[0.0], [0.4], [0.5, -0.3], [0.25, 0.15, 0.1]])
def test_noise_is_found_under_many_columns(coefficients: list[float]) -> None:
    rng = np.random.default_rng(1)
    rows = np.ones(VOLUMES, bool)
    rows[[0, 40]] = False
    series = autoregressive(rng, coefficients)
    series[..., ~rows] = np.nan
    found = noise_model(series, columns(rng), np.ones(SHAPE, int), ZOOMS, rows=rows)
    assert found.order.max() <= len(coefficients) + 1
    full = np.zeros(6)
    full[: len(coefficients)] = coefficients
    weighted = np.average(found.coefficients, axis=0, weights=found.voxels)
    np.testing.assert_allclose(weighted, full, atol=0.02)
    assert (found.group > 0).all()


def test_no_group_has_voxels_of_two_regions() -> None:
    rng = np.random.default_rng(2)
    regions = np.zeros(SHAPE, int)
    regions[2:8], regions[8:] = 1, 3
    series = np.where((regions == 1)[..., None], autoregressive(rng, [0.5, -0.2]), autoregressive(rng, [0.1]))
    found = noise_model(series, columns(rng), regions, ZOOMS)
    assert not found.group[regions == 0].any()
    for label, lag_1 in ((1, 0.5 / 1.2), (3, 0.1)):
        numbers = np.unique(found.group[regions == label])
        assert (found.region[numbers - 1] == label).all()
        own = found.autocorrelation(4)[numbers - 1]
        np.testing.assert_allclose(np.average(own[:, 1], weights=found.voxels[numbers - 1]), lag_1, atol=0.03)
    assert found.voxels.sum() == np.count_nonzero(regions)


def test_voxels_of_one_region_with_different_noise_are_parted() -> None:
    rng = np.random.default_rng(3)
    high = np.arange(SHAPE[0])[:, None, None] < 8
    series = np.where(high[..., None], autoregressive(rng, [0.6]), autoregressive(rng, [0.0]))
    found = noise_model(series, columns(rng), np.ones(SHAPE, int), ZOOMS, fwhm_mm=4)
    lag_1 = found.autocorrelation(2)[:, 1][found.group - 1]
    assert lag_1[:6].mean() > 0.5
    assert lag_1[10:].mean() < 0.1


def test_series_that_are_one_and_the_same_count_once() -> None:
    rng = np.random.default_rng(4)
    common = np.broadcast_to(autoregressive(rng, [0.2])[:1, :1, :1], (*SHAPE, VOLUMES))
    designs = np.broadcast_to(columns(rng)[:1], (SHAPE[2], VOLUMES, 40))
    series = np.asfortranarray(common + 0.1 * rng.standard_normal(common.shape), dtype=np.float32)
    assert noise_model(series, designs, np.ones(SHAPE, int), ZOOMS).order.max() == 1


def test_noise_that_is_no_ar1_keeps_the_rate_where_white_and_plain_correlations_do_not() -> None:
    beyond = {"ours": [], "white": []}
    for seed in range(25):
        run = null_run(np.random.default_rng([7, seed]), 115, task=("pain", "motor")[seed % 2], recorded=seed % 4 < 2)
        contrast = {"task": np.eye(run.designs.shape[2])[0]}
        noise = noise_model(run.series, run.designs, run.regions, ZOOMS)
        assert set(noise.region) == set(REGIONS.values())
        for name, given in (("ours", noise), ("white", None)):
            found = fit(run.series, run.designs, contrast, run.regions > 0, noise=given)
            p = stats.t.sf(np.abs(found.contrasts["task"].t), found.dof)
            beyond[name].append(np.mean(p < 0.05))
    assert np.mean(beyond["ours"]) / 2 == pytest.approx(0.05, abs=0.005)
    assert np.mean(beyond["white"]) > np.mean(beyond["ours"]) + 0.006


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(5)
    series, designs = autoregressive(rng, [0.2]), columns(rng)
    with pytest.raises(CoSpineError, match="do not fit"):
        noise_model(series, designs[:2], np.ones(SHAPE, int), ZOOMS)
    with pytest.raises(CoSpineError, match="order 40"):
        noise_model(series, designs, np.ones(SHAPE, int), ZOOMS, largest_order=40)
