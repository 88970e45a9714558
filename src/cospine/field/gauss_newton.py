"""Gauss-Newton for the displacement between two images at one resolution, and for the motion between them.

Levenberg's damping and a line search keep each step from growing worse; the linear system of a step is solved by conjugate
gradients whose preconditioner solves every line along the phase-encoding axis exactly.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.field import normal_equations, smoothness, unwarp_kernels
from cospine.space.bspline import coefficients
from cospine.space.transform import rigid_matrix

_NOISE = 0.05  # residual that is expected, relative to the local signal
_FLOOR = 0.08  # of the brightest signal: below it an image says little
_LOCAL_MM = 12.0  # reach (FWHM) of the local mean that residuals are relative to
_SLOPE_HZ_PER_MM = 7.0  # spread of the field's gradient that is expected
_CURVE_HZ_PER_MM2 = 0.4  # and of its second derivatives
_OUTLIER = 3.0  # residuals beyond so many expected ones lose weight (Cauchy)
_STEEP, _STIFFENING = 0.6, 2e3  # beyond this slope the Jacobian nears its limits, and every more costs
_TRUSTED_AFTER = 2  # steps of a level: before them nothing is called an outlier, and the pose stays
_CG_TOLERANCE = 0.03
_SMOOTH_VOXELS = 1.0  # SD, of the differences that the pose follows from
_STEP_MM = 0.5  # at most so much of a voxel a step of the pose


@dataclass(frozen=True)
class Level:
    """Both images at one resolution, in canonical axes (s, p, r): p the first one's phase-encoding axis.

    Parameters
    ----------
    images : tuple of ndarray (s, p, r), float32
        On one scale.
    affines : tuple of ndarray (4, 4)
        Index (s, p, r) of each to RAS mm.
    share : ndarray (s, p, r)
        How much of the motion a voxel follows.
    q : tuple of float
        Displacement of each image, in its own voxels along its own p, for u = 1.
    turned : float
        Voxels of the first image along the axis that the second one is encoded along, for one of the second's.
    crossed : bool
        Whether the second image is encoded along r of the first.
    voxels_per_hz : float
        Of u.
    edge : float
        Share of an edge that no shift explains, see `unwarp_kernels.weigh`.
    """

    images: tuple[NDArray[np.float32], NDArray[np.float32]] = field(repr=False)
    affines: tuple[NDArray[np.float64], NDArray[np.float64]] = field(repr=False)
    share: NDArray[np.float32] = field(repr=False)
    q: tuple[float, float]
    turned: float
    crossed: bool
    voxels_per_hz: float
    edge: float

    @property
    def voxel_mm(self) -> NDArray[np.float64]:
        """Of the first image, (3,)."""
        return np.sqrt((self.affines[0][:3, :3] ** 2).sum(axis=0))

    @property
    def modulation(self) -> tuple[float, float]:
        """What a unit of slope of u means for the Jacobian of each image."""
        return self.q[0], self.q[1] * self.turned


class Unwarper:
    """Both images of a level as splines, to be unwarped with any displacement and pose."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._first = coefficients(level.images[0], along_y=True)
        self._second = coefficients(level.images[1])
        self._into = np.linalg.inv(level.affines[1])

    def __call__(self, u: NDArray, pose: NDArray, pivot: NDArray, *, across: bool = False) -> tuple[NDArray[np.float32], ...]:
        """Values and slopes of both, (value1, slope1, value2, slope2, across); not modulated."""
        level = self._level
        value1, slope1, value2, slope2 = (np.empty_like(u) for _ in range(4))
        gradient = np.empty((2, *u.shape) if across else (0, 0, 0, 0), np.float32)
        unwarp_kernels.unwarp_still(self._first, u, np.float32(level.q[0]), value1, slope1)
        base = (self._into @ level.affines[0])[:3].astype(np.float32)
        turn = (self._into @ (rigid_matrix(pose, pivot) - np.eye(4)) @ level.affines[0])[:3].astype(np.float32)
        unwarp_kernels.unwarp_moved(self._second, u, np.float32(level.q[1]), base, turn, level.share, value2, slope2, gradient)
        return value1, slope1, value2, slope2, gradient

    def corrected(self, u: NDArray, pose: NDArray, pivot: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Both images unwarped and modulated."""
        value1, _, value2, _, _ = self(u, pose, pivot)
        slope = np.gradient(u, axis=1)
        other = np.gradient(u, axis=2) if self._level.crossed else slope
        one, two = (np.float32(m) for m in self._level.modulation)
        return value1 * (1 + one * slope), value2 * (1 + two * other)


class Prior:
    """What slopes and bends cost that are added to a displacement.

    Squares, weighted as Cauchy's heavy tails have it, for fields are steep and bent beside air; the weights are those of the
    whole displacement.

    Slopes alone (Ruthotto et al. 2012) would flatten steep fields and leave noise between neighbours, which the Jacobian shows;
    bends alone (the bending energy of FSL's topup) would let lines without signal run away. Here second differences along the
    three axes stand for the bending energy, without its mixed terms.
    """

    def __init__(self, level: Level) -> None:
        shape = level.images[0].shape
        spread = level.voxels_per_hz * level.voxel_mm
        self.alpha = (1 / (_SLOPE_HZ_PER_MM * spread) ** 2).astype(np.float32)
        self.beta = (1 / (_CURVE_HZ_PER_MM2 * spread * level.voxel_mm) ** 2).astype(np.float32)
        self.stiff, self.flat = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._seconds = np.empty((3, *shape), np.float32)

    def weigh(self, u: NDArray) -> None:
        """Set how much the smoothness of each voxel counts, by the present displacement."""
        smoothness.stiffness(u, self.alpha, self.stiff)
        smoothness.flatness(u, self.beta, self.flat)

    def cost(self, change: NDArray) -> float:
        """What a change costs."""
        return smoothness.roughness(change, self.alpha, self.stiff) + smoothness.bending(change, self.beta, self.flat)

    def add_derivative(self, change: NDArray, out: NDArray) -> None:
        """Add the derivative of the cost."""
        smoothness.add_derivative(change, self.alpha, self.stiff, self.beta, self.flat, self._seconds, out)


def improve(
    level: Level, u: NDArray[np.float32], pose: NDArray, pivot: NDArray, steps: int, cg_steps: int, *, moving: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Improve displacement and pose at one resolution.

    Parameters
    ----------
    level : Level
        Images.
    u : ndarray (s, p, r), float32
        Displacement in voxels to start from; smoothness is asked of what is added to it, so that the coarse levels' large and
        smooth parts are not shrunk again and again (iterated Tikhonov regularisation).
    pose : ndarray (6,)
        Motion parameters between the images (`space.transform.rigid_matrix` about `pivot`).
    pivot : ndarray (3,)
        RAS mm.
    steps, cg_steps : int
        Gauss-Newton steps, and at most so many of conjugate gradients for each.
    moving : bool
        Whether the pose is improved.
    """
    shape = u.shape
    unwarp = Unwarper(level)
    residual, mean, a, c, w, first, curved = (np.empty(shape, np.float32) for _ in range(7))
    e = np.empty(shape if level.crossed else (0, 0, 0), np.float32)
    prior = Prior(level)
    (q1, q2), m2 = (np.float32(q) for q in level.q), np.float32(level.modulation[1])
    reach2 = np.float32(0) if level.crossed else m2
    steepest = np.float32(_STEEP / max(1.0, abs(float(m2))))
    start = u

    def evaluate(u: NDArray, pose: NDArray, *, across: bool) -> NDArray[np.float32]:
        value1, slope1, value2, slope2, gradient = unwarp(u, pose, pivot, across=across)
        unwarp_kernels.linearise(u, q1, value1, slope1, q2, m2, value2, slope2, residual, mean, a, c, e)
        return gradient

    def cost(u: NDArray) -> float:
        data = 0.5 * float(np.vdot(w * residual, residual))
        return data + prior.cost(u - start) + smoothness.steepness(u, np.float32(_STIFFENING), steepest, first, curved)

    damping = 1.0
    local = np.empty(0)
    gradient = evaluate(u, pose, across=False)
    for step in range(steps):
        if step in (0, 3):  # the local mean hardly changes
            local = ndimage.gaussian_filter(np.maximum(mean, 0), _LOCAL_MM / 2.355 / level.voxel_mm, mode="nearest")
        unwarp_kernels.weigh(local, a, u, q1, reach2, np.float32(_NOISE), np.float32(_FLOOR), np.float32(level.edge), w)
        if step >= _TRUSTED_AFTER:
            w /= 1 + w * residual * residual / np.float32(_OUTLIER**2)
        turning = moving and step >= _TRUSTED_AFTER
        if turning:
            gradient = evaluate(u, pose, across=True)
            turned = _turned(level, residual, gradient, w, pose, pivot)
            u = _taken_up(level, u, pose, turned, pivot)
            pose = turned
            evaluate(u, pose, across=False)
        prior.weigh(u)
        before = cost(u)
        right = np.empty(shape, np.float32)
        scratch = (np.empty(shape, np.float32), np.empty_like(e))
        normal_equations.gradient(w * residual, a, c, e, first, *scratch, right)
        prior.add_derivative(u - start, right)
        np.negative(right, out=right)
        delta = _solved(a, c, e, w, curved, prior, np.float32(damping), right, cg_steps)
        size = 1.0
        while size > 0.05:
            trial = np.asarray(u + np.float32(size) * delta, dtype=np.float32)
            evaluate(trial, pose, across=False)
            if cost(trial) < before:
                u = trial
                break
            size /= 2
        else:
            evaluate(u, pose, across=False)  # no step was better: where it was, and the next one more careful
        damping = max(damping / 4, 0.01) if size == 1.0 else damping * 4
    return u, pose


def _solved(
    a: NDArray, c: NDArray, e: NDArray, w: NDArray, curved: NDArray, prior: Prior, damping: np.float32, right: NDArray,
    most: int,
) -> NDArray[np.float32]:  # fmt: skip
    """Solution of the normal equations by preconditioned conjugate gradients (Hestenes & Stiefel 1952)."""
    diagonal, one, two, z, times, along = (np.empty(right.shape, np.float32) for _ in range(6))
    beside = np.empty_like(e)
    smooth = (prior.alpha, prior.stiff, prior.beta, prior.flat)
    normal_equations.factorise(a, c, e, w, curved, *smooth, damping, diagonal, one, two)
    x = np.zeros_like(right)
    rest = right.copy()
    normal_equations.solve_lines(diagonal, one, two, rest, z)
    direction = z.copy()
    energy = np.vdot(rest, z)
    enough = _CG_TOLERANCE**2 * np.vdot(rest, rest)
    for _ in range(most):
        normal_equations.normal_times(direction, a, c, e, w, curved, damping, along, beside, times)
        prior.add_derivative(direction, times)
        curvature = np.vdot(direction, times)
        if curvature <= 0:  # nothing left to gain in single precision
            break
        x += energy / curvature * direction
        rest -= energy / curvature * times
        if np.vdot(rest, rest) <= enough:
            break
        normal_equations.solve_lines(diagonal, one, two, rest, z)
        newer = np.vdot(rest, z)
        direction *= newer / energy
        direction += z
        energy = newer
    return x


def _turned(level: Level, residual: NDArray, gradient: NDArray, w: NDArray, pose: NDArray, pivot: NDArray) -> NDArray[np.float64]:
    """The pose after one step, from the difference of the images across the phase-encoding axis.

    What a motion does along p the field takes up (`_taken_up`); a translation along p is not in the step at all. Nor is, of a
    crossed pair, a turn in the plane of both axes, which the displacement explains almost as well. Differences are smoothed, or
    the pose would drift to where interpolation hides most of the noise.
    """
    every = tuple(slice(None, None, max(1, n // at_most)) for n, at_most in zip(residual.shape, (70, 48, 48), strict=True))
    index = np.stack(np.meshgrid(*(np.arange(n)[part] for n, part in zip(residual.shape, every, strict=True)), indexing="ij"), -1)
    points = index.reshape(-1, 3) @ level.affines[0][:3, :3].T + level.affines[0][:3, 3]
    matrix = rigid_matrix(pose, pivot)
    arm = points @ matrix[:3, :3].T + matrix[:3, 3] - pivot
    into = np.linalg.inv(level.affines[1])[:3, :3]
    rest, *across = (ndimage.gaussian_filter(x, _SMOOTH_VOXELS, mode="nearest")[every].ravel() for x in (residual, *gradient))
    by_ras = across[0][:, None] * into[0] + across[1][:, None] * into[2]
    columns = np.concatenate([by_ras, np.cross(arm, by_ras)], axis=1) * level.share[every].ravel()[:, None]
    along = into[1] / np.linalg.norm(into[1])
    axes = np.linalg.svd(np.cross(along, level.affines[0][:3, 1])[None])[2][1:].T if level.crossed else np.eye(3)
    basis = np.zeros((6, 2 + axes.shape[1]))
    basis[:3, :2] = np.linalg.svd(along[None])[2][1:].T
    basis[3:, 2:] = axes
    columns = columns @ basis
    weight = w[every].ravel()
    normal = columns.T @ (columns * weight[:, None])
    size = np.sqrt(np.diag(normal)) + 1e-9
    right = columns.T @ (weight * rest) / size
    step = basis @ (np.linalg.solve(normal / np.outer(size, size) + 1e-3 * np.eye(len(size)), right) / size)
    most = np.repeat([_STEP_MM, _STEP_MM / 60], 3) * level.voxel_mm.max()
    return pose + np.clip(step, -most, most)


def _taken_up(level: Level, u: NDArray, pose: NDArray, turned: NDArray, pivot: NDArray) -> NDArray[np.float32]:
    """Displacement that leaves the images where they are along p after the pose has changed."""
    if level.crossed:
        return u
    change = rigid_matrix(turned, pivot) - rigid_matrix(pose, pivot)
    row = (np.linalg.inv(level.affines[1]) @ change @ level.affines[0])[1]
    s, p, r = np.ogrid[tuple(slice(n) for n in u.shape)]
    moved = row[0] * s + row[1] * p + row[2] * r + row[3]
    taken = level.share * moved / (level.q[1] - level.q[0] / level.turned)
    return np.asarray(u - taken, dtype=np.float32)
