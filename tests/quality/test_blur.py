"""Rise of tSNR by interpolation alone, against SciPy's spline on white noise."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.quality import blur


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5, -0.3, 1.7])
def test_variance_factor_is_scipys(shift: float) -> None:
    impulse = np.zeros(101)
    impulse[50] = 1.0
    response = ndimage.shift(impulse, shift, order=3, mode="grid-wrap")
    assert blur.noise_variance_factor(np.array(shift)) == pytest.approx((response**2).sum(), rel=1e-10)


def test_whole_shifts_cost_nothing() -> None:
    np.testing.assert_allclose(blur.noise_variance_factor(np.array([-2.0, 0.0, 3.0])), 1.0, rtol=1e-12)


def test_gain_is_that_of_a_jittered_white_series() -> None:
    rng = np.random.default_rng(0)
    shifts = rng.uniform(-0.5, 0.5, (150, 2))
    series = rng.standard_normal((150, 48, 48))
    moved = np.stack(
        [ndimage.shift(image, shift, order=3, mode="grid-wrap") for image, shift in zip(series, shifts, strict=True)]
    )
    measured = series.std(axis=0, ddof=1).mean() / moved.std(axis=0, ddof=1).mean()
    assert blur.interpolation_gain(shifts) == pytest.approx(measured, rel=0.01)
    assert measured > 1.1
