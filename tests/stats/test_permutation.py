"""Group tests against SciPy, least squares and nilearn; the joint level, people who lack voxels, and what must be refused."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import skew, ttest_1samp, ttest_ind

from cospine.errors import CoSpineError
from cospine.stats.permutation import STATISTICS, GroupResult, holm, permutation_test, region_test

PEOPLE = 14
SHAPES = {"brain": (6, 7, 5), "cord": (3, 3, 8)}
GROUPS = np.arange(PEOPLE) >= 5
TWO = np.column_stack([~GROUPS, GROUPS]).astype(float)


def noise(seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(PEOPLE, *shape)).astype(np.float32) for name, shape in SHAPES.items()}


def full() -> dict[str, NDArray[np.bool_]]:
    return {name: np.ones(shape, bool) for name, shape in SHAPES.items()}


def run(maps: dict[str, NDArray[np.float32]], design=None, contrast=(1.0,), **options) -> GroupResult:
    design = np.ones((PEOPLE, 1)) if design is None else design
    return permutation_test(maps, full(), design, contrast, **{"permutations": 99, **options})


def with_gaps(seed: int) -> dict[str, NDArray[np.float32]]:
    maps = noise(seed)
    maps["brain"][2, :, :, :2] = np.nan
    maps["brain"][[4, 9], :2] = np.nan
    return maps


# --- the maps ---------------------------------------------------------------------------------------------------------


def test_one_sample_is_scipys_t_of_those_who_have_the_voxel() -> None:
    maps = with_gaps(1)
    found = run(maps).regions["brain"]
    theirs = ttest_1samp(maps["brain"], 0, axis=0, nan_policy="omit")
    np.testing.assert_allclose(found.t, theirs.statistic, atol=1e-5)
    np.testing.assert_allclose(found.dof, theirs.df, rtol=1e-5)
    np.testing.assert_allclose(found.effect, np.nanmean(maps["brain"], axis=0), atol=1e-6)
    np.testing.assert_array_equal(found.n, np.isfinite(maps["brain"]).sum(axis=0))


@pytest.mark.parametrize("welch", [True, False])
def test_two_samples_are_scipys_t_and_welchs(welch: bool) -> None:
    maps = with_gaps(2)
    found = run(maps, TWO, (-1, 1), variance_groups=GROUPS if welch else None).regions["brain"]
    theirs = ttest_ind(maps["brain"][GROUPS], maps["brain"][~GROUPS], axis=0, equal_var=not welch, nan_policy="omit")
    np.testing.assert_allclose(found.t, theirs.statistic, atol=2e-5)
    np.testing.assert_allclose(found.dof, theirs.df, rtol=1e-4)


def test_covariates_are_taken_out_as_least_squares_does_it() -> None:
    maps, rng = with_gaps(3), np.random.default_rng(3)
    design, contrast = np.column_stack([TWO, rng.normal(size=(PEOPLE, 2))]), np.array([-1, 1, 0, 0.5])
    found = run(maps, design, contrast).regions["brain"]
    for at in ((0, 0, 0), (5, 6, 4), (1, 3, 4)):
        y = maps["brain"][(slice(None), *at)].astype(float)
        x = design[np.isfinite(y)]
        y = y[np.isfinite(y)]
        beta = np.linalg.lstsq(x, y, rcond=None)[0]
        dof = len(y) - 4
        variance = np.sum((y - x @ beta) ** 2) / dof * (contrast @ np.linalg.inv(x.T @ x) @ contrast)
        assert found.effect[at] == pytest.approx(contrast @ beta, abs=1e-5)
        assert found.t[at] == pytest.approx(contrast @ beta / np.sqrt(variance), abs=1e-4)
        assert found.dof[at] == pytest.approx(dof, rel=1e-4)


def test_a_voxel_without_an_estimate_has_none() -> None:
    maps = noise(4)
    maps["cord"][GROUPS, 0, 0, 0] = np.nan
    found = run(maps, TWO, (-1, 1)).regions["cord"]
    assert np.isnan(
        [found.effect[0, 0, 0], found.t[0, 0, 0], found.z[0, 0, 0], found.p[0, 0, 0], found.p_fwe["tfce"][0, 0, 0]]
    ).all()
    assert np.isfinite(found.t).sum() == found.t.size - 1


# --- p ----------------------------------------------------------------------------------------------------------------


def test_p_of_a_voxel_is_the_share_of_all_flips() -> None:
    values = np.random.default_rng(5).normal(0.5, 1, (8, 2))
    found = region_test(values, np.ones((8, 1)), [1.0], remove_skewness=False)
    flips = np.array(list(product([1, -1], repeat=8)))
    t = np.array([[ttest_1samp(flip * one, 0).statistic for flip in flips] for one in values.T])
    expected = (np.abs(t) >= np.abs(t[:, :1]) - 1e-9).mean(axis=1)
    assert found.exhaustive
    assert found.rearrangements == 128
    np.testing.assert_allclose(found.p, expected)
    largest = np.abs(t).max(axis=0)
    np.testing.assert_allclose(found.p_fwe, [(largest >= abs(one) - 1e-9).mean() for one in t[:, 0]])


def test_nilearn_agrees_on_corrected_p() -> None:
    from nilearn.mass_univariate import permuted_ols

    maps = noise(6)
    maps["brain"][:, 3, 3, 3] += 1.4
    found = permutation_test(
        {"brain": maps["brain"]}, {"brain": full()["brain"]}, np.ones((PEOPLE, 1)), [1.0], permutations=2000,
        remove_skewness=False,
    )  # fmt: skip
    theirs = permuted_ols(
        np.ones((PEOPLE, 1)), maps["brain"].reshape(PEOPLE, -1).astype(float), model_intercept=False, n_perm=2000,
        random_state=1, output_type="dict",
    )  # fmt: skip
    np.testing.assert_allclose(found.regions["brain"].t.ravel(), theirs["t"][0], atol=1e-5)
    np.testing.assert_allclose(
        found.regions["brain"].p_fwe["voxel"].ravel(), 10 ** -theirs["logp_max_t"][0], atol=0.04
    )  # fmt: skip


def test_the_smaller_p_of_two_regions_is_what_is_compared() -> None:
    maps = noise(7)
    found = run(maps, permutations=400)
    for kind in STATISTICS:
        own = {}
        for name, region in found.regions.items():
            maxima = region.maxima[kind]
            own[name] = np.array([(maxima >= one * (1 - 1e-5)).mean() for one in maxima])
        smaller = np.minimum(own["brain"], own["cord"])
        assert found.p_fwe[kind] == pytest.approx((smaller <= smaller[0] + 1e-12).mean())
        assert found.p_fwe[kind] == pytest.approx(min(np.nanmin(one.p_fwe[kind]) for one in found.regions.values()))


def test_the_cord_is_seen_beside_a_brain_that_has_nothing() -> None:
    maps = noise(8)
    maps["cord"][:, 1, 1, 2:5] += 3
    found = run(maps, permutations=500)
    assert found.p_fwe["tfce"] <= 0.01
    assert found.regions["cord"].p_fwe["voxel"][1, 1, 3] <= 0.02
    assert np.nanmin(found.regions["brain"].p_fwe["tfce"]) > 0.05
    assert found.regions["cord"].clusters[1, 1, 3] == 1
    assert found.regions["cord"].p_fwe["mass"][1, 1, 3] <= 0.02
    assert found.regions["cord"].p_fwe["mass"][found.regions["cord"].clusters == 0].min() == 1


def test_a_negative_effect_is_only_found_two_sided() -> None:
    maps = noise(9)
    maps["cord"][:, 1, 1, 2:5] -= 3
    assert run(maps).p_fwe["tfce"] <= 0.03  # 2 of 99: each region has a rearrangement that is its largest
    assert run(maps, two_sided=False).p_fwe["tfce"] > 0.05


def test_the_seed_decides_and_the_number_of_threads_does_not() -> None:
    maps = with_gaps(10)
    first, second, other = run(maps, threads=1, seed=4), run(maps, threads=3, seed=4), run(maps, seed=5)
    for name in SHAPES:
        np.testing.assert_array_equal(first.regions[name].p, second.regions[name].p)
        for kind in STATISTICS:
            np.testing.assert_array_equal(first.regions[name].maxima[kind], second.regions[name].maxima[kind])
            assert not np.array_equal(first.regions[name].maxima[kind], other.regions[name].maxima[kind])


def test_order_of_people_does_not_matter_to_the_data_as_they_are() -> None:
    maps, order = with_gaps(11), np.random.default_rng(1).permutation(PEOPLE)
    first = run(maps, TWO, (-1, 1), variance_groups=GROUPS)
    turned = {name: one[order] for name, one in maps.items()}
    second = run(turned, TWO[order], (-1, 1), variance_groups=GROUPS[order])
    np.testing.assert_allclose(first.regions["brain"].t, second.regions["brain"].t, atol=1e-5)
    np.testing.assert_allclose(first.regions["brain"].tfce, second.regions["brain"].tfce, atol=1e-3)


def test_rearranged_people_bring_their_gaps_with_them() -> None:
    """A permutation that changes nothing but who is where: the statistic of the permuted data, computed anew."""
    from cospine.stats.exchange import partition
    from cospine.stats.permutation_run import Prepared, Work
    from cospine.stats.tails import z_from_t

    maps = with_gaps(12)["brain"]
    values = maps.reshape(PEOPLE, -1)
    parts = partition(TWO, [-1, 1])
    region = Prepared.of(values, parts, np.zeros(PEOPLE, np.intp), None)
    order = np.random.default_rng(2).permutation(PEOPLE)
    z = Work(region).statistic(region, order.astype(np.int32), np.ones(PEOPLE, np.float32), False)
    moved = values[order]
    theirs = ttest_ind(moved[GROUPS], moved[~GROUPS], axis=0, nan_policy="omit")
    np.testing.assert_allclose(z, z_from_t(theirs.statistic, theirs.df), atol=0.02)  # Wallace's z


# --- skewness ---------------------------------------------------------------------------------------------------------


def test_skewness_is_taken_out_as_hall_does_it() -> None:
    from cospine.stats.exchange import partition
    from cospine.stats.permutation_run import OWN_SKEWNESS, Prepared, Work
    from cospine.stats.tails import z_from_t

    values = np.random.default_rng(13).exponential(size=(20, 30)) - 0.7
    region = Prepared.of(values, partition(np.ones((20, 1)), [1.0]), np.zeros(20, np.intp), None)
    z = Work(region).statistic(region, np.arange(20, dtype=np.int32), np.ones(20, np.float32), True)
    gamma = skew(values, axis=0, bias=False)
    gamma = OWN_SKEWNESS * gamma + (1 - OWN_SKEWNESS) * gamma.mean()
    s = values.mean(axis=0) / values.std(axis=0)
    hall = np.sqrt(20) * (s + gamma * s**2 / 3 + gamma**2 * s**3 / 27 + gamma / (6 * 20))
    np.testing.assert_allclose(z, z_from_t(hall * np.sqrt(19 / 20), 19), atol=0.02)


def test_skewed_errors_are_not_taken_for_an_effect() -> None:
    """200 groups of 20 people, 40 regions of skewness 2: without the correction a third of them would find something."""
    plain = removed = 0
    for group in range(200):
        values = np.random.default_rng([14, group]).exponential(size=(20, 40)) - 1
        options = {"permutations": 100, "seed": group}
        plain += region_test(values, np.ones((20, 1)), [1.0], remove_skewness=False, **options).p_fwe.min() <= 0.05
        removed += region_test(values, np.ones((20, 1)), [1.0], **options).p_fwe.min() <= 0.05
    assert plain > 40
    assert removed <= 20  # 10 expected; 0.1 % chance of more than 20


# --- regions ----------------------------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, np.nan]), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1, 1])
    assert holm([]).size == 0


def test_a_region_that_is_real_survives_correction_and_gaps() -> None:
    rng = np.random.default_rng(15)
    values = rng.normal(size=(PEOPLE, 6))
    values[:, 2] += 2.5
    values[:2, 2] = np.nan
    found = region_test(values, np.ones((PEOPLE, 1)), [1.0], permutations=1000)
    assert found.p_holm[2] <= 0.02
    assert found.p_fwe[2] <= 0.02
    assert found.n[2] == PEOPLE - 2
    assert found.t[2] == pytest.approx(ttest_1samp(values[2:, 2], 0).statistic, abs=1e-4)
    np.testing.assert_allclose(found.p_holm, holm(found.p))
    assert np.delete(found.p_holm, 2).min() > 0.05


def test_site_differences_are_not_taken_for_group_differences() -> None:
    """Groups are spread unevenly over two sites that differ; within them nothing does."""
    rng = np.random.default_rng(16)
    site = np.repeat([0, 1], [8, 16])
    group = np.r_[np.repeat([0, 1], [6, 2]), np.repeat([0, 1], [4, 12])]
    values = rng.normal(size=(24, 5)) + 4 * site[:, None]
    design = np.column_stack([group == 0, group == 1, site - site.mean()]).astype(float)
    assert region_test(values, design[:, :2], [-1, 1], permutations=500).p_fwe.min() <= 0.05
    assert region_test(values, design, [-1, 1, 0], blocks=site, permutations=500).p_fwe.min() > 0.05


# --- refused ----------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_said_at_once() -> None:
    maps = noise(17)
    maps["brain"] = maps["brain"][1:]
    maps["cord"][:, 0, 0, 0] = np.nan
    with pytest.raises(CoSpineError, match=r"brain: maps .*cord: there are voxels.*0\.01: 0\.001 at most"):
        run(maps, cluster_p=0.01)
    with pytest.raises(CoSpineError, match="two people"):
        run(noise(17), variance_groups=np.arange(PEOPLE) == 0)
    with pytest.raises(CoSpineError, match="Site and contrast are one"):
        run(noise(17), TWO, (-1, 1), blocks=GROUPS)
    with pytest.raises(CoSpineError, match="do not fit"):
        region_test(np.ones((3, 2)), np.ones((4, 1)), [1.0])
    with pytest.raises(CoSpineError, match="rearrangements"):
        run(noise(17), permutations=10)
