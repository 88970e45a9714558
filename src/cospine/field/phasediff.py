"""B0 field in Hz from the phase of a gradient echo: scale, mask, unwrap, settle what unwrapping leaves open, smooth.

Between two echoes the phase grows by 2 pi f (TE2 - TE1), so the field follows from their phase difference, known up to whole
turns. Unwrapping inside the mask is that of scikit-image (Herraez et al. 2002, Appl Opt 41:7437-7444; in 3-D Abdul-Rahman
et al. 2007, Appl Opt 46:6623-6635): the most reliable voxels first. It leaves each connected part of the mask free by whole
turns, which are settled from its neighbours, and single noisy voxels on a wrong turn, which are left out as outliers.

The shim may have changed between this map and the run that it is to correct; what the field holds beyond the tissue's own
part is then not the run's (`cospine.field.checks`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.errors import CoSpineError
from cospine.field.continuation import fitted, widened
from cospine.space.grid import Grid

SMOOTH_VOXELS = 0.6  # SD of the Gaussian window
_GAMMA_HZ_PER_T = 42.577478518e6
# length of the mean of 27 phasors: 0.2 +- 0.05 in noise, above 0.9 in tissue
_NOISE_ONLY, _COHERENT = 0.3, 0.6
_AIR = 0.02  # of the image: with less noise in it, the air was blanked or averaged, and tells nothing
_DARK = 0.10  # of the local bright level: ghosts are below, marrow and the neck's muscle above
_NOISE_FACTOR = 4.0  # a magnitude of pure noise exceeds 4 SD once in 3000 voxels
_LEAST_PART_ML = 1.0  # smaller parts are specks of coherent ghost
_OUTLIER = 4.0  # robust standard deviations
_LEAST_SPREAD = 0.2, 10.0  # rad, Hz: what a plane may miss of a true field in a window
_LOCAL_MM = 22.0  # over which receive sensitivity may change


@dataclass(frozen=True)
class PhaseField:
    """A field measured from phase.

    Parameters
    ----------
    field_hz : ndarray (x, y, z), float32
        Smooth, finite everywhere: continued beyond where it was measured.
    measured : ndarray (x, y, z), bool
        Where there was signal enough.
    magnitude : ndarray (x, y, z), float32
        As given; where it was measured when none was.
    unwrapping_jumps : float
        Share of neighbouring measured voxels that differ by more than half a turn after unwrapping: 0 where the field is
        resolved. 0 for a map that came without phase.
    """

    field_hz: NDArray[np.float32] = field(repr=False)
    measured: NDArray[np.bool_] = field(repr=False)
    magnitude: NDArray[np.float32] = field(repr=False)
    unwrapping_jumps: float = 0.0


def phase_to_radians(stored: NDArray, sidecar_units: str | None = None) -> NDArray[np.float32]:
    """Phase in rad from the numbers of a phase image.

    Scanners write phase in rad (-pi..pi or 0..2 pi), as Siemens' 0..4095 (2048 is no phase), rescaled by dcm2niix to
    -4096..4094 in steps of 2, as -2048..2047, or in mrad (GE, -3142..3142). The sidecar often says `arbitrary`,
    so the range decides; it is filled, since phase is uniform in the air.

    Parameters
    ----------
    stored : ndarray
        Values after the header's scaling.
    sidecar_units : str, optional
        `Units` of the sidecar; `rad` is believed where the range allows it.

    Returns
    -------
    ndarray, float32
        rad, not unwrapped, same shape.

    Raises
    ------
    CoSpineError
        When the image is empty, constant or not finite, or its range is no known scale of phase.
    """
    scale, zero = phase_scale(stored, sidecar_units)
    return ((np.asarray(stored, dtype=np.float64) - zero) * scale).astype(np.float32)


def phase_scale(stored: NDArray, sidecar_units: str | None = None) -> tuple[float, float]:
    """Scale (rad) and zero of a phase image's numbers: phase is (stored - zero) * scale; see `phase_to_radians`."""
    values = np.asarray(stored, dtype=np.float64)
    if values.size == 0:
        raise CoSpineError("the phase image is empty", remedy="Convert it again from the scanner's files")
    _finite(values, "phase image")
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise CoSpineError(f"the phase image is constant ({low:g})", remedy="Convert it again; is this the phase and not a mask?")
    turn = 2 * np.pi
    declared = (sidecar_units or "").strip().lower() in ("rad", "radian", "radians")
    if (-np.pi - 0.01 <= low and high <= np.pi + 0.01) or (low >= 0 and high <= turn + 0.01):
        return 1.0, 0.0
    if declared and max(-low, high) < 20 * turn:  # unwrapped already, or both echoes' sum
        return 1.0, 0.0
    whole = bool(np.all(values == np.rint(values)))
    in_twos = whole and bool(np.all(np.mod(values, 2) == 0))
    width = high - low
    if max(abs(low + 3142), abs(high - 3142)) <= 16:
        scale, zero = 1e-3, 0.0
    elif low >= 0 and high <= 4096 and width > 2048:
        scale, zero = np.pi / 2048, 2048.0
    elif low >= -2048 and high <= 2048 and width > 2048 and not in_twos:
        scale, zero = np.pi / 2048, 0.0
    elif low >= -4096 and high <= 4096 and (width > 4096 or (in_twos and width > 1024)):
        scale, zero = np.pi / 4096, 0.0
    else:
        raise CoSpineError(
            f"values from {low:g} to {high:g} are no known scale of phase",
            remedy="Give the phase in rad, as 0..4095, -4096..4095 or in mrad",
        )
    return scale, zero


