"""The noise of a run: its slice-wise model, what the model takes in every voxel, and how that meets task and neighbours.

Everything is evaluated at each slice's own time on the native grid of the corrected series. In the neck slices hold their own
signal (resampling is in-plane there); in the brain a voxel may hold a little of the next slice, which this neglects.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Run
from cospine.errors import CoSpineError
from cospine.motion.handover import acquisition_times
from cospine.physio.physiology import Physiology
from cospine.physio.pnm import Orders, pnm_columns, set_of
from cospine.physio.responses import RESPONSE_S, heart_column, respiration_column
from cospine.pipeline.motion_stage import Motion
from cospine.pipeline.settings import Settings
from cospine.signal.autocorrelation import autocorrelation
from cospine.signal.columns import SliceColumns
from cospine.signal.compcor import Components, csf_column, mean_course, principal_components, slice_components
from cospine.signal.confounds import cord_shift_columns
from cospine.signal.drift import cosine_drift
from cospine.signal.partial import PartialTests, partial_tests
from cospine.signal.regression import regress, slice_bases
from cospine.signal.simultaneous import SharedSignal, shared_signal, simultaneous_pairs
from cospine.signal.tissue import cord_csf, deep_white, ventricles
from cospine.space.grid import Grid
from cospine.stats.collinearity import Aliased, Collinearity, aliasing, collinearity, task_regressor

logger = logging.getLogger(__name__)

BRAIN, CORD, CSF = 1, 2, 3
ENOUGH_KNOWN = 0.8
"""Share of a run's slices whose phases must be known for the model to do without components of CSF."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """Masks (x, y, z) whose signal is taken for noise: CSF around the cord, in the ventricles, and deep white matter."""

    cord_csf: NDArray[np.bool_] = field(repr=False)
    ventricles: NDArray[np.bool_] = field(repr=False)
    white: NDArray[np.bool_] = field(repr=False)

    @property
    def csf(self) -> NDArray[np.bool_]:
        """Both kinds of CSF."""
        return self.cord_csf | self.ventricles


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Slice-wise columns of a run.

    Parameters
    ----------
    physiology : Physiology
        Recordings, peaks, phases.
    orders : Orders or None
        Of the harmonics that were possible; None without any recording.
    names : tuple of str
        Columns of the physiological noise model; none without recordings.
    columns : ndarray (t, slices, n)
        Unfiltered.
    local : SliceColumns
        Cord shifts, their derivatives, and components of CSF, slice by slice.
    components : mapping of str to Components
        aCompCor of the brain by volume: `a` of CSF and white matter, `c` of CSF, `w` of white matter.
    drift : ndarray (t, d)
        Cosines slower than the high-pass.
    head : ndarray (t, 6) or (t, 0)
        Head motion.
    times_s : ndarray (t, slices)
        When each slice was acquired, as the columns were evaluated.
    cardiac_phase, respiratory_phase : ndarray (t, slices)
        Phases at each slice's time, rad; NaN where not known.
    tissue : Tissue
        Where CSF and white matter were sought.
    rows : ndarray (t,), bool
        Volumes in steady state.
    """

    physiology: Physiology
    orders: Orders | None
    names: tuple[str, ...]
    columns: NDArray[np.float64] = field(repr=False)
    local: SliceColumns = field(repr=False)
    components: Mapping[str, Components] = field(repr=False)
    drift: NDArray[np.float64] = field(repr=False)
    head: NDArray[np.float64] = field(repr=False)
    times_s: NDArray[np.float64] = field(repr=False)
    cardiac_phase: NDArray[np.float64] = field(repr=False)
    respiratory_phase: NDArray[np.float64] = field(repr=False)
    tissue: Tissue = field(repr=False)
    rows: NDArray[np.bool_] = field(repr=False)

    @property
    def modelled(self) -> bool:
        """Whether pulse or breathing is in the model."""
        return self.orders is not None and self.orders.columns > 0

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where (t, slices) all phases of the model are known."""
        known = np.ones(self.cardiac_phase.shape, dtype=bool)
        for channel, phase in (
            (self.physiology.cardiac, self.cardiac_phase),
            (self.physiology.respiratory, self.respiratory_phase),
        ):
            if channel is not None:
                known &= np.isfinite(phase)
        return known

    @property
    def sets(self) -> dict[str, NDArray[np.int64]]:
        """Places in `designs` of the columns of each set of noise; a column that is 0 throughout (CSF not found) is in none."""
        where: dict[str, list[int]] = {}
        start = self._base
        names = [set_of(name) for name in self.names]
        names += ["components"] * len(self._noise_local)
        there = [*np.any(self.columns != 0, axis=(0, 1)).tolist(), *[True] * len(self._noise_local)]
        for at, name in enumerate(names):
            if there[at]:
                where.setdefault(name, []).append(start + at)
        return {name: np.array(places) for name, places in where.items()}

    @property
    def motion(self) -> NDArray[np.int64]:
        """Places in `designs` of head motion and cord shifts."""
        return np.arange(self.drift.shape[1], self._base)

    @property
    def _base(self) -> int:
        return self.drift.shape[1] + self.head.shape[1] + len(self._shifts)

    @property
    def _shifts(self) -> list[str]:
        return [name for name in self.local.names if name in ("cord_shift_i", "cord_shift_j")]

    @property
    def _noise_local(self) -> list[str]:
        """Components of CSF, which stand for physiology where little or none was recorded."""
        return [] if self._enough else [name for name in self.local.names if name.startswith("csf_comp_cor")]

    @property
    def _enough(self) -> bool:
        """Whether pulse or breathing is modelled for most of the run."""
        return self.modelled and float(self.known[self.rows].mean()) >= ENOUGH_KNOWN

    @property
    def fits(self) -> bool:
        """Whether the model and a constant leave degrees of freedom."""
        wide = self._base + len(self.names) + len(self._noise_local)
        return wide + 2 < int(np.count_nonzero(self.rows))

    def designs(self) -> NDArray[np.float64]:
        """Designs (slices, t, p): drift, head motion, cord shifts, then the physiological noise (or CSF components).

        All are taken out at once, so that noise columns are high-passed exactly like the data (Lindquist 2019).
        """
        volumes, slices = self.cardiac_phase.shape
        common = np.concatenate([self.drift, self.head], axis=1)
        common = np.broadcast_to(common[:, None], (volumes, slices, common.shape[1]))
        shifts, components = self.local.chosen(self._shifts), self.local.chosen(self._noise_local)
        return np.concatenate([common, shifts, self.columns, components], axis=2).transpose(1, 0, 2)


