"""First level of a run: what the task did in every voxel, natively, and the same carried to the spaces of templates.

Each slice has the design of its own acquisition times, with drift, motion and the physiological noise model in it; nothing is
regressed out before. So it runs on the corrected, unsmoothed series of the native grid (interpolation along z or into a template
would mix the times of slices); effects and their variances are carried and smoothed afterwards, brain and cord apart.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Run
from cospine.bids.tables import read_tsv
from cospine.errors import CoSpineError
from cospine.pipeline.noise_stage import NoiseModel, tissue_labels
from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import PAM50, Placement, Space
from cospine.pipeline.stat_maps import Carried, carry
from cospine.quality.planes import sampled
from cospine.signal.compcor import mean_course
from cospine.space.grid import Grid
from cospine.space.templates import brain_template
from cospine.stats.design import TaskColumns, estimable
from cospine.stats.glm import Fit, fit, residual_patterns
from cospine.stats.model import builtin_model, read_model, run_model
from cospine.stats.specification import StatsModel
from cospine.stats.whitening import noise_model

logger = logging.getLogger(__name__)

RESIDUAL_VOLUMES = 24
"""Volumes of residuals that tell how smooth the noise is."""
FEWEST_FREE = 20
"""Degrees of freedom below which no test is worth its name."""
HALF = 0.5
SCANNED = {"motor cortex, left": (-38, -25, 56), "motor cortex, right": (38, -25, 56), "visual cortex": (0, -84, 2)}
"""MNI mm, in and about which responses show the start of a run: hand areas (Mayka et al., NeuroImage 2006) and striate cortex."""
SCANNED_MM = 10.0
LAGS_S = np.arange(-20.0, 20.1, 2.0)
"""By how much the onsets are moved in the scan for the start of the run."""


@dataclass(frozen=True, eq=False)
class InSpace:
    """The contrasts of a run in one template's space."""

    grid: Grid
    contrasts: dict[str, Carried] = field(repr=False)
    fwhm_mm: tuple[float, float, float]
    reference: str


@dataclass(frozen=True, eq=False)
class TaskResult:
    """First level of a run.

    Parameters
    ----------
    model : StatsModel
        Conditions, response and contrasts.
    columns : TaskColumns
        Of the task.
    weights : mapping of str to mapping of str to float
        Contrasts, column by column; lists for F.
    fit : Fit
        Native maps.
    nuisance : int
        Columns beside the task's and the constant.
    spaces : mapping of str to InSpace
        Smoothed maps.
    lags : mapping of str to ndarray (n,)
        t of regions that should respond, for onsets moved by `LAGS_S`.
    notes : tuple of str
        What was left out or assumed.
    """

    model: StatsModel
    columns: TaskColumns = field(repr=False)
    weights: dict[str, dict[str, float | list[float]]]
    fit: Fit = field(repr=False)
    nuisance: int
    spaces: dict[str, InSpace] = field(repr=False)
    lags: dict[str, NDArray[np.float64]] = field(repr=False)
    notes: tuple[str, ...]

    @property
    def hrf(self) -> str:
        """Response models, as nilearn names them."""
        return ", ".join(dict.fromkeys(one.hrf for one in self.model.run.convolutions))


