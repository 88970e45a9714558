"""Figures of distortion: well-formed, repeatable, and red where the field is high, wherever axes are stored."""

import base64
import io
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cospine.errors import CoSpineError
from cospine.quality import field_figures, field_metrics, field_profiles, figure, panels

MM_PER_HZ = 0.061


def _field(scene: Any) -> np.ndarray:
    """High in front, low behind, in the world."""
    anterior = np.einsum("a,axyz->xyz", scene.affine[1, :3], np.indices(scene.reference.shape)) + scene.affine[1, 3]
    return (2.5 * (anterior - anterior.mean())).astype(np.float32)


def _images(scene: Any) -> dict[str, figure.Figure]:
    rng = np.random.default_rng(2)
    field = _field(scene)
    masks = {"brain_mask": scene.brain, "cord_mask": scene.cord}
    both = scene.brain | scene.cord
    shifted = np.roll(scene.reference, 2, axis=1)
    bumpy = field + 30 * np.sin(np.indices(field.shape)[0])
    found = field_metrics.field_agreement_figures(bumpy, bumpy + rng.normal(0, 3, field.shape), both, scene.affine)
    return {
        "unwarped": field_figures.unwarped(shifted, scene.reference, scene.affine, **masks),
        "field": field_figures.field_map(field, scene.affine, MM_PER_HZ * field, measured=both, axis=1, **masks),
        "pair": field_figures.pair_images(
            shifted, np.roll(shifted, -4, axis=1), scene.reference, scene.reference, scene.affine, mask=both, **masks
        ),
        "agreement": field_figures.field_agreement(found, scene.affine, **masks),
    }


def _profiles() -> dict[str, figure.Figure]:
    z_mm = np.linspace(-20, -140, 31)
    before = np.concatenate([np.linspace(-2, 3, 26), [5, 7, 9, 12, 14]])
    after = 0.1 * np.sin(z_mm)
    share = np.linspace(0.005, 0.4, 31)
    return {
        "plain": field_profiles.cord_profile(z_mm, before),
        "full": field_profiles.cord_profile(
            z_mm, before, after, cutoff_z_mm=-132.0, levels={"C2": -40.0, "T5": -300.0}, toward="anterior"
        ),
        "breathing": field_profiles.breathing_profile(z_mm, 0.4 * share, share, 0.02),
    }


@pytest.fixture(scope="module")
def images(scene: Any) -> dict[str, figure.Figure]:
    return _images(scene)


def test_every_figure_is_well_formed_and_says_what_it_is(images: dict[str, figure.Figure]) -> None:
    for name, drawn in (images | _profiles()).items():
        assert drawn.title, name
        assert drawn.alt, name
        assert len(drawn.caption) > 60, name
        assert "nan" not in drawn.caption, name
        for frame in drawn.frames:
            assert ElementTree.fromstring(frame.svg).tag.endswith("svg"), name
            drawing = re.sub(r"base64,[A-Za-z0-9+/=]+", "", frame.svg)
            assert not re.search(r"\b(nan|inf)\b", drawing), name


def test_figures_repeat_byte_by_byte(scene: Any, images: dict[str, figure.Figure]) -> None:
    assert _images(scene) == images
    assert _profiles() == _profiles()


def test_flickers_have_two_frames_of_one_size(images: dict[str, figure.Figure]) -> None:
    for name in ("unwarped", "pair"):
        frames = images[name].frames
        assert [frame.label for frame in frames] == ["Before", "After"]
        sizes = {tuple(re.findall(r'<svg [^>]*viewBox="([^"]+)"', frame.svg)) for frame in frames}
        assert len(sizes) == 1
        assert _outline(frames[0].svg)
        assert _outline(frames[0].svg) == _outline(frames[1].svg), "the outline belongs to the corrected image in both"


@pytest.mark.parametrize("regions", [("brain",), ("cord",)])
def test_partial_fields_of_view(scene: Any, regions: tuple[str, ...]) -> None:
    masks = {f"{name}_mask": getattr(scene, name) for name in regions}
    field = _field(scene)
    bumpy = field + 30 * np.sin(np.indices(field.shape)[0])
    body = np.ones(field.shape, bool)
    found = field_metrics.field_agreement_figures(bumpy, bumpy, body, scene.affine)
    reference = scene.reference
    drawn = (
        field_figures.unwarped(reference, reference, scene.affine, **masks),
        field_figures.field_map(field, scene.affine, MM_PER_HZ * field, **masks),
        field_figures.pair_images(reference, reference, reference, reference, scene.affine, mask=body, **masks),
        field_figures.field_agreement(found, scene.affine, **masks),
    )
    absent = "brain" if regions == ("cord",) else "cord"
    for one in drawn:
        assert "z (mm)" in one.svg
        assert f"{absent}<" not in one.svg, "no panel of what is not there"


def test_without_masks_there_is_nothing_to_cut_along(scene: Any) -> None:
    nothing = np.zeros_like(scene.brain)
    with pytest.raises(CoSpineError, match="mask"):
        field_figures.unwarped(scene.reference, scene.reference, scene.affine, brain_mask=nothing)
    with pytest.raises(CoSpineError, match="no slice"):
        field_profiles.cord_profile([], [])
    with pytest.raises(CoSpineError, match="no slice"):
        field_profiles.breathing_profile([1.0], [np.nan], [0.1], 0.02)


STORED = {
    "as is": ((0, 1, 2), (1, 1, 1)),
    "flipped": ((0, 1, 2), (-1, -1, -1)),
    "permuted": ((2, 0, 1), (1, -1, 1)),
}


