"""Columns of participants tables as columns of SQL: a unit in each name, one type for all datasets."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cospine.database.schema import Column

# how people write units, and how names end
_UNITS = {
    "year": "years", "years": "years", "yr": "years", "y": "years", "month": "months", "months": "months",
    "week": "weeks", "weeks": "weeks", "day": "days", "days": "days", "kg": "kg", "kilogram": "kg", "kilograms": "kg",
    "g": "g", "m": "m", "cm": "cm", "centimeter": "cm", "centimeters": "cm", "centimetre": "cm", "centimetres": "cm", "mm": "mm",
    "s": "s", "sec": "s", "second": "s", "seconds": "s", "ms": "ms", "min": "min", "minutes": "min",
    "°c": "degc", "degc": "degc", "celsius": "degc", "degree celsius": "degc", "degrees celsius": "degc", "℃": "degc",
    "%": "percent", "percent": "percent",
}  # fmt: skip
_BIDS_UNITS = {"age": "years"}  # BIDS: the column age is in years
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Demographics:
    """participants.tsv of one dataset.

    Parameters
    ----------
    dataset : str
        Identifier.
    values : mapping of str to mapping of str to str
        Participant to column to cell; `n/a` where there is none.
    units : mapping of str to str
        Of the columns that participants.json gives one.
    """

    dataset: str
    values: Mapping[str, Mapping[str, str]]
    units: Mapping[str, str]


def demographic_columns(tables: Sequence[Demographics], taken: Sequence[str]) -> tuple[tuple[Column, ...], dict[str, str]]:
    """Name and type the columns of all datasets' participants tables.

    A column whose every cell is a number in all datasets is DOUBLE, else VARCHAR: a mixed one loses nothing.

    Parameters
    ----------
    tables : sequence of Demographics
    taken : sequence of str
        Names that the table has already.

    Returns
    -------
    columns : tuple of Column
        In the order in which they were met.
    names : dict of "dataset\\tcolumn" to name
    """
    names: dict[str, str] = {}
    cells: dict[str, list[str]] = {}
    about: dict[str, str] = {}
    for table in tables:
        used = set(taken)
        for column in dict.fromkeys(name for row in table.values.values() for name in row):
            unit = table.units.get(column, _BIDS_UNITS.get(column, ""))
            name = _unique(column_name(column, unit), used)
            used.add(name)
            names[f"{table.dataset}\t{column}"] = name
            about.setdefault(name, f"{column} of participants.tsv" + (f", {unit}" if unit else ""))
            cells.setdefault(name, []).extend(row.get(column, "n/a") for row in table.values.values())
    columns = tuple(Column(name, "DOUBLE" if _numeric(values) else "VARCHAR", about[name]) for name, values in cells.items())
    return columns, names


def demographic_row(table: Demographics, participant: str, columns: Sequence[Column], names: Mapping[str, str]) -> dict[str, Any]:
    """Cells of one person under the names and types of :func:`demographic_columns`."""
    types = {column.name: column.type for column in columns}
    row: dict[str, Any] = {}
    for column, cell in table.values.get(participant, {}).items():
        name = names[f"{table.dataset}\t{column}"]
        row[name] = None if cell == "n/a" else float(cell) if types[name] == "DOUBLE" else cell
    return row


def column_name(column: str, unit: str) -> str:
    """A column's name for SQL, its unit at the end: `Heat temperature` in °C is `heat_temperature_degc`."""
    name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:_LONGEST_NAME] or "column"
    name = f"c_{name}" if name[0].isdigit() else name
    short = _UNITS.get(unit.strip().lower(), "")
    return f"{name}_{short}" if short and not name.endswith(f"_{short}") else name


def _unique(name: str, used: set[str]) -> str:
    if name not in used:
        return name
    return next(f"{name}_{n}" for n in range(2, len(used) + 3) if f"{name}_{n}" not in used)


def _numeric(values: Sequence[str]) -> bool:
    given = [value for value in values if value != "n/a"]
    return bool(given) and all(_is_number(value) for value in given)


def _is_number(text: str) -> bool:
    # plain decimal notation alone: 1_000 is a number to Python only, and 007 is a code whose zeros matter
    plain = r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?"
    return bool(re.fullmatch(plain, text)) and math.isfinite(float(text))
