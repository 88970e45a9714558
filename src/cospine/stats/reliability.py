"""How far a result would come again: intraclass correlation, split halves, and detection by number of runs.

References
----------
Shrout PE, Fleiss JL (1979) Intraclass correlations: uses in assessing rater reliability. Psychol Bull 86:420-428.
McGraw KO, Wong SP (1996) Forming inferences about some intraclass correlation coefficients. Psychol Methods 1:30-46.
Spearman C (1910), Brown W (1910) Br J Psychol 3:271-295 and 296-322.
"""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError

IccKind = Literal["1,1", "2,1", "3,1", "1,k", "2,k", "3,k"]
KINDS: tuple[IccKind, ...] = ("1,1", "2,1", "3,1", "1,k", "2,k", "3,k")
MOST_SPLITS = 500


@dataclass(frozen=True, eq=False)
class Icc:
    """An intraclass correlation with its interval.

    Parameters
    ----------
    kind : str
        Shrout and Fleiss's name. ``1,1``: runs are interchangeable; ``2,1``: agreement, the same runs for all, a sample of
        possible ones; ``3,1``: consistency, these runs alone; ``..,k``: of the mean over the runs.
    value, low, high : ndarray (...)
        Estimate and confidence limits; NaN where nothing varies. An estimate may be negative: it is not cut at 0, for then its
        mean over voxels would lie.
    confidence : float
    people, runs : int
    """

    kind: IccKind
    value: NDArray[np.float64] = field(repr=False)
    low: NDArray[np.float64] = field(repr=False)
    high: NDArray[np.float64] = field(repr=False)
    confidence: float
    people: int
    runs: int


