"""Philips SCANPHYSLOG files.

Lines of ten or more columns, named in the last comment line: two leads of the vector ECG raw and filtered, pulse oximeter,
bellows, gradients, and hexadecimal marks. Unused sensors are 0 throughout.
"""

import logging
import re

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.physio.recording import Kind, Recording, Sensor

_LOG = logging.getLogger(__name__)

RATE_HZ = 500.0
"""Wired sensors; wireless ones have 496 Hz, and the file says neither."""

# Filtered leads only, the first as the cardiac channel: the raw ones carry the gradients' noise.
_CHANNELS: dict[str, tuple[Kind, Sensor, int]] = {
    "v1": ("cardiac", "ecg", 0x01),
    "v2": ("other", "ecg", 0x01),
    "ppu": ("cardiac", "ppg", 0x02),
    "resp": ("respiratory", "belt", 0x04),
}
_STOP = 0x20
_NAMES = re.compile(r"^#[ \t]*(v1raw[ \ta-z0-9]{0,200})", re.MULTILINE | re.IGNORECASE)
_HEX = re.compile(r"[0-9a-fA-F]{1,8}")
_NUMBER = re.compile(r"-?\d{1,10}")


def parse_scanphyslog(data: bytes, name: str = "", rate_hz: float | None = None) -> tuple[Recording, ...]:
    """Read a SCANPHYSLOG file.

    Parameters
    ----------
    data : bytes
    name : str
        Of the file, for messages.
    rate_hz : float, optional
        496 for wireless sensors; 500 by default.

    Returns
    -------
    tuple of Recording
        A channel for each sensor that was in use. Neither clock is set: the header's time has whole seconds, and the mark of the
        scan's start comes before preparation and dummy volumes. The end of the scan (mark 0x20) is told in the log.

    Raises
    ------
    CoSpineError
        When it is no such file or holds no sample.
    """
    text = data.decode("latin-1")
    header = _NAMES.search(text)
    if header is None:
        raise CoSpineError("is no SCANPHYSLOG file", name, "Give the SCANPHYSLOG...log that the scanner wrote")
    columns = header[1].lower().split()
    rows, dropped = _rows(text, columns)
    if dropped:
        _LOG.warning("%s: %d lines that do not have %d columns were left out", name, dropped, len(columns))
    if not rows.size:
        raise CoSpineError("holds no sample", name, "Look whether the recording was stopped before it began")
    rate = rate_hz or RATE_HZ
    if rate_hz is None:
        _LOG.warning("%s: does not say its sampling rate; %g Hz is assumed (496 Hz with wireless sensors: --rate)", name, rate)
    marks = rows[:, columns.index("mark")] if "mark" in columns else np.zeros(len(rows), np.int64)
    stops = np.flatnonzero(marks & _STOP)
    if stops.size:
        _LOG.info("%s: the scan ends %.3f s after the first sample", name, stops[-1] / rate)
    recordings = []
    for column, (kind, sensor, bit) in _CHANNELS.items():
        if column not in columns or not rows[:, columns.index(column)].any():
            continue
        recordings.append(
            Recording(
                kind=kind,
                samples=rows[:, columns.index(column)].astype(np.float64),
                rate_hz=rate,
                sensor=sensor,
                marks_s=np.flatnonzero(marks & bit) / rate,
                source=f"{name} {column}",
            )
        )
    if not recordings:
        raise CoSpineError("has no sensor that was in use: all are 0", name, "Look whether sensors were connected")
    return tuple(recordings)


def _rows(text: str, columns: list[str]) -> tuple[NDArray[np.int64], int]:
    """Table (n, columns), marks as numbers; and how many lines had to be left out."""
    hexadecimal = [column.startswith("mark") for column in columns]
    rows: list[list[int]] = []
    dropped = 0
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        cells = line.split()
        whole = len(cells) == len(columns) and all(
            (_HEX if is_hex else _NUMBER).fullmatch(cell) for cell, is_hex in zip(cells, hexadecimal, strict=True)
        )
        if whole:
            rows.append([int(cell, 16 if is_hex else 10) for cell, is_hex in zip(cells, hexadecimal, strict=True)])
        else:
            dropped += 1
    return np.array(rows, dtype=np.int64).reshape(-1, len(columns)), dropped
