"""Kernels of the field estimate: unwarping with derivatives, and the normal equations of one Gauss-Newton step.

Arrays are C-contiguous float32 (s, p, r): p is the phase-encoding axis, s and r the other two in any order. The unknown is the
displacement u in voxels along p of an image whose displacement is +u; each image has its own factor q (sign and readout time).

The step minimises |J d + r|^2 weighted by w, plus smoothness; J d = a d + c D d + e E d, D the central difference along p and E
that along r (for a second image encoded there; e is of size 0 for none). D's rows: (D d)[0] = (d[1] - d[0]) / 2,
(D d)[y] = (d[y+1] - d[y-1]) / 2, (D d)[n-1] = (d[n-1] - d[n-2]) / 2.
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
def _slope(u, s, y, r, n):
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
                g = _slope(u, s, y, r, n)
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


@njit(cache=True, inline="always")
def _row(j, s, y, r, n):
    """Row of D' j at y."""
    if y == 0:
        return -(j[s, 0, r] + j[s, min(1, n - 1), r]) * _HALF
    if y == n - 1:
        return (j[s, n - 2, r] + j[s, n - 1, r]) * _HALF
    return (j[s, y - 1, r] - j[s, y + 1, r]) * _HALF


@njit(cache=True, inline="always")
def _column(j, s, y, r, n):
    """Row of E' j at r."""
    if r == 0:
        return -(j[s, y, 0] + j[s, y, min(1, n - 1)]) * _HALF
    if r == n - 1:
        return (j[s, y, n - 2] + j[s, y, n - 1]) * _HALF
    return (j[s, y, r - 1] - j[s, y, r + 1]) * _HALF


@njit(cache=True, parallel=True)
def normal_times(d, a, c, e, w, h, alpha, stiff, damping, along, beside, out):
    """(J' W J + steepness + smoothness + damping) d; `along` and `beside` (of e's size) are scratch."""
    ns, n, nr = d.shape
    other = e.size > 0
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                g = _slope(d, s, y, r, n)
                t = a[s, y, r] * d[s, y, r] + c[s, y, r] * g
                if other:
                    t += e[s, y, r] * (d[s, y, min(r + 1, nr - 1)] - d[s, y, max(r - 1, 0)]) * _HALF
                t *= w[s, y, r]
                out[s, y, r] = a[s, y, r] * t
                along[s, y, r] = c[s, y, r] * t
                if other:
                    beside[s, y, r] = e[s, y, r] * t
    alpha_s, alpha_p, alpha_r = alpha[0] * _HALF, alpha[1] * _HALF, alpha[2] * _HALF
    for s in prange(ns):
        before, behind = max(s - 1, 0), min(s + 1, ns - 1)
        for y in range(n):
            above, below = max(y - 1, 0), min(y + 1, n - 1)
            for r in range(nr):
                here = d[s, y, r]
                k = stiff[s, y, r]
                left, right = max(r - 1, 0), min(r + 1, nr - 1)
                out[s, y, r] += (
                    _row(along, s, y, r, n)
                    + damping * here
                    + alpha_s
                    * (
                        (k + stiff[before, y, r]) * (here - d[before, y, r])
                        + (k + stiff[behind, y, r]) * (here - d[behind, y, r])
                    )
                    + (alpha_p * (k + stiff[s, above, r]) + h[s, above, r]) * (here - d[s, above, r])
                    + (alpha_p * (k + stiff[s, below, r]) + h[s, y, r]) * (here - d[s, below, r])
                    + alpha_r
                    * ((k + stiff[s, y, left]) * (here - d[s, y, left]) + (k + stiff[s, y, right]) * (here - d[s, y, right]))
                )
                if other:
                    out[s, y, r] += _column(beside, s, y, r, nr)


