"""Random heads and necks: a family of shapes of this network's own, rendered into volumes of tissue labels.

Nothing here is measured from a template or from the digital participant. The head is made of superellipsoids in a frame of
its own (x right, y anterior, z superior, mm), the neck of cross-sections along a random smooth curve that leaves the head at
the foramen magnum; thresholded smooth noise makes sulci, folia, diploe, air cells and septa of muscle, and a random smooth
deformation bends the whole. The head nods against the neck. The world's origin is the middle of the foramen magnum.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import ndimage

TISSUES = (
    "air", "skin", "fat", "muscle", "cortical", "marrow", "diploe", "csf", "cortex", "white", "deep", "ventricle",
    "folia", "arbor", "stem", "cord", "canal", "epidural", "disc", "ligament", "artery", "vein", "airway", "mucosa",
    "eye", "tongue", "gland", "tooth", "lung", "organ", "dura", "clutter_a", "clutter_b",
)  # fmt: skip
(
    AIR, SKIN, FAT, MUSCLE, CORTICAL, MARROW, DIPLOE, CSF, CORTEX, WHITE, DEEP, VENTRICLE,
    FOLIA, ARBOR, STEM, CORD, CANAL, EPIDURAL, DISC, LIGAMENT, ARTERY, VEIN, AIRWAY, MUCOSA,
    EYE, TONGUE, GLAND, TOOTH, LUNG, ORGAN, DURA, CLUTTER_A, CLUTTER_B,
) = range(len(TISSUES))  # fmt: skip

TISSUE_CLASS = np.zeros(len(TISSUES), dtype=np.uint8)
TISSUE_CLASS[[CORTEX, WHITE, DEEP, VENTRICLE]] = 1
TISSUE_CLASS[[FOLIA, ARBOR, STEM]] = 2
TISSUE_CLASS[CORD] = 3
TISSUE_CLASS[CANAL] = 4

LABEL_STEP_MM = 2.0
NECK_LENGTH_MM = 300
TOP_MM = 176.0
BOTTOM_MM = -250.0

# Columns of the table of the neck, one row a mm below the foramen magnum.
(X, Y, TILT, CORD_X, CORD_Y, CANAL_X, CANAL_Y, CANAL_SHIFT, WIDE, DEEP_FRONT, DEEP_BACK, LEVEL) = range(12)


class Anatomy(NamedTuple):
    """One random person; lengths in mm, angles in rad. Head lengths are in the standard head, divided by `scale`."""

    scale: np.ndarray  # (3,) of the head
    rotation: np.ndarray  # (3, 3) world to head
    foramen: np.ndarray  # (3,) in the standard head
    exponent: float
    temporal: np.ndarray  # (6,) centre and semi-axes of the right temporal lobe
    cerebellum: np.ndarray  # (6,)
    stem: np.ndarray  # (rows, 4) z, y, half width, half depth of the brainstem in the standard head
    ventricles: float
    sulcus: float  # half width of sulci, in units of the noise
    ribbon: float  # half thickness of the cortex, same unit
    csf_gap: float
    bone: float
    scalp: float
    face: np.ndarray  # (6,) envelope
    eye: np.ndarray  # (4,) centre of the right eye and its radius
    sinus_air: float
    mouth: np.ndarray  # (6,) tongue
    jaw: np.ndarray  # (4,) half width, length, bottom, thickness
    neck: np.ndarray  # (NECK_LENGTH_MM + 1, 12)
    neck_fat: float
    body: np.ndarray  # (4,) half width and depth of vertebral bodies, disc's share, cortical thickness
    spine: np.ndarray  # (4,) thickness of the arch, length of the processes, half width, lateral reach
    airway: np.ndarray  # (4,) half width, half depth, distance in front of the bodies, share that is open
    vessels: np.ndarray  # (n, 3) x, y about the cord, radius
    lung_top: float
    septa: float
    noise: np.ndarray  # (k, 64, 64, 64) periodic, unit variance
    warp: np.ndarray  # (3, z, y, x) of the world, mm, one value every 24 mm


def noise_bank(seed: int = 0) -> np.ndarray:
    """Four periodic volumes of smooth noise of unit variance; their correlation lengths are 1.2, 2, 3 and 5 voxels.

    Returns
    -------
    ndarray of float32, shape (4, 64, 64, 64)
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, 77)))
    bank = []
    for sigma in (1.2, 2.0, 3.0, 5.0):
        smooth = ndimage.gaussian_filter(rng.standard_normal((64, 64, 64)), sigma, mode="wrap")
        bank.append((smooth - smooth.mean()) / smooth.std())
    return np.asarray(bank, dtype=np.float32)


