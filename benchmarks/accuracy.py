"""Motion and field of digital participants at full size against their truth.

    python benchmarks/accuracy.py FOLDER [--seeds 1 2 3 4 5] [--protocol full] [--volumes 225] [--preset realistic] [..]

makes the participants with ``cospine simulate`` (those that are there already are kept), estimates their motion and field, and
prints the figures with their controls: an estimator that finds no motion, and one that takes the cord for a part of the head.
With ``--pair-motion 1 1`` or ``--nod 2`` (and ``--volumes 12``, if only the field is of interest) the head moves within the
pair, or between pair and run.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from scoring import brain_error, cord_shifts, field_on_run, read_truth, rigid_control, rms, tsnr_with_true_motion

from cospine.bids import load_bold, read_dataset
from cospine.pipeline.field_stage import FieldSources, correct
from cospine.pipeline.motion_stage import Given, find_masks, follow_motion
from cospine.pipeline.settings import Settings
from cospine.quality.metrics import tsnr
from cospine.space.grid import Grid
from cospine.space.resample import resample_series

LEVELS = {1: "C1", 2: "C2", 3: "C3", 4: "C4", 5: "C5", 6: "C6", 7: "C7", 8: "T1", 9: "T2"}


def score(root: Path) -> None:
    """Print the figures of every run of a dataset."""
    dataset = read_dataset(root, verify=False)
    for run in dataset.runnable:
        series, grid = load_bold(run), Grid(run.shape[:3], run.affine)
        some = np.unique(np.linspace(0, series.shape[3] - 1, 30).astype(int))
        masks = find_masks(series[..., some].mean(axis=3, dtype=np.float32), grid, (), Given(), 2)
        motion = follow_motion(series, grid, run.tr_s, np.array(run.slice_times_s), masks)
        truth = read_truth(root, run)
        print(f"\n{root.name} {run.label}: {run.volumes} volumes")
        if motion.head is None or motion.cord is None:
            print(f"  brain: {motion.masks.brain_reason or 'found'}; cord: {motion.masks.cord.reason or 'found'}")
            continue
        error = brain_error(motion.head.poses, truth, grid)
        still = brain_error(np.tile(np.eye(4), (run.volumes, 1, 1)), truth, grid)
        calm = ~truth.jump
        jumped = f"{error[truth.jump].mean():.3f}" if truth.jump.any() else "none"
        print(
            f"  brain: error {error[calm].mean():.4f} mm mean, {error[calm].max():.3f} max (volumes with a jump inside, "
            f"{truth.jump.sum()}: {jumped}); a zero estimator {still.mean():.3f}"
        )
        estimate, true, which = cord_shifts(motion.cord.slices, motion.cord.shift_mm, truth)
        rigid = rigid_control(motion.head, truth, grid)[:, which]
        for axis, name in enumerate("ij"):
            e, t = estimate[..., axis], true[..., axis]
            print(
                f"  cord {name}: error {np.median(np.abs(e - t)):.4f} mm median, {rms(e - t):.4f} RMS = "
                f"{rms(e - t) / rms(t):.0%} of the true {rms(t):.3f}, r {np.corrcoef(e.ravel(), t.ravel())[0, 1]:.3f}; "
                f"controls RMS: zero {rms(t):.3f}, global rigid {rms(rigid[..., axis] - t):.3f}; "
                f"even slices {rms((e - t)[:, ::2]):.4f}, odd {rms((e - t)[:, 1::2]):.4f}"
            )
            levels = truth.level[which]
            print(
                "    by level, error / true RMS: "
                + ", ".join(
                    f"{LEVELS.get(int(v), str(v))} {rms((e - t)[:, levels == v]):.3f}/{rms(t[:, levels == v]):.3f}"
                    for v in np.unique(levels)
                )
            )
        choice = FieldSources(dataset.participant(run.participant), Settings()).choice_for(run)
        distortion = correct(run, choice, motion, grid, jacobian=True)
        if distortion is not None:
            print(f"  field, {choice.reason}: {field_on_run(root, run, distortion.aligned.field_hz)}")
        raw = tsnr(series)
        ideal = tsnr_with_true_motion(series, grid, motion, truth)
        ours = tsnr(resample_series(series, motion.matrices, out=series))
        for name, mask in motion.regions.items():
            before, after, best = (float(np.median(m[mask])) for m in (raw, ours, ideal))
            print(f"  tSNR {name}: {before:.2f} raw, {after:.2f} ours, {best:.2f} with the true motion ({after / best - 1:+.1%})")
        sys.stdout.flush()


def main() -> None:
    """Make what is missing, score all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    chosen, simulated = parser.parse_known_args()
    for seed in chosen.seeds:
        root = chosen.folder / f"seed-{seed}"
        if not root.exists():
            command = [
                sys.executable,
                "-m",
                "cospine.cli",
                "simulate",
                str(root),
                "--seed",
                str(seed),
                "--task",
                "pain",
                *simulated,
            ]
            subprocess.run(command, check=True)
        score(root)


if __name__ == "__main__":
    main()
