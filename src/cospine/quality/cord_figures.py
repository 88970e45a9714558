"""The cord's levels, and the cord in PAM50. Vertebral and spinal levels are never the same: every band is named."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.levels import segment_name, vertebra_name
from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality import panels as pan
from cospine.quality import planes as pla
from cospine.quality import sections as sec
from cospine.quality.anatomy_figures import TISSUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SURE, LIKELY = 0.8, 0.5
"""Confidence of a disc from which its line is solid, and from which it is dashed; below it is dotted."""

_DISC_LINE = "#f0e442"
_VERTEBRAL, _SPINAL = ("#c9dcec", "#e8f0f7"), ("#f6d5bd", "#fbeadd")
_BACK_MM, _FRONT_MM, _ABOVE_MM, _BELOW_MM = 28.0, 48.0, 14.0, 8.0
_DISC_MM = (-6.0, 26.0)  # from the cord's middle, forward
_HEIGHT_IN = 6.0
_TILE_PIXEL_MM = 0.25


@dataclass(frozen=True)
class Neck:
    """An image on which levels are shown.

    Attributes
    ----------
    name : str
        ``T1w`` or ``EPI``.
    image : (x, y, z) array
    affine : (4, 4) array
        Voxel to world, RAS mm.
    cord : (x, y, z) bool array
        Not empty.
    vertebral, spinal : (x, y, z) array of int
        Levels of the cord's voxels, 0 for none.
    discs : mapping of int to (3,) array
        Point of the cord at the height of each disc, RAS mm of this image.
    """

    name: str
    image: NDArray[np.floating] = field(repr=False)
    affine: NDArray[np.floating] = field(repr=False)
    cord: NDArray[np.bool_] = field(repr=False)
    vertebral: NDArray[np.integer] = field(repr=False)
    spinal: NDArray[np.integer] = field(repr=False)
    discs: Mapping[int, NDArray[np.floating]] = field(repr=False)


def levels_figure(necks: Sequence[Neck], confidence: Mapping[int, float]) -> fig.Figure:
    """Discs, vertebral levels and spinal segments on a sagittal sheet that follows the cord.

    Parameters
    ----------
    necks : sequence of Neck
        Images, side by side.
    confidence : mapping of int to float
        Of each disc, 0-1.

    Raises
    ------
    CoSpineError
        When there is no image, or one has an empty cord.
    """
    if not necks or not all(neck.cord.any() for neck in necks):
        raise CoSpineError("no cord to show levels on", "levels", "leave this figure out")
    sheets = [_sheet(neck) for neck in necks]
    scale = min(_HEIGHT_IN / max(one.size_mm[1] for one in sheets), 8.0 / sum(one.size_mm[0] for one in sheets))
    width = sum(one.size_mm[0] * scale + 2.0 for one in sheets)
    with fig.canvas(max(width, 4.5), max(one.size_mm[1] for one in sheets) * scale + 1.0) as drawing:
        left = 0.0
        for neck, one in zip(necks, sheets, strict=True):
            across, down = one.size_mm[0] * scale, one.size_mm[1] * scale
            axes = fig.place(drawing, left + 0.85, 0.62, across, down)
            fig.strip_on(axes, one.sheet, one.column_mm, one.size_mm[1])
            for number, points in one.discs.items():
                sure = confidence.get(number, 0.0)
                style = "-" if sure >= SURE else "--" if sure >= LIKELY else ":"
                axes.plot(points[:, 0], points[:, 1], color=_DISC_LINE, linestyle=style, linewidth=1.3)
                pan.note(axes, points[1, 0] + 0.6, points[1, 1], f"{number}", va="center", weight="bold")
            axes.set(xlim=(0, one.size_mm[0]), ylim=(one.size_mm[1], 0))
            pan.note(axes, 1.5, one.size_mm[1] / 2, "P", va="center", weight="bold")
            pan.note(axes, one.size_mm[0] - 1.5, one.size_mm[1] / 2, "A", va="center", ha="right", weight="bold")
            axes.set_title(f"{neck.name}, along the cord", pad=24)
            for side, labels, name, system, colours in (
                (left + 0.35, one.spinal, segment_name, "spinal\nsegment", _SPINAL),
                (left + 0.9 + across, one.vertebral, vertebra_name, "vertebral\nlevel", _VERTEBRAL),
            ):
                strip = fig.place(drawing, side, 0.62, 0.44, down)
                bands(strip, one.row_edges_mm, labels, name, colours, upright=True)
                strip.set(xlim=(0, 1), ylim=(one.size_mm[1], 0))
                strip.set_title(system, fontsize=7, fontweight="normal", loc="center", pad=3, color=fig.MUTED)
            left += across + 2.0
        svg = fig.svg_of(drawing)
    names = " and ".join(neck.name for neck in necks)
    said = ", ".join(f"{number}: {confidence.get(number, 0.0):.2f}" for number in sorted(confidence))
    return fig.Figure(
        title=f"Levels on the {names}",
        caption=(
            "A sagittal sheet that follows the cord left and right. Yellow lines: discs, numbered as in desc-discs_points.tsv "
            "(1 is the top of C1, 2 is C1–C2, 3 is C2–C3); solid where their confidence is "
            f"{SURE:g} or more, dashed from {LIKELY:g}, dotted below ({said}). At the front VERTEBRAL levels, at the back SPINAL "
            "segments: spinal segments lie higher than the vertebrae of the same name, by about one at C6, and differ between "
            "people by about one segment. Each line should meet the middle of a disc in front of the cord (dark between "
            "vertebrae on a T1w), and line 3 the first disc below the dens. A count that is off by one is mended with --discs."
        ),
        alt=f"Sagittal sheet along the cord on the {names} with discs, vertebral levels and spinal segments.",
        frames=(fig.Frame("Levels", svg),),
    )


@dataclass(frozen=True)
class _Sheet:
    """A cropped sheet along the cord in millimetres from its top left corner."""

    sheet: NDArray[np.float32]
    column_mm: float
    size_mm: tuple[float, float]
    row_edges_mm: NDArray[np.floating]
    vertebral: NDArray[np.int_]
    spinal: NDArray[np.int_]
    discs: dict[int, NDArray[np.float64]]


def _sheet(neck: Neck) -> _Sheet:
    view = sec.view_of(neck.affine, neck.image.shape)
    cord = view.turned(neck.cord)
    present, centres = sec.cord_path(cord)
    _, column_mm, row_mm = (float(s) for s in view.spacing_mm)
    top = min(int(present.max() + round(_ABOVE_MM / row_mm)) + 1, cord.shape[2])
    bottom = max(int(present.min() - round(_BELOW_MM / row_mm)), 0)
    along = centres[present, 1]
    first = max(int(along.min() - _BACK_MM / column_mm), 0)
    last = min(int(along.max() + _FRONT_MM / column_mm) + 1, cord.shape[1])
    sheet = sec.curved_sagittal(view.turned(neck.image)[:, first:last, bottom:top], centres[bottom:top] - [0, first])
    inverse = np.linalg.inv(view.affine)
    slope = np.gradient(centres[:, 1] * column_mm, row_mm)
    discs = {}
    for number, point in neck.discs.items():
        _, anterior, superior = inverse[:3, :3] @ np.asarray(point, dtype=np.float64) + inverse[:3, 3]
        if not bottom - 0.5 <= superior <= top - 0.5:
            continue
        # discs stand across the cord: forward along the normal of its curve
        lean = float(np.interp(superior, np.arange(len(slope)), slope))
        forward = np.array([1.0, lean]) / np.hypot(1.0, lean)
        middle = np.array([(anterior - first + 0.5) * column_mm, (top - 0.5 - superior) * row_mm])
        discs[number] = middle + np.array(_DISC_MM)[:, None] * forward
    rows = top - bottom
    vertebral, spinal = (level_of_slices(view.turned(labels))[bottom:top][::-1] for labels in (neck.vertebral, neck.spinal))
    size_mm = ((last - first) * column_mm, rows * row_mm)
    return _Sheet(sheet, column_mm, size_mm, np.arange(rows + 1) * row_mm, vertebral, spinal, discs)


def level_of_slices(labels: NDArray[np.integer]) -> NDArray[np.int_]:
    """The level that most voxels of each slice (last axis) have, 0 where none has one."""
    found = np.zeros(labels.shape[2], dtype=int)
    for k in np.flatnonzero(labels.any(axis=(0, 1))):
        held = labels[..., k]
        found[k] = np.bincount(held[held > 0].astype(int)).argmax()
    return found


def bands(
    axes: "Axes",
    edges_mm: NDArray[np.floating],
    labels: NDArray[np.integer],
    name: Callable[[int], str],
    colours: tuple[str, str],
    *,
    upright: bool,
) -> None:
    """Draw runs of equal labels as bands with their names, along y when upright, else along x; axes lose their frame."""
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(labels)], strict=True):
        value = int(labels[start])
        if value == 0:
            continue
        low, high = float(edges_mm[start]), float(edges_mm[end])
        span = axes.axhspan if upright else axes.axvspan
        span(low, high, facecolor=colours[value % 2], edgecolor="white", linewidth=0.8)
        middle = (low + high) / 2
        axes.text(*((0.5, middle) if upright else (middle, 0.5)), name(value), ha="center", va="center", size=7.5, clip_on=True)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


# --- PAM50 ----------------------------------------------------------------------------------------------------------


def cord_planes(
    vertebral: NDArray[np.integer], cord: NDArray[np.floating], affine: NDArray[np.floating]
) -> tuple[pla.Plane, ...]:
    """The cuts through a cord template that are shown: one sagittal, one coronal, and the middle of every vertebral level.

    Parameters
    ----------
    vertebral : (x, y, z) array of int
        Vertebral levels of the template.
    cord : (x, y, z) array
        Its cord, 0-1.
    affine : (4, 4) array
        Voxel to world, RAS mm; its axes along those of the world, any sign.
    """
    ends = np.array([[-0.5] * 3, np.array(cord.shape) - 0.5]) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
    x, y, z = ((float(a), float(b)) for a, b in zip(ends.min(axis=0), ends.max(axis=0), strict=True))
    inside = np.argwhere(np.asarray(cord) >= 0.5)
    middle = inside.mean(axis=0) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
    tiles = []
    side = min(x[1] - x[0], y[1] - y[0]) / 2
    for level in np.unique(vertebral[vertebral > 0]).astype(int).tolist():
        at = np.argwhere(vertebral == level).mean(axis=0) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
        label = f"vertebral {vertebra_name(level)}, z {fig.signed(at[2], plus=False)}"
        about = ((float(middle[0] - side), float(middle[0] + side)), (float(middle[1] - side), float(middle[1] + side)))
        tiles.append(pla.axial(round(at[2]), *about, _TILE_PIXEL_MM, label))
    return (pla.sagittal(float(middle[0]), y, z, 0.5, " "), pla.coronal(float(middle[1]), x, z, 0.5, " "), *tiles)


def cord_template_figure(
    planes: Sequence[pla.Plane],
    images: Mapping[str, Sequence[NDArray[np.floating]]],
    cord: Sequence[NDArray[np.floating]],
    grey: Sequence[NDArray[np.floating]],
    vertebral: NDArray[np.integer],
    spinal: NDArray[np.integer],
    edges_mm: NDArray[np.floating],
    template: str,
) -> fig.Figure:
    """The cord template and a person's images in its space, straightened, for the reader to switch between.

    Parameters
    ----------
    planes : sequence of Plane
        From :func:`cord_planes`.
    images : mapping of name to sequence of (rows, columns) array
        Pictures of each image, one a plane; the template first.
    cord, grey : sequence of (rows, columns) array
        The template's probability of cord and of grey matter in the planes.
    vertebral, spinal : (n,) array of int
        Levels of the template, from the top slice down.
    edges_mm : (n + 1,) array
        Distance of those slices' edges from the top of the box, mm.
    template : str
        Which template it is.
    """
    height = 5.0
    scale = height / planes[0].size_mm[1]
    left = 0.55
    cells = [pla.Cell(planes[0], left, 0.55, planes[0].size_mm[0] * scale)]
    right = left + cells[0].width_in + 0.6
    cells.append(pla.Cell(planes[1], right, 0.55, planes[1].size_mm[0] * scale))
    right += cells[1].width_in + 0.25
    columns = max(1, -(-len(planes[2:]) // 2))
    side = min((fig.WIDTH_IN - right) / columns - 0.06, (height - 0.06) / 2)
    for n, plane in enumerate(planes[2:]):
        row, column = divmod(n, columns)
        cells.append(pla.Cell(plane, right + column * (side + 0.06), 0.55 + row * (side + 0.06), side))
    frames = []
    for name, pictures in images.items():
        with fig.canvas(right + columns * (side + 0.06), height + 0.6) as drawing:
            window = pla.window_of(pictures[:2])
            for n, (cell, picture) in enumerate(zip(cells, pictures, strict=True)):
                own = window if n < 2 else fig.grey_window(picture[picture != 0])
                axes = pla.draw_cell(drawing, cell, picture, own, {TISSUE: grey[n], fig.CORD: cord[n]}, letters=n < 3)
                if n < 2:
                    axes.set_title(("Sagittal", "Coronal")[n], pad=22)
                elif n == 2:
                    axes.set_title(f"{name}, axial at the middle of each vertebral level", pad=22)
            for at, labels, named, system, colours in (
                (left - 0.5, spinal, segment_name, "spinal\nsegment", _SPINAL),
                (left + cells[0].width_in + 0.06, vertebral, vertebra_name, "vertebral\nlevel", _VERTEBRAL),
            ):
                strip = fig.place(drawing, at, 0.55, 0.44, height)
                bands(strip, edges_mm, labels, named, colours, upright=True)
                strip.set(xlim=(0, 1), ylim=(planes[0].size_mm[1], 0))
                strip.set_title(system, fontsize=7, fontweight="normal", loc="center", pad=3, color=fig.MUTED)
            frames.append(fig.Frame(name, fig.svg_of(drawing)))
    shown = list(images)
    return fig.Figure(
        title=f"Cord in PAM50, {' and '.join(shown[1:])}",
        caption=(
            f"{', '.join(shown[:-1])} and {shown[-1]} in PAM50's straight space; the template is {template}. Orange: outline of "
            "the template's cord; yellow: its grey matter; both from the template in every picture. The cord should fill the "
            "orange line at every level, and CSF should lie around it on all sides. Grey matter is not aligned by itself: the "
            "yellow line says where the template has it. Black was not measured. Levels at the front are VERTEBRAL, those at the "
            "back SPINAL segments."
        ),
        alt=f"Straightened cord in PAM50 with the template's outlines: {', '.join(shown)}.",
        frames=tuple(frames),
    )


def dice_figure(
    z_mm: NDArray[np.floating],
    dice: Mapping[str, NDArray[np.floating]],
    coverage: NDArray[np.floating],
    vertebral: NDArray[np.integer],
    spinal: NDArray[np.integer],
) -> fig.Figure:
    """Dice of a person's cord with the template's in every slice of the template.

    Parameters
    ----------
    z_mm : (n,) array
        Heights of the template's slices, even steps.
    dice : mapping of image to (n,) array
        NaN where the cord was not seen.
    coverage : (n,) array
        Confidence of the cord mask there, 0 where it was not seen.
    vertebral, spinal : (n,) array of int
        Levels of the template's slices.
    """
    order = np.argsort(-z_mm)
    z, covered = z_mm[order], np.asarray(coverage)[order]
    half = abs(float(z[1] - z[0])) / 2
    edges = np.append(z + half, z[-1] - half)
    known = (vertebral[order] > 0) | (spinal[order] > 0)
    span = (float(z[known].max()) + 2, float(z[known].min()) - 2) if known.any() else (float(edges[0]), float(edges[-1]))
    with fig.canvas(fig.WIDTH_IN, 3.5) as drawing:
        for row, (labels, name, system, colours) in enumerate(
            ((vertebral, vertebra_name, "vertebral level", _VERTEBRAL), (spinal, segment_name, "spinal segment", _SPINAL))
        ):
            strip = fig.place(drawing, 1.15, 0.08 + 0.3 * row, fig.WIDTH_IN - 1.3, 0.26)
            bands(strip, edges, labels[order], name, colours, upright=False)
            strip.set(xlim=span, ylim=(0, 1))
            strip.set_ylabel(system, rotation=0, ha="right", va="center", fontsize=7.5)
        axes = fig.place(drawing, 1.15, 0.75, fig.WIDTH_IN - 1.3, 2.2)
        axes.fill_between(z, 0, covered, color="#e6eaf0", linewidth=0, step="mid", label="confidence of the mask")
        for n, (name, values) in enumerate(dice.items()):
            colour = fig.CORD if name == "EPI" else fig.OTHER_COLOURS[n % len(fig.OTHER_COLOURS)]
            axes.plot(z, values[order], color=colour, linewidth=1.5, label=f"{name}, Dice")
        axes.set(xlim=span, ylim=(0, 1.02), xlabel="z in PAM50 (mm), from top to bottom", ylabel="Dice")
        axes.grid(axis="y")
        axes.legend(loc="lower left", fontsize=8, ncols=3, frameon=True, facecolor="white", edgecolor="none", framealpha=1)
        svg = fig.svg_of(drawing)
    said = "; ".join(f"{name} {np.nanmedian(values):.2f}" for name, values in dice.items() if np.isfinite(values).any())
    return fig.Figure(
        title="Overlap with the template's cord",
        caption=(
            "Dice of the person's cord, brought to PAM50, with the template's in every slice (1 is the same outline; median "
            f"{said or 'not known'}). Grey area: confidence of the mask that it was brought by; where there is none the cord was "
            "not seen and the map is carried on. An EPI with thick slices and large voxels rarely exceeds 0.9. A dip over one "
            "level marks a disc or a mask that is wrong there."
        ),
        alt="Dice of the cord in PAM50 by height, with vertebral and spinal levels.",
        frames=(fig.Frame("Dice", svg),),
    )
