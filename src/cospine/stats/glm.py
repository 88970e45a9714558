"""First level: the general linear model of one run, every slice with its own design, noise that is not white.

Series and design of a voxel go through the filter that makes its noise white, then least squares. Voxels of one slice that share
a filter share one factorisation of the design, and all of them are solved by a few products of matrices.

Two kinds of filter: a known AR(1) as nilearn applies it (what a known correlation gives, nilearn gives too), and the longer
models of `cospine.stats.whitening`, which hold where noise is no AR(1).

References
----------
Worsley KJ et al. (2002) A general statistical analysis for fMRI data. NeuroImage 15:1-15.
Searle SR (1971) Linear Models, Wiley: what can be estimated in designs of deficient rank.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cospine.errors import CoSpineError
from cospine.signal.blocks import map_view, slice_view
from cospine.signal.regression import RANK_TOLERANCE
from cospine.stats.tails import z_from_f, z_from_t
from cospine.stats.whitening import NoiseModel, ar1_bands, whiten, whitening_bands

RHO_STEP = 0.01
"""Grid of a given AR(1) correlation, as nilearn's."""
_VOXELS_AT_ONCE = 2048
_WHERE = "first level"


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
            raise CoSpineError("an F contrast has no t", _WHERE, "Read its statistic")
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
    problem = _Problem.of(series, designs, mask, noise, rho, rows, slice_axis)
    weights = _checked(contrasts, problem.designs.shape[2])
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
                _WHERE,
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
    problem = _Problem.of(series, designs, mask, noise, rho, rows, slice_axis)
    left = np.zeros(series.shape, np.float32, order="F")
    target = slice_view(left, slice_axis)

    def work(k: int) -> None:
        plane = np.zeros((problem.kept.stop - problem.kept.start, *target.shape[2:]), np.float32)
        flat = plane.reshape(len(plane), -1)
        for places, values, _, solved in problem.parts(k):
            if whitened:
                white = whiten(values, solved.bands)
                found = white - solved.basis @ (solved.basis.T @ white)
            else:
                found = values - solved.columns @ solved.coefficients(values)
            found[~problem.rows] = 0
            flat[:, places] = found
        target[problem.kept, k] = plane

    problem.each_slice(work)
    return left


