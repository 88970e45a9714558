"""Units of work that may run anywhere: what a participant's runs share, each of the runs, and what follows from all of them.

They hand nothing to each other but through the work directory and the derivatives, so a worker that dies takes nothing with it.
"""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cospine.bids import Dataset, Derivatives, Participant, Run, read_json
from cospine.bids.atomic import PART
from cospine.bids.names import sidecar_of
from cospine.errors import CoSpineError
from cospine.pipeline.anatomy_stage import Anatomy
from cospine.pipeline.coupling_files import combine_coupling
from cospine.pipeline.keeper import Done, Keeper, Planned
from cospine.pipeline.person import Person
from cospine.pipeline.process import process_run
from cospine.pipeline.record import remove_stale, software
from cospine.pipeline.reporting import participant_page
from cospine.pipeline.resources import give_back
from cospine.pipeline.run_files import VERSIONS
from cospine.pipeline.settings import Settings
from cospine.pipeline.task_files import combine_runs
from cospine.threads import use_threads

logger = logging.getLogger(__name__)

Tell = Callable[[str, str], None]
"""Told of each step that begins: the prefix of the run (empty for the person as a whole), and the step."""

_DISK = "check free space and permissions of the output folder, or choose another one"
_LOG = "log.txt"


@dataclass(frozen=True)
class Failure:
    """A run or participant that could not be processed."""

    participant: str
    run: str
    error: str


@dataclass(frozen=True, eq=False)
class Job:
    """What every unit of work must know.

    Parameters
    ----------
    dataset : Dataset
        Its name, root and the findings about no person; without participants.
    derivatives : Derivatives
        Where to write.
    work : Path
        Work directory.
    settings : Settings
        Parameters.
    threads : int
        That a unit computes with; 0 for all.
    """

    dataset: Dataset
    derivatives: Derivatives
    work: Path
    settings: Settings
    threads: int = 0

    def person(self, participant: Participant, tell: Tell, run: Run | None = None, *, plan: bool = False) -> Person:
        """A participant with steps of its own."""
        prefix = "" if run is None else run.prefix
        keeper = Keeper(self.work, self.settings, lambda step: tell(prefix, step), plan=plan)
        return Person(participant, self.derivatives, keeper)


