"""What a run writes of masks, motion, the corrected series and its quality; and a participant's field maps."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cospine.bids import Derivatives, Run
from cospine.motion.brain import HeadMotion
from cospine.pipeline.anatomy_files import cord_method
from cospine.pipeline.coupling_files import write_coupling
from cospine.pipeline.field_stage import Choice, Distortion, Source
from cospine.pipeline.given import given_peaks_file
from cospine.pipeline.motion_stage import Motion
from cospine.pipeline.noise_files import write_clean, write_noise
from cospine.pipeline.run_result import RunResult
from cospine.pipeline.settings import Settings
from cospine.pipeline.step import Step
from cospine.pipeline.tables import confounds_table, cord_table, head_table
from cospine.pipeline.task_files import write_statistics
from cospine.pipeline.thermal_stage import Thermal, write_thermal
from cospine.space.io import itk_series

VERSIONS = {
    "denoise": "1", "masks": "3", "motion": "3", "field": "1", "resample": "2", "spaces": "2", "noise": "1",
    "statistics": "1", "coupling": "2", "quality": "3",
}  # fmt: skip


def about_series(
    run: Run,
    motion: Motion,
    choice: Choice,
    distortion: Distortion | None,
    thermal: Thermal | None,
    dummies: int,
    out: Derivatives,
) -> dict[str, Any]:
    """What the sidecars of a corrected series say, in whatever space it is."""
    return {
        "Sources": [out.source(run.bold)],
        **{key: run.sidecar[key] for key in ("TaskName", "EchoTime") if key in run.sidecar},
        "Description": "Corrected for motion"
        + (" and distortion" if distortion is not None else "")
        + " in one interpolation (cubic B-spline); not smoothed"
        + ("" if thermal is None else "; thermal noise taken out before by MP-PCA"),
        "SkullStripped": False,
        "HeadMotionCorrected": motion.head is not None,
        "CordMotionCorrected": motion.cord is not None,
        **_corrected_with(run, choice, distortion, out),
        "NonSteadyStateVolumes": dummies,
        "ThermalDenoising": "none" if thermal is None else thermal.method,
    }


def write_run(
    result: RunResult,
    out: Derivatives,
    settings: Settings,
    noise_sd: float,
    space_files: tuple[Path, ...],
    seed_files: tuple[Path, ...],
) -> tuple[Step, ...]:
    """Write a run's results; returns the steps that made them."""
    run, grid, motion = result.run, result.grid, result.motion
    basis: dict[str, Any] = {"Sources": [out.source(run.bold)]}
    corrected_with = _corrected_with(run, result.choice, result.distortion, out)
    masks_written, motion_written, quality_written = [], [], []

    def image(name: str, data: NDArray, where: list[Path], about: dict[str, Any], **entities: str) -> Path:
        path = out.path(run, name, **entities)
        out.write_image(path, data, grid.affine, {**basis, **about})
        where.append(path)
        return path

    for region, mask in result.regions.items():
        entities = {"desc": "brain"} if region == "brain" else {"label": "SC"}
        about: dict[str, Any] = {"Type": "Brain" if region == "brain" else "ROI"}
        if region in result.given:
            about["Description"] = f"Given by the user: {result.given[region].name}"
        elif region == "cord":
            confidence = [round(float(c), 3) for c in result.segmentation.confidence]
            about |= {"Description": cord_method(settings), "SliceAxis": result.segmentation.slice_axis, "Confidence": confidence}
        image("mask", mask, masks_written, {**about, **corrected_with}, **entities)
    image(
        "boldref",
        motion.reference,
        motion_written,
        {
            "Description": "Mean of the volumes aligned to each other, distorted as acquired; motion is measured to it",
            "DistortionCorrected": False,
        },
        desc="hmc",
    )
    corrected = image(
        "boldref",
        result.mean,
        motion_written,
        {
            "Description": "Temporal mean of the corrected series: grid and space of masks and preprocessed BOLD",
            **corrected_with,
        },
        desc="coreg",
    )
    if motion.head is not None:
        _write_head(out, run, motion.head, motion_written)
    if motion.cord is not None:
        path = out.path(run, "timeseries", ".tsv", desc="cordmotion")
        out.write_tsv(path, *cord_table(motion.cord))
        motion_written.append(path)
    confounds = out.path(run, "timeseries", ".tsv", desc="confounds")
    columns, about = confounds_table(
        motion.head, motion.cord, result.displacement, result.cord_displacement, result.dvars, result.dummies, result.noise,
        settings.high_pass,
    )  # fmt: skip
    out.write_tsv(confounds, columns, about)
    quality_written.append(confounds)
    tsnr_is = {"Description": "Temporal mean over temporal SD (ddof 1), not detrended", "Units": "arbitrary"}
    distorted = {**tsnr_is, "DistortionCorrected": False}
    image("boldmap", result.tsnr_raw, quality_written, distorted, desc="raw", stat="tsnr")
    image("boldmap", result.tsnr, quality_written, {**tsnr_is, **corrected_with}, desc="preproc", stat="tsnr")
    bold = out.path(run, "bold", desc="preproc")
    sidecar = about_series(run, motion, result.choice, result.distortion, result.thermal, result.dummies, out)
    sidecar["SpatialReference"] = out.uri(corrected)
    if run.slice_times_s is not None:  # in stored order, whatever the order of the sidecar
        sidecar |= {"SliceTiming": list(run.slice_times_s), "SliceEncodingDirection": "ijk"[run.slice_axis]}
    out.write_bold(bold, result.series, grid.affine, run.tr_s, sidecar, noise_sd=noise_sd)
    noise_written: list[Path] = []
    physio: list[Path] = []
    if result.noise is not None:
        noise_written += write_noise(out, run, result.noise, grid, settings, corrected_with)
        physio = result.noise.model.physiology.files
        if settings.clean:
            noise_written += write_clean(out, run, result.noise.model, result.series, grid, sidecar, noise_sd)
        peaks = given_peaks_file(run, settings)
        physio += [] if peaks is None else [peaks]
    statistics: tuple[Path, ...] = ()
    if result.task is not None:
        statistics = write_statistics(out, run, result.task, grid, basis_of(run, result.choice, result.distortion, out))
    coupled = () if result.coupling is None else write_coupling(out, run, result.coupling)
    coupled += seed_files
    parameters = settings.parameters()
    source = result.choice.source
    fields = () if source is None else source.fieldmap.images
    phase = () if result.thermal is None or result.thermal.phase is None else (result.thermal.phase,)
    files = (run.bold, *phase, *result.given.values(), *fields)
    denoised = ()
    if result.thermal is not None:
        written = write_thermal(out, run, result.thermal, grid)
        denoised = (Step("denoise", VERSIONS["denoise"], (run.bold, *phase), parameters, written),)
    spaces = ()
    if result.placement is not None:
        anatomy = (result.placement.anatomy.source, *result.placement.anatomy.given.values())
        spaces = (Step("spaces", VERSIONS["spaces"], (*files, *anatomy, *motion_written), parameters, space_files),)
    events = () if run.events is None else (run.events,)
    modelled = (*files, bold, *physio, *events, *(() if settings.model is None else (settings.model,)))
    return (
        *denoised,
        Step("masks", VERSIONS["masks"], files, parameters, tuple(masks_written)),
        Step("motion", VERSIONS["motion"], (*files, *masks_written), parameters, tuple(motion_written)),
        Step("resample", VERSIONS["resample"], (*files, *motion_written), parameters, (bold,)),
        *spaces,
        Step("noise", VERSIONS["noise"], (*files, bold, *physio), parameters, tuple(noise_written)),
        *((Step("statistics", VERSIONS["statistics"], modelled, parameters, statistics),) if statistics else ()),
        *((Step("coupling", VERSIONS["coupling"], modelled, parameters, coupled),) if coupled else ()),
        Step("quality", VERSIONS["quality"], (*files, bold), parameters, tuple(quality_written)),
    )


