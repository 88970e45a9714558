"""Recordings of pulse and breathing against the runs: their own, another's, swapped, partial, missing.

Where a recording lies and whose it is decide the same functions as in `cospine run`. Of a recording that is not here the sidecar
tells when it began and how long it took; of a run that is not here the events tell how long it was at least.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cospine.bids import Finding, Participant, Run, finding, load_events
from cospine.bids.clock import DAY_S
from cospine.bids.names import parse_name
from cospine.bids.tables import number, words
from cospine.check.scope import Scope
from cospine.errors import CoSpineError
from cospine.physio.alignment import WHOLE, Choice, Session, choose
from cospine.physio.channels import kind_of
from cospine.physio.io import read_recordings
from cospine.physio.recording import Kind, Recording
from cospine.physio.tables import start_of

KINDS: tuple[Kind, ...] = ("cardiac", "respiratory")
WORD = {"cardiac": "pulse", "respiratory": "breathing"}
_DURATION_S, _DURATION_SHARE = 1.0, 0.01  # up to here samples and stated duration agree


@dataclass(frozen=True, eq=False)
class _Channels:
    """Recordings of one person: by file, and what is wrong with those that cannot be read."""

    by_file: Mapping[Path, tuple[Recording, ...]]
    troubles: Mapping[Path, CoSpineError]


def check_recordings(scope: Scope) -> Iterator[Finding]:
    """All that recordings tell."""
    for person in scope.dataset.participants:
        channels = _read(scope, person)
        yield from _unreadable(scope, person, channels)
        yield from _durations(scope, person, channels)
        yield from _of_runs(scope, person, channels)
        yield from missing_channels(scope, person)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the readers would warn of is told as findings here."""
    readers = logging.getLogger("cospine.physio")
    level = readers.level
    readers.setLevel(logging.ERROR)
    try:
        yield
    finally:
        readers.setLevel(level)


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(scope: Scope, person: Participant) -> _Channels:
    found: dict[Path, tuple[Recording, ...]] = {}
    troubles: dict[Path, CoSpineError] = {}
    for path in person.physio:
        sidecar = person.physio_sidecars.get(path, {})
        if path.relative_to(scope.index.root).as_posix() in scope.index.absent or not path.exists():
            found[path] = _from_sidecar(path.name, sidecar)
            continue
        try:
            with _quiet():
                found[path] = read_recordings(path, sidecar=sidecar or None)
        except CoSpineError as error:
            troubles[path] = error
    return _Channels(found, troubles)


def kinds_of(path: Path, sidecar: Mapping[str, Any]) -> tuple[Kind, ...]:
    """What a recording holds, by its sidecar's columns, else by its name."""
    name = parse_name(path.name)
    named = "" if name is None else name.entities.get("recording", "")
    said = {kind_of(column)[0] for column in words(sidecar, "Columns")}
    return tuple(kind for kind in KINDS if kind in said) or tuple(kind for kind in KINDS if kind == kind_of(named)[0])


def _from_sidecar(name: str, sidecar: Mapping[str, Any]) -> tuple[Recording, ...]:
    """Recordings without samples, as long as their sidecar says; none where it does not say."""
    rate = number(sidecar.get("SamplingFrequency"))
    duration = number(sidecar.get("Duration"))
    if rate is None or duration is None or not 0.5 <= rate <= 1e5 or duration <= 0:
        return ()
    start_s, clock_s, _ = start_of(sidecar)
    # a recorder that tells its start in milliseconds tells its duration in them too
    in_ms = (number(sidecar.get("StartTime")) or 0.0) > DAY_S or duration > DAY_S
    length_s = duration / 1000 if in_ms else duration
    if not length_s <= DAY_S:
        return ()
    samples = np.broadcast_to(0.0, max(1, round(length_s * rate)))
    return tuple(
        Recording(kind=kind, samples=samples, rate_hz=rate, start_s=start_s, clock_s=clock_s, source=name)
        for kind in kinds_of(Path(name), sidecar)
    )


def _unreadable(scope: Scope, person: Participant, channels: _Channels) -> Iterator[Finding]:
    for path, error in channels.troubles.items():
        file = path.relative_to(scope.index.root).as_posix()
        yield finding("physio-unreadable", person.label, file, f"cannot be read: {error.what}", error.remedy or "Copy it again.")


