"""The cord in a mean BOLD image with axial slices, as cord motion and the report want it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.canal import Canal, find_canal
from cospine.anatomy.segmentation import BOLD_CSF_BRIGHTER, CordSegmentation, no_cord, segment_cord
from cospine.space.grid import Grid

_WEIGHT_RADIUS_MM = 10.0
_WEIGHT_EDGE_MM = 0.8


@dataclass(frozen=True)
class CordMask:
    """Where the cord is.

    Parameters
    ----------
    mask : ndarray (x, y, z), bool
        The cord; empty when none was found, and in slices that show none.
    weight : ndarray (x, y, z), float32
        Soft mask about the cord and its CSF, 0-1: what cord motion is measured in.
    slices : ndarray of int
        Stored slices the cord runs through, ascending.
    centre : ndarray (slices, 2)
        Centre line: in-plane voxel position (in the order of the two in-plane axes) in each of `slices`.
    score : ndarray (slices,)
        Confidence in each of `slices`, 0-1; 0 where the slice itself shows no cord but those above and below do.
    reason : str
        Why there is none, else empty.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    weight: NDArray[np.float32] = field(repr=False)
    slices: NDArray[np.int_] = field(repr=False)
    centre: NDArray[np.float64] = field(repr=False)
    score: NDArray[np.float64] = field(repr=False)
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a cord."""
        return bool(self.mask.any())


def find_cord(mean: NDArray, grid: Grid, brain: NDArray, slice_axis: int = 2) -> CordMask:
    """Cord mask of a mean BOLD volume with axial slices.

    Parameters
    ----------
    mean : ndarray (x, y, z)
        Temporal mean.
    grid : Grid
        Its grid.
    brain : ndarray (x, y, z), bool
        Brain mask, empty where the field of view holds none; its voxels are no cord.
    slice_axis : int
        Stored axis along which slices are stacked.

    Returns
    -------
    CordMask
    """
    if grid.axis_of("S")[0] != slice_axis:
        return _nothing(grid, "slices are not axial: the cord has no cross-section in them")
    if slice_axis != 2:
        return _nothing(grid, f"slices are stacked along voxel axis {'ij'[slice_axis]}; cord motion needs them along k")
    found, canal = segment_bold(mean, grid, np.asarray(brain, dtype=bool))
    if not found.found:
        return _nothing(grid, canal.reason or f"a canal, but no cord in it: {found.reason}")
    return _about(found.mask, found.soft, found.confidence, grid, canal)


def segment_bold(mean: NDArray, grid: Grid, brain: NDArray[np.bool_]) -> tuple[CordSegmentation, Canal]:
    """The cord of a mean BOLD volume, looked for in its canal alone, and that canal; parameters as in `find_cord`."""
    canal = find_canal(mean, grid, brain)
    if canal.reason:
        return no_cord(grid, canal.reason), canal
    return segment_cord(mean, grid, brain, canal.points(grid), csf_brighter=BOLD_CSF_BRIGHTER), canal


def mask_geometry(mask: NDArray, grid: Grid) -> CordMask:
    """Centre line and soft mask of a cord mask that somebody gave.

    Parameters
    ----------
    mask : ndarray (x, y, z)
        Non-zero in the cord.
    grid : Grid
        Its grid, axial slices along the third axis.
    """
    cord = np.asarray(mask) > 0
    if not cord.any():
        return _nothing(grid, "the given cord mask is empty")
    return _about(cord, cord.astype(np.float32), np.asarray(cord.any(axis=(0, 1)), dtype=np.float64), grid)


def _nothing(grid: Grid, reason: str) -> CordMask:
    none = np.zeros(0)
    return CordMask(
        np.zeros(grid.shape, dtype=bool),
        np.zeros(grid.shape, dtype=np.float32),
        none.astype(int),
        none.reshape(0, 2),
        none,
        reason,
    )


def _about(mask: NDArray, soft: NDArray, confidence: NDArray, grid: Grid, canal: Canal | None = None) -> CordMask:
    """Centre line through all slices of the canal, or else from the first to the last with a cord, and the soft mask about it."""
    held = np.flatnonzero(mask.any(axis=(0, 1)))
    seen = np.array([ndimage.center_of_mass(np.where(mask[..., k], soft[..., k], 0)) for k in held])
    if canal is None:
        slices = np.arange(held[0], held[-1] + 1)
        centre = np.column_stack([np.interp(slices, held, seen[:, axis]) for axis in range(2)])
    else:
        order = np.argsort(canal.slices)
        slices, centre = canal.slices[order], canal.centre[order].copy()
        both, rows, places = np.intersect1d(slices, held, return_indices=True)
        if len(both):
            centre[rows] = seen[places]
    weight = np.zeros(grid.shape, dtype=np.float32, order="F")
    rows, columns = np.indices(grid.shape[:2])
    for k, (a, b) in zip(slices, centre, strict=True):
        distance = np.hypot((rows - a) * grid.voxel_mm[0], (columns - b) * grid.voxel_mm[1])
        # the cord, its CSF and the canal's edge, which moves almost as the cord does and tells more of it than the cord alone
        weight[..., k] = 1 / (1 + np.exp((distance - _WEIGHT_RADIUS_MM) / _WEIGHT_EDGE_MM))
    weight[weight < 0.02] = 0
    return CordMask(mask, weight, slices, centre, np.asarray(confidence, dtype=np.float64)[slices])
