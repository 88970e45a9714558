"""Leakage between simultaneous slices is found where it was put, and not where there is none."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.signal.simultaneous import SharedSignal, shared_signal, simultaneous_pairs

SHAPE, VOLUMES = (20, 60, 8), 80
TIMES_S = np.array([0.5, 0.0, 0.75, 0.25, 0.5, 0.0, 0.75, 0.25])
SHIFT = 20


def _measure(seed: int, leakage: float, *, swapped: bool = False) -> tuple[SharedSignal, np.ndarray, np.ndarray]:
    """Slices k and k + 4 leak into each other, shifted; everything also shares a slow signal of the whole body."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((*SHAPE, VOLUMES), dtype=np.float32)
    own += 0.3 * rng.standard_normal(VOLUMES).astype(np.float32)
    partner = np.roll(own, 4, axis=2)
    partner = np.roll(partner, -SHIFT, axis=1)
    mixed = own + leakage * partner
    i, j = np.meshgrid(np.linspace(-1.2, 1.2, SHAPE[0]), np.linspace(-1.1, 1.1, SHAPE[1]), indexing="ij")
    body = np.broadcast_to((i**2 + j**2 < 1)[..., None], SHAPE)
    if swapped:
        mixed, body = mixed.transpose(1, 2, 0, 3), body.transpose(1, 2, 0)
        return shared_signal(mixed, TIMES_S, body, 0, slice_axis=1), mixed, body
    return shared_signal(mixed, TIMES_S, body, 1), mixed, body


def test_pairs_of_equal_times() -> None:
    np.testing.assert_array_equal(simultaneous_pairs(TIMES_S), [[0, 4], [1, 5], [2, 6], [3, 7]])
    assert len(simultaneous_pairs([0, 0.1, 0, 0.1, 0, 0.1])) == 6  # multiband 3: three pairs a group
    assert simultaneous_pairs([0, 0.1, 0.2]).shape == (0, 2)


def test_leakage_is_found_at_its_shift() -> None:
    found, mixed, body = _measure(1, 0.06)
    assert abs(found.lag) == SHIFT
    assert found.p < 1e-4
    assert found.r_simultaneous - found.r_neighbouring == pytest.approx(0.06, abs=0.01)
    assert found.r_neighbouring == pytest.approx(0.08, abs=0.03)  # the signal that all share
    assert found.slice_mean_simultaneous == pytest.approx(found.slice_mean_neighbouring, abs=0.05)
    assert len(found.r_by_pair) == len(found.r_by_pair_neighbouring) == 4
    # the definition, voxel by voxel, for one pair
    k, other = found.pairs[2]
    r = [
        np.corrcoef(mixed[i, j, k], mixed[i, (j + found.lag) % SHAPE[1], other])[0, 1]
        for i, j in np.argwhere(body[:, :, k])
        if body[i, (j + found.lag) % SHAPE[1], other]
    ]
    assert found.r_by_pair[2] == pytest.approx(np.mean(r), abs=1e-5)


def test_any_axes() -> None:
    straight, turned = _measure(2, 0.06)[0], _measure(2, 0.06, swapped=True)[0]
    assert turned.lag == straight.lag
    np.testing.assert_allclose(turned.simultaneous, straight.simultaneous, atol=1e-5)
    np.testing.assert_allclose(turned.neighbouring, straight.neighbouring, atol=1e-5)


def test_volumes_left_out_do_not_count() -> None:
    found, mixed, body = _measure(3, 0.06)
    padded = np.concatenate([mixed[..., :2] + 500, mixed], axis=3)
    rows = np.arange(padded.shape[3]) >= 2
    np.testing.assert_allclose(shared_signal(padded, TIMES_S, body, 1, rows=rows).simultaneous, found.simultaneous, atol=1e-6)


def test_nothing_is_found_where_nothing_leaks() -> None:
    p = np.array([_measure(seed, 0.0)[0].p for seed in range(20)])
    assert np.count_nonzero(p < 0.05) <= 5
    assert p.min() > 1e-4


def test_refusals() -> None:
    series, body = np.zeros((4, 30, 8, 10), np.float32), np.ones((4, 30, 8), bool)
    with pytest.raises(CoSpineError, match="no two slices are simultaneous"):
        shared_signal(series, np.arange(8), body, 1)
    with pytest.raises(CoSpineError, match="do not fit"):
        shared_signal(series, TIMES_S, body, 2)
    with pytest.raises(CoSpineError, match="hardly a voxel in common"):
        shared_signal(series, TIMES_S, body & False, 1)
