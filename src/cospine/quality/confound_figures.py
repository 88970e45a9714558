"""What could be taken for an effect: columns that go with the task, aliased rates, signal shared by simultaneous slices."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality.physio_figures import SET_COLOURS, set_words, small_svg
from cospine.signal.simultaneous import SharedSignal
from cospine.stats.collinearity import Collinearity, SharedWithTask, aliased_frequency

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INFLATED = 5.0
"""Variance inflation from which a design is in trouble (R² 0.8)."""

_TASK = "#7a5c00"
_BINS = 80


def collinearity_figure(
    found: Collinearity,
    *,
    tr_s: float,
    rates_hz: Mapping[str, ArrayLike],
    task_hz: float,
    highpass_hz: float = 1 / 128,
    condition: str = "",
) -> fig.Figure:
    """How much of the task each set of nuisance columns explains, and where the aliased rates fall.

    Parameters
    ----------
    found : Collinearity
        From `cospine.stats.collinearity.collinearity`.
    tr_s : float
        Time between volumes, s.
    rates_hz : mapping of "cardiac" and "respiratory" to array
        Rate of every interval between peaks, Hz.
    task_hz : float
        Repetition rate of the task, Hz; not drawn where it is NaN.
    highpass_hz : float
        Below it drifts are taken out.
    condition : str
        Whose regressor it is, where there are several.

    Raises
    ------
    CoSpineError
        When no set has anything to do with the task in any slice.
    """
    every = {**found.sets, **({"all sets": found.total} if len(found.sets) > 1 else {})}
    shared = {name: one for name, one in every.items() if one.worst_slice >= 0}
    if not shared:
        raise CoSpineError("no set of columns has an R² on the task", "collinearity", "Leave this figure out.")
    spread = {name: np.asarray(values, dtype=np.float64) for name, values in rates_hz.items()}
    spread = {name: values[np.isfinite(values)] for name, values in spread.items() if np.isfinite(values).any()}
    height = max(0.3 * len(shared) + 0.2, 2.0)
    with fig.canvas(fig.WIDTH_IN, 0.6 + height + 0.6) as drawing:
        axes = fig.place(drawing, 1.15, 0.6, 3.4, height)
        _set_bars(axes, shared)
        other = fig.place(drawing, 5.9, 0.6, fig.WIDTH_IN - 6.2, height)
        _frequencies(other, spread, tr_s, task_hz, highpass_hz)
        svg = small_svg(drawing)
    said = []
    for name, one in shared.items():
        of = one.summary()
        said.append(
            f"{set_words(name)} {100 * of['r2_median']:.0f} % (worst slice {100 * of['r2_worst']:.0f} %, by chance "
            f"{100 * of['null_r2']:.1f} %, variance inflation {of['vif_median']:.2f})"
        )
    placed = [
        f"{name} {np.median(values):.3f} Hz appears at {aliased_frequency(np.median(values), tr_s):.3f} Hz"
        for name, values in spread.items()
    ]
    return fig.Figure(
        title=f"Noise that goes with the task{f': {condition}' if condition else ''}",
        caption=(
            f"Left: share of the task's regressor that a set of columns explains, by slice: {'; '.join(said)}. "
            "What exceeds chance (tick) cannot be told from the task: the variance of its effect grows by the "
            f"inflation 1 / (1 − R²), {INFLATED:g} is trouble, and a model without the set takes its noise for an effect. "
            f"Right: sampled once in {tr_s:g} s, pulse and breathing fold below {0.5 / tr_s:.3f} Hz"
            + (f": {'; '.join(placed)}. " if placed else ". ")
            + (
                f"The task repeats at {task_hz:.4f} Hz (solid; dashed: its harmonics). Bars over the first lines mean that "
                "physiology looks like the task; grey: removed with the drifts."
                if task_hz > 0
                else "The task has no repetition rate. Grey: removed with the drifts."
            )
        ),
        alt=f"Bars of R² on the task: {'; '.join(said)}; and a frequency axis with aliased rates: {'; '.join(placed)}.",
        frames=(fig.Frame("Task", svg),),
    )


def shared_signal_figure(found: SharedSignal, *, axis: str = "j") -> fig.Figure:
    """Correlation of slices that were excited together, against pairs that were not, over shifts along phase encoding.

    Parameters
    ----------
    found : SharedSignal
        From `cospine.signal.simultaneous.shared_signal`.
    axis : str
        Letter of the phase-encoding axis.
    """
    with fig.canvas(fig.WIDTH_IN, 3.3) as drawing:
        axes = fig.place(drawing, 0.85, 0.45, 8.0, 2.25)
        axes.axhline(0.0, color="#aab3bf", linewidth=0.7)
        for label, values, colour in (
            ("one slice beside, at another time", found.neighbouring, fig.BEFORE),
            ("excited together", found.simultaneous, fig.WARN),
        ):
            axes.plot(found.lags, values, color=colour, label=label)
        place = (float(found.lag), found.r_simultaneous)
        axes.plot([place[0]], [place[1]], marker="o", markersize=4.5, color=fig.WARN)
        axes.annotate(f"r {_r(found.r_simultaneous)}", place, (6, 4), textcoords="offset points", size=8, color=fig.WARN,
                      weight="bold")  # fmt: skip
        axes.set(xlabel=f"shift of the partner along {axis} (voxels)", ylabel="correlation over time",
                 title="Voxels of two slices, one above the other")  # fmt: skip
        axes.margins(y=0.14)
        axes.grid(axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), fontsize=8)
        svg = small_svg(drawing)
    text = (
        f"at a shift of {fig.signed(found.lag)} voxels {len(found.pairs)} simultaneous pairs correlate with "
        f"r {_r(found.r_simultaneous)}, neighbouring pairs with {_r(found.r_neighbouring)} (p {_p(found.p)}, all shifts tried "
        "being paid for)"
    )
    means = ""
    if np.isfinite([found.slice_mean_simultaneous, found.slice_mean_neighbouring]).all():
        means = (
            f" Mean signals of whole slices correlate with r {_r(found.slice_mean_simultaneous)} and "
            f"{_r(found.slice_mean_neighbouring)}."
        )
    return fig.Figure(
        title="Signal that simultaneous slices share",
        caption=(
            "Each brain slice was excited together with one in the neck. Where their separation is not perfect a voxel shows a "
            "little of the voxel that was folded onto it, and brain and cord seem coupled. Residual series of both slices are "
            "correlated voxel by voxel, with the partner shifted along phase encoding (the scanner shifts it too): a narrow "
            "peak that pairs excited at another time do not have is leakage; a level that both share is not. "
            f"{text[:1].upper()}{text[1:]}.{means} Coupling between brain and cord should be given with and without simultaneous "
            "pairs."
        ),
        alt=f"Curves of correlation against shift: {text}.",
        frames=(fig.Frame("Simultaneous slices", svg),),
    )


def _r(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 0.001 else "< 0.001"


def _set_bars(axes: "Axes", shared: Mapping[str, SharedWithTask]) -> None:
    """Median over slices as bars, range as lines, chance as ticks."""
    furthest = max(8.0, *(100 * float(np.nanmax(one.r2)) for one in shared.values()))
    for row, (name, one) in enumerate(shared.items()):
        of = one.summary()
        axes.barh(row, 100 * of["r2_median"], height=0.6, color=SET_COLOURS.get(name, fig.MUTED), alpha=0.85, linewidth=0)
        axes.plot([100 * np.nanmin(one.r2), 100 * of["r2_worst"]], [row, row], color=fig.INK, linewidth=0.9)
        axes.plot([100 * of["null_r2"]] * 2, [row - 0.42, row + 0.42], color=fig.INK, linewidth=1.4)
        axes.text(1.02, row, f"VIF {of['vif_median']:.2f}", transform=axes.get_yaxis_transform(), va="center", size=8,
                  color=fig.WARN if of["vif_median"] > INFLATED else fig.MUTED)  # fmt: skip
    axes.set_yticks(range(len(shared)), [set_words(name) for name in shared])
    axes.set(xlim=(0, 1.05 * furthest), ylim=(len(shared) - 0.4, -0.6), xlabel="% of the task's regressor")
    axes.set_title("R² on the task", pad=16)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _frequencies(
    axes: "Axes", rates_hz: Mapping[str, NDArray[np.float64]], tr_s: float, task_hz: float, highpass_hz: float
) -> None:  # fmt: skip
    """Aliased rates as histograms, the task's harmonics as lines."""
    nyquist = 0.5 / tr_s
    bins = np.linspace(0, nyquist, _BINS + 1)
    axes.axvspan(0, highpass_hz, color="#c9d0d9", alpha=0.6, linewidth=0)
    tallest = 1.0
    for position, (name, values) in enumerate(rates_hz.items()):
        count, _ = np.histogram(aliased_frequency(values, tr_s), bins)
        share = 100 * count / max(values.size, 1)
        tallest = max(tallest, float(share.max()))
        colour = SET_COLOURS.get(name, fig.MUTED)
        axes.fill_between(np.repeat(bins, 2)[1:-1], 0, np.repeat(share, 2), color=colour, alpha=0.45, linewidth=0)
        axes.text(1.0 - 0.27 * position, 1.06, f"{name}, {np.median(values):.3f} Hz", transform=axes.transAxes, ha="right",
                  size=8, color=colour, weight="bold")  # fmt: skip
    harmonics = np.arange(1, int(nyquist / task_hz) + 1) * task_hz if task_hz > 0 else np.empty(0)
    for order, place in enumerate(harmonics[:6], start=1):
        axes.axvline(place, color=_TASK, linewidth=1.6 if order == 1 else 0.7, linestyle="-" if order == 1 else (0, (4, 3)))
    if harmonics.size:
        axes.annotate("task", (task_hz, 1), (0, 3), axes.get_xaxis_transform(), "offset points", ha="center", size=8, color=_TASK,
                      weight="bold")  # fmt: skip
    axes.set(
        xlim=(0, nyquist), ylim=(0, 1.25 * tallest), xlabel="frequency after sampling once a TR (Hz)", ylabel="% of intervals"
    )
    axes.set_title("Aliased pulse and breathing", pad=16)
