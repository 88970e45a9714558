"""Maps and tables of the group on disk."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cospine.pipeline.group_analysis import LEAST_SHARE, region_label
from cospine.pipeline.group_answer import CORRECTIONS, Answer, Maps
from cospine.pipeline.group_coupling import Coupling
from cospine.pipeline.group_files import GroupFiles
from cospine.pipeline.group_inputs import Question
from cospine.pipeline.group_nulls import KINDS
from cospine.pipeline.group_plan import GroupPlan
from cospine.pipeline.group_settings import GroupSettings
from cospine.quality.outliers import JUDGED, spreads
from cospine.space.cord_template import CordTemplate
from cospine.stats.local_maxima import local_maxima
from cospine.stats.regions import level_name, level_system_of

APART_MM = {"brain": 8.0, "cord": 6.0}
MOST_PEAKS = 20

_CORRECTED = {
    "voxel": "family-wise corrected p of single voxels",
    "tfce": "family-wise corrected p of threshold-free cluster enhancement",
    "mass": "family-wise corrected p of the mass of clusters",
}


def write_answer(files: GroupFiles, answer: Answer, settings: GroupSettings, cord: CordTemplate | None) -> None:
    """Write maps, peaks, regions, sides, reliability and effect sizes of one question."""
    question = answer.analysis.question
    key = question.label
    for maps in answer.maps.values():
        _write_maps(files, answer, maps, settings, cord)
    columns, about = peak_columns(answer, cord)
    files.table(key, files.name(question, "peaks", ".tsv"), columns, about, "largest values of z, apart from each other")
    columns, about = region_columns(answer)
    files.table(key, files.name(question, "regions", ".tsv"), columns, about, "mean effects in named regions, tested")
    if any(len(names) for names, _, _ in answer.sides.values()):
        columns, about = side_columns(answer)
        files.table(key, files.name(question, "laterality", ".tsv"), columns, about, "right against left, tested")
    columns, about = _person_columns(answer)
    files.table(key, files.name(question, "people", ".tsv"), columns, about, "each person's mean effect in each region")
    if answer.again:
        columns, about = again_columns(answer)
        files.table(key, files.name(question, "reliability", ".tsv"), columns, about, "agreement of runs")
    if answer.sizes:
        columns, about = size_columns(answer)
        files.table(
            key, files.name(question, "effectsizes", ".tsv"), columns, about, "effect sizes, cross-validated and circular"
        )


_ABOUT_PAIRS = {
    "r": "mean correlation over people, of all slices",
    "r_strangers": "the same between one person's brain and another's cord",
    "p_people": "against other people's cords",
    "p_shift": "against courses moved around in time",
    "p_phase": "against courses of random phases",
    "p_control": "against the same brain region with the tissue of the neck, by sign flips of people",
    "p_all": "the largest of them",
    "p_holm": "p_all corrected over all pairs",
}


_ABOUT_HORNS = {
    "kind": "dorsal-dorsal and ventral-ventral: left with right; within: dorsal with ventral of a side; crossed: the mean of "
    "both diagonals",
    "level": "Segment; all is the mean over segments",
    "r": "Mean correlation over people (by Fisher's z), of all slices: horns of one level are in the same ones",
    "low": "Lower limit of its 95 % interval (t)",
    "high": "Upper limit of its 95 % interval (t)",
    "p": "By t over people, two-sided, uncorrected",
    "p_fwe": "Corrected over all pairs of horns in this table, by sign flips of whole people",
}


def write_coupling(files: GroupFiles, coupling: Coupling) -> None:
    """Write mean correlations and their p."""
    key = f"coupling {coupling.task} {coupling.kind}"
    for stat, matrix, text in (
        ("r", coupling.r, "mean correlation over people (by Fisher's z)"),
        ("p", coupling.p, "p by t over people, two-sided, uncorrected"),
        ("pfwe", coupling.p_fwe, "p corrected over all pairs, by sign flips of whole people"),
    ):
        path = files.name(Question(coupling.task, ""), "relmat", ".tsv", desc=coupling.kind, stat=stat)
        systems = [level_system_of(name) for name in coupling.names]
        columns = {
            "region": coupling.names,
            "level_system": systems,
            **{name: matrix[:, k] for k, name in enumerate(coupling.names)},
        }
        files.table(key, path, columns, {"Description": text, "Participants": list(coupling.people)}, text)
    if coupling.pairs:
        path = files.name(Question(coupling.task, ""), "pairs", ".tsv", desc=coupling.kind)
        text = "brain with cord, named beforehand, against nulls and the neck's tissue"
        columns = {
            **{name: [getattr(one, name) for one in coupling.pairs] for name in ("brain", "cord", "people", "r")},
            "r_strangers": [one.expected for one in coupling.pairs],
            **{f"p_{name}": [one.p.get(name, np.nan) for one in coupling.pairs] for name in (*KINDS, "control")},
            "p_all": [one.p_all for one in coupling.pairs],
            "p_holm": [one.p_holm for one in coupling.pairs],
        }
        files.table(key, path, columns, {"Description": text, **_ABOUT_PAIRS}, text)
    if coupling.horns:
        path = files.name(Question(coupling.task, ""), "hornpairs", ".tsv", desc=coupling.kind)
        text = "horns of the cord with each other, by level"
        columns = {
            **{name: [getattr(one.pair, name) for one in coupling.horns] for name in ("kind", "level_system", "level")},
            **{name: [getattr(one, name) for one in coupling.horns] for name in ("people", "r", "low", "high", "p", "p_fwe")},
        }
        files.table(key, path, columns, {"Description": text, **_ABOUT_HORNS}, text)


def write_people(files: GroupFiles, plan: GroupPlan) -> None:
    """Write who was analysed in what, and everyone's quality."""
    rows = [
        (one.question, name, included, reason)
        for one in (*plan.analyses, *plan.refusals)
        for name, included, reason in (
            *((person.name, 1, "") for person in getattr(one, "people", ())),
            *((name, 0, reason) for name, reason in one.excluded),
        )
    ]
    columns: dict[str, Sequence[Any]] = {
        "task": [question.task for question, *_ in rows],
        "contrast": [question.contrast for question, *_ in rows],
        "participant": [name for _, name, *_ in rows],
        "analysed": [included for *_, included, _ in rows],
        "reason": [reason for *_, reason in rows],
    }
    about = {
        "participant": "Participant, with the dataset's name where there are several",
        "analysed": "1 where the person's map was analysed",
        "reason": "Why it was not",
    }
    files.table(
        "people", files.name(None, "participants", ".tsv", desc="flow"), columns, about, "who was analysed, who was not and why"
    )
    runs = quality_runs(plan)
    if runs:
        measures = [measure for *_, measure in runs]
        found = spreads(measures)
        table: dict[str, Sequence[Any]] = {
            "participant": [name for name, *_ in runs],
            "site": [site for _, site, *_ in runs],
            "run": [run for _, _, run, _ in runs],
        }
        for one in found:
            table[one.name] = one.values.tolist()
            table[f"{one.name}_z"] = one.scores.tolist()
        said = {f"{name}_z": f"Modified z score of {name}, positive on the bad side ({side})" for name, side in JUDGED.items()}
        files.table(
            "people", files.name(None, "quality", ".tsv", desc="runs"), table, {k: v for k, v in said.items() if k in table},
            "quality measures of all runs, with outlier scores",
        )  # fmt: skip


