"""Rigid poses: translation in mm and angles in rad, R = Rz Ry Rx, push-forward about a given centre."""

import numpy as np
from numpy.typing import NDArray


def rotation_matrix(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """R = Rz Ry Rx of angles (..., 3) in rad, right-handed about x, y, z; (..., 3, 3)."""
    angles = np.asarray(angles, float)
    (sx, sy, sz), (cx, cy, cz) = np.moveaxis(np.sin(angles), -1, 0), np.moveaxis(np.cos(angles), -1, 0)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def compose(second: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pose (..., 6) of moving by ``first``, then by ``second``, both about the same pivot."""
    r2, r1 = rotation_matrix(second[..., 3:]), rotation_matrix(first[..., 3:])
    shift = np.einsum("...ij,...j->...i", r2, first[..., :3]) + second[..., :3]
    return np.concatenate([shift, angles_of(r2 @ r1)], -1)


def angles_of(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (..., 3) of R = Rz Ry Rx (..., 3, 3)."""
    return np.stack(
        [
            np.arctan2(rotation[..., 2, 1], rotation[..., 2, 2]),
            -np.arcsin(np.clip(rotation[..., 2, 0], -1, 1)),
            np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0]),
        ],
        -1,
    )
