"""The brain in a T1-weighted image of head and neck: the template brought to it, then the tissue itself decides.

The template's mask, bent, says where the brain is to a few millimetres (`template_fit`). Brightness of grey and white matter then
moves the border: dura, vessels and scalp hang on by thin bridges, which an opening cuts. The mask ends at the foramen
magnum, on the plane that the template brings along.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.bias import correct_bias
from cospine.anatomy.brain_mask import BrainMask
from cospine.anatomy.template_fit import bent_template_mask, fit_template
from cospine.space.connected import largest_part
from cospine.space.distance import closed, depth_in, distance_to
from cospine.space.grid import Grid
from cospine.space.lattice import at_spacing, resampled, window_about
from cospine.space.transform import Affine

_LEAST_EXTENT_MM = 90.0  # a field of view with a smaller second side holds no brain
_LEAST_SIMILARITY = 0.3
_LEAST_ML = 500.0
_BORDER_MM = 1.0


@dataclass(frozen=True)
class T1wBrain(BrainMask):
    """A brain mask of a T1w and what was found with it.

    Parameters
    ----------
    corrected : ndarray (x, y, z), float32
        The T1w without its bias field.
    to_t1w : Affine or None
        MNI point to T1w point, RAS mm; a start for normalisation.
    """

    corrected: NDArray[np.float32] = field(repr=False, kw_only=True)
    to_t1w: Affine | None = field(kw_only=True)


def find_brain_t1w(t1w: NDArray, grid: Grid, coarse: NDArray | None = None) -> T1wBrain:
    """Brain mask of a T1-weighted image.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Head with or without neck, any orientation, defaced or not.
    grid : Grid
        Its grid.
    coarse : ndarray (x, y, z), bool, optional
        A mask that is right to some millimetres and ends at the foramen magnum; found with the template otherwise.

    Returns
    -------
    T1wBrain
        Cerebrum with its ventricles, cerebellum and brainstem down to the foramen magnum. Empty where there is no brain, with
        the reason.
    """
    t1w = np.asarray(t1w, dtype=np.float32)
    corrected = correct_bias(t1w, grid)
    nothing = np.zeros(grid.shape, dtype=bool)
    extent = np.sort(np.array(grid.shape) * grid.voxel_mm)
    if extent[1] < _LEAST_EXTENT_MM:
        reason = f"the field of view is {extent[0]:.0f} x {extent[1]:.0f} x {extent[2]:.0f} mm, a brain does not fit"
        return T1wBrain(nothing, reason, corrected=corrected, to_t1w=None)
    fit = fit_template(corrected, grid)
    if fit.similarity < _LEAST_SIMILARITY:
        reason = f"nothing in the image resembles a brain (correlation with the template {fit.similarity:.2f})"
        return T1wBrain(nothing, reason, corrected=corrected, to_t1w=None)
    if coarse is None:
        coarse = bent_template_mask(corrected, grid, fit.to_t1w)
    # now that the brain is known to some millimetres, its own bias counts
    corrected = correct_bias(corrected, grid, coarse)
    mask = refine_mask(corrected, grid, coarse)
    volume = mask.sum() * float(np.prod(grid.voxel_mm)) / 1000
    if volume < _LEAST_ML:
        return T1wBrain(nothing, f"the body found has {volume:.0f} ml, too few", corrected=corrected, to_t1w=None)
    return T1wBrain(mask, corrected=corrected, to_t1w=fit.to_t1w)


def refine_mask(t1w: NDArray, grid: Grid, coarse: NDArray) -> NDArray[np.bool_]:
    """Move the border of a coarse mask to where the brain ends.

    Parameters
    ----------
    t1w : ndarray (x, y, z)
        Without bias.
    grid : Grid
        Its grid.
    coarse : ndarray (x, y, z), bool
        Right to some millimetres.

    Returns
    -------
    ndarray (x, y, z), bool
        One body without holes, at most 4 mm from the coarse mask's border outside and 5 mm inside.
    """
    # 1 mm is enough for a border and bounds time and memory; of thicker voxels an opening would take whole ones
    window = window_about(coarse, 14.0, grid)
    cut = grid.part(window)
    image, work = at_spacing(np.asarray(t1w, dtype=np.float32)[window], cut, _BORDER_MM)
    given = at_spacing(np.asarray(coarse, dtype=np.float32)[window], cut, _BORDER_MM)[0] > 0.5
    distance = distance_to(given, work.voxel_mm) - depth_in(given, work.voxel_mm)  # negative inside
    inside = image[distance < -6.0]
    if inside.size == 0:
        return np.array(coarse, dtype=bool)
    dark, middle, bright = _tissue_levels(inside)
    tissue = (image > dark + 0.3 * (middle - dark)) & (image < bright + 0.9 * (bright - middle)) & (distance < 4.0)
    deep = distance < -5.0
    core = largest_part((depth_in(tissue | deep, work.voxel_mm) > 2.2) & (distance < 3.0))
    body = (distance_to(core, work.voxel_mm) <= 3.0) & (tissue | deep)
    # sulci belong to the mask: close what is narrower than they are
    whole = (closed(body, work.voxel_mm, 6.0) & (distance < 4.0)) | deep
    filled = np.asarray(ndimage.binary_fill_holes(largest_part(whole)), dtype=bool)
    # the thin layer of CSF on the gyri belongs to the mask
    filled = ((distance_to(filled, work.voxel_mm) <= 1.0) & (distance < 4.0)).astype(np.float32)
    smooth = resampled(ndimage.gaussian_filter(filled, 0.7 / work.voxel_mm), work, cut)
    mask = np.zeros(grid.shape, dtype=bool)
    # where the coarse mask ends at the foramen magnum, so does this one
    mask[window] = (smooth > 0.5) & ~_below(np.asarray(coarse, dtype=bool)[window], cut)
    return largest_part(mask)


def _tissue_levels(values: NDArray) -> tuple[float, float, float]:
    """Typical CSF, grey and white matter of a brain's interior: a mixture of three by k-means in one dimension."""
    values = np.asarray(values, dtype=np.float64)
    centres = np.percentile(values, [3, 35, 80])
    sample = values[:: max(len(values) // 200_000, 1)]
    for _ in range(30):
        label = np.searchsorted((centres[1:] + centres[:-1]) / 2, sample)
        fresh = np.array([np.median(sample[label == n]) if np.any(label == n) else centres[n] for n in range(3)])
        if np.allclose(fresh, centres, rtol=1e-4):
            break
        centres = fresh
    dark, middle, bright = centres.tolist()
    return dark, middle, bright


def _below(mask: NDArray, grid: Grid) -> NDArray[np.bool_]:
    """All that lies under the lowest voxels of a mask, column by column along the axis closest to S, within reach of its end."""
    up, sign = grid.axis_of("S")
    columns = np.moveaxis(mask, up, 0)[::sign]
    lowest = np.flatnonzero(columns.any(axis=(1, 2)))
    below = np.zeros_like(columns)
    if lowest.size:
        below[: lowest[0]] = True
    return np.moveaxis(below[::sign], 0, up)
