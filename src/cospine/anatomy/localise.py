"""Where in an image of any field of view the head and the cord are, to about two millimetres.

The image is averaged to 3 mm in RAS orientation, the head network labels it, and the cord's centre line is the path down
the neck that gathers the most evidence while its slope stays small. The path may not jump; it begins and ends where the
evidence does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy import network
from cospine.space.grid import Grid

CEREBRUM, CEREBELLUM_BRAINSTEM, CORD, CANAL = 1, 2, 3, 4

_LEAST_EVIDENCE = 0.25  # evidence below this speaks against a cord: a path pays for passing there
_SLOPE_COST = 0.25  # what a slope of 45 degrees costs, against evidence of 1 for the same length
_CANAL_SHARE = 0.5  # CSF about the cord says where the cord is, less surely than the cord itself
_LEAST_PATH_MM = 9.0
_REFINE_RADIUS_MM = 10.0
_LINE_SIGMA_MM = 6.0
_STEEPEST = 1.0  # lateral mm a mm of height
_FORAMEN_RADIUS_MM = 4.0
_FORAMEN_LEAST_LEVELS = 1.5  # of brain on the axis, in levels of 3 mm
FORAMEN_LEAST_ML = 20.0  # of brain in view: less is muscle or fat that the network takes for brain
_BRAIN_ML = 150.0  # so much brain in view counts as a brain
_HEAD_MM = 100.0  # a narrower field of view, across or front to back, holds no whole brain, whatever is taken for one
_PATHS = 3  # courses that are proposed
_APART_MM = 15.0  # of each other at least
_FORAMEN_REACH_MM = 25.0  # brainstem at least this far above the cord's top must show for there to be a border


@dataclass(frozen=True)
class Head:
    """What the head network sees.

    Parameters
    ----------
    grid : Grid
        RAS grid of 3 mm over the whole field of view.
    probability : ndarray (5, x, y, z), float32
        Of background, cerebrum, cerebellum with brainstem, cord, canal.
    brain_ml : float
        Volume of cerebrum, cerebellum and brainstem in view.
    foramen_mm : ndarray (3,) or None
        Where brainstem becomes cord, on their axis, RAS mm; None when one of the two is not in view.
    """

    grid: Grid
    probability: NDArray[np.float32] = field(repr=False)
    brain_ml: float
    foramen_mm: NDArray[np.float64] | None

    @property
    def holds_brain(self) -> bool:
        """Whether enough brain is in view to count as one."""
        width, depth = (float(n * size) for n, size in zip(self.grid.shape[:2], self.grid.voxel_mm[:2], strict=True))
        return self.brain_ml >= _BRAIN_ML and min(width, depth) >= _HEAD_MM

    @property
    def brain_bottom_mm(self) -> float | None:
        """Height (RAS z, mm) of the brain's lowest point; None without a brain."""
        brain = self.probability[CEREBRUM] + self.probability[CEREBELLUM_BRAINSTEM] > 0.5
        levels = np.flatnonzero(brain.sum(axis=(0, 1)) >= 10)
        return float(self.grid.to_ras(np.array([0, 0, levels[0]]))[2]) if levels.size else None

    def in_brain(self, points: NDArray) -> NDArray[np.bool_]:
        """Whether points (n, 3) in RAS mm lie in what looks like brain."""
        index = np.rint(self.grid.to_voxel(points)).astype(int)
        index = np.clip(index, 0, np.array(self.grid.shape) - 1).T
        return self.probability[CEREBRUM][tuple(index)] + self.probability[CEREBELLUM_BRAINSTEM][tuple(index)] > 0.5


