"""Whether a field map fits the run it is linked to, told from sidecars and grids, and which of several to use."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cospine.bids.clock import clock_difference_s, clock_s, moment

Wanted = Literal["auto", "pepolar", "phasediff"]

PEPOLAR = "pepolar"
FROM_PHASE = ("phasediff", "phases", "fieldmap")

_LEAST_ANGLE_DEG = 0.1
_LEAST_SHIFT_MM = 0.1
_LONGEST_GAP_MIN = 15.0
_SAME_READOUT = 0.01  # relative


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Parameters
    ----------
    name : str
        What was looked at.
    passed : bool or None
        None where the sidecars do not say.
    text : str
        The finding in plain words, with its numbers.
    """

    name: str
    passed: bool | None
    text: str


def check_set(
    kind: str,
    sidecars: Sequence[Mapping[str, Any]],
    affines: Sequence[NDArray],
    shapes: Sequence[Sequence[int]],
    run_sidecar: Mapping[str, Any],
    run_affine: NDArray,
) -> tuple[Check, ...]:
    """Verify the images of a field map against each other and against their run.

    Parameters
    ----------
    kind : {'pepolar', 'phasediff', 'phases', 'fieldmap'}
        What kind of set it is.
    sidecars : sequence of mapping
        One an image, as BIDS names their keys.
    affines : sequence of ndarray (4, 4)
        Voxel index to RAS mm, in the same order.
    shapes : sequence of sequence of int
        Voxels, in the same order.
    run_sidecar : mapping
        Of the BOLD series.
    run_affine : ndarray (4, 4)
        Of the BOLD series.

    Returns
    -------
    tuple of Check
        `phase encoding` and `readout time` (reversed phase encoding only), `shim`, `same grid`, `orientation`, `time gap`.

    Raises
    ------
    ValueError
        When there is no image, or not one affine and one shape for each sidecar.
    """
    if not sidecars or not len(sidecars) == len(affines) == len(shapes):
        raise ValueError(f"{len(sidecars)} sidecars, {len(affines)} affines and {len(shapes)} shapes")
    checks = []
    if kind == PEPOLAR:
        checks += [_polarity(sidecars, run_sidecar), _readout(sidecars, run_sidecar)]
    checks += [
        _shim(sidecars, run_sidecar),
        _same_grid(kind, affines, shapes),
        _orientation(affines, run_affine),
        _gap(sidecars, run_sidecar),
    ]
    return tuple(checks)


def shim_distance(a: Mapping[str, Any], b: Mapping[str, Any]) -> float | None:
    """Sum of the absolute differences of two sidecars' `ShimSetting` in device units; None where either does not say."""
    first, second = _shim_of(a), _shim_of(b)
    if first is None or second is None or len(first) != len(second):
        return None
    return float(sum(abs(x - y) for x, y in zip(first, second, strict=True)))


def choose(
    kinds_and_sidecars: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], run_sidecar: Mapping[str, Any], wanted: Wanted = "auto"
) -> tuple[int | None, str]:
    """Which of the sets linked to a run its distortion is corrected with.

    Reversed phase encoding goes before phase: it sees the distortion itself. But a field measured under another shim is
    another field; where the phase map was acquired under one far closer to the run's, it goes before.

    Parameters
    ----------
    kinds_and_sidecars : sequence of (kind, sidecars)
        The sets, most trusted link first.
    run_sidecar : mapping
        Of the BOLD series.
    wanted : {'auto', 'pepolar', 'phasediff'}
        What the user asked for; `phasediff` stands for every kind of phase or field map.

    Returns
    -------
    index : int or None
        None where there is nothing to choose from.
    reason : str
        Why this one, or why none, in plain words.
    """
    pair = _nearest(kinds_and_sidecars, run_sidecar, (PEPOLAR,))
    phase = _nearest(kinds_and_sidecars, run_sidecar, FROM_PHASE)
    if wanted == "pepolar":
        return pair, "asked for" if pair is not None else "no pair of reversed phase encoding belongs to this run"
    if wanted == "phasediff":
        return phase, "asked for" if phase is not None else "no phase difference or field map belongs to this run"
    if pair is None and phase is None:
        return None, "no field map belongs to this run"
    if phase is None:
        return pair, "the only kind there is"
    if pair is None:
        return phase, "no pair of reversed phase encoding belongs to this run"
    of_pair = _set_distance(kinds_and_sidecars[pair][1], run_sidecar)
    of_phase = _set_distance(kinds_and_sidecars[phase][1], run_sidecar)
    if of_pair is None or of_phase is None:
        return pair, "reversed phase encoding goes before phase; the shims are not all known"
    if of_pair == 0:
        return pair, "reversed phase encoding, with the run's shim"
    if of_phase < of_pair / 2:
        return phase, (
            f"its shim is far closer to the run's (ShimSetting differs by {of_phase:g} in sum) "
            f"than that of the pair ({of_pair:g})"
        )
    return pair, (
        f"reversed phase encoding goes before phase, and its shim (off by {of_pair:g} in sum) is not much farther from the "
        f"run's than that of the phase map ({of_phase:g})"
    )


