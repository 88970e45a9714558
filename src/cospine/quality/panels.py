"""Panels that figures of images share: strips along the cord, axial slices of the brain, tiles around the cord."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality import sections as sec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]

LEFT_IN, GAP_IN, TOP_IN = 0.62, 0.22, 0.4
_KINDS = {"sagittal": "sagittal", "coronal": "coronal", "brain": "brain", "cord": "around the cord"}
_STRIPS_HEIGHT_IN, _BRAIN_IN, _BRAIN_SLICES = 6.0, 1.95, 3
_BRAIN_PIXELS, _TILE_PIXELS = 220, 132


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet: where it stands, and what it shows.

    Attributes
    ----------
    kind : str
        ``sagittal``, ``coronal``, ``brain`` or ``cord``.
    place_in : (left, top, width, height)
        Inches from the top left corner.
    size_mm : (width, height)
        Millimetres shown.
    superior : int
        Turned slice of an axial panel; -1 for strips.
    centre : (2,) float array
        Right and anterior index in the middle of an axial panel.
    """

    kind: str
    place_in: tuple[float, float, float, float]
    size_mm: tuple[float, float]
    superior: int = -1
    centre: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Sheet:
    """Which panels stand where for one field of view, whole or partial.

    Attributes
    ----------
    view : sections.View
    masks : mapping of name to (R, A, S) bool array
        Turned; only those with voxels.
    centres : (S, 2) array
        Where the strips cut.
    panels : tuple of Panel
    size_in : (width, height)
    """

    view: sec.View
    masks: Mapping[str, Mask]
    centres: NDArray[np.float64]
    panels: tuple[Panel, ...]
    size_in: tuple[float, float]

    @property
    def words(self) -> str:
        """The masks and their colours."""
        return " and ".join(f"the {name} ({'orange' if name == 'cord' else 'blue'})" for name in self.masks)


def sheet_of(
    shape: tuple[int, ...],
    affine: NDArray[np.floating],
    *,
    brain_mask: Mask | None,
    cord_mask: Mask | None,
    tiles: int = 8,
    tile_mm: float = 40.0,
    room_in: float = 0.0,
) -> Sheet:
    """Lay out strips, axial slices of the brain and tiles around the cord, as far as the masks hold them.

    Parameters
    ----------
    shape : at least 3 ints
        Stored shape.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them.
    tiles : int
        Most tiles around the cord; none for 0.
    tile_mm : float
        Side of a tile, mm.
    room_in : float
        Width to leave free at the right, inches.

    Raises
    ------
    CoSpineError
        When there is no mask with voxels.
    """
    view = sec.view_of(affine, shape)
    given = {"brain": brain_mask, "cord": cord_mask}
    masks = {name: view.turned(np.asarray(mask, dtype=bool)) for name, mask in given.items() if mask is not None and mask.any()}
    if not masks:
        raise CoSpineError("neither brain nor cord has a mask with voxels", "masks", "Give at least one mask.")
    has_cord = "cord" in masks
    centres = sec.centre_line(masks["cord" if has_cord else "brain"], straight=not has_cord)
    turned_shape = next(iter(masks.values())).shape
    size_mm = view.spacing_mm * turned_shape
    room = fig.WIDTH_IN - LEFT_IN - 2 * GAP_IN - room_in
    column = _BRAIN_IN + 0.1 if "brain" in masks else 0.0
    scale = min((room - column) / (size_mm[0] + size_mm[1]), _STRIPS_HEIGHT_IN / size_mm[2])
    height = float(size_mm[2] * scale)
    beside = height > 4.5 or not column
    if not beside:
        scale = min(room / (size_mm[0] + size_mm[1]), _STRIPS_HEIGHT_IN / size_mm[2])
        height = float(size_mm[2] * scale)
    panels = []
    left = LEFT_IN
    for kind, axis in (("sagittal", 1), ("coronal", 0)):
        width = float(size_mm[axis] * scale)
        panels.append(Panel(kind, (left, TOP_IN, width, height), (float(size_mm[axis]), float(size_mm[2]))))
        left += width + GAP_IN
    right, bottom = left - GAP_IN, TOP_IN + height
    if "brain" in masks:
        whole_mm = float(max(size_mm[0], size_mm[1]))
        middle = (np.array(turned_shape[:2]) - 1) / 2
        count = _BRAIN_SLICES if beside else 5
        side = min(_BRAIN_IN, (height - (count - 1) * 0.12) / count) if beside else (right - LEFT_IN - (count - 1) * 0.1) / count
        for position, superior in enumerate(_brain_levels(masks["brain"], count)):
            if beside:
                place = (right + 0.32, TOP_IN + position * (side + 0.12), side, side)
            else:
                place = (LEFT_IN + position * (side + 0.1), bottom + 0.4, side, side)
            panels.append(Panel("brain", place, (whole_mm, whole_mm), superior, middle))
        if beside:
            right += 0.32 + side
        else:
            bottom += 0.4 + side
    if has_cord and tiles:
        slices, _ = sec.cord_path(masks["cord"])
        shown = slices[np.unique(np.linspace(0, len(slices) - 1, min(tiles, len(slices))).round().astype(int))]
        side = (right - LEFT_IN - (tiles - 1) * 0.06) / tiles
        for position, superior in enumerate(shown):
            place = (LEFT_IN + position * (side + 0.06), bottom + 0.42, side, side)
            panels.append(Panel("cord", place, (tile_mm, tile_mm), int(superior), centres[superior]))
        bottom += 0.42 + side
    return Sheet(view, masks, centres, tuple(panels), (right + 0.08 + room_in, bottom + 0.1))