@pytest.mark.parametrize("stored", STORED)
def test_the_field_is_red_in_front_however_it_is_stored(scene: Any, stored: str) -> None:
    order, flips = STORED[stored]
    steps = tuple(slice(None, None, flip) for flip in flips)
    affine = scene.affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (scene.reference.shape[order[axis]] - 1)
            affine[:, axis] *= -1
    field, brain, cord = (values.transpose(order)[steps] for values in (_field(scene), scene.brain, scene.cord))
    axis = order.index(1)
    toward_higher = np.sign(affine[1, axis])  # a positive field moves tissue toward the front in every case
    drawn = field_figures.field_map(field, affine, toward_higher * MM_PER_HZ * field, brain_mask=brain, cord_mask=cord, axis=axis)
    sagittal = _pictures(drawn.svg)[0].astype(int)
    behind, front = sagittal[:, 5], sagittal[:, -5]
    assert (front[:, 0] > front[:, 2] + 40).all()
    assert (behind[:, 2] > behind[:, 0] + 40).all()
    assert "0.061 mm a Hz" in drawn.caption
    assert "positive toward anterior" in drawn.caption


def test_mm_scale_turns_with_the_polarity(scene: Any) -> None:
    field = _field(scene)
    labels = []
    for sign in (1, -1):
        drawn = field_figures.field_map(field, scene.affine, sign * MM_PER_HZ * field, cord_mask=scene.cord, axis=1)
        heights = {
            text.replace("−", "-"): float(y)
            for y, text in re.findall(r'<text[^>]*?y="([\d.-]+)"[^>]*?>([−\d.]+)</text>', drawn.svg.split("Hz</text>")[-1])
        }
        labels.append(heights)
    shared = [text for text in labels[0] if text in labels[1] and float(text) != 0]
    assert shared
    assert all((labels[0][text] < labels[0]["0"]) != (labels[1][text] < labels[1]["0"]) for text in shared if "." not in text)


def test_pair_is_grey_where_it_agrees_and_coloured_where_not(scene: Any) -> None:
    reference = np.abs(scene.reference)
    shifted = [np.roll(reference, step, axis=1) for step in (2, -2)]
    drawn = field_figures.pair_images(
        *shifted, reference, 3.0 * reference, scene.affine, mask=scene.brain, brain_mask=scene.brain
    )
    before, after = (_pictures(frame.svg)[0].astype(int) for frame in drawn.frames)
    assert np.abs(after[..., 0] - after[..., 2]).max() <= 12
    assert np.abs(before[..., 0] - before[..., 2]).max() > 100
    values = [float(text) for text in re.findall(r"(-?\d\.\d{3}) (?:before|after)", drawn.caption)]
    expected = field_metrics.similarity(*shifted, scene.brain)
    assert values == pytest.approx([expected, 1.0], abs=6e-4)


def test_pale_where_the_field_was_not_measured(scene: Any) -> None:
    field = _field(scene)
    measured = np.zeros(field.shape, bool)
    measured[:, :, field.shape[2] // 2 :] = True
    drawn = field_figures.field_map(field, scene.affine, MM_PER_HZ * field, brain_mask=scene.brain, measured=measured)
    picture = _pictures(drawn.svg)[0].astype(int)
    colour = np.abs(picture[..., 0] - picture[..., 2])[:, -5:].mean(axis=1)
    assert colour[:10].min() > 2 * colour[-10:].max()
    assert "Pale" in drawn.caption


def test_profile_counts_only_slices_above_the_cutoff() -> None:
    z_mm = np.array([-10.0, -20.0, -30.0, -40.0])
    drawn = field_profiles.cord_profile(z_mm, [1.0, -3.0, 2.0, 12.0], [0.1, -0.1, 0.4, 5.0], cutoff_z_mm=-40.0)
    assert "2.00 mm on average above the cut-off before, 0.20 mm after" in drawn.caption
    assert "beyond mending" in drawn.svg
    plain = field_profiles.cord_profile(z_mm[::-1], [12.0, 2.0, -3.0, 1.0])
    assert "4.50 mm on average before" in plain.caption
    assert "beyond mending" not in plain.svg
    assert "after" not in plain.caption


def test_profile_names_levels_inside_the_field_of_view() -> None:
    drawn = _profiles()["full"].svg
    assert ">C2<" in drawn
    assert ">T5<" not in drawn


def test_breathing_counts_slices_beyond_chance() -> None:
    drawn = field_profiles.breathing_profile([-10, -20, -30], [0.1, 0.2, 0.7], [0.01, 0.1, 0.5], [0.02, 0.02, 0.6])
    assert "in 1 of 3 slices" in drawn.caption
    assert "0.70 mm peak to peak" in drawn.caption
    assert "z −30 mm" in drawn.caption


def test_panels_stay_on_the_paper(scene: Any) -> None:
    for masks in ((scene.brain, scene.cord), (scene.brain, None), (None, scene.cord)):
        sheet = panels.sheet_of(scene.reference.shape, scene.affine, brain_mask=masks[0], cord_mask=masks[1], room_in=1.0)
        width, height = sheet.size_in
        assert width <= figure.WIDTH_IN + 0.1
        for panel in sheet.panels:
            left, top, across, down = panel.place_in
            assert left >= 0
            assert left + across <= width - 1.0
            assert top + down <= height
            assert across / down == pytest.approx(panel.size_mm[0] / panel.size_mm[1], rel=1e-6)


def _outline(svg: str) -> list[str]:
    """The paths drawn in the colours of brain and cord, or in the one that stands for both on a coloured picture."""
    return re.findall(rf'<path d="([^"]+)"[^>]*stroke: (?:{figure.BRAIN}|{figure.CORD}|#ffe14d)', svg)


def _pictures(svg: str) -> list[np.ndarray]:
    """Images inside an SVG as RGB, in the order drawn."""
    found = re.findall(r"data:image/(?:png|webp);base64,([A-Za-z0-9+/=]+)", svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]
