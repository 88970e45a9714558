"""The brain in a T1-weighted image of head and neck: the template brought to it, then the tissue itself decides.

The template's skull-stripped head is laid into the image from many starts below the vertex, aligned affinely and bent
by a coarse registration; its mask says where the brain is to a few millimetres. Brightness of grey and white matter then
moves the border: dura, vessels and scalp hang on by thin bridges, which an opening cuts. The mask ends at the foramen
magnum, on the plane that the template brings along.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.bias import log_bias
from cospine.anatomy.brain_mask import BrainMask
from cospine.register.affine import fit_affine
from cospine.register.diffeomorphic import Elasticity, Level, bend
from cospine.space.distance import distance_to
from cospine.space.grid import Grid
from cospine.space.templates import BrainTemplate, brain_template
from cospine.space.transform import Affine, Chain, from_voxels

_log = logging.getLogger(__name__)

FORAMEN_MNI_Z = -66.8  # where PAM50's cord begins, in the world that it shares with MNI
_COARSE_MM = 4.0
_FINE_MM = 2.0
_THIN_MM = 8.0  # of scalp and dura: brain is thicker
_VERTEX_ABOVE_MNI_ORIGIN_MM = 95.0
_CENTRE_MNI = np.array([0.0, -20.0, 5.0])
_LEAST_EXTENT_MM = 90.0  # a field of view with a smaller second side holds no brain
_LEAST_SIMILARITY = 0.3
_LEAST_ML = 500.0
_BORDER_MM = 1.0
_LEVELS = (Level(4, 20), Level(3, 15))  # of the template's 2 mm
_ELASTICITY = Elasticity(step=0.15, update_variance=6.0, total_variance=3.0)  # what lies about the brain must not draw it out


@dataclass(frozen=True)
class BrainFit:
    """Where the template lies in a T1w.

    Parameters
    ----------
    to_t1w : Affine
        MNI point to T1w point, RAS mm.
    similarity : float
        Correlation of template and image well inside the template's brain, where a body without folds and ventricles has none:
        brains reach 0.5 and more, necks 0.1.
    """

    to_t1w: Affine
    similarity: float


@dataclass(frozen=True)
class T1wBrain(BrainMask):
    """A brain mask of a T1w and what was found with it.

    Parameters
    ----------
    corrected : ndarray (x, y, z), float32
        The T1w without its bias field.
    to_t1w : Affine or None
        MNI point to T1w point, RAS mm; a start for normalisation.
    """

    corrected: NDArray[np.float32] = field(repr=False, kw_only=True)
    to_t1w: Affine | None = field(kw_only=True)


def find_brain_t1w(t1w: NDArray, grid: Grid, coarse: NDArray | None = None) -> T1wBrain:
    """Brain mask of a T1-weighted image.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Head with or without neck, any orientation, defaced or not.
    grid : Grid
        Its grid.
    coarse : ndarray (x, y, z), bool, optional
        A mask that is right to some millimetres and ends at the foramen magnum; found with the template otherwise.

    Returns
    -------
    T1wBrain
        Cerebrum with its ventricles, cerebellum and brainstem down to the foramen magnum. Empty where there is no brain, with
        the reason.
    """
    t1w = np.asarray(t1w, dtype=np.float32)
    corrected = correct_bias(t1w, grid)
    nothing = np.zeros(grid.shape, dtype=bool)
    extent = np.sort(np.array(grid.shape) * grid.voxel_mm)
    if extent[1] < _LEAST_EXTENT_MM:
        reason = f"the field of view is {extent[0]:.0f} x {extent[1]:.0f} x {extent[2]:.0f} mm, a brain does not fit"
        return T1wBrain(nothing, reason, corrected=corrected, to_t1w=None)
    fit = fit_template(corrected, grid)
    if fit.similarity < _LEAST_SIMILARITY:
        reason = f"nothing in the image resembles a brain (correlation with the template {fit.similarity:.2f})"
        return T1wBrain(nothing, reason, corrected=corrected, to_t1w=None)
    if coarse is None:
        coarse = _bent_template_mask(corrected, grid, fit.to_t1w)
    # now that the brain is known to some millimetres, its own bias counts
    corrected = correct_bias(corrected, grid, coarse)
    mask = refine_mask(corrected, grid, coarse)
    volume = mask.sum() * float(np.prod(grid.voxel_mm)) / 1000
    if volume < _LEAST_ML:
        return T1wBrain(nothing, f"the body found has {volume:.0f} ml, too few", corrected=corrected, to_t1w=None)
    return T1wBrain(mask, corrected=corrected, to_t1w=fit.to_t1w)


def correct_bias(t1w: NDArray, grid: Grid, mask: NDArray | None = None) -> NDArray[np.float32]:
    """Receive bias taken out by N4 (Tustison et al., IEEE Trans Med Imaging 2010), estimated at 4 mm.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Image.
    grid : Grid
        Its grid.
    mask : ndarray (x, y, z), bool, optional
        What counts; by default all that is brighter than the background.

    Returns
    -------
    ndarray (x, y, z), float32
        Image over its bias field. The field is 1 on average where the mask is.
    """
    small, small_grid = downsample(np.asarray(t1w, dtype=np.float32), grid, _COARSE_MM)
    if mask is None:
        counts = foreground(small)
    else:
        counts = downsample(np.asarray(mask, dtype=np.float32), grid, _COARSE_MM)[0] > 0.5
    if not counts.any():
        return np.array(t1w, dtype=np.float32)
    # without a brain mask bright fat would lead the fit
    image = np.minimum(small, np.percentile(small[counts], 98)) if mask is None else small
    bias = log_bias(image, small_grid.voxel_mm, counts)
    # outside of the mask the splines are free: there the field is that of the nearest voxel inside
    nearest = np.asarray(ndimage.distance_transform_edt(~counts, return_distances=False, return_indices=True))
    bias = ndimage.gaussian_filter(bias[nearest[0], nearest[1], nearest[2]], 2.0)
    bias -= bias[counts].mean()
    full = _resampled(bias, small_grid, grid)
    return (t1w / np.exp(full)).astype(np.float32)


def foreground(image: NDArray) -> NDArray[np.bool_]:
    """What is brighter than the background: above a sixth of the bright end."""
    positive = image[image > 0]
    if positive.size == 0:
        return np.zeros(image.shape, dtype=bool)
    return np.asarray(image > 0.16 * np.percentile(positive, 90))


def fit_template(t1w: NDArray, grid: Grid) -> BrainFit:
    """Bring the template's brain affinely to a T1w of head and neck.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Without bias.
    grid : Grid
        Its grid.

    Returns
    -------
    BrainFit
        The best of many starts about the place that the vertex points at.
    """
    fine, fine_grid = downsample(t1w, grid, _FINE_MM)
    template = brain_template(2)
    affine = _best_start(*downsample(*_opened(fine, fine_grid), _COARSE_MM), template)
    image, image_grid = downsample(fine, fine_grid, _COARSE_MM)
    index = np.argwhere((_distance_inside(template.mask, template.grid) > 6.0)[::2, ::2, ::2]) * 2
    values = ndimage.gaussian_filter(template.t1, 1.0)[tuple(index.T)]
    clipped = _clipped(image, image_grid, affine)
    similarity = _similarity(affine, template.grid.to_ras(index), values, clipped, image_grid)
    _log.info("template fits with correlation %.2f", similarity)
    return BrainFit(affine, similarity)


def refine_mask(t1w: NDArray, grid: Grid, coarse: NDArray) -> NDArray[np.bool_]:
    """Move the border of a coarse mask to where the brain ends.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Without bias.
    grid : Grid
        Its grid.
    coarse : ndarray (x, y, z), bool
        Right to some millimetres.

    Returns
    -------
    ndarray (x, y, z), bool
        One body without holes, at most 4 mm from the coarse mask's border outside and 5 mm inside.
    """
    # 1 mm is enough for a border and bounds time and memory; of thicker voxels an opening would take whole ones
    window = _window(np.asarray(coarse, dtype=bool), np.ceil(14.0 / grid.voxel_mm).astype(int))
    corner = grid.affine.copy()
    corner[:3, 3] = grid.to_ras(np.array([axis.start for axis in window]))
    cut = Grid(coarse[window].shape, corner)
    image, work = _at_spacing(np.asarray(t1w, dtype=np.float32)[window], cut, _BORDER_MM)
    given = _at_spacing(np.asarray(coarse, dtype=np.float32)[window], cut, _BORDER_MM)[0] > 0.5
    distance = _signed_distance(given, work)  # negative inside
    inside = image[distance < -6.0]
    if inside.size == 0:
        return np.array(coarse, dtype=bool)
    dark, middle, bright = _tissue_levels(inside)
    tissue = (image > dark + 0.3 * (middle - dark)) & (image < bright + 0.9 * (bright - middle)) & (distance < 4.0)
    deep = distance < -5.0
    core = _largest((_distance_inside(tissue | deep, work) > 2.2) & (distance < 3.0))
    body = (distance_to(core, work.voxel_mm) <= 3.0) & (tissue | deep)
    # sulci belong to the mask: close what is narrower than they are
    closed = (_closing(body, work, 6.0) & (distance < 4.0)) | deep
    filled = np.asarray(ndimage.binary_fill_holes(_largest(closed)), dtype=bool)
    # the thin layer of CSF on the gyri belongs to the mask
    filled = ((distance_to(filled, work.voxel_mm) <= 1.0) & (distance < 4.0)).astype(np.float32)
    smooth = _resampled(ndimage.gaussian_filter(filled, 0.7 / work.voxel_mm), work, cut)
    mask = np.zeros(grid.shape, dtype=bool)
    # where the coarse mask ends at the foramen magnum, so does this one
    mask[window] = (smooth > 0.5) & ~_below(np.asarray(coarse, dtype=bool)[window], cut)
    return _largest(mask)


def downsample(image: NDArray, grid: Grid, spacing_mm: float) -> tuple[NDArray[np.float32], Grid]:
    """An image on a coarser lattice of the same orientation, smoothed so that nothing aliases; finer axes stay.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Values.
    grid : Grid
        Their grid.
    spacing_mm : float
        Voxel size to come to, in mm.

    Returns
    -------
    image : ndarray, float32
    grid : Grid
    """
    factor = np.maximum(spacing_mm / grid.voxel_mm, 1.0)
    if np.all(factor < 1.05):
        return np.asarray(image, dtype=np.float32), grid
    shape = np.maximum(np.ceil(np.array(grid.shape) / factor), 1).astype(int)
    offset = (factor - 1) / 2
    smooth = ndimage.gaussian_filter(np.asarray(image, dtype=np.float32), np.where(factor > 1.05, 0.4 * factor, 0.0))
    small = _affine_sampled(smooth, np.diag(factor), offset, tuple(shape.tolist()))
    affine = grid.affine @ np.diag([*factor, 1.0])
    affine[:3, 3] = grid.to_ras(offset)
    return small, Grid(tuple(shape.tolist()), affine)


def _at_spacing(image: NDArray, grid: Grid, spacing_mm: float) -> tuple[NDArray[np.float32], Grid]:
    """An image on a lattice of the same orientation whose voxels are at most so large."""
    coarser, lattice = downsample(image, grid, spacing_mm)
    times = np.ceil(lattice.voxel_mm / spacing_mm - 0.05).astype(int)
    if np.all(times == 1):
        return coarser, lattice
    affine = lattice.affine @ np.diag([*(1 / times), 1.0])
    affine[:3, 3] = lattice.to_ras((1 / times - 1) / 2)
    finer = Grid(tuple((times * lattice.shape).tolist()), affine)
    return _resampled(coarser, lattice, finer), finer


def brought(image: NDArray, grid: Grid, affine: Affine, lattice: Grid) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An image on a lattice after an affine map.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Values.
    grid : Grid
        Their grid.
    affine : Affine
        Point of the lattice to point of the image, RAS mm.
    lattice : Grid
        Where it is brought to.

    Returns
    -------
    moved : ndarray, float32
        Linear, the border continued.
    reached : ndarray, bool
        Voxels of the lattice that fall into the image.
    """
    matrix = grid.inverse @ affine.matrix @ lattice.affine
    voxel = np.moveaxis(np.indices(lattice.shape), 0, -1) @ matrix[:3, :3].T + matrix[:3, 3]
    return _affine_sampled(image, matrix[:3, :3], matrix[:3, 3], lattice.shape), grid.holds(voxel)