def first_level(
    run: Run,
    grid: Grid,
    noise: NoiseModel,
    settings: Settings,
    corrected: NDArray[np.float32],
    brain: NDArray[np.bool_],
    cord: NDArray[np.bool_],
    placement: Placement | None,
) -> tuple[TaskResult | None, str]:
    """First level of a run, or why there is none.

    Parameters
    ----------
    run, grid, settings
        Of the run.
    noise : NoiseModel
        Its drift, motion and physiology.
    corrected : ndarray (x, y, z, t)
        Series corrected for motion and distortion, not smoothed.
    brain, cord : ndarray (x, y, z), bool
        Masks in its space.
    placement : Placement or None
        Where the run lies in the templates.

    Returns
    -------
    result : TaskResult or None
    why : str
        Why there is none; empty otherwise.
    """
    if run.events is None or settings.ignores("events"):
        return None, "it has no events" if run.events is None else "events were ignored, as asked for"
    model = builtin_model(run.task) if settings.model is None else read_model(settings.model)
    if model is None or not model.applies(task=run.task):
        kind = "ready model" if settings.model is None else f"model in {settings.model.name}"
        return None, f"there is no {kind} for the task {run.task}" + ("; give one with --model" if settings.model is None else "")
    if settings.hrf:
        model = model.with_hrf(settings.hrf)
    table, end_s = read_tsv(run.events), run.volumes * run.tr_s
    made = run_model(model, table, run.task, noise.times_s, end_s)
    columns = made.columns
    nuisance = noise.designs()
    designs = columns.beside(nuisance)
    free = int(np.count_nonzero(noise.rows)) - 1 - designs.shape[2]
    if free < FEWEST_FREE:
        return None, (
            f"{designs.shape[2]} columns and a constant leave {free} of {np.count_nonzero(noise.rows)} volumes, at least "
            f"{FEWEST_FREE} are wanted (lower the orders of the noise model: --pnm-orders 2 2 0 0)"
        )
    weights = {label: one.weights for label, one in made.contrasts.items() if one.test in ("t", "F")}
    able = estimable(designs, weights, columns.names, rows=noise.rows)
    notes = [*made.notes, *able.notes]
    vectors = {name: widened(weights[name], designs.shape[2]) for name in able.usable}
    for note in notes:
        logger.warning("%s: %s", run.label, note)
    if not vectors:
        return None, f"no contrast can be estimated: {' '.join(notes)}"

    found, spaces = fit_and_carry(run, grid, noise, designs, vectors, corrected, brain, cord, placement, settings)
    lags = {} if placement is None else onset_scan(run, model, table, noise, corrected, brain, grid, placement)
    shown = {name: {column: weights[name][..., k].tolist() for k, column in enumerate(columns.names)} for name in vectors}
    return TaskResult(model, columns, shown, found, nuisance.shape[2], spaces, lags, tuple(notes)), ""


