"""The cervical cord in a mean EPI image: a centre line that may not jump, and an ellipse about it.

In gradient-echo EPI the canal (cord and CSF) is the bright disc that runs down the neck between dark vertebrae. Its
disc-likeness is scored in every slice and a path through the slices is found by dynamic programming.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.grid import Grid

_CANAL_RADIUS_MM = 7.5
_HALF_WIDTH_MM = 5.5  # cord, left-right; cervical mean of 13 mm at the enlargement, 11 above and below
_HALF_DEPTH_MM = 3.9  # cord, front-back
_WEIGHT_RADIUS_MM = 10.0
_LEAST_LENGTH_MM = 15.0
_LEAST_SCORE = 0.12  # a canal stands out this much from what surrounds it, median over slices


@dataclass(frozen=True)
class CordMask:
    """Where the cord is.

    Parameters
    ----------
    mask : ndarray (x, y, z), bool
        The cord; empty when none was found.
    weight : ndarray (x, y, z), float32
        Soft mask about the cord and its CSF, 0-1: what cord motion is measured in.
    slices : ndarray of int
        Stored slices the cord runs through.
    centre : ndarray (slices, 2)
        Centre line: in-plane voxel position (in the order of the two in-plane axes) in each of `slices`.
    score : ndarray (slices,)
        How much the canal stands out in each of `slices`.
    reason : str
        Why there is none, else empty.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    weight: NDArray[np.float32] = field(repr=False)
    slices: NDArray[np.int_] = field(repr=False)
    centre: NDArray[np.float64] = field(repr=False)
    score: NDArray[np.float64] = field(repr=False)
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a cord."""
        return bool(self.mask.any())


def find_cord(mean: NDArray, grid: Grid, brain: NDArray, slice_axis: int = 2) -> CordMask:
    """Cord mask of a mean EPI volume with axial slices.

    Parameters
    ----------
    mean : ndarray (x, y, z)
        Temporal mean.
    grid : Grid
        Its grid.
    brain : ndarray (x, y, z), bool
        Brain mask, empty where the field of view holds none; the cord begins below it.
    slice_axis : int
        Stored axis along which slices are stacked.

    Returns
    -------
    CordMask
    """
    up, sign = grid.axis_of("S")
    if up != slice_axis:
        return _nothing(grid, "slices are not axial: the cord has no cross-section in them")
    if slice_axis != 2:
        return _nothing(grid, f"slices are stacked along voxel axis {'ij'[slice_axis]}; cord motion needs them along k")
    order = np.arange(grid.shape[up])[::-sign]  # from the top slice down
    sections = np.moveaxis(np.asarray(mean, dtype=np.float32), up, 0)[order]
    brain_sections = np.moveaxis(brain, up, 0)[order]
    in_plane = np.array([s for axis, s in enumerate(grid.voxel_mm) if axis != up])
    thickness = float(grid.voxel_mm[up])
    start, seed = 0, None
    if brain.any():
        start = int(np.flatnonzero(brain_sections.any(axis=(1, 2))).max()) + 1
        if (len(order) - start) * thickness < _LEAST_LENGTH_MM:
            return _nothing(grid, f"the field of view ends {(len(order) - start) * thickness:.0f} mm below the brain")
        seed = np.array(ndimage.center_of_mass(brain_sections[start - 1]))
    score = np.stack([_disc_score(section, in_plane) for section in sections[start:]])
    score = score * _midline_prior(sections[start:], grid, up, in_plane)
    path = _best_path(score, in_plane, thickness, seed)
    path_score = score[np.arange(len(path)), path[:, 0], path[:, 1]]
    # the cord ends where the field of view does; slices without signal at the end are none of it
    usable = _with_signal(sections[start:])
    if not usable.any():
        return _nothing(grid, "the image holds no signal below the brain")
    if np.median(path_score[usable]) < _LEAST_SCORE:
        return _nothing(grid, f"no bright canal in the neck (score {np.median(path_score):.2f}, needs {_LEAST_SCORE})")
    centre = _refined(sections[start:], path, in_plane, thickness)
    slices = order[start:][usable]
    return _drawn(grid, up, slices, centre[usable], path_score[usable], in_plane)


def mask_geometry(mask: NDArray, grid: Grid) -> CordMask:
    """Centre line and soft mask of a cord mask that somebody gave.

    Parameters
    ----------
    mask : ndarray (x, y, z)
        Non-zero in the cord.
    grid : Grid
        Its grid, axial slices along the third axis.
    """
    sections = np.moveaxis(np.asarray(mask) > 0, 2, 0)
    slices = np.flatnonzero(sections.any(axis=(1, 2)))
    if slices.size == 0:
        return _nothing(grid, "the given cord mask is empty")
    centre = np.array([ndimage.center_of_mass(sections[k]) for k in slices])
    drawn = _drawn(grid, 2, slices, centre, np.ones(len(slices)), grid.voxel_mm[:2])
    return CordMask(np.asarray(mask) > 0, drawn.weight, slices, centre, drawn.score)


def _nothing(grid: Grid, reason: str) -> CordMask:
    none = np.zeros(0)
    return CordMask(
        np.zeros(grid.shape, dtype=bool),
        np.zeros(grid.shape, dtype=np.float32),
        none.astype(int),
        none.reshape(0, 2),
        none,
        reason,
    )


def _disc_score(section: NDArray, in_plane_mm: NDArray) -> NDArray[np.floating]:
    """How much a bright disc of the canal's size stands out at each pixel, relative to the signal about it."""
    inner = ndimage.gaussian_filter(section, 0.45 * _CANAL_RADIUS_MM / in_plane_mm)
    outer = ndimage.gaussian_filter(section, 1.35 * _CANAL_RADIUS_MM / in_plane_mm)
    floor = 0.05 * float(np.percentile(section, 99)) + 1e-6
    return (inner - outer) / (inner + outer + floor)


