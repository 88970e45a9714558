"""What a scanner and its user do to a section: coils, distortion, voxels, noise, ghosts, ringing, a narrow field of view."""

import numpy as np
from numba import njit
from scipy import ndimage

from cospine.anatomy.network import SECTION_PIXEL_MM as SECTION_MM
from cospine.anatomy.network import SECTION_SIZE

FINE_MM = 0.4
FINE_SIZE = 160
SMALLEST_EDGE_TO_NOISE = 1.5


@njit(cache=True, nogil=True)
def _distort(image, shift, scale_signal):  # type: ignore[no-untyped-def]
    """Move a picture along its rows' index by `shift` pixels (pull-back); signal piles up where the map contracts."""
    rows, columns = image.shape
    result = np.zeros_like(image)
    for row in range(rows):
        before, after = max(row - 1, 0), min(row + 1, rows - 1)
        for column in range(columns):
            place = row + shift[row, column]
            place = min(max(place, 0.0), rows - 1.001)
            low = int(place)
            part = np.float32(place - low)
            value = image[low, column] * (1 - part) + image[low + 1, column] * part
            if scale_signal:
                slope = (shift[after, column] - shift[before, column]) / (after - before)
                value *= min(max(1 + slope, 0.15), 3.0)
            result[row, column] = value
    return result


def average_matrix(n_out: int, voxel_mm: float, phase: float) -> np.ndarray:
    """Box average of the fine pixels over voxels: (n_out, 160). `phase` in voxels moves the grid."""
    edges = (np.arange(n_out + 1) - n_out / 2 + phase) * voxel_mm
    fine = (np.arange(FINE_SIZE + 1) - FINE_SIZE / 2) * FINE_MM
    overlap = np.minimum(edges[1:, None], fine[None, 1:]) - np.maximum(edges[:-1, None], fine[None, :-1])
    overlap = np.maximum(overlap, 0)
    return (overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32)


def kernel_matrix(size: int, kernel: np.ndarray) -> np.ndarray:
    """Convolution with a symmetric kernel given at distances 0, 1, 2 .. as a matrix (size, size) with rows that sum to 1."""
    distance = np.abs(np.arange(size)[:, None] - np.arange(size)[None])
    matrix = np.where(distance < len(kernel), kernel[np.minimum(distance, len(kernel) - 1)], 0.0)
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


def resample_matrix(n_in: int, voxel_mm: float, phase: float, way: str) -> np.ndarray:
    """From voxels to the section's pixels, (64, n_in): linear, cubic (Catmull-Rom) or averaging over the pixel."""
    pixel = (np.arange(SECTION_SIZE) - (SECTION_SIZE - 1) / 2) * SECTION_MM
    place = pixel / voxel_mm - phase + (n_in - 1) / 2
    distance = np.abs(np.clip(place, 0, n_in - 1)[:, None] - np.arange(n_in)[None])
    if way == "cubic":
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        matrix = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    else:
        wide = max(1.0, SECTION_MM / voxel_mm) if way == "average" else 1.0
        matrix = np.maximum(1 - distance / wide, 0.0)
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


def draw_voxel(rng: np.random.Generator, epi: bool) -> tuple[float, float]:
    """In-plane voxel size in mm, right-left and front-back."""
    if epi:
        size = rng.uniform(0.8, 2.2)
        return size, size * (rng.uniform(0.8, 1.25) if rng.random() < 0.2 else 1.0)
    kind = rng.choice(["axial", "isotropic", "sagittal", "coronal", "any"], p=[0.5, 0.22, 0.15, 0.03, 0.1])
    if kind == "axial":
        size = rng.uniform(0.3, 1.0)
        return size, size
    if kind == "isotropic":
        size = rng.uniform(0.7, 1.5)
        return size, size
    if kind == "sagittal":
        return rng.uniform(1.0, 3.5), rng.uniform(0.4, 1.1)
    if kind == "coronal":
        return rng.uniform(0.5, 1.1), rng.uniform(1.0, 2.5)
    return tuple(rng.uniform(0.3, 2.2, 2))


def smooth_field(rng: np.random.Generator, knots: int) -> np.ndarray:
    """Smooth random field over the fine picture, zero mean, unit SD, float32 (160, 160)."""
    coarse = rng.normal(size=(knots, knots))
    place = np.linspace(0, knots - 1, FINE_SIZE)
    weight = np.maximum(1 - np.abs(place[:, None] - np.arange(knots)), 0)
    weight = weight**2 * (3 - 2 * weight)
    field = weight @ coarse @ weight.T
    return ((field - field.mean()) / max(field.std(), 1e-6)).astype(np.float32)


def coil_profile(rng: np.random.Generator) -> np.ndarray:
    """Receive sensitivity: linear and smooth parts, and now and then a surface coil close by."""
    axis = (np.arange(FINE_SIZE) - FINE_SIZE / 2) * FINE_MM
    slope = rng.normal(0, rng.choice([0.002, 0.01, 0.025]), 2)
    log = slope[0] * axis[None] + slope[1] * axis[:, None] + rng.choice([0.0, 0.1, 0.25]) * smooth_field(rng, 4)
    if rng.random() < 0.25:
        turn, away = rng.normal(-np.pi / 2, 0.8), rng.uniform(40, 80)
        distance = np.hypot(axis[None] - away * np.cos(turn), axis[:, None] - away * np.sin(turn))
        log -= rng.uniform(0.5, 1.8) * np.log(distance / away)
    return np.exp(np.clip(log - log.mean(), -2.5, 2.5)).astype(np.float32)


