"""Views of stored arrays against nibabel, over every orientation that an image can have."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from cospine.quality import sections

ORIENTATIONS = [(order, flips) for order in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)]


def _affine(order: tuple[int, ...], flips: tuple[int, ...]) -> np.ndarray:
    """Voxel axis a runs along world axis order[a], tilted by a few degrees."""
    linear = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(zip(order, flips, strict=True)):
        linear[world, axis] = sign * (1.5, 2.0, 4.0)[axis]
    tilt = np.deg2rad(7.0)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ linear
    affine[:3, 3] = [3, -20, 11]
    return affine


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_view_is_nibabels_closest_canonical(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    stored = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    affine = _affine(order, flips)
    view = sections.view_of(affine, stored.shape)
    canonical = nib.as_closest_canonical(nib.Nifti1Image(stored, affine))
    np.testing.assert_array_equal(view.turned(stored), canonical.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(view.affine, canonical.affine)
    np.testing.assert_allclose(view.spacing_mm, nib.affines.voxel_sizes(canonical.affine))
    turned_index = 2
    letter, index = view.stored_slice(turned_index)
    np.testing.assert_array_equal(
        np.sort(np.take(stored, index, axis="ijk".index(letter)), axis=None),
        np.sort(view.turned(stored)[:, :, turned_index], axis=None),
    )


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_anatomical_direction_agrees_with_nibabels_letters(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    affine = _affine(order, flips)
    for axis, letter in enumerate(nib.aff2axcodes(affine)):
        _, end, sign = sections.anatomical_direction(affine, axis)
        assert end[0].upper() in "RAS"
        assert (end[0].upper() == letter) == (sign > 0)


def test_tile_shows_left_on_the_left_and_front_on_top() -> None:
    volume = np.zeros((21, 21, 3), np.float32)
    volume[5, 10, 1] = 1.0
    volume[10, 16, 1] = 2.0
    tile = sections.axial_tile(volume, 1, np.array([10.0, 10.0]), np.array([1.0, 1.0, 1.0]), 10.5, 21, order=0)
    assert tile[10, 5] == 1.0
    assert tile[4, 10] == 2.0


def test_strips_show_top_above_and_front_or_right_on_the_right() -> None:
    volume = np.zeros((9, 11, 7), np.float32)
    volume[4, 9, 6] = 1.0
    volume[7, 5, 0] = 2.0
    centres = np.tile([4.0, 5.0], (7, 1))
    sagittal = sections.curved_sagittal(volume, centres)
    assert sagittal.shape == (7, 11)
    assert sagittal[0, 9] == 1.0
    coronal = sections.curved_coronal(volume, centres)
    assert coronal.shape == (7, 9)
    assert coronal[6, 7] == 2.0


def test_strip_follows_a_leaning_cord() -> None:
    volume = np.zeros((20, 9, 12), np.float32)
    mask = np.zeros(volume.shape, bool)
    for s in range(12):
        mask[s + 3 : s + 6, 3:6, s] = True
    volume[mask] = 1.0
    slices, centres = sections.cord_path(mask)
    assert list(slices) == list(range(11, -1, -1))
    np.testing.assert_allclose(centres[3:9, 0], np.arange(3, 9) + 4.0, atol=1e-3)
    assert (sections.curved_sagittal(volume, centres)[:, 4] == 1.0).all()


def test_centre_line_stays_constant_beyond_the_cord() -> None:
    mask = np.zeros((9, 9, 30), bool)
    mask[3:6, 4:7, 10:14] = True
    _, centres = sections.cord_path(mask)
    np.testing.assert_allclose(centres, np.tile([4.0, 5.0], (30, 1)))


def test_outline_of_a_voxel_is_its_four_edges() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    edges = sections.outline(mask, left=10.0, top=20.0, step_x=2.0, step_y=3.0)
    drawn = {tuple(sorted(map(tuple, edge))) for edge in edges}
    assert drawn == {
        ((14.0, 23.0), (14.0, 26.0)),
        ((16.0, 23.0), (16.0, 26.0)),
        ((14.0, 23.0), (16.0, 23.0)),
        ((14.0, 26.0), (16.0, 26.0)),
    }


def test_outline_of_a_full_mask_runs_along_the_border() -> None:
    edges = sections.outline(np.ones((3, 4), bool), 0, 0, 1, 1)
    assert len(edges) == 2 * (3 + 4)


def test_tile_outline_encloses_what_the_tile_shows() -> None:
    mask = np.zeros((21, 25, 2), bool)
    mask[9:12, 10:14, 1] = True
    spacing = np.array([1.5, 2.0, 4.0])
    centre = np.array([10.0, 11.0])
    edges = sections.tile_outline(mask, 1, centre, spacing, 30.0)
    tile = sections.axial_tile(mask, 1, centre, spacing, 15.0, 600, order=0)
    rows, columns = np.nonzero(tile)
    bounds = np.array([columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]) / 600
    drawn = [edges[..., 0].min(), edges[..., 0].max(), edges[..., 1].min(), edges[..., 1].max()]
    np.testing.assert_allclose(bounds, drawn, atol=2.5 / 600)
