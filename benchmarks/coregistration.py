"""BOLD to T1w on digital participants: where points of brain and cord land, against the truth.

`python benchmarks/coregistration.py RAW=DERIVATIVES [..]`: a dataset of `cospine simulate` and what `cospine run` made of it.
Beside ours: what the headers alone say, and one rigid map by mutual information (`register.mutual`).

Truth is the T1w point's place in the undistorted reference pose. The reference of a run is a mean at another pose: how far
apart the two are is known from the tables of motion, true and estimated (brain: median rigid difference; cord: median
difference a slice), and added to the truth. What is left of the distortion counts as error.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `cospine` sets it, before numba comes

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.epi_to_t1w import align_epi
from cospine.anatomy.segmentation import BOLD_CSF_BRIGHTER, CordSegmentation, given_segmentation, segment_cord
from cospine.register.mutual import register_mutual
from cospine.space.grid import Grid
from cospine.space.transform import Affine, Displacement, rigid_matrix, rigid_parameters

POSE = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
PointMap = Callable[[NDArray], NDArray]


def load(path: Path) -> tuple[NDArray, Grid]:
    """Image and grid."""
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    return data, Grid(data.shape[:3], image.affine)


@dataclass(frozen=True)
class Person:
    """Images, masks and truth of one digital participant."""

    name: str
    t1w: NDArray
    t1w_grid: Grid
    t1w_brain: NDArray
    t1w_cord: NDArray
    levels: NDArray
    epi: NDArray
    grid: Grid
    brain: NDArray
    cord: NDArray
    to_reference: Displacement
    moved: NDArray
    cord_moved_mm: NDArray


def read(raw: Path, made: Path, label: str) -> Person:
    """Everything of the first run of a participant."""
    truth, anat, func = raw / "sourcedata/truth" / label, raw / "sourcedata/truth" / label / "anat", made / label / "func"
    ref = next(func.glob("*_desc-coreg_boldref.nii.gz"))
    prefix = ref.name.removesuffix("_desc-coreg_boldref.nii.gz")
    t1w, t1w_grid = load(raw / label / "anat" / f"{label}_T1w.nii.gz")
    epi, grid = load(ref)
    vectors, xfm_grid = load(truth / "func" / f"{prefix}_from-boldref_to-T1w_mode-image_xfm.nii.gz")
    found, true = (pd.read_csv(f / f"{prefix}_desc-headmotion_timeseries.tsv", sep="\t") for f in (func, truth / "func"))
    count = min(len(found), len(true))
    poses = [
        rigid_matrix(table[names].to_numpy()[:count], grid.centre)
        for table, names in ((found, POSE), (true, [f"apparent_{n}" for n in POSE]))
    ]
    apart = rigid_parameters(np.linalg.inv(poses[0]) @ poses[1], grid.centre)
    both = [pd.read_csv(f / f"{prefix}_desc-cordmotion_timeseries.tsv", sep="\t") for f in (truth / "func", func)]
    joined = both[0].merge(both[1], on=["volume", "slice"], suffixes=("_true", ""))
    cord_moved = np.full((grid.shape[2], 2), np.nan)
    for number, part in joined.groupby("slice"):
        cord_moved[int(number)] = [float((part[f"shift_{a}_mm_true"] - part[f"shift_{a}_mm"]).median()) for a in "ij"]
    return Person(
        f"{raw.name} {label}",
        t1w.astype(np.float32),
        t1w_grid,
        load(anat / f"{label}_desc-brain_mask.nii.gz")[0] > 0,
        load(anat / f"{label}_label-SC_mask.nii.gz")[0] > 0,
        load(anat / f"{label}_desc-vertebrae_dseg.nii.gz")[0],
        epi.astype(np.float32),
        grid,
        load(func / f"{prefix}_desc-brain_mask.nii.gz")[0] > 0,
        load(truth / "func" / f"{prefix}_label-SC_mask.nii.gz")[0] > 0,
        Displacement(xfm_grid, vectors.squeeze() * np.array([-1.0, -1.0, 1.0])),
        rigid_matrix(np.median(apart, axis=0), grid.centre),
        cord_moved,
    )


def cord_axis(one: Person) -> tuple[NDArray, NDArray]:
    """Points along the T1w's cord (n, 3) and their vertebral levels."""
    axis, _ = one.t1w_grid.axis_of("S")
    index = np.argwhere(one.t1w_cord)
    heights = np.unique(index[:, axis])
    points = np.array([one.t1w_grid.to_ras(index[index[:, axis] == k].mean(axis=0)) for k in heights])
    level = [np.bincount(one.levels[tuple(index[index[:, axis] == k].T)]).argmax() for k in heights]
    return np.asarray(ndimage.gaussian_filter1d(points, 2, axis=0, mode="nearest")), np.array(level)


