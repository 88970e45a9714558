"""Distortion in pictures: the reference before and after, the field, the two images of a pair over each other."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cospine.quality import figure as fig
from cospine.quality import panels as pan
from cospine.quality import sections as sec
from cospine.quality.field_metrics import FieldAgreement, similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]

TILE_MM = 40.0
"""Side of one tile around the cord, mm."""

_TITLES = {"sagittal": "sagittal", "coronal": "coronal", "brain": "brain", "cord": "around the cord"}
_PALE = 0.72
_ON_COLOURS = "#ffe14d"
_SHOWN_PERCENTILE = {"brain": 99.0, "cord": 90.0}


def unwarped(
    before: Volume,
    after: Volume,
    affine: NDArray[np.floating],
    *,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
    labels: tuple[str, str] = ("Before", "After"),
) -> fig.Figure:
    """The reference before and after distortion correction, both with the outlines of the corrected image's masks.

    Parameters
    ----------
    before, after : (x, y, z) array
        Distorted and corrected reference on one grid, in the stored axes.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them; those of the corrected image.
    labels : two str

    Raises
    ------
    CoSpineError
        When there is no mask with voxels.
    """
    sheet = pan.sheet_of(before.shape, affine, brain_mask=brain_mask, cord_mask=cord_mask, tile_mm=TILE_MM)
    volumes = [sheet.view.turned(before), sheet.view.turned(after)]
    pictures = [[pan.sampled(sheet, panel, volume) for volume in volumes] for panel in sheet.panels]
    windows = [fig.grey_window(np.stack(both)) for both in pictures]
    frames = []
    for which, label in enumerate(labels):
        with fig.canvas(*sheet.size_in) as drawing:
            for panel, both, window, title in zip(sheet.panels, pictures, windows, _titles(sheet, label), strict=True):
                shades = fig.grey(both[which], window)
                pan.draw(drawing, sheet, panel, shades, title=title, cmap="gray", vmin=0, vmax=255)
            frames.append(fig.Frame(label, fig.svg_of(drawing)))
    return fig.Figure(
        title="Reference before and after distortion correction",
        caption=(
            f"The outlines of {sheet.words} belong to the corrected image and are drawn on both: switch, or let it flicker, and "
            "see whether tissue jumps into its outline. Each panel has one grey window for both states, so that signal "
            "which was piled up or thinned out and has been spread again shows too."
            + (" Look at the front of the brain and above the ears." if "brain" in sheet.masks else "")
            + (
                " In the cord look between the discs and at the lower end, where displacement is largest."
                if "cord" in sheet.masks
                else ""
            )
            + _strip_words(sheet)
            + " Letters: L left, R right, A anterior, P posterior, S superior, I inferior."
        ),
        alt=f"Reference image before and after distortion correction with the outline of {sheet.words}.",
        frames=tuple(frames),
    )


def field_map(
    field_hz: Volume,
    affine: NDArray[np.floating],
    displacement_mm: Volume,
    *,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
    measured: Mask | None = None,
    axis: int | None = None,
) -> fig.Figure:
    """The field in Hz, and what it means in mm.

    Parameters
    ----------
    field_hz : (x, y, z) array
        Field, Hz.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    displacement_mm : (x, y, z) array
        Displacement along the phase-encoding voxel axis, mm, positive toward the higher index.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them.
    measured : (x, y, z) bool array, optional
        Where the field rests on signal; elsewhere it is shown pale.
    axis : int, optional
        Stored axis of phase encoding, to say in anatomical words where positive displacement goes.
    """
    sheet = pan.sheet_of(field_hz.shape, affine, brain_mask=brain_mask, cord_mask=cord_mask, tile_mm=TILE_MM, room_in=1.4)
    volume = sheet.view.turned(np.nan_to_num(field_hz))
    # The lowest cord slices may reach several times what the rest of the body does, and would fade it.
    limit = max(_round_limit(volume[mask], _SHOWN_PERCENTILE[name]) for name, mask in sheet.masks.items())
    inside = np.logical_or.reduce(list(sheet.masks.values()))
    known = None if measured is None else sheet.view.turned(np.asarray(measured, dtype=bool))
    mm_per_hz = _slope(volume[inside], sheet.view.turned(np.nan_to_num(displacement_mm))[inside])
    toward = ""
    if axis is not None:
        _, end, sign = sec.anatomical_direction(affine, axis)
        mm_per_hz, toward = mm_per_hz * sign, end
    with fig.canvas(*sheet.size_in) as drawing:
        for panel, title in zip(sheet.panels, _titles(sheet, "Field"), strict=True):
            colours = _diverging(pan.sampled(sheet, panel, volume, order=1), limit)
            if known is not None:
                guessed = 1 - np.clip(pan.sampled(sheet, panel, known.astype(np.float32), order=1), 0, 1)
                colours = colours + _PALE * guessed[..., None] * (255 - colours)
            pan.draw(drawing, sheet, panel, colours.round().astype(np.uint8), title=title)
        bar = fig.place(drawing, sheet.size_in[0] - 0.9, pan.TOP_IN + 0.25, 0.13, 2.6)
        _two_scales(drawing, bar, limit, mm_per_hz, toward)
        svg = fig.svg_of(drawing)
    extremes = "; ".join(
        f"{name} {fig.signed(low)} to {fig.signed(high)} Hz (5 to 95 %)"
        for name, mask in sheet.masks.items()
        for low, high in [np.percentile(volume[mask], [5, 95])]
    )
    return fig.Figure(
        title="Field map",
        caption=(
            f"The field at the place of the tissue: {extremes}. {abs(mm_per_hz):.3f} mm a Hz: the second scale says how far the "
            f"tissue had been displaced{f', positive toward {toward}' if toward else ' along the phase-encoding axis'}. "
            f"Colours end at ±{limit:.0f} Hz. It should be smooth but for steps at air and bone"
            + (", high above the sinuses, low above the ear canals" if "brain" in sheet.masks else "")
            + (", with a ripple along the neck from disc to disc" if "cord" in sheet.masks else "")
            + ". Streaks, blobs of one voxel and rims around the body are errors."
            + _strip_words(sheet)
            + (" Pale: without signal, continued from the surroundings." if measured is not None else "")
            + f" Outlines: {sheet.words}."
        ),
        alt=f"Map of the magnetic field in Hz with the outline of {sheet.words}; {extremes}.",
        frames=(fig.Frame("Field", svg),),
    )


def pair_images(
    first: Volume,
    second: Volume,
    first_corrected: Volume,
    second_corrected: Volume,
    affine: NDArray[np.floating],
    *,
    mask: Mask,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
    labels: tuple[str, str] = ("first", "second"),
) -> fig.Figure:
    """The two images of a pair over each other, in two colours, before and after correction.

    What only one of them shows is orange or blue, what they share is grey: an error of the field is a coloured rim, seen in
    a still picture and on paper too.

    Parameters
    ----------
    first, second : (x, y, z) array
        As acquired, on one grid.
    first_corrected, second_corrected : (x, y, z) array
        Unwarped and modulated by the Jacobian.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    mask : (x, y, z) bool array
        Tissue of the corrected images (head, or brain and cord): similarity is computed there.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        For the choice of slices: strips follow the cord, tiles stand around it. Without either the whole mask chooses.
    labels : two str
        What to call the images, for instance their phase-encoding directions.
    """
    inside = np.asarray(mask, dtype=bool)
    if brain_mask is None and cord_mask is None:
        brain_mask = inside
    sheet = pan.sheet_of(first.shape, affine, brain_mask=brain_mask, cord_mask=cord_mask, tile_mm=TILE_MM)
    sheet = pan.outlined(sheet, ("cord",))
    # One gain an image: the pair may differ in scale, and that is no error of the field.
    gains = [_bright(one, inside) for one in (first_corrected, second_corrected)]
    states = ((first, second), (first_corrected, second_corrected))
    likeness = [similarity(one, other, inside) for one, other in states]
    volumes = [[sheet.view.turned(one) / gain for one, gain in zip(pair, gains, strict=True)] for pair in states]
    pictures = [[[pan.sampled(sheet, panel, one) for one in pair] for pair in volumes] for panel in sheet.panels]
    frames = []
    for which, label in enumerate(("Before", "After")):
        with fig.canvas(*sheet.size_in) as drawing:
            for panel, shown, title in zip(sheet.panels, pictures, _titles(sheet, label), strict=True):
                window = (0.0, fig.grey_window(np.stack(shown[0] + shown[1]))[1])
                pan.draw(
                    drawing, sheet, panel, _overlaid(shown[which][0], shown[which][1], window), title=title, outline=_ON_COLOURS
                )
            frames.append(fig.Frame(label, fig.svg_of(drawing)))
    return fig.Figure(
        title="The pair over each other, before and after",
        caption=(
            f"Orange is what only the {labels[0]} image shows, blue what only the {labels[1]} image shows, grey what they share. "
            f"Corrected, the colours should go: normalised cross-correlation in the mask {likeness[0]:.3f} before, "
            f"{likeness[1]:.3f} after. A coloured rim that stays is a place where the field is wrong, or where signal was lost "
            "in one image and cannot come back. Likeness alone proves nothing: a field that bends too much buys it."
            + (
                " Yellow outline: cord mask; each tile around the cord has a brightness of its own."
                if "cord" in sheet.masks
                else ""
            )
        ),
        alt=f"Two-colour overlay of the pair; similarity {likeness[0]:.3f} before and {likeness[1]:.3f} after correction.",
        frames=tuple(frames),
    )


def field_agreement(
    found: FieldAgreement,
    affine: NDArray[np.floating],
    *,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
    names: tuple[str, str] = ("pair", "phase difference"),
) -> fig.Figure:
    """The field of the pair against that of the phase difference: voxel by voxel, and where they differ.

    Parameters
    ----------
    found : FieldAgreement
        From `cospine.quality.field_metrics.field_agreement_figures`.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them, for the choice of slices.
    names : two str
        What the fields come from.
    """
    sheet = pan.sheet_of(
        found.residual_hz.shape, affine, brain_mask=brain_mask, cord_mask=cord_mask, tiles=0, room_in=1.05,
    )  # fmt: skip
    limit = max(5.0, float(np.ceil(3 * found.rms_hz / 5)) * 5)
    volume = sheet.view.turned(found.residual_hz)
    side = 3.2
    width, height = sheet.size_in
    with fig.canvas(width, height + side + 1.15) as drawing:
        for panel, title in zip(sheet.panels, _titles(sheet, "Difference"), strict=True):
            colours = _diverging(pan.sampled(sheet, panel, volume, order=0), limit)
            pan.draw(drawing, sheet, panel, colours.round().astype(np.uint8), title=title, dark=False)
        _two_scales(drawing, fig.place(drawing, width - 0.75, pan.TOP_IN + 0.25, 0.13, 2.6), limit, 0.0, "")
        _scatter(fig.place(drawing, pan.LEFT_IN, height + 0.5, side, side), found, names)
        _spread(fig.place(drawing, pan.LEFT_IN + side + 1.3, height + 0.5, side, side), found, limit)
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title="Two fields that know nothing of each other",
        caption=(
            f"Field from the {names[0]} against field from the {names[1]}, after taking away what a different shim explains "
            f"(a polynomial of second order): slope {found.slope:.2f} (principal axis; 1 is agreement, below zero a wrong "
            f"sign), correlation {found.r:.2f}, RMS difference {found.rms_hz:.1f} Hz over {found.pair_hz.size} voxels. "
            "On the map red is where the "
            f"{names[0]} says more. Differences at edges are dropout and partial volume; a broad patch is a fault of one."
        ),
        alt=f"Histogram of two fields, slope {found.slope:.2f}, and a map of their difference, RMS {found.rms_hz:.1f} Hz.",
        frames=(fig.Frame("Agreement", svg),),
    )


def _titles(sheet: pan.Sheet, label: str) -> list[str]:
    """A title over the first panel of each kind."""
    seen: set[str] = set()
    titles = []
    for panel in sheet.panels:
        titles.append("" if panel.kind in seen else f"{label}, {_TITLES[panel.kind]}")
        seen.add(panel.kind)
    return titles


def _strip_words(sheet: pan.Sheet) -> str:
    if "cord" not in sheet.masks:
        return " The strips pass through the middle of the brain, in true proportions."
    return f" The strips follow the cord, in true proportions; tiles show {TILE_MM:.0f} mm around it from top to bottom."


def _round_limit(field_hz: NDArray[Any], percentile: float = 99.0) -> float:
    """End of a symmetric scale in Hz: a percentile of the size, rounded up to tens."""
    if field_hz.size == 0:
        return 10.0
    return max(10.0, float(np.ceil(np.percentile(np.abs(field_hz), percentile) / 10)) * 10)


def _slope(field_hz: NDArray[Any], displacement_mm: NDArray[Any]) -> float:
    """Millimetres a Hz, by least squares through zero."""
    power = float(field_hz.astype(np.float64) @ field_hz)
    return float(field_hz.astype(np.float64) @ displacement_mm) / power if power > 0 else 0.0


def _bright(image: Volume, mask: Mask) -> float:
    values = image[mask]
    return max(float(np.percentile(values, 98)), 1e-6) if values.size else 1.0


def _diverging(values: NDArray[Any], limit: float) -> NDArray[np.float64]:
    """Red above zero, blue below, 0..255."""
    from matplotlib import colormaps

    return 255 * np.asarray(colormaps[fig.DIVERGING]((values / limit + 1) / 2))[..., :3]


def _overlaid(first: NDArray[np.float32], second: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Two grey pictures as orange and blue light that adds up to white."""
    one, other = (fig.grey(picture, window).astype(np.float64) for picture in (first, second))
    return np.stack([one, (one + other) / 2, other], axis=-1).round().astype(np.uint8)


