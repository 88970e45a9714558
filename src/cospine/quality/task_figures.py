"""What the first level found: maps of each contrast over the run's mean image, the design, and the onset-lag scan."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cospine.quality import figure as fig
from cospine.quality import panels as pan
from cospine.quality.physio_figures import small_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]

_TILE_MM = 30.0
_FAINT, _SOLID, _FULL = 1.6, 3.1, 6.0  # |z| from which there is colour, from which it is opaque, and where the scale ends


def contrast_maps(
    z: Mapping[str, Volume],
    mean: Volume,
    affine: NDArray[np.floating],
    *,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
    title: str = "What the task did: z of each contrast",
) -> fig.Figure:
    """z of every contrast over the mean image, natively and unsmoothed, one contrast at a time.

    Parameters
    ----------
    z : mapping of str to (x, y, z) array
        By contrast; NaN outside of what was modelled.
    mean : (x, y, z) array
        Temporal mean of the corrected series.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them.
    title : str

    Raises
    ------
    CoSpineError
        When there is no mask with voxels.
    """
    sheet = pan.sheet_of(mean.shape, affine, brain_mask=brain_mask, cord_mask=cord_mask, tile_mm=_TILE_MM, room_in=0.8)
    greys = pan.shades(sheet, mean)
    frames = []
    for name, values in z.items():
        turned = sheet.view.turned(np.nan_to_num(values).astype(np.float32))
        colours = [
            _over(under, pan.sampled(sheet, panel, turned, order=0)) for panel, under in zip(sheet.panels, greys, strict=True)
        ]
        with fig.canvas(*sheet.size_in) as drawing:
            pan.draw_all(drawing, sheet, colours, name, outline="white")
            scale_of_z(fig.place(drawing, sheet.size_in[0] - 0.62, pan.TOP_IN + 0.25, 0.13, 2.6))
            frames.append(fig.Frame(name, small_svg(drawing)))
    return fig.Figure(
        title=title,
        caption=(
            "Each voxel by itself, unsmoothed, on the grid of the run; every slice with the design of its own times, physiology "
            f"and motion inside the model. Red is more, blue less; colour begins at |z| = {_FAINT:g}, is solid from {_SOLID:g} "
            "(p = 0.001, one side, not corrected for the number of voxels: of 100 000 voxels without any effect a hundred are "
            "solid in red). One person's cord rarely shows more than speckle: horns are two voxels wide. "
            f"White outlines: {sheet.words.replace(' (blue)', '').replace(' (orange)', '')}."
        ),
        alt=f"Maps of z for {', '.join(z)} over the mean image.",
        frames=tuple(frames),
    )


def _over(shades: NDArray[np.uint8], z: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours of z over grey."""
    weight = np.clip((np.abs(z) - _FAINT) / (_SOLID - _FAINT), 0, 1)[..., None]
    under = np.repeat(shades[..., None].astype(np.float64), 3, axis=-1) * 0.8
    return (weight * colours_of_z(z) + (1 - weight) * under).round().astype(np.uint8)


def colours_of_z(z: NDArray[np.floating]) -> NDArray[np.float64]:
    """Colours (.., 3), 0..255: yellow over red above 0, cyan over blue below, saturated at |z| = 6."""
    strength = np.clip(np.abs(z) / _FULL, 0, 1)
    warm = np.stack([np.clip(0.45 + 1.1 * strength, 0, 1), np.clip(1.7 * strength - 0.6, 0, 1), 0.05 + 0 * strength], axis=-1)
    return 255 * np.where((z > 0)[..., None], warm, warm[..., ::-1])


def scale_of_z(axes: "Axes") -> None:
    """Colour bar of z."""
    values = np.linspace(_FULL, -_FULL, 257)[:, None]
    picture = _over(np.full(values.shape, 110, np.uint8), values.astype(np.float32))
    axes.imshow(picture, aspect="auto", interpolation="none", extent=(0, 1, -_FULL, _FULL))
    axes.set(xticks=[], yticks=[-6, -3.1, 0, 3.1, 6])
    axes.set_yticklabels(["−6", "−3.1", "0", "3.1", "6"])
    axes.yaxis.tick_right()
    axes.spines[:].set_visible(False)
    axes.set_title("z", loc="left", fontweight="normal", fontsize=8, color=fig.MUTED)


