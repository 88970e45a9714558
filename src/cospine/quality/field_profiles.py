"""Displacement of the cord along its height: by the static field before and after, and by breathing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality.field_metrics import MENDABLE_MM

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_IN = 4.6
_TOP_IN = 0.4


def cord_profile(
    slices_z_mm: ArrayLike,
    before_mm: ArrayLike,
    after_mm: ArrayLike | None = None,
    *,
    cutoff_z_mm: float | None = None,
    levels: Mapping[str, float] | None = None,
    limit_mm: float = MENDABLE_MM,
    toward: str = "",
) -> fig.Figure:
    """Displacement of the cord along z: what was corrected, and what remains by an independent estimate.

    Parameters
    ----------
    slices_z_mm : (slices,) array
        World height of the cord in each slice, RAS mm, in any order.
    before_mm : (slices,) array
        Displacement of the cord in the distorted image, mm.
    after_mm : (slices,) array, optional
        What remains after correction, against an estimate that the correction did not use, mm.
    cutoff_z_mm : float, optional
        Height of the first slice, going down, that cannot be mended.
    levels : mapping of name to float, optional
        Heights (mm) of landmarks to name at the right, for instance vertebrae.
    limit_mm : float
        Displacement that counts as beyond mending, mm.
    toward : str
        End to which positive displacement goes, for instance "anterior".

    Raises
    ------
    CoSpineError
        When there is no slice.
    """
    z_mm, before, order = _by_height(slices_z_mm, before_mm)
    after = None if after_mm is None else np.asarray(after_mm, dtype=np.float64)[order]
    with fig.canvas(8.6 if after is not None else 5.6, _TOP_IN + _HEIGHT_IN + 0.6) as drawing:
        axes = fig.place(drawing, 0.75, _TOP_IN, 3.9, _HEIGHT_IN)
        panels = [axes]
        reach = 1.12 * max(float(np.nanmax(np.abs(before))), 1.0)
        low = min(0.0, 1.12 * float(np.nanmin(before)), -0.15 * reach)
        high = max(0.0, 1.12 * float(np.nanmax(before)), 0.15 * reach)
        for edge in (-limit_mm, limit_mm):
            if low < edge < high:
                axes.axvline(edge, color=fig.WARN, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.plot(before, z_mm, color=fig.BEFORE, marker="o", markersize=2.6, label="before")
        if after is not None:
            axes.plot(after, z_mm, color=fig.CORD, marker="o", markersize=2.6, label="after")
            axes.legend(loc="best", fontsize=8)
        axes.set(xlim=(low, high), ylabel="z (mm)", xlabel=f"mm{f', + = {toward}' if toward else ''}",
                 title="Displacement of the cord")  # fmt: skip
        if after is not None:
            close = fig.place(drawing, 5.25, _TOP_IN, 2.4, _HEIGHT_IN)
            panels.append(close)
            close.plot(after, z_mm, color=fig.CORD, marker="o", markersize=2.6)
            near = after if cutoff_z_mm is None else after[z_mm > cutoff_z_mm]
            width = 1.15 * max(float(np.nanmax(np.abs(near))) if near.size else 0.0, 0.25)
            close.set(xlim=(-width, width), xlabel="mm", title="What remains, closer")
            close.tick_params(labelleft=False)
        for axes in panels:
            _height_axis(axes, z_mm, cutoff_z_mm)
        _name_levels(panels[-1], levels or {}, z_mm)
        if cutoff_z_mm is not None:
            panels[-1].annotate("beyond mending", (1, cutoff_z_mm + _step(z_mm) / 2), (-6, -4),
                                panels[-1].get_yaxis_transform(), "offset points", ha="right", va="top", color=fig.WARN,
                                size=8)  # fmt: skip
        svg = fig.svg_of(drawing)
    kept = np.ones(z_mm.size, dtype=bool) if cutoff_z_mm is None else z_mm > cutoff_z_mm
    part = "" if cutoff_z_mm is None else " above the cut-off"
    said = f"{_mean_size(before[kept]):.2f} mm on average{part} before"
    if after is not None:
        said += f", {_mean_size(after[kept]):.2f} mm after"
    below = "" if cutoff_z_mm is None else (
        f" Shaded: from z {fig.signed(cutoff_z_mm)} mm down the cord is displaced by more than {limit_mm:g} mm, or piled "
        "up so much that no correction can mend it: leave those slices out."
    )  # fmt: skip
    remains = " What remains is measured against an estimate that the correction did not use." if after is not None else ""
    return fig.Figure(
        title="Displacement along the cord",
        caption=(
            f"Displacement of the cord by the field, slice by slice: {said} (mean size).{remains} The ripple "
            f"follows discs and vertebrae; toward the lungs the field grows steeply.{below}"
        ),
        alt=f"Profile of cord displacement along z: {said}.",
        frames=(fig.Frame("Displacement", svg),),
    )


def breathing_profile(
    slices_z_mm: ArrayLike, amplitude_mm: ArrayLike, r_squared: ArrayLike, null_r_squared: ArrayLike
) -> fig.Figure:
    """Apparent shift of the cord with breathing, slice by slice, and how much of the motion it explains.

    Parameters
    ----------
    slices_z_mm : (slices,) array
        World height of the cord in each slice, RAS mm, in any order.
    amplitude_mm : (slices,) array
        Apparent A-P shift that goes with breathing, peak to peak, mm.
    r_squared : (slices,) array
        Share of the shift's variance that breathing explains.
    null_r_squared : float or (slices,) array
        The share that as many random regressors would explain.

    Raises
    ------
    CoSpineError
        When there is no slice.
    """
    z_mm, amplitude, order = _by_height(slices_z_mm, amplitude_mm)
    share = np.asarray(r_squared, dtype=np.float64)[order]
    null = np.broadcast_to(np.asarray(null_r_squared, dtype=np.float64), order.shape)[order]
    locked = share > null
    with fig.canvas(8.1, _TOP_IN + _HEIGHT_IN + 0.6) as drawing:
        axes = fig.place(drawing, 0.75, _TOP_IN, 3.3, _HEIGHT_IN)
        axes.plot(amplitude, z_mm, color=fig.CORD)
        for kind, face in ((locked, fig.CORD), (~locked, "white")):
            axes.plot(amplitude[kind], z_mm[kind], linestyle="none", marker="o", markersize=3.2, color=fig.CORD,
                      markerfacecolor=face, markeredgewidth=0.8)  # fmt: skip
        axes.set(xlim=(0, 1.12 * max(float(np.nanmax(amplitude)), 0.1)), xlabel="mm, peak to peak", ylabel="z (mm)",
                 title="Apparent A–P shift with breathing")  # fmt: skip
        other = fig.place(drawing, 4.55, _TOP_IN, 3.3, _HEIGHT_IN)
        other.fill_betweenx(z_mm, 0, 100 * null, color=fig.BEFORE, alpha=0.22, linewidth=0, label="by chance")
        other.plot(100 * share, z_mm, color=fig.CORD, marker="o", markersize=2.6, label="breathing")
        other.set(xlim=(0, 1.12 * max(float(np.nanmax(100 * np.maximum(share, null))), 5.0)), xlabel="% of variance",
                  title="Variance explained")  # fmt: skip
        other.tick_params(labelleft=False)
        other.legend(loc="upper right", fontsize=8)
        for panel in (axes, other):
            _height_axis(panel, z_mm, None)
        svg = fig.svg_of(drawing)
    strongest = int(np.nanargmax(amplitude))
    return fig.Figure(
        title="Breathing's shift of the cord",
        caption=(
            "Breathing changes the field of the neck, and so moves the cord in the image; tissue moves a little too, and the two "
            f"cannot be told apart here. Largest at z {fig.signed(z_mm[strongest])} mm with "
            f"{amplitude[strongest]:.2f} mm peak to peak; median {np.nanmedian(amplitude):.2f} mm. Breathing explains more "
            f"than as many random regressors would (grey) in {int(locked.sum())} of {z_mm.size} slices; open circles mark "
            "the others. It is not corrected by the static field: slice-wise motion follows it, the physiological model "
            "takes the rest. Expect it to grow downward."
        ),
        alt=f"Profiles along z of the cord's shift with breathing, at most {amplitude[strongest]:.2f} mm, and of its variance.",
        frames=(fig.Frame("Breathing", svg),),
    )


def _by_height(z_mm: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Heights from below, values in that order, and the order."""
    heights = np.asarray(z_mm, dtype=np.float64)
    if heights.size == 0 or not np.isfinite(np.asarray(values, dtype=np.float64)).any():
        raise CoSpineError("no slice of the cord has a value", "slices_z_mm", "Leave this figure out where there is no cord.")
    order = np.argsort(heights, kind="stable")
    return heights[order], np.asarray(values, dtype=np.float64)[order], order


def _mean_size(values: NDArray[np.float64]) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.mean()) if finite.size else float("nan")


def _step(z_mm: NDArray[np.float64]) -> float:
    return float(np.median(np.diff(z_mm))) if z_mm.size > 1 else 0.0


def _height_axis(axes: "Axes", z_mm: NDArray[np.float64], cutoff_z_mm: float | None) -> None:
    axes.axvline(0.0, color="#aab3bf", linewidth=0.7, zorder=0)
    axes.set_ylim(z_mm[0] - 2, z_mm[-1] + 2)
    axes.grid(axis="both")
    if cutoff_z_mm is not None:
        edge = cutoff_z_mm + _step(z_mm) / 2
        axes.axhspan(z_mm[0] - 2, edge, color=fig.WARN, alpha=0.09, linewidth=0, zorder=0)
        axes.axhline(edge, color=fig.WARN, linewidth=0.9)


def _name_levels(axes: "Axes", levels: Mapping[str, float], z_mm: NDArray[np.float64]) -> None:
    for name, height in levels.items():
        if z_mm[0] - 2 <= height <= z_mm[-1] + 2:
            axes.text(1.02, height, name, transform=axes.get_yaxis_transform(), va="center", size=8, color=fig.MUTED)
