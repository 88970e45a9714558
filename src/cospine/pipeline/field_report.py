"""What the report says and shows of a run's field: everything measured once, then put into verdicts, numbers and figures."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.field.breathing import BreathingShift, breathing_shift
from cospine.pipeline.field_stage import Distortion, Source
from cospine.pipeline.run_result import RunResult
from cospine.quality import field_figures, field_profiles
from cospine.quality.field_metrics import (
    CordDisplacement,
    FieldAgreement,
    cord_displacement,
    field_agreement_figures,
    similarity,
    slice_cutoff,
)
from cospine.quality.figure import Figure
from cospine.quality.report import Number, Verdict
from cospine.quality.verdicts import field_numbers, field_verdicts
from cospine.space.grid import Grid
from cospine.space.resample import resample_volume

_FEWEST_VOXELS = 1000  # in which two fields are compared
_SOURCES = {"pepolar": "a pair of reversed phase encoding", "phasediff": "gradient-echo phase"}


@dataclass(frozen=True)
class _Measured:
    """What is known of a run that was corrected.

    Parameters
    ----------
    distortion, source : Distortion, Source
        What corrected it.
    displacement_mm : ndarray (x, y, z)
        Along the phase-encoding axis, toward the higher index.
    jacobian : ndarray (x, y, z)
        Of the run's correction.
    profile : CordDisplacement or None
        Of the cord, slice by slice.
    cutoff : int or None
        Where in the profile it is beyond mending.
    agreement : FieldAgreement or None
        With the independent field, in the brain.
    body : ndarray (x, y, z), bool, or None
        Where the images of the pair show something, on their own grid.
    """

    distortion: Distortion
    source: Source
    displacement_mm: NDArray[np.floating] = field(repr=False)
    jacobian: NDArray[np.floating] = field(repr=False)
    profile: CordDisplacement | None
    cutoff: int | None
    agreement: FieldAgreement | None
    body: NDArray[np.bool_] | None = field(repr=False)


@dataclass(frozen=True)
class FieldReport:
    """The field's part of a run's page."""

    result: RunResult
    found: _Measured | None

    @classmethod
    def of(cls, result: RunResult) -> "FieldReport":
        """Measure all that the page tells."""
        distortion, source = result.distortion, result.choice.source
        if distortion is None or source is None:
            return cls(result, None)
        displacement = distortion.shift.voxels * np.float32(result.grid.voxel_mm[distortion.shift.axis])
        jacobian = distortion.encoding.jacobian(distortion.aligned.field_hz)
        profile = None
        if result.cord.any():
            profile = cord_displacement(
                displacement, result.cord, result.grid.affine, jacobian=jacobian, slice_axis=result.run.slice_axis
            )
        body = None
        if source.pair is not None:
            body = source.pair.reference > 0.2 * np.percentile(source.pair.reference, 98)
        cutoff = None if profile is None else slice_cutoff(profile)
        agreement = _agreement(result, distortion, result.brain)
        return cls(result, _Measured(distortion, source, displacement, jacobian, profile, cutoff, agreement, body))

    @cached_property
    def _summary(self) -> dict[str, Any]:
        """What verdicts and numbers say of the correction of distortion."""
        result, choice, found = self.result, self.result.choice, self.found
        if found is None:
            return {"source": None, "reason": choice.reason, "asked_for": choice.asked_for}
        profile, cutoff, pair = found.profile, found.cutoff, found.source.pair
        likeness = None
        if pair is not None and found.body is not None:
            likeness = similarity(*pair.distorted, found.body), similarity(*pair.corrected, found.body)
        return {
            "source": f"{_SOURCES[found.source.kind]} ({found.source.identifier})",
            "reason": f"Chosen: {choice.reason}; linked by {choice.linked_by}",
            "cord_mm": None if profile is None or cutoff == 0 else float(np.nanmean(np.abs(profile.mean_mm[:cutoff]))),
            "brain_mm": float(np.abs(found.displacement_mm)[result.brain].mean()) if result.brain.any() else None,
            "similarity": likeness,
            "failed_checks": [f"{one.name}: {one.text}" for one in choice.checks if one.passed is False],
            "cutoff_z_mm": None if profile is None or cutoff is None else float(profile.z_mm[cutoff]),
            "jacobian_min": self._smallest_jacobian(found),
            "agreement": None if found.agreement is None else (found.agreement.slope, found.agreement.rms_hz),
        }

    def verdicts(self) -> tuple[Verdict, ...]:
        """What it comes to, in plain words."""
        return field_verdicts(**self._summary)

    def numbers(self) -> tuple[Number, ...]:
        """Headline numbers; none without a correction."""
        return field_numbers(**{key: self._summary.get(key) for key in ("cord_mm", "brain_mm", "similarity")})

    def further(self) -> dict[str, float]:
        """Measures that no headline number shows."""
        said = self._summary
        measures = {"distortion_corrected": float(self.found is not None)}
        if said.get("agreement") is not None:
            measures["field_agreement_slope"], measures["field_agreement_rms_hz"] = said["agreement"]
        for name, key in (("jacobian_min", "jacobian_min"), ("cord_cutoff_z_mm", "cutoff_z_mm")):
            if said.get(key) is not None:
                measures[name] = said[key]
        return measures

    def figures(self) -> list[Figure]:
        """Distortion before and after, the field, its profile along the cord, the pair, and its agreement with another field."""
        result, found = self.result, self.found
        if found is None:
            return []
        affine, axis = result.grid.affine, found.distortion.shift.axis
        masks: dict[str, Any] = {f"{name}_mask": result.regions.get(name) for name in ("brain", "cord")}
        hz = found.distortion.aligned.field_hz
        figures = [
            field_figures.unwarped(result.motion.reference, result.mean, affine, **masks),
            field_figures.field_map(hz, affine, found.displacement_mm, axis=axis, **masks),
        ]
        if found.profile is not None:
            remaining = None
            apart = _agreement(result, found.distortion, result.brain | result.cord)
            if apart is not None:  # what a different shim explains is taken away
                left = found.distortion.encoding.displacement(apart.residual_hz) * np.float32(result.grid.voxel_mm[axis])
                remaining = cord_displacement(left, result.cord, affine, slice_axis=result.run.slice_axis).mean_mm
            figures.append(
                field_profiles.cord_profile(
                    found.profile.z_mm,
                    found.profile.mean_mm,
                    remaining,
                    cutoff_z_mm=None if found.cutoff is None else float(found.profile.z_mm[found.cutoff]),
                    toward=_toward(result.grid, axis),
                )
            )
        if found.body is not None:
            figures.append(_pair_figure(result, found.distortion, found.source, found.body))
        if found.agreement is not None:
            figures.append(field_figures.field_agreement(found.agreement, affine, **masks))
        return figures

    def _smallest_jacobian(self, found: _Measured) -> float | None:
        """Of the run's correction, in the brain and in the cord above the cut-off."""
        inside = self.result.brain.copy()
        if found.profile is not None:
            kept = found.profile.slices[: found.cutoff]
            inside[..., kept] |= self.result.cord[..., kept]
        return float(found.jacobian[inside].min()) if inside.any() else None


