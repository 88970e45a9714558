"""Slice-wise regression: CoSpine beside the original algorithm and `numpy.linalg.lstsq`, in one run.

    python benchmarks/physio.py [--volumes 225] [--matrix 128 128 70] [--repeats 3] [--output physio.md]

33 physiological columns a slice (PNM 4/4/2/2 at each slice's own time, and one more) on a series of the protocol's size: voxel
means of 200-2000, thermal noise, and the columns themselves at a few percent. The series is in memory; the whole call is timed.

- **CoSpine**: `slice_bases` and `regress`, the result in a new float32 array.
- **original**: what the published code does with each slice: columns and voxels demeaned, the design's pseudo-inverse, all in
  double precision, the mean put back. Written here with NumPy, vectorised over the voxels of the slice, threads of BLAS free.
- **lstsq**: `numpy.linalg.lstsq` on each slice in double precision: the reference of "difference", the largest over voxels of
  norm(ours - reference) / norm(reference) of the residuals without their mean.

Partial F tests of four sets in the same series stand below (`partial_tests`), and how often they find something in noise that
is not white: AR(1) series without any physiology, columns at the slices' times, 128 s high-pass in the design; the noise taken
for white, and whitened by what `autocorrelation` finds.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.physio.phase import cardiac_phase, respiratory_phase
from cospine.physio.pnm import pnm_columns
from cospine.signal.autocorrelation import autocorrelation
from cospine.signal.partial import partial_tests
from cospine.signal.regression import regress, slice_bases

TR_S = 2.68
SETS = {"cardiac": np.arange(8), "respiratory": np.arange(8, 16), "interaction": np.arange(16, 32), "csf": np.array([32])}


def slice_times(slices: int) -> NDArray[np.float64]:
    """Odd slices first, then even, of one half of the stack; the other half at the same times (multiband 2)."""
    half = (slices + 1) // 2
    order = np.concatenate([np.arange(1, half, 2), np.arange(0, half, 2)])
    times = np.empty(half)
    times[order] = np.arange(half) * TR_S / half
    return np.concatenate([times, times])[:slices]


def physiological_columns(volumes: int, slices: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Design (slices, t, 33) of a heart at about 66 and breathing at about 15 a minute."""
    times = np.arange(volumes)[:, None] * TR_S + slice_times(slices)
    end = times.max() + 5
    beats = np.cumsum(rng.normal(0.91, 0.05, int(end / 0.8))) - 5
    rate_hz = 50.0
    breaths = np.cumsum(np.repeat(2 * np.pi / rng.normal(4.0, 0.5, int(end / 3) + 2), 200)[: int((end + 5) * rate_hz)]) / rate_hz
    belt = np.sin(breaths) + 0.02 * rng.standard_normal(breaths.size)
    _, columns = pnm_columns(cardiac_phase(beats, times), respiratory_phase(belt, rate_hz, -5.0, times))
    csf = rng.standard_normal((volumes, slices, 1))
    return np.concatenate([columns, csf], axis=2).transpose(1, 0, 2)


def cosines(volumes: int, period_s: float = 128.0) -> NDArray[np.float64]:
    """Discrete cosines (t, n) slower than a period, the constant left out."""
    count = int(2 * volumes * TR_S / period_s)
    return np.cos(np.pi * np.outer(np.arange(volumes) + 0.5, np.arange(1, count + 1)) / volumes)


