"""Brain and cord in one space: MNI152 above, PAM50 below, which share a world by their headers and 5 mm of anatomy."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.to_pam50 import CordWarp
from cospine.space.cord_template import CordTemplate
from cospine.space.grid import Grid
from cospine.space.transform import Displacement, Transform, sample_field

# Below the first height the map is the cord's, above the second the brain's; the cord's template ends at -66.8 mm.
_JOIN_Z = (-72.0, -60.0)
_COARSE_MM = 3.0
# World of the joint display, mm: right-left, back-front, top. Down to the end of the cord's map.
_DISPLAY = ((-96.0, 96.0), (-132.0, 96.0), 108.0)
# About the join, mm: half width around the cord, and below and above.
_AROUND_MM = 30.0


@dataclass(frozen=True)
class JointSpace:
    """One world for brain and cord of a person.

    Parameters
    ----------
    to_image : Displacement
        Point of the joint world to point of the person's image: the brain's map above, the cord's below, blended between.
    to_pam50 : Displacement
        MNI point to PAM50 point, by way of the person: nothing at all below the join, and what the two maps disagree by above.
    z_mm : ndarray (n,)
        Heights across the join.
    disagreement_mm : ndarray (n,)
        Distance there, in the person's image, between where the brain's map and the cord's send the cord's axis.
    """

    to_image: Displacement
    to_pam50: Displacement
    z_mm: NDArray[np.floating] = field(repr=False)
    disagreement_mm: NDArray[np.floating] = field(repr=False)


def join_pam50_mni(brain: Transform, cord: CordWarp, template: CordTemplate) -> JointSpace:
    """Join a person's maps of brain and cord.

    Parameters
    ----------
    brain : Transform
        MNI point to image point.
    cord : CordWarp
        Of the same image.
    template : CordTemplate
        That the cord was brought to.

    Returns
    -------
    JointSpace
    """

    def blended(points: NDArray) -> NDArray[np.float64]:
        part = np.clip((points[..., 2:] - _JOIN_Z[0]) / (_JOIN_Z[1] - _JOIN_Z[0]), 0, 1)
        part = part * part * (3 - 2 * part)
        return part * brain.map(points) + (1 - part) * (points + sample_field(cord.forward, points))

    (left, right), (back, front), top = _DISPLAY
    display = _lattice((left, back, float(cord.forward.grid.affine[2, 3])), (right, front, top), _COARSE_MM)
    points = _points(display)
    to_image = Displacement(display, (blended(points) - points).astype(np.float32))

    x0, y0 = np.median(template.centre_line[:, :2], axis=0)
    box = _lattice((x0 - _AROUND_MM, y0 - _AROUND_MM, _JOIN_Z[0] - 4), (x0 + _AROUND_MM, y0 + _AROUND_MM, _JOIN_Z[1] + 4), 1.0)
    points = _points(box)
    there = blended(points)
    vectors = there + sample_field(cord.inverse, there) - points
    vectors[points[..., 2] <= _JOIN_Z[0]] = 0

    z = np.arange(_JOIN_Z[1], _JOIN_Z[0] - 0.5, -1.0)
    line = np.stack([np.full(len(z), x0), np.interp(z, template.centre_line[::-1, 2], template.centre_line[::-1, 1]), z], axis=1)
    apart = np.linalg.norm(brain.map(line) - (line + sample_field(cord.forward, line)), axis=1)
    return JointSpace(to_image, Displacement(box, vectors.astype(np.float32)), z, apart)


def _lattice(low: tuple[float, float, float], high: tuple[float, float, float], step: float) -> Grid:
    """A RAS grid from one corner to beyond the other."""
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = low
    shape = np.ceil((np.array(high) - low) / step).astype(int) + 1
    return Grid((shape[0], shape[1], shape[2]), affine)


def _points(grid: Grid) -> NDArray[np.float64]:
    return grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