def _midline_prior(sections: NDArray, grid: Grid, up: int, in_plane_mm: NDArray) -> NDArray[np.floating]:
    """The canal lies near the middle of the neck, left to right: a wide Gaussian about the tissue's centre."""
    lateral, _ = grid.axis_of("R")
    axis = [a for a in range(3) if a != up].index(lateral)
    size = sections.shape[1 + axis]
    profile = np.clip(sections - 0.1 * np.percentile(sections, 99), 0, None).sum(axis=2 - axis)
    profile = ndimage.gaussian_filter1d(profile, 20.0 / grid.voxel_mm[up], axis=0)
    centre = (profile * np.arange(size)).sum(axis=1) / np.maximum(profile.sum(axis=1), 1e-6)
    distance = (np.arange(size)[None] - centre[:, None]) * in_plane_mm[axis]
    prior = np.exp(-0.5 * (distance / 30.0) ** 2).astype(np.float32)
    return prior[:, :, None] if axis == 0 else prior[:, None, :]


def _best_path(score: NDArray, in_plane_mm: NDArray, thickness_mm: float, seed: NDArray | None) -> NDArray[np.int_]:
    """Path of greatest summed score whose steps cost their squared slope; dynamic programming from the top down."""
    reach = np.maximum(1, np.ceil(0.8 * thickness_mm / in_plane_mm)).astype(int)
    offsets = [
        (a, b, 0.25 * (((a * in_plane_mm[0]) ** 2 + (b * in_plane_mm[1]) ** 2) / thickness_mm**2))
        for a in range(-reach[0], reach[0] + 1)
        for b in range(-reach[1], reach[1] + 1)
    ]
    best = score[0].copy()
    if seed is not None:
        rows, columns = np.indices(best.shape)
        off = ((rows - seed[0]) * in_plane_mm[0]) ** 2 + ((columns - seed[1]) * in_plane_mm[1]) ** 2
        best -= (0.5 * off / 25.0**2).astype(best.dtype)
    came = np.zeros((len(score), *best.shape), dtype=np.int32)
    padding = [(r, r) for r in reach]
    for k in range(1, len(score)):
        padded = np.pad(best, padding, constant_values=-np.inf)
        total = np.full(best.shape, -np.inf)
        for number, (a, b, cost) in enumerate(offsets):
            top, left = reach[0] + a, reach[1] + b
            candidate = padded[top : top + best.shape[0], left : left + best.shape[1]] - cost
            better = candidate > total
            total[better] = candidate[better]
            came[k][better] = number
        best = total + score[k]
    path = np.empty((len(score), 2), dtype=int)
    path[-1] = np.unravel_index(int(np.argmax(best)), best.shape)
    for k in range(len(score) - 1, 0, -1):
        a, b, _ = offsets[came[k][tuple(path[k])]]
        path[k - 1] = path[k] + (a, b)
    return path


