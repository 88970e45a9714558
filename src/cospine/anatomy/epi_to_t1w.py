"""From a person's T1w to a run's corrected reference: the head rigidly, the scanner's bent gradients, the neck by its cord.

1. The head: mutual information in and about the brain from many starts, then local correlation inside of it.
2. T1w images are corrected for the non-linearity of the gradients, EPI mostly are not: a field of third order about the
   isocentre, odd along its own axis and even across it (Janke et al. 2004, Magn Reson Med 52:115-122), fitted along. It goes
   on into the neck, where there is no brain to measure it.
3. The neck bends between the two scans: slice by slice the cord of the EPI is laid on that of the T1w.
4. Both pass smoothly into each other over the brainstem; the whole is one field of displacements after one rigid map.
"""

import logging
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from cospine.anatomy.neck_alignment import NeckShift, cord_points, measure_neck
from cospine.anatomy.segmentation import CordSegmentation
from cospine.errors import CoSpineError
from cospine.register.information import Comparison, compare
from cospine.register.local_correlation import Patches, fit_patches, patches
from cospine.space.distance import distance_to
from cospine.space.grid import Grid
from cospine.space.lattice import window_about
from cospine.space.transform import Affine, Chain, Displacement, inverse_displacement, jacobian, rigid_matrix

logger = logging.getLogger(__name__)

_STARTS_MM, _STARTS_RAD = 10.0, np.deg2rad(10.0)
_COARSE, _MIDDLE = (8.0, 3_000), (4.0, 15_000)  # blur (FWHM, mm), points compared
_KEPT_STARTS = 3
_SPARSE_MM = 20.0  # between patches, while poses are still being compared
_FINE_MM = (3.0, 2.0)
_AROUND_MM, _RIM_MM = 5.0, 3.0  # the brain's surroundings help to find it, its rim misleads when it matters
_LEAST_ML = 100.0
_LEAST_INSIDE = 0.3
_PER_MM = 60.0  # mm at which a rad counts like a mm
_RADIUS_MM = 140.0  # at which coefficients of the gradients' field are given
_WARP_SD_MM = 1.5
_STIFF_MM = 0.01  # the same while poses are still being compared
_FARTHEST_MM = 150.0  # beyond it the third order would run away
_ABOVE_MM, _BELOW_MM = 8.0, 16.0  # head passes into neck from this far above to this far below the brain's lowest slice
_FIELD_MM = 4.0
_MARGIN_MM = 12.0
_CROP_MM = 20.0
_LEAST_PATCHES = 30
_SURFACE_STEP = 20
_STEP = 1e-5  # rad and mm, for derivatives of rigid matrices
_UNIT = np.r_[1.0, 1, 1, np.full(3, 1 / _PER_MM), np.ones(9)]


@dataclass(frozen=True)
class Fit:
    """How well the two images agree, before (scanner space) and after.

    Parameters
    ----------
    information : tuple of float
        Mutual information in and about the brain, nats.
    correlation : tuple of float
        Root mean square of the local correlation inside the brain.
    contour_mm : tuple of float
        Median distance of the T1w's brain surface, brought to the EPI, from the EPI's.
    slices : ndarray of int
        Stored EPI slices with cord in both images.
    before_mm, after_mm : ndarray (slices, 2)
        Centroid of the cord in the EPI minus that of the T1w's cord, in-plane: after the head's alignment alone, and after all.
    smallest_jacobian : float
        Of the map from T1w to EPI.
    """

    information: tuple[float, float] = (0.0, 0.0)
    correlation: tuple[float, float] = (0.0, 0.0)
    contour_mm: tuple[float, float] = (np.nan, np.nan)
    slices: NDArray[np.int_] = field(repr=False, default_factory=lambda: np.zeros(0, dtype=int))
    before_mm: NDArray[np.float64] = field(repr=False, default_factory=lambda: np.zeros((0, 2)))
    after_mm: NDArray[np.float64] = field(repr=False, default_factory=lambda: np.zeros((0, 2)))
    smallest_jacobian: float = 1.0


