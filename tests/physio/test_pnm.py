"""Regressors against their published formulas, evaluated here a second time, one scalar at a time."""

import math

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.protocol import PROTOCOLS
from cospine.physio.phase import cardiac_phase, respiratory_phase, steady_belt
from cospine.physio.pnm import Orders, describe, pnm_columns, set_of
from cospine.physio.recording import Recording

SLICES = np.asarray(PROTOCOLS["full"].slice_times_s)
TR = PROTOCOLS["full"].tr_s
TIMES = np.arange(12)[:, None] * TR + SLICES
RATE = 100.0


@pytest.fixture(scope="module")
def body():
    return simulate_physiology(3, 12 * TR)


@pytest.fixture(scope="module")
def belt(body):
    start = -25.0
    t = start + np.arange(int(80 * RATE)) / RATE
    return 500 + 300 * body.breathing(t), start


def cardiac_by_hand(peaks, t):
    before = [p for p in peaks if p <= t]
    after = [p for p in peaks if p > t]
    return 2 * math.pi * (t - before[-1]) / (after[0] - before[-1])


def respiratory_by_hand(wave, start, t):
    """Glover's equation 3, with a histogram counted bin by bin and a parabola fitted around the sample."""
    low, high = min(wave), max(wave)
    bins = [0] * 101
    for value in wave:
        bins[max(1, round(100 * (value - low) / (high - low)))] += 1
    at = (t - start) * RATE
    left = math.floor(at)
    value = wave[left] + (at - left) * (wave[left + 1] - wave[left])
    number = max(1, round(100 * (value - low) / (high - low)))
    slopes = []
    for middle in (left, left + 1):
        x = np.arange(-50, 51)
        slopes.append(np.polyfit(x, wave[middle - 50 : middle + 51], 2)[1])
    slope = slopes[0] + (at - left) * (slopes[1] - slopes[0])
    return math.pi * sum(bins[1 : number + 1]) / len(wave) * (-1 if slope < 0 else 1)


def test_cardiac_phase_is_linear_between_peaks(body):
    phase = cardiac_phase(body.beat_times_s, TIMES)
    for v, k in [(0, 0), (3, 17), (11, 69), (7, 34)]:
        assert phase[v, k] == pytest.approx(cardiac_by_hand(body.beat_times_s, TIMES[v, k]), abs=1e-9)
    assert phase.min() >= 0
    assert phase.max() < 2 * np.pi


def test_cardiac_phase_agrees_with_the_phantom(body):
    difference = cardiac_phase(body.beat_times_s, TIMES) - body.cardiac_phase(TIMES)
    np.testing.assert_allclose(np.exp(1j * difference), 1, atol=1e-9)


def test_respiratory_phase_follows_glover(belt):
    wave, start = belt
    phase = respiratory_phase(wave, RATE, start, TIMES)
    for v, k in [(0, 0), (2, 5), (11, 69), (6, 40), (9, 13)]:
        assert phase[v, k] == pytest.approx(respiratory_by_hand(list(wave), start, TIMES[v, k]), abs=1e-9)


def test_respiratory_phase_rises_through_inspiration(body, belt):
    wave, start = belt
    peak = body.peak_times_s[(body.peak_times_s > 2) & (body.peak_times_s < 25)]
    phase = respiratory_phase(wave, RATE, start, np.stack([peak - 0.6, peak + 0.6]))
    assert np.all(phase[0] > 0)
    assert np.all(phase[1] < 0)


