"""Runs of one person combined."""

import nibabel as nib
import numpy as np
import pytest
from nilearn.glm.contrasts import compute_fixed_effects

from cospine.errors import CoSpineError
from cospine.stats.fixed import fixed_effects


def test_equals_nilearn() -> None:
    rng = np.random.default_rng(4)
    effects, variances = rng.normal(size=(3, 4, 5, 6)), rng.uniform(0.5, 2, (3, 4, 5, 6))
    found = fixed_effects(effects, variances, (90, 100, 110))
    images = [[nib.Nifti1Image(one, np.eye(4)) for one in values] for values in (effects, variances)]
    mask = nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4))
    theirs = compute_fixed_effects(*images, mask, precision_weighted=True, dofs=[90, 100, 110])
    for ours, name in zip((found.effect, found.variance, found.t, found.z), theirs, strict=True):
        np.testing.assert_allclose(ours, np.asarray(name.dataobj), rtol=1e-5, atol=1e-6)
    assert found.dof == 300


def test_the_surer_run_counts_more_and_nonsense_is_refused() -> None:
    found = fixed_effects(np.array([[1.0], [3.0]]), np.array([[1.0], [4.0]]), (50, 50))
    assert found.effect[0] == pytest.approx((1 + 3 / 4) / (1 + 1 / 4))
    assert found.variance[0] == pytest.approx(0.8)
    for bad in (np.array([[1.0], [0.0]]), np.ones((2, 2))):
        with pytest.raises(CoSpineError, match="fixed effects"):
            fixed_effects(np.array([[1.0], [3.0]]), bad, (50, 50))
