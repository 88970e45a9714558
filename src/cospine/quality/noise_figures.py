"""What the noise model took, and where: maps, regions and heights of partial R²; thermal noise."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality import panels as pan
from cospine.quality.physio_figures import SET_COLOURS, set_words, small_svg
from cospine.signal.partial import PartialTests, SetTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]

TILE_MM = 40.0
"""Side of one tile around the cord, mm."""

NOMINAL = 0.05
"""Level at which voxels are counted."""

BEYOND_CHANCE = 0.075
"""Share of voxels below that level from which a set does something: half as many again as by chance, for slow noise."""

_SURE, _UNSURE = 0.001, 0.2  # p from which colour is opaque, and from which there is none
_BETWEEN = 1.1  # rows between two regions, for the name of the next
_TOTAL = "all sets"


def explained_maps(
    tests: PartialTests,
    mean: Volume,
    affine: NDArray[np.floating],
    *,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
) -> fig.Figure:
    """Adjusted partial R² of every set of regressors over the mean image, one set at a time.

    Parameters
    ----------
    tests : PartialTests
        From `cospine.signal.partial.partial_tests`.
    mean : (x, y, z) array
        Temporal mean, for orientation.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them; they choose the slices and are outlined.

    Raises
    ------
    CoSpineError
        When there is no mask with voxels.
    """
    sheet = pan.sheet_of(mean.shape, affine, brain_mask=brain_mask, cord_mask=cord_mask, tile_mm=TILE_MM, room_in=0.8)
    every = _named(tests)
    limit = _upper(every)
    masks = [np.asarray(mask, dtype=bool) for mask in (brain_mask, cord_mask) if mask is not None]
    places = [*masks, ~np.logical_or.reduce(masks)] if masks else []
    shown = {name: test for name, test in every.items() if name == _TOTAL or len(every) == 1 or _does_something(test, places)}
    idle = [set_words(name) for name in every if name not in shown]
    greys = pan.shades(sheet, mean)
    frames = []
    for name, test in shown.items():
        strength, opacity = (sheet.view.turned(values) for values in _layers(test, limit))
        colours = [
            _coloured(under, pan.sampled(sheet, panel, strength, order=0), pan.sampled(sheet, panel, opacity, order=0))
            for panel, under in zip(sheet.panels, greys, strict=True)
        ]
        with fig.canvas(*sheet.size_in) as drawing:
            pan.draw_all(drawing, sheet, colours, _sentence(set_words(name)), outline="white")
            _scale(fig.place(drawing, sheet.size_in[0] - 0.62, pan.TOP_IN + 0.25, 0.13, 2.6), limit)
            frames.append(fig.Frame(_sentence(set_words(name)), small_svg(drawing)))
    return fig.Figure(
        title="Where the noise is, and which set of regressors takes it",
        caption=(
            "Share of the variance that a set explains beside all other columns of the model (partial R²), less what as many "
            "random columns would explain: adjusted, so that zero is noise. One scale for all sets, compressed so that small "
            f"shares can be seen. Colour is solid where the F test gives p < {_SURE:g} and fades out toward p = {_UNSURE:g}; "
            "voxels without colour were not tested or show nothing. Expect the pulse in the CSF around the cord, at the base of "
            "the brain and along large vessels; breathing at edges and down the neck; little in white matter. Speckle all over, "
            "without anatomy, is chance. "
            + (
                "In CSF the CSF column, which is its mean, explains itself; look elsewhere for what it does. "
                if "csf" in shown
                else ""
            )
            + (f"Not shown, for they explain no more than chance anywhere: {', '.join(idle)}. " if idle else "")
            + f"White outlines: {sheet.words.replace(' (blue)', '').replace(' (orange)', '')}."
        ),
        alt=f"Maps of adjusted partial R² for {', '.join(map(set_words, shown))} over the mean image.",
        frames=tuple(frames),
    )


def explained_summary(
    tests: PartialTests,
    regions: Mapping[str, Mask],
    affine: NDArray[np.floating],
    *,
    cord_mask: Mask | None = None,
    slice_axis: int = 2,
) -> fig.Figure:
    """Adjusted partial R² and share of voxels below p = 0.05, by region and set; its profile along the cord.

    Parameters
    ----------
    tests : PartialTests
        From `cospine.signal.partial.partial_tests`.
    regions : mapping of name to (x, y, z) bool array
        Brain, cord, CSF around the cord ...
    affine : (4, 4) array
        Voxel to world, RAS mm.
    cord_mask : (x, y, z) bool array, optional
        Adds the profile by slice.
    slice_axis : int
        Stored axis along which slices were acquired.

    Raises
    ------
    CoSpineError
        When no region holds a voxel that was tested.
    """
    shown = _named(tests)
    known = np.isfinite(tests.total.adjusted_r2)
    filled = {name: mask for name, mask in regions.items() if np.any(np.asarray(mask, dtype=bool) & known)}
    if not filled:
        raise CoSpineError(
            "no region holds a voxel that was tested", "regions", "Test the voxels of these regions, or leave it out."
        )
    rows = [(region, name) for region in filled for name in shown]
    profile = cord_mask is not None and bool(np.any(np.asarray(cord_mask, dtype=bool) & known))
    height = max(0.21 * (len(rows) + _BETWEEN * len(filled)), 2.3)
    left, bars = 1.5, 3.1 if profile else 4.6
    with fig.canvas(fig.WIDTH_IN, 0.45 + height + 0.6) as drawing:
        size = fig.place(drawing, left, 0.45, bars, height)
        share = fig.place(drawing, left + bars + 0.35, 0.45, 0.62 * bars, height)
        said = _bars(size, share, shown, filled)
        if profile and cord_mask is not None:
            start = left + 1.62 * bars + 1.15
            _profile(fig.place(drawing, start, 0.45, fig.WIDTH_IN - start - 0.85, height), shown, cord_mask, affine, slice_axis)
        svg = small_svg(drawing)
    chance = "; ".join(f"{set_words(name)} {100 * _median_known(test.null_r2):.1f} %" for name, test in shown.items())
    return fig.Figure(
        title="What the noise model took, by region",
        caption=(
            "Left: adjusted partial R², mean over the voxels of a region, with the range from the 25th to the 75th percentile; "
            "zero (line) is what columns of noise would get. Raw R² says nothing and is not shown: by chance alone "
            f"it would be {chance}. Middle: share of voxels with p < {NOMINAL:g}, which is {100 * NOMINAL:.0f} % where a set "
            "explains nothing (dashed); the F test is whitened by AR(1), slower noise than that raises the share a little. "
            + ("Right: mean over the cord, slice by slice, of sets that do something there. " if profile else "")
            + _sentence("; ".join(said))
            + "."
        ),
        alt=f"Bars of adjusted partial R² and of the share of voxels below p = {NOMINAL:g}: {'; '.join(said)}.",
        frames=(fig.Frame("Explained", svg),),
    )


def thermal_figure(
    noise_sd: Volume,
    removed: Volume,
    affine: NDArray[np.floating],
    *,
    most: int,
    taken_sd: Volume | None = None,
    brain_mask: Mask | None = None,
    cord_mask: Mask | None = None,
) -> fig.Figure:
    """Thermal noise that was found, and how much was taken away.

    Parameters
    ----------
    noise_sd : (x, y, z) array
        Standard deviation of the noise, in units of the image.
    removed : (x, y, z) array
        Principal components taken away, mean over the patches that hold the voxel.
    affine : (4, 4) array
        Voxel to world, RAS mm.
    most : int
        Components of a patch: the most that could be taken.
    taken_sd : (x, y, z) array, optional
        Standard deviation in time of what was taken away; where it holds more than noise it shows anatomy.
    brain_mask, cord_mask : (x, y, z) bool array, optional
        At least one of them.

    Raises
    ------
    CoSpineError
        When there is no mask with voxels.
    """
    from matplotlib.colors import Normalize, PowerNorm

    sheet = pan.sheet_of(noise_sd.shape, affine, brain_mask=brain_mask, cord_mask=cord_mask, tile_mm=TILE_MM, room_in=0.8)
    masks = [mask for mask in (brain_mask, cord_mask) if mask is not None and mask.any()]
    # The neck may have several times the noise of the brain: its own percentile, and a scale that shows both.
    top = max(1e-6, *(float(np.percentile(noise_sd[mask], 95)) for mask in masks))
    least = min(float(np.percentile(removed[mask], 1)) for mask in masks)
    maps = {
        "Noise": (noise_sd, PowerNorm(0.5, 0.0, top), "SD"),
        "Taken away": (taken_sd, PowerNorm(0.5, 0.0, top), "SD"),
        "Components": (removed, Normalize(np.floor(min(least, 0.9 * most)), most), f"of {most}"),
    }
    frames = []
    for label, (volume, scale, unit) in maps.items():
        if volume is None:
            continue
        turned = sheet.view.turned(np.nan_to_num(volume))
        with fig.canvas(*sheet.size_in) as drawing:
            pictures = [pan.sampled(sheet, panel, turned, order=0) for panel in sheet.panels]
            drawn = pan.draw_all(drawing, sheet, pictures, label, cmap=fig.SEQUENTIAL, norm=scale, outline="white")
            picture = drawn[-1].images[0]
            bar = fig.place(drawing, sheet.size_in[0] - 0.62, pan.TOP_IN + 0.25, 0.13, 2.6)
            drawing.colorbar(picture, cax=bar, extend="max" if unit == "SD" else "min")
            bar.set_title(unit, loc="left", fontweight="normal", fontsize=8, color=fig.MUTED)
            bar.spines[:].set_visible(False)
            frames.append(fig.Frame(label, small_svg(drawing)))
    said = [
        f"{name}: noise SD {np.median(noise_sd[mask]):.3g}, {np.median(removed[mask]):.0f} of {most} components taken"
        for name, mask in (("brain", brain_mask), ("cord", cord_mask))
        if mask is not None and mask.any()
    ]
    return fig.Figure(
        title="Thermal noise",
        caption=(
            "Noise found by its eigenvalues (Marchenko–Pastur), in units of the image, on a compressed scale: it should be "
            "smooth, higher where acceleration and distance from the coil cost signal, and show no anatomy but the body, in "
            "which noise of magnitude images is higher than in air. "
            + (
                "What was taken away should look the same: brain, cord or vessels seen in it are signal that was lost. "
                if taken_sd is not None
                else ""
            )
            + "Fewer components are taken where more is going on: motion, vessels, CSF. "
            + _sentence("; ".join(said))
            + " (medians)."
        ),
        alt="Maps of thermal noise. " + "; ".join(said) + ".",
        frames=tuple(frames),
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _named(tests: PartialTests) -> dict[str, SetTest]:
    """The sets that were tested somewhere, and all of them together where there is more than one."""
    sets = {name: test for name, test in tests.sets.items() if np.isfinite(test.p).any()}
    return {**({_TOTAL: tests.total} if len(sets) > 1 else {}), **sets}


def _does_something(test: SetTest, places: Sequence[Mask]) -> bool:
    """Whether more voxels of one of these places are below the level than chance and slow noise would put there."""
    shares = [test.p[mask][np.isfinite(test.p[mask])] for mask in places]
    return any(float((p < NOMINAL).mean()) >= BEYOND_CHANCE for p in shares if p.size)


def _upper(shown: Mapping[str, SetTest]) -> float:
    """Upper end of the colour scale: nearly all that is sure, to whole 5 %."""
    sure = [test.adjusted_r2[(test.p < _SURE) & (test.adjusted_r2 > 0)] for test in shown.values()]
    values = np.concatenate([one.ravel() for one in sure])
    return float(np.clip(np.ceil(np.percentile(values, 99) * 20) / 20, 0.1, 1.0)) if values.size else 0.1


def _layers(test: SetTest, limit: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Strength (0 to 1 on the compressed scale) and opacity by p, both 0 where nothing was tested."""
    share = np.nan_to_num(test.adjusted_r2)
    strength = np.sqrt(np.clip(share / limit, 0, 1))
    p = np.clip(np.nan_to_num(test.p, nan=1.0), 1e-12, 1.0)
    opacity = np.clip(np.log(_UNSURE / p) / np.log(_UNSURE / _SURE), 0, 1) * (share > 0)
    return strength.astype(np.float32), opacity.astype(np.float32)


