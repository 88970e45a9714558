"""Runs of one person put together: fixed effects."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.stats.tails import z_from_t


@dataclass(frozen=True, eq=False)
class FixedEffects:
    """One effect over runs; all maps float32, NaN where no run has a value.

    Parameters
    ----------
    effect, variance, t, z : ndarray
        Of the runs' shape, in their units.
    dof : ndarray
        Degrees of freedom of the variance in every voxel.
    runs : ndarray, int
        Runs that have a value in every voxel.
    """

    effect: NDArray[np.float32] = field(repr=False)
    variance: NDArray[np.float32] = field(repr=False)
    t: NDArray[np.float32] = field(repr=False)
    z: NDArray[np.float32] = field(repr=False)
    dof: NDArray[np.float32] = field(repr=False)
    runs: NDArray[np.int32] = field(repr=False)


def fixed_effects(effects: Sequence[NDArray], variances: Sequence[NDArray], dofs: Sequence[ArrayLike]) -> FixedEffects:
    """Mean of runs weighted by their precision.

    The weights are estimates, so that 1 / (their sum) is too small and the degrees of freedom are fewer than the sum of
    the runs'; both as Meier found: with shares p of the weights, variance = (1 + 4 sum(p (1 - p) / dof)) / sum of weights, and
    dof = 1 / sum(p² / dof).

    Parameters
    ----------
    effects, variances : sequence of ndarray
        A map a run, all of one shape; a voxel that is not finite, or of no variance, in a run is left out of that run.
    dofs : sequence of array_like
        Degrees of freedom a run: a number, or what broadcasts against its map (of slices: ``dof[None, None]``).

    Returns
    -------
    FixedEffects

    Raises
    ------
    CoSpineError
        No runs, runs of different shapes or numbers, or degrees of freedom that are not positive.

    References
    ----------
    Meier P (1953) Variance of a weighted mean. Biometrics 9:59-73.
    """
    shapes = sorted({np.shape(m) for m in (*effects, *variances)})
    if not effects or len({len(effects), len(variances), len(dofs)}) > 1 or len(shapes) > 1:
        raise CoSpineError(
            f"{len(effects)} effects, {len(variances)} variances and {len(dofs)} degrees of freedom of shapes {shapes}",
            "fixed effects over runs",
            "Give an effect, a variance and degrees of freedom for every run, on one grid",
        )
    effect, variance = (np.array(maps, dtype=np.float64) for maps in (effects, variances))
    dof = np.array([np.broadcast_to(np.asarray(d, dtype=np.float64), shapes[0]) for d in dofs])
    valid = np.isfinite(effect) & np.isfinite(variance) & (variance > 0)
    if (dof[valid] <= 0).any():
        raise CoSpineError("degrees of freedom are not positive", "fixed effects over runs", "Give those of the first level")
    weight = np.where(valid, 1 / np.where(valid, variance, 1), 0)
    dof = np.where(valid, dof, 1)
    total = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where no run has a value: NaN, as is wanted
        share = weight / total
        mean = np.sum(share * np.where(valid, effect, 0), axis=0)
        of_mean = (1 + 4 * np.sum(share * (1 - share) / dof, axis=0)) / total
        together = 1 / np.sum(share**2 / dof, axis=0)
        t = mean / np.sqrt(of_mean)
    there = valid.any(axis=0)
    z = np.full(t.shape, np.nan)
    z[there] = z_from_t(t[there], together[there])
    found = (np.where(there, m, np.nan).astype(np.float32) for m in (mean, of_mean, t, z, together))
    return FixedEffects(*found, runs=valid.sum(axis=0).astype(np.int32))
