"""Recordings on the run's time: clocks, marks, midnight, swapped names."""

import numpy as np
import pytest

from cospine.bids.clock import clock_difference_s
from cospine.physio.alignment import Session, choose, marked_start_s, overlap, place
from cospine.physio.recording import Recording

RUN = Session("task pain", volumes=100, tr_s=2.0, clock_s=36_000.0)


def recording(seconds=300.0, kind="cardiac", rate=50.0, **what):
    samples = np.sin(np.arange(int(seconds * rate)) / 7)
    return Recording(kind, samples, rate, source=what.pop("source", f"{kind}.puls"), **what)


def test_scanner_clock_places_a_recording():
    placed = place(recording(clock_s=35_950.25), RUN)
    assert placed.how == "scanner clock"
    assert placed.recording.start_s == pytest.approx(-49.75)
    assert placed.coverage == 1


@pytest.mark.parametrize(
    ("later", "earlier", "apart"),
    [(10.0, 86_390.0, 20.0), (86_390.0, 10.0, -20.0), (36_000.0, 35_000.0, 1000.0), (35_000.0, 36_000.0, -1000.0)],
)
def test_midnight_may_lie_between(later, earlier, apart):
    assert clock_difference_s(later, earlier) == pytest.approx(apart)


def test_a_run_over_midnight():
    run = Session("late", 100, 2.0, clock_s=86_350.0)
    placed = place(recording(clock_s=86_300.0), run)
    assert placed.recording.start_s == pytest.approx(-50)
    placed = place(recording(clock_s=20.0), run)
    assert placed.recording.start_s == pytest.approx(70)
    assert placed.coverage == pytest.approx(0.65, abs=0.001)


def test_marked_volumes_go_before_clocks_and_the_difference_is_said():
    marks = 12.34 + np.arange(100) * 2.0
    placed = place(recording(clock_s=35_988.0, volumes_s=marks), RUN)
    assert placed.how == "volume marks"
    assert placed.recording.start_s == pytest.approx(-12.34)
    assert any("0.34 s" in note and "scanner clock" in note for note in placed.notes)
    assert place(recording(start_s=-12.3, volumes_s=marks), RUN).notes == ()


def test_discarded_volumes_are_told_apart_only_with_help():
    marks = 5.0 + np.arange(106) * 2.0  # six more than are stored
    assert marked_start_s(recording(volumes_s=marks), RUN) is None
    assert marked_start_s(recording(volumes_s=marks), RUN, near_s=-16.8) == pytest.approx(-17.0)
    assert marked_start_s(recording(volumes_s=marks), RUN, near_s=-100.0) is None


@pytest.mark.parametrize("spoil", ["few", "uneven", "wrong spacing"])
def test_marks_that_are_not_the_volumes_are_not_believed(spoil):
    marks = 5.0 + np.arange(100) * 2.0
    if spoil == "few":
        marks = marks[:-1]
    elif spoil == "uneven":
        marks[50:] += 0.5
    else:
        marks = 5.0 + np.arange(100) * 1.5
    assert marked_start_s(recording(volumes_s=marks), RUN) is None


def test_nothing_to_go_by_is_said():
    placed = place(recording(), RUN)
    assert placed.recording.start_s is None
    assert placed.coverage == 0
    assert "cannot be placed" in placed.notes[0]


def test_gaps_do_not_cover():
    samples = np.ones(15_000)
    samples[5000:10_000] = np.nan
    placed = place(Recording("cardiac", samples, 50.0, start_s=-50.0), RUN)
    assert placed.coverage == pytest.approx(0.5, abs=0.01)


def test_overlap_of_every_recording_with_every_run():
    second = Session("second", 100, 2.0, clock_s=37_000.0)
    table = overlap([recording(clock_s=35_950.0), recording(clock_s=37_100.0), recording()], [RUN, second])
    np.testing.assert_allclose(table.seconds[:2], [[200, 0], [0, 100]])
    assert np.isnan(table.seconds[2]).all()


def test_swapped_recordings_are_found_by_the_clock():
    left, right = Session("left", 100, 2.0, 36_000.0), Session("right", 100, 2.0, 36_400.0)
    of_right = recording(clock_s=36_350.0, source="left.puls")  # named after the other
    of_left = recording(clock_s=35_950.0, source="right.puls")
    choice = choose("cardiac", left, [of_right], [of_left])
    assert choice.placed is not None
    assert choice.placed.recording.source == "right.puls"
    assert not choice.named
    assert any("swapped" in note for note in choice.notes)
    assert choose("cardiac", right, [of_left], [of_right]).placed.recording.source == "left.puls"


def test_what_covers_nothing_is_not_used():
    choice = choose("cardiac", RUN, [recording(clock_s=40_000.0)], [])
    assert choice.placed is None
    assert "begins 3800 s after the run ends" in choice.notes[-1]
    choice = choose("respiratory", RUN, [recording(clock_s=36_000.0)], [])
    assert choice.placed is None
    assert choice.notes == ("No respiratory recording.",)


def test_partial_cover_is_used_and_said():
    choice = choose("cardiac", RUN, [recording(seconds=120.0, start_s=0.0)], [])
    assert choice.placed is not None
    assert choice.placed.coverage == pytest.approx(0.6, abs=0.01)
    assert "60 %" in choice.notes[-1]


def test_each_channel_is_placed_by_its_own_clock():
    cardiac = choose("cardiac", RUN, [recording(clock_s=35_950.0), recording(kind="respiratory", clock_s=35_980.5)], [])
    breath = choose("respiratory", RUN, [recording(clock_s=35_950.0), recording(kind="respiratory", clock_s=35_980.5)], [])
    assert cardiac.placed.recording.start_s == pytest.approx(-50.0)
    assert breath.placed.recording.start_s == pytest.approx(-19.5)


def test_marks_of_another_run_are_told_by_the_clock() -> None:
    marks = 20.0 + np.arange(100) * 2.0
    foreign = recording(clock_s=36_900.0, volumes_s=marks, source="left.puls")  # as many volumes, 15 minutes later
    choice = choose("cardiac", RUN, [foreign], [recording(clock_s=35_980.0, volumes_s=marks, source="right.puls")])
    assert choice.placed is not None
    assert choice.placed.recording.source == "right.puls"
    assert choice.placed.how == "volume marks"
    assert choose("cardiac", RUN, [foreign], []).placed is None


def test_marks_of_a_series_that_ends_early_are_those_of_the_whole() -> None:
    short = Session("cut", volumes=60, tr_s=2.0, claimed=100)
    assert marked_start_s(recording(volumes_s=12.0 + np.arange(100) * 2.0), short) == pytest.approx(-12.0)


def test_of_two_sensors_the_better_signal_is_used() -> None:
    t = np.arange(300 * 50) / 50
    noise = Recording("cardiac", np.random.default_rng(0).standard_normal(t.size), 50.0, start_s=-50.0, source="ecg")
    beats = np.exp(-(((t % 0.9) - 0.3) ** 2) / 0.01)
    pulse = Recording("cardiac", beats, 50.0, start_s=-50.0, sensor="ppg", source="ppg")
    choice = choose("cardiac", RUN, [noise, pulse], [])
    assert choice.placed is not None
    assert choice.placed.recording.source == "ppg"
    assert any("better signal than ecg" in note for note in choice.notes)


def test_what_does_not_fit_is_counted() -> None:
    placed = place(recording(volumes_s=np.arange(99) * 2.0), RUN)
    assert "its 99 volume marks are not 100 in a row" in placed.notes[0]