@njit(cache=True, parallel=True)
def gradient(u, weighted, a, c, e, barrier, alpha, stiff, along, beside, out):
    """J' t + steepness + smoothness u, t the weighted residual: gradient of the cost by u."""
    ns, n, nr = weighted.shape
    other = e.size > 0
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                t = weighted[s, y, r]
                out[s, y, r] = a[s, y, r] * t
                along[s, y, r] = c[s, y, r] * t
                if other:
                    beside[s, y, r] = e[s, y, r] * t
    alpha_s, alpha_p, alpha_r = alpha[0] * _HALF, alpha[1] * _HALF, alpha[2] * _HALF
    for s in prange(ns):
        before, behind = max(s - 1, 0), min(s + 1, ns - 1)
        for y in range(n):
            above, below = max(y - 1, 0), min(y + 1, n - 1)
            for r in range(nr):
                here = u[s, y, r]
                k = stiff[s, y, r]
                left, right = max(r - 1, 0), min(r + 1, nr - 1)
                out[s, y, r] += (
                    _row(along, s, y, r, n)
                    + alpha_s
                    * (
                        (k + stiff[before, y, r]) * (here - u[before, y, r])
                        + (k + stiff[behind, y, r]) * (here - u[behind, y, r])
                    )
                    + alpha_p
                    * ((k + stiff[s, above, r]) * (here - u[s, above, r]) + (k + stiff[s, below, r]) * (here - u[s, below, r]))
                    + alpha_r
                    * ((k + stiff[s, y, left]) * (here - u[s, y, left]) + (k + stiff[s, y, right]) * (here - u[s, y, right]))
                )
                out[s, y, r] -= barrier[s, y, r]
                if y > 0:
                    out[s, y, r] += barrier[s, y - 1, r]
                if other:
                    out[s, y, r] += _column(beside, s, y, r, nr)


@njit(cache=True)
def _total(sums):
    """Sum in the order in which they stand: in a parallel kernel `.sum()` adds up as many parts as there are threads."""
    total = 0.0
    for s in range(sums.size):
        total += sums[s]
    return total


@njit(cache=True, parallel=True)
def steepness(u, strength, free, first, second):
    """Half strength (|g| - free)^2 of steps g from voxel to voxel along p beyond `free`: derivatives by g, and their sum."""
    ns, n, nr = u.shape
    sums = np.zeros(ns)
    for s in prange(ns):
        part = 0.0
        for y in range(n):
            for r in range(nr):
                g = u[s, min(y + 1, n - 1), r] - u[s, y, r]
                beyond = max(abs(g) - free, _ZERO)
                part += beyond * beyond
                first[s, y, r] = strength * beyond if g > 0 else -strength * beyond
                second[s, y, r] = strength if beyond > 0 else _ZERO
        sums[s] = part
    return 0.5 * strength * _total(sums)


@njit(cache=True, parallel=True)
def stiffness(u, alpha, out):
    """How much the smoothness of each voxel counts: 1 where u is flat, 1 / (1 + |grad u|^2) with the gradient in expected ones.

    Fields are flat in most of the body and steep beside air: their gradients have heavy tails. Weights of Cauchy's distribution,
    taken at the present u.
    """
    ns, n, nr = u.shape
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                ds = (u[min(s + 1, ns - 1), y, r] - u[max(s - 1, 0), y, r]) * _HALF
                dp = (u[s, min(y + 1, n - 1), r] - u[s, max(y - 1, 0), r]) * _HALF
                dr = (u[s, y, min(r + 1, nr - 1)] - u[s, y, max(r - 1, 0)]) * _HALF
                out[s, y, r] = _ONE / (_ONE + alpha[0] * ds * ds + alpha[1] * dp * dp + alpha[2] * dr * dr)


@njit(cache=True, parallel=True)
def roughness(u, alpha, stiff):
    """Half the weighted sum of squared differences of neighbours."""
    ns, n, nr = u.shape
    sums = np.zeros(ns)
    for s in prange(ns):
        part = 0.0
        for y in range(n):
            for r in range(nr):
                here = u[s, y, r]
                k = stiff[s, y, r]
                behind, below, right = min(s + 1, ns - 1), min(y + 1, n - 1), min(r + 1, nr - 1)
                d = u[behind, y, r] - here
                part += alpha[0] * (k + stiff[behind, y, r]) * _HALF * d * d
                d = u[s, below, r] - here
                part += alpha[1] * (k + stiff[s, below, r]) * _HALF * d * d
                d = u[s, y, right] - here
                part += alpha[2] * (k + stiff[s, y, right]) * _HALF * d * d
        sums[s] = part
    return 0.5 * _total(sums)


