"""What is known of a run when it has been processed."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.segmentation import CordSegmentation
from cospine.bids import Run
from cospine.pipeline.coupling_stage import RunCoupling
from cospine.pipeline.field_stage import Choice, Distortion
from cospine.pipeline.motion_stage import Motion
from cospine.pipeline.noise_stage import Noise
from cospine.pipeline.seed_stage import SeedMaps
from cospine.pipeline.spaces_stage import Placement
from cospine.pipeline.task_stage import TaskResult
from cospine.pipeline.thermal_stage import Thermal
from cospine.quality.report import Cost
from cospine.space.grid import Grid


@dataclass(frozen=True)
class RunResult:
    """What is known of a run when it has been processed; the report is drawn from it.

    `distortion` is None without a field, and `choice` says why; `brain` and `cord` are the masks in the space of the corrected
    series, `segmentation` says more of the latter; `placement` is None without an anatomical image or when the run could not be
    aligned to it, and `unplaced` says why; `noise` is None at level minimal, `thermal` unless the series was denoised.
    `task` is None without a model for its events, and `no_task` says why; so `coupling` and `no_coupling`.
    `tsnr_before` and `sd_before` are those of the series that correction began with: the stored one, or the denoised.
    `outputs` are the files written, `costs` what each step took.
    """

    run: Run
    grid: Grid
    motion: Motion
    choice: Choice
    distortion: Distortion | None
    brain: NDArray[np.bool_] = field(repr=False)
    cord: NDArray[np.bool_] = field(repr=False)
    segmentation: CordSegmentation
    placement: Placement | None
    unplaced: str
    dummies: int
    displacement: NDArray[np.float64] | None = field(repr=False)
    cord_displacement: NDArray[np.float64] | None = field(repr=False)
    dvars: tuple[NDArray[np.float64], NDArray[np.float64]] = field(repr=False)
    tsnr_raw: NDArray[np.float32] = field(repr=False)
    tsnr_before: NDArray[np.float32] = field(repr=False)
    tsnr: NDArray[np.float32] = field(repr=False)
    sd_before: NDArray[np.float32] = field(repr=False)
    sd: NDArray[np.float32] = field(repr=False)
    blur_gain: dict[str, float]
    noise: Noise | None
    thermal: Thermal | None
    task: TaskResult | None
    no_task: str
    coupling: RunCoupling | None
    no_coupling: str
    seeds: tuple[SeedMaps, ...]
    mean: NDArray[np.float32] = field(repr=False)
    series: NDArray[np.float32] = field(repr=False)
    events: tuple[tuple[float, float, str], ...]
    slice_times_used: bool
    ignored: tuple[str, ...]
    given: dict[str, Path]
    outputs: tuple[Path, ...] = ()
    costs: tuple[Cost, ...] = ()

    @property
    def regions(self) -> dict[str, NDArray[np.bool_]]:
        """Masks of the regions that are there, in the space of the corrected series."""
        return {name: mask for name, mask in (("brain", self.brain), ("cord", self.cord)) if mask.any()}