def basis_of(run: Run, choice: Choice, distortion: Distortion | None, out: Derivatives) -> dict[str, Any]:
    """What every sidecar of a map of the corrected series begins with."""
    return {"Sources": [out.source(run.bold)], **_corrected_with(run, choice, distortion, out)}


def _corrected_with(run: Run, choice: Choice, distortion: Distortion | None, out: Derivatives) -> dict[str, Any]:
    """What a sidecar says of the correction of distortion."""
    if distortion is None or choice.source is None:
        return {"DistortionCorrected": False}
    return {
        "DistortionCorrected": True,
        "JacobianModulated": distortion.shift.factor is not None,
        "Fieldmap": out.uri(field_path(out, run.participant, choice.source)),
    }


def field_path(out: Derivatives, participant: str, source: Source, desc: str = "preproc") -> Path:
    """Where a field map, or what belongs to it, is written."""
    session = source.fieldmap.session
    prefix = f"{participant}_{session}" if session else participant
    return out.path(prefix, "fieldmap", datatype="fmap", fmapid=source.identifier, desc=desc)


def write_source(out: Derivatives, participant: str, source: Source, settings: Settings) -> Step:
    """Write a field map of a participant: the field in Hz and the image that goes with it."""
    about: dict[str, Any] = {
        "Sources": [out.source(path) for path in source.fieldmap.images],
        "B0FieldIdentifier": source.fieldmap.b0_identifiers[0] if source.fieldmap.b0_identifiers else source.identifier,
    }
    field_file = field_path(out, participant, source)
    method = "From the phase of gradient echoes, unwrapped, smoothed and continued beyond the signal"
    if source.pair is not None:
        method = "From images of different phase encoding: difference of the unwarped, Jacobian-modulated images (Andersson 2003)"
    elif source.fieldmap.kind == "fieldmap":
        method = "As the dataset holds it, in Hz, smoothed and continued beyond the signal"
    out.write_image(
        field_file,
        source.field_hz,
        source.grid.affine,
        {
            **about,
            "Units": "Hz",
            "Description": method,
            "Convention": "Signal truly at a voxel appears field x TotalReadoutTime voxels toward the higher index for "
            "PhaseEncodingDirection i, j, k, toward the lower for i-, j-, k-",
            **({} if source.pair is None else {"SmallestJacobian": round(source.pair.smallest_jacobian, 4)}),
        },
    )
    image_file = field_path(out, participant, source, "epi" if source.pair is not None else "magnitude")
    said = "Mean of the unwarped images" if source.pair is not None else "Magnitude that the phase goes with"
    out.write_image(image_file, source.magnitude, source.grid.affine, {**about, "Description": said})
    written = [field_file, image_file]
    if source.pair is not None:  # what users of SDCFlows look for beside it
        written.append(field_path(out, participant, source, "magnitude"))
        out.write_image(written[-1], source.magnitude, source.grid.affine, {**about, "Description": said})
    return Step("field", VERSIONS["field"], source.fieldmap.images, settings.parameters(), tuple(written))


def _write_head(out: Derivatives, run: Run, head: HeadMotion, written: list[Path]) -> None:
    table = out.path(run, "timeseries", ".tsv", desc="headmotion")
    out.write_tsv(table, *head_table(head))
    xfm = out.path(run, "xfm", ".txt", from_="orig", to="boldref", mode="image", desc="hmc")
    out.write_text(xfm, itk_series(head.poses, head.centre))
    written += [table, xfm]
