"""Workers as jobs of a batch system, by dask-jobqueue: SLURM, PBS, SGE, LSF."""

import logging
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import yaml
from distributed import Status

from cospine.errors import CoSpineError
from cospine.pipeline.engine import Crew, Say
from cospine.threads import ALWAYS

QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
"""Engines, and the classes of dask-jobqueue that serve them."""


def queue_options(crew: Crew, work: Path, config: Path | None = None) -> dict[str, Any]:
    """What dask-jobqueue is told: our choices, over them the file of the engine, over that the command line.

    Parameters
    ----------
    crew : Crew
        Workers, threads and memory of each, and what was given with ``--engine-option``.
    work : Path
        Work directory, seen by all nodes; workers and the logs of jobs live there.
    config : Path, optional
        Folder of the files; ``~/.config/cospine`` by default.

    Raises
    ------
    CoSpineError
        When the file cannot be read as a mapping.
    """
    path = _file_of(crew.engine, config)
    ours: dict[str, Any] = {
        "cores": 1,  # of Dask: one unit of work at a time
        "processes": 1,
        "memory": f"{crew.memory_gb:g}GB",
        "job_name": "cospine",
        "walltime": "24:00:00",
        "python": sys.executable,
        "local_directory": str(work / "dask"),
        "log_directory": str(work / "jobs"),
        "job_script_prologue": [f"export {name}={value}" for name, value in ALWAYS.items()],
    }
    # each asks for cores in words of its own; SGE's differ from site to site (resource_spec, in its file)
    ours |= {
        "slurm": {"job_cpu": crew.threads},
        "pbs": {"resource_spec": f"select=1:ncpus={crew.threads}:mem={crew.memory_gb:g}GB"},
        "lsf": {"ncpus": crew.threads},
    }.get(crew.engine, {})
    kept: Any = {}
    if path.is_file():
        try:
            kept = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise CoSpineError(f"cannot be read ({error})", str(path), "write it as YAML: one NAME: VALUE a line") from error
        if not isinstance(kept, dict):
            raise CoSpineError("is no mapping", str(path), "write it as YAML: one NAME: VALUE a line")
    given = {name: yaml.safe_load(text) for name, text in crew.options.items()}
    return {**ours, **{str(name).replace("-", "_"): value for name, value in kept.items()}, **given}


def _file_of(engine: str, config: Path | None = None) -> Path:
    return (config or Path.home() / ".config" / "cospine") / f"{engine}.yaml"


def queue_cluster(crew: Crew, work: Path, say: Say) -> Any:
    """Submit the jobs.

    Raises
    ------
    CoSpineError
        When an option is unknown to dask-jobqueue, the batch system's commands are not there, or it refuses a job.
    """
    handler = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)  # its import turns Ctrl-C into a silent exit with status 0

    options = queue_options(crew, work)
    for folder in ("dask", "jobs"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    kind = getattr(dask_jobqueue, QUEUES[crew.engine])
    command = kind.job_cls.submit_command.split()[0]
    if shutil.which(command) is None:
        raise CoSpineError(f"{command} is not on this machine", f"--engine {crew.engine}", "start where jobs are submitted from")

    class Heard(kind.job_cls):
        """A job of the queue; what is said when it is refused would else be logged alone, and workers waited for for ever."""

        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, ValueError, OSError) as error:
                self.refusal = " ".join(str(error).rpartition("stderr:")[2].split()) or " ".join(str(error).split())
                self.status = Status.failed
                raise

        async def close(self) -> None:
            await super().close()
            self.status = Status.closed

    try:
        cluster = kind(job_cls=Heard, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CoSpineError(
            f"dask-jobqueue does not take that ({error})", f"--engine {crew.engine}", "see its documentation for the options"
        ) from error
    for name in ("asyncio", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they would say line by line of code what was refused
    cluster.scale(jobs=crew.workers)
    cluster.sync(_submitted, cluster)
    refused = list(_refused(cluster).values())
    if len(refused) >= crew.workers:
        script = cluster.job_script()
        cluster.close()
        raise CoSpineError(
            f"{command} refuses the job ({refused[0]})",
            f"--engine {crew.engine}",
            f"mend {_file_of(crew.engine)} or --engine-option. The job was\n{script}",
        )
    if refused:
        say(f"{command} took {crew.workers - len(refused)} of {crew.workers} jobs ({refused[0]}): they do the work")
    return cluster


def ask_again(cluster: Any, jobs: int) -> str:
    """Ask for jobs in place of those that are gone or were refused; returns what the queue said of one that it refused."""
    refused = _refused(cluster)
    for name in refused:
        del cluster.workers[name]
    cluster.scale(jobs=jobs)
    return next(iter(refused.values()), "")


def _refused(cluster: Any) -> dict[Any, str]:
    """What the queue said of the jobs that it did not take, by their names."""
    return {name: job.refusal for name, job in cluster.workers.items() if job.status is Status.failed}


async def _submitted(cluster: Any) -> None:
    """Wait until the jobs are in the queue."""
    await cluster
