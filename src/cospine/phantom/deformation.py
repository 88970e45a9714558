"""From the template to an individual: pose, curvature, lengths, girths, size of the cord and a smooth warp.

The map is a chain of closed forms from the individual A (scanner RAS mm) to the template C (canonical RAS mm):

1. the pose of the whole body is undone (rotation about the occipital condyles, translation);
2. the neck is straightened: a point belongs to the plane across the curved axis that it lies in (Newton's iteration), so
   cross-sections of the cord stay what they are;
3. head and neck get the template's lengths and girths, passing smoothly into one another at the foramen magnum;
4. a disc of tissue about the cord gets the template's size, fading outwards;
5. a few long sine waves are added.

The way back inverts each by a fixed point or Newton iteration, so that going there and back errs by less than 1e-6 mm.
"""

from dataclasses import dataclass
from math import cos, exp, log1p, sin, sqrt

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray

from cospine.phantom.tables import FORAMEN_MAGNUM_Z, HEAD_PIVOT, ISOCENTRE, VERTEBRA_TOP_Z

# Everything below is computed in coordinates relative to the isocentre.
_AXIS_Y = -46.0 - ISOCENTRE[1]
_TOP = FORAMEN_MAGNUM_Z - ISOCENTRE[2]
# Lengths over which head passes into neck, and beyond which the size of the cord has no influence.
_JOIN_MM, _CORD_REACH_MM, _BEND_JOIN_MM, _BOW_MM = 9.0, 22.0, 14.0, 45.0
_MODES = 10

# Canonical places that the operator centres on.
VERTEX, C7_BOTTOM = (0.0, -20.0, 83.0), (0.0, -45.8, VERTEBRA_TOP_Z[7])
BRAIN_FRONT, BRAIN_BACK = (0.0, 74.0, 0.0), (0.0, -107.0, 0.0)

# Places in the flat parameter vector that the kernels take.
_PIVOT, _SHIFT, _ROTATION = slice(0, 3), slice(3, 6), slice(6, 15)
_BEND, _SCALE, _CORD, _N = 15, 20, 25, 26


@njit(cache=True)
def _softplus(u):
    return u + log1p(exp(-u)) if u > 0 else log1p(exp(u))


@njit(cache=True)
def _logistic(u):
    return 1 / (1 + exp(-u)) if u > 0 else exp(u) / (1 + exp(u))


@njit(cache=True)
def _axis(s, p):
    """Offset of the axis (x, y), its slope and the slope's derivative, at height s."""
    lean_x, lean_y, bow_x, bow_y, middle = p[_BEND], p[_BEND + 1], p[_BEND + 2], p[_BEND + 3], p[_BEND + 4]
    u = (_TOP - 14.0 - s) / _BEND_JOIN_MM
    run, share = _BEND_JOIN_MM * _softplus(u), _logistic(u)
    turn = share * (1 - share) / _BEND_JOIN_MM
    v = (s - middle) / _BOW_MM
    bell = exp(-v * v)
    slope = -2 * v / _BOW_MM * bell
    curve = (4 * v * v - 2) / _BOW_MM**2 * bell
    return (
        lean_x * run + bow_x * bell,
        lean_y * run + bow_y * bell,
        -lean_x * share + bow_x * slope,
        -lean_y * share + bow_y * slope,
        lean_x * turn + bow_x * curve,
        lean_y * turn + bow_y * curve,
    )


@njit(cache=True)
def _lower(s):
    return _logistic((_TOP - s) / _JOIN_MM)


@njit(cache=True)
def _height(s, p):
    """Template height and its derivative by s."""
    head, neck = 1 / p[_SCALE + 2], 1 / p[_SCALE + 4]
    u = (_TOP - s) / _JOIN_MM
    z = _TOP + (s - _TOP) * head - (neck - head) * _JOIN_MM * _softplus(u)
    return z, head + (neck - head) * _logistic(u)


@njit(cache=True)
def _widths(s, p):
    low = _lower(s)
    girth = 1 / p[_SCALE + 3]
    return (1 - low) / p[_SCALE] + low * girth, (1 - low) / p[_SCALE + 1] + low * girth, low * (p[_SCALE + 3] / p[_CORD] - 1)


@njit(cache=True)
def _waves(x, y, z, modes):
    dx = dy = dz = 0.0
    for m in range(modes.shape[0]):
        value = sin(modes[m, 0] * x + modes[m, 1] * y + modes[m, 2] * z + modes[m, 3])
        dx += modes[m, 4] * value
        dy += modes[m, 5] * value
        dz += modes[m, 6] * value
    return dx, dy, dz


