"""Pulse and breathing as the scanner's monitoring unit records them, in BIDS form and as Siemens PMU logs.

Both are 400 Hz integers of 12 bits. The two channels are switched on and off by hand: they start apart from
each other, well before the run, and end after it. A PMU log counts its own clock (MPCU) beside the
scanner's (MDH, the one that images carry); the two differ by seconds.
"""

import gzip
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.phantom.physiology import Physiology
from cospine.phantom.sensors import RATE_HZ, TOP, TYPICAL, Sensors, belt, disturb, photoplethysmogram

_DAY_MS = 86_400_000

# First words of a log, by channel, as VE11 writes them; their meaning is not published.
_HEAD = {"cardiac": "1 2 40 280", "respiratory": "1 2 20 2"}
_LOG_NAME = {"cardiac": "PULS", "respiratory": "RESP"}
_HARDWARE = (
    "uiHwRevisionPeru/ucHWRevLevel: 15, uiPartNbrPeruPub: 0, uiHwRevisionPpu/ucSWSubRevLevel: 127, "
    "uiPartNbrPpuPub: 32520, uiSwVersionPdau/ucSWMainRevLevel: 8"
)


@dataclass(frozen=True)
class Recording:
    """One channel.

    Attributes
    ----------
    kind : {"cardiac", "respiratory"}
    samples : ndarray of int16, shape (n,)
        0 to 4095, at 400 Hz.
    start_s : float
        Time of the first sample, s from the first volume (negative: before it).
    triggers : ndarray of int, shape (m,)
        Samples at which the monitoring unit believed to see a pulse or a breath; late, and not always right.
    peaks_s : ndarray, shape (p,)
        Truth: systolic maxima, or ends of inspiration, within the recording, s from the first volume.
    visible : ndarray of bool, shape (p,)
        Peaks at which the sensor was on.
    """

    kind: str
    samples: NDArray[np.int16]
    start_s: float
    triggers: NDArray[np.int64]
    peaks_s: NDArray[np.float64]
    visible: NDArray[np.bool_]

    @property
    def end_s(self) -> float:
        """Time of the last sample, s from the first volume."""
        return self.start_s + (self.samples.size - 1) / RATE_HZ


def record(physiology: Physiology, duration_s: float, seed: int, sensors: Sensors = TYPICAL) -> dict[str, Recording]:
    """Record pulse and breathing of a run.

    Parameters
    ----------
    physiology : Physiology
    duration_s : float
        Length of the run.
    seed : int
    sensors : Sensors
        How good they are; what this adds to the signal changes nothing else that is drawn.

    Returns
    -------
    dict
        "cardiac" and "respiratory".
    """
    rng = np.random.default_rng([seed, 0x8EC0])
    recordings = {}
    for number, kind in enumerate(("cardiac", "respiratory")):
        first = rng.uniform(0.15, 0.9) * physiology.start_s
        last = duration_s + rng.uniform(0.1, 0.9) * (physiology.end_s - duration_s)
        # Samples fall on the recorder's clock, which knows nothing of the volumes.
        start = round(first, 4)
        t = start + np.arange(int((last - start) * RATE_HZ)) / RATE_HZ
        if kind == "cardiac":
            volts, peaks = photoplethysmogram(physiology, t, rng, sensors.noise), physiology.beat_times_s
            triggers = _triggers(peaks, t, rng, late_s=0.05, spread_s=0.01, missed=0.01)
        else:
            volts, peaks = belt(physiology, t, rng, sensors.noise), physiology.peak_times_s
            triggers = _triggers(peaks, t, rng, late_s=-0.4, spread_s=0.15, missed=0.05)
        volts, off = disturb(volts, t, kind, sensors, np.random.default_rng([seed, 0xFA17, number]))
        samples = np.clip(np.round(volts), 0, TOP).astype(np.int16)
        peaks = peaks[(peaks >= t[0]) & (peaks <= t[-1])]
        visible = ~off[np.round((peaks - t[0]) * RATE_HZ).astype(int).clip(0, t.size - 1)]
        recordings[kind] = Recording(kind, samples, start, triggers[~off[triggers]], peaks, visible)
    return recordings


def _triggers(
    peaks: NDArray[np.float64], t: NDArray[np.float64], rng: np.random.Generator,
    late_s: float, spread_s: float, missed: float,
) -> NDArray[np.int64]:  # fmt: skip
    marks = peaks + late_s + spread_s * rng.standard_normal(peaks.size)
    marks = np.sort(marks[rng.random(peaks.size) >= missed])
    marks = marks[(marks > t[0] + 0.1) & (marks < t[-1] - 0.1)]
    return np.unique(np.round((marks - t[0]) * RATE_HZ).astype(np.int64))


# --- BIDS ---------------------------------------------------------------------------------------------------


def bids_table(recording: Recording, n_volumes: int, tr_s: float) -> bytes:
    """Gzip-compressed table without header: the signal and a trigger (1 at the start of each volume).

    The bytes depend on nothing but the content (no time stamp).
    """
    trigger = np.zeros(recording.samples.size, dtype=np.int16)
    marks = np.ceil((np.arange(n_volumes) * tr_s - recording.start_s) * RATE_HZ - 1e-6).astype(np.int64)
    trigger[marks[(marks >= 0) & (marks < trigger.size)]] = 1
    rows = "\n".join(f"{value}\t{mark}" for value, mark in zip(recording.samples, trigger, strict=True))
    return gzip.compress(f"{rows}\n".encode(), compresslevel=6, mtime=0)


