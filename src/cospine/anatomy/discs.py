"""Which chain of discs along a neck is most probable, by a template's spacing, an anchor and what the image shows.

A hidden Markov chain of discs (Rabiner 1989): steps are the template's vertebral heights times a ratio of the person and a spread
of each vertebra, evidence is the look of discs and bodies along the straightened neck (:mod:`cospine.anatomy.neck`). Discs may be
brighter or darker than the bodies, either sign for the whole image; the endplates' edges count whatever their sign.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.neck import STEP_MM, Look, Neck, disc_features

# Means and spreads of the normalised feature at discs and at mid-bodies, against 0 and 1 of anywhere.
_AT_DISC, _AT_BODY = (1.2, 0.8), (-0.7, 0.7)
_SHARE = 0.6  # the two features are not independent, nor are neighbouring discs of one noisy image
_RATIOS = np.exp(np.linspace(np.log(0.78), np.log(1.28), 11))
_RATIO_SD = 0.10  # of one person's neck to the template's, as log
_HEIGHT_SD = 0.08  # of one vertebra's height to its neighbours', as log
_LEAST_SD_MM = 0.7
_NEAR_MM = 3.0
_OTHER_MM = 8.0  # half a vertebra: beyond it lies another disc


@dataclass(frozen=True)
class Placement:
    """Posterior of a chain of discs.

    Parameters
    ----------
    position_mm : ndarray (discs,)
        Most probable chain, each disc moved to the mean of its posterior within half a vertebra.
    sd_mm : ndarray (discs,)
        Posterior SD about it, near that place.
    near : ndarray (discs,)
        Posterior probability that the disc is within 3 mm of it.
    elsewhere : ndarray (discs,)
        Posterior probability that it is more than half a vertebra away: that the count is off by one.
    evidence : ndarray (discs,)
        Log likelihood ratio of what the image shows there, disc against anything.
    """

    position_mm: NDArray[np.float64]
    sd_mm: NDArray[np.float64]
    near: NDArray[np.float64]
    elsewhere: NDArray[np.float64]
    evidence: NDArray[np.float64]


def _log_ratio(feature: NDArray, model: tuple[float, float]) -> NDArray[np.float64]:
    """Log likelihood of a feature under N(mean, spread) against N(0, 1)."""
    mean, spread = model
    return -0.5 * ((feature - mean) / spread) ** 2 - np.log(spread) + 0.5 * feature**2


def _evidence(look: Look) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log likelihood ratios (sign of the contrast, n) of a disc's and of a mid-body's centre at each place."""
    disc, body = [], []
    for sign in (1.0, -1.0):
        for out, model in ((disc, _AT_DISC), (body, _AT_BODY)):
            bright = look.bright_trust * _log_ratio(sign * look.bright, model)
            out.append(_SHARE * (bright + look.edges_trust * _log_ratio(look.edges, model)))
    return np.array(disc), np.array(body)


def place_discs(
    neck: Neck,
    numbers: Sequence[int],
    height_mm: NDArray,
    anchors: Mapping[int, tuple[float, float]],
) -> Placement:
    """Posterior positions of a chain of discs.

    Parameters
    ----------
    neck : Neck
        Straightened neck.
    numbers : sequence of int
        Consecutive disc numbers, top to bottom, as SCT counts them: 1 is the top of C1, 2 C1-C2, 3 C2-C3.
    height_mm : ndarray (discs - 1,)
        The template's distance between neighbouring ones.
    anchors : mapping of int to (float, float)
        What is known beforehand: disc number to position along the line and SD, mm. May be empty.

    Returns
    -------
    Placement
        Positions along the neck; those beyond its ends stay at the ends of the chain's range.
    """
    at_disc, at_body = _evidence(disc_features(neck))
    reach = round(_chain_margin(height_mm) / STEP_MM)
    pad = ((0, 0), (reach, reach))
    at_disc, at_body = np.pad(at_disc, pad), np.pad(at_body, pad)
    position = neck.position_mm[0] - reach * STEP_MM + STEP_MM * np.arange(at_disc.shape[1])
    emission = _emissions(at_disc, numbers, position, anchors)
    steps = [_Step.of(height, number, at_disc, at_body) for height, number in zip(height_mm, numbers[:-1], strict=True)]
    prior = -0.5 * (np.log(_RATIOS) / _RATIO_SD) ** 2
    best = _most_probable(emission, steps, prior)
    marginal = _marginals(emission, steps, prior)
    found = position[best]
    basin = np.where(np.abs(position[None, :] - found[:, None]) <= _OTHER_MM, marginal, 0.0)
    within = np.maximum(basin.sum(axis=1), 1e-12)
    mean = (basin * position).sum(axis=1) / within
    sd = np.sqrt((basin * (position[None, :] - mean[:, None]) ** 2).sum(axis=1) / within)
    near = np.where(np.abs(position[None, :] - mean[:, None]) <= _NEAR_MM, marginal, 0.0).sum(axis=1)
    return Placement(mean, sd, near, 1.0 - within, at_disc.max(axis=0)[best])


