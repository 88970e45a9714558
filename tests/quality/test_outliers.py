"""Who differs from the others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cospine.quality.measures import MEASURES
from cospine.quality.outliers import JUDGED, LIMIT, modified_z, spreads


def test_the_published_formula() -> None:
    values = np.array([2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3])
    z = modified_z(values)
    median = 2.45
    mad = np.median(np.abs(values - median))
    np.testing.assert_allclose(z, 0.6745 * (values - median) / mad)
    assert set(np.flatnonzero(np.abs(z) > LIMIT)) == {8, 9}


def test_only_the_bad_side_is_an_outlier() -> None:
    runs = [{"fd_mean_mm": 0.2 + 0.01 * n, "tsnr_cord_after": 15.0 + 0.1 * n} for n in range(9)]
    runs += [{"fd_mean_mm": 0.01, "tsnr_cord_after": 40.0}, {"fd_mean_mm": 1.5, "tsnr_cord_after": 2.0}, {}]
    found = {one.name: one for one in spreads(runs)}
    assert set(found) == {"fd_mean_mm", "tsnr_cord_after"}
    for one in found.values():
        np.testing.assert_array_equal(np.flatnonzero(one.outliers), [10])
        assert np.isnan(one.values[11])


def test_few_or_equal_values_have_no_outliers() -> None:
    assert np.isnan(modified_z(np.array([1.0, 2.0, 3.0, 90.0]))).all()
    np.testing.assert_array_equal(modified_z(np.full(6, 3.0)), np.zeros(6))
    z = modified_z(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0]))  # more than half are equal
    assert z[-1] > LIMIT


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=40), st.floats(0.1, 10), st.floats(-100, 100))
def test_scores_do_not_know_the_unit(values: list[float], factor: float, shift: float) -> None:
    rounded = np.round(np.array(values), 2)
    np.testing.assert_allclose(modified_z(factor * rounded + shift), modified_z(rounded), rtol=1e-5, atol=1e-5)


def test_every_judged_measure_is_in_the_table() -> None:
    assert set(JUDGED) <= set(MEASURES)
