"""Figures of the noise model: colour where a set explains something, none where it does not; shares net of chance."""

import base64
import io
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cospine.errors import CoSpineError
from cospine.quality import confound_figures, figure, noise_figures
from cospine.quality.report import ParticipantReport, RunReport, participant_html
from cospine.signal.partial import PartialTests, partial_tests
from cospine.signal.simultaneous import SharedSignal, shared_signal
from cospine.stats.collinearity import Collinearity, SharedWithTask

VOLUMES = 60
SHARES = {"cardiac": (2, 50), "motion": (20, 20)}


def fitted(scene: Any, strength: float = 20.0) -> PartialTests:
    """Pulse in the cord alone; breathing explains nothing."""
    rng = np.random.default_rng(4)
    shape = scene.reference.shape
    columns = rng.standard_normal((shape[2], VOLUMES, 6))
    series = scene.reference[..., None] + 10 * rng.standard_normal((*shape, VOLUMES))
    series += strength * scene.cord[..., None] * columns[None, None, :, :, 0]
    sets = {"cardiac": np.arange(2), "respiratory": np.arange(2, 6)}
    return partial_tests(np.asfortranarray(series, np.float32), columns, sets, mask=scene.brain | scene.cord)


@pytest.fixture(scope="module")
def tests_of_sets(scene: Any) -> PartialTests:
    return fitted(scene)


def shared(scene: Any) -> SharedSignal:
    """Noise in which the upper half of the slices leaks into the lower, four voxels along j."""
    rng = np.random.default_rng(6)
    shape = scene.reference.shape
    series = rng.standard_normal((*shape, VOLUMES)).astype(np.float32)
    half = shape[2] // 2
    series[:, :, :half] += 0.2 * np.roll(series[:, :, half:], -4, axis=1)
    times = np.tile(0.3 * np.arange(half), 2)
    return shared_signal(series, times, np.ones(shape, bool), pe_axis=1)


def every_figure(scene: Any, found: PartialTests) -> dict[str, figure.Figure]:
    masks = {"brain_mask": scene.brain, "cord_mask": scene.cord}
    rng = np.random.default_rng(3)
    noise = (12 + scene.brain).astype(np.float32)
    return {
        "maps": noise_figures.explained_maps(found, scene.reference, scene.affine, **masks),
        "summary": noise_figures.explained_summary(
            found, {"brain": scene.brain, "cord": scene.cord}, scene.affine, cord_mask=scene.cord
        ),
        "thermal": noise_figures.thermal_figure(noise, 30 + noise, scene.affine, most=VOLUMES, taken_sd=noise, **masks),
        "task": confound_figures.collinearity_figure(
            Collinearity(
                {name: SharedWithTask(rng.beta(*shape, 9), np.full(9, 0.04)) for name, shape in SHARES.items()},
                SharedWithTask(rng.beta(20, 15, 9), np.full(9, 0.07)),
            ),
            tr_s=2.68,
            rates_hz={"cardiac": rng.normal(1.1, 0.03, 80), "respiratory": rng.normal(0.3, 0.02, 40)},
            task_hz=1 / 39.1,
        ),
        "leakage": confound_figures.shared_signal_figure(shared(scene)),
    }


@pytest.fixture(scope="module")
def figures(scene: Any, tests_of_sets: PartialTests) -> dict[str, figure.Figure]:
    return every_figure(scene, tests_of_sets)


def test_every_figure_is_well_formed_and_says_what_it_is(figures: dict[str, figure.Figure]) -> None:
    for name, drawn in figures.items():
        assert drawn.title, name
        assert drawn.alt, name
        assert len(drawn.caption) > 60, name
        assert "nan" not in drawn.caption + drawn.alt, name
        for frame in drawn.frames:
            assert ElementTree.fromstring(frame.svg).tag.endswith("svg"), name
            drawing = re.sub(r"base64,[A-Za-z0-9+/=]+", "", frame.svg)
            assert not re.search(r"\b(nan|inf)\b", drawing), name


def test_figures_repeat_byte_by_byte(scene: Any, tests_of_sets: PartialTests, figures: dict[str, figure.Figure]) -> None:
    assert every_figure(scene, tests_of_sets) == figures


