"""What simultaneous slices leak into each other, taken out at the place it comes from.

Leakage lives in acquired voxels: a slice receives a share of the slice it was excited with, displaced along the phase encoding by
the CAIPI shift (Setsompop 2012). Brain slices have their partners in the neck, so that it passes for coupling of brain and cord.
Leaving pairs of slices out of a correlation is no cure where a region fluctuates as a whole: its other slices carry the leaked
course too.

How much leaks is learnt from what is a slice's own. Let X be a voxel of one slice, Y that of its partner which leaks into it, and
e what a slice has that its neighbours do not. Recorded are X = x + a y and Y = y + a x; whatever brain and cord truly have in
common is in the neighbours too, so that X · e(Y) = a (x · e(x) + y · e(y)), summed over the voxels of a pair of slices: noise
that is seen in both slices of an excitation and in no other tells a, coupling does not. Other things of one instant do (the rest
of pulse and breathing), but they are wide: each slice's mean course is taken out of its voxels before, and what is found at other
shifts along the phase encoding, from which nothing leaks, is subtracted. Regressing Y out instead would take all coupling with
that place along and, done on both sides, turn its sign. The share is taken to be the same both ways and over a slice: covariances
cannot tell the two ways apart, nor single regions the share.

References
----------
Setsompop K et al. (2012) Blipped-controlled aliasing in parallel imaging. Magn Reson Med 67:1210-1224.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.signal.blocks import map_view, slice_view
from cospine.signal.regression import Bases

LARGEST_SHARE = 0.1
"""No reconstruction in use leaks more; what is found above it is something else."""
_CONTROLS = 5
_PLANES_KEPT = 8


@dataclass(frozen=True, eq=False)
class Leakage:
    """Where partners' signal comes from, and how much of it.

    Parameters
    ----------
    pairs : ndarray (n, 2), int
        Simultaneous slices, the lower first.
    shares : ndarray (n,)
        What each pair leaks into each other, 0 to `LARGEST_SHARE`.
    lag : int
        Shift along the phase encoding in voxels: voxel j of the lower slice receives from, and leaks to, j + lag of the upper
        (`cospine.signal.simultaneous.shared_signal` finds it).
    pe_axis, slice_axis : {0, 1, 2}
        Voxel axes.
    """

    pairs: NDArray[np.int64]
    shares: NDArray[np.float64]
    lag: int
    pe_axis: int
    slice_axis: int = 2


def find_leakage(
    acquired: NDArray,
    body: NDArray[np.bool_],
    pairs: NDArray[np.int64],
    lag: int,
    pe_axis: int,
    *,
    bases: Bases | None = None,
    rows: NDArray[np.bool_] | None = None,
    slice_axis: int = 2,
) -> Leakage:
    """How much simultaneous slices leak into each other.

    Parameters
    ----------
    acquired : ndarray (x, y, z, t)
        Series on the acquired grid, neither moved nor unwarped, drift and noise regressed out.
    body : ndarray (x, y, z), bool
        Voxels with signal.
    pairs : ndarray (n, 2), int
        Simultaneous slices, the lower first.
    lag : int
        Shift along the phase encoding, voxels.
    pe_axis, slice_axis : {0, 1, 2}
    bases : Bases, optional
        What else is to be held fixed, slice by slice: the task, which voxels far from each other follow alike.
    rows : ndarray (t,), bool, optional
        Volumes that tell the share.

    Returns
    -------
    Leakage

    Raises
    ------
    CoSpineError
        The axes or shapes do not fit.
    """
    if pe_axis == slice_axis or body.shape != acquired.shape[:3]:
        raise CoSpineError(
            f"a mask {body.shape} and phase encoding along axis {pe_axis} do not fit a series {acquired.shape} with slices along "
            f"{slice_axis}",
            "leakage",
            "Give a mask of the acquired series, and its axes",
        )
    planes = _Planes(acquired, body, bases, rows, slice_axis)
    along = [axis for axis in (2, 1, 0) if axis != slice_axis].index(pe_axis)
    count = acquired.shape[pe_axis]
    controls = [lag + round(count * (n + 1) / (_CONTROLS + 1)) for n in range(_CONTROLS)]
    shares = np.empty(len(pairs))
    for row, (lower, upper) in enumerate(pairs.tolist()):
        at_lag, *elsewhere = (_share(planes, lower, upper, one, along) for one in (lag, *controls))
        shares[row] = at_lag - np.median(elsewhere)
    return Leakage(pairs, np.clip(shares, 0, LARGEST_SHARE), lag, pe_axis, slice_axis)


def leaked(acquired: NDArray, voxels: NDArray[np.integer], leakage: Leakage) -> NDArray[np.float32]:
    """What leaks into voxels.

    Parameters
    ----------
    acquired : ndarray (x, y, z, t)
        See `find_leakage`.
    voxels : ndarray (n, 3), int
        On that grid; nothing leaks into those outside of it.
    leakage : Leakage

    Returns
    -------
    ndarray (n, t), float32
        In the units of `acquired`.
    """
    voxels = np.asarray(voxels, dtype=np.int64).reshape(-1, 3)
    inside = ((voxels >= 0) & (voxels < acquired.shape[:3])).all(axis=1)
    found = np.zeros((len(voxels), acquired.shape[3]), np.float32)
    slices = np.where(inside, voxels[:, leakage.slice_axis], -1)
    for (lower, upper), share in zip(leakage.pairs.tolist(), leakage.shares.tolist(), strict=True):
        for k, partner, sign in ((lower, upper, 1), (upper, lower, -1)):
            here = np.flatnonzero(slices == k)
            source = voxels[here]
            source[:, leakage.slice_axis] = partner
            source[:, leakage.pe_axis] = (source[:, leakage.pe_axis] + sign * leakage.lag) % acquired.shape[leakage.pe_axis]
            arrives = acquired[tuple(source.T)]
            found[here] += np.float32(share) * np.where(np.isfinite(arrives), arrives, 0)
    return found


class _Planes:
    """Centred courses (t, row, column) of slices without their mean course, 0 outside of the body; the few used last are kept."""

    def __init__(
        self, series: NDArray, body: NDArray[np.bool_], bases: Bases | None, rows: NDArray[np.bool_] | None, slice_axis: int
    ) -> None:
        self._view, self.body, self._bases = slice_view(series, slice_axis), map_view(body, slice_axis), bases
        self._rows = np.ones(len(self._view), bool) if rows is None else np.asarray(rows, dtype=bool)
        self._kept: dict[int, NDArray[np.float32]] = {}

    def at(self, k: int) -> NDArray[np.float32]:
        """Courses of a slice in the volumes that count."""
        if k not in self._kept:
            if len(self._kept) == _PLANES_KEPT:
                del self._kept[next(iter(self._kept))]
            values = np.ascontiguousarray(np.where(self.body[k], self._view[self._rows, k], 0), dtype=np.float32)
            values[:, ~np.isfinite(values).all(axis=0)] = 0
            values -= values.mean(axis=0)
            flat = values.reshape(len(values), -1)
            if self._bases is not None:
                basis = self._bases.fitted[k][self._rows].astype(np.float32)
                flat -= basis @ (basis.T @ flat)
            common = flat.sum(axis=1)
            if (energy := float(common @ common)) > 0:
                flat -= np.outer(common, (common @ flat) / np.float32(energy))
            self._kept[k] = values
        else:
            self._kept[k] = self._kept.pop(k)  # the one used last is the last to go
        return self._kept[k]

    def own(self, k: int) -> NDArray[np.float32]:
        """What a slice has that the slices next to it do not."""
        beside = [self.at(j) for j in (k - 1, k + 1) if 0 <= j < len(self.body)]
        return self.at(k) - sum(beside) / np.float32(len(beside)) if beside else self.at(k)


def _share(planes: _Planes, lower: int, upper: int, lag: int, along: int) -> float:
    """Share that two slices seem to leak into each other at a lag; 0 where they have nothing of their own."""
    y, of_y = (np.roll(one, -lag, axis=1 + along) for one in (planes.at(upper), planes.own(upper)))
    x, of_x = planes.at(lower), planes.own(lower)
    good = planes.body[lower] & np.roll(planes.body[upper], -lag, axis=along)
    crossed = 0.5 * (np.einsum("tij,tij->ij", x, of_y) + np.einsum("tij,tij->ij", y, of_x))
    alone = np.einsum("tij,tij->ij", x, of_x) + np.einsum("tij,tij->ij", y, of_y)
    own = float(alone[good].sum(dtype=np.float64))
    return float(crossed[good].sum(dtype=np.float64)) / own if own > 0 else 0.0
