"""Inference across people by permutation: voxel maximum, TFCE and cluster mass, at one family-wise level over brain and cord.

The statistic is the t of least squares, or Welch's v where groups of people have variances of their own (Winkler 2014), among
those who have the voxel. Nuisance is taken out after Freedman and Lane: residuals are rearranged and fitted anew.
People are exchanged within their site where the contrast is one between them and their errors are alike; otherwise signs are
flipped.

**Skewness.** Flipping signs supposes errors symmetric about 0. With skewed errors the t of many voxels is no longer near its
level: the tail opposite to the skewness is heavy (`benchmarks/group_null.py` tells how much). No test of a mean can be exact
for every skewed error (Bahadur and Savage 1956), but the first-order part can be taken out of the statistic: Hall's monotone
cubic (1992) with the third moment of each rearranged map, half the voxel's own and half the region's mean, which is less noisy.
The p values rest on that; with symmetric errors they stay exact, for exactness needs no particular statistic. The t and z maps
are the plain ones.

**One level.** Maxima of brain and cord cannot be pooled as they are: the brain has forty times as many voxels, and its TFCE grows
far higher, so that the cord would never be seen. Each region's maximum is first made a p by its own null distribution; the
smaller of the two p of each rearrangement is the common statistic (Tippett; Westfall and Young 1993). Rearrangements are the
same in both regions, so that their dependence is kept, and each region pays the same: about a factor 2 if they are independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.stats.clusters import label_clusters
from cospine.stats.exchange import SIGNS, Partition, Rearrangements, partition, rearrange
from cospine.stats.permutation_run import STATISTICS, Outcome, Prepared, reached, run_all
from cospine.stats.tails import z_from_t
from cospine.stats.tfce import FACES, lattice

LARGEST_CLUSTER_P = 0.001


@dataclass(frozen=True, eq=False)
class RegionResult:
    """Maps of one region, (x, y, z) float32, NaN outside of its mask.

    Attributes
    ----------
    effect, t, z : ndarray
        In the unit of the maps; plain t (or v), and z of the same tail.
    dof : ndarray
    n : ndarray
        People in each voxel.
    p : ndarray
        Of the voxel alone, not corrected.
    tfce : ndarray
        Signed.
    p_fwe : mapping of 'voxel', 'tfce', 'mass' to ndarray
        Corrected over all regions. For cluster mass: of the voxel's cluster, 1 outside of clusters.
    clusters : ndarray, int32
        Number of the cluster at the forming threshold, heaviest first; 0 outside.
    maxima : mapping of name to ndarray (rearrangements,)
        The region's largest statistic in every rearrangement; the first is that of the data.
    """

    effect: NDArray[np.float32]
    t: NDArray[np.float32]
    z: NDArray[np.float32]
    dof: NDArray[np.float32]
    n: NDArray[np.float32]
    p: NDArray[np.float32]
    tfce: NDArray[np.float32]
    p_fwe: Mapping[str, NDArray[np.float32]]
    clusters: NDArray[np.int32]
    maxima: Mapping[str, NDArray[np.float64]] = field(repr=False)


@dataclass(frozen=True, eq=False)
class GroupResult:
    """A test across people.

    Attributes
    ----------
    regions : mapping of name to RegionResult
    p_fwe : mapping of 'voxel', 'tfce', 'mass' to float
        The smallest over all regions: the p of the contrast as a whole, for `holm` over contrasts.
    kind : {'sign flips', 'permutations'}
    rearrangements : int
        With the data as they are among them; no p can be smaller than 1 / this, no p_fwe than number of regions / this.
    possible : float
        How many different ones there are.
    exhaustive : bool
    skewness_removed : bool
    cluster_z : float
        What z must exceed in a cluster.
    """

    regions: Mapping[str, RegionResult]
    p_fwe: Mapping[str, float]
    kind: str
    rearrangements: int
    possible: float
    exhaustive: bool
    skewness_removed: bool
    cluster_z: float


@dataclass(frozen=True, eq=False)
class RegionTest:
    """A test of the means of regions (horns, spheres), (regions,) each.

    Attributes
    ----------
    effect, t, z, dof : ndarray
    n : ndarray
        People who have the region.
    p : ndarray
        By permutation, of each region alone.
    p_holm : ndarray
        Corrected over regions after Holm (1979).
    p_fwe : ndarray
        Corrected by the maximum over regions, which knows how they go together.
    kind, rearrangements, possible, exhaustive
        See `GroupResult`.
    """

    effect: NDArray[np.float64]
    t: NDArray[np.float64]
    z: NDArray[np.float64]
    dof: NDArray[np.float64]
    n: NDArray[np.int_]
    p: NDArray[np.float64]
    p_holm: NDArray[np.float64]
    p_fwe: NDArray[np.float64]
    kind: str
    rearrangements: int
    possible: float
    exhaustive: bool


def permutation_test(
    maps: Mapping[str, NDArray[np.floating]],
    masks: Mapping[str, NDArray[np.bool_]],
    design: ArrayLike,
    contrast: ArrayLike,
    *,
    blocks: ArrayLike | None = None,
    variance_groups: ArrayLike | None = None,
    permutations: int = 5000,
    two_sided: bool = True,
    cluster_p: float = LARGEST_CLUSTER_P,
    connectivity: int = FACES,
    remove_skewness: bool | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> GroupResult:
    """Test one contrast of a group design in all regions together.

    Parameters
    ----------
    maps : mapping of region to ndarray (people, x, y, z)
        Effects of each person; NaN where a person was not measured. People are the same, in the same order, in all regions.
    masks : mapping of region to ndarray (x, y, z), bool
        Where it is tested; a voxel may be missing in some people (`cohort.coverage` says in how many).
    design : (people, columns)
        A constant is not added.
    contrast : (columns,)
    blocks : (people,), optional
        Site of each person: people are exchanged within it only.
    variance_groups : (people,), optional
        People whose errors have the same variance; one number each. With more than one group the statistic is Welch's and signs
        are flipped, for people with unlike errors cannot be exchanged. Needed where variances differ.
    permutations : int
        Rearrangements, the data as they are among them.
    two_sided : bool
    cluster_p : float
        p that forms clusters, in each tail half of it when two-sided; 0.001 at most.
    connectivity : {6, 18, 26}
    remove_skewness : bool, optional
        See the module; None: with sign flips.
    seed : int
    threads : int, optional
        numba's number otherwise. The result does not depend on it.

    Returns
    -------
    GroupResult

    Raises
    ------
    CoSpineError
        See `partition` and `rearrange`; or shapes do not fit, nobody has a voxel of a mask, or `cluster_p` is too large.
    """
    parts = partition(design, contrast)
    _check_maps(maps, masks, parts.tested.size, cluster_p)
    groups = _variance_groups(variance_groups, parts.tested.size)
    drawn = _drawn(parts, groups, blocks, permutations, two_sided, seed)
    skewed = drawn.kind == SIGNS if remove_skewness is None else remove_skewness
    from scipy.stats import norm

    cluster_z = float(norm.isf(cluster_p / 2 if two_sided else cluster_p))
    prepared = {
        name: Prepared.of(np.stack([one[masks[name]] for one in maps[name]]), parts, groups, lattice(masks[name], connectivity))
        for name in masks
    }
    runs = run_all(prepared, drawn, skewed, cluster_z, two_sided, threads)
    regions, smallest = _assemble(prepared, runs, masks, drawn, cluster_z, two_sided, connectivity)
    return GroupResult(
        regions, smallest, drawn.kind, drawn.count, drawn.possible, drawn.exhaustive, skewed, cluster_z
    )  # fmt: skip


def region_test(
    values: ArrayLike,
    design: ArrayLike,
    contrast: ArrayLike,
    *,
    blocks: ArrayLike | None = None,
    variance_groups: ArrayLike | None = None,
    permutations: int = 5000,
    two_sided: bool = True,
    remove_skewness: bool | None = None,
    seed: int = 0,
) -> RegionTest:
    """Test one contrast in the means of a few regions: inference in small volumes.

    Parameters
    ----------
    values : (people, regions)
        NaN where a person lacks the region.
    design, contrast, blocks, variance_groups, permutations, two_sided, remove_skewness, seed
        See `permutation_test`.

    Raises
    ------
    CoSpineError
        See `partition` and `rearrange`; or values do not fit the design.
    """
    table = np.array(values, dtype=np.float32)
    parts = partition(design, contrast)
    if table.ndim != 2 or len(table) != parts.tested.size or not table.size:
        raise CoSpineError(
            f"values {table.shape} (people, regions) do not fit {parts.tested.size} rows of the design",
            "test of regions",
            "Give one row a person, one column a region",
        )
    groups = _variance_groups(variance_groups, parts.tested.size)
    drawn = _drawn(parts, groups, blocks, permutations, two_sided, seed)
    skewed = drawn.kind == SIGNS if remove_skewness is None else remove_skewness
    prepared = Prepared.of(table, parts, groups, None)
    run = run_all({"regions": prepared}, drawn, skewed, np.inf, two_sided, 1)["regions"]
    p = run.exceeded / drawn.count
    bound = run.tested if not two_sided else np.abs(run.tested)
    known = run.found.t != 0
    return RegionTest(
        effect=np.where(known, run.found.effect, np.nan),
        t=np.where(known, run.found.t, np.nan),
        z=np.where(known, z_from_t(run.found.t, run.found.dof), np.nan),
        dof=np.where(known, run.found.dof, np.nan),
        n=prepared.n,
        p=np.where(known, p, np.nan),
        p_holm=holm(np.where(known, p, np.nan)),
        p_fwe=np.where(known, reached(run.maxima[:, 0], bound), np.nan),
        kind=drawn.kind,
        rearrangements=drawn.count,
        possible=drawn.possible,
        exhaustive=drawn.exhaustive,
    )


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p corrected for their number, step by step (Holm 1979, Scand J Stat 6:65-70). NaN is no test and stays NaN.

    For tests that have one p each: regions, or contrasts as a whole (`GroupResult.p_fwe`). A map's voxels are corrected over
    several contrasts by multiplying with the number of contrasts, for Holm's later steps would let a contrast that is real
    somewhere pay for its other voxels.
    """
    values = np.asarray(p, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values.ravel()))
    order = tested[np.argsort(values.ravel()[tested], kind="stable")]
    steps = values.ravel()[order] * np.arange(order.size, 0, -1)
    out.ravel()[order] = np.minimum(np.maximum.accumulate(steps), 1) if order.size else steps
    return out