@njit(cache=True, parallel=True)
def factorise(a, c, e, w, h, alpha, stiff, damping, diagonal, first, second):
    """Factors of the part of the normal matrix along each line of p: L D L', L with two subdiagonals."""
    ns, n, nr = a.shape
    across = 2 * alpha[0] + 2 * alpha[2]
    other = e.size > 0
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                # the rows of J are (-b, a, b) with b = c / 2, and at the ends (a - b, b) and (-b, a + b)
                half = c[s, y, r] * _HALF
                own = a[s, y, r]
                if y == 0:
                    own -= half
                if y == n - 1:
                    own += half
                total = w[s, y, r] * own * own
                if y > 0:
                    above = c[s, y - 1, r] * _HALF
                    total += w[s, y - 1, r] * above * above
                if y < n - 1:
                    below = c[s, y + 1, r] * _HALF
                    total += w[s, y + 1, r] * below * below
                if other:
                    total += w[s, y, r] * e[s, y, r] * e[s, y, r] * _HALF
                k = stiff[s, y, r]
                before = (k + stiff[s, y - 1, r]) * _HALF if y > 0 else _ZERO
                behind = (k + stiff[s, y + 1, r]) * _HALF if y < n - 1 else _ZERO
                barred = (h[s, y - 1, r] if y > 0 else _ZERO) + (h[s, y, r] if y < n - 1 else _ZERO)
                diagonal[s, y, r] = total + across * k + alpha[1] * (before + behind) + barred + damping
                one, two = _ZERO, _ZERO
                if y < n - 1:
                    # both rows y and y + 1 hold columns y and y + 1
                    next_own = a[s, y + 1, r]
                    below = c[s, y + 1, r] * _HALF
                    if y + 1 == n - 1:
                        next_own += below
                    one = w[s, y, r] * own * half - w[s, y + 1, r] * below * next_own - alpha[1] * behind - h[s, y, r]
                if y < n - 2:
                    below = c[s, y + 1, r] * _HALF
                    two = -w[s, y + 1, r] * below * below
                first[s, y, r] = one
                second[s, y, r] = two
        for y in range(n):
            for r in range(nr):
                pivot = diagonal[s, y, r]
                if y > 1:
                    pivot -= second[s, y - 2, r] * second[s, y - 2, r] * diagonal[s, y - 2, r]
                if y > 0:
                    pivot -= first[s, y - 1, r] * first[s, y - 1, r] * diagonal[s, y - 1, r]
                one = first[s, y, r]
                if y > 0:
                    one -= first[s, y - 1, r] * second[s, y - 1, r] * diagonal[s, y - 1, r]
                diagonal[s, y, r] = pivot
                first[s, y, r] = one / pivot
                second[s, y, r] /= pivot


@njit(cache=True, parallel=True)
def solve_lines(diagonal, first, second, right, out):
    """Solve along every line with the factors of :func:`factorise`."""
    ns, n, nr = right.shape
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                value = right[s, y, r]
                if y > 0:
                    value -= first[s, y - 1, r] * out[s, y - 1, r]
                if y > 1:
                    value -= second[s, y - 2, r] * out[s, y - 2, r]
                out[s, y, r] = value
        for y in range(n - 1, -1, -1):
            for r in range(nr):
                value = out[s, y, r] / diagonal[s, y, r]
                if y < n - 1:
                    value -= first[s, y, r] * out[s, y + 1, r]
                if y < n - 2:
                    value -= second[s, y, r] * out[s, y + 2, r]
                out[s, y, r] = value


@njit(cache=True, parallel=True)
def limit_slopes(u, most, out):
    """The mean of the largest function below u and the smallest above it whose steps along p are at most `most`.

    Equal to u wherever no step nearby is larger (the Lipschitz envelopes of McShane 1934, Bull Am Math Soc 40:837-842).
    """
    ns, n, nr = u.shape
    for s in prange(ns):
        for r in range(nr):
            low = np.empty(n, np.float32)
            high = np.empty(n, np.float32)
            low[0] = high[0] = u[s, 0, r]
            for y in range(1, n):
                low[y] = min(u[s, y, r], low[y - 1] + most)
                high[y] = max(u[s, y, r], high[y - 1] - most)
            for y in range(n - 2, -1, -1):
                low[y] = min(low[y], low[y + 1] + most)
                high[y] = max(high[y], high[y + 1] - most)
            for y in range(n):
                out[s, y, r] = _HALF * (low[y] + high[y])
