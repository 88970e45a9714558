"""Thermal noise: principal components that random matrix theory tells from noise, patch by patch (MP-PCA).

Voxels of a small patch share a few courses; noise spreads over all components, up to an edge that Marchenko and Pastur's law
gives (Veraart, NeuroImage 2016; Cordero-Grande, NeuroImage 2019; for complex data NORDIC, Vizioli, Nat Commun 2021). Components
above the edge are kept; overlapping patches are averaged, those of low rank with more weight.

The law holds for independent noise of one strength. Images are neither: coil combination and normalisation give each place
its own noise, and filters and interpolation make neighbours alike. A patch that must tell its noise from its own eigenvalues then
takes much of it for signal. So SD and correlation of the noise are estimated first, from what no structure of a block explains.

No choice of parameters saves an effect whose component stays below the edge: it goes with the noise. That befalls weak responses
of few voxels, those of the cord first, the more so the more noise is removed. Hence two strengths:

``gentle``: patches are scaled, not decorrelated. Smooth components pass, noise and responses alike; what is spatially rough goes.
``full``: patches are decorrelated too, and kept components weighed for the least squared error (Gavish and Donoho, IEEE Trans Inf
Theory 2017). The series comes closest to the true one, and most of the weak responses are lost.

It must come before anything that interpolates. Magnitude's bias at low signal stays; only phase helps (`denoise_complex`).
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from cospine.errors import CoSpineError
from cospine.signal.thermal_kernels import denoise_rows, gather_slice, residual_blocks, scatter_slice, smooth_phasors

# Voxels: 7.5 x 7.5 x 12 mm of 1.5 x 1.5 x 4 mm. Larger ones leave less noise, and less of small responses, farther spread.
PATCH = (5, 5, 3)
STRIDE = (2, 2, 2)
FEWEST_VOLUMES = 8
# Size of the blocks on which noise is estimated, voxels: four times as many as their every-second voxels in the plane.
_BLOCK = (16, 16, 3)
# Neighbour correlations are told by the median block among those with at least so many pairs.
_FEWEST_PAIRS = 50
# Least eigenvalue of a noise correlation: below, decorrelating would only amplify rounding.
_LEAST_EIGENVALUE = 0.02


@dataclass(frozen=True)
class Denoised:
    """A series without most of its thermal noise.

    Parameters
    ----------
    series : (x, y, z, t) float32
        Magnitude, if the input was complex.
    noise_sd : (x, y, z) float32
        SD of the noise, in the image's units (of one channel, if complex); 0 where a voxel never changes.
    removed : (x, y, z) float32
        Number of components taken away, weighted mean of the patches that hold a voxel; 0 outside the mask.
    correlation : (3, 2) float64
        Correlation of noise between voxels one and two apart, along each axis.
    """

    series: NDArray[np.float32]
    noise_sd: NDArray[np.float32]
    removed: NDArray[np.float32]
    correlation: NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """How strong noise is and how neighbours share it.

    Parameters
    ----------
    sd : (x, y, z) float32
        SD over time; 0 where a voxel never changes.
    correlation : (3, 2) float64
        Between voxels one and two apart, along each axis.
    """

    sd: NDArray[np.float32]
    correlation: NDArray[np.float64]


@dataclass(frozen=True)
class _Source:
    """Slices of a series as rows of columns: real ones have t columns, complex ones 2 t (real part, then imaginary)."""

    volumes: NDArray  # (t, z, y, x)
    kept: NDArray[np.float64]  # (k, t) orthonormal
    phase_rad: NDArray | None = None  # (t, z, y, x), of which the volumes are the magnitude

    @property
    def parts(self) -> int:
        return 1 if self.phase_rad is None and not np.iscomplexobj(self.volumes) else 2

    @property
    def n_columns(self) -> int:
        return self.parts * self.volumes.shape[0]

    @property
    def freedom(self) -> int:
        return self.n_columns - self.parts * self.kept.shape[0]

    def load(self, z: int, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """Fill ``columns`` (y, x, column) with slice ``z``; shares (part, y, x, k) of what is kept and was taken out."""
        n, k = self.volumes.shape[0], self.kept.shape[0]
        shares = np.empty((self.parts, *columns.shape[:2], k))
        whole = self.volumes[:, z]
        if self.parts == 1:
            gather_slice(whole, self.kept, columns, shares[0])
            return shares
        if self.phase_rad is not None:
            whole = whole * np.exp(1j * self.phase_rad[:, z].astype(np.float32))
        steady = _steady_phase(np.ascontiguousarray(whole, np.complex64))
        gather_slice(np.real(steady), self.kept, columns[..., :n], shares[0])
        gather_slice(np.imag(steady), self.kept, columns[..., n:], shares[1])
        return shares

    def magnitude(self, z: int) -> NDArray:
        """Slice ``z`` as it was, (t, y, x)."""
        return np.abs(self.volumes[:, z]) if np.iscomplexobj(self.volumes) else self.volumes[:, z]


def estimate_noise(series: NDArray, *, keep: NDArray[np.float64] | None = None) -> Noise:
    """Thermal noise of a series: its SD at every voxel and its correlation between neighbours.

    In blocks, the components of every second voxel in the plane (whose noise is nearly independent) tell what structure there is
    (Veraart 2016); it is projected out of all voxels; the rest tells SD (median of 5 x 5 voxels of the plane) and correlations
    (median block, bright voxels only).

    Parameters
    ----------
    series : (x, y, z, t) array
        Real or complex, not interpolated.
    keep : (t, k) array, optional
        As for `denoise`.

    Raises
    ------
    CoSpineError
        As `denoise`.
    """
    return _estimate(_source(series, keep))


def denoise(
    series: NDArray,
    *,
    mask: NDArray[np.bool_] | None = None,
    patch: tuple[int, int, int] | None = None,
    stride: tuple[int, int, int] | None = None,
    keep: NDArray[np.float64] | None = None,
    strength: Literal["gentle", "full"] = "gentle",
    out: NDArray[np.float32] | None = None,
    memory_gb: float = 1.0,
) -> Denoised:
    """Take thermal noise away. The same input gives the same bytes, whatever the number of threads.

    Parameters
    ----------
    series : (x, y, z, t) array
        float32, an integer type, or complex64 (for which see `denoise_complex`); as scanned: before motion correction or any
        other interpolation.
    mask : (x, y, z) bool, optional
        Where to denoise; elsewhere the input (its magnitude) is returned. Default: everywhere.
    patch : tuple of int, optional
        Voxels along x, y and z; default 5 x 5 x 3. Cut to the image's size.
    stride : tuple of int, optional
        Steps from patch to patch, voxels, at most the patch; default 2, 2, 2. Time goes as the inverse of their product.
    keep : (t, k) array, optional
        Courses, such as a task's, that pass unchanged: what a voxel has of them is set aside and put back, as its mean always is.
        Estimates of their effects are then exactly those of the raw series, noise included; their tests need the raw residuals
        too, for those of the result are far too small.
    strength : {"gentle", "full"}
        How much noise to remove: see the module.
    out : (x, y, z, t) float32, optional
        Receives the result; may be ``series`` itself.
    memory_gb : float
        Cap on working memory beside input and output.

    Returns
    -------
    Denoised

    Raises
    ------
    CoSpineError
        If the series is not four-dimensional, has fewer than 8 volumes or values that are not finite; if sizes do not fit each
        other; if the cap is too small.
    """
    return _denoise(_source(series, keep), mask, patch, stride, strength, out, memory_gb)


def denoise_complex(
    magnitude: NDArray,
    phase_rad: NDArray,
    *,
    mask: NDArray[np.bool_] | None = None,
    patch: tuple[int, int, int] | None = None,
    stride: tuple[int, int, int] | None = None,
    keep: NDArray[np.float64] | None = None,
    strength: Literal["gentle", "full"] = "gentle",
    out: NDArray[np.float32] | None = None,
    memory_gb: float = 1.0,
) -> Denoised:
    """Take thermal noise away where the phase was stored too (after NORDIC: Moeller, NeuroImage 2021; Vizioli 2021).

    Noise is then Gaussian at any strength of the signal, and no bias of low magnitudes is left. Before the components are sought,
    the phase is made steady: each voxel's mean phase, and each volume's smooth one (triangle of 9 voxels in the plane), are taken
    out. Real and imaginary part stand side by side as columns; the magnitude of the result is returned.

    Parameters
    ----------
    magnitude, phase_rad : (x, y, z, t) array
        As scanned; phase in rad.
    mask, patch, stride, keep, strength, out, memory_gb
        As for `denoise`; ``out`` may be ``magnitude``.

    Raises
    ------
    CoSpineError
        As `denoise`, and if the phase has another shape or a range far beyond 2 pi.
    """
    if phase_rad.shape != magnitude.shape:
        raise CoSpineError(f"Phase of shape {phase_rad.shape} for {magnitude.shape}", "phase", "Give both of the same run.")
    if np.ptp(phase_rad) > 16 * np.pi:
        raise CoSpineError(f"The phase spans {np.ptp(phase_rad):g}", "phase", "Give it in rad, not in the scanner's units.")
    if not np.isfinite(phase_rad).all():
        raise CoSpineError("There are values that are not finite", "phase", "Replace them, for instance by 0.")
    source = replace(_source(magnitude, keep), phase_rad=phase_rad.T)
    return _denoise(source, mask, patch, stride, strength, out, memory_gb)


def _denoise(
    source: _Source,
    mask: NDArray[np.bool_] | None,
    patch: tuple[int, int, int] | None,
    stride: tuple[int, int, int] | None,
    strength: Literal["gentle", "full"],
    out: NDArray[np.float32] | None,
    memory_gb: float,
) -> Denoised:
    shape = source.volumes.shape[::-1]
    size = _within(patch or PATCH, shape)
    step = stride or STRIDE
    if min(step) < 1:
        raise CoSpineError(f"A stride of {step} does not move", "stride", "Give voxels, at least 1 along each axis.")
    step = tuple(min(s, p) for s, p in zip(step, size, strict=True))
    if mask is not None and mask.shape != shape[:3]:
        raise CoSpineError(f"The mask has shape {mask.shape}, the series {shape[:3]}", "mask", "Give one on the same grid.")
    scratch_gb = 4e-9 * shape[0] * shape[1] * source.n_columns * (2 * size[2] + (4 if source.parts == 2 else 1))
    if scratch_gb > memory_gb:
        raise CoSpineError(
            f"Denoising needs {scratch_gb:.2f} GB beside the series, {memory_gb:.2f} are allowed", "memory_gb",
            "Allow more, or choose a patch of fewer slices.",
        )  # fmt: skip
    if out is None:
        out = np.empty(shape, np.float32, order="F")
    elif out.shape != shape or out.dtype != np.float32:
        raise CoSpineError(f"The output is {out.dtype} of shape {out.shape}", "out", f"Give float32 of shape {shape}.")

    noise = _estimate(source)
    inside = np.ascontiguousarray(noise.sd.T > 0)
    if mask is not None:
        inside &= mask.T
    with threadpool_limits(1, user_api="blas"):
        assumed = noise if strength == "full" else replace(noise, correlation=np.zeros((3, 2)))
        removed = _slabs(source, assumed, inside, size[::-1], step[::-1], strength == "full", out.T)
    return Denoised(out, noise.sd, removed.T, noise.correlation)


def _steady_phase(volumes: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """A slice (t, y, x) without each voxel's mean phase and each volume's smooth one."""
    still = volumes[len(volumes) // 2]
    smooth = np.empty_like(volumes)
    for _ in range(2):  # against one noisy volume first, then against the mean that this makes coherent
        smooth_phasors(volumes, still, smooth)
        still = np.mean(volumes * smooth.conj(), axis=0)
    size = np.abs(still)
    return volumes * smooth.conj() * np.divide(still.conj(), size, out=np.ones_like(still), where=size > 0)


def _source(series: NDArray, keep: NDArray[np.float64] | None) -> _Source:
    if series.ndim != 4 or series.shape[3] < FEWEST_VOLUMES:
        raise CoSpineError(
            f"Of shape {series.shape}, it cannot be denoised",
            "series",
            f"Give (x, y, z, t) with at least {FEWEST_VOLUMES} volumes.",
        )
    n = series.shape[3]
    kept = np.ones((n, 1)) / np.sqrt(n)
    if keep is not None:
        if keep.ndim != 2 or keep.shape[0] != n or keep.shape[1] > n // 2:
            raise CoSpineError(
                f"Courses of shape {keep.shape} for {n} volumes", "keep", "Give (volumes, courses), fewer than half."
            )
        left, strength, _ = np.linalg.svd(np.column_stack([np.ones(n), keep]), full_matrices=False)
        kept = left[:, strength > 1e-9 * strength[0]]
    if not np.issubdtype(series.dtype, np.integer) and not all(np.isfinite(series[..., t]).all() for t in range(n)):
        raise CoSpineError("There are values that are not finite", "series", "Replace them, for instance by 0.")
    return _Source(series.T, np.ascontiguousarray(kept.T))


def _within(patch: tuple[int, int, int], shape: tuple[int, ...]) -> tuple[int, int, int]:
    if min(patch) < 1 or np.prod(patch) < 2:
        raise CoSpineError(f"{patch} is no patch", "patch", "Give voxels, at least 1 along each axis.")
    x, y, z = (min(p, s) for p, s in zip(patch, shape[:3], strict=True))
    return x, y, z


def _edges(size: int, block: int) -> NDArray[np.int64]:
    """Borders of about equal blocks, as many as fit."""
    count = max(size // block, 1)
    return np.arange(count + 1) * size // count


def _estimate(source: _Source) -> Noise:
    nz, ny, nx = source.volumes.shape[1:]
    xs, ys, zs = (_edges(size, block) for size, block in zip((nx, ny, nz), _BLOCK, strict=True))
    variance = np.zeros((nz, ny, nx), np.float32)
    blocks = (len(ys) - 1) * (len(xs) - 1)
    products = np.zeros((len(zs) - 1, blocks, 3, 2))
    pairs = np.zeros(products.shape, np.int64)
    lost = source.n_columns - source.freedom
    with threadpool_limits(1, user_api="blas"):
        for index, (low, high) in enumerate(pairwise(zs)):
            slab = np.empty((high - low, ny, nx, source.n_columns), np.float32)
            shares = np.stack([source.load(z, slab[z - low]) for z in range(low, high)])
            # the mean is the share of the constant, whatever else is kept; complex noise is the same at any signal
            means = np.abs(shares @ source.kept.mean(1))[:, 0] if source.parts == 1 else np.full(slab.shape[:3], np.inf)
            residual_blocks(
                slab, means, ys, xs, source.parts, lost, variance[low:high], products[index], pairs[index]
            )  # fmt: skip
    told = np.where(pairs >= _FEWEST_PAIRS, products / np.maximum(pairs, 1), np.nan).reshape(-1, 3, 2)
    correlation = np.zeros((3, 2))
    for axis in range(3):
        for lag in range(2):
            known = told[np.isfinite(told[:, axis, lag]), axis, lag]
            correlation[2 - axis, lag] = np.median(known) if known.size else 0.0
    changing = variance > 0
    if not changing.any():
        return Noise(np.zeros((nx, ny, nz), np.float32, order="F"), correlation)
    nearest = np.asarray(ndimage.distance_transform_edt(~changing, return_distances=False, return_indices=True))
    spread = ndimage.median_filter(variance[tuple(nearest)], size=(1, 5, 5), mode="nearest")
    return Noise(np.sqrt(np.where(changing, spread, 0)).T, correlation)


def _roots(correlation: NDArray[np.float64], patch: tuple[int, int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inverse root and root (n, n) of the noise correlation in a patch (z, y, x), product of those along its axes."""
    inverse, root = np.ones((1, 1)), np.ones((1, 1))
    for (one, two), size in zip(correlation[::-1], patch, strict=True):
        matrix = np.eye(size)
        for lag, value in ((1, one), (2, two)):
            matrix += value * (np.eye(size, k=lag) + np.eye(size, k=-lag))
        values, vectors = np.linalg.eigh(matrix)
        values = np.sqrt(np.maximum(values, _LEAST_EIGENVALUE))
        inverse = np.kron(inverse, (vectors / values) @ vectors.T)
        root = np.kron(root, (vectors * values) @ vectors.T)
    return inverse.astype(np.float32), root.astype(np.float32)


