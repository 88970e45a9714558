"""Thermal noise taken out of a stored series, before anything interpolates it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Derivatives, Run, load_image
from cospine.errors import CoSpineError
from cospine.field.phasediff import phase_scale
from cospine.space.grid import Grid

_SCALE_VOLUMES = 4  # phase is uniform in the air: a few volumes fill its range


@dataclass(frozen=True)
class Thermal:
    """What denoising found, on the stored (distorted, unmoved) grid.

    Parameters
    ----------
    noise_sd : ndarray (x, y, z)
        SD of thermal noise.
    removed : ndarray (x, y, z)
        Principal components taken away.
    taken_sd : ndarray (x, y, z)
        SD over time of what was taken away.
    most : int
        Components of a patch: as many as its voxels, or volumes where these are fewer.
    phase : Path or None
        Phase images that made the data complex; None where magnitudes alone were denoised.
    """

    noise_sd: NDArray[np.float32] = field(repr=False)
    removed: NDArray[np.float32] = field(repr=False)
    taken_sd: NDArray[np.float32] = field(repr=False)
    most: int
    phase: Path | None

    @property
    def method(self) -> str:
        """What sidecars say of it."""
        return f"Marchenko-Pastur PCA of patches, {'magnitude' if self.phase is None else 'complex'} images"


def without_thermal_noise(run: Run, series: NDArray[np.float32], dummies: int) -> tuple[NDArray[np.float32], Thermal]:
    """Denoise a series (x, y, z, t) by MP-PCA, as complex data where the run has phase images.

    Volumes not in steady state are left as they are: their brightness would take components of its own.

    Raises
    ------
    CoSpineError
        When the phase images do not fit the magnitudes, or there are too few volumes.
    """
    # its kernels are loaded by those who ask for it
    from cospine.signal.thermal import PATCH, denoise, denoise_complex

    steady = series[..., dummies:]
    if run.phase is None:
        found = denoise(steady)
    else:
        found = denoise_complex(steady, _phase(run, series.shape)[..., dummies:])
    taken = np.zeros(series.shape[:3])
    squares = np.zeros(series.shape[:3])
    for t in range(steady.shape[3]):
        difference = steady[..., t].astype(np.float64) - found.series[..., t]
        taken += difference
        squares += difference**2
    n = steady.shape[3]
    taken_sd = np.sqrt(np.maximum(squares - taken**2 / n, 0) / max(n - 1, 1)).astype(np.float32)
    steady[...] = found.series
    most = min(int(np.prod(np.minimum(PATCH, series.shape[:3]))), n)
    return series, Thermal(found.noise_sd, found.removed, taken_sd, most, run.phase)


def _phase(run: Run, shape: tuple[int, ...]) -> NDArray[np.float32]:
    assert run.phase is not None
    stored, _ = load_image(run.phase, run.volumes)
    if stored.shape != shape:
        raise CoSpineError(
            f"phase images of {stored.shape} do not fit magnitudes of {shape}",
            str(run.phase),
            "convert both again, or remove them",
        )
    scale, zero = phase_scale(stored[..., :_SCALE_VOLUMES])
    for volume in np.moveaxis(stored, 3, 0):  # no copy of the whole
        volume -= np.float32(zero)
        volume *= np.float32(scale)
    return stored


def write_thermal(out: Derivatives, run: Run, thermal: Thermal, grid: Grid) -> tuple[Path, ...]:
    """Maps of noise and of what was taken away, on the grid of the stored series."""
    sources = [out.source(path) for path in (run.bold, thermal.phase) if path is not None]
    basis: dict[str, Any] = {"Sources": sources, "DistortionCorrected": False}
    written = []
    for stat, data, text in (
        ("noisesd", thermal.noise_sd, "SD of thermal noise, in the units of the series"),
        ("removed", thermal.removed, "Principal components taken away, weighted mean over the patches that hold the voxel"),
        ("takensd", thermal.taken_sd, "SD over time of what was taken away, in the units of the series"),
    ):
        path = out.path(run, "boldmap", desc="thermal", stat=stat)
        out.write_image(path, data, grid.affine, {"Description": text, **basis})
        written.append(path)
    return tuple(written)
