"""Events of tables in the wild: what is kept, what is left out and said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospine.bids.tables import read_tsv
from cospine.errors import CoSpineError
from cospine.stats.events import Condition, conditions_of, event_rows

PAIN = {
    "onset": ["49.4", "10.1", "27.7", "88.5", "999"],
    "duration": ["4", "4", "11", "4", "4"],
    "trial_type": ["pain", "pain", "rating", "pain", "pain"],
    "PR": ["5", "8", "n/a", "n/a", "1"],
}


def test_trial_types_become_conditions_and_ratings_modulators() -> None:
    (pain, modulator, rating), notes = conditions_of(PAIN, "pain", 300.0, {"pain": ["PR"]})
    assert (pain.name, modulator.name, rating.name) == ("pain", "pain_PR", "rating")
    np.testing.assert_array_equal(pain.onsets_s, [10.1, 49.4, 88.5])
    np.testing.assert_array_equal(pain.heights, [1, 1, 1])
    # centred over the two that have a rating and are in the run: 8 and 5
    np.testing.assert_array_equal(modulator.onsets_s, [10.1, 49.4])
    np.testing.assert_array_equal(modulator.heights, [1.5, -1.5])
    np.testing.assert_array_equal(rating.durations_s, [11])
    assert any("1 of 5 events begin after the run's end at 300 s" in note for note in notes)
    assert any("1 of 3 pain events have no PR" in note for note in notes)


def test_without_trial_type_the_task_is_the_condition() -> None:
    for columns in ({"onset": ["13", "34"], "duration": ["8", "8"]}, {"onset": ["13"], "duration": ["8"], "trial_type": ["N/A"]}):
        (only,), notes = conditions_of(columns, "motorL", 100.0)
        assert only.name == "motorL"
        assert "no trial_type" in notes[0]


def test_a_table_of_windows_with_holes(tmp_path) -> None:
    path = tmp_path / "events.tsv"
    path.write_bytes(
        b"onset\tduration\ttrial_type\r\n1\t2\theat\r\nN/A\t2\theat\r\n9\tNaN\theat\r\n20\t2\tN/A\r\n-3\t2\theat\r\n-90\t2\theat\r\n\r\n"
    )
    rows, notes = event_rows(read_tsv(path), "pain", 60.0)
    np.testing.assert_array_equal(rows.onsets_s, [-3, 1])  # what began shortly before the run still acts in it
    assert rows.columns["trial_type"] == ("heat", "heat")
    said = " ".join(notes)
    assert "2 of 6 events have no onset or no duration" in said
    assert "1 of 6 events have no trial_type" in said
    assert "1 of 6 events are over before the first volume" in said


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"onset": ["1"]}, "no column duration"),
        ({"onset": ["one"], "duration": ["1"]}, "holds 'one', no finite numbers"),
        ({"onset": ["1"], "duration": ["-1"]}, "1 durations are negative"),
        ({"onset": ["500"], "duration": ["1"]}, "none of 1 events can be modelled.*after the run's end"),
        ({"onset": [], "duration": []}, "none of 0 events"),
    ],
)
def test_what_cannot_be_used_is_named(columns, what) -> None:
    with pytest.raises(CoSpineError, match=what):
        event_rows(columns, "pain", 300.0)


def test_modulators_that_say_nothing_and_that_do_not_exist() -> None:
    same = {**PAIN, "PR": ["5", "5", "n/a", "5", "9"]}
    conditions, notes = conditions_of(same, "pain", 300.0, {"pain": ["PR"]})
    assert [one.name for one in conditions] == ["pain", "rating"]
    assert any("PR of pain has no values, or the same everywhere" in note for note in notes)
    with pytest.raises(CoSpineError, match=r"warm, UpR.*Trial types are pain, rating"):
        conditions_of(PAIN, "pain", 300.0, {"warm": ["PR"], "pain": ["UpR"]})
    with pytest.raises(CoSpineError, match="column PR holds 'high'"):
        conditions_of({**PAIN, "PR": ["high", "1", "2", "3", "4"]}, "pain", 300.0, {"pain": ["PR"]})


def test_a_condition_of_unequal_parts_is_refused() -> None:
    with pytest.raises(CoSpineError, match=r"condition 'a'.*make no condition"):
        Condition("a", np.zeros(2), np.zeros(3), np.zeros(2))
    with pytest.raises(CoSpineError, match="make no condition"):
        Condition("a", np.array([np.nan]), np.zeros(1), np.ones(1))


cells = st.sampled_from(["n/a", "N/A", "", "nan", "-40", "-1", "0", "3.5", "59.99", "60", "1e9", "inf", "x"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(cells, cells, st.sampled_from(["a", "b", "n/a", ""])), max_size=6))
def test_wild_tables_are_rows_within_the_run_or_a_named_error(table) -> None:
    columns = {name: [row[k] for row in table] for k, name in enumerate(("onset", "duration", "trial_type"))}
    try:
        rows, _ = event_rows(columns, "rest", 60.0)
    except CoSpineError as error:
        assert error.what and error.remedy  # noqa: PT017, PT018 - anything but this kind of error is what is looked for
        return
    assert np.all(np.diff(rows.onsets_s) >= 0)
    assert np.all((rows.onsets_s < 60) & (rows.durations_s >= 0) & (rows.onsets_s + rows.durations_s > -32))
    assert "n/a" not in rows.columns["trial_type"]
