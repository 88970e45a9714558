"""The template head: the MNI152 brain in a skull with scalp, face, eyes, jaw and air spaces around it.

The brain is that of the ICBM 152 nonlinear symmetric template (2009a; Fonov et al., NeuroImage 2011) as nilearn
carries it. All else is
built of solids at the places that they have in the MNI152 head.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import sqrt

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from cospine.phantom.shapes import capsule, ellipse, ellipsoid, inside, join, paint, smooth
from cospine.phantom.tissues import NUMBER

# NumPy's integers: a kernel would be compiled anew for every literal that it is called with.
CSF, GREY, WHITE, BONE, MARROW, MUSCLE, FAT, EYE, VESSEL, AIRWAY = (
    np.int64(NUMBER[name])
    for name in ("csf", "grey_matter", "white_matter", "bone", "marrow", "muscle", "fat", "eye", "vessel", "airway")
)

# Thickness (mm): subarachnoid space with dura, calvarium, scalp (after Haeussinger et al., PLoS One 2011).
SUBARACHNOID_MM, SKULL_MM, SCALP_MM = 2.4, 6.3, 5.4
# Coarse grid of the distance to the brain: canonical RAS mm of its first point, spacing, shape (x, y, z).
_FIRST, _STEP, _SHAPE = (-130.0, -170.0, -130.0), 2.0, (131, 156, 131)
# Radius of the closing of its folds: at the base of the skull, where bone fills the gaps, and at the vault, which
# is smooth.
_CLOSING_BASE_MM, _CLOSING_VAULT_MM, _BASE_Z, _VAULT_Z = 8.0, 42.0, -18.0, 22.0


@dataclass(frozen=True)
class Brain:
    """Maps of the template brain.

    Parameters
    ----------
    maps : ndarray of uint8, shape (4, z, y, x)
        Grey matter, white matter, brain mask (255 = all) and texture (128 = 1, 1 / 256 a step) at 1 mm.
    first : ndarray, shape (3,)
        Canonical RAS mm of their first voxel.
    distance : ndarray of float32, shape (z, y, x)
        Distance (mm) to a smooth hull of the brain, negative inside, every 2 mm.
    """

    maps: NDArray[np.uint8]
    first: NDArray[np.float64]
    distance: NDArray[np.float32]


@lru_cache(maxsize=1)
def load_brain() -> Brain:
    """Read the template brain from nilearn's package and prepare its maps, which are read-only."""
    folder = files("nilearn") / "datasets" / "data"
    images, first = [], np.zeros(3)
    for name in ("t1", "gm", "wm"):
        image = Nifti1Image.from_filename(str(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"))
        images.append(np.ascontiguousarray(np.asanyarray(image.dataobj).T))
        first = np.asarray(image.affine)[:3, 3]
    t1, grey, white = images
    mask = np.asarray(ndimage.binary_fill_holes(t1 > 0), bool)
    # The template is an average: its probabilities are sharpened towards one brain's.
    shares = np.stack([grey, white, np.clip(255 - grey.astype(np.int16) - white, 0, 255)]).astype(np.float32) ** 1.6
    shares *= np.where(mask, 255, 0) / np.maximum(shares.sum(0), 1e-6)
    grey, white = shares[0], shares[1]
    expected = (0.45 * (255 - grey - white) + 0.74 * grey + 0.97 * white) / 255
    detail = ndimage.gaussian_filter(np.where(mask, t1 / np.float32(225.0) / expected, np.float32(1)), 0.7)
    texture = np.where(mask, np.clip(1 + 0.5 * (detail - 1), 0.8, 1.2), np.float32(1))
    maps = np.empty((4, *mask.shape), np.uint8)
    for n, volume in enumerate((grey, white, mask * np.float32(255), 128 + 256 * (texture - 1))):
        maps[n] = np.rint(np.clip(volume, 0, 255))
    brain = Brain(maps, first.astype(float), _hull_distance(mask, first))
    for array in vars(brain).values():
        array.flags.writeable = False
    return brain


def _hull_distance(mask: NDArray[np.bool_], first: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance to the brain with its folds closed, on the coarse grid."""
    coarse = np.zeros(_SHAPE[::-1], bool)
    half = mask[::2, ::2, ::2]
    start = np.rint((first - _FIRST) / _STEP).astype(int)[::-1]
    coarse[tuple(slice(s, s + n) for s, n in zip(start, half.shape, strict=True))] = half
    outside = _distance(~coarse) * _STEP
    base, vault = (_closed_distance(coarse, outside, radius) for radius in (_CLOSING_BASE_MM, _CLOSING_VAULT_MM))
    z = _FIRST[2] + _STEP * np.arange(_SHAPE[2])
    up = np.clip((z - _BASE_Z) / (_VAULT_Z - _BASE_Z), 0, 1)
    up = (up * up * (3 - 2 * up)).astype(np.float32)[:, None, None]
    return np.asarray(ndimage.gaussian_filter(base + up * (vault - base), 1.0), np.float32)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance (voxels) to the edge within a mask."""
    return np.asarray(ndimage.distance_transform_edt(mask), float)


def _closed_distance(mask: NDArray[np.bool_], outside: NDArray[np.float64], radius_mm: float) -> NDArray[np.float32]:
    """Distance (mm) to a mask closed with a ball, from the distance to the mask itself."""
    closed = (_distance(outside < radius_mm) * _STEP > radius_mm) | mask
    distance = _distance(~closed) - _distance(closed)
    return (distance * _STEP).astype(np.float32)


@njit(cache=True)
def sample(volume, x, y, z):
    """Trilinear value at a place in voxels, of the nearest edge outside."""
    nz, ny, nx = volume.shape
    x, y, z = min(max(x, 0.0), nx - 1.001), min(max(y, 0.0), ny - 1.001), min(max(z, 0.0), nz - 1.001)
    i, j, k = int(x), int(y), int(z)
    a, b, c = x - i, y - j, z - k
    low = (volume[k, j, i] * (1 - a) + volume[k, j, i + 1] * a) * (1 - b) + (
        volume[k, j + 1, i] * (1 - a) + volume[k, j + 1, i + 1] * a
    ) * b
    high = (volume[k + 1, j, i] * (1 - a) + volume[k + 1, j, i + 1] * a) * (1 - b) + (
        volume[k + 1, j + 1, i] * (1 - a) + volume[k + 1, j + 1, i + 1] * a
    ) * b
    return low * (1 - c) + high * c


@njit(cache=True)
def hull(x, y, z, distance):
    """Distance to the brain's hull at a canonical point."""
    return sample(distance, (x - _FIRST[0]) / _STEP, (y - _FIRST[1]) / _STEP, (z - _FIRST[2]) / _STEP)


@njit(cache=True)
def face(ax, y, z):
    """Distance to the skin of face and jaw; ``ax`` is the distance to the midline."""
    d = ellipsoid(ax, y - 38.0, z + 48.0, 66.0, 56.0, 62.0)
    d = join(d, ellipsoid(ax, y - 34.0, z + 92.0, 57.0, 55.0, 38.0), 16.0)
    d = join(d, ellipsoid(ax, y - 64.0, z + 112.0, 30.0, 29.0, 20.0), 14.0)
    d = join(d, ellipsoid(ax, y - 78.0, z + 84.0, 26.0, 22.0, 15.0), 10.0)
    d = join(d, ellipsoid(ax, y - 92.0, z + 56.0 + 0.45 * (y - 92.0), 11.0, 18.0, 21.0), 9.0)
    # sockets, and the auricle
    d = max(d, -ellipsoid(ax - 33.0, y - 97.0, z + 33.0, 19.0, 14.0, 13.0))
    return min(d, ellipsoid(ax - 79.0 - 0.3 * (-22.0 - y), y + 26.0, z + 40.0, 4.5, 15.0, 28.0))


@njit(cache=True)
def _airy(d, wall, f):
    """An air space with a bony wall."""
    paint(f, BONE, inside(d - wall))
    paint(f, AIRWAY, inside(d))


@njit(cache=True)
def paint_skull(x, y, z, d, f):
    """Calvarium and base of the skull at distance ``d`` from the brain, face bones, air spaces and eyes."""
    ax = abs(x)
    # calvarium: two tables and marrow, thin at the temples and thick behind
    thick = SKULL_MM - 2.2 * smooth((ax - 50.0) / 18.0) + 1.5 * smooth((-y - 80.0) / 25.0)
    inner, outer = SUBARACHNOID_MM, SUBARACHNOID_MM + thick
    # no bone under the cerebellum where the foramen lies; the canal takes over
    if d < outer + 1 and z > -72.0:
        hole = ellipse(x, y + 46.0, 15.0, 18.0) if z < -52.0 else 9.0
        shell = max(d - outer, -hole, -69.0 - z)
        paint(f, BONE, inside(shell))
        paint(f, MARROW, inside(max(d - outer + 1.7, inner + 1.5 - d, -hole + 1.5)))
    if y < -60.0 or z > 24.0:
        return
    # base: body of the sphenoid and clivus, petrous and mastoid bone
    clivus = capsule(y, z, 8.0, -38.0, -22.0, -60.0, 6.0)
    clivus = max(clivus, ax - 13.0)
    paint(f, BONE, inside(clivus))
    paint(f, MARROW, inside(clivus + 1.4))
    petrous = ellipsoid(ax - 36.0, y + 20.0 + 0.45 * (ax - 36.0), z + 42.0, 24.0, 8.0, 7.0)
    paint(f, BONE, inside(petrous))
    paint(f, MARROW, inside(petrous + 3.0))
    mastoid = ellipsoid(ax - 57.0, y + 34.0, z + 56.0, 10.0, 13.0, 17.0)
    paint(f, BONE, inside(mastoid))
    paint(f, AIRWAY, 0.5 * inside(mastoid + 2.5))
    # ear: canal and tympanic cavity
    paint(f, AIRWAY, inside(max(sqrt((y + 20.0) ** 2 + (z + 45.0) ** 2) - 3.4, 50.0 - ax, ax - 84.0)))
    paint(f, AIRWAY, inside(ellipsoid(ax - 47.0, y + 20.0, z + 43.0, 4.0, 5.0, 7.0)))
    if y < -2.0 and z > -62.0:
        return
    # upper jaw, palate and cheek bone
    maxilla = ellipsoid(ax, y - 60.0, z + 77.0, 27.0, 26.0, 10.0)
    maxilla = max(maxilla, 48.0 - y)
    paint(f, BONE, inside(maxilla))
    paint(f, MARROW, inside(maxilla + 2.0))
    paint(f, BONE, inside(max(abs(z + 72.5) - 1.6, ellipse(x, y - 48.0, 24.0, 34.0))))
    cheek = capsule(ax, y, 40.0, 72.0, 66.0, 22.0, 4.0)
    cheek = max(cheek, abs(z + 53.0) - 5.5)
    paint(f, BONE, inside(cheek))
    paint(f, MARROW, inside(cheek + 1.8))
    # teeth and the gap above the tongue
    arch = abs(ellipse(x, y - 48.0, 25.0, 36.0)) - 3.2
    paint(f, BONE, 0.85 * inside(max(arch, abs(z + 89.0) - 8.5, 46.0 - y)))
    paint(f, AIRWAY, inside(ellipsoid(x, y - 46.0, z + 77.5 + 0.008 * (y - 46.0) ** 2, 19.0, 30.0, 2.6)))
    # lower jaw: body as an arch, ramus up to the joint
    body = abs(ellipse(x, y - 34.0, 42.0, 50.0)) - 4.2
    body = max(body, abs(z + 108.0 + 0.16 * (74.0 - y)) - 11.5, 22.0 - y)
    ramus = ellipsoid(ax - 43.0 - 0.07 * (z + 85.0), y - 15.0 + 0.25 * (z + 85.0), z + 82.0, 4.6, 13.0, 38.0)
    jaw = min(body, ramus)
    paint(f, BONE, inside(jaw))
    paint(f, MARROW, inside(jaw + 2.0))
    # orbits: fat, muscle cone, eye, optic nerve
    socket = ellipsoid(ax - 30.0 + 0.28 * (66.0 - y), y - 54.0, z + 33.0, 18.0, 30.0, 17.0)
    socket = max(socket, y - 74.0)
    paint(f, BONE, inside(max(socket - 2.2, y - 74.0)))
    paint(f, FAT, inside(socket))
    nerve = sqrt((ax - 32.0 + 0.42 * (66.0 - y)) ** 2 + (z + 33.0) ** 2)
    cone = abs(nerve - 4.0 - 0.35 * max(y - 34.0, 0.0)) - 1.5
    if y < 64.0:
        paint(f, MUSCLE, inside(max(cone, socket)))
        paint(f, WHITE, inside(max(nerve - 2.2, socket)))
    globe = ellipsoid(ax - 33.0, y - 70.0, z + 33.0, 12.2, 12.2, 12.2)
    paint(f, MUSCLE, inside(globe - 0.9))
    paint(f, EYE, inside(globe))
    paint(f, MUSCLE, inside(ellipsoid(ax - 33.0, y - 78.0, z + 33.0, 4.8, 2.3, 4.8)))
    # air spaces of the nose
    _airy(ellipsoid(ax - 7.0, y - 19.0, z + 37.0, 6.6, 12.0, 9.0), 1.4, f)
    _airy(ellipsoid(ax - 7.5, y - 48.0, z + 34.0, 6.2, 18.0, 9.0), 1.2, f)
    _airy(ellipsoid(ax - 9.0, y - 79.0, z + 12.0, 8.0, 4.2, 11.0), 1.5, f)
    _airy(ellipsoid(ax - 28.0, y - 52.0, z + 62.0, 12.0, 16.0, 14.0), 1.5, f)
    cavity = ellipsoid(ax - 6.5, y - 52.0, z + 56.0, 5.6, 34.0, 15.0)
    paint(f, MUSCLE, inside(cavity - 1.5))
    paint(f, AIRWAY, inside(cavity))
    # turbinates
    paint(f, MUSCLE, inside(max(ellipsoid(ax - 9.0, y - 48.0, z + 62.0, 3.4, 22.0, 4.0), cavity)))
    paint(f, MUSCLE, inside(max(ellipsoid(ax - 9.0, y - 46.0, z + 51.0, 3.0, 18.0, 3.2), cavity)))
    paint(f, AIRWAY, inside(ellipsoid(x, y - 8.0, z + 58.0, 11.0, 11.0, 11.0)))


@njit(cache=True)
def paint_brain(x, y, z, d, maps, first, f):
    """Subarachnoid space, brain; returns the voxel's share in the brain and its texture."""
    paint(f, CSF, inside(d - SUBARACHNOID_MM))
    # superior sagittal and transverse sinuses
    if z > -40.0 and d > -2.0:
        paint(f, VESSEL, inside(max(sqrt(x * x + (d - 0.2) * (d - 0.2)) - 3.2, -z - 10.0 if y < 20.0 else 9.0 - z)))
    if d > 3.0:
        return 0.0, 1.0
    i, j, k = x - first[0], y - first[1], z - first[2]
    if i < 0 or j < 0 or k < 0 or i > maps.shape[3] - 1 or j > maps.shape[2] - 1 or k > maps.shape[1] - 1:
        return 0.0, 1.0
    mask = sample(maps[2], i, j, k) / 255.0
    if mask <= 0:
        return 0.0, 1.0
    # below the foramen the cord takes over
    stay = smooth((z + 70.0) / 5.0)
    grey, white = sample(maps[0], i, j, k) / 255.0, sample(maps[1], i, j, k) / 255.0
    paint(f, CSF, mask * stay)
    share = (grey + white) * stay
    if share > 0:
        for n in range(f.shape[0]):
            f[n] *= 1 - share
        f[GREY] += grey * stay
        f[WHITE] += white * stay
    texture = 1 + (sample(maps[3], i, j, k) / 128.0 - 1) * 0.5
    return mask * stay, texture
