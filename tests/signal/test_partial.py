"""Partial F tests against full and reduced least squares, and their rate on noise."""

import numpy as np
import pytest
from scipy import stats

from cospine.errors import CoSpineError
from cospine.signal.partial import degrees_of_freedom_warning, partial_tests

VOLUMES = 80


def _design(rng: np.random.Generator, slices: int) -> np.ndarray:
    designs = rng.standard_normal((slices, VOLUMES, 9))
    designs[..., 3] += designs[..., 0]  # sets that overlap: what is partial differs from what is raw
    return designs


SETS = {"cardiac": np.array([3, 4, 5]), "csf": np.array([8]), "respiratory": np.array([6, 7])}


def _oracle(y: np.ndarray, design: np.ndarray, columns: np.ndarray) -> tuple[float, float, float, float]:
    """F, p, partial R² and its adjusted value from two fits in double precision."""

    def rss(x: np.ndarray) -> tuple[float, int]:
        x = np.column_stack([np.ones(len(y)), x])
        beta, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
        return float(((y - x @ beta) ** 2).sum()), int(rank)

    full, rank = rss(design)
    reduced, fewer = rss(np.delete(design, columns, axis=1))
    q, n = rank - fewer, len(y) - rank
    f = (reduced - full) / q / (full / n)
    return f, float(stats.f.sf(f, q, n)), 1 - full / reduced, 1 - (full / n) / (reduced / (n + q))


@pytest.mark.parametrize("slice_axis", [2, 1])
def test_equals_full_against_reduced_model(slice_axis: int) -> None:
    rng = np.random.default_rng(1)
    shape = (5, 6, 4)
    designs = _design(rng, shape[slice_axis])
    designs[1, :, 8] = 0  # a slice without CSF
    designs[2, :, 5] = designs[2, :, 4] - designs[2, :, 3]  # a column that its own set spans
    rows = np.ones(VOLUMES, bool)
    rows[:3] = False
    series = 1000 + 10 * rng.standard_normal((*shape, VOLUMES))
    place = np.moveaxis(series, slice_axis, 0)
    place[:] += np.einsum("stp,p->st", designs, rng.uniform(0, 6, 9))[:, None, None]
    series[..., 0] = 4000
    series[0, 0, 0] = 17  # outside of the head
    series = np.asfortranarray(series, dtype=np.float32)
    mask = rng.random(shape) < 0.7
    mask[0, 0, 0] = True
    tests = partial_tests(series, designs, SETS, mask=mask, rows=rows, slice_axis=slice_axis)
    np.testing.assert_array_equal(tests.residual_df, [67, 68, 68, 67, 67, 67][: shape[slice_axis]])
    np.testing.assert_array_equal(tests.sets["csf"].df[:3], [1, 0, 1])
    np.testing.assert_array_equal(tests.sets["cardiac"].df[:3], [3, 3, 2])
    together = np.concatenate(list(SETS.values()))
    compared = 0
    for at in np.ndindex(shape):
        k = at[slice_axis]
        for name, test in (*tests.sets.items(), ("", tests.total)):
            found = [m[at] for m in (test.f, test.p, test.r2, test.adjusted_r2)]
            if not mask[at] or test.df[k] == 0 or at == (0, 0, 0):
                assert np.isnan(found).all()
                continue
            expected = _oracle(series[at][rows].astype(float), designs[k][rows], SETS.get(name, together))
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
            compared += 1
    assert compared > 200


def test_rate_on_white_noise() -> None:
    rng = np.random.default_rng(2)
    designs = rng.standard_normal((16, 100, 32))
    series = np.asfortranarray(500 + 10 * rng.standard_normal((40, 40, 16, 100), dtype=np.float32))
    tests = partial_tests(series, designs, {"a": np.arange(8), "b": np.arange(8, 24)}, mask=np.ones((40, 40, 16), bool))
    for test in (*tests.sets.values(), tests.total):
        assert np.mean(test.p < 0.05) == pytest.approx(0.05, rel=0.1)
        assert np.mean(test.p < 0.001) == pytest.approx(0.001, rel=0.6)  # about 26 expected
        assert stats.kstest(test.p.ravel(), "uniform").pvalue > 0.001
        assert abs(test.adjusted_r2.mean()) < 0.003
        assert test.r2.mean() == pytest.approx(test.null_r2.mean(), abs=0.003)
    assert tests.total.null_r2 == pytest.approx(24 / (24 + 67))


def test_finds_what_was_put_in() -> None:
    rng = np.random.default_rng(3)
    designs = _design(rng, 2)
    series = np.asfortranarray(1000 + 10 * rng.standard_normal((30, 30, 2, VOLUMES)), dtype=np.float32)
    series += (10 * np.sqrt(0.25) * designs[None, None, :, :, 6]).astype(np.float32)  # a fifth of the variance
    tests = partial_tests(series, designs, SETS, mask=np.ones((30, 30, 2), bool))
    assert tests.sets["respiratory"].adjusted_r2.mean() == pytest.approx(0.2, abs=0.03)
    assert abs(tests.sets["cardiac"].adjusted_r2.mean()) < 0.005


def test_refusals() -> None:
    series, mask = np.zeros((2, 2, 2, VOLUMES), np.float32), np.ones((2, 2, 2), bool)
    designs = _design(np.random.default_rng(4), 2)
    with pytest.raises(CoSpineError, match="not among 9 columns"):
        partial_tests(series, designs, {"csf": np.array([9])}, mask=mask)
    with pytest.raises(CoSpineError, match="not among 9 columns"):
        partial_tests(series, designs, {}, mask=mask)
    with pytest.raises(CoSpineError, match="do not fit a series"):
        partial_tests(series, designs[:1], SETS, mask=mask)


def test_warning_offers_orders_that_leave_enough() -> None:
    assert degrees_of_freedom_warning(150, 225, 32) == ""
    few = degrees_of_freedom_warning(55, 115, 32)
    assert "55 degrees of freedom of 115 volumes (at least 60" in few
    assert "Orders 3 cardiac, 3 respiratory, interaction 2/1 (20 columns) leave 67." in few
    assert "no interaction (4 columns) leave 63" in degrees_of_freedom_warning(35, 100, 32)
    assert "No lower order" in degrees_of_freedom_warning(5, 40, 8)
