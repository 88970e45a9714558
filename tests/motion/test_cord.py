"""Cord motion of a whole series, and its hand-over from the head, on images made with SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.errors import CoSpineError
from cospine.motion.brain import HeadMotion
from cospine.motion.cord import CordMotion, estimate_cord_motion
from cospine.motion.handover import acquisition_times, head_at, head_share, slice_matrices, through_plane_mm
from cospine.space.grid import Grid
from cospine.space.transform import rigid_matrix

SHAPE, VOLUMES, TR_S = (32, 32, 16), 40, 2.0
GRID = Grid(SHAPE, np.diag([1.5, 1.5, 4.0, 1.0]))
ORDER = np.r_[np.arange(1, 16, 2), np.arange(0, 16, 2)]
SLICE_TIMES = np.argsort(ORDER) * TR_S / 16


def canal() -> np.ndarray:
    x, y = np.indices(SHAPE[:2])
    around = 150 + 60 * np.sin(x / 2.5) * np.cos(y / 3.0)
    bright = 550 / (1 + np.exp((np.hypot(x - 16, y - 16) - 5.0) / 0.4))
    cord = 220 / (1 + np.exp((np.hypot((x - 16) / 3.6, (y - 16) / 2.6) - 1) / 0.12))
    return np.repeat((around + bright - cord)[..., None], SHAPE[2], axis=2)


def weight() -> np.ndarray:
    x, y = np.indices(SHAPE[:2])
    soft = 1 / (1 + np.exp((np.hypot(x - 16, y - 16) * 1.5 - 10) / 0.8))
    return np.repeat(np.where(soft > 0.02, soft, 0)[..., None], SHAPE[2], axis=2).astype(np.float32)


def breathing() -> np.ndarray:
    """Shift (t, slices, 2) in mm: breathing along j that grows downward, a third of it along i."""
    times = acquisition_times(VOLUMES, SHAPE[2], TR_S, SLICE_TIMES)
    wave = np.sin(2 * np.pi * times / 3.7 + 0.5 * np.sin(times / 11))
    grow = np.linspace(1.5, 0.5, SHAPE[2])
    return 0.4 * (wave * grow)[..., None] * np.array([1 / 3, 1.0])


def moved(shift_mm: np.ndarray, noise: float = 25.0) -> np.ndarray:
    rng = np.random.default_rng(8)
    still = canal()
    series = np.empty((*SHAPE, VOLUMES), np.float32, order="F")
    for t in range(VOLUMES):
        for k in range(SHAPE[2]):
            series[..., k, t] = ndimage.shift(still[..., k], shift_mm[t, k] / 1.5, order=5, mode="nearest")
    return series + rng.normal(size=series.shape).astype(np.float32) * noise


def estimate(series: np.ndarray, **more: object) -> CordMotion:
    times = acquisition_times(VOLUMES, SHAPE[2], TR_S, SLICE_TIMES)
    return estimate_cord_motion(series, GRID, weight(), times, **more)  # pyright: ignore[reportArgumentType]


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


@pytest.fixture(scope="module")
def breathed() -> tuple[np.ndarray, CordMotion]:
    series = moved(breathing())
    return series, estimate(series)


def test_breathing_is_followed_at_each_slices_own_time(breathed: tuple[np.ndarray, CordMotion]) -> None:
    found, truth = breathed[1].shift_mm, breathing()
    error = found - np.median(found, axis=0) - truth + np.median(truth, axis=0)
    for axis, share in ((0, 0.35), (1, 0.2)):
        assert rms(error[..., axis]) < share * rms(truth[..., axis])
        for parity in (0, 1):
            assert rms(error[:, parity::2, axis]) < 1.3 * share * rms(truth[..., axis])
    raw = breathed[1].measured_mm - np.median(breathed[1].measured_mm, axis=0) - truth + np.median(truth, axis=0)
    assert rms(error) < 0.7 * rms(raw)  # slices together know more than each alone


def test_no_motion_is_invented() -> None:
    found = estimate(moved(np.zeros((VOLUMES, SHAPE[2], 2)))).shift_mm
    assert rms(found - np.median(found, axis=0)) < 0.03


def test_a_file_stored_upside_down_gives_the_same(breathed: tuple[np.ndarray, CordMotion]) -> None:
    """Slices from head to foot instead of foot to head, with their times."""
    series, upright = breathed
    flip = np.eye(4)
    flip[2, 2], flip[2, 3] = -1, SHAPE[2] - 1
    grid = Grid(SHAPE, GRID.affine @ flip)
    times = acquisition_times(VOLUMES, SHAPE[2], TR_S, SLICE_TIMES[::-1])
    turned = estimate_cord_motion(np.asfortranarray(series[:, :, ::-1]), grid, weight(), times)
    np.testing.assert_allclose(turned.shift_mm[:, ::-1], upright.shift_mm, atol=1e-3)


def test_dummies_shape_no_reference(breathed: tuple[np.ndarray, CordMotion]) -> None:
    series = breathed[0].copy(order="F")
    series[..., :3] *= 2
    found = estimate(series, skip=3)
    assert rms((found.shift_mm - breathed[1].shift_mm)[3:]) < 0.03


def test_an_empty_mask_is_refused() -> None:
    times = acquisition_times(VOLUMES, SHAPE[2], TR_S, None)
    with pytest.raises(CoSpineError, match="--regions brain"):
        estimate_cord_motion(np.zeros((*SHAPE, VOLUMES), np.float32), GRID, np.zeros(SHAPE), times)


def head(parameters: np.ndarray) -> HeadMotion:
    return HeadMotion(rigid_matrix(parameters, GRID.centre), parameters, GRID.centre)


def test_share_of_the_head_falls_from_one_to_zero_across_the_brainstem_whichever_way_slices_run() -> None:
    brain = np.zeros(SHAPE, bool)
    brain[..., 9:] = True
    share = head_share(GRID, brain, True)
    assert share[11:].tolist() == [1.0] * 5
    assert share[:5].tolist() == [0.0] * 5
    assert np.all(np.diff(share) >= 0)
    assert np.diff(share).max() < 0.35
    upside_down = Grid(SHAPE, GRID.affine @ np.diag([1, 1, -1, 1.0]))
    np.testing.assert_allclose(head_share(upside_down, brain[..., ::-1], True)[::-1], share)
    assert head_share(GRID, brain, False).tolist() == [1.0] * 16
    assert head_share(GRID, np.zeros(SHAPE, bool), True).tolist() == [0.0] * 16


def test_each_slice_takes_the_head_at_its_own_time_and_the_cord_as_it_is() -> None:
    times = acquisition_times(3, SHAPE[2], TR_S, SLICE_TIMES)
    drift = np.zeros((3, 6))
    drift[:, 1] = times.mean(axis=1) * 0.1  # 0.1 mm/s toward anterior
    brain = np.zeros(SHAPE, bool)
    brain[..., 9:] = True
    cord = CordMotion(np.arange(9), *(np.full((3, 9, 2), value) for value in (0.3, 0.3, 0.01)))
    matrices = slice_matrices(GRID, head_share(GRID, brain, True), times, head(drift), cord)
    point = np.array([10.0, 10, 0, 1])
    for k in (12, 15):  # in the brain: where the head was at that time
        expected = 10 + np.interp(times[1, k], times.mean(axis=1), drift[:, 1]) / 1.5
        point[2] = k
        assert (matrices[1, k] @ point)[1] == pytest.approx(expected)
    point[2] = 2  # in the neck: the cord's shift, nothing through the plane
    np.testing.assert_allclose((matrices[1, 2] @ point)[:3], [10.2, 10.2, 2])
    np.testing.assert_allclose(head_at(head(drift), times)[1, :, 1], np.interp(times[1], times.mean(axis=1), drift[:, 1]))


def test_through_plane_motion_of_a_nod() -> None:
    """All volumes nod by +-0.01 rad about x: the neck, did it follow, would move through the plane by its A-P distance."""
    nod = np.zeros((2, 6))
    nod[:, 3] = [0.01, -0.01]
    brain = np.zeros(SHAPE, bool)
    brain[..., 15] = True
    share = head_share(GRID, brain, True)
    assert through_plane_mm(GRID, head(nod), share) < 0.01  # at the middle of the grid the arm is nothing
    lift = np.zeros((2, 6))
    lift[:, 2] = [0.5, -0.5]
    assert through_plane_mm(GRID, head(lift), np.zeros(16)) == pytest.approx(0.5)
