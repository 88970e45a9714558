"""Seed regions against every voxel of a run: how each goes with the seed, and how that changes with the task.

A seed is a column of the first level's own model, beside drift, motion, physiology and task. Its effect is tested, carried to the
templates, combined over runs and taken to the group like that of any condition.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.bids import Run
from cospine.pipeline.coupling_stage import RunCoupling, regional_voxels
from cospine.pipeline.leakage_stage import Leaking
from cospine.pipeline.noise_stage import NoiseModel
from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import Placement
from cospine.pipeline.task_stage import FEWEST_FREE, InSpace, TaskResult, fit_and_carry, widened
from cospine.space.grid import Grid
from cospine.stats.design import estimable
from cospine.stats.glm import Fit, residual_series
from cospine.stats.regional_series import regional_series
from cospine.stats.seed import seed_columns
from cospine.stats.specification import label_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SeedMaps:
    """Maps of one seed.

    Parameters
    ----------
    region : str
    fit : Fit
        Native maps: contrast `seed<Region>`, and `ppi<Region><Contrast>` for each contrast of the task. No estimate in the seed
        itself and beside it.
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
    write: Callable[[SeedMaps], None],
) -> tuple[tuple[SeedMaps, ...], tuple[str, ...]]:
    """Maps of the seeds that were asked for.

    Parameters
    ----------
    run, grid, noise, settings, corrected, brain, cord, placement, slice_times_s, leaking
        As for `cospine.pipeline.coupling_stage.couple`.
    task : TaskResult or None
        Its columns are in the model too, and each condition's canonical one is multiplied with the seed; its contrasts are those
        of the interactions.
    coupled : RunCoupling
        Has the regions.
    write : callable
        Takes the maps of each seed as they are made: in the templates' spaces they are too large to keep.

    Returns
    -------
    maps : tuple of SeedMaps
        Natively, without those in spaces.
    notes : tuple of str
        Why there are none of a seed.
    """
    nuisance = noise.designs()
    known = nuisance if task is None else task.columns.beside(nuisance)
    series, folded = regional_voxels(corrected, coupled.regions, run.slice_axis, leaking)
    # the response to the task stays in the seed: without it there is nothing for the interaction to be with
    left = residual_series(series, nuisance, folded.labels > 0, rows=noise.rows)
    courses = {one.region.name: one for one in regional_series(left, folded, slice_times_s, run.tr_s, rows=noise.rows)}
    conditions, values, notes = _conditions(task, noise.times_s.shape)
    free = int(np.count_nonzero(noise.rows)) - 1 - known.shape[2] - 1 - len(conditions)
    if free < FEWEST_FREE:
        return (), (
            f"No maps of seeds: with them the model leaves {free} degrees of freedom, at least {FEWEST_FREE} are wanted.",
        )
    if leaking is not None:
        corrected = leaking.taken_out(corrected, brain | cord)
    found = []
    for name in dict.fromkeys(settings.seed_regions):
        if name not in courses:
            notes.append(f"No map of the seed {name}: it has no voxel with signal in this run, or is none of its task's regions.")
            continue
        columns = seed_columns(courses[name], slice_times_s, run.tr_s, values, rows=noise.rows)
        designs = np.concatenate([columns, known], axis=2)
        weights = _weights(name, conditions, task)
        able = estimable(designs, weights, ["seed", *(f"interaction with {one}" for one in conditions)], rows=noise.rows)
        notes += [f"Seed {name}: {note}" for note in able.notes]
        # a slice that was excited together with all of the seed has no estimate: others do
        chosen = {label: widened(weights[label], designs.shape[2]) for label, where in able.contrasts.items() if where.any()}
        if not chosen:
            continue
        # the seed would find itself, and what voxels beside it in the plane have of it
        beside = np.expand_dims(np.ones((3, 3), bool), run.slice_axis)
        itself = np.asarray(ndimage.binary_dilation(coupled.regions.mask(name), beside), bool)
        fitted, spaces = fit_and_carry(
            run, grid, noise, designs, chosen, corrected, brain, cord, placement, settings, leave_out=itself
        )
        write(SeedMaps(name, fitted, spaces))
        found.append(SeedMaps(name, fitted, {}))
    for note in notes:
        logger.warning("%s: %s", run.label, note)
    return tuple(found), tuple(notes)


def _conditions(task: TaskResult | None, shape: tuple[int, ...]) -> tuple[tuple[str, ...], NDArray[np.float64], list[str]]:
    """Names of conditions, their canonical columns (t, slices, n), and what is to be said."""
    if task is None:
        return (), np.zeros((*shape, 0)), []
    columns = task.columns
    at = [k for k, (name, condition) in enumerate(zip(columns.names, columns.conditions, strict=True)) if name == condition]
    notes = [] if at else ["No interactions of seeds with the task: its model has no canonical response (FIR)."]
    return tuple(columns.names[k] for k in at), columns.values[..., at], notes


def _weights(region: str, conditions: tuple[str, ...], task: TaskResult | None) -> dict[str, NDArray[np.float64]]:
    """Weights of the seed's columns: the seed, and its interaction with each contrast of the task's canonical columns."""
    found = {label_of(f"seed {region}"): np.eye(1 + len(conditions))[0]}
    for contrast, weights in {} if task is None else task.weights.items():
        own = [weights.get(name, 0.0) for name in conditions]
        if all(isinstance(one, float | int) for one in own) and any(own):
            found[label_of(f"ppi {region} {contrast}")] = np.array([0.0, *own], dtype=np.float64)
    return found
