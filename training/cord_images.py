"""Synthetic axial sections through the cord, and sections without one: drawn, then acquired as a scanner would.

`make_section(seed, index)` gives one pair: what the network is shown (64 x 64 pixels of 0.8 mm, not yet normalised) and the
share of cord in every pixel. Both depend on the seed and the index alone. Sections are drawn at 0.4 mm (shapes cover pixels
partly), averaged over the slice's thickness and over native voxels, disturbed, and only then resampled to the network's
grid: the same chain that a real image goes through. Idea of training on images of random contrast: Billot et al. 2023,
Medical Image Analysis 86:102789.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from training import cord_shapes as shapes
from training import cord_surroundings as surroundings
from training.cord_acquisition import FINE_MM, FINE_SIZE, acquire, paint_over
from training.cord_contrast import EPI, Contrast, draw_contrast
from training.cord_shapes import Base, Canvas, Tissue

BANK_SIZE = 256
N_TEXTURES = 48
N_WARPS = 16

KINDS = ("anatomy", "odd", "painted over", "no cord drawn", "elsewhere", "brain", "distractors")
SHARES = (0.57, 0.16, 0.09, 0.07, 0.04, 0.03, 0.04)


@dataclass(frozen=True)
class Section:
    """One training pair and what it is.

    Attributes
    ----------
    image : float32 (64, 64), rows grow to anterior, columns to the right; not normalised
    in_view : bool (64, 64)
    cord : float32 (64, 64), share of cord in each pixel, 0 throughout for a section without cord
    kind, contrast : str
    """

    image: np.ndarray
    in_view: np.ndarray
    cord: np.ndarray
    kind: str
    contrast: str


@lru_cache(maxsize=1)
def texture_bank() -> tuple[np.ndarray, np.ndarray]:
    """Periodic noise fields of unit variance: textures (48, 256, 256) from white to smooth, warps (16, 256, 256), all smooth."""
    rng = np.random.default_rng(20240521)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(BANK_SIZE), np.fft.rfftfreq(BANK_SIZE), indexing="ij"))

    def noise(weight: np.ndarray) -> np.ndarray:
        field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(BANK_SIZE, BANK_SIZE))) * weight, (BANK_SIZE, BANK_SIZE))
        field -= field.mean()
        return (field / field.std()).astype(np.float32)

    textures = [noise((frequency + 0.01) ** -rng.uniform(0, 2.5)) for _ in range(N_TEXTURES)]
    warps = [noise(np.exp(-0.5 * (frequency * BANK_SIZE / rng.uniform(3.0, 9.0)) ** 2)) for _ in range(N_WARPS)]
    return np.stack(textures), np.stack(warps)


@njit(cache=True, nogil=True)
def _coordinates(warp_u, warp_v, start, amplitude, offset, angle, scale):  # type: ignore[no-untyped-def]
    """Spine coordinates of the fine pixels, and the warp that shapes may take a share of: four (160, 160)."""
    n = FINE_SIZE
    u, v = np.empty((n, n), np.float32), np.empty((n, n), np.float32)
    du, dv = np.empty((n, n), np.float32), np.empty((n, n), np.float32)
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    for row in range(n):
        y = (row - (n - 1) / 2) * FINE_MM - offset[1]
        for column in range(n):
            x = (column - (n - 1) / 2) * FINE_MM - offset[0]
            u[row, column] = cosine * x + sine * y
            v[row, column] = -sine * x + cosine * y
            r, c = (row + start[0]) & 255, (column + start[1]) & 255
            du[row, column] = amplitude * warp_u[r, c]
            dv[row, column] = amplitude * warp_v[r, c]
    return u, v, du, dv


@njit(cache=True, nogil=True, fastmath=True)
def _paint_base(u, v, du, dv, centres, tissues, shade, septum, septum_tissue, palette):  # type: ignore[no-untyped-def]
    """Voronoi cells with septa where the two nearest centres are nearly equally far."""
    n = FINE_SIZE
    image = np.empty((n, n), np.float32)
    for row in range(n):
        for column in range(n):
            x, y = u[row, column] + 1.5 * du[row, column], v[row, column] + 1.5 * dv[row, column]
            first, second, nearest = np.float32(1e9), np.float32(1e9), 0
            for k in range(len(centres)):
                distance = (x - centres[k, 0]) ** 2 + (y - centres[k, 1]) ** 2
                if distance < first:
                    first, second, nearest = distance, first, k
                elif distance < second:
                    second = distance
            value = palette[tissues[nearest], row, column] * (1 + shade[nearest])
            if septum > 0:
                share = 0.5 + (septum - (np.sqrt(second) - np.sqrt(first))) / 0.8
                share = min(max(share, 0.0), 1.0)
                value += share * (palette[septum_tissue, row, column] - value)
            image[row, column] = value
    return image


@njit(cache=True, nogil=True, fastmath=True)
def _paint_shapes(image, cord, u, v, du, dv, table, depth, offset, angle, scale, palette):  # type: ignore[no-untyped-def]
    """Paint superellipses at `depth` mm from the slice's middle; pixels on an edge are covered in part."""
    n = FINE_SIZE
    cosine, sine = np.cos(angle), np.sin(angle)
    for k in range(len(table)):
        s = table[k]
        grow = 1 + s[shapes.GROWTH] * depth
        a, b = s[shapes.HALF_U] * grow, s[shapes.HALF_V] * grow
        cu, cv = s[shapes.U] + s[shapes.SLOPE_U] * depth, s[shapes.V] + s[shapes.SLOPE_V] * depth
        turn_c, turn_s = np.cos(s[shapes.ANGLE]), np.sin(s[shapes.ANGLE])
        power, share, tissue = s[shapes.POWER], s[shapes.WARP], int(s[shapes.TISSUE])
        round_ = abs(power - 2.0) < 0.02
        # Beyond this no pixel is covered, whatever the power.
        far = 1 + 0.5 * s[shapes.SOFT] / (scale * min(a, b))
        # The box of pixels that the shape can touch.
        reach = scale * (1.42 * max(a, b) + abs(s[shapes.BEND]) + 4.0)
        x = (scale * (cosine * cu - sine * cv) + offset[0]) / FINE_MM + (n - 1) / 2
        y = (scale * (sine * cu + cosine * cv) + offset[1]) / FINE_MM + (n - 1) / 2
        low_r, high_r = max(0, int(y - reach / FINE_MM)), min(n, int(y + reach / FINE_MM) + 2)
        low_c, high_c = max(0, int(x - reach / FINE_MM)), min(n, int(x + reach / FINE_MM) + 2)
        for row in range(low_r, high_r):
            for column in range(low_c, high_c):
                pu = u[row, column] + share * du[row, column] - cu
                pv = v[row, column] + share * dv[row, column] - cv
                lu, lv = (turn_c * pu + turn_s * pv) / a, (-turn_s * pu + turn_c * pv) / b
                lv -= s[shapes.BEND] / b * (lu * lu - 0.5)
                lu /= max(1 + s[shapes.TAPER] * lv, 0.3)
                lu, lv = abs(lu), abs(lv)
                if lu > far or lv > far:
                    continue
                level = np.sqrt(lu * lu + lv * lv) if round_ else (lu**power + lv**power) ** (1 / power)
                inner = np.sqrt((lu * a) ** 2 + (lv * b) ** 2)
                # Distance from the edge along the ray from the centre, mm; near the centre the nearer half width will do.
                distance = inner * (1 - 1 / level) if level > 0.05 else -min(a, b)
                cover = 0.5 - distance * scale / s[shapes.SOFT]
                if cover <= 0:
                    continue
                cover = min(cover, 1.0) * s[shapes.OPACITY]
                role = s[shapes.ROLE]
                if role == shapes.INSIDE:
                    cover *= cord[row, column]
                elif role == shapes.IS_CORD:
                    cord[row, column] += (1 - cord[row, column]) * cover
                else:
                    cord[row, column] *= 1 - cover
                image[row, column] += cover * (palette[tissue, row, column] - image[row, column])


