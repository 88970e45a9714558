"""Discs along the cord, vertebral levels and spinal segments."""

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from cospine.anatomy import discs as chain
from cospine.anatomy.given_discs import read_disc_image, read_discs
from cospine.anatomy.levels import (
    Levels,
    disc_name,
    find_levels,
    segment_edges,
    segment_name,
    segments_table,
    spinal_labels,
    vertebra_name,
    vertebrae_table,
    vertebral_labels,
)
from cospine.anatomy.neck import extended_line, line_length, project
from cospine.anatomy.segmentation import CordSegmentation
from cospine.errors import CoSpineError
from cospine.space.cord_template import CordTemplate, parametric_cord_template
from cospine.space.grid import Grid
from cospine.space.transform import Affine

STRETCH = {2: 1.04, 3: 0.94, 4: 1.06, 5: 0.97, 6: 1.02, 7: 0.95, 8: 1.05}


@pytest.fixture(scope="module")
def template() -> CordTemplate:
    return parametric_cord_template()


def axis(z: NDArray) -> NDArray[np.float64]:
    """Course of a lordotic cord (n, 3) at heights (n,)."""
    return np.stack([0.02 * (z + 60), -20 + 6 * np.cos((z + 70) / 45), z], axis=-1)


def true_discs(template: CordTemplate, ratio: float = 0.93, top_z: float = -12.0) -> dict[int, NDArray[np.float64]]:
    """Discs of a person: the template's spacing times a ratio of his own and one of each vertebra."""
    fine = axis(np.arange(40.0, -260.0, -0.1))
    along = line_length(fine)
    at = float(along[np.argmin(np.abs(fine[:, 2] - top_z))])
    discs = {}
    for number in sorted(template.discs):
        discs[number] = fine[np.argmin(np.abs(along - at))]
        if number + 1 in template.discs:
            height = float(template.discs[number][2] - template.discs[number + 1][2])
            at += height * ratio * STRETCH.get(number, 1.0)
    return discs


def neck_image(
    discs: dict[int, NDArray[np.float64]], grid: Grid, sign: float, noise: float, column: bool = True
) -> NDArray[np.float32]:
    """Soft tissue, cord and a column of bodies and discs, brighter or darker than the bodies, about C2 and below."""
    rng = np.random.default_rng(5)
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
    course = axis(points[..., 2])
    across, front = points[..., 0] - course[..., 0], points[..., 1] - course[..., 1]
    image = np.full(grid.shape, 0.5)
    image[np.hypot(across, front) < 5] = 0.9
    heights = np.array([point[2] for number, point in sorted(discs.items()) if number >= 3])
    spine = (np.abs(across) < 9) & (front > 9) & (front < 24) & (points[..., 2] < discs[1][2])
    # discs stand square to the cord
    level = points[..., 2] - front * 6 / 45 * np.sin((points[..., 2] + 70) / 45)
    is_disc = np.abs(level[..., None] - heights).min(axis=-1) < 2.5
    if column:
        image[spine] = 0.6
        image[spine & is_disc] = 0.6 + 0.25 * sign
    bias = 1 + 0.4 * points[..., 2] / 150
    return np.asarray((image + noise * rng.standard_normal(grid.shape)) * bias * 400, dtype=np.float32)


def oblique(shape: tuple[int, int, int] = (40, 70, 190), top: float = 20.0) -> Grid:
    """A grid of about 1 mm tilted by 8 degrees in the sagittal plane."""
    angle = np.radians(8)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, 3] = 0
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] = np.array([0.0, -10.0, top - shape[2] / 2]) - centre
    return Grid(shape, affine)


