"""What the report says and shows of coupling."""

from dataclasses import dataclass

import numpy as np

from cospine.pipeline.coupling_stage import RunCoupling
from cospine.pipeline.run_result import RunResult
from cospine.quality.coupling_figures import matrix_figure
from cospine.quality.figure import Figure
from cospine.quality.methods import MethodsText, coupling_methods
from cospine.quality.report import Number, Verdict
from cospine.quality.task_figures import contrast_maps


@dataclass(frozen=True)
class CouplingReport:
    """The part of a run's page about coupling."""

    result: RunResult
    coupling: RunCoupling

    def notes(self) -> list[str]:
        """What was left out."""
        return [f"Coupling: {note}" for note in self.coupling.notes]

    def verdicts(self) -> tuple[Verdict, ...]:
        """None: a correlation of one person's autocorrelated courses has no p worth its name."""
        return ()

    def numbers(self) -> tuple[Number, ...]:
        """None of a single run."""
        return ()

    def further(self) -> dict[str, float]:
        """Measures that no headline number shows."""
        simultaneous, beside = self.coupling.between()
        return {"coupling_r_simultaneous_slices": simultaneous, "coupling_r_neighbouring_slices": beside}

    def figures(self) -> list[Figure]:
        """Matrices with and without simultaneous slices, and over trials."""
        found = self.coupling.residuals
        names = [one.name for one in found.a]
        matrices = {"without simultaneous slices": found.r_without, "all slices": found.r}
        simultaneous, beside = self.coupling.between()
        said = "Correlation of what task and noise model leave in each region, at one common time. Horns are of spinal segments."
        if np.isfinite(simultaneous) and np.isfinite(beside):
            said += (
                f" Slices of brain and cord that are excited together correlate by {simultaneous:.3f} on average, those "
                f"one slice off, which share anatomy and physiology alone, by {beside:.3f}: the difference is leakage"
                + ("." if self.coupling.leakage is None else " that is left.")
            )
        if self.coupling.leakage is not None:
            share = 100 * float(np.median(self.coupling.leakage.shares))
            said += f" Leakage between simultaneous slices ({share:.1f} % of the partner, median) was taken out of the courses."
        said += " No p is given: it takes a group."
        figures = [matrix_figure("Coupling of regions", matrices, {}, names, said)]
        for condition, one in self.coupling.betas.items():
            said = f"Correlation over responses to {one.samples} single trials, without slices that are excited together."
            title = f"Coupling over trials: {condition}"
            figures.append(matrix_figure(title, {condition: one.r_without}, {}, [region.name for region in one.a], said))
        for seed in self.result.seeds:
            figures.append(
                contrast_maps(
                    {name: one.z for name, one in seed.fit.contrasts.items()}, self.result.mean, self.result.grid.affine,
                    brain_mask=self.result.regions.get("brain"), cord_mask=self.result.regions.get("cord"),
                    title=f"What goes with {seed.region}{', and how the task changes it' * (len(seed.fit.contrasts) > 1)}: z",
                )
            )  # fmt: skip
        return figures

    def methods(self) -> MethodsText:
        """Methods text."""
        return coupling_methods(
            trials=bool(self.coupling.betas),
            unleaked=self.coupling.leakage is not None,
            seeds=[one.region for one in self.result.seeds],
            interactions=any(len(one.fit.contrasts) > 1 for one in self.result.seeds),
        )
