"""Haemodynamic responses: nilearn's functions, made continuous so that they can be asked at any time.

nilearn convolves on a grid of 1/50 TR, to whose next point every onset moves. Here its functions are sampled every 2 ms, and a
spline through the samples is integrated: the response to a block is then a difference of two values of that integral, at
whatever times the slices have. It is what nilearn tends to as its grid gets finer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError

HRF_MODELS = (
    "spm",
    "spm + derivative",
    "spm + derivative + dispersion",
    "glover",
    "glover + derivative",
    "glover + derivative + dispersion",
)
FIR = "fir"
RESPONSE_S = 32.0
"""How long a response lasts, as nilearn has it."""
_STEP_S = 0.002


@dataclass(frozen=True, eq=False)
class Response:
    """One response function: its value after an impulse of area 1 s, and the integral of that.

    Parameters
    ----------
    suffix : str
        Of columns that it makes: empty, `_derivative` or `_dispersion`.
    """

    suffix: str
    _integral: Callable[[NDArray[np.float64]], Any] = field(repr=False)
    _impulse: Callable[[NDArray[np.float64]], Any] = field(repr=False)
    _end_s: float

    def impulse(self, since_s: ArrayLike) -> NDArray[np.float64]:
        """Value (1/s) at times (..) in s after an impulse of area 1 s; 0 before it and after 32 s."""
        since = np.asarray(since_s, dtype=np.float64)
        return np.where((since > 0) & (since < self._end_s), self._impulse(np.clip(since, 0, self._end_s)), 0.0)

    def block(self, since_s: ArrayLike, duration_s: float) -> NDArray[np.float64]:
        """Value at times (..) in s after the onset of a block of height 1; of an impulse of area 1 s where it lasts 0 s."""
        since = np.asarray(since_s, dtype=np.float64)
        if duration_s == 0:
            return self.impulse(since)
        return self._integral(np.clip(since, 0, self._end_s)) - self._integral(np.clip(since - duration_s, 0, self._end_s))


@cache
def responses(hrf: str) -> tuple[Response, ...]:
    """Response functions of a model, the canonical first.

    Parameters
    ----------
    hrf : str
        One of `HRF_MODELS`; they are nilearn's `spm_hrf`, `spm_time_derivative`, `spm_dispersion_derivative`, and Glover's.

    Raises
    ------
    CoSpineError
        There is no such model.
    """
    from nilearn.glm.first_level import hemodynamic_models as nilearn
    from scipy.interpolate import CubicSpline

    if hrf not in HRF_MODELS:
        raise CoSpineError(f"'{hrf}' is no response model", "HRF", f"Take one of: {', '.join((*HRF_MODELS, FIR))}")
    family, *further = hrf.split(" + ")
    found = []
    for kind, name in (("", "hrf"), ("derivative", "time_derivative"), ("dispersion", "dispersion_derivative")):
        if kind and kind not in further:
            continue
        samples = getattr(nilearn, f"{family}_{name}")(_STEP_S, 1)
        # its samples span 32 s, first and last included, and it shifts the gamma densities by one step
        times, step = np.linspace(0, RESPONSE_S, samples.size, retstep=True)
        spline = CubicSpline(times - _STEP_S, samples / step)
        integral = spline.antiderivative()
        found.append(Response(f"_{kind}" if kind else "", integral, spline, RESPONSE_S - _STEP_S))
    return tuple(found)


def typical_peak(duration_s: float, hrf: str) -> float:
    """Greatest value that the canonical column reaches after one event of height 1.

    An effect is what a stimulus without end would evoke; times this it is what one such event evokes at its peak.

    Parameters
    ----------
    duration_s : float
        Of the event; 0 for an impulse.
    hrf : str
        One of `HRF_MODELS`.
    """
    times = np.arange(0, RESPONSE_S + duration_s, 0.02)
    return float(responses(hrf)[0].block(times, duration_s).max())
