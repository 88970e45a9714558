"""Rigid registration of the volumes of a series to one reference, by robust Gauss-Newton.

The reference is the model and the volume the measurement: the reference's spline is evaluated where the pose puts each
measured voxel, so the noisy volume is never interpolated. The increment is composed on the reference's side (Lucas & Kanade
1981; Baker & Matthews 2004, Int J Comput Vis 56:221-255); gain and offset of each volume are solved along, and Tukey's
biweight takes out what moves on its own or activates. Both images are smoothed a little first (binomial, 1 2 1 along each
axis): a voxel is a mean over its volume, so detail near the Nyquist frequency is aliased, moves otherwise than the head does
and pulls every estimate toward the lattice.
"""

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from cospine.register.solve import multiply, solve_scaled
from cospine.space.bspline import value_and_gradient

TUKEY = 4.685  # 95 % efficiency for Gaussian residuals
_LEAST_USED = 0.5  # of all weight: with less of it inside the image a pose is none
_LONGEST_MM, _LARGEST_RAD = 6.0, 0.12  # of one step: beyond it the linear model is worthless
_DAMPING = 1e-5  # relative, for directions that the image says nothing of


@njit(cache=True)
def _move(pose, step, centre, turn, before):
    """Compose a step (3 mm, 3 rad about `centre`) on the reference's side of a pose, in place; turn and before are scratch."""
    x, y, z = step[3], step[4], step[5]
    angle = math.sqrt(x * x + y * y + z * z)
    first, second = 1.0, 0.0  # of Rodrigues' formula
    if angle >= 1e-12:
        first, second = math.sin(angle) / angle, (1 - math.cos(angle)) / (angle * angle)
    turn[0, 0], turn[0, 1], turn[0, 2] = 1 - second * (y * y + z * z), second * x * y - first * z, second * x * z + first * y
    turn[1, 0], turn[1, 1], turn[1, 2] = second * x * y + first * z, 1 - second * (x * x + z * z), second * y * z - first * x
    turn[2, 0], turn[2, 1], turn[2, 2] = second * x * z - first * y, second * y * z + first * x, 1 - second * (x * x + y * y)
    for a in range(3):
        for b in range(4):
            before[a, b] = pose[a, b]
    for a in range(3):
        for b in range(4):
            pose[a, b] = turn[a, 0] * before[0, b] + turn[a, 1] * before[1, b] + turn[a, 2] * before[2, b]
        pose[a, 3] += step[a] + centre[a] - (turn[a, 0] * centre[0] + turn[a, 1] * centre[1] + turn[a, 2] * centre[2])


@njit(cache=True)
def robust_weight(weight, residual, scale):
    """A weight times Tukey's biweight of a residual; the weight itself while the residuals' scale is not known (0)."""
    if scale <= 0:
        return weight
    ratio = residual / (TUKEY * scale)
    if abs(ratio) >= 1:
        return 0.0
    return weight * (1 - ratio * ratio) ** 2


