"""Recordings in pictures: every minute of them, with the peaks that were found."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.physio.peaks import Peaks
from cospine.physio.recording import Recording
from cospine.quality import figure as fig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SET_COLOURS = {
    "cardiac": "#7b3f9e",
    "respiratory": "#00795a",
    "interaction": "#8a6a00",
    "csf": "#2f7fc1",
    "rvt": "#56b4e9",
    "hrv": "#cc79a7",
    "components": "#2f7fc1",
}
"""Colours of recordings and of the sets of regressors made from them, the same in every figure."""

_SET_WORDS = {"csf": "CSF", "rvt": "breathing volume", "hrv": "heart rate", "components": "CSF components"}

LOW_QUALITY = 0.5
"""Quality of a peak below which it is drawn as doubtful."""

LONGEST_S = {"cardiac": 3.0, "respiratory": 20.0}
"""Intervals from which peaks are taken to be missing: no rate is drawn over them, s."""

MAX_ROWS = 20
"""Minutes drawn where the run is not known."""

_LONG = re.compile(r"(\d+\.\d\d)\d+")
_ROW_S, _MARGIN_S = 60.0, 10.0
_ROW_IN, _LEFT_IN, _RIGHT_IN, _TOP_IN = 0.58, 0.62, 1.2, 0.42
_BINS = {"cardiac": 600, "respiratory": 240}
_SIGNAL, _COVER, _RUN, GAP = "#46525f", "#f3f5f8", "#e3eef7", "#c9d0d9"


def set_words(name: str) -> str:
    """A set of regressors by the name that people know."""
    return _SET_WORDS.get(name, name)


def every_minute(recording: Recording, peaks: Peaks, *, run: tuple[float, float] | None = None) -> fig.Figure:
    """The whole recording in rows of a minute, with every peak that was found.

    Parameters
    ----------
    recording : Recording
        Rows start at whole minutes from the first volume where it is placed, else from its first sample.
    peaks : Peaks
        What was found in it; onsets in s from its first sample.
    run : (first, last), optional
        Time of the run on `recording.times_s`, s: it is shaded, and only minutes that touch it (and 10 s on either side) are
        drawn. Without it the first 20 minutes are.

    Raises
    ------
    CoSpineError
        When the recording has no sample.
    """
    if recording.samples.size == 0:
        raise CoSpineError("the recording holds no sample", recording.source, "Leave this figure out.")
    times = recording.times_s
    onsets = times[0] + peaks.onset_s
    rows, left_out = _rows(float(times[0]), float(times[0]) + recording.duration_s, run)
    colour = SET_COLOURS.get(recording.kind, fig.INK)
    height = len(rows) * _ROW_IN
    with fig.canvas(fig.WIDTH_IN, _TOP_IN + height + 0.5) as drawing:
        axes = fig.place(drawing, _LEFT_IN, _TOP_IN, fig.WIDTH_IN - _LEFT_IN - _RIGHT_IN, height)
        _backgrounds(axes, recording, peaks, rows, run)
        scales = _signal(axes, recording, rows)
        _clipped(axes, recording, rows)
        kinds = _peak_marks(axes, recording, peaks, rows, scales, colour)
        if recording.marks_s.size:
            x, y = _folded(times[0] + recording.marks_s, rows)
            _ticks(axes, x, y + 0.03, 0.13, fig.BEFORE)
            kinds.append(("|", "recorder's own mark", fig.BEFORE))
        if _at_limits(recording).any():
            kinds.append(("▬", "clipped", fig.WARN))
        for row, start in enumerate(rows):
            inside = (onsets >= start) & (onsets < start + _ROW_S)
            axes.text(-0.008, _middle(row), _clock_words(start), transform=axes.get_yaxis_transform(), ha="right", va="center",
                      size=8, color=fig.MUTED)  # fmt: skip
            for text, y, size, shade in _row_words(recording, peaks, inside, start):
                axes.text(1.008, _middle(row) + y, text, transform=axes.get_yaxis_transform(), va="center", size=size,
                          color=shade)  # fmt: skip
        axes.set(xlim=(0, _ROW_S), ylim=(-len(rows), 0), yticks=[], xlabel="s")
        axes.set_xticks(np.arange(0, 61, 10))
        axes.spines[["left", "bottom"]].set_visible(False)
        _legend(axes, kinds)
        svg = small_svg(drawing)
    words = {"cardiac": ("Pulse", "beats"), "respiratory": ("Breathing", "breaths")}.get(recording.kind, ("Recording", "peaks"))
    mended = int(np.count_nonzero(peaks.mended))
    origin = "the first volume" if recording.start_s is not None else "its first sample"
    return fig.Figure(
        title=f"{words[0]}, every minute",
        caption=(
            f"{recording.source or 'Recording'}: one row a minute, from {origin}; each row has its own scale. "
            f"{peaks.onset_s.size} {words[1]} in {_clock_words(recording.duration_s)}, {mended} of them put in or moved (open), "
            f"{int(np.count_nonzero(peaks.quality < LOW_QUALITY))} of low quality. "
            + (
                "A beat is marked at its top (ECG: at R)."
                if recording.kind == "cardiac"
                else "A breath is marked at the end of inspiration."
                if recording.kind == "respiratory"
                else ""
            )
            + (" Blue: the run." if run is not None else "")
            + ("" if recording.recorded.all() else " Grey: nothing recorded.")
            + ("" if np.all(peaks.windows.usable) else " Red wash: windows in which the signal was not usable.")
            + (f" Not drawn: {left_out}." if left_out else "")
            + " What is marked wrongly can be put right by hand in the table of peaks (--physio-peaks)."
        ),
        alt=f"{words[0]} signal in {len(rows)} rows of a minute with {peaks.onset_s.size} peaks marked.",
        frames=(fig.Frame(words[0], svg),),
    )


def _rows(first: float, last: float, run: tuple[float, float] | None) -> tuple[list[float], str]:
    """Starts of the minutes to draw, and in words what is left out."""
    begin = _ROW_S * np.floor(first / _ROW_S + 1e-9)
    every = [float(start) for start in np.arange(begin, last - 1e-9, _ROW_S)] or [float(begin)]
    if run is None:
        rows = every[:MAX_ROWS]
        later = len(every) - len(rows)
        return rows, f"the last {later} of {len(every)} minutes" if later else ""
    low, high = run[0] - _MARGIN_S, run[1] + _MARGIN_S
    rows = [row for row in every if row < high and row + _ROW_S > low]
    if not rows:
        return every[:MAX_ROWS], "other minutes; none of them touches the run"
    before, after = every.index(rows[0]), len(every) - 1 - every.index(rows[-1])
    parts = [f"{count} min {when}" for count, when in ((before, "before"), (after, "after")) if count]
    return rows, " and ".join(parts) + " the run" if parts else ""


def _middle(row: int) -> float:
    return -row - 0.5


def _folded(times_s: NDArray[np.floating], rows: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place of times in the rows: seconds along, and the row's lower edge; those in no row are left out."""
    times = np.asarray(times_s, dtype=np.float64)
    row = np.floor((times - rows[0]) / _ROW_S).astype(int)
    keep = (row >= 0) & (row < len(rows))
    return times[keep] - rows[0] - _ROW_S * row[keep], -(row[keep] + 1.0)


