"""Progress as events: the pipeline says what it is doing, whoever listens shows it."""

from collections.abc import Callable
from dataclasses import dataclass

from cospine.bids import Dataset

# about how much of a run's time each step takes, in parts of their sum; for the time left
_SHARE = {
    "field": 0.07,
    "read": 0.09,
    "denoise": 0.0,
    "motion": 0.29,
    "distortion": 0.06,
    "resample": 0.2,
    "masks": 0.04,
    "placement": 0.05,
    "spaces": 0.15,
    "noise": 0.07,
    "statistics": 0.12,
    "coupling": 0.04,
    "seeds": 0.05,
    "clean": 0.02,
    "report": 0.12,
}
_ANATOMY = 150.0
"""Volumes that take about as long as an anatomical image."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Parameters
    ----------
    participant : str
        As `sub-01`.
    run : str
        Run for people; empty for the person as a whole.
    step : str
        What begins now; empty when the run has ended.
    done : float
        Part of all work that is done, 0-1.
    failed : str
        Why the run or person failed, else empty.
    """

    participant: str
    run: str
    step: str
    done: float
    failed: str = ""


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""


class Tracker:
    """Turns what units of work say into events that know how much is done.

    Parameters
    ----------
    dataset : Dataset
        What is processed; volumes say how long a run takes, near enough.
    listen : callable
        Told of every event.
    """

    def __init__(self, dataset: Dataset, listen: Listener) -> None:
        self._listen = listen
        self._labels = {run.prefix: run.label for run in dataset.runnable}
        sizes = {run.prefix: float(max(run.volumes, 1)) for run in dataset.runnable}
        sizes |= {one.label: _ANATOMY for one in dataset.participants if one.runnable and (one.t1w or one.t2w)}
        self._parts = {name: size / sum(sizes.values()) for name, size in sizes.items()}
        self._passed: dict[str, float] = {}
        self._last: dict[str, str] = {}

    @property
    def done(self) -> float:
        """Part of all work that is done."""
        return sum(self._parts.get(name, 0.0) * passed for name, passed in self._passed.items())

    def begins(self, participant: str, prefix: str, step: str) -> None:
        """A step of a run begins, or of the person as a whole (no prefix)."""
        if prefix:
            self._passed[participant] = 1.0  # what its runs share has been made
            last = _SHARE.get(self._last.get(prefix, ""), 0.0) / sum(_SHARE.values())
            self._passed[prefix] = min(1.0, self._passed.get(prefix, 0.0) + last)
            self._last[prefix] = step
        self._listen(Event(participant, self._labels.get(prefix, ""), step, self.done))

    def ends(self, participant: str, prefix: str, failed: str = "") -> None:
        """A run has ended."""
        self._passed[prefix] = 1.0
        self._listen(Event(participant, self._labels[prefix], "", self.done, failed))

    def fails(self, participant: str, what: str, why: str) -> None:
        """Something of the person as a whole failed."""
        self._listen(Event(participant, what, "", self.done, why))
