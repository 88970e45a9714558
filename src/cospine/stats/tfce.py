"""Threshold-free cluster enhancement, exactly: the integral over all heights by the tree of components, not by steps.

Smith SM, Nichols TE (2009) Threshold-free cluster enhancement: addressing problems of smoothing, threshold dependence and
localisation in cluster inference. NeuroImage 44:83-98. A voxel of height t gets the integral over h from 0 to t of
e(h)^E h^H dh, e(h) the number of voxels of the component above h that it belongs to. Between two heights at which the component
grows e is constant, so that the integral is a sum of e^E (h1^(H+1) - h0^(H+1)) / (H+1). Voxels are taken from high to low and
joined (union-find, Tarjan 1975); what a component is when its next lower voxel comes is one such term, shared by all above.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cospine.errors import CoSpineError

EXTENT, HEIGHT = 0.5, 2.0
"""E and H, those of Smith and Nichols for volumes, for the brain and for the cord alike; fixed before any data were seen.

Their theory (appendix) has E near 2 / D. At the 2 mm to which the cord is smoothed in-plane it is 3 to 5 resolution elements
wide, a volume still, not a line; an E of 1 or 2, for sheets and lines, would reward what fills the cord over what stays in one
horn, and a horn is what is looked for. That the cord is small needs no other E: each region is judged against its own maxima.
"""

FACES, EDGES, CORNERS = 6, 18, 26


@dataclass(frozen=True, eq=False)
class Lattice:
    """Voxels of a mask, and where their neighbours are.

    Attributes
    ----------
    shape : tuple of int
        Of the mask.
    place : ndarray (voxels,), int32
        Place of each voxel of the mask, in C order, in a flat box around it that has a rim of one voxel.
    offsets : ndarray (6, 18 or 26), int32
        From a voxel's place to its neighbours'.
    size : int
        Of the flat box.
    """

    shape: tuple[int, ...]
    place: NDArray[np.int32]
    offsets: NDArray[np.int32]
    size: int

    @property
    def voxels(self) -> int:
        """How many the mask has."""
        return self.place.size


def lattice(mask: NDArray[np.bool_], connectivity: int = FACES) -> Lattice:
    """Neighbours within a mask.

    Parameters
    ----------
    mask : ndarray (x, y, z), bool
    connectivity : {6, 18, 26}
        Voxels are neighbours that share a face; or an edge; or a corner.

    Raises
    ------
    CoSpineError
        The mask is empty or not three-dimensional, or the connectivity none of the three.
    """
    if mask.ndim != 3 or not mask.any() or connectivity not in (FACES, EDGES, CORNERS):
        raise CoSpineError(
            f"a mask {mask.shape} of {np.count_nonzero(mask)} voxels, connectivity {connectivity}",
            "neighbours in a mask",
            "Give a mask (x, y, z) with voxels in it, and a connectivity of 6, 18 or 26",
        )
    found = np.argwhere(mask)
    low, high = found.min(axis=0), found.max(axis=0)
    box = high - low + 3
    strides = np.array([box[1] * box[2], box[2], 1])
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    apart = np.abs(steps).sum(axis=1)
    steps = steps[(apart > 0) & (apart <= {FACES: 1, EDGES: 2, CORNERS: 3}[connectivity])]
    place = (found - low + 1) @ strides
    return Lattice(mask.shape, place.astype(np.int32), (steps @ strides).astype(np.int32), int(box.prod()))


def tfce(
    values: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    extent: float = EXTENT,
    height: float = HEIGHT,
    connectivity: int = FACES,
    two_sided: bool = True,
) -> NDArray[np.float32]:
    """Enhance a map.

    Parameters
    ----------
    values : ndarray (x, y, z)
        z or t; NaN and what is outside of the mask counts as 0.
    mask : ndarray (x, y, z), bool
    extent, height : float
        E and H.
    connectivity : {6, 18, 26}
    two_sided : bool
        Negative voxels are enhanced too, among themselves, and keep their sign; otherwise they get 0.

    Returns
    -------
    ndarray (x, y, z), float32
        0 outside of the mask.

    Raises
    ------
    CoSpineError
        See `lattice`.
    """
    where = lattice(mask, connectivity)
    inside = np.ascontiguousarray(np.nan_to_num(values[mask], nan=0.0), dtype=np.float32)
    enhanced = np.empty(where.voxels, np.float64)
    enhance(inside, where.place, where.offsets, Scratch.of(where).arrays, extent, height, np.inf, two_sided, enhanced)
    out = np.zeros(mask.shape, np.float32)
    out[mask] = np.copysign(enhanced, inside)
    return out


@dataclass(frozen=True, eq=False)
class Scratch:
    """What `enhance` needs to work in, of one thread."""

    arrays: tuple[NDArray, ...]

    @classmethod
    def of(cls, where: Lattice) -> "Scratch":
        """Fresh arrays for a lattice."""
        n = where.voxels
        at, keys = np.full(where.size, -1, np.int32), np.empty((2, n), np.uint32)
        return cls((at, np.empty((6, n), np.int32), keys, np.empty(n, np.float32), np.empty(n, np.float64)))


@njit(cache=True, nogil=True)
def _descending(values, two_sided, keys, order, other):
    """Fill `order` with the voxels that count, from high to low; how many. A radix sort by the bits of |value|."""
    kept = 0
    bits = np.abs(values).view(np.uint32)
    for v in range(values.size):
        if values[v] > 0 or (two_sided and values[v] < 0):
            order[kept] = v
            keys[0, kept] = ~bits[v]
            kept += 1
    counts = np.empty(2048, np.int64)
    source, target, now, then = order, other, keys[0], keys[1]
    for digit in range(3):
        shift = np.uint32(11 * digit)
        counts[:] = 0
        for n in range(kept):
            counts[(now[n] >> shift) & np.uint32(2047)] += 1
        before = 0
        for n in range(2048):
            count = counts[n]
            counts[n] = before
            before += count
        for n in range(kept):
            place = (now[n] >> shift) & np.uint32(2047)
            to = counts[place]
            counts[place] += 1
            then[to] = now[n]
            target[to] = source[n]
        source, target, now, then = target, source, then, now
    if kept:  # three passes end in the other array
        order[:kept] = other[:kept]
    return kept


@njit(cache=True, nogil=True)
def enhance(values, place, offsets, scratch, extent, height, threshold, two_sided, enhanced):
    """Largest enhanced value and largest cluster mass of one map.

    values (voxels,) float32; place, offsets: of the `Lattice`; scratch: of `Scratch`, handed back as it was; threshold: of
    clusters, whose mass is the sum of |value| - threshold; enhanced (voxels,) float64 is filled with |enhanced|, or has size 0.
    """
    at, integers, keys, heights, total = scratch
    order, other, joined, tree, size, tip = integers[0], integers[1], integers[2], integers[3], integers[4], integers[5]
    kept = _descending(values, two_sided, keys, order, other)
    heaviest = 0.0
    # voxels go by their rank from here on: components that are still growing lie close together in memory
    for n in range(kept):
        v = order[n]
        here = place[v]
        value = values[v]
        code = np.int32(2 * n + 1) if value > 0 else np.int32(2 * n)
        at[here] = code
        heights[n] = abs(value)
        joined[n] = n
        over = heights[n] - threshold
        mass, many, own = max(over, 0.0), 1, np.int32(n)
        for offset in offsets:
            found = at[here + offset]
            if found < 0 or (found ^ code) & 1:
                continue
            root = found >> 1
            while joined[root] != root:  # halving the way for those who come later
                joined[root] = joined[joined[root]]
                root = joined[root]
            if root == own:
                continue
            lowest = tip[root]
            tree[lowest] = n
            mass += total[lowest]
            if size[lowest] > many:  # the smaller joins the larger, so that ways stay short
                joined[own] = root
                own = root
            else:
                joined[root] = own
            many += size[lowest]
        tip[own], tree[n], size[n], total[n] = n, -1, many, mass
        if over > 0:
            heaviest = max(heaviest, mass)
    for n in range(kept):
        at[place[order[n]]] = -1
    root_extent, square_height = extent == 0.5, height == 2.0
    highest, power = 0.0, height + 1.0
    if enhanced.size:
        enhanced[:] = 0.0
    for n in range(kept - 1, -1, -1):
        below = tree[n]
        h = float(heights[n])
        low, start = 0.0, 0.0
        if below >= 0:
            low, start = float(heights[below]), total[below]
        many = math.sqrt(size[n]) if root_extent else size[n] ** extent
        rise = h * h * h - low * low * low if square_height else h**power - low**power
        total[n] = start + many * rise / power
        highest = max(highest, total[n])
        if enhanced.size:
            enhanced[order[n]] = total[n]
    return highest, heaviest