def outlined(sheet: Sheet, names: Collection[str]) -> Sheet:
    """The same sheet with the outlines of some masks only."""
    return replace(sheet, masks={name: mask for name, mask in sheet.masks.items() if name in names})


def sampled(sheet: Sheet, panel: Panel, volume: NDArray[Any], *, order: int = 3) -> NDArray[np.float32]:
    """Pixels of one panel from a turned volume, rows from the top."""
    spacing = sheet.view.spacing_mm
    if panel.superior >= 0 and panel.centre is not None:
        pixels = _BRAIN_PIXELS if panel.kind == "brain" else _TILE_PIXELS
        return sec.axial_tile(volume, panel.superior, panel.centre, spacing, panel.size_mm[0] / 2, pixels, order=order)
    cut, axis = (sec.curved_sagittal, 1) if panel.kind == "sagittal" else (sec.curved_coronal, 0)
    pixels = fig.strip_pixels(cut(volume, sheet.centres), spacing[axis], spacing[2], order)
    return np.asarray(pixels, dtype=np.float32)


def draw(
    drawing: Any,
    sheet: Sheet,
    panel: Panel,
    picture: NDArray[Any],
    *,
    title: str = "",
    dark: bool = True,
    outline: str = "",
    **shown: Any,
) -> "Axes":
    """Draw the pixels of one panel in millimetres, with the outlines of the masks, letters and heights.

    Parameters
    ----------
    drawing : matplotlib Figure
    sheet : Sheet
    panel : Panel
    picture : (rows, columns) array for a colour map, or (rows, columns, 3) of 8-bit colours
    title : str
    dark : bool
        Whether the picture is mostly dark, so that letters must be light.
    outline : str
        Colour of all outlines, where those of the regions would be lost in the picture's own colours.
    **shown
        Passed on to ``imshow``.
    """
    width, height = panel.size_mm
    axes = fig.place(drawing, *panel.place_in)
    axes.imshow(picture, interpolation="none", aspect="auto", extent=(0, width, height, 0), gid=fig.SMOOTH, **shown)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    for name, mask in sheet.masks.items():
        fig.outline_on(axes, _edges(sheet, panel, mask), outline or fig.region_colour(name))
    _letters(axes, sheet, panel, dark)
    return axes


def shades(sheet: Sheet, volume: Volume) -> list[NDArray[np.uint8]]:
    """Grey pictures of an image (x, y, z), one a panel, each with a window of its own."""
    turned = sheet.view.turned(np.nan_to_num(volume))
    pictures = [sampled(sheet, panel, turned) for panel in sheet.panels]
    return [fig.grey(pixels, fig.grey_window(pixels)) for pixels in pictures]