def _nearest(
    sets: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], run_sidecar: Mapping[str, Any], kinds: Sequence[str]
) -> int | None:
    """First set of these kinds, or one with a shim closer to the run's, where all shims are known."""
    found = [index for index, (kind, _) in enumerate(sets) if kind in kinds]
    distances = [_set_distance(sets[index][1], run_sidecar) for index in found]
    known = [d for d in distances if d is not None]
    if not found or len(known) < len(found):
        return found[0] if found else None
    return found[known.index(min(known))]


def _set_distance(sidecars: Sequence[Mapping[str, Any]], run_sidecar: Mapping[str, Any]) -> float | None:
    distances = [shim_distance(one, run_sidecar) for one in sidecars]
    known = [d for d in distances if d is not None]
    return max(known) if known else None


def _polarity(sidecars: Sequence[Mapping[str, Any]], run_sidecar: Mapping[str, Any]) -> Check:
    directions = [one.get("PhaseEncodingDirection") for one in sidecars]
    if any(not isinstance(d, str) or not re.fullmatch("[ijk]-?", d) for d in directions):
        return Check("phase encoding", None, f"PhaseEncodingDirection is not stated ({_listed(directions)})")
    run = run_sidecar.get("PhaseEncodingDirection", "an unknown axis")
    text = f"the pair is encoded along {_listed(sorted({str(d) for d in directions}))}, the run along {run}"
    opposite = any({axis, f"{axis}-"} <= set(directions) for axis in "ijk")
    return Check("phase encoding", opposite, text if opposite else f"{text}: no two images are of opposite polarity")


def _readout(sidecars: Sequence[Mapping[str, Any]], run_sidecar: Mapping[str, Any]) -> Check:
    times = [_number(one.get("TotalReadoutTime")) for one in sidecars]
    known = [t for t in times if t is not None]
    if len(known) < len(times):
        return Check("readout time", None, f"TotalReadoutTime is not stated for {len(times) - len(known)} of {len(times)} images")
    own = _number(run_sidecar.get("TotalReadoutTime"))
    run = "the run's is not stated" if own is None else f"the run's is {1000 * own:.2f} ms, which may differ"
    same = max(known) - min(known) <= _SAME_READOUT * max(known)
    pair = _listed(f"{1000 * t:.2f} ms" for t in (known[:1] if same else known))
    return Check("readout time", same, f"the pair is read out in {pair}{'' if same else ', not in the same time'}; {run}")


def _shim(sidecars: Sequence[Mapping[str, Any]], run_sidecar: Mapping[str, Any]) -> Check:
    distance = _set_distance(sidecars, run_sidecar)
    if distance is None:
        return Check("shim", None, "ShimSetting is not stated, so whether the shim is the run's cannot be told")
    if distance == 0:
        return Check("shim", True, "the shim is the run's")
    return Check("shim", False, f"the shim is not the run's: ShimSetting differs by {distance:g} (sum of absolute differences)")


