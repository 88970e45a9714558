"""Figures: well-formed, repeatable, with the right words, and with the right thing in the right place."""

import base64
import io
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cospine.errors import CoSpineError
from cospine.quality import carpet, figure, maps, metrics, mosaic, sections, traces

TR_S = 2.68


def _every_figure(scene: Any) -> dict[str, figure.Figure]:
    before, after = metrics.tsnr(scene.data), metrics.tsnr(scene.corrected)
    regions = {"brain": scene.brain, "cord": scene.cord}
    fd = metrics.framewise_displacement(scene.head_motion)
    _, std_dvars = metrics.dvars(scene.corrected, scene.brain)
    shape = scene.reference.shape
    return {
        "overview": mosaic.overview(scene.reference, scene.affine, brain_mask=scene.brain, cord_mask=scene.cord),
        "mosaic": mosaic.cord_mosaic(scene.reference, scene.affine, scene.cord, brain_mask=scene.brain),
        "head": traces.head_motion(scene.head_motion, TR_S, events=[(5.0, 4.0, "heat"), (12.0, 3.0, "rating")]),
        "cord": traces.cord_motion(scene.cord_shift_mm, scene.slices, scene.affine, shape, TR_S),
        "tsnr maps": maps.tsnr_maps(before, after, scene.affine, brain_mask=scene.brain, cord_mask=scene.cord),
        "tsnr summary": maps.tsnr_summary(before, after, scene.affine, regions, cord_mask=scene.cord),
        "carpet": carpet.carpet(scene.corrected, scene.affine, regions, TR_S, fd_mm=fd, std_dvars=std_dvars),
        "flicker": maps.flicker(metrics.temporal_sd(scene.data), metrics.temporal_sd(scene.corrected), scene.affine,
                                cord_mask=scene.cord),
    }  # fmt: skip


@pytest.mark.parametrize("volumes", [3, 12])
def test_every_figure_is_well_formed_and_says_what_it_is(scene_of: Callable[[int], Any], volumes: int) -> None:
    for name, drawn in _every_figure(scene_of(volumes)).items():
        assert drawn.title, name
        assert drawn.alt, name
        assert len(drawn.caption) > 60, name
        for frame in drawn.frames:
            root = ElementTree.fromstring(frame.svg)
            assert root.tag.endswith("svg"), name
            drawing = re.sub(r"base64,[A-Za-z0-9+/=]+", "", frame.svg)
            assert not re.search(r"\b(nan|inf)\b", drawing), name


def test_figures_repeat_byte_by_byte(scene: Any) -> None:
    assert _every_figure(scene) == _every_figure(scene)


def test_figures_leave_the_global_style_alone(scene: Any) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    traces.head_motion(scene.head_motion, TR_S)
    assert dict(matplotlib.rcParams) == before


def test_brain_only_and_cord_only(scene: Any) -> None:
    before, after = metrics.tsnr(scene.data), metrics.tsnr(scene.corrected)
    for masks in ({"brain_mask": scene.brain}, {"cord_mask": scene.cord}):
        assert mosaic.overview(scene.reference, scene.affine, **masks).svg
        assert maps.tsnr_maps(before, after, scene.affine, **masks).svg
    only_brain = maps.tsnr_summary(before, after, scene.affine, {"brain": scene.brain})
    assert "Cord" not in only_brain.svg
    assert "brain" in carpet.carpet(scene.data, scene.affine, {"brain": scene.brain}, TR_S).svg


def test_six_thick_slices_of_cord_alone(scene: Any) -> None:
    thick = scene.affine.copy()
    thick[:3, 2] *= 2.0
    part = np.s_[:, :, 2:8]
    drawn = mosaic.cord_mosaic(scene.reference[part], thick, scene.cord[part])
    assert drawn.svg.count(">k ") == 6


def test_no_mask_is_an_error(scene: Any) -> None:
    nothing = np.zeros_like(scene.cord)
    with pytest.raises(CoSpineError, match="mask"):
        mosaic.overview(scene.reference, scene.affine, cord_mask=nothing)
    with pytest.raises(CoSpineError, match="empty"):
        mosaic.cord_mosaic(scene.reference, scene.affine, nothing, brain_mask=scene.brain)
    with pytest.raises(CoSpineError, match="varies"):
        carpet.carpet(np.ones_like(scene.data), scene.affine, {"cord": scene.cord}, TR_S)


def test_mosaic_numbers_stored_slices_from_the_top(scene: Any) -> None:
    numbers = [int(n) for n in re.findall(r">k (\d+)<", mosaic.cord_mosaic(scene.reference, scene.affine, scene.cord).svg)]
    assert numbers == sorted(scene.slices, reverse=True)
    upside_down = scene.affine @ np.diag([1, 1, -1, 1.0])
    numbers = [int(n) for n in re.findall(r">k (\d+)<", mosaic.cord_mosaic(scene.reference, upside_down, scene.cord).svg)]
    assert numbers == sorted(scene.slices)


@pytest.mark.parametrize("flip", [1, -1])
def test_a_shift_forward_is_red_whichever_way_the_axis_is_stored(scene: Any, flip: int) -> None:
    affine = scene.affine @ np.diag([1, flip, 1, 1.0])
    shift = np.zeros((10, len(scene.slices), 2))
    shift[5:, :, 1] = 0.4 * flip  # toward anterior in the world
    drawn = traces.cord_motion(shift, scene.slices, affine, scene.reference.shape, TR_S)
    assert "+ = anterior" in drawn.svg
    along_j = _pictures(drawn.svg, shape=shift.shape[1::-1])[1]
    red, blue = along_j[0, -1, 0].astype(int), along_j[0, -1, 2].astype(int)
    assert red > blue + 60


