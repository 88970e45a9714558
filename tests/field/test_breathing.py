"""Breathing's part of the apparent shift: amplitude, lag, drift, swallows, bad belts, and what chance gives."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.field.breathing import breathing_shift

T, N, TR = 160, 6, 2.68
RATE, START = 50.0, -20.0
TIMES = np.arange(T)[:, None] * TR + np.array([0.0, 1.31, 0.075, 1.385, 0.15, 1.46])
PEAK_TO_PEAK = np.array([0.0, 0.1, 0.3, 0.6, 1.0, 2.0])


def chest(t: NDArray, seed: int = 0) -> NDArray[np.float64]:
    """Breaths of changing length and depth, about 1 peak to peak."""
    rng = np.random.default_rng(seed)
    knots = np.arange(-60, 560, 4.0)
    phase = np.interp(t, knots, np.cumsum(rng.uniform(0.9, 1.2, len(knots))) * 2 * np.pi)
    return 0.5 * np.cos(phase) * np.interp(t, knots, rng.uniform(0.9, 1.1, len(knots)))


def recording(seconds: float = 480.0) -> NDArray[np.float64]:
    t = START + np.arange(int(seconds * RATE)) / RATE
    return 2000 + 800 * chest(t) + np.random.default_rng(1).normal(size=len(t)) * 5


def shifts(lag_s: float = 0.0, noise_mm: float = 0.05) -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    drift = 0.8 * (1 - np.exp(-TIMES / 150)) + 0.3 * np.sin(TIMES / 200)
    return PEAK_TO_PEAK * chest(TIMES - lag_s) + drift + noise_mm * rng.normal(size=(T, N))


def test_amplitude_of_each_slice_is_found_under_drift_and_noise() -> None:
    found = breathing_shift(shifts(), TIMES, recording(), RATE, START, mm_per_hz=0.061)
    np.testing.assert_allclose(found.amplitude_mm[1:], PEAK_TO_PEAK[1:], rtol=0.12, atol=0.02)
    assert found.amplitude_mm[0] < 0.05
    assert (found.correlation[2:] > 0.85).all()
    assert (found.r_squared[4:] > 0.95).all()
    assert found.r_squared[0] < 5 * found.null_r_squared
    assert found.volumes == T
    assert found.amplitude_hz is not None
    np.testing.assert_allclose(found.amplitude_hz, found.amplitude_mm / 0.061)


def test_a_lag_is_followed_and_a_sign_is_kept() -> None:
    found = breathing_shift(-shifts(lag_s=0.5), TIMES, recording(), RATE, START)
    np.testing.assert_allclose(found.amplitude_mm[2:], PEAK_TO_PEAK[2:], rtol=0.15)
    assert (found.correlation[2:] < -0.5).all()
    assert (found.r_squared[3:] > 0.8).all()
    assert found.amplitude_hz is None


def test_slices_are_taken_at_their_own_times() -> None:
    right = breathing_shift(shifts(), TIMES, recording(), RATE, START)
    wrong = breathing_shift(shifts(), np.repeat(TIMES[:, :1], N, 1), recording(), RATE, START)
    late = [3, 5]  # acquired more than a second after the volume began
    # the derivative makes good for some of it, not for all
    assert ((1 - wrong.r_squared[late]) > 1.7 * (1 - right.r_squared[late])).all()


def test_chance_explains_what_is_said() -> None:
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(T, 300))
    times = np.repeat(TIMES[:, :1], 300, 1)
    found = breathing_shift(noise, times, recording(), RATE, START)
    assert 0.7 * found.null_r_squared < found.r_squared.mean() < 1.4 * found.null_r_squared
    assert abs(found.correlation.mean()) < 0.03


def test_swallows_do_not_carry_it_away() -> None:
    shift = shifts()
    shift[[20, 61, 62, 130]] += 4.0
    found = breathing_shift(shift, TIMES, recording(), RATE, START)
    np.testing.assert_allclose(found.amplitude_mm[2:], PEAK_TO_PEAK[2:], rtol=0.15)
    shift[5, 3] = np.nan
    shift[:, 1] = np.nan
    found = breathing_shift(shift, TIMES, recording(), RATE, START)
    assert np.isnan(found.amplitude_mm[1])
    np.testing.assert_allclose(found.amplitude_mm[3], PEAK_TO_PEAK[3], rtol=0.15)


def test_a_clipped_belt_still_serves() -> None:
    wave = recording()
    clipped = np.clip(wave, None, np.percentile(wave, 70))
    found = breathing_shift(shifts(), TIMES, clipped, RATE, START)
    assert (found.r_squared[3:] > 0.6).all()
    np.testing.assert_allclose(found.amplitude_mm[3:], PEAK_TO_PEAK[3:], rtol=0.3)


def test_a_belt_that_came_off_for_a_while_leaves_the_rest() -> None:
    wave = recording()
    wave[int(120 * RATE) : int(200 * RATE)] = 0
    wave[40] = np.nan
    wave[300] = 1e6
    found = breathing_shift(shifts(), TIMES, wave, RATE, START)
    assert T - 32 <= found.volumes <= T - 28  # 80 s are 30 volumes
    np.testing.assert_allclose(found.amplitude_mm[2:], PEAK_TO_PEAK[2:], rtol=0.15)


@pytest.mark.parametrize("part", ["flat", "nan", "empty", "short", "elsewhere", "mostly flat"])
def test_a_recording_that_does_not_serve_is_refused(part: str) -> None:
    wave, start = recording(), START
    if part == "flat":
        wave = np.full_like(wave, 7.0)
    elif part == "nan":
        wave = np.full_like(wave, np.nan)
    elif part == "empty":
        wave = wave[:0]
    elif part == "short":
        wave = wave[: int(150 * RATE)]
    elif part == "elsewhere":
        start = 3000.0
    elif part == "mostly flat":
        wave[int(150 * RATE) :] = 0
    with pytest.raises(CoSpineError, match="recording") as caught:
        breathing_shift(shifts(), TIMES, wave, RATE, start)
    assert caught.value.remedy


def test_shapes_and_rates_that_cannot_be() -> None:
    with pytest.raises(CoSpineError, match="shape"):
        breathing_shift(shifts()[:-1], TIMES, recording(), RATE, START)
    for rate, start in ((0.0, START), (np.nan, START), (RATE, np.nan)):
        with pytest.raises(CoSpineError, match="placed"):
            breathing_shift(shifts(), TIMES, recording(), rate, start)
