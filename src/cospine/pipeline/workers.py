"""Workers: processes on this machine, jobs on a cluster, or a Dask cluster that is there already.

Dask starts them, replaces those that die, and carries the units to them. Which unit comes next is decided here, and no more of
them are given out than there are workers: so a unit that kills its worker is blamed alone.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dask import config
from distributed import Client, Future, LocalCluster, get_worker, wait

from cospine.bids import Participant, Run
from cospine.errors import CoSpineError
from cospine.pipeline.engine import Crew, Say, report
from cospine.pipeline.progress import Tracker
from cospine.pipeline.queues import ask_again, queue_cluster
from cospine.pipeline.record import software
from cospine.pipeline.units import Failure, Finished, Job, do_run, finish, prepare

RETRIES = 2
"""How often a unit whose worker died is given to another one."""
_TOPIC = "cospine"
_REFILL_S = 5.0
_WAIT_S = 30
_ALONE_S = 600.0
_DIED = (
    f"its worker died {RETRIES + 1} times, most likely for want of memory. Give more with --mem-gb, or fewer workers with "
    "--engine-option workers=1; what was finished is kept"
)
_INSTALL = "install there what is here: the same Python, and pip install --require-hashes -r lock/run.txt of one release"
_CONFIG = {
    "distributed.scheduler.allowed-failures": RETRIES,
    # results are small, and a unit's own memory cannot be spilled
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.98,
    # a unit holds Python's lock for seconds, in compilers and libraries
    "distributed.comm.timeouts.connect": "60s",
    "distributed.comm.timeouts.tcp": "120s",
    "distributed.scheduler.worker-ttl": "15 minutes",
    "distributed.admin.tick.limit": "1 hour",
}


@dataclass(frozen=True)
class _Unit:
    """One unit of work of a participant: `run` is None for what the runs share (`last` False) and what follows (True)."""

    participant: Participant
    run: Run | None = None
    last: bool = False

    @property
    def name(self) -> str:
        """Told apart from all others."""
        return f"{self.participant.label} {'finish' if self.last else 'prepare' if self.run is None else self.run.prefix}"


@dataclass
class _State:
    """How far a participant is."""

    open_runs: int
    failures: list[Failure] = field(default_factory=list)


def by_workers(job: Job, people: Sequence[Participant], crew: Crew, tracker: Tracker, say: Say) -> list[Finished]:
    """Do all units of all people by workers.

    Raises
    ------
    CoSpineError
        When workers cannot be started or reached.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what its processes say of their ends is for developers
    with config.set(_CONFIG), _client(crew, job.work, say) as (client, refill):
        lock = threading.Lock()

        def heard(event: tuple[Any, tuple[str, str, str]]) -> None:
            with lock:
                tracker.begins(*event[1])

        client.subscribe_topic(_TOPIC, heard)
        return _dispatch(client, refill, job, people, crew, tracker, lock)


def _dispatch(
    client: Client,
    refill: Callable[[], object],
    job: Job,
    people: Sequence[Participant],
    crew: Crew,
    tracker: Tracker,
    lock: threading.Lock,
) -> list[Finished]:
    """Give units out as workers become free, those of people who have begun first."""
    ready = deque(_Unit(one) for one in people)
    states = {one.label: _State(len(one.runnable)) for one in people}
    flying: dict[Future, _Unit] = {}
    done: list[Finished] = []
    stop = False
    while ready or flying:
        while ready and len(flying) < crew.workers:
            unit = ready.popleft()
            failures = tuple(states[unit.participant.label].failures)
            flying[client.submit(_do, job, unit, failures, key=f"cospine {unit.name}", pure=False)] = unit
        try:
            landed: Any = wait(list(flying), timeout=_REFILL_S, return_when="FIRST_COMPLETED")
        except TimeoutError:
            refill()
            continue
        for future in landed.done:
            unit = flying.pop(future)
            state = states[unit.participant.label]
            error = future.exception() if future.status == "error" else None
            value = None if error is not None else future.result()
            with lock:
                ready.extendleft(reversed(_after(unit, value, error, state, tracker)))
            if isinstance(value, Finished):
                done.append(value)
            stop |= bool(state.failures) and job.settings.stop_on_first_crash
        if stop:
            ready = deque(one for one in ready if one.last)
    return done


def _after(unit: _Unit, value: Any, error: BaseException | None, state: _State, tracker: Tracker) -> list[_Unit]:
    """What has become possible now that a unit has ended."""
    person = unit.participant
    if unit.last:
        if error is not None:
            tracker.fails(person.label, "report", _said(error))
        elif isinstance(value, Finished):
            report(value, state.failures, tracker)
        return []
    if unit.run is None:
        if error is None:
            state.failures += value.failures
            return [_Unit(person, run) for run in person.runnable] or [_Unit(person, last=True)]
        # each run would do the same again, and die of it
        for run in person.runnable:
            state.failures.append(Failure(person.label, run.label, _said(error)))
            tracker.ends(person.label, run.prefix, _said(error))
        return [_Unit(person, last=True)]
    failure = value if error is None else Failure(person.label, unit.run.label, _said(error))
    if failure is not None:
        state.failures.append(failure)
    tracker.ends(person.label, unit.run.prefix, "" if failure is None else failure.error)
    state.open_runs -= 1
    return [] if state.open_runs else [_Unit(person, last=True)]


