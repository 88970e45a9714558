"""Named regions of brain and cord, and what a map says in them.

A set of regions is one image of labels and a table. Cord regions name the system of their levels, *vertebral* or *spinal*:
PAM50's spinal C6 is centred at the disc between the vertebrae C4 and C5, 24.5 mm above the middle of vertebral C6. They are
built by `cospine.stats.cord_regions` (horns by level and side) and `cospine.stats.brain_regions` (spheres, atlas files).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.space.grid import Grid

LEAST_COVERAGE = 0.8
"""Share of a region's voxels that must be covered before its mean is given (METHODS: masked, never filled)."""
NO_LEVELS = "none"

LevelSystem = Literal["spinal", "vertebral", "none"]
Side = Literal["L", "R", "midline"]


@dataclass(frozen=True)
class Region:
    """One region.

    Parameters
    ----------
    number : int
        Its label, from 1.
    name : str
        Unique within its set, for file and table.
    side : {'L', 'R', 'midline'}
        Of the person, not of the picture.
    part : str
        What it is: ``dorsal``, ``ventral``, ``hemicord``, ``sphere``, ``atlas``.
    level_system : {'spinal', 'vertebral', 'none'}
        How its level is counted; ``none`` in the brain.
    level : int
        C1 = 1 and on (`level_name`); 0 without a level.
    source : str
        Where it comes from.
    exact : bool
        False where its place is only approximately the source's.
    """

    number: int
    name: str
    side: Side
    part: str
    level_system: LevelSystem = "none"
    level: int = 0
    source: str = ""
    exact: bool = True

    @property
    def level_label(self) -> str:
        """``C6``, or ``n/a``."""
        return level_name(self.level, self.level_system) if self.level else "n/a"


