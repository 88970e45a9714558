"""Leakage goes out at the place it comes from, and nothing else does."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.signal.regression import slice_bases
from cospine.stats.leakage import leakage_of, leaked, without_leakage

TIMES = np.array([0.0, 1.3, 2.6, 0.0, 1.3, 2.6])  # slices k and k + 3 are simultaneous
SHAPE = (4, 8, 6)
VOLUMES = 2000
CORD, BRAIN = 1, 2


def labels() -> np.ndarray:
    """A region in the lower slices, and one in the upper where lag 2 leaks from."""
    found = np.zeros(SHAPE, np.int32)
    found[1:3, 1:3, :3] = CORD
    found[1:3, 3:5, 3:] = BRAIN
    return found


def leaking(share: float, lag: int, common: np.ndarray | None = None, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A series whose simultaneous slices leak into each other, and the same without; all slices may share a course (t,)."""
    own = np.random.default_rng(seed).standard_normal((*SHAPE, VOLUMES)).astype(np.float32)
    if common is not None:
        own += common
    series = own.copy()
    # voxel j of the lower slice and j + lag of the upper
    series[:, :, :3] += share * np.roll(own[:, :, 3:], -lag, axis=1)
    series[:, :, 3:] += share * np.roll(own[:, :, :3], lag, axis=1)
    return series, own


def wave() -> np.ndarray:
    return np.sin(np.arange(VOLUMES) / 9.0).astype(np.float32)


def between(series: np.ndarray, of: np.ndarray | None = None) -> float:
    """Correlation of the two regions' means."""
    of = labels() if of is None else of
    return float(np.corrcoef(series[of == CORD].mean(axis=0), series[of == BRAIN].mean(axis=0))[0, 1])


def test_leakage_from_its_place_goes_out() -> None:
    series, own = leaking(0.2, 2)
    r = {lag: between(without_leakage(series, labels(), leakage_of(TIMES, [lag], 1))) for lag in (0, 2)}
    assert between(series) > between(own) + 0.2
    assert r[0] > between(own) + 0.2
    assert r[2] == pytest.approx(between(own), abs=0.03)


def test_each_voxel_gets_rid_of_its_own_partner() -> None:
    series, own = leaking(0.2, 2)
    clean = without_leakage(series, labels(), leakage_of(TIMES, [2], 1))
    inside = labels() > 0
    before, after = ((one[inside] - own[inside]).std() for one in (series, clean))
    assert before > 0.19
    assert after < 0.25 * before  # the partner brings back a share of the share
    np.testing.assert_array_equal(clean[~inside], series[~inside])


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_coupling_is_not_taken_for_leakage(share: float) -> None:
    series, own = leaking(share, 2, common=wave())
    assert between(own) > 0.3
    assert between(without_leakage(series, labels(), leakage_of(TIMES, [2], 1))) == pytest.approx(between(own), abs=0.03)


def test_a_task_that_slices_follow_by_turns_is_held_fixed_while_the_share_is_learnt() -> None:
    """Where slices beside have no part in the task it is a slice's own, and would pass for leakage."""
    series, _ = leaking(0.0, 2)
    for k in (1, 4):
        series[:, :, k] += 2 * wave()
    at = np.argwhere((labels() == CORD) & (np.arange(6) == 1))
    designs = np.repeat(wave()[None, :, None], 6, axis=0)
    fooled = leaked(series, at, leakage_of(TIMES, [2], 1))
    right = leaked(series, at, leakage_of(TIMES, [2], 1), bases=slice_bases(designs))
    assert np.std(fooled) > 0.5
    assert np.std(right) < 0.1


def test_series_that_were_moved_and_unwarped_lose_what_leaked_where_they_were_acquired() -> None:
    """The corrected series is the acquired one two voxels on, times a factor."""
    acquired, own = leaking(0.2, 2)
    factor = np.linspace(0.7, 1.3, SHAPE[1])[None, :, None] * np.ones(SHAPE)
    corrected, truth = (factor[..., None] * np.roll(one, 2, axis=1) for one in (acquired, own))
    regions = np.roll(labels(), 2, axis=1)
    voxels = np.moveaxis(np.indices(SHAPE), 0, -1)
    voxels[..., 1] = (voxels[..., 1] - 2) % SHAPE[1]
    given = {"acquired": acquired, "voxels": voxels, "factor": factor}
    clean = without_leakage(corrected, regions, leakage_of(TIMES, [2], 1), **given)
    assert between(corrected, regions) > between(truth, regions) + 0.2
    assert between(clean, regions) == pytest.approx(between(truth, regions), abs=0.03)
    inside = regions > 0
    assert (clean[inside] - truth[inside]).std() < 0.25 * (corrected[inside] - truth[inside]).std()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_may_hold_the_slices(axis: int) -> None:
    series, _ = leaking(0.2, 1)
    order = {0: (2, 1, 0), 1: (0, 2, 1), 2: (0, 1, 2)}[axis]
    found = without_leakage(
        series.transpose((*order, 3)), labels().transpose(order), leakage_of(TIMES, [1], order.index(1)), slice_axis=axis
    )
    expected = without_leakage(series, labels(), leakage_of(TIMES, [1], 1)).transpose((*order, 3))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_volumes_that_do_not_count_tell_no_share() -> None:
    series, _ = leaking(0.2, 2)
    at = np.argwhere(labels() == CORD)
    rows = np.arange(VOLUMES) >= 4
    loud = series.copy()
    loud[..., :4] += 1e4
    found, expected = (leaked(one, at, leakage_of(TIMES, [2], 1), rows=rows)[:, 4:] for one in (loud, series))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_voxels_outside_and_axes_that_do_not_fit_are_refused() -> None:
    series, _ = leaking(0.0, 2)
    for at, axis in (([[1, 8, 0]], 1), ([[1, 1, 0]], 2)):
        with pytest.raises(CoSpineError, match="acquired series"):
            leaked(series, np.array(at), leakage_of(TIMES, [2], axis))
