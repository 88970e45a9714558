"""The two tasks: when things happen, and what blood does about it where.

Events have the columns and habits of the real datasets (OpenNeuro ds005883, ds005884). The haemodynamic
response is not the one a statistical model would assume: its peak, width and undershoot are drawn for every
person and region.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.phantom.draw import draw_within

TASKS = ("pain", "motorL", "motorR")

# Responding regions and their share of the person's drawn amplitude; those of the cord are named by their
# horn. Heat is given on the right: thalamus, insula and S2 of the left respond more.
_RESPONSES: Mapping[str, Mapping[str, float]] = {
    "pain": {
        "dorsal_horn_R_C6": 1.0,
        "insula_L": 1.0,
        "insula_R": 0.9,
        "S2_L": 0.9,
        "S2_R": 0.7,
        "ACC": 0.8,
        "thalamus_L": 0.8,
        "thalamus_R": 0.6,
    },
    "motorL": {"ventral_horn_L_C7C8": 1.0, "M1S1_R": 1.0, "SMA": 0.8, "cerebellum_L": 0.8},
    "motorR": {"ventral_horn_R_C7C8": 1.0, "M1S1_L": 1.0, "SMA": 0.8, "cerebellum_R": 0.8},
}

BRAIN_PERCENT = (0.8, 2.0)
CORD_PERCENT = (0.4, 1.2)
HRF_PEAK_S = (4.5, 7.0)
# From onset to onset, for null designs; on average about what the real ones have, and room for a rating between two heats.
RANDOM_INTERVAL_S = {"pain": (31.0, 47.0), "motor": (16.0, 31.0)}


@dataclass(frozen=True)
class Events:
    """A table of events; ``rows`` follow ``columns``, times in s from the first stored volume."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float | str, ...], ...]

    def stimuli(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Onsets and durations (s) of what the brain and cord respond to: every row but the ratings."""
        kept = [row for row in self.rows if "rating" not in row]
        onsets = np.array([float(row[0]) for row in kept])
        return onsets, np.array([float(row[1]) for row in kept])

    def to_tsv(self) -> str:
        """The table as BIDS writes it."""
        lines = ["\t".join(self.columns)]
        lines += ["\t".join(v if isinstance(v, str) else f"{v:g}" for v in row) for row in self.rows]
        return "\n".join(lines) + "\n"


def events(task: str, seed: int, n_volumes: int, tr_s: float, randomised: bool = False) -> Events:
    """Draw the events of a run; those that would not finish within it are left out.

    Parameters
    ----------
    task : {"pain", "motorL", "motorR"}
    seed : int
    n_volumes : int
    tr_s : float
    randomised : bool
        Intervals of widely different lengths; in the real designs they are nearly periodic.

    Raises
    ------
    CoSpineError
        If the task is unknown.
    """
    _check_task(task)
    rng = np.random.default_rng([seed, 0x7A51, TASKS.index(task)])
    end_s = n_volumes * tr_s
    if task == "pain":
        return _pain_events(rng, end_s, randomised)
    rows = []
    onset = 13.0 + (rng.uniform(0.0, 8.0) if randomised else 0.0)
    for _ in range(12):
        if onset + 8.0 <= end_s:
            rows.append((onset, 8.0))
        onset += (
            rng.uniform(*RANDOM_INTERVAL_S["motor"])
            if randomised
            else float(rng.choice([21, 22, 23, 24, 25, 26], p=[0.1, 0.25, 0.25, 0.2, 0.15, 0.05]))
        )
    return Events(("onset", "duration"), tuple(rows))


def _pain_events(rng: np.random.Generator, end_s: float, randomised: bool) -> Events:
    rows: list[tuple[float | str, ...]] = []
    onset = 10.1 + 0.05 * rng.random() + (rng.uniform(0.0, 12.0) if randomised else 0.0)
    level, habituation = rng.uniform(5.0, 7.5), rng.uniform(0.05, 0.2)
    for trial in range(15):
        pain = level + (1.0 if trial == 0 else 0.0) - habituation * trial + rng.normal(0.0, 0.5)
        unpleasant = float(np.clip(round(pain - rng.uniform(0.0, 1.5)), 0, 10))
        if onset + 4.0 <= end_s:
            rows.append((round(onset, 3), 4.0, "pain", unpleasant, float(np.clip(round(pain), 0, 10))))
        rating = onset + rng.uniform(16.3, 18.5)
        if rating + 11.0 <= end_s:
            rows.append((round(rating, 3), 11.0, "rating", "n/a", "n/a"))
        onset += rng.uniform(*RANDOM_INTERVAL_S["pain"]) if randomised else 39.1 + rng.normal(0.0, 0.1)
    return Events(("onset", "duration", "trial_type", "UpR", "PR"), tuple(rows))


def events_sidecar(task: str) -> dict[str, Any]:
    """Column descriptions of an events table."""
    _check_task(task)
    sidecar: dict[str, Any] = {
        "StimulusPresentation": {"SoftwareName": "cospine simulate"},
        "onset": {"Description": "Start of the event after the first stored volume", "Units": "s"},
        "duration": {"Description": "Duration of the event", "Units": "s"},
    }
    if task == "pain":
        sidecar |= {
            "trial_type": {
                "Description": "Kind of event",
                "Levels": {"pain": "Contact heat on the right arm", "rating": "Rating period"},
            },
            "UpR": {"Description": "Unpleasantness rating, visual analogue scale from 0 to 10"},
            "PR": {"Description": "Pain intensity rating, visual analogue scale from 0 to 10"},
        }
    return sidecar


@dataclass(frozen=True)
class Response:
    """How one region responds: a fraction of local signal, with its own haemodynamics."""

    region: str
    amplitude: float
    peak_s: float
    width: float
    undershoot: float


def responses(task: str, seed: int, severity: float = 0.5) -> tuple[Response, ...]:
    """Draw the amplitude and haemodynamics of every region that responds to a task.

    Parameters
    ----------
    severity : float
        0 draws amplitudes near the lower end of their range, 1 near the upper.
    """
    _check_task(task)
    rng = np.random.default_rng([seed, 0xB01D, TASKS.index(task)])
    brain, cord = (draw_within(rng, limits, severity) for limits in (BRAIN_PERCENT, CORD_PERCENT))
    peak = rng.uniform(4.9, 6.6)
    drawn = []
    for region, share in _RESPONSES[task].items():
        percent, limits = (cord, CORD_PERCENT) if "horn" in region else (brain, BRAIN_PERCENT)
        amplitude = float(np.clip(percent * share * rng.uniform(0.9, 1.1), *limits)) / 100.0
        own_peak = float(np.clip(peak + rng.normal(0.0, 0.3), *HRF_PEAK_S))
        drawn.append(Response(region, amplitude, own_peak, rng.uniform(0.8, 1.3), rng.uniform(0.05, 0.3)))
    return tuple(drawn)


def haemodynamic_response(t_s: ArrayLike, response: Response) -> NDArray[np.float64]:
    """Two-gamma response whose main lobe peaks at ``response.peak_s`` with height 1.

    The main lobe is t^a exp(-t/b), b the width (s) and a b the peak; the undershoot peaks 2.4 times as late.
    """
    t = np.maximum(np.asarray(t_s, dtype=float), 0.0)

    def lobe(peak: float, scale: float) -> NDArray[np.float64]:
        shape = peak / scale
        height = shape * np.log(peak) - shape
        return np.where(t > 0, np.exp(shape * np.log(np.maximum(t, 1e-9)) - t / scale - height), 0.0)

    return lobe(response.peak_s, response.width) - response.undershoot * lobe(2.4 * response.peak_s, 1.3)


def activation(task: str, seed: int, times_s: ArrayLike, table: Events, severity: float = 0.5) -> dict[str, NDArray[np.float64]]:
    """Fractional BOLD signal change of each responding region at the given times.

    Parameters
    ----------
    times_s : array_like, any shape
        Acquisition times, s from the first volume; for images (volumes, slices).
    table : Events
        As drawn by :func:`events`.

    Returns
    -------
    dict of str to ndarray, shape of ``times_s``
        0.01 is 1 % of the local signal; the response to a typical trial reaches the drawn amplitude.
    """
    times = np.asarray(times_s, dtype=float)
    onsets, durations = table.stimuli()
    rng = np.random.default_rng([seed, 0x7121A1, TASKS.index(task)])
    weights = rng.uniform(0.85, 1.15, onsets.size)
    step = 0.05
    lags = np.arange(0.0, 60.0, step)
    grid = np.arange(min(times.min(), 0.0), times.max() + step, step)
    course = {}
    for response in responses(task, seed, severity):
        hrf = haemodynamic_response(lags, response)
        # The response to a box is the difference of two step responses; one box scales to height 1.
        steps = np.concatenate([[0.0], np.cumsum(hrf)[:-1]])
        total = np.zeros(grid.size)
        for onset, duration, weight in zip(onsets, durations, weights, strict=True):
            height = (steps - np.interp(lags - duration, lags, steps, left=0.0)).max()
            since = grid - onset
            box = np.interp(since, lags, steps, left=0.0) - np.interp(since - duration, lags, steps, left=0.0)
            total += weight / height * box
        course[response.region] = np.interp(times, grid, total) * response.amplitude
    return course


def _check_task(task: str) -> None:
    if task not in TASKS:
        remedy = f"Use one of {', '.join(TASKS)}"
        raise CoSpineError(f"the digital participant knows no task '{task}'", "task", remedy)