@dataclass(frozen=True)
class Line:
    """A cord's course: in-plane position as a smooth function of height.

    Parameters
    ----------
    height_mm : ndarray (n,)
        Heights of what was measured, in any order.
    position_mm : ndarray (n, 2)
        Measured positions.
    weight : ndarray (n,)
        How much each measurement counts.
    sigma_mm : float
        Reach of the smoothing.
    """

    height_mm: NDArray[np.float64]
    position_mm: NDArray[np.float64]
    weight: NDArray[np.float64]
    sigma_mm: float

    def at(self, height_mm: NDArray) -> NDArray[np.float64]:
        """Positions (m, 2) at heights (m,): local linear regression (Cleveland 1979), straight on beyond the ends."""
        asked = np.asarray(height_mm, dtype=np.float64)
        inside = np.clip(asked, self.height_mm.min(), self.height_mm.max())
        offset = self.height_mm[None, :] - inside[:, None]
        nearest = np.abs(offset).min(axis=1, keepdims=True)
        # in a long gap only the two rims speak, so that the kernel must reach them
        reach = np.maximum(self.sigma_mm, nearest)
        weight = np.exp(-0.5 * (offset / reach) ** 2) * self.weight[None, :]
        total = weight.sum(axis=1)
        mean_offset = (weight * offset).sum(axis=1) / total
        mean = weight @ self.position_mm / total[:, None]
        spread = (weight * (offset - mean_offset[:, None]) ** 2).sum(axis=1)
        # a little ridge: one measurement alone has no slope
        slope = (
            (weight * (offset - mean_offset[:, None])) @ self.position_mm / (spread + 0.05 * total * reach[:, 0] ** 2)[:, None]
        )
        steep = np.linalg.norm(slope, axis=1, keepdims=True)
        slope = slope * np.minimum(1.0, _STEEPEST / np.maximum(steep, 1e-9))
        return mean + slope * (asked - inside - mean_offset)[:, None]


def find_head(image: NDArray, grid: Grid) -> Head:
    """Label an image of any contrast and field of view coarsely.

    Parameters
    ----------
    image : ndarray (x, y, z)
        One volume, or the temporal mean of a series.
    grid : Grid
        Its grid, any orientation.

    Returns
    -------
    Head
    """
    coarse, values, in_view = coarse_image(image, grid)
    if not network.has_head():  # nothing is seen: whoever asks must search with the cord network
        nothing = np.zeros((len(network.HEAD_CLASSES), *coarse.shape), dtype=np.float32)
        nothing[0] = 1.0
        return Head(coarse, nothing, 0.0, None)
    probability = network.run_head(network.normalise_volume(values, in_view)).astype(np.float32, copy=False)
    # what is out of view is background, whatever the network thinks of the padding
    probability[:, ~in_view] = 0.0
    probability[0][~in_view] = 1.0
    brain = probability[CEREBRUM] + probability[CEREBELLUM_BRAINSTEM]
    brain_ml = float((brain > 0.5).sum()) * float(np.prod(coarse.voxel_mm)) / 1000
    line = trace_centre_line(probability, coarse)
    return Head(coarse, probability, brain_ml, None if line is None else foramen_along(coarse, probability, line))


def coarse_image(image: NDArray, grid: Grid) -> tuple[Grid, NDArray[np.float32], NDArray[np.bool_]]:
    """An image averaged to 3 mm in RAS orientation.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Any orientation.
    grid : Grid
        Its grid.

    Returns
    -------
    grid : Grid
        3 mm, RAS, covering the field of view.
    values : ndarray of float32
        Fine voxels averaged, thick slices interpolated linearly; 0 out of view.
    in_view : ndarray of bool
    """
    size_mm = network.VOLUME_VOXEL_MM
    factors = np.maximum(1, np.floor(size_mm / grid.voxel_mm + 0.25)).astype(int)
    blocks, block_grid = _block_mean(np.asarray(image, dtype=np.float32), grid, factors)
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij")).reshape(3, -1).T
    low, high = grid.to_ras(corners).min(axis=0), grid.to_ras(corners).max(axis=0)
    shape = np.maximum(1, np.floor((high - low) / size_mm + 0.01)).astype(int)
    affine = np.diag([size_mm, size_mm, size_mm, 1.0])
    affine[:3, 3] = (low + high) / 2 - (shape - 1) / 2 * size_mm
    coarse = Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    to_block = block_grid.inverse @ affine
    # a slice shows its whole thickness: half a voxel beyond the last centre its value still holds
    values = ndimage.affine_transform(blocks, to_block, output_shape=coarse.shape, order=1, mode="nearest")
    to_voxel = grid.inverse @ affine
    in_view = np.ones(coarse.shape, dtype=bool)
    index = np.ogrid[: coarse.shape[0], : coarse.shape[1], : coarse.shape[2]]
    for axis, n in enumerate(grid.shape):
        at = sum(to_voxel[axis, a] * index[a] for a in range(3)) + to_voxel[axis, 3]
        in_view &= (at >= -0.5 - 1e-6) & (at <= n - 0.5 + 1e-6)
    return coarse, np.where(in_view, values, np.float32(0)), in_view


