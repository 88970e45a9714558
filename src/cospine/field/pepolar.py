"""The field from EPIs of opposite (or different) phase encoding.

Each image is unwarped with the field and multiplied by its Jacobian; where the field is right the results agree (Andersson,
Skare & Ashburner 2003, NeuroImage 20:870-888). The squared difference, relative to the local signal so that a faint cord counts
as much as a bright brain, plus what slopes and bends of the field cost is minimised from coarse to fine resolution
(`gauss_newton`; Ruthotto et al. 2012, Phys Med Biol 57:5715-5731; Julian et al. 2024, arXiv:2403.10706, who take the slopes
alone), and the Jacobian of every image stays positive.

Rigid motion between the images is estimated along, but for a translation along the phase-encoding axis: it cannot be told from a
constant field and is taken to be none. A wrong guess moves everything unwarped with the field by the same distance, which the
registration to other images takes up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.errors import CoSpineError
from cospine.field import smoothness
from cospine.field.encoding import Encoding
from cospine.field.gauss_newton import Level, Unwarper, improve
from cospine.register.rigid import register_rigid
from cospine.space.bspline import coefficients
from cospine.space.grid import Grid
from cospine.space.resample import resample_volume
from cospine.space.transform import rigid_matrix

# (voxels at least so large in mm, Gauss-Newton steps, steps of conjugate gradients, share of an edge that no shift explains):
# edges place the coarse levels, at full resolution they are mixtures of tissues in different fields. Conjugate gradients are cut
# short: their preconditioner sees bends across lines by the diagonal alone, and twice as many bring a field 1 % nearer the truth
_SCHEDULE = ((9.0, 12, 40, 0.05), (6.0, 10, 40, 0.1), (3.0, 8, 40, 0.2), (0.0, 5, 25, 0.3))
_COARSEST_MOVING_MM = 8.0  # pose only where voxels are smaller
_LARGEST_SLOPE = 0.75  # of the displacement in the end: Jacobians stay above 0.2 by central differences, too
_LEAST_OVERLAP = 0.5
_LEAST_APART = 0.3  # displacements of the two images, relative to the first one's
_LEAST_ALIKE = 0.4  # correlation of the coarsest images, distortion and all
_FEWEST_VOXELS = 6  # along an axis at the coarsest level
_LINES = 50


@dataclass(frozen=True)
class PairField:
    """What images of different phase encoding say of the field.

    Parameters
    ----------
    field_hz : ndarray (x, y, z), float32
        On the grid of the first image, undistorted, at the first image's head pose.
    corrected : tuple of ndarray (x, y, z), float32
        Two images unwarped and modulated, at the first one's pose.
    used : tuple of int
        Which two of the images given those are; others encoded alike are averaged with them.
    distorted : tuple of ndarray (x, y, z), float32
        The same as stored, the second on the first's grid.
    poses : tuple of ndarray (4, 4)
        RAS mm of the first image to RAS mm of each, for tissue that follows the head.
    share : ndarray (x, y, z), float32
        How much of these poses each voxel follows.
    smallest_jacobian : float
        Over all voxels and both images.
    """

    field_hz: NDArray[np.float32] = field(repr=False)
    corrected: tuple[NDArray[np.float32], NDArray[np.float32]] = field(repr=False)
    used: tuple[int, int]
    distorted: tuple[NDArray[np.float32], NDArray[np.float32]] = field(repr=False)
    poses: tuple[NDArray[np.float64], NDArray[np.float64]] = field(repr=False)
    share: NDArray[np.float32] = field(repr=False)
    smallest_jacobian: float

    @property
    def reference(self) -> NDArray[np.float32]:
        """Mean of the corrected images."""
        return np.float32(0.5) * (self.corrected[0] + self.corrected[1])


def estimate_field(
    images: Sequence[NDArray],
    encodings: Sequence[Encoding],
    grid: Grid,
    *,
    grids: Sequence[Grid] | None = None,
    share: NDArray | None = None,
    pivot_mm: NDArray | None = None,
    names: Sequence[str] | None = None,
) -> PairField:
    """Field in Hz from two or more EPIs.

    Parameters
    ----------
    images : sequence of ndarray (x, y, z)
        Spin-echo (or all gradient-echo) EPIs of one person, one shim and one contrast.
    encodings : sequence of Encoding
        Their phase encoding.
    grid : Grid
        Grid of the first image.
    grids : sequence of Grid, optional
        Grid of each where they differ; images are registered from there.
    share : ndarray (x, y, z), optional
        How much of the head's motion between the images each voxel of the first follows (0 in the trunk); all by default.
    pivot_mm : ndarray (3,), optional
        Point about which the head turns without translation along the phase-encoding axis, RAS mm; the grid's centre by default.
    names : sequence of str, optional
        What the images are called in errors.

    Returns
    -------
    PairField

    Raises
    ------
    CoSpineError
        For fewer than two images, equal encodings, blank, not finite or unrelated images, or such that do not overlap.
    """
    grids = [grid] * len(images) if grids is None else list(grids)
    names = [f"image {n + 1}" for n in range(len(images))] if names is None else list(names)
    _check(images, encodings, grids, names)
    one, two = _pair(encodings, grids, names)
    first = _mean_of(images, encodings, grids, one)
    second = _mean_of(images, encodings, grids, two)
    pivot = grids[one].centre if pivot_mm is None else np.asarray(pivot_mm, dtype=np.float64)
    if not np.isfinite(pivot).all():
        raise ValueError(f"the pivot {pivot} is no point")
    order1, order2, crossed = _axes(encodings[one], encodings[two], (grids[one], grids[two]))
    scale = float(np.percentile(first, 99))
    canonical = tuple(
        np.ascontiguousarray(image.transpose(order)) / np.float32(scale) for image, order in ((first, order1), (second, order2))
    )
    if not crossed and grids[one].matches(grids[two]):
        canonical = (canonical[0], canonical[1] * np.float32(_gain(*canonical)))
    affines = (grids[one].affine[:, [*order1, 3]], grids[two].affine[:, [*order2, 3]])
    follows = np.ones(first.shape, np.float32) if share is None else np.asarray(share, np.float32)
    follows = np.ascontiguousarray(follows.transpose(order1))
    readout = encodings[one].readout_s
    q = (float(encodings[one].sign), encodings[two].voxels_per_hz / readout)
    pose = np.zeros(6)
    u, level = None, None
    for spacing, steps, cg_steps, edge in _SCHEDULE:
        finer = _level(canonical, affines, follows, spacing, q, crossed, readout, edge)
        if level is not None and finer.images[0].shape == level.images[0].shape and spacing > 0:
            continue
        if level is None:
            _check_alike(finer, (names[one], names[two]))
        u = np.zeros(finer.images[0].shape, np.float32) if u is None or level is None else _refined(u, level, finer)
        level = finer
        u, pose = improve(level, u, pose, pivot, steps, cg_steps, moving=0 < spacing < _COARSEST_MOVING_MM)
    assert u is not None
    assert level is not None
    u = _bounded(u, _LARGEST_SLOPE / max(map(abs, level.modulation)), crossed)
    back = np.argsort(order1)

    def stored(image: NDArray) -> NDArray[np.float32]:
        return np.asfortranarray(image.transpose(back), dtype=np.float32)

    corrected = Unwarper(level).corrected(u, pose, pivot)
    jacobians = (1 + m * np.gradient(u, axis=axis) for axis, m in zip((1, 2 if crossed else 1), level.modulation, strict=True))
    onto = grids[two].inverse @ grids[one].affine
    return PairField(
        stored(u / np.float32(readout)),
        (stored(corrected[0] * scale), stored(corrected[1] * scale)),
        (one, two),
        (np.asarray(first, np.float32), second if grids[one].matches(grids[two]) else resample_volume(second, onto, first.shape)),
        (np.eye(4), rigid_matrix(pose, pivot)),
        stored(follows),
        min(float(jacobian.min()) for jacobian in jacobians),
    )


# --- what there is --------------------------------------------------------------------------------------------------


def _check(images: Sequence[NDArray], encodings: Sequence[Encoding], grids: Sequence[Grid], names: Sequence[str]) -> None:
    """Refuse what no field can follow from, all of it at once."""
    wrong: list[str] = []
    if len(images) < 2 or not len(images) == len(encodings) == len(grids) == len(names):
        raise CoSpineError("a field follows from two images of different phase encoding", ", ".join(names), "give both")
    for image, grid, name in zip(images, grids, names, strict=True):
        if image.ndim != 3 or image.shape != grid.shape:
            wrong.append(f"{name} is not one volume on its grid ({image.shape})")
        elif not np.isfinite(image).all():
            wrong.append(f"{name} holds values that are not finite")
        elif image.min() == image.max() or np.percentile(image, 99) <= 0:
            wrong.append(f"{name} is blank")
        elif min(image.shape) < 2:
            wrong.append(f"{name} has a single slice or line ({image.shape})")
    corners = np.array(np.meshgrid(*[(0.1, 0.5, 0.9)] * 3)).reshape(3, -1).T
    for grid, name in zip(grids[1:], names[1:], strict=True):
        inside = grid.to_voxel(grids[0].to_ras(corners * (np.array(grids[0].shape) - 1)))
        share = grid.holds(inside).mean()
        if share < _LEAST_OVERLAP:
            wrong.append(f"{name} overlaps {names[0]} by {100 * share:.0f} %")
    if wrong:
        raise CoSpineError(
            "; ".join(wrong), "field-map images", "check that both are of this session, whole and in scanner space"
        )


def _pair(encodings: Sequence[Encoding], grids: Sequence[Grid], names: Sequence[str]) -> tuple[int, int]:
    """The first image and the one whose displacement differs most from it, along the same line in space if there is one."""
    one = encodings[0]
    steps = [_step(grids[0], grid, encoding) for grid, encoding in zip(grids, encodings, strict=True)]
    along = [int(np.abs(step).argmax()) == one.axis for step in steps]
    apart = [
        abs(one.voxels_per_hz - step[one.axis] * other.voxels_per_hz) if same else 0.0
        for step, other, same in zip(steps, encodings, along, strict=True)
    ]
    if max(apart) > _LEAST_APART * one.readout_s:
        return 0, int(np.argmax(apart))
    if not all(along):
        return 0, along.index(False)
    raise CoSpineError(
        "all are displaced alike: "
        + ", ".join(f"{x.direction} with a readout time of {x.readout_s:g} s" for x in encodings)
        + ("" if all(grid.matches(grids[0]) for grid in grids) else ", their grids turned against each other"),
        ", ".join(names),
        "give images of opposite phase encoding, and check PhaseEncodingDirection and TotalReadoutTime in their sidecars",
    )


def _step(first: Grid, other: Grid, encoding: Encoding) -> NDArray[np.float64]:
    """Voxels of the first grid that one voxel along another image's phase-encoding axis makes, (3,)."""
    return (first.inverse[:3, :3] @ other.affine[:3, encoding.axis]).astype(np.float64)


