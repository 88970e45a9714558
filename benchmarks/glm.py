"""The first level beside nilearn's, on a run of full size: time, peak memory, and whether both find the same.

    python benchmarks/glm.py --output glm.md

Five minutes on 2 cores; `--shape 48 48 24 --volumes 120 --columns 20` is a quick look, `--without-peer` ours alone. Every
line of the table is a fresh process, so that its peak memory is its own, and makes the same series for itself: noise of mean
1000 and SD 15 in float32, Fortran order. It is no AR(1), so that longer models are found, which cost more: three quarters of its
variance remember the volume before, by a correlation that changes slowly over the brain (-0.1 to 0.5), is 0.3 in the cord and
0.5 in CSF; a quarter is slow (0.95). There is no activation, which would make maps correlate by itself. The series lies in
memory before the clock starts and counts in the peak.

Columns are three tasks, then slow courses; each slice takes them at its own times, or all slices at those of the first
("shared"), all that nilearn's `FirstLevelModel` takes. The constant comes on top. The same three t contrasts and one F contrast
are computed by both, with effect, variance, statistic and z. Before the clock starts, the same is done on a tiny volume; its
time, with imports (nothing of the first level is compiled), is told as "first call". nilearn factorises the design anew for each
correlation; where other processes are busy, the threads of its BLAS then wait for each other, so it runs with one thread, too.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from noise_scoring import markdown
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

TR_S = 2.68
ZOOMS_MM = (1.5, 1.5, 4.0)
REGIONS = {"brain": 1, "csf": 2, "cord": 3}
TASKS = 3
OURS_SLICED, OURS, AR1 = "CoSpine, a design for each slice", "CoSpine, shared design", "nilearn ar1, shared design"
AR1_ONE = "nilearn ar1, one BLAS thread"
OURS_WHITE, OLS, OURS_RHO = "CoSpine, white noise", "nilearn ols", "CoSpine, nilearn's correlations"
_FINE_S = 0.1
_MEAN, _SD = 1000.0, 15.0
_SLOW_RHO, _SLOW_SHARE = 0.95, 0.25


@dataclass(frozen=True)
class Size:
    """Of the run: `shape` of a volume, number of `volumes`, `columns` of the design without the constant, and the `seed`."""

    shape: tuple[int, int, int]
    volumes: int
    columns: int
    seed: int


class Clock:
    """Steps as they pass from its making on: `parts` wall time, s, of each, `cpu_s` processor time of all."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.cpu_s = 0.0
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def passed(self, step: str) -> None:
        """End a step."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.parts[step] = wall - self._wall
        self.cpu_s += cpu - self._cpu
        self._wall, self._cpu = wall, cpu


@dataclass(frozen=True, eq=False)
class Work:
    """What one first level did.

    Parameters
    ----------
    clock : Clock
        Its steps.
    t : ndarray (tasks, voxels)
        Of the tasks' contrasts.
    rho : ndarray (voxels,), optional
        Correlation that nilearn found, in its bins.
    filters : str
        How many kinds of noise were told apart, and the order of their models.
    """

    clock: Clock
    t: NDArray[np.float32] = field(repr=False)
    rho: NDArray[np.float64] | None = field(repr=False)
    filters: str


@dataclass(frozen=True, eq=False)
class Measured:
    """A line of the table.

    Parameters
    ----------
    work : Work
    first_s : float
        Wall time of the same on a tiny volume, with imports.
    peak_gb : float
        Largest resident memory of the process, the series included.
    """

    work: Work
    first_s: float
    peak_gb: float

    @property
    def wall_s(self) -> float:
        """Of all steps."""
        return sum(self.work.clock.parts.values())


# --- the run ----------------------------------------------------------------------------------------------------------


def regions(shape: tuple[int, int, int]) -> NDArray[np.int32]:
    """Labels (x, y, z): an ellipsoid of a brain with ventricles in the upper slices, a cord in a ring of CSF below."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    middle = [(n - 1) / 2 for n in shape]
    scaled = [(x - middle[0]) / shape[0], (y - middle[1]) / shape[1], z / shape[2] - 0.76]

    def ellipsoid(a: float, b: float, c: float) -> NDArray[np.bool_]:
        return (scaled[0] / a) ** 2 + (scaled[1] / b) ** 2 + (scaled[2] / c) ** 2 < 1

    def tube(a: float, b: float) -> NDArray[np.bool_]:
        return ((x - middle[0]) / a) ** 2 + ((y - middle[1]) / b) ** 2 < 1

    labels = np.zeros(shape, np.int32)
    below = z < 0.5 * shape[2]
    labels[below & tube(7, 6)] = REGIONS["csf"]
    labels[below & tube(4.3, 3)] = REGIONS["cord"]
    labels[ellipsoid(0.36, 0.445, 0.235)] = REGIONS["brain"]
    labels[ellipsoid(0.07, 0.1, 0.04)] = REGIONS["csf"]
    return labels


