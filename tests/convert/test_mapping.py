"""The YAML mapping: patterns, and what is said of a bad one."""

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cospine.convert.mapping import built_in, load_mapping, parse_mapping
from cospine.convert.patterns import Pattern, match_all
from cospine.errors import CoSpineError

# every SeriesDescription of the two published datasets, and what its files are called there
PUBLISHED = {
    "brain-spinal_t1_pre": "anat/T1w",
    "brain-spinal_ep2d_pre_task1_R": "func/bold pain",
    "brain-spinal_ep2d_pre_task2": "func/bold pain",
    "brain-spinal_ep2d_pre_task2_H": "func/bold pain",
    "brain-spinal_ep2d_pre_task2_R": "func/bold pain",
    "brain-spinal_ep2d_motor_2_task": "func/bold motorL",
    "brain-spinal_ep2d_motor_L_task": "func/bold motorL",
    "brain-spinal_ep2d_motor_R_task": "func/bold motorR",
    "brain-spinal_ep2d_motor_task": "func/bold motorR",
    "brain-spinal_ep2d_AP_B0_epi1.5X1.5_task1_pre": "fmap/epi pain AP",
    "brain-spinal_ep2d_PA_B0_epi1.5X1.5_task1_pre": "fmap/epi pain PA",
    "brain-spinal_ep2d_AP_B0_epi1.5X1.5_motor_2": "fmap/epi motorL AP",
    "brain-spinal_ep2d_PA_B0_epi1.5X1.5_motor_L": "fmap/epi motorL PA",
    "brain-spinal_ep2d_AP_B0_epi1.5X1.5_motor": "fmap/epi motorR AP",
    "brain-spinal_ep2d_PA_B0_epi1.5X1.5_motor_R": "fmap/epi motorR PA",
    "brain_spinal_gre_fieldmapping_pre": "fmap/magnitude{echo} GRE",
}


@pytest.mark.parametrize(("description", "becomes"), PUBLISHED.items())
def test_the_built_in_mapping_knows_the_published_series(description: str, becomes: str) -> None:
    header = {"SeriesDescription": description, "Part": "magnitude", "ImageType": ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")}
    fitting = [(rule, groups) for rule in load_mapping(None).series if (groups := match_all(rule.match, header)) is not None]
    assert len(fitting) == 1
    rule, groups = fitting[0]
    values = [value.format(**groups) for value in rule.entities.values()]
    assert " ".join([f"{rule.datatype}/{rule.suffix}", *values]) == becomes


def test_the_built_in_mapping_leaves_scouts_and_derived_series_aside() -> None:
    scout, derived = {"SeriesDescription": "localizer_3plane"}, {"ImageType": ("DERIVED", "PRIMARY", "MPR")}
    for header in (scout, derived):
        fitting = [rule for rule in load_mapping(None).series if match_all(rule.match, header) is not None]
        assert [bool(rule.skip) for rule in fitting] == [True]


@pytest.mark.parametrize(
    ("pattern", "values", "fits"),
    [
        ("*bold*", ("my_BOLD_1",), True),
        ("bold", ("my_bold",), False),
        ("a*|b*", ("bx",), True),
        ("!*SBRef", ("x_SBRef",), False),
        ("!*SBRef", ("x",), True),
        ("M", ("ORIGINAL", "M"), True),
        ("!M", ("ORIGINAL", "M"), False),
        (r"/run-\d+/", ("task_run-12_x",), True),
        ("bold[1]", ("bold1",), True),
    ],
)
def test_patterns(pattern: str, values: tuple[str, ...], fits: bool) -> None:
    assert (Pattern(pattern).fits(values) is not None) is fits


def test_named_groups_fill_names() -> None:
    tests = {"SeriesDescription": (Pattern(r"/task-(?P<task>\w+?)_run-(?P<run>\d+)/"),), "Part": (Pattern("magnitude"),)}
    header = {"SeriesDescription": "func_task-fa_run-1", "Part": "magnitude"}
    assert match_all(tests, header) == {"task": "fa", "run": "1"}


def test_all_that_is_wrong_is_said_at_once() -> None:
    content = {
        "sries": [],
        "series": [
            {"match": {"SeriesDescription": "/(/"}, "to": "func/bold"},
            {"match": {}, "to": "anat/T1", "skip": "x"},
            {"match": {"a": "b"}, "to": "fmap/epi", "entities": {"acq": "a-b", "sub": "1"}, "repeats": "often"},
        ],
        "events": [{"task": "pain", "unit": "min", "rows": [{"onset": "x"}], "zero": "y"}],
    }
    with pytest.raises(CoSpineError) as caught:
        parse_mapping(content, "m.yaml")
    for said in (
        "'sries' is not known", "no regular expression", "func needs task", "either `to` or `skip`", "match is empty",
        "needs dir", "letters and digits only", "command line", "often", "unit: min", "needs onset and duration",
    ):  # fmt: skip
        assert said in caught.value.what, said


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["series", "events", "match", "to", "skip", "entities", "rows", "onset", "duration", "task", "name", "when"]),
    inner), max_leaves=20))  # fmt: skip
def test_no_content_makes_it_crash(content: Any) -> None:
    with suppress(CoSpineError):
        parse_mapping(content, "m.yaml")


def test_a_file_that_is_no_yaml_is_said(tmp_path: Any) -> None:
    (tmp_path / "m.yaml").write_text("series: [")
    with pytest.raises(CoSpineError, match="cannot be read as YAML"):
        load_mapping(tmp_path / "m.yaml")


def test_the_built_in_mapping_is_the_one_that_is_shown() -> None:
    assert yaml.safe_load(built_in())["name"] == load_mapping(None).name == "CoSpine"