def _with_signal(sections: NDArray) -> NDArray[np.bool_]:
    level = np.percentile(sections, 99, axis=(1, 2))
    return (level > 0.1 * np.median(level)) & (level > 0)


def _refined(sections: NDArray, path: NDArray, in_plane_mm: NDArray, thickness_mm: float) -> NDArray[np.floating]:
    """Centroid of what is bright about the path, smoothed along the cord."""
    rows, columns = np.indices(sections.shape[1:])
    centre = path.astype(float)
    for k, section in enumerate(sections):
        for _ in range(12):  # mean shift: settles on the centroid of the canal
            off = ((rows - centre[k, 0]) * in_plane_mm[0]) ** 2 + ((columns - centre[k, 1]) * in_plane_mm[1]) ** 2
            near = off < (1.6 * _CANAL_RADIUS_MM) ** 2
            values = section[near]
            low, high = np.percentile(values, [20, 95])
            mass = np.clip((values - low) / max(high - low, 1e-6) - 0.3, 0, 0.05)
            if mass.sum() <= 0:
                break
            centre[k] = (mass * rows[near]).sum() / mass.sum(), (mass * columns[near]).sum() / mass.sum()
    # smoothed over 20 mm of cord at most: where slices are thicker than its bends there is nothing to smooth
    reach = 2 * int(10.0 / thickness_mm) + 1
    if reach < 3 or len(centre) < reach:
        return centre
    median = ndimage.median_filter(centre, size=(reach, 1), mode="nearest")
    return ndimage.gaussian_filter1d(median, 4.0 / thickness_mm, axis=0, mode="nearest")


def _drawn(grid, up, slices, centre, score, in_plane_mm) -> CordMask:
    mask = np.zeros(grid.shape, dtype=bool, order="F")
    weight = np.zeros(grid.shape, dtype=np.float32, order="F")
    lateral, _ = grid.axis_of("R")
    half = np.full(2, _HALF_DEPTH_MM)
    half[[a for a in range(3) if a != up].index(lateral)] = _HALF_WIDTH_MM
    shape = [n for axis, n in enumerate(grid.shape) if axis != up]
    rows, columns = np.indices(shape)
    for k, (a, b) in zip(slices, centre, strict=True):
        down, across = (rows - a) * in_plane_mm[0], (columns - b) * in_plane_mm[1]
        radius = np.hypot(down / half[0], across / half[1])
        at = tuple(slice(None) if axis != up else int(k) for axis in range(3))
        mask[at] = radius <= 1
        # the cord, its CSF and the canal's edge, which moves almost as the cord does and tells more of it than the cord alone
        weight[at] = 1 / (1 + np.exp((np.hypot(down, across) - _WEIGHT_RADIUS_MM) / 0.8))
    weight[weight < 0.02] = 0
    return CordMask(mask, weight, np.asarray(slices, dtype=int), np.asarray(centre, dtype=float), np.asarray(score, dtype=float))
