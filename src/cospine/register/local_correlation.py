"""Local correlation of two images: in every small patch, how well one image's values follow the other's, up to sign.

Saad et al. (2009, NeuroImage 44:839-848) aligned EPI to T1-weighted images so: what a coil's bias and each contrast do to the
values is nearly one gain and one offset within a patch, so no joint histogram is needed and no boundary has to be known. The
squared correlations are raised by Gauss-Newton on the residuals of the normalised patches (Levenberg 1944; Marquardt 1963).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy import ndimage

from cospine.register.information import smoothed, spacing_along
from cospine.space.bspline import coefficients, value_and_gradient
from cospine.space.grid import Grid

# where points land (n, 3) RAS mm for parameters (m,), and the derivative (n, 3, m) of it
Map = Callable[[NDArray, NDArray], tuple[NDArray[np.float64], NDArray[np.float64]]]

_NOISE = 0.02  # of the moving image's typical value: patches flatter than this say little
_TRIALS = 6
_CENTRE_STEP = 17  # of the mask's voxels, to find where patches fit
_LEAST_STEP_MM = 0.005


@njit(cache=True, parallel=True)
def _sample(coefs, voxels, values, gradients):
    """Spline value and gradient by voxel index; points beyond the lattice take what is at its rim."""
    nz, ny, nx = coefs.shape
    for n in prange(voxels.shape[0]):
        x = min(max(voxels[n, 0], 0.0), nx - 1.0)
        y = min(max(voxels[n, 1], 0.0), ny - 1.0)
        z = min(max(voxels[n, 2], 0.0), nz - 1.0)
        values[n], gradients[n, 0], gradients[n, 1], gradients[n, 2] = value_and_gradient(coefs, x, y, z)


@dataclass(frozen=True)
class Patches:
    """Values of a fixed image in small patches, and the moving image they are compared with.

    Parameters
    ----------
    points : ndarray (patches, k, 3)
        RAS mm in the fixed image.
    own : ndarray (patches, k)
        Values there, of mean 0 and length 1 in each patch.
    coefs : ndarray (z, y, x), float32
        Spline coefficients of the moving image.
    grid : Grid
        The moving image's grid.
    floor : float
        Variance of a patch, times its points, that counts as noise.
    """

    points: NDArray[np.float64] = field(repr=False)
    own: NDArray[np.float64] = field(repr=False)
    coefs: NDArray[np.float32] = field(repr=False)
    grid: Grid
    floor: float

    def look(self, landed: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Moving values of each patch, normalised (patches, k); their lengths (patches,); gradients per mm (patches, k, 3)."""
        voxels = np.ascontiguousarray(self.grid.to_voxel(landed).reshape(-1, 3))
        values, gradients = np.empty(len(voxels)), np.empty((len(voxels), 3))
        _sample(self.coefs, voxels, values, gradients)
        seen = values.reshape(self.own.shape)
        seen = seen - seen.mean(axis=1, keepdims=True)
        length = np.sqrt((seen**2).sum(axis=1) + self.floor)
        return seen / length[:, None], length, (gradients @ self.grid.inverse[:3, :3]).reshape(*seen.shape, 3)

    def correlation(self, landed: NDArray) -> NDArray[np.float64]:
        """Correlation in each patch when its points land at `landed` (patches * k, 3)."""
        return (self.own * self.look(landed)[0]).sum(axis=1)


