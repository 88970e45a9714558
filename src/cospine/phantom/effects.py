"""What the simulation includes: every effect by name, two presets, and one random stream for each.

An effect's numbers are drawn from a stream keyed by its name, so switching one off changes no other.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

from cospine.errors import CoSpineError
from cospine.phantom.sensors import SENSORS

# Largest step or nod that can be asked for, mm or degrees.
LARGEST_STEP = 5.0


@dataclass(frozen=True)
class Effects:
    """Switches and scales.

    Parameters
    ----------
    motion
        Head and cord motion within and between images.
    physiological_motion
        The part of head and cord motion that follows breathing and pulse.
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
    pair_pose_mm_deg : tuple of float
        Length (mm) and angle (degrees) of a step that the head takes between the two images of each field-map pair, over
        what it does anyway; directions are drawn by seed.
    nod_deg : float
        The head's pitch (degrees, chin down positive) between field-map pair and run.
    phase_images : bool
        Phase images are stored beside the magnitude of the series.
    randomised_onsets : bool
        Stimuli at widely different intervals instead of nearly periodic ones.
    individual_sulci : bool
        The cerebral cortex has folds of its own instead of the template's average.
    recordings : {"clean", "typical", "noisy"}
        How good the sensors of pulse and breathing are.

    Raises
    ------
    CoSpineError
        For a step or nod beyond `LARGEST_STEP`, where the field's change with rotation is no longer linear, or sensors that
        nobody has.
    """

    motion: bool = True
    physiological_motion: bool = True
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
    pair_pose_mm_deg: tuple[float, float] = (0.0, 0.0)
    nod_deg: float = 0.0
    phase_images: bool = False
    randomised_onsets: bool = False
    individual_sulci: bool = False
    recordings: str = "typical"

    def __post_init__(self) -> None:
        if not all(0 <= size <= LARGEST_STEP for size in self.pair_pose_mm_deg):
            raise CoSpineError(
                f"A step of {self.pair_pose_mm_deg} mm and degrees cannot be simulated", "--pair-motion",
                f"Give a length and an angle from 0 to {LARGEST_STEP:g}.",
            )  # fmt: skip
        if not abs(self.nod_deg) <= LARGEST_STEP:
            raise CoSpineError(
                f"A nod of {self.nod_deg:g} degrees cannot be simulated", "--nod",
                f"Give -{LARGEST_STEP:g} to {LARGEST_STEP:g} degrees.",
            )  # fmt: skip
        if self.recordings not in SENSORS:
            raise CoSpineError(f"No recordings '{self.recordings}'", "--recordings", f"Use one of {', '.join(SENSORS)}.")

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
