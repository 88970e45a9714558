"""The truth about a simulated run, as arrays.

Three grids are meant by the files of `sourcedata/truth` (written by `cospine.phantom.truth_files`, which lists them):

- the EPI grid: nominal voxels of the BOLD series, gradient non-linearity included, free of B0 distortion unless the name
  says ``apparent`` or ``reference``;
- the T1w grid;
- points in scanner RAS mm.

The *reference pose* of a run is the pose in which it begins (no drift, jump or breathing; the resting field).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.phantom.epi import (
    Apparent,
    Body,
    Encoding,
    State,
    Surroundings,
    apparent_position,
    field_at,
    pull_back,
    still,
)
from cospine.phantom.pose import angles_of, rotation_matrix
from cospine.phantom.scene import Course, Subject, sample_mask

# Points that stand for the brain and, in every slice, for the cord.
BRAIN_POINTS, CORD_POINTS = 800, 48
# A slice carries cord truth when at least this much of the cord's cross-section is in it.
LEAST_POINTS = 12
BATCH = 200_000


def reference_state(base: NDArray[np.float64], n_slices: int, turn_field: bool) -> State:
    """State at the reference pose."""
    state = still(n_slices)
    state.pose[:] = base
    return State(state.pose, state.cord_mm, state.offset_hz, state.breathing, state.modulation, turn_field)


def follow(
    points: NDArray[np.float64], body: Body, around: Surroundings, encoding: Encoding, state: State, rows: NDArray[np.int64]
) -> Apparent:
    """`apparent_position` of any number of points, in batches."""
    parts = [
        apparent_position(points[s : s + BATCH], body, around, encoding, state, rows[s : s + BATCH])
        for s in range(0, len(points), BATCH)
    ]
    return Apparent(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("tissue_mm", "nominal", "field_hz", "voxel"))
    )


# --- head -----------------------------------------------------------------------------------------------------------


def pose_about(
    pose: NDArray[np.float64], base: NDArray[np.float64], pivot: NDArray[np.float64], centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Push-forward (..., 6) about ``centre`` that takes the head from the pose ``base`` to ``pose`` (both about ``pivot``)."""
    turned = rotation_matrix(pose[..., 3:])
    start = rotation_matrix(base[3:])
    rotation = turned @ start.T
    shift = np.einsum("...ij,j->...i", rotation, centre - pivot - base[:3]) + pivot + pose[..., :3] - centre
    return np.concatenate([shift, angles_of(rotation)], -1)


