"""How the head moves: drift, restlessness, jumps, breathing and small reactions to the task."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.phantom.draw import draw_within, smooth_noise
from cospine.phantom.landmarks import smoothstep
from cospine.phantom.motion_settings import MotionSettings
from cospine.phantom.physiology import Physiology

HEAD_DRIFT_MM_DEG = (0.2, 1.2)
HEAD_BREATHING_MM = (0.05, 0.2)
HEAD_BREATHING_PITCH_DEG = (0.05, 0.15)
JUMPS = (0, 3)
JUMP_MM_DEG = (0.3, 1.0)
FRAMEWISE_DISPLACEMENT_MM = (0.1, 0.35)

# Translation along and rotation about x (right), y (front), z (up): a head on a cushion slides along the
# table and nods; it hardly moves sideways.
AXIS_SHARE = np.array([0.35, 0.6, 1.0, 1.0, 0.4, 0.5])
_POWER_RADIUS_MM = 50.0


def framewise_displacement(head: NDArray[np.float64]) -> NDArray[np.float64]:
    """Framewise displacement (Power et al., NeuroImage 2012) of poses averaged over each volume's slices.

    Parameters
    ----------
    head : ndarray, shape (volumes, slices, 6)

    Returns
    -------
    ndarray, shape (volumes - 1,)
        mm; rotations as arcs at 50 mm.
    """
    step = np.abs(np.diff(head.mean(axis=1), axis=0))
    return step[:, :3].sum(axis=1) + _POWER_RADIUS_MM * step[:, 3:].sum(axis=1)


@dataclass(frozen=True)
class Jump:
    """A sudden change of pose: its middle, how long it takes, and the step (6,), mm and rad."""

    time_s: float
    duration_s: float
    step: NDArray[np.float64]


def draw_jumps(rng: np.random.Generator, times: NDArray[np.float64], settings: MotionSettings) -> list[Jump]:
    """Draw the jumps of a run; none when they are switched off."""
    if not settings.head_jumps:
        return []
    low, high = JUMPS
    count = int(np.clip(round(low + (high - low) * settings.severity + rng.uniform(-1.0, 1.0)), low, high))
    # In a short run three would be more than the range of framewise displacement allows.
    count = min(count, max(1, int(times.max() / 90.0)))
    jumps: list[Jump] = []
    for number in range(count):
        direction = rng.standard_normal((2, 3)) * AXIS_SHARE.reshape(2, 3)
        if number % 2:
            # People return to a comfortable place: every second jump turns back.
            before = jumps[-1].step.reshape(2, 3)
            direction -= 2.0 * before / np.linalg.norm(before, axis=1, keepdims=True)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        shift, angle = (draw_within(rng, JUMP_MM_DEG, settings.severity) for _ in range(2))
        step = np.concatenate([shift * direction[0], np.deg2rad(angle) * direction[1]])
        # One in each equal share of the run.
        time = (number + rng.uniform(0.15, 0.85)) / count * times.max()
        jumps.append(Jump(float(time), float(rng.uniform(0.4, 1.0)), step))
    return jumps


def head_pose(
    seed: int,
    times: NDArray[np.float64],
    physiology: Physiology,
    settings: MotionSettings,
    jumps: list[Jump],
) -> NDArray[np.float64]:
    """Pose of the head at every slice's time, shape (volumes, slices, 6), before any scale factor.

    Drift, breathing, jumps and reactions are drawn; restlessness makes up what is missing to the drawn mean
    framewise displacement. Drift and restlessness together stay within the range of drift.
    """
    steady = _head_breathing(np.random.default_rng([seed, 0x4EAD, 2]), times, physiology, settings)
    for jump in jumps:
        u = (times - jump.time_s) / jump.duration_s + 0.5
        steady += smoothstep(u)[..., None] * jump.step
    if settings.task_locked and physiology.onsets_s.size:
        steady += _startle(np.random.default_rng([seed, 0x4EAD, 3]), times, physiology)
    if not settings.head_drift:
        return steady
    rng = np.random.default_rng([seed, 0x4EAD, 4])
    drift = _drift(rng, times, settings.severity)
    restless = np.stack(
        [
            0.6 * smooth_noise(rng, times, 2.5) + 0.8 * smooth_noise(rng, times, 9.0) + smooth_noise(rng, times, 30.0)
            for _ in range(6)
        ],
        axis=-1,
    )
    restless *= AXIS_SHARE / np.array([1.0, 1.0, 1.0, *[_POWER_RADIUS_MM] * 3])
    target = draw_within(rng, FRAMEWISE_DISPLACEMENT_MM, settings.severity)
    restless = restless * _restlessness_for(steady + drift, restless, target)
    restless -= restless.reshape(-1, 6)[np.argmin(times)]
    while _extent_mm_deg(drift + restless) > HEAD_DRIFT_MM_DEG[1]:
        drift *= 0.9
        restless *= 0.98
    return steady + drift + restless


def _extent_mm_deg(pose: NDArray[np.float64]) -> float:
    """Largest translation along (mm) or rotation about (degrees) one axis."""
    return max(float(np.abs(pose[..., :3]).max()), float(np.rad2deg(np.abs(pose[..., 3:]).max())))


def _head_breathing(
    rng: np.random.Generator, times: NDArray[np.float64], physiology: Physiology, settings: MotionSettings
) -> NDArray[np.float64]:
    pose = np.zeros((*times.shape, 6))
    if not settings.head_breathing:
        return pose
    shift = draw_within(rng, HEAD_BREATHING_MM, settings.severity)
    pitch = np.deg2rad(draw_within(rng, HEAD_BREATHING_PITCH_DEG, settings.severity))
    # The chest pulls the head along the table and up from it; filling lungs tip it back.
    direction = np.array([0.1, rng.uniform(0.3, 0.6), rng.uniform(0.7, 1.0)])
    chest = physiology.breathing(times - 0.15)[..., None]
    pose[..., :3] = chest * shift * direction / np.linalg.norm(direction)
    pose[..., 3:] = chest * pitch * np.array([1.0, 0.15, 0.1])
    return pose


def _startle(rng: np.random.Generator, times: NDArray[np.float64], physiology: Physiology) -> NDArray[np.float64]:
    """A small pull of the head at each stimulus (heat: a wince; grasp: the shoulder), gone with it."""
    pose = np.zeros((*times.shape, 6))
    side = {"motorL": -1.0, "motorR": 1.0}.get(physiology.task or "", 0.0)
    direction = np.array([0.02 * side, 0.03, 0.04, *np.deg2rad([0.04, 0.03 * side, 0.02 * side])])
    for onset, duration in zip(physiology.onsets_s, physiology.durations_s, strict=True):
        since = times - onset
        course = smoothstep(since / 0.8) - smoothstep((since - duration) / 1.5)
        pose += course[..., None] * direction * rng.uniform(0.3, 1.2)
    return pose


def _drift(rng: np.random.Generator, times: NDArray[np.float64], severity: float) -> NDArray[np.float64]:
    span = float(times.max() - times.min())
    u = (times - times.min()) / span
    pose = np.empty((*times.shape, 6))
    shift, angle = (draw_within(rng, HEAD_DRIFT_MM_DEG, severity) for _ in range(2))
    for axis in range(6):
        settling = (1.0 - np.exp(-3.0 * u)) * rng.normal()
        course = settling + 0.7 * rng.normal() * u + 0.4 * smooth_noise(rng, times, max(span / 4.0, 30.0))
        course = course - course.ravel()[np.argmin(times)]
        pose[..., axis] = course / np.abs(course).max()
    pose[..., :3] *= shift
    pose[..., 3:] *= np.deg2rad(angle)
    return pose * AXIS_SHARE


def _restlessness_for(steady: NDArray[np.float64], restless: NDArray[np.float64], target_mm: float) -> float:
    """Factor on ``restless`` that brings mean framewise displacement to ``target_mm``; 0 if already more."""
    low, high = 0.0, 1.0
    while framewise_displacement(steady + high * restless).mean() < target_mm:
        high *= 2.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        too_much = framewise_displacement(steady + middle * restless).mean() > target_mm
        low, high = (low, middle) if too_much else (middle, high)
    return low
