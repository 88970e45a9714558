"""Where the masks lie: the reference image in long strips and slice by slice along the cord."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality import panels as pan
from cospine.quality import sections as sec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]

TILE_MM = 50.0
"""Side of one tile around the cord, mm."""

MAX_TILES = 48
"""Slices shown one by one; of more, evenly spaced ones are chosen."""

DOUBTFUL = 0.5
"""Confidence of a slice's cord mask below which it is marked."""

_TILE_PIXELS = 132
_PROFILE_IN = 2.0
_DOUBT = "#ff3b6b"
_LEFT_IN, _GAP_IN = 0.62, 0.22
_HUES = {"brain": "blue", "cord": "orange"}


def overview(
    boldref: Volume, affine: NDArray[np.floating], *, brain_mask: Mask | None = None, cord_mask: Mask | None = None
) -> fig.Figure:
    """The whole field of view with both masks: a sagittal and a coronal strip through the cord, three axial slices.

    Parameters
    ----------
    boldref : (x, y, z) array
        In the stored axes; any permutation, flip or tilt.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them.

    Raises
    ------
    CoSpineError
        When there is no mask with voxels.
    """
    view = sec.view_of(affine, boldref.shape)
    volume = view.turned(boldref)
    masks = _turned_masks(view, brain_mask, cord_mask)
    has_cord = "cord" in masks
    centres = sec.centre_line(masks["cord" if has_cord else "brain"], straight=not has_cord)
    size_mm = view.spacing_mm * volume.shape
    beside, scale, height = _layout(size_mm, brain="brain" in masks)
    levels = _brain_levels(masks["brain"], 3 if beside else 6) if "brain" in masks else []
    width = _LEFT_IN + (size_mm[0] + size_mm[1]) * scale + _GAP_IN
    side = min(2.05, (height - 2 * 0.14) / 3) if beside else (width - _LEFT_IN - 5 * 0.1) / 6
    full_width = width + (side + 0.2 if levels and beside else 0.0)
    full_height = height + 0.6 + (side + 0.4 if levels and not beside else 0.0)
    with fig.canvas(full_width, full_height) as drawing:
        left = _LEFT_IN
        for title, sheet, axis, ends in (
            ("Sagittal", sec.curved_sagittal, 1, "PA"),
            ("Coronal", sec.curved_coronal, 0, "LR"),
        ):
            axes = fig.place(drawing, left, 0.4, size_mm[axis] * scale, height)
            fig.strip_on(axes, sheet(volume, centres), view.spacing_mm[axis], size_mm[2])
            for name, mask in masks.items():
                inside = sheet(mask, centres) >= 0.5
                edges = sec.outline(inside, 0.0, 0.0, view.spacing_mm[axis], view.spacing_mm[2])
                fig.outline_on(axes, edges, fig.region_colour(name))
            _ends(axes, ends, size_mm[axis], size_mm[2])
            axes.set_title(f"{title}, along the cord" if has_cord else title)
            if axis == 1:
                pan.z_axis(axes, view, centres)
            left += size_mm[axis] * scale + _GAP_IN
        for position, superior in enumerate(levels):
            if beside:
                axes = fig.place(drawing, left + 0.1, 0.4 + position * (side + 0.14), side, side)
            else:
                axes = fig.place(drawing, _LEFT_IN + position * (side + 0.1), height + 0.75, side, side)
            _brain_axial(axes, view, volume, masks, superior)
            if position == 0:
                axes.set_title("Axial, brain")
        svg = fig.svg_of(drawing)
    drawn = " and ".join(f"the {name} ({_HUES[name]})" for name in masks)
    strips = (
        "The two strips are curved sheets that follow the cord (left–right in the sagittal, front–back in the coronal one), "
        "in true proportions. The outline should hug the tissue and leave out CSF, bone and vessels; look at the lower end, "
        "where signal fades" + (", and at the brainstem, where brain and cord meet. " if "brain" in masks else ". ")
        if has_cord
        else "The two strips pass through the middle of the brain, in true proportions. "
    )
    return fig.Figure(
        title="Reference image and masks",
        caption=(
            f"Reference image with the outline of {drawn}, on the voxel edges. {strips}"
            "Letters: L left, R right, A anterior, P posterior, S superior, I inferior; left is on the left."
        ),
        alt=f"Sagittal and coronal strips through the field of view with the outline of {drawn}.",
        frames=(fig.Frame("Reference", svg),),
    )