@njit(cache=True)
def to_canonical(x, y, z, p, modes):
    """One point of A to C."""
    # 1. pose
    x, y, z = x - p[0] - p[3], y - p[1] - p[4], z - p[2] - p[5]
    x, y, z = (
        p[6] * x + p[9] * y + p[12] * z + p[0],
        p[7] * x + p[10] * y + p[13] * z + p[1],
        p[8] * x + p[11] * y + p[14] * z + p[2],
    )
    # 2. straighten
    s = z
    for _ in range(12):
        cx, cy, tx, ty, ax, ay = _axis(s, p)
        rx, ry, rz = x - cx, y - _AXIS_Y - cy, z - s
        step = (rx * tx + ry * ty + rz) / (1 + tx * tx + ty * ty - rx * ax - ry * ay)
        s += step
        if abs(step) < 1e-7:
            break
    cx, cy, tx, ty, _, _ = _axis(s, p)
    rx, ry, rz = x - cx, y - _AXIS_Y - cy, z - s
    n2, n = sqrt(1 + ty * ty), sqrt(1 + tx * tx + ty * ty)
    v = (ry - ty * rz) / n2
    # e1 = e2 x t / |t| with e2 = (0, 1, -ty) / n2
    u = ((1 + ty * ty) * rx - tx * ty * ry - tx * rz) / (n2 * n)
    # 3. lengths and girths
    zc, _ = _height(s, p)
    kx, ky, local = _widths(s, p)
    u, v = u * kx, v * ky
    # 4. size of the cord
    grow = 1 + local * exp(-(u * u + v * v) / _CORD_REACH_MM**2)
    u, v = u * grow, v * grow + _AXIS_Y
    # 5. waves
    dx, dy, dz = _waves(u, v, zc, modes)
    return u + dx + ISOCENTRE[0], v + dy + ISOCENTRE[1], zc + dz + ISOCENTRE[2]


@njit(cache=True)
def _to_individual(x, y, z, p, modes):
    x, y, z = x - ISOCENTRE[0], y - ISOCENTRE[1], z - ISOCENTRE[2]
    u, v, zc = x, y, z
    for _ in range(60):
        dx, dy, dz = _waves(u, v, zc, modes)
        change = abs(x - dx - u) + abs(y - dy - v) + abs(z - dz - zc)
        u, v, zc = x - dx, y - dy, z - dz
        if change < 1e-9:
            break
    s = zc
    for _ in range(40):
        value, slope = _height(s, p)
        step = (zc - value) / slope
        s += step
        if abs(step) < 1e-10:
            break
    kx, ky, local = _widths(s, p)
    v -= _AXIS_Y
    r = sqrt(u * u + v * v)
    inner = r
    for _ in range(40):
        bell = local * exp(-((inner / _CORD_REACH_MM) ** 2))
        step = (inner * (1 + bell) - r) / (1 + bell * (1 - 2 * (inner / _CORD_REACH_MM) ** 2))
        inner -= step
        if abs(step) < 1e-10:
            break
    shrink = inner / r if r > 0 else 1.0
    u, v = u * shrink / kx, v * shrink / ky
    cx, cy, tx, ty, _, _ = _axis(s, p)
    n2, n = sqrt(1 + ty * ty), sqrt(1 + tx * tx + ty * ty)
    x = cx + u * (1 + ty * ty) / (n2 * n)
    y = _AXIS_Y + cy + v / n2 - u * tx * ty / (n2 * n)
    z = s - v * ty / n2 - u * tx / (n2 * n)
    x, y, z = x - p[0], y - p[1], z - p[2]
    return (
        p[6] * x + p[7] * y + p[8] * z + p[0] + p[3],
        p[9] * x + p[10] * y + p[11] * z + p[1] + p[4],
        p[12] * x + p[13] * y + p[14] * z + p[2] + p[5],
    )


@njit(cache=True, parallel=True)
def _map(points, p, modes, back, out):
    for n in prange(points.shape[0]):
        if back:
            a, b, c = _to_individual(points[n, 0], points[n, 1], points[n, 2], p, modes)
        else:
            a, b, c = to_canonical(points[n, 0], points[n, 1], points[n, 2], p, modes)
        out[n, 0], out[n, 1], out[n, 2] = a, b, c


