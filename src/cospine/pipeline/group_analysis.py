"""One question answered: everyone's maps brought together, tested in brain and cord at once, and summed up in named regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.pipeline.group_inputs import SPACE_OF, Effect, load_effect, read_atlas
from cospine.pipeline.group_plan import Analysis
from cospine.pipeline.group_settings import GroupSettings
from cospine.space.cord_template import CordTemplate
from cospine.space.grid import Grid
from cospine.space.templates import brain_template
from cospine.stats.brain_regions import brain_spheres, on_grid, tasks_like
from cospine.stats.combat import combat, too_few
from cospine.stats.cord_regions import cord_regions
from cospine.stats.regions import Region, RegionSet, laterality, level_name, level_system_of, region_means

LEAST_SHARE = 0.8
"""Share of the people that must have measured a voxel; below it is masked, never filled (METHODS)."""

_LEAST_VOXELS = 100
"""That the same people measured, for ComBat to learn what their sites do."""

# where the literature expects the two tasks of the protocol: horn, spinal segments
_EXPECTED = {"pain": ("dorsal", (5, 6, 7)), "motor": ("ventral", (5, 6, 7, 8))}


@dataclass(frozen=True, eq=False)
class Stack:
    """Everyone's maps in one space.

    Attributes
    ----------
    region : str
        ``brain`` or ``cord``.
    space : str
    grid : Grid
    values : ndarray (people, x, y, z), float32
        % of the local mean; NaN where not measured.
    count : ndarray (x, y, z), int16
        People who measured each voxel.
    mask : ndarray (x, y, z), bool
        Voxels of the template's region that enough people measured.
    """

    region: str
    space: str
    grid: Grid
    values: NDArray[np.float32] = field(repr=False)
    count: NDArray[np.int16] = field(repr=False)
    mask: NDArray[np.bool_] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Regional:
    """Effects in named regions.

    Attributes
    ----------
    family : str
        ``cord`` or ``brain`` or ``atlas``.
    regions : tuple of Region
    values : ndarray (people, regions)
        NaN where a person measured too little of it.
    primary : ndarray (regions,), bool
        Named beforehand: these are corrected together.
    """

    family: str
    regions: tuple[Region, ...]
    values: NDArray[np.float64] = field(repr=False)
    primary: NDArray[np.bool_] = field(repr=False)


def stacked(analysis: Analysis, cord: CordTemplate | None) -> dict[str, Stack]:
    """Read everyone's maps.

    Raises
    ------
    CoSpineError
        When no voxel of a region was measured by enough people, or a file cannot be read.
    """
    stacks = {}
    for region in analysis.regions:
        space = SPACE_OF[region]
        values: NDArray[np.float32] | None = None
        count = np.zeros(1, dtype=np.int16)
        grid = None
        for row, person in enumerate(analysis.people):
            one, covered, grid = load_effect(person.effects[analysis.question, space])
            if values is None:
                values = np.empty((len(analysis.people), *grid.shape), dtype=np.float32)
                count = np.zeros(grid.shape, dtype=np.int16)
            values[row] = one
            count += covered
        assert values is not None  # the plan has people
        assert grid is not None
        mask = template_mask(region, grid, cord) & (count >= np.ceil(LEAST_SHARE * len(analysis.people)))
        if not mask.any():
            raise CoSpineError(
                f"no voxel of the {region} was measured by {100 * LEAST_SHARE:.0f} % of the people",
                analysis.label,
                "leave out --regions or exclude people who measured little of it",
            )
        stacks[region] = Stack(region, space, grid, values, count, mask)
    return stacks


def harmonised(analysis: Analysis, stacks: Mapping[str, Stack]) -> tuple[dict[str, Stack], tuple[str, ...]]:
    """Take shift and spread of sites out of everyone's maps by ComBat, in brain and cord apart.

    Voxels that the same people measured are harmonised together: what somebody has not measured is not made up.

    Returns
    -------
    stacks : dict of str to Stack
    notes : tuple of str
        What was taken out, and what was left out.

    Raises
    ------
    CoSpineError
        When no voxels can be harmonised.
    """
    sites, keep = np.array([one.site for one in analysis.people]), analysis.design.beside_sites
    found, notes = {}, []
    for name, stack in stacks.items():
        measured = stack.values[:, stack.mask]
        result = np.full_like(measured, np.nan)
        spread: dict[str, list[NDArray[np.float64]]] = {}
        for people, voxels in _measured_alike(np.isfinite(measured)):
            if voxels.size >= _LEAST_VOXELS and not too_few(sites[people].tolist()):
                part = combat(measured[np.ix_(people, voxels)], sites[people].tolist(), keep[people])
                result[np.ix_(people, voxels)] = part.values
                for site, one in zip(part.sites, part.spread, strict=True):
                    spread.setdefault(site, []).append(one)
        done = np.isfinite(result).any(axis=0)
        if not done.any():
            raise CoSpineError(
                f"nowhere in the {name} did the same people measure {_LEAST_VOXELS} voxels, three of them at each site",
                f"{analysis.label}, --combat",
                "leave out --combat, or exclude who measured little",
            )
        mask, values = stack.mask.copy(), np.full_like(stack.values, np.nan)
        mask[stack.mask] = done
        values[:, mask] = result[:, done]
        found[name] = replace(stack, values=values, mask=mask)
        said = ", ".join(f"{site} {np.median(np.concatenate(one)):.2f}" for site, one in sorted(spread.items()))
        notes.append(
            f"Sites were harmonised by ComBat in the {name} (spread within a site over that of all, median of voxels: {said}); "
            f"{(~done).sum()} of {done.size} voxels, measured by people as few others were, were left out. "
            "Reliability over runs, effect sizes and coupling are of the maps as measured. Simulated groups without an effect, "
            "one of two sites twice as variable, are significant in 4-8 % (one sample) or 1-2 % (two groups) at a nominal 5 %."
        )
    return found, tuple(notes)


def _measured_alike(known: NDArray[np.bool_]) -> list[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """Voxels (columns of `known`, people x voxels) that the same people measured: these people, those voxels."""
    packed = np.ascontiguousarray(np.packbits(known, axis=0).T)
    _, first, number = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(number.ravel(), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number.ravel()))[:-1])
    return [(np.flatnonzero(known[:, one]), voxels) for one, voxels in zip(first, parts, strict=True)]


def template_mask(region: str, grid: Grid, cord: CordTemplate | None) -> NDArray[np.bool_]:
    """Voxels of a grid that lie in the template's brain or cord."""
    from cospine.quality.planes import sampled

    points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
    if region == "brain":
        template = brain_template(2)
        return sampled(template.mask, template.grid.affine, points) >= 0.5
    assert cord is not None
    return sampled(cord.cord, cord.grid.affine, points) >= 0.5


