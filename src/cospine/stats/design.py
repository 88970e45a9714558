"""Task columns at every slice's own times, and what can be estimated with a design."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.regression import RANK_TOLERANCE
from cospine.stats.events import Condition
from cospine.stats.hrf import FIR, responses


@dataclass(frozen=True, eq=False)
class TaskColumns:
    """Columns of the task.

    Parameters
    ----------
    names : tuple of str
        A condition's own name for its canonical response, `_derivative`, `_dispersion` or `_delay_<k>` after it for the others.
    values : ndarray (t, slices, n), float64
        1 in a stimulus of height 1 that lasts for ever.
    conditions : tuple of str
        Which condition each column belongs to.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64] = field(repr=False)
    conditions: tuple[str, ...]

    def beside(self, nuisance: NDArray[np.floating]) -> NDArray[np.float64]:
        """Designs (slices, t, n + p): these columns first, then nuisance (slices, t, p)."""
        return np.concatenate([self.values.transpose(1, 0, 2), np.asarray(nuisance, dtype=np.float64)], axis=2)

    def joined(self, other: "TaskColumns") -> "TaskColumns":
        """These and others at the same times."""
        values = np.concatenate([self.values, other.values], axis=2)
        return TaskColumns(self.names + other.names, values, self.conditions + other.conditions)


def task_columns(
    conditions: Sequence[Condition], times_s: ArrayLike, hrf: str = "spm", fir_delays: Sequence[int] = (0,)
) -> TaskColumns:
    """Columns of conditions, every slice at its own times.

    Names, order and meaning are those of nilearn's `compute_regressor`; derivatives are freed of the columns before them in each
    slice, as it does, so that the effect of the canonical column is what it would be without them.

    Parameters
    ----------
    conditions : sequence of Condition
    times_s : (t, slices)
        When each slice of each volume was acquired, s from the start of the first volume.
    hrf : str
        One of `cospine.stats.hrf.HRF_MODELS`, or `fir`: column `_delay_<k>` is the mean of the stimulus over the TR that begins k
        TR before the slice's time (an event of 0 s counts 1). It says nothing about the response's shape beforehand.
    fir_delays : sequence of int
        Delays in TR of the FIR columns.

    Returns
    -------
    TaskColumns

    Raises
    ------
    CoSpineError
        No condition, a name twice, times that are not (t, slices), or no such response model.
    """
    times = np.asarray(times_s, dtype=np.float64)
    names = [condition.name for condition in conditions]
    if not names or len(set(names)) < len(names) or times.ndim != 2 or len(times) < 2:
        raise CoSpineError(
            f"conditions {names} at times of shape {times.shape} make no task columns",
            "task columns",
            "Give one or more conditions, each once, and times (volumes, slices)",
        )
    if hrf == FIR:
        return _finite_impulse(conditions, times, fir_delays)
    functions = responses(hrf)
    distinct, back = np.unique(times, axis=1, return_inverse=True)  # simultaneous slices share their columns
    columns = []
    for condition in conditions:
        own = np.zeros((*distinct.shape, len(functions)))
        for onset, duration, height in zip(condition.onsets_s, condition.durations_s, condition.heights, strict=True):
            for k, function in enumerate(functions):
                own[..., k] += height * function.block(distinct - onset, float(duration))
        columns.append(_orthogonal(own))
    values = np.concatenate(columns, axis=2)[:, back.reshape(-1)]
    suffixes = [function.suffix for function in functions]
    return TaskColumns(
        tuple(name + suffix for name in names for suffix in suffixes),
        values,
        tuple(name for name in names for _ in suffixes),
    )


