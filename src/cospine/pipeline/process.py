"""One run, from the stored series to the corrected one."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.canal import find_canal
from cospine.anatomy.segmentation import CordSegmentation, given_segmentation, no_cord, segment_cord
from cospine.bids import Derivatives, Run, load_bold, load_events
from cospine.errors import CoSpineError
from cospine.pipeline.anatomy_files import write_placement, write_space
from cospine.pipeline.anatomy_stage import AnatomySources
from cospine.pipeline.coupling_stage import couple
from cospine.pipeline.field_stage import Distortion, FieldSources, as_distorted, correct
from cospine.pipeline.given import given_files, load_given
from cospine.pipeline.leakage_stage import find_leaking
from cospine.pipeline.motion_stage import Given, Motion, count_dummies, find_masks, follow_motion
from cospine.pipeline.noise_stage import Noise, compared_with_task, explained, mean_signals, model_noise, share_of_simultaneous
from cospine.pipeline.physio_stage import PhysioSources
from cospine.pipeline.run_files import about_series, basis_of, write_run
from cospine.pipeline.run_result import RunResult
from cospine.pipeline.sct import segment_with_sct
from cospine.pipeline.seed_stage import SeedMaps, seed_maps
from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import Placement, Space, bring_to_spaces, place
from cospine.pipeline.task_files import write_seed
from cospine.pipeline.task_stage import first_level
from cospine.pipeline.thermal_stage import without_thermal_noise
from cospine.quality import metrics
from cospine.quality.blur import interpolation_gain
from cospine.space.grid import Grid
from cospine.space.resample import Shift, resample_series, spread_volumes

logger = logging.getLogger(__name__)

_MASK_VOLUMES = 30


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
        about = about_series(run, motion, choice, distortion, thermal, dummies, derivatives)
        placement, space_files = _to_spaces(
            run, placement, derivatives, settings, grid, series, motion, distortion, dummies, noise_sd, about
        )
    events = () if "events" in settings.ignore else load_events(run)
    noise, statistics, no_task = None, None, "level minimal leaves it out"
    coupled, no_coupling = None, no_task
    seeds: tuple[SeedMaps, ...] = ()
    seed_files: list[Path] = []
    if settings.level == "full":
        said("noise")
        physiology = recordings.of(run)
        model = model_noise(run, grid, motion, physiology, settings, corrected, mean, sd, brain, cord_mask, dummies)
        # after denoising nobody knows how many degrees of freedom are left
        tests = explained(run, model, corrected, brain, cord_mask, grid) if thermal is None else None
        task = compared_with_task(run, model, events)
        shared = share_of_simultaneous(run, model, series)  # and from here on the series is what the model leaves of it
        if thermal is None:
            said("statistics")
            try:
                statistics, no_task = first_level(run, grid, model, settings, corrected, brain, cord_mask, placement)
            except CoSpineError as error:  # events that fit no model are no reason to lose the run
                no_task = str(error)
                logger.warning("%s: no statistics: %s", run.label, error)
            said("coupling")
            shift = None if distortion is None else distortion.shift
            leaking = None
            if placement is not None and slice_times is not None:  # without them there is no coupling to free of it
                leaking = find_leaking(run, shared, series, motion, shift, model, statistics)
            try:
                coupled, no_coupling = couple(
                    run, grid, model, statistics, corrected, mean, brain, cord_mask, placement, slice_times, leaking
                )
            except CoSpineError as error:
                no_coupling = str(error)
                logger.warning("%s: no coupling: %s", run.label, error)
            if coupled is not None and settings.seed_regions:
                assert placement is not None  # else there is no coupling
                assert slice_times is not None
                said("seeds")
                basis = basis_of(run, choice, distortion, derivatives)
                seeds, notes = seed_maps(
                    run, grid, model, statistics, coupled, settings, corrected, brain, cord_mask, placement, slice_times, leaking,
                    lambda seed: seed_files.extend(write_seed(derivatives, run, seed, statistics, grid, basis)),
                )  # fmt: skip
                coupled = replace(coupled, notes=(*coupled.notes, *notes))
        else:
            no_task = no_coupling = "thermal denoising leaves an unknown number of degrees of freedom"
        noise = Noise(model, mean_signals(corrected, brain, model.tissue), tests, shared, task)
        if settings.seed_regions and coupled is None:
            no_coupling += f", so no maps of the seeds {', '.join(settings.seed_regions)}"
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
        task=statistics,
        no_task=no_task,
        coupling=coupled,
        no_coupling=no_coupling,
        seeds=seeds,
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
    steps = write_run(result, derivatives, settings, noise_sd, space_files, tuple(seed_files))
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
