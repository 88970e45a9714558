"""Vertebral levels: how far each boundary is from the truth, along the cord.

    python benchmarks/levels.py digital DIR [DIR ..] [--segment] [--align] [--error MM ..] [--pictures FOLDER]
    python benchmarks/levels.py real IMAGE --cord MASK --labels LABELS [--middles] [--given DISC X Y Z] [--pictures FOLDER]

`digital`: digital participants (`cospine simulate`). The cord is the true one, or with `--segment` the one that is found;
the brain's alignment is the affine part of the true one, or with `--align` the one that the software finds. `--error` moves the
anchor along the cord on top of that, to see how much of it the picture mends and whether the count slips unnoticed.
`real`: an image with a cord mask and labels: discs as SCT counts them, or with `--middles` the middles of vertebrae (C1 = 1),
as it did before. `--given` names one disc at a point in RAS mm, as a person would.
"""

import argparse
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cospine.anatomy.given_discs import read_disc_image
from cospine.anatomy.levels import Levels, disc_name, find_levels, spinal_labels, vertebra_name, vertebral_labels
from cospine.anatomy.neck import extended_line, project
from cospine.anatomy.segmentation import CordSegmentation, given_segmentation, segment_cord
from cospine.space.grid import Grid
from cospine.space.templates import brain_template, cord_template
from cospine.space.transform import Affine


def read(path: Path) -> tuple[NDArray, Grid]:
    """An image and its grid."""
    image = nib.Nifti1Image.from_filename(path)
    data = np.asfortranarray(image.get_fdata(dtype=np.float32))
    return data, Grid(data.shape[:3], np.array(image.affine))


def true_alignment(path: Path) -> Affine:
    """Affine part, within the brain, of the true displacement field MNI point to T1w point (an ITK file: LPS)."""
    field = nib.Nifti1Image.from_filename(path)
    shift = np.asarray(field.dataobj)[..., 0, :] * [-1, -1, 1]
    grid = Grid(shift.shape[:3], np.array(field.affine))
    template = brain_template(2)
    points = template.grid.to_ras(np.argwhere(template.mask)[::97])
    nearest = np.rint(grid.to_voxel(points)).astype(int)
    at = grid.to_ras(nearest)
    moved = at + shift[tuple(nearest.T)]
    solution = np.linalg.lstsq(np.c_[at, np.ones(len(at))], moved, rcond=None)[0]
    matrix = np.eye(4)
    matrix[:3] = solution.T
    return Affine(matrix)


def found_alignment(image: NDArray, grid: Grid) -> Affine:
    """The alignment to MNI that the brain mask comes with."""
    from cospine.anatomy.brain_t1w import find_brain_t1w

    alignment = find_brain_t1w(image, grid).to_t1w
    if alignment is None:
        raise SystemExit("no brain was found to align")
    return alignment


def errors(levels: Levels, line: NDArray, truth: dict[int, NDArray]) -> dict[int, float]:
    """Error of each disc along the cord, mm, positive when found too low; only of those that lie on the line."""
    position, points = extended_line(line)
    out = {}
    for number, point in truth.items():
        at, _ = project(position, points, point)
        if number in levels.discs and position[0] + 35 < at < position[-1] - 15:
            out[number] = project(position, points, levels.discs[number])[0] - at
    return out


def picture(folder: Path, name: str, image: NDArray, grid: Grid, levels: Levels, truth: dict[int, NDArray]) -> None:
    """Sagittal section along the cord with found (red) and true (cyan) discs."""
    import matplotlib.pyplot as plt

    canonical = nib.as_closest_canonical(nib.Nifti1Image(image, grid.affine))
    affine = canonical.affine
    where = np.array(list(levels.discs.values()) or list(levels.unnamed) or list(truth.values()))
    column = round(float(np.mean(Grid(canonical.shape, affine).to_voxel(where)[:, 0])))
    section = canonical.get_fdata()[max(column - 1, 0) : column + 2].mean(axis=0)
    voxel = Grid(canonical.shape, affine)
    figure, axes = plt.subplots(figsize=(7, 9))
    axes.imshow(
        section.T, cmap="gray", origin="lower", vmax=np.percentile(section, 99), aspect=voxel.voxel_mm[2] / voxel.voxel_mm[1]
    )
    for number, point in levels.discs.items():
        _, j, k = voxel.to_voxel(point)
        axes.plot([j, j + 14 / voxel.voxel_mm[1]], [k, k], "r", lw=1)
        axes.text(j, k, f"{disc_name(number)} {levels.confidence[number]:.2f}", color="r", fontsize=7, ha="right")
    for point in levels.unnamed:
        _, j, k = voxel.to_voxel(point)
        axes.plot([j, j + 14 / voxel.voxel_mm[1]], [k, k], "y", lw=1)
    for point in truth.values():
        _, j, k = voxel.to_voxel(point)
        axes.plot(j, k, "c.", ms=5)
    axes.set(title=f"{name}: vertebral levels", xlim=(0, section.shape[0]), ylim=(0, section.shape[1]))
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=80)
    plt.close(figure)


