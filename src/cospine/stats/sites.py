"""Whether an effect can be told from a difference between scanners."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError
from cospine.stats.exchange import partition

_ALONE = 1e-8
"""Share of a regressor's sum of squares below which nothing of it is left within sites."""


def within_sites(design: ArrayLike, contrast: ArrayLike, sites: Sequence) -> float:
    """Share of what is tested that lies within sites, or refuse: how much of the contrast scanners cannot explain.

    What is tested is the regressor whose coefficient is the contrast, free of the design's other columns (`partition`). The share
    is its sum of squares after indicators of site are taken out too, over that before. The mean of a group is not a difference
    between people, and is always 1.

    Parameters
    ----------
    design : (people, columns)
    contrast : (columns,)
    sites : sequence, (people,)

    Returns
    -------
    float
        From 0 to 1. The variance of the contrast grows by 1 / this when site is taken out.

    Raises
    ------
    CoSpineError
        Nothing is left within sites: site and contrast are one. Neither a column of site nor ComBat can part them: whatever takes
        out the site takes out the effect (or, told to keep the effect, keeps the site). Or sizes do not fit.
    """
    parts = partition(design, contrast)
    labels, numbers = np.unique(np.asarray(sites), return_inverse=True)
    if numbers.shape != parts.tested.shape:
        raise CoSpineError(f"{numbers.size} sites for {parts.tested.size} people", "sites", "Give the site of each person")
    if len(labels) == 1 or np.ptp(parts.tested) <= 1e-9 * np.abs(parts.tested).max():
        return 1.0
    free = _free_of(parts.tested, parts.nuisance)
    indicators = (numbers[:, None] == np.arange(len(labels))).astype(float)
    left = _free_of(parts.tested, np.column_stack([parts.nuisance, indicators]))
    share = float(left @ left / (free @ free))
    if share < _ALONE:
        raise CoSpineError(
            f"what is tested differs between sites ({', '.join(map(str, labels))}) and not within any: site and contrast are one",
            "sites",
            "No site effect and no ComBat can tell a scanner from what was done at it: taking out the one takes out the other. "
            "Compare people of the same site, or measure both at both",
        )
    return min(share, 1.0)


def _free_of(values: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    if not columns.size:
        return values
    return values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]
