"""The partition of a design, and which rearrangements are drawn."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.exchange import PEOPLE, SIGNS, partition, rearrange


def test_the_tested_columns_coefficient_is_the_contrast() -> None:
    rng = np.random.default_rng(1)
    design, contrast, y = rng.normal(size=(12, 3)), np.array([1.0, -2, 0.5]), rng.normal(size=12)
    parts = partition(design, contrast)
    whole = np.column_stack([parts.tested, parts.nuisance])
    np.testing.assert_allclose(
        np.linalg.lstsq(whole, y, rcond=None)[0][0], contrast @ np.linalg.lstsq(design, y, rcond=None)[0], rtol=1e-10
    )
    np.testing.assert_allclose(np.linalg.matrix_rank(np.column_stack([whole, design])), 3)


def test_mean_and_difference_become_what_they_are() -> None:
    age = np.arange(6.0)
    np.testing.assert_allclose(partition(np.column_stack([np.ones(6), age]), [1, 0]).tested, 1)
    groups = np.array([0, 0, 0, 1, 1, 1])
    parts = partition(np.column_stack([groups == 0, groups == 1]), [-1, 1])
    np.testing.assert_allclose(parts.tested, groups - 0.5)
    assert np.ptp(parts.nuisance) == pytest.approx(0)


def test_all_that_is_wrong_with_a_design_is_said_at_once() -> None:
    with pytest.raises(CoSpineError, match=r"rank 1.*contrast is 0"):
        partition(np.ones((5, 2)), [0, 0])
    with pytest.raises(CoSpineError, match="does not fit"):
        partition(np.ones((5, 1)), [1, 0])
    with pytest.raises(CoSpineError, match="1 degrees of freedom"):
        partition(np.column_stack([np.ones(3), [0, 1, 2]]), [1, 0])


def test_a_mean_is_tested_by_flips_all_of_them_where_they_are_few() -> None:
    drawn = rearrange(np.ones(5), None, 100, two_sided=True, seed=1)
    assert (drawn.kind, drawn.exhaustive, drawn.count, drawn.possible) == (SIGNS, True, 16, 16.0)
    assert len(np.unique(drawn.sign, axis=0)) == 16
    np.testing.assert_array_equal(drawn.sign[0], 1)
    one_sided = rearrange(np.ones(5), None, 100, two_sided=False, seed=1)
    assert len(np.unique(one_sided.sign, axis=0)) == one_sided.count == 32
    many = rearrange(np.ones(20), None, 100, two_sided=True, seed=1)
    assert not many.exhaustive
    np.testing.assert_array_equal(many.sign[0], 1)
    np.testing.assert_array_equal(many.source, np.tile(np.arange(20), (100, 1)))


def test_people_stay_within_their_site() -> None:
    sites = np.array(["b", "a", "b", "a", "a", "b", "b"])
    tested = np.array([0, 0, 1, 1, 0, 1, 0.0])
    drawn = rearrange(tested, sites, 50, two_sided=True, seed=3)
    assert drawn.kind == PEOPLE
    np.testing.assert_array_equal(drawn.source[0], np.arange(7))
    assert (sites[drawn.source] == sites).all()
    np.testing.assert_array_equal(np.sort(drawn.source, axis=1), np.tile(np.arange(7), (50, 1)))
    assert len(np.unique(drawn.source, axis=0)) > 20
    assert drawn.possible == pytest.approx(3 * 6)  # one of three, two of four
    np.testing.assert_array_equal(drawn.source, rearrange(tested, sites, 50, two_sided=True, seed=3).source)


def test_people_with_unlike_errors_are_not_exchanged() -> None:
    assert rearrange(np.arange(8.0), None, 50, two_sided=True, seed=1, alike=False).kind == SIGNS


@pytest.mark.parametrize("alike", [True, False])
def test_a_contrast_that_is_one_with_the_site_is_refused(alike: bool) -> None:
    site = np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(CoSpineError, match="Site and contrast are one"):
        rearrange(site - 0.5, site, 50, two_sided=True, seed=1, alike=alike)
