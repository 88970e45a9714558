"""The cord brought to PAM50: along its own curved axis by levels, across it by size, turn and outline.

The map of PAM50 points to image points is built in closed form, plane by plane, and then sampled as a field:

1. Height in PAM50 becomes length along the person's axis: monotone (PCHIP) through the discs, and beyond the outermost one at
   the scale of the last two levels.
2. Planes stand across a smooth axis that has no torsion (:mod:`cospine.anatomy.straighten`).
3. In each plane the template's outline is shifted, turned and scaled to the person's by second moments, smoothly along the cord.
4. What differs then is a gentle radial stretch within the outline.
5. Away from the cord all this fades into the axis's own frame, scaled as the neck is along it.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.levels import Levels
from cospine.anatomy.segmentation import CordSegmentation
from cospine.anatomy.straighten import CurvedAxis, Outlines, curved_axis, directions, outlines, smooth_along
from cospine.errors import CoSpineError
from cospine.space.cord_template import CordTemplate
from cospine.space.grid import Grid
from cospine.space.transform import Displacement, inverse_displacement, jacobian

_PLANE_MM = 1.0
# Smoothing along the cord (standard deviation): of outline and middle, and of the turn, which an almost round cord hardly shows.
_OUTLINE_MM, _TURN_MM = 3.0, 15.0
_MOST_TURN = np.radians(15.0)
_ORDERS = 6  # Fourier orders of the radial stretch
_STRETCH = (0.8, 1.25)
_SIZE = (0.6, 1.7)
_LEVEL_SCALE = (0.4, 2.2)  # person's length of a level in that of the template's
_END_SCALE = (0.75, 1.3)
# In PAM50, mm from the cord's middle: up to the first everything is the cord's, from the second on nothing is. It fades with the
# logarithm of the distance, which for a cord much larger than the template's folds last.
_CORD_MM, _NECK_MM = 7.0, 30.0
# Around PAM50's box, mm: right and left, behind, in front, below, above. Enough in front to see vertebrae in pictures.
_MARGIN_MM = (12.0, 18.0, 30.0, 6.0, 10.0)
_BACK_MM = 23.0
_LEAST_JACOBIAN = 0.05


@dataclass(frozen=True)
class CordWarp:
    """Maps between PAM50 and a person's image.

    Parameters
    ----------
    forward : Displacement
        PAM50 point to image point, on a 1 mm grid of PAM50's box and around it.
    inverse : Displacement
        Image point to PAM50 point, on a 1 mm grid about the person's cord.
    covered_z_mm : tuple of float
        Lowest and highest PAM50 z at which the person's cord was seen.
    coverage : ndarray (z,), float32
        Confidence of the person's cord at each slice of the template, 0 where it was not seen.
    dice_z : ndarray (z,), float32
        Dice of the person's cord brought to PAM50 with the template's, for each slice of the template; NaN where it was not seen.
    smallest_jacobian : float
        Of `forward`, anywhere.
    round_trip_mm : float
        Farthest that there and back leads a point of the template's cord or within 5 mm of it, mm.
    discs : tuple of int
        Which discs fixed the heights.
    method : str
        What was done, a sentence for sidecars and reports.
    """

    forward: Displacement
    inverse: Displacement
    covered_z_mm: tuple[float, float]
    coverage: NDArray[np.float32] = field(repr=False)
    dice_z: NDArray[np.float32] = field(repr=False)
    smallest_jacobian: float
    round_trip_mm: float
    discs: tuple[int, ...]
    method: str


def normalise_cord(cord: CordSegmentation, grid: Grid, levels: Levels, template: CordTemplate) -> CordWarp:
    """Bring a person's cord to PAM50.

    Parameters
    ----------
    cord : CordSegmentation
        The person's.
    grid : Grid
        Of its masks.
    levels : Levels
        Discs on the cord's centre line, RAS mm; at least two.
    template : CordTemplate
        In PAM50's space.

    Returns
    -------
    CordWarp

    Raises
    ------
    CoSpineError
        When there is no cord, fewer than two discs are known, discs are not in order, or the cord seen does not reach the box.
    """
    if not cord.found:
        raise CoSpineError(f"no cord to bring to PAM50: {cord.reason}", "the cord mask", "give one with --cord-mask")
    if len(cord.centre_line) < 2:
        raise CoSpineError("the cord is seen in one slice alone, PAM50 needs two", "the cord mask", "give one with --cord-mask")
    share = _share(cord, grid)
    axis = _axis(cord, share, grid)
    known = tuple(n for n in sorted(levels.discs) if n in template.discs)
    lengths, scale = _heights(known, levels, axis, template)
    own_arc = np.arange(axis.given[0] - 8, axis.given[1] + 8, _PLANE_MM)
    own = outlines(share, grid, axis, own_arc, cord.confidence, cord.slice_axis)
    if not (own.weight > 0).any():
        raise CoSpineError("the cord mask has no usable cross-section", "the cord mask", "give one with --cord-mask")
    box = template.grid
    z = box.to_ras(np.stack([np.zeros(box.shape[2])] * 2 + [np.arange(box.shape[2])], axis=1))[:, 2]
    in_cord = template.cord.any(axis=(0, 1))
    coverage = np.where(in_cord, np.interp(lengths(z), own.arc, own.weight, left=0, right=0), 0).astype(np.float32)
    if not (coverage > 0).any():
        raise CoSpineError(
            "the cord seen and the levels named do not meet within PAM50's box (C1 to T1)", "levels", "check the discs (--discs)"
        )
    model = _model(own, axis, lengths, scale, template)
    forward, smallest, strength = _sampled(model, template.grid)
    low, high = float(z[coverage > 0].min()), float(z[coverage > 0].max())
    inverse = _inverse(model, forward, low, high)
    dice, round_trip = _checked(share, grid, forward, inverse, coverage > 0, template)
    return CordWarp(
        forward,
        inverse,
        (low, high),
        coverage,
        dice,
        smallest,
        round_trip,
        known,
        f"Straightened along the cord's own axis, heights by discs {', '.join(map(str, known))} ({levels.method}), "
        f"across it the outline of the mask fitted to {template.name} by shift, turn, two sizes and a radial stretch"
        f"{'' if strength == 1 else f' at {strength:.0%} of its strength, for more would fold'}",
    )


@dataclass(frozen=True)
class _Model:
    """The map in closed form, one entry a plane of the template (heights `z`, downward)."""

    z: NDArray[np.floating]
    place: tuple[NDArray, NDArray, NDArray]  # point, right, front of the person's planes
    origin: NDArray[np.float64]  # the template's middle, x and y
    middle: NDArray[np.float64]
    linear: NDArray[np.float64]  # (planes, 2, 2) within the cord
    frame: NDArray[np.float64]  # (planes, 2, 2) far from it
    edge: NDArray[np.float64]  # (planes, angles) radius of the template's outline where `linear` puts it
    stretch: NDArray[np.float64]  # (planes, angles) the person's radius in that

    def planes(self, x: NDArray, y: NDArray, strength: float) -> NDArray[np.float64]:
        """Image points (planes, y, x, 3) of the template's planes at positions x and y."""
        u = np.empty((len(self.z), len(y), len(x), 2))
        u[..., 0] = x - self.origin[:, 0, None, None]
        u[..., 1] = y[:, None] - self.origin[:, 1, None, None]
        inner = np.einsum("kij,kyxj->kyxi", self.linear, u)
        far = np.linalg.norm(inner, axis=-1)
        turn = np.arctan2(inner[..., 1], inner[..., 0]) % (2 * np.pi) * (self.edge.shape[1] / (2 * np.pi))
        ratio = far / _periodic(self.edge, turn)
        # 0 at the middle, where a radial stretch has a kink; all of it at the outline; none at three times that
        share = np.where(ratio < 1, ratio * ratio * (3 - 2 * ratio), _fade(ratio, 1.3, 3.0))
        inner *= (1 + strength * share * (_periodic(self.stretch, turn) - 1))[..., None]
        outer = np.einsum("kij,kyxj->kyxi", self.frame, u)
        away = np.log(np.maximum(np.linalg.norm(u, axis=-1), _CORD_MM))
        near = _fade(away, np.log(_CORD_MM), np.log(_NECK_MM))[..., None]
        across = near * (inner + self.middle[:, None, None]) + (1 - near) * outer
        centre, right, front = (of[:, None, None] for of in self.place)
        return centre + across[..., :1] * right + across[..., 1:] * front


