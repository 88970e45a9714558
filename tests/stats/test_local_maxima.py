"""Peaks that stand apart."""

import numpy as np

from cospine.space.grid import Grid
from cospine.stats.local_maxima import local_maxima

GRID = Grid((20, 12, 12), np.diag([2.0, 2.0, 2.0, 1.0]))


def test_the_largest_come_first_and_near_ones_are_left_out() -> None:
    values = np.zeros(GRID.shape)
    values[4, 5, 5], values[6, 5, 5], values[15, 5, 5], values[10, 9, 2] = 3.0, 2.9, -4.0, 1.0
    mask = np.ones(GRID.shape, dtype=bool)
    found = local_maxima(values, mask, GRID, apart_mm=8.0, most=5)
    np.testing.assert_array_equal(found, [[15, 5, 5], [4, 5, 5], [10, 9, 2]])
    assert len(local_maxima(values, mask, GRID, apart_mm=3.0, most=2)) == 2


def test_nothing_is_found_outside_of_the_mask_or_where_there_is_nothing() -> None:
    values = np.full(GRID.shape, np.nan)
    assert local_maxima(values, np.ones(GRID.shape, dtype=bool), GRID, apart_mm=8.0, most=5).shape == (0, 3)
    values[3, 3, 3] = 5.0
    assert local_maxima(values, np.zeros(GRID.shape, dtype=bool), GRID, apart_mm=8.0, most=5).shape == (0, 3)
