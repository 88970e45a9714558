"""How often a group finds what digital participants truly have (METHODS 20).

    cospine simulate RAW --participants 40 --protocol small --task pain --volumes 100
    cospine run RAW DERIVATIVES participant --pnm-orders 2 2 0 0
    python benchmarks/power.py RAW DERIVATIVES [RAW DERIVATIVES ..] [--people 20] [--groups 200] [--strengths 1 2 4 ..]

Groups are drawn from those who were processed, of all datasets together, without putting back. Brain: area under the curve that t
over people in MNI draws between voxels that are active and voxels that are not, by the true maps (of the phantom's own
transforms; active where the mean over all people is half of its largest, not active below a fiftieth of it).

Cord: how often the horn that is active, at its segment and side, is significant among the horns named beforehand (Holm), by sign
flips; how often another of them is; and how often it is the strongest of all. Stronger responses are made of the same people: the
model is linear, so that a response twice as strong adds the true effect of each voxel, carried to PAM50 by the run's own
transforms and smoothed like its maps, to the effect that was measured.

Beside stands the power of a t test at the first step of Holm for the ratio of true effect and spread over people: of this
test; of the same mean of the template's horn, not smoothed, where the run puts it and laid on the true cord of each slice
(METHODS 20: a test should have 80 % of what true transforms give); and of estimates that know where the phantom's own horn is,
the true course of the response and true phases of pulse and breathing, on the corrected series: the mean of its voxels
("known"), and voxels and slices weighted by the horn's share in them and their precision ("ideal").
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import ants
import numpy as np
from ants_images import to_ants
from normalisation import read, true_displacement, true_map
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.stats import nct, rankdata
from scipy.stats import t as t_distribution

from cospine.bids import read_tsv
from cospine.motion.handover import acquisition_times
from cospine.pipeline.group_analysis import cord_sets, expected_horns, template_mask
from cospine.signal.drift import cosine_drift
from cospine.signal.smoothing import smooth_within
from cospine.space.cord_template import parametric_cord_template
from cospine.space.grid import Grid
from cospine.space.templates import brain_template
from cospine.stats.model import builtin_model, run_model
from cospine.stats.permutation import holm, region_test
from cospine.stats.regions import region_means

TR_S = 2.68
LEVEL = 0.05
SMOOTHING_MM = (2.0, 2.0, 6.0)
"""Of a run's maps of the cord."""
MNI, PAM50 = "MNI152NLin2009aSym", "PAM50"
ACTIVE = {"pain": "dorsal_R_spinal-C6"}
"""The horn that the phantom activates."""


@dataclass(frozen=True, eq=False)
class Person:
    """Where one person's data lie."""

    name: str
    raw: Path
    derivatives: Path

    def truth(self, pattern: str) -> Path:
        """A file of the truth of the run."""
        return next((self.raw / "sourcedata/truth" / self.name / "func").glob(pattern))

    def made(self, pattern: str) -> Path:
        """A file of the derivatives of the run."""
        return next((self.derivatives / self.name / "func").glob(pattern))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="+", metavar="RAW DERIVATIVES")
    parser.add_argument("--task", default="pain", choices=sorted(ACTIVE))
    parser.add_argument("--contrast", default="pain")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--strengths", type=float, nargs="+", default=[1, 2, 4, 8, 16, 32], help="of the cord's response")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if len(chosen.datasets) % 2:
        parser.error("each RAW needs its DERIVATIVES")
    everyone = people_of(list(zip(chosen.datasets[::2], chosen.datasets[1::2], strict=True)), chosen.task, chosen.contrast)
    if len(everyone) <= chosen.people:
        parser.error(f"{len(everyone)} people for groups of {chosen.people}")
    print(f"{len(everyone)} people, {chosen.groups} groups of {chosen.people}", flush=True)
    rng = np.random.default_rng(chosen.seed)
    groups = [rng.choice(len(everyone), chosen.people, replace=False) for _ in range(chosen.groups)]
    told_brain(everyone, chosen, groups)
    told_cord(everyone, chosen, groups)


def people_of(datasets: list[tuple[Path, Path]], task: str, contrast: str) -> list[Person]:
    """Those who have maps of brain and cord."""
    found = []
    for raw, derivatives in datasets:
        for folder in sorted(path for path in derivatives.glob("sub-*") if path.is_dir()):
            maps = [
                list((folder / "func").glob(f"*task-{task}_space-{space}_contrast-{contrast}_stat-effect_statmap.nii.gz"))
                for space in (MNI, PAM50)
            ]
            if all(maps):
                found.append(Person(folder.name, raw, derivatives))
            else:
                print(f"{derivatives / folder.name}: no maps of both, left out")
    return found


