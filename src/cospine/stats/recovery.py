"""What share of an effect in a small region comes through voxels, interpolation and smoothing.

A dorsal horn of PAM50 is about 2 mm² in a slice, a voxel of 1.5 x 1.5 x 4 mm covers 2.25 mm². A horn's mean in a map is therefore
only a share of the effect in the horn: its recovery coefficient, as positron tomography calls it (Hoffman 1979). Every step here
is linear and acts along one axis at a time, so that each is a small matrix.

References
----------
Hoffman EJ, Huang SC, Phelps ME (1979) Quantitation in positron emission computed tomography: 1. Effect of object size.
J Comput Assist Tomogr 3:299-308.
"""

from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.stats.regions import Region, RegionSet

FWHM_PER_SD = 2.3548
OFFSETS = (0.0, 1 / 3, 2 / 3)
"""Where the acquired lattice may lie against the region, in voxels along each axis: the mean over all is given."""


@dataclass(frozen=True)
class Passage:
    """How a map comes from tissue to the grid it is read on.

    Parameters
    ----------
    voxel_mm : (float, float, float)
        Acquired voxel along the grid's axes.
    smoothing_mm : (float, float, float)
        FWHM of the Gaussian along the grid's axes, 0 for none.
    interpolation : {'nearest', 'linear', 'cubic'}
        From acquired voxels to the grid.
    """

    voxel_mm: tuple[float, float, float]
    smoothing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    interpolation: Literal["nearest", "linear", "cubic"] = "cubic"

    def __post_init__(self) -> None:
        if min(self.voxel_mm) <= 0 or min(self.smoothing_mm) < 0 or self.interpolation not in _ORDER:
            raise CoSpineError(
                f"voxels of {self.voxel_mm} mm, smoothing of {self.smoothing_mm} mm, {self.interpolation} interpolation",
                "recovery",
                "Give sizes above 0, and nearest, linear or cubic",
            )


_ORDER = {"nearest": 0, "linear": 1, "cubic": 3}


