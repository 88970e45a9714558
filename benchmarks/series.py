"""A BOLD series whose head motion is known to the last digit, made without anything of CoSpine.

A head is built at 1 mm from the MNI152 maps that nilearn carries, moved rigidly, and each voxel of each volume is the mean
of the head's cubic spline over the voxel's volume. Noise, drift and activation come on top.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy import ndimage

HEAD_SCALE = 0.9  # the MNI152 brain is larger than most
TSNR = 60.0
MEAN_MOTION_MM = 1.6
DRIFT = 0.02
ACTIVATION = 0.02
TR_S = 2.0
SAMPLES = (3, 3, 4)  # points a voxel, in plane and through
BRAIN_SIGNAL = 800.0
_MARGIN_MM = 20
_NECK_MM = 150  # below the template's lowest slice


@dataclass(frozen=True)
class Layout:
    """Size of a series.

    Parameters
    ----------
    name : str
        For file names and tables.
    shape : tuple of int
        Voxels (x, y, z).
    voxel_mm : tuple of float
        Voxel size.
    volumes : int
        Length.
    """

    name: str
    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    volumes: int


LAYOUTS = {
    "large": Layout("large", (128, 128, 70), (1.5, 1.5, 4.0), 100),
    "small": Layout("small", (64, 64, 36), (3.0, 3.0, 4.0), 50),
}


@dataclass(frozen=True)
class Truth:
    """What a series was made with.

    Parameters
    ----------
    poses : ndarray (volumes, 4, 4)
        Push-forward, RAS mm: where a point of the head at rest is in each volume.
    brain : ndarray (n, 3)
        Centres of the voxels that hold brain in the head at rest, RAS mm.
    """

    poses: NDArray[np.float64] = field(repr=False)
    brain: NDArray[np.float64] = field(repr=False)


def make_series(layout: Layout, path: Path, seed: int = 7, *, clean: bool = False) -> Truth:
    """Write a series as int16 `.nii.gz` and its truth beside it as `.npz`.

    Parameters
    ----------
    layout : Layout
        Its size.
    path : Path
        Target.
    seed : int
        Of motion, activation and noise.
    clean : bool
        No noise, drift or activation: an easy case, to check conventions on.
    """
    rng = np.random.default_rng(seed)
    head, active, origin = _head(rng)
    affine = _affine(layout)
    brain = _brain_points(layout, affine)
    poses = _motion(layout.volumes, brain, rng)
    coefs = ndimage.spline_filter(head, order=3, mode="mirror", output=np.float32)
    active_coefs = ndimage.spline_filter(active, order=3, mode="mirror", output=np.float32)
    time = np.arange(layout.volumes)
    block = 0.0 if clean else ACTIVATION * ndimage.gaussian_filter1d((time // 10 % 2).astype(float), 1.5)
    drift = 1.0 if clean else 1 + DRIFT * (0.5 - time / max(layout.volumes - 1, 1)) + 0.005 * np.sin(time / 7)
    noise_sd = 0.0 if clean else BRAIN_SIGNAL / TSNR
    series = np.empty((layout.volumes, *layout.shape[::-1]), dtype=np.int16)
    for t, (amplitude, level) in enumerate(zip(block + 0 * time, drift + 0 * time, strict=True)):
        to_head = np.linalg.inv(poses[t]) @ affine
        to_head[:3, 3] -= origin
        volume = _render(coefs + np.float32(amplitude) * active_coefs, to_head, layout.shape[::-1], SAMPLES)
        volume *= level
        real, imaginary = rng.standard_normal((2, *volume.shape), dtype=np.float32) * noise_sd
        series[t] = np.rint(np.hypot(volume + real, imaginary))
    image = nib.Nifti1Image(series.T, affine)
    image.header.set_zooms((*layout.voxel_mm, TR_S))
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    np.savez(truth_path(path), poses=poses, brain=brain)
    return Truth(poses, brain)


def read_truth(path: Path) -> Truth:
    """Truth of the series at a path."""
    with np.load(truth_path(path)) as stored:
        return Truth(stored["poses"], stored["brain"])


def truth_path(path: Path) -> Path:
    """Where the truth of a series lies."""
    return path.with_name(path.name.removesuffix(".nii.gz") + "_truth.npz")


def rigid(parameters: NDArray, centre: NDArray) -> NDArray[np.float64]:
    """Matrix of three translations (mm) and a rotation vector (rad) about a centre."""
    angle = float(np.linalg.norm(parameters[3:]))
    x, y, z = parameters[3:] / angle if angle > 0 else (0.0, 0.0, 0.0)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    matrix[:3, 3] = centre + parameters[:3] - matrix[:3, :3] @ centre
    return matrix


def _template(name: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A map of nilearn's MNI152 2009a, 0..1, inside an empty margin and above an empty neck; RAS mm of its first voxel."""
    import nilearn

    folder = Path(nilearn.__file__).parent / "datasets" / "data"
    image = nib.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
    values = np.asarray(image.dataobj, dtype=np.float32) / 255
    padding = [(_MARGIN_MM, _MARGIN_MM), (_MARGIN_MM, _MARGIN_MM), (_NECK_MM, _MARGIN_MM)]
    return np.pad(values, padding), image.affine[:3, 3] - [pad[0] for pad in padding]


