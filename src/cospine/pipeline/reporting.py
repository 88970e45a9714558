"""From results to the page of a participant: facts, verdicts, numbers, figures, methods."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cospine import __version__
from cospine.bids import Dataset, Participant, Run, read_tsv
from cospine.errors import CoSpineError
from cospine.field.breathing import BreathingShift, breathing_shift
from cospine.pipeline.field_stage import Source, respiration
from cospine.pipeline.process import RunResult
from cospine.pipeline.settings import Settings
from cospine.quality import carpet, field_figures, field_profiles, maps, metrics, mosaic, traces
from cospine.quality.field_metrics import (
    CordDisplacement,
    FieldAgreement,
    cord_displacement,
    field_agreement_figures,
    similarity,
    slice_cutoff,
)
from cospine.quality.figure import Figure
from cospine.quality.methods import MethodsText, motion_methods
from cospine.quality.report import Failure, Number, ParticipantReport, RunReport, Verdict, participant_html
from cospine.quality.verdicts import field_numbers, field_verdicts, run_numbers, run_verdicts
from cospine.space.grid import Grid
from cospine.space.resample import resample_volume

_FEWEST_VOXELS = 1000  # in which two fields are compared


@dataclass(frozen=True)
class RunSection:
    """A run's part of the page, and the methods it used."""

    page: RunReport
    methods: MethodsText


def run_section(result: RunResult, participant: Participant) -> RunSection:
    """Draw the part of the page that belongs to one run.

    Parameters
    ----------
    result : RunResult
        What came of the run.
    participant : Participant
        Whose run it is; for the field maps linked to it.
    """
    run, motion = result.run, result.motion
    notes = []
    if not result.brain.any():
        notes.append(f"No brain was processed: {motion.masks.brain_reason}.")
    if motion.cord is None:
        notes.append(f"No cord was processed: {motion.masks.cord.reason}. So there is no cord tSNR to raise.")
    notes += list(result.choice.notes)
    notes += [f"Field map, {one.name}: {one.text}." for one in result.choice.checks if one.passed is None]
    if result.distortion is not None and result.choice.source is not None and result.choice.source.kind == "phasediff":
        notes.append(
            "The field is from gradient-echo phase. Its shim and centre frequency may not be the EPI's: what differs moves "
            "tissue smoothly, and the whole by a constant."
        )
    if motion.cord is not None and "cord" not in result.given:
        notes.append(
            "The cord mask is an ellipse of 11 × 8 mm on the middle of the canal, not a segmentation; --cord-mask replaces it."
        )
    for region, path in result.given.items():
        notes.append(f"The {region} mask was given, drawn on the corrected image: {path.name}.")
    if run.slice_times_s is not None and not result.slice_times_used:
        notes.append("Slice times were not used: they were ignored, or slices are not stacked along the third voxel axis.")
    if result.dummies:
        notes.append(f"The first {result.dummies} volumes are not in steady state: kept, flagged, left out of tSNR.")
    breathing, silence = _breathing(result)
    if silence:
        notes.append(silence)
    verdicts, numbers = _summary(result)
    page = RunReport(
        prefix=run.prefix,
        title=", ".join(f"{key} {value}" for key, value in run.entities.items() if key != "sub").replace("task ", "", 1),
        facts=_facts(run, participant, result),
        verdicts=verdicts,
        numbers=numbers,
        findings=run.findings,
        figures=_figures(result, breathing),
        notes=tuple(notes),
        outputs=_outputs(result),
    )
    text = motion_methods(
        __version__,
        regions=tuple(result.regions),
        given=tuple(result.given),
        slice_times=result.slice_times_used,
        field=_method(result),
        jacobian="fmap-jacobian" not in result.ignored,
    )
    return RunSection(page, text)


