"""Spheres with their sources, and atlases of every kind of quality."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.space.grid import Grid
from cospine.space.templates import brain_template
from cospine.stats.brain_regions import atlas_regions, brain_spheres, on_grid, read_label_names, sphere_table

CUBE = Grid((10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0]))


def test_every_sphere_has_a_source_and_says_how_exact_it_is() -> None:
    table = sphere_table()
    assert all(cell.startswith("10.") for cell in table["doi"])
    assert all(any(year in cell for year in ("2006", "2009", "2012", "2013", "2020")) for cell in table["source"])
    assert set(table["exactness"]) <= {"reported", "approximate"}
    assert set(table["tasks"]) == {"pain", "motor"}
    for name, side, x in zip(table["name"], table["side"], table["x_mm"], strict=True):
        assert {"L": -1, "R": 1, "midline": 0}[side] == np.sign(float(x)) or (side == "midline" and abs(float(x)) <= 4), name


def test_spheres_are_where_the_table_says() -> None:
    template = brain_template(2)
    regions = brain_spheres(template.grid, mask=template.mask)
    table = sphere_table()
    assert len(regions.regions) == len(table["name"])
    assert not regions.notes
    for k, region in enumerate(regions.regions):
        points = template.grid.to_ras(np.argwhere(regions.labels == region.number))
        centre = np.array([float(table[f"{axis}_mm"][k]) for axis in "xyz"])
        assert np.linalg.norm(points - centre, axis=1).max() <= float(table["radius_mm"][k]) + 1e-9
        # beside another sphere or the edge of the brain it is not whole
        assert np.linalg.norm(points.mean(axis=0) - centre) < 3, region.name
        assert region.level_system == "none"


def test_tasks_are_chosen_and_others_refused() -> None:
    regions = brain_spheres(brain_template(2).grid, tasks=["motor"])
    assert "SMA" in regions.names
    assert "PAG" not in regions.names
    with pytest.raises(CoSpineError):
        brain_spheres(brain_template(2).grid, tasks=["memory"])
    with pytest.raises(CoSpineError, match="no region"):
        brain_spheres(Grid((4, 4, 4), np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 500.0]] + [[0] * 4] * 3)))


def test_an_atlas_brings_labels_names_and_sides(tmp_path) -> None:
    labels = np.zeros(CUBE.shape)
    labels[:5], labels[5:, :5], labels[5:, 5:] = 3, 7, 11
    path = tmp_path / "atlas.tsv"
    path.write_bytes(b"\xef\xbb\xbfindex\tname\r\n3\tPrecentral_L\r\n7\tRight-Thalamus\r\n12\tGhost\r\n")
    regions = atlas_regions(labels, CUBE, read_label_names(path), space="MNI152NLin2009aSym", source="atlas.nii.gz")
    assert regions.names == ("Precentral_L", "Right-Thalamus", "label-11")
    assert [region.side for region in regions.regions] == ["L", "R", "midline"]
    assert "Ghost" in regions.notes[0]
    assert set(regions.table()["level_system"]) == {"none"}


def test_an_atlas_comes_to_another_grid_by_nearest_voxel() -> None:
    labels = np.zeros(CUBE.shape, int)
    labels[:5], labels[9, 9, 9] = 1, 2
    regions = atlas_regions(labels, CUBE, {1: "left half", 2: "corner"}, space="MNI")
    fine = Grid((16, 8, 8), np.diag([1.0, 1.0, 1.0, 1.0]))
    found = on_grid(regions, fine)
    assert found.names == ("left half",)
    assert "corner" in found.notes[-1]
    x = fine.to_ras(np.argwhere(found.labels == 1))[:, 0]
    assert (x.min(), x.max()) == (0, 9)


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (np.full((10, 10, 10), 0.4), "fractions"),
        (np.full((10, 10, 10), -1), "negative"),
        (np.zeros((10, 10, 10)), "no region"),
        (np.zeros((10, 10, 10, 3)), "one volume"),
        (np.arange(1000).reshape(10, 10, 10) * 6 + np.zeros((10, 10, 10)), None),
    ],
)
def test_images_that_hold_no_labels_are_refused(image, what) -> None:
    if what is None:
        assert len(atlas_regions(image, CUBE, space="MNI").regions) == 999
        return
    with pytest.raises(CoSpineError, match=what):
        atlas_regions(image, CUBE, space="MNI")


@pytest.mark.parametrize("text", ["a\tb\n1\tx\n", "index\tname\none\tx\n", "index\tname\n1\tx\n1\ty\n", ""])
def test_tables_that_name_nothing_are_refused(tmp_path, text) -> None:
    path = tmp_path / "names.tsv"
    path.write_text(text)
    with pytest.raises(CoSpineError, match=r"names\.tsv"):
        read_label_names(path)
