"""How much do slices share that are excited at once?

Simultaneous multislice separates slices by coil sensitivity; what the separation leaves (slice leakage, Todd 2016) is the partner
slice itself, displaced along the phase encoding by the CAIPI shift, and anything else the excitation has in common. Here each
brain slice has its partner in the neck, so that leakage looks like coupling of brain and cord. It is measured as the
correlation of voxels at equal place but for a shift along the phase encoding, all shifts tried, in simultaneous pairs and in
pairs one slice off, which share the anatomy and most of physiology but no excitation.

References
----------
Setsompop K et al. (2012) Blipped-controlled aliasing in parallel imaging. Magn Reson Med 67:1210-1224.
Todd N et al. (2016) Evaluation of 2D multiband EPI imaging for high-resolution, whole-brain, task-based fMRI studies at 3T:
sensitivity and slice leakage artifacts. NeuroImage 124:32-42.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.blocks import map_view, slice_view
from cospine.threads import threads

SAME_TIME_S = 1e-3
FEWEST_VOXELS = 50
SPECTRA_KEPT = 6
PEAK_WINDOW = 11
"""Lags over which the running median that leakage must rise above is taken."""
LEAKING_P = 0.01
_MAD_OF_NORMAL = 1.4826


@dataclass(frozen=True, eq=False)
class SharedSignal:
    """What simultaneous slices share, beside neighbouring pairs that are not simultaneous.

    Parameters
    ----------
    pairs : ndarray (n, 2), int
        Simultaneous slices, the lower first.
    lags : ndarray (m,), int
        Shift along the phase encoding, voxels, from -m // 2: voxel j of the lower slice is compared with j + lag of the upper.
    simultaneous, neighbouring : ndarray (m,)
        Mean correlation over voxels and pairs at each lag; NaN where too few voxels meet.
    lag : int
        Where simultaneous pairs exceed the neighbouring ones in the sharpest peak.
    r_simultaneous, r_neighbouring : float
        Correlation there.
    z : float
        The excess there over its running median over lags, in robust SD over lags.
    p : float
        Its one-sided p, all lags tried being paid for (Šidák).
    r_by_pair, r_by_pair_neighbouring : ndarray (n,)
        Correlation of each pair at `lag`.
    slice_mean_simultaneous, slice_mean_neighbouring : float
        Mean correlation of the slices' mean signals, over pairs.
    """

    pairs: NDArray[np.int64]
    lags: NDArray[np.int64]
    simultaneous: NDArray[np.float64] = field(repr=False)
    neighbouring: NDArray[np.float64] = field(repr=False)
    lag: int
    r_simultaneous: float
    r_neighbouring: float
    z: float
    p: float
    r_by_pair: NDArray[np.float64] = field(repr=False)
    r_by_pair_neighbouring: NDArray[np.float64] = field(repr=False)
    slice_mean_simultaneous: float
    slice_mean_neighbouring: float

    @property
    def leaks(self) -> bool:
        """Whether the peak is more than chance."""
        return self.p < LEAKING_P


def simultaneous_pairs(slice_times_s: ArrayLike) -> NDArray[np.int64]:
    """Pairs (n, 2) of slices with equal times (to 1 ms), the lower first; with multiband 3 and more, all pairs of a group."""
    times = np.asarray(slice_times_s, dtype=np.float64)
    return np.argwhere(np.triu(np.abs(times[:, None] - times) < SAME_TIME_S, k=1))


def shared_signal(
    residuals: NDArray,
    slice_times_s: ArrayLike,
    body: NDArray[np.bool_],
    pe_axis: int,
    *,
    rows: NDArray[np.bool_] | None = None,
    slice_axis: int = 2,
) -> SharedSignal:
    """Correlation of simultaneous slices at every shift along the phase encoding.

    Parameters
    ----------
    residuals : ndarray (x, y, z, t)
        Series on the acquired grid (neither moved nor unwarped: leakage lives in acquired voxels), drift and known noise
        regressed out.
    slice_times_s : (slices,)
        `SliceTiming`.
    body : ndarray (x, y, z), bool
        Voxels with signal.
    pe_axis, slice_axis : {0, 1, 2}
        Voxel axes of phase encoding and of slices.
    rows : ndarray (t,), bool, optional
        Volumes that count; all without it.

    Returns
    -------
    SharedSignal

    Raises
    ------
    CoSpineError
        No two slices are simultaneous, or the axes and shapes do not fit.
    """
    pairs = simultaneous_pairs(slice_times_s)
    if pe_axis == slice_axis or body.shape != residuals.shape[:3] or np.size(slice_times_s) != residuals.shape[slice_axis]:
        raise CoSpineError(
            f"a mask {body.shape}, {np.size(slice_times_s)} slice times and phase encoding along axis {pe_axis} do not fit a "
            f"series {residuals.shape} with slices along {slice_axis}",
            "signal of simultaneous slices",
            "Give mask and slice times of this very series",
        )
    if not len(pairs):
        raise CoSpineError("no two slices are simultaneous", "signal of simultaneous slices", "Ask this of multiband series only")
    spectra = _Spectra(residuals, body, rows, pe_axis, slice_axis)
    together = {tuple(pair) for pair in pairs.tolist()}
    simultaneous, beside, near_pairs = [], [], []
    for k, upper in pairs.tolist():
        near = [(k, n) for n in (upper - 1, upper + 1) if k < n < spectra.slices and (k, n) not in together]
        simultaneous.append(spectra.correlation(k, upper))
        beside.append([spectra.correlation(*pair) for pair in near])
        near_pairs += near
    count = spectra.length
    lags = np.arange(count) - count // 2
    of_pair = np.array([_curve([sums], count) for sums in simultaneous])
    of_neighbours = np.array([_curve(sums, count) for sums in beside])
    curve, control = _curve(simultaneous, count), _curve([sums for near in beside for sums in near], count)
    best, z, p = _excess(curve - control)
    means = spectra.means
    return SharedSignal(
        pairs=pairs,
        lags=lags,
        simultaneous=curve,
        neighbouring=control,
        lag=int(lags[best]),
        r_simultaneous=float(curve[best]),
        r_neighbouring=float(control[best]),
        z=z,
        p=p,
        r_by_pair=of_pair[:, best],
        r_by_pair_neighbouring=of_neighbours[:, best],
        slice_mean_simultaneous=_mean_correlation(means, pairs.tolist()),
        slice_mean_neighbouring=_mean_correlation(means, near_pairs),
    )


class _Spectra:
    """Unit time courses of slices, transformed along the phase encoding; the few used last are kept."""

    def __init__(
        self, residuals: NDArray, body: NDArray[np.bool_], rows: NDArray[np.bool_] | None, pe_axis: int, slice_axis: int
    ) -> None:
        self._rows = np.arange(residuals.shape[3]) if rows is None else np.flatnonzero(rows)
        self._view, self._inside = slice_view(residuals, slice_axis), map_view(body, slice_axis)
        # of the two axes in the plane the slower in memory comes first, and that is the one of the higher number
        self._axis = 1 if pe_axis > 3 - slice_axis - pe_axis else 2
        self.slices = self._view.shape[1]
        self.length = self._view.shape[1 + self._axis]
        self.means = np.zeros((self.slices, self._rows.size))
        self._kept: dict[int, tuple[NDArray, NDArray]] = {}

    def _of(self, k: int) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        from scipy.fft import rfft

        if k not in self._kept:
            if len(self._kept) == SPECTRA_KEPT:
                del self._kept[next(iter(self._kept))]
            values = self._view[self._rows, k].astype(np.float32)
            values -= values.mean(axis=0)
            norm = np.sqrt(np.einsum("tij,tij->ij", values, values))
            good = self._inside[k] & (norm > 0) & np.isfinite(norm)
            values *= np.where(good, 1 / np.where(good, norm, 1), 0).astype(np.float32)
            values[:, ~good] = 0
            self.means[k] = values.sum(axis=(1, 2))
            spectrum = rfft(values, axis=self._axis, workers=threads())
            self._kept[k] = np.asarray(spectrum), np.asarray(rfft(good.astype(np.float32), axis=self._axis - 1))
        else:
            self._kept[k] = self._kept.pop(k)  # the one used last is the last to go
        return self._kept[k]

    def correlation(self, k: int, other: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sum over voxels of their correlation at every circular lag (m,), and how many voxels met."""
        (a, here), (b, there) = self._of(k), self._of(other)
        cross = np.einsum("tij,tij->j" if self._axis == 2 else "tij,tij->i", a.conj(), b)
        met = np.einsum("ij,ij->j" if self._axis == 2 else "ij,ij->i", here.conj(), there)
        return np.fft.irfft(cross, self.length), np.fft.irfft(met, self.length).round()