def cord_sets(grid: Grid, cord: CordTemplate) -> dict[str, RegionSet]:
    """Horns by spinal segment and by vertebral level on the grid of the maps."""
    return {system: on_grid(cord_regions(cord, system), grid) for system in ("spinal", "vertebral")}


def regional(task: str, stacks: Mapping[str, Stack], sets: Mapping[str, tuple[str, RegionSet]]) -> dict[str, Regional]:
    """Everyone's mean effect in each region of the sets (`region_sets`), under the sets' names."""
    found: dict[str, Regional] = {}
    for name, (family, regions) in sets.items():
        means = region_means(stacks[family].values, regions)
        found[name] = Regional(family, means.regions, means.values, _primary(name, means.regions, task))
    return found


def region_sets(
    task: str, stacks: Mapping[str, Stack], cord: CordTemplate | None, settings: GroupSettings
) -> dict[str, tuple[str, RegionSet]]:
    """Which regions are looked at: name of the set to (brain or cord, regions on the grid of the maps).

    Raises
    ------
    CoSpineError
        For an atlas that is none.
    """
    sets: dict[str, tuple[str, RegionSet]] = {}
    if "cord" in stacks and cord is not None:
        sets |= {system: ("cord", regions) for system, regions in cord_sets(stacks["cord"].grid, cord).items()}
    if "brain" in stacks:
        brain = stacks["brain"]
        sets["spheres"] = "brain", brain_spheres(brain.grid, tasks=tasks_like(task), mask=brain.mask)
        if settings.atlas is not None:
            sets["atlas"] = "brain", on_grid(read_atlas(settings.atlas), brain.grid)
    return sets


