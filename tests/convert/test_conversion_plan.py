"""Which series becomes which file, which field map is for which run, and what speaks against it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scanner import rules

from cospine.convert.mapping import load_mapping, parse_mapping
from cospine.convert.plan import Plan, make_plan
from cospine.convert.series import Series
from cospine.errors import CoSpineError


def series(description: str, number: int = 1, at_s: float = 0.0, **changes: Any) -> Series:
    header: Mapping[str, str] = {
        "SeriesDescription": description,
        "SeriesNumber": str(number),
        "PatientID": changes.pop("person", "1"),
    }
    known = {
        "uid": str(number),
        "part": "magnitude",
        "files": (Path("x"),),
        "header": header,
        "start_s": at_s,
        "date": "20260131",
    }
    return Series(**{**known, "echo_times_ms": (30.0,), **changes})


def plan(*given: Series, mapping: Any = None, session: str | None = None) -> tuple[Plan, list[CoSpineError]]:
    used = load_mapping(None) if mapping is None else parse_mapping(mapping, "test")
    return make_plan(given, used, "01", session)


def test_a_whole_session_gets_its_names() -> None:
    made, errors = plan(
        series("brain-spinal_t1_pre", 3, 0),
        series("brain-spinal_ep2d_AP_B0_epi1.5X1.5_task1_pre", 7, 10),
        series("brain-spinal_ep2d_PA_B0_epi1.5X1.5_task1_pre", 8, 20),
        series("brain-spinal_ep2d_pre_task2_R", 12, 30),
        series("brain_spinal_gre_fieldmapping_pre", 13, 40, echo_times_ms=(4.92, 7.38)),
        series("brain_spinal_gre_fieldmapping_pre", 14, 41, part="phase"),
        session="a",
    )
    assert not errors
    assert [target.image for item in made.items for target in item.targets] == [
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/fmap/sub-01_ses-a_acq-pain_dir-AP_epi.nii.gz",
        "sub-01/ses-a/fmap/sub-01_ses-a_acq-pain_dir-PA_epi.nii.gz",
        "sub-01/ses-a/func/sub-01_ses-a_task-pain_bold.nii.gz",
        "sub-01/ses-a/fmap/sub-01_ses-a_acq-GRE_magnitude1.nii.gz",
        "sub-01/ses-a/fmap/sub-01_ses-a_acq-GRE_magnitude2.nii.gz",
        "sub-01/ses-a/fmap/sub-01_ses-a_acq-GRE_phasediff.nii.gz",
    ]
    assert {one.identifier: [run.entities["task"] for run in one.runs] for one in made.fields} == {
        "pepolar_pain_sesa": ["pain"],
        "gre_GRE_sesa": ["pain"],
    }


def test_each_grasping_run_gets_its_own_pair() -> None:
    made, errors = plan(
        *(series(f"brain-spinal_ep2d_{way}_B0_epi1.5X1.5_motor_{side}", n, n) for n, (way, side) in enumerate(
            [("AP", "R"), ("PA", "R"), ("AP", "L"), ("PA", "L")])),
        series("brain-spinal_ep2d_motor_L_task", 5, 5),
        series("brain-spinal_ep2d_motor_R_task", 6, 6),
    )  # fmt: skip
    assert not errors
    assert {one.identifier: [run.entities["task"] for run in one.runs] for one in made.fields} == {
        "pepolar_motorR": ["motorR"],
        "pepolar_motorL": ["motorL"],
    }


def test_of_several_pairs_the_last_before_the_run_serves_it() -> None:
    pair = {
        "match": {"SeriesDescription": r"/(?P<dir>AP|PA)/"},
        "to": "fmap/epi",
        "entities": {"dir": "{dir}"},
        "repeats": "number",
    }
    mapping = {"series": [pair, {**rules()["series"][0], "repeats": "number"}]}
    given = [("AP", 0), ("PA", 1), ("bold", 2), ("AP", 3), ("PA", 4), ("bold", 5)]
    made, errors = plan(*(series(name, n, at) for n, (name, at) in enumerate(given)), mapping=mapping)
    assert not errors
    assert {one.identifier: [run.entities["run"] for run in one.runs] for one in made.fields} == {
        "pepolar_1": ["1"],
        "pepolar_2": ["2"],
    }


def test_unmapped_and_ambiguous_series_are_all_named() -> None:
    mapping = {"series": [*rules()["series"], *rules(match={"SeriesDescription": "*b*"}, name="other")["series"]]}
    _, errors = plan(series("bold 1", 4), series("t1", 5), series("t2", 6), mapping=mapping)
    said = "\n".join(map(str, errors))
    assert len(errors) == 3
    assert "series 4 bold 1 (1 file): 2 rules fit (“func/bold”, “other”)" in said
    assert "series 5 t1" in said
    assert "series 6 t2" in said


@pytest.mark.parametrize(("repeats", "names"), [("number", ["run-1", "run-2"]), ("last", ["rest"]), ("error", ["rest", "rest"])])
def test_two_series_of_one_name(repeats: str, names: list[str]) -> None:
    made, errors = plan(series("bold", 4, 1), series("bold", 6, 2), mapping=rules(repeats=repeats))
    assert [item.targets[0].stem.split("_")[-2].removeprefix("task-") for item in made.items] == names
    assert len(errors) == (repeats == "error")
    if repeats == "error":
        assert "series 4 bold" in errors[0].what
        assert "series 6 bold" in errors[0].what
    if repeats == "last":
        assert made.items[0].series.number == 6
        assert [one.number for one, _ in made.skipped] == [4]


def test_several_people_or_days_in_one_source_are_refused_without_naming_anyone() -> None:
    _, errors = plan(series("bold", 1, person="Doe"), series("bold", 2, person="Roe"), mapping=rules(repeats="number"))
    assert "2 people" in errors[0].what
    assert "Doe" not in str(errors[0])
    _, errors = plan(series("bold", 1), series("bold", 2, date="20260214"), mapping=rules(repeats="number"))
    assert "2 days" in errors[0].what


def test_a_session_over_midnight_at_the_end_of_a_month_is_one_session() -> None:
    one, other = series("heat", 1, 86_000.0), series("heat", 2, 100.0)
    for dates, days in ((("20240131", "20240201"), 0), (("2024.01.31", "20240201"), 0), (("20240131", "20240202"), 2)):
        _, errors = plan(*(replace(given, date=date) for given, date in zip((one, other), dates, strict=True)))
        assert any("days of scanning" in error.what for error in errors) == bool(days)


def test_several_echoes_of_a_run_are_named() -> None:
    made, errors = plan(series("bold", echo_times_ms=(12.0, 30.0)), mapping=rules())
    assert not errors
    assert [one.stem for one in made.items[0].targets] == [
        "sub-01/func/sub-01_task-rest_echo-1_bold",
        "sub-01/func/sub-01_task-rest_echo-2_bold",
    ]


def test_a_group_that_makes_no_name_is_said() -> None:
    mapping = rules(match={"SeriesDescription": r"/bold (?P<task>.*)/"}, entities={"task": "{task}"})
    _, errors = plan(series("bold my task"), mapping=mapping)
    assert "task-my task, which is no BIDS value" in errors[0].what
