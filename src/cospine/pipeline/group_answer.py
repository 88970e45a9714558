"""What one question's analysis found: maps with their p values, regions, sides, reliability and effect sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.pipeline.group_analysis import LEAST_SHARE, Regional, Stack
from cospine.pipeline.group_plan import Analysis, Design
from cospine.pipeline.group_settings import GroupSettings
from cospine.space.grid import Grid
from cospine.stats.effect_size import EffectSizes, effect_sizes
from cospine.stats.permutation import permutation_test, region_test
from cospine.stats.regions import RegionSet
from cospine.stats.reliability import icc, split_half

CORRECTIONS = ("voxel", "tfce", "mass")
"""Statistics whose largest value over brain and cord gives a corrected p."""

_CHOSEN_VOXELS = 10  # strongest voxels whose effect is told, chosen in others


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of one region.

    Attributes
    ----------
    region, space : str
    grid : Grid
    mask : ndarray (x, y, z), bool
        Voxels that were tested.
    count : ndarray (x, y, z), int16
    effect, t, z, p : ndarray (x, y, z), float32
        NaN where not tested; p uncorrected.
    corrected : mapping of `CORRECTIONS` to ndarray (x, y, z)
        Family-wise over brain and cord together, and after Holm over contrasts.
    """

    region: str
    space: str
    grid: Grid
    mask: NDArray[np.bool_] = field(repr=False)
    count: NDArray[np.int16] = field(repr=False)
    effect: NDArray[np.float32] = field(repr=False)
    t: NDArray[np.float32] = field(repr=False)
    z: NDArray[np.float32] = field(repr=False)
    p: NDArray[np.float32] = field(repr=False)
    corrected: Mapping[str, NDArray[np.float32]] = field(repr=False)

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Voxels with p < 0.05 by TFCE, corrected."""
        return self.mask & (np.nan_to_num(self.corrected["tfce"], nan=1.0) < 0.05)


@dataclass(frozen=True, eq=False)
class Tested:
    """Columns of values over people, tested: each array has one entry a column, NaN where it could not be tested."""

    effect: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    people: NDArray[np.int_]


@dataclass(frozen=True, eq=False)
class Again:
    """How far runs agree on each region.

    Attributes
    ----------
    places : tuple of int
        Places of the regions in their set.
    icc, low, high, split_half : ndarray (regions,)
        ICC(3,1) with its 95 % interval, and split-half reliability of all runs.
    people, runs : int
    """

    places: tuple[int, ...]
    icc: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    split_half: NDArray[np.float64]
    people: int
    runs: int


@dataclass(frozen=True, eq=False)
class Answer:
    """All that was found for one question."""

    analysis: Analysis
    maps: Mapping[str, Maps]
    permutations: int
    possible: float
    kind: str
    regional: Mapping[str, Regional] = field(default_factory=dict)
    region_tests: Mapping[str, Tested] = field(default_factory=dict)
    region_p: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    sides: Mapping[str, tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    side_tests: Mapping[str, Tested] = field(default_factory=dict)
    side_p: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    again: Mapping[str, Again] = field(default_factory=dict)
    sizes: Mapping[str, EffectSizes] = field(default_factory=dict)
    recovery: Mapping[str, float] = field(default_factory=dict)
    contrasts: int = 1
    family: int = 0
    notes: tuple[str, ...] = ()

    @property
    def smallest_p(self) -> float:
        """No corrected p of a map can be below this: rearrangements that there are and were drawn, and contrasts."""
        return min(1.0, self.contrasts / min(float(self.permutations), self.possible))

    @property
    def smallest_region_p(self) -> float:
        """No p of a region can be below this after correction over its family."""
        return min(1.0, self.family / min(float(self.permutations), self.possible))

    def with_regions(
        self,
        stacks: Mapping[str, Stack],
        sets: Mapping[str, tuple[str, RegionSet]],
        means: Mapping[str, Regional],
        tests: Mapping[str, Tested],
        sides: Mapping[str, tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]],
        side_tests: Mapping[str, Tested],
        runs: Mapping[str, tuple[NDArray[np.float64], tuple[str, ...]]],
    ) -> "Answer":
        """The same with regions, reliability and effect sizes."""
        again = {name: found for name, (values, _) in runs.items() if (found := _again(values)) is not None}
        notes = tuple(note for _, regions in sets.values() for note in regions.notes)
        return replace(
            self, regional=means, region_tests=tests, sides=sides, side_tests=side_tests, again=again,
            sizes=_sizes(self.analysis.design, stacks, sets), notes=tuple(dict.fromkeys((*self.notes, *notes))),
        )  # fmt: skip

    def with_corrected(
        self, region_p: Mapping[str, NDArray[np.float64]], side_p: Mapping[str, NDArray[np.float64]], family: int
    ) -> "Answer":
        """The same with p corrected over regions and contrasts, and how many of them there are."""
        return replace(self, region_p=region_p, side_p=side_p, family=family)


def answer_of(analysis: Analysis, stacks: Mapping[str, Stack], settings: GroupSettings) -> Answer:
    """Test every voxel of brain and cord at one family-wise level.

    Parameters
    ----------
    analysis : Analysis
    stacks : mapping of region to Stack
    settings : GroupSettings
    """
    design = analysis.design
    result = permutation_test(
        {name: one.values for name, one in stacks.items()},
        {name: one.mask for name, one in stacks.items()},
        design.matrix,
        design.contrast,
        variance_groups=design.groups,
        permutations=settings.permutations,
        cluster_p=settings.cluster_p,
        seed=settings.seed,
    )
    maps = {}
    for name, stack in stacks.items():
        found = result.regions[name]
        maps[name] = Maps(
            name, stack.space, stack.grid, stack.mask, stack.count, found.effect, found.t, found.z, found.p,
            {kind: found.p_fwe[kind] for kind in CORRECTIONS},
        )  # fmt: skip
    return Answer(analysis, maps, result.rearrangements, result.possible, result.kind)


def tested_regions(values: NDArray[np.float64], design: Design, settings: GroupSettings) -> Tested:
    """Test columns of values, each over the people who have it; those that fewer than 80 % have are not tested.

    Parameters
    ----------
    values : ndarray (people, columns)
    design : Design
    settings : GroupSettings
    """
    from scipy import stats

    if values.shape[1] == 0:
        none = np.empty(0)
        return Tested(none, none, none, none, none, np.empty(0, dtype=int))
    rare = np.isfinite(values).sum(axis=0) < np.ceil(LEAST_SHARE * len(values))
    found = region_test(
        values, design.matrix, design.contrast, variance_groups=design.groups,
        permutations=settings.permutations, seed=settings.seed,
    )  # fmt: skip
    known = np.isfinite(found.t)
    half = np.full(found.t.shape, np.nan)
    half[known] = np.abs(found.effect[known] / found.t[known]) * stats.t.ppf(0.975, found.dof[known])
    maps = (np.where(rare, np.nan, one) for one in (found.effect, found.effect - half, found.effect + half, found.t, found.p))
    return Tested(*maps, people=found.n)


def _again(values: NDArray[np.float64]) -> Again | None:
    """Reliability over runs; None where too few people have several."""
    complete = np.isfinite(values).all(axis=(0, 1))
    if values.shape[0] < 3 or not complete.any():
        return None
    kept = values[..., complete]
    one = icc(kept, "3,1")
    return Again(tuple(np.flatnonzero(complete).tolist()), one.value, one.low, one.high, split_half(kept).full, *values.shape[:2])


def _sizes(design: Design, stacks: Mapping[str, Stack], sets: Mapping[str, tuple[str, RegionSet]]) -> dict[str, EffectSizes]:
    """Effect in the strongest voxels, chosen in others and, beside it, circular; of one group alone."""
    if design.groups is not None:
        return {}
    found = {}
    searched = {name: stack.mask for name, stack in stacks.items()}
    for name, label in (("spinal", "horns of the cord"), ("spheres", "spheres of the brain")):
        if name in sets:
            searched[label] = sets[name][1].labels > 0
    for label, mask in searched.items():
        region = "cord" if "cord" in label else "brain"
        held = mask & stacks[region].mask & (stacks[region].count == len(stacks[region].values))
        if np.count_nonzero(held) < 2 * _CHOSEN_VOXELS or len(stacks[region].values) < 4:
            continue
        try:
            found[label] = effect_sizes(stacks[region].values[:, held], voxels=_CHOSEN_VOXELS)
        except CoSpineError as error:
            raise CoSpineError(error.what, f"effect size in {label}", error.remedy) from error
    return found
