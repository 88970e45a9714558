"""What the noise of a run remembers: one autoregressive model for each kind of tissue, and the filter that whitens it.

AR(1) is too simple for a run through the neck: slow 1/f noise, and breathing and pulse that appear as narrow bands wherever the
volumes fold them to. A longer model is needed, and a voxel alone cannot tell it; all voxels of one region whose noise is alike
are asked together. What the fitted columns take out of the residuals is undone as Worsley does it, with the covariance of the
found model itself beyond the lags that are measured.

References
----------
Worsley KJ et al. (2002) A general statistical analysis for fMRI data. NeuroImage 15:1-15, appendix A.
Luo Q, Misaki M, Mulyana B, Wong CK, Bodurka J (2020) Improved autoregressive model for correction of noise serial correlation in
fast fMRI. Magn Reson Med 84:1293-1305. Higher orders where one does not do.
Schwarz G (1978) Estimating the dimension of a model. Ann Stat 6:461-464.
Durbin J (1960) The fitting of time-series models. Rev Int Stat Inst 28:233-244.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cospine.errors import CoSpineError
from cospine.signal.autocorrelation import lag_ratios
from cospine.signal.blocks import map_view, slice_view
from cospine.signal.regression import Bases, slice_bases
from cospine.signal.smoothing import smooth_within
from cospine.threads import threads

LARGEST_ORDER = 6
"""Lags of the autoregressive model, at most."""
FWHM_MM = 12.0
"""Of the Gaussian, within a region, of the lag-1 correlation by which voxels are put into groups."""
GROUP_WIDTH = 0.08
"""Range of the lag-1 correlation in one group."""
FEWEST_VOXELS = 100
"""Voxels a group has at least, if its region has as many."""
_ASKED = 300  # voxels of a region whose correlations with each other are looked at
_LARGEST_PARTIAL = 0.95
_ROUNDS = 30


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Kinds of noise in a run, and where each is.

    Parameters
    ----------
    group : ndarray (x, y, z), int
        0 where nothing is known (outside of the regions), else the number of the voxel's kind of noise.
    coefficients : ndarray (groups, largest order), float64
        Autoregressive model of the groups 1, 2, ..: noise[t] = sum over k of coefficients[k - 1] noise[t - k] + innovation; 0
        beyond the group's order.
    order : ndarray (groups,), int
        Lags of each model.
    region : ndarray (groups,), int
        Label of the region each group is part of.
    voxels : ndarray (groups,), int
        How many voxels told it.
    """

    group: NDArray[np.int32] = field(repr=False)
    coefficients: NDArray[np.float64]
    order: NDArray[np.int64]
    region: NDArray[np.int64]
    voxels: NDArray[np.int64]

    def autocorrelation(self, lags: int) -> NDArray[np.float64]:
        """Autocorrelation (groups, lags) of each group's model, from lag 0."""
        models = zip(self.coefficients, self.order, strict=True)
        return np.array([_extended(_autocorrelation(a[:p]), a[:p], lags) for a, p in models]).reshape(-1, lags)


def noise_model(
    series: NDArray,
    designs: NDArray[np.floating],
    regions: NDArray[np.integer] | NDArray[np.bool_],
    zooms_mm: tuple[float, float, float],
    *,
    rows: NDArray[np.bool_] | None = None,
    largest_order: int = LARGEST_ORDER,
    fwhm_mm: float = FWHM_MM,
    slice_axis: int = 2,
) -> NoiseModel:
    """Autoregressive models of the noise around a slice-wise model, pooled within regions.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Not cleaned: the model is fitted here.
    designs : ndarray (slices, t, p)
        All columns of each slice, task and drifts too; the constant is always part of the model.
    regions : ndarray (x, y, z), int or bool
        0 outside; each other number is a region (brain, cord, CSF) of its own: no group has voxels of two.
    zooms_mm : (float, float, float)
        Voxel size.
    rows : ndarray (t,), bool, optional
        Volumes that are fitted (`slice_bases`).
    largest_order : int
        Most lags of a model. Each group takes the order that Schwarz' criterion tells, its voxels counted as the fewer
        independent series that they are worth.
    fwhm_mm : float
        Of the Gaussian within a region, of the correlation by which voxels are grouped.
    slice_axis : {0, 1, 2}

    Returns
    -------
    NoiseModel

    Raises
    ------
    CoSpineError
        Shapes do not fit each other, or the run is too short for the order.
    """
    view = slice_view(series, slice_axis)
    if np.shape(designs)[:2] != view.shape[1::-1] or regions.shape != series.shape[:3]:
        raise CoSpineError(
            f"designs {np.shape(designs)} and regions {regions.shape} do not fit a series {series.shape}",
            "noise of the first level",
            "Make columns and regions for this very run",
        )
    bases = slice_bases(designs, rows)
    fewest = int(bases.residual_df.min(initial=view.shape[0]))
    if largest_order < 1 or fewest <= 2 * largest_order:
        raise CoSpineError(
            f"{fewest} degrees of freedom are left: too few for an autoregressive model of order {largest_order}",
            "noise of the first level",
            "Take fewer columns, or a lower order",
        )
    ratios = lag_ratios(series, bases, regions > 0, largest_order, slice_axis)
    group, region = _groups(ratios[..., 1], regions, zooms_mm, fwhm_mm)
    by_slice = map_view(group, slice_axis)
    count = len(region)
    members = np.array([np.bincount(plane.ravel(), minlength=count + 1)[1:] for plane in by_slice])
    used = np.flatnonzero(members.any(axis=1))
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads()) as pool:
        expected = np.array(list(pool.map(lambda k: _expected_weights(bases.fitted[k], bases.rows, largest_order), used)))
    observed = np.array(
        [np.bincount(group.ravel("F"), np.nan_to_num(r).ravel("F"), count + 1)[1:] for r in np.moveaxis(ratios, -1, 0)]
    )
    alike = {label: _alike(view, bases, by_slice, np.flatnonzero(region == label) + 1) for label in np.unique(region)}
    coefficients, orders = np.zeros((count, largest_order)), np.zeros(count, np.int64)
    for g, label in enumerate(region):
        n = members[:, g].sum()
        weights = np.tensordot(members[used, g], expected, axes=(0, 0)) / n
        worth = fewest * n / (1 + (n - 1) * alike[label])
        found = _chosen(observed[:, g] / observed[0, g], weights, worth)
        coefficients[g, : len(found)], orders[g] = found, len(found)
    return NoiseModel(group, coefficients, orders, region, members.sum(axis=0))


