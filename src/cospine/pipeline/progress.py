"""Progress as events: the pipeline says what it is doing, whoever listens shows it."""

from collections.abc import Callable
from dataclasses import dataclass


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