def _check_maps(maps: Mapping[str, NDArray], masks: Mapping[str, NDArray], people: int, cluster_p: float) -> None:
    faults = []
    if not masks or set(maps) != set(masks):
        faults.append(f"maps of {sorted(maps)} but masks of {sorted(masks)}")
    for name in masks:
        shape = maps[name].shape if name in maps else ()
        if shape != (people, *masks[name].shape):
            faults.append(f"{name}: maps {shape} do not fit {people} people and a mask {masks[name].shape}")
        elif not np.isfinite(maps[name][:, masks[name]]).any(axis=0).all():
            faults.append(f"{name}: there are voxels in the mask that nobody has")
    if not 0 < cluster_p <= LARGEST_CLUSTER_P:
        faults.append(f"clusters formed at p = {cluster_p:g}: {LARGEST_CLUSTER_P:g} at most")
    if faults:
        raise CoSpineError("; ".join(faults), "group test", "Give maps (people, x, y, z) and a mask (x, y, z) for each region")


def _drawn(
    parts: Partition, groups: NDArray, blocks: ArrayLike | None, permutations: int, two_sided: bool, seed: int
) -> Rearrangements:
    """Rearrangements of the people, who are alike where there is one variance for all."""
    within = None if blocks is None else np.asarray(blocks)
    return rearrange(parts.tested, within, permutations, two_sided=two_sided, seed=seed, alike=not groups.any())


