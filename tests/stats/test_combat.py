"""ComBat against the authors' package, and what must hold of it whatever the values."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospine.errors import CoSpineError
from cospine.stats.combat import combat, too_few

ORACLE = Path(__file__).parents[1] / "data" / "combat" / "neurocombat.json"


@pytest.fixture(scope="module")
def oracle() -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in json.loads(ORACLE.read_text()).items()}


def widened(theirs: np.ndarray, oracle: dict[str, np.ndarray], keep: np.ndarray) -> np.ndarray:
    """The authors' values with the spread of people less sites about what everybody would have at the mean site."""
    at = (oracle["sites"][:, None] == np.unique(oracle["sites"])).astype(float)
    design = np.column_stack([at, keep])
    coefficients = np.linalg.lstsq(design, oracle["values"], rcond=None)[0]
    common = at.mean(axis=0) @ coefficients[: at.shape[1]] + keep @ coefficients[at.shape[1] :]
    people = len(design)
    return common + (theirs - common) * np.sqrt(people / (people - at.shape[1]))


def test_equals_the_authors_package(oracle: dict[str, np.ndarray]) -> None:
    found = combat(oracle["values"], oracle["sites"])
    assert np.abs(oracle["plain"] - oracle["values"]).max() > 1
    np.testing.assert_allclose(found.values, widened(oracle["plain"], oracle, np.empty((14, 0))), atol=3e-4)


def test_equals_the_authors_package_with_what_is_to_stay(oracle: dict[str, np.ndarray]) -> None:
    keep = np.column_stack([oracle["age"], oracle["group"]])
    found = combat(oracle["values"], oracle["sites"], keep)
    np.testing.assert_allclose(found.values, widened(oracle["kept"], oracle, keep), atol=3e-4)
    assert np.abs(oracle["kept"] - oracle["plain"]).max() > 0.1
    # a constant among them, or both groups in place of one, tell nothing new
    both = np.column_stack([oracle["age"], oracle["group"], 1 - oracle["group"]])
    np.testing.assert_allclose(combat(oracle["values"], oracle["sites"], both).values, found.values, atol=1e-9)


