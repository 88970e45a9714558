"""Peaks set by hand."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.physio.given import given_peaks


def test_rows_of_both_kinds_in_any_order() -> None:
    table = {
        "onset": ["3.5", "1.25", "2.0", "6"],
        "kind": ["cardiac", "cardiac", "respiratory", "Respiratory"],
        "quality": ["n/a", "0.5", "1", "0.25"],
        "file": ["a", "a", "b", "b"],
    }
    peaks = given_peaks(table)
    assert np.array_equal(peaks["cardiac"].onset_s, [1.25, 3.5])
    assert np.array_equal(peaks["cardiac"].quality, [0.5, 1.0])
    assert np.array_equal(peaks["respiratory"].onset_s, [2.0, 6.0])
    assert not peaks["cardiac"].mended.any()
    assert peaks["cardiac"].windows.usable.all()
    assert np.array_equal(peaks["respiratory"].rate_per_min, [15.0])


def test_time_of_the_run_goes_before_time_of_the_recording() -> None:
    table = {"onset": ["1", "2"], "onset_run": ["n/a", "-7.5"], "kind": ["cardiac", "cardiac"]}
    assert np.array_equal(given_peaks(table, start_s=-20.0)["cardiac"].onset_s, [-19.0, -7.5])


def test_windows_cover_the_peaks() -> None:
    onset = np.arange(0.5, 100.0, 0.8)
    windows = given_peaks({"onset": list(onset), "kind": ["cardiac"] * onset.size})["cardiac"].windows
    assert windows.start_s[0] <= onset[0]
    assert windows.start_s[-1] <= onset[-1] <= windows.start_s[-1] + windows.length_s


def test_everything_wrong_is_said_at_once() -> None:
    table = {"onset": ["1", "x", "n/a", "1"], "kind": ["cardiac", "cardiac", "nerve", "cardiac"], "quality": ["1", "1", "2", "1"]}
    with pytest.raises(CoSpineError) as caught:
        given_peaks(table)
    for part in ("row 2: onset x", "row 3: kind nerve", "row 3: no onset", "row 3: quality 2", "two cardiac peaks at 1 s"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "no column kind; no column onset"),
        ({"onset": ["1"]}, "no column kind"),
        ({"kind": [], "onset": []}, "no row"),
        ({"kind": ["cardiac"], "onset": ["1", "2"]}, "different lengths"),
    ],
)
def test_tables_that_are_none(table: dict[str, list[str]], says: str) -> None:
    with pytest.raises(CoSpineError, match=says):
        given_peaks(table)
