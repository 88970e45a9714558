"""Axial sections through a neck as tables of shapes: anatomy that was never anybody's, varied far beyond anybody's.

A section is a base of Voronoi cells (muscle groups between fat septa, or any patchwork) with shapes painted over it in
order. Coordinates are mm in the frame of the spine: u grows to the right, v to the front, the cord's centre is at 0, 0.
The shape family is this file's own. It knows neither the digital participant of `cospine.phantom` nor any template, so
that a network trained on it can be judged on both.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np


class Tissue(IntEnum):
    """What a shape is made of."""

    AIR = 0
    MUSCLE = 1
    FAT = 2
    CORTEX = 3
    MARROW = 4
    DISC = 5
    CSF = 6
    WHITE = 7
    GREY = 8
    DURA = 9
    VESSEL = 10
    EPIDURAL = 11
    ROOT = 12
    GLAND = 13
    CEREBELLUM = 14
    LESION = 15
    LIGAMENT = 16
    SPOT = 17
    ODD_A = 18
    ODD_B = 19


N_TISSUES = len(Tissue)

# Columns of a shape.
U, V, HALF_U, HALF_V, ANGLE, POWER, TISSUE, TAPER, BEND, WARP, SLOPE_U, SLOPE_V, GROWTH, ROLE, SOFT, OPACITY = range(16)
N_COLUMNS = 16

# What a shape does to the share of cord in a pixel: cover it, be it, or lie inside of it.
COVERS, IS_CORD, INSIDE = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class Base:
    """Voronoi cells under the shapes: centres (m, 2) in mm, the tissue of each, the septum between them."""

    centres: np.ndarray
    tissues: np.ndarray
    shade: np.ndarray
    septum_mm: float = 0.0
    septum_tissue: int = int(Tissue.FAT)


@dataclass
class Canvas:
    """A section while it is being drawn: shapes in the order in which they are painted."""

    rows: list[np.ndarray] = field(default_factory=list)
    slope: tuple[float, float] = (0.0, 0.0)
    growth: float = 0.0

    def add(
        self,
        tissue: int,
        centre: tuple[float, float],
        half: tuple[float, float],
        angle: float = 0.0,
        power: float = 2.0,
        taper: float = 0.0,
        bend: float = 0.0,
        warp: float = 1.0,
        role: float = COVERS,
        soft: float = 0.4,
        opacity: float = 1.0,
    ) -> None:
        """Paint a superellipse: half widths in mm, angle in rad, `taper` widens it to the front, `bend` mm curves it."""
        row = np.zeros(N_COLUMNS, dtype=np.float32)
        row[[U, V, HALF_U, HALF_V, ANGLE, POWER, TISSUE]] = (
            *centre,
            max(half[0], 0.15),
            max(half[1], 0.15),
            angle,
            power,
            tissue,
        )
        row[[TAPER, BEND, WARP, SLOPE_U, SLOPE_V]] = (taper, bend, warp, *self.slope)
        row[[GROWTH, ROLE, SOFT, OPACITY]] = (self.growth, role, soft, opacity)
        self.rows.append(row)

    def table(self) -> np.ndarray:
        """All shapes, float32 (n, 16)."""
        return np.stack(self.rows) if self.rows else np.zeros((0, N_COLUMNS), dtype=np.float32)


@dataclass(frozen=True)
class CordSize:
    """Half widths of a cord and of its canal in mm; the canal's four clearances are right, left, front, back."""

    half_u: float
    half_v: float
    clearance: tuple[float, float, float, float]


def draw_cord_size(rng: np.random.Generator, level: str, hard: bool) -> CordSize:
    """Size of the cord: 7.5 to 16 mm wide, 5 to 10.5 mm deep (the medulla up to 18 by 15), and the room around it."""
    if level == "medulla":
        width = rng.uniform(10.0, 18.0)
        depth = width / rng.uniform(0.9, 1.45)
    elif level == "thoracic":
        width = rng.uniform(6.5, 11.5)
        depth = width / rng.uniform(0.95, 1.45)
    else:
        # flat over all sizes that there are: where the edge is faint a network falls back on the usual size it has learned
        width = rng.uniform(7.5, 16.0)
        depth = width / rng.uniform(1.0, 1.9 if hard else 1.75)
    depth = float(np.clip(depth, 4.8, 10.5 if level != "medulla" else 15.0))
    room = rng.choice([0.4, 1.0, 1.8], p=[0.2, 0.6, 0.2])
    side = rng.uniform(0.3, 4.0, 2) * room
    front, back = rng.uniform(0.0, 3.2, 2) * room
    if level == "thoracic" and rng.random() < 0.5:  # where the spine bends, the cord leaves the back of the canal
        front, back = rng.uniform(0.0, 1.5), rng.uniform(2.0, 6.0)
    if rng.random() < 0.15:
        front = 0.0
    if rng.random() < 0.12:
        back = 0.0
    clearance = tuple(float(min(value, 6.0)) for value in (*side, front, back))
    return CordSize(float(width) / 2, depth / 2, clearance)  # type: ignore[arg-type]


