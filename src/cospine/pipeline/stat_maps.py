"""Effects of a run in the spaces of templates: carried from their own region alone, smoothed within it, their variance with them.

Maps are estimated natively on unsmoothed data, where each slice has its own design; what is carried and smoothed are effects.
Smoothing averages noise that neighbours do not share: by how much is told by the run's own residuals, some volumes of which are
carried and smoothed exactly like the effects.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.pipeline.spaces_stage import Space
from cospine.signal.smoothing import smooth_within
from cospine.stats.tails import z_from_t

POOLING_FWHM_MM = 20.0
"""Over how much of the region the gain by smoothing is averaged: single voxels know it badly."""


@dataclass(frozen=True, eq=False)
class Carried:
    """One contrast in one space.

    Parameters
    ----------
    effect, variance, t, z : ndarray (x, y, z), float32
        In % of the local mean and its square; NaN where there is no estimate.
    dof : float
        Degrees of freedom of t.
    """

    effect: NDArray[np.float32] = field(repr=False)
    variance: NDArray[np.float32] = field(repr=False)
    t: NDArray[np.float32] = field(repr=False)
    z: NDArray[np.float32] = field(repr=False)
    dof: float


def carry(
    maps: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
    residuals: Iterable[NDArray[np.float32]],
    dof: float,
    space: Space,
    region: NDArray[np.bool_],
    target: NDArray[np.bool_],
    fwhm_mm: tuple[float, float, float],
) -> dict[str, Carried]:
    """Bring contrasts of a run to a template's space.

    Parameters
    ----------
    maps : mapping of str to (effect, variance)
        Each (x, y, z) on the run's corrected grid.
    residuals : iterable of ndarray (x, y, z)
        Volumes of the run's residuals, each voxel divided by its own SD over time: the spatial pattern of the noise.
    dof : float
        Degrees of freedom natively.
    space : Space
        Where to.
    region : ndarray (x, y, z), bool
        Voxels of the run that belong to the region (brain or cord); no other gives anything.
    target : ndarray (x, y, z), bool
        Region in the template's space.
    fwhm_mm : (3,)
        Smoothing along the axes of the space.

    Returns
    -------
    dict of str to Carried
    """
    size = space.grid.voxel_mm

    def there(image: NDArray) -> NDArray[np.float32]:
        carried = space.carried_within(image, region)
        return smooth_within(carried, target & np.isfinite(carried), fwhm_mm, size)

    noise = list(residuals)
    found = {}
    gains: dict[str, NDArray[np.float32]] = {}
    for name, (effect, variance) in maps.items():
        plain = there(variance)
        known = np.isfinite(plain)
        if not gains:  # the pattern of the noise is that of the run, whatever the contrast
            gains["all"] = _gain([there(np.sqrt(variance) * volume) for volume in noise], plain, known, size)
        found[name] = _tested(there(effect), plain * gains["all"], dof)
    return found


def _gain(
    noise: list[NDArray[np.float32]], plain: NDArray[np.float32], known: NDArray[np.bool_], voxel_mm: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Variance of the carried and smoothed noise over the mean variance of what went in, averaged over the neighbourhood."""
    if not noise:
        return np.ones(plain.shape, np.float32)
    square = np.zeros(plain.shape, np.float64)
    for one in noise:
        square += np.nan_to_num(one.astype(np.float64)) ** 2
    wide = (POOLING_FWHM_MM,) * 3
    over, under = (smooth_within(np.asarray(image, np.float32), known, wide, voxel_mm) for image in (square / len(noise), plain))
    return over / under


def _tested(effect: NDArray[np.float32], variance: NDArray[np.float32], dof: float) -> Carried:
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.asarray(effect / np.sqrt(variance), dtype=np.float32)
    t[~np.isfinite(t)] = np.nan
    z = np.full(t.shape, np.nan, np.float32)
    known = np.isfinite(t)
    z[known] = z_from_t(t[known], dof)
    return Carried(effect, variance, t, z, dof)
