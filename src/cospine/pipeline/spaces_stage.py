"""A run in the spaces of others: its reference aligned to the person's anatomy, its series brought to MNI and PAM50.

Everything known of a voxel's place (template, anatomy, alignment, distortion, motion) is composed first; values are
interpolated once, from the stored series.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.epi_to_t1w import EpiAlignment, align_epi
from cospine.anatomy.segmentation import CordSegmentation
from cospine.bids import Run
from cospine.pipeline.anatomy_stage import Anatomy
from cospine.pipeline.settings import Settings
from cospine.space.distance import distance_to
from cospine.space.grid import Grid
from cospine.space.resample import Places, Shift, resample_at
from cospine.space.templates import brain_template
from cospine.space.transform import Transform

logger = logging.getLogger(__name__)

MNI, PAM50 = "MNI152NLin2009aSym", "PAM50"
_MNI_MM = 2
_AROUND_MM = 4.0  # of the template brain that is filled with values
LEAST_HELD = 0.25
"""Share of an interpolated value that must come from the mask: less is extrapolation by more than half a voxel."""


@dataclass(frozen=True)
class Space:
    """A template's space as one run fills it.

    Parameters
    ----------
    name : str
        As in file names.
    grid : Grid
        Of the output.
    covered : ndarray (x, y, z), bool
        Voxels that hold values; the others are 0.
    places : Places
        Where those voxels (in the order of ``np.flatnonzero(covered.ravel(order="F"))``) lie in the run's corrected reference,
        and its distortion there.
    """

    name: str
    grid: Grid
    covered: NDArray[np.bool_] = field(repr=False)
    places: Places = field(repr=False)

    def filled(self, values: NDArray) -> NDArray[np.float32]:
        """Values of the covered voxels (n,) as an image, 0 elsewhere."""
        image = np.zeros(int(np.prod(self.grid.shape)), dtype=np.float32)
        image[self.covered.ravel(order="F")] = values
        return image.reshape(self.grid.shape, order="F")

    def carried(self, image: NDArray, order: int = 1) -> NDArray[np.float32]:
        """An image on the run's corrected grid, in this space."""
        values = ndimage.map_coordinates(np.asarray(image, dtype=np.float32), self.places.voxels.T, order=order, mode="nearest")
        return self.filled(np.asarray(values))

    def carried_within(self, image: NDArray, mask: NDArray[np.bool_], least: float = LEAST_HELD) -> NDArray[np.float32]:
        """A map on the run's corrected grid, in this space, from voxels of a mask alone.

        Linear interpolation over those of the eight neighbours that are in the mask, their weights made to sum to 1 again; NaN
        where they had less than `least` of the weight, and where the space is not covered.
        """
        at, held = self.places.voxels.T, np.asarray(mask & np.isfinite(image), dtype=np.float32)
        weight = np.asarray(ndimage.map_coordinates(held, at, order=1, mode="nearest"))
        values = np.where(held > 0, image, 0).astype(np.float32)
        total = np.asarray(ndimage.map_coordinates(values, at, order=1, mode="nearest"))
        there = weight >= least
        result = np.full(int(np.prod(self.grid.shape)), np.nan, dtype=np.float32)
        result[self.covered.ravel(order="F")] = np.where(there, total / np.where(there, weight, 1), np.nan)
        return result.reshape(self.grid.shape, order="F")

    def bounds(self, series: NDArray) -> tuple[float, float]:
        """Range that no value of a stored series brought here can leave."""
        low, high = min(0.0, float(series.min())), max(0.0, float(series.max()))
        factor = self.places.factor
        largest = 1.0 if factor is None or not len(factor) else float(np.abs(factor).max())
        return low * largest, high * largest

    def volumes(self, series: NDArray, matrices: NDArray) -> Iterator[NDArray[np.float32]]:
        """Each volume of a stored series in this space, from one interpolation."""
        values = np.empty(len(self.places.voxels), dtype=np.float32)
        for t in range(series.shape[3]):
            yield self.filled(resample_at(series[..., t], matrices[t], self.places, out=values))


