"""Confounds by name: what they hold, worked by hand."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.motion.cord import CordMotion
from cospine.signal.columns import SliceColumns
from cospine.signal.compcor import principal_components
from cospine.signal.confounds import (
    component_columns,
    cord_shift_columns,
    drift_columns,
    expanded,
    outlier_columns,
    signal_columns,
)
from cospine.signal.drift import cosine_drift


def test_motion_has_derivatives_and_squares() -> None:
    columns, described = expanded({"trans_x": np.array([0.0, 0.5, -0.5])}, {"trans_x": {"Units": "mm"}})
    assert list(columns) == ["trans_x", "trans_x_derivative1", "trans_x_derivative1_power2", "trans_x_power2"]
    np.testing.assert_array_equal(columns["trans_x_derivative1"], [np.nan, 0.5, -1.0])
    np.testing.assert_array_equal(columns["trans_x_derivative1_power2"], [np.nan, 0.25, 1.0])
    np.testing.assert_array_equal(columns["trans_x_power2"], [0, 0.25, 0.25])
    assert [described[name]["Units"] for name in columns] == ["mm", "mm", "mm^2", "mm^2"]


def test_outliers_are_one_column_a_volume_and_say_why() -> None:
    displacement = np.array([np.nan, 0.1, 0.7, 0.5, 0.9, 0.1])
    std_dvars = np.array([np.nan, 1.0, 1.0, 1.5, 1.8, 1.6])
    columns, described = outlier_columns(displacement, std_dvars)
    assert list(columns) == ["motion_outlier00", "motion_outlier01", "motion_outlier02"]
    np.testing.assert_array_equal(np.array(list(columns.values())), np.eye(6, dtype=int)[[2, 4, 5]])
    assert "displacement" in described["motion_outlier00"]["Description"]
    assert "DVARS" not in described["motion_outlier00"]["Description"]
    assert all(word in described["motion_outlier01"]["Description"] for word in ("displacement", "DVARS", "volume 4"))


def test_volumes_not_in_steady_state_are_no_motion_outliers() -> None:
    columns, _ = outlier_columns(np.array([9.0, 9.0, 0.0, 9.0]), None, dummies=2)
    np.testing.assert_array_equal(np.array(list(columns.values())), [[0, 0, 0, 1]])
    assert outlier_columns(None, None) == ({}, {})


def test_the_shifts_of_the_cord_lie_in_its_slices() -> None:
    shift = np.array([[[0.1, -0.2], [0.0, 0.3]], [[0.4, -0.1], [0.2, 0.3]]])
    nothing = np.zeros_like(shift)
    found = cord_shift_columns(CordMotion(np.array([4, 1]), shift, nothing, nothing), 6)
    assert found.names == ("cord_shift_i", "cord_shift_j", "cord_shift_i_derivative1", "cord_shift_j_derivative1")
    assert found.columns.shape == (2, 6, 4)
    np.testing.assert_allclose(found.columns[:, 4], [[0.1, -0.2, 0, 0], [0.4, -0.1, 0.3, 0.1]])
    np.testing.assert_allclose(found.columns[:, 1], [[0.0, 0.3, 0, 0], [0.2, 0.3, 0.2, 0]])
    assert not found.columns[:, [0, 2, 3, 5]].any()
    assert found.descriptions.keys() == set(found.names)


def test_slice_wise_columns_of_one_run_join() -> None:
    first = SliceColumns(("a",), np.ones((3, 2, 1)), {"a": "one"})
    second = SliceColumns(("b",), np.zeros((3, 2, 1)), {"b": "two"})
    joined = SliceColumns.none((3, 2)).joined(first).joined(second)
    assert joined.names == ("a", "b")
    np.testing.assert_array_equal(joined.columns[0, 0], [1, 0])
    np.testing.assert_array_equal(joined.count, [1, 1])
    assert joined.descriptions == {"a": "one", "b": "two"}
    for other in (first, SliceColumns(("c",), np.zeros((3, 4, 1)), {})):
        with pytest.raises(CoSpineError, match="do not go together"):
            first.joined(other)


def test_components_and_drifts_carry_names_of_fmriprep_and_what_they_explain() -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(100, 1, size=(5, 5, 4, 60))
    mask = np.ones((5, 5, 4), bool)
    drift = cosine_drift(60, 2.68)
    components = principal_components(series, mask, drift=drift, most=3)
    columns, described = component_columns("w", components)
    assert list(columns) == ["w_comp_cor_00", "w_comp_cor_01", "w_comp_cor_02"]
    assert described["w_comp_cor_01"]["Mask"] == "WM"
    assert described["w_comp_cor_01"]["CumulativeVarianceExplained"] == pytest.approx(components.share[:2].sum())
    assert list(drift_columns(drift, 128.0)[0]) == ["cosine00", "cosine01"]
    assert list(signal_columns({"csf": np.arange(3.0)})[0])[1] == "csf_derivative1"


def test_every_column_is_described() -> None:
    rng = np.random.default_rng(3)
    series = rng.normal(100, 1, size=(8, 8, 4, 70)).astype(np.float32)
    drift = cosine_drift(70, 2.68)
    tables = [
        signal_columns({name: rng.normal(size=70) for name in ("global_signal", "csf", "white_matter", "csf_wm")}),
        component_columns("a", principal_components(series, np.ones((8, 8, 4), bool), drift=drift, most=2)),
        drift_columns(drift, 128.0),
        outlier_columns(np.where(np.arange(70) == 20, 1.0, 0.1), None),
    ]
    names: list[str] = []
    for columns, described in tables:
        assert columns.keys() == described.keys()
        assert all("Description" in about for about in described.values())
        assert {len(values) for values in columns.values()} == {70}
        names += columns
    assert len(set(names)) == len(names) == 16 + 2 + 2 + 1
