"""What pulse oximeter, breathing belt and electrocardiogram make of the body, and what disturbs them.

Signals are in counts of a 12-bit converter; the caller rounds and clips them. What every sensor has (wander, coloured noise, the
odd small movement) belongs to its own function; what a bad day adds (a gain too high, larger movements, baseline jumps, a sensor
that comes off) is the same for all and is put on by :func:`disturb`, from a random stream of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.phantom.draw import smooth_noise
from cospine.phantom.physiology import Physiology

RATE_HZ = 400
TOP = 4095

# The finger's systolic maximum comes this much after the R wave (pre-ejection, transit, rise).
PULSE_TRANSIT_S = 0.35
_PPG_BASE, _BELT_BASE, _ECG_BASE = 1900.0, 1800.0, 2048.0
# How long a sensor stays off, s.
_OFF_S = {"cardiac": (1.0, 4.0), "respiratory": (3.0, 10.0)}
# Time constant with which the unit's high-pass takes a baseline jump back, s; later for the belt, whose signal is slow.
_SETTLES_S = {"cardiac": 2.5, "respiratory": 8.0}
_BURST_S = (1.5, 5.0)
# Movements change over these times, s, and are this much of the signal's own range.
_BURST_SCALES_S = {"cardiac": (0.15, 0.5), "respiratory": (0.4, 1.2)}
_BURST_SIZE = (0.5, 1.3)
_JUMP_SIZE = (0.4, 1.2)
# Where a gain that is too high for the top leaves the bottom of the signal, counts.
_LOW = 300.0


@dataclass(frozen=True)
class Sensors:
    """How good the sensors are.

    Parameters
    ----------
    noise : float
        Factor on sensor noise, wander and small finger movements; 0 leaves the converter's rounding alone.
    clipped : float
        Share of samples that saturate at the top of the converter because its gain is too high; 0 for a fitting gain.
    bursts_per_min : float
        Movements of finger or belt, 1.5-5 s long, about as large as the signal.
    jumps_per_min : float
        Baseline jumps, about as large as the signal.
    dropouts_per_min : float
        Times at which the sensor is off: 1-4 s of the pulse, 3-10 s of breathing, flat or at an end of the converter.
    """

    noise: float = 1.0
    clipped: float = 0.0
    bursts_per_min: float = 0.0
    jumps_per_min: float = 0.0
    dropouts_per_min: float = 0.0


CLEAN = Sensors(noise=0.0)
TYPICAL = Sensors()
NOISY = Sensors(clipped=0.1, bursts_per_min=0.7, jumps_per_min=0.5, dropouts_per_min=0.35)
SENSORS = {"clean": CLEAN, "typical": TYPICAL, "noisy": NOISY}


# --- sensors ------------------------------------------------------------------------------------------------


def photoplethysmogram(
    physiology: Physiology, t: NDArray[np.float64], rng: np.random.Generator, noise: float = 1.0
) -> NDArray[np.float64]:
    """Pulse at the finger (n,), counts; systole up."""
    gain = rng.uniform(700.0, 1000.0)
    wander = 120.0 * physiology.breathing(t) + noise * 90.0 * smooth_noise(rng, t, 6.0)
    # The unit smooths its signal: noise is coloured, not white from sample to sample.
    sensor = noise * (12.0 * smooth_noise(rng, t, 0.03) + 3.0 * rng.standard_normal(t.size))
    for _ in range(rng.poisson(noise * (t[-1] - t[0]) / 150.0)):
        middle, length = rng.uniform(t[0], t[-1]), rng.uniform(0.5, 1.5)
        near = np.abs(t - middle) < 3.0 * length
        sensor[near] += (
            rng.uniform(200.0, 600.0) * np.exp(-0.5 * ((t[near] - middle) / length) ** 2) * smooth_noise(rng, t[near], 0.25)
        )
    return _PPG_BASE + gain * physiology.pulse(t) + wander + sensor


def belt(physiology: Physiology, t: NDArray[np.float64], rng: np.random.Generator, noise: float = 1.0) -> NDArray[np.float64]:
    """Pressure of the breathing belt (n,), counts; inspiration up."""
    gain = rng.uniform(650.0, 900.0)
    sensor = noise * (4.0 * smooth_noise(rng, t, 0.1) + 2.0 * rng.standard_normal(t.size))
    cushion = noise * 80.0 * smooth_noise(rng, t, 60.0)
    # The heart beats on the chest too.
    return _BELT_BASE + gain * physiology.breathing(t) + 12.0 * physiology.pulse(t, -0.2) + cushion + sensor


def electrocardiogram(
    physiology: Physiology,
    t: NDArray[np.float64],
    rng: np.random.Generator,
    noise: float = 1.0,
    *,
    inverted: bool = False,
    excitations_s: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Electrocardiogram of one lead inside the magnet.

    Parameters
    ----------
    physiology : Physiology
    t : ndarray, shape (n,)
        Times of the samples, s from the first volume.
    rng : Generator
    noise : float
        Factor on muscle noise and wander.
    inverted : bool
        Electrodes swapped: R points down.
    excitations_s : ndarray, optional
        Times at which slices are excited; each leaves a short burst of the gradients, as large as the R wave.

    Returns
    -------
    volts : ndarray, shape (n,)
        Counts.
    r_times_s : ndarray
        Truth: R waves between the first and last sample; each precedes the finger's systolic maximum by `PULSE_TRANSIT_S`.
    """
    beats = physiology.beat_times_s - PULSE_TRANSIT_S
    periods = np.gradient(physiology.beat_times_s)
    # The T wave stands out in the magnet: blood that flows across the field adds to it (Togawa et al., 1967).
    waves = (
        # delay (s, as a share of the root of the period where it stretches with it), width (s), height
        (-0.17, 0.025, 0.12, False), (-0.026, 0.009, -0.10, False), (0.0, 0.010, 1.0, False), (0.028, 0.010, -0.2, False),
        (0.29, 0.045, rng.uniform(0.25, 0.5), True),
    )  # fmt: skip
    gain = rng.uniform(500.0, 900.0)
    axis = 1.0 + 0.08 * physiology.breathing(t)
    shape = np.zeros(t.size)
    nearest = np.searchsorted(beats, t)
    for offset in (-2, -1, 0, 1):
        beat = np.clip(nearest + offset, 0, beats.size - 1)
        inside = (nearest + offset >= 0) & (nearest + offset < beats.size)
        for delay, width, height, stretches in waves:
            late = delay * np.sqrt(periods[beat]) if stretches else delay
            shape += np.where(inside, height * np.exp(-0.5 * ((t - beats[beat] - late) / width) ** 2), 0.0)
    sensor = noise * (15.0 * smooth_noise(rng, t, 0.01) + 60.0 * smooth_noise(rng, t, 3.0))
    if excitations_s is not None:
        sensor += gain * _gradient_bursts(rng, t, excitations_s)
    return _ECG_BASE + (-1.0 if inverted else 1.0) * gain * axis * shape + sensor, beats[(beats >= t[0]) & (beats <= t[-1])]