@dataclass(frozen=True)
class Placement:
    """Where a run lies in its person's anatomy and in the templates.

    Parameters
    ----------
    anatomy : Anatomy
        What it was aligned to.
    alignment : EpiAlignment
        How.
    vertebral, spinal : ndarray (x, y, z), uint8
        Levels of the cord on the run's grid.
    means : mapping of str to (Space, ndarray (x, y, z))
        Each space that the series was brought to, and the mean of its steady volumes there.
    notes : tuple of str
        Spaces left out, and why.
    """

    anatomy: Anatomy
    alignment: EpiAlignment
    vertebral: NDArray[np.uint8] = field(repr=False)
    spinal: NDArray[np.uint8] = field(repr=False)
    means: dict[str, tuple[Space, NDArray[np.float32]]] = field(repr=False, default_factory=dict)
    notes: tuple[str, ...] = ()


def place(
    mean: NDArray, grid: Grid, brain: NDArray[np.bool_], cord: CordSegmentation, anatomy: Anatomy, *, seed: int = 0
) -> Placement:
    """Align the corrected reference of a run to its person's anatomy.

    Parameters
    ----------
    mean : ndarray (x, y, z)
        Temporal mean of the corrected series.
    grid : Grid
        Its grid.
    brain : ndarray (x, y, z), bool
        Brain mask of the run, empty for none.
    cord : CordSegmentation
        Cord of the run.
    anatomy : Anatomy
        Of the person.
    seed : int
        Of the places at which the two are compared.

    Raises
    ------
    CoSpineError
        When the two share neither brain nor cord.
    """
    alignment = align_epi(mean, grid, brain, cord, anatomy.image, anatomy.grid, anatomy.brain.mask, anatomy.cord, seed=seed)
    vertebral, spinal = (
        levels_on(labels, anatomy.grid, alignment.to_t1w, cord.mask, grid) for labels in (anatomy.vertebral, anatomy.spinal)
    )
    return Placement(anatomy, alignment, vertebral, spinal)


def levels_on(
    labels: NDArray[np.uint8], source: Grid, to_source: Transform, mask: NDArray[np.bool_], grid: Grid
) -> NDArray[np.uint8]:
    """Levels of the anatomical image for every voxel of a run's cord: those of the nearest labelled voxel.

    Parameters
    ----------
    labels : ndarray (x, y, z), uint8
        Levels in the cord of the anatomical image, 0 elsewhere.
    source : Grid
        Its grid.
    to_source : Transform
        Point of the run's reference to point of the anatomical image.
    mask : ndarray (x, y, z), bool
        Cord of the run.
    grid : Grid
        Its grid.
    """
    out = np.zeros(grid.shape, dtype=np.uint8)
    held = np.argwhere(labels)
    wanted = np.argwhere(mask)
    if len(held) == 0 or len(wanted) == 0:
        return out
    from scipy.spatial import KDTree

    distance, nearest = KDTree(source.to_ras(held)).query(to_source.map(grid.to_ras(wanted)))
    values = labels[tuple(held[nearest].T)]
    # a cord that goes on where the anatomical image ends has no level there
    values = np.where(distance <= 2 * grid.voxel_mm.max(), values, 0)
    out[tuple(wanted.T)] = values
    return out


