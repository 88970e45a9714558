"""Anatomical views of an image in its native axes: closest RAS order, the path of the cord, tiles and strips.

Nothing is resampled to another orientation: axes are permuted and flipped to the closest of right, anterior and
superior, as radiology workstations do for slightly oblique scans.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from scipy import ndimage

AXIS_NAMES = ("left–right", "posterior–anterior", "inferior–superior")
POSITIVE_ENDS = ("right", "anterior", "superior")


@dataclass(frozen=True)
class View:
    """How stored arrays of one grid are turned to the closest RAS axes.

    Attributes
    ----------
    stored_shape : (3,) of int
    stored_affine : (4, 4) array
        Voxel to world (RAS mm) of the stored array.
    codes : (3, 2) array
        For every stored axis: the RAS axis it is closest to, and +1 or -1 (nibabel's orientation).
    affine : (4, 4) array
        Voxel to world of the turned array.
    """

    stored_shape: tuple[int, int, int]
    stored_affine: NDArray[np.float64]
    codes: NDArray[np.float64]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Voxel size along right, anterior, superior, mm."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    def turned(self, stored: NDArray[Any]) -> NDArray[Any]:
        """A stored array (x, y, z) in the closest RAS order (no copy)."""
        return apply_orientation(stored, self.codes)

    def stored_slice(self, superior_index: int) -> tuple[str, int]:
        """Letter of the stored axis closest to superior, and the index stored for one turned slice."""
        axis = int(np.flatnonzero(self.codes[:, 0] == 2)[0])
        size = self.stored_shape[axis]
        index = superior_index if self.codes[axis, 1] > 0 else size - 1 - superior_index
        return "ijk"[axis], index

    def world_mm(self, voxel: tuple[float, float, float]) -> NDArray[np.float64]:
        """World position of a voxel of the turned array, RAS mm."""
        return self.affine[:3, :3] @ np.asarray(voxel, dtype=np.float64) + self.affine[:3, 3]


def view_of(affine: NDArray[np.floating], shape: tuple[int, ...]) -> View:
    """The closest-RAS view of a grid.

    Parameters
    ----------
    affine : (4, 4) array
        Voxel to world, RAS mm.
    shape : at least 3 ints
        Further axes are ignored.
    """
    stored_shape = (int(shape[0]), int(shape[1]), int(shape[2]))
    stored_affine = np.asarray(affine, dtype=np.float64)
    codes = np.asarray(io_orientation(stored_affine), dtype=np.float64)
    turned_affine = stored_affine @ inv_ornt_aff(codes, stored_shape)
    return View(stored_shape, stored_affine, codes, turned_affine)


def anatomical_direction(affine: NDArray[np.floating], axis: int) -> tuple[str, str, int]:
    """Name of the world axis closest to a stored axis, its positive end, and the sign of the stored axis along it.

    Examples
    --------
    >>> anatomical_direction(np.diag([-1.5, 1.5, 4.0, 1.0]), 0)
    ('left–right', 'right', -1)
    """
    world, sign = io_orientation(np.asarray(affine, dtype=np.float64))[axis]
    return AXIS_NAMES[int(world)], POSITIVE_ENDS[int(world)], int(sign)


def cord_path(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Slices that hold the cord, and a smooth centre line over all slices.

    Parameters
    ----------
    mask : (R, A, S) bool array, turned

    Returns
    -------
    slices : (n,) int array
        Superior indices where the mask has voxels, from the top down.
    centres : (S, 2) float array
        Right and anterior index of the centre in every slice, constant beyond the ends of the cord.
    """
    counts = mask.sum(axis=(0, 1))
    present = np.flatnonzero(counts)
    right = np.arange(mask.shape[0]) @ mask.sum(axis=1)[:, present] / counts[present]
    anterior = np.arange(mask.shape[1]) @ mask.sum(axis=0)[:, present] / counts[present]
    every = np.arange(mask.shape[2])
    centres = np.stack([np.interp(every, present, values) for values in (right, anterior)], axis=1)
    return present[::-1], ndimage.gaussian_filter1d(centres, 1.0, axis=0, mode="nearest")


def centre_line(mask: NDArray[np.bool_], *, straight: bool = False) -> NDArray[np.float64]:
    """Where strips cut: along the cord, or straight through the middle of a mask.

    Parameters
    ----------
    mask : (R, A, S) bool array, turned
    straight : bool
        Use the centre of mass in every slice (for the brain, which has no line to follow).

    Returns
    -------
    (S, 2) float array
        Right and anterior index in every slice.
    """
    if not straight:
        return cord_path(mask)[1]
    middle = np.argwhere(mask).mean(axis=0)[:2]
    return np.tile(middle, (mask.shape[2], 1))


def axial_tile(
    volume: NDArray[Any],
    superior: int,
    centre: NDArray[np.float64],
    spacing_mm: NDArray[np.float64],
    half_mm: float,
    pixels: int,
    order: int = 1,
) -> NDArray[np.float32]:
    """A square around a point of one axial slice, rows from anterior to posterior, columns from left to right.

    Parameters
    ----------
    volume : (R, A, S) array, turned
    superior : int
    centre : (2,) array
        Right and anterior index of the middle.
    spacing_mm : (3,) array
    half_mm : float
        Half the side, mm.
    pixels : int
        Pixels along a side.
    order : int
        Spline order; 0 for masks.

    Returns
    -------
    (pixels, pixels) float32 array, zero outside the image
    """
    offsets = (np.arange(pixels) + 0.5) / pixels * 2 * half_mm - half_mm
    right = centre[0] + offsets / spacing_mm[0]
    anterior = centre[1] - offsets / spacing_mm[1]
    where = np.meshgrid(anterior, right, indexing="ij")
    plane = np.asarray(volume[:, :, superior], dtype=np.float32)
    tile = ndimage.map_coordinates(plane, [where[1], where[0]], order=order, mode="constant", cval=0.0)
    return np.asarray(tile, dtype=np.float32)


def curved_sagittal(volume: NDArray[Any], centres: NDArray[np.float64]) -> NDArray[np.float32]:
    """The sagittal sheet that follows the cord left and right: rows from superior to inferior, columns from posterior
    to anterior.

    Parameters
    ----------
    volume : (R, A, S) array, turned
    centres : (S, 2) array
        Right and anterior index of the cord in every slice.
    """
    _, n_anterior, n_superior = volume.shape
    return np.stack([_row(volume[:, :, s], centres[s, 0], 0, n_anterior) for s in range(n_superior)][::-1])


def curved_coronal(volume: NDArray[Any], centres: NDArray[np.float64]) -> NDArray[np.float32]:
    """The coronal sheet that follows the cord front to back: rows from superior to inferior, columns from left to
    right."""
    n_right, _, n_superior = volume.shape
    return np.stack([_row(volume[:, :, s], centres[s, 1], 1, n_right) for s in range(n_superior)][::-1])


def outline(mask: NDArray[np.bool_], left: float, top: float, step_x: float, step_y: float) -> NDArray[np.float64]:
    """Voxel edges that separate inside from outside of a 2-D mask.

    Parameters
    ----------
    mask : (rows, columns) bool array
    left, top : float
        Position of the outer corner of the first pixel.
    step_x, step_y : float
        Size of a pixel; rows run toward larger y.

    Returns
    -------
    (n, 2, 2) float array
        Segments, each from (x, y) to (x, y).
    """
    padded = np.pad(mask.astype(bool), 1)
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = np.stack([columns, rows - 1, columns, rows], axis=1)
    rows, columns = np.nonzero(padded[1:, :] != padded[:-1, :])
    level = np.stack([columns - 1, rows, columns, rows], axis=1)
    edges = np.concatenate([upright, level]).reshape(-1, 2, 2).astype(np.float64)
    return edges * [step_x, step_y] + [left, top]


def tile_outline(
    mask: NDArray[np.bool_], superior: int, centre: NDArray[np.float64], spacing_mm: NDArray[np.float64], tile_mm: float
) -> NDArray[np.float64]:
    """Voxel edges of a mask inside the square of `axial_tile`, in units of its side.

    Parameters
    ----------
    mask : (R, A, S) bool array, turned
    superior : int
    centre : (2,) array
        Right and anterior index of the middle of the tile.
    spacing_mm : (3,) array
    tile_mm : float
        Side of the tile, mm.

    Returns
    -------
    (n, 2, 2) float array
        Segments from (x, y) to (x, y), x to the right, y downward, all inside 0..1.
    """
    step_x, step_y = spacing_mm[0] / tile_mm, spacing_mm[1] / tile_mm
    left = 0.5 - (centre[0] + 0.5) * step_x
    top = 0.5 - (mask.shape[1] - 0.5 - centre[1]) * step_y
    edges = outline(mask[:, ::-1, superior].T, left, top, step_x, step_y)
    return edges[((edges > 0.005) & (edges < 0.98)).all(axis=(1, 2))]


def _row(plane: NDArray[Any], position: float, axis: int, length: int) -> NDArray[np.float32]:
    """One line of an axial plane, linear between the two neighbours of a fractional position along `axis`."""
    size = plane.shape[axis]
    low = int(np.clip(np.floor(position), 0, size - 1))
    high = min(low + 1, size - 1)
    weight = float(np.clip(position - low, 0.0, 1.0))
    near = np.take(plane, low, axis=axis).astype(np.float32)
    far = np.take(plane, high, axis=axis).astype(np.float32)
    line = (1 - weight) * near + weight * far
    return line[:length].astype(np.float32)
