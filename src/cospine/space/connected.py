"""Connected parts of a mask."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def largest_part(mask: NDArray) -> NDArray[np.bool_]:
    """The part of a mask with the most voxels, those that share a face being connected; empty where the mask is.

    Parameters
    ----------
    mask : ndarray, bool
        Any number of axes.
    """
    labels = np.empty(mask.shape, dtype=np.int32)
    if ndimage.label(mask, output=labels) == 0:
        return np.zeros(mask.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == int(np.argmax(sizes))
