"""Events found in a signal, and mending what was lost of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.physio.signal_quality import runs

_MENDED_QUALITY = 0.3


@dataclass(frozen=True, eq=False)
class Events:
    """Beats or breaths.

    Parameters
    ----------
    onset_s : ndarray (p,)
        s from the first sample.
    quality : ndarray (p,)
        0-1.
    mended : ndarray (p,) of bool
        Put in or moved, not seen there.
    lost : ndarray (n,) of bool
        Samples without signal.
    """

    onset_s: NDArray[np.float64]
    quality: NDArray[np.float64]
    mended: NDArray[np.bool_]
    lost: NDArray[np.bool_]

    @classmethod
    def none(cls, lost: NDArray[np.bool_]) -> "Events":
        """No event at all."""
        return cls(np.empty(0), np.empty(0), np.empty(0, dtype=bool), lost)


def mend(
    onset_s: NDArray[np.float64],
    quality: NDArray[np.float64],
    moved: NDArray[np.bool_],
    period_s: NDArray[np.float64],
    lost: NDArray[np.bool_],
    rate_hz: float,
    most_missing: int,
) -> Events:
    """Put in the events that fell into a lost stretch, where the rhythm around says how many and where.

    A long interval of good signal is left alone: hearts and breaths pause.

    Parameters
    ----------
    onset_s, quality, moved, period_s : ndarray (p,)
        Events that were seen, which of them are not where they were seen, and the local period, s.
    lost : ndarray (n,) of bool
        Samples without signal.
    rate_hz : float
    most_missing : int
        Longer gaps stay empty: beyond, the rhythm says nothing about where events were.
    """
    order = np.argsort(onset_s, kind="stable")
    order = order[(onset_s[order] >= 0.0) & (onset_s[order] < lost.size / rate_hz)]
    order = order[_apart(onset_s[order], quality[order], 0.3 * period_s[order])]
    onset_s, quality, moved, period_s = onset_s[order], quality[order], moved[order], period_s[order]
    first, end = runs(lost)
    after = np.searchsorted(onset_s, first / rate_hz)
    inside = (after > 0) & (after < onset_s.size)
    put_in = []
    for next_one in np.unique(after[inside]):
        mine = inside & (after == next_one)
        start, stop = first[mine][0] / rate_hz, end[mine][-1] / rate_hz
        before = onset_s[next_one - 1]
        interval = onset_s[next_one] - before
        period = 0.5 * (period_s[next_one - 1] + period_s[next_one])
        missing = round(float(interval / period)) - 1
        if 0 < missing <= most_missing and abs(np.log(interval / ((missing + 1) * period))) < 0.25:
            times = before + interval * np.arange(1, missing + 1) / (missing + 1)
            put_in += [time for time in times if start - 0.3 * period <= time <= stop + 0.3 * period]
    onset = np.concatenate([onset_s, put_in])
    order = np.argsort(onset, kind="stable")
    return Events(
        onset[order],
        np.concatenate([quality, np.full(len(put_in), _MENDED_QUALITY)])[order],
        np.concatenate([moved, np.ones(len(put_in), dtype=bool)])[order],
        lost,
    )


def _apart(onset_s: NDArray[np.float64], quality: NDArray[np.float64], least_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of events (p,), in order, that placing has brought too near to each other, the better ones."""
    keep = np.ones(onset_s.size, dtype=bool)
    last = 0
    for at in range(1, onset_s.size):
        if onset_s[at] - onset_s[last] >= least_s[at]:
            last = at
        elif quality[at] > quality[last]:
            keep[last] = False
            last = at
        else:
            keep[at] = False
    return keep