@dataclass(frozen=True, eq=False)
class Noise:
    """The model, what it takes where, and what simultaneous slices share.

    Parameters
    ----------
    model : NoiseModel
    signals : mapping of str to ndarray (t,)
        Mean signals of brain, ventricles and white matter, under fMRIPrep's names.
    tests : PartialTests or None
        None where the model leaves no degree of freedom, or holds no noise column.
    shared : SharedSignal or None
        None without simultaneous slices.
    task : Task or None
        None without a condition of at least two events.
    """

    model: NoiseModel
    signals: Mapping[str, NDArray[np.float64]] = field(repr=False)
    tests: PartialTests | None
    shared: SharedSignal | None
    task: "Task | None"


@dataclass(frozen=True, eq=False)
class Task:
    """What the task has in common with the noise model.

    Parameters
    ----------
    condition : str
        The one that has most in common, of those in the events.
    onsets_s : ndarray (n,)
        Of its events.
    common : Collinearity
        With motion and each set of noise columns.
    aliased : tuple of Aliased
        Heartbeat and breathing as a volume every TR shows them.
    """

    condition: str
    onsets_s: NDArray[np.float64]
    common: Collinearity
    aliased: tuple[Aliased, ...]

    @property
    def rate_hz(self) -> float:
        """How often it happens: over the median time between its events."""
        return float(1 / np.median(np.diff(np.sort(self.onsets_s))))