@njit(cache=True)
def _accumulate(coefs, values, points, weight, m, back, ras_to_voxel, centre, gain, offset, scale, j, normal, right):
    """Sum the weighted normal equations of one volume; returns the robust residual scale and the weight used.

    m: stored voxel to reference RAS mm, back: to reference voxel; j (8,) is scratch.
    """
    nz, ny, nx = coefs.shape
    for a in range(8):
        right[a] = 0.0
        for b in range(8):
            normal[a, b] = 0.0
    absolute = 0.0
    used = 0.0
    for n in range(points.shape[0]):
        i0, j0, k0 = points[n, 0], points[n, 1], points[n, 2]
        x = back[0, 0] * i0 + back[0, 1] * j0 + back[0, 2] * k0 + back[0, 3]
        y = back[1, 0] * i0 + back[1, 1] * j0 + back[1, 2] * k0 + back[1, 3]
        z = back[2, 0] * i0 + back[2, 1] * j0 + back[2, 2] * k0 + back[2, 3]
        if x < 0 or y < 0 or z < 0 or x > nx - 1 or y > ny - 1 or z > nz - 1:
            continue
        value, gx, gy, gz = value_and_gradient(coefs, x, y, z)
        residual = values[n] - gain * value - offset
        w = weight[n]
        absolute += w * abs(residual)
        used += w
        w = robust_weight(w, residual, scale)
        if w == 0:
            continue
        # gradient in RAS mm, times the gain
        rx = gain * (ras_to_voxel[0, 0] * gx + ras_to_voxel[1, 0] * gy + ras_to_voxel[2, 0] * gz)
        ry = gain * (ras_to_voxel[0, 1] * gx + ras_to_voxel[1, 1] * gy + ras_to_voxel[2, 1] * gz)
        rz = gain * (ras_to_voxel[0, 2] * gx + ras_to_voxel[1, 2] * gy + ras_to_voxel[2, 2] * gz)
        px = m[0, 0] * i0 + m[0, 1] * j0 + m[0, 2] * k0 + m[0, 3] - centre[0]
        py = m[1, 0] * i0 + m[1, 1] * j0 + m[1, 2] * k0 + m[1, 3] - centre[1]
        pz = m[2, 0] * i0 + m[2, 1] * j0 + m[2, 2] * k0 + m[2, 3] - centre[2]
        j[0], j[1], j[2] = rx, ry, rz
        j[3] = py * rz - pz * ry
        j[4] = pz * rx - px * rz
        j[5] = px * ry - py * rx
        j[6] = value
        j[7] = 1.0
        for a in range(8):
            wa = w * j[a]
            right[a] += wa * residual
            for b in range(a, 8):
                normal[a, b] += wa * j[b]
    for a in range(8):
        for b in range(a):
            normal[a, b] = normal[b, a]
    return 1.2533 * absolute / max(used, 1e-30), used


@njit(cache=True, inline="always")
def _beside(i, n):
    """Neighbours of voxel i along an axis of n voxels mirrored about its end voxels."""
    if n == 1:
        return 0, 0
    return (i - 1 if i > 0 else 1), (i + 1 if i < n - 1 else n - 2)


@njit(cache=True)
def _smoothed_at(volume, points, values):
    """Binomial mean of the 27 voxels about each point."""
    nz, ny, nx = volume.shape
    for n in range(points.shape[0]):
        i, j, k = np.int64(points[n, 0]), np.int64(points[n, 1]), np.int64(points[n, 2])
        i0, i1 = _beside(i, nx)
        j0, j1 = _beside(j, ny)
        k0, k1 = _beside(k, nz)
        total = np.float32(0)
        for kk, wk in ((k0, 1), (k, 2), (k1, 1)):
            for jj, wj in ((j0, 1), (j, 2), (j1, 1)):
                row = volume[kk, jj]
                total += np.float32(wk * wj) * (row[i0] + 2 * row[i] + row[i1])
        values[n] = total / np.float32(64)


def smoothed(volume: NDArray) -> NDArray[np.float32]:
    """A volume, or its spline coefficients, smoothed as both sides of the comparison are.

    Parameters
    ----------
    volume : ndarray (z, y, x) or (x, y, z)
        Any axis order.

    Returns
    -------
    ndarray, float32
        1 2 1 along every axis longer than one voxel, mirrored about the end voxels.
    """
    for axis, size in enumerate(volume.shape):
        if size > 1:
            volume = convolve1d(volume, (0.25, 0.5, 0.25), axis=axis, output=np.float32, mode="mirror")
    return volume


