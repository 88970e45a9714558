"""The group level: every question answered, written and shown on one page; one that fails never stops the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Derivatives
from cospine.errors import CoSpineError
from cospine.pipeline.group_analysis import (
    harmonised,
    laterality_of,
    pairs_beforehand,
    region_sets,
    regional,
    run_values,
    stacked,
)
from cospine.pipeline.group_answer import CORRECTIONS, Answer, Tested, answer_of, tested_regions
from cospine.pipeline.group_coupling import coupling_of
from cospine.pipeline.group_files import GroupFiles
from cospine.pipeline.group_outputs import write_answer, write_coupling, write_people
from cospine.pipeline.group_page import group_page
from cospine.pipeline.group_plan import GroupPlan, Refusal, plan_group
from cospine.pipeline.group_recovery import with_recovery
from cospine.pipeline.progress import Event, Listener, silent
from cospine.space.cord_template import CordTemplate, with_parametric_contrasts
from cospine.space.templates import cord_template
from cospine.stats.permutation import holm

__all__ = ["GroupOutcome", "group_level", "plan_group"]


@dataclass(frozen=True)
class GroupOutcome:
    """What came of it.

    Attributes
    ----------
    report : Path
    complete : bool
        Whether every question was answered.
    """

    report: Path
    complete: bool


def group_level(plan: GroupPlan, bids_dir: Path, output_dir: Path, listen: Listener = silent) -> GroupOutcome:
    """Answer, write, show.

    Parameters
    ----------
    plan : GroupPlan
        From :func:`plan_group`.
    bids_dir, output_dir : Path
        Raw dataset and derivatives.
    listen : callable
        Told of every step.

    Raises
    ------
    CoSpineError
        When no question at all could be answered; nothing is written then.
    """
    settings = plan.settings
    needs_cord = any("cord" in one.regions for one in plan.analyses)
    cord = with_parametric_contrasts(cord_template(settings.template_dir)) if needs_cord else None
    answers: list[Answer] = []
    refusals = list(plan.refusals)
    for n, analysis in enumerate(plan.analyses):
        try:
            listen(Event("group", analysis.label, "maps", 0.8 * n / len(plan.analyses)))
            answers.append(_answered(plan, n, cord, listen))
        except CoSpineError as error:
            refusals.append(Refusal(analysis.question, analysis.considered, analysis.excluded, error))
            listen(Event("group", analysis.label, "", 0.8 * (n + 1) / len(plan.analyses), str(error)))
    if not answers:
        raise CoSpineError("; ".join(str(one.error) for one in refusals), "group", "mend what is named")
    answers = with_recovery(_by_family(answers), cord)
    listen(Event("group", "report", "coupling", 0.8))
    # pairs of people that a comparison would need are not asked yet: both groups together would answer another question
    couplings = () if settings.compare else coupling_of(plan)
    out = Derivatives(output_dir.resolve(), bids_dir.resolve())
    aside = f"compare-{settings.compare}" if settings.compare else ""
    files = GroupFiles(out, out.root / "group" / aside)
    listen(Event("group", "report", "write", 0.85))
    for answer in answers:
        write_answer(files, answer, settings, cord)
    for coupling in couplings:
        write_coupling(files, coupling)
    write_people(files, plan)
    files.settle()
    listen(Event("group", "report", "report", 0.9))
    path = out.root / (f"group_{aside}.html" if aside else "group.html")
    out.write_text(path, group_page(plan, answers, refusals, couplings, cord, files))
    listen(Event("group", "", "", 1.0))
    return GroupOutcome(path, not refusals)


def _answered(plan: GroupPlan, number: int, cord: CordTemplate | None, listen: Listener) -> Answer:
    """Everything about one question but the correction over all of them."""
    analysis, settings = plan.analyses[number], plan.settings
    measured = stacked(analysis, cord)
    stacks, notes = harmonised(analysis, measured) if settings.combat else (measured, ())
    at = 0.8 * (number + 0.3) / len(plan.analyses)
    listen(Event("group", analysis.label, "permutations", at))
    sets = region_sets(analysis.question.task, measured, cord, settings)
    answer = replace(answer_of(analysis, stacks, settings), notes=notes)
    listen(Event("group", analysis.label, "regions", 0.8 * (number + 0.9) / len(plan.analyses)))
    means = regional(analysis.question.task, stacks, sets)
    tests = {name: tested_regions(one.values, analysis.design, settings) for name, one in means.items()}
    sides = {name: laterality_of(one) for name, one in means.items() if name in ("spinal", "spheres")}
    side_tests = {name: tested_regions(difference, analysis.design, settings) for name, (_, _, difference) in sides.items()}
    runs = {name: values for name in ("spinal", "spheres") if name in sets and (values := run_values(analysis, sets, name))}
    # what is chosen in others must not have learnt from whom it is measured in
    return answer.with_regions(measured, sets, means, tests, sides, side_tests, runs)


def _by_family(answers: Sequence[Answer]) -> list[Answer]:
    """Corrected within families: the task's own contrasts, and those of each seed, which are questions of their own."""
    families = dict.fromkeys(one.analysis.seed for one in answers)
    places = [[k for k, one in enumerate(answers) if one.analysis.seed == family] for family in families]
    found = {k: done for at in places for k, done in zip(at, _corrected([answers[k] for k in at]), strict=True)}
    return [found[k] for k in range(len(answers))]


