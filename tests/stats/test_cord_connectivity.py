"""Pairs of horns, level by level."""

import numpy as np
import pytest

from cospine.stats.cord_connectivity import HornPair, horn_pairs
from cospine.stats.coupling import coupling, fisher_z
from cospine.stats.regional_series import RegionSeries
from cospine.stats.regions import Region


def horns(t: int = 4000, prefix: str = "") -> list[RegionSeries]:
    """Two levels; dorsal horns share a course at C6, ventral ones do at C7."""
    rng = np.random.default_rng(0)
    found = []
    for level in (6, 7):
        shared = {"dorsal": rng.standard_normal(t) * (level == 6), "ventral": rng.standard_normal(t) * (level == 7)}
        for part in ("dorsal", "ventral"):
            for side in ("L", "R"):
                region = Region(len(found) + 1, f"{prefix}{part}_{side}_spinal-C{level}", side, prefix + part, "spinal", level)
                values = (shared[part] + rng.standard_normal(t))[:, None]
                found.append(RegionSeries(region, values, np.array([level]), np.array([4])))
    return found


def pairs_of(series: list[RegionSeries]) -> dict[HornPair, float]:
    found = coupling(series)
    return horn_pairs([one.name for one in found.a], fisher_z(found.r))


@pytest.mark.parametrize("prefix", ["", "quadrant-"])
def test_pairs_are_found_at_their_level(prefix: str) -> None:
    found = {(pair.kind, pair.level): np.tanh(z) for pair, z in pairs_of(horns(prefix=prefix)).items() if pair.level != "all"}
    assert len(found) == 10
    assert found["dorsal-dorsal", "C6"] == pytest.approx(0.5, abs=0.05)
    assert found["ventral-ventral", "C7"] == pytest.approx(0.5, abs=0.05)
    for rest in set(found) - {("dorsal-dorsal", "C6"), ("ventral-ventral", "C7")}:
        assert found[rest] == pytest.approx(0, abs=0.06)


def test_the_mean_over_levels_is_of_those_there_are() -> None:
    found = pairs_of(horns())
    levels = [found[HornPair("dorsal-dorsal", "spinal", level)] for level in ("C6", "C7")]
    assert found[HornPair("dorsal-dorsal", "spinal", "all")] == pytest.approx(np.mean(levels))
    fewer = pairs_of([one for one in horns() if one.region.name != "dorsal_L_spinal-C7"])
    assert HornPair("dorsal-dorsal", "spinal", "C7") not in fewer
    assert fewer[HornPair("dorsal-dorsal", "spinal", "all")] == pytest.approx(levels[0])
    crossed = fewer[HornPair("crossed", "spinal", "C7")]  # the one diagonal that is left
    assert np.isfinite(crossed)


def test_one_horn_alone_and_other_regions_are_no_pair() -> None:
    assert horn_pairs(["dorsal_L_spinal-C6", "anterior_insula_L"], np.ones((2, 2))) == {}
