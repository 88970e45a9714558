"""The cord straightened: a smooth axis with planes across it, and the outline of a mask in every plane."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.space.grid import Grid

_STEP_MM = 0.5
# Beyond the cord the axis runs on straight, this far: a crop of one level still has all of PAM50's box.
_RUN_ON_MM = 220.0
# Waves of the axis shorter than this are left to the outlines: planes across a crooked axis would cut each other.
_SHORTEST_WAVE_MM = 60.0
_ANGLES = 48
_REACH_MM, _RADIAL_MM = 14.0, 0.25
_ROUNDING_MM = 4.0
_ROUNDS = 4
_AREA_MM2 = (15.0, 250.0)
_FARTHEST_MM = 6.0
_RING_MM = 4.0


@dataclass(frozen=True)
class CurvedAxis:
    """A smooth curve down the neck with a right-handed frame at every point that does not turn about the curve.

    Parameters
    ----------
    arc : ndarray (n,)
        Length along the curve from its upper given end, mm; grows downward, negative above.
    points : ndarray (n, 3)
        RAS mm.
    right, front : ndarray (n, 3)
        Unit vectors across the curve: the body's right, and forward.
    given : tuple of float
        Arc lengths between which the curve was given; beyond, it is straight.
    """

    arc: NDArray[np.floating] = field(repr=False)
    points: NDArray[np.floating] = field(repr=False)
    right: NDArray[np.floating] = field(repr=False)
    front: NDArray[np.floating] = field(repr=False)
    given: tuple[float, float]

    def at(self, arc: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Points, right and front (.., 3) at arc lengths (..)."""
        position = np.clip((np.asarray(arc, dtype=np.float64) - self.arc[0]) / _STEP_MM, 0, len(self.arc) - 1.001)
        below = position.astype(int)
        part = (position - below)[..., None]
        return tuple((1 - part) * of[below] + part * of[below + 1] for of in (self.points, self.right, self.front))  # type: ignore[return-value]

    def locate(self, points: NDArray) -> NDArray[np.float64]:
        """Arc lengths (n,) of the places on the curve that are nearest to points (n, 3)."""
        nearest = np.linalg.norm(np.asarray(points)[:, None] - self.points, axis=2).argmin(axis=1)
        nearest = np.clip(nearest, 1, len(self.arc) - 2)
        along = (self.points[nearest + 1] - self.points[nearest - 1]) / (2 * _STEP_MM)
        return self.arc[nearest] + ((points - self.points[nearest]) * along).sum(axis=1)


def curved_axis(line: NDArray) -> CurvedAxis:
    """A smooth axis through a centre line.

    Parameters
    ----------
    line : ndarray (n, 3)
        Points from above downward, RAS mm; at least two.

    Returns
    -------
    CurvedAxis
        Its right stays in the body's left-right direction (RAS x without what runs along the curve), so it has no torsion.
    """
    from scipy.interpolate import make_smoothing_spline
    from scipy.ndimage import gaussian_filter1d

    line = np.asarray(line, dtype=np.float64)
    raw = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    fine = np.linspace(0, raw[-1], max(int(np.ceil(raw[-1])) + 1, 6))
    spacing = fine[1] - fine[0]
    smooth = np.empty((len(fine), 3))
    # a smoothing spline halves waves of wave number k where lambda k^4 = points per mm
    stiffness = (_SHORTEST_WAVE_MM / (2 * np.pi)) ** 4 / spacing
    for a in range(3):
        smooth[:, a] = make_smoothing_spline(fine, np.interp(fine, raw, line[:, a]), lam=stiffness)(fine)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(smooth, axis=0), axis=1))])
    inner = np.arange(0, length[-1] + 1e-9, _STEP_MM)
    points = np.stack([np.interp(inner, length, smooth[:, a]) for a in range(3)], axis=1)
    ends = max(min(len(points) - 1, round(8 / _STEP_MM)), 1)
    up = _unit(points[0] - points[ends])
    down = _unit(points[-1] - points[-1 - ends])
    run = np.arange(1, round(_RUN_ON_MM / _STEP_MM) + 1)[:, None] * _STEP_MM
    points = np.concatenate([points[0] + run[::-1] * up, points, points[-1] + run * down])
    # the corners where the straight parts begin are rounded
    points = gaussian_filter1d(points, _ROUNDING_MM / _STEP_MM, axis=0, mode="nearest")
    arc = np.concatenate([-run[::-1, 0], inner, inner[-1] + run[:, 0]])
    along = _unit(np.gradient(points, axis=0))
    right = _unit(np.array([1.0, 0, 0]) - along[:, :1] * along)
    # downward x right = backward
    front = -np.cross(along, right)
    return CurvedAxis(arc, points, right, front, (0.0, float(length[-1])))


@dataclass(frozen=True)
class Outlines:
    """The outline of a mask in planes across an axis, as seen from its middle.

    Parameters
    ----------
    arc : ndarray (planes,)
        Where the planes are.
    middle : ndarray (planes, 2)
        Centroid, mm to the right and forward of the axis.
    radius : ndarray (planes, angles)
        Distance of the outline from `middle`, mm, at angles counted from right over front.
    weight : ndarray (planes,)
        Confidence, 0 where there is no usable outline.
    """

    arc: NDArray[np.float64] = field(repr=False)
    middle: NDArray[np.float64] = field(repr=False)
    radius: NDArray[np.float64] = field(repr=False)
    weight: NDArray[np.float64] = field(repr=False)


