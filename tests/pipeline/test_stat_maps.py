"""Effects carried to another space: from their region alone, with a variance that is true there."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import norm
from scipy.stats import t as student

from cospine.pipeline.spaces_stage import Space
from cospine.pipeline.stat_maps import carry
from cospine.space.grid import Grid
from cospine.space.resample import Places

SOURCE = Grid((24, 24, 16), np.diag([1.5, 1.5, 4.0, 1.0]))
TARGET = Grid((34, 34, 60), np.diag([1.0, 1.0, 1.0, 1.0]))
FWHM = (2.0, 2.0, 6.0)


@pytest.fixture(scope="module")
def space() -> Space:
    index = np.stack(np.unravel_index(np.arange(np.prod(TARGET.shape)), TARGET.shape, order="F"), axis=1)
    voxels = SOURCE.to_voxel(TARGET.to_ras(index)).astype(np.float32)
    return Space("PAM50", TARGET, np.ones(TARGET.shape, bool), Places.of(voxels, None))


def cylinder(grid: Grid, radius_mm: float) -> np.ndarray:
    at = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.hypot(at[..., 0] - 17, at[..., 1] - 17) < radius_mm


@pytest.mark.parametrize("fwhm_in_plane", [0.0, 3.0])
def test_z_is_standard_normal_under_noise_whatever_its_smoothness(space: Space, fwhm_in_plane: float) -> None:
    rng = np.random.default_rng(3)
    region, target = cylinder(SOURCE, 12), cylinder(TARGET, 12)
    sigma = fwhm_in_plane / 2.355 / 1.5

    def noise() -> np.ndarray:
        white = rng.normal(size=SOURCE.shape)
        if sigma:
            white = ndimage.gaussian_filter(white, (sigma, sigma, 0))
            white /= white.std()
        return white.astype(np.float32)

    spread = np.linspace(0.5, 2, SOURCE.shape[2])[None, None, :] * np.ones(SOURCE.shape)
    residuals = [noise() for _ in range(24)]
    variance = np.asarray(spread**2, np.float32)
    values = []
    for _ in range(12):
        done = carry({"c": (noise() * spread, variance)}, residuals, 1000.0, space, region, target, FWHM)["c"]
        values.append(done.z[target & np.isfinite(done.z)])
    assert np.std(np.concatenate(values)) == pytest.approx(1, abs=0.08)
    # a variance that is only smoothed would have made z far too small
    plain = carry({"c": (noise() * spread, variance)}, [], 1000.0, space, region, target, FWHM)["c"]
    assert np.nanstd(plain.z) < 0.75


def test_nothing_comes_from_outside_of_the_region(space: Space) -> None:
    region, target = cylinder(SOURCE, 6), cylinder(TARGET, 6)
    effect = np.where(region, 1.0, 1e6).astype(np.float32)
    variance = np.where(region, 4.0, np.nan).astype(np.float32)
    done = carry({"c": (effect, variance)}, [], 50.0, space, region, target, FWHM)["c"]
    known = np.isfinite(done.effect)
    assert known.sum() > 0.9 * target.sum()
    assert not (known & ~target).any()
    np.testing.assert_allclose(done.effect[known], 1, rtol=1e-5)
    np.testing.assert_allclose(done.t[known], 0.5, rtol=1e-5)
    np.testing.assert_allclose(done.z[known], norm.isf(student.sf(0.5, 50)), rtol=1e-5)
    # where the run held no region there is no estimate, and no zero either
    half = region & (np.arange(16) < 8)
    done = carry({"c": (effect, variance)}, [], 50.0, space, half, target, FWHM)["c"]
    assert np.isnan(done.effect[..., 40:]).all()
    assert np.isnan(done.z[..., 40:]).all()
