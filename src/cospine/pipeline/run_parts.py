"""What is known of a run after each of its steps, and the small functions that find it."""

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.cord_mask import segment_bold
from cospine.anatomy.segmentation import CordSegmentation, given_segmentation, no_cord
from cospine.pipeline.coupling_stage import RunCoupling
from cospine.pipeline.field_stage import Choice, Distortion
from cospine.pipeline.motion_stage import Motion
from cospine.pipeline.sct import segment_with_sct
from cospine.pipeline.seed_stage import SeedMaps
from cospine.pipeline.settings import Settings
from cospine.pipeline.task_stage import TaskResult
from cospine.quality import metrics
from cospine.quality.blur import interpolation_gain
from cospine.space.grid import Grid
from cospine.space.resample import Shift

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Stored:
    """The series as it lies in the dataset: volumes that are not in steady state, and tSNR (x, y, z) of the others."""

    dummies: int
    tsnr: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Undistorted:
    """Distortion of a run, None without a field; with what was checked on the way; and the brain in undistorted space."""

    distortion: Distortion | None
    choice: Choice
    brain: NDArray[np.bool_] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Corrected:
    """Maps (x, y, z) of the corrected series: temporal mean, SD and tSNR; SD and tSNR of what correction began with."""

    mean: NDArray[np.float32] = field(repr=False)
    sd: NDArray[np.float32] = field(repr=False)
    tsnr: NDArray[np.float32] = field(repr=False)
    sd_before: NDArray[np.float32] = field(repr=False)
    tsnr_before: NDArray[np.float32] = field(repr=False)
    noise_sd: float


@dataclass(frozen=True, eq=False)
class RunMasks:
    """Brain and cord in the space of the corrected series, and what the series does in them."""

    brain: NDArray[np.bool_] = field(repr=False)
    cord: CordSegmentation
    dvars: tuple[NDArray[np.float64], NDArray[np.float64]] = field(repr=False)
    blur_gain: dict[str, float]


@dataclass(frozen=True, eq=False)
class Statistics:
    """First level of a run, or why there is none."""

    found: TaskResult | None
    why: str


@dataclass(frozen=True, eq=False)
class Coupled:
    """Coupling of a run, or why there is none; maps of seeds."""

    found: RunCoupling | None
    why: str
    seeds: tuple[SeedMaps, ...] = ()


def displacements(motion: Motion) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Framewise displacement of head (t,) and cord (t, slices), mm."""
    head, cord = motion.head, motion.cord
    return (
        None if head is None else metrics.framewise_displacement(head.parameters),
        None if cord is None else metrics.cord_framewise_displacement(cord.shift_mm),
    )


def cord_of(
    mean: NDArray,
    grid: Grid,
    brain: NDArray[np.bool_],
    motion: Motion,
    distortion: Distortion | None,
    given: NDArray[np.bool_] | None,
    settings: Settings,
) -> CordSegmentation:
    """The cord in the corrected mean: as it was given, else segmented there, where it is sharper and in its true place.

    Where that finds none, the one that motion was followed in stands, brought to the corrected space.
    """
    followed = motion.masks.cord
    if not followed.found:
        return no_cord(grid, followed.reason)
    if given is not None:
        return given_segmentation(given, grid)
    if settings.cord_seg == "sct":
        return given_segmentation(segment_with_sct(mean, grid) & ~brain, grid)
    found, _ = segment_bold(mean, grid, brain)
    if found.found:
        return found
    logger.warning("no cord was found in the corrected mean (%s): the mask of the distorted one is used", found.reason)
    return given_segmentation(followed.mask if distortion is None else distortion.undistorted_mask(followed.mask), grid)


def in_place(mask: NDArray[np.bool_], given: NDArray[np.bool_] | None, distortion: Distortion) -> NDArray[np.bool_]:
    """A mask of the distorted reference in the space of the corrected series: as it was given, else brought there."""
    if given is not None and mask.any():
        return given
    return distortion.undistorted_mask(mask)


def thermal_noise(series: NDArray, reference: NDArray) -> float:
    """SD of the quietest tissue from volume to volume: what rounding must stay below.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Stored series.
    reference : ndarray (x, y, z)
        Mean; the brighter half of what has signal is looked at.
    """
    bright = np.flatnonzero((reference > 0.3 * np.percentile(reference, 98)).ravel(order="F"))
    bright = bright[:: max(1, len(bright) // 5000)]
    voxels = series.reshape(-1, series.shape[3], order="F")[bright].astype(np.float64)
    # differences of neighbours in time leave drift and slow physiology out
    return float(np.percentile(np.diff(voxels, axis=1).std(axis=1) / np.sqrt(2), 5)) if len(bright) else 0.0


def blur_gain(matrices: NDArray, mask: NDArray, shift: Shift | None = None) -> float:
    """Factor by which interpolation alone raises tSNR in a mask, from the shifts the volumes had there.

    Parameters
    ----------
    matrices : ndarray (t, slices, 4, 4)
        Reference voxel to stored voxel.
    mask : ndarray (x, y, z), bool
        Not empty.
    shift : Shift, optional
        Distortion.
    """
    where = np.argwhere(mask)
    where = np.pad(where[:: max(1, len(where) // 500)], ((0, 0), (0, 1)), constant_values=1)
    moved = np.einsum("tnij,nj->tni", matrices[:, where[:, 2], :3], where) - where[:, :3]
    if shift is not None:
        moved[..., shift.axis] += shift.voxels[tuple(where[:, :3].T)]
    return interpolation_gain(moved)
