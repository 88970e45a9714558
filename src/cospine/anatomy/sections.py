"""Axial sections through an image of any orientation, and the way back to its voxels.

Planes are the stored slices where these are axial and thick: a thick slice is never interpolated. Else they are
perpendicular to the body axis, a fixed distance apart. All planes share one rotated frame: right, anterior, height.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.localise import Line
from cospine.anatomy.network import SECTION_PIXEL_MM, SECTION_SIZE
from cospine.space.grid import Grid

_AXIAL_DEG = 25.0  # a stored slice tilted less than this counts as axial
_THICK_MM = 2.5  # thinner slices are averaged along the cord
_STEP_MM = 1.5  # between planes that are no stored slices
_AVERAGED_MM = (-1.0, 0.0, 1.0)  # along the cord: three planes that together span 3 mm
_FINE_SHARE = 0.8  # voxels finer than this share of a pixel are averaged


@dataclass(frozen=True)
class Planes:
    """A stack of parallel planes.

    Parameters
    ----------
    rotation : ndarray (3, 3)
        Columns: unit vectors of the planes toward right, toward anterior, and their normal upward, in RAS.
    height_mm : ndarray (n,)
        Position along the normal, from the top plane down.
    stored : ndarray (n,) of int or None
        Stored slice that each plane is; None when planes are no stored slices.
    slice_axis : int
        Stored axis closest to superior.
    step_mm : float
        Distance of planes.
    """

    rotation: NDArray[np.float64] = field(repr=False)
    height_mm: NDArray[np.float64] = field(repr=False)
    stored: NDArray[np.int_] | None = field(repr=False)
    slice_axis: int
    step_mm: float

    def to_frame(self, points: NDArray) -> NDArray[np.float64]:
        """RAS mm (..., 3) to (right, anterior, height) in mm."""
        return points @ self.rotation

    def to_ras(self, points: NDArray) -> NDArray[np.float64]:
        """(right, anterior, height) in mm (..., 3) to RAS mm."""
        return points @ self.rotation.T


def planes_of(grid: Grid) -> Planes:
    """The planes to look at the cord in.

    Parameters
    ----------
    grid : Grid
        The image's, any orientation.

    Returns
    -------
    Planes
        Stored slices when they are axial and thick, else planes perpendicular to superior all through the field of view.
    """
    axis, sign = grid.axis_of("S")
    in_plane = [grid.affine[:3, a] for a in range(3) if a != axis]
    normal = np.asarray(np.cross(in_plane[0], in_plane[1]), dtype=np.float64)
    normal /= np.linalg.norm(normal)
    normal *= 1.0 if normal[2] > 0 else -1.0
    thickness = abs(float(normal @ grid.affine[:3, axis]))
    native = normal[2] > np.cos(np.radians(_AXIAL_DEG)) and thickness >= _THICK_MM
    if native:
        right = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
        right /= np.linalg.norm(right)
        rotation = np.column_stack([right, np.cross(normal, right), normal])
        stored = np.arange(grid.shape[axis])[::-sign]
        index = np.tile((np.array(grid.shape) - 1) / 2, (len(stored), 1))
        index[:, axis] = stored
        return Planes(rotation, grid.to_ras(index) @ normal, stored, axis, thickness)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape], indexing="ij")).reshape(3, -1).T
    heights = grid.to_ras(corners)[:, 2]
    # half a voxel at each end shows too, but what is there is the end slice's own value
    count = max(1, round((heights.max() - heights.min()) / _STEP_MM) + 1)
    middle = (heights.max() + heights.min()) / 2
    levels = middle + ((count - 1) / 2 - np.arange(count)) * _STEP_MM
    return Planes(np.eye(3), levels, None, axis, _STEP_MM)


def sample_sections(
    image: NDArray, grid: Grid, planes: Planes, chosen: NDArray, centre_mm: NDArray, course: Line | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sections of 64 x 64 pixels of 0.8 mm.

    Parameters
    ----------
    image : ndarray (x, y, z), float32
        Values.
    grid : Grid
        Their grid.
    planes : Planes
        Where sections may lie.
    chosen : ndarray (n,) of int
        Which of the planes.
    centre_mm : ndarray (n, 2)
        Middle of each section: right, anterior, in mm of the planes' frame.
    course : Line, optional
        The cord's course: where slices are thin, three planes are averaged along it.

    Returns
    -------
    sections : ndarray (n, 64, 64), float32
        Rows toward anterior, columns toward right; the nearest value out of view.
    in_view : ndarray of bool
    """
    offsets = _AVERAGED_MM if planes.stored is None and course is not None else (0.0,)
    axes = [a for a in range(3) if a != planes.slice_axis]
    finest = grid.voxel_mm[axes].min() if planes.stored is not None else grid.voxel_mm.min()
    parts = 2 if finest < _FINE_SHARE * SECTION_PIXEL_MM else 1
    pixel = SECTION_PIXEL_MM / parts
    along = (np.arange(SECTION_SIZE * parts) - (SECTION_SIZE * parts - 1) / 2) * pixel
    anterior, right = np.meshgrid(along, along, indexing="ij")
    total = np.zeros((len(chosen), SECTION_SIZE, SECTION_SIZE), dtype=np.float32)
    seen = np.zeros(total.shape, dtype=np.float32)
    height = planes.height_mm[chosen]
    for offset in offsets:
        at = np.zeros((len(chosen), 2)) if offset == 0 or course is None else course.at(height + offset) - course.at(height)
        frame = np.empty((len(chosen), *right.shape, 3))
        frame[..., 0] = right + (centre_mm[:, 0] + at[:, 0])[:, None, None]
        frame[..., 1] = anterior + (centre_mm[:, 1] + at[:, 1])[:, None, None]
        frame[..., 2] = (height + offset)[:, None, None]
        voxel = np.moveaxis(grid.to_voxel(planes.to_ras(frame)), -1, 0)
        if planes.stored is not None:  # exactly the stored slice
            voxel[planes.slice_axis] = planes.stored[chosen][:, None, None]
        inside = np.ones(voxel.shape[1:], dtype=bool)
        for axis, n in enumerate(grid.shape):
            inside &= (voxel[axis] > -0.5) & (voxel[axis] < n - 0.5)
        values = ndimage.map_coordinates(image, voxel, order=1, mode="nearest")
        values *= inside
        total += _pooled(values, parts)
        seen += _pooled(inside.astype(np.float32), parts)
    in_view = seen > 0.5 * len(offsets)
    return np.where(in_view, total / np.maximum(seen, 1e-6), 0).astype(np.float32), in_view


