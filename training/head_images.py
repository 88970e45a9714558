"""Random MR images of random heads and necks: contrast, field, coil, slices, noise and field of view.

From one volume of tissue labels (`head_shapes`) many images are made. Each is acquired on a native grid of its own, oblique to
the head, then resampled to the 3 mm grid on which the network works, as at run time; the target is rendered through the same
distortion, because a label belongs where the image shows the tissue.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import ndimage

from cospine.anatomy.network import normalise_volume
from training import head_shapes as shapes
from training.head_shapes import LABEL_STEP_MM, TISSUES, smooth_volume, trilinear

GRID_MM = 3.0
CROP = (56, 56, 48)
CROPS_OF_IMAGE = 5
COARSE_MM = 8.0
PLAUSIBLE_SHARE = 0.6

# Plausible brightness of each tissue, 0-1; drawn with some spread. Order: T1w, T2w, T2*w, GE-EPI, SE-EPI and DWI b0.
RECIPES: dict[str, tuple[float, float, float, float, float]] = {
    "air": (0.0, 0.0, 0.0, 0.0, 0.0),
    "skin": (0.5, 0.35, 0.4, 0.15, 0.12),
    "fat": (0.95, 0.75, 0.6, 0.08, 0.08),
    "muscle": (0.38, 0.25, 0.4, 0.3, 0.22),
    "cortical": (0.05, 0.05, 0.04, 0.04, 0.04),
    "marrow": (0.6, 0.45, 0.25, 0.1, 0.12),
    "diploe": (0.6, 0.4, 0.2, 0.1, 0.1),
    "csf": (0.15, 0.95, 0.75, 0.75, 0.95),
    "cortex": (0.5, 0.6, 0.65, 0.65, 0.6),
    "white": (0.72, 0.45, 0.55, 0.52, 0.45),
    "deep": (0.55, 0.5, 0.5, 0.5, 0.48),
    "ventricle": (0.13, 1.0, 0.8, 0.8, 1.0),
    "folia": (0.5, 0.58, 0.62, 0.6, 0.55),
    "arbor": (0.7, 0.45, 0.53, 0.52, 0.45),
    "stem": (0.66, 0.48, 0.55, 0.52, 0.48),
    "cord": (0.65, 0.45, 0.6, 0.5, 0.5),
    "canal": (0.15, 0.95, 0.75, 0.6, 0.75),
    "epidural": (0.85, 0.6, 0.5, 0.1, 0.1),
    "disc": (0.35, 0.4, 0.45, 0.25, 0.3),
    "ligament": (0.25, 0.15, 0.2, 0.12, 0.12),
    "artery": (0.35, 0.08, 0.7, 0.6, 0.2),
    "vein": (0.4, 0.2, 0.5, 0.4, 0.3),
    "airway": (0.02, 0.02, 0.0, 0.0, 0.0),
    "mucosa": (0.35, 0.85, 0.5, 0.25, 0.4),
    "eye": (0.15, 0.95, 0.75, 0.5, 0.8),
    "tongue": (0.45, 0.4, 0.45, 0.25, 0.3),
    "gland": (0.6, 0.6, 0.5, 0.35, 0.45),
    "tooth": (0.05, 0.04, 0.02, 0.0, 0.0),
    "lung": (0.04, 0.05, 0.02, 0.0, 0.0),
    "organ": (0.35, 0.3, 0.35, 0.15, 0.2),
    "dura": (0.35, 0.25, 0.35, 0.3, 0.3),
    "clutter_a": (0.5, 0.5, 0.5, 0.3, 0.3),
    "clutter_b": (0.35, 0.3, 0.35, 0.2, 0.2),
}
_RECIPE_TABLE = np.array([RECIPES[name] for name in TISSUES]).T
_FATTY = np.array([TISSUES.index(name) for name in ("fat", "marrow", "diploe", "epidural")])
_NEURAL = np.array([TISSUES.index(name) for name in ("cortex", "white", "deep", "folia", "arbor", "stem", "cord")])
_BRAIN = np.flatnonzero((shapes.TISSUE_CLASS == 1) | (shapes.TISSUE_CLASS == 2))
_NO_SIGNAL = np.array([shapes.AIR, shapes.AIRWAY, shapes.TOOTH, shapes.LUNG])


class Sample(NamedTuple):
    """One image on the 3 mm grid and its target, cropped or padded to `CROP`."""

    image: np.ndarray  # (z, y, x) float32, normalised
    target: np.ndarray  # (5, z, y, x) uint8, share of each class in eighths


class Acquisition(NamedTuple):
    """Where and how one image is taken; world mm."""

    centre: np.ndarray  # (3,)
    extent: np.ndarray  # (3,) along the native axes
    voxel: np.ndarray  # (3,)
    axes: np.ndarray  # (3, 3) native axes in the world, as columns


def draw_contrast(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Mean and texture (relative SD) of every tissue, and the kind of contrast."""
    count = len(TISSUES)
    texture = rng.uniform(0.0, 0.18, count) * rng.uniform(0.2, 1.2)
    if rng.random() < PLAUSIBLE_SHARE:
        kind = int(rng.choice(5, p=[0.25, 0.2, 0.15, 0.25, 0.15]))
        means = _RECIPE_TABLE[kind] * rng.lognormal(0.0, rng.uniform(0.05, 0.3), count)
        # Brain, stem and cord are of one stuff: their brightness moves together, apart from inflow and coils.
        common = means[shapes.WHITE] / _RECIPE_TABLE[kind][shapes.WHITE]
        share = rng.uniform(0.3, 1.0)
        means[_NEURAL] = share * _RECIPE_TABLE[kind][_NEURAL] * common + (1 - share) * means[_NEURAL]
        if kind >= 3:
            means[shapes.CORD] *= rng.uniform(0.8, 1.6)
            if rng.random() < 0.5:
                means[shapes.CANAL] = means[shapes.CORD] * rng.uniform(0.7, 1.4)
        if rng.random() < 0.2:
            means[_FATTY] *= rng.uniform(0.05, 0.5)
        name = ("T1w", "T2w", "T2star", "GE-EPI", "SE-EPI")[kind]
    else:
        means = rng.uniform(0.02, 1.0, count)
        means[shapes.AIR] = 0.0
        if rng.random() < 0.8:
            means[_NO_SIGNAL] = rng.uniform(0.0, 0.08, len(_NO_SIGNAL))
            means[shapes.CORTICAL] *= rng.uniform(0.0, 0.6)
        if rng.random() < 0.5:
            means[shapes.STEM] = means[shapes.WHITE] * rng.uniform(0.85, 1.15)
            means[shapes.CORD] = means[shapes.STEM] * rng.uniform(0.8, 1.2)
            means[shapes.ARBOR] = means[shapes.WHITE] * rng.uniform(0.9, 1.1)
            means[shapes.FOLIA] = means[shapes.CORTEX] * rng.uniform(0.9, 1.1)
        name = "random"
    means[shapes.AIR] = 0.0
    return means.astype(np.float32), texture.astype(np.float32), name


