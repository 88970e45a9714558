"""Correlations with and without simultaneous slices: right where there is coupling, nominal where there is only leakage."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.coupling import across_people, coupling, fisher_z, partial_correlations
from cospine.stats.regional_series import RegionSeries
from cospine.stats.regions import Region

TIMES = np.tile([0.0, 1.3, 0.1, 1.4], 2)  # slice k and k + 4 are simultaneous
CORD, BRAIN = Region(1, "dorsal_R_spinal-C6", "R", "dorsal", "spinal", 6), Region(2, "S2_L", "L", "sphere")


def pair(values_cord: np.ndarray, values_brain: np.ndarray) -> tuple[RegionSeries, RegionSeries]:
    """Cord in slices 0-3, brain in slices 4-7."""
    voxels = np.full(4, 10)
    return (
        RegionSeries(CORD, values_cord, np.arange(4), voxels),
        RegionSeries(BRAIN, values_brain, np.arange(4, 8), voxels),
    )


def noise(rng: np.random.Generator, t: int = 120) -> np.ndarray:
    return rng.standard_normal((t, 4))


def test_r_is_the_correlation_of_means_and_without_is_over_the_other_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = noise(rng), noise(rng)
    found = coupling(*[[one] for one in pair(x, y)], slice_times_s=TIMES)
    assert found.r[0, 0] == pytest.approx(np.corrcoef(x.mean(axis=1), y.mean(axis=1))[0, 1])
    assert found.left_out[0, 0] == pytest.approx(4 / 16)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    rest = sum(x[:, i] @ y[:, j] for i in range(4) for j in range(4) if i != j) / 12
    by_hand = rest / np.linalg.norm(x.mean(axis=1)) / np.linalg.norm(y.mean(axis=1))
    assert found.r_without[0, 0] == pytest.approx(by_hand)
    same = np.mean([np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(4)])
    beside = np.mean([np.corrcoef(x[:, i], y[:, j])[0, 1] for i in range(4) for j in range(4) if abs(i - j) == 1])
    assert found.r_simultaneous[0, 0] == pytest.approx(same)
    assert found.r_neighbouring[0, 0] == pytest.approx(beside)


def test_without_slice_times_nothing_is_left_out() -> None:
    cord, brain = pair(noise(np.random.default_rng(0)), noise(np.random.default_rng(1)))
    found = coupling([cord], [brain])
    assert found.r_without[0, 0] == pytest.approx(found.r[0, 0])
    assert found.left_out[0, 0] == 0
    assert np.isnan(found.r_simultaneous[0, 0])


def test_a_pair_that_is_only_simultaneous_has_nothing_without() -> None:
    rng = np.random.default_rng(0)
    cord = RegionSeries(CORD, rng.standard_normal((50, 1)), np.array([2]), np.array([5]))
    brain = RegionSeries(BRAIN, rng.standard_normal((50, 1)), np.array([6]), np.array([5]))
    found = coupling([cord], [brain], TIMES)
    assert np.isnan(found.r_without[0, 0])
    assert found.left_out[0, 0] == 1
    assert found.table()["r_without_simultaneous"] == ["n/a"]


def test_leakage_between_partners_gives_coupling_with_and_none_without() -> None:
    """METHODS 14: what a slice leaks to its partner looks like coupling; without simultaneous pairs the rate is nominal."""
    rng = np.random.default_rng(1)
    people, groups = 12, 400
    z = np.empty((2, groups, people))
    for group in range(groups):
        for person in range(people):
            x, y = noise(rng, 60), noise(rng, 60)
            found = coupling(*[[one] for one in pair(x + 0.3 * y, y)], slice_times_s=TIMES)
            z[:, group, person] = fisher_z(found.r[0, 0]), fisher_z(found.r_without[0, 0])
    p = across_people(np.moveaxis(z, 2, 0), flips=0).p
    # 400 draws at 5 %: +- 2.7 SD
    assert (p[0] < 0.05).mean() > 0.9
    assert 0.02 < (p[1] < 0.05).mean() < 0.08


def test_true_coupling_is_there_both_ways() -> None:
    rng = np.random.default_rng(2)
    common = rng.standard_normal((5000, 1))
    cord, brain = pair(common + noise(rng, 5000), common + noise(rng, 5000))
    found = coupling([cord], [brain], TIMES)
    truth = 1 / (1 + 1 / 4)
    assert found.r[0, 0] == pytest.approx(truth, abs=0.02)
    assert found.r_without[0, 0] == pytest.approx(truth, abs=0.02)


def test_tables_name_level_systems_and_hold_each_pair_once() -> None:
    cord, brain = pair(noise(np.random.default_rng(0)), noise(np.random.default_rng(1)))
    table = coupling([cord, brain], slice_times_s=TIMES).table()
    assert table["region_a"] == ["dorsal_R_spinal-C6"]
    assert (table["level_system_a"], table["level_system_b"]) == (["spinal"], ["none"])
    assert table["level_a"] == ["C6"]
    matrix = coupling([cord, brain], slice_times_s=TIMES).matrix()
    assert matrix["level_system"] == ["spinal", "none"]
    assert matrix["S2_L"][1] == "1.00000"


def test_regions_must_be_of_one_run() -> None:
    cord, brain = pair(noise(np.random.default_rng(0)), noise(np.random.default_rng(1)))
    short = RegionSeries(BRAIN, brain.values[:-1], brain.slices, brain.voxels)
    with pytest.raises(CoSpineError, match="one run"):
        coupling([cord], [short])
    with pytest.raises(CoSpineError, match="slice times"):
        coupling([cord], [brain], TIMES[:4])


def test_partial_correlation_takes_out_what_a_third_explains() -> None:
    rng = np.random.default_rng(3)
    third = rng.standard_normal(20000)
    a, b = (third + rng.standard_normal(20000) for _ in range(2))
    found = partial_correlations(np.stack([a, b, third], axis=1))
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.5, abs=0.03)
    assert found[0, 1] == pytest.approx(0, abs=0.03)
    residual = [one - third * (one @ third) / (third @ third) for one in (a - a.mean(), b - b.mean())]
    assert found[0, 1] == pytest.approx(np.corrcoef(residual)[0, 1], abs=1e-3)
    with pytest.raises(CoSpineError, match="fewer regions"):
        partial_correlations(rng.standard_normal((10, 6)))
    with pytest.raises(CoSpineError, match="fewer regions"):
        partial_correlations(np.stack([a, b, a + b], axis=1))


def test_inference_across_people_is_that_of_scipy_and_survives_gaps() -> None:
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(4)
    z = rng.standard_normal((15, 3)) * 0.1 + np.array([0.0, 0.1, 0.3])
    z[:13, 0] = np.nan
    z[2, 1] = np.nan
    found = across_people(z, flips=500)
    assert np.isnan(found.p[0])
    assert found.people.tolist() == [2, 14, 15]
    expected = ttest_1samp(np.delete(z[:, 1], 2), 0)
    assert (found.t[1], found.p[1]) == pytest.approx((expected.statistic, expected.pvalue))
    limits = ttest_1samp(z[:, 2], 0).confidence_interval()
    assert (found.low[2], found.high[2]) == pytest.approx((np.tanh(limits.low), np.tanh(limits.high)))
    assert found.p_fwe[2] <= 2 / 501
    with pytest.raises(CoSpineError, match="three"):
        across_people(z[:2])


def test_family_wise_level_holds_over_pairs() -> None:
    rng = np.random.default_rng(5)
    least = [np.min(across_people(rng.standard_normal((10, 20)), flips=100, seed=k).p_fwe) for k in range(300)]
    assert 0.017 < np.mean(np.array(least) <= 0.05) < 0.085
