"""Peaks in real recordings against marks made by hand, blind to the detector (`tests/data/marks/README.md`).

The figures are logged: ``pytest tests/physio/test_real_marks.py -o log_cli=true --log-cli-level=INFO``.
"""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cospine.physio.io import read_recordings
from cospine.physio.peaks import find_peaks
from cospine.physio.recording import Recording

_LOG = logging.getLogger(__name__)

MARKS = Path(__file__).parents[1] / "data" / "marks"
INDEX: dict[str, dict[str, Any]] = json.loads((MARKS / "index.json").read_text())
TOLERANCE_S = {"cardiac": 0.05, "respiratory": 0.3}
# Marked twice, a person agrees with himself to F1 0.98-1.00. A detector that misses or invents one event in ten is not
# usable for phases at all, so this floor is where a recording counts as failed; the figure aimed at is 0.95.
FLOOR = 0.9
GOOD = sorted(name for name, entry in INDEX.items() if entry["quality"] == "good")
POOR = sorted(set(INDEX) - set(GOOD))

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Events found against events marked, matched one to one within a tolerance."""

    matched: int
    missed: Times
    invented: Times
    late_s: Times

    @property
    def sensitivity(self) -> float:
        return self.matched / max(self.matched + self.missed.size, 1)

    @property
    def predictive_value(self) -> float:
        return self.matched / max(self.matched + self.invented.size, 1)

    @property
    def f1(self) -> float:
        return 2 * self.matched / max(2 * self.matched + self.missed.size + self.invented.size, 1)

    def __str__(self) -> str:
        spread = f"median |dt| {1000 * np.median(np.abs(self.late_s)):.1f} ms" if self.late_s.size else "nothing matched"
        return (
            f"F1 {self.f1:.3f} sensitivity {self.sensitivity:.3f} ppv {self.predictive_value:.3f} {spread} "
            f"missed {np.round(self.missed, 2).tolist()} invented {np.round(self.invented, 2).tolist()}"
        )


def _inside(times_s: Times, entry: dict[str, Any], shrunk_s: float) -> NDArray[np.bool_]:
    """Times in the marked interval and in no excluded one, at least `shrunk_s` from any border."""
    first_s, last_s = entry["interval_s"]
    inside = (times_s >= first_s + shrunk_s) & (times_s < last_s - shrunk_s)
    for gap in entry["excluded_s"]:
        inside &= (times_s < gap["start"] - shrunk_s) | (times_s > gap["stop"] + shrunk_s)
    return inside


def agreement(found_s: Times, marked_s: Times, entry: dict[str, Any], tolerance_s: float) -> Agreement:
    """Match in order of time; an event without a partner counts unless a border is so near that the partner may lie beyond."""
    found_s = np.sort(found_s)
    found_s = found_s[_inside(found_s, entry, -tolerance_s)]
    gap_s = np.abs(found_s[:, None] - marked_s[None, :])
    pairs: list[tuple[int, int]] = []
    for one, other in zip(*np.unravel_index(np.argsort(gap_s, axis=None, kind="stable"), gap_s.shape), strict=True):
        if gap_s[one, other] > tolerance_s + 1e-9:
            break
        if all(one != i and other != j for i, j in pairs):
            pairs.append((int(one), int(other)))
    lone_found = np.delete(found_s, [i for i, _ in pairs])
    lone_marked = np.delete(marked_s, [j for _, j in pairs])
    return Agreement(
        len(pairs),
        lone_marked[_inside(lone_marked, entry, tolerance_s)],
        lone_found[_inside(lone_found, entry, tolerance_s)],
        np.array([found_s[i] - marked_s[j] for i, j in pairs]),
    )


def marked(name: str) -> Times:
    return np.loadtxt(MARKS / f"{name}.tsv", skiprows=1, usecols=0, ndmin=1)


def recording_of(shared: Path, name: str) -> Recording:
    """The recording that the marks belong to; kind, sensor and rate as the index has them, where the file does not say."""
    entry = INDEX[name]
    rate_hz = None if entry["file"].endswith(".log") else entry["rate_hz"]  # CMRR logs time every sample
    channels = read_recordings(shared / entry["file"], rate_hz)
    own = [one for one in channels if len(channels) == 1 or one.kind == entry["kind"]]
    assert len(own) == 1
    assert own[0].rate_hz == pytest.approx(entry["rate_hz"], rel=1e-6)
    assert own[0].samples.size == pytest.approx(entry["samples"], abs=2)
    return replace(own[0], kind=entry["kind"], sensor=entry["sensor"], samples=entry["polarity"] * own[0].samples)


def scored(shared: Path, name: str) -> Agreement:
    """Agreement of the detector, logged with that of the scanner's own marks and, where the sign is turned, of the file as is."""
    entry = INDEX[name]
    tolerance_s = TOLERANCE_S[entry["kind"]]
    recording = recording_of(shared, name)
    peaks = find_peaks(recording)
    ours = agreement(peaks.onset_s, marked(name), entry, tolerance_s)
    _LOG.info("%s (%d marks): %s", name, entry["marks"], ours)
    if recording.marks_s.size:
        theirs = agreement(recording.marks_s, marked(name), entry, tolerance_s)
        _LOG.info("%s, the scanner's marks: %s", name, theirs)
        wide = agreement(recording.marks_s, marked(name), entry, 0.3 if entry["kind"] == "cardiac" else 2.0)
        _LOG.info(
            "%s, the scanner's marks at a wider tolerance: F1 %.3f, late by %.0f ms", name, wide.f1, 1000 * np.median(wide.late_s)
        )
    if entry["polarity"] < 0:
        as_is = find_peaks(replace(recording, samples=-recording.samples))
        _LOG.info("%s, sign as in the file: %s", name, agreement(as_is.onset_s, marked(name), entry, tolerance_s))
    assert np.all(np.diff(peaks.onset_s) > 0)
    assert np.all((peaks.onset_s >= 0) & (peaks.onset_s <= recording.duration_s))
    return ours


