"""What the report says and shows of the first level."""

from dataclasses import dataclass

import numpy as np

from cospine.pipeline.run_result import RunResult
from cospine.pipeline.task_stage import LAGS_S, TaskResult
from cospine.quality.figure import Figure
from cospine.quality.methods import MethodsText, statistics_methods
from cospine.quality.report import Number, Verdict
from cospine.quality.task_figures import contrast_maps, design_figure, lag_figure
from cospine.stats.specification import label_of

NEAR_ZERO_S = 8.0
"""How far from 0 the best lag may lie: responses differ from the model's by some seconds."""


@dataclass(frozen=True)
class TaskReport:
    """The first level's part of a run's page."""

    result: RunResult
    task: TaskResult

    def notes(self) -> list[str]:
        """What was left out or assumed."""
        return [f"Statistics: {note}" for note in self.task.notes]

    def verdicts(self) -> tuple[Verdict, ...]:
        """What it comes to, in plain words."""
        dof = self.task.fit.dof[self.task.fit.dof > 0]
        slices = f"{dof.min()} to {dof.max()}" if dof.min() < dof.max() else f"{dof.min()}"
        lines = [
            Verdict(
                "good",
                f"Model {self.task.model.name}: {', '.join(self.task.fit.contrasts)}; {slices} degrees of freedom in a slice.",
            )
        ]
        best = {name: float(LAGS_S[np.nanargmax(t)]) for name, t in self.task.lags.items() if np.nanmax(t) > 4}
        off = {name: lag for name, lag in best.items() if abs(lag) > NEAR_ZERO_S}
        if best and len(off) == len(best):
            places = ", ".join(f"{name} {lag:+.0f} s" for name, lag in off.items())
            lines.append(
                Verdict("look", f"The task fits better with its onsets moved ({places}): check that onset 0 is the first volume.")
            )
        return tuple(lines)

    def numbers(self) -> tuple[Number, ...]:
        """Voxels beyond z = 3.1 beside what chance gives."""
        found = []
        for name, contrast in self.task.fit.contrasts.items():
            for region, mask in self.result.regions.items():
                z = contrast.z[mask & np.isfinite(contrast.z)]
                if not z.size:
                    continue
                share = float(np.mean(z > 3.1))
                found.append(
                    Number(
                        f"{name}: voxels of z > 3.1 (0.1 % by chance)",
                        f"{100 * share:.1f}",
                        "%",
                        region="brain" if region == "brain" else "cord",
                    )
                )
        return tuple(found)

    def further(self) -> dict[str, float]:
        """Measures that no headline number shows."""
        return {"task_residual_df_min": float(self.task.fit.dof[self.task.fit.dof > 0].min())}

    def figures(self) -> list[Figure]:
        """Maps, design, onset scan."""
        result, task = self.result, self.task
        run = result.run
        stated = run.slice_times_s if result.slice_times_used else None
        times = np.zeros(run.shape[run.slice_axis]) if stated is None else np.array(stated)
        ends = (int(np.argmin(times)), int(np.argmax(times)))
        names = [label_of(name) for name in task.columns.names]
        masks = {f"{name}_mask": result.regions.get(name) for name in ("brain", "cord")}
        figures = [
            contrast_maps(
                {name: one.z for name, one in task.fit.contrasts.items()}, result.mean, result.grid.affine,
                brain_mask=masks["brain_mask"], cord_mask=masks["cord_mask"],
            ),
            design_figure(task.columns.values[:, ends].transpose(1, 0, 2), names, run.tr_s, ends, task.nuisance),
        ]  # fmt: skip
        if task.lags:
            figures.append(lag_figure(LAGS_S, task.lags, names[0]))
        return figures

    def methods(self) -> MethodsText:
        """Methods text."""
        smoothing = {name: one.fwhm_mm for name, one in self.task.spaces.items()}
        return statistics_methods(self.task.hrf, smoothing, slice_times=self.result.slice_times_used)
