"""How regions go together: correlation of their time courses, with and without slices that are excited together.

Slices k and k + n/2 of a multiband series are one excitation, and each brain slice has a partner in the neck. What leaks between
them, or is shared by the excitation, looks like coupling of brain and cord. Covariances are therefore kept by pairs of slices,
and given twice: over all, and over those that were not simultaneous; beside the correlation of simultaneous slices and of pairs
one slice off, which share anatomy and physiology but no excitation.

A correlation of autocorrelated series has no simple p in one person. Inference is across people (`across_people`), against nulls
that keep what is no coupling (`cospine.stats.coupling_nulls`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.simultaneous import simultaneous_pairs
from cospine.stats.regional_series import RegionSeries
from cospine.stats.regions import Region

LARGEST_R = 1 - 1e-9


@dataclass(frozen=True, eq=False)
class Coupling:
    """Correlations of regions of one person.

    Parameters
    ----------
    a, b : tuple of Region
    r : ndarray (a, b)
        Over all pairs of slices.
    r_without : ndarray (a, b)
        Covariance over those pairs of slices alone that are not simultaneous; NaN where all are.
    left_out : ndarray (a, b)
        Share of the pairs (by voxels) that is simultaneous.
    r_simultaneous, r_neighbouring : ndarray (a, b)
        Mean correlation of simultaneous slices, and of those one slice off; NaN where there is none.
    samples : int
        Volumes, or trials.
    """

    a: tuple[Region, ...]
    b: tuple[Region, ...]
    r: NDArray[np.float64] = field(repr=False)
    r_without: NDArray[np.float64] = field(repr=False)
    left_out: NDArray[np.float64] = field(repr=False)
    r_simultaneous: NDArray[np.float64] = field(repr=False)
    r_neighbouring: NDArray[np.float64] = field(repr=False)
    samples: int

    def table(self) -> dict[str, list[str]]:
        """Long table, a line a pair of regions, each level with its system; in a square matrix every pair once."""
        square = self.a == self.b
        pairs = [(i, j) for i in range(len(self.a)) for j in range(len(self.b)) if not square or i < j]
        numbers = {
            "r": self.r,
            "z": fisher_z(self.r),
            "r_without_simultaneous": self.r_without,
            "z_without_simultaneous": fisher_z(self.r_without),
            "share_simultaneous": self.left_out,
            "r_simultaneous_slices": self.r_simultaneous,
            "r_neighbouring_slices": self.r_neighbouring,
        }
        table: dict[str, list[str]] = {}
        for which, regions, place in (("a", self.a, 0), ("b", self.b, 1)):
            chosen = [regions[pair[place]] for pair in pairs]
            table[f"region_{which}"] = [region.name for region in chosen]
            table[f"level_system_{which}"] = [region.level_system for region in chosen]
            table[f"level_{which}"] = [region.level_label for region in chosen]
        for name, values in numbers.items():
            table[name] = [f"{values[pair]:.5f}" if np.isfinite(values[pair]) else "n/a" for pair in pairs]
        return table

    def matrix(self, without_simultaneous: bool = True) -> dict[str, list[str]]:
        """The matrix as columns of a table, a row and a column a region."""
        values = self.r_without if without_simultaneous else self.r
        columns = {"region": [region.name for region in self.a], "level_system": [region.level_system for region in self.a]}
        for column, region in enumerate(self.b):
            columns[region.name] = [f"{v:.5f}" if np.isfinite(v) else "n/a" for v in values[:, column]]
        return columns


def coupling(
    a: Sequence[RegionSeries], b: Sequence[RegionSeries] | None = None, slice_times_s: ArrayLike | None = None
) -> Coupling:
    """Correlate regions with each other.

    Parameters
    ----------
    a, b : sequence of RegionSeries
        Of one run, at one common time; without `b` each of `a` with each.
    slice_times_s : (slices,), optional
        `SliceTiming`, which tells simultaneous slices; without it no pair is left out.

    Returns
    -------
    Coupling

    Raises
    ------
    CoSpineError
        No regions, or of different length.
    """
    b = a if b is None else b
    lengths = {len(one.values) for one in (*a, *b)}
    if len(lengths) != 1 or not a or not b:
        raise CoSpineError(
            f"{len(a)} and {len(b)} regions with {sorted(lengths)} samples",
            "coupling",
            "Give regions of one run, at least one on each side",
        )
    together = _together(slice_times_s, max(int(one.slices.max()) for one in (*a, *b)) + 1)
    found = np.full((5, len(a), len(b)), np.nan)
    prepared_a, prepared_b = [_centred(one) for one in a], [_centred(one) for one in b]
    for i, first in enumerate(prepared_a):
        for j, second in enumerate(prepared_b):
            found[:, i, j] = _pair(first, second, together)
    return Coupling(tuple(one.region for one in a), tuple(one.region for one in b), *found, samples=lengths.pop())


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Centred courses, their slices and weights, and the SD of their mean."""

    values: NDArray[np.float64]
    slices: NDArray[np.int64]
    weights: NDArray[np.float64]
    norm: float
    norms: NDArray[np.float64]


def _centred(one: RegionSeries) -> _Prepared:
    values = one.values - one.values.mean(axis=0)
    weights = one.voxels / one.voxels.sum()
    return _Prepared(values, one.slices, weights, float(np.linalg.norm(values @ weights)), np.linalg.norm(values, axis=0))


def _together(slice_times_s: ArrayLike | None, slices: int) -> NDArray[np.bool_]:
    """Which slices are simultaneous (slices, slices); none with itself."""
    if slice_times_s is None:
        return np.zeros((slices, slices), bool)
    count = np.size(slice_times_s)
    if count < slices:
        raise CoSpineError(f"{count} slice times for {slices} slices", "coupling", "Give the slice times of this very series")
    found = np.zeros((count, count), bool)
    pairs = simultaneous_pairs(slice_times_s)
    found[pairs[:, 0], pairs[:, 1]] = found[pairs[:, 1], pairs[:, 0]] = True
    return found