def participant_page(
    participant: Participant,
    dataset: Dataset,
    sections: Sequence[RunSection],
    failures: Sequence[tuple[str, str]],
    settings: Settings,
) -> str:
    """The page of a participant as HTML text.

    Parameters
    ----------
    participant : Participant
        Whose page it is.
    dataset : Dataset
        Where the person belongs.
    sections : sequence of RunSection
        Runs that were processed.
    failures : sequence of (run, why)
        Runs that were not.
    settings : Settings
        Parameters, printed.
    """
    shown = {id(one) for section in sections for one in section.page.findings}
    findings = tuple(one for one in dataset.findings if one.participant in (None, participant.label) and id(one) not in shown)
    paragraphs = dict.fromkeys(text for section in sections for text in section.methods.paragraphs)
    citations = dict.fromkeys(text for section in sections for text in section.methods.citations)
    report = ParticipantReport(
        participant=participant.label,
        dataset=dataset.name,
        version=__version__,
        runs=tuple(section.page for section in sections),
        attributes=(
            *((key, value) for key, value in participant.attributes.items() if key != "participant_id"),
            ("T1w images", str(len(participant.t1w))),
            ("field maps", ", ".join(f"{one.identifier} ({one.kind})" for one in participant.fieldmaps) or "none"),
        ),
        findings=findings,
        errors=tuple(Failure(run, why) for run, why in failures),
        methods=tuple(paragraphs),
        citations=tuple(citations),
        settings=tuple((key, _shown(key, value)) for key, value in settings.parameters().items()),
        software=(
            ("CoSpine", __version__),
            ("Python", platform.python_version()),
            *((name, version(name)) for name in ("numpy", "scipy", "numba", "nibabel")),
        ),
        provenance=(("Dataset", dataset.name), ("BIDS folder", dataset.root.name)),
    )
    return participant_html(report)


def _facts(run: Run, participant: Participant, result: RunResult) -> tuple[tuple[str, str], ...]:
    size = np.sqrt((run.affine[:3, :3] ** 2).sum(axis=0))
    linked = participant.fieldmaps_of(run)
    times = run.slice_times_s

    def unless(part: str, text: str) -> str:
        return "ignored" if part in result.ignored else text or "none"

    return (
        ("file", run.bold.name),
        ("grid", " × ".join(map(str, run.shape[:3]))),
        ("voxel", " × ".join(f"{s:.3g}" for s in size) + " mm"),
        ("volumes", f"{run.volumes}" + (f" of {run.shape[3]} claimed" if run.volumes != run.shape[3] else "")),
        ("TR", f"{run.tr_s:g} s"),
        ("slice times", unless("slicetiming", f"{len(set(times))} distinct, last at {max(times):g} s" if times else "")),
        ("multiband", str(run.multiband)),
        ("phase encoding", run.phase_encoding or "not stated"),
        ("total readout time", "not stated" if run.total_readout_s is None else f"{1000 * run.total_readout_s:.2f} ms"),
        ("events", unless("events", run.events.name if run.events else "")),
        ("physiology", unless("physio", ", ".join(path.name for path in run.physio))),
        ("field maps", unless("fieldmaps", ", ".join(f"{one.identifier} (linked by {how})" for one, how in linked))),
        ("corrected with", "nothing" if result.choice.source is None else result.choice.source.identifier),
    )


def _summary(result: RunResult) -> tuple[tuple[Verdict, ...], tuple[Number, ...]]:
    """Verdicts in plain words, and headline numbers."""
    motion = result.motion
    what: dict[str, Any] = {
        "fd_mm": result.displacement,
        "cord_shift_mm": None if motion.cord is None else motion.cord.shift_mm,
        "tsnr_before": metrics.tsnr_by_region(result.tsnr_raw, motion.regions),
        "tsnr_after": metrics.tsnr_by_region(result.tsnr, result.regions),
    }
    about = _field_summary(result)
    numbers = list(run_numbers(**what))
    if motion.cord is not None:
        numbers.append(Number("Cord shift known to, median SD", f"{np.median(motion.cord.sd_mm):.2f}", "mm", region="cord"))
        if motion.head is not None:
            numbers.append(
                Number(
                    "Through-plane motion of the neck, if it followed the head, RMS",
                    f"{motion.through_plane_mm:.2f}",
                    "mm",
                    region="cord",
                )
            )
    if result.distortion is not None:
        pose = result.distortion.aligned.pose
        if result.distortion.aligned.information > 0:
            turned = float(np.rad2deg(np.abs(pose[3:]).max()))
            text = f"{np.linalg.norm(pose[:3]):.1f} mm, {turned:.1f}°"
            numbers.insert(0, Number("Head between field map and run", text, region="brain"))
        numbers = [*field_numbers(**{key: about[key] for key in ("cord_mm", "brain_mm", "similarity")}), *numbers]
    return (*field_verdicts(**about), *run_verdicts(**what, interpolation_gain=result.blur_gain)), tuple(numbers)


