"""Metrics against NumPy, published formulas written out again, hand-worked examples and SCT's own map."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.quality import metrics


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    rng = np.random.default_rng(1)
    mean = rng.uniform(50, 5000, (9, 7, 5, 1))
    return np.asfortranarray(mean + 10 * rng.standard_normal((9, 7, 5, 30)), dtype=np.float32)


def test_moments_equal_numpy_in_double(series: np.ndarray) -> None:
    exact = series.astype(np.float64)
    np.testing.assert_allclose(metrics.mean_image(series), exact.mean(axis=3), rtol=1e-6)
    np.testing.assert_allclose(metrics.temporal_sd(series), exact.std(axis=3, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(metrics.tsnr(series), exact.mean(axis=3) / exact.std(axis=3, ddof=1), rtol=2e-6)


def test_memory_order_does_not_matter(series: np.ndarray) -> None:
    np.testing.assert_array_equal(metrics.tsnr(series), metrics.tsnr(np.ascontiguousarray(series)))


def test_small_noise_on_a_large_mean_keeps_its_digits() -> None:
    rng = np.random.default_rng(2)
    series = (30000 + rng.integers(-2, 3, (4, 4, 4, 50))).astype(np.float32)
    np.testing.assert_allclose(metrics.temporal_sd(series), series.astype(np.float64).std(axis=3, ddof=1), rtol=1e-6)


def test_tsnr_is_zero_where_nothing_varies(series: np.ndarray) -> None:
    constant = series.copy(order="F")
    constant[2, 3, 1] = 77.7
    ratio = metrics.tsnr(constant)
    assert ratio[2, 3, 1] == 0
    assert np.isfinite(ratio).all()


def test_hand_worked_tsnr() -> None:
    series = np.array([8.0, 10.0, 12.0], dtype=np.float32).reshape(1, 1, 1, 3)
    assert metrics.tsnr(series)[0, 0, 0] == pytest.approx(5.0)


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 4, 1)])
def test_tsnr_refuses_what_is_no_series(shape: tuple[int, ...]) -> None:
    with pytest.raises(CoSpineError, match="at least 2 volumes"):
        metrics.tsnr(np.ones(shape, np.float32))


@pytest.mark.shared
def test_tsnr_equals_sct_on_a_real_cord_series(shared: Path) -> None:
    bold = shared / "data/cord-bold/sub-01/func/sub-01_task-rest_bold.nii.gz"
    peer = shared / "data/peer/sct_cord-bold_tsnr.nii.gz"
    ours = metrics.tsnr(np.asarray(nib.load(bold).dataobj, dtype=np.float32))
    theirs = np.asarray(nib.load(peer).dataobj)
    # SCT divides zero by zero in the air that the scanner blanked, where ours is zero by definition.
    blank = np.isnan(theirs)
    np.testing.assert_array_equal(ours[blank], 0)
    np.testing.assert_allclose(ours[~blank], theirs[~blank], rtol=1e-6)


def test_framewise_displacement_by_hand() -> None:
    motion = np.zeros((3, 6))
    motion[1] = [0.1, -0.2, 0.3, 0.001, 0.0, -0.002]
    fd = metrics.framewise_displacement(motion)
    assert np.isnan(fd[0])
    np.testing.assert_allclose(fd[1:], 0.6 + 50 * 0.003)


def test_framewise_displacement_radius() -> None:
    motion = np.zeros((2, 6))
    motion[1, 4] = 0.01
    assert metrics.framewise_displacement(motion, radius_mm=80)[1] == pytest.approx(0.8)


def test_framewise_displacement_wants_six_columns() -> None:
    with pytest.raises(CoSpineError, match=r"\(volumes, 6\)"):
        metrics.framewise_displacement(np.zeros((5, 3)))


def test_cord_framewise_displacement_by_hand() -> None:
    shift = np.zeros((3, 2, 2))
    shift[1, 0] = [0.3, -0.4]
    fd = metrics.cord_framewise_displacement(shift)
    assert np.isnan(fd[0]).all()
    np.testing.assert_allclose(fd[1:], [[0.7, 0.0], [0.7, 0.0]])


def _published_dvars(data: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nichols (2013) with nipype's choices, voxel by voxel in plain NumPy."""
    y = data[mask].astype(np.float64)
    y *= 1000 / np.median(y)
    spread = np.percentile(y, 75, axis=1, method="lower") - np.percentile(y, 25, axis=1, method="lower")
    keep = spread > 0
    y, spread = y[keep], spread[keep] / 1.349
    centred = y - y.mean(axis=1, keepdims=True)
    rho = (centred[:, 1:] * centred[:, :-1]).sum(axis=1) / (centred**2).sum(axis=1)
    expected = (np.sqrt(2 * (1 - rho)) * spread).mean()
    plain = np.sqrt((np.diff(y, axis=1) ** 2).mean(axis=0))
    return plain, plain / expected


