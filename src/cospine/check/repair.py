"""Mending metadata without touching the dataset: a plan of edits and new names, its patch, and the overlay that carries it out.

Only what needs no look at an image is planned. What is true is never guessed: a time, a shim or an image that is another's stays,
and is told as a finding.
"""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cospine.bids import FieldmapSet, Participant, write_bytes, write_json, write_text
from cospine.bids.clock import clock_difference_s, clock_s
from cospine.bids.index import Entry
from cospine.bids.names import build_name
from cospine.bids.overlay import FOLDER, PLAN, digest
from cospine.bids.runs import multiband_of
from cospine.bids.tables import NOT_AVAILABLE, number
from cospine.check.recordings import run_choices, swaps
from cospine.check.scope import Picture, Scope
from cospine.check.sidecars import copied_files, slice_times
from cospine.errors import CoSpineError
from cospine.physio.tables import CLOCK, start_of

_READOUT = ("TotalReadoutTime", "EffectiveEchoSpacing")


@dataclass(frozen=True)
class Plan:
    """What would be changed.

    Parameters
    ----------
    edits : mapping of str to mapping
        JSON file as the dataset names it, to new values by key; None removes the key.
    texts : mapping of str to str
        Tables that are written anew.
    renames : mapping of str to str
        Old name to new name, relative to the root.
    """

    edits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)


def make_plan(scope: Scope) -> Plan:
    """What can be mended without looking.

    Parameters
    ----------
    scope : Scope
        A dataset read without an overlay.
    """
    edits: dict[str, dict[str, Any]] = {}
    renames: dict[str, str] = {}
    copied = copied_files(scope)
    for one in scope.pictures:
        for key, value in _of_image(one):
            edits.setdefault(one.json, {})[key] = value
    for person in scope.dataset.participants:
        clocks = {run.prefix for run in person.runs if _json_of(scope, run.bold) not in copied}
        for file, key, value in (*_links(scope, person), *_recordings(scope, person, clocks)):
            edits.setdefault(file, {})[key] = value
        renames |= _phase_names(scope, person, edits)
        if len(clocks) == len(person.runs):
            renames |= _exchanged(scope, person)
    edits.pop("", None)
    # a file at the root speaks for all: it is mended only where all say the same, and inherited files are left alone
    own = {file: changes for file, changes in edits.items() if "/" in file}
    return Plan(own, dict(_tables(scope)), renames)


# --- images ----------------------------------------------------------------------------------------------------------


def _of_image(one: Picture) -> Iterator[tuple[str, Any]]:
    """Edits of one sidecar."""
    sidecar = one.sidecar
    if not one.is_epi:
        for key in _READOUT:
            if number(sidecar.get(key)):
                yield key, None
    stated = number(sidecar.get("MultibandAccelerationFactor"))
    factor = multiband_of(slice_times(sidecar) or [])
    if factor is not None and factor > 1 and stated != factor:
        yield "MultibandAccelerationFactor", factor
    elif stated is not None and stated < 1:
        yield "MultibandAccelerationFactor", None
    task = one.entry.name.entities.get("task")
    said = sidecar.get("TaskName")
    if task and isinstance(said, str) and _plain(said) != task.lower():
        yield "TaskName", task
    clock = sidecar.get("AcquisitionTime")
    if isinstance(clock, str) and ":" in clock and not re.match(r"\d{2}:\d{2}:\d{2}", clock) and clock_s(clock) is not None:
        hours, minutes, seconds = clock.strip().split(":")
        whole, dot, rest = seconds.partition(".")
        yield "AcquisitionTime", f"{int(hours):02d}:{int(minutes):02d}:{int(whole):02d}{dot}{rest}"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


# --- field maps ------------------------------------------------------------------------------------------------------


def _links(scope: Scope, person: Participant) -> Iterator[tuple[str, str, Any]]:
    """IntendedFor, a B0FieldIdentifier of its own for each set, and B0FieldSource, as the links that were found."""
    shared = [name for one in person.fieldmaps for name in one.b0_identifiers]
    names = {one.identifier: _identifier(one, shared) for one in person.fieldmaps}
    by_path = {scope.index.path(one.relative): one for one in scope.pictures}
    wanted: dict[str, list[str]] = {}
    sources: dict[Path, list[str]] = {}
    by_name: set[str] = set()
    for run in person.runs:
        for one, how in person.fieldmaps_of(run):
            wanted.setdefault(one.identifier, []).append(f"bids::{run.bold.relative_to(scope.index.root).as_posix()}")
            sources.setdefault(run.bold, []).append(names[one.identifier])
            if how not in ("B0FieldSource", "IntendedFor"):
                by_name.add(one.identifier)
    for one in person.fieldmaps:
        if one.identifier not in wanted or (one.identifier not in by_name and names[one.identifier] in one.b0_identifiers):
            continue
        for path in one.images:
            file = by_path[path].json if path in by_path else ""
            yield file, "B0FieldIdentifier", names[one.identifier]
            yield file, "IntendedFor", wanted[one.identifier]
    changed = {names[identifier] for identifier in by_name} | {
        names[one.identifier] for one in person.fieldmaps if names[one.identifier] not in one.b0_identifiers
    }
    for bold, listed in sources.items():
        if changed & set(listed) and bold in by_path:
            yield by_path[bold].json, "B0FieldSource", listed[0] if len(listed) == 1 else listed