def _method(result: RunResult) -> Literal["pepolar", "phasediff", "fieldmap"] | None:
    """What the methods text says of the field."""
    source = result.choice.source
    if source is None:
        return None
    if source.pair is not None:
        return "pepolar"
    return "fieldmap" if source.fieldmap.kind == "fieldmap" else "phasediff"


def _field_summary(result: RunResult) -> dict[str, Any]:
    """What verdicts and numbers say of the correction of distortion."""
    choice, distortion = result.choice, result.distortion
    if distortion is None or choice.source is None:
        return {"source": None, "reason": choice.reason, "asked_for": choice.asked_for}
    source, shown = choice.source, np.abs(_displacement_mm(result))
    profile = _cord_displacement(result)
    cutoff = None if profile is None else slice_cutoff(profile)
    names = {"pepolar": "a pair of reversed phase encoding", "phasediff": "gradient-echo phase"}
    return {
        "source": f"{names[source.kind]} ({source.identifier})",
        "reason": f"Chosen: {choice.reason}; linked by {choice.linked_by}",
        "cord_mm": None if profile is None or cutoff == 0 else float(np.nanmean(np.abs(profile.mean_mm[:cutoff]))),
        "brain_mm": float(shown[result.brain].mean()) if result.brain.any() else None,
        "similarity": _similarity(source),
        "failed_checks": [f"{one.name}: {one.text}" for one in choice.checks if one.passed is False],
        "cutoff_z_mm": None if profile is None or cutoff is None else float(profile.z_mm[cutoff]),
        "jacobian_min": _smallest_jacobian(result, profile, cutoff),
        "agreement": None if (found := _agreement(result)) is None else (found.slope, found.rms_hz),
    }


def _smallest_jacobian(result: RunResult, profile: CordDisplacement | None, cutoff: int | None) -> float | None:
    """Of the run's correction, in the brain and in the cord above the cut-off."""
    assert result.distortion is not None
    inside = result.brain.copy()
    if profile is not None:
        kept = profile.slices[:cutoff]
        inside[..., kept] |= result.cord[..., kept]
    jacobian = result.distortion.encoding.jacobian(result.distortion.aligned.field_hz)
    return float(jacobian[inside].min()) if inside.any() else None


def _similarity(source: Source) -> tuple[float, float] | None:
    """NCC of the two images of a pair in the body, before and after."""
    if source.pair is None:
        return None
    body = source.pair.reference > 0.2 * np.percentile(source.pair.reference, 98)
    return similarity(*source.pair.distorted, body), similarity(*source.pair.corrected, body)


def _displacement_mm(result: RunResult) -> NDArray[np.floating]:
    """Displacement along the phase-encoding axis toward the higher index, mm (x, y, z)."""
    assert result.distortion is not None
    shift = result.distortion.shift
    return shift.voxels * np.float32(result.grid.voxel_mm[shift.axis])


def _cord_displacement(result: RunResult) -> CordDisplacement | None:
    if result.distortion is None or not result.cord.any():
        return None
    jacobian = result.distortion.encoding.jacobian(result.distortion.aligned.field_hz)
    return cord_displacement(
        _displacement_mm(result), result.cord, result.grid.affine, jacobian=jacobian, slice_axis=result.run.slice_axis
    )


def _agreement(result: RunResult, mask: NDArray | None = None) -> FieldAgreement | None:
    """The pair's field against the independent one in a mask (the brain), where both are."""
    mask = result.brain if mask is None else mask
    if result.distortion is None or result.distortion.other_hz is None or not mask.any():
        return None
    if mask.sum() < _FEWEST_VOXELS or np.ptp(result.distortion.other_hz[mask]) == 0:
        return None
    both = [result.distortion.aligned.field_hz, result.distortion.other_hz]
    if result.choice.source is not None and result.choice.source.kind != "pepolar":
        both.reverse()
    return field_agreement_figures(both[0], both[1], mask, result.grid.affine)


