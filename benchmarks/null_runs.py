"""Runs without activation whose noise is no AR(1), for the null of the first level; nothing of CoSpine makes them.

A voxel is the sum of white noise, slow 1/f noise (of its own and of the region), and the waves of breathing and pulse, which
the volumes, far too seldom for them, fold to slow frequencies. Waves are those of cycles that differ in length and height, with
harmonics. The model's physiological columns are made from the times of peaks, missed by a little, as a recording tells them, or
are those of another person, so that the waves stay in the noise whole.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

TR_S = 2.68
SLICE_S = (0.0, 1.31, 0.62)
SHAPE = (10, 12, len(SLICE_S))
REGIONS = {"brain": 1, "csf": 2, "cord": 3}
# shares of the variance: white, slow of its own, slow in common, breathing, pulse
SHARES = {"brain": (0.60, 0.18, 0.10, 0.06, 0.06), "csf": (0.35, 0.10, 0.10, 0.15, 0.30), "cord": (0.45, 0.12, 0.08, 0.25, 0.10)}
_FINE_S = 0.05


@dataclass(frozen=True, eq=False)
class NullRun:
    """`series` (x, y, z, t) of noise around 1000, `designs` (slices, t, p), column 0 the task; `regions` (x, y, z)."""

    series: NDArray[np.float32]
    designs: NDArray[np.float64]
    regions: NDArray[np.int32]


def regions() -> NDArray[np.int32]:
    """Brain in most voxels, a strip of CSF, a small cord."""
    labels = np.full(SHAPE, 1, np.int32)
    labels[:, 6:9] = 2
    labels[:, 9:] = 3
    return labels


def null_run(rng: np.random.Generator, volumes: int, *, task: str, recorded: bool) -> NullRun:
    """One run.

    Parameters
    ----------
    rng : Generator
    volumes : int
    task : {"pain", "motor"}
        Single events at random times, or blocks of 12 to 18 s with a random phase.
    recorded : bool
        Whether the physiological columns are of this run's waves, or of another's.
    """
    seconds = volumes * TR_S
    times = np.arange(volumes)[:, None] * TR_S + np.array(SLICE_S)
    breaths, beats = _cycles(rng, seconds, rng.uniform(3.0, 5.0), 0.12), _cycles(rng, seconds, rng.uniform(0.8, 1.05), 0.06)
    waves = [_wave(rng, c, times, 0.3) for c in (breaths, beats)]
    if not recorded:
        breaths, beats = _cycles(rng, seconds, rng.uniform(3.0, 5.0), 0.12), _cycles(rng, seconds, rng.uniform(0.8, 1.05), 0.06)
    phases = [_phase(c + rng.normal(0, j, c.size), times) for c, j in ((breaths, 0.15), (beats, 0.02))]
    labels = regions()
    series = np.empty((*SHAPE, volumes), np.float32, order="F")
    slow_common = _slow(rng, volumes, 4)
    for name, label in REGIONS.items():
        inside = np.argwhere(labels == label)
        n = len(inside)
        # voxels differ in how much of each they have
        share = np.array(SHARES[name]) * rng.gamma(4.0, 0.25, (n, 5))
        sd = np.sqrt(share / share.sum(axis=1, keepdims=True))
        mix = rng.standard_normal((4, n))
        mix /= np.linalg.norm(mix, axis=0)
        parts = [rng.standard_normal((volumes, n)), _slow(rng, volumes, n), slow_common @ mix]
        for wave in waves:
            angle = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5, n)
            sine, cosine = (w[:, inside[:, 2]] for w in wave)
            parts.append(sine * np.sin(angle) + cosine * np.cos(angle))
        noise = sum(part * sd[:, i] for i, part in enumerate(parts))
        series[tuple(inside.T)] = 1000 + 15 * noise.T
    return NullRun(series, _designs(rng, volumes, times, phases, task), labels)


def _slow(rng: np.random.Generator, volumes: int, n: int) -> NDArray[np.float64]:
    """1/f noise (t, n) of unit variance: a stretch of a series eight times as long, so that the run's own length is nothing special."""
    long = 8 * volumes
    frequency = np.fft.rfftfreq(long)[1:]
    spectrum = (rng.standard_normal((2, frequency.size, n)) * frequency[:, None] ** -0.5).astype(np.float32)
    full = np.fft.irfft(np.concatenate([np.zeros((1, n)), spectrum[0] + 1j * spectrum[1]]), long, axis=0)
    return full[:volumes] / full.std(axis=0)


