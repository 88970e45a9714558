"""The person's anatomy in pictures: in the brain's template, and under the functional images."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality import panels as pan
from cospine.quality import planes as pla
from cospine.quality import sections as sec

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]

TISSUE = "#ffd23f"
"""Colour of lines between tissues inside of brain or cord."""

BRAIN_LINE = "#56b4e9"
"""Outline of the brain on dark pictures: the report's blue, lighter."""

_AXIAL_Z = (-42, -20, 0, 18, 38, 58)
_AROUND_MM = 7.0
_PIXEL_MM = 1.0


def brain_planes(mask: Mask, affine: NDArray[np.floating]) -> tuple[pla.Plane, ...]:
    """The cuts through a template's brain that are shown: two sagittal, one coronal, six axial.

    Parameters
    ----------
    mask : (x, y, z) bool array
        Brain of the template, its axes along right, anterior, superior.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    """
    held = np.argwhere(mask)
    if len(held) == 0:
        raise CoSpineError("the template has no brain", "mask", "give the template's brain mask")
    corners = np.stack([held.min(axis=0), held.max(axis=0)]) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
    low, high = corners.min(axis=0) - _AROUND_MM, corners.max(axis=0) + _AROUND_MM
    x, y, z = ((float(a), float(b)) for a, b in zip(low, high, strict=True))
    long = (
        pla.sagittal(0.0, y, z, _PIXEL_MM),
        pla.sagittal(-36.0, y, z, _PIXEL_MM),
        pla.coronal(-20.0, x, z, _PIXEL_MM),
    )
    return (*long, *(pla.axial(float(at), x, y, _PIXEL_MM) for at in _AXIAL_Z if z[0] < at < z[1]))


def template_figure(
    planes: Sequence[pla.Plane],
    images: Mapping[str, Sequence[NDArray[np.floating]]],
    brain: Sequence[NDArray[np.floating]],
    white: Sequence[NDArray[np.floating]],
    space: str,
) -> fig.Figure:
    """The template and a person's images in its space, in the same cuts, for the reader to switch between.

    Parameters
    ----------
    planes : sequence of Plane
        From :func:`brain_planes`: three long cuts, then axial ones.
    images : mapping of name to sequence of (rows, columns) array
        Pictures of each image, one a plane; the template first.
    brain, white : sequence of (rows, columns) array
        The template's brain and its probability of white matter in the planes.
    space : str
        Name of the space.
    """
    long = pla.row_of(planes[:3], 0.0, fig.WIDTH_IN)
    bottom = max(cell.height_in for cell in long)
    cells = [*long, *pla.row_of(planes[3:], bottom + 0.1, fig.WIDTH_IN)] if len(planes) > 3 else long
    height = max(cell.top_in + cell.height_in for cell in cells)
    frames = []
    for name, pictures in images.items():
        window = pla.window_of(pictures, brain)
        with fig.canvas(fig.WIDTH_IN, height) as drawing:
            for n, (cell, picture) in enumerate(zip(cells, pictures, strict=True)):
                pla.draw_cell(drawing, cell, picture, window, {TISSUE: white[n], BRAIN_LINE: brain[n]}, letters=n < 4)
            frames.append(fig.Frame(name, fig.svg_of(drawing)))
    shown = list(images)
    return fig.Figure(
        title=f"Brain in {space}",
        caption=(
            f"{', '.join(shown[:-1])} and {shown[-1]} in the same cuts through {space}. Blue: outline of the template's brain; "
            "yellow: its border of grey and white matter, from the template in every picture. Both lines should follow the "
            "person's own borders. Look at the ventricles, the central sulcus, the back of the cerebellum and the brainstem, "
            "where brain and cord join; black is outside of what was measured."
        ),
        alt=f"Cuts through the brain in {space} with the template's outlines: {', '.join(shown)}.",
        frames=tuple(frames),
    )


