"""The largest part of a mask."""

import numpy as np

from cospine.space.connected import largest_part


def test_the_largest_of_two_bodies_that_touch_at_a_corner() -> None:
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[:3, :3, :3] = True
    mask[3:7, 3:7, 3:7] = True
    expected = np.zeros_like(mask)
    expected[3:7, 3:7, 3:7] = True
    np.testing.assert_array_equal(largest_part(mask), expected)


def test_nothing_of_nothing() -> None:
    assert not largest_part(np.zeros((3, 4), dtype=bool)).any()
