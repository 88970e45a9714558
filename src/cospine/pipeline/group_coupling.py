"""Coupling between regions over people: tables that the participant level wrote, averaged and tested."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.pipeline.coupling_files import RESIDUALS, read_matrix
from cospine.pipeline.group_nulls import PairNull, pair_nulls
from cospine.pipeline.group_plan import FEWEST, GroupPlan, quality_reason
from cospine.stats.coupling import across_people, fisher_z


@dataclass(frozen=True, eq=False)
class Coupling:
    """Coupling of one kind in one task.

    Attributes
    ----------
    task, kind : str
    people : tuple of str
    excluded : tuple of (name, reason)
    names : tuple of str
        Regions that everyone's table has.
    r : ndarray (n, n)
        Mean correlation, over Fisher's z.
    p, p_fwe : ndarray (n, n)
        Two-sided, by t over people; and corrected over all pairs, by sign flips of whole people.
    pairs : tuple of PairNull
        Of residuals: brain and cord against nulls.
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


def coupling_of(plan: GroupPlan) -> tuple[Coupling, ...]:
    """Average and test every kind of table that enough people have."""
    kinds = sorted({key for one in plan.inputs.members for key in one.coupling})
    found = []
    for task, kind in kinds:
        tables, excluded = {}, []
        for one in plan.inputs.members:
            if task not in one.tasks:
                continue
            path = one.coupling.get((task, kind))
            by_hand = {one.name, one.label, one.label.removeprefix("sub-")} & set(plan.settings.exclude)
            reason = "by --exclude" if by_hand else quality_reason(one, task, True, plan.settings)
            if path is None:
                reason = "no table of coupling"
            if reason or path is None:
                excluded.append((one.name, reason))
            else:
                tables[one.name] = read_matrix(path)
        if len(tables) >= FEWEST:
            found.append(_averaged(task, kind, tables, excluded, plan))
    return tuple(found)


def _averaged(
    task: str,
    kind: str,
    tables: dict[str, tuple[tuple[str, ...], NDArray[np.float64]]],
    excluded: list[tuple[str, str]],
    plan: GroupPlan,
) -> Coupling:
    shared = [name for name in next(iter(tables.values()))[0] if all(name in names for names, _ in tables.values())]
    if len(shared) < 2:
        raise CoSpineError(
            "the tables share fewer than two regions", f"coupling, {task}, {kind}", "run the participant level again"
        )
    stack = []
    for names, matrix in tables.values():
        at = [names.index(name) for name in shared]
        stack.append(fisher_z(matrix[np.ix_(at, at)]))
    upper = np.triu_indices(len(shared), 1)
    flips = plan.settings.permutations
    test = across_people(np.stack([one[upper] for one in stack]), flips=flips, seed=plan.settings.seed)
    square = [np.full((len(shared), len(shared)), np.nan) for _ in range(3)]
    for matrix, values in zip(square, (test.r, test.p, test.p_fwe), strict=True):
        matrix[upper] = values
        matrix.T[upper] = values
    courses = {one.name: one.courses[task] for one in plan.inputs.members if one.name in tables and task in one.courses}
    pairs = pair_nulls(task, courses, seed=plan.settings.seed) if kind == RESIDUALS else ()
    return Coupling(task, kind, tuple(tables), tuple(excluded), tuple(shared), *square, pairs=pairs)