def _variance_groups(given: ArrayLike | None, people: int) -> NDArray[np.intp]:
    groups = np.zeros(people, np.intp) if given is None else np.unique(np.asarray(given), return_inverse=True)[1]
    if groups.shape != (people,) or (np.bincount(groups) < 2).any():
        raise CoSpineError(
            f"variance groups of {np.bincount(groups.ravel()).tolist()} for {people} people",
            "group test",
            "Every group needs two people for a variance of its own",
        )
    return groups


def _assemble(
    prepared: Mapping[str, Prepared],
    runs: Mapping[str, Outcome],
    masks: Mapping[str, NDArray[np.bool_]],
    drawn: Rearrangements,
    cluster_z: float,
    two_sided: bool,
    connectivity: int,
) -> tuple[dict[str, RegionResult], dict[str, float]]:
    """Maps with one family-wise level over the regions."""
    joint = {s: np.sort(np.min([reached(run.maxima[:, s], run.maxima[:, s]) for run in runs.values()], axis=0)) for s in range(3)}
    regions: dict[str, RegionResult] = {}
    smallest: dict[str, float] = dict.fromkeys(STATISTICS, 1.0)
    for name, run in runs.items():
        mask = masks[name]

        def place(values: NDArray, mask: NDArray[np.bool_] = mask) -> NDArray[np.float32]:
            out = np.full(mask.shape, np.nan, np.float32)
            out[mask] = values
            return out

        found = label_clusters(place(run.tested), mask, cluster_z, connectivity=connectivity, two_sided=two_sided)
        sizes = {"voxel": np.abs(run.tested) if two_sided else run.tested, "tfce": run.enhanced, "mass": found.masses}
        estimated = np.where(run.found.t == 0, np.nan, 1.0)  # people are there, but none that the contrast could rest on
        p_fwe = {}
        for s, kind in enumerate(STATISTICS):
            p = np.searchsorted(joint[s], reached(run.maxima[:, s], sizes[kind]) * (1 + 1e-9), side="right") / drawn.count
            if kind == "mass":
                p = np.concatenate([[1.0], p])[found.labels[mask]]
            p_fwe[kind] = place(p * estimated)
            smallest[kind] = min(smallest[kind], float(p.min()))
        regions[name] = RegionResult(
            effect=place(run.found.effect * estimated),
            t=place(run.found.t * estimated),
            z=place(z_from_t(run.found.t, run.found.dof) * estimated),
            dof=place(run.found.dof * estimated),
            n=place(prepared[name].n),
            p=place(run.exceeded / drawn.count * estimated),
            tfce=place(np.sign(run.tested) * run.enhanced),
            p_fwe=p_fwe,
            clusters=found.labels,
            maxima={kind: run.maxima[:, s] for s, kind in enumerate(STATISTICS)},
        )
    return regions, smallest
