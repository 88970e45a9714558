"""The cord in images of any geometry.

Where geometry is what is tested, the networks are replaced by readers of an image that is nothing but the cord's share of each
voxel: what is lost is then lost on the way.
"""

import itertools

import nibabel as nib
import numpy as np
import pytest

from cospine.anatomy import network
from cospine.anatomy.localise import CEREBELLUM_BRAINSTEM, CORD
from cospine.anatomy.sections import planes_of
from cospine.anatomy.segmentation import given_segmentation, segment_cord
from cospine.space.grid import Grid

pytestmark = pytest.mark.slow

WIDTH, DEPTH = 6.5, 4.5  # half axes of the cord, mm


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that take the image, scaled by 100, for the probability of cord."""

    def head(volume: np.ndarray) -> np.ndarray:
        probability = np.zeros((5, *volume.shape), dtype=np.float32)
        probability[CORD] = np.clip(volume, 0, 1)
        probability[0] = 1 - probability[CORD]
        return probability

    monkeypatch.setattr(network, "run_head", head)
    monkeypatch.setattr(network, "run_cord", lambda sections: sections.copy())
    monkeypatch.setattr(network, "normalise_section", lambda sections, _: np.clip(sections / 100, 0, 1).astype(np.float32))


def line_at(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 3 * np.sin(z / 40), 8 * np.cos(z / 50) - 4


def share_of_cord(grid: Grid, parts: int = 3) -> np.ndarray:
    """Share of cord of each voxel, from points spread over it."""
    total = np.zeros(grid.shape)
    index = np.stack(np.indices(grid.shape), axis=-1)
    steps = (np.arange(parts) + 0.5) / parts - 0.5
    for step in itertools.product(steps, repeat=3):
        x, y, z = np.moveaxis(grid.to_ras(index + np.array(step)), -1, 0)
        across, along = line_at(z)
        total += ((x - across) / WIDTH) ** 2 + ((y - along) / DEPTH) ** 2 < 1
    return (total / parts**3).astype(np.float32)


def grid_of(shape: tuple[int, ...], size: tuple[float, ...], turn: np.ndarray | None = None) -> Grid:
    """A grid about the origin."""
    rotation = np.eye(3) if turn is None else turn
    affine = np.eye(4)
    affine[:3, :3] = rotation * size
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def turned(image: np.ndarray, grid: Grid, ornt: np.ndarray) -> tuple[np.ndarray, Grid]:
    result = nib.orientations.apply_orientation(image, ornt)
    return result, Grid(result.shape, grid.affine @ nib.orientations.inv_ornt_aff(ornt, image.shape))


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("size", [(1.5, 1.5, 4.0), (1.5, 1.0, 2.0)], ids=["thick", "thin"])
def test_all_48_orders_and_flips_of_the_axes_give_the_same_mask(size: tuple[float, float, float]) -> None:
    grid = grid_of((36, 40, int(72 / size[2])), size)
    share = share_of_cord(grid)
    reference = segment_cord(100 * share, grid)
    assert dice(reference.mask, share >= 0.5) > 0.96
    assert reference.confidence.min() > 0.5
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            ornt = np.array(list(zip(order, flips, strict=True)))
            image, other = turned(100 * share, grid, ornt)
            found = segment_cord(image, other)
            assert found.slice_axis == int(ornt[2, 0])
            # voxels of which about half is cord may go either way
            assert dice(found.mask, nib.orientations.apply_orientation(reference.mask, ornt)) > 0.985
            np.testing.assert_allclose(found.centre_line, reference.centre_line, atol=0.2)
            np.testing.assert_allclose(np.sort(found.confidence), np.sort(reference.confidence), atol=0.05)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("thickness", [1.0, 2.0, 3.0, 5.0, 9.0, 18.0])
def test_slices_of_1_to_18_mm(thickness: float) -> None:
    grid = grid_of((48, 48, int(90 / thickness)), (1.0, 1.0, thickness))
    share = share_of_cord(grid, 4)
    found = segment_cord(100 * share, grid)
    assert dice(found.mask, share >= 0.5) > 0.95
    across, along = line_at(found.centre_line[:, 2])
    assert np.median(np.hypot(found.centre_line[:, 0] - across, found.centre_line[:, 1] - along)) < 0.5
    assert (np.diff(found.centre_line[:, 2]) < 0).all()


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("degrees", [-12.0, 12.0, 35.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_oblique_slices(degrees: float, axis: int) -> None:
    angles = [0.0, 0.0, 0.0]
    angles[2 - axis] = np.radians(degrees)  # nibabel takes z, y, x
    grid = grid_of((44, 44, 20), (1.2, 1.2, 4.0), nib.eulerangles.euler2mat(*angles))
    share = share_of_cord(grid)
    found = segment_cord(100 * share, grid)
    assert dice(found.mask, share >= 0.5) > 0.93
    tilted = planes_of(grid).stored is None
    assert tilted == (degrees == 35.0)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("codes", ["PSR", "SAL"])
def test_sagittal_and_coronal_slices(codes: str) -> None:
    plain = grid_of((52, 60, 70), (1.0, 1.0, 1.0))
    share = share_of_cord(plain, 2)
    ornt = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes)))
    image, grid = turned(share, plain, ornt)
    found = segment_cord(100 * image, grid)
    assert found.slice_axis == codes.index("S")
    assert len(found.confidence) == 70
    assert dice(found.mask, image >= 0.5) > 0.95


@pytest.mark.usefixtures("reading")
def test_a_crop_gives_what_the_whole_gives() -> None:
    grid = grid_of((60, 60, 90), (1.0, 1.0, 1.0))
    share = share_of_cord(grid, 2)
    whole = segment_cord(100 * share, grid).mask
    part = (slice(14, 46), slice(14, 47), slice(30, 75))
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_ras(np.array([p.start for p in part]))
    found = segment_cord(100 * share[part], Grid((32, 33, 45), affine))
    assert dice(found.mask, whole[part]) > 0.97


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("size", [(1.0, 1.0, 1.0), (1.5, 1.5, 4.0)], ids=["thin", "thick"])
def test_slices_that_do_not_show_a_cord_get_no_mask(size: tuple[float, float, float]) -> None:
    slices = int(100 / size[2])
    grid = grid_of((40, 40, slices), size)
    share = share_of_cord(grid, 2)
    gap = slice(slices // 2, slices // 2 + int(16 / size[2]))
    share[..., gap] = 0
    found = segment_cord(100 * share, grid)
    assert found.found
    assert not found.mask[..., gap].any()
    assert (found.confidence[gap] == 0).all()
    seen = found.mask.any(axis=(0, 1))
    assert seen[: gap.start - 1].mean() > 0.95
    assert seen[gap.stop + 1 :].mean() > 0.95


@pytest.mark.usefixtures("reading")
def test_nothing_is_found_where_nothing_is() -> None:
    grid = grid_of((40, 40, 20), (1.5, 1.5, 4.0))
    for image in (np.zeros(grid.shape), np.full(grid.shape, 3.0)):
        found = segment_cord(image, grid)
        assert not found.found
        assert found.reason == "the image holds no signal"
        assert found.centre_line.shape == (0, 3)
        assert len(found.confidence) == 20
    speck = np.zeros(grid.shape)
    speck[20, 20, 10] = 100
    found = segment_cord(speck, grid)
    assert not found.found
    assert "nothing in the field of view" in found.reason
    with pytest.raises(ValueError, match="does not fit"):
        segment_cord(np.zeros((4, 4, 4)), grid)


def test_a_brain_without_a_cord_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of((60, 60, 40), (3.0, 3.0, 3.0))

    def head(volume: np.ndarray) -> np.ndarray:
        probability = np.zeros((5, *volume.shape), dtype=np.float32)
        probability[CEREBELLUM_BRAINSTEM, 15:45, 15:45, 10:35] = 1
        probability[0] = 1 - probability.sum(axis=0)
        return probability

    monkeypatch.setattr(network, "run_head", head)
    monkeypatch.setattr(network, "run_cord", np.zeros_like)
    found = segment_cord(np.random.default_rng(0).random(grid.shape), grid)
    assert not found.found
    assert "a brain of 608 ml, no cord below it" in found.reason
    assert "ends 30 mm below the brain" in found.reason


@pytest.mark.usefixtures("reading")
def test_a_network_that_sees_cord_everywhere_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of((60, 60, 30), (1.5, 1.5, 4.0))
    monkeypatch.setattr(network, "run_cord", lambda sections: np.full(sections.shape, 0.95, dtype=np.float32))
    found = segment_cord(np.random.default_rng(0).random(grid.shape), grid)
    assert not found.found


def test_a_given_mask_is_kept_with_its_middle_as_centre_line() -> None:
    for size, shape in (((1.0, 1.0, 1.0), (40, 40, 60)), ((1.5, 1.5, 5.0), (30, 30, 14))):
        grid = grid_of(shape, size)
        mask = share_of_cord(grid) >= 0.5
        mask[..., :3] = False
        found = given_segmentation(mask, grid)
        np.testing.assert_array_equal(found.mask, mask)
        assert found.confidence[:3].max() == 0
        assert found.confidence[3:].min() == 1
        across, along = line_at(found.centre_line[:, 2])
        np.testing.assert_allclose(found.centre_line[:, :2], np.column_stack([across, along]), atol=0.5)
        assert (np.diff(found.centre_line[:, 2]) < 0).all()
    assert not given_segmentation(np.zeros((4, 4, 4)), grid_of((4, 4, 4), (1.0, 1.0, 1.0))).found


def with_brain(monkeypatch: pytest.MonkeyPatch, brain: np.ndarray, cord: np.ndarray | None = None) -> None:
    """A head network that sees brain where `brain` (3 mm, RAS) says so, and cord where `cord` or the image does."""

    def head(volume: np.ndarray) -> np.ndarray:
        probability = np.zeros((5, *volume.shape), dtype=np.float32)
        probability[CEREBELLUM_BRAINSTEM] = brain
        probability[CORD] = (np.clip(volume, 0, 1) if cord is None else cord) * (1 - brain)
        probability[0] = 1 - probability[1:].sum(axis=0)
        return probability

    monkeypatch.setattr(network, "run_head", head)


@pytest.mark.usefixtures("reading")
def test_of_several_courses_the_one_that_shows_a_cord_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of((60, 60, 40), (3.0, 3.0, 3.0))
    share = share_of_cord(grid)
    seen = 0.5 * np.clip(share, 0, 1)
    seen[8:12, 40:44, :] = 1.0  # the head network is surer of something else
    with_brain(monkeypatch, np.zeros(grid.shape), seen)
    found = segment_cord(100 * share, grid)
    assert dice(found.mask, share >= 0.5) > 0.8


@pytest.mark.usefixtures("reading")
def test_a_little_brain_in_a_neck_is_no_foramen(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of((60, 60, 40), (3.0, 3.0, 3.0))
    share = share_of_cord(grid)
    for across, slices in ((4, False), (20, True)):
        brain = np.zeros(grid.shape)
        brain[30 - across : 30 + across, 30 - across : 30 + across, 34:] = 1.0  # the top 18 mm: 10 ml, or 259 ml
        with_brain(monkeypatch, brain)
        found = segment_cord(100 * share, grid)
        held = found.mask.any(axis=(0, 1))
        assert held[:33].all()
        assert held[35:].any() != slices


@pytest.mark.usefixtures("reading")
def test_what_leads_to_no_brainstem_is_no_cord_where_a_brain_is_in_view(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of((60, 60, 60), (3.0, 3.0, 3.0))
    share = share_of_cord(grid)
    share[..., 40:] = 0
    for column, expected in ((30, True), (50, False)):
        brain = np.zeros(grid.shape)
        brain[column - 9 : column + 9, 15:45, 44:] = 1.0  # 233 ml
        with_brain(monkeypatch, brain)
        found = segment_cord(100 * share, grid)
        assert found.found == expected
    assert "no cord below it" in found.reason
    # a field of view too narrow for a head holds no brain, whatever the network says
    narrow = grid_of((33, 60, 60), (3.0, 3.0, 3.0))
    share = share_of_cord(narrow)
    share[..., 40:] = 0
    brain = np.zeros(narrow.shape)
    brain[25:, 10:50, 44:] = 1.0
    with_brain(monkeypatch, brain)
    assert segment_cord(100 * share, narrow).found


@pytest.mark.usefixtures("reading")
def test_the_widening_medulla_is_not_cord(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of((60, 60, 90), (1.0, 1.0, 1.0))
    x, y, z = np.moveaxis(grid.to_ras(np.stack(np.indices(grid.shape), axis=-1)), -1, 0)
    wide = 1 + 0.5 * np.clip((z - 20) / 4, 0, 1)  # from 20 mm up more than twice the area
    share = ((x / (6 * wide)) ** 2 + (y / (4.5 * wide)) ** 2 < 1).astype(np.float32)
    brain = np.zeros((20, 20, 30))
    for held, top in ((0.0, 44), (1.0, 23)):
        brain[4:16, 4:16, 29:] = held  # 3.9 ml, or with the rest below
        brain[0:3, :, 20:] = held
        with_brain(monkeypatch, brain)
        found = segment_cord(100 * share, grid)
        heights = grid.to_ras(np.argwhere(found.mask))[:, 2]
        assert abs(heights.max() - top) < 4


@pytest.mark.usefixtures("reading")
def test_a_plain_cord_goes_on_beyond_a_long_gap_and_nothing_else_does() -> None:
    grid = grid_of((48, 48, 30), (1.0, 1.0, 5.0))
    share = share_of_cord(grid)
    share[..., 12:20] = 0  # 40 mm
    found = segment_cord(100 * share, grid)
    held = found.mask.any(axis=(0, 1))
    assert held[:12].all()
    assert held[20:].all()
    assert not held[12:20].any()
    moved = share.copy()
    moved[..., 20:] = np.roll(moved[..., 20:], 18, axis=0)
    held = segment_cord(100 * moved, grid).mask.any(axis=(0, 1))
    assert not (held[:12].any() and held[20:].any())


@pytest.mark.usefixtures("reading")
def test_a_single_thick_slice_on_the_course_stays_and_one_beside_it_does_not() -> None:
    grid = grid_of((60, 60, 24), (1.0, 1.0, 5.0))
    share = share_of_cord(grid)
    share[..., [9, 11]] = 0
    assert segment_cord(100 * share, grid).mask[..., 10].any()
    share[..., 10] = np.roll(share[..., 10], 8, axis=0)
    assert not segment_cord(100 * share, grid).mask[..., 10].any()
