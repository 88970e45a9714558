"""Runs of one person combined: fixed effects.

References
----------
Beckmann CF, Jenkinson M, Smith SM (2003) General multilevel linear modeling for group analysis in FMRI. NeuroImage 20:1052-1063.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.stats.tails import z_from_t


@dataclass(frozen=True, eq=False)
class FixedEffects:
    """Effects over runs.

    Parameters
    ----------
    effect, variance, t, z : ndarray, of the shape of one run's effects
        In the unit of the runs' effects and its square.
    dof : float
        Sum of those of the runs.
    """

    effect: NDArray[np.float64] = field(repr=False)
    variance: NDArray[np.float64] = field(repr=False)
    t: NDArray[np.float64] = field(repr=False)
    z: NDArray[np.float64] = field(repr=False)
    dof: float


def fixed_effects(effects: NDArray[np.floating], variances: NDArray[np.floating], dofs: Sequence[float]) -> FixedEffects:
    """Combine runs, each weighted by the precision of its effect.

    Parameters
    ----------
    effects, variances : ndarray (runs, ..)
        Of one contrast; variances above 0.
    dofs : sequence of float (runs,)
        Degrees of freedom of the variances.

    Returns
    -------
    FixedEffects

    Raises
    ------
    CoSpineError
        Shapes that do not fit each other, or variances that are none.
    """
    effects, variances = np.asarray(effects, np.float64), np.asarray(variances, np.float64)
    if effects.shape != variances.shape or len(dofs) != len(effects) or not (variances > 0).all():
        raise CoSpineError(
            f"effects {effects.shape}, variances {variances.shape} and {len(dofs)} degrees of freedom do not go together, or a "
            "variance is not above 0",
            "fixed effects",
            "give one of each a run, where all runs have an estimate",
        )
    precision = 1 / variances
    variance = 1 / precision.sum(axis=0)
    effect = variance * (precision * effects).sum(axis=0)
    t = effect / np.sqrt(variance)
    dof = float(np.sum(dofs))
    return FixedEffects(effect, variance, t, z_from_t(t, dof), dof)