def _coloured(
    shades: NDArray[np.uint8], strength: NDArray[np.float32], opacity: NDArray[np.float32]
) -> NDArray[np.uint8]:  # fmt: skip
    weight = np.clip(opacity, 0, 1)[..., None]
    under = np.repeat(shades[..., None].astype(np.float64), 3, axis=-1) * 0.75
    return (weight * _heat(strength) + (1 - weight) * under).round().astype(np.uint8)


def _heat(strength: NDArray[Any]) -> NDArray[np.float64]:
    """Colours of shares, 0..255; the darkest part of the map is left out, for it is lost on grey."""
    from matplotlib import colormaps

    return 255 * np.asarray(colormaps["plasma"](0.1 + 0.9 * np.clip(strength, 0, 1)))[..., :3]


def _scale(axes: "Axes", limit: float) -> None:
    """Colour bar in per cent."""
    ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 30, 40, 60, 80) if tick <= 100 * limit]
    axes.imshow(_heat(np.linspace(1, 0, 256)[:, None]).round().astype(np.uint8), aspect="auto", interpolation="none",
                extent=(0, 1, 0, 1))  # fmt: skip
    axes.set(xticks=[])
    axes.set_yticks([np.sqrt(tick / (100 * limit)) for tick in ticks], [str(tick) for tick in ticks])
    axes.yaxis.tick_right()
    axes.spines[:].set_visible(False)
    axes.set_title("%", loc="left", fontweight="normal", fontsize=8, color=fig.MUTED)


