"""What every figure of the report shares: colours, type, paper, and how it becomes text inside the page.

Figures are drawn with matplotlib's SVG backend: sharp at any size, a few tens of kilobytes, text in the reader's
own system font. Images inside keep their own resolution and are re-encoded in the smallest form that loses nothing
a reader could see.
"""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDTH_IN = 11.5
"""Width of a figure over the full page, inches of 72 points."""

BRAIN = "#0072b2"
CORD = "#d55e00"
BEFORE = "#8a94a3"
INK = "#1d2733"
MUTED = "#5d6876"
RULE = "#d5dbe3"
WARN = "#b3123f"
AXES_COLOURS = ("#0072b2", "#56b4e9", "#00795a")
"""Three lines that stay apart for colour-blind eyes and in grey: x, y, z."""

OTHER_COLOURS = ("#00795a", "#cc79a7", "#7a5c00", "#5d6876")
"""Regions that are neither brain nor cord, in order."""

DIVERGING = "RdBu_r"
SEQUENTIAL = "viridis"

SMOOTH = "smooth"
"""gid prefix of images that are to be interpolated when the browser scales them (anatomy, not matrices)."""

HALO = "halo"
"""gid of text that lies on an image and gets a dark rim."""

_RIM = "paint-order: stroke; stroke: #0b0f14; stroke-width: 2px; stroke-linejoin: round; "

_STRIP_PIXEL_MM = 0.8
_THICK_SLICE_MM = 8.0

_FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Liberation Sans',sans-serif"

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.labelsize": 8.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#aab3bf",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "axes.xmargin": 0.0,
    "grid.color": "#e6eaf0",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": "#aab3bf",
    "ytick.color": "#aab3bf",
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.1,
    "lines.solid_joinstyle": "round",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "cospine",
    "path.simplify": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Frame:
    """One picture: what it shows (for the switch above the figure) and its SVG text."""

    label: str
    svg: str


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes
    ----------
    title : str
        Headline.
    caption : str
        How to read it; plain text.
    alt : str
        What it shows, for those who cannot see it.
    frames : tuple of Frame
        One picture, or several on the same axes that the reader switches between.
    """

    title: str
    caption: str
    alt: str
    frames: tuple[Frame, ...]

    @property
    def svg(self) -> str:
        """The first (or only) picture."""
        return self.frames[0].svg


@contextmanager
def canvas(width_in: float, height_in: float) -> Iterator["Canvas"]:
    """A blank figure in the report's style; draw on it and call `svg_of` inside the block."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({**_STYLE}):  # pyright: ignore[reportArgumentType]
        drawing = Canvas(figsize=(width_in, height_in))
        FigureCanvasSVG(drawing)
        yield drawing


