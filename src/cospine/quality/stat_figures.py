"""Maps of a group over the templates: the brain in flat cuts, the cord in strips and tiles that name both level systems."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality import planes as pla
from cospine.quality.anatomy_figures import BRAIN_LINE, TISSUE

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]

SIGNIFICANT = "#ffffff"
"""Outline of what is significant after correction."""

_AXIAL_Z = (-40, -22, -6, 10, 26, 44, 60)
_AROUND_MM = 4.0
_TILES = 24
_TILE_COLUMNS = 6
_TILE_MM = (18.0, 15.0)
_STRIP_IN = 5.55
_BAR_IN = 0.62
# on grey anatomy: dark in the middle, where the map is transparent anyway, bright at both ends
_SIGNED = ("#b8f2ff", "#35b6f5", "#1263c4", "#10254d", "#000000", "#4d1410", "#c43412", "#f58d22", "#fff0a6")
_VISIBLE = 0.5  # share of the colour limit from which on a map covers the anatomy wholly


@dataclass(frozen=True)
class Layer:
    """One map to be shown over the anatomy.

    Attributes
    ----------
    label : str
        For the switch above the figure and the colour bar, as ``z``.
    values : (x, y, z) array
        NaN where there is nothing.
    limit : float
        Largest size that has a colour of its own.
    unit : str
    signed : bool
        Colours for both signs and small values transparent; else a count from 0 on.
    """

    label: str
    values: Volume = field(repr=False)
    limit: float
    unit: str = ""
    signed: bool = True


@dataclass(frozen=True)
class Span:
    """A level of the cord: its name, and where it begins and ends (RAS mm, top first)."""

    name: str
    top_mm: float
    bottom_mm: float


def level_spans(labels: NDArray[np.integer], affine: NDArray[np.floating], names: Sequence[str]) -> tuple[Span, ...]:
    """Where each level begins and ends along a straight cord.

    Parameters
    ----------
    labels : (x, y, z) int array
        1 is the first name; 0 is no level.
    affine : (4, 4) array
        Voxel to world, RAS mm; the third axis along the cord.
    names : sequence of str
    """
    spacing = abs(float(affine[2, 2]))
    z_mm = affine[2, 2] * np.arange(labels.shape[2]) + affine[2, 3]
    spans = []
    for number, name in enumerate(names, start=1):
        held = z_mm[(labels == number).any(axis=(0, 1))]
        if held.size:
            spans.append(Span(name, float(held.max()) + spacing / 2, float(held.min()) - spacing / 2))
    return tuple(spans)


def peak_of(values: Volume, affine: NDArray[np.floating], inside: Mask | None = None) -> NDArray[np.float64]:
    """RAS mm of the largest absolute value, within a mask where that holds anything."""
    size = np.abs(np.nan_to_num(values))
    if inside is not None and np.any(inside):
        size = np.where(inside, size, -1.0)
    at = np.array(np.unravel_index(int(np.argmax(size)), size.shape), dtype=np.float64)
    return np.asarray(affine, dtype=np.float64)[:3, :3] @ at + np.asarray(affine, dtype=np.float64)[:3, 3]


def brain_stat_figure(
    title: str,
    layers: Sequence[Layer],
    significant: Mask,
    affine: NDArray[np.floating],
    anatomy: tuple[Volume, Mask, NDArray[np.floating]],
    space: str,
    said: str,
) -> fig.Figure:
    """Maps over the brain's template: three cuts through the peak, and axial ones at fixed heights.

    Parameters
    ----------
    title : str
    layers : sequence of Layer
        The first one has the peak.
    significant : (x, y, z) bool array
        Outlined; all False for nothing.
    affine : (4, 4) array
        Voxel to world of the maps.
    anatomy : tuple
        Image, brain mask and affine of the template.
    space : str
        Name of the space.
    said : str
        What the outline means, a sentence.
    """
    image, mask, of_image = anatomy
    x, y, z = _extent(mask, of_image)
    peak = peak_of(layers[0].values, affine, significant)
    long = (
        pla.sagittal(float(peak[0]), y, z, 1.0),
        pla.coronal(float(peak[1]), x, z, 1.0),
        pla.axial(float(peak[2]), x, y, 1.0),
    )
    fixed = tuple(pla.axial(float(at), x, y, 1.0) for at in _AXIAL_Z if z[0] < at < z[1])
    above = pla.row_of(long, 0.0, fig.WIDTH_IN * 0.8)
    bottom = max(cell.height_in for cell in above)
    cells = [*above, *pla.row_of(fixed, bottom + 0.1, fig.WIDTH_IN)]
    height = max(cell.top_in + cell.height_in for cell in cells)
    grey = [pla.sampled(image, of_image, cell.plane.points) for cell in cells]
    window = pla.window_of(grey, [pla.sampled(mask, of_image, cell.plane.points) for cell in cells])
    outline = [pla.sampled(significant, affine, cell.plane.points) for cell in cells]
    frames = []
    for layer in layers:
        with fig.canvas(fig.WIDTH_IN, height) as drawing:
            for n, cell in enumerate(cells):
                picture = _blended(grey[n], window, layer, affine, cell.plane)
                axes = pla.draw_cell(drawing, cell, picture, window, {SIGNIFICANT: outline[n]}, letters=n < 4)
                if n < 3:
                    _cross(axes, cell.plane, peak)
            _bar(drawing, layer, fig.WIDTH_IN * 0.8 + 0.35, bottom / 2 - 1.1, 2.2)
            frames.append(fig.Frame(layer.label, fig.svg_of(drawing)))
    where = ", ".join(fig.signed(float(v), plus=False) for v in peak)
    return fig.Figure(
        title=title,
        caption=(
            f"Above, three cuts through the peak ({where} mm in {space}, thin lines), below axial cuts at fixed heights. {said} "
            "Nothing is cut off: what is weak shows faintly, so that what lies below a threshold can be seen as well. Left is on "
            "the left."
        ),
        alt=f"{title}: cuts through the brain in {space} with the group's map in colour.",
        frames=tuple(frames),
    )


@dataclass(frozen=True)
class CordAnatomy:
    """What the cord's figure stands on: images on one grid, and where the levels are.

    Attributes
    ----------
    image, cord, grey : (x, y, z) array
        Contrast, and probability of cord and of its grey matter.
    affine : (4, 4) array
    centre_line : (n, 3) array
        Middle of the cord, RAS mm.
    vertebral, spinal : tuple of Span
    """

    image: Volume = field(repr=False)
    cord: Volume = field(repr=False)
    grey: Volume = field(repr=False)
    affine: NDArray[np.floating] = field(repr=False)
    centre_line: NDArray[np.floating] = field(repr=False)
    vertebral: tuple[Span, ...]
    spinal: tuple[Span, ...]


def cord_stat_figure(
    title: str,
    layers: Sequence[Layer],
    significant: Mask,
    affine: NDArray[np.floating],
    anatomy: CordAnatomy,
    template: str,
    said: str,
) -> fig.Figure:
    """Maps over the cord's template: two strips through the peak with both level systems, and axial tiles from top to bottom.

    Parameters
    ----------
    title : str
    layers : sequence of Layer
        The first one has the peak.
    significant : (x, y, z) bool array
        Outlined.
    affine : (4, 4) array
        Voxel to world of the maps.
    anatomy : CordAnatomy
    template : str
        Its name, for the caption.
    said : str
        What the outline means, a sentence.

    Raises
    ------
    CoSpineError
        When no slice holds values.
    """
    held = np.asarray(np.isfinite(layers[0].values).any(axis=(0, 1)))
    if not held.any():
        raise CoSpineError("holds no value", "the cord's map", "leave this figure out")
    z_all = affine[2, 2] * np.arange(len(held)) + affine[2, 3]
    spacing = abs(float(affine[2, 2]))
    low, high = float(z_all[held].min()) - spacing / 2, float(z_all[held].max()) + spacing / 2
    peak = peak_of(layers[0].values, affine, significant)
    middle = np.array(anatomy.centre_line)[np.argsort(np.array(anatomy.centre_line)[:, 2])]
    y_mid = float(np.median(middle[:, 1]))
    xs, ys = (-_TILE_MM[0] / 2, _TILE_MM[0] / 2), (y_mid - _TILE_MM[1] / 2, y_mid + _TILE_MM[1] / 2)
    zs = (min(span.bottom_mm for span in anatomy.vertebral), max(span.top_mm for span in anatomy.vertebral))
    scale = _STRIP_IN / (zs[1] - zs[0])
    left = _BAR_IN
    cells = []
    for plane in (pla.sagittal(float(peak[0]), ys, zs, 0.25), pla.coronal(float(peak[1]), xs, zs, 0.25)):
        cells.append(pla.Cell(plane, left, 0.4, plane.size_mm[0] * scale))
        left += plane.size_mm[0] * scale + (0.1 if len(cells) == 1 else _BAR_IN)
    step = (high - low) / _TILES
    heights = [high - (n + 0.5) * step for n in range(_TILES)]
    room = fig.WIDTH_IN - 0.85 - left
    side = (room - (_TILE_COLUMNS - 1) * 0.08) / _TILE_COLUMNS
    for n, at in enumerate(heights):
        y_here = float(np.interp(at, middle[:, 2], middle[:, 1]))
        plane = pla.axial(at, xs, (y_here - _TILE_MM[1] / 2, y_here + _TILE_MM[1] / 2), 0.125, f"z {fig.signed(at, plus=False)}")
        row, column = divmod(n, _TILE_COLUMNS)
        tall = side * _TILE_MM[1] / _TILE_MM[0] + 0.27
        cells.append(pla.Cell(plane, left + column * (side + 0.08), 0.4 + row * tall + 0.22, side))
    height = max(cell.top_in + cell.height_in for cell in cells) + 0.12
    grey = [pla.sampled(anatomy.image, anatomy.affine, cell.plane.points) for cell in cells]
    butterfly = [pla.sampled(anatomy.grey, anatomy.affine, cell.plane.points) for cell in cells]
    edge = [pla.sampled(anatomy.cord, anatomy.affine, cell.plane.points) for cell in cells]
    outline = [pla.sampled(significant, affine, cell.plane.points) for cell in cells]
    # the fluid around the cord is far brighter than the cord: not so bright that letters on it are lost
    window = (0.0, 1.5 * float(max(picture.max() for picture in grey)))
    frames = []
    for layer in layers:
        with fig.canvas(fig.WIDTH_IN, height) as drawing:
            for n, cell in enumerate(cells):
                picture = _blended(grey[n], window, layer, affine, cell.plane)
                lines = {BRAIN_LINE: edge[n], TISSUE: butterfly[n], SIGNIFICANT: outline[n]}
                axes = pla.draw_cell(drawing, cell, picture, window, lines, letters=n < 3)
                if n < 2:
                    _levels(axes, cell, anatomy.vertebral if n == 0 else anatomy.spinal, zs, on_left=n == 0)
                else:
                    at = heights[n - 2]
                    text = f"{_name_at(anatomy.vertebral, at)} | {_name_at(anatomy.spinal, at)}"
                    axes.set_title(text, fontsize=7.5, loc="center", pad=3.0, fontweight="normal", color=fig.INK)
            drawing.text(
                (left + room) / fig.WIDTH_IN, 1 - 0.2 / height, "vertebral level | spinal segment", ha="right", va="center",
                fontsize=8, color=fig.MUTED,
            )  # fmt: skip
            _bar(drawing, layer, fig.WIDTH_IN - 0.62, height / 2 - 1.1, 2.2)
            frames.append(fig.Frame(layer.label, fig.svg_of(drawing)))
    where = ", ".join(fig.signed(float(v), plus=False) for v in peak)
    vertebra, segment = (_name_at(spans, float(peak[2])) for spans in (anatomy.vertebral, anatomy.spinal))
    level = f"vertebral level {vertebra}, spinal segment {segment}"
    return fig.Figure(
        title=title,
        caption=(
            f"Strips through the peak ({where} mm in PAM50; {level}, each ±1) and axial tiles, top to bottom, over {template}. "
            "Vertebral levels stand left of the strips, spinal segments right of them: they are two systems, and above each tile "
            f"stand both. Blue: outline of the cord; yellow: of its grey matter, from the template. {said} Left is on the left, "
            "anterior above."
        ),
        alt=f"{title}: strips and axial tiles of the cord in PAM50 with the group's map in colour.",
        frames=tuple(frames),
    )


def _extent(mask: Mask, affine: NDArray[np.floating]) -> tuple[tuple[float, float], ...]:
    held = np.argwhere(np.asarray(mask))
    if len(held) == 0:
        raise CoSpineError("the template has no brain", "mask", "give the template's brain mask")
    corners = np.stack([held.min(axis=0), held.max(axis=0)]) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
    low, high = corners.min(axis=0) - _AROUND_MM, corners.max(axis=0) + _AROUND_MM
    return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))


def _blended(
    grey: pla.Picture, window: tuple[float, float], layer: Layer, affine: NDArray[np.floating], plane: pla.Plane
) -> NDArray[np.uint8]:
    """Anatomy with a map over it, 8-bit colours (rows, columns, 3)."""
    values = np.asarray(layer.values, dtype=np.float32)
    there = np.isfinite(values)
    # the mean over the neighbours that have a value, so that the edge of what was measured is no edge of the effect
    weight = pla.sampled(there, affine, plane.points)
    shown = pla.sampled(np.nan_to_num(values), affine, plane.points) / np.maximum(weight, 1e-3)
    colours = _colours(layer)(np.clip(0.5 + 0.5 * shown / layer.limit if layer.signed else shown / layer.limit, 0, 1))[..., :3]
    alpha = np.clip(np.abs(shown) / (_VISIBLE * layer.limit), 0, 1) ** 1.5 if layer.signed else 0.8 * (shown > 0)
    alpha = np.where(weight >= 0.5, alpha, 0.0)[..., None]
    base = fig.grey(grey, window)[..., None] * np.ones(3)
    return np.round((1 - alpha) * base + alpha * 255 * colours).astype(np.uint8)


def _colours(layer: Layer) -> Any:
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", _SIGNED) if layer.signed else matplotlib.colormaps[fig.SEQUENTIAL]


def _bar(drawing: Any, layer: Layer, left_in: float, top_in: float, height_in: float) -> None:
    """Colour bar, upright, with its name above."""
    axes = fig.place(drawing, left_in, top_in, 0.16, height_in)
    low = -layer.limit if layer.signed else 0.0
    axes.imshow(
        np.linspace(1, 0, 128)[:, None], cmap=_colours(layer), aspect="auto", interpolation="none",
        extent=(0, 1, low, layer.limit), vmin=0, vmax=1,
    )  # fmt: skip
    ticks = [low, 0.0, layer.limit] if layer.signed else [0.0, layer.limit]
    axes.set(xticks=[], yticks=ticks)
    axes.set_yticklabels([f"{tick:.3g}".replace("-", "−") for tick in ticks])
    axes.yaxis.tick_right()
    axes.spines[:].set_visible(False)
    axes.set_title(layer.label + (f" ({layer.unit})" if layer.unit else ""), fontsize=8, fontweight="normal", loc="left")


def _cross(axes: Any, plane: pla.Plane, at: NDArray[np.float64]) -> None:
    """Thin lines through a point of a plane."""
    distance = np.linalg.norm(plane.points - at, axis=-1)
    row, column = np.unravel_index(int(np.argmin(distance)), distance.shape)
    rows, columns = distance.shape
    x, y = (column + 0.5) * plane.size_mm[0] / columns, (row + 0.5) * plane.size_mm[1] / rows
    axes.axvline(x, color="white", linewidth=0.5, alpha=0.6)
    axes.axhline(y, color="white", linewidth=0.5, alpha=0.6)


def _levels(axes: Any, cell: pla.Cell, spans: Sequence[Span], z_mm: tuple[float, float], *, on_left: bool) -> None:
    """Names and boundaries of levels beside a strip."""
    width, height = cell.plane.size_mm
    edge, away, side = (0.0, -0.02 * height, "right") if on_left else (width, width + 0.02 * height, "left")
    for span in spans:
        top, bottom = z_mm[1] - span.top_mm, z_mm[1] - span.bottom_mm
        if bottom <= 0 or top >= height:
            continue
        top, bottom = max(top, 0.0), min(bottom, height)
        tick = 0.012 * height * (-1 if on_left else 1)
        axes.plot([edge, edge + tick], [top, top], color=fig.MUTED, linewidth=0.8, clip_on=False)
        axes.plot([edge, edge + tick], [bottom, bottom], color=fig.MUTED, linewidth=0.8, clip_on=False)
        if bottom - top > 0.02 * height:
            axes.text(away, (top + bottom) / 2, span.name, ha=side, va="center", fontsize=8, color=fig.INK)
    axes.set_title("vertebral" if on_left else "spinal", fontsize=8, loc="left" if on_left else "right", color=fig.MUTED)


def _name_at(spans: Sequence[Span], z_mm: float) -> str:
    return next((span.name for span in spans if span.bottom_mm <= z_mm < span.top_mm), "–")
