"""Logs of the task and the events in them."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospine.convert.events import events_of
from cospine.convert.logs import read_log
from cospine.convert.mapping import EventsRule, parse_mapping
from cospine.errors import CoSpineError

EPRIME = """*** Header Start ***
Experiment: heat
SessionTime: 10:20:00
*** Header End ***
	Level: 2
	*** LogFrame Start ***
	Procedure: Trigger
	Trigger.RTTime: 12000
	*** LogFrame End ***
		Level: 3
		*** LogFrame Start ***
		Procedure: Heat
		Heat.OnsetTime: 22154
		Rate.OnsetTime: 39686
		Pain.RESP: 7.0
		*** LogFrame End ***
		Level: 3
		*** LogFrame Start ***
		Procedure: Heat
		Heat.OnsetTime: 61385
		Rate.OnsetTime:
		Pain.RESP:
		*** LogFrame End ***
	Level: 2
	*** LogFrame Start ***
	Block: 1
	Temperature: 46
	*** LogFrame End ***
*** LogFrame Start ***
*** LogFrame End ***
"""

HEAT = {
    "task": "pain",
    "files": "heat*.txt",
    "unit": "ms",
    "zero": "Trigger.RTTime",
    "rows": [
        {"onset": "Heat.OnsetTime", "duration": 4, "trial_type": "pain", "columns": {"PR": "Pain.RESP", "temp": "Temperature"}},
        {"onset": "Rate.OnsetTime", "duration": 11, "trial_type": "rating"},
    ],
}


def rule(**content: Any) -> EventsRule:
    series = [{"match": {"a": "b"}, "to": "anat/T1w"}]
    return parse_mapping({"series": series, "events": [content]}, "test").events[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "utf-8"])
def test_eprime_in_every_encoding(encoding: str) -> None:
    events = events_of(read_log(EPRIME.replace("\n", "\r\n").encode(encoding), "heat.txt"), rule(**HEAT), "heat.txt")
    assert events.columns == {
        "onset": [10.154, 27.686, 49.385],
        "duration": [4.0, 11.0, 4.0],
        "trial_type": ["pain", "rating", "pain"],
        "PR": ["7.0", None, None],
        "temp": ["46", None, "46"],
    }
    assert events.describe["onset"]["Units"] == "s"


def test_discarded_volumes_shift_onsets() -> None:
    events = events_of(read_log(EPRIME.encode(), "x"), rule(**{**HEAT, "shift_s": -16.08}), "x")
    assert events.columns["onset"][0] == pytest.approx(10.154 - 16.08)
    assert events.beyond(11.6) == 2


def test_psychopy_wide_table() -> None:
    text = (
        "trigger.started,stim.started,stim.stopped,condition,thisN\r\n3.25,,,,\r\n,13.25,21.25,left,0\r\n,34.5,42.75,right,1\r\n"
        "None,,,,\r\n"
    )
    grasp = rule(
        task="motor", zero="trigger.started",
        rows=[{"onset": "stim.started", "duration": 8.0, "trial_type": "{condition}", "when": {"condition": "!left"}}],
    )  # fmt: skip
    events = events_of(read_log(text.encode("utf-8-sig"), "x"), grasp, "x")
    assert events.columns == {"onset": [31.25], "duration": [8.0], "trial_type": ["right"]}


def test_plain_tables_without_a_trial_type() -> None:
    plain = rule(task="motor", rows=[{"onset": "time", "duration": "length"}])
    for separator in "\t;,":
        text = f"time{separator}length\n13{separator}8\n34.5{separator}8\n"
        assert events_of(read_log(text.encode(), "x"), plain, "x").columns == {"onset": [13.0, 34.5], "duration": [8.0, 8.0]}


def test_what_is_wrong_with_a_log_is_said() -> None:
    with pytest.raises(CoSpineError, match=r"no column Cold.OnsetTime, Start \(it has: Experiment, "):
        events_of(
            read_log(EPRIME.encode(), "x"), rule(task="p", zero="Start", rows=[{"onset": "Cold.OnsetTime", "duration": 1}]), "x"
        )
    bad = b"time,length\nsoon,8\n1,-3\n2,8\n"
    with pytest.raises(CoSpineError, match="row 1: time is 'soon', no number; row 2: length is '-3', no duration"):
        events_of(read_log(bad, "x"), rule(task="p", rows=[{"onset": "time", "duration": "length"}]), "x")
    with pytest.raises(CoSpineError, match="no row of 1 is an event"):
        events_of(read_log(b"time,length\n,8\n", "x"), rule(task="p", rows=[{"onset": "time", "duration": "length"}]), "x")
    with pytest.raises(CoSpineError, match="holds no number"):
        events_of(read_log(b"t,z\n1,\n", "x"), rule(task="p", zero="z", rows=[{"onset": "t", "duration": 1}]), "x")
    for data, said in ((b"", "is empty"), (b"\0\0\1", "is no text"), (b"one line", "has no columns")):
        with pytest.raises(CoSpineError, match=said):
            read_log(data, "x")
    with pytest.raises(CoSpineError, match="holds no LogFrame"):
        read_log(b"*** Header Start ***\n*** Header End ***\n", "x")


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_log_makes_it_crash(data: bytes) -> None:
    with suppress(CoSpineError):
        events_of(read_log(data, "x"), rule(task="p", rows=[{"onset": "time", "duration": "length"}]), "x")