def field_from_phase_difference(
    phase: NDArray, magnitude: NDArray, echo_times_s: Sequence[float], grid: Grid, *, smooth_mm: float | None = None
) -> PhaseField:
    """Field from the phase difference of two echoes.

    Parameters
    ----------
    phase : ndarray (x, y, z)
        Later minus earlier echo, rad, wrapped or not (`phase_to_radians`).
    magnitude : ndarray (x, y, z)
        Of either echo; the earlier has less dropout.
    echo_times_s : (float, float)
        Earlier and later, s.
    grid : Grid
        Of both images.
    smooth_mm : float, optional
        SD of the Gaussian window within which a plane is fitted; by default 0.6 voxels (their geometric mean).

    Returns
    -------
    PhaseField
        Positive where the frequency is higher: ``phase / (2 pi (TE2 - TE1))`` (Jezzard & Balaban 1995, Magn Reson Med
        34:65-73).

    Raises
    ------
    CoSpineError
        When images do not fit each other, hold no signal or no numbers, or the echo times do not rise.
    """
    delta_s = _between(echo_times_s)
    _fits(grid, phase=phase, magnitude=magnitude)
    # an image already unwrapped, or in 0..2 pi, becomes what unwrapping expects
    wrapped = np.angle(np.exp(1j * np.asarray(phase, dtype=np.float64))).astype(np.float32)
    if np.ptp(wrapped) == 0:
        raise CoSpineError("the phase difference is constant", remedy="Convert it again; is this the phase and not a mask?")
    image = np.asarray(magnitude, dtype=np.float32)
    measured = _signal(image, _coherence(wrapped, image), grid)
    inner = _inner(measured)
    unwrapped, measured = _grown(_settled(_unwrapped(wrapped, measured), inner, grid), wrapped, inner, measured)
    unwrapped = _settled(unwrapped, measured, grid)  # once more: whole parts face each other across narrower gaps
    smooth, measured = _smooth(unwrapped, measured, image, grid, smooth_mm, _LEAST_SPREAD[0])
    field_hz = (smooth / (2 * np.pi * delta_s)).astype(np.float32)
    return PhaseField(field_hz, measured, image, _jumps(unwrapped, measured))


