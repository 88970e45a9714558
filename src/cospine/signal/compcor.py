"""Noise from where no neurons are: mean time courses and principal components of CSF and white matter.

A run without a recording of pulse and breathing still shows both in its CSF. For the brain the components are those of
Behzadi et al. (2007), computed as fMRIPrep does; for the cord, and for a model whose columns follow each slice's own time, they
are taken slice by slice (Barry et al. 2016).

References
----------
Behzadi Y et al. (2007) A component based noise correction method (CompCor). NeuroImage 37:90-101.
Brooks JCW et al. (2008) Physiological noise modelling for spinal fMRI studies. NeuroImage 39:680-692.
Barry RL et al. (2016) Reproducibility of resting state spinal cord networks at 7 Tesla. NeuroImage 133:31-40.
Muschelli J et al. (2014) Reduction of motion-related artifacts in resting state fMRI using aCompCor. NeuroImage 96:22-35.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.signal.columns import SliceColumns
from cospine.signal.drift import without_drift

VARIANCE_SHARE = 0.5
"""Components are kept until they explain this much of their mask's variance (Muschelli 2014; fMRIPrep)."""

COMPONENTS = 10
"""And no more than this many: beyond the first few a mask of thousands of small voxels has only thermal noise to offer."""

SLICE_COMPONENTS = 5
"""Nor than this many of one slice."""

_NOTHING = 1e-10  # share of the variance below which a component is rounding


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of a mask.

    Parameters
    ----------
    columns : ndarray (t, n), float64
        Time courses, orthonormal over the volumes that count, 0 in the others; the most of the variance first.
    singular : ndarray (n,)
        Their singular values.
    share : ndarray (n,)
        Share of the mask's variance that each explains.
    voxels : int
        Voxels of the mask that vary.
    """

    columns: NDArray[np.float64] = field(repr=False)
    singular: NDArray[np.float64]
    share: NDArray[np.float64]
    voxels: int


def mean_course(series: NDArray, mask: NDArray) -> NDArray[np.float64]:
    """Mean over a mask, volume by volume.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
    mask : ndarray (x, y, z), bool
        Not empty.

    Returns
    -------
    ndarray (t,), float64
        In the units of the series.

    Raises
    ------
    CoSpineError
        The mask is empty or of another shape.
    """
    _checked_rows(series, mask, None)
    return _gathered(series, mask).mean(axis=1, dtype=np.float64)


def csf_column(
    series: NDArray, mask: NDArray, slice_axis: int = 2, *, rows: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Mean signal of each slice's CSF: the last column of PNM.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Corrected for motion and distortion.
    mask : ndarray (x, y, z), bool
        CSF.
    slice_axis : {0, 1, 2}
        Axis of the slices.
    rows : ndarray (t,), bool, optional
        Volumes that count towards the temporal mean.

    Returns
    -------
    ndarray (t, slices), float64
        Change from the temporal mean, % of it; 0 throughout in slices without CSF.

    Raises
    ------
    CoSpineError
        The mask is of another shape, or no volumes count.
    """
    rows = _checked_rows(series, mask, rows)
    column = np.zeros((series.shape[3], series.shape[slice_axis]))
    for k in _slices_of(mask, slice_axis):
        course = _slice_courses(series, mask, slice_axis, k).mean(axis=1, dtype=np.float64)
        level = course[rows].mean()
        if level > 0:
            column[:, k] = 100 * (course / level - 1)
    return column


def principal_components(
    series: NDArray,
    mask: NDArray,
    *,
    drift: NDArray[np.float64],
    share: float = VARIANCE_SHARE,
    most: int | None = COMPONENTS,
    rows: NDArray[np.bool_] | None = None,
) -> Components:
    """Anatomical CompCor: principal components of the voxels of a mask.

    As nipype and fMRIPrep: mean and cosine drifts are removed from each voxel, which is then divided by its standard
    deviation; the left singular vectors of the (time, voxels) matrix are the components.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Not smoothed.
    mask : ndarray (x, y, z), bool
        CSF, white matter or both; may be empty.
    drift : ndarray (t, n)
        From `cospine.signal.drift.cosine_drift`.
    share : float
        Components are kept until they explain this share of the variance, 0-1.
    most : int or None
        Keep no more than this many; None: as many as `share` takes, as fMRIPrep does.
    rows : ndarray (t,), bool, optional
        Volumes that count; the others are 0 in the components.

    Returns
    -------
    Components
        None (no columns) when the mask is empty or nothing varies in it. Signs are such that a component goes up with the
        sum of the voxels.

    Raises
    ------
    CoSpineError
        The mask is of another shape, or no volumes count.
    """
    rows = _checked_rows(series, mask, rows)
    if not np.any(mask):
        return _no_components(series.shape[3])
    return _decomposed(_gathered(series, mask), drift, share, most, rows)