def _pictures(svg: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/(?:webp|png);base64,\s*([A-Za-z0-9+/=\s]+)", svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(float) for data in found]


def _coloured_share(picture: np.ndarray) -> float:
    return float((np.ptp(picture, axis=2) > 90).mean())


def test_colour_is_where_a_set_explains_something_and_nowhere_else(scene: Any, figures: dict[str, figure.Figure]) -> None:
    drawn = figures["maps"]
    assert [frame.label for frame in drawn.frames] == ["All sets", "Cardiac"]
    assert "no more than chance anywhere: respiratory." in drawn.caption
    tiles = min(8, int(scene.cord.any(axis=(0, 1)).sum()))
    # Two strips, slices of the brain, tiles around the cord, and the colour bar.
    pictures = _pictures(drawn.frames[1].svg)
    assert np.mean([_coloured_share(picture) for picture in pictures[-1 - tiles : -1]]) > 0.04
    assert np.mean([_coloured_share(picture) for picture in pictures[2 : -1 - tiles]]) < 0.02


def test_summary_gives_shares_beyond_chance(scene: Any, tests_of_sets: PartialTests, figures: dict[str, figure.Figure]) -> None:
    caption = figures["summary"].caption
    chance = re.search(r"all sets ([\d.]+) %; cardiac ([\d.]+) %; respiratory ([\d.]+) %", caption)
    assert chance is not None
    # q columns of noise take q / (q + residual) of what is left: 60 volumes, a constant and 6 columns leave 53.
    expected = [100 * q / (q + 53) for q in (6, 2, 4)]
    assert [float(one) for one in chance.groups()] == pytest.approx(expected, abs=0.06)
    cord = re.search(r"cord: ([\d.]+) % by all sets, (\d+) % of voxels", caption)
    brain = re.search(r"Brain: (−?[\d.]+) % by all sets, (\d+) % of voxels", caption)
    assert cord is not None
    assert brain is not None
    assert float(cord.group(1)) == pytest.approx(100 * 400 / 500, abs=6)
    assert int(cord.group(2)) == 100
    assert abs(float(brain.group(1).replace("−", "-"))) < 2
    assert 2 <= int(brain.group(2)) <= 8


def test_one_set_is_not_shown_twice(scene: Any, tests_of_sets: PartialTests) -> None:
    alone = replace(tests_of_sets, sets={"csf": tests_of_sets.sets["cardiac"]})
    drawn = noise_figures.explained_maps(alone, scene.reference, scene.affine, cord_mask=scene.cord)
    assert [frame.label for frame in drawn.frames] == ["CSF"]


@pytest.mark.parametrize("regions", [("brain",), ("cord",)])
def test_partial_fields_of_view(scene: Any, tests_of_sets: PartialTests, regions: tuple[str, ...]) -> None:
    masks = {f"{name}_mask": getattr(scene, name) for name in regions}
    assert "z (mm)" in noise_figures.explained_maps(tests_of_sets, scene.reference, scene.affine, **masks).svg
    noise = np.ones(scene.reference.shape, np.float32)
    assert len(noise_figures.thermal_figure(noise, noise, scene.affine, most=VOLUMES, **masks).frames) == 2
    shown = {name: getattr(scene, name) for name in regions}
    drawn = noise_figures.explained_summary(tests_of_sets, shown, scene.affine)
    assert "slice by slice" not in drawn.svg
    assert ("cord" if regions == ("brain",) else "brain") not in drawn.caption


def test_nothing_to_show_is_said(scene: Any, tests_of_sets: PartialTests) -> None:
    outside = ~(scene.brain | scene.cord)
    with pytest.raises(CoSpineError, match="no region"):
        noise_figures.explained_summary(tests_of_sets, {"air": outside}, scene.affine)
    with pytest.raises(CoSpineError, match="mask"):
        noise_figures.explained_maps(tests_of_sets, scene.reference, scene.affine)
    nowhere = SharedWithTask(np.full(3, np.nan), np.full(3, 0.1))
    with pytest.raises(CoSpineError, match="R²"):
        confound_figures.collinearity_figure(Collinearity({"csf": nowhere}, nowhere), tr_s=2.68, rates_hz={}, task_hz=0.03)


def test_rates_that_alias_onto_the_task_are_drawn_on_it(figures: dict[str, figure.Figure]) -> None:
    caption = figures["task"].caption
    assert "cardiac 1.1" in caption
    assert "The task repeats at 0.0256 Hz" in caption
    # 20.9 breaths a minute fold onto the trial rate of the pain task at this TR.
    some = SharedWithTask(np.array([0.1, np.nan]), np.array([0.04, 0.04]))
    on_task = confound_figures.collinearity_figure(
        Collinearity({"respiratory": some}, some), tr_s=2.68, rates_hz={"respiratory": np.full(30, 20.9 / 60)}, task_hz=1 / 39.1
    )
    assert "respiratory 0.348 Hz appears at 0.025 Hz" in on_task.caption
    assert "respiratory 10 % (worst slice 10 %, by chance 4.0 %, variance inflation 1.11)" in on_task.caption
    assert "all sets" not in on_task.caption
    once = confound_figures.collinearity_figure(Collinearity({"respiratory": some}, some), tr_s=2.68, rates_hz={}, task_hz=np.nan)
    assert "no repetition rate" in once.caption


def test_a_peak_of_shared_signal_is_found_at_its_shift(figures: dict[str, figure.Figure]) -> None:
    found = re.search(r"At a shift of \+4 voxels 8 simultaneous pairs correlate with r ([\d.]+)", figures["leakage"].caption)
    assert found is not None
    assert float(found.group(1)) == pytest.approx(0.2 / np.sqrt(1.04), abs=0.02)
    assert "p < 0.001" in figures["leakage"].caption


def test_speckle_of_chance_is_pale() -> None:
    null = partial_tests(
        np.random.default_rng(0).standard_normal((8, 8, 4, VOLUMES)).astype(np.float32),
        np.random.default_rng(1).standard_normal((4, VOLUMES, 3)),
        {"csf": np.arange(3)},
        mask=np.ones((8, 8, 4), bool),
    )
    strength, opacity = noise_figures._layers(null.total, 0.5)
    assert float(np.mean(opacity)) < 0.08
    assert (opacity[null.total.p > 0.2] == 0).all()
    assert strength.max() <= 1


@pytest.mark.parametrize(("count", "flickers"), [(2, True), (5, False)])
def test_pictures_of_a_figure_can_be_switched_however_many(count: int, flickers: bool) -> None:
    frames = tuple(figure.Frame(f"frame {number}", "<svg/>") for number in range(count))
    drawn = figure.Figure("Switched", "Caption.", "Alt", frames)
    page = participant_html(ParticipantReport("sub-01", "data", "0", runs=(RunReport("sub-01", "run", figures=(drawn,)),)))
    inputs = re.findall(r"<input [^>]*>", page)
    assert len(inputs) == count + flickers
    assert sum("checked" in one for one in inputs) == 1
    assert "checked" in inputs[1 if flickers else 0], "after the correction, or all sets"
    assert ('class="both"' in page) is flickers
    for number in range(1, count + 1):
        assert f".flick input:not(.both):nth-of-type({number}):checked ~ .stack img:nth-child({number})" in page
