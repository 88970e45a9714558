"""Which part of the noise which set of columns takes: partial F tests and partial R² voxel by voxel, slice-wise designs.

A raw R² says nothing here: 33 columns explain 15 % of white noise at 225 volumes. Every R² therefore comes adjusted, and with
what noise alone is expected to give.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cospine.errors import CoSpineError
from cospine.signal.blocks import Block, each_block, map_view, slice_view
from cospine.signal.regression import RANK_TOLERANCE, slice_bases

FEWEST_RESIDUAL_DF = 60
LEAST_SHARE_OF_VOLUMES = 0.5
RHO_STEP = 0.05
_ORDERS = ((4, 4, 2, 2), (3, 3, 2, 1), (3, 3, 1, 1), (2, 2, 1, 1), (2, 2, 0, 0), (1, 1, 0, 0))


@dataclass(frozen=True, eq=False)
class SetTest:
    """Test of one set of columns beside all others.

    Parameters
    ----------
    f, p, r2, adjusted_r2 : ndarray (x, y, z), float32
        F, its upper tail, partial R² = (RSS without the set - RSS) / RSS without the set, and the same adjusted, which is 0 on
        average where the set explains nothing. NaN where nothing was tested: outside of the mask, in voxels that do not vary,
        and in slices in which the set adds no column of its own.
    df : ndarray (slices,), int
        Degrees of freedom the set takes in each slice.
    null_r2 : ndarray (slices,)
        Partial R² that white noise is expected to give: df / (df + residual df).
    """

    f: NDArray[np.float32] = field(repr=False)
    p: NDArray[np.float32] = field(repr=False)
    r2: NDArray[np.float32] = field(repr=False)
    adjusted_r2: NDArray[np.float32] = field(repr=False)
    df: NDArray[np.int64]
    null_r2: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PartialTests:
    """Tests of all sets.

    Parameters
    ----------
    sets : mapping of name to SetTest
    total : SetTest
        All sets together.
    residual_df : ndarray (slices,), int
        Degrees of freedom that the whole model leaves in each slice.
    """

    sets: Mapping[str, SetTest]
    total: SetTest
    residual_df: NDArray[np.int64]


def partial_tests(
    series: NDArray,
    designs: NDArray[np.floating],
    sets: Mapping[str, NDArray[np.integer]],
    *,
    mask: NDArray[np.bool_],
    rows: NDArray[np.bool_] | None = None,
    autocorrelation: NDArray[np.floating] | None = None,
    slice_axis: int = 2,
) -> PartialTests:
    """Partial F test and partial R² of sets of columns in every voxel.

    F = ((RSS_r - RSS) / q) / (RSS / n) with RSS_r of the model without the set, q the columns it adds to those others, n residual
    degrees of freedom (Draper & Smith 1998, ch. 6). Adjusted: 1 - (1 - R²)(n + q) / n (Ezekiel 1930, for the partial R²).

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Uncleaned series: what the sets explain is read off the one joint fit.
    designs : ndarray (slices, t, p)
        All columns of each slice, drifts too; the constant is always part of the model.
    sets : mapping of name to array of int
        Columns of each set. Columns in no set (drift, motion) are part of every model.
    mask : ndarray (x, y, z), bool
        Voxels to test.
    rows : ndarray (t,), bool, optional
        Volumes to fit (`slice_bases`).
    autocorrelation : ndarray (x, y, z), optional
        Lag-1 autocorrelation of the noise (`cospine.signal.autocorrelation`): series and columns are whitened by it, in steps of
        0.05 (Cochrane & Orcutt 1949; the first volume, and any after one left out, is spent on it). Without it the
        noise is taken for white, and sets that appear at low frequencies, as an aliased heartbeat does, are found in noise
        too often.
    slice_axis : {0, 1, 2}

    Returns
    -------
    PartialTests

    Raises
    ------
    CoSpineError
        No sets, a column that does not exist, or shapes that do not fit each other.

    References
    ----------
    Draper NR, Smith H (1998) Applied Regression Analysis, 3rd ed., Wiley.
    Ezekiel M (1930) Methods of Correlation Analysis, Wiley.
    Cochrane D, Orcutt GH (1949) Application of least squares regression to relationships containing auto-correlated error terms.
    J Am Stat Assoc 44:32-61.
    """
    designs = np.asarray(designs, dtype=np.float64)
    view = slice_view(series, slice_axis)
    shapes = {mask.shape, series.shape[:3], series.shape[:3] if autocorrelation is None else autocorrelation.shape}
    if designs.shape[:2] != view.shape[1::-1] or len(shapes) > 1:
        raise CoSpineError(
            f"designs {designs.shape} (slices, volumes, columns) and maps {sorted(shapes)} do not fit a series {series.shape}",
            "partial F tests",
            "Make columns, mask and autocorrelation for this very run",
        )
    members = {name: np.asarray(columns, dtype=np.int64) for name, columns in sets.items()}
    known = np.arange(designs.shape[2])
    if not members or any(not np.isin(columns, known).all() for columns in members.values()):
        raise CoSpineError(
            f"sets { ({name: columns.tolist() for name, columns in members.items()}) } are not among {known.size} columns",
            "partial F tests",
            "Name columns by their place in the design, from 0",
        )
    together = np.unique(np.concatenate(list(members.values())))
    rows = np.ones(designs.shape[1], bool) if rows is None else np.asarray(rows, dtype=bool)
    of_sets = [*members.values(), together]
    if autocorrelation is None:
        step = np.zeros(mask.shape, np.int64)
    else:
        step = np.where(mask, np.round(np.nan_to_num(autocorrelation) / RHO_STEP), 0).astype(np.int64)
    inside, steps = map_view(mask, slice_axis), map_view(step, slice_axis)
    models: dict[tuple[int, int], _Model] = {}
    df = np.zeros((len(of_sets), len(designs)), np.int64)
    residual_df = np.zeros(len(designs), np.int64)
    with threadpool_limits(1, user_api="blas"):  # many small factorisations: threads would only wait for each other
        for n in np.union1d(step, 0):
            slices = [k for k in range(len(designs)) if n == 0 or (steps[k][inside[k]] == n).any()]
            rho = None if autocorrelation is None else float(n) * RHO_STEP
            for k, model in zip(slices, _models(designs[slices], rows, of_sets, rho), strict=True):
                models[k, int(n)] = model
                # whitening changes no rank: any model of a slice tells its degrees of freedom
                df[:, k], residual_df[k] = [own.shape[1] for own in model.directions], model.residual_df
    tests = tuple(_empty_test(series.shape[:3], q, residual_df) for q in df)
    views = [[map_view(m, slice_axis) for m in (test.f, test.p, test.r2, test.adjusted_r2)] for test in tests]

    def test_block(block: Block, values: NDArray[np.float32]) -> None:
        k, here = block.slice_index, inside[block.slice_index, block.rows]
        of_block = steps[k, block.rows]
        for n in np.unique(of_block[here]):
            chosen = here & (of_block == n)
            explained, rss = models[k, int(n)].sums(values[:, chosen.ravel()])
            for of_set, maps, q in zip(explained, views, df[:, k], strict=True):
                for target, found in zip(maps, _statistics(of_set, rss, int(q), int(residual_df[k])), strict=True):
                    target[k, block.rows][chosen] = found

    each_block(series, slice_axis, test_block, mask=mask)
    return PartialTests(dict(zip(members, tests, strict=False)), tests[-1], residual_df)


@dataclass(frozen=True, eq=False)
class _Model:
    """The joint fit of one slice, whitened or not.

    `basis` (t, r) of the whole model; `directions`, for each set (r, q), what it alone adds, orthonormal, in coordinates of the
    basis; `average` (t,), what makes the mean over the fitted volumes; `rho` None for white.
    """

    basis: NDArray[np.float32]
    directions: list[NDArray[np.float32]]
    average: NDArray[np.float32]
    residual_df: int
    rho: float | None

    def sums(self, values: NDArray[np.float32]) -> tuple[list[NDArray[np.float32]], NDArray[np.float64]]:
        """Sums of squares of voxels (t, n): by each set alone (n,), and residual (n,), NaN where nothing is left."""
        if self.rho is not None:
            values = np.subtract(values[1:], np.float32(self.rho) * values[:-1], dtype=np.float32)
        values -= self.average @ values
        values[self.average == 0] = 0
        energy = np.einsum("tn,tn->n", values, values)
        coordinates = self.basis.T @ values
        values -= self.basis @ coordinates
        rss = np.einsum("tn,tn->n", values, values).astype(np.float64)
        rss[rss <= 1e-9 * energy] = np.nan  # constant, or nothing but rounding is left
        own = [direction.T @ coordinates for direction in self.directions]
        return [np.einsum("qn,qn->n", c, c) for c in own], rss


def _models(
    designs: NDArray[np.float64], rows: NDArray[np.bool_], sets: list[NDArray[np.int64]], rho: float | None
) -> list[_Model]:
    """Models of slices (slices, t, p), whitened by an autocorrelation or not."""
    if rho is not None:
        designs, rows = designs[:, 1:] - rho * designs[:, :-1], rows[1:] & rows[:-1]
    bases = slice_bases(designs, rows)
    average = (rows / np.count_nonzero(rows)).astype(np.float32)
    models = []
    for k, design in enumerate(designs):
        basis = bases.fitted[k, :, : bases.rank[k]]
        columns = design[rows]
        coordinates = basis[rows].T @ columns
        norm = np.linalg.norm(coordinates, axis=0)
        varies = norm > RANK_TOLERANCE * np.linalg.norm(columns, axis=0)
        scaled = np.where(varies, coordinates / np.where(varies, norm, 1), 0)
        directions = [_left_by(np.delete(scaled, of_set, axis=1)) for of_set in sets]
        models.append(_Model(basis.astype(np.float32), directions, average, int(bases.residual_df[k]), rho))
    return models


def _left_by(others: NDArray[np.float64]) -> NDArray[np.float32]:
    """Orthonormal directions (r, q) that columns (r, p) of unit norm or zero do not span."""
    from scipy.linalg import qr

    if not others.size:
        return np.eye(len(others), dtype=np.float32)
    factors = qr(others, mode="full", pivoting=True, check_finite=False)
    q, r, _ = cast(tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]], factors)
    return np.ascontiguousarray(q[:, np.count_nonzero(np.abs(np.diag(r)) > RANK_TOLERANCE) :], dtype=np.float32)


def _empty_test(shape: tuple[int, ...], df: NDArray[np.int64], residual_df: NDArray[np.int64]) -> SetTest:
    f, p, r2, adjusted = (np.full(shape, np.nan, np.float32, order="F") for _ in range(4))
    return SetTest(f, p, r2, adjusted, df, df / (df + residual_df))


def _statistics(explained: NDArray, rss: NDArray, q: int, n: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """F, p, R², adjusted R² of sums of squares (voxels,); all NaN for a set without a column of its own."""
    from scipy.special import fdtrc

    if q == 0:
        nothing = np.full(rss.shape, np.nan)
        return nothing, nothing, nothing, nothing
    f = (explained / q) / (rss / n)
    r2 = explained / (explained + rss)
    return f, fdtrc(q, n, f), r2, 1 - (1 - r2) * (n + q) / n


def degrees_of_freedom_warning(residual_df: int, volumes: int, physiological_columns: int) -> str:
    """Words of warning when a model leaves too few degrees of freedom, with orders that would leave enough; else empty.

    Too few are less than 60, or less than half of the volumes.

    Parameters
    ----------
    residual_df : int
        What the model leaves, in the slice where it is fewest.
    volumes : int
        Volumes that are fitted.
    physiological_columns : int
        Columns of the harmonic model (cardiac, respiratory, interaction) that are in it now.
    """
    least = max(FEWEST_RESIDUAL_DF, int(np.ceil(LEAST_SHARE_OF_VOLUMES * volumes)))
    if residual_df >= least:
        return ""
    text = f"The model leaves {residual_df} degrees of freedom of {volumes} volumes (at least {least} are wanted)."
    if not physiological_columns:
        return text
    for cardiac, respiratory, times_cardiac, times_respiratory in _ORDERS:
        columns = 2 * cardiac + 2 * respiratory + 4 * times_cardiac * times_respiratory
        left = residual_df + physiological_columns - columns
        if columns < physiological_columns and left >= least:
            interaction = f"interaction {times_cardiac}/{times_respiratory}" if times_cardiac else "no interaction"
            return f"{text} Orders {cardiac} cardiac, {respiratory} respiratory, {interaction} ({columns} columns) leave {left}."
    return f"{text} No lower order of the physiological model mends that alone: take fewer other columns."
