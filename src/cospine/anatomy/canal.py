"""The canal in a mean EPI image: a centre line that may not jump.

In gradient-echo EPI the canal (cord and CSF) is the bright disc that runs down the neck between dark vertebrae. Its
disc-likeness is scored in every slice and a path through the slices is found by dynamic programming. The cord network needs to be
told where to look; this says so where the image is an EPI.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.grid import Grid

_CANAL_RADIUS_MM = 7.5
_LEAST_LENGTH_MM = 15.0
_LEAST_SCORE = 0.12  # a canal stands out this much from what surrounds it, median over slices


@dataclass(frozen=True)
class Canal:
    """Where the canal runs.

    Parameters
    ----------
    slices : ndarray of int
        Stored slices it runs through, from the top down.
    centre : ndarray (slices, 2)
        In-plane voxel position in each of them.
    reason : str
        Why there is none, else empty.
    """

    slices: NDArray[np.int_] = field(repr=False)
    centre: NDArray[np.float64] = field(repr=False)
    reason: str = ""

    def points(self, grid: Grid) -> NDArray[np.float64]:
        """The line in RAS mm, (slices, 3), top to bottom."""
        return np.asarray(grid.to_ras(np.column_stack([self.centre, self.slices])), dtype=np.float64)


def find_canal(mean: NDArray, grid: Grid, brain: NDArray) -> Canal:
    """Centre line of the canal in a mean EPI volume with axial slices along the third axis.

    Parameters
    ----------
    mean : ndarray (x, y, z)
        Temporal mean.
    grid : Grid
        Its grid.
    brain : ndarray (x, y, z), bool
        Brain mask, empty where the field of view holds none; the canal begins below it.

    Returns
    -------
    Canal
    """
    _, sign = grid.axis_of("S")
    order = np.arange(grid.shape[2])[::-sign]  # from the top slice down
    sections = np.moveaxis(np.asarray(mean, dtype=np.float32), 2, 0)[order]
    brain_sections = np.moveaxis(np.asarray(brain, dtype=bool), 2, 0)[order]
    in_plane, thickness = grid.voxel_mm[:2], float(grid.voxel_mm[2])
    start, seed = 0, None
    if brain_sections.any():
        start = int(np.flatnonzero(brain_sections.any(axis=(1, 2))).max()) + 1
        if (len(order) - start) * thickness < _LEAST_LENGTH_MM:
            return _none(f"the field of view ends {(len(order) - start) * thickness:.0f} mm below the brain")
        seed = np.array(ndimage.center_of_mass(brain_sections[start - 1]))
    score = np.stack([_disc_score(section, in_plane) for section in sections[start:]])
    score = score * _midline_prior(sections[start:], grid, 2, in_plane)
    path = _best_path(score, in_plane, thickness, seed)
    path_score = score[np.arange(len(path)), path[:, 0], path[:, 1]]
    # the cord ends where the field of view does; slices without signal at the end are none of it
    usable = _with_signal(sections[start:])
    if not usable.any():
        return _none("the image holds no signal below the brain")
    if np.median(path_score[usable]) < _LEAST_SCORE:
        return _none(f"no bright canal in the neck (score {np.median(path_score):.2f}, needs {_LEAST_SCORE})")
    centre = _refined(sections[start:], path, in_plane, thickness)
    return Canal(order[start:][usable], np.asarray(centre[usable], dtype=np.float64))


def _none(reason: str) -> Canal:
    return Canal(np.zeros(0, dtype=int), np.zeros((0, 2)), reason)


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
