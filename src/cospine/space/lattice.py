"""Images on other lattices: a part, coarser, finer, or where an affine map brings them. Linear, the border continued."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.grid import Grid
from cospine.space.transform import Affine


def downsample(image: NDArray, grid: Grid, spacing_mm: float) -> tuple[NDArray[np.float32], Grid]:
    """An image on a coarser lattice of the same orientation, smoothed so that nothing aliases; finer axes stay.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Values.
    grid : Grid
        Their grid.
    spacing_mm : float
        Voxel size to come to, in mm.

    Returns
    -------
    image : ndarray, float32
    grid : Grid
    """
    factor = np.maximum(spacing_mm / grid.voxel_mm, 1.0)
    if np.all(factor < 1.05):
        return np.asarray(image, dtype=np.float32), grid
    shape = np.maximum(np.ceil(np.array(grid.shape) / factor), 1).astype(int)
    offset = (factor - 1) / 2
    smooth = ndimage.gaussian_filter(np.asarray(image, dtype=np.float32), np.where(factor > 1.05, 0.4 * factor, 0.0))
    small = _affine_sampled(smooth, np.diag(factor), offset, tuple(shape.tolist()))
    affine = grid.affine @ np.diag([*factor, 1.0])
    affine[:3, 3] = grid.to_ras(offset)
    return small, Grid(tuple(shape.tolist()), affine)


def at_spacing(image: NDArray, grid: Grid, spacing_mm: float) -> tuple[NDArray[np.float32], Grid]:
    """An image on a lattice of the same orientation whose voxels are at most so large.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Values.
    grid : Grid
        Their grid.
    spacing_mm : float
        Largest side of a voxel; axes that are coarser are cut into whole parts.

    Returns
    -------
    image : ndarray, float32
    grid : Grid
    """
    coarser, lattice = downsample(image, grid, spacing_mm)
    times = np.ceil(lattice.voxel_mm / spacing_mm - 0.05).astype(int)
    if np.all(times == 1):
        return coarser, lattice
    affine = lattice.affine @ np.diag([*(1 / times), 1.0])
    affine[:3, 3] = lattice.to_ras((1 / times - 1) / 2)
    finer = Grid(tuple((times * lattice.shape).tolist()), affine)
    return resampled(coarser, lattice, finer), finer


def window_about(mask: NDArray, margin_mm: float, grid: Grid) -> tuple[slice, slice, slice]:
    """The voxels about a mask.

    Parameters
    ----------
    mask : ndarray (x, y, z), bool
        Some of it must be set.
    margin_mm : float
        How far the window goes on beyond it, as far as the grid does.
    grid : Grid
        Its grid.

    Returns
    -------
    tuple of slice
        Of `Grid.part`, too.
    """
    margin = np.ceil(margin_mm / grid.voxel_mm).astype(int)
    i, j, k = (
        slice(max(along.start - int(m), 0), min(along.stop + int(m), n))
        for along, m, n in zip(
            ndimage.find_objects(np.asarray(mask, dtype=bool).view(np.uint8))[0], margin, grid.shape, strict=True
        )
    )
    return i, j, k


def brought(image: NDArray, grid: Grid, affine: Affine, lattice: Grid) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An image on a lattice after an affine map.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Values.
    grid : Grid
        Their grid.
    affine : Affine
        Point of the lattice to point of the image, RAS mm.
    lattice : Grid
        Where it is brought to.

    Returns
    -------
    moved : ndarray, float32
        Linear, the border continued.
    reached : ndarray, bool
        Voxels of the lattice that fall into the image.
    """
    matrix = grid.inverse @ affine.matrix @ lattice.affine
    voxel = np.moveaxis(np.indices(lattice.shape), 0, -1) @ matrix[:3, :3].T + matrix[:3, 3]
    return _affine_sampled(image, matrix[:3, :3], matrix[:3, 3], lattice.shape), grid.holds(voxel)


def resampled(image: NDArray, source: Grid, target: Grid) -> NDArray[np.float32]:
    """Values of one grid on another.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Values.
    source, target : Grid
        Where they are, and where they are wanted.

    Returns
    -------
    ndarray, float32
    """
    matrix = source.inverse @ target.affine
    return _affine_sampled(image, matrix[:3, :3], matrix[:3, 3], target.shape)


def _affine_sampled(image: NDArray, matrix: NDArray, offset: NDArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.asarray(image, dtype=np.float32)
    # the stubs know a scalar offset only
    sampled = ndimage.affine_transform(values, matrix, offset=offset, output_shape=shape, order=1, mode="nearest")  # pyright: ignore[reportArgumentType]
    return np.asarray(sampled, dtype=np.float32)
