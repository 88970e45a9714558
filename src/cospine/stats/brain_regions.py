"""Regions of the brain: spheres about published places, and the labels of any atlas."""

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.bids.tables import read_tsv
from cospine.errors import CoSpineError
from cospine.space.grid import Grid
from cospine.stats.regions import Region, RegionSet, Side

MOST_LABELS = 5000
MOST_PARTS = 3
"""Most places along an axis at which a coarse voxel is asked for its label."""

TASKS = ("pain", "motor")
"""Tasks that the table of spheres knows."""


def sphere_table() -> dict[str, list[str]]:
    """The table of spheres beside this module: places in MNI mm, radius, task, source, and how exact the place is."""
    with as_file(files("cospine.stats") / "spheres.tsv") as path:
        return read_tsv(path)


def tasks_like(task: str) -> tuple[str, ...]:
    """Whose spheres a task asks for, by how its label begins: ``pain``, ``motor``; both for any other."""
    return next(((one,) for one in TASKS if task.startswith(one)), TASKS)


def brain_spheres(
    grid: Grid,
    *,
    tasks: Sequence[str] = TASKS,
    mask: NDArray[np.bool_] | None = None,
    space: str = "MNI152NLin2009aSym",
) -> RegionSet:
    """The table's spheres on a grid in MNI space.

    Parameters
    ----------
    grid : Grid
        Of the maps, in MNI space.
    tasks : sequence of {'pain', 'motor'}
        Which spheres.
    mask : ndarray (x, y, z), bool, optional
        Brain, or grey matter: spheres end at it.
    space : str

    Returns
    -------
    RegionSet
        A voxel in two spheres belongs to the one whose middle is nearer, in radii.

    Raises
    ------
    CoSpineError
        No sphere is of these tasks or lies on the grid.
    """
    table = sphere_table()
    rows = [k for k, task in enumerate(table["tasks"]) if task in tasks]
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
    nearest = np.full(grid.shape, np.inf)
    labels = np.zeros(grid.shape, np.int32)
    regions = []
    for number, k in enumerate(rows, start=1):
        centre = np.array([float(table[f"{axis}_mm"][k]) for axis in "xyz"])
        radii = np.linalg.norm(points - centre, axis=-1) / float(table["radius_mm"][k])
        here = (radii <= 1) & (radii < nearest)
        if mask is not None:
            here &= mask
        labels[here], nearest[here] = number, radii[here]
        side: Side = "L" if table["side"][k] == "L" else "R" if table["side"][k] == "R" else "midline"
        name = table["name"][k] if side == "midline" else f"{table['name'][k]}_{side}"
        source = f"{table['source'][k]} (doi:{table['doi'][k]}); {table['basis'][k]}"
        regions.append(Region(number, name, side, "sphere", source=source, exact=table["exactness"][k] == "reported"))
    return _kept(space, grid, labels, regions, f"spheres for {', '.join(tasks)}")


def atlas_regions(
    labels: NDArray, grid: Grid, names: Mapping[int, str] | None = None, *, space: str, source: str = "atlas"
) -> RegionSet:
    """Regions of an atlas: an image of whole numbers.

    Parameters
    ----------
    labels : ndarray (x, y, z)
        Whole numbers, 0 outside.
    grid : Grid
        Where its voxels are.
    names : mapping of int to str, optional
        Names of labels (`read_label_names`); ``label-7`` without one. A name that ends in ``_L``, ``-L``, ``Left`` or so tells
        the side.
    space : str
        Space in which the atlas is; the caller knows.
    source : str
        File or citation.

    Returns
    -------
    RegionSet

    Raises
    ------
    CoSpineError
        The image is no image of labels: four-dimensional, fractions, negative numbers, thousands of them, or empty.
    """
    given = np.asarray(labels)
    if given.ndim == 4 and given.shape[3] == 1:
        given = given[..., 0]
    if given.shape != grid.shape:
        raise CoSpineError(
            f"an atlas of shape {given.shape} is no image of labels", source, "Give one volume of whole numbers (threshold maps)"
        )
    whole = np.rint(np.nan_to_num(given))
    if not np.allclose(given, whole, atol=1e-3) or whole.min() < 0:
        raise CoSpineError(
            "holds fractions or negative numbers: not labels",
            source,
            "Give whole numbers, 0 outside (threshold probabilities first)",
        )
    found = np.unique(whole[whole > 0]).astype(np.int64).tolist()
    if len(found) > MOST_LABELS:
        raise CoSpineError(f"holds {len(found)} different numbers: an image, not labels", source, "Give an image of labels")
    names = {} if names is None else dict(names)
    regions = [Region(n, names.get(n, f"label-{n}"), _side(names.get(n, "")), "atlas", source=source) for n in found]
    unnamed = sorted(set(names) - set(found))
    notes = (f"Labels named but not in the image: {', '.join(names[n] for n in unnamed)}.",) if unnamed else ()
    return _kept(space, grid, whole.astype(np.int32), regions, source, notes)


