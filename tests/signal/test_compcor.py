"""Components and mean courses beside the algorithm written out with NumPy, and on sources that are known."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.signal.compcor import csf_column, mean_course, principal_components, slice_components
from cospine.signal.drift import cosine_drift, without_drift

SHAPE, VOLUMES, TR_S = (12, 14, 6), 90, 2.0


def made(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A series with two sources of noise in a mask, drifting; the mask; the sources."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 4:9] = True
    time = np.arange(VOLUMES) * TR_S
    sources = np.stack([np.sin(2 * np.pi * 0.17 * time), np.cos(2 * np.pi * 0.083 * time + 1)], axis=1)
    weight = rng.normal([2.0, 0.0], 1.0, size=(*SHAPE, 2))
    series = 800 + 3 * rng.normal(size=(*SHAPE, VOLUMES)) + 40 * np.linspace(-1, 1, VOLUMES)
    series[mask] += 10 * weight[mask] @ sources.T
    return np.asfortranarray(series, dtype=np.float32), mask, sources


def written_out(courses: np.ndarray, tr_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Behzadi's steps as nipype takes them: drifts out, columns to unit variance, left singular vectors; shares of variance."""
    n = len(courses)
    count = int(np.floor(2 * n * tr_s / 128))
    design = np.column_stack([np.ones(n)] + [np.cos(np.pi * k * (np.arange(n) + 0.5) / n) for k in range(1, count + 1)])
    left = courses - design @ np.linalg.lstsq(design, courses, rcond=None)[0]
    vectors, singular, _ = np.linalg.svd(left / left.std(axis=0), full_matrices=False)
    return vectors, singular**2 / (singular**2).sum()


@pytest.mark.parametrize("order", ["F", "C"])
@pytest.mark.parametrize("few", [False, True])  # voxels against volumes: two ways to the same components
def test_components_are_those_of_the_written_out_algorithm(few: bool, order: str) -> None:
    series, mask, _ = made()
    if few:
        mask[..., 1:] = False
    series = np.asarray(series, order=order)  # type: ignore[call-overload]
    found = principal_components(series, mask, drift=cosine_drift(VOLUMES, TR_S), share=1.0, most=6)
    vectors, shares = written_out(series[mask].T.astype(float), TR_S)
    assert found.columns.shape == (VOLUMES, 6)
    assert found.voxels == mask.sum()
    np.testing.assert_allclose(found.share, shares[:6], rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(found.columns * vectors[:, :6], axis=0)), 1, atol=1e-6)
    np.testing.assert_allclose(found.columns.T @ found.columns, np.eye(6), atol=1e-9)


def test_they_stop_at_the_share_of_variance_asked_for() -> None:
    series, mask, _ = made()
    _, shares = written_out(series[mask].T.astype(float), TR_S)
    for share in (0.3, 0.5, 0.99):
        kept = principal_components(series, mask, drift=cosine_drift(VOLUMES, TR_S), share=share, most=None).share
        assert kept.sum() >= share > kept[:-1].sum()
        assert len(kept) == np.searchsorted(np.cumsum(shares), share) + 1


def test_the_sources_are_in_them_and_the_sign_is_that_of_the_sum() -> None:
    series, mask, sources = made()
    # the third is what a few cosines leave of a linear trend
    found = principal_components(series, mask, drift=cosine_drift(VOLUMES, TR_S), most=3, share=1.0).columns
    centred = without_drift(sources, cosine_drift(VOLUMES, TR_S))
    explained = 1 - ((centred - found @ (found.T @ centred)) ** 2).sum(axis=0) / (centred**2).sum(axis=0)
    assert (explained > 0.97).all()
    assert np.corrcoef(found[:, 0], mean_course(series, mask))[0, 1] > 0


def test_volumes_that_do_not_count_change_nothing() -> None:
    series, mask, _ = made()
    rows = np.arange(VOLUMES) >= 3
    drift = cosine_drift(VOLUMES, TR_S, dummies=3)
    clean = principal_components(series, mask, drift=drift, rows=rows)
    series[..., :3] *= 3
    spoilt = principal_components(series, mask, drift=drift, rows=rows)
    np.testing.assert_array_equal(clean.columns, spoilt.columns)
    assert not spoilt.columns[:3].any()
    level = series[mask[..., 2], 2].mean(axis=0)
    np.testing.assert_allclose(csf_column(series, mask, rows=rows)[:, 2], 100 * (level / level[3:].mean() - 1), rtol=1e-4)


