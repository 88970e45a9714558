"""How many work, with how many threads and how much memory; and what comes of work that dies."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from threading import current_thread, main_thread

import numpy as np
import psutil
import pytest
from distributed import LocalCluster

from cospine.bids import Run, read_dataset
from cospine.cli.main import main
from cospine.errors import CoSpineError
from cospine.pipeline import workers
from cospine.pipeline.engine import Crew, crew_for, engine_options, need_gb
from cospine.pipeline.execute import execute, read_chosen
from cospine.pipeline.queues import ask_again, queue_cluster, queue_options
from cospine.pipeline.settings import Settings
from tests.pipeline.tiny_data import FLAGS, differing, make_dataset, make_run, results

FULL = Run("sub-01", None, {"sub": "01", "task": "pain"}, Path("b.nii.gz"), {}, (128, 128, 70, 225), np.eye(4), 225, 2.5)
TINY = replace(FULL, shape=(32, 32, 20, 60), volumes=60)


def test_a_run_of_the_protocol_needs_four_gigabytes() -> None:
    assert need_gb(FULL) == pytest.approx(4, abs=0.3)
    assert need_gb(TINY) < 1.5


@pytest.mark.parametrize(
    ("runs", "settings", "workers", "threads"),
    [
        (61, Settings(nprocs=8, mem_gb=64), 8, 1),
        (61, Settings(nprocs=8, mem_gb=16.5), 4, 2),
        (61, Settings(nprocs=8, mem_gb=5), 1, 8),
        (2, Settings(nprocs=8, mem_gb=64), 2, 4),
        (1, Settings(nprocs=8, mem_gb=64), 1, 8),
        (61, Settings(nprocs=8, mem_gb=64, engine_option=("workers=3",)), 3, 2),
        (61, Settings(nprocs=2, mem_gb=5, engine="slurm", engine_option=("workers=20",)), 20, 2),
    ],
)
def test_workers_follow_from_cores_memory_and_runs(runs: int, settings: Settings, workers: int, threads: int) -> None:
    crew = crew_for([FULL] * runs, settings)
    assert (crew.workers, crew.threads) == (workers, threads)
    if crew.engine == "local":
        assert crew.memory_gb * crew.workers == pytest.approx(settings.mem_gb)


def test_little_work_is_done_here() -> None:
    assert crew_for([TINY] * 4, Settings(nprocs=4)).alone
    assert not crew_for([TINY] * 4, Settings(nprocs=4, engine_option=("workers=2",))).alone


def test_a_run_that_cannot_fit_is_refused_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CoSpineError, match=r"about 3\.9 GB"):
        crew_for([FULL], Settings(mem_gb=2))
    raw = make_dataset(tmp_path / "bids", {"sub-01": 1})
    assert main(["run", str(raw), str(tmp_path / "out"), "participant", "--mem-gb", "0.5"]) == 2
    assert "--mem-gb 0.5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["workers", "=4", "workers=many", "workers=0"])
def test_options_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(CoSpineError, match="--engine-option"):
        engine_options(Settings(engine_option=(text,)))


@pytest.mark.parametrize("engine", ["slrum", "tcp:/here:1", ""])
def test_an_unknown_engine_is_refused(tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    raw = make_dataset(tmp_path / "bids", {"sub-01": 1})
    assert main(["run", str(raw), str(tmp_path / "out"), "participant", "--engine", engine]) == 2
    assert "--engine" in capsys.readouterr().err


def test_the_command_line_goes_before_the_file_and_the_file_before_our_choice(tmp_path: Path) -> None:
    (tmp_path / "slurm.yaml").write_text("queue: long\nwalltime: 08:00:00\njob-extra-directives: [--exclusive]\n")
    crew = Crew(4, 2, 5.0, "slurm", {"walltime": "01:00:00", "death_timeout": "30"})
    options = queue_options(crew, tmp_path / "work", tmp_path)
    assert options["queue"] == "long"
    assert options["walltime"] == "01:00:00"
    assert options["job_extra_directives"] == ["--exclusive"]
    assert options["death_timeout"] == 30
    assert (options["cores"], options["job_cpu"], options["memory"]) == (1, 2, "5GB")
    (tmp_path / "slurm.yaml").write_text("[a list]")
    with pytest.raises(CoSpineError, match=r"slurm\.yaml"):
        queue_options(crew, tmp_path / "work", tmp_path)


def test_a_queue_whose_commands_are_not_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CoSpineError, match="qsub is not on this machine"):
        queue_cluster(Crew(1, 1, 2.0, "pbs"), tmp_path, print)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A queue that takes as many jobs as it is told to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    # jobs are submitted at the same time
    script = """n=1; until mkdir "$0.$n" 2>/dev/null; do n=$((n+1)); done
