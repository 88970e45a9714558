"""Cord segmentation against masks: time, Dice by slice, the centre line, and what stays when the cord is painted over.

    python benchmarks/segment.py [--image IMAGE MASK] [--digital FOLDER ..] [--without IMAGE ..] [--pictures DIR]

`--image` may be given several times. `--digital` takes datasets that ``cospine simulate`` made: T1w, undistorted reference and
mean EPI (distorted, against the mask as it shows there). `--without` takes images that hold no cord.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.segmentation import CordSegmentation, segment_cord
from cospine.bids.images import load_image
from cospine.quality.mosaic import cord_mosaic
from cospine.space.grid import Grid


@dataclass(frozen=True)
class Case:
    """An image, and where its cord is."""

    name: str
    image: NDArray
    grid: Grid
    truth: NDArray


def load_case(image: Path, mask: Path, name: str) -> Case:
    """Temporal mean of an image, and a mask on the same grid."""
    data, affine = load_image(image)
    mean = data if data.ndim == 3 else data.mean(axis=3, dtype=np.float64).astype(np.float32)
    return Case(name, mean, Grid(mean.shape, affine), np.asarray(nib.load(mask).dataobj) > 0)


def digital_cases(root: Path) -> list[Case]:
    """T1w, undistorted reference and distorted mean of every participant of a dataset."""
    cases = []
    for truth in sorted((root / "sourcedata" / "truth").glob("sub-*")):
        who, raw = truth.name, root / truth.name
        label = f"{root.name} {who}"
        cases.append(
            load_case(raw / "anat" / f"{who}_T1w.nii.gz", truth / "anat" / f"{who}_label-SC_mask.nii.gz", f"{label} T1w")
        )
        for bold in sorted((raw / "func").glob("*_bold.nii.gz")):
            prefix = truth / "func" / bold.name.removesuffix("_bold.nii.gz")
            cases.append(load_case(bold, Path(f"{prefix}_label-SCapparent_mask.nii.gz"), f"{label} EPI"))
            cases.append(
                load_case(
                    Path(f"{prefix}_desc-undistorted_boldref.nii.gz"),
                    Path(f"{prefix}_label-SC_mask.nii.gz"),
                    f"{label} undistorted",
                )
            )
    return cases


def dice_by_slice(found: NDArray, truth: NDArray, axis: int) -> NDArray:
    """Dice in each slice that holds some of the truth; 0 where nothing was found in it."""
    others = tuple(a for a in range(3) if a != axis)
    both, one, other = ((m).sum(axis=others) for m in (found & truth, found, truth))
    held = other > 0
    return 2 * both[held] / (one + other)[held]


def centre_error_mm(found: CordSegmentation, truth: NDArray, grid: Grid) -> NDArray:
    """Distance of the centre line from the truth's centroid in each slice that both run through."""
    axis = found.slice_axis
    line = grid.to_voxel(found.centre_line)
    line = line[np.argsort(line[:, axis])]
    errors = []
    for k in np.flatnonzero(truth.any(axis=tuple(a for a in range(3) if a != axis))):
        if not line[0, axis] - 0.5 <= k <= line[-1, axis] + 0.5:
            continue
        centre = np.insert(np.array(ndimage.center_of_mass(np.take(truth, k, axis=axis))), axis, k)
        point = np.array([np.interp(k, line[:, axis], line[:, a]) for a in range(3)])
        errors.append(np.linalg.norm((point - centre) * grid.voxel_mm))
    return np.array(errors)