def _block_mean(image: NDArray, grid: Grid, factors: NDArray) -> tuple[NDArray[np.float32], Grid]:
    if (factors == 1).all():
        return image, grid
    padding = [(0, -n % f) for n, f in zip(image.shape, factors, strict=True)]
    padded = np.asarray(np.pad(image, padding, mode="edge") if any(p for _, p in padding) else image, dtype=np.float32)
    for axis, f in enumerate(factors):
        # strided sums beat a reshaped mean many times over in any memory order
        parts = [padded[tuple(slice(k, None, f) if a == axis else slice(None) for a in range(3))] for k in range(f)]
        padded = np.asarray(sum(parts[1:], parts[0]) / np.float32(f), dtype=np.float32) if f > 1 else padded
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_ras((factors - 1) / 2)
    affine[:3, :3] = grid.affine[:3, :3] * factors
    return padded, Grid((padded.shape[0], padded.shape[1], padded.shape[2]), affine)


def foramen_along(grid: Grid, probability: NDArray, line: NDArray) -> NDArray[np.float64] | None:
    """Where the brain ends and the cord begins along a line.

    Parameters
    ----------
    grid : Grid
        RAS grid of the head network.
    probability : ndarray (5, x, y, z)
        Of each class.
    line : ndarray (n, 3)
        The cord's course, RAS mm, top to bottom; carried on upward here.

    Returns
    -------
    ndarray (3,) or None
        RAS mm; None where there is no brain above the cord in view.
    """
    step = float(grid.voxel_mm[2])
    brain = probability[CEREBRUM] + probability[CEREBELLUM_BRAINSTEM]
    if float((brain > 0.5).sum()) * float(np.prod(grid.voxel_mm)) / 1000 < FORAMEN_LEAST_ML:
        return None
    heights = np.arange(line[-1, 2], line[0, 2] + _FORAMEN_REACH_MM + step / 2, step)
    course = Line(line[:, 2], line[:, :2], np.ones(len(line)), _LINE_SIGMA_MM)
    points = np.column_stack([course.at(heights), heights])
    radius = int(np.ceil(_FORAMEN_RADIUS_MM / step))
    share = np.zeros(len(points))
    for n, (i, j, k) in enumerate(np.rint(grid.to_voxel(points)).astype(int)):
        around = brain[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1, k : k + 1]
        share[n] = around.mean() if 0 <= k < grid.shape[2] and around.size else np.nan
    points, share = points[np.isfinite(share)], share[np.isfinite(share)]
    # the border that leaves the least that is no brain above it and the least brain below
    wrong = np.concatenate([[0.0], np.cumsum(share)]) + np.concatenate([np.cumsum((1 - share)[::-1])[::-1], [0.0]])
    border = int(np.argmin(wrong))
    if border == len(points) or share[border:].sum() < _FORAMEN_LEAST_LEVELS:
        return None
    return points[border] - np.array([0.0, 0.0, step / 2])


def trace_centre_line(probability: NDArray, grid: Grid) -> NDArray[np.float64] | None:
    """The cord's centre line through what the head network says.

    Parameters
    ----------
    probability : ndarray (5, x, y, z)
        Of each class, on a RAS grid.
    grid : Grid
        That grid.

    Returns
    -------
    ndarray (n, 3) or None
        RAS mm, one point a level of the grid, top to bottom; None where nothing looks like a cord.
    """
    return next(trace_centre_lines(probability, grid), None)


def trace_centre_lines(probability: NDArray, grid: Grid) -> Iterator[NDArray[np.float64]]:
    """Courses that a cord may take, the likeliest first, each away from those before it and traced when it is asked for.

    Parameters
    ----------
    probability : ndarray (5, x, y, z)
        Of each class, on a RAS grid.
    grid : Grid
        That grid.

    Yields
    ------
    ndarray (n, 3)
        RAS mm, one point a level of the grid, top to bottom.
    """
    evidence = np.clip(probability[CORD] + _CANAL_SHARE * probability[CANAL], 0.0, 1.0)
    rows, columns = np.indices(grid.shape[:2])
    for _ in range(_PATHS):
        line = follow_evidence(evidence, grid)
        if line is None:
            return
        yield line
        evidence = evidence.copy()
        for i, j, k in grid.to_voxel(line):
            near = np.hypot((rows - i) * grid.voxel_mm[0], (columns - j) * grid.voxel_mm[1]) < _APART_MM
            evidence[near, round(k)] = 0.0


