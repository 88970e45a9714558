"""A dataset as the pipeline sees it: participants, their runs, and the field maps linked to these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cospine.bids.clock import clock_s, moment
from cospine.bids.findings import Finding, has_error
from cospine.bids.index import Index

FieldmapKind = Literal["pepolar", "phasediff", "phases", "fieldmap"]


@dataclass(frozen=True, eq=False)
class Run:
    """One BOLD series with all that belongs to it.

    Parameters
    ----------
    participant : str
        As `sub-01`.
    session : str or None
        As `ses-1`.
    entities : mapping of str to str
        Of the file name, in its order.
    bold : Path
        The image.
    sidecar : mapping
        Merged by the inheritance principle.
    shape : tuple of int
        (x, y, z, t) that the header claims; empty when it cannot be read.
    affine : ndarray
        (4, 4), voxel index to RAS mm.
    volumes : int
        Whole volumes that can be used; fewer than `shape[3]` when the file ends early.
    tr_s : float
        Repetition time, s; NaN when it is not known (the run then has an error and must not be processed).
    slice_times_s : tuple of float or None
        One a slice along `slice_axis` in the order of the stored file, s from volume start.
    slice_axis : int
        Voxel axis along which slices are stacked (0, 1, 2).
    multiband : int
        Slices excited at the same time, from repeats in the slice times (else as the sidecar says, else 1).
    phase_encoding : str or None
        `i`, `i-`, `j`, `j-`, `k`, `k-`.
    total_readout_s : float or None
        TotalReadoutTime, s.
    phase : Path or None
        Phase images (`part-phase`) of the same volumes.
    events : Path or None
        Table of the task.
    physio : tuple of Path
        Recordings that carry its name.
    findings : tuple of Finding
        About this run.
    """

    participant: str
    session: str | None
    entities: Mapping[str, str]
    bold: Path
    sidecar: Mapping[str, Any]
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    volumes: int
    tr_s: float
    slice_times_s: tuple[float, ...] | None = None
    slice_axis: int = 2
    multiband: int = 1
    phase_encoding: str | None = None
    total_readout_s: float | None = None
    phase: Path | None = None
    events: Path | None = None
    physio: tuple[Path, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def prefix(self) -> str:
        """Beginning of the names of its files, as `sub-01_task-pain_run-1`."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())

    @property
    def label(self) -> str:
        """Name for people, as `sub-01, task pain, run 1`."""
        rest = [f"{key} {value}" for key, value in self.entities.items() if key != "sub"]
        return ", ".join([self.participant, *rest]).replace(", ses ", ", session ")

    @property
    def task(self) -> str:
        """Task label of the file name."""
        return self.entities.get("task", "")

    @property
    def acquisition_clock_s(self) -> float | None:
        """AcquisitionTime of the sidecar (the first volume's), s since midnight; None where it says none."""
        date = moment(self.sidecar.get("AcquisitionDateTime"))
        return clock_s(self.sidecar.get("AcquisitionTime") if date is None else date.time().isoformat())

    @property
    def runnable(self) -> bool:
        """Whether nothing forbids to process it."""
        return not has_error(self.findings)


@dataclass(frozen=True, eq=False)
class FieldmapSet:
    """Images from which one B0 field follows.

    Parameters
    ----------
    identifier : str
        Letters and digits, unique in its participant: the `fmapid` of derivatives.
    kind : {'pepolar', 'phasediff', 'phases', 'fieldmap'}
        Reversed phase encoding; phase difference; two phases; a field in Hz (or as its sidecar says).
    images : tuple of Path
        pepolar: the EPIs. Otherwise phase or field images first, then magnitudes.
    sidecars : tuple of mapping
        In the same order.
    session : str or None
        As `ses-1`.
    acquisition : str
        Label of `acq-`; empty for none.
    b0_identifiers : tuple of str
        Values of B0FieldIdentifier.
    intended : tuple of str
        Files named by IntendedFor, relative to the dataset's root.
    echo_times_s : tuple of float or None
        Of a phase difference or two phases, (earlier, later), s.
    """

    identifier: str
    kind: FieldmapKind
    images: tuple[Path, ...]
    sidecars: tuple[Mapping[str, Any], ...]
    session: str | None = None
    acquisition: str = ""
    b0_identifiers: tuple[str, ...] = ()
    intended: tuple[str, ...] = ()
    echo_times_s: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Participant:
    """One person.

    Parameters
    ----------
    label : str
        As `sub-01`.
    runs : tuple of Run
        Those selected, also those that cannot be processed.
    t1w, t2w : tuple of Path
        Anatomical images whose headers can be read.
    fieldmaps : tuple of FieldmapSet
        Usable ones.
    physio : tuple of Path
        All recordings of the person, whatever run they are named after.
    physio_sidecars : mapping of Path to mapping
        What their sidecars say, where one can be read.
    attributes : mapping of str to str
        Row of participants.tsv.
    findings : tuple of Finding
        About the person as a whole and about each run.
    links : mapping of str to tuple
        Run prefix to pairs of a field map's identifier and how it was linked.
    """

    label: str
    runs: tuple[Run, ...] = ()
    t1w: tuple[Path, ...] = ()
    t2w: tuple[Path, ...] = ()
    fieldmaps: tuple[FieldmapSet, ...] = ()
    physio: tuple[Path, ...] = ()
    physio_sidecars: Mapping[Path, Mapping[str, Any]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    links: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """Beginning of the names of files that belong to the person as a whole."""
        return self.label

    @property
    def runnable(self) -> tuple[Run, ...]:
        """Runs that can be processed."""
        return tuple(run for run in self.runs if run.runnable)

    def fieldmaps_of(self, run: Run) -> tuple[tuple[FieldmapSet, str], ...]:
        """Field maps linked to a run, best link first, each with how it was linked.

        Returns
        -------
        tuple of (FieldmapSet, str)
            How: `B0FieldSource`, `IntendedFor`, `acq- is the task` or `the only one`.
        """
        by_identifier = {one.identifier: one for one in self.fieldmaps}
        return tuple((by_identifier[name], how) for name, how in self.links.get(run.prefix, ()))


@dataclass(frozen=True, eq=False)
class Dataset:
    """What was selected of a BIDS dataset.

    Parameters
    ----------
    root : Path
        Its folder.
    name : str
        From dataset_description.json, else of the folder.
    participants : tuple of Participant
        Those selected.
    findings : tuple of Finding
        All of them: about the dataset, every participant and every run, errors first.
    index : Index or None
        Its files; None for a dataset put together by hand.
    """

    root: Path
    name: str
    participants: tuple[Participant, ...] = ()
    findings: tuple[Finding, ...] = ()
    index: Index | None = field(default=None, repr=False)

    @property
    def runnable(self) -> tuple[Run, ...]:
        """Runs that can be processed."""
        return tuple(run for participant in self.participants for run in participant.runnable)

    def participant(self, label: str) -> Participant:
        """Return one participant by label, as `sub-01`."""
        for one in self.participants:
            if one.label == label:
                return one
        raise KeyError(label)
