"""What may be exchanged under the null hypothesis: signs, or people within their site; and which rearrangements are drawn."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.errors import CoSpineError

SIGNS, PEOPLE = "sign flips", "permutations"


@dataclass(frozen=True, eq=False)
class Partition:
    """A design as the one regressor that is tested, and nuisance.

    Attributes
    ----------
    tested : ndarray (people,)
        Its coefficient is the contrast of the design's coefficients.
    nuisance : ndarray (people, columns - 1)
    """

    tested: NDArray[np.float64]
    nuisance: NDArray[np.float64]


def partition(design: ArrayLike, contrast: ArrayLike) -> Partition:
    """Write a design so that the contrast is one column's coefficient (Guttman; Winkler et al. 2014, NeuroImage 92:381-397).

    Parameters
    ----------
    design : (people, columns)
        Of full rank.
    contrast : (columns,)

    Raises
    ------
    CoSpineError
        Sizes do not fit, values are not finite, the design has no full rank or leaves fewer than 2 degrees of freedom, or the
        contrast is 0.
    """
    matrix, weights = np.asarray(design, np.float64), np.asarray(contrast, np.float64)
    faults = []
    if matrix.ndim != 2 or weights.shape != matrix.shape[1:]:
        faults.append(f"a contrast {weights.shape} does not fit a design {matrix.shape} (people, columns)")
    elif not (np.isfinite(matrix).all() and np.isfinite(weights).all()):
        faults.append("design or contrast hold values that are not finite")
    else:
        people, columns = matrix.shape
        rank = int(np.linalg.matrix_rank(matrix))
        if rank < columns:
            faults.append(f"the design's {columns} columns have rank {rank}")
        if people - rank < 2:
            faults.append(f"{people} people leave {people - rank} degrees of freedom after {columns} columns; 2 are needed")
        if not weights.any():
            faults.append("the contrast is 0")
    if faults:
        raise CoSpineError("; ".join(faults), "group design", "Leave out columns that depend on others, or give more people")
    free = np.linalg.svd(weights[None])[2][1:]
    return Partition(matrix @ weights / (weights @ weights), matrix @ free.T)


@dataclass(frozen=True, eq=False)
class Rearrangements:
    """Drawn rearrangements; the first leaves everything as it is.

    Attributes
    ----------
    source : ndarray (rearrangements, people), int32
        Who comes to each place of the design.
    sign : ndarray (rearrangements, people), float32
    kind : {'sign flips', 'permutations'}
    possible : float
        How many different ones there are.
    exhaustive : bool
        All different ones are here, once each.
    """

    source: NDArray[np.int32]
    sign: NDArray[np.float32]
    kind: str
    possible: float
    exhaustive: bool

    @property
    def count(self) -> int:
        """How many, the first among them."""
        return len(self.source)


def rearrange(
    tested: NDArray[np.float64], blocks: NDArray | None, count: int, *, two_sided: bool, seed: int, alike: bool = True
) -> Rearrangements:
    """Draw rearrangements.

    A regressor that is the same for all people of each block cannot be permuted within blocks: where it is the same over all of
    them too (the mean of a group), signs are flipped, which supposes errors that are symmetric about 0. So they are where
    people's errors are not alike, for only people with like errors may be exchanged.

    Parameters
    ----------
    tested : ndarray (people,)
        See `partition`.
    blocks : ndarray (people,) or None
        Site (or pair) of each person; exchanged are only people of the same.
    count : int
        Of rearrangements, the first among them. All are taken when there are no more than that (sign flips).
    two_sided : bool
        A flip of everyone gives the same |t| and is not taken twice.
    seed : int
    alike : bool
        Errors of all people of a block have one distribution.

    Raises
    ------
    CoSpineError
        The tested regressor differs between blocks but not within any: site and contrast are one; or `count` is below 20.
    """
    people = tested.size
    labels = np.zeros(people, np.intp) if blocks is None else np.unique(np.asarray(blocks), return_inverse=True)[1]
    if labels.shape != (people,) or count < 20:
        raise CoSpineError(
            f"blocks {labels.shape} for {people} people, {count} rearrangements",
            "exchangeability",
            "Give the block of each person, and at least 20 rearrangements",
        )
    members = [np.flatnonzero(labels == block) for block in range(labels.max() + 1)]
    scale = np.abs(tested).max()
    rng = np.random.default_rng([seed, people])
    same = np.tile(np.arange(people, dtype=np.int32), (count, 1))
    constant = np.ptp(tested) <= 1e-9 * scale
    if not constant and all(np.ptp(tested[block]) <= 1e-9 * scale for block in members):
        raise CoSpineError(
            "nobody can be exchanged: what is tested differs between sites (or pairs) but not within any of them",
            "exchangeability",
            "Site and contrast are one: such a difference cannot be told from one between scanners",
        )
    if constant or not alike:
        free = people - 1 if two_sided else people
        exhaustive = free < 62 and 2**free <= count
        if exhaustive:
            sign = np.where((np.arange(2**free)[:, None] >> np.arange(people)) & 1, -1, 1)
        else:
            sign = rng.choice([-1, 1], size=(count, people))
            sign[0] = 1
        return Rearrangements(same[: len(sign)], sign.astype(np.float32), SIGNS, 2.0**free, exhaustive)
    for n in range(1, count):
        for block in members:
            same[n, block] = rng.permutation(block)
    possible = 0.0
    for block in members:
        kinds = Counter(np.round(tested[block] / scale, 9).tolist()).values()
        possible += math.lgamma(block.size + 1) - sum(math.lgamma(kind + 1) for kind in kinds)
    return Rearrangements(same, np.ones((count, people), np.float32), PEOPLE, math.exp(min(possible, 700.0)), False)
