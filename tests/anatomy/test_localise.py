"""The way from an image to a centre line: averaging to 3 mm, the path that may not jump, the smooth line, the foramen."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from cospine.anatomy import network
from cospine.anatomy.localise import CEREBELLUM_BRAINSTEM, CORD, Head, Line, best_path, coarse_image, find_head, trace_centre_line
from cospine.space.grid import Grid

PIXEL = np.array([3.0, 3.0])


def tube(levels: int = 30, shape: tuple[int, int] = (24, 24), sway: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Evidence of 0.9 about a line that sways, and the line's row and column at each level."""
    k = np.arange(levels)
    line = np.column_stack([12 + sway * np.sin(k / 9), 11 + k / 12])
    rows, columns = np.indices(shape)
    off = np.hypot(rows[None] - line[:, 0, None, None], columns[None] - line[:, 1, None, None])
    return (0.9 * (off < 1.5)).astype(np.float32), line


def test_the_path_follows_a_line_that_sways_through_noise() -> None:
    evidence, line = tube()
    noisy = np.clip(evidence + 0.3 * np.random.default_rng(0).random(evidence.shape), 0, 1).astype(np.float32)
    first, path = best_path(noisy, PIXEL, 3.0)
    assert first == 0
    assert len(path) == len(line)
    assert np.abs(path - line).max() <= 2.0
    assert np.abs(np.diff(path, axis=0)).max() <= 1


def test_the_path_does_not_jump_to_something_brighter() -> None:
    evidence, line = tube(sway=0.0)
    evidence[10:14, 2:4, 2:4] = 1.0
    evidence[16:19, 20:23, 20:23] = 1.0
    _, path = best_path(evidence, PIXEL, 3.0)
    assert np.abs(path - line).max() <= 2.0


def test_the_path_begins_and_ends_where_the_evidence_does() -> None:
    evidence, _ = tube()
    evidence[:5] = 0
    evidence[22:] = 0
    first, path = best_path(evidence, PIXEL, 3.0)
    assert (first, len(path)) == (5, 17)
    # a gap is crossed, for the cord goes on below it
    evidence[12:15] = 0
    first, path = best_path(evidence, PIXEL, 3.0)
    assert (first, len(path)) == (5, 17)
    assert len(best_path(np.full((5, 4, 4), 0.1, dtype=np.float32), PIXEL, 3.0)[1]) == 0


def test_a_line_is_a_line_between_and_beyond_its_points() -> None:
    height = np.concatenate([np.arange(0, 30, 3.0), np.arange(60, 90, 3.0)])
    position = np.column_stack([2 + 0.2 * height, 5 - 0.1 * height])
    asked = np.array([-10.0, 0.0, 15.0, 45.0, 88.0, 95.0])
    found = Line(height, position, np.ones(len(height)), 5.0).at(asked)
    np.testing.assert_allclose(found, np.column_stack([2 + 0.2 * asked, 5 - 0.1 * asked]), atol=0.45)
    np.testing.assert_allclose(found[2], [5.0, 3.5], atol=0.05)
    alone = Line(np.array([3.0]), np.array([[1.0, 2.0]]), np.ones(1), 5.0).at(np.array([-50.0, 3.0, 60.0]))
    np.testing.assert_allclose(alone, [[1.0, 2.0]] * 3)


def test_an_outlier_with_no_weight_does_not_bend_the_line() -> None:
    height = np.arange(0, 60, 3.0)
    position = np.zeros((20, 2))
    position[7] = 30.0
    weight = np.ones(20)
    weight[7] = 0.0
    np.testing.assert_allclose(Line(height, position, weight, 5.0).at(height), 0, atol=1e-9)


@pytest.mark.parametrize("size", [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (1.5, 1.5, 4.0), (4.0, 1.0, 2.0)])
def test_the_average_to_3_mm_keeps_places_and_amounts_in_every_orientation(size: tuple[float, ...]) -> None:
    shape = tuple(int(60 / s) for s in size)
    points = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, size, strict=True)]
    x, y, z = np.meshgrid(*points, indexing="ij")
    true = np.array([4.0, -6.0, 5.0])
    image = np.exp(-0.5 * (((x - true[0]) ** 2 + (y - true[1]) ** 2 + (z - true[2]) ** 2) / 7.0**2)).astype(np.float32)
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = [p[0] for p in points]
    for codes in ("RAS", "LPI", "PSR", "ASL", "SRA"):
        ornt = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes)))
        turned = nib.orientations.apply_orientation(image, ornt)
        grid = Grid(turned.shape, affine @ nib.orientations.inv_ornt_aff(ornt, shape))
        coarse, values, in_view = coarse_image(turned, grid)
        assert coarse.axis_codes == ("R", "A", "S")
        assert in_view.all()
        index = np.argwhere(np.ones(coarse.shape, dtype=bool))
        centre = (coarse.to_ras(index) * values.ravel()[:, None]).sum(axis=0) / values.sum()
        np.testing.assert_allclose(centre, true, atol=0.35)
        assert values.sum() * 27 == pytest.approx(image.sum() * np.prod(size), rel=0.03)


def test_what_an_oblique_image_does_not_show_is_out_of_view() -> None:
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(0, 0.0, np.radians(40)), [0, 0, 0])
    grid = Grid((40, 40, 20), turn @ np.diag([3.0, 3.0, 3.0, 1.0]))
    coarse, values, in_view = coarse_image(np.full(grid.shape, 5.0), grid)
    share = in_view.mean()
    assert share == pytest.approx(40 * 40 * 20 / np.prod(coarse.shape), rel=0.05)
    assert (values[in_view] == 5).all()
    assert (values[~in_view] == 0).all()


def test_brainstem_becomes_cord_where_the_classes_change(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, border = (24, 24, 50), 30

    def labelled(volume: np.ndarray) -> np.ndarray:
        result = np.zeros((5, *volume.shape), dtype=np.float32)
        x, y, z = np.indices(volume.shape)
        stem = (np.hypot(x - 12, y - 12 - (z - border) / 6) < 5) & (z >= border)
        cord = (np.hypot(x - 12, y - 12) < 2.5) & (z < border) & (z > 3)
        result[CEREBELLUM_BRAINSTEM][stem], result[CORD][cord] = 1, 1
        result[0] = 1 - result.sum(axis=0)
        return result

    monkeypatch.setattr(network, "run_head", labelled)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    head = find_head(np.random.default_rng(0).random(shape), Grid(shape, affine))
    assert isinstance(head, Head)
    assert head.foramen_mm is not None
    np.testing.assert_allclose(head.foramen_mm, [36, 36, (border - 0.5) * 3], atol=2.0)
    line = trace_centre_line(head.probability, head.grid)
    assert line is not None
    assert (np.diff(line[:, 2]) < 0).all()  # top to bottom
    np.testing.assert_allclose(line[:, :2], 36, atol=1.0)
    assert head.brain_bottom_mm == pytest.approx(border * 3)


def test_every_axis_order_and_flip_gives_the_same_average() -> None:
    rng = np.random.default_rng(4)
    image = rng.random((12, 18, 15)).astype(np.float32)
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    reference = coarse_image(image, Grid(image.shape, affine))[1]
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            ornt = np.array(list(zip(order, flips, strict=True)))
            turned = nib.orientations.apply_orientation(image, ornt)
            grid = Grid(turned.shape, affine @ nib.orientations.inv_ornt_aff(ornt, image.shape))
            np.testing.assert_allclose(coarse_image(turned, grid)[1], reference, atol=0.35)
            assert coarse_image(turned, grid)[1].mean() == pytest.approx(reference.mean(), rel=0.02)
