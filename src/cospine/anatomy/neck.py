"""A neck straightened along the cord, and how much each place in it looks like an intervertebral disc.

Discs and vertebral bodies alternate in front of the canal. Which of the two is brighter depends on the contrast and on the
person; that they alternate across the whole depth and on both sides of the midline does not.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.grid import Grid

STEP_MM = 0.5
_ABOVE_MM, _BELOW_MM = 45.0, 20.0  # the line is followed straight on: the dens is above many a centre line's top
_FRAME_SIGMA_MM = 8.0  # frames turn slowly: the cord's wiggles are no curves of the spine
_LATERAL_MM = np.array([[-4.0, -3.0, -2.0, -1.0], [1.0, 2.0, 3.0, 4.0]])
_DEPTH_MM = np.arange(9.0, 22.1, 1.0)  # in front of the cord's centre: from the body's back wall (PAM50: 10 mm) to its front part
_TILTS = np.tan(np.radians(np.arange(-20.0, 21.0, 5.0)))
_TILT_SIGMA_MM = 20.0  # neighbouring discs lean alike
_LOCAL_SIGMA_MM = 16.0  # about one vertebra: what contrast there is, bias field or not
_DISC_SIGMA_MM = 1.7
_BODY_SIGMA_MM = 6.0
_EDGE_SIGMA_MM = 2.3
_FEATURE_LIMIT = 2.5
_IN_VIEW = 0.9  # of the depth: a body cut off by the edge of the picture changes with the edge
_TRUST_SIGMA_MM = 35.0  # several vertebrae: whether discs show here at all
_BORDER_MM = 4.0
_TRUST_FROM_TO = (0.5, 0.85)  # correlation of left and right; of noise, at the tilt that suits it best, up to 0.6


@dataclass(frozen=True)
class Neck:
    """A neck straightened along the cord.

    Parameters
    ----------
    position_mm : ndarray (n,)
        Length along the centre line from its top, every 0.5 mm, negative above it.
    points : ndarray (n, 3)
        The centre line there, RAS mm, straight on beyond its ends.
    slab : ndarray (2, n, depth)
        Image in front of the cord, averaged over 1-4 mm to its left and to its right; NaN out of view.
    length_mm : float
        Length of the centre line.
    """

    position_mm: NDArray[np.float64]
    points: NDArray[np.float64] = field(repr=False)
    slab: NDArray[np.float64] = field(repr=False)
    length_mm: float


@dataclass(frozen=True)
class Look:
    """How much each place along a neck looks like a disc.

    Parameters
    ----------
    bright : ndarray (n,)
        Brightness against the bodies above and below, normalised to the local spread.
    edges : ndarray (n,)
        Density of edges across the column, normalised alike.
    seen : ndarray (n,), bool
        Where the column is in view.
    bright_trust, edges_trust : ndarray (n,)
        0 to 1: whether left and right of the midline tell the same there, or noise is all there is.
    """

    bright: NDArray[np.float64]
    edges: NDArray[np.float64]
    seen: NDArray[np.bool_]
    bright_trust: NDArray[np.float64]
    edges_trust: NDArray[np.float64]


def line_length(line: NDArray) -> NDArray[np.float64]:
    """Length along a line (n, 3) from its first point, shape (n,)."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def extended_line(line: NDArray, above_mm: float = _ABOVE_MM, below_mm: float = _BELOW_MM) -> tuple[NDArray, NDArray]:
    """A centre line every 0.5 mm, straight on beyond both ends.

    Parameters
    ----------
    line : ndarray (n, 3)
        RAS mm, top to bottom, n >= 2.
    above_mm, below_mm : float
        How far beyond the ends.

    Returns
    -------
    position_mm : ndarray (m,)
        Length from the line's top, negative above.
    points : ndarray (m, 3)
        RAS mm.
    """
    along = line_length(line)
    position = np.arange(-above_mm, along[-1] + below_mm, STEP_MM)
    points = np.stack([np.interp(position, along, line[:, axis]) for axis in range(3)], axis=1)
    # the direction of the last centimetre, not of the last two points
    near_top, near_bottom = along <= min(12.0, along[-1]), along >= along[-1] - 12.0
    for beyond, near, end in ((position < 0, near_top, 0), (position > along[-1], near_bottom, -1)):
        slope = np.polyfit(along[near], line[near], 1)[0]
        direction = slope / np.linalg.norm(slope)
        points[beyond] = line[end] + (position[beyond] - along[end])[:, None] * direction
    return position, points