def _groups(
    lag_1: NDArray[np.float32], regions: NDArray, zooms_mm: tuple[float, float, float], fwhm_mm: float
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number of each voxel's group (x, y, z), 0 outside, and the region (groups,) of each group.

    Voxels of a region are ordered by their smoothed lag-1 correlation and cut into ranges of it; ranges with few voxels go with
    the next.
    """
    group = np.zeros(regions.shape, np.int32, order="F")
    region: list[int] = []
    for label in np.unique(regions[regions > 0]).tolist():
        inside = (regions == label) & np.isfinite(lag_1)
        if not inside.any():
            continue
        smooth = smooth_within(lag_1, inside, (fwhm_mm,) * 3, zooms_mm)[inside]
        order = np.argsort(smooth, kind="stable")
        ordered = smooth[order]
        own = np.zeros(ordered.size, np.int32)
        start = 0
        while start < ordered.size:
            stop = int(np.searchsorted(ordered, ordered[start] + GROUP_WIDTH, side="right"))
            stop = max(stop, start + FEWEST_VOXELS)
            if ordered.size - stop < FEWEST_VOXELS:
                stop = ordered.size
            region.append(label)
            own[order[start:stop]] = len(region)
            start = stop
        group[inside] = own
    return group, np.array(region, np.int64)


def _expected_weights(fitted: NDArray[np.float64], rows: NDArray[np.bool_], order: int) -> NDArray[np.float64]:
    """Weights (order + 1, t) of the autocovariances at all lags in the expected sums over residuals at lags 0, 1, ...

    Such a sum is a quadratic form, of expectation tr(S V) with V[i, j] = autocovariance at |i - j|: sums over the diagonals of S.
    """
    forming = np.diag(rows.astype(np.float64)) - fitted @ fitted.T - np.outer(rows, rows) / np.count_nonzero(rows)
    volumes = len(rows)
    weights = np.zeros((order + 1, volumes))
    room = np.zeros((volumes, 2 * volumes))
    for lag in range(order + 1):
        room[:, :volumes] = (forming[:, : volumes - lag] @ forming[lag:])[:, ::-1]
        # read as rows one shorter, every diagonal stands in a column
        diagonals = room.ravel()[:-volumes].reshape(volumes, -1).sum(axis=0)
        weights[lag] = diagonals[volumes - 1 :]
        weights[lag, 1:] += diagonals[volumes - 2 :: -1]
    return weights


def _alike(view: NDArray, bases: Bases, groups: NDArray[np.int32], of_region: NDArray[np.integer]) -> float:
    """Mean squared correlation between the residuals of voxels of one region, what chance gives taken off.

    Sums of products of two series share their error as far as the series' squared correlation.
    """
    places = np.argwhere(np.isin(groups, of_region))
    places = places[np.unique(np.linspace(0, len(places) - 1, _ASKED).astype(int))]
    found = []
    for k in np.unique(places[:, 0]):
        _, rows, columns = places[places[:, 0] == k].T
        values = view[:, k][:, rows, columns].astype(np.float64)
        values = np.where(bases.rows[:, None], values - values[bases.rows].mean(axis=0), 0)
        values -= bases.fitted[k] @ (bases.fitted[k].T @ values)
        found.append(values / np.linalg.norm(values, axis=0))
    together = np.concatenate(found, axis=1)
    n = together.shape[1]
    if n < 2:
        return 1.0
    squares = (np.linalg.norm(together.T @ together) ** 2 - n) / (n * (n - 1))
    return float(np.clip(squares - 1 / bases.residual_df.mean(), 0, 1))


def _chosen(observed: NDArray[np.float64], weights: NDArray[np.float64], worth: float) -> NDArray[np.float64]:
    """Coefficients (order,) of the order that Schwarz' criterion takes for so many independent values."""
    correlation = _autocorrelation(_solve(observed, weights))
    errors = np.cumprod([1 - p[-1] ** 2 for p in _predictors(_durbin(correlation))])
    orders = np.arange(1, len(observed))
    order = int(orders[np.argmin(np.log(errors) + orders * np.log(worth) / worth)])
    return _solve(observed[: order + 1], weights[: order + 1])


def _solve(observed: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Autoregressive coefficients (order,) whose noise is expected to leave the observed sums (order + 1,) over residuals.

    The first lags are solved for, those beyond follow from the model of the round before.
    """
    order = len(observed) - 1
    covariance = np.zeros(weights.shape[1])
    coefficients = np.zeros(order)
    measured = weights[:, : order + 1]
    for _ in range(_ROUNDS):
        first = np.linalg.solve(measured, observed - weights[:, order + 1 :] @ covariance[order + 1 :])
        found = _durbin(first / first[0])
        settled = np.abs(found - coefficients).max() < 1e-6
        coefficients = found
        if settled:
            break
        # scale of the first lags as solved; the shape as the (stable) model has it
        covariance = first[0] * _extended(_autocorrelation(coefficients), coefficients, len(covariance))
    return coefficients


def _durbin(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients (order,) from the autocorrelation (order + 1,), partial correlations kept below 0.95: always stable."""
    coefficients = np.zeros(0)
    error = 1.0
    for k in range(1, len(correlation)):
        partial = (correlation[k] - coefficients @ correlation[k - 1 : 0 : -1]) / error if k > 1 else correlation[1]
        partial = float(np.clip(partial, -_LARGEST_PARTIAL, _LARGEST_PARTIAL))
        coefficients = np.append(coefficients - partial * coefficients[::-1], partial)
        error *= 1 - partial**2
    return coefficients


def _predictors(coefficients: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Predictors of the orders 1 .. p that belong to a stable model of order p (Durbin's recursion backwards)."""
    predictors = [coefficients]
    while len(predictors[0]) > 1:
        a = predictors[0]
        predictors.insert(0, (a[:-1] + a[-1] * a[-2::-1]) / (1 - a[-1] ** 2))
    return predictors


def _autocorrelation(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Autocorrelation (order + 1,) of a stable model."""
    correlation = np.ones(len(coefficients) + 1)
    error = 1.0
    before = np.zeros(0)
    for k, predictor in enumerate(_predictors(coefficients), 1):
        correlation[k] = predictor[-1] * error + before @ correlation[k - 1 : 0 : -1]
        error *= 1 - predictor[-1] ** 2
        before = predictor
    return correlation


def _extended(first: NDArray[np.float64], coefficients: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    """Autocorrelation (lags,) of the model beyond its first lags."""
    from scipy.signal import lfilter, lfiltic

    if lags <= len(first):
        return first[:lags]
    recursion = np.concatenate([[1.0], -coefficients])
    further, _ = lfilter([1.0], recursion, np.zeros(lags - len(first)), zi=lfiltic([1.0], recursion, first[::-1]))
    return np.concatenate([first, further])


def whitening_bands(coefficients: NDArray[np.float64], volumes: int) -> NDArray[np.float64]:
    """Filter (order + 1, volumes) that makes stationary autoregressive noise white, the first volumes included.

    White[t] = sum over k of bands[k, t] noise[t - k], of the innovation's variance at every t: the rows of the inverse Cholesky
    factor of the model's covariance, which has no more bands than the order.

    Parameters
    ----------
    coefficients : ndarray (order,)
    volumes : int
    """
    order = len(coefficients)
    bands = np.zeros((order + 1, volumes))
    bands[0] = 1
    bands[1:] = -coefficients[:, None]
    predictors = _predictors(coefficients)
    errors = np.cumprod([1.0] + [1 - p[-1] ** 2 for p in predictors])  # of the orders 0 .. p
    for t in range(min(order, volumes)):
        scale = np.sqrt(errors[order] / errors[t])
        bands[:, t] = 0
        bands[0, t] = scale
        if t:
            bands[1 : t + 1, t] = -scale * predictors[t - 1]
    return bands


def ar1_bands(rho: float, volumes: int) -> NDArray[np.float64]:
    """Filter (2, volumes) of a known AR(1) as nilearn has it: noise[t] - rho noise[t - 1], the first volume as it is."""
    bands = np.ones((2, volumes))
    bands[1] = -rho
    bands[1, 0] = 0
    return bands


def whiten(values: NDArray, bands: NDArray[np.float64]) -> NDArray[np.float64]:
    """Series (t, n) through a filter (`whitening_bands`), in double precision."""
    white = bands[0][:, None] * values
    for k in range(1, len(bands)):
        white[k:] += bands[k, k:, None] * values[:-k]
    return white