def intensities(
    rng: np.random.Generator, labels: np.ndarray, means: np.ndarray, texture: np.ndarray, bank: np.ndarray
) -> np.ndarray:
    """Brightness of every label voxel; textures come from the bank of smooth noise at a random place."""
    offsets = rng.integers(0, 64, 3)
    which = int(rng.integers(0, len(bank)))
    return _textured(labels, means, texture, bank[which], offsets, np.zeros(len(TISSUES), dtype=np.float32))


@njit(cache=True, nogil=True)
def _textured(labels, means, texture, noise, offsets, floor):
    result = np.empty(labels.shape, dtype=np.float32)
    for k in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            for i in range(labels.shape[2]):
                t = labels[k, j, i]
                n = noise[(k + offsets[0]) & 63, (j + offsets[1]) & 63, (i + offsets[2]) & 63]
                result[k, j, i] = max(means[t] * (1.0 + texture[t] * n), floor[t])
    return result


def paint_over_cord(rng: np.random.Generator, labels: np.ndarray, image: np.ndarray, keep_canal: bool) -> np.ndarray:
    """Replace the cord, or cord and canal, by its surroundings: their local mean with their texture.

    The labels lose the cord in any case; a canal without a cord is no canal CSF around the cord either.

    Returns
    -------
    labels : ndarray of uint8
        Where the cord and canal were: `LIGAMENT`, a tissue of class 0.
    """
    labels = labels.copy()
    hole = (labels == shapes.CORD) | (labels == shapes.CANAL)
    filled = labels == shapes.CORD if keep_canal else hole
    if not filled.any():
        return labels
    box = tuple(slice(max(0, int(i.min()) - 8), int(i.max()) + 9) for i in np.nonzero(filled))
    inside = filled[box]
    known = (~inside).astype(np.float32)
    part = image[box]
    sigma = rng.uniform(1.0, 3.0)
    weight = ndimage.gaussian_filter(known, sigma)
    local = ndimage.gaussian_filter(part * known, sigma) / np.maximum(weight, 1e-4)
    spread = np.sqrt(np.maximum(ndimage.gaussian_filter((part - local) ** 2 * known, sigma) / np.maximum(weight, 1e-4), 0))
    texture = ndimage.gaussian_filter(rng.standard_normal(part.shape).astype(np.float32), rng.uniform(0.0, 1.2))
    texture /= texture.std() + 1e-6
    part[inside] = np.maximum(local + rng.uniform(0.0, 0.8) * spread * texture, 0.0)[inside]
    labels[hole] = shapes.LIGAMENT
    return labels