def _pooled(values: NDArray, parts: int) -> NDArray[np.float32]:
    if parts == 1:
        return values
    n, size = len(values), values.shape[1] // parts
    return values.reshape(n, size, parts, size, parts).mean(axis=(2, 4))


def to_voxels(
    sections: NDArray, grid: Grid, planes: Planes, chosen: NDArray, centre_mm: NDArray, margin_mm: float
) -> NDArray[np.float32]:
    """Bring values of sections back to voxels, each the mean over the voxel's extent.

    Parameters
    ----------
    sections : ndarray (n, 64, 64), float32
        0 away from what is of interest.
    grid : Grid
        Where to.
    planes : Planes
        Where sections may lie.
    chosen : ndarray (n,) of int, ascending
        Which of the planes; between two planes that are not neighbours nothing is drawn.
    centre_mm : ndarray (n, 2)
        Middle of each section.
    margin_mm : float
        How far from a section's middle there may be anything.

    Returns
    -------
    ndarray (x, y, z), float32, Fortran order
    """
    result = np.zeros(grid.shape, dtype=np.float32, order="F")
    if len(chosen) == 0:
        return result
    height = planes.height_mm[chosen]
    box = _box_about(grid, planes, height, centre_mm, margin_mm)
    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), axis=-1).reshape(-1, 3)
    # plane above each voxel and how far below it the voxel lies, in planes; heights fall as planes go on
    place = (planes.height_mm[0] - planes.to_frame(grid.to_ras(index))[:, 2]) / planes.step_mm
    nearest = np.clip(np.rint(place).astype(int), 0, len(planes.height_mm) - 1)
    rank = np.full(len(planes.height_mm), -1)
    rank[chosen] = np.arange(len(chosen))
    guess = np.clip(np.searchsorted(chosen, nearest), 0, len(chosen) - 1)
    frame = planes.to_frame(grid.to_ras(index))
    near = np.abs(frame[:, :2] - centre_mm[guess]).max(axis=1) < margin_mm + 3.0
    near &= (place > chosen[0] - 1.5) & (place < chosen[-1] + 1.5)
    index = index[near]
    total = np.zeros(len(index), dtype=np.float32)
    parts = [max(1, int(np.ceil(size / SECTION_PIXEL_MM - 0.2))) for size in grid.voxel_mm]
    if planes.stored is not None:
        parts[planes.slice_axis] = 1
    steps = np.stack(np.meshgrid(*[(np.arange(p) + 0.5) / p - 0.5 for p in parts], indexing="ij"), axis=-1).reshape(-1, 3)
    for step in steps:
        point = planes.to_frame(grid.to_ras(index + step))
        at = (planes.height_mm[0] - point[:, 2]) / planes.step_mm
        if planes.stored is not None:
            total += _in_plane(sections, rank[nearest[near]], point, centre_mm)
            continue
        above = np.floor(at).astype(int)
        share = (at - above).astype(np.float32)
        # the end planes stand for what is within half a voxel beyond them
        last = len(planes.height_mm) - 1
        upper, lower = np.clip(above, 0, last), np.clip(above + 1, 0, last)
        total += (1 - share) * _in_plane(sections, rank[upper], point, centre_mm)
        total += share * _in_plane(sections, rank[lower], point, centre_mm)
    result[tuple(index.T)] = total / len(steps)
    return result