def quality_runs(plan: GroupPlan) -> list[tuple[str, str, str, Mapping[str, float]]]:
    """Name, site, prefix and measures of every run that has a quality record, of the tasks that are analysed."""
    tasks = {one.task for one in plan.inputs.questions}
    return [
        (one.name, one.site, prefix, measures)
        for one in plan.inputs.members
        for task in sorted(set(one.quality) & tasks)
        for prefix, measures in one.quality[task].items()
    ]


def peak_columns(answer: Answer, cord: CordTemplate | None) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Peaks of all regions."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "region", "x_mm", "y_mm", "z_mm", "vertebral_level", "spinal_segment", "z", "t", "effect_percent", "people", "p",
            *(f"p_fwe_{kind}" for kind in CORRECTIONS),
        )
    }  # fmt: skip
    for maps in answer.maps.values():
        for at in local_maxima(maps.z, maps.mask, maps.grid, apart_mm=APART_MM[maps.region], most=MOST_PEAKS):
            place = maps.grid.to_ras(at)
            vertebral, spinal = levels_at(place, cord) if maps.region == "cord" else ("n/a", "n/a")
            voxel = tuple(at)
            row = [
                maps.region, *(round(float(v), 1) for v in place), vertebral, spinal, float(maps.z[voxel]), float(maps.t[voxel]),
                float(maps.effect[voxel]), int(maps.count[voxel]), float(maps.p[voxel]),
                *(float(maps.corrected[kind][voxel]) for kind in CORRECTIONS),
            ]  # fmt: skip
            _append(columns, row)
    about = {
        "x_mm": "RAS mm in MNI152NLin2009aSym (brain) or PAM50 (cord)",
        "vertebral_level": "Vertebral level of the template, ±1",
        "spinal_segment": "Spinal segment of the template, ±1; not the vertebral level",
        "effect_percent": "Effect in % of the local temporal mean",
        "people": "People who measured the voxel",
        "p": "Uncorrected",
        **{
            f"p_fwe_{kind}": text[:1].upper() + text[1:] + ", over brain and cord together and over contrasts"
            for kind, text in _CORRECTED.items()
        },
    }
    return columns, about


