"""Rigid registration of two images of different contrast by mutual information.

Viola & Wells (1997, Int J Comput Vis 24:137-154) and Mattes et al. (2003, IEEE Trans Med Imaging 22:120-128): the joint histogram
of the two images at sampled voxels of one, filled by linear windows so that it changes smoothly; found by Powell's method from
coarse to fine windows.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from cospine.space.bspline import coefficients, value_and_gradient
from cospine.space.grid import Grid
from cospine.space.transform import rigid_matrix

_BINS = 40
_POINTS = 15_000
_PASSES = ((5.0, 2.0), (2.0, 0.5))  # blur of both images and first step, mm: a coarse pass and a fine one
_LEAST_INSIDE = 0.5
_PER_MM = 60.0  # mm at which a rad counts like a mm: both search directions are of like size then


@njit(cache=True)
def _information(coefs, points, fixed, scale, low, matrix, bins):
    """Mutual information (nats) of `fixed` bins and the moving image at the mapped points; and the share inside."""
    nz, ny, nx = coefs.shape
    joint = np.zeros((bins, bins))
    used = 0
    for n in range(points.shape[0]):
        px, py, pz = points[n, 0], points[n, 1], points[n, 2]
        x = matrix[0, 0] * px + matrix[0, 1] * py + matrix[0, 2] * pz + matrix[0, 3]
        y = matrix[1, 0] * px + matrix[1, 1] * py + matrix[1, 2] * pz + matrix[1, 3]
        z = matrix[2, 0] * px + matrix[2, 1] * py + matrix[2, 2] * pz + matrix[2, 3]
        if x < 0 or y < 0 or z < 0 or x > nx - 1 or y > ny - 1 or z > nz - 1:
            continue
        value, _, _, _ = value_and_gradient(coefs, x, y, z)
        place = min(max((value - low) * scale, 0.0), bins - 1.001)
        b = int(place)
        part = place - b
        own = fixed[n]
        a = int(own)
        rest = own - a
        joint[a, b] += (1 - rest) * (1 - part)
        joint[a, b + 1] += (1 - rest) * part
        joint[a + 1, b] += rest * (1 - part)
        joint[a + 1, b + 1] += rest * part
        used += 1
    if used == 0:
        return 0.0, 0.0
    joint /= used
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    total = 0.0
    for a in range(bins):
        for b in range(bins):
            if joint[a, b] > 0:
                total += joint[a, b] * np.log(joint[a, b] / (rows[a] * columns[b]))
    return total, used / points.shape[0]


def register_mutual(
    fixed: NDArray,
    fixed_grid: Grid,
    moving: NDArray,
    moving_grid: Grid,
    mask: NDArray,
    start: NDArray | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Rigid transform between two images of one head.

    Parameters
    ----------
    fixed : ndarray (x, y, z)
        Image whose voxels are compared.
    fixed_grid, moving_grid : Grid
        Their grids.
    moving : ndarray (x, y, z)
        The other image.
    mask : ndarray (x, y, z), bool
        Voxels of `fixed` that count.
    start : ndarray (6,), optional
        Parameters to start from, close enough for the fine pass alone; scanner space and both passes by default.

    Returns
    -------
    parameters : ndarray (6,)
        As `space.transform.rigid_matrix` about the centre of the mask: fixed RAS mm to moving RAS mm; mm and rad.
    information : float
        Mutual information reached, nats.
    """
    from scipy.optimize import minimize

    index = np.argwhere(mask)
    centre = fixed_grid.to_ras(index.mean(axis=0))
    index = index[:: max(1, len(index) // _POINTS)]
    # between the voxels: on them, two images on one grid would look most alike unmoved, whatever the motion
    index = index + np.random.default_rng(0).uniform(-0.5, 0.5, index.shape)
    points = fixed_grid.to_ras(index)
    parameters = np.zeros(6) if start is None else np.array(start, dtype=np.float64)
    unit = np.repeat([1.0, 1 / _PER_MM], 3)
    best = 0.0
    for blur, step in _PASSES if start is None else _PASSES[1:]:
        one, two = (
            ndimage.gaussian_filter(image.astype(np.float32), np.maximum(blur / grid.voxel_mm, 1.0) / 2.355)
            for image, grid in ((fixed, fixed_grid), (moving, moving_grid))
        )
        values = ndimage.map_coordinates(one, index.T, order=3, mode="nearest")
        low, high = np.percentile(values, (0.5, 99.5))
        bins = np.clip((values - low) / max(high - low, 1e-9) * (_BINS - 1), 0, _BINS - 1.001).astype(np.float64)
        inside = two[two > 0.1 * np.percentile(two, 99)]
        least, most = (float(v) for v in np.percentile(inside, (0.5, 99.5))) if inside.size else (0.0, 1.0)
        coefs = coefficients(np.ascontiguousarray(two.T))
        scale = (_BINS - 1) / max(most - least, 1e-9)

        def cost(scaled: NDArray, coefs=coefs, bins=bins, scale=scale, least=least) -> float:
            matrix = moving_grid.inverse @ rigid_matrix(scaled * unit, centre)
            found, share = _information(coefs, points, bins, scale, least, matrix, _BINS)
            return -found if share > _LEAST_INSIDE else 0.0

        found = minimize(
            cost,
            parameters / unit,
            method="Powell",
            options={"direc": step * np.eye(6), "xtol": 1e-3, "ftol": 1e-5, "maxfev": 1500},
        )
        parameters, best = found.x * unit, -float(found.fun)
    return parameters, best