def follow_evidence(evidence: NDArray, grid: Grid) -> NDArray[np.float64] | None:
    """The best path down a RAS grid of evidence (x, y, z) of 0 to 1, as points (n, 3) in RAS mm; None if there is none."""
    levels = np.ascontiguousarray(np.moveaxis(evidence, 2, 0)[::-1], dtype=np.float32)
    pixel_mm, step_mm = grid.voxel_mm[:2], float(grid.voxel_mm[2])
    first, path = best_path(levels, pixel_mm, step_mm)
    if len(path) * step_mm < min(_LEAST_PATH_MM, 0.5 * grid.shape[2] * step_mm):
        return None
    rows, columns = np.indices(levels.shape[1:])
    centre, mass = path.astype(np.float64), np.zeros(len(path))
    for n in range(len(path)):
        for _ in range(3):  # settles on the centroid of what is near
            off = ((rows - centre[n, 0]) * pixel_mm[0]) ** 2 + ((columns - centre[n, 1]) * pixel_mm[1]) ** 2
            weight = levels[first + n] * (off < _REFINE_RADIUS_MM**2)
            mass[n] = weight.sum()
            if mass[n] < 1e-3:
                break
            centre[n] = (weight * rows).sum() / mass[n], (weight * columns).sum() / mass[n]
    stored = grid.shape[2] - 1 - (first + np.arange(len(path)))
    points = grid.to_ras(np.column_stack([centre, stored]))
    line = Line(points[:, 2], points[:, :2], np.clip(mass, 0.01, None), _LINE_SIGMA_MM)
    return np.column_stack([line.at(points[:, 2]), points[:, 2]])


def best_path(evidence: NDArray, pixel_mm: NDArray, step_mm: float) -> tuple[int, NDArray[np.int_]]:
    """Path through successive levels that gathers the most evidence; dynamic programming.

    Evidence counts by what it exceeds a threshold, times the length it stands for; a step costs its squared slope and may
    not be steeper than 45 degrees along either axis. The path begins and ends where that pays best.

    Parameters
    ----------
    evidence : ndarray (levels, rows, columns)
        0 to 1.
    pixel_mm : ndarray (2,)
        Distance of rows and of columns.
    step_mm : float
        Distance of levels.

    Returns
    -------
    first : int
        Level that the path begins at.
    path : ndarray (n, 2) of int
        Row and column at each level from `first` on; n is 0 when no evidence reaches the threshold.
    """
    gain = (evidence - _LEAST_EVIDENCE) * step_mm
    reach = np.maximum(1, np.floor(_STEEPEST * step_mm / np.asarray(pixel_mm) + 1e-6)).astype(int)
    offsets = [
        (a, b, _SLOPE_COST * ((a * pixel_mm[0]) ** 2 + (b * pixel_mm[1]) ** 2) / step_mm)
        for a in range(-reach[0], reach[0] + 1)
        for b in range(-reach[1], reach[1] + 1)
    ]
    begins = len(offsets)
    came = np.full(gain.shape, begins, dtype=np.int32)
    best = gain[0]
    total, end = float(best.max()), (0, int(np.argmax(best)))
    padding = [(int(r), int(r)) for r in reach]
    for k in range(1, len(gain)):
        padded = np.pad(best, padding, constant_values=-np.inf)
        carried = np.zeros_like(best)
        for number, (a, b, cost) in enumerate(offsets):
            top, left = reach[0] + a, reach[1] + b
            candidate = padded[top : top + best.shape[0], left : left + best.shape[1]] - np.float32(cost)
            better = candidate > carried
            carried[better] = candidate[better]
            came[k][better] = number
        best = carried + gain[k]
        if best.max() > total:
            total, end = float(best.max()), (k, int(np.argmax(best)))
    if total <= 0:
        return 0, np.zeros((0, 2), dtype=int)
    level, at = end[0], np.array(np.unravel_index(end[1], best.shape))
    path = [at]
    while came[(level, *at)] != begins:
        a, b, _ = offsets[came[(level, *at)]]
        at = at + np.array((a, b))
        level -= 1
        path.append(at)
    return level, np.array(path[::-1])
