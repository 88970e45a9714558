"""Effects in chosen voxels: right where the choice was made elsewhere, too high where it was not."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.effect_size import effect_sizes, effect_sizes_by_runs

PEOPLE, VOXELS = 20, 200


def groups(effect: float, count: int, seed: int = 0):
    """Groups of maps with an effect in the first 20 voxels."""
    rng = np.random.default_rng(seed)
    truth = effect * (np.arange(VOXELS) < 20)
    for _ in range(count):
        yield truth + rng.standard_normal((PEOPLE, VOXELS))


def test_in_noise_the_circular_effect_is_large_and_the_other_is_none() -> None:
    found = [effect_sizes(maps, voxels=5) for maps in groups(0.0, 300)]
    unbiased = np.array([one.unbiased.mean for one in found])
    circular = np.array([one.circular.mean for one in found])
    assert abs(unbiased.mean()) < 3 * unbiased.std() / np.sqrt(unbiased.size)
    assert abs(np.mean([one.unbiased.g for one in found])) < 0.1
    assert circular.min() > 0.2
    assert np.mean([one.circular.g for one in found]) > 0.8


def test_an_effect_is_told_without_bias_where_it_is_found() -> None:
    # strong enough that active voxels alone are chosen: the true effect there is 1
    found = [effect_sizes(maps, voxels=5) for maps in groups(1.0, 200, seed=1)]
    unbiased = np.array([one.unbiased.mean for one in found])
    assert unbiased.mean() == pytest.approx(1.0, abs=0.02)
    assert np.mean([one.circular.mean for one in found]) > 1.15


def test_runs_divide_as_well() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        first, second = rng.standard_normal((2, PEOPLE, VOXELS))
        found.append(effect_sizes_by_runs(first, second, voxels=5))
    unbiased = np.array([one.unbiased.mean for one in found])
    assert abs(unbiased.mean()) < 3 * unbiased.std() / np.sqrt(unbiased.size)
    assert np.mean([one.circular.mean for one in found]) > 0.2


def test_p_by_flips_holds_in_noise_and_finds_an_effect() -> None:
    p = np.array([effect_sizes(maps[:12, :60], voxels=5, flips=99, seed=k).p for k, maps in enumerate(groups(0.0, 400, seed=3))])
    # 400 draws at 5 %: 2.1-7.9 % is +- 2.6 SD
    assert 0.02 < np.mean(p <= 0.05) < 0.08
    strong = next(iter(groups(1.0, 1, seed=4)))
    assert effect_sizes(strong, flips=199).p == pytest.approx(1 / 200)


def test_leaving_out_equals_doing_it_by_hand() -> None:
    maps = next(iter(groups(0.3, 1, seed=5)))
    by_hand = []
    for k in range(PEOPLE):
        others = np.delete(maps, k, axis=0)
        strongest = np.argsort(others.mean(axis=0) / others.std(axis=0))[-7:]
        by_hand.append(maps[k, strongest].mean())
    np.testing.assert_allclose(effect_sizes(maps, voxels=7).unbiased.values, by_hand)


def test_hedges_shrinks_cohens_d() -> None:
    one = effect_sizes(next(iter(groups(1.0, 1))), voxels=5).unbiased
    assert one.g == pytest.approx(one.d * (1 - 3 / (4 * 19 - 1)))


@pytest.mark.parametrize("maps", [np.ones((3, 50)), np.ones((20, 5)), np.full((20, 50), np.nan)])
def test_too_little_is_refused(maps) -> None:
    with pytest.raises(CoSpineError, match="people"):
        effect_sizes(maps)
