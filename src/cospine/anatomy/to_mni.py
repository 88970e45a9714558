"""T1w to MNI: affine by correlation, then a diffeomorphism by local correlation and mutual information of the stripped brain.

Both metrics, for mutual information keeps local correlation from bending the brain to match folds that do not correspond, taking
what lies below them along; for the same reason it is stiff. The registration is `cospine.register.diffeomorphic`, on a lattice
of 2 mm. Mean error of points in the brain and at named landmarks, mm, of the same digital people, beside antspyx's default SyN
(``cospine simulate --volumes 2 --task pain``, ``--seed 32``, ``--seed 33 --individual-sulci``; `benchmarks/normalisation.py`):

=============================  ==========  ==========
brain                          this        SyN
=============================  ==========  ==========
digital person                 0.36, 0.34  0.67, 0.56
digital person, own folds      0.81, 0.74  1.66, 1.84
=============================  ==========  ==========

The template's lattice is continued downward, so that the warp dies out in the neck and not in the medulla; the cut at the foramen
magnum is hidden from the metric, and so is what the image does not reach.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.bias import correct_bias
from cospine.anatomy.template_fit import FORAMEN_MNI_Z, fit_template
from cospine.errors import CoSpineError
from cospine.register.affine import fit_affine
from cospine.register.diffeomorphic import Elasticity, Level, bend
from cospine.space.distance import distance_to
from cospine.space.grid import Grid
from cospine.space.lattice import brought, downsample
from cospine.space.templates import BrainTemplate
from cospine.space.transform import Affine, Chain, from_voxels, jacobian

_log = logging.getLogger(__name__)

LEVELS = (Level(6, 40), Level(4, 40), Level(2, 40), Level(1, 40))  # at 12, 8, 4 and 2 mm
# stiff, and compared in small cubes: what then still pulls alike over centimetres is anatomy, not folds that do not correspond
_ELASTICITY, _RADIUS = Elasticity(step=0.5, update_variance=24.0, total_variance=10.0), 1
_SPACING_MM = 2.0
_BELOW_MM = 40.0  # how far the lattice goes on below the template
_RIM_MM = 6.0
_CUT_MM = 5.0  # above the foramen magnum: what the two masks cut differently


@dataclass(frozen=True)
class BrainWarp:
    """How a T1w lies in MNI space.

    Parameters
    ----------
    forward : Chain
        MNI point to T1w point, RAS mm: brings images from T1w to MNI. Beyond the template the affine alone.
    inverse : Chain
        T1w point to MNI point.
    affine : Affine
        The affine part of `forward`.
    corrected : ndarray (x, y, z), float32
        The T1w without its bias field.
    jacobian_min : float
        Smallest Jacobian determinant of the warp after the affine's is taken out.
    round_trip_mm : float
        Largest distance after going to T1w and back, over the template's brain.
    seconds : dict of str to float
        Wall time of each step.
    """

    forward: Chain = field(repr=False)
    inverse: Chain = field(repr=False)
    affine: Affine
    corrected: NDArray[np.float32] = field(repr=False)
    jacobian_min: float
    round_trip_mm: float
    seconds: dict[str, float]


def normalise_brain(
    t1w: NDArray,
    grid: Grid,
    mask: NDArray,
    template: BrainTemplate,
    *,
    start: Affine | None = None,
    levels: Sequence[Level] = LEVELS,
) -> BrainWarp:
    """Normalise a T1w to the brain template.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Image.
    grid : Grid
        Its grid.
    mask : ndarray (x, y, z), bool
        Brain down to the foramen magnum.
    template : BrainTemplate
        Skull-stripped, at 1 or 2 mm.
    start : Affine, optional
        MNI point to T1w point, RAS mm; found anew otherwise.
    levels : sequence of Level
        Of the diffeomorphism, on a lattice of 2 mm.

    Returns
    -------
    BrainWarp

    Raises
    ------
    CoSpineError
        When the mask is empty.
    """
    if not mask.any():
        raise CoSpineError("the brain mask is empty", "normalisation to MNI", "give a brain mask or leave out the space MNI")
    seconds: dict[str, float] = {}
    clock = time.perf_counter()
    corrected = correct_bias(t1w, grid, mask)
    seconds["bias"] = time.perf_counter() - clock

    clock = time.perf_counter()
    if start is None:
        start = fit_template(corrected, grid).to_t1w
    fixed, counts, lattice = _target(template)
    brain, brain_grid = downsample(np.where(mask, corrected, 0), grid, _SPACING_MM)
    level = float(np.median(corrected[mask]))
    brain = np.clip(brain / max(level, 1e-6), 0, 2)
    affine = fit_affine(fixed, lattice, brain, brain_grid, counts, start)
    seconds["affine"] = time.perf_counter() - clock

    clock = time.perf_counter()
    moved, reached = brought(brain, brain_grid, affine, lattice)
    both = bend(fixed, moved, counts & reached, levels, _ELASTICITY, radius=_RADIUS)
    warp, back = (from_voxels(vectors, lattice) for vectors in both)
    seconds["warp"] = time.perf_counter() - clock

    clock = time.perf_counter()
    forward = Chain((warp, affine))
    inverse = Chain((affine.inverse(), back))
    points = template.grid.to_ras(np.argwhere(template.mask)[::97])
    round_trip = float(np.linalg.norm(inverse.map(forward.map(points)) - points, axis=-1).max())
    smallest = float(jacobian(warp).min())
    seconds["check"] = time.perf_counter() - clock
    _log.info("normalised to %s: smallest Jacobian %.2f, round trip %.3f mm", template.name, smallest, round_trip)
    return BrainWarp(forward, inverse, affine, corrected, smallest, round_trip, seconds)


def _target(template: BrainTemplate) -> tuple[NDArray, NDArray, Grid]:
    """The template's brain on a lattice of 2 mm that goes on below it, and where it counts."""
    stripped, grid = np.where(template.mask, template.t1, 0).astype(np.float32), template.grid
    every = round(_SPACING_MM / float(grid.voxel_mm[0]))
    if every > 1:
        # every second voxel after smoothing keeps both lattices on the same points
        stripped = ndimage.gaussian_filter(stripped, 0.7)[::every, ::every, ::every]
    mask = template.mask[::every, ::every, ::every]
    affine = grid.affine @ np.diag([every, every, every, 1.0])
    layers = round(_BELOW_MM / _SPACING_MM)
    affine[2, 3] -= layers * _SPACING_MM
    below = ((0, 0), (0, 0), (layers, 0))
    stripped, mask = np.pad(stripped, below), np.pad(mask, below)
    lattice = Grid(stripped.shape, affine)
    counts = distance_to(mask, lattice.voxel_mm) <= _RIM_MM
    height = lattice.to_ras(np.stack([np.zeros(lattice.shape[2])] * 2 + [np.arange(lattice.shape[2])], axis=-1))[:, 2]
    counts &= height > FORAMEN_MNI_Z + _CUT_MM
    return stripped / float(np.median(template.t1[template.mask])), counts, lattice