def patches(
    fixed: NDArray,
    fixed_grid: Grid,
    moving: NDArray,
    moving_grid: Grid,
    mask: NDArray,
    *,
    blur_mm: float,
    radius_mm: float = 12.0,
    spacing_mm: float = 12.0,
    count: int = 48,
    seed: int = 0,
) -> Patches:
    """Lay patches over a mask.

    Parameters
    ----------
    fixed, moving : ndarray (x, y, z)
        Images of any contrast.
    fixed_grid, moving_grid : Grid
        Their grids.
    mask : ndarray (x, y, z), bool
        Voxels of `fixed` that take part. Best without the rim of the brain, where skull and CSF look alike in one contrast
        and not in the other.
    blur_mm : float
        Both images are smoothed to this full width at half maximum; the fixed one to the moving one's voxel where that is more.
    radius_mm, spacing_mm : float
        Of the balls, and between their centres.
    count : int
        Points a patch.
    seed : int
        Of the points' places.

    Returns
    -------
    Patches
        None of them where the mask is too small.
    """
    rng = np.random.default_rng(seed)
    points = fixed_grid.to_ras(np.argwhere(mask)[::_CENTRE_STEP])
    centres = np.unique(np.rint(points / spacing_mm).astype(int), axis=0) * spacing_mm
    kept = []
    for centre in centres:
        # points of the ball that lie in the mask, from a few times as many
        off = rng.uniform(-radius_mm, radius_mm, (6 * count, 3))
        tried = centre + off[(off**2).sum(axis=1) < radius_mm**2]
        index = np.rint(fixed_grid.to_voxel(tried)).astype(int)
        inside = np.all((index >= 0) & (index < fixed_grid.shape), axis=1)
        inside[inside] = mask[tuple(index[inside].T)]
        if inside.sum() >= count:
            kept.append(tried[inside][:count])
    held = np.array(kept).reshape(-1, count, 3)
    one = smoothed(fixed, fixed_grid, np.maximum(blur_mm, spacing_along(fixed_grid, moving_grid)))
    two = smoothed(moving, moving_grid, np.full(3, blur_mm))
    own = ndimage.map_coordinates(one, fixed_grid.to_voxel(held.reshape(-1, 3)).T, order=1, mode="nearest")
    own = own.reshape(held.shape[:2]).astype(np.float64)
    own -= own.mean(axis=1, keepdims=True)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-9)
    some = two.ravel()[::7]
    bright = some[some > 0.3 * np.percentile(some, 99)]
    level = float(np.median(bright)) if bright.size else 1.0
    return Patches(held, own, coefficients(np.ascontiguousarray(two.T)), moving_grid, count * (_NOISE * level) ** 2)


def fit_patches(
    given: Patches, landing: Map, start: NDArray, prior_sd: NDArray, unit: NDArray, *, steps: int = 12
) -> tuple[NDArray[np.float64], float]:
    """Parameters of a map under which the images correlate best, patch by patch.

    Parameters
    ----------
    given : Patches
        What is compared.
    landing : callable
        Points (n, 3) and parameters (m,) to where they land (n, 3), RAS mm, and the derivative (n, 3, m).
    start : ndarray (m,)
        Where to start.
    prior_sd : ndarray (m,)
        How far from 0 each parameter may reasonably be; inf for no pull.
    unit : ndarray (m,)
        Change of each parameter that moves points by about a mm.
    steps : int
        At most so many.

    Returns
    -------
    parameters : ndarray (m,)
    correlation : float
        Mean squared correlation reached.
    """
    points, own = given.points.reshape(-1, 3), given.own
    parameters = np.array(start, dtype=np.float64)
    damping = 1e-3
    # a patch's unexplained share is its noise; the pull is weighed against one independent value a patch
    pull = (unit / prior_sd) ** 2 / len(own)

    def cost(trial: NDArray) -> float:
        squared = given.correlation(landing(points, trial)[0]) ** 2
        return float(1 - squared.mean() + (pull * (trial / unit) ** 2).sum())

    best = cost(parameters)
    for _ in range(steps):
        landed, derivative = landing(points, parameters)
        seen, length, gradient = given.look(landed)
        correlation = (own * seen).sum(axis=1)
        residual = seen - correlation[:, None] * own
        slope = np.einsum("pka,pkam->pkm", gradient, derivative.reshape(*own.shape, 3, -1)) * unit
        slope -= slope.mean(axis=1, keepdims=True)
        slope /= length[:, None, None]
        # gain and offset of each patch are free: only what changes its shape counts
        slope -= seen[..., None] * np.einsum("pk,pkm->pm", seen, slope)[:, None]
        slope -= own[..., None] * np.einsum("pk,pkm->pm", own, slope)[:, None]
        flat = slope.reshape(-1, slope.shape[-1])
        normal = flat.T @ flat / len(own) + np.diag(pull)
        right = -flat.T @ residual.ravel() / len(own) - pull * parameters / unit
        for _ in range(_TRIALS):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), right)
            reached = cost(parameters + step * unit)
            if reached < best:
                damping = max(damping / 5, 1e-6)
                break
            damping = 8 * damping + 1e-4
        else:
            break
        parameters, best = parameters + step * unit, reached
        if np.abs(step).max() < _LEAST_STEP_MM:
            break
    return parameters, float((given.correlation(landing(points, parameters)[0]) ** 2).mean())