def cord_of(grid: Grid, top_z: float, bottom_z: float = -300.0) -> CordSegmentation:
    """The true cord between two heights, as far as it is in view."""
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
    course = axis(points[..., 2])
    mask = np.hypot(points[..., 0] - course[..., 0], points[..., 1] - course[..., 1]) < 5
    mask &= (points[..., 2] < top_z) & (points[..., 2] > bottom_z)
    z = points[mask][:, 2]
    line = axis(np.arange(z.max(), z.min(), -1.5))
    up, _ = grid.axis_of("S")
    return CordSegmentation(mask, mask.astype(np.float32), line, up, np.ones(grid.shape[up]))


def along_line(line: NDArray, point: NDArray) -> float:
    """Position of a point along a centre line."""
    return project(*extended_line(line), point)[0]


def to_mni(discs: dict[int, NDArray[np.float64]], template: CordTemplate, error_mm: float) -> Affine:
    """A brain's alignment that carries the top of the template's C1 to the person's, but for an error in height."""
    matrix = np.eye(4)
    matrix[:3, 3] = discs[1] - template.discs[1] + [0, 0, error_mm]
    return Affine(matrix)


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["bright discs", "dark discs"])
@pytest.mark.parametrize("error_mm", [-5.0, 5.0])
def test_discs_are_found_whatever_their_contrast(template: CordTemplate, sign: float, error_mm: float) -> None:
    grid = oblique()
    discs = true_discs(template)
    image = neck_image(discs, grid, sign, noise=0.08)
    cord = cord_of(grid, discs[1][2] + 3, discs[9][2] - 10)
    levels = find_levels(image, grid, cord, template, to_mni(discs, template, error_mm))
    assert levels.reason == ""
    assert "pontomedullary" in levels.method
    assert set(range(3, 9)) <= set(levels.discs)
    for number, point in levels.discs.items():
        error = along_line(cord.centre_line, point) - along_line(cord.centre_line, discs[number])
        # the top of C1 and the joint below it have no look of their own: they follow the anchor, which is wrong by 5 mm
        assert abs(error) < (1.5 if number >= 3 else 4.5), number
        assert np.linalg.norm(point - axis(point[2])) < 0.3  # on the cord
        if number in range(3, 9):
            assert levels.confidence[number] > 0.9


def test_orientation_of_storage_does_not_matter(template: CordTemplate) -> None:
    grid = oblique((30, 60, 150))
    discs = true_discs(template)
    image = neck_image(discs, grid, -1.0, noise=0.05)
    cord = cord_of(grid, top_z=discs[1][2])
    reference = find_levels(image, grid, cord, template, to_mni(discs, template, 2.0))
    for order, flips in zip(list(permutations(range(3)))[1:4], list(product([1, -1], repeat=3))[1:4], strict=True):
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
            turn[old, new] = flip
            turn[old, 3] = 0 if flip > 0 else grid.shape[old] - 1
        turned = image.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
        other = Grid(turned.shape, grid.affine @ turn)
        levels = find_levels(turned, other, cord, template, to_mni(discs, template, 2.0))
        assert set(levels.discs) == set(reference.discs)
        for number, point in levels.discs.items():
            np.testing.assert_allclose(point, reference.discs[number], atol=0.1)


def test_spacing_alone_where_no_column_shows(template: CordTemplate) -> None:
    grid = oblique()
    discs = true_discs(template, ratio=1.0)
    cord = cord_of(grid, discs[1][2], discs[9][2] - 10)
    featureless = neck_image(discs, grid, 0.0, noise=0.05, column=False)
    levels = find_levels(featureless, grid, cord, template, to_mni(discs, template, 0.0))
    for number, point in levels.discs.items():
        assert abs(along_line(cord.centre_line, point) - along_line(cord.centre_line, discs[number])) < 6.0
    seen = find_levels(neck_image(discs, grid, 1.0, 0.05), grid, cord, template, to_mni(discs, template, 0.0))
    # what does not show is not believed as what does
    assert max(levels.confidence[n] for n in range(4, 8)) < 0.75 < 0.9 < min(seen.confidence[n] for n in range(4, 8))
    narrow = Grid((grid.shape[0], 30, grid.shape[2]), grid.affine)
    blind = find_levels(featureless[:, :30], narrow, cord, template, to_mni(discs, template, 0.0))
    assert "not in view" in blind.reason