def _same_grid(kind: str, affines: Sequence[NDArray], shapes: Sequence[Sequence[int]]) -> Check:
    first, extent = np.asarray(affines[0], float), np.asarray(shapes[0][:3], float)
    angle = max(_angle_deg(first, affine) for affine in affines)
    shift = max(_shift_mm(first, extent, affine, shape) for affine, shape in zip(affines, shapes, strict=True))
    sizes = {tuple(int(n) for n in shape[:3]) for shape in shapes}
    if angle <= _LEAST_ANGLE_DEG and shift <= _LEAST_SHIFT_MM and len(sizes) == 1:
        return Check("same grid", True, "its images lie on one grid")
    differ = f"its images are turned against each other by {angle:.1f} deg and {shift:.1f} mm apart"
    if len(sizes) > 1:
        differ += f", with {_listed(' x '.join(map(str, size)) for size in sorted(sizes))} voxels"
    return Check("same grid", False, f"{differ}: registered" if kind == PEPOLAR else differ)


def _orientation(affines: Sequence[NDArray], run_affine: NDArray) -> Check:
    angle = max(_angle_deg(np.asarray(run_affine, float), affine) for affine in affines)
    text = f"turned by {angle:.2f} deg against the run's slices"
    return Check("orientation", angle <= _LEAST_ANGLE_DEG, text if angle > _LEAST_ANGLE_DEG else "that of the run's slices")


def _angle_deg(one: NDArray, other: NDArray) -> float:
    """Smallest angle by which two grids' axes are turned, whatever the order and sense in which they are stored."""
    turn = _axes(one).T @ _axes(other)
    # the signed permutation that comes closest takes out how axes are stored
    stored = np.zeros((3, 3))
    left = np.abs(turn)
    for _ in range(3):
        row, column = np.unravel_index(int(np.argmax(left)), left.shape)
        stored[row, column] = np.sign(turn[row, column])
        left[row, :] = left[:, column] = -1
    turn = turn @ stored.T
    # sine and cosine together, since the cosine alone knows no small angles
    axial = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return math.degrees(math.atan2(float(np.linalg.norm(axial)), float(np.trace(turn)) - 1))


def _axes(affine: NDArray) -> NDArray[np.float64]:
    """Rotation closest to an affine's axes (a header may hold some shear)."""
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    u, _, v = np.linalg.svd(matrix / np.sqrt((matrix**2).sum(axis=0)))
    return u @ v


def _shift_mm(first: NDArray, extent: NDArray, affine: NDArray, shape: Sequence[int]) -> float:
    centre = first[:3, :3] @ ((extent - 1) / 2) + first[:3, 3]
    other = np.asarray(affine, float)
    return float(np.linalg.norm(other[:3, :3] @ ((np.asarray(shape[:3], float) - 1) / 2) + other[:3, 3] - centre))


def _gap(sidecars: Sequence[Mapping[str, Any]], run_sidecar: Mapping[str, Any]) -> Check:
    gaps = [gap for one in sidecars if (gap := _seconds_after(run_sidecar, one)) is not None]
    if not gaps:
        return Check("time gap", None, "acquisition times are not stated, so the time between field map and run cannot be told")
    minutes = max(gaps, key=abs) / 60  # of the image farthest away
    when = "before" if minutes < 0 else "after"
    passed = abs(minutes) <= _LONGEST_GAP_MIN
    text = f"acquired {abs(minutes):.1f} min {when} the run began"
    return Check("time gap", passed, text if passed else f"{text}: the person may have moved and the shim changed")


def _seconds_after(run: Mapping[str, Any], image: Mapping[str, Any]) -> float | None:
    """From the run's start to the image's; of times without a date the shorter way round the clock."""
    dates = [moment(one.get("AcquisitionDateTime")) for one in (run, image)]
    if dates[0] is not None and dates[1] is not None:
        return (dates[1] - dates[0]).total_seconds()
    times = [
        clock_s(one.get("AcquisitionTime")) if date is None else clock_s(date.time().isoformat())
        for one, date in zip((run, image), dates, strict=True)
    ]
    if times[0] is None or times[1] is None:
        return None
    return clock_difference_s(times[1], times[0])


def _shim_of(sidecar: Mapping[str, Any]) -> list[float] | None:
    values = sidecar.get("ShimSetting")
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return None
    numbers = [_number(value) for value in values]
    return None if any(n is None for n in numbers) else [n for n in numbers if n is not None]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _listed(items: Any) -> str:
    return " and ".join(str(item) for item in items)