def distort(rng: np.random.Generator, image: np.ndarray, cord: np.ndarray, hard: bool) -> tuple[np.ndarray, np.ndarray]:
    """EPI: local shifts up to 4 mm along one axis, with pile-up, and places where the signal is lost."""
    along_columns = rng.random() < 0.25
    if along_columns:
        image, cord = image.T.copy(), cord.T.copy()
    strength = rng.uniform(0, 1.3 if not hard else 1.8) / FINE_MM
    shift = np.clip(smooth_field(rng, int(rng.integers(4, 10))) * strength, -4 / FINE_MM, 4 / FINE_MM).astype(np.float32)
    piling = rng.random() < 0.8
    image, cord = _distort(image, shift, piling), _distort(cord, shift, False)
    if along_columns:
        image, cord = image.T.copy(), cord.T.copy()
    if rng.random() < 0.4:
        lost = np.clip(smooth_field(rng, int(rng.integers(4, 9))) - rng.uniform(0.3, 1.5), 0, None)
        image = image * np.exp(-np.minimum(lost * rng.uniform(0.3, 2.0), 1.2)).astype(np.float32)
    return image, cord


def edge_contrast(image: np.ndarray, cord: np.ndarray) -> float:
    """How much the cord differs from what lies around it: mean over eight directions of the difference inside to outside."""
    inside = cord > 0.7
    if inside.sum() < 6:
        return 0.0
    around = ndimage.binary_dilation(cord > 0.15, iterations=2) & (cord < 0.1)
    rows, columns = np.nonzero(inside)
    middle = rows.mean(), columns.mean()
    grid = np.indices(cord.shape)
    sector = ((np.arctan2(grid[0] - middle[0], grid[1] - middle[1]) / (2 * np.pi) * 8) % 8).astype(int)
    within = float(image[inside].mean())
    total, seen = 0.0, 0
    for k in range(8):
        ring = around & (sector == k)
        if ring.any():
            total += abs(float(image[ring].mean()) - within)
            seen += 1
    return total / max(seen, 1)


