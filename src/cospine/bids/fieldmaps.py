"""Grouping field-map images into sets, and linking these to runs."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cospine.bids.findings import Finding, finding
from cospine.bids.index import Entry
from cospine.bids.model import FieldmapKind, FieldmapSet, Run
from cospine.bids.tables import number, words

# Entities in which the images of one set may differ.
WITHIN_SET = ("dir", "part", "echo")
_PHASE_SUFFIXES = ("phasediff", "phase1", "phase2", "fieldmap")
_MAGNITUDES = ("magnitude1", "magnitude2", "magnitude")


@dataclass(frozen=True)
class FieldmapImage:
    """One image of a `fmap` folder with its merged sidecar."""

    path: Path
    entry: Entry
    sidecar: Mapping[str, Any]


def group_fieldmaps(participant: str, images: Sequence[FieldmapImage]) -> tuple[list[FieldmapSet], list[Finding]]:
    """Put the images of one participant together into sets from which a field follows.

    Images belong together when their names agree in all but `dir-` (and `part-`, `echo-`). Reversed-PE images that
    have no partner by name are joined by a common B0FieldIdentifier.

    Returns
    -------
    sets : list of FieldmapSet
        Usable ones, sorted by name.
    findings : list of Finding
        Incomplete ones, and phase differences named `phase1`.
    """
    groups: dict[tuple[tuple[str, str], ...], list[FieldmapImage]] = {}
    for image in images:
        key = tuple((k, v) for k, v in image.entry.name.entities.items() if k not in WITHIN_SET)
        groups.setdefault(key, []).append(image)
    sets: list[FieldmapSet] = []
    findings: list[Finding] = []
    alone: dict[tuple[str, ...], list[FieldmapImage]] = {}
    for members in groups.values():
        pair = [one for one in members if one.entry.name.suffix == "epi"]
        if pair and _opposed(pair):
            sets.append(_make("pepolar", pair))
        elif pair:
            alone.setdefault(words(pair[0].sidecar, "B0FieldIdentifier"), []).extend(pair)
        by_suffix = {one.entry.name.suffix: one for one in members}
        if by_suffix.keys() & set(_PHASE_SUFFIXES):
            _gradient_echo(participant, by_suffix, sets, findings)
    for identifier, members in alone.items():
        if identifier and _opposed(members):
            sets.append(_make("pepolar", members))
        else:
            findings.append(_not_opposed(participant, members))
    sets.sort(key=lambda one: one.images[0].as_posix())
    return _name(sets), findings


def link_fieldmaps(runs: Sequence[Run], sets: Sequence[FieldmapSet], root: Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """Say which field maps belong to which run.

    For each kind of field map the first rule that finds one decides: B0FieldSource of the run names its
    B0FieldIdentifier; its IntendedFor names the run; its `acq-` is the run's task; it is the only one of its kind in the
    session. Where the first two find several (one identifier for all pairs of a person is common), those
    whose `acq-` is the task go before.

    Returns
    -------
    dict of str to tuple
        Run prefix to (identifier of the set, how), explicit links first.
    """
    tasks = {run.task.lower() for run in runs}
    order = ("B0FieldSource", "IntendedFor", "acq- is the task", "the only one")
    links: dict[str, tuple[tuple[str, str], ...]] = {}
    for run in runs:
        here = [one for one in sets if one.session in (run.session, None)]
        found: list[tuple[str, str]] = []
        for kind in dict.fromkeys(one.kind for one in here):
            chosen, how = _link(run, [one for one in here if one.kind == kind], tasks, root)
            found += [(one.identifier, how) for one in chosen]
        links[run.prefix] = tuple(sorted(found, key=lambda pair: order.index(pair[1])))
    return links


def _link(run: Run, sets: Sequence[FieldmapSet], tasks: set[str], root: Path) -> tuple[list[FieldmapSet], str]:
    task = run.task.lower()
    of_task = [one for one in sets if one.acquisition.lower() == task and task]
    sources = set(words(run.sidecar, "B0FieldSource"))
    path = run.bold.relative_to(root).as_posix()
    rules = (
        ("B0FieldSource", [one for one in sets if sources.intersection(one.b0_identifiers)]),
        ("IntendedFor", [one for one in sets if path in one.intended]),
    )
    for how, named in rules:
        if named:
            return [one for one in named if one in of_task] or named, how
    if of_task:
        return of_task, "acq- is the task"
    free = [one for one in sets if not one.intended]
    if len(sets) == 1 and free and free[0].acquisition.lower() not in tasks - {task}:
        return free, "the only one"
    return [], ""


def _gradient_echo(participant: str, parts: dict[str, FieldmapImage], sets: list[FieldmapSet], findings: list[Finding]) -> None:
    magnitudes = [parts[suffix] for suffix in _MAGNITUDES if suffix in parts]
    if "fieldmap" in parts:
        sets.append(_make("fieldmap", [parts["fieldmap"], *magnitudes]))
    if "phase1" in parts and "phase2" in parts:
        phases = [parts["phase1"], parts["phase2"]]
        times = tuple(number(one.sidecar.get("EchoTime")) for one in phases)
        _add_phase(participant, "phases", [*phases, *magnitudes], times, sets, findings)
        return
    for suffix in ("phasediff", "phase1"):
        if suffix not in parts:
            continue
        image = parts[suffix]
        times = tuple(number(image.sidecar.get(key)) for key in ("EchoTime1", "EchoTime2"))
        if None in times and "magnitude1" in parts and "magnitude2" in parts:
            times = tuple(number(parts[name].sidecar.get("EchoTime")) for name in ("magnitude1", "magnitude2"))
            if suffix == "phase1" and number(image.sidecar.get("EchoTime")) == times[0]:
                times = (None, None)  # truly the first phase; its second is missing
        if suffix == "phase1" and None not in times:
            findings.append(
                finding(
                    "phase-difference-named-phase1",
                    participant,
                    image.entry.relative,
                    f"there is no phase2, and its echo times are those of a difference ({times[0]} and {times[1]} s); "
                    "it is used as phasediff",
                    "Rename it to _phasediff and give EchoTime1 and EchoTime2.",
                )
            )
        _add_phase(participant, "phasediff", [image, *magnitudes], times, sets, findings)


def _add_phase(
    participant: str,
    kind: FieldmapKind,
    images: list[FieldmapImage],
    times: tuple[float | None, ...],
    sets: list[FieldmapSet],
    findings: list[Finding],
) -> None:
    first, second = times
    if first is not None and second is not None and second > first:
        sets.append(replace(_make(kind, images), echo_times_s=(first, second)))
        return
    findings.append(
        finding(
            "fieldmap-incomplete",
            participant,
            [one.entry.relative for one in images],
            "the two echo times are not known" if None in times else f"echo times {first} and {second} s do not rise",
            "Give EchoTime1 and EchoTime2 in the sidecar of the phase difference (phase1 and phase2: EchoTime of each).",
        )
    )


def _opposed(images: Sequence[FieldmapImage]) -> bool:
    """Whether their phase encoding is opposite, or differs at all: a field follows from two axes as well."""
    directions = {str(one.sidecar.get("PhaseEncodingDirection")) for one in images}
    return len(directions & {"i", "i-", "j", "j-", "k", "k-"}) > 1


def _not_opposed(participant: str, images: Sequence[FieldmapImage]) -> Finding:
    directions = sorted({str(one.sidecar.get("PhaseEncodingDirection", "absent")) for one in images})
    return finding(
        "fieldmap-incomplete",
        participant,
        [one.entry.relative for one in images],
        f"no two images of opposite or different phase encoding (PhaseEncodingDirection: {', '.join(directions)})",
        "Add the image of the other direction, or PhaseEncodingDirection to the sidecars.",
    )


def _make(kind: FieldmapKind, images: Sequence[FieldmapImage]) -> FieldmapSet:
    first = images[0].entry
    subject = f"sub-{first.name.entities['sub']}"
    intended = [_resolve(subject, text) for one in images for text in words(one.sidecar, "IntendedFor")]
    identifiers = [text for one in images for text in words(one.sidecar, "B0FieldIdentifier")]
    return FieldmapSet(
        identifier="",
        kind=kind,
        images=tuple(one.path for one in images),
        sidecars=tuple(one.sidecar for one in images),
        session=first.session,
        acquisition=first.name.entities.get("acq", ""),
        b0_identifiers=tuple(dict.fromkeys(identifiers)),
        intended=tuple(dict.fromkeys(intended)),
    )


def _resolve(subject: str, text: str) -> str:
    """Path relative to the root, of a BIDS URI or of the older form relative to the participant's folder."""
    if text.startswith("bids:"):
        return text.rpartition(":")[2].lstrip("/")
    text = text.lstrip("/")
    return text if text.startswith(f"{subject}/") else f"{subject}/{text}"


def _name(sets: Sequence[FieldmapSet]) -> list[FieldmapSet]:
    """Give each set an identifier of letters and digits that no other set of the person has."""
    plain = [re.sub(r"[^a-zA-Z0-9]", "", one.b0_identifiers[0] if one.b0_identifiers else one.kind) for one in sets]
    more = [
        text + re.sub(r"[^a-zA-Z0-9]", "", (one.session or "") + one.acquisition) if plain.count(text) > 1 else text
        for text, one in zip(plain, sets, strict=True)
    ]
    seen: Counter[str] = Counter()
    named: list[FieldmapSet] = []
    for text, one in zip(more, sets, strict=True):
        seen[text] += 1
        named.append(replace(one, identifier=text if more.count(text) == 1 else f"{text}{seen[text]}"))
    return named
