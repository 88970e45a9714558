"""Thermal denoising beside MRtrix3's `dwidenoise` on digital participants: time, error, and what becomes of activation.

`python benchmarks/thermal.py NOISY CLEAN --output thermal.md`: two folders made by `cospine simulate` with the same seed, the
second `--without noise`. `dwidenoise` (MRtrix3, MPL-2) is run from outside, as it comes, with as many threads.

Series, cut out so that the peer is done within minutes: the brain slices with the strongest activation, the cord slices with
it, and the same brain slices with independent noise in place of the scanner's. Each tool gets each series twice, with the
participant's activation and with it subtracted: the difference of the two results is what the tool made of the activation, free
of noise. Error is the root mean square over the brain or cord and time, voxel means removed.

Amplitude: mean effect in the voxels above half of the largest, over the true one. Outside: share of the effect's absolute sum
beyond the voxels that have any. Opposite (cord): effect in the mirrored voxels over the true effect. Beta error: root mean
square, in those voxels, of the effect against the one in the series without noise, raw in brackets.
"""

import argparse
import csv
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cospine.signal.thermal import denoise

Denoiser = Callable[[NDArray], NDArray]
WHITE_SD = 15.0
MOST_SLICES = 5


@dataclass(frozen=True)
class Part:
    """A piece of a run: series with noise and without, its activation (all (x, y, z, t)), and where to look."""

    name: str
    noisy: NDArray[np.float32]
    clean: NDArray[np.float32]
    activation: NDArray[np.float32]
    course: NDArray[np.float64]  # (z, t)
    scored: NDArray[np.bool_]
    affine: NDArray[np.float64]

    @property
    def effect(self) -> NDArray[np.float64]:
        return slopes(self.activation, self.course)


def slopes(series: NDArray, course: NDArray[np.float64]) -> NDArray[np.float64]:
    """Effect (x, y, z) of each slice's course, beside mean, trend and curvature."""
    t = np.linspace(-1, 1, series.shape[3])
    out = np.empty(series.shape[:3])
    for z in range(series.shape[2]):
        design = np.column_stack([course[z], np.ones_like(t), t, t**2])
        out[:, :, z] = series[:, :, z] @ np.linalg.pinv(design)[0]
    return out


def one(folder: Path, pattern: str) -> Path:
    """The only file of that name."""
    (found,) = folder.glob(pattern)
    return found


def read_parts(noisy_dir: Path, clean_dir: Path, n_volumes: int) -> list[Part]:
    """Brain, cord, and brain with independent noise."""
    truth = noisy_dir / "sourcedata" / "truth"
    image = nib.load(one(noisy_dir, "sub-*/func/*_bold.nii.gz"))
    clean_image = nib.load(one(clean_dir, "sub-*/func/*_bold.nii.gz"))
    noisy_all, clean_all = np.asanyarray(image.dataobj), np.asanyarray(clean_image.dataobj)
    brain, cord, percent = (
        nib.load(one(truth, f"sub-*/func/*_{name}.nii.gz")).get_fdata()
        for name in ("desc-brainapparent_mask", "label-SCapparent_mask", "desc-activationapparent_boldmap")
    )
    with one(truth, "sub-*/func/*_desc-activation_timeseries.tsv").open() as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    courses = np.zeros((percent.shape[2], noisy_all.shape[3]))
    for row in rows:
        courses[int(row[1]), int(row[0])] = np.mean([float(value) for value in row[2:]])
    courses /= courses.max()
    parts = []
    rng = np.random.default_rng(0)
    for name, mask, margin in (("brain", brain > 0, 4), ("cord", cord > 0, 14)):
        shown = np.where(mask, percent, 0)
        slices = np.sort(np.argsort(shown.sum((0, 1)), kind="stable")[-MOST_SLICES:])
        where = np.argwhere(shown[:, :, slices] > 0.3 * shown.max())
        where[:, 2] = slices[where[:, 2]]
        low, high = np.maximum(where.min(0) - (margin, margin, 2), 0), where.max(0) + 1 + (margin, margin, 2)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        clean = np.asfortranarray(clean_all[(*box, slice(n_volumes))].astype(np.float32))
        noisy = np.asfortranarray(noisy_all[(*box, slice(n_volumes))].astype(np.float32))
        course = courses[box[2], :n_volumes]
        scored = mask[box].copy()
        scored[:, :, [0, -1]] = False
        activation = ((clean.mean(3) * shown[box] / 100)[..., None] * course).astype(np.float32)
        affine = image.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        parts.append(Part(name, noisy, clean, activation, course, scored, affine))
        if name == "brain":
            white = np.asfortranarray(clean + WHITE_SD * rng.standard_normal(clean.shape, np.float32))
            parts.append(Part("brain, independent noise", white, clean, activation, course, scored, affine))
    return parts


