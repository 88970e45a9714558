"""The first level is nilearn's where noise is white or a known AR(1), and right where nilearn has no answer."""

import numpy as np
import pytest
from nilearn.glm import ARModel
from nilearn.glm.contrasts import compute_contrast
from nilearn.glm.first_level import run_glm

from cospine.errors import CoSpineError
from cospine.stats.glm import Fit, fit, residual_series
from cospine.stats.whitening import NoiseModel

SHAPE, VOLUMES, COLUMNS = (5, 4, 3), 70, 9
MASK = np.ones(SHAPE, bool)


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Series around 900 with slow noise, and a design (t, p) with a task, drifts and a column of a large mean."""
    rng = np.random.default_rng(seed)
    noise = 8 * rng.standard_normal((*SHAPE, VOLUMES)) + 3 * rng.standard_normal((*SHAPE, VOLUMES)).cumsum(axis=-1)
    x = rng.standard_normal((VOLUMES, COLUMNS))
    x[:, -3:] = np.cos(np.pi * (np.arange(VOLUMES)[:, None] + 0.5) / VOLUMES * np.arange(1, 4))
    x[:, 2] += 500
    return np.asfortranarray(900 + noise + 5 * x[:, 0], dtype=np.float32), x


def contrasts() -> dict[str, np.ndarray]:
    eye = np.eye(COLUMNS)
    return {"task": eye[0], "difference": eye[0] - 0.5 * eye[1], "any": eye[:3]}


def assert_equals_nilearn(found: Fit, place: tuple, labels: np.ndarray, results: dict, stop: int | None = None) -> None:
    """Every map at a place of the found fit against nilearn's contrasts, to 1e-6."""
    for name, weights in contrasts().items():
        padded = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, len(next(iter(results.values())).theta) - COLUMNS)])
        expected = compute_contrast(labels, results, padded, stat_type="t" if weights.ndim == 1 else "F")
        maps = found.contrasts[name]
        got = [(maps.statistic, expected.stat()), (maps.z, expected.z_score())]
        if weights.ndim == 1:
            got += [(maps.effect, expected.effect_size()), (maps.variance, expected.effect_variance())]
        for ours, theirs in got:
            np.testing.assert_allclose(ours[place].ravel(), np.ravel(theirs), rtol=1e-6, atol=1e-6)


def test_least_squares_is_nilearns() -> None:
    series, x = data()
    found = fit(series, np.broadcast_to(x, (SHAPE[2], *x.shape)), contrasts(), MASK, percent=False)
    design = np.column_stack([x, np.ones(VOLUMES)])
    assert_equals_nilearn(found, (...,), *run_glm(series.reshape(-1, VOLUMES).T.astype(float), design, noise_model="ols"))
    np.testing.assert_array_equal(found.dof, VOLUMES - COLUMNS - 1)


@pytest.mark.parametrize("rho", [-0.3, 0.37, 0.8])
def test_known_ar1_is_nilearns(rho: float) -> None:
    series, x = data(1)
    found = fit(series, np.broadcast_to(x, (SHAPE[2], *x.shape)), contrasts(), MASK, rho=rho, percent=False)
    model = ARModel(np.column_stack([x, np.ones(VOLUMES)]), rho)
    result = model.fit(series.reshape(-1, VOLUMES).T.astype(float))
    assert_equals_nilearn(found, (...,), np.zeros(MASK.size), {0.0: result})


def test_nilearns_own_correlations_and_a_design_for_every_slice() -> None:
    series, _ = data(2)
    designs = np.stack([data(10 + k)[1] for k in range(SHAPE[2])])
    rho = np.zeros(SHAPE)
    theirs = []
    for k, x in enumerate(designs):
        labels, results = run_glm(
            series[:, :, k].reshape(-1, VOLUMES).T.astype(float),
            np.column_stack([x, np.ones(VOLUMES)]),
            noise_model="ar1",
            random_state=0,
        )
        rho[:, :, k] = labels.astype(float).reshape(SHAPE[:2])
        theirs.append((labels, results))
    assert np.ptp(rho) > 0.2
    found = fit(series, designs, contrasts(), MASK, rho=rho, percent=False)
    for k, (labels, results) in enumerate(theirs):
        assert_equals_nilearn(found, (slice(None), slice(None), k), labels, results)


