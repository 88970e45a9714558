"""The field of a run: which field map, estimated once for all runs that share it, brought to the run's reference."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cospine.anatomy.brain_mask import find_brain
from cospine.bids import FieldmapSet, Participant, Run, image_header, load_image, readout_s
from cospine.errors import CoSpineError
from cospine.field.alignment import AlignedField, align_field, distortion
from cospine.field.checks import PEPOLAR, Check, check_set, choose
from cospine.field.encoding import Encoding
from cospine.field.pepolar import PairField, estimate_field
from cospine.field.phasediff import (
    PhaseField,
    field_from_map,
    field_from_phase_difference,
    field_from_two_phases,
    phase_to_radians,
)
from cospine.motion.handover import head_share
from cospine.pipeline.motion_stage import Motion
from cospine.pipeline.settings import Settings
from cospine.space.grid import Grid
from cospine.space.resample import Shift, resample_volume

logger = logging.getLogger(__name__)

_LEAST_COVERED, _WHOLE = 0.5, 0.98  # share of brain and cord inside a field map: less is refused, less is said
_MOST_VOLUMES = 6  # that are read of an image of a pair
_UNSTEADY = 0.03  # a volume brighter or darker than the last by so much is not in steady state
_TRUNK_MM = 130.0  # below the brain the trunk does not follow the head: about from the foramen magnum to T1


@dataclass(frozen=True)
class Source:
    """A field map that has been made into a field.

    Parameters
    ----------
    fieldmap : FieldmapSet
        Its images.
    grid : Grid
        Of the field.
    field_hz, magnitude : ndarray (x, y, z)
        Undistorted, at one pose.
    pair, phase : PairField, PhaseField or None
        How it was come by.
    directions : tuple of str
        Phase encoding of the two images that a pair's field is from.
    """

    fieldmap: FieldmapSet
    grid: Grid
    field_hz: NDArray[np.float32] = field(repr=False)
    magnitude: NDArray[np.float32] = field(repr=False)
    pair: PairField | None = None
    phase: PhaseField | None = None
    directions: tuple[str, str] = ("", "")

    @property
    def identifier(self) -> str:
        """As in file names."""
        return self.fieldmap.identifier

    @property
    def kind(self) -> str:
        """``pepolar`` or ``phasediff`` (whatever the phase came from)."""
        return PEPOLAR if self.fieldmap.kind == PEPOLAR else "phasediff"


@dataclass(frozen=True)
class Choice:
    """What corrects a run, or why nothing does.

    Parameters
    ----------
    source : Source or None
        None for no correction.
    reason : str
        Why this one, or why none.
    linked_by : str
        How it was linked to the run.
    checks : tuple of Check
        What was verified.
    other : Source or None
        An independent field of the same run, to compare with.
    notes : tuple of str
        Field maps that could not be compared with, and why.
    asked_for : bool
        Whether the user asked for no correction.
    """

    source: Source | None
    reason: str
    linked_by: str = ""
    checks: tuple[Check, ...] = ()
    other: Source | None = None
    notes: tuple[str, ...] = ()
    asked_for: bool = False


@dataclass(frozen=True)
class Distortion:
    """The field of a run on its grid, and what it does.

    Parameters
    ----------
    choice : Choice
        Where it is from.
    encoding : Encoding
        Of the run.
    aligned : AlignedField
        Field on the run's undistorted grid.
    shift : Shift
        As resampling undoes it.
    other_hz : ndarray (x, y, z) or None
        The independent field on the same grid.
    """

    choice: Choice
    encoding: Encoding
    aligned: AlignedField = field(repr=False)
    shift: Shift = field(repr=False)
    other_hz: NDArray[np.float32] | None = field(repr=False, default=None)

    def undistorted(self, image: NDArray, *, modulated: bool = False) -> NDArray[np.float32]:
        """An image on the run's distorted grid, in its undistorted space."""
        shift = self.shift if modulated else Shift(self.shift.voxels, self.shift.axis)
        return resample_volume(image, np.eye(4), image.shape, shift=shift)

    def undistorted_mask(self, mask: NDArray) -> NDArray[np.bool_]:
        """A mask likewise."""
        return self.undistorted(mask.astype(np.float32)) > 0.5