@dataclass(frozen=True)
class EpiAlignment:
    """Where a run's corrected reference lies in the person's T1w.

    Parameters
    ----------
    to_epi : Chain
        T1w point to point of the undistorted reference, RAS mm: one affine, then one displacement.
    to_t1w : Chain
        Its inverse.
    rigid : ndarray (4, 4)
        The head's part, T1w to EPI.
    warp : ndarray (3, 3)
        Gradient non-linearity: mm along each axis (rows) at 140 mm, per squared coordinate along each axis (columns).
    regions : tuple of str
        What was aligned: ``brain``, ``cord``.
    fit : Fit
        How well.
    reason : str
        What could not be aligned and why, else empty.
    """

    to_epi: Chain = field(repr=False)
    to_t1w: Chain = field(repr=False)
    rigid: NDArray[np.float64]
    warp: NDArray[np.float64]
    regions: tuple[str, ...]
    fit: Fit = field(repr=False)
    reason: str = ""


def align_epi(
    boldref: NDArray,
    grid: Grid,
    brain: NDArray,
    cord: CordSegmentation,
    t1w: NDArray,
    t1w_grid: Grid,
    t1w_brain: NDArray,
    t1w_cord: CordSegmentation,
    *,
    seed: int = 0,
) -> EpiAlignment:
    """Align a run's corrected reference to the T1w of the same person.

    Parameters
    ----------
    boldref : ndarray (x, y, z)
        Mean of the corrected series, undistorted where that was possible.
    grid : Grid
        Its grid, any orientation.
    brain : ndarray (x, y, z), bool
        Brain of the EPI, empty for none.
    cord : CordSegmentation
        Cord of the EPI.
    t1w, t1w_grid, t1w_brain, t1w_cord
        The same of the T1w.
    seed : int
        Of the places at which the two are compared.

    Returns
    -------
    EpiAlignment

    Raises
    ------
    CoSpineError
        When the images share neither brain nor cord.
    """
    boldref, t1w = np.asarray(boldref, dtype=np.float32), np.asarray(t1w, dtype=np.float32)
    brain, t1w_brain = np.asarray(brain, dtype=bool), np.asarray(t1w_brain, dtype=bool)
    reasons: list[str] = []
    parameters, centre, fit = np.zeros(15), grid.centre, Fit()
    regions: list[str] = []
    missing = _without_brain(brain, grid, t1w_brain, t1w_grid)
    if missing:
        reasons.append(missing)
    else:
        centre = t1w_grid.to_ras(np.argwhere(t1w_brain)[::50].mean(axis=0))
        parameters, fit, missing = _align_head(boldref, grid, brain, t1w, t1w_grid, t1w_brain, centre, seed)
        if missing:
            reasons.append(missing)
        else:
            regions.append("brain")
    has_brain = bool(regions)
    neck = None
    if not (cord.found and t1w_cord.found):
        absent = [f"the {name} shows no cord{f' ({one.reason})' if one.reason else ''}"
                  for name, one in (("EPI", cord), ("T1w", t1w_cord)) if not one.found]  # fmt: skip
        reasons.append("; ".join(absent))
    else:
        points, shares = cord_points(t1w_cord, t1w_grid)
        found = measure_neck(cord, grid, _landing(points, parameters, centre)[0], shares)
        if isinstance(found, str):
            reasons.append(found)
        else:
            neck = found
            regions.append("cord")
            if not has_brain:
                reasons.append("along the cord the header alone says where it lies")
    if not regions:
        raise CoSpineError(
            f"EPI and T1w cannot be aligned: {'; '.join(reasons)}",
            "BOLD to T1w",
            "check that both show the same person, or give masks with --overrides or --cord-mask",
        )
    share = _head_share(grid, brain if has_brain else np.zeros_like(brain), neck)
    to_epi, to_t1w, least = _one_map(parameters, centre, neck, share, grid, t1w_grid)
    fit = replace(fit, smallest_jacobian=least)
    if neck is not None:
        after = measure_neck(cord, grid, to_epi.map(points), shares)
        slices, left = (neck.slices, neck.residual_mm) if isinstance(after, str) else (after.slices, after.measured_mm)
        fit = replace(fit, slices=slices, before_mm=_rows(neck, slices), after_mm=left)
    return EpiAlignment(
        to_epi,
        to_t1w,
        rigid_matrix(parameters[:6], centre),
        parameters[6:].reshape(3, 3),
        tuple(regions),
        fit,
        "; ".join(reasons),
    )


