"""All that is known before anything is converted: sources, mapping, plan, recordings, events, and everything wrong with them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cospine.convert.events import Events, events_of
from cospine.convert.images import Converter, find_converter
from cospine.convert.logs import read_log
from cospine.convert.mapping import EventsRule, SeriesMapping, load_mapping
from cospine.convert.plan import Plan, Target, make_plan
from cospine.convert.recordings import KINDS, Source
from cospine.convert.series import read_series
from cospine.convert.sources import Sources, find_sources
from cospine.errors import CoSpineError
from cospine.physio.io import read_files

_LABEL = re.compile(r"[a-zA-Z0-9+]+")
_BOUND = re.compile(r"(task-[a-zA-Z0-9+]+(?:_[a-z]+-[a-zA-Z0-9+]+)*)=(.+)")


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Parameters
    ----------
    source, bids_dir : Path
    participant : str
        Without `sub-`.
    session : str or None
        Without `ses-`.
    mapping : Path or None
        None: the one of the CoSpine protocol.
    physio, events : tuple of str
        `PATH` or `RUN=PATH`.
    deface : bool
    scans : bool
        Whether `scans.tsv` is written.
    """

    source: Path
    bids_dir: Path
    participant: str
    session: str | None = None
    mapping: Path | None = None
    physio: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    deface: bool = True
    scans: bool = False


@dataclass(frozen=True, eq=False)
class Prepared:
    """A conversion that can begin.

    Parameters
    ----------
    request : Request
    mapping : SeriesMapping
    plan : Plan
    recordings : tuple of Source
    events : mapping of str to (Path, Events)
        By run.
    converter : Converter or None
        None where it is missing (an error says so).
    strangers : tuple of Path
        Files that nothing was made of.
    errors : tuple of CoSpineError
        With any of them nothing can begin.
    """

    request: Request
    mapping: SeriesMapping
    plan: Plan
    recordings: tuple[Source, ...] = ()
    events: dict[str, tuple[Path, Events]] = field(default_factory=dict)
    converter: Converter | None = None
    strangers: tuple[Path, ...] = ()
    errors: tuple[CoSpineError, ...] = ()


def run_name(target: Target) -> str:
    """What a run is called on the command line and in messages: `task-pain_run-1`."""
    name = target.prefix.rpartition("/")[2]
    return name[name.index("task-") :]


def prepare(request: Request, unpacked: Path) -> Prepared:
    """Look at everything and decide what becomes of it.

    Parameters
    ----------
    request : Request
    unpacked : Path
        Folder for the contents of archives; must last until the conversion is done.

    Returns
    -------
    Prepared
        With all errors at once.

    Raises
    ------
    CoSpineError
        When the source or the mapping cannot be read at all.
    """
    errors = _bad_labels(request)
    mapping = load_mapping(request.mapping)
    sources = find_sources(request.source, unpacked / "source")
    series, unreadable = read_series(sources.dicom)
    errors += unreadable
    if not series and not unreadable:
        errors.append(CoSpineError("holds no DICOM files", str(request.source), "Give the folder or archive from the scanner"))
    # a bad label is an error already; the plan is shown under another
    labels = [None if one is None else one if _LABEL.fullmatch(one) else "X" for one in (request.participant, request.session)]
    plan, wrong = make_plan(series, mapping, str(labels[0]), labels[1])
    errors += wrong
    converter = None
    try:
        converter = find_converter()
    except CoSpineError as error:
        errors.append(error)
    runs = {run_name(target): target for _, target in plan.runs}
    recordings = _recordings(request, plan, sources, set(runs), unpacked, errors)
    events, used = _events(request, mapping, sources, runs, unpacked, errors)
    strangers = tuple(sorted({*sources.strangers, *(one for one in sources.task_logs if one not in used)}))
    return Prepared(request, mapping, plan, tuple(recordings), events, converter, strangers, tuple(errors))


def _bad_labels(request: Request) -> list[CoSpineError]:
    errors = []
    for flag, label in (("--participant", request.participant), ("--session", request.session)):
        if label is not None and not _LABEL.fullmatch(label):
            errors.append(CoSpineError("is no BIDS label", f"{flag} {label}", "Use letters and digits only, as 01"))
    source, target = request.source.resolve(), request.bids_dir.resolve()
    if target == source or (source.is_dir() and source in target.parents):
        errors.append(CoSpineError("lies in the source, which is not changed", f"BIDS_DIR {target}", "Name a folder elsewhere"))
    if request.bids_dir.exists() and not request.bids_dir.is_dir():
        errors.append(CoSpineError("is no folder", f"BIDS_DIR {request.bids_dir}", "Name a folder"))
    return errors


# --- recordings -----------------------------------------------------------------------------------------------------


def _bound(text: str, flag: str, runs: set[str], errors: list[CoSpineError]) -> tuple[str | None, Path] | None:
    """`RUN=PATH` or `PATH`; None and an error where the run or the path is not there."""
    match = _BOUND.fullmatch(text)
    run, path = (match[1], Path(match[2])) if match else (None, Path(text))
    if run is not None and run not in runs:
        known = ", ".join(sorted(runs)) or "none"
        errors.append(CoSpineError(f"{run} is no run of this conversion", f"{flag} {text}", f"Runs are: {known}"))
        return None
    if not path.exists():
        errors.append(CoSpineError("does not exist", f"{flag} {text}", "Give a file or folder, or RUN=FILE"))
        return None
    return run, path


