"""Peaks that somebody set by hand, in place of found ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from cospine.errors import CoSpineError
from cospine.physio.peaks import WINDOW_S, Peaks
from cospine.physio.recording import Kind
from cospine.physio.signal_quality import SignalQuality

_NOT_AVAILABLE = frozenset({"", "n/a", "na", "nan", "none"})
_KINDS: tuple[Kind, ...] = ("cardiac", "respiratory")
_MOST_NAMED = 5


def given_peaks(table: Mapping[str, Sequence[object]], start_s: float = 0.0) -> dict[Kind, Peaks]:
    """Take peaks from the columns of a table, such as `cospine physio` writes.

    Parameters
    ----------
    table : mapping of column name to cells
        `kind` (cardiac or respiratory), and `onset_run` (s from the first volume) or `onset` (s from the recording's first
        sample); `onset_run` is taken where it is a number. Optionally `quality` (0-1). Other columns do not matter; rows need
        no order.
    start_s : float
        Time of the recording's first sample, s from the first volume: what is added to `onset`.

    Returns
    -------
    dict
        Kind to peaks; `onset_s` is in s from the first volume (from the recording's first sample with `start_s` 0 and no
        `onset_run`). Quality is 1 where not given, nothing counts as mended, and the windows are all usable: a person looked.

    Raises
    ------
    CoSpineError
        Names everything that is wrong at once.
    """
    wrong = _missing_columns(table)
    if wrong:
        raise CoSpineError("; ".join(wrong), "table of peaks", "give the columns onset (s), kind (cardiac, respiratory), quality")
    n = len(table["kind"])
    blank = ["n/a"] * n
    if "file" in table:
        for kind in _KINDS:
            files = sorted({str(file) for of, file in zip(table["kind"], table["file"], strict=True) if str(of).lower() == kind})
            if len(files) > 1:
                wrong.append(f"{kind} peaks of several recordings ({', '.join(files)}): keep those of one")
    rows: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in _KINDS}
    run, own, quality = (table.get(name, blank) for name in ("onset_run", "onset", "quality"))
    for at, (kind, by_run, by_recording, good) in enumerate(zip(table["kind"], run, own, quality, strict=True), start=1):
        onset, trouble = _onset(by_run, by_recording, start_s)
        worth = 1.0 if _absent(good) else _number(good)
        spelt = str(kind).strip().lower()
        if spelt not in _KINDS:
            wrong.append(f"row {at}: kind {kind!s} is neither cardiac nor respiratory")
        if trouble:
            wrong.append(f"row {at}: {trouble}")
        if worth is None or not 0.0 <= worth <= 1.0:
            wrong.append(f"row {at}: quality {good!s} is no number from 0 to 1")
        elif onset is not None and spelt in _KINDS:
            rows["cardiac" if spelt == "cardiac" else "respiratory"].append((onset, worth))
    for kind, found in rows.items():
        times = np.sort(np.array([onset for onset, _ in found]))
        twice = times[1:][np.diff(times) <= 0] if times.size else times
        wrong += [f"two {kind} peaks at {time:g} s" for time in twice]
    if wrong:
        more = f"; and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise CoSpineError("; ".join(wrong[:_MOST_NAMED]) + more, "table of peaks", "mend these rows")
    return {kind: _peaks(kind, found) for kind, found in rows.items() if found}


def _missing_columns(table: Mapping[str, Sequence[object]]) -> list[str]:
    wrong = [] if "kind" in table else ["no column kind"]
    if "onset" not in table and "onset_run" not in table:
        wrong.append("no column onset")
    lengths = {len(table[name]) for name in ("kind", "onset", "onset_run", "quality", "file") if name in table}
    if len(lengths) > 1:
        wrong.append("columns of different lengths")
    elif lengths == {0}:
        wrong.append("no row")
    return wrong


def _absent(cell: object) -> bool:
    return cell is None or str(cell).strip().lower() in _NOT_AVAILABLE


def _number(cell: object) -> float | None:
    try:
        value = float(str(cell))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _onset(by_run: object, by_recording: object, start_s: float) -> tuple[float | None, str]:
    if not _absent(by_run):
        value = _number(by_run)
        return value, "" if value is not None else f"onset_run {by_run!s} is no number"
    if _absent(by_recording):
        return None, "no onset"
    value = _number(by_recording)
    return (None, f"onset {by_recording!s} is no number") if value is None else (value + start_s, "")


def _peaks(kind: Kind, rows: Sequence[tuple[float, float]]) -> Peaks:
    onset, quality = np.array(sorted(rows)).T
    length = WINDOW_S[kind]
    start = onset[0] + length * np.arange(int((onset[-1] - onset[0]) / length) + 1)
    windows = SignalQuality(start, length, np.ones(start.size), np.ones(start.size, dtype=bool))
    return Peaks(kind, onset, quality, np.zeros(onset.size, dtype=bool), windows)