def fit_rigid(fixed: NDArray[np.float64], moved: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares rigid push-forward (6,) about ``centre`` from points (n, 3) to points (n, 3) (Kabsch 1976)."""
    a, b = fixed.mean(0), moved.mean(0)
    u, _, vt = np.linalg.svd((fixed - a).T @ (moved - b))
    rotation = vt.T @ np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    shift = b + rotation @ (centre - a) - centre
    return np.concatenate([shift, angles_of(rotation)])


@dataclass(frozen=True)
class HeadTruth:
    """``slices`` (volumes, slices, 6) and ``volumes`` (volumes, 6): tissue; ``apparent`` (volumes, 6): as the images show it."""

    slices: NDArray[np.float64]
    volumes: NDArray[np.float64]
    apparent: NDArray[np.float64]
    jump_slice: NDArray[np.bool_]
    jump_volume: NDArray[np.bool_]


def head_truth(subject: Subject, course: Course, body: Body, around: Surroundings, encoding: Encoding) -> HeadTruth:
    """Poses against the reference pose, about the centre of the EPI grid.

    A volume's pose is the mean over its slices, each counted by the brain in it.
    The apparent pose is the rigid transform that best carries the brain from where the reference shows it to where the
    volume shows it.
    """
    volumes, n = course.times_s.shape
    centre = encoding.positions((np.array(encoding.shape) - 1) / 2)
    points = sample_mask(subject.anatomy.brain_mask, subject.anatomy.affine, BRAIN_POINTS)
    reference = reference_state(course.base, n, course.state.turn_field)
    at_rest = follow(points, body, around, encoding, reference, np.zeros(len(points), int))
    where = np.rint(at_rest.voxel[:, 2]).astype(int)
    inside = (where >= 0) & (where < n)
    points, where = points[inside], where[inside]
    weight = np.bincount(where, minlength=n) / len(where)
    slices = pose_about(course.state.pose, course.base, body.pivot, centre).reshape(volumes, n, 6)
    everything = np.tile(points, (volumes, 1))
    rows = (np.arange(volumes)[:, None] * n + where).ravel()
    seen = encoding.positions(follow(everything, body, around, encoding, course.state, rows).voxel)
    fixed = encoding.positions(at_rest.voxel[inside])
    apparent = np.stack([fit_rigid(fixed, moved, centre) for moved in seen.reshape(volumes, -1, 3)])
    return HeadTruth(
        slices, np.einsum("tkp,k->tp", slices, weight), apparent, course.motion.jump_slice, course.motion.jump_volume
    )


# --- cord -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CordTruth:
    """Shifts (volumes, slices with cord, 3) in mm along voxel axes i, j, k, against the reference pose.

    ``total`` as the distorted image shows it; ``mechanical`` what tissue does (head, neck and cord); their difference is
    B0's. In-plane shifts are those of the cross-section in the slice: what moves through the plane shifts an oblique cord
    within it too.
    """

    slices: NDArray[np.int64]
    level: NDArray[np.int64]
    total: NDArray[np.float64]
    mechanical: NDArray[np.float64]
    centre: NDArray[np.float64]  # (slices, 2) voxel i, j of the cord's centre in the distorted reference


def cord_truth(subject: Subject, course: Course, body: Body, around: Surroundings, encoding: Encoding) -> CordTruth:
    """Where the cord's cross-section is in every slice and volume."""
    volumes, n = course.times_s.shape
    anatomy = subject.anatomy
    candidates = sample_mask(anatomy.cord_mask, anatomy.affine, 60_000)
    reference = reference_state(course.base, n, course.state.turn_field)
    at_rest = follow(candidates, body, around, encoding, reference, np.zeros(len(candidates), int))
    where = np.rint(at_rest.voxel[:, 2]).astype(int)
    in_plane = np.all((at_rest.voxel[:, :2] > -0.5) & (at_rest.voxel[:, :2] < np.array(encoding.shape[:2]) - 0.5), axis=1)
    chosen = {}
    for k in range(n):
        index = np.flatnonzero((where == k) & in_plane)
        if len(index) >= LEAST_POINTS:
            chosen[k] = index[np.unique(np.linspace(0, len(index) - 1, min(CORD_POINTS, len(index))).astype(int))]
    slices = np.array(sorted(chosen), int)
    if not len(slices):
        empty = np.zeros((volumes, 0, 3))
        return CordTruth(slices, slices, empty, empty, np.zeros((0, 2)))
    voxel_mm = np.linalg.norm(encoding.affine[:3, :3], axis=0)
    levels = ndimage.map_coordinates(
        anatomy.vertebral_level,
        ((candidates - anatomy.affine[:3, 3]) @ np.linalg.inv(anatomy.affine[:3, :3]).T).T[::-1],
        order=0,
    )  # fmt: skip
    level = np.array([np.bincount(levels[chosen[k]]).argmax() for k in slices])
    centres = {"voxel": np.array([at_rest.voxel[where == k].mean(0) for k in slices]),
               "nominal": np.array([at_rest.nominal[where == k].mean(0) for k in slices])}  # fmt: skip
    shifts = {name: np.empty((volumes, len(slices), 3)) for name in centres}
    for column, k in enumerate(slices):
        index = chosen[k]
        rows = np.repeat(np.arange(volumes) * n + k, len(index))
        moved = follow(np.tile(candidates[index], (volumes, 1)), body, around, encoding, course.state, rows)
        for name, centre in centres.items():
            step = getattr(moved, name).reshape(volumes, len(index), 3) - getattr(at_rest, name)[index]
            shift = step.mean(1)
            # the cord runs obliquely through the slice: (di/dk, dj/dk) from its neighbours in the reference
            near = slice(max(column - 1, 0), column + 2)
            if len(slices) > 1:
                line = centre[near]
                slope = np.polyfit(line[:, 2], line[:, :2], 1)[0]
                shift[:, :2] -= slope * shift[:, 2:]
            shifts[name][:, column] = shift * voxel_mm
    return CordTruth(slices, level, shifts["voxel"], shifts["nominal"], centres["voxel"][:, :2])


# --- maps -----------------------------------------------------------------------------------------------------------


def field_map(body: Body, around: Surroundings, encoding: Encoding, state: State) -> NDArray[np.float32]:
    """Field (i, j, k) in Hz on a grid of nominal voxels with slices along k, each slice at its own entry of the state."""
    out = np.empty(encoding.shape, np.float32, order="F")
    i, j = np.meshgrid(np.arange(encoding.shape[0]), np.arange(encoding.shape[1]), indexing="ij")
    for k in range(encoding.shape[2]):
        nominal = encoding.positions(np.stack([i, j, np.full_like(i, k)], -1).reshape(-1, 3))
        points = nominal + around.warp(nominal)
        pose, cord = (np.broadcast_to(part[k], (len(points), part.shape[1])) for part in (state.pose, state.cord_mm))
        carried = field_at(body, pull_back(points, body.pivot, around, pose, cord))
        turn = state.pose[k, 3:5] if state.turn_field else np.zeros(2)
        hz = carried[:, 0] + around.blend(points) * (carried[:, 1:] @ turn) + around.shim_hz(points)
        hz += around.breathing_gain(points) * state.breathing[k] + state.offset_hz[k]
        out[..., k] = hz.reshape(encoding.shape[:2])
    return out


def displacement(transform_points, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """ITK displacement field (x, y, z, 1, 3) in LPS mm of a function of RAS points, on a grid."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    moved = np.concatenate([transform_points(points[s : s + BATCH]) for s in range(0, len(points), BATCH)])
    shift = (moved - points) * np.array([-1.0, -1.0, 1.0])
    return shift.reshape(*shape, 1, 3).astype(np.float32)
