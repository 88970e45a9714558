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
from scipy import ndimage

from cospine.bids import Run
from cospine.bids.tables import read_tsv
from cospine.errors import CoSpineError
from cospine.pipeline.noise_stage import NoiseModel
from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import PAM50, Placement, Space
from cospine.pipeline.stat_maps import Carried, carry
from cospine.signal.compcor import mean_course
from cospine.space.grid import Grid
from cospine.space.templates import brain_template
from cospine.stats.design import TaskColumns, estimable
from cospine.stats.glm import Fit, fit, residual_series
from cospine.stats.model import builtin_model, read_model, run_model
from cospine.stats.specification import StatsModel
from cospine.stats.whitening import noise_model

logger = logging.getLogger(__name__)

BRAIN, CORD, CSF = 1, 2, 3
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
    if run.events is None or "events" in settings.ignore:
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
    designs = columns.beside(noise.designs())
    free = int(np.count_nonzero(noise.rows)) - 1 - designs.shape[2]
    if free < FEWEST_FREE:
        return None, (
            f"{designs.shape[2]} columns and a constant leave {free} of {np.count_nonzero(noise.rows)} volumes, at least "
            f"{FEWEST_FREE} are wanted (lower the orders of the noise model: --pnm-orders 2 2 0 0)"
        )
    weights = {label: one.weights for label, one in made.contrasts.items() if one.test in ("t", "F")}
    able = estimable(designs, weights, columns.names, rows=noise.rows)
    notes = [*made.notes, *able.notes]
    vectors = {name: _widened(weights[name], designs.shape[2]) for name in able.usable}
    for note in notes:
        logger.warning("%s: %s", run.label, note)
    if not vectors:
        return None, f"no contrast can be estimated: {' '.join(notes)}"

    regions = tissue_labels(brain, cord, noise.tissue.csf)
    size = tuple(float(mm) for mm in grid.voxel_mm)
    kinds = noise_model(corrected, designs, regions, size, rows=noise.rows, slice_axis=run.slice_axis)  # type: ignore[arg-type]
    mask = (brain | cord) & (kinds.group > 0)
    found = fit(corrected, designs, vectors, mask, noise=kinds, rows=noise.rows, slice_axis=run.slice_axis)
    spaces = {}
    if placement is not None:
        patterns = noise_patterns(corrected, designs, mask, noise.rows, run.slice_axis)
        dof = float(found.dof[found.dof > 0].min())
        for space, _ in placement.means.values():
            spaces[space.name] = in_space(found, patterns, dof, space, placement, brain, cord, settings)
    lags = {} if placement is None else onset_scan(run, model, table, noise, corrected, brain, grid, placement)
    shown = {name: {column: weights[name][..., k].tolist() for k, column in enumerate(columns.names)} for name in vectors}
    return TaskResult(model, columns, shown, found, noise.designs().shape[2], spaces, lags, tuple(notes)), ""


def _widened(weights: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Weights of the task's columns, 0 for all others."""
    wide = np.zeros((*weights.shape[:-1], width))
    wide[..., : weights.shape[-1]] = weights
    return wide


def tissue_labels(brain: NDArray[np.bool_], cord: NDArray[np.bool_], csf: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Kinds of tissue whose noise is told apart: 1 brain, 2 cord, 3 CSF in and around both."""
    labels = np.where(brain, BRAIN, 0).astype(np.uint8)
    labels[csf] = CSF
    labels[cord] = CORD
    return labels


def noise_patterns(
    corrected: NDArray[np.float32],
    designs: NDArray[np.float64],
    mask: NDArray[np.bool_],
    rows: NDArray[np.bool_],
    slice_axis: int,
) -> list[NDArray[np.float32]]:
    """Some volumes of the residuals, each voxel over its own SD; 0 outside of the mask."""
    steady = np.flatnonzero(rows)
    chosen = steady[np.unique(np.linspace(0, steady.size - 1, RESIDUAL_VOLUMES).round().astype(int))]
    residuals = residual_series(corrected, designs, mask, rows=rows, slice_axis=slice_axis)
    sd = residuals[..., steady].std(axis=3)
    sd[sd == 0] = np.inf
    return [residuals[..., t] / sd for t in chosen]


def in_space(
    found: Fit,
    patterns: list[NDArray[np.float32]],
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
        target, region, reference = _on(template.grid, template.cord, space.grid) >= HALF, cord, template.source
        along = float(settings.smoothing_cord[1])
        across = float(settings.smoothing_cord[0])
        fwhm = (across, across, along)
    else:
        brain_space = brain_template(round(float(space.grid.voxel_mm[0])))
        target, region, reference = brain_space.mask, brain, "ICBM 152 nonlinear symmetric 2009a, as nilearn carries it"
        fwhm = (settings.smoothing_brain, settings.smoothing_brain, settings.smoothing_brain)
    return InSpace(space.grid, carry(maps, patterns, dof, space, region, target, fwhm), fwhm, reference)


def _on(grid: Grid, image: NDArray, wanted: Grid) -> NDArray[np.float32]:
    """An image on another grid of the same world."""
    points = wanted.to_ras(np.moveaxis(np.indices(wanted.shape), 0, -1))
    at = np.moveaxis(grid.to_voxel(points), -1, 0)
    return np.asarray(ndimage.map_coordinates(np.asarray(image, np.float32), at, order=1, mode="nearest"), dtype=np.float32)


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
    found = {}
    for name, centre in SCANNED.items():
        held = index[np.linalg.norm(at - centre, axis=1) <= SCANNED_MM]
        if not len(held):
            continue
        mask = np.zeros(brain.shape, dtype=bool)
        mask[tuple(held.T)] = True
        signal = mean_course(corrected, mask)[noise.rows]
        times = noise.times_s[:, held[:, run.slice_axis]].mean(axis=1)
        nuisance = np.column_stack([np.ones(len(times)), noise.drift, noise.head])
        values = np.full(LAGS_S.size, np.nan)
        for place, lag in enumerate(LAGS_S):
            moved = {**table, "onset": [_later(cell, float(lag)) for cell in table["onset"]]}
            task = run_model(model, moved, run.task, times[:, None], np.inf).columns.values[:, 0]
            values[place] = _t_of_first(signal, np.column_stack([task, nuisance])[noise.rows])
        found[name] = values
    return found


def _later(cell: str, by_s: float) -> str:
    """An onset as its table has it, moved; `n/a` stays."""
    return cell if cell == "n/a" else f"{float(cell) + by_s:.6f}"


def _t_of_first(signal: NDArray[np.float64], design: NDArray[np.float64]) -> float:
    """t of the first column by ordinary least squares; NaN where it cannot be told."""
    inverse = np.linalg.pinv(design)
    left = signal - design @ (inverse @ signal)
    free = len(signal) - np.linalg.matrix_rank(design)
    spread = np.sqrt((left @ left) / free * (inverse[0] @ inverse[0])) if free > 0 else 0.0
    return float(inverse[0] @ signal / spread) if spread > 0 else float("nan")