def draw_all(drawing: Any, sheet: Sheet, pictures: Sequence[NDArray[Any]], name: str, **style: Any) -> list["Axes"]:
    """Draw a picture into every panel; the first of each kind is headed by what it shows and the kind. `style` as for `draw`."""
    titles, drawn = set[str](), []
    for panel, picture in zip(sheet.panels, pictures, strict=True):
        title = "" if panel.kind in titles else f"{name}, {_KINDS[panel.kind]}"
        titles.add(panel.kind)
        drawn.append(draw(drawing, sheet, panel, picture, title=title, **style))
    return drawn


def note(axes: "Axes", x: float, y: float, text: str, *, dark: bool = True, size: float = 7.0, **style: Any) -> None:
    """Text on a picture: white with a rim that stays readable on bright tissue, or plain ink on white paper."""
    axes.text(x, y, text, size=size, color="white" if dark else fig.INK, gid=fig.HALO if dark else None, **style)


def z_axis(axes: "Axes", view: sec.View, centres: NDArray[np.float64]) -> None:
    """Ticks at round heights of the line along which the strips cut."""
    count = len(centres)
    z_mm = np.array([view.world_mm((centres[s, 0], centres[s, 1], s))[2] for s in range(count)])
    step = 20.0 if np.ptp(z_mm) > 60 else 10.0
    rounds = np.arange(np.ceil(z_mm[0] / step) * step, z_mm[-1] + 1e-6, step)
    index = np.interp(rounds, z_mm, np.arange(count))
    axes.set_yticks((count - 0.5 - index) * view.spacing_mm[2], [fig.signed(float(z), plus=False) for z in rounds])
    axes.set_ylabel("z (mm)")


def _edges(sheet: Sheet, panel: Panel, mask: Mask) -> NDArray[np.float64]:
    """Voxel edges of a mask in the millimetres of a panel."""
    spacing = sheet.view.spacing_mm
    if panel.superior >= 0 and panel.centre is not None:
        side = panel.size_mm[0]
        return sec.tile_outline(mask, panel.superior, panel.centre, spacing, side) * side
    cut, axis = (sec.curved_sagittal, 1) if panel.kind == "sagittal" else (sec.curved_coronal, 0)
    return sec.outline(cut(mask, sheet.centres) >= 0.5, 0.0, 0.0, spacing[axis], spacing[2])


def _letters(axes: "Axes", sheet: Sheet, panel: Panel, dark: bool) -> None:
    width, height = panel.size_mm
    if panel.superior < 0:
        pad = 0.018 * height
        near, far = "PA" if panel.kind == "sagittal" else "LR"
        note(axes, pad, height / 2, near, va="center", weight="bold", dark=dark)
        note(axes, width - pad, height / 2, far, va="center", ha="right", weight="bold", dark=dark)
        note(axes, width / 2, pad, "S", va="top", ha="center", weight="bold", dark=dark)
        note(axes, width / 2, height - pad, "I", va="bottom", ha="center", weight="bold", dark=dark)
        if panel.kind == "sagittal":
            z_axis(axes, sheet.view, sheet.centres)
        return
    centre = panel.centre if panel.centre is not None else np.zeros(2)
    z_mm = sheet.view.world_mm((centre[0], centre[1], panel.superior))[2]
    note(axes, 0.04 * width, 0.96 * height, f"z {fig.signed(z_mm)} mm", va="bottom", size=6.5, dark=dark)
    first = panel is next(other for other in sheet.panels if other.kind == panel.kind)
    letters = ("LRAP" if panel.kind == "brain" else "LRA") if first else ""
    for letter, x, y in zip(letters, (0.05, 0.95, 0.5, 0.5), (0.5, 0.5, 0.06, 0.94), strict=False):
        note(axes, x * width, y * height, letter, va="center", ha="center", weight="bold", dark=dark)


def _brain_levels(mask: Mask, count: int) -> list[int]:
    """Axial slices of the brain from high to low: the vertex shows nothing, the base most."""
    present = np.flatnonzero(mask.any(axis=(0, 1)))
    return [int(present[round(q * (len(present) - 1))]) for q in np.linspace(0.75, 0.15, count)]
