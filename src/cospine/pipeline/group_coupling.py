"""Coupling between regions over people: tables that the participant level wrote, averaged and tested."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.pipeline.coupling_files import EVERY, leakage_said, read_matrix
from cospine.pipeline.group_analysis import LEAST_SHARE
from cospine.pipeline.group_inputs import Member
from cospine.pipeline.group_nulls import PairNull, pair_nulls
from cospine.pipeline.group_plan import FEWEST, GroupPlan, quality_reason
from cospine.pipeline.group_settings import GroupSettings
from cospine.pipeline.settings import REGIONS
from cospine.stats.cord_connectivity import HornPair, horn_pairs
from cospine.stats.coupling import across_people, fisher_z

Table = tuple[tuple[str, ...], NDArray[np.float64]]


@dataclass(frozen=True)
class HornTest:
    """A pair of horns over people.

    Attributes
    ----------
    pair : HornPair
    people : int
    r, low, high : float
        Mean correlation by Fisher's z, and its 95 % interval (t).
    p, p_fwe : float
        Two-sided by t; and corrected over all pairs of horns, by sign flips of whole people.
    """

    pair: HornPair
    people: int
    r: float
    low: float
    high: float
    p: float
    p_fwe: float


@dataclass(frozen=True, eq=False)
class Coupling:
    """Coupling of one kind in one task.

    Attributes
    ----------
    task, kind : str
    people : tuple of str
    excluded : tuple of (name, reason)
    names : tuple of str
        Regions that enough people's tables have.
    r : ndarray (n, n)
        Mean correlation, over Fisher's z.
    p, p_fwe : ndarray (n, n)
        Two-sided, by t over people; and corrected over all pairs, by sign flips of whole people.
    pairs : tuple of PairNull
        Of all slices: brain and cord against nulls.
    horns : tuple of HornTest
        Of all slices: horns with each other.
    notes : tuple of str
        Regions that too few people have.
    """

    task: str
    kind: str
    people: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    r: NDArray[np.float64] = field(repr=False)
    p: NDArray[np.float64] = field(repr=False)
    p_fwe: NDArray[np.float64] = field(repr=False)
    pairs: tuple[PairNull, ...] = field(repr=False, default=())
    horns: tuple[HornTest, ...] = field(repr=False, default=())
    notes: tuple[str, ...] = ()


_LEAKING = (
    "Tables of {} do not say that leakage between simultaneous slices was looked for: those of earlier versions hold it, and in "
    "simulation 1 to 3 % of it made 9 to 47 % of groups without coupling show some. Run the participant level again."
)


def coupling_of(plan: GroupPlan) -> tuple[Coupling, ...]:
    """Average and test every kind of table that enough people have."""
    kinds = sorted({key for one in plan.inputs.members for key in one.coupling})
    found = []
    for task, kind in kinds:
        tables, courses, excluded, unsaid = {}, {}, [], []
        for one in plan.inputs.members:
            if task not in one.tasks:
                continue
            reason, table = _table_of(one, task, kind, plan.settings)
            if reason or table is None:
                excluded.append((one.name, reason))
                continue
            tables[one.name] = table
            if not leakage_said(one.coupling[task, kind]):
                unsaid.append(one.name)
            if kind == EVERY and task in one.courses:
                courses[one.name] = one.courses[task]
        if len(tables) >= FEWEST:
            one = _averaged(task, kind, tables, courses, excluded, plan.settings)
            found.append(replace(one, notes=(*one.notes, _LEAKING.format(", ".join(unsaid)))) if unsaid else one)
    return tuple(found)


def _table_of(one: Member, task: str, kind: str, settings: GroupSettings) -> tuple[str, Table | None]:
    """A person's table of a kind, or why it is left out."""
    if one.called & set(settings.exclude):
        return "by --exclude", None
    if reason := quality_reason(one, task, REGIONS, settings):
        return reason, None
    path = one.coupling.get((task, kind))
    if path is None:
        return "no table of coupling (or several that were not combined)", None
    try:
        return "", read_matrix(path)
    except CoSpineError as error:
        return str(error), None


def _averaged(
    task: str,
    kind: str,
    tables: dict[str, Table],
    courses: dict[str, Path],
    excluded: list[tuple[str, str]],
    settings: GroupSettings,
) -> Coupling:
    every = list(dict.fromkeys(name for names, _ in tables.values() for name in names))
    count = {name: sum(name in names for names, _ in tables.values()) for name in every}
    shared = [name for name in every if count[name] >= LEAST_SHARE * len(tables)]
    rare = [name for name in every if name not in shared]
    stack = np.full((len(tables), len(shared), len(shared)), np.nan)
    for z, (names, matrix) in zip(stack, tables.values(), strict=True):
        own = [k for k, name in enumerate(shared) if name in names]
        at = [names.index(shared[k]) for k in own]
        z[np.ix_(own, own)] = fisher_z(matrix[np.ix_(at, at)])
    upper = np.triu_indices(len(shared), 1)
    square = [np.full((len(shared), len(shared)), np.nan) for _ in range(3)]
    if len(shared) > 1:
        test = across_people(stack[:, upper[0], upper[1]], flips=settings.permutations, seed=settings.seed)
        for matrix, values in zip(square, (test.r, test.p, test.p_fwe), strict=True):
            matrix[upper] = values
            matrix.T[upper] = values
    notes = (f"Left out, for fewer than {LEAST_SHARE:.0%} of the people have them: {', '.join(rare)}.",) if rare else ()
    try:
        pairs = pair_nulls(task, courses, seed=settings.seed)
    except CoSpineError as error:  # the matrices stand without them
        pairs, notes = (), (*notes, f"Brain and cord were not held against nulls: {error}.")
    horns = horn_tests(shared, stack, settings) if kind == EVERY else ()
    return Coupling(
        task, kind, tuple(tables), tuple(excluded), tuple(shared), *square, pairs=pairs, horns=horns, notes=notes
    )  # fmt: skip


def horn_tests(names: Sequence[str], z: NDArray[np.float64], settings: GroupSettings) -> tuple[HornTest, ...]:
    """Horns with each other over people, from everybody's Fisher's z (people, n, n) of all slices."""
    found = [horn_pairs(names, one) for one in z]
    pairs = sorted({pair for one in found for pair in one})
    if not pairs:
        return ()
    values = np.array([[one.get(pair, np.nan) for pair in pairs] for one in found])
    test = across_people(values, flips=settings.permutations, seed=settings.seed)
    return tuple(
        HornTest(pair, int(test.people[k]), *(float(one[k]) for one in (test.r, test.low, test.high, test.p, test.p_fwe)))
        for k, pair in enumerate(pairs)
        if np.isfinite(test.p[k])
    )