def passed(
    effect: NDArray,
    grid_mm: tuple[float, float, float],
    passage: Passage,
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
    *,
    within: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """A true effect as a map shows it: averaged in acquired voxels, interpolated back, smoothed.

    Parameters
    ----------
    effect : ndarray (x, y, z)
        On a grid much finer than the acquired voxels.
    grid_mm : (float, float, float)
        Its voxel size.
    passage : Passage
    offset : (float, float, float)
        Displacement of the acquired lattice, in acquired voxels.
    within : ndarray (x, y, z), bool, optional
        Mask (cord) within which smoothing stays: weights are normalised there, nothing is mixed in from outside.

    Returns
    -------
    ndarray (x, y, z), float64
    """
    steps = [
        _acquire_and_return(n, g, v, passage.interpolation, o)
        for n, g, v, o in zip(effect.shape, grid_mm, passage.voxel_mm, offset, strict=True)
    ]
    blurs = [_blur(n, g, s) for n, g, s in zip(effect.shape, grid_mm, passage.smoothing_mm, strict=True)]
    shown = _along(np.asarray(effect, dtype=np.float64), steps)
    if within is None:
        return _along(shown, blurs)
    weight = _along(within.astype(np.float64), blurs)
    return np.where(within, _along(shown * within, blurs) / np.where(within, weight, 1), 0.0)


@dataclass(frozen=True, eq=False)
class Recovery:
    """Recovery coefficient of each region.

    Parameters
    ----------
    regions : tuple of Region
    share : ndarray (regions,)
        Mean over the region of what a map shows of an effect of 1 in the region and 0 elsewhere, averaged over places of the
        acquired lattice.
    sd : ndarray (regions,)
        SD over these places: what luck of positioning does.
    passage : Passage
    """

    regions: tuple[Region, ...]
    share: NDArray[np.float64] = field(repr=False)
    sd: NDArray[np.float64] = field(repr=False)
    passage: Passage

    def table(self) -> dict[str, list[str]]:
        """Columns for a table; every row names the system of its level."""
        return {
            "region": [r.name for r in self.regions],
            "level_system": [r.level_system for r in self.regions],
            "level": [r.level_label for r in self.regions],
            "recovery": [f"{value:.3f}" for value in self.share],
            "sd_over_positions": [f"{value:.3f}" for value in self.sd],
        }


def recovery(
    regions: RegionSet,
    passage: Passage,
    *,
    together: tuple[str, ...] | None = None,
    within: NDArray[np.bool_] | None = None,
    offsets: tuple[float, ...] = OFFSETS,
) -> Recovery:
    """What share of an effect in each region its mean keeps.

    Parameters
    ----------
    regions : RegionSet
        On a fine grid (the PAM50 box at 0.5 mm).
    passage : Passage
        From tissue to map.
    together : tuple of str, optional
        Names of regions that share the effect, as when a horn is active over several segments; each alone without it.
    within : ndarray (x, y, z), bool, optional
        Mask within which smoothing stays.
    offsets : tuple of float
        Places of the acquired lattice tried along each axis, in acquired voxels.

    Returns
    -------
    Recovery
    """
    zooms = (float(regions.grid.voxel_mm[0]), float(regions.grid.voxel_mm[1]), float(regions.grid.voxel_mm[2]))
    chosen = tuple(r for r in regions.regions if together is None or r.name in together)
    reach = [2 * int(np.ceil((v + s) / g)) for v, s, g in zip(passage.voxel_mm, passage.smoothing_mm, zooms, strict=True)]
    found = np.empty((len(chosen), len(offsets) ** 3))
    active_together = np.isin(regions.labels, [r.number for r in chosen])
    for row, region in enumerate(chosen):
        own = regions.labels == region.number
        active = own if together is None else active_together
        box = _around(active, reach)
        here = None if within is None else within[box]
        for column, offset in enumerate(product(offsets, repeat=3)):
            shown = passed(active[box], zooms, passage, (offset[0], offset[1], offset[2]), within=here)
            found[row, column] = shown[own[box]].mean()
    return Recovery(chosen, found.mean(axis=1), found.std(axis=1), passage)


def _around(mask: NDArray[np.bool_], margin: list[int]) -> tuple[slice, slice, slice]:
    """Bounding box of a mask with a margin, within the array."""
    found = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return tuple(  # type: ignore[return-value]
        slice(max(0, int(one[0]) - m), min(n, int(one[-1]) + 1 + m)) for one, m, n in zip(found, margin, mask.shape, strict=True)
    )


def _along(image: NDArray[np.floating], matrices: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """A matrix applied along each axis."""
    for axis, matrix in enumerate(matrices):
        image = np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)
    return image.astype(np.float64, copy=False)


def _acquire_and_return(count: int, fine_mm: float, voxel_mm: float, interpolation: str, offset: float) -> NDArray[np.float64]:
    """Mean over acquired voxels along one axis, and the way back to the fine grid: (count, count)."""
    from scipy.ndimage import map_coordinates

    edges = np.arange(count + 1) * fine_mm
    first = (offset - 3) * voxel_mm  # a few voxels beyond both ends: the effect is 0 there
    acquired = int(np.ceil((edges[-1] - first) / voxel_mm)) + 3
    low = first + np.arange(acquired)[:, None] * voxel_mm
    overlap = np.minimum(low + voxel_mm, edges[1:]) - np.maximum(low, edges[:-1])
    average = np.clip(overlap, 0, None) / voxel_mm
    at = ((edges[:-1] + fine_mm / 2) - first) / voxel_mm - 0.5
    back = np.stack([map_coordinates(unit, at[None], order=_ORDER[interpolation], mode="nearest") for unit in np.eye(acquired)])
    return back.T @ average


def _blur(count: int, fine_mm: float, fwhm_mm: float) -> NDArray[np.float64]:
    """Gaussian along one axis (count, count); rows lose what falls beyond the ends, where nothing is."""
    if fwhm_mm == 0:
        return np.eye(count)
    distance = (np.arange(count)[:, None] - np.arange(count)) * fine_mm
    sd = fwhm_mm / FWHM_PER_SD
    return np.exp(-0.5 * (distance / sd) ** 2) * fine_mm / (sd * np.sqrt(2 * np.pi))
