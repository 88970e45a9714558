"""Kernels of thermal denoising: noise residuals block by block, and one patch after another cut down to its signal.

A slab is a C-contiguous float32 array (slice, y, x, column), the columns of a voxel side by side in memory. Threads share out
rows of blocks or patches that touch no common voxel, so sums are made in the same order however many threads there are.

BLAS must be told to use one thread itself (`threadpoolctl`), for the kernels call it from theirs.
"""

import numpy as np
from llvmlite import binding
from numba import njit, prange, types
from numba.extending import get_cython_function_address

# LAPACK's ssyevr (eigenvalues within a range, and their vectors) out of SciPy. By name, so that the compiled kernels can be
# kept: an address would be another one in the next process.
binding.add_symbol("cospine_ssyevr", get_cython_function_address("scipy.linalg.cython_lapack", "ssyevr"))
_INT, _REAL, _CHAR = types.CPointer(types.int32), types.CPointer(types.float32), types.CPointer(types.uint8)
_ssyevr = types.ExternalFunction(
    "cospine_ssyevr",
    types.void(
        _CHAR, _CHAR, _CHAR, _INT, _REAL, _INT, _REAL, _REAL, _INT, _INT, _REAL, _INT, _REAL, _REAL, _INT, _INT,
        _REAL, _INT, _INT, _INT, _INT,
    ),
)  # fmt: skip

# Components are looked for from this fraction of the expected edge of the noise, for there may be less noise than the map says.
_LOWEST_EDGE = 0.85


@njit(cache=True)
def _eigen_above(gram, lowest, values, vectors):
    """Eigenvalues of ``gram`` above ``lowest``, ascending, in ``values``, their vectors in the rows of ``vectors``; how many."""
    n = gram.shape[0]
    isuppz, work, iwork = np.empty(2 * n, np.int32), np.empty(40 * n, np.float32), np.empty(10 * n, np.int32)
    letters = np.array([86, 86, 76], np.uint8)  # V: vectors too; V: within a range of values; L: the lower triangle
    sizes = np.array([n, n, n, work.size, iwork.size, 0, 0, 1, n], np.int32)
    limits = np.array([lowest, np.float32(1e30), np.float32(0)], np.float32)
    _ssyevr(
        letters[0:1].ctypes, letters[1:2].ctypes, letters[2:3].ctypes, sizes[0:1].ctypes, gram.ctypes, sizes[1:2].ctypes,
        limits[0:1].ctypes, limits[1:2].ctypes, sizes[7:8].ctypes, sizes[8:9].ctypes, limits[2:3].ctypes, sizes[5:6].ctypes,
        values.ctypes, vectors.ctypes, sizes[2:3].ctypes, isuppz.ctypes, work.ctypes, sizes[3:4].ctypes, iwork.ctypes,
        sizes[4:5].ctypes, sizes[6:7].ctypes,
    )  # fmt: skip
    return sizes[5] if sizes[6] == 0 else -1


@njit(cache=True, parallel=True)
def gather_slice(volumes, kept, columns, shares):
    """One slice of every volume, a voxel's columns side by side, without their share of ``kept``.

    volumes (t, y, x) of any real type; kept (k, t) orthonormal rows, float64; columns (y, x, t) and shares (y, x, k) are filled:
    a voxel was columns + shares @ kept.
    """
    nt, ny, nx = volumes.shape
    for y in prange(ny):
        for first in range(0, nx, 16):  # a line of cache holds 16 voxels of a volume
            for t in range(nt):
                for x in range(first, min(first + 16, nx)):
                    columns[y, x, t] = volumes[t, y, x]
        for x in range(nx):
            for k in range(kept.shape[0]):
                total = 0.0
                for t in range(nt):
                    total += kept[k, t] * columns[y, x, t]
                shares[y, x, k] = total
                for t in range(nt):
                    columns[y, x, t] -= np.float32(total * kept[k, t])


