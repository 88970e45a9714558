"""Logs of the task as tables of text: E-Prime, PsychoPy, and any table with a header line."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cospine.errors import CoSpineError

_BLOCK = re.compile(r"^\s*\*\*\* (Header|LogFrame) (Start|End) \*\*\*\s*$")
_LEVEL = re.compile(r"^\s*Level: (\d+)\s*$")
_LARGEST = 1 << 28


@dataclass(frozen=True)
class Log:
    """A log.

    Parameters
    ----------
    rows : tuple of mapping
        Column to text; absent columns are not there.
    header : mapping of str to str
        What counts for the whole log.
    """

    rows: tuple[Mapping[str, str], ...]
    header: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """All names, in the order of their first appearance."""
        return tuple(dict.fromkeys([*self.header, *(name for row in self.rows for name in row)]))


def read_log(data: bytes, where: str, layout: str = "auto") -> Log:
    """Read a log.

    Parameters
    ----------
    data : bytes
        Content: UTF-16 (as E-Prime writes) or UTF-8, with or without a byte-order mark.
    where : str
        For errors.
    layout : {"auto", "eprime", "psychopy", "table"}
        PsychoPy's `.csv` is a table; its own `.log` is none.

    Raises
    ------
    CoSpineError
        When it is no text, or no log of that kind.
    """
    if len(data) > _LARGEST:
        raise CoSpineError(f"has {len(data) / 1e6:.0f} MB; no log is so large", where, "Give the log itself")
    text = _text(data, where)
    if layout == "eprime" or (layout == "auto" and "*** Header Start ***" in text[:20000]):
        return _eprime(text, where)
    return _table(text, where)


def _text(data: bytes, where: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif data[1:2] == b"\0" and data[:1] != b"\0":
        encoding = "utf-16-le"  # without its mark, as some copies are
    else:
        encoding = "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # labs that write accents without saying how; columns and numbers are plain
    if "\0" in text or not text.strip():
        raise CoSpineError("is no text" if text.strip() else "is empty", where, "Give the log as the program wrote it")
    return text


def _eprime(text: str, where: str) -> Log:
    """Blocks of `key: value`; each LogFrame is a row, and what its enclosing levels say holds for the rows before their end.

    E-Prime writes a frame when it ends: trials first, then their block. A row therefore gets what the next frames of a
    higher level (a smaller number) say, where it does not say it itself.
    """
    header: dict[str, str] = {}
    frames: list[tuple[int, dict[str, str]]] = []
    current: dict[str, str] | None = None
    level = 0
    for line in text.splitlines():
        mark = _BLOCK.match(line)
        if mark and mark[2] == "Start":
            current = header if mark[1] == "Header" else {}
        elif mark and mark[1] == "LogFrame" and current is not None:
            frames.append((level, current))
            current = None
        elif mark:
            current = None
        elif (deeper := _LEVEL.match(line)) is not None:
            level = int(deeper[1])
        elif current is not None and ":" in line:
            key, _, value = line.partition(":")
            current.setdefault(key.strip(), value.strip())
    if not frames:
        raise CoSpineError(
            "holds no LogFrame; it is no E-Prime log, or breaks off before its first trial", where, "Give the .txt"
        )
    deepest = max(level for level, _ in frames)
    rows: list[dict[str, str]] = []
    above: dict[int, dict[str, str]] = {}
    for level, frame in reversed(frames):
        above = {key: value for key, value in above.items() if key < level}
        joined: dict[str, str] = {}
        for outer in sorted(above):
            joined.update(above[outer])
        joined.update(frame)
        rows.append(joined)
        if level < deepest:
            above[level] = frame
    rows.reverse()
    return Log(tuple(rows), header)


def _table(text: str, where: str) -> Log:
    lines = text.lstrip("\ufeff").splitlines()
    first = next((line for line in lines if line.strip()), "")
    separator = max(("\t", ",", ";"), key=first.count)
    if not first.count(separator):
        raise CoSpineError(
            "has no columns: no tab, comma or semicolon in its first line", where, "Give a table with a header line"
        )
    try:
        parsed = [
            row for row in csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=separator) if any(c.strip() for c in row)
        ]
    except csv.Error as error:
        raise CoSpineError(f"is no table ({error})", where, "Export it again") from error
    names = [name.strip() for name in parsed[0]]
    return Log(tuple(_row(names, cells) for cells in parsed[1:]))


def _row(names: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    return {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name}
