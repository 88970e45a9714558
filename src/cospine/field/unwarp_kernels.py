"""Kernels of the field estimate: two images unwarped, their difference, its derivative and its weight.

Arrays are C-contiguous float32 (s, p, r): p is the phase-encoding axis, s and r the other two in any order. The unknown is the
displacement u in voxels along p of an image whose displacement is +u; each image has its own factor q (sign and readout time).
"""

import math

import numpy as np
from numba import njit, prange

from cospine.space.bspline import slopes, weights

_HALF, _ONE, _ZERO = np.float32(0.5), np.float32(1), np.float32(0)


@njit(cache=True, inline="always")
def _inside(i, n):
    """Index mirrored about the end voxels."""
    if i < 0:
        i = -i
    if i >= n:
        i = 2 * n - 2 - i
    return min(max(i, 0), n - 1)


@njit(cache=True, inline="always")
def slope_along(u, s, y, r, n):
    """Central difference along p."""
    return (u[s, min(y + 1, n - 1), r] - u[s, max(y - 1, 0), r]) * _HALF


@njit(cache=True, parallel=True)
def unwarp_still(coefs, u, q, value, slope):
    """Image unwarped along p, one that did not move: its value and its derivative along p at y + q u.

    ``coefs`` are spline coefficients along p alone.
    """
    ns, n, nr = coefs.shape
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                at = min(max(np.float32(y) + q * u[s, y, r], _ZERO), np.float32(n - 1))
                base = min(int(at), n - 2) if n > 1 else 0
                w = weights(at - np.float32(base))
                d = slopes(at - np.float32(base))
                c0 = coefs[s, _inside(base - 1, n), r]
                c1 = coefs[s, base, r]
                c2 = coefs[s, _inside(base + 1, n), r]
                c3 = coefs[s, _inside(base + 2, n), r]
                value[s, y, r] = w[0] * c0 + w[1] * c1 + w[2] * c2 + w[3] * c3
                slope[s, y, r] = d[0] * c0 + d[1] * c1 + d[2] * c2 + d[3] * c3


@njit(cache=True, parallel=True)
def unwarp_moved(coefs, u, q, base, turn, share, value, slope, across):
    """Image unwarped along its p, one that moved or has another grid: value and derivatives at base v + share turn v + q u.

    Parameters
    ----------
    coefs : ndarray (s, p, r)
        Spline coefficients along all axes.
    u : ndarray (s, p, r)
        Displacement, voxels.
    q : float32
        Factor of this image.
    base, turn : ndarray (3, 4), float32
        Index (s, p, r) of the output to index of this image without motion, and what motion adds.
    share : ndarray (s, p, r)
        How much of the motion a voxel follows.
    value, slope : ndarray (s, p, r)
        Value and its derivative along p.
    across : ndarray (2, s, p, r) or of size 0
        Derivatives along s and r, where they are wanted.
    """
    ns, n, nr = coefs.shape
    wanted = across.size > 0
    for s in prange(u.shape[0]):
        index_s = np.empty(4, np.int64)
        index_p = np.empty(4, np.int64)
        index_r = np.empty(4, np.int64)
        matrix = np.empty((3, 4), np.float32)
        for y in range(u.shape[1]):
            for r in range(u.shape[2]):
                for a in range(3):
                    for b in range(4):
                        matrix[a, b] = base[a, b] + share[s, y, r] * turn[a, b]
                x0 = matrix[0, 0] * s + matrix[0, 1] * y + matrix[0, 2] * r + matrix[0, 3]
                x1 = matrix[1, 0] * s + matrix[1, 1] * y + matrix[1, 2] * r + matrix[1, 3] + q * u[s, y, r]
                x2 = matrix[2, 0] * s + matrix[2, 1] * y + matrix[2, 2] * r + matrix[2, 3]
                x0 = min(max(x0, _ZERO), np.float32(ns - 1))
                x1 = min(max(x1, _ZERO), np.float32(n - 1))
                x2 = min(max(x2, _ZERO), np.float32(nr - 1))
                b0, b1, b2 = math.floor(x0), math.floor(x1), math.floor(x2)
                f0, f1, f2 = x0 - np.float32(b0), x1 - np.float32(b1), x2 - np.float32(b2)
                w0, w1, w2 = weights(f0), weights(f1), weights(f2)
                d1 = slopes(f1)
                for a in range(4):
                    index_s[a] = _inside(b0 - 1 + a, ns)
                    index_p[a] = _inside(b1 - 1 + a, n)
                    index_r[a] = _inside(b2 - 1 + a, nr)
                total, along = _ZERO, _ZERO
                if not wanted:
                    for a in range(4):
                        plane, plane_along = _ZERO, _ZERO
                        for b in range(4):
                            row = coefs[index_s[a], index_p[b]]
                            line = (
                                w2[0] * row[index_r[0]]
                                + w2[1] * row[index_r[1]]
                                + w2[2] * row[index_r[2]]
                                + w2[3] * row[index_r[3]]
                            )
                            plane += w1[b] * line
                            plane_along += d1[b] * line
                        total += w0[a] * plane
                        along += w0[a] * plane_along
                else:
                    d0, d2 = slopes(f0), slopes(f2)
                    by_s, by_r = _ZERO, _ZERO
                    for a in range(4):
                        plane, plane_along, plane_r = _ZERO, _ZERO, _ZERO
                        for b in range(4):
                            row = coefs[index_s[a], index_p[b]]
                            c0, c1, c2, c3 = row[index_r[0]], row[index_r[1]], row[index_r[2]], row[index_r[3]]
                            line = w2[0] * c0 + w2[1] * c1 + w2[2] * c2 + w2[3] * c3
                            plane += w1[b] * line
                            plane_along += d1[b] * line
                            plane_r += w1[b] * (d2[0] * c0 + d2[1] * c1 + d2[2] * c2 + d2[3] * c3)
                        total += w0[a] * plane
                        along += w0[a] * plane_along
                        by_s += d0[a] * plane
                        by_r += w0[a] * plane_r
                    across[0, s, y, r] = by_s
                    across[1, s, y, r] = by_r
                value[s, y, r] = total
                slope[s, y, r] = along