def levels_at(place: Any, cord: CordTemplate | None) -> tuple[str, str]:
    """Vertebral level and spinal segment at a height of the template; n/a where there is none."""
    if cord is None:
        return "n/a", "n/a"
    k = int(np.clip(np.rint(cord.grid.to_voxel(place)[2]), 0, cord.grid.shape[2] - 1))
    numbers = (int(cord.vertebral[..., k].max()), int(cord.spinal[..., k].max()))
    names = zip(numbers, ("vertebral", "spinal"), strict=True)
    vertebral, spinal = (level_name(number, system) if number else "n/a" for number, system in names)
    return vertebral, spinal


def _append(columns: dict[str, list[Any]], row: Sequence[Any]) -> None:
    """Add a row to a table, its cells in the order of the columns."""
    for name, value in zip(columns, row, strict=True):
        columns[name].append(value)


def region_columns(answer: Answer) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Every region of every set."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "region", "set", "side", "part", "level_system", "level", "named_beforehand", "people", "effect_percent", "ci_low",
            "ci_high", "t", "p", "p_holm",
            "recovery",
        )
    }  # fmt: skip
    for name, means in answer.regional.items():
        test, corrected = answer.region_tests[name], answer.region_p[name]
        for k, region in enumerate(means.regions):
            row = [
                region.name, name, region.side, region.part, region.level_system, region.level_label, int(means.primary[k]),
                int(test.people[k]), test.effect[k], test.low[k], test.high[k], test.t[k],
                test.p[k] if means.primary[k] else np.nan, corrected[k], answer.recovery.get(region.name, np.nan),
            ]  # fmt: skip
            _append(columns, row)
    about = {
        "set": "spinal, vertebral: horns of the cord by these levels; spheres: places in the brain from the literature; atlas: "
        "given",
        "level_system": "How levels are counted: spinal segments and vertebral levels are two systems",
        "named_beforehand": "1: expected for the task, and corrected together with all others so named",
        "people": "People who measured enough of the region",
        "effect_percent": "Effect in % of the local temporal mean",
        "ci_low": "Lower limit of its 95 % interval (t)",
        "ci_high": "Upper limit of its 95 % interval (t)",
        "p": "By permutation, two-sided, uncorrected; of regions named beforehand",
        "p_holm": "Corrected after Holm over the regions named beforehand of all contrasts; those of an atlas by themselves",
        "recovery": "Share of an effect in this horn alone that its mean keeps through voxels, linear interpolation to PAM50 and "
        "smoothing of most people's maps; blur by motion correction and unwarping comes on top. effect_percent is not divided "
        "by it",
    }
    return columns, about


def side_columns(answer: Answer) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Right against left."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("region", "set", "people", "index_mean", "difference_percent", "ci_low", "ci_high", "t", "p", "p_holm")
    }
    for name, (names, index, _) in answer.sides.items():
        test, corrected = answer.side_tests[name], answer.side_p[name]
        for k, region in enumerate(names):
            held = index[:, k][np.isfinite(index[:, k])]
            row = [
                region, name, int(test.people[k]), float(held.mean()) if held.size else None, test.effect[k], test.low[k],
                test.high[k], test.t[k], test.p[k], corrected[k],
            ]  # fmt: skip
            _append(columns, row)
    about = {
        "index_mean": "Mean over people of (R - L) / (|R| + |L|): 1 all right, -1 all left",
        "difference_percent": "R - L in % of the local temporal mean; this is what is tested",
        "p_holm": "Corrected after Holm over the pairs named beforehand of all contrasts",
    }
    return columns, about


def again_columns(answer: Answer) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Agreement of runs."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("region", "set", "people", "runs", "icc_3_1", "ci_low", "ci_high", "split_half")
    }
    for name, one in answer.again.items():
        for n, k in enumerate(one.places):
            row = [
                answer.regional[name].regions[k].name, name, one.people, one.runs, one.icc[n], one.low[n], one.high[n],
                one.split_half[n],
            ]  # fmt: skip
            _append(columns, row)
    about = {
        "icc_3_1": "Intraclass correlation of single runs, consistency (Shrout and Fleiss 1979)",
        "split_half": "Split-half reliability of all runs (Spearman-Brown)",
    }
    return columns, about