def angles() -> NDArray[np.floating]:
    """Angles of the outlines, from right over front, rad."""
    return np.arange(_ANGLES) * (2 * np.pi / _ANGLES)


def directions() -> NDArray[np.floating]:
    """Unit vectors (angles, 2) of the outlines: right, front."""
    return np.stack([np.cos(angles()), np.sin(angles())], axis=1)


def outlines(share: NDArray, grid: Grid, axis: CurvedAxis, arc: NDArray, confidence: NDArray, slice_axis: int) -> Outlines:
    """Outline of a mask in planes across an axis.

    Along every ray from the middle the radius is the one whose disc sector has the area that the mask's shares add up to,
    r^2 = 2 integral of share(r) r dr: neither a threshold nor blur of the edge moves it much.

    Parameters
    ----------
    share : ndarray (x, y, z)
        Mask, or share of each voxel that belongs to it, 0-1; nothing else near it.
    grid : Grid
        Of `share`.
    axis : CurvedAxis
        Within about 6 mm of the middle.
    arc : ndarray (planes,)
        Planes wanted.
    confidence : ndarray (slices,)
        Of each stored slice, 0 where the mask says nothing.
    slice_axis : int
        Stored axis of `confidence`.

    Returns
    -------
    Outlines
    """
    from scipy.ndimage import map_coordinates

    arc = np.asarray(arc, dtype=np.float64)
    frame = axis.at(arc)
    centre, right, front = (of[:, None, None] for of in frame)
    radii = (np.arange(round(_REACH_MM / _RADIAL_MM)) + 0.5) * _RADIAL_MM
    rays = directions()
    box, low = _around(share)
    middle = np.zeros((len(arc), 2))
    radius = np.zeros((len(arc), _ANGLES))
    usable = np.zeros(len(arc), dtype=bool)
    for _ in range(_ROUNDS):
        across = middle[:, None, None] + radii[:, None, None] * rays
        points = centre + across[..., :1] * right + across[..., 1:] * front
        found = map_coordinates(box, np.moveaxis(grid.to_voxel(points) - low, -1, 0), order=1, mode="constant")
        radius = np.sqrt(2 * _RADIAL_MM * (found * radii[:, None]).sum(axis=1))
        area = np.pi * (radius**2).mean(axis=1)
        usable = (area > _AREA_MM2[0]) & (area < _AREA_MM2[1])
        # centroid of a star-shaped outline
        step = 2 * np.pi / 3 * (radius[..., None] ** 3 * rays).mean(axis=1) / np.maximum(area, 1)[:, None]
        middle = np.where(usable[:, None], np.clip(middle + step, -_FARTHEST_MM, _FARTHEST_MM), 0)
    return Outlines(arc, middle, radius, usable * _certainty(grid, frame, middle, confidence, slice_axis))


def smooth_along(values: NDArray, weight: NDArray, sigma: float) -> NDArray[np.float64]:
    """Values (n, ..) at even steps smoothed with their weights (n,), and carried on where there is none.

    Parameters
    ----------
    sigma : float
        Of the Gaussian, in steps.
    """
    steps = np.arange(len(weight))
    apart = np.abs(steps[:, None] - steps)
    # the long tail only counts where nothing lies near
    kernel = (np.exp(-0.5 * (apart / sigma) ** 2) + 1e-6 * np.exp(-apart / (3 * sigma))) * weight
    kernel /= kernel.sum(axis=1, keepdims=True)
    return np.tensordot(kernel, values, axes=1)


def _around(share: NDArray) -> tuple[NDArray[np.float32], NDArray[np.int_]]:
    """The part of an array that is not 0, with one voxel around it where there is one, and its first index."""
    spans = []
    for axis in range(3):
        held = np.flatnonzero(share.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(max(held[0] - 1, 0), held[-1] + 2))
    return share[tuple(spans)].astype(np.float32), np.array([s.start for s in spans])


def _certainty(
    grid: Grid, frame: tuple[NDArray, NDArray, NDArray], middle: NDArray, confidence: NDArray, slice_axis: int
) -> NDArray[np.float64]:
    """Least confidence of the stored slices that each plane crosses within the cord; 0 where it leaves the image."""
    points, right, front = (of[:, None] for of in frame)
    ring = middle[:, None] + _RING_MM * directions()[::6]
    where = grid.to_voxel(points + ring[..., :1] * right + ring[..., 1:] * front)
    inside = np.all((where > -0.5) & (where < np.array(grid.shape) - 0.5), axis=-1)
    position = where[..., slice_axis]
    certain = np.interp(position, np.arange(len(confidence)), confidence)
    # half a slice beyond the last one that has any, it still reaches
    nearest = np.clip(np.round(position).astype(int), 0, len(confidence) - 1)
    certain = np.where(confidence[nearest] > 0, np.maximum(certain, 0.5 * confidence[nearest]), 0)
    return np.where(inside, certain, 0).min(axis=1)


def _unit(vectors: NDArray) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