def _starts(size: int, patch: int, step: int) -> NDArray[np.int64]:
    """First voxels of patches that cover an axis; the last ends with it."""
    return np.unique(np.append(np.arange(0, size - patch, step), size - patch))


def _slabs(
    source: _Source,
    noise: Noise,
    inside: NDArray[np.bool_],
    patch: tuple[int, ...],
    step: tuple[int, ...],
    shrink: bool,
    out: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Denoise slab by slab into ``out`` (t, z, y, x); number of removed components (z, y, x)."""
    nz, ny, nx = source.volumes.shape[1:]
    starts = [_starts(size, p, s) for size, p, s in zip((nz, ny, nx), patch, step, strict=True)]
    whiten, colour = _roots(noise.correlation, (patch[0], patch[1], patch[2]))
    sd = np.ascontiguousarray(noise.sd.T)
    scale = np.divide(1, sd, out=np.zeros_like(sd), where=sd > 0)
    slab = np.zeros((patch[0], ny, nx, source.n_columns), np.float32)
    total = np.zeros_like(slab)
    weight, removed = (np.zeros((nz, ny, nx), np.float32) for _ in range(2))
    shares: dict[int, NDArray[np.float64]] = {}
    loaded = 0
    for first, following in zip(starts[0], [*starts[0][1:], nz], strict=True):
        last = first + patch[0]
        held = loaded - first
        if first > 0:
            slab[:held], total[:held] = slab[patch[0] - held :].copy(), total[patch[0] - held :].copy()
            total[held:] = 0
        for z in range(loaded, last):
            shares[z] = source.load(z, slab[z - first])
            slab[z - first] *= scale[z, :, :, None]
        loaded = last
        part = slice(first, last)
        failed = denoise_rows(
            slab, inside[part], scale[part] > 0, starts[1], starts[2], patch[1:], whiten, colour, source.freedom, shrink, total,
            weight[part], removed[part],
        )  # fmt: skip
        if failed:
            raise CoSpineError(f"The components of {failed} patches could not be found", "series", "Look at its values.")
        for z in range(first, following):
            done = inside[z]
            total[z - first] *= (sd[z] / np.where(weight[z] > 0, weight[z], 1))[..., None]
            _put(source, z, total[z - first], shares.pop(z), done, out)
    return np.where(inside, removed / np.where(weight > 0, weight, 1), 0)


def _put(
    source: _Source,
    z: int,
    columns: NDArray[np.float32],
    shares: NDArray[np.float64],
    inside: NDArray[np.bool_],
    out: NDArray[np.float32],
) -> None:
    """Write slice ``z``: denoised inside, as it was elsewhere; the magnitude of complex data."""
    n = source.volumes.shape[0]
    volumes = out[:, z]
    if not np.shares_memory(out, source.volumes):
        np.copyto(volumes, source.magnitude(z), casting="unsafe")
    if source.parts == 1:
        scatter_slice(columns, source.kept, shares[0], inside, volumes)
        return
    real, imaginary = np.zeros(volumes.shape, np.float32), np.zeros(volumes.shape, np.float32)
    scatter_slice(columns[..., :n], source.kept, shares[0], inside, real)
    scatter_slice(columns[..., n:], source.kept, shares[1], inside, imaginary)
    np.hypot(real, imaginary, out=volumes, where=inside[None])
