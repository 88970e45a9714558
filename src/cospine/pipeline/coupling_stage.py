"""How brain and cord of one run go together: regions found natively, their courses, their correlations.

Regions are brought to the run, not the run to the regions: the courses come from the corrected series as it is, each slice at its
own time, and slices stay apart until they are correlated, so that those excited together can be left out.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.bids import Run, read_tsv
from cospine.errors import CoSpineError
from cospine.pipeline.leakage_stage import Leaking
from cospine.pipeline.noise_stage import NoiseModel
from cospine.pipeline.spaces_stage import Placement
from cospine.pipeline.task_stage import FEWEST_FREE, TaskResult
from cospine.signal.blocks import map_view, slice_view
from cospine.space.cord_template import CordTemplate
from cospine.space.grid import Grid
from cospine.space.templates import brain_template
from cospine.stats.beta_series import FEWEST_TRIALS, beta_maps, beta_series, trial_columns, trial_weights
from cospine.stats.brain_regions import brain_spheres, sphere_table, tasks_like
from cospine.stats.cord_regions import cord_regions
from cospine.stats.coupling import Coupling, coupling
from cospine.stats.events import event_rows
from cospine.stats.glm import residual_series
from cospine.stats.leakage import Leakage
from cospine.stats.regional_series import RegionSeries, regional_series
from cospine.stats.regions import Region, RegionSet, level_name

logger = logging.getLogger(__name__)

SEGMENTS = (5, 6, 7, 8)
"""Spinal segments whose horns are looked at: those of forearm and hand."""
LEAST_SHARE = 1 / 3
"""Share of a voxel that a horn must have: horns are hardly wider than voxels, and with half of one few voxels would be left."""
LEAST_OF_ALL = 1 / 6
"""Share that does for a horn which has `LEAST_SHARE` of no voxel, in that voxel of a slice which holds most of it."""
CONTROL = "control_neck"
"""Muscle and fat about the spine, which no nerve couples with the brain. CSF would be one too, but its mean is in the model."""
CONTROL_MM = (14.0, 26.0)
"""How far from the cord its tissue is taken."""
_PARTS = 3


@dataclass(frozen=True, eq=False)
class RunCoupling:
    """Coupling of one run.

    Parameters
    ----------
    regions : RegionSet
        On the run's grid.
    series : tuple of RegionSeries
        Residuals of task and noise, at the middle of the slice times.
    residuals : Coupling
        Of these.
    betas : mapping of str to Coupling
        Of responses to single trials, by condition.
    free : int
        Residual degrees of freedom of a slice, at least.
    leakage : Leakage or None
        What simultaneous slices leaked into each other, which was taken out; None where none was found.
    notes : tuple of str
        What was left out.
    """

    regions: RegionSet
    series: tuple[RegionSeries, ...] = field(repr=False)
    residuals: Coupling = field(repr=False)
    betas: Mapping[str, Coupling] = field(repr=False)
    free: int
    leakage: Leakage | None = field(repr=False)
    notes: tuple[str, ...]

    def between(self) -> tuple[float, float]:
        """Mean correlation of simultaneous slices of brain and cord, and of slices one off; NaN without any."""
        brain = np.array([one.level_system == "none" and one.name != CONTROL for one in self.residuals.a])
        cord = np.array([one.level_system != "none" for one in self.residuals.a])
        pairs = np.outer(brain, cord)
        found = []
        for values in (self.residuals.r_simultaneous, self.residuals.r_neighbouring):
            known = values[pairs & np.isfinite(values)]
            found.append(float(known.mean()) if known.size else float("nan"))
        return found[0], found[1]


def couple(
    run: Run,
    grid: Grid,
    noise: NoiseModel,
    task: TaskResult | None,
    corrected: NDArray[np.float32],
    mean: NDArray[np.float32],
    brain: NDArray[np.bool_],
    cord: NDArray[np.bool_],
    placement: Placement | None,
    slice_times_s: NDArray[np.float64] | None,
    leaking: Leaking | None,
) -> tuple[RunCoupling | None, str]:
    """Coupling of a run, or why there is none.

    Parameters
    ----------
    run, grid : Run, Grid
    noise : NoiseModel
        Drift, motion and physiology; they are held fixed, so that correlations are partial ones.
    task : TaskResult or None
        Its columns are held fixed too.
    corrected : ndarray (x, y, z, t)
        Series corrected for motion and distortion, not smoothed.
    mean : ndarray (x, y, z)
        Its mean.
    brain, cord : ndarray (x, y, z), bool
        Masks in its space.
    placement : Placement or None
        Where the run lies in the templates.
    slice_times_s : ndarray (slices,) or None
        As the run was processed with them; None where they are not known or were ignored.
    leaking : Leaking or None
        What leaks between simultaneous slices, to be taken out; None where none was found.

    Returns
    -------
    result : RunCoupling or None
    why : str
        Why there is none; empty otherwise.
    """
    if placement is None or placement.anatomy.to_mni is None or placement.anatomy.to_pam50 is None:
        return None, "brain and cord were not both brought to their templates"
    if slice_times_s is None:
        return None, "the times of the slices are not known"
    designs = noise.designs() if task is None else task.columns.beside(noise.designs())
    free = int(np.count_nonzero(noise.rows)) - 1 - designs.shape[2]
    if free < FEWEST_FREE:
        return None, f"the model leaves {free} degrees of freedom, at least {FEWEST_FREE} are wanted"
    regions = run_regions(run.task, placement, grid, mean, brain, cord, run.slice_axis)
    kinds = {one.level_system != "none" for one in regions.regions if one.name != CONTROL}
    if kinds != {True, False}:
        return None, f"no region of the {'brain' if True in kinds else 'cord'} lies in the field of view"
    series, folded = regional_voxels(corrected, regions, run.slice_axis, leaking)
    left = residual_series(series, designs, folded.labels > 0, rows=noise.rows)
    courses = regional_series(left, folded, slice_times_s, run.tr_s, rows=noise.rows)
    if len(courses) < 2:
        return None, "fewer than two regions hold a signal"
    betas, notes = _of_trials(run, noise, series, folded, slice_times_s) if task is not None else ({}, ())
    found = coupling(courses, slice_times_s=slice_times_s)
    left_out = () if leaking is None else leaking.notes
    return RunCoupling(
        regions, courses, found, betas, free, None if leaking is None else leaking.leakage, (*regions.notes, *left_out, *notes)
    ), ""


def run_regions(
    task: str,
    placement: Placement,
    grid: Grid,
    mean: NDArray[np.float32],
    brain: NDArray[np.bool_],
    cord: NDArray[np.bool_],
    slice_axis: int,
) -> RegionSet:
    """Horns of the cord by spinal segment, spheres of the brain, and tissue of the neck, on a run's grid."""
    anatomy = placement.anatomy
    assert anatomy.to_mni is not None  # asked before
    assert anatomy.to_pam50 is not None
    assert anatomy.template is not None
    labels = np.zeros(grid.shape, np.int32)
    regions: list[Region] = []

    def add(found: NDArray[np.int32], index: NDArray[np.int64], of: Sequence[Region]) -> None:
        for region in of:
            here = index[found == region.number]
            if len(here):
                number = len(regions) + 1
                labels[tuple(here.T)] = number
                regions.append(Region(**{**vars(region), "number": number}))

    template = brain_template(2)
    spheres = brain_spheres(template.grid, tasks=tasks_like(task), mask=template.mask)
    index = np.argwhere(brain)
    at = anatomy.to_mni.inverse.map(placement.alignment.to_t1w.map(grid.to_ras(index)))
    add(_labels_at(spheres, at), index, spheres.regions)
    horns = _horns(anatomy.template)
    index = np.argwhere(cord)
    samples = [
        _labels_at(horns, anatomy.to_pam50.inverse.map(placement.alignment.to_t1w.map(grid.to_ras(index + np.array(offset)))))
        for offset in product((np.arange(_PARTS) + 0.5) / _PARTS - 0.5, repeat=3)
    ]
    add(_most(np.stack(samples), index[:, slice_axis]), index, horns.regions)
    index = np.argwhere(_neck(mean, grid, brain, cord, slice_axis))
    about = Region(1, CONTROL, "midline", "control", source=f"{CONTROL_MM[0]:g} to {CONTROL_MM[1]:g} mm from the cord")
    add(np.ones(len(index), np.int32), index, [about])
    wanted = [*spheres.names, *horns.names]
    lost = [name for name in wanted if name not in {one.name for one in regions}]
    notes = (f"Regions without a voxel in this run: {', '.join(lost)}.",) if lost else ()
    return RegionSet("native", grid, labels, tuple(regions), notes)


