"""Discs that somebody named, in place of counted ones."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.space.grid import Grid

_COLUMNS = ("disc", "x_mm", "y_mm", "z_mm")
_MOST = 26  # SCT counts discs to 21 (L1-L2 and on) and beyond; 49, 50 and 60 are other landmarks
_LANDMARKS = frozenset({49, 50, 60})
_FORM = "give the columns disc (SCT's number: 1 = top of C1, 3 = C2-C3), x_mm, y_mm, z_mm (RAS mm), a row a disc"


def read_discs(table: Mapping[str, Sequence[object]], where: str = "table of discs") -> dict[int, NDArray[np.float64]]:
    """Take discs from the columns of a table.

    Parameters
    ----------
    table : mapping of column name to cells
        `disc` (SCT's number), `x_mm`, `y_mm`, `z_mm` (RAS mm). Other columns do not matter; rows need no order.
    where : str
        What to call it in an error.

    Returns
    -------
    dict
        Disc number to point (3,), RAS mm: what :func:`cospine.anatomy.levels.find_levels` takes as `given`. One is enough to
        count the others from, where they show.

    Raises
    ------
    CoSpineError
        Names everything that is wrong at once.
    """
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise CoSpineError(f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing", where, _FORM)
    wrong: list[str] = []
    discs: dict[int, NDArray[np.float64]] = {}
    for row, cells in enumerate(zip(*(table[name] for name in _COLUMNS), strict=True), start=1):
        values = [_number(cell) for cell in cells]
        bad = [f"{name} {cell!s}" for name, cell, value in zip(_COLUMNS, cells, values, strict=True) if not np.isfinite(value)]
        if bad:
            wrong.append(f"row {row}: {', '.join(bad)} is no number")
            continue
        _add(discs, values[0], np.array(values[1:]), f"row {row}", wrong)
    return _checked(discs, wrong, where)


def read_disc_image(labels: NDArray, grid: Grid, where: str = "image of discs") -> dict[int, NDArray[np.float64]]:
    """Take discs from an image of labels, a voxel or a small blob a disc, as SCT writes.

    Parameters
    ----------
    labels : ndarray (x, y, z)
        0 but for the discs, which carry SCT's number.
    grid : Grid
        Its grid; it need not be that of the image the discs were found in.
    where : str
        What to call it in an error.

    Returns
    -------
    dict
        As :func:`read_discs`; the centre of each number's voxels.

    Raises
    ------
    CoSpineError
        When there is none, when values are no disc numbers, or when it is an image of levels.
    """
    wrong: list[str] = []
    discs: dict[int, NDArray[np.float64]] = {}
    index = np.argwhere(labels)
    values = labels[tuple(index.T)].astype(np.float64)
    for value in np.unique(values):
        points = grid.to_ras(index[values == value])
        centre = points.mean(axis=0)
        spread = float(np.linalg.norm(points - centre, axis=1).max())
        if spread > 12.0:
            wrong.append(f"label {value:g} spreads over {2 * spread:.0f} mm, which no disc does (levels instead of discs?)")
        elif value not in _LANDMARKS:
            _add(discs, float(value), centre, "label", wrong)
    return _checked(discs, wrong, where)


def _number(cell: object) -> float:
    """A cell's number, NaN where there is none."""
    try:
        return float(str(cell))
    except ValueError:
        return float("nan")


def _add(discs: dict[int, NDArray[np.float64]], value: float, point: NDArray[np.float64], row: str, wrong: list[str]) -> None:
    """Add a disc, or say what is wrong with it."""
    number = round(value)
    if abs(value - number) > 1e-3 or not 1 <= number <= _MOST:
        wrong.append(f"{row}: {value:g} is no disc number")
    elif number in discs:
        wrong.append(f"{row}: disc {number} is there twice")
    else:
        discs[number] = point


def _checked(discs: dict[int, NDArray[np.float64]], wrong: list[str], where: str) -> dict[int, NDArray[np.float64]]:
    """The discs, if all is well with them."""
    if not discs and not wrong:
        wrong = ["no disc in it"]
    if wrong:
        raise CoSpineError("; ".join(wrong), where, _FORM)
    return discs
