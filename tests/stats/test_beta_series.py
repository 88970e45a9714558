"""Responses to single trials against full least squares, and their correlation over trials."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.signal.drift import cosine_drift
from cospine.space.grid import Grid
from cospine.stats.beta_series import beta_maps, beta_series, trial_columns, trial_weights
from cospine.stats.coupling import coupling
from cospine.stats.regions import Region, RegionSet

TR_S, VOLUMES = 2.0, 160
SLICE_TIMES = np.array([0.0, 1.0, 0.5])
TIMES = np.arange(VOLUMES)[:, None] * TR_S + SLICE_TIMES
ONSETS = np.arange(8, 300, 17.0)
CONDITIONS = ["heat" if k % 3 else "warm" for k in range(ONSETS.size)]


@pytest.fixture(scope="module")
def trials() -> np.ndarray:
    return trial_columns(ONSETS, 4.0, TIMES)


@pytest.fixture(scope="module")
def designs() -> np.ndarray:
    rng = np.random.default_rng(0)
    drift = cosine_drift(VOLUMES, TR_S)
    return np.stack([np.column_stack([drift, rng.standard_normal((VOLUMES, 4))]) for _ in SLICE_TIMES])


def least_squares(columns: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(np.column_stack([columns, np.ones(len(columns))]), y, rcond=None)[0]


def test_all_at_once_equals_least_squares(trials, designs) -> None:
    y = np.random.default_rng(1).standard_normal(VOLUMES)
    weights = trial_weights(trials, designs, CONDITIONS, "LSA")
    for k in range(3):
        expected = least_squares(np.column_stack([trials[:, k], designs[k]]), y)[: ONSETS.size]
        np.testing.assert_allclose(weights[k] @ y, expected, atol=1e-8)


def test_one_by_one_equals_a_model_for_each_trial(trials, designs) -> None:
    y = np.random.default_rng(2).standard_normal(VOLUMES)
    weights = trial_weights(trials, designs, CONDITIONS, "LSS")
    conditions = np.array(CONDITIONS)
    for trial in (0, 5, 11):
        same = (conditions == conditions[trial]) & (np.arange(ONSETS.size) != trial)
        columns = [trials[:, 1, trial], trials[:, 1, same].sum(axis=1), trials[:, 1, conditions != conditions[trial]].sum(axis=1)]
        expected = least_squares(np.column_stack([*columns, designs[1]]), y)[0]
        assert weights[1, trial] @ y == pytest.approx(expected)


def test_volumes_left_out_do_not_count(trials, designs) -> None:
    y = np.random.default_rng(3).standard_normal(VOLUMES)
    rows = np.arange(VOLUMES) >= 4
    bad = designs.copy()
    bad[:, :4] = np.nan
    weights = trial_weights(trials, bad, CONDITIONS, "LSA", rows=rows)
    expected = least_squares(np.column_stack([trials[rows, 0], designs[0][rows]]), y[rows])[: ONSETS.size]
    np.testing.assert_allclose(weights[0] @ y, expected, atol=1e-8)


def test_a_trial_after_the_end_has_no_response_and_spoils_no_other(designs) -> None:
    late = trial_columns([*ONSETS, 330.0], 4.0, TIMES)
    weights = trial_weights(late, designs, [*CONDITIONS, "heat"])
    assert np.isnan(weights[:, -1]).all()
    np.testing.assert_allclose(weights[:, :-1], trial_weights(late[..., :-1], designs, CONDITIONS))


def region_set() -> RegionSet:
    labels = np.zeros((4, 4, 3), np.int32)
    labels[:2], labels[2:] = 1, 2
    regions = (Region(1, "cord", "R", "dorsal", "spinal", 6), Region(2, "brain", "R", "sphere"))
    return RegionSet("native", Grid(labels.shape, np.diag([2.0, 2.0, 4.0, 1.0])), labels, regions)


def test_maps_are_in_percent_and_responses_that_vary_together_correlate(trials, designs) -> None:
    rng = np.random.default_rng(4)
    regions = region_set()
    common = 1 + 0.5 * rng.standard_normal(ONSETS.size)
    own = 1 + 0.5 * rng.standard_normal(ONSETS.size)
    heat = np.array(CONDITIONS) == "heat"
    # in warm trials the two regions have nothing to do with each other
    responses = {1: common, 2: np.where(heat, common, own)}
    mean = rng.uniform(200, 900, regions.labels.shape)
    series = np.empty((*regions.labels.shape, VOLUMES), np.float32)
    for number, of_trial in responses.items():
        for k in range(3):
            here = regions.labels[..., k] == number
            course = 1 + trials[:, k] @ of_trial / 100
            series[here, k] = mean[here, k][:, None] * (course + 0.0005 * rng.standard_normal((here.sum(), VOLUMES)))
    maps = beta_maps(series, trial_weights(trials, designs, CONDITIONS, "LSA"), regions.labels > 0)
    # the mean holds the responses themselves: a percent or so of a percent
    np.testing.assert_allclose(maps[:2].mean(axis=(0, 1, 2)), common, atol=0.06)
    z = {}
    for condition in ("heat", "warm"):
        cord, brain = beta_series(maps, regions, CONDITIONS, condition)
        assert len(cord.values) == CONDITIONS.count(condition)
        z[condition] = coupling([cord], [brain], SLICE_TIMES).r[0, 0]
    assert z["heat"] > 0.95
    assert z["warm"] < 0.9


def test_outside_of_the_mask_and_without_signal_nothing_is_told(trials, designs) -> None:
    series = np.zeros((4, 4, 3, VOLUMES), np.float32)
    series[:2] = 100 + np.random.default_rng(5).standard_normal((2, 4, 3, VOLUMES))
    mask = np.ones((4, 4, 3), bool)
    mask[0] = False
    maps = beta_maps(series, trial_weights(trials, designs, CONDITIONS), mask)
    assert np.isnan(maps[0]).all()
    assert np.isfinite(maps[1]).all()
    assert np.isnan(maps[2:]).all()


def test_bad_input_is_refused(trials, designs) -> None:
    with pytest.raises(CoSpineError, match="a condition a trial"):
        trial_weights(trials, designs, CONDITIONS[:-1])
    with pytest.raises(CoSpineError, match="LSS or LSA"):
        trial_weights(trials, designs, CONDITIONS, "LSX")  # type: ignore[arg-type]
    maps = np.ones((4, 4, 3, ONSETS.size), np.float32)
    with pytest.raises(CoSpineError, match="5 are needed"):
        beta_series(maps, region_set(), ["heat"] * 4 + ["warm"] * (ONSETS.size - 4), "heat")
