"""Which recording belongs to which run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cospine.convert.recordings import Source, assign
from cospine.physio.alignment import Session
from cospine.physio.recording import Recording


def source(
    kind: Any = "cardiac",
    clock_s: float | None = 1000.0,
    seconds: float = 100.0,
    run: str | None = None,
    seed: int = 0,
    **more: Any,
) -> Source:
    samples = np.random.default_rng(seed).normal(size=int(seconds * 50))
    return Source(
        Recording(kind, samples, 50.0, clock_s=clock_s, source=f"{kind}{seed}", **more), Path(f"{kind}{seed}.puls"), run
    )


RUNS = {"task-a": Session("task-a", 20, 2.0, 1010.0), "task-b": Session("task-b", 20, 2.0, 1200.0)}


def test_the_clock_says_which_run_and_from_when() -> None:
    later = source(clock_s=1195.5, seed=1)
    channels, notes = assign([later, source(), source("respiratory", 1009.0, seed=2)], RUNS)
    assert [(one.label, one.source.path.name, one.placed.recording.start_s) for one in channels["task-a"]] == [
        ("cardiac", "cardiac0.puls", -10.0),
        ("respiratory", "respiratory2.puls", -1.0),
    ]
    assert channels["task-b"][0].placed.recording.start_s == -4.5
    assert notes == ["task-b: no respiratory recording covers it"]


def test_one_recording_may_serve_several_runs_and_midnight_may_lie_within() -> None:
    runs = {"task-a": Session("task-a", 20, 2.0, 86_390.0), "task-b": Session("task-b", 20, 2.0, 100.0)}
    channels, _ = assign([source(clock_s=86_300.0, seconds=300.0)], runs)
    assert channels["task-a"][0].placed.recording.start_s == -90.0
    assert channels["task-b"][0].placed.recording.start_s == -200.0


def test_a_bound_recording_without_a_clock_keeps_its_run() -> None:
    marks = np.arange(20) * 2.0 + 7.0
    channels, notes = assign([source(clock_s=None, run="task-b", volumes_s=marks)], RUNS)
    assert "task-a" not in channels
    assert channels["task-b"][0].placed.recording.start_s == -7.0
    _, notes = assign([source(clock_s=None)], RUNS)
    assert any("it carries no time of day: bind it with RUN=FILE" in note for note in notes)


def test_partial_foreign_and_flat_recordings_are_said() -> None:
    flat = Source(Recording("cardiac", np.full(5000, 7.0), 50.0, clock_s=1000.0, source="ecg"), Path("ecg"))
    short, bound = source(clock_s=1030.0, seed=1), source("respiratory", 5000.0, run="task-a", seed=3)
    channels, notes = assign([flat, short, bound], RUNS)
    said = "\n".join(notes)
    assert "ecg: never changes" in said
    assert "cardiac1 covers 50 % of it" in said
    assert "respiratory3 was said to be its own, but covers nothing of it by scanner clock" in said
    assert [one.label for one in channels["task-a"]] == ["cardiac", "respiratory"]


def test_the_same_recording_as_log_and_in_dicom_counts_once() -> None:
    channels, notes = assign([source(), source()], RUNS)
    assert [one.label for one in channels["task-a"]] == ["cardiac"]
    assert any("used once" in note for note in notes)


def test_a_second_channel_of_a_kind_is_numbered() -> None:
    channels, _ = assign([source(), source(seed=5)], RUNS)
    assert [one.label for one in channels["task-a"]] == ["cardiac", "cardiac2"]


@pytest.mark.parametrize("clock_s", [None, 1010.0])
def test_no_recordings_is_no_complaint(clock_s: float | None) -> None:
    assert assign([], {"task-a": Session("task-a", 20, 2.0, clock_s)}) == ({}, [])