def smooth_volume(rng: np.random.Generator, extent_mm: tuple[float, float, float], scale_mm: float, step_mm: float) -> np.ndarray:
    """Smooth noise of unit variance over a box of (z, y, x) mm, one value every `step_mm`."""
    shape = tuple(int(np.ceil(length / step_mm)) + 2 for length in extent_mm)
    values = ndimage.gaussian_filter(rng.standard_normal(shape), scale_mm / step_mm, mode="reflect")
    return np.asarray(values / (values.std() + 1e-6), dtype=np.float32)


def draw_anatomy(rng: np.random.Generator, bank: np.ndarray) -> Anatomy:
    """Draw one person.

    Parameters
    ----------
    rng : numpy.random.Generator
    bank : ndarray, shape (4, 64, 64, 64)
        From `noise_bank`.

    Returns
    -------
    Anatomy
    """
    size = rng.uniform(0.86, 1.1)
    scale = size * rng.uniform(0.93, 1.08, 3)
    foramen = np.array([0.0, -46.0 + rng.uniform(-5, 5), -66.0 + rng.uniform(-5, 4)])
    nod, turn, lean = np.radians([rng.uniform(-25, 25), rng.normal(0, 4), rng.normal(0, 4)])
    pose = rotation(nod, lean, turn)
    stem = np.array(
        [
            [-10, -28, 15, 11],
            [-20, -26.5, 14, 11.5],
            [-33, -24.5, 17.5, 13.5],
            [-44, -32, 12, 9.5],
            [-56, -41, 9, 7.5],
        ],
        dtype=float,
    )
    stem[:, 1] += rng.uniform(-4, 4)
    stem[:, 2:] *= rng.uniform(0.82, 1.15, 2)
    stem[2, 1:] *= rng.uniform(0.92, 1.08, 3)
    neck = _draw_neck(rng, nod, size)
    stem = np.vstack([stem, [foramen[2], foramen[1], neck[0, CORD_X] / scale[0], neck[0, CORD_Y] / scale[1]]])
    vessels = []
    for side in (-1, 1):
        vessels.append((side * (neck[60, CANAL_X] + rng.uniform(3, 8)), rng.uniform(3, 10), rng.uniform(1.2, 2.8)))
        vessels.append((side * rng.uniform(20, 34), rng.uniform(20, 42), rng.uniform(2.5, 4.5)))
        vessels.append((side * rng.uniform(24, 40), rng.uniform(18, 40), rng.uniform(3, 7.5)))
        vessels.append((side * rng.uniform(10, 45), rng.uniform(-35, -15), rng.uniform(1.0, 3.0)))
    volume_extent = (TOP_MM - BOTTOM_MM + 48, 360.0, 400.0)
    strength = rng.uniform(0.0, 4.5)
    warp = np.stack([strength * smooth_volume(rng, volume_extent, rng.uniform(40, 70), 24.0) for _ in range(3)])
    return Anatomy(
        scale=scale,
        rotation=pose,
        foramen=foramen,
        exponent=rng.uniform(2.0, 2.5),
        temporal=np.array([43, -10, -21, 22, 42, 23]) * rng.uniform(0.92, 1.08, 6),
        cerebellum=np.array([22, -64, -37, 28, 27, 20]) * rng.uniform(0.9, 1.1, 6),
        stem=stem,
        ventricles=rng.uniform(0.7, 1.9),
        sulcus=rng.uniform(0.05, 0.35),
        ribbon=rng.uniform(0.35, 0.75),
        csf_gap=rng.uniform(0.5, 5.0),
        bone=rng.uniform(3.5, 9.0),
        scalp=rng.uniform(2.5, 9.0),
        face=np.array([0, 28, -64, 58, 62, 60]) * rng.uniform(0.93, 1.08, 6),
        eye=np.array([rng.uniform(29, 34), rng.uniform(56, 66), rng.uniform(-30, -20), rng.uniform(11, 13.5)]),
        sinus_air=rng.uniform(-1.2, 1.2),
        mouth=np.array([0, 32, -88, 22, 32, 19]) * rng.uniform(0.9, 1.1, 6),
        jaw=np.array([rng.uniform(36, 46), rng.uniform(52, 66), rng.uniform(-122, -104), rng.uniform(6, 11)]),
        neck=neck,
        neck_fat=rng.uniform(2.0, 16.0),
        body=np.array([rng.uniform(8, 12.5), rng.uniform(6.5, 9.5), rng.uniform(0.2, 0.38), rng.uniform(0.6, 2.2)]),
        spine=np.array([rng.uniform(3, 6.5), rng.uniform(14, 38), rng.uniform(2.5, 5), rng.uniform(16, 26)]),
        airway=np.array([rng.uniform(5, 13), rng.uniform(3, 9), rng.uniform(6, 14), rng.uniform(0.5, 1.0)]),
        vessels=np.array(vessels),
        lung_top=rng.uniform(135, 200),
        septa=rng.uniform(0.05, 0.3),
        noise=bank,
        warp=warp,
    )


