"""The EPI forward model against hand-worked examples, nibabel's coordinates and conservation laws."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cospine.errors import CoSpineError
from cospine.phantom.epi import (
    Body,
    Encoding,
    Surroundings,
    apparent_position,
    build_lattice,
    one,
    render,
    still,
)
from cospine.phantom.pose import rotation_matrix

SHAPE = (24, 26, 12)
DIRECTIONS = ("i", "i-", "j", "j-", "k", "k-")


def grid(voxel_mm: float, shape: tuple[int, int, int]) -> np.ndarray:
    """RAS grid with its centre in the isocentre."""
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = -voxel_mm * (np.array(shape) - 1) / 2
    return affine


def blob_body(centre: tuple[float, float, float] = (1.0, -2.0, 1.5), width: float = 3.0, field_hz: float = 0.0) -> Body:
    """A Gaussian bright spot on a 1 mm object grid of 48 x 52 x 44 voxels, in a uniform field."""
    shape = (48, 52, 44)
    affine = grid(1.0, shape)
    x, y, z = (affine[a, 3] + np.arange(shape[a]) for a in range(3))
    r2 = (x[None, None, :] - centre[0]) ** 2 + (y[None, :, None] - centre[1]) ** 2 + (z[:, None, None] - centre[2]) ** 2
    signal = (100 * np.exp(-r2 / (2 * width**2))).astype(np.float32)
    signal[signal < 0.01] = 0
    field = np.zeros((3, 8, 8, 8), np.float32)
    field[0] = field_hz
    return Body(affine, signal, np.zeros(signal.shape, np.uint8), grid(8.0, (8, 8, 8)), field, np.zeros(3))


def centroid(image: np.ndarray) -> np.ndarray:
    return np.array(ndimage.center_of_mass(image))


def picture(body: Body, encoding: Encoding, around: Surroundings = Surroundings(), state=None, fine=(3, 3, 4)):
    lattice = build_lattice(encoding, body, around, fine)
    return render(body, lattice, state or still(encoding.shape[encoding.slice_axis], 1))


def test_ten_hertz_and_a_readout_of_50_ms_move_j_up_by_half_a_voxel():
    encoding = Encoding(grid(2.0, SHAPE), SHAPE, "j", 0.05)
    at_rest = centroid(picture(blob_body(), encoding))
    in_field = centroid(picture(blob_body(field_hz=10.0), encoding))
    np.testing.assert_allclose(in_field - at_rest, [0, 0.5, 0], atol=2e-3)


@pytest.mark.parametrize("phase_encoding", DIRECTIONS)
@pytest.mark.parametrize("permutation", list(itertools.permutations(range(3))))
def test_every_axis_in_permuted_and_flipped_affines(phase_encoding: str, permutation: tuple[int, int, int]):
    """The spot sits where nibabel's coordinates say, plus field times readout along the named voxel axis."""
    rng = np.random.default_rng(sum(permutation[i] * 3**i for i in range(3)))
    flips = rng.choice([-1, 1], 3)
    base = grid(2.0, SHAPE)
    orientation = np.column_stack([permutation, flips])
    image = nib.Nifti1Image(np.zeros(SHAPE, np.float32), base).as_reoriented(orientation)
    tilt = np.eye(4)
    tilt[:3, :3] = rotation_matrix(np.array([0.1, -0.05, 0.2]))
    affine, shape = tilt @ image.affine, image.shape[:3]
    axis = "ijk".index(phase_encoding[0])
    encoding = Encoding(affine, shape, phase_encoding, 0.05, slice_axis=2 if axis != 2 else 1)
    where = (1.0, -2.0, 1.5)
    expected = nib.affines.apply_affine(np.linalg.inv(affine), where)
    expected[axis] += (-1 if phase_encoding.endswith("-") else 1) * 18.0 * 0.05
    found = picture(blob_body(where, width=2.5, field_hz=18.0), encoding)
    assert found.shape == shape
    np.testing.assert_allclose(centroid(found), expected, atol=5e-3)


