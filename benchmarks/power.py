"""How often a group finds what digital participants truly have (METHODS 20).

    cospine simulate RAW --participants 40 --protocol small --task pain --volumes 100
    cospine run RAW DERIVATIVES participant --pnm-orders 2 2 0 0
    python benchmarks/power.py RAW DERIVATIVES [--people 20] [--groups 200] [--permutations 1000]

Groups are drawn from those who were processed, without putting back. Brain: area under the curve that t over people in MNI draws
between voxels that are active and voxels that are not, by the true maps (of the phantom's own transforms; active where the mean
over all people is half of its largest, not active below a fiftieth of it). Cord: how often the horn that is active, at its
segment and side, is significant among the horns named beforehand (Holm), by sign flips; how often another of them is; and how
often it is the strongest of all.
"""

import argparse
from pathlib import Path

import numpy as np
from normalisation import read, true_displacement, true_map
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.stats import rankdata

from cospine.pipeline.group_analysis import cord_sets, expected_horns
from cospine.space.cord_template import parametric_cord_template
from cospine.space.templates import brain_template
from cospine.stats.permutation import holm, region_test
from cospine.stats.regions import region_means

MNI, PAM50 = "MNI152NLin2009aSym", "PAM50"
ACTIVE = {"pain": "dorsal_R_spinal-C6"}
"""The horn that the phantom activates."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("derivatives", type=Path)
    parser.add_argument("--task", default="pain", choices=sorted(ACTIVE))
    parser.add_argument("--contrast", default="pain")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    pattern = f"sub-*/func/*task-{chosen.task}*_space-{MNI}_contrast-{chosen.contrast}_stat-effect_statmap.nii.gz"
    brains = [path for path in sorted(chosen.derivatives.glob(pattern)) if "_run-" not in path.name]
    cords = [path.with_name(path.name.replace(MNI, PAM50)) for path in brains]
    lost = [path.name for path in cords if not path.is_file()]
    if len(brains) <= chosen.people or lost:
        parser.error(
            f"{len(brains)} people for groups of {chosen.people}; without a map of the cord: {', '.join(lost) or 'none'}"
        )
    print(f"{len(brains)} people, groups of {chosen.people}", flush=True)
    effects, mask = brain_effects(brains)
    active, quiet = true_places([person_of(path) for path in brains], chosen.raw, chosen.task, mask)
    means, names = horns(cords)
    first = [names.index(name) for name in expected_horns(chosen.task, names)]
    right = names.index(ACTIVE[chosen.task])
    rng = np.random.default_rng(chosen.seed)
    areas, hits, others, strongest = [], 0, 0, 0
    for group in range(chosen.groups):
        people = rng.choice(len(brains), chosen.people, replace=False)
        t = one_sample(effects[people])
        areas.append(area(t[active], t[quiet]))
        test = region_test(
            means[people][:, first],
            np.ones((chosen.people, 1)),
            [1.0],
            permutations=chosen.permutations,
            seed=chosen.seed + group,
        )
        p = np.where(np.isfinite(test.p), test.p, 1.0)
        found = (holm(p) < 0.05) & (test.t > 0)
        at = first.index(right)
        hits += bool(found[at])
        others += bool(np.delete(found, at).any())
        strongest += bool(np.nanargmax(one_sample(means[people])) == right)
    low, middle, high = np.percentile(areas, [5, 50, 95])
    print(f"brain, area under the curve: median {middle:.3f} (5-95 %: {low:.3f}-{high:.3f}); {active.sum()} active voxels")
    print(f"{ACTIVE[chosen.task]}: found in {hits / chosen.groups:.1%} of {chosen.groups} groups,")
    print(f"the strongest of {len(names)} horns in {strongest / chosen.groups:.1%};")
    print(f"another horn that was named beforehand is found in {others / chosen.groups:.1%}")
    everyone = np.nanmean(means, axis=0)
    print("mean effect of horns, %:", ", ".join(f"{names[k]} {everyone[k]:.2f}" for k in first))


def person_of(path: Path) -> str:
    """`sub-01` of a file."""
    return path.name.partition("_")[0]


def brain_effects(paths: list[Path]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Effects (people, voxels) of the template's brain where all have an estimate, and those voxels (x, y, z)."""
    template = brain_template(2)
    maps, mask = [], template.mask.copy()
    for path in paths:
        values, grid = read(path)
        assert grid.matches(template.grid), path
        variance, _ = read(path.with_name(path.name.replace("_stat-effect_", "_stat-variance_")))
        mask &= variance > 0
        maps.append(values)
    return np.stack([values[mask] for values in maps]), mask


def true_places(people: list[str], raw: Path, task: str, mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voxels of the mask (n,) that are active, and that are not, by everybody's truth."""
    points = brain_template(2).grid.to_ras(np.argwhere(mask))
    total = np.zeros(len(points))
    for person in people:
        folder = raw / "sourcedata/truth" / person
        image, grid = read(next((folder / "func").glob(f"*task-{task}*_desc-activation_boldmap.nii.gz")))
        at_t1w = true_map(folder / "anat").map(points)
        to_epi = next((folder / "func").glob(f"*task-{task}*_from-boldref_to-T1w_mode-image_xfm.nii.gz"))
        at = true_displacement(to_epi).map(at_t1w)
        total += map_coordinates(image, grid.to_voxel(at).T, order=1, mode="constant")
    return total >= 0.5 * total.max(), total < 0.02 * total.max()


def horns(paths: list[Path]) -> tuple[NDArray[np.float64], list[str]]:
    """Everyone's mean effect (people, horns) by spinal segment; NaN where too little was measured."""
    rows = []
    names: list[str] = []
    for path in paths:
        values, grid = read(path)
        variance, _ = read(path.with_name(path.name.replace("_stat-effect_", "_stat-variance_")))
        regions = cord_sets(grid, parametric_cord_template())["spinal"]
        found = region_means(np.where(variance > 0, values, np.nan)[None], regions)
        names = [one.name for one in found.regions]
        rows.append(found.values[0])
    return np.stack(rows), names


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