def _brain_mask() -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    grey, origin = _template("gm")
    white, _ = _template("wm")
    mask = ndimage.binary_closing(grey + white > 0.2, iterations=4)
    return ndimage.binary_fill_holes(mask), origin


def _head(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Head at rest and the part of it that activates, (z, y, x) at 1 mm times HEAD_SCALE; RAS mm of the first voxel."""
    t1, _ = _template("t1")
    grey, _ = _template("gm")
    white, _ = _template("wm")
    brain, origin = _brain_mask()
    fluid = np.clip(1 - grey - white, 0, 1)
    # T2*: fluid brightest, white matter darkest; the T1 map lends structure that three classes lack
    inside = 1.0 * grey + 0.72 * white + 1.35 * fluid - 0.35 * (t1 - ndimage.gaussian_filter(t1, 4.0))
    outside = ndimage.distance_transform_edt(~brain)
    head = np.interp(outside, [0, 2.5, 4, 9, 10, 15, 16], [1.35, 1.3, 0.05, 0.08, 0.4, 0.35, 0.0]).astype(np.float32)
    head[brain] = inside[brain]
    _add_neck(head, origin, rng)
    texture = ndimage.gaussian_filter(rng.standard_normal(head.shape, dtype=np.float32), 3.0)
    head *= 1 + 0.05 * texture / texture.std()
    head = ndimage.gaussian_filter(head, 0.6)  # sharp edges would make the spline ring
    active = np.zeros_like(head)
    centres = np.argwhere(brain & (grey > 0.7))
    grid = np.indices(head.shape, sparse=True)
    for centre in centres[rng.choice(len(centres), 6, replace=False)]:
        distance = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
        active += np.exp(-distance / (2 * 8.0**2)).astype(np.float32)
    active *= head * brain * grey
    signal = BRAIN_SIGNAL / float(head[brain].mean())
    return np.ascontiguousarray(head.T) * signal, np.ascontiguousarray(active.T) * signal, origin * HEAD_SCALE


def _add_neck(head: NDArray[np.float32], origin: NDArray, rng: np.random.Generator) -> None:
    """Muscle, spine, canal with cord, and airway below the head, in place."""
    shape = head.shape
    x, y, z = (o + np.arange(n, dtype=np.float32) for o, n in zip(origin, shape, strict=True))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    y = y + 0.1 * (z + 72)  # leans forward going up

    def ellipse(cy: float, rx: float, ry: float) -> NDArray:
        return (x / rx) ** 2 + ((y - cy) / ry) ** 2

    lumps = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (6, 6, 12))
    neck = np.where(ellipse(-30, 62, 66) < 1, 0.45 + 0.1 * lumps / lumps.std(), 0)
    neck[ellipse(-24, 15, 12) < 1] = 0.15
    neck[ellipse(-47, 11, 9) < 1] = 1.3
    neck[ellipse(-47, 6.5, 4.5) < 1] = 0.85
    neck[ellipse(8, 9, 7) < 1] = 0
    below = z < -66
    head[:] = np.where(below & (head < 0.3), np.maximum(head, neck), head)


def _affine(layout: Layout) -> NDArray[np.float64]:
    """Axial slices, x stored right to left; the top slice just above the head's brain."""
    affine = np.diag([-layout.voxel_mm[0], *layout.voxel_mm[1:], 1.0])
    top_mm = HEAD_SCALE * 82 + 6
    half = (np.array(layout.shape) - 1) / 2 * layout.voxel_mm
    affine[:3, 3] = [half[0], -half[1] - HEAD_SCALE * 18, top_mm - 2 * half[2]]
    return affine


def _brain_points(layout: Layout, affine: NDArray) -> NDArray[np.float64]:
    mask, origin = _brain_mask()
    index = np.stack(np.meshgrid(*map(np.arange, layout.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    near = np.rint(points / HEAD_SCALE - origin).astype(int)
    fits = np.all((near >= 0) & (near < mask.shape), axis=1)
    near[~fits] = 0
    return points[fits & mask[tuple(near.T)]]


def _motion(count: int, brain: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random walk with a few jumps, scaled to its mean displacement over brain and volumes."""
    scale = np.array([0.1, 0.12, 0.2, 0.004, 0.002, 0.002])
    steps = rng.standard_normal((count, 6)) * scale * 0.5
    jumps = rng.choice(np.arange(2, count), max(2, count // 20), replace=False)
    steps[jumps] += rng.standard_normal((len(jumps), 6)) * scale * 4
    walk = np.cumsum(steps, axis=0)
    centre = brain.mean(axis=0) - [0, 10, 40]  # heads turn about the neck's top
    some = brain[:: max(1, len(brain) // 2000)]
    size = 1.0
    for _ in range(5):
        poses = np.array([rigid(size * row, centre) for row in walk])
        at = np.einsum("tij,nj->tni", poses[:, :3, :3], some) + poses[:, None, :3, 3]
        size *= MEAN_MOTION_MM / np.linalg.norm(at - at[0], axis=2).mean()
    return poses


@njit(cache=True, parallel=True)
def _render(coefs: NDArray, to_head: NDArray, shape: tuple, samples: tuple) -> NDArray:
    """Mean of the head's spline over every voxel; `to_head` maps voxel (i, j, k) to mm of the head's lattice."""
    nz, ny, nx = coefs.shape
    out = np.zeros(shape, dtype=np.float32)
    sx, sy, sz = samples
    scale = 1.0 / HEAD_SCALE
    for k in prange(shape[0]):
        for j in range(shape[1]):
            for i in range(shape[2]):
                total = 0.0
                for c in range(sz):
                    for b in range(sy):
                        for a in range(sx):
                            u = i + (a + 0.5) / sx - 0.5
                            v = j + (b + 0.5) / sy - 0.5
                            w = k + (c + 0.5) / sz - 0.5
                            x = scale * (to_head[0, 0] * u + to_head[0, 1] * v + to_head[0, 2] * w + to_head[0, 3])
                            y = scale * (to_head[1, 0] * u + to_head[1, 1] * v + to_head[1, 2] * w + to_head[1, 3])
                            z = scale * (to_head[2, 0] * u + to_head[2, 1] * v + to_head[2, 2] * w + to_head[2, 3])
                            if x < 1 or y < 1 or z < 1 or x >= nx - 2 or y >= ny - 2 or z >= nz - 2:
                                continue
                            total += _spline(coefs, x, y, z)
                out[k, j, i] = max(total / (sx * sy * sz), 0.0)
    return out


@njit(cache=True, inline="always")
def _spline(coefs: NDArray, x: float, y: float, z: float) -> float:
    i, j, k = int(x), int(y), int(z)
    p0, p1, p2, p3 = _basis(x - i)
    total = 0.0
    for c, wz in enumerate(_basis(z - k)):
        for b, wy in enumerate(_basis(y - j)):
            row = coefs[k - 1 + c, j - 1 + b]
            total += wz * wy * (p0 * row[i - 1] + p1 * row[i] + p2 * row[i + 1] + p3 * row[i + 2])
    return total


@njit(cache=True, inline="always")
def _basis(f: float) -> tuple[float, float, float, float]:
    """Cubic B-spline at the four lattice points around a fraction f."""
    return (
        (1 - f) ** 3 / 6,
        (3 * f**3 - 6 * f**2 + 4) / 6,
        (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
        f**3 / 6,
    )