def report(name: str, levels: Levels, error: dict[int, float], seconds: float) -> None:
    """One table."""
    print(f"\n{name}: {levels.method} ({seconds:.1f} s)" + (f"\n  {levels.reason}" if levels.reason else ""))
    if error:
        print("  boundary (vertebral) " + " ".join(f"{disc_name(n):>10}" for n in error))
        print("  error, mm            " + " ".join(f"{e:10.1f}" for e in error.values()))
        print("  confidence           " + " ".join(f"{levels.confidence[n]:10.2f}" for n in error))
        worst = max(abs(e) for e in error.values())
        print(f"  mean |error| {np.mean(np.abs(list(error.values()))):.2f} mm, largest {worst:.2f} mm")


def digital(arguments: argparse.Namespace) -> None:
    """Score digital participants."""
    template = cord_template(arguments.template_dir)
    largest = []
    for folder in arguments.folders:
        truth_folder = folder / "sourcedata/truth/sub-01/anat"
        image, grid = read(folder / "sub-01/anat/sub-01_T1w.nii.gz")
        mask, _ = read(truth_folder / "sub-01_label-SC_mask.nii.gz")
        table = pd.read_csv(truth_folder / "sub-01_desc-landmarks_points.tsv", sep="\t").set_index("name")
        truth = {int(n[5:]): table.loc[n, ["x", "y", "z"]].to_numpy(float) for n in table.index if n.startswith("disc_")}
        mask[grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))[..., 2] > table.loc["foramen_magnum", "z"]] = 0
        true_cord = given_segmentation(mask > 0, grid)
        cord: CordSegmentation = segment_cord(image, grid) if arguments.segment else true_cord
        transform = truth_folder / "sub-01_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.nii.gz"
        alignment = found_alignment(image, grid) if arguments.align else true_alignment(transform)
        for error_mm in arguments.error:
            matrix = alignment.matrix.copy()
            matrix[2, 3] += error_mm
            start = time.perf_counter()
            levels = find_levels(image, grid, cord, template, Affine(matrix))
            name = f"{folder.name}" + (f" anchor {error_mm:+g} mm" if error_mm else "")
            error = errors(levels, true_cord.centre_line, truth)
            report(name, levels, error, time.perf_counter() - start)
            largest.append(max(abs(e) for e in error.values()) if error else np.nan)
            if arguments.pictures:
                picture(arguments.pictures, name.replace(" ", "_"), image, grid, levels, truth)
        for system, found, file in (
            ("vertebral", vertebral_labels(levels, true_cord.centre_line, true_cord.mask, grid), "vertebrae"),
            ("spinal", spinal_labels(levels, true_cord.centre_line, true_cord.mask, grid, template), "spinalsegments"),
        ):
            labels, _ = read(truth_folder / f"sub-01_desc-{file}_dseg.nii.gz")
            both = (labels > 0) & true_cord.mask
            print(f"  {system} labels equal to the truth in {np.mean(found[both] == labels[both]):.1%} of the cord's voxels")
    print(f"\nlargest boundary error of all: {np.nanmax(largest):.2f} mm over {len(largest)} cases")


def middles(levels: Levels, line: NDArray, truth: dict[int, NDArray]) -> dict[int, float]:
    """Error of the middle of each vertebra along the cord, mm, positive when found too low."""
    position, points = extended_line(line)
    at = {n: project(position, points, point)[0] for n, point in levels.discs.items()}
    return {n: (at[n] + at[n + 1]) / 2 - project(position, points, p)[0] for n, p in truth.items() if n in at and n + 1 in at}


def real(arguments: argparse.Namespace) -> None:
    """Score an image with labelled discs or vertebrae."""
    template = cord_template(arguments.template_dir)
    image, grid = read(arguments.image)
    mask, _ = read(arguments.cord)
    labels, label_grid = read(arguments.labels)
    truth = read_disc_image(np.rint(labels), label_grid)
    cord = given_segmentation(mask > 0, grid)
    start = time.perf_counter()
    given = {int(arguments.given[0]): np.array(arguments.given[1:])} if arguments.given else None
    levels = find_levels(image, grid, cord, template, given=given)
    seconds = time.perf_counter() - start
    name = arguments.image.parent.name
    report(name, levels, {} if arguments.middles else errors(levels, cord.centre_line, truth), seconds)
    if arguments.middles:
        for vertebra, error in middles(levels, cord.centre_line, truth).items():
            print(f"  middle of vertebra {vertebra_name(vertebra)} (vertebral): {error:+.1f} mm")
    position, points = extended_line(cord.centre_line)
    found = levels.discs or dict(enumerate(levels.unnamed))
    print("  along the cord, mm: " + " ".join(f"{n}: {project(position, points, p)[0]:.1f}" for n, p in found.items()))
    if arguments.pictures:
        picture(arguments.pictures, name + ("_given" if given else ""), image, grid, levels, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("digital")
    one.add_argument("folders", nargs="+", type=Path)
    one.add_argument("--segment", action="store_true")
    one.add_argument("--align", action="store_true")
    one.add_argument("--error", nargs="+", type=float, default=[0.0])
    one.set_defaults(score=digital)
    other = kinds.add_parser("real")
    other.add_argument("image", type=Path)
    other.add_argument("--cord", type=Path, required=True)
    other.add_argument("--labels", type=Path, required=True)
    other.add_argument("--middles", action="store_true")
    other.add_argument("--given", type=float, nargs=4, metavar=("DISC", "X", "Y", "Z"))
    other.set_defaults(score=real)
    for command in (one, other):
        command.add_argument("--template-dir", type=Path)
        command.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    arguments.score(arguments)


if __name__ == "__main__":
    main()
