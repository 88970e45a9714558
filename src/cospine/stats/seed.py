"""Columns of a seed region and of what the task does to its coupling, for a model of every voxel at each voxel's own time.

With drift, motion, physiology and task in the same model the effect of the seed's column is the partial coupling of the seed with
a voxel, and that of an interaction column how the coupling differs with the task (a generalised psychophysiological interaction).

References
----------
Friston KJ et al. (1997) Psychophysiological and modulatory interactions in neuroimaging. NeuroImage 6:218-229.
McLaren DG et al. (2012) A generalized form of context-dependent psychophysiological interactions (gPPI). NeuroImage 61:1277-1286.
O'Reilly JX et al. (2012) Tools of the trade: psychophysiological interactions and functional connectivity. SCAN 7:604-609.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.simultaneous import simultaneous_pairs
from cospine.stats.regional_series import RegionSeries, shifted


def seed_columns(
    seed: RegionSeries,
    slice_times_s: ArrayLike,
    tr_s: float,
    task: NDArray[np.floating] | None = None,
    *,
    rows: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The seed, and its product with each condition, for each slice at its own time.

    Slices of the seed that were excited together with a slice have no part in its columns: what they share need be no coupling.
    The interaction is of the measured signals (O'Reilly 2012), not deconvolved: for blocks of some seconds the difference is
    small, for short events deconvolution of a 2.7 s series is a guess of its own. Task columns themselves belong in the model
    too.

    Parameters
    ----------
    seed : RegionSeries
        At the middle of the slice times, of the volumes that count. Its region's own task response must still be in it: of
        residuals of nuisance alone.
    slice_times_s : (slices,)
    tr_s : float
    task : ndarray (t, slices, conditions), optional
        Convolved column of every condition.
    rows : ndarray (t,), bool, optional
        Volumes that count; all without it.

    Returns
    -------
    ndarray (slices, t, 1 + conditions)
        First the seed in units of its own SD, then the interactions: seed and task are centred before they are multiplied, so
        that interaction and main effects overlap least. 0 in volumes that do not count, and in slices that were excited together
        with all of the seed: nothing can be estimated there.

    Raises
    ------
    CoSpineError
        Shapes do not fit.
    """
    times = np.asarray(slice_times_s, dtype=np.float64)
    rows = np.ones(len(seed.values), bool) if rows is None else np.asarray(rows, dtype=bool)
    task = np.zeros((len(rows), times.size, 0)) if task is None else task
    if task.shape[:2] != (len(rows), times.size) or np.count_nonzero(rows) != len(seed.values):
        raise CoSpineError(
            f"task columns {task.shape} and {len(rows)} volumes do not fit a seed of {len(seed.values)} volumes and "
            f"{times.size} slices",
            "seed",
            "Make the seed from this very run, and evaluate the task at its slices' times",
        )
    common = (times.min() + times.max()) / 2
    partners = {(int(a), int(b)) for pair in simultaneous_pairs(times) for a, b in (pair, pair[::-1])}
    columns = np.zeros((times.size, len(rows), 1 + task.shape[2]))
    for k in range(times.size):
        kept = np.array([(k, int(one)) not in partners for one in seed.slices])
        if not kept.any():
            continue
        course = seed.values[:, kept] @ (seed.voxels[kept] / seed.voxels[kept].sum())
        course = shifted(course[:, None], [times[k] - common], tr_s)
        course -= course.mean(axis=0)
        course /= course.std() or 1.0
        conditions = task[rows, k] - task[rows, k].mean(axis=0)
        columns[k, rows] = np.concatenate([course, course * conditions], axis=1)
    return columns