def test_left_out_volumes_are_columns_of_their_own() -> None:
    series, x = data(3)
    rows = np.ones(VOLUMES, bool)
    rows[[0, 1, 30, 31, 50, VOLUMES - 1]] = False
    kept = slice(2, VOLUMES - 1)
    spikes = np.eye(VOLUMES)[kept, :][:, [30, 31, 50]]
    model = ARModel(np.column_stack([x[kept], np.ones(VOLUMES - 3), spikes]), 0.4)
    result = model.fit(series.reshape(-1, VOLUMES).T.astype(float)[kept])
    broken, designs = series.copy(order="F"), np.broadcast_to(x, (SHAPE[2], *x.shape)).copy()
    broken[..., ~rows] = np.nan
    designs[:, ~rows] = np.nan
    found = fit(broken, designs, contrasts(), MASK, rho=0.4, rows=rows, percent=False)
    assert_equals_nilearn(found, (...,), np.zeros(MASK.size), {0.0: result})
    np.testing.assert_array_equal(found.dof, VOLUMES - 6 - COLUMNS - 1)
    # without correlation that is to leave them out
    fewer = fit(series[..., rows], designs[:, rows], contrasts(), MASK)
    np.testing.assert_allclose(
        fit(broken, designs, contrasts(), MASK, rows=rows).contrasts["task"].t, fewer.contrasts["task"].t, rtol=1e-5
    )


def test_redundant_columns_cost_nothing_and_only_what_they_leave_is_estimated() -> None:
    series, x = data(4)
    designs = np.broadcast_to(x, (SHAPE[2], *x.shape))
    plain = fit(series, designs, contrasts(), MASK, rho=0.3)
    more = np.concatenate(
        [designs, designs[..., 3:4] * 2 + designs[..., 4:5], np.ones((*designs.shape[:2], 1)), np.zeros((*designs.shape[:2], 1))],
        axis=2,
    )
    more[1, :, 0] = 0  # no event in slice 1
    padded = {name: np.pad(w, [(0, 0)] * (w.ndim - 1) + [(0, 3)]) for name, w in contrasts().items()}
    # column 9 is 2 * column 3 + column 4: known are b3 + 2 b9 and b4 + b9, and their sum, not b3 alone
    alone, padded["together"] = np.eye(12)[3], np.zeros(12)
    padded["together"][[3, 4, 9]] = 1, 1, 3
    found = fit(series, more, padded, MASK, rho=0.3)
    np.testing.assert_array_equal(found.dof, [VOLUMES - COLUMNS - 1, VOLUMES - COLUMNS, VOLUMES - COLUMNS - 1])
    np.testing.assert_array_equal(found.contrasts["task"].df, [1, 0, 1])
    assert np.isnan(found.contrasts["task"].t[:, :, 1]).all()
    for part in ("effect", "variance", "t", "z"):
        np.testing.assert_allclose(
            getattr(found.contrasts["task"], part)[:, :, [0, 2]], getattr(plain.contrasts["task"], part)[:, :, [0, 2]], rtol=1e-5
        )
    assert np.isfinite(found.contrasts["together"].t).all()
    with pytest.raises(CoSpineError, match="alone"):
        fit(series, more, {"alone": alone}, MASK)


def test_f_has_the_rank_of_its_rows() -> None:
    series, x = data(5)
    designs = np.broadcast_to(x, (SHAPE[2], *x.shape))
    eye = np.eye(COLUMNS)
    found = fit(series, designs, {"twice": np.stack([eye[0], 2 * eye[0]]), "t": eye[0]}, MASK)
    np.testing.assert_array_equal(found.contrasts["twice"].df, 1)
    np.testing.assert_allclose(found.contrasts["twice"].statistic, found.contrasts["t"].t ** 2, rtol=1e-5)
    with pytest.raises(CoSpineError):
        _ = found.contrasts["twice"].t


def test_effects_are_in_percent_of_the_local_mean_and_other_axes_of_slices_do() -> None:
    series, x = data(6)
    designs = np.broadcast_to(x, (SHAPE[2], *x.shape))
    raw = fit(series, designs, contrasts(), MASK, rho=0.2, percent=False)
    percent = fit(series, designs, contrasts(), MASK, rho=0.2)
    mean = series.mean(axis=-1, dtype=np.float64)
    maps, of_raw = percent.contrasts["task"], raw.contrasts["task"]
    np.testing.assert_allclose(maps.effect, 100 * of_raw.effect / mean, rtol=1e-5)
    np.testing.assert_allclose(maps.variance, 1e4 * of_raw.variance / mean**2, rtol=1e-5)
    np.testing.assert_allclose(maps.t, of_raw.t, rtol=1e-6)
    turned = fit(np.moveaxis(series, 2, 0), designs, contrasts(), np.moveaxis(MASK, 2, 0), rho=0.2, slice_axis=0)
    np.testing.assert_array_equal(np.moveaxis(turned.contrasts["task"].z, 0, 2), maps.z)
    assert percent.contrasts["task"].effect.mean() == pytest.approx(100 * 5 / 900, rel=0.3)