def slice_components(
    series: NDArray,
    mask: NDArray,
    slice_axis: int = 2,
    *,
    drift: NDArray[np.float64],
    share: float = VARIANCE_SHARE,
    most: int = SLICE_COMPONENTS,
    rows: NDArray[np.bool_] | None = None,
) -> SliceColumns:
    """The same slice by slice: what serves a run without physiology in the place of PNM.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Not smoothed.
    mask : ndarray (x, y, z), bool
        CSF, around the cord and in the ventricles.
    slice_axis : {0, 1, 2}
        Axis of the slices.
    drift, share, most, rows
        As in `principal_components`, for each slice. A slice gives at most half as many components as it has voxels: all
        of them would be the noise of these voxels itself.

    Returns
    -------
    SliceColumns
        `csf_comp_cor_00 ..`, each of standard deviation 1 over the volumes that count; 0 where a slice has fewer or none.

    Raises
    ------
    CoSpineError
        The mask is of another shape, or no volumes count.
    """
    rows = _checked_rows(series, mask, rows)
    columns = np.zeros((series.shape[3], series.shape[slice_axis], most))
    widest = 0
    for k in _slices_of(mask, slice_axis):
        courses = _slice_courses(series, mask, slice_axis, k)
        found = _decomposed(courses, drift, share, min(most, courses.shape[1] // 2), rows).columns
        columns[:, k, : found.shape[1]] = found * np.sqrt(np.count_nonzero(rows))
        widest = max(widest, found.shape[1])
    names = tuple(f"csf_comp_cor_{n:02d}" for n in range(widest))
    about = "of the slice's CSF, drifts removed (Behzadi 2007); standard deviation 1, 0 where the slice has none"
    return SliceColumns(
        names, columns[..., :widest], {name: f"Principal component {n + 1} {about}" for n, name in enumerate(names)}
    )


def _checked_rows(series: NDArray, mask: NDArray, rows: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if series.ndim != 4 or series.shape[:3] != mask.shape:
        raise CoSpineError(
            f"the mask is {mask.shape}, the series {series.shape}", "mask", "Give a mask on the grid of the series"
        )
    rows = np.ones(series.shape[3], dtype=bool) if rows is None else np.asarray(rows, dtype=bool)
    if rows.shape != (series.shape[3],) or not rows.any():
        raise CoSpineError(
            f"{np.count_nonzero(rows)} of {rows.size} volumes are to count in a series of {series.shape[3]}",
            "volumes",
            "Choose at least one of the volumes that there are",
        )
    return rows


def _slices_of(mask: NDArray, slice_axis: int) -> NDArray[np.intp]:
    return np.flatnonzero(np.any(mask, axis=tuple(axis for axis in range(3) if axis != slice_axis)))


def _slice_courses(series: NDArray, mask: NDArray, slice_axis: int, k: int) -> NDArray[np.float32]:
    """Time courses (t, voxels) of one slice's part of a mask."""
    return np.moveaxis(series, slice_axis, 0)[k][np.moveaxis(np.asarray(mask, dtype=bool), slice_axis, 0)[k]].T


def _gathered(series: NDArray, mask: NDArray) -> NDArray[np.float32]:
    """Time courses (t, voxels) of a mask: only its voxels are copied."""
    inside = np.flatnonzero(np.asarray(mask, dtype=bool).ravel(order="F"))
    if inside.size == 0:
        raise CoSpineError("the mask is empty", "mask", "Give a mask with at least one voxel")
    courses = np.empty((series.shape[3], inside.size), dtype=np.float32)
    for t in range(len(courses)):
        courses[t] = series[..., t].ravel(order="F")[inside]
    return courses


def _decomposed(
    courses: NDArray, drift: NDArray[np.float64], share: float, most: int | None, rows: NDArray[np.bool_]
) -> Components:
    left = without_drift(courses, drift, rows)[rows]
    spread = left.std(axis=0)
    # what is left of a voxel that does not vary is rounding
    varies = np.isfinite(spread) & (spread > 1e-6 * np.abs(courses[rows]).mean(axis=0))
    if not varies.any() or most == 0:
        return _no_components(len(courses))
    scaled = left[:, varies] / spread[varies]
    if scaled.shape[1] > scaled.shape[0]:  # the covariance over time is the smaller problem
        power, vectors = np.linalg.eigh(scaled @ scaled.T)
        power, vectors = np.clip(power[::-1], 0, None), vectors[:, ::-1]
    else:
        vectors, singular, _ = np.linalg.svd(scaled, full_matrices=False)
        power = singular**2
    shares = power / power.sum()
    keep = int(np.searchsorted(np.cumsum(shares), share) + 1)
    keep = min(keep, int(np.count_nonzero(shares > _NOTHING)), len(shares) if most is None else most)
    # a component has no sign of its own
    signs = np.where(vectors[:, :keep].T @ scaled.sum(axis=1) < 0, -1.0, 1.0)
    columns = np.zeros((len(courses), keep))
    columns[rows] = vectors[:, :keep] * signs
    return Components(columns, np.sqrt(power[:keep]), shares[:keep], int(np.count_nonzero(varies)))


def _no_components(volumes: int) -> Components:
    return Components(np.zeros((volumes, 0)), np.zeros(0), np.zeros(0), 0)