class FieldSources:
    """The fields of one participant, each estimated when a run first needs it.

    Parameters
    ----------
    participant : Participant
        Whose field maps.
    settings : Settings
        Parameters.
    make : callable
        Makes a field of a field map; the pipeline's keeps and writes it too.
    """

    def __init__(
        self, participant: Participant, settings: Settings, make: "Callable[[FieldmapSet], Source] | None" = None
    ) -> None:
        self._participant = participant
        self._settings = settings
        self._make = make or estimate_source
        self._made: dict[str, Source | CoSpineError] = {}

    def choice_for(self, run: Run, said: Callable[[str], None] = lambda _: None) -> Choice:
        """The field map of a run.

        Raises
        ------
        CoSpineError
            When the kind that was asked for is not there or cannot be used.
        """
        wanted = self._settings.field
        if wanted == "none" or (wanted == "auto" and self._settings.ignores("fieldmaps")):
            return Choice(None, "distortion correction was switched off", asked_for=True)
        linked = list(self._participant.fieldmaps_of(run))
        missing = [
            text
            for text, value in (("PhaseEncodingDirection", run.phase_encoding), ("TotalReadoutTime", run.total_readout_s))
            if value is None
        ]
        if missing:
            reason = f"the run's sidecar does not state {' and '.join(missing)}"
            if wanted != "auto":
                raise CoSpineError(reason, str(run.bold), "add it, or leave --field at auto")
            return Choice(None, reason)
        said("field")
        notes: list[str] = []
        while True:
            index, reason = choose([(one.kind, one.sidecars) for one, _ in linked], run.sidecar, wanted)  # type: ignore[arg-type]
            if index is None:
                if wanted != "auto":
                    raise CoSpineError(
                        "; ".join([reason, *notes]), f"--field {wanted}, {run.prefix}", "link one, or leave --field at auto"
                    )
                return Choice(None, "; ".join(notes) or reason, notes=())
            chosen, how = linked.pop(index)
            made = self._source(chosen)
            if isinstance(made, Source):
                break
            notes.append(f"field map {chosen.identifier} could not be used: {made}")
            logger.warning("%s: %s", run.label, notes[-1])
        if notes:
            reason = f"{'; '.join(notes)}; so this one"
        headers = [image_header(path) for path in chosen.images]
        checks = check_set(
            chosen.kind, chosen.sidecars, [one.affine for one in headers], [one.shape for one in headers], run.sidecar, run.affine
        )
        for check in checks:
            if check.passed is False:
                logger.warning("%s: field map %s: %s: %s", run.label, chosen.identifier, check.name, check.text)
        other, compared = None, list[str]()
        for rest, _ in linked:
            if (rest.kind == PEPOLAR) != (chosen.kind == PEPOLAR):
                found = self._source(rest)
                if isinstance(found, Source):
                    other = found
                    break
                compared.append(f"Field map {rest.identifier}, to compare with, could not be used: {found}")
        return Choice(made, reason, how, checks, other, tuple(compared))

    def _source(self, fieldmap: FieldmapSet) -> Source | CoSpineError:
        if fieldmap.identifier not in self._made:
            try:
                self._made[fieldmap.identifier] = self._make(fieldmap)
            except CoSpineError as error:
                self._made[fieldmap.identifier] = error
        return self._made[fieldmap.identifier]