def cord_mosaic(
    boldref: Volume,
    affine: NDArray[np.floating],
    cord_mask: Mask,
    *,
    brain_mask: Mask | None = None,
    tile_mm: float = TILE_MM,
    confidence: NDArray[np.floating] | None = None,
    name: str = "Reference",
) -> fig.Figure:
    """Every slice of the cord as one tile around the cord, from top to bottom, with the outline of the mask.

    Parameters
    ----------
    boldref : (x, y, z) array
    affine : (4, 4) array
        Voxel to world, RAS mm.
    cord_mask : (x, y, z) bool array
    brain_mask : (x, y, z) bool array, optional
        Outlined too where it enters a tile.
    tile_mm : float
        Side of a tile, mm.
    confidence : (slices,) array, optional
        How far each stored slice of the mask is to be believed, 0-1; adds a profile, and marks slices below `DOUBTFUL`.
    name : str
        What the image is.

    Raises
    ------
    CoSpineError
        When the cord mask is empty.
    """
    view = sec.view_of(affine, boldref.shape)
    volume = view.turned(boldref)
    masks = _turned_masks(view, brain_mask, cord_mask)
    if "cord" not in masks:
        raise CoSpineError("the cord mask is empty", "cord_mask", "Leave this figure out, or give a cord mask.")
    slices, centres = sec.cord_path(masks["cord"])
    shown = slices[np.unique(np.linspace(0, len(slices) - 1, min(len(slices), MAX_TILES)).round().astype(int))]
    columns = min(8, len(shown)) if len(shown) > 4 else max(4, len(shown))
    rows = -(-len(shown) // columns)
    room = 0.0 if confidence is None else _PROFILE_IN
    side = (fig.WIDTH_IN - room) / max(columns, 6)
    every_confidence = None if confidence is None else np.array([confidence[view.stored_slice(int(k))[1]] for k in slices])
    with fig.canvas(side * columns + room, max(side * rows, 0.0 if confidence is None else 2.2)) as drawing:
        axes = fig.place(drawing, 0, 0, side * columns, side * rows)
        board = np.zeros((rows * _TILE_PIXELS, columns * _TILE_PIXELS), np.uint8)
        for position, superior in enumerate(shown):
            row, column = divmod(position, columns)
            tile = sec.axial_tile(volume, int(superior), centres[superior], view.spacing_mm, tile_mm / 2, _TILE_PIXELS, order=3)
            area = np.s_[
                row * _TILE_PIXELS : (row + 1) * _TILE_PIXELS - 2, column * _TILE_PIXELS : (column + 1) * _TILE_PIXELS - 2
            ]
            board[area] = fig.grey(tile, fig.grey_window(tile))[:-2, :-2]
            _tile_outlines(axes, view, masks, int(superior), centres[superior], tile_mm, (column, row))
            letter, stored = view.stored_slice(int(superior))
            z_mm = view.world_mm((*centres[superior], superior))[2]
            pan.note(axes, column + 0.05, row + 0.07, f"{letter} {stored}", va="top", weight="bold")
            pan.note(axes, column + 0.05, row + 0.94, f"z {fig.signed(z_mm)} mm", va="bottom")
            if confidence is not None and confidence[stored] < DOUBTFUL:
                _doubt(axes, column, row, float(confidence[stored]))
        axes.imshow(
            board, cmap="gray", vmin=0, vmax=255, interpolation="none", extent=(0, columns, rows, 0), aspect="auto",
            gid=fig.SMOOTH,
        )  # fmt: skip
        axes.set(xlim=(0, columns), ylim=(rows, 0))
        axes.axis("off")
        _tile_legend(axes, tile_mm)
        if every_confidence is not None:
            heights = np.array([view.world_mm((*centres[k], k))[2] for k in slices])
            strip = fig.place(drawing, side * columns + 0.75, 0.35, room - 0.95, float(drawing.get_size_inches()[1]) - 0.95)
            _confidence_profile(strip, heights, every_confidence)
        svg = fig.svg_of(drawing)
    every = "every slice" if len(shown) == len(slices) else f"{len(shown)} of {len(slices)} slices"
    return fig.Figure(
        title="Along the cord, slice by slice" if confidence is None else f"Cord mask on the {name}, slice by slice",
        caption=(
            f"Axial tiles of {tile_mm:.0f} mm around the cord, {every} from top to bottom, with the outline of the cord "
            "mask on the voxel edges; stored slice number above, height z in the scanner's world below. Each tile has "
            "its own grey window, so that weak slices can be judged too. The outline should follow the cord's border "
            "in each tile and not jump from one tile to the next."
            + (
                ""
                if every_confidence is None
                else " At the right how far the mask is to be believed in every slice (0 to 1); slices below "
                f"{DOUBTFUL:g} have a red frame and number: {int((every_confidence < DOUBTFUL).sum())} of {len(slices)}."
            )
        ),
        alt=f"Mosaic of {len(shown)} axial slices around the cord with the outline of the cord mask.",
        frames=(fig.Frame(name, svg),),
    )


def _turned_masks(view: sec.View, brain_mask: Mask | None, cord_mask: Mask | None) -> dict[str, Mask]:
    masks = {"brain": brain_mask, "cord": cord_mask}
    turned = {name: view.turned(np.asarray(mask, dtype=bool)) for name, mask in masks.items() if mask is not None and mask.any()}
    if not turned:
        raise CoSpineError("neither brain nor cord has a mask with voxels", "masks", "Give at least one mask.")
    return turned


def _layout(size_mm: NDArray[np.float64], *, brain: bool) -> tuple[bool, float, float]:
    """Whether axial slices of the brain stand beside the strips (tall images) or below, inches a millimetre, height."""
    room = fig.WIDTH_IN - _LEFT_IN - 2 * _GAP_IN
    for beside in (True, False):
        free = room - (2.3 if brain and beside else 0.0)
        scale = min(free / (size_mm[0] + size_mm[1]), 6.6 / size_mm[2])
        if not brain or size_mm[2] * scale > 4.5:
            return beside, scale, float(size_mm[2] * scale)
    return False, scale, float(size_mm[2] * scale)


def _ends(axes: "Axes", ends: str, width_mm: float, height_mm: float) -> None:
    """Orientation letters at the four sides."""
    pad = 0.018 * height_mm
    pan.note(axes, pad, height_mm / 2, ends[0], va="center", weight="bold")
    pan.note(axes, width_mm - pad, height_mm / 2, ends[1], va="center", ha="right", weight="bold")
    pan.note(axes, width_mm / 2, pad, "S", va="top", ha="center", weight="bold")
    pan.note(axes, width_mm / 2, height_mm - pad, "I", va="bottom", ha="center", weight="bold")


def _brain_levels(mask: Mask, count: int) -> list[int]:
    """Axial slices of the brain from high to low, without its very top and bottom."""
    present = np.flatnonzero(mask.any(axis=(0, 1)))
    return [int(present[round(q * (len(present) - 1))]) for q in np.linspace(0.8, 0.25, count)]


def _brain_axial(axes: "Axes", view: sec.View, volume: Volume, masks: dict[str, Mask], superior: int) -> None:
    spacing = view.spacing_mm
    half_mm = float(max(spacing[0] * volume.shape[0], spacing[1] * volume.shape[1])) / 2
    middle = np.array([(volume.shape[0] - 1) / 2, (volume.shape[1] - 1) / 2])
    tile = sec.axial_tile(volume, superior, middle, spacing, half_mm, 220, order=3)
    axes.imshow(
        fig.grey(tile, fig.grey_window(tile)), cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto",
        extent=(0, 1, 1, 0), gid=fig.SMOOTH,
    )  # fmt: skip
    _tile_outlines(axes, view, masks, superior, middle, 2 * half_mm, (0, 0))
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.axis("off")
    z_mm = view.world_mm((*middle, superior))[2]
    pan.note(axes, 0.04, 0.96, f"z {fig.signed(z_mm)} mm", va="bottom")
    for letter, x, y in (("L", 0.04, 0.5), ("R", 0.96, 0.5), ("A", 0.5, 0.06), ("P", 0.5, 0.95)):
        pan.note(axes, x, y, letter, va="center", ha="center", weight="bold")


def _tile_outlines(
    axes: "Axes", view: sec.View, masks: dict[str, Mask], superior: int, centre: NDArray[np.float64], tile_mm: float,
    place: tuple[int, int],
) -> None:  # fmt: skip
    """Voxel edges of each mask inside one tile of unit side."""
    for name, mask in masks.items():
        edges = sec.tile_outline(mask, superior, centre, view.spacing_mm, tile_mm)
        fig.outline_on(axes, edges + place, fig.region_colour(name))


def _doubt(axes: "Axes", column: int, row: int, confidence: float) -> None:
    """A red frame and the confidence in words, in one tile of unit side."""
    x, y = np.array([0.012, 0.985, 0.985, 0.012, 0.012]) + column, np.array([0.012, 0.012, 0.985, 0.985, 0.012]) + row
    axes.plot(x, y, color=_DOUBT, linewidth=2.0)
    pan.note(axes, column + 0.95, row + 0.07, f"doubtful, {confidence:.2f}", va="top", ha="right", weight="bold")


def _confidence_profile(axes: "Axes", z_mm: NDArray[np.float64], confidence: NDArray[np.float64]) -> None:
    """Confidence of every slice over its height."""
    step = float(np.abs(np.diff(z_mm)).mean()) if len(z_mm) > 1 else 1.0
    colours = [_DOUBT if value < DOUBTFUL else fig.CORD for value in confidence]
    axes.barh(z_mm, confidence, height=0.86 * step, color=colours, linewidth=0)
    axes.axvline(DOUBTFUL, color=fig.MUTED, linewidth=0.8, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(z_mm.min() - step, z_mm.max() + step), xlabel="0 none, 1 full", ylabel="z (mm)")
    axes.set_title("Confidence")


def _tile_legend(axes: "Axes", tile_mm: float) -> None:
    """Letters and a 10 mm bar on the first tile."""
    for letter, x, y in (("L", 0.06, 0.5), ("R", 0.92, 0.5), ("A", 0.5, 0.06), ("P", 0.5, 0.93)):
        pan.note(axes, x, y, letter, va="center", ha="center", weight="bold")
    length = 10.0 / tile_mm
    axes.plot([0.93 - length, 0.93], [0.93, 0.93], color="white", linewidth=1.6, solid_capstyle="butt")
    pan.note(axes, 0.93 - length / 2, 0.905, "10 mm", va="bottom", ha="center", size=6.5)
