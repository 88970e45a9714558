"""tSNR before and after correction: maps, distributions by region, and the profile along the cord; the flicker."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality import metrics
from cospine.quality import sections as sec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]

_TILES = 8
_TILE_MM = 40.0
_TILE_PIXELS = 110


def tsnr_maps(
    before: Volume,
    after: Volume,
    affine: NDArray[np.floating],
    *,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
) -> fig.Figure:
    """tSNR of the raw and of the corrected series in the same places on the same scale.

    Parameters
    ----------
    before, after : (x, y, z) array
        tSNR maps on one grid.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them.
    """
    view = sec.view_of(affine, before.shape)
    masks = {
        name: view.turned(np.asarray(mask, dtype=bool))
        for name, mask in (("brain", brain_mask), ("cord", cord_mask))
        if mask is not None and mask.any()
    }
    if not masks:
        raise CoSpineError("neither brain nor cord has a mask with voxels", "masks", "Give at least one mask.")
    has_cord = "cord" in masks
    maps = {"Before": view.turned(before), "After": view.turned(after)}
    anchor = masks["cord" if has_cord else "brain"]
    slices, _ = sec.cord_path(anchor)
    centres = sec.centre_line(anchor, straight=not has_cord)
    size_mm = view.spacing_mm * maps["Before"].shape
    # Tall strips stand side by side; where the field of view is a slab, one above the other, beside the tiles.
    stacked = has_cord and size_mm[2] < 0.8 * size_mm[1]
    scale = min((2.1 if stacked else 4.4) / size_mm[2], (4.6 if stacked else 2.9 if has_cord else 5.0) / size_mm[1])
    width, height = size_mm[1] * scale, size_mm[2] * scale
    step_x, step_y = (0.0, height + 0.45) if stacked else (width + 0.1, 0.0)
    shown = slices[np.unique(np.linspace(0, len(slices) - 1, min(_TILES, len(slices))).round().astype(int))]
    columns = len(shown) if len(shown) < 4 else -(-len(shown) // 2)
    rows = -(-len(shown) // columns)
    left = step_x + width + 0.95
    side = min((fig.WIDTH_IN - left - 0.6) / columns, 1.3 if rows == 1 else 1.05)
    tiles_height = 2 * rows * side + 0.45 if has_cord else 0.0
    full_width = left + columns * side + 0.6 if has_cord else left
    with fig.canvas(full_width, max(height + step_y, tiles_height) + 0.5) as drawing:
        limit = _upper(maps, masks.get("brain", masks.get("cord")))
        for position, (name, volume) in enumerate(maps.items()):
            axes = fig.place(drawing, 0.02 + position * step_x, 0.35 + position * step_y, width, height)
            picture = _picture(axes, sec.curved_sagittal(volume, centres), limit)
            axes.set_title(f"{name}, sagittal")
        _bar(drawing, picture, fig.place(drawing, 0.02 + step_x + width + 0.1, 0.45, 0.11, min(height - 0.1, 1.9)))
        if has_cord:
            limit = _upper(maps, masks["cord"])
            for position, (name, volume) in enumerate(maps.items()):
                top = 0.35 + position * (rows * side + 0.45)
                axes = fig.place(drawing, left, top, columns * side, rows * side)
                picture = _tiles(axes, view, volume, masks["cord"], shown, centres, limit, columns)
                axes.set_title(f"{name}, around the cord")
            _bar(drawing, picture, fig.place(drawing, left + columns * side + 0.12, 0.45, 0.11, min(2 * side, 1.9)))
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title="tSNR before and after",
        caption=(
            "Mean over SD in time, not detrended: raw series against the corrected one, in the same slices and with "
            "the same colours."
            + (
                f" The strip follows the cord; the tiles ({_TILE_MM:.0f} mm, anterior up, left on the left) have a scale of "
                "their own, because tSNR in the cord is a fraction of that in the brain. Outline: cord mask."
                if has_cord
                else ""
            )
            + " Interpolation alone raises tSNR by smoothing, so a small rise by itself shows nothing."
        ),
        alt="Maps of temporal signal-to-noise ratio before and after correction.",
        frames=(fig.Frame("tSNR", svg),),
    )


def tsnr_summary(
    before: Volume,
    after: Volume,
    affine: NDArray[np.floating],
    regions: Mapping[str, Mask],
    *,
    cord_mask: Mask | None = None,
    slice_axis: int = 2,
) -> fig.Figure:
    """Distribution of tSNR in every region, and its profile along the cord, before and after.

    Parameters
    ----------
    before, after : (x, y, z) array
        tSNR maps on one grid.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    regions : mapping of name to (x, y, z) bool array
        Usually brain and cord; names with "brain" or "cord" take their colours.
    cord_mask : (x, y, z) bool array, optional
        Adds the profile by slice.
    slice_axis : int
        Stored axis along which slices were acquired.
    """
    filled = {name: np.asarray(mask, dtype=bool) for name, mask in regions.items() if np.any(mask)}
    if not filled:
        raise CoSpineError("no region has voxels", "regions", "Give at least one mask with voxels.")
    profile = cord_mask is not None and bool(np.any(cord_mask))
    with fig.canvas(fig.WIDTH_IN, 3.3 if profile or len(filled) < 3 else 1.0 + 1.2 * len(filled)) as drawing:
        width = 5.9 if profile else 9.0
        full_height = float(drawing.get_size_inches()[1])
        each = (full_height - 0.75 - 0.55 * (len(filled) - 1)) / len(filled)
        texts = []
        for position, (name, mask) in enumerate(filled.items()):
            top = 0.38 + position * (each + 0.55 - 0.02)
            axes = fig.place(drawing, 0.15, top, width - 1.75, each)
            texts.append(_distribution(axes, name, before[mask], after[mask], fig.region_colour(name, position)))
            if position == len(filled) - 1:
                axes.set_xlabel("tSNR")
        if profile and cord_mask is not None:
            axes = fig.place(drawing, width + 0.55, 0.38, fig.WIDTH_IN - width - 0.75, full_height - 0.95)
            _profile(axes, before, after, cord_mask, affine, slice_axis)
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title="tSNR by region and by slice",
        caption=(
            "Share of voxels at each tSNR, raw in grey and corrected in colour; vertical lines are the medians: "
            + "; ".join(texts)
            + "."
            + (
                " At the right the median over the cord in every slice, with the range from the 25th to the 75th "
                "percentile; a dip marks slices where signal fades (discs, lungs) or the mask has slipped."
                if profile
                else ""
            )
        ),
        alt="Histograms of tSNR by region" + (" and a profile of cord tSNR along z." if profile else "."),
        frames=(fig.Frame("tSNR", svg),),
    )


def flicker(
    before: Volume,
    after: Volume,
    affine: NDArray[np.floating],
    *,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
    quantity: str = "Temporal SD",
    labels: tuple[str, str] = ("Before", "After"),
) -> fig.Figure:
    """The same strips through two images, for the reader to switch between.

    Parameters
    ----------
    before, after : (x, y, z) array
        Two images on one grid, shown in one grey window.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them: strips follow the cord, or pass through the middle of the brain.
    quantity : str
        What the images are.
    labels : two str
    """
    view = sec.view_of(affine, before.shape)
    has_cord = cord_mask is not None and bool(np.any(cord_mask))
    anchor = cord_mask if has_cord else brain_mask
    if anchor is None or not np.any(anchor):
        raise CoSpineError("neither brain nor cord has a mask with voxels", "masks", "Give at least one mask.")
    centres = sec.centre_line(view.turned(np.asarray(anchor, dtype=bool)), straight=not has_cord)
    volumes = [view.turned(before), view.turned(after)]
    window = fig.grey_window(np.stack([sec.curved_sagittal(volume, centres) for volume in volumes]))
    size_mm = view.spacing_mm * volumes[0].shape
    scale = min((fig.WIDTH_IN - 0.2) / (size_mm[0] + size_mm[1]), 5.6 / size_mm[2])
    frames = []
    for label, volume in zip(labels, volumes, strict=True):
        height = size_mm[2] * scale
        with fig.canvas((size_mm[0] + size_mm[1]) * scale + 0.2, height + 0.4) as drawing:
            left = 0.0
            for sheet, axis, name in ((sec.curved_sagittal, 1, "sagittal"), (sec.curved_coronal, 0, "coronal")):
                axes = fig.place(drawing, left, 0.35, size_mm[axis] * scale, height)
                fig.strip_on(axes, sheet(volume, centres), view.spacing_mm[axis], size_mm[2], window)
                axes.set_title(f"{label}, {name}")
                left += size_mm[axis] * scale + 0.2
            frames.append(fig.Frame(label, fig.svg_of(drawing)))
    return fig.Figure(
        title=f"{quantity}, {labels[0].lower()} and {labels[1].lower()}",
        caption=(
            f"{quantity} in the same strips and one grey window. Switch between the two, or let them "
            "flicker: what jumps is what the correction changed."
        ),
        alt=f"{quantity} in sagittal and coronal strips, {labels[0].lower()} and {labels[1].lower()}.",
        frames=tuple(frames),
    )


def _upper(maps: Mapping[str, Volume], mask: Mask | None) -> float:
    """Upper end of a colour scale that both maps share."""
    values = [volume[mask & (volume > 0)] for volume in maps.values()] if mask is not None else []
    together = np.concatenate(values) if values else np.empty(0)
    return max(float(np.percentile(together, 98)), 1.0) if together.size else 1.0


def _picture(axes: "Axes", sheet: NDArray[np.float32], limit: float) -> Any:
    picture = axes.imshow(sheet, cmap=fig.SEQUENTIAL, vmin=0, vmax=limit, interpolation="none", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return picture


def _bar(drawing: Any, picture: Any, axes: "Axes") -> None:
    drawing.colorbar(picture, cax=axes, extend="max")
    axes.set_title("tSNR", fontweight="normal", fontsize=8, color=fig.MUTED)
    axes.spines[:].set_visible(False)
    axes.locator_params(axis="y", nbins=5)


def _tiles(
    axes: "Axes", view: sec.View, volume: Volume, mask: Mask, shown: NDArray[np.int64], centres: NDArray[np.float64],
    limit: float, columns: int,
) -> Any:  # fmt: skip
    """Tiles of unit side in rows, with the outline of the mask and the height of each slice."""
    rows = -(-len(shown) // columns)
    board = np.full((rows * _TILE_PIXELS, columns * _TILE_PIXELS), np.nan, np.float32)
    for position, superior in enumerate(shown):
        row, column = divmod(position, columns)
        centre = centres[superior]
        tile = sec.axial_tile(volume, int(superior), centre, view.spacing_mm, _TILE_MM / 2, _TILE_PIXELS, order=0)
        top, left = row * _TILE_PIXELS, column * _TILE_PIXELS
        board[top : top + _TILE_PIXELS - 2, left : left + _TILE_PIXELS - 2] = tile[:-2, :-2]
        edges = sec.tile_outline(mask, int(superior), centre, view.spacing_mm, _TILE_MM)
        fig.outline_on(axes, edges + np.array([column, row]), "white")
        z_mm = view.world_mm((*centre, superior))[2]
        axes.text(column + 0.06, row + 0.93, f"z {fig.signed(z_mm)} mm", color="white", size=6.5, gid=fig.HALO)
    picture = axes.imshow(
        board, cmap=fig.SEQUENTIAL, vmin=0, vmax=limit, interpolation="none", aspect="auto", extent=(0, columns, rows, 0)
    )
    axes.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return picture


def _distribution(axes: "Axes", name: str, before: NDArray[Any], after: NDArray[Any], colour: str) -> str:
    """Two outlines of histograms and their medians; returns the medians in words."""
    raw, corrected = before[before > 0], after[after > 0]
    if raw.size == 0 or corrected.size == 0:
        axes.text(0.5, 0.5, "no signal", transform=axes.transAxes, ha="center")
        return f"{name} without signal"
    upper = float(np.percentile(np.concatenate([raw, corrected]), 99.5)) * 1.05
    bins = np.linspace(0, upper, 61 if min(raw.size, corrected.size) > 2000 else 37)
    for values, shade, width in ((raw, fig.BEFORE, 1.0), (corrected, colour, 1.4)):
        share, _ = np.histogram(values, bins=bins)
        share = np.repeat(share / values.size, 2)
        steps = np.repeat(bins, 2)[1:-1]
        axes.fill_between(steps, 0, share, color=shade, alpha=0.18, linewidth=0)
        axes.plot(steps, share, color=shade, linewidth=width)
    old, new = float(np.median(raw)), float(np.median(corrected))
    axes.axvline(old, color=fig.BEFORE, linewidth=1.2)
    axes.axvline(new, color=colour, linewidth=1.6)
    axes.set(xlim=(0, upper), yticks=[])
    axes.set_ylim(bottom=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(name[:1].upper() + name[1:])
    change = 100 * (new / old - 1)
    for text, size, shade, x, y in (
        (f"{old:.1f}", 13.0, fig.BEFORE, 8, 0),
        (f"{new:.1f}", 17.0, colour, 8, -24),
        (f"{fig.signed(change)} %", 8.5, fig.MUTED, 8, -52),
        ("before", 8.0, fig.BEFORE, 74, -3),
        ("after", 8.0, colour, 74, -29),
    ):
        axes.annotate(
            text,
            (1, 1),
            (x, y),
            "axes fraction",
            "offset points",
            color=shade,
            size=size,
            va="top",
            weight="bold" if size > 9 else "normal",
        )
    return f"{name} {old:.1f} before, {new:.1f} after"


def _profile(axes: "Axes", before: Volume, after: Volume, cord_mask: Mask, affine: NDArray[np.floating], slice_axis: int) -> None:
    """Median tSNR of the cord in every slice over its height."""
    present = np.flatnonzero(np.moveaxis(np.asarray(cord_mask, dtype=bool), slice_axis, 0).any(axis=(1, 2)))
    voxels = np.argwhere(cord_mask)
    heights = voxels @ np.asarray(affine)[2, :3] + np.asarray(affine)[2, 3]
    z_mm = np.array([heights[voxels[:, slice_axis] == index].mean() for index in present])
    order = np.argsort(z_mm)
    for volume, colour, label in ((before, fig.BEFORE, "before"), (after, fig.CORD, "after")):
        profile = metrics.tsnr_by_slice(volume, cord_mask, slice_axis)
        low, middle, high = (values[present][order] for values in (profile.p25, profile.median, profile.p75))
        axes.fill_betweenx(z_mm[order], low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(middle, z_mm[order], color=colour, marker="o", markersize=2.6, label=label)
    axes.set(xlabel="tSNR", ylabel="z (mm)", title="Cord, slice by slice")
    axes.set_xlim(left=0)
    axes.set_ylim(z_mm.min() - 2, z_mm.max() + 2)
    axes.grid(axis="both")
    axes.legend(loc="lower right", fontsize=8)
