"""Pictures of the anatomy: the right way round, at the right height, doubtful slices marked, levels named by their system."""

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import anatomy_figures, cord_figures, figure, mosaic, planes
from cospine.quality.report import ParticipantReport, RunReport, participant_html

TEMPLATE_AFFINE = np.array([[-1.0, 0, 0, 12.0], [0, 1.0, 0, -14.0], [0, 0, 1.0, -60.0], [0, 0, 0, 1]])
"""First axis flipped, as PAM50's."""


def words(svg: str) -> list[str]:
    return [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]


def dashes(svg: str) -> int:
    return len(re.findall(r"stroke-dasharray", svg))


def cord_template() -> dict[str, NDArray[Any]]:
    """A straight cord of three vertebral levels, 60 mm long."""
    x, y, z = np.indices((25, 29, 61))
    cord = (((x - 12) / 5) ** 2 + ((y - 14) / 4) ** 2 < 1).astype(np.float32)
    level = np.where(z > 40, 1, np.where(z > 20, 2, 3))
    return {"cord": cord, "vertebral": np.where(cord > 0, level, 0), "spinal": np.where(cord > 0, level + 1, 0)}


def neck_of(scene: Any, discs: dict[int, NDArray[Any]], image: NDArray[Any] | None = None) -> cord_figures.Neck:
    z = np.indices(scene.reference.shape)[2]
    vertebral = np.where(scene.cord, np.where(z > 5, 2, 3), 0)
    spinal = np.where(scene.cord, np.where(z > 5, 3, 4), 0)
    return cord_figures.Neck(
        "T1w", scene.reference if image is None else image, scene.affine, scene.cord, vertebral, spinal, discs
    )  # fmt: skip


def world(scene: Any, voxel: tuple[float, float, float]) -> NDArray[np.float64]:
    return scene.affine[:3, :3] @ np.array(voxel) + scene.affine[:3, 3]


# --- planes ---------------------------------------------------------------------------------------------------------


def test_an_axial_plane_has_anterior_up_and_left_on_the_left() -> None:
    plane = planes.axial(-5.0, (-10, 10), (-20, 20), 1.0)
    assert plane.size_mm == (20, 40)
    np.testing.assert_allclose(plane.points[0, 0], [-9.5, 19.5, -5])
    np.testing.assert_allclose(plane.points[-1, -1], [9.5, -19.5, -5])


@pytest.mark.parametrize(
    ("plane", "corner"),
    [
        (planes.sagittal(3.0, (-20, 20), (0, 10), 2.0), [3, -19, 9]),
        (planes.coronal(4.0, (-20, 20), (0, 10), 2.0), [-19, 4, 9]),
    ],
)
def test_upright_planes_begin_at_the_top(plane: planes.Plane, corner: list[float]) -> None:
    np.testing.assert_allclose(plane.points[0, 0], corner)
    assert plane.letters[2:] == "SI"


def test_sampling_a_ramp_gives_its_coordinate(scene: Any) -> None:
    index = np.moveaxis(np.indices(scene.reference.shape), 0, -1)
    height = (index @ scene.affine[:3, :3].T + scene.affine[:3, 3])[..., 2]
    middle = world(scene, (11.5, 13.5, 7.5))
    plane = planes.coronal(middle[1], (middle[0] - 6, middle[0] + 6), (middle[2] - 20, middle[2] + 20), 1.0)
    found = planes.sampled(height, scene.affine, plane.points)
    np.testing.assert_allclose(found, plane.points[..., 2], atol=1e-3)


def test_outside_of_the_image_is_nothing(scene: Any) -> None:
    assert planes.sampled(scene.reference, scene.affine, np.full((2, 2, 3), 900.0)).max() == 0


def test_bright_fat_does_not_darken_the_brain() -> None:
    picture = np.full((20, 20), 10.0)
    picture[:5] = 1000
    brain = np.zeros((20, 20))
    brain[8:18] = 1
    assert planes.window_of([picture], [brain])[1] == pytest.approx(11.5)
    assert planes.window_of([picture])[1] > 900


# --- brain ----------------------------------------------------------------------------------------------------------


