"""Cerebrospinal fluid and deep white matter, found in the functional series itself.

Both are sources of nuisance columns, so what is in a mask counts and not what is missing from it: a voxel of grey matter in
a noise mask takes activation out of the data. In gradient-echo EPI at about 30 ms CSF is brighter than the tissue about it and
varies more from volume to volume (it pulses and brings fresh spins in), white matter is darker than grey.

References
----------
Brooks JCW et al. (2008) NeuroImage 39:680-692 (CSF of the canal from what varies most).
Kong Y et al. (2012) NeuroImage 60:1538-1551.
Behzadi Y et al. (2007) NeuroImage 37:90-101 (ventricles and white matter as regions of noise).
"""

import logging

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.errors import CoSpineError
from cospine.space.distance import depth_in

logger = logging.getLogger(__name__)

LEAST_VOXELS = 3
"""A slice with fewer CSF voxels than this has none: their mean would be noise of its own."""

_CANAL_MM = 5.0  # from the cord outward the canal ends within this, from the enlargement to the atlas
_APART_MM = 1.5  # distance to the cord mask
_CSF_OVER_CORD = 1.05  # CSF gives at least that much more signal than cord; thermal noise of a mean is far below
_VARIATION_OF_CORD = 0.8  # CSF varies no less; well below 1 because thermal noise is most of both
_SHARE_OF_FLUID = 0.6  # least part of the canal's own CSF signal: less is edge shared with bone

_LEAST_DEPTH_MM = 18.0  # from the brain's rim: deeper than the sulci of the convexity
_MEDIAL_MM = 32.0
_LEAST_EACH = 0.5  # robust SDs of brightness; of variation twice that
_LEAST_BOTH = 4.5
_SHARE_OF_LIVELIEST = 0.6
_WHITE_DEPTH_MM = 8.0  # beneath the cortex
_BIAS_MM = 12.0  # receive bias and wide contrast are smoother than this, ventricles are not
_LEAST_ML = 0.4  # a smaller piece may be a vessel or chance
_VENTRICLES_ML = 1.0
_WHITE_ML = 1.0
_WHITE_NEIGHBOURS = 0.85  # share of the 3 x 3 voxels in the plane
_WHITE_LEVELS = (0.90, 0.985)  # of the signal about it; below is iron or dropout


def cord_csf(mean: NDArray, sd: NDArray, cord: NDArray, affine: NDArray, slice_axis: int = 2) -> NDArray[np.bool_]:
    """Cerebrospinal fluid around the cord, slice by slice.

    Of the voxels within 5 mm of the cord mask but not next to it (one voxel or 1.5 mm apart, so that the cord's activation
    does not get in) those that are brighter than the cord, vary about as much or more and hang together with the canal. Bone,
    vessels of the vertebrae and muscle fail one of these.

    Parameters
    ----------
    mean : ndarray (x, y, z)
        Temporal mean of the corrected series.
    sd : ndarray (x, y, z)
        Temporal standard deviation of the same.
    cord : ndarray (x, y, z), bool
        Cord mask; may be empty.
    affine : ndarray (4, 4)
        Voxel index to RAS mm.
    slice_axis : {0, 1, 2}
        Axis of the slices.

    Returns
    -------
    ndarray (x, y, z), bool
        In slices with fewer than `LEAST_VOXELS` voxels nothing.

    Raises
    ------
    CoSpineError
        The images differ in shape.
    """
    mean, sd, cord = _checked(mean, sd, cord)
    in_plane = np.delete(_voxel_mm(affine), slice_axis)
    found = np.zeros(cord.shape, dtype=bool)
    layers = zip(*(np.moveaxis(image, slice_axis, 0) for image in (mean, sd, cord, found)), strict=True)
    for level, spread, inside, into in layers:
        if inside.any():
            into[...] = _canal_fluid(level, spread, inside, in_plane)
    return found


