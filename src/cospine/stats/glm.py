"""First level: the general linear model of one run, every slice with its own design, noise that is not white.

Series and design of a voxel go through the filter that makes its noise white, then least squares. Voxels of one slice that share
a filter share one factorisation of the design, and all of them are solved by a few products of matrices.

Two kinds of filter: a known AR(1) as nilearn applies it (what a known correlation gives, nilearn gives too), and the longer
models of `cospine.stats.whitening`, which hold where noise is no AR(1).

References
----------
Worsley KJ et al. (2002) A general statistical analysis for fMRI data. NeuroImage 15:1-15.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.signal.blocks import map_view, slice_view
from cospine.signal.regression import RANK_TOLERANCE
from cospine.stats.prewhitened import WHERE, Problem
from cospine.stats.tails import z_from_f, z_from_t
from cospine.stats.whitening import NoiseModel, whiten


@dataclass(frozen=True, eq=False)
class ContrastMaps:
    """One contrast in every voxel, NaN where it was not tested.

    Parameters
    ----------
    test : {"t", "F"}
    effect : ndarray (x, y, z), float32
        Weighted sum of coefficients, in % of the voxel's temporal mean (or the series' units); of an F contrast NaN.
    variance : ndarray (x, y, z), float32
        Of the effect, in its unit squared; of an F contrast NaN.
    statistic : ndarray (x, y, z), float32
        t or F.
    z : ndarray (x, y, z), float32
        Of the same tail probability; of an F contrast never far below 0, as the test has one side.
    df : ndarray (slices,), int
        Rank of the contrast in each slice (1 for t), 0 where the slice's design cannot estimate it.
    """

    test: Literal["t", "F"]
    effect: NDArray[np.float32] = field(repr=False)
    variance: NDArray[np.float32] = field(repr=False)
    statistic: NDArray[np.float32] = field(repr=False)
    z: NDArray[np.float32] = field(repr=False)
    df: NDArray[np.int64]

    @property
    def t(self) -> NDArray[np.float32]:
        """The statistic of a t contrast."""
        if self.test != "t":
            raise CoSpineError("an F contrast has no t", WHERE, "Read its statistic")
        return self.statistic


@dataclass(frozen=True, eq=False)
class Fit:
    """The contrasts of one run.

    Parameters
    ----------
    contrasts : mapping of name to ContrastMaps
    dof : ndarray (slices,), int
        Residual degrees of freedom of each slice: volumes that count less the rank of its design, constant included; 0 in slices
        without a voxel of the mask.
    sigma2 : ndarray (x, y, z), float32
        Variance of the whitened residuals, in % of the mean squared (or the series' units); NaN outside.
    percent : bool
        Whether effects are in % of the temporal mean.
    """

    contrasts: Mapping[str, ContrastMaps]
    dof: NDArray[np.int64]
    sigma2: NDArray[np.float32] = field(repr=False)
    percent: bool


def fit(
    series: NDArray,
    designs: NDArray[np.floating],
    contrasts: Mapping[str, NDArray],
    mask: NDArray[np.bool_],
    *,
    noise: NoiseModel | None = None,
    rho: NDArray[np.floating] | float | None = None,
    rows: NDArray[np.bool_] | None = None,
    percent: bool = True,
    slice_axis: int = 2,
) -> Fit:
    """General linear model and contrasts, slice by slice.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Not cleaned and not smoothed: drifts and nuisance are columns. Fortran order is fast.
    designs : ndarray (slices, t, p)
        All columns of each slice at its own times, any units. The constant is always part of the model and need not be among
        them. Columns that are zero or spanned by others in a slice cost no degree of freedom there.
    contrasts : mapping of name to ndarray (p,) or (q, p)
        Weights of the columns: a vector is tested by t, a matrix by F.
    mask : ndarray (x, y, z), bool
        Voxels to fit.
    noise : NoiseModel, optional
        Whitening by the voxel's group (`cospine.stats.whitening.noise_model`). A voxel of the mask must be in a group.
    rho : float or ndarray (x, y, z), optional
        Instead: lag-1 correlation that is known, rounded to 0.01, applied as in nilearn. Neither of both: white noise.
    rows : ndarray (t,), bool, optional
        Volumes that count. Left out at the ends they are cut off; within the run each is fitted by a column of its own, which
        takes it out and keeps the time between its neighbours.
    percent : bool
        Effects in % of the voxel's mean over the volumes that count; voxels whose mean is not positive are then NaN.
    slice_axis : {0, 1, 2}

    Returns
    -------
    Fit

    Raises
    ------
    CoSpineError
        Shapes do not fit each other; a design is not finite or takes all degrees of freedom; a contrast can be estimated in no
        slice; both `noise` and `rho`; a correlation of 1 or more; voxels of no group.
    """
    problem = Problem.of(series, designs, mask, noise, rho, rows, slice_axis)
    weights = _checked(contrasts, problem.own)
    shape = series.shape[:3]
    count = len(problem.designs)
    maps = {
        name: ContrastMaps(
            "t" if w.ndim == 1 else "F",
            effect=_empty(shape),
            variance=_empty(shape),
            statistic=_empty(shape),
            z=_empty(shape),
            df=np.zeros(count, np.int64),
        )
        for name, w in weights.items()
    }
    result = Fit(maps, np.zeros(count, np.int64), _empty(shape), percent)

    def work(k: int) -> None:
        _fit_slice(problem, k, weights, result, slice_axis)

    problem.each_slice(work)
    for name, found in maps.items():
        if problem.used and not found.df.any():
            raise CoSpineError(
                f"contrast {name!r} can be estimated in no slice: its columns are empty or spanned by others",
                WHERE,
                "Mend the design (a condition without events, two columns that say the same) or leave the contrast out",
            )
    return result


def residual_series(
    series: NDArray,
    designs: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    noise: NoiseModel | None = None,
    rho: NDArray[np.floating] | float | None = None,
    rows: NDArray[np.bool_] | None = None,
    whitened: bool = False,
    slice_axis: int = 2,
) -> NDArray[np.float32]:
    """What the model leaves of a series, in its units.

    Parameters
    ----------
    series, designs, mask, noise, rho, rows, slice_axis
        As for `fit`.
    whitened : bool
        Residuals of the whitened series, which are what the tests see; else those of the series itself.

    Returns
    -------
    ndarray (x, y, z, t), float32
        Fortran order; 0 outside of the mask, and in volumes that are left out.

    Raises
    ------
    CoSpineError
        As `fit`.
    """
    problem = Problem.of(series, designs, mask, noise, rho, rows, slice_axis)
    left = np.zeros(series.shape, np.float32, order="F")
    target = slice_view(left, slice_axis)

    def work(k: int) -> None:
        plane = np.zeros((len(problem.rows), *target.shape[2:]), np.float32)
        flat = plane.reshape(len(plane), -1)
        for places, found in _residuals(problem, k, whitened):
            flat[:, places] = found
        target[problem.kept, k] = plane

    problem.each_slice(work)
    return left


def residual_patterns(
    series: NDArray,
    designs: NDArray[np.floating],
    mask: NDArray[np.bool_],
    volumes: NDArray[np.integer],
    *,
    rows: NDArray[np.bool_] | None = None,
    slice_axis: int = 2,
) -> NDArray[np.float32]:
    """Some volumes of what the model leaves, each voxel over its own SD: the spatial pattern of the noise.

    No second copy of the series is made.

    Parameters
    ----------
    series, designs, mask, rows, slice_axis
        As for `fit`.
    volumes : ndarray (n,), int
        Which volumes, of those that count.

    Returns
    -------
    ndarray (x, y, z, n), float32
        0 outside of the mask, and where nothing is left.

    Raises
    ------
    CoSpineError
        As `fit`.
    """
    problem = Problem.of(series, designs, mask, None, None, rows, slice_axis)
    patterns = np.zeros((*series.shape[:3], len(volumes)), np.float32, order="F")
    target = slice_view(patterns, slice_axis)
    chosen = np.asarray(volumes) - problem.kept.start

    def work(k: int) -> None:
        plane = np.zeros((len(chosen), *target.shape[2:]), np.float32)
        flat = plane.reshape(len(plane), -1)
        for places, found in _residuals(problem, k, whitened=False):
            sd = found[problem.rows].std(axis=0)
            flat[:, places] = found[chosen] / np.where(sd > 0, sd, np.inf)
        target[:, k] = plane

    problem.each_slice(work)
    return patterns


def _residuals(problem: Problem, k: int, whitened: bool) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Places in a slice's plane and what the model leaves there (t, n), 0 in volumes that do not count."""
    for places, values, _, solved in problem.parts(k):
        if whitened:
            white = whiten(values, solved.bands)
            found = white - solved.basis @ (solved.basis.T @ white)
        else:
            found = values - solved.columns @ solved.coefficients(values)
        found[~problem.rows] = 0
        yield places, found


def _checked(contrasts: Mapping[str, NDArray], columns: int) -> dict[str, NDArray[np.float64]]:
    """Contrasts as arrays of double precision; all that is wrong with them at once."""
    weights = {name: np.asarray(w, dtype=np.float64) for name, w in contrasts.items()}
    wrong = [
        f"{name!r} {w.shape}"
        for name, w in weights.items()
        if w.ndim not in (1, 2) or w.shape[-1] != columns or not np.isfinite(w).all() or not np.atleast_2d(w).any(axis=1).all()
    ]
    if wrong or not weights:
        raise CoSpineError(
            f"contrasts {', '.join(wrong) or 'none'}: each needs {columns} finite weights, one a column, not all 0",
            WHERE,
            "Give vectors (columns,) or matrices (rows, columns)",
        )
    return weights


def _empty(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.full(shape, np.nan, np.float32, order="F")


def _fit_slice(problem: Problem, k: int, weights: Mapping[str, NDArray[np.float64]], result: Fit, slice_axis: int) -> None:
    """Fit one slice and write it into the maps of the result."""
    planes: dict[tuple[str, str], NDArray] = {}
    size = problem.kind[k].size
    sigma2 = np.full(size, np.nan)
    for name in weights:
        for part in ("effect", "variance", "statistic"):
            planes[name, part] = np.full(size, np.nan)
    for places, values, mean, solved in problem.parts(k):
        result.dof[k] = solved.dof
        white = whiten(values, solved.bands)
        energy = np.einsum("tn,tn->n", white, white)
        coordinates = solved.basis.T @ white
        rss = energy - np.einsum("rn,rn->n", coordinates, coordinates)
        variance = np.where(rss > 1e-9 * energy, rss, np.nan) / solved.dof  # constant, or nothing but rounding is left
        with np.errstate(invalid="ignore", divide="ignore"):
            unit = np.where(mean > 0, 100 / mean, np.nan) if result.percent else np.ones(mean.shape)
            sigma2[places] = variance * unit**2
            for name, w in weights.items():
                directions = solved.directions(np.atleast_2d(w))
                if directions is None:
                    continue
                if w.ndim == 1:
                    factor = float(directions[0] @ directions[0])
                    effect = np.where(np.isfinite(variance), directions[0] @ coordinates, np.nan)
                    result.contrasts[name].df[k] = 1
                    planes[name, "effect"][places] = effect * unit
                    planes[name, "variance"][places] = factor * variance * unit**2
                    planes[name, "statistic"][places] = effect / np.sqrt(factor * variance)
                else:
                    rows = _row_space(directions)
                    explained = np.einsum("qn,qn->n", *(2 * [rows @ coordinates]))
                    result.contrasts[name].df[k] = len(rows)
                    planes[name, "statistic"][places] = explained / len(rows) / variance
    map_view(result.sigma2, slice_axis)[k] = sigma2.reshape(problem.kind[k].shape)
    for name, found in result.contrasts.items():
        statistic = planes[name, "statistic"]
        valid = np.isfinite(statistic)
        z = np.full(size, np.nan)
        if found.test == "t":
            z[valid] = z_from_t(statistic[valid], int(result.dof[k]))
        elif found.df[k]:
            z[valid] = z_from_f(statistic[valid], int(found.df[k]), int(result.dof[k]))
        for target, plane in (
            (found.effect, planes[name, "effect"]),
            (found.variance, planes[name, "variance"]),
            (found.statistic, statistic),
            (found.z, z),
        ):
            map_view(target, slice_axis)[k] = plane.reshape(problem.kind[k].shape)


def _row_space(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal rows (rank, r) that span the rows of a matrix (q, r)."""
    _, values, rows = np.linalg.svd(directions, full_matrices=False)
    return rows[values > RANK_TOLERANCE * values[0]]
