"""The one interpolation against SciPy and ITK."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cospine.space.bspline import coefficients, value_and_gradient, value_and_gradient_in_plane
from cospine.space.grid import Grid
from cospine.space.resample import Places, Shift, resample_at, resample_series, resample_volume
from cospine.space.transform import SliceShift, rigid_matrix


def smooth_volume(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asfortranarray(ndimage.gaussian_filter(rng.normal(size=shape), 1.2).astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 19)] * 3), st.integers(0, 99))
def test_coefficients_equal_scipy_for_any_shape(shape: tuple[int, int, int], seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=shape)
    expected = volume
    for axis in range(3):  # SciPy divides by zero on axes of one voxel
        if shape[axis] > 1:
            expected = ndimage.spline_filter1d(expected, 3, axis, mode="mirror")
    np.testing.assert_allclose(coefficients(volume.astype(np.float32)), expected, atol=2e-5)


def test_values_equal_scipy_inside() -> None:
    volume = smooth_volume((21, 25, 17))
    matrix = rigid_matrix(np.array([0.7, -0.4, 0.3, 0.05, -0.04, 0.06]), np.array([10, 12, 8.0]))
    found = resample_volume(volume, matrix)
    wide = ndimage.affine_transform(volume.astype(float), matrix[:3, :3], matrix[:3, 3], order=3, mode="mirror")
    inside = ndimage.binary_erosion(np.ones(volume.shape, bool), iterations=3)
    expected = np.clip(wide, volume.min(), volume.max())
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-6)


def test_one_matrix_a_slice_equals_slicewise_shift() -> None:
    volume = smooth_volume((16, 18, 6))
    shift = np.random.default_rng(2).uniform(-1, 1, (6, 2))
    matrices = np.tile(np.eye(4), (6, 1, 1))
    matrices[:, :2, 3] = shift
    found = resample_volume(volume, matrices)
    for k in range(6):
        expected = ndimage.shift(volume[..., k].astype(float), -shift[k], order=3, mode="mirror")
        np.testing.assert_allclose(found[3:-3, 3:-3, k], np.clip(expected, volume.min(), volume.max())[3:-3, 3:-3], atol=2e-6)


@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, (7, 6, 5), elements=st.floats(-1000, 1000, width=32)))
def test_identity_returns_the_input_and_never_leaves_its_range(volume: np.ndarray) -> None:
    same = resample_volume(np.asfortranarray(volume), np.eye(4))
    np.testing.assert_allclose(same, volume, atol=0.01)
    moved = resample_volume(np.asfortranarray(volume), rigid_matrix(np.array([0.4, 0.3, 0.2, 0, 0, 0]), np.zeros(3)))
    assert moved.min() >= min(volume.min(), 0)
    assert moved.max() <= max(volume.max(), 0)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "ASR"])
def test_agrees_with_itk_on_oblique_and_flipped_grids(codes: str) -> None:
    """A head that moved by M is brought back by ITK with the very transform that we write."""
    ants = pytest.importorskip("ants")
    import nibabel as nib

    from cospine.space.grid import Grid

    shape = (24, 22, 20)
    turn = rigid_matrix(np.array([3.0, 4, 5, 0.2, 0.1, -0.15]), np.zeros(3))
    ornt = nib.orientations.axcodes2ornt(tuple(codes))
    affine = turn @ nib.orientations.inv_ornt_aff(ornt, shape) @ np.diag([1.5, 1.5, 3, 1])
    grid = Grid(shape, affine)
    volume = smooth_volume(shape, 4)
    pose = rigid_matrix(np.array([1.0, -0.8, 0.6, 0.03, -0.05, 0.04]), grid.centre)
    found = resample_volume(volume, grid.inverse @ pose @ affine)

    lps = np.diag([-1.0, -1, 1, 1])
    in_itk = lps @ affine
    spacing = grid.voxel_mm
    image = ants.from_numpy(
        volume.astype(float),
        origin=tuple(in_itk[:3, 3]),
        spacing=tuple(spacing),
        direction=in_itk[:3, :3] / spacing,
    )
    mapped = lps @ pose @ lps
    transform = ants.create_ants_transform(
        transform_type="AffineTransform", dimension=3, matrix=mapped[:3, :3], translation=mapped[:3, 3]
    )
    expected = transform.apply_to_image(image, reference=image, interpolation="linear").numpy()
    linear = ndimage.map_coordinates(
        volume.astype(float),
        np.tensordot((grid.inverse @ pose @ affine)[:3, :3], np.indices(shape), 1)
        + (grid.inverse @ pose @ affine)[:3, 3, None, None, None],
        order=1,
    )
    inside = (slice(4, -4),) * 3
    np.testing.assert_allclose(linear[inside], expected[inside], atol=1e-5)  # same points as ITK
    assert np.corrcoef(found[inside].ravel(), expected[inside].ravel())[0, 1] > 0.97  # cubic against linear


def test_gradient_is_the_derivative_of_the_value() -> None:
    c = coefficients(np.ascontiguousarray(smooth_volume((12, 11, 10)).T))
    h = 1e-2
    for x, y, z in ((4.3, 5.6, 3.2), (1.1, 8.7, 7.9), (0.2, 0.4, 0.1)):
        gradient = value_and_gradient(c, x, y, z)[1:]
        at = np.array([x, y, z])
        numeric = [
            (value_and_gradient(c, *(at + h * step))[0] - value_and_gradient(c, *(at - h * step))[0]) / (2 * h)
            for step in np.eye(3)
        ]
        np.testing.assert_allclose(gradient, numeric, atol=2e-3)
    plane = coefficients(np.ascontiguousarray(smooth_volume((12, 11, 10)).T), in_plane=True)
    value, gx, gy = value_and_gradient_in_plane(plane[4], 5.3, 4.6)
    right = value_and_gradient_in_plane(plane[4], 5.3 + h, 4.6)[0]
    up = value_and_gradient_in_plane(plane[4], 5.3, 4.6 + h)[0]
    np.testing.assert_allclose([gx, gy], [(right - value) / h, (up - value) / h], atol=1e-2)


def test_series_may_be_written_over_itself() -> None:
    series = np.asfortranarray(np.stack([smooth_volume((9, 8, 7), s) for s in range(3)], axis=3))
    matrices = np.tile(rigid_matrix(np.array([0.3, 0, 0, 0, 0, 0]), np.zeros(3)), (3, 7, 1, 1))
    apart = resample_series(series, matrices)
    np.testing.assert_array_equal(resample_series(series, matrices, out=series), apart)


def test_wrong_number_of_matrices_is_refused() -> None:
    with pytest.raises(ValueError, match="one for each output slice"):
        resample_volume(smooth_volume((5, 5, 5)), np.tile(np.eye(4), (3, 1, 1)))
    with pytest.raises(ValueError, match="volumes"):
        resample_series(np.zeros((5, 5, 5, 2), np.float32), np.tile(np.eye(4), (3, 5, 1, 1)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shift_lies_along_its_stored_axis_on_top_of_the_matrix(axis: int) -> None:
    rng = np.random.default_rng(3)
    volume = ndimage.gaussian_filter(rng.normal(size=(14, 15, 12)), 1.2).astype(np.float32)
    shift = ndimage.gaussian_filter(rng.normal(size=volume.shape), 3).astype(np.float32) * 20
    factor = (1 + 0.1 * rng.random(volume.shape)).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", (0.05, -0.03, 0.08)).as_matrix()
    matrix[:3, 3] = 0.3, -0.2, 0.1
    index = np.indices(volume.shape).reshape(3, -1)
    at = (matrix[:3, :3] @ index + matrix[:3, 3:]).reshape(3, *volume.shape)
    at[axis] += shift
    expected = ndimage.map_coordinates(volume, at, order=3, mode="mirror").clip(volume.min(), volume.max()) * factor
    found = resample_volume(volume, matrix, shift=Shift(shift, axis, factor))
    inside = np.all((at > -0.9) & (at < np.array(volume.shape)[:, None, None, None] - 0.1), axis=0)
    assert inside.mean() > 0.6
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-5)


def test_points_in_another_space_are_sampled_where_the_slices_moved_them():
    rng = np.random.default_rng(5)
    volume = np.asfortranarray(rng.normal(size=(11, 13, 9)).astype(np.float32))
    grid = Grid(volume.shape, np.diag([2.0, 1.5, 4.0, 1.0]))
    matrices = np.tile(np.eye(4), (9, 1, 1))
    matrices[:, :3] += 0.03 * rng.normal(size=(9, 3, 4))
    points = (rng.random((200, 3)) * (np.array(volume.shape) - 1)).astype(np.float32)
    along = rng.normal(0, 0.5, volume.shape).astype(np.float32)
    factor = rng.uniform(0.5, 1.5, volume.shape).astype(np.float32)

    got = resample_at(volume, matrices, Places.of(points, Shift(along, 1, factor)))

    moved = grid.to_voxel(SliceShift(grid, matrices).map(grid.to_ras(points)))
    moved[:, 1] += ndimage.map_coordinates(along, points.T, order=1)
    expected = ndimage.map_coordinates(volume, moved.T, order=3, mode="mirror")
    expected = np.clip(expected, volume.min(), volume.max()) * ndimage.map_coordinates(factor, points.T, order=1)
    inside = np.all((moved > -1) & (moved < np.array(volume.shape)), axis=1)
    assert inside.sum() > 150
    np.testing.assert_allclose(got[inside], expected[inside], atol=2e-5)
    assert not got[~inside].any()


def test_a_lattice_sampled_point_by_point_equals_the_lattice():
    rng = np.random.default_rng(6)
    volume = np.asfortranarray(rng.normal(size=(8, 9, 7)).astype(np.float32))
    matrix = np.eye(4)
    matrix[:3, 3] = 0.3, -0.2, 0.4
    lattice = np.indices(volume.shape).reshape(3, -1).T
    got = resample_at(volume, matrix, Places(lattice.astype(np.float32))).reshape(volume.shape)
    np.testing.assert_allclose(got, resample_volume(volume, matrix), atol=1e-5)
