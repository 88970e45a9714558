"""One participant's session at the scanner: what its images share, and how an ideal image becomes a stored one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.phantom import protocol as protocols
from cospine.phantom import tissues
from cospine.phantom.effects import generator, seed_of
from cospine.phantom.epi import Body, Encoding, Lattice, State, Surroundings, build_lattice, render, restrict, still
from cospine.phantom.noise import Receiver, bias_map, noise_map, receive, white
from cospine.phantom.phase import stored_phase
from cospine.phantom.protocol import Protocol, simultaneous_slices
from cospine.phantom.scene import (
    FAT_HZ,
    Subject,
    all_but_fat,
    attenuate,
    dropout,
    epi_encoding,
    reach_mm,
    resting_pose,
    saturated_fat,
    signal,
    surroundings,
)

# Noise SD of the real channel where the g-factor is 1 and prescan normalisation does nothing; brain signal is about 900.
BOLD_NOISE, SE_NOISE, GRE_NOISE, T1W_NOISE = 11.0, 9.0, 5.0, 9.0
LEAKAGE = (0.01, 0.03)
GHOST = (0.0, 0.03)
# Sub-samples of an EPI voxel are at most this far apart (read, phase, slice).
FINEST_MM = (0.5, 0.5, 2.0)


@dataclass(frozen=True)
class Scanner:
    """The scanner as the EPI sees it, with its lattice over the whole field of view."""

    around: Surroundings
    lattice: Lattice


@dataclass(frozen=True)
class Session:
    """What all images of one participant share."""

    label: str
    subject: Subject
    protocol: Protocol
    site: protocols.Site
    shim: list[int]
    other_shim: list[int]
    scanner: Scanner
    folder: Path
    truth: Path
    pmu: Path

    def path(self, datatype: str, name: str) -> Path:
        return self.folder / datatype / f"{self.label}_{name}"


@dataclass(frozen=True)
class Epi:
    """Renders volumes of one EPI contrast: water, and beside it fat where its own resonance puts it."""

    water: Body
    fat: Body | None
    encoding: Encoding
    around: Surroundings
    lattice: Lattice
    fat_lattice: Lattice | None

    def encoded(self, phase_encoding: str) -> "Epi":
        """The same with another phase-encoding direction along the same axis."""
        encoding = replace(self.encoding, phase_encoding=phase_encoding)
        fat = None if self.fat_lattice is None else replace(self.fat_lattice, encoding=encoding)
        return replace(self, encoding=encoding, lattice=replace(self.lattice, encoding=encoding), fat_lattice=fat)

    def volume(self, state: State) -> NDArray[np.float32]:
        image = render(self.water, self.lattice, state)
        if self.fat is not None and self.fat_lattice is not None:
            image += render(self.fat, self.fat_lattice, replace(state, offset_hz=state.offset_hz + FAT_HZ))
        return image


def fine_samples(protocol: Protocol) -> tuple[int, int, int]:
    """Sub-samples of a voxel: at most `FINEST_MM` apart, and four along the slice at least."""
    read, phase, cut = (int(np.ceil(v / f)) for v, f in zip(protocol.voxel_mm, FINEST_MM, strict=True))
    return read, phase, max(cut, 4)


def prepare_scanner(subject: Subject, protocol: Protocol) -> Scanner:
    """The EPI grid in its surroundings, the same for the pair and all runs of a person."""
    encoding = epi_encoding(subject, protocol, "j")
    around = surroundings(subject, subject.static.shim, warped=True)
    everywhere = subject.body(np.ones(subject.anatomy.tissue.shape, np.float32))
    lattice = build_lattice(encoding, everywhere, around, fine_samples(protocol), reach_mm(subject.effects))
    return Scanner(around, lattice)


def epi_of(session: Session, contrast: Callable[[tissues.Tissue], float], te_s: float | None = None) -> Epi:
    """Prepare an EPI contrast; ``te_s`` of a gradient echo brings dropout, None (spin echo) none."""
    subject, effects, p = session.subject, session.subject.effects, session.protocol
    whole = session.scanner.lattice
    encoding = whole.encoding
    reach = reach_mm(effects)
    left = None
    if te_s is not None and effects.field and effects.dropout:
        left = dropout(subject, encoding.affine[:3, 2] / p.voxel_mm[2], p.voxel_mm[2], te_s)

    def shown(share: Callable[[tissues.Tissue], float]) -> Body:
        image = signal(subject, contrast, share)
        if left is not None:
            attenuate(subject, image, left)
        return subject.body(image)

    around = session.scanner.around
    if not (effects.fat and effects.field):
        body = shown(lambda t: saturated_fat(t) + all_but_fat(t))
        return Epi(body, None, encoding, around, restrict(whole, body, reach), None)
    water, fat = shown(all_but_fat), shown(saturated_fat)
    coarse = replace(whole, fine=(1, 2, whole.fine[2]))  # a faint, smooth ghost
    return Epi(water, fat, encoding, around, restrict(whole, water, reach), restrict(coarse, fat, reach))


def brief_state(session: Session, image: str, slices: int, step: NDArray[np.float64] | None = None) -> State:
    """State of a single image: its resting pose (with a ``step`` (6,) on top), and a breath somewhere under way."""
    effects = session.subject.effects
    rng = generator(session.subject.seed, image, "breath")
    state = still(slices, len(session.subject.labels.kind))
    state.pose[:] = resting_pose(session.subject, image, step)
    phase = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(slices) * rng.uniform(0.02, 0.05)
    if effects.breathing_field:
        state.breathing[:] = 0.4 * np.sin(phase)
    return replace(state, turn_field=effects.rotation_field)


# --- receiver -------------------------------------------------------------------------------------------------------


def picture(session: Session, ideal: NDArray[np.float32], receiver: Receiver, *keys: int | str) -> NDArray[np.int16]:
    """Stored magnitude (k, j, i) of an ideal image (i, j, k); its noise is drawn from the stream of the given keys."""
    kernel = np.ascontiguousarray(ideal.T)
    return np.rint(receive(kernel, receiver, _noise(session, kernel.shape, *keys))).astype(np.int16)


def phase_picture(
    session: Session, ideal: NDArray[np.float32], receiver: Receiver, phase: NDArray[np.float32], *keys: int | str
) -> NDArray[np.int16]:
    """Stored phase (k, j, i) that goes with :func:`picture` of the same keys; ``phase`` (k, j, i) of the tissue in rad."""
    kernel = np.ascontiguousarray(ideal.T)
    return stored_phase(kernel, receiver, _noise(session, kernel.shape, *keys), phase)


def _noise(session: Session, shape: tuple[int, int, int], *keys: int | str) -> NDArray[np.float32] | None:
    """White noise of both channels, from the stream of the given keys; None when noise is off."""
    if not session.subject.effects.noise:
        return None
    return white(np.random.Generator(np.random.SFC64(seed_of(session.subject.seed, *keys, "noise"))), shape)


def receiver_of(
    session: Session, encoding: Encoding, name: str, noise_sd: float, biased: bool, ghosting: bool, leaking: bool
) -> Receiver:
    """Receive chain of an image or series on a grid with slices along k and phase along j."""
    subject, effects = session.subject, session.subject.effects
    ni, nj, nk = encoding.shape
    bias, sigma = np.empty((nk, nj, ni), np.float32), np.empty((nk, nj, ni), np.float32)
    i, j = np.meshgrid(np.arange(ni), np.arange(nj), indexing="xy")
    for k in range(nk):
        positions = encoding.positions(np.stack([i, j, np.full_like(i, k)], -1))
        bias[k] = bias_map(positions, generator(subject.seed, "bias")) if biased else 1.0
        sigma[k] = noise_map(positions, subject.landmarks.foramen_magnum_z, generator(subject.seed, "coil"))
    sigma *= noise_sd * effects.noise_scale
    partner = np.full(nk, -1)
    leakage = np.zeros(nk, np.float32)
    if leaking and effects.leakage:
        for group in simultaneous_slices(session.protocol):
            for index, k in enumerate(group):
                if len(group) > 1:
                    partner[k] = group[(index + 1) % len(group)]
        leakage[:] = generator(subject.seed, name, "leakage").uniform(*LEAKAGE, nk)
    ghost = float(generator(subject.seed, name, "ghost").uniform(*GHOST)) if ghosting and effects.ghost else 0.0
    return Receiver(bias, sigma, partner, leakage, ghost)
