"""Cubic B-splines on a lattice: prefilter and point evaluation, the kernels under every interpolation.

Unser, Aldroubi & Eden (1993), IEEE Trans Signal Process 41:821-848; boundaries mirror about the outermost voxel
centres, as SciPy's ``mode="mirror"``. Arrays are C-contiguous (z, y, x) float32.
"""

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

_POLE = math.sqrt(3.0) - 2.0
# Python's floats would make every sum below one of doubles, at half the speed
_ONE, _TWO, _HALF, _THREE_HALVES = np.float32(1), np.float32(2), np.float32(0.5), np.float32(1.5)
_SIXTH, _TWO_THIRDS = np.float32(1 / 6), np.float32(2 / 3)
_HORIZON = 16  # |pole|**16 is 7e-10, below float32


@njit(cache=True)
def _mirror(i: int, n: int) -> int:
    """Index of voxel i in an axis of n voxels mirrored about its end voxels."""
    if n == 1:
        return 0
    period = 2 * n - 2
    i = abs(i) % period
    return period - i if i >= n else i


@njit(cache=True, parallel=True)
def _filter_rows(c: NDArray) -> None:
    """Along x, in place; one row after the other."""
    nz, ny, n = c.shape
    if n == 1:
        return
    pole = np.float32(_POLE)
    gain = np.float32(6.0)
    for k in prange(nz):
        for j in range(ny):
            row = c[k, j]
            first = row[0]
            power = pole
            for i in range(1, _HORIZON):
                first += power * row[_mirror(i, n)]
                power *= pole
            row[0] = first * gain
            for i in range(1, n):
                row[i] = gain * row[i] + pole * row[i - 1]
            row[n - 1] = (pole / (pole * pole - np.float32(1))) * (row[n - 1] + pole * row[n - 2])
            for i in range(n - 2, -1, -1):
                row[i] = pole * (row[i + 1] - row[i])


@njit(cache=True)
def _filter_block(block: NDArray) -> None:
    """Along the first axis of a (n, m) block, all m columns side by side, in place."""
    n, m = block.shape
    pole = np.float32(_POLE)
    gain = np.float32(6.0)
    first = block[0].copy()
    power = pole
    for i in range(1, _HORIZON):
        other = block[_mirror(i, n)]
        for x in range(m):
            first[x] += power * other[x]
        power *= pole
    for x in range(m):
        block[0, x] = first[x] * gain
    for i in range(1, n):
        for x in range(m):
            block[i, x] = gain * block[i, x] + pole * block[i - 1, x]
    last = pole / (pole * pole - np.float32(1))
    for x in range(m):
        block[n - 1, x] = last * (block[n - 1, x] + pole * block[n - 2, x])
    for i in range(n - 2, -1, -1):
        for x in range(m):
            block[i, x] = pole * (block[i + 1, x] - block[i, x])


@njit(cache=True, parallel=True)
def _filter_columns(c: NDArray) -> None:
    """Along y, in place."""
    if c.shape[1] == 1:
        return
    for k in prange(c.shape[0]):
        _filter_block(c[k])


@njit(cache=True, parallel=True)
def _filter_slices(c: NDArray) -> None:
    """Along z, in place."""
    if c.shape[0] == 1:
        return
    for j in prange(c.shape[1]):
        _filter_block(c[:, j])


def coefficients(
    volume: NDArray, out: NDArray | None = None, *, in_plane: bool = False, along_y: bool = False
) -> NDArray[np.float32]:
    """Cubic B-spline coefficients of a volume.

    Parameters
    ----------
    volume : ndarray (z, y, x)
        Values on the lattice.
    out : ndarray (z, y, x), float32, optional
        Where to put them.
    in_plane : bool
        Filter each slice on its own, along x and y only.
    along_y : bool
        Filter along y alone, for a spline that is evaluated at whole x and z.

    Returns
    -------
    ndarray (z, y, x), float32
        Coefficients; their spline passes through the values.
    """
    if out is None:
        out = np.empty(volume.shape, dtype=np.float32)
    out[...] = volume
    if not along_y:
        _filter_rows(out)
    _filter_columns(out)
    if not (in_plane or along_y):
        _filter_slices(out)
    return out