def _pair(first: _Prepared, second: _Prepared, together: NDArray[np.bool_]) -> tuple[float, float, float, float, float]:
    """r, r without simultaneous slices, their share, and mean r of simultaneous and neighbouring slices."""
    products = first.values.T @ second.values
    weights = np.outer(first.weights, second.weights)
    at_once = together[np.ix_(first.slices, second.slices)]
    scale = max(first.norm * second.norm, 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_slice = products / np.outer(first.norms, second.norms)
    apart = float(weights[~at_once].sum())
    without = float((weights * products)[~at_once].sum() / apart / scale) if apart > 1e-9 else float("nan")
    beside = np.zeros_like(at_once)
    for step in (-1, 1):
        moved = first.slices + step
        known = (moved >= 0) & (moved < len(together))
        beside[known] |= together[np.ix_(moved[known], second.slices)]
    beside &= ~at_once
    means = [float(by_slice[chosen].mean()) if chosen.any() else float("nan") for chosen in (at_once, beside)]
    return float((weights * products).sum() / scale), without, 1 - apart, means[0], means[1]


def fisher_z(r: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """arctanh of a correlation, which is nearly normal; correlations beyond 1 (covariances of parts) count as 1."""
    return np.arctanh(np.clip(np.asarray(r, dtype=np.float64), -LARGEST_R, LARGEST_R))


def partial_correlations(series: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlation of each two courses when all others are held fixed.

    Parameters
    ----------
    series : ndarray (t, n)
        Means of regions.

    Returns
    -------
    ndarray (n, n)
        1 on the diagonal.

    Raises
    ------
    CoSpineError
        Not many more samples than regions, or regions that are sums of each other: the inverse would be noise.
    """
    data = np.asarray(series, dtype=np.float64)
    t, n = data.shape
    data = data - data.mean(axis=0)
    norm = np.linalg.norm(data, axis=0)
    if t < 2 * n + 3 or not norm.all() or np.linalg.matrix_rank(data / np.where(norm > 0, norm, 1), tol=1e-6 * np.sqrt(n)) < n:
        raise CoSpineError(
            f"{t} samples of {n} regions do not tell their partial correlations",
            "partial correlation",
            "Take fewer regions, none that others make up",
        )
    precision = np.linalg.inv(np.corrcoef(data.T).reshape(n, n))
    scale = np.sqrt(np.diag(precision))
    partial = -precision / np.outer(scale, scale)
    np.fill_diagonal(partial, 1)
    return partial


@dataclass(frozen=True, eq=False)
class GroupCoupling:
    """Coupling across people, pair by pair.

    Parameters
    ----------
    people : ndarray (...), int
        Who had a value.
    r, low, high : ndarray (...)
        tanh of the mean z, and of its 95 % limits.
    t, p : ndarray (...)
        One-sample t of z across people, two-sided p.
    p_fwe : ndarray (...)
        Two-sided p over all pairs together: greatest |t| of random sign flips of whole people.
    """

    people: NDArray[np.int64]
    r: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    p_fwe: NDArray[np.float64]


def across_people(z: NDArray[np.floating], *, flips: int = 5000, seed: int = 0) -> GroupCoupling:
    """Is coupling there in people at large?

    Parameters
    ----------
    z : ndarray (people, ...)
        Fisher's z, or its difference from a control's; NaN where a person has none.
    flips : int
        Sign flips for `p_fwe`.
    seed : int

    Returns
    -------
    GroupCoupling
        NaN for pairs that fewer than three people have.

    Raises
    ------
    CoSpineError
        Fewer than three people.
    """
    from scipy.stats import t as student

    z = np.asarray(z, dtype=np.float64)
    if z.ndim < 1 or len(z) < 3:
        raise CoSpineError(f"{len(z) if z.ndim else 0} people are no group", "coupling across people", "Give at least three")
    flat = z.reshape(len(z), -1)
    known = np.isfinite(flat)
    people = known.sum(axis=0)
    enough = people >= 3
    observed, mean, error = _one_sample(np.where(known, flat, 0), known)
    with np.errstate(invalid="ignore"):
        reach = student.ppf(0.975, np.maximum(people - 1, 1)) * error
        p = 2 * student.sf(np.abs(observed), np.maximum(people - 1, 1))
    rng = np.random.default_rng(seed)
    above = np.zeros(flat.shape[1])
    for _ in range(flips):
        signs = rng.choice([-1.0, 1.0], len(flat))[:, None]
        greatest = np.nanmax(np.abs(np.where(enough, _one_sample(np.where(known, signs * flat, 0), known)[0], 0)), initial=0)
        above += greatest >= np.abs(np.where(enough, observed, 0)) - 1e-12
    p_fwe = (1 + above) / (1 + flips)
    values = [
        np.where(enough, one, np.nan).reshape(z.shape[1:])
        for one in (np.tanh(mean), np.tanh(mean - reach), np.tanh(mean + reach), observed, p, p_fwe)
    ]
    return GroupCoupling(people.reshape(z.shape[1:]).astype(np.int64), *values)


def _one_sample(values: NDArray[np.float64], known: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray]:
    """t, mean and standard error of columns with gaps (filled with 0)."""
    count = np.maximum(known.sum(axis=0), 1)
    mean = values.sum(axis=0) / count
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = ((values - mean) ** 2 * known).sum(axis=0) / (count - 1)
        error = np.sqrt(variance / count)
        return np.where(error > 0, mean / error, np.nan), mean, error
