"""How well a cord meets PAM50: digital participants against their truth, a real crop against the Spinal Cord Toolbox's warp.

    python benchmarks/cord_normalisation.py --participants DIR [DIR ..] [--templates PAM50] [--real CORD_SEG/t2w-crop] [--found]

Columns: Dice of the person's cord in PAM50 with the template's (median and 5th percentile of slices; "possible" is with the
truth's own map), error of points on the cord's axis (in-plane and along z, PAM50 to image), overlap of the person's grey matter
brought by our map and by the true one (own), and with the template's, round trip, smallest Jacobian, seconds. `--found` adds the
segmented cord and found levels.
"""

import argparse
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.levels import Levels, find_levels
from cospine.anatomy.segmentation import CordSegmentation, given_segmentation, segment_cord
from cospine.anatomy.straighten import curved_axis
from cospine.anatomy.to_pam50 import CordWarp, normalise_cord
from cospine.errors import CoSpineError
from cospine.space.cord_template import CordTemplate
from cospine.space.grid import Grid
from cospine.space.templates import cord_template
from cospine.space.transform import Affine, Chain, Displacement, Transform

CORD_GREY = 4  # of the truth's tissue_dseg


def load(path: Path) -> tuple[NDArray, Grid]:
    """An image or segmentation, and its grid."""
    stored = nib.load(path)
    return np.asarray(stored.dataobj), Grid(stored.shape[:3], stored.affine)  # type: ignore[attr-defined]


def itk_field(path: Path) -> Displacement:
    """A displacement field that ITK stores as NIfTI (vectors in LPS)."""
    vectors, grid = load(path)
    return Displacement(grid, vectors[..., 0, :] * [-1.0, -1.0, 1.0])


def on_the_line(points: dict[int, NDArray], line: NDArray) -> dict[int, NDArray]:
    """Points moved to the nearest place on a centre line."""
    axis = curved_axis(line)
    names = sorted(points)
    arc = axis.locate(np.array([points[n] for n in names]))
    return dict(zip(names, axis.at(arc)[0], strict=True))


def true_levels(table: Path, line: NDArray, to_image: Transform | None = None) -> Levels:
    """The truth's discs, on the centre line; of another image than the T1w through the map to it."""
    rows = pd.read_csv(table, sep="\t").set_index("name")
    discs = {n: rows.loc[f"disc_{n}", ["x", "y", "z"]].to_numpy(float) for n in range(1, 10) if f"disc_{n}" in rows.index}
    if to_image is not None:
        discs = {n: to_image.map(p[None])[0] for n, p in discs.items()}
    discs = {n: p for n, p in discs.items() if line[-1, 2] - 3 <= p[2]}
    return Levels(on_the_line(discs, line), dict.fromkeys(discs, 1.0), "given", "")


def sampled(image: NDArray, grid: Grid, points: NDArray) -> NDArray[np.float64]:
    """Linear interpolation at RAS points (.., 3)."""
    return ndimage.map_coordinates(image.astype(np.float32), np.moveaxis(grid.to_voxel(points), -1, 0), order=1)


def affine_of(truth: Transform) -> Affine:
    """The affine map closest to the truth in the brain: what a head's registration gives the search for levels."""
    points = np.random.default_rng(0).uniform((-60, -95, -40), (60, 60, 70), (2000, 3))
    padded = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    matrix = np.eye(4)
    matrix[:3] = np.linalg.lstsq(padded, truth.map(points), rcond=None)[0].T
    return Affine(matrix)


def dice(one: NDArray, other: NDArray, axis: tuple[int, ...] = (0, 1)) -> NDArray[np.float64]:
    """Dice of two masks, per slice."""
    return 2 * (one & other).sum(axis=axis) / np.maximum(one.sum(axis=axis) + other.sum(axis=axis), 1)


