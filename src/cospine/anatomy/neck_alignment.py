"""Cord of one image against cord of another, slice by slice: the neck bends between two scans, a head does not.

Each slice of the EPI cuts the cord; so does the same slab through the T1w's cord, once it has been brought there. The shift
between the two centroids, smooth along the cord, is what the neck did.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from cospine.anatomy.segmentation import CordSegmentation
from cospine.register.rigid import TUKEY
from cospine.space.grid import Grid

_SOFT = 0.05  # shares below are noise of the soft mask
_LEAST_AREA = 0.35  # of the median area on the same image: a slice with less is cut off or missed
_SMOOTH_MM = 100.0  # shorter waves than this are taken for noise of the masks: a neck bends over several vertebrae of 15 mm
_ORDER = 3
_LEAST_SLICES = 3
_ROUNDS = 5


@dataclass(frozen=True)
class Centroids:
    """Where slabs of an EPI's slices hold cord.

    Parameters
    ----------
    place : ndarray (slices, 2)
        Voxel position along the two in-plane axes; NaN where there is none.
    weight : ndarray (slices,)
        How far it is to be believed, 0 to 1.
    """

    place: NDArray[np.float64] = field(repr=False)
    weight: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class NeckShift:
    """How the cord of the EPI lies against the T1w's, in the plane of each slice.

    Parameters
    ----------
    slice_axis : int
        Stored axis of the EPI across which the cord was cut.
    slices : ndarray of int
        Stored slices with cord in both images.
    measured_mm : ndarray (slices, 2)
        Centroid in the EPI minus that of the T1w's cord, along the two in-plane axes toward the higher index.
    shift_mm : ndarray (slices, 2)
        The same, smooth along the cord.
    """

    slice_axis: int
    slices: NDArray[np.int_]
    measured_mm: NDArray[np.float64] = field(repr=False)
    shift_mm: NDArray[np.float64] = field(repr=False)

    @property
    def residual_mm(self) -> NDArray[np.float64]:
        """What smoothing left, (slices, 2)."""
        return self.measured_mm - self.shift_mm

    def at(self, height: NDArray) -> NDArray[np.float64]:
        """Smooth shift (n, 2) in mm at positions (n,) along the slice axis; beyond the ends as at the ends."""
        return np.stack([np.interp(height, self.slices, self.shift_mm[:, a]) for a in range(2)], axis=-1)


def measure_neck(epi: CordSegmentation, epi_grid: Grid, t1w_points: NDArray, t1w_shares: NDArray) -> NeckShift | str:
    """Shift of the EPI's cord against the T1w's.

    Parameters
    ----------
    epi : CordSegmentation
        Cord of the EPI.
    epi_grid : Grid
        Its grid.
    t1w_points : ndarray (n, 3)
        Voxels of the T1w's cord, brought to the EPI: RAS mm.
    t1w_shares : ndarray (n,)
        Share of cord of each.

    Returns
    -------
    NeckShift or str
        Or why there is none.
    """
    axis = epi.slice_axis
    index = np.argwhere(epi.soft > _SOFT)
    own = _centroids(index.astype(np.float64), epi.soft[tuple(index.T)], axis, epi_grid.shape[axis])
    other = _centroids(epi_grid.to_voxel(t1w_points), t1w_shares, axis, epi_grid.shape[axis])
    weight = own.weight * other.weight * epi.confidence
    slices = np.flatnonzero(weight > 0)
    if len(slices) < _LEAST_SLICES:
        return f"the cords of EPI and T1w share {len(slices)} slices"
    in_plane = np.delete(epi_grid.voxel_mm, axis)
    measured = (own.place - other.place)[slices] * in_plane
    smooth = _smooth(measured, weight[slices], slices, float(epi_grid.voxel_mm[axis]))
    return NeckShift(axis, slices, measured, smooth)


def cord_points(cord: CordSegmentation, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voxels with cord in them, RAS mm (n, 3), and their shares (n,)."""
    index = np.argwhere(cord.soft > _SOFT)
    shares = cord.soft[tuple(index.T)] * cord.confidence[index[:, cord.slice_axis]]
    return grid.to_ras(index[shares > 0]), shares[shares > 0].astype(np.float64)


def _centroids(voxels: NDArray, shares: NDArray, axis: int, slices: int) -> Centroids:
    """Centroid of weighted points in each slab of one slice's thickness."""
    number = np.rint(voxels[:, axis]).astype(int)
    inside = (number >= 0) & (number < slices)
    number, held = number[inside], shares[inside]
    in_plane = np.delete(voxels[inside], axis, axis=1)
    area = np.bincount(number, held, slices)
    place = np.full((slices, 2), np.nan)
    there = area > 0
    for a in range(2):
        place[there, a] = np.bincount(number, held * in_plane[:, a], slices)[there] / area[there]
    typical = float(np.median(area[there])) if there.any() else 1.0
    weight = np.where(area > _LEAST_AREA * typical, np.minimum(area / typical, 1.0), 0.0)
    return Centroids(np.nan_to_num(place), weight)


def _smooth(values: NDArray, weight: NDArray, slices: NDArray, thickness_mm: float) -> NDArray[np.float64]:
    """Whittaker's smoother (1923; Eilers 2003) on third differences, outliers taken out by Tukey's biweight.

    What it leaves as it is are parabolas: a neck that is bent evenly.
    """
    span = np.arange(slices[0], slices[-1] + 1)
    here = slices - slices[0]
    order = min(_ORDER, len(slices) - 1)
    bend = np.diff(np.eye(len(span)), order, axis=0)
    stiffness = (_SMOOTH_MM / (2 * np.pi * thickness_mm)) ** (2 * order)
    robust = weight.copy()
    smooth = np.zeros((len(span), 2))
    for _ in range(_ROUNDS):
        system = stiffness * bend.T @ bend + 1e-9 * np.eye(len(span))
        right = np.zeros((len(span), 2))
        system[here, here] += robust
        right[here] = robust[:, None] * values
        smooth = linalg.solve(system, right, assume_a="pos")
        left = np.linalg.norm(values - smooth[here], axis=1)
        scale = max(1.4826 * float(np.median(left)), 0.05)
        robust = weight * np.clip(1 - (left / (TUKEY * scale)) ** 2, 0, None) ** 2
        if np.count_nonzero(robust) < order:
            break
    return smooth[here]
