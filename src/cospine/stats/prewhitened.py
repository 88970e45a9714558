"""A run's model ready to be solved: every voxel's filter, and every slice's design factorised under it.

References
----------
Searle SR (1971) Linear Models, Wiley: what can be estimated in designs of deficient rank.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cospine.errors import CoSpineError
from cospine.signal.blocks import map_view, slice_view
from cospine.signal.regression import RANK_TOLERANCE
from cospine.stats.whitening import NoiseModel, ar1_bands, whiten, whitening_bands
from cospine.threads import threads

RHO_STEP = 0.01
"""Grid of a given AR(1) correlation, as nilearn's."""
WHERE = "first level"
_VOXELS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Problem:
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
    ) -> "Problem":
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
                WHERE,
                "Make columns and mask for this very run",
            )
        if not rows.any():
            raise CoSpineError("no volume counts", WHERE, "Leave fewer volumes out")
        first, last = np.flatnonzero(rows)[[0, -1]]
        kept = slice(int(first), int(last) + 1)
        rows = rows[kept]
        kind, filters = _filters(mask, noise, rho)
        bands = {
            number: whitening_bands(coefficients, len(rows))
            if isinstance(coefficients, np.ndarray) and coefficients.ndim
            else ar1_bands(float(coefficients), len(rows))
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
                WHERE,
                "Leave these volumes out (rows) or the columns",
            )
        out = np.flatnonzero(~rows)
        spikes = np.zeros((len(designs), len(rows), out.size))
        spikes[:, out, np.arange(out.size)] = 1
        counted = np.where(rows[:, None], counted, 0)
        return cls(view, np.concatenate([counted, spikes], axis=2), designs.shape[2], rows, kept, kind, bands, used)

    def each_slice(self, work: Callable[[int], None]) -> None:
        """Call `work(slice)` for every slice with voxels, in threads."""
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads()) as pool:
            for _ in pool.map(work, self.used):
                pass

    def parts(self, k: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], "Solved"]]:
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
                values[~self.rows] = 0  # whatever is there, finite or not
                mean = values.sum(axis=0) / np.count_nonzero(self.rows)
                values -= mean
                values[~self.rows] = 0
                yield part, values, mean, solved


def _filters(
    mask: NDArray[np.bool_], noise: NoiseModel | None, rho: NDArray[np.floating] | float | None
) -> tuple[NDArray[np.int64], dict[int, NDArray[np.float64] | float]]:
    """Number of each voxel's filter, and the coefficients of the filters: a number where it is nilearn's AR(1)."""
    if noise is not None and rho is not None:
        raise CoSpineError("both a noise model and a correlation are given", WHERE, "Give one of them")
    if noise is not None:
        missing = int(np.count_nonzero(mask & (noise.group == 0))) if noise.group.shape == mask.shape else mask.size
        if missing:
            raise CoSpineError(
                f"{missing} voxels of the mask are in no group of the noise model",
                WHERE,
                "Fit where the noise model was made: its regions, voxels that vary",
            )
        return noise.group.astype(np.int64), {
            g: a[:p] for g, (a, p) in enumerate(zip(noise.coefficients, noise.order, strict=True), 1)
        }
    given = np.broadcast_to(np.asarray(0.0 if rho is None else rho, dtype=np.float64), mask.shape)
    if not (np.abs(given[mask]) < 1).all():
        raise CoSpineError("correlations are not all between -1 and 1", WHERE, "Give the noise's lag-1 correlation")
    step = np.zeros(mask.shape, np.int64)
    step[mask] = np.round(given[mask] / RHO_STEP).astype(np.int64) + round(1 / RHO_STEP)
    return step, {int(n): (int(n) - round(1 / RHO_STEP)) * RHO_STEP for n in np.unique(step[mask])}


@dataclass(frozen=True, eq=False)
class Solved:
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


def _solved(design: NDArray[np.float64], own: int, rows: NDArray[np.bool_], bands: NDArray[np.float64], index: int) -> Solved:
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
            WHERE,
            "Take fewer columns: lower orders of the physiological model",
        )
    triangle = r[:rank, :rank]
    by = solve_triangular(triangle, r[:rank, rank:], check_finite=False)
    used = np.zeros(own)
    used[varies[varies < own]] = norm[varies[varies < own]]
    return Solved(
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
