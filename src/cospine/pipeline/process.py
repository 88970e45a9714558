"""One run, from the stored series to the corrected one."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.canal import find_canal
from cospine.anatomy.segmentation import CordSegmentation, given_segmentation, no_cord, segment_cord
from cospine.bids import Derivatives, Run, load_bold, load_events
from cospine.errors import CoSpineError
from cospine.motion.brain import HeadMotion
from cospine.pipeline.anatomy_files import cord_method, write_placement, write_space
from cospine.pipeline.anatomy_stage import AnatomySources
from cospine.pipeline.field_stage import Choice, Distortion, FieldSources, Source, as_distorted, correct
from cospine.pipeline.given import given_files, given_peaks_file, load_given
from cospine.pipeline.motion_stage import Given, Motion, count_dummies, find_masks, follow_motion
from cospine.pipeline.noise_files import write_clean, write_noise
from cospine.pipeline.noise_stage import Noise, compared_with_task, explained, mean_signals, model_noise, share_of_simultaneous
from cospine.pipeline.physio_stage import PhysioSources
from cospine.pipeline.sct import segment_with_sct
from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import Placement, Space, bring_to_spaces, place
from cospine.pipeline.step import Step
from cospine.pipeline.tables import confounds_table, cord_table, head_table
from cospine.pipeline.thermal_stage import Thermal, without_thermal_noise, write_thermal
from cospine.quality import metrics
from cospine.quality.blur import interpolation_gain
from cospine.space.grid import Grid
from cospine.space.io import itk_series
from cospine.space.resample import Shift, resample_series, spread_volumes

logger = logging.getLogger(__name__)

VERSIONS = {
    "denoise": "1", "masks": "3", "motion": "3", "field": "1", "resample": "2", "spaces": "1", "noise": "1", "quality": "3",
}  # fmt: skip
_MASK_VOLUMES = 30


@dataclass(frozen=True)
class RunResult:
    """What is known of a run when it has been processed; the report is drawn from it.

    `distortion` is None without a field, and `choice` says why; `brain` and `cord` are the masks in the space of the corrected
    series, `segmentation` says more of the latter; `placement` is None without an anatomical image or when the run could not be
    aligned to it, and `unplaced` says why; `noise` is None at level minimal, `thermal` unless the series was denoised.
    `tsnr_before` and `sd_before` are those of the series that correction began with: the stored one, or the denoised.
    """

    run: Run
    grid: Grid
    motion: Motion
    choice: Choice
    distortion: Distortion | None
    brain: NDArray[np.bool_] = field(repr=False)
    cord: NDArray[np.bool_] = field(repr=False)
    segmentation: CordSegmentation
    placement: Placement | None
    unplaced: str
    dummies: int
    displacement: NDArray[np.float64] | None = field(repr=False)
    cord_displacement: NDArray[np.float64] | None = field(repr=False)
    dvars: tuple[NDArray[np.float64], NDArray[np.float64]] = field(repr=False)
    tsnr_raw: NDArray[np.float32] = field(repr=False)
    tsnr_before: NDArray[np.float32] = field(repr=False)
    tsnr: NDArray[np.float32] = field(repr=False)
    sd_before: NDArray[np.float32] = field(repr=False)
    sd: NDArray[np.float32] = field(repr=False)
    blur_gain: dict[str, float]
    noise: Noise | None
    thermal: Thermal | None
    mean: NDArray[np.float32] = field(repr=False)
    series: NDArray[np.float32] = field(repr=False)
    events: tuple[tuple[float, float, str], ...]
    slice_times_used: bool
    ignored: tuple[str, ...]
    given: dict[str, Path]
    steps: tuple[Step, ...] = ()

    @property
    def regions(self) -> dict[str, NDArray[np.bool_]]:
        """Masks of the regions that are there, in the space of the corrected series."""
        return {name: mask for name, mask in (("brain", self.brain), ("cord", self.cord)) if mask.any()}


def process_run(
    run: Run,
    derivatives: Derivatives,
    settings: Settings,
    sources: FieldSources,
    recordings: PhysioSources,
    anatomies: AnatomySources,
    said: Callable[[str], None],
) -> RunResult:
    """Correct a run for motion and distortion and write all that belongs to it but the report.

    Parameters
    ----------
    run : Run
        One without errors.
    derivatives : Derivatives
        Where to write.
    settings : Settings
        Parameters.
    sources : FieldSources
        The participant's field maps.
    recordings : PhysioSources
        The participant's recordings of pulse and breathing.
    anatomies : AnatomySources
        The participant's anatomical images.
    said : callable
        Called with the name of each step as it begins.

    Returns
    -------
    RunResult

    Raises
    ------
    CoSpineError
        When the run cannot be processed: with what, where and remedy.
    """
    choice = sources.choice_for(run, said)
    if choice.source is None:
        logger.warning("%s: NOT corrected for distortion: %s", run.label, choice.reason)
    said("read")
    series = load_bold(run)
    grid = Grid(series.shape[:3], run.affine)
    slice_times = None
    if run.slice_times_s is not None and run.slice_axis == 2 and "slicetiming" not in settings.ignore:
        slice_times = np.array(run.slice_times_s)
    dummies = count_dummies(series, settings.dummy_scans)

    tsnr_raw = metrics.tsnr(series[..., dummies:])
    thermal = None
    if settings.denoise == "mppca":
        said("denoise")
        series, thermal = without_thermal_noise(run, series, dummies)

    said("masks")
    files = given_files(run, settings)
    given = load_given(files)
    # a mask is given in the space of the corrected series, motion is followed in the distorted one
    shown = Given(
        **{
            name: None if mask is None else as_distorted(mask, choice, run, grid)
            for name, mask in (("brain", given.brain), ("cord", given.cord))
        }
    )
    some = spread_volumes(series.shape[3], _MASK_VOLUMES, dummies)
    rough = series[..., some].mean(axis=3, dtype=np.float32)
    masks = find_masks(rough, grid, settings.regions, shown, run.slice_axis)
    if not masks.brain.any() and not masks.cord.found:
        raise CoSpineError(
            f"neither brain ({masks.brain_reason}) nor cord ({masks.cord.reason}) was found",
            str(run.bold),
            "check the image and its orientation, or give a mask with --cord-mask or --overrides",
        )

    said("motion")
    motion = follow_motion(
        series,
        grid,
        run.tr_s,
        slice_times,
        masks,
        regions=settings.regions,
        given=shown,
        dummies=dummies,
        slice_axis=run.slice_axis,
    )

    distortion = None
    if choice.source is not None:
        said("field to run")
        distortion = correct(run, choice, motion, grid, jacobian="fmap-jacobian" not in settings.ignore)
    brain = motion.masks.brain
    if distortion is not None:
        choice = distortion.choice  # with what was checked on the way to the run
        brain = _in_place(brain, given.brain, distortion)

    said("resample")
    steady = series[..., dummies:]
    # what correction began with: it takes no credit for what denoising did
    tsnr_before = tsnr_raw if thermal is None else metrics.tsnr(steady)
    sd_before = metrics.temporal_sd(steady)
    noise_sd = thermal_noise(steady, motion.reference)
    corrected = resample_series(series, motion.matrices, shift=None if distortion is None else distortion.shift)
    del steady

    mean, sd = metrics.mean_image(corrected[..., dummies:]), metrics.temporal_sd(corrected[..., dummies:])
    cord_found = cord_of(mean, grid, brain, motion, distortion, given.cord, settings)
    cord_mask = cord_found.mask

    anatomy, unplaced = anatomies.of(run, said)
    placement, space_files = None, tuple[Path, ...]()
    if anatomy is not None:
        said("to anatomy")
        try:
            placement = place(mean, grid, brain, cord_found, anatomy)
        except CoSpineError as error:
            unplaced = str(error)
            logger.warning("%s: not aligned to %s: %s", run.label, anatomy.source.name, error)
    if placement is not None:
        said("spaces")
        about = _about_series(run, motion, choice, distortion, thermal, dummies, derivatives)
        placement, space_files = _to_spaces(
            run, placement, derivatives, settings, grid, series, motion, distortion, dummies, noise_sd, about
        )
    events = () if "events" in settings.ignore else load_events(run)
    noise = None
    if settings.level == "full":
        said("noise")
        physiology = recordings.of(run)
        model = model_noise(run, grid, motion, physiology, settings, corrected, mean, sd, brain, cord_mask, dummies)
        # after denoising nobody knows how many degrees of freedom are left
        tests = explained(run, model, corrected, brain, cord_mask, grid) if thermal is None else None
        task = compared_with_task(run, model, events)
        noise = Noise(model, mean_signals(corrected, brain, model.tissue), tests, share_of_simultaneous(run, model, series), task)
    del series

    said("quality")
    inside = brain | cord_mask
    head, cord = motion.head, motion.cord
    result = RunResult(
        run=run,
        grid=grid,
        motion=motion,
        choice=choice,
        distortion=distortion,
        brain=brain,
        cord=cord_mask,
        segmentation=cord_found,
        placement=placement,
        unplaced=unplaced,
        dummies=dummies,
        displacement=None if head is None else metrics.framewise_displacement(head.parameters),
        cord_displacement=None if cord is None else metrics.cord_framewise_displacement(cord.shift_mm),
        dvars=metrics.dvars(corrected, inside),
        tsnr_raw=tsnr_raw,
        tsnr_before=tsnr_before,
        tsnr=metrics.tsnr(corrected[..., dummies:]),
        blur_gain={
            name: blur_gain(motion.matrices, mask, None if distortion is None else distortion.shift)
            for name, mask in (("brain", brain), ("cord", cord_mask))
            if mask.any()
        },
        noise=noise,
        thermal=thermal,
        sd_before=sd_before,
        sd=sd,
        mean=mean,
        series=corrected,
        events=events,
        slice_times_used=slice_times is not None,
        ignored=settings.ignore,
        given=files,
    )

    said("write")
    steps = _write(result, derivatives, settings, noise_sd, space_files)
    return RunResult(**{**vars(result), "steps": steps})


def _to_spaces(
    run: Run,
    placement: Placement,
    out: Derivatives,
    settings: Settings,
    grid: Grid,
    series: NDArray,
    motion: Motion,
    distortion: Distortion | None,
    dummies: int,
    noise_sd: float,
    about: dict[str, Any],
) -> tuple[Placement, tuple[Path, ...]]:
    """Write a run's place in its person's anatomy, and its series in the spaces of templates."""
    files = write_placement(out, run, placement, grid.affine, {"Sources": about["Sources"]})

    def write(space: Space, volumes: Iterator[NDArray[np.float32]]) -> None:
        files.extend(write_space(out, run, placement.anatomy, space, volumes, space.bounds(series), noise_sd, about))

    shift = None if distortion is None else distortion.shift
    done = bring_to_spaces(run, placement, settings, grid, series, motion.matrices, shift, dummies, write)
    return done, tuple(files)


def cord_of(
    mean: NDArray,
    grid: Grid,
    brain: NDArray[np.bool_],
    motion: Motion,
    distortion: Distortion | None,
    given: NDArray[np.bool_] | None,
    settings: Settings,
) -> CordSegmentation:
    """The cord in the corrected mean: as it was given, else segmented there, where it is sharper and in its true place.

    Where that finds none, the one that motion was followed in stands, brought to the corrected space.
    """
    followed = motion.masks.cord
    if not followed.found:
        return no_cord(grid, followed.reason)
    if given is not None:
        return given_segmentation(given, grid)
    if settings.cord_seg == "sct":
        return given_segmentation(segment_with_sct(mean, grid) & ~brain, grid)
    canal = find_canal(mean, grid, brain)
    found = no_cord(grid, canal.reason) if canal.reason else segment_cord(mean, grid, brain, canal.points(grid))
    if found.found:
        return found
    logger.warning("no cord was found in the corrected mean (%s): the mask of the distorted one is used", found.reason)
    return given_segmentation(followed.mask if distortion is None else distortion.undistorted_mask(followed.mask), grid)


def _in_place(mask: NDArray[np.bool_], given: NDArray[np.bool_] | None, distortion: Distortion) -> NDArray[np.bool_]:
    """A mask of the distorted reference in the space of the corrected series: as it was given, else brought there."""
    if given is not None and mask.any():
        return given
    return distortion.undistorted_mask(mask)


def thermal_noise(series: NDArray, reference: NDArray) -> float:
    """SD of the quietest tissue from volume to volume: what rounding must stay below.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Stored series.
    reference : ndarray (x, y, z)
        Mean; the brighter half of what has signal is looked at.
    """
    bright = np.flatnonzero((reference > 0.3 * np.percentile(reference, 98)).ravel(order="F"))
    bright = bright[:: max(1, len(bright) // 5000)]
    voxels = series.reshape(-1, series.shape[3], order="F")[bright].astype(np.float64)
    # differences of neighbours in time leave drift and slow physiology out
    return float(np.percentile(np.diff(voxels, axis=1).std(axis=1) / np.sqrt(2), 5)) if len(bright) else 0.0


def blur_gain(matrices: NDArray, mask: NDArray, shift: Shift | None = None) -> float:
    """Factor by which interpolation alone raises tSNR in a mask, from the shifts the volumes had there.

    Parameters
    ----------
    matrices : ndarray (t, slices, 4, 4)
        Reference voxel to stored voxel.
    mask : ndarray (x, y, z), bool
        Not empty.
    shift : Shift, optional
        Distortion.
    """
    where = np.argwhere(mask)
    where = np.pad(where[:: max(1, len(where) // 500)], ((0, 0), (0, 1)), constant_values=1)
    moved = np.einsum("tnij,nj->tni", matrices[:, where[:, 2], :3], where) - where[:, :3]
    if shift is not None:
        moved[..., shift.axis] += shift.voxels[tuple(where[:, :3].T)]
    return interpolation_gain(moved)


def _about_series(
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


def _write(
    result: RunResult, out: Derivatives, settings: Settings, noise_sd: float, space_files: tuple[Path, ...]
) -> tuple[Step, ...]:
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
    sidecar = _about_series(run, motion, result.choice, result.distortion, result.thermal, result.dummies, out)
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
    return (
        *denoised,
        Step("masks", VERSIONS["masks"], files, parameters, tuple(masks_written)),
        Step("motion", VERSIONS["motion"], (*files, *masks_written), parameters, tuple(motion_written)),
        Step("resample", VERSIONS["resample"], (*files, *motion_written), parameters, (bold,)),
        *spaces,
        Step("noise", VERSIONS["noise"], (*files, bold, *physio), parameters, tuple(noise_written)),
        Step("quality", VERSIONS["quality"], (*files, bold), parameters, tuple(quality_written)),
    )


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
