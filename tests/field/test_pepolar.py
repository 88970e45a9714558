"""The field from pairs made here: mass of a head defined in RAS mm, laid down where a field in RAS mm puts it."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numba
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cospine.errors import CoSpineError
from cospine.field.encoding import Encoding
from cospine.field.pepolar import PairField, estimate_field
from cospine.space.grid import Grid

READOUT = 0.04
SHAPE, SIZE = (40, 44, 28), (3.0, 3.0, 4.0)
WITHIN_HZ = 1.5  # RMS; displacements reach 3 voxels, 1.5 Hz are 0.06

Scalar = Callable[[NDArray], NDArray]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small images gain nothing from threads, which wait for each other where the machine is busy."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def density(points: NDArray) -> NDArray:
    """Soft ellipsoids with texture, RAS mm."""
    x, y, z = np.moveaxis(points, -1, 0)

    def ellipsoid(cx: float, cy: float, cz: float, *radii: float) -> NDArray:
        distance = np.sqrt(((x - cx) / radii[0]) ** 2 + ((y - cy) / radii[1]) ** 2 + ((z - cz) / radii[2]) ** 2)
        return 1 / (1 + np.exp((distance - 1) * min(radii) / 2))

    waves = [(0.11, 0.05, 0.03, 0.3), (0.02, 0.13, 0.06, 1.1), (0.07, -0.09, 0.1, 2.0), (-0.05, 0.1, -0.12, 0.7)]
    waves += [(0.15, 0.02, -0.08, 2.9), (0.03, 0.2, 0.02, 0.1), (0.2, 0.05, 0.1, 1.9)]
    tissue = 1 + 0.12 * sum(np.sin(a * x + b * y + c * z + phase) for a, b, c, phase in waves)
    parts = 0.6 * ellipsoid(12, -8, 5, 9, 12, 14) - 0.5 * ellipsoid(-14, 10, 0, 8, 10, 12)
    parts += 0.5 * ellipsoid(0, 20, -10, 10, 8, 10) - 0.4 * ellipsoid(8, -25, 12, 8, 8, 8)
    return np.maximum(ellipsoid(0, 0, 0, 42, 48, 38) * (tissue + parts), 0)


def field(points: NDArray) -> NDArray:
    """Hz, RAS mm; no symmetry at all."""
    places = [(85, (5, 25, -15), 20), (-60, (-25, -5, -10), 18), (-45, (22, -15, 5), 20), (35, (0, -20, 25), 18)]
    return sum(
        (hz * np.exp(-((points - np.array(at)) ** 2).sum(-1) / (2 * sd * sd)) for hz, at, sd in places),
        np.zeros(points.shape[:-1]),
    )


def grid_of(
    codes: str = "LAS", turn_deg: tuple[float, ...] = (0, 0, 0), size: Sequence[float] = SIZE, shape: tuple[int, int, int] = SHAPE
) -> Grid:
    signs = [-1 if code in "LPI" else 1 for code in codes]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix() @ np.diag(np.multiply(signs, size))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def over(grid: Grid, function: Scalar) -> NDArray:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return function(apply_affine(grid.affine, index))


def seen(
    grid: Grid, direction: str, readout_s: float = READOUT, mass: Scalar = density, hz: Scalar = field, parts: int = 8
) -> NDArray[np.float32]:
    """What an EPI shows: each voxel in `parts` along the phase-encoding axis, each part's mass laid where the field moves it."""
    axis, sign = "ijk".index(direction[0]), -1 if direction.endswith("-") else 1
    places = [np.arange(n, dtype=float) for n in grid.shape]
    places[axis] = (np.arange(grid.shape[axis] * parts) + 0.5) / parts - 0.5
    index = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
    points = apply_affine(grid.affine, index)
    to = index[..., axis] + sign * readout_s * hz(points)
    below = np.floor(to).astype(int)
    out = np.zeros(grid.shape)
    for at, share in ((below, below + 1 - to), (below + 1, to - below)):
        inside = (at >= 0) & (at < grid.shape[axis])
        voxel = list(np.indices(at.shape))
        voxel[axis] = at
        np.add.at(out, tuple(one[inside] for one in voxel), (share * mass(points))[inside])
    return (1000 * out / parts).astype(np.float32)


