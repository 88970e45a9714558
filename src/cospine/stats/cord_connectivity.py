"""Horns of the cord with each other, as resting-state studies of the cord tell it: dorsal with dorsal, ventral with ventral.

References
----------
Barry RL et al. (2014) Resting state functional connectivity in the human spinal cord. eLife 3:e02812.
Eippert F et al. (2017) Investigating resting-state functional connectivity in the cervical spinal cord at 3 T. NeuroImage
147:589-601.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PairKind = Literal["dorsal-dorsal", "ventral-ventral", "within-left", "within-right", "crossed"]

_PAIRS: dict[PairKind, tuple[tuple[str, str], ...]] = {
    "dorsal-dorsal": (("dorsal_L", "dorsal_R"),),
    "ventral-ventral": (("ventral_L", "ventral_R"),),
    "within-left": (("dorsal_L", "ventral_L"),),
    "within-right": (("dorsal_R", "ventral_R"),),
    "crossed": (("dorsal_L", "ventral_R"), ("dorsal_R", "ventral_L")),
}
_HORN = re.compile(r"(?:quadrant-)?(?P<horn>(?:dorsal|ventral)_[LR])_(?P<system>spinal|vertebral)-(?P<level>\w+)")


@dataclass(frozen=True, order=True)
class HornPair:
    """One kind of pair at one level.

    Parameters
    ----------
    kind : str
        ``dorsal-dorsal`` and ``ventral-ventral`` go from left to right, ``within-left`` and ``within-right`` from dorsal to
        ventral of a side; ``crossed`` is the mean of both diagonals.
    level_system : {'spinal', 'vertebral'}
    level : str
        ``all`` is the mean over levels.
    """

    kind: PairKind
    level_system: str
    level: str


def horn_pairs(names: Sequence[str], z: NDArray[np.floating]) -> dict[HornPair, float]:
    """Connectivity of the horns at each level, and its mean over levels.

    Horns of one level lie in the same slices, so that no pair of them is simultaneous with a partner elsewhere: all slices count.

    Parameters
    ----------
    names : sequence of str
        Regions, horns as `cospine.stats.cord_regions` names them; others are passed over.
    z : ndarray (n, n)
        Fisher's z of their correlations.

    Returns
    -------
    dict of HornPair to float
        Mean z, of those pairs that there are.
    """
    horns = {(m["system"], m["level"], m["horn"]): k for k, name in enumerate(names) if (m := _HORN.fullmatch(name))}
    found: dict[HornPair, float] = {}
    for kind, pairs in _PAIRS.items():
        over_levels: dict[str, list[float]] = {}
        for system, level in dict.fromkeys((system, level) for system, level, _ in horns):
            values = [
                float(z[horns[system, level, a], horns[system, level, b]])
                for a, b in pairs
                if (system, level, a) in horns and (system, level, b) in horns
            ]
            values = [value for value in values if np.isfinite(value)]
            if values:
                found[HornPair(kind, system, level)] = float(np.mean(values))
                over_levels.setdefault(system, []).append(float(np.mean(values)))
        for system, values in over_levels.items():
            found[HornPair(kind, system, "all")] = float(np.mean(values))
    return found