def regional_voxels(
    corrected: NDArray[np.float32], regions: RegionSet, slice_axis: int, leaking: Leaking | None
) -> tuple[NDArray[np.float32], RegionSet]:
    """The voxels of regions alone, as `fold` has them, without what leaked into them."""
    series, folded, voxels = fold(corrected, regions, slice_axis)
    if leaking is not None:
        inside = folded.labels > 0
        series[inside] -= leaking.into(voxels[inside])
    return series, folded


def fold(series: NDArray, regions: RegionSet, slice_axis: int) -> tuple[NDArray[np.float32], RegionSet, NDArray[np.int64]]:
    """The voxels of regions alone, slice by slice.

    Returns
    -------
    series : ndarray (n, 1, slices, t), float32
        Fortran order; n is the number of voxels of the slice that holds most, 0 beyond a slice's own.
    regions : RegionSet
        Of these.
    voxels : ndarray (n, 1, slices, 3), int
        Where each was; 0 beyond a slice's own.
    """
    labels, view = map_view(regions.labels, slice_axis), slice_view(series, slice_axis)
    counts = np.count_nonzero(labels, axis=(1, 2))
    folded = np.zeros((int(counts.max()), 1, len(labels), series.shape[3]), np.float32, order="F")
    numbers = np.zeros(folded.shape[:3], np.int32)
    voxels = np.zeros((*folded.shape[:3], 3), np.int64)
    slower, faster = (axis for axis in (2, 1, 0) if axis != slice_axis)
    for k, count in enumerate(counts.tolist()):
        here = labels[k] > 0
        folded[:count, 0, k] = view[:, k][:, here].T
        numbers[:count, 0, k] = labels[k][here]
        voxels[:count, 0, k, slower], voxels[:count, 0, k, faster] = np.nonzero(here)
        voxels[:count, 0, k, slice_axis] = k
    of = RegionSet(regions.space, Grid(numbers.shape, np.eye(4)), numbers, regions.regions, regions.notes)
    return folded, of, voxels