def svg_of(drawing: "Canvas") -> str:
    """The figure as SVG text: the same bytes for the same figure, no clock inside, fonts left to the reader."""
    text = io.StringIO()
    drawing.savefig(text, format="svg", dpi=72, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family:\s*'DejaVu Sans',\s*sans-serif", f"font-family: {_FONTS}", svg)
    svg = re.sub(r"'DejaVu Sans', sans-serif", _FONTS, svg)
    # matplotlib can rim text only by turning it into outlines, which are ten times as long.
    svg = re.sub(rf'<g id="{HALO}">(\s*)<text style="', rf'<g>\1<text style="{_RIM}', svg)
    # a hundredth of a point is less than anybody sees; contours are half as long so
    svg = re.sub(r' d="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found.group(0)), svg)
    return re.sub(r"<image [^>]*>", _reencoded, svg)


def place(drawing: "Canvas", left: float, top: float, width: float, height: float) -> "Axes":
    """Axes at a place given in inches from the top left corner."""
    full_width, full_height = drawing.get_size_inches()
    return drawing.add_axes((left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height))


def outline_on(axes: "Axes", edges: NDArray[np.float64], colour: str) -> None:
    """Draw segments (n, 2, 2) as one path: one element of the SVG instead of hundreds."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if len(edges) == 0:
        return
    path = Path(edges.reshape(-1, 2), np.tile([Path.MOVETO, Path.LINETO], len(edges)))
    # limits are those of the picture: add_patch would look for them segment by segment
    axes.add_artist(PathPatch(path, fill=False, edgecolor=colour, linewidth=1.1, capstyle="round"))


def strip_pixels(sheet: NDArray[Any], column_mm: float, row_mm: float, order: int = 3) -> NDArray[Any]:
    """Pixels of one strip, fine enough for the page.

    Fine slices are interpolated as radiology workstations do; thick ones stay slabs, so that nobody sees in the picture
    what the scanner did not.
    """
    factors = np.maximum([row_mm / _STRIP_PIXEL_MM, column_mm / _STRIP_PIXEL_MM], 1.0)
    fine = ndimage.zoom(sheet, (1.0, factors[1]), order=order, mode="nearest", grid_mode=True)
    down = order if row_mm <= _THICK_SLICE_MM else 0
    return ndimage.zoom(fine, (factors[0], 1.0), order=down, mode="nearest", grid_mode=True)


def strip_on(
    axes: "Axes", sheet: NDArray[Any], column_mm: float, height_mm: float, window: tuple[float, float] | None = None
) -> None:
    """Draw one strip in millimetres, rows from the top."""
    rows, columns = sheet.shape
    width_mm = columns * column_mm
    axes.imshow(
        grey(strip_pixels(sheet, column_mm, height_mm / rows), window or grey_window(sheet)),
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="none",
        aspect="auto",
        extent=(0, width_mm, height_mm, 0),
        gid=SMOOTH,
    )
    axes.set(xlim=(0, width_mm), ylim=(height_mm, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def signed(value: float, *, plus: bool = True) -> str:
    """A rounded number with a true minus sign, and a plus sign unless it is zero."""
    rounded = round(value)
    text = f"{rounded:+d}" if plus and rounded else f"{rounded:d}"
    return text.replace("-", "−")


def region_colour(name: str, position: int = 0) -> str:
    """Brain and cord keep their colour in every figure; others take theirs by position."""
    lowered = name.lower()
    if "cord" in lowered:
        return CORD
    if "brain" in lowered:
        return BRAIN
    return OTHER_COLOURS[position % len(OTHER_COLOURS)]


def grey(values: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Values inside a window as 8-bit grey; a window without width gives black."""
    low, high = window
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    return np.clip((values - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)


def grey_window(values: NDArray[Any]) -> tuple[float, float]:
    """Window that spares the darkest and brightest per cent."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(finite, [1.0, 99.5])
    return float(low), float(high)


def _reencoded(tag: re.Match[str]) -> str:
    """An <image> tag with its picture in the smallest form: WebP for anatomy, grey or palette PNG for matrices."""
    from PIL import Image

    text = tag.group(0)
    found = re.search(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", text)
    if found is None:
        return text
    picture = Image.open(io.BytesIO(base64.b64decode(found.group(1)))).convert("RGBA")
    packed = io.BytesIO()
    pixels = np.asarray(picture)
    if f'id="{SMOOTH}' in text:
        picture.convert("RGB").save(packed, format="WEBP", quality=88, method=4)
        kind = "webp"
        text = text.replace("image-rendering:crisp-edges;image-rendering:pixelated", "image-rendering:auto")
    else:
        opaque = bool((pixels[..., 3] == 255).all())
        colourless = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
        if opaque and colourless:
            picture = picture.convert("L")
        elif opaque:
            picture = _palette(picture)
        picture.save(packed, format="PNG", optimize=True)
        kind = "png"
    data = base64.b64encode(packed.getvalue()).decode("ascii")
    return text.replace(found.group(0), f"data:image/{kind};base64,{data}")


def _palette(picture: Any) -> Any:
    """The same picture with a palette when it has at most 256 colours, else as it was."""
    from PIL import Image

    pixels = np.asarray(picture.convert("RGB"))
    colours, index = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) > 256:
        return picture.convert("RGB")
    packed = Image.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8))
    packed.putpalette(colours.astype(np.uint8).ravel().tolist())
    return packed
