"""What the shifts of a few noisy slices say together: a Gaussian process over height and acquisition time.

Neighbouring slices are a second apart in an interleaved acquisition, slices of the same pass 75 ms. So shifts are tied by
how close slices are in space *and* in time: a slow part (posture, drift), a fast part (swallows, pulse), and a breathing part
whose phase runs on between neighbours in time. How strong and how long each of them is, the data say by their
marginal likelihood (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, ch. 2 and 5).
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

_BREATHS_HZ = np.arange(0.12, 0.46, 0.02)
_BREATHING_MEMORY_S = 8.0
_TRAIN_POINTS = 260  # measurements in one window the hyperparameters are learnt from
_TRAIN_WINDOWS = 3
_BURST_S, _BURST_MM = 0.8, 20.0  # a swallow's duration and reach (SD)
_BURST_SCORE = 4.0  # of independent neighbours added up: once in 16 000 by chance
_APART_MM = 0.1  # a memory along the cord shorter than any slice
_OUTLIER = 2.5  # SDs from what all others say beyond which a slice is trusted less
_POINTS = 600  # in one window the smoothing is done in


@dataclass(frozen=True)
class Prior:
    """Strengths and lengths of the parts of the process, for shifts scaled to unit variance.

    Parameters
    ----------
    slow, fast, breathing : float
        SD of each part.
    slow_s, fast_s : float
        Memory in time.
    slow_mm, fast_mm : float
        Memory along the cord; breathing has the slow one's.
    breath_hz : float
        Breathing rate.
    noise : float
        Factor on the measurements' own SD.
    """

    slow: float = 0.8
    fast: float = 0.4
    breathing: float = 0.6
    slow_s: float = 20.0
    fast_s: float = 0.7
    slow_mm: float = 60.0
    fast_mm: float = 30.0
    breath_hz: float = 0.25
    noise: float = 1.0

    def covariance(self, times_s: NDArray, z_mm: NDArray) -> NDArray[np.float64]:
        """Prior covariance (n, n) of measurements at times in s (n,) and heights in mm (n,)."""
        return _covariance(
            np.ascontiguousarray(times_s, dtype=np.float64),
            np.ascontiguousarray(z_mm, dtype=np.float64),
            np.array([getattr(self, name) for name in _NAMES]),
        )


_NAMES = ("slow", "fast", "breathing", "slow_s", "fast_s", "slow_mm", "fast_mm", "breath_hz", "noise")


@njit(cache=True)
def _covariance(times_s, z_mm, prior):
    slow, fast, breathing, slow_s, fast_s, slow_mm, fast_mm, breath_hz, _ = prior
    n = times_s.size
    result = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            dt, dz = times_s[i] - times_s[j], z_mm[i] - z_mm[j]
            t2, z2 = dt * dt, dz * dz
            value = slow**2 * math.exp(-0.5 * (t2 / slow_s**2 + z2 / slow_mm**2))
            if t2 < 36 * fast_s**2:
                value += fast**2 * math.exp(-0.5 * (t2 / fast_s**2 + z2 / fast_mm**2))
            value += (
                breathing**2
                * math.exp(-0.5 * (t2 / _BREATHING_MEMORY_S**2 + z2 / slow_mm**2))
                * math.cos(2 * math.pi * breath_hz * dt)
            )
            result[i, j] = value
            result[j, i] = value
    return result


# what is plausible: neighbouring slices share what moves them, be it slow or fast; noise does not
_LEAST = np.log([0.01, 0.01, 0.01, 5.0, 0.3, 40.0, 25.0, 0.08, 0.8])
_MOST = np.log([3.0, 2.0, 2.0, 200.0, 2.5, 400.0, 200.0, 0.6, 4.0])
_SPREAD = np.array([1.5, 1.5, 1.5, 1.0, 0.5, 0.7, 0.7, 0.3, 0.3])  # of the logarithms about their start, where data say little


def smooth_shifts(
    shift: NDArray, sd: NDArray, times_s: NDArray, z_mm: NDArray, prior: Prior | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], Prior]:
    """Posterior mean of the shifts of all slices and volumes along one axis.

    Parameters
    ----------
    shift : ndarray (t, n)
        Measured shifts, mm.
    sd : ndarray (t, n)
        Their SD as the slices themselves tell, mm; infinite where nothing was measured.
    times_s : ndarray (t, n)
        Acquisition times.
    z_mm : ndarray (n,)
        Heights of the slices.
    prior : Prior, optional
        Process to assume; learnt from the data when not given.

    Returns
    -------
    smoothed : ndarray (t, n)
        Posterior mean, mm.
    posterior_sd : ndarray (t, n)
        Posterior SD, mm.
    prior : Prior
        What the data said of the process.
    """
    level = np.median(shift, axis=0)
    amplitude = _amplitude(shift - level, sd, z_mm)
    unit = (shift - level) / amplitude
    unit_sd = np.clip(sd / amplitude, 1e-3, 1e3)
    with threadpool_limits(1):  # many small factorisations: threads would only wait for each other
        if prior is None:
            prior = _learn(unit, unit_sd, times_s, z_mm)
        smoothed, spread, surprise, expected = _posterior(unit, unit_sd, times_s, z_mm, prior, np.zeros_like(unit))
        # what the others do not foretell is either a swallow, that several slices see, or one slice's fault
        together = _together(surprise, times_s, z_mm)
        swallowed = np.abs(together) > _BURST_SCORE
        alone = np.where(swallowed, 1.0, (surprise / _OUTLIER) ** 2)
        trusted_sd = unit_sd * np.sqrt(np.maximum(alone, 1.0))
        burst = np.where(swallowed, np.abs(together) * expected, 0.0)
        smoothed, spread, _, _ = _posterior(unit, trusted_sd, times_s, z_mm, prior, burst)
    return smoothed * amplitude + level, spread * amplitude, prior


def _amplitude(shift: NDArray, sd: NDArray, z_mm: NDArray) -> NDArray[np.float64]:
    """RMS motion by slice net of the measurement's noise, smooth along the cord (breathing grows downward)."""
    scatter = 1.4826 * np.median(np.abs(shift), axis=0)
    noise = np.median(np.minimum(sd, 1e3), axis=0)
    square = np.maximum(scatter**2 - noise**2, 0.01**2)
    trust = 1 / (noise**4 + 0.02**4)
    near = np.exp(-0.5 * ((z_mm[:, None] - z_mm[None]) / 20.0) ** 2) * trust
    return np.sqrt((near * square).sum(axis=1) / near.sum(axis=1))