def model_noise(
    run: Run,
    grid: Grid,
    motion: Motion,
    physiology: Physiology,
    settings: Settings,
    corrected: NDArray[np.float32],
    mean: NDArray[np.float32],
    sd: NDArray[np.float32],
    brain: NDArray[np.bool_],
    cord: NDArray[np.bool_],
    dummies: int,
) -> NoiseModel:
    """Build the model of a run.

    Parameters
    ----------
    run, grid, motion, settings
        Of the run.
    physiology : Physiology
        Its pulse and breathing.
    corrected : ndarray (x, y, z, t)
        Series corrected for motion and distortion, not smoothed.
    mean, sd : ndarray (x, y, z)
        Its temporal mean and SD.
    brain, cord : ndarray (x, y, z), bool
        Masks in its space; empty where a region is not there.
    dummies : int
        Volumes at the start that are not in steady state: they do not shape any column or fit.
    """
    axis, volumes = run.slice_axis, corrected.shape[3]
    times, rows = _times(run, settings, volumes), np.arange(volumes) >= dummies
    drift = cosine_drift(volumes, run.tr_s, settings.high_pass, dummies)
    found = find_tissue(mean, sd, brain, cord, grid, axis)
    of_heart, of_breath = physiology.cardiac_phase(times), physiology.respiratory_phase(times)
    orders, names, columns = _physiological(physiology, settings, times, of_heart, of_breath)
    if orders is not None:
        csf = csf_column(corrected, found.csf, axis, rows=rows)
        names, columns = (*names, "csf"), np.concatenate([columns, csf[..., None]], axis=2)
    shifts = SliceColumns.none(times.shape) if motion.cord is None else cord_shift_columns(motion.cord, times.shape[1])
    components = {
        kind: principal_components(corrected, mask, drift=drift, rows=rows)
        for kind, mask in (("a", found.ventricles | found.white), ("c", found.ventricles), ("w", found.white))
    }
    return NoiseModel(
        physiology=physiology,
        orders=orders,
        names=names,
        columns=columns,
        local=shifts.joined(slice_components(corrected, found.csf, axis, drift=drift, rows=rows)),
        components=components,
        drift=drift,
        head=np.empty((volumes, 0)) if motion.head is None else motion.head.parameters,
        times_s=times,
        cardiac_phase=of_heart,
        respiratory_phase=of_breath,
        tissue=found,
        rows=rows,
    )


def find_tissue(
    mean: NDArray, sd: NDArray, brain: NDArray[np.bool_], cord: NDArray[np.bool_], grid: Grid, slice_axis: int
) -> Tissue:
    """Masks of CSF and white matter from mean (x, y, z) and temporal SD of the corrected series."""
    inner = ventricles(mean, sd, brain & ~cord, grid.affine)
    return Tissue(
        cord_csf(mean, sd, cord, grid.affine, slice_axis), inner, deep_white(mean, sd, brain & ~cord, grid.affine, inner)
    )


def mean_signals(corrected: NDArray[np.float32], brain: NDArray[np.bool_], found: Tissue) -> dict[str, NDArray[np.float64]]:
    """Mean signals by volume (t,) of brain, ventricles and white matter, those that there are, under fMRIPrep's names."""
    masks = {
        "global_signal": brain,
        "csf": found.ventricles,
        "white_matter": found.white,
        "csf_wm": found.ventricles | found.white,
    }
    if not (found.ventricles.any() and found.white.any()):
        del masks["csf_wm"]
    return {name: mean_course(corrected, mask) for name, mask in masks.items() if mask.any()}


def explained(
    run: Run, model: NoiseModel, corrected: NDArray[np.float32], brain: NDArray[np.bool_], cord: NDArray[np.bool_], grid: Grid
) -> PartialTests | None:
    """What each set of columns takes in every voxel of brain, cord and CSF; None where nothing can be tested.

    That is where the model holds no noise column, or leaves no degree of freedom. Noise remembers the volume before, and the
    heartbeat aliases to slow rhythms: both are whitened by the noise's own autocorrelation, each kind of tissue by itself.
    """
    sets, designs = model.sets, model.designs()
    if not sets or not model.fits:
        return None
    regions = tissue_labels(brain, cord, model.tissue.csf)
    if not model.modelled:  # components of CSF cannot be tested where they come from
        regions[regions == CSF] = 0
    zooms = (float(grid.voxel_mm[0]), float(grid.voxel_mm[1]), float(grid.voxel_mm[2]))
    rho = autocorrelation(corrected, designs, regions, zooms, rows=model.rows, slice_axis=run.slice_axis)
    return partial_tests(
        corrected, designs, sets, mask=regions > 0, rows=model.rows, autocorrelation=rho, slice_axis=run.slice_axis
    )