[ $n -le $(cat "$0.takes") ] && echo "Submitted batch job $n" && exit 0"""
    (folder / "sbatch").write_text(f"#!/bin/sh\n{script}\necho 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1\n")
    (folder / "scancel").write_text("#!/bin/sh\n")
    for name in ("sbatch", "scancel"):
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder / "sbatch.takes"


def test_a_queue_that_takes_no_job_is_refused_and_one_that_takes_some_is_used(sbatch: Path, tmp_path: Path) -> None:
    crew = Crew(3, 1, 2.0, "slurm", {"interface": "lo"})
    said: list[str] = []
    sbatch.write_text("0")
    with pytest.raises(CoSpineError, match=r"sbatch refuses the job \(sbatch: error: QOSMax"):
        queue_cluster(crew, tmp_path, said.append)
    sbatch.write_text("5")  # of six: three were asked for above
    with queue_cluster(crew, tmp_path, said.append) as cluster:
        sbatch.write_text("9")
        assert "QOSMax" in ask_again(cluster, 3)
        end = time.monotonic() + 20
        while len(cluster.workers) < 3 and time.monotonic() < end:
            time.sleep(0.1)
        assert ask_again(cluster, 3) == ""
        assert said == ["sbatch took 2 of 3 jobs (sbatch: error: QOSMaxSubmitJobPerUserLimit): they do the work"]
    with pytest.raises(CoSpineError, match="nosuch0"):
        queue_cluster(replace(crew, options={"interface": "nosuch0"}), tmp_path, said.append)


def test_a_cluster_of_others_is_looked_at_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make_dataset(tmp_path / "bids", {"sub-01": 1})
    monkeypatch.setattr(workers, "_WAIT_S", 1)
    with LocalCluster(n_workers=0, host="127.0.0.1", protocol="tcp", processes=False, dashboard_address=None) as cluster:
        settings = Settings(engine=cluster.scheduler_address)
        with pytest.raises(CoSpineError, match="has no workers"):
            execute(read_chosen(raw, settings), tmp_path / "out", settings)
        cluster.scale(1)
        there = "cospine 0.0"
        monkeypatch.setattr(workers, "_versions", lambda: "cospine 1.0" if current_thread() is main_thread() else there)
        with pytest.raises(CoSpineError, match=r"its workers have cospine 0\.0, here is cospine 1\.0"):
            execute(read_chosen(raw, settings), tmp_path / "out", settings)
    with pytest.raises(CoSpineError, match="no Dask scheduler answers"):
        execute(read_chosen(raw, settings), tmp_path / "out", settings)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("tiny") / "bids")


@pytest.mark.slow
def test_two_workers_make_the_same_bytes_and_one_that_is_killed_is_replaced(raw: Path, tmp_path: Path) -> None:
    alone, two = tmp_path / "alone", tmp_path / "two"
    assert main(["run", str(raw), str(alone), "participant", *FLAGS, "--nprocs", "1"]) == 0
    killed: list[int] = []

    def kill_one() -> None:
        """The first worker that has a run half done."""
        while not killed:
            time.sleep(0.05)
            half = [path for path in two.rglob("motion.kept") if not (path.parent / "report.kept").exists()]
            if half:
                for process in psutil.Process().children(recursive=True):
                    if process.name().startswith("python") and not process.children() and process.memory_info().rss > 2e8:
                        os.kill(process.pid, signal.SIGKILL)
                        killed.append(process.pid)
                        return

    thread = threading.Thread(target=kill_one)
    thread.start()
    assert main(["run", str(raw), str(two), "participant", *FLAGS, "--engine-option", "workers=2"]) == 0
    thread.join(timeout=1)
    assert killed
    assert differing(results(alone), results(two)) == set()


@pytest.mark.slow
def test_one_poisoned_participant_stops_no_other(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = make_dataset(tmp_path / "bids", {"sub-01": 1, "sub-02": 1, "sub-03": 1})
    path = make_run(bad, "sub-02", 1)
    path.with_name("sub-02_task-pain_run-1_events.tsv").write_text("onset\tduration\ttrial_type\n1\t2\tpain\n")
    import nibabel as nib

    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.full(image.shape, 7, np.float32), image.affine, image.header), path)  # neither brain nor cord
    out = tmp_path / "out"
    assert main(["run", str(bad), str(out), "participant", *FLAGS, "--engine-option", "workers=2"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed")]
    assert len(said) == 1
    assert "sub-02" in said[0]
    assert {path.name for path in out.glob("*.html")} == {"sub-01.html", "sub-02.html", "sub-03.html"}
    assert (out / "sub-03/func/sub-03_task-pain_run-1_desc-preproc_bold.nii.gz").is_file()
    assert json.loads((out / "logs/sub-01_task-pain_run-1_steps.json").read_text())["Steps"]


def test_what_was_read_is_what_was_made(raw: Path) -> None:
    """The tiny datasets hold what the tests above take for granted."""
    runs = read_dataset(raw).runnable
    assert [run.prefix for run in runs] == [
        "sub-01_task-pain_run-1", "sub-01_task-pain_run-2", "sub-02_task-pain_run-1",
    ]  # fmt: skip
