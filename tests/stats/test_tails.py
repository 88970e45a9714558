"""z of t and F: SciPy where SciPy can, the integral of the density itself beyond."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from cospine.stats.tails import z_from_f, z_from_t


def log_tail_by_integral(t: float, dof: float) -> float:
    """Upper tail of t from its density over that at t, so that nothing underflows; u = log(s / t)."""
    at = stats.t.logpdf(t, dof)
    value, _ = integrate.quad(
        lambda u: np.exp(stats.t.logpdf(t * np.exp(u), dof) - at + u), 0, 60 / dof, epsabs=0, epsrel=1e-11, limit=500
    )
    return at + np.log(t) + np.log(value)


@pytest.mark.parametrize("dof", [3, 40, 178, 5000])
def test_like_scipy_where_scipy_does_not_underflow(dof: int) -> None:
    t = np.linspace(-8, 8, 161)
    expected = np.where(t > 0, stats.norm.isf(stats.t.sf(t, dof)), stats.norm.ppf(stats.t.cdf(t, dof)))
    np.testing.assert_allclose(z_from_t(t, dof), expected, atol=1e-9)


@pytest.mark.parametrize(("t", "dof"), [(30.0, 68), (120.0, 68), (1e4, 172), (60.0, 172), (38.0, 5000), (150.0, 5000)])
def test_far_tail_is_that_of_the_density(t: float, dof: float) -> None:
    log_tail = log_tail_by_integral(t, dof)
    expected = optimize.brentq(lambda z: stats.norm.logsf(z) - log_tail, 0, 1e3, xtol=1e-12)
    assert z_from_t(t, dof) == pytest.approx(expected, rel=1e-8)
    assert z_from_t(-t, dof) == -z_from_t(t, dof)
    assert z_from_f(t**2, 1, dof) == pytest.approx(
        optimize.brentq(lambda z: stats.norm.logsf(z) - log_tail - np.log(2), 0, 1e3), rel=1e-8
    )


def test_rises_without_a_step_where_the_formula_changes() -> None:
    t = np.linspace(20, 80, 6001)
    steps = np.diff(z_from_t(t, 172))
    assert (steps > 0).all()
    assert np.abs(np.diff(steps, 2)).max() < 1e-8
    assert np.isfinite(z_from_t([1e-300, 0, 1e12], 60)).all()


def test_f_on_both_sides_of_its_median() -> None:
    f = np.array([1e-6, 0.02, 0.5, 1.0, 3.0, 40.0])
    expected = np.where(f < 1, stats.norm.ppf(stats.f.cdf(f, 3, 60)), stats.norm.isf(stats.f.sf(f, 3, 60)))
    np.testing.assert_allclose(z_from_f(f, 3, 60), expected, atol=1e-8)
