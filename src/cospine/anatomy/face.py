"""Where the face is in an image of head and neck, so that it can be taken out and brain, cord and neck left as they are.

The template's brain is laid into the image affinely; in its frame everything in front of a line through brow, orbits, palate and
chin is face. The line turns forward again below the jaw, so that the throat stays, and nothing is taken that lies near the
brain (of the head network and of the template, whichever reaches farther) or about the cord.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.bias import correct_bias
from cospine.anatomy.localise import CEREBELLUM_BRAINSTEM, CEREBRUM, Head, find_head, trace_centre_line
from cospine.anatomy.template_fit import BrainFit, fit_template
from cospine.space.distance import distance_to
from cospine.space.grid import Grid
from cospine.space.templates import brain_template

# The front of what stays: y (mm, MNI) at heights z, from the brow down to the throat; above and below there is no face.
_LINE_Z = np.array([-170.0, -145.0, -100.0, -25.0, 0.0, 22.0])
_LINE_Y = np.array([62.0, 50.0, 30.0, 30.0, 52.0, 78.0])
# about the frontal lobe a face ends at the brow, and more can stay than in the orbits below it
_MARGIN_Z, _BRAIN_MARGIN_MM = np.array([-30.0, -10.0]), np.array([6.0, 9.0])
_CORD_MARGIN_MM = 35.0
_LEAST_SIMILARITY = 0.3
_LEAST_BRAIN_ML = 500.0
_LEAST_AGREEMENT = 0.7
_LEAST_EXTENT_MM = 90.0
_BLOCK = 32  # slices worked on at a time


@dataclass(frozen=True)
class Face:
    """The face of an image.

    Parameters
    ----------
    mask : ndarray (x, y, z), bool
        Voxels to take out; empty where no brain was found.
    reason : str
        Why there is none; empty when it was found.
    agreement : float
        Dice of the brain by the head network and by the template's place, 0-1.
    place : Place or None
        For other images in the same world: see :func:`face_of`.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    reason: str = ""
    agreement: float = 0.0
    place: "Place | None" = field(default=None, repr=False)

    @property
    def found(self) -> bool:
        """Whether it is known where the face is."""
        return not self.reason


@dataclass(frozen=True)
class Place:
    """Where in the world the face is.

    Parameters
    ----------
    to_mni : ndarray (4, 4)
        RAS mm of the image to MNI mm.
    keep : ndarray (x, y, z), bool
        Near brain or cord, on `grid`.
    grid : Grid
        3 mm.
    """

    to_mni: NDArray[np.float64]
    keep: NDArray[np.bool_] = field(repr=False)
    grid: Grid


def find_face(t1w: NDArray, grid: Grid) -> Face:
    """Find the face in a T1w.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Head, with or without neck, any orientation.
    grid : Grid
        Its grid.

    Returns
    -------
    Face
        With a reason and no mask where brain and template do not meet: nothing should then be taken out.
    """
    image = np.asarray(t1w, dtype=np.float32)
    nothing = np.zeros(grid.shape, dtype=bool)
    if np.sort(np.array(grid.shape) * grid.voxel_mm)[1] < _LEAST_EXTENT_MM:
        return Face(nothing, "the field of view is too small for a head")
    fit = fit_template(correct_bias(image, grid), grid)
    if fit.similarity < _LEAST_SIMILARITY:
        return Face(nothing, f"nothing resembles a brain (correlation with the template {fit.similarity:.2f})")
    head = find_head(image, grid)
    if head.brain_ml < _LEAST_BRAIN_ML:
        return Face(nothing, f"only {head.brain_ml:.0f} ml of brain were found")
    place, agreement = _place(head, fit)
    if agreement < _LEAST_AGREEMENT:
        return Face(nothing, f"two ways of finding the brain do not agree (Dice {agreement:.2f})", agreement)
    return Face(face_of(place, grid), "", agreement, place)


def face_of(place: Place, grid: Grid) -> NDArray[np.bool_]:
    """The face on any grid of the same world.

    Parameters
    ----------
    place : Place
        As found in a T1w.
    grid : Grid
        Of an image of the same session.

    Returns
    -------
    ndarray (x, y, z), bool
    """
    mask = np.zeros(grid.shape, dtype=bool)
    for begin in range(0, grid.shape[2], _BLOCK):
        index = np.indices((*grid.shape[:2], min(_BLOCK, grid.shape[2] - begin)))
        index[2] += begin
        points = grid.to_ras(np.moveaxis(index, 0, -1))
        mni = points @ place.to_mni[1:3, :3].T + place.to_mni[1:3, 3]  # y and z alone matter
        front = np.interp(mni[..., 1], _LINE_Z, _LINE_Y, right=np.inf)
        keep_at = np.moveaxis(place.grid.to_voxel(points), -1, 0)
        near = ndimage.map_coordinates(place.keep.astype(np.float32), keep_at, order=1, mode="nearest") > 0
        mask[:, :, begin : begin + _BLOCK] = (mni[..., 0] > front) & ~near
    return mask


def _place(head: Head, fit: BrainFit) -> tuple[Place, float]:
    """What must stay, on the network's grid, and how well the two brains agree."""
    grid = head.grid
    seen = head.probability[CEREBRUM] + head.probability[CEREBELLUM_BRAINSTEM] > 0.5
    to_mni = fit.to_t1w.inverse()
    template = brain_template(2)
    points = to_mni.map(grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1)))
    voxel = np.moveaxis(template.grid.to_voxel(points), -1, 0)
    laid = ndimage.map_coordinates(template.mask.astype(np.float32), voxel, order=1, mode="constant") > 0.5
    agreement = 2 * float((seen & laid).sum()) / max(float(seen.sum() + laid.sum()), 1.0)
    keep = distance_to(seen | laid, grid.voxel_mm) <= np.interp(points[..., 2], _MARGIN_Z, _BRAIN_MARGIN_MM)
    line = trace_centre_line(head.probability, grid)
    if line is not None:
        axis = np.zeros(grid.shape, dtype=bool)
        index = np.clip(np.rint(grid.to_voxel(line)).astype(int), 0, np.array(grid.shape) - 1).T
        axis[tuple(index)] = True
        keep |= distance_to(axis, grid.voxel_mm) <= _CORD_MARGIN_MM
    return Place(to_mni.matrix, keep, grid), agreement