def test_voxels_without_a_value_are_nan_alone() -> None:
    series, x = data(7)
    series[0, 0, 0] = 7
    series[1, 0, 0, 5] = np.nan
    series[2, 0, 0] -= 900
    series[2, 0, 0] -= abs(series[2, 0, 0].mean()) + 1
    mask = MASK.copy()
    mask[4, 3, 2] = False
    found = fit(series, np.broadcast_to(x, (SHAPE[2], *x.shape)), contrasts(), mask, rho=0.2)
    bad = np.zeros(SHAPE, bool)
    bad[[0, 1], 0, 0] = bad[4, 3, 2] = True
    np.testing.assert_array_equal(np.isnan(found.contrasts["task"].t), bad)
    bad[2, 0, 0] = True
    np.testing.assert_array_equal(np.isnan(found.contrasts["task"].effect), bad)


@pytest.mark.parametrize("whitened", [False, True])
def test_residuals_are_nilearns(whitened: bool) -> None:
    series, x = data(8)
    y, design = series.reshape(-1, VOLUMES).T.astype(float), np.column_stack([x, np.ones(VOLUMES)])
    result = ARModel(design, 0.4).fit(y)
    expected = result.whitened_residuals if whitened else y - design @ result.theta
    found = residual_series(series, np.broadcast_to(x, (SHAPE[2], *x.shape)), MASK, rho=0.4, whitened=whitened)
    np.testing.assert_allclose(found.reshape(-1, VOLUMES).T, expected, atol=1e-5)


def test_noise_model_is_generalised_least_squares() -> None:
    from scipy.linalg import toeplitz

    series, x = data(9)
    groups = np.ones(SHAPE, np.int32)
    groups[2:] = 2
    noise = NoiseModel(groups, np.array([[0.4, 0.2, 0.1], [0.3, 0, 0]]), np.array([3, 1]), np.array([1, 1]), np.array([24, 36]))
    found = fit(series, np.broadcast_to(x, (SHAPE[2], *x.shape)), contrasts(), MASK, noise=noise, percent=False)
    design = np.column_stack([x, np.ones(VOLUMES)])
    for group, correlation in enumerate(noise.autocorrelation(VOLUMES), 1):
        inverse = np.linalg.inv(toeplitz(correlation))
        y = series[groups == group].T.astype(float)
        unscaled = np.linalg.inv(design.T @ inverse @ design)
        beta = unscaled @ design.T @ inverse @ y
        left = y - design @ beta
        sigma2 = np.einsum("tn,ts,sn->n", left, inverse, left) / (VOLUMES - COLUMNS - 1)
        maps = found.contrasts["task"]
        np.testing.assert_allclose(maps.effect[groups == group], beta[0], rtol=1e-5)
        np.testing.assert_allclose(maps.variance[groups == group], unscaled[0, 0] * sigma2, rtol=1e-5)


def test_what_cannot_be_fitted_is_refused() -> None:
    series, x = data()
    designs = np.broadcast_to(x, (SHAPE[2], *x.shape)).copy()
    with pytest.raises(CoSpineError, match="fit a series"):
        fit(series, designs[:2], contrasts(), MASK)
    with pytest.raises(CoSpineError, match=r"'short'.*'zero'"):
        fit(series, designs, {"short": np.ones(3), "zero": np.zeros(COLUMNS)}, MASK)
    with pytest.raises(CoSpineError, match="between -1 and 1"):
        fit(series, designs, contrasts(), MASK, rho=1.0)
    with pytest.raises(CoSpineError, match="no volume"):
        fit(series, designs, contrasts(), MASK, rows=np.zeros(VOLUMES, bool))
    with pytest.raises(CoSpineError, match="completely"):
        fit(series[..., :9], designs[:, :9], contrasts(), MASK)
    noise = NoiseModel(np.zeros(SHAPE, np.int32), np.zeros((0, 1)), np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))
    with pytest.raises(CoSpineError, match="60 voxels"):
        fit(series, designs, contrasts(), MASK, noise=noise)
    with pytest.raises(CoSpineError, match="both"):
        fit(series, designs, contrasts(), MASK, noise=noise, rho=0.1)
    designs[1, 5, 2] = np.nan
    with pytest.raises(CoSpineError, match=r"columns \[2\] of slices \[1\]"):
        fit(series, designs, contrasts(), MASK)