def opposite(direction: str) -> str:
    return direction[0] if direction.endswith("-") else direction + "-"


def good(found: NDArray, grid: Grid, within_hz: float = WITHIN_HZ) -> bool:
    inside = over(grid, density) > 0.5
    truth, values = over(grid, field)[inside], found[inside]
    assert np.isfinite(found).all()
    assert found.shape == grid.shape
    rms = np.sqrt(((values - truth) ** 2).mean())
    return bool(np.corrcoef(values, truth)[0, 1] > 0.9 and rms < within_hz)


@cache
def plain() -> tuple[NDArray, NDArray, PairField]:
    """A pair along j on LAS, and its field."""
    images = [seen(grid_of(), one) for one in ("j", "j-")]
    return images[0], images[1], estimate_field(images, ENCODINGS, grid_of())


ENCODINGS = [Encoding.parse("j", READOUT), Encoding.parse("j-", READOUT)]


# --- signs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["i", "j", "k"])
@pytest.mark.parametrize("name", ["LAS", "RAS", "LPS", "oblique"])
def test_field_has_the_right_sign_whatever_the_grid_direction_and_order(name: str, direction: str) -> None:
    grid = grid_of("LAS", (18, -12, 15)) if name == "oblique" else grid_of(name)
    images = [seen(grid, one) for one in (direction, opposite(direction))]
    encodings = [Encoding.parse(one, READOUT) for one in (direction, opposite(direction))]
    one = estimate_field(images, encodings, grid)
    other = estimate_field(images[::-1], encodings[::-1], grid)
    assert good(one.field_hz, grid)
    assert good(other.field_hz, grid)
    inside = over(grid, density) > 0.5
    assert np.abs(one.field_hz - other.field_hz)[inside].max() < 2


def test_a_wrong_sign_fails_what_the_right_one_passes() -> None:
    """Both wrong turn the field round; one wrong leaves no pair."""
    one, other, right = plain()
    wrong = estimate_field([one, other], ENCODINGS[::-1], grid_of())
    assert good(right.field_hz, grid_of())
    assert not good(wrong.field_hz, grid_of())
    inside = over(grid_of(), density) > 0.5
    np.testing.assert_allclose(np.corrcoef(wrong.field_hz[inside], right.field_hz[inside])[0, 1], -1, atol=0.01)
    for encodings in ([ENCODINGS[0]] * 2, [ENCODINGS[1]] * 2):
        with pytest.raises(CoSpineError, match="displaced alike"):
            estimate_field([one, other], encodings, grid_of())


def test_one_scene_in_many_storages_has_one_field() -> None:
    """The same lattice stored from right to left, from front to back and with its axes in another order."""
    one, other, expected = plain()
    grid = grid_of()
    inside = over(grid, density) > 0.5
    for axis, directions in ((0, ("j", "j-")), (1, ("j-", "j")), (2, ("j", "j-"))):
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1, SHAPE[axis] - 1
        images = [np.flip(image, axis) for image in (one, other)]
        found = estimate_field(images, [Encoding.parse(d, READOUT) for d in directions], Grid(SHAPE, grid.affine @ flip))
        assert np.abs(np.flip(found.field_hz, axis) - expected.field_hz)[inside].max() < 1.5
        assert good(np.flip(found.field_hz, axis), grid)
    order = [1, 2, 0]
    turned = Grid((SHAPE[1], SHAPE[2], SHAPE[0]), grid.affine[:, [*order, 3]])
    images = [image.transpose(order) for image in (one, other)]
    found = estimate_field(images, [Encoding.parse(d, READOUT) for d in ("i", "i-")], turned)
    np.testing.assert_allclose(found.field_hz.transpose(np.argsort(order))[inside], expected.field_hz[inside], atol=1.5)


