"""Does physiology or motion look like the task?

What is common to a task and the noise columns is lost to the effect (columns in the model) or taken for it (columns left out).
It is told as R² of the task on each set of columns and the variance inflation that follows, at each slice's own times; and as
the frequency at which heartbeat and breathing, sampled once a volume, appear beside the rhythm of the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.signal.regression import slice_bases
from cospine.stats.events import Condition
from cospine.stats.hrf import responses

NEAR_TASK_HZ = 0.01


def task_regressor(onsets_s: ArrayLike, durations_s: ArrayLike, times_s: ArrayLike) -> NDArray[np.float64]:
    """Blocks convolved with the canonical response, at any times: slices need no common one.

    SPM's canonical response as nilearn has it (`cospine.stats.hrf`).

    Parameters
    ----------
    onsets_s, durations_s : (n,)
        Of the events of one condition, s from the first stored volume; a duration of 0 is an impulse of area 1 s.
    times_s : (..)
        Times at which it is wanted, for example (t, slices): volume * TR + SliceTiming.

    Returns
    -------
    ndarray, shape of `times_s`
        1 in a block that lasts for ever.

    Raises
    ------
    CoSpineError
        Onsets and durations differ in number, are not finite, or a duration is negative.
    """
    onsets, durations = np.broadcast_arrays(np.asarray(onsets_s, np.float64), np.asarray(durations_s, np.float64))
    condition = Condition("task", onsets, durations, np.ones(onsets.shape))
    times, (canonical,) = np.asarray(times_s, dtype=np.float64), responses("spm")
    regressor = np.zeros(times.shape)
    for onset, duration in zip(condition.onsets_s, condition.durations_s, strict=True):
        regressor += canonical.block(times - onset, float(duration))
    return regressor


def variance_inflation(task: ArrayLike, nuisance: ArrayLike) -> float:
    """Factor by which nuisance columns raise the variance of the task's effect: 1 / (1 - R²) of the task on them.

    Parameters
    ----------
    task : (t,)
    nuisance : (t, p)
        A constant is always part of the model and need not be among them.

    Returns
    -------
    float
        1 where they have nothing in common; inf where nuisance contains the task; NaN for a task that does not vary.
    """
    columns = np.asarray(nuisance, dtype=np.float64)
    found = collinearity(np.asarray(task, np.float64)[:, None], columns[None], {"nuisance": np.arange(columns.shape[1])})
    return float(found.total.vif[0])


@dataclass(frozen=True, eq=False)
class SharedWithTask:
    """What the task has in common with one set of columns, for each slice.

    Parameters
    ----------
    r2 : ndarray (slices,)
        R² of the task on the set, after columns in no set (drift) and the constant are taken from both. NaN where nothing of
        the task is left.
    null_r2 : ndarray (slices,)
        What random columns are expected to give: columns of the set / degrees of freedom.
    """

    r2: NDArray[np.float64]
    null_r2: NDArray[np.float64]

    @property
    def vif(self) -> NDArray[np.float64]:
        """Variance inflation (slices,) of the task's effect by this set alone."""
        with np.errstate(divide="ignore"):
            return 1 / (1 - self.r2)

    @property
    def worst_slice(self) -> int:
        """Slice that has most in common with the task; -1 if there is none."""
        return int(np.nanargmax(self.r2)) if np.isfinite(self.r2).any() else -1

    def summary(self) -> dict[str, float]:
        """Median and worst R² and VIF over slices, and the median of what is expected by chance."""
        worst = self.worst_slice
        if worst < 0:
            return dict.fromkeys(("r2_median", "r2_worst", "vif_median", "vif_worst", "null_r2"), float("nan"))
        return {
            "r2_median": float(np.nanmedian(self.r2)),
            "r2_worst": float(self.r2[worst]),
            "vif_median": float(np.nanmedian(self.vif)),
            "vif_worst": float(self.vif[worst]),
            "null_r2": float(np.nanmedian(self.null_r2)),
        }


@dataclass(frozen=True, eq=False)
class Collinearity:
    """The task against every set of columns, and against all of them together."""

    sets: Mapping[str, SharedWithTask]
    total: SharedWithTask


