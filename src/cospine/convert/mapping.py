"""The mapping: a small YAML file that says what each series is called in BIDS, and how logs of the task are read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from cospine.bids import build_name
from cospine.convert.patterns import Pattern
from cospine.errors import CoSpineError

Repeats = Literal["error", "number", "last"]

DATATYPES: dict[str, frozenset[str]] = {
    "anat": frozenset({"T1w", "T2w", "FLAIR", "T2starw", "PDw", "UNIT1", "inplaneT1", "inplaneT2"}),
    "func": frozenset({"bold", "sbref"}),
    "fmap": frozenset({"epi", "magnitude1", "magnitude2", "magnitude", "phase1", "phase2", "phasediff", "fieldmap"}),
    "dwi": frozenset({"dwi", "sbref"}),
}
"""What a series can become. `magnitude{echo}` and `phase{echo}` stand for both echoes of one series."""

_SERIES_KEYS = {"name", "match", "to", "entities", "sidecar", "skip", "repeats", "for"}
_EVENT_KEYS = {"name", "task", "files", "format", "encoding", "unit", "zero", "shift_s", "rows", "columns", "describe"}
_ROW_KEYS = {"onset", "duration", "trial_type", "when", "columns"}
_TOP_KEYS = {"name", "dataset", "series", "events"}
_UNITS = {"s": 1.0, "ms": 1e-3}


@dataclass(frozen=True, eq=False)
class SeriesRule:
    """What series that fit are called, or that they are left aside.

    Parameters
    ----------
    name : str
        For people.
    match : mapping of str to tuple of Pattern
        DICOM keyword to patterns; all must fit. `Part` is magnitude, phase or other.
    datatype, suffix : str
        As `func`, `bold`.
    entities : mapping of str to str
        As `task: pain`; `{name}` stands for a named group of a regular expression.
    sidecar : mapping
        Added to the sidecar, in place of what is there.
    skip : str or None
        Why such series are left aside.
    repeats : {"error", "number", "last"}
        What to do with two series of one name.
    tasks : tuple of str
        Of a field map: the tasks it is for; empty: by `acq-`, else all.
    """

    name: str
    match: Mapping[str, tuple[Pattern, ...]]
    datatype: str = ""
    suffix: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    skip: str | None = None
    repeats: Repeats = "error"
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RowRule:
    """Which rows of a log are events. Each value is a column's name, a number, or (`trial_type`) a text or `{column}`."""

    onset: str
    duration: str | float
    trial_type: str | None = None
    when: Mapping[str, tuple[Pattern, ...]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EventsRule:
    """How the logs of a task are read.

    Parameters
    ----------
    name : str
        For people.
    task : str
        Of the runs.
    files : Pattern
        On the log's file name.
    format : {"auto", "eprime", "psychopy", "table"}
    unit_s : float
        Of times in the log, s.
    zero : str or float
        Column or header entry whose first value is the start of the first volume; or that time itself.
    shift_s : float
        Added to every onset, as -16.08 where the scanner throws six volumes away after its first trigger.
    rows : tuple of RowRule
    describe : mapping
        For the JSON beside the table.
    """

    name: str
    task: str
    files: Pattern
    format: str
    unit_s: float
    zero: str | float
    shift_s: float
    rows: tuple[RowRule, ...]
    describe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SeriesMapping:
    """A whole mapping."""

    name: str
    series: tuple[SeriesRule, ...]
    events: tuple[EventsRule, ...] = ()
    dataset: Mapping[str, Any] = field(default_factory=dict)


def load_mapping(path: Path | None) -> SeriesMapping:
    """Read a mapping; the one of the CoSpine protocol by default.

    Raises
    ------
    CoSpineError
        When PyYAML is missing, or the file cannot be read or says what no mapping can: all that is wrong at once.
    """
    try:
        import yaml
    except ImportError as error:
        raise CoSpineError("the mapping cannot be read: PyYAML is not installed", "", "pip install cospine[convert]") from error
    where = "the built-in mapping" if path is None else str(path)
    try:
        text = built_in() if path is None else path.read_text(encoding="utf-8-sig")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CoSpineError(f"cannot be read as YAML ({reason})", where, "Mend the line that is named") from error
    return parse_mapping(content, where)


def built_in() -> str:
    """Text of the mapping that the package carries."""
    return (resources.files("cospine.convert") / "mappings" / "cospine.yaml").read_text(encoding="utf-8")


def parse_mapping(content: Any, where: str) -> SeriesMapping:
    """Check and take over what a YAML file holds; raises one CoSpineError that lists everything wrong."""
    wrong: list[str] = []
    if not isinstance(content, dict):
        raise CoSpineError("holds no mapping", where, "Begin with `series:` and a list of rules, as docs/convert.md shows")
    _only(content, _TOP_KEYS, "the file", wrong)
    series = [_series_rule(one, f"series rule {n}", wrong) for n, one in enumerate(_list(content, "series", wrong), 1)]
    events = [_events_rule(one, f"events rule {n}", wrong) for n, one in enumerate(_list(content, "events", wrong), 1)]
    dataset = content.get("dataset", {})
    if not isinstance(dataset, dict):
        wrong.append("dataset: is no mapping of entries of dataset_description.json")
        dataset = {}
    if not series:
        wrong.append("series: no rule")
    if wrong:
        raise CoSpineError("is no mapping that can be used: " + "; ".join(wrong), where, "See docs/convert.md for the form")
    return SeriesMapping(
        str(content.get("name", where)),
        tuple(one for one in series if one is not None),
        tuple(one for one in events if one is not None),
        dataset,
    )


def _series_rule(rule: Any, place: str, wrong: list[str]) -> SeriesRule | None:
    if not isinstance(rule, dict):
        wrong.append(f"{place}: is no mapping")
        return None
    name = str(rule.get("name") or rule.get("to") or rule.get("skip") or place)
    place = f"{place} ({name})"
    _only(rule, _SERIES_KEYS, place, wrong)
    match = _tests(rule.get("match"), f"{place}: match", wrong)
    if not match:
        wrong.append(f"{place}: match is empty")
    if ("to" in rule) == ("skip" in rule):
        wrong.append(f"{place}: needs either `to` or `skip`")
        return None
    if "skip" in rule:
        return SeriesRule(name, match, skip=str(rule["skip"]) if rule["skip"] is not True else "as the mapping says")
    datatype, _, suffix = str(rule["to"]).partition("/")
    plain = {suffix.replace("{echo}", "1")} if "{echo}" in suffix else {suffix}
    if datatype not in DATATYPES or not plain <= DATATYPES.get(datatype, frozenset()):
        known = ", ".join(f"{one}/{'|'.join(sorted(DATATYPES[one]))}" for one in DATATYPES)
        wrong.append(f"{place}: to: {rule['to']} is none of {known}")
    entities = {str(key): str(value) for key, value in _mapping(rule, "entities", place, wrong).items()}
    for key in entities:
        if key in ("sub", "ses"):
            wrong.append(f"{place}: {key} is given on the command line")
    try:
        build_name({key: re.sub(r"\{\w+\}", "x", value) for key, value in entities.items()}, "x", "")
    except ValueError as error:
        wrong.append(f"{place}: entities: {error}")
    if suffix in ("bold", "sbref") and datatype == "func" and "task" not in entities:
        wrong.append(f"{place}: entities: func needs task")
    if suffix == "epi" and "dir" not in entities:
        wrong.append(f"{place}: entities: fmap/epi needs dir")
    repeats = rule.get("repeats", "error")
    if repeats not in ("error", "number", "last"):
        wrong.append(f"{place}: repeats: {repeats} is none of error, number, last")
        repeats = "error"
    tasks = rule.get("for", [])
    if "for" in rule and datatype != "fmap":
        wrong.append(f"{place}: for belongs to field maps")
    tasks = tuple(str(one) for one in (tasks if isinstance(tasks, list) else [tasks]))
    return SeriesRule(
        name, match, datatype, suffix, entities, _mapping(rule, "sidecar", place, wrong), None, repeats, tasks
    )  # fmt: skip


def _events_rule(rule: Any, place: str, wrong: list[str]) -> EventsRule | None:
    if not isinstance(rule, dict):
        wrong.append(f"{place}: is no mapping")
        return None
    name = str(rule.get("name") or rule.get("task") or place)
    place = f"{place} ({name})"
    _only(rule, _EVENT_KEYS, place, wrong)
    if not rule.get("task"):
        wrong.append(f"{place}: task is missing")
    unit = rule.get("unit", "s")
    if unit not in _UNITS:
        wrong.append(f"{place}: unit: {unit} is neither s nor ms")
    layout = rule.get("format", "auto")
    if layout not in ("auto", "eprime", "psychopy", "table"):
        wrong.append(f"{place}: format: {layout} is none of auto, eprime, psychopy, table")
    shift = rule.get("shift_s", 0)
    if isinstance(shift, bool) or not isinstance(shift, int | float):
        wrong.append(f"{place}: shift_s: {shift} is no number of seconds")
        shift = 0.0
    zero = rule.get("zero", 0)
    rows = []
    for n, row in enumerate(_list(rule, "rows", wrong, place), 1):
        here = f"{place}: row {n}"
        if not isinstance(row, dict) or "onset" not in row or "duration" not in row:
            wrong.append(f"{here}: needs onset and duration")
            continue
        _only(row, _ROW_KEYS, here, wrong)
        duration = row["duration"]
        rows.append(
            RowRule(
                str(row["onset"]),
                float(duration) if isinstance(duration, int | float) and not isinstance(duration, bool) else str(duration),
                None if row.get("trial_type") is None else str(row["trial_type"]),
                _tests(row.get("when", {}), f"{here}: when", wrong),
                {
                    str(key): str(value)
                    for source in (_mapping(rule, "columns", place, wrong), _mapping(row, "columns", here, wrong))
                    for key, value in source.items()
                },
            )
        )
    if not rows:
        wrong.append(f"{place}: no rows")
    return EventsRule(
        name, str(rule.get("task", "")), _pattern(rule.get("files", "*"), f"{place}: files", wrong), str(layout),
        _UNITS.get(str(unit), 1.0), zero if isinstance(zero, int | float) else str(zero), float(shift), tuple(rows),
        _mapping(rule, "describe", place, wrong),
    )  # fmt: skip


def _tests(content: Any, place: str, wrong: list[str]) -> dict[str, tuple[Pattern, ...]]:
    if content is None or not isinstance(content, dict):
        wrong.append(f"{place}: is no mapping of attributes to patterns")
        return {}
    return {
        str(key): tuple(_pattern(one, f"{place}: {key}", wrong) for one in (value if isinstance(value, list) else [value]))
        for key, value in content.items()
    }


def _pattern(text: Any, place: str, wrong: list[str]) -> Pattern:
    try:
        return Pattern(str(text))
    except re.error as error:
        wrong.append(f"{place}: {text} is no regular expression ({error})")
        return Pattern("*")


def _mapping(content: Mapping[str, Any], key: str, place: str, wrong: list[str]) -> Mapping[str, Any]:
    value = content.get(key) or {}
    if isinstance(value, dict):
        return {str(name): one for name, one in value.items()}
    wrong.append(f"{place}: {key} is no mapping")
    return {}


def _list(content: Mapping[str, Any], key: str, wrong: list[str], place: str = "") -> Sequence[Any]:
    value = content.get(key) or []
    if isinstance(value, list):
        return value
    wrong.append(f"{place + ': ' if place else ''}{key} is no list")
    return []


def _only(content: Mapping[Any, Any], known: set[str], place: str, wrong: list[str]) -> None:
    for key in content:
        if key not in known:
            wrong.append(f"{place}: {key!r} is not known here (known: {', '.join(sorted(known))})")