@njit(cache=True)
def weights(f):
    """Cubic B-spline weights of the four neighbours of a point at fraction f behind the second of them."""
    f = np.float32(f)
    g = _ONE - f
    near = _TWO_THIRDS - _HALF * f * f * (_TWO - f)
    far = _TWO_THIRDS - _HALF * g * g * (_TWO - g)
    return g * g * g * _SIXTH, near, far, f * f * f * _SIXTH


@njit(cache=True)
def slopes(f):
    """Derivatives of :func:`weights` by f."""
    f = np.float32(f)
    g = _ONE - f
    return -_HALF * g * g, f * (_THREE_HALVES * f - _TWO), -g * (_THREE_HALVES * g - _TWO), _HALF * f * f


@njit(cache=True, parallel=True)
def sample_affine(
    c: NDArray, matrices: NDArray, shift: NDArray, axis: int, factor: NDArray, low: float, high: float, out: NDArray
) -> None:
    """Evaluate a spline on a lattice mapped by one affine a slice and shifted along one axis, clipped to a range.

    Parameters
    ----------
    c : ndarray (z, y, x), float32
        Coefficients of the input.
    matrices : ndarray (slices, 3, 4), float64
        For each output slice, output voxel (x, y, z) to input voxel (x, y, z).
    shift : ndarray (slices, rows, columns), float32, or of size 0 for none
        Added to the mapped position, in input voxels along `axis`.
    axis : int
        Input axis of the shift: 0 is x, 1 is y, 2 is z.
    factor : ndarray (slices, rows, columns), float32, or of size 0 for none
        What each value is multiplied by.
    low, high : float
        Range the value is clipped to before it is multiplied; cubic splines overshoot at edges.
    out : ndarray (slices, rows, columns), float32
        Result. Points more than one voxel outside the input become 0.
    """
    nz, ny, nx = c.shape
    shifted = shift.size > 0
    scaled = factor.size > 0
    lo = np.float32(low)
    hi = np.float32(high)
    for k in prange(out.shape[0]):
        m = matrices[k]
        index_x = np.empty(4, np.int64)
        index_y = np.empty(4, np.int64)
        index_z = np.empty(4, np.int64)
        for j in range(out.shape[1]):
            x0 = m[0, 1] * j + m[0, 2] * k + m[0, 3]
            y0 = m[1, 1] * j + m[1, 2] * k + m[1, 3]
            z0 = m[2, 1] * j + m[2, 2] * k + m[2, 3]
            for i in range(out.shape[2]):
                x = x0 + m[0, 0] * i
                y = y0 + m[1, 0] * i
                z = z0 + m[2, 0] * i
                if shifted:
                    if axis == 0:
                        x += shift[k, j, i]
                    elif axis == 1:
                        y += shift[k, j, i]
                    else:
                        z += shift[k, j, i]
                if x < -1 or x > nx or y < -1 or y > ny or z < -1 or z > nz:
                    out[k, j, i] = 0
                    continue
                fx = math.floor(x)
                fy = math.floor(y)
                fz = math.floor(z)
                bx = int(fx) - 1
                by = int(fy) - 1
                bz = int(fz) - 1
                w0, w1, w2, w3 = weights(np.float32(x - fx))
                v = weights(np.float32(y - fy))
                u = weights(np.float32(z - fz))
                total = np.float32(0)
                if bx >= 0 and by >= 0 and bz >= 0 and bx + 3 < nx and by + 3 < ny and bz + 3 < nz:
                    for a in range(4):
                        plane = np.float32(0)
                        for b in range(4):
                            row = c[bz + a, by + b]
                            plane += v[b] * (w0 * row[bx] + w1 * row[bx + 1] + w2 * row[bx + 2] + w3 * row[bx + 3])
                        total += u[a] * plane
                else:
                    for a in range(4):
                        index_x[a] = _mirror(bx + a, nx)
                        index_y[a] = _mirror(by + a, ny)
                        index_z[a] = _mirror(bz + a, nz)
                    for a in range(4):
                        plane = np.float32(0)
                        for b in range(4):
                            row = c[index_z[a], index_y[b]]
                            plane += v[b] * (
                                w0 * row[index_x[0]] + w1 * row[index_x[1]] + w2 * row[index_x[2]] + w3 * row[index_x[3]]
                            )
                        total += u[a] * plane
                value = min(max(total, lo), hi)
                if scaled:
                    value *= factor[k, j, i]
                out[k, j, i] = value


