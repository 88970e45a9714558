"""The physiological noise model: Fourier terms of heartbeat and breathing at each slice's own time.

RETROICOR (Glover et al. 2000, Magn Reson Med 44:162-167) with the interaction terms of Brooks et al. (2008, NeuroImage
39:680-692): 2 oc + 2 or + 4 multc multr columns.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError

_LARGEST = 10


@dataclass(frozen=True)
class Orders:
    """Harmonics of the model; 4, 4, (2, 2) gives 32 columns.

    Parameters
    ----------
    cardiac, respiratory : int
        Highest harmonics oc and or.
    interaction : (int, int)
        Highest harmonics multc and multr that are multiplied; (0, 0) for none.

    Raises
    ------
    CoSpineError
        For an order below 0 or above 10, or interactions of one factor only.
    """

    cardiac: int = 4
    respiratory: int = 4
    interaction: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        every = (self.cardiac, self.respiratory, *self.interaction)
        if not all(0 <= order <= _LARGEST for order in every) or (0 in self.interaction and any(self.interaction)):
            raise CoSpineError(
                f"orders {' '.join(map(str, every))} make no model",
                "--pnm-orders",
                f"Give four numbers from 0 to {_LARGEST}: cardiac, respiratory, and both of the interaction (both 0 for none)",
            )

    @property
    def columns(self) -> int:
        """How many columns they make."""
        return 2 * self.cardiac + 2 * self.respiratory + 4 * self.interaction[0] * self.interaction[1]

    @classmethod
    def of(cls, numbers: Sequence[int]) -> "Orders":
        """From four numbers: cardiac, respiratory, and both of the interaction."""
        cardiac, respiratory, multc, multr = numbers
        return cls(cardiac, respiratory, (multc, multr))

    def lower(self, cardiac: bool, respiratory: bool) -> "Orders":
        """The same with what was not recorded left out."""
        both = self.interaction if cardiac and respiratory else (0, 0)
        return Orders(self.cardiac if cardiac else 0, self.respiratory if respiratory else 0, both)


def pnm_columns(
    cardiac: NDArray[np.float64], respiratory: NDArray[np.float64], orders: Orders | None = None
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Columns of the model.

    Parameters
    ----------
    cardiac, respiratory : ndarray (t, slices)
        Phases at each slice's acquisition, rad; NaN where not known.
    orders : Orders, optional
        4, 4, (2, 2) by default.

    Returns
    -------
    names : tuple of str
        `card_c1 card_s1 card_c2 ..` cosine and sine of the harmonics of the heartbeat; `resp_c1 ..` of breathing;
        `int_c1r1_cp int_c1r1_sp int_c1r1_cm int_c1r1_sm ..` cosine and sine of the sum (p) and difference (m) of m times the
        cardiac and n times the respiratory phase, `int_c<m>r<n>`.
    columns : ndarray (t, slices, columns)
        0 where a phase is not known, which is what cosine and sine are on average: those volumes are left unmodelled.
    """
    orders = orders or Orders()
    terms: dict[str, NDArray[np.float64]] = {}
    for name, phase, highest in (("card", cardiac, orders.cardiac), ("resp", respiratory, orders.respiratory)):
        for harmonic in range(1, highest + 1):
            terms[f"{name}_c{harmonic}"] = np.cos(harmonic * phase)
            terms[f"{name}_s{harmonic}"] = np.sin(harmonic * phase)
    for m in range(1, orders.interaction[0] + 1):
        for n in range(1, orders.interaction[1] + 1):
            total, difference = m * cardiac + n * respiratory, m * cardiac - n * respiratory
            stem = f"int_c{m}r{n}"
            terms |= {f"{stem}_cp": np.cos(total), f"{stem}_sp": np.sin(total)}
            terms |= {f"{stem}_cm": np.cos(difference), f"{stem}_sm": np.sin(difference)}
    if not terms:
        return (), np.empty((*np.shape(cardiac), 0))
    return tuple(terms), np.nan_to_num(np.stack(list(terms.values()), axis=-1), nan=0.0)


def set_of(column: str) -> str:
    """Which set a column belongs to: cardiac, respiratory, interaction, csf, rvt or hrv."""
    for start, name in (("card_", "cardiac"), ("resp_", "respiratory"), ("int_", "interaction")):
        if column.startswith(start):
            return name
    return column


def describe(column: str) -> str:
    """What a column is, in words."""
    words = {"c": "Cosine", "s": "Sine"}
    if found := re.fullmatch(r"(card|resp)_([cs])(\d+)", column):
        phase = "cardiac" if found[1] == "card" else "respiratory"
        return f"{words[found[2]]} of {found[3]} times the {phase} phase"
    if found := re.fullmatch(r"int_c(\d+)r(\d+)_([cs])([pm])", column):
        joined = "plus" if found[4] == "p" else "minus"
        return f"{words[found[3]]} of {found[1]} times the cardiac {joined} {found[2]} times the respiratory phase"
    return {
        "csf": "Mean of the slice's cerebrospinal fluid: around the cord, in the ventricles; % of its temporal mean",
        "rvt": "Respiration volume per time, convolved with its response function (Birn 2006, 2008)",
        "hrv": "Heart rate, convolved with its response function (Chang 2009)",
    }[column]
