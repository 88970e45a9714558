"""Horns lie where anatomy says, in the level system that they name."""

from dataclasses import replace

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.space.cord_template import parametric_cord_template
from cospine.space.templates import cord_template
from cospine.stats.cord_regions import cord_regions


@pytest.fixture(scope="module")
def template():
    return parametric_cord_template()


def middle(template, mask) -> np.ndarray:
    """Mean place (RAS mm) of a mask, y against the cord's middle line."""
    points = template.grid.to_ras(np.argwhere(mask))
    order = np.argsort(template.centre_line[:, 2])
    points[:, 1] -= np.interp(points[:, 2], template.centre_line[order, 2], template.centre_line[order, 1])
    return points.mean(axis=0)


def test_sides_parts_and_levels_are_in_their_places(template) -> None:
    regions = cord_regions(template)
    right, left = (middle(template, regions.mask(f"dorsal_{side}_spinal-C6")) for side in "RL")
    ventral = middle(template, regions.mask("ventral_R_spinal-C6"))
    assert right[0] > 1
    assert left[0] < -1
    assert right[1] < -0.2
    assert ventral[1] > 0.4
    assert -152.5 < right[2] < -136.5  # METHODS: spinal segment C6 is at z -152..-137 mm


def test_spinal_and_vertebral_c6_are_two_places(template) -> None:
    spinal = middle(template, cord_regions(template, "spinal").mask("dorsal_R_spinal-C6"))
    vertebral = middle(template, cord_regions(template, "vertebral").mask("dorsal_R_vertebral-C6"))
    assert spinal[2] - vertebral[2] == pytest.approx(24.5, abs=1)


def test_both_sides_are_mirror_images_of_one_size(template) -> None:
    for outline in ("grey", "quadrant", "hemicord"):
        regions = cord_regions(template, outline=outline)
        sizes = {region.name: int((regions.labels == region.number).sum()) for region in regions.regions}
        for name, size in sizes.items():
            assert size == pytest.approx(sizes[name.replace("_R_", "_L_")], rel=0.01, abs=2)


def test_every_region_names_its_level_system(template) -> None:
    for system in ("spinal", "vertebral"):
        regions = cord_regions(template, system)
        assert {region.level_system for region in regions.regions} == {system}
        assert all(f"_{system}-{region.level_label}" in region.name for region in regions.regions)
        assert all(system in region.source for region in regions.regions)


def test_horns_are_grey_matter_and_small(template) -> None:
    regions = cord_regions(template)
    assert template.grey[regions.labels > 0].min() >= 0.5
    dorsal, ventral = (regions.mask(f"{part}_R_spinal-C7").sum() * 0.125 / 15.5 for part in ("dorsal", "ventral"))
    assert 1.5 < dorsal < 4  # mm² in a slice
    assert dorsal < ventral < 7


def test_without_grey_matter_quadrants_stand_in_and_say_so(template) -> None:
    bare = replace(template, grey=np.zeros_like(template.grey))
    regions = cord_regions(bare)
    assert regions.notes
    assert "no grey matter" in regions.notes[0]
    assert {region.part for region in regions.regions} == {"quadrant-dorsal", "quadrant-ventral"}
    back = middle(template, regions.mask("quadrant-dorsal_L_spinal-C7"))
    assert back[0] < -1
    assert back[1] < -1


def test_halves_hold_all_of_the_cord_but_the_midline(template) -> None:
    regions = cord_regions(template, outline="hemicord")
    cord = (template.cord >= 0.5) & (template.spinal > 0)
    share = np.count_nonzero(regions.labels) / np.count_nonzero(cord)
    assert 0.8 < share < 0.95


def test_other_systems_are_refused(template) -> None:
    with pytest.raises(CoSpineError, match="spinal or vertebral"):
        cord_regions(template, "none")


@pytest.mark.shared
def test_horns_of_pam50_itself(shared) -> None:
    template = cord_template(shared / "templates" / "PAM50", offline=True)
    regions = cord_regions(template)
    assert template.name == "PAM50"
    assert len(regions.regions) == 40
    right = middle(template, regions.mask("dorsal_R_spinal-C6"))
    assert right[0] > 1
    assert right[1] < -0.2
    assert -152.5 < right[2] < -136.5
