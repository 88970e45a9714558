"""The carpet: every voxel of brain and cord over time in grey, under the traces that explain it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality import sections as sec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 400
"""Rows of the carpet, shared among the regions."""

_LIMIT_SD = 2.0


def carpet(
    data: NDArray[np.floating],
    affine: NDArray[np.floating],
    regions: Mapping[str, NDArray[np.bool_]],
    tr_s: float,
    *,
    fd_mm: NDArray[np.floating] | None = None,
    std_dvars: NDArray[np.floating] | None = None,
    label: str = "corrected series",
) -> fig.Figure:
    """Grey plot of the series, voxels by region and from top to bottom, under FD and DVARS (Power 2017).

    Parameters
    ----------
    data : (x, y, z, t) array, t >= 3
    affine : (4, 4) array
        Voxel to world, RAS mm.
    regions : mapping of name to (x, y, z) bool array
        In the order of the plot, usually brain, then cord.
    tr_s : float
        Time between volumes, s.
    fd_mm, std_dvars : (t,) array, optional
        Drawn above; the first value may be NaN.
    label : str
        Which series this is, for the title.

    Raises
    ------
    CoSpineError
        When no region has a voxel that varies.

    References
    ----------
    Power JD (2017) A simple but useful way to assess fMRI scan qualities. NeuroImage 154:150-158.
    """
    blocks = _blocks(data, affine, regions)
    time_s = np.arange(data.shape[3]) * tr_s
    traces = [
        (name, np.asarray(values, dtype=np.float64), unit, colour)
        for name, values, unit, colour in (
            ("FD", fd_mm, "mm", fig.BRAIN),
            ("std. DVARS", std_dvars, "", fig.MUTED),
        )
        if values is not None
    ]
    left, right = 0.75, 0.95
    width = fig.WIDTH_IN - left - right
    top = 0.12
    with fig.canvas(fig.WIDTH_IN, top + 0.72 * len(traces) + 4.75) as drawing:
        for name, values, unit, colour in traces:
            axes = fig.place(drawing, left, top, width, 0.55)
            _trace(axes, time_s, tr_s, values, colour)
            axes.text(1.008, 0.5, f"{name}\n({unit})" if unit else name, transform=axes.transAxes, va="center", size=8,
                      weight="bold", color=colour)  # fmt: skip
            top += 0.72
        height = 4.2
        rows = sum(len(block) for block in blocks.values())
        gaps = 0.05 * (len(blocks) - 1)
        for position, (name, block) in enumerate(blocks.items()):
            part = (height - gaps) * len(block) / rows
            axes = fig.place(drawing, left, top, width, part)
            _block(axes, block, time_s, tr_s, last=position == len(blocks) - 1)
            stripe = fig.place(drawing, left - 0.16, top, 0.09, part)
            stripe.set_facecolor(fig.region_colour(name, position))
            stripe.set(xticks=[], yticks=[])
            stripe.spines[:].set_visible(False)
            axes.text(-0.024, 0.5, name, transform=axes.transAxes, rotation=90, va="center", ha="right", size=8.5,
                      weight="bold", color=fig.region_colour(name, position))  # fmt: skip
            top += part + 0.05
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title=f"Carpet plot, {label}",
        caption=(
            "Each row is a voxel, each column a volume; detrended, in units of the voxel's own SD, black −2, white +2. "
            "Rows run from superior to inferior inside each region ("
            + ", ".join(f"{name}: {len(block)} of {int(np.sum(regions[name]))} voxels" for name, block in blocks.items())
            + "). Vertical bands across all rows under a peak of FD are motion; bands without one are scanner or "
            "breathing; bands that start only in the cord are the neck. After a good correction the carpet is even."
        ),
        alt=f"Grey plot of {rows} voxels by {len(time_s)} volumes, by region, with framewise displacement and DVARS.",
        frames=(fig.Frame("Carpet", svg),),
    )


def _blocks(
    data: NDArray[np.floating], affine: NDArray[np.floating], regions: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.float64]]:
    """Standardised series of evenly chosen voxels of each region, from the top down.

    The cord has a hundredth of the brain's voxels: each region gets rows by the root of its size, at least a third.
    """
    filled = {name: np.asarray(mask, dtype=bool) for name, mask in regions.items() if np.any(mask)}
    weights = {name: np.sqrt(mask.sum()) for name, mask in filled.items()}
    total = sum(weights.values())
    blocks = {}
    up = sec.view_of(affine, data.shape).stored_affine[2, :3]
    for name, mask in filled.items():
        rows = round(ROWS * max(weights[name] / total, 1 / 3 if len(filled) < 4 else 0.1))
        voxels = np.argwhere(mask)
        voxels = voxels[np.argsort(-(voxels @ up), kind="stable")]
        chosen = voxels[np.unique(np.linspace(0, len(voxels) - 1, min(rows, len(voxels))).round().astype(int))]
        series = data[chosen[:, 0], chosen[:, 1], chosen[:, 2]].astype(np.float64)
        block = _standardised(series)
        if len(block):
            blocks[name] = block
    if not blocks:
        raise CoSpineError("no region has a voxel that varies", "regions", "Check the masks and the series.")
    return blocks


def _standardised(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without mean and linear trend, in units of the SD; voxels that do not vary are left out."""
    time = np.linspace(-1, 1, series.shape[1])
    centred = series - series.mean(axis=1, keepdims=True)
    flat = centred - np.outer(centred @ time / (time @ time), time)
    sd = flat.std(axis=1, ddof=1)
    varies = sd > 1e-6 * np.maximum(np.abs(series).mean(axis=1), 1e-12)
    return flat[varies] / sd[varies, None]


def _trace(axes: "Axes", time_s: NDArray[np.floating], tr_s: float, values: NDArray[np.float64], colour: str) -> None:
    axes.fill_between(time_s, 0, values, color=colour, alpha=0.15, linewidth=0)
    axes.plot(time_s, values, color=colour)
    axes.set(xlim=(-tr_s / 2, time_s[-1] + tr_s / 2), ylim=(0, 1.1 * max(float(np.nan_to_num(values).max()), 1e-3)))
    axes.locator_params(axis="y", nbins=3)
    axes.tick_params(labelbottom=False)
    axes.grid(axis="y")


def _block(axes: "Axes", block: NDArray[np.float64], time_s: NDArray[np.floating], tr_s: float, *, last: bool) -> None:
    axes.imshow(
        fig.grey(block, (-_LIMIT_SD, _LIMIT_SD)), cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto",
        extent=(-tr_s / 2, time_s[-1] + tr_s / 2, len(block), 0),
    )  # fmt: skip
    settings: dict[str, Any] = {"yticks": []}
    if last:
        settings["xlabel"] = "time (s)"
    else:
        settings["xticks"] = []
    axes.set(**settings)
    axes.spines[:].set_visible(False)