def widened(weights: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Weights of the task's columns, 0 for all others."""
    wide = np.zeros((*weights.shape[:-1], width))
    wide[..., : weights.shape[-1]] = weights
    return wide


def fit_and_carry(
    run: Run,
    grid: Grid,
    noise: NoiseModel,
    designs: NDArray[np.float64],
    contrasts: Mapping[str, NDArray[np.float64]],
    corrected: NDArray[np.float32],
    brain: NDArray[np.bool_],
    cord: NDArray[np.bool_],
    placement: Placement | None,
    settings: Settings,
    *,
    leave_out: NDArray[np.bool_] | None = None,
) -> tuple[Fit, dict[str, InSpace]]:
    """Fit contrasts of a run's designs in brain and cord (but for `leave_out`), and carry them to every space it is in."""
    regions = tissue_labels(brain, cord, noise.tissue.csf)
    size = tuple(float(mm) for mm in grid.voxel_mm)
    kinds = noise_model(corrected, designs, regions, size, rows=noise.rows, slice_axis=run.slice_axis)  # type: ignore[arg-type]
    mask = (brain | cord) & (kinds.group > 0)
    if leave_out is not None:
        mask &= ~leave_out
    found = fit(corrected, designs, contrasts, mask, noise=kinds, rows=noise.rows, slice_axis=run.slice_axis)
    if placement is None:
        return found, {}
    steady = np.flatnonzero(noise.rows)
    some = steady[np.unique(np.linspace(0, steady.size - 1, RESIDUAL_VOLUMES).round().astype(int))]
    patterns = residual_patterns(corrected, designs, mask, some, rows=noise.rows, slice_axis=run.slice_axis)
    dof = float(found.dof[found.dof > 0].min())
    return found, {
        space.name: _in_space(found, patterns, dof, space, placement, brain, cord, settings)
        for space, _ in placement.means.values()
    }


def _in_space(
    found: Fit,
    patterns: NDArray[np.float32],
    dof: float,
    space: Space,
    placement: Placement,
    brain: NDArray[np.bool_],
    cord: NDArray[np.bool_],
    settings: Settings,
) -> InSpace:
    """Contrasts of a run in one template's space."""
    maps = {name: (one.effect, one.variance) for name, one in found.contrasts.items() if one.test == "t"}
    if space.name == PAM50:
        template = placement.anatomy.template
        if template is None:
            raise CoSpineError("there is no cord template", PAM50, "leave out the space PAM50")
        points = space.grid.to_ras(np.moveaxis(np.indices(space.grid.shape), 0, -1))
        target = sampled(template.cord, template.grid.affine, points) >= HALF
        region, reference = cord, template.source
        across, along = settings.smoothing_cord
        fwhm = (across, across, along)
    else:
        brain_space = brain_template(round(float(space.grid.voxel_mm[0])))
        target, region, reference = brain_space.mask, brain, "ICBM 152 nonlinear symmetric 2009a, as nilearn carries it"
        fwhm = (settings.smoothing_brain, settings.smoothing_brain, settings.smoothing_brain)
    return InSpace(space.grid, carry(maps, np.moveaxis(patterns, -1, 0), dof, space, region, target, fwhm), fwhm, reference)


def onset_scan(
    run: Run,
    model: StatsModel,
    table: Mapping[str, Sequence[str]],
    noise: NoiseModel,
    corrected: NDArray[np.float32],
    brain: NDArray[np.bool_],
    grid: Grid,
    placement: Placement,
) -> dict[str, NDArray[np.float64]]:
    """t of the first condition on the mean signal of motor and visual cortex, for onsets moved by `LAGS_S`; none without MNI."""
    to_mni = placement.anatomy.to_mni
    if to_mni is None or not brain.any():
        return {}
    index = np.argwhere(brain)
    at = to_mni.inverse.map(placement.alignment.to_t1w.map(grid.to_ras(index)))
    near = {name: index[np.linalg.norm(at - centre, axis=1) <= SCANNED_MM] for name, centre in SCANNED.items()}
    near = {name: held for name, held in near.items() if len(held)}
    if not near:
        return {}
    signals, times = [], []
    for held in near.values():
        mask = np.zeros(brain.shape, dtype=bool)
        mask[tuple(held.T)] = True
        signals.append(mean_course(corrected, mask))
        times.append(noise.times_s[:, held[:, run.slice_axis]].mean(axis=1))
    # each place is a slice of its own to the model: it has a time of its own
    series, when = np.stack(signals)[None, None], np.stack(times, axis=1)
    nuisance = np.repeat(np.concatenate([noise.drift, noise.head], axis=1)[None], len(near), axis=0)
    found = np.full((LAGS_S.size, len(near)), np.nan)
    for place, lag in enumerate(LAGS_S):
        moved = {**table, "onset": [_later(cell, float(lag)) for cell in table["onset"]]}
        columns = run_model(model, moved, run.task, when, np.inf).columns
        designs = columns.beside(nuisance)
        first = np.eye(designs.shape[2])[0]
        if estimable(designs, {"first": first}, columns.names, rows=noise.rows).usable:
            fitted = fit(series, designs, {"first": first}, np.ones((1, 1, len(near)), bool), rows=noise.rows, percent=False)
            found[place] = fitted.contrasts["first"].t[0, 0]
    return {name: found[:, k] for k, name in enumerate(near)}


def _later(cell: str, by_s: float) -> str:
    """An onset as its table has it, moved; `n/a` stays."""
    return cell if cell == "n/a" else f"{float(cell) + by_s:.6f}"
