"""Reading JSON and tab-separated text as found in the wild."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOT_AVAILABLE = frozenset({"", "n/a", "na", "nan", "none"})


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ValueError
        When the file is not UTF-8, not JSON or no object; the text says which and where.
    OSError
        When it cannot be opened.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, not an object")
    return content


def read_tsv(path: Path) -> dict[str, list[str]]:
    """Read a tab-separated table with a header line.

    Line ends of any system, a byte-order mark and trailing blank lines are tolerated; absent values, however they are
    spelt (`n/a`, `N/A`, `NaN`, nothing), come out as `n/a`; short rows are filled up with it.

    Returns
    -------
    dict of str to list of str
        Columns by name.

    Raises
    ------
    ValueError
        When the file is not text, is empty, names a column twice or has a row longer than its header.
    OSError
        When it cannot be opened.
    """
    lines = [line for line in path.read_bytes().decode("utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise ValueError("is empty")
    names = [name.strip() for name in lines[0].split("\t")]
    if len(set(names)) < len(names):
        raise ValueError("names a column twice")
    columns: dict[str, list[str]] = {name: [] for name in names}
    for number, line in enumerate(lines[1:], start=2):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) > len(names):
            raise ValueError(f"line {number} has {len(cells)} cells under {len(names)} column names")
        cells += [""] * (len(names) - len(cells))
        for name, cell in zip(names, cells, strict=True):
            columns[name].append("n/a" if cell.lower() in NOT_AVAILABLE else cell)
    return columns


def number(value: Any) -> float | None:
    """Return a finite JSON number as a float; None for anything else, as a number in quotes."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None  # false for NaN, and for integers that no float can hold


def words(sidecar: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a sidecar entry that may be one string or a list of them."""
    value = sidecar.get(key)
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
