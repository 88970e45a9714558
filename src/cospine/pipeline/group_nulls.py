"""Whether coupling of brain and cord is more than what strangers, other times, other phases and the tissue of the neck give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.bids import read_tsv
from cospine.errors import CoSpineError
from cospine.pipeline.coupling_stage import CONTROL
from cospine.pipeline.group_analysis import expected_horns
from cospine.stats.coupling import fisher_z
from cospine.stats.coupling_nulls import FEWEST_VOLUMES, NullKind, against_controls, coupling_null
from cospine.stats.permutation import holm
from cospine.stats.regions import level_system_of

KINDS: tuple[NullKind, ...] = ("people", "shift", "phase")
FEWEST = 4
"""People below which nobody can be paired anew."""
DRAWS = 1000
FURTHER_DRAWS = 20_000
"""Drawn for pairs that are below `_PROMISING` after the first: the smallest p must survive correction over all pairs."""
_PROMISING = 0.01


@dataclass(frozen=True)
class PairNull:
    """One pair of brain and cord that was named beforehand, beside what it would be without coupling.

    Attributes
    ----------
    brain, cord : str
    people : int
        Who has both regions.
    r, expected : float
        Mean correlation over people, and between strangers (by Fisher's z).
    p : mapping of str to float
        Two-sided, against each null, and `control`: against the same brain region with the neck's tissue.
    p_all : float
        The largest of them: a coupling holds where all of its nulls fall.
    p_holm : float
        That, corrected over all pairs.
    """

    brain: str
    cord: str
    people: int
    r: float
    expected: float
    p: Mapping[str, float]
    p_all: float
    p_holm: float


def pair_nulls(task: str, courses: Mapping[str, Path], *, seed: int) -> tuple[PairNull, ...]:
    """Test pairs of brain and cord against nulls.

    Parameters
    ----------
    task : str
        Tells which horns are expected.
    courses : mapping of person to Path
        Tables of the regions' courses, a column a region.
    seed : int

    Returns
    -------
    tuple of PairNull
        The strongest evidence first; none where fewer than four people have runs of 30 volumes.

    Raises
    ------
    CoSpineError
        A table that is none.
    """
    tables = [table for path in courses.values() if len(next(iter((table := _read(path)).values()))) >= FEWEST_VOLUMES]
    names = list(dict.fromkeys(name for table in tables for name in table))
    horns = expected_horns(task, names)
    brain = [name for name in names if name != CONTROL and level_system_of(name) == "none"]
    found = []
    for cord in horns:
        for region in brain:
            pair = _pair(region, cord, [table for table in tables if region in table and cord in table], seed)
            if pair is not None:
                found.append(pair)
    if not found:
        return ()
    corrected = holm(np.array([one.p_all for one in found]))
    done = [PairNull(**{**vars(one), "p_holm": float(p)}) for one, p in zip(found, corrected, strict=True)]
    return tuple(sorted(done, key=lambda one: (one.p_all, -abs(one.r))))


def _pair(brain: str, cord: str, tables: Sequence[Mapping[str, NDArray[np.float64]]], seed: int) -> PairNull | None:
    """A pair in the people who have it; the few that look like something are drawn again, oftener and anew."""
    tables = [table for table in tables if np.ptp(table[brain]) > 0 and np.ptp(table[cord]) > 0]
    if len(tables) < FEWEST:
        return None
    found = _drawn(brain, cord, tables, DRAWS, seed)
    return _drawn(brain, cord, tables, FURTHER_DRAWS, seed + 1) if found.p_all < _PROMISING else found


def _drawn(brain: str, cord: str, tables: Sequence[Mapping[str, NDArray[np.float64]]], draws: int, seed: int) -> PairNull:
    length = min(len(table[cord]) for table in tables)
    a, b = (np.stack([table[name][:length] for table in tables]) for name in (brain, cord))
    nulls = {kind: coupling_null(a, b, kind, draws=draws, seed=seed) for kind in KINDS}
    p = {kind: one.p for kind, one in nulls.items()}
    with_control = [k for k, table in enumerate(tables) if CONTROL in table and np.ptp(table[CONTROL]) > 0]
    if len(with_control) >= FEWEST:
        z = [fisher_z(_correlation(tables[k][brain][:length], tables[k][cord][:length])) for k in with_control]
        of_control = [fisher_z(_correlation(tables[k][brain][:length], tables[k][CONTROL][:length])) for k in with_control]
        more = against_controls(np.array(z)[:, None], np.array(of_control)[:, None], flips=draws, seed=seed)
        p["control"] = float(more.p_flip[0])
    r, expected = np.tanh([nulls["people"].observed, nulls["people"].expected])
    largest = max(p.values())
    return PairNull(brain, cord, len(tables), float(r), float(expected), p, largest, largest)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _read(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        table = {name: np.array([float(cell) for cell in cells]) for name, cells in read_tsv(path).items()}
    except (OSError, ValueError) as error:
        raise CoSpineError(f"is no table of courses ({error})", str(path), "run the participant level again") from error
    if not table:
        raise CoSpineError("holds no region", str(path), "run the participant level again")
    return table
