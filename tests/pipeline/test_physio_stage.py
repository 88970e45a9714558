"""Recordings of a person, as datasets in the wild hold them: which serves which run."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from cospine.bids import Participant, Run
from cospine.phantom.physiology import Physiology as Body
from cospine.phantom.physiology import simulate_physiology
from cospine.pipeline.physio_stage import PhysioSources
from cospine.pipeline.settings import Settings

TR, VOLUMES = 2.0, 60
LEFT, RIGHT = 36_000.0, 36_300.0  # AcquisitionTime of the two runs, s since midnight


@pytest.fixture(scope="module")
def body() -> Body:
    return simulate_physiology(11, VOLUMES * TR)


def run_of(folder: Path, task: str, clock_s: float | None, physio: tuple[Path, ...]) -> Run:
    sidecar = {}
    if clock_s is not None:
        minutes, seconds = divmod(clock_s, 60)
        sidecar = {"AcquisitionTime": f"{int(minutes // 60):02d}:{int(minutes % 60):02d}:{seconds:09.6f}"}
    return Run(
        "sub-01", None, {"sub": "01", "task": task}, folder / f"sub-01_task-{task}_bold.nii.gz", sidecar,
        (8, 8, 4, VOLUMES), np.eye(4), VOLUMES, TR, (0.0, 0.5, 1.0, 1.5), physio=physio,
    )  # fmt: skip


def record(folder: Path, name: str, body: Body, kind: str, first_s: float, last_s: float, **sidecar: object) -> Path:
    """A recording from `first_s` to `last_s` (run time) at 100 Hz; what the sidecar says is up to the test."""
    t = np.arange(first_s, last_s, 0.01)
    wave = 2000 + 800 * (body.pulse(t) if kind == "cardiac" else body.breathing(t))
    path = folder / f"{name}_physio.tsv.gz"
    path.write_bytes(gzip.compress("\n".join(f"{value:.0f}" for value in wave).encode()))
    column = {"cardiac": "PULS", "respiratory": "RESP"}[kind]
    path.with_name(f"{name}_physio.json").write_text(json.dumps({"SamplingFrequency": 100, "Columns": [column], **sidecar}))
    return path


def agreement(found: np.ndarray, true: np.ndarray, within_s: float) -> float:
    """Share of the true times that have a found one near."""
    return float((np.abs(found[:, None] - true).min(axis=0) <= within_s).mean())


def test_each_channel_by_its_own_clock_in_milliseconds(tmp_path: Path, body: Body) -> None:
    pulse = record(tmp_path, "sub-01_task-left_recording-pulse", body, "cardiac", -30, 140, StartTime=round(1000 * (LEFT - 30)))
    belt = record(
        tmp_path, "sub-01_task-left_recording-respiratory", body, "respiratory", -12, 135, StartTime=round(1000 * (LEFT - 12))
    )
    run = run_of(tmp_path, "left", LEFT, (pulse, belt))
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse, belt)), Settings()).of(run)
    assert found.cardiac is not None
    assert found.respiratory is not None
    assert (found.cardiac.how, found.respiratory.how) == ("scanner clock", "scanner clock")
    inside = (body.beat_times_s > 0) & (body.beat_times_s < VOLUMES * TR)
    assert agreement(found.cardiac.peaks_s, body.beat_times_s[inside], 0.03) > 0.99
    inside = (body.peak_times_s > 0) & (body.peak_times_s < VOLUMES * TR)
    assert agreement(found.respiratory.peaks_s, body.peak_times_s[inside], 0.3) > 0.99
    assert found.notes == ()
    assert found.files == [pulse, belt]
    assert found.times is not None
    np.testing.assert_allclose(found.times.seconds, VOLUMES * TR)


def test_swapped_files_are_put_right_and_said(tmp_path: Path, body: Body) -> None:
    named_left = record(tmp_path, "sub-01_task-left", body, "cardiac", -30, 140, StartTime=round(1000 * (RIGHT - 30)))
    named_right = record(tmp_path, "sub-01_task-right", body, "cardiac", -30, 140, StartTime=round(1000 * (LEFT - 30)))
    left, right = run_of(tmp_path, "left", LEFT, (named_left,)), run_of(tmp_path, "right", RIGHT, (named_right,))
    sources = PhysioSources(Participant("sub-01", (left, right), physio=(named_left, named_right)), Settings())
    found = sources.of(left)
    assert found.files == [named_right]
    assert any("swapped" in note for note in found.notes)
    assert sources.of(right).files == [named_left]


def test_a_recording_of_another_day_leaves_the_run_without(tmp_path: Path, body: Body) -> None:
    pulse = record(tmp_path, "sub-01_task-left", body, "cardiac", -30, 140, StartTime=1000 * 60_000)
    run = run_of(tmp_path, "left", LEFT, (pulse,))
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse,)), Settings()).of(run)
    assert not found.channels
    assert any("covers nothing" in note for note in found.notes)
    assert np.isnan(found.cardiac_phase(np.array([[1.0]]))).all()


def test_what_cannot_be_read_is_named_and_stops_nobody(tmp_path: Path, body: Body) -> None:
    pulse = record(tmp_path, "sub-01_task-left_recording-cardiac", body, "cardiac", -30, 140, StartTime=-30)
    broken = record(tmp_path, "sub-01_task-left_recording-respiratory", body, "respiratory", -30, 140, StartTime=-30)
    broken.write_bytes(b"\x1f\x8b\x08\x00not gzip at all")
    run = run_of(tmp_path, "left", None, (pulse, broken))
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse, broken)), Settings()).of(run)
    assert list(found.channels) == ["cardiac"]
    assert any(broken.name in note for note in found.notes)


def test_part_of_the_run_is_used_where_it_is_covered(tmp_path: Path, body: Body) -> None:
    pulse = record(tmp_path, "sub-01_task-left", body, "cardiac", 40, 140, StartTime=40)
    run = run_of(tmp_path, "left", None, (pulse,))
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse,)), Settings()).of(run)
    assert found.cardiac is not None
    assert found.cardiac.coverage == pytest.approx(2 / 3, abs=0.01)
    phase = found.cardiac_phase(np.arange(VOLUMES)[:, None] * TR)
    assert np.isnan(phase[:20]).all()
    assert np.isfinite(phase[22:]).all()
    assert any("67 %" in note for note in found.notes)


def test_peaks_by_hand_replace_ours(tmp_path: Path, body: Body) -> None:
    pulse = record(tmp_path, "sub-01_task-left", body, "cardiac", -30, 140, StartTime=-30)
    run = run_of(tmp_path, "left", None, (pulse,))
    table = tmp_path / "mine.tsv"
    beats = np.arange(-5, 130, 0.9)
    table.write_text("onset_run\tkind\n" + "".join(f"{beat:.3f}\tcardiac\n" for beat in beats))
    settings = Settings(physio_peaks=table)
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse,)), settings).of(run)
    assert found.cardiac is not None
    assert found.cardiac.given
    np.testing.assert_allclose(found.cardiac.peaks_s, beats, atol=1e-9)
    # as `cospine physio` writes it: from the recording's first sample
    table.write_text("onset\tonset_run\tkind\n" + "".join(f"{beat + 30:.3f}\tn/a\tcardiac\n" for beat in beats))
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse,)), settings).of(run)
    assert found.cardiac is not None
    np.testing.assert_allclose(found.cardiac.peaks_s, beats, atol=1e-9)


def test_recordings_are_left_aside_when_asked(tmp_path: Path, body: Body) -> None:
    pulse = record(tmp_path, "sub-01_task-left", body, "cardiac", -30, 140, StartTime=-30)
    run = run_of(tmp_path, "left", None, (pulse,))
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse,)), Settings(ignore=("physio",))).of(run)
    assert not found.channels
    assert "ignored" in found.notes[0]


def test_a_time_of_day_serves_its_own_session_only(tmp_path: Path, body: Body) -> None:
    first, second = tmp_path / "ses-1" / "func", tmp_path / "ses-2" / "func"
    for folder in (first, second):
        folder.mkdir(parents=True)
    pulse = record(second, "sub-01_ses-2_task-left", body, "cardiac", -30, 140, StartTime=round(1000 * (LEFT - 30)))
    run = run_of(first, "left", LEFT, ())
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse,)), Settings()).of(run)
    assert not found.channels


def test_peaks_that_serve_nothing_are_said(tmp_path: Path, body: Body) -> None:
    pulse = record(tmp_path, "sub-01_task-left", body, "cardiac", -30, 140, StartTime=-30)
    run = run_of(tmp_path, "left", None, (pulse,))
    table = tmp_path / "mine.tsv"
    table.write_text("onset_run\tkind\n1\trespiratory\n5\trespiratory\n")
    found = PhysioSources(Participant("sub-01", (run,), physio=(pulse,)), Settings(physio_peaks=table)).of(run)
    assert any("respiratory peaks that were given are not used" in note for note in found.notes)
    assert found.given is None


def test_what_happened_before_the_run_is_there_for_slow_responses(tmp_path: Path, body: Body) -> None:
    belt = record(tmp_path, "sub-01_task-left", body, "respiratory", -100, 140, StartTime=-100)
    run = run_of(tmp_path, "left", None, (belt,))
    found = PhysioSources(Participant("sub-01", (run,), physio=(belt,)), Settings()).of(run)
    times = np.arange(VOLUMES)[:, None] * TR
    near, far = found.belt(times), found.belt(times, before_s=50.0)
    assert near is not None
    assert far is not None
    assert near[2] == pytest.approx(-10, abs=0.05)
    assert far[2] == pytest.approx(-60, abs=0.05)