def _bars(size: "Axes", share: "Axes", shown: Mapping[str, SetTest], regions: Mapping[str, Mask]) -> list[str]:
    """Bars of both panels from top to bottom; returns in words what all sets together took."""
    inside = {region: np.asarray(mask, dtype=bool) for region, mask in regions.items()}
    known = {(region, name): np.isfinite(test.p[mask]) for region, mask in inside.items() for name, test in shown.items()}
    shares = {
        (region, name): 100 * test.adjusted_r2[mask][known[region, name]]
        for region, mask in inside.items() for name, test in shown.items()
    }  # fmt: skip
    quartiles = {row: np.percentile(values, [25, 75]) for row, values in shares.items() if values.size}
    furthest = max(1.0, *(float(high) for _, high in quartiles.values()))
    nearest = min(0.0, *(float(low) for low, _ in quartiles.values()))
    at, places, labels, said = 0.0, [], [], []
    for region, mask in inside.items():
        size.annotate(region, (0, at - 1), (-3.5, 0), size.get_yaxis_transform(), "offset points", ha="right", va="center",
                      weight="bold", color=fig.region_colour(region))  # fmt: skip
        for name, test in shown.items():
            values, colour = shares[region, name], SET_COLOURS.get(name, fig.INK)
            places.append(at)
            labels.append(set_words(name))
            if values.size:
                furthest = max(furthest, float(values.mean()))
                size.barh(at, values.mean(), height=0.7, color=colour, linewidth=0, alpha=0.85)
                size.plot(quartiles[region, name], [at, at], color=fig.INK, linewidth=0.9)
                below = 100 * float((test.p[mask][known[region, name]] < NOMINAL).mean())
                share.barh(at, below, height=0.7, color=colour, linewidth=0, alpha=0.85)
                share.text(below + 1.5, at, f"{below:.0f}", va="center", size=7, color=fig.MUTED)
                if name == next(iter(shown)):
                    mean = f"{values.mean():.1f}".replace("-", "−")
                    said.append(f"{region}: {mean} % by {set_words(name)}, {below:.0f} % of voxels below p = {NOMINAL:g}")
            at += 1.0
        at += _BETWEEN
    for axes in (size, share):
        axes.set(ylim=(at - _BETWEEN - 0.3, -0.6 - _BETWEEN))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    size.set_yticks(places, labels)
    size.axvline(0.0, color=fig.INK, linewidth=0.9)
    size.set(xlim=(nearest - 0.03 * furthest, 1.06 * furthest), xlabel="% of variance beyond chance", title="Adjusted partial R²")
    share.set_yticks([])
    share.axvline(100 * NOMINAL, color=fig.INK, linewidth=0.9, linestyle=(0, (4, 3)))
    share.set(xlim=(0, 112), xlabel="% of voxels", title=f"p < {NOMINAL:g}")
    share.set_xticks([0, 25, 50, 75, 100])
    return said


