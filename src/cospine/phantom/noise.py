"""What the receiver makes of an ideal image: bias, slice leakage, ghost, noise, integers.

Arrays are in kernel order (slice, phase, read).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

# In-plane correlation between neighbours that filtering and coil combination leave (three-tap kernel, unit variance).
NEIGHBOUR_WEIGHT = 0.18
# Shift of the partner slice by the CAIPI pattern, as a fraction of the field of view.
CAIPI_SHIFT = 1 / 3
LARGEST_INTEGER = 32767


@dataclass(frozen=True)
class Receiver:
    """Receive chain of one series.

    ``bias`` and ``sigma`` (slice, phase, read): multiplicative bias and noise SD of the real channel; ``partner`` (slice,):
    index of the simultaneous slice or -1; ``leakage`` (slice,) and ``ghost``: fractions.
    """

    bias: NDArray[np.float32]
    sigma: NDArray[np.float32]
    partner: NDArray[np.int64]
    leakage: NDArray[np.float32]
    ghost: float


def bias_map(positions: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Residual receive bias after prescan normalisation: smooth, about +-20 %, fixed to the scanner.

    Parameters
    ----------
    positions : (..., 3) array
        Scanner RAS mm.
    rng : Generator
    """
    x, y, z = np.moveaxis(positions / np.array([90.0, 100.0, 140.0]), -1, 0)
    terms = (x, y, z, x * y, x * z, y * z, x**2 - 1 / 3, y**2 - 1 / 3, z**2 - 1 / 3)
    weights = rng.normal(0, 1, len(terms)) * np.array([0.04, 0.06, 0.06, 0.03, 0.03, 0.04, 0.06, 0.06, 0.06])
    return np.exp(np.clip(sum(w * t for w, t in zip(weights, terms, strict=True)), -0.5, 0.5)).astype(np.float32)


def noise_map(positions: NDArray[np.float64], neck_z_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Relative noise SD: g-factor times what prescan normalisation amplifies.

    The g-factor is 1 at the rim of the head and largest in its middle; it rises again where the coil's coverage ends.
    Normalisation lifts the neck, which few elements see, and with it the noise there.

    Parameters
    ----------
    positions : (..., 3) array
        Scanner RAS mm.
    neck_z_mm : float
        Height of the foramen magnum.
    rng : Generator
    """
    x, y, z = np.moveaxis(positions, -1, 0)
    middle, rim, lift = rng.uniform((0.3, 0.4, 4.6), (0.6, 0.8, 5.6))
    radius2 = (x / 65) ** 2 + ((y - 5) / 75) ** 2 + ((z - neck_z_mm - 70) / 65) ** 2
    g_factor = 1 + middle * np.exp(-radius2) + rim / (1 + np.exp((z - neck_z_mm + 105) / 6))
    normalisation = 1 + lift / (1 + np.exp((z - neck_z_mm) / 12))
    return (g_factor.clip(1, 1.8) * normalisation).astype(np.float32)


def white(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Two channels (2, slice, phase, read) of unit white noise."""
    return rng.standard_normal((2, *shape), dtype=np.float32)


@njit(cache=True, parallel=True)
def _receive(ideal, bias, sigma, partner, leakage, ghost, white_noise, noisy, weight, out):
    n, rows, cols = ideal.shape
    scale = np.float32(1 / np.sqrt(1 + 2 * weight * weight)) ** 2
    w = np.float32(weight)
    for k in prange(n):
        mixed = np.empty((rows, cols), np.float32)
        other = partner[k]
        shift = int(rows * CAIPI_SHIFT)
        for j in range(rows):
            for i in range(cols):
                value = ideal[k, j, i] * bias[k, j, i]
                if other >= 0 and leakage[k] > 0:
                    source = (j + shift) % rows
                    value += leakage[k] * ideal[other, source, i] * bias[other, source, i]
                mixed[j, i] = value
        for j in range(rows):
            for i in range(cols):
                value = mixed[j, i] + ghost * mixed[(j + rows // 2) % rows, i]
                if noisy:
                    up, down = (j + 1) % rows, (j - 1) % rows
                    right, left = (i + 1) % cols, (i - 1) % cols
                    real = np.float32(0)
                    imaginary = np.float32(0)
                    for c in range(2):
                        plane = white_noise[c, k]
                        total = (
                            (plane[j, left] + plane[j, right]) * w + plane[j, i]
                            + w * ((plane[up, left] + plane[up, right]) * w + plane[up, i])
                            + w * ((plane[down, left] + plane[down, right]) * w + plane[down, i])
                        ) * scale  # fmt: skip
                        if c == 0:
                            real = total
                        else:
                            imaginary = total
                    real = value + sigma[k, j, i] * real
                    imaginary = sigma[k, j, i] * imaginary
                    value = np.sqrt(real * real + imaginary * imaginary)
                out[k, j, i] = min(max(value, np.float32(0)), np.float32(LARGEST_INTEGER))


def receive(ideal: NDArray[np.float32], receiver: Receiver, noise: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Magnitude image of an ideal one, both (slice, phase, read); Rician if there is noise (Gudbjartsson 1995)."""
    out = np.empty(ideal.shape, np.float32)
    given = noise if noise is not None else np.zeros((2, 1, 1, 1), np.float32)
    _receive(
        np.ascontiguousarray(ideal), receiver.bias, receiver.sigma, receiver.partner, receiver.leakage,
        np.float32(receiver.ghost), given, noise is not None, NEIGHBOUR_WEIGHT, out,
    )  # fmt: skip
    return out