def _boxes(axes: "Axes", first: float, last: float, rows: Sequence[float], colour: str, **style: Any) -> None:
    """Fill a stretch of time in every row that it passes through."""
    for row, start in enumerate(rows):
        low, high = max(first, start), min(last, start + _ROW_S)
        if high > low:
            axes.broken_barh([(low - start, high - low)], (-row - 0.97, 0.94), facecolor=colour, linewidth=0, **style)


def _backgrounds(
    axes: "Axes", recording: Recording, peaks: Peaks, rows: Sequence[float], run: tuple[float, float] | None
) -> None:  # fmt: skip
    """Where there is a recording, the run, gaps and windows without usable signal."""
    start = float(recording.times_s[0])
    end = start + recording.duration_s
    _boxes(axes, start, end, rows, _COVER, zorder=0)
    if run is not None:
        _boxes(axes, max(start, run[0]), min(end, run[1]), rows, _RUN, zorder=0.1)
    for first, last in stretches(~recording.recorded):
        _boxes(axes, start + first / recording.rate_hz, start + last / recording.rate_hz, rows, GAP, zorder=0.2)
    windows = peaks.windows
    for at, usable in zip(windows.start_s, windows.usable, strict=True):
        if not usable:
            _boxes(axes, start + at, min(start + at + windows.length_s, end), rows, fig.WARN, alpha=0.1, zorder=0.3)


