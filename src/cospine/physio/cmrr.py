"""Logs of the CMRR multiband sequence: `_Info`, `_PULS`, `_RESP`, `_ECG`, `_EXT`, as files or inside one DICOM file.

Every line carries its time in tics of 2.5 ms since midnight, on the clock that images carry. The nominal distance of samples
is `SampleTime` tics; what is missing shows as a larger distance, and every so often a sample comes a tic early. `_Info` lists
the time of each slice; a common UUID ties the logs of one run together.
"""

import io
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.physio.channels import are_volumes
from cospine.physio.recording import Kind, Recording, Sensor

_LOG = logging.getLogger(__name__)

TIC_S = 0.0025
_DAY_TICS = 34_560_000

_CHANNELS: dict[str, tuple[Kind, Sensor]] = {
    "PULS": ("cardiac", "ppg"),
    "RESP": ("respiratory", "belt"),
    "ECG": ("cardiac", "ecg"),
    "EXT": ("trigger", ""),
}
_HEAD = re.compile(r"^[ \t]*(UUID|LogDataType|SampleTime)[ \t]*=[ \t]*(\S{1,100})[ \t]*\r?$", re.MULTILINE)
_SAMPLE = re.compile(r"^[ \t]*(\d{1,9})[ \t]+([A-Z]{1,8}\d?)[ \t]+(-?\d{1,9})(?:[ \t]+(\w{1,20}))?", re.MULTILINE)
_SLICE = re.compile(r"^[ \t]*(\d{1,7})[ \t]+\d{1,7}[ \t]+(\d{1,9})[ \t]+\d{1,9}(?:[ \t]+\d{1,4})?[ \t]*\r?$", re.MULTILINE)
_INFO = "ACQUISITION_INFO"


@dataclass(frozen=True, eq=False)
class Log:
    """One log, as it stands.

    Attributes
    ----------
    name : str
        Of the file.
    holds : str
        `PULS`, `RESP`, `ECG`, `EXT` or `ACQUISITION_INFO`.
    uuid : str
        Common to the logs of a run; empty when there is none.
    sample_tics : int
        Nominal distance of samples; 0 in `ACQUISITION_INFO`.
    channels : mapping of str to (tics, values, marks)
        By channel (`ECG1` .. `ECG4`): times (n,) tics since midnight of the first day, values (n,), own triggers (n,) bool.
    volume_tics : ndarray (v,)
        Starts of volumes.
    """

    name: str
    holds: str
    uuid: str
    sample_tics: int = 0
    channels: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]] = field(default_factory=dict)
    volume_tics: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def parse_log(data: bytes, name: str = "") -> Log:
    """Read one log.

    Raises
    ------
    CoSpineError
        When it is no CMRR log, or names no sampling distance.
    """
    text = data.decode("latin-1")
    head = dict(reversed(_HEAD.findall(text)))  # the first of each counts
    holds = head.get("LogDataType", "")
    if holds == _INFO:
        return Log(name, holds, head.get("UUID", ""), volume_tics=_volumes(text))
    if holds not in _CHANNELS:
        raise CoSpineError("is no physiological log of the CMRR sequence", name, "Give its _PULS, _RESP, _ECG, _EXT or _Info log")
    distance = head.get("SampleTime", "")
    if not distance.isascii() or not distance.isdigit() or not 0 < int(distance[:6]) <= 100_000:
        raise CoSpineError("names no sampling distance (SampleTime)", name, "Copy the log from the scanner again")
    rows: dict[str, list[tuple[int, int, bool]]] = {}
    for tic, channel, value, signal in _SAMPLE.findall(text):
        if channel.startswith(holds):
            # a log may repeat the triggers of the others; its own are named after it
            rows.setdefault(channel, []).append((int(tic), int(value), signal.startswith(holds)))
    channels = {}
    for channel in sorted(rows):
        tics, values, marks = (np.array(column) for column in zip(*rows[channel], strict=True))
        channels[channel] = _in_order(_over_midnight(tics), values, marks.astype(bool), name)
    return Log(name, holds, head.get("UUID", ""), int(distance), channels)