def _said(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        return _DIED
    return f"{type(error).__name__}: {error}. This is a fault of CoSpine: please report it"


def _do(job: Job, unit: _Unit, failures: Sequence[Failure]) -> Any:
    """Do a unit; runs on a worker."""
    worker = get_worker()

    def tell(prefix: str, step: str) -> None:
        worker.log_event(_TOPIC, (unit.participant.label, prefix, step))

    if unit.last:
        return finish(job, unit.participant, failures, tell)
    if unit.run is None:
        return prepare(job, unit.participant, tell)
    return do_run(job, unit.participant, unit.run, tell)


@contextmanager
def _client(crew: Crew, work: Path, say: Say) -> Iterator[tuple[Client, Callable[[], object]]]:
    """A client of workers, which are stopped at the end, however that comes about; and what asks for those that are missing."""
    if crew.engine.startswith("tcp://"):
        try:
            client = Client(crew.engine, timeout=_WAIT_S)
        except (OSError, TimeoutError) as error:
            raise CoSpineError("no Dask scheduler answers", f"--engine {crew.engine}", "start one: dask scheduler") from error
        with client:
            _check_alike(client, crew.engine)
            _greet(client, crew, say)
            yield client, lambda: None
        return
    if crew.engine == "local":
        cluster: Any = _local(crew, work)
    else:
        cluster = queue_cluster(crew, work, say)
    try:
        with Client(cluster) as client:
            _greet(client, crew, say)
            # processes on this machine are replaced by themselves, jobs when they are asked for again
            yield client, (lambda: None) if crew.engine == "local" else _Refill(client, cluster, crew, work, say)
    finally:
        cluster.close()


class _Refill:
    """Asks for jobs in place of those that are gone; and says when no worker has been there for long."""

    def __init__(self, client: Client, cluster: Any, crew: Crew, work: Path, say: Say) -> None:
        self._client, self._cluster, self._crew, self._say = client, cluster, crew, say
        self._seen, self._refusal = time.monotonic(), ""
        self._text = (
            f"no worker has been there for {_ALONE_S / 60:.0f} minutes: where no job waits in the queue, see what they left in "
            f"{work / 'jobs'}; Ctrl-C stops, and the next execution goes on"
        )

    def __call__(self) -> None:
        refusal = ask_again(self._cluster, self._crew.workers)
        if refusal and refusal != self._refusal:
            self._say(f"the queue refuses a job ({refusal}); it is asked again")
            self._refusal = refusal
        now = time.monotonic()
        if self._client.scheduler_info()["workers"]:
            self._seen = now
        elif now - self._seen > _ALONE_S:
            self._say(self._text)
            self._seen = now


def _check_alike(client: Client, engine: str) -> None:
    """Refuse a cluster of others' making that would fail at the work, or give other numbers.

    Raises
    ------
    CoSpineError
        When it has no workers, they cannot load CoSpine, or versions differ.
    """
    try:
        client.wait_for_workers(1, timeout=_WAIT_S)
        answers: Any = client.run(_versions)
        found = set(answers.values())
    except TimeoutError as error:
        raise CoSpineError("has no workers", f"--engine {engine}", "start some: dask worker") from error
    except ImportError as error:
        raise CoSpineError(f"its workers cannot load CoSpine ({error})", f"--engine {engine}", _INSTALL) from error
    here = _versions()
    if found != {here}:
        differ = "; ".join(sorted(found - {here}))
        raise CoSpineError(f"its workers have {differ}, here is {here}", f"--engine {engine}", _INSTALL)


def _versions() -> str:
    """What must be the same here and there: what computes, and what carries the work."""
    return f"{software()}, {', '.join(f'{name} {version(name)}' for name in ('distributed', 'dask', 'cloudpickle'))}"


def _greet(client: Client, crew: Crew, say: Say) -> None:
    each = f"{crew.threads} thread{'s' if crew.threads > 1 else ''}"
    memory = f", {crew.memory_gb:.1f} GB" if crew.memory_gb else ""
    there = find_spec("bokeh") is not None
    dashboard = f"dashboard {client.dashboard_link}" if there else "no dashboard: pip install 'cospine[dashboard]'"
    say(f"{crew.workers} workers ({crew.engine}), each with {each}{memory}; {dashboard}")


def _local(crew: Crew, work: Path) -> LocalCluster:
    return LocalCluster(
        n_workers=crew.workers,
        threads_per_worker=1,  # of Dask: one unit at a time
        processes=True,
        memory_limit=f"{crew.memory_gb}GB" if crew.memory_gb else 0,
        local_directory=str(work / "dask"),
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