def draw_acquisition(rng: np.random.Generator, anatomy: shapes.Anatomy) -> tuple[Acquisition, str]:
    """Field of view, voxel and obliquity; the kinds that occur at scanners, all of them often."""
    kinds = ("whole", "brain", "neck", "sagittal", "crop", "coronal")
    kind = str(rng.choice(kinds, p=[0.4, 0.16, 0.16, 0.12, 0.09, 0.07]))
    top = 66.0 + 90.0 * anatomy.scale[2]
    fine, coarse = rng.uniform(0.7, 2.0), rng.uniform(2.0, 4.0)
    in_plane = fine if rng.random() < 0.75 else coarse
    thick = float(rng.choice([in_plane, rng.uniform(1, 3), rng.uniform(3, 5), rng.uniform(5, 18)], p=[0.3, 0.25, 0.35, 0.1]))
    voxel = np.array([in_plane, in_plane, thick])
    forward = float(np.interp(60, np.arange(301), anatomy.neck[:, shapes.Y]))
    centre = np.array([rng.normal(0, 6), rng.uniform(-5, 35), 0.0])
    if kind == "whole":
        low, high = rng.uniform(-190, -95), top + rng.uniform(-45, 25)
        extent = np.array([rng.uniform(165, 230), rng.uniform(180, 256), high - low])
    elif kind == "brain":
        low, high = rng.choice([rng.uniform(10, 40), rng.uniform(-15, 10), rng.uniform(-55, -15)]), top + rng.uniform(-30, 25)
        extent = np.array([rng.uniform(165, 230), rng.uniform(180, 256), high - low])
    elif kind == "neck":
        high, low = rng.uniform(-50, 25), rng.uniform(-245, -110)
        extent = np.array([rng.uniform(90, 230), rng.uniform(70, 256), high - low])
        centre[1] = forward + rng.uniform(-15, 35)
    elif kind == "sagittal":
        high, low = rng.uniform(10, 110), rng.uniform(-230, -110)
        extent = np.array([rng.uniform(36, 75), rng.uniform(140, 260), high - low])
        voxel = np.array([rng.uniform(0.8, 4.0), in_plane, in_plane])
        centre[0] = rng.normal(0, 4)
    elif kind == "coronal":
        high, low = top + rng.uniform(-60, 20), rng.uniform(-200, -80)
        extent = np.array([rng.uniform(165, 230), rng.uniform(60, 230), high - low])
        voxel = np.array([in_plane, min(thick, 8.0), in_plane])
    else:
        middle = rng.uniform(-200, 10)
        long = rng.uniform(25, 130)
        high, low = middle + long / 2, middle - long / 2
        extent = np.array([rng.uniform(35, 90), rng.uniform(30, 90), long])
        row = anatomy.neck[int(np.clip(-middle, 0, 300))]
        centre[:2] = row[shapes.X] + rng.uniform(-8, 8), row[shapes.Y] + rng.uniform(-10, 12)
    centre[2] = (low + high) / 2
    tilt = rng.normal(0, [5.0, 3.0, 3.0]) if rng.random() < 0.7 else np.zeros(3)
    axes = shapes.rotation(*np.radians(np.clip(tilt, -15, 15)))
    return Acquisition(centre, extent, np.maximum(voxel, LABEL_STEP_MM), axes), kind