def _canal_fluid(mean: NDArray, sd: NDArray, cord: NDArray, in_plane_mm: NDArray) -> NDArray[np.bool_]:
    """CSF of one slice (rows, columns)."""
    distance = np.asarray(ndimage.distance_transform_edt(~cord, sampling=in_plane_mm))
    of_cord = float(np.median(mean[cord]))
    lively = sd >= _VARIATION_OF_CORD * np.median(sd[cord])
    bright = (distance <= _CANAL_MM) & ~cord & lively & (mean > _CSF_OVER_CORD * of_cord)
    if np.count_nonzero(bright) < LEAST_VOXELS:
        return np.zeros_like(cord)
    bright &= mean > _SHARE_OF_FLUID * np.percentile(mean[bright], 75)
    # what hangs together with the cord; bright marrow and vessels lie beyond the dark wall of the canal
    pieces = np.empty(cord.shape, dtype=np.int32)
    ndimage.label(bright | cord, np.ones((3, 3)), output=pieces)
    bright &= np.isin(pieces, np.unique(pieces[cord]))
    fluid = bright & (distance > 1.001 * min(_APART_MM, float(in_plane_mm.max())))
    return fluid if np.count_nonzero(fluid) >= LEAST_VOXELS else np.zeros_like(cord)


def ventricles(mean: NDArray, sd: NDArray, brain: NDArray, affine: NDArray) -> NDArray[np.bool_]:
    """Cerebrospinal fluid deep in the brain: the ventricles and the cisterns about the midbrain.

    Voxels at least 18 mm from the brain's rim and within 32 mm of its middle, left to right (the cisterns of the insula lie
    beyond), that are brighter than their surroundings and vary more, each by itself and both together (in robust standard
    deviations), in pieces of at least 0.4 ml. Both together must reach 60 % of what the clearest of them do: what is less shares
    its voxel with grey matter.

    Parameters
    ----------
    mean, sd : ndarray (x, y, z)
        Temporal mean and standard deviation of the corrected series.
    brain : ndarray (x, y, z), bool
        Brain mask, filled; may be empty.
    affine : ndarray (4, 4)
        Voxel index to RAS mm.

    Returns
    -------
    ndarray (x, y, z), bool
        Empty where less than 1 ml is found.

    Raises
    ------
    CoSpineError
        The images differ in shape.
    """
    mean, sd, brain = _checked(mean, sd, brain)
    if not brain.any():
        return brain
    voxel = _voxel_mm(affine)
    tissue, depth, level, spread = _landscape(mean, sd, brain, voxel)
    deep = tissue & (depth > _LEAST_DEPTH_MM)
    if not deep.any():
        return deep
    medial = _off_middle_mm(brain, affine) < _MEDIAL_MM
    bright, lively = _robust_z(_smooth(level, tissue, np.minimum(1.0, 0.4 * voxel) / voxel), deep), _robust_z(spread, deep)
    both = bright + lively
    fluid = deep & medial & (bright > _LEAST_EACH) & (lively > 2 * _LEAST_EACH) & (both > _LEAST_BOTH)
    if fluid.any():  # the livelier the CSF, the further voxels that share in it would reach into grey matter
        fluid &= both > _SHARE_OF_LIVELIEST * np.percentile(both[fluid], 90)
    return _enough(_pieces(fluid, _LEAST_ML, voxel), _VENTRICLES_ML, voxel, "ventricles")


def deep_white(mean: NDArray, sd: NDArray, brain: NDArray, affine: NDArray, fluid: NDArray | None = None) -> NDArray[np.bool_]:
    """White matter well beneath the cortex.

    Voxels at least 8 mm from the brain's rim that are a little darker than their surroundings, vary no more than these, and
    have such neighbours all about them in the plane.

    Parameters
    ----------
    mean, sd : ndarray (x, y, z)
        Temporal mean and standard deviation of the corrected series.
    brain : ndarray (x, y, z), bool
        Brain mask, filled; may be empty.
    affine : ndarray (4, 4)
        Voxel index to RAS mm.
    fluid : ndarray (x, y, z), bool, optional
        Ventricles, kept at two voxels' distance.

    Returns
    -------
    ndarray (x, y, z), bool
        Empty where less than 1 ml is found.

    Raises
    ------
    CoSpineError
        The images differ in shape.
    """
    mean, sd, brain = _checked(mean, sd, brain)
    if not brain.any():
        return brain
    voxel = _voxel_mm(affine)
    tissue, depth, level, spread = _landscape(mean, sd, brain, voxel)
    low, high = _WHITE_LEVELS
    smooth = _smooth(level, tissue, np.minimum(1.5, 0.7 * voxel) / voxel)
    white = tissue & (depth > _WHITE_DEPTH_MM) & (smooth < high) & (level > low) & (spread < 1.1)
    if fluid is not None and fluid.any():
        white &= np.asarray(ndimage.distance_transform_edt(~fluid)) > 2
    like_it = white.astype(np.float32)
    for axis in np.flatnonzero(np.arange(3) != np.argmax(voxel)):
        like_it = ndimage.uniform_filter1d(like_it, 3, axis=int(axis))
    white &= like_it > _WHITE_NEIGHBOURS
    return _enough(_pieces(white, _WHITE_ML, voxel), _WHITE_ML, voxel, "white matter")


