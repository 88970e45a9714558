"""Who does the units of work, and in which order: this process, workers on this machine, or a cluster."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import psutil

from cospine.bids import Participant, Run
from cospine.errors import CoSpineError
from cospine.pipeline.progress import Tracker
from cospine.pipeline.settings import Settings
from cospine.pipeline.units import Failure, Finished, Job, do_run, finish, prepare
from cospine.threads import threads

Say = Callable[[str], None]

FEW = 30_000_000
"""Voxels times volumes of all runs below which workers would take longer to start than the work takes."""
LOW_GB = 2.0
"""What a run holds at most with `--low-mem`."""
SPARE = 0.8
"""Share of the free memory that is taken when none is named."""


@dataclass(frozen=True)
class Crew:
    """Who works.

    Parameters
    ----------
    workers : int
        How many runs are worked on at the same time; 1 on this machine is this process itself.
    threads : int
        That each computes with.
    memory_gb : float
        That each may hold; 0 where nothing was said.
    engine : str
        As `--engine`.
    options : mapping of str to str
        As `--engine-option`.
    """

    workers: int
    threads: int
    memory_gb: float = 0.0
    engine: str = "local"
    options: dict[str, str] = field(default_factory=dict)

    @property
    def alone(self) -> bool:
        """Whether this process does everything itself."""
        return self.engine == "local" and self.workers == 1


def need_gb(run: Run) -> float:
    """About the most memory that processing a run holds, GB.

    Two series as float32 (stored and corrected), copies of parts of them, and what is there whatever the size of the run:
    libraries, templates, anatomy and maps.
    """
    return 1.3 + 2.5 * 4 * _values(run) / 1e9


def _values(run: Run) -> int:
    """Voxels times volumes of a run."""
    return math.prod(run.shape[:3]) * run.volumes


def crew_for(runs: Sequence[Run], settings: Settings) -> Crew:
    """How many workers, and what each may take, from cores, memory and the runs.

    Raises
    ------
    CoSpineError
        When the largest run does not fit into the memory that was named, or an engine option makes no sense.
    """
    options = engine_options(settings)
    cores = settings.nprocs or threads()
    most = LOW_GB if settings.low_mem else max((need_gb(run) for run in runs), default=1.0)
    if settings.mem_gb and most > settings.mem_gb:
        largest = max(runs, key=need_gb)
        raise CoSpineError(
            f"{largest.prefix} needs about {most:.1f} GB",
            f"--mem-gb {settings.mem_gb:g}",
            "give more memory, or --low-mem",
        )
    wanted = int(options.pop("workers", 0))
    if settings.engine != "local":
        workers = wanted or min(max(len(runs), 1), 8)
        return Crew(workers, settings.nprocs or 1, settings.mem_gb or round(most + 0.5, 1), settings.engine, options)
    memory = settings.mem_gb or SPARE * psutil.virtual_memory().available / 1e9
    workers = wanted or max(1, min(cores, len(runs), int(memory // most)))
    if sum(map(_values, runs)) < FEW and not wanted:
        workers = 1
    return Crew(workers, max(1, cores // workers), settings.mem_gb / workers, "local", options)


def engine_options(settings: Settings) -> dict[str, str]:
    """`--engine-option K=V ..` as a mapping.

    Raises
    ------
    CoSpineError
        For one that is no pair, and for workers that are no number.
    """
    found: dict[str, str] = {}
    for text in settings.engine_option:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CoSpineError("is no pair of name and value", f"--engine-option {text}", "write it as workers=4")
        found[key.strip().replace("-", "_")] = value
    if not found.get("workers", "1").isdigit() or found.get("workers") == "0":
        raise CoSpineError("is no number of workers", f"--engine-option workers={found['workers']}", "give 1 or more")
    return found


def carry_out(job: Job, people: Sequence[Participant], crew: Crew, tracker: Tracker, say: Say) -> list[Finished]:
    """Do all units of all people; one that fails stops no other, unless the settings say so."""
    job = replace(job, threads=crew.threads)
    if crew.alone:
        return _here(job, people, tracker)
    from cospine.pipeline.workers import by_workers  # Dask is loaded by those who need it

    return by_workers(job, people, crew, tracker, say)


def _here(job: Job, people: Sequence[Participant], tracker: Tracker) -> list[Finished]:
    """One unit after the other in this process."""
    done: list[Finished] = []
    for person in people:

        def tell(prefix: str, step: str, label: str = person.label) -> None:
            tracker.begins(label, prefix, step)

        failed = list(prepare(job, person, tell).failures)
        for run in person.runnable:
            why = do_run(job, person, run, tell)
            tracker.ends(person.label, run.prefix, "" if why is None else why.error)
            if why is not None:
                failed.append(why)
                if job.settings.stop_on_first_crash:
                    break
        done.append(finish(job, person, failed, tell))
        report(done[-1], failed, tracker)
        if done[-1].failures and job.settings.stop_on_first_crash:
            break
    return done


def report(finished: Finished, told: Sequence[Failure], tracker: Tracker) -> None:
    """Tell of failures that nobody was told of yet."""
    for one in finished.failures:
        if one not in told:
            tracker.fails(one.participant, one.run, one.error)
