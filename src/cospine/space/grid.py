"""Grids and images: an array, and where its voxels are in RAS mm."""

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """A lattice of voxel centres.

    Parameters
    ----------
    shape : tuple of int
        Voxels along the three stored axes (i, j, k).
    affine : ndarray (4, 4)
        Voxel index to RAS mm, any orientation, oblique or flipped.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape[:3]))
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def voxel_mm(self) -> NDArray[np.float64]:
        """Voxel size along i, j, k in mm, shape (3,)."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    @property
    def centre(self) -> NDArray[np.float64]:
        """Centre of the grid, RAS mm, shape (3,): what head rotations turn about."""
        return self.to_ras((np.array(self.shape) - 1) / 2)

    @property
    def inverse(self) -> NDArray[np.floating]:
        """RAS mm to voxel index, shape (4, 4)."""
        return np.linalg.inv(self.affine)

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """Anatomical direction toward which each stored axis grows, e.g. ``('R', 'A', 'S')``."""
        return nib.orientations.aff2axcodes(self.affine)

    def axis_of(self, direction: str) -> tuple[int, int]:
        """Stored axis closest to an anatomical one.

        Parameters
        ----------
        direction : {'R', 'A', 'S'}
            Anatomical direction.

        Returns
        -------
        axis : int
            0, 1 or 2.
        sign : int
            +1 when the index grows toward `direction`, else -1.
        """
        opposite = {"R": "L", "A": "P", "S": "I"}[direction]
        for axis, code in enumerate(self.axis_codes):
            if code in (direction, opposite):
                return axis, 1 if code == direction else -1
        raise ValueError(f"no axis of {self.axis_codes} runs along {direction}")

    def matches(self, other: "Grid", tolerance_mm: float = 0.01) -> bool:
        """Whether another grid has the same voxels in the same places."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, atol=tolerance_mm))

    def to_ras(self, index: NDArray) -> NDArray[np.float64]:
        """Voxel indices (..., 3) to RAS mm (..., 3)."""
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, points: NDArray) -> NDArray[np.float64]:
        """RAS mm (..., 3) to continuous voxel indices (..., 3)."""
        inverse = self.inverse
        return np.asarray(points, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]

    def holds(self, voxel: NDArray) -> NDArray[np.bool_]:
        """Which continuous voxel indices (..., 3) lie between the centres of the outermost voxels."""
        return np.all((voxel >= 0) & (voxel <= np.array(self.shape) - 1), axis=-1)

    def part(self, window: tuple[slice, slice, slice]) -> "Grid":
        """Grid of the voxels in a window, whose slices have both ends."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_ras(np.array([along.start for along in window]))
        return Grid(tuple(along.stop - along.start for along in window), affine)


@dataclass(frozen=True)
class Image:
    """An image or a series on a grid.

    Parameters
    ----------
    data : ndarray (x, y, z) or (x, y, z, t), float32
        In the stored file's native axes, Fortran order.
    grid : Grid
        Where the voxels are.
    tr_s : float, optional
        Time between volumes of a series, in s.
    """

    data: NDArray[np.float32] = field(repr=False)
    grid: Grid
    tr_s: float | None = None

    def __post_init__(self) -> None:
        if self.data.shape[:3] != self.grid.shape:
            raise ValueError(f"data {self.data.shape} does not fit grid {self.grid.shape}")
