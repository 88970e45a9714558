"""Time courses of regions, slice by slice, brought to one time.

Neighbouring slices are acquired more than a second apart, so that each slice's mean is shifted, band-limited, to a time that all
share; and slices stay apart until they are correlated, so that pairs that are excited together can be left out. What partner
slices leak is taken out before (`cospine.stats.leakage`).

Series come without drift, task and physiology: residuals of the slice-wise model (`cospine.signal.regression.regress`), by which
the correlation of what is left is the partial one, the physiological model inside.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.blocks import map_view, slice_view
from cospine.stats.regions import Region, RegionSet


@dataclass(frozen=True, eq=False)
class RegionSeries:
    """One region's time courses.

    Parameters
    ----------
    region : Region
    values : ndarray (t, s)
        Mean over the region's voxels in each of its slices, at the common time (or each trial's response: then t counts trials).
    slices : ndarray (s,), int
        Their numbers in the stored series.
    voxels : ndarray (s,), int
        Voxels that were averaged.
    """

    region: Region
    values: NDArray[np.float64] = field(repr=False)
    slices: NDArray[np.int64]
    voxels: NDArray[np.int64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over all voxels (t,)."""
        return self.values @ (self.voxels / self.voxels.sum())


def regional_series(
    residuals: NDArray,
    regions: RegionSet,
    slice_times_s: ArrayLike,
    tr_s: float,
    *,
    rows: NDArray[np.bool_] | None = None,
    slice_axis: int = 2,
) -> tuple[RegionSeries, ...]:
    """Time courses of regions at the middle of the slice times.

    Parameters
    ----------
    residuals : ndarray (x, y, z, t)
        Series on the native grid, unsmoothed, drift and nuisance regressed out slice by slice.
    regions : RegionSet
        On that grid.
    slice_times_s : (slices,)
    tr_s : float
    rows : ndarray (t,), bool, optional
        Volumes that count; one run of volumes without a gap.
    slice_axis : {0, 1, 2}

    Returns
    -------
    tuple of RegionSeries
        Regions in which something varies.

    Raises
    ------
    CoSpineError
        Shapes do not fit, or volumes are missing inside.
    """
    times = np.asarray(slice_times_s, dtype=np.float64)
    rows = np.ones(residuals.shape[3], bool) if rows is None else np.asarray(rows, dtype=bool)
    if (
        regions.labels.shape != residuals.shape[:3]
        or times.shape != (residuals.shape[slice_axis],)
        or rows.shape != residuals.shape[3:]
    ):
        raise CoSpineError(
            f"regions {regions.labels.shape} and {times.size} slice times do not fit a series {residuals.shape}",
            "regional series",
            "Give regions and slice times of this very series",
        )
    kept = _without_gap(rows)
    view, labels = slice_view(residuals, slice_axis), map_view(regions.labels, slice_axis)
    common = (times.min() + times.max()) / 2
    found = []
    for region in regions.regions:
        slices = np.flatnonzero((labels == region.number).any(axis=(1, 2)))
        values = np.empty((kept.stop - kept.start, slices.size))
        for column, k in enumerate(slices.tolist()):
            values[:, column] = view[kept, k][:, labels[k] == region.number].mean(axis=1, dtype=np.float64)
        values -= values.mean(axis=0)
        good = np.isfinite(values).all(axis=0) & (values.std(axis=0) > 0)
        slices, values = slices[good], values[:, good]
        if slices.size:
            voxels = np.array([np.count_nonzero(labels[k] == region.number) for k in slices.tolist()])
            found.append(RegionSeries(region, shifted(values, common - times[slices], tr_s), slices, voxels))
    return tuple(found)


def shifted(values: NDArray[np.floating], shift_s: ArrayLike, tr_s: float) -> NDArray[np.float64]:
    """Time courses as they are a while later, band-limited.

    The course is mirrored at its end first: then it is periodic without a jump, and the Fourier shift rings at neither end.

    Parameters
    ----------
    values : ndarray (t, n)
    shift_s : (n,)
        How much later each is wanted, s; less than a TR.
    tr_s : float

    Returns
    -------
    ndarray (t, n), float64
    """
    from scipy.fft import irfft, rfft, rfftfreq

    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    mirrored = np.concatenate([values, values[::-1]])
    phase = np.exp(2j * np.pi * rfftfreq(2 * count)[:, None] * (np.asarray(shift_s, dtype=np.float64) / tr_s))
    return np.asarray(irfft(np.asarray(rfft(mirrored, axis=0)) * phase, 2 * count, axis=0))[:count]


def _without_gap(rows: NDArray[np.bool_]) -> slice:
    """The volumes that count, as a range."""
    found = np.flatnonzero(rows)
    if found.size < 3 or found[-1] - found[0] + 1 != found.size:
        raise CoSpineError(
            "volumes are missing inside of the series: it cannot be shifted in time",
            "regional series",
            "Leave out volumes at its ends only; take single volumes out by columns of the model",
        )
    return slice(int(found[0]), int(found[-1]) + 1)
