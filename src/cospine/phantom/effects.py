"""What the simulation includes: every effect by name, two presets, and one random stream for each.

An effect's numbers are drawn from a stream keyed by its name, so switching one off changes no other.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

from cospine.errors import CoSpineError


@dataclass(frozen=True)
class Effects:
    """Switches and scales.

    Parameters
    ----------
    motion
        Head and cord motion within and between images.
    articulation
        The neck bends: tissue follows the head's pose less and less toward the trunk. Off: the whole body is rigid.
    field
        All of B0: distortion by the static field, its change with breathing and its drift.
    breathing_field
        Change of B0 with breathing.
    rotation_field
        The susceptibility field turns with the head, the shim stays.
    dropout
        Signal lost to the gradient of the field through the slice.
    physio
        Cardiac and respiratory signal.
    inflow
        Pulsation of CSF, larger in slices that meet fresh spins.
    bold
        Activation.
    task_locked
        Breath-holds, pulse and shoulder motion that follow the task.
    nonlinearity
        Gradient non-linearity of the EPI and GRE (the T1w is corrected by the scanner).
    bias
        Receive bias.
    ghost
        N/2 ghost.
    fat
        Fat that the saturation left, shifted along the phase-encoding axis.
    leakage
        Simultaneous slices leak into each other.
    noise
        Rician noise.
    motion_scale, cord_scale, noise_scale : float
        Factors on the drawn amplitudes of head motion, the cord's own motion, and noise.
    discarded : int
        Volumes that the scanner threw away before the first stored one; with less than 2 the first volumes are brighter.
    largest_swallows : bool
        Swallows at the end of their range.
    worst_case_rates : bool
        Breathing and heart rates that alias onto the task.
    """

    motion: bool = True
    articulation: bool = True
    field: bool = True
    breathing_field: bool = True
    rotation_field: bool = True
    dropout: bool = True
    physio: bool = True
    inflow: bool = True
    bold: bool = True
    task_locked: bool = True
    nonlinearity: bool = True
    bias: bool = True
    ghost: bool = True
    fat: bool = True
    leakage: bool = True
    noise: bool = True
    motion_scale: float = 1.0
    cord_scale: float = 1.0
    noise_scale: float = 1.0
    discarded: int = 6
    largest_swallows: bool = False
    worst_case_rates: bool = False

    def without(self, names: Iterable[str]) -> "Effects":
        """Switch effects off by name; ``all`` switches off every one.

        Raises
        ------
        CoSpineError
            For a name that is no effect.
        """
        names = set(names)
        if unknown := names - set(NAMES) - {"all"}:
            raise CoSpineError(f"No such effect: {', '.join(sorted(unknown))}", "--without", f"Known: {', '.join(NAMES)}, all.")
        return replace(self, **dict.fromkeys(NAMES if "all" in names else names, False))


NAMES: tuple[str, ...] = tuple(field.name for field in fields(Effects) if field.default is True)

REALISTIC = Effects()
# The physics that a correction has to undo, without the imperfections of image and physiology that it can only suffer.
CLEAN = REALISTIC.without(("physio", "inflow", "task_locked", "nonlinearity", "ghost", "fat", "leakage"))
PRESETS = {"realistic": REALISTIC, "clean": CLEAN}


def seed_of(seed: int, *keys: int | str) -> np.random.SeedSequence:
    """Seed sequence of one effect of one image: any two keys give independent streams."""
    # as a spawn key, not as entropy: trailing zeros of entropy change nothing
    return np.random.SeedSequence(seed, spawn_key=[k if isinstance(k, int) else zlib.crc32(k.encode()) for k in keys])


def number_of(seed: int, *keys: int | str) -> int:
    """The same as a plain integer, for functions that take one."""
    return int(seed_of(seed, *keys).generate_state(1, np.uint32)[0])


def generator(seed: int, *keys: int | str) -> np.random.Generator:
    """Generator of one effect of one image."""
    return np.random.Generator(np.random.PCG64(seed_of(seed, *keys)))