def _identifier(one: FieldmapSet, shared: list[str]) -> str:
    """Its own where no other set of the person has it, else with what tells them apart."""
    own = [name for name in one.b0_identifiers if shared.count(name) == 1]
    return own[0] if own else one.identifier


def _phase_names(scope: Scope, person: Participant, edits: dict[str, dict[str, Any]]) -> dict[str, str]:
    """phase1 that is a difference becomes phasediff, with its two echo times."""
    renames: dict[str, str] = {}
    by_path = {scope.index.path(one.relative): one for one in scope.pictures}
    for one in person.fieldmaps:
        picture = by_path.get(one.images[0])
        if one.kind != "phasediff" or one.echo_times_s is None or picture is None or picture.suffix != "phase1":
            continue
        entry = picture.entry
        for relative, extension in ((picture.relative, entry.name.extension), (picture.json, ".json")):
            if relative and "/" in relative:
                renames[relative] = f"{entry.folder}/{build_name(entry.name.entities, 'phasediff', extension)}"
        changes = edits.setdefault(picture.json, {})
        changes |= {"EchoTime1": one.echo_times_s[0], "EchoTime2": one.echo_times_s[1], "EchoTime": None}
    return renames


# --- recordings ------------------------------------------------------------------------------------------------------


def _json_of(scope: Scope, image: Path) -> str:
    """Sidecar beside an image, relative to the root."""
    relative = image.relative_to(scope.index.root).as_posix()
    return f"{relative.removesuffix('.gz').removesuffix('.nii')}.json"


def _recordings(scope: Scope, person: Participant, clocks: Set[str]) -> Iterator[tuple[str, str, Any]]:
    """StartTime in seconds from the first volume of the run that each recording belongs to, and its TaskName.

    Times are left alone where the run's clock (`clocks`: prefixes of the runs that have their own) may be another person's.
    """
    entries = {scope.index.path(entry.relative): entry for entry in scope.index.entries(person.label, "func")}
    partner = _partners(scope, person) if len(clocks) == len(person.runs) else {}
    runs = {run.prefix: run for run in person.runs}
    for run in person.runs:
        owner = runs[partner.get(run.prefix, run.prefix)]
        for path in run.physio:
            entry = entries.get(path)
            files = scope.index.sidecar(entry).files if entry is not None else ()
            sidecar = person.physio_sidecars.get(path, {})
            if not files:
                continue
            said = sidecar.get("TaskName")
            if isinstance(said, str) and _plain(said) != owner.task.lower():
                yield files[-1], "TaskName", owner.task
            start_s, at_s, _ = start_of(sidecar)
            if start_s is not None or at_s is None or owner.acquisition_clock_s is None or owner.prefix not in clocks:
                continue
            first_s = clock_difference_s(at_s, owner.acquisition_clock_s)
            if not math.isfinite(first_s):
                continue
            yield files[-1], "StartTime", round(first_s, 4)
            yield files[-1], CLOCK, round(at_s, 4)
            duration = number(sidecar.get("Duration"))
            if duration is not None and duration > 0 and (number(sidecar.get("StartTime")) or 0) > 86400:
                yield files[-1], "Duration", duration / 1000


def _partners(scope: Scope, person: Participant) -> dict[str, str]:
    """Runs whose recordings, of every kind, carry each other's names."""
    choices = run_choices(scope, person)
    found: dict[str, str] = {}
    for one, other, kinds in swaps(choices):
        there = {kind for prefix, kind in choices if prefix in (one, other)}
        if there == set(kinds):
            found |= {one: other, other: one}
    return found


def _exchanged(scope: Scope, person: Participant) -> dict[str, str]:
    """Recordings, with their sidecars, that get the name of the run they were made in."""
    runs = {run.prefix: run for run in person.runs}
    partner = _partners(scope, person)
    entries = {entry.relative: entry for entry in scope.index.entries(person.label, "func") if entry.name.suffix == "physio"}
    renames: dict[str, str] = {}
    for prefix, other in partner.items():
        mine, theirs = runs[prefix].entities, runs[other].entities
        for entry in entries.values():
            recording = {key: value for key, value in entry.name.entities.items() if key == "recording"}
            if dict(entry.name.entities) == {**mine, **recording}:
                renames[entry.relative] = _renamed(entry, {**theirs, **recording})
    return renames