def _signal(axes: "Axes", recording: Recording, rows: Sequence[float]) -> list[tuple[float, float]]:
    """Draw all rows as one fine line; return each row's lowest and highest value shown."""
    samples, rate, start = recording.samples, recording.rate_hz, float(recording.times_s[0])
    finite = samples[np.isfinite(samples)]
    whole = np.percentile(finite, [0.5, 99.5]) if finite.size else np.array([0.0, 1.0])
    least = max(0.15 * float(whole[1] - whole[0]), 1e-12)
    x, y, scales = [], [], []
    for row, begin in enumerate(rows):
        first = max(0, round((begin - start) * rate))
        last = min(samples.size, round((begin + _ROW_S - start) * rate))
        seconds, values = _envelope(samples[first:last], rate, _BINS.get(recording.kind, 600))
        shown = values[np.isfinite(values)]
        low, high = np.percentile(shown, [0.2, 99.8]) if shown.size else (0.0, 1.0)
        middle, half = (low + high) / 2, max(high - low, least) / 2
        scales.append((float(middle - half), float(middle + half)))
        x += [seconds + (start + first / rate - begin), np.array([np.nan])]
        y += [_height(row, values, scales[-1]), np.array([np.nan])]
    axes.plot(np.concatenate(x), np.concatenate(y), color=_SIGNAL, linewidth=0.55)
    return scales


def _height(row: int, values: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.float64]:
    """Place of values in a row: the recording's 0.2 to 99.8 % fill four fifths of it."""
    low, high = scale
    return -row - 1 + np.clip(0.1 + 0.78 * (values - low) / (high - low), 0.02, 0.98)


