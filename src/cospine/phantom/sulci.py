"""An individual's own folding of the cerebral cortex, in place of the template's average.

The template is a mean over many people: where their sulci differ it holds a blurred ribbon, so a registration that is judged
on a warped copy of it never meets another person's folds. Here the outer cortex is carved anew: lines on the brain's surface,
where a band-limited random field crosses zero, go down as sulci of CSF with grey matter along their walls and white matter in
the gyri between. What lies deep, the cerebellum, the brainstem and the outline of the brain stay, and so does the map to the
template: landmarks on the hull and at depth are where they were.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cospine.phantom.head import Brain

# Sulci every half wavelength; their depth, opening, and the thickness of the cortex (Fischl & Dale, PNAS 2000), all mm.
_WAVELENGTH_MM, _DEPTH_MM, _OPENING_MM, _CORTEX_MM = (18.0, 28.0), (12.0, 24.0), (1.0, 3.0), 3.2
_OUTER_CSF_MM, _WIDEST_MM = 0.8, 5.0
# Down to this depth the folds are the individual's own, and by this much more the template's again.
_OWN_MM, _BLEND_MM = 25.0, 4.0


def fold(brain: Brain, seed: int) -> Brain:
    """Carve sulci of an individual's own into the cerebral cortex.

    Parameters
    ----------
    brain : Brain
        The template's maps; not changed.
    seed : int
        Same seed, same folds.

    Returns
    -------
    Brain
        Grey matter, white matter and texture replaced in the outer 25 mm of the cerebrum, read-only.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    mask = brain.maps[2] > 127
    nearest = np.asarray(ndimage.distance_transform_edt(mask, return_distances=False, return_indices=True))
    depth = _to_edge(mask)
    line_mm, bottom_mm, half_mm = _lines(rng, mask.shape, nearest)
    sulcus = _share(half_mm - line_mm) * _share((bottom_mm - depth) / 2)
    # where a sheet of zeros lies along the surface it is no sulcus
    wide = _to_edge(sulcus > 0.5) > _WIDEST_MM / 2
    sulcus[_to_edge(~wide) <= _WIDEST_MM / 2 + 1] = 0
    csf = np.maximum(sulcus, _share(_OUTER_CSF_MM - depth))
    from_csf = _to_edge(csf < 0.5) - 0.5
    grey = (1 - csf) * _share(_CORTEX_MM - from_csf)
    white = 1 - csf - grey
    own = np.clip((_OWN_MM + _BLEND_MM - depth) / _BLEND_MM, 0, 1) * _cerebrum(mask.shape, brain.first) * (brain.maps[2] / 255)
    own = own.astype(np.float32)
    maps = brain.maps.copy()
    for n, share in ((0, grey), (1, white)):
        maps[n] = np.rint(brain.maps[n] * (1 - own) + 255 * own * share)
    maps[3] = np.rint(128 + (brain.maps[3].astype(np.float32) - 128) * (1 - own))
    maps.flags.writeable = False
    return Brain(maps, brain.first, brain.distance)


def _to_edge(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance to the nearest voxel outside of a mask, voxels of 1 mm."""
    return np.asarray(ndimage.distance_transform_edt(mask), np.float32)


def _share(inside_mm: NDArray[np.floating]) -> NDArray[np.float32]:
    """Share of a voxel of 1 mm that lies inside of an edge so far away."""
    return np.clip(inside_mm + 0.5, 0, 1).astype(np.float32)


def _lines(
    rng: np.random.Generator, shape: tuple[int, ...], nearest: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Distance to the nearest line of a sulcus, its depth, half its opening: each constant along the surface's normal."""
    low, high = (1 / wave for wave in _WAVELENGTH_MM[::-1])
    field = _noise(rng, shape, low, high)
    above = field > 0
    distance = _to_edge(above) + _to_edge(~above) - 0.5
    onto = tuple(nearest)
    depth, opening = (
        level[0] + (level[1] - level[0]) * np.clip(0.5 + 0.5 * _noise(rng, shape, 0.0, 1 / 40.0), 0, 1)
        for level in (_DEPTH_MM, _OPENING_MM)
    )
    # the nearest place on the surface is known to a voxel: its steps are smoothed away
    maps = [np.asarray(ndimage.gaussian_filter(volume[onto], 0.8), np.float32) for volume in (distance, depth, opening / 2)]
    return maps[0], maps[1], maps[2]


def _noise(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float32]:
    """Random field of unit variance with frequencies (1 / mm) from `low` to `high`."""
    size = [16 * -(-n // 16) for n in shape]  # lengths that transform fast
    axes = [np.fft.fftfreq(n) for n in size[:2]] + [np.fft.rfftfreq(size[2])]
    frequency = np.sqrt(sum(np.square(part) for part in np.meshgrid(*axes, indexing="ij", sparse=True)))
    spectrum = np.asarray(fft.rfftn(rng.standard_normal(size, dtype=np.float32))) * ((frequency >= low) & (frequency <= high))
    field = np.asarray(fft.irfftn(spectrum, size))[tuple(slice(n) for n in shape)]
    return (field / field.std()).astype(np.float32)


def _cerebrum(shape: tuple[int, ...], first: NDArray[np.float64]) -> NDArray[np.float32]:
    """1 in the cerebrum, 0 in cerebellum and brainstem, smooth over 6 mm at the tentorium and in front of the pons."""
    z, y, x = (first[2 - n] + np.arange(shape[n], dtype=np.float32) for n in range(3))
    x, y, z = np.abs(x)[None, None], y[None, :, None], z[:, None, None]
    # height of the tentorium rises from the transverse sinus to the midline and to the front
    tentorium = -18.0 + 0.3 * (y + 90.0) - 0.25 * x
    behind, below = np.clip((-34.0 - y) / 6, 0, 1), np.clip((tentorium - z) / 6 + 0.5, 0, 1)
    stem = np.clip((24.0 - x) / 6, 0, 1) * np.clip((-5.0 - z) / 6, 0, 1) * np.clip((2.0 - y) / 6, 0, 1)
    return (1 - np.maximum(behind * below, stem)).astype(np.float32)
