"""What is attached to a run: its events, its phase images and its physiological recordings."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cospine.bids.clock import DAY_S
from cospine.bids.findings import Report
from cospine.bids.index import IMAGE_EXTENSIONS, Entry, Index
from cospine.bids.model import Run
from cospine.bids.tables import number, read_tsv

_HOUR_S = 3600.0


def find_events(index: Index, entry: Entry, say: Report) -> Path | None:
    """Return the events table of a BOLD image, by inheritance; a missing or unusable one is reported."""
    tables = index.applicable(entry, "events", (".tsv",))
    if not tables:
        if entry.name.entities.get("task") != "rest":
            say("no-events", "no events table for this task run", "Add it to have activation estimated.")
        return None
    table = tables[-1]
    path = index.path(table.relative)
    try:
        columns = read_tsv(path)
        if not any(columns.values()) and {"onset", "duration"} <= columns.keys():
            say("no-events", "the events table holds no event", "Nothing to do if there were none.", (table.relative,))
            return None
        for name in ("onset", "duration"):
            values = [float(value) for value in columns[name] if value != "n/a"]
            if not all(map(math.isfinite, values)) or (name == "onset" and not values):
                raise ValueError(f"{name} holds no finite numbers")
            if name == "duration" and any(value < 0 for value in values):
                raise ValueError("duration holds negative numbers")
    except KeyError as error:
        reason = f"has no column {error}"
    except (OSError, ValueError) as error:
        reason = str(error)
    else:
        return path
    say("bad-events", f"{reason}; it is left aside", "Mend the table.", (table.relative,))
    return None


def load_events(run: Run) -> tuple[tuple[float, float, str], ...]:
    """Events of a run: onset (s from the first volume), duration (s) and condition, in the order of the table.

    The condition is `trial_type`, or the task where the table has none. Rows without a finite onset, or with a duration that is
    none, are left out (the reader has listed them as a finding).
    """
    if run.events is None:
        return ()
    table = read_tsv(run.events)
    onsets, durations = table.get("onset", []), table.get("duration", [])
    kinds = table.get("trial_type", ["n/a"] * len(onsets))
    events = []
    for onset, duration, kind in zip(onsets, durations, kinds, strict=True):
        try:
            start, length = float(onset), float(duration)
        except ValueError:
            continue
        if math.isfinite(start) and math.isfinite(length) and length >= 0:
            events.append((start, length, run.task if kind == "n/a" else kind))
    return tuple(events)


def find_phase(index: Index, entry: Entry) -> Path | None:
    """Return the phase images of a magnitude series: the file named as it but for `part-phase`."""
    for candidate in index.folders[entry.folder]:
        name = candidate.name
        if name.suffix != entry.name.suffix or name.entities.get("part") != "phase" or name.extension not in IMAGE_EXTENSIONS:
            continue
        if _without(candidate, "part") == _without(entry, "part"):
            return index.path(candidate.relative)
    return None


def _without(entry: Entry, *keys: str) -> dict[str, str]:
    return {key: value for key, value in entry.name.entities.items() if key not in keys}


def all_physio(index: Index, participant: str) -> tuple[Path, ...]:
    """Return every recording of a participant, whatever run it is named after."""
    return tuple(index.path(entry.relative) for entry in index.entries(participant, "func") if _is_recording(entry))


def physio_sidecars(index: Index, participant: str) -> dict[Path, Mapping[str, Any]]:
    """Sidecars of a participant's recordings, by their paths; those that cannot be read are left out."""
    found: dict[Path, Mapping[str, Any]] = {}
    for entry in index.entries(participant, "func"):
        if _is_recording(entry):
            sidecar = index.sidecar(entry)
            if sidecar.files and not sidecar.broken:
                found[index.path(entry.relative)] = sidecar.content
    return found


def _is_recording(entry: Entry) -> bool:
    return entry.name.suffix == "physio" and entry.name.extension in (".tsv.gz", ".tsv")


def find_physio(index: Index, entry: Entry, say: Report) -> tuple[Path, ...]:
    """Return the recordings that carry the name of a BOLD image; what their sidecars lack is reported."""
    mine = _without(entry, "echo", "part")
    found: list[Path] = []
    by_clock: dict[str, float] = {}
    for candidate in index.folders[entry.folder]:
        if not _is_recording(candidate) or _without(candidate, "recording") != mine:
            continue
        found.append(index.path(candidate.relative))
        sidecar = index.sidecar(candidate)
        for file, reason in sidecar.broken:
            say("invalid-json", f"cannot be read: {reason}", "Mend the file.", (file,))
        if sidecar.broken:
            continue
        absent = [key for key in ("SamplingFrequency", "StartTime", "Columns") if key not in sidecar.content]
        if absent:
            message = f"the sidecar lacks {', '.join(absent)}"
            say("physio-sidecar", message, "Add what is missing; BIDS requires it.", (candidate.relative,))
        start = number(sidecar.content.get("StartTime"))
        if start is not None and abs(start) > _HOUR_S:
            by_clock[candidate.relative] = start
    if by_clock:
        unit = "milliseconds" if max(by_clock.values()) > DAY_S else "seconds"
        shown = " and ".join(f"{start:.10g}" for start in by_clock.values())
        say(
            "physio-start-time",
            f"StartTime is {shown}, as a time of day in {unit} is, not seconds from the first volume",
            "Give seconds from the first volume (negative when the recording starts before it), "
            "after comparing with the AcquisitionTime of the image.",
            tuple(by_clock),
        )
    if not found:
        say("no-physio", "no recording of pulse or breathing", "Add them to have their noise modelled.")
    return tuple(found)
