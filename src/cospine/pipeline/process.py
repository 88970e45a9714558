"""One run, from the stored series to its part of the report, step by step; what has been done already is left as it is."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Run, load_events
from cospine.errors import CoSpineError
from cospine.pipeline.anatomy_files import write_placement, write_space
from cospine.pipeline.anatomy_stage import Anatomy
from cospine.pipeline.corrected_run import CorrectedRun, Files
from cospine.pipeline.coupling_files import write_coupling
from cospine.pipeline.coupling_stage import couple
from cospine.pipeline.given import given_peaks_file
from cospine.pipeline.keeper import Done
from cospine.pipeline.leakage_stage import find_leaking
from cospine.pipeline.noise_files import write_clean, write_noise
from cospine.pipeline.noise_stage import (
    Noise,
    compared_with_task,
    explained,
    left_of_acquired,
    mean_signals,
    model_noise,
    share_of_simultaneous,
)
from cospine.pipeline.person import Person
from cospine.pipeline.physio_stage import sessions_beside
from cospine.pipeline.reporting import RunSection, quality_record, run_section
from cospine.pipeline.run_parts import Coupled, Statistics, displacements
from cospine.pipeline.run_result import RunResult
from cospine.pipeline.seed_stage import SeedMaps, seed_maps
from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import Placement, Space, bring_to_spaces, place
from cospine.pipeline.tables import confounds_table
from cospine.pipeline.task_files import write_seed, write_statistics
from cospine.pipeline.task_stage import first_level
from cospine.quality.report import Cost

logger = logging.getLogger(__name__)

_LEFT_OUT = "level minimal leaves it out"
_DENOISED = "thermal denoising leaves an unknown number of degrees of freedom"


def process_run(run: Run, person: Person) -> tuple[Done[Any], ...]:
    """Do all steps of a run that are not done yet, and write what belongs to it.

    Parameters
    ----------
    run : Run
        One without errors.
    person : Person
        Whose it is.

    Returns
    -------
    tuple of Done
        All steps that made it, those of the person's fields and anatomy first.

    Raises
    ------
    CoSpineError
        When the run cannot be processed: with what, where and remedy.
    """
    process = _Process(run, person)
    try:
        return process.all()
    finally:
        if process.scratch is not None:
            process.scratch.close()


class _Process(CorrectedRun):
    """All steps of a run."""

    def all(self) -> tuple[Done[Any], ...]:
        """Every step that the settings ask for."""
        _ = self.report  # the last: it wants all others
        self.keeper.forget_others(self.person.unit_of(self.run), [one.record.name for one in self.steps])
        return self.made_by

    @property
    def made_by(self) -> tuple[Done[Any], ...]:
        """Steps that have been done so far, after those of the person that the run builds on."""
        anatomy, _ = self.anatomy
        return (*self.person.fields_of(self.run), *(() if anatomy is None else (anatomy,)), *self.steps)

    # --- the person's anatomy and the templates --------------------------------------------------------------------------

    @cached_property
    def anatomy(self) -> tuple[Done[Anatomy] | None, str]:
        """The anatomy of the person, and why there is none."""
        return self.person.anatomies.of(self.run)

    @cached_property
    def placement(self) -> Done[tuple[Placement | None, str]]:
        """Where the run lies in the anatomy, or why that is not known."""
        anatomy, why = self.anatomy
        run = self.run

        def compute(settings: Settings) -> tuple[tuple[Placement | None, str], Files]:
            if anatomy is None:
                return (None, why), ()
            masks = self.masks.value
            try:
                placed = place(self.corrected.value.mean, self.grid, masks.brain, masks.cord, anatomy.value, seed=settings.seed)
            except CoSpineError as error:
                logger.warning("%s: not aligned to %s: %s", run.label, anatomy.value.source.name, error)
                return (None, str(error)), ()
            about = {"Sources": [self.out.source(run.bold)]}
            return (placed, ""), tuple(write_placement(self.out, run, placed, self.grid.affine, about))

        after = [self.corrected, self.masks, *(() if anatomy is None else (anatomy,))]
        return self.step("placement", compute, facts=[self.facts, why], after=after)

    @cached_property
    def spaces(self) -> Done[Placement | None]:
        """The series in the spaces of templates; the placement with its means there."""
        run = self.run

        def compute(settings: Settings) -> tuple[Placement | None, Files]:
            placement, _ = self.placement.value
            if placement is None:
                return None, ()
            series, motion = self.series.stored(), self.motion.value
            written: list[Path] = []

            def write(space: Space, volumes: Iterator[NDArray[np.float32]]) -> None:
                bounds, noise_sd = space.bounds(series), self.corrected.value.noise_sd
                written.extend(write_space(self.out, run, placement.anatomy, space, volumes, bounds, noise_sd, self.about()))

            dummies = self.stored.value.dummies
            done = bring_to_spaces(run, placement, settings, self.grid, series, motion.matrices, self.shift, dummies, write)
            return done, tuple(written)

        before = [*self.before_motion, self.motion, self.undistorted, self.corrected, self.placement]
        return self.step("spaces", compute, files=[run.bold], after=before)

    # --- noise, task and coupling ----------------------------------------------------------------------------------------

    @property
    def _events(self) -> list[Path]:
        return [] if self.run.events is None else [self.run.events]

    @cached_property
    def noise(self) -> Done[Noise | None]:
        """The physiological noise model, and the confounds."""
        run, person = self.run, self.person
        beside = [path for path in person.participant.physio if path.parent == run.bold.parent]
        peaks = given_peaks_file(run, self.settings)

        def compute(settings: Settings) -> tuple[Noise | None, Files]:
            motion, maps, masks = self.motion.value, self.corrected.value, self.masks.value
            corrected = self.series.corrected()
            noise, written = None, list[Path]()
            if settings.level == "full":
                settings.ignores("physio")  # the recordings are read under unwatched settings, and their files named below
                model = model_noise(
                    run, self.grid, motion, person.recordings.of(run), settings, corrected, maps.mean, maps.sd, masks.brain,
                    masks.cord.mask, self.stored.value.dummies,
                )  # fmt: skip
                # after denoising nobody knows how many degrees of freedom are left
                tests = None
                if self.denoised is None:
                    tests = explained(run, model, corrected, masks.brain, masks.cord.mask, self.grid)
                task = compared_with_task(run, model, self.events(settings))
                acquired = self.series.take_stored()
                shared = share_of_simultaneous(run, model, acquired)  # and it is what the model leaves of it
                if shared is not None:
                    self.series.left_is(acquired)
                noise = Noise(model, mean_signals(corrected, masks.brain, model.tissue), tests, shared, task)
                written += write_noise(self.out, run, noise, self.grid, settings, self.basis())
            columns, about = confounds_table(
                motion.head, motion.cord, *displacements(motion), masks.dvars, self.stored.value.dummies, noise,
                settings.high_pass,
            )  # fmt: skip
            return noise, (*written, self.writer.confounds(columns, about))

        recorded = [person.participant.physio_sidecars.get(path) for path in beside]
        sessions = [vars(one) for one in sessions_beside(run, person.participant)]
        return self.step(
            "noise",
            compute,
            files=[run.bold, *beside, *run.physio, *self._events, *([] if peaks is None else [peaks])],
            facts=[self.facts, recorded, sessions],
            after=[*self.before_motion, self.motion, self.undistorted, self.corrected, self.masks],
        )

    def events(self, settings: Settings) -> tuple[tuple[float, float, str], ...]:
        """What happened: onset s, duration s, name."""
        return () if settings.ignores("events") else load_events(self.run)

    @cached_property
    def statistics(self) -> Done[Statistics]:
        """First level."""
        run = self.run

        def compute(settings: Settings) -> tuple[Statistics, Files]:
            noise, masks = self.noise.value, self.masks.value
            if noise is None:
                return Statistics(None, _LEFT_OUT), ()
            if self.denoised is not None:
                return Statistics(None, _DENOISED), ()
            try:
                found, why = first_level(
                    run, self.grid, noise.model, settings, self.series.corrected(), masks.brain, masks.cord.mask,
                    self.spaces.value,
                )  # fmt: skip
            except CoSpineError as error:  # events that fit no model are no reason to lose the run
                logger.warning("%s: no statistics: %s", run.label, error)
                return Statistics(None, str(error)), ()
            if found is None:
                return Statistics(None, why), ()
            return Statistics(found, ""), write_statistics(self.out, run, found, self.grid, self.sourced_basis())

        after = [self.corrected, self.masks, self.spaces, self.noise]
        return self.step("statistics", compute, files=self._events, after=after)

    @cached_property
    def coupling(self) -> Done[Coupled]:
        """Coupling of brain and cord, and maps of seeds."""
        run = self.run

        def compute(settings: Settings) -> tuple[Coupled, Files]:
            noise, task, masks, placement = self.noise.value, self.statistics.value, self.masks.value, self.spaces.value
            lost = f", so no maps of the seeds {', '.join(settings.seed_regions)}" if settings.seed_regions else ""
            if noise is None or self.denoised is not None:
                return Coupled(None, (_LEFT_OUT if noise is None else _DENOISED) + lost), ()
            model, corrected, brain, cord = noise.model, self.series.corrected(), masks.brain, masks.cord.mask
            slice_times = self.slice_times(settings)
            leaking = None
            # without them there is no coupling to free of it
            if placement is not None and slice_times is not None and noise.shared is not None and noise.shared.leaks:
                left = self.series.left(lambda stored: left_of_acquired(run, model, stored))
                leaking = find_leaking(run, noise.shared, left, self.motion.value, self.shift, model, task.found)
            try:
                found, why = couple(
                    run, self.grid, model, task.found, corrected, self.corrected.value.mean, brain, cord, placement,
                    slice_times, leaking,
                )  # fmt: skip
            except CoSpineError as error:
                logger.warning("%s: no coupling: %s", run.label, error)
                found, why = None, str(error)
            if found is None:
                return Coupled(None, why + lost), ()
            seeds: tuple[SeedMaps, ...] = ()
            written: list[Path] = []
            if settings.seed_regions:
                assert placement is not None  # else there is no coupling
                assert slice_times is not None
                self.keeper.said("seeds")
                basis = self.sourced_basis()
                seeds, notes = seed_maps(
                    run, self.grid, model, task.found, found, settings, corrected, brain, cord, placement, slice_times, leaking,
                    lambda seed: written.extend(write_seed(self.out, run, seed, task.found, self.grid, basis)),
                )  # fmt: skip
                found = replace(found, notes=(*found.notes, *notes))
            return Coupled(found, "", seeds), (*write_coupling(self.out, run, found), *written)

        after = [*self.before_motion, self.motion, self.undistorted, self.corrected, self.masks, self.spaces]
        return self.step("coupling", compute, files=[run.bold], after=[*after, self.noise, self.statistics])

    @cached_property
    def clean(self) -> Done[None] | None:
        """The series with noise regressed out, when that was asked for."""
        if not self.settings.clean or self.settings.level != "full":
            return None

        def compute(_: Settings) -> tuple[None, Files]:
            noise = self.noise.value
            assert noise is not None  # level full
            sidecar = self.writer.series_sidecar(self.about())
            series, noise_sd = self.series.corrected(), self.corrected.value.noise_sd
            return None, write_clean(self.out, self.run, noise.model, series, self.grid, sidecar, noise_sd)

        return self.step("clean", compute, after=[self.undistorted, self.corrected, self.noise])

    # --- the report ------------------------------------------------------------------------------------------------------

    @cached_property
    def report(self) -> Done[RunSection]:
        """The run's part of the page, and what a machine reads of it."""
        run, participant = self.run, self.person.participant
        last = [self.coupling, *(() if self.clean is None else (self.clean,))]
        anatomy, _ = self.anatomy

        def compute(settings: Settings) -> tuple[RunSection, Files]:
            section = run_section(self.result(settings), participant, settings)
            anatomies = () if anatomy is None else (anatomy.value,)
            path = self.out.root / "logs" / f"{run.prefix}_quality.json"
            self.out.write_json(path, quality_record(section.page, anatomies, settings))
            return section, (path,)

        linked = [[one.identifier, one.kind, how] for one, how in participant.fieldmaps_of(run)]
        findings = [vars(one) for one in run.findings]
        after = [*self.steps, *last, *(() if anatomy is None else (anatomy,))]
        return self.step("report", compute, files=self._events, facts=[self.facts, linked, findings], after=after)

    def result(self, settings: Settings) -> RunResult:
        """All that is known of the run."""
        motion, found, masks, noise = self.motion.value, self.undistorted.value, self.masks.value, self.noise.value
        corrected, statistics, coupled = self.corrected.value, self.statistics.value, self.coupling.value
        head, cord = displacements(motion)
        steps = self.made_by
        return RunResult(
            run=self.run,
            grid=self.grid,
            motion=motion,
            choice=found.choice,
            distortion=found.distortion,
            brain=masks.brain,
            cord=masks.cord.mask,
            segmentation=masks.cord,
            placement=self.spaces.value,
            unplaced=self.placement.value[1],
            dummies=self.stored.value.dummies,
            displacement=head,
            cord_displacement=cord,
            dvars=masks.dvars,
            tsnr_raw=self.stored.value.tsnr,
            tsnr_before=corrected.tsnr_before,
            tsnr=corrected.tsnr,
            blur_gain=masks.blur_gain,
            noise=noise,
            thermal=self.thermal,
            task=statistics.found,
            no_task=statistics.why,
            coupling=coupled.found,
            no_coupling=coupled.why,
            seeds=coupled.seeds,
            sd_before=corrected.sd_before,
            sd=corrected.sd,
            mean=corrected.mean,
            series=self.series.corrected(),
            events=self.events(settings),
            slice_times_used=self.slice_times(settings) is not None,
            ignored=settings.ignore,
            given=self.given,
            outputs=tuple(path for step in steps for path in step.outputs),
            costs=tuple(Cost(one.name, one.seconds, one.peak_bytes / 1e9) for one in (step.record for step in steps)),
        )