def test_no_field_and_no_motion_give_the_voxel_average_of_the_object():
    """On an aligned 2 mm grid over 1 mm object voxels the mean of the trilinear object is a known stencil."""
    rng = np.random.default_rng(1)
    shape = (20, 20, 20)
    signal = rng.uniform(50, 100, shape).astype(np.float32)
    body = Body(grid(1.0, shape), signal, np.zeros(shape, np.uint8), grid(20.0, (2, 2, 2)),
                np.zeros((3, 2, 2, 2), np.float32), np.zeros(3))  # fmt: skip
    small = (8, 8, 8)
    found = picture(body, Encoding(grid(2.0, small), small, "j", 0.05), fine=(4, 4, 4))
    stencil = np.array([1, 7, 7, 1]) / 16  # mean over [-1, 1] of linear interpolation between -1.5, -.5, .5, 1.5
    expected = signal.T.astype(float)
    for axis in range(3):
        expected = ndimage.correlate1d(expected, np.r_[stencil], axis=axis, origin=0)
    # correlate1d of an even stencil is centred half a voxel up: output n covers n-2..n+1, centred on n - 0.5
    centres = np.arange(8) * 2 + 3
    np.testing.assert_allclose(found, expected[np.ix_(centres, centres, centres)], rtol=2e-3)


def test_mass_is_conserved_and_compression_brightens():
    """A field rising by 5 Hz/mm along y stretches by 1 + 5 x 2 mm x 0.05 s = 1.5: the signal drops to 2/3."""
    shape = (40, 40, 40)
    signal = np.zeros(shape, np.float32)
    signal[10:30, 10:30, 10:30] = 90
    field = np.zeros((3, 2, 41, 2), np.float32)
    y = np.linspace(-20, 20, 41)
    field_affine = np.diag([40.0, 1.0, 40.0, 1.0])
    field_affine[:3, 3] = -20
    encoding = Encoding(grid(2.0, SHAPE), SHAPE, "j", 0.05)
    images = {}
    for slope in (0.0, 5.0, -3.0):
        field[0] = slope * y[None, :, None]
        body = Body(grid(1.0, shape), signal, np.zeros(shape, np.uint8), field_affine, field.copy(), np.zeros(3))
        images[slope] = picture(body, encoding)
    middle = (12, slice(11, 15), 6)
    np.testing.assert_allclose(images[0.0][middle], 90, rtol=1e-5)
    np.testing.assert_allclose(images[5.0][middle], 60, rtol=1e-4)
    np.testing.assert_allclose(images[-3.0][middle], 90 / 0.7, rtol=1e-4)
    for slope in (5.0, -3.0):
        np.testing.assert_allclose(images[slope].sum(), images[0.0].sum(), rtol=1e-4)


def test_a_field_that_collapses_the_axis_piles_everything_into_one_voxel():
    """At -10 Hz/mm, 2 mm voxels and 0.05 s every voxel lands on the one at y = 0; beyond, the image is mirrored."""
    shape = (40, 40, 40)
    signal = np.zeros(shape, np.float32)
    signal[10:30, 12:28, 10:30] = 10
    signal[10:30, 12:16, 10:30] = 30
    field = np.zeros((3, 2, 41, 2), np.float32)
    field_affine = np.diag([40.0, 1.0, 40.0, 1.0])
    field_affine[:3, 3] = -20
    odd = (24, 25, 12)
    encoding = Encoding(grid(2.0, odd), odd, "j", 0.05)

    def with_slope(slope: float) -> np.ndarray:
        field[0] = slope * np.linspace(-20, 20, 41)[None, :, None]
        return picture(
            Body(grid(1.0, shape), signal, np.zeros(shape, np.uint8), field_affine, field.copy(), np.zeros(3)), encoding
        )

    plain, collapsed, mirrored = with_slope(0.0)[12, :, 6], with_slope(-10.0)[12, :, 6], with_slope(-20.0)[12, :, 6]
    np.testing.assert_allclose(collapsed[12], plain.sum(), rtol=1e-4)
    assert collapsed[np.arange(25) != 12].max() < 1e-3 * plain.sum()
    np.testing.assert_allclose(mirrored, plain[::-1], atol=0.3)


def test_labels_multiply_the_signal():
    body = blob_body()
    half = Body(body.affine, body.signal, np.ones_like(body.label), body.field_affine, body.field, body.pivot)
    encoding = Encoding(grid(2.0, SHAPE), SHAPE)
    state = still(SHAPE[2], 2)
    state.modulation[:, 1] = 0.5
    np.testing.assert_allclose(picture(half, encoding, state=state), 0.5 * picture(body, encoding), rtol=1e-6)


