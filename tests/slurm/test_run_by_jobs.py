"""`cospine run --engine slurm`: four people through a real batch system, one job killed in the middle, the same bytes."""

import subprocess
import threading
import time
from pathlib import Path

import pytest

from cospine.cli.main import main
from tests.pipeline.tiny_data import FLAGS, differing, make_dataset, results

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.usefixtures("slurm")]

PEOPLE = {f"sub-0{number}": 1 for number in range(1, 5)}


def jobs() -> list[str]:
    """Numbers of our jobs that run."""
    command = ["squeue", "--noheader", "--name", "cospine", "--states", "RUNNING", "--format", "%A"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_four_people_and_a_job_that_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = make_dataset(tmp_path / "bids", PEOPLE)
    alone, out = tmp_path / "alone", tmp_path / "out"
    killed: list[str] = []
    over = threading.Event()

    def kill_one() -> None:
        """The job that has a run half done."""
        while not over.wait(0.1):
            begun = [path for path in out.rglob("motion.kept") if not (path.parent / "report.kept").exists()]
            running = jobs()
            if begun and len(running) == 2:
                subprocess.run(["scancel", "--signal=KILL", "--full", running[0]], check=True)
                subprocess.run(["scancel", running[0]], check=True)
                killed.append(running[0])
                return

    thread = threading.Thread(target=kill_one)
    thread.start()
    options = ["workers=2", "interface=lo", "walltime=00:20:00", "memory=2GB"]
    try:
        flags = ["--engine", "slurm", "--nprocs", "1", "--mem-gb", "2", "--engine-option", *options]
        assert main(["run", str(raw), str(out), "participant", *FLAGS, *flags]) == 0
    finally:
        over.set()
        thread.join()
    assert killed
    assert "2 workers (slurm)" in capsys.readouterr().err
    end = time.monotonic() + 30
    while jobs() and time.monotonic() < end:
        time.sleep(0.5)
    assert jobs() == []  # none is left behind
    assert main(["run", str(raw), str(alone), "participant", *FLAGS, "--nprocs", "1"]) == 0
    assert differing(results(alone), results(out)) == set()


def test_a_job_that_the_queue_refuses_is_said_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = make_dataset(tmp_path / "bids", {"sub-01": 1})
    flags = ["--engine", "slurm", "--mem-gb", "2", "--engine-option", "interface=lo", "queue=nosuch"]
    assert main(["run", str(raw), str(tmp_path / "out"), "participant", *FLAGS, *flags]) == 2
    said = capsys.readouterr().err
    assert "sbatch refuses the job" in said
    assert "invalid partition" in said
    assert "#SBATCH -p nosuch" in said
    assert not (tmp_path / "out/sub-01").exists()