def correct(run: Run, choice: Choice, motion: Motion, grid: Grid, *, jacobian: bool) -> Distortion | None:
    """Bring the field of a run to its reference; None where there is none."""
    if choice.source is None:
        return None
    encoding = Encoding.parse(run.phase_encoding, run.total_readout_s, str(run.bold))
    source = choice.source
    covered = coverage(source, motion, grid)
    if covered < _LEAST_COVERED:
        raise CoSpineError(
            f"the field map holds {covered:.0%} of the run's brain and cord",
            f"field map {source.identifier} of {run.prefix}",
            "check its link and its header, choose another with --field, or leave field maps out with --field none",
        )
    if covered < _WHOLE:
        text = f"it holds {covered:.0%} of the run's brain and cord; beyond its edge the last value goes on"
        logger.warning("%s: field map %s: coverage: %s", run.label, source.identifier, text)
        choice = replace(choice, checks=(*choice.checks, Check("coverage", False, text)))
    aligned = _align(source, motion, grid, encoding)
    other = None
    if choice.other is not None and coverage(choice.other, motion, grid) > _LEAST_COVERED:
        other = _align(choice.other, motion, grid, encoding).field_hz
    return Distortion(choice, encoding, aligned, distortion(aligned.field_hz, encoding, jacobian=jacobian), other)


def coverage(source: Source, motion: Motion, grid: Grid) -> float:
    """Share of the run's brain and cord that lies inside a field map, by scanner space, to half a voxel of its outermost ones."""
    at = source.grid.to_voxel(grid.to_ras(np.argwhere(motion.masks.brain | motion.masks.cord.mask)[::20]))
    inside = np.all((at > -1) & (at < np.array(source.grid.shape)), axis=1)
    return float(inside.mean()) if len(inside) else 0.0


def as_distorted(mask: NDArray[np.bool_], choice: Choice, run: Run, grid: Grid) -> NDArray[np.bool_]:
    """Where the distorted EPI shows a mask that was drawn on the corrected one, the field taken where the scanner put it.

    Good to the motion between field map and run, which is not known before the run's motion is; without a field, the mask itself.
    """
    if choice.source is None:
        return mask
    encoding = Encoding.parse(run.phase_encoding, run.total_readout_s, str(run.bold))
    onto = choice.source.grid.inverse @ grid.affine
    index = np.indices(grid.shape, dtype=np.float32).reshape(3, -1)
    along = index[encoding.axis].copy()
    true = index.copy()
    for _ in range(5):  # where signal that appears here truly is: v = u - displacement(v)
        at = onto[:3, :3] @ true + onto[:3, 3:]
        field_hz = ndimage.map_coordinates(choice.source.field_hz, at, order=1, mode="nearest")
        true[encoding.axis] = along - encoding.displacement(field_hz)
    shown = ndimage.map_coordinates(mask.astype(np.float32), true, order=1, mode="constant")
    if not (shown > 0.5).any():
        raise CoSpineError(
            "the given mask lies outside of what the distorted EPI shows",
            run.prefix,
            "draw it on desc-coreg_boldref, or leave it out",
        )
    return np.asfortranarray((shown > 0.5).reshape(grid.shape))


def _align(source: Source, motion: Motion, grid: Grid, encoding: Encoding) -> AlignedField:
    brain = motion.masks.brain
    if not brain.any():  # not asked for, or not there: where it is seen, it still says how the head lies
        brain = find_brain(motion.reference, grid).mask
    cord = motion.masks.cord
    follows = neck_follows(grid, brain)
    return align_field(
        source.field_hz,
        source.magnitude,
        source.grid,
        motion.reference,
        grid,
        encoding,
        brain,
        cord.weight if cord.found else None,
        follows,
    )


def neck_follows(grid: Grid, brain: NDArray) -> NDArray[np.float64] | None:
    """How much of the head's pose each slice takes: all in the brain, none in the trunk; None where slices are not stacked so."""
    if grid.axis_of("S")[0] != 2:
        return None
    return head_share(grid, brain, True, above_mm=0.0, below_mm=_TRUNK_MM)


# --- sources --------------------------------------------------------------------------------------------------------


def estimate_source(fieldmap: FieldmapSet) -> Source:
    """Load a field map's images and make a field of them.

    Raises
    ------
    CoSpineError
        When no field can follow from them.
    """
    try:
        return _from_pair(fieldmap) if fieldmap.kind == PEPOLAR else _from_phase(fieldmap)
    except CoSpineError as error:
        names = ", ".join(path.name for path in fieldmap.images)
        raise CoSpineError(error.what, f"{error.where} of {names}" if error.where else names, error.remedy) from error