def _learn(unit: NDArray, unit_sd: NDArray, times_s: NDArray, z_mm: NDArray) -> Prior:
    volumes, slices = unit.shape
    length = int(np.clip(_TRAIN_POINTS // slices, min(4, volumes), volumes))
    starts = np.unique(np.linspace(0, volumes - length, _TRAIN_WINDOWS).astype(int))
    windows = []
    for a in starts:
        part = slice(a, a + length)
        keep = unit_sd[part].ravel() < 50
        t = times_s[part].ravel()[keep]
        z = np.broadcast_to(z_mm, (length, slices)).ravel()[keep]
        if keep.sum() > 3:
            # bursts would teach the prior to expect them everywhere
            value = np.clip(unit[part].ravel()[keep], -4, 4)
            windows.append((t, z, value, unit_sd[part].ravel()[keep]))
    if not windows:
        return Prior()

    from scipy.optimize import minimize

    start = np.log([getattr(Prior(), name) for name in _NAMES])
    least, most = _LEAST.copy(), _MOST.copy()
    if not np.ptp(times_s, axis=1).any():
        # slice times are not known: what is fast ties no slice to another, and only the measurements' own SD tells it from noise
        start[6] = least[6] = most[6] = np.log(_APART_MM)
        start[8] = least[8] = most[8] = 0.0

    def cost(logs: NDArray) -> float:
        outside = np.maximum(least - logs, 0) + np.maximum(logs - most, 0)
        prior = _prior(np.clip(logs, least, most))
        total = 50.0 * float((outside**2).sum()) + 0.5 * float((((logs - start) / _SPREAD) ** 2).sum())
        for t, z, value, value_sd in windows:
            covariance = prior.covariance(t, z)
            covariance[np.diag_indices_from(covariance)] += (prior.noise * value_sd) ** 2 + 1e-6
            factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
            total += float(np.log(np.diag(factor[0])).sum() + 0.5 * value @ cho_solve(factor, value, check_finite=False))
        return total

    trials = []
    for rate in _BREATHS_HZ:
        start[7] = np.log(rate)
        trials.append((cost(start), rate))
    start[7] = np.log(min(trials)[1])
    simplex = np.vstack([start, *(start + 0.5 * row for row in np.eye(len(start)))])
    simplex[8, 7] = start[7] + 0.05
    found = minimize(
        cost, start, method="Nelder-Mead", options={"maxfev": 220, "initial_simplex": simplex, "xatol": 0.02, "fatol": 0.05}
    )
    return _prior(np.clip(found.x, least, most))


def _prior(logs: NDArray) -> Prior:
    return Prior(**dict(zip(_NAMES, np.exp(logs).tolist(), strict=True)))


def _posterior(unit, unit_sd, times_s, z_mm, prior: Prior, burst: NDArray):
    """Posterior mean and SD by windows; each measurement's surprise given all others, and the SD expected of it."""
    volumes, slices = unit.shape
    length = int(np.clip(_POINTS // slices, min(6, volumes), volumes))
    margin = min(max(length // 3, 1), 4)
    smoothed, spread = np.empty_like(unit), np.empty_like(unit)
    surprise, expected = np.empty_like(unit), np.empty_like(unit)
    step = volumes if volumes <= length else max(length - 2 * margin, 1)
    for a in range(0, volumes, step):
        b = min(a + step, volumes)
        lo, hi = max(a - margin, 0), min(b + margin, volumes)
        t = times_s[lo:hi].ravel()
        z = np.broadcast_to(z_mm, (hi - lo, slices)).ravel()
        value = unit[lo:hi].ravel()
        noise = (prior.noise * unit_sd[lo:hi].ravel()) ** 2 + 1e-6
        covariance = prior.covariance(t, z)
        wide = burst[lo:hi].ravel()
        if wide.any():
            dt, dz = t[:, None] - t[None], z[:, None] - z[None]
            covariance += np.outer(wide, wide) * np.exp(-0.5 * (dt / _BURST_S) ** 2 - 0.5 * (dz / _BURST_MM) ** 2)
        factor = cho_factor(covariance + np.diag(noise), lower=True, check_finite=False)
        inverse = cho_solve(factor, np.eye(len(t)), check_finite=False)
        weights = inverse @ covariance
        inside = slice((a - lo) * slices, (b - lo) * slices)
        smoothed[a:b] = (weights.T @ value)[inside].reshape(b - a, slices)
        left = np.diag(covariance) - np.einsum("ij,ij->j", covariance, weights)
        spread[a:b] = np.sqrt(np.maximum(left[inside], 0)).reshape(b - a, slices)
        # leave-one-out residual over its SD (Rasmussen & Williams eq. 5.12)
        precision = np.diag(inverse)
        surprise[a:b] = ((inverse @ value) / np.sqrt(precision))[inside].reshape(b - a, slices)
        expected[a:b] = 1 / np.sqrt(precision[inside].reshape(b - a, slices))
    return smoothed, spread, surprise, expected


def _together(surprise: NDArray, times_s: NDArray, z_mm: NDArray) -> NDArray[np.float64]:
    """Surprise of neighbours in space and time, added up with their signs; unit variance when they are independent.

    One slice's outlier counts for little, a shift that several slices share for much.
    """
    near_z = np.exp(-0.5 * ((z_mm[:, None] - z_mm[None]) / _BURST_MM) ** 2)
    result = np.zeros_like(surprise)
    limited = np.clip(surprise, -5.0, 5.0)
    for t in range(len(surprise)):
        lo, hi = max(t - 1, 0), min(t + 2, len(surprise))
        dt = times_s[t][:, None, None] - times_s[None, lo:hi]
        kernel = np.exp(-0.5 * (dt / (0.5 * _BURST_S)) ** 2) * near_z[:, None, :]
        result[t] = (kernel * limited[None, lo:hi]).sum(axis=(1, 2)) / np.sqrt((kernel**2).sum(axis=(1, 2)))
    return result