def laterality_of(regional: Regional) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """Right against left of every region that has both.

    Returns
    -------
    names : tuple of str
        For people.
    index : ndarray (people, pairs)
        (R - L) / (\\|R\\| + \\|L\\|).
    difference : ndarray (people, pairs)
        R - L in %.
    """
    pairs = side_pairs(regional.regions)
    people = len(regional.values)
    found = [laterality(regional.values[:, right], regional.values[:, left]) for _, right, left in pairs]
    index = np.stack([one.index for one in found], axis=1) if found else np.empty((people, 0))
    difference = np.stack([one.difference for one in found], axis=1) if found else np.empty((people, 0))
    return tuple(name for name, _, _ in pairs), index, difference


def side_pairs(regions: Sequence[Region]) -> list[tuple[str, int, int]]:
    """Regions that both sides have: name without the side, place of the right one, place of the left one."""
    left = {_bare(one): k for k, one in enumerate(regions) if one.side == "L"}
    return [(_bare(one), k, left[_bare(one)]) for k, one in enumerate(regions) if one.side == "R" and _bare(one) in left]


def pairs_beforehand(regional: Regional) -> NDArray[np.bool_]:
    """Which pairs of sides were named beforehand, in the order of :func:`laterality_of`."""
    return np.array([regional.primary[right] for _, right, _ in side_pairs(regional.regions)], dtype=bool)


def run_values(
    analysis: Analysis, sets: Mapping[str, tuple[str, RegionSet]], name: str
) -> tuple[NDArray[np.float64], tuple[str, ...]] | None:
    """Each run's mean effect in each region of a set, for the people who have as many runs as most.

    Returns
    -------
    values : ndarray (people, runs, regions)
    people : tuple of str
    None where nobody has several runs.
    """
    region, regions = sets[name]
    key = (analysis.question, SPACE_OF[region])
    counts = [len(person.runs.get(key, ())) for person in analysis.people]
    if max(counts) < 2:
        return None
    usual = max(set(counts) - {0}, key=counts.count)
    chosen = [person for person, count in zip(analysis.people, counts, strict=True) if count >= usual]
    values = np.stack([[_run_means(run, regions) for run in person.runs[key][:usual]] for person in chosen])
    return values, tuple(person.name for person in chosen)


def _run_means(run: Effect, regions: RegionSet) -> NDArray[np.float64]:
    values, covered, _ = load_effect(run)
    return region_means(values, regions, covered).values[0]


def region_label(region: Region) -> str:
    """A region for people: ``right dorsal C6 (spinal)``, ``right S2``."""
    side = {"R": "right ", "L": "left ", "midline": ""}[region.side]
    return side + _bare(region)


def _bare(region: Region) -> str:
    """The same without its side, so that both sides share it."""
    if region.level_system != "none":
        return f"{region.part} {region.level_label} ({region.level_system})"
    name = region.name
    for end in ("_L", "_R", "-L", "-R", "_left", "_right", " left", " right", "_lh", "_rh"):
        name = name.removesuffix(end)
    return name.replace("_", " ")


def expected_horns(task: str, names: Sequence[str]) -> list[str]:
    """Those horns by spinal segment among regions' names that the task is expected in; all of them for another task."""
    horns = [name for name in names if level_system_of(name) == "spinal"]
    if (expected := _expected(task)) is None:
        return horns
    part, levels = expected
    ends = {f"_spinal-{level_name(level, 'spinal')}" for level in levels}
    return [name for name in horns if part in name.split("_")[0] and any(name.endswith(end) for end in ends)]


def _expected(task: str) -> tuple[str, tuple[int, ...]] | None:
    """Horn and spinal segments that a task is expected in; None for another task."""
    kinds = tasks_like(task)
    return _EXPECTED[kinds[0]] if len(kinds) == 1 else None


def _primary(name: str, regions: Sequence[Region], task: str) -> NDArray[np.bool_]:
    """Regions named beforehand: the horns that the task is expected in, all spheres of the task, all labels of an atlas."""
    if name == "vertebral":
        return np.zeros(len(regions), dtype=bool)  # the same tissue cut otherwise: shown, not tested twice
    expected = _expected(task)
    if name != "spinal" or expected is None:
        return np.ones(len(regions), dtype=bool)
    part, levels = expected
    return np.array([one.part.removeprefix("quadrant-") == part and one.level in levels for one in regions])