def field_from_two_phases(
    phase1: NDArray,
    phase2: NDArray,
    magnitude: NDArray,
    echo_times_s: Sequence[float],
    grid: Grid,
    *,
    smooth_mm: float | None = None,
) -> PhaseField:
    """Field from the phases of two echoes, rad, of the earlier and the later; see `field_from_phase_difference`."""
    _fits(grid, phase1=phase1, phase2=phase2)
    difference = np.asarray(phase2, dtype=np.float64) - np.asarray(phase1, dtype=np.float64)
    return field_from_phase_difference(difference, magnitude, echo_times_s, grid, smooth_mm=smooth_mm)


def field_from_map(
    values: NDArray, units: str, magnitude: NDArray | None, grid: Grid, *, smooth_mm: float | None = None
) -> PhaseField:
    """Field from a map that the scanner or another tool computed.

    Parameters
    ----------
    values : ndarray (x, y, z)
        The map; where there is no magnitude, 0 means not measured.
    units : {'Hz', 'rad/s', 'T'}
        As BIDS names them.
    magnitude : ndarray (x, y, z), optional
        Says where the map can be trusted.
    grid : Grid
        Of both.
    smooth_mm : float, optional
        SD of the Gaussian window within which a plane is fitted; by default 0.6 voxels (their geometric mean).

    Raises
    ------
    CoSpineError
        When units are unknown, images do not fit each other, or there is nothing in them.
    """
    factor = {"hz": 1.0, "rad/s": 1 / (2 * np.pi), "t": _GAMMA_HZ_PER_T}.get(units.strip().lower())
    if factor is None:
        raise CoSpineError(f"unknown units of a field map: '{units}'", remedy="Say Hz, rad/s or T as Units in its sidecar")
    _fits(grid, fieldmap=values)
    hz = np.asarray(values, dtype=np.float64) * factor
    if np.ptp(hz) == 0:
        raise CoSpineError(f"the field map is constant ({hz.flat[0]:g} Hz)", remedy="Convert it again")
    if magnitude is None:
        measured = hz != 0
        image = measured.astype(np.float32)
    else:
        _fits(grid, magnitude=magnitude)
        image = np.asarray(magnitude, dtype=np.float32)
        # noise fills the map's range as it fills that of phase
        as_phase = (np.pi / np.abs(hz).max() * hz).astype(np.float32)
        measured = _signal(image, _coherence(as_phase, image), grid)
        measured &= hz != 0  # tools mask a map by zeros
    smooth, measured = _smooth(hz.astype(np.float32), measured, image, grid, smooth_mm, _LEAST_SPREAD[1])
    return PhaseField(smooth, measured, image)


def _between(echo_times_s: Sequence[float]) -> float:
    times = [float(t) for t in echo_times_s]
    if len(times) != 2 or not np.all(np.isfinite(times)) or not 0 <= times[0] < times[1]:
        raise CoSpineError(
            f"the echo times {', '.join(f'{t:g}' for t in times)} s do not rise",
            "EchoTime1, EchoTime2",
            "Give both in s, the earlier first",
        )
    if times[1] > 1:
        raise CoSpineError(f"an echo at {times[1]:g} s is none", "EchoTime2", "Give echo times in s, not ms")
    return times[1] - times[0]


def _finite(values: NDArray, name: str) -> None:
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise CoSpineError(f"the {name} has {bad} values that are no numbers", remedy="Replace NaN and infinity by 0")


def _fits(grid: Grid, **images: NDArray) -> None:
    for name, image in images.items():
        if np.shape(image) != grid.shape:
            raise CoSpineError(
                f"the {name} has the shape {np.shape(image)}, its grid {grid.shape}",
                remedy="Phase and magnitude must be of one acquisition, one volume each",
            )
        _finite(np.asarray(image), name)