def test_thirty_two_columns_from_true_peaks(body, belt):
    wave, start = belt
    cardiac = cardiac_phase(body.beat_times_s, TIMES)
    respiratory = respiratory_phase(wave, RATE, start, TIMES)
    names, columns = pnm_columns(cardiac, respiratory)
    assert columns.shape == (12, 70, 32)
    assert len(set(names)) == 32
    wanted = dict(zip(names, np.moveaxis(columns, -1, 0), strict=True))
    for v, k in [(1, 2), (10, 66)]:
        c = cardiac_by_hand(body.beat_times_s, TIMES[v, k])
        r = respiratory_by_hand(list(wave), start, TIMES[v, k])
        expected = {}
        for n in range(1, 5):
            expected |= {f"card_c{n}": math.cos(n * c), f"card_s{n}": math.sin(n * c)}
            expected |= {f"resp_c{n}": math.cos(n * r), f"resp_s{n}": math.sin(n * r)}
        for m in (1, 2):
            for n in (1, 2):
                expected[f"int_c{m}r{n}_cp"] = math.cos(m * c + n * r)
                expected[f"int_c{m}r{n}_sp"] = math.sin(m * c + n * r)
                expected[f"int_c{m}r{n}_cm"] = math.cos(m * c - n * r)
                expected[f"int_c{m}r{n}_sm"] = math.sin(m * c - n * r)
        assert set(expected) == set(names)
        for name, value in expected.items():
            assert wanted[name][v, k] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("orders", "count"), [((4, 4, (2, 2)), 32), ((3, 4, (1, 1)), 18), ((2, 0, (0, 0)), 4), ((0, 0, (0, 0)), 0)]
)
def test_number_of_columns(orders, count):
    names, columns = pnm_columns(np.zeros((5, 2)), np.ones((5, 2)), Orders(*orders))
    assert len(names) == columns.shape[2] == Orders(*orders).columns == count


@pytest.mark.parametrize("orders", [(-1, 4, (2, 2)), (4, 4, (2, 0)), (4, 11, (2, 2))])
def test_impossible_orders_are_refused(orders):
    with pytest.raises(CoSpineError, match="orders"):
        Orders(*orders)


def test_unknown_phases_leave_volumes_unmodelled():
    cardiac = np.full((4, 3), 1.0)
    cardiac[2] = np.nan
    names, columns = pnm_columns(cardiac, np.ones((4, 3)))
    of = np.array([set_of(name) for name in names])
    assert np.all(columns[2][:, of == "cardiac"] == 0)
    assert np.all(columns[2][:, of == "interaction"] == 0)
    assert np.all(np.abs(columns[2][:, of == "respiratory"]).sum(-1) > 0)
    assert np.isfinite(columns).all()


def test_phase_is_not_made_up_outside_of_what_was_seen():
    peaks = np.r_[np.arange(0, 10, 0.8), np.arange(20, 30, 0.8)]
    phase = cardiac_phase(peaks, np.array([-0.1, 0.0, 5.0, 12.0, 19.9, 25.0, 29.9]))
    assert np.isfinite(phase).tolist() == [False, True, True, False, False, True, False]


def test_a_flat_or_missing_belt_has_no_phase():
    wave = np.sin(np.arange(0, 120, 0.02) * 2)
    wave[2000:3500] = wave[2000]  # 30 s
    wave[4000:4200] = np.nan
    phase = respiratory_phase(wave, 50.0, 0.0, np.array([10.0, 55.0, 82.0, 100.0, 130.0]))
    assert np.isfinite(phase).tolist() == [True, False, False, True, False]
    assert np.isnan(respiratory_phase(np.ones(500), 50.0, 0.0, np.array([2.0]))).all()


def test_a_sinking_baseline_does_not_turn_the_phase():
    rng = np.random.default_rng(0)
    t = np.arange(0, 600, 0.02)
    clean = np.sin(2 * np.pi * t / 4)
    sinking = clean - 4 * t / 600 + 0.02 * rng.standard_normal(t.size)
    belts = [Recording("respiratory", wave, 50.0, 0.0) for wave in (clean, sinking)]
    at = np.arange(30, 570, 0.7)
    first, second = (respiratory_phase(*_order(steady_belt(belt, 0, 600)), at) for belt in belts)
    error = np.abs(np.angle(np.exp(1j * (first - second))))
    assert np.median(error) < 0.1
    assert np.percentile(error, 95) < 0.5


def _order(belt):
    wave, start = belt
    return wave, 50.0, start


def test_every_column_is_described():
    names, _ = pnm_columns(np.zeros((2, 1)), np.zeros((2, 1)))
    words = [describe(name) for name in (*names, "csf", "rvt", "hrv")]
    assert len(set(words)) == len(words)
    assert describe("int_c2r1_sm") == "Sine of 2 times the cardiac minus 1 times the respiratory phase"