@njit(cache=True, nogil=True)
def _palette(bank, which, start, step, mean, texture):  # type: ignore[no-untyped-def]
    """Brightness of every tissue at every fine pixel, (20, 160, 160)."""
    n = FINE_SIZE
    result = np.empty((len(mean), n, n), np.float32)
    for t in range(len(mean)):
        for row in range(n):
            r = int(start[t, 0] + step[t] * row) & 255
            for column in range(n):
                c = int(start[t, 1] + step[t] * column) & 255
                result[t, row, column] = max(mean[t] + texture[t] * bank[which[t], r, c], 0.0)
    return result


def draw_anatomy(rng: np.random.Generator, kind: str, hard: bool) -> tuple[Canvas, Base, str]:
    """Shapes of a section of one kind."""
    level = str(rng.choice(["medulla", "atlas", "cervical", "thoracic"], p=[0.1, 0.12, 0.63, 0.15]))
    canvas = Canvas()
    if kind == "brain":
        surroundings.add_brain(canvas, rng)
        return canvas, shapes.brain_base(rng), level
    if kind == "distractors":
        base = (
            shapes.muscle_base(rng) if rng.random() < 0.4 else shapes.odd_base(rng, rng.choice(["patchwork", "black", "plain"]))
        )
        surroundings.add_distractors(canvas, rng, int(rng.integers(0, 14)), 0.0)
        return canvas, base, level
    size = shapes.draw_cord_size(rng, level, hard)
    tilt = rng.normal(0, 0.12 if not hard else 0.2), rng.normal(0, 0.2 if not hard else 0.3)
    with_cord = kind != "no cord drawn"
    if kind == "odd":
        look = str(rng.choice(["patchwork", "plain", "black"], p=[0.5, 0.25, 0.25]))
        base = shapes.odd_base(rng, look)
        reach = max(size.half_u + max(size.clearance[:2]), size.half_v + max(size.clearance[2:])) + 2.0
        if look != "black" or rng.random() < 0.3:
            surroundings.add_distractors(canvas, rng, int(rng.integers(0, 12)), reach)
        canvas.slope = tilt
        if rng.random() < 0.3:
            thick = rng.uniform(1, 6)
            canvas.add(
                int(rng.integers(0, shapes.N_TISSUES)),
                (0, 0),
                (reach + thick, reach * rng.uniform(0.7, 1.0) + thick),
                power=rng.uniform(1.7, 3),
            )
        if look != "black" or rng.random() < 0.6:
            room = tuple(max(value, 0.6) for value in size.clearance)
            shapes.add_canal(canvas, rng, shapes.CordSize(size.half_u, size.half_v, room))  # type: ignore[arg-type]
        shapes.add_cord(canvas, rng, size, level)
        return canvas, base, level
    base = shapes.muscle_base(rng)
    canvas.slope = (rng.normal(0, 0.15), rng.normal(0, 0.15))
    if rng.random() < 0.2:
        surroundings.add_body_outline(canvas, rng)
    surroundings.add_front_of_neck(canvas, rng, size, level)
    canvas.slope = tilt
    if level == "medulla":
        surroundings.add_skull_base(canvas, rng, size)
    else:
        surroundings.add_vertebra(canvas, rng, size, level)
    filled = not with_cord and rng.random() < 0.5
    if not filled:
        shapes.add_canal(canvas, rng, size)
    elif rng.random() < 0.6:  # the canal's place taken by bone, muscle or anything
        canvas.add(
            int(rng.choice([Tissue.MARROW, Tissue.MUSCLE, Tissue.FAT, Tissue.CORTEX, Tissue.ODD_A])),
            (0, 0),
            (size.half_u + 3, size.half_v + 3),
            soft=1.5,
        )
    if with_cord:
        shapes.add_cord(canvas, rng, size, level)
    return canvas, base, level


