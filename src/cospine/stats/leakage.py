"""What simultaneous slices leak into each other, taken out at the place it comes from.

Leakage lives in acquired voxels: a slice receives a share of the slice it was excited with, displaced along the phase encoding by
the CAIPI shift (Setsompop 2012). Brain slices have their partners in the neck, so that it passes for coupling of brain and cord.
Leaving pairs of slices out of a correlation is no cure where a region fluctuates as a whole: its other slices carry the leaked
course too.

How much leaks is learnt from what is a slice's own. Let X be a region's voxels in one slice, Y those of its partner that leak
into them, and e what a slice has that its neighbours do not. Recorded are X = x + a y and Y = y + a x; whatever brain and cord
truly have in common is in the neighbours too, so that X · e(Y) = a (x · e(x) + y · e(y)): noise that is seen in both slices of an
excitation and in no other tells a, coupling does not. Regressing Y out instead would take all coupling with that place along and,
done on both sides, turn its sign. The share is taken to be the same both ways: covariances cannot tell the two apart.

References
----------
Setsompop K et al. (2012) Blipped-controlled aliasing in parallel imaging. Magn Reson Med 67:1210-1224.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.blocks import slice_view
from cospine.signal.regression import Bases
from cospine.signal.simultaneous import simultaneous_pairs


@dataclass(frozen=True, eq=False)
class Leakage:
    """Where the partner's signal comes from.

    Parameters
    ----------
    pairs : ndarray (n, 2), int
        Simultaneous slices, the lower first.
    lags : tuple of int
        Shifts along the phase encoding in voxels: voxel j of the lower slice receives from, and leaks to, j + lag of the upper
        (`cospine.signal.simultaneous.shared_signal` finds it).
    pe_axis : {0, 1, 2}
        Voxel axis of the phase encoding.
    """

    pairs: NDArray[np.int64]
    lags: tuple[int, ...]
    pe_axis: int


def leakage_of(slice_times_s: ArrayLike, lags: Sequence[int], pe_axis: int) -> Leakage:
    """Leakage between slices of one time, at known shifts."""
    return Leakage(simultaneous_pairs(slice_times_s), tuple(int(lag) for lag in lags), pe_axis)


def leaked(
    acquired: NDArray,
    voxels: NDArray[np.integer],
    leakage: Leakage,
    *,
    bases: Bases | None = None,
    rows: NDArray[np.bool_] | None = None,
    slice_axis: int = 2,
) -> NDArray[np.float64]:
    """What leaks into each voxel of a region; the share is one for the region, for single voxels do not tell it.

    Parameters
    ----------
    acquired : ndarray (x, y, z, t)
        Series on the acquired grid, neither moved nor unwarped, drift and noise regressed out.
    voxels : ndarray (n, 3), int
        The region's voxels on that grid.
    leakage : Leakage
    bases : Bases, optional
        What else is to be held fixed, slice by slice, while the share is learnt: the task, which voxels far from each other
        follow alike. What leaks has it again.
    rows : ndarray (t,), bool, optional
        Volumes that tell the share.
    slice_axis : {0, 1, 2}

    Returns
    -------
    ndarray (n, t), float64
        In the units of `acquired`; 0 where no partner is, or where it is not finite.

    Raises
    ------
    CoSpineError
        Voxels lie outside of the series, or the phase encoding along its slices.
    """
    voxels = np.asarray(voxels, dtype=np.int64).reshape(-1, 3)
    if leakage.pe_axis == slice_axis or np.any(voxels < 0) or np.any(voxels >= acquired.shape[:3]):
        raise CoSpineError(
            f"voxels do not lie in an acquired series {acquired.shape} with phase encoding along {leakage.pe_axis} "
            f"and slices along {slice_axis}",
            "leakage",
            "Give voxels of the acquired series, and its axes",
        )
    look = _Look(slice_view(acquired, slice_axis), bases, rows)
    plane = [axis for axis in (2, 1, 0) if axis != slice_axis]
    along = plane.index(leakage.pe_axis)
    found = np.zeros((len(voxels), acquired.shape[3]))
    for lag in leakage.lags:
        shared = own = 0.0
        arrives = np.zeros_like(found)
        for k in np.unique(voxels[:, slice_axis]).tolist():
            mine = np.flatnonzero(voxels[:, slice_axis] == k)
            place = (voxels[mine, plane[0]], voxels[mine, plane[1]])
            for lower, upper in leakage.pairs[(leakage.pairs == k).any(axis=1)].tolist():
                partner, sign = (upper, 1) if k == lower else (lower, -1)
                source = list(place)
                source[along] = (place[along] + sign * lag) % acquired.shape[leakage.pe_axis]
                x, of_x = look.at(k, place)
                y, of_y = look.at(partner, (source[0], source[1]))
                good = np.isfinite(x + y + of_x + of_y).all(axis=0)
                shared += 0.5 * float((x * of_y + y * of_x)[:, good].sum())
                own += float((x * of_x + y * of_y)[:, good].sum())
                arrives[mine[good]] += look.centred(partner, (source[0], source[1])).T[good]
        if own > 0:
            found += shared / own * arrives
    return found


def without_leakage(
    series: NDArray,
    labels: NDArray[np.integer],
    leakage: Leakage,
    *,
    acquired: NDArray | None = None,
    voxels: NDArray[np.integer] | None = None,
    factor: NDArray | None = None,
    bases: Bases | None = None,
    rows: NDArray[np.bool_] | None = None,
    slice_axis: int = 2,
) -> NDArray[np.float32]:
    """A series without what leaks into its regions.

    Parameters
    ----------
    series : ndarray (a, b, c, t)
    labels : ndarray (a, b, c), int
        Regions, 0 for none; what is in none stays as it is.
    leakage, bases, rows, slice_axis
        See `leaked`; of `acquired`.
    acquired : ndarray (x, y, z, t), optional
        Residuals on the acquired grid; without it the series is them.
    voxels : ndarray (a, b, c, 3), int, optional
        Where on that grid each voxel of the series was acquired; without it at its own place.
    factor : ndarray (a, b, c), optional
        What the series' voxels were multiplied by on the way (the Jacobian of a distortion).

    Returns
    -------
    ndarray (a, b, c, t), float32
        A copy, in the series' memory order.
    """
    out = series.astype(np.float32, order="K")
    acquired = series if acquired is None else acquired
    for number in np.unique(labels[labels > 0]).tolist():
        here = np.nonzero(labels == number)
        at = np.stack(here, axis=1) if voxels is None else voxels[here]
        arrives = leaked(acquired, at, leakage, bases=bases, rows=rows, slice_axis=slice_axis)
        out[here] -= arrives if factor is None else arrives * factor[here][:, None]
    return out


class _Look:
    """Courses (t, voxels) of places in a slice of a (t, slice, row, column) view."""

    def __init__(self, view: NDArray, bases: Bases | None, rows: NDArray[np.bool_] | None) -> None:
        self._view, self._bases = view, bases
        self._rows = np.ones(len(view), bool) if rows is None else np.asarray(rows, dtype=bool)

    def centred(self, k: int, place: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.float64]:
        """All volumes, less the mean over those that count."""
        courses = self._view[:, k][:, *place].astype(np.float64)
        return courses - courses[self._rows].mean(axis=0)

    def at(self, k: int, place: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Courses of a slice in the volumes that count, and what they have that the slices next to it do not."""
        courses = self._fitted(k, place)
        beside = [self._fitted(j, place) for j in (k - 1, k + 1) if 0 <= j < self._view.shape[1]]
        return courses, courses - np.mean(beside, axis=0) if beside else courses

    def _fitted(self, k: int, place: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.float64]:
        courses = self.centred(k, place)[self._rows]
        if self._bases is not None:
            basis = self._bases.fitted[k][self._rows]
            courses -= basis @ (basis.T @ courses)
        return courses
