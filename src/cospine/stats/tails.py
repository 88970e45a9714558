"""z of the same tail probability as t or F, stable as far into the tails as statistics go."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FAR = 1e-250
"""Below this tail probability logarithms are computed directly, before they underflow."""


def z_from_t(t: ArrayLike, dof: ArrayLike) -> NDArray[np.float64]:
    """z with the tail probability of t, sign kept: exactly antisymmetric.

    Parameters
    ----------
    t : array_like
    dof : array_like
        Degrees of freedom (> 0), broadcast against t.
    """
    from scipy.special import ndtri_exp, stdtr

    t, dof = np.broadcast_arrays(np.asarray(t, dtype=np.float64), np.asarray(dof, dtype=np.float64))
    tail = stdtr(dof, -np.abs(t))
    with np.errstate(divide="ignore"):
        log_tail = np.log(tail)
    far = tail < _FAR
    if far.any():
        log_tail[far] = np.log(0.5) + _log_f_tail(t[far] ** 2, np.ones(1), dof[far])
    return np.sign(t) * -ndtri_exp(log_tail)


def z_from_f(f: ArrayLike, df: ArrayLike, dof: ArrayLike) -> NDArray[np.float64]:
    """z with the upper tail probability of F: negative where F is smaller than its median.

    Parameters
    ----------
    f : array_like
        Not negative.
    df, dof : array_like
        Degrees of freedom of numerator and denominator (> 0), broadcast against f.
    """
    from scipy.special import fdtr, fdtrc, ndtri_exp

    f, df, dof = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (f, df, dof)))
    upper, lower = fdtrc(df, dof, f), fdtr(df, dof, f)
    with np.errstate(divide="ignore"):
        log_upper, log_lower = np.log(upper), np.log(lower)
    far = upper < _FAR
    if far.any():
        log_upper[far] = _log_f_tail(f[far], df[far], dof[far])
    return np.where(upper < 0.5, -ndtri_exp(log_upper), ndtri_exp(log_lower))


def _log_f_tail(f: NDArray[np.float64], df: NDArray[np.float64], dof: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the upper tail of F: the incomplete beta function at dof / (dof + df F), by its series (DLMF 8.17.8)."""
    from scipy.special import betaln, hyp2f1

    a, b = dof / 2, df / 2
    ratio = df * f / dof
    log_x = -np.log1p(ratio)
    x = np.exp(log_x)
    return a * log_x + b * (np.log(ratio) + log_x) - np.log(a) - betaln(a, b) + np.log(hyp2f1(a + b, 1, a + 1, x))