def test_a_crop_of_the_neck_is_not_counted_until_someone_names_a_disc(template: CordTemplate) -> None:
    discs = true_discs(template)
    grid = oblique((40, 70, 60), top=-35.0)
    image = neck_image(discs, grid, 1.0, noise=0.05)
    cord = cord_of(grid, top_z=0.0)
    levels = find_levels(image, grid, cord, template)
    assert not levels.found
    assert "nothing in the picture says which" in levels.reason
    inside = [n for n, p in discs.items() if cord.centre_line[0, 2] - 4 > p[2] > cord.centre_line[-1, 2] + 4]
    where = np.array([along_line(cord.centre_line, discs[n]) for n in inside])
    shown = np.array([along_line(cord.centre_line, point) for point in levels.unnamed])
    assert np.abs(where[:, None] - shown[None, :]).min(axis=1).max() < 1.5
    assert not vertebral_labels(levels, cord.centre_line, cord.mask, grid).any()
    assert not spinal_labels(levels, cord.centre_line, cord.mask, grid, template).any()
    named = inside[1]
    in_front = discs[named] + [0.0, 12.0, 0.0]  # people click on the disc, not on the cord
    given = find_levels(image, grid, cord, template, given={named: in_front})
    assert given.confidence[named] == 1.0
    for number in inside:
        assert abs(along_line(cord.centre_line, given.discs[number]) - along_line(cord.centre_line, discs[number])) < 2.0


def test_an_anchor_between_two_counts_says_so(template: CordTemplate) -> None:
    discs = true_discs(template)
    grid = oblique((40, 70, 60), top=-35.0)
    cord = cord_of(grid, top_z=0.0)
    half = (along_line(cord.centre_line, discs[5]) - along_line(cord.centre_line, discs[4])) / 2
    levels = find_levels(neck_image(discs, grid, 1.0, 0.05), grid, cord, template, to_mni(discs, template, -half))
    assert "off by one" in levels.reason
    assert max(levels.confidence.values()) < 0.9


def test_foramen_magnum_is_an_anchor(template: CordTemplate) -> None:
    discs = true_discs(template)
    grid = oblique()
    cord = cord_of(grid, top_z=discs[1][2] + 3)
    levels = find_levels(neck_image(discs, grid, 1.0, 0.05), grid, cord, template, foramen_mm=discs[1] + [0.0, 0.0, 5.0])
    assert "foramen magnum" in levels.method
    assert abs(along_line(cord.centre_line, levels.discs[4]) - along_line(cord.centre_line, discs[4])) < 1.5


def test_no_cord_no_levels(template: CordTemplate) -> None:
    grid = oblique((20, 20, 20))
    nothing = np.zeros(grid.shape, dtype=bool)
    cord = CordSegmentation(nothing, nothing.astype(np.float32), np.empty((0, 3)), 2, np.zeros(20), "a brain, no cord below it")
    levels = find_levels(np.ones(grid.shape, np.float32), grid, cord, template)
    assert not levels.found
    assert levels.reason == "a brain, no cord below it"


