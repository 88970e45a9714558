"""Clusters of a map above a threshold: their mass and extent, and where they peak."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.stats.tfce import CORNERS, EDGES, FACES


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters, heaviest first; positive and negative ones apart.

    Attributes
    ----------
    labels : ndarray (x, y, z), int32
        From 1; 0 outside.
    masses : ndarray (clusters,)
        Sum of |value| - threshold over the cluster's voxels.
    """

    labels: NDArray[np.int32]
    masses: NDArray[np.float64]


@dataclass(frozen=True)
class Cluster:
    """A row of a table of clusters.

    Attributes
    ----------
    number : int
        Its label.
    voxels : int
    volume_mm3 : float
    mass : float
    peak : float
        Value of the largest magnitude, with its sign.
    peak_mm : tuple of float
        Where that is, RAS mm.
    p_fwe : mapping of str to float
        The smallest of each map of corrected p within the cluster.
    """

    number: int
    voxels: int
    volume_mm3: float
    mass: float
    peak: float
    peak_mm: tuple[float, float, float]
    p_fwe: Mapping[str, float]


def label_clusters(
    values: NDArray[np.floating],
    mask: NDArray[np.bool_],
    threshold: float,
    *,
    connectivity: int = FACES,
    two_sided: bool = True,
) -> Clusters:
    """Find clusters of values above a threshold, and of values below its negative.

    Parameters
    ----------
    values : ndarray (x, y, z)
    mask : ndarray (x, y, z), bool
    threshold : float
        Must be exceeded.
    connectivity : {6, 18, 26}
    two_sided : bool
        Negative ones too.
    """
    from scipy.ndimage import generate_binary_structure, label

    structure = generate_binary_structure(3, {FACES: 1, EDGES: 2, CORNERS: 3}[connectivity])
    inside = np.where(mask, np.nan_to_num(values, nan=0.0), 0.0).astype(np.float64)
    labels = np.empty(mask.shape, np.int32)
    count = int(label(inside > threshold, structure, output=labels))  # type: ignore[arg-type]
    if two_sided:
        below = np.empty(mask.shape, np.int32)
        more = int(label(inside < -threshold, structure, output=below))  # type: ignore[arg-type]
        labels[below > 0] = below[below > 0] + count
        count += more
    over = np.abs(inside).ravel() - threshold
    masses = np.bincount(labels.ravel(), over, minlength=count + 1)[1:].astype(np.float64)
    order = np.argsort(-masses, kind="stable")
    number = np.zeros(count + 1, np.int32)
    number[1 + order] = np.arange(1, count + 1)
    return Clusters(number[labels], masses[order])


def cluster_table(
    clusters: NDArray[np.int32],
    values: NDArray[np.floating],
    affine: NDArray[np.floating],
    threshold: float,
    p_fwe: Mapping[str, NDArray[np.floating]] | None = None,
) -> tuple[Cluster, ...]:
    """A row for each cluster.

    Parameters
    ----------
    clusters : ndarray (x, y, z), int
        Labels from 1.
    values : ndarray (x, y, z)
    affine : ndarray (4, 4)
        Voxels to RAS mm.
    threshold : float
        That formed the clusters.
    p_fwe : mapping of str to ndarray (x, y, z), optional
    """
    rows = []
    volume = float(abs(np.linalg.det(affine[:3, :3])))
    for number in range(1, int(clusters.max(initial=0)) + 1):
        at = np.argwhere(clusters == number)
        inside = values[tuple(at.T)]
        top = int(np.nanargmax(np.abs(inside)))
        where = affine[:3, :3] @ at[top] + affine[:3, 3]
        rows.append(
            Cluster(
                number=number,
                voxels=len(at),
                volume_mm3=len(at) * volume,
                mass=float(np.nansum(np.abs(inside).astype(np.float64) - threshold)),
                peak=float(inside[top]),
                peak_mm=(float(where[0]), float(where[1]), float(where[2])),
                p_fwe={name: float(np.nanmin(one[tuple(at.T)])) for name, one in (p_fwe or {}).items()},
            )
        )
    return tuple(rows)
