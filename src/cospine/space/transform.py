"""Transforms: points of the output space in, points of the input space out, RAS mm.

All are pull-back maps, as ITK and nitransforms have them: ``map`` takes a point where an output voxel is and
tells where in the input its value is found.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.space.grid import Grid

# Voxels along the shortest side from which the way back of a field is first looked for on a coarser grid.
_WORTH_HALVING = 24


@dataclass(frozen=True)
class Affine:
    """One affine map for all points.

    Parameters
    ----------
    matrix : ndarray (4, 4)
        Homogeneous, output RAS mm to input RAS mm.
    """

    matrix: NDArray[np.float64]

    def inverse(self) -> "Affine":
        """The map that undoes it."""
        return Affine(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

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


def from_voxels(vectors: NDArray, grid: Grid) -> Displacement:
    """A field whose vectors (x, y, z, 3) are in voxels of its grid."""
    return Displacement(grid, (vectors @ grid.affine[:3, :3].T).astype(np.float32))


def sample_field(displacement: Displacement, points: NDArray) -> NDArray[np.float64]:
    """Displacements at points (..., 3) in RAS mm; beyond the rim of the field those at the rim, so that nothing jumps there."""
    from scipy.ndimage import map_coordinates

    voxel = displacement.grid.to_voxel(points).reshape(-1, 3).T
    found = [map_coordinates(displacement.vectors[..., a], voxel, order=1, mode="nearest") for a in range(3)]
    return np.stack(found, axis=-1).reshape(np.shape(points)).astype(np.float64)


def inverse_displacement(
    displacement: Displacement, grid: Grid, tolerance_mm: float = 1e-3, most_steps: int = 60
) -> tuple[Displacement, NDArray[np.float64]]:
    """The way back of a field of displacements.

    A fixed point, x <- x + A^-1 (y - f(x)), where A is the affine map closest to the field f: it converges where the field
    bends less than A does (after Christensen & Johnson 2001), even when the two spaces are far apart.

    Parameters
    ----------
    displacement : Displacement
        Map f of output points x to input points y. Beyond its rim the displacements at the rim go on.
    grid : Grid
        Grid in the input space for the field that is returned.
    tolerance_mm : float
        Length of y - f(x) at which a voxel is done.
    most_steps : int
        Iterations after which what has not converged is left as it is.

    Returns
    -------
    Displacement
        On `grid`: input point to output point.
    ndarray (x, y, z)
        Length of y - f(x) that is left in each voxel, mm.
    """
    linear, middle_source, middle_target = _closest_affine(displacement)
    back = np.linalg.inv(linear)
    wanted = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3))
    if min(grid.shape) >= _WORTH_HALVING:
        # most of the way on a grid with an eighth of the voxels
        coarse = Grid(tuple(n // 2 + 1 for n in grid.shape), grid.affine @ np.diag([2.0, 2, 2, 1]))  # type: ignore[arg-type]
        found = wanted + sample_field(inverse_displacement(displacement, coarse, 0.1, most_steps)[0], wanted)
    else:
        found = middle_source + (wanted - middle_target) @ back
    left = np.full(len(wanted), np.inf)
    active = np.arange(len(wanted))
    for _ in range(most_steps):
        points = found[active]
        missing = wanted[active] - points - sample_field(displacement, points)
        left[active] = np.linalg.norm(missing, axis=-1)
        found[active] = points + missing @ back
        active = active[left[active] > tolerance_mm]
        if not len(active):
            break
    vectors = (found - wanted).reshape(*grid.shape, 3).astype(np.float32)
    return Displacement(grid, vectors), left.reshape(grid.shape)


def _closest_affine(displacement: Displacement) -> tuple[NDArray, NDArray, NDArray]:
    """Linear part (row vectors times it) of the affine map closest to a field, and the middles of its points on both sides."""
    every = np.moveaxis(np.indices(displacement.grid.shape), 0, -1)[::3, ::3, ::3].reshape(-1, 3)
    source = displacement.grid.to_ras(every)
    target = source + displacement.vectors[::3, ::3, ::3].reshape(-1, 3)
    middle_source, middle_target = source.mean(axis=0), target.mean(axis=0)
    linear = np.linalg.lstsq(source - middle_source, target - middle_target, rcond=None)[0]
    return linear, middle_source, middle_target


def jacobian(displacement: Displacement) -> NDArray[np.float32]:
    """Determinant of the derivative of the map, in every voxel of its grid: local volume in the input per volume in the output.

    Parameters
    ----------
    displacement : Displacement
        At least two voxels along each axis; central differences inside, one-sided at the rim.

    Returns
    -------
    ndarray (x, y, z), float32
    """
    by_voxel = np.stack(np.gradient(displacement.vectors.astype(np.float64), axis=(0, 1, 2)), axis=-1)
    derivative = by_voxel @ displacement.grid.inverse[:3, :3] + np.eye(3)
    return np.linalg.det(derivative).astype(np.float32)


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
