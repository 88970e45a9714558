"""Horns of the cord with each other, as resting-state studies of the cord tell it: dorsal with dorsal, ventral with ventral.

References
----------
Barry RL et al. (2014) Resting state functional connectivity in the human spinal cord. eLife 3:e02812.
Eippert F et al. (2017) Investigating resting-state functional connectivity in the cervical spinal cord at 3 T. NeuroImage
147:589-601.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cospine.errors import CoSpineError
from cospine.stats.coupling import Coupling, fisher_z
from cospine.stats.regions import Region

PairKind = Literal["dorsal-dorsal", "ventral-ventral", "within-left", "within-right", "crossed"]
KINDS: tuple[PairKind, ...] = ("dorsal-dorsal", "ventral-ventral", "within-left", "within-right", "crossed")


@dataclass(frozen=True)
class HornPair:
    """One kind of pair at one level.

    Parameters
    ----------
    kind : str
        ``dorsal-dorsal`` and ``ventral-ventral`` go from left to right, ``within-left`` and ``within-right`` from dorsal to
        ventral of a side; ``crossed`` is the mean of both diagonals.
    level_system : str
    level : str
    z : float
        Fisher's z (mean of two for ``crossed``).
    """

    kind: PairKind
    level_system: str
    level: str
    z: float


def horn_pairs(coupling: Coupling) -> tuple[HornPair, ...]:
    """Connectivity of the horns at each level.

    Horns of one level lie in the same slices, so that no pair of them is simultaneous with a partner elsewhere: all slices count.

    Parameters
    ----------
    coupling : Coupling
        Square, with horns from `cord_regions`; other regions are passed over.

    Returns
    -------
    tuple of HornPair
        By level and kind, those that there are.

    Raises
    ------
    CoSpineError
        No level has two horns.
    """
    places = {_place(region): k for k, region in enumerate(coupling.a) if _horn(region)}
    across = {_place(region): k for k, region in enumerate(coupling.b) if _horn(region)}
    found = []
    for system, level, label in sorted({(r.level_system, r.level, r.level_label) for r in coupling.a if _horn(r)}):
        for kind in KINDS:
            values = [
                float(fisher_z(coupling.r[places[(system, level, *one)], across[(system, level, *other)]]))
                for one, other in _PAIRS[kind]
                if (system, level, *one) in places and (system, level, *other) in across
            ]
            if values:
                found.append(HornPair(kind, system, label, float(np.mean(values))))
    if not found:
        raise CoSpineError("no level has two horns", "connectivity of the cord", "Give horns of both sides, from cord_regions")
    return tuple(found)


def horn_table(pairs: tuple[HornPair, ...]) -> dict[str, list[str]]:
    """Columns of a table, and a line a kind for the mean over levels."""
    systems = sorted({pair.level_system for pair in pairs})
    means = [
        HornPair(kind, system, "all", float(np.mean(values)))
        for system in systems
        for kind in KINDS
        if (values := [pair.z for pair in pairs if (pair.kind, pair.level_system) == (kind, system) and np.isfinite(pair.z)])
    ]
    rows = [*pairs, *means]
    return {
        "pair": [pair.kind for pair in rows],
        "level_system": [pair.level_system for pair in rows],
        "level": [pair.level for pair in rows],
        "z": [f"{pair.z:.5f}" if np.isfinite(pair.z) else "n/a" for pair in rows],
        "r": [f"{np.tanh(pair.z):.5f}" if np.isfinite(pair.z) else "n/a" for pair in rows],
    }


_PAIRS: dict[PairKind, tuple[tuple[tuple[str, str], tuple[str, str]], ...]] = {
    "dorsal-dorsal": ((("dorsal", "L"), ("dorsal", "R")),),
    "ventral-ventral": ((("ventral", "L"), ("ventral", "R")),),
    "within-left": ((("dorsal", "L"), ("ventral", "L")),),
    "within-right": ((("dorsal", "R"), ("ventral", "R")),),
    "crossed": ((("dorsal", "L"), ("ventral", "R")), (("dorsal", "R"), ("ventral", "L"))),
}


def _horn(region: Region) -> bool:
    return bool(region.level) and region.part.removeprefix("quadrant-") in ("dorsal", "ventral")


def _place(region: Region) -> tuple[str, int, str, str]:
    return (region.level_system, region.level, region.part.removeprefix("quadrant-"), region.side)