def _in_plane(sections: NDArray, rank: NDArray, point: NDArray, centre_mm: NDArray) -> NDArray[np.float32]:
    """Bilinear value of each point in its section; 0 where it has none (rank -1) or lies outside of it."""
    has = rank >= 0
    section = np.where(has, rank, 0)
    middle = (SECTION_SIZE - 1) / 2
    column = (point[:, 0] - centre_mm[section, 0]) / SECTION_PIXEL_MM + middle
    row = (point[:, 1] - centre_mm[section, 1]) / SECTION_PIXEL_MM + middle
    has &= (row > 0) & (column > 0) & (row < SECTION_SIZE - 1) & (column < SECTION_SIZE - 1)
    row, column = np.where(has, row, 0.0), np.where(has, column, 0.0)
    r, c = row.astype(int), column.astype(int)
    dr, dc = row - r, column - c
    value = (
        (1 - dr) * (1 - dc) * sections[section, r, c]
        + (1 - dr) * dc * sections[section, r, c + 1]
        + dr * (1 - dc) * sections[section, r + 1, c]
        + dr * dc * sections[section, r + 1, c + 1]
    )
    return np.where(has, value, 0.0).astype(np.float32)


def _box_about(grid: Grid, planes: Planes, height: NDArray, centre_mm: NDArray, margin_mm: float) -> tuple[slice, ...]:
    """Stored box that holds everything within a margin of the sections' middles."""
    corners = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=float)
    corners *= (margin_mm, margin_mm, planes.step_mm)
    points = np.column_stack([centre_mm, height])[:, None, :] + corners[None]
    voxels = grid.to_voxel(planes.to_ras(points.reshape(-1, 3)))
    low = np.clip(np.floor(voxels.min(axis=0)).astype(int), 0, np.array(grid.shape) - 1)
    high = np.clip(np.ceil(voxels.max(axis=0)).astype(int) + 1, 1, np.array(grid.shape))
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
