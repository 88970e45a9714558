"""Runs together: nilearn's weighted mean, a variance that holds, voxels that a run lacks."""

import numpy as np
import pytest
from nilearn.glm.contrasts import compute_fixed_effects
from scipy import stats

from cospine.errors import CoSpineError
from cospine.stats.fixed_effects import fixed_effects


def test_effect_is_nilearns_weighted_mean_and_variance_only_corrected() -> None:
    import nibabel as nib

    rng = np.random.default_rng(1)
    effects, variances = rng.normal(0, 1, (3, 4, 5, 6)), rng.gamma(5, 1, (3, 4, 5, 6))
    images = [[nib.Nifti1Image(m, np.eye(4)) for m in maps] for maps in (effects, variances)]
    mask = nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4))
    expected, of_mean, *_ = compute_fixed_effects(*images, mask=mask, precision_weighted=True, dofs=[60, 60, 60])
    found = fixed_effects(list(effects), list(variances), [60, 60, 60])
    np.testing.assert_allclose(found.effect, expected.get_fdata(), atol=1e-6)
    larger = found.variance / of_mean.get_fdata()
    assert larger.min() > 1
    assert larger.max() < 1.05
    many = fixed_effects(list(effects), list(variances), [1e9] * 3)
    np.testing.assert_allclose(many.variance, of_mean.get_fdata(), rtol=1e-6)
    np.testing.assert_array_equal(found.runs, 3)


def test_rate_under_the_null() -> None:
    rng = np.random.default_rng(2)
    n, dof = 200_000, np.array([40, 60, 25])
    true = np.array([1.0, 2.0, 1.5])[:, None]
    effects = rng.normal(0, 1, (3, n)) * np.sqrt(true)
    variances = true * rng.chisquare(dof[:, None], (3, n)) / dof[:, None]
    found = fixed_effects(list(effects), list(variances), list(dof))
    for level, room in ((0.05, 0.04), (0.001, 0.25)):
        for p in (stats.t.sf(found.t, found.dof), stats.t.cdf(found.t, found.dof), stats.norm.sf(found.z)):
            assert np.mean(p < level) == pytest.approx(level, rel=room)


def test_a_voxel_that_a_run_lacks_is_taken_from_the_others() -> None:
    effects = [np.array([1.0, np.nan, np.nan]), np.array([3.0, 2.0, np.nan])]
    variances = [np.array([1.0, np.nan, 1.0]), np.array([1.0, 4.0, np.nan])]
    found = fixed_effects(effects, variances, [50, 100])
    np.testing.assert_allclose(found.effect, [2, 2, np.nan])
    np.testing.assert_allclose(found.variance[1], 4)
    np.testing.assert_allclose(found.dof[1], 100)
    np.testing.assert_allclose(found.dof[0], 1 / (0.25 / 50 + 0.25 / 100))
    np.testing.assert_array_equal(found.runs, [2, 1, 0])
    assert np.isnan([m[2] for m in (found.effect, found.variance, found.t, found.z, found.dof)]).all()


def test_degrees_of_freedom_of_slices() -> None:
    one = np.ones((2, 2, 3))
    found = fixed_effects([one, one], [one, one], [np.array([10, 20, 30])[None, None], 20])
    np.testing.assert_allclose(found.dof[0, 0], 1 / (0.25 / np.array([10, 20, 30]) + 0.25 / 20), rtol=1e-6)


@pytest.mark.parametrize(
    ("effects", "variances", "dofs"), [([], [], []), ([np.ones(2)], [np.ones(3)], [5]), ([np.ones(2)], [np.ones(2)], [0])]
)
def test_what_does_not_fit_is_refused(effects: list, variances: list, dofs: list) -> None:
    with pytest.raises(CoSpineError):
        fixed_effects(effects, variances, dofs)