def told_brain(everyone: list[Person], chosen: argparse.Namespace, groups: list[NDArray]) -> None:
    """Print how well the brain's maps tell active voxels from others."""
    effects, mask = brain_effects([effect_map(one, chosen.task, MNI, chosen.contrast) for one in everyone])
    active, quiet = true_places(everyone, chosen.task, mask)
    areas = []
    for people in groups:
        t = one_sample(effects[people])
        areas.append(area(t[active], t[quiet]))
    low, middle, high = np.percentile(areas, [5, 50, 95])
    print(
        f"brain, area under the curve: median {middle:.3f} (5-95 %: {low:.3f}-{high:.3f}); {active.sum()} active voxels",
        flush=True,
    )


def told_cord(everyone: list[Person], chosen: argparse.Namespace, groups: list[NDArray]) -> None:
    """Print how often the active horn is found, at each strength of its response, and what an ideal estimate would do."""
    cords = [effect_map(one, chosen.task, PAM50, chosen.contrast) for one in everyone]
    variances = [read(variance_of(path))[0] for path in cords]
    means, names = horns([read(path) for path in cords], variances)
    grid = read(cords[0])[1]
    said = [in_units_of_maps(one, chosen.task, chosen.contrast) for one in everyone]
    added, _ = horns(
        [(unit * carried(one, chosen.task, grid), grid) for unit, one in zip(said, everyone, strict=True)], variances
    )
    known, ideal = np.array([ideal_estimates(one, chosen.task) for one in everyone]).T
    first = [names.index(name) for name in expected_horns(chosen.task, names)]
    right = names.index(ACTIVE[chosen.task])
    spread = np.nanstd(means, axis=0, ddof=1)
    print(f"horns named beforehand: {', '.join(names[k] for k in first)}")
    true, measured = (float(np.nanmean(one[:, right])) for one in (added, means))
    print(f"true effect as {names[right]} should show it: {true:.3f} % (mean over people), measured {measured:.3f}")
    print(f"SD over people of a horn's measured mean: {np.nanmean(spread[first]):.2f} %")
    placed = [template_horn(one, chosen.task, chosen.contrast, grid, ACTIVE[chosen.task]) for one in everyone]
    ratios = {"maps": true / spread[right]}
    for n, name in enumerate(("as placed", "on the true cord")):
        estimated, shown = np.array([one[n] for one in placed]).T
        held = np.isfinite(estimated)
        ratios[name] = float(np.mean(np.array(said)[held] * shown[held]) / estimated[held].std(ddof=1))
    ratios |= {name: float(1 / one.std(ddof=1)) for name, one in (("known", known), ("ideal", ideal))}
    print("true response over SD of people: " + ", ".join(f"{name} {one:.4f}" for name, one in ratios.items()))
    print(f"| response x | true mean, % | found | another found | strongest | wrong among both | {' | '.join(ratios)} |")
    print("|" + "---|" * (6 + len(ratios)))
    at = first.index(right)
    for strength in chosen.strengths:
        values = means + (strength - 1) * added
        hits = others = strongest = 0
        for number, people in enumerate(groups):
            test = region_test(
                values[people][:, first],
                np.ones((len(people), 1)),
                [1.0],
                permutations=chosen.permutations,
                seed=chosen.seed + number,
            )
            p = np.where(np.isfinite(test.p), test.p, 1.0)
            found = (holm(p) < LEVEL) & (test.t > 0)
            hits += bool(found[at])
            others += bool(np.delete(found, at).any())
            strongest += bool(np.nanargmax(one_sample(values[people])) == right)
        n = len(groups)
        reach = [power_of(strength * one, chosen.people, LEVEL / len(first)) for one in ratios.values()]
        wrong = others / max(hits + others, 1)
        shares = " | ".join(f"{one:.1%}" for one in (hits / n, others / n, strongest / n, wrong, *reach))
        print(f"| {strength:g} | {strength * true:.2f} | {shares} |", flush=True)


def effect_map(person: Person, task: str, space: str, contrast: str) -> Path:
    """A person's effect, its runs combined where there are several."""
    return person.made(f"*task-{task}_space-{space}_contrast-{contrast}_stat-effect_statmap.nii.gz")


def variance_of(effect: Path) -> Path:
    """The variance that belongs to an effect."""
    return effect.with_name(effect.name.replace("_stat-effect_", "_stat-variance_"))


