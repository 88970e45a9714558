"""Seed regions against every voxel of a run: how each goes with the seed, and how that changes with the task.

A seed is a column of the first level's own model, beside drift, motion, physiology and task. Its effect is tested, carried to the
templates, combined over runs and taken to the group like that of any condition.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Run
from cospine.errors import CoSpineError
from cospine.pipeline.coupling_stage import Leaking, RunCoupling, regional_voxels
from cospine.pipeline.noise_stage import NoiseModel, tissue_labels
from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import Placement
from cospine.pipeline.task_stage import FEWEST_FREE, InSpace, TaskResult, in_spaces
from cospine.space.grid import Grid
from cospine.stats.glm import Fit, fit, residual_series
from cospine.stats.regional_series import RegionSeries, regional_series
from cospine.stats.seed import seed_columns
from cospine.stats.specification import label_of
from cospine.stats.whitening import noise_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SeedMaps:
    """Maps of one seed.

    Parameters
    ----------
    region : str
    fit : Fit
        Native maps: contrast `seed<Region>`, and `ppi<Region><Condition>` for each condition.
    spaces : mapping of str to InSpace
        Smoothed maps.
    """

    region: str
    fit: Fit
    spaces: Mapping[str, InSpace] = field(repr=False)


def seed_maps(
    run: Run,
    grid: Grid,
    noise: NoiseModel,
    task: TaskResult | None,
    coupled: RunCoupling,
    settings: Settings,
    corrected: NDArray[np.float32],
    brain: NDArray[np.bool_],
    cord: NDArray[np.bool_],
    placement: Placement,
    slice_times_s: NDArray[np.float64],
    leaking: Leaking | None,
) -> tuple[tuple[SeedMaps, ...], tuple[str, ...]]:
    """Maps of the seeds that were asked for.

    Parameters
    ----------
    run, grid, noise, settings, corrected, brain, cord, placement, slice_times_s, leaking
        As for `cospine.pipeline.coupling_stage.couple`.
    task : TaskResult or None
        Its columns are in the model too, and each condition's canonical one is multiplied with the seed.
    coupled : RunCoupling
        Has the regions.

    Returns
    -------
    maps : tuple of SeedMaps
    notes : tuple of str
        Why there are none of a seed.
    """
    nuisance = noise.designs()
    known = nuisance if task is None else task.columns.beside(nuisance)
    series, folded = regional_voxels(corrected, coupled.regions, run.slice_axis, noise, known, leaking)
    # the response to the task stays in the seed: without it there is nothing for the interaction to be with
    left = residual_series(series, nuisance, folded.labels > 0, rows=noise.rows)
    courses = {one.region.name: one for one in regional_series(left, folded, slice_times_s, run.tr_s, rows=noise.rows)}
    conditions, values = _conditions(task, noise.times_s.shape)
    free = int(np.count_nonzero(noise.rows)) - 1 - known.shape[2] - 1 - len(conditions)
    if free < FEWEST_FREE:
        return (), (
            f"No maps of seeds: with them the model leaves {free} degrees of freedom, at least {FEWEST_FREE} are wanted.",
        )
    found, notes = [], []
    for name in settings.seed_regions:
        if name not in courses:
            notes.append(f"No map of the seed {name}: it has no voxel with signal in this run, or is none of its task's regions.")
            continue
        columns = seed_columns(courses[name], slice_times_s, run.tr_s, values, rows=noise.rows)
        designs = np.concatenate([columns, known], axis=2)
        try:
            found.append(_one(courses[name], conditions, run, grid, noise, designs, settings, corrected, brain, cord, placement))
        except CoSpineError as error:  # all slices of the field of view may be partners of the seed's
            notes.append(f"No map of the seed {name}: {error}.")
    for note in notes:
        logger.warning("%s: %s", run.label, note)
    return tuple(found), tuple(notes)


def _conditions(task: TaskResult | None, shape: tuple[int, ...]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names of conditions, and their canonical columns (t, slices, n)."""
    if task is None:
        return (), np.zeros((*shape, 0))
    columns = task.columns
    at = [k for k, (name, condition) in enumerate(zip(columns.names, columns.conditions, strict=True)) if name == condition]
    return tuple(columns.names[k] for k in at), columns.values[..., at]


def _one(
    seed: RegionSeries,
    conditions: tuple[str, ...],
    run: Run,
    grid: Grid,
    noise: NoiseModel,
    designs: NDArray[np.float64],
    settings: Settings,
    corrected: NDArray[np.float32],
    brain: NDArray[np.bool_],
    cord: NDArray[np.bool_],
    placement: Placement,
) -> SeedMaps:
    """Fit the model whose first columns are the seed's."""
    name = seed.region.name
    labels = [label_of(f"seed {name}"), *(label_of(f"ppi {name} {label_of(condition)}") for condition in conditions)]
    weights = dict(zip(labels, np.eye(designs.shape[2]), strict=False))
    size = tuple(float(mm) for mm in grid.voxel_mm)
    regions = tissue_labels(brain, cord, noise.tissue.csf)
    kinds = noise_model(corrected, designs, regions, size, rows=noise.rows, slice_axis=run.slice_axis)  # type: ignore[arg-type]
    mask = (brain | cord) & (kinds.group > 0)
    fitted = fit(corrected, designs, weights, mask, noise=kinds, rows=noise.rows, slice_axis=run.slice_axis)
    spaces = in_spaces(run, fitted, designs, noise.rows, corrected, mask, placement, brain, cord, settings)
    return SeedMaps(name, fitted, spaces)
