"""From anatomy to pictures: contrast in object space, anatomical and field-map images, masks on an image grid."""

from dataclasses import replace

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from cospine.phantom.epi import Body, Encoding, State, Surroundings, build_lattice, field_at, pull_back, render, still

# Slices of a fine image that are prepared at once, to bound memory.
SLAB = 24
PHASE_LEVELS = 4096  # Siemens phase images: 0 .. 4095 for -pi .. pi


@njit(cache=True, parallel=True)
def _contrast(fractions, texture, weights, out):
    tissues, nz, ny, nx = fractions.shape
    for k in prange(nz):
        for t in range(tissues):
            weight = weights[t]
            if weight == 0:
                continue
            for j in range(ny):
                for i in range(nx):
                    out[k, j, i] += weight * fractions[t, k, j, i]
        for j in range(ny):
            for i in range(nx):
                out[k, j, i] *= texture[k, j, i]


def contrast(fractions: NDArray[np.uint8], texture: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Signal (z, y, x) of tissue fractions (tissue, z, y, x; 255 = all) with a signal for each tissue, times the texture."""
    out = np.zeros(fractions.shape[1:], np.float32)
    _contrast(fractions, texture, (weights / 255).astype(np.float32), out)
    return out


def axial_affine(
    shape: tuple[int, int, int], voxel_mm: tuple[float, float, float], centre_mm: NDArray[np.float64], tilt_rad: float = 0.0
) -> NDArray[np.float64]:
    """Axial grid stored as dcm2niix stores it: i to the left, j to the front, k up (LAS), turned about x by the tilt.

    A positive tilt lifts the front of the slices.
    """
    c, s = np.cos(tilt_rad), np.sin(tilt_rad)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-1, 0, 0], [0, c, -s], [0, s, c]]) * np.asarray(voxel_mm)
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def upright_affine(
    shape: tuple[int, int, int], voxel_mm: tuple[float, float, float], centre_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """RAS grid, as dcm2niix stores a 3-D acquisition."""
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def slabs(encoding: Encoding, size: int = SLAB) -> list[tuple[slice, Encoding]]:
    """The grid in pieces of a few slices along k."""
    pieces = []
    for start in range(0, encoding.shape[2], size):
        stop = min(start + size, encoding.shape[2])
        affine = encoding.affine.copy()
        affine[:3, 3] += affine[:3, 2] * start
        pieces.append((slice(start, stop), replace(encoding, affine=affine, shape=(*encoding.shape[:2], stop - start))))
    return pieces


def undistorted(
    body: Body,
    encoding: Encoding,
    around: Surroundings,
    pose: NDArray[np.float64] | None = None,
    fine: tuple[int, int, int] = (2, 2, 2),
) -> NDArray[np.float32]:
    """Voxel average (i, j, k) of the body's signal at one pose (6,), free of distortion."""  # fmt: skip
    out = np.empty(encoding.shape, np.float32, order="F")
    for part, piece in slabs(replace(encoding, total_readout_s=0.0)):
        state = still(piece.shape[2])
        if pose is not None:
            state.pose[:] = pose
        out[..., part] = render(body, build_lattice(piece, body, around, fine), state)
    return out


def gradient_echo_pair(
    signals: tuple[NDArray[np.float32], NDArray[np.float32]],
    body: Body,
    encoding: Encoding,
    around: Surroundings,
    state: State,
    echo_times_s: tuple[float, float],
    fine: tuple[int, int, int] = (2, 2, 4),
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Complex images (i, j, k) of the two echoes of a field-map sequence.

    The phase of each sub-sample is 2 pi f TE; summed over the voxel it gives dephasing and phase as the scanner sees them.

    Parameters
    ----------
    signals : pair of (z, y, x) arrays
        Signal of each echo on the body's grid.
    body, encoding, around, state
        As for `render`; ``state`` holds one entry for each slice; gradient non-linearity applies, distortion does not.
    echo_times_s : pair of float
    fine : tuple of int
        Sub-samples of a voxel.
    """  # fmt: skip
    images = tuple(np.zeros(encoding.shape, np.complex64, order="F") for _ in signals)
    inverse = np.linalg.inv(body.affine)
    offsets = [(np.arange(n) + 0.5) / n - 0.5 for n in fine]
    ni, nj = encoding.shape[:2]
    turn = state.pose[:, 3:5] if state.turn_field else np.zeros((len(state.pose), 2))
    for k in range(encoding.shape[2]):
        i = (np.arange(ni)[:, None] + offsets[0]).ravel()
        j = (np.arange(nj)[:, None] + offsets[1]).ravel()
        for dz in offsets[2]:
            voxels = np.stack(np.broadcast_arrays(i[:, None], j[None, :], k + dz), -1).reshape(-1, 3)
            nominal = encoding.positions(voxels)
            points = nominal + around.warp(nominal)
            pose = np.broadcast_to(state.pose[k], (len(points), 6))
            cord = np.broadcast_to(state.cord_mm[k], (len(points), 3))
            tissue = pull_back(points, body.pivot, around, pose, cord)
            index = np.rint(tissue @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)[:, ::-1]
            inside = np.all((index >= 0) & (index < body.signal.shape), axis=1)
            index = index[inside]
            carried = field_at(body, tissue[inside])
            points = points[inside]
            blend = around.blend(points)
            hz = (
                carried[:, 0]
                + blend * (carried[:, 1:] @ turn[k])
                + around.shim_hz(points)
                + around.breathing_gain(points) * state.breathing[k]
                + state.offset_hz[k]
            )
            for image, signal, te in zip(images, signals, echo_times_s, strict=True):
                value = np.zeros(len(inside), np.complex128)
                value[inside] = signal[tuple(index.T)] * np.exp(2j * np.pi * hz * te)
                image[..., k] += value.reshape(ni, fine[0], nj, fine[1]).mean(axis=(1, 3)) / fine[2]
    return images[0], images[1]


def siemens_phase(difference: NDArray[np.floating]) -> NDArray[np.int16]:
    """Phase in rad to 0..4095, where 0 is -pi and 4096 would be pi."""
    return (np.rint((difference + np.pi) / (2 * np.pi) * PHASE_LEVELS) % PHASE_LEVELS).astype(np.int16)


def with_signal(body: Body, signal: NDArray) -> Body:
    """The same body showing something else, e.g. a mask."""
    return replace(body, signal=np.ascontiguousarray(signal, np.float32))