def test_template_and_images_share_their_cuts() -> None:
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = [-75, -105, -60]
    x, y, z = np.indices((51, 61, 51))
    brain = ((x - 25) / 20) ** 2 + ((y - 30) / 25) ** 2 + ((z - 25) / 20) ** 2 < 1
    white = ((x - 25) / 12) ** 2 + ((y - 30) / 15) ** 2 + ((z - 25) / 12) ** 2 < 1
    cuts = anatomy_figures.brain_planes(brain, affine)
    assert len(cuts) == 9
    pictures = {
        name: [planes.sampled(one, affine, cut.points) for cut in cuts] for name, one in (("brain", brain), ("white", white))
    }
    drawn = anatomy_figures.template_figure(
        cuts, {"Template": pictures["white"], "T1w": pictures["brain"], "EPI": pictures["white"]}, pictures["brain"],
        pictures["white"], "MNI152",
    )  # fmt: skip
    assert [frame.label for frame in drawn.frames] == ["Template", "T1w", "EPI"]
    for frame in drawn.frames:
        assert {"L", "R", "A", "P", "S", "I", "x 0 mm", "z 18 mm"} <= set(words(frame.svg))
        # one line of each kind in every cut that crosses it
        for colour, name in ((anatomy_figures.TISSUE, "white"), (anatomy_figures.BRAIN_LINE, "brain")):
            assert frame.svg.count(colour) == sum(one.max() >= 0.5 for one in pictures[name]) > 4


def test_a_template_without_a_brain_is_refused() -> None:
    with pytest.raises(CoSpineError, match="no brain"):
        anatomy_figures.brain_planes(np.zeros((3, 3, 3), bool), np.eye(4))


def test_both_images_carry_the_anatomical_outlines(scene: Any) -> None:
    drawn = anatomy_figures.alignment_figure(
        scene.reference, scene.reference[::-1], scene.affine, brain=scene.brain, cord=scene.cord
    )
    assert [frame.label for frame in drawn.frames] == ["EPI", "T1w"]
    for frame in drawn.frames:
        assert figure.BRAIN in frame.svg
        assert figure.CORD in frame.svg
    assert drawn.frames[0].svg != drawn.frames[1].svg


def test_offsets_of_the_neck_do_not_depend_on_how_the_image_is_stored() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(0, 1, (2, 7, 2))
    z_mm = np.linspace(-100, -40, 7)
    flipped = np.diag([-2.0, 2, 4, 1])
    mirror = np.array([-1.0, 1.0])
    one = anatomy_figures.neck_figure(z_mm, before, after, np.diag([2.0, 2, 4, 1]), (0, 1))
    other = anatomy_figures.neck_figure(z_mm, before * mirror, after * mirror, flipped, (0, 1))
    assert one.svg == other.svg
    assert one.svg != anatomy_figures.neck_figure(z_mm, before, after, flipped, (0, 1)).svg
    assert {"mm toward right", "mm toward anterior"} <= set(words(one.svg))


# --- cord mask ------------------------------------------------------------------------------------------------------


def test_doubtful_slices_are_marked(scene: Any) -> None:
    confidence = np.where(np.arange(16) < 3, 0.2, 0.9)
    drawn = mosaic.cord_mosaic(scene.reference, scene.affine, scene.cord, confidence=confidence, name="EPI")
    held = np.flatnonzero(scene.cord.any(axis=(0, 1)))
    count = int((held < 3).sum())
    assert sum(text == "doubtful, 0.20" for text in words(drawn.svg)) == count > 0
    assert f"{count} of {len(held)}" in drawn.caption
    assert "EPI" in drawn.title


def test_a_sure_mask_has_no_marks(scene: Any) -> None:
    drawn = mosaic.cord_mosaic(scene.reference, scene.affine, scene.cord, confidence=np.ones(16))
    assert not any("doubtful" in text for text in words(drawn.svg))
    assert f"0 of {len(scene.slices)}" in drawn.caption


# --- levels ---------------------------------------------------------------------------------------------------------


def test_each_system_is_named_on_its_own_side(scene: Any) -> None:
    drawn = cord_figures.levels_figure([neck_of(scene, {3: world(scene, (11.5, 12.5, 5.5))})], {3: 0.9})
    text = words(drawn.svg)
    assert "spinal" in text
    assert "vertebral" in text
    # vertebral C2, C3 and spinal C3, C4
    assert [text.count(name) for name in ("C2", "C3", "C4")] == [1, 2, 1]
    assert "VERTEBRAL" in drawn.caption
    assert "SPINAL" in drawn.caption


def test_confidence_is_the_style_of_the_line(scene: Any) -> None:
    point = world(scene, (11.5, 12.5, 5.5))
    counts = [dashes(cord_figures.levels_figure([neck_of(scene, {3: point})], {3: sure}).svg) for sure in (0.9, 0.6, 0.2)]
    assert counts[0] == 0
    assert counts[1] == counts[2] == 1


def test_a_disc_stands_at_the_height_of_its_slice(scene: Any) -> None:
    image = np.zeros(scene.reference.shape, np.float32)
    image[:, :, 4] = 100
    shown = cord_figures._sheet(neck_of(scene, {4: world(scene, (11.5, 12.5, 4.0))}, image))
    bright = int(shown.sheet.sum(axis=1).argmax())
    middle = np.interp(0, cord_figures._DISC_MM, shown.discs[4][:, 1])
    assert shown.row_edges_mm[bright] < middle < shown.row_edges_mm[bright + 1]
    assert shown.vertebral[bright] == 3
    assert shown.spinal[bright] == 4


