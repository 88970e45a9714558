"""Judging fields: both tools' fields applied by one neutral unwarping, and compared with what is known.

Nothing of CoSpine unwarps or scores here (its readers and its phase-difference field are used, where a case asks for them):
SciPy samples, NumPy counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SURVIVING_JACOBIAN = 0.35  # below it the signal of three voxels lies in one: nothing there can be mended
SURVIVING_SIGNAL = 0.2  # of the brain's median
C7 = 7


def object_mask(images: Sequence[NDArray]) -> NDArray[np.bool_]:
    """Where there is an object, from uncorrected images alone: the same for every tool.

    The images' mean, smoothed by one voxel, above 15 % of its 98th percentile; holes filled, the largest part kept.

    Parameters
    ----------
    images : sequence of ndarray (x, y, z)
        Both uncorrected images.

    Returns
    -------
    ndarray (x, y, z) of bool
    """
    mean = ndimage.gaussian_filter(np.mean([np.asarray(one, np.float64) for one in images], axis=0), 1)
    mask = ndimage.binary_fill_holes(mean > 0.15 * np.percentile(mean, 98))
    label, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, label, range(1, count + 1))
    return label == 1 + int(np.argmax(sizes))


def ncc(a: NDArray, b: NDArray, mask: NDArray) -> float:
    """Normalised cross-correlation (Pearson's) of two images in a mask."""
    return float(np.corrcoef(a[mask], b[mask])[0, 1])


def unwarp(
    image: NDArray,
    displacement: NDArray,
    axis: int,
    affine: NDArray | None = None,
    pose: NDArray | None = None,
    share: NDArray | float = 1.0,
) -> NDArray[np.float64]:
    """An image undistorted by one cubic interpolation, times the Jacobian.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Distorted.
    displacement : ndarray (x, y, z)
        Voxels along `axis` at which the signal of each undistorted voxel appears, on the grid of the reference.
    axis : int
        Phase encoding.
    affine : ndarray (4, 4), optional
        Of the grid; needed with `pose`.
    pose : ndarray (4, 4), optional
        RAS mm of the reference to RAS mm of this image, where the object moved between them.
    share : ndarray (x, y, z) or float
        How much of the pose's movement a voxel follows.

    Returns
    -------
    ndarray (x, y, z)
    """
    at = np.indices(image.shape).astype(np.float64)
    if pose is not None and affine is not None:
        matrix = np.linalg.inv(affine) @ pose @ affine - np.eye(4)
        at = at + share * (np.tensordot(matrix[:3, :3], at, axes=1) + matrix[:3, 3].reshape(3, 1, 1, 1))
    at[axis] += displacement
    return ndimage.map_coordinates(np.asarray(image, np.float64), at, order=3, mode="nearest") * (
        1 + np.gradient(np.asarray(displacement, np.float64), axis=axis)
    )


def smallest_jacobian(field_hz: NDArray, voxels_per_hz: Sequence[float], axis: int) -> float:
    """Smallest 1 + d(displacement)/dv over all voxels and both images; differences of neighbours, the strictest."""
    steps = np.diff(np.asarray(field_hz, np.float64), axis=axis)
    return float(min(1 + (factor * steps).min() for factor in voxels_per_hz))


def edges(image: NDArray, axis: int, lines: NDArray) -> NDArray[np.float64]:
    """Where lines along an axis enter and leave the object: half of the line's own signal, between voxels.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Bright object on dark ground.
    axis : int
        Direction of the lines.
    lines : ndarray of bool
        Which lines, over the other two axes.

    Returns
    -------
    ndarray (lines, 2)
        First rise and last fall in voxels; NaN where a line touches the image's border.
    """
    values = np.moveaxis(image, axis, -1)[lines].astype(np.float64)
    bright = np.where(values > 0.2 * np.percentile(image, 98), values, np.nan)
    above = values > np.nanmedian(bright, axis=1, keepdims=True) / 2
    level = np.nanmedian(bright, axis=1) / 2
    first, last = above.argmax(axis=1), values.shape[1] - 1 - above[:, ::-1].argmax(axis=1)
    row = np.arange(len(values))
    out = np.full((len(values), 2), np.nan)
    for side, (inside, step) in enumerate(((first, -1), (last, 1))):
        fine = (inside + step >= 0) & (inside + step < values.shape[1])
        r, i = row[fine], inside[fine]
        low, high = values[r, i + step], values[r, i]
        out[fine, side] = i + step * (high - level[fine]) / (high - low)
    return out


def lines_through(image: NDArray, axis: int) -> NDArray[np.bool_]:
    """Lines along an axis through an object, two voxels away from grazing it."""
    return ndimage.binary_erosion(object_mask([image]).sum(axis=axis) > 0, iterations=2, border_value=1)


@dataclass(frozen=True)
class Outline:
    """Where the sphere of one pair truly is, found by no tool.

    Parameters
    ----------
    lines : ndarray of bool
        Lines along the phase encoding that are compared, over the other two axes.
    edge : ndarray (lines, 2)
        Voxel of entry and exit, midway between the two raw images, where opposite displacements cancel.
    """

    lines: NDArray[np.bool_]
    edge: NDArray[np.float64]

    @classmethod
    def midway(cls, images: Sequence[NDArray], axis: int, lines: NDArray[np.bool_]) -> "Outline":
        """From the raw images of a pair."""
        return cls(lines, np.mean([edges(image, axis, lines) for image in images], axis=0))

    def offset(self, other: "Outline") -> float:
        """By how many voxels another scan shows the object elsewhere as a whole (median along the lines)."""
        return float(np.nanmedian(other.edge - self.edge))

    def distance(self, images: Sequence[NDArray], axis: int, offset: float = 0.0) -> float:
        """Mean absolute distance, in voxels, of the images' edges from here, or from here moved by `offset`."""
        return float(np.nanmean([np.abs(edges(image, axis, self.lines) - self.edge - offset) for image in images]))


def to_grid(values: NDArray, source: NDArray, shape: Sequence[int], target: NDArray, order: int = 1) -> NDArray[np.float64]:
    """An image on another grid (affines in RAS mm): linear, border values beyond the border."""
    matrix = np.linalg.inv(source) @ target
    return ndimage.affine_transform(
        np.asarray(values, np.float64), matrix[:3, :3], matrix[:3, 3], tuple(shape), order=order, mode="nearest"
    )


def polynomial(places: NDArray, order: int = 2) -> NDArray[np.float64]:
    """All products up to an order of coordinates (n, 3), scaled to about 1: (n, terms)."""
    scaled = (places - places.mean(axis=0)) / places.std(axis=0)
    columns = [np.ones(len(scaled))]
    for degree in range(1, order + 1):
        columns += [np.prod(scaled[:, list(which)], axis=1) for which in combinations_with_replacement(range(3), degree)]
    return np.stack(columns, axis=1)


def slope(field_hz: NDArray, other_hz: NDArray, mask: NDArray) -> tuple[float, float]:
    """Slope and correlation of one field against another after a second-order polynomial is removed from both.

    The shims of two scans differ, and a shim is such a polynomial (METHODS 6).
    """
    places = np.argwhere(mask).astype(np.float64)
    columns = polynomial(places)
    y, x = (
        values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
        for values in (field_hz[mask].astype(np.float64), other_hz[mask].astype(np.float64))
    )
    return float(x @ y / (x @ x)), float(np.corrcoef(x, y)[0, 1])


@dataclass(frozen=True)
class Truth:
    """What is true of a digital participant's pair, on the pair's grid at the pose of its first image.

    Parameters
    ----------
    field_hz : ndarray (x, y, z)
        Resting field plus the mean over both images of what breathing added.
    brain, surviving, cord : ndarray (x, y, z) of bool
        True brain; the part of it where signal survives; true cord.
    level : ndarray (z,)
        Vertebral level of each slice of the cord (C1 = 1, T1 = 8); 0 elsewhere.
    source : str
        Where the field comes from.
    """

    field_hz: NDArray
    brain: NDArray
    surviving: NDArray
    cord: NDArray
    level: NDArray
    source: str

    @property
    def excluded(self) -> float:
        """Fraction of the brain where no signal survives."""
        return 1 - float(self.surviving.sum() / self.brain.sum())


def read_truth(root: Path, voxels_per_hz: float, axis: int) -> Truth:
    """Truth of ``sub-01``'s pain pair; of the run's reference pose where the pair's own was not written.

    Signal survives where |1 + d(displacement)/dv| exceeds 0.35 for either polarity and the undistorted image 20 % of the
    brain's median.
    """
    folder = root / "sourcedata" / "truth" / "sub-01"
    run = folder / "func" / "sub-01_task-pain"
    level = _read(Path(f"{run}_desc-vertebrae_dseg.nii.gz"))
    pair = folder / "fmap" / "sub-01_acq-pain_dir-"
    resting = Path(f"{pair}AP_desc-resting_fieldmap.nii.gz")
    if resting.exists():
        field = _read(resting)
        for direction in ("AP", "PA"):
            shown, rest = (Path(f"{pair}{direction}_{name}fieldmap.nii.gz") for name in ("", "desc-resting_"))
            field = field + (_read(shown) - _read(rest)) / 2
        brain, cord = (_read(Path(f"{pair}AP_{name}_mask.nii.gz")) > 0 for name in ("desc-brain", "label-SC"))
        signal, source = _read(Path(f"{pair}AP_desc-undistorted_epi.nii.gz")), "at the pair"
    else:
        field = _read(Path(f"{run}_fieldmap.nii.gz"))
        brain, cord = (_read(Path(f"{run}_{name}_mask.nii.gz")) > 0 for name in ("desc-brain", "label-SC"))
        signal, source = _read(Path(f"{run}_desc-undistorted_boldref.nii.gz")), "at the run"
    change = voxels_per_hz * np.gradient(field, axis=axis)
    surviving = brain & (1 - np.abs(change) > SURVIVING_JACOBIAN) & (signal > SURVIVING_SIGNAL * np.median(signal[brain]))
    of_slice = np.array([np.median(one[one > 0]) if np.any(one > 0) else 0 for one in np.moveaxis(level, 2, 0)])
    return Truth(field, brain, surviving, cord, of_slice, source)


def _read(path: Path) -> NDArray[np.float64]:
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


@dataclass(frozen=True)
class FieldError:
    """How far a field is off.

    Parameters
    ----------
    brain_hz, brain_free_hz : float
        RMS over the surviving brain; the same after a constant is removed, which a translation between the two images
        along the phase encoding imitates.
    cord_mm, cord_p95_mm : float
        Residual of the cord along the phase encoding, mean and 95th percentile, above the lower edge of C7.
    whole_mm, whole_p95_mm : float
        The same, all cord in the field of view.
    by_level_mm : dict of int to float
        Mean by vertebral level.
    """

    brain_hz: float
    brain_free_hz: float
    cord_mm: float
    cord_p95_mm: float
    whole_mm: float
    whole_p95_mm: float
    by_level_mm: dict[int, float]


def field_error(field_hz: NDArray, truth: Truth, mm_per_hz: float) -> FieldError:
    """Compare a field (x, y, z) in Hz with the truth; `mm_per_hz` turns Hz into displacement along the phase encoding."""
    off = np.asarray(field_hz, np.float64) - truth.field_hz
    brain = off[truth.surviving]
    residual = np.abs(off) * mm_per_hz
    of_voxel = np.broadcast_to(truth.level, off.shape)
    cord = truth.cord
    above = residual[cord & (of_voxel > 0) & (of_voxel <= C7)]
    return FieldError(
        float(np.sqrt(np.mean(brain**2))),
        float(brain.std()),
        float(above.mean()),
        float(np.percentile(above, 95)),
        float(residual[cord].mean()),
        float(np.percentile(residual[cord], 95)),
        {int(n): float(residual[cord & (of_voxel == n)].mean()) for n in np.unique(of_voxel[cord]) if n},
    )
