"""What leaks between simultaneous slices of a run, found where it was acquired, brought to the corrected series."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Run
from cospine.pipeline.motion_stage import Motion
from cospine.pipeline.noise_stage import NoiseModel, body_of
from cospine.pipeline.task_stage import TaskResult
from cospine.signal.regression import slice_bases
from cospine.signal.simultaneous import SharedSignal
from cospine.space.resample import Shift
from cospine.stats.leakage import Leakage, find_leakage, leaked

MOST_MOVED = 0.5
"""Voxels along the phase encoding that nineteen of twenty volumes may be away from the mean place, before it is said."""


@dataclass(frozen=True, eq=False)
class Leaking:
    """What leaks into a run's corrected voxels.

    Parameters
    ----------
    leakage : Leakage
    acquired : ndarray (x, y, z, t)
        What drift, motion and physiology leave of the series as it was acquired, neither moved nor unwarped.
    matrices : ndarray (slices, 4, 4)
        Corrected voxel to acquired voxel, the median over volumes; the distortion comes on top.
    shift : Shift or None
        The distortion.
    notes : tuple of str
        What it misses.
    """

    leakage: Leakage
    acquired: NDArray[np.float32] = field(repr=False)
    matrices: NDArray[np.float64] = field(repr=False)
    shift: Shift | None = field(repr=False)
    notes: tuple[str, ...] = ()

    def where(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Acquired voxel of each corrected one (n, 3); those outside of the field of view are outside of the grid."""
        of_slice = self.matrices[voxels[:, self.leakage.slice_axis]]
        at = np.einsum("nab,nb->na", of_slice[:, :3, :3], voxels) + of_slice[:, :3, 3]
        if self.shift is not None:
            at[:, self.shift.axis] += self.shift.voxels[tuple(voxels.T)]
        return np.rint(at).astype(np.int64)

    def into(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """What leaks into corrected voxels (n, 3), as the corrected series has it (n, t)."""
        found = leaked(self.acquired, self.where(voxels), self.leakage)
        if self.shift is not None and self.shift.factor is not None:
            found *= self.shift.factor[tuple(voxels.T)][:, None]
        return found

    def taken_out(self, corrected: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """A copy of the corrected series without what leaked into the voxels of a mask."""
        out = corrected.copy(order="F")
        every = np.argwhere(mask)
        for k in np.unique(every[:, self.leakage.slice_axis]).tolist():  # slice by slice: no second copy at once
            here = every[every[:, self.leakage.slice_axis] == k]
            out[tuple(here.T)] -= self.into(here)
        return out


def find_leaking(
    run: Run,
    shared: SharedSignal | None,
    residuals: NDArray[np.float32],
    motion: Motion,
    shift: Shift | None,
    noise: NoiseModel,
    task: TaskResult | None,
) -> Leaking | None:
    """Leakage of a run; None where what simultaneous slices share can be chance.

    Parameters
    ----------
    run : Run
    shared : SharedSignal or None
        Tells whether there is any, and at which shift.
    residuals : ndarray (x, y, z, t)
        What the noise model leaves of the acquired series.
    motion : Motion
        With the mean as it was acquired.
    shift : Shift or None
        Distortion.
    noise : NoiseModel
    task : TaskResult or None
        Held fixed while the shares are learnt.
    """
    if shared is None or not shared.leaks:
        return None
    assert run.phase_encoding is not None  # else nothing was looked for
    axis = "ijk".index(run.phase_encoding[0])
    bases = None if task is None else slice_bases(task.columns.beside(noise.designs()), noise.rows)
    body = body_of(motion.reference)
    leakage = find_leakage(
        residuals, body, shared.pairs, shared.lag, axis, bases=bases, rows=noise.rows, slice_axis=run.slice_axis
    )
    matrices = motion.matrices[noise.rows]
    middle = np.median(matrices, axis=0)
    centre = np.append((np.array(body.shape) - 1) / 2, 1)
    moved = np.abs((matrices - middle) @ centre)[..., axis]
    most = float(np.percentile(moved, 95))
    notes = ()
    if most > MOST_MOVED:
        notes = (
            f"Motion along the phase encoding comes to {most:.1f} voxels (95 % of volumes): leakage was taken out at the mean "
            "place.",
        )
    return Leaking(leakage, residuals, middle, shift, notes)
