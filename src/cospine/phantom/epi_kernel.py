"""The inner loops of the EPI forward model (`cospine.phantom.epi` says what they compute).

Single precision throughout; parallel over slices, which are independent, so the result does not depend on the threads.
"""

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

# Object voxels along each side of a block that is skipped when it and its neighbours hold no signal. A cell of the
# lattice must not be larger than two thirds of a block.
BLOCK = 3


@njit(cache=True, forceinline=True, error_model="numpy")
def _trilinear(image, x, y, z):
    """Linear interpolation at in-range coordinates, in single precision throughout (NumPy's rules would make it double)."""
    ix, iy, iz = np.int32(x), np.int32(y), np.int32(z)
    tx, ty, tz = x - np.float32(ix), y - np.float32(iy), z - np.float32(iz)
    c00 = image[iz, iy, ix] + tx * (image[iz, iy, ix + 1] - image[iz, iy, ix])
    c01 = image[iz, iy + 1, ix] + tx * (image[iz, iy + 1, ix + 1] - image[iz, iy + 1, ix])
    c10 = image[iz + 1, iy, ix] + tx * (image[iz + 1, iy, ix + 1] - image[iz + 1, iy, ix])
    c11 = image[iz + 1, iy + 1, ix] + tx * (image[iz + 1, iy + 1, ix + 1] - image[iz + 1, iy + 1, ix])
    c0 = c00 + ty * (c01 - c00)
    c1 = c10 + ty * (c11 - c10)
    return c0 + tz * (c1 - c0)


@njit(cache=True, forceinline=True, error_model="numpy")
def _within(x, size):
    """Coordinate clamped to where `_trilinear` may read."""
    return min(max(x, np.float32(0)), np.float32(size) - np.float32(1.001))


@njit(cache=True, forceinline=True, error_model="numpy")
def _deposit(image, i, q0, q1, mass):
    """Spread a mass evenly over [q0, q1] of column i, where row m is [m, m + 1]."""
    low, high = min(q0, q1), max(q0, q1)
    rows = image.shape[0]
    first, last = np.int32(np.floor(low)), np.int32(np.floor(high))
    if first == last:
        if 0 <= first < rows:
            image[first, i] += mass
        return
    density = mass / (high - low)
    for m in range(max(first, 0), min(last, rows - 1) + 1):
        below = np.float32(m)
        image[m, i] += density * (min(high, below + np.float32(1)) - max(low, below))


@njit(cache=True, forceinline=True, error_model="numpy")
def _tissue(k, s, nj, ni, position, static, rotation, shift, pivot, cord):
    """Individual mm of the tissue at a lattice corner: the pull-back.

    Whole arrays and indices come in, because a view of an array costs as much as the arithmetic.
    """
    w, f = static[k, s, nj, ni, 2], static[k, s, nj, ni, 3]
    x, y, z = position[k, s, nj, ni, 0], position[k, s, nj, ni, 1], position[k, s, nj, ni, 2]
    dx, dy, dz = x - pivot[0] - shift[k, 0], y - pivot[1] - shift[k, 1], z - pivot[2] - shift[k, 2]
    rx = rotation[k, 0, 0] * dx + rotation[k, 1, 0] * dy + rotation[k, 2, 0] * dz
    ry = rotation[k, 0, 1] * dx + rotation[k, 1, 1] * dy + rotation[k, 2, 1] * dz
    rz = rotation[k, 0, 2] * dx + rotation[k, 1, 2] * dy + rotation[k, 2, 2] * dz
    return (
        x - w * (x - pivot[0] - rx) - f * cord[k, 0],
        y - w * (y - pivot[1] - ry) - f * cord[k, 1],
        z - w * (z - pivot[2] - rz) - f * cord[k, 2],
    )


@njit(cache=True, forceinline=True, error_model="numpy")
def _along(matrix, axis, x, y, z):
    """One coordinate of an affine map."""
    return matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + matrix[axis, 3]


@njit(cache=True, forceinline=True, error_model="numpy")
def _displacement(
    k, s, nj, ni, ax, ay, az, field, turned_x, turned_y, to_field, static, offset, breathing, turn, voxels_per_hz
):  # fmt: skip
    """Apparent displacement in voxels at a lattice corner whose tissue is at (ax, ay, az) mm."""
    # the susceptibility field goes with the tissue; beyond its grid the rim's value holds
    gx = _within(_along(to_field, 0, ax, ay, az), field.shape[2])
    gy = _within(_along(to_field, 1, ax, ay, az), field.shape[1])
    gz = _within(_along(to_field, 2, ax, ay, az), field.shape[0])
    hz = static[k, s, nj, ni, 0] + static[k, s, nj, ni, 1] * breathing[k] + offset[k] + _trilinear(field, gx, gy, gz)
    if turn[k, 0] != 0 or turn[k, 1] != 0:
        turning = turn[k, 0] * _trilinear(turned_x, gx, gy, gz) + turn[k, 1] * _trilinear(turned_y, gx, gy, gz)
        hz += static[k, s, nj, ni, 2] * turning
    return hz * voxels_per_hz


