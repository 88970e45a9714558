"""Phase of the echo: what a series stores beside its magnitude when phase images are kept.

The phase of tissue is that of coil and pulse, which is smooth and stays, and 2 pi TE times the field, of which drift and
breathing change from slice to slice. Noise has a real and an imaginary part; the magnitude's Rician noise is the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.phantom.epi import Encoding, State, Surroundings
from cospine.phantom.images import siemens_phase
from cospine.phantom.noise import NEIGHBOUR_WEIGHT, Receiver, receive

# The phase at rest turns once over some of these lengths (mm): coil combination, and the static field after shimming.
_WAVELENGTHS_MM = (70.0, 160.0)
_WAVES = 6


@dataclass(frozen=True)
class EchoPhase:
    """Phase at rest, rad, and how breathing changes the field, Hz per unit; both (slice, phase, read)."""

    rest: NDArray[np.float32]
    breathing_hz: NDArray[np.float32]
    te_s: float

    def of(self, state: State) -> NDArray[np.float32]:
        """Phase (slice, phase, read) of a volume, rad, unwrapped."""
        change = state.offset_hz[:, None, None] + self.breathing_hz * state.breathing[:, None, None]
        return (self.rest + 2 * np.pi * self.te_s * change).astype(np.float32)


def echo_phase(encoding: Encoding, around: Surroundings, te_s: float, rng: np.random.Generator) -> EchoPhase:
    """Draw the phase at rest of a series, on the grid of its encoding."""
    directions = rng.normal(size=(_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wave_numbers = 2 * np.pi * directions / rng.uniform(*_WAVELENGTHS_MM, (_WAVES, 1))
    offsets, heights = rng.uniform(0, 2 * np.pi, _WAVES), rng.uniform(0.5, 1.5, _WAVES)
    ni, nj, nk = encoding.shape
    i, j = np.meshgrid(np.arange(ni), np.arange(nj), indexing="xy")
    rest, breathing = np.empty((2, nk, nj, ni), np.float32)
    for k in range(nk):
        positions = encoding.positions(np.stack([i, j, np.full_like(i, k)], -1))
        rest[k] = np.cos(positions @ wave_numbers.T + offsets) @ heights
        breathing[k] = around.breathing_gain(positions)
    return EchoPhase(rest, breathing, te_s)


def stored_phase(
    ideal: NDArray[np.float32], receiver: Receiver, noise: NDArray[np.float32] | None, phase: NDArray[np.float32]
) -> NDArray[np.int16]:
    """Phase image whose magnitude is :func:`~cospine.phantom.noise.receive` of the same noise, as Siemens stores it.

    Parameters
    ----------
    ideal : (slice, phase, read) float32
        Ideal magnitude.
    receiver : Receiver
    noise : (2, slice, phase, read) float32, optional
        Unit white noise of both channels.
    phase : (slice, phase, read) float32
        Of the tissue, rad.
    """
    if noise is None:
        return siemens_phase(np.angle(np.exp(1j * phase)))
    taps = np.array([NEIGHBOUR_WEIGHT, 1, NEIGHBOUR_WEIGHT], np.float32)
    taps /= np.linalg.norm(taps)
    real, imaginary = (
        ndimage.correlate1d(ndimage.correlate1d(channel, taps, axis=-1, mode="wrap"), taps, axis=-2, mode="wrap") * receiver.sigma
        for channel in noise
    )
    return siemens_phase(np.angle((receive(ideal, receiver, None) + real + 1j * imaginary) * np.exp(1j * phase)))