def score(one: Person, to_epi: PointMap, *, still_cord: bool) -> list[str]:
    """Errors of a map, mm: brain; cord in the plane of the slices and across, also by level."""
    brain = one.t1w_grid.to_ras(np.argwhere(one.t1w_brain)[::150])
    wanted = Affine(one.moved).map(one.to_reference.map(brain))
    seen = np.all((one.grid.to_voxel(wanted) >= 0) & (one.grid.to_voxel(wanted) <= np.array(one.grid.shape) - 1), axis=1)
    miss = np.linalg.norm(to_epi(brain) - wanted, axis=1)[seen]
    points, level = cord_axis(one)
    voxel = one.grid.to_voxel(one.to_reference.map(points))
    measured = np.flatnonzero(np.isfinite(one.cord_moved_mm[:, 0]))
    kept = (voxel[:, 2] >= measured.min()) & (voxel[:, 2] <= measured.max()) & (level > 0)
    points, voxel, level = points[kept], voxel[kept], level[kept]
    if not still_cord:
        for a in range(2):
            voxel[:, a] += np.interp(voxel[:, 2], measured, one.cord_moved_mm[measured, a]) / one.grid.voxel_mm[a]
    error = (one.grid.to_voxel(to_epi(points)) - voxel) * one.grid.voxel_mm
    plane, along = np.hypot(error[:, 0], error[:, 1]), np.abs(error[:, 2])
    by_level = " ".join(
        f"{plane[level == v].mean():.2f}/{along[level == v].mean():.1f}" for v in range(1, 8) if (level == v).any()
    )
    return [f"{miss.mean():.2f}", f"{np.percentile(miss, 95):.2f}", f"{plane.mean():.2f}", f"{np.percentile(plane, 95):.2f}",
            f"{along.mean():.2f}", by_level]  # fmt: skip


def rows(one: Person, *, true_masks: bool) -> list[list[str]]:
    """Table rows of one participant."""
    cord: CordSegmentation = (
        given_segmentation(one.cord, one.grid) if true_masks else segment_cord(one.epi, one.grid, csf_brighter=BOLD_CSF_BRIGHTER)
    )
    other = given_segmentation(one.t1w_cord, one.t1w_grid) if true_masks else segment_cord(one.t1w, one.t1w_grid)
    start = time.perf_counter()
    found = align_epi(one.epi, one.grid, one.brain, cord, one.t1w, one.t1w_grid, one.t1w_brain, other)
    spent = time.perf_counter() - start
    around = ndimage.binary_dilation(one.brain, iterations=2)
    start = time.perf_counter()
    # its fixed image is the EPI: EPI to T1w
    parameters, _ = register_mutual(one.epi, one.grid, one.t1w, one.t1w_grid, around)
    mutual_s = time.perf_counter() - start
    back = rigid_matrix(parameters, one.grid.to_ras(np.argwhere(around).mean(axis=0)))
    maps: list[tuple[str, PointMap, float]] = [
        ("header", lambda points: points, 0.0),
        ("mutual information, rigid", Affine(back).inverse().map, mutual_s),
        ("ours, head's rigid part", Affine(found.rigid).map, np.nan),
        ("ours", found.to_epi.map, spent),
    ]
    return [[one.name, name, *score(one, way, still_cord=true_masks), f"{wall:.1f}"] for name, way, wall in maps]


HEAD = ["participant", "map", "brain", "95 %", "cord in-plane", "95 %", "cord along z", "C1..C7 in-plane/z", "s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="RAW=DERIVATIVES")
    parser.add_argument("--true-masks", action="store_true", help="the cord as it is (of the reference pose), not as it is found")
    given = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for pair in given.pairs:
        raw, _, made = pair.partition("=")
        for label in sorted(
            path.name for path in Path(made).glob("sub-*") if any((path / "func").glob("*_desc-coreg_boldref.nii.gz"))
        ):
            for row in rows(read(Path(raw), Path(made), label), true_masks=given.true_masks):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