@dataclass(frozen=True, eq=False)
class _Problem:
    """What is to be fitted: series without the volumes at its ends that do not count, and each voxel's filter.

    `designs` (slices, t, p + m) end with a column for every volume within the run that is left out; `kind` (slice, row, column)
    numbers the filters in `bands`, -1 outside.
    """

    view: NDArray
    designs: NDArray[np.float64]
    own: int
    rows: NDArray[np.bool_]
    kept: slice
    kind: NDArray[np.int64]
    bands: Mapping[int, NDArray[np.float64]]
    used: tuple[int, ...]

    @classmethod
    def of(
        cls,
        series: NDArray,
        designs: NDArray[np.floating],
        mask: NDArray[np.bool_],
        noise: NoiseModel | None,
        rho: NDArray[np.floating] | float | None,
        rows: NDArray[np.bool_] | None,
        slice_axis: int,
    ) -> "_Problem":
        """Checked; see `fit`."""
        view = slice_view(series, slice_axis)
        designs = np.asarray(designs, dtype=np.float64)
        rows = np.ones(view.shape[0], bool) if rows is None else np.asarray(rows, dtype=bool)
        if (
            designs.ndim != 3
            or designs.shape[:2] != view.shape[1::-1]
            or mask.shape != series.shape[:3]
            or rows.shape != view.shape[:1]
        ):
            raise CoSpineError(
                f"designs {designs.shape} (slices, volumes, columns), mask {mask.shape} and {rows.shape} volumes that count "
                f"do not fit a series {series.shape}",
                _WHERE,
                "Make columns and mask for this very run",
            )
        if not rows.any():
            raise CoSpineError("no volume counts", _WHERE, "Leave fewer volumes out")
        first, last = np.flatnonzero(rows)[[0, -1]]
        kept = slice(int(first), int(last) + 1)
        rows = rows[kept]
        kind, filters = _filters(mask, noise, rho)
        bands = {
            number: ar1_bands(coefficients, len(rows))
            if isinstance(coefficients, float | int)
            else whitening_bands(coefficients, len(rows))
            for number, coefficients in filters.items()
        }
        kind = map_view(np.where(mask, kind, -1), slice_axis)
        used = tuple(int(k) for k in np.flatnonzero((kind >= 0).any(axis=(1, 2))))
        counted = designs[:, kept]
        bad = [k for k in used if not np.isfinite(counted[k][rows]).all()]
        if bad:
            columns = np.flatnonzero(~np.isfinite(counted[bad][:, rows]).all(axis=(0, 1)))
            raise CoSpineError(
                f"columns {columns.tolist()} of slices {bad} are not finite in volumes that count",
                _WHERE,
                "Leave these volumes out (rows) or the columns",
            )
        out = np.flatnonzero(~rows)
        spikes = np.zeros((len(designs), len(rows), out.size))
        spikes[:, out, np.arange(out.size)] = 1
        counted = np.where(rows[:, None], counted, 0)
        return cls(view, np.concatenate([counted, spikes], axis=2), designs.shape[2], rows, kept, kind, bands, used)

    def each_slice(self, work: Callable[[int], None]) -> None:
        """Call `work(slice)` for every slice with voxels, in threads."""
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(get_num_threads()) as pool:
            for _ in pool.map(work, self.used):
                pass

    def parts(self, k: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], "_Solved"]]:
        """Voxels of a slice that share a filter, a few at a time.

        Places in the plane, values (t, n) less their means, the means (n,), and the solved design.
        """
        kind = self.kind[k].ravel()
        plane = self.view[self.kept, k].reshape(len(self.rows), -1)
        for number in np.unique(kind[kind >= 0]):
            places = np.flatnonzero(kind == number)
            solved = _solved(self.designs[k], self.own, self.rows, self.bands[int(number)], k)
            for start in range(0, places.size, _VOXELS_AT_ONCE):
                part = places[start : start + _VOXELS_AT_ONCE]
                values = plane[:, part].astype(np.float64)
                mean = self.rows @ values / np.count_nonzero(self.rows)
                values -= mean
                values[~self.rows] = 0
                yield part, values, mean, solved


def _filters(
    mask: NDArray[np.bool_], noise: NoiseModel | None, rho: NDArray[np.floating] | float | None
) -> tuple[NDArray[np.int64], dict[int, NDArray[np.float64] | float]]:
    """Number of each voxel's filter, and the coefficients of the filters: a number where it is nilearn's AR(1)."""
    if noise is not None and rho is not None:
        raise CoSpineError("both a noise model and a correlation are given", _WHERE, "Give one of them")
    if noise is not None:
        missing = int(np.count_nonzero(mask & (noise.group == 0))) if noise.group.shape == mask.shape else mask.size
        if missing:
            raise CoSpineError(
                f"{missing} voxels of the mask are in no group of the noise model",
                _WHERE,
                "Fit where the noise model was made: its regions, voxels that vary",
            )
        return noise.group.astype(np.int64), {
            g: a[:p] for g, (a, p) in enumerate(zip(noise.coefficients, noise.order, strict=True), 1)
        }
    given = np.broadcast_to(np.asarray(0.0 if rho is None else rho, dtype=np.float64), mask.shape)
    if not (np.abs(given[mask]) < 1).all():
        raise CoSpineError("correlations are not all between -1 and 1", _WHERE, "Give the noise's lag-1 correlation")
    step = np.zeros(mask.shape, np.int64)
    step[mask] = np.round(given[mask] / RHO_STEP).astype(np.int64) + round(1 / RHO_STEP)
    return step, {int(n): (int(n) - round(1 / RHO_STEP)) * RHO_STEP for n in np.unique(step[mask])}