def _chain_margin(height_mm: NDArray) -> float:
    """How far beyond the neck in view discs of the chain may lie."""
    return float(np.sum(height_mm) * _RATIOS[-1])


def _emissions(
    at_disc: NDArray, numbers: Sequence[int], position: NDArray, anchors: Mapping[int, tuple[float, float]]
) -> NDArray:
    """Log evidence (discs, signs, positions)."""
    emission = np.zeros((len(numbers), *at_disc.shape))
    for row, number in enumerate(numbers):
        # the top of C1 and the joint of C1 and C2 are no discs: nothing of a disc's look is asked of them
        if number >= 3:
            emission[row] += at_disc
        if number in anchors:
            place, sd = anchors[number]
            emission[row] += -0.5 * ((position - place) / sd) ** 2
    return emission


@dataclass(frozen=True)
class _Step:
    """From one disc to the next: log weight (offsets, ratios) and what lies between (offsets, signs, positions)."""

    offsets: NDArray[np.int_]
    weight: NDArray[np.float64]
    between: NDArray[np.float64]

    @staticmethod
    def of(height_mm: float, number: int, at_disc: NDArray, at_body: NDArray) -> "_Step":
        """The step from disc `number` down to the next."""
        low, high = height_mm * _RATIOS[0] * 0.8, height_mm * _RATIOS[-1] * 1.25
        offsets = np.arange(int(low / STEP_MM), int(high / STEP_MM) + 2)
        expected = height_mm * _RATIOS
        sd = np.maximum(_HEIGHT_SD * expected, _LEAST_SD_MM)
        weight = -0.5 * ((offsets[:, None] * STEP_MM - expected[None, :]) / sd[None, :]) ** 2 - np.log(sd)[None, :]
        weight += np.log(STEP_MM / np.sqrt(2 * np.pi))
        between = np.zeros((len(offsets), *at_disc.shape))
        for row, offset in enumerate(offsets):
            if number >= 3:
                seen = at_body[:, offset // 2 :]
            else:
                # axis with its tooth, and atlas: no disc in between, which is what tells C2-C3 from those below it
                size = max(int(offset - 2 * 4.0 / STEP_MM), 1)
                seen = -np.maximum(ndimage.maximum_filter1d(at_disc, size, axis=1), 0.0)[:, offset // 2 :]
            between[row, :, : seen.shape[1]] = seen
        return _Step(offsets, weight, between)


def _most_probable(emission: NDArray, steps: Sequence[_Step], prior: NDArray) -> NDArray[np.int_]:
    """Indices (discs,) of the most probable chain over all ratios and both signs (Viterbi 1967)."""
    discs, signs, n = emission.shape
    score = emission[0][None] + prior[:, None, None]
    back = np.zeros((discs, len(prior), signs, n), dtype=np.int32)
    for disc, step in enumerate(steps, start=1):
        new = np.full_like(score, -np.inf)
        for row, offset in enumerate(step.offsets):
            # densities of short vertebrae are higher than those of tall ones: the best chain is sought without that advantage
            weight = (step.weight[row] - step.weight.max(axis=0))[:, None, None]
            value = score[..., : n - offset] + step.between[row][None, :, : n - offset] + weight
            better = value > new[..., offset:]
            new[..., offset:] = np.where(better, value, new[..., offset:])
            back[disc][..., offset:] = np.where(better, offset, back[disc][..., offset:])
        score = new + emission[disc][None]
    ratio, sign, place = np.unravel_index(int(np.argmax(score)), score.shape)
    path = np.empty(discs, dtype=int)
    path[-1] = place
    for disc in range(discs - 1, 0, -1):
        path[disc - 1] = path[disc] - back[disc, ratio, sign, path[disc]]
    return path


def _marginals(emission: NDArray, steps: Sequence[_Step], prior: NDArray) -> NDArray[np.float64]:
    """Posterior (discs, positions) summed over ratios and signs: forward and backward sums (Rabiner 1989)."""
    n = emission.shape[2]
    forward = [emission[0][None] + prior[:, None, None]]
    for disc, step in enumerate(steps, start=1):
        total = np.full_like(forward[0], -np.inf)
        for row, offset in enumerate(step.offsets):
            value = forward[-1][..., : n - offset] + step.between[row][None, :, : n - offset] + step.weight[row][:, None, None]
            total[..., offset:] = np.logaddexp(total[..., offset:], value)
        forward.append(total + emission[disc][None])
    backward = [np.zeros_like(forward[0])]
    for disc in range(len(steps) - 1, -1, -1):
        step = steps[disc]
        total = np.full_like(forward[0], -np.inf)
        after = backward[0] + emission[disc + 1][None]
        for row, offset in enumerate(step.offsets):
            value = after[..., offset:] + step.between[row][None, :, : n - offset] + step.weight[row][:, None, None]
            total[..., : n - offset] = np.logaddexp(total[..., : n - offset], value)
        backward.insert(0, total)
    out = np.empty((len(forward), n))
    for disc, (down, up) in enumerate(zip(forward, backward, strict=True)):
        log = down + up
        mass = np.exp(log - log.max()).sum(axis=(0, 1))
        out[disc] = mass / mass.sum()
    return out
