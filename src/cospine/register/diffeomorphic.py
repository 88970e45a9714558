"""A smooth, invertible bend of one image onto another: symmetric, greedy, by local correlation and mutual information.

Symmetric normalisation (Avants et al. 2008, Med Image Anal 12:26-41): both images are bent toward a middle between them, and each
step is a smoothed force that is composed with what was found so far. A step moves no voxel by more than a fraction of it, so that
every step can be undone; the whole can where it is held stiff enough (`Elasticity`), which the caller is to look at. Forces are
those of local correlation (Avants 2008, eq. 6) and of mutual information (Mattes et al. 2003, IEEE Trans Med Imaging 22:120-128),
each of length 1 on average before they are added.

All sums run over fixed parts in a fixed order: the same bytes from any number of threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.bspline import slopes, weights

_PARTS = 16  # histograms filled side by side: a fixed number, so that sums do not depend on how many threads there are
_MARGIN = 2  # windows that stay empty at both ends of the values
_INVERSION_STEPS = 25


@dataclass(frozen=True)
class Level:
    """One resolution of the search.

    Parameters
    ----------
    shrink : int
        Voxels of the given lattice along an edge of this level's.
    iterations : int
        How many steps are made; always all of them.
    """

    shrink: int
    iterations: int


@dataclass(frozen=True)
class Elasticity:
    """What a bend may do in one step, and as a whole.

    Parameters
    ----------
    step : float
        Longest way of a voxel in one iteration, in voxels of the level.
    update_variance : float
        Of the Gaussian that smooths every force, voxels squared.
    total_variance : float
        Of the Gaussian that smooths the whole field after every step, voxels squared. 0 lets it flow, and between images that
        are not alike it then folds.

    Raises
    ------
    ValueError
        When a step is not above 0 and at most half a voxel.
    """

    step: float = 0.25
    update_variance: float = 3.0
    total_variance: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.step <= 0.5:
            raise ValueError(f"a step of {self.step} voxels: it may be above 0 and up to a half")


def bend(
    fixed: NDArray,
    moving: NDArray,
    counts: NDArray[np.bool_],
    levels: Sequence[Level],
    elasticity: Elasticity,
    *,
    radius: int = 3,
    bins: int = 32,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Bend an image onto another one on the same lattice.

    Parameters
    ----------
    fixed, moving : ndarray (x, y, z)
        Images on one lattice with voxels of equal sides, roughly aligned. Units and offsets do not matter.
    counts : ndarray (x, y, z), bool
        Voxels of `fixed` whose likeness counts.
    levels : sequence of Level
        From coarse to fine.
    elasticity : Elasticity
    radius : int
        Of the cube in which local correlation is looked at, in voxels of the level.
    bins : int
        Of the joint histogram, at least 8.

    Returns
    -------
    there : ndarray (x, y, z, 3), float32
        In voxels of the lattice: what is at voxel p of `fixed` is found at p + there[p] in `moving`. 0 at the lattice's faces.
    back : ndarray (x, y, z, 3), float32
        The way back: what is at voxel q of `moving` is found at q + back[q] in `fixed`.

    Raises
    ------
    ValueError
        When the images are not on one lattice or hold values that are no numbers, or with too few bins.
    """
    if not fixed.shape == moving.shape == counts.shape:
        raise ValueError(f"images {fixed.shape} and {moving.shape} and what counts {counts.shape} are not on one lattice")
    if not (np.isfinite(fixed).all() and np.isfinite(moving).all()):
        raise ValueError("an image holds values that are not finite")
    if bins < 8:
        raise ValueError(f"{bins} bins are too few: at least 8")
    images = [_ranged(one) for one in (fixed, moving)]
    halves = [np.zeros((3, 1, 1, 1), np.float32)] * 2
    before = 0
    for level in levels:
        small = [_shrunk(one, level.shrink) for one in images]
        where = _shrunk(counts.astype(np.float32), level.shrink)
        halves = [_finer(one, small[0].shape, before / level.shrink) for one in halves]
        before = level.shrink
        _climb(small, where, halves, level.iterations, elasticity, radius, bins)
    to_fixed, to_moving = (_finer(one, fixed.shape, before) for one in halves)
    there, back = np.empty_like(to_fixed), np.empty_like(to_fixed)
    _compose(to_moving, _inverse(to_fixed), there)
    _compose(to_fixed, _inverse(to_moving), back)
    return np.moveaxis(there, 0, -1), np.moveaxis(back, 0, -1)