def _share(cord: CordSegmentation, grid: Grid) -> NDArray[np.float32]:
    """The soft mask without what lies more than a voxel or 2.5 mm away from the mask."""
    from scipy.ndimage import distance_transform_edt

    spans = []
    for axis in range(3):
        held = np.flatnonzero(cord.mask.any(axis=tuple(a for a in range(3) if a != axis)))
        reach = int(np.ceil(3 / grid.voxel_mm[axis])) + 1
        spans.append(slice(max(held[0] - reach, 0), held[-1] + reach + 1))
    box = tuple(spans)
    near = distance_transform_edt(~cord.mask[box], sampling=grid.voxel_mm) <= max(2.5, grid.voxel_mm.min() * 1.01)  # type: ignore[operator]
    share = np.zeros(cord.mask.shape, dtype=np.float32)
    share[box] = cord.soft[box] * near
    return share


def _axis(cord: CordSegmentation, share: NDArray, grid: Grid) -> CurvedAxis:
    """The smooth axis through the middles of the mask, starting from the given centre line."""
    axis = curved_axis(cord.centre_line)
    for _ in range(2):
        arc = np.arange(axis.given[0], axis.given[1] + _PLANE_MM, _PLANE_MM)
        found = outlines(share, grid, axis, arc, cord.confidence, cord.slice_axis)
        seen = found.weight > 0
        if seen.sum() < 2:
            return axis
        centre, right, front = axis.at(arc[seen])
        axis = curved_axis(centre + found.middle[seen, :1] * right + found.middle[seen, 1:] * front)
    return axis


