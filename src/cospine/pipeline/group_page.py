"""From answers to the page of the group: numbers, verdicts, figures and tables."""

import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from cospine import __version__
from cospine.pipeline.group_analysis import region_label
from cospine.pipeline.group_answer import Answer
from cospine.pipeline.group_coupling import Coupling
from cospine.pipeline.group_files import GroupFiles
from cospine.pipeline.group_inputs import Question
from cospine.pipeline.group_nulls import KINDS
from cospine.pipeline.group_outputs import again_columns, peak_columns, quality_runs, size_columns, unit_of
from cospine.pipeline.group_pictures import answer_figures
from cospine.pipeline.group_plan import Analysis, GroupPlan, Refusal, rules_text
from cospine.quality.coupling_figures import matrix_figure
from cospine.quality.figure import Figure
from cospine.quality.group_charts import quality_figure
from cospine.quality.group_methods import group_methods
from cospine.quality.group_report import AnalysisReport, FlowBox, GroupReport, Table, group_html, number_text, p_text
from cospine.quality.measures import MEASURES
from cospine.quality.outliers import spreads
from cospine.quality.report import Failure, Number, Verdict
from cospine.space.cord_template import CordTemplate

_SHOWN_PEAKS = 8
_SMALL = 0.05


def group_page(
    plan: GroupPlan,
    answers: Sequence[Answer],
    refusals: Sequence[Refusal],
    couplings: Sequence[Coupling],
    cord: CordTemplate | None,
    files: GroupFiles,
) -> str:
    """The page as HTML text."""
    settings = plan.settings
    regions = tuple(region for region in ("brain", "cord") if any(region in one.maps for one in answers))
    text = group_methods(
        __version__, regions=regions, rules=rules_text(settings), test=answers[0].analysis.design.said,
        permutations=max(one.permutations for one in answers), cluster_p=settings.cluster_p,
        template="" if cord is None else cord.source, coupling=bool(couplings), combat=settings.combat,
    )  # fmt: skip
    members = plan.inputs.members
    report = GroupReport(
        dataset=plan.inputs.dataset,
        version=__version__,
        people=len(members),
        rules=rules_text(settings),
        flows=tuple(_flow(one) for one in (*(a.analysis for a in answers), *refusals)),
        analyses=tuple(_section(one, cord, files) for one in answers),
        couplings=tuple(_coupling_section(one, files) for one in couplings),
        quality=_quality(plan),
        notes=plan.inputs.notes,
        errors=tuple(Failure(one.question.label, one.error.what, one.error.remedy) for one in refusals),
        attributes=(
            ("sites", ", ".join(f"{site} ({count})" for site, count in sorted(Counter(one.site for one in members).items()))),
            ("tasks", ", ".join(sorted({task for one in members for task in one.tasks}))),
            ("contrasts", ", ".join(one.label for one in plan.inputs.questions)),
        ),
        settings=tuple((key, _shown(value)) for key, value in settings.parameters().items()),
        software=(
            ("CoSpine", __version__),
            ("Python", platform.python_version()),
            *((name, version(name)) for name in ("numpy", "scipy", "nibabel", "nilearn")),
        ),
        provenance=(("Dataset", plan.inputs.dataset), *((("Cord template", cord.source),) if cord is not None else ())),
        methods=text.paragraphs,
        citations=text.citations,
    )
    return group_html(report)


def _flow(one: Analysis | Refusal) -> FlowBox:
    reasons: dict[str, list[str]] = {}
    for name, reason in one.excluded:
        reasons.setdefault(reason, []).append(name)
    people = one.people if isinstance(one, Analysis) else ()
    by_site = ", ".join(f"{site}: {count}" for site, count in Counter(person.site for person in people).items())
    return FlowBox(
        title=one.question.label + ("" if isinstance(one, Analysis) else " (refused)"),
        task=one.question.task,
        considered=one.considered,
        analysed=len(people),
        excluded=tuple((reason, tuple(names)) for reason, names in reasons.items()),
        by_site=by_site,
    )