def test_partner_stored_otherwise_gives_the_same_field() -> None:
    """Directions are those of space: `j` of a flipped partner is `j-`, and its `j-` no partner at all."""
    one, other, expected = plain()
    grid = grid_of()
    flip = np.eye(4)
    flip[1, 1], flip[1, 3] = -1, SHAPE[1] - 1
    flipped = Grid(SHAPE, grid.affine @ flip)
    order = [1, 2, 0]
    turned = Grid((SHAPE[1], SHAPE[2], SHAPE[0]), grid.affine[:, [*order, 3]])
    for image, partner, direction in ((other[:, ::-1], flipped, "j"), (other.transpose(order), turned, "i-")):
        encodings = [ENCODINGS[0], Encoding.parse(direction, READOUT)]
        found = estimate_field([one, image], encodings, grid, grids=[grid, partner])
        assert good(found.field_hz, grid)
        assert np.abs(found.field_hz - expected.field_hz)[over(grid, density) > 0.5].max() < 1.5
        np.testing.assert_allclose(found.distorted[1], other, atol=1)
    with pytest.raises(CoSpineError, match="grids turned against each other"):
        estimate_field([one, one[:, ::-1]], ENCODINGS, grid, grids=[grid, flipped])


def test_images_are_unwarped_as_itk_does() -> None:
    """A displacement field in LPS mm, written out from the convention, through antspyx; times 1 + d(displacement)."""
    ants = pytest.importorskip("ants")
    grid = grid_of("LAS", (18, -12, 15))
    for direction in ("i-", "k"):
        images = [seen(grid, one) for one in (direction, opposite(direction))]
        encodings = [Encoding.parse(one, READOUT) for one in (direction, opposite(direction))]
        found = estimate_field(images, encodings, grid)
        axis = "ijk".index(direction[0])
        lps = np.diag([-1.0, -1, 1]) @ grid.affine[:3]
        place = {
            "origin": lps[:, 3].tolist(),
            "spacing": grid.voxel_mm.tolist(),
            "direction": lps[:, :3] / grid.voxel_mm,
        }
        voxels = READOUT * found.field_hz * (-1 if direction.endswith("-") else 1)
        vectors = ants.from_numpy(voxels[..., None] * lps[:, axis], has_components=True, **place)
        moved = ants.apply_ants_transform_to_image(
            ants.transform_from_displacement_field(vectors),
            ants.from_numpy(images[0], **place),
            ants.from_numpy(images[0], **place),
            interpolation="bspline",
        )
        expected = moved.numpy() * (1 + np.gradient(voxels, axis=axis))
        inside = (over(grid, density) > 0.3) & (np.abs(voxels) > 0.5)
        assert inside.sum() > 2000
        assert np.abs(found.corrected[0] - expected)[inside].max() < 15  # of 1000
        assert np.abs(images[0] - expected)[inside].mean() > 50
        # the same from the encoding's own numbers
        np.testing.assert_allclose(encodings[0].displacement(found.field_hz), voxels, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(encodings[0].jacobian(found.field_hz), 1 + np.gradient(voxels, axis=axis), atol=1e-5)


# --- pairs of every kind --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "readout_s", "within_hz"),
    [
        ("j-", 0.02, WITHIN_HZ),
        ("j-", 0.06, WITHIN_HZ),
        ("j", 0.02, 2.5),  # the same way: half the leverage
        ("j", 0.06, 2.5),
        ("i", 0.04, 2.5),
        ("i-", 0.02, 2.5),
        ("k", 0.04, 2.5),
        ("k-", 0.04, 2.5),
    ],
)
def test_readouts_and_axes_may_differ(direction: str, readout_s: float, within_hz: float) -> None:
    grid = grid_of()
    encodings = [ENCODINGS[0], Encoding.parse(direction, readout_s)]
    images = [plain()[0], seen(grid, direction, readout_s)]
    found = estimate_field(images, encodings, grid)
    assert good(found.field_hz, grid, within_hz)


def test_a_wrong_sign_of_a_crossed_or_unequal_pair_fails() -> None:
    grid = grid_of()
    for direction in ("i", "j-"):
        images = [plain()[0], seen(grid, direction, 0.02)]
        wrong = estimate_field(images, [ENCODINGS[0], Encoding.parse(opposite(direction), 0.02)], grid)
        assert not good(wrong.field_hz, grid, 2.5)


