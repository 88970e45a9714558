"""Sidecars: whose they are, what cannot be, and what contradicts itself."""

import filecmp
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from cospine.bids import Finding, finding
from cospine.bids.clock import DAY_S, clock_s
from cospine.bids.runs import multiband_of
from cospine.bids.tables import number, read_json
from cospine.check.scope import Picture, Scope, frozen, listed, rule_of

_READOUT = ("TotalReadoutTime", "EffectiveEchoSpacing")
# values that are drawn anew for every person and hardly ever meet twice
_PERSONAL = ("TxRefAmp", "SAR", "ShimSetting", "ImageOrientationPatientDICOM", "SeriesNumber")
_MIDNIGHT_S = 1.0  # times of day that an anonymiser leaves
_SAME_TIME_S = 5e-4
# what tasks are about, to tell a description that was copied from another dataset
_SUBJECTS = {
    "pain": ("pain", "heat", "thermal", "noxious", "nocicept"),
    "motor": ("motor", "grasp", "hand", "finger", "tapping", "grip", "movement"),
    "rest": ("rest", "resting"),
    "visual": ("visual", "checkerboard", "picture", "image"),
    "auditory": ("auditory", "sound", "tone", "listen"),
    "memory": ("memory", "nback", "n-back", "recall"),
}


def check_sidecars(scope: Scope) -> Iterator[Finding]:
    """All that sidecars alone can tell."""
    yield from _copied(scope)
    yield from _copied_recordings(scope)
    yield from _claimed_twice(scope)
    yield from _readout(scope)
    yield from _impossible(scope)
    yield from _slices(scope)
    yield from _descriptions(scope)
    yield from _recordings(scope)
    yield from _spelling(scope)


def check_readable(scope: Scope) -> Iterator[Finding]:
    """Sidecars and descriptions that cannot be read, where nobody who needs them says so: a broken file is not a clean one."""
    told = {file for one in scope.dataset.findings if one.code == "invalid-json" for file in one.files}
    told |= {file for person in scope.dataset.participants for one in person.findings for file in one.files}
    broken: dict[str, tuple[str | None, str]] = {
        file: (one.participant, reason) for one in scope.pictures for file, reason in scope.index.sidecar(one.entry).broken
    }
    try:
        read_json(scope.index.root / "participants.json")
    except FileNotFoundError:
        pass  # there need not be one
    except (OSError, ValueError) as error:
        broken["participants.json"] = (None, str(error))
    for file, (participant, reason) in sorted(broken.items()):
        if file not in told:
            yield finding(
                "invalid-json", participant, file, f"cannot be read: {reason}", "Mend the file; a JSON checker shows the place."
            )


# --- whose it is -----------------------------------------------------------------------------------------------------


def _time_of(sidecar: Mapping[str, Any]) -> float | None:
    """Time of day of an acquisition; None where it is not said, or was blanked."""
    seconds = clock_s(sidecar.get("AcquisitionTime"))
    return seconds if seconds is not None and seconds > _MIDNIGHT_S else None