class _Heights:
    """Length along the person's axis as a function of PAM50 z."""

    def __init__(self, z: NDArray, arc: NDArray, ends: tuple[float, float]) -> None:
        from scipy.interpolate import PchipInterpolator

        # beyond the outermost discs two more nodes each, so that the slope there is the ends' and constant
        run = np.array([20.0, 60.0])
        down = np.concatenate([-z[0] - run[::-1], -z, -z[-1] + run])
        along = np.concatenate([arc[0] - ends[0] * run[::-1], arc, arc[-1] + ends[1] * run])
        self._curve = PchipInterpolator(down, along, extrapolate=True)

    def __call__(self, z: NDArray) -> NDArray[np.float64]:
        return np.asarray(self._curve(-np.asarray(z, dtype=np.float64)), dtype=np.float64)


def _heights(known: tuple[int, ...], levels: Levels, axis: CurvedAxis, template: CordTemplate) -> tuple[_Heights, float]:
    """Heights by discs, and the mean scale along the cord (person's mm for one of the template's)."""
    if len(known) < 2:
        why = levels.reason or f"{len(known)} of the discs that the template has"
        raise CoSpineError(
            f"the cord cannot be brought to PAM50, for its levels are not known: {why}", "levels", "name two or more with --discs"
        )
    arc = axis.locate(np.array([levels.discs[n] for n in known], dtype=np.float64))
    z = np.array([template.discs[n][2] for n in known], dtype=np.float64)
    scales = np.diff(arc) / -np.diff(z)
    wrong = (scales < _LEVEL_SCALE[0]) | (scales > _LEVEL_SCALE[1])
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise CoSpineError(
            f"discs {known[first]} and {known[first + 1]} are {arc[first + 1] - arc[first]:.1f} mm apart along the cord; "
            f"the template's are {z[first] - z[first + 1]:.1f} mm",
            "levels",
            "check the discs and give them with --discs",
        )

    def local(part: slice) -> float:
        return float(np.clip((arc[part][-1] - arc[part][0]) / (z[part][0] - z[part][-1]), *_END_SCALE))

    return _Heights(z, arc, (local(slice(0, 3)), local(slice(-3, None)))), local(slice(None))