@njit(cache=True, forceinline=True, error_model="numpy")
def _render_slice(
    k, signal, label, present, to_object, field, turned_x, turned_y, to_field, position, static, active, rotation, shift,
    pivot, cord, offset, breathing, turn, table, fine_read, fine_phase, voxels_per_hz, out,
):  # fmt: skip
    _, subs, rows, cols = active.shape
    oz, oy, ox = signal.shape
    height, depth, width = present.shape
    weight = np.float32(1.0 / (fine_read * fine_phase * subs))
    half, one = np.float32(0.5), np.float32(1)
    end_x, end_y, end_z = np.float32(ox - 1.001), np.float32(oy - 1.001), np.float32(oz - 1.001)
    node = np.empty((rows + 1, cols + 1, 4), np.float32)
    known = np.empty((rows + 1, cols + 1), np.bool_)
    image = out[k]
    image[:] = 0
    factors = table[k]
    for s in range(subs):
        known[:] = False
        for j in range(rows):
            for i in range(cols):
                if not active[k, s, j, i]:
                    continue
                ax, ay, az = _tissue(k, s, j, i, position, static, rotation, shift, pivot, cord)
                bx = np.int32(_along(to_object, 0, ax, ay, az) / BLOCK)
                by = np.int32(_along(to_object, 1, ax, ay, az) / BLOCK)
                bz = np.int32(_along(to_object, 2, ax, ay, az) / BLOCK)
                # most of what is active is air around the object: nothing within a block of this corner
                if 0 <= bx < width and 0 <= by < depth and 0 <= bz < height and not present[bz, by, bx]:
                    continue
                for nj in range(j, j + 2):
                    for ni in range(i, i + 2):
                        if not known[nj, ni]:
                            known[nj, ni] = True
                            ax, ay, az = _tissue(k, s, nj, ni, position, static, rotation, shift, pivot, cord)
                            node[nj, ni, 0] = _along(to_object, 0, ax, ay, az)
                            node[nj, ni, 1] = _along(to_object, 1, ax, ay, az)
                            node[nj, ni, 2] = _along(to_object, 2, ax, ay, az)
                            node[nj, ni, 3] = _displacement(
                                k, s, nj, ni, ax, ay, az, field, turned_x, turned_y, to_field, static, offset, breathing,
                                turn, voxels_per_hz,
                            )  # fmt: skip
                inside = True
                for nj in range(j, j + 2):
                    for ni in range(i, i + 2):
                        inside &= 0 <= node[nj, ni, 0] <= end_x
                        inside &= 0 <= node[nj, ni, 1] <= end_y
                        inside &= 0 <= node[nj, ni, 2] <= end_z
                if not inside:
                    continue
                top = np.float32(j)
                for a in range(fine_read):
                    u = (np.float32(a) + half) / np.float32(fine_read)
                    x0, x1 = (
                        node[j, i, 0] + u * (node[j, i + 1, 0] - node[j, i, 0]),
                        node[j + 1, i, 0] + u * (node[j + 1, i + 1, 0] - node[j + 1, i, 0]),
                    )
                    y0, y1 = (
                        node[j, i, 1] + u * (node[j, i + 1, 1] - node[j, i, 1]),
                        node[j + 1, i, 1] + u * (node[j + 1, i + 1, 1] - node[j + 1, i, 1]),
                    )
                    z0, z1 = (
                        node[j, i, 2] + u * (node[j, i + 1, 2] - node[j, i, 2]),
                        node[j + 1, i, 2] + u * (node[j + 1, i + 1, 2] - node[j + 1, i, 2]),
                    )
                    d0, d1 = (
                        node[j, i, 3] + u * (node[j, i + 1, 3] - node[j, i, 3]),
                        node[j + 1, i, 3] + u * (node[j + 1, i + 1, 3] - node[j + 1, i, 3]),
                    )
                    stretch = one + d1 - d0
                    for b in range(fine_phase):
                        v = (np.float32(b) + half) / np.float32(fine_phase)
                        x, y, z = x0 + v * (x1 - x0), y0 + v * (y1 - y0), z0 + v * (z1 - z0)
                        mass = _trilinear(signal, x, y, z)
                        if mass == 0:
                            continue
                        row = label[np.int32(z + half), np.int32(y + half), np.int32(x + half)]
                        mass *= weight * factors[row]
                        q0 = top + d0 + np.float32(b) / np.float32(fine_phase) * stretch
                        q1 = top + d0 + np.float32(b + 1) / np.float32(fine_phase) * stretch
                        _deposit(image, i, q0, q1, mass)


@njit(cache=True, parallel=True)
def render_slices(
    signal, label, present, to_object, field, turned_x, turned_y, to_field, position, static, active, rotation, shift,
    pivot, cord, offset, breathing, turn, table, fine_read, fine_phase, voxels_per_hz, order, out,
):  # fmt: skip
    for number in prange(order.size):
        _render_slice(
            order[number], signal, label, present, to_object, field, turned_x, turned_y, to_field, position, static, active,
            rotation, shift, pivot, cord, offset, breathing, turn, table, fine_read, fine_phase, voxels_per_hz, out,
        )  # fmt: skip


@njit(cache=True, parallel=True)
def occupied_blocks(signal):
    """Whether each block (z, y, x) of `BLOCK` voxels a side holds any signal; a rim that fills no block counts as one."""
    nz, ny, nx = signal.shape
    out = np.zeros(((nz + BLOCK - 1) // BLOCK, (ny + BLOCK - 1) // BLOCK, (nx + BLOCK - 1) // BLOCK), np.bool_)
    for z in prange(out.shape[0]):
        for k in range(z * BLOCK, min(z * BLOCK + BLOCK, nz)):
            for j in range(ny):
                for i in range(nx):
                    if signal[k, j, i] != 0:
                        out[z, j // BLOCK, i // BLOCK] = True
    return out


def fair_order(n: int) -> NDArray[np.int64]:
    """Slices in an order whose equal parts, one a thread, hold every so-manieth slice: the head is more work than the neck."""
    threads = get_num_threads()
    return np.concatenate([np.arange(first, n, threads) for first in range(threads)])