def _durations(scope: Scope, person: Participant, channels: _Channels) -> Iterator[Finding]:
    for path, recordings in channels.by_file.items():
        said = number(person.physio_sidecars.get(path, {}).get("Duration"))
        if said is None or said <= 0 or not recordings or recordings[0].samples.strides == (0,):
            continue
        lasts_s = recordings[0].duration_s
        allowed = max(_DURATION_S, _DURATION_SHARE * lasts_s)
        if all(abs(unit * said - lasts_s) > allowed for unit in (1.0, 1e-3)):
            yield finding(
                "physio-duration",
                person.label,
                path.relative_to(scope.index.root).as_posix(),
                f"{recordings[0].samples.size} samples at {recordings[0].rate_hz:g} Hz last {lasts_s:.1f} s, "
                f"Duration says {said:g}",
                "Find out which is true: the file may be cut short, or the rate be wrong.",
            )


# --- whose they are --------------------------------------------------------------------------------------------------


def _session(run: Run) -> tuple[Session, bool] | None:
    """A run as alignment sees it, and whether its length is known; None where neither images nor events tell one."""
    if not math.isfinite(run.tr_s):
        return None
    if run.shape and run.volumes:
        return Session(
            run.prefix, run.volumes, run.tr_s, run.acquisition_clock_s, run.shape[3] if len(run.shape) > 3 else None
        ), True
    ends = [onset + duration for onset, duration, _ in load_events(run)]
    last_s = max(ends, default=0.0)
    if not 0 < last_s < DAY_S:
        return None
    return Session(run.prefix, math.ceil(last_s / run.tr_s), run.tr_s, run.acquisition_clock_s), False


def run_choices(scope: Scope, person: Participant) -> dict[tuple[str, Kind], Choice]:
    """Which recording serves each run of a person, by prefix of the run and kind."""
    return _choices(person, _read(scope, person))[0]


def _choices(person: Participant, channels: _Channels) -> tuple[dict[tuple[str, Kind], Choice], dict[str, str]]:
    """Choices, and what is to be said of the length of each run."""
    choices: dict[tuple[str, Kind], Choice] = {}
    lengths: dict[str, str] = {}
    for run in person.runs:
        known = _session(run)
        if known is None or (not run.physio and not person.physio):
            continue
        session, whole = known
        beside = [path for path in person.physio if path.parent == run.bold.parent and path not in run.physio]
        own = _flat(channels, run.physio)
        others = _flat(channels, beside)
        lengths[run.prefix] = "" if whole else f" (its events alone last {session.duration_s:.0f} s)"
        for kind in KINDS:
            if any(one.kind == kind for one in (*own, *others)):
                choices[run.prefix, kind] = choose(kind, session, _of_kind(own, kind), _of_kind(others, kind))
    return choices, lengths


def _of_runs(scope: Scope, person: Participant, channels: _Channels) -> Iterator[Finding]:
    choices, lengths = _choices(person, channels)
    runs = {run.prefix: run for run in person.runs}
    yield from _swapped(scope, person, runs, choices)
    for (prefix, kind), choice in choices.items():
        yield from _judged(scope, runs[prefix], kind, choice, choices, lengths[prefix])


def _flat(channels: _Channels, paths: Sequence[Path]) -> list[Recording]:
    return [one for path in paths for one in channels.by_file.get(path, ())]


def _of_kind(recordings: Sequence[Recording], kind: Kind) -> list[Recording]:
    """Those of a kind; of several without samples the first, for nobody can tell which signal is better."""
    mine = [one for one in recordings if one.kind == kind]
    blank = [one for one in mine if one.samples.strides == (0,)]
    return [one for one in mine if one not in blank] + [
        one for at, one in enumerate(blank) if one.source != blank[at - 1].source or at == 0
    ]


def _owner(source: str) -> str:
    """Prefix of the run whose name a recording carries."""
    return source.split(" ")[0].partition("_recording-")[0].partition("_physio")[0]