def _breathing(result: RunResult) -> tuple[BreathingShift | None, str]:
    """Shift of the cord along the phase-encoding axis that follows breathing, or why it is not told."""
    run, cord = result.run, result.motion.cord
    if cord is None or "physio" in result.ignored or not run.physio or run.phase_encoding is None:
        return None, ""
    axis = "ijk".index(run.phase_encoding[0])
    if axis > 1:
        return None, ""
    mm_per_hz = None if run.total_readout_s is None else run.total_readout_s * float(result.grid.voxel_mm[axis])
    try:
        recording = respiration(run)
        if recording is None:
            return None, "Shift of the cord with breathing is not shown: no breathing recording that can be placed in time."
        times = result.motion.times_s[:, cord.slices]
        found = breathing_shift(cord.measured_mm[..., axis], times, *recording, mm_per_hz=mm_per_hz)
        if not np.isfinite(found.amplitude_mm).any():
            return None, "Shift of the cord with breathing is not shown: too few volumes."
        return found, ""
    except CoSpineError as error:
        return None, f"Shift of the cord with breathing is not shown: {error}"


def _figures(result: RunResult, breathing: BreathingShift | None) -> tuple[Figure, ...]:
    motion, grid, tr_s = result.motion, result.grid, result.run.tr_s
    brain, cord = result.brain, result.cord
    brain_mask = brain if brain.any() else None
    cord_mask = cord if cord.any() else None
    regions = result.regions
    events = [] if "events" in result.ignored else _events(result.run)
    reference, raw, sd_raw = motion.reference, result.tsnr_raw, result.sd_raw
    if result.distortion is not None:  # all in one space, so that before and after show the same tissue
        reference, raw, sd_raw = result.mean, result.distortion.undistorted(raw), result.distortion.undistorted(sd_raw)
    figures = [mosaic.overview(reference, grid.affine, brain_mask=brain_mask, cord_mask=cord_mask)]
    if cord_mask is not None:
        figures.append(mosaic.cord_mosaic(reference, grid.affine, cord, brain_mask=brain_mask))
    figures += _field_figures(result, breathing, brain_mask, cord_mask)
    if motion.head is not None:
        figures.append(
            traces.head_motion(
                motion.head.parameters,
                tr_s,
                fd_mm=result.displacement,
                outliers=np.arange(len(motion.head.poses)) < result.dummies,
                events=events,
            )
        )
    if motion.cord is not None:
        figures.append(
            traces.cord_motion(
                motion.cord.shift_mm,
                motion.cord.slices,
                grid.affine,
                grid.shape,
                tr_s,
                slice_axis=result.run.slice_axis,
                events=events,
            )
        )
    figures += [
        maps.flicker(sd_raw, result.sd, grid.affine, brain_mask=brain_mask, cord_mask=cord_mask),
        maps.tsnr_maps(raw, result.tsnr, grid.affine, brain_mask=brain_mask, cord_mask=cord_mask),
        maps.tsnr_summary(raw, result.tsnr, grid.affine, regions, cord_mask=cord_mask, slice_axis=result.run.slice_axis),
        carpet.carpet(result.series, grid.affine, regions, tr_s, fd_mm=result.displacement, std_dvars=result.dvars[1]),
    ]
    return tuple(figures)