def _gradient_bursts(rng: np.random.Generator, t: NDArray[np.float64], excitations_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Some 25 ms of ringing after each excitation, always the same up to its size, of the order of 1."""
    rate_hz, decay_s, phase = rng.uniform(40.0, 90.0), rng.uniform(0.006, 0.010), rng.uniform(0.0, 2.0 * np.pi)
    latest = np.searchsorted(excitations_s, t, side="right") - 1
    since = np.where(latest >= 0, t - excitations_s[np.maximum(latest, 0)], np.inf)
    near = since < 0.06
    out = np.zeros(t.size)
    out[near] = np.exp(-since[near] / decay_s) * np.sin(2.0 * np.pi * rate_hz * since[near] + phase)
    return out * rng.uniform(0.6, 1.2)


# --- a bad day ----------------------------------------------------------------------------------------------


def disturb(
    volts: NDArray[np.float64], t: NDArray[np.float64], kind: str, sensors: Sensors, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Put gain, movements, baseline jumps and dropouts on a signal.

    Parameters
    ----------
    volts, t : ndarray, shape (n,)
        Counts, before the converter, and their times (s).
    kind : {"cardiac", "respiratory"}
    sensors : Sensors
    rng : Generator

    Returns
    -------
    volts : ndarray, shape (n,)
        Disturbed; not yet clipped.
    off : ndarray of bool, shape (n,)
        Samples during which the sensor was off.
    """
    minutes = (t[-1] - t[0]) / 60.0
    if sensors.clipped > 0:
        low, high = np.quantile(volts, (0.02, 1.0 - sensors.clipped))
        volts = _LOW + (volts - low) * (TOP - _LOW) / (high - low)
    span = float(np.subtract(*np.quantile(volts, (0.95, 0.05))))
    extra = np.zeros(t.size)
    for _ in range(rng.poisson(sensors.bursts_per_min * minutes)):
        extra += span * _movement(rng, t, _BURST_SCALES_S[kind])
    for _ in range(rng.poisson(sensors.jumps_per_min * minutes)):
        since = t - rng.uniform(t[0], t[-1])
        size = span * rng.uniform(*_JUMP_SIZE) * rng.choice([-1.0, 1.0])
        extra += np.where(since >= 0, size * np.exp(-np.maximum(since, 0.0) / _SETTLES_S[kind]), 0.0)
    volts = volts + extra
    off = np.zeros(t.size, dtype=bool)
    for _ in range(rng.poisson(sensors.dropouts_per_min * minutes)):
        start = rng.uniform(t[0], t[-1])
        gone = (t >= start) & (t < start + rng.uniform(*_OFF_S[kind]))
        held = float(np.clip(volts[np.argmax(gone)], 0, TOP))
        volts = np.where(gone, rng.choice([held, 0.0, float(TOP)]), volts)
        off |= gone
    return volts, off


def _movement(rng: np.random.Generator, t: NDArray[np.float64], scales_s: tuple[float, float]) -> NDArray[np.float64]:
    """One movement (n,): begins and ends softly; its range is drawn from `_BURST_SIZE`."""
    length, start = rng.uniform(*_BURST_S), rng.uniform(t[0], t[-1])
    inside = (t >= start) & (t < start + length)
    u = (t[inside] - start) / length
    course = np.clip(np.minimum(u, 1.0 - u) / 0.15, 0.0, 1.0)
    fast, slow = (smooth_noise(rng, np.append(t[inside], start), scale)[:-1] for scale in scales_s)
    # two standard deviations to either side make the range
    size = rng.uniform(*_BURST_SIZE) / 4.0
    out = np.zeros(t.size)
    out[inside] = size * course * (fast + slow)
    return out