def test_each_recording_has_its_marks() -> None:
    assert sorted(path.stem for path in MARKS.glob("*.tsv")) == sorted(INDEX)
    for name, entry in INDEX.items():
        times_s = marked(name)
        assert times_s.size == entry["marks"] > 0
        assert np.all(np.diff(times_s) > 0.3)
        assert np.all(_inside(times_s, entry, 0.0))


def test_agreement_of_hand_worked_times() -> None:
    """Three of four found (one 40 ms late), one invented; what lies in an excluded stretch or at its border does not count."""
    entry = {"interval_s": [0, 10], "excluded_s": [{"start": 5, "stop": 7}]}
    result = agreement(np.array([1.0, 2.04, 3.5, 4.98, 6.0, 9.0, 12.0]), np.array([1.0, 2.0, 3.0, 9.0]), entry, 0.05)
    assert result.matched == 3
    np.testing.assert_allclose(result.missed, [3.0])
    np.testing.assert_allclose(result.invented, [3.5])
    np.testing.assert_allclose(np.sort(result.late_s), [0, 0, 0.04], atol=1e-12)
    assert result.f1 == pytest.approx(0.75)


@pytest.mark.shared
@pytest.mark.parametrize("name", GOOD)
def test_peaks_agree_with_the_marks(shared: Path, name: str) -> None:
    assert scored(shared, name).f1 >= FLOOR


@pytest.mark.shared
@pytest.mark.parametrize("name", POOR)
def test_peaks_of_a_poor_recording_are_no_worse_than_its_rate(shared: Path, name: str) -> None:
    """Noise makes single times doubtful to the eye as well; still more must agree than events strewn at the true rate would.

    Strewn at rate r, an event meets a mark within +-tau with probability 2 tau r: 0.1-0.2 here.
    """
    entry = INDEX[name]
    first_s, last_s = entry["interval_s"]
    chance = 2 * TOLERANCE_S[entry["kind"]] * entry["marks"] / (last_s - first_s)
    assert scored(shared, name).f1 > chance
