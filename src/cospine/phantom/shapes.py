"""Signed distances (mm, negative inside) of the solids that heads and necks are made of, and soft painting with
them."""

from math import sqrt

from numba import njit

# Width of the transition between tissues (mm), about one voxel of the object grid.
SOFT_MM = 0.8


@njit(cache=True)
def ellipse(x, y, a, b):
    """Distance to an ellipse about the origin, exact at its outline and on its axes to first order."""
    k0 = sqrt((x / a) * (x / a) + (y / b) * (y / b))
    k1 = sqrt((x / (a * a)) * (x / (a * a)) + (y / (b * b)) * (y / (b * b)))
    return k0 * (k0 - 1) / k1 if k1 > 1e-9 else -min(a, b)


@njit(cache=True)
def ellipsoid(x, y, z, a, b, c):
    """Distance to an ellipsoid about the origin, exact at its surface to first order."""
    k0 = sqrt((x / a) * (x / a) + (y / b) * (y / b) + (z / c) * (z / c))
    k1 = sqrt((x / (a * a)) * (x / (a * a)) + (y / (b * b)) * (y / (b * b)) + (z / (c * c)) * (z / (c * c)))
    return k0 * (k0 - 1) / k1 if k1 > 1e-9 else -min(a, b, c)


@njit(cache=True)
def capsule(x, y, ax, ay, bx, by, radius):
    """Distance to a segment from (ax, ay) to (bx, by), thickened."""
    ux, uy = bx - ax, by - ay
    t = ((x - ax) * ux + (y - ay) * uy) / (ux * ux + uy * uy)
    t = min(max(t, 0.0), 1.0)
    dx, dy = x - ax - t * ux, y - ay - t * uy
    return sqrt(dx * dx + dy * dy) - radius


@njit(cache=True)
def join(a, b, k):
    """Union of two solids with a fillet of width ``k``."""
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - h * h * k * 0.25


@njit(cache=True)
def inside(distance):
    """Share of a voxel that lies inside a solid."""
    return min(max(0.5 - distance / SOFT_MM, 0.0), 1.0)


@njit(cache=True)
def paint(f, tissue, share):
    """Cover a share of the voxel's fractions ``f`` with a tissue."""
    if share > 0:
        for n in range(f.shape[0]):
            f[n] *= 1 - share
        f[tissue] += share


@njit(cache=True)
def smooth(u):
    """0 below u = 0, 1 above u = 1, smooth between."""
    u = min(max(u, 0.0), 1.0)
    return u * u * (3 - 2 * u)