def method_of(result: RunResult) -> Literal["pepolar", "phasediff", "fieldmap"] | None:
    """What the methods text says of the field."""
    source = result.choice.source
    if source is None:
        return None
    if source.pair is not None:
        return "pepolar"
    return "fieldmap" if source.fieldmap.kind == "fieldmap" else "phasediff"


def _agreement(result: RunResult, distortion: Distortion, mask: NDArray) -> FieldAgreement | None:
    """The pair's field against the independent one in a mask, where both are."""
    other = distortion.other_hz
    if other is None or mask.sum() < _FEWEST_VOXELS or np.ptp(other[mask]) == 0:
        return None
    both = [distortion.aligned.field_hz, other]
    if result.choice.source is not None and result.choice.source.kind != "pepolar":
        both.reverse()
    return field_agreement_figures(both[0], both[1], mask, result.grid.affine)


def _pair_figure(result: RunResult, distortion: Distortion, source: Source, body: NDArray) -> Figure:
    """The two images of a pair, on their own grid, with the run's masks brought there."""
    assert source.pair is not None
    onto = np.linalg.inv(distortion.aligned.matrices[len(distortion.aligned.matrices) // 2])
    masks = {}
    for name, mask in (("brain_mask", result.brain), ("cord_mask", result.cord)):
        there = resample_volume(mask.astype(np.float32), onto, source.grid.shape) > 0.5
        masks[name] = there if there.any() else None
    return field_figures.pair_images(
        *source.pair.distorted, *source.pair.corrected, source.grid.affine, mask=body, labels=source.directions, **masks
    )


def _toward(grid: Grid, axis: int) -> str:
    """Anatomical direction toward which a stored axis grows, in words."""
    names = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}
    return names[grid.axis_codes[axis]]


# --- breathing ------------------------------------------------------------------------------------------------------


def breathing_of(result: RunResult) -> tuple[BreathingShift | None, str]:
    """Shift of the cord along the phase-encoding axis that follows breathing, or why it is not told."""
    run, cord = result.run, result.motion.cord
    channel = None if result.noise is None else result.noise.model.physiology.respiratory
    if cord is None or channel is None or run.phase_encoding is None:
        return None, ""
    axis = "ijk".index(run.phase_encoding[0])
    if axis > 1:
        return None, ""
    mm_per_hz = None if run.total_readout_s is None else run.total_readout_s * float(result.grid.voxel_mm[axis])
    try:
        recording, times = channel.recording, result.motion.times_s[:, cord.slices]
        breath = recording.samples, recording.rate_hz, recording.start_s or 0.0
        found = breathing_shift(cord.measured_mm[..., axis], times, *breath, mm_per_hz=mm_per_hz)
        if not np.isfinite(found.amplitude_mm).any():
            return None, "Shift of the cord with breathing is not shown: too few volumes."
        return found, ""
    except CoSpineError as error:
        return None, f"Shift of the cord with breathing is not shown: {error}"


def breathing_figure(result: RunResult, breathing: BreathingShift) -> Figure:
    """Shift with breathing over the height of the slices."""
    assert result.motion.cord is not None
    slices = result.motion.cord.slices
    middle = np.stack([np.full(slices.size, (n - 1) / 2) for n in result.grid.shape[:2]] + [slices], axis=1)
    heights = result.grid.to_ras(middle)[:, 2]
    return field_profiles.breathing_profile(heights, breathing.amplitude_mm, breathing.r_squared, breathing.null_r_squared)
