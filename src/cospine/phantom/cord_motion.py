"""How the cord moves in its canal: with breathing, the pulse, swallows, and the shoulders during a task.

Displacement is zero at and above the foramen magnum, so that cord motion joins head motion without a step.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.phantom.draw import draw_within
from cospine.phantom.landmarks import Landmarks, smoothstep
from cospine.phantom.motion_settings import MotionSettings
from cospine.phantom.physiology import Physiology, transit_delay_s

CORD_BREATHING_AP_MM = (0.05, 0.3)
CORD_Z_MM = (0.05, 0.15)
CORD_PULSE_MM = (0.02, 0.06)
SWALLOWS = (2, 6)
SWALLOW_MM = (0.4, 1.5)
SWALLOW_S = (1.0, 2.0)


def cord_rms_mm(cord_mech: NDArray[np.float64], slice_z_mm: NDArray[np.float64], landmarks: Landmarks) -> float:
    """Root-mean-square in-plane displacement, foramen magnum to T1, each slice's median removed."""
    depth = landmarks.depth(slice_z_mm)
    shift = cord_mech[:, (depth > 0) & (depth < 1), :2]
    shift = shift - np.median(shift, axis=0)
    return float(np.sqrt((shift**2).sum(axis=-1).mean()))


@dataclass(frozen=True)
class Swallow:
    """One swallow; ``direction`` is a unit vector (RAS), ``centre_offset_mm`` its height above mid-C4."""

    time_s: float
    duration_s: float
    size_mm: float
    direction: NDArray[np.float64]
    centre_offset_mm: float


def draw_swallows(rng: np.random.Generator, times: NDArray[np.float64], settings: MotionSettings) -> list[Swallow]:
    """Draw the swallows of a run; none when they are switched off."""
    if not settings.swallows:
        return []
    count = round(draw_within(rng, SWALLOWS, settings.severity))
    if settings.largest_swallows:
        count = SWALLOWS[1]
    # One in each equal share of the run, so that two never merge into a larger one.
    share = float(times.max()) / count
    swallows = []
    for number in range(count):
        direction = np.array([rng.normal(0.0, 0.15), 1.0, rng.normal(0.15, 0.1)])
        size = SWALLOW_MM[1] if settings.largest_swallows else draw_within(rng, SWALLOW_MM, settings.severity)
        swallows.append(
            Swallow(
                time_s=(number + float(rng.uniform(0.15, 0.85))) * share,
                duration_s=float(rng.uniform(*SWALLOW_S)),
                size_mm=size,
                direction=direction / np.linalg.norm(direction),
                centre_offset_mm=float(rng.normal(0.0, 4.0)),
            )
        )
    return swallows


def cord_displacement(
    seed: int,
    times: NDArray[np.float64],
    z: NDArray[np.float64],
    landmarks: Landmarks,
    physiology: Physiology,
    settings: MotionSettings,
    swallows: list[Swallow],
) -> NDArray[np.float64]:
    """Displacement of the cord at every slice's time and height, (volumes, slices, 3), RAS mm, unscaled."""
    rng = np.random.default_rng([seed, 0xC08D, 2])
    depth = landmarks.depth(z)
    entry = smoothstep((landmarks.foramen_magnum_z - z) / 25.0)
    growth = smoothstep(depth / 1.1) * entry
    shift = np.zeros((*times.shape, 3))

    ap = draw_within(rng, CORD_BREATHING_AP_MM, settings.severity)
    side = rng.choice([-1.0, 1.0])
    along, breathing_share = draw_within(rng, CORD_Z_MM, settings.severity), rng.uniform(0.35, 0.6)
    if settings.cord_breathing:
        # The lower neck follows the chest at once, the upper a little later.
        chest = physiology.breathing(times - 0.3 * (1.0 - np.clip(depth, 0.0, 1.0)))
        late = physiology.breathing(times - 0.4 - 0.3 * (1.0 - np.clip(depth, 0.0, 1.0)))
        shift[..., 1] += ap * growth * chest
        shift[..., 0] += side * ap / 3.0 * growth * late
        shift[..., 2] -= along * breathing_share * entry * chest

    pulse_ap = draw_within(rng, CORD_PULSE_MM, settings.severity)
    if settings.cord_pulse:
        wave = physiology.pulse(times, transit_delay_s(z, landmarks, seed))
        shift[..., 1] += pulse_ap * entry * wave
        shift[..., 0] += 0.4 * pulse_ap * side * entry * physiology.pulse(times, transit_delay_s(z, landmarks, seed) + 0.1)
        # Systole pushes the cord down the canal.
        shift[..., 2] -= along * (1.0 - breathing_share) * entry * wave

    for swallow in swallows:
        centre = landmarks.vertebra_z["C4"] + swallow.centre_offset_mm
        reach = np.exp(-0.5 * ((z - centre) / 16.0) ** 2) * entry
        u = np.clip((times - swallow.time_s) / swallow.duration_s + 0.5, 0.0, 1.0)
        course = 0.5 - 0.5 * np.cos(2.0 * np.pi * u)
        shift += (swallow.size_mm * course * reach)[..., None] * swallow.direction

    if settings.task_locked and physiology.onsets_s.size:
        shift += _reaction(rng, times, growth, physiology)
    return shift


def _reaction(
    rng: np.random.Generator, times: NDArray[np.float64], growth: NDArray[np.float64], physiology: Physiology
) -> NDArray[np.float64]:
    """The shoulder pulls the lower cord during a grasp, with its 1 Hz rhythm; heat makes a small wince."""
    shift = np.zeros((*times.shape, 3))
    side = {"motorL": -1.0, "motorR": 1.0}.get(physiology.task or "", 0.0)
    pull = np.array([0.10 * side, 0.06, 0.02]) if side else np.array([0.0, 0.05, 0.02])
    rhythm = np.array([0.05 * side, 0.03, 0.0])
    for onset, duration in zip(physiology.onsets_s, physiology.durations_s, strict=True):
        since = times - onset
        course = (smoothstep(since / 0.6) - smoothstep((since - duration) / 0.8)) * growth
        beat = 0.5 - 0.5 * np.cos(2.0 * np.pi * since)
        shift += rng.uniform(0.6, 1.2) * (course[..., None] * pull + (course * beat)[..., None] * rhythm)
    return shift