def _coherence(phase: NDArray[np.float32], magnitude: NDArray[np.float32]) -> NDArray[np.floating]:
    """How alike the steps of phase are around a voxel, 0 to 1, counted by magnitude; a steep field is coherent, noise is not."""
    phasor = np.asarray(magnitude * np.exp(1j * phase), dtype=np.complex64)
    total = np.zeros(phase.shape, dtype=np.float32)
    axes = [axis for axis in range(3) if phase.shape[axis] > 1]
    for axis in axes:
        step = phasor * np.conj(np.roll(phasor, 1, axis))
        length = np.hypot(ndimage.uniform_filter(np.real(step), 3), ndimage.uniform_filter(np.imag(step), 3))
        full = ndimage.uniform_filter(np.abs(step), 3)
        total += np.divide(length, full, out=np.zeros_like(length), where=full > 0)
    return total / max(len(axes), 1)


def _signal(magnitude: NDArray[np.float32], coherent: NDArray[np.floating], grid: Grid) -> NDArray[np.bool_]:
    """Where there is signal enough for a phase, head and neck.

    The threshold is local, since the neck is seen by fewer coils. The air may hold ghosts far above the noise.
    """
    if not np.any(magnitude > 0):
        raise CoSpineError("the magnitude image is blank", remedy="Convert it again, or leave this field map out")
    noise = 0.0
    incoherent = magnitude[(coherent < _NOISE_ONLY) & (magnitude > 0)]
    if incoherent.size > _AIR * magnitude.size:
        # low in the Rayleigh distribution, where tissue of steep phase does not reach
        noise = float(np.percentile(incoherent, 10) / np.sqrt(-2 * np.log(0.9)))
    local = np.minimum(_LOCAL_MM / grid.voxel_mm, np.array(grid.shape) / 3)
    lit = np.where(magnitude > max(_NOISE_FACTOR * noise, 0.02 * float(np.percentile(magnitude, 99))), magnitude, 0)
    bright = ndimage.gaussian_filter(lit * lit, local) / np.maximum(ndimage.gaussian_filter(lit, local), 1e-6 * lit.max() + 1e-30)
    mask = (lit > 0) & (magnitude > _DARK * bright) & (coherent > _COHERENT)
    labels, count = _parts(mask)
    if count:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        enough = sizes >= min(sizes.max(), _LEAST_PART_ML * 1000 / float(np.prod(grid.voxel_mm)))
        mask = enough[labels] & mask
    if np.count_nonzero(mask) < 27:
        raise CoSpineError(
            "no voxel has signal enough for a phase", remedy="Look at the magnitude and the phase; leave this field map out"
        )
    return mask


def _parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected parts of a mask, numbered from 1, and how many."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask, output=labels)
    return labels, int(labels.max())


