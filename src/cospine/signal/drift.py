"""Slow drifts of a series: the cosines below a cut-off."""

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError

PERIOD_S = 128.0
"""Usual cut-off of the high-pass, s."""


def cosine_drift(volumes: int, tr_s: float, period_s: float = PERIOD_S, dummies: int = 0) -> NDArray[np.float64]:
    """Discrete cosine basis (DCT-II) of all periods down to a cut-off, without the constant.

    The k-th column is ``sqrt(2 / n) cos(pi k (i + 1/2) / n)`` over the n volumes that count; there are
    ``floor(2 n tr / period)`` of them, as in nilearn and fMRIPrep. They are orthonormal and orthogonal to the constant.

    Parameters
    ----------
    volumes : int
        Volumes of the run.
    tr_s : float
        Time between them, s.
    period_s : float
        Shortest period in the basis, s.
    dummies : int
        Volumes at the start that are left out: their rows are 0.

    Returns
    -------
    ndarray (t, n), float64
        No columns in a run that is too short for a drift.

    Raises
    ------
    CoSpineError
        No volumes are left, or the cut-off would take every frequency the run holds.
    """
    steady = volumes - dummies
    if steady < 1 or dummies < 0:
        raise CoSpineError(f"{dummies} of {volumes} volumes are left out: none remain", "drift", "Leave fewer volumes out")
    if not (tr_s > 0 and period_s > 2 * tr_s):
        raise CoSpineError(
            f"a high-pass at {period_s:g} s would take all that a series with a volume every {tr_s:g} s can hold",
            "high-pass",
            f"Give a period longer than {2 * max(tr_s, 0):g} s; {PERIOD_S:g} s is usual",
        )
    # 1 / period first: the same rounding as nilearn where the product is a whole number
    count = min(steady - 1, int(np.floor(2 * steady * (1 / period_s) * tr_s)))
    phase = np.pi / steady * (np.arange(steady) + 0.5)
    basis = np.zeros((volumes, count))
    basis[dummies:] = np.sqrt(2 / steady) * np.cos(phase[:, None] * np.arange(1, count + 1))
    return basis


def without_drift(values: NDArray, drift: NDArray[np.float64], rows: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """What is left of time courses when mean and drift are taken out, by least squares.

    Parameters
    ----------
    values : ndarray (t, m)
        Time courses.
    drift : ndarray (t, n)
        From `cosine_drift`.
    rows : ndarray (t,), bool, optional
        Volumes that count; the others come back as 0.

    Returns
    -------
    ndarray (t, m), float64
    """
    rows = np.ones(len(values), dtype=bool) if rows is None else np.asarray(rows, dtype=bool)
    left = np.zeros(values.shape)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(np.count_nonzero(rows)), drift[rows]]))
    counted = np.asarray(values[rows], dtype=np.float64)
    counted = counted - counted.mean(axis=0)  # first, so that nothing is lost to the size of the mean
    left[rows] = counted - basis @ (basis.T @ counted)
    return left