def test_discs_out_of_view_are_left_out(scene: Any) -> None:
    shown = cord_figures._sheet(neck_of(scene, {3: world(scene, (11.5, 12.5, 5)), 9: world(scene, (11.5, 12.5, -40))}))
    assert list(shown.discs) == [3]


def test_levels_without_a_cord_are_refused() -> None:
    with pytest.raises(CoSpineError, match="no cord"):
        cord_figures.levels_figure([], {})


def test_the_level_of_a_slice_is_that_of_most_voxels() -> None:
    labels = np.zeros((2, 3, 4), int)
    labels[..., 1] = [[1, 2, 2], [0, 0, 0]]
    labels[0, 0, 3] = 7
    assert cord_figures.level_of_slices(labels).tolist() == [0, 2, 0, 7]


# --- PAM50 ----------------------------------------------------------------------------------------------------------


def test_tiles_lie_in_the_middle_of_their_vertebral_levels() -> None:
    template = cord_template()
    cuts = cord_figures.cord_planes(template["vertebral"], template["cord"], TEMPLATE_AFFINE)
    assert [cut.label for cut in cuts[2:]] == ["vertebral C1, z −10", "vertebral C2, z −30", "vertebral C3, z −50"]
    # level C1: voxels 41..60 of z, i.e. -19..0 mm
    assert [cut.points[0, 0, 2] for cut in cuts[2:]] == [-10, -30, -50]
    np.testing.assert_allclose(cuts[2].points[..., :2].mean(axis=(0, 1)), [0, 0], atol=0.01)


def test_the_straight_cord_is_shown_with_its_outlines() -> None:
    template = cord_template()
    cuts = cord_figures.cord_planes(template["vertebral"], template["cord"], TEMPLATE_AFFINE)
    cord = [planes.sampled(template["cord"], TEMPLATE_AFFINE, cut.points) for cut in cuts]
    grey = [np.zeros_like(one) for one in cord]
    levels = [cord_figures.level_of_slices(template[name])[::-1] for name in ("vertebral", "spinal")]
    drawn = cord_figures.cord_template_figure(
        cuts, {"Template": cord, "T1w": cord, "EPI": cord}, cord, grey, levels[0], levels[1], np.arange(62.0), "PAM50"
    )
    text = words(drawn.frames[2].svg)
    assert "vertebral C3, z −50" in text
    assert text.count("C2") == 2
    assert "C4" in text
    assert drawn.frames[2].svg.count(figure.CORD) >= len(cuts)
    assert "T1w and EPI" in drawn.title


def test_overlap_runs_from_top_to_bottom_under_its_levels() -> None:
    template = cord_template()
    z = np.arange(61.0) - 60
    dice = np.full(61, 0.9)
    dice[:20] = np.nan
    levels = [cord_figures.level_of_slices(template[name]) for name in ("vertebral", "spinal")]
    drawn = cord_figures.dice_figure(z, {"T1w": dice, "EPI": np.full(61, np.nan)}, np.ones(61), levels[0], levels[1])
    assert {"vertebral level", "spinal segment", "T1w, Dice", "EPI, Dice"} <= set(words(drawn.svg))
    assert "T1w 0.90" in drawn.caption
    assert "EPI 0" not in drawn.caption
    upside_down = cord_figures.dice_figure(
        z[::-1], {"T1w": dice[::-1], "EPI": np.full(61, np.nan)}, np.ones(61), levels[0][::-1], levels[1][::-1]
    )
    assert upside_down.svg == drawn.svg


# --- page -----------------------------------------------------------------------------------------------------------


def test_the_anatomy_comes_once_and_before_the_runs(scene: Any) -> None:
    drawn = mosaic.cord_mosaic(scene.reference, scene.affine, scene.cord, confidence=np.ones(16))
    anatomy = RunReport("sub-01_T1w", "Anatomy, T1w", figures=(drawn,), notes=("The map stops at C5.",))
    runs = tuple(RunReport(f"sub-01_task-{task}", task, figures=(drawn,)) for task in ("rest", "pain"))
    page = participant_html(ParticipantReport("sub-01", "data", "0", runs=runs, anatomies=(anatomy,)))
    assert page.count('id="sub-01_T1w"') == 1
    assert page.index('id="sub-01_T1w"') < page.index('id="sub-01_task-rest"') < page.index('id="sub-01_task-pain"')
    assert page.count("The map stops at C5.") == 1
    identifiers = re.findall(r'<figure id="([^"]+)"', page)
    assert identifiers == ["a1f1", "r1f1", "r2f1"]