def project(position_mm: NDArray, points: NDArray, point: NDArray) -> tuple[float, float]:
    """Position along a finely sampled line (n,), (n, 3) of its place nearest to a point (3,), and the distance, mm."""
    distance = np.linalg.norm(points - point, axis=1)
    nearest = int(np.argmin(distance))
    return float(position_mm[nearest]), float(distance[nearest])


def straighten(image: NDArray, grid: Grid, line: NDArray) -> Neck:
    """Image in front of the cord, along its centre line.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Any contrast.
    grid : Grid
        Its grid, any orientation.
    line : ndarray (n, 3)
        Centre line of the cord, RAS mm, top to bottom.

    Returns
    -------
    Neck
    """
    position, points = extended_line(np.asarray(line, dtype=np.float64))
    smooth = ndimage.gaussian_filter1d(points, _FRAME_SIGMA_MM / STEP_MM, axis=0, mode="nearest")
    tangent = np.gradient(smooth, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    forward = np.array([0.0, 1.0, 0.0]) - tangent * tangent[:, 1:2]
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    across = np.cross(forward, tangent)
    places = (
        points[:, None, None]
        + _DEPTH_MM[:, None, None] * forward[:, None, None]
        + _LATERAL_MM[:, None, None, :, None] * across[:, None, None]
    )
    voxel = np.moveaxis(grid.to_voxel(places), -1, 0)
    values = ndimage.map_coordinates(image, voxel, order=1, mode="constant", cval=np.nan, output=np.float64)
    seen = np.isfinite(values)
    count = seen.sum(axis=-1)
    total = np.where(seen, values, 0.0).sum(axis=-1)
    slab = np.where(count >= _LATERAL_MM.shape[1] / 2, total / np.maximum(count, 1), np.nan)
    return Neck(position, points, slab, float(line_length(np.asarray(line, dtype=np.float64))[-1]))


def _smooth(values: NDArray, seen: NDArray, sigma_mm: float) -> NDArray[np.float64]:
    """Gaussian mean along the first axis over what was seen."""
    sigma = sigma_mm / STEP_MM
    total = ndimage.gaussian_filter1d(np.where(seen, values, 0.0), sigma, axis=0, mode="constant")
    weight = ndimage.gaussian_filter1d(seen.astype(np.float64), sigma, axis=0, mode="constant")
    return total / np.maximum(weight, 1e-6)


def _band(profile: NDArray, seen: NDArray, core_mm: float) -> NDArray[np.float64]:
    """A profile's core against its flanks; 0 where not seen."""
    return np.where(seen, _level(profile, seen, core_mm) - _level(profile, seen, _BODY_SIGMA_MM), 0.0)


def _level(profile: NDArray, seen: NDArray, sigma_mm: float) -> NDArray[np.float64]:
    """Local linear fit (Cleveland 1979) at each place: where the view ends, a trend is no edge."""
    sigma = sigma_mm / STEP_MM
    x = np.arange(len(profile), dtype=np.float64)
    weight = seen.astype(np.float64)
    value = np.where(seen, profile, 0.0)
    s0, s1, s2, t0, t1 = (
        ndimage.gaussian_filter1d(term, sigma, mode="constant") for term in (weight, weight * x, weight * x * x, value, value * x)
    )
    first, second, cross = s1 - x * s0, s2 - 2 * x * s1 + x * x * s0, t1 - x * t0
    spread = s0 * second - first**2
    return np.where(seen & (spread > 1e-6), (second * t0 - first * cross) / np.where(spread > 1e-6, spread, 1.0), value)


def _contrast(profile: NDArray, seen: NDArray, core_mm: float) -> NDArray[np.float64]:
    """A profile's core against its flanks, in units of its own local spread; 0 where not seen."""
    band = _band(profile, seen, core_mm)
    spread = np.sqrt(_smooth(band**2, seen, _LOCAL_SIGMA_MM))
    # where the picture is flat next to where it is not, there is nothing to see
    floor = 0.25 * np.sqrt((band[seen] ** 2).mean()) if seen.any() else 1.0
    scaled = band / np.maximum(spread, max(floor, 1e-9))
    return np.where(seen, np.clip(scaled, -_FEATURE_LIMIT, _FEATURE_LIMIT), 0.0)


def disc_features(neck: Neck) -> Look:
    """How much each place along the neck looks like a disc.

    Parameters
    ----------
    neck : Neck
        Straightened neck.

    Returns
    -------
    Look
    """
    slab = neck.slab
    inside = np.isfinite(slab)
    n = slab.shape[1]
    if not inside.any():
        nothing = np.zeros(n)
        return Look(nothing, nothing, nothing.astype(bool), nothing, nothing)
    # the logarithm turns receive bias into an offset; air and noise stay finite
    level = max(float(np.percentile(slab[inside], 75)), 1e-9)
    log = np.log(np.maximum(_continued(slab, level), 0.0) / level + 0.15)
    rows = np.arange(n, dtype=np.float64)
    back = _DEPTH_MM - _DEPTH_MM[0]
    sides, edges, views = [], [], []
    for tilt in _TILTS:
        at = rows[:, None] + back[None, :] * tilt / STEP_MM
        where = np.stack([at, np.broadcast_to(np.arange(len(back), dtype=np.float64), at.shape)])
        sheared = np.stack([ndimage.map_coordinates(side, where, order=1, mode="nearest") for side in log])
        view = ndimage.map_coordinates(inside.all(axis=0).astype(np.float64), where, order=1, mode="constant") > 0.99
        sides.append(np.where(view, sheared, 0.0).sum(axis=2) / np.maximum(view.sum(axis=1), 1))
        # edges that run across the whole body count, speckle does not: mean slope of thirds of the depth
        slope = np.gradient(ndimage.gaussian_filter1d(sheared, 1.0 / STEP_MM, axis=1), axis=1)
        slope = np.stack([*slope, slope.mean(axis=0)])
        edges.append(np.abs([part.mean(axis=2) for part in np.array_split(slope, 3, axis=2)]).mean(axis=0))
        views.append(view.mean(axis=1) >= _IN_VIEW)
    side, edge, view = np.array(sides), np.array(edges), np.array(views)
    profile = side.mean(axis=1)
    band = np.stack([_band(p, v, _DISC_SIGMA_MM) for p, v in zip(profile, view, strict=True)])
    strength = np.stack([_smooth(b**2, v, _TILT_SIGMA_MM) for b, v in zip(band, view, strict=True)]) ** 4
    lean = (strength * _TILTS[:, None]).sum(axis=0) / np.maximum(strength.sum(axis=0), 1e-300)
    place = np.interp(lean, _TILTS, np.arange(len(_TILTS)))
    lower = np.minimum(place.astype(int), len(_TILTS) - 2)
    part = place - lower
    column = np.arange(n)

    def leaning(values: NDArray) -> NDArray[np.float64]:
        return (1 - part) * values[lower, column] + part * values[lower + 1, column]

    seen = view[lower, column] & view[lower + 1, column]
    return Look(
        bright=_contrast(leaning(profile), seen, _DISC_SIGMA_MM),
        edges=_contrast(leaning(edge[:, 2]), seen, _EDGE_SIGMA_MM),
        seen=seen,
        bright_trust=_agreement(leaning(side[:, 0]), leaning(side[:, 1]), seen, _DISC_SIGMA_MM),
        edges_trust=_agreement(leaning(edge[:, 0]), leaning(edge[:, 1]), seen, _EDGE_SIGMA_MM),
    )


def _continued(slab: NDArray, otherwise: float) -> NDArray[np.float64]:
    """The slab with its nearest value along the neck where it is out of view, so that the end of the view is no edge."""
    out = np.full(slab.shape, otherwise)
    rows = np.arange(slab.shape[1])
    for side, depth in np.ndindex(slab.shape[0], slab.shape[2]):
        seen = np.isfinite(slab[side, :, depth])
        if seen.any():
            out[side, :, depth] = np.interp(rows, rows[seen], slab[side, seen, depth])
    return out


def _agreement(left: NDArray, right: NDArray, seen: NDArray, core_mm: float) -> NDArray[np.float64]:
    """How far left and right of the midline tell the same, 0 to 1: discs run through both, noise does not."""
    one, other = (_band(half, seen, core_mm) for half in (left, right))
    # a level at the edge of the view is an extrapolation, and noise alone moves it far
    inner = ndimage.binary_erosion(seen, iterations=round(_BORDER_MM / STEP_MM))
    joint = _smooth(one * other, inner, _TRUST_SIGMA_MM)
    alone = np.sqrt(_smooth(one**2, inner, _TRUST_SIGMA_MM) * _smooth(other**2, inner, _TRUST_SIGMA_MM))
    correlation = joint / np.maximum(alone, 1e-12)
    low, high = _TRUST_FROM_TO
    return np.where(seen, np.clip((correlation - low) / (high - low), 0.0, 1.0), 0.0)
