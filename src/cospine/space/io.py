"""Transforms in the files of others: ITK's text series of rigid transforms.

Only bytes and text pass here; who writes them to which file is decided elsewhere.
"""

import numpy as np
from numpy.typing import NDArray

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER = "#Insight Transform File V1.0"


def itk_series(matrices: NDArray, centre: NDArray) -> str:
    """A series of pull-back affines as one ITK text file, a transform a volume.

    Parameters
    ----------
    matrices : ndarray (volumes, 4, 4)
        Pull-back, RAS mm: reference point to stored point.
    centre : ndarray (3,)
        Centre of rotation written into the fixed parameters, RAS mm.

    Returns
    -------
    str
        Text in ITK's convention (LPS mm). Readers that meet several transforms in one file compose them (ANTs does):
        split it at ``#Transform`` first.
    """
    lines = [_HEADER]
    fixed = (_LPS[:3, :3] @ np.asarray(centre, dtype=np.float64)).tolist()
    for volume, matrix in enumerate(np.asarray(matrices, dtype=np.float64)):
        lps = _LPS @ matrix @ _LPS
        # ITK maps p to A (p - c) + c + t
        translation = lps[:3, 3] + lps[:3, :3] @ fixed - fixed
        numbers = [*lps[:3, :3].ravel().tolist(), *translation.tolist()]
        lines += [
            f"#Transform {volume}",
            "Transform: AffineTransform_double_3_3",
            "Parameters: " + " ".join(f"{x:.12g}" for x in numbers),
            "FixedParameters: " + " ".join(f"{x:.12g}" for x in fixed),
        ]
    return "\n".join(lines) + "\n"


def read_itk_series(text: str) -> NDArray[np.float64]:
    """Pull-back affines (volumes, 4, 4) in RAS mm from the text that :func:`itk_series` writes.

    Raises
    ------
    ValueError
        When the text is not an ITK transform file of 3-D affines.
    """
    if not text.startswith("#Insight Transform File"):
        raise ValueError("not an ITK transform file: its first line is not '#Insight Transform File ..'")
    matrices: list[NDArray] = []
    numbers: list[float] = []
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "Parameters":
            numbers = [float(x) for x in value.split()]
            if len(numbers) != 12:
                raise ValueError(f"an affine has 12 parameters, this one has {len(numbers)}")
        elif key == "FixedParameters":
            centre = np.array([float(x) for x in value.split()])
            lps = np.eye(4)
            lps[:3, :3] = np.reshape(numbers[:9], (3, 3))
            lps[:3, 3] = np.array(numbers[9:]) + centre - lps[:3, :3] @ centre
            matrices.append(_LPS @ lps @ _LPS)
    return np.array(matrices).reshape(-1, 4, 4)
