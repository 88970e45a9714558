"""ICC against Shrout and Fleiss's table and a known model, split halves and sensitivity against what theory says."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.reliability import icc, sensitivity_by_runs, spearman_brown, split_half

# Shrout & Fleiss 1979, table 2: six targets, four judges
RATINGS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)
# table 4
PUBLISHED = {"1,1": 0.17, "2,1": 0.29, "3,1": 0.71, "1,k": 0.44, "2,k": 0.62, "3,k": 0.91}
# limits of the same ratings, 95 %, as McGraw & Wong's formulas give them and the field's packages print them
LIMITS = {
    "1,1": (-0.13, 0.72),
    "2,1": (0.02, 0.76),
    "3,1": (0.34, 0.95),
    "1,k": (-0.88, 0.91),
    "2,k": (0.07, 0.93),
    "3,k": (0.68, 0.99),
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_icc_is_that_of_the_published_table(kind) -> None:
    found = icc(RATINGS, kind)
    assert float(found.value) == pytest.approx(PUBLISHED[kind], abs=0.005)
    assert (float(found.low), float(found.high)) == pytest.approx(LIMITS[kind], abs=0.006)


def test_icc_of_mean_squares_printed_in_the_paper() -> None:
    # BMS 11.24, WMS 6.26, JMS 32.49, EMS 1.02 (table 3)
    assert float(icc(RATINGS, "1,1").value) == pytest.approx((11.24 - 6.26) / (11.24 + 3 * 6.26), abs=2e-3)
    assert float(icc(RATINGS, "3,1").value) == pytest.approx((11.24 - 1.02) / (11.24 + 3 * 1.02), abs=2e-3)


@pytest.mark.parametrize("kind", ["1,1", "2,1", "3,1"])
def test_intervals_hold_the_truth_as_often_as_they_say(kind) -> None:
    rng = np.random.default_rng(1)
    runs = 3
    people = rng.standard_normal((15, 1, 4000))
    # an interval for agreement is for runs that are a sample of possible runs
    of_run = rng.standard_normal((1, runs, 4000)) * (0.5 if kind == "2,1" else 0)
    found = icc(people + of_run + rng.standard_normal((15, runs, 4000)), kind)
    truth = 1 / (2 + (0.25 if kind == "2,1" else 0))
    held = np.mean((found.low <= truth) & (truth <= found.high))
    assert 0.93 < held < 0.97


def test_icc_is_nan_where_nothing_varies_and_one_where_runs_agree() -> None:
    values = np.zeros((5, 2, 2))
    values[..., 1] = np.arange(5)[:, None]
    found = icc(values)
    assert np.isnan(found.value[0])
    assert found.value[1] == found.low[1] == 1


def test_noise_has_no_reliability_on_average() -> None:
    values = np.random.default_rng(2).standard_normal((20, 2, 3000))
    assert abs(icc(values).value.mean()) < 0.02
    assert abs(split_half(values).half.mean()) < 0.02


def test_halves_tell_the_reliability_of_all_runs() -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal((4000, 1)) + 1.5 * rng.standard_normal((4000, 4))
    found = split_half(values)
    assert found.splits == 3
    assert float(found.half) == pytest.approx(1 / (1 + 1.5**2 / 2), abs=0.02)
    assert float(found.full) == pytest.approx(1 / (1 + 1.5**2 / 4), abs=0.02)


def test_odd_runs_are_left_out_in_turn() -> None:
    rng = np.random.default_rng(4)
    found = split_half(rng.standard_normal((4000, 1)) + rng.standard_normal((4000, 3)))
    assert found.splits == 3
    assert float(found.full) == pytest.approx(1 / (1 + 1 / 3), abs=0.02)
    assert float(spearman_brown(np.array(0.5), 3)) == pytest.approx(0.75)


def test_more_runs_find_more_and_no_more_false() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(5)
    target = np.arange(6000) < 2000
    effects = 1.5 * target + rng.standard_normal((4, 6000))
    found = sensitivity_by_runs(effects, np.ones((4, 6000)), target)
    for one in found:
        assert one.sensitivity == pytest.approx(norm.sf(3.09 - 1.5 * np.sqrt(one.runs)), abs=0.04)
        assert one.false_positives == pytest.approx(0.001, abs=0.0013)
    assert [one.subsets for one in found] == [4, 6, 4, 1]
    assert found[-1].dice > found[0].dice


@pytest.mark.parametrize(
    "bad",
    [
        lambda: icc(np.ones((5, 1))),
        lambda: icc(np.ones((5, 2)), "4,1"),  # type: ignore[arg-type]
        lambda: split_half(np.ones((2, 2))),
        lambda: sensitivity_by_runs(np.ones((2, 5)), np.ones((2, 5)), np.ones(5, bool)),
    ],
)
def test_what_cannot_be_asked_is_refused(bad) -> None:
    with pytest.raises(CoSpineError, match=r"[Gg]ive"):
        bad()
