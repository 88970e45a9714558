"""What is expected of a displacement before any image is seen: steep and bent in few places, its Jacobian positive.

Arrays are C-contiguous float32 (s, p, r), p the phase-encoding axis; displacements are in voxels along it.
"""

import numpy as np
from numba import njit, prange

_HALF, _ONE, _ZERO = np.float32(0.5), np.float32(1), np.float32(0)


@njit(cache=True)
def _total(sums):
    """Sum in the order in which they stand: in a parallel kernel `.sum()` adds up as many parts as there are threads."""
    total = 0.0
    for s in range(sums.size):
        total += sums[s]
    return total


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


@njit(cache=True, inline="always")
def _seconds(u, s, y, r):
    """Second differences along s, p and r, 0 where one would need what lies beyond an end."""
    ns, n, nr = u.shape
    here = u[s, y, r] + u[s, y, r]
    along_s = u[s - 1, y, r] - here + u[s + 1, y, r] if 0 < s < ns - 1 else _ZERO
    along_p = u[s, y - 1, r] - here + u[s, y + 1, r] if 0 < y < n - 1 else _ZERO
    along_r = u[s, y, r - 1] - here + u[s, y, r + 1] if 0 < r < nr - 1 else _ZERO
    return along_s, along_p, along_r


@njit(cache=True, parallel=True)
def flatness(u, beta, out):
    """How much the bending of each voxel counts: `stiffness` of second differences, in expected ones."""
    ns, n, nr = u.shape
    for s in prange(ns):
        for y in range(n):
            for r in range(nr):
                a, b, c = _seconds(u, s, y, r)
                out[s, y, r] = _ONE / (_ONE + beta[0] * a * a + beta[1] * b * b + beta[2] * c * c)


@njit(cache=True, parallel=True)
def bending(u, beta, flat):
    """Half the weighted sum of squared second differences."""
    ns, n, nr = u.shape
    sums = np.zeros(ns)
    for s in prange(ns):
        part = 0.0
        for y in range(n):
            for r in range(nr):
                a, b, c = _seconds(u, s, y, r)
                part += flat[s, y, r] * (beta[0] * a * a + beta[1] * b * b + beta[2] * c * c)
        sums[s] = part
    return 0.5 * _total(sums)


@njit(cache=True, parallel=True)
def add_derivative(u, alpha, stiff, beta, flat, scratch, out):
    """Adds the derivative of `roughness` and `bending` by u; it is linear in u. `scratch` is (3, s, p, r)."""
    ns, n, nr = u.shape
    for s in prange(ns):
        before, behind = max(s - 1, 0), min(s + 1, ns - 1)
        beta_s = beta[0] if 0 < s < ns - 1 else _ZERO
        for y in range(n):
            above, below = max(y - 1, 0), min(y + 1, n - 1)
            beta_p = beta[1] if 0 < y < n - 1 else _ZERO
            for r in range(nr):
                left, right = max(r - 1, 0), min(r + 1, nr - 1)
                beta_r = beta[2] if left < r < right else _ZERO
                k, here = flat[s, y, r], u[s, y, r] + u[s, y, r]
                scratch[0, s, y, r] = beta_s * k * (u[before, y, r] - here + u[behind, y, r])
                scratch[1, s, y, r] = beta_p * k * (u[s, above, r] - here + u[s, below, r])
                scratch[2, s, y, r] = beta_r * k * (u[s, y, left] - here + u[s, y, right])
    alpha_s, alpha_p, alpha_r = alpha[0] * _HALF, alpha[1] * _HALF, alpha[2] * _HALF
    for s in prange(ns):
        before, behind = max(s - 1, 0), min(s + 1, ns - 1)
        for y in range(n):
            above, below = max(y - 1, 0), min(y + 1, n - 1)
            for r in range(nr):
                left, right = max(r - 1, 0), min(r + 1, nr - 1)
                k, here = stiff[s, y, r], u[s, y, r]
                ds = (k + stiff[before, y, r]) * (here - u[before, y, r]) + (k + stiff[behind, y, r]) * (here - u[behind, y, r])
                dp = (k + stiff[s, above, r]) * (here - u[s, above, r]) + (k + stiff[s, below, r]) * (here - u[s, below, r])
                dr = (k + stiff[s, y, left]) * (here - u[s, y, left]) + (k + stiff[s, y, right]) * (here - u[s, y, right])
                # at the ends scratch is 0, so a neighbour beyond them may be the end itself
                out[s, y, r] += (
                    alpha_s * ds + alpha_p * dp + alpha_r * dr
                    + scratch[0, before, y, r] + scratch[0, behind, y, r] - 2 * scratch[0, s, y, r]
                    + scratch[1, s, above, r] + scratch[1, s, below, r] - 2 * scratch[1, s, y, r]
                    + scratch[2, s, y, left] + scratch[2, s, y, right] - 2 * scratch[2, s, y, r]
                )  # fmt: skip


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