def add_canal(canvas: Canvas, rng: np.random.Generator, size: CordSize) -> None:
    """CSF and dura around the cord, round to triangular, with roots that are not cord."""
    right, left, front, back = size.clearance
    centre = ((right - left) / 2, (front - back) / 2)
    half = (size.half_u + (right + left) / 2, size.half_v + (front + back) / 2)
    power, taper = rng.uniform(1.8, 2.8), rng.uniform(-0.05, 0.3) if rng.random() < 0.6 else 0.0
    angle = rng.normal(0.0, 0.05)
    dura = rng.uniform(0.2, 0.9)
    if rng.random() < 0.7:
        canvas.add(Tissue.DURA, centre, (half[0] + dura, half[1] + dura), angle, power, taper)
    canvas.add(Tissue.CSF, centre, half, angle, power, taper, soft=rng.choice([0.4, 0.8]))
    if rng.random() < 0.65:
        contrast = rng.uniform(0.3, 1.0)
        for side, room in ((1, right), (-1, left)):
            for front_back in (1, -1):
                if rng.random() < 0.75:
                    spot = (
                        side * (size.half_u * rng.uniform(0.55, 0.95) + room * rng.uniform(0.1, 0.8)),
                        front_back * size.half_v * rng.uniform(0.3, 0.9),
                    )
                    canvas.add(
                        Tissue.ROOT,
                        spot,
                        (rng.uniform(0.3, 1.7), rng.uniform(0.25, 0.8)),
                        side * front_back * rng.uniform(-0.2, 0.9),
                        opacity=contrast,
                    )
    for _ in range(rng.poisson(0.7 if rng.random() < 0.8 else 4.0)):  # flow voids and pulsation
        turn = rng.uniform(0, 2 * np.pi)
        spot = (centre[0] + half[0] * 0.85 * np.cos(turn), centre[1] + half[1] * 0.85 * np.sin(turn))
        canvas.add(
            rng.choice([Tissue.SPOT, Tissue.DURA]),
            spot,
            tuple(rng.uniform(0.5, 2.2, 2)),
            turn,
            soft=1.2,
            opacity=rng.uniform(0.1, 0.6),
        )


