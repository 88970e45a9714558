"""Arrays as images of antspyx, which is a peer and an oracle here: nothing of the program itself needs it."""

from typing import Any

import ants
import numpy as np
from numpy.typing import NDArray

from cospine.space.grid import Grid

_LPS = np.diag([-1.0, -1.0, 1.0])


def to_ants(data: NDArray, grid: Grid) -> Any:
    """An array (x, y, z) on a grid as an ANTsImage, float32."""
    spacing = grid.voxel_mm
    return ants.from_numpy(
        np.ascontiguousarray(data, dtype=np.float32),
        origin=tuple((_LPS @ grid.affine[:3, 3]).tolist()),
        spacing=tuple(spacing.tolist()),
        direction=_LPS @ (grid.affine[:3, :3] / spacing),
    )
