"""What one design for all slices costs, in a protocol whose neighbouring slices are 1.3 s apart.

Exact for given columns, without drawing noise: the response of every slice is evaluated at the slice's own time (closed forms,
nothing of CoSpine), and fitted by a design at the slice's own times and by one at the volume's middle. Noise is white; where
there are columns of pulse and breathing, a fifth of its variance is theirs, at the slice's time. Told are, over the 35
excitations of the CoSpine protocol and several seeds (onsets, motion, pulse, breathing),

- effect: what is estimated over what is there, least and greatest of the slices. The true response is SPM's, stretched in time.
- t²: (effect / SD)² with one design over that with the slice's own: mean, least and greatest. Below 1 it is the share of
  scans that would do as much with the slice's own design.
- task alone: the same where the noise columns are at the slice's own times and only the task is not.
- X'X: the textbook's efficiency of one design over that of the slices' own, which asks what columns share and not what is true.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc

from cospine.phantom.protocol import FULL
from cospine.phantom.task import events
from cospine.physio.pnm import pnm_columns
from cospine.signal.drift import cosine_drift
from cospine.stats.design import efficiency, task_columns
from cospine.stats.events import Condition
from cospine.stats.hrf import HRF_MODELS

MODEL_PEAK_S = 5.0
PEAKS_S = (4.5, 5.0, 6.0, 7.0)
SHARE = 0.2
"""Of pulse and breathing in the noise's variance."""
CASES = (("pain", 225), ("pain", 115), ("motorL", 115), ("motorL", 225))


def response(times: NDArray, onsets: NDArray, durations: NDArray, peak_s: float) -> NDArray[np.float64]:
    """SPM's response to blocks, stretched so that it peaks at `peak_s`; its area stays 1."""

    def step(t: NDArray) -> NDArray:
        since = np.maximum(t, 0) * MODEL_PEAK_S / peak_s
        return (gammainc(6, since) - 0.167 * gammainc(16, since)) / (1 - 0.167)

    return sum((step(times - o) - step(times - o - d) for o, d in zip(onsets, durations, strict=True)), np.zeros(times.shape))


def stimuli(task: str, volumes: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Onsets and durations that fit into the volumes, blocks going on where the run is longer than the real one."""
    onsets, durations = events(task, seed, 225, FULL.tr_s).stimuli()
    end_s = volumes * FULL.tr_s
    if task != "pain":
        rng = np.random.default_rng(seed)
        while onsets[-1] + 34 < end_s:
            onsets = np.append(onsets, onsets[-1] + rng.integers(21, 27))
        durations = np.full(onsets.size, 8.0)
    kept = onsets + durations <= end_s
    return onsets[kept], durations[kept]


def phases(times: NDArray, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heartbeat (64-70/min) and breathing (14-17/min) whose rates wander, as phases at any times."""
    rng = np.random.default_rng(seed)
    grid = np.arange(-5.0, times.max() + 5, 0.05)
    found = []
    for rate, spread in ((rng.uniform(64, 70) / 60, 0.06), (rng.uniform(14, 17) / 60, 0.12)):
        wander = np.interp(
            grid, np.arange(-10, grid[-1] + 10, 4.0), rng.normal(0, spread, np.arange(-10, grid[-1] + 10, 4.0).size)
        )
        found.append(np.interp(times, grid, 2 * np.pi * np.cumsum(rate * (1 + wander)) * 0.05))
    return found[0], found[1]


def fitted(designs: NDArray, truth: NDArray, noise: NDArray | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Effect (slices,) of the first column, and its variance by least squares, for noise of variance 1.

    `designs` (slices, t, p), `truth` (t, slices), `noise` (slices, t, q): columns of what is not white in the noise.
    """
    effect, variance = np.empty(len(designs)), np.empty(len(designs))
    for k, design in enumerate(designs):
        weights = np.linalg.pinv(np.column_stack([design, np.ones(len(design))]))[0]
        effect[k] = weights @ truth[:, k]
        variance[k] = weights @ weights
        if noise is not None:
            columns = noise[k] - noise[k].mean(axis=0)
            variance[k] *= 1 - SHARE
            variance[k] += SHARE * np.sum((weights @ columns) ** 2) / columns.var(axis=0).sum()
    return effect, variance


def designs_of(task: str, volumes: int, model: str, physiology: bool, seed: int):
    """Stimuli, slices' times, columns of the noise, and designs: own times, one time, one time for the task alone."""
    slice_times = np.unique(FULL.slice_times_s)
    times = np.add.outer(np.arange(volumes) * FULL.tr_s, slice_times)
    middle = np.broadcast_to(times.mean(axis=1, keepdims=True), times.shape)
    onsets, durations = stimuli(task, volumes, seed)
    motion = np.cumsum(np.random.default_rng(seed + 1).standard_normal((volumes, 6)), axis=0)
    common = np.column_stack([cosine_drift(volumes, FULL.tr_s), motion])
    common = np.broadcast_to(common, (slice_times.size, *common.shape))
    condition = Condition(task, onsets, durations, np.ones(onsets.size))
    own, one = (task_columns([condition], at, model) for at in (times, middle))
    if not physiology:
        return (onsets, durations), times, None, (own.beside(common), one.beside(common), one.beside(common))
    at_own, at_one = (pnm_columns(*phases(at, seed))[1].transpose(1, 0, 2) for at in (times, middle))
    with_own, with_one = (np.concatenate([common, columns], axis=2) for columns in (at_own, at_one))
    return (onsets, durations), times, at_own, (own.beside(with_own), one.beside(with_one), one.beside(with_own))


def compared(task: str, volumes: int, model: str, physiology: bool, seeds: int) -> list[str]:
    """Lines of the table for one case."""
    found: dict[float, list[tuple[NDArray, ...]]] = {peak: [] for peak in PEAKS_S}
    plain = []
    for seed in range(1, seeds + 1):
        (onsets, durations), times, noise, (own, one, task_alone) = designs_of(task, volumes, model, physiology, seed)
        plain.append(efficiency(one, np.array([1.0])) / efficiency(own, np.array([1.0])))
        for peak_s, results in found.items():
            truth = response(times, onsets, durations, peak_s)
            (effect, variance), (other, its), (third, thirds) = (
                fitted(design, truth, noise) for design in (own, one, task_alone)
            )
            t2 = effect**2 / variance
            results.append((effect, other, other**2 / its / t2, third**2 / thirds / t2))
    lines = []
    for peak_s, results in found.items():
        own, one, ratio, alone = (np.concatenate(values) for values in zip(*results, strict=True))
        lines.append(
            f"| {task} {volumes} | {'yes' if physiology else 'no'} | {peak_s:g} | {own.min():.2f}-{own.max():.2f} "
            f"| {one.min():.2f}-{one.max():.2f} | {ratio.mean():.3f} ({ratio.min():.2f}-{ratio.max():.2f}) | {alone.mean():.3f} "
            f"| {np.mean(plain):.3f} |"
        )
    return lines


def main() -> None:
    """Print the table; `--output` writes it too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--hrf", default="spm", choices=HRF_MODELS, help="response model of both designs (default: spm)")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    lines = [
        "| run, volumes | pulse, breathing | true peak, s | effect, own times | effect, one | t², one / own | task alone | X'X |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, volumes in CASES:
        for physiology in (False, True):
            lines += compared(task, volumes, chosen.hrf, physiology, chosen.seeds)
    text = "\n".join(lines) + "\n"
    print(text)
    if chosen.output is not None:
        chosen.output.write_text(text)


if __name__ == "__main__":
    main()
