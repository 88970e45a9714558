"""BOLD to T1w: a head of two contrasts, turned, with a neck that bends and gradients that do not run straight."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cospine.anatomy.epi_to_t1w import EpiAlignment, align_epi
from cospine.anatomy.segmentation import CordSegmentation
from cospine.errors import CoSpineError
from cospine.space.grid import Grid
from cospine.space.transform import rigid_matrix

pytestmark = pytest.mark.slow

T1W = Grid((60, 76, 90), np.array([[2.5, 0, 0, -75], [0, 2.5, 0, -95], [0, 0, 2.5, -135], [0, 0, 0, 1]]))
# flipped along x, slices tilted by five degrees
TILT = np.deg2rad(5)
EPI_AFFINE = np.array(
    [
        [-2.5, 0, 0, 76],
        [0, 2.5 * np.cos(TILT), -4 * np.sin(TILT), -98],
        [0, 2.5 * np.sin(TILT), 4 * np.cos(TILT), -130],
        [0, 0, 0, 1],
    ]
)
EPI = Grid((62, 78, 54), EPI_AFFINE)
POSE = rigid_matrix(np.array([2.0, -3.0, 1.5, 0.05, -0.02, 0.03]), np.zeros(3))
FORAMEN = -45.0


def tissues(points: np.ndarray) -> np.ndarray:
    """Skull 1, grey 2, white 3, ventricle 4, CSF of the canal 5, cord 6 at T1w points (n, 3)."""
    x, y, z = points.T
    up = z - 15
    radius = np.sqrt((x / 58) ** 2 + (y / 68) ** 2 + (up / 58) ** 2)
    folds = 0.07 * (np.sin(x / 5) + np.cos(y / 6) + np.sin(z / 7))
    kind = np.where(radius < 1.1, 1, 0)
    kind = np.where(radius < 1, np.where(radius + folds < 0.8, 3, 2), kind)
    kind[((np.abs(x) - 12) / 6) ** 2 + ((y - 5) / 22) ** 2 + (up / 10) ** 2 < 1] = 4
    neck = z < FORAMEN
    off = np.hypot(x, y + 12)
    kind = np.where(neck & (off < 40), 1, kind)
    kind = np.where(neck & (off < 9), 5, kind)
    return np.where(neck & (off < 6), 6, kind)


def bend_mm(z: np.ndarray) -> np.ndarray:
    """How far the neck was bent forward between the scans."""
    return 0.0008 * np.clip(FORAMEN - z, 0, None) ** 2


def true_map(points: np.ndarray) -> np.ndarray:
    """T1w point to EPI point."""
    bent = points.copy()
    bent[:, 1] += bend_mm(points[:, 2])
    turned = bent @ POSE[:3, :3].T + POSE[:3, 3]
    turned[:, 2] -= 2.0 * (turned[:, 2] / 140) ** 3
    return turned


def back_map(points: np.ndarray) -> np.ndarray:
    """EPI point to T1w point, by fixed point."""
    found = points.copy()
    for _ in range(40):
        found += points - true_map(found)
    return found


def shown(contrast: tuple[float, ...], grid: Grid, seed: int, way=lambda points: points) -> tuple[np.ndarray, np.ndarray]:
    """Image (x, y, z) in a contrast, with noise, and the kinds of tissue."""
    kind = tissues(way(grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)))).reshape(grid.shape)
    values = ndimage.gaussian_filter(np.array(contrast, dtype=np.float32)[kind], 0.5)
    return (values + np.random.default_rng(seed).normal(0, 8, grid.shape)).astype(np.float32), kind


def cord_of(kind: np.ndarray, slices: slice = slice(None)) -> CordSegmentation:
    """The cord as it is, in some slices."""
    mask = np.zeros(kind.shape, dtype=bool)
    mask[..., slices] = kind[..., slices] == 6
    confidence = mask.any(axis=(0, 1)).astype(float)
    return CordSegmentation(mask, mask.astype(np.float32), np.zeros((0, 3)), 2, confidence, "" if mask.any() else "cut away")


@pytest.fixture(scope="module")
def scans() -> tuple:
    """What `align_epi` takes."""
    t1w, kind = shown((0, 100, 500, 800, 150, 180, 650), T1W, 1)
    epi, other = shown((0, 60, 700, 500, 1000, 900, 450), EPI, 2, back_map)
    inside, outside = np.isin(kind, (2, 3, 4)), np.isin(other, (2, 3, 4))
    return epi, EPI, outside, cord_of(other), t1w, T1W, inside, cord_of(kind)


@pytest.fixture(scope="module")
def aligned(scans: tuple) -> EpiAlignment:
    return align_epi(*scans)


def cord_axis() -> np.ndarray:
    z = np.arange(-118.0, FORAMEN - 20, 2)
    return np.stack([np.zeros_like(z), np.full_like(z, -12), z], axis=-1)


def miss(found: EpiAlignment, points: np.ndarray) -> np.ndarray:
    """Error along the EPI's axes (n, 3), mm."""
    return (EPI.to_voxel(found.to_epi.map(points)) - EPI.to_voxel(true_map(points))) * EPI.voxel_mm


