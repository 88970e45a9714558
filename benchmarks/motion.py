"""Head motion correction side by side: whole process against whole process, on series whose motion is known.

`python benchmarks/motion.py --output table.md` (README.md says how to install the peers).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from peers import from_niimath
from series import LAYOUTS, Layout, Truth, make_series, read_truth

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Tool:
    """A line of the table.

    Parameters
    ----------
    key : str
        Name on the command line.
    label : str
        In the table.
    package : str
        Whose version is told.
    slow : bool
        Runs on a subset of the large series' volumes.
    repeats : bool
        Fast enough to run several times; the median is told.
    cold : bool
        Compiled kernels are thrown away first.
    """

    key: str
    label: str
    package: str
    slow: bool = False
    repeats: bool = False
    cold: bool = False


TOOLS = (
    Tool("cospine_cold", "CoSpine, cold start", "cospine", cold=True),
    Tool("cospine", "CoSpine, kernels cached", "cospine", repeats=True),
    Tool("niimath", "niimath -moco", "niimath", repeats=True),
    Tool("niimath_estimate", "niimath -moco -estimate (writes no image)", "niimath", repeats=True),
    Tool("elastix", "itk-elastix", "itk-elastix"),
    Tool("simpleitk", "SimpleITK, 10 % of the voxels", "SimpleITK"),
    Tool("simpleitk_all", "SimpleITK, all voxels", "SimpleITK", slow=True),
    Tool("antspyx", "antspyx motion_correction", "antspyx", slow=True),
)
OURS = "cospine"
# a child's peak memory counts from its fork on: a small process must start it
_LAUNCHER = """
import json, os, sys, time
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - start
print(json.dumps([wall, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status)]))
"""


@dataclass(frozen=True)
class Result:
    """What one tool did on one series.

    Parameters
    ----------
    tool : Tool
        Which.
    wall_s : float
        Whole process; where volumes were left out, scaled to all of them.
    cpu_s : float
        Processor time over all cores, scaled alike: hardly changes when other processes are busy.
    peak_mb : float
        Largest resident memory.
    volumes : ndarray of int
        Volumes corrected.
    pullback : ndarray (volumes, 4, 4)
        Reference RAS mm to volume RAS mm.
    """

    tool: Tool
    wall_s: float
    cpu_s: float
    peak_mb: float
    volumes: NDArray[np.int64]
    pullback: NDArray[np.float64]


def errors_mm(pullback: NDArray, truth: Truth, volumes: NDArray) -> NDArray[np.float64]:
    """Distance between where the found and the true motion take each brain voxel.

    What the tools choose as reference differs, so one rigid transform, the same for all volumes, is fitted and removed.

    Parameters
    ----------
    pullback : ndarray (n, 4, 4)
        Found, reference RAS mm to volume RAS mm.
    truth : Truth
        Of the whole series.
    volumes : ndarray (n,)
        Which volumes these are.

    Returns
    -------
    ndarray (n, voxels)
        In mm.
    """
    poses, points = truth.poses[volumes], truth.brain
    centre = points.mean(axis=0)
    offsets = np.linalg.inv(poses) @ pullback
    u, _, v = np.linalg.svd(offsets[:, :3, :3].mean(axis=0))
    constant = np.eye(4)
    constant[:3, :3] = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    at = (offsets[:, :3, :3] @ centre + offsets[:, :3, 3]).mean(axis=0)
    constant[:3, 3] = at - constant[:3, :3] @ centre
    difference = pullback - poses @ constant
    return np.linalg.norm(np.einsum("tij,nj->tni", difference[:, :3, :3], points) + difference[:, None, :3, 3], axis=2)


def run_tool(tool: Tool, path: Path, work: Path, volumes: NDArray | None) -> Result:
    """Run a tool in a fresh process and read what it found."""
    image = nib.load(path)
    count = image.shape[3]
    out = work / f"{path.name.removesuffix('.nii.gz')}_{tool.key}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    environment = dict(os.environ)
    environment["NUMBA_CACHE_DIR"] = str(work / "numba")
    if tool.cold:
        shutil.rmtree(work / "numba", ignore_errors=True)
    wall_s, peak_mb, cpu_s = _timed(_command(tool, path, out, volumes), environment, out / "log.txt")
    if volumes is not None:
        spent = json.loads((out / "timing.json").read_text())["loop_s"]
        whole = wall_s + spent * (count / len(volumes) - 1)
        wall_s, cpu_s = whole, cpu_s * whole / wall_s
    if tool.package == "niimath":
        pullback = from_niimath(out / "motion.1D", image.affine, image.shape)
    else:
        pullback = np.loadtxt(out / "pullback.txt").reshape(-1, 4, 4)
    for written in out.glob("*.nii.gz"):
        written.unlink()
    return Result(tool, wall_s, cpu_s, peak_mb, np.arange(count) if volumes is None else volumes, pullback)


def _command(tool: Tool, path: Path, out: Path, volumes: NDArray | None) -> list[str]:
    if tool.package == "niimath":
        import niimath

        # the program itself, without the interpreter that its Python package puts before it; the type of the input, for
        # its default of float32 takes several times as long to compress
        program = str(Path(niimath.__file__).parent / "bin" / "niimath")
        table = str(out / "motion.1D")
        if tool.key.endswith("estimate"):
            return [program, str(path), "-moco", "-estimate", table]
        return [program, str(path), "-moco", "-1Dfile", table, str(out / "corrected"), "-odt", "short"]
    chosen = [] if volumes is None else [",".join(map(str, volumes))]
    return [sys.executable, str(HERE / "peers.py"), tool.key.removesuffix("_cold"), str(path), str(out), *chosen]


def _timed(command: list[str], environment: dict[str, str], log: Path) -> tuple[float, float, float]:
    """Wall time (s), peak memory (MB) and processor time (s) of a process."""
    with open(log, "wb") as stream:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command],
            stdout=subprocess.PIPE,
            stderr=stream,
            env=environment,
            check=True,
        )
    wall_s, peak_mb, cpu_s, code = json.loads(done.stdout)
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}:\n{log.read_text()[-2000:]}")
    return wall_s, peak_mb, cpu_s


def compare(layout: Layout, tools: list[Tool], work: Path, subset: int, repeats: int, seed: int) -> str:
    """All tools on one series; the table as Markdown."""
    path = work / f"{layout.name}-{layout.volumes}-{seed}.nii.gz"
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr, flush=True)
        make_series(layout, path, seed)
    truth = read_truth(path)
    some = None
    if layout.name == "large" and subset < layout.volumes:
        some = np.linspace(1, layout.volumes - 1, subset).round().astype(int)
    runs: dict[str, list[Result]] = {tool.key: [] for tool in tools}
    for turn in range(max(1, repeats)):  # in turns, so that what else the machine does meets all alike
        for tool in tools:
            if turn == 0 or tool.repeats:
                runs[tool.key].append(run_tool(tool, path, work, some if tool.slow else None))
                print(f"{layout.name}: {tool.key} {runs[tool.key][-1].wall_s:.2f} s", file=sys.stderr, flush=True)
    results = {key: _median(several) for key, several in runs.items()}
    return _table(layout, results, truth)


def _median(runs: list[Result]) -> Result:
    return replace(
        runs[-1],
        wall_s=statistics.median(one.wall_s for one in runs),
        cpu_s=statistics.median(one.cpu_s for one in runs),
        peak_mb=max(one.peak_mb for one in runs),
    )


def _table(layout: Layout, results: dict[str, Result], truth: Truth) -> str:
    size = "×".join(map(str, (*layout.shape, layout.volumes)))
    voxel = "×".join(f"{mm:g}" for mm in layout.voxel_mm)
    rows = [
        f"### {layout.name}: {size}, {voxel} mm",
        "",
        "| tool | volumes | wall, s | a volume, s | × ours | CPU, s | × ours | MB | error, mm | max | ours on these | max |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    ours = results.get(OURS)
    for result in results.values():
        error = errors_mm(result.pullback, truth, result.volumes)
        own, ratio, cpu_ratio = ["", ""], "", ""
        if ours is not None:
            same = errors_mm(ours.pullback[result.volumes], truth, result.volumes)
            own = [f"{same.mean():.4f}", f"{same.max():.4f}"]
            ratio, cpu_ratio = f"{result.wall_s / ours.wall_s:.2f}", f"{result.cpu_s / ours.cpu_s:.2f}"
        scaled = " (scaled)" if len(result.volumes) < layout.volumes else ""
        cells = [
            f"{result.tool.label} {version(result.tool.package)}",
            str(len(result.volumes)),
            f"{result.wall_s:.2f}{scaled}",
            f"{result.wall_s / layout.volumes:.3f}",
            ratio,
            f"{result.cpu_s:.1f}",
            cpu_ratio,
            f"{result.peak_mb:.0f}",
            f"{error.mean():.4f}",
            f"{error.max():.4f}",
            *own,
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _picked(names: str, known: Iterable[str]) -> list[str]:
    chosen = names.split(",")
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return chosen


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keys = [tool.key for tool in TOOLS]
    parser.add_argument("--peers", default=",".join(keys), help="comma-separated, of: %(default)s")
    parser.add_argument("--series", default="large,small", help="comma-separated, of: %(default)s")
    parser.add_argument("--subset", type=int, default=10, help="volumes of the large series for slow peers [%(default)s]")
    parser.add_argument("--volumes", type=int, help="shorten every series, for a quick look")
    parser.add_argument("--repeats", type=int, default=3, help="runs of CoSpine and niimath; the median is told [%(default)s]")
    parser.add_argument("--seed", type=int, default=7, help="of motion, activation and noise [%(default)s]")
    parser.add_argument("--check", action="store_true", help="series without noise: each peer's convention read rightly?")
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"), help="folder for series and output [%(default)s]")
    parser.add_argument("--output", type=Path, help="write the tables here as Markdown, too")
    arguments = parser.parse_args()
    chosen = _picked(arguments.peers, keys)
    tools = [tool for tool in TOOLS if tool.key in chosen]
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if arguments.check:
        layout = replace(LAYOUTS["small"], name="check", volumes=12)
        make_series(layout, work / f"check-12-{arguments.seed}.nii.gz", arguments.seed, clean=True)
        layouts = [layout]
    else:
        layouts = [LAYOUTS[name] for name in _picked(arguments.series, LAYOUTS)]
        if arguments.volumes:
            layouts = [replace(one, volumes=arguments.volumes) for one in layouts]
    tables = [compare(layout, tools, work, arguments.subset, arguments.repeats, arguments.seed) for layout in layouts]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = "\n".join([f"{cores} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} at the end\n", *tables])
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
