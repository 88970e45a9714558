"""Which recording belongs to which run, and from when it counts there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cospine.physio.alignment import PARTIAL, WHOLE, Placed, Session, place
from cospine.physio.recording import Recording

KINDS = ("cardiac", "respiratory")


@dataclass(frozen=True, eq=False)
class Source:
    """A recording, where it comes from, and the run that it was said to be of."""

    recording: Recording
    path: Path
    run: str | None = None
    """As `task-pain_run-1`; None: the clock decides."""


@dataclass(frozen=True, eq=False)
class Channel:
    """A recording in its place: what becomes `<run>_recording-<label>_physio`."""

    label: str
    source: Source
    placed: Placed


def assign(sources: Sequence[Source], runs: Mapping[str, Session]) -> tuple[dict[str, list[Channel]], list[str]]:
    """Give each run its recordings.

    Where a recording was bound to a run that counts; of all others the scanner's clock says which runs they cover. One file
    may cover several runs and is then written for each.

    Parameters
    ----------
    sources : sequence of Source
        All there are.
    runs : mapping of str to Session
        Runs by name.

    Returns
    -------
    channels : dict of str to list of Channel
        For each run that has any, the best cover first; a second channel of a kind is numbered.
    notes : list of str
        What is missing, partial, flat or of no run.
    """
    notes: list[str] = []
    alive = [one for one in _once(sources, notes) if one.recording.kind in KINDS and _alive(one, notes)]
    used: set[int] = set()
    channels: dict[str, list[Channel]] = {}
    for name, run in runs.items():
        found: list[Channel] = []
        for kind in KINDS:
            candidates = [(one, place(one.recording, run)) for one in alive if one.recording.kind == kind]
            bound = [(one, at) for one, at in candidates if one.run == name]
            by_clock = [
                (one, at)
                for one, at in candidates
                if one.run is None and one.recording.clock_s is not None and run.clock_s is not None and at.coverage >= PARTIAL
            ]
            chosen = bound + sorted(by_clock, key=lambda pair: (-round(pair[1].coverage, 2), pair[0].path.name))
            for number, (one, at) in enumerate(chosen, 1):
                used.add(id(one))
                found.append(Channel(kind if number == 1 else f"{kind}{number}", one, at))
                notes += [f"{name}: {text}" for text in at.notes]
                notes += _doubts(name, kind, one, at, run)
            if not chosen and sources:
                notes.append(f"{name}: no {kind} recording covers it")
        if found:
            channels[name] = found
    for one in alive:
        if id(one) not in used:
            why = "" if one.recording.clock_s is not None else " (it carries no time of day: bind it with RUN=FILE)"
            notes.append(f"{one.path.name}: covers no run{why}; not used")
    return channels, notes


def _once(sources: Sequence[Source], notes: list[str]) -> list[Source]:
    """Without those that are there twice, as a log and again inside DICOM; a bound one stays before one that is not."""
    kept: list[Source] = []
    for one in sorted(sources, key=lambda source: source.run is None):
        mine = one.recording
        twin = next(
            (
                other
                for other in kept
                if (other.recording.kind, other.recording.clock_s) == (mine.kind, mine.clock_s)
                and (one.run in (other.run, None) and mine.clock_s is not None)
                and np.array_equal(other.recording.samples, mine.samples, equal_nan=True)
            ),
            None,
        )
        if twin is None:
            kept.append(one)
        else:
            notes.append(f"{one.path.name}: {mine.source} is the same as {twin.recording.source}; used once")
    return kept


def _alive(source: Source, notes: list[str]) -> bool:
    samples = source.recording.samples[source.recording.recorded]
    if samples.size and float(np.ptp(samples)) > 0:
        return True
    notes.append(f"{source.recording.source}: never changes; the sensor was not attached, not used")
    return False


def _doubts(name: str, kind: str, source: Source, placed: Placed, run: Session) -> list[str]:
    where = source.recording.source
    if placed.recording.start_s is None:
        return [f"{name}: when {where} began is not known; StartTimeUnknown is written"]
    if placed.coverage < PARTIAL:
        return [f"{name}: {where} was said to be its own, but covers nothing of it by {placed.how}"]
    if placed.coverage < WHOLE:
        return [f"{name}: the {kind} recording {where} covers {100 * placed.coverage:.0f} % of it"]
    return []
