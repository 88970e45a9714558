"""In-plane shift of every slice of every volume against a reference slice, by robust Gauss-Newton.

As in `register.rigid` the reference's spline is the model and the stored slice the measurement; two shifts, gain and
offset are solved for each slice, and how much the slice knows of its shift comes back with it.
"""

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from cospine.register.rigid import robust_weight
from cospine.register.solve import solve_scaled
from cospine.space.bspline import value_and_gradient_in_plane


@njit(cache=True)
def _accumulate(coefs, stored, pixels, weight, first, last, s_x, s_y, gain, offset, scale, j, normal, right):
    """Sum the weighted normal equations of one slice of one volume; returns the robust residual scale. j (4,) is scratch."""
    for a in range(4):
        right[a] = 0.0
        for b in range(4):
            normal[a, b] = 0.0
    absolute = 0.0
    used = 0.0
    for n in range(first, last):
        x, y = pixels[n, 0], pixels[n, 1]
        value, gx, gy = value_and_gradient_in_plane(coefs, x - s_x, y - s_y)
        residual = stored[y, x] - gain * value - offset
        w = weight[n]
        absolute += w * abs(residual)
        used += w
        w = robust_weight(w, residual, scale)
        if w == 0:
            continue
        j[0], j[1], j[2], j[3] = -gain * gx, -gain * gy, value, 1.0
        for a in range(4):
            right[a] += w * j[a] * residual
            for b in range(4):
                normal[a, b] += w * j[a] * j[b]
    return 1.2533 * absolute / max(used, 1e-30)


@njit(cache=True)
def _shift(coefs, stored, pixels, weight, first, last, start, prior_sd, iterations, shift, information, fit):
    """One slice of one volume; `shift` (2,), `information` (2, 2) and `fit` (2,) are filled."""
    normal, scaled = np.empty((4, 4)), np.empty((4, 4))
    j, step, size = np.empty(4), np.empty(4), np.empty(4)
    s_x, s_y = start[0], start[1]
    gain, offset, scale, noise = 1.0, 0.0, 0.0, 1.0
    for step_number in range(iterations):
        scale = _accumulate(coefs, stored, pixels, weight, first, last, s_x, s_y, gain, offset, scale, j, normal, step)
        noise = max(scale * scale, 1e-12)
        for a in range(2):  # far from any structure the start is all that is known
            pull = noise / (prior_sd[a] * prior_sd[a])
            normal[a, a] += pull
            step[a] -= pull * ((s_x if a == 0 else s_y) - start[a])
        solve_scaled(normal, step, 1e-9, 1e-12, scaled, size)
        limit = 1.0  # of a pixel: beyond it the linear model is worthless
        s_x += min(max(step[0], -limit), limit)
        s_y += min(max(step[1], -limit), limit)
        gain += step[2]
        offset += step[3]
        if step_number > 0 and abs(step[0]) < 1e-3 and abs(step[1]) < 1e-3:
            break
    # what is known of the shifts once gain and offset are given away: the Schur complement
    for k in range(3, 1, -1):
        for a in range(k):
            factor = normal[a, k] / (normal[k, k] + 1e-12)
            for b in range(k):
                normal[a, b] -= factor * normal[k, b]
    for a in range(2):
        for b in range(2):
            information[a, b] = normal[a, b] / noise
    shift[0], shift[1] = s_x, s_y
    fit[0], fit[1] = gain, scale


@njit(cache=True, parallel=True)
def _shifts(coefs, series, slices, first, pixels, weight, start, prior_sd, iterations, shift, information, fit):
    for t in prange(series.shape[0]):
        for s in range(slices.size):
            k = slices[s]
            _shift(
                coefs[k], series[t, k], pixels, weight, first[s], first[s + 1], start[t, s], prior_sd, iterations,
                shift[t, s], information[t, s], fit[t, s],
            )  # fmt: skip


def slice_shifts(
    coefs: NDArray,
    series: NDArray,
    slices: NDArray,
    weight: NDArray,
    start: NDArray,
    prior_sd: NDArray,
    *,
    iterations: int = 10,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shift of the content of each slice against the reference, in pixels.

    Parameters
    ----------
    coefs : ndarray (z, y, x), float32
        In-plane spline coefficients of the reference (`coefficients(.., in_plane=True)`).
    series : ndarray (t, z, y, x)
        Volumes, C-contiguous.
    slices : ndarray (n,) of int
        Slices to measure.
    weight : ndarray (z, y, x)
        Weight of each pixel; those above 0 are compared.
    start : ndarray (t, n, 2)
        Where to start and what to fall back to (x, y), in pixels.
    prior_sd : ndarray (2,)
        How far from `start` a shift may reasonably be, SD in pixels.
    iterations : int
        At most so many steps.

    Returns
    -------
    shift : ndarray (t, n, 2)
        Along x and y, positive toward the higher index.
    information : ndarray (t, n, 2, 2)
        Inverse covariance of the shift for white residuals, prior included.
    fit : ndarray (t, n, 2)
        Gain and residual scale.
    """
    pixels, weights, first = [], [], [0]
    for k in slices:
        at = np.argwhere(weight[k] > 0)
        pixels.append(at[:, ::-1])
        weights.append(weight[k][tuple(at.T)])
        first.append(first[-1] + len(at))
    count = len(series)
    shift = np.zeros((count, len(slices), 2))
    information = np.zeros((count, len(slices), 2, 2))
    fit = np.zeros((count, len(slices), 2))
    _shifts(
        coefs,
        series,
        np.asarray(slices, dtype=np.int64),
        np.array(first, dtype=np.int64),
        np.ascontiguousarray(np.concatenate(pixels), dtype=np.int64),
        np.concatenate(weights).astype(np.float64),
        np.ascontiguousarray(start, dtype=np.float64),
        np.asarray(prior_sd, dtype=np.float64),
        iterations,
        shift,
        information,
        fit,
    )
    return shift, information, fit