def _resampled(image: NDArray, source: Grid, target: Grid) -> NDArray[np.float32]:
    """Values of one grid on another, linear, the border continued."""
    matrix = source.inverse @ target.affine
    return _affine_sampled(image, matrix[:3, :3], matrix[:3, 3], target.shape)


def _affine_sampled(image: NDArray, matrix: NDArray, offset: NDArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.asarray(image, dtype=np.float32)
    # the stubs know a scalar offset only
    sampled = ndimage.affine_transform(values, matrix, offset=offset, output_shape=shape, order=1, mode="nearest")  # pyright: ignore[reportArgumentType]
    return np.asarray(sampled, dtype=np.float32)


def _template_target(template: BrainTemplate) -> tuple[NDArray, NDArray]:
    """What an unstripped image is aligned to: the brain with nothing about it, and the part that counts."""
    rim = distance_to(template.mask, template.grid.voxel_mm) <= 6.0
    return np.where(template.mask, template.t1, 0), rim


def _probe(template: BrainTemplate) -> tuple[NDArray, NDArray]:
    """Points (n, 3) every 4 mm in and about the template's brain, MNI mm, and the template's values there."""
    fixed, rim = _template_target(template)
    smooth = ndimage.gaussian_filter(_opened(fixed, template.grid)[0], 1.0)
    index = np.argwhere(rim[::2, ::2, ::2]) * 2
    return template.grid.to_ras(index), smooth[tuple(index.T)]


def _similarity(affine: Affine, points: NDArray, values: NDArray, image: NDArray, grid: Grid) -> float:
    """Correlation of the template's values with the image's; places outside of the field of view do not count."""
    voxel = grid.to_voxel(affine.map(points)).T
    found = ndimage.map_coordinates(image, voxel, order=1, mode="constant", cval=-1.0)
    seen = found >= 0
    if seen.mean() < 0.4:
        return -1.0
    a, b = values[seen] - values[seen].mean(), found[seen] - found[seen].mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else -1.0


def _clipped(image: NDArray, grid: Grid, to_t1w: Affine) -> NDArray[np.float32]:
    """Image in units of the brain's median about the supposed centre; what is brighter than brain, as fat is, becomes dark.

    The skin's edge would be mistaken for the brain's otherwise, for beyond both it is dark.
    """
    offsets = np.stack(np.meshgrid(*[np.linspace(-35, 35, 11)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    voxel = grid.to_voxel(to_t1w.map(_CENTRE_MNI + np.array([0, 0, 20.0]) + offsets)).T
    level = float(np.median(ndimage.map_coordinates(image, voxel, order=1, mode="nearest")))
    relative = image / max(level, 1e-6)
    return (np.minimum(relative, 1.5) * np.clip((2.0 - relative) / 0.4, 0, 1)).astype(np.float32)


def _opened(image: NDArray, grid: Grid) -> tuple[NDArray[np.float32], Grid]:
    """Image without what is bright and thin: scalp, dura, vessels."""
    size = np.maximum(2 * np.round(_THIN_MM / 2 / grid.voxel_mm) + 1, 1).astype(int)
    return np.asarray(ndimage.grey_opening(image, size=tuple(size.tolist())), dtype=np.float32), grid


def _best_start(image: NDArray, grid: Grid, template: BrainTemplate) -> Affine:
    """Where the brain is: starts over heights, places and pitches below the vertex, the best three refined."""
    from scipy.optimize import minimize

    vertex = _vertex(image, grid)
    points, values = _probe(template)
    points, values = points[::3], values[::3]
    candidates = []
    for drop in (-25.0, 0.0, 25.0, 50.0):
        for forward in (-20.0, 0.0, 20.0):
            for pitch in (-0.35, 0.0, 0.35):
                origin = vertex + np.array([0, forward, -_VERTEX_ABOVE_MNI_ORIGIN_MM + 25.0 - drop]) - _CENTRE_MNI * [0, 1, 0]
                parameters = np.array([*origin, pitch, 0, 0, 0, 0, 0])
                affine = _pose(parameters)
                score = _similarity(affine, points, values, _clipped(image, grid, affine), grid)
                candidates.append((score, parameters))
    candidates.sort(key=lambda candidate: -candidate[0])
    scale = np.array([10.0, 10, 10, 0.1, 0.1, 0.1, 0.06, 0.06, 0.06])
    best = None
    for _, parameters in candidates[:3]:
        clipped = _clipped(image, grid, _pose(parameters))

        def cost(change: NDArray, centre: NDArray = parameters, clipped: NDArray = clipped) -> float:
            # sizes far from the template's are unlikely
            return 0.008 * float(change[6:] @ change[6:]) - _similarity(
                _pose(centre + scale * change), points, values, clipped, grid
            )

        found = minimize(cost, np.zeros(9), method="Powell", options={"maxiter": 6, "xtol": 0.02, "ftol": 1e-4})
        if best is None or found.fun < best[0]:
            best = (found.fun, parameters + scale * found.x)
    assert best is not None
    return _pose(best[1])


def _pose(parameters: NDArray) -> Affine:
    """Affine from the place of MNI's origin, rotations about x, y, z in rad, and logarithms of sizes."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", parameters[3:6]).as_matrix() @ np.diag(np.exp(parameters[6:9]))
    pivot = _CENTRE_MNI
    matrix[:3, 3] = parameters[:3] + pivot - matrix[:3, :3] @ pivot
    return Affine(matrix)


def _vertex(image: NDArray, grid: Grid) -> NDArray[np.float64]:
    """Highest place of the head, its middle taken over the 100 mm below; RAS mm."""
    body = _largest(np.asarray(ndimage.binary_opening(foreground(image)), dtype=bool))
    points = grid.to_ras(np.argwhere(body))
    if len(points) == 0:
        return grid.centre
    top = float(np.percentile(points[:, 2], 99.9))
    head = points[points[:, 2] > top - 100]
    middle = (np.percentile(head[:, :2], 2, axis=0) + np.percentile(head[:, :2], 98, axis=0)) / 2
    return np.array([*middle, top])


def _bent_template_mask(t1w: NDArray, grid: Grid, to_t1w: Affine) -> NDArray[np.bool_]:
    """The template's mask after a coarse registration of the unstripped head."""
    template = brain_template(2)
    image, image_grid = _cropped(*downsample(t1w, grid, _FINE_MM), to_t1w)
    fixed, rim = _template_target(template)
    clipped = _clipped(image, image_grid, to_t1w)
    affine = fit_affine(fixed, template.grid, clipped, image_grid, rim, to_t1w, blurs_mm=(8.0,))
    moved, reached = brought(clipped, image_grid, affine, template.grid)
    _, vectors = bend(fixed, moved, rim & reached, _LEVELS, _ELASTICITY)
    inverse = from_voxels(vectors, template.grid)
    back = Chain((inverse_affine(affine), inverse))
    points = back.map(image_grid.to_ras(np.moveaxis(np.indices(image_grid.shape), 0, -1)))
    voxel = np.moveaxis(template.grid.to_voxel(points), -1, 0)
    soft = ndimage.map_coordinates(template.mask.astype(np.float32), voxel, order=1, mode="constant")
    soft[points[..., 2] < FORAMEN_MNI_Z] = 0
    return _resampled(soft, image_grid, grid) > 0.5


def _cropped(image: NDArray, grid: Grid, to_t1w: Affine) -> tuple[NDArray[np.float32], Grid]:
    """The part of an image that the template's brain and a margin of 15 mm fall into."""
    corners = np.stack(np.meshgrid([-85.0, 85], [-122.0, 90], [-87.0, 97], indexing="ij"), axis=-1).reshape(-1, 3)
    voxel = grid.to_voxel(to_t1w.map(corners))
    low = np.clip(np.floor(voxel.min(axis=0)).astype(int), 0, np.array(grid.shape) - 1)
    high = np.clip(np.ceil(voxel.max(axis=0)).astype(int) + 1, low + 1, grid.shape)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_ras(low)
    part = image[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    return part, Grid(part.shape, affine)


def _window(mask: NDArray, margin: NDArray) -> tuple[slice, slice, slice]:
    """Box about a mask."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    i, j, k = (
        slice(max(axis.start - int(m), 0), min(axis.stop + int(m), n)) for axis, m, n in zip(box, margin, mask.shape, strict=True)
    )
    return i, j, k


def _tissue_levels(values: NDArray) -> tuple[float, float, float]:
    """Typical CSF, grey and white matter of a brain's interior: a mixture of three by k-means in one dimension."""
    values = np.asarray(values, dtype=np.float64)
    centres = np.percentile(values, [3, 35, 80])
    sample = values[:: max(len(values) // 200_000, 1)]
    for _ in range(30):
        label = np.searchsorted((centres[1:] + centres[:-1]) / 2, sample)
        fresh = np.array([np.median(sample[label == n]) if np.any(label == n) else centres[n] for n in range(3)])
        if np.allclose(fresh, centres, rtol=1e-4):
            break
        centres = fresh
    dark, middle, bright = centres.tolist()
    return dark, middle, bright


def inverse_affine(affine: Affine) -> Affine:
    """The affine that undoes another."""
    return Affine(np.asarray(np.linalg.inv(affine.matrix), dtype=np.float64))


def _signed_distance(mask: NDArray, grid: Grid) -> NDArray[np.float32]:
    return distance_to(mask, grid.voxel_mm) - _distance_inside(mask, grid)


def _distance_inside(mask: NDArray, grid: Grid) -> NDArray[np.float32]:
    """Distance to the border; the border of the field of view is none."""
    padded = np.pad(mask, 1, mode="edge")
    return distance_to(~padded, grid.voxel_mm)[1:-1, 1:-1, 1:-1]


def _closing(mask: NDArray, grid: Grid, radius_mm: float) -> NDArray[np.bool_]:
    pad = int(np.ceil(radius_mm / grid.voxel_mm.min())) + 1
    padded = np.pad(mask, pad)
    closed = distance_to(distance_to(padded, grid.voxel_mm) > radius_mm, grid.voxel_mm) > radius_mm
    return closed[pad:-pad, pad:-pad, pad:-pad] | mask


def _largest(mask: NDArray) -> NDArray[np.bool_]:
    labels = np.empty(mask.shape, dtype=np.int32)
    count = ndimage.label(mask, output=labels)
    if count == 0:
        return np.zeros(mask.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == int(np.argmax(sizes))


def _below(mask: NDArray, grid: Grid) -> NDArray[np.bool_]:
    """All that lies under the lowest voxels of a mask, column by column along the axis closest to S, within reach of its end."""
    up, sign = grid.axis_of("S")
    columns = np.moveaxis(mask, up, 0)[::sign]
    lowest = np.flatnonzero(columns.any(axis=(1, 2)))
    below = np.zeros_like(columns)
    if lowest.size:
        below[: lowest[0]] = True
    return np.moveaxis(below[::sign], 0, up)