def test_dvars_equals_the_published_formula(series: np.ndarray) -> None:
    data = series.copy(order="F")
    data[4, 4, 2] = 100.0
    mask = np.zeros(data.shape[:3], bool)
    mask[1:8, 1:6, 1:4] = True
    plain, standardised = metrics.dvars(data, mask)
    expected_plain, expected_standardised = _published_dvars(data, mask)
    assert np.isnan([plain[0], standardised[0]]).all()
    np.testing.assert_allclose(plain[1:], expected_plain, rtol=1e-5)
    np.testing.assert_allclose(standardised[1:], expected_standardised, rtol=1e-5)


def test_standardised_dvars_is_one_in_white_noise_and_peaks_at_a_jump() -> None:
    rng = np.random.default_rng(3)
    data = (1000 + 10 * rng.standard_normal((12, 12, 12, 150))).astype(np.float32)
    mask = np.ones(data.shape[:3], bool)
    _, quiet = metrics.dvars(data, mask)
    assert np.median(quiet[1:]) == pytest.approx(1.0, abs=0.03)
    data[..., 80:] += 40
    _, jumped = metrics.dvars(data, mask)
    assert int(np.nanargmax(jumped)) == 80


def test_dvars_does_not_depend_on_the_number_of_threads(series: np.ndarray) -> None:
    import numba

    mask = np.ones(series.shape[:3], bool)
    both = metrics.dvars(series, mask)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        single = metrics.dvars(series, mask)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(np.stack(both), np.stack(single))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((9, 7, 5), bool), "empty"),
        (np.ones((9, 7, 4), bool), "the mask is"),
    ],
)
def test_dvars_refuses_a_wrong_mask(series: np.ndarray, mask: np.ndarray, message: str) -> None:
    with pytest.raises(CoSpineError, match=message):
        metrics.dvars(series, mask)


def test_dvars_refuses_a_constant_series() -> None:
    with pytest.raises(CoSpineError, match="varies"):
        metrics.dvars(np.full((3, 3, 3, 5), 7, np.float32), np.ones((3, 3, 3), bool))


def test_regions_and_slices() -> None:
    ratio = np.zeros((4, 4, 3), np.float32)
    ratio[:2, :, 0] = 10
    ratio[2:, :, 0] = 20
    ratio[..., 1] = 30
    cord = np.zeros(ratio.shape, bool)
    cord[:, :, :2] = True
    nothing = np.zeros(ratio.shape, bool)
    region, empty = metrics.tsnr_by_region(ratio, {"cord": cord, "brain": nothing})
    assert (region.name, region.voxels, region.median, region.mean) == ("cord", 32, 25.0, 22.5)
    assert empty.voxels == 0
    assert np.isnan(empty.median)
    profile = metrics.tsnr_by_slice(ratio, cord)
    np.testing.assert_array_equal(profile.voxels, [16, 16, 0])
    np.testing.assert_array_equal(profile.median, [15, 30, np.nan])
    across = metrics.tsnr_by_slice(np.moveaxis(ratio, 2, 0), np.moveaxis(cord, 2, 0), slice_axis=0)
    np.testing.assert_array_equal(across.median, profile.median)
