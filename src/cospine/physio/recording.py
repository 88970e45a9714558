"""One channel of a physiological recording, whoever wrote it."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError

Kind = Literal["cardiac", "respiratory", "trigger", "other"]
Sensor = Literal["ppg", "ecg", "belt", ""]


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples at a constant rate, with what is known of when they were taken.

    Two clocks may be known: the scanner's time of day (`clock_s`), on which images carry their AcquisitionTime, and time
    from the first stored volume (`start_s`). A parser fills what its format says; `cospine.physio.alignment` the rest.

    Parameters
    ----------
    kind : {"cardiac", "respiratory", "trigger", "other"}
        What was recorded; "trigger" is a channel of volume marks alone.
    samples : ndarray (n,), float64
        In the recorder's units; NaN where nothing was recorded (gaps stay gaps).
    rate_hz : float
        Samples a second.
    start_s : float or None
        Time of the first sample, s from the first stored volume of its run (negative: before it).
    clock_s : float or None
        Time of the first sample on the scanner's clock, s since midnight of the day on which it began.
    sensor : {"ppg", "ecg", "belt", ""}
        Which sensor; empty when the format does not say.
    marks_s : ndarray (m,)
        Pulses or breaths that the recorder itself believed to see, s from the first sample. Late, and not always right.
    volumes_s : ndarray (v,)
        Starts of volumes that the recorder marked, s from the first sample; empty for none.
    limits : (float, float) or None
        Range of the converter; samples at its ends are clipped. None: not known.
    source : str
        Name of the file (and channel) it comes from.
    """

    kind: Kind
    samples: NDArray[np.float64] = field(repr=False)
    rate_hz: float
    start_s: float | None = None
    clock_s: float | None = None
    sensor: Sensor = ""
    marks_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False)
    volumes_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False)
    limits: tuple[float, float] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or not np.isfinite(self.rate_hz) or self.rate_hz <= 0:
            raise CoSpineError(
                f"samples of shape {self.samples.shape} at {self.rate_hz} Hz are no recording",
                self.source,
                "Give one column and its sampling rate in Hz (--rate)",
            )

    @property
    def duration_s(self) -> float:
        """From the first sample to the end of the last, s."""
        return self.samples.size / self.rate_hz

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Time of each sample (n,), s from the first volume, or from the first sample where `start_s` is not known."""
        return (self.start_s or 0.0) + np.arange(self.samples.size) / self.rate_hz

    @property
    def recorded(self) -> NDArray[np.bool_]:
        """Samples (n,) that are no gap."""
        return np.isfinite(self.samples)

    def placed(self, start_s: float) -> "Recording":
        """The same with its first sample at a time, s from the first volume."""
        return replace(self, start_s=float(start_s))

    def part(self, first: int, last: int) -> "Recording":
        """Samples from `first` to before `last`, with the marks in them; both clocks go on."""
        offset_s, end_s = first / self.rate_hz, last / self.rate_hz

        def within(marks_s: NDArray[np.float64]) -> NDArray[np.float64]:
            return marks_s[(marks_s >= offset_s) & (marks_s < end_s)] - offset_s

        return replace(
            self,
            samples=self.samples[first:last],
            start_s=None if self.start_s is None else self.start_s + offset_s,
            clock_s=None if self.clock_s is None else self.clock_s + offset_s,
            marks_s=within(self.marks_s),
            volumes_s=within(self.volumes_s),
        )

    def covers(self, first_s: float, last_s: float) -> float:
        """Share of the time from `first_s` to `last_s` (s from the first volume) in which there are samples; 0 if not placed."""
        if self.start_s is None or not last_s > first_s:
            return 0.0
        inside = (self.times_s >= first_s) & (self.times_s < last_s) & self.recorded
        return min(1.0, float(np.count_nonzero(inside)) / (self.rate_hz * (last_s - first_s)))
