"""Distances against SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cospine.space.distance import closed, depth_in, distance_to


@settings(deadline=None)  # the first one compiles
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.sampled_from([0.5, 1.0, 1.5, 2.68, 8.0])] * 3),
    st.sampled_from([0.02, 0.3, 0.95]),
    st.integers(0, 10_000),
)
def test_as_scipy_has_them(shape: tuple[int, ...], voxel: tuple[float, ...], share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    mask[tuple(n // 2 for n in shape)] = True
    expected = ndimage.distance_transform_edt(~mask, sampling=voxel)
    np.testing.assert_allclose(distance_to(mask, np.array(voxel)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_and_in_any_order_of_memory(order: str) -> None:
    mask = np.zeros((60, 50, 40), dtype=bool, order=order)
    mask[20:30, 25:27, 5:35] = True
    expected = ndimage.distance_transform_edt(~mask, sampling=[0.7, 1.0, 4.0])
    np.testing.assert_allclose(distance_to(mask, np.array([0.7, 1.0, 4.0])), expected, rtol=1e-5)


def test_nothing_is_infinitely_far() -> None:
    assert np.isinf(distance_to(np.zeros((3, 4, 5), dtype=bool), np.ones(3))).all()


def test_all_is_no_way_off() -> None:
    assert not distance_to(np.ones((3, 4, 5), dtype=bool), np.ones(3)).any()


def test_depth_counts_from_what_is_outside_and_not_from_the_border_of_the_view() -> None:
    mask = np.ones((6, 7, 8), dtype=bool)
    mask[0] = False
    np.testing.assert_allclose(
        depth_in(mask, np.array([2.0, 1, 1])), np.broadcast_to(2.0 * np.arange(6)[:, None, None], mask.shape)
    )
    assert np.isinf(depth_in(np.ones((3, 3, 3), dtype=bool), np.ones(3))).all()


def test_closing_fills_clefts_and_leaves_the_outside_alone() -> None:
    mask = np.zeros((30, 30, 20), dtype=bool)
    mask[5:25, 5:25, 5:] = True  # it leaves the view at one end
    cleft = mask.copy()
    cleft[14:16, 5:18, 5:] = False
    np.testing.assert_array_equal(closed(cleft, np.ones(3), 3.0)[8:22, 9:22, 9:], mask[8:22, 9:22, 9:])  # its mouth stays round
    wide = mask.copy()
    wide[10:20, 5:18, 5:] = False
    assert not closed(wide, np.ones(3), 3.0)[13:17, 8:14].any()
    np.testing.assert_array_equal(closed(mask, np.ones(3), 3.0), mask)
    near = np.zeros_like(mask)
    near[2:25, 5:25, 5:] = True
    assert closed(near, np.ones(3), 3.0)[:2, 9:21, 9:].all()  # the border of the view is as near as the other side of a cleft