def _field_figures(
    result: RunResult, breathing: BreathingShift | None, brain: NDArray | None, cord: NDArray | None
) -> list[Figure]:
    """Distortion before and after, the field, its profile along the cord, and what else is known of it."""
    figures: list[Figure] = []
    distortion, source, affine = result.distortion, result.choice.source, result.grid.affine
    masks: dict[str, Any] = {"brain_mask": brain, "cord_mask": cord}
    profile = _cord_displacement(result)
    if distortion is not None and source is not None:
        figures.append(field_figures.unwarped(result.motion.reference, result.mean, affine, **masks))
        axis = distortion.shift.axis
        figures.append(field_figures.field_map(distortion.aligned.field_hz, affine, _displacement_mm(result), axis=axis, **masks))
        if profile is not None:
            cutoff = slice_cutoff(profile)
            remaining = None
            apart = _agreement(result, result.brain | result.cord)
            if apart is not None:  # what a different shim explains is taken away
                left = distortion.encoding.displacement(apart.residual_hz) * np.float32(result.grid.voxel_mm[axis])
                remaining = cord_displacement(left, result.cord, affine, slice_axis=result.run.slice_axis).mean_mm
            figures.append(
                field_profiles.cord_profile(
                    profile.z_mm,
                    profile.mean_mm,
                    remaining,
                    cutoff_z_mm=None if cutoff is None else float(profile.z_mm[cutoff]),
                    toward=_toward(result.grid, axis),
                )
            )
        if source.pair is not None:
            figures.append(_pair_figure(result, source))
        found = _agreement(result)
        if found is not None:
            figures.append(field_figures.field_agreement(found, affine, **masks))
    if breathing is not None and result.motion.cord is not None:
        slices = result.motion.cord.slices
        middle = np.stack([np.full(slices.size, (n - 1) / 2) for n in result.grid.shape[:2]] + [slices], axis=1)
        heights = result.grid.to_ras(middle)[:, 2]
        figures.append(
            field_profiles.breathing_profile(heights, breathing.amplitude_mm, breathing.r_squared, breathing.null_r_squared)
        )
    return figures


def _pair_figure(result: RunResult, source: Source) -> Figure:
    """The two images of a pair, on their own grid, with the run's masks brought there."""
    assert source.pair is not None
    assert result.distortion is not None
    onto = np.linalg.inv(result.distortion.aligned.matrices[len(result.distortion.aligned.matrices) // 2])
    masks = {}
    for name, mask in (("brain_mask", result.brain), ("cord_mask", result.cord)):
        there = resample_volume(mask.astype(np.float32), onto, source.grid.shape) > 0.5
        masks[name] = there if there.any() else None
    body = source.pair.reference > 0.2 * np.percentile(source.pair.reference, 98)
    return field_figures.pair_images(
        *source.pair.distorted, *source.pair.corrected, source.grid.affine, mask=body, labels=source.directions, **masks
    )


def _toward(grid: Grid, axis: int) -> str:
    """Anatomical direction toward which a stored axis grows, in words."""
    names = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}
    return names[grid.axis_codes[axis]]


def _events(run: Run) -> list[tuple[float, float, str]]:
    """Trials of the run for the strip above the traces."""
    if run.events is None:
        return []
    table = read_tsv(run.events)
    events = []
    kinds = table.get("trial_type", [run.task] * len(table.get("onset", [])))
    for onset, duration, kind in zip(table.get("onset", []), table.get("duration", []), kinds, strict=True):
        try:
            events.append((float(onset), float(duration), kind))
        except ValueError:  # n/a: the reader has listed it as a finding
            continue
    return events


def _outputs(result: RunResult) -> tuple[tuple[str, str], ...]:
    written = [path for step in result.steps for path in step.outputs]
    said = {
        "desc-preproc_bold": "corrected series",
        "desc-hmc_boldref": "reference that motion is measured to",
        "desc-coreg_boldref": "mean of the corrected series",
        "desc-preproc_fieldmap": "field in Hz",
        "desc-epi_fieldmap": "unwarped pair",
        "desc-magnitude_fieldmap": "image that goes with the field",
        "desc-brain_mask": "brain mask",
        "label-SC_mask": "cord mask",
        "desc-headmotion_timeseries": "head motion table",
        "desc-cordmotion_timeseries": "cord motion table",
        "desc-confounds_timeseries": "confounds",
        "desc-hmc_xfm": "head motion as ITK transforms",
        "desc-raw_stat-tsnr_boldmap": "tSNR before",
        "desc-preproc_stat-tsnr_boldmap": "tSNR after",
    }
    return tuple(
        (f"{path.parent.name}/{path.name}", next((text for key, text in said.items() if key in path.name), ""))
        for path in written
    )


def _shown(key: str, value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or ("nothing" if key == "ignore" else "all")
    return str(value)