def test_grids_may_differ() -> None:
    """Other voxels, and a partner whose header says that it was prescribed obliquely."""
    grid = grid_of()
    for partner in (grid_of(size=(3.5, 2.6, 3.4), shape=(36, 52, 34)), grid_of("LAS", (6, 0, 3))):
        found = estimate_field([plain()[0], seen(partner, "j-")], ENCODINGS, grid, grids=[grid, partner])
        assert good(found.field_hz, grid, 3.0)
        assert found.distorted[1].shape == SHAPE
        assert found.corrected[1].shape == SHAPE
        assert np.linalg.norm(found.poses[1][:3, 3]) < 0.15


def moved_by(parameters: list[float], pivot: NDArray) -> tuple[NDArray, Scalar, Scalar]:
    """Push-forward of mm and degrees about a point, and the scene after it."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", parameters[3:], degrees=True).as_matrix()
    matrix[:3, 3] = pivot + parameters[:3] - matrix[:3, :3] @ pivot
    back = np.linalg.inv(matrix)

    def before(points: NDArray) -> NDArray:
        return apply_affine(back, points)

    return matrix, lambda points: density(before(points)), lambda points: field(before(points))


def noisy(images: list[NDArray], sd: float, seed: int = 0) -> list[NDArray]:
    rng = np.random.default_rng(seed)
    return [(image + rng.normal(size=image.shape) * sd).astype(np.float32) for image in images]


def test_repeats_are_averaged_where_they_belong() -> None:
    """Two and two, one of them moved a little: less noise than from one and one."""
    grid = grid_of()
    one, other, _ = plain()
    _, mass, hz = moved_by([0.5, 0.4, -0.6, 0.5, -0.4, 0.3], grid.centre)
    again = seen(grid, "j", mass=mass, hz=hz)
    images = noisy([one, other, again, other], 60)
    pair = estimate_field(images[:2], ENCODINGS, grid)
    four = estimate_field(images, ENCODINGS * 2, grid)
    three = estimate_field([one, again, other], [ENCODINGS[0], ENCODINGS[0], ENCODINGS[1]], grid)
    inside = over(grid, density) > 0.5
    errors = [np.sqrt(((found.field_hz - over(grid, field))[inside] ** 2).mean()) for found in (pair, four)]
    assert errors[1] < 0.9 * errors[0] < 4
    assert good(three.field_hz, grid)
    assert np.abs(three.distorted[0] - one)[inside].mean() < 10  # moved back before the mean
    assert np.abs(again - one)[inside].mean() > 15


# --- motion ---------------------------------------------------------------------------------------------------------


def test_motion_across_the_phase_encoding_is_found() -> None:
    """1 mm along x and z, and 1 degree about the phase-encoding axis."""
    grid = grid_of()
    truth, mass, hz = moved_by([1, 0, -1, 0, 1, 0], grid.centre)
    found = estimate_field([plain()[0], seen(grid, "j-", mass=mass, hz=hz)], ENCODINGS, grid)
    moved = found.poses[1]
    np.testing.assert_allclose(moved[[0, 2], 3], truth[[0, 2], 3], atol=0.1)
    angles = Rotation.from_matrix(moved[:3, :3]).as_euler("xyz", degrees=True)
    assert angles[1] == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(angles[[0, 2]], 0, atol=0.3)  # next to no field error, see the next test
    assert good(found.field_hz, grid)


def test_rotations_that_look_like_a_field_do_it_little_harm() -> None:
    """Pitch and yaw move signal along the phase encoding by a ramp: nearly a field, and found in part, with the field right."""
    grid = grid_of()
    truth, mass, hz = moved_by([1, 0, -1, 1, -1, 1], grid.centre)
    found = estimate_field([plain()[0], seen(grid, "j-", mass=mass, hz=hz)], ENCODINGS, grid)
    angles = Rotation.from_matrix(found.poses[1][:3, :3]).as_euler("xyz", degrees=True)
    assert (angles * [1, -1, 1] > 0).all()
    assert (np.abs(angles) < 1.2).all()
    np.testing.assert_allclose(found.poses[1][[0, 2], 3], truth[[0, 2], 3], atol=0.1)
    assert good(found.field_hz, grid, 2.0)


def test_noise_is_no_motion() -> None:
    """Interpolation hides noise between voxels: a pose that follows it would drift there."""
    grid = grid_of()
    one, other, _ = plain()
    found = estimate_field(noisy([one, other], 20), ENCODINGS, grid)
    assert np.abs(Rotation.from_matrix(found.poses[1][:3, :3]).as_euler("xyz", degrees=True)).max() < 0.6
    assert np.abs(found.poses[1][:3, 3]).max() < 0.1
    assert good(found.field_hz, grid)


def test_translation_along_the_phase_encoding_is_a_constant_field() -> None:
    """Half of it for each image: 1 mm of 3 mm voxels are 4.2 Hz. It cannot be told, and is not guessed."""
    grid = grid_of()
    _, mass, hz = moved_by([0, 1, 0, 0, 0, 0], grid.centre)
    found = estimate_field([plain()[0], seen(grid, "j-", mass=mass, hz=hz)], ENCODINGS, grid)
    assert np.abs(found.poses[1][:3, 3]).max() < 0.05
    inside = over(grid, density) > 0.5
    error = (found.field_hz - over(grid, field))[inside]
    np.testing.assert_allclose(error.mean(), -1 / 3 / 2 / READOUT, atol=0.5)
    assert error.std() < WITHIN_HZ


def test_only_what_follows_the_head_moves() -> None:
    """The lower part stays: a pose of the head alone explains the pair, one of everything would not."""
    grid = grid_of()
    share = np.clip((over(grid, lambda points: points[..., 2]) + 20) / 10, 0, 1)
    matrix, _, _ = moved_by([1.5, 0, 0, 0, 0, 0], grid.centre)

    def before(points: NDArray) -> NDArray:
        follows = np.clip((points[..., 2:] + 20) / 10, 0, 1)
        return points - follows * matrix[:3, 3]

    partner = seen(grid, "j-", mass=lambda points: density(before(points)), hz=lambda points: field(before(points)))
    found = estimate_field([plain()[0], partner], ENCODINGS, grid, share=share)
    np.testing.assert_allclose(found.poses[1][0, 3], 1.5, atol=0.15)
    assert good(found.field_hz, grid)


# --- Jacobian and mass ----------------------------------------------------------------------------------------------


def test_no_folding_even_where_the_field_folds() -> None:
    grid = grid_of()
    images = [seen(grid, one, hz=lambda points: 6 * field(points)) for one in ("j", "j-")]
    truth = 1 + np.gradient(READOUT * 6 * over(grid, field), axis=1)
    assert truth.min() < 0
    found = estimate_field(images, ENCODINGS, grid)
    for encoding in ENCODINGS:
        assert encoding.jacobian(found.field_hz).min() > 0.2
        assert (1 + np.diff(encoding.displacement(found.field_hz), axis=1)).min() > 0
    smallest = min(float(encoding.jacobian(found.field_hz).min()) for encoding in ENCODINGS)
    assert found.smallest_jacobian == pytest.approx(smallest, abs=1e-4)
    assert all(np.isfinite(image).all() for image in found.corrected)


def test_correction_keeps_the_mass_of_lines() -> None:
    one, _, found = plain()
    before, after = one.sum(axis=1), found.corrected[0].sum(axis=1)
    inside = before > 0.3 * before.max()
    assert inside.sum() > 300
    assert np.abs(after / np.maximum(before, 1) - 1)[inside].max() < 0.04
    wholes = found.corrected[0][over(grid_of(), density) > 0.5], found.corrected[1][over(grid_of(), density) > 0.5]
    assert np.corrcoef(*wholes)[0, 1] > 0.99
    np.testing.assert_allclose(found.reference, np.mean(found.corrected, axis=0), rtol=1e-5, atol=1e-3)
    still = seen(grid_of(), "j", hz=lambda points: np.zeros(points.shape[:-1]))
    assert ndimage.gaussian_filter(np.abs(found.reference - still), 1).max() < 100  # of 1000


# --- garbage --------------------------------------------------------------------------------------------------------


def with_value(image: NDArray, value: float) -> NDArray:
    out = image.copy()
    out[3, 3, 3] = value
    return out


def spike() -> NDArray:
    out = np.zeros(SHAPE, np.float32)
    out[20, 22, 14] = 1000
    return out


@pytest.mark.parametrize(
    ("change", "what", "where", "remedy"),
    [
        (lambda one, other: [one, np.zeros_like(one)], "PA is blank", "images", "check"),
        (lambda one, other: [one, np.full_like(one, 7)], "PA is blank", "images", "check"),
        (lambda one, other: [-one, other], "AP is blank", "images", "check"),
        (lambda one, other: [spike(), other], "AP is blank", "images", "check"),
        (lambda one, other: [one, with_value(other, np.nan)], "PA holds values that are not finite", "images", "check"),
        (lambda one, other: [with_value(one, np.inf), other], "AP holds values that are not finite", "images", "check"),
        (lambda one, other: [one, other[:-1]], "PA is not one volume on its grid", "images", "check"),
        (lambda one, other: [one[..., None], other], "AP is not one volume on its grid", "images", "check"),
        (lambda one, other: [one, noisy([0 * one], 300)[0]], "do not show the same thing", "AP and PA", "noise"),
        (lambda one, other: noisy([0 * one, 0 * one], 300), "do not show the same thing", "AP and PA", "noise"),
        (lambda one, other: [one], "two images of different phase encoding", "", "give both"),
    ],
)
def test_garbage_is_refused(change: Callable[..., list[NDArray]], what: str, where: str, remedy: str) -> None:
    images = change(*plain()[:2])
    with pytest.raises(CoSpineError) as caught:
        estimate_field(images, ENCODINGS[: len(images)], grid_of(), names=["AP", "PA"][: len(images)])
    assert what in caught.value.what
    assert where in caught.value.where
    assert remedy in caught.value.remedy


def test_all_that_is_wrong_is_said_at_once() -> None:
    one, other, _ = plain()
    with pytest.raises(CoSpineError) as caught:
        estimate_field([0 * one, with_value(other, np.nan)], ENCODINGS, grid_of(), names=["AP", "PA"])
    assert "AP is blank; PA holds values" in caught.value.what


def test_images_that_do_not_overlap_are_refused() -> None:
    one, other, _ = plain()
    away = np.eye(4)
    away[0, 3] = 200
    with pytest.raises(CoSpineError) as caught:
        estimate_field([one, other], ENCODINGS, grid_of(), grids=[grid_of(), Grid(SHAPE, away @ grid_of().affine)])
    assert "overlaps image 1 by 0 %" in caught.value.what
    assert "scanner space" in caught.value.remedy


@pytest.mark.parametrize("readout_s", [0.04, 0.035])
def test_images_displaced_alike_are_refused(readout_s: float) -> None:
    one, _, _ = plain()
    with pytest.raises(CoSpineError) as caught:
        estimate_field([one, one], [ENCODINGS[0], Encoding.parse("j", readout_s)], grid_of(), names=["AP", "PA"])
    assert f"j with a readout time of {readout_s:g} s" in caught.value.what
    assert caught.value.where == "AP, PA"
    assert "PhaseEncodingDirection" in caught.value.remedy


def test_a_single_slice_is_refused_and_a_slab_is_not() -> None:
    one, other, _ = plain()
    with pytest.raises(CoSpineError, match="single slice"):
        estimate_field([one[..., :1], other[..., :1]], ENCODINGS, Grid((*SHAPE[:2], 1), grid_of().affine))
    slab = Grid((*SHAPE[:2], 4), grid_of().affine @ from_matvec(np.eye(3), [0, 0, 12]))
    found = estimate_field([one[..., 12:16], other[..., 12:16]], ENCODINGS, slab)
    assert good(found.field_hz, slab, 3.0)


def test_scale_and_type_do_not_matter() -> None:
    one, other, expected = plain()
    for images in ([one.astype(np.int16), other.astype(np.int16)], [1e6 * one, 1e6 * other], [one, 1.05 * other]):
        found = estimate_field(images, ENCODINGS, grid_of())
        inside = over(grid_of(), density) > 0.5
        assert np.abs(found.field_hz - expected.field_hz)[inside].max() < 1.5


def test_results_are_the_same_to_the_bit() -> None:
    one, other, expected = plain()
    np.testing.assert_array_equal(estimate_field([one, other], ENCODINGS, grid_of()).field_hz, expected.field_hz)