def _two_scales(drawing: Any, axes: "Axes", limit: float, mm_per_hz: float, toward: str) -> None:
    """A colour bar with Hz at the left and mm at the right."""
    ramp = np.linspace(1, -1, 256)[:, None]
    axes.imshow(_diverging(ramp, 1.0).round().astype(np.uint8), aspect="auto", interpolation="none",
                extent=(0, 1, -limit, limit))  # fmt: skip
    axes.set(xticks=[])
    axes.spines[:].set_visible(False)
    axes.locator_params(axis="y", nbins=7)
    axes.set_title("Hz", loc="right" if mm_per_hz else "left", fontweight="normal", fontsize=8, color=fig.MUTED, x=-0.4)
    if not mm_per_hz:
        return
    other = axes.twinx()
    other.set_ylim(-limit * mm_per_hz, limit * mm_per_hz)
    other.spines[:].set_visible(False)
    other.locator_params(axis="y", nbins=7)
    axes.annotate(f"mm\n{toward}" if toward else "mm", (1, 1), (6, 6), "axes fraction", "offset points", va="bottom",
                  fontsize=8, color=fig.MUTED)  # fmt: skip


def _scatter(axes: "Axes", found: FieldAgreement, names: tuple[str, str]) -> None:
    """Voxels by both fields, on a logarithmic scale of grey, with the principal axis and the line of agreement."""
    from matplotlib.colors import LogNorm

    limit = _round_limit(np.concatenate([found.pair_hz, found.phase_hz]))
    bins = np.linspace(-limit, limit, 81)
    counts, _, _ = np.histogram2d(found.pair_hz, found.phase_hz, bins=(bins, bins))
    axes.imshow(
        np.where(counts > 0, counts, np.nan), origin="lower", extent=(-limit, limit, -limit, limit), cmap="Blues",
        norm=LogNorm(0.5, max(float(counts.max()), 1.0)), interpolation="none",
    )  # fmt: skip
    ends = np.array([-limit, limit])
    axes.plot(ends, ends, color=fig.BEFORE, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.plot(ends, found.slope * ends, color=fig.CORD)
    axes.text(0.03, 0.97, f"slope {found.slope:.2f}\nr {found.r:.2f}", transform=axes.transAxes, va="top", color=fig.CORD,
              weight="bold")  # fmt: skip
    axes.set(xlim=ends, ylim=ends, xlabel=f"{names[1]} (Hz)", ylabel=f"{names[0]} (Hz)", title="Voxel by voxel")


def _spread(axes: "Axes", found: FieldAgreement, limit: float) -> None:
    difference = found.pair_hz - found.phase_hz
    share, edges = np.histogram(difference, bins=np.linspace(-limit, limit, 61))
    steps, heights = np.repeat(edges, 2)[1:-1], np.repeat(100 * share / difference.size, 2)
    axes.fill_between(steps, 0, heights, color=fig.BRAIN, alpha=0.18, linewidth=0)
    axes.plot(steps, heights, color=fig.BRAIN)
    axes.axvline(0.0, color=fig.BEFORE, linewidth=0.9)
    axes.set(xlim=(-limit, limit), xlabel="difference (Hz)", ylabel="% of voxels", title=f"Difference, RMS {found.rms_hz:.1f} Hz")
    axes.set_ylim(bottom=0)