def _renamed(entry: Entry, entities: Mapping[str, str]) -> str:
    return f"{entry.folder}/{build_name(entities, entry.name.suffix, entry.name.extension)}"


# --- tables ----------------------------------------------------------------------------------------------------------


def _tables(scope: Scope) -> Iterator[tuple[str, str]]:
    """participants.tsv with plain line ends, n/a where nothing is known, and no cell missing."""
    relative = "participants.tsv"
    try:
        raw = (scope.index.root / relative).read_bytes()
        lines = [line.rstrip("\r") for line in raw.decode("utf-8-sig").split("\n") if line.strip()]
    except (OSError, ValueError):
        return  # the reader says so
    if not lines:
        return
    width = len(lines[0].split("\t"))
    rows = [lines[0]]
    for line in lines[1:]:
        cells = line.split("\t") + [""] * (width - len(line.split("\t")))
        rows.append("\t".join("n/a" if cell.strip().lower() in NOT_AVAILABLE else cell.strip() for cell in cells))
    text = "\n".join(rows) + "\n"
    if text.encode() != raw:
        yield relative, text


# --- carrying it out --------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def _edited(text: str, changes: Mapping[str, Any]) -> str:
    """A JSON object with some keys changed, indented as it was."""
    content = {**json.loads(text), **changes}
    indent = re.match(r"\s*\{\r?\n([ \t]+)", text)
    dumped = json.dumps(
        {key: value for key, value in content.items() if value is not None},
        indent=indent[1] if indent else None if "\n" not in text.strip() else 4,
        ensure_ascii=False,
    )
    return dumped + ("\n" if text.endswith("\n") else "")


def patch_text(plan: Plan, root: Path) -> str:
    """The plan as a patch: renames, and unified differences of the files."""
    parts: list[str] = []
    for file in sorted({*plan.edits, *plan.texts, *plan.renames}):
        new_name = plan.renames.get(file, file)
        parts.append(f"diff --git a/{file} b/{new_name}\n")
        if new_name != file:
            parts.append(f"rename from {file}\nrename to {new_name}\n")
        if file in plan.edits:
            old = _text(root / file)
            new = _edited(old, plan.edits[file])
        elif file in plan.texts:
            old, new = _text(root / file), plan.texts[file]
        else:
            continue
        parts += _difference(old, new, file, new_name)
    return "".join(parts)


def _difference(old: str, new: str, file: str, new_name: str) -> list[str]:
    lines = difflib.unified_diff(_lines(old), _lines(new), f"a/{file}", f"b/{new_name}", n=1)
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]


def _lines(text: str) -> list[str]:
    """Lines with their ends, parted at line feeds alone, as patch programs part them."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def apply_plan(plan: Plan, root: Path, output_dir: Path) -> Path:
    """Write the overlay of a plan, in place of an earlier one.

    Parameters
    ----------
    plan : Plan
    root : Path
        The dataset; only read.
    output_dir : Path
        Folder of derivatives, outside of the raw data.

    Returns
    -------
    Path
        Folder of the overlay.

    Raises
    ------
    CoSpineError
        When the folder lies in the raw data.
    """
    inside = (
        output_dir.resolve().relative_to(root.resolve()).parts if output_dir.resolve().is_relative_to(root.resolve()) else None
    )
    if inside is not None and (not inside or inside[0] != "derivatives"):
        raise CoSpineError(
            "lies in the dataset, which is never written to", f"--apply {output_dir}", "name its derivatives/cospine"
        )
    folder = output_dir / FOLDER
    files: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    for file, changes in plan.edits.items():
        name = plan.renames.get(file, file)
        files[name] = name
        contents[name] = _edited(_text(root / file), changes).encode()
    for file, text in plan.texts.items():
        files[file] = file
        contents[file] = text.encode()
    made_from = {file: digest((root / file).read_bytes()) for file in sorted({*plan.edits, *plan.texts})}
    for old in _files_of(folder):
        if old not in files:
            (folder / old).unlink(missing_ok=True)
    for name, content in contents.items():
        write_bytes(folder / name, content)
    record = {
        "Renames": {new: old for old, new in sorted(plan.renames.items())},
        "Files": dict(sorted(files.items())),
        "MadeFrom": made_from,
    }
    write_json(folder / PLAN, record)
    write_text(folder / "patch.diff", patch_text(plan, root))
    return folder


def _files_of(folder: Path) -> list[str]:
    """What an earlier overlay wrote there."""
    try:
        earlier = json.loads((folder / PLAN).read_bytes()).get("Files", {})
    except (OSError, ValueError, AttributeError):
        return []
    names = list(earlier) if isinstance(earlier, dict) else []
    return [name for name in names if not name.startswith("/") and ".." not in name.split("/")]
