"""The neck's shift between two scans, from masks that are not exact."""

import numpy as np

from cospine.anatomy.neck_alignment import NeckShift, cord_points, measure_neck
from cospine.anatomy.segmentation import CordSegmentation
from cospine.space.grid import Grid


def test_noise_of_the_masks_is_smoothed_and_an_even_bend_stays() -> None:
    """Masks that lie 0.8 mm off at random in each slice, on a neck bent by a parabola of 6 mm."""
    rng = np.random.default_rng(3)
    grid = Grid((40, 40, 24), np.diag([1.5, 1.5, 4.0, 1.0]))
    height = np.arange(24)
    bend = 6.0 * (height / 23) ** 2
    x, y = (np.indices((40, 40)) - 19.5) * 1.5

    def cord(at_mm: np.ndarray) -> CordSegmentation:
        soft = np.stack([np.clip(4.0 - np.hypot(x, y - at) + 0.5, 0, 1) for at in at_mm], axis=-1).astype(np.float32)
        return CordSegmentation(soft >= 0.5, soft, np.zeros((0, 3)), 2, np.ones(24))

    straight, shares = cord_points(cord(np.zeros(24)), grid)
    even = measure_neck(cord(bend), grid, straight, shares)
    assert isinstance(even, NeckShift)
    np.testing.assert_allclose(even.shift_mm[:, 1], bend, atol=0.05)
    noise = rng.normal(0, 0.8, 24)
    found = measure_neck(cord(bend + noise), grid, straight, shares)
    assert isinstance(found, NeckShift)
    assert np.sqrt(((found.measured_mm[:, 1] - bend) ** 2).mean()) > 0.6
    assert np.sqrt(((found.shift_mm[:, 1] - bend) ** 2).mean()) < 0.4
    np.testing.assert_allclose(found.shift_mm[:, 0], 0, atol=0.05)
