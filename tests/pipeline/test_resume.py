"""An execution goes on where the last one stopped, and does nothing that had been done."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cospine.cli.main import main
from cospine.pipeline import keeper, units
from tests.pipeline.tiny_data import FLAGS, differing, make_dataset, make_run, results, times

PREFIX = "sub-01_task-pain_run-1"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("tiny") / "bids")


@pytest.fixture(scope="module")
def done(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main(["run", str(raw), str(out), "participant", *FLAGS]) == 0
    return out


def run(raw: Path, out: Path, *flags: str) -> set[str]:
    """Process; returns the names of the results that were written or removed."""
    before = times(out)
    assert main(["run", str(raw), str(out), "participant", *FLAGS, *flags]) == 0
    after = times(out)
    return {name for name in {*before, *after} if before.get(name) != after.get(name) and "/" in name}


def timeless(page: str) -> str:
    """A page without what steps took."""
    return re.sub(r"<tr>(<td>[^<]*</td>)(<td>[\d.]+ (s|min|GB)</td>)+</tr>", r"\1", page)


def test_a_second_execution_does_nothing(raw: Path, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (done / "sub-01.html").stat().st_mtime_ns
    assert run(raw, done) == set()
    assert (done / "sub-01.html").stat().st_mtime_ns == page
    capsys.readouterr()
    assert main(["run", str(raw), str(done), "participant", *FLAGS, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("nothing to do") == 3


def test_one_changed_parameter_redoes_what_depends_on_it(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    run(raw, out, "--participant-label", "02")
    capsys.readouterr()
    assert main(["run", str(raw), str(out), "participant", *FLAGS, "--high-pass", "100", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "noise (--high-pass was 128, is 100)" in said
    assert "noise (not done yet)" in said  # of the other one
    first = run(raw, out, "--participant-label", "02", "--high-pass", "100")
    assert "sub-02/func/sub-02_task-pain_run-1_desc-confounds_timeseries.tsv" in first
    assert not {name for name in first if "preproc" in name or "boldref" in name or "headmotion" in name or "mask" in name}
    # and it is what an execution that knew nothing makes
    fresh = tmp_path / "fresh"
    run(raw, fresh, "--participant-label", "02", "--high-pass", "100")
    assert differing(results(out), results(fresh)) == set()


def test_one_changed_file_redoes_its_run_alone(tmp_path: Path) -> None:
    raw, out = make_dataset(tmp_path / "bids", {"sub-01": 2}), tmp_path / "out"
    run(raw, out)
    events = raw / "sub-01/func" / f"{PREFIX}_events.tsv"
    events.write_text(events.read_text().replace("6\t10\tpain", "8\t10\tpain", 1))
    again = run(raw, out)
    assert again
    assert {name for name in again if "run-2" in name} == set()
    assert not {name for name in again if "preproc_bold" in name or "headmotion" in name}
    make_run(raw, "sub-01", 2)  # the same image again: another time, the same content
    assert run(raw, out) == set()


def test_results_that_the_user_removed_come_back(raw: Path, done: Path) -> None:
    name = f"sub-02/func/{PREFIX.replace('01_', '02_', 1)}_desc-headmotion_timeseries.tsv"
    whole = (done / name).read_bytes()
    (done / name).unlink()
    written = run(raw, done)
    assert name in written
    assert (done / name).read_bytes() == whole


def test_without_the_work_directory_all_is_done_again_the_same(raw: Path, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(raw, out, "--participant-label", "02", "--work-dir", str(tmp_path / "elsewhere"))
    assert not (out / "work").exists()
    whole = results(done)
    assert differing(results(out), {name: one for name, one in whole.items() if not name.startswith("sub-01")}) == set()


def test_results_are_read_only(done: Path) -> None:
    paths = [done / name for name in results(done) if name.startswith("sub-")]
    assert len(paths) > 20
    assert {oct(path.stat().st_mode & 0o222) for path in paths} == {"0o0"}


def test_steps_say_what_they_took(done: Path) -> None:
    steps = json.loads((done / "logs" / f"{PREFIX}_steps.json").read_text())["Steps"]
    named = {step["name"]: step for step in steps}
    assert {"read", "motion", "resample", "noise", "report"} <= set(named)
    assert named["noise"]["parameters"]["high_pass"] == 128
    assert "high_pass" not in named["motion"]["parameters"]
    assert "resample" in named["noise"]["after"]
    assert all(step["seconds"] >= 0 and 0.01 < step["peak_gb"] < 64 for step in steps)


def test_reports_alone_are_written_again(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    flags = ("--participant-label", "02", "--clean")
    run(raw, out, *flags)
    page, whole = out / "sub-02.html", results(out)
    was = page.read_text()
    page.unlink()
    with monkeypatch.context() as later:
        for module in (keeper, units):
            later.setattr(module, "software", lambda: "cospine 99.0, numpy 99.0")
        assert run(raw, out, *flags, "--reports-only") == set()
    assert "99.0" not in page.read_text()  # results are of another version than the page
    assert timeless(page.read_text()) == timeless(was)
    # what is not there is not told of, and nothing is removed
    for others in (("--high-pass", "100"), ("--work-dir", str(tmp_path / "elsewhere"))):
        capsys.readouterr()
        assert main(["run", str(raw), str(out), "participant", *FLAGS, *flags, *others, "--reports-only"]) == 1
        assert "would have to be done" in capsys.readouterr().err
    assert main(["run", str(raw), str(out), "participant", *FLAGS, *flags[:2], "--reports-only"]) == 1
    assert "clean was made with other flags" in capsys.readouterr().err
    assert differing(results(out), whole) == set()
    assert timeless(page.read_text()) == timeless(was)
    assert run(raw, out, *flags) == set()


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(raw: Path, done: Path, tmp_path: Path) -> None:
    """kill -9 at ten moments, then to the end: the bytes of an undisturbed execution, and nothing done twice that was done."""
    out, history = tmp_path / "out", tmp_path / "history.txt"
    code = (
        "import sys; from cospine.pipeline import keeper; from cospine.cli.main import main\n"
        "keep = keeper.Keeper._keep\n"
        "def noted(self, path, record, value):\n"
        "    keep(self, path, record, value)\n"
        f"    open({str(history)!r}, 'a').write(f'{{path}} {{record.digest}}\\n')\n"
        "keeper.Keeper._keep = noted\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "run", str(raw), str(out), "participant", *FLAGS]
    rng = np.random.default_rng(8)
    killed = 0
    for moment in rng.uniform(0.0, 1.0, 10):
        seen = len(history.read_text().splitlines()) if history.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = seen + int(moment * 5)  # some steps on, and then at any moment of the next one
        while process.poll() is None and (not history.exists() or len(history.read_text().splitlines()) <= wanted):
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.3)))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 8
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    steps = history.read_text().splitlines()
    assert len(steps) == len(set(steps))  # a step that had finished was never done again
    assert differing(results(out), results(done)) == set()
    assert not list(out.rglob("*.part"))
