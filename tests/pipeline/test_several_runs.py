"""A person's runs of one task are put together anew each time, and nothing of an earlier time stays."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np

from cospine.bids import Derivatives
from cospine.bids.tables import read_json
from cospine.pipeline.several_runs import by_task
from cospine.pipeline.task_files import combine_runs


def run(number: str | None) -> Any:
    named = {"sub": "01", "task": "motorL", **({} if number is None else {"run": number})}
    return SimpleNamespace(prefix="_".join(f"{key}-{value}" for key, value in named.items()), entities=named)


def written(out: Derivatives, one: Any, effect: float) -> None:
    shape = (2, 2, 2)
    for stat, value in (("effect", effect), ("variance", 1.0)):
        path = out.path(one, "statmap", space="PAM50", contrast="grasp", stat=stat)
        out.write_image(path, np.full(shape, value, np.float32), np.eye(4))
    out.write_json(out.path(one, "statmap", ".json", space="PAM50", contrast="grasp"), {"DegreesOfFreedom": 80.0})


def test_runs_are_combined_and_what_was_combined_before_goes(tmp_path: Path) -> None:
    out = Derivatives(tmp_path / "out", tmp_path / "raw")
    runs = [run("1"), run("2")]
    for one, effect in zip(runs, (1.0, 3.0), strict=True):
        written(out, one, effect)
    old = out.path(run(None), "statmap", space="PAM50", contrast="gone", stat="effect")
    out.write_image(old, np.zeros((2, 2, 2), np.float32), np.eye(4))
    combine_runs(out, runs)
    assert not old.exists()
    both = out.path(run(None), "statmap", space="PAM50", contrast="grasp", stat="effect")
    np.testing.assert_allclose(np.asarray(nib.Nifti1Image.from_filename(both).dataobj), 2.0)
    assert read_json(out.path(run(None), "statmap", ".json", space="PAM50", contrast="grasp"))["DegreesOfFreedom"] == 160
    combine_runs(out, runs[:1])  # one of them again, alone: what both were combined into is no result of it
    assert not both.exists()
    assert out.path(runs[1], "statmap", space="PAM50", contrast="grasp", stat="effect").exists()


def test_a_run_without_a_number_stands_for_itself(tmp_path: Path) -> None:
    out = Derivatives(tmp_path / "out", tmp_path / "raw")
    assert by_task(out, [run(None)]) == {}
    assert list(by_task(out, [run("1"), run("2")])) == ["sub-01_task-motorL"]
