"""A head made of the MNI template's brain, bent by known waves, in a dark skull and a bright scalp, on a neck."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.grid import Grid
from cospine.space.templates import brain_template

SHAPE, SPACING_MM = (66, 78, 84), 3.0
AFFINE = np.array(
    [[0.95, 0.02, 0.0, 3.0], [-0.02, 0.95 * np.cos(0.12), -0.95 * np.sin(0.12), 8.0], [0.0, 0.11, 0.96, 30.0], [0, 0, 0, 1.0]]
)


@dataclass(frozen=True)
class Made:
    """An image, its brain, and the truth of its geometry."""

    image: NDArray[np.float32]
    grid: Grid
    brain: NDArray[np.bool_]
    bias: NDArray[np.float32]

    @staticmethod
    def to_mni(points: NDArray) -> NDArray[np.float64]:
        """T1w point to MNI point, RAS mm."""
        straight = (points - AFFINE[:3, 3]) @ np.linalg.inv(AFFINE[:3, :3]).T
        turned = np.roll(straight, 1, axis=-1)
        return straight + 2.5 * np.sin(turned / 20.0 + np.array([0.3, 1.0, 2.0]))

    def to_t1w(self, points: NDArray) -> NDArray[np.float64]:
        """MNI point to T1w point by fixed-point iteration."""
        straight = np.array(points, dtype=np.float64)
        for _ in range(60):
            at = straight @ AFFINE[:3, :3].T + AFFINE[:3, 3]
            straight += points - self.to_mni(at)
        return straight @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def make_head(codes: str = "RAS", seed: int = 0) -> Made:
    """The head in any orientation."""
    template = brain_template(2)
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = [-98, -112, -120]
    points = np.moveaxis(np.indices(SHAPE), 0, -1) * SPACING_MM + affine[:3, 3]
    mni = Made.to_mni(points)
    pad = 20
    inside = np.pad(template.mask, pad)
    reach = np.asarray(ndimage.distance_transform_edt(~inside, sampling=2.0))

    def sampled(array: NDArray, outside: float) -> NDArray:
        voxel = np.moveaxis(template.grid.to_voxel(mni), -1, 0) + pad
        return ndimage.map_coordinates(array, voxel, order=1, mode="constant", cval=outside)

    distance = sampled(reach, 60.0)
    brain = (sampled(inside.astype(np.float32), 0) > 0.5) & (mni[..., 2] > -66.8)
    tissue = sampled(np.pad(np.where(template.mask, template.t1, 0), pad), 0) * 700
    neck = (np.hypot(points[..., 0] - 3, points[..., 1] + 15) < 55) & (points[..., 2] < -25)
    image = np.where(neck, 220.0, 0.0)
    image[(distance < 14) & (mni[..., 2] > -60)] = 1100
    image[distance < 9] = 60
    image = np.maximum(image, tissue)
    bias = 1 + 0.25 * np.sin(points[..., 1] / 70) * np.cos(points[..., 2] / 90)
    rng = np.random.default_rng(seed)
    image = np.abs(image * bias + rng.normal(scale=12, size=SHAPE))
    ornt = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes)))
    turned = [nib.orientations.apply_orientation(a, ornt) for a in (image, brain, bias)]
    grid = Grid(turned[0].shape, affine @ nib.orientations.inv_ornt_aff(ornt, SHAPE))
    return Made(turned[0].astype(np.float32), grid, turned[1], turned[2].astype(np.float32))


def dice(one: NDArray, other: NDArray) -> float:
    """Overlap of two masks."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))
