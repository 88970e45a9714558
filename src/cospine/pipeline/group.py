"""The group level: every question answered, written and shown on one page; one that fails never stops the others."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Derivatives
from cospine.errors import CoSpineError
from cospine.pipeline.group_analysis import laterality_of, pairs_beforehand, region_sets, regional, run_values, stacked
from cospine.pipeline.group_answer import Answer, Tested, answer_of, tested_regions
from cospine.pipeline.group_coupling import coupling_of
from cospine.pipeline.group_files import GroupFiles
from cospine.pipeline.group_outputs import write_answer, write_coupling, write_people
from cospine.pipeline.group_page import group_page
from cospine.pipeline.group_plan import GroupPlan, Refusal, plan_group
from cospine.pipeline.progress import Event, Listener, silent
from cospine.space.cord_template import CordTemplate, with_parametric_contrasts
from cospine.space.templates import cord_template
from cospine.stats.permutation import holm

__all__ = ["GroupOutcome", "group_level", "plan_group"]

logger = logging.getLogger(__name__)


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
    answers = _corrected(answers)
    listen(Event("group", "report", "coupling", 0.8))
    couplings = coupling_of(plan)
    out = Derivatives(output_dir.resolve(), bids_dir.resolve())
    aside = f"compare-{settings.compare}" if settings.compare else ""
    files = GroupFiles(out, out.root / "group" / aside)
    listen(Event("group", "report", "write", 0.85))
    for answer in answers:
        write_answer(files, answer, settings, cord)
    for coupling in couplings:
        write_coupling(files, coupling)
    write_people(files, plan)
    files.remove_others()
    listen(Event("group", "report", "report", 0.9))
    path = out.root / (f"group_{aside}.html" if aside else "group.html")
    out.write_text(path, group_page(plan, answers, refusals, couplings, cord, files))
    listen(Event("group", "", "", 1.0))
    return GroupOutcome(path, not refusals)


def _answered(plan: GroupPlan, number: int, cord: CordTemplate | None, listen: Listener) -> Answer:
    """Everything about one question but the correction over all of them."""
    analysis, settings = plan.analyses[number], plan.settings
    stacks = stacked(analysis, cord)
    at = 0.8 * (number + 0.3) / len(plan.analyses)
    listen(Event("group", analysis.label, "permutations", at))
    answer = answer_of(analysis, stacks, settings)
    listen(Event("group", analysis.label, "regions", 0.8 * (number + 0.9) / len(plan.analyses)))
    sets = region_sets(analysis.question.task, stacks, cord, settings)
    means = regional(analysis, stacks, cord, settings)
    tests = {name: tested_regions(one.values, analysis.design, settings) for name, one in means.items()}
    sides = {name: laterality_of(one) for name, one in means.items() if name in ("spinal", "spheres")}
    side_tests = {name: tested_regions(difference, analysis.design, settings) for name, (_, _, difference) in sides.items()}
    runs = {name: values for name in ("spinal", "spheres") if name in sets and (values := run_values(analysis, sets, name))}
    return answer.with_regions(stacks, sets, means, tests, sides, side_tests, runs)


def _corrected(answers: Sequence[Answer]) -> list[Answer]:
    """Holm over the regions named beforehand of all contrasts; apart for sides, which are another question."""
    primary = _holm_over([(a.region_tests, {name: one.primary for name, one in a.regional.items()}) for a in answers])
    sides = _holm_over([(a.side_tests, {name: pairs_beforehand(a.regional[name]) for name in a.side_tests}) for a in answers])
    return [one.with_corrected(p, q) for one, p, q in zip(answers, primary, sides, strict=True)]


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
