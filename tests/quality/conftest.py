"""A small head and neck in arrays: tilted, flipped, with an ellipsoid brain above a thin cord."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

TR_S = 2.68


@dataclass(frozen=True)
class Scene:
    """One series and all that figures need."""

    data: NDArray[np.float32]
    corrected: NDArray[np.float32]
    affine: NDArray[np.float64]
    brain: NDArray[np.bool_]
    cord: NDArray[np.bool_]
    head_motion: NDArray[np.float64]
    cord_shift_mm: NDArray[np.float64]
    slices: NDArray[np.int64]
    reference: NDArray[np.float32]


def make_scene(volumes: int = 12, seed: int = 0) -> Scene:
    rng = np.random.default_rng(seed)
    shape = (24, 28, 16)
    x, y, z = (axis.astype(float) for axis in np.indices(shape))
    brain = ((x - 11.5) / 9) ** 2 + ((y - 13.5) / 11) ** 2 + ((z - 12) / 3.6) ** 2 < 1
    cord = (((x - 11.5) / 2.2) ** 2 + ((y - 12.5 + 0.2 * z) / 2) ** 2 < 1) & (z < 9) & (z > 0)
    reference = (40 + 600 * brain + 300 * cord + rng.normal(0, 10, shape)).astype(np.float32)
    noise = rng.standard_normal((*shape, volumes))
    data = np.asfortranarray(reference[..., None] + 12 * noise, dtype=np.float32)
    corrected = np.asfortranarray(reference[..., None] + 9 * noise, dtype=np.float32)
    tilt = np.deg2rad(8.0)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-3.0, 3.0, 8.0])
    affine[:3, 3] = [36.0, -50.0, -120.0]
    slices = np.flatnonzero(cord.any(axis=(0, 1)))
    return Scene(
        data=data,
        corrected=corrected,
        affine=affine,
        brain=brain,
        cord=cord,
        head_motion=np.cumsum(rng.normal(0, [0.05] * 3 + [0.001] * 3, (volumes, 6)), axis=0),
        cord_shift_mm=rng.normal(0, 0.2, (volumes, len(slices), 2)),
        slices=slices,
        reference=reference,
    )


@pytest.fixture(scope="session")
def scene() -> Scene:
    return make_scene()


@pytest.fixture(scope="session")
def scene_of() -> Callable[[int], Scene]:
    """Scenes of a chosen number of volumes."""
    return make_scene