def acquire(
    rng: np.random.Generator, image: np.ndarray, cord: np.ndarray, epi: bool, hard: bool, last: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """From the drawn section to what the network is shown.

    Parameters
    ----------
    image, cord : float32 (160, 160)
        Brightness and share of cord at 0.4 mm.
    epi : bool
        With the disturbances of echo-planar imaging.
    last : bool
        Accept a faint cord rather than give None.

    Returns
    -------
    (image, in_view, cord), each (64, 64), or None where the cord does not differ enough from what surrounds it
    """
    if rng.random() < 0.35:
        top = max(float(np.percentile(image, 99)), 1e-6)
        image = top * (image / top) ** np.float32(np.exp(rng.normal(0, 0.3)))
    image = image * coil_profile(rng)
    if epi:
        image, cord = distort(rng, image, cord, hard)
    voxel = draw_voxel(rng, epi)
    count = [int(FINE_SIZE * FINE_MM / size) for size in voxel]
    phase = rng.uniform(-0.5, 0.5, 2)
    blur = rng.uniform(0.0, 1.2) if rng.random() < 0.35 else 0.0
    late_blur = rng.uniform(0.3, 1.2) if rng.random() < 0.2 else 0.0
    ring = rng.uniform(0.45, 0.95, 2) if rng.random() < 0.25 else (1.0, 1.0)
    way = str(rng.choice(["linear", "cubic", "average"], p=[0.5, 0.3, 0.2]))
    take, give = [], []
    for k in (0, 1):
        matrix = average_matrix(count[k], voxel[k], phase[k])
        if blur > 0:
            width = blur / voxel[k]
            matrix = kernel_matrix(count[k], np.exp(-0.5 * (np.arange(int(4 * width) + 2) / max(width, 0.05)) ** 2)) @ matrix
        if ring[k] < 1:
            matrix = kernel_matrix(count[k], np.sinc(ring[k] * np.arange(24))) @ matrix
        take.append(matrix)
        back = resample_matrix(count[k], voxel[k], phase[k], way)
        if late_blur > 0:
            width = late_blur / voxel[k]
            back = back @ kernel_matrix(count[k], np.exp(-0.5 * (np.arange(int(4 * width) + 2) / max(width, 0.05)) ** 2))
        give.append(back)
    native = np.maximum(take[1] @ image @ take[0].T, 0)
    area = average_matrix(SECTION_SIZE, SECTION_MM, 0.0)
    share = np.clip(area @ cord @ area.T, 0, 1)
    clean = give[1] @ native @ give[0].T

    level = float(np.percentile(native, 75))
    noise = level / np.exp(rng.uniform(np.log(4 if hard else 5), np.log(80)))
    if share.sum() > 10:
        edge = edge_contrast(clean, share)
        spread = float(np.subtract(*np.percentile(clean, (95, 5))))
        if edge < 0.025 * spread and not last:
            return None
        noise = min(noise, edge / rng.uniform(SMALLEST_EDGE_TO_NOISE, 5.0))
    native = disturb(rng, native, noise, level, epi)
    result = (give[1] @ native @ give[0].T).astype(np.float32)
    if rng.random() < 0.06:
        steps = rng.uniform(8, 60) / max(float(np.percentile(result, 98)), 1e-6)
        result = np.round(result * steps) / steps
    result, in_view = narrow(rng, result, share, epi)
    return result.astype(np.float32), in_view, share.astype(np.float32)


def disturb(rng: np.random.Generator, native: np.ndarray, noise: float, level: float, epi: bool) -> np.ndarray:
    """Ghosts, spikes, zippers and noise in native voxels."""
    if rng.random() < (0.35 if epi else 0.05):
        native = native + rng.uniform(0, 0.1) * np.roll(native, int(rng.integers(8, native.shape[0])), axis=0)
    if rng.random() < 0.04:
        wave = rng.uniform(-np.pi, np.pi, 2)
        rows, columns = np.indices(native.shape)
        native = native + rng.uniform(0.02, 0.15) * level * np.cos(wave[0] * rows + wave[1] * columns + rng.uniform(0, 6))
    if rng.random() < 0.03:
        native = native.copy()
        native[int(rng.integers(0, len(native)))] += level * rng.uniform(0, 1, native.shape[1])
    first = native + rng.normal(0, noise, native.shape)
    if rng.random() < 0.75:
        return np.hypot(first, rng.normal(0, noise, native.shape))
    return first


def narrow(rng: np.random.Generator, image: np.ndarray, cord: np.ndarray, epi: bool) -> tuple[np.ndarray, np.ndarray]:
    """A field of view that ends inside the section, or surroundings that somebody blanked out."""
    size = SECTION_SIZE
    in_view = np.ones((size, size), dtype=bool)
    if cord.sum() > 10:
        rows, columns = np.indices(cord.shape)
        middle = (float((rows * cord).sum() / cord.sum()), float((columns * cord).sum() / cord.sum()))
    else:
        middle = tuple(rng.uniform(20, 44, 2))
    if rng.random() < (0.3 if epi else 0.2):
        for axis in (0, 1):
            if rng.random() < 0.6:
                ends = middle[axis] + np.array([-1, 1]) * rng.uniform(9, 32, 2)
                low, high = max(int(ends[0]), 0), min(int(ends[1]), size)
                index = np.arange(size)
                outside = (index < low) | (index >= high)
                in_view &= ~(outside[:, None] if axis == 0 else outside[None])
    if rng.random() < 0.08:
        rows, columns = np.indices(cord.shape)
        away = np.hypot(rows - middle[0] + rng.normal(0, 3), columns - middle[1] + rng.normal(0, 3))
        image = np.where(away < rng.uniform(13, 36), image, 0.0)
    if rng.random() < 0.5:
        return np.where(in_view, image, 0.0), in_view
    # Zeros beyond the edge that are part of the stored image: in view as far as anybody can tell.
    return np.where(in_view, image, 0.0), np.ones_like(in_view)


def paint_over(rng: np.random.Generator, image: np.ndarray, cord: np.ndarray) -> np.ndarray:
    """Fill the cord, or the cord and some of what surrounds it, from its surroundings."""
    grown = int(rng.choice([0, 1, 2, 3, 4, 6, 8]))
    region = cord > rng.choice([0.02, 0.3])
    if not region.any():
        return image
    if grown:
        region = ndimage.binary_dilation(region, iterations=grown)
    ring = ndimage.binary_dilation(region, iterations=3) & ~region
    values = image[ring] if ring.any() else image.ravel()
    result = image.copy()
    way = rng.choice(["smooth", "median", "shuffled", "patch"])
    if way == "smooth":
        result[region] = values.mean()
        for _ in range(60):
            result[region] = ndimage.uniform_filter(result, 3)[region]
    elif way == "median":
        result[region] = np.median(values)
    elif way == "shuffled":
        drawn = np.zeros_like(image)
        drawn[region] = rng.choice(values, int(region.sum()))
        result[region] = ndimage.gaussian_filter(np.where(region, drawn, np.median(values)), rng.uniform(0, 1.2))[region]
    else:
        moved = np.roll(image, tuple(rng.choice([-1, 1], 2) * rng.integers(10, 24, 2)), axis=(0, 1))
        result[region] = moved[region]
    if way != "patch" and rng.random() < 0.75:
        spread = float(np.std(values - ndimage.uniform_filter(image, 3)[ring])) if ring.any() else 0.0
        result[region] += rng.normal(0, max(spread, 0.0), int(region.sum()))
    if rng.random() < 0.4:
        soft = ndimage.gaussian_filter(region.astype(np.float32), 0.7)
        result = image * (1 - soft) + result * soft
    return result.astype(np.float32)
