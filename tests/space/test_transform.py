"""Transforms against nibabel, SciPy and hand-worked examples."""

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cospine.space.grid import Grid
from cospine.space.transform import (
    Affine,
    Chain,
    Displacement,
    SliceShift,
    inverse_displacement,
    jacobian,
    rigid_matrix,
    rigid_parameters,
)

OBLIQUE = np.array([[-1.4, 0.2, 0.1, 90.0], [0.15, 1.45, -0.5, -100.0], [0.1, 0.3, 3.9, -140.0], [0, 0, 0, 1.0]])


def test_grid_agrees_with_nibabel_on_any_orientation() -> None:
    rng = np.random.default_rng(1)
    for codes in ("RAS", "LPS", "PIR", "SAL"):
        affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(tuple(codes)), (8, 9, 10))
        grid = Grid((8, 9, 10), affine @ np.diag([1.5, 2, 4, 1]))
        voxel = rng.uniform(0, 8, (20, 3))
        np.testing.assert_allclose(grid.to_ras(voxel), nib.affines.apply_affine(grid.affine, voxel))
        np.testing.assert_allclose(grid.to_voxel(grid.to_ras(voxel)), voxel, atol=1e-10)
        np.testing.assert_allclose(grid.voxel_mm, nib.affines.voxel_sizes(grid.affine))
        assert grid.axis_codes == nib.aff2axcodes(grid.affine)
        for direction in "RAS":
            axis, sign = grid.axis_of(direction)
            step = np.zeros(3)
            step[axis] = sign
            moved = grid.to_ras(step) - grid.to_ras(np.zeros(3))
            assert moved["RAS".index(direction)] > 0


def test_rigid_matrix_is_rz_ry_rx_about_the_centre() -> None:
    parameters = np.array([1.0, -2.0, 3.0, 0.1, -0.2, 0.3])
    centre = np.array([5.0, 6.0, 7.0])
    matrix = rigid_matrix(parameters, centre)
    rotation = Rotation.from_euler("xyz", parameters[3:]).as_matrix()  # extrinsic x, then y, then z
    point = np.array([10.0, 20.0, 30.0])
    expected = rotation @ (point - centre) + centre + parameters[:3]
    np.testing.assert_allclose(Affine(matrix).map(point), expected, atol=1e-12)
    np.testing.assert_allclose(rigid_parameters(matrix, centre), parameters, atol=1e-12)


def test_a_nod_by_hand() -> None:
    """+90 degrees about x takes anterior to superior."""
    matrix = rigid_matrix(np.array([0, 0, 0, np.pi / 2, 0, 0]), np.zeros(3))
    np.testing.assert_allclose(matrix[:3, :3] @ [0, 1, 0], [0, 0, 1], atol=1e-12)


def test_slice_shift_moves_each_slice_and_joins_them_linearly() -> None:
    grid = Grid((10, 10, 4), OBLIQUE)
    matrices = np.tile(np.eye(4), (4, 1, 1))
    matrices[:, 0, 3] = [0, 1, 2, 3]
    shift = SliceShift(grid, matrices)
    for z, expected in ((0, 0), (1, 1), (1.5, 1.5), (3, 3), (5, 3)):
        found = grid.to_voxel(shift.map(grid.to_ras(np.array([4.0, 4.0, z]))))
        np.testing.assert_allclose(found, [4 + expected, 4, z], atol=1e-9)


def test_displacement_and_chain() -> None:
    grid = Grid((6, 6, 6), np.diag([2.0, 2, 2, 1]))
    vectors = np.zeros((6, 6, 6, 3))
    vectors[..., 1] = 3
    push = Affine(rigid_matrix(np.array([1.0, 0, 0, 0, 0, 0]), np.zeros(3)))
    chain = Chain((push, Displacement(grid, vectors)))
    np.testing.assert_allclose(chain.map(np.array([[4.0, 4, 4]])), [[5, 7, 4]])
    np.testing.assert_allclose(Displacement(grid, vectors).map(np.array([50.0, 4, 4])), [50, 4, 4])


def test_a_grid_cannot_be_changed_behind_its_back() -> None:
    grid = Grid((2, 2, 2), np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


def warped(affine: np.ndarray) -> tuple[Displacement, np.ndarray]:
    """A field with a large offset, a turn and waves, and its points."""
    grid = Grid((21, 23, 25), affine)
    points = grid.to_ras(np.stack(np.indices(grid.shape), axis=-1))
    turn = rigid_matrix(np.array([70.0, -40.0, 25.0, 0.3, 0.1, -0.2]), grid.centre)
    moved = Affine(turn @ np.diag([1.1, 0.9, 1.0, 1.0])).map(points)
    moved += 1.5 * np.sin(points[..., [1, 2, 0]] / 9)
    return Displacement(grid, (moved - points).astype(np.float32)), points


@pytest.mark.parametrize("affine", [np.diag([2.0, 2, 2, 1]), OBLIQUE], ids=["RAS", "oblique"])
def test_inverse_leads_back(affine: np.ndarray) -> None:
    forward, points = warped(affine)
    inner = points[5:-5, 5:-5, 5:-5].reshape(-1, 3)
    there = forward.map(inner)
    low, high = there.min(axis=0) - 2, there.max(axis=0) + 2
    around = np.eye(4)
    around[:3, 3] = low
    grid = Grid(tuple(np.ceil(high - low).astype(int) + 1), around)  # type: ignore[arg-type]
    inverse, left = inverse_displacement(forward, grid)
    back = inverse.map(there)
    assert np.linalg.norm(there - inner, axis=1).min() > 20
    # what linear interpolation of two fields with waves of 56 mm costs
    assert np.linalg.norm(back - inner, axis=1).max() < 0.05
    index = np.round(grid.to_voxel(there)).astype(int)
    assert left[tuple(index.T)].max() <= 1e-3


def test_jacobian_by_hand_and_of_a_wave() -> None:
    scaled = Grid((8, 9, 10), OBLIQUE)
    points = scaled.to_ras(np.stack(np.indices(scaled.shape), axis=-1))
    matrix = np.array([[1.2, 0.1, 0, 3], [0, 0.9, 0.2, 4], [0.1, 0, 1.1, 5], [0, 0, 0, 1.0]])
    linear = Displacement(scaled, (Affine(matrix).map(points) - points).astype(np.float32))
    np.testing.assert_allclose(jacobian(linear), np.linalg.det(matrix[:3, :3]), rtol=1e-4)
    fine = Grid((60, 5, 5), np.diag([0.5, 1, 1, 1.0]))
    x = fine.to_ras(np.stack(np.indices(fine.shape), axis=-1))[..., 0]
    vectors = np.zeros((*fine.shape, 3), dtype=np.float32)
    vectors[..., 0] = 2 * np.sin(x / 5)
    np.testing.assert_allclose(jacobian(Displacement(fine, vectors))[1:-1], (1 + 0.4 * np.cos(x / 5))[1:-1], atol=1e-3)