@njit(cache=True, parallel=True)
def sample_points(
    c: NDArray,
    matrices: NDArray,
    points: NDArray,
    shift: NDArray,
    axis: int,
    factor: NDArray,
    low: float,
    high: float,
    out: NDArray,
) -> None:
    """Evaluate a spline at points moved by what their slices do, clipped to a range.

    Parameters
    ----------
    c : ndarray (z, y, x), float32
        Coefficients of the input.
    matrices : ndarray (slices, 3, 4), float64
        What each slice of the reference does: its voxel (x, y, z) to input voxel (x, y, z). Between two slices the results of
        both are interpolated linearly, beyond the outermost slices theirs goes on.
    points : ndarray (n, 3), float32
        Voxels (x, y, z) of the reference.
    shift : ndarray (n,), float32, or of size 0 for none
        Added to the moved position, in input voxels along `axis`.
    axis : int
        Input axis of the shift: 0 is x, 1 is y, 2 is z.
    factor : ndarray (n,), float32, or of size 0 for none
        What each value is multiplied by.
    low, high : float
        Range the value is clipped to before it is multiplied.
    out : ndarray (n,), float32
        Result. Points more than one voxel outside the input become 0.
    """
    nz, ny, nx = c.shape
    slices = matrices.shape[0]
    lo = np.float32(low)
    hi = np.float32(high)
    for n in prange(out.shape[0]):
        px = float(points[n, 0])
        py = float(points[n, 1])
        pz = float(points[n, 2])
        position = min(max(pz, 0.0), slices - 1.0)
        below = min(int(position), max(slices - 2, 0))
        above = min(below + 1, slices - 1)
        part = position - below
        a = matrices[below]
        b = matrices[above]
        x = (1 - part) * (a[0, 0] * px + a[0, 1] * py + a[0, 2] * pz + a[0, 3])
        y = (1 - part) * (a[1, 0] * px + a[1, 1] * py + a[1, 2] * pz + a[1, 3])
        z = (1 - part) * (a[2, 0] * px + a[2, 1] * py + a[2, 2] * pz + a[2, 3])
        x += part * (b[0, 0] * px + b[0, 1] * py + b[0, 2] * pz + b[0, 3])
        y += part * (b[1, 0] * px + b[1, 1] * py + b[1, 2] * pz + b[1, 3])
        z += part * (b[2, 0] * px + b[2, 1] * py + b[2, 2] * pz + b[2, 3])
        if shift.size > 0:
            if axis == 0:
                x += shift[n]
            elif axis == 1:
                y += shift[n]
            else:
                z += shift[n]
        if not (x >= -1 and x <= nx and y >= -1 and y <= ny and z >= -1 and z <= nz):  # NaN lies outside too
            out[n] = 0
            continue
        fx = math.floor(x)
        fy = math.floor(y)
        fz = math.floor(z)
        w = weights(np.float32(x - fx))
        v = weights(np.float32(y - fy))
        u = weights(np.float32(z - fz))
        bx = int(fx) - 1
        by = int(fy) - 1
        bz = int(fz) - 1
        total = np.float32(0)
        inside = bx >= 0 and by >= 0 and bz >= 0 and bx + 3 < nx and by + 3 < ny and bz + 3 < nz
        for i in range(4):
            plane = np.float32(0)
            k = bz + i if inside else _mirror(bz + i, nz)
            for j in range(4):
                row = c[k, by + j if inside else _mirror(by + j, ny)]
                if inside:
                    line = w[0] * row[bx] + w[1] * row[bx + 1] + w[2] * row[bx + 2] + w[3] * row[bx + 3]
                else:
                    line = w[0] * row[_mirror(bx, nx)] + w[1] * row[_mirror(bx + 1, nx)]
                    line += w[2] * row[_mirror(bx + 2, nx)] + w[3] * row[_mirror(bx + 3, nx)]
                plane += v[j] * line
            total += u[i] * plane
        value = min(max(total, lo), hi)
        out[n] = value * factor[n] if factor.size > 0 else value


