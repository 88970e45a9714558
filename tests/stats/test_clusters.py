"""Clusters: by hand, and their masses against nilearn's."""

import numpy as np
import pytest
from nilearn.mass_univariate._utils import calculate_cluster_measures
from scipy.ndimage import gaussian_filter, generate_binary_structure

from cospine.stats.clusters import cluster_table, label_clusters


def test_positive_and_negative_clusters_heaviest_first() -> None:
    values = np.zeros((6, 1, 1))
    values[:, 0, 0] = 4, 3.5, -5, -6, 0, 3.2
    mask = np.ones(values.shape, bool)
    found = label_clusters(values, mask, 3.0)
    np.testing.assert_array_equal(found.labels[:, 0, 0], [2, 2, 1, 1, 0, 3])
    np.testing.assert_allclose(found.masses, [5, 1.5, 0.2])
    one_sided = label_clusters(values, mask, 3.0, two_sided=False)
    np.testing.assert_array_equal(one_sided.labels[:, 0, 0], [1, 1, 0, 0, 0, 2])
    mask[0] = False
    assert label_clusters(values, mask, 3.0).labels[0, 0, 0] == 0


def test_heaviest_equals_nilearns() -> None:
    values = 3 * gaussian_filter(np.random.default_rng(1).normal(size=(9, 9, 9)), 1) / 0.3
    found = label_clusters(values, np.ones(values.shape, bool), 2.0, connectivity=26)
    _, theirs = calculate_cluster_measures(values[..., None], 2.0, generate_binary_structure(3, 3), two_sided_test=True)
    assert found.masses[0] == pytest.approx(theirs[0])


def test_a_row_says_where_the_peak_is() -> None:
    values = np.zeros((4, 4, 4), np.float32)
    values[1, 2, 3], values[1, 2, 2] = -5, -4
    affine = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
    p = np.ones(values.shape, np.float32)
    p[1, 2, 2] = 0.02
    found = label_clusters(values, np.ones(values.shape, bool), 3.0)
    (row,) = cluster_table(found.labels, values, affine, 3.0, {"tfce": p})
    assert (row.number, row.voxels, row.volume_mm3, row.peak) == (1, 2, 24.0, -5.0)
    assert row.peak_mm == (8.0, -16.0, 14.0)
    assert row.mass == pytest.approx(3.0)
    assert row.p_fwe["tfce"] == pytest.approx(0.02)
    assert cluster_table(np.zeros(values.shape, np.int32), values, affine, 3.0) == ()
