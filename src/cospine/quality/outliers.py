"""Who differs from the others: quality measures of a group, and values far out on the bad side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LIMIT = 3.5
"""Modified z score beyond which a value is an outlier (Iglewicz and Hoaglin 1993)."""

_FEWEST = 5  # below that a median and its spread say nothing of who differs

JUDGED: dict[str, Literal["high", "low"]] = {
    "fd_mean_mm": "high",
    "cord_shift_rms_mm": "high",
    "std_dvars_mean": "high",
    "tsnr_brain_after": "low",
    "tsnr_cord_after": "low",
    "cord_confidence_median": "low",
    "cord_displacement_left_mm": "high",
    "brain_edge_after_mm": "high",
    "cord_to_anatomy_after_mm": "high",
    "brain_template_dice": "low",
    "cord_template_dice": "low",
    "heart_unusable_percent": "high",
    "breathing_unusable_percent": "high",
    "task_noise_vif_median": "high",
    "residual_df_min": "low",
}
"""Measures of `cospine.quality.measures` that a group is judged by, and which side is the bad one."""


@dataclass(frozen=True)
class Spread:
    """One measure over runs.

    Attributes
    ----------
    name : str
        Of `cospine.quality.measures`.
    values : (runs,) array
        NaN where a run has none.
    scores : (runs,) array
        Modified z score, positive on the bad side; NaN where there is none.
    outliers : (runs,) bool array
    """

    name: str
    values: NDArray[np.float64] = field(repr=False)
    scores: NDArray[np.float64] = field(repr=False)
    outliers: NDArray[np.bool_] = field(repr=False)


def spreads(measures: Sequence[Mapping[str, float]]) -> tuple[Spread, ...]:
    """The measures that a group is judged by, as far as at least one run has them.

    Parameters
    ----------
    measures : sequence of mapping of name to float
        One a run.
    """
    found = []
    for name, side in JUDGED.items():
        values = np.array([one.get(name, np.nan) for one in measures], dtype=np.float64)
        if np.isfinite(values).any():
            scores = modified_z(values) * (1.0 if side == "high" else -1.0)
            found.append(Spread(name, values, scores, scores > LIMIT))
    return tuple(found)


def modified_z(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """0.6745 (x - median) / MAD; where more than half are equal, the mean absolute deviation stands in (times 1.2533).

    Parameters
    ----------
    values : (n,) array
        NaN for none.

    Returns
    -------
    (n,) array
        NaN for none, and everywhere where fewer than five are finite; 0 where all are equal.

    References
    ----------
    Iglewicz B, Hoaglin D (1993) How to detect and handle outliers. ASQC Quality Press.
    """
    values = np.asarray(values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if finite.size < _FEWEST:
        return np.full(values.shape, np.nan)
    away = values - np.median(finite)
    spread = float(np.median(np.abs(away[np.isfinite(away)]))) / 0.6745
    if spread == 0:
        spread = float(np.mean(np.abs(away[np.isfinite(away)]))) * 1.2533
    return away / spread if spread > 0 else np.where(np.isfinite(values), 0.0, np.nan)