def seed_names() -> tuple[str, ...]:
    """Regions that a run can have: spheres of all tasks, and horns of the segments that are looked at."""
    table = sphere_table()
    spheres = (name if side == "midline" else f"{name}_{side}" for name, side in zip(table["name"], table["side"], strict=True))
    horns = (
        f"{part}_{side}_spinal-{level_name(level, 'spinal')}"
        for level in SEGMENTS
        for part in ("dorsal", "ventral")
        for side in ("L", "R")
    )
    return (*spheres, *horns)


def _horns(template: CordTemplate) -> RegionSet:
    """Horns of the segments that are looked at."""
    every = cord_regions(template, "spinal")
    kept = tuple(one for one in every.regions if one.level in SEGMENTS)
    return RegionSet(every.space, every.grid, every.labels, kept, every.notes)


def _labels_at(regions: RegionSet, points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Label of the voxel that each point (n, 3), RAS mm, lies in; 0 beyond the grid and in regions that are not in the set."""
    voxels = np.rint(regions.grid.to_voxel(points)).astype(np.int64)
    inside = ((voxels >= 0) & (voxels < np.array(regions.grid.shape))).all(axis=1)
    found = np.zeros(len(points), np.int32)
    found[inside] = regions.labels[tuple(voxels[inside].T)]
    found[~np.isin(found, [one.number for one in regions.regions])] = 0
    return found


def _most(samples: NDArray[np.int32], slices: NDArray[np.int64]) -> NDArray[np.int32]:
    """Label that most samples (samples, n) of a voxel have, the lowest of several; 0 where it has less than its share.

    A label that nowhere has its share (a horn that falls between large voxels) takes the voxel of each slice (n,) that holds most
    of it, of those in which no other label has more.
    """
    shares = {number: np.mean(samples == number, axis=0) for number in np.unique(samples[samples > 0]).tolist()}
    best, most = np.zeros(samples.shape[1], np.int32), np.zeros(samples.shape[1])
    for number, share in shares.items():
        best[share > most] = number
        most = np.maximum(most, share)
    found = np.where(most >= LEAST_SHARE, best, 0).astype(np.int32)
    for number in [number for number, share in shares.items() if share.max() < LEAST_SHARE]:
        for k in np.unique(slices).tolist():
            own = np.where((slices == k) & (best == number), shares[number], 0)
            if own.max() >= LEAST_OF_ALL:
                found[np.argmax(own)] = number
    return found


def _neck(
    mean: NDArray[np.float32], grid: Grid, brain: NDArray[np.bool_], cord: NDArray[np.bool_], slice_axis: int
) -> NDArray[np.bool_]:
    """Tissue about the spine, in slices with cord and without brain."""
    views = [map_view(one, slice_axis) for one in (cord, brain)]
    slices = np.flatnonzero(views[0].any(axis=(1, 2)) & ~views[1].any(axis=(1, 2)))
    found = np.zeros(cord.shape, bool)
    target, signal = map_view(found, slice_axis), map_view(mean, slice_axis)
    across = [float(grid.voxel_mm[axis]) for axis in (2, 1, 0) if axis != slice_axis]
    for k in slices.tolist():
        away = np.asarray(ndimage.distance_transform_edt(~views[0][k], sampling=across))
        bright = signal[k] > 0.3 * np.median(signal[k][views[0][k]])
        target[k] = bright & (away >= CONTROL_MM[0]) & (away <= CONTROL_MM[1])
    return found


def _of_trials(
    run: Run, noise: NoiseModel, series: NDArray[np.float32], folded: RegionSet, slice_times_s: NDArray[np.float64]
) -> tuple[dict[str, Coupling], tuple[str, ...]]:
    """Coupling of responses to single trials, by condition; and why of some there is none."""
    assert run.events is not None  # there is a task
    rows, _ = event_rows(read_tsv(run.events), run.task, run.volumes * run.tr_s)
    conditions = rows.columns["trial_type"]
    trials = trial_columns(rows.onsets_s, rows.durations_s, noise.times_s)
    found, notes = {}, []
    maps = None
    for condition in dict.fromkeys(conditions):
        if conditions.count(condition) < FEWEST_TRIALS:
            continue
        if maps is None:
            weights = trial_weights(trials, noise.designs(), conditions, rows=noise.rows)
            maps = beta_maps(series, weights, folded.labels > 0, rows=noise.rows)
        try:
            found[condition] = coupling(beta_series(maps, folded, conditions, condition), slice_times_s=slice_times_s)
        except CoSpineError as error:
            notes.append(f"No coupling over trials of {condition}: {error.what}.")
    return found, tuple(notes)