def _model(own: Outlines, axis: CurvedAxis, lengths: _Heights, scale: float, template: CordTemplate) -> _Model:
    """All that the map is made of, at the planes of the forward field."""
    top = template.grid.to_ras(np.array([0, 0, template.grid.shape[2] - 1]))[2] + _MARGIN_MM[4]
    bottom = template.grid.to_ras(np.zeros(3))[2] - _MARGIN_MM[3]
    z = np.arange(np.ceil(top), np.floor(bottom) - 0.5, -_PLANE_MM)
    x0, y0 = np.median(template.centre_line[:, :2], axis=0)
    straight = curved_axis(np.array([[x0, y0, z[0]], [x0, y0, z[-1]]]))
    theirs = outlines(template.cord, template.grid, straight, z[0] - z, np.ones(template.grid.shape[2]), 2)

    def at_planes(values: NDArray, sigma_mm: float) -> NDArray[np.float64]:
        smooth = smooth_along(values, own.weight, sigma_mm / _PLANE_MM).reshape(len(own.arc), -1)
        wanted = lengths(z)
        return np.stack([np.interp(wanted, own.arc, column) for column in smooth.T], axis=1)

    radius = at_planes(own.radius, _OUTLINE_MM)
    middle = at_planes(own.middle, _OUTLINE_MM)
    goal = smooth_along(theirs.radius, theirs.weight, _OUTLINE_MM)
    origin = np.array([x0, y0]) + smooth_along(theirs.middle, theirs.weight, _OUTLINE_MM)
    # the direction of the longer half-axis, averaged as twice the angle; the rounder the less it counts
    long = at_planes(_elongation(own.radius), _TURN_MM)
    turn = np.clip(0.5 * np.arctan2(long[:, 1], np.maximum(long[:, 0], 0.05)), -_MOST_TURN, _MOST_TURN)
    rotation = np.stack([np.stack([np.cos(turn), -np.sin(turn)], 1), np.stack([np.sin(turn), np.cos(turn)], 1)], axis=1)
    straight_up = np.broadcast_to(np.eye(2), rotation.shape)
    sizes = np.clip(_half_axes(radius, rotation) / _half_axes(goal, straight_up), *_SIZE)
    linear = rotation * sizes[:, None]
    edge = _moved_radius(goal, linear)
    stretch = np.clip(_low_pass(radius / edge), *_STRETCH)
    return _Model(z, axis.at(lengths(z)), origin, middle, linear, rotation * scale, edge, stretch)


def _elongation(radius: NDArray) -> NDArray[np.float64]:
    """Difference of second moments along and across (right, front), and twice the mixed one, by their sum: (planes, 2)."""
    power = radius**4
    rays = directions()
    xx, yy, xy = ((power * rays[:, a] * rays[:, b]).mean(axis=1) for a, b in ((0, 0), (1, 1), (0, 1)))
    return np.stack([xx - yy, 2 * xy], axis=1) / np.maximum(xx + yy, 1e-6)[:, None]


def _half_axes(radius: NDArray, rotation: NDArray) -> NDArray[np.float64]:
    """Half-axes (planes, 2) of the ellipses with the outlines' second moments along turned axes."""
    along = np.einsum("kji,aj->kai", rotation, directions())
    second = (radius[..., None] ** 4 * along**2).mean(axis=1)
    area = (radius**2).mean(axis=1)[:, None]
    return np.sqrt(np.maximum(2 * second / np.maximum(area, 1e-6), 1e-6))


def _moved_radius(radius: NDArray, linear: NDArray) -> NDArray[np.float64]:
    """Outlines (planes, angles) after linear maps, again at even angles."""
    backward = np.linalg.inv(linear)
    # the ray that ends up at each even angle, and its length per length there
    source = np.einsum("kij,aj->kai", backward, directions())
    turn = np.arctan2(source[..., 1], source[..., 0]) % (2 * np.pi) * (radius.shape[1] / (2 * np.pi))
    return _periodic(radius, turn) / np.linalg.norm(source, axis=-1)


def _low_pass(values: NDArray) -> NDArray[np.float64]:
    """Periodic values (planes, angles) without what changes faster than `_ORDERS` times a turn."""
    spectrum = np.fft.rfft(values, axis=1)
    order = np.arange(spectrum.shape[1])
    return np.fft.irfft(
        spectrum * np.where(order <= _ORDERS, np.cos(0.5 * np.pi * order / (_ORDERS + 1)), 0), values.shape[1], axis=1
    )