def make_series(size: Size, labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Noise (x, y, z, t) around 1000, a volume at a time."""
    rng = np.random.default_rng(size.seed)
    x, y, z = np.meshgrid(*(np.linspace(0, np.pi, n) for n in size.shape), indexing="ij")
    rho = np.array([0.0, 0.0, 0.5, 0.3])[labels]
    brain = labels == REGIONS["brain"]
    rho[brain] = (0.2 + 0.3 * np.sin(2 * x + z) * np.cos(3 * y - z))[brain]
    rho = np.asfortranarray(rho, np.float32)
    innovation = np.sqrt(1 - rho**2)
    slow_innovation = np.sqrt(1 - _SLOW_RHO**2)
    series = np.empty((*size.shape, size.volumes), np.float32, order="F")

    def white() -> NDArray[np.float32]:
        return rng.standard_normal(size.shape[::-1], np.float32).T

    fast, slow = white(), white()
    for t in range(size.volumes):
        if t:
            fast = rho * fast + innovation * white()
            slow = _SLOW_RHO * slow + slow_innovation * white()
        series[..., t] = _MEAN + _SD * (np.sqrt(1 - _SLOW_SHARE) * fast + np.sqrt(_SLOW_SHARE) * slow)
    return series


def make_designs(size: Size, shared: bool) -> NDArray[np.float64]:
    """Columns (slices, t, p): tasks in blocks, then courses that wander, at the times of the slices or of the first."""
    rng = np.random.default_rng([size.seed, 1])
    slices = size.shape[2]
    offsets = np.zeros(slices) if shared else np.arange(slices) % -(-slices // 2) * 2 * TR_S / slices
    times = np.arange(size.volumes) * TR_S + offsets[:, None]
    fine = np.arange(0, (size.volumes + 1) * TR_S, _FINE_S)
    designs = np.empty((slices, size.volumes, size.columns))
    lag = np.arange(0, 25, _FINE_S)
    response = lag**5 * np.exp(-lag)
    for p in range(size.columns):
        if p < TASKS:
            course = np.convolve((fine + 12 * p) % (36 + 7 * p) < 12, response / response.sum())[: fine.size]
        else:  # turns over within some volumes, faster from column to column
            knots = np.arange(0, fine[-1] + 60, 60 / (1 + p / 4))
            course = np.interp(fine, knots, rng.standard_normal(knots.size))
        designs[..., p] = np.interp(times, fine, course)
    return designs


def make_contrasts(columns: int) -> dict[str, NDArray[np.float64]]:
    """The tasks, one by one (t) and together (F)."""
    weights = np.eye(columns)[:TASKS]
    return {**{f"task {p}": w for p, w in enumerate(weights)}, "any": weights}


# --- one process ------------------------------------------------------------------------------------------------------


def ours(size: Size, shared: bool, rho: NDArray[np.floating] | float | None = None) -> Measured:
    """CoSpine's first level.

    Parameters
    ----------
    size : Size
    shared : bool
        Whether all slices have the first one's design.
    rho : float or ndarray (voxels,), optional
        Correlation to be taken in place of the own noise model.
    """

    def work(size: Size) -> Work:
        from cospine.stats.glm import fit
        from cospine.stats.whitening import noise_model

        labels = regions(size.shape)
        mask = labels > 0
        series, designs = make_series(size, labels), make_designs(size, shared)
        contrasts = make_contrasts(size.columns)
        clock = Clock()
        if rho is None:
            noise = noise_model(series, designs, labels, ZOOMS_MM)
            clock.passed("noise model")
            found = fit(series, designs, contrasts, mask, noise=noise)
            told = f"{noise.order.size}, order {noise.order.min()}-{noise.order.max()}"
        else:
            given = np.zeros(size.shape)
            given[mask] = np.resize(rho, np.count_nonzero(mask))  # the tiny volume takes the first ones
            found = fit(series, designs, contrasts, mask, rho=given)
            told = _binned(given[mask])
        clock.passed("fit")
        return Work(clock, np.array([found.contrasts[f"task {p}"].t[mask] for p in range(TASKS)]), None, told)

    return _measured(size, work)


def theirs(size: Size, kind: str, threads: int | None = None) -> Measured:
    """nilearn's `FirstLevelModel` without scaling, else as it comes; all slices have the first one's design.

    Parameters
    ----------
    size : Size
    kind : {"ar1", "ols"}
    threads : int, optional
        Most that a product of matrices uses; else as the libraries choose.
    """

    def work(size: Size) -> Work:
        import pandas as pd
        from nibabel.nifti1 import Nifti1Image
        from nilearn.glm.first_level import FirstLevelModel

        labels = regions(size.shape)
        mask = labels > 0
        affine = np.diag([*ZOOMS_MM, 1])
        image = Nifti1Image(make_series(size, labels), affine)
        design = pd.DataFrame({f"column {p}": column for p, column in enumerate(make_designs(size, shared=True)[0].T)})
        design["constant"] = 1.0
        maps = {}
        with threadpool_limits(threads, user_api="blas"):  # not earlier: it limits what is loaded by now
            clock = Clock()
            model = FirstLevelModel(mask_img=Nifti1Image(mask.astype(np.uint8), affine), noise_model=kind, signal_scaling=False)
            model.fit(image, design_matrices=design)
            clock.passed("fit")
            for name, weights in make_contrasts(size.columns).items():
                padded = np.concatenate([weights, np.zeros((*weights.shape[:-1], 1))], axis=-1)
                maps[name] = model.compute_contrast(padded, stat_type="tF"[weights.ndim - 1], output_type="all")
            clock.passed("contrasts")
        t = np.array([maps[f"task {p}"]["stat"].get_fdata(dtype=np.float32)[mask] for p in range(TASKS)])
        rho = model.labels_[0].astype(float)
        return Work(clock, t, rho, _binned(rho))

    return _measured(size, work)


def _binned(rho: NDArray[np.floating]) -> str:
    return f"{np.unique(rho).size}, order {int(rho.any())}"


def _measured(size: Size, work: Callable[[Size], Work]) -> Measured:
    """The work on a tiny volume, then on the whole."""
    start = time.perf_counter()
    work(replace(size, shape=(24, 24, 12), volumes=60, columns=TASKS + 2))
    first_s = time.perf_counter() - start
    done = work(size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Measured(done, first_s, peak / 1e9)


# --- all of them ------------------------------------------------------------------------------------------------------


def in_fresh_process(work: Callable[..., Measured], *arguments) -> Measured:
    """Call in a new interpreter that does nothing else; this one stays small, as a child's peak counts from its start."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def measure(size: Size, with_peer: bool) -> dict[str, Measured]:
    """Every line of the table."""
    calls: dict[str, tuple] = {OURS_SLICED: (ours, size, False), OURS: (ours, size, True)}
    if with_peer:
        calls |= {AR1: (theirs, size, "ar1"), AR1_ONE: (theirs, size, "ar1", 1)}
        calls |= {OURS_WHITE: (ours, size, True, 0.0), OLS: (theirs, size, "ols")}
    found: dict[str, Measured] = {}
    for name, call in calls.items():
        found[name] = in_fresh_process(*call)
        print(f"{name}: {found[name].wall_s:.1f} s", file=sys.stderr, flush=True)
    if with_peer:
        found[OURS_RHO] = in_fresh_process(ours, size, True, found[AR1].work.rho)
    return found


def time_table(found: dict[str, Measured]) -> str:
    """Markdown; what ratios refer to is CoSpine with its noise model on the shared design."""
    own = found[OURS]
    rows = []
    for name, one in found.items():
        clock = one.work.clock
        steps = [f"{clock.parts[step]:.1f}" if step in clock.parts else "" for step in ("noise model", "fit", "contrasts")]
        wall = [f"{one.wall_s:.1f}", f"{one.wall_s / own.wall_s:.2f}"]
        cpu = [f"{clock.cpu_s:.1f}", f"{clock.cpu_s / own.work.clock.cpu_s:.2f}"]
        rows.append([name, one.work.filters, *steps, *wall, *cpu, f"{one.peak_gb:.2f}", f"{one.first_s:.1f}"])
    head = "|kinds of noise|noise model, s|fit, s|contrasts, s|all, s|× ours|CPU, s|× ours|peak, GB|first call, s"
    return markdown(head, rows)


def agreement_table(found: dict[str, Measured]) -> str:
    """Markdown: how t maps of one design correlate, over all voxels that both have, the lowest of the tasks."""
    rows = []
    for one, other in ((OURS_WHITE, OLS), (OURS_RHO, AR1), (OURS, AR1)):
        both = np.array([found[one].work.t, found[other].work.t], np.float64)
        known = np.isfinite(both).all(axis=(0, 1))
        lowest = min(np.corrcoef(*pair)[0, 1] for pair in both[..., known].swapaxes(0, 1))
        largest = np.abs(both[0] - both[1])[:, known].max()
        rows.append([one, other, f"{lowest:.7f}", f"{largest:.1g}", str(np.count_nonzero(known))])
    return markdown("t of|t of|r, the lowest|largest difference|voxels", rows)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[128, 128, 70])
    parser.add_argument("--volumes", type=int, default=225)
    parser.add_argument("--columns", type=int, default=45, help="without the constant")
    parser.add_argument("--without-peer", action="store_true", help="only CoSpine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write the tables here as Markdown, too")
    arguments = parser.parse_args()
    if arguments.columns <= TASKS:
        parser.error(f"--columns: more than {TASKS}, which are tasks")
    x, y, z = arguments.shape
    size = Size((x, y, z), arguments.volumes, arguments.columns, arguments.seed)
    labels = regions(size.shape)
    counts = ", ".join(f"{name} {np.count_nonzero(labels == label)}" for name, label in REGIONS.items())
    found = measure(size, not arguments.without_peer)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = (
        f"{x}×{y}×{z}×{size.volumes}, {size.columns} columns and the constant; {np.count_nonzero(labels)} voxels ({counts}); "
        f"{cores} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} at the end\n\n" + time_table(found)
    )
    if not arguments.without_peer:
        text += "\n" + agreement_table(found)
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