def _recordings(
    request: Request, plan: Plan, sources: Sources, runs: set[str], unpacked: Path, errors: list[CoSpineError]
) -> list[Source]:
    wanted: dict[Path, str | None] = dict.fromkeys(sources.recordings)
    wanted.update({path: None for series in plan.physio for path in series.files})
    for number, text in enumerate(request.physio):
        bound = _bound(text, "--physio", runs, errors)
        if bound is None:
            continue
        run, path = bound
        if path.is_dir():
            inside = find_sources(path, unpacked / f"physio{number}")
            logged = [file for one in read_series(inside.dicom)[0] if one.kind == "physio" for file in one.files]
            wanted.update(dict.fromkeys([*inside.recordings, *logged], run))
        else:
            wanted[path] = run
    found: list[Source] = []
    for run in dict.fromkeys(wanted.values()):
        read, wrong = read_files([path for path, its in wanted.items() if its == run])
        errors += wrong
        found += [Source(one, path, run) for path, one in read if one.kind in KINDS]
    return found


# --- events ---------------------------------------------------------------------------------------------------------


def _events(
    request: Request,
    mapping: SeriesMapping,
    sources: Sources,
    runs: dict[str, Target],
    unpacked: Path,
    errors: list[CoSpineError],
) -> tuple[dict[str, tuple[Path, Events]], set[Path]]:
    """Events of each run that has a log, and the logs that were used."""
    chosen: dict[str, tuple[Path, EventsRule]] = {}
    free: list[tuple[Path, EventsRule]] = [
        (path, rule) for path in sources.task_logs for rule in mapping.events if rule.files.fits((path.name,)) is not None
    ]
    for number, text in enumerate(request.events):
        bound = _bound(text, "--events", set(runs), errors)
        if bound is None:
            continue
        run, path = bound
        files = find_sources(path, unpacked / f"events{number}").task_logs if path.is_dir() else (path,)
        fitting = [
            (one, rule)
            for one in files
            for rule in mapping.events
            if (run is None or rule.task == runs[run].entities["task"]) and rule.files.fits((one.name,)) is not None
        ]
        if run is not None and not fitting:  # bound by name: its file name need not fit
            fitting = [(one, rule) for one in files for rule in mapping.events if rule.task == runs[run].entities["task"]]
        if not fitting:
            whose = "for it" if run is None else f"for the task of {run}"
            remedy = "Add one under `events`, as docs/convert.md shows"
            errors.append(CoSpineError(f"the mapping has no events rule {whose}", f"--events {text}", remedy))
        elif run is not None and len(fitting) > 1:
            errors.append(CoSpineError(f"{len(fitting)} logs and rules fit", f"--events {text}", "Give one file for one run"))
        elif run is not None:
            chosen[run] = fitting[0]
        else:
            free += fitting
    taken = {path for path, _ in chosen.values()}
    free = [one for one in dict.fromkeys(free) if one[0] not in taken]
    for run, target in runs.items():
        if run in chosen:
            continue
        fitting = [one for one in free if one[1].task == target.entities["task"]]
        siblings = [
            name for name, other in runs.items() if other.entities["task"] == target.entities["task"] and name not in chosen
        ]
        if len(fitting) > 1 or (fitting and len(siblings) > 1):
            names = ", ".join(sorted({path.name for path, _ in fitting}))
            what = f"which log is its own is not clear ({names})"
            errors.append(CoSpineError(what, run, "Bind each with --events RUN=FILE, or narrow `files` in the mapping"))
        elif fitting:
            chosen[run] = fitting[0]
    events: dict[str, tuple[Path, Events]] = {}
    for run, (path, rule) in sorted(chosen.items()):
        try:
            events[run] = (path, events_of(read_log(path.read_bytes(), str(path), rule.format), rule, str(path)))
        except OSError as error:
            errors.append(CoSpineError(f"cannot be read ({error.strerror or error})", str(path), "Check who may read it"))
        except CoSpineError as error:
            errors.append(error)
    return events, {path for path, _ in chosen.values()}


def describe(prepared: Prepared) -> Sequence[str]:
    """The plan as lines for people."""
    plan = prepared.plan
    lines = []
    for item in plan.items:
        made = [target.image for target in item.targets]
        lines.append(f"{item.series.label} -> {made[0]}")
        lines += [f"    and {one}" for one in made[1:]]
    for one in plan.fields:
        runs = ", ".join(run_name(run) if run.suffix == "bold" else run.image for run in one.runs) or "no run"
        lines.append(f"field map {one.identifier} is for {runs}")
    for run, (path, events) in prepared.events.items():
        lines.append(f"{path.name} -> events of {run} ({len(events.columns['onset'])} events)")
    for source in prepared.recordings:
        recording = source.recording
        whose = f"of {source.run}" if source.run else "given to the runs that it covers by the scanner's clock"
        lines.append(f"{recording.source} -> {recording.kind} recording, {recording.duration_s:.0f} s, {whose}")
    lines += [f"{series.label}: left aside ({why})" for series, why in plan.skipped]
    lines += [f"note: {note}" for note in plan.notes]
    if prepared.strangers:
        lines.append(f"{len(prepared.strangers)} other files, not used")
    return lines