@njit(cache=True, parallel=True)
def linearise(u, q1, value1, slope1, q2, m2, value2, slope2, residual, mean, a, c, e):
    """Difference of two unwarped, modulated images, their mean, and the derivative of the difference by u: a d + c D d + e E d.

    ``m2`` is what a unit of slope of u means for the second image's modulation: q2, turned round where its grid is. With ``e``
    not of size 0 that image is encoded along r.
    """
    ns, n, nr = u.shape
    other = e.size > 0
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                g = slope_along(u, s, y, r, n)
                g2 = (u[s, y, min(r + 1, nr - 1)] - u[s, y, max(r - 1, 0)]) * _HALF if other else g
                j1, j2 = _ONE + q1 * g, _ONE + m2 * g2
                u1, u2 = value1[s, y, r] * j1, value2[s, y, r] * j2
                residual[s, y, r] = u1 - u2
                mean[s, y, r] = _HALF * (u1 + u2)
                a[s, y, r] = q1 * slope1[s, y, r] * j1 - q2 * slope2[s, y, r] * j2
                if other:
                    c[s, y, r] = q1 * value1[s, y, r]
                    e[s, y, r] = -m2 * value2[s, y, r]
                else:
                    c[s, y, r] = q1 * value1[s, y, r] - m2 * value2[s, y, r]


@njit(cache=True, parallel=True)
def weigh(local, a, u, q1, q2, noise, floor, kappa, w):
    """Weights of the residual: the inverse of its expected square, none where an image is asked for what lies beyond its end.

    Expected are noise relative to the local signal and, where the image changes (a, twice its slope), what a misplacement by a
    fraction `kappa` of two voxels would bring: at sharp edges a voxel is a mixture that no shift explains.
    """
    ns, n, nr = u.shape
    last = np.float32(n - 1)
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                one, two = np.float32(y) + q1 * u[s, y, r], np.float32(y) + q2 * u[s, y, r]
                if one < _ZERO or two < _ZERO or one > last or two > last:
                    w[s, y, r] = _ZERO
                else:
                    m = local[s, y, r]
                    k = kappa * a[s, y, r]
                    w[s, y, r] = _ONE / (noise * noise * (m * m + floor * floor) + k * k)
