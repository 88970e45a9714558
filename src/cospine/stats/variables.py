"""Variables made of the columns of a table: what BIDS Stats Models calls transformations, those that are understood here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from cospine.bids.tables import NOT_AVAILABLE
from cospine.errors import CoSpineError


@dataclass(frozen=True)
class Factor:
    """Indicators of the levels of columns: `trial_type` makes `trial_type.pain`, `trial_type.rating`."""

    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Scale:
    """Numbers less their mean, over their standard deviation (n - 1), over the rows that have a value."""

    inputs: tuple[str, ...]
    demean: bool = True
    rescale: bool = True


Instruction = Factor | Scale


def available(cell: str) -> str:
    """A cell of a table; `n/a` for a value that is not there, however it is spelt."""
    text = cell.strip()
    return "n/a" if text.lower() in NOT_AVAILABLE else text


def column_numbers(cells: Sequence[str], name: str, where: str) -> NDArray[np.float64]:
    """Numbers (n,) of a column, NaN where it has no value.

    Raises
    ------
    CoSpineError
        A cell holds something else.
    """
    values, strange = np.full(len(cells), np.nan), list[str]()
    for k, cell in enumerate(cells):
        text = available(cell)
        if text == "n/a":
            continue
        try:
            values[k] = float(text)
        except ValueError:
            strange.append(f"'{text}'")
            continue
        if not np.isfinite(values[k]):
            strange.append(f"'{text}'")
    if strange:
        raise CoSpineError(
            f"column {name} holds {', '.join(strange[:3])}{' ..' if len(strange) > 3 else ''}, no finite numbers",
            where,
            "Give numbers, or n/a where there is none",
        )
    return values


def made_of(
    columns: Mapping[str, Sequence[str]], instructions: Sequence[Instruction], where: str
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
    """Variables after all instructions, in their order.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        Of a table.
    instructions : sequence of Factor or Scale
    where : str
        What the table is, for errors.

    Returns
    -------
    variables : dict of str to ndarray (n,)
        Every indicator, every scaled column, and every column that holds numbers alone; NaN where a row has no value.
    notes : tuple of str
        Inputs that the table does not have, that have no value or do not vary where they are scaled; they are no variables.

    Raises
    ------
    CoSpineError
        A column that is scaled holds what is no number.
    """
    made: dict[str, NDArray[np.float64]] = {}
    notes: list[str] = []
    lost: set[str] = set()
    for instruction in instructions:
        for name in instruction.inputs:
            if name not in made and name not in columns:
                notes.append(f"There is no column {name} in the {where}.")
            elif isinstance(instruction, Factor):
                made |= _levels(name, columns[name])
            else:
                values = made[name] if name in made else column_numbers(columns[name], name, where)
                scaled, why = _scaled(values, instruction)
                if scaled is None:
                    notes.append(f"{name} {why}: it is left out.")
                    lost.add(name)
                    made.pop(name, None)
                else:
                    made[name] = scaled
    for name, cells in columns.items():
        if name not in made and name not in lost:
            try:
                made[name] = column_numbers(cells, name, where)
            except CoSpineError:  # words: they make variables through Factor alone
                continue
    return {name: values for name, values in made.items() if np.isfinite(values).any()}, tuple(notes)


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Names that a pattern (`*`, `?`) fits, in their order; brackets are characters as any other."""
    return [name for name in names if fnmatchcase(name, pattern.replace("[", "[[]"))]


def is_pattern(name: str) -> bool:
    """Whether a name stands for others."""
    return any(sign in name for sign in "*?")


def _levels(name: str, cells: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    known = [available(cell) for cell in cells]
    missing = np.array([cell == "n/a" for cell in known], dtype=bool)
    return {
        f"{name}.{level}": np.where(missing, np.nan, np.array([cell == level for cell in known], dtype=np.float64))
        for level in sorted(set(known) - {"n/a"})
    }


def _scaled(values: NDArray[np.float64], how: Scale) -> tuple[NDArray[np.float64] | None, str]:
    there = values[np.isfinite(values)]
    if not there.size:
        return None, "has no value"
    if (how.demean or how.rescale) and np.ptp(there) == 0:
        return None, "does not vary"
    centred = values - there.mean() if how.demean else values
    return (centred / there.std(ddof=1) if how.rescale else centred), ""