def icc(values: NDArray, kind: IccKind = "3,1", confidence: float = 0.95) -> Icc:
    """Intraclass correlation across runs.

    Parameters
    ----------
    values : ndarray (people, runs, ...)
        Effects; further axes (regions, voxels) are looked at each for itself. One that is not finite makes its voxel NaN.
    kind : str
        See `Icc`.
    confidence : float

    Returns
    -------
    Icc

    Raises
    ------
    CoSpineError
        Fewer than two people or runs, or no such kind.
    """
    from scipy.stats import f as fisher

    data = np.asarray(values, dtype=np.float64)
    if data.ndim < 2 or min(data.shape[:2]) < 2 or kind not in KINDS:
        raise CoSpineError(
            f"ICC({kind}) of values {data.shape} (people, runs)",
            "reliability",
            f"Give at least two people and two runs each, and one of {', '.join(KINDS)}",
        )
    n, k = data.shape[:2]
    grand = data.mean(axis=(0, 1))
    between = k * ((data.mean(axis=1) - grand) ** 2).sum(axis=0)
    runs = n * ((data.mean(axis=0) - grand) ** 2).sum(axis=0)
    total = ((data - grand) ** 2).sum(axis=(0, 1))
    bms, jms = between / (n - 1), runs / (k - 1)
    wms = (total - between) / (n * (k - 1))
    ems = np.maximum(total - between - runs, 0) / ((n - 1) * (k - 1))
    tail = (1 - confidence) / 2
    error_df = (n - 1) * (k - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if kind[0] == "2":
            value, low, high = _agreement(bms, jms, ems, n, k, tail)
        else:
            error, df = (wms, n * (k - 1)) if kind[0] == "1" else (ems, error_df)
            ratio = bms / error
            lower = ratio / fisher.ppf(1 - tail, n - 1, df)
            upper = ratio * fisher.ppf(1 - tail, df, n - 1)
            value, low, high = ((f - 1) / (f + k - 1) for f in (ratio, lower, upper))
            value = np.where(np.isinf(ratio), 1.0, value)
            low, high = (np.where(np.isinf(ratio), 1.0, one) for one in (low, high))
        if kind[2] == "k":
            value, low, high = (k * one / (1 + (k - 1) * one) for one in (value, low, high))
    varies = total > 0
    value, low, high = (np.where(varies, one, np.nan) for one in (value, low, high))
    return Icc(kind, value, low, high, confidence, n, k)


def _agreement(
    bms: NDArray, jms: NDArray, ems: NDArray, n: int, k: int, tail: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """ICC(2,1) and its limits by Satterthwaite's degrees of freedom (Shrout & Fleiss 1979; McGraw & Wong 1996, table 7)."""
    from scipy.stats import f as fisher

    value = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
    a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
    df = (a * jms + b * ems) ** 2 / ((a * jms) ** 2 / (k - 1) + (b * ems) ** 2 / ((n - 1) * (k - 1)))
    df = np.maximum(df, 1e-3)
    upper_f, lower_f = fisher.ppf(1 - tail, n - 1, df), fisher.ppf(1 - tail, df, n - 1)
    rest = k * jms + (k * n - k - n) * ems
    low = n * (bms - upper_f * ems) / (upper_f * rest + n * bms)
    high = n * (lower_f * bms - ems) / (rest + n * lower_f * bms)
    return value, low, high


@dataclass(frozen=True, eq=False)
class SplitHalf:
    """Correlation of halves of the runs.

    Parameters
    ----------
    half : ndarray (...)
        Mean over splits of the correlation over people between the means of both halves (by Fisher's z).
    full : ndarray (...)
        Of all runs, by Spearman and Brown's formula from `half`.
    splits : int
        Ways of halving that were averaged.
    """

    half: NDArray[np.float64] = field(repr=False)
    full: NDArray[np.float64] = field(repr=False)
    splits: int


def split_half(values: NDArray) -> SplitHalf:
    """Split-half reliability across runs.

    Parameters
    ----------
    values : ndarray (people, runs, ...)
        With an odd number of runs each is left out of the halves in turn, and the formula lengthens by runs / half.

    Returns
    -------
    SplitHalf

    Raises
    ------
    CoSpineError
        Fewer than three people or two runs.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim < 2 or data.shape[0] < 3 or data.shape[1] < 2:
        raise CoSpineError(
            f"values {data.shape} (people, runs) cannot be halved", "split-half reliability", "Give three people and two runs"
        )
    runs = data.shape[1]
    size = runs // 2
    splits = _halvings(runs, size)
    z = [
        np.arctanh(np.clip(_correlation(data[:, list(a)].mean(axis=1), data[:, list(b)].mean(axis=1)), -1 + 1e-12, 1 - 1e-12))
        for a, b in splits
    ]
    half = np.tanh(np.mean(z, axis=0))
    return SplitHalf(half, spearman_brown(half, runs / size), len(splits))


def spearman_brown(r: NDArray, times: float) -> NDArray[np.float64]:
    """Reliability of a measurement that is `times` as long as one of reliability r."""
    return np.asarray(times * r / (1 + (times - 1) * r), dtype=np.float64)


def _halvings(runs: int, size: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Ways to draw two halves of a size, each pair once; evenly spread over all where there are very many."""
    found = []
    for first in combinations(range(runs), size):
        rest = [run for run in range(runs) if run not in first]
        found += [(first, second) for second in combinations(rest, size) if first < second]
    step = -(-len(found) // MOST_SPLITS)
    return found[::step]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's r along the first axis."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))


@dataclass(frozen=True)
class Sensitivity:
    """What is found with a number of runs.

    Parameters
    ----------
    runs : int
    sensitivity : float
        Share of the target's voxels that pass the threshold, mean over ways to choose the runs.
    false_positives : float
        Share of the other voxels that pass.
    dice : float
        Overlap of what passes with the target.
    subsets : int
        Ways to choose the runs that were averaged.
    """

    runs: int
    sensitivity: float
    false_positives: float
    dice: float
    subsets: int


def sensitivity_by_runs(
    effects: NDArray, variances: NDArray, target: NDArray[np.bool_], *, threshold: float = 3.09, most: int = 50
) -> tuple[Sensitivity, ...]:
    """How much of a target is found with one run, two, and so on, combined by fixed effects.

    The target must be known from elsewhere: a region named before, the truth of a phantom, or runs that are not among these.
    One that was found with these very runs would grow with them by construction.

    Parameters
    ----------
    effects, variances : ndarray (runs, voxels)
        Of one contrast and one person.
    target : ndarray (voxels,), bool
    threshold : float
        z that counts as found; 3.09 is one-sided p = 0.001.
    most : int
        Most subsets of runs a number.

    Returns
    -------
    tuple of Sensitivity
        For 1 .. all runs.

    Raises
    ------
    CoSpineError
        Shapes do not fit, or the target is empty or everything.
    """
    effects, variances = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if (
        effects.ndim != 2
        or effects.shape != variances.shape
        or target.shape != effects.shape[1:]
        or target.all()
        or not target.any()
    ):
        raise CoSpineError(
            f"effects {effects.shape}, variances {variances.shape}, target of {np.count_nonzero(target)} of {target.size} voxels",
            "sensitivity by runs",
            "Give a run a row, and a target that holds some of the voxels",
        )
    found = []
    for count in range(1, len(effects) + 1):
        subsets = list(combinations(range(len(effects)), count))
        subsets = subsets[:: -(-len(subsets) // most)]
        scores = np.array([_score(effects[list(chosen)], variances[list(chosen)], target, threshold) for chosen in subsets])
        hit, false, dice = scores.mean(axis=0).tolist()
        found.append(Sensitivity(count, hit, false, dice, len(subsets)))
    return tuple(found)


def _score(effects: NDArray, variances: NDArray, target: NDArray[np.bool_], threshold: float) -> tuple[float, float, float]:
    """Share found in the target, share found beside it, and Dice, of the mean of some runs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        passes = effects.sum(axis=0) / np.sqrt(variances.sum(axis=0)) > threshold
    both = float(np.count_nonzero(passes & target))
    return (
        both / np.count_nonzero(target),
        float(np.count_nonzero(passes & ~target)) / np.count_nonzero(~target),
        2 * both / (np.count_nonzero(passes) + np.count_nonzero(target)),
    )
