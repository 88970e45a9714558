"""Region means, laterality and peaks on maps whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.space.grid import Grid
from cospine.stats.regions import Region, RegionSet, laterality, level_name, peak_level, region_means

GRID = Grid((6, 4, 3), np.diag([2.0, 2.0, 4.0, 1.0]))


def horns() -> RegionSet:
    """Dorsal right at spinal C5, C6, C7: a slice each, two columns wide; and one on the left at C6."""
    labels = np.zeros(GRID.shape, np.int32)
    regions = []
    for k, level in enumerate((5, 6, 7)):
        labels[:2, :, k] = k + 1
        regions.append(Region(k + 1, f"dorsal_R_spinal-C{level}", "R", "dorsal", "spinal", level))
    labels[4:, :, 1] = 4
    regions.append(Region(4, "dorsal_L_spinal-C6", "L", "dorsal", "spinal", 6))
    return RegionSet("PAM50", GRID, labels, tuple(regions))


def test_means_are_over_covered_voxels_and_none_where_too_few_are() -> None:
    regions = horns()
    values = np.array([1.0, 5.0, 3.0, 2.0])
    one = np.concatenate([[0.0], values])[regions.labels]
    coverage = np.ones((2, *GRID.shape), bool)
    coverage[1, 0, 0, 0] = False  # 1 of 8 voxels of the first
    coverage[1, :2, :2, 1] = False  # half of the second
    maps = np.stack([one, np.where(coverage[1], one, 0)])
    found = region_means(maps, regions, coverage)
    np.testing.assert_allclose(found.values[0], values)
    np.testing.assert_allclose(found.values[1], [1.0, np.nan, 3.0, 2.0])
    np.testing.assert_allclose(found.share[1], [7 / 8, 0.5, 1, 1])
    assert found.voxels.tolist() == [8, 8, 8, 8]


def test_voxels_that_are_not_finite_are_not_covered() -> None:
    regions = horns()
    one = np.ones(GRID.shape)
    one[0, 0, 0] = np.nan
    one[:2, :, 2] = np.inf
    found = region_means(one, regions)
    np.testing.assert_allclose(found.values[0], [1, 1, np.nan, 1])


def test_every_row_of_every_table_names_its_level_system() -> None:
    regions = horns()
    for table in (regions.table(), region_means(np.ones((2, *GRID.shape)), regions).table(["sub-01", "sub-02"])):
        assert set(table["level_system"]) == {"spinal"}
        assert len({len(column) for column in table.values()}) == 1
    assert regions.table()["level"] == ["C5", "C6", "C7", "C6"]
    assert regions.table()["volume_mm3"] == ["128"] * 4


def test_laterality_is_bounded_and_tells_the_side() -> None:
    found = laterality(np.array([2.0, 0.0, 1.0, 1.0, 0.0, np.nan]), np.array([0.0, 3.0, 1.0, -1.0, 0.0, 1.0]))
    np.testing.assert_allclose(found.index, [1, -1, 0, 1, np.nan, np.nan])
    np.testing.assert_allclose(found.difference, [2, -3, 0, 2, 0, np.nan])


def test_peak_tells_one_level_on_either_side() -> None:
    regions = horns()
    maps = np.concatenate([[0.0], [1.0, 5.0, 3.0, 9.0]])[regions.labels]
    peak = peak_level(region_means(maps, regions), "dorsal", "R", "spinal")
    assert (peak.level, peak.lower, peak.upper, peak.value) == ("C6", "C7", "C5", 5.0)
    assert peak.level_system == "spinal"
    # at the end of what is there
    end = peak_level(
        region_means(np.concatenate([[0.0], [1.0, 2.0, 3.0, 9.0]])[regions.labels], regions), "dorsal", "R", "spinal"
    )
    assert (end.level, end.lower, end.upper) == ("C7", "C7", "C6")


def test_peak_never_comes_from_a_level_that_is_not_covered() -> None:
    regions = horns()
    maps = np.concatenate([[0.0], [1.0, 5.0, 3.0, 9.0]])[regions.labels]
    coverage = np.ones(GRID.shape, bool)
    coverage[..., 1] = False
    means = region_means(maps, regions, coverage)
    peak = peak_level(means, "dorsal", "R", "spinal")
    assert (peak.level, dict(peak.levels)) == ("C7", {"C5": 1.0, "C7": 3.0})
    with pytest.raises(CoSpineError, match="covered"):
        peak_level(means, "dorsal", "L", "spinal")
    with pytest.raises(CoSpineError, match="covered"):
        peak_level(means, "dorsal", "R", "vertebral")


def test_levels_are_named_in_their_own_system() -> None:
    assert (level_name(8, "spinal"), level_name(8, "vertebral")) == ("C8", "T1")
    with pytest.raises(CoSpineError):
        level_name(6, "cervical")


def test_bad_sets_and_maps_are_refused() -> None:
    regions = horns()
    with pytest.raises(CoSpineError, match="name"):
        replace(regions, regions=(regions.regions[0], regions.regions[0]))
    with pytest.raises(CoSpineError, match="grid"):
        region_means(np.ones((6, 4, 2)), regions)
    with pytest.raises(CoSpineError, match="dorsal_R_spinal-C6"):
        regions.mask("dorsal_R_C6")
    assert regions.mask("dorsal_L_spinal-C6").sum() == 8