def test_head_motion_is_push_forward_about_the_pivot():
    """Turned by +90 degrees about z (right-hand rule) what lay at +x lies at +y; then it moves by the translation."""
    body = blob_body((6.0, 0.0, 0.0))
    encoding = Encoding(grid(2.0, SHAPE), SHAPE)
    state = still(SHAPE[2], 1)
    state.pose[:] = [1.0, 2.0, -1.0, 0, 0, np.pi / 2]
    found = nib.affines.apply_affine(encoding.affine, centroid(picture(body, encoding, state=state)))
    np.testing.assert_allclose(found, [1.0, 8.0, -1.0], atol=0.02)


def busy_surroundings() -> Surroundings:
    return Surroundings(
        shim_hz=lambda p: 5 + 0.4 * p[..., 1] + 0.01 * p[..., 0] * p[..., 2],
        breathing_gain=lambda p: 4 - 0.1 * p[..., 2],
        blend=lambda p: 1 / (1 + np.exp(-p[..., 2] / 6)),
        falloff=lambda p: np.exp(-(p[..., 0] ** 2 + p[..., 1] ** 2) / (2 * 15**2)),
        warp=lambda p: 2e-5 * p**3 + 0.003 * p,
    )


@pytest.mark.parametrize("phase_encoding", ["j", "j-"])
def test_apparent_position_is_where_the_spot_is_seen(phase_encoding: str):
    """Motion of head and cord, articulation, warp, static, turning and breathing field together: within 0.02 voxel."""
    centre = np.array([2.0, -3.0, 2.5])
    body = blob_body(tuple(centre), width=1.6)
    rng = np.random.default_rng(3)
    body.field[0] = 20 + 6 * ndimage.gaussian_filter(rng.standard_normal((8, 8, 8)), 1.5)
    body.field[1] = 120
    body.field[2] = -80
    around = busy_surroundings()
    encoding = Encoding(grid(1.0, (40, 44, 36)), (40, 44, 36), phase_encoding, 0.04)
    state = still(36, 1)
    state.pose[:] = [0.8, -0.6, 0.5, 0.03, -0.02, 0.04]
    state.cord_mm[:] = [0.3, 0.9, -0.2]
    state.breathing[:] = 0.8
    state.offset_hz[:] = 3.0
    seen = picture(body, encoding, around, state)
    # the centroid of the spot is the signal-weighted mean of where its own points are seen
    index = np.argwhere(body.signal > 0)
    points = nib.affines.apply_affine(body.affine, index[:, ::-1])
    weight = body.signal[tuple(index.T)]
    where = apparent_position(points, body, around, encoding, state, np.zeros(len(points), int))
    expected = (where.voxel * weight[:, None]).sum(0) / weight.sum()
    np.testing.assert_allclose(centroid(seen), expected, atol=0.02)
    still_seen = centroid(picture(body, encoding, around))
    assert np.abs(still_seen - expected).max() > 0.5


def test_field_turns_with_the_head_only_when_asked():
    body = blob_body()
    body.field[1] = 100.0
    encoding = Encoding(grid(2.0, SHAPE), SHAPE, "j", 0.05)
    state = still(SHAPE[2], 1)
    state.pose[:, 3] = 0.05
    fixed = type(state)(**{**vars(state), "turn_field": False})
    moved = centroid(picture(body, encoding, state=state)) - centroid(picture(body, encoding, state=fixed))
    np.testing.assert_allclose(moved, [0, 100 * 0.05 * 0.05, 0], atol=2e-3)


def test_same_input_same_bytes():
    encoding = Encoding(grid(2.0, SHAPE), SHAPE)
    lattice = build_lattice(encoding, blob_body(), Surroundings(blend=one))
    images = [render(blob_body(), lattice, still(SHAPE[2], 1)).tobytes() for _ in range(2)]
    assert images[0] == images[1]


def test_unknown_encoding_is_refused():
    with pytest.raises(CoSpineError, match="phase-encoding"):
        Encoding(np.eye(4), SHAPE, "y")
    with pytest.raises(CoSpineError, match="slice axis"):
        Encoding(np.eye(4), SHAPE, "k")
