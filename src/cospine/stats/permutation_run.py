"""The engine of the permutation tests: one region prepared, every rearrangement of every region, on threads.

What is made of one rearrangement depends on nothing else, and counts are whole numbers: the result is the same however many
threads there are.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.stats.exchange import Partition, Rearrangements
from cospine.stats.permutation_kernels import compare, residuals_of_present, studentise, studentise_present, z_of
from cospine.stats.tfce import EXTENT, HEIGHT, Lattice, Scratch, enhance
from cospine.threads import threads as default_threads

STATISTICS = ("voxel", "tfce", "mass")
OWN_SKEWNESS = 0.5
"""Share of a voxel's own skewness in what is taken out; the rest is the mean over the region."""
_CHUNK = 16
_TIES = 1e-5


@dataclass(frozen=True, eq=False)
class Observed:
    """What the data give, as they are, (voxels,)."""

    effect: NDArray[np.float64]
    t: NDArray[np.float32]
    dof: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prepared:
    """One region: residuals after nuisance, people sorted by variance group; voxels that all have, then those that some lack."""

    complete: NDArray[np.float32]
    partial: NDArray[np.float32]
    present: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    x: NDArray[np.float64]
    nuisance: NDArray[np.float64]
    u: NDArray[np.float32]
    q: NDArray[np.float32]
    first: NDArray[np.int64]
    freedom: NDArray[np.float32]
    stretch: NDArray[np.float32]
    norm: float
    order: NDArray[np.intp]
    n: NDArray[np.int_]
    where: Lattice | None

    @classmethod
    def of(cls, values: NDArray, parts: Partition, groups: NDArray[np.intp], where: Lattice | None) -> "Prepared":
        order = np.argsort(groups, kind="stable")
        values = np.asarray(values, dtype=np.float32)[order]
        x, nuisance = parts.tested[order], np.ascontiguousarray(parts.nuisance[order].T)
        present = np.isfinite(values)
        n = present.sum(axis=0)
        whole = n == len(order)
        q = np.linalg.qr(nuisance.T)[0].T
        u = x - q.T @ (q @ x)
        norm = float(np.linalg.norm(u))
        u /= norm
        free = 1 - u**2 - (q**2).sum(axis=0)
        first = np.concatenate([[0], np.cumsum(np.bincount(groups))])
        freedom = np.add.reduceat(free, first[:-1])
        if (freedom < 0.5).any():
            raise CoSpineError(
                f"degrees of freedom of the variance groups: {np.round(freedom, 2).tolist()}",
                "group test",
                "Give fewer columns, or larger variance groups",
            )
        complete = values[:, whole].astype(np.float64)
        complete = np.ascontiguousarray(complete - q.T @ (q @ complete), dtype=np.float32)
        partial, there = np.ascontiguousarray(values[:, ~whole]), np.ascontiguousarray(present[:, ~whole])
        residuals_of_present(partial, there, nuisance)
        left = np.maximum(n - 1 - len(nuisance), 1)
        return cls(
            complete, partial, there, whole, x, nuisance, u.astype(np.float32), np.ascontiguousarray(q, dtype=np.float32),
            first.astype(np.int64), freedom.astype(np.float32), np.sqrt(n / left).astype(np.float32), norm, order, n, where,
        )  # fmt: skip

    @property
    def voxels(self) -> int:
        return self.whole.size


