"""Heart rate and breathing rate over a run, above the quality of the signal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.physio.peaks import Peaks
from cospine.physio.recording import Recording
from cospine.quality import figure as fig
from cospine.quality import traces
from cospine.quality.physio_figures import GAP, LONGEST_S, SET_COLOURS, small_svg, stretches

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def rates(
    channels: Sequence[tuple[Recording, Peaks]],
    *,
    run: tuple[float, float] | None = None,
    events: Sequence[traces.Event] = (),
) -> fig.Figure:
    """Heart rate and breathing rate over the run, with the quality of the signal under each.

    Parameters
    ----------
    channels : sequence of (Recording, Peaks)
        All on the time of one run where they are placed.
    run : (first, last), optional
        What is shown, s; by default all that was recorded.
    events : sequence of (onset s, duration s, name)
        Drawn as a strip on top.

    Raises
    ------
    CoSpineError
        When there is no channel.
    """
    if not channels:
        raise CoSpineError("there is no recording", "channels", "Leave this figure out.")
    first, last = run or (
        min(float(one.times_s[0]) for one, _ in channels),
        max(float(one.times_s[0]) + one.duration_s for one, _ in channels),
    )
    width = fig.WIDTH_IN - 0.75 - 1.05
    said: list[tuple[str, str]] = []
    with fig.canvas(fig.WIDTH_IN, 0.5 + 1.95 * len(channels) + 0.25) as drawing:
        for position, (recording, peaks) in enumerate(channels):
            top = 0.5 + position * 1.95
            axes = fig.place(drawing, 0.75, top, width, 1.25)
            said.append(_rate_panel(axes, recording, peaks, first, last))
            if position == 0:
                traces.event_strip(axes, [event for event in events if first <= event[0] <= last])
            axes.tick_params(labelbottom=False)
            strip = fig.place(drawing, 0.75, top + 1.32, width, 0.12)
            _quality_strip(strip, recording, peaks, first, last)
            if position == len(channels) - 1:
                strip.set_xlabel("time from the first volume (s)" if recording.start_s is not None else "time (s)")
            else:
                strip.tick_params(labelbottom=False)
        svg = small_svg(drawing)
    return fig.Figure(
        title="Heart rate and breathing over the run" if len(channels) > 1 else said[0][0],
        caption=(
            "60 over the interval between peaks, drawn at its middle; the thick line is a running median of nine. Open circles: "
            "intervals with a peak that was put in or moved. Nothing is drawn over longer holes: there the phase is not known "
            "and volumes stay unmodelled. The strip below is the quality of the signal by window: green usable, red not, "
            "grey not recorded. "
            + "; ".join(text for _, text in said).capitalize()
            + ". A rate that follows the task is physiology locked to it, and costs power whichever way it is modelled."
        ),
        alt="; ".join(text for _, text in said) + ", as traces over the run.",
        frames=(fig.Frame("Rates", svg),),
    )


def _rate_panel(axes: "Axes", recording: Recording, peaks: Peaks, first: float, last: float) -> tuple[str, str]:
    """Rate over time; returns the title and the summary in words."""
    onsets = recording.times_s[0] + peaks.onset_s
    colour = SET_COLOURS.get(recording.kind, fig.INK)
    name = {"cardiac": "Heart rate", "respiratory": "Breathing rate"}.get(recording.kind, "Rate")
    axes.set(xlim=(first, last), ylabel="per minute", title=name)
    axes.grid(axis="y")
    axes.yaxis.set_label_coords(-0.045, 0.5)
    interval = np.diff(onsets)
    middle = onsets[:-1] + interval / 2
    mended = peaks.mended[:-1] | peaks.mended[1:]
    rate = np.where(interval <= LONGEST_S.get(recording.kind, np.inf), 60 / np.maximum(interval, 1e-6), np.nan)
    shown = (middle >= first) & (middle <= last)
    values = rate[shown & np.isfinite(rate)]
    if values.size == 0:
        axes.text(0.5, 0.5, "no rate in the run", transform=axes.transAxes, ha="center", va="center", color=fig.WARN)
        axes.set(yticks=[])
        return name, f"{name.lower()} unknown in the run"
    low, high = np.percentile(values, [0.5, 99.5])
    pad = max(0.12 * (high - low), 2.0)
    axes.set_ylim(low - pad, high + pad)
    axes.plot(middle, rate, color=colour, linewidth=0.6, alpha=0.6)
    axes.plot(middle, _running_median(rate), color=colour, linewidth=1.6)
    hollow = mended & shown
    axes.plot(middle[hollow], np.clip(rate[hollow], low - pad, high + pad), linestyle="none", marker="o", markersize=3.6,
              markerfacecolor="white", markeredgecolor=colour, markeredgewidth=0.8)  # fmt: skip
    typical = float(np.median(values))
    axes.text(1.008, 0.5, f"median\n{typical:.0f} /min" if typical >= 30 else f"median\n{typical:.1f} /min",
              transform=axes.transAxes, va="center", size=8, weight="bold", color=colour)  # fmt: skip
    spread = np.percentile(values, [5, 95])
    text = f"{name.lower()} {typical:.0f} per minute (5 to 95 %: {spread[0]:.0f} to {spread[1]:.0f})"
    text += f", {int(hollow.sum())} intervals mended" if hollow.any() else ""
    return name, text


def _running_median(rate: NDArray[np.float64], width: int = 9) -> NDArray[np.float64]:
    """Median of the neighbours that have a rate; NaN where the value itself has none."""
    padded = np.pad(rate, width // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    out = np.full(rate.shape, np.nan)
    known = np.isfinite(rate)
    out[known] = np.nanmedian(windows[known], axis=1)
    return out


def _quality_strip(axes: "Axes", recording: Recording, peaks: Peaks, first: float, last: float) -> None:
    """Quality by window as a coloured strip: grey where nothing was recorded."""
    start = float(recording.times_s[0])
    axes.set(xlim=(first, last), ylim=(0, 1), yticks=[])
    axes.set_facecolor(GAP)
    axes.spines[:].set_visible(False)
    windows = peaks.windows
    for at, quality, usable in zip(windows.start_s, windows.quality, windows.usable, strict=True):
        low, high = max(first, start + at), min(last, start + at + windows.length_s, start + recording.duration_s)
        if high > low:
            strength = 0.25 + 0.65 * float(np.clip(np.nan_to_num(quality), 0, 1)) if usable else 0.75
            colour = _paler(SET_COLOURS["respiratory"] if usable else fig.WARN, strength)
            # A rim of its own colour closes the hairline between windows.
            axes.broken_barh([(low, high - low)], (0, 1), facecolor=colour, edgecolor=colour, linewidth=0.4)
    for gap_first, gap_last in stretches(~recording.recorded):
        low, high = start + gap_first / recording.rate_hz, start + gap_last / recording.rate_hz
        axes.broken_barh([(low, high - low)], (0, 1), facecolor=GAP, linewidth=0)
    axes.text(-0.008, 0.5, "quality", transform=axes.transAxes, ha="right", va="center", size=7, color=fig.MUTED)


def _paler(colour: str, strength: float) -> tuple[float, float, float]:
    """A colour mixed with white."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue
