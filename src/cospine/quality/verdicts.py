"""The summary of a run in plain words: one line a question, each with its number."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cospine.quality.field_metrics import JACOBIAN_FLOOR
from cospine.quality.figure import signed
from cospine.quality.metrics import RegionTsnr, cord_framewise_displacement
from cospine.quality.report import Level, Number, Verdict
from cospine.quality.traces import FD_THRESHOLD_MM

CALM_FD_MM, RESTLESS_FD_MM = 0.25, 0.5
"""Mean framewise displacement up to which the head was calm, and from which a run is in doubt, mm."""

MANY_VOLUMES = 0.2
"""Share of volumes above the FD threshold from which a run is in doubt."""

LOW_TSNR = {"brain": 30.0, "cord": 6.0}
"""Median raw tSNR below which a region deserves a look; protocol of 1.5 x 1.5 x 4 mm at 3 T."""

LARGE_CORD_RMS_MM = 0.6
"""RMS cord shift from which cord motion is called large, mm."""

AGREEING_SLOPE = (0.8, 1.2)
"""Slope of the pair's field against the phase difference's within which the two agree."""

AGREEING_HZ = 6.0
"""RMS difference of those fields, shim removed, up to which they agree, Hz."""


def run_verdicts(
    *,
    fd_mm: NDArray[np.floating] | None = None,
    cord_shift_mm: NDArray[np.floating] | None = None,
    tsnr_before: Sequence[RegionTsnr] = (),
    tsnr_after: Sequence[RegionTsnr] = (),
    interpolation_gain: Mapping[str, float] | None = None,
    threshold_mm: float = FD_THRESHOLD_MM,
) -> tuple[Verdict, ...]:
    """Verdict lines of one run.

    Parameters
    ----------
    fd_mm : (t,) array, optional
        Framewise displacement of the head; the first is NaN.
    cord_shift_mm : (t, slices, 2) array, optional
        Apparent cord shifts, mm.
    tsnr_before, tsnr_after : sequence of RegionTsnr
        The same regions in the same order.
    interpolation_gain : mapping of region to float, optional
        Factor by which interpolation alone raises tSNR there (`cospine.quality.blur`); the gain is judged net of it.
    threshold_mm : float
        FD above which a volume is counted.
    """
    lines = []
    if fd_mm is not None:
        lines.append(_head(np.asarray(fd_mm, dtype=np.float64), threshold_mm))
    if cord_shift_mm is not None:
        lines.append(_cord(np.asarray(cord_shift_mm, dtype=np.float64)))
    blurred = interpolation_gain or {}
    lines.extend(_gain(old, new, blurred.get(old.name)) for old, new in zip(tsnr_before, tsnr_after, strict=True))
    return tuple(lines)


def run_numbers(
    *,
    fd_mm: NDArray[np.floating] | None = None,
    cord_shift_mm: NDArray[np.floating] | None = None,
    tsnr_before: Sequence[RegionTsnr] = (),
    tsnr_after: Sequence[RegionTsnr] = (),
    threshold_mm: float = FD_THRESHOLD_MM,
) -> tuple[Number, ...]:
    """Headline numbers of one run; the parameters are those of `run_verdicts`."""
    numbers = []
    if fd_mm is not None:
        moved = np.asarray(fd_mm)[np.isfinite(fd_mm)]
        mean_mm = float(moved.mean()) if moved.size else 0.0
        numbers.append(Number("Head, mean FD", f"{mean_mm:.2f}", "mm", region="brain", exact={"fd_mean_mm": mean_mm}))
        flagged = int((moved > threshold_mm).sum())
        exact = {"fd_above_threshold_volumes": float(flagged)}
        numbers.append(
            Number(f"Volumes above {threshold_mm:g} mm", f"{flagged}", f"of {len(fd_mm)}", region="brain", exact=exact)
        )
    if cord_shift_mm is not None:
        rms = _cord_rms(np.asarray(cord_shift_mm))
        numbers.append(Number("Cord, RMS shift in plane", f"{rms:.2f}", "mm", region="cord", exact={"cord_shift_rms_mm": rms}))
    for old, new in zip(tsnr_before, tsnr_after, strict=True):
        region = "cord" if "cord" in old.name.lower() else "brain" if "brain" in old.name.lower() else ""
        if old.voxels and new.voxels:
            exact = {f"tsnr_{region}_before": old.median, f"tsnr_{region}_after": new.median} if region else {}
            numbers.append(
                Number(f"tSNR {old.name}, median", f"{new.median:.1f}", before=f"{old.median:.1f}", region=region, exact=exact)
            )
    return tuple(numbers)


def field_verdicts(
    source: str | None,
    *,
    reason: str = "",
    asked_for: bool = False,
    cord_mm: float | None = None,
    brain_mm: float | None = None,
    similarity: tuple[float, float] | None = None,
    failed_checks: Sequence[str] = (),
    cutoff_z_mm: float | None = None,
    jacobian_min: float | None = None,
    agreement: tuple[float, float] | None = None,
) -> tuple[Verdict, ...]:
    """Verdict lines on the correction of distortion.

    Parameters
    ----------
    source : str or None
        What the field comes from, in words for people ("the pair of opposite phase encoding"); None where distortion was
        not corrected.
    reason : str
        Why there is no field, or why this one was chosen; a sentence or a clause without a full stop.
    asked_for : bool
        Whether the user asked that nothing be corrected.
    cord_mm, brain_mm : float, optional
        Mean size of the displacement that was corrected, mm.
    similarity : (before, after), optional
        Normalised cross-correlation of the pair, or of the reference with an undistorted image.
    failed_checks : sequence of str
        What failed when the field map was verified against its run, one sentence each.
    cutoff_z_mm : float, optional
        Height of the first slice, going down, that cannot be mended, RAS mm.
    jacobian_min : float, optional
        Smallest Jacobian in brain and cord above the cut-off; 1 is no stretch, not above zero means that the image folds.
    agreement : (slope, rms_hz), optional
        Pair against phase difference (`cospine.quality.field_metrics.FieldAgreement`).
    """
    if source is None:
        why = f": {reason.rstrip('.')}" if reason else ""
        return (
            Verdict(
                "look" if asked_for else "bad",
                f"NOT corrected for distortion{why}. Brain and cord are where the distorted EPI shows them, in the "
                "neck typically 2 to 4 mm off; do not bring this run to an anatomical space.",
            ),
        )
    lines = [_corrected(source, reason, cord_mm, brain_mm, similarity)]
    if jacobian_min is not None and jacobian_min < JACOBIAN_FLOOR:
        folds = jacobian_min <= 0
        words = "The field folds the image" if folds else "The field stretches the image very far"
        text = f"{words}: smallest Jacobian {jacobian_min:.2f} in brain or cord."
        lines.append(Verdict("bad" if folds else "look", text.replace("-", "−")))
    lines.extend(Verdict("look", f"Field map: {check.rstrip('.')}.") for check in failed_checks)
    if agreement is not None:
        lines.append(_agreement(*agreement))
    if cutoff_z_mm is not None:
        lines.append(
            Verdict(
                "look",
                f"From z {signed(cutoff_z_mm)} mm down the cord is displaced too far to be mended; leave those slices out.",
            )
        )
    return tuple(lines)


def field_numbers(
    *,
    cord_mm: float | None = None,
    cord_after_mm: float | None = None,
    brain_mm: float | None = None,
    similarity: tuple[float, float] | None = None,
) -> tuple[Number, ...]:
    """Headline numbers of the correction of distortion; `cord_after_mm` is what remains by an independent estimate, mm.

    The other parameters are those of `field_verdicts`.
    """
    numbers = []
    if brain_mm is not None:
        exact = {"brain_displacement_mean_mm": brain_mm}
        numbers.append(Number("Brain, displacement corrected, mean", f"{brain_mm:.1f}", "mm", region="brain", exact=exact))
    if cord_mm is not None and cord_after_mm is not None:
        exact = {"cord_displacement_mean_mm": cord_mm, "cord_displacement_left_mm": cord_after_mm}
        numbers.append(Number("Cord, displacement, mean", f"{cord_after_mm:.1f}", "mm", f"{cord_mm:.1f}", "cord", exact=exact))
    elif cord_mm is not None:
        exact = {"cord_displacement_mean_mm": cord_mm}
        numbers.append(Number("Cord, displacement corrected, mean", f"{cord_mm:.1f}", "mm", region="cord", exact=exact))
    if similarity is not None:
        exact = {"pair_ncc_before": similarity[0], "pair_ncc_after": similarity[1]}
        numbers.append(Number("Likeness of the pair, NCC", f"{similarity[1]:.2f}", before=f"{similarity[0]:.2f}", exact=exact))
    return tuple(numbers)


def _corrected(
    source: str, reason: str, cord_mm: float | None, brain_mm: float | None, similarity: tuple[float, float] | None
) -> Verdict:
    sizes = [f"{size:.1f} mm in the {name}" for name, size in (("cord", cord_mm), ("brain", brain_mm)) if size is not None]
    text = f"Corrected for distortion with a field from {source}"
    if sizes:
        text += f": tissue was displaced by {' and '.join(sizes)} on average"
    level: Level = "good"
    if similarity is not None:
        text += f"; likeness of the images (NCC) {similarity[0]:.2f} before, {similarity[1]:.2f} after"
        if not similarity[1] > similarity[0]:
            level = "bad"
            text += ", which is no better: the field or its sign may be wrong"
    return Verdict(level, f"{text}." + (f" {reason.rstrip('.')}." if reason else ""))


def _agreement(slope: float, rms_hz: float) -> Verdict:
    text = f"The pair's field against that of the phase difference: slope {slope:.2f}, RMS difference {rms_hz:.1f} Hz"
    low, high = AGREEING_SLOPE
    if not slope > 0:
        return Verdict("bad", f"{text}: they disagree in sign; one of them, or a phase-encoding direction, is wrong.")
    if not low <= slope <= high or rms_hz > AGREEING_HZ:
        return Verdict("look", f"{text}: they disagree; look at the map of their difference.")
    return Verdict("good", f"{text}: two measurements that know nothing of each other agree.")


def _head(fd_mm: NDArray[np.float64], threshold_mm: float) -> Verdict:
    moved = fd_mm[np.isfinite(fd_mm)]
    if moved.size == 0:
        return Verdict("look", "Head motion cannot be judged from one volume.")
    mean_mm, count = float(moved.mean()), int((moved > threshold_mm).sum())
    level: Level = "good"
    words = "The head was calm"
    if mean_mm > RESTLESS_FD_MM or count > MANY_VOLUMES * len(fd_mm):
        level, words = "bad", "The head moved a lot; consider leaving this run out"
    elif mean_mm > CALM_FD_MM or count > 0.5 * MANY_VOLUMES * len(fd_mm):
        level, words = "look", "The head was restless"
    return Verdict(
        level,
        f"{words}: mean framewise displacement {mean_mm:.2f} mm, largest {moved.max():.2f} mm, "
        f"{count} of {len(fd_mm)} volumes above {threshold_mm:g} mm.",
    )


def _cord(shift_mm: NDArray[np.float64]) -> Verdict:
    rms = _cord_rms(shift_mm)
    fd = cord_framewise_displacement(shift_mm)[1:]
    typical = float(np.median(fd)) if fd.size else 0.0
    level: Level = "look" if rms > LARGE_CORD_RMS_MM else "good"
    words = "Cord motion was large" if level == "look" else "Cord motion was moderate"
    return Verdict(
        level,
        f"{words}: RMS shift {rms:.2f} mm in plane over {shift_mm.shape[1]} slices, "
        f"{typical:.2f} mm from one volume to the next (median).",
    )


def _gain(old: RegionTsnr, new: RegionTsnr, by_interpolation: float | None) -> Verdict:
    if not old.voxels or not new.voxels:
        return Verdict("bad", f"tSNR in the {old.name} cannot be computed: no voxel with signal in the mask.")
    change = 100 * (new.median / old.median - 1)
    text = f"tSNR in the {old.name} went from {old.median:.1f} to {new.median:.1f} ({signed(change)} %, median over voxels)"
    net = change
    if by_interpolation is not None and by_interpolation > 1.005:
        net = 100 * (new.median / (old.median * by_interpolation) - 1)
        text += f", of which interpolation alone gives up to {100 * (by_interpolation - 1):.0f} %"
    if change < -1.0:
        return Verdict("look", f"{text}: lower after correction; look at the motion traces and the masks.")
    if net < -1.0:
        return Verdict("look", f"{text}: no gain beyond that of interpolation.")
    floor = next((value for name, value in LOW_TSNR.items() if name in old.name.lower()), 0.0)
    if old.median < floor:
        return Verdict("look", f"{text}; below {floor:g} before correction, which is low for this protocol.")
    return Verdict("good", f"{text}.")


def _cord_rms(shift_mm: NDArray[np.floating]) -> float:
    """RMS length of the in-plane shift about each slice's median, mm."""
    about = shift_mm - np.median(shift_mm, axis=0)
    return float(np.sqrt((about**2).sum(axis=2).mean()))
