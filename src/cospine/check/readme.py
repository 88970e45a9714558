"""What a README says of its dataset, as far as it can be checked: numbers, files, columns, temperatures, versions."""

import re
from collections.abc import Iterator
from pathlib import Path

from cospine.bids import Finding, finding, load_events
from cospine.bids.tables import read_json
from cospine.check.people import columns_of
from cospine.check.scope import Scope, listed

_NAMES = ("README", "README.md", "README.rst", "README.txt")
_LARGEST = 1 << 20
_RANGE = r"(\d+(?:\.\d+)?)\s*(?:[-–—]|to)\s*(\d+(?:\.\d+)?)"
_PEOPLE = re.compile(
    r"\b(?:subjects|participants)\b\W{0,6}(\d{1,4})\b|\b(\d{1,4})\s+(?:healthy\s+)?(?:\w+\s+)?(?:subjects|participants|volunteers)\b",
    re.IGNORECASE,
)
_BIDS_FILE = re.compile(r"\bsub-[A-Za-z0-9]+(?:_[A-Za-z]+-[A-Za-z0-9]+)*_[A-Za-z0-9]+\.(?:nii\.gz|nii|json|tsv\.gz|tsv)\b")
_TOP_FILE = re.compile(r"^[├└│─\s]*(task-[A-Za-z0-9]+_(?:events|bold|physio)\.json)\s*$", re.MULTILINE)
_BLOCKS = re.compile(r"\b(\d{1,3})\s+(blocks|trials)\s+in\s+total\b", re.IGNORECASE)
_INTERVAL = re.compile(r"\b(?:ITI|inter[- ]?(?:trial|block|stimulus) interval)\b[^\n\d]{0,60}" + _RANGE + r"\s*s", re.IGNORECASE)
_VERSION = re.compile(r"\bversion\W{0,8}v?(\d+\.\d+(?:\.\d+)?)", re.IGNORECASE)
_ALL_RECORDED = re.compile(r"puls\w*\W+(?:and|&)\W+resp\w*[^\n.]*\ball\b[^\n.]*\bruns?\b", re.IGNORECASE)
_NO_DATA = re.compile(r"`?trial_type`?|trial types?", re.IGNORECASE)


def check_readme(scope: Scope) -> Iterator[Finding]:
    """Each contradiction between the README and the data, in one finding each."""
    name = next((one for one in _NAMES if (scope.index.root / one).is_file()), None)
    if name is None:
        return
    path = scope.index.root / name
    try:
        text = path.read_bytes()[:_LARGEST].decode("utf-8", "replace")
    except OSError:
        return  # a README that cannot be read contradicts nothing
    for says, data in (
        *_people(scope, text), *_files(scope, text), *_counts(scope, text), *_intervals(scope, text),
        *_units(scope, text), *_version(path, text), *_recorded(scope, text), *_trial_types(scope, text),
    ):  # fmt: skip
        yield finding("readme-contradicts", None, name, f"the README says {says}; {data}", "Correct the one that is wrong.")


def _people(scope: Scope, text: str) -> Iterator[tuple[str, str]]:
    said = {int(first or second) for first, second in _PEOPLE.findall(text)}
    there = len(scope.index.participants)
    if said and there not in said and len(said) == 1:
        yield f"{said.pop()} participants", f"there are folders of {there}"


def _files(scope: Scope, text: str) -> Iterator[tuple[str, str]]:
    """Files that it names of people who are there."""
    here = {entry.file for entries in scope.index.folders.values() for entry in entries}
    here |= {path.rpartition("/")[2] for paths in scope.index.strangers.values() for path in paths}
    there = set(scope.index.participants)
    named = [one for one in _BIDS_FILE.findall(text) if one.partition("_")[0] in there] + _TOP_FILE.findall(text)
    lacking = sorted({one for one in named if one not in here})
    if lacking:
        yield f"that there are {listed(lacking)}", "there is no file of that name"


