"""Events of a run as tables in the wild hold them, cleaned, and the conditions that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.stats.hrf import RESPONSE_S
from cospine.stats.variables import available, column_numbers


@dataclass(frozen=True, eq=False)
class Condition:
    """Events that are modelled by one regressor.

    Parameters
    ----------
    name : str
    onsets_s, durations_s : ndarray (n,)
        s from the start of the first stored volume; a duration of 0 is an impulse of area 1 s.
    heights : ndarray (n,)
        1 for a plain condition; a rating less its mean for a parametric modulator.

    Raises
    ------
    CoSpineError
        They differ in number, are not finite, or a duration is negative.
    """

    name: str
    onsets_s: NDArray[np.float64] = field(repr=False)
    durations_s: NDArray[np.float64] = field(repr=False)
    heights: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        parts = [np.asarray(part, dtype=np.float64) for part in (self.onsets_s, self.durations_s, self.heights)]
        sizes = [part.shape for part in parts]
        if len({*sizes}) > 1 or parts[0].ndim != 1 or not np.isfinite(parts).all() or (parts[1] < 0).any():
            raise CoSpineError(
                f"onsets, durations and heights of shapes {sizes} make no condition",
                f"condition '{self.name}'",
                "Give as many finite onsets as durations and heights, no duration negative, in seconds",
            )
        for name, part in zip(("onsets_s", "durations_s", "heights"), parts, strict=True):
            object.__setattr__(self, name, part)


@dataclass(frozen=True, eq=False)
class EventRows:
    """Rows of an events table that can be modelled.

    Parameters
    ----------
    onsets_s, durations_s : ndarray (n,)
        s from the start of the first stored volume.
    columns : mapping of str to tuple of str
        Every other column, `n/a` where it has no value. `trial_type` is always there.
    """

    onsets_s: NDArray[np.float64]
    durations_s: NDArray[np.float64]
    columns: Mapping[str, tuple[str, ...]]

    def condition(self, name: str, heights: NDArray[np.float64]) -> Condition | None:
        """Rows whose height (n,) is there (not NaN) and not 0; None where no row is left."""
        kept = np.isfinite(heights) & (heights != 0)
        if not kept.any():
            return None
        return Condition(name, self.onsets_s[kept], self.durations_s[kept], heights[kept])


def event_rows(columns: Mapping[str, Sequence[str]], task: str, end_s: float) -> tuple[EventRows, tuple[str, ...]]:
    """Rows of a table that happen in the run and are complete.

    Left out, and said: rows without onset or duration (`n/a`), onsets at or after the run's end, events whose response ends
    before the first volume, rows without a `trial_type` in a table where others have one. A table without any `trial_type` has
    one condition, named after the task. An event that outlasts the run stays.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        Of events.tsv, as `cospine.bids.tables.read_tsv` reads it (line ends of any system).
    task : str
        Label of the run's task.
    end_s : float
        Length of the run, s.

    Returns
    -------
    rows : EventRows
        By onset.
    notes : tuple of str
        What was left out or assumed.

    Raises
    ------
    CoSpineError
        There is no onset or duration column, one holds what is no number, a duration is negative, or no row is left.
    """
    absent = [name for name in ("onset", "duration") if name not in columns]
    if absent:
        raise CoSpineError(f"has no column {' and '.join(absent)}", "events", "Give onset and duration in seconds")
    onsets, durations = (column_numbers(columns[name], name, "events") for name in ("onset", "duration"))
    if (durations < 0).any():
        raise CoSpineError(f"{np.count_nonzero(durations < 0)} durations are negative", "events", "Give durations of 0 s or more")
    total, notes = len(onsets), []
    others = {name: [available(cell) for cell in cells] for name, cells in columns.items() if name not in ("onset", "duration")}
    types = others.get("trial_type", ["n/a"] * total)
    if all(kind == "n/a" for kind in types):
        types = [task] * total
        notes.append(f"The events have no trial_type: their condition is the task, '{task}'.")
    others["trial_type"] = types

    kept = np.ones(total, dtype=bool)
    for wrong, said in (
        (~(np.isfinite(onsets) & np.isfinite(durations)), "have no onset or no duration"),
        (np.array([kind == "n/a" for kind in types], dtype=bool), "have no trial_type"),
        (onsets >= end_s, f"begin after the run's end at {end_s:g} s"),
        (onsets + durations + RESPONSE_S <= 0, "are over before the first volume"),
    ):
        wrong = wrong & kept
        if wrong.any():
            notes.append(f"{np.count_nonzero(wrong)} of {total} events {said}: they are left out.")
        kept &= ~wrong
    if not kept.any():
        raise CoSpineError(
            f"none of {total} events can be modelled. {' '.join(notes)}".strip(),
            "events",
            "Compare the table with the log of the stimulation: seconds from the first stored volume",
        )
    order = np.flatnonzero(kept)[np.argsort(onsets[kept], kind="stable")]
    rows = EventRows(onsets[order], durations[order], {name: tuple(cells[k] for k in order) for name, cells in others.items()})
    return rows, tuple(notes)


def conditions_of(
    columns: Mapping[str, Sequence[str]], task: str, end_s: float, modulators: Mapping[str, Sequence[str]] | None = None
) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
    """Conditions of a table without a model: one a trial type, and their parametric modulators.

    Parameters
    ----------
    columns, task, end_s
        As for `event_rows`.
    modulators : mapping of str to sequence of str, optional
        Columns of numbers that modulate a trial type: ``{"pain": ["PR"]}`` makes `pain_PR`, centred on the mean of those `pain`
        events that have a value; the others count as average.

    Returns
    -------
    conditions : tuple of Condition
        By trial type, each followed by its modulators.
    notes : tuple of str
        What was left out or assumed; also a modulator that has no values, or does not vary.

    Raises
    ------
    CoSpineError
        As `event_rows`, for a modulator of a trial type or column that does not exist, or a column of what is no number.
    """
    rows, notes = event_rows(columns, task, end_s)
    said, modulators = list(notes), dict(modulators or {})
    types = np.array(rows.columns["trial_type"])
    kinds = sorted(set(types.tolist()))
    unknown = [name for name in modulators if name not in kinds]
    unknown += [column for given in modulators.values() for column in given if column not in rows.columns]
    if unknown:
        raise CoSpineError(
            f"modulators name {', '.join(unknown)}, which the events do not have",
            "events",
            f"Trial types are {', '.join(kinds)}; columns are {', '.join(sorted(rows.columns))}",
        )
    conditions = []
    for kind in kinds:
        there = types == kind
        conditions.append(Condition(kind, rows.onsets_s[there], rows.durations_s[there], np.ones(np.count_nonzero(there))))
        for column in modulators.get(kind, ()):
            values = np.where(there, column_numbers(rows.columns[column], column, "events"), np.nan)
            centred = values - float(np.nanmean(values)) if np.isfinite(values).any() else values
            condition = rows.condition(f"{kind}_{column}", centred)
            if condition is None:
                said.append(f"{column} of {kind} has no values, or the same everywhere: it is left out.")
                continue
            missing = np.count_nonzero(there) - np.count_nonzero(np.isfinite(values))
            if missing:
                said.append(f"{missing} of {np.count_nonzero(there)} {kind} events have no {column}: they count as average.")
            conditions.append(condition)
    return tuple(conditions), tuple(said)