def _from_pair(fieldmap: FieldmapSet) -> Source:
    images: list[NDArray] = []
    encodings: list[Encoding] = []
    grids: list[Grid] = []
    names: list[str] = []
    wrong: list[str] = []
    for path, sidecar in zip(fieldmap.images, fieldmap.sidecars, strict=True):
        try:
            direction = sidecar.get("PhaseEncodingDirection")
            encoding = Encoding.parse(direction, readout_s(sidecar, image_header(path).shape), path.name)
        except CoSpineError as error:
            wrong.append(str(error))
            continue
        data, affine = load_image(path, _MOST_VOLUMES)
        for volume in _steady(data):
            images.append(volume)
            encodings.append(encoding)
            grids.append(Grid(volume.shape, affine))
            names.append(path.name)
    if wrong:
        raise CoSpineError("; ".join(wrong), "sidecars", "mend them")
    first = images[0]
    found = find_brain(first, grids[0])
    follows, pivot = None, None
    if found.found:
        weights = neck_follows(grids[0], found.mask)
        follows = None if weights is None else np.broadcast_to(weights.astype(np.float32), first.shape)
        pivot = _below(found.mask, grids[0])
    pair = estimate_field(images, encodings, grids[0], grids=grids, share=follows, pivot_mm=pivot, names=names)
    one, two = (encodings[n].direction for n in pair.used)
    return Source(fieldmap, grids[0], pair.field_hz, pair.reference, pair=pair, directions=(one, two))


def _steady(data: NDArray) -> list[NDArray]:
    """The volumes of an image that are in steady state: as bright as the last one."""
    if data.ndim == 3:
        return [data]
    volumes = [np.asfortranarray(data[..., t]) for t in range(data.shape[3])]
    levels = np.array([volume.mean(dtype=np.float64) for volume in volumes])
    return [
        volume for volume, level in zip(volumes, levels, strict=True) if abs(level - levels[-1]) <= _UNSTEADY * abs(levels[-1])
    ]


def _below(brain: NDArray, grid: Grid) -> NDArray[np.float64]:
    """Where the head turns on the neck: the middle of the brain's lowest slice, RAS mm."""
    points = grid.to_ras(np.argwhere(brain))
    low = points[:, 2] <= np.percentile(points[:, 2], 2)
    return points[low].mean(axis=0)


def _from_phase(fieldmap: FieldmapSet) -> Source:
    loaded = [load_image(path, 1) for path in fieldmap.images]
    arrays = [data[..., 0] if data.ndim == 4 else data for data, _ in loaded]
    grid = Grid(arrays[0].shape, loaded[0][1])
    names = [path.name.partition(".")[0].rpartition("_")[2] for path in fieldmap.images]
    magnitudes = [data for data, name in zip(arrays, names, strict=True) if name.startswith("magnitude")]
    magnitude = magnitudes[0] if magnitudes else None
    units = [_units(sidecar) for sidecar in fieldmap.sidecars]
    if fieldmap.kind == "fieldmap":
        if units[0] is None:
            raise CoSpineError("Units is not stated", fieldmap.images[0].name, "put Hz, rad/s or T into its sidecar")
        phase = field_from_map(arrays[0], units[0], magnitude, grid)
    else:
        if magnitude is None:
            raise CoSpineError("there is no magnitude image", fieldmap.images[0].name, "add _magnitude1 beside it")
        times = fieldmap.echo_times_s or (np.nan, np.nan)
        if fieldmap.kind == "phases":
            both = [phase_to_radians(data, unit) for data, unit in zip(arrays[:2], units[:2], strict=True)]
            phase = field_from_two_phases(both[0], both[1], magnitude, times, grid)
        else:
            phase = field_from_phase_difference(phase_to_radians(arrays[0], units[0]), magnitude, times, grid)
    return Source(fieldmap, grid, phase.field_hz, phase.magnitude, phase=phase)


def _units(sidecar: Mapping[str, Any]) -> str | None:
    value = sidecar.get("Units")
    return value if isinstance(value, str) else None


# --- what the cord sees of breathing --------------------------------------------------------------------------------
