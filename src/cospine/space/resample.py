"""The one interpolation: all that is known of a volume's geometry composed, its values sampled once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.space.bspline import coefficients, sample_affine, sample_points

_NONE = np.empty((0, 0, 0), dtype=np.float32)


@dataclass(frozen=True)
class Shift:
    """A displacement along one stored axis that comes on top of all other geometry, and what it does to the signal.

    Parameters
    ----------
    voxels : ndarray (x, y, z), float32
        On the output grid, in input voxels along `axis`: where the signal of each output voxel is found, from where the other
        geometry puts it. It stays along the stored axis however the head turns.
    axis : int
        0, 1 or 2.
    factor : ndarray (x, y, z), float32, optional
        What the value found is multiplied by (the Jacobian of a distortion).
    """

    voxels: NDArray[np.float32] = field(repr=False)
    axis: int
    factor: NDArray[np.float32] | None = field(repr=False, default=None)


@dataclass(frozen=True)
class Places:
    """Where the points of an output in any other space lie in the reference of a series, and what its distortion does there.

    Parameters
    ----------
    voxels : ndarray (n, 3), float32
        Voxel index (i, j, k) of the reference for each point.
    shift : ndarray (n,), float32, optional
        Distortion there, in stored voxels along `axis`.
    axis : int
        Stored axis of the distortion.
    factor : ndarray (n,), float32, optional
        What values found are multiplied by (the Jacobian of a distortion).
    """

    voxels: NDArray[np.float32] = field(repr=False)
    shift: NDArray[np.float32] | None = field(repr=False, default=None)
    axis: int = 0
    factor: NDArray[np.float32] | None = field(repr=False, default=None)

    @classmethod
    def of(cls, voxels: NDArray, distortion: Shift | None) -> "Places":
        """Points (n, 3) of a reference together with the distortion of that reference."""
        points = np.ascontiguousarray(voxels, dtype=np.float32)
        if distortion is None:
            return cls(points)
        from scipy.ndimage import map_coordinates

        at = points.T

        def there(image: NDArray) -> NDArray[np.float32]:
            return np.asarray(map_coordinates(image, at, order=1, mode="nearest"), dtype=np.float32)

        factor = distortion.factor
        return cls(points, there(distortion.voxels), distortion.axis, None if factor is None else there(factor))


def resample_at(volume: NDArray, matrices: NDArray, places: Places, out: NDArray | None = None) -> NDArray[np.float32]:
    """Sample a volume once with a cubic B-spline, at points anywhere in its reference.

    Parameters
    ----------
    volume : ndarray (x, y, z)
        Input values.
    matrices : ndarray (4, 4) or (slices, 4, 4)
        Reference voxel index to input voxel index, one or one for each slice of the reference; between slices the displacement
        is interpolated, as :class:`cospine.space.transform.SliceShift` has it.
    places : Places
        The points.
    out : ndarray (n,), float32, optional
        Array to write into.

    Returns
    -------
    ndarray (n,), float32
        Values clipped to the range of the input (before `places.factor`); 0 more than one voxel outside of it.
    """
    source = np.ascontiguousarray(volume.T)
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.ndim == 2:
        matrices = matrices[None]
    if out is None:
        out = np.empty(len(places.voxels), dtype=np.float32)
    empty = _NONE.ravel()
    sample_points(
        coefficients(source),
        np.ascontiguousarray(matrices[:, :3]),
        places.voxels,
        empty if places.shift is None else places.shift,
        places.axis,
        empty if places.factor is None else places.factor,
        float(source.min()),
        float(source.max()),
        out,
    )
    return out


def resample_volume(
    volume: NDArray,
    matrices: NDArray,
    shape: Sequence[int] | None = None,
    out: NDArray | None = None,
    shift: Shift | None = None,
) -> NDArray[np.float32]:
    """Sample a volume once with a cubic B-spline.

    Parameters
    ----------
    volume : ndarray (x, y, z)
        Input values, any float or integer type.
    matrices : ndarray (4, 4) or (slices, 4, 4)
        Output voxel index to input voxel index; one for the whole volume or one for each output slice.
    shape : sequence of int, optional
        Shape of the output (x, y, z); the input's by default.
    out : ndarray (x, y, z), float32, optional
        Fortran-ordered array to write into.
    shift : Shift, optional
        Distortion, on the output grid.

    Returns
    -------
    ndarray (x, y, z), float32, Fortran order
        Values clipped to the range of the input (before `shift.factor`); 0 more than one voxel outside of it.

    Raises
    ------
    ValueError
        When `matrices` does not hold one matrix or one a slice.
    """
    source = np.ascontiguousarray(volume.T)
    if out is None:
        out = np.empty(tuple(shape or volume.shape), dtype=np.float32, order="F")
    slices = out.shape[2]
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.ndim == 2:
        matrices = np.broadcast_to(matrices, (slices, *matrices.shape))
    if len(matrices) != slices:
        raise ValueError(f"{len(matrices)} matrices for {slices} slices: give one, or one for each output slice")
    low, high = float(source.min()), float(source.max())
    along, factor, axis = _NONE, _NONE, 0
    if shift is not None:
        along, axis = np.ascontiguousarray(shift.voxels.T, dtype=np.float32), shift.axis
        factor = _NONE if shift.factor is None else np.ascontiguousarray(shift.factor.T, dtype=np.float32)
    sample_affine(coefficients(source), np.ascontiguousarray(matrices[:, :3]), along, axis, factor, low, high, out.T)
    return out


def spread_volumes(count: int, at_most: int, skip: int = 0) -> NDArray[np.int_]:
    """Indices of at most so many volumes spread evenly over a series of `count`, those at the start skipped."""
    return np.unique(np.linspace(min(skip, count - 1), count - 1, min(count, at_most)).astype(int))


def aligned_moments(series: NDArray, matrices: NDArray, chosen: NDArray) -> tuple[NDArray[np.float32], NDArray]:
    """Mean and variance over time (ddof 1) of volumes each sampled with its own matrices.

    Parameters
    ----------
    series : ndarray (x, y, z, t), Fortran order
        Input series.
    matrices : ndarray (t, 4, 4) or (t, slices, 4, 4)
        Output voxel to input voxel for each volume.
    chosen : ndarray of int
        Volumes that take part.

    Returns
    -------
    mean, variance : ndarray (x, y, z), float32
    """
    mean = np.zeros(series.shape[:3], dtype=np.float32, order="F")
    squares = np.zeros_like(mean)
    aligned = np.empty_like(mean)
    for number, t in enumerate(chosen, start=1):
        resample_volume(series[..., t], matrices[t], out=aligned)
        aligned -= mean  # Welford (1962)
        mean += aligned / number
        squares += aligned * aligned * ((number - 1) / number)
    return mean, squares / max(len(chosen) - 1, 1)


def resample_series(
    series: NDArray, matrices: NDArray, out: NDArray | None = None, shift: Shift | None = None
) -> NDArray[np.float32]:
    """Sample every volume of a series once, each with its own matrices.

    Parameters
    ----------
    series : ndarray (x, y, z, t), Fortran order
        Input series.
    matrices : ndarray (t, slices, 4, 4)
        Output voxel to input voxel for each volume and output slice.
    out : ndarray (x, y, z, t), float32, Fortran order, optional
        Where to write; `series` itself is allowed, for each volume is read before it is written.
    shift : Shift, optional
        Distortion, the same for all volumes.

    Returns
    -------
    ndarray (x, y, z, t), float32, Fortran order
    """
    if len(matrices) != series.shape[3]:
        raise ValueError(f"{len(matrices)} sets of matrices for {series.shape[3]} volumes")
    if out is None:
        out = np.empty(series.shape, dtype=np.float32, order="F")
    for t in range(series.shape[3]):
        resample_volume(series[..., t], matrices[t], out=out[..., t], shift=shift)
    return out
