"""Leakage goes out at the place it comes from, and nothing else does."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.signal.regression import slice_bases
from cospine.signal.simultaneous import simultaneous_pairs
from cospine.stats.leakage import LARGEST_SHARE, Leakage, find_leakage, leaked

TIMES = np.array([0.0, 1.3, 2.6, 0.0, 1.3, 2.6])  # slices k and k + 3 are simultaneous
PAIRS = simultaneous_pairs(TIMES)
SHAPE = (6, 16, 6)
VOLUMES, LAG = 600, 5
BODY = np.ones(SHAPE, bool)


def labels() -> np.ndarray:
    """A region in the lower slices, and one in the upper where the lag leaks from."""
    found = np.zeros(SHAPE, np.int32)
    found[1:3, 1:3, :3], found[1:3, 1 + LAG : 3 + LAG, 3:] = 1, 2
    return found


def leaking(share: float, shared: np.ndarray | float = 0.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A series whose simultaneous slices leak into each other, and the same without; something may come on top of noise."""
    own = np.random.default_rng(seed).standard_normal((*SHAPE, VOLUMES)).astype(np.float32)
    own += shared
    series = own.copy()
    # voxel j of the lower slice and j + lag of the upper
    series[:, :, :3] += share * np.roll(own[:, :, 3:], -LAG, axis=1)
    series[:, :, 3:] += share * np.roll(own[:, :, :3], LAG, axis=1)
    return series, own


def found_in(series: np.ndarray, lag: int = LAG, **given: object) -> Leakage:
    return find_leakage(series, BODY, PAIRS, lag, 1, **given)  # type: ignore[arg-type]


def without(series: np.ndarray, leakage: Leakage) -> np.ndarray:
    every = np.argwhere(BODY)
    return series - leaked(series, every, leakage).reshape(series.shape)


def wave() -> np.ndarray:
    return np.sin(np.arange(VOLUMES) / 9.0).astype(np.float32)


def between(series: np.ndarray) -> float:
    """Correlation of the two regions' means."""
    of = labels()
    return float(np.corrcoef(series[of == 1].mean(axis=0), series[of == 2].mean(axis=0))[0, 1])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.03, 0.08])
def test_the_share_is_found_and_what_leaked_goes_out(share: float) -> None:
    series, own = leaking(share)
    leakage = found_in(series)
    np.testing.assert_allclose(leakage.shares, share, atol=0.008)
    assert between(without(series, leakage)) == pytest.approx(between(own), abs=0.03)
    if share == 0.08:
        assert between(series) > between(own) + 0.1


def test_at_another_place_nothing_is_found() -> None:
    series, _ = leaking(0.08)
    assert found_in(series, lag=LAG - 2).shares.max() < 0.01


def test_each_voxel_gets_rid_of_its_own_partner() -> None:
    series, own = leaking(0.08)
    clean = without(series, found_in(series))
    assert (series - own).std() > 0.075
    assert (clean - own).std() < 0.02  # the partner brings back a share of the share


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_coupling_is_not_taken_for_leakage(share: float) -> None:
    """All slices follow one wave."""
    series, own = leaking(share, shared=wave())
    assert between(own) > 0.3
    leakage = found_in(series)
    np.testing.assert_allclose(leakage.shares, share, atol=0.008)
    assert between(without(series, leakage)) == pytest.approx(between(own), abs=0.03)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("share", [0.0, 0.04])
def test_what_an_excitation_has_in_common_is_no_leakage(share: float, sign: int) -> None:
    """The rest of a heartbeat: in both slices of one instant and in no other, at every shift alike."""
    beat = np.random.default_rng(5).standard_normal((1, 1, 3, VOLUMES)).astype(np.float32)
    series, own = leaking(share, shared=0.4 * np.concatenate([beat, sign * beat], axis=2))
    leakage = found_in(series)
    np.testing.assert_allclose(leakage.shares, share, atol=0.01)
    assert between(without(series, leakage)) == pytest.approx(between(own), abs=0.04)


def test_a_task_that_slices_follow_by_turns_is_held_fixed_while_the_share_is_learnt() -> None:
    """Voxels here and there follow it, by chance just those that the lag joins, and slices beside have no part in it."""
    task = np.zeros((*SHAPE, 1), np.float32)
    task[:2, 1:3, 1], task[:2, 1 + LAG : 3 + LAG, 4] = 3, 3
    series, _ = leaking(0.0, shared=task * wave())
    bases = slice_bases(np.repeat(wave()[None, :, None], 6, axis=0))
    assert found_in(series).shares.max() > 0.02
    assert found_in(series, bases=bases).shares.max() < 0.01


def test_shares_stay_within_what_can_be() -> None:
    series, _ = leaking(0.4)
    assert (found_in(series).shares == LARGEST_SHARE).all()
    assert (found_in(leaking(-0.2)[0]).shares == 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_may_hold_the_slices(axis: int) -> None:
    series, _ = leaking(0.05)
    order = {0: (2, 1, 0), 1: (0, 2, 1), 2: (0, 1, 2)}[axis]
    turned, at = series.transpose((*order, 3)), np.argwhere(labels())
    found = find_leakage(turned, BODY.transpose(order), PAIRS, LAG, order.index(1), slice_axis=axis)
    expected = found_in(series)
    np.testing.assert_allclose(found.shares, expected.shares, atol=1e-5)
    np.testing.assert_allclose(leaked(turned, at[:, order], found), leaked(series, at, expected), atol=1e-5)


def test_volumes_that_do_not_count_and_voxels_outside_tell_nothing() -> None:
    series, _ = leaking(0.05)
    loud = series.copy()
    loud[..., :4] += np.random.default_rng(7).standard_normal((*SHAPE, 4)) * 1e3
    loud[0, :, :, :] = np.nan
    body = BODY.copy()
    body[0] = False
    found = find_leakage(loud, body, PAIRS, LAG, 1, rows=np.arange(VOLUMES) >= 4)
    np.testing.assert_allclose(found.shares, 0.05, atol=0.01)
    outside = leaked(loud, np.array([[1, 16, 0], [1, 1, 0], [0, 1, 0]]), found)
    assert not outside[0].any()
    assert outside[1].any()
    assert not outside[2].any()  # its partner is not known


def test_axes_that_do_not_fit_are_refused() -> None:
    series, _ = leaking(0.0)
    with pytest.raises(CoSpineError, match="phase encoding along axis 2"):
        find_leakage(series, BODY, PAIRS, LAG, 2)
    with pytest.raises(CoSpineError, match="acquired series"):
        find_leakage(series, BODY[1:], PAIRS, LAG, 1)