def _section(answer: Answer, cord: CordTemplate | None, files: GroupFiles) -> AnalysisReport:
    analysis = answer.analysis
    design = analysis.design
    key = "c-" + "".join(letter if letter.isalnum() else "-" for letter in analysis.label)
    facts = (
        ("test", design.said),
        ("people", f"{len(analysis.people)} of {analysis.considered}"),
        ("columns of the design", ", ".join(design.names)),
        (answer.kind, f"{answer.permutations}"),
        ("smallest possible p, maps", p_text(answer.smallest_p)),
        ("the same, regions", p_text(answer.smallest_region_p)),
        *(
            (
                f"{name}, voxels tested",
                f"{np.count_nonzero(maps.mask)}, each by {_span(maps.count[maps.mask])} people",
            )
            for name, maps in answer.maps.items()
        ),
    )
    parts: list[Figure | Table] = [*answer_figures(answer, cord), *_tables(answer, cord, files)]
    return AnalysisReport(
        key=key,
        title=analysis.label,
        verdicts=_verdicts(answer, cord),
        numbers=_numbers(answer),
        notes=(*answer.notes, *_of_seed(answer)),
        facts=facts,
        parts=tuple(parts),
        outputs=files.listed(analysis.label),
    )


def _of_seed(answer: Answer) -> tuple[str, ...]:
    """What has to be known of a seed's contrast."""
    if not answer.analysis.seed:
        return ()
    return (
        f"Coupling with {answer.analysis.seed}: effects are in {unit_of(answer)}. The seed and the voxels beside it have no "
        "estimate. Its contrasts are a family of their own: p is corrected over them alone.",
    )


def _numbers(answer: Answer) -> tuple[Number, ...]:
    numbers = [Number("People", f"{len(answer.analysis.people)}", f"of {answer.analysis.considered}")]
    for name, maps in answer.maps.items():
        volume = np.count_nonzero(maps.significant) * abs(float(np.linalg.det(maps.grid.affine[:3, :3])))
        value, unit = (f"{volume / 1000:.1f}", "ml") if name == "brain" else (f"{volume:.0f}", "mm³")
        numbers.append(Number(f"{name.capitalize()}, significant (TFCE)", value, unit, region=name))  # type: ignore[arg-type]
        z = np.where(maps.mask, maps.z, np.nan)
        peak = float(np.nanmax(z) if np.nanmax(z) >= -np.nanmin(z) else np.nanmin(z))
        numbers.append(Number(f"{name.capitalize()}, peak z", number_text(peak), region=name))  # type: ignore[arg-type]
    return tuple(numbers)


def _verdicts(answer: Answer, cord: CordTemplate | None) -> tuple[Verdict, ...]:
    lines = []
    if answer.smallest_p > _SMALL:
        lines.append(
            Verdict(
                "bad",
                f"With {len(answer.analysis.people)} people no p below {answer.smallest_p:.2g} is possible, whatever the effect: "
                "nothing here can be significant. Maps and means are worth a look, tests are not.",
            )
        )
    columns, _ = peak_columns(answer, cord)
    for name, maps in answer.maps.items():
        places = [k for k, region in enumerate(columns["region"]) if region == name]
        if not places:
            continue
        # of what is significant the largest, not of all: a lone voxel elsewhere may be larger
        row = next((k for k in places if columns["p_fwe_tfce"][k] < _SMALL), places[0])
        where = ", ".join(number_text(columns[axis][row], 0) for axis in ("x_mm", "y_mm", "z_mm"))
        if name == "cord":
            where += f": vertebral level {columns['vertebral_level'][row]}, spinal segment {columns['spinal_segment'][row]}, ±1"
        peak = f"z {number_text(columns['z'][row])}, {number_text(columns['effect_percent'][row])} %, at {where}"
        best = columns["p_fwe_tfce"][row]
        if maps.significant.any():
            lines.append(
                Verdict("good", f"{name.capitalize()}: significant after correction over brain, cord and contrasts. Peak {peak}.")
            )
        else:
            lines.append(
                Verdict("look", f"{name.capitalize()}: nothing survives correction (p {p_text(best)} at the peak, {peak}).")
            )
    sure = [
        f"{region_label(region)} (p {p_text(float(answer.region_p[name][k]))})"
        for name, means in answer.regional.items()
        for k, region in enumerate(means.regions)
        if np.isfinite(answer.region_p[name][k]) and answer.region_p[name][k] < _SMALL
    ]
    if sure:
        lines.append(Verdict("good", f"Regions named beforehand that are significant: {', '.join(sure)}."))
    elif answer.smallest_region_p > _SMALL:
        lines.append(
            Verdict(
                "look",
                f"No region can be significant: the smallest p that {len(answer.analysis.people)} people allow is "
                f"{answer.smallest_region_p:.2g} after correction over {answer.family} regions of all contrasts. Name fewer "
                "contrasts (--contrast).",
            )
        )
    elif answer.smallest_p <= _SMALL:
        lines.append(Verdict("look", "No region named beforehand is significant after correction over them and all contrasts."))
    return tuple(lines)


