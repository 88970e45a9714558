"""Where exactly a maximum is: between samples, and behind the plateau that a converter makes of it."""

import numpy as np
from numpy.typing import NDArray


def vertex(samples: NDArray[np.float64], at: int) -> float:
    """Position, in samples, of the vertex of the parabola through a sample and its neighbours; the sample where there is none."""
    if not 0 < at < samples.size - 1:
        return float(at)
    before, here, after = samples[at - 1 : at + 2]
    bend = before - 2.0 * here + after
    return at + float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else float(at)


def plateau_around(saturated: NDArray[np.bool_], inside: int, bridge: int = 1) -> tuple[int, int]:
    """First and last sample of the plateau around one of its samples; gaps of fewer than `bridge` samples do not end it."""
    first, last = inside, inside
    while first > 0 and saturated[max(0, first - bridge) : first].any():
        first -= 1
    while last < saturated.size - 1 and saturated[last + 1 : last + 1 + bridge].any():
        last += 1
    return first, last


def between_flanks(samples: NDArray[np.float64], first: int, last: int, flank: int) -> float:
    """Sample position of a maximum that saturates.

    The flanks are taken for halves of two parabolas that meet at the maximum (two halves of a bell, or of a cosine, do as well):
    the maximum divides the plateau as the slopes at its ends do, the steeper one being nearer.

    Parameters
    ----------
    samples : ndarray (n,)
        As the converter gave them, not smoothed: a filter rounds the corners.
    first, last : int
        Ends of the plateau.
    flank : int
        Samples on either side from which slopes are taken.
    """
    if first < flank or last + flank >= samples.size:
        return 0.5 * (first + last)
    rise = max(float(samples[first] - samples[first - flank]), 0.0)
    fall = max(float(samples[last] - samples[last + flank]), 0.0)
    return first + (fall / (rise + fall) if rise + fall > 0 else 0.5) * (last - first)