@dataclass(frozen=True, eq=False)
class RegionSet:
    """Regions on one grid; a voxel belongs to at most one.

    Parameters
    ----------
    space : str
        Name of the space: ``PAM50``, ``MNI152NLin2009aSym``, or that of a native image.
    grid : Grid
    labels : ndarray (x, y, z), int32
        Number of the region, 0 outside.
    regions : tuple of Region
        Those that hold at least one voxel.
    notes : tuple of str
        What was left out, or replaced, and why.
    """

    space: str
    grid: Grid
    labels: NDArray[np.int32] = field(repr=False)
    regions: tuple[Region, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [region.name for region in self.regions]
        if len(set(names)) < len(names) or self.labels.shape != self.grid.shape:
            raise CoSpineError(
                f"{len(names)} regions with {len(set(names))} names on an image {self.labels.shape} of a grid {self.grid.shape}",
                f"regions in {self.space}",
                "Give every region a name of its own, and labels on the grid",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all regions, in their order."""
        return tuple(region.name for region in self.regions)

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Voxels (x, y, z) of one region.

        Raises
        ------
        CoSpineError
            There is no such region.
        """
        for region in self.regions:
            if region.name == name:
                return self.labels == region.number
        raise CoSpineError(f"no region {name!r}", f"regions in {self.space}", f"There are: {', '.join(self.names)}")

    def table(self) -> dict[str, list[str]]:
        """Columns for a table: every row names the system of its level."""
        volume = float(np.prod(self.grid.voxel_mm))
        voxels = np.bincount(self.labels.ravel(), minlength=max((r.number for r in self.regions), default=0) + 1)
        return {
            "index": [str(r.number) for r in self.regions],
            "name": list(self.names),
            "side": [r.side for r in self.regions],
            "part": [r.part for r in self.regions],
            "level_system": [r.level_system for r in self.regions],
            "level": [r.level_label for r in self.regions],
            "volume_mm3": [f"{voxels[r.number] * volume:.4g}" for r in self.regions],
            "place": ["exact" if r.exact else "approximate" for r in self.regions],
            "source": [r.source for r in self.regions],
        }


def level_name(level: int, system: str) -> str:
    """``C1`` .. ``T2``: vertebral C7 = 7, T1 = 8; spinal C8 = 8, T1 = 9 (PAM50's numbers).

    Raises
    ------
    CoSpineError
        No such level or system.
    """
    last = {"vertebral": 7, "spinal": 8}.get(system)
    if last is None or level < 1:
        raise CoSpineError(f"{system!r} {level} is no level", "level of the cord", "Give spinal or vertebral, and C1 = 1 and on")
    return f"C{level}" if level <= last else f"T{level - last}"


def level_system_of(region: str) -> str:
    """How the level in a region's name is counted: `spinal`, `vertebral`, or `none`."""
    return next((system for system in ("spinal", "vertebral") if f"_{system}-" in region), "none")


@dataclass(frozen=True, eq=False)
class RegionMeans:
    """Mean of maps in regions.

    Parameters
    ----------
    regions : tuple of Region
    values : ndarray (n, regions)
        NaN where less than the least share of the region is covered.
    share : ndarray (n, regions)
        Share of the region's voxels that is covered.
    voxels : ndarray (regions,), int
        Voxels of each region.
    """

    regions: tuple[Region, ...]
    values: NDArray[np.float64] = field(repr=False)
    share: NDArray[np.float64] = field(repr=False)
    voxels: NDArray[np.int64] = field(repr=False)

    def table(self, rows: Sequence[str], value: str = "effect_percent") -> dict[str, list[str]]:
        """Long table, a line a map and region.

        Parameters
        ----------
        rows : sequence of str
            What the maps are: participants, or contrasts.
        value : str
            Name of the column of values, with its unit.
        """
        return {
            "map": [row for row in rows for _ in self.regions],
            "region": [r.name for r in self.regions] * len(rows),
            "side": [r.side for r in self.regions] * len(rows),
            "part": [r.part for r in self.regions] * len(rows),
            "level_system": [r.level_system for r in self.regions] * len(rows),
            "level": [r.level_label for r in self.regions] * len(rows),
            value: [f"{v:.6g}" if np.isfinite(v) else "n/a" for v in self.values.ravel()],
            "coverage": [f"{v:.3f}" for v in self.share.ravel()],
        }


def region_means(
    maps: NDArray, regions: RegionSet, coverage: NDArray[np.bool_] | None = None, *, least: float = LEAST_COVERAGE
) -> RegionMeans:
    """Mean of each map over the covered voxels of each region.

    Parameters
    ----------
    maps : ndarray (x, y, z) or (n, x, y, z)
        On the regions' grid; voxels that are not finite count as not covered.
    regions : RegionSet
    coverage : ndarray (x, y, z) or (n, x, y, z), bool, optional
        Where the maps hold data: maps are 0 elsewhere, and 0 is not a value.
    least : float
        Least share of a region that must be covered for its mean to be given.

    Returns
    -------
    RegionMeans

    Raises
    ------
    CoSpineError
        Maps or coverage are not on the regions' grid.
    """
    maps = np.asarray(maps)
    maps = maps[None] if maps.ndim == 3 else maps
    covers = np.ones((1, 1, 1), bool) if coverage is None else np.asarray(coverage, dtype=bool)
    if maps.shape[1:] != regions.grid.shape or (coverage is not None and covers.shape[-3:] != regions.grid.shape):
        raise CoSpineError(
            f"maps {maps.shape} and coverage {covers.shape} do not fit regions on {regions.grid.shape}",
            f"region means in {regions.space}",
            "Bring maps, coverage and regions to one grid",
        )
    inside = regions.labels > 0
    labels = regions.labels[inside]
    numbers = np.array([r.number for r in regions.regions], dtype=np.int64)
    bins = int(max(labels.max(initial=0), numbers.max(initial=0))) + 1
    voxels = np.bincount(labels, minlength=bins)[numbers]
    values, share = np.empty((len(maps), numbers.size)), np.empty((len(maps), numbers.size))
    for row, (one, covered) in enumerate(zip(maps, np.broadcast_to(covers, maps.shape), strict=True)):
        data = one[inside].astype(np.float64)
        good = covered[inside] & np.isfinite(data)
        count = np.bincount(labels[good], minlength=bins)[numbers]
        total = np.bincount(labels[good], weights=data[good], minlength=bins)[numbers]
        share[row] = count / np.maximum(voxels, 1)
        values[row] = np.where((share[row] >= least) & (count > 0), total / np.maximum(count, 1), np.nan)
    return RegionMeans(regions.regions, values, share, voxels.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Laterality:
    """Right against left, row by row.

    Parameters
    ----------
    index : ndarray (n,)
        (R - L) / (|R| + |L|): 1 all right, -1 all left. NaN where nothing is known. It is a ratio, and wild where both sides
        are near 0; inference belongs to `difference`.
    difference : ndarray (n,)
        R - L in the maps' unit.
    """

    index: NDArray[np.float64]
    difference: NDArray[np.float64]


def laterality(right: NDArray, left: NDArray) -> Laterality:
    """Laterality of effects of the same region on both sides.

    The absolute values in the index keep it between -1 and 1 where an effect is negative.

    Parameters
    ----------
    right, left : ndarray (n,)
        Mean effects of people, or of levels.
    """
    right, left = np.asarray(right, dtype=np.float64), np.asarray(left, dtype=np.float64)
    size = np.abs(right) + np.abs(left)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Laterality(np.where(size > 0, (right - left) / size, np.nan), right - left)


@dataclass(frozen=True)
class Peak:
    """Level of the greatest effect.

    Parameters
    ----------
    level_system : {'spinal', 'vertebral'}
    level, lower, upper : str
        The level, and one above and one below it: people differ by about a segment from the template's relation of discs and
        segments (Cadotte 2015), so that nothing narrower may be claimed.
    side, part : str
    value : float
        The effect there.
    levels : mapping of str to float
        Effect at each level that is covered.
    """

    level_system: LevelSystem
    level: str
    lower: str
    upper: str
    side: str
    part: str
    value: float
    levels: Mapping[str, float]


def peak_level(means: RegionMeans, part: str, side: str, system: LevelSystem, row: int = 0) -> Peak:
    """Level at which one part of one side of the cord has its greatest effect.

    Parameters
    ----------
    means : RegionMeans
        Of cord regions.
    part, side, system : str
        Which of them.
    row : int
        Which of the maps.

    Returns
    -------
    Peak
        The range told by `lower` and `upper` ends where the regions end.

    Raises
    ------
    CoSpineError
        No level of it is covered.
    """
    chosen = [
        (region.level, float(means.values[row, k]))
        for k, region in enumerate(means.regions)
        if (region.part, region.side, region.level_system) == (part, side, system) and region.level
    ]
    known = [(level, value) for level, value in chosen if np.isfinite(value)]
    if not known:
        raise CoSpineError(f"no {system} level of the {part} part on side {side} is covered", "peak level", "Choose another part")
    every = [level for level, _ in chosen]
    best, value = max(known, key=lambda pair: pair[1])
    lower, upper = max(best - 1, min(every)), min(best + 1, max(every))
    names = {level: level_name(level, system) for level in every}
    # upper is the one nearer to the head, of the lower number
    return Peak(system, names[best], names[upper], names[lower], side, part, value, {names[n]: v for n, v in known})
