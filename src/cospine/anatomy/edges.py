"""The cord's outline drawn where the image itself has its edge, near to where the network saw it.

A network that has learned from many shapes falls back on the usual one where voxels are coarse and cord and CSF are nearly
equally bright: small cords come out too large. But which of the two is brighter is the same all through an image (and known
beforehand where its contrast is), and an edge blurred by voxels still lies half-way between the brightness on its two sides.
So along rays from the cord's middle the outline is moved to that half-way point, within a coarse voxel or so; rays that show
no step follow their neighbours, in the slice and in the slices next to it, and a slice that shows far less than the others
follows them in its place too. Where no cord was seen nothing is drawn.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.network import SECTION_PIXEL_MM, SECTION_SIZE

_RAYS = 48
_STEP_MM = 0.2
_LONGEST_MM = 18.0
_INWARD_MM, _OUTWARD_MM = 2.4, 1.8  # how far from the network's outline a step is looked for
_OUTWARD_DARK_MM = 0.4  # into the dark no further: the step there may be the canal's, around CSF that voxels do not resolve
_LEAST_STEP = 0.06  # of brightness, in units of a normalised section: less is no step
_CLEAR_STEP = 0.24
_LEAST_SHARE = 0.4  # of the sections, in which the mean ray goes up first: then what surrounds the cord is brighter
_RAY_SIGMA = 2.0  # rays
_OWN_WEIGHT = 0.05  # of the network's outline beside clear steps
_FAINT = 0.5  # of the usual clarity of a section, below which its neighbours have a say in where its cord is
_LEAST_PIXELS, _LEAST_CORE = 8, 6

_ANGLE = np.arange(_RAYS) * 2 * np.pi / _RAYS
_RADIUS_MM = np.arange(0, _LONGEST_MM, _STEP_MM)
_ROWS, _COLUMNS = np.indices((SECTION_SIZE, SECTION_SIZE))


def sharpen_outlines(
    sections: NDArray,
    probability: NDArray,
    middle_mm: NDArray,
    height_mm: NDArray,
    along_mm: float,
    *,
    csf_brighter: bool | None = None,
) -> NDArray[np.float32]:
    """Move outlines to the edges that sections show.

    Parameters
    ----------
    sections : ndarray (n, 64, 64)
        Normalised sections, as the network is shown.
    probability : ndarray (n, 64, 64)
        Of cord; 0 throughout where there is none.
    middle_mm : ndarray (n, 2)
        Middle of each section: right, anterior.
    height_mm : ndarray (n,)
        Where each section lies.
    along_mm : float
        How far along the cord sections share their outlines: standard deviation of a Gaussian.
    csf_brighter : bool, optional
        Whether CSF is brighter than cord, where the contrast of the image says so; otherwise the sections tell. They tell it
        badly where voxels hardly resolve the CSF: then all there is to be seen is a fall of brightness where the sac ends.

    Returns
    -------
    ndarray (n, 64, 64), float32
        Share of each pixel that is cord. Sections with too little to go by are given back as they were.
    """
    result = np.array(probability, dtype=np.float32)
    at = np.flatnonzero((probability >= 0.5).sum(axis=(1, 2)) >= _LEAST_PIXELS)
    if at.size == 0:
        return result
    middle = np.array([ndimage.center_of_mass(np.where(p >= 0.5, p, 0)) for p in probability[at]])
    outline, rise = _rays(sections[at], probability[at], middle)
    way = _direction(rise) if csf_brighter is None else (1 if csf_brighter else -1)
    moved, weight = _half_way(rise * way)
    if way < 0:
        moved = np.minimum(moved, _OUTWARD_DARK_MM)
    share = np.exp(-0.5 * ((height_mm[at, None] - height_mm[None, at]) / along_mm) ** 2)
    around = [ndimage.gaussian_filter1d(part, _RAY_SIGMA, axis=1, mode="wrap") for part in (weight * (outline + moved), weight)]
    above, below = (share @ part for part in around)
    radius = (above + _OWN_WEIGHT * outline) / (below + _OWN_WEIGHT)
    offset = middle_mm[at, ::-1] / SECTION_PIXEL_MM
    middle = _followed(middle + offset, weight.mean(axis=1), share) - offset
    for n, k in enumerate(at):
        up, right = (_ROWS - middle[n, 0]) * SECTION_PIXEL_MM, (_COLUMNS - middle[n, 1]) * SECTION_PIXEL_MM
        turn = np.mod(np.arctan2(up, right), 2 * np.pi) / (2 * np.pi) * _RAYS
        edge = np.interp(turn, np.arange(_RAYS + 1), np.append(radius[n], radius[n, 0]))
        result[k] = np.clip((edge - np.hypot(up, right)) / SECTION_PIXEL_MM + 0.5, 0, 1)
    return result


def _followed(middle: NDArray, clarity: NDArray, share: NDArray) -> NDArray[np.float64]:
    """Middles (n, 2) of the cord: the less a section shows of what is usual in this image, the more its neighbours decide."""
    usual = _FAINT * float(np.median(clarity))
    faint = np.clip(1 - clarity / usual, 0, 1) if usual > 0 else np.zeros(len(clarity))
    weight = (share - np.diag(np.diag(share))) * clarity
    total = weight.sum(axis=1)
    faint = np.where(total > _OWN_WEIGHT, faint, 0.0)[:, None]
    others = weight @ middle / np.maximum(total, 1e-9)[:, None]
    return np.asarray((1 - faint) * middle + faint * others)


def _rays(sections: NDArray, probability: NDArray, middle: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radius (n, rays) of the network's outline, mm, and brightness about it less that of the core, (n, rays, steps)."""
    rows = np.sin(_ANGLE)[:, None] * _RADIUS_MM / SECTION_PIXEL_MM
    columns = np.cos(_ANGLE)[:, None] * _RADIUS_MM / SECTION_PIXEL_MM
    about = np.arange(-round(_INWARD_MM / _STEP_MM), round(_OUTWARD_MM / _STEP_MM))
    outline, rise = [], []
    for section, share, (row, column) in zip(sections, probability, middle, strict=True):
        place = [row + rows, column + columns]
        outside = ndimage.map_coordinates(share, place, order=1) < 0.5
        outside[:, -1] = True
        edge = np.argmax(outside, axis=1)
        core = ndimage.binary_erosion(share >= 0.5)
        core = core if core.sum() >= _LEAST_CORE else share >= 0.5
        bright = ndimage.map_coordinates(section, place, order=1) - np.median(section[core])
        index = np.clip(edge[:, None] + about, 0, len(_RADIUS_MM) - 1)
        outline.append(edge * _STEP_MM)
        rise.append(np.take_along_axis(bright, index, axis=1))
    return np.array(outline), np.array(rise)