def collinearity(
    task: NDArray[np.floating],
    designs: NDArray[np.floating],
    sets: Mapping[str, NDArray[np.integer]],
    *,
    rows: NDArray[np.bool_] | None = None,
) -> Collinearity:
    """R² of a task on sets of noise columns, slice by slice.

    Parameters
    ----------
    task : ndarray (t, slices)
        `task_regressor` at the slices' times.
    designs : ndarray (slices, t, p)
        Noise columns of each slice, drifts too.
    sets : mapping of name to array of int
        Columns of each set; those in no set are taken out of task and sets first.
    rows : ndarray (t,), bool, optional
        Volumes that are fitted.

    Returns
    -------
    Collinearity

    Raises
    ------
    CoSpineError
        Shapes do not fit, or a set names columns that do not exist.
    """
    designs = np.asarray(designs, dtype=np.float64)
    members = {name: np.asarray(columns, dtype=np.int64) for name, columns in sets.items()}
    together = np.unique(np.concatenate([*members.values(), np.empty(0, np.int64)]))
    if task.shape != designs.shape[1::-1] or not np.isin(together, np.arange(designs.shape[2])).all():
        raise CoSpineError(
            f"a task {task.shape} (volumes, slices) and columns {together.tolist()} do not fit designs {designs.shape}",
            "task and noise columns",
            "Evaluate the task at the times of the slices, and name columns by their place from 0",
        )
    base = np.setdiff1d(np.arange(designs.shape[2]), together)
    alone, df = _explained(task, designs[..., base], rows)
    shared = []
    for columns in (*members.values(), together):
        explained, left = _explained(task, designs[..., np.union1d(base, columns)], rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            r2 = np.where(1 - alone > 1e-12, (explained - alone) / (1 - alone), np.nan)
        shared.append(SharedWithTask(np.clip(r2, 0, 1), (df - left) / df))
    return Collinearity(dict(zip(members, shared, strict=False)), shared[-1])


def _explained(
    task: NDArray[np.floating], designs: NDArray[np.float64], rows: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Share of the task's variance that a design explains, and degrees of freedom that it leaves, both (slices,)."""
    bases = slice_bases(designs, rows)
    kept = task[bases.rows]
    centred = kept - kept.mean(axis=0)
    energy = np.einsum("ts,ts->s", centred, centred)
    coordinates = np.einsum("str,ts->sr", bases.fitted[:, bases.rows], centred)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("sr,sr->s", coordinates, coordinates) / energy, bases.residual_df


def aliased_frequency(rate_hz: ArrayLike, tr_s: float) -> NDArray[np.float64]:
    """Frequency (Hz) at which a rhythm appears when sampled once every TR: its distance from the nearest multiple of 1 / TR."""
    cycles = np.asarray(rate_hz, dtype=np.float64) * tr_s
    return np.abs(cycles - np.round(cycles)) / tr_s


@dataclass(frozen=True)
class Aliased:
    """Where one harmonic of a rhythm appears, and how far that is from the task.

    Parameters
    ----------
    name : str
    harmonic : int
        1 for the rhythm itself.
    rate_hz, aliased_hz : float
        Median rate, times `harmonic`, and where it appears.
    task_hz : float
        1 / median time between onsets; NaN for fewer than two.
    distance_hz : float
        Between `aliased_hz` and `task_hz`.
    share_near : float
        Share of the intervals (single beats or breaths) whose rate appears within 0.01 Hz of the task.
    """

    name: str
    harmonic: int
    rate_hz: float
    aliased_hz: float
    task_hz: float
    distance_hz: float
    share_near: float


def aliasing(rates_hz: Mapping[str, ArrayLike], tr_s: float, onsets_s: ArrayLike, *, harmonics: int = 2) -> tuple[Aliased, ...]:
    """Aliased heartbeat and breathing beside the rhythm of the task.

    Parameters
    ----------
    rates_hz : mapping of name to (n,)
        Rates of single intervals (1 / time between peaks), Hz; NaN is passed over.
    tr_s : float
    onsets_s : (m,)
        Onsets of one condition.
    harmonics : int
        How many of each rhythm.

    Returns
    -------
    tuple of Aliased
        By name, then harmonic; none for a name without rates.
    """
    onsets = np.sort(np.asarray(onsets_s, dtype=np.float64))
    task_hz = float(1 / np.median(np.diff(onsets))) if onsets.size > 1 else float("nan")
    found = []
    for name, given in rates_hz.items():
        rates = np.asarray(given, dtype=np.float64)
        rates = rates[np.isfinite(rates)]
        for harmonic in range(1, harmonics + 1) if rates.size else ():
            rate = harmonic * float(np.median(rates))
            aliased = float(aliased_frequency(rate, tr_s))
            near = np.abs(aliased_frequency(harmonic * rates, tr_s) - task_hz) <= NEAR_TASK_HZ
            found.append(Aliased(name, harmonic, rate, aliased, task_hz, abs(aliased - task_hz), float(near.mean())))
    return tuple(found)
