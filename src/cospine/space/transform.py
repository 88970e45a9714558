"""Transforms: points of the output space in, points of the input space out, RAS mm.

All are pull-back maps, as ITK and nitransforms have them: ``map`` takes a point where an output voxel is and
tells where in the input its value is found.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.space.grid import Grid


@dataclass(frozen=True)
class Affine:
    """One affine map for all points.

    Parameters
    ----------
    matrix : ndarray (4, 4)
        Homogeneous, output RAS mm to input RAS mm.
    """

    matrix: NDArray[np.float64]

    def map(self, points: NDArray) -> NDArray[np.float64]:
        """Map points (..., 3) in RAS mm."""
        return np.asarray(points, dtype=np.float64) @ self.matrix[:3, :3].T + self.matrix[:3, 3]


@dataclass(frozen=True)
class SliceShift:
    """What each slice of a volume does on its own: an affine a slice, joined linearly between slice centres.

    The cord's in-plane shifts are one, the head's pose handed over to them another: between two slices the displacement is
    interpolated, beyond the first and last slice it stays what it is there.

    Parameters
    ----------
    grid : Grid
        Grid whose slices these are.
    matrices : ndarray (slices, 4, 4)
        For each slice, output voxel index to input voxel index of `grid`.
    slice_axis : int
        Stored axis along which slices are stacked.
    """

    grid: Grid
    matrices: NDArray[np.float64] = field(repr=False)
    slice_axis: int = 2

    def map(self, points: NDArray) -> NDArray[np.float64]:
        """Map points (..., 3) in RAS mm."""
        voxel = self.grid.to_voxel(points)
        last = len(self.matrices) - 1
        position = np.clip(voxel[..., self.slice_axis], 0, last)
        below = np.minimum(np.floor(position).astype(int), max(last - 1, 0))
        above = np.minimum(below + 1, last)
        part = (position - below)[..., None]

        def displaced(index: NDArray) -> NDArray[np.float64]:
            matrix = self.matrices[index]
            return np.einsum("...ij,...j->...i", matrix[..., :3, :3], voxel) + matrix[..., :3, 3]

        return self.grid.to_ras((1 - part) * displaced(below) + part * displaced(above))


@dataclass(frozen=True)
class Displacement:
    """A field of displacements, linear between its voxels and zero outside.

    Parameters
    ----------
    grid : Grid
        Grid of the field, in the output space.
    vectors : ndarray (x, y, z, 3)
        Displacement in RAS mm: input point = output point + vector.
    """

    grid: Grid
    vectors: NDArray[np.floating] = field(repr=False)

    def map(self, points: NDArray) -> NDArray[np.float64]:
        """Map points (..., 3) in RAS mm."""
        from scipy.ndimage import map_coordinates

        points = np.asarray(points, dtype=np.float64)
        voxel = self.grid.to_voxel(points).reshape(-1, 3).T
        moved = [map_coordinates(self.vectors[..., a], voxel, order=1, mode="constant") for a in range(3)]
        return points + np.stack(moved, axis=-1).reshape(points.shape)


@dataclass(frozen=True)
class Chain:
    """Several transforms, the first one in the list applied to the points first."""

    links: tuple["Transform", ...]

    def map(self, points: NDArray) -> NDArray[np.float64]:
        """Map points (..., 3) in RAS mm."""
        for link in self.links:
            points = link.map(points)
        return np.asarray(points, dtype=np.float64)


Transform = Affine | SliceShift | Displacement | Chain


def rigid_matrix(parameters: NDArray, centre: NDArray) -> NDArray[np.float64]:
    """Rigid push-forward matrix of head motion parameters.

    Parameters
    ----------
    parameters : ndarray (..., 6)
        Translations x, y, z in mm and rotations x, y, z in rad, RAS: p' = R (p - c) + c + t with R = Rz Ry Rx.
    centre : ndarray (3,)
        Point c that rotations turn about, RAS mm.

    Returns
    -------
    ndarray (..., 4, 4)
        Homogeneous matrices.
    """
    parameters = np.asarray(parameters, dtype=np.float64)
    rx, ry, rz = np.moveaxis(parameters[..., 3:], -1, 0)
    cx, sx, cy, sy, cz, sz = np.cos(rx), np.sin(rx), np.cos(ry), np.sin(ry), np.cos(rz), np.sin(rz)
    rotation = np.stack(
        [
            np.stack([cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx], axis=-1),
            np.stack([sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx], axis=-1),
            np.stack([-sy, cy * sx, cy * cx], axis=-1),
        ],
        axis=-2,
    )
    matrix = np.zeros((*parameters.shape[:-1], 4, 4))
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = centre + parameters[..., :3] - rotation @ centre
    matrix[..., 3, 3] = 1
    return matrix


def rigid_parameters(matrix: NDArray, centre: NDArray) -> NDArray[np.float64]:
    """Head motion parameters of rigid push-forward matrices; inverse of :func:`rigid_matrix`.

    Parameters
    ----------
    matrix : ndarray (..., 4, 4)
        Rigid homogeneous matrices.
    centre : ndarray (3,)
        Point that rotations turn about, RAS mm.

    Returns
    -------
    ndarray (..., 6)
        Translations in mm, then rotations in rad.
    """
    rotation = matrix[..., :3, :3]
    rx = np.arctan2(rotation[..., 2, 1], rotation[..., 2, 2])
    ry = np.arcsin(np.clip(-rotation[..., 2, 0], -1, 1))
    rz = np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])
    shift = matrix[..., :3, 3] - centre + rotation @ centre
    return np.concatenate([shift, np.stack([rx, ry, rz], axis=-1)], axis=-1)