@dataclass(frozen=True)
class Prepared:
    """What a person's runs share has been made: images whose processing failed, and why."""

    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A participant that is done."""

    participant: str
    report: Path | None
    failures: tuple[Failure, ...] = field(default=())


def prepare(job: Job, participant: Participant, tell: Tell) -> Prepared:
    """Make what the runs of a participant share: fields and anatomies."""
    if job.threads:
        use_threads(job.threads)
    _sweep(job, participant)
    with _logged(job.work / participant.label / _LOG):
        person = job.person(participant, tell)
        try:
            person.prepare()
        except Exception as error:  # each run meets it again, and says so
            logger.info("%s: %s", participant.label, error)
        failed = person.anatomies.failures
    del person
    give_back()  # in a circle with its steps, and not small
    return Prepared(tuple(Failure(participant.label, image.name, text) for image, text in failed.items()))


def do_run(job: Job, participant: Participant, run: Run, tell: Tell) -> Failure | None:
    """Process one run; returns why that failed."""
    if job.threads:
        use_threads(job.threads)
    person = job.person(participant, tell, run)
    failure = None
    with _logged(job.work / person.unit_of(run) / _LOG):
        try:
            _write_record(job.derivatives, run, process_run(run, person))
        except Exception as error:
            failure = _failure(participant.label, run.label, error)
    del person
    give_back()
    return failure


def finish(job: Job, participant: Participant, failures: Sequence[Failure], tell: Tell) -> Finished:
    """Combine the runs of a participant that were processed, and write the page; `failures` are those of before."""
    failed = list(failures)
    lost = {one.run for one in failed}
    person = job.person(participant, tell)
    keeper, out = person.keeper, job.derivatives
    runs = [run for run in participant.runnable if run.label not in lost]
    path = out.root / f"{participant.label}.html"
    report: Path | None = None
    if failed and job.settings.reports_only:  # the page that is there tells more
        return Finished(participant.label, None, tuple(failed))
    with _logged(job.work / participant.label / "finish.txt"):
        sections = [one for run in runs if (one := keeper.found(person.unit_of(run), "report")) is not None]
        anatomies = _anatomies(person, sections)
        # of results, not of what draws the page: see --reports-only
        made_with = next((one.record.software for run in runs if (one := keeper.found(person.unit_of(run), "read"))), software())
        maps = [one for run in runs for name in ("statistics", "coupling") if (one := keeper.found(person.unit_of(run), name))]

        def combine(_: Settings) -> tuple[None, tuple[Path, ...]]:
            return None, (*combine_runs(out, runs), *combine_coupling(out, runs))

        def page(settings: Settings) -> tuple[None, tuple[Path, ...]]:
            text = participant_page(
                participant, job.dataset, [one.value for one in sections], [(one.run, one.error) for one in failed], settings,
                [one.value for one in anatomies], made_with,
            )  # fmt: skip
            out.write_text(path, text)
            return None, (path,)

        try:
            about = [[run.prefix for run in runs], [one.record.digest for one in maps]]
            keeper.step(person.unit, "several runs", VERSIONS["several runs"], combine, facts=about)
        except Exception as error:
            failed.append(_failure(participant.label, "statistics of several runs", error))
        try:
            said = [[vars(one) for one in failed], [vars(one) for one in (*job.dataset.findings, *participant.findings)]]
            about = [said, participant.attributes, [one.record.digest for one in (*anatomies, *sections)]]
            keeper.step(person.unit, "page", VERSIONS["report"], page, facts=about)
            report = path
        except Exception as error:
            failed.append(_failure(participant.label, "report", error))
    _join_logs(job, person)
    return Finished(participant.label, report, tuple(failed))


def plan_person(job: Job, participant: Participant) -> tuple[Planned, ...]:
    """Steps of a participant that would be done, and why."""
    person = job.person(participant, lambda _, __: None, plan=True)
    person.prepare()
    for run in participant.runnable:
        process_run(run, person)
    # the choice of a field is met when preparing and with the run
    planned = tuple(dict.fromkeys(person.keeper.planned))
    if not planned and participant.runnable and (why := person.keeper.missing(person.unit, "page")):
        return (Planned(person.unit, "page", why),)
    return planned


def _anatomies(person: Person, sections: Sequence[Done[Any]]) -> list[Done[Anatomy]]:
    """The anatomies that runs lie in, once each."""
    names = dict.fromkeys(name for one in sections for name in one.record.after if name.startswith("anatomy-"))
    found = (person.keeper.found(person.unit, name) for name in names)
    return [one for one in found if one is not None]


def _sweep(job: Job, participant: Participant) -> None:
    """Remove what an execution that was killed left half written; nothing of this participant is being written yet."""
    for folder in (
        job.derivatives.root / participant.label,
        job.derivatives.root / "fsl" / participant.label,
        job.work / participant.label,
    ):
        for path in folder.rglob(f".*{PART}") if folder.is_dir() else ():
            path.unlink(missing_ok=True)


def _write_record(out: Derivatives, run: Run, steps: Sequence[Done[Any]]) -> None:
    """Write what made a run, and remove what an earlier execution wrote for it and none of these steps did."""

    def named(path: Path) -> str:
        for scheme, folder in (("bids::", out.root), ("bids:raw:", out.raw)):
            if folder is not None and path.is_relative_to(folder):
                return scheme + path.relative_to(folder).as_posix()
        return path.name

    record = out.root / "logs" / f"{run.prefix}_steps.json"
    written = {path for step in steps for path in step.outputs}
    stale: set[Path] = set()
    for step in read_json(record).get("Steps", []) if record.is_file() else ():
        for name in step.get("outputs", []):
            path = out.root / str(name).removeprefix("bids::")
            # field maps stay: other runs may have been corrected with them
            own = path.parent.name == "func" or path.is_relative_to(out.root / "fsl")
            if str(name).startswith("bids::") and path not in written and own:
                stale |= {path, sidecar_of(path)}
    remove_stale(stale)
    out.write_json(record, {"CoSpine": out.version, "Steps": [step.record.as_step(named) for step in steps]})


def _failure(participant: str, what: str, error: Exception) -> Failure:
    """What to tell of an error; one that nobody foresaw keeps its traceback in the log."""
    # for the log file; the terminal hears of it as an event
    logger.info("%s failed: %s", what, error if isinstance(error, CoSpineError) else traceback.format_exc())
    if isinstance(error, CoSpineError):
        return Failure(participant, what, str(error))
    if isinstance(error, OSError):
        return Failure(participant, what, str(CoSpineError(error.strerror or str(error), str(error.filename or ""), _DISK)))
    if isinstance(error, MemoryError):
        return Failure(participant, what, "out of memory. Close other programs, or process fewer volumes on this machine")
    text = f"{type(error).__name__}: {error}. This is a fault of CoSpine: the log has the details, please report them"
    return Failure(participant, what, text)


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """All that is logged meanwhile, in a file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("cospine")
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


def _join_logs(job: Job, person: Person) -> None:
    """The logs of a participant's units as one, in the order of the work."""
    label = person.participant.label
    units = [job.work / label / _LOG, *(job.work / person.unit_of(run) / _LOG for run in person.participant.runnable)]
    text = "".join(path.read_text(encoding="utf-8") for path in (*units, job.work / label / "finish.txt") if path.is_file())
    job.derivatives.write_text(job.derivatives.root / "logs" / f"{label}.log", text)
