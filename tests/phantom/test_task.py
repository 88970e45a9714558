"""Events and activation."""

import csv
import io

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.phantom.task import (
    Response,
    activation,
    events,
    events_sidecar,
    haemodynamic_response,
    responses,
)

TR = 2.68


def read(table):
    return list(csv.DictReader(io.StringIO(table.to_tsv()), delimiter="\t"))


def test_pain_events_are_those_of_the_real_runs():
    for seed in range(5):
        rows = read(events("pain", seed, 225, TR))
        pain = [row for row in rows if row["trial_type"] == "pain"]
        rating = [row for row in rows if row["trial_type"] == "rating"]
        assert list(rows[0]) == ["onset", "duration", "trial_type", "UpR", "PR"]
        assert len(pain) == len(rating) == 15
        onsets, ratings = (np.array([float(row["onset"]) for row in rows_]) for rows_ in (pain, rating))
        assert 10.1 <= onsets[0] <= 10.2
        assert np.diff(onsets).mean() == pytest.approx(39.1, abs=0.15)
        wait = ratings - onsets - 4.0
        assert np.all((wait >= 12) & (wait <= 17))
        assert all(row["duration"] == "4" for row in pain)
        assert all(row["duration"] == "11" and row["PR"] == "n/a" for row in rating)
        assert all(0 <= float(row["PR"]) <= 10 for row in pain)


def test_first_heat_hurts_more():
    first, later = [], []
    for seed in range(20):
        ratings = [float(row["PR"]) for row in read(events("pain", seed, 225, TR)) if row["PR"] != "n/a"]
        first.append(ratings[0])
        later.append(np.mean(ratings[1:4]))
    assert np.mean(first) > np.mean(later) + 0.5


@pytest.mark.parametrize("task", ["motorL", "motorR"])
def test_motor_events_are_those_of_the_real_runs(task):
    for seed in range(5):
        rows = read(events(task, seed, 115, TR))
        assert list(rows[0]) == ["onset", "duration"]
        onsets = np.array([float(row["onset"]) for row in rows])
        assert len(rows) == 12
        assert onsets[0] == 13
        assert np.all((np.diff(onsets) >= 21) & (np.diff(onsets) <= 26))
        assert {row["duration"] for row in rows} == {"8"}


def test_short_runs_hold_only_what_ends_within_them():
    for task in ("pain", "motorL"):
        rows = read(events(task, 0, 40, TR))
        assert rows
        assert max(float(row["onset"]) + float(row["duration"]) for row in rows) <= 40 * TR


@pytest.mark.parametrize("task", ["pain", "motorR"])
def test_randomised_onsets_are_as_many_and_no_longer_periodic(task):
    volumes = 225 if task == "pain" else 115
    for seed in range(5):
        (regular, _), (random, lengths) = (events(task, seed, volumes, TR, randomised=r).stimuli() for r in (False, True))
        assert abs(random.size - regular.size) <= 2
        assert np.all(np.diff(random) > lengths[:-1] + 7)
        assert np.diff(random).std() > 2 * np.diff(regular).std()
        onsets = np.array([float(row["onset"]) for row in read(events(task, seed, volumes, TR, randomised=True))])
        assert np.all(np.diff(onsets) > 0)


def test_unknown_task():
    with pytest.raises(CoSpineError, match="chess"):
        events("chess", 0, 40, TR)


def test_every_column_is_described():
    assert set(events("pain", 0, 225, TR).columns) <= set(events_sidecar("pain"))
    assert set(events("motorL", 0, 115, TR).columns) <= set(events_sidecar("motorL"))


def test_responses_lie_within_the_facts():
    for severity in (0.0, 0.5, 1.0):
        for seed in range(6):
            for response in responses("pain", seed, severity):
                low, high = (0.004, 0.012) if "horn" in response.region else (0.008, 0.02)
                assert low <= response.amplitude <= high
                assert 4.5 <= response.peak_s <= 7.0


def test_haemodynamic_response_peaks_where_it_says():
    t = np.arange(0.0, 40.0, 0.01)
    response = Response("ACC", 0.01, peak_s=6.2, width=1.0, undershoot=0.2)
    h = haemodynamic_response(t, response)
    assert t[h.argmax()] == pytest.approx(6.2, abs=0.1)
    assert h.max() == pytest.approx(1.0, abs=0.02)
    assert h.min() == pytest.approx(-0.2, abs=0.05)
    assert h[0] == 0


@pytest.mark.parametrize(
    ("task", "horn", "cortex"),
    [("pain", "dorsal_horn_R_C6", "insula_L"), ("motorL", "ventral_horn_L_C7C8", "M1S1_R"), ("motorR",
    "ventral_horn_R_C7C8", "M1S1_L")],
)  # fmt: skip
def test_the_right_places_respond_after_the_stimulus(task, horn, cortex):
    n = 225 if task == "pain" else 115
    table = events(task, 1, n, TR)
    times = np.arange(n)[:, None] * TR + np.array([0.0, 1.34])
    course = activation(task, 1, times, table)
    amplitude = {response.region: response.amplitude for response in responses(task, 1)}
    assert {horn, cortex} <= set(course)
    for region in (horn, cortex):
        assert course[region].shape == times.shape
        assert course[region].max() == pytest.approx(amplitude[region], rel=0.2)
        assert not course[region][times < table.stimuli()[0][0]].any()


def test_activation_is_evaluated_at_each_slices_time():
    table = events("motorL", 0, 115, TR)
    times = np.arange(115)[:, None] * TR + np.array([0.0, 1.3, 0.0])
    course = activation("motorL", 0, times, table)["M1S1_R"]
    assert np.array_equal(course[:, 0], course[:, 2])
    assert np.abs(course[:, 0] - course[:, 1]).max() > 0.1 * course.max()
