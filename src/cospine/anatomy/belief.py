"""Which sections that seem to show a cord are to be believed, and how far.

Each stands on its own evidence; its neighbours say whether it lies where a cord can.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.evidence import Seen
from cospine.anatomy.localise import Line
from cospine.anatomy.network import SECTION_PIXEL_MM
from cospine.anatomy.sections import Planes

LEAST_LENGTH_MM = 12.0
_LONGEST_GAP_MM = 30.0
_FARTHEST_GAP_MM = 80.0  # a plain cord may go on beyond so much that shows none: signal lost, cord as bright as CSF
_PLAIN_CONFIDENCE, _PLAIN_SLOPE = 0.4, 0.4  # what is plain: median over the slices of both parts; mm aside a mm along
_ASTRAY_MM = 3.0
_MEDULLA_RATIO, _MEDULLA_BELOW_MM = 1.4, (15.0, 55.0)  # area against that of the cord so far below: wider is medulla
_LEAST_RUN_MM = 6.0
_NEIGHBOUR_MM = 2.0
_AREA_RATIO = 1.6
_CONTRAST = 0.12  # of the section's own range of intensity, between cord and what surrounds it


def agreement_of(one: Seen, other: Seen) -> NDArray[np.float64]:
    """Soft Dice of two looks at the same planes, for each section of the second; 0 where the first has none.

    Parameters
    ----------
    one, other : Seen
        The looks, from different middles.

    Returns
    -------
    ndarray (n,), of the planes of `other`
    """
    result = np.zeros(len(other.plane))
    place = {int(plane): n for n, plane in enumerate(one.plane)}
    for n, plane in enumerate(other.plane):
        m = place.get(int(plane))
        if m is None or not one.present[m] or not other.present[n]:
            continue
        right, anterior = (other.middle_mm[n] - one.middle_mm[m]) / SECTION_PIXEL_MM
        moved = ndimage.shift(one.probability[m], (-anterior, -right), order=1)
        result[n] = 2 * np.minimum(moved, other.probability[n]).sum() / (moved.sum() + other.probability[n].sum() + 1e-6)
    return result


def astray(planes: Planes, seen: Seen, kept: NDArray) -> NDArray[np.bool_]:
    """Planes of runs too short to be a cord by themselves that lie off the others' course or far away.

    Parameters
    ----------
    planes : Planes
        All that the image holds.
    seen : Seen
        What the network saw of n of them.
    kept : ndarray (n,), bool
        Those believed so far.

    Returns
    -------
    ndarray (n,), bool
    """
    at = np.flatnonzero(kept)
    result = np.zeros_like(kept)
    if at.size == 0:
        return result
    labels = np.empty(kept.shape, dtype=np.int32)
    ndimage.label(kept, output=labels)
    lengths = np.bincount(labels).astype(np.float64) * planes.step_mm
    lengths[0] = 0
    least = min(_LEAST_RUN_MM, float(lengths.max()))
    height = planes.height_mm[seen.plane]
    # a thick slice is a piece of cord by itself; thin ones must lie close to others
    reach = _LONGEST_GAP_MM if 2 * planes.step_mm > _LEAST_RUN_MM else _LEAST_RUN_MM
    for n in at[lengths[labels[at]] < least]:
        others = at[labels[at] != labels[n]]
        course = Line(height[others], seen.position_mm[others], seen.certainty[others] + 0.05, max(6.0, planes.step_mm))
        gap = np.abs(height[others] - height[n]).min()
        off = np.linalg.norm(course.at(height[n : n + 1])[0] - seen.position_mm[n])
        result[n] = off > _ASTRAY_MM or gap > reach
    return result


def medulla(planes: Planes, seen: Seen, kept: NDArray) -> NDArray[np.bool_]:
    """Planes at the upper end in which what was followed is already as wide as the medulla.

    Parameters
    ----------
    planes : Planes
        All that the image holds.
    seen : Seen
        What the network saw of n of them.
    kept : ndarray (n,), bool
        Those believed so far.

    Returns
    -------
    ndarray (n,), bool
    """
    at = np.flatnonzero(kept)
    result = np.zeros_like(kept)
    height, area = planes.height_mm[seen.plane[at]], seen.area_mm2[at]
    for n in range(len(at)):
        below = area[(height <= height[n] - _MEDULLA_BELOW_MM[0]) & (height >= height[n] - _MEDULLA_BELOW_MM[1])]
        if below.size * planes.step_mm < LEAST_LENGTH_MM or area[n] <= _MEDULLA_RATIO * np.median(below):
            break
        result[at[n]] = True
    return result


def in_one_stretch(planes: Planes, seen: Seen, kept: NDArray, confidence: NDArray) -> NDArray[np.bool_]:
    """The stretch with the most confidence in all, and those that it plainly goes on in beyond a long gap.

    Parameters
    ----------
    planes : Planes
        All that the image holds.
    seen : Seen
        What the network saw of n of them.
    kept : ndarray (n,), bool
        Those believed so far.
    confidence : ndarray (n,)
        As of `confidence_in`.

    Returns
    -------
    ndarray (n,), bool
    """
    at = np.flatnonzero(kept)
    if at.size == 0:
        return kept
    height, place = planes.height_mm[seen.plane[at]], seen.position_mm[at]
    apart = np.abs(np.diff(height)) > max(_LONGEST_GAP_MM, 1.5 * planes.step_mm)
    stretch = np.concatenate([[0], np.cumsum(apart)])
    joined = np.arange(stretch.max() + 1)
    for first in range(stretch.max()):
        a, b = stretch == first, stretch == first + 1
        long = all(part.sum() * planes.step_mm >= LEAST_LENGTH_MM for part in (a, b))
        sure = all(np.median(confidence[at][part]) >= _PLAIN_CONFIDENCE for part in (a, b))
        gap = height[a].min() - height[b].max()
        leap = np.linalg.norm(np.median(place[a][-3:], axis=0) - np.median(place[b][:3], axis=0))
        if long and sure and gap <= _FARTHEST_GAP_MM and leap <= _PLAIN_SLOPE * gap:
            joined[joined == joined[first + 1]] = joined[first]
    group = joined[stretch]
    best = int(np.argmax(np.bincount(group, confidence[at])))
    result = np.zeros_like(kept)
    result[at[group == best]] = True
    return result


def confidence_in(planes: Planes, seen: Seen, kept: NDArray, agreement: NDArray) -> NDArray[np.float64]:
    """How far each section is to be believed, from what it shows itself; 0 where nothing was kept.

    Product of: how far from one half the probabilities are; how well two looks from different middles agree; how near the
    section's position and size are to its neighbours'; how much the cord stands out from what surrounds it.

    Parameters
    ----------
    planes : Planes
        All that the image holds.
    seen : Seen
        What the network saw of n of them.
    kept : ndarray (n,), bool
        Those believed so far.
    agreement : ndarray (n,)
        As of `agreement_of`.

    Returns
    -------
    ndarray (n,), 0 to 1
    """
    result = np.zeros(len(seen.plane))
    if not kept.any():
        return result
    at = np.flatnonzero(kept)
    height = planes.height_mm[seen.plane[at]]
    line = Line(height, seen.position_mm[at], np.ones(len(at)), max(6.0, planes.step_mm))
    off = np.linalg.norm(line.at(height) - seen.position_mm[at], axis=1)
    usual = np.array([np.median(seen.area_mm2[at][np.abs(height - h) <= max(15.0, 1.5 * planes.step_mm)]) for h in height])
    ratio = np.abs(np.log(seen.area_mm2[at] / usual)) / np.log(_AREA_RATIO)
    contrast = np.array([_contrast(seen.section[n], seen.probability[n]) for n in at])
    result[at] = (
        np.clip(seen.certainty[at] / 0.75, 0, 1)
        * np.clip(agreement[at], 0, 1)
        * np.exp(-0.5 * (off / _NEIGHBOUR_MM) ** 2 - 0.5 * ratio**2)
        * (1 - np.exp(-contrast / _CONTRAST))
    )
    return result


def _contrast(section: NDArray, probability: NDArray) -> float:
    """Mean absolute step of intensity over the cord's edge, in units of the section's range of intensity."""
    body = probability >= 0.5
    inside = np.asarray(ndimage.binary_erosion(body), dtype=bool)
    # a ring one to three pixels away: the edge itself is neither
    near, far = ndimage.binary_dilation(body), ndimage.binary_dilation(body, iterations=3)
    outside: NDArray[np.bool_] = np.asarray(far, dtype=bool) & ~np.asarray(near, dtype=bool)
    if not inside.any() or not outside.any():
        return 0.0
    return float(np.abs(section[outside] - np.median(section[inside])).mean())
