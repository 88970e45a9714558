"""Estimates against the truth of a digital participant: how far off is the brain, the cord, and the tSNR.

Truth is the apparent position, as the distorted image shows it (METHODS 3); one constant rigid offset of the head and each
slice's median shift of the cord are removed, for the reference is a matter of choice.
"""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cospine.bids import Run
from cospine.motion.brain import HeadMotion
from cospine.motion.cord import CordMotion
from cospine.motion.handover import slice_matrices
from cospine.pipeline.motion_stage import Motion
from cospine.space.grid import Grid
from cospine.space.resample import resample_series
from cospine.space.transform import rigid_matrix, rigid_parameters

HEAD = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


@dataclass(frozen=True)
class Truth:
    """What is true of a run.

    Parameters
    ----------
    poses : ndarray (t, 4, 4)
        Apparent head poses.
    shift_mm : ndarray (t, n, 2)
        Apparent cord shifts about each slice's median.
    slices, level : ndarray (n,)
        Stored slice, vertebral level.
    jump : ndarray (t,) of bool
        Volumes with a jump inside.
    brain, cord : ndarray (x, y, z) of bool
        Masks as the distorted image shows them.
    """

    poses: NDArray
    shift_mm: NDArray
    slices: NDArray
    level: NDArray
    jump: NDArray
    brain: NDArray
    cord: NDArray


def read_truth(root: Path, run: Run) -> Truth:
    """Read the truth of a run from ``sourcedata/truth``."""
    start = root / "sourcedata" / "truth" / run.participant / "func"
    head = pd.read_csv(start / f"{run.prefix}_desc-headmotion_timeseries.tsv", sep="\t")
    cord = pd.read_csv(start / f"{run.prefix}_desc-cordmotion_timeseries.tsv", sep="\t")
    slices = np.unique(cord["slice"])
    shift = cord[["shift_i_mm", "shift_j_mm"]].to_numpy().reshape(-1, slices.size, 2)
    centre = Grid(run.shape[:3], run.affine).centre
    masks = [
        np.asarray(nib.load(start / f"{run.prefix}_{name}.nii.gz").dataobj) > 0
        for name in ("desc-brainapparent_mask", "label-SCapparent_mask")
    ]
    return Truth(
        rigid_matrix(head[[f"apparent_{name}" for name in HEAD]].to_numpy(), centre),
        shift - np.median(shift, axis=0),
        slices,
        cord["vertebral_level"].to_numpy()[: slices.size],
        head["jump"].to_numpy() > 0,
        *masks,
    )


def brain_error(poses: NDArray, truth: Truth, grid: Grid) -> NDArray:
    """Mean distance over brain voxels, mm, by volume."""
    offset = (np.linalg.inv(truth.poses) @ poses).mean(axis=0)
    u, _, v = np.linalg.svd(offset[:3, :3])
    offset[:3, :3] = u @ v
    points = grid.to_ras(np.argwhere(truth.brain)[::50])
    at = np.c_[points, np.ones(len(points))]
    return np.array([np.linalg.norm(at @ (a - b @ offset)[:3].T, axis=1).mean() for a, b in zip(poses, truth.poses, strict=True)])


def cord_shifts(slices: NDArray, shift_mm: NDArray, truth: Truth) -> tuple[NDArray, NDArray, NDArray]:
    """Estimated and true shifts (t, m, 2) in the slices that both have, each about its median, and which of truth's they are."""
    _, mine, theirs = np.intersect1d(slices, truth.slices, return_indices=True)
    estimate = shift_mm[:, mine]
    return estimate - np.median(estimate, axis=0), truth.shift_mm[:, theirs], theirs


def rigid_control(head: HeadMotion, truth: Truth, grid: Grid) -> NDArray:
    """What the cord would do were it part of the head, (t, n, 2) in mm: the global-rigid estimator."""
    held = [k for k in truth.slices if truth.cord[..., k].any()]
    known = np.array([np.argwhere(truth.cord[..., k]).mean(axis=0) for k in held])
    centre = np.stack(
        [np.interp(truth.slices, held, known[:, 0]), np.interp(truth.slices, held, known[:, 1]), truth.slices], axis=1
    )
    at = grid.to_ras(centre)
    moved = np.einsum("tij,nj->tni", head.poses[:, :3, :3], at) + head.poses[:, None, :3, 3] - at
    shift = (moved @ grid.inverse[:3, :3].T * grid.voxel_mm)[..., :2]
    return shift - np.median(shift, axis=0)


def rms(values: NDArray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def tsnr_with_true_motion(series: NDArray, grid: Grid, motion: Motion, truth: Truth) -> NDArray:
    """tSNR map after the same correction with the true motion in place of the estimated one."""
    if motion.head is None or motion.cord is None:
        raise ValueError("truth replaces both head and cord motion")
    middle = np.median(rigid_parameters(truth.poses, grid.centre), axis=0)
    poses = truth.poses @ np.linalg.inv(rigid_matrix(middle, grid.centre))
    head = HeadMotion(poses, rigid_parameters(poses, grid.centre), grid.centre)
    cord = CordMotion(truth.slices, truth.shift_mm, truth.shift_mm, np.zeros_like(truth.shift_mm))
    corrected = resample_series(series, slice_matrices(grid, motion.share, motion.times_s, head, cord))
    return corrected.mean(axis=3) / np.maximum(corrected.std(axis=3, ddof=1), 1e-6)


def field_on_run(root: Path, run: Run, field_hz: NDArray) -> str:
    """Error of a field on a run's undistorted grid, in words: brain in Hz, cord in mm along the phase-encoding axis.

    Truth is the field at the pose in which the run begins; signal below a fifth of the brain median does not count.
    """
    start = root / "sourcedata" / "truth" / run.participant / "func"

    def read(name: str) -> NDArray:
        return np.asarray(nib.load(start / f"{run.prefix}_{name}.nii.gz").dataobj, dtype=np.float32)

    brain, cord, level = read("desc-brain_mask") > 0, read("label-SC_mask") > 0, read("desc-vertebrae_dseg")
    signal, error = read("desc-undistorted_boldref"), field_hz - read("fieldmap")
    there = brain & (signal > 0.2 * np.median(signal[brain]))
    mm_per_hz = (run.total_readout_s or 0.0) * float(Grid(run.shape[:3], run.affine).voxel_mm[1])
    off = np.abs(error[cord & (level <= 7)]) * mm_per_hz
    before = np.abs(read("fieldmap")[cord & (level <= 7)]) * mm_per_hz
    return (
        f"brain {rms(error[there]):.2f} Hz RMS ({error[there].std():.2f} without a constant, "
        f"{np.median(np.abs(error[there])):.2f} median), "
        f"{1 - there.sum() / brain.sum():.1%} left out; cord to C7 {off.mean():.2f} mm mean, "
        f"{np.percentile(off, 95):.2f} 95th percentile, {before.mean():.2f} before"
    )