def brain_effects(paths: list[Path]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Effects (people, voxels) of the template's brain where all have an estimate, and those voxels (x, y, z)."""
    template = brain_template(2)
    maps, mask = [], template.mask.copy()
    for path in paths:
        values, grid = read(path)
        assert grid.matches(template.grid), path
        mask &= read(variance_of(path))[0] > 0
        maps.append(values)
    return np.stack([values[mask] for values in maps]), mask


def true_places(everyone: list[Person], task: str, mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voxels of the mask (n,) that are active, and that are not, by everybody's truth."""
    points = brain_template(2).grid.to_ras(np.argwhere(mask))
    total = np.zeros(len(points))
    for one in everyone:
        image, grid = read(one.truth(f"*task-{task}*_desc-activation_boldmap.nii.gz"))
        at_t1w = true_map(one.raw / "sourcedata/truth" / one.name / "anat").map(points)
        at = true_displacement(one.truth(f"*task-{task}*_from-boldref_to-T1w_mode-image_xfm.nii.gz")).map(at_t1w)
        total += map_coordinates(image, grid.to_voxel(at).T, order=1, mode="constant")
    return total >= 0.5 * total.max(), total < 0.02 * total.max()


def horns(maps: list[tuple[NDArray, Grid]], variances: list[NDArray]) -> tuple[NDArray[np.float64], list[str]]:
    """Everyone's mean of a map (people, horns) by spinal segment; NaN where too little was measured."""
    rows = []
    names: list[str] = []
    for (values, grid), variance in zip(maps, variances, strict=True):
        regions = cord_sets(grid, parametric_cord_template())["spinal"]
        found = region_means(np.where(variance > 0, values, np.nan)[None], regions)
        names = [one.name for one in found.regions]
        rows.append(found.values[0])
    return np.stack(rows), names


def carried(person: Person, task: str, grid: Grid) -> NDArray[np.float32]:
    """The true effect (%) in PAM50, by the run's own transforms and smoothing: what a map without noise would show."""
    image, native = read(person.truth(f"*task-{task}*_desc-activation_boldmap.nii.gz"))
    cord, _ = read(person.made(f"*task-{task}_label-SC_mask.nii.gz"))
    # from the cord's voxels alone, like the maps
    there = [carried_plainly(person, task, grid, part * (cord > 0), native) for part in (image, np.ones_like(image))]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(there[1] > 0, there[0] / there[1], np.nan)
    inside = template_mask("cord", grid, parametric_cord_template())
    return smooth_within(values, inside & np.isfinite(values), SMOOTHING_MM, grid.voxel_mm)


def in_units_of_maps(person: Person, task: str, contrast: str) -> float:
    """What a map says of a true response whose course has a height of 1: its unit is that of a stimulus that lasts for ever."""
    bold = next((person.raw / person.name / "func").glob(f"*task-{task}*_bold.nii.gz"))
    about = json.loads(Path(str(bold).replace(".nii.gz", ".json")).read_text())
    courses = read_tsv(person.truth(f"*task-{task}*_desc-activation_timeseries.tsv"))
    column = next(name for name in courses if "horn" in name)
    volume, k = (np.array(courses[name], dtype=int) for name in ("volume", "slice"))
    course = np.zeros((volume.max() + 1, k.max() + 1))
    course[volume, k] = np.array(courses[column], dtype=float) / max(map(float, courses[column]))
    times = acquisition_times(*course.shape, about["RepetitionTime"], np.array(about["SliceTiming"]))
    model = builtin_model(task)
    assert model is not None, task
    events = read_tsv(Path(str(bold).replace("_bold.nii.gz", "_events.tsv")))
    columns = run_model(model, events, task, times, len(course) * about["RepetitionTime"]).columns
    drift = cosine_drift(len(course), about["RepetitionTime"], 128.0, 0)
    at = next(i for i, name in enumerate(columns.names) if contrast in name)
    held = np.flatnonzero(course.any(axis=0))
    designs = columns.beside(np.repeat(drift[None], course.shape[1], axis=0))
    constant = np.ones((len(course), 1))
    return float(np.mean([np.linalg.lstsq(np.column_stack([designs[s], constant]), course[:, s])[0][at] for s in held]))


def template_horn(
    person: Person, task: str, contrast: str, grid: Grid, horn: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The template's horn in one run: mean of the native effect and of the true one, as placed and laid on the true cord.

    On the true cord: in each slice, the middle of the cord of the template's segment comes to the middle of the true cord.
    """
    at = person.made(f"*task-{task}_contrast-{contrast}_stat-effect_statmap.nii.gz")
    effect, native = read(at)
    known = (read(variance_of(at))[0] > 0) & np.isfinite(effect)
    share, _ = read(person.truth(f"*task-{task}*_desc-activation_boldmap.nii.gz"))
    cord, _ = read(person.truth(f"*task-{task}*_label-SC_mask.nii.gz"))
    template = parametric_cord_template()
    regions = cord_sets(grid, template)["spinal"]
    whole = template_mask("cord", grid, template) & regions.mask(horn).any(axis=(0, 1))
    index = np.stack([carried_plainly(person, task, grid, one, native) for one in np.indices(effect.shape)], axis=-1)
    places = index[regions.mask(horn)]
    moved = places.copy()
    for k in np.unique(np.rint(places[:, 2]).astype(int)):
        here, centre = np.rint(places[:, 2]) == k, index[whole & (np.rint(index[..., 2]) == k)]
        if cord[..., k].any() and len(centre):
            moved[here, :2] += np.argwhere(cord[..., k] > 0).mean(axis=0) - centre[:, :2].mean(axis=0)
    found = []
    for where in (places, moved):
        weight = map_coordinates(known.astype(float), where.T, order=1)
        values = [map_coordinates(np.where(known, one, 0.0), where.T, order=1) for one in (effect, share)]
        found.append(tuple(float(one.sum() / weight.sum()) if weight.sum() > 0 else float("nan") for one in values))
    return found[0], found[1]


def carried_plainly(person: Person, task: str, grid: Grid, image: NDArray, native: Grid) -> NDArray[np.float64]:
    """An image of the run in PAM50 by the run's own transforms."""
    fixed = to_ants(np.zeros(grid.shape, np.float32), grid)
    moving = to_ants(image.astype(np.float32), native)
    return ants.apply_transforms(fixed, moving, route_to_pam50(person, task), interpolator="linear").numpy().astype(np.float64)


def route_to_pam50(person: Person, task: str) -> list[str]:
    """From the run's reference to PAM50, as ANTs wants it."""
    return [
        str(next((person.derivatives / person.name / "anat").glob("*_from-T1w_to-PAM50_mode-image_xfm.h5"))),
        str(person.made(f"*task-{task}_from-boldref_to-T1w_mode-image_xfm.h5")),
    ]


def ideal_estimates(person: Person, task: str) -> tuple[float, float]:
    """One person's response in units of the true one, by somebody who knows everything but the noise.

    Each slice has its own course of the response and phases of its own. First the mean over the horn: voxels and slices weighted
    by the horn's share; then voxels by that share over their variance, slices by their precision.
    """
    share, _ = read(person.truth(f"*task-{task}*_desc-activation_boldmap.nii.gz"))
    cord, _ = read(person.truth(f"*task-{task}*_label-SC_mask.nii.gz"))
    series, _ = read(person.made(f"*task-{task}_desc-preproc_bold.nii.gz"))
    here = (cord > 0) & (share > 0)
    drift = cosine_drift(series.shape[3], TR_S, 128.0, 0)
    estimates, precisions = [], []
    for k in np.unique(np.argwhere(here)[:, 2]).tolist():
        own = here[:, :, k]
        courses = series[:, :, k][own].astype(np.float64)
        courses = 100 * (courses / courses.mean(axis=1, keepdims=True) - 1)
        held = share[:, :, k][own]
        weights = np.stack([held, held / courses.var(axis=1)])
        both = weights @ courses / (weights @ held)[:, None]
        response = table_of(person.truth(f"*task-{task}*_desc-activation_timeseries.tsv"), k)
        column = next(values for name, values in response.items() if "horn" in name)
        phases = table_of(person.truth(f"*task-{task}*_desc-physio_timeseries.tsv"), k)
        waves = [
            wave(order * phases[f"{kind}_phase"])
            for kind in ("cardiac", "respiratory")
            for order in (1, 2)
            for wave in (np.sin, np.cos)
        ]
        design = np.column_stack([column / column.max(), np.ones(len(column)), drift, *waves])
        effect, *_ = np.linalg.lstsq(design, both.T, rcond=None)
        left = both[1] - design @ effect[:, 1]
        variance = left @ left / (len(column) - design.shape[1]) * np.linalg.inv(design.T @ design)[0, 0]
        estimates.append(effect[0])
        precisions.append((held @ held, 1 / variance))
    one, other = np.average(estimates, axis=0, weights=precisions)
    return float(one), float(other)


def table_of(path: Path, k: int) -> dict[str, NDArray[np.float64]]:
    """Columns of one slice, by volume."""
    table = {name: np.array([float(cell) for cell in cells]) for name, cells in read_tsv(path).items()}
    here = np.flatnonzero(table["slice"] == k)
    here = here[np.argsort(table["volume"][here])]
    return {name: values[here] for name, values in table.items()}


def power_of(size: float, people: int, level: float) -> float:
    """Power of a two-sided t test of `people` whose effect is `size` standard deviations, in the right direction."""
    return float(nct.sf(t_distribution.ppf(1 - level / 2, people - 1), people - 1, size * np.sqrt(people)))


def one_sample(values: NDArray) -> NDArray[np.float64]:
    """t of columns (people, n) against 0."""
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nanmean(values, axis=0) / (np.nanstd(values, axis=0, ddof=1) / np.sqrt(count))


def area(active: NDArray, quiet: NDArray) -> float:
    """Area under the receiver operating curve: how often an active voxel is above one that is not."""
    ranks = rankdata(np.concatenate([active, quiet]))
    n, m = len(active), len(quiet)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


if __name__ == "__main__":
    main()