@njit(cache=True, parallel=True)
def scatter_slice(columns, kept, shares, inside, volumes):
    """The inverse of `gather_slice`, into those voxels of ``volumes`` (t, y, x) float32 that are ``inside`` (y, x)."""
    nt, ny, nx = volumes.shape
    for y in prange(ny):
        for first in range(0, nx, 16):
            for t in range(nt):
                for x in range(first, min(first + 16, nx)):
                    if not inside[y, x]:
                        continue
                    total = np.float64(columns[y, x, t])
                    for k in range(kept.shape[0]):
                        total += shares[y, x, k] * kept[k, t]
                    volumes[t, y, x] = total


@njit(cache=True)
def _box_sums(rows, half):
    """Running sums of ``2 half + 1`` along the last axis of ``rows`` (r, n), in place, nothing beyond the ends."""
    n = rows.shape[1]
    line = np.empty(n, rows.dtype)
    for r in range(rows.shape[0]):
        line[:] = rows[r]
        total = line[0] * 0
        for i in range(min(half, n)):
            total += line[i]
        for i in range(n):
            if i + half < n:
                total += line[i + half]
            if i > half:
                total -= line[i - half - 1]
            rows[r, i] = total


@njit(cache=True, parallel=True)
def smooth_phasors(volumes, reference, phasors):
    """Smooth phase of each volume against ``reference``, as numbers of size 1: triangle of 9 voxels along y and x.

    volumes and phasors (t, y, x), reference (y, x), all complex64.
    """
    for t in prange(volumes.shape[0]):
        plane = (volumes[t] * np.conj(reference)).astype(np.complex128)
        for _ in range(2):
            _box_sums(plane, 2)
            turned = np.ascontiguousarray(plane.T)
            _box_sums(turned, 2)
            plane = np.ascontiguousarray(turned.T)
        for y in range(plane.shape[0]):
            for x in range(plane.shape[1]):
                size = np.abs(plane[y, x])
                phasors[t, y, x] = plane[y, x] / size if size > 0 else 1


@njit(cache=True)
def _signal_rank(values, n_larger):
    """How many of the ascending eigenvalues are not noise (Veraart 2016, eq. 11-12).

    The largest set of small eigenvalues whose mean and whose width tell the same variance is noise. ``values`` are those of the
    Gram matrix on its smaller side, over ``n_larger``, the size of the larger side.
    """
    total = 0.0
    noise = 0
    for p in range(values.size):
        total += values[p]
        by_width = (values[p] - values[0]) / (4 * np.sqrt((p + 1) / n_larger))
        if by_width < total / (p + 1):
            noise = p + 1
    return values.size - noise


@njit(cache=True)
def _steps_sd(row, n_runs):
    """Noise SD by the steps from one column to the next, within each of the ``n_runs`` equal parts of a row."""
    size = row.size // n_runs
    total = 0.0
    for run in range(n_runs):
        for t in range(run * size + 1, (run + 1) * size):
            total += (row[t] - row[t - 1]) ** 2
    return np.sqrt(total / (2 * n_runs * (size - 1)))


