"""Recordings in BIDS form: the columns of a `_physio.tsv.gz` and its sidecar."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.physio.recording import Recording
from cospine.physio.tables import CLOCK, RANGE, START_UNKNOWN

_WORDS = {
    ("cardiac", "ppg"): "Pulse, photoplethysmogram",
    ("cardiac", "ecg"): "Electrocardiogram",
    ("cardiac", ""): "Pulse",
    ("respiratory", "belt"): "Breathing, up with inspiration where the sensor is a belt",
}


def bids_columns(recording: Recording) -> dict[str, NDArray[np.float64]]:
    """Columns of the table: the samples under the name of their kind, and a trigger where volumes were marked.

    Returns
    -------
    dict of str to ndarray (n,)
        `trigger` is 1 at the first sample at or after the start of each volume, else 0.
    """
    columns: dict[str, NDArray[np.float64]] = {recording.kind: recording.samples}
    if recording.volumes_s.size:
        trigger = np.zeros(recording.samples.size)
        places = np.ceil(recording.volumes_s * recording.rate_hz - 1e-3).astype(np.int64)
        trigger[places[(places >= 0) & (places < trigger.size)]] = 1.0
        columns["trigger"] = trigger
    return columns


def bids_sidecar(recording: Recording) -> dict[str, Any]:
    """Sidecar of :func:`bids_columns`.

    `StartTime` is in s from the first volume. Where that is not known it is 0, since BIDS wants a number, and `StartTimeUnknown`
    says so; the scanner's clock, where it is known, is kept as `ClockTime`, so that the recording can still be placed.
    """
    sidecar: dict[str, Any] = {
        "PhysioType": "generic",
        "SamplingFrequency": recording.rate_hz,
        "StartTime": 0.0 if recording.start_s is None else round(recording.start_s, 6),
        "Columns": list(bids_columns(recording)),
        recording.kind: {
            "Description": _WORDS.get((recording.kind, recording.sensor), "Breathing"),
            "Units": "arbitrary",
        },
        "SourceFile": recording.source,
    }
    if recording.start_s is None:
        sidecar[START_UNKNOWN] = True
    if recording.clock_s is not None:
        sidecar[CLOCK] = round(recording.clock_s, 6)
    if recording.limits is not None:
        sidecar[RANGE] = list(recording.limits)
    if recording.volumes_s.size:
        sidecar["trigger"] = {"Description": "1 at the first sample at or after the start of each volume", "Units": "arbitrary"}
    return sidecar
