"""The filter of recordings: second-order Butterworth, forth and back, so that no peak moves."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray


def zero_phase(
    samples: NDArray[np.float64], rate_hz: float, edges_hz: float | tuple[float, float], kind: Literal["bandpass", "lowpass"]
) -> NDArray[np.float64]:
    """Filter a recording without delay.

    Parameters
    ----------
    samples : ndarray (n,)
        Without gaps.
    rate_hz : float
        Sampling rate.
    edges_hz : float or (float, float)
        Where the power of one pass is halved.
    kind : {"bandpass", "lowpass"}

    Raises
    ------
    ValueError
        When an edge is not between 0 and half the rate, or the recording is shorter than the filter.
    """
    from scipy.signal import butter, sosfiltfilt  # half a second: not for those who filter nothing

    return sosfiltfilt(butter(2, edges_hz, kind, fs=rate_hz, output="sos"), samples)
