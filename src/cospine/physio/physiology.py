"""Pulse and breathing of one run: recordings on its time, their peaks, and phases at any time."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.physio.alignment import Overlap
from cospine.physio.peaks import Peaks
from cospine.physio.phase import cardiac_phase, respiratory_phase, steady_belt, whole_beats
from cospine.physio.recording import Recording

_LONGEST_BREATH_S = 20.0  # between breaths; beyond, some were lost


@dataclass(frozen=True, eq=False)
class Channel:
    """One kind of physiology during a run.

    Parameters
    ----------
    recording : Recording
        Around the run, on its time.
    peaks : Peaks
        Of it; `onset_s` from its first sample.
    coverage : float
        Share of the run that is recorded.
    how : str
        How it was placed in time.
    given : bool
        Whether the peaks are the user's.
    path : Path or None
        File it comes from.
    """

    recording: Recording
    peaks: Peaks
    coverage: float
    how: str = ""
    given: bool = False
    path: Path | None = None

    @property
    def peaks_s(self) -> NDArray[np.float64]:
        """Times of the peaks, s from the first volume."""
        return (self.recording.start_s or 0.0) + self.peaks.onset_s

    @property
    def rates_hz(self) -> NDArray[np.float64]:
        """Rate of each interval between peaks, Hz, those left out in which beats or breaths were lost."""
        return 1 / np.diff(self.peaks.onset_s)[_single(self.peaks)]


def _single(peaks: Peaks) -> NDArray[np.bool_]:
    if peaks.kind == "cardiac":
        return whole_beats(peaks.onset_s)
    return np.diff(peaks.onset_s) <= _LONGEST_BREATH_S


@dataclass(frozen=True, eq=False)
class Physiology:
    """All that is known of a run's pulse and breathing.

    Parameters
    ----------
    cardiac, respiratory : Channel or None
        None where nothing covers the run.
    notes : tuple of str
        What people should know of where they come from.
    times : Overlap
        Of all recordings and runs of the person's session.
    given : Path or None
        Table of peaks that the user gave.
    """

    cardiac: Channel | None = None
    respiratory: Channel | None = None
    notes: tuple[str, ...] = ()
    times: Overlap | None = field(default=None, repr=False)
    given: Path | None = None

    @property
    def channels(self) -> dict[str, Channel]:
        """Those that are there, by kind."""
        both = {"cardiac": self.cardiac, "respiratory": self.respiratory}
        return {kind: channel for kind, channel in both.items() if channel is not None}

    @property
    def files(self) -> list[Path]:
        """Files that are used, each once."""
        files = (*(one.path for one in self.channels.values()), self.given)
        return list(dict.fromkeys(path for path in files if path is not None))

    def cardiac_phase(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Phase of the heartbeat at times, rad; NaN where not known."""
        if self.cardiac is None:
            return np.full(times_s.shape, np.nan)
        return cardiac_phase(self.cardiac.peaks_s, times_s)

    def belt(self, times_s: NDArray[np.float64], before_s: float = 0.0) -> tuple[NDArray[np.float64], float, float] | None:
        """Chest position around a run (and so long before it), its rate (Hz) and start (s); None without a recording."""
        if self.respiratory is None:
            return None
        recording = self.respiratory.recording
        wave, start_s = steady_belt(recording, float(times_s.min()) - before_s, float(times_s.max()))
        return wave, recording.rate_hz, start_s

    def respiratory_phase(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Phase of breathing at times, rad; NaN where not known."""
        belt = self.belt(times_s)
        return np.full(times_s.shape, np.nan) if belt is None else respiratory_phase(*belt, times_s)