def draw_offset(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Where the cord lies in the section, mm: anywhere within 9 mm, now and then half out of it, never at a favourite place."""
    if kind == "elsewhere":
        distance, turn = rng.uniform(38, 60), rng.uniform(0, 2 * np.pi)
        return np.array([distance * np.cos(turn), distance * np.sin(turn)], np.float32)
    reach = 30.0 if rng.random() < 0.18 else 9.5
    return rng.uniform(-reach, reach, 2).astype(np.float32)


def render(
    rng: np.random.Generator,
    canvas: Canvas,
    base: Base,
    contrast: Contrast,
    offset: np.ndarray,
    thickness_mm: float,
    smooth_cells: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and share of cord at 0.4 mm, each float32 (160, 160), averaged over the thickness of the slice."""
    textures, warps = texture_bank()
    n_tissues = shapes.N_TISSUES
    palette = _palette(
        textures,
        rng.integers(0, N_TEXTURES, n_tissues),
        rng.integers(0, BANK_SIZE, (n_tissues, 2)),
        rng.uniform(0.4, 1.6, n_tissues),
        contrast.mean,
        contrast.texture,
    )
    angle, scale = float(np.clip(rng.normal(0, 0.14), -0.4, 0.4)), float(rng.uniform(0.85, 1.2))
    first, second = rng.integers(0, N_WARPS, 2)
    amplitude = rng.uniform(0.2, 1.1) * (1.0 if smooth_cells else 2.2)
    u, v, du, dv = _coordinates(warps[first], warps[second], rng.integers(0, BANK_SIZE, 2), amplitude, offset, angle, scale)
    ground = _paint_base(u, v, du, dv, base.centres, base.tissues, base.shade, base.septum_mm, base.septum_tissue, palette)
    table = canvas.table()
    mirror = rng.random() < 0.5
    # No slice is crossed by more than 4 mm of movement of anything in it.
    if len(table):
        fastest = np.abs(table[:, [shapes.SLOPE_U, shapes.SLOPE_V]]).max()
        table[:, [shapes.SLOPE_U, shapes.SLOPE_V]] *= min(1.0, 4.0 / max(fastest * thickness_mm, 1e-6))
    passes = 1 if thickness_mm < 1.5 else 3 if thickness_mm < 8 else 4
    image, cord = np.zeros_like(ground), np.zeros_like(ground)
    for k in range(passes):
        depth = (k + 0.5 - passes / 2) * thickness_mm / passes
        layer, share = ground.copy(), np.zeros_like(ground)
        _paint_shapes(layer, share, u, v, du, dv, table, depth, offset, angle, scale, palette)
        image += layer / passes
        cord += share / passes
    if mirror:
        image, cord = image[:, ::-1].copy(), cord[:, ::-1].copy()
    return image, cord


def make_section(seed: int, index: int, hard: bool = False) -> Section:
    """Draw and acquire one section.

    Parameters
    ----------
    seed, index : int
        The section depends on nothing else.
    hard : bool
        Wider tails in sizes, tilts and disturbances, as validation uses them.
    """
    rng = np.random.default_rng([seed, index, int(hard)])
    kind = str(rng.choice(KINDS, p=SHARES))
    offset = draw_offset(rng, kind)
    for attempt in range(8):
        contrast = draw_contrast(rng, plausible=kind != "odd" and rng.random() < 0.68)
        canvas, base, _ = draw_anatomy(rng, kind, hard)
        epi = contrast.name in EPI or (contrast.name == "random" and rng.random() < 0.3)
        thickness = float(rng.choice([rng.uniform(0.5, 1.5), rng.uniform(2, 5.5), rng.uniform(5, 18)], p=[0.3, 0.6, 0.1]))
        image, cord = render(rng, canvas, base, contrast, offset, thickness, kind != "brain")
        result = acquire(rng, image, cord, epi, hard, last=attempt == 7)
        if result is not None:
            break
    assert result is not None
    image, in_view, share = result
    if kind == "painted over":
        image = paint_over(rng, image, share)
    if kind not in ("anatomy", "odd"):
        share = np.zeros_like(share)
    return Section(image, in_view, np.where(in_view, share, 0).astype(np.float32), kind, contrast.name)