def _direction(rise: NDArray[np.float64]) -> int:
    """1 where what surrounds the cord is brighter than it in the image as a whole, -1 where it is darker.

    Beyond bright CSF follows something dark: what the mean ray of a section does first decides.
    """
    mean = np.median(rise, axis=1)
    up, down = mean.max(axis=1), -mean.min(axis=1)
    first = (up > _LEAST_STEP) & ((mean.argmax(axis=1) < mean.argmin(axis=1)) | (down < _LEAST_STEP))
    return 1 if first.mean() >= _LEAST_SHARE else -1


def _half_way(rise: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far beyond the network's outline brightness is half-way up to its summit, mm, and what that is worth, 0 to 1."""
    n_steps = rise.shape[2]
    summit = rise.argmax(axis=2)
    height = np.take_along_axis(rise, summit[..., None], axis=2)
    below = (rise < height / 2) & (np.arange(n_steps) < summit[..., None])
    last = n_steps - 1 - below[..., ::-1].argmax(axis=2)
    low, high = (np.take_along_axis(rise, np.minimum(last + k, n_steps - 1)[..., None], axis=2) for k in (0, 1))
    part = np.clip((height / 2 - low) / np.maximum(high - low, 1e-6), 0, 1)[..., 0]
    moved = (last + part) * _STEP_MM - _INWARD_MM
    clear = below.any(axis=2) & (height[..., 0] > _LEAST_STEP)
    return np.where(clear, moved, 0.0), np.where(clear, np.clip(height[..., 0] / _CLEAR_STEP, 0, 1), 0.0)