def test_chain_posterior_equals_enumeration() -> None:
    """Forward and backward sums, and the most probable chain, against every chain of three discs there is."""
    rng = np.random.default_rng(3)
    n = 50
    at_disc, at_body = rng.normal(size=(2, n)), rng.normal(size=(2, n))
    numbers, heights = [3, 4, 5], [5.0, 6.0]
    emission = np.stack([at_disc] * 3)
    prior = -0.5 * (np.log(chain._RATIOS) / chain._RATIO_SD) ** 2
    steps = [chain._Step.of(h, k, at_disc, at_body) for h, k in zip(heights, numbers[:-1], strict=True)]
    marginal = np.zeros((3, n))
    best, path = -np.inf, (0, 0, 0)
    for ratio, sign in product(range(len(prior)), range(2)):
        for first in range(n):
            for row, offset in enumerate(steps[0].offsets):
                for row2, offset2 in enumerate(steps[1].offsets):
                    second = first + offset
                    third = second + offset2
                    if third >= n:
                        continue
                    log = prior[ratio] + at_disc[sign, [first, second, third]].sum()
                    log += steps[0].weight[row, ratio] + at_body[sign, first + offset // 2]
                    log += steps[1].weight[row2, ratio] + at_body[sign, second + offset2 // 2]
                    # the best chain has no advantage of small vertebrae, whose densities are higher
                    even = log - steps[0].weight[:, ratio].max() - steps[1].weight[:, ratio].max()
                    if even > best:
                        best, path = even, (first, second, third)
                    for disc, place in enumerate((first, second, third)):
                        marginal[disc, place] += np.exp(log)
    marginal /= marginal.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chain._marginals(emission, steps, prior), marginal, atol=1e-10)
    assert tuple(chain._most_probable(emission, steps, prior)) == path


def test_line_goes_on_straight() -> None:
    line = np.stack([np.zeros(50), np.linspace(0, -20, 50), np.linspace(0, -60, 50)], axis=1)
    position, points = extended_line(line, above_mm=30.0, below_mm=10.0)
    direction = line[-1] / np.linalg.norm(line[-1])
    np.testing.assert_allclose(points, position[:, None] * direction, atol=1e-6)
    assert position[0] == -30
    along, away = project(position, points, points[20] + np.array([4.0, 0.0, 0.0]))
    assert along == pytest.approx(position[20])
    assert away == pytest.approx(4.0)


def test_vertebral_labels_by_hand() -> None:
    """A straight cord with discs at known heights: each voxel's number is read off a ruler."""
    grid = Grid((5, 5, 60), np.diag([1.0, 1.0, 1.0, 1.0]))
    line = np.stack([np.full(60, 2.0), np.full(60, 2.0), np.arange(59.0, -1.0, -1.0)], axis=1)
    discs = {2: np.array([2.0, 2.0, 50.2]), 3: np.array([2.0, 2.0, 34.2]), 4: np.array([2.0, 2.0, 15.2])}
    levels = Levels(discs, dict.fromkeys(discs, 1.0), "by hand")
    mask = np.zeros(grid.shape, dtype=bool)
    mask[1:4, 1:4] = True
    labels = vertebral_labels(levels, line, mask, grid)
    assert not labels[~mask].any()
    column = labels[2, 2]
    assert (column[51:] == 1).all()  # above C1-C2
    assert (column[35:51] == 2).all()
    assert (column[16:35] == 3).all()
    assert (column[:16] == 4).all()  # cut off by the field of view
    top = Levels({1: discs[2], 2: discs[3]}, {1: 1.0, 2: 1.0}, "by hand")
    assert (vertebral_labels(top, line, mask, grid)[2, 2, 51:] == 0).all()  # above C1 there is no vertebra
    assert vertebrae_table(labels) == {"index": [1, 2, 3, 4], "name": ["C1", "C2", "C3", "C4"], "system": ["vertebral level"] * 4}


def test_template_labels_come_back(template: CordTemplate) -> None:
    """With the template's own discs its own levels and segments are found again; spinal C6 is far from vertebral C6."""
    up, _ = template.grid.axis_of("S")
    assert up == 2
    mask = template.vertebral > 0
    levels = Levels(template.discs, dict.fromkeys(template.discs, 1.0), "the template's own")
    vertebral = vertebral_labels(levels, template.centre_line, mask, template.grid)
    spinal = spinal_labels(levels, template.centre_line, mask, template.grid, template)
    assert (vertebral[mask] == template.vertebral[mask]).mean() > 0.97
    assert (spinal[mask] == template.spinal[mask]).mean() > 0.97
    heights = template.grid.to_ras(np.stack(np.nonzero(mask), axis=1))[:, 2]
    apart = heights[spinal[mask] == 6].mean() - heights[vertebral[mask] == 6].mean()
    assert apart == pytest.approx(24.5, abs=2.0)  # measured on PAM50
    edges, segments = segment_edges(template)
    assert list(segments) == list(range(1, len(segments) + 1))
    assert (np.diff(edges) < 0).all()
    assert len(edges) == len(segments) + 1


def test_names_tell_the_two_systems_apart() -> None:
    assert [vertebra_name(n) for n in (1, 7, 8, 19, 20, 25)] == ["C1", "C7", "T1", "T12", "L1", "S1"]
    assert [segment_name(n) for n in (1, 8, 9)] == ["C1", "C8", "T1"]
    assert [disc_name(n) for n in (1, 2, 3, 8, 9)] == ["top of C1", "C1-C2", "C2-C3", "C7-T1", "T1-T2"]
    assert segments_table(np.array([0, 8, 9], np.uint8))["system"] == ["spinal segment"] * 2
    with pytest.raises(ValueError, match="no level"):
        vertebra_name(0)


def test_discs_from_a_table() -> None:
    discs = read_discs({"disc": ["3", "5.0"], "x_mm": [0, 1], "y_mm": ["-2.5", 0], "z_mm": [20, -14], "comment": ["a", "b"]})
    assert sorted(discs) == [3, 5]
    np.testing.assert_array_equal(discs[3], [0, -2.5, 20])
    for table, said in (
        ({"disc": [3], "x": [0]}, "columns x_mm, y_mm, z_mm missing"),
        ({"disc": [3, 3], "x_mm": [0, 0], "y_mm": [0, 0], "z_mm": [0, 1]}, "disc 3 is there twice"),
        ({"disc": [3.5], "x_mm": [0], "y_mm": [0], "z_mm": [0]}, "3.5 is no disc number"),
        ({"disc": [3], "x_mm": ["n/a"], "y_mm": [0], "z_mm": [0]}, "x_mm n/a"),
        ({"disc": [], "x_mm": [], "y_mm": [], "z_mm": []}, "no disc"),
    ):
        with pytest.raises(CoSpineError, match=said) as caught:
            read_discs(table, "discs.tsv")
        assert caught.value.where == "discs.tsv"
        assert caught.value.remedy


def test_discs_from_an_image() -> None:
    grid = Grid((20, 30, 40), np.array([[-1.0, 0, 0, 5], [0, 2, 0, -30], [0, 0, 1.5, 7], [0, 0, 0, 1]]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[3, 4, 30] = 3
    labels[3, 4, 10:13] = 4
    labels[0, 0, 39] = 50  # pontomedullary junction in SCT's list: no disc
    discs = read_disc_image(labels, grid)
    assert sorted(discs) == [3, 4]
    np.testing.assert_allclose(discs[3], grid.to_ras(np.array([3, 4, 30])))
    np.testing.assert_allclose(discs[4], grid.to_ras(np.array([3, 4, 11])))
    labels[5:10, 5:10, :] = 6
    with pytest.raises(CoSpineError, match="levels instead of discs"):
        read_disc_image(labels, grid)


def test_given_discs_must_fit_the_cord(template: CordTemplate) -> None:
    discs = true_discs(template)
    grid = oblique((30, 60, 120))
    image = neck_image(discs, grid, 1.0, 0.05)
    cord = cord_of(grid, top_z=discs[1][2])
    with pytest.raises(CoSpineError, match="from the cord"):
        find_levels(image, grid, cord, template, given={4: discs[4] + [90.0, 0.0, 0.0]})
    with pytest.raises(CoSpineError, match="below disc 3"):
        find_levels(image, grid, cord, template, given={3: discs[4], 4: discs[3]})