def _rows(neck: NeckShift, slices: NDArray) -> NDArray[np.float64]:
    """What was measured before, for the slices that were measured after."""
    return np.stack([np.interp(slices, neck.slices, neck.measured_mm[:, a]) for a in range(2)], axis=-1)


# --- head -----------------------------------------------------------------------------------------------------------


def _without_brain(brain: NDArray, grid: Grid, t1w_brain: NDArray, t1w_grid: Grid) -> str:
    """Why there is no brain to align, else empty."""
    for name, mask, own in (("EPI", brain, grid), ("T1w", t1w_brain, t1w_grid)):
        held = mask.sum() * float(np.prod(own.voxel_mm)) / 1000
        if held < _LEAST_ML:
            return f"the {name} shows {held:.0f} ml of brain, too little to align"
    return ""


def _align_head(
    boldref: NDArray, grid: Grid, brain: NDArray, t1w: NDArray, t1w_grid: Grid, t1w_brain: NDArray, centre: NDArray, seed: int
) -> tuple[NDArray[np.float64], Fit, str]:
    """Rigid parameters and those of the gradients' field (15,), how well, and why not where it failed."""
    t1w, t1w_brain, t1w_grid = _cropped(t1w, t1w_brain, t1w_grid)
    distance = distance_to(t1w_brain, t1w_grid.voxel_mm)
    around = distance <= _AROUND_MM
    coarse, middle = (
        compare(t1w, t1w_grid, boldref, grid, _spread(around, t1w_grid, count, seed), blur_mm=blur)
        for blur, count in (_COARSE, _MIDDLE)
    )
    tried = [_climb(coarse, centre, start, 12) for start in _starts(brain, grid, centre)]
    best = sorted(tried, key=lambda found: -found[1])[:_KEPT_STARTS]
    header = np.zeros(15)
    inner = distance_to(~t1w_brain, t1w_grid.voxel_mm) > _RIM_MM
    prior = np.r_[np.full(6, np.inf), np.full(9, _WARP_SD_MM)]
    # what is alike over the whole head may still lie askew: folds and ventricles decide between the poses
    level = patches(t1w, t1w_grid, boldref, grid, inner, blur_mm=_MIDDLE[0], spacing_mm=_SPARSE_MM, seed=seed)
    full, reached = header, 0.0
    for start in [header[:6], *(_climb(middle, centre, start, 40)[0] for start, _ in best)]:
        one = np.r_[start, np.zeros(9)]
        if len(level.own) >= _LEAST_PATCHES:
            one, squared = fit_patches(
                level,
                lambda points, given: _landing(points, given, centre),
                one,
                np.r_[prior[:6], np.full(9, _STIFF_MM)],
                _UNIT,
                steps=5,
            )
        else:
            squared = middle.information(_landing(middle.points, one, centre)[0])[0]
        if squared > reached:
            full, reached = one, squared
    before = middle.information(middle.points)[0]
    inside = middle.information(_landing(middle.points, full, centre)[0])[2]
    if reached <= 0 or inside < _LEAST_INSIDE:
        return header, Fit(), "the brain of the EPI was not found in the T1w"
    correlation = (np.nan, np.nan)
    for blur in _FINE_MM:
        level = patches(t1w, t1w_grid, boldref, grid, inner, blur_mm=blur, seed=seed)
        level = _in_view(level, full, centre)
        if len(level.own) < _LEAST_PATCHES:
            break
        full, _ = fit_patches(level, lambda points, given: _landing(points, given, centre), full, prior, _UNIT)
        points = level.points.reshape(-1, 3)
        correlation = tuple(
            float(np.sqrt((level.correlation(_landing(points, one, centre)[0]) ** 2).mean())) for one in (header, full)
        )
    after = middle.information(_landing(middle.points, full, centre)[0])[0]
    surface = t1w_grid.to_ras(np.argwhere(t1w_brain & (ndimage.binary_erosion(t1w_brain) == 0))[::_SURFACE_STEP])
    contour = tuple(_contour_mm(_landing(surface, one, centre)[0], brain, grid) for one in (header, full))
    return full, Fit((before, after), (correlation[0], correlation[1]), (contour[0], contour[1])), ""