def size_columns(answer: Answer) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Effect sizes, cross-validated and circular."""
    sizes = answer.sizes
    columns: dict[str, list[Any]] = {
        "searched": list(sizes),
        "voxels": [one.voxels for one in sizes.values()],
        "effect_percent": [one.unbiased.mean for one in sizes.values()],
        "d": [one.unbiased.d for one in sizes.values()],
        "g": [one.unbiased.g for one in sizes.values()],
        "effect_percent_circular": [one.circular.mean for one in sizes.values()],
        "d_circular": [one.circular.d for one in sizes.values()],
    }
    about = {
        "voxels": "Strongest voxels whose mean is told",
        "effect_percent": "Voxels chosen in all other people, measured in each: not biased by the choice",
        "g": "d freed of the bias of small samples (Hedges 1981)",
        "effect_percent_circular": "Voxels chosen and measured in the same people: inflated by the choice, to compare alone",
    }
    return columns, about


def _person_columns(answer: Answer) -> tuple[dict[str, list[Any]], dict[str, str]]:
    people = answer.analysis.people
    columns: dict[str, list[Any]] = {
        "participant": [one.name for one in people],
        "site": [one.site for one in people],
    }
    about = {"participant": "Participant", "site": "Site"}
    for means in answer.regional.values():
        for k, region in enumerate(means.regions):
            columns[region.name] = means.values[:, k].tolist()
            about[region.name] = f"{region_label(region)}: mean effect in % of the local temporal mean"
    return columns, about


def _write_maps(files: GroupFiles, answer: Answer, maps: Maps, settings: GroupSettings, cord: CordTemplate | None) -> None:
    question, key = answer.analysis.question, answer.analysis.label
    images = {
        ("effect", None): (maps.effect, "effect in % of the local temporal mean"),
        ("t", None): (maps.t, "t"),
        ("z", None): (maps.z, "z of the same tail probability as t"),
        ("p", None): (maps.p, "p by permutation, uncorrected"),
        **{("pfwe", kind): (maps.corrected[kind], _CORRECTED[kind]) for kind in CORRECTIONS},
        ("n", None): (maps.count.astype(np.float32), "people who measured each voxel"),
    }
    for (stat, kind), (values, text) in images.items():
        path = files.name(question, "statmap", ".nii.gz", space=maps.space, desc=kind, stat=stat)
        outside = 1.0 if stat.startswith("p") else 0.0
        inside = np.ones_like(maps.mask) if stat == "n" else maps.mask
        files.image(
            key, path, np.where(inside, np.nan_to_num(values, nan=outside), outside).astype(np.float32), maps.grid.affine, text
        )
    path = files.name(question, "mask", ".nii.gz", space=maps.space, desc="analysed")
    files.image(key, path, maps.mask, maps.grid.affine, "voxels that were tested")
    people = answer.analysis.people
    sidecars = [one.effects[question, maps.space].sidecar for one in people]
    design = answer.analysis.design
    content = {
        "Description": f"{design.said}: {question.label}",
        "Units": unit_of(answer),
        "Test": design.said,
        "Participants": [one.name for one in people],
        "Excluded": [{"Participant": name, "Reason": reason} for name, reason in answer.analysis.excluded],
        "Design": {name: design.matrix[:, k] for k, name in enumerate(design.names)},
        "Contrast": design.contrast,
        "Rearrangements": answer.permutations,
        "RearrangementKind": answer.kind,
        "FamilyWiseOver": list(answer.maps),
        "ContrastsCorrectedFor": answer.contrasts,
        "ClusterFormingP": settings.cluster_p,
        "LeastShareOfPeople": LEAST_SHARE,
        "OutsideOfTheMask": "0; 1 in maps of p",
        **{name: _common(sidecars, name) for name in ("Model", "HRF", "Smoothing_mm")},
        **({"CordTemplate": cord.source} if maps.region == "cord" and cord is not None else {}),
        "Parameters": settings.parameters(),
    }
    path = files.name(question, "statmap", ".json", space=maps.space)
    files.sidecar(key, path, content, "what the maps are")


def unit_of(answer: Answer) -> Any:
    """Unit of the effects, as the people's sidecars have it."""
    question = answer.analysis.question
    said = []
    for one in answer.analysis.people:
        for (of, _), effect in one.effects.items():
            unit = effect.sidecar.get("Units", "%")
            said += [{"Units": unit.get("effect", "%") if isinstance(unit, dict) else unit}] if of == question else []
    return _common(said, "Units") or "%"


def _common(sidecars: Sequence[Mapping[str, Any]], name: str) -> Any:
    """An entry that everyone's sidecar has the same; else all that there are."""
    values = [one[name] for one in sidecars if name in one]
    distinct = [value for n, value in enumerate(values) if value not in values[:n]]
    return distinct[0] if len(distinct) == 1 else distinct or None