@njit(cache=True)
def value_and_gradient(c, x, y, z):
    """Spline value and its gradient by voxel index (x, y, z) at one point inside the lattice."""
    nz, ny, nx = c.shape
    fx = math.floor(x)
    fy = math.floor(y)
    fz = math.floor(z)
    bx = int(fx) - 1
    by = int(fy) - 1
    bz = int(fz) - 1
    w = weights(np.float32(x - fx))
    v = weights(np.float32(y - fy))
    u = weights(np.float32(z - fz))
    dw = slopes(np.float32(x - fx))
    dv = slopes(np.float32(y - fy))
    du = slopes(np.float32(z - fz))
    inside = bx >= 0 and by >= 0 and bz >= 0 and bx + 3 < nx and by + 3 < ny and bz + 3 < nz
    value = np.float32(0)
    gx = np.float32(0)
    gy = np.float32(0)
    gz = np.float32(0)
    for a in range(4):
        plane = np.float32(0)
        plane_x = np.float32(0)
        plane_y = np.float32(0)
        ka = bz + a if inside else _mirror(bz + a, nz)
        for b in range(4):
            if inside:
                row = c[ka, by + b]
                c0 = row[bx]
                c1 = row[bx + 1]
                c2 = row[bx + 2]
                c3 = row[bx + 3]
            else:
                row = c[ka, _mirror(by + b, ny)]
                c0 = row[_mirror(bx, nx)]
                c1 = row[_mirror(bx + 1, nx)]
                c2 = row[_mirror(bx + 2, nx)]
                c3 = row[_mirror(bx + 3, nx)]
            line = w[0] * c0 + w[1] * c1 + w[2] * c2 + w[3] * c3
            plane += v[b] * line
            plane_x += v[b] * (dw[0] * c0 + dw[1] * c1 + dw[2] * c2 + dw[3] * c3)
            plane_y += dv[b] * line
        value += u[a] * plane
        gx += u[a] * plane_x
        gy += u[a] * plane_y
        gz += du[a] * plane
    return value, gx, gy, gz


@njit(cache=True)
def value_and_gradient_in_plane(c, x, y):
    """Spline value and its gradient by pixel index (x, y) at one point of one slice (y, x)."""
    ny, nx = c.shape
    fx = math.floor(x)
    fy = math.floor(y)
    bx = int(fx) - 1
    by = int(fy) - 1
    w = weights(np.float32(x - fx))
    v = weights(np.float32(y - fy))
    dw = slopes(np.float32(x - fx))
    dv = slopes(np.float32(y - fy))
    value = np.float32(0)
    gx = np.float32(0)
    gy = np.float32(0)
    for b in range(4):
        row = c[_mirror(by + b, ny)]
        c0 = row[_mirror(bx, nx)]
        c1 = row[_mirror(bx + 1, nx)]
        c2 = row[_mirror(bx + 2, nx)]
        c3 = row[_mirror(bx + 3, nx)]
        line = w[0] * c0 + w[1] * c1 + w[2] * c2 + w[3] * c3
        value += v[b] * line
        gx += v[b] * (dw[0] * c0 + dw[1] * c1 + dw[2] * c2 + dw[3] * c3)
        gy += dv[b] * line
    return value, gx, gy
