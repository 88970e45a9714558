"""What changes the signal of tissue over time: pulse, breathing, inflow of CSF, activation.

Every object voxel carries a label; a label is a class of tissue, a cluster of phase and an activation region. The
modulation table holds one factor for each label, slice and volume.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

# T1 (s) of each class, for the approach to the steady state; what is static is mostly muscle.
T1_S = {"static": 1.4, "csf": 4.3, "vessel": 1.6, "grey": 1.45, "white": 0.85, "cord": 0.9}
CLASSES = ("static", "csf", "vessel", "grey", "white", "cord")
CLUSTERS = 4
# Peak to peak, as a fraction of the signal, drawn once a run (Brooks et al. 2013; Piche et al. 2009; Kong et al. 2012).
CARDIAC = {"csf": (0.01, 0.04), "vessel": (0.01, 0.04), "grey": (0.001, 0.005), "white": (0.0005, 0.002), "cord": (0.003, 0.01)}
RESPIRATORY = {
    "csf": (0.005, 0.02), "vessel": (0.005, 0.02), "grey": (0.001, 0.004), "white": (0.0005, 0.002), "cord": (0.003, 0.008),
}  # fmt: skip
INFLOW = (0.02, 0.08)
# The pulse reaches a cluster up to this much later than the first of its slice.
CLUSTER_DELAY_S = 0.18
# Vessels and CSF move with the pulse, tissue follows the breath with some lag.
BREATH_LAG_S = 0.8


class Heart(Protocol):
    """The part of the physiology that modulation needs."""

    def pulse(self, t_s: NDArray[np.float64], delay_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pulse waveform, peak to peak about 1, at times t after a delay."""
        ...

    def breathing(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chest position, peak to peak about 1 at rest."""
        ...


@dataclass(frozen=True)
class Labels:
    """``image`` (z, y, x) uint8 of rows; for each row its ``kind`` (index in `CLASSES`), ``cluster`` and ``region``."""

    image: NDArray[np.uint8]
    kind: NDArray[np.int64]
    cluster: NDArray[np.int64]
    region: NDArray[np.int64]


@njit(cache=True, parallel=True)
def _label(tissue, region, kind_of_tissue, affine, waves, neck_waves, neck_z, row_of, out):
    nz, ny, nx = tissue.shape
    for k in prange(nz):
        for j in range(ny):
            for i in range(nx):
                kind = kind_of_tissue[tissue[k, j, i]]
                if kind == 0:
                    out[k, j, i] = 0
                    continue
                x = affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3]
                y = affine[1, 0] * i + affine[1, 1] * j + affine[1, 2] * k + affine[1, 3]
                z = affine[2, 0] * i + affine[2, 1] * j + affine[2, 2] * k + affine[2, 3]
                table = neck_waves if z < neck_z else waves
                total = 0.0
                for m in range(table.shape[0]):
                    total += np.cos(table[m, 0] * x + table[m, 1] * y + table[m, 2] * z + table[m, 3])
                cluster = int((total / table.shape[0] * 0.5 + 0.5) * 0.999 * CLUSTERS)
                out[k, j, i] = row_of[kind, cluster, region[k, j, i]]


def _waves(rng: np.random.Generator, wavelength_mm: float, count: int = 3) -> NDArray[np.float64]:
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.column_stack([direction * 2 * np.pi / wavelength_mm, rng.uniform(0, 2 * np.pi, count)])


def build_labels(
    tissue: NDArray[np.uint8],
    region: NDArray[np.uint8],
    kind_of_tissue: NDArray[np.int64],
    affine: NDArray[np.float64],
    neck_z_mm: float,
    n_regions: int,
    rng: np.random.Generator,
) -> Labels:
    """Give every voxel its row.

    Parameters
    ----------
    tissue, region : (z, y, x) uint8
        Dominant tissue and activation region (0 = none; looked at only in grey matter and cord).
    kind_of_tissue : (tissues,) int
        Index into `CLASSES` of each tissue.
    affine : (4, 4)
        Grid to individual RAS mm.
    neck_z_mm : float
        Below this height the pulse's phase varies over millimetres, above it over centimetres.
    n_regions : int
        Regions, "none" included.
    rng : Generator
    """  # fmt: skip
    row_of = np.zeros((len(CLASSES), CLUSTERS, n_regions), np.int64)
    rows = [(0, 0, 0)]
    for kind in range(1, len(CLASSES)):
        active = CLASSES[kind] in ("grey", "cord")
        for cluster in range(CLUSTERS):
            for index in range(n_regions):
                if index and not active:
                    row_of[kind, cluster, index] = row_of[kind, cluster, 0]
                    continue
                row_of[kind, cluster, index] = len(rows)
                rows.append((kind, cluster, index))
    if len(rows) > 256:
        raise ValueError(f"{len(rows)} modulation labels do not fit uint8")
    image = np.empty(tissue.shape, np.uint8)
    _label(tissue, region, kind_of_tissue, affine, _waves(rng, 60.0), _waves(rng, 16.0), neck_z_mm, row_of, image)
    kind, cluster, index = np.array(rows).T
    return Labels(image, kind, cluster, index)


def freshness(slice_times_s: NDArray[np.float64], tr_s: float) -> NDArray[np.float64]:
    """How fresh the CSF is that flows into each slice (n,): 0.5 to 1.5 with the time since its neighbours were excited."""
    n = len(slice_times_s)
    since = np.full(n, tr_s)
    for k in range(n):
        for other in (k - 1, k + 1):
            if 0 <= other < n:
                since[k] = min(since[k], (slice_times_s[k] - slice_times_s[other]) % tr_s or tr_s)
    return 0.5 + since / tr_s


def approach_to_steady_state(
    t1_s: NDArray[np.float64], tr_s: float, flip_deg: float, discarded: int, volumes: int
) -> NDArray[np.float64]:
    """Signal of each volume over the steady state's (volumes, n) for tissues of the given T1 (n,).

    Before the pulse n+1 the longitudinal magnetisation is M + (1 - M) (E1 cos a)^n with the steady state
    M = (1 - E1) / (1 - E1 cos a).
    ``discarded`` pulses came before the first stored volume.
    """
    e1, cosine = np.exp(-tr_s / t1_s), np.cos(np.deg2rad(flip_deg))
    steady = (1 - e1) / (1 - e1 * cosine)
    pulses = discarded + np.arange(volumes)[:, None]
    return 1 + (1 / steady - 1) * (e1 * cosine) ** pulses


def modulation_table(
    labels: Labels,
    times_s: NDArray[np.float64],
    transit_s: NDArray[np.float64],
    fresh: NDArray[np.float64],
    heart: Heart | None,
    inflow: bool,
    activation: dict[int, NDArray[np.float64]],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Factor on the signal of each label: (volumes, slices, labels).

    Parameters
    ----------
    labels : Labels
    times_s : (volumes, slices)
        Time of each slice.
    transit_s : (slices,)
        When the pulse reaches each slice, against the finger.
    fresh : (slices,)
        From `freshness`.
    heart : Heart or None
        None: no physiological signal.
    inflow : bool
        Pulsatile inflow of CSF (needs ``heart``).
    activation : dict of int to (volumes, slices)
        Fractional signal change by region index.
    rng : Generator
    """  # fmt: skip
    table = np.ones((*times_s.shape, len(labels.kind)), np.float64)
    cardiac = {name: rng.uniform(*span) for name, span in CARDIAC.items()}
    respiratory = {name: rng.uniform(*span) for name, span in RESPIRATORY.items()}
    flow = rng.uniform(*INFLOW)
    delays = rng.permutation(CLUSTERS) / CLUSTERS * CLUSTER_DELAY_S
    if heart is not None:
        breath = heart.breathing(times_s - BREATH_LAG_S)
        for cluster in range(CLUSTERS):
            wave = heart.pulse(times_s, np.broadcast_to(transit_s + delays[cluster], times_s.shape))
            for kind, name in enumerate(CLASSES):
                rows = (labels.kind == kind) & (labels.cluster == cluster)
                if kind == 0 or not rows.any():
                    continue
                factor = 1 + cardiac[name] * wave
                if name == "csf" and inflow:
                    factor = factor + flow * fresh * wave
                # opposite lag in alternate clusters: tissue approaches here and recedes there
                factor = factor * (1 + respiratory[name] * breath * (1 if cluster % 2 else -0.6))
                table[..., rows] *= factor[..., None]
    for region, change in activation.items():
        table[..., labels.region == region] *= 1 + change[..., None]
    return table.astype(np.float32)
