"""Pulse and breathing of a run: which recording is its own, where it lies in time, its peaks and phases."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cospine.bids import Participant, Run, read_tsv
from cospine.errors import CoSpineError
from cospine.physio.alignment import Choice, Placed, Session, choose, overlap
from cospine.physio.given import given_peaks
from cospine.physio.io import read_recordings
from cospine.physio.peaks import find_peaks
from cospine.physio.physiology import Channel, Physiology
from cospine.physio.recording import Kind, Recording
from cospine.pipeline.given import given_peaks_file
from cospine.pipeline.settings import Settings

logger = logging.getLogger(__name__)

KINDS: tuple[Kind, ...] = ("cardiac", "respiratory")
_BEFORE_S, _AFTER_S = 70.0, 30.0  # of the recording around the run: slow responses reach back 50 s


class PhysioSources:
    """The recordings of one participant, each read when a run first needs it."""

    def __init__(self, participant: Participant, settings: Settings) -> None:
        self._participant = participant
        self._settings = settings
        self._read: dict[Path, tuple[Recording, ...] | CoSpineError] = {}

    def of(self, run: Run) -> Physiology:
        """Pulse and breathing of a run.

        A recording that cannot be read, or that lies elsewhere in time, is named in the notes and not used.
        """
        if self._settings.ignores("physio"):
            return Physiology(notes=("Recordings of pulse and breathing were ignored, as asked for.",))
        if not self._participant.physio:
            return Physiology(notes=("There is no recording of pulse or breathing.",))
        own, troubles = self._recordings(run.physio)
        # of the same session only: a time of day knows no date
        beside = [path for path in self._participant.physio if path.parent == run.bold.parent]
        others, _ = self._recordings([path for path in beside if path not in run.physio])
        session = session_of(run)
        choices: dict[Kind, Choice] = {kind: choose(kind, session, own, others) for kind in KINDS}
        notes = [*troubles]
        channels: dict[str, Channel] = {}
        given = given_peaks_file(run, self._settings)
        by_hand = None if given is None else read_tsv(given)
        for kind, choice in choices.items():
            notes += choice.notes
            if choice.placed is not None:
                path = self._path_of(choice.placed.recording)
                channels[kind] = _channel(kind, path, choice.placed, session, by_hand)
                if len(channels[kind].peaks.onset_s) < 2:
                    notes.append(f"No {_EVENT[kind]} was found in {choice.placed.recording.source}; it is not used.")
                    del channels[kind]
        if by_hand is not None:
            notes += [
                f"The {kind} peaks that were given are not used: no {kind} recording covers the run."
                for kind in KINDS
                if kind in by_hand["kind"] and kind not in channels
            ]
            if "respiratory" in by_hand["kind"] and "respiratory" in channels:
                notes.append("The breaths that were given serve rates and rvt; the respiratory phase follows the belt itself.")
        everyone, _ = self._recordings(beside)
        table = overlap(everyone, sessions_beside(run, self._participant))
        for note in notes:
            logger.info("%s: %s", run.label, note)
        used = given if any(one.given for one in channels.values()) else None
        found = channels.get("cardiac"), channels.get("respiratory")
        return Physiology(*found, tuple(dict.fromkeys(notes)), table, used)

    def _recordings(self, files: Sequence[Path]) -> tuple[list[Recording], list[str]]:
        """Channels of some files, and why others could not be read."""
        recordings: list[Recording] = []
        troubles: list[str] = []
        for path in files:
            if path not in self._read:
                try:
                    self._read[path] = read_recordings(path, sidecar=self._participant.physio_sidecars.get(path))
                except CoSpineError as error:
                    self._read[path] = error
            found = self._read[path]
            if isinstance(found, CoSpineError):
                troubles.append(f"{found}")
            else:
                recordings += found
        return recordings, troubles

    def _path_of(self, recording: Recording) -> Path:
        """File of a recording: names tell it, for they are unique in a person."""
        return next(
            path
            for path, found in self._read.items()
            if not isinstance(found, CoSpineError) and any(one.source == recording.source for one in found)
        )


_EVENT = {"cardiac": "heartbeat", "respiratory": "breath"}


def session_of(run: Run) -> Session:
    """A run as alignment sees it."""
    return Session(run.prefix, run.volumes, run.tr_s, run.acquisition_clock_s, run.shape[3])


def sessions_beside(run: Run, participant: Participant) -> list[Session]:
    """The runs of a run's session, itself among them, whose images can be read."""
    return [session_of(one) for one in participant.runs if one.session == run.session and len(one.shape) == 4]


def _channel(kind: Kind, path: Path, placed: Placed, session: Session, by_hand: Mapping[str, list[Any]] | None) -> Channel:
    near = _around(placed.recording, -_BEFORE_S, session.duration_s + _AFTER_S)
    if by_hand is not None:
        peaks = given_peaks(by_hand, placed.recording.start_s or 0.0).get(kind)
        if peaks is not None:
            start_s = near.start_s or 0.0
            return Channel(near, replace(peaks, onset_s=peaks.onset_s - start_s), placed.coverage, placed.how, True, path)
    return Channel(near, find_peaks(near), placed.coverage, placed.how, path=path)


def _around(recording: Recording, first_s: float, last_s: float) -> Recording:
    """The part of a placed recording between two times, s from the first volume."""
    start_s = recording.start_s or 0.0
    first = max(0, int(np.ceil((first_s - start_s) * recording.rate_hz)))
    last = max(first, min(recording.samples.size, int(np.floor((last_s - start_s) * recording.rate_hz)) + 1))
    return recording.part(first, last)
