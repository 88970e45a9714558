"""Coupling of brain and cord where there is none but for slice leakage (METHODS 14 and 22), and where there is some.

    python benchmarks/coupling_null.py [--groups 300] [--people 20] [--volumes 115] [--seed 0] [--minutes 5] [--leakage 1 2 3]

Each participant is a small multiband series: a brain region of eight slices whose partners lie in and about a cord region of
four, at the protocol's slice times. Brain and cord have slow fluctuations of their own (1/f, coherent over the region, 1 % and
0.6 %) and white noise at tSNR 60 and 12. Each voxel receives a share of its partner at a shift along the phase encoding; the
brain region lies exactly where the cord's leakage comes from, which is the worst case.

For each way to treat simultaneous slices the table has the share of groups with p < 0.05 (t across people, two-sided) and the
mean z: nominal is 5 %, of 300 groups within 2.9-8.1 % (95 %). "without pairs" leaves out pairs of slices that are excited
together, "leak out" takes out what the partner leaks. The nulls are of courses with the leak out.
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from cospine.signal.simultaneous import simultaneous_pairs
from cospine.space.grid import Grid
from cospine.stats.coupling import across_people, coupling, fisher_z
from cospine.stats.coupling_nulls import coupling_null
from cospine.stats.leakage import find_leakage, leaked
from cospine.stats.regional_series import regional_series
from cospine.stats.regions import Region, RegionSet

TR_S = 2.68
SHAPE = (5, 20, 16)
LAG = 8
# slices 0-7 in the neck, 8-15 in the brain: k and k + 8 are one excitation; interleaved, neighbours 1.3 s apart
TIMES = np.tile(np.array([1, 0, 3, 2, 5, 4, 7, 6]) % 2 * 1.31 + np.arange(8) // 2 * 0.075, 2)
MEANS = {"cord": 400.0, "brain": 900.0}
TSNR = {"cord": 12.0, "brain": 60.0}
FLUCTUATION = {"cord": 0.006, "brain": 0.010}
WAYS = ("all", "without pairs", "leak out", "both")


def regions() -> RegionSet:
    """Cord in slices 2-5, brain in slices 8-15, where the cord's leakage comes from."""
    labels = np.zeros(SHAPE, np.int32)
    labels[2:4, 4:8, 2:6] = 1
    labels[1:5, 2 + LAG : 10 + LAG, 8:] = 2
    table = (Region(1, "cord", "R", "dorsal", "spinal", 6), Region(2, "brain", "R", "sphere"))
    return RegionSet("native", Grid(SHAPE, np.diag([1.5, 1.5, 4.0, 1.0])), labels, table)


def fluctuation(rng: np.random.Generator, times_s: NDArray) -> NDArray[np.float64]:
    """A course of SD 1 with a 1/f spectrum from 0.008 to 0.1 Hz, at any times."""
    frequencies = np.linspace(0.008, 0.1, 40)
    amplitudes = rng.standard_normal((2, 40)) / np.sqrt(frequencies)
    angle = 2 * np.pi * times_s[..., None] * frequencies
    course = np.cos(angle) @ amplitudes[0] + np.sin(angle) @ amplitudes[1]
    return course / course.std()


def participant(rng: np.random.Generator, volumes: int, share: float, lag: int, coupled: float) -> NDArray[np.float32]:
    """A series with leakage; `coupled` is the correlation of the two fluctuations."""
    times = np.arange(volumes)[:, None] * TR_S + TIMES
    # the times of the neck's slices are those of their partners
    brain, own = fluctuation(rng, times[:, :8]), fluctuation(rng, times[:, :8])
    cord = coupled * brain + np.sqrt(1 - coupled**2) * own
    series = np.empty((*SHAPE, volumes), np.float32)
    for name, course, slices in (("cord", cord, slice(0, 8)), ("brain", brain, slice(8, 16))):
        noise = rng.standard_normal((*SHAPE[:2], 8, volumes), dtype=np.float32) / TSNR[name]
        series[:, :, slices] = MEANS[name] * (1 + FLUCTUATION[name] * course.T + noise)
    # voxel j of the lower slice and j + lag of the upper leak into each other
    low, high = series[:, :, :8].copy(), series[:, :, 8:].copy()
    series[:, :, :8] += share * np.roll(high, -lag, axis=1)
    series[:, :, 8:] += share * np.roll(low, lag, axis=1)
    return series - series.mean(axis=3, keepdims=True)


def measured(series: NDArray[np.float32], names: RegionSet, lag: int) -> tuple[list[float], list[NDArray[np.float64]]]:
    """z of the one pair in each of `WAYS`, and the courses with the partner's leakage out."""
    plain = regional_series(series, names, TIMES, TR_S)
    found = find_leakage(series, np.ones(SHAPE, bool), simultaneous_pairs(TIMES), lag, 1)
    arrives = leaked(series, np.argwhere(np.ones(SHAPE)), found).reshape(series.shape)
    clean = regional_series(series - arrives, names, TIMES, TR_S)
    raw, out = (coupling(one[:1], one[1:], TIMES) for one in (plain, clean))
    z = [float(fisher_z(one[0, 0])) for one in (raw.r, raw.r_without, out.r, out.r_without)]
    return z, [one.mean for one in clean]


def experiment(arguments: argparse.Namespace, share: float, lag: int, coupled: float, until: float) -> str:
    """One row: rates in all ways, and those of the nulls on the cleaned courses."""
    rng = np.random.default_rng(arguments.seed)
    names = regions()
    found, nulls = [], []
    while len(found) < arguments.groups and time.monotonic() < until:
        people = [measured(participant(rng, arguments.volumes, share, lag, coupled), names, lag) for _ in range(arguments.people)]
        z = np.array([one for one, _ in people])
        group = across_people(z, flips=0)
        cord, brain = (np.stack([courses[k] for _, courses in people]) for k in (0, 1))
        found.append((group.p < 0.05, np.nanmean(z, axis=0)))
        nulls.append(
            [coupling_null(cord, brain, kind, draws=99, seed=len(found)).p <= 0.05 for kind in ("people", "shift", "phase")]
        )
    rates = 100 * np.mean([p for p, _ in found], axis=0)
    z = np.mean([one for _, one in found], axis=0)
    of_nulls = 100 * np.mean(nulls, axis=0)
    cells = [f"{rate:.1f} ({mean:+.4f})" for rate, mean in zip(rates, z, strict=True)] + [f"{rate:.1f}" for rate in of_nulls]
    return f"| {100 * share:.0f} % | {lag} | {coupled:g} | {len(found)} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--groups", type=int, default=300)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--volumes", type=int, default=115)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--leakage", type=float, nargs="+", help="shares (%%) that leak, without coupling, instead of the four rows"
    )
    arguments = parser.parse_args()
    rows = [(0.0, LAG, 0.0), (0.02, LAG, 0.0), (0.05, LAG, 0.0), (0.03, LAG, 0.3)]
    if arguments.leakage is not None:
        rows = [(percent / 100, LAG, 0.0) for percent in arguments.leakage]
    print("| leakage | shift | coupling | groups | " + " | ".join(WAYS) + " | strangers | shifts | phases |")
    print("|" + "---|" * (4 + len(WAYS) + 3))
    start = time.monotonic()
    for number, (share, lag, coupled) in enumerate(rows, start=1):
        print(experiment(arguments, share, lag, coupled, start + 60 * arguments.minutes * number / len(rows)), flush=True)


if __name__ == "__main__":
    main()