def join_logs(logs: Sequence[Log]) -> tuple[Recording, ...]:
    """Make recordings of the logs of one run.

    Parameters
    ----------
    logs : sequence of Log
        Of one run; `ACQUISITION_INFO` gives every recording the starts of the volumes.

    Returns
    -------
    tuple of Recording
        One a channel, each with a clock of its own; gaps where samples are missing. Of the leads of an ECG the first that changes
        is the cardiac channel, the others are "other".

    Raises
    ------
    CoSpineError
        When the logs are of different runs.
    """
    uuids = {log.uuid for log in logs if log.uuid}
    if len(uuids) > 1:
        raise CoSpineError(
            f"are logs of {len(uuids)} different runs (UUID)",
            ", ".join(log.name for log in logs),
            "Give the logs of each run apart",
        )
    volumes = np.unique(np.concatenate([np.empty(0, np.int64), *(log.volume_tics for log in logs)]))
    recordings = []
    for log in logs:
        for channel, (tics, values, marks) in log.channels.items():
            recordings.append(_recording(log, channel, tics, values, marks, volumes))
        if not log.channels and log.holds != _INFO:
            _LOG.warning("%s: holds no sample", log.name)
    return tuple(_one_cardiac_lead(recordings))


def parse_dicom(data: bytes, name: str = "") -> tuple[Recording, ...]:
    """Read the logs that the sequence stores inside a DICOM file (software VD and VE).

    Raises
    ------
    CoSpineError
        When pydicom is not installed, or the file holds no such logs.
    """
    try:
        import pydicom
    except ImportError as error:
        raise CoSpineError("is a DICOM file, and pydicom is not installed", name, "pip install cospine[physio]") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that nobody asks for
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=[(0x0020, 0x0012), (0x7FE1, 0x0010), (0x7FE1, 0x1010)])
            packed = dataset[0x7FE1, 0x1010].value if (0x7FE1, 0x1010) in dataset else b""
            n_rows = int(dataset.get("AcquisitionNumber") or 0)
        except Exception as error:  # pydicom raises nearly anything on damaged files
            raise CoSpineError(f"cannot be read as DICOM ({error})", name, "Copy the file again") from error
    files = _unpack(bytes(packed or b""), n_rows, name)
    recordings = join_logs([parse_log(content, file) for file, content in files])
    if not recordings:
        raise CoSpineError("holds no physiological samples", name, "Give the DICOM file of the _PhysioLog series")
    return recordings


def _unpack(packed: bytes, n_rows: int, name: str) -> list[tuple[str, bytes]]:
    """Files inside the element: equal parts of 1024 bytes a row; a header of two lengths and the name, the text at 1024."""
    part = 1024 * n_rows
    if not packed or part <= 0 or len(packed) % part:
        raise CoSpineError(
            "is a DICOM file without physiological logs", name, "Give the one of the _PhysioLog series (software VD or VE)"
        )
    files = []
    for begin in range(0, len(packed), part):
        n_bytes, n_name = (int.from_bytes(packed[at : at + 4], "little") for at in (begin, begin + 4))
        if not 0 < n_name <= 1016 or n_bytes > part - 1024:
            raise CoSpineError("holds logs whose lengths make no sense", name, "Export the series again")
        file = packed[begin + 8 : begin + 8 + n_name].decode("latin-1")
        files.append((file, packed[begin + 1024 : begin + 1024 + n_bytes]))
    return files


# --- from lines to samples ------------------------------------------------------------------------------------------


def _volumes(text: str) -> NDArray[np.int64]:
    rows = np.array([(int(volume), int(tic)) for volume, tic in _SLICE.findall(text)], dtype=np.int64).reshape(-1, 2)
    if not rows.size:
        return np.empty(0, np.int64)
    tics = _over_midnight(rows[:, 1])
    order = np.lexsort((tics, rows[:, 0]))
    _, first = np.unique(rows[order, 0], return_index=True)
    return tics[order][first]


