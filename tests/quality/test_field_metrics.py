"""Numbers of distortion correction against NumPy, SciPy and hand-worked cases."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from cospine.errors import CoSpineError
from cospine.quality import field_metrics as fm


def _two_fields(slope: float, noise_hz: float = 0.0, seed: int = 0) -> tuple[Any, ...]:
    """A lumpy field, and the same with a different shim, scale and noise."""
    rng = np.random.default_rng(seed)
    shape = (20, 24, 12)
    x, y, z = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2
    phase = 60 * np.exp(-((x - 3) ** 2 + (y - 6) ** 2 + z**2) / 20) - 40 * np.exp(-((x + 4) ** 2 + (y + 3) ** 2) / 9)
    shim = 12 - 2 * x + 0.7 * y + 3 * z + 0.1 * x * y - 0.2 * (z**2 - y**2) + 0.05 * x**2
    mask = x**2 + y**2 < 95
    affine = np.array([[-3, 0, 0, 30], [0, 2.9, 0.8, -35], [0, -0.5, 5, -90], [0, 0, 0, 1.0]])
    return slope * phase + shim + rng.normal(0, noise_hz, shape), phase + rng.normal(0, noise_hz, shape), mask, affine


def test_similarity_is_pearson_inside_the_mask() -> None:
    rng = np.random.default_rng(3)
    a, noise = rng.normal(size=(2, 6, 7, 8))
    b = 5 + 2 * a + noise
    mask = rng.random((6, 7, 8)) > 0.4
    a[0, 0, 0] = np.nan
    kept = mask & np.isfinite(a)
    assert fm.similarity(a, b, mask) == pytest.approx(stats.pearsonr(a[kept], b[kept]).statistic, abs=1e-12)
    assert fm.similarity(b, -b, mask) == pytest.approx(-1)


def test_similarity_of_what_does_not_vary_is_not_a_number() -> None:
    mask = np.ones((4, 4, 4), bool)
    varied = np.arange(64.0).reshape(4, 4, 4)
    assert np.isnan(fm.similarity(np.full((4, 4, 4), 0.1), varied, mask))
    assert np.isnan(fm.similarity(varied, varied, ~mask))


def test_cord_displacement_by_hand(scene: Any) -> None:
    """A displacement that is ten times the stored slice: means, heights and order follow from the mask."""
    shape = scene.cord.shape
    displacement = np.broadcast_to(10.0 * np.arange(shape[2]), shape)
    profile = fm.cord_displacement(displacement, scene.cord, scene.affine)
    assert list(profile.slices) == sorted(scene.slices, reverse=True)
    np.testing.assert_allclose(profile.mean_mm, 10.0 * profile.slices)
    for index, z_mm in zip(profile.slices, profile.z_mm, strict=True):
        voxels = np.argwhere(scene.cord[:, :, index])
        middle = np.append(voxels.mean(axis=0), [index, 1.0])
        assert z_mm == pytest.approx((scene.affine @ middle)[2])
    assert (profile.jacobian_min == 1).all()


def test_cord_displacement_weighs_and_takes_the_smallest_jacobian(scene: Any) -> None:
    rng = np.random.default_rng(5)
    displacement, weights, jacobian = rng.random((3, *scene.cord.shape))
    profile = fm.cord_displacement(displacement, scene.cord, scene.affine, weights=weights, jacobian=jacobian)
    inside = scene.cord[:, :, profile.slices[2]]
    plane = np.s_[:, :, profile.slices[2]]
    assert profile.mean_mm[2] == pytest.approx(np.average(displacement[plane][inside], weights=weights[plane][inside]))
    assert profile.jacobian_min[2] == jacobian[plane][inside].min()


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_cord_displacement_along_any_slice_axis(scene: Any, slice_axis: int) -> None:
    order = {0: (2, 0, 1), 1: (0, 2, 1), 2: (0, 1, 2)}[slice_axis]
    rng = np.random.default_rng(6)
    displacement = rng.random(scene.cord.shape)
    affine = scene.affine[:, [*order, 3]]
    plain = fm.cord_displacement(displacement, scene.cord, scene.affine)
    moved = fm.cord_displacement(displacement.transpose(order), scene.cord.transpose(order), affine, slice_axis=slice_axis)
    np.testing.assert_allclose(moved.mean_mm, plain.mean_mm)
    np.testing.assert_allclose(moved.z_mm, plain.z_mm)


def test_an_empty_cord_is_an_error(scene: Any) -> None:
    with pytest.raises(CoSpineError, match="empty"):
        fm.cord_displacement(np.zeros(scene.cord.shape), np.zeros_like(scene.cord), scene.affine)


def _profile(mean_mm: list[float], jacobian: list[float] | None = None) -> fm.CordDisplacement:
    count = len(mean_mm)
    return fm.CordDisplacement(
        np.arange(count)[::-1], -4.0 * np.arange(count), np.array(mean_mm), np.array(jacobian or [1.0] * count)
    )


@pytest.mark.parametrize(
    ("mean_mm", "expected"),
    [
        ([1, 2, 3, 2, 1], None),
        ([1, 2, 3, 5, 9, 11, 14], 4),
        ([-1, -2, -3, -5, -9, -11], 4),
        ([1, 9, 2, 3, 4, 5], None),  # one bad slice high up does not cut off the neck
        ([1, 9, 2, 3, 4, 9], 5),
        ([1, 2, 3, 9, 7, 7, 12], 3),  # two good ones between bad ones are no island
        ([9, 10, 12], 0),
        ([1, 2], None),
        ([1, 2, 3, float("nan"), 9], 3),
    ],
)
def test_cutoff_by_displacement(mean_mm: list[float], expected: int | None) -> None:
    assert fm.slice_cutoff(_profile(mean_mm)) == expected


def test_cutoff_by_jacobian_and_limit() -> None:
    piled = _profile([1, 2, 3, 4, 5], [0.9, 0.8, 0.7, 0.6, 0.1])
    assert fm.slice_cutoff(piled) == 4
    assert fm.slice_cutoff(piled, jacobian_floor=0.05) is None
    assert fm.slice_cutoff(piled, jacobian_floor=0.05, limit_mm=4.5) == 4


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_at_the_cutoff_a_slice_is_bad_and_below_it_no_three_are_good(mean_mm: list[float]) -> None:
    profile = _profile(mean_mm)
    good = np.abs(profile.mean_mm) <= fm.MENDABLE_MM
    cutoff = fm.slice_cutoff(profile)
    if cutoff is None:
        assert good[-1]
        return
    assert not good[cutoff]
    assert "111" not in "".join("1" if one else "0" for one in good[cutoff:])


@pytest.mark.parametrize("slope", [1.0, 0.7, -1.0])
def test_agreement_without_noise_finds_the_slope_through_any_shim(slope: float) -> None:
    found = fm.field_agreement_figures(*_two_fields(slope))
    assert found.slope == pytest.approx(slope, abs=1e-6)
    assert found.r == pytest.approx(np.sign(slope), abs=1e-6)
    if slope == 1.0:
        assert found.rms_hz < 1e-6


def test_agreement_residual_is_what_lstsq_leaves() -> None:
    pair, phase, mask, affine = _two_fields(0.9, noise_hz=3.0)
    found = fm.field_agreement_figures(pair, phase, mask, affine)
    x, y, z = (np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]).T / 50
    terms = np.stack([x**i * y**j * z**k for i in range(3) for j in range(3) for k in range(3) if i + j + k <= 2], axis=1)
    assert terms.shape[1] == 10
    difference = (pair - phase)[mask]
    left = difference - terms @ np.linalg.lstsq(terms, difference, rcond=None)[0]
    np.testing.assert_allclose(found.residual_hz[mask], left, atol=1e-3)
    assert found.rms_hz == pytest.approx(np.sqrt((left**2).mean()))
    assert not found.residual_hz[~mask].any()


def test_slope_with_noise_in_both_is_that_of_orthogonal_regression() -> None:
    """A direct search for the line of least perpendicular distance is the oracle; ordinary least squares falls short."""
    found = fm.field_agreement_figures(*_two_fields(1.0, noise_hz=6.0))
    angle = optimize.minimize_scalar(
        lambda a: np.median(np.abs(np.cos(a) * found.pair_hz - np.sin(a) * found.phase_hz)), bounds=(0.3, 1.2), method="bounded"
    ).x
    assert found.slope == pytest.approx(np.tan(angle), abs=0.05)
    ordinary = np.polyfit(found.phase_hz, found.pair_hz, 1)[0]
    assert abs(found.slope - 1) < 0.04 < 1 - ordinary


def test_slope_withstands_a_patch_that_is_wrong() -> None:
    pair, phase, mask, affine = _two_fields(1.0, noise_hz=1.0)
    pair[3:6, 10:13, 4:7] += 400
    assert fm.field_agreement_figures(pair, phase, mask, affine).slope == pytest.approx(1, abs=0.1)


def test_fields_that_cannot_be_compared_are_errors() -> None:
    pair, phase, mask, affine = _two_fields(1.0)
    few = np.zeros_like(mask)
    few[:3, :3, :3] = True
    with pytest.raises(CoSpineError, match="27 voxels"):
        fm.field_agreement_figures(pair, phase, few, affine)
    with pytest.raises(CoSpineError, match="does not vary"):
        fm.field_agreement_figures(pair, np.zeros_like(phase), mask, affine)
    with pytest.raises(CoSpineError, match="0 voxels"):
        fm.field_agreement_figures(pair, np.full(phase.shape, np.nan), mask, affine)