def dwidenoise(program: str, affine: NDArray[np.float64]) -> Denoiser:
    """The peer as it comes, on uncompressed files; reading and writing count."""

    def run(series: NDArray) -> NDArray:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in.nii", Path(folder) / "out.nii"
            nib.save(nib.Nifti1Image(series, affine), source)
            subprocess.run([program, "-quiet", "-nthreads", str(os.cpu_count()), source, target], check=True)
            return np.asfortranarray(nib.load(target).get_fdata(dtype=np.float32))

    return run


def ours(**options) -> Denoiser:
    return lambda series: denoise(series, **options).series


def rms(values: NDArray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def rms_about_mean(difference: NDArray) -> float:
    return rms(difference - difference.mean(-1, keepdims=True))


def mirrored(wanted: NDArray[np.bool_], scored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same voxels on the other side of the cord, slice by slice about its middle."""
    out = np.zeros_like(wanted)
    for z in np.unique(np.argwhere(wanted)[:, 2]):
        columns = np.argwhere(scored[:, :, z])[:, 0]
        if not columns.size:
            continue
        for x, y in np.argwhere(wanted[:, :, z]):
            out[columns.min() + columns.max() - x, y, z] = True
    return out


def row(label: str, tool: Denoiser, part: Part) -> str:
    """One line of the table."""
    start, processor = time.perf_counter(), sum(os.times()[:4])
    result = tool(part.noisy)
    wall, processor = time.perf_counter() - start, sum(os.times()[:4]) - processor
    made = slopes(result - tool(part.noisy - part.activation), part.course)
    true = part.effect
    active = true > 0.5 * true.max()
    beyond = true <= 0.02 * true.max()
    opposite = f"{made[mirrored(active, part.scored)].mean() / true[active].mean():.3f}" if part.name == "cord" else ""
    ideal = slopes(part.clean, part.course)[active]
    beta, raw = (rms(slopes(s, part.course)[active] - ideal) for s in (result, part.noisy))
    return (
        f"| {part.name} | {label} | {wall:.1f} | {processor:.1f} | {rms_about_mean((result - part.clean)[part.scored]):.2f} "
        f"| {made[active].mean() / true[active].mean():.3f} | {np.abs(made[beyond]).sum() / np.abs(made).sum():.2f} | {opposite} "
        f"| {beta:.2f} ({raw:.2f}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="thermal denoising beside dwidenoise")
    parser.add_argument("noisy", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--volumes", type=int, default=110)
    parser.add_argument("--dwidenoise", default="dwidenoise", help="program; 'none' leaves it out")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    parts = read_parts(args.noisy, args.clean, args.volumes)
    warm = np.asfortranarray(np.random.default_rng(0).normal(100, 5, (16, 16, 3, 20)).astype(np.float32))
    denoise(warm)  # compiled before the clock runs
    lines = [
        "| series | tool | wall s | processor s | error | amplitude | outside | opposite | beta error (raw) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for part in parts:
        task = np.column_stack([part.course.mean(0), np.gradient(part.course.mean(0))])
        tools: dict[str, Denoiser] = {"none": lambda series: series}
        if args.dwidenoise != "none":
            tools["dwidenoise"] = dwidenoise(args.dwidenoise, part.affine)
        for strength in ("gentle", "full"):
            for stride in ((2, 2, 1), (2, 2, 2), (3, 3, 3)):
                tools[f"CoSpine {strength}, stride {stride}"] = ours(strength=strength, stride=stride)
            tools[f"CoSpine {strength}, patch (7, 7, 3), stride (3, 3, 2)"] = ours(
                strength=strength, patch=(7, 7, 3), stride=(3, 3, 2)
            )
        tools["CoSpine full, task kept"] = ours(strength="full", keep=task)
        for label, tool in tools.items():
            lines.append(row(label, tool, part))
            print(lines[-1], flush=True)
        print(f"{part.name}: {part.noisy.shape}", flush=True)
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
