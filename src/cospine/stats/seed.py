"""A seed against every voxel, at each voxel's own time, and the task's influence on that.

References
----------
Friston KJ et al. (1997) Psychophysiological and modulatory interactions in neuroimaging. NeuroImage 6:218-229.
McLaren DG et al. (2012) A generalized form of context-dependent psychophysiological interactions (gPPI). NeuroImage 61:1277-1286.
O'Reilly JX et al. (2012) Tools of the trade: psychophysiological interactions and functional connectivity. SCAN 7:604-609.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.blocks import Block, each_block, map_view
from cospine.signal.regression import Bases
from cospine.signal.simultaneous import simultaneous_pairs
from cospine.stats.regional_series import RegionSeries, shifted


@dataclass(frozen=True, eq=False)
class SeedMap:
    """Correlation of a seed with voxels.

    Parameters
    ----------
    r, r_without : ndarray (x, y, z), float32
        With the whole seed, and with the seed's slices that were not excited with the voxel's; NaN outside of the mask, and in
        `r_without` where nothing of the seed is left.
    df : ndarray (slices,), int
        Residual degrees of freedom of each slice's model.
    """

    r: NDArray[np.float32] = field(repr=False)
    r_without: NDArray[np.float32] = field(repr=False)
    df: NDArray[np.int64]


def seed_map(
    seed: RegionSeries,
    residuals: NDArray,
    mask: NDArray[np.bool_],
    slice_times_s: ArrayLike,
    tr_s: float,
    bases: Bases,
    *,
    slice_axis: int = 2,
) -> SeedMap:
    """Correlate a seed with every voxel, the slice's nuisance held fixed.

    The seed is brought to each slice's time, and that slice's columns are taken out of it: with residuals of the same columns
    this is the partial correlation.

    Parameters
    ----------
    seed : RegionSeries
        At the middle of the slice times (`regional_series`), of the same volumes.
    residuals : ndarray (x, y, z, t)
        What each slice's design leaves (`regress`, without the mean).
    mask : ndarray (x, y, z), bool
    slice_times_s : (slices,)
    tr_s : float
    bases : Bases
        Of the designs that were taken out.
    slice_axis : {0, 1, 2}

    Returns
    -------
    SeedMap

    Raises
    ------
    CoSpineError
        Seed and series are not of the same volumes.
    """
    times = np.asarray(slice_times_s, dtype=np.float64)
    rows = np.flatnonzero(bases.rows)
    if len(seed.values) != rows.size or residuals.shape[3] != bases.rows.size or times.size != residuals.shape[slice_axis]:
        raise CoSpineError(
            f"a seed of {len(seed.values)} volumes and {times.size} slice times do not fit a series {residuals.shape}, of which "
            f"{rows.size} volumes are fitted",
            "seed map",
            "Make the seed from this very series, with the same volumes left out",
        )
    whole, without = (_at_slices(seed, times, tr_s, bases, rows, leave_out) for leave_out in (False, True))
    maps = [np.full(mask.shape, np.nan, np.float32, order="F") for _ in range(2)]
    views, inside = [map_view(one, slice_axis) for one in maps], map_view(mask, slice_axis)

    def correlate(block: Block, values: NDArray[np.float32]) -> None:
        here = inside[block.slice_index, block.rows]
        chosen = values[rows][:, here.ravel()].astype(np.float64)
        chosen -= chosen.mean(axis=0)
        norm = np.linalg.norm(chosen, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            for view, course in zip(views, (whole, without), strict=True):
                view[block.slice_index, block.rows][here] = course[block.slice_index] @ chosen / norm

    each_block(residuals, slice_axis, correlate, mask=mask)
    return SeedMap(maps[0], maps[1], bases.residual_df)


def _at_slices(
    seed: RegionSeries, times: NDArray[np.float64], tr_s: float, bases: Bases, rows: NDArray[np.int64], leave_out: bool
) -> NDArray[np.float64]:
    """The seed (slices, t) at each slice's time, orthogonal to its columns, of norm 1; NaN where nothing is left."""
    common = (times.min() + times.max()) / 2
    partners = {(int(a), int(b)) for pair in simultaneous_pairs(times) for a, b in (pair, pair[::-1])} if leave_out else set()
    found = np.full((times.size, rows.size), np.nan)
    for k in range(times.size):
        kept = np.array([(k, int(one)) not in partners for one in seed.slices])
        if not kept.any():
            continue
        course = seed.values[:, kept] @ (seed.voxels[kept] / seed.voxels[kept].sum())
        course = shifted(course[:, None], [times[k] - common], tr_s)[:, 0]
        course -= course.mean()
        basis = bases.fitted[k][rows, : bases.rank[k]]
        course -= basis @ (basis.T @ course)
        norm = np.linalg.norm(course)
        if norm > 0:
            found[k] = course / norm
    return found


def ppi_columns(
    seed: RegionSeries, task: NDArray[np.floating], names: Sequence[str], slice_times_s: ArrayLike, tr_s: float
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Columns of a generalised psychophysiological interaction, for each slice at its own time.

    The interaction is of the measured signals (O'Reilly 2012), not deconvolved: for blocks of some seconds the difference is
    small, for short events deconvolution of a 2.7 s series is a guess of its own. Task columns themselves belong in the model
    too.

    Parameters
    ----------
    seed : RegionSeries
        At the middle of the slice times. Its region's own task response must still be in it: of residuals of nuisance alone.
    task : ndarray (t, slices, conditions)
        Convolved columns of every condition (`task_columns`).
    names : sequence of str
        Conditions.
    slice_times_s : (slices,)
    tr_s : float

    Returns
    -------
    names : tuple of str
        ``seed``, then ``ppi_<condition>``.
    columns : ndarray (t, slices, 1 + conditions)
        Seed and task are centred before they are multiplied, so that interaction and main effects overlap least.

    Raises
    ------
    CoSpineError
        Shapes do not fit.
    """
    times = np.asarray(slice_times_s, dtype=np.float64)
    if task.shape != (len(seed.values), times.size, len(names)):
        raise CoSpineError(
            f"task columns {task.shape} do not fit a seed of {len(seed.values)} volumes, {times.size} slices, {len(names)} names",
            "psychophysiological interaction",
            "Evaluate the task at the slices' times of this very run",
        )
    common = (times.min() + times.max()) / 2
    course = shifted(np.repeat(seed.mean[:, None], times.size, axis=1), times - common, tr_s)
    course -= course.mean(axis=0)
    centred = task - task.mean(axis=0)
    columns = np.concatenate([course[..., None], course[..., None] * centred], axis=2)
    return ("seed", *(f"ppi_{name}" for name in names)), columns
