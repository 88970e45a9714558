"""Static field of an individual at 3 T: dipole field of air, bone, fat and lungs, shim, and what remains in the cord.

The field of a susceptibility map is its convolution with the dipole kernel 1/3 - (k . b)^2 / |k|^2 (Marques & Bowtell,
Concepts Magn Reson B 2005), b being the direction of B0 as the body sees it. A rotation R of the body turns b into R^T z,
so the change of the field with rotation, in the body's frame, has a kernel of its own: -2 ky kz / |k|^2 for a turn about x
and +2 kx kz / |k|^2 for one about y (rad).

The phantom takes that change as linear in the angle. Against the kernel of the turned body, two individuals turned about x:
0.19 Hz RMS in the brain at 1 degree, 0.4 at 2, 0.7 at 3 and 1.0 at 4, where the change itself is 1, 2.5, 3-4 and 5 Hz RMS.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from cospine.phantom.anatomy import Anatomy, chi_map
from cospine.phantom.field_terms import Figures, Places, Terms, cord_line, draw_targets, figures, fit_terms
from cospine.phantom.tissues import AIR_PPM, TISSUES

# Proton frequency of a Prisma (2.895 T), in Hz for a field of 1 ppm.
HZ_PER_PPM = 123.25
# Individual RAS mm of the grid: wide and deep enough for shoulders and chest. FFTs are padded to twice that.
FIELD_EXTENT = ((-160.0, 160.0), (-170.0, 150.0), (-270.0, 165.0))
FIELD_STEP_MM = 2.5
# Solid harmonics are in units of this length, so that a coefficient is a field in Hz at that distance.
SHIM_LENGTH_MM = 100.0


@dataclass(frozen=True)
class StaticField:
    """Static field on its own grid; volumes are (z, y, x).

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Voxel (i, j, k) to individual RAS mm.
    f0 : ndarray of float32
        Field that goes with tissue (Hz), before shim.
    fx, fy : ndarray of float32
        Its change (Hz / rad) when the body turns about +x, +y.
    shim : ndarray, shape (9,)
        Coefficients (Hz) of the real solid harmonics of order 0 to 2 in scanner coordinates, see `shim_field`.
    """

    affine: NDArray[np.float64]
    f0: NDArray[np.float32]
    fx: NDArray[np.float32]
    fy: NDArray[np.float32]
    shim: NDArray[np.float64]


def harmonics(points_mm: ArrayLike) -> NDArray[np.float64]:
    """Real solid harmonics (n, 9): 1, x, y, z, xy, zx, zy, z^2 - (x^2 + y^2) / 2, x^2 - y^2, in units of
    `SHIM_LENGTH_MM`."""
    x, y, z = (np.asarray(points_mm, float).reshape(-1, 3) / SHIM_LENGTH_MM).T
    return np.stack([np.ones_like(x), x, y, z, x * y, z * x, z * y, z * z - (x * x + y * y) / 2, x * x - y * y], 1)


def shim_field(shim: NDArray[np.float64], points_mm: ArrayLike) -> NDArray[np.float64]:
    """Field of the shim coils (Hz) at scanner points (n, 3)."""
    return harmonics(points_mm) @ shim


def dipole_field(
    chi_ppm: NDArray[np.float32], step_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Field of a susceptibility map against air around it, B0 along z.

    Parameters
    ----------
    chi_ppm : ndarray, shape (z, y, x)
        Susceptibility minus that of the surroundings.
    step_mm : float
        Isotropic voxel; the result does not depend on it.

    Returns
    -------
    tuple of three ndarray of float32
        Field (Hz) and its derivatives (Hz / rad) by a turn of the body about +x and +y.
    """
    shape = [scipy.fft.next_fast_len(2 * n, real=True) for n in chi_ppm.shape]
    spectrum = np.asarray(scipy.fft.rfftn(chi_ppm.astype(np.float32), shape, workers=2))
    kz = scipy.fft.fftfreq(shape[0], step_mm)[:, None, None].astype(np.float32)
    ky = scipy.fft.fftfreq(shape[1], step_mm)[None, :, None].astype(np.float32)
    kx = scipy.fft.rfftfreq(shape[2], step_mm)[None, None, :].astype(np.float32)
    square = kx * kx + ky * ky + kz * kz
    square[0, 0, 0] = 1
    spectrum *= np.float32(HZ_PER_PPM)

    def back(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
        kernel[0, 0, 0] = 0
        field = np.asarray(scipy.fft.irfftn(spectrum * kernel, shape, workers=2))
        return np.ascontiguousarray(field[tuple(slice(n) for n in chi_ppm.shape)], np.float32)

    # Kernels that change sign with an axis jump at its Nyquist frequency and would ring; they are led to zero there.
    x, y, z = (k * _tapered(k * step_mm) for k in (kx, ky, kz))
    return (
        back(np.float32(1 / 3) - kz * kz / square),
        back(-2 * y * z / square),
        back(2 * x * z / square),
    )


def _tapered(cycles: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 up to 0.3 cycles a voxel, a cosine to 0 at 0.5."""
    return np.cos(np.pi / 2 * np.clip((np.abs(cycles) - 0.3) / 0.2, 0, 1)).astype(np.float32)


def static_field(anatomy: Anatomy, seed: int) -> StaticField:
    """Field of an individual and the shim that the scanner would find for it.

    The dipole field and a second-order shim give most of what is seen in vivo. Air cells and vessels finer than
    the anatomy, respiration at rest
    and an imperfect shim do the rest; a few smooth terms (`field_terms`) stand for them, as strong as it takes
    to meet amplitudes drawn by seed.

    Parameters
    ----------
    anatomy : Anatomy
    seed : int

    Returns
    -------
    StaticField
    """
    targets = draw_targets(np.random.default_rng(np.random.SeedSequence(seed)))
    shape, affine = _grid()
    chi = chi_map(anatomy, np.array([t.chi_ppm - AIR_PPM for t in TISSUES]), shape, affine)
    f0, fx, fy = dipole_field(chi, FIELD_STEP_MM)
    points = grid_points(shape, affine)
    weight = _shim_weight(anatomy, points)
    box = np.flatnonzero(weight)
    places = places_of(anatomy, points[box])
    root = np.sqrt(weight[box])[:, None]
    # least squares by its normal matrix: one small inverse serves every round
    solver = np.linalg.pinv(harmonics(points[box]) * root) * root.T

    def evaluate(terms: Terms) -> tuple[NDArray[np.float64], Figures]:
        line = places.line
        field = sample(f0, affine, line.points) + terms.at(line.canonical)
        in_box = f0.ravel()[box] + terms.at(places.box_canonical)
        shim = -solver @ in_box
        shimmed = in_box + shim_field(shim, points[box])
        field = field + shim_field(shim, line.points)
        return field, figures(line, field, shimmed, places)

    terms = fit_terms(evaluate, targets, places.line)
    canonical = np.empty_like(points)
    for part in np.array_split(np.arange(len(points)), 8):
        canonical[part] = anatomy.deformation.to_canonical(points[part])
    f0 = (f0.ravel() + terms.at(canonical)).astype(np.float32).reshape(shape)
    shim = -solver @ f0.ravel()[box]
    return StaticField(affine, f0, fx, fy, shim)


def alternative_shim(static: StaticField, seed: int) -> NDArray[np.float64]:
    """Shim of another sequence of the session: differs by some tens of Hz, smoothly (order 0 to 2)."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    spread = np.array([8.0, 18.0, 18.0, 18.0, 9.0, 9.0, 9.0, 9.0, 9.0])
    return static.shim + rng.uniform(0.4, 1.0, 9) * rng.choice([-1.0, 1.0], 9) * spread


def field_figures(anatomy: Anatomy, static: StaticField) -> dict[str, float]:
    """The figures that the project's facts give for a shimmed head and neck.

    Returns
    -------
    dict
        ``cord_mm``: mean A-P displacement over the cord of C1-C7 in the CoSpine protocol; ``disc_hz``: amplitude
        of the component that repeats
        with the discs, C3-C7; ``t2_mm``: mean displacement at T2; ``frontal_hz``: base of the frontal lobes;
        ``ear_right_hz``, ``ear_left_hz``: above the ear
        canals; ``brain_p95_hz``: 95th percentile of the absolute field in the brain.
    """
    points = grid_points(static.f0.shape, static.affine)
    box = np.flatnonzero(_shim_weight(anatomy, points))
    places = places_of(anatomy, points[box])
    shimmed = static.f0.ravel()[box] + shim_field(static.shim, points[box])
    found = figures(places.line, total_field(static, places.line.points), shimmed, places)
    return {name: float(value) for name, value in vars(found).items()}


def places_of(anatomy: Anatomy, points: NDArray[np.float64]) -> Places:
    """Where the field is looked at, for points (n, 3) of the shim box."""
    line = cord_line(anatomy.deformation)
    return Places(line, anatomy.deformation.to_canonical(points), _nearest(anatomy.brain_mask, anatomy.affine, points))


def _grid() -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    counts = [round((high - low) / FIELD_STEP_MM) + 1 for low, high in FIELD_EXTENT]
    affine = np.diag([FIELD_STEP_MM] * 3 + [1.0])
    affine[:3, 3] = [low for low, _ in FIELD_EXTENT]
    return (counts[2], counts[1], counts[0]), affine


def grid_points(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """RAS mm (n, 3) of all voxels of a (z, y, x) grid."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return np.stack([i, j, k], -1).reshape(-1, 3) @ affine[:3, :3].T + affine[:3, 3]


def _nearest(volume: NDArray, affine: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray:
    index = np.rint((points - affine[:3, 3]) / np.diag(affine)[:3]).astype(int)
    inside = np.all((index >= 0) & (index < volume.shape[::-1]), axis=1)
    out = np.zeros(len(points), volume.dtype)
    out[inside] = volume[tuple(index[inside, ::-1].T)]
    return out


def _shim_weight(anatomy: Anatomy, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the shim box holds: brain, and the canal of the neck that has to count against so much brain."""
    brain = _nearest(anatomy.brain_mask, anatomy.affine, points)
    canal = _nearest(anatomy.canal_mask, anatomy.affine, points) & (points[:, 2] > anatomy.t1_z)
    return brain / max(brain.sum(), 1) + 0.6 * canal / max(canal.sum(), 1)


def sample(volume: NDArray[np.float32], affine: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64]:
    """Trilinear value of a (z, y, x) volume at RAS mm (n, 3)."""
    voxels = (np.asarray(points, float) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    return map_coordinates(volume, voxels.T[::-1], order=1, mode="nearest")


def total_field(static: StaticField, points: ArrayLike) -> NDArray[np.float64]:
    """Shimmed field (Hz) at individual points (n, 3), head at rest."""
    return sample(static.f0, static.affine, points) + shim_field(static.shim, points)