@dataclass(frozen=True)
class Deformation:
    """Point maps between an individual and the template.

    Parameters
    ----------
    parameters : ndarray, shape (26,)
        Pivot, translation (mm), rotation matrix by rows; lean of the neck to the right and backwards (slopes),
        bow to the right and forwards
        (mm) and the height of its middle; scales of the head along x, y, z, of the neck's girth and length;
        scale of the cord.
    modes : ndarray, shape (m, 7)
        Sine waves: wave vector (rad/mm), phase, amplitudes (mm).
    """

    parameters: NDArray[np.float64]
    modes: NDArray[np.float64]

    def to_canonical(self, points: ArrayLike) -> NDArray[np.float64]:
        """Individual RAS mm (n, 3) to canonical RAS mm (n, 3)."""
        return self._run(points, False)

    def to_individual(self, points: ArrayLike) -> NDArray[np.float64]:
        """Canonical RAS mm (n, 3) to individual RAS mm (n, 3)."""
        return self._run(points, True)

    def _run(self, points: ArrayLike, back: bool) -> NDArray[np.float64]:
        given = np.asarray(points, float)
        flat = np.ascontiguousarray(given.reshape(-1, 3))
        out = np.empty_like(flat)
        _map(flat, self.parameters, self.modes, back, out)
        return out.reshape(given.shape)


def identity() -> Deformation:
    """The template itself, moved to the isocentre."""
    p = np.zeros(_N)
    p[_PIVOT] = np.subtract(HEAD_PIVOT, ISOCENTRE)
    p[_ROTATION] = np.eye(3).ravel()
    p[_BEND + 4] = -75.0
    p[_SCALE:_N] = 1
    return Deformation(p, np.zeros((1, 7)))


def draw_deformation(rng: np.random.Generator) -> Deformation:
    """Draw an individual.

    The MNI152 brain is larger than most (by some 7 % a dimension against Talairach's: Lancaster et al., Hum Brain Mapp
    2007), so heads are scaled by 0.89-0.99. Necks: length by 0.90-1.06; the neck of a supine person leans back by 1-8
    degrees and bows forward (lordosis) by 0-5 mm. Cord: size by 0.87-1.13.
    """
    p = identity().parameters
    p[_SHIFT] = rng.uniform(-1, 1, 3) * (2.5, 0.0, 0.0)
    a, b, c = np.deg2rad(rng.uniform(-1, 1, 3) * (4.0, 1.5, 2.0))
    rx = np.array([[1, 0, 0], [0, cos(a), -sin(a)], [0, sin(a), cos(a)]])
    ry = np.array([[cos(b), 0, sin(b)], [0, 1, 0], [-sin(b), 0, cos(b)]])
    rz = np.array([[cos(c), -sin(c), 0], [sin(c), cos(c), 0], [0, 0, 1]])
    p[_ROTATION] = (rz @ ry @ rx).ravel()
    p[_BEND : _BEND + 5] = (
        rng.uniform(-0.03, 0.03), -rng.uniform(0.02, 0.14), rng.uniform(-1.5, 1.5), rng.uniform(0.0, 5.0),
        -rng.uniform(65, 85),
    )  # fmt: skip
    p[_SCALE : _SCALE + 3] = rng.uniform(0.91, 0.97) * rng.uniform(0.98, 1.02, 3)
    p[_SCALE + 3 :] = rng.uniform(0.94, 1.06), rng.uniform(0.90, 1.06), rng.uniform(0.87, 1.13)
    direction = rng.standard_normal((_MODES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wavelength = rng.uniform(75, 160, (_MODES, 1))
    amplitude = rng.standard_normal((_MODES, 3)) * 0.55 * wavelength / 120
    phase = rng.uniform(0, 2 * np.pi, (_MODES, 1))
    drawn = Deformation(p, np.hstack([direction * 2 * np.pi / wavelength, phase, amplitude]))
    # the operator centres the field of view on vertex to C7 along z, on the brain along y, within a few millimetres
    ends = drawn.to_individual(np.array([VERTEX, C7_BOTTOM, BRAIN_FRONT, BRAIN_BACK]))
    middle = np.array([0, ends[2:, 1].mean(), ends[:2, 2].mean()])
    shifted = p.copy()
    shifted[_SHIFT] -= middle - rng.uniform(-1, 1, 3) * (0.0, 4.0, 2.0)
    return Deformation(shifted, drawn.modes)
