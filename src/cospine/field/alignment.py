"""A field measured at one time brought to an EPI series acquired at another.

The field's undistorted reference is registered to the EPI's reference, which is distorted: so the EPI is unwarped with the
field as it lies, the reference registered to it, and both repeated until they agree. The brain moves as one rigid body. The
neck does not (an error of one degree at the head is 3.5 mm at C7), so there each slice finds its own place in its plane.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import solveh_banded

from cospine.field.encoding import Encoding
from cospine.register.mutual import register_mutual
from cospine.register.slicewise import slice_shifts
from cospine.space.bspline import coefficients
from cospine.space.grid import Grid
from cospine.space.resample import Shift, resample_volume
from cospine.space.transform import rigid_matrix

_ROUNDS = 4
_SETTLED_MM = 0.05
_LEAST_INFORMATION = 0.05  # nats: two images with less in common tell nothing of a pose
_NECK_ROUNDS = 2
_NECK_PRIOR_MM = 1.5  # how far a slice may reasonably be from where head and trunk put it
_NECK_STEP_MM = 0.08  # by how much neighbouring slices may differ, for each 4 mm
_SLICE_SD_MM = 0.15  # no slice is placed better


@dataclass(frozen=True)
class AlignedField:
    """A field on the grid of an EPI reference.

    Parameters
    ----------
    field_hz : ndarray (x, y, z), float32
        Undistorted grid of the reference.
    matrices : ndarray (slices, 4, 4)
        Undistorted voxel of the reference to voxel of the field's own grid.
    pose : ndarray (6,)
        Of the head between the two, mm and rad, about the middle of the brain; zeros where there is no brain, or where the
        images say nothing of it.
    information : float
        Mutual information of the two at that pose, nats; 0 where there is no pose.
    neck_shift_mm : ndarray (n, 2)
        What the slices in `neck_slices` are shifted by in their plane beyond the head's share, along i and j.
    neck_slices : ndarray (n,) of int
    """

    field_hz: NDArray[np.float32] = field(repr=False)
    matrices: NDArray[np.float64] = field(repr=False)
    pose: NDArray[np.float64]
    information: float
    neck_shift_mm: NDArray[np.float64] = field(repr=False)
    neck_slices: NDArray[np.int_] = field(repr=False)


def distortion(field_hz: NDArray, encoding: Encoding, *, jacobian: bool = True) -> Shift:
    """What a field does to an EPI, as resampling undoes it.

    Parameters
    ----------
    field_hz : ndarray (x, y, z)
        On the undistorted grid.
    encoding : Encoding
        Of the EPI.
    jacobian : bool
        Whether the signal is multiplied by the Jacobian.
    """
    factor = np.maximum(encoding.jacobian(field_hz), np.float32(0)) if jacobian else None
    return Shift(encoding.displacement(field_hz), encoding.axis, factor)


def align_field(
    field_hz: NDArray,
    magnitude: NDArray,
    own: Grid,
    reference: NDArray,
    grid: Grid,
    encoding: Encoding,
    brain: NDArray,
    cord_weight: NDArray | None = None,
    follows: NDArray | None = None,
) -> AlignedField:
    """Bring a field to the EPI it is to correct.

    Parameters
    ----------
    field_hz, magnitude : ndarray (x, y, z)
        Field and undistorted image of the same grid and pose.
    own : Grid
        Their grid.
    reference : ndarray (x, y, z)
        EPI reference, distorted.
    grid : Grid
        Its grid; slices along the third axis where there is a cord.
    encoding : Encoding
        Of the EPI.
    brain : ndarray (x, y, z), bool
        Brain as the distorted reference shows it; empty for none.
    cord_weight : ndarray (x, y, z), optional
        Soft weight around the cord as the distorted reference shows it.
    follows : ndarray (slices,), optional
        How much of the head's pose each slice takes: 1 in the head, 0 in the trunk. All by default.

    Returns
    -------
    AlignedField
    """
    slices = grid.shape[2]
    follows = np.ones(slices) if follows is None else follows
    pose, centre, information = np.zeros(6), grid.centre, 0.0
    shift = np.zeros((slices, 2))

    def matrices() -> NDArray[np.float64]:
        """Undistorted voxel of the EPI to voxel of the field."""
        moved = np.eye(4) + follows[:, None, None] * (rigid_matrix(pose, centre) - np.eye(4))
        back = np.tile(np.eye(4), (slices, 1, 1))
        back[:, :2, 3] = -shift / grid.voxel_mm[:2]
        return own.inverse @ moved @ grid.affine @ back

    if brain.any():
        mask = ndimage.binary_dilation(brain, iterations=2)
        centre = grid.to_ras(np.argwhere(mask).mean(axis=0))
        for number in range(_ROUNDS):
            unwarped = _unwarped(reference, _at(field_hz, matrices(), grid), encoding)
            newer, information = register_mutual(unwarped, grid, magnitude, own, mask, pose if number else None)
            if information < _LEAST_INFORMATION:
                pose, information = np.zeros(6), 0.0
                break
            moved = float(np.abs(newer[:3] - pose[:3]).max() + 60 * np.abs(newer[3:] - pose[3:]).max())
            pose = newer
            if moved < _SETTLED_MM:
                break
    neck = np.zeros(0, dtype=int)
    if cord_weight is not None and cord_weight.any() and grid.axis_of("S")[0] == 2:
        neck = np.flatnonzero((cord_weight > 0).any(axis=(0, 1)) & (follows < 1))
    for _ in range(_NECK_ROUNDS if neck.size else 0):
        assert cord_weight is not None
        here = matrices()
        on_grid = _at(field_hz, here, grid)
        unwarped = _unwarped(reference, on_grid, encoding)
        # the weight lies where the distorted reference shows the cord
        weight = _unwarped(cord_weight, on_grid, encoding, modulated=False)
        model = resample_volume(magnitude, here, grid.shape)
        shift = shift + _neck_shift(model, unwarped, weight, neck, follows, grid)
    final = matrices()
    return AlignedField(_at(field_hz, final, grid), final, pose, information, shift[neck], neck)


def _at(values: NDArray, matrices: NDArray, grid: Grid) -> NDArray[np.float32]:
    """A smooth map on the EPI's grid, its outermost values beyond its edge."""
    out = np.empty(grid.shape, dtype=np.float32, order="F")
    i, j = np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
    for k, matrix in enumerate(matrices):
        at = np.tensordot(matrix[:3], np.stack([i, j, np.full_like(i, k), np.ones_like(i)]), axes=1)
        out[..., k] = ndimage.map_coordinates(values, at, order=1, mode="nearest")
    return out