def _climb(
    images: list[NDArray], counts: NDArray, halves: list[NDArray], iterations: int, elasticity: Elasticity, radius: int, bins: int
) -> None:
    """Iterations of one level; both halves of the bend, (3, x, y, z) in voxels, are changed in place."""
    box = np.ones(2 * radius + 1, np.float32)
    inside = _filtered(np.ones((1, *counts.shape), np.float32), box)[0]
    gentle, stiff = _gaussian(elasticity.update_variance), _gaussian(elasticity.total_variance)
    scales = [(bins - 1 - 2 * _MARGIN) / max(float(one.max()), 1e-6) for one in images]
    seen = np.empty((2, *counts.shape), np.float32)
    within = np.empty(counts.shape, np.float32)
    sums = np.empty((5, *counts.shape), np.float32)
    push, pull = np.empty_like(seen), np.empty_like(seen)
    force = np.empty((3, *counts.shape), np.float32)
    for _ in range(iterations):
        for k in range(2):
            _pulled(images[k], halves[k], seen[k])
        _pulled(counts, halves[0], within)
        _products(seen, sums)
        _correlation_force(seen, within, _filtered(sums, box), inside, push)
        parts = np.zeros((_PARTS, bins, bins))
        _histogram(seen, within, scales[0], scales[1], parts)
        _information_force(seen, within, scales[0], scales[1], *_logs(parts.sum(axis=0)), pull)
        for k in range(2):
            _forces(seen[k], push[k], pull[k], force)
            smooth = _filtered(force, gentle)
            longest = float(np.sqrt(np.einsum("axyz,axyz->xyz", smooth, smooth).max()))
            if not longest > 0:
                continue
            smooth *= np.float32(elasticity.step / longest)
            _compose(halves[k], smooth, force)
            halves[k][:] = _filtered(force, stiff) if elasticity.total_variance > 0 else force
            for axis in (1, 2, 3):  # nothing jumps where the lattice ends
                np.moveaxis(halves[k], axis, 0)[[0, -1]] = 0


def _ranged(image: NDArray) -> NDArray[np.float32]:
    """Values from 0 to about 1: the brightest thousandth is above."""
    low, high = float(np.min(image)), float(np.percentile(image, 99.9))
    return ((image - low) / max(high - low, 1e-30)).astype(np.float32)


def _shrunk(image: NDArray, factor: int) -> NDArray[np.float32]:
    """Every n-th voxel after smoothing by half of n."""
    if factor == 1:
        return np.ascontiguousarray(image, dtype=np.float32)
    smooth = ndimage.gaussian_filter(np.asarray(image, dtype=np.float32), factor / 2, mode="nearest")
    return np.ascontiguousarray(smooth[::factor, ::factor, ::factor], dtype=np.float32)


def _finer(field: NDArray, shape: tuple[int, ...], factor: float) -> NDArray[np.float32]:
    """A field (3, x, y, z) in voxels of its level on a lattice whose voxels are smaller by a factor."""
    result = np.zeros((3, *shape), np.float32)
    if factor:
        _magnified(field, np.float32(factor), result)
    return result


def _gaussian(variance: float) -> NDArray[np.float32]:
    """Taps of a Gaussian out to three standard deviations, of sum 1."""
    reach = max(int(np.ceil(3 * np.sqrt(variance))), 1)
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * max(variance, 1e-6)))
    return (taps / taps.sum()).astype(np.float32)