def alignment_figure(
    epi: Volume, t1w: Volume, affine: NDArray[np.floating], *, brain: Mask, cord: Mask, suffix: str = "T1w"
) -> fig.Figure:
    """Functional and anatomical image on one grid with the anatomical image's outlines, for the reader to switch between.

    Parameters
    ----------
    epi : (x, y, z) array
        Mean of the corrected series.
    t1w : (x, y, z) array
        Anatomical image, brought to the grid of `epi`.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain, cord : (x, y, z) bool array
        Masks of the anatomical image, brought there too; one may be empty.
    suffix : str
        What the anatomical image is.
    """
    sheet = pan.sheet_of(epi.shape, affine, brain_mask=brain, cord_mask=cord)
    frames = []
    masked = np.asarray(brain, dtype=bool) | np.asarray(cord, dtype=bool)
    for label, image in (("EPI", epi), (suffix, t1w)):
        volume = sheet.view.turned(image)
        # scalp and fat are brighter than what matters
        top = 1.15 * float(np.percentile(image[masked], 99))
        with fig.canvas(*sheet.size_in) as drawing:
            titled: set[str] = set()
            for panel in sheet.panels:
                picture = pan.sampled(sheet, panel, volume)
                title = {"sagittal": f"{label}, sagittal", "coronal": f"{label}, coronal"}.get(panel.kind, "")
                if panel.kind not in titled and not title:
                    title = "Axial, brain" if panel.kind == "brain" else "Axial, around the cord"
                titled.add(panel.kind)
                window = fig.grey_window(picture) if panel.kind == "cord" else (float(np.percentile(picture, 1)), top)
                grey = fig.grey(picture, window)
                pan.draw(drawing, sheet, panel, grey, title=title, cmap="gray", vmin=0, vmax=255)
            frames.append(fig.Frame(label, fig.svg_of(drawing)))
    return fig.Figure(
        title=f"Functional image on the {suffix}",
        caption=(
            f"Mean of the corrected series and the {suffix} brought to its grid, in the same cuts; outlines are those of the "
            f"{suffix}: {sheet.words}. Let the two flicker: nothing but contrast should change. Look at the edge of the brain "
            "behind and below, at the brainstem, and at the cord in each tile. Forehead and temporal lobes may differ where the "
            "functional image lost its signal; each tile has its own grey window."
        ),
        alt=f"Functional image and {suffix} in the same cuts with the {suffix}'s outlines.",
        frames=tuple(frames),
    )


def neck_figure(
    z_mm: NDArray[np.floating],
    before_mm: NDArray[np.floating],
    after_mm: NDArray[np.floating],
    affine: NDArray[np.floating],
    in_plane: tuple[int, int],
    suffix: str = "T1w",
) -> fig.Figure:
    """Where the cord of the functional image lies against that of the anatomical one, slice by slice.

    Parameters
    ----------
    z_mm : (slices,) array
        Height of each slice.
    before_mm, after_mm : (slices, 2) array
        Offset of the two cords in-plane, toward the higher stored index: with the head's alignment alone, and with all.
    affine : (4, 4) array
        Voxel to world of the functional image, RAS mm.
    in_plane : two ints
        Stored axes of the two columns.
    suffix : str
        What the anatomical image is.
    """
    if len(z_mm) == 0:
        raise CoSpineError("no slice shows the cord in both images", "z_mm", "leave this figure out")
    order = np.argsort(z_mm)
    with fig.canvas(fig.WIDTH_IN, 3.3) as drawing:
        limit = 1.1 * max(1.0, float(np.abs(before_mm).max()), float(np.abs(after_mm).max()))
        for column, axis in enumerate(in_plane):
            name, end, sign = sec.anatomical_direction(affine, axis)
            axes = fig.place(drawing, 0.75 + column * 5.6, 0.4, 4.9, 2.4)
            axes.axvspan(-0.5, 0.5, color="#e6eaf0", linewidth=0)
            axes.plot(
                sign * before_mm[order, column], z_mm[order], color=fig.BEFORE, marker="o", markersize=2.6, label="head alone"
            )
            axes.plot(
                sign * after_mm[order, column], z_mm[order], color=fig.CORD, marker="o", markersize=2.6, label="head and neck"
            )
            axes.set(xlim=(-limit, limit), xlabel=f"mm toward {end}", ylabel="z (mm)", title=name[:1].upper() + name[1:])
            axes.grid(axis="both")
            if column == 0:
                axes.legend(loc="best", fontsize=8)
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title=f"Cord against the cord of the {suffix}",
        caption=(
            f"Middle of the cord in the functional image minus that of the {suffix} in the same slice: in grey with the head's "
            "alignment alone, in orange after the neck's own. Grey shows how far the neck bent between the two scans; orange "
            "should stay within the grey band of half a millimetre. A single slice that stands out has a doubtful mask."
        ),
        alt="Offsets of the cord between functional and anatomical image along z, before and after the neck's alignment.",
        frames=(fig.Frame("Offset", svg),),
    )
