"""The normal equations of one Gauss-Newton step for a displacement, and their lines along the phase encoding solved exactly.

The step minimises |J d + r|^2 weighted by w, plus what smoothness costs, whose part `smoothness.add_derivative` adds.
J d = a d + c D d + e E d, D the central difference along p and E that along r (for a second image encoded there; e is of size 0
for none). D's rows: (D d)[0] = (d[1] - d[0]) / 2, (D d)[y] = (d[y+1] - d[y-1]) / 2, (D d)[n-1] = (d[n-1] - d[n-2]) / 2. Arrays as
in `unwarp_kernels`.
"""

import numpy as np
from numba import njit, prange

from cospine.field.unwarp_kernels import slope_along

_HALF, _ZERO = np.float32(0.5), np.float32(0)


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
def normal_times(d, a, c, e, w, h, damping, along, beside, out):
    """(J' W J + steepness + damping) d; `along` and `beside` (of e's size) are scratch."""
    ns, n, nr = d.shape
    other = e.size > 0
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                g = slope_along(d, s, y, r, n)
                t = a[s, y, r] * d[s, y, r] + c[s, y, r] * g
                if other:
                    t += e[s, y, r] * (d[s, y, min(r + 1, nr - 1)] - d[s, y, max(r - 1, 0)]) * _HALF
                t *= w[s, y, r]
                out[s, y, r] = a[s, y, r] * t
                along[s, y, r] = c[s, y, r] * t
                if other:
                    beside[s, y, r] = e[s, y, r] * t
    for s in prange(ns):
        for y in range(n):
            above, below = max(y - 1, 0), min(y + 1, n - 1)
            for r in range(nr):
                here = d[s, y, r]
                out[s, y, r] += (
                    _row(along, s, y, r, n)
                    + damping * here
                    + h[s, above, r] * (here - d[s, above, r])
                    + h[s, y, r] * (here - d[s, below, r])
                )
                if other:
                    out[s, y, r] += _column(beside, s, y, r, nr)


@njit(cache=True, parallel=True)
def gradient(weighted, a, c, e, barrier, along, beside, out):
    """J' t + steepness, t the weighted residual: gradient of the cost by u, but for smoothness."""
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
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                out[s, y, r] += _row(along, s, y, r, n) - barrier[s, y, r]
                if y > 0:
                    out[s, y, r] += barrier[s, y - 1, r]
                if other:
                    out[s, y, r] += _column(beside, s, y, r, nr)


@njit(cache=True, parallel=True)
def factorise(a, c, e, w, h, alpha, stiff, beta, flat, damping, diagonal, first, second):
    """Factors of the part of the normal matrix along each line of p: L D L', L with two subdiagonals.

    Smoothness (`smoothness.add_derivative`) is in it: whole along p, by its diagonal across.
    """
    ns, n, nr = a.shape
    across = 2 * alpha[0] + 2 * alpha[2]
    bent_across = 6 * (beta[0] + beta[2])
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
                # bending: rows (1, -2, 1) about y - 1, y and y + 1 hold column y
                inner = flat[s, y, r] if 0 < y < n - 1 else _ZERO
                upper = flat[s, y - 1, r] if y > 1 else _ZERO
                lower = flat[s, y + 1, r] if y < n - 2 else _ZERO
                diagonal[s, y, r] += bent_across * flat[s, y, r] + beta[1] * (upper + 4 * inner + lower)
                if y < n - 1:
                    one -= 2 * beta[1] * (inner + lower)
                if y < n - 2:
                    two += beta[1] * lower
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
