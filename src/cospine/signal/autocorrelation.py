"""How far noise remembers the volume before: AR(1) of the residuals, freed of the bias that the fitted columns bring.

Drifts and columns that are fitted take much of the slow noise with them; the residuals' raw correlation is then wrong by 0.1 and
more. What a design leaves of AR(1) noise is known exactly, and is undone: Worsley's correction, with the covariance of AR(1)
itself in place of its first lags.

References
----------
Worsley KJ et al. (2002) A general statistical analysis for fMRI data. NeuroImage 15:1-15, appendix A.
"""

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.signal.blocks import Block, each_block, map_view, slice_view
from cospine.signal.regression import Bases, slice_bases
from cospine.signal.smoothing import smooth_within

LARGEST_RHO = 0.9
_RHOS = np.linspace(-LARGEST_RHO, LARGEST_RHO, 73)


def autocorrelation(
    series: NDArray,
    designs: NDArray[np.floating],
    regions: NDArray[np.integer] | NDArray[np.bool_],
    zooms_mm: tuple[float, float, float],
    *,
    rows: NDArray[np.bool_] | None = None,
    fwhm_mm: float = 12.0,
    slice_axis: int = 2,
) -> NDArray[np.float32]:
    """Lag-1 autocorrelation of the noise around a slice-wise model, smoothed within each region.

    A voxel alone tells it to ± 1 / sqrt(t); neighbours in the same kind of tissue are asked too.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Not cleaned: the model is fitted here.
    designs : ndarray (slices, t, p)
        All columns of each slice, drifts too.
    regions : ndarray (x, y, z), int or bool
        0 outside; each other number is a region (brain, cord, CSF) that is smoothed apart.
    zooms_mm : (float, float, float)
        Voxel size.
    rows : ndarray (t,), bool, optional
        Volumes that are fitted (`slice_bases`); only pairs of neighbours that both are fitted count.
    fwhm_mm : float
        Of the Gaussian within a region.
    slice_axis : {0, 1, 2}

    Returns
    -------
    ndarray (x, y, z), float32
        Between -0.9 and 0.9; 0 outside of the regions.

    Raises
    ------
    CoSpineError
        Shapes do not fit each other.
    """
    view = slice_view(series, slice_axis)
    if np.shape(designs)[:2] != view.shape[1::-1] or regions.shape != series.shape[:3]:
        raise CoSpineError(
            f"designs {np.shape(designs)} and regions {regions.shape} do not fit a series {series.shape}",
            "autocorrelation of the noise",
            "Make columns and regions for this very run",
        )
    rho = _by_voxel(series, slice_bases(designs, rows), regions > 0, slice_axis)
    smooth = np.zeros(regions.shape, np.float32, order="F")
    for label in np.unique(regions[regions > 0]):
        within = smooth_within(rho, regions == label, (fwhm_mm,) * 3, zooms_mm)
        np.copyto(smooth, within, where=np.isfinite(within))
    return smooth


def _by_voxel(series: NDArray, bases: Bases, mask: NDArray[np.bool_], slice_axis: int) -> NDArray[np.float32]:
    """Autocorrelation (x, y, z) of single voxels, the bias of the fit undone; NaN outside and where nothing is left."""
    rho = np.full(mask.shape, np.nan, np.float32, order="F")
    inside, target = map_view(mask, slice_axis), map_view(rho, slice_axis)
    basis = bases.fitted.astype(np.float32)
    average = (bases.rows / np.count_nonzero(bases.rows)).astype(np.float32)
    expected = [_expected_ratio(fitted, bases.rows) for fitted in bases.fitted]

    def measure(block: Block, values: NDArray[np.float32]) -> None:
        k, here = block.slice_index, inside[block.slice_index, block.rows]
        chosen = values[:, here.ravel()]
        chosen -= average @ chosen
        chosen[~bases.rows] = 0  # pairs with such a volume then count for nothing
        energy = np.einsum("tn,tn->n", chosen, chosen)
        columns = basis[k, :, : bases.rank[k]]
        chosen -= columns @ (columns.T @ chosen)
        at_lag_0, at_lag_1 = np.einsum("tn,tn->n", chosen, chosen), np.einsum("tn,tn->n", chosen[1:], chosen[:-1])
        good = at_lag_0 > 1e-9 * energy
        found = np.full(good.shape, np.nan, np.float32)
        found[good] = np.interp(at_lag_1[good] / at_lag_0[good], expected[k], _RHOS)
        target[k, block.rows][here] = found

    each_block(series, slice_axis, measure, mask=mask)
    return rho


def _expected_ratio(fitted: NDArray[np.float64], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Ratio of the sums over residuals at lag 1 and 0 that AR(1) noise is expected to give, for each of `_RHOS`.

    Both sums are quadratic forms, of expectation tr(S V) with V = rho^|i - j|: sums over the diagonals of S, weighted by powers.
    """
    forming = np.diag(rows.astype(np.float64)) - fitted @ fitted.T - np.outer(rows, rows) / np.count_nonzero(rows)
    lagged = forming[:, 1:] @ forming[:-1]
    powers = _RHOS[:, None] ** np.arange(len(rows))
    at_lag_0, at_lag_1 = (
        powers @ np.array([np.trace(s, d) + (np.trace(s, -d) if d else 0.0) for d in range(len(rows))]) for s in (forming, lagged)
    )
    return at_lag_1 / at_lag_0
