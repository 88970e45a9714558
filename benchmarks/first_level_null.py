"""Does the first level's test keep its rate where nothing happens? Many runs without activation, each with a random design.

`python benchmarks/first_level_null.py --runs 1000 --output null.md`. Runs are those of `null_runs.py`: noise that is no AR(1),
46 or 51 columns and the constant at 115 and 225 volumes. Told are the shares of voxels, and of means over small regions, whose
t is beyond the one-sided 5 % and 0.1 % quantile of either tail; half of the runs have physiological columns of their own
waves, half those of another person. The error beside a share is that over runs, for voxels of one run are no independent ones.

Beside: least squares without whitening, nilearn's own AR(1) (`run_glm`, a correlation for each voxel), and ours with one lag.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from noise_scoring import markdown
from null_runs import REGIONS, NullRun, null_run
from numpy.typing import NDArray

LEVELS = (0.05, 0.001)
ZOOMS_MM = (1.5, 1.5, 4.0)
PARCEL = 5
Rates = dict[tuple[str, str, str, str], NDArray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="of each length")
    parser.add_argument("--volumes", type=int, nargs="+", default=[115, 225])
    parser.add_argument("--peer-every", type=int, default=2, help="nilearn on a run in n; 0 leaves it out")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    text = ""
    for volumes in arguments.volumes:
        jobs = [(arguments.seed, volumes, i, arguments.peer_every) for i in range(arguments.runs)]
        with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
            found = pool.starmap(one_run, jobs, chunksize=10)
        text += table(volumes, found)
        print(text, flush=True)
        if arguments.output:
            arguments.output.write_text(text)


def one_run(seed: int, volumes: int, number: int, peer_every: int) -> Rates:
    """Shares beyond each quantile in one run: by method, unit, region, and whose recording."""
    recorded = number % 4 < 2
    run = null_run(np.random.default_rng([seed, volumes, number]), volumes, task=("pain", "motor")[number % 2], recorded=recorded)
    methods: dict[str, Callable] = {"no whitening": _plain, "one lag": _one_lag, "CoSpine": _ours}
    if peer_every and number // 4 % peer_every == 0:
        methods["nilearn ar1"] = _nilearn
    rates: Rates = {}
    for unit, (series, labels) in {"voxels": (run.series, run.regions), "means": parcels(run)}.items():
        for method, of in methods.items():
            tails = of(series, run.designs, labels)
            for name, label in REGIONS.items():
                upper, lower = (tail[labels == label] for tail in tails)
                shares = [np.mean(p < level) for level in LEVELS for p in (upper, lower)]
                rates[method, unit, name, "own" if recorded else "another's"] = np.array(shares)
    return rates


def parcels(run: NullRun) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Mean series (parcels, 1, slices, t) of patches of about 5 x 4 voxels within a slice, and their regions."""
    means, labels = [], []
    for label in REGIONS.values():
        columns = np.flatnonzero((run.regions == label)[0, :, 0])
        for part in np.array_split(columns, max(1, len(columns) // 4)):
            for i in range(0, run.series.shape[0], PARCEL):
                means.append(run.series[i : i + PARCEL][:, part].mean(axis=(0, 1)))
                labels.append(np.full((1, run.series.shape[2]), label, np.int32))
    return np.asfortranarray(np.array(means)[:, None]), np.array(labels)


def _tails(t: NDArray, dof: NDArray) -> tuple[NDArray, NDArray]:
    from scipy.special import stdtr

    return stdtr(dof, -t), stdtr(dof, t)


def _contrast(designs: NDArray) -> dict[str, NDArray]:
    return {"task": np.eye(designs.shape[2])[0]}


def _plain(series: NDArray, designs: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
    from cospine.stats.glm import fit

    found = fit(series, designs, _contrast(designs), labels > 0)
    return _tails(found.contrasts["task"].t.astype(float), found.dof)


def _one_lag(series: NDArray, designs: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
    return _ours(series, designs, labels, 1)


def _ours(series: NDArray, designs: NDArray, labels: NDArray, largest_order: int = 6) -> tuple[NDArray, NDArray]:
    from cospine.stats.glm import fit
    from cospine.stats.whitening import noise_model

    noise = noise_model(series, designs, labels, ZOOMS_MM, largest_order=largest_order)
    found = fit(series, designs, _contrast(designs), labels > 0, noise=noise)
    return _tails(found.contrasts["task"].t.astype(float), found.dof)


def _nilearn(series: NDArray, designs: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
    from nilearn.glm.contrasts import compute_contrast
    from nilearn.glm.first_level import run_glm

    t, dof = np.full(labels.shape, np.nan), np.ones(labels.shape[2])
    for k, design in enumerate(designs):
        x = np.column_stack([design, np.ones(len(design))])
        fitted = run_glm(series[:, :, k].reshape(-1, len(design)).T.astype(float), x, noise_model="ar1", random_state=0)
        result = compute_contrast(*fitted, np.eye(x.shape[1])[0], stat_type="t")
        t[:, :, k], dof[k] = result.stat().reshape(labels.shape[:2]), result.dof
    return _tails(t, dof)


def table(volumes: int, found: list[Rates]) -> str:
    """Markdown, in units of the nominal rate's per cent: share and its error over runs."""
    keys = sorted({key for rates in found for key in rates}, key=lambda key: (key[1] == "means", key[3], key[2], key[0]))
    rows = []
    for key in keys:
        shares = 100 * np.array([rates[key] for rates in found if key in rates])
        mean, error = shares.mean(axis=0), shares.std(axis=0) / np.sqrt(len(shares))
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
        rows.append([*key, str(len(shares)), *cells])
    for unit in ("voxels", "means"):  # and all together, which is what the bounds are for
        for method in sorted({key[0] for key in keys}):
            of_run = [
                np.mean([r for key, r in rates.items() if key[:2] == (method, unit)], axis=0)
                for rates in found
                if any(key[0] == method for key in rates)
            ]
            shares = 100 * np.array(of_run)
            error = shares.std(axis=0) / np.sqrt(len(shares))
            cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(shares.mean(axis=0), error, strict=True)]
            rows.append([method, unit, "all", "both", str(len(shares)), *cells])
    head = "method|unit|region|recording|runs|5 %, upper|5 %, lower|0.1 %, upper|0.1 %, lower"
    return f"\n{volumes} volumes\n\n" + markdown(head, rows)


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
