"""What the report says and shows of pulse, breathing and noise."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.pipeline.noise_stage import Noise
from cospine.pipeline.physio_stage import session_of
from cospine.pipeline.run_result import RunResult
from cospine.quality.confound_figures import collinearity_figure, shared_signal_figure
from cospine.quality.figure import Figure
from cospine.quality.methods import MethodsText, noise_methods
from cospine.quality.noise_figures import explained_maps, explained_summary, thermal_figure
from cospine.quality.physio_figures import every_minute
from cospine.quality.physio_rates import rates
from cospine.quality.physio_timing import overlap_table, phase_histogram
from cospine.quality.physio_verdicts import (
    leakage_verdict,
    model_numbers,
    model_verdicts,
    physio_numbers,
    physio_verdicts,
    task_verdicts,
    thermal_verdict,
)
from cospine.quality.report import Number, Verdict


@dataclass(frozen=True)
class NoiseReport:
    """The noise's part of a run's page."""

    result: RunResult
    noise: Noise
    high_pass_s: float
    cleaned: bool

    @property
    def _duration_s(self) -> float:
        return session_of(self.result.run).duration_s

    @property
    def _regions(self) -> dict[str, NDArray[np.bool_]]:
        """Where noise is summed up: regions, and the fluid around the cord apart from both."""
        fluid = self.noise.model.tissue.cord_csf
        regions = dict(self.result.regions)
        if fluid.any() and self.noise.model.modelled:
            regions["CSF around the cord"] = fluid & ~self.result.cord & ~self.result.brain
        return regions

    @property
    def _instead(self) -> str:
        """What stands in for recordings that there are not."""
        found = self.noise.model.tissue
        places = [
            name for name, mask in (("around the cord", found.cord_csf), ("in the ventricles", found.ventricles)) if mask.any()
        ]
        return f"components of each slice's CSF {' and '.join(places)}" if places else ""

    def notes(self) -> list[str]:
        """What was assumed or left out."""
        model, notes = self.noise.model, []
        if self.result.thermal is not None:
            notes.append(
                "What the noise model takes was not tested: thermal denoising leaves an unknown number of degrees of freedom. "
                "tSNR before correction is that of the denoised series."
            )
        elif self.noise.tests is None and model.sets:
            notes.append(
                f"What the noise model takes was not tested: {model.designs().shape[2]} columns leave no degrees of freedom of "
                f"{np.count_nonzero(model.rows)} volumes. Lower its orders (--pnm-orders)."
            )
        if model.modelled and not model.known.all():
            unknown = np.count_nonzero(~model.known.all(axis=1))
            notes.append(f"In {unknown} volumes a phase is not known in some slice; there the model's columns are 0.")
        if self.cleaned:
            notes.append(
                "The cleaned series lost what task and noise columns share: a model of it that is not cleaned by the same "
                "columns finds effects too small, on digital participants by a fifth to two fifths. Better keep the columns in "
                "the model."
            )
        found = model.tissue
        for region, mask, name in (
            ("cord", found.cord_csf, "CSF around the cord"),
            ("brain", found.ventricles, "ventricles"),
            ("brain", found.white, "deep white matter"),
        ):
            if region in self.result.regions and not mask.any():
                notes.append(f"No {name} could be told in the mean image; columns from there are missing.")
        return notes

    def verdicts(self) -> tuple[Verdict, ...]:
        """What it comes to, in plain words."""
        noise, model = self.noise, self.noise.model
        lines = list(
            physio_verdicts(
                model.physiology.channels,
                self._duration_s,
                notes=model.physiology.notes,
                ignored="physio" in self.result.ignored,
                instead=self._instead,
            )
        )
        if noise.tests is not None:
            columns = model.orders.columns if model.orders is not None else 0
            volumes = int(np.count_nonzero(model.rows))
            lines += model_verdicts(noise.tests, self._regions, volumes=volumes, physiological_columns=columns)
        if noise.task is not None:
            tr_s, condition = self.result.run.tr_s, noise.task.condition
            lines += task_verdicts(noise.task.common, noise.task.aliased, tr_s=tr_s, condition=condition)
        if noise.shared is not None:
            lines.append(leakage_verdict(noise.shared))
        thermal = self.result.thermal
        if thermal is not None:
            motion = self.result.motion
            lines.append(thermal_verdict(thermal.removed, thermal.noise_sd, motion.reference, motion.regions, thermal.most))
        return tuple(lines)

    def numbers(self) -> tuple[Number, ...]:
        """Headline numbers."""
        numbers = list(physio_numbers(self.noise.model.physiology.channels, self._duration_s))
        if self.noise.tests is not None:
            numbers += model_numbers(self.noise.tests, self.result.regions)
        return tuple(numbers)

    def further(self) -> dict[str, float]:
        """Measures that no headline number shows."""
        noise, measures = self.noise, dict[str, float]()
        if noise.tests is not None:
            measures["residual_df_min"] = float(noise.tests.residual_df.min())
        if noise.task is not None:
            of = noise.task.common.total.summary()
            measures["task_noise_r2_median"], measures["task_noise_vif_median"] = of["r2_median"], of["vif_median"]
        if noise.shared is not None:
            measures["simultaneous_r"], measures["neighbouring_r"] = noise.shared.r_simultaneous, noise.shared.r_neighbouring
        return measures

    def figures(self) -> list[Figure]:
        """Recordings, peaks, phases, and what the model took where."""
        result, model = self.result, self.noise.model
        span = (0.0, self._duration_s)
        channels = [(one.recording, one.peaks) for one in model.physiology.channels.values()]
        figures: list[Figure] = []
        times = model.physiology.times
        if times is not None and times.seconds.size and np.isfinite(times.seconds).any():
            figures.append(overlap_table(times))
        if channels:
            figures.append(rates(channels, run=span, events=result.events))
            figures += [every_minute(recording, peaks, run=span) for recording, peaks in channels]
            if np.isfinite(model.cardiac_phase).any() or np.isfinite(model.respiratory_phase).any():
                figures.append(phase_histogram(model.cardiac_phase, model.respiratory_phase))
        if self.noise.tests is not None:
            masks: dict[str, Any] = {f"{name}_mask": result.regions.get(name) for name in ("brain", "cord")}
            figures.append(explained_maps(self.noise.tests, result.mean, result.grid.affine, **masks))
            figures.append(
                explained_summary(
                    self.noise.tests, self._regions, result.grid.affine,
                    cord_mask=result.regions.get("cord"), slice_axis=result.run.slice_axis,
                )
            )  # fmt: skip
        task = self.noise.task
        if task is not None and task.common.total.worst_slice >= 0:
            rates_hz = {kind: one.rates_hz for kind, one in model.physiology.channels.items()}
            figures.append(
                collinearity_figure(
                    task.common, tr_s=result.run.tr_s, rates_hz=rates_hz, task_hz=task.rate_hz,
                    highpass_hz=1 / self.high_pass_s, condition=task.condition,
                )
            )  # fmt: skip
        shared = self.noise.shared
        if shared is not None and result.run.phase_encoding is not None:
            axis = result.run.phase_encoding[0]
            figures.append(shared_signal_figure(shared, axis=axis))
        if result.thermal is not None:
            found = result.thermal
            masks = {f"{name}_mask": mask for name, mask in result.motion.regions.items()}
            figures.append(
                thermal_figure(
                    found.noise_sd, found.removed, result.grid.affine,
                    most=found.most, taken_sd=found.taken_sd, **masks,
                )
            )  # fmt: skip
        return figures

    def methods(self) -> MethodsText:
        """Methods text."""
        model, thermal = self.noise.model, self.result.thermal
        orders, channels = model.orders, model.physiology.channels
        return noise_methods(
            cardiac="cardiac" in channels,
            respiratory="respiratory" in channels,
            orders=(4, 4, 2, 2) if orders is None else (orders.cardiac, orders.respiratory, *orders.interaction),
            csf="csf" in model.names,
            rvt="rvt" in model.names,
            hrv="hrv" in model.names,
            given=any(one.given for one in channels.values()),
            compcor=any(found.columns.shape[1] for found in model.components.values()) or bool(model.local.names),
            highpass_s=self.high_pass_s,
            tested=self.noise.tests is not None,
            cleaned=self.cleaned,
            thermal="" if thermal is None else "magnitude" if thermal.phase is None else "complex",
        )
