"""What a channel is, by its name, and what its triggers are, by their spacing."""

import re

import numpy as np
from numpy.typing import NDArray

from cospine.physio.recording import Kind, Sensor

# GE names its file of cardiac gating so whatever the sensor was; the waves tell
_GATING = re.compile(r"ECGData_", re.IGNORECASE)
_ECG = re.compile(r"ecg|ekg|vcg", re.IGNORECASE)
_PULSE = re.compile(r"puls|ppu|ppg|pleth|oxi", re.IGNORECASE)
_CARDIAC = re.compile(r"card|heart", re.IGNORECASE)
_BREATH = re.compile(r"resp|breath|belt|bellow|pneu", re.IGNORECASE)
_TRIGGER = re.compile(r"trig|ttl|volume|scan|sync|digital input|^ext", re.IGNORECASE)

# Volumes are paced by a clock, hearts and lungs are not: even at rest intervals between beats spread by 3-5 %.
_PACED_WITHIN = 0.02
_PACED_SHARE = 0.9


def kind_of(name: str) -> tuple[Kind, Sensor]:
    """What a column, channel or file holds, by the words in its name; "other" when none is known.

    "trigger" is looked for first, so that `puls_trigger` is not taken for the pulse.
    """
    if _TRIGGER.search(name):
        return "trigger", ""
    if _GATING.search(name):
        return "cardiac", ""
    if _ECG.search(name):
        return "cardiac", "ecg"
    if _PULSE.search(name):
        return "cardiac", "ppg"
    if _CARDIAC.search(name):
        return "cardiac", ""
    if _BREATH.search(name):
        return "respiratory", "belt"
    return "other", ""


def rising_edges(samples: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """Times at which a trigger channel goes up, s from its first sample.

    Parameters
    ----------
    samples : ndarray (n,)
        Low and high, at any two levels; gaps count as low.
    rate_hz : float

    Returns
    -------
    ndarray (m,)
        Empty when the channel never changes. A channel that is high from the first sample on counts as going up there
        when it stays so for no longer than other times: files that were cut at the first volume begin with its trigger.
    """
    known = samples[np.isfinite(samples)]
    if known.size == 0 or known.min() == known.max():
        return np.empty(0)
    high = np.nan_to_num(samples, nan=float(known.min())) > 0.5 * (float(known.min()) + float(known.max()))
    steps = np.diff(np.concatenate([[0], high.astype(np.int8), [0]]))
    up, down = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    if up.size > 1 and up[0] == 0 and down[0] - up[0] > 1.5 * np.median(down[1:] - up[1:]):
        up = up[1:]
    return up / rate_hz


def are_volumes(times_s: NDArray[np.float64], rate_hz: float) -> bool:
    """Whether marks are paced by a clock, as volumes are, rather than by a heart or by breathing.

    Nine of ten intervals must lie within 2 % (or one and a half samples) of their median; the rest may be pauses between
    runs and marks that were lost. One or two marks cannot be judged; they are taken for volumes, since a recorder
    that marks pulses marks many.
    """
    intervals = np.diff(times_s)
    if intervals.size < 2:
        return True
    middle = float(np.median(intervals))
    near = np.abs(intervals - middle) <= max(_PACED_WITHIN * middle, 1.5 / rate_hz)
    return float(np.mean(near)) >= _PACED_SHARE
