"""Columns of text: BIDS `_physio.tsv.gz` with its sidecar, as found in the wild, and plain columns with a rate (GE and others).

What a sidecar says of time comes in three dialects, told apart by size: no recording starts an hour after its run, and no
recording's time of day in milliseconds is below 24 hours' number of seconds (but for the first 86 s of a day).
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.bids.clock import DAY_S
from cospine.bids.tables import NOT_AVAILABLE, number, words
from cospine.errors import CoSpineError
from cospine.physio.channels import are_volumes, kind_of, rising_edges
from cospine.physio.recording import Kind, Recording, Sensor

_LOG = logging.getLogger(__name__)

START_UNKNOWN = "StartTimeUnknown"
"""Key of our own sidecars: true where nobody said when the first volume was; `StartTime` is then 0 to please BIDS."""

CLOCK = "ClockTime"
"""Key of our own sidecars: scanner time of the first sample, s since midnight."""

RANGE = "ConverterRange"
"""Key of our own sidecars: lowest and highest value that the recorder can write; samples there are clipped."""

_HOUR_S = 3600.0
_PMU_TOP = 4095
_RECORDING = re.compile(r"_recording-([A-Za-z0-9]+)_")
_TIME_COLUMN = re.compile(r"^(time|timestamp|t|index|sample)(_?(s|ms|sec))?$", re.IGNORECASE)
# Breaths are further apart than this, beats nearer.
_BREATH_S = 1.6


@dataclass(frozen=True)
class _Table:
    """Values (n, columns), NaN where not available, and the header's names, if there is a header."""

    values: NDArray[np.float64]
    header: tuple[str, ...] | None


def parse_table(
    data: bytes, sidecar: Mapping[str, Any] | None = None, name: str = "", rate_hz: float | None = None
) -> tuple[Recording, ...]:
    """Read columns of numbers.

    Parameters
    ----------
    data : bytes
        Text, not compressed; columns parted by tabs, commas, semicolons or spaces; a header line or none.
    sidecar : mapping, optional
        BIDS metadata: `SamplingFrequency`, `StartTime`, `Columns`, `Duration`, `Manufacturer`.
    name : str
        Of the file: says what was recorded where columns are not named, and errors name it.
    rate_hz : float, optional
        Sampling rate, in place of the sidecar's.

    Returns
    -------
    tuple of Recording
        One a column, all with the same start; `n/a` is a gap. A trigger column paced as volumes are becomes `volumes_s` of every
        channel; one that is not (some scanners write the pulses they see there) becomes `marks_s`. It is a recording of its own
        only where there is nothing else.

    Raises
    ------
    CoSpineError
        When this is no table of numbers, or its rate is not known.
    """
    described = {} if sidecar is None else sidecar
    table = _read(data, name)
    names = _names(table, words(described, "Columns"), name)
    rate = _rate(described, rate_hz, name)
    start_s, clock_s, note = start_of(described)
    if note:
        _LOG.warning("%s: %s", name, note)
    _check_duration(described, len(table.values), rate, name)

    kinds = [_kind(column, table.values[:, at], name) for at, column in enumerate(names)]
    triggers = [rising_edges(table.values[:, at], rate) for at, (kind, _) in enumerate(kinds) if kind == "trigger"]
    triggers = [times for times in triggers if times.size]
    volumes_s = next((times for times in triggers if are_volumes(times, rate)), np.empty(0))
    marks_s = next((times for times in triggers if not are_volumes(times, rate)), np.empty(0))
    marked = _marked_kind(marks_s, [kind for kind, _ in kinds])
    none = np.empty(0)
    recordings = []
    for at, (kind, sensor) in enumerate(kinds):
        if _TIME_COLUMN.match(names[at]):
            continue
        samples = np.ascontiguousarray(table.values[:, at])
        recordings.append(
            Recording(
                kind=kind,
                samples=samples,
                rate_hz=rate,
                start_s=start_s,
                clock_s=clock_s,
                sensor=sensor,
                marks_s=rising_edges(samples, rate)
                if kind == "other" and _is_marks(samples)
                else marks_s
                if kind == marked
                else none,
                volumes_s=volumes_s,
                limits=_limits(described, samples),
                source=name if len(names) == 1 else f"{name} {names[at]}",
            )
        )
    physiological = [one for one in recordings if one.kind != "trigger"]
    return tuple(physiological or recordings)