@njit(cache=True)
def _register_one(coefs, volume, points, weight, least, to_ras, ras_to_voxel, centre, iterations, tolerance_mm, pose, fit):
    """Gauss-Newton for one volume, its `pose` and `fit` improved in place; `least` weight must stay inside the image."""
    values = np.empty(points.shape[0], np.float32)
    _smoothed_at(volume, points, values)
    now, before, m, back = np.empty((4, 4)), np.empty((4, 4)), np.empty((4, 4)), np.empty((4, 4))
    normal, scaled, turn = np.empty((8, 8)), np.empty((8, 8)), np.empty((3, 3))
    j, step, size = np.empty(8), np.empty(8), np.empty(8)
    for a in range(4):
        for b in range(4):
            now[a, b] = pose[a, b]
    gain, offset, scale = fit[0], fit[1], 0.0
    steps = 0
    for steps in range(iterations):
        multiply(now, to_ras, m)
        multiply(ras_to_voxel, m, back)
        scale, used = _accumulate(
            coefs, values, points, weight, m, back, ras_to_voxel, centre, gain, offset, scale, j, normal, step
        )
        if used < least:  # walked off the image: better where it began
            fit[2], fit[3] = scale, steps + 1
            return
        # units differ by orders of magnitude between translations, rotations, gain and offset
        solve_scaled(normal, step, _DAMPING, 1e-30, scaled, size)
        shifted, turned = 0.0, 0.0
        for a in range(3):
            step[a] = min(max(step[a], -_LONGEST_MM), _LONGEST_MM)
            step[3 + a] = min(max(step[3 + a], -_LARGEST_RAD), _LARGEST_RAD)
            shifted, turned = max(shifted, abs(step[a])), max(turned, abs(step[3 + a]))
        _move(now, step, centre, turn, before)
        gain += step[6]
        offset += step[7]
        # a rotation is judged by what it does 50 mm from the centre
        if steps > 0 and shifted + 50.0 * turned < tolerance_mm:
            break
    for a in range(4):
        for b in range(4):
            pose[a, b] = now[a, b]
    fit[0], fit[1], fit[2], fit[3] = gain, offset, scale, steps + 1


@njit(cache=True, parallel=True)
def _register(coefs, series, points, weight, least, to_ras, ras_to_voxel, centre, iterations, tolerance_mm, poses, fit):
    """Gauss-Newton for all volumes side by side, `poses` (stored RAS to reference RAS) and `fit` improved in place."""
    for t in prange(series.shape[0]):
        _register_one(
            coefs, series[t], points, weight, least, to_ras, ras_to_voxel, centre, iterations, tolerance_mm, poses[t], fit[t]
        )


def register_rigid(
    coefs: NDArray,
    series: NDArray,
    affine: NDArray,
    centre: NDArray,
    points: NDArray,
    weight: NDArray,
    poses: NDArray | None = None,
    *,
    iterations: int = 12,
    tolerance_mm: float = 0.001,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pose of every volume of a series against a reference on the same grid.

    Parameters
    ----------
    coefs : ndarray (z, y, x), float32
        Spline coefficients of the reference (`space.bspline.coefficients`).
    series : ndarray (t, z, y, x)
        Volumes, C-contiguous.
    affine : ndarray (4, 4)
        Voxel (i, j, k) to RAS mm.
    centre : ndarray (3,)
        Point that rotations turn about, RAS mm.
    points : ndarray (n, 3), int
        Stored voxels (i, j, k) to compare.
    weight : ndarray (n,)
        Their weights.
    poses : ndarray (t, 4, 4), optional
        Where to start: stored RAS mm to reference RAS mm.
    iterations : int
        At most so many steps.
    tolerance_mm : float
        A step smaller than this, 50 mm from the centre, ends the search.

    Returns
    -------
    poses : ndarray (t, 4, 4)
        Stored RAS mm to reference RAS mm; the inverse is the pull-back that resampling needs and the push-forward of how the
        head moved.
    fit : ndarray (t, 4)
        Gain, offset, scale of the residuals and steps taken.
    """
    count = len(series)
    poses = np.tile(np.eye(4), (count, 1, 1)) if poses is None else np.array(poses, dtype=np.float64)
    fit = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (count, 1))
    weight = np.ascontiguousarray(weight, dtype=np.float64)
    _register(
        np.ascontiguousarray(smoothed(coefs)),
        series,
        np.ascontiguousarray(points, dtype=np.int32),
        weight,
        _LEAST_USED * float(weight.sum()),
        np.array(affine, dtype=np.float64),
        np.ascontiguousarray(np.linalg.inv(affine)),
        np.array(centre, dtype=np.float64),
        iterations,
        tolerance_mm,
        poses,
        fit,
    )
    return poses, fit
