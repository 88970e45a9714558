"""Brain mask on T1w and T1w to MNI against the truth of digital participants, beside plain antspyx SyN.

    python benchmarks/normalisation.py DATASET [DATASET ..] [--peer] [--true-mask]

Each DATASET is what ``cospine simulate`` writes. Printed a participant: Dice of the brain mask and where it ends; error in mm
over a grid of points in the template's brain and at named landmarks; time and memory. ``--peer`` runs antspyx' default SyN on the
same stripped images at 1 mm (minutes), ``--true-mask`` normalises with the true brain mask instead of the found one.
"""

import argparse
import resource
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.ants_bridge import antspyx, to_ants
from cospine.anatomy.brain_t1w import find_brain_t1w
from cospine.anatomy.to_mni import normalise_brain
from cospine.space.grid import Grid
from cospine.space.templates import brain_template
from cospine.space.transform import Displacement

# RAS mm in MNI152NLin2009aSym, read off the template.
LANDMARKS = {
    "AC": (0, 2, -4),
    "PC": (0, -25, -2),
    "frontal pole": (0, 66, -2),
    "occipital pole": (-10, -102, -4),
    "temporal pole L": (-40, 18, -32),
    "temporal pole R": (40, 18, -32),
    "vertex": (0, -18, 74),
    "thalamus L": (-12, -19, 8),
    "thalamus R": (12, -19, 8),
    "hand knob L": (-38, -25, 58),
    "hand knob R": (38, -25, 58),
    "insula L": (-38, 4, 0),
    "insula R": (38, 4, 0),
    "pontomedullary junction": (0, -30, -48),
    "medulla": (0, -38, -60),
}
_LPS = np.array([-1.0, -1.0, 1.0])


def read(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """An image and its grid."""
    image = nib.Nifti1Image.from_filename(path)
    return np.asarray(image.dataobj, dtype=np.float32), Grid(image.shape[:3], np.asarray(image.affine))


def true_map(folder: Path) -> Displacement:
    """MNI point to T1w point."""
    vectors, grid = read(next(folder.glob("*_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.nii.gz")))
    return Displacement(grid, vectors[:, :, :, 0, :] * _LPS)


def told(name: str, error: NDArray) -> None:
    """Print mean, 95 % and largest error."""
    print(f"  {name:26s} mean {error.mean():.2f}  95 % {np.percentile(error, 95):.2f}  largest {error.max():.2f} mm", flush=True)


def peer(t1w: NDArray, grid: Grid, mask: NDArray, points: NDArray) -> NDArray[np.float64]:
    """Where antspyx' default SyN puts points."""
    import pandas as pd

    ants, template = antspyx(), brain_template(1)
    fixed = to_ants(np.where(template.mask, template.t1, 0), template.grid)
    moving = ants.n4_bias_field_correction(to_ants(t1w, grid), mask=to_ants(mask, grid)) * to_ants(mask.astype(np.float32), grid)
    found = ants.registration(fixed, moving, "SyN")
    table = pd.DataFrame(points * _LPS, columns=list("xyz"))
    return ants.apply_transforms_to_points(3, table, found["fwdtransforms"]).to_numpy()[:, :3] * _LPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--true-mask", action="store_true")
    options = parser.parse_args()
    template = brain_template(1)
    points = template.grid.to_ras(np.argwhere(template.mask)[::227])
    points = points[points[:, 2] > -64]
    named = np.array(list(LANDMARKS.values()), dtype=float)
    for dataset in options.datasets:
        for path in sorted(dataset.glob("sub-*/anat/*_T1w.nii.gz")):
            truth = dataset / "sourcedata" / "truth" / path.parts[-3] / "anat"
            t1w, grid = read(path)
            brain = read(next(truth.glob("*_desc-brain_mask.nii.gz")))[0] > 0
            print(f"{dataset}: {path.name}", flush=True)
            start = None
            mask = brain
            if not options.true_mask:
                clock, cpu = time.perf_counter(), time.process_time()
                found = find_brain_t1w(t1w, grid)
                print(f"  mask {time.perf_counter() - clock:.0f} s wall, {time.process_time() - cpu:.0f} s CPU")
                mask, start = found.mask, found.to_t1w
                overlap = 2 * (mask & brain).sum() / (mask.sum() + brain.sum())
                ends = [grid.to_ras(np.argwhere(m))[:, 2].min() for m in (mask, brain)]
                print(
                    f"  mask Dice {overlap:.3f}, ends {ends[0] - ends[1]:+.1f} mm above the true end {found.reason}", flush=True
                )
                if not found.found:
                    continue
            clock, cpu = time.perf_counter(), time.process_time()
            warp = normalise_brain(t1w, grid, mask, template, start=start)
            print(f"  normalised in {time.perf_counter() - clock:.0f} s wall, {time.process_time() - cpu:.0f} s CPU: ", end="")
            print(", ".join(f"{name} {seconds:.0f}" for name, seconds in warp.seconds.items()))
            print(f"  smallest Jacobian {warp.jacobian_min:.2f}, round trip {warp.round_trip_mm:.2f} mm")
            right = true_map(truth)
            expected = right.map(points)
            told("affine", np.linalg.norm(warp.affine.map(points) - expected, axis=1))
            told("warp", np.linalg.norm(warp.forward.map(points) - expected, axis=1))
            errors = np.linalg.norm(warp.forward.map(named) - right.map(named), axis=1)
            told("named landmarks", errors)
            print("   ", ", ".join(f"{name} {error:.1f}" for name, error in zip(LANDMARKS, errors, strict=True)))
            if options.peer:
                clock, cpu = time.perf_counter(), time.process_time()
                theirs = peer(t1w, grid, mask, np.concatenate([points, named]))
                error = np.linalg.norm(theirs - np.concatenate([expected, right.map(named)]), axis=1)
                print(f"  antspyx SyN {time.perf_counter() - clock:.0f} s wall, {time.process_time() - cpu:.0f} s CPU")
                told("antspyx SyN", error[: len(points)])
                told("antspyx SyN, landmarks", error[len(points) :])
            print(f"  largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
