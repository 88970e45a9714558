"""The plan: which series becomes which file, which field map is for which run, and what speaks against it.

Everything that can be wrong is found here, from headers alone, before anything is converted.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from cospine.bids import build_name
from cospine.bids.names import ENTITIES
from cospine.convert.mapping import SeriesMapping, SeriesRule
from cospine.convert.patterns import match_all
from cospine.convert.series import Series
from cospine.errors import CoSpineError

_ENTITY_VALUE = re.compile(r"[a-zA-Z0-9+]+")


@dataclass(frozen=True, eq=False)
class Target:
    """One image to be.

    Parameters
    ----------
    datatype, suffix : str
        As `func`, `bold`.
    entities : mapping of str to str
        With `sub` and `ses`.
    echo_ms : float or None
        Echo time, where the series holds several.
    """

    datatype: str
    suffix: str
    entities: Mapping[str, str]
    echo_ms: float | None = None

    @property
    def folder(self) -> str:
        """Relative to the dataset's root."""
        session = f"ses-{self.entities['ses']}/" if "ses" in self.entities else ""
        return f"sub-{self.entities['sub']}/{session}{self.datatype}"

    @property
    def stem(self) -> str:
        """Path relative to the root, without ending."""
        return f"{self.folder}/{build_name(self.entities, self.suffix, '')}"

    @property
    def image(self) -> str:
        """Path of the image, relative to the root."""
        return f"{self.stem}.nii.gz"

    @property
    def prefix(self) -> str:
        """Path relative to the root up to the suffix: what recordings and events of a run begin with."""
        return self.stem.removesuffix(f"_{self.suffix}")


@dataclass(frozen=True, eq=False)
class Item:
    """A series and what becomes of it."""

    series: Series
    rule: SeriesRule
    targets: tuple[Target, ...]


