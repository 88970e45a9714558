"""Forward model of echo-planar imaging: from an object at a pose, in a field, to one distorted volume.

The object is sampled by *pull-back*: each scanner point asks which piece of tissue sits there now,

    a = x - w (x - R^T (x - c - t) - c) - m s

with the head's pose (R, t about the pivot c), the share ``w`` of it that tissue at this height follows, the
cord's own displacement ``m`` and its share ``s`` (1 inside the cord, 0 away from it). This map is the definition of
motion in the phantom; truth inverts it by iteration.

The sampled signal is then *deposited* forward along the phase-encoding axis. A fine cell between the edges
y0 and y1 lands between y0 + d(y0) and y1 + d(y1), d = field x total readout time in voxels (Jezzard and Balaban,
Magn Reson Med 1995), and its mass is spread evenly there: pile-up is exact, mass is conserved, and where the field
folds the image over itself the edges simply swap.

Kernel arrays are in the order (slice, phase, read); the public functions speak (i, j, k).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.errors import CoSpineError
from cospine.phantom.epi_kernel import BLOCK, fair_order, occupied_blocks, render_slices
from cospine.phantom.pose import rotation_matrix

PointFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]
AXES = {"i": 0, "j": 1, "k": 2}


@dataclass(frozen=True)
class Encoding:
    """Where and how an EPI volume is encoded.

    Parameters
    ----------
    affine : (4, 4) array
        Voxel (i, j, k) to scanner RAS mm, as nominally prescribed.
    shape : tuple of int
        Voxels along i, j, k.
    phase_encoding : str
        BIDS ``PhaseEncodingDirection``: ``i``, ``j``, ``k`` and the same with ``-``.
    total_readout_s : float
        BIDS ``TotalReadoutTime``.
    slice_axis : int
        Voxel axis along which slices are stacked.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    phase_encoding: str = "j"
    total_readout_s: float = 0.0406401
    slice_axis: int = 2

    def __post_init__(self) -> None:
        if self.phase_encoding.rstrip("-") not in AXES or len(self.phase_encoding) > 2:
            raise CoSpineError(
                f"'{self.phase_encoding}' is no phase-encoding direction", "phase_encoding", "Use i, j, k, i-, j- or k-."
            )
        if self.phase_axis == self.slice_axis:
            raise CoSpineError("The phase-encoding axis is the slice axis", "slice_axis", "Choose another slice axis.")

    @property
    def phase_axis(self) -> int:
        """Voxel axis of phase encoding."""
        return AXES[self.phase_encoding[0]]

    @property
    def sign(self) -> float:
        """Direction of a positive field: +1 toward the higher voxel index, -1 for the ``-`` encodings."""
        return -1.0 if self.phase_encoding.endswith("-") else 1.0

    @property
    def order(self) -> tuple[int, int, int]:
        """Voxel axes in the order read, phase, slice."""
        read = ({0, 1, 2} - {self.phase_axis, self.slice_axis}).pop()
        return read, self.phase_axis, self.slice_axis

    @property
    def voxels_per_hz(self) -> float:
        """Signed apparent shift, in voxels along the phase axis, of 1 Hz."""
        return self.sign * self.total_readout_s

    def positions(self, voxels: NDArray) -> NDArray[np.float64]:
        """Nominal scanner RAS mm of voxel coordinates (..., 3)."""
        return np.asarray(voxels, float) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def voxels(self, positions: NDArray) -> NDArray[np.float64]:
        """Voxel coordinates of nominal scanner RAS mm (..., 3)."""
        return (np.asarray(positions, float) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T


@dataclass(frozen=True)
class Body:
    """What lies in the scanner: signal, modulation labels and the field that tissue carries along.

    Parameters
    ----------
    affine : (4, 4) array
        Object grid to individual RAS mm.
    signal : (z, y, x) float32
        Signal at rest.
    label : (z, y, x) uint8
        Row of the modulation table that multiplies the signal.
    field_affine : (4, 4) array
        Field grid to individual RAS mm.
    field : (3, z, y, x) float32
        Susceptibility field (Hz) and its change per rad of rotation about x and y.
    pivot : (3,) array
        Point (mm) about which the head's pose is given.
    """

    affine: NDArray[np.float64]
    signal: NDArray[np.float32]
    label: NDArray[np.uint8]
    field_affine: NDArray[np.float64]
    field: NDArray[np.float32]
    pivot: NDArray[np.float64]


def zero(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nothing, everywhere: the default of every optional part of the surroundings."""
    return np.zeros(points.shape[:-1])


def one(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """One, everywhere."""
    return np.ones(points.shape[:-1])


def no_warp(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """No gradient non-linearity."""
    return np.zeros(points.shape)


@dataclass(frozen=True)
class Surroundings:
    """What belongs to the scanner, as functions of scanner points (..., 3) in RAS mm.

    ``warp`` (mm, 3 components) is gradient non-linearity: the voxel prescribed at n shows what is at n + warp(n).
    ``shim_hz`` stays with the scanner. ``breathing_gain`` (Hz per unit of breathing), ``blend`` (share of the head's pose)
    and ``falloff`` (share of the cord's own displacement) are evaluated where the tissue is at that moment.
    """

    shim_hz: PointFunction = zero
    breathing_gain: PointFunction = zero
    blend: PointFunction = one
    falloff: PointFunction = zero
    warp: PointFunction = no_warp


@dataclass(frozen=True)
class Lattice:
    """The scanner-fixed quantities at the corners of every voxel of every sub-slice, in kernel order."""

    encoding: Encoding
    fine: tuple[int, int, int]  # sub-samples of a voxel along read, phase, slice
    position: NDArray[np.float32]  # (slice, sub, phase + 1, read + 1, 3) scanner mm, after the warp
    static: NDArray[np.float32]  # (slice, sub, phase + 1, read + 1, 4): shim Hz, breathing gain, blend, falloff
    active: NDArray[np.bool_]  # (slice, sub, phase, read) cells that may hold signal
    present: NDArray[np.bool_]  # (z, y, x) blocks of the object with signal in them or beside them


@dataclass(frozen=True)
class State:
    """Pose and field of one volume, slice by slice (n slices), in the order of the slice axis.

    ``pose`` (n, 6): translation mm and rotation rad of the head; ``cord_mm`` (n, 3); ``offset_hz`` (n,) uniform field (drift);
    ``breathing`` (n,) chest position; ``modulation`` (n, labels) factors on the signal;
    ``turn_field`` whether the susceptibility field turns with the head.
    """

    pose: NDArray[np.float64]
    cord_mm: NDArray[np.float64]
    offset_hz: NDArray[np.float64]
    breathing: NDArray[np.float64]
    modulation: NDArray[np.float32]
    turn_field: bool = True


def still(n_slices: int, n_labels: int = 256) -> State:
    """State of a volume in which nothing moves or changes."""
    return State(
        pose=np.zeros((n_slices, 6)),
        cord_mm=np.zeros((n_slices, 3)),
        offset_hz=np.zeros(n_slices),
        breathing=np.zeros(n_slices),
        modulation=np.ones((n_slices, n_labels), np.float32),
    )


def _node_voxels(encoding: Encoding, fine: tuple[int, int, int], index: int) -> NDArray[np.float64]:
    """Voxel coordinates (sub, phase + 1, read + 1, 3) of the corners of slice ``index``."""
    read, phase, cut = encoding.order
    s = index - 0.5 + (np.arange(fine[2]) + 0.5) / fine[2]
    p = np.arange(encoding.shape[phase] + 1) - 0.5
    r = np.arange(encoding.shape[read] + 1) - 0.5
    voxels = np.empty((len(s), len(p), len(r), 3))
    voxels[..., cut] = s[:, None, None]
    voxels[..., phase] = p[None, :, None]
    voxels[..., read] = r[None, None, :]
    return voxels


def _reach(body: Body, margin_mm: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Coarse mask (z, y, x) of where signal can be once it has moved by the margin, and its affine."""
    affine = body.affine.copy()
    affine[:3, :3] *= BLOCK
    affine[:3, 3] += body.affine[:3, :3] @ np.full(3, (BLOCK - 1) / 2)
    size = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    # one block more, because blocks are coarse
    width = [2 * (int(np.ceil(margin_mm / s)) + 1) + 1 for s in size]
    padded = np.pad(occupied_blocks(body.signal), [(w // 2, w // 2) for w in width])
    affine[:3, 3] -= affine[:3, :3] @ np.array([w // 2 for w in width[::-1]], float)
    return np.asarray(ndimage.maximum_filter(padded, size=width, mode="constant"), bool), affine


def build_lattice(
    encoding: Encoding,
    body: Body,
    around: Surroundings,
    fine: tuple[int, int, int] = (3, 3, 4),
    margin_mm: float = 8.0,
) -> Lattice:
    """Evaluate the surroundings once on the corners of all voxels.

    Parameters
    ----------
    encoding, body, around
        See the classes.
    fine : tuple of int
        Sub-samples of a voxel along read, phase and slice.
    margin_mm : float
        How far tissue may move during the series; cells farther from any signal are skipped.
    """
    read, phase, cut = encoding.order
    n, p, r = encoding.shape[cut], encoding.shape[phase], encoding.shape[read]
    position = np.empty((n, fine[2], p + 1, r + 1, 3), np.float32)
    static = np.empty((n, fine[2], p + 1, r + 1, 4), np.float32)
    for index in range(n):
        nominal = encoding.positions(_node_voxels(encoding, fine, index))
        true = nominal + around.warp(nominal)
        position[index] = true
        for column, function in enumerate((around.shim_hz, around.breathing_gain, around.blend, around.falloff)):
            static[index, ..., column] = function(true)
    nothing = np.zeros((1, 1, 1), bool)
    return restrict(Lattice(encoding, fine, position, static, nothing, nothing), body, margin_mm)


def restrict(lattice: Lattice, body: Body, margin_mm: float = 8.0) -> Lattice:
    """The same lattice for another body: only cells that its signal can reach are active."""
    reach, affine = _reach(body, margin_mm)
    inverse = np.linalg.inv(affine).astype(np.float32)
    n, subs, p, r = (size - (axis > 1) for axis, size in enumerate(lattice.position.shape[:4]))
    active = np.empty((n, subs, p, r), bool)
    for index, true in enumerate(lattice.position):
        centre = 0.5 * (true[:, 1:, 1:] + true[:, :-1, :-1])
        nearest = np.rint(centre @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int32)[..., ::-1]
        inside = np.all((nearest >= 0) & (nearest < reach.shape), axis=-1)
        nearest[~inside] = 0
        active[index] = inside & reach[nearest[..., 0], nearest[..., 1], nearest[..., 2]]
    # blocks that hold signal or touch one that does
    present = ndimage.maximum_filter(occupied_blocks(body.signal), size=3, mode="constant")
    return replace(lattice, active=active, present=np.asarray(present, bool))


def render(body: Body, lattice: Lattice, state: State) -> NDArray[np.float32]:
    """One distorted volume, free of noise.

    Parameters
    ----------
    body : Body
    lattice : Lattice
        Built from the same body.
    state : State

    Returns
    -------
    image : (i, j, k) float32
        Mean signal in each voxel times the local compression along the phase-encoding axis. The memory
        lies in kernel order, so the last of read, phase and slice is the first axis of ``image.T`` for slices along k.
    """
    encoding = lattice.encoding
    rotation = rotation_matrix(state.pose[:, 3:])
    turn = state.pose[:, 3:5] if state.turn_field else np.zeros((len(state.pose), 2))
    out = np.empty((lattice.active.shape[0], lattice.active.shape[2], lattice.active.shape[3]), np.float32)
    single = np.float32
    static, turned_x, turned_y = body.field
    render_slices(
        body.signal, body.label, lattice.present, np.linalg.inv(body.affine).astype(single),
        static, turned_x, turned_y, np.linalg.inv(body.field_affine).astype(single),
        lattice.position, lattice.static, lattice.active,
        rotation.astype(single), state.pose[:, :3].astype(single), body.pivot.astype(single), state.cord_mm.astype(single),
        state.offset_hz.astype(single), state.breathing.astype(single), turn.astype(single),
        np.ascontiguousarray(state.modulation, single), lattice.fine[0], lattice.fine[1],
        single(encoding.voxels_per_hz), fair_order(len(out)), out,
    )  # fmt: skip
    read, phase, cut = encoding.order
    return np.transpose(out, np.argsort((cut, phase, read)))


def pull_back(
    points: NDArray[np.float64], pivot: NDArray[np.float64], around: Surroundings, pose: NDArray, cord_mm: NDArray
) -> NDArray[np.float64]:
    """Individual position (n, 3) of the tissue that is at scanner points (n, 3); ``pose`` (n, 6), ``cord_mm`` (n, 3)."""
    rotation = rotation_matrix(pose[:, 3:])
    rigid = np.einsum("nji,nj->ni", rotation, points - pivot - pose[:, :3]) + pivot
    return points - around.blend(points)[:, None] * (points - rigid) - around.falloff(points)[:, None] * cord_mm


@dataclass(frozen=True)
class Apparent:
    """Where pieces of tissue are and where they seem to be.

    ``tissue_mm`` (n, 3) true scanner position; ``nominal`` (n, 3) voxel coordinates after gradient non-linearity, before
    distortion; ``field_hz`` (n,); ``voxel`` (n, 3) voxel coordinates in the distorted image.
    """

    tissue_mm: NDArray[np.float64]
    nominal: NDArray[np.float64]
    field_hz: NDArray[np.float64]
    voxel: NDArray[np.float64]


def field_at(body: Body, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Susceptibility field and its two rotational derivatives (n, 3) at individual points (n, 3), linearly interpolated."""
    inverse = np.linalg.inv(body.field_affine)
    coordinates = (points @ inverse[:3, :3].T + inverse[:3, 3]).T[::-1]
    return np.stack([ndimage.map_coordinates(part, coordinates, order=1, mode="nearest") for part in body.field], axis=-1).astype(
        float
    )


def apparent_position(
    points: NDArray[np.float64], body: Body, around: Surroundings, encoding: Encoding, state: State, slices: NDArray[np.integer]
) -> Apparent:
    """Follow individual points to where a volume shows them.

    Inverts the pull-back map of `render` by fixed-point iteration (displacements are small and smooth, so it contracts).

    Parameters
    ----------
    points : (n, 3) array
        Individual RAS mm.
    body, around, encoding, state
        As rendered; ``state`` may hold any number of slices.
    slices : (n,) int array
        The slice at whose moment each point is looked at.

    Raises
    ------
    CoSpineError
        When the iteration does not settle within 1 micrometre.
    """
    points = np.asarray(points, float)
    pose, cord = state.pose[slices], state.cord_mm[slices]
    tissue = points.copy()
    for _ in range(60):
        miss = points - pull_back(tissue, body.pivot, around, pose, cord)
        tissue += miss
        if np.abs(miss).max(initial=0.0) < 1e-5:
            break
    else:
        raise CoSpineError("Motion could not be inverted", "apparent_position", "Use smaller motion.")
    nominal = tissue.copy()
    for _ in range(60):
        miss = tissue - nominal - around.warp(nominal)
        nominal += miss
        if np.abs(miss).max(initial=0.0) < 1e-5:
            break
    else:
        raise CoSpineError("Gradient non-linearity could not be inverted", "apparent_position", "Use a smaller warp.")
    carried = field_at(body, points)
    blend = around.blend(tissue)
    turn = pose[:, 3:5] if state.turn_field else np.zeros((len(points), 2))
    hz = (
        carried[:, 0]
        + blend * (turn[:, 0] * carried[:, 1] + turn[:, 1] * carried[:, 2])
        + around.shim_hz(tissue)
        + around.breathing_gain(tissue) * state.breathing[slices]
        + state.offset_hz[slices]
    )
    undistorted = encoding.voxels(nominal)
    voxel = undistorted.copy()
    voxel[:, encoding.phase_axis] += hz * encoding.voxels_per_hz
    return Apparent(tissue, undistorted, hz, voxel)