@njit(cache=True)
def _structured_courses(columns, n_runs):
    """Courses (r, t), orthonormal, of what is not noise in the rows of ``columns`` (voxels whose noise is independent)."""
    m, nt = columns.shape
    scaled = np.zeros((m, nt), np.float32)
    used = 0
    for i in range(m):
        sd = _steps_sd(columns[i], n_runs)
        if sd > 0:
            scaled[used] = columns[i] / np.float32(sd)
            used += 1
    scaled = scaled[:used]
    if used < 2:
        return np.zeros((0, nt), np.float32)
    tall = used > nt
    gram = np.dot(scaled.T, scaled) if tall else np.dot(scaled, scaled.T)
    values, vectors = np.linalg.eigh(gram)
    larger = max(used, nt)
    rank = min(_signal_rank(values / larger, larger), min(used, nt) // 2)
    chosen = np.ascontiguousarray(vectors[:, values.size - rank :].T)
    if tall:
        return chosen
    courses = np.dot(chosen, scaled)
    for r in range(rank):
        courses[r] /= np.float32(np.sqrt(np.sum(courses[r].astype(np.float64) ** 2)))
    return courses


@njit(cache=True, parallel=True)
def residual_blocks(slab, means, y_edges, x_edges, n_runs, n_lost, variance, products, pairs):
    """Variance and neighbour products of what no structure explains, block by block of one slab.

    The structure of a block is learnt from every second voxel in the plane, between which noise is nearly independent even where
    reconstruction has smoothed it, and projected out of all of them.

    slab (slice, y, x, t); means (slice, y, x): only neighbours whose mean is above four times their noise count (below, magnitude
    noise is less alike than what it came from); n_lost: columns' worth of freedom that centring took.
    Filled: variance (slice, y, x); products and pairs (block, axis, lag): sums of correlations over neighbours one and two apart,
    and their number.
    """
    nz, _, _, nt = slab.shape
    blocks_x = x_edges.size - 1
    for block in prange((y_edges.size - 1) * blocks_x):
        y0, y1 = y_edges[block // blocks_x], y_edges[block // blocks_x + 1]
        x0, x1 = x_edges[block % blocks_x], x_edges[block % blocks_x + 1]
        ny, nx = y1 - y0, x1 - x0
        every = np.ascontiguousarray(slab[:, y0:y1, x0:x1]).reshape(nz * ny * nx, nt)
        some = np.ascontiguousarray(slab[:, y0:y1:2, x0:x1:2])
        courses = _structured_courses(some.reshape(some.size // nt, nt), n_runs)
        if courses.shape[0] > 0:
            every = every - np.dot(np.dot(every, courses.T), courses)
        freedom = max(nt - n_lost - courses.shape[0], 1)
        bright = np.zeros(every.shape[0], np.bool_)
        for i in range(every.shape[0]):
            total = 0.0
            for t in range(nt):
                total += every[i, t] * every[i, t]
            z, y, x = i // (ny * nx), y0 + (i // nx) % ny, x0 + i % nx
            variance[z, y, x] = total / freedom
            bright[i] = total > 0 and means[z, y, x] > 4 * np.sqrt(total / freedom)
            if bright[i]:
                every[i] /= np.float32(np.sqrt(total))
        # the voxels that structure was learnt from have too little left; their neighbours have not
        for z in range(nz):
            for y in range(y0, y1, 2):
                for x in range(x0, x1, 2):
                    beside = x + 1 if x + 1 < x1 else max(x - 1, x0)
                    if variance[z, y, x] > 0 and variance[z, y, beside] > 0:
                        variance[z, y, x] = variance[z, y, beside]
        for axis in range(3):
            for lag in range(1, 3):
                dz, dy, dx = (lag if axis == 0 else 0), (lag if axis == 1 else 0), (lag if axis == 2 else 0)
                apart = (dz * ny + dy) * nx + dx
                for z in range(nz - dz):
                    for y in range(ny - dy):
                        for x in range(nx - dx):
                            i = (z * ny + y) * nx + x
                            if bright[i] and bright[i + apart]:
                                products[block, axis, lag - 1] += np.dot(every[i], every[i + apart])
                                pairs[block, axis, lag - 1] += 1


@njit(cache=True)
def _shrunk(value, n, freedom):
    """Factor on a singular value, its square ``value``, for the least squared error in unit noise (Gavish and Donoho 2017)."""
    inside = (value - n - freedom) ** 2 - 4.0 * n * freedom
    return np.sqrt(inside) / value if inside > 0 and value > n + freedom else 0.0


@njit(cache=True)
def _to_signal(patch, m, whiten, colour, freedom, shrink, white):
    """Replace ``patch`` (n, t), ``m`` of its rows not empty, by its signal; ``white`` (n, t) is scratch.

    Returns the rank, -1 if LAPACK gave up.
    """
    n, nt = patch.shape
    side = min(n, nt)
    most = min(m, freedom)
    edge = np.float32((np.sqrt(m) + np.sqrt(freedom)) ** 2)
    np.dot(whiten, patch, white)
    gram = np.dot(white, white.T) if n <= nt else np.dot(white.T, white)
    trace = 0.0
    for i in range(side):
        trace += gram[i, i]
    values, vectors = np.empty(side, np.float32), np.empty((side, side), np.float32)
    found = _eigen_above(gram, edge * np.float32(_LOWEST_EDGE), values, vectors)
    if found < 0:
        return -1
    # what is left after the largest have gone tells how strong noise is here, and that the edge below which all is noise
    rank, left = 0, trace
    while True:
        variance = left / max((m - rank) * (freedom - rank), 1)
        if rank == min(found, most - 1) or values[found - 1 - rank] <= edge * max(variance, _LOWEST_EDGE):
            break
        left -= values[found - 1 - rank]
        rank += 1
    if rank == 0:
        patch[:] = 0
        return rank
    chosen = vectors[found - rank : found]
    weighed = np.empty_like(chosen)
    for r in range(rank):
        value = values[found - rank + r] / max(variance, _LOWEST_EDGE)
        weighed[r] = chosen[r] * np.float32(_shrunk(value, m, freedom) if shrink else 1.0)
    if n <= nt:
        np.dot(np.dot(colour, weighed.T), np.dot(chosen, white), patch)
    else:
        np.dot(np.dot(colour, np.dot(white, chosen.T)), weighed, patch)
    return rank


@njit(cache=True, parallel=True)
def denoise_rows(slab, inside, live, starts_y, starts_x, size, whiten, colour, freedom, shrink, total, weight, removed):
    """Add the patches of one slab, each cut down to its signal, to the running sums.

    slab (slice, y, x, t), in units of the noise SD; only patches of ``size`` (y, x) that meet ``inside`` (slice, y, x) are
    treated; ``live`` voxels change over time. whiten and colour (n, n): inverse square root of the noise correlation between the
    voxels of a patch, and that root itself. ``freedom``: columns left by centring. Added to, weighted: total (slice, y, x, t)
    and removed, the number of components (slice, y, x); and weight itself.

    Returns the number of patches that LAPACK gave up on.
    """
    nz, _, _, nt = slab.shape
    py, px = size
    n = nz * py * px
    apart = 1  # so many rows of patches on, all voxels are others
    while apart < starts_y.size and np.min(starts_y[apart:] - starts_y[:-apart]) < py:
        apart += 1
    failed = 0
    for phase in range(apart):
        for turn in prange((starts_y.size - phase + apart - 1) // apart):
            y0 = starts_y[phase + turn * apart]
            patch, white = np.empty((n, nt), np.float32), np.empty((n, nt), np.float32)
            for x0 in starts_x:
                wanted, m = 0, 0
                for z in range(nz):
                    for y in range(y0, y0 + py):
                        for x in range(x0, x0 + px):
                            wanted += inside[z, y, x]
                            m += live[z, y, x]
                            patch[(z * py + y - y0) * px + x - x0] = slab[z, y, x]
                if wanted == 0:
                    continue
                rank = _to_signal(patch, m, whiten, colour, freedom, shrink, white)
                if rank < 0:
                    failed += 1
                    continue
                share = np.float32(1.0 / (1 + rank))
                for z in range(nz):
                    for y in range(y0, y0 + py):
                        for x in range(x0, x0 + px):
                            i = (z * py + y - y0) * px + x - x0
                            if rank > 0:
                                for t in range(nt):
                                    total[z, y, x, t] += share * patch[i, t]
                            weight[z, y, x] += share
                            removed[z, y, x] += share * (min(m, freedom) - rank)
    return failed