def _tables(answer: Answer, cord: CordTemplate | None, files: GroupFiles) -> list[Table]:
    question = answer.analysis.question
    tables = []
    columns, _ = peak_columns(answer, cord)
    for name in answer.maps:
        rows, marked = [], []
        for k in [k for k, region in enumerate(columns["region"]) if region == name][:_SHOWN_PEAKS]:
            place = ", ".join(number_text(columns[axis][k], 0) for axis in ("x_mm", "y_mm", "z_mm"))
            levels = (str(columns["vertebral_level"][k]), str(columns["spinal_segment"][k])) if name == "cord" else ()
            if columns["p_fwe_tfce"][k] < _SMALL:
                marked.append(len(rows))
            rows.append(
                (
                    place, *levels, number_text(columns["z"][k]), number_text(columns["effect_percent"][k]),
                    str(columns["people"][k]), *(p_text(columns[f"p_fwe_{kind}"][k]) for kind in ("tfce", "voxel", "mass")),
                )
            )  # fmt: skip
        head = ("vertebral level", "spinal segment") if name == "cord" else ()
        tables.append(
            Table(
                f"Peaks in the {name}",
                "The largest values of z that stand apart, whether significant or not; in bold where TFCE's corrected p is below "
                "0.05. All p are corrected over brain, cord and contrasts."
                + (" Levels are the template's, ±1; vertebral and spinal ones are two systems." if name == "cord" else ""),
                ("x, y, z (mm)", *head, "z", "effect (%)", "people", "p TFCE", "p voxel", "p cluster mass"),
                tuple(rows),
                tuple(marked),
                files.relative(files.name(question, "peaks", ".tsv")),
            )
        )
    tables.append(_region_table(answer, files))
    if answer.sizes:
        tables.append(_size_table(answer, files))
    if answer.again:
        tables.append(_again_table(answer, files))
    return tables


def _region_table(answer: Answer, files: GroupFiles) -> Table:
    rows, marked = [], []
    for name, means in answer.regional.items():
        test, corrected = answer.region_tests[name], answer.region_p[name]
        for k in np.flatnonzero(means.primary):
            if corrected[k] < _SMALL:
                marked.append(len(rows))
            interval = f"{number_text(test.low[k])} to {number_text(test.high[k])}"
            rows.append(
                (
                    region_label(means.regions[k]), str(int(test.people[k])), number_text(test.effect[k]), interval,
                    number_text(test.t[k]), p_text(float(test.p[k])), p_text(float(corrected[k])),
                    number_text(answer.recovery.get(means.regions[k].name, float("nan"))),
                )
            )  # fmt: skip
    return Table(
        "Regions named beforehand",
        "Mean effects with their 95 % intervals; p by permutation, then corrected after Holm over all these regions and all "
        "contrasts (an atlas by itself). The last column is the share of an effect in that horn alone which its mean keeps "
        "through voxels, the way to PAM50 and smoothing (blur by motion correction and unwarping comes on top); effects are not "
        "divided by it. A dash: too few people measured the region; in the last column no horn, or maps of an earlier version.",
        ("region", "people", "effect (%)", "95 % interval", "t", "p", "p Holm", "recovery"),
        tuple(rows),
        tuple(marked),
        files.relative(files.name(answer.analysis.question, "regions", ".tsv")),
    )


