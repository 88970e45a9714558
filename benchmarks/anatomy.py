"""Anatomy of digital participants against their truth: ``python benchmarks/anatomy.py DATASET DERIVATIVES ..``.

Reads what ``cospine run`` wrote (level full, with a T1w) and scores it: masks, centre line, levels, maps to MNI and PAM50,
alignment of the run. Transforms are applied by antspyx, truth by SciPy: what is scored shares no code with what scores.

The truth of a run is told in the pose in which the run begins; CoSpine's reference lies somewhere within the run. The way from
one to the other is what true and estimated motion of the same volumes differ by (their error is some hundredths of a mm).
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

MNI = "MNI152NLin2009aSym"
# RAS mm in MNI152: places that can be told from each other in any brain
LANDMARKS = {
    "anterior commissure": (0, 2, -4),
    "posterior commissure": (0, -26, -2),
    "frontal pole": (0, 66, 2),
    "occipital pole": (0, -102, 2),
    "vertex": (0, -20, 78),
    "left temporal pole": (-40, 18, -34),
    "right temporal pole": (40, 18, -34),
    "left hand knob": (-38, -24, 58),
    "right hand knob": (38, -24, 58),
    "left thalamus": (-12, -18, 8),
    "right thalamus": (12, -18, 8),
    "pons": (0, -26, -34),
    "pontomedullary junction": (0, -31, -49),
    "left cerebellum": (-26, -62, -32),
    "right cerebellum": (26, -62, -32),
}
Map = Callable[[NDArray], NDArray]


def load(path: Path) -> tuple[NDArray, NDArray]:
    """An image's values and affine."""
    image = nib.nifti1.load(path)
    return np.asarray(image.dataobj), np.asarray(image.affine)