class Work:
    """Arrays of one thread for one region, in the mask's order of voxels."""

    def __init__(self, region: Prepared) -> None:
        complete, partial = region.complete.shape[1], region.partial.shape[1]
        self.whole = np.empty((4, complete), np.float32)
        self.some = np.empty((5, partial), np.float32)
        self.all = np.empty((4, region.voxels), np.float32)
        self.z = np.empty(region.voxels, np.float32)
        self.scratch = Scratch.of(region.where).arrays if region.where else None

    def statistic(self, region: Prepared, source: NDArray, sign: NDArray, skewed: bool) -> NDArray[np.float32]:
        """z that is tested (voxels,), of one rearrangement."""
        people = region.u.size
        left = people - 1 - len(region.q)
        cube = np.float32(people**2 / (left * (left - 1)))
        studentise(
            region.complete, source, sign, region.u, region.q, region.first, region.freedom, cube, *self.whole
        )  # fmt: skip
        found = self.whole
        if region.partial.size:
            studentise_present(
                region.partial, region.present, source, sign, region.x, region.nuisance, region.first,
                self.some[0], self.some[4], *self.some[1:4],
            )  # fmt: skip
            found = self.all
            found[:, region.whole] = self.whole
            found[:, ~region.whole] = self.some[:4]
        self.found = found
        pooled = float(np.mean(found[3], dtype=np.float64)) if skewed else 0.0
        z_of(found[1], found[2], found[3], pooled, OWN_SKEWNESS if skewed else -1.0, region.stretch, self.z)
        return self.z

    def observed(self, region: Prepared) -> Observed:
        """Effects beside t, after `statistic` of the data as they are."""
        norm = np.full(region.voxels, region.norm)
        norm[~region.whole] = self.some[4]
        return Observed(self.found[0] / norm, self.found[1].copy(), self.found[2].copy())


@dataclass(frozen=True, eq=False)
class Outcome:
    """A region after all rearrangements."""

    found: Observed
    tested: NDArray[np.float32]
    enhanced: NDArray[np.float64]
    exceeded: NDArray[np.int64]
    maxima: NDArray[np.float64]


def run_all(
    prepared: Mapping[str, Prepared], drawn: Rearrangements, skewed: bool, cluster_z: float, two_sided: bool, threads: int | None
) -> dict[str, Outcome]:
    """Every rearrangement in every region."""
    source, sign = _sorted(drawn, next(iter(prepared.values())).order)
    begun = {}
    for name, region in prepared.items():
        work = Work(region)
        tested = work.statistic(region, source[0], sign[0], skewed).copy()
        enhanced = np.empty(region.voxels if region.where else 0, np.float64)
        if region.where:
            enhance(
                tested, region.where.place, region.where.offsets, work.scratch, EXTENT, HEIGHT, cluster_z, two_sided, enhanced
            )
        begun[name] = Outcome(
            work.observed(region), tested, enhanced, np.zeros(region.voxels, np.int64), np.zeros((drawn.count, len(STATISTICS)))
        )
    bounds = {}
    for name, one in begun.items():
        size = np.abs(one.tested) if two_sided else one.tested
        # what rounding makes of a tie counts as one, to the side of safety
        bounds[name] = (size - np.abs(size) * np.float32(_TIES)).astype(np.float32)
    lock, own = threading.Lock(), threading.local()

    def some(start: int) -> None:
        if not hasattr(own, "work"):
            own.work = {name: Work(region) for name, region in prepared.items()}
        nothing = np.empty(0, np.float64)
        for name, region in prepared.items():
            work, exceeded = own.work[name], np.zeros(region.voxels, np.int32)
            for n in range(start, min(start + _CHUNK, drawn.count)):
                z = work.statistic(region, source[n], sign[n], skewed)
                maxima = begun[name].maxima[n]
                maxima[0] = compare(z, bounds[name], two_sided, exceeded)
                if region.where:
                    maxima[1:] = enhance(
                        z, region.where.place, region.where.offsets, work.scratch, EXTENT, HEIGHT, cluster_z, two_sided, nothing
                    )
            with lock:
                begun[name].exceeded[:] += exceeded

    with ThreadPoolExecutor(threads or default_threads()) as pool:
        for done in [pool.submit(some, start) for start in range(0, drawn.count, _CHUNK)]:
            done.result()
    return begun


def _sorted(drawn: Rearrangements, order: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rearrangements of people who are sorted by variance group."""
    rank = np.argsort(order).astype(np.int32)
    return np.ascontiguousarray(rank[drawn.source[:, order]]), np.ascontiguousarray(drawn.sign[:, order])


def reached(maxima: NDArray[np.float64], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of the maxima that reach each value."""
    ordered = np.sort(maxima)
    bound = values - np.abs(values) * _TIES
    return (ordered.size - np.searchsorted(ordered, bound, side="left")) / ordered.size