def tissue_labels(brain: NDArray[np.bool_], cord: NDArray[np.bool_], csf: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Kinds of tissue whose noise is told apart: 1 brain, 2 cord, 3 CSF in and around both."""
    labels = np.where(brain, BRAIN, 0).astype(np.uint8)
    labels[csf] = CSF
    labels[cord] = CORD
    return labels


def compared_with_task(run: Run, model: NoiseModel, events: Sequence[tuple[float, float, str]]) -> Task | None:
    """How much the task looks like noise and motion; the worst condition of the events (onset s, duration s, name)."""
    designs = model.designs()
    sets = {name: places for name, places in {"motion": model.motion, **model.sets}.items() if places.size}
    if not sets or not model.fits:
        return None
    found = []
    for condition in sorted({name for *_, name in events}):
        onsets, durations = np.array([(onset, duration) for onset, duration, name in events if name == condition]).T
        if onsets.size > 1:
            common = collinearity(task_regressor(onsets, durations, model.times_s), designs, sets, rows=model.rows)
            worst = common.total.summary()["r2_median"]
            found.append((worst if np.isfinite(worst) else -1.0, condition, onsets, common))
    if not found:
        return None
    _, condition, onsets, common = max(found, key=lambda one: one[0])
    rates = {kind: channel.rates_hz for kind, channel in model.physiology.channels.items()}
    return Task(condition, onsets, common, aliasing(rates, run.tr_s, onsets))


def share_of_simultaneous(run: Run, model: NoiseModel, stored: NDArray[np.float32]) -> SharedSignal | None:
    """What simultaneous slices of the stored series share beyond the model; None without any. Overwrites the series.

    Leakage lives in acquired voxels, so it is looked for before anything is moved.
    """
    axis = -1 if run.phase_encoding is None else "ijk".index(run.phase_encoding[0])
    if run.slice_times_s is None or axis in (-1, run.slice_axis) or len(set(run.slice_times_s)) < 2:
        return None
    if not len(simultaneous_pairs(run.slice_times_s)):
        return None
    steady = slice(int(np.argmax(model.rows)), None)
    mean = stored[..., steady].mean(axis=3, dtype=np.float32)
    residuals = left_of_acquired(run, model, stored)
    try:
        return shared_signal(residuals[..., steady], run.slice_times_s, body_of(mean), axis, slice_axis=run.slice_axis)
    except CoSpineError as error:  # too little body in pairs of slices: a view of brain or neck alone
        logger.info("%s: %s", run.label, error)
        return None


def left_of_acquired(run: Run, model: NoiseModel, stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """What drift, motion and physiology leave of the stored series (x, y, z, t), which is overwritten."""
    designs = model.designs()
    if not model.fits:
        designs = np.broadcast_to(model.drift, (designs.shape[0], *model.drift.shape))
    return regress(stored, slice_bases(designs, model.rows), keep_mean=False, slice_axis=run.slice_axis, out=stored)


def body_of(mean: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where a mean image shows more than noise."""
    return np.asarray(mean > 0.15 * np.percentile(mean, 98))


def _times(run: Run, settings: Settings, volumes: int) -> NDArray[np.float64]:
    """When each slice of each volume was acquired (t, slices), s from the first volume."""
    stated = None if settings.ignores("slicetiming") else run.slice_times_s
    return acquisition_times(volumes, run.shape[run.slice_axis], run.tr_s, None if stated is None else np.array(stated))


def _physiological(
    physiology: Physiology,
    settings: Settings,
    times_s: NDArray[np.float64],
    of_heart: NDArray[np.float64],
    of_breath: NDArray[np.float64],
) -> tuple[Orders | None, tuple[str, ...], NDArray[np.float64]]:
    """Orders, names and columns (t, slices, n) of what was recorded; CSF comes later."""
    if not physiology.channels:
        return None, (), np.empty((*times_s.shape, 0))
    cardiac, respiratory = physiology.cardiac, physiology.respiratory
    orders = Orders.of(settings.pnm_orders).lower(cardiac is not None, respiratory is not None)
    names, columns = pnm_columns(of_heart, of_breath, orders)
    slow: dict[str, NDArray[np.float64]] = {}
    if cardiac is not None and "hrv" in settings.slow_responses:
        slow["hrv"] = heart_column(cardiac.peaks_s, times_s)
    belt = physiology.belt(times_s, before_s=RESPONSE_S)  # what happened before the run still acts in it
    if respiratory is not None and belt is not None and "rvt" in settings.slow_responses:
        slow["rvt"] = respiration_column(*belt, respiratory.peaks_s, times_s)
    if slow:
        names, columns = (*names, *slow), np.concatenate([columns, np.stack(list(slow.values()), axis=2)], axis=2)
    return orders, names, columns
