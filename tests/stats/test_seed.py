"""Columns of a seed: each slice's own time, nothing of slices excited together, and the task's influence found."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.regional_series import RegionSeries
from cospine.stats.regions import Region
from cospine.stats.seed import seed_columns

TR_S = 2.0
TIMES = np.array([0.0, 1.0, 0.5, 1.5])
REGION = Region(1, "dorsal_R_spinal-C6", "R", "dorsal", "spinal", 6)


def seed_of(values: np.ndarray, slices: tuple[int, ...] = (0,), voxels: tuple[int, ...] | None = None) -> RegionSeries:
    values = np.asarray(values, float).reshape(len(values), -1)
    return RegionSeries(REGION, values, np.array(slices), np.array(voxels or [1] * len(slices)))


def test_each_slice_has_the_seed_at_its_own_time() -> None:
    rng = np.random.default_rng(1)
    waves = list(zip(rng.standard_normal(15), rng.uniform(0.01, 0.12, 15), rng.uniform(0, 6, 15), strict=True))

    def course(at: np.ndarray) -> np.ndarray:
        return sum(a * np.sin(2 * np.pi * f * at + p) for a, f, p in waves)  # type: ignore[return-value]

    volumes = np.arange(120) * TR_S
    columns = seed_columns(seed_of(course(volumes + 0.75)), TIMES, TR_S)
    assert columns.shape == (4, 120, 1)
    for k, time in enumerate(TIMES):
        assert np.corrcoef(columns[k, :, 0], course(volumes + time))[0, 1] > 0.999
        assert columns[k].std() == pytest.approx(1)
        assert columns[k].mean() == pytest.approx(0, abs=1e-12)
    assert np.corrcoef(columns[0, :, 0], columns[3, :, 0])[0, 1] < 0.95


def test_slices_of_the_seed_excited_together_have_no_part() -> None:
    times = np.array([0.0, 1.0, 0.0, 1.0])
    values = np.random.default_rng(2).standard_normal((50, 2))
    both = seed_columns(seed_of(values, (0, 1), (3, 1)), times, TR_S)[..., 0]
    shift_free = seed_columns(seed_of(values, (0, 1), (3, 1)), [0, 5e-3, 0, 5e-3], TR_S)[..., 0]
    assert np.corrcoef(shift_free[2], values[:, 1])[0, 1] == pytest.approx(1, abs=1e-3)  # its partner 0 is left out
    assert np.corrcoef(shift_free[3], values[:, 0])[0, 1] == pytest.approx(1, abs=1e-3)
    assert np.corrcoef(shift_free[0], values @ [0.75, 0.25])[0, 1] == pytest.approx(1, abs=1e-3)
    assert both.any(axis=1).all()
    alone = seed_columns(seed_of(values[:, :1], (0,)), times, TR_S)[..., 0]
    assert alone.any(axis=1).tolist() == [True, True, False, True]


def test_the_effect_of_its_column_is_the_partial_coupling() -> None:
    rng = np.random.default_rng(0)
    nuisance, seed = rng.standard_normal((200, 3)), rng.standard_normal(200)
    voxel = 0.7 * seed + nuisance @ [3.0, -2.0, 1.0] + 0.1 * rng.standard_normal(200)
    column = seed_columns(seed_of(seed), np.zeros(1), TR_S)[0]
    model = np.column_stack([column, nuisance, np.ones(200)])
    effect = np.linalg.lstsq(model, voxel, rcond=None)[0][0]
    assert effect == pytest.approx(0.7 * seed.std(), abs=0.03)


def test_interaction_is_found_where_coupling_follows_the_task() -> None:
    rng = np.random.default_rng(3)
    seed = rng.standard_normal(600)
    task = np.repeat((np.sin(np.arange(600) / 10) > 0).astype(float)[:, None, None], 4, axis=1)
    columns = seed_columns(seed_of(seed), [0, 1, 1, 1], TR_S, task)
    assert columns.shape == (4, 600, 2)
    of_seed = columns[1, :, 0]
    coupled = np.where(task[:, 1, 0] > 0, 1.0, 0.0) * of_seed + 0.1 * rng.standard_normal(600)
    model = np.column_stack([columns[1], task[:, 1, 0], np.ones(600)])
    effect = np.linalg.lstsq(model, coupled, rcond=None)[0]
    assert effect[1] == pytest.approx(1, abs=0.05)
    with pytest.raises(CoSpineError, match="task columns"):
        seed_columns(seed_of(seed), np.zeros(4), TR_S, task[:-1])


def test_volumes_that_do_not_count_are_0_and_must_fit() -> None:
    rows = np.arange(40) >= 3
    values = np.random.default_rng(0).standard_normal(37)
    columns = seed_columns(seed_of(values), TIMES, TR_S, rows=rows)
    assert not columns[:, :3].any()
    np.testing.assert_allclose(columns[:, 3:], seed_columns(seed_of(values), TIMES, TR_S))
    with pytest.raises(CoSpineError, match="40 volumes"):
        seed_columns(seed_of(values[1:]), TIMES, TR_S, rows=rows)
