"""Small linear systems and products for kernels: plain loops, which compile in a fraction of the time LAPACK's wrappers take."""

import math

from numba import njit


@njit(cache=True)
def multiply(a, b, out):
    """Matrix product a b into `out`, which is neither of them."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = 0.0
            for k in range(b.shape[0]):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@njit(cache=True)
def solve_scaled(normal, right, damping, tiny, scaled, size):
    """Solve normal equations in place of `right`, each unknown in units of its own, the root of the diagonal plus `tiny`.

    normal (n, n), symmetric; damping: added to the diagonal, which is 1 in these units; scaled (n, n) and size (n,) are scratch.
    """
    n = right.size
    for i in range(n):
        size[i] = math.sqrt(normal[i, i]) + tiny
    for i in range(n):
        for j in range(n):
            scaled[i, j] = normal[i, j] / (size[i] * size[j])
        scaled[i, i] += damping
        right[i] /= size[i]
    # Gauss's elimination with partial pivoting
    for k in range(n):
        pivot = k
        for i in range(k + 1, n):
            if abs(scaled[i, k]) > abs(scaled[pivot, k]):
                pivot = i
        if pivot != k:
            for j in range(k, n):
                scaled[k, j], scaled[pivot, j] = scaled[pivot, j], scaled[k, j]
            right[k], right[pivot] = right[pivot], right[k]
        for i in range(k + 1, n):
            factor = scaled[i, k] / scaled[k, k]
            for j in range(k + 1, n):
                scaled[i, j] -= factor * scaled[k, j]
            right[i] -= factor * right[k]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            right[i] -= scaled[i, j] * right[j]
        right[i] /= scaled[i, i]
    for i in range(n):
        right[i] /= size[i]