def draw_distortion(rng: np.random.Generator, kind: str, extent: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Displacement (mm, coarse (z, y, x) field) and its direction; strong in EPI, small otherwise."""
    largest = (
        rng.uniform(2, 12)
        if "EPI" in kind
        else rng.uniform(0, 8)
        if kind == "random" and rng.random() < 0.4
        else rng.uniform(0, 1.5)
    )
    field = smooth_volume(rng, extent, rng.uniform(18, 40), COARSE_MM) + 0.25 * smooth_volume(rng, extent, 9.0, COARSE_MM)
    field *= largest / max(float(np.abs(field).max()), 1e-3)
    direction = np.array([0.0, 1.0, 0.0]) if rng.random() < 0.75 else np.array([1.0, 0.0, 0.0])
    return field.astype(np.float32), direction


def draw_weighting(rng: np.random.Generator, labels: np.ndarray, origin: np.ndarray, kind: str) -> np.ndarray:
    """Coil sensitivity times what is left of the signal beside air and between vertebrae, one value every `COARSE_MM`."""
    step = int(COARSE_MM / LABEL_STEP_MM)
    coarse = labels[::step, ::step, ::step]
    extent = tuple(COARSE_MM * (size - 1) for size in coarse.shape)
    weight = np.exp(
        rng.uniform(0, 0.35) * smooth_volume(rng, extent, rng.uniform(40, 80), COARSE_MM)[tuple(map(slice, coarse.shape))]
    )
    if rng.random() < 0.35:
        # Surface coils: behind the neck, or on one side, falling off over 50-100 mm.
        at = np.array([rng.normal(0, 30), rng.choice([-80.0, rng.uniform(-80, 100)]), rng.uniform(-180, 60)])
        z, y, x = (origin[2 - axis] + COARSE_MM * np.arange(coarse.shape[axis]) for axis in range(3))
        squared = (z[:, None, None] - at[2]) ** 2 + (y[:, None] - at[1]) ** 2 + (x - at[0]) ** 2
        weight = weight * (rng.uniform(0.02, 0.4) + np.exp(-np.sqrt(squared) / rng.uniform(50, 100)))
    if rng.random() < 0.25:
        # One end of the field of view darker than the other, as where the head coil ends.
        z = origin[2] + COARSE_MM * np.arange(coarse.shape[0])
        weight = (
            weight
            * (
                rng.uniform(0.2, 0.7)
                + 1.0 / (1.0 + np.exp(rng.choice([-1, 1]) * (z - rng.uniform(-150, 60)) / rng.uniform(15, 50)))
            )[:, None, None]
        )
    strength = rng.uniform(0.2, 1.0) if kind in ("GE-EPI", "T2star") else rng.uniform(0, 0.3)
    air = ndimage.gaussian_filter(
        (coarse == shapes.AIRWAY).astype(np.float32) + 0.5 * (coarse == shapes.LUNG), rng.uniform(0.6, 1.6)
    )
    disc = ndimage.gaussian_filter((coarse == shapes.DISC).astype(np.float32), rng.uniform(0.5, 1.0))
    left = np.clip(1.0 - strength * (rng.uniform(1, 4) * air + rng.uniform(0, 1.5) * disc), 0.02, 1.0)
    return np.asarray(weight * left, dtype=np.float32)


@njit(cache=True, nogil=True)
def _acquire(image, origin, weighting, field, direction, corner, axes, voxel, shape, parts):
    """Average the image over native voxels; returns the volume and the share of each voxel that lies in the body."""
    result = np.zeros(shape, dtype=np.float32)
    body = np.zeros(shape, dtype=np.float32)
    count = parts[0] * parts[1] * parts[2]
    for k in range(shape[0]):
        for j in range(shape[1]):
            for i in range(shape[2]):
                total, inside = 0.0, 0
                for c in range(parts[2]):
                    n2 = (k + (c + 0.5) / parts[2]) * voxel[2]
                    for b in range(parts[1]):
                        n1 = (j + (b + 0.5) / parts[1]) * voxel[1]
                        for a in range(parts[0]):
                            n0 = (i + (a + 0.5) / parts[0]) * voxel[0]
                            x = corner[0] + axes[0, 0] * n0 + axes[0, 1] * n1 + axes[0, 2] * n2 - origin[0]
                            y = corner[1] + axes[1, 0] * n0 + axes[1, 1] * n1 + axes[1, 2] * n2 - origin[1]
                            z = corner[2] + axes[2, 0] * n0 + axes[2, 1] * n1 + axes[2, 2] * n2 - origin[2]
                            shift = trilinear(field, x / COARSE_MM, y / COARSE_MM, z / COARSE_MM)
                            u = int((x + shift * direction[0]) / LABEL_STEP_MM + 0.5)
                            v = int((y + shift * direction[1]) / LABEL_STEP_MM + 0.5)
                            w = int(z / LABEL_STEP_MM + 0.5)
                            if u >= 0 and v >= 0 and w >= 0 and u < image.shape[2] and v < image.shape[1] and w < image.shape[0]:
                                value = image[w, v, u]
                                if value > 0:
                                    inside += 1
                                    total += value
                x = (
                    corner[0]
                    + axes[0, 0] * (i + 0.5) * voxel[0]
                    + axes[0, 1] * (j + 0.5) * voxel[1]
                    + axes[0, 2] * (k + 0.5) * voxel[2]
                )
                y = (
                    corner[1]
                    + axes[1, 0] * (i + 0.5) * voxel[0]
                    + axes[1, 1] * (j + 0.5) * voxel[1]
                    + axes[1, 2] * (k + 0.5) * voxel[2]
                )
                z = (
                    corner[2]
                    + axes[2, 0] * (i + 0.5) * voxel[0]
                    + axes[2, 1] * (j + 0.5) * voxel[1]
                    + axes[2, 2] * (k + 0.5) * voxel[2]
                )
                if inside > 0:
                    gain = trilinear(
                        weighting, (x - origin[0]) / COARSE_MM, (y - origin[1]) / COARSE_MM, (z - origin[2]) / COARSE_MM
                    )
                    result[k, j, i] = gain * total / count
                    body[k, j, i] = inside / count
    return result, body


def add_artefacts(rng: np.random.Generator, volume: np.ndarray, body: np.ndarray, kind: str) -> np.ndarray:
    """Blur, ghost, gamma, Rician noise and a background that is sometimes set to 0."""
    tissue = volume[body > 0.5]
    level = float(np.mean(tissue)) if tissue.size else 1.0
    if rng.random() < 0.4:
        volume = ndimage.gaussian_filter(volume, rng.uniform(0, 0.8, 3))
    if "EPI" in kind and rng.random() < 0.6:
        axis = int(rng.integers(1, 3))
        volume = volume + rng.uniform(0, 0.08) * np.roll(volume, volume.shape[axis] // 2, axis)
    if rng.random() < 0.3:
        volume = level * np.power(np.maximum(volume / max(level, 1e-6), 0), rng.uniform(0.7, 1.4))
    sigma = level / np.exp(rng.uniform(np.log(4), np.log(80)))
    noise = rng.standard_normal((2, *volume.shape)).astype(np.float32)
    volume = np.sqrt((volume + sigma * noise[0]) ** 2 + (sigma * noise[1]) ** 2)
    if rng.random() < 0.25:
        volume = np.where(ndimage.gaussian_filter(body, 1.0) > 0.1, volume, 0.0)
    return np.asarray(volume, dtype=np.float32)


@njit(cache=True, nogil=True)
def _resample(volume, labels, classes, origin, field, direction, corner, axes, voxel, start, shape, parts):
    """The native volume averaged over 3 mm voxels, what is in view, and the share of each class in eighths."""
    image = np.zeros(shape, dtype=np.float32)
    view = np.zeros(shape, dtype=np.bool_)
    target = np.zeros((5, shape[0], shape[1], shape[2]), dtype=np.uint8)
    nz, ny, nx = volume.shape
    for k in range(shape[0]):
        for j in range(shape[1]):
            for i in range(shape[2]):
                total, seen = 0.0, 0
                for c in range(parts):
                    z = start[2] + (k + (c + 0.5) / parts - 0.5) * GRID_MM - corner[2]
                    for b in range(parts):
                        y = start[1] + (j + (b + 0.5) / parts - 0.5) * GRID_MM - corner[1]
                        for a in range(parts):
                            x = start[0] + (i + (a + 0.5) / parts - 0.5) * GRID_MM - corner[0]
                            n0 = (axes[0, 0] * x + axes[1, 0] * y + axes[2, 0] * z) / voxel[0] - 0.5
                            n1 = (axes[0, 1] * x + axes[1, 1] * y + axes[2, 1] * z) / voxel[1] - 0.5
                            n2 = (axes[0, 2] * x + axes[1, 2] * y + axes[2, 2] * z) / voxel[2] - 0.5
                            if n0 < -0.5 or n1 < -0.5 or n2 < -0.5 or n0 > nx - 0.5 or n1 > ny - 0.5 or n2 > nz - 0.5:
                                continue
                            seen += 1
                            total += trilinear(volume, n0, n1, n2)
                if seen * 2 < parts * parts * parts:
                    target[0, k, j, i] = 8
                    continue
                image[k, j, i] = total / seen
                view[k, j, i] = True
                for c in range(2):
                    z = start[2] + (k + 0.5 * c - 0.25) * GRID_MM - origin[2]
                    for b in range(2):
                        y = start[1] + (j + 0.5 * b - 0.25) * GRID_MM - origin[1]
                        for a in range(2):
                            x = start[0] + (i + 0.5 * a - 0.25) * GRID_MM - origin[0]
                            shift = trilinear(field, x / COARSE_MM, y / COARSE_MM, z / COARSE_MM)
                            u = int((x + shift * direction[0]) / LABEL_STEP_MM + 0.5)
                            v = int((y + shift * direction[1]) / LABEL_STEP_MM + 0.5)
                            w = int(z / LABEL_STEP_MM + 0.5)
                            kind = 0
                            if (
                                u >= 0
                                and v >= 0
                                and w >= 0
                                and u < labels.shape[2]
                                and v < labels.shape[1]
                                and w < labels.shape[0]
                            ):
                                kind = classes[labels[w, v, u]]
                            target[kind, k, j, i] += 1
    return image, view, target


def make_image(
    rng: np.random.Generator, anatomy: shapes.Anatomy, labels: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """One image of a person on the 3 mm grid.

    Parameters
    ----------
    rng : numpy.random.Generator
    anatomy, labels, origin
        From `draw_anatomy` and `render_labels`.

    Returns
    -------
    image : ndarray of float32, shape (z, y, x)
        Normalised by `normalise_volume`.
    view : ndarray of bool, shape (z, y, x)
    target : ndarray of uint8, shape (5, z, y, x)
        Share of each class in eighths.
    description : str
        Field of view, contrast and what was removed.
    """
    means, texture, contrast = draw_contrast(rng)
    acquisition, kind = draw_acquisition(rng, anatomy)
    removed = ""
    if kind in ("whole", "brain", "coronal") and rng.random() < 0.12:
        # Skull stripped: nothing but brain, with or without its CSF; a cord that was kept stays.
        kept = np.zeros(len(TISSUES), dtype=bool)
        kept[_BRAIN] = True
        kept[[shapes.CSF, shapes.VEIN]] = rng.random() < 0.5
        kept[[shapes.CORD, shapes.CANAL]] = rng.random() < 0.5
        means = np.where(kept, means, 0.0).astype(np.float32)
        removed = " stripped"
    image = intensities(rng, labels, means, texture, anatomy.noise)
    if not removed and rng.random() < 0.1:
        # Defaced: everything in front of a plane through the face is 0.
        y, z = origin[1] + LABEL_STEP_MM * np.arange(labels.shape[1]), origin[2] + LABEL_STEP_MM * np.arange(labels.shape[0])
        face = (y[None] - rng.uniform(45, 75)) - 0.5 * (z[:, None] - rng.uniform(0, 40)) > 0
        face &= (z[:, None] > rng.uniform(-80, -20)) & (y[None] > 25)
        image *= ~face[:, :, None] | np.isin(labels, _BRAIN)
        removed = " defaced"
    if rng.random() < 0.12:
        keep_canal = rng.random() < 0.4
        labels = paint_over_cord(rng, labels, image, keep_canal)
        removed += " painted" + (" in canal" if keep_canal else "")
    extent = tuple(LABEL_STEP_MM * size for size in labels.shape)
    field, direction = draw_distortion(rng, contrast, (extent[0], extent[1], extent[2]))
    weighting = draw_weighting(rng, labels, origin, contrast)
    native = np.maximum(np.round(acquisition.extent / acquisition.voxel), 3).astype(int)
    corner = acquisition.centre - acquisition.axes @ (native * acquisition.voxel / 2)
    parts = np.ceil(acquisition.voxel / (1.25 * LABEL_STEP_MM)).astype(int)
    shape = (int(native[2]), int(native[1]), int(native[0]))
    volume, body = _acquire(image, origin, weighting, field, direction, corner, acquisition.axes, acquisition.voxel, shape, parts)
    volume = add_artefacts(rng, volume, body, contrast)
    half = np.abs(acquisition.axes) @ (native * acquisition.voxel / 2)
    size = np.ceil(2 * half / GRID_MM).astype(int)
    start = acquisition.centre - GRID_MM * (size - 1) / 2
    value, view, target = _resample(
        volume, labels, shapes.TISSUE_CLASS, origin, field, direction, corner, acquisition.axes, acquisition.voxel, start,
        (int(size[2]), int(size[1]), int(size[0])), 2,
    )  # fmt: skip
    return normalise_volume(value, view), view, target, f"{kind} {contrast}{removed}"


def crop(rng: np.random.Generator, image: np.ndarray, target: np.ndarray, shape: tuple[int, int, int] = CROP) -> Sample:
    """Cut or pad to one size at a random place, mirror left-right half the time, vary the brightness."""
    cut, pad = [], []
    for have, want in zip(image.shape, shape, strict=True):
        start = int(rng.integers(0, max(have - want, 0) + 1))
        cut.append(slice(start, start + min(have, want)))
        before = int(rng.integers(0, max(want - have, 0) + 1))
        pad.append((before, max(want - have, 0) - before))
    inner = np.pad(image[tuple(cut)], pad) * np.float32(rng.uniform(0.75, 1.3))
    shares = np.pad(target[(slice(None), *cut)], [(0, 0), *pad])
    shares[0] += (8 - shares.sum(axis=0)).astype(np.uint8)
    if rng.random() < 0.5:
        inner, shares = inner[..., ::-1], shares[..., ::-1]
    return Sample(np.ascontiguousarray(np.clip(inner, 0, 1.5)), np.ascontiguousarray(shares))


def samples_of_person(seed: int, index: int, count: int, bank: np.ndarray) -> Iterator[Sample]:
    """Several samples of one person, `CROPS_OF_IMAGE` of each of `count` images; the same for the same `seed` and `index`."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, index)))
    anatomy = shapes.draw_anatomy(rng, bank)
    labels, origin = shapes.render_labels(anatomy, int(rng.integers(2**31)))
    for _ in range(count):
        image, _, target, _ = make_image(rng, anatomy, labels, origin)
        for _ in range(CROPS_OF_IMAGE):
            yield crop(rng, image, target)
