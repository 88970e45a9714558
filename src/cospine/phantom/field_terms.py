"""Smooth parts of the static field beyond dipoles and shim, and the figures that they are fitted to.

The figures and their ranges are those of the project's facts: what fields of whole-CNS protocols look like after a
second-order shim. The anatomy's dipoles alone come near them (cord 2.5-3.5 mm, T2 12-15 mm, frontal base 80-95 Hz, brain
60-90 Hz) except above the ear canals, where they give +40..+70 Hz and the facts say -50..-100 Hz.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cospine.phantom.deformation import Deformation
from cospine.phantom.landmarks import smoothstep
from cospine.phantom.neck import cord_centre
from cospine.phantom.tables import VERTEBRA_TOP_Z

# mm along A-P for each Hz in the CoSpine protocol (0.0406401 s, 1.5 mm).
MM_PER_HZ = 0.0406401 * 1.5
# Canonical places (mm) and radius within which the field is averaged, and width of the term that is put there.
FRONTAL, EAR, RADIUS_MM = (0.0, 38.0, -19.0), (50.0, -22.0, -24.0), 8.0
FRONTAL_WIDTH_MM, EAR_WIDTH_MM = 20.0, 17.0
# How far from the cord its terms reach.
NECK_REACH_MM, DISC_REACH_MM = 45.0, 20.0
_TOP = np.array(VERTEBRA_TOP_Z)
_ROUNDS = 12


@dataclass(frozen=True)
class Line:
    """Points on the middle of the cord from C1 to T3: individual and canonical RAS mm (n, 3)."""

    points: NDArray[np.float64]
    canonical: NDArray[np.float64]

    @property
    def z(self) -> NDArray[np.float64]:
        """Canonical heights, descending."""
        return self.canonical[:, 2]


@dataclass(frozen=True)
class Places:
    """Cord line, and canonical points of the shim box with the brain among them."""

    line: Line
    box_canonical: NDArray[np.float64]
    brain: NDArray[np.bool_]


@dataclass(frozen=True)
class Figures:
    """Figures of a shimmed field, see `cospine.phantom.susceptibility.field_figures`."""

    cord_mm: float
    disc_hz: float
    t2_mm: float
    frontal_hz: float
    ear_right_hz: float
    ear_left_hz: float
    brain_p95_hz: float


@dataclass(frozen=True)
class Terms:
    """Strength (Hz) of the smooth terms, as functions of canonical points.

    Parameters
    ----------
    neck : ndarray, shape (n,)
        Addition on the cord at `neck_z` (ascending), fading away from it.
    disc : tuple of float
        Cosine and sine amplitude of the component that repeats with the discs.
    frontal, ear_right, ear_left : float
    """

    neck_z: NDArray[np.float64]
    neck: NDArray[np.float64]
    disc: tuple[float, float] = (0.0, 0.0)
    frontal: float = 0.0
    ear_right: float = 0.0
    ear_left: float = 0.0

    def at(self, canonical: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the terms (Hz) at canonical points (n, 3)."""
        x, y, z = canonical.T
        square = x * x + (y - cord_centre(z)[:, 1]) ** 2
        out = np.interp(z, self.neck_z, self.neck) * np.exp(-square / NECK_REACH_MM**2)
        phase = disc_phase(z)
        periodic = self.disc[0] * np.cos(phase) + self.disc[1] * np.sin(phase)
        out += disc_window(z) * periodic * np.exp(-square / DISC_REACH_MM**2)
        for strength, (px, py, pz), width in (
            (self.frontal, FRONTAL, FRONTAL_WIDTH_MM),
            (self.ear_right, EAR, EAR_WIDTH_MM),
            (self.ear_left, (-EAR[0], EAR[1], EAR[2]), EAR_WIDTH_MM),
        ):
            if strength:
                out += strength * np.exp(-((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) / width**2)
        return out


def disc_phase(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Phase (rad) that passes a multiple of 2 pi at every upper edge of a vertebra."""
    numbers = np.arange(len(_TOP))
    return 2 * np.pi * np.interp(z, _TOP[::-1], numbers[::-1])


def disc_window(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 from C3 to C7, smoothly 0 at C2 and T1's lower edge."""
    return smoothstep((_TOP[1] - z) / (_TOP[1] - _TOP[2])) * smoothstep((z - _TOP[8]) / (_TOP[7] - _TOP[8]))


def draw_targets(rng: np.random.Generator) -> Figures:
    """Draw what the field shall amount to, most likely in the middle of the ranges."""
    return Figures(
        cord_mm=rng.triangular(2.0, 2.7, 3.4), disc_hz=rng.triangular(6.0, 10.0, 14.0),
        t2_mm=rng.triangular(11.0, 13.5, 16.0),
        frontal_hz=rng.triangular(88.0, 115.0, 142.0), ear_right_hz=-rng.triangular(55.0, 75.0, 95.0),
        ear_left_hz=-rng.triangular(55.0, 75.0, 95.0), brain_p95_hz=np.nan,
    )  # fmt: skip


def cord_line(deformation: Deformation) -> Line:
    """Middle of the cord every millimetre, from the foramen magnum to the lower edge of T2."""
    canonical = cord_centre(np.arange(_TOP[0], _TOP[9], -1.0))
    return Line(deformation.to_individual(canonical), canonical)


def disc_component(z: NDArray[np.float64], field: NDArray[np.float64]) -> tuple[float, float]:
    """Cosine and sine amplitude (Hz) with the period of the discs over C3-C7, of a field without its slow course.

    The slow course is a polynomial of fifth order fitted together with the two waves.
    """
    rows = (z <= _TOP[2]) & (z >= _TOP[7])
    phase = disc_phase(z[rows])
    place = np.interp(z[rows], [_TOP[7], _TOP[2]], [-1, 1])
    design = np.column_stack([np.cos(phase), np.sin(phase), np.polynomial.legendre.legvander(place, 5)])
    fit = np.linalg.lstsq(design, field[rows], rcond=None)[0]
    return float(fit[0]), float(fit[1])


def figures(line: Line, on_line: NDArray[np.float64], in_box: NDArray[np.float64], places: Places) -> Figures:
    """Figures of a shimmed field (Hz) on the cord line and in the shim box."""
    z = line.z
    cervical, t2 = z >= _TOP[7], (z < _TOP[8]) & (z >= _TOP[9])

    def around(x: float, y: float, zz: float) -> float:
        near = np.sum((places.box_canonical - (x, y, zz)) ** 2, axis=1) < RADIUS_MM**2
        return float(in_box[near & places.brain].mean())

    return Figures(
        cord_mm=float(np.abs(on_line[cervical]).mean() * MM_PER_HZ),
        disc_hz=float(np.hypot(*disc_component(z, on_line))),
        t2_mm=float(np.abs(on_line[t2]).mean() * MM_PER_HZ),
        frontal_hz=around(*FRONTAL),
        ear_right_hz=around(*EAR),
        ear_left_hz=around(-EAR[0], EAR[1], EAR[2]),
        brain_p95_hz=float(np.percentile(np.abs(in_box[places.brain]), 95)),
    )


def fit_terms(evaluate: Callable[[Terms], tuple[NDArray[np.float64], Figures]], targets: Figures, line: Line) -> Terms:
    """Strengths at which the figures meet their targets, found by a few rounds of correction.

    Parameters
    ----------
    evaluate : callable
        Field on the cord line after shim, and figures, with given terms.
    targets : Figures
    line : Line
    """
    z = line.z[::-1]
    terms = Terms(z, np.zeros(len(z)))
    cervical, trunk = smoothstep((z - _TOP[8]) / (_TOP[7] - _TOP[8])), smoothstep((_TOP[7] - z) / (_TOP[7] - _TOP[8]))
    for _ in range(_ROUNDS):
        field, now = evaluate(terms)
        wave = np.array(disc_component(line.z, field))
        slow = _slow(field[::-1])
        neck = (targets.cord_mm / now.cord_mm - 1) * cervical + (targets.t2_mm / now.t2_mm - 1) * trunk
        change = (targets.disc_hz / now.disc_hz - 1) * wave
        terms = replace(
            terms,
            neck=terms.neck + 0.8 * neck * slow,
            disc=(terms.disc[0] + change[0], terms.disc[1] + change[1]),
            frontal=terms.frontal + targets.frontal_hz - now.frontal_hz,
            ear_right=terms.ear_right + targets.ear_right_hz - now.ear_right_hz,
            ear_left=terms.ear_left + targets.ear_left_hz - now.ear_left_hz,
        )
    return terms


def _slow(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Course of a field along the cord without its change from disc to disc."""
    return gaussian_filter1d(field, 9.0, mode="nearest")
