"""Responses to single trials, and coupling as their correlation over trials.

Every slice's columns stand at that slice's times, so that responses to a trial need no shift: a trial is the same trial in all
slices. LSA fits all trials at once; LSS fits each beside the sum of the others of its condition and the sum of every other
condition, which is steadier where trials follow each other closely (Mumford 2012).

References
----------
Rissman J, Gazzaley A, D'Esposito M (2004) Measuring functional connectivity during distinct stages of a cognitive task.
NeuroImage 23:752-763.
Mumford JA et al. (2012) Deconvolving BOLD activation in event-related designs for multivoxel pattern classification analyses.
NeuroImage 59:2636-2643.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.blocks import Block, each_block, map_view
from cospine.signal.regression import slice_bases
from cospine.stats.regional_series import RegionSeries
from cospine.stats.regions import RegionSet

LEAST_LEFT = 1e-4
"""Share of a trial's column that must be left beside the others for its response to be estimated."""
FEWEST_TRIALS = 5


def trial_weights(
    trials: NDArray[np.floating],
    designs: NDArray[np.floating],
    conditions: Sequence[str],
    method: Literal["LSS", "LSA"] = "LSS",
    *,
    rows: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The linear combination of volumes that is each trial's response, slice by slice.

    Parameters
    ----------
    trials : ndarray (t, slices, trials)
        A convolved column a trial, at the slices' times.
    designs : ndarray (slices, t, p)
        Drift and nuisance columns (no task column).
    conditions : sequence of str
        Condition of each trial.
    method : {'LSS', 'LSA'}
    rows : ndarray (t,), bool, optional
        Volumes that are fitted.

    Returns
    -------
    ndarray (slices, trials, t)
        Responses are weights @ series: least squares, not whitened. NaN for a trial whose column nothing is left of beside the
        others or the nuisance (one beyond the end of the run).

    Raises
    ------
    CoSpineError
        Shapes do not fit, or no such method.
    """
    volumes, slices, count = trials.shape
    if len(conditions) != count or np.shape(designs)[:2] != (slices, volumes) or method not in ("LSS", "LSA"):
        raise CoSpineError(
            f"{method} of trials {trials.shape} (volumes, slices, trials) with {len(conditions)} conditions and designs "
            f"{np.shape(designs)}",
            "single trials",
            "Give LSS or LSA, a condition a trial, and designs (slices, volumes, columns) of this very run",
        )
    bases = slice_bases(designs, rows)
    labels = np.unique(np.asarray(conditions), return_inverse=True)[1]
    weights = np.full((slices, count, volumes), np.nan)
    for k in range(slices):
        basis = bases.fitted[k][bases.rows, : bases.rank[k]]
        columns = trials[bases.rows, k].astype(np.float64)
        norm = np.linalg.norm(columns - columns.mean(axis=0), axis=0)
        columns = columns - columns.mean(axis=0)
        columns -= basis @ (basis.T @ columns)
        known = (norm > 0) & (np.linalg.norm(columns, axis=0) > np.sqrt(LEAST_LEFT) * norm)
        weights[k][:, ~bases.rows] = np.where(known, 0.0, np.nan)[:, None]
        for trial in np.flatnonzero(known).tolist():
            others = _others(columns, labels, trial, known, method)
            own = columns[:, trial]
            if others.shape[1]:
                own = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
            energy = own @ own
            if energy > LEAST_LEFT * norm[trial] ** 2:
                weights[k, trial, bases.rows] = own / energy
            else:
                weights[k, trial] = np.nan
    return weights


def _others(
    columns: NDArray[np.float64], labels: NDArray[np.int64], trial: int, known: NDArray[np.bool_], method: str
) -> NDArray[np.float64]:
    """What stands beside a trial's column: every other trial, or sums of them by condition."""
    rest = known.copy()
    rest[trial] = False
    if method == "LSA":
        return columns[:, rest]
    sums = [columns[:, rest & (labels == label)].sum(axis=1) for label in np.unique(labels[rest])]
    return np.stack(sums, axis=1) if sums else np.empty((len(columns), 0))


def beta_maps(
    series: NDArray,
    weights: NDArray[np.float64],
    mask: NDArray[np.bool_],
    *,
    rows: NDArray[np.bool_] | None = None,
    slice_axis: int = 2,
) -> NDArray[np.float32]:
    """Response to each trial in every voxel.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Not cleaned.
    weights : ndarray (slices, trials, t)
        From `trial_weights`.
    mask : ndarray (x, y, z), bool
    rows : ndarray (t,), bool, optional
        Volumes that were fitted: the mean is over them.
    slice_axis : {0, 1, 2}

    Returns
    -------
    ndarray (x, y, z, trials), float32
        % of the voxel's temporal mean; NaN outside of the mask and where the mean is not above 0.
    """
    trials = weights.shape[1]
    found = np.full((*mask.shape, trials), np.nan, np.float32, order="F")
    inside = map_view(mask, slice_axis)
    fitted = np.ones(series.shape[3], bool) if rows is None else rows
    targets = [map_view(found[..., trial], slice_axis) for trial in range(trials)]

    def estimate(block: Block, values: NDArray[np.float32]) -> None:
        here = inside[block.slice_index, block.rows]
        chosen = values[:, here.ravel()].astype(np.float64)
        mean = chosen[fitted].mean(axis=0)
        responses = weights[block.slice_index][:, fitted] @ (chosen[fitted] - mean)
        responses *= 100 / np.where(mean > 0, mean, np.nan)
        for target, response in zip(targets, responses, strict=True):
            target[block.slice_index, block.rows][here] = response

    each_block(series, slice_axis, estimate, mask=mask)
    return found


def beta_series(
    maps: NDArray, regions: RegionSet, conditions: Sequence[str], condition: str, *, slice_axis: int = 2
) -> tuple[RegionSeries, ...]:
    """Responses of regions to the trials of one condition, slice by slice, ready for `coupling`.

    Parameters
    ----------
    maps : ndarray (x, y, z, trials)
        From `beta_maps`.
    regions : RegionSet
        On their grid.
    conditions : sequence of str
        Of each trial.
    condition : str
        Which one.
    slice_axis : {0, 1, 2}

    Returns
    -------
    tuple of RegionSeries
        Of the trials that could be estimated everywhere; slices in which nothing is known are left out.

    Raises
    ------
    CoSpineError
        Fewer than five such trials: a correlation of so few says nothing.
    """
    chosen = np.array([one == condition for one in conditions])
    inside = regions.labels > 0
    estimated = chosen & np.isfinite(maps[inside]).any(axis=0)
    if np.count_nonzero(estimated) < FEWEST_TRIALS:
        raise CoSpineError(
            f"{np.count_nonzero(estimated)} trials of {condition!r} could be estimated",
            "beta series",
            f"{FEWEST_TRIALS} are needed at least",
        )
    labels = map_view(regions.labels, slice_axis)
    by_trial = [map_view(maps[..., trial], slice_axis) for trial in np.flatnonzero(estimated).tolist()]
    found = []
    for region in regions.regions:
        here = labels == region.number
        slices, courses, voxels = [], [], []
        for k in np.flatnonzero(here.any(axis=(1, 2))).tolist():
            values = np.stack([one[k][here[k]] for one in by_trial]).astype(np.float64)
            good = np.isfinite(values).all(axis=0)
            if good.any():
                slices.append(k)
                courses.append(values[:, good].mean(axis=1))
                voxels.append(int(good.sum()))
        if slices:
            found.append(RegionSeries(region, np.stack(courses, axis=1), np.array(slices), np.array(voxels)))
    return tuple(found)


def trial_columns(onsets_s: ArrayLike, durations_s: ArrayLike, times_s: NDArray[np.floating]) -> NDArray[np.float64]:
    """A column a trial with SPM's canonical response, (t, slices, trials), at the slices' times."""
    from cospine.stats.collinearity import task_regressor

    onsets, durations = np.broadcast_arrays(np.asarray(onsets_s, np.float64), np.asarray(durations_s, np.float64))
    return np.stack([task_regressor([one], [length], times_s) for one, length in zip(onsets, durations, strict=True)], axis=-1)
