"""From results to the page of a participant: facts, verdicts, numbers, figures, methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cospine import __version__
from cospine.bids import Dataset, Participant, Run
from cospine.field.breathing import BreathingShift
from cospine.pipeline.anatomy_report import AnatomyReport, PlacementReport, run_mask_verdict
from cospine.pipeline.anatomy_stage import Anatomy
from cospine.pipeline.coupling_report import CouplingReport
from cospine.pipeline.field_report import FieldReport, breathing_figure, breathing_of, method_of
from cospine.pipeline.noise_report import NoiseReport
from cospine.pipeline.run_result import RunResult
from cospine.pipeline.settings import Settings
from cospine.pipeline.task_report import TaskReport
from cospine.quality import carpet, maps, metrics, mosaic, traces
from cospine.quality.figure import Figure
from cospine.quality.measures import measures_record
from cospine.quality.methods import MethodsText, motion_methods
from cospine.quality.report import Failure, Number, ParticipantReport, RunReport, Verdict, exact_of, participant_html
from cospine.quality.verdicts import run_numbers, run_verdicts


@dataclass(frozen=True)
class RunSection:
    """A run's part of the page, and the methods it used."""

    page: RunReport
    methods: MethodsText


def run_section(result: RunResult, participant: Participant, settings: Settings) -> RunSection:
    """Draw the part of the page that belongs to one run.

    Parameters
    ----------
    result : RunResult
        What came of the run.
    participant : Participant
        Whose run it is; for the field maps linked to it.
    settings : Settings
        Parameters.
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
    for region, path in result.given.items():
        notes.append(f"The {region} mask was given, drawn on the corrected image: {path.name}.")
    if run.slice_times_s is not None and not result.slice_times_used:
        notes.append("Slice times were not used: they were ignored, or slices are not stacked along the third voxel axis.")
    if result.placement is None:
        notes.append(
            f"Not aligned to an anatomical image: {result.unplaced.rstrip('.')}. So nothing was brought to MNI or PAM50."
        )
    if result.dummies:
        notes.append(f"The first {result.dummies} volumes are not in steady state: kept, flagged, left out of tSNR.")
    breathing, silence = breathing_of(result)
    if silence:
        notes.append(silence)
    field = FieldReport.of(result)
    noise = None if result.noise is None else NoiseReport(result, result.noise, settings.high_pass, settings.clean)
    placed = None if result.placement is None else PlacementReport(result, result.placement)
    task = None if result.task is None else TaskReport(result, result.task)
    if task is None:
        notes.append(f"No statistics: {result.no_task}.")
    coupled = None if result.coupling is None else CouplingReport(result, result.coupling)
    if coupled is None:
        notes.append(f"No coupling: {result.no_coupling}.")
    parts = [part for part in (placed, noise, task, coupled) if part is not None]
    verdicts, numbers = _summary(result, field)
    page = RunReport(
        prefix=run.prefix,
        title=", ".join(f"{key} {value}" for key, value in run.entities.items() if key != "sub").replace("task ", "", 1),
        facts=(*_facts(run, participant, result), *(() if placed is None else placed.facts())),
        verdicts=(*verdicts, *(line for part in parts for line in part.verdicts())),
        numbers=(*numbers, *(number for part in parts for number in part.numbers())),
        findings=run.findings,
        figures=(*_figures(result, field, breathing), *(one for part in parts for one in part.figures())),
        notes=(*notes, *(note for part in parts for note in part.notes())),
        outputs=_outputs(result),
        costs=result.costs,
        further={**_further(result), **field.further(), **{name: v for part in parts for name, v in part.further().items()}},
    )
    text = motion_methods(
        __version__,
        regions=tuple(result.regions),
        given=tuple(result.given),
        slice_times=result.slice_times_used,
        field=method_of(result),
        jacobian="fmap-jacobian" not in result.ignored,
    )
    for part in parts:
        more = part.methods()
        text = MethodsText(text.paragraphs + more.paragraphs, text.citations + more.citations)
    return RunSection(page, text)


def participant_page(
    participant: Participant,
    dataset: Dataset,
    sections: Sequence[RunSection],
    failures: Sequence[tuple[str, str]],
    settings: Settings,
    anatomies: Sequence[Anatomy],
    made_with: str,
) -> str:
    """The page of a participant as HTML text.

    Parameters
    ----------
    participant : Participant
        Whose page it is.
    dataset : Dataset
        Where the person belongs; its findings are those about no person.
    sections : sequence of RunSection
        Runs that were processed.
    failures : sequence of (run, why)
        Runs that were not.
    settings : Settings
        Parameters, printed.
    anatomies : sequence of Anatomy
        What was found in the person's anatomical images; shown once, before the runs.
    made_with : str
        Software that made the results, as `cospine.pipeline.record.software` has it.
    """
    anatomical = [AnatomyReport(one, settings.cord_seg) for one in anatomies]
    texts = [*(one.methods() for one in anatomical), *(section.methods for section in sections)]
    opening = [text for section in sections for text in section.methods.paragraphs[:1]]
    shown = {one for section in sections for one in section.page.findings}
    findings = tuple(one for one in (*dataset.findings, *participant.findings) if one not in shown)
    paragraphs = dict.fromkeys([*opening, *(text for methods in texts for text in methods.paragraphs)])
    citations = dict.fromkeys(text for methods in texts for text in methods.citations)
    report = ParticipantReport(
        participant=participant.label,
        dataset=dataset.name,
        version=__version__,
        runs=tuple(section.page for section in sections),
        anatomies=tuple(one.section() for one in anatomical),
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
        software=tuple((name, number) for name, _, number in (one.partition(" ") for one in made_with.split(", "))),
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


def _summary(result: RunResult, field: FieldReport) -> tuple[tuple[Verdict, ...], tuple[Number, ...]]:
    """Verdicts in plain words, and headline numbers."""
    motion = result.motion
    what: dict[str, Any] = {
        "fd_mm": result.displacement,
        "cord_shift_mm": None if motion.cord is None else motion.cord.shift_mm,
        "tsnr_before": metrics.tsnr_by_region(result.tsnr_before, motion.regions),
        "tsnr_after": metrics.tsnr_by_region(result.tsnr, result.regions),
    }
    numbers = list(run_numbers(**what))
    if motion.cord is not None:
        sd_mm = float(np.median(motion.cord.sd_mm))
        exact = {"cord_shift_sd_median_mm": sd_mm}
        numbers.append(Number("Cord shift known to, median SD", f"{sd_mm:.2f}", "mm", region="cord", exact=exact))
        if motion.head is not None:
            numbers.append(
                Number(
                    "Through-plane motion of the neck, if it followed the head, RMS",
                    f"{motion.through_plane_mm:.2f}",
                    "mm",
                    region="cord",
                    exact={"cord_through_plane_rms_mm": motion.through_plane_mm},
                )
            )
    if result.distortion is not None:
        pose = result.distortion.aligned.pose
        if result.distortion.aligned.information > 0:
            turned = float(np.rad2deg(np.abs(pose[3:]).max()))
            exact = {"fieldmap_to_run_mm": float(np.linalg.norm(pose[:3])), "fieldmap_to_run_deg": turned}
            text = f"{exact['fieldmap_to_run_mm']:.1f} mm, {turned:.1f}°"
            numbers.insert(0, Number("Head between field map and run", text, region="brain", exact=exact))
        numbers = [*field.numbers(), *numbers]
    mask = (run_mask_verdict(result),) if result.segmentation.found else ()
    return (*field.verdicts(), *run_verdicts(**what, interpolation_gain=result.blur_gain), *mask), tuple(numbers)


def _further(result: RunResult) -> dict[str, float]:
    """Measures of motion, masks and tSNR that no headline number shows."""
    millilitres = abs(float(np.linalg.det(result.grid.affine[:3, :3]))) / 1000
    measures = {
        "volumes": float(result.series.shape[3]),
        "dummy_volumes": float(result.dummies),
        "std_dvars_mean": float(np.nanmean(result.dvars[1])),
    }
    if result.displacement is not None:
        measures["fd_max_mm"] = float(np.nanmax(result.displacement))
    for one in metrics.tsnr_by_region(result.tsnr, result.regions):
        measures |= {f"tsnr_{one.name}_after_p05": one.p05, f"tsnr_{one.name}_after_p95": one.p95}
    for name, mask in result.regions.items():
        measures[f"{name}_volume_ml"] = np.count_nonzero(mask) * millilitres
        measures[f"interpolation_gain_{name}"] = result.blur_gain[name]
    if result.cord.any():
        others = tuple(axis for axis in range(3) if axis != result.segmentation.slice_axis)
        held = result.cord.any(axis=others)
        measures["cord_slices"] = float(np.count_nonzero(held))
        measures["cord_confidence_median"] = float(np.median(result.segmentation.confidence[held]))
    return measures


def quality_record(page: RunReport, anatomies: Sequence[Anatomy], settings: Settings) -> dict[str, Any]:
    """What a machine reads of a run's page: measures, verdicts and findings, and the measures of the anatomical images.

    Parameters
    ----------
    page : RunReport
        From :func:`run_section`: the numbers are the page's own, unrounded.
    anatomies : sequence of Anatomy
        Of the person.
    settings : Settings
        Parameters.
    """
    numbers = {one.source.name.partition(".")[0]: AnatomyReport(one, settings.cord_seg).numbers() for one in anatomies}
    return {
        "CoSpine": __version__,
        "Measures": measures_record(page.measures),
        "Verdicts": [{"Level": one.level, "Text": one.text} for one in page.verdicts],
        "Findings": [{"Severity": one.severity, "Code": one.code, "Message": one.message} for one in page.findings],
        "Anatomy": {image: measures_record(exact_of(shown)) for image, shown in numbers.items()},
    }


def _figures(
    result: RunResult,
    field: FieldReport,
    breathing: BreathingShift | None,
) -> tuple[Figure, ...]:
    motion, grid, tr_s = result.motion, result.grid, result.run.tr_s
    brain, cord = result.brain, result.cord
    brain_mask = brain if brain.any() else None
    cord_mask = cord if cord.any() else None
    regions = result.regions
    events = result.events
    reference, raw, sd_raw = motion.reference, result.tsnr_before, result.sd_before
    if result.distortion is not None:  # all in one space, so that before and after show the same tissue
        reference, raw, sd_raw = result.mean, result.distortion.undistorted(raw), result.distortion.undistorted(sd_raw)
    figures = [mosaic.overview(reference, grid.affine, brain_mask=brain_mask, cord_mask=cord_mask)]
    if cord_mask is not None:
        sure = result.segmentation.confidence
        figures.append(mosaic.cord_mosaic(reference, grid.affine, cord, brain_mask=brain_mask, confidence=sure, name="EPI"))
    figures += field.figures()
    if breathing is not None:
        figures.append(breathing_figure(result, breathing))
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


def _outputs(result: RunResult) -> tuple[tuple[str, str], ...]:
    said = {
        "desc-hmc_boldref": "reference that motion is measured to",
        "desc-coreg_boldref": "mean of the corrected series",
        "desc-preproc_fieldmap": "field in Hz",
        "desc-epi_fieldmap": "unwarped pair",
        "desc-magnitude_fieldmap": "image that goes with the field",
        "desc-preproc_T1w": "anatomical image, its bias taken out",
        "desc-preproc_T2w": "anatomical image",
        "desc-vertebrae_dseg": "vertebral levels of the cord",
        "desc-spinalsegments_dseg": "spinal segments of the cord",
        "desc-discs_points": "discs",
        "desc-coverage_mask": "what of the template's space was measured",
        "space-MNI152NLin2009aSym_desc-preproc_bold": "corrected series in MNI",
        "space-PAM50_desc-preproc_bold": "corrected series in PAM50",
        "desc-preproc_bold": "corrected series",
        "desc-brain_mask": "brain mask",
        "label-SC_mask": "cord mask",
        "desc-headmotion_timeseries": "head motion table",
        "desc-cordmotion_timeseries": "cord motion table",
        "desc-confounds_timeseries": "confounds",
        "desc-peaks_timeseries": "heartbeats and breaths",
        "desc-pnm_regressors": "physiological noise model, slice by slice",
        "desc-slicewise_regressors": "other confounds that differ from slice to slice",
        "stat-r2adj": "adjusted partial R² of each set of noise columns",
        "stat-p_": "p of their partial F tests",
        "desc-clean_bold": "series with drift, motion and physiological noise regressed out",
        "desc-thermal": "thermal denoising",
        "evlist.txt": "list of slice-wise EVs for FEAT",
        "desc-hmc_xfm": "head motion as ITK transforms",
        "desc-raw_stat-tsnr_boldmap": "tSNR before",
        "desc-preproc_stat-tsnr_boldmap": "tSNR after",
        "_mode-image_xfm": "transform between spaces, ITK",
    }
    return tuple(
        (f"{path.parent.name}/{path.name}", next((text for key, text in said.items() if key in path.name), ""))
        for path in result.outputs
    )


def _shown(key: str, value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or ("nothing" if key in ("ignore", "export", "slow_responses") else "all")
    return str(value)
