"""Cosine drifts beside nilearn's, and what is left without them."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.signal.drift import cosine_drift, without_drift


@pytest.mark.parametrize(
    ("volumes", "tr_s", "period_s"),
    [(225, 2.68, 128.0), (115, 2.68, 128.0), (100, 1.28, 128.0), (64, 2.0, 100.0), (40, 2.68, 90.0)],
)
def test_they_are_those_of_nilearn(volumes: int, tr_s: float, period_s: float) -> None:
    from nilearn.glm.first_level.design_matrix import create_cosine_drift

    theirs = create_cosine_drift(1 / period_s, np.arange(volumes) * tr_s)[:, :-1]
    ours = cosine_drift(volumes, tr_s, period_s)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_at_the_full_protocol_there_are_nine_and_they_are_orthonormal() -> None:
    basis = cosine_drift(225, 2.68)
    assert basis.shape == (225, 9)  # floor(2 x 225 x 2.68 / 128)
    np.testing.assert_allclose(basis.T @ basis, np.eye(9), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-12)


def test_volumes_left_out_have_rows_of_zeros_and_do_not_count() -> None:
    basis = cosine_drift(104, 2.0, dummies=4)
    assert not basis[:4].any()
    np.testing.assert_array_equal(basis[4:], cosine_drift(100, 2.0))


def test_a_run_shorter_than_half_a_period_has_none() -> None:
    assert cosine_drift(20, 2.0).shape == (20, 0)


@pytest.mark.parametrize(
    ("arguments", "word"), [((100, 2.0, 4.0), "high-pass"), ((100, 2.0, 0.0), "high-pass"), ((5, 2.0, 128.0, 5), "remain")]
)
def test_what_cannot_be_is_refused(arguments: tuple, word: str) -> None:
    with pytest.raises(CoSpineError, match=word):
        cosine_drift(*arguments)


def test_what_is_left_is_the_residual_of_least_squares_over_the_volumes_that_count() -> None:
    rng = np.random.default_rng(0)
    values = 4000 + rng.normal(size=(120, 7)) + np.linspace(0, 30, 120)[:, None]
    rows = np.ones(120, bool)
    rows[[0, 1, 2, 50]] = False
    drift = cosine_drift(120, 2.68)
    left = without_drift(values.astype(np.float32), drift, rows)
    design = np.column_stack([np.ones(rows.sum()), drift[rows]])
    expected = values[rows] - design @ np.linalg.lstsq(design, values[rows], rcond=None)[0]
    np.testing.assert_allclose(left[rows], expected, atol=1e-3)  # values are single precision: 4000 x 6e-8
    assert not left[~rows].any()