def _counts(scope: Scope, text: str) -> Iterator[tuple[str, str]]:
    match = _BLOCKS.search(text)
    if match is None:
        return
    for person in scope.dataset.participants:
        events = {run.task: len(load_events(run)) for run in person.runs if run.events is not None}
        total = sum(events.values())
        if total and total != int(match[1]):
            each = ", ".join(f"{count} of {task}" for task, count in events.items())
            yield f"{match[1]} {match[2]} in total", f"{person.label} has {total} events ({each})"
            return


def _intervals(scope: Scope, text: str) -> Iterator[tuple[str, str]]:
    match = _INTERVAL.search(text)
    if match is None:
        return
    low, high = float(match[1]), float(match[2])
    gaps = [
        later[0] - earlier[0] - earlier[1]
        for person in scope.dataset.participants
        for run in person.runs
        for earlier, later in zip(load_events(run), load_events(run)[1:], strict=False)
    ]
    if gaps and (min(gaps) < low - 0.5 or max(gaps) > high + 0.5):
        yield f"an interval of {match[1]}-{match[2]} s", f"between the events lie {min(gaps):.3g} to {max(gaps):.3g} s"


def _units(scope: Scope, text: str) -> Iterator[tuple[str, str]]:
    """Ranges with a unit that one column of participants.tsv has."""
    table = columns_of(scope, "participants.tsv")
    try:
        about = read_json(scope.index.root / "participants.json")
    except (OSError, ValueError):
        return
    units: dict[str, list[str]] = {}
    for column, said in about.items():
        if column in table and isinstance(said, dict) and isinstance(said.get("Units"), str):
            units.setdefault(said["Units"].strip(), []).append(column)
    for unit, columns in units.items():
        if len(columns) != 1 or not unit or unit.lower() in ("n/a", "years", "year"):
            continue
        match = re.search(_RANGE + r"\s*" + re.escape(unit), text)
        if match is None:
            continue
        people = table.get("participant_id", [])
        outside = [
            f"{person} {value}"
            for person, value in zip(people, table[columns[0]], strict=False)
            if (number := _number(value)) is not None and not float(match[1]) <= number <= float(match[2])
        ]
        if outside:
            yield f"{match[1]}-{match[2]} {unit}", f"{columns[0]} in participants.tsv is {listed(outside)} {unit}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _version(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """Against the version in the dataset's DOI, as OpenNeuro has it."""
    said = _VERSION.search(text)
    try:
        doi = str(read_json(path.parent / "dataset_description.json").get("DatasetDOI", ""))
    except (OSError, ValueError):
        return
    held = re.search(r"\.v(\d+\.\d+\.\d+)$", doi)
    if said and held and said[1] != held[1]:
        yield f"version {said[1]}", f"DatasetDOI is that of {held[1]}"


def _recorded(scope: Scope, text: str) -> Iterator[tuple[str, str]]:
    if not _ALL_RECORDED.search(text):
        return
    without = [run.prefix for person in scope.dataset.participants for run in person.runs if not run.physio]
    runs = sum(len(person.runs) for person in scope.dataset.participants)
    if without and len(without) < runs:
        yield "that pulse and respiration were recorded in all runs", f"{listed(without)} has no recording"


def _trial_types(scope: Scope, text: str) -> Iterator[tuple[str, str]]:
    """Columns of events that it names in code quotes or as trial types, and no table has."""
    events = [entry.relative for entries in scope.index.folders.values() for entry in entries if entry.name.suffix == "events"]
    tables = [columns_of(scope, one) for one in events if one.endswith(".tsv") and one not in scope.index.absent]
    sentences = [line for line in text.splitlines() if "events.tsv" in line and _NO_DATA.search(line)]
    if sentences and tables and not any("trial_type" in table for table in tables):
        yield "that events tables hold trial types", "no events table has a column trial_type"
