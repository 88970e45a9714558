"""Heartbeats and breaths of a recording.

The detectors are our own: those of libraries (NeuroKit2 0.2.13, peakdet) find peaks one by one, and fall to F1 0.95 (pulse) and
0.7-0.9 (belt) where fingers move, gains saturate and sensors come off. Ours share one idea: candidates are weighed by their size
and shape, and the best sequence is found by dynamic programming, in which rhythm says as much as the signal leaves open.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.physio.breaths import find_breaths
from cospine.physio.ecg import find_r_peaks
from cospine.physio.events import Events
from cospine.physio.filters import zero_phase
from cospine.physio.pulse import find_pulses
from cospine.physio.recording import Kind, Recording
from cospine.physio.signal_quality import SignalQuality, by_window, filled, lost_samples

_LOG = logging.getLogger(__name__)

__all__ = ["Peaks", "SignalQuality", "find_peaks"]

# Slower sampling shows no beats or breaths, Hz.
_SLOWEST_HZ = {"cardiac": 10.0, "respiratory": 3.0}
# Height of an electrocardiogram's fast part against its slow part, and against its own root mean square, at least.
_FAST_SHARE, _CREST = 0.2, 3.6
# A window holds several events: s.
WINDOW_S = {"cardiac": 10.0, "respiratory": 30.0}


@dataclass(frozen=True, eq=False)
class Peaks:
    """Heartbeats or breaths.

    Parameters
    ----------
    kind : {"cardiac", "respiratory"}
    onset_s : ndarray (p,)
        Systolic maxima (pulse), R peaks (electrocardiogram) or ends of inspiration (belt), s from the recording's first sample.
    quality : ndarray (p,)
        0-1: how much the event looks like the others; at most 0.3 where it was put in.
    mended : ndarray (p,) of bool
        Put in from the rhythm around, not seen.
    windows : SignalQuality
        Quality of the signal by window.
    """

    kind: Kind
    onset_s: NDArray[np.float64]
    quality: NDArray[np.float64]
    mended: NDArray[np.bool_]
    windows: SignalQuality

    @property
    def rate_per_min(self) -> NDArray[np.float64]:
        """Rate (p-1,) from each event to the next, 1/min."""
        return 60.0 / np.diff(self.onset_s)


def find_peaks(recording: Recording) -> Peaks:
    """Find heartbeats or breaths.

    Recordings too short to tell (3 s of pulse, 6 s of breathing), too slowly sampled (10 Hz, 3 Hz) or without signal give none.

    Parameters
    ----------
    recording : Recording
        Of kind "cardiac" or "respiratory". A cardiac one whose sensor is not known is told by its waves.

    Raises
    ------
    CoSpineError
        For any other kind.
    """
    samples, rate_hz = np.asarray(recording.samples, dtype=np.float64), recording.rate_hz
    samples = np.where(np.isfinite(samples), samples, np.nan)
    if recording.kind not in _SLOWEST_HZ:
        raise CoSpineError(
            f"a recording of kind {recording.kind} has no beats or breaths",
            recording.source,
            "Give a cardiac or respiratory channel",
        )
    if rate_hz < _SLOWEST_HZ[recording.kind]:
        _LOG.warning("%s: %g Hz is too slow a sampling to show any %s event", recording.source, rate_hz, recording.kind)
        events = Events.none(~np.isfinite(samples))
    elif recording.kind == "respiratory":
        events = find_breaths(samples, rate_hz, recording.limits)
    elif recording.sensor == "ecg" or (recording.sensor == "" and _is_electrocardiogram(samples, rate_hz)):
        events = find_r_peaks(samples, rate_hz)
    else:
        events = find_pulses(samples, rate_hz, recording.limits)
    windows = by_window(recording.duration_s, WINDOW_S[recording.kind], events.onset_s, events.quality, events.lost, rate_hz)
    return Peaks(recording.kind, events.onset_s, events.quality, events.mended, windows)


def _is_electrocardiogram(samples: NDArray[np.float64], rate_hz: float) -> bool:
    """R waves are narrow: above 8 Hz an electrocardiogram has much power, a pulse little; and in spikes, unlike noise."""
    if rate_hz < 25.0:
        return False
    lost = lost_samples(samples, rate_hz, 0.6, 1.2)
    if np.count_nonzero(~lost) < 3.0 * rate_hz:
        return False
    whole = filled(samples, lost)
    high = min(40.0, 0.45 * rate_hz)
    fast = zero_phase(whole, rate_hz, (8.0, high), "bandpass")[~lost]
    slow = zero_phase(whole, rate_hz, (0.7, 8.0), "bandpass")[~lost]
    # of stretches that hold a beat, so that a few movements do not decide
    stretch = int(1.5 * rate_hz)
    n = fast.size // stretch
    spikes, waves = (np.abs(part[: n * stretch]).reshape(n, stretch) for part in (fast, slow))
    highest = spikes.max(axis=1)
    crest = np.median(highest / np.maximum(np.sqrt(np.mean(spikes**2, axis=1)), 1e-300))
    return bool(np.median(highest) > _FAST_SHARE * np.median(waves.max(axis=1)) and crest > _CREST)
