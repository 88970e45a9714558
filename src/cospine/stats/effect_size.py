"""Effect sizes that do not fool: voxels are chosen in some people (or runs) and measured in others.

Who looks for the strongest voxels and tells the effect in these very voxels tells the luck that brought them there as well: the
five strongest of 200 voxels of pure noise show d = 1.3 at 20 people (Kriegeskorte 2009; Vul 2009). The circular figure stands
beside the other here, so that one sees how much of it was choice.

References
----------
Kriegeskorte N et al. (2009) Circular analysis in systems neuroscience: the dangers of double dipping. Nat Neurosci 12:535-540.
Vul E et al. (2009) Puzzlingly high correlations in fMRI studies. Perspect Psychol Sci 4:274-290.
Hedges LV (1981) Distribution theory for Glass's estimator of effect size. J Educ Stat 6:107-128.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError

FEWEST_PEOPLE = 4


@dataclass(frozen=True, eq=False)
class EffectSize:
    """Effect in chosen voxels.

    Parameters
    ----------
    values : ndarray (people,)
        Each person's mean effect in the voxels chosen for that person, in the maps' unit.
    mean : float
        Their mean.
    d : float
        Mean / SD over people.
    g : float
        The same freed of the bias of small samples (Hedges).
    """

    values: NDArray[np.float64] = field(repr=False)

    @property
    def mean(self) -> float:
        """Mean over people."""
        return float(self.values.mean())

    @property
    def d(self) -> float:
        """Cohen's d of one sample."""
        sd = float(self.values.std(ddof=1))
        return self.mean / sd if sd > 0 else float("nan")

    @property
    def g(self) -> float:
        """d x (1 - 3 / (4 (n - 1) - 1))."""
        return self.d * (1 - 3 / (4 * (self.values.size - 1) - 1))


@dataclass(frozen=True)
class EffectSizes:
    """Both figures, side by side, and what chance would give.

    Parameters
    ----------
    unbiased : EffectSize
        Chosen in others, measured in each.
    circular : EffectSize
        Chosen and measured in the same data: for comparison alone.
    voxels : int
        How many voxels are chosen.
    p : float
        One-sided p of the unbiased mean, by flipping the signs of whole people and choosing anew each time: people's values
        depend on each other through the choice, so that a t test of them would not hold. NaN without flips.
    """

    unbiased: EffectSize
    circular: EffectSize
    voxels: int
    p: float


def effect_sizes(maps: NDArray, *, voxels: int = 10, flips: int = 0, seed: int = 0) -> EffectSizes:
    """Effect in the strongest voxels of a region: chosen without the person measured, and circular.

    Parameters
    ----------
    maps : ndarray (people, voxels)
        Effects of one contrast in one region, every voxel covered in everyone.
    voxels : int
        How many are chosen: those of the greatest mean / SD over the other people.
    flips : int
        Random sign flips for `EffectSizes.p`; 0 for none.
    seed : int
        Of the flips.

    Returns
    -------
    EffectSizes

    Raises
    ------
    CoSpineError
        Fewer than four people, fewer voxels than are to be chosen, or values that are not finite.
    """
    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim != 2 or len(maps) < FEWEST_PEOPLE or not 1 <= voxels <= maps.shape[1] or not np.isfinite(maps).all():
        raise CoSpineError(
            f"maps {maps.shape} (people, voxels), of which {voxels} voxels are to be chosen",
            "effect size",
            f"Give at least {FEWEST_PEOPLE} people, more voxels than are chosen, and leave out voxels that someone lacks",
        )
    observed = _left_out(maps, voxels)
    p = float("nan")
    if flips:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(flips, len(maps), 1))
        null = np.array([_left_out(maps * sign, voxels).mean() for sign in signs])
        p = float((1 + np.count_nonzero(null >= observed.mean())) / (1 + flips))
    best = _best(_t(maps), voxels)
    return EffectSizes(EffectSize(observed), EffectSize(maps[:, best].mean(axis=1)), voxels, p)


def effect_sizes_by_runs(chosen_in: NDArray, measured_in: NDArray, *, voxels: int = 10) -> EffectSizes:
    """The same where runs divide: voxels chosen in the group's one half of runs, measured in the other, and the reverse.

    It leaves one choice for all people and keeps the people's values independent but for it; what it measures holds for these
    people, where `effect_sizes` asks of a new person.

    Parameters
    ----------
    chosen_in, measured_in : ndarray (people, voxels)
        Effects in two disjoint sets of runs of the same people.
    voxels : int

    Raises
    ------
    CoSpineError
        Shapes differ, fewer than four people, or values that are not finite.
    """
    first, second = np.asarray(chosen_in, dtype=np.float64), np.asarray(measured_in, dtype=np.float64)
    if first.shape != second.shape or not np.isfinite(second).all():
        raise CoSpineError(
            f"runs of shape {first.shape} and {second.shape}",
            "effect size",
            "Give the same people and voxels in both, all covered",
        )
    both = (first + second) / 2
    circular = effect_sizes(both, voxels=voxels).circular  # refuses what cannot be used
    measured = [b[:, _best(_t(a), voxels)].mean(axis=1) for a, b in ((first, second), (second, first))]
    return EffectSizes(EffectSize(np.mean(measured, axis=0)), circular, voxels, float("nan"))


def _left_out(maps: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Each person's mean in the voxels that are strongest in all others."""
    people = len(maps)
    total, squares = maps.sum(axis=0), (maps**2).sum(axis=0)
    mean = (total - maps) / (people - 1)
    spread = np.sqrt(np.maximum((squares - maps**2) - (people - 1) * mean**2, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        strength = np.where(spread > 0, mean / spread, 0)
    chosen = np.argpartition(-strength, count - 1, axis=1)[:, :count]
    return np.take_along_axis(maps, chosen, axis=1).mean(axis=1)


def _t(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean / SD of each voxel."""
    spread = maps.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, maps.mean(axis=0) / spread, 0)


def _best(strength: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the strongest voxels."""
    return np.argpartition(-strength, count - 1)[:count]
