"""The cluster of the tests, and what CoSpine relies on in dask-jobqueue: jobs do work, and a lost job is replaced."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.usefixtures("slurm")]


@pytest.fixture
def cluster(tmp_path: Path):
    handler = signal.getsignal(signal.SIGINT)
    from dask_jobqueue import SLURMCluster

    # its import makes Ctrl-C a silent exit with status 0
    signal.signal(signal.SIGINT, handler)
    with SLURMCluster(
        cores=1,
        processes=1,
        memory="1GB",
        walltime="00:10:00",
        interface="lo",
        python=sys.executable,
        local_directory=str(tmp_path),
        log_directory=str(tmp_path),
        scheduler_options={"dashboard_address": ":0", "allowed_failures": 2},
    ) as cluster:
        yield cluster


def states() -> dict[str, str]:
    """State of each job in the queue."""
    listing = subprocess.run(["squeue", "--noheader", "--format", "%A %T"], capture_output=True, text=True, check=True)
    return dict(line.split() for line in listing.stdout.splitlines())


def test_a_cancelled_job_is_replaced_and_its_work_done_again(cluster):
    from distributed import Client, wait

    def job_after(seconds: float) -> str:
        """Number of the job that this runs in, after a while; goes by value, as workers cannot import this module."""
        time.sleep(seconds)
        return os.environ["SLURM_JOB_ID"]

    with Client(cluster) as client:
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=120)
        first = {worker.job_id for worker in cluster.workers.values()}
        assert len(first) == 2
        work = client.map(job_after, [3.0] * 2, pure=False)
        time.sleep(1)
        lost = min(first)
        subprocess.run(["scancel", lost], check=True)
        wait(work, timeout=120)
        assert {future.result(timeout=1) for future in work} == first - {lost}
        # what is missing is asked for when scale is called again, and only then
        end = time.monotonic() + 120
        while len(client.scheduler_info()["workers"]) < 2 and time.monotonic() < end:
            cluster.scale(jobs=2)
            time.sleep(0.5)
        assert len(client.scheduler_info()["workers"]) == 2
        assert states().get(lost, "gone") in ("gone", "COMPLETING", "CANCELLED")


def test_a_drained_node_is_taken_back_and_a_dead_daemon_replaced():
    start, pid_file = Path(__file__).with_name("start"), Path("/var/lib/cospine-slurm/slurmd.pid")
    subprocess.run(["scontrol", "update", "nodename=cospine1", "state=drain", "reason=test"], check=True)
    subprocess.run([start], check=True)
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    subprocess.run([start], check=True)
    assert int(pid_file.read_text()) != pid
    listing = subprocess.run(["sinfo", "--noheader", "--format", "%T"], capture_output=True, text=True, check=True)
    assert listing.stdout.strip() == "idle"