def _unwarped(image: NDArray, field_hz: NDArray, encoding: Encoding, *, modulated: bool = True) -> NDArray[np.float32]:
    return resample_volume(image, np.eye(4), image.shape, shift=distortion(field_hz, encoding, jacobian=modulated))


def _neck_shift(
    model: NDArray, measured: NDArray, weight: NDArray, neck: NDArray, follows: NDArray, grid: Grid
) -> NDArray[np.float64]:
    """In-plane shift (slices, 2) in mm of the EPI's neck against the field's, smooth along it and none where the head is."""
    in_plane = grid.voxel_mm[:2]
    usable = np.array([k for k in neck if (weight[..., k] > 0.05).sum() > 20], dtype=int)
    out = np.zeros((grid.shape[2], 2))
    if usable.size < 3:
        return out
    coefs = coefficients(np.ascontiguousarray(model.T), in_plane=True)
    series = np.ascontiguousarray(measured.T)[None]
    soft = np.where(weight > 0.05, weight, 0)
    found, information, _ = slice_shifts(
        coefs, series, usable, np.ascontiguousarray(soft.T), np.zeros((1, usable.size, 2)), _NECK_PRIOR_MM / in_plane
    )
    step = _NECK_STEP_MM * np.sqrt(grid.voxel_mm[2] / 4)
    for axis in range(2):
        mm = found[0, :, axis] * in_plane[axis]
        known = 1 / (1 / np.maximum(information[0, :, axis, axis] / in_plane[axis] ** 2, 1e-6) + _SLICE_SD_MM**2)
        # slices that still follow the head are held: a random walk that starts from there
        held = known + np.where(follows[usable] > 0.9, 1e4, 0.0)
        mm = np.where(follows[usable] > 0.9, 0.0, mm)
        gaps = np.maximum(np.diff(usable), 1) * step**2
        banded = np.zeros((2, usable.size))
        banded[1] = held
        banded[1, :-1] += 1 / gaps
        banded[1, 1:] += 1 / gaps
        banded[0, 1:] = -1 / gaps
        smooth = solveh_banded(banded, held * mm)
        out[:, axis] = np.interp(np.arange(grid.shape[2]), usable, smooth)
    # beyond the slices that were measured the last one's shift holds, toward the head it fades
    return out * np.where(follows > 0.9, 0.0, 1.0)[:, None]
