"""The brain template laid into a T1-weighted image of head and neck.

The template's skull-stripped head is tried from many starts below the vertex, aligned affinely, and bent by a coarse
registration: then its mask says where the brain is to a few millimetres.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.bias import foreground
from cospine.register.affine import fit_affine
from cospine.register.diffeomorphic import Elasticity, Level, bend
from cospine.space.connected import largest_part
from cospine.space.distance import depth_in, distance_to
from cospine.space.grid import Grid
from cospine.space.lattice import brought, downsample, resampled
from cospine.space.templates import BrainTemplate, brain_template
from cospine.space.transform import Affine, Chain, from_voxels

_log = logging.getLogger(__name__)

FORAMEN_MNI_Z = -66.8  # where PAM50's cord begins, in the world that it shares with MNI
_COARSE_MM, _FINE_MM = 4.0, 2.0
_THIN_MM = 8.0  # of scalp and dura: brain is thicker
_VERTEX_ABOVE_MNI_ORIGIN_MM = 95.0
_CENTRE_MNI = np.array([0.0, -20.0, 5.0])
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
    index = np.argwhere((depth_in(template.mask, template.grid.voxel_mm) > 6.0)[::2, ::2, ::2]) * 2
    values = ndimage.gaussian_filter(template.t1, 1.0)[tuple(index.T)]
    clipped = _clipped(image, image_grid, affine)
    similarity = _similarity(affine, template.grid.to_ras(index), values, clipped, image_grid)
    _log.info("template fits with correlation %.2f", similarity)
    return BrainFit(affine, similarity)


def bent_template_mask(t1w: NDArray, grid: Grid, to_t1w: Affine) -> NDArray[np.bool_]:
    """The template's mask after a coarse registration of the unstripped head.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Without bias.
    grid : Grid
        Its grid.
    to_t1w : Affine
        Where the template lies, see `fit_template`.

    Returns
    -------
    ndarray (x, y, z), bool
        Right to some millimetres, down to the foramen magnum.
    """
    template = brain_template(2)
    image, image_grid = _cropped(*downsample(t1w, grid, _FINE_MM), to_t1w)
    fixed, rim = _template_target(template)
    clipped = _clipped(image, image_grid, to_t1w)
    affine = fit_affine(fixed, template.grid, clipped, image_grid, rim, to_t1w, blurs_mm=(8.0,))
    moved, reached = brought(clipped, image_grid, affine, template.grid)
    _, vectors = bend(fixed, moved, rim & reached, _LEVELS, _ELASTICITY)
    inverse = from_voxels(vectors, template.grid)
    back = Chain((affine.inverse(), inverse))
    points = back.map(image_grid.to_ras(np.moveaxis(np.indices(image_grid.shape), 0, -1)))
    voxel = np.moveaxis(template.grid.to_voxel(points), -1, 0)
    soft = ndimage.map_coordinates(template.mask.astype(np.float32), voxel, order=1, mode="constant")
    soft[points[..., 2] < FORAMEN_MNI_Z] = 0
    return resampled(soft, image_grid, grid) > 0.5


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
    body = largest_part(np.asarray(ndimage.binary_opening(foreground(image)), dtype=bool))
    points = grid.to_ras(np.argwhere(body))
    if len(points) == 0:
        return grid.centre
    top = float(np.percentile(points[:, 2], 99.9))
    head = points[points[:, 2] > top - 100]
    middle = (np.percentile(head[:, :2], 2, axis=0) + np.percentile(head[:, :2], 98, axis=0)) / 2
    return np.array([*middle, top])


def _cropped(image: NDArray, grid: Grid, to_t1w: Affine) -> tuple[NDArray[np.float32], Grid]:
    """The part of an image that the template's brain and a margin of 15 mm fall into."""
    corners = np.stack(np.meshgrid([-85.0, 85], [-122.0, 90], [-87.0, 97], indexing="ij"), axis=-1).reshape(-1, 3)
    voxel = grid.to_voxel(to_t1w.map(corners))
    low = np.clip(np.floor(voxel.min(axis=0)).astype(int), 0, np.array(grid.shape) - 1)
    high = np.clip(np.ceil(voxel.max(axis=0)).astype(int) + 1, low + 1, grid.shape)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return image[i, j, k], grid.part((i, j, k))
