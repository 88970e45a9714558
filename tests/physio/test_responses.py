"""Slow responses: the published curves, and what they are convolved with."""

import numpy as np
import pytest

from cospine.physio.responses import (
    cardiac_response,
    heart_column,
    heart_rate,
    respiration_column,
    respiration_response,
    respiration_volume,
)


def test_respiration_response_has_its_published_shape():
    t = np.arange(0, 60, 0.01)
    curve = respiration_response(t)
    assert t[curve.argmax()] == pytest.approx(3.1, abs=0.4)  # early overshoot about 3 s
    assert t[curve.argmin()] == pytest.approx(15.5, abs=1.0)  # undershoot about 16 s (Birn 2008, figure 3)
    at = 2.0
    assert respiration_response(np.array([at]))[0] == pytest.approx(
        0.6 * at**2.1 * np.exp(-at / 1.6) - 0.0023 * at**3.54 * np.exp(-at / 4.25)
    )
    assert respiration_response(np.array([-1.0]))[0] == 0


def test_cardiac_response_has_its_published_shape():
    t = np.arange(0, 40, 0.01)
    curve = cardiac_response(t)
    assert t[curve.argmax()] == pytest.approx(4.0, abs=0.5)  # Chang 2009, figure 6
    assert t[curve.argmin()] == pytest.approx(12.0, abs=0.5)
    assert cardiac_response(np.array([-1.0]))[0] == 0


def test_depth_over_time_of_each_breath():
    rate = 50.0
    t = np.arange(0, 120, 1 / rate)
    depth = np.where(t < 60, 1.0, 2.0)
    belt = depth * np.sin(2 * np.pi * t / 4 - np.pi / 2)
    breaths = np.arange(2, 120, 4.0)
    at, volume = respiration_volume(belt, rate, 0.0, breaths)
    np.testing.assert_allclose(volume[at < 58], 2 / 4, atol=1e-3)
    np.testing.assert_allclose(volume[at > 66], 4 / 4, atol=1e-3)


def test_heart_rate_in_a_window():
    beats = np.r_[np.arange(0, 30, 1.0), np.arange(30, 60, 0.5)]
    rate = heart_rate(beats, np.array([10.0, 50.0]))
    np.testing.assert_allclose(rate, [60.0, 120.0], rtol=1e-9)


def test_columns_follow_a_step_with_the_response():
    beats = np.r_[np.arange(-60, 100, 1.0), np.arange(100, 400, 0.8)]
    times = np.arange(0, 300, 0.5)[:, None]
    column = heart_column(beats, times)[:, 0]
    assert column.mean() == pytest.approx(0, abs=1e-9)
    assert column.std() == pytest.approx(1, abs=1e-9)
    grid = np.arange(0, 300, 0.5)
    step = np.where(grid >= 100, 1.0, 0.0)
    expected = np.convolve(step, cardiac_response(np.arange(0, 50, 0.5)))[: grid.size]
    assert np.corrcoef(column, expected)[0, 1] > 0.98

    t = np.arange(-60, 400, 0.02)
    belt = np.where(t < 100, 1.0, 1.6) * np.sin(2 * np.pi * t / 4 - np.pi / 2)
    column = respiration_column(belt, 50.0, -60.0, np.arange(-58, 400, 4.0), times)[:, 0]
    expected = np.convolve(step, respiration_response(np.arange(0, 50, 0.5)))[: grid.size]
    assert np.corrcoef(column, expected)[0, 1] > 0.98


def test_without_beats_or_breaths_the_columns_are_empty():
    times = np.arange(10.0)[:, None]
    assert np.all(heart_column(np.empty(0), times) == 0)
    assert np.all(respiration_column(np.ones(100), 10.0, 0.0, np.empty(0), times) == 0)


def test_lost_beats_are_no_slow_heart():
    beats = np.r_[np.arange(0, 60, 1.0), np.arange(80, 140, 1.0)]
    rate = heart_rate(beats, np.arange(3, 135, 1.0))
    np.testing.assert_allclose(rate, 60.0, rtol=1e-9)