def _mean_of(images: Sequence[NDArray], encodings: Sequence[Encoding], grids: Sequence[Grid], chosen: int) -> NDArray[np.float32]:
    """Mean of all images encoded like the chosen one and on its grid, registered to it."""
    image = np.asarray(images[chosen], dtype=np.float32)
    like = [
        np.asarray(other, dtype=np.float32)
        for n, other in enumerate(images)
        if n != chosen and _alike(encodings[n], encodings[chosen]) and grids[n].matches(grids[chosen])
    ]
    if not like:
        return image
    grid = grids[chosen]
    points = np.argwhere(image > 0.2 * np.percentile(image, 99))
    points = points[:: max(1, len(points) // 40_000)]
    series = np.stack([np.ascontiguousarray(other.T) for other in like])
    poses, _ = register_rigid(coefficients(image.T), series, grid.affine, grid.centre, points, np.ones(len(points)))
    total = image.astype(np.float64)
    for other, pose in zip(like, poses, strict=True):
        total += resample_volume(other, grid.inverse @ np.linalg.inv(pose) @ grid.affine)
    return (total / (1 + len(like))).astype(np.float32)


def _alike(one: Encoding, other: Encoding) -> bool:
    return (one.axis, one.sign) == (other.axis, other.sign) and abs(one.readout_s - other.readout_s) < 1e-3 * one.readout_s


def _check_alike(level: Level, names: tuple[str, str]) -> None:
    first = level.images[0]
    onto = np.linalg.inv(level.affines[1]) @ level.affines[0]
    second = ndimage.affine_transform(level.images[1], onto, output_shape=first.shape, order=1)
    blurred = [ndimage.gaussian_filter(image, 6.0 / level.voxel_mm) for image in (first, second)]
    alike = float(np.corrcoef(blurred[0].ravel(), blurred[1].ravel())[0, 1])
    if not alike > _LEAST_ALIKE:
        raise CoSpineError(
            f"they do not show the same thing (correlation {alike:.2f} after smoothing)",
            " and ".join(names),
            "look at both; one may be noise, another person, or wrongly placed by its header",
        )


def _gain(first: NDArray, second: NDArray) -> float:
    """What the second image is to be multiplied by: distortion moves signal along a line of p and keeps its sum.

    Median of the ratio over lines that end in the background at both sides; 1 where too few do.
    """
    sums = [image.sum(axis=1) for image in (first, second)]
    inside = np.minimum(*sums) > 0.25 * np.percentile(sums[0], 99)
    for image in (first, second):
        ends = np.maximum(image[:, :4].mean(axis=1), image[:, -4:].mean(axis=1))
        inside &= ends < 0.1 * image.max(axis=1)
    return float(np.median(sums[0][inside] / sums[1][inside])) if inside.sum() > _LINES else 1.0


# --- resolutions ----------------------------------------------------------------------------------------------------


def _axes(one: Encoding, two: Encoding, grids: Sequence[Grid]) -> tuple[list[int], list[int], bool]:
    """Canonical order (s, p, r) of the axes of both images, and whether the second is encoded along the first's r."""
    rest1, rest2 = ([axis for axis in (2, 1, 0) if axis != encoding.axis] for encoding in (one, two))
    # the axis of the first that the second's phase encoding runs along
    along = int(np.abs(_step(grids[0], grids[1], two)).argmax())
    if along == one.axis:
        return [rest1[0], one.axis, rest1[1]], [rest2[0], two.axis, rest2[1]], False
    across = next(axis for axis in rest1 if axis != along)
    return [across, one.axis, along], [rest2[0], two.axis, rest2[1]], True


def _level(
    canonical: tuple[NDArray, ...], affines: tuple[NDArray, NDArray], share: NDArray, spacing_mm: float,
    q: tuple[float, float], crossed: bool, readout_s: float, edge: float,
) -> Level:  # fmt: skip
    """Both images in blocks of at least `spacing_mm`."""
    factors, coarse = [], []
    for image, affine in zip(canonical, affines, strict=True):
        size = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        factor = np.maximum(np.round(spacing_mm / size), 1).astype(int)
        factors.append(np.minimum(factor, np.maximum(np.array(image.shape) // _FEWEST_VOXELS, 1)))
        scaling = np.diag([*factors[-1], 1.0])
        scaling[:3, 3] = (factors[-1] - 1) / 2
        coarse.append(affine @ scaling)
    one, two = factors
    across = np.linalg.inv(coarse[0][:3, :3]) @ coarse[1][:3, 1]
    return Level(
        (_pooled(canonical[0], one), _pooled(canonical[1], two)),
        (coarse[0], coarse[1]),
        _pooled(share, one),
        (q[0], q[1] * one[1] / two[1]),
        float(across[2 if crossed else 1]),
        crossed,
        readout_s / float(one[1]),
        edge,
    )


def _pooled(image: NDArray, factor: NDArray) -> NDArray[np.float32]:
    """Means of blocks; a block that hangs over the end repeats the outermost voxels."""
    if (factor == 1).all():
        return np.ascontiguousarray(image, dtype=np.float32)
    padded = np.pad(image, [(0, -n % f) for n, f in zip(image.shape, factor, strict=True)], mode="edge")
    a, b, c = (n // f for n, f in zip(padded.shape, factor, strict=True))
    blocks = padded.reshape(a, factor[0], b, factor[1], c, factor[2])
    return np.ascontiguousarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def _refined(u: NDArray, coarse: Level, fine: Level) -> NDArray[np.float32]:
    """Displacement of a coarse level on the grid of a finer one, in its voxels."""
    onto = np.linalg.inv(coarse.affines[0]) @ fine.affines[0]
    steps = np.diag(onto)[:3]
    places = np.meshgrid(
        *(np.arange(n) * s + o for n, s, o in zip(fine.images[0].shape, steps, onto[:3, 3], strict=True)), indexing="ij"
    )
    return np.ascontiguousarray(ndimage.map_coordinates(u, places, order=1, mode="nearest") / steps[1], dtype=np.float32)


def _bounded(u: NDArray[np.float32], most: float, crossed: bool) -> NDArray[np.float32]:
    """Displacement whose steps from voxel to voxel are nowhere larger than `most`, along r too where that is encoded."""
    out = np.empty_like(u)
    smoothness.limit_slopes(u, np.float32(most), out)
    if crossed:
        turned = np.ascontiguousarray(out.transpose(0, 2, 1))
        limited = np.empty_like(turned)
        smoothness.limit_slopes(turned, np.float32(most), limited)
        out = np.ascontiguousarray(limited.transpose(0, 2, 1))
    return out
