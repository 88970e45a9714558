"""Smoothing that stays within a region."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cospine.errors import CoSpineError
from cospine.signal.smoothing import FWHM_PER_SIGMA, smooth_within

VOXEL = (0.5, 0.5, 1.0)


def test_far_from_an_edge_it_is_a_gaussian_of_the_width_asked_for() -> None:
    point = np.zeros((41, 41, 41), np.float32)
    point[20, 20, 20] = 1
    found = smooth_within(point, np.ones(point.shape, bool), (2, 2, 6), VOXEL)
    # second moments of the response: sigma squared, mm
    at = (np.indices(point.shape) - 20) * np.array(VOXEL)[:, None, None, None]
    variance = (found * at**2).sum(axis=(1, 2, 3)) / found.sum()
    np.testing.assert_allclose(np.sqrt(variance) * FWHM_PER_SIGMA, (2, 2, 6), rtol=0.02)
    np.testing.assert_allclose(found, gaussian_filter(point, [2 / FWHM_PER_SIGMA / 0.5] * 2 + [6 / FWHM_PER_SIGMA]), atol=1e-7)


def test_nothing_outside_of_the_region_reaches_it() -> None:
    rng = np.random.default_rng(1)
    mask = np.zeros((20, 20, 20), bool)
    mask[5:9, 6:11, 2:18] = True
    inside = rng.normal(size=mask.shape).astype(np.float32)
    results = [smooth_within(np.where(mask, inside, out), mask, (2, 2, 6), VOXEL) for out in (0, 1e6, np.nan)]
    for found in results:
        np.testing.assert_array_equal(found, results[0])
        assert np.isnan(found[~mask]).all()
    assert np.nanstd(results[0]) < 0.5


def test_a_constant_stays_constant_up_to_the_edge_and_holes_are_passed_over() -> None:
    mask = np.zeros((12, 12, 12), bool)
    mask[2:9, 3:8, 1:12] = True
    values = np.full(mask.shape, 3.0, np.float32)
    values[4, 5, 6] = np.nan
    found = smooth_within(values, mask, (3, 3, 3), (1, 1, 1))
    np.testing.assert_allclose(found[mask & np.isfinite(values)], 3, rtol=1e-6)
    assert np.isnan(found[4, 5, 6])


def test_no_width_changes_nothing_and_nonsense_is_refused() -> None:
    values = np.random.default_rng(2).normal(size=(5, 6, 7)).astype(np.float32)
    np.testing.assert_array_equal(smooth_within(values, np.ones(values.shape, bool), (0, 0, 0), VOXEL), values)
    assert np.isnan(smooth_within(values, np.zeros(values.shape, bool), (2, 2, 2), VOXEL)).all()
    for mask, width in ((np.ones((5, 6), bool), (1, 1, 1)), (np.ones(values.shape, bool), (1, -1, 1))):
        with pytest.raises(CoSpineError, match="smoothing within a region"):
            smooth_within(values, mask, width, VOXEL)
