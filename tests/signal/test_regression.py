"""Slice-wise regression against `numpy.linalg.lstsq` in double precision."""

import numpy as np
import pytest
from scipy.signal import detrend

from cospine.errors import CoSpineError
from cospine.signal.regression import regress, slice_bases

VOLUMES = 60


def _series(rng: np.random.Generator, shape: tuple[int, int, int] = (9, 7, 5), volumes: int = VOLUMES) -> np.ndarray:
    data = 1000 * rng.uniform(0.2, 2, shape)[..., None] + 10 * rng.standard_normal((*shape, volumes))
    return np.asfortranarray(data, dtype=np.float32)


def _designs(rng: np.random.Generator, slices: int = 5, columns: int = 8) -> np.ndarray:
    return rng.standard_normal((slices, VOLUMES, columns)) * 10.0 ** rng.uniform(-3, 3, columns)


def _residual(y: np.ndarray, design: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Residual of (t, n) data on a constant and a design, fitted on some rows; the mean over these rows is put back."""
    rows = np.ones(len(y), bool) if rows is None else rows
    centred = design - design[rows].mean(axis=0)
    beta = np.linalg.lstsq(np.column_stack([np.ones(rows.sum()), centred[rows]]), y[rows], rcond=None)[0]
    return y - centred @ beta[1:]


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_equals_least_squares_slice_by_slice(slice_axis: int) -> None:
    rng = np.random.default_rng(1)
    series = _series(rng)
    designs = _designs(rng, series.shape[slice_axis])
    cleaned = regress(series, slice_bases(designs), slice_axis=slice_axis)
    assert cleaned.dtype == np.float32
    assert cleaned.flags.f_contiguous
    for k in range(series.shape[slice_axis]):
        y = np.take(series, k, axis=slice_axis).reshape(-1, VOLUMES).T.astype(np.float64)
        expected = _residual(y, designs[k])
        got = np.take(cleaned, k, axis=slice_axis).reshape(-1, VOLUMES).T
        spread = np.linalg.norm(expected - expected.mean(axis=0), axis=0)
        assert (np.linalg.norm(got - expected, axis=0) <= 1e-4 * spread).all()
        np.testing.assert_allclose(got.mean(axis=0), y.mean(axis=0), rtol=1e-6)


def test_mean_goes_when_asked_and_input_is_left_alone() -> None:
    rng = np.random.default_rng(2)
    series = _series(rng)
    before = series.copy()
    cleaned = regress(series, slice_bases(_designs(rng)), keep_mean=False)
    np.testing.assert_array_equal(series, before)
    assert np.abs(cleaned.mean(axis=3)).max() < 1e-4


def test_high_pass_reaches_the_columns() -> None:
    """Drift in the same design is the high-pass of data *and* columns; filtering the data alone puts drift back."""
    rng = np.random.default_rng(3)
    series = _series(rng, (4, 4, 2))
    trend = np.linspace(-1, 1, VOLUMES)
    series += (80 * trend).astype(np.float32)
    nuisance = rng.standard_normal((2, VOLUMES, 3)) + 2 * trend[:, None]
    joint = np.concatenate([np.broadcast_to(trend[:, None], (2, VOLUMES, 1)), nuisance], axis=2)
    cleaned = regress(series, slice_bases(joint), keep_mean=False)
    filtered = np.asfortranarray(detrend(series.astype(np.float64), axis=3), dtype=np.float32)
    both = regress(filtered, slice_bases(detrend(nuisance, axis=1)), keep_mean=False)
    np.testing.assert_allclose(cleaned, both, atol=2e-3)
    data_only = regress(filtered, slice_bases(nuisance), keep_mean=False)
    assert np.abs(data_only @ trend).max() > 100 * np.abs(cleaned @ trend).max()


def test_columns_that_add_nothing_are_dropped() -> None:
    rng = np.random.default_rng(4)
    designs = _designs(rng, 3, 5)
    designs[0, :, 1] = 0
    designs[0, :, 2] = 7.3
    designs[1, :, 4] = (designs[1, :, 0] - 2 * designs[1, :, 1]).astype(np.float32)  # spanned, but for the rounding of a file
    designs[2] = 0
    bases = slice_bases(designs)
    np.testing.assert_array_equal(bases.rank, [3, 4, 0])
    np.testing.assert_array_equal(bases.residual_df, [VOLUMES - 4, VOLUMES - 5, VOLUMES - 1])
    gram = bases.fitted.transpose(0, 2, 1) @ bases.fitted
    for k, rank in enumerate(bases.rank):
        np.testing.assert_allclose(gram[k], np.diag(np.arange(gram.shape[1]) < rank), atol=1e-10)
    series = _series(rng, (3, 3, 3))
    np.testing.assert_allclose(regress(series, bases)[:, :, 2], series[:, :, 2], rtol=1e-6)


def test_volumes_left_out_neither_count_nor_change() -> None:
    rng = np.random.default_rng(5)
    series, designs = _series(rng), _designs(rng)
    rows = np.ones(VOLUMES, bool)
    rows[[0, 1, 2, 40]] = False
    series[..., 0] += 5000
    cleaned = regress(series, slice_bases(designs, rows))
    k = 3
    y = series[:, :, k].reshape(-1, VOLUMES).T.astype(np.float64)
    expected = _residual(y, designs[k], rows)
    np.testing.assert_allclose(cleaned[:, :, k].reshape(-1, VOLUMES).T[rows], expected[rows], rtol=2e-6)
    np.testing.assert_allclose(cleaned[..., ~rows], series[..., ~rows], rtol=1e-6)
    designs[:, 0] = np.nan
    late = regress(series, slice_bases(designs, rows))
    np.testing.assert_allclose(late[..., 0], series[..., 0], rtol=1e-6)
    np.testing.assert_array_equal(late[..., 1:], cleaned[..., 1:])


def test_in_place_integers_and_bad_voxels() -> None:
    rng = np.random.default_rng(6)
    bases = slice_bases(_designs(rng))
    series = _series(rng)
    expected = regress(series, bases)
    bad = series.copy(order="F")
    bad[2, 3, 1, 5] = np.inf
    cleaned = regress(bad, bases)
    assert not np.isfinite(cleaned[2, 3, 1]).any()
    cleaned[2, 3, 1] = expected[2, 3, 1]
    np.testing.assert_allclose(cleaned, expected, atol=1e-3)
    np.testing.assert_array_equal(regress(series.round(), bases), regress(series.round().astype(np.int16), bases))
    np.testing.assert_array_equal(regress(series, bases, out=series), expected)
    np.testing.assert_array_equal(series, expected)


def test_refusals() -> None:
    rng = np.random.default_rng(7)
    designs = _designs(rng)
    with pytest.raises(CoSpineError, match="do not fit a series"):
        regress(_series(rng)[:, :, :4], slice_bases(designs))
    with pytest.raises(CoSpineError, match="does not fit into"):
        regress(_series(rng), slice_bases(designs), out=np.empty((9, 7, 5, 3), np.float32))
    with pytest.raises(CoSpineError, match="explain 60 volumes completely"):
        slice_bases(rng.standard_normal((1, VOLUMES, VOLUMES)))
    designs[2, 10, 4] = np.nan
    with pytest.raises(CoSpineError, match=r"columns \[4\] of slice 2 are not finite"):
        slice_bases(designs)
