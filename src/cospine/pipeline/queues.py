"""Workers as jobs of a batch system, by dask-jobqueue: SLURM, PBS, SGE, LSF."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

from cospine.errors import CoSpineError
from cospine.pipeline.engine import Crew
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
    path = (config or Path.home() / ".config" / "cospine") / f"{crew.engine}.yaml"
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


def queue_cluster(crew: Crew, work: Path) -> Any:
    """Submit the jobs.

    Raises
    ------
    CoSpineError
        When an option is unknown to dask-jobqueue, or the batch system's commands are not there.
    """
    handler = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)  # its import turns Ctrl-C into a silent exit with status 0

    options = queue_options(crew, work)
    for folder in ("dask", "jobs"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    try:
        cluster = getattr(dask_jobqueue, QUEUES[crew.engine])(**options)
    except (TypeError, ValueError) as error:
        raise CoSpineError(
            f"dask-jobqueue does not take that ({error})", f"--engine {crew.engine}", "see its documentation for the options"
        ) from error
    cluster.scale(jobs=crew.workers)
    return cluster