def test_brain_and_cord_are_found(scans: tuple, aligned: EpiAlignment) -> None:
    brain = T1W.to_ras(np.argwhere(scans[6])[::100])
    assert np.linalg.norm(miss(aligned, brain), axis=1).mean() < 0.6
    cord = miss(aligned, cord_axis())
    assert np.hypot(cord[:, 0], cord[:, 1]).mean() < 0.4
    assert np.abs(cord[:, 2]).mean() < 1.5
    assert aligned.regions == ("brain", "cord")
    assert aligned.reason == ""


def test_the_bent_neck_needs_the_cord(aligned: EpiAlignment) -> None:
    head_alone = cord_axis() @ aligned.rigid[:3, :3].T + aligned.rigid[:3, 3]
    error = (EPI.to_voxel(head_alone) - EPI.to_voxel(true_map(cord_axis()))) * EPI.voxel_mm
    assert np.hypot(error[:, 0], error[:, 1]).max() > 2.5
    assert np.abs(aligned.fit.after_mm).mean() < 0.25 * np.abs(aligned.fit.before_mm).mean()


def test_there_and_back_is_the_same_place_and_nothing_folds(aligned: EpiAlignment) -> None:
    points = np.random.default_rng(0).uniform((-70, -90, -130), (70, 90, 85), (3000, 3))
    assert np.linalg.norm(aligned.to_t1w.map(aligned.to_epi.map(points)) - points, axis=1).max() < 0.2
    assert aligned.fit.smallest_jacobian > 0.5


def test_head_passes_into_neck_without_a_step(aligned: EpiAlignment) -> None:
    line = np.stack([np.zeros(400), np.full(400, -12.0), np.linspace(40, -120, 400)], axis=-1)
    moved = aligned.to_epi.map(line) - line
    # 0.4 mm apart: slopes change little from one to the next
    assert np.linalg.norm(np.diff(moved, 2, axis=0), axis=1).max() < 0.02


def test_agreement_grows(aligned: EpiAlignment) -> None:
    fit = aligned.fit
    assert fit.information[1] > fit.information[0]
    assert fit.correlation[1] > fit.correlation[0]
    assert fit.contour_mm[1] < fit.contour_mm[0]


def test_brain_alone(scans: tuple) -> None:
    epi, grid, brain, cord, *rest = scans
    none = replace(cord, mask=np.zeros_like(cord.mask), reason="cut away")
    found = align_epi(epi, grid, brain, none, *rest)
    assert found.regions == ("brain",)
    assert "no cord (cut away)" in found.reason
    points = T1W.to_ras(np.argwhere(scans[6])[::100])
    assert np.linalg.norm(miss(found, points), axis=1).mean() < 0.6
    # other places to compare at: another pose, by little
    other = align_epi(epi, grid, brain, none, *rest, seed=7)
    apart = np.linalg.norm(other.to_epi.map(points) - found.to_epi.map(points), axis=1)
    assert 0 < apart.mean() < 0.3


def test_cord_alone(scans: tuple) -> None:
    epi, grid, brain, cord, *rest = scans
    found = align_epi(epi, grid, np.zeros_like(brain), cord, *rest)
    assert found.regions == ("cord",)
    assert "ml of brain" in found.reason
    assert "header" in found.reason
    np.testing.assert_array_equal(found.rigid, np.eye(4))
    cord_error = miss(found, cord_axis())
    assert np.hypot(cord_error[:, 0], cord_error[:, 1]).mean() < 0.5


def test_a_t1w_that_ends_early_gives_the_cord_where_both_are(scans: tuple, aligned: EpiAlignment) -> None:
    *first, t1w_cord = scans
    half = replace(t1w_cord, soft=t1w_cord.soft.copy())
    half.soft[..., :14] = 0  # below -100 mm
    found = align_epi(*first, half)
    assert found.fit.slices.min() > aligned.fit.slices.min()
    points = cord_axis()[cord_axis()[:, 2] > -97]
    error = miss(found, points)
    assert np.hypot(error[:, 0], error[:, 1]).mean() < 0.4


def test_nothing_in_common_is_an_error(scans: tuple) -> None:
    epi, grid, brain, cord, t1w, t1w_grid, t1w_brain, t1w_cord = scans
    none = replace(cord, mask=np.zeros_like(cord.mask), reason="cut away")
    with pytest.raises(CoSpineError, match="cannot be aligned"):
        align_epi(epi, grid, np.zeros_like(brain), none, t1w, t1w_grid, t1w_brain, t1w_cord)
