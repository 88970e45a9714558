"""How the digital participant draws: a place within a range, a smooth random course in time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline


def draw_within(rng: np.random.Generator, limits: Sequence[float], severity: float) -> float:
    """Draw from the sixth of a range either side of ``severity`` (0 its lower, 1 its upper end)."""
    low, high = limits
    return low + (high - low) * float(np.clip(severity + rng.uniform(-1 / 6, 1 / 6), 0.0, 1.0))


def smooth_noise(rng: np.random.Generator, t_s: NDArray[np.float64], scale_s: float) -> NDArray[np.float64]:
    """Smooth random function of time, about unit variance, which changes over ``scale_s``; shape of ``t_s``.

    White numbers on knots ``scale_s`` apart, joined by a cubic spline.
    """
    first = float(t_s.min()) - 3.0 * scale_s
    knots = first + scale_s * np.arange(int(np.ceil((float(t_s.max()) - first) / scale_s)) + 4)
    return np.asarray(CubicSpline(knots, rng.standard_normal(knots.size))(t_s), dtype=np.float64)
