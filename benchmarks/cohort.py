"""Cohorts: what workers gain, what handing out the work costs, and whether the bytes stay the same.

    python benchmarks/cohort.py sleep                     61 people whose runs only sleep, on 2 workers, against the ideal
    python benchmarks/cohort.py speed RAW --people 8      people processed by 1 and by 2 workers of one thread each
    python benchmarks/cohort.py kill RAW --moments 10     kill -9 at random moments, then to the end, against undisturbed
    python benchmarks/cohort.py scale                     1000 and 5000 people by simulation: what bounds them

RAW is a dataset of `cospine simulate RAW --participants 8 --protocol small`.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cospine.bids import Dataset, Derivatives, Participant, Run
from cospine.pipeline import workers
from cospine.pipeline.engine import Crew
from cospine.pipeline.progress import Tracker, silent
from cospine.pipeline.settings import Settings
from cospine.pipeline.units import Finished, Job, Prepared


def _sleeping(job: Job, unit: Any, failures: Any) -> Any:
    """A unit of work whose steps only sleep, as long as its participant says."""
    del job, failures
    if unit.last:
        time.sleep(0.05)
        return Finished(unit.participant.label, None)
    time.sleep(float(unit.participant.attributes["anatomy_s" if unit.run is None else "run_s"]))
    return Prepared() if unit.run is None else None


def _people(count: int, seed: int, scale: float = 1.0) -> tuple[Participant, ...]:
    """People of two runs each, of different lengths, s."""
    rng = np.random.default_rng(seed)
    run = Run("sub-01", None, {"sub": "01", "task": "pain"}, Path("x"), {}, (4, 4, 4, 9), np.eye(4), 9, 2.0)
    people = []
    for number in range(1, count + 1):
        label = f"{number:05d}"
        seconds = {"anatomy_s": str(scale * rng.uniform(0.4, 0.8)), "run_s": str(scale * rng.uniform(0.6, 1.4))}
        runs = tuple(
            replace(run, participant=f"sub-{label}", entities={"sub": label, "task": "pain", "run": f"{k}"}) for k in (1, 2)
        )
        people.append(Participant(f"sub-{label}", runs, attributes=seconds))
    return tuple(people)


def sleep(count: int, crew: Crew, seed: int) -> None:
    """Wall time of a cohort that sleeps, against the ideal of workers that are never idle."""
    people = _people(count, seed)
    work = sum(float(one.attributes["anatomy_s"]) + 2 * float(one.attributes["run_s"]) + 0.05 for one in people)
    workers._do = _sleeping  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Dataset(Path(folder), "sleep"), Derivatives(Path(folder)), Path(folder) / "work", Settings())
        dataset = Dataset(Path(folder), "sleep", people)
        began = time.perf_counter()
        first: list[float] = []

        def listen(_: Any) -> None:
            first.append(time.perf_counter())

        done = workers.by_workers(job, people, crew, Tracker(dataset, listen), print)
        ended = time.perf_counter()
    assert len(done) == count
    wall, ideal = ended - began, work / crew.workers
    print(f"{count} people, {crew.workers} workers: {wall:.1f} s, ideal {ideal:.1f} s, ratio {wall / ideal:.3f}")
    print(f"overhead {(wall - ideal) * crew.workers / count:.3f} s of a worker's time a participant, start of workers included")


def scale(counts: list[int], crew: Crew) -> None:
    """Time that handing out takes alone: people whose runs sleep for next to nothing."""
    for count in counts:
        people = _people(count, 1, scale=0.0)
        workers._do = _sleeping  # type: ignore[assignment]
        with tempfile.TemporaryDirectory() as folder:
            job = Job(Dataset(Path(folder), "scale"), Derivatives(Path(folder)), Path(folder) / "work", Settings())
            began = time.perf_counter()
            workers.by_workers(job, people, crew, Tracker(Dataset(Path(folder), "scale", people), silent), lambda _: None)
        wall = time.perf_counter() - began - 0.05 * count / crew.workers
        print(f"{count} people on {crew.workers} workers: {1000 * wall / count:.1f} ms a participant for handing out")


def _run(raw: Path, out: Path, flags: list[str], cores: int = 0) -> float:
    """Seconds that an execution takes, on the first so many cores alone if that is said."""
    held = os.sched_getaffinity(0)
    command = [sys.executable, "-m", "cospine.cli", "run", str(raw), str(out), "participant", *flags]
    began = time.perf_counter()
    try:
        os.sched_setaffinity(0, sorted(held)[: cores or None])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        os.sched_setaffinity(0, held)
    return time.perf_counter() - began


def digest(out: Path) -> dict[str, str]:
    """Of every file that must be the same whoever made it."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".html" and path.relative_to(out).parts[0] not in ("logs", "work")
    }


def speed(raw: Path, people: int, flags: list[str]) -> None:
    """1 worker of one thread against 2 of one thread each, on as many cores: registration would use a second core if it may."""
    labels = sorted(path.name for path in raw.glob("sub-*"))[:people]
    flags = ["--participant-label", *labels, *flags]
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        alone = _run(raw, one, [*flags, "--nprocs", "1"], cores=1)
        print(f"{people} people, 1 worker: {alone:.0f} s", flush=True)
        both = _run(raw, two, [*flags, "--nprocs", "2", "--engine-option", "workers=2"], cores=2)
        same = "the same" if digest(one) == digest(two) else "DIFFER"
        print(f"{people} people, 2 workers: {both:.0f} s, {alone / both:.2f} times as fast; bytes {same}")
        again = _run(raw, two, flags)
        print(f"a second execution: {again:.1f} s")


def kill(raw: Path, moments: int, flags: list[str], seed: int) -> None:
    """kill -9 at random moments of an execution of one participant, then to its end."""
    label = sorted(path.name for path in raw.glob("sub-*"))[0]
    flags = ["--participant-label", label, *flags]
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        calm, out = Path(folder) / "calm", Path(folder) / "out"
        whole = _run(raw, calm, flags)
        killed, began = 0, time.perf_counter()
        for _ in range(moments):
            command = [sys.executable, "-m", "cospine.cli", "run", str(raw), str(out), "participant", *flags]
            quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(command, start_new_session=True, **quiet)
            try:
                process.wait(timeout=rng.uniform(3, 2 * whole / moments + 8))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
        last = _run(raw, out, flags)
        total = time.perf_counter() - began
        same = digest(calm) == digest(out)
        left = list(out.rglob("*.part"))
        print(
            f"undisturbed {whole:.0f} s; killed {killed} times, then {last:.0f} s to the end ({total:.0f} s in all); "
            f"bytes {'the same' if same else 'DIFFER'}, {len(left)} files half written"
        )
        shutil.rmtree(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sleep", "speed", "kill", "scale"))
    parser.add_argument("raw", type=Path, nargs="?")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=["--pnm-orders", "2", "2", "0", "0"])
    chosen = parser.parse_args()
    crew = Crew(chosen.workers, 1)
    if chosen.what == "sleep":
        sleep(61, crew, chosen.seed)
    elif chosen.what == "scale":
        scale([1000, 5000], crew)
    elif chosen.what == "speed":
        speed(chosen.raw, chosen.people, chosen.flags)
    else:
        kill(chosen.raw, chosen.moments, chosen.flags, chosen.seed)


if __name__ == "__main__":
    main()