def _cropped(t1w: NDArray, brain: NDArray, grid: Grid) -> tuple[NDArray, NDArray, Grid]:
    """The T1w about its brain: all that the head's alignment looks at."""
    window = window_about(brain, _CROP_MM, grid)
    return t1w[window], brain[window], grid.part(window)


def _starts(brain: NDArray, grid: Grid, centre: NDArray) -> list[NDArray[np.float64]]:
    """Poses to begin with: that of the scanner and that which lays one brain's middle on the other's, each moved and turned."""
    apart = grid.to_ras(np.argwhere(brain)[::50].mean(axis=0)) - centre
    moved = np.diag(np.repeat([_STARTS_MM, _STARTS_RAD], 3))
    about = [np.zeros(6), *moved, *-moved]
    return [np.r_[base, np.zeros(3)] + off for base in (np.zeros(3), apart) for off in about]


def _spread(mask: NDArray, grid: Grid, count: int, seed: int) -> NDArray[np.float64]:
    """At most `count` points (RAS mm) spread over a mask, between the voxels so that no lattice is preferred."""
    index = np.argwhere(mask)
    index = index[np.unique(np.linspace(0, len(index) - 1, min(count, len(index))).astype(int))]
    return grid.to_ras(index + np.random.default_rng(seed).uniform(-0.5, 0.5, index.shape))