@dataclass(frozen=True, eq=False)
class FieldSet:
    """Images from which one field follows, and the runs that it is for.

    Parameters
    ----------
    identifier : str
        B0FieldIdentifier.
    items : tuple of Item
    runs : tuple of Target
        Images to be that B0FieldSource and IntendedFor link.
    """

    identifier: str
    items: tuple[Item, ...]
    runs: tuple[Target, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """What a conversion does.

    Parameters
    ----------
    items : tuple of Item
        In the order of acquisition.
    fields : tuple of FieldSet
    skipped : tuple of (Series, str)
        Left aside, and why.
    physio : tuple of Series
        DICOM that holds recordings.
    notes : tuple of str
        What people should know.
    """

    items: tuple[Item, ...]
    fields: tuple[FieldSet, ...]
    skipped: tuple[tuple[Series, str], ...] = ()
    physio: tuple[Series, ...] = field(default=())
    notes: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[tuple[Item, Target], ...]:
        """BOLD magnitudes, the first echo of each."""
        return tuple(
            (item, item.targets[0])
            for item in self.items
            if item.rule.suffix == "bold" and item.targets[0].entities.get("part") != "phase"
        )


def make_plan(
    series: Sequence[Series], mapping: SeriesMapping, participant: str, session: str | None
) -> tuple[Plan, list[CoSpineError]]:
    """Apply a mapping to the series of one person and session.

    Returns
    -------
    plan : Plan
        As far as it goes.
    errors : list of CoSpineError
        Series that no rule or several rules fit, names that are none or that two series would have, several people in one
        source.
    """
    errors = _several_people(series)
    skipped: list[tuple[Series, str]] = []
    chosen: list[tuple[Series, SeriesRule, dict[str, str]]] = []
    physio = []
    for one in series:
        fitting = [(rule, groups) for rule in mapping.series if (groups := match_all(rule.match, _seen(one))) is not None]
        skips = [rule for rule, _ in fitting if rule.skip is not None]
        wanted = [(rule, groups) for rule, groups in fitting if rule.skip is None]
        if skips:
            skipped.append((one, str(skips[0].skip)))
        elif one.kind == "physio":
            physio.append(one)
        elif one.kind == "no image":
            skipped.append((one, "no image"))
        elif not wanted:
            errors.append(_unmapped(one, mapping))
        elif len(wanted) > 1:
            names = ", ".join(f"“{rule.name}”" for rule, _ in wanted)
            remedy = "Narrow their patterns in the mapping so that one is left"
            errors.append(CoSpineError(f"{len(wanted)} rules fit ({names})", one.label, remedy))
        else:
            chosen.append((one, *wanted[0]))
    items = []
    for one, rule, groups in chosen:
        try:
            items.append(Item(one, rule, _targets(one, rule, groups, participant, session)))
        except CoSpineError as error:
            errors.append(error)
    items, aside, notes = _numbered(items, errors)
    notes += [f"{one.label}: {note}" for one in series for note in one.notes]
    fields, unlinked = link_fields(items)
    return Plan(tuple(items), tuple(fields), (*skipped, *aside), tuple(physio), (*notes, *unlinked)), errors


def _seen(series: Series) -> dict[str, str | tuple[str, ...]]:
    """What patterns are applied to: the header, and what is known of all files together."""
    return {**series.header, "Part": series.part, "Files": str(len(series.files)), "Echoes": str(len(series.echo_times_ms))}


def _several_people(series: Sequence[Series]) -> list[CoSpineError]:
    errors = []
    remedy = "Give the folder of one person and one session at a time"
    people = Counter(one.text("PatientID") for one in series if one.text("PatientID"))
    if len(people) > 1:  # names and numbers of people stay out of messages
        counts = ", ".join(str(count) for count in people.values())
        errors.append(CoSpineError(f"{len(people)} people are in it (PatientID; {counts} series)", "SOURCE", remedy))
    days = Counter(one.date for one in series if one.kind == "image" and one.date)
    # midnight may lie within a session
    numbers = [day for one in days if (day := _day(one)) is not None]
    if len(numbers) > 1 and max(numbers) - min(numbers) > 1:
        errors.append(CoSpineError(f"{len(days)} days of scanning are in it ({', '.join(sorted(days))})", "SOURCE", remedy))
    return errors


def _day(text: str | None) -> int | None:
    """Number of a day from DICOM's 20240131 or the older 2024.01.31; None for anything else."""
    try:
        return datetime.strptime((text or "").replace(".", "").strip(), "%Y%m%d").toordinal()
    except ValueError:
        return None


def _unmapped(series: Series, mapping: SeriesMapping) -> CoSpineError:
    attributes = ("SeriesDescription", "ProtocolName", "ImageType", "SequenceName")
    said = ", ".join(f"{key} {text!r}" for key in attributes if (text := series.text(key)))
    return CoSpineError(
        f"no rule of the mapping “{mapping.name}” fits ({said})", series.label, "Add a rule for it, or one with `skip`"
    )


def _targets(
    series: Series, rule: SeriesRule, groups: Mapping[str, str], participant: str, session: str | None
) -> tuple[Target, ...]:
    entities = {"sub": participant, **({} if session is None else {"ses": session})}
    for key, value in rule.entities.items():
        filled = re.sub(r"\{(\w+)\}", lambda match: groups.get(match[1], match[0]), value)
        if not _ENTITY_VALUE.fullmatch(filled):
            what = f"rule “{rule.name}” makes {key}-{filled}, which is no BIDS value (letters and digits)"
            raise CoSpineError(what, series.label, "Change the rule's pattern or entities")
        entities[key] = filled
    if "{echo}" in rule.suffix:
        echoes = series.echo_times_ms or (None,)
        if len(echoes) > 2:
            raise CoSpineError(f"has {len(echoes)} echoes, {rule.suffix} holds two", series.label, "Change the rule")
        return tuple(
            Target(rule.datatype, rule.suffix.replace("{echo}", str(n)), entities, echo if len(echoes) > 1 else None)
            for n, echo in enumerate(echoes, 1)
        )
    if len(series.echo_times_ms) > 1 and rule.datatype != "fmap":
        return tuple(
            Target(rule.datatype, rule.suffix, {**entities, "echo": str(n)}, echo)
            for n, echo in enumerate(series.echo_times_ms, 1)
        )
    return (Target(rule.datatype, rule.suffix, entities),)


def _numbered(items: Sequence[Item], errors: list[CoSpineError]) -> tuple[list[Item], list[tuple[Series, str]], list[str]]:
    """Settle which of several series of one name it is; returns items, series left aside, notes."""
    by_name: dict[str, list[Item]] = {}
    for item in items:
        by_name.setdefault(item.targets[0].stem, []).append(item)
    settled: dict[int, Item] = {}
    aside, notes = [], []
    for stem, same in by_name.items():
        how = same[-1].rule.repeats
        if len(same) > 1 and how == "last":
            aside += [(one.series, f"repeated by {same[-1].series.label}") for one in same[:-1]]
            same = same[-1:]
        elif len(same) > 1 and how == "number" and not any("run" in one.rule.entities for one in same):
            same = [_with_run(one, n) for n, one in enumerate(same, 1)]
            notes.append(f"{stem}: there are {len(same)}, numbered as they were acquired")
        elif len(same) > 1:
            names = ", ".join(one.series.label for one in same)
            remedy = (
                "If the last is the good one or all are wanted, say `repeats: last` or `repeats: number` in the rule; "
                "or tell them apart by pattern (SeriesNumber, ImageType, Part)"
            )
            errors.append(CoSpineError(f"{len(same)} series would have this name ({names})", stem, remedy))
        settled.update({id(one.series): one for one in same})
    return [settled[id(item.series)] for item in items if id(item.series) in settled], aside, notes


def _with_run(item: Item, number: int) -> Item:
    targets = tuple(replace(one, entities={**one.entities, "run": str(number)}) for one in item.targets)
    return replace(item, targets=targets)


# --- field maps -----------------------------------------------------------------------------------------------------

_WITHIN_SET = ("dir", "part", "echo")


def link_fields(items: Sequence[Item]) -> tuple[list[FieldSet], list[str]]:
    """Put field-map images together, and each run to one set of each kind.

    A set serves the tasks that its rule names (`for`), else the task that its `acq-` is, else all. Where several sets of a
    kind serve a run, it is the last that was acquired before the run, else the first after it.

    Returns
    -------
    sets : list of FieldSet
    notes : list of str
        Runs without a field map, field maps without a run.
    """
    groups: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        if item.rule.datatype == "fmap":
            kind = "pepolar" if item.rule.suffix == "epi" else "gre"
            rest = tuple(f"{k}-{v}" for k, v in item.targets[0].entities.items() if k not in (*_WITHIN_SET, "sub", "ses"))
            groups.setdefault((kind, *sorted(rest, key=_rank)), []).append(item)
    runs = [item for item in items if item.rule.datatype == "func"]
    tasks = {item.targets[0].entities["task"].lower() for item in runs}
    served: dict[tuple[str, ...], list[Target]] = {key: [] for key in groups}
    notes = []
    for run in runs:
        found = False
        for kind in ("pepolar", "gre"):
            fitting = [key for key, members in groups.items() if key[0] == kind and _serves(members, run, tasks)]
            if fitting:
                found = True
                served[min(fitting, key=lambda key: _away(groups[key], run))] += run.targets
        if not found:
            notes.append(f"{run.targets[0].image}: no field map is for it; distortion cannot be corrected")
    sets = []
    for key, members in groups.items():
        session = members[0].targets[0].entities.get("ses")
        parts = [key[0], *(part.partition("-")[2] for part in key[1:]), *([] if session is None else [f"ses{session}"])]
        identifier = re.sub(r"[^a-zA-Z0-9]+", "_", "_".join(parts))
        sets.append(FieldSet(identifier, tuple(members), tuple(served[key])))
        if not served[key]:
            notes.append(f"{members[0].targets[0].image}: is for no run that is here")
        if key[0] == "pepolar" and len({item.targets[0].entities["dir"] for item in members}) < 2:
            notes.append(f"{members[0].targets[0].image}: the image of the other direction is missing; no field follows from one")
    return sets, notes


def _serves(members: Sequence[Item], run: Item, tasks: set[str]) -> bool:
    task = run.targets[0].entities["task"].lower()
    named = {one.lower() for member in members for one in member.rule.tasks}
    if named:
        return task in named
    acquisition = members[0].targets[0].entities.get("acq", "").lower()
    return acquisition == task if acquisition in tasks else True


def _away(members: Sequence[Item], run: Item) -> tuple[bool, float]:
    """For sorting: those before the run first, the closest in time first."""
    if run.series.start_s is None or any(one.series.start_s is None for one in members):
        return (True, 0.0)
    own, theirs = _day(run.series.date), _day(members[0].series.date)
    days = own - theirs if own is not None and theirs is not None else 0
    gap = run.series.start_s - max(float(one.series.start_s or 0) for one in members) + 86_400.0 * days
    return (gap < 0, abs(gap))


def _rank(entity: str) -> int:
    return ENTITIES.index(entity.partition("-")[0])