def _size_table(answer: Answer, files: GroupFiles) -> Table:
    columns, _ = size_columns(answer)
    rows = tuple(
        (
            columns["searched"][k], str(columns["voxels"][k]), number_text(columns["effect_percent"][k]),
            number_text(columns["d"][k]), number_text(columns["effect_percent_circular"][k]),
            number_text(columns["d_circular"][k]),
        )
        for k in range(len(columns["searched"]))
    )  # fmt: skip
    return Table(
        "Effect in the strongest voxels",
        "Cross-validated: voxels are chosen in all other people and measured in each person. Circular: chosen and measured "
        "in the same people, as is often reported; the difference is what the choice alone adds. Only the first is an "
        "effect size.",
        ("searched", "voxels", "effect (%)", "d", "effect (%), circular", "d, circular"),
        rows,
        (),
        files.relative(files.name(answer.analysis.question, "effectsizes", ".tsv")),
    )


def _again_table(answer: Answer, files: GroupFiles) -> Table:
    columns, _ = again_columns(answer)
    labels = {one.name: region_label(one) for means in answer.regional.values() for one in means.regions}
    primary = {
        one.name for means in answer.regional.values() for one, first in zip(means.regions, means.primary, strict=True) if first
    }
    rows = tuple(
        (
            labels[name], str(columns["people"][k]), str(columns["runs"][k]), number_text(columns["icc_3_1"][k]),
            f"{number_text(columns['ci_low'][k])} to {number_text(columns['ci_high'][k])}", number_text(columns["split_half"][k]),
        )
        for k, name in enumerate(columns["region"])
        if name in primary
    )  # fmt: skip
    return Table(
        "Agreement of runs",
        "ICC(3,1) of single runs with its 95 % interval, and split-half reliability of all runs together, over people. High "
        "values say that people differ reliably, not that there is an effect.",
        ("region", "people", "runs", "ICC(3,1)", "95 % interval", "split-half"),
        rows,
        (),
        files.relative(files.name(answer.analysis.question, "reliability", ".tsv")),
    )