def _checked(mean: NDArray, sd: NDArray, mask: NDArray) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    if not mean.shape == sd.shape == mask.shape or mean.ndim != 3:
        raise CoSpineError(
            f"mean {mean.shape}, SD {sd.shape} and mask {mask.shape} are not on one grid",
            "tissue masks",
            "Give three images of the same shape (x, y, z)",
        )
    return np.asarray(mean, np.float32), np.asarray(sd, np.float32), np.array(mask, dtype=bool)


def _voxel_mm(affine: NDArray) -> NDArray[np.float64]:
    return np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)


def _off_middle_mm(brain: NDArray[np.bool_], affine: NDArray) -> NDArray[np.floating]:
    """Distance (x, y, z) to the left or right of the brain's middle, mm."""
    right = np.asarray(affine, dtype=np.float32)[0, :3]
    i, j, k = np.ogrid[tuple(slice(n) for n in brain.shape)]
    place = right[0] * i + right[1] * j + right[2] * k
    return np.abs(place - place[brain].mean())


def _landscape(
    mean: NDArray, sd: NDArray, brain: NDArray[np.bool_], voxel_mm: NDArray
) -> tuple[NDArray[np.bool_], NDArray, NDArray, NDArray]:
    """Brain that gives signal; depth in it, mm; signal and relative variation over what they are in the neighbourhood."""
    tissue = brain & (mean > 0.3 * np.median(mean[brain]))
    # beyond the field of view's edge the brain goes on
    depth = depth_in(brain, voxel_mm)
    level = _relative(mean, tissue, _BIAS_MM / voxel_mm)
    variation = np.divide(sd, mean, out=np.zeros_like(mean), where=tissue)
    variation = _smooth(variation, tissue, np.minimum(1.5, 0.6 * voxel_mm) / voxel_mm)
    return tissue, depth, level, _relative(variation, tissue, 1.25 * _BIAS_MM / voxel_mm)


def _smooth(image: NDArray, mask: NDArray[np.bool_], sd_voxels: NDArray) -> NDArray[np.float32]:
    """Gaussian mean over what of the mask is near."""
    weight = mask.astype(np.float32)
    summed = ndimage.gaussian_filter(np.where(mask, image, 0).astype(np.float32), sd_voxels)
    return np.where(mask, summed / np.maximum(ndimage.gaussian_filter(weight, sd_voxels), 1e-3), 0).astype(np.float32)


def _relative(image: NDArray, mask: NDArray[np.bool_], sd_voxels: NDArray) -> NDArray[np.float32]:
    about = _smooth(image, mask, sd_voxels)
    return np.divide(image, about, out=np.zeros(image.shape, np.float32), where=mask & (about > 0))


def _robust_z(image: NDArray, where: NDArray[np.bool_]) -> NDArray[np.floating]:
    middle = np.median(image[where])
    spread = 1.4826 * np.median(np.abs(image[where] - middle))
    return (image - middle) / max(float(spread), 1e-6)


def _pieces(mask: NDArray[np.bool_], least_ml: float, voxel_mm: NDArray) -> NDArray[np.bool_]:
    """Connected pieces (corners count) that are large enough."""
    labels = np.empty(mask.shape, dtype=np.int32)
    ndimage.label(mask, np.ones((3, 3, 3)), output=labels)
    large = np.bincount(labels.ravel()) * float(np.prod(voxel_mm)) / 1000 >= least_ml
    large[0] = False
    return large[labels]


def _enough(mask: NDArray[np.bool_], least_ml: float, voxel_mm: NDArray, name: str) -> NDArray[np.bool_]:
    volume = np.count_nonzero(mask) * float(np.prod(voxel_mm)) / 1000
    if volume >= least_ml:
        return mask
    logger.info("%s: only %.1f ml found in the series, none taken", name, volume)
    return np.zeros_like(mask)