def _curve(sums: list[tuple[NDArray[np.float64], NDArray[np.float64]]], count: int) -> NDArray[np.float64]:
    """Mean correlation at each lag from -(count // 2), over the voxels of some pairs; NaN where too few met."""
    total, voxels = (sum((pair[which] for pair in sums), np.zeros(count)) for which in (0, 1))
    return np.roll(np.where(voxels >= FEWEST_VOXELS, total / np.maximum(voxels, 1), np.nan), count // 2)


def _excess(difference: NDArray[np.float64]) -> tuple[int, float, float]:
    """Place of the sharpest peak of the difference, its z against the robust spread over lags, and p for so many lags.

    The partner slice leaks at one lag; what anatomy and motion make of two slices varies slowly with the lag, and is taken away.
    """
    from scipy.ndimage import median_filter
    from scipy.stats import norm

    known = np.isfinite(difference)
    if known.sum() < 2 * PEAK_WINDOW:
        raise CoSpineError(
            "simultaneous slices and their neighbours have hardly a voxel in common",
            "signal of simultaneous slices",
            "Give a mask of the whole body, air left out",
        )
    filled = np.where(known, difference, np.median(difference[known]))
    sharp = np.where(known, filled - median_filter(filled, PEAK_WINDOW, mode="wrap"), np.nan)[known]
    best = int(np.argmax(sharp))
    centre = np.median(sharp)
    spread = _MAD_OF_NORMAL * np.median(np.abs(sharp - centre))
    z = float((sharp[best] - centre) / max(spread, 1e-12))
    p = float(-np.expm1(sharp.size * np.log1p(-norm.sf(z))))
    return int(np.flatnonzero(known)[best]), z, p


def _mean_correlation(means: NDArray[np.float64], pairs: list) -> float:
    """Mean over pairs of the correlation of two slices' mean signals; NaN without pairs."""
    found = [np.corrcoef(means[k], means[other])[0, 1] for k, other in pairs if means[k].any() and means[other].any()]
    return float(np.mean(found)) if found else float("nan")