def _coupling_section(one: Coupling, files: GroupFiles) -> AnalysisReport:
    sure = np.nan_to_num(one.p_fwe, nan=1.0) < _SMALL
    upper = np.triu(sure, 1)
    pairs = [f"{one.names[a]} with {one.names[b]} (r {number_text(one.r[a, b])})" for a, b in np.argwhere(upper)[:12]]
    floor = 2.0 ** (1 - len(one.people))
    if pairs:
        line = Verdict("good", f"Significant over all pairs: {', '.join(pairs)}. Sites and covariates are not taken out here.")
    elif floor > _SMALL:
        line = Verdict("look", f"{len(one.people)} people allow no p below {floor:.2g}: no pair can be significant.")
    else:
        line = Verdict("look", "No pair is significant after correction over all pairs.")
    figure = matrix_figure(
        f"Coupling, {one.kind}", {one.kind: one.r}, {one.kind: sure}, one.names,
        "Mean correlation over people (by Fisher's z). Circles: p < 0.05 by sign flips of whole people, corrected over all "
        "pairs. The diagonal is left out.",
    )  # fmt: skip
    parts: list[Figure | Table] = [figure]
    if one.pairs:
        shown = one.pairs[:12]
        rows = tuple(
            (pair.brain, pair.cord, f"{pair.people}", number_text(pair.r), number_text(pair.expected),
             *(p_text(pair.p[name]) if name in pair.p else "n/a" for name in (*KINDS, "control")), p_text(pair.p_holm))
            for pair in shown
        )  # fmt: skip
        parts.append(
            Table(
                "Brain and cord against nulls",
                f"The {len(shown)} strongest of {len(one.pairs)} pairs named beforehand (horns by spinal segment). Their "
                "correlation beside that of one person's brain with another's cord, and p against other people's cords, "
                "courses moved in time, courses of random phases, and the same brain region with the tissue of the neck. "
                "The last column takes the largest of these, corrected over all pairs (Holm). All slices count here, and none of "
                "these nulls has what leaks between slices that are excited together: it was taken out of each person's courses "
                "where it was found. Compare with the matrix that leaves such slices out, and see each person's correlation of "
                "simultaneous slices.",
                ("brain", "cord", "people", "r", "r of strangers", "p people", "p shift", "p phase", "p neck", "p all, Holm"),
                rows,
                tuple(k for k, pair in enumerate(shown) if pair.p_holm < _SMALL),
                files.relative(files.name(Question(one.task, ""), "pairs", ".tsv", desc=one.kind)),
            )
        )
    if one.horns:
        rows = tuple(
            (test.pair.kind, test.pair.level, f"{test.people}", number_text(test.r),
             f"{number_text(test.low)} to {number_text(test.high)}", p_text(test.p), p_text(test.p_fwe))
            for test in one.horns
        )  # fmt: skip
        parts.append(
            Table(
                "Horns with each other",
                "Correlation of the cord's horns within a spinal segment, mean over people and its 95 % interval: left with "
                "right dorsal and ventral horns, as resting-state studies tell it (Barry et al., 2014), dorsal with ventral of a "
                "side, and both diagonals. Horns are hardly wider than voxels and share noise with their neighbours: what all "
                "five have in common is no network. p is corrected over the table, by sign flips of whole people.",
                ("pair", "segment", "people", "r", "95 % interval", "p", "p corrected"),
                rows,
                tuple(k for k, test in enumerate(one.horns) if test.p_fwe < _SMALL),
                files.relative(files.name(Question(one.task, ""), "hornpairs", ".tsv", desc=one.kind)),
            )
        )
    key = f"coupling {one.task} {one.kind}"
    return AnalysisReport(
        key="k-" + "".join(letter if letter.isalnum() else "-" for letter in f"{one.task}-{one.kind}"),
        title=f"Coupling: {one.task}, {one.kind}",
        verdicts=(line,),
        numbers=(Number("People", f"{len(one.people)}"), Number("Regions", f"{len(one.names)}")),
        notes=(*one.notes, *(f"{name} left out: {reason}." for name, reason in one.excluded)),
        parts=tuple(parts),
        outputs=files.listed(key),
    )


def _quality(plan: GroupPlan) -> tuple[Figure | Table, ...]:
    runs = quality_runs(plan)
    if not runs:
        return ()
    found = spreads([measures for *_, measures in runs])
    limits = {"fd_mean_mm": plan.settings.max_fd, "tsnr_cord_after": plan.settings.min_cord_tsnr}
    names = [name for name, *_ in runs]
    rows = tuple(
        (names[k], runs[k][2], MEASURES[one.name][1], number_text(one.values[k]), number_text(float(np.nanmedian(one.values))),
         number_text(one.scores[k], 1))
        for one in found
        for k in np.flatnonzero(one.outliers)
    )  # fmt: skip
    parts: list[Figure | Table] = [quality_figure(found, names, [site for _, site, *_ in runs], limits)] if found else []
    if rows:
        parts.append(
            Table(
                "Outliers",
                "Runs far out on the bad side of a measure. They were analysed unless a rule above excluded them.",
                ("participant", "run", "measure", "value", "median of all", "modified z"),
                rows,
            )
        )
    return tuple(parts)


def _span(counts: NDArray[np.int16]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none given"
    return str(value) if value != "" else "none given"