def read_label_names(path: Path) -> dict[int, str]:
    """Names of labels from a table: BIDS ``index`` and ``name``, or SCT's and FSL's habits of ``id``, ``label``.

    Raises
    ------
    CoSpineError
        No such columns, or an index that is no number or comes twice.
    """
    try:
        table = read_tsv(path)
    except (OSError, ValueError) as error:
        raise CoSpineError(f"cannot be read: {error}", str(path), "Give a tab-separated table of index and name") from error
    lower = {name.lower(): name for name in table}
    index = next((lower[name] for name in ("index", "id", "value") if name in lower), None)
    label = next((lower[name] for name in ("name", "label", "region") if name in lower), None)
    if index is None or label is None:
        raise CoSpineError(f"has the columns {', '.join(table)}", str(path), "Name two of them index and name")
    try:
        numbers = [int(float(cell)) for cell in table[index]]
    except ValueError as error:
        raise CoSpineError(f"an index is no number ({error})", str(path), "Give whole numbers") from error
    if len(set(numbers)) < len(numbers):
        raise CoSpineError("an index comes twice", str(path), "Give every label one name")
    return dict(zip(numbers, table[label], strict=True))


def on_grid(regions: RegionSet, grid: Grid) -> RegionSet:
    """The same regions on another grid of the same space.

    A voxel that joins several of the regions' voxels gets the label that most of it has: one that is half in a region belongs to
    it, and of two regions with equal parts the one of the lower number has it. The nearest label alone would not do: the middle
    of a 1 mm voxel lies just between those of 0.5 mm that it joins.

    Raises
    ------
    CoSpineError
        No region reaches the grid.
    """
    parts = np.clip(np.rint(grid.voxel_mm / regions.grid.voxel_mm.min()), 1, MOST_PARTS).astype(int)
    places = [(np.arange(n) + 0.5) / n - 0.5 for n in parts.tolist()]
    samples = [_nearest(regions, grid, np.array(offset)) for offset in product(*places)]
    best, votes = samples[0], np.zeros(grid.shape, np.int64)
    for candidate in samples:
        count = np.zeros(grid.shape, np.int64)
        for other in samples:
            count += other == candidate
        before = (candidate > 0) & ((best == 0) | (candidate < best))
        wins = (count > votes) | ((count == votes) & before)
        best, votes = np.where(wins, candidate, best), np.where(wins, count, votes)
    return _kept(regions.space, grid, best, regions.regions, f"regions in {regions.space}", regions.notes)


def _nearest(regions: RegionSet, grid: Grid, offset: NDArray[np.float64]) -> NDArray[np.int32]:
    """Label at a place of each voxel of a grid, `offset` voxels from its middle."""
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1) + offset)
    # a tie goes up, not to the even number: neighbours must not share one label and skip the next
    voxels = np.floor(regions.grid.to_voxel(points) + 0.5 + 1e-6).astype(np.int64)
    inside = ((voxels >= 0) & (voxels < np.array(regions.grid.shape))).all(axis=-1)
    labels = np.zeros(grid.shape, np.int32)
    labels[inside] = regions.labels[tuple(voxels[inside].T)]
    return labels


def _side(name: str) -> Side:
    """Side that a label's name tells, by its first or last word."""
    words = name.replace("-", "_").replace(" ", "_").replace(".", "_").lower().split("_")
    ends = {words[0], words[-1]}
    if ends & {"l", "lh", "left"}:
        return "L"
    return "R" if ends & {"r", "rh", "right"} else "midline"


def _kept(
    space: str, grid: Grid, labels: NDArray[np.int32], regions: Sequence[Region], source: str, notes: tuple[str, ...] = ()
) -> RegionSet:
    """A set of those regions that hold voxels; the others are named in its notes."""
    held = set(np.unique(labels).tolist())
    kept = tuple(region for region in regions if region.number in held)
    if not kept:
        raise CoSpineError("no region lies on the grid", source, "Give a grid in the space of the regions, and whole labels")
    lost = [region.name for region in regions if region.number not in held]
    said = (*notes, f"Not on the grid: {', '.join(lost)}.") if lost else notes
    return RegionSet(space, grid, labels, kept, said)
