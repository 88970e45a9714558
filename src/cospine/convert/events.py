"""Events of a run, from the log of its task."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cospine.convert.logs import Log
from cospine.convert.mapping import EventsRule, RowRule
from cospine.convert.patterns import match_all
from cospine.errors import CoSpineError

_ABSENT = frozenset({"", "n/a", "na", "nan", "none", "null"})


@dataclass(frozen=True)
class Events:
    """A BIDS events table.

    Parameters
    ----------
    columns : mapping of str to list
        `onset`, `duration` (s), `trial_type` where given, and those of the mapping; sorted by onset.
    describe : mapping
        For the JSON beside it.
    """

    columns: Mapping[str, list[Any]]
    describe: Mapping[str, Any] = field(default_factory=dict)

    def beyond(self, duration_s: float) -> int:
        """Events that begin at or after a run of that length has ended."""
        return sum(onset >= duration_s for onset in self.columns["onset"])


def events_of(log: Log, rule: EventsRule, where: str) -> Events:
    """Apply a rule to a log.

    Parameters
    ----------
    log : Log
    rule : EventsRule
    where : str
        For errors.

    Raises
    ------
    CoSpineError
        When a column that the rule names is not there, the zero is not found, a time is no number, or no row fits: all at once.
    """
    wrong = _missing(log, rule)
    if wrong:
        columns = ", ".join(log.columns[:40]) + (" .." if len(log.columns) > 40 else "")
        raise CoSpineError(
            f"has no column {', '.join(wrong)} (it has: {columns})", where, f"Mend the events rule “{rule.name}” of the mapping"
        )
    zero = _zero(log, rule, where)
    names = list(dict.fromkeys(name for row in rule.rows for name in row.columns))
    typed = any(row.trial_type is not None for row in rule.rows)
    found: list[dict[str, Any]] = []
    bad: list[str] = []
    for number, cells in enumerate(log.rows, 1):
        for row in rule.rows:
            event = _event(cells, row, rule, zero, number, bad)
            if event is not None:
                found.append(event)
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise CoSpineError("; ".join(bad[:5]) + more, where, "Mend the log's copy or the rule")
    if not found:
        raise CoSpineError(
            f"no row of {len(log.rows)} is an event by the rule “{rule.name}”", where, "Look at `when` and `onset`"
        )
    found.sort(key=lambda one: (one["onset"], one["duration"]))
    order = ["onset", "duration", *(["trial_type"] if typed else []), *names]
    columns = {name: [event.get(name) for event in found] for name in order}
    describe: dict[str, Any] = {
        "onset": {"Description": "Start of the event, from the start of the first stored volume", "Units": "s"},
        "duration": {"Description": "Length of the event", "Units": "s"},
    }
    describe.update(rule.describe)
    return Events(columns, describe)


def _missing(log: Log, rule: EventsRule) -> list[str]:
    wanted: list[str] = [] if isinstance(rule.zero, float | int) else [str(rule.zero)]
    for row in rule.rows:
        wanted += [row.onset, *row.columns.values(), *row.when]
        wanted += [row.duration] if isinstance(row.duration, str) else []
        wanted += re.findall(r"\{([^{}]+)\}", row.trial_type or "")
    return sorted(set(wanted) - set(log.columns))


def _zero(log: Log, rule: EventsRule, where: str) -> float:
    if isinstance(rule.zero, float | int):
        return float(rule.zero) * rule.unit_s
    texts = [*(row.get(rule.zero, "") for row in log.rows), log.header.get(rule.zero, "")]
    values = [value for text in texts if (value := _number(text)) is not None]
    if not values:
        raise CoSpineError(f"column {rule.zero} holds no number; when the first volume began is not known", where, "Mend `zero`")
    return values[0] * rule.unit_s


def _event(
    cells: Mapping[str, str], row: RowRule, rule: EventsRule, zero_s: float, number: int, bad: list[str]
) -> dict[str, Any] | None:
    text = cells.get(row.onset, "")
    if text.lower() in _ABSENT or match_all(row.when, cells) is None:
        return None
    onset = _number(text)
    duration = _scaled(cells.get(row.duration, ""), rule.unit_s) if isinstance(row.duration, str) else row.duration
    if onset is None:
        bad.append(f"row {number}: {row.onset} is {text!r}, no number")
        return None
    if duration is None or duration < 0:
        bad.append(f"row {number}: {row.duration} is {cells.get(str(row.duration), '')!r}, no duration")
        return None
    event: dict[str, Any] = {
        "onset": round(onset * rule.unit_s - zero_s + rule.shift_s, 6),
        "duration": round(duration, 6),
    }
    if row.trial_type is not None:
        event["trial_type"] = re.sub(r"\{([^{}]+)\}", lambda match: cells.get(match[1], "n/a"), row.trial_type)
    for name, column in row.columns.items():
        value = cells.get(column, "")
        event[name] = None if value.lower() in _ABSENT else value.replace("\t", " ")
    return event


def _scaled(text: str, unit_s: float) -> float | None:
    value = _number(text)
    return None if value is None else value * unit_s


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