def figures(
    warp: CordWarp, truth: Displacement, template: CordTemplate, cord: NDArray, grey: NDArray, grid: Grid
) -> dict[str, float]:
    """All columns but the seconds."""
    box = template.grid
    points = box.to_ras(np.moveaxis(np.indices(box.shape), 0, -1))
    seen = warp.coverage > 0
    ours, theirs = warp.forward.map(points), truth.map(points)
    possible = dice(sampled(cord, grid, theirs) >= 0.5, template.cord >= 0.5)[seen]
    line = template.centre_line[
        (template.centre_line[:, 2] >= warp.covered_z_mm[0]) & (template.centre_line[:, 2] <= warp.covered_z_mm[1])
    ]
    there, wanted = warp.forward.map(line), truth.map(line)
    along = np.gradient(wanted, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    miss = there - wanted
    down = (miss * along).sum(axis=1)
    across = np.linalg.norm(miss - down[:, None] * along, axis=1)
    overlap = dict.fromkeys(("GM own", "GM template", "GM possible"), np.nan)
    if grey is not None:
        here, wanted_grey = (sampled(grey, grid, places) >= 0.5 for places in (ours, theirs))
        here[..., ~seen], wanted_grey[..., ~seen] = False, False
        pairs = ((here, wanted_grey), (here, (template.grey >= 0.5) & seen), (wanted_grey, (template.grey >= 0.5) & seen))
        overlap = {name: float(dice(*pair, (0, 1, 2))) for name, pair in zip(overlap, pairs, strict=True)}
    return {
        "dice": float(np.median(warp.dice_z[seen])),
        "dice p5": float(np.percentile(warp.dice_z[seen], 5)),
        "possible": float(np.median(possible)),
        "in-plane": float(across.mean()),
        "in-plane max": float(across.max()),
        "z": float(np.abs(down).mean()),
        "z max": float(np.abs(down).max()),
        **overlap,
        "round trip": warp.round_trip_mm,
        "jacobian": warp.smallest_jacobian,
        "z low": warp.covered_z_mm[0],
        "z high": warp.covered_z_mm[1],
    }


def digital(folder: Path, template: CordTemplate, found: bool) -> list[dict[str, float | str]]:
    """Rows of one digital participant."""
    anat = folder / "sourcedata/truth/sub-01/anat"
    cord_mask, grid = load(anat / "sub-01_label-SC_mask.nii.gz")
    tissue, _ = load(anat / "sub-01_desc-tissue_dseg.nii.gz")
    truth: Transform = itk_field(anat / "sub-01_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.nii.gz")
    discs = anat / "sub-01_desc-landmarks_points.tsv"
    rows: list[dict[str, float | str]] = []

    def judge(case: str, cord: CordSegmentation, levels: Levels) -> None:
        start = time.perf_counter()
        try:
            warp = normalise_cord(cord, grid, levels, template)
        except CoSpineError as error:
            print(f"{folder.name}, {case}: {error}")
            return
        seconds = time.perf_counter() - start
        columns = figures(warp, truth, template, cord_mask, grey, grid)
        rows.append({"who": f"{folder.parent.name}/{folder.name}", "case": case, **columns, "seconds": seconds})

    image = load(folder / "sub-01/anat/sub-01_T1w.nii.gz")[0].astype(np.float32)
    grey = tissue == CORD_GREY
    brain = affine_of(truth)
    cord = given_segmentation(cord_mask, grid)
    judge("T1w, true mask, true discs", cord, true_levels(discs, cord.centre_line))
    judge("T1w, true mask, found discs", cord, find_levels(image, grid, cord, template, brain))
    if found:
        cord = segment_cord(image, grid)
        if cord.found:
            judge("T1w, found mask, true discs", cord, true_levels(discs, cord.centre_line))
            judge("T1w, found mask, found discs", cord, find_levels(image, grid, cord, template, brain))
    run = folder / "sourcedata/truth/sub-01/func/sub-01_task-pain"
    to_epi = itk_field(Path(f"{run}_from-boldref_to-T1w_mode-image_xfm.nii.gz"))
    cord_mask, grid = load(Path(f"{run}_label-SC_mask.nii.gz"))
    truth, grey = Chain((truth, to_epi)), None
    cord = given_segmentation(cord_mask, grid)
    judge("EPI, true mask, true discs", cord, true_levels(discs, cord.centre_line, to_epi))
    if found:
        cord = segment_cord(load(Path(f"{run}_desc-undistorted_boldref.nii.gz"))[0].astype(np.float32), grid)
        if cord.found:
            judge("EPI, found mask, true discs", cord, true_levels(discs, cord.centre_line, to_epi))
    return rows


def crop(folder: Path, template: CordTemplate) -> pd.DataFrame:
    """SCT's own warp of its test crop against ours from the manual mask and discs: places of the cord's axis, mm, by height."""
    mask, grid = load(folder / "cord.nii.gz")
    discs_image, _ = load(folder / "discs.nii.gz")
    peer = itk_field(folder / "peer_warp_PAM50_to_image.nii.gz")
    cord = given_segmentation(mask, grid)
    labelled = {int(discs_image[tuple(v)]): grid.to_ras(v) for v in np.argwhere(discs_image)}
    levels = Levels(on_the_line(labelled, cord.centre_line), dict.fromkeys(labelled, 1.0), "given", "")
    warp = normalise_cord(cord, grid, levels, template)
    print(warp.method)
    print(f"Dice {np.nanmedian(warp.dice_z):.3f}, round trip {warp.round_trip_mm:.3f} mm, Jacobian {warp.smallest_jacobian:.2f}")
    # SCT's field lives on the image: image point to PAM50 point
    voxels = np.argwhere(mask > 0)
    points = grid.to_ras(voxels)
    inside = warp.inverse.map(points)
    theirs = peer.map(points)
    # the warp was made for PAM50 with another header: its origin is not ours
    known = (np.abs(theirs) < 1e4).all(axis=1)
    inside, theirs = inside[known], theirs[known]
    offset = np.median(inside - theirs, axis=0)
    print("origin of SCT's PAM50 against ours:", offset.round(2))
    miss = inside - theirs - offset
    rows = pd.DataFrame(
        {
            "level mm": np.round(inside[:, 2] / 5) * 5,
            "x": miss[:, 0],
            "y": miss[:, 1],
            "z": miss[:, 2],
            "across": np.hypot(miss[:, 0], miss[:, 1]),
        }
    )
    return rows.groupby("level mm").mean().iloc[::-1]


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", nargs="*", type=Path, default=[])
    parser.add_argument("--templates", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--found", action="store_true")
    chosen = parser.parse_args()
    template = cord_template(chosen.templates)
    print(template.source)
    rows = [row for folder in chosen.participants for row in digital(folder, template, chosen.found)]
    if rows:
        print(pd.DataFrame(rows).round(3).to_string(index=False))
    if chosen.real:
        print(crop(chosen.real, template).round(2).to_string())


if __name__ == "__main__":
    main()