# --- text -----------------------------------------------------------------------------------------------------------


def _read(data: bytes, name: str) -> _Table:
    if b"\0" in data[:4096]:
        raise CoSpineError("is not text", name, "Give a table, or a recording in a format of its own under its own name")
    lines = [line for line in data.decode("utf-8-sig", "replace").splitlines() if line.strip() and line[0] not in "#%"]
    if not lines:
        raise CoSpineError("holds no sample", name, "Look whether the recording was stopped before it began")
    separator = next((mark for mark in ("\t", ",", ";") if mark in lines[0]), None)
    first = _cells(lines[0], separator)
    header: tuple[str, ...] | None = None
    if any(_value(cell) is None for cell in first):
        header = tuple(first)
        lines = lines[1:]
        if not lines:
            raise CoSpineError("holds no sample", name, "Look whether the recording was stopped before it began")
    n_columns = len(first)
    first_line = 1 + (header is not None)
    try:  # ten times as fast, for the tables that are whole and all numbers
        values = np.loadtxt(lines, delimiter=separator, comments=None, ndmin=2)
        if values.shape[1] == n_columns:
            return _Table(np.where(np.isfinite(values), values, np.nan), header)
    except ValueError:
        _LOG.debug("%s: read cell by cell", name)
    if len(lines) > 1 and len(_cells(lines[-1], separator)) < n_columns:
        _LOG.warning("%s: the last line is cut off; left out", name)
        lines = lines[:-1]
    rows = [_cells(line, separator) for line in lines]
    ragged = next((at for at, row in enumerate(rows) if len(row) != n_columns), None)
    if ragged is not None:
        raise CoSpineError(
            f"is no table: row {ragged + first_line} has {len(rows[ragged])} cells, the first has {n_columns}",
            name,
            "Mend the table",
        )
    return _Table(_numbers(rows, first_line, name), header)


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    return [cell.strip() for cell in line.split(separator)]


