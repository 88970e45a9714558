"""Coupling as it would be without coupling: what is common to all people, to all times, or to a spectrum.

- **people**: the brain of one with the cord of another. It keeps task, scanner and average physiology, and takes away only what
  is one person's own.
- **shift**: the same two courses, one moved around in time, its end to its beginning. It keeps each one's autocorrelation.
- **phase**: phases of one drawn anew (Theiler 1992). It keeps the spectrum and nothing else.

Negative controls are regions that cannot be coupled to a brain by neurons: muscle of the neck, CSF. They go through the same
steps as other regions, and `against_controls` compares.

References
----------
Theiler J et al. (1992) Testing for nonlinearity in time series: the method of surrogate data. Physica D 58:77-94.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.stats.coupling import GroupCoupling, across_people, fisher_z

NullKind = Literal["people", "shift", "phase"]
FEWEST_VOLUMES = 30


@dataclass(frozen=True, eq=False)
class Null:
    """Mean coupling of a group beside what it would be without.

    Parameters
    ----------
    kind : {'people', 'shift', 'phase'}
    observed : float
        Mean z over people.
    null : ndarray (draws,)
        Mean z over people in each draw.
    expected : float
        What the null gives on average: of `people` the mean over all pairs of strangers.
    p : float
        Two-sided, of t over people of the distance from the expected: a t holds its level where circular shifts or random phases
        spread a little less than the real thing.
    """

    kind: NullKind
    observed: float
    null: NDArray[np.float64] = field(repr=False)
    expected: float
    p: float

    @property
    def excess(self) -> float:
        """Observed mean z less what is expected."""
        return self.observed - self.expected


def coupling_null(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    kind: NullKind,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Null:
    """Mean coupling of two regions against one of the nulls.

    Parameters
    ----------
    a, b : ndarray (people, t)
        Course of each region in each person, the same number of volumes in all (cut the longer runs).
    kind : {'people', 'shift', 'phase'}
    draws : int
        Random pairings, shifts, or sets of phases.
    seed : int

    Returns
    -------
    Null

    Raises
    ------
    CoSpineError
        Shapes differ, too few people to pair anew, or a run too short to be shifted.
    """
    from scipy.fft import irfft, rfft

    a, b = (_unit(np.asarray(one, dtype=np.float64)) for one in (a, b))
    people, t = a.shape
    if a.shape != b.shape or kind not in ("people", "shift", "phase") or people < 4 or t < FEWEST_VOLUMES:
        raise CoSpineError(
            f"a null {kind!r} of courses {a.shape} and {b.shape} (people, volumes)",
            "null of coupling",
            "Give people, shift or phase, the same shape twice, at least four people and 30 volumes",
        )
    rng = np.random.default_rng(seed)
    own = fisher_z((a * b).sum(axis=1))
    if kind == "people":
        z = fisher_z(a @ b.T)
        # with those who keep their place now and then: only all orders together are an exact test
        null = z[np.arange(people), np.array([rng.permutation(people) for _ in range(draws)])]
        centre, expected = float(z.mean()), float(z[~np.eye(people, dtype=bool)].mean())
    else:
        spectra = np.asarray(np.conj(np.asarray(rfft(a, axis=1))) * np.asarray(rfft(b, axis=1)))
        if kind == "shift":
            by_lag = fisher_z(np.asarray(irfft(spectra, t, axis=1)))
            # small shifts too: without them the null would lean away from what is observed, and find too much
            null = by_lag[np.arange(people), rng.integers(0, t, (draws, people))]
        else:
            null = np.stack([_with_random_phases(spectra, t, rng) for _ in range(draws)])
        centre = expected = 0.0
    statistic, of_null = (_t(one - centre) for one in (own[None], null))
    p = (1 + np.count_nonzero(np.abs(of_null) >= np.abs(statistic) - 1e-12)) / (1 + draws)
    if not np.isfinite(statistic).all():  # a course that does not vary
        p = np.nan
    return Null(kind, float(own.mean()), null.mean(axis=1), expected, float(p))


def against_controls(
    z: NDArray[np.floating], controls: NDArray[np.floating], *, flips: int = 5000, seed: int = 0
) -> GroupCoupling:
    """Is a region coupled more than what cannot be coupled?

    Parameters
    ----------
    z : ndarray (people, pairs)
        Fisher's z of region pairs.
    controls : ndarray (people, controls)
        The same brain regions' z with muscle, CSF.
    flips, seed : int
        See `across_people`.

    Returns
    -------
    GroupCoupling
        Of the difference from the mean of the controls; `r` is tanh of a difference of z.
    """
    controls = np.asarray(controls, dtype=np.float64)
    known = np.isfinite(controls)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, controls, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    return across_people(np.asarray(z, dtype=np.float64) - mean[:, None], flips=flips, seed=seed)


def _unit(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Courses of mean 0 and norm 1."""
    centred = series - series.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    return centred / np.where(norm > 0, norm, np.nan)


def _t(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """t over people of rows (draws, people)."""
    return z.mean(axis=1) / np.maximum(z.std(axis=1, ddof=1), 1e-12) * np.sqrt(z.shape[1])


def _with_random_phases(spectra: NDArray[np.complex128], t: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """z of each person when the phases of one course are random: the correlation is the cross spectrum's sum."""
    phases = np.exp(2j * np.pi * rng.random(spectra.shape))
    turned = np.real(spectra * phases)
    weight = np.full(spectra.shape[1], 2.0)
    weight[0] = 0.0
    if t % 2 == 0:
        # the highest frequency has one sample a half wave: its phase is a sign
        weight[-1] = 1.0
        turned[:, -1] = np.real(spectra[:, -1]) * np.where(rng.random(len(spectra)) < 0.5, 1, -1)
    return fisher_z(turned @ weight / t)