def spaces_of(placement: Placement, settings: Settings) -> tuple[dict[str, tuple[Grid, NDArray[np.bool_], Transform]], list[str]]:
    """Template spaces that a run can be brought to, and why not to others.

    Returns
    -------
    spaces : mapping of str to (Grid, mask of the voxels wanted, transform from output point to anatomical point)
    notes : list of str
    """
    anatomy = placement.anatomy
    asked = settings.output_spaces or ("MNI", "PAM50")
    spaces: dict[str, tuple[Grid, NDArray[np.bool_], Transform]] = {}
    notes = []
    if "MNI" in asked:
        if anatomy.to_mni is None:
            notes.append(f"The series was not brought to MNI: {anatomy.brain.reason or 'there is no map to it'}.")
        else:
            template = brain_template(_MNI_MM)
            away = distance_to(template.mask, template.grid.voxel_mm)
            spaces[MNI] = (template.grid, away <= _AROUND_MM, anatomy.to_mni.forward)
    if "PAM50" in asked:
        if anatomy.to_pam50 is None or anatomy.template is None:
            notes.append(f"The series was not brought to PAM50: {anatomy.levels.reason or anatomy.cord.reason}.")
        else:
            grid = anatomy.template.grid
            if settings.pam50_voxel != 0.5:
                grid = coarser(grid, round(settings.pam50_voxel / 0.5))
            low, high = anatomy.to_pam50.covered_z_mm
            z = grid.to_ras(np.stack([np.zeros(grid.shape[2]), np.zeros(grid.shape[2]), np.arange(grid.shape[2])], axis=1))[:, 2]
            wanted = np.broadcast_to((z >= low) & (z <= high), grid.shape)
            spaces[PAM50] = (grid, wanted, anatomy.to_pam50.forward)
    return spaces, notes


def coarser(grid: Grid, factor: int) -> Grid:
    """A grid of `factor` times larger voxels over the same box; each voxel is about the middle of those that it joins."""
    affine = grid.affine.copy()
    affine[:3, :3] *= factor
    affine[:3, 3] = grid.to_ras(np.full(3, (factor - 1) / 2))
    return Grid(tuple(int(np.ceil(n / factor)) for n in grid.shape), affine)  # type: ignore[arg-type]


def in_space(
    name: str, target: tuple[Grid, NDArray[np.bool_], Transform], placement: Placement, run_grid: Grid, distortion: Shift | None
) -> Space:
    """Where a run fills a template's space.

    Parameters
    ----------
    name : str
        Of the space.
    target : tuple
        From :func:`spaces_of`.
    placement : Placement
        Of the run.
    run_grid : Grid
        Of the stored series.
    distortion : Shift or None
        Of the run.
    """
    grid, wanted, to_anatomy = target
    flat = np.flatnonzero(wanted.ravel(order="F"))
    index = np.stack(np.unravel_index(flat, grid.shape, order="F"), axis=1)
    voxels = run_grid.to_voxel(placement.alignment.to_epi.map(to_anatomy.map(grid.to_ras(index)))).astype(np.float32)
    # half a voxel beyond the outermost centres the field of view ends
    inside = np.all((voxels >= -0.5) & (voxels <= np.array(run_grid.shape) - 0.5), axis=1)
    covered = np.zeros(int(np.prod(grid.shape)), dtype=bool)
    covered[flat[inside]] = True
    return Space(name, grid, covered.reshape(grid.shape, order="F"), Places.of(voxels[inside], distortion))


def bring_to_spaces(
    run: Run,
    placement: Placement,
    settings: Settings,
    run_grid: Grid,
    series: NDArray,
    matrices: NDArray,
    distortion: Shift | None,
    dummies: int,
    write: Callable[[Space, Iterator[NDArray[np.float32]]], None],
) -> Placement:
    """Bring a run to every space that is wanted and possible, one after the other and volume by volume, each to be written.

    `write` is called with each space and its volumes as they are made; the mean of the steady ones is kept.
    """
    spaces, notes = spaces_of(placement, settings)
    means = {}
    for name, target in spaces.items():
        space = in_space(name, target, placement, run_grid, distortion)
        if not space.covered.any():
            notes.append(f"The series was not brought to {name}: the field of view holds nothing of it.")
            continue
        total = np.zeros(space.grid.shape, dtype=np.float64, order="F")
        write(space, _summed(space.volumes(series, matrices), total, dummies))
        means[name] = (space, (total / (series.shape[3] - dummies)).astype(np.float32))
    for note in notes:
        logger.warning("%s: %s", run.label, note)
    return replace(placement, means=means, notes=tuple(notes))


def _summed(volumes: Iterator[NDArray[np.float32]], total: NDArray[np.float64], skip: int) -> Iterator[NDArray[np.float32]]:
    """Pass volumes on and add all but the first ones to a total."""
    for number, volume in enumerate(volumes):
        if number >= skip:
            total += volume
        yield volume
