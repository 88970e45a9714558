"""When recordings, runs and slices met: recordings against runs on the clock, phases at the times of slices."""

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.physio.alignment import Overlap
from cospine.quality import figure as fig
from cospine.quality.physio_figures import SET_COLOURS, small_svg

_PHASE_BINS = 24
_HARMONICS = 4


def overlap_table(found: Overlap) -> fig.Figure:
    """Seconds that every recording shares with every run, as a table.

    Parameters
    ----------
    found : Overlap
        From `cospine.physio.alignment.overlap`.

    Raises
    ------
    CoSpineError
        When there is no recording or no run.
    """
    seconds = found.seconds
    if seconds.size == 0:
        raise CoSpineError("there is nothing to compare", "recordings, runs", "Leave this figure out.")
    rows, columns = seconds.shape
    left = min(0.3 + 0.067 * max(len(name) for name in found.recordings), 4.6)
    cell = float(np.clip((fig.WIDTH_IN - left - 0.2) / columns, 0.75, 1.9))
    heading = 0.35 + 0.16 * max(_lines(name, cell) for name in found.runs)
    with fig.canvas(left + columns * cell + 0.2, heading + 0.27 * rows + 0.15) as drawing:
        axes = fig.place(drawing, left, heading, columns * cell, 0.27 * rows)
        axes.set(xlim=(0, columns), ylim=(rows, 0), xticks=[])
        best = np.max(np.nan_to_num(seconds), axis=1)
        for row in range(rows):
            for column in range(columns):
                value = seconds[row, column]
                if np.isfinite(value) and value > 0:
                    colour = SET_COLOURS.get(found.kinds[row], fig.MUTED)
                    axes.fill_between([column, column + 1], row, row + 1, color=colour, linewidth=0,
                                      alpha=0.3 if value == best[row] else 0.1)  # fmt: skip
                text = "not known" if not np.isfinite(value) else f"{value:.0f} s" if value > 0 else "–"
                axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=8,
                          color=fig.INK if value > 0 else fig.MUTED,
                          weight="bold" if value > 0 and value == best[row] else "normal")  # fmt: skip
        for column, name in enumerate(found.runs):
            axes.annotate(_wrapped(name, cell), (column + 0.5, 0), (0, 5), textcoords="offset points", ha="center", va="bottom",
                          size=8, weight="bold", color="#2f6a99")  # fmt: skip
        for row in range(rows + 1):
            axes.axhline(row, color=fig.RULE, linewidth=0.7)
        axes.set_yticks(np.arange(rows) + 0.5, list(found.recordings))
        axes.tick_params(axis="y", length=0)
        axes.spines[:].set_visible(False)
        svg = small_svg(drawing)
    said = [
        f"{name} lies over {found.runs[int(np.nanargmax(line))]} for {np.nanmax(line):.0f} s"
        if np.nan_to_num(line).max() > 0
        else f"{name} lies over no run"
        if np.isfinite(line).any()
        else f"when {name} was made is not known"
        for name, line in zip(found.recordings, seconds, strict=True)
    ]
    return fig.Figure(
        title="Recordings against runs",
        caption=(
            "Seconds that each recording (rows) shares with each run (columns) on the scanner's clock; the longest of a row is "
            "bold. Names are not believed where the clock says otherwise: a recording that carries one run's name and lies over "
            "another was swapped; one over no run is of no use. Purple: pulse, green: breathing."
        ),
        alt="; ".join(said) + ".",
        frames=(fig.Frame("Overlap", svg),),
    )