def design_figure(
    columns: NDArray[np.floating], names: Sequence[str], tr_s: float, slices: tuple[int, int], nuisance: int
) -> fig.Figure:
    """The task's columns over time, in the slices that are acquired first and last.

    Parameters
    ----------
    columns : (2, t, n) array
        Of the two slices.
    names : sequence of str
        One a column.
    tr_s : float
        Time between volumes.
    slices : (first, last)
        Their numbers in the stored file, 0-based.
    nuisance : int
        Columns beside them (drift, motion, physiology).
    """
    height = 0.65 + 0.75 * len(names)
    times = np.arange(columns.shape[1]) * tr_s
    with fig.canvas(fig.WIDTH_IN, height) as drawing:
        for row, name in enumerate(names):
            axes = fig.place(drawing, 1.7, 0.2 + 0.75 * row, fig.WIDTH_IN - 2.0, 0.62)
            for which, (colour, label) in enumerate(
                ((fig.BRAIN, f"slice {slices[0]} (first)"), (fig.CORD, f"slice {slices[1]} (last)"))
            ):
                axes.plot(times, columns[which, :, row], color=colour, label=label if row == 0 else None, lw=1.0)
            axes.set(yticks=[], xlim=(0, times[-1]))
            axes.set_ylabel(name, rotation=0, ha="right", va="center", color=fig.INK)
            if row < len(names) - 1:
                axes.set_xticklabels([])
            else:
                axes.set_xlabel("s from the first volume")
            if row == 0:
                axes.legend(loc="upper right", ncols=2, fontsize=7.5, bbox_to_anchor=(1, 1.35))
        frame = fig.Frame("design", small_svg(drawing))
    return fig.Figure(
        title="The design, as the first and the last slice of a volume see it",
        caption=(
            "Regressors of the task at the moment each slice was acquired: within a volume slices lie up to one TR apart, so "
            f"each has a design of its own. A constant and {nuisance} further columns stand beside them in every slice: drift, "
            "motion and physiology."
        ),
        alt=f"Regressors {', '.join(names)} over time for two slices.",
        frames=(frame,),
    )


def lag_figure(lags_s: NDArray[np.floating], t: Mapping[str, NDArray[np.floating]], condition: str) -> fig.Figure:
    """How well the task fits when its onsets are moved.

    Parameters
    ----------
    lags_s : (n,) array
        What is added to every onset, s.
    t : mapping of str to (n,) array
        t of the region's mean signal at each lag.
    condition : str
        Which one is moved.
    """
    with fig.canvas(6.2, 2.75) as drawing:
        axes = fig.place(drawing, 0.7, 0.3, 3.9, 1.9)
        for position, (name, values) in enumerate(t.items()):
            axes.plot(lags_s, values, color=fig.region_colour(name, position), label=name)
            best = int(np.nanargmax(values)) if np.isfinite(values).any() else 0
            axes.plot(lags_s[best], values[best], "o", ms=4, color=fig.region_colour(name, position))
        axes.axvline(0, color=fig.RULE, lw=0.8)
        axes.axhline(0, color=fig.RULE, lw=0.8)
        axes.set(xlabel="onsets moved by, s", ylabel="t", xlim=(lags_s[0], lags_s[-1]))
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=7.5)
        frame = fig.Frame("lag", small_svg(drawing))
    return fig.Figure(
        title="Is onset 0 the first stored volume?",
        caption=(
            f"t of {condition} on the mean signal of regions that should respond, with all onsets moved together. The best lag "
            "should lie within some seconds of 0 (the response need not be the model's); a clear maximum at minus or plus 16 s "
            "says that volumes the scanner threw away were counted, or not counted, by the stimulation. Peaks an interval of the "
            "task away from 0 are the periodicity of the design."
        ),
        alt=f"t of {condition} against a shift of its onsets.",
        frames=(frame,),
    )
