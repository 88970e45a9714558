"""The cord drawn by hand in real images (tests/data/cord_outlines): outlines, and the masks that they enclose."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "cord_outlines"


@dataclass(frozen=True)
class Outline:
    """The cord in one slice of one image.

    Parameters
    ----------
    image : str
        Path within the collection of real images.
    volumes : tuple of int or None
        Volumes that are averaged; None for a single volume.
    slice : int
        Index along the third stored axis.
    confidence : {'a', 'b', 'c'}
        How much of the edge is visible.
    vertices : ndarray (n, 2)
        Voxel indices (i, j), centres at integers.
    again : ndarray (n, 2) or None
        The same slice drawn a second time.
    """

    image: str
    volumes: tuple[int, ...] | None
    slice: int
    confidence: str
    vertices: NDArray[np.float64]
    again: NDArray[np.float64] | None


def read_outlines(folder: Path = FOLDER) -> list[Outline]:
    """All outlines, by image and slice."""
    outlines = []
    for file in sorted(folder.glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        volumes = record["volumes"] if record["volumes"] is None else tuple(record["volumes"])
        for one in record["slices"]:
            again = np.array(one["again"]) if "again" in one else None
            outlines.append(Outline(record["image"], volumes, one["slice"], one["confidence"], np.array(one["outline"]), again))
    return outlines


def read_image(outline: Outline, data: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The image that was drawn on, (x, y, z), and its affine; `data` is the folder of real images."""
    image = nib.load(data / outline.image)
    array = np.asarray(image.dataobj, dtype=np.float32)
    return array if outline.volumes is None else array[..., list(outline.volumes)].mean(axis=3), image.affine


def mask(vertices: NDArray, shape: tuple[int, int], per_side: int = 10) -> NDArray[np.bool_]:
    """Voxels of a slice of which at least half lies within a polygon.

    Parameters
    ----------
    vertices : ndarray (n, 2)
        Polygon in voxel indices (i, j).
    shape : tuple of int
        Voxels along i and j.
    per_side : int
        Each voxel is probed at per_side x per_side points.
    """
    probe = (np.arange(per_side) + 0.5) / per_side - 0.5
    i, j = (np.add.outer(np.arange(n), probe).ravel() for n in shape)
    points = np.stack(np.meshgrid(i, j, indexing="ij"), axis=-1)
    inside = Polygon(vertices).contains_points(points.reshape(-1, 2)).reshape(shape[0], per_side, shape[1], per_side)
    return inside.mean(axis=(1, 3)) >= 0.5
