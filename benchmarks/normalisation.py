"""Brain mask on T1w and T1w to MNI against the truth of digital participants, beside plain antspyx SyN.

    python benchmarks/normalisation.py DATASET [DATASET ..] [--peer] [--true-mask]

Each DATASET is what ``cospine simulate`` writes, or any BIDS dataset with a T1w, which has no truth. Printed a participant:
Dice of the brain mask and where it ends; error in mm over a grid of points in the template's brain and at named landmarks;
overlap of the grey matter (Atropos of antspyx in the person's own space, three classes by k-means) with the template's; time and
memory. ``--peer`` runs antspyx' default SyN on the same corrected and stripped image at 1 mm (minutes), ``--true-mask``
normalises with the true brain mask instead of the found one.
"""

import argparse
import resource
import time
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
from ants_images import to_ants
from numpy.typing import NDArray

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
    return true_displacement(next(folder.glob("*_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.nii.gz")))


def true_displacement(path: Path) -> Displacement:
    """A displacement field of the truth."""
    vectors, grid = read(path)
    return Displacement(grid, vectors[:, :, :, 0, :] * _LPS)


def told(name: str, error: NDArray) -> None:
    """Print mean, 95 % and largest error."""
    print(f"  {name:26s} mean {error.mean():.2f}  95 % {np.percentile(error, 95):.2f}  largest {error.max():.2f} mm", flush=True)


def peer(corrected: NDArray, grid: Grid, mask: NDArray, points: NDArray) -> NDArray[np.float64]:
    """Where antspyx' default SyN puts points, given an image without bias."""
    import pandas as pd

    template = brain_template(1)
    fixed = to_ants(np.where(template.mask, template.t1, 0), template.grid)
    moving = to_ants(np.where(mask, corrected, 0), grid)
    found = ants.registration(fixed, moving, "SyN")
    table = pd.DataFrame(points * _LPS, columns=list("xyz"))
    return ants.apply_transforms_to_points(3, table, found["fwdtransforms"]).to_numpy()[:, :3] * _LPS


def grey_matter(corrected: NDArray, grid: Grid, mask: NDArray) -> NDArray[np.bool_]:
    """Grey matter (x, y, z) of a T1w without bias: the middle one of three classes."""
    image, inside = to_ants(np.where(mask, corrected, 0), grid), to_ants(mask.astype(np.float32), grid)
    classes = ants.atropos(a=image, x=inside, i="kmeans[3]", m="[0.1,1x1x1]", c="[5,0]")["segmentation"].numpy()
    return np.asarray(classes == 2)


def told_overlap(name: str, grey: NDArray, grid: Grid, voxels: NDArray, where: NDArray) -> None:
    """Print Dice of the template's grey matter and a person's, looked up at the points that a registration gives."""
    template = brain_template(1)
    theirs = template.grey[tuple(voxels.T)] > 0.5
    index = np.round(grid.to_voxel(where)).astype(int)
    inside = np.all((index >= 0) & (index < grid.shape), axis=1)
    ours = np.zeros(len(index), dtype=bool)
    ours[inside] = grey[tuple(index[inside].T)]
    print(f"  {name:26s} grey matter Dice {2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()):.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--true-mask", action="store_true")
    options = parser.parse_args()
    for dataset in options.datasets:
        for path in sorted(dataset.glob("sub-*/anat/*_T1w.nii.gz")):
            print(f"{dataset}: {path.name}", flush=True)
            one_person(dataset, path, with_peer=options.peer, true_mask=options.true_mask)
            print(f"  largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB", flush=True)


def one_person(dataset: Path, path: Path, *, with_peer: bool, true_mask: bool) -> None:
    """Print the figures of one T1w."""
    template = brain_template(1)
    truth = dataset / "sourcedata" / "truth" / path.parts[-3] / "anat"
    t1w, grid = read(path)
    brain = read(next(truth.glob("*_desc-brain_mask.nii.gz")))[0] > 0 if truth.exists() else None
    if true_mask and brain is not None:
        mask, start = brain, None
    else:
        clock, cpu = time.perf_counter(), time.process_time()
        found = find_brain_t1w(t1w, grid)
        print(f"  mask {time.perf_counter() - clock:.0f} s wall, {time.process_time() - cpu:.0f} s CPU {found.reason}")
        if not found.found:
            return
        mask, start = found.mask, found.to_t1w
        if brain is not None:
            overlap = 2 * (mask & brain).sum() / (mask.sum() + brain.sum())
            ends = [grid.to_ras(np.argwhere(m))[:, 2].min() for m in (mask, brain)]
            print(f"  mask Dice {overlap:.3f}, ends {ends[0] - ends[1]:+.1f} mm above the true end", flush=True)
    clock, cpu = time.perf_counter(), time.process_time()
    warp = normalise_brain(t1w, grid, mask, brain_template(2), start=start)
    print(f"  normalised in {time.perf_counter() - clock:.0f} s wall, {time.process_time() - cpu:.0f} s CPU: ", end="")
    print(", ".join(f"{name} {seconds:.0f}" for name, seconds in warp.seconds.items()))
    print(f"  smallest Jacobian {warp.jacobian_min:.2f}, round trip {warp.round_trip_mm:.2f} mm")

    voxels = np.argwhere(template.mask)[::7]
    voxels = voxels[template.grid.to_ras(voxels)[:, 2] > -64]
    points = template.grid.to_ras(voxels)
    named = np.array(list(LANDMARKS.values()), dtype=float)
    both = np.concatenate([points, named])
    maps = {"affine": warp.affine.map(both), "warp": warp.forward.map(both)}
    if with_peer:
        clock, cpu = time.perf_counter(), time.process_time()
        maps["antspyx SyN"] = peer(warp.corrected, grid, mask, both)
        print(f"  antspyx SyN {time.perf_counter() - clock:.0f} s wall, {time.process_time() - cpu:.0f} s CPU")
    if brain is not None:
        expected = true_map(truth).map(both)
        for name, where in maps.items():
            error = np.linalg.norm(where - expected, axis=1)
            told(name, error[: len(points)])
            told(f"{name}, landmarks", error[len(points) :])
            print("   ", ", ".join(f"{one} {mm:.1f}" for one, mm in zip(LANDMARKS, error[len(points) :], strict=True)))
    grey = grey_matter(warp.corrected, grid, mask)
    for name, where in maps.items():
        told_overlap(name, grey, grid, voxels, where[: len(points)])


if __name__ == "__main__":
    main()