def two_sites(seed: int, people: tuple[int, int] = (20, 12), n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Unit noise at the first, twice the spread and a shift of 0.8 at the second."""
    rng = np.random.default_rng(seed)
    sites = np.repeat(["north", "south"], people)
    values = rng.standard_normal((len(sites), n))
    values[sites == "south"] = 2 * values[sites == "south"] + 0.8
    return values, sites


def test_shift_and_spread_are_gone_and_the_mean_stays() -> None:
    values, sites = two_sites(0)
    found = combat(values, sites)
    assert found.sites == ("north", "south")
    spread = [found.values[sites == site].std(axis=0, ddof=1).mean() for site in found.sites]
    assert spread[1] / spread[0] == pytest.approx(1, abs=0.03)
    assert np.median(found.spread[1] / found.spread[0]) == pytest.approx(2, abs=0.1)
    means = [found.values[sites == site].mean() for site in found.sites]
    assert means[1] - means[0] == pytest.approx(0, abs=0.05)
    np.testing.assert_allclose(found.values.mean(), values.mean(), atol=0.05)


def test_the_spread_of_few_people_is_not_made_smaller() -> None:
    """Within sites the variance is (6 * 1 + 5 * 4) / 11 = 2.36; divided by people it would be 1.93."""
    values, sites = two_sites(4, (6, 5))
    found = combat(values, sites)
    within = [found.values[sites == site].var(axis=0, ddof=1).mean() for site in found.sites]
    assert np.average(within, weights=(6, 5)) == pytest.approx(2.36, rel=0.08)


def test_a_voxel_is_drawn_to_what_its_site_does_elsewhere() -> None:
    """Of a shift that one voxel alone has, as chance makes it, part stays; a factor of site would take all."""
    values, sites = two_sites(1)
    values[sites == "south", 0] += 3
    found = combat(values, sites)
    left = found.values[sites == "south", 0].mean() - found.values[sites == "north", 0].mean()
    others = found.values[sites == "south", 1:].mean() - found.values[sites == "north", 1:].mean()
    assert left - others > 1
    assert abs(others) < 0.05


def test_an_effect_that_sites_share_unequally_stays_when_it_is_named() -> None:
    values, sites = two_sites(2, (20, 20))
    patients = np.r_[np.zeros(17), np.ones(3), np.zeros(3), np.ones(17)]
    values += 1.0 * patients[:, None]

    def difference(data: np.ndarray) -> float:
        return float(data[patients == 1].mean() - data[patients == 0].mean())

    assert difference(values) > 1.2, "the site's shift is in it"
    assert difference(combat(values, sites, patients[:, None]).values) == pytest.approx(1, abs=0.1)
    assert difference(combat(values, sites).values) < 0.8, "unnamed, some of it goes with the site"


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3), offset=st.floats(-100, 100))
def test_units_and_the_order_of_people_do_not_matter(seed: int, scale: float, offset: float) -> None:
    values, sites = two_sites(seed, (5, 4), 30)
    plain = combat(values, sites).values
    np.testing.assert_allclose(combat(scale * values + offset, sites).values, scale * plain + offset, atol=2e-4 * scale)
    order = np.random.default_rng(seed).permutation(len(sites))
    np.testing.assert_allclose(combat(values[order], sites[order]).values, plain[order], atol=1e-9)


@pytest.mark.parametrize("others", [0, 20])
def test_voxels_that_do_not_vary_at_a_site_are_given_back(others: int) -> None:
    values, sites = two_sites(3, (4, 4), 7 + others)
    values[:, 3], values[:, 5], values[sites == "south", 6] = 0.0, 7.25, 2.5
    found = combat(values, sites)
    np.testing.assert_array_equal(found.values[:, [3, 5, 6]], values[:, [3, 5, 6]])
    assert np.isfinite(found.values).all()
    alone = combat(values[:, [3, 4, 5, 6]], sites)  # one voxel that varies: nothing to learn from
    assert np.isfinite(alone.values).all()


def test_covariates_do_not_make_people_more_variable() -> None:
    """What they explain is the design's to count, not the spread's."""
    rng = np.random.default_rng(6)
    values, sites = two_sites(6, (12, 6))
    values[sites == "south"] = (values[sites == "south"] - 0.8) / 2
    keep = rng.standard_normal((18, 3))
    found = combat(values, sites, keep)
    design = np.column_stack([sites == "north", sites == "south", keep]).astype(float)
    left = [one - design @ np.linalg.lstsq(design, one, rcond=None)[0] for one in (values, found.values)]
    before, after = ((one**2).sum(axis=0).mean() / (18 - 5) for one in left)
    assert before == pytest.approx(1, abs=0.03)
    assert after == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    ("values", "sites", "keep", "what"),
    [
        (np.zeros((4, 2)), ["a"] * 4, None, "one site"),
        (np.zeros((5, 2)), ["a", "a", "a", "b", "b"], None, "b: 2"),
        (np.zeros((6, 2)), ["a", "a", "a", "b", "b"], None, "not of the same people"),
        (np.full((6, 2), np.nan), ["a"] * 3 + ["b"] * 3, None, "not finite"),
        (np.zeros((6, 2)), ["a"] * 3 + ["b"] * 3, np.zeros((5, 1)), "not of the same people"),
        (np.zeros((6, 2)), ["a"] * 3 + ["b"] * 3, np.full((6, 1), np.inf), "not finite"),
    ],
)
def test_what_cannot_be_harmonised_is_refused(values: np.ndarray, sites: list, keep: np.ndarray | None, what: str) -> None:
    with pytest.raises(CoSpineError, match=what):
        combat(values, sites, keep)


def test_why_sites_cannot_be_harmonised() -> None:
    assert too_few(["a"] * 3 + ["b"] * 3) == ""
    assert too_few([]) == "there is nobody"
    assert "c: 1" in too_few(["a"] * 3 + ["b"] * 3 + ["c"])