def bids_sidecar(recording: Recording, task: str | None = None) -> dict[str, Any]:
    """Sidecar of :func:`bids_table`; ``StartTime`` in s relative to the first volume."""
    signal = {
        "cardiac": "Pulse at the finger (photoplethysmogram)",
        "respiratory": "Pressure of the breathing belt's cushion, up with inspiration",
    }[recording.kind]
    sidecar: dict[str, Any] = {
        "PhysioType": "generic",
        "SamplingFrequency": RATE_HZ,
        "StartTime": recording.start_s,
        "Columns": [recording.kind, "trigger"],
        "Manufacturer": "Siemens",
        "ManufacturersModelName": "Physiologic Monitoring Unit (PMU)",
        recording.kind: {"Description": signal, "Units": "arbitrary"},
        "trigger": {
            "Description": "1 at the first sample after the start of each volume",
            "Units": "arbitrary",
        },
    }
    if task is not None:
        sidecar["TaskName"] = task
    return sidecar


# --- Siemens PMU --------------------------------------------------------------------------------------------


def draw_mpcu_offset_ms(seed: int) -> int:
    """How far the recorder's clock is ahead of the scanner's, ms; one figure for a session."""
    rng = np.random.default_rng([seed, 0x3BC0])
    return int(rng.integers(300, 2500)) * int(rng.choice([-1, 1]))


def pmu_log(
    recording: Recording,
    first_volume_s: float,
    mpcu_offset_ms: int,
    info_interval_s: float = 60.0,
) -> str:
    """Siemens log (``.puls`` or ``.resp``) as software version VE11 writes it.

    One long line holds four words of unknown meaning, a ``5002 .. 6002`` block with the version, the
    samples with a 5000 after each trigger, further ``5002 .. 6002`` blocks among them, and 5003 at the end;
    then come the statistics and the times, ms since midnight, of the first and last sample on the scanner's
    (MDH) and the recorder's (MPCU) clock.

    Parameters
    ----------
    recording : Recording
    first_volume_s : float
        Scanner time of the first volume, s since midnight (its sidecar's ``AcquisitionTime``).
    mpcu_offset_ms : int
        MPCU minus MDH.
    info_interval_s : float
        Time between information blocks; 0 for none but the first.
    """
    name = _LOG_NAME[recording.kind]
    words = [f"{_HEAD[recording.kind]} 5002 LOGVERSION_{name}   1 6002"]
    after: dict[int, list[str]] = {}
    for trigger in recording.triggers:
        after.setdefault(int(trigger), []).append("5000")
    if info_interval_s > 0:
        # The first after half a second, as in real logs.
        for sample in range(206, recording.samples.size, int(info_interval_s * RATE_HZ)):
            after.setdefault(sample, []).append(f"5002 {_HARDWARE} 6002")
    last = 0
    for sample in sorted(after):
        words.append(" ".join(map(str, recording.samples[last : sample + 1].tolist())))
        words += after[sample]
        last = sample + 1
    words.append(" ".join(map(str, recording.samples[last:].tolist())))
    line = " ".join(word for word in words if word)

    start_ms = round(1000.0 * (first_volume_s + recording.start_s))
    stop_ms = round(1000.0 * (first_volume_s + recording.end_s))
    footer = [
        *_rates(recording),
        "NrTrig NrMP NrArr AcqWin: 0 0 0 0",
        f"LogStartMDHTime:  {start_ms % _DAY_MS}",
        f"LogStopMDHTime:   {stop_ms % _DAY_MS}",
        f"LogStartMPCUTime: {(start_ms + mpcu_offset_ms) % _DAY_MS}",
        f"LogStopMPCUTime:  {(stop_ms + mpcu_offset_ms) % _DAY_MS}",
        "6003",
    ]
    return "\n".join([f"{line} 5003", *footer])


def _rates(recording: Recording) -> list[str]:
    """The footer's statistics by channel: last rate (1/min) and period (ms), extremes of the periods."""
    periods = np.diff(recording.triggers) * 1000 // RATE_HZ
    own = _LOG_NAME[recording.kind]
    frequency, spread = [], []
    for channel in ("ECG ", "PULS", "RESP", "EXT ", "EXT2 "):
        rate, extremes = "0 0", "0 0 0 0"
        if channel == own and periods.size > 1:
            rate = f"{60000 // periods[-1]} {periods[-1]}"
            deviation = int(np.abs(np.diff(periods)).std())
            extremes = f"{periods.min()} {periods.max()} {int(periods.mean())} {deviation}"
        frequency.append(f"{channel} Freq Per: {rate}")
        spread.append(f"{channel} Min Max Avg StdDiff: {extremes}")
    return frequency + spread


def sidecar_text(sidecar: dict[str, Any]) -> str:
    """JSON as every sidecar of the dataset is written."""
    return json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n"