def _unwrapped(phase: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Phase without wraps inside each connected part of the mask, 0 outside."""
    from skimage.restoration import unwrap_phase

    extent = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(int(used[0]), int(used[-1]) + 1) for used in extent)
    inside = mask[box]
    # a length of 1 is no dimension to unwrap along
    flat = np.ma.masked_array(np.squeeze(phase[box]), np.squeeze(~inside))
    out = np.zeros_like(phase)
    if flat.ndim < 2:
        raise CoSpineError("the signal lies on a single line of voxels", remedy="Leave this field map out")
    result = unwrap_phase(flat, rng=0)
    out[box] = np.where(inside, np.ma.getdata(result).reshape(inside.shape), 0)
    return out


def _inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of the mask with all their neighbours in it.

    The library ranks only these by the reliability of their phase and the others by chance (by C's unseeded ``rand``), so
    only these come out the same every time.
    """
    around = np.ones([3 if n > 1 else 1 for n in mask.shape], dtype=bool)
    inner = np.asarray(ndimage.binary_erosion(mask, around), dtype=bool)
    if not inner.any():
        raise CoSpineError("the signal is nowhere three voxels thick", remedy="Leave this field map out")
    return inner


def _grown(
    phase: NDArray[np.float32], wrapped: NDArray[np.float32], inner: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Unwrapped phase carried from the inner voxels to the rest of the mask, each voxel to the turn nearest its neighbours'.

    Parts of the mask without an inner voxel are left out of what is measured.
    """
    turn = np.float32(2 * np.pi)
    size: Any = [3 if n > 1 else 1 for n in mask.shape]
    known, out = inner.copy(), np.where(inner, phase, 0)
    while True:
        weight = ndimage.uniform_filter(known.astype(np.float32), size, mode="constant")
        front = mask & ~known & (weight > 0.5 / np.prod(size))
        if not front.any():
            return out.astype(np.float32), known
        near = ndimage.uniform_filter(out, size, mode="constant")[front] / weight[front]
        out[front] = wrapped[front] + turn * np.rint((near - wrapped[front]) / turn)
        known |= front


def _settled(phase: NDArray[np.float32], mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Phase with the whole turns settled that unwrapping leaves open to each connected part.

    The largest part is put near zero, since the scanner tunes to it, and each other one next to what lies around it.
    """
    turn = 2 * np.pi
    out = phase.copy()
    labels, count = _parts(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    known = np.zeros(mask.shape, dtype=bool)
    for index in np.argsort(-sizes, kind="stable"):
        part = labels == index + 1
        if known.any():
            # the part's voxels closest to what is known, against the known ones closest to them
            distance = np.asarray(ndimage.distance_transform_edt(~known, sampling=grid.voxel_mm))
            reach = distance[part].min() + 2 * float(grid.voxel_mm.max())
            near = part & (distance <= reach)
            facing = known & (np.asarray(ndimage.distance_transform_edt(~near, sampling=grid.voxel_mm)) <= reach)
            excess = np.median(out[near]) - np.median(out[facing])
        else:
            excess = np.median(out[part])
        out[part] -= turn * np.rint(excess / turn)
        known |= part
    return out


def _smooth(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    magnitude: NDArray,
    grid: Grid,
    smooth_mm: float | None,
    least_spread: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Smooth values everywhere, and the voxels whose own value agrees with its neighbours.

    The noise of phase goes with one over magnitude (Conturo & Smith 1990, Magn Reson Med 15:420-437), hence the weights.
    """
    sd_mm = SMOOTH_VOXELS * float(np.prod(grid.voxel_mm)) ** (1 / 3) if smooth_mm is None else smooth_mm
    level = float(np.median(magnitude[mask]))
    weight = np.where(mask, np.minimum(magnitude / level, 3.0), 0).astype(np.float32) ** 2
    kept = mask
    for _ in range(2):
        # a window twice as wide, in which no voxel outweighs its neighbours
        smooth = fitted(values, np.where(kept, weight, 0), mask, grid, 2 * sd_mm)
        residual = np.abs(values - smooth)
        # beside the spread of all, what noise alone does where signal is low
        dimness = np.maximum(1.0, level / np.maximum(magnitude, 1e-3 * level))
        spread = np.maximum(1.4826 * float(np.median(residual[kept])) * dimness, least_spread)
        kept = mask & (residual <= _OUTLIER * spread)
    if np.count_nonzero(kept) < 27:
        kept = mask
    # a plane through the neighbours says more of an outlier's place than the average beyond the mask
    borne = mask & np.asarray(ndimage.binary_dilation(kept), dtype=bool)
    return widened(fitted(values, np.where(kept, weight, 0), borne, grid, sd_mm), borne, grid, sd_mm), kept


def _jumps(phase: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    pairs = jumps = 0
    for axis in range(3):
        one = [slice(None)] * 3
        two = [slice(None)] * 3
        one[axis], two[axis] = slice(1, None), slice(None, -1)
        both = mask[tuple(one)] & mask[tuple(two)]
        pairs += int(np.count_nonzero(both))
        jumps += int(np.count_nonzero(both & (np.abs(phase[tuple(one)] - phase[tuple(two)]) > np.pi)))
    return jumps / pairs if pairs else 0.0