def _corrected(answers: Sequence[Answer]) -> list[Answer]:
    """Holm over contrasts: maps; regions named beforehand; apart from these an atlas, and sides, which are other questions."""
    answers = over_contrasts(answers)
    primary, family = [], 0
    for atlas in (False, True):
        chosen = [
            (a.region_tests, {name: one.primary & ((name == "atlas") == atlas) for name, one in a.regional.items()})
            for a in answers
        ]
        primary.append(_holm_over(chosen))
        family = max(family, sum(int(mask.sum()) for _, masks in chosen for mask in masks.values()))
    both = [{name: np.fmin(p[name], q[name]) for name in p} for p, q in zip(*primary, strict=True)]
    sides = _holm_over([(a.side_tests, {name: pairs_beforehand(a.regional[name]) for name in a.side_tests}) for a in answers])
    return [one.with_corrected(p, q, family) for one, p, q in zip(answers, both, sides, strict=True)]


def over_contrasts(answers: Sequence[Answer]) -> list[Answer]:
    """Corrected p of maps after Holm over contrasts, by each contrast's smallest; within one they keep their order."""
    if len(answers) == 1:
        return list(answers)
    corrected = [{region: dict(maps.corrected) for region, maps in one.maps.items()} for one in answers]
    for kind in CORRECTIONS:
        best = [min(float(np.nanmin(maps[kind])) for maps in one.values()) for one in corrected]
        floor = 0.0
        for rank, k in enumerate(np.argsort(best, kind="stable").tolist()):
            factor = len(answers) - rank
            for maps in corrected[k].values():
                maps[kind] = np.clip(np.maximum(maps[kind] * factor, floor), 0, 1).astype(np.float32)
            floor = max(floor, min(1.0, best[k] * factor))
    return [
        replace(
            one,
            contrasts=len(answers),
            maps={region: replace(maps, corrected=corrected[k][region]) for region, maps in one.maps.items()},
        )
        for k, one in enumerate(answers)
    ]


def _holm_over(
    families: Sequence[tuple[Mapping[str, Tested], Mapping[str, NDArray[np.bool_]]]],
) -> list[dict[str, NDArray[np.float64]]]:
    flat = [
        (n, name, k)
        for n, (tests, chosen) in enumerate(families)
        for name, test in tests.items()
        for k in range(len(test.p))
        if chosen[name][k] and np.isfinite(test.p[k])
    ]
    found = [{name: np.full(len(test.p), np.nan) for name, test in tests.items()} for tests, _ in families]
    if flat:
        corrected = holm(np.array([families[n][0][name].p[k] for n, name, k in flat]))
        for (n, name, k), p in zip(flat, corrected, strict=True):
            found[n][name][k] = p
    return found