def only(folder: Path, pattern: str) -> Path:
    """The one file that a pattern finds."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(f"{len(found)} files {pattern} in {folder}")
    return found[0]


def true_map(path: Path) -> Map:
    """An ITK displacement field (x, y, z, 1, 3), LPS mm, as a map of RAS points."""
    values, affine = load(path)
    vectors = values[:, :, :, 0, :] * np.array([-1, -1, 1])
    inverse = np.linalg.inv(affine)

    def mapped(points: NDArray) -> NDArray:
        at = (points @ inverse[:3, :3].T + inverse[:3, 3]).T
        found = [ndimage.map_coordinates(vectors[..., a], at, order=1, mode="nearest") for a in range(3)]
        return points + np.stack(found, axis=1)

    return mapped


def our_map(path: Path) -> Map:
    """An ITK composite file as a map of RAS points, by antspyx."""

    def mapped(points: NDArray) -> NDArray:
        table = pd.DataFrame(points * [-1, -1, 1], columns=["x", "y", "z"])
        out = ants.apply_transforms_to_points(3, table, [str(path)])
        return out[["x", "y", "z"]].to_numpy() * [-1, -1, 1]

    return mapped


def ras(index: NDArray, affine: NDArray) -> NDArray[np.float64]:
    """Voxel indices (n, 3) in RAS mm."""
    return index @ affine[:3, :3].T + affine[:3, 3]


def dice(a: NDArray, b: NDArray) -> float:
    """Overlap of two masks."""
    both = a.sum() + b.sum()
    return 2.0 * float((a & b).sum()) / float(both) if both else np.nan


def slicewise(found: NDArray, true: NDArray, axis: int) -> NDArray[np.float64]:
    """Dice of every slice with true mask."""
    pairs = zip(np.moveaxis(found, axis, 0), np.moveaxis(true, axis, 0), strict=True)
    return np.array([dice(a, b) for a, b in pairs if b.any()])


def centres(mask: NDArray, affine: NDArray, axis: int) -> NDArray[np.float64]:
    """Centroid of each slice of a mask, RAS mm."""
    held = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    points = [np.insert(np.array(ndimage.center_of_mass(np.take(mask, k, axis))), axis, k) for k in held]
    return ras(np.array(points), affine)


def head_to_reference(func: Path, truth: Path, prefix: str, affine: NDArray, shape: tuple[int, ...]) -> Map:
    """Points (RAS mm) of the head where our reference has it to where the true reference pose has it."""
    text = only(func, f"{prefix}_from-orig_to-boldref*_xfm.txt").read_text().splitlines()
    numbers = [np.array(line.split(":")[1].split(), dtype=float) for line in text if line.startswith(("Parameters", "Fixed"))]
    true = pd.read_csv(truth / "func" / f"{prefix}_desc-headmotion_timeseries.tsv", sep="\t")
    centre = ras((np.array(shape[:3]) - 1) / 2, affine)
    lps = np.array([-1, -1, 1])

    def moved(points: NDArray) -> NDArray:
        total = np.zeros_like(points)
        for (_, pose), ours, about in zip(true.iterrows(), numbers[::2], numbers[1::2], strict=False):
            there = (((points * lps) - about) @ ours[:9].reshape(3, 3).T + about + ours[9:]) * lps
            turn = Rotation.from_euler("xyz", pose[["rot_x", "rot_y", "rot_z"]].to_numpy(float)).as_matrix()
            shift = pose[["trans_x", "trans_y", "trans_z"]].to_numpy(float)
            total += (there - centre - shift) @ turn + centre
        return total / min(len(true), len(numbers) // 2)

    return moved


def cord_to_reference(mask: NDArray, func: Path, truth: Path, prefix: str, voxel_mm: NDArray) -> NDArray[np.bool_]:
    """The true cord mask as our reference has it: slice by slice what true and estimated shift differ by."""
    name = f"{prefix}_desc-cordmotion_timeseries.tsv"
    both = pd.merge(
        *(pd.read_csv(folder / name, sep="\t") for folder in (func, truth / "func")),
        on=["volume", "slice"],
        suffixes=("", "_true"),
    )
    result = np.zeros(mask.shape, dtype=bool)
    for k, rows_of in both.groupby("slice"):
        by = [(rows_of[f"shift_{a}_mm_true"] - rows_of[f"shift_{a}_mm"]).mean() for a in "ij"]
        result[:, :, k] = ndimage.shift(mask[:, :, k].astype(float), np.array(by) / voxel_mm[:2], order=1) > 0.5
    return result


def cord_rows(name: str, found: Path, true: Path, run: tuple[Path, Path, str] | None = None) -> Iterator[tuple[str, str]]:
    """Dice per slice and centre-line error of a cord mask; `run` for the truth of a run, told in another pose."""
    ours, affine = load(found)
    truth, _ = load(true)
    ours, truth = ours > 0, truth > 0.5
    if run is not None:
        truth = cord_to_reference(truth, *run, np.linalg.norm(affine[:3, :3], axis=0))
    axis = int(np.argmax(np.abs(affine[2, :3])))
    per = slicewise(ours, truth, axis)
    yield f"cord Dice per slice, {name}: median / 5th percentile", f"{np.median(per):.3f} / {np.percentile(per, 5):.3f}"
    off = cKDTree(centres(truth, affine, axis)).query(centres(ours, affine, axis))
    inside = off[0] < 10  # beyond the end of the other nothing is compared
    if not inside.any():
        yield f"centre line, {name}: median / 95 %", "nowhere near"
        return
    line, true_line = centres(ours, affine, axis)[inside], centres(truth, affine, axis)[off[1][inside]]
    apart = np.linalg.norm((line - true_line)[:, :2], axis=1)
    yield f"centre line, {name}: median / 95 %", f"{np.median(apart):.2f} / {np.percentile(apart, 95):.2f} mm"


def boundary_errors(found: NDArray, true: NDArray, affine: NDArray) -> NDArray[np.float64]:
    """Distance along the cord between boundaries of levels that both images have, mm."""
    line_heights = {}
    for name, labels in (("found", found), ("true", true)):
        index = np.argwhere(labels)
        z, level = ras(index, affine)[:, 2], labels[tuple(index.T)]
        line_heights[name] = {n: (z[level == n].min(), z[level == n].max()) for n in np.unique(level)}
    ours, truth = line_heights["found"], line_heights["true"]
    shared = [n for n in ours if n in truth and n + 1 in ours and n + 1 in truth]
    middle = {which: {n: (of[n][0] + of[n + 1][1]) / 2 for n in shared} for which, of in line_heights.items()}
    return np.array([abs(middle["found"][n] - middle["true"][n]) for n in shared])


def level_rows(name: str, found: Path, true: Path) -> Iterator[tuple[str, str]]:
    """Errors of the boundaries between levels."""
    ours, affine = load(found)
    truth, _ = load(true)
    off = boundary_errors(ours.astype(int), truth.astype(int), affine)
    yield f"{name} boundaries: {len(off)}, mean / largest", f"{off.mean():.2f} / {off.max():.2f} mm"


def brain_rows(anat: Path, truth: Path) -> Iterator[tuple[str, str]]:
    """Map to MNI: landmarks, and everywhere in the brain."""
    ours = our_map(only(anat, f"*from-T1w_to-{MNI}*.h5"))
    back = our_map(only(anat, f"*from-{MNI}_to-T1w*.h5"))
    true = true_map(only(truth / "anat", f"*from-T1w_to-{MNI}*.nii.gz"))
    named = np.array(list(LANDMARKS.values()), dtype=float)
    off = np.linalg.norm(ours(named) - true(named), axis=1)
    yield "brain landmarks: mean / largest", f"{off.mean():.2f} / {off.max():.2f} mm ({list(LANDMARKS)[int(off.argmax())]})"
    mask, affine = load(only(truth / "anat", "*desc-brain_mask.nii.gz"))
    inside = ras(np.argwhere(mask > 0)[::997], affine)
    there = true_map(only(truth / "anat", f"*from-{MNI}_to-T1w*.nii.gz"))(inside)
    off = np.linalg.norm(ours(there) - true(there), axis=1)
    yield "whole brain: mean / 95 %", f"{off.mean():.2f} / {np.percentile(off, 95):.2f} mm"
    off = np.linalg.norm(back(ours(there)) - there, axis=1)
    yield "MNI round trip: mean / largest", f"{off.mean():.3f} / {off.max():.3f} mm"


def pam50_rows(anat: Path, truth: Path, template: Path) -> Iterator[tuple[str, str]]:
    """Map to PAM50: axis, cord and grey matter."""
    ours = our_map(only(anat, "*from-T1w_to-PAM50*.h5"))
    back = our_map(only(anat, "*from-PAM50_to-T1w*.h5"))
    true = true_map(only(truth / "anat", f"*from-T1w_to-{MNI}*.nii.gz"))
    cord, affine = load(template / "PAM50_cord.nii.gz")
    grey, _ = load(template / "PAM50_gm.nii.gz")
    true_cord, t1w_affine = load(only(truth / "anat", "*label-SC_mask.nii.gz"))
    tissue, _ = load(only(truth / "anat", "*desc-tissue_dseg.nii.gz"))
    index = np.argwhere(cord[:, :, 693:] > 0.5) + np.array([0, 0, 693])
    lowest = ras(np.argwhere(true_cord > 0.5), t1w_affine)[:, 2].min()
    points = ras(index, affine)
    points = points[true(points)[:, 2] > lowest + 2]
    axis = np.array([points[points[:, 2] == z].mean(axis=0) for z in np.unique(points[:, 2])[::2]])
    off = ours(axis) - true(axis)
    plane = np.linalg.norm(off[:, :2], axis=1)
    yield "points on the cord's axis: in-plane mean / 95 %", f"{plane.mean():.2f} / {np.percentile(plane, 95):.2f} mm"
    yield "the same along z: mean / largest", f"{np.abs(off[:, 2]).mean():.2f} / {np.abs(off[:, 2]).max():.2f} mm"
    low, high = np.floor(index.min(axis=0) - 8).astype(int), np.ceil(index.max(axis=0) + 9).astype(int)
    high[2] = cord.shape[2]
    box = np.moveaxis(np.indices(high - low), 0, -1).reshape(-1, 3)[::1] + low
    to_t1w = np.linalg.inv(t1w_affine)
    place = ours(ras(box, affine))
    at = (place @ to_t1w[:3, :3].T + to_t1w[:3, 3]).T
    carried = {
        "cord": (ndimage.map_coordinates((true_cord > 0.5).astype(np.float32), at, order=1) > 0.5, cord > 0.5),
        "grey matter": (ndimage.map_coordinates((tissue == 4).astype(np.float32), at, order=1) > 0.5, grey > 0.5),
    }
    reached = place[:, 2] > lowest + 2
    for name, (person, of_template) in carried.items():
        model = of_template[tuple(box.T)]
        per = [dice(person[at_z], model[at_z]) for z in np.unique(box[:, 2]) if (at_z := (box[:, 2] == z) & reached).any()]
        per = np.array([d for d in per if np.isfinite(d)])
        yield f"{name} Dice in PAM50 per slice: median / 5th percentile", f"{np.median(per):.3f} / {np.percentile(per, 5):.3f}"
    round_trip = np.linalg.norm(back(ours(points[::50])) - points[::50], axis=1)
    yield "PAM50 round trip: mean / largest", f"{round_trip.mean():.3f} / {round_trip.max():.3f} mm"


def alignment_rows(func: Path, truth: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Alignment of the run to the T1w, apart for brain and cord."""
    ours = our_map(only(func, f"{prefix}_from-boldref_to-T1w*.h5"))
    true = true_map(only(truth / "func", f"{prefix}_from-boldref_to-T1w*.nii.gz"))
    brain, affine = load(only(truth / "anat", "*desc-brain_mask.nii.gz"))
    boldref, epi_affine = load(only(func, f"{prefix}_desc-coreg_boldref.nii.gz"))
    to_epi = np.linalg.inv(epi_affine)
    posed = head_to_reference(func, truth, prefix, epi_affine, boldref.shape)
    for name, mask in (("brain", brain), ("cord", load(only(truth / "anat", "*label-SC_mask.nii.gz"))[0])):
        points = ras(np.argwhere(mask > 0)[::97], affine)
        there = true(points)
        at = there @ to_epi[:3, :3].T + to_epi[:3, 3]
        held = np.all((at > 0) & (at < np.array(boldref.shape[:3]) - 1), axis=1)
        reached = posed(ours(points[held])) if name == "brain" else ours(points[held])
        off = (reached - there[held]) @ to_epi[:3, :3].T * np.linalg.norm(epi_affine[:3, :3], axis=0)
        if name == "brain":
            total = np.linalg.norm(off, axis=1)
            yield "BOLD to T1w, brain: mean / 95 %", f"{total.mean():.2f} / {np.percentile(total, 95):.2f} mm"
        else:
            plane = np.linalg.norm(off[:, :2], axis=1)
            yield "BOLD to T1w, cord in-plane: mean / 95 %", f"{plane.mean():.2f} / {np.percentile(plane, 95):.2f} mm"
            yield "BOLD to T1w, cord along the slices' axis: mean", f"{np.abs(off[:, 2]).mean():.2f} mm"