def swaps(choices: Mapping[tuple[str, Kind], Choice]) -> list[tuple[str, str, tuple[Kind, ...]]]:
    """Pairs of runs whose recordings carry each other's names, each pair once, with the kinds."""
    found: dict[tuple[str, str], list[Kind]] = {}
    for (prefix, kind), choice in choices.items():
        if choice.named or choice.placed is None:
            continue
        other = _owner(choice.placed.recording.source)
        back = choices.get((other, kind))
        if prefix >= other or back is None or back.named or back.placed is None:
            continue
        if _owner(back.placed.recording.source) == prefix:
            found.setdefault((prefix, other), []).append(kind)
    return [(one, other, tuple(kinds)) for (one, other), kinds in found.items()]


def _swapped(
    scope: Scope, person: Participant, runs: Mapping[str, Run], choices: Mapping[tuple[str, Kind], Choice]
) -> Iterator[Finding]:
    for one, other, kinds in swaps(choices):
        files = [
            path.relative_to(scope.index.root).as_posix()
            for prefix in (one, other)
            for path in runs[prefix].physio
            if set(kinds) & set(kinds_of(path, person.physio_sidecars.get(path, {})))
        ]
        what = " and ".join(WORD[kind] for kind in kinds)
        yield finding(
            "physio-swapped",
            person.label,
            files,
            f"by the scanner's clock the recordings of {what} named {one} were made during {other}, "
            f"and those named {other} during {one}; each run is given its own",
            "Exchange their names; cospine check --fix-plan shows how.",
        )


def _judged(
    scope: Scope,
    run: Run,
    kind: Kind,
    choice: Choice,
    choices: Mapping[tuple[str, Kind], Choice],
    length: str,
) -> Iterator[Finding]:
    own = [path for path in run.physio if kind in kinds_of(path, _sidecar(scope, run, path))]
    files = [path.relative_to(scope.index.root).as_posix() for path in own]
    placed = choice.placed
    if placed is not None and not choice.named:
        owner = _owner(placed.recording.source)
        if any({run.prefix, owner} == {one, other} and kind in kinds for one, other, kinds in swaps(choices)):
            return
        theirs = choices.get((owner, kind))
        both = theirs is not None and theirs.named  # it went on from one run into the next
        yield finding(
            "physio-of-another-run",
            run.participant,
            [*files, f"{run.bold.parent.relative_to(scope.index.root).as_posix()}/{placed.recording.source.split(' ')[0]}"],
            f"by the scanner's clock {WORD[kind]} of {run.prefix}{length} is in the recording named {owner}, which covers "
            f"{100 * placed.coverage:.0f} % of it; that one is used",
            "Nothing to rename: it is that run's own, and went on into this one."
            if both
            else "Find out which run each recording belongs to, and rename it.",
        )
        return
    if not own:
        return
    if placed is None:
        told = [note for note in choice.notes if not note.startswith("No ")]
        yield finding(
            "physio-elsewhere",
            run.participant,
            files,
            f"{' '.join(told).rstrip('.') or f'the recording of {WORD[kind]} covers nothing of the run'}{length}",
            "Find the recording that was made during the run; without one, components of CSF stand in for the model.",
        )
    elif placed.coverage < WHOLE:
        yield finding(
            "physio-partial",
            run.participant,
            files,
            f"{WORD[kind]} covers {100 * placed.coverage:.0f} % of the run{length}, from "
            f"{placed.recording.start_s or 0:.1f} to {(placed.recording.start_s or 0) + placed.recording.duration_s:.1f} s",
            "Look for the rest; volumes outside are left unmodelled.",
        )


def _sidecar(scope: Scope, run: Run, path: Path) -> Mapping[str, Any]:
    person = scope.dataset.participant(run.participant)
    return person.physio_sidecars.get(path, {})


# --- missing ---------------------------------------------------------------------------------------------------------


def channels_there(person: Participant, run: Run) -> set[Kind]:
    """Kinds of recordings that carry a run's name."""
    return {kind for path in run.physio for kind in kinds_of(path, person.physio_sidecars.get(path, {}))}


def missing_channels(scope: Scope, person: Participant) -> Iterator[Finding]:
    """Runs with one of the two channels."""
    for run in person.runs:
        there = channels_there(person, run)
        lacking = [kind for kind in KINDS if kind not in there]
        if there and lacking:
            yield finding(
                "physio-channel-missing",
                person.label,
                run.bold.relative_to(scope.index.root).as_posix(),
                f"has a recording of {WORD[next(iter(there))]} and none of {WORD[lacking[0]]}",
                "Add it if it was made; the model is then made of one channel.",
            )