def add_cord(canvas: Canvas, rng: np.random.Generator, size: CordSize, level: str) -> None:
    """The cord with its butterfly, fissure, and sometimes a lesion."""
    a, b = size.half_u, size.half_v
    power = rng.uniform(1.8, 2.9)
    bend = rng.normal(0.0, 0.12) * b if level != "medulla" else rng.normal(0.0, 0.05) * b
    taper = rng.normal(0.0, 0.08)
    soft = rng.choice([0.4, 0.8, 1.2], p=[0.7, 0.2, 0.1])
    canvas.add(Tissue.WHITE, (0, 0), (a, b), 0, power, taper, bend, 0.35, IS_CORD, soft)
    if rng.random() < 0.15:  # one side fuller than the other
        side = rng.choice([-1, 1])
        canvas.add(
            Tissue.WHITE,
            (side * a * 0.5, rng.normal(0, 0.1) * b),
            (a * 0.52, b * rng.uniform(0.95, 1.15)),
            0,
            2.0,
            0,
            0,
            0.35,
            IS_CORD,
            soft,
        )
    opacity = rng.uniform(0.3, 1.0)
    thick = rng.uniform(0.10, 0.22)
    canvas.add(Tissue.GREY, (0, -0.02 * b), (a * 0.45, b * thick), 0, 2.0, 0, 0, 0.35, INSIDE, 0.5, opacity)
    tilt_front, tilt_back = rng.uniform(-0.3, 0.4), rng.uniform(0.1, 0.65)
    for side in (1, -1):
        canvas.add(
            Tissue.GREY,
            (side * a * rng.uniform(0.28, 0.40), b * rng.uniform(0.22, 0.38)),
            (a * rng.uniform(0.12, 0.24), b * rng.uniform(0.30, 0.45)),
            side * tilt_front,
            2.0,
            0,
            0,
            0.35,
            INSIDE,
            0.5,
            opacity,
        )
        canvas.add(
            Tissue.GREY,
            (side * a * rng.uniform(0.26, 0.40), -b * rng.uniform(0.28, 0.45)),
            (a * rng.uniform(0.07, 0.14), b * rng.uniform(0.38, 0.55)),
            -side * tilt_back,
            2.0,
            0,
            0,
            0.35,
            INSIDE,
            0.5,
            opacity,
        )
    # Raters draw the outline across the fissures: they darken or brighten the cord, they do not take from it.
    if rng.random() < 0.7:
        canvas.add(
            Tissue.CSF,
            (rng.normal(0, 0.1), b * rng.uniform(0.85, 1.0)),
            (rng.uniform(0.2, 0.7), b * rng.uniform(0.15, 0.45)),
            0,
            warp=0.35,
            role=INSIDE,
            opacity=rng.uniform(0.2, 1.0),
        )
    if rng.random() < 0.35:
        canvas.add(
            Tissue.CSF,
            (rng.normal(0, 0.1), -b * rng.uniform(0.92, 1.05)),
            (rng.uniform(0.2, 0.5), b * rng.uniform(0.1, 0.25)),
            0,
            warp=0.35,
            role=INSIDE,
            opacity=rng.uniform(0.2, 0.9),
        )
    if rng.random() < 0.10:
        canvas.add(
            Tissue.LESION,
            (rng.normal(0, 0.35) * a, rng.normal(0, 0.35) * b),
            (rng.uniform(0.8, 3.0), rng.uniform(0.8, 2.5)),
            rng.uniform(0, 3),
            role=INSIDE,
            soft=0.8,
            opacity=rng.uniform(0.3, 1.0),
        )
    if rng.random() < 0.12:
        canvas.add(Tissue.CSF, (0, 0), (rng.uniform(0.3, 1.0),) * 2, role=INSIDE, opacity=rng.uniform(0.3, 1.0))


def muscle_base(rng: np.random.Generator) -> Base:
    """Muscle groups between fat septa."""
    count = int(rng.integers(8, 45))
    centres = rng.uniform(-46, 46, (count, 2)).astype(np.float32)
    tissues = rng.choice([Tissue.MUSCLE, Tissue.FAT, Tissue.GLAND], count, p=[0.8, 0.12, 0.08]).astype(np.int64)
    return Base(
        centres,
        tissues,
        rng.normal(0, 0.06, count).astype(np.float32),
        float(rng.choice([0.0, rng.uniform(0.3, 3.0)], p=[0.2, 0.8])),
    )


def odd_base(rng: np.random.Generator, kind: str) -> Base:
    """Surroundings that are no neck: a patchwork of anything, or one tissue all over."""
    if kind == "patchwork":
        count = int(rng.integers(3, 60))
        centres = rng.uniform(-46, 46, (count, 2)).astype(np.float32)
        tissues = rng.integers(0, N_TISSUES, count)
        septum = float(rng.choice([0.0, rng.uniform(0.3, 2.5)]))
        return Base(centres, tissues, rng.normal(0, 0.15, count).astype(np.float32), septum, int(rng.integers(0, N_TISSUES)))
    tissue = Tissue.AIR if kind == "black" else Tissue.ODD_A
    return Base(np.zeros((1, 2), np.float32), np.array([tissue]), np.zeros(1, np.float32))


def brain_base(rng: np.random.Generator) -> Base:
    """Folded grey and white matter: many small cells, strongly warped, CSF between them."""
    count = int(rng.integers(40, 160))
    centres = rng.uniform(-46, 46, (count, 2)).astype(np.float32)
    tissues = rng.choice([Tissue.WHITE, Tissue.GREY], count, p=[0.55, 0.45]).astype(np.int64)
    return Base(
        centres, tissues, np.zeros(count, np.float32), float(rng.uniform(0.5, 3.0)), int(rng.choice([Tissue.CSF, Tissue.GREY]))
    )
