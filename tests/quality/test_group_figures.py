"""Figures of a group: what they show, where it lies, and what they refuse."""

import re

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.quality import planes as pla
from cospine.quality.coupling_figures import matrix_figure
from cospine.quality.group_charts import cord_grid_figure, people_figure, quality_figure
from cospine.quality.outliers import spreads
from cospine.quality.stat_figures import (
    CordAnatomy,
    Layer,
    _blended,
    brain_stat_figure,
    cord_stat_figure,
    level_spans,
    peak_of,
)

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -40], [0, 0, 2, -20], [0, 0, 0, 1]])  # flipped along x
SHAPE = (30, 40, 30)


def at(x: float, y: float, z: float) -> tuple[int, ...]:
    return tuple(np.rint(np.linalg.inv(AFFINE)[:3] @ [x, y, z, 1]).astype(int))


def test_left_is_on_the_left_and_red_is_positive() -> None:
    values = np.zeros(SHAPE)
    values[at(16, 0, 0)], values[at(-16, 0, 0)] = 5.0, -5.0
    plane = pla.axial(0.0, (-30, 30), (-40, 40), 1.0)
    picture = _blended(np.zeros(plane.points.shape[:2]), (0, 1), Layer("z", values, 5.0), AFFINE, plane).astype(int)
    red, blue = picture[..., 0] - picture[..., 2], picture[..., 2] - picture[..., 0]
    assert np.unravel_index(np.argmax(red), red.shape)[1] > 40  # the right side of the person, right in the picture
    assert np.unravel_index(np.argmax(blue), blue.shape)[1] < 20


def test_nothing_is_painted_where_nothing_was_measured() -> None:
    values = np.full(SHAPE, np.nan)
    values[:15] = 4.0
    plane = pla.axial(0.0, (-30, 30), (-40, 40), 1.0)
    picture = _blended(np.full(plane.points.shape[:2], 0.5), (0, 1), Layer("z", values, 5.0), AFFINE, plane)
    grey = (picture[..., 0] == picture[..., 1]) & (picture[..., 1] == picture[..., 2])
    assert grey[:, :25].all()
    assert not grey[5:-5, 35:-5].any()
    np.testing.assert_array_equal(picture[:, :25], 127)


def test_the_peak_is_looked_for_where_it_is_significant() -> None:
    values = np.zeros(SHAPE)
    values[at(16, 0, 0)], values[at(-10, 4, 2)] = -9.0, 5.0
    np.testing.assert_allclose(peak_of(values, AFFINE), [16, 0, 0])
    inside = np.zeros(SHAPE, dtype=bool)
    inside[at(-10, 4, 2)] = True
    np.testing.assert_allclose(peak_of(values, AFFINE, inside), [-10, 4, 2])


def test_the_brain_figure_has_a_frame_a_layer_and_tells_the_peak() -> None:
    values = np.zeros(SHAPE)
    values[at(16, 2, 4)] = 6.0
    mask = np.ones(SHAPE, dtype=bool)
    image = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    layers = (Layer("z", values, 6.0), Layer("people", np.full(SHAPE, 9.0), 9.0, signed=False))
    figure = brain_stat_figure("Map", layers, values > 3, AFFINE, (image, mask, AFFINE), "MNI", "White: significant.")
    assert [frame.label for frame in figure.frames] == ["z", "people"]
    assert "16, 2, 4 mm in MNI" in figure.caption
    assert "White: significant." in figure.caption
    assert "−6" in figure.frames[0].svg
    with pytest.raises(CoSpineError, match="no brain"):
        brain_stat_figure("Map", layers, values > 3, AFFINE, (image, np.zeros(SHAPE, dtype=bool), AFFINE), "MNI", "")


def cord() -> CordAnatomy:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[10:20, 15:25, 20:] = 1
    labels[10:20, 15:25, 10:20] = 2
    spinal = np.roll(labels, -4, axis=2)
    probability = (labels > 0).astype(np.float32)
    line = np.stack([np.zeros(30), np.zeros(30), AFFINE[2, 3] + 2.0 * np.arange(30)], axis=1)[::-1]
    return CordAnatomy(
        probability + 0.1, probability, 0.6 * probability, AFFINE, line,
        level_spans(labels, AFFINE, ("V1", "V2")), level_spans(spinal, AFFINE, ("S1", "S2")),
    )  # fmt: skip


def test_levels_are_named_where_they_lie() -> None:
    spans = cord().vertebral
    assert [(one.name, one.top_mm, one.bottom_mm) for one in spans] == [("V1", 39.0, 19.0), ("V2", 19.0, -1.0)]


def test_the_cord_figure_names_both_systems_at_every_tile() -> None:
    values = np.where(cord().cord > 0, 1.0, np.nan)
    values[at(2, 0, 14)] = 5.0
    figure = cord_stat_figure("Map", (Layer("z", values, 5.0),), values > 3, AFFINE, cord(), "a template", "White.")
    texts = re.findall(r">([VS–][12]? \| [VS–][12]?)<", figure.svg)
    assert len(texts) == 24
    assert "vertebral level V2, spinal segment S1" in figure.caption
    with pytest.raises(CoSpineError, match="no value"):
        cord_stat_figure("Map", (Layer("z", np.full(SHAPE, np.nan), 5.0),), values > 3, AFFINE, cord(), "a template", "")


def test_the_grid_marks_what_is_significant_and_what_was_not_measured() -> None:
    effect, p = np.array([[0.5, -0.001], [np.nan, 0.1]]), np.array([[0.01, 0.9], [np.nan, np.nan]])
    svg = cord_grid_figure("Horns", ["C5", "C6"], ["left", "right"], effect, p, "").svg
    for text in ("+0.50 *", "not covered", "+0.10"):
        assert text in svg
    assert "−0.00" not in svg
    with pytest.raises(CoSpineError, match="no value"):
        cord_grid_figure("Horns", ["C5"], ["left"], np.array([[np.nan]]), np.array([[np.nan]]), "")


def test_people_are_dots_by_site_and_one_who_lacks_a_value_is_none() -> None:
    values = np.array([[0.1, 0.2], [0.3, np.nan], [0.2, 0.1]])
    figure = people_figure("People", ["a", "b"], values, ["x", "x", "y"], np.array([0.01, 0.5]), "%", "said")
    assert figure.svg.count(">*<") == 1
    assert ">x<" in figure.svg
    assert figure.svg == people_figure("People", ["a", "b"], values, ["x", "x", "y"], np.array([0.01, 0.5]), "%", "said").svg


def test_matrix_and_quality_name_what_they_show() -> None:
    matrix = np.array([[1.0, 0.4], [0.4, 1.0]])
    figure = matrix_figure("Coupling", {"residuals": matrix}, {"residuals": np.eye(2) < 0.5}, ["one", "two"], "said")
    assert figure.frames[0].label == "residuals"
    assert ">one<" in figure.svg
    runs = [{"fd_mean_mm": 0.2 + 0.01 * n} for n in range(9)] + [{"fd_mean_mm": 2.0}]
    names = [f"sub-{n:02d}" for n in range(10)]
    svg = quality_figure(spreads(runs), names, ["x"] * 10, {"fd_mean_mm": 0.5}).svg
    assert ">sub-09<" in svg
    assert ">sub-08<" not in svg
    with pytest.raises(CoSpineError, match="no run has a quality record"):
        quality_figure((), [], [], {})
