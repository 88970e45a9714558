"""Events: against the length of their run, in themselves, and against the same task of others."""

import math
from collections.abc import Iterator
from pathlib import Path

from cospine.bids import Finding, Run, finding, load_events
from cospine.check.scope import Scope, rule_of

_SLACK_S = 1e-3


def check_events(scope: Scope) -> Iterator[Finding]:
    """All that events tables tell."""
    counts: dict[str, dict[str, int]] = {}
    for person in scope.dataset.participants:
        for run in person.runs:
            events = load_events(run)
            if not events or run.events is None:
                continue
            file = _relative(scope, run.events)
            yield from _in_time(run, file, events)
            counts.setdefault(run.task, {})[f"{run.participant}\t{file}"] = len(events)
    for task, numbers in counts.items():
        rule = rule_of(numbers.values())
        for key, count in numbers.items():
            if rule is not None and count != rule:
                participant, file = key.split("\t")
                yield finding(
                    "events-differ", participant, file, f"{count} events; most runs of task {task} have {rule}",
                    "Compare with the log of the stimulation.",
                )  # fmt: skip


def _relative(scope: Scope, path: Path) -> str:
    return path.relative_to(scope.index.root).as_posix() if path.is_relative_to(scope.index.root) else path.name


def _in_time(run: Run, file: str, events: tuple[tuple[float, float, str], ...]) -> Iterator[Finding]:
    onsets = [onset for onset, _, _ in events]
    ends = [onset + duration for onset, duration, _ in events]
    if run.shape and run.volumes and math.isfinite(run.tr_s):
        length_s = run.volumes * run.tr_s
        late = [onset for onset in onsets if onset >= length_s - _SLACK_S]
        if late or max(ends) > length_s + run.tr_s:
            said = f"{len(late)} of {len(events)} events begin" if late else f"the last event ends at {max(ends):.1f} s,"
            yield finding(
                "events-beyond-run", run.participant, file,
                f"{said} after the run's end at {length_s:.1f} s ({run.volumes} volumes)",
                "Compare with the number of volumes that were acquired; events beyond the end are not modelled.",
            )  # fmt: skip
    if min(onsets) < 0:
        yield finding(
            "events-before-run", run.participant, file,
            f"{sum(onset < 0 for onset in onsets)} events begin before the first volume",
            "Nothing to do if volumes were discarded; otherwise compare with the log of the stimulation.",
        )  # fmt: skip
    if onsets != sorted(onsets):
        yield finding("events-unsorted", run.participant, file, "the onsets do not rise", "Sort the table by onset.")
        return
    same = [kind for _, _, kind in events]
    overlaps = sum(ends[at] > onsets[at + 1] + _SLACK_S for at in range(len(events) - 1) if same[at] == same[at + 1])
    if overlaps:
        yield finding(
            "events-unsorted", run.participant, file, f"{overlaps} events begin before the one of the same kind before them ends",
            "Compare with the log of the stimulation.",
        )  # fmt: skip
