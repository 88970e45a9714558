"""The brain in a mean EPI image, by its brightness and its bulk.

Brain is the one large bright body inside the head: threshold after taking out the receive bias, cut what hangs on by
thin bridges, keep the largest piece, end it where its cross-section shrinks to that of the cord.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.connected import largest_part
from cospine.space.distance import closed, depth_in, distance_to
from cospine.space.grid import Grid

_LEAST_ML = 250.0  # smaller bodies are no human brain
_WIDEST_CM2 = 60.0  # a brain's largest axial section exceeds this from infancy on
_NARROW_CM2 = 9.0  # medulla with tonsils is wider, the cord and its canal narrower
_LEAST_WIDTH_MM = 100.0  # a field of view narrower than this cannot hold a brain


@dataclass(frozen=True)
class BrainMask:
    """Where the brain is.

    Parameters
    ----------
    mask : ndarray (x, y, z), bool
        Empty when the field of view holds no brain.
    reason : str
        Why there is none, else empty.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a brain."""
        return bool(self.mask.any())


def find_brain(mean: NDArray, grid: Grid) -> BrainMask:
    """Brain mask of a mean EPI volume.

    Parameters
    ----------
    mean : ndarray (x, y, z)
        Temporal mean.
    grid : Grid
        Its grid, any orientation.

    Returns
    -------
    BrainMask
        Cerebrum, cerebellum and brainstem down to about the foramen magnum.
    """
    empty = np.zeros(grid.shape, dtype=bool)
    up, sign = grid.axis_of("S")
    extent = np.delete(np.array(grid.shape) * grid.voxel_mm, up)
    if min(extent) < _LEAST_WIDTH_MM:
        return BrainMask(empty, f"the axial field of view is {min(extent):.0f} mm wide, a brain does not fit")
    flat, tissue = _without_bias(np.asarray(mean, dtype=np.float32), grid)
    if not tissue.any():
        return BrainMask(empty, "the image holds no signal")
    bright = tissue & (flat > 0.62)
    core = depth_in(bright, grid.voxel_mm) > 5.0
    if not core.any():
        return BrainMask(empty, "no bright body of brain size")
    body = largest_part(core)
    voxel_ml = float(np.prod(grid.voxel_mm)) / 1000
    # back to full size, within what is bright
    body = (distance_to(body, grid.voxel_mm) <= 7.5) & bright
    body = _end_at_foramen(body, grid, up, sign)
    area = body.sum(axis=tuple(a for a in range(3) if a != up)) * voxel_ml * 10 / grid.voxel_mm[up]
    if body.sum() * voxel_ml < _LEAST_ML or area.max() < _WIDEST_CM2:
        return BrainMask(
            empty, f"the largest bright body has {body.sum() * voxel_ml:.0f} ml and {area.max():.0f} cm2, too small for a brain"
        )
    body = closed(body, grid.voxel_mm, 6.0)
    body = _end_at_foramen(body, grid, up, sign)
    return BrainMask(_filled(body, up))


def _without_bias(mean: NDArray, grid: Grid) -> tuple[NDArray, NDArray]:
    """Image over its own smooth version, and where there is tissue at all."""
    sd = lambda mm: np.minimum(mm / grid.voxel_mm, np.array(grid.shape) / 3)  # noqa: E731
    smooth = ndimage.gaussian_filter(mean, sd(1.5))
    positive = smooth[smooth > 0]
    if positive.size == 0:
        return smooth, np.zeros(smooth.shape, dtype=bool)
    tissue = smooth > 0.18 * np.percentile(positive, 95)
    weight = tissue.astype(np.float32)
    # dark tissue must not pull the bias down: bright voxels lead
    upper = np.where(tissue, smooth, 0)
    bias = ndimage.gaussian_filter(upper * upper, sd(22.0)) / np.maximum(ndimage.gaussian_filter(upper * weight, sd(22.0)), 1e-6)
    return np.where(tissue, smooth / np.maximum(bias, 1e-6), 0).astype(np.float32), tissue


def _end_at_foramen(mask: NDArray, grid: Grid, up: int, sign: int) -> NDArray[np.bool_]:
    """Cut the mask below the lowest slice that is wider than a cord in its canal."""
    slices = np.moveaxis(mask, up, 0)[::sign]
    pixel_cm2 = float(np.prod(grid.voxel_mm) / grid.voxel_mm[up]) / 100
    area = slices.sum(axis=(1, 2)) * pixel_cm2
    wide = area > _NARROW_CM2
    if not wide.any():
        return np.zeros_like(mask)
    # downward from the largest section, through sections that stay wide
    bottom = int(np.argmax(area))
    while bottom > 0 and wide[bottom - 1]:
        bottom -= 1
    kept = slices.copy()
    kept[:bottom] = False
    return np.moveaxis(kept[::sign], 0, up)


def _filled(mask: NDArray, up: int) -> NDArray[np.bool_]:
    """Holes filled slice by slice along every axis' sections in turn (ventricles open to the sides stay closed)."""
    slices = np.moveaxis(mask, up, 0).copy()
    for k in range(len(slices)):
        slices[k] = ndimage.binary_fill_holes(slices[k])
    return np.moveaxis(slices, 0, up)