def _moment(sidecar: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """When and by what a sidecar says that it was measured: no two people share it."""
    date = sidecar.get("AcquisitionDateTime")
    seconds = _time_of(sidecar)
    if isinstance(date, str) and "." in date:
        return (date, sidecar.get("SeriesNumber"))
    # whole seconds meet by chance
    if seconds is None or abs(seconds - round(seconds)) < _SAME_TIME_S:
        return None
    return (seconds, frozen(sidecar.get("SeriesNumber")), frozen(sidecar.get("DeviceSerialNumber")))


def _fingerprint(sidecar: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Reference amplitude and SAR, which follow the body, with shim and orientation: for sidecars whose time was changed."""
    if not all(number(sidecar.get(key)) for key in ("TxRefAmp", "SAR")):
        return None
    return tuple(frozen(sidecar.get(key)) for key in (*_PERSONAL, "FlipAngle"))


def copied_files(scope: Scope) -> frozenset[str]:
    """Sidecars that another person or another image has too: whose clock, shim and orientation they hold is not known."""
    checks = (_copied(scope), _copied_recordings(scope), _claimed_twice(scope))
    return frozenset(file for found in checks for one in found for file in one.files)


def _copied(scope: Scope) -> Iterator[Finding]:
    for pictures in scope.by_kind.values():
        groups: dict[tuple[Any, ...], list[Picture]] = {}
        for one in pictures:
            keys: set[tuple[str, Any]] = {("moment", mark) for mark in (_moment(one.sidecar),) if mark is not None}
            keys |= {("body", mark) for mark in (_fingerprint(one.sidecar),) if mark is not None}
            if _time_of(one.sidecar) is not None:  # word for word, whatever the precision of its clock
                keys.add(("whole", json.dumps(one.sidecar, sort_keys=True)))
            for key in keys:
                groups.setdefault(key, []).append(one)
        told: set[tuple[str, ...]] = set()
        for members in groups.values():
            files = tuple(dict.fromkeys(one.about for one in members))
            people = list(dict.fromkeys(one.participant for one in members))
            # one file at the root that applies to all is inheritance, not a copy
            if len(people) < 2 or len(files) < 2 or files in told:
                continue
            told.add(files)
            same = len({json.dumps(one.sidecar, sort_keys=True) for one in members}) == 1
            how = "hold the same, word for word" if same else "tell of one and the same acquisition"
            yield finding(
                "sidecar-copied",
                None,
                files,
                f"the sidecars of {listed(people)} {how}{_when(members[0].sidecar)}: times, shim and orientation are true "
                "of one of them at most",
                "Convert the images again from the DICOM files; until then trust no clock, shim or orientation of these.",
            )


def _copied_recordings(scope: Scope) -> Iterator[Finding]:
    """Recordings of two people that say that they began at the same moment of a day and took as long."""
    groups: dict[tuple[Any, ...], list[tuple[str, str]]] = {}
    for person in scope.index.participants:
        for entry in scope.index.entries(person, "func"):
            if entry.name.suffix != "physio" or entry.name.extension == ".json":
                continue
            sidecar = scope.index.sidecar(entry)
            start, duration = (number(sidecar.content.get(key)) for key in ("StartTime", "Duration"))
            if start is not None and start > DAY_S and sidecar.files:
                mark = (start, duration, frozen(sidecar.content.get("Columns")))
                groups.setdefault(mark, []).append((person, sidecar.files[-1]))
    for (start, *_), members in groups.items():
        people = list(dict.fromkeys(person for person, _ in members))
        files = tuple(dict.fromkeys(file for _, file in members))
        if len(people) > 1 and len(files) > 1:
            yield finding(
                "sidecar-copied",
                None,
                files,
                f"the recordings of {listed(people)} say that they began at the same millisecond (StartTime {start:.10g}): "
                "the time is true of one of them at most",
                "Write the sidecars again from the recorder's logs.",
            )


def _when(sidecar: Mapping[str, Any]) -> str:
    said = sidecar.get("AcquisitionDateTime") or sidecar.get("AcquisitionTime")
    return f" (AcquisitionTime {said})" if isinstance(said, str) else ""


def _claimed_twice(scope: Scope) -> Iterator[Finding]:
    """Images of one person that say that they are one series: a copy of a sidecar, or of an image."""
    groups: dict[tuple[Any, ...], list[Picture]] = {}
    for one in scope.pictures:
        mark = _moment(one.sidecar)
        if mark is None:
            continue
        entities = one.entry.name.entities
        parts = tuple(entities.get(key) for key in ("echo", "part", "inv"))
        echo = frozen([one.sidecar.get(key) for key in ("EchoTime", "EchoNumber", "ImageType", "PhaseEncodingDirection")])
        groups.setdefault((one.participant, one.entry.session, one.suffix, parts, echo, mark), []).append(one)
    for members in groups.values():
        for first, second in combinations(members, 2):
            if first.json == second.json or not _differ(scope, first, second):
                continue
            yield finding(
                "series-claimed-twice",
                first.participant,
                (first.about, second.about),
                f"both say that they are series {first.sidecar.get('SeriesNumber', '?')}{_when(first.sidecar)}, "
                "and the images differ",
                "Find out which series each image is, and convert the sidecar again.",
            )


def _differ(scope: Scope, first: Picture, second: Picture) -> bool:
    """Whether two images are known to differ; equal ones are told as copies."""
    if first.absent is None and second.absent is None:
        paths = [scope.index.path(one.relative) for one in (first, second)]
        return all(path.is_file() for path in paths) and not filecmp.cmp(*paths, shallow=False)
    if first.absent is None or second.absent is None:
        return False
    keys, sizes = (first.absent.key, second.absent.key), (first.absent.size_bytes, second.absent.size_bytes)
    return (all(keys) and keys[0] != keys[1]) or (None not in sizes and sizes[0] != sizes[1])


# --- what cannot be --------------------------------------------------------------------------------------------------


def _readout(scope: Scope) -> Iterator[Finding]:
    groups: dict[str, list[Picture]] = {}
    for one in scope.pictures:
        if not one.is_epi and any(number(one.sidecar.get(key)) for key in _READOUT):
            groups.setdefault(one.participant, []).append(one)
    for participant, members in groups.items():
        said = ", ".join(
            f"{one.suffix} {key} {one.sidecar[key]:g} s" for one in members for key in _READOUT if number(one.sidecar.get(key))
        )
        yield finding(
            "readout-on-non-epi",
            participant,
            list(dict.fromkeys(one.about for one in members)),
            f"{said}: only echo-planar images have one",
            "Remove the keys; no correction may use them.",
        )


def _impossible(scope: Scope) -> Iterator[Finding]:
    """Factors below 1, and times that are none."""
    groups: dict[tuple[str, str], list[Picture]] = {}
    for one in scope.pictures:
        for key in ("MultibandAccelerationFactor", "ParallelReductionFactorInPlane"):
            value = number(one.sidecar.get(key))
            if value is not None and value < 1:
                groups.setdefault((one.participant, f"{key} {value:g}"), []).append(one)
        for key in ("EchoTime", "FlipAngle", "InversionTime"):
            value = number(one.sidecar.get(key))
            if key in one.sidecar and (value is None or value <= 0 or (key != "FlipAngle" and value > 100)):
                groups.setdefault((one.participant, f"{key} {one.sidecar[key]!r}"), []).append(one)
    for (participant, said), members in groups.items():
        yield finding(
            "impossible-value",
            participant,
            list(dict.fromkeys(one.about for one in members)),
            f"{said} cannot be",
            "Remove the key, or give the value of the protocol.",
        )


# --- slices ----------------------------------------------------------------------------------------------------------


def slice_times(sidecar: Mapping[str, Any]) -> list[float] | None:
    """SliceTiming as numbers; None where it is absent or is none."""
    raw = sidecar.get("SliceTiming")
    times = [number(value) for value in raw] if isinstance(raw, list) else []
    return [float(value) for value in times if value is not None] if times and None not in times else None


def slice_order(times: Sequence[float]) -> tuple[int, ...]:
    """Rank of each slice; slices acquired together share one."""
    ordered = sorted(times)
    ranks: dict[float, int] = {}
    rank = -1
    last = float("-inf")
    for time in ordered:
        if time - last > _SAME_TIME_S:
            rank, last = rank + 1, time
        ranks[time] = rank
    return tuple(ranks[time] for time in times)


def _slices(scope: Scope) -> Iterator[Finding]:
    for pictures in scope.by_kind.values():
        epis = [one for one in pictures if one.is_epi]
        orders = {id(one): slice_order(times) for one in epis if (times := slice_times(one.sidecar))}
        rule = rule_of(orders.values())
        inferred: dict[int, list[Picture]] = {}
        for one in epis:
            if id(one) not in orders:
                continue
            if rule is not None and orders[id(one)] != rule:
                yield finding(
                    "slice-order-differs",
                    one.participant,
                    one.about,
                    "its slices were acquired in another order than those of most others",
                    "Compare with the protocol; a list that is not its own spoils every model of slice times.",
                )
            factor = multiband_of(slice_times(one.sidecar) or [])
            stated = number(one.sidecar.get("MultibandAccelerationFactor"))
            if factor is None or stated == factor:
                continue
            if stated is None:
                if factor > 1:
                    inferred.setdefault(factor, []).append(one)
            elif stated >= 1:
                yield finding(
                    "multiband-differs",
                    one.participant,
                    one.about,
                    f"MultibandAccelerationFactor is {stated:g}, the slice times show {factor} slices at a time; "
                    "the slice times are used",
                    "Correct the one that is wrong.",
                )
        for factor, members in inferred.items():
            yield finding(
                "multiband-inferred",
                None,
                [one.about for one in members],
                f"{len(members)} sidecars do not state MultibandAccelerationFactor; their slice times show {factor} slices "
                "at a time",
                f"Add MultibandAccelerationFactor: {factor}.",
            )
    without = [one for one in scope.pictures if one.suffix == "epi" and "SliceTiming" not in one.sidecar]
    if without:
        yield finding(
            "fieldmap-slice-timing",
            None,
            [one.about for one in without],
            f"{len(without)} EPIs of field maps without SliceTiming",
            "Nothing to do: no step needs it; convert again with a current dcm2niix to have it.",
        )


# --- words -----------------------------------------------------------------------------------------------------------


def _subject_of(text: str) -> set[str]:
    words = text.lower()
    return {name for name, signs in _SUBJECTS.items() if any(re.search(rf"\b{re.escape(sign)}", words) for sign in signs)}


def _descriptions(scope: Scope) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[Picture]] = {}
    for one in scope.pictures:
        said, task = one.sidecar.get("TaskDescription"), one.entry.name.entities.get("task", "")
        if one.suffix != "bold" or not isinstance(said, str):
            continue
        own, told = _subject_of(task), _subject_of(said)
        if own and told and not own & told:
            groups.setdefault((task, said), []).append(one)
    for (task, said), members in groups.items():
        yield finding(
            "task-description-differs",
            None,
            [one.about for one in members],
            f"TaskDescription of task {task} is {said!r}",
            "Describe the task that was done.",
        )


def _recordings(scope: Scope) -> Iterator[Finding]:
    """TaskName of recordings; that of runs is the reader's."""
    for participant in scope.index.participants:
        wrong: dict[str, str] = {}
        for entry in scope.index.entries(participant, "func"):
            if entry.name.suffix != "physio" or entry.name.extension == ".json":
                continue
            sidecar = scope.index.sidecar(entry)
            said, task = sidecar.content.get("TaskName"), entry.name.entities.get("task", "")
            if isinstance(said, str) and re.sub(r"[^a-z0-9]", "", said.lower()) != task.lower() and sidecar.files:
                wrong[sidecar.files[-1]] = said
        if wrong:
            yield finding(
                "task-name-differs",
                participant,
                tuple(wrong),
                f"TaskName of recordings is {listed(repr(said) for said in wrong.values())}, not the task of the file; "
                "the file's is used",
                "Correct the one that is wrong.",
            )


def _spelling(scope: Scope) -> Iterator[Finding]:
    """Times of day such as 06:17:7.255, which few programs read."""
    short = {
        one.about: said
        for one in scope.pictures
        if isinstance(said := one.sidecar.get("AcquisitionTime"), str)
        if re.fullmatch(r"\d{1,2}:\d{1,2}:\d{1,2}(\.\d+)?", said) and not re.match(r"\d{2}:\d{2}:\d{2}", said)
    }
    if short:
        yield finding(
            "clock-spelling",
            None,
            tuple(short),
            f"{len(short)} times of day without leading zeros, as {next(iter(short.values()))}; read as meant",
            "Write two digits each.",
        )
