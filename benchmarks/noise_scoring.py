"""Peaks against the truth, and the arithmetic of the noise experiments."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Score:
    """Peaks found, invented and missed, and how far the found ones are off (median, s)."""

    hits: int
    invented: int
    missed: int
    error_s: float

    @property
    def f1(self) -> float:
        """2 hits / (2 hits + invented + missed)."""
        return 2 * self.hits / max(2 * self.hits + self.invented + self.missed, 1)

    def __add__(self, other: "Score") -> "Score":
        weight = self.hits / max(self.hits + other.hits, 1)
        error = np.nansum([weight * self.error_s, (1 - weight) * other.error_s])
        return Score(self.hits + other.hits, self.invented + other.invented, self.missed + other.missed, float(error))


def match(found_s: NDArray, true_s: NDArray, tolerance_s: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of places in both, each peak used once, as many as there can be within the tolerance."""
    of_found, of_true = [], []
    f = t = 0
    while f < found_s.size and t < true_s.size:
        off = found_s[f] - true_s[t]
        if abs(off) <= tolerance_s:
            of_found.append(f)
            of_true.append(t)
        f, t = f + (off <= tolerance_s), t + (off >= -tolerance_s)
    return np.array(of_found, np.int64), np.array(of_true, np.int64)


def score_peaks(found_s: NDArray, true_s: NDArray, tolerance_s: float, counted: NDArray[np.bool_] | None = None) -> Score:
    """Score of one recording.

    Parameters
    ----------
    found_s, true_s : ndarray
        Ascending times, s.
    tolerance_s : float
    counted : ndarray of bool, optional
        True peaks that count; of the others neither a hit nor a miss is counted, nor a peak found nearest to one of them.
    """
    counted = np.ones(true_s.size, bool) if counted is None else counted
    found_s = np.sort(found_s)
    hit, target = match(found_s, true_s, tolerance_s)
    extra = np.delete(found_s, hit)
    if extra.size and not counted.all():
        extra = extra[counted[np.abs(extra[:, None] - true_s).argmin(axis=1)]]
    kept = counted[target]
    errors = np.abs(found_s[hit] - true_s[target])[kept]
    hits = int(kept.sum())
    return Score(hits, extra.size, int(counted.sum()) - hits, float(np.median(errors)) if hits else float("nan"))


def regression(series: NDArray, designs: NDArray, mask: NDArray[np.bool_], target: int | None = None) -> tuple[NDArray, NDArray]:
    """Least squares in double precision, slice by slice with `numpy.linalg.lstsq`: the experiments' own, not CoSpine's.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
    designs : ndarray (z, t, p)
        Without the constant, which is added.
    mask : ndarray (x, y, z) of bool
    target : int, optional
        Column whose coefficient is wanted.

    Returns
    -------
    variance : ndarray (n,)
        Residual sum of squares over degrees of freedom, of the voxels of the mask in the order of `numpy.argwhere` by slice.
    coefficient : ndarray (n,)
        Of the target; empty without one.
    """
    variance, coefficient = [], []
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        y = series[:, :, k][mask[:, :, k]].T.astype(np.float64)
        x = designs[k]
        centred = x - x.mean(axis=0)
        size = np.linalg.norm(centred, axis=0)
        used = size > 1e-9 * np.maximum(np.abs(x).max(axis=0), 1e-30) * np.sqrt(len(x))
        scaled = np.column_stack([np.ones(len(x)), centred[:, used] / size[used]])
        beta, _, rank, _ = np.linalg.lstsq(scaled, y, rcond=1e-7)
        variance.append(((y - scaled @ beta) ** 2).sum(axis=0) / (len(x) - rank))
        if target is not None:
            place = np.count_nonzero(used[:target])
            coefficient.append(beta[1 + place] / size[target])
    empty = np.empty(0)
    return np.concatenate(variance or [empty]), np.concatenate(coefficient or [empty])


def by_slice(image: NDArray, mask: NDArray[np.bool_]) -> NDArray:
    """Values of an image (x, y, z) in a mask, in the order of `regression`."""
    return np.concatenate([image[:, :, k][mask[:, :, k]] for k in np.flatnonzero(mask.any(axis=(0, 1)))])


def markdown(head: str, rows: list[list[str]]) -> str:
    """Table; columns of `head` are parted by |."""
    titles = head.split("|")
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
