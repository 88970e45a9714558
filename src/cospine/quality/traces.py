"""Motion over time: the head as traces, the cord as slice by time maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cospine.quality import figure as fig
from cospine.quality import metrics
from cospine.quality import sections as sec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FD_THRESHOLD_MM = 0.5
"""Framewise displacement above which a volume is marked, mm (Power et al. 2012)."""

Event = tuple[float, float, str]
"""Onset (s), duration (s) and name of one trial."""

_LEFT_IN, _RIGHT_IN = 0.75, 1.25


def head_motion(
    motion: NDArray[np.floating],
    tr_s: float,
    *,
    fd_mm: NDArray[np.floating] | None = None,
    threshold_mm: float = FD_THRESHOLD_MM,
    outliers: NDArray[np.bool_] | None = None,
    events: Sequence[Event] = (),
) -> fig.Figure:
    """Translations, rotations and framewise displacement of the head.

    Parameters
    ----------
    motion : (t, 6) array
        Translations in mm and rotations in rad, from the reference.
    tr_s : float
        Time between volumes, s.
    fd_mm : (t,) array, optional
        Framewise displacement; computed from `motion` when not given.
    threshold_mm : float
        Volumes above it are marked.
    outliers : (t,) bool array, optional
        Volumes marked besides (non-steady state, salvaged end).
    events : sequence of (onset s, duration s, name)
        Drawn as a strip on top.
    """
    pose = np.asarray(motion, dtype=np.float64)
    displacement = metrics.framewise_displacement(pose) if fd_mm is None else np.asarray(fd_mm, dtype=np.float64)
    time_s = np.arange(len(pose)) * tr_s
    high = displacement > threshold_mm
    marked = high if outliers is None else high | np.asarray(outliers, dtype=bool)
    moved = displacement[np.isfinite(displacement)]
    mean_mm, max_mm = (float(moved.mean()), float(moved.max())) if moved.size else (0.0, 0.0)
    with fig.canvas(fig.WIDTH_IN, 5.1) as drawing:
        width = fig.WIDTH_IN - _LEFT_IN - _RIGHT_IN
        panels = [fig.place(drawing, _LEFT_IN, top, width, height) for top, height in _HEAD_PANELS]
        for axes in panels:
            _time_axis(axes, time_s, tr_s, last=axes is panels[-1])
            _mark_volumes(axes, time_s[marked], tr_s)
        names = ("x  left–right", "y  back–front", "z  down–up")
        _labelled_lines(panels[0], time_s, pose[:, :3], names)
        panels[0].set(ylabel="mm", title="Translation")
        _labelled_lines(panels[1], time_s, np.rad2deg(pose[:, 3:]), ("about x  (nod)", "about y  (tilt)", "about z  (turn)"))
        panels[1].set(ylabel="degrees", title="Rotation")
        _displacement_panel(panels[2], time_s, displacement, threshold_mm, fig.BRAIN)
        panels[2].set_title("Framewise displacement")
        event_strip(panels[0], events)
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title="Head motion",
        caption=(
            f"Pose of the head against the reference at every volume, and how far it moved from the volume before "
            f"(FD after Power, 50 mm sphere): mean {mean_mm:.2f} mm, largest {max_mm:.2f} mm, {int(high.sum())} of "
            f"{len(pose)} volumes above {threshold_mm:g} mm. Grey bands mark those volumes"
            + (" and volumes flagged for other reasons" if outliers is not None and np.any(outliers) else "")
            + ". Translations are of the middle of the grid; positive is right, anterior, superior. Slow lines are "
            "drift, steps are jumps, a fine ripple is breathing."
        ),
        alt=f"Traces of head translation, rotation and framewise displacement over {time_s[-1] + tr_s:.0f} seconds.",
        frames=(fig.Frame("Head motion", svg),),
    )


def cord_motion(
    shift_mm: NDArray[np.floating],
    slices: NDArray[np.integer],
    affine: NDArray[np.floating],
    shape: tuple[int, ...],
    tr_s: float,
    *,
    slice_axis: int = 2,
    events: Sequence[Event] = (),
) -> fig.Figure:
    """In-plane shifts of the cord, slice by time, and framewise displacement of the cord.

    Parameters
    ----------
    shift_mm : (t, slices, 2) array
        Apparent shift along the first and second in-plane voxel axis, mm, positive toward the higher index.
    slices : (slices,) int array
        Stored slice index of each column of `shift_mm`.
    affine : (4, 4) array
        Voxel to world of the stored grid, RAS mm.
    shape : at least 3 ints
        Shape of the stored grid.
    tr_s : float
        Time between volumes, s.
    slice_axis : int
        Stored axis along which slices were acquired.
    events : sequence of (onset s, duration s, name)
    """
    shift = np.asarray(shift_mm, dtype=np.float64)
    time_s = np.arange(shift.shape[0]) * tr_s
    z_mm = _slice_heights(np.asarray(slices), np.asarray(affine, dtype=np.float64), shape, slice_axis)
    order = np.argsort(-z_mm)
    in_plane = [axis for axis in range(3) if axis != slice_axis]
    limit = max(float(np.nanpercentile(np.abs(shift), 99.0)), 0.05)
    fd = metrics.cord_framewise_displacement(shift)
    residual = shift - np.median(shift, axis=0)
    rms = np.sqrt((residual**2).mean(axis=0))
    with fig.canvas(fig.WIDTH_IN, 6.9) as drawing:
        width = fig.WIDTH_IN - _LEFT_IN - 2.35
        for row, axis in enumerate(in_plane):
            name, end, sign = sec.anatomical_direction(affine, axis)
            top = 0.45 + row * 2.55
            axes = fig.place(drawing, _LEFT_IN, top, width, 2.1)
            picture = _heat_map(axes, sign * shift[:, order, row].T, time_s, tr_s, limit)
            axes.set_title(f"Along {name}, + = {end}")
            _height_ticks(axes, z_mm[order], np.asarray(slices)[order], "ijk"[slice_axis])
            axes.tick_params(labelbottom=False)
            _rms_panel(fig.place(drawing, _LEFT_IN + width + 0.12, top, 1.0, 2.1), rms[order, row], rms.max())
            if row == 0:
                event_strip(axes, events)
                bar = fig.place(drawing, fig.WIDTH_IN - 0.75, top, 0.11, 2.1)
                drawing.colorbar(picture, cax=bar, extend="both")
                bar.set_title("mm", loc="left", fontweight="normal", fontsize=8, color=fig.MUTED)
                bar.spines[:].set_visible(False)
        axes = fig.place(drawing, _LEFT_IN, 5.55, width, 0.85)
        _time_axis(axes, time_s, tr_s, last=True)
        _banded_line(axes, time_s, fd)
        axes.set(ylabel="mm", title="Framewise displacement of the cord: median of the slices, band 5–95 %")
        svg = fig.svg_of(drawing)
    moved = fd[1:]
    typical = float(np.median(moved)) if moved.size else 0.0
    return fig.Figure(
        title="Cord motion, slice by slice",
        caption=(
            "Apparent in-plane shift of the cord in the distorted image against the reference, head motion and "
            "breathing's change of the field included. Rows are slices from top to bottom, columns are volumes; red is "
            "toward the named end, blue away from it; the colours end at the 99th percentile. A fine vertical "
            "pattern that grows downward is breathing (where neighbouring slices are acquired at different times it shows as "
            "stripes), a block over some slices for one or two volumes is a swallow, a lasting change is the head or "
            "the neck. At the right the RMS of each slice about its median. "
            f"Median cord FD {typical:.2f} mm; RMS over all slices {np.sqrt((residual[..., 0] ** 2).mean()):.2f} mm "
            f"along {sec.anatomical_direction(affine, in_plane[0])[0]} and "
            f"{np.sqrt((residual[..., 1] ** 2).mean()):.2f} mm along {sec.anatomical_direction(affine, in_plane[1])[0]}."
        ),
        alt=f"Two maps, {len(z_mm)} slices by {len(time_s)} volumes, of cord shift in mm, with the RMS of each slice.",
        frames=(fig.Frame("Cord motion", svg),),
    )


_HEAD_PANELS = ((0.45, 1.25), (2.15, 1.25), (3.85, 0.8))


def _time_axis(axes: "Axes", time_s: NDArray[np.floating], tr_s: float, *, last: bool) -> None:
    axes.set_xlim(-tr_s / 2, time_s[-1] + tr_s / 2)
    axes.grid(axis="y")
    axes.tick_params(labelbottom=last)
    axes.yaxis.set_label_coords(-0.052, 0.5)
    if last:
        axes.set_xlabel("time (s)")


def _mark_volumes(axes: "Axes", times_s: NDArray[np.floating], tr_s: float) -> None:
    for time_s in times_s:
        axes.axvspan(time_s - tr_s / 2, time_s + tr_s / 2, color="#5d6876", alpha=0.16, linewidth=0, zorder=0)


def _labelled_lines(axes: "Axes", time_s: NDArray[np.floating], values: NDArray[np.float64], names: tuple[str, str, str]) -> None:
    """Three lines, each named at its end; names are pushed apart where lines meet."""
    spread = max(float(np.ptp(values)), 0.1)
    middle = float(values.max() + values.min()) / 2
    axes.set_ylim(middle - 0.62 * spread, middle + 0.62 * spread)
    axes.axhline(0.0, color="#aab3bf", linewidth=0.7)
    for column, colour in enumerate(fig.AXES_COLOURS):
        axes.plot(time_s, values[:, column], color=colour)
    gap = 0.17
    low, height = middle - 0.62 * spread, 1.24 * spread
    ends = (values[-1] - low) / height
    heights = np.empty(3)
    floor = -np.inf
    for column in np.argsort(ends, kind="stable"):
        heights[column] = floor = max(ends[column], floor + gap)
    heights -= max(0.0, heights.max() - 0.98)
    for column, name in enumerate(names):
        axes.text(
            1.008, heights[column], name, transform=axes.transAxes, va="center", size=8, weight="bold",
            color=fig.AXES_COLOURS[column],
        )  # fmt: skip


def _displacement_panel(
    axes: "Axes", time_s: NDArray[np.floating], fd_mm: NDArray[np.float64], threshold_mm: float, colour: str
) -> None:
    axes.fill_between(time_s, 0, fd_mm, color=colour, alpha=0.18, linewidth=0)
    axes.plot(time_s, fd_mm, color=colour)
    axes.axhline(threshold_mm, color=fig.WARN, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.text(1.008, threshold_mm, f"{threshold_mm:g} mm", transform=axes.get_yaxis_transform(), va="center",
              size=8, color=fig.WARN)  # fmt: skip
    axes.set(ylabel="mm", ylim=(0, max(1.15 * float(np.nan_to_num(fd_mm).max()), 1.3 * threshold_mm)))


def event_strip(axes: "Axes", events: Sequence[Event]) -> None:
    """Trials as bars just above the axes."""
    if not events:
        return
    kinds = list(dict.fromkeys(name for _, _, name in events))
    for onset_s, duration_s, name in events:
        axes.axvspan(
            onset_s, onset_s + max(duration_s, 0.5), ymin=1.025, ymax=1.07, clip_on=False, linewidth=0,
            color=fig.OTHER_COLOURS[kinds.index(name) % len(fig.OTHER_COLOURS)],
        )  # fmt: skip
    axes.set_title(axes.get_title(loc="left"), pad=14.0)
    for position, name in enumerate(reversed(kinds)):
        colour = fig.OTHER_COLOURS[kinds.index(name) % len(fig.OTHER_COLOURS)]
        axes.text(1.0 - 0.12 * position, 1.11, f"▬ {name}", transform=axes.transAxes, ha="right", size=8, color=colour)


def _slice_heights(
    slices: NDArray[np.integer], affine: NDArray[np.float64], shape: tuple[int, ...], slice_axis: int
) -> NDArray[np.float64]:
    """World z (mm) of the middle of each stored slice."""
    voxels = np.tile((np.asarray(shape[:3], dtype=np.float64) - 1) / 2, (len(slices), 1))
    voxels[:, slice_axis] = slices
    return voxels @ affine[2, :3] + affine[2, 3]


def _heat_map(axes: "Axes", values: NDArray[np.float64], time_s: NDArray[np.floating], tr_s: float, limit: float) -> Any:
    picture = axes.imshow(
        values, cmap=fig.DIVERGING, vmin=-limit, vmax=limit, interpolation="none", aspect="auto",
        extent=(-tr_s / 2, time_s[-1] + tr_s / 2, values.shape[0] - 0.5, -0.5),
    )  # fmt: skip
    axes.spines[:].set_visible(False)
    return picture


def _height_ticks(axes: "Axes", z_mm: NDArray[np.float64], slices: NDArray[np.integer], letter: str) -> None:
    every = max(1, round(len(z_mm) / 8))
    rows = np.arange(0, len(z_mm), every)
    axes.set_yticks(rows, [fig.signed(z_mm[row], plus=False) for row in rows])
    axes.set_ylabel(f"z (mm), slices {letter} {slices[0]}–{slices[-1]}")


def _rms_panel(axes: "Axes", rms_mm: NDArray[np.float64], largest_mm: float) -> None:
    rows = np.arange(len(rms_mm))
    axes.barh(rows, rms_mm, height=0.72, color=fig.CORD, linewidth=0)
    axes.set(ylim=(len(rms_mm) - 0.5, -0.5), xlim=(0, 1.1 * max(largest_mm, 1e-3)), yticks=[])
    axes.set_title("RMS (mm)", fontweight="normal", fontsize=8, color=fig.MUTED)
    axes.locator_params(axis="x", nbins=3)
    axes.grid(axis="x")


def _banded_line(axes: "Axes", time_s: NDArray[np.floating], fd: NDArray[np.float64]) -> None:
    low, middle, high = np.percentile(fd[1:], [5, 50, 95], axis=1)
    axes.fill_between(time_s[1:], low, high, color=fig.CORD, alpha=0.22, linewidth=0)
    axes.plot(time_s[1:], middle, color=fig.CORD)
    axes.set_ylim(0, 1.1 * max(float(high.max()), 0.05))