@dataclass(frozen=True, eq=False)
class _Solved:
    """The factorised design of one slice under one filter.

    `bands` the filter; `basis` (t, r) orthonormal, of the whitened design; `columns` (t, r) that were kept, not whitened, scaled;
    `triangle` (r, r) with whitened columns = basis @ triangle; `place` (r,) of the kept among p columns, -1 what is not one of
    them; `norm` (p,) of the columns, 0 dropped at once; `spanned` and `by` the columns that others span and how.
    """

    bands: NDArray[np.float64]
    basis: NDArray[np.float64]
    columns: NDArray[np.float64]
    triangle: NDArray[np.float64]
    place: NDArray[np.int64]
    norm: NDArray[np.float64]
    spanned: NDArray[np.int64]
    by: NDArray[np.float64]
    dof: int

    def coefficients(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the kept, scaled columns (r, n)."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self.triangle, self.basis.T @ whiten(values, self.bands), check_finite=False)

    def directions(self, weights: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Contrasts (q, p) in coordinates of the basis (q, r): effect = directions @ coordinates; None if not estimable.

        A contrast can be estimated if its weights of the spanned columns are those that the spanning ones imply (Searle 1971).
        """
        from scipy.linalg import solve_triangular

        scale = np.where(self.norm > 0, self.norm, 1)
        scaled = weights / scale
        if (weights[:, self.norm == 0] != 0).any():
            return None
        of_kept = np.where(self.place >= 0, scaled[:, self.place], 0)
        implied = of_kept @ self.by
        of_spanned = np.where(self.spanned >= 0, scaled[:, self.spanned], 0)
        if (np.abs(of_spanned - implied) > 1e-5 * np.abs(scaled).max(axis=1, keepdims=True)).any():
            return None
        return solve_triangular(self.triangle, of_kept.T, trans=1, check_finite=False).T


def _solved(design: NDArray[np.float64], own: int, rows: NDArray[np.bool_], bands: NDArray[np.float64], index: int) -> _Solved:
    """Factorise a design (t, p + spikes) under a filter, columns centred and scaled, the constant added, pivoted QR."""
    from scipy.linalg import qr, solve_triangular

    mean = np.zeros(design.shape[1])
    mean[:own] = design[rows, :own].mean(axis=0)
    centred = np.where(rows[:, None], design - mean, design)
    norm = np.linalg.norm(centred, axis=0)
    varies = np.flatnonzero(norm > RANK_TOLERANCE * np.linalg.norm(design, axis=0))
    columns = np.column_stack([np.ones(len(design)) / np.sqrt(len(design)), centred[:, varies] / norm[varies]])
    places = np.concatenate([[-1], np.where(varies < own, varies, -1)])
    factors = qr(whiten(columns, bands), mode="economic", pivoting=True, check_finite=False)
    q, r, pivot = cast(tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]], factors)
    rank = int(np.count_nonzero(np.abs(np.diag(r)) > RANK_TOLERANCE * np.abs(r[0, 0])))
    dof = len(design) - rank
    if dof < 1:
        raise CoSpineError(
            f"slice {index}: the design's {rank} columns explain {len(design)} volumes completely",
            _WHERE,
            "Take fewer columns: lower orders of the physiological model",
        )
    triangle = r[:rank, :rank]
    by = solve_triangular(triangle, r[:rank, rank:], check_finite=False)
    used = np.zeros(own)
    used[varies[varies < own]] = norm[varies[varies < own]]
    return _Solved(
        bands,
        np.ascontiguousarray(q[:, :rank]),
        columns[:, pivot[:rank]],
        triangle,
        places[pivot[:rank]],
        used,
        places[pivot[rank:]],
        by,
        dof,
    )


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
            _WHERE,
            "Give vectors (columns,) or matrices (rows, columns)",
        )
    return weights


def _empty(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.full(shape, np.nan, np.float32, order="F")


def _fit_slice(problem: _Problem, k: int, weights: Mapping[str, NDArray[np.float64]], result: Fit, slice_axis: int) -> None:
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
                    effect = directions[0] @ coordinates
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
