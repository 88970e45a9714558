"""One run from the stored series to the corrected one, step by step."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Derivatives, Run
from cospine.errors import CoSpineError
from cospine.pipeline.anatomy_files import cord_method
from cospine.pipeline.field_stage import Choice, as_distorted, correct
from cospine.pipeline.given import given_files, load_given
from cospine.pipeline.keeper import Done
from cospine.pipeline.motion_stage import Given, Motion, count_dummies, find_masks, follow_motion
from cospine.pipeline.person import Person, run_facts
from cospine.pipeline.resources import Scratch
from cospine.pipeline.run_files import VERSIONS, RunWriter, about_series, corrected_with
from cospine.pipeline.run_parts import (
    Corrected,
    RunMasks,
    Stored,
    Undistorted,
    blur_gain,
    cord_of,
    in_place,
    thermal_noise,
)
from cospine.pipeline.series import RunSeries
from cospine.pipeline.settings import Settings
from cospine.pipeline.thermal_stage import Thermal, without_thermal_noise, write_thermal
from cospine.quality import metrics
from cospine.space.grid import Grid
from cospine.space.resample import Shift, spread_volumes

logger = logging.getLogger(__name__)

_MASK_VOLUMES = 30
LOW_BYTES = 900_000_000
"""Resident set from which on `--low-mem` lets pages of the series go: what else a step holds comes on top."""

Files = tuple[Path, ...]


class CorrectedRun:
    """The steps of one run up to its corrected series; each is done, or found done, when it is first asked for.

    Parameters
    ----------
    run : Run
        One without errors.
    person : Person
        Whose it is.
    """

    def __init__(self, run: Run, person: Person) -> None:
        self.run = run
        self.person = person
        self.keeper = person.keeper
        self.out: Derivatives = person.derivatives
        self.settings: Settings = person.keeper.settings  # to decide which steps there are; steps are given watched ones
        self.grid = Grid(run.shape[:3], run.affine)  # type: ignore[arg-type]
        self.writer = RunWriter(self.out, run, self.grid)
        self.given = given_files(run, self.settings)
        self.facts = run_facts(run)
        self.steps: list[Done[Any]] = []
        self.scratch = Scratch(person.keeper.folder / "scratch", LOW_BYTES) if self.settings.low_mem else None
        self.series = RunSeries(
            run,
            lambda: self.denoised,
            lambda: self.motion.value,
            lambda: self.undistorted.value.distortion,
            self.scratch,
        )

    def step(self, name: str, compute: Any, **depends: Any) -> Done[Any]:
        """Do a step of the run."""
        depends.setdefault("facts", self.facts)
        done = self.keeper.step(self.person.unit_of(self.run), name, VERSIONS[name], compute, **depends)
        self.steps.append(done)
        return done

    # --- the series and its motion ---------------------------------------------------------------------------------------

    @cached_property
    def choice(self) -> Done[Choice]:
        """Which field corrects the run."""
        done = self.person.choice_of(self.run)
        self.steps.append(done)
        return done

    @cached_property
    def stored(self) -> Done[Stored]:
        """What is seen in the stored series before anything else."""

        def compute(settings: Settings) -> tuple[Stored, Files]:
            series = self.series.as_acquired()
            dummies = count_dummies(series, settings.dummy_scans)
            return Stored(dummies, metrics.tsnr(series[..., dummies:])), ()

        return self.step("read", compute, files=[self.run.bold])

    @cached_property
    def denoised(self) -> "Done[tuple[NDArray[np.float32], Thermal]] | None":
        """The series without thermal noise, when that was asked for."""
        if self.settings.denoise != "mppca":
            return None
        run = self.run

        def compute(_: Settings) -> tuple[tuple[NDArray[np.float32], Thermal], Files]:
            series, thermal = without_thermal_noise(run, self.series.take_acquired(), self.stored.value.dummies)
            return (series, thermal), write_thermal(self.out, run, thermal, self.grid)

        phase = () if run.phase is None else (run.phase,)
        return self.step("denoise", compute, files=[run.bold, *phase], after=[self.stored])

    @property
    def before_motion(self) -> list[Done[Any]]:
        """Steps that the series which motion is followed in comes from."""
        return [self.stored, *(() if self.denoised is None else (self.denoised,))]

    @cached_property
    def motion(self) -> Done[Motion]:
        """Motion of head and cord, and the masks that it was followed in."""
        run, grid = self.run, self.grid

        def compute(settings: Settings) -> tuple[Motion, Files]:
            choice, dummies = self.choice.value, self.stored.value.dummies
            if choice.source is None:
                logger.warning("%s: NOT corrected for distortion: %s", run.label, choice.reason)
            series = self.series.stored()
            given = load_given(self.given)
            # a mask is given in the space of the corrected series, motion is followed in the distorted one
            shown = Given(
                **{
                    name: None if mask is None else as_distorted(mask, choice, run, grid)
                    for name, mask in (("brain", given.brain), ("cord", given.cord))
                }
            )
            some = spread_volumes(series.shape[3], _MASK_VOLUMES, dummies)
            rough = series[..., some].mean(axis=3, dtype=np.float32)
            masks = find_masks(rough, grid, settings.regions, shown, run.slice_axis)
            if not masks.brain.any() and not masks.cord.found:
                raise CoSpineError(
                    f"neither brain ({masks.brain_reason}) nor cord ({masks.cord.reason}) was found",
                    str(run.bold),
                    "check the image and its orientation, or give a mask with --cord-mask or --overrides",
                )
            motion = follow_motion(
                series,
                grid,
                run.tr_s,
                self.slice_times(settings),
                masks,
                regions=settings.regions,
                given=shown,
                dummies=dummies,
                slice_axis=run.slice_axis,
            )
            return motion, self.writer.motion(motion)

        after = [self.choice, *self.before_motion]
        return self.step("motion", compute, files=[run.bold, *self.given.values()], after=after)

    def slice_times(self, settings: Settings) -> NDArray[np.float64] | None:
        """Slice times that are used; None where they are not known, or not wanted."""
        run = self.run
        if run.slice_times_s is None or run.slice_axis != 2 or settings.ignores("slicetiming"):
            return None
        return np.array(run.slice_times_s)

    @cached_property
    def undistorted(self) -> Done[Undistorted]:
        """The field on the run's own grid."""

        def compute(settings: Settings) -> tuple[Undistorted, Files]:
            choice, motion = self.choice.value, self.motion.value
            brain, distortion = motion.masks.brain, None
            if choice.source is not None:
                jacobian = not settings.ignores("fmap-jacobian")
                distortion = correct(self.run, choice, motion, self.grid, jacobian=jacobian)
            if distortion is None:
                return Undistorted(None, choice, brain), ()
            brain = in_place(brain, load_given(self.given).brain, distortion)
            return Undistorted(distortion, distortion.choice, brain), ()

        return self.step("distortion", compute, files=self.given.values(), after=[self.choice, self.motion])

    @cached_property
    def corrected(self) -> Done[Corrected]:
        """The series corrected for motion and distortion in one interpolation."""

        def compute(_: Settings) -> tuple[Corrected, Files]:
            dummies, tsnr_raw = self.stored.value.dummies, self.stored.value.tsnr
            steady = self.series.stored()[..., dummies:]
            # what correction began with: it takes no credit for what denoising did
            tsnr_before = tsnr_raw if self.thermal is None else metrics.tsnr(steady)
            sd_before, noise_sd = metrics.temporal_sd(steady), thermal_noise(steady, self.motion.value.reference)
            series = self.series.corrected()
            steady = series[..., dummies:]
            found = Corrected(
                metrics.mean_image(steady), metrics.temporal_sd(steady), metrics.tsnr(steady), sd_before, tsnr_before, noise_sd
            )
            about = self.about()
            return found, self.writer.corrected(series, found.mean, tsnr_raw, found.tsnr, about, noise_sd, self.basis())

        return self.step("resample", compute, files=[self.run.bold], after=[*self.before_motion, self.motion, self.undistorted])

    @cached_property
    def thermal(self) -> Thermal | None:
        """What denoising found."""
        return None if self.denoised is None else self.denoised.value[1]

    @property
    def shift(self) -> Shift | None:
        """The distortion as resampling undoes it."""
        distortion = self.undistorted.value.distortion
        return None if distortion is None else distortion.shift

    def about(self) -> dict[str, Any]:
        """What the sidecars of the corrected series say."""
        found = self.undistorted.value
        return about_series(
            self.run, self.motion.value, found.choice, found.distortion, self.thermal, self.stored.value.dummies, self.out
        )

    def basis(self) -> dict[str, Any]:
        """What sidecars say of the correction of distortion."""
        found = self.undistorted.value
        return corrected_with(self.run, found.choice, found.distortion, self.out)

    def sourced_basis(self) -> dict[str, Any]:
        """The same, and what the map is of."""
        return {"Sources": [self.out.source(self.run.bold)], **self.basis()}

    @cached_property
    def masks(self) -> Done[RunMasks]:
        """Brain and cord in the corrected series."""

        def compute(settings: Settings) -> tuple[RunMasks, Files]:
            motion, found = self.motion.value, self.undistorted.value
            given = load_given(self.given)
            cord = cord_of(self.corrected.value.mean, self.grid, found.brain, motion, found.distortion, given.cord, settings)
            regions = {name: mask for name, mask in (("brain", found.brain), ("cord", cord.mask)) if mask.any()}
            dvars = metrics.dvars(self.series.corrected(), found.brain | cord.mask)
            gain = {name: blur_gain(motion.matrices, mask, self.shift) for name, mask in regions.items()}
            written = self.writer.masks(regions, cord, self.given, self.basis(), cord_method(settings, bold=True))
            return RunMasks(found.brain, cord, dvars, gain), written

        after = [self.motion, self.undistorted, self.corrected]
        return self.step("masks", compute, files=self.given.values(), after=after)