def _climb(given: Comparison, centre: NDArray, start: NDArray, steps: int) -> tuple[NDArray[np.float64], float]:
    """Rigid parameters (6,) of greatest mutual information uphill from a start, and that information."""
    from scipy.optimize import minimize

    unit = _UNIT[:6]

    def cost(scaled: NDArray) -> tuple[float, NDArray]:
        landed, derivative = _landing(given.points, np.r_[scaled * unit, np.zeros(9)], centre)
        found, forces, inside = given.information(landed)
        if inside < _LEAST_INSIDE:
            return 0.0, np.zeros(6)
        return -found, -np.einsum("na,nam->m", forces, derivative[..., :6]) * unit

    found = minimize(cost, start / unit, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": 1e-8})
    return found.x * unit, -float(found.fun)


def _landing(points: NDArray, parameters: NDArray, centre: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where T1w points land under head pose and gradients' field, and the derivative (n, 3, 15) by the parameters."""
    turned = Affine(rigid_matrix(parameters[:6], centre)).map(points)
    basis = _gradient_basis(turned)
    derivative = np.empty((len(points), 3, 15))
    for p in range(6):
        step = np.zeros(6)
        step[p] = _STEP
        slope = (rigid_matrix(parameters[:6] + step, centre) - rigid_matrix(parameters[:6] - step, centre)) / (2 * _STEP)
        # the field's own change with the pose is of second order
        derivative[..., p] = points @ slope[:3, :3].T + slope[:3, 3]
    derivative[..., 6:] = basis
    return turned + basis @ parameters[6:], derivative


def _gradient_basis(points: NDArray) -> NDArray[np.float64]:
    """Third-order fields (n, 3, 9) at scanner points: along each axis its coordinate times each one's square, 1 mm at 140 mm."""
    near = np.clip(points, -_FARTHEST_MM, _FARTHEST_MM) / _RADIUS_MM
    basis = np.zeros((len(near), 3, 9))
    for axis in range(3):
        basis[:, axis, 3 * axis : 3 * axis + 3] = near[:, axis, None] * near**2
    return basis


def _in_view(given: Patches, parameters: NDArray, centre: NDArray) -> Patches:
    """The patches that land wholly inside of the moving image."""
    voxel = given.grid.to_voxel(_landing(given.points.reshape(-1, 3), parameters, centre)[0]).reshape(given.points.shape)
    inside = given.grid.holds(voxel).all(axis=1)
    return replace(given, points=given.points[inside], own=given.own[inside])


def _contour_mm(surface: NDArray, brain: NDArray, grid: Grid) -> float:
    """Median distance of points of the T1w's brain surface from the EPI's, where they lie inside of the EPI's view."""
    voxel = grid.to_voxel(surface)
    voxel = voxel[np.all((voxel >= 1) & (voxel <= np.array(grid.shape) - 2), axis=1)]
    if not len(voxel):
        return float("nan")
    rim = np.argwhere(brain & (ndimage.binary_erosion(brain, border_value=1) == 0))
    return float(np.median(spatial.KDTree(grid.to_ras(rim)).query(grid.to_ras(voxel))[0]))


# --- neck, and the whole --------------------------------------------------------------------------------------------


def _head_share(grid: Grid, brain: NDArray, neck: NeckShift | None) -> NDArray[np.float64]:
    """How much each EPI slice along the cord takes from the head rather than the cord, (slices,)."""
    if neck is None:
        return np.zeros(0)
    axis = neck.slice_axis
    slices = np.arange(grid.shape[axis])
    if not brain.any():
        return np.zeros(len(slices))
    up, sign = grid.axis_of("S")
    held = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
    lowest = held.min() if sign > 0 or up != axis else held.max()
    height = (slices - lowest) * sign * float(grid.voxel_mm[axis])
    part = np.clip((height + _BELOW_MM) / (_ABOVE_MM + _BELOW_MM), 0, 1)
    return part * part * (3 - 2 * part)


def _one_map(
    parameters: NDArray, centre: NDArray, neck: NeckShift | None, share: NDArray, grid: Grid, t1w_grid: Grid
) -> tuple[Chain, Chain, float]:
    """The map and its inverse, each an affine and one field of displacements in the EPI's world; and the least Jacobian."""
    rigid = rigid_matrix(parameters[:6], centre)
    box = _box(np.vstack([grid.to_ras(_corners(grid)), Affine(rigid).map(t1w_grid.to_ras(_corners(t1w_grid)))]))
    points = box.to_ras(np.moveaxis(np.indices(box.shape), 0, -1).reshape(-1, 3))
    moved = _gradient_basis(points) @ parameters[6:]
    if neck is not None:
        height = grid.to_voxel(points + moved)[:, neck.slice_axis]
        directions = np.delete(grid.affine[:3, :3] / grid.voxel_mm, neck.slice_axis, axis=1)
        follows = 1 - np.interp(height, np.arange(len(share)), share)
        moved += follows[:, None] * neck.at(height) @ directions.T
    there = Displacement(box, moved.reshape(*box.shape, 3).astype(np.float32))
    back, _ = inverse_displacement(there, box)
    return (
        Chain((Affine(rigid), there)),
        Chain((back, Affine(rigid).inverse())),
        float(jacobian(there).min()),
    )


def _corners(grid: Grid) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(*[(0, n - 1) for n in grid.shape], indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float64)


def _box(points: NDArray) -> Grid:
    """Upright grid that holds the points and a margin."""
    low, high = points.min(axis=0) - _MARGIN_MM, points.max(axis=0) + _MARGIN_MM
    affine = np.diag([_FIELD_MM, _FIELD_MM, _FIELD_MM, 1.0])
    affine[:3, 3] = low
    i, j, k = (int(n) for n in np.ceil((high - low) / _FIELD_MM) + 1)
    return Grid((i, j, k), affine)
