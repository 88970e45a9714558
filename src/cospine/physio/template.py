"""How much events look like the recording's own typical event."""

import numpy as np
from numpy.typing import NDArray

# Templates follow the waveform: each is made of the events of so long a stretch, s, and of at least so many.
_STRETCH_S = 120.0
_FEWEST = 12


def likeness(
    signal: NDArray[np.float64],
    at: NDArray[np.int64],
    chosen: NDArray[np.int64],
    rate_hz: float,
    span_s: tuple[float, float],
    period_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Correlation of the signal around every candidate with the median of those chosen nearby.

    Parameters
    ----------
    signal : ndarray (n,)
    at : ndarray (c,) of int
        Samples of the candidates.
    chosen : ndarray (p,) of int
        Candidates believed to be events.
    rate_hz : float
    span_s : (float, float)
        Start and end of the compared piece relative to the candidate, s; narrowed to 0.45 of the median period.
    period_s : ndarray (c,)

    Returns
    -------
    ndarray (c,)
        -1 to 1, the best of a few shifts up to 30 ms; 0 where there is nothing to compare with.
    """
    if chosen.size < 3:
        return np.zeros(at.size)
    longest = 0.45 * float(np.median(period_s[chosen]))
    offsets = np.arange(round(max(span_s[0], -longest) * rate_hz), round(min(span_s[1], longest) * rate_hz) + 1)
    shifts = np.unique(np.round(np.linspace(-0.03, 0.03, 5) * rate_hz).astype(int))
    padded = np.pad(signal, max(abs(offsets[0]), offsets[-1]) + shifts[-1], mode="edge")
    origin = max(abs(offsets[0]), offsets[-1]) + shifts[-1]

    def pieces(where: NDArray[np.int64]) -> NDArray[np.float64]:
        block = padded[origin + where[:, None] + offsets]
        block = block - block.mean(axis=1, keepdims=True)
        return block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)

    of_chosen = pieces(at[chosen])
    everyone = _unit(np.median(of_chosen, axis=0))
    stretch = (at / (rate_hz * _STRETCH_S)).astype(int)
    out = np.full(at.size, -1.0)
    templates = np.tile(everyone, (int(stretch[-1]) + 1, 1))
    for number in np.unique(stretch[chosen]):
        here = of_chosen[stretch[chosen] == number]
        if len(here) >= _FEWEST:
            templates[number] = _unit(np.median(here, axis=0))
    for shift in shifts:
        out = np.maximum(out, np.einsum("ij,ij->i", pieces(at + shift), templates[stretch]))
    return out


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    vector = vector - vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