def _over_midnight(tics: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tics counted on where they begin again at midnight."""
    tics = tics.astype(np.int64)
    return tics + _DAY_TICS * np.cumsum(np.diff(tics, prepend=tics[:1]) < -_DAY_TICS // 2)


def _in_order(
    tics: NDArray[np.int64], values: NDArray[np.int64], marks: NDArray[np.bool_], name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    _, first = np.unique(tics, return_index=True)
    if first.size < tics.size or np.any(np.diff(tics) < 0):
        _LOG.warning("%s: lines out of order or repeated; sorted, and the first of each time kept", name)
    return tics[first], values[first].astype(np.int64), marks[first]


def _recording(
    log: Log,
    channel: str,
    tics: NDArray[np.int64],
    values: NDArray[np.int64],
    marks: NDArray[np.bool_],
    volumes: NDArray[np.int64],
) -> Recording:
    kind, sensor = _CHANNELS[log.holds]
    steps = np.maximum(1, np.rint(np.diff(tics) / log.sample_tics).astype(np.int64))
    place = np.concatenate([[0], np.cumsum(steps)])
    if place[-1] * log.sample_tics > _DAY_TICS:
        raise CoSpineError("lasts longer than a day", log.name, "Copy the log from the scanner again")
    # Now and then a sample comes a tic early; only what adds up to more than a sample says that the recorder's clock differs.
    span = int(tics[-1] - tics[0])
    drifts = abs(span - int(place[-1]) * log.sample_tics) > log.sample_tics
    tics_each = span / int(place[-1]) if drifts else float(log.sample_tics)
    # The trigger's log has lines only while it is up.
    samples = np.full(int(place[-1]) + 1, 0.0 if kind == "trigger" else np.nan)
    samples[place] = values
    rate_hz = 1.0 / (TIC_S * tics_each)
    slip_s = float(np.abs(tics - tics[0] - place * tics_each).max()) * TIC_S
    if slip_s > max(1.5 / rate_hz, 0.02):
        _LOG.warning("%s: samples lie up to %.3f s beside an even spacing", log.name, slip_s)
    volumes_s = (_same_day(volumes, tics) - tics[0]) * TIC_S
    marks_s = place[marks] / rate_hz
    if kind == "trigger" and not volumes_s.size:
        up_s = place[np.diff(place, prepend=-2) > 1] / rate_hz
        volumes_s = up_s if are_volumes(up_s, rate_hz) else volumes_s
    return Recording(
        kind=kind,
        samples=samples,
        rate_hz=rate_hz,
        clock_s=float(tics[0]) * TIC_S % (_DAY_TICS * TIC_S),
        sensor=sensor,
        marks_s=marks_s,
        volumes_s=volumes_s,
        limits=(0.0, 4095.0) if log.holds in ("PULS", "RESP") else None,
        source=log.name if len(log.channels) == 1 else f"{log.name} {channel}",
    )


def _same_day(volumes: NDArray[np.int64], tics: NDArray[np.int64]) -> NDArray[np.int64]:
    """Volumes counted from the same midnight as the samples: the day in which they lie nearest to the recording's middle."""
    if not volumes.size:
        return volumes
    days = round(float(tics[0] + tics[-1] - volumes[0] - volumes[-1]) / (2 * _DAY_TICS))
    return volumes + days * _DAY_TICS


def _one_cardiac_lead(recordings: list[Recording]) -> list[Recording]:
    """An ECG of several leads sees one heart: the first lead that changes stays the cardiac channel."""
    leads = [one for one in recordings if one.sensor == "ecg"]
    best = next((one for one in leads if np.nanmax(one.samples) > np.nanmin(one.samples)), leads[0] if leads else None)
    return [replace(one, kind="other") if one.sensor == "ecg" and one is not best else one for one in recordings]