def _profile(
    axes: "Axes", shown: Mapping[str, SetTest], cord_mask: Mask, affine: NDArray[np.floating], slice_axis: int
) -> None:  # fmt: skip
    """Mean over the cord of each slice against its height."""
    voxels = np.argwhere(cord_mask)
    heights = voxels @ np.asarray(affine)[2, :3] + np.asarray(affine)[2, 3]
    index = voxels[:, slice_axis]
    present = np.unique(index)
    z_mm = np.array([heights[index == one].mean() for one in present])
    order = np.argsort(z_mm)
    for name, test in shown.items():
        if name != _TOTAL and len(shown) > 1 and not _does_something(test, [np.asarray(cord_mask, dtype=bool)]):
            continue
        values = 100 * test.adjusted_r2[tuple(voxels.T)]
        means = np.array([_mean_known(values[index == one]) for one in present])
        axes.plot(means[order], z_mm[order], color=SET_COLOURS.get(name, fig.INK), marker="o", markersize=2.2,
                  label=set_words(name), linewidth=1.4 if name == _TOTAL else 1.0)  # fmt: skip
    axes.axvline(0.0, color=fig.INK, linewidth=0.9)
    axes.set(
        ylim=(z_mm.min() - 2, z_mm.max() + 2), xlabel="% of variance beyond chance", ylabel="z (mm)", title="Cord, slice by slice"
    )
    axes.grid(axis="both")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, handlelength=1.0, borderaxespad=0.2)


def _mean_known(values: NDArray[np.floating]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _median_known(values: NDArray[np.floating]) -> float:
    """Median over the slices in which the set has columns."""
    known = values[values > 0]
    return float(np.median(known)) if known.size else 0.0