def phase_histogram(
    cardiac_phase: NDArray[np.floating] | None,
    respiratory_phase: NDArray[np.floating] | None,
) -> fig.Figure:
    """How evenly the acquisition times of slices meet the phases of heartbeat and breathing.

    Parameters
    ----------
    cardiac_phase : (t, slices) array, optional
        In [0, 2 pi), rad; NaN where not known.
    respiratory_phase : (t, slices) array, optional
        In [-pi, pi], rad; NaN where not known.

    Raises
    ------
    CoSpineError
        When neither has a known phase.
    """
    given = [
        (kind, phase, lowest)
        for kind, phase, lowest in (("cardiac", cardiac_phase, 0.0), ("respiratory", respiratory_phase, -np.pi))
        if phase is not None and np.isfinite(phase).any()
    ]
    if not given:
        raise CoSpineError("no phase is known", "phases", "Leave this figure out.")
    said = []
    with fig.canvas(0.5 + 5.4 * len(given), 4.3) as drawing:
        for position, (kind, phase, lowest) in enumerate(given):
            left = 0.65 + position * 5.4
            counts = np.stack(
                [
                    np.histogram(column[np.isfinite(column)], _PHASE_BINS, (lowest, lowest + 2 * np.pi))[0]
                    for column in np.asarray(phase, dtype=np.float64).T
                ]
            ).astype(np.float64)
            said.append(f"{kind}: {_evenness(np.asarray(phase, dtype=np.float64))}")
            edges = np.linspace(lowest, lowest + 2 * np.pi, _PHASE_BINS + 1)
            axes = fig.place(drawing, left, 0.4, 4.1, 1.1)
            share = 100 * counts.sum(axis=0) / counts.sum()
            axes.bar(edges[:-1], share, np.diff(edges), align="edge", color=SET_COLOURS[kind], alpha=0.75, linewidth=0)
            axes.axhline(100 / _PHASE_BINS, color=fig.INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.set(xlim=(edges[0], edges[-1]), ylabel="% of slices", title=f"{kind.capitalize()} phase at slice times")
            axes.tick_params(labelbottom=False)
            below = fig.place(drawing, left, 1.65, 4.1, 2.1)
            relative = counts / np.maximum(counts.sum(axis=1, keepdims=True) / _PHASE_BINS, 1e-9)
            picture = below.imshow(
                relative, cmap=fig.DIVERGING, vmin=0, vmax=2, aspect="auto", interpolation="none", origin="lower",
                extent=(edges[0], edges[-1], -0.5, len(counts) - 0.5),
            )  # fmt: skip
            below.set(ylabel="slice", xlabel="phase (rad)")
            ticks = lowest + np.pi * np.arange(5) / 2
            below.set_xticks(ticks, [_pi_words(tick) for tick in ticks])
            axes.set_xticks(ticks)
            below.spines[:].set_visible(False)
            if position == len(given) - 1:
                bar = fig.place(drawing, left + 4.22, 1.65, 0.1, 2.1)
                drawing.colorbar(picture, cax=bar, extend="max")
                bar.set_title("× even", loc="left", fontweight="normal", fontsize=8, color=fig.MUTED)
                bar.spines[:].set_visible(False)
        svg = small_svg(drawing)
    return fig.Figure(
        title="Phases that the slices met",
        caption=(
            "Top: share of all slice acquisitions at each phase; dashed, an even spread. Below, by slice: 1 (white) is even, 0 "
            "means that a slice never met that phase, so nothing is known there and the Fourier terms of that slice are badly "
            "told apart. It happens where the rate keeps step with TR. Concentration is the largest of the first four harmonics "
            "of a slice's phases: 0 for an even spread, 1 for one phase only. " + "; ".join(said).capitalize() + "."
        ),
        alt="Histograms of phases at slice times; " + "; ".join(said) + ".",
        frames=(fig.Frame("Phases", svg),),
    )


def _wrapped(name: str, width_in: float) -> str:
    """A name in lines that fit a column, cut at its underscores where there are some."""
    room = max(int(width_in / 0.075), 6)
    lines = [""]
    for part in name.replace("_", "_ ").split(" "):
        joined = lines[-1] + part
        if lines[-1] and len(joined) > room:
            lines.append(part)
        else:
            lines[-1] = joined
    return "\n".join(lines)


def _lines(name: str, width_in: float) -> int:
    return _wrapped(name, width_in).count("\n") + 1


def _pi_words(angle: float) -> str:
    halves = round(2 * angle / np.pi)
    words = {0: "0", 1: "π/2", 2: "π", 3: "3π/2", 4: "2π"}
    return ("−" if halves < 0 else "") + words[abs(halves)]


def _evenness(phase: NDArray[np.float64]) -> str:
    """How much of the run is known, and the strongest of the first harmonics of each slice's spread of phases."""
    known = np.isfinite(phase)
    count = np.maximum(known.sum(axis=0), 1)
    vectors = np.where(known, np.exp(1j * np.nan_to_num(phase)), 0)
    strongest = np.max([np.abs((vectors**order).sum(axis=0)) / count for order in range(1, _HARMONICS + 1)], axis=0)
    return (
        f"known for {100 * known.mean():.0f} % of slice times, concentration {np.median(strongest):.2f} in the median slice, "
        f"{strongest.max():.2f} in the least even one"
    )
