"""The anatomy of a participant: brain, cord and levels in one image, and the maps to MNI and PAM50; made once for all runs."""

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.brain_mask import BrainMask
from cospine.anatomy.brain_t1w import T1wBrain, find_brain_t1w
from cospine.anatomy.joint_space import JointSpace, join_pam50_mni
from cospine.anatomy.levels import Levels, find_levels, spinal_labels, vertebral_labels
from cospine.anatomy.localise import find_head
from cospine.anatomy.segmentation import CordSegmentation, given_segmentation, no_cord, segment_cord
from cospine.anatomy.to_mni import BrainWarp, normalise_brain
from cospine.anatomy.to_pam50 import CordWarp, normalise_cord
from cospine.bids import Participant, Run, load_image
from cospine.errors import CoSpineError
from cospine.pipeline.given import given_anatomy, load_discs
from cospine.pipeline.keeper import Done
from cospine.pipeline.sct import segment_with_sct
from cospine.pipeline.settings import Settings
from cospine.space.grid import Grid
from cospine.space.templates import CordTemplate, brain_template, cord_template

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Anatomy:
    """What is known of a person from one anatomical image.

    Parameters
    ----------
    source : Path
        The image.
    suffix : str
        ``T1w``, or ``T2w`` where a person has no other (then there is no map to MNI).
    session : str or None
        Of the image, as `ses-1`.
    grid : Grid
        Of the image; of all arrays here.
    image : ndarray (x, y, z), float32
        Its values, freed of bias where the brain was normalised.
    brain : BrainMask
        Empty, with a reason, where there is none or it was not asked for.
    cord : CordSegmentation
        Likewise.
    levels : Levels
        Discs by number; empty with a reason where they could not be named.
    vertebral, spinal : ndarray (x, y, z), uint8
        Vertebral level and spinal segment of every voxel of the cord (C1 = 1).
    to_mni, to_pam50 : BrainWarp, CordWarp or None
        Maps to the templates.
    joint : JointSpace or None
        Both in one world; None unless both are there.
    template : CordTemplate or None
        Which cord template was used; None where there is no cord.
    notes : tuple of str
        What could not be done, and why.
    given : mapping of str to Path
        What of it the user gave.
    seconds : mapping of str to float
        How long each step took.
    """

    source: Path
    suffix: str
    session: str | None
    grid: Grid
    image: NDArray[np.float32] = field(repr=False)
    brain: BrainMask
    cord: CordSegmentation
    levels: Levels
    vertebral: NDArray[np.uint8] = field(repr=False)
    spinal: NDArray[np.uint8] = field(repr=False)
    to_mni: BrainWarp | None
    to_pam50: CordWarp | None
    joint: JointSpace | None
    template: CordTemplate | None
    notes: tuple[str, ...] = ()
    given: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class AnatomySources:
    """The anatomy of one participant, made when a run first needs it.

    Parameters
    ----------
    participant : Participant
        Whose images.
    settings : Settings
        Parameters.
    make : callable
        Makes the anatomy of an image, or finds it made.
    """

    def __init__(self, participant: Participant, settings: Settings, make: Callable[[Path], Done[Anatomy]]) -> None:
        self._participant = participant
        self._settings = settings
        self._make = make
        self._made: dict[Path, Done[Anatomy] | str] = {}
        self.failures: dict[Path, str] = {}

    @property
    def made(self) -> tuple[Done[Anatomy], ...]:
        """All that were made so far."""
        return tuple(one for one in self._made.values() if isinstance(one, Done))

    def of(self, run: Run) -> tuple[Done[Anatomy] | None, str]:
        """The anatomy of a run's person, and why there is none."""
        if self._settings.level == "minimal":
            return None, "level minimal leaves it out"
        if self._settings.ignores("anatomy"):
            return None, "it was ignored, as asked for"
        path = image_of(run, self._participant)
        if path is None:
            return None, "there is no T1w or T2w image"
        if path not in self._made:
            try:
                self._made[path] = self._make(path)
            except CoSpineError as error:
                self._made[path] = str(error)
                logger.warning("%s: anatomy: %s", run.label, error)
            except Exception:
                self._made[path] = "its processing failed"
                self.failures[path] = traceback.format_exc()
                logger.exception("%s: anatomy", run.label)
        made = self._made[path]
        return (made, "") if isinstance(made, Done) else (None, made)


def image_of(run: Run, participant: Participant) -> Path | None:
    """The anatomical image of a run: T1w before T2w, of the run's session before another's, the first by name."""
    for images in (participant.t1w, participant.t2w):
        if images:
            return min(images, key=lambda path: (run.session is None or f"_{run.session}_" not in path.name, path.name))
    return None