def test_an_empty_mask_and_constant_voxels_give_no_components() -> None:
    series, mask, _ = made()
    drift = cosine_drift(VOLUMES, TR_S)
    assert principal_components(series, np.zeros_like(mask), drift=drift).columns.shape == (VOLUMES, 0)
    assert principal_components(np.full_like(series, 700.0), mask, drift=drift).columns.shape == (VOLUMES, 0)
    assert slice_components(series, np.zeros_like(mask), drift=drift).names == ()
    series[3, 4] = 50.0  # one column of voxels without variance does no harm
    assert principal_components(series, mask, drift=drift).voxels == mask.sum() - SHAPE[2]


@pytest.mark.parametrize("axis", [0, 2])
def test_slices_have_components_of_their_own(axis: int) -> None:
    rng = np.random.default_rng(1)
    own = rng.normal(size=(VOLUMES, SHAPE[2]))
    series = 500 + rng.normal(size=(*SHAPE, VOLUMES)) + 8 * own.T[None, None]
    mask = np.zeros(SHAPE, bool)
    mask[4:8, 5:8, 1:4] = True
    mask[2, 2, 5] = mask[2, 3, 5] = True  # two voxels: one component at most
    series, mask = np.moveaxis(series, 2, axis), np.moveaxis(mask, 2, axis)
    drift = cosine_drift(VOLUMES, TR_S)
    found = slice_components(series, mask, axis, drift=drift)
    np.testing.assert_array_equal(found.count, [0, 1, 1, 1, 0, 1])  # the slice's source explains more than half of it
    assert found.names == ("csf_comp_cor_00",)
    steady = without_drift(own, drift)
    for k in (1, 2, 3):
        assert np.corrcoef(found.columns[:, k, 0], steady[:, k])[0, 1] > 0.99
        assert abs(found.columns[:, k, 0].std() - 1) < 1e-9
    more = slice_components(series, mask, axis, drift=drift, share=1.0)
    np.testing.assert_array_equal(more.count, [0, 5, 5, 5, 0, 1])
    assert not more.columns[:, [0, 4]].any()
    assert more.descriptions.keys() == set(more.names)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_csf_column_is_the_slices_mean_in_percent(axis: int) -> None:
    shape = np.roll([4, 3, 2], axis - 2)
    series = np.moveaxis(np.zeros((4, 3, 2, 2)), 2, axis)
    mask = np.moveaxis(np.zeros((4, 3, 2), bool), 2, axis)
    slices = np.moveaxis(series, axis, 2)
    slices[0, 0, 1], slices[1, 0, 1], slices[3, 2, 1] = [90, 110], [290, 310], [7, 7000]
    inside = np.moveaxis(mask, axis, 2)
    inside[0, 0, 1] = inside[1, 0, 1] = True
    assert series.shape[:3] == mask.shape
    assert sorted(mask.shape) == sorted(shape)
    # means 190 and 210 about 200
    np.testing.assert_allclose(csf_column(series, mask, axis), [[0, -5], [0, 5]])


def test_shapes_that_do_not_fit_are_refused() -> None:
    series, mask, _ = made()
    with pytest.raises(CoSpineError, match="mask is"):
        csf_column(series, mask[1:])
    with pytest.raises(CoSpineError, match="empty"):
        mean_course(series, np.zeros_like(mask))
    with pytest.raises(CoSpineError, match="to count"):
        principal_components(series, mask, drift=cosine_drift(VOLUMES, TR_S), rows=np.zeros(VOLUMES, bool))


def test_a_run_without_recordings_is_cleaned_by_the_csf_of_its_slices() -> None:
    """Pulse at each slice's own phase, seen in CSF and cord: five components take what a volume-wise course cannot."""
    rng = np.random.default_rng(2)
    volumes, slices = 200, 6
    phase = 2 * np.pi * (1.1 * (np.arange(volumes)[:, None] * 2.68 + np.array([0, 1.3, 0.08, 1.4, 0.16, 1.5])) % 1)
    wave = np.cos(phase) + 0.5 * np.sin(2 * phase)
    csf, cord = np.zeros((10, 10, slices), bool), np.zeros((10, 10, slices), bool)
    csf[2:8, 2], cord[3:6, 5:8] = True, True
    series = 600 + 6 * rng.normal(size=(10, 10, slices, volumes))
    series[csf] += 24 * np.broadcast_to(wave.T[None], (6, slices, volumes)).reshape(-1, volumes)
    series[cord] += 8 * np.broadcast_to(wave.T[None, None], (3, 3, slices, volumes)).reshape(-1, volumes)
    found = slice_components(series, csf, drift=cosine_drift(volumes, 2.68))
    for k in range(slices):
        courses = series[cord[..., k], k].T
        design = np.column_stack([np.ones(volumes), found.columns[:, k]])
        left = courses - design @ np.linalg.lstsq(design, courses, rcond=None)[0]
        assert left.std() < 1.03 * 6 < courses.std(axis=0).mean()
