"""Flat cuts through a template's space: where their points are, images sampled there, and boards of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.quality import figure as fig
from cospine.quality import panels as pan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Picture = NDArray[np.floating]


@dataclass(frozen=True)
class Plane:
    """One cut: a lattice of points, rows from the top of the picture, columns from its left.

    Attributes
    ----------
    points : (rows, columns, 3) array
        RAS mm.
    size_mm : (width, height)
    letters : str
        Anatomical ends: left, right, top, bottom of the picture.
    label : str
        Where the cut is, written into the picture.
    """

    points: NDArray[np.float64] = field(repr=False)
    size_mm: tuple[float, float]
    letters: str
    label: str


def axial(z_mm: float, x_mm: tuple[float, float], y_mm: tuple[float, float], step_mm: float, label: str = "") -> Plane:
    """Axial cut, anterior up, left on the left."""
    x, y = _centres(*x_mm, step_mm), _centres(*y_mm, step_mm)[::-1]
    return _plane(x[None, :], y[:, None], np.float64(z_mm), step_mm, "LRAP", label or f"z {fig.signed(z_mm, plus=False)} mm")


def sagittal(x_mm: float, y_mm: tuple[float, float], z_mm: tuple[float, float], step_mm: float, label: str = "") -> Plane:
    """Sagittal cut, superior up, posterior on the left."""
    y, z = _centres(*y_mm, step_mm), _centres(*z_mm, step_mm)[::-1]
    return _plane(np.float64(x_mm), y[None, :], z[:, None], step_mm, "PASI", label or f"x {fig.signed(x_mm, plus=False)} mm")


def coronal(y_mm: float, x_mm: tuple[float, float], z_mm: tuple[float, float], step_mm: float, label: str = "") -> Plane:
    """Coronal cut, superior up, left on the left."""
    x, z = _centres(*x_mm, step_mm), _centres(*z_mm, step_mm)[::-1]
    return _plane(x[None, :], np.float64(y_mm), z[:, None], step_mm, "LRSI", label or f"y {fig.signed(y_mm, plus=False)} mm")


def sampled(volume: NDArray, affine: NDArray, points: NDArray, order: int = 1) -> NDArray[np.float32]:
    """Values of an image (x, y, z) at points (.., 3) in RAS mm; 0 outside of it."""
    inverse = np.linalg.inv(np.asarray(affine, dtype=np.float64))
    voxel = np.asarray(points, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
    values = np.asarray(volume, dtype=np.float32)
    found = ndimage.map_coordinates(values, voxel.reshape(-1, 3).T, order=order, mode="constant", cval=0.0)
    return np.asarray(found, dtype=np.float32).reshape(voxel.shape[:-1])


@dataclass(frozen=True)
class Cell:
    """Where one plane stands on a board: inches from the top left corner, and the width."""

    plane: Plane
    left_in: float
    top_in: float
    width_in: float

    @property
    def height_in(self) -> float:
        """Height in the plane's own proportions."""
        return self.width_in * self.plane.size_mm[1] / self.plane.size_mm[0]


def row_of(planes: Sequence[Plane], top_in: float, width_in: float, gap_in: float = 0.08) -> list[Cell]:
    """Planes side by side in one scale, filling a width."""
    scale = (width_in - gap_in * (len(planes) - 1)) / sum(plane.size_mm[0] for plane in planes)
    cells, left = [], 0.0
    for plane in planes:
        cells.append(Cell(plane, left, top_in, plane.size_mm[0] * scale))
        left += plane.size_mm[0] * scale + gap_in
    return cells


def window_of(pictures: Sequence[Picture], inside: Sequence[Picture] | None = None) -> tuple[float, float]:
    """One grey window for all pictures of an image.

    Parameters
    ----------
    pictures : sequence of (rows, columns) array
        What lies outside of the image (0) does not count.
    inside : sequence of (rows, columns) array, optional
        Masks or probabilities of what matters, so that bright fat elsewhere does not darken it.
    """
    chosen = [np.asarray(one)[np.asarray(one) != 0] for one in pictures]
    window = fig.grey_window(np.concatenate(chosen))
    if inside is None:
        return window
    body = np.concatenate([one[(one != 0) & (np.asarray(m) >= 0.5)] for one, m in zip(pictures, inside, strict=True)])
    return (window[0], 1.15 * float(np.percentile(body, 99))) if body.size else window


def draw_cell(
    drawing: Any,
    cell: Cell,
    picture: NDArray[Any],
    window: tuple[float, float],
    contours: Mapping[str, Picture],
    letters: bool = True,
) -> "Axes":
    """Draw one plane with the lines where some probabilities cross one half.

    Parameters
    ----------
    drawing : matplotlib Figure
    cell : Cell
    picture : (rows, columns) array, or (rows, columns, 3) of 8-bit colours
    window : (low, high)
        Of grey; colours are shown as they are.
    contours : mapping of colour to (rows, columns) array
        Probabilities or masks.
    letters : bool
        Whether the anatomical ends are named.

    Returns
    -------
    matplotlib Axes
        In millimetres, y downward.
    """
    width, height = cell.plane.size_mm
    axes = fig.place(drawing, cell.left_in, cell.top_in, cell.width_in, cell.height_in)
    axes.imshow(
        picture if picture.ndim == 3 else fig.grey(picture, window), cmap="gray", vmin=0, vmax=255, interpolation="none",
        aspect="auto", extent=(0, width, height, 0), gid=fig.SMOOTH,
    )  # fmt: skip
    rows, columns = picture.shape[:2]
    x, y = (np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows
    for colour, share in contours.items():
        if share.min() < 0.5 <= share.max():
            axes.contour(x, y, np.asarray(share, dtype=np.float32), levels=[0.5], colors=[colour], linewidths=0.9)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    pan.note(axes, 0.03 * width, height - 0.03 * width, cell.plane.label, va="bottom", size=6.5)
    if letters:
        ends = ((0.03, 0.5, "left"), (0.97, 0.5, "right"), (0.5, 0.05, "center"), (0.5, 0.95, "center"))
        for letter, (right, down, side) in zip(cell.plane.letters, ends, strict=True):
            pan.note(axes, right * width, down * height, letter, ha=side, va="center", weight="bold")
    return axes


def _centres(low: float, high: float, step: float) -> NDArray[np.floating]:
    return low + (np.arange(max(round((high - low) / step), 1)) + 0.5) * step


def _plane(
    x: NDArray | np.float64, y: NDArray | np.float64, z: NDArray | np.float64, step: float, letters: str, label: str
) -> Plane:
    points = np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float64)
    rows, columns = points.shape[:2]
    return Plane(points, (columns * step, rows * step), letters, label)
