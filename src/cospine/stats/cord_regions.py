"""Horns of the cord by level and side, on the PAM50 box.

Grey matter is the template's. The back edge of the grey commissure divides dorsal from ventral in every slice, the intermediate
zone beside the commissure goes with the ventral horn; a strip about the midline belongs to no side. Where a template has no grey
matter, quadrants of the cord stand in, and the set says so.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cospine.errors import CoSpineError
from cospine.space.cord_template import CordTemplate
from cospine.stats.regions import LevelSystem, Region, RegionSet, Side, level_name

Outline = Literal["grey", "quadrant", "hemicord"]

MIDLINE_MM = 0.6
"""Half width of the strip that belongs to neither side: the commissure and the central canal."""
_COMMISSURE_MM = 0.25
_THINNEST_MM = 0.2
_SMOOTH_MM = 4.0
_PARTS = {"grey": ("dorsal", "ventral"), "quadrant": ("dorsal", "ventral"), "hemicord": ("hemicord",)}


def cord_regions(
    template: CordTemplate,
    system: LevelSystem = "spinal",
    *,
    outline: Outline = "grey",
    threshold: float = 0.5,
) -> RegionSet:
    """Dorsal and ventral regions of each level and side.

    Parameters
    ----------
    template : CordTemplate
    system : {'spinal', 'vertebral'}
        How levels are counted. Tasks act on spinal segments; the other is what images show.
    outline : {'grey', 'quadrant', 'hemicord'}
        Horns of grey matter; quadrants of the whole cord, white matter included; or halves of the cord.
    threshold : float
        Least probability of grey matter (or of cord).

    Returns
    -------
    RegionSet
        Names are ``dorsal_R_spinal-C6``, ``hemicord_L_vertebral-C5``: part, side, system, level. Without grey matter in the
        template quadrants come in the horns' place, named ``quadrant-dorsal``, and a note says so.

    Raises
    ------
    CoSpineError
        No such system or outline.
    """
    if system not in ("spinal", "vertebral") or outline not in _PARTS:
        raise CoSpineError(
            f"no levels called {system!r} or outline called {outline!r}",
            "regions of the cord",
            "Choose spinal or vertebral levels, and grey, quadrant or hemicord",
        )
    notes: tuple[str, ...] = ()
    if outline == "grey" and not (template.grey >= threshold).any():
        outline = "quadrant"
        notes = (f"{template.name} holds no grey matter: quadrants of the cord stand in for the horns.",)
    levels = template.spinal if system == "spinal" else template.vertebral
    tissue = (template.grey if outline == "grey" else template.cord) >= threshold
    x, y = _across(template)
    line = _back_of_commissure(template, x, y)
    prefix = "quadrant-" if outline == "quadrant" else ""
    labels = np.zeros(template.grid.shape, np.int32)
    regions: list[Region] = []
    what = {"grey": "grey matter", "quadrant": "quadrants of the cord", "hemicord": "halves of the cord"}[outline]
    behind = y[:, None] < line
    where = {"dorsal": behind[None], "ventral": ~behind[None], "hemicord": np.ones((1, 1, 1), bool)}
    sides: tuple[tuple[Side, NDArray[np.bool_]], ...] = (("L", x < -MIDLINE_MM), ("R", x > MIDLINE_MM))
    for level in np.unique(levels[levels > 0]).tolist():
        name = level_name(level, system)
        for part in _PARTS[outline]:
            for side, half in sides:
                here = tissue & (levels == level) & half[:, None, None] & where[part]
                if here.any():
                    number = len(regions) + 1
                    labels[here] = number
                    text = f"{template.name}, {what}, {system} levels"
                    regions.append(
                        Region(number, f"{prefix}{part}_{side}_{system}-{name}", side, prefix + part, system, level, text)
                    )
    return RegionSet("PAM50", template.grid, labels, tuple(regions), notes)


def _across(template: CordTemplate) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places of the box's columns and rows: x (toward the person's right) and y (toward the front), mm."""
    grid = template.grid
    x, y = (grid.to_ras(np.eye(3)[axis] * np.arange(grid.shape[axis])[:, None])[:, axis] for axis in (0, 1))
    return x - float(np.median(template.centre_line[:, 0])), y


def _back_of_commissure(template: CordTemplate, x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """Height y (z,) of the back edge of the grey commissure in each slice; of the cord's middle where there is no grey matter."""
    z = template.grid.to_ras(np.eye(3)[2] * np.arange(template.grid.shape[2])[:, None])[:, 2]
    order = np.argsort(template.centre_line[:, 2])
    middle = np.interp(z, template.centre_line[order, 2], template.centre_line[order, 1])
    bridge = template.grey[np.abs(x) <= _COMMISSURE_MM].mean(axis=0, dtype=np.float64)
    thickness = bridge.sum(axis=0) * template.grid.voxel_mm[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        line = np.where(thickness > _THINNEST_MM, (y @ bridge) / bridge.sum(axis=0) - thickness / 2, np.nan)
    offset = line - middle
    known = np.isfinite(offset)
    if not known.any():
        return middle
    filled = np.interp(np.arange(offset.size), np.flatnonzero(known), offset[known])
    return middle + gaussian_filter1d(filled, _SMOOTH_MM / template.grid.voxel_mm[2], mode="nearest")