def rotation(about_x: float, about_y: float, about_z: float) -> np.ndarray:
    """Rotation about the three axes in turn, x first; angles in rad."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([about_x, about_y, about_z]), np.sin([about_x, about_y, about_z])
    return (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )


def _along(rng: np.random.Generator, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    from scipy.interpolate import PchipInterpolator

    return np.asarray(PchipInterpolator(knots, values)(np.arange(NECK_LENGTH_MM + 1.0)))


def _draw_neck(rng: np.random.Generator, nod: float, size: float) -> np.ndarray:
    knots = np.array([0.0, 40, 80, 120, 165, 220, 300])
    lordosis = rng.uniform(-0.5, 1.3)
    # The slope (mm forward a mm down): leaves the head along the medulla, then a curve of the neck, backward in the chest.
    forward = lordosis * np.array([0.0, 0.22, 0.12, -0.12, -0.3, -0.2, 0.05]) + rng.normal(0, 0.07, 7)
    forward[0] = -0.28 - np.tan(0.5 * nod) + rng.normal(0, 0.05)
    forward += rng.uniform(-0.22, 0.22)
    slope = _along(rng, knots, forward)
    sideways = _along(rng, knots, rng.normal(0, 0.03, 7) + rng.normal(0, 0.05))
    table = np.zeros((NECK_LENGTH_MM + 1, 12))
    table[:, Y] = np.cumsum(slope) - slope[0]
    table[:, X] = np.cumsum(sideways) - sideways[0]
    table[:, TILT] = 1.0 / np.sqrt(1.0 + slope**2)
    half_x, half_y = rng.uniform(4.2, 6.8), rng.uniform(3.1, 4.9)
    enlargement = 1.0 + rng.uniform(0.02, 0.16) * np.exp(-(((np.arange(NECK_LENGTH_MM + 1.0) - 95 * size) / 32) ** 2))
    thoracic = 1.0 - rng.uniform(0.05, 0.25) / (1.0 + np.exp(-(np.arange(NECK_LENGTH_MM + 1.0) - 150 * size) / 10))
    top = 1.0 + rng.uniform(0.0, 0.2) * np.exp(-np.arange(NECK_LENGTH_MM + 1.0) / 10)
    table[:, CORD_X] = np.clip(half_x * enlargement * thoracic * top, 3.4, 8.2)
    table[:, CORD_Y] = np.clip(half_y * thoracic * top, 2.5, 5.8)
    gap = rng.uniform(0.8, 4.5, 2)
    wide_top = 1.0 + rng.uniform(0.4, 1.6) * np.exp(-np.arange(NECK_LENGTH_MM + 1.0) / rng.uniform(15, 35))
    ripple = rng.uniform(0.5, 1.5, 7)
    table[:, CANAL_X] = table[:, CORD_X] + gap[0] * wide_top * _along(rng, knots, ripple)
    table[:, CANAL_Y] = table[:, CORD_Y] + gap[1] * wide_top * _along(rng, knots, ripple[::-1])
    room = table[:, CANAL_Y] - table[:, CORD_Y]
    table[:, CANAL_SHIFT] = room * np.clip(_along(rng, knots, rng.uniform(-0.9, 0.9, 7)), -0.9, 0.9)
    shoulder = rng.uniform(95, 150) * size
    depth = np.arange(NECK_LENGTH_MM + 1.0)
    flare = 1.0 / (1.0 + np.exp(-(depth - shoulder - 25) / 12))
    table[:, WIDE] = size * (rng.uniform(50, 72) - 6 * np.exp(-(((depth - 60) / 30) ** 2))) + flare * rng.uniform(80, 130)
    chin = rng.uniform(0, 30) * np.exp(-((depth / 40) ** 2))
    table[:, DEEP_FRONT] = size * rng.uniform(62, 84) + chin + flare * rng.uniform(0, 60)
    table[:, DEEP_BACK] = size * rng.uniform(42, 66) + flare * rng.uniform(0, 45)
    period = rng.uniform(14, 19) * size * _along(rng, knots, np.linspace(0.95, 1.15, 7))
    first_disc = rng.uniform(32, 44) * size
    table[:, LEVEL] = np.cumsum(1.0 / period)
    table[:, LEVEL] -= np.interp(first_disc, depth, table[:, LEVEL])
    return table


@njit(cache=True, inline="always")
def _noise(bank, which, x, y, z, spacing):
    """Value of a periodic noise volume, one voxel every `spacing` mm, trilinear."""
    field = bank[which]
    fx, fy, fz = x / spacing + 1024.0, y / spacing + 1024.0, z / spacing + 1024.0
    ix, iy, iz = int(fx), int(fy), int(fz)
    fx -= ix
    fy -= iy
    fz -= iz
    i0, j0, k0 = ix & 63, iy & 63, iz & 63
    i1, j1, k1 = (ix + 1) & 63, (iy + 1) & 63, (iz + 1) & 63
    low = (field[k0, j0, i0] * (1 - fx) + field[k0, j0, i1] * fx) * (1 - fy) + (
        field[k0, j1, i0] * (1 - fx) + field[k0, j1, i1] * fx
    ) * fy
    high = (field[k1, j0, i0] * (1 - fx) + field[k1, j0, i1] * fx) * (1 - fy) + (
        field[k1, j1, i0] * (1 - fx) + field[k1, j1, i1] * fx
    ) * fy
    return low * (1 - fz) + high * fz


@njit(cache=True, inline="always")
def trilinear(field, x, y, z):
    """Value of a (z, y, x) field at an index point, held at its edges."""
    nz, ny, nx = field.shape
    x = min(max(x, 0.0), nx - 1.001)
    y = min(max(y, 0.0), ny - 1.001)
    z = min(max(z, 0.0), nz - 1.001)
    i, j, k = int(x), int(y), int(z)
    fx, fy, fz = x - i, y - j, z - k
    low = (field[k, j, i] * (1 - fx) + field[k, j, i + 1] * fx) * (1 - fy) + (
        field[k, j + 1, i] * (1 - fx) + field[k, j + 1, i + 1] * fx
    ) * fy
    high = (field[k + 1, j, i] * (1 - fx) + field[k + 1, j, i + 1] * fx) * (1 - fy) + (
        field[k + 1, j + 1, i] * (1 - fx) + field[k + 1, j + 1, i + 1] * fx
    ) * fy
    return low * (1 - fz) + high * fz


@njit(cache=True, inline="always")
def _ellipsoid(x, y, z, e, power):
    """Distance (mm, about, below 0 inside) along the ray from the centre of the superellipsoid `e`."""
    dx, dy, dz = x - e[0], y - e[1], z - e[2]
    r = (abs(dx / e[3]) ** power + abs(dy / e[4]) ** power + abs(dz / e[5]) ** power) ** (1.0 / power)
    return (r - 1.0) / (r + 1e-3) * np.sqrt(dx * dx + dy * dy + dz * dz) if r > 0.15 else -e[5]


@njit(cache=True, inline="always")
def _inside(x, y, z, cx, cy, cz, ax, ay, az):
    return ((x - cx) / ax) ** 2 + ((y - cy) / ay) ** 2 + ((z - cz) / az) ** 2 < 1.0


@njit(cache=True)
def _cerebrum(x, y, z, a):
    """Distance to the surface of the cerebrum in the standard head: a vault with a flat base and two temporal lobes."""
    ax = abs(x)
    dz = z - 14.0
    low = 40.0 if y < 30 else 36.0
    height = 62.0 if dz > 0 else low
    power = a.exponent
    r = (abs(x / 66.0) ** power + abs((y + 18.0) / 86.0) ** power + abs(dz / height) ** power) ** (1.0 / power)
    vault = (r - 1.0) / (r + 1e-3) * np.sqrt(x * x + (y + 18.0) ** 2 + dz * dz) if r > 0.15 else -40.0
    # No brain in the middle of the base: the midbrain and the cisterns about it, the sella.
    vault = max(vault, 0.7 * (1.0 - np.sqrt((x / 19.0) ** 2 + ((y + 24.0) / 34.0) ** 2 + ((z + 30.0) / 25.0) ** 2)) * 20.0)
    lobe = _ellipsoid(ax, y, z, a.temporal, 2.0)
    return min(vault, lobe)


@njit(cache=True)
def _stem_at(z, a, row):
    """y, half width and half depth of the brainstem at a height of the standard head."""
    t = a.stem
    if z >= t[0, 0]:
        row[0], row[1], row[2] = t[0, 1], t[0, 2], t[0, 3]
        return
    for k in range(t.shape[0] - 1):
        if z >= t[k + 1, 0]:
            f = (t[k, 0] - z) / (t[k, 0] - t[k + 1, 0])
            f = f * f * (3 - 2 * f)
            for c in range(3):
                row[c] = t[k, c + 1] * (1 - f) + t[k + 1, c + 1] * f
            return
    for c in range(3):
        row[c] = t[-1, c + 1]


@njit(cache=True)
def _brain_tissue(x, y, z, a, cerebrum, cerebellum):
    ax = abs(x)
    if cerebellum < 0 and (cerebrum > -3.0 or z < -18.0):
        # Folia: sheets about the middle of each hemisphere, roughened by noise.
        rough = _noise(a.noise, 1, x, y, z, 3.0)
        if cerebellum < -9.0 + 2.0 * rough:
            return ARBOR
        return CSF if rough > 1.6 and cerebellum > -5.0 else FOLIA
    if cerebrum < 0:
        v = a.ventricles
        if _inside(ax, y, z, 10, -8, 20, 4.5 * v, 27, 5.5 * v) or _inside(ax, y, z, 25, -48, 8, 4.5 * v, 17, 6 * v):
            return VENTRICLE
        if ax < 1.6 * v and -22 < y < 6 and -8 < z < 11:
            return VENTRICLE
        fold = abs(_noise(a.noise, 2, x, y, z, 3.4) + 0.25 * _noise(a.noise, 0, x, y, z, 3.0))
        depth = -cerebrum
        if ax < 1.2 and not (-32 < y < 28 and -8 < z < 27):
            return VENTRICLE
        reach = 16.0 + 5.0 * _noise(a.noise, 3, x, y, z, 5.0)
        if depth < reach:
            if fold < a.sulcus * (1.2 - depth / reach):
                return CSF if depth < 2.0 else CORTEX if fold > 0.6 * a.sulcus else VENTRICLE
            if fold < a.sulcus + a.ribbon or depth < 2.5:
                return CORTEX
        elif ax < 4.0 and not (-35 < y < 30 and -10 < z < 30):
            return CORTEX
        if (
            _inside(ax, y, z, 11, -18, 8, 9, 14, 9)
            or _inside(ax, y, z, 25, 2, 3, 6, 15, 11)
            or _inside(ax, y, z, 13, 10, 10, 5, 12, 10)
        ):
            return DEEP
        return WHITE
    return CSF


@njit(cache=True)
def _head_tissue(x, y, z, a, row):
    """Tissue at a point of the standard head, -1 where the neck decides."""
    ax = abs(x)
    # Far from the head there is nothing to ask: this saves most of the time.
    if (x / 105.0) ** 2 + ((y + 12.0) / 135.0) ** 2 + ((z + 25.0) / 130.0) ** 2 > 1.0:
        return AIR if z > 10.0 else -1
    cerebrum = _cerebrum(x, y, z, a)
    c = a.cerebellum
    cerebellum = min(
        _ellipsoid(ax, y, z, c, 2.0),
        ((x / 13.0) ** 2 + ((y - c[1]) / (0.8 * c[4])) ** 2 + ((z - c[2] - 3) / (0.95 * c[5])) ** 2 - 1.0) * 9.0,
    )
    above = z - a.foramen[2]
    opening = 1e3
    if above >= 0 and z < -2.0:
        _stem_at(z, a, row)
        dy = y - row[0]
        r = np.sqrt((x / row[1]) ** 2 + (dy / row[2]) ** 2)
        if r < 1.0 and z < -4.0 + 3.0 * _noise(a.noise, 3, x, y, z, 4.0):
            return STEM
        if _inside(x, y, z, 0, c[1] + 22, -36, 7, 4.5, 11):
            return VENTRICLE
        if _inside(ax, y, z, 17, -40, -34, 10, 13, 8):
            return ARBOR
        opening = (r - 1.0) * min(row[1], row[2]) - (4.0 + 2.0 * a.csf_gap)
    cavity = min(min(cerebrum, cerebellum) - a.csf_gap, opening)
    if cavity < 0:
        tissue = _brain_tissue(x, y, z, a, cerebrum, cerebellum)
        if tissue == CSF and cavity > -1.2:
            return DURA
        if tissue == CSF and _noise(a.noise, 1, x, y, z, 2.5) > 1.5:
            return VEIN
        return tissue
    bone = a.bone * (1.0 + 0.25 * _noise(a.noise, 3, x, y, z, 6.0))
    if above > -4.0 and cavity < bone:
        if y > 55 and z < 12 and _inside(ax, y, z, 12, 76, -2, 12, 12, 12):
            return AIRWAY
        if cavity > 0.25 * bone and cavity < 0.75 * bone and z > -30:
            return DIPLOE
        return CORTICAL
    base = z < -12.0
    # The floor of the scalp runs from the bridge of the nose to the back of the neck.
    if (not base or (y < -60 and z > a.foramen[2] + 18)) and cavity < bone + a.scalp:
        return SKIN if cavity > bone + a.scalp - 1.8 else (MUSCLE if ax > 55 and z < 25 else FAT)
    if above > -8.0 and cavity < 26.0 and z < -12.0 and y < 40 and y > -62:
        cells = _noise(a.noise, 1, x, y, z, 2.6)
        if _inside(x, y, z, 0, 18, -34, 13, 13, 11):
            return AIRWAY if a.sinus_air > -0.6 else MUCOSA
        if ax > 24 and ax < 58 and y > -48 and y < -8 and z < -24:
            return AIRWAY if cells > 0.3 - 0.4 * a.sinus_air else CORTICAL
        if ax < 12 and y > -36 and cavity < 18.0:
            return MARROW
        if cavity < 14.0 and ax < 45:
            return CORTICAL if cells > -0.3 else MARROW
    return _face_tissue(x, y, z, a)


@njit(cache=True)
def _face_tissue(x, y, z, a):
    ax = abs(x)
    eye = a.eye
    if _inside(ax, y, z, eye[0], eye[1], eye[2], eye[3], eye[3], eye[3]):
        return EYE
    nose = _inside(x, y, z, 0, 94, -46, 13, 16, 22)
    face = _ellipsoid(x, y, z, a.face, 2.6)
    if face > 0 and not nose:
        return -1
    if nose and face > -4:
        return FAT if abs(z + 46) < 18 else SKIN
    if face > -1.6:
        return SKIN
    air = a.sinus_air
    cells = _noise(a.noise, 1, x, y, z, 2.2)
    if _inside(ax, y, z, eye[0] - 1, eye[1] - 16, eye[2], 17, 26, 16):
        return MUSCLE if cells > 1.1 else FAT
    if _inside(x, y, z, 0, 54, -48, 14, 34, 20):
        return AIRWAY if cells + air > -0.3 else MUCOSA
    if _inside(ax, y, z, 28, 48, -52, 12, 16, 15):
        return AIRWAY if air > -0.7 else MUCOSA
    m = a.mouth
    if _inside(x, y, z, 0, 4, -56, 12, 9, 16):
        return AIRWAY
    if _inside(x, y, z, m[0], m[1], m[2], m[3], m[4], m[5]):
        return TONGUE
    if _inside(x, y, z, m[0], m[1] - 2, m[2] + 4, m[3] + 3, m[4] + 3, m[5] + 1):
        return AIRWAY if air > 0.2 else MUCOSA
    arch = np.sqrt((x / (0.72 * a.jaw[0])) ** 2 + ((y - 18.0) / (0.82 * a.jaw[1])) ** 2) if y > 18 else 9.0
    if abs(arch - 1.0) < 0.1 and z > -96 and z < -66:
        return TOOTH
    ring = abs(np.sqrt((x / a.jaw[0]) ** 2 + ((y - 8.0) / a.jaw[1]) ** 2) - 1.0) * 48.0 if y > 8 else 99.0
    if ring < a.jaw[3] and z > a.jaw[2] and z < a.jaw[2] + 24:
        return MARROW if ring < a.jaw[3] - 3.0 else CORTICAL
    if _inside(ax, y, z, a.jaw[0] + 3, 4, -78, 5, 15, 32):
        return MARROW if _inside(ax, y, z, a.jaw[0] + 3, 4, -78, 2.5, 12, 29) else CORTICAL
    if y > 20 and abs(z + 66) < 2.5 and ax < 26:
        return CORTICAL
    if _inside(ax, y, z, a.jaw[0] + 10, -12, -66, 10, 14, 22):
        return GLAND
    if face > -3.0 - 0.5 * a.scalp:
        return FAT
    mixed = _noise(a.noise, 3, x, y, z, 2.4)
    return FAT if mixed > 0.7 else CLUTTER_A if mixed < -1.4 else MUSCLE


@njit(cache=True)
def _neck_tissue(x, y, z, a):
    """Tissue at a point of the world, in the frame of the neck."""
    u = min(max(-z, 0.0), NECK_LENGTH_MM - 1.0)
    k = int(u)
    t = a.neck[k]
    dx = x - t[X]
    dy = (y - t[Y]) * t[TILT]
    adx = abs(dx)
    if adx > t[WIDE] or dy > t[DEEP_FRONT] or -dy > t[DEEP_BACK]:
        return AIR
    if z < 0 and adx < 40.0 and abs(dy) < 80.0:
        if (adx / t[CORD_X]) ** 2.2 + (abs(dy) / t[CORD_Y]) ** 2.2 < 1.0:
            return CORD
        cy = dy - t[CANAL_SHIFT]
        canal = np.sqrt((dx / t[CANAL_X]) ** 2 + (cy / t[CANAL_Y]) ** 2)
        if canal < 1.0:
            return CANAL
        spine = _spine_tissue(dx, cy, u, t, canal, a)
        if spine >= 0:
            return spine
    # The outline: half ellipses in front of and behind the cord.
    deep = t[DEEP_FRONT] if dy > 0 else t[DEEP_BACK]
    if z > 0:
        deep *= max(0.3, 1.0 - z / 80.0)
    r = (adx / t[WIDE]) ** 2.3 + (abs(dy) / deep) ** 2.3
    if r > 1.0 or z > 45.0:
        return AIR
    depth = (1.0 - r ** (1.0 / 2.3)) * min(t[WIDE], deep)
    if depth < 1.8:
        return SKIN
    if depth < 1.8 + a.neck_fat * (1.0 + 0.3 * _noise(a.noise, 3, x, y, z, 5.0)):
        return FAT
    if u > a.lung_top and _inside(adx, dy, -u, 62, 18, -a.lung_top - 75, 48, 62, 75):
        return LUNG
    front = t[CANAL_Y] + 2.0 * a.body[1] + a.airway[2]
    if z < 25 and u < 260:
        ay = dy - front - a.airway[1]
        wave = 1.0 + 0.35 * _noise(a.noise, 3, 0.0, 7.0, z, 4.0)
        tube = np.sqrt((dx / (a.airway[0] * wave)) ** 2 + (ay / (a.airway[1] * wave)) ** 2)
        if tube < 1.0:
            return AIRWAY if a.airway[3] > 0.55 else MUCOSA
        if tube < 1.35:
            return CLUTTER_B
    for v in range(a.vessels.shape[0]):
        vx, vy, vr = a.vessels[v]
        vx += 0.06 * (u - 60.0) * (1.0 if vx < 0 else -1.0) if v % 4 == 1 else 0.0
        if (dx - vx) ** 2 + (dy - vy) ** 2 < vr * vr:
            return VEIN if v % 4 == 2 else ARTERY
    if u > 60 and u < 105 and _inside(adx, dy, 0.0, 20, front + 8, 0.0, 10, 12, 1.0):
        return GLAND
    if u > a.lung_top - 10 and dy > front and adx < 40:
        return ORGAN if _noise(a.noise, 3, x, y, z, 6.0) > -0.3 else FAT
    septum = abs(_noise(a.noise, 2, x, y, 0.25 * z, 4.5))
    if septum < a.septa:
        return FAT
    mixed = _noise(a.noise, 3, x, y, 0.5 * z, 5.0)
    return CLUTTER_A if mixed > 2.0 else FAT if mixed < -1.7 else MUSCLE


@njit(cache=True)
def _spine_tissue(dx, cy, u, t, canal, a):
    """Vertebra, disc, ligament or epidural fat at a place about the canal, -1 elsewhere."""
    adx = abs(dx)
    level = t[LEVEL]
    part = level - np.floor(level)
    wall = a.body[3]
    thick = a.spine[0]
    outer = np.sqrt((dx / (t[CANAL_X] + thick)) ** 2 + (cy / (t[CANAL_Y] + thick)) ** 2)
    ahead = cy - t[CANAL_Y]
    wide = a.body[0] * (1.0 if level >= 0 else 0.75)
    bone_top = 4.0
    if ahead > -0.5 and u > bone_top:
        by = (ahead - a.body[1]) / a.body[1]
        r = (adx / wide) ** 3 + abs(by) ** 3
        if r < 1.0:
            if level >= 0 and part < a.body[2]:
                return DISC
            if level < 0 and u < 22 and adx > 6.0:
                return LIGAMENT
            inside = (adx / (wide - wall)) ** 3 + abs(by * a.body[1] / (a.body[1] - wall)) ** 3 < 1.0
            edge = part > a.body[2] + 0.07 and part < 0.93 if level >= 0 else True
            return MARROW if inside and edge else CORTICAL
        if ahead < 2.0 and adx < wide:
            return LIGAMENT
    # Facets, lateral masses and transverse processes.
    if u > bone_top and cy < 0.6 * t[CANAL_Y] and cy > -t[CANAL_Y] - 6 and adx > t[CANAL_X] and adx < a.spine[3]:
        if part < 0.72 or level < 0:
            return MARROW if adx > t[CANAL_X] + wall + 1 and adx < a.spine[3] - wall - 1 and cy > -t[CANAL_Y] - 4 else CORTICAL
        return LIGAMENT
    arch = part > 0.25 and part < 0.85
    if level < 0:
        arch = (u > 7 and u < 17) or u > 24
    if cy <= 0 and outer < 1.0:
        if arch:
            return CORTICAL if canal > 1.0 + 0.6 * thick / t[CANAL_X] or canal < 1.0 + 0.2 * thick / t[CANAL_X] else MARROW
        return EPIDURAL if cy < -0.5 * t[CANAL_Y] else LIGAMENT
    # Spinous processes point back and down: their share of the level moves with the distance.
    behind = -cy - t[CANAL_Y] - thick
    if behind > -1 and adx < a.spine[2] and (level > 0 or u > 24):
        moved = level - 0.012 * behind
        moved -= np.floor(moved)
        if behind < a.spine[1]:
            if moved > 0.3 and moved < 0.8:
                return MARROW if adx < a.spine[2] - wall else CORTICAL
            return LIGAMENT
    return -1


@njit(cache=True, nogil=True)
def _render(a, origin, shape, step, rng):
    labels = np.zeros(shape, dtype=np.uint8)
    row = np.zeros(3)
    w = a.warp
    for k in range(shape[0]):
        for j in range(shape[1]):
            for i in range(shape[2]):
                # One random point a voxel: averages over several voxels then see partial volume without bias.
                x = origin[0] + (i + rng.random() - 0.5) * step
                y = origin[1] + (j + rng.random() - 0.5) * step
                z = origin[2] + (k + rng.random() - 0.5) * step
                gx, gy, gz = (x + 200.0) / 24.0, (y + 180.0) / 24.0, (z + 262.0) / 24.0
                x += trilinear(w[0], gx, gy, gz)
                y += trilinear(w[1], gx, gy, gz)
                z += trilinear(w[2], gx, gy, gz)
                r = a.rotation
                hx = (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z) / a.scale[0] + a.foramen[0]
                hy = (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z) / a.scale[1] + a.foramen[1]
                hz = (r[2, 0] * x + r[2, 1] * y + r[2, 2] * z) / a.scale[2] + a.foramen[2]
                tissue = -1
                near = z < 0 and x * x + y * y < 900.0 and hz < a.foramen[2]
                if hz > -150.0 and not near:
                    tissue = _head_tissue(hx, hy, hz, a, row)
                if tissue < 0:
                    tissue = _neck_tissue(x, y, min(z, -0.01) if near else z, a)
                labels[k, j, i] = tissue
    return labels


def render_labels(anatomy: Anatomy, seed: int, half_width_mm: float = 104.0) -> tuple[np.ndarray, np.ndarray]:
    """Tissue in a box about the whole head and neck.

    Parameters
    ----------
    anatomy : Anatomy
    seed : int
        Of the place of the sampled point in each voxel.
    half_width_mm : float
        Half the extent left-right.

    Returns
    -------
    labels : ndarray of uint8, shape (z, y, x)
        Indices into `TISSUES`, one every `LABEL_STEP_MM`; a voxel holds the tissue of one random point of it.
    origin : ndarray, shape (3,)
        World (x, y, z) mm of the first voxel.
    """
    origin = np.array([-half_width_mm, -110.0, BOTTOM_MM])
    extent = np.array([2 * half_width_mm, 264.0, TOP_MM - BOTTOM_MM])
    nx, ny, nz = (extent / LABEL_STEP_MM).astype(int)
    return _render(anatomy, origin, (int(nz), int(ny), int(nx)), LABEL_STEP_MM, np.random.default_rng(seed)), origin