def test_cord_map_has_the_top_slice_first(scene: Any) -> None:
    shift = np.zeros((10, len(scene.slices), 2))
    shift[5:, -1, 0] = 0.5  # the highest stored index, which is the top here
    drawn = traces.cord_motion(shift, scene.slices, scene.affine, scene.reference.shape, TR_S)
    picture = _pictures(drawn.svg, shape=shift.shape[1::-1])[0]
    contrast = np.ptp(picture.astype(int), axis=1).max(axis=1)
    assert contrast[0] > 60
    assert (contrast[1:] == 0).all()


def test_head_caption_counts_volumes_above_the_threshold() -> None:
    motion = np.zeros((30, 6))
    motion[10:, 0] = 0.7
    motion[20:, 1] = 0.4
    drawn = traces.head_motion(motion, TR_S)
    assert "1 of 30 volumes above 0.5 mm" in drawn.caption
    assert "largest 0.70 mm" in drawn.caption


def test_head_trace_of_a_still_head() -> None:
    assert "0 of 10 volumes" in traces.head_motion(np.zeros((10, 6)), 1.0).caption


def test_carpet_darkens_where_the_signal_falls(scene_of: Callable[[int], Any]) -> None:
    scene = scene_of(40)
    data = scene.data.copy(order="F")
    data[..., 20:22] -= 80
    brain = _pictures(carpet.carpet(data, scene.affine, {"brain": scene.brain}, TR_S).svg)[0].astype(float)
    column = brain.mean(axis=(0, 2))
    assert set(np.argsort(column)[:2]) == {20, 21}


def test_carpet_rows_run_from_the_top(scene: Any) -> None:
    blocks = carpet._blocks(scene.data, scene.affine, {"cord": scene.cord})
    voxels = np.argwhere(scene.cord)
    height = voxels @ scene.affine[2, :3]
    top = voxels[np.argmax(height)]
    np.testing.assert_allclose(blocks["cord"][0], carpet._standardised(scene.data[tuple(top)][None].astype(float))[0])


def test_carpet_series_have_no_trend_and_unit_sd() -> None:
    rng = np.random.default_rng(0)
    series = rng.normal(100, 5, (6, 50)) + np.linspace(0, 40, 50)
    flat = carpet._standardised(np.vstack([series, np.full((1, 50), 3.0)]))
    assert flat.shape == (6, 50)
    np.testing.assert_allclose(flat.std(axis=1, ddof=1), 1)
    np.testing.assert_allclose(flat @ np.arange(50.0), 0, atol=1e-8)


def test_summary_medians_in_the_caption(scene: Any) -> None:
    before = np.full(scene.reference.shape, 10.0, np.float32)
    drawn = maps.tsnr_summary(before, before * 1.5, scene.affine, {"cord": scene.cord}, cord_mask=scene.cord)
    assert "cord 10.0 before, 15.0 after" in drawn.caption
    assert "+50 %" in drawn.svg


def test_images_keep_their_pixels() -> None:
    """A matrix in a figure survives re-encoding exactly: grey and palette PNG lose nothing."""
    values = np.linspace(-1, 1, 12 * 9).reshape(9, 12)
    with figure.canvas(2, 2) as drawing:
        axes = figure.place(drawing, 0, 0, 2, 2)
        shown = axes.imshow(values, cmap=figure.DIVERGING, interpolation="none")
        expected = shown.to_rgba(values, bytes=True)
        svg = figure.svg_of(drawing)
    np.testing.assert_array_equal(_pictures(svg)[0], expected[..., :3])


def test_colours_of_brain_and_cord_are_fixed() -> None:
    assert figure.region_colour("brain") == figure.BRAIN
    assert figure.region_colour("spinal cord", 3) == figure.CORD
    assert figure.region_colour("CSF", 0) not in (figure.BRAIN, figure.CORD)


def test_view_of_two_flips_draws_the_same_picture(scene: Any) -> None:
    """The same world stored the other way round looks the same, but for slice numbers."""
    flipped = scene.reference[::-1, :, ::-1]
    affine = scene.affine @ np.array([[-1, 0, 0, 23], [0, 1, 0, 0], [0, 0, -1, 15], [0, 0, 0, 1.0]])
    mask = scene.cord[::-1, :, ::-1]
    one = mosaic.overview(scene.reference, scene.affine, cord_mask=scene.cord).svg
    other = mosaic.overview(flipped, affine, cord_mask=mask).svg
    for left, right in zip(_pictures(one), _pictures(other), strict=True):
        assert np.abs(left.astype(int) - right.astype(int)).max() <= 2
    assert sections.view_of(affine, flipped.shape).spacing_mm == pytest.approx(
        sections.view_of(scene.affine, flipped.shape).spacing_mm
    )


def _pictures(svg: str, shape: tuple[int, ...] | None = None) -> list[np.ndarray]:
    """Images inside an SVG as RGB, in the order drawn; only those of one shape when it is given."""
    found = re.findall(r"data:image/(?:png|webp);base64,([A-Za-z0-9+/=]+)", svg)
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]
    return [picture for picture in pictures if shape is None or picture.shape[:2] == tuple(shape)]