def _filtered(volumes: NDArray[np.float32], taps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Volumes (n, x, y, z) convolved along their three axes; beyond the border is 0."""
    n, nx, ny, nz = volumes.shape
    first, second = np.empty_like(volumes), np.empty_like(volumes)
    _convolve_planes(volumes.reshape(n * nx, ny, nz), taps, first.reshape(n * nx, ny, nz))
    _convolve_volumes(first.reshape(n, nx, ny * nz), taps, second.reshape(n, nx, ny * nz))
    return second


@njit(cache=True, inline="always")
def _mixed(given, taps, i, out):
    """One row (inner,) of rows (n, inner) convolved along their first axis."""
    n, inner = given.shape
    reach = taps.size // 2
    for j in range(inner):
        out[j] = 0
    for k in range(max(0, reach - i), min(taps.size, n + reach - i)):
        source, tap = given[i + k - reach], taps[k]
        for j in range(inner):
            out[j] += tap * source[j]


@njit(cache=True, parallel=True)
def _convolve_volumes(given, taps, result):
    """Along the middle one of three axes."""
    outer, n, _ = given.shape
    for row in prange(outer * n):
        _mixed(given[row // n], taps, row % n, result[row // n, row % n])


@njit(cache=True, parallel=True)
def _convolve_planes(given, taps, result):
    """Along both axes of each plane (y, z): turned about in between, so that rows are added and not neighbours."""
    planes, ny, nz = given.shape
    for p in prange(planes):
        once, turned, twice = np.empty((ny, nz), np.float32), np.empty((nz, ny), np.float32), np.empty((nz, ny), np.float32)
        for y in range(ny):
            _mixed(given[p], taps, y, once[y])
        for y in range(ny):
            for z in range(nz):
                turned[z, y] = once[y, z]
        for z in range(nz):
            _mixed(turned, taps, z, twice[z])
        for y in range(ny):
            for z in range(nz):
                result[p, y, z] = twice[z, y]


@njit(cache=True, inline="always")
def _corner(at, n):
    """Voxel below a place along an axis and the share of the next one; beyond the rim what is there goes on."""
    place = min(max(at, np.float32(0)), np.float32(n - 1))
    low = min(int(place), n - 2) if n > 1 else 0
    return low, place - np.float32(low)


@njit(cache=True, inline="always")
def _between(image, i, j, k, p, q, r):
    """Linear interpolation in the cell of a voxel."""
    one = np.float32(1)
    i1, j1, k1 = min(i + 1, image.shape[0] - 1), min(j + 1, image.shape[1] - 1), min(k + 1, image.shape[2] - 1)
    near = (one - r) * image[i, j, k] + r * image[i, j, k1]
    beside = (one - r) * image[i, j1, k] + r * image[i, j1, k1]
    behind = (one - r) * image[i1, j, k] + r * image[i1, j, k1]
    across = (one - r) * image[i1, j1, k] + r * image[i1, j1, k1]
    return (one - p) * ((one - q) * near + q * beside) + p * ((one - q) * behind + q * across)


@njit(cache=True, parallel=True)
def _pulled(image, field, result):
    """Image as seen through a field (3, x, y, z)."""
    nx, ny, nz = result.shape
    for x in prange(nx):
        for y in range(ny):
            for z in range(nz):
                i, p = _corner(np.float32(x) + field[0, x, y, z], nx)
                j, q = _corner(np.float32(y) + field[1, x, y, z], ny)
                k, r = _corner(np.float32(z) + field[2, x, y, z], nz)
                result[x, y, z] = _between(image, i, j, k, p, q, r)


@njit(cache=True, parallel=True)
def _compose(outer, inner, result):
    """Fields (3, x, y, z): first the inner one, then, where that leads, the outer one."""
    nx, ny, nz = result.shape[1:]
    for x in prange(nx):
        for y in range(ny):
            for z in range(nz):
                i, p = _corner(np.float32(x) + inner[0, x, y, z], nx)
                j, q = _corner(np.float32(y) + inner[1, x, y, z], ny)
                k, r = _corner(np.float32(z) + inner[2, x, y, z], nz)
                for a in range(3):
                    result[a, x, y, z] = inner[a, x, y, z] + _between(outer[a], i, j, k, p, q, r)


@njit(cache=True, parallel=True)
def _magnified(field, factor, result):
    """A field (3, x, y, z) on a lattice with smaller voxels that begins at the same point."""
    nx, ny, nz = result.shape[1:]
    for x in prange(nx):
        for y in range(ny):
            for z in range(nz):
                i, p = _corner(np.float32(x) / factor, field.shape[1])
                j, q = _corner(np.float32(y) / factor, field.shape[2])
                k, r = _corner(np.float32(z) / factor, field.shape[3])
                for a in range(3):
                    result[a, x, y, z] = factor * _between(field[a], i, j, k, p, q, r)


def _inverse(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of a field (3, x, y, z) by fixed-point iteration (Chen et al., Med Phys 2008)."""
    back, at = np.zeros_like(field), np.empty_like(field)
    for _ in range(_INVERSION_STEPS):
        _compose(field, back, at)
        back -= at
    return back


@njit(cache=True, parallel=True)
def _products(seen, sums):
    """What local sums are made of: both images, their squares and their product."""
    for x in prange(seen.shape[1]):
        for y in range(seen.shape[2]):
            for z in range(seen.shape[3]):
                f, m = seen[0, x, y, z], seen[1, x, y, z]
                sums[0, x, y, z], sums[1, x, y, z] = f, m
                sums[2, x, y, z], sums[3, x, y, z], sums[4, x, y, z] = f * f, m * m, f * m


@njit(cache=True, parallel=True)
def _correlation_force(seen, within, sums, inside, push):
    """Derivative of the squared local correlation by the value of each image in the middle of its patch."""
    for x in prange(within.shape[0]):
        for y in range(within.shape[1]):
            for z in range(within.shape[2]):
                push[0, x, y, z] = push[1, x, y, z] = 0
                if within[x, y, z] < 0.5:
                    continue
                n = inside[x, y, z]
                f, m = sums[0, x, y, z] / n, sums[1, x, y, z] / n
                ff = sums[2, x, y, z] / n - f * f
                mm = sums[3, x, y, z] / n - m * m
                fm = sums[4, x, y, z] / n - f * m
                if ff < 1e-5 or mm < 1e-5:
                    continue
                own, other = seen[0, x, y, z] - f, seen[1, x, y, z] - m
                common = 2 * fm / (ff * mm)
                push[0, x, y, z] = common * (other - fm / ff * own)
                push[1, x, y, z] = common * (own - fm / mm * other)


@njit(cache=True, parallel=True)
def _histogram(seen, within, first_scale, second_scale, parts):
    """Joint histogram with cubic windows for both images, one part of the planes each."""
    nx, bins = within.shape[0], parts.shape[1]
    for p in prange(parts.shape[0]):
        joint = parts[p]
        for x in range(p * nx // parts.shape[0], (p + 1) * nx // parts.shape[0]):
            for y in range(within.shape[1]):
                for z in range(within.shape[2]):
                    if within[x, y, z] < 0.5:
                        continue
                    a, one, _ = _window(seen[0, x, y, z], first_scale, bins)
                    b, two, _ = _window(seen[1, x, y, z], second_scale, bins)
                    for c in range(4):
                        for d in range(4):
                            joint[a - 1 + c, b - 1 + d] += one[c] * two[d]


@njit(cache=True, inline="always")
def _window(value, scale, bins):
    """Bin, cubic weights about it, and their slopes."""
    place = min(max(value * scale, 0.0), bins - 1.0 - 2 * _MARGIN) + _MARGIN
    b = int(place)
    return b, weights(np.float32(place - b)), slopes(np.float32(place - b))


def _logs(joint: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms that the derivative of the information by either image's values is made of."""
    joint = joint / max(float(joint.sum()), 1e-12) + 1e-12
    return np.log(joint / joint.sum(axis=1, keepdims=True)), np.log(joint / joint.sum(axis=0, keepdims=True))


@njit(cache=True, parallel=True)
def _information_force(seen, within, first_scale, second_scale, first_logs, second_logs, pull):
    """Derivative of the mutual information by the value of each image in each voxel, up to a factor."""
    bins = first_logs.shape[0]
    for x in prange(within.shape[0]):
        for y in range(within.shape[1]):
            for z in range(within.shape[2]):
                first = second = 0.0
                if within[x, y, z] >= 0.5:
                    a, one, rise = _window(seen[0, x, y, z], first_scale, bins)
                    b, two, climb = _window(seen[1, x, y, z], second_scale, bins)
                    for c in range(4):
                        for d in range(4):
                            first += rise[c] * two[d] * first_logs[a - 1 + c, b - 1 + d]
                            second += one[c] * climb[d] * second_logs[a - 1 + c, b - 1 + d]
                pull[0, x, y, z], pull[1, x, y, z] = first * first_scale, second * second_scale


def _forces(image: NDArray, push: NDArray, pull: NDArray, force: NDArray) -> None:
    """Forces (3, x, y, z) along an image's slope, each kind of length 1 on average."""
    squares = np.zeros((2, image.shape[0]))
    _lengths(image, push, pull, squares)
    one, two = np.sqrt(squares.sum(axis=1))
    if one > 0:
        _along_slope(image, push, pull, np.float32(one / two if two > 0 else 0), force)
    else:
        _along_slope(image, pull, pull, np.float32(0), force)


@njit(cache=True, inline="always")
def _slope(image, x, y, z, axis):
    """Central difference, 0 at the border."""
    if axis == 0:
        return (image[x + 1, y, z] - image[x - 1, y, z]) / 2 if 0 < x < image.shape[0] - 1 else np.float32(0)
    if axis == 1:
        return (image[x, y + 1, z] - image[x, y - 1, z]) / 2 if 0 < y < image.shape[1] - 1 else np.float32(0)
    return (image[x, y, z + 1] - image[x, y, z - 1]) / 2 if 0 < z < image.shape[2] - 1 else np.float32(0)


@njit(cache=True, parallel=True)
def _along_slope(image, push, pull, share, force):
    nx, ny, nz = image.shape
    for x in prange(nx):
        for y in range(ny):
            for z in range(nz):
                strength = push[x, y, z] + share * pull[x, y, z]
                for axis in range(3):
                    force[axis, x, y, z] = strength * _slope(image, x, y, z, axis)


@njit(cache=True, parallel=True)
def _lengths(image, push, pull, squares):
    """Squared lengths of both kinds of force, summed plane by plane."""
    nx, ny, nz = image.shape
    for x in prange(nx):
        one = two = 0.0
        for y in range(ny):
            for z in range(nz):
                slope = 0.0
                for axis in range(3):
                    slope += _slope(image, x, y, z, axis) ** 2
                one += slope * push[x, y, z] ** 2
                two += slope * pull[x, y, z] ** 2
        squares[0, x], squares[1, x] = one, two