def rows(dataset: Path, derivatives: Path, template: Path, participant: str) -> dict[str, str]:
    """All figures of one participant."""
    truth = dataset / "sourcedata" / "truth" / participant
    anat, func = derivatives / participant / "anat", derivatives / participant / "func"
    first = min(func.glob("*_desc-coreg_boldref.nii.gz"))  # of several runs
    prefix = first.name.removesuffix("_desc-coreg_boldref.nii.gz")
    found: dict[str, str] = {}
    parts = (
        lambda: cord_rows(
            "EPI",
            only(func, f"{prefix}_label-SC_mask.nii.gz"),
            truth / "func" / f"{prefix}_label-SC_mask.nii.gz",
            (func, truth, prefix),
        ),
        lambda: cord_rows("T1w", only(anat, "*label-SC_mask.nii.gz"), only(truth / "anat", "*label-SC_mask.nii.gz")),
        lambda: level_rows(
            "vertebral, T1w,", only(anat, "*desc-vertebrae_dseg.nii.gz"), only(truth / "anat", "*vertebrae_dseg.nii.gz")
        ),
        lambda: level_rows(
            "vertebral, EPI,",
            only(func, f"{prefix}_desc-vertebrae_dseg.nii.gz"),
            truth / "func" / f"{prefix}_desc-vertebrae_dseg.nii.gz",
        ),
        lambda: level_rows(
            "spinal, EPI,",
            only(func, f"{prefix}_desc-spinalsegments_dseg.nii.gz"),
            truth / "func" / f"{prefix}_desc-spinalsegments_dseg.nii.gz",
        ),
        lambda: mask_rows("T1w", only(anat, "*desc-brain_mask.nii.gz"), only(truth / "anat", "*desc-brain_mask.nii.gz")),
        lambda: mask_rows(
            "EPI", only(func, f"{prefix}_desc-brain_mask.nii.gz"), truth / "func" / f"{prefix}_desc-brain_mask.nii.gz"
        ),
        lambda: brain_rows(anat, truth),
        lambda: pam50_rows(anat, truth, template),
        lambda: alignment_rows(func, truth, prefix),
    )
    for part in parts:
        try:
            found |= dict(part())
        except FileNotFoundError as error:
            found[f"missing: {error}"] = "-"
    return found


def mask_rows(name: str, found: Path, true: Path) -> Iterator[tuple[str, str]]:
    """Dice of a brain mask."""
    yield f"brain Dice, {name}", f"{dice(load(found)[0] > 0, load(true)[0] > 0.5):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="DATASET DERIVATIVES, as often as wanted")
    parser.add_argument("--template", type=Path, required=True, help="folder that holds PAM50_cord.nii.gz")
    chosen = parser.parse_args()
    table: dict[str, dict[str, str]] = {}
    for dataset, derivatives in zip(chosen.folders[::2], chosen.folders[1::2], strict=True):
        for truth in sorted((dataset / "sourcedata" / "truth").glob("sub-*")):
            if not (derivatives / truth.name).is_dir():
                continue
            table[f"{dataset.name} {truth.name}"] = rows(dataset, derivatives, chosen.template, truth.name)
    names = list(dict.fromkeys(name for one in table.values() for name in one))
    print("| what |" + "|".join(table) + "|")
    print("|---|" + "---|" * len(table))
    for name in names:
        print(f"| {name} |" + "|".join(one.get(name, "-") for one in table.values()) + "|")


if __name__ == "__main__":
    main()