def _envelope(samples: NDArray[np.float64], rate_hz: float, bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value of each of the bins of a minute, in the order in which they occur: no peak is lost."""
    each = int(_ROW_S * rate_hz / bins)
    if each <= 2:
        return np.arange(samples.size) / rate_hz, samples
    count = samples.size // each
    blocks = samples[: count * each].reshape(count, each)
    low = np.argmin(np.where(np.isfinite(blocks), blocks, np.inf), axis=1)
    high = np.argmax(np.where(np.isfinite(blocks), blocks, -np.inf), axis=1)
    pair = np.sort(np.stack([low, high], axis=1), axis=1)
    values = np.take_along_axis(blocks, pair, axis=1)
    # A block that holds a gap is left out whole, so that no line bridges it.
    values[~np.isfinite(blocks).all(axis=1)] = np.nan
    seconds = (pair + each * np.arange(count)[:, None]) / rate_hz
    return seconds.ravel(), values.ravel()


def _at_limits(recording: Recording) -> NDArray[np.bool_]:
    if recording.limits is None:
        return np.zeros(recording.samples.size, dtype=bool)
    low, high = recording.limits
    return (recording.samples <= low) | (recording.samples >= high)


def _clipped(axes: "Axes", recording: Recording, rows: Sequence[float]) -> None:
    """Bars at the top of the row over samples at the ends of the converter's range."""
    start, rate = float(recording.times_s[0]), recording.rate_hz
    x, y = [], []
    for first, last in stretches(_at_limits(recording)):
        # A bar as short as one sample could not be seen.
        begin, end = start + first / rate, start + max(last / rate, first / rate + 0.15)
        for row, at in enumerate(rows):
            low, high = max(begin, at), min(end, at + _ROW_S)
            if high > low:
                x += [low - at, high - at, np.nan]
                y += [-row - 0.045] * 2 + [np.nan]
    axes.plot(x, y, color=fig.WARN, linewidth=1.6, solid_capstyle="butt")


def _peak_marks(
    axes: "Axes", recording: Recording, peaks: Peaks, rows: Sequence[float], scales: Sequence[tuple[float, float]], colour: str
) -> list[tuple[str, str, str]]:
    """Marks at the peaks, by what is known of them; returns those that occur, for the legend."""
    mended = np.asarray(peaks.mended, dtype=bool)
    doubtful = ~mended & (peaks.quality < LOW_QUALITY)
    kinds = []
    for chosen, mark, shape, label, face, edge in (
        (~mended & ~doubtful, "●", "o", "seen", colour, colour),
        (doubtful, "▼", "v", "low quality", fig.WARN, fig.WARN),
        (mended, "○", "o", "put in or moved", "white", colour),
    ):
        onset = peaks.onset_s[chosen]
        x, bottom = _folded(recording.times_s[0] + onset, rows)
        if x.size == 0:
            continue
        row = (-bottom - 1).astype(int)
        begin = np.asarray(rows)[row]
        index = np.clip(
            np.rint((begin + x - recording.times_s[0]) * recording.rate_hz).astype(int), 0, recording.samples.size - 1
        )
        value = recording.samples[index]
        y = np.array([_height(r, np.array([v]), scales[r])[0] for r, v in zip(row, value, strict=True)])
        y = np.where(np.isfinite(y), y, bottom + 0.5)
        axes.plot(x, y, linestyle="none", marker=shape, markersize=2.8 if mark == "●" else 3.8, markerfacecolor=face,
                  markeredgecolor=edge, markeredgewidth=0.8, clip_on=False)  # fmt: skip
        kinds.append((mark, label, edge))
    return kinds


def _ticks(axes: "Axes", x: NDArray[np.float64], low: NDArray[np.float64], length: float, colour: str) -> None:
    """Short upright lines as one path."""
    stop = np.full(x.size, np.nan)
    axes.plot(np.stack([x, x, stop], 1).ravel(), np.stack([low, low + length, stop], 1).ravel(), color=colour, linewidth=0.8)


def _row_words(
    recording: Recording, peaks: Peaks, inside: NDArray[np.bool_], start: float
) -> list[tuple[str, float, float, str]]:  # fmt: skip
    """What stands at the right of a row: the rate, and what was mended or is doubtful."""
    intervals = np.diff(peaks.onset_s[inside])
    intervals = intervals[intervals <= LONGEST_S.get(recording.kind, np.inf)]
    words = [(f"{60 / np.median(intervals):.0f} /min" if intervals.size else "no rate", 0.14, 8.0, fig.INK)]
    mended = int(np.count_nonzero(peaks.mended[inside]))
    words.append((f"{mended} mended" if mended else "", -0.1, 7.0, fig.MUTED))
    if recording.start_s is not None and start >= recording.start_s:
        words.append((f"recording {_clock_words(start - recording.start_s)}", -0.32, 6.5, fig.MUTED))
    return [word for word in words if word[0]]


def _legend(axes: "Axes", kinds: Sequence[tuple[str, str, str]]) -> None:
    """What the marks mean, in a line above the rows."""
    place = 0.0
    for mark, label, colour in kinds:
        axes.annotate(f"{mark} {label}", (0, 1), (place, 8), "axes fraction", "offset points", size=8, color=colour)
        place += 22 + 4.6 * len(label)


def stretches(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First index and one past the last of every run of True, (n, 2)."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return edges.reshape(-1, 2)


def _clock_words(seconds: float) -> str:
    """Minutes and seconds, with a true minus sign."""
    whole = round(abs(seconds))
    return f"{'−' if seconds < 0 and whole else ''}{whole // 60}:{whole % 60:02d}"


def small_svg(drawing: Any) -> str:
    """SVG with points of lines to a hundredth of a point: traces and outlines are thousands of them.

    Text, images and their scales are left alone.
    """
    return re.sub(r'<path d="[^"]*"|<use [^>]*>', lambda found: _LONG.sub(r"\1", found.group(0)), fig.svg_of(drawing))