def _periodic(values: NDArray, position: NDArray) -> NDArray[np.float64]:
    """Linear interpolation in each plane: values (planes, angles) at angle numbers `position` (planes, ..)."""
    below = np.floor(position).astype(int)
    part = position - below
    count = values.shape[1]
    plane = np.arange(len(values)).reshape(-1, *[1] * (position.ndim - 1))
    return (1 - part) * values[plane, below % count] + part * values[plane, (below + 1) % count]


def _fade(distance: NDArray, start: float, end: float) -> NDArray[np.float64]:
    """1 up to `start`, 0 from `end` on, half a cosine between."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - start) / (end - start), 0, 1))


def _sampled(model: _Model, box: Grid) -> tuple[Displacement, float, float]:
    """The forward field, its smallest Jacobian, and the strength of stretch at which nothing folds."""
    corners = box.to_ras(np.array([[0, 0, 0], np.array(box.shape) - 1]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    x = np.arange(np.floor(low[0] - _MARGIN_MM[0]), np.ceil(high[0] + _MARGIN_MM[0]) + 0.5, _PLANE_MM)
    y = np.arange(np.floor(low[1] - _MARGIN_MM[1]), np.ceil(high[1] + _MARGIN_MM[2]) + 0.5, _PLANE_MM)
    affine = np.eye(4)
    affine[:3, 3] = x[0], y[0], model.z[-1]
    grid = Grid((len(x), len(y), len(model.z)), affine)
    own = np.moveaxis(np.indices(grid.shape), 0, -1) + affine[:3, 3]
    for strength in (1.0, 0.5, 0.0):
        points = model.planes(x, y, strength)[::-1].transpose(2, 1, 0, 3)
        forward = Displacement(grid, (points - own).astype(np.float32))
        smallest = float(jacobian(forward).min())
        if smallest > _LEAST_JACOBIAN:
            return forward, smallest, strength
    raise CoSpineError(
        f"the map to PAM50 folds (smallest Jacobian {smallest:.2f}): the neck is bent too sharply", "the cord mask", "check it"
    )


def _inverse(model: _Model, forward: Displacement, low: float, high: float) -> Displacement:
    """The way back, on a 1 mm grid about the covered cord."""
    near = (model.z >= low - 12) & (model.z <= high + 12)
    line = model.place[0][near]
    start = np.floor(line.min(axis=0) - _BACK_MM)
    start[2] = np.floor(line[:, 2].min()) - 6
    end = line.max(axis=0) + _BACK_MM
    end[2] = line[:, 2].max() + 6
    affine = np.eye(4)
    affine[:3, 3] = start
    shape = np.ceil(end - start).astype(int) + 1
    return inverse_displacement(forward, Grid((shape[0], shape[1], shape[2]), affine))[0]


def _checked(
    share: NDArray, grid: Grid, forward: Displacement, inverse: Displacement, seen: NDArray, template: CordTemplate
) -> tuple[NDArray[np.float32], float]:
    """Dice of every slice of the template's cord, and the farthest that there and back leads within 5 mm of it."""
    from scipy.ndimage import binary_dilation, map_coordinates

    box = template.grid
    goal = template.cord >= 0.5
    reach = round(5 / float(box.voxel_mm[0]))
    disc = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    near = binary_dilation(goal & seen, disc[:, :, None])
    index = np.argwhere(near)
    points = box.to_ras(index)
    there = forward.map(points)
    found = map_coordinates(share, grid.to_voxel(there).T, order=1, mode="constant") >= 0.5
    mine = np.zeros(box.shape, dtype=bool)
    mine[tuple(index.T)] = found
    both, sizes = (mine & goal).sum(axis=(0, 1)), mine.sum(axis=(0, 1)) + goal.sum(axis=(0, 1))
    dice = np.where(seen, 2 * both / np.maximum(sizes, 1), np.nan).astype(np.float32)
    away = np.linalg.norm(inverse.map(there) - points, axis=1)
    return dice, float(away.max())
