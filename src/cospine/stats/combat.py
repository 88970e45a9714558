"""ComBat: what scanners do to the mean and the spread of each voxel, taken out of everybody's maps.

A factor of site in the design takes out the shift of each site voxel by voxel, and leaves sites of unlike spread. ComBat
learns from all voxels how much of what a few people at a site show in one voxel is the site's, for shift and spread
(parametric empirical Bayes).

The kept package that runs with NumPy 2 (combatlearn 2.3) takes its priors over sites in each voxel, where the paper takes them
over voxels at each site: with two sites it leaves much of their difference. neuroCombat, by the authors, needs NumPy below 2; its
numbers are the oracle of this module's tests. One thing differs: the authors give everybody a spread divided by the people, where
that of each site is divided by its people less one. A group of 18 then seems 6 % less variable than it is, and its mean is found
significant in 14 % of groups without an effect. Here both are divided by people less sites.

References
----------
Johnson WE, Li C, Rabinovic A (2007) Adjusting batch effects in microarray expression data using empirical Bayes methods.
Biostatistics 8:118-127.
Fortin JP et al. (2018) Harmonization of cortical thickness measurements across scanners and sites. NeuroImage 167:104-120.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError

FEWEST_AT_SITE = 3
"""People below which a site's spread is not worth being learnt from."""
_CHANGE = 1e-5
_ROUNDS = 500


@dataclass(frozen=True, eq=False)
class Harmonised:
    """Values without differences between sites.

    Parameters
    ----------
    values : ndarray (people, n), float64
    sites : tuple of str
        Sorted.
    shift : ndarray (sites, n)
        What was taken off at each site, in units of the spread within sites; after shrinkage.
    spread : ndarray (sites, n)
        Standard deviation at each site over that within all sites together; after shrinkage.
    """

    values: NDArray[np.float64] = field(repr=False)
    sites: tuple[str, ...]
    shift: NDArray[np.float64] = field(repr=False)
    spread: NDArray[np.float64] = field(repr=False)


def combat(values: ArrayLike, sites: Sequence, keep: ArrayLike | None = None) -> Harmonised:
    """Take differences between sites out of values (parametric empirical Bayes).

    Parameters
    ----------
    values : (people, n)
        One column a voxel; finite.
    sites : sequence, (people,)
        Where each person was measured.
    keep : (people, k), optional
        Columns whose effect is no site's and stays: groups, covariates. A constant among them changes nothing.

    Returns
    -------
    Harmonised
        Columns that do not vary at one of the sites are given back as they came.

    Raises
    ------
    CoSpineError
        Sizes do not fit, values are not finite, there is one site, or one of fewer than `FEWEST_AT_SITE` people.
    """
    data = np.asarray(values, dtype=np.float64)
    places = np.asarray(sites).astype(str)
    labels, numbers = np.unique(places, return_inverse=True)
    kept = np.empty((len(data), 0)) if keep is None else np.asarray(keep, dtype=np.float64)
    _refuse(data, numbers, kept)
    if fault := too_few(places.tolist()):
        raise CoSpineError(fault, "ComBat", "Leave ComBat out, or exclude the people of that site")
    at = (numbers[:, None] == np.arange(len(labels))).astype(np.float64)
    design = np.column_stack([at, kept])
    coefficients = np.linalg.lstsq(design, data, rcond=None)[0]
    people = at.sum(axis=0)
    # what everybody would have at the mean over all people's sites
    common = people / len(data) @ coefficients[: len(labels)] + kept @ coefficients[len(labels) :]
    within = np.mean((data - design @ coefficients) ** 2, axis=0)
    alike = 1e-12 * np.maximum(np.mean(data**2, axis=0), np.finfo(float).tiny)
    varies = np.min([within, *(data[numbers == k].var(axis=0) for k in range(len(labels)))], axis=0) > alike
    scale = np.sqrt(np.where(varies, within, 1.0))
    given = scale * np.sqrt(len(data) / (len(data) - len(labels)))
    z = (data - common) / scale
    shift, spread = np.zeros((len(labels), data.shape[1])), np.ones((len(labels), data.shape[1]))
    result = data.copy()
    for k in range(len(labels)):
        here = numbers == k
        shift[k, varies], variance = _shrunk(z[np.ix_(here, varies)])
        spread[k, varies] = np.sqrt(variance)
        result[here] = np.where(varies, (z[here] - shift[k]) / spread[k] * given + common[here], data[here])
    return Harmonised(result, tuple(labels.tolist()), shift, spread)


def too_few(sites: Sequence[str]) -> str:
    """Why people of these sites cannot be harmonised; empty where they can."""
    names, counts = np.unique(np.asarray(sites), return_counts=True)
    if len(names) < 2:
        return f"everybody was measured at one site ({names[0]})" if len(names) else "there is nobody"
    small = [f"{name}: {count}" for name, count in zip(names, counts, strict=True) if count < FEWEST_AT_SITE]
    return f"a site needs {FEWEST_AT_SITE} people for its spread to be learnt ({', '.join(small)})" if small else ""


def _refuse(data: NDArray[np.float64], numbers: NDArray[np.int_], kept: NDArray[np.float64]) -> None:
    fault = ""
    if data.ndim != 2 or numbers.shape != data.shape[:1] or kept.ndim != 2 or len(kept) != len(data):
        fault = f"values {data.shape}, {numbers.size} sites and columns to keep {kept.shape} are not of the same people"
    elif not (np.isfinite(data).all() and np.isfinite(kept).all()):
        fault = "values or columns to keep are not finite"
    if fault:
        raise CoSpineError(fault, "ComBat", "Give one row a person, and only what everybody has")


def _shrunk(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shift and variance of each voxel at one site (people, n), drawn to what the site does in all voxels: posterior means.

    Shifts have a normal, variances an inverse gamma prior whose moments are those of the estimates over voxels (Johnson 2007,
    equations of section 3.2); each is the other's condition, so that they are found in turns.
    """
    people = len(z)
    mean, variance = z.mean(axis=0), z.var(axis=0, ddof=1)
    if z.shape[1] < 2:
        return mean, variance
    centre, width = mean.mean(), mean.var(ddof=1)
    m, s2 = variance.mean(), variance.var(ddof=1)
    if width == 0 or s2 == 0:
        return mean, variance
    shape, rate = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    squares = (people - 1) * variance
    shift, spread = mean, variance
    for _ in range(_ROUNDS):
        moved = (people * width * mean + spread * centre) / (people * width + spread)
        wider = (rate + 0.5 * (squares + people * (mean - moved) ** 2)) / (people / 2 + shape - 1)
        change = max(float(np.abs(moved - shift).max()), float(np.abs(wider / spread - 1).max()))
        shift, spread = moved, wider
        if change < _CHANGE:
            return shift, spread
    raise CoSpineError(f"shift and spread of a site did not settle in {_ROUNDS} rounds", "ComBat", "Leave ComBat out")
