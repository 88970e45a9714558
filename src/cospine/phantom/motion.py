"""How head and cord move, at the acquisition time of every slice of every volume.

The head is rigid and moves by drift, restlessness, jumps and breathing. The neck bends: tissue between the
foramen magnum and T1 follows a falling share of the head's pose (:func:`~cospine.phantom.landmarks.blend`).
Inside its canal the cord moves on its own: with breathing (more further down), with the pulse, and with
swallows around C3-C5; this displacement is zero at the foramen magnum, so that cord motion joins head
motion without a step.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cospine.phantom.cord_motion import cord_displacement, cord_rms_mm, draw_swallows
from cospine.phantom.head_motion import AXIS_SHARE, draw_jumps, framewise_displacement, head_pose
from cospine.phantom.landmarks import Landmarks, blend
from cospine.phantom.motion_settings import STILL, MotionSettings
from cospine.phantom.physiology import Physiology
from cospine.phantom.pose import angles_of

__all__ = [
    "STILL",
    "MotionSettings",
    "MotionTruth",
    "cord_rms_mm",
    "framewise_displacement",
    "nod",
    "session_pose",
    "simulate_motion",
    "step_of_size",
]


@dataclass(frozen=True)
class MotionTruth:
    """Where tissue is at the moment each slice is taken.

    Attributes
    ----------
    head : ndarray, shape (volumes, slices, 6)
        Push-forward pose from the resting place, RAS mm and rad: translation x, y, z, rotation x, y, z with
        R = Rz Ry Rx about the head's pivot: p' = R (p - c) + c + t.
    cord_mech : ndarray, shape (volumes, slices, 3)
        Displacement of cord tissue at that slice's height in its canal, RAS mm, over what the bent neck does.
    jump_slice : ndarray of bool, shape (volumes, slices)
        Slices taken while the head jumps.
    jump_volume : ndarray of bool, shape (volumes,)
        Volumes with a jump inside.
    swallow_times_s : ndarray
        Middle of each swallow.
    """

    head: NDArray[np.float64]
    cord_mech: NDArray[np.float64]
    jump_slice: NDArray[np.bool_]
    jump_volume: NDArray[np.bool_]
    swallow_times_s: NDArray[np.float64]
    landmarks: Landmarks = field(repr=False)
    articulated: bool = True

    def blend(self, z_mm: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Share of the head's pose that tissue at a height follows."""
        if not self.articulated:
            return np.ones(np.shape(z_mm))
        return blend(z_mm, self.landmarks)


def simulate_motion(
    seed: int,
    times_s: NDArray[np.float64],
    slice_z_mm: NDArray[np.float64],
    landmarks: Landmarks,
    physiology: Physiology,
    settings: MotionSettings | None = None,
) -> MotionTruth:
    """Simulate head and cord motion of one run.

    Parameters
    ----------
    seed : int
    times_s : ndarray, shape (volumes, slices)
        Acquisition times, s from the first volume.
    slice_z_mm : ndarray, shape (slices,)
        Height at which each slice meets the cord (any smooth continuation above it).
    landmarks : Landmarks
    physiology : Physiology
    settings : MotionSettings, optional
    """
    settings = settings or MotionSettings()
    times = np.asarray(times_s, dtype=float)
    jumps = draw_jumps(np.random.default_rng([seed, 0x4EAD, 1]), times, settings)
    head = head_pose(seed, times, physiology, settings, jumps) * settings.head_scale
    swallows = draw_swallows(np.random.default_rng([seed, 0xC08D, 1]), times, settings)
    cord = cord_displacement(seed, times, np.asarray(slice_z_mm, dtype=float), landmarks, physiology, settings, swallows)
    cord *= settings.cord_scale
    if settings.cord_rms_mm is not None:
        present = cord_rms_mm(cord, slice_z_mm, landmarks)
        cord[..., :2] *= 0.0 if settings.cord_rms_mm == 0 else settings.cord_rms_mm / present
    jump_slice = np.zeros(times.shape, dtype=bool)
    jump_volume = np.zeros(times.shape[0], dtype=bool)
    if settings.head_scale != 0:
        starts, ends = times.min(axis=1), np.append(times.min(axis=1)[1:], times.max() + 0.1)
        for jump in jumps:
            first, last = jump.time_s - jump.duration_s / 2, jump.time_s + jump.duration_s / 2
            jump_slice |= (times >= first) & (times <= last)
            jump_volume |= (starts < last) & (ends > first)
    return MotionTruth(
        head,
        cord,
        jump_slice,
        jump_volume,
        np.array([s.time_s for s in swallows]),
        landmarks,
        settings.articulated,
    )


def session_pose(seed: int, image: str, severity: float = 0.5) -> NDArray[np.float64]:
    """How the head lies at the start of another image of the session, relative to the T1w: (6,), mm and rad.

    People settle: up to 1 mm and 1 degree between T1w and the runs; the two images of a pair, and a pair
    and its run, lie closer because they share a series of seeds that start with the same name (text before
    ``/``).
    """
    group, _, member = image.partition("/")
    pose = np.zeros(6)
    for name, size in ((group, 0.8), (image, 0.15 if member else 0.0)):
        rng = np.random.default_rng([seed, 0x905E, *name.encode()])
        step = severity * 2.0 * size * np.clip(rng.normal(0.0, 0.5, 6), -1.2, 1.2) * AXIS_SHARE
        pose += np.concatenate([step[:3], np.deg2rad(step[3:])])
    return pose


def step_of_size(rng: np.random.Generator, shift_mm: float, angle_deg: float) -> NDArray[np.float64]:
    """Change of pose (6,), mm and rad, with a given length and angle; both directions are drawn evenly from the sphere."""
    direction, axis = rng.standard_normal((2, 3))
    turn = Rotation.from_rotvec(np.deg2rad(angle_deg) * axis / np.linalg.norm(axis))
    return np.concatenate([shift_mm * direction / np.linalg.norm(direction), angles_of(turn.as_matrix())])


def nod(angle_deg: float) -> NDArray[np.float64]:
    """Change of pose (6,): the chin goes down by an angle, a negative turn about x (right)."""
    return np.array([0.0, 0.0, 0.0, -np.deg2rad(angle_deg), 0.0, 0.0])