def make_series(shape: tuple[int, int, int], designs: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Series (x, y, z, t) in Fortran order: mean, noise of SD 10, and columns at up to 5."""
    volumes = designs.shape[1]
    series = rng.standard_normal((volumes, *shape[::-1]), dtype=np.float32)
    series *= 10
    series += rng.uniform(200, 2000, shape[::-1]).astype(np.float32)
    for k, design in enumerate(designs):
        weights = rng.uniform(-5, 5, (design.shape[1], shape[1], shape[0])).astype(np.float32) / 3
        series[:, k] += np.tensordot(design.astype(np.float32), weights, 1)
    return series.T


def original(series: NDArray[np.float32], designs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Residual series (x, y, z, t) by pseudo-inverse, demeaned, in double precision; the mean is put back."""
    out = np.empty(series.shape, order="F")
    volumes = series.shape[3]
    for k, design in enumerate(designs):
        x = design - design.mean(axis=0)
        y = series[:, :, k].reshape(-1, volumes).T.astype(np.float64)
        mean = y.mean(axis=0)
        y -= mean
        y -= x @ (np.linalg.pinv(x) @ y)
        out[:, :, k] = (y + mean).T.reshape(*series.shape[:2], volumes)
    return out


def compare_with_lstsq(
    series: NDArray[np.float32], designs: NDArray[np.float64], cleaned: dict[str, NDArray]
) -> tuple[float, dict[str, float]]:
    """Seconds of `numpy.linalg.lstsq` over all slices, and the largest relative difference of each result from it."""
    volumes, spent = series.shape[3], 0.0
    worst = dict.fromkeys(cleaned, 0.0)
    for k, design in enumerate(designs):
        start = time.perf_counter()
        y = series[:, :, k].reshape(-1, volumes).T.astype(np.float64)
        x = np.column_stack([design, np.ones(volumes)])
        residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        spent += time.perf_counter() - start
        norm = np.linalg.norm(residual, axis=0)
        for name, result in cleaned.items():
            got = result[:, :, k].reshape(-1, volumes).T.astype(np.float64)
            difference = np.linalg.norm(got - y.mean(axis=0) - residual, axis=0)
            worst[name] = max(worst[name], float((difference / norm).max()))
    return spent, worst


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Median wall seconds, processor seconds, and the last result."""
    walls, processors, result = [], [], None
    for _ in range(repeats):
        result = None  # the one before goes first: two of them need not fit
        wall, processor = time.perf_counter(), time.process_time()
        result = call()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return float(np.median(walls)), float(np.median(processors)), result


def false_positives(volumes: int, rng: np.random.Generator) -> list[str]:
    """Table of the rate of p < 0.05 and p < 0.001 on AR(1) noise."""
    shape = (64, 64, 8)
    designs = physiological_columns(volumes, shape[2], rng)
    drift = np.broadcast_to(cosines(volumes), (shape[2], volumes, cosines(volumes).shape[1]))
    designs = np.concatenate([designs, drift], axis=2)
    lines = [
        f"| {volumes} volumes, AR(1) ρ | " + " | ".join(f"{name} 0.05 / 0.001" for name in (*SETS, "all")) + " |",
        "|---" * (len(SETS) + 2) + "|",
    ]
    for rho in (0.0, 0.2, 0.3):
        noise = rng.standard_normal((volumes, *shape[::-1]), dtype=np.float32)
        for t in range(1, volumes):
            noise[t] = rho * noise[t - 1] + np.sqrt(1 - rho**2) * noise[t]
        series, everywhere = noise.T, np.ones(shape, bool)
        found = autocorrelation(series, designs, everywhere, (1.5, 1.5, 4.0))
        for name, given in (("taken for white", None), ("whitened", found)):
            tests = partial_tests(series, designs, SETS, mask=everywhere, autocorrelation=given)
            cells = [f"{(t.p < 0.05).mean():.4f} / {(t.p < 0.001).mean():.5f}" for t in (*tests.sets.values(), tests.total)]
            lines.append(f"| {rho}, {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Make the series, time all, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=225)
    parser.add_argument("--matrix", type=int, nargs=3, default=(128, 128, 70))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    shape = tuple(args.matrix)
    designs = physiological_columns(args.volumes, shape[2], rng)
    series = make_series(shape, designs, rng)

    results: dict[str, NDArray] = {}
    wall, processor = {}, {}
    for name, call, repeats in (
        ("CoSpine", lambda: regress(series, slice_bases(designs)), args.repeats),
        ("original", lambda: original(series, designs), 1),
    ):
        wall[name], processor[name], results[name] = timed(call, repeats)
    wall["lstsq"], worst = compare_with_lstsq(series, designs, results)
    results.clear()
    size = "×".join(map(str, (*shape, args.volumes)))
    lines = [
        f"| regression, {size}, {designs.shape[2]} columns | s | CPU s | ratio to CoSpine | difference from lstsq |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in wall.items():
        used = f"{processor[name]:.2f}" if name in processor else ""
        lines.append(f"| {name} | {seconds:.2f} | {used} | {seconds / wall['CoSpine']:.1f} | {worst.get(name, 0.0):.1e} |")
    everywhere = np.ones(shape, bool)
    test_wall, test_processor, _ = timed(lambda: partial_tests(series, designs, SETS, mask=everywhere), 1)
    lines.append(
        f"\nPartial F tests of four sets in all {everywhere.sum()} voxels: {test_wall:.2f} s ({test_processor:.2f} CPU s).\n"
    )
    for volumes in (args.volumes, 115):
        lines += [*false_positives(volumes, rng), ""]
    print("\n".join(lines))
    if args.output:
        args.output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
