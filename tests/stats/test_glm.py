"""First level beside nilearn, with designs of deficient rank and volumes left out, and under noise that is not white."""

import numpy as np
import pytest
from nilearn.glm.contrasts import compute_contrast
from nilearn.glm.first_level import run_glm
from nilearn.glm.regression import ARModel
from scipy import signal
from scipy.stats import norm
from scipy.stats import t as student

from cospine.errors import CoSpineError
from cospine.stats.glm import fit, residual_series
from cospine.stats.tails import z_from_f, z_from_t
from cospine.stats.whitening import noise_model

SHAPE, VOLUMES, COLUMNS = (5, 4, 3), 90, 7
WEIGHTS = np.array([1.0, -0.5, *np.zeros(COLUMNS - 2)])


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    series = (100 + rng.normal(size=(*SHAPE, VOLUMES)).cumsum(axis=-1) * 0.3 + rng.normal(size=(*SHAPE, VOLUMES))).astype(
        np.float64
    )
    return np.asfortranarray(series), rng.normal(size=(VOLUMES, COLUMNS))


def nilearns(series: np.ndarray, design: np.ndarray, rho: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effect, variance and t (x, y, z)."""
    flat = series.reshape(-1, VOLUMES).T
    full = np.column_stack([design, np.ones(VOLUMES)])
    if rho is None:
        labels, results = run_glm(flat, full, noise_model="ols")
        found = compute_contrast(labels, results, np.append(WEIGHTS, 0), stat_type="t")
        return tuple(part.reshape(SHAPE) for part in (found.effect_size(), found.effect_variance(), found.stat()))  # type: ignore[return-value]
    result = ARModel(full, rho).fit(flat)
    con = result.Tcontrast(np.append(WEIGHTS, 0))
    return con.effect.reshape(SHAPE), con.sd.reshape(SHAPE) ** 2, con.t.reshape(SHAPE)


@pytest.mark.parametrize("rho", [None, 0.3, -0.15, 0.62])
def test_where_all_slices_share_one_design_it_is_nilearn(data: tuple[np.ndarray, np.ndarray], rho: float | None) -> None:
    series, design = data
    designs = np.repeat(design[None], SHAPE[2], axis=0)
    found = fit(series, designs, {"c": WEIGHTS}, np.ones(SHAPE, bool), rho=rho, percent=False)
    effect, variance, t = nilearns(series, design, rho)
    np.testing.assert_allclose(found.contrasts["c"].effect, effect, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.contrasts["c"].variance, variance, rtol=1e-6)
    np.testing.assert_allclose(found.contrasts["c"].t, t, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.dof, VOLUMES - COLUMNS - 1)
    np.testing.assert_allclose(found.contrasts["c"].z, norm.isf(student.sf(t, VOLUMES - COLUMNS - 1)), rtol=1e-4, atol=1e-5)


def test_every_slice_is_fitted_with_its_own_design(data: tuple[np.ndarray, np.ndarray]) -> None:
    series, design = data
    designs = np.stack([np.roll(design, k, axis=0) for k in range(SHAPE[2])])
    found = fit(series, designs, {"c": WEIGHTS}, np.ones(SHAPE, bool))
    mean = series.mean(axis=-1)
    for k in range(SHAPE[2]):
        effect, _, t = nilearns(series, designs[k], None)
        np.testing.assert_allclose(found.contrasts["c"].t[..., k], t[..., k], rtol=1e-5)
        np.testing.assert_allclose(found.contrasts["c"].effect[..., k], (100 * effect / mean)[..., k], rtol=1e-5)


def test_columns_that_say_nothing_new_cost_no_degree_of_freedom(data: tuple[np.ndarray, np.ndarray]) -> None:
    series, design = data
    more = np.column_stack([design, design[:, 2] - design[:, 3], np.zeros(VOLUMES), np.full(VOLUMES, 2.0)])
    designs = np.repeat(more[None], SHAPE[2], axis=0)
    found = fit(series, designs, {"c": np.append(WEIGHTS, [0, 0, 0])}, np.ones(SHAPE, bool), percent=False)
    np.testing.assert_array_equal(found.dof, VOLUMES - COLUMNS - 1)
    np.testing.assert_allclose(found.contrasts["c"].t, nilearns(series, design, None)[2], rtol=1e-5)
    alone = np.zeros(more.shape[1])
    alone[2] = 1  # cannot be told from what spans it
    with pytest.raises(CoSpineError, match="no slice"):
        fit(series, designs, {"c": alone}, np.ones(SHAPE, bool))


def test_volumes_left_out_do_not_matter(data: tuple[np.ndarray, np.ndarray]) -> None:
    series, design = data
    rows = np.arange(VOLUMES) >= 4
    wild = series.copy(order="F")
    wild[..., :4] = 1e5
    designs = np.repeat(design[None], SHAPE[2], axis=0)
    found = fit(wild, designs, {"c": WEIGHTS}, np.ones(SHAPE, bool), rows=rows, rho=0.2)
    np.testing.assert_array_equal(found.dof, VOLUMES - 4 - COLUMNS - 1)
    cut = fit(np.asfortranarray(series[..., 4:]), designs[:, 4:], {"c": WEIGHTS}, np.ones(SHAPE, bool), rho=0.2)
    np.testing.assert_allclose(found.contrasts["c"].t, cut.contrasts["c"].t, rtol=1e-6)
    left = residual_series(wild, designs, np.ones(SHAPE, bool), rows=rows)
    assert not left[..., :4].any()
    assert np.abs(np.einsum("xyzt,tp->xyzp", left[..., 4:].astype(float), design[4:])).max() < 0.05


def test_f_of_one_row_is_t_squared(data: tuple[np.ndarray, np.ndarray]) -> None:
    series, design = data
    designs = np.repeat(design[None], SHAPE[2], axis=0)
    found = fit(series, designs, {"t": WEIGHTS, "F": WEIGHTS[None]}, np.ones(SHAPE, bool)).contrasts
    np.testing.assert_allclose(found["F"].statistic, found["t"].t ** 2, rtol=1e-5)


def test_tests_hold_their_level_under_noise_that_is_no_ar1() -> None:
    rng = np.random.default_rng(3)
    volumes, shape = 150, (12, 12, 2)
    frequency = np.fft.rfftfreq(volumes)
    slow = np.fft.irfft(
        np.fft.rfft(rng.normal(size=(*shape, volumes))) / np.sqrt(np.maximum(frequency, 0.01)), n=volumes, axis=-1
    )
    band = signal.sosfiltfilt(signal.butter(2, (0.3, 0.36), "bandpass", fs=1.0, output="sos"), rng.normal(size=(*shape, volumes)))
    noise = slow / slow.std() + 0.5 * band / band.std() + 0.3 * rng.normal(size=(*shape, volumes))
    series = np.asfortranarray(100 + noise)
    drift = np.cos(np.pi * np.arange(1, 7)[None] * (np.arange(volumes)[:, None] + 0.5) / volumes)
    shares = {"white": [], "whitened": []}
    for _ in range(12):
        blocks = np.convolve(rng.random(volumes) < 0.07, np.ones(8))[:volumes]
        designs = np.repeat(np.column_stack([blocks, drift, rng.normal(size=(volumes, 20))])[None], 2, axis=0)
        weights = np.eye(designs.shape[2])[0]
        kinds = noise_model(series, designs, np.ones(shape, np.uint8), (2.0, 2.0, 4.0))
        for name, given in (("white", None), ("whitened", kinds)):
            z = fit(series, designs, {"c": weights}, np.ones(shape, bool), noise=given).contrasts["c"].z
            shares[name].append(np.mean(np.abs(z) > 1.96))
    assert np.mean(shares["white"]) > 0.08  # the noise is no easy one
    assert 0.035 < np.mean(shares["whitened"]) < 0.068


def test_bad_input_is_named() -> None:
    series, designs = np.ones((2, 2, 2, 20)), np.ones((2, 20, 3))
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(CoSpineError, match="do not fit"):
        fit(series, designs[:, :10], {"c": np.ones(3)}, mask)
    with pytest.raises(CoSpineError, match="'c'"):
        fit(series, designs, {"c": np.ones(2)}, mask)
    with pytest.raises(CoSpineError, match="not finite"):
        fit(series, np.full_like(designs, np.nan), {"c": np.ones(3)}, mask)


def test_z_holds_far_into_both_tails() -> None:
    t = np.array([-70.0, -9, -1, 0, 1, 9, 70])
    z = z_from_t(t, 150)
    np.testing.assert_array_equal(z, -z[::-1])
    np.testing.assert_allclose(z[1:4], norm.ppf(student.cdf(t[1:4], 150)), rtol=1e-9, atol=1e-12)
    assert np.isfinite(z).all()
    assert z[-1] > 18
    np.testing.assert_allclose(z_from_f(t[4:] ** 2, 1, 150)[1:], norm.isf(2 * student.sf(t[5:], 150)), rtol=1e-6)
