"""Seed maps against partial correlation by hand, and interaction columns."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.signal.regression import regress, slice_bases
from cospine.space.grid import Grid
from cospine.stats.regional_series import regional_series
from cospine.stats.regions import Region, RegionSet
from cospine.stats.seed import ppi_columns, seed_map

TR_S = 2.0
SHAPE = (3, 4, 4)
VOLUMES = 90


def seed_set(slices: slice = slice(0, 2)) -> RegionSet:
    labels = np.zeros(SHAPE, np.int32)
    labels[:, :, slices] = 1
    region = Region(1, "dorsal_R_spinal-C6", "R", "dorsal", "spinal", 6)
    return RegionSet("native", Grid(SHAPE, np.eye(4)), labels, (region,))


def test_map_is_the_partial_correlation() -> None:
    rng = np.random.default_rng(0)
    times = np.zeros(4)
    series = (100 + rng.standard_normal((*SHAPE, VOLUMES))).astype(np.float32)
    designs = rng.standard_normal((4, VOLUMES, 5))
    bases = slice_bases(designs)
    residuals = regress(series, bases, keep_mean=False)
    (seed,) = regional_series(residuals, seed_set(slice(0, 1)), times, TR_S)
    mask = np.ones(SHAPE, bool)
    mask[0, 0, 0] = False
    found = seed_map(seed, residuals, mask, times, TR_S, bases)
    assert np.isnan(found.r[0, 0, 0])
    assert found.df.tolist() == [VOLUMES - 6] * 4
    whole = series[..., 0, :].mean(axis=(0, 1))
    columns = np.column_stack([designs[2], designs[0], np.ones(VOLUMES)])

    def left(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return y - x @ np.linalg.lstsq(x, y, rcond=None)[0]

    # the seed loses its own slice's columns, then those of the voxel's slice
    expected_seed = left(left(whole, columns[:, 5:]), np.column_stack([designs[2], np.ones(VOLUMES)]))
    voxel = left(series[1, 1, 2].astype(float), np.column_stack([designs[2], np.ones(VOLUMES)]))
    assert found.r[1, 1, 2] == pytest.approx(np.corrcoef(expected_seed, voxel)[0, 1], abs=1e-4)


def test_voxels_are_met_at_their_own_time() -> None:
    times = np.array([0.0, 1.0, 0.5, 1.5])
    rng = np.random.default_rng(1)
    waves = [
        (a, f, p) for a, f, p in zip(rng.standard_normal(15), rng.uniform(0.01, 0.12, 15), rng.uniform(0, 6, 15), strict=True)
    ]
    at = np.arange(VOLUMES)[:, None] * TR_S + times
    course = sum(a * np.sin(2 * np.pi * f * at + p) for a, f, p in waves)
    series = np.broadcast_to(course.T[None, None], (*SHAPE, VOLUMES)).astype(np.float32)
    bases = slice_bases(np.zeros((4, VOLUMES, 0)))
    (seed,) = regional_series(series, seed_set(), times, TR_S)
    found = seed_map(seed, series, np.ones(SHAPE, bool), times, TR_S, bases)
    assert found.r.min() > 0.995
    assert np.corrcoef(course[:, 0], course[:, 3])[0, 1] < 0.95


def test_simultaneous_slices_of_the_seed_are_left_out() -> None:
    times = np.array([0.0, 1.0, 0.0, 1.0])
    rng = np.random.default_rng(2)
    series = rng.standard_normal((*SHAPE, 4000)).astype(np.float32)
    series[..., 2:, :] += 0.5 * series[..., :2, :].mean(axis=(0, 1), keepdims=True) * np.sqrt(12)  # partners leak
    bases = slice_bases(np.zeros((4, 4000, 0)))
    (seed,) = regional_series(series, seed_set(), times, TR_S)
    found = seed_map(seed, series, np.ones(SHAPE, bool), times, TR_S, bases)
    assert found.r[..., 2:].mean() > 0.25
    # the other slice's band-limited mean is all that is left
    assert abs(found.r_without[..., 2:].mean()) < 0.02
    alone = regional_series(series, seed_set(slice(0, 1)), times, TR_S)[0]
    without = seed_map(alone, series, np.ones(SHAPE, bool), times, TR_S, bases).r_without
    assert np.isnan(without[..., 2]).all()
    assert np.isfinite(without[..., 3]).all()


def test_interaction_is_found_where_coupling_follows_the_task() -> None:
    rng = np.random.default_rng(3)
    times = np.zeros(4)
    series = rng.standard_normal((*SHAPE, 600)).astype(np.float32)
    (seed,) = regional_series(series, seed_set(), times, TR_S)
    task = np.repeat((np.sin(np.arange(600) / 10) > 0).astype(float)[:, None, None], 4, axis=1)
    names, columns = ppi_columns(seed, task, ["heat"], times, TR_S)
    assert names == ("seed", "ppi_heat")
    assert columns.shape == (600, 4, 2)
    np.testing.assert_allclose(columns[:, 0, 0], seed.mean - seed.mean.mean(), atol=1e-9)
    coupled = np.where(task[:, 0, 0] > 0, 1.0, 0.0) * seed.mean + 0.1 * rng.standard_normal(600)
    model = np.column_stack([columns[:, 0], task[:, 0], np.ones(600)])
    effect = np.linalg.lstsq(model, coupled, rcond=None)[0]
    assert effect[1] == pytest.approx(1, abs=0.05)
    with pytest.raises(CoSpineError, match="task columns"):
        ppi_columns(seed, task[:-1], ["heat"], times, TR_S)


def test_seed_and_series_must_be_of_the_same_volumes() -> None:
    series = np.random.default_rng(0).standard_normal((*SHAPE, 40)).astype(np.float32)
    (seed,) = regional_series(series[..., 1:], seed_set(), np.zeros(4), TR_S)
    with pytest.raises(CoSpineError, match="same volumes"):
        seed_map(seed, series, np.ones(SHAPE, bool), np.zeros(4), TR_S, slice_bases(np.zeros((4, 40, 0))))