def make_anatomy(path: Path, settings: Settings, said: Callable[[str], None], files: Mapping[str, Path]) -> Anatomy:
    """Find brain, cord and levels in an anatomical image and bring them to the templates.

    Parameters
    ----------
    path : Path
        T1w or T2w image.
    settings : Settings
        Parameters.
    said : callable
        Told of each step.
    files : mapping of str to Path
        What the user gave in place of our results, see `cospine.pipeline.given.anatomy_files`.

    Raises
    ------
    CoSpineError
        When the image cannot be read, or neither brain nor cord is in it.
    """
    seconds: dict[str, float] = {}

    def timed(step: str) -> None:
        said(step)
        now = time.perf_counter()
        if open_steps:
            name, began = open_steps.pop()
            seconds[name] = now - began
        open_steps.append((step, now))

    open_steps: list[tuple[str, float]] = []
    wanted = settings.regions or ("brain", "cord")
    suffix = path.name.partition(".")[0].rpartition("_")[2]
    session = next((part for part in path.name.split("_") if part.startswith("ses-")), None)
    timed("anatomy: read")
    data, affine = load_image(path)
    image = data if data.ndim == 3 else data.mean(axis=3)
    grid = Grid(image.shape, affine)
    given = given_anatomy(files)
    notes: list[str] = []

    brain, to_mni = BrainMask(np.zeros(grid.shape, dtype=bool), "not asked for"), None
    if "brain" in wanted and suffix != "T1w":
        brain = BrainMask(brain.mask, f"only a {suffix} image is there; the map to MNI needs a T1w")
    elif "brain" in wanted:
        timed("anatomy: brain")
        brain = find_brain_t1w(image, grid) if given.brain is None else BrainMask(given.brain)
    if brain.found:
        timed("anatomy: to MNI")
        start = brain.to_t1w if isinstance(brain, T1wBrain) else None
        to_mni = normalise_brain(image, grid, brain.mask, brain_template(2), start=start)
        image = to_mni.corrected
    elif "brain" in wanted:
        notes.append(f"Nothing was brought to MNI: {brain.reason}.")

    cord = no_cord(grid, "not asked for")
    if "cord" in wanted:
        timed("anatomy: cord")
        if given.cord is not None:
            cord = given_segmentation(given.cord, grid)
        elif settings.cord_seg == "sct":
            cord = given_segmentation(segment_with_sct(image, grid), grid)
        else:
            cord = segment_cord(image, grid, brain.mask if brain.found else None)
    if not brain.found and not cord.found:
        raise CoSpineError(
            f"neither brain ({brain.reason}) nor cord ({cord.reason}) was found", str(path), "check the image and its orientation"
        )

    levels, template, to_pam50, joint = Levels({}, {}, "", cord.reason), None, None, None
    if cord.found:
        timed("anatomy: levels")
        template = cord_template(settings.template_dir)
        levels = find_levels(
            image,
            grid,
            cord,
            template,
            None if to_mni is None else to_mni.forward,
            # without the brain's alignment the foramen magnum says where the count begins
            foramen_mm=find_head(image, grid).foramen_mm if to_mni is None and given.discs is None else None,
            given=None if given.discs is None else load_discs(given.discs),
        )
        if levels.reason:
            notes.append(f"Levels: {levels.reason}.")
        timed("anatomy: to PAM50")
        try:
            to_pam50 = normalise_cord(cord, grid, levels, template)
        except CoSpineError as error:
            notes.append(f"Nothing was brought to PAM50: {error.what}.")
        if to_mni is not None and to_pam50 is not None:
            joint = join_pam50_mni(to_mni.forward, to_pam50, template)
    elif "cord" in wanted:
        notes.append(f"Nothing was brought to PAM50: {cord.reason}.")
    named = cord.found and levels.found
    none = np.zeros(grid.shape, dtype=np.uint8)
    vertebral = vertebral_labels(levels, cord.centre_line, cord.mask, grid) if named else none
    spinal = spinal_labels(levels, cord.centre_line, cord.mask, grid, template) if named and template is not None else none
    timed("anatomy: done")
    for note in notes:
        logger.warning("%s: %s", path.name, note)
    return Anatomy(
        source=path,
        suffix=suffix,
        session=session,
        grid=grid,
        image=image,
        brain=brain,
        cord=cord,
        levels=levels,
        vertebral=vertebral,
        spinal=spinal,
        to_mni=to_mni,
        to_pam50=to_pam50,
        joint=joint,
        template=template,
        notes=tuple(notes),
        given=given.files,
        seconds=seconds,
    )
