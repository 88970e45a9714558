"""The same bytes whatever the number of threads, and whatever the environment says of it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cospine.bids.write import write_bold
from cospine.threads import processors, threads, use_threads

AFFINE = np.array([[-6.0, 0, 0, 96], [0, 6, 0, -96], [0, 0, 6, -60], [0, 0, 0, 1.0]])
VARYING = {".html", ".log"}  # times of day
COSTS = re.compile(rb'"(seconds|peak_gb)": [0-9.]+')  # of a step


def make(root: Path) -> None:
    """A head-sized body that moves and responds, and the same with the other phase encoding."""
    rng = np.random.default_rng(0)
    index = np.indices((32, 32, 20))
    radius = sum(((index[a] - c) / r) ** 2 for a, (c, r) in enumerate(((16, 12), (16, 14), (10, 9))))
    body = np.where(radius < 1, 800 + 200 * np.sin(index[0]) * np.cos(index[1] / 2), 0)
    series = np.stack([np.roll(body, t == 7, axis=0) * (1 + 0.02 * (t % 12 > 7)) for t in range(48)], axis=-1)
    sidecar = {"TaskName": "pain", "RepetitionTime": 2.0, "TotalReadoutTime": 0.04}
    func, fmap = root / "sub-01/func/sub-01_task-pain", root / "sub-01/fmap/sub-01_dir"
    timing = {"SliceTiming": (np.arange(20) * 0.1).tolist(), "PhaseEncodingDirection": "j"}
    pair = {"IntendedFor": "func/sub-01_task-pain_bold.nii.gz"}
    for path, data, more in (
        (Path(f"{func}_bold"), series, timing),
        (Path(f"{fmap}-AP_epi"), series[..., :3], pair | {"PhaseEncodingDirection": "j"}),
        (Path(f"{fmap}-PA_epi"), np.roll(series[..., :3], 1, axis=1), pair | {"PhaseEncodingDirection": "j-"}),
    ):
        noisy = (data + rng.normal(size=data.shape) * 8).astype(np.float32)
        write_bold(path.with_name(f"{path.name}.nii.gz"), noisy, AFFINE, 2.0, noise_sd=8.0)
        path.with_name(f"{path.name}.json").write_text(json.dumps(sidecar | more))
    rows = [f"{6 + 22 * k}\t4\tpain\t{4 + k * k % 3}\n{14 + 22 * k}\t5\trating\tn/a\n" for k in range(4)]
    Path(f"{func}_events.tsv").write_text("onset\tduration\ttrial_type\tPR\n" + "".join(rows))
    (root / "dataset_description.json").write_text('{"Name": "test", "BIDSVersion": "1.10.0"}')


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)).hexdigest()


def derivatives(raw: Path, out: Path, n: int) -> dict[str, str]:
    """Digest of every file that `cospine run` writes with so many threads."""
    from cospine.cli.main import main
    from cospine.quality import figure

    figure.svg_of = lambda drawing: "<svg></svg>"  # pictures take most of the time and are not compared
    assert main(["run", str(raw), str(out), "participant", "--nprocs", str(n)]) == 0
    assert threads() == n
    shutil.rmtree(out / "work")  # what is kept for an execution that goes on, with its times
    files = [path for path in out.rglob("*") if path.is_file() and path.suffix not in VARYING]
    return {path.relative_to(out).as_posix(): hashlib.sha256(COSTS.sub(b"", path.read_bytes())).hexdigest() for path in files}


def networks() -> dict[str, str]:
    from cospine.anatomy.network import run_cord, run_head

    rng = np.random.default_rng(1)
    sections, volume = rng.normal(size=(9, 64, 64)), rng.random((20, 20, 20))
    return {"cord": digest(run_cord(sections.astype(np.float32))), "head": digest(run_head(volume.astype(np.float32)))}


def costs() -> dict[str, str]:
    """What the field's cost is summed to: it decides which step is taken."""
    from cospine.field.smoothness import bending, roughness, steepness

    rng = np.random.default_rng(2)
    u, stiff = rng.normal(size=(37, 40, 41)).astype(np.float32), rng.random((37, 40, 41), dtype=np.float32)
    strength, free = np.float32(0.3), np.float32(0.1)
    barrier = steepness(u, strength, free, np.empty_like(u), np.empty_like(u))
    one = np.ones(3, np.float32)
    return {
        "roughness": roughness(u, one, stiff).hex(),
        "bending": bending(u, one, stiff).hex(),
        "steepness": barrier.hex(),
    }


def registration() -> dict[str, str]:
    """An affine map and a bend with both of its metrics, on small images."""
    from cospine.register.affine import fit_affine
    from cospine.register.diffeomorphic import Elasticity, Level, bend
    from cospine.space.grid import Grid
    from cospine.space.transform import Affine

    grid = Grid((36, 38, 34), np.diag([-3.0, 3, 3, 1]))
    x, y, z = np.indices(grid.shape)
    fixed = 100 + 50 * np.sin(x / 4) * np.cos(y / 5) + 20 * np.sin(z / 3)
    moving = 100 + 50 * np.sin((x + 0.7) / 4) * np.cos(y / 5.2) + 20 * np.sin((z - 0.4) / 3)
    counts = np.ones(grid.shape, dtype=bool)
    affine = fit_affine(fixed, grid, moving, grid, counts, Affine(np.eye(4)))
    there, back = bend(fixed, moving, counts, [Level(2, 4), Level(1, 2)], Elasticity())
    return {"affine": digest(affine.matrix), "bend": digest(there, back)}


def program(folder: Path, numbers: list[int]) -> list[dict[str, str]]:
    """All of it with the first number of threads, with the others what is quick; one thread has one processor only."""
    if numbers == [1] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = []
    for n in numbers:
        written = {} if found else derivatives(folder / "bids", folder / f"threads-{n}", n)
        use_threads(n)
        found.append(written | networks() | costs() | registration())
    return found


def begin(folder: Path, numbers: list[int], **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, str(folder), *map(str, numbers)]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


def test_one_two_or_three_threads_give_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "bids")
    one = begin(tmp_path, [1], OPENBLAS_NUM_THREADS="1")
    more = begin(tmp_path, [3, 2], OPENBLAS_NUM_THREADS="3")
    (single,), (three, two) = (json.loads(each.communicate()[0].splitlines()[-1]) for each in (one, more))
    for stage in ("headmotion_timeseries", "fieldmap", "preproc_bold", "statmap"):
        assert any(stage in name for name in single), stage
    for other in (two, three):
        assert sorted(name for name, value in other.items() if single.get(name) != value) == []
    assert set(three) == set(single)


def test_libraries_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = (
        "import os, numpy; from cospine.threads import threads, use_threads; use_threads(3)\n"
        "import numba, threadpoolctl\n"
        "blas = [one['num_threads'] for one in threadpoolctl.threadpool_info() if one['user_api'] == 'blas']\n"
        "print(threads(), numba.get_num_threads(), *blas)\n"
        "use_threads(2); print(threads(), numba.get_num_threads()); use_threads(); print(threads())\n"
    )
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split("\n")
    assert found[0].split() == ["3", "3", "1"]
    assert found[1:3] == ["2 2", str(processors())]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(program(Path(sys.argv[1]), [int(n) for n in sys.argv[2:]])) + "\n")
