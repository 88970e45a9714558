"""Score the cord network on real images with masks drawn by hand. Nothing here feeds back into training.

    python -m training.cord_score FOLDER [--picture PNG]

FOLDER holds one folder an image, with `image.nii.gz`-like files; the mask is the file whose name says so. With both networks
installed the image goes through `cospine.anatomy.segmentation.segment_cord`, else sections are cut about the mask's own
middle (which is said: it leaves out the search, and shows the cord network alone).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cospine.anatomy.localise import Line
from cospine.anatomy.network import normalise_section, run_cord
from cospine.anatomy.sections import planes_of, sample_sections
from cospine.anatomy.segmentation import given_segmentation, segment_cord
from cospine.space.grid import Grid


@dataclass(frozen=True)
class SectionScore:
    """What the network says in sections about a given cord: all arrays (n, 64, 64), Dice (n,)."""

    section: np.ndarray
    probability: np.ndarray
    truth: np.ndarray
    dice: np.ndarray


def load(path: Path) -> tuple[np.ndarray, Grid]:
    """An image, the mean over time of a series, and its grid."""
    image = nib.load(path)
    values = np.asarray(image.dataobj, dtype=np.float32)
    if values.ndim == 4:
        values = values.mean(axis=3)
    return values, Grid(values.shape, image.affine)


def dice_of(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice of every leading index, (n, ..) -> (n,)."""
    axes = tuple(range(1, truth.ndim))
    return 2 * (found & truth).sum(axes) / np.maximum(found.sum(axes) + truth.sum(axes), 1)


def score_sections(image: np.ndarray, mask: np.ndarray, grid: Grid, seed: int = 0) -> SectionScore:
    """Sections whose middles lie within 4 mm of the mask's: the network alone."""
    planes = planes_of(grid)
    line = given_segmentation(mask, grid).centre_line
    frame = planes.to_frame(line)
    course = Line(frame[:, 2], frame[:, :2], np.ones(len(frame)), 3.0)
    reach = planes.step_mm / 2
    chosen = np.flatnonzero((planes.height_mm < frame[:, 2].max() + reach) & (planes.height_mm > frame[:, 2].min() - reach))
    middle = course.at(planes.height_mm[chosen]) + np.random.default_rng(seed).uniform(-4, 4, (len(chosen), 2))
    section, in_view = sample_sections(image, grid, planes, chosen, middle, course)
    truth = sample_sections(mask.astype(np.float32), grid, planes, chosen, middle, course)[0] >= 0.5
    section = normalise_section(section, in_view)
    probability = run_cord(section)
    return SectionScore(section, probability, truth, dice_of(probability >= 0.5, truth)[truth.any(axis=(1, 2))])


def score_whole(image: np.ndarray, mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Dice of every stored slice that holds some of the mask, found by `segment_cord`."""
    cord = segment_cord(image, grid)
    found, truth = (np.moveaxis(m, cord.slice_axis, 0) for m in (cord.mask, mask))
    return dice_of(found, truth)[truth.any(axis=(1, 2))]


def line_of(name: str, way: str, dice: np.ndarray) -> str:
    """One line of a table."""
    return f"| {name} | {way} | {len(dice)} | {np.median(dice):.3f} | {np.percentile(dice, 5):.3f} |"


def main() -> None:
    """Parse the command line, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", help="IMAGE=MASK, both NIfTI")
    parser.add_argument("--whole", action="store_true", help="through segment_cord, head network and search included")
    arguments = parser.parse_args()
    rows = ["| image | way | slices | median Dice | 5th percentile |", "|---|---|---|---|---|"]
    for pair in arguments.pairs:
        image_path, mask_path = (Path(part) for part in pair.split("="))
        image, grid = load(image_path)
        mask = load(mask_path)[0] > 0.5
        name = f"{image_path.parent.name}/{image_path.name}"
        if arguments.whole:
            rows.append(line_of(name, "whole", score_whole(image, mask, grid)))
        else:
            rows.append(line_of(name, "sections", score_sections(image, mask, grid).dice))
    print("\n".join(rows))  # noqa: T201


if __name__ == "__main__":
    main()