def _orthogonal(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every column (t, slices, n) less what the columns before it span, slice by slice."""
    for k in range(1, columns.shape[2]):
        before = columns[..., :k].transpose(1, 0, 2)
        weights = np.linalg.pinv(before) @ columns[..., k].T[..., None]
        columns[..., k] -= (before @ weights)[..., 0].T
    return columns


def _finite_impulse(conditions: Sequence[Condition], times: NDArray[np.float64], delays: Sequence[int]) -> TaskColumns:
    chosen = [int(delay) for delay in delays]
    if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0:
        raise CoSpineError(f"delays {list(delays)} make no columns", "FIR", "Give delays in TR, whole numbers from 0, each once")
    tr_s = float(np.median(np.diff(times[:, 0])))
    values = np.zeros((*times.shape, len(conditions) * len(chosen)))
    names, of = [], []
    for condition in conditions:
        for delay in chosen:
            start = times - delay * tr_s
            column = values[..., len(names)]
            for onset, duration, height in zip(condition.onsets_s, condition.durations_s, condition.heights, strict=True):
                if duration == 0:
                    column += height * ((onset >= start) & (onset < start + tr_s))
                else:
                    shared = np.minimum(start + tr_s, onset + duration) - np.maximum(start, onset)
                    column += height * np.clip(shared, 0, None) / tr_s
            names.append(f"{condition.name}_delay_{delay}")
            of.append(condition.name)
    return TaskColumns(tuple(names), values, tuple(of))


@dataclass(frozen=True, eq=False)
class Estimability:
    """What the designs of a run can tell.

    Parameters
    ----------
    contrasts : mapping of str to ndarray (slices,), bool
        Where each contrast can be estimated.
    notes : tuple of str
        Contrasts that cannot, with where and why; columns of the task that others span.
    """

    contrasts: Mapping[str, NDArray[np.bool_]]
    notes: tuple[str, ...]

    @property
    def usable(self) -> tuple[str, ...]:
        """Contrasts that can be estimated in every slice."""
        return tuple(name for name, where in self.contrasts.items() if where.all())


def estimable(
    designs: NDArray[np.floating],
    contrasts: Mapping[str, NDArray[np.floating]],
    names: Sequence[str],
    *,
    rows: NDArray[np.bool_] | None = None,
) -> Estimability:
    """Whether contrasts can be estimated: whether a design's rank suffices for them, slice by slice.

    Parameters
    ----------
    designs : ndarray (slices, t, p)
        All columns; a constant is always part of the model and need not be among them.
    contrasts : mapping of str to ndarray (n,) or (q, n)
        Weights of the first n columns.
    names : sequence of str
        Of the first columns, those of the task.
    rows : ndarray (t,), bool, optional
        Volumes that are fitted.

    Returns
    -------
    Estimability

    Raises
    ------
    CoSpineError
        A contrast weighs more columns than there are.
    """
    weights = {name: np.atleast_2d(np.asarray(vector, np.float64)) for name, vector in contrasts.items()}
    found = {name: np.ones(len(designs), dtype=bool) for name in contrasts}
    involved: dict[str, set[str]] = {name: set() for name in contrasts}
    for k, design in enumerate(designs):
        scaled, norm = _unit_columns(design, rows)
        _, singular, basis = np.linalg.svd(scaled, full_matrices=False)
        row_space = basis[singular > RANK_TOLERANCE * max(1.0, float(singular.max(initial=0)))]
        for name, vectors in weights.items():
            padded = _padded(vectors, len(norm), name)
            if (padded[:, norm == 0] != 0).any():
                found[name][k] = False
                involved[name] |= {label for j, label in enumerate(names) if norm[j] == 0 and padded[:, j].any()}
                continue
            own = np.divide(padded, norm, out=np.zeros_like(padded), where=norm > 0)
            outside = own - own @ row_space.T @ row_space
            if (np.linalg.norm(outside, axis=1) > 1e-4 * np.linalg.norm(own, axis=1)).any():
                found[name][k] = False
                involved[name] |= {label for j, label in enumerate(names) if np.abs(outside[:, j]).max() > 1e-6}
    notes = []
    for name, where in found.items():
        if not where.all():
            slices = "in every slice" if not where.any() else f"in {np.count_nonzero(~where)} of {where.size} slices"
            columns = f": {', '.join(sorted(involved[name]))} does not vary or is spanned by other columns"
            notes.append(f"Contrast '{name}' cannot be estimated {slices}{columns if involved[name] else ''}.")
    return Estimability(found, tuple(notes))


def efficiency(
    designs: NDArray[np.floating], contrast: NDArray[np.floating], *, rows: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Efficiency of a contrast, 1 / trace(C (X'X)^-1 C'): over the noise's variance it is one over that of the effect.

    Parameters
    ----------
    designs : ndarray (slices, t, p)
        All columns; a constant is always part of the model and need not be among them.
    contrast : ndarray (n,) or (q, n)
        Weights of the first n columns.
    rows : ndarray (t,), bool, optional
        Volumes that are fitted.

    Returns
    -------
    ndarray (slices,)
        0 where the contrast cannot be estimated.
    """
    vectors = np.atleast_2d(np.asarray(contrast, np.float64))
    able = estimable(designs, {"": vectors}, [], rows=rows).contrasts[""]
    found = np.zeros(len(designs))
    for k in np.flatnonzero(able):
        scaled, norm = _unit_columns(designs[k], rows)
        own = np.divide(_padded(vectors, len(norm), ""), norm, out=np.zeros((len(vectors), len(norm))), where=norm > 0)
        found[k] = 1 / np.sum((own @ np.linalg.pinv(scaled, rcond=RANK_TOLERANCE)) ** 2)
    return found


def _unit_columns(design: NDArray, rows: NDArray[np.bool_] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centred columns (t, p) of norm 1, and what their norm was; 0 for a column that is constant."""
    kept = np.asarray(design if rows is None else design[rows], dtype=np.float64)
    centred = kept - kept.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    norm = np.where(norm > RANK_TOLERANCE * np.linalg.norm(kept, axis=0), norm, 0.0)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0), norm


def _padded(vectors: NDArray[np.float64], width: int, name: str) -> NDArray[np.float64]:
    if vectors.shape[1] > width:
        raise CoSpineError(
            f"weighs {vectors.shape[1]} columns of a design that has {width}", f"contrast '{name}'", "Give one weight a column"
        )
    return np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))
