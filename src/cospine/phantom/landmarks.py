"""Heights along the head and neck that motion and physiology are expressed in.

Everything that changes from the skull to the chest (how far the neck follows the head, how much breathing
moves the cord or the field) is a function of one height, scanner z in mm, measured against these landmarks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERTEBRAE = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2")


@dataclass(frozen=True)
class Landmarks:
    """Heights (scanner z, mm, up positive) of one person.

    Parameters
    ----------
    foramen_magnum_z : float
        Where the head ends.
    t1_z : float
        Where the trunk begins.
    vertebra_z : mapping of str to float
        Mid-height of the vertebrae, "C1" to at least "C7".
    """

    foramen_magnum_z: float
    t1_z: float
    vertebra_z: Mapping[str, float]

    def depth(self, z_mm: ArrayLike) -> NDArray[np.float64]:
        """Position down the neck: 0 at the foramen magnum, 1 at T1, linear and unbounded."""
        z = np.asarray(z_mm, dtype=float)
        return (self.foramen_magnum_z - z) / (self.foramen_magnum_z - self.t1_z)


def typical_landmarks() -> Landmarks:
    """Landmarks of the template neck (heights of PAM50, isocentre at its z = -57 mm)."""
    heights = {
        "C1": -22.0,
        "C2": -38.0,
        "C3": -54.0,
        "C4": -70.0,
        "C5": -85.0,
        "C6": -100.0,
        "C7": -116.0,
        "T1": -134.0,
        "T2": -154.0,
    }
    return Landmarks(foramen_magnum_z=-10.0, t1_z=heights["T1"], vertebra_z=heights)


def landmarks_of(
    vertebral_level: NDArray[np.uint8], affine: NDArray[np.floating], foramen_magnum_z: float, t1_z: float
) -> Landmarks:
    """Read the landmarks off a level image.

    Parameters
    ----------
    vertebral_level : ndarray, shape (z, y, x)
        C1 = 1 .. C7 = 7, T1 = 8, T2 = 9; 0 elsewhere.
    affine : ndarray, shape (4, 4)
        Voxel (i, j, k) to scanner RAS mm.
    foramen_magnum_z, t1_z : float
        mm.
    """
    heights = {}
    for number, name in enumerate(VERTEBRAE, start=1):
        k, j, i = np.nonzero(vertebral_level == number)
        if k.size:
            heights[name] = float(affine[2, :3] @ [i.mean(), j.mean(), k.mean()] + affine[2, 3])
    return Landmarks(foramen_magnum_z, t1_z, heights)


def smoothstep(u: ArrayLike) -> NDArray[np.float64]:
    """Cubic step: 0 below u = 0, 1 above u = 1, continuous first derivative."""
    v = np.clip(np.asarray(u, dtype=float), 0.0, 1.0)
    return v * v * (3.0 - 2.0 * v)


def blend(z_mm: ArrayLike, landmarks: Landmarks) -> NDArray[np.float64]:
    """Share of the head's pose that tissue follows: 1 down to the foramen magnum, smoothly to 0 at T1."""
    return 1.0 - smoothstep(landmarks.depth(z_mm))
