"""An individual: every tissue's share of every voxel of head and neck, with all that truth needs to know about it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numba import get_num_threads, njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cospine.phantom import tables
from cospine.phantom.deformation import Deformation, draw_deformation, identity
from cospine.phantom.deformation import to_canonical as _pull
from cospine.phantom.head import (
    SCALP_MM,
    SKULL_MM,
    SUBARACHNOID_MM,
    Brain,
    face,
    hull,
    load_brain,
    paint_brain,
    paint_skull,
    sample,
)
from cospine.phantom.neck import cord_centre, level_of, neck_profile, outline, paint_canal, paint_neck
from cospine.phantom.regions import label_regions
from cospine.phantom.shapes import inside, join, paint
from cospine.phantom.sulci import fold
from cospine.phantom.tissues import NUMBER, TISSUES

# Individual RAS mm that the object grid covers: (low, high) along x, y, z.
EXTENT = ((-100.0, 100.0), (-130.0, 118.0), (-151.0, 151.0))
_FAT, _MUSCLE = np.int64(NUMBER["fat"]), np.int64(NUMBER["muscle"])
# Voxels in plane that are skipped together where there is only air.
_BLOCK = 8
_VERTEBRA_TOPS = np.array(tables.VERTEBRA_TOP_Z[:9])
_SPINAL_TOPS = np.array(tables.SPINAL_TOP_Z[:9])
# Variation of signal within tissues other than brain: standard deviation and lengths (mm).
_TEXTURE_SD, _TEXTURE_STEP = 0.05, 2.5


@dataclass(frozen=True)
class Anatomy:
    """An individual on the object grid; every volume is (z, y, x), C-contiguous.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Voxel (i, j, k) to individual RAS mm.
    fractions : ndarray of uint8, shape (tissues, z, y, x)
        Share of each of `TISSUES`; the sum is 255 everywhere.
    texture : ndarray of float32 or None
        Factor on the signal, about 1.
    tissue : ndarray of uint8
        Tissue with the largest share.
    brain_mask, cord_mask, canal_mask : ndarray of bool
        Brain with cerebellum and brainstem down to the foramen magnum; cord from there; cord and CSF in the canal.
    vertebral_level, spinal_level : ndarray of uint8
        Within the cord: vertebra C1 = 1 .. T1 = 8, T2 = 9; spinal segment C1 = 1 .. C8 = 8, T1 = 9.
    region : ndarray of uint8
        Index into `cospine.phantom.regions.REGIONS`.
    brain : Brain
        Canonical maps that the head was filled from.
    deformation : Deformation
        To and from the template.
    centreline : ndarray, shape (m, 3)
        Middle of medulla and cord (mm), from above downwards, every millimetre.
    discs : dict of int to ndarray, shape (3,)
        Posterior tip of the discs (mm), counted as SCT does: 3 = C2-C3; 1 and 2 are the upper edge of C1 and of C2's body.
    foramen_magnum_z, t1_z : float
        Heights (mm) on the centre line where the head ends and the trunk begins (upper edge of T1).
    head_pivot : ndarray, shape (3,)
        Middle between the occipital condyles (mm).
    """

    affine: NDArray[np.float64]
    fractions: NDArray[np.uint8]
    texture: NDArray[np.float32] | None
    tissue: NDArray[np.uint8]
    brain_mask: NDArray[np.bool_]
    cord_mask: NDArray[np.bool_]
    canal_mask: NDArray[np.bool_]
    vertebral_level: NDArray[np.uint8]
    spinal_level: NDArray[np.uint8]
    region: NDArray[np.uint8]
    brain: Brain
    deformation: Deformation
    centreline: NDArray[np.float64]
    discs: dict[int, NDArray[np.float64]]
    foramen_magnum_z: float
    t1_z: float
    head_pivot: NDArray[np.float64]


@njit(cache=True)
def _skin(x, y, z, distance, profile):
    """Distance (mm) to the skin at a canonical point, and to the brain."""
    d = hull(x, y, z, distance)
    skin = d - (SUBARACHNOID_MM + SKULL_MM + SCALP_MM)
    if z < 30 and y > -70:
        skin = join(skin, face(abs(x), y, z), 8.0)
    if z < -40:
        # the neck ends below the occiput and behind the jaw
        skin = join(skin, max(outline(x, y, z, profile), z + 62.0), 22.0)
    return skin, d


@njit(cache=True)
def _fill(x, y, z, maps, first, distance, profile, f):
    """Fill in the shares of all tissues at a canonical point.

    Returns the shares in brain, cord and sac, and the texture (0: not brain).
    """
    f[:] = 0
    f[0] = 1
    skin, d = _skin(x, y, z, distance, profile)
    share = inside(skin)
    if share <= 0:
        return 0.0, 0.0, 0.0, 0.0
    paint(f, _MUSCLE, share)
    fat = 3.0 if z > -60 else 4.5
    paint(f, _FAT, min(share, inside(-skin - fat)))
    if z < -50:
        paint_neck(x, y, z, profile, f)
    if z > -135:
        paint_skull(x, y, z, d, f)
    brain, texture = 0.0, 0.0
    if d < 6 and z > -75:
        brain, texture = paint_brain(x, y, z, d, maps, first, f)
    cord, sac = 0.0, 0.0
    if z < -58:
        cord, sac = paint_canal(x, y, z, profile, f)
    return brain, cord, sac, texture


@njit(cache=True, nogil=True)
def _render(k, affine, p, modes, maps, first, distance, profile, noise, fractions, texture, tissue, masks, levels):
    """Fill one slice of the object grid."""
    tissues, _, ny, nx = fractions.shape
    dx, dy, dz = affine[0, 0] * _BLOCK, affine[1, 1] * _BLOCK, affine[2, 2] * _BLOCK
    # distances to the skin are near enough exact that twice the block's radius is on the safe side
    reach = sqrt(dx * dx + dy * dy + dz * dz) + 3.0
    f = np.empty(tissues)
    az = affine[2, 2] * k + affine[2, 3]
    for j0 in range(0, ny, _BLOCK):
        for i0 in range(0, nx, _BLOCK):
            ax = affine[0, 0] * (i0 + 0.5 * _BLOCK) + affine[0, 3]
            ay = affine[1, 1] * (j0 + 0.5 * _BLOCK) + affine[1, 3]
            x, y, z = _pull(ax, ay, az, p, modes)
            if _skin(x, y, z, distance, profile)[0] > reach:
                for j in range(j0, min(j0 + _BLOCK, ny)):
                    for i in range(i0, min(i0 + _BLOCK, nx)):
                        fractions[0, k, j, i] = 255
                continue
            for j in range(j0, min(j0 + _BLOCK, ny)):
                for i in range(i0, min(i0 + _BLOCK, nx)):
                    ax, ay = affine[0, 0] * i + affine[0, 3], affine[1, 1] * j + affine[1, 3]
                    x, y, z = _pull(ax, ay, az, p, modes)
                    brain, cord, sac, own = _fill(x, y, z, maps, first, distance, profile, f)
                    # the largest share takes what rounding leaves, so that the sum is 255
                    left, best = 255, 0
                    for t in range(tissues):
                        value = int(f[t] * 255 + 0.5)
                        fractions[t, k, j, i] = value
                        left -= value
                        if f[t] > f[best]:
                            best = t
                    fractions[best, k, j, i] += left
                    tissue[k, j, i] = best
                    below = z <= tables.FORAMEN_MAGNUM_Z
                    masks[0, k, j, i] = not below and (brain > 0.5 or cord > 0.5)
                    masks[1, k, j, i] = below and cord > 0.5
                    masks[2, k, j, i] = below and sac > 0.5
                    if masks[1, k, j, i]:
                        levels[0, k, j, i] = max(level_of(z, _VERTEBRA_TOPS), 1)
                        levels[1, k, j, i] = max(level_of(z, _SPINAL_TOPS), 1)
                    if best != 0:
                        u, v, w = (ax + 170) / _TEXTURE_STEP, (ay + 170) / _TEXTURE_STEP, (az + 170) / _TEXTURE_STEP
                        weight = 0.3 if own > 0 or cord > 0.5 else 1.0
                        texture[k, j, i] = (own if own > 0 else 1.0) * (1 + weight * sample(noise, u, v, w))


@njit(cache=True, nogil=True)
def _chi(k, affine, p, modes, maps, first, distance, profile, chi_of_tissue, out):
    """Fill what is NaN in one slice of a map of one number of each tissue."""
    _, ny, nx = out.shape
    f = np.empty(chi_of_tissue.shape[0])
    for j in range(ny):
        for i in range(nx):
            if not np.isnan(out[k, j, i]):
                continue
            x, y, z = _pull(
                affine[0, 0] * i + affine[0, 3], affine[1, 1] * j + affine[1, 3], affine[2, 2] * k + affine[2, 3], p, modes
            )
            _fill(x, y, z, maps, first, distance, profile, f)
            total = 0.0
            for t in range(f.shape[0]):
                total += f[t] * chi_of_tissue[t]
            out[k, j, i] = total


def _slice_by_slice(kernel: Callable[..., None], count: int, *arguments) -> None:
    """Call a kernel that lets other threads run with each slice's number and the arguments, slices side by side."""
    with ThreadPoolExecutor(get_num_threads()) as pool:
        for done in [pool.submit(kernel, k, *arguments) for k in range(count)]:
            done.result()


