"""Places that the tasks activate: horns of the cord by spinal segment, and regions of the brain in MNI space."""

import numpy as np
from numpy.typing import NDArray

from cospine.phantom.tables import SPINAL_TOP_Z
from cospine.phantom.tissues import NUMBER

REGIONS: tuple[str, ...] = (
    "none",
    "dorsal_horn_R_C6",
    "dorsal_horn_L_C6",
    "ventral_horn_R_C7C8",
    "ventral_horn_L_C7C8",
    "insula_R",
    "insula_L",
    "S2_R",
    "S2_L",
    "ACC",
    "thalamus_R",
    "thalamus_L",
    "M1S1_R",
    "M1S1_L",
    "SMA",
    "cerebellum_R",
    "cerebellum_L",
)

# Right-hand centre (MNI mm) and semi-axes of ellipsoids within grey matter: peaks of heat pain (Duerden & Albanese,
# Hum Brain Mapp 2013; Jensen et al., Pain 2016) and of hand movement (Mayka et al., NeuroImage 2006; cerebellar
# lobules V-VI: Stoodley & Schmahmann, NeuroImage 2009).
BRAIN_REGIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "insula": ((38.0, 6.0, 2.0), (7.0, 14.0, 10.0)),
    "S2": ((56.0, -24.0, 20.0), (10.0, 11.0, 8.0)),
    "ACC": ((0.0, 14.0, 34.0), (9.0, 14.0, 10.0)),
    "thalamus": ((12.0, -18.0, 7.0), (8.0, 10.0, 8.0)),
    "M1S1": ((38.0, -25.0, 56.0), (11.0, 12.0, 12.0)),
    "SMA": ((0.0, -6.0, 58.0), (9.0, 14.0, 10.0)),
    "cerebellum": ((18.0, -52.0, -22.0), (12.0, 11.0, 8.0)),
}
# Spinal segments, first and last, by number (C6 = 6 .. C8 = 8).
HORNS = {"dorsal_horn": (6, 6, "C6"), "ventral_horn": (7, 8, "C7C8")}


def label_regions(
    points: NDArray[np.floating], tissue: NDArray[np.uint8], before_cord: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """Region of each point, 0 where none.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Canonical RAS mm.
    tissue : ndarray, shape (n,)
        Dominant tissue.
    before_cord : ndarray, shape (n,)
        Canonical y of the point relative to the middle of the cord, front positive.

    Returns
    -------
    ndarray of uint8, shape (n,)
        Index into `REGIONS`.
    """
    label = np.zeros(len(points), np.uint8)
    x, z = points[:, 0], points[:, 2]
    grey = tissue == NUMBER["grey_matter"]
    for name, (centre, axes) in BRAIN_REGIONS.items():
        sides = [("", 1.0)] if name in REGIONS else [("_R", 1.0), ("_L", -1.0)]
        for side, sign in sides:
            offset = (points - np.array([sign * centre[0], centre[1], centre[2]])) / axes
            label[grey & (np.einsum("ij,ij->i", offset, offset) < 1)] = REGIONS.index(name + side)
    cord_grey = tissue == NUMBER["cord_grey"]
    for name, (first, last, segment) in HORNS.items():
        rows = cord_grey & (z < SPINAL_TOP_Z[first - 1]) & (z >= SPINAL_TOP_Z[last])
        rows &= before_cord > 0.4 if name == "ventral_horn" else before_cord < -0.4
        for side, sign in (("R", 1.0), ("L", -1.0)):
            label[rows & (sign * x > 0.6)] = REGIONS.index(f"{name}_{side}_{segment}")
    return label