def _cycles(rng: np.random.Generator, seconds: float, mean_s: float, spread: float) -> NDArray[np.float64]:
    """Times of the starts of cycles, whose length wanders and varies."""
    count = int(1.5 * seconds / mean_s) + 40
    wander = np.zeros(count)
    for i in range(1, count):
        wander[i] = 0.95 * wander[i - 1] + 0.3 * rng.standard_normal()
    lengths = mean_s * np.exp(spread * (0.7 * wander + 0.7 * rng.standard_normal(count)))
    starts = np.cumsum(lengths) - 8 * mean_s
    return starts[starts < seconds + 4 * mean_s]


def _phase(starts: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    starts = np.sort(starts)
    return 2 * np.pi * np.interp(times, starts, np.arange(starts.size))


def _wave(
    rng: np.random.Generator, starts: NDArray[np.float64], times: NDArray[np.float64], spread: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wave with harmonics and a height of each cycle, and the same a quarter later; each (t, slices) of unit variance."""
    phase = _phase(starts, times)
    height = np.exp(spread * rng.standard_normal(starts.size + 1))[np.clip((phase / (2 * np.pi)).astype(int), 0, starts.size)]
    shape = rng.normal(0, 1, 4) / np.array([1, 2, 3, 4])
    shape[0] = 1
    made = []
    for shift in (0.0, np.pi / 2):
        wave = height * sum(a * np.sin((m + 1) * (phase + shift)) for m, a in enumerate(shape))
        made.append((wave - wave.mean()) / wave.std())
    return made[0], made[1]


def _designs(
    rng: np.random.Generator, volumes: int, times: NDArray[np.float64], phases: list[NDArray[np.float64]], task: str
) -> NDArray[np.float64]:
    """Task, cosines above 128 s, 6 of motion, 2 of the cord, 32 harmonics and interactions, one of CSF (slices, t, 46 or 51)."""
    seconds = volumes * TR_S
    drift = np.cos(np.pi / volumes * (np.arange(volumes)[:, None] + 0.5) * np.arange(1, int(2 * seconds / 128) + 1))
    breath, beat = phases
    harmonics = [f(m * p) for p in phases for m in (1, 2, 3, 4) for f in (np.sin, np.cos)]
    harmonics += [f(m * beat + s * n * breath) for m in (1, 2) for n in (1, 2) for s in (1, -1) for f in (np.sin, np.cos)]
    motion = _slow(rng, volumes, 8)[:, None] + 0.5 * np.sin(breath)[..., None] * rng.standard_normal(8)
    csf = sum(harmonics[i] * rng.standard_normal() for i in (0, 1, 8, 9)) + rng.standard_normal(times.shape)
    slices = times.shape[1]
    columns = [
        _task(rng, times, seconds, task)[..., None],
        np.broadcast_to(drift[:, None], (volumes, slices, drift.shape[1])),
        motion,
        np.stack(harmonics, axis=-1),
        csf[..., None],
    ]
    return np.ascontiguousarray(np.concatenate(columns, axis=2).transpose(1, 0, 2))


def _task(rng: np.random.Generator, times: NDArray[np.float64], seconds: float, task: str) -> NDArray[np.float64]:
    """Response (t, slices) to random events or blocks."""
    fine = np.arange(0, seconds + 40, _FINE_S)
    course = np.zeros(fine.size)
    at, length = rng.uniform(0, 20), rng.uniform(12, 18)
    while at < seconds:
        course[(fine >= at) & (fine < at + (length if task == "motor" else 5.0))] = 1
        at += 2 * length if task == "motor" else rng.uniform(12, 30)
    t = np.arange(0, 32, _FINE_S)
    response = gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6
    return np.interp(times, fine, np.convolve(course, response)[: fine.size] * _FINE_S)