def _numbers(rows: Sequence[Sequence[str]], first_line: int, name: str) -> NDArray[np.float64]:
    """Values of cells that may say that they are not available; errors name the row."""
    listed = []
    for at, row in enumerate(rows):
        numbers = [_value(cell) for cell in row]
        if None in numbers:
            cell = row[numbers.index(None)][:40]
            raise CoSpineError(
                f"is no table of numbers: {cell!r} in row {at + first_line}", name, "Give plain columns of numbers"
            )
        listed.append(numbers)
    values = np.array(listed, dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _value(cell: str) -> float | None:
    if cell.lower() in NOT_AVAILABLE:
        return np.nan
    try:
        return float(cell)
    except ValueError:
        return None


def _names(table: _Table, columns: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Names of the columns: the sidecar's, else the header's, else by the file's `recording-` entity or its own name."""
    n_columns = table.values.shape[1]
    if len(columns) == n_columns:
        return columns
    if columns:
        _LOG.warning("%s: the sidecar names %d columns, the table has %d", name, len(columns), n_columns)
    if table.header is not None:
        return table.header
    entity = _RECORDING.search(name)
    by_name = entity[1] if entity else name
    if n_columns > 1 and kind_of(by_name)[0] not in ("cardiac", "respiratory"):
        return tuple(f"column {at + 1}" for at in range(n_columns))
    # As everyone writes it who leaves the names out: the signal first, then a trigger.
    rest = tuple("trigger" if _is_binary(table.values[:, at]) else f"column {at + 1}" for at in range(1, n_columns))
    return (by_name, *rest)


def _kind(column: str, values: NDArray[np.float64], name: str) -> tuple[Kind, Sensor]:
    """Kind by the column's name; "other" for a pulse that holds 0 and 1 only: marks, in which no wave can be followed."""
    kind, sensor = kind_of(column)
    if kind in ("cardiac", "respiratory") and _is_marks(values):
        _LOG.warning("%s: %s holds marks (0 and 1) and no signal; kept as marks, not used as %s recording", name, column, kind)
        return "other", ""
    return kind, sensor


def _is_marks(values: NDArray[np.float64]) -> bool:
    return _is_binary(values) and 0.0 < float(values.mean()) < 0.5


def _is_binary(values: NDArray[np.float64]) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


# --- what the sidecar says ------------------------------------------------------------------------------------------


def _rate(sidecar: Mapping[str, Any], rate_hz: float | None, name: str) -> float:
    said = number(sidecar.get("SamplingFrequency"))
    if rate_hz is not None:
        if said is not None and abs(said / rate_hz - 1.0) > 1e-6:
            _LOG.warning("%s: read at the %g Hz given, not at the sidecar's %g Hz", name, rate_hz, said)
        return rate_hz
    if said is None or said <= 0:
        raise CoSpineError(
            "does not say its sampling rate",
            name,
            "Give it with --rate in Hz, or as SamplingFrequency in a sidecar (usual for GE: RESPData 25, PPGData 100)",
        )
    return said


def start_of(sidecar: Mapping[str, Any]) -> tuple[float | None, float | None, str]:
    """When a recording began, by its sidecar.

    Returns
    -------
    start_s : float or None
        From the first volume.
    clock_s : float or None
        On the scanner's clock, s since midnight.
    note : str
        What was assumed; empty where the sidecar says it as BIDS wants it.
    """
    said = number(sidecar.get("StartTime"))
    own = number(sidecar.get(CLOCK))
    clock_s = own if own is not None and 0 <= own < DAY_S else None
    if said is None or sidecar.get(START_UNKNOWN) is True:
        return None, clock_s, ""
    if said > DAY_S:
        if said >= 1000.0 * DAY_S:
            return None, clock_s, f"StartTime {said:g} is no time; ignored"
        return None, said / 1000.0, f"StartTime {said:g} is taken for milliseconds since midnight (BIDS: s from the first volume)"
    if said >= _HOUR_S:
        return None, said, f"StartTime {said:g} is taken for seconds since midnight (BIDS: s from the first volume)"
    return said, clock_s, ""


def _check_duration(sidecar: Mapping[str, Any], n_samples: int, rate_hz: float, name: str) -> None:
    """Say so where the sidecar's `Duration` (s, or ms in the wild) contradicts samples and rate."""
    said = number(sidecar.get("Duration"))
    if said is None or said <= 0:
        return
    lasts_s = n_samples / rate_hz
    if all(abs(unit * said / lasts_s - 1.0) > 0.01 and abs(unit * said - lasts_s) > 1.0 for unit in (1.0, 1e-3)):
        _LOG.warning("%s: %d samples at %g Hz last %.1f s; Duration says %g", name, n_samples, rate_hz, lasts_s, said)


def _limits(sidecar: Mapping[str, Any], samples: NDArray[np.float64]) -> tuple[float, float] | None:
    """Range of the converter: as our own sidecars say it, else that of the Siemens unit where the samples are still its words."""
    said = sidecar.get(RANGE)
    if isinstance(said, list) and len(said) == 2 and None not in (ends := [number(end) for end in said]):
        low, high = (float(end) for end in ends if end is not None)
        return (low, high) if low < high else None
    maker = " ".join(str(sidecar.get(key, "")) for key in ("Manufacturer", "ManufacturersModelName")).lower()
    known = samples[np.isfinite(samples)]
    if ("siemens" not in maker and "pmu" not in maker) or not known.size:
        return None
    whole = bool(np.all(known == np.rint(known)))
    return (0.0, float(_PMU_TOP)) if whole and known.min() >= 0 and known.max() <= _PMU_TOP else None


def _marked_kind(marks_s: NDArray[np.float64], kinds: Sequence[Kind]) -> Kind | None:
    """Whose marks these are: the only physiological channel's, else by their spacing."""
    candidates: list[Kind] = [kind for kind in ("cardiac", "respiratory") if kind in kinds]
    if not marks_s.size or not candidates:
        return None
    if len(candidates) == 1:
        return candidates[0]
    return "respiratory" if float(np.median(np.diff(marks_s))) > _BREATH_S else "cardiac"