@njit(cache=True)
def _pool(fractions, from_affine, weight, to_affine, total, count):
    tissues, nz, ny, nx = fractions.shape
    for k in range(nz):
        c = int(np.floor((from_affine[2, 2] * k + from_affine[2, 3] - to_affine[2, 3]) / to_affine[2, 2] + 0.5))
        for j in range(ny):
            b = int(np.floor((from_affine[1, 1] * j + from_affine[1, 3] - to_affine[1, 3]) / to_affine[1, 1] + 0.5))
            for i in range(nx):
                a = int(np.floor((from_affine[0, 0] * i + from_affine[0, 3] - to_affine[0, 3]) / to_affine[0, 0] + 0.5))
                value = 0.0
                for t in range(tissues):
                    value += fractions[t, k, j, i] * weight[t]
                total[c, b, a] += value
                count[c, b, a] += 1


def chi_map(
    anatomy: Anatomy, chi_of_tissue: NDArray[np.float64], shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Average over tissues of a number of each tissue, on a coarser and larger grid (z, y, x).

    Inside the object grid it is the mean of its voxels; outside (chest, shoulders) the anatomy is evaluated at
    the point.
    """
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    _pool(anatomy.fractions, anatomy.affine, chi_of_tissue / 255, affine, total, count)
    # cells at the edge of the object grid are evaluated at their middle too
    whole = count >= 0.35 * np.prod(np.diag(affine)[:3] / np.diag(anatomy.affine)[:3])
    out = np.where(whole, total / np.maximum(count, 1), np.nan).astype(np.float32)
    brain, deformation = anatomy.brain, anatomy.deformation
    _slice_by_slice(
        _chi,
        shape[0],
        affine,
        *(deformation.parameters, deformation.modes, brain.maps, brain.first, brain.distance, neck_profile()),
        chi_of_tissue,
        out,
    )
    return out


def object_grid(spacing_mm: tuple[float, float, float]) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape (z, y, x) and affine of the grid that covers `EXTENT`."""
    shape = [round((high - low) / step) + 1 for (low, high), step in zip(EXTENT, spacing_mm, strict=True)]
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [low for low, _ in EXTENT]
    return (shape[2], shape[1], shape[0]), affine


def build_anatomy(
    seed: int, spacing_mm: tuple[float, float, float] = (0.75, 0.75, 1.0), individual: bool = True, sulci: bool = False
) -> Anatomy:
    """Draw an individual and fill the object grid.

    Parameters
    ----------
    seed : int
        Same seed, same individual and the same bytes.
    spacing_mm : tuple of float
        Voxel of the object grid along x, y, z.
    individual : bool
        False leaves the template's shape (moved to the isocentre).
    sulci : bool
        The cortex has folds of its own instead of the template's.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    deformation = draw_deformation(rng) if individual else identity()
    shape, affine = object_grid(spacing_mm)
    brain = fold(load_brain(), seed) if sulci else load_brain()
    fractions = np.zeros((len(TISSUES), *shape), np.uint8)
    texture = np.ones(shape, np.float32)
    tissue = np.zeros(shape, np.uint8)
    masks = np.zeros((3, *shape), np.bool_)
    levels = np.zeros((2, *shape), np.uint8)
    _slice_by_slice(
        _render,
        shape[0],
        affine,
        *(deformation.parameters, deformation.modes, brain.maps, brain.first, brain.distance, neck_profile()),
        _texture_noise(rng),
        *(fractions, texture, tissue, masks, levels),
    )
    centreline = _centreline(deformation, affine[2, 3])
    return Anatomy(
        affine=affine,
        fractions=fractions,
        texture=texture,
        tissue=tissue,
        brain_mask=masks[0],
        cord_mask=masks[1],
        canal_mask=masks[2],
        vertebral_level=levels[0],
        spinal_level=levels[1],
        region=_regions(tissue, masks, affine, deformation),
        brain=brain,
        deformation=deformation,
        centreline=centreline,
        discs=_discs(deformation),
        foramen_magnum_z=_on_centreline(deformation, tables.FORAMEN_MAGNUM_Z)[2],
        t1_z=_on_centreline(deformation, tables.VERTEBRA_TOP_Z[7])[2],
        head_pivot=deformation.to_individual(np.array([tables.HEAD_PIVOT]))[0],
    )


def _texture_noise(rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth variation over the grid's extent, two lengths of it."""
    white = rng.standard_normal((140, 140, 140)).astype(np.float32)
    parts = [gaussian_filter(white, width, mode="wrap") for width in (0.8, 4.0)]
    return sum((p / p.std() for p in parts), np.zeros_like(white)) * np.float32(_TEXTURE_SD / np.sqrt(2))


def _on_centreline(deformation: Deformation, z: float | NDArray[np.floating]) -> NDArray[np.float64]:
    heights = np.atleast_1d(np.asarray(z, float))
    out = deformation.to_individual(cord_centre(heights))
    return out if np.ndim(z) else out[0]


def _centreline(deformation: Deformation, bottom: float) -> NDArray[np.float64]:
    """Middle of the cord from 10 mm above the foramen magnum until below the grid, evenly spaced by a millimetre."""
    line = _on_centreline(deformation, np.arange(tables.FORAMEN_MAGNUM_Z + 10, -300, -0.5))
    line = line[: max(int(np.argmax(line[:, 2] < bottom - 12)), 2)]
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    steps = np.arange(0, length[-1], 1.0)
    return np.stack([np.interp(steps, length, line[:, n]) for n in range(3)], 1)


def _discs(deformation: Deformation) -> dict[int, NDArray[np.float64]]:
    """Posterior tips of the discs: in front of the sac at the upper edges of the vertebrae."""
    z = np.array(tables.VERTEBRA_TOP_Z)
    ascending = tables.DURA[::-1]
    offset, depth = (np.interp(z, ascending[:, 0], ascending[:, column]) for column in (1, 3))
    y = cord_centre(z)[:, 1] + offset + depth / 2 + 2.0
    points = deformation.to_individual(np.stack([np.zeros_like(z), y, z], 1))
    return {n + 1: point for n, point in enumerate(points) if n < 10}


def _regions(
    tissue: NDArray[np.uint8], masks: NDArray[np.bool_], affine: NDArray[np.float64], deformation: Deformation
) -> NDArray[np.uint8]:
    """Activation regions on the object grid, a slab at a time."""
    region = np.zeros(tissue.shape, np.uint8)
    for k in range(tissue.shape[0]):
        rows, columns = np.nonzero(
            ((tissue[k] == NUMBER["grey_matter"]) & masks[0, k]) | ((tissue[k] == NUMBER["cord_grey"]) & masks[1, k])
        )
        if not rows.size:
            continue
        voxels = np.stack([columns, rows, np.full(len(rows), k), np.ones(len(rows))])
        points = deformation.to_canonical((affine @ voxels)[:3].T)
        behind = points[:, 1] - cord_centre(points[:, 2])[:, 1]
        region[k, rows, columns] = label_regions(points, tissue[k, rows, columns], behind)
    return region
