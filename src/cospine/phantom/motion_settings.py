"""What moves, and how much: the settings of head and cord motion."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MotionSettings:
    """What moves, and how much.

    Parameters
    ----------
    severity : float
        Where in the ranges of FACTS amplitudes are drawn: 0 low ends, 0.5 middle thirds, 1 high ends.
    head_drift, head_jumps, head_breathing, cord_breathing, cord_pulse, swallows, task_locked : bool
        Parts that can be switched off.
    articulated : bool
        False makes neck and trunk follow the head rigidly.
    head_scale, cord_scale : float
        Factors on all head or cord amplitudes.
    cord_rms_mm : float or None
        Scale the cord's in-plane displacement to this root-mean-square shift over cervical slices and
        volumes, each slice's median removed.
    largest_swallows : bool
        As many swallows as the range allows, each of the largest size.
    """

    severity: float = 0.5
    head_drift: bool = True
    head_jumps: bool = True
    head_breathing: bool = True
    cord_breathing: bool = True
    cord_pulse: bool = True
    swallows: bool = True
    task_locked: bool = True
    articulated: bool = True
    head_scale: float = 1.0
    cord_scale: float = 1.0
    cord_rms_mm: float | None = None
    largest_swallows: bool = False


STILL = MotionSettings(
    head_drift=False, head_jumps=False, head_breathing=False,
    cord_breathing=False, cord_pulse=False, swallows=False, task_locked=False,
)  # fmt: skip