def painted_over(image: NDArray, cord: NDArray, grid: Grid, reach_mm: float, seed: int = 0) -> NDArray:
    """The image with its cord, and what lies within a distance of it, filled from what surrounds that, slice by slice.

    The fill meets the rim of the hole (solution of Laplace's equation) and has the fine texture of a ring about it, so that no
    outline of the cord is left.
    """
    rng = np.random.default_rng(seed)
    axis, _ = grid.axis_of("S")
    values, masks = np.moveaxis(image.astype(np.float32), axis, 0).copy(), np.moveaxis(cord, axis, 0)
    spacing = np.delete(grid.voxel_mm, axis)
    for k in np.flatnonzero(masks.any(axis=(1, 2))):
        distance = np.asarray(ndimage.distance_transform_edt(~masks[k], sampling=spacing))
        hole, ring = distance <= reach_mm, (distance > reach_mm) & (distance <= reach_mm + 5.0)
        nearest = ndimage.distance_transform_edt(hole, sampling=spacing, return_distances=False, return_indices=True)
        filled = values[k][tuple(np.asarray(nearest))]
        for _ in range(400):
            smooth = np.asarray(ndimage.uniform_filter(filled, 3, mode="nearest"))
            filled = np.where(hole, smooth, values[k])
        fine = values[k] - ndimage.gaussian_filter(values[k], 1.0)
        filled[hole] += 0.7 * rng.choice(fine[ring], int(hole.sum()))
        values[k] = filled
    return np.moveaxis(values, 0, axis)


def share_that_stays(case: Case, reach_mm: float, others: tuple[int, ...]) -> float:
    """Share of the slices with a cord that still have a mask there when it is painted over."""
    left = segment_cord(painted_over(case.image, case.truth, case.grid, reach_mm), case.grid)
    held = case.truth.any(axis=others)
    return float((left.mask & case.truth).any(axis=others)[held].mean())


def score(case: Case, pictures: Path | None) -> None:
    """Print the figures of one image."""
    start = time.perf_counter()
    found = segment_cord(case.image, case.grid)
    seconds = time.perf_counter() - start
    start_of_line = f"{case.name:34s} {seconds:5.1f} s"
    if not found.found:
        print(f"{start_of_line}  NOT FOUND: {found.reason}", flush=True)
        return
    axis = found.slice_axis
    others = tuple(a for a in range(3) if a != axis)
    dice = dice_by_slice(found.mask, case.truth, axis)
    beyond = int((found.mask.any(axis=others) & ~case.truth.any(axis=others)).sum())
    error = centre_error_mm(found, case.truth, case.grid)
    confidence = found.confidence[case.truth.any(axis=others)]
    linked = np.corrcoef(confidence, dice)[0, 1] if dice.std() > 0 and confidence.std() > 0 else np.nan
    volume = found.mask.sum() / case.truth.sum()
    stays = [share_that_stays(case, reach_mm, others) for reach_mm in (2.0, 7.0)]
    middle = np.median(error) if error.size else np.nan
    print(
        f"{start_of_line}  Dice {np.median(dice):.3f} median, {np.percentile(dice, 5):.3f} 5th pct, "
        f"{(dice == 0).sum()} of {dice.size} slices missed, {beyond} beyond; volume x{volume:.2f}; "
        f"line {middle:.2f} mm; confidence {np.median(confidence):.2f} (r {linked:.2f} with Dice); "
        f"painted over: {stays[0]:.0%} of slices stay, {stays[1]:.0%} with the canal",
        flush=True,
    )
    if pictures is not None:
        draw(case, found, pictures)


def draw(case: Case, found: CordSegmentation, folder: Path) -> None:
    """The mask as found, slice by slice."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = cord_mosaic(case.image, case.grid.affine, found.mask)
    (folder / f"{case.name.replace(' ', '_').replace('/', '_')}.svg").write_text(figure.frames[0].svg)


def main() -> None:
    """Score what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", nargs=2, type=Path, metavar=("IMAGE", "MASK"), action="append", default=[])
    parser.add_argument("--digital", nargs="*", type=Path, metavar="FOLDER", default=[])
    parser.add_argument("--without", nargs="*", type=Path, metavar="IMAGE", default=[])
    parser.add_argument("--pictures", type=Path, metavar="DIR")
    chosen = parser.parse_args()
    for image, mask in chosen.image:
        score(load_case(image, mask, "/".join(image.parts[-2:])), chosen.pictures)
    for root in chosen.digital:
        for case in digital_cases(root):
            score(case, chosen.pictures)
    for image in chosen.without:
        case = load_case(image, image, image.name)
        found = segment_cord(case.image, case.grid)
        said = (
            f"FOUND {found.mask.sum()} voxels, confidence {found.confidence.max():.2f}"
            if found.found
            else f"none: {found.reason}"
        )
        print(f"{case.name:34s} {said}")


if __name__ == "__main__":
    main()
