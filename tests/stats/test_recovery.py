"""Recovery against arithmetic that can be done by hand, and in the horns."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.space.cord_template import parametric_cord_template
from cospine.space.grid import Grid
from cospine.stats.cord_regions import cord_regions
from cospine.stats.recovery import Passage, passed, recovery
from cospine.stats.regions import Region, RegionSet

FINE = (0.5, 0.5, 0.5)


def test_a_wide_effect_comes_through_whole() -> None:
    shown = passed(np.ones((60, 60, 60)), FINE, Passage((1.5, 1.5, 4.0), (2.0, 2.0, 6.0)))
    assert shown[28:32, 28:32, 28:32] == pytest.approx(1, abs=2e-3)


def test_an_effect_as_large_as_a_voxel_and_in_it_is_kept_and_across_two_is_halved() -> None:
    effect = np.zeros((30, 30, 32))
    effect[15:18, 15:18, 16:24] = 1  # one voxel of 1.5 x 1.5 x 4 mm, at 7.5, 7.5, 8 mm
    aligned = passed(effect, FINE, Passage((1.5, 1.5, 4.0), interpolation="nearest"))
    assert aligned[effect > 0] == pytest.approx(1)
    halves = passed(effect, FINE, Passage((1.5, 1.5, 4.0), interpolation="nearest"), (0, 0, 0.5))
    assert halves[effect > 0] == pytest.approx(0.5)
    assert halves.sum() == pytest.approx(effect.sum())


def test_smoothing_alone_is_a_gaussian() -> None:
    from scipy.ndimage import gaussian_filter

    effect = np.zeros((40, 40, 40))
    effect[18:22, 18:22, 16:24] = 1
    shown = passed(effect, FINE, Passage(FINE, (2.0, 2.0, 6.0), "nearest"))
    sigma = np.array([2.0, 2.0, 6.0]) / 2.3548 / 0.5
    np.testing.assert_allclose(shown, gaussian_filter(effect, sigma, truncate=8, mode="constant"), atol=1e-3)


def test_smoothing_within_a_mask_neither_loses_nor_mixes() -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[15:25, 15:25] = True
    shown = passed(mask.astype(float), FINE, Passage(FINE, (2.0, 2.0, 6.0), "nearest"), within=mask)
    assert shown[mask] == pytest.approx(1)
    assert not shown[~mask].any()


def test_recovery_is_the_mean_over_positions() -> None:
    labels = np.zeros((30, 30, 40), np.int32)
    labels[12:15, 12:15, 16:24] = 1
    regions = RegionSet("PAM50", Grid(labels.shape, np.diag([0.5, 0.5, 0.5, 1])), labels, (Region(1, "a", "R", "dorsal"),))
    passage = Passage((1.5, 1.5, 4.0), interpolation="nearest")
    found = recovery(regions, passage, offsets=(0.0, 0.5))
    # along an axis: 1 where it lies on a voxel; across two of 3 fine voxels in plane the overlap is not even
    by_axis = []
    for n, size in ((3, 1.5), (3, 1.5), (8, 4.0)):
        per = []
        for offset in (0.0, 0.5):
            line = np.zeros(60)
            line[24 : 24 + n] = 1
            out = passed(line[:, None, None], FINE, Passage((size, 0.5, 0.5), interpolation="nearest"), (offset, 0, 0))
            per.append(out[24 : 24 + n].mean())
        by_axis.append(np.mean(per))
    assert found.share[0] == pytest.approx(np.prod(by_axis), rel=1e-6)
    assert found.sd[0] > 0


def test_horns_lose_what_was_measured_for_them() -> None:
    """METHODS: the dorsal horn keeps about 0.50 in voxels of 1.5 x 1.5 x 4 mm, 0.23 after 2 x 2 x 6 mm; the ventral more."""
    regions = cord_regions(parametric_cord_template())
    raw = recovery(regions, Passage((1.5, 1.5, 4.0)), together=("dorsal_R_spinal-C6",)).share[0]
    smooth = recovery(regions, Passage((1.5, 1.5, 4.0), (2.0, 2.0, 6.0)), together=("dorsal_R_spinal-C6",)).share[0]
    ventral = recovery(
        regions, Passage((1.5, 1.5, 4.0), (2.0, 2.0, 6.0)), together=("ventral_R_spinal-C7", "ventral_R_spinal-C8")
    )
    assert raw == pytest.approx(0.5, abs=0.1)
    assert smooth == pytest.approx(0.23, abs=0.05)
    assert ventral.share.min() > smooth
    assert set(ventral.table()["level_system"]) == {"spinal"}


@pytest.mark.parametrize(
    "bad",
    [
        {"voxel_mm": (0, 1, 1)},
        {"voxel_mm": (1, 1, 1), "smoothing_mm": (-1, 0, 0)},
        {"voxel_mm": (1, 1, 1), "interpolation": "sinc"},
    ],
)
def test_impossible_passages_are_refused(bad) -> None:
    with pytest.raises(CoSpineError, match="sizes"):
        Passage(**bad)
