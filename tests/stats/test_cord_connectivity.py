"""Pairs of horns, level by level."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.cord_connectivity import horn_pairs, horn_table
from cospine.stats.coupling import coupling
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
                region = Region(len(found) + 1, f"{part}_{side}_spinal-C{level}", side, prefix + part, "spinal", level)
                values = (shared[part] + rng.standard_normal(t))[:, None]
                found.append(RegionSeries(region, values, np.array([level]), np.array([4])))
    return found


@pytest.mark.parametrize("prefix", ["", "quadrant-"])
def test_pairs_are_found_at_their_level(prefix) -> None:
    found = {(pair.kind, pair.level): np.tanh(pair.z) for pair in horn_pairs(coupling(horns(prefix=prefix)))}
    assert len(found) == 10
    assert found["dorsal-dorsal", "C6"] == pytest.approx(0.5, abs=0.05)
    assert found["ventral-ventral", "C7"] == pytest.approx(0.5, abs=0.05)
    for rest in set(found) - {("dorsal-dorsal", "C6"), ("ventral-ventral", "C7")}:
        assert found[rest] == pytest.approx(0, abs=0.06)


def test_table_names_the_system_and_has_means_over_levels() -> None:
    pairs = horn_pairs(coupling(horns()))
    table = horn_table(pairs)
    assert set(table["level_system"]) == {"spinal"}
    assert table["level"].count("all") == 5
    k = next(k for k in range(len(table["pair"])) if (table["pair"][k], table["level"][k]) == ("dorsal-dorsal", "all"))
    assert float(table["z"][k]) == pytest.approx(np.mean([pair.z for pair in pairs if pair.kind == "dorsal-dorsal"]), abs=1e-4)


def test_one_horn_alone_is_no_pair() -> None:
    with pytest.raises(CoSpineError, match="two horns"):
        horn_pairs(coupling(horns()[:1]))
