"""The tables of the catalogue: what a row is, and each column with its type, unit and meaning."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SCHEMA_VERSION = 1
"""Raised when a column changes its meaning or goes."""

CATALOGUE = "catalogue.json"
"""File that makes a folder a catalogue: version, schema, tables with their columns."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column; its type is DuckDB's name of it, its unit stands in its name."""

    name: str
    type: str
    about: str


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    name : str
        As SQL knows it, and of its file.
    about : str
        What a row is.
    columns : tuple of Column
    open : bool
        Whether a catalogue may add columns: those of participants.tsv, or one a measure.
    """

    name: str
    about: str
    columns: tuple[Column, ...] = field(repr=False)
    open: bool = False

    def with_columns(self, more: Iterable[Column]) -> "Table":
        """The same with further columns at its end."""
        return replace(self, columns=(*self.columns, *more))


def _columns(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


_DATASET = ("dataset", "VARCHAR", "its identifier: the ds number of its DOI, else the name of its folder")
_PERSON = (_DATASET, ("participant", "VARCHAR", "as sub-01"))
_ENTITIES = (
    ("session", "VARCHAR", "label of ses-"),
    ("task", "VARCHAR", "label of task-"),
    ("acquisition", "VARCHAR", "label of acq-"),
    ("direction", "VARCHAR", "label of dir-"),
    ("run", "VARCHAR", "label of run-"),
)
_PREFIX = ("prefix", "VARCHAR", "beginning of the run's file names, as sub-01_task-pain; joins runs, events and results")
_DERIVATIVE = ("derivative", "VARCHAR", "folder of the derivatives")
_RUN = (*_PERSON, _PREFIX, ("session", "VARCHAR", "label of ses-"), ("task", "VARCHAR", "label of task-"))
_SIZE = ("size_bytes", "BIGINT", "of the file, its git-annex key or its line in manifest.tsv")
_STATE = (
    "state",
    "VARCHAR",
    "here; listed (in manifest.tsv); link (git-annex, content not here); absent (its sidecar alone is here)",
)

DATASETS = Table(
    "datasets",
    "a raw dataset",
    _columns(
        _DATASET,
        ("name", "VARCHAR", "Name of dataset_description.json"),
        ("bids_version", "VARCHAR", "BIDSVersion"),
        ("license", "VARCHAR", "License"),
        ("doi", "VARCHAR", "DatasetDOI"),
        ("path", "VARCHAR", "its folder, relative to the catalogue"),
        ("participants", "BIGINT", "people with a folder"),
    ),
)
DERIVATIVES = Table(
    "derivatives",
    "a folder that cospine run wrote",
    _columns(
        _DERIVATIVE,
        _DATASET,
        ("path", "VARCHAR", "the folder, relative to the catalogue"),
        ("cospine_version", "VARCHAR", "version that wrote dataset_description.json"),
        ("runs", "BIGINT", "runs that were processed"),
    ),
)
PARTICIPANTS = Table(
    "participants",
    "a person, with demographics; columns of participants.tsv follow, their unit in the name",
    _columns(
        *_PERSON,
        ("listed", "BOOLEAN", "has a row in participants.tsv"),
        ("has_folder", "BOOLEAN", "has a folder, or files in manifest.tsv"),
    ),
    open=True,
)
ACQUISITIONS = Table(
    "acquisitions",
    "an image of the raw dataset, with its sidecar (merged by inheritance) and its header where it is here",
    _columns(
        *_PERSON,
        ("file", "VARCHAR", "relative to the dataset"),
        ("datatype", "VARCHAR", "anat, func or fmap"),
        ("suffix", "VARCHAR", "as bold, epi, T1w"),
        *_ENTITIES,
        ("echo", "VARCHAR", "label of echo-"),
        ("part", "VARCHAR", "label of part-"),
        _STATE,
        _SIZE,
        ("annex_key", "VARCHAR", "git-annex key, with size and checksum"),
        ("size_i", "BIGINT", "voxels along the first axis, from the header"),
        ("size_j", "BIGINT", "voxels along the second axis"),
        ("size_k", "BIGINT", "voxels along the third axis"),
        ("volumes", "BIGINT", "that the header claims; no sidecar says it"),
        ("voxel_i_mm", "DOUBLE", "voxel size along the first axis, from the header"),
        ("voxel_j_mm", "DOUBLE", "voxel size along the second axis"),
        ("voxel_k_mm", "DOUBLE", "voxel size along the third axis"),
        ("repetition_time_s", "DOUBLE", "RepetitionTime"),
        ("header_repetition_time_s", "DOUBLE", "time between volumes as the header claims it; never used for processing"),
        ("echo_time_s", "DOUBLE", "EchoTime"),
        ("echo_time1_s", "DOUBLE", "EchoTime1 of a phase difference"),
        ("echo_time2_s", "DOUBLE", "EchoTime2 of a phase difference"),
        ("inversion_time_s", "DOUBLE", "InversionTime"),
        ("flip_angle_deg", "DOUBLE", "FlipAngle"),
        ("slice_thickness_mm", "DOUBLE", "SliceThickness"),
        ("spacing_between_slices_mm", "DOUBLE", "SpacingBetweenSlices"),
        ("slice_times", "BIGINT", "entries of SliceTiming"),
        ("slice_times_distinct", "BIGINT", "different ones among them"),
        ("slice_time_last_s", "DOUBLE", "the latest of them"),
        ("multiband_factor", "DOUBLE", "MultibandAccelerationFactor, as stated"),
        ("parallel_factor", "DOUBLE", "ParallelReductionFactorInPlane"),
        ("partial_fourier", "DOUBLE", "PartialFourier"),
        ("phase_encoding", "VARCHAR", "PhaseEncodingDirection"),
        ("effective_echo_spacing_s", "DOUBLE", "EffectiveEchoSpacing"),
        ("total_readout_time_s", "DOUBLE", "TotalReadoutTime, as stated"),
        ("pixel_bandwidth_hz", "DOUBLE", "PixelBandwidth"),
        ("bandwidth_phase_encoding_hz", "DOUBLE", "BandwidthPerPixelPhaseEncode"),
        ("field_strength_t", "DOUBLE", "MagneticFieldStrength"),
        ("manufacturer", "VARCHAR", "Manufacturer"),
        ("model", "VARCHAR", "ManufacturersModelName"),
        ("software", "VARCHAR", "SoftwareVersions"),
        ("coil", "VARCHAR", "ReceiveCoilName"),
        ("institution", "VARCHAR", "InstitutionName"),
        ("serial_number", "VARCHAR", "DeviceSerialNumber"),
        ("series_description", "VARCHAR", "SeriesDescription"),
        ("protocol_name", "VARCHAR", "ProtocolName"),
        ("series_number", "DOUBLE", "SeriesNumber"),
        ("task_name", "VARCHAR", "TaskName"),
        ("acquisition_clock_s", "DOUBLE", "AcquisitionTime, s since midnight"),
        ("shim_setting", "DOUBLE[]", "ShimSetting, in the scanner's units"),
        ("b0_identifiers", "VARCHAR[]", "B0FieldIdentifier"),
        ("b0_sources", "VARCHAR[]", "B0FieldSource"),
        ("intended_for", "VARCHAR[]", "IntendedFor"),
        ("sidecar", "VARCHAR", "the merged sidecar as JSON: sidecar ->> '$.EchoTrainLength'"),
    ),
)
RUNS = Table(
    "runs",
    "a BOLD series of the raw dataset",
    _columns(
        *_PERSON,
        _PREFIX,
        *_ENTITIES,
        ("file", "VARCHAR", "relative to the dataset; joins acquisitions"),
        _STATE,
        ("volumes", "BIGINT", "that the header claims"),
        ("repetition_time_s", "DOUBLE", "RepetitionTime"),
        ("duration_s", "DOUBLE", "volumes times repetition time"),
        ("events", "BIGINT", "rows of its events table; none where it has no table that can be read"),
        ("recordings", "BIGINT", "physiological recordings that carry its name"),
        ("processed", "BIGINT", "derivatives in this catalogue that hold it"),
    ),
)
EVENTS = Table(
    "events",
    "an event of a run",
    _columns(
        *_RUN,
        ("row", "BIGINT", "of the table, from 1"),
        ("onset_s", "DOUBLE", "from the first stored volume"),
        ("duration_s", "DOUBLE", "of the event"),
        ("trial_type", "VARCHAR", "condition"),
        ("others", "VARCHAR", "the other columns as JSON, as ratings: others ->> '$.UpR'"),
    ),
)
RECORDINGS = Table(
    "recordings",
    "a physiological recording of the raw dataset",
    _columns(
        *_PERSON,
        _PREFIX,
        ("file", "VARCHAR", "relative to the dataset"),
        ("recording", "VARCHAR", "label of recording-"),
        _STATE,
        _SIZE,
        ("annex_key", "VARCHAR", "git-annex key, with size and checksum"),
        ("sampling_rate_hz", "DOUBLE", "SamplingFrequency"),
        ("start_time_as_stored", "DOUBLE", "StartTime; BIDS wants s from the first volume, some write ms since midnight"),
        ("columns", "VARCHAR[]", "Columns"),
    ),
)
MEASURES = Table(
    "measures",
    "a quality measure of a run, or of an anatomical image that a run was aligned to",
    _columns(
        _DERIVATIVE,
        *_PERSON,
        ("prefix", "VARCHAR", "of the run, or of the anatomical image"),
        ("session", "VARCHAR", "label of ses-"),
        ("task", "VARCHAR", "label of task-; none for an anatomical image"),
        ("run", "VARCHAR", "label of run-"),
        ("region", "VARCHAR", "brain, cord, or none for the whole"),
        ("measure", "VARCHAR", "its name, the unit at its end"),
        ("value", "DOUBLE", "none where it was sought and could not be told"),
        ("meaning", "VARCHAR", "in words"),
    ),
)
QUALITY = Table(
    "quality",
    "a run that was processed; one column a measure follows, those of its (first) anatomical image too",
    _columns(_DERIVATIVE, *_RUN, ("run", "VARCHAR", "label of run-"), ("cospine_version", "VARCHAR", "that processed it")),
    open=True,
)
VERDICTS = Table(
    "verdicts",
    "a line of the summary of a run's report",
    _columns(
        _DERIVATIVE,
        *_RUN,
        ("line", "BIGINT", "its place, from 1"),
        ("level", "VARCHAR", "good, look or bad"),
        ("text", "VARCHAR", "in words"),
    ),
)
FINDINGS = Table(
    "findings",
    "something that was wrong with a run's input when it was processed",
    _columns(
        _DERIVATIVE,
        *_RUN,
        ("line", "BIGINT", "its place, from 1"),
        ("severity", "VARCHAR", "error, warning or info"),
        ("code", "VARCHAR", "of the closed table in the contract"),
        ("message", "VARCHAR", "in words"),
    ),
)
RESULTS = Table(
    "results",
    "a file that a step of the pipeline wrote for a run",
    _columns(
        _DERIVATIVE,
        *_RUN,
        ("step", "VARCHAR", "as motion, resample, noise"),
        ("step_version", "VARCHAR", "of the step"),
        ("digest", "VARCHAR", "of the step's inputs, version and parameters"),
        ("file", "VARCHAR", "relative to the derivatives"),
        ("space", "VARCHAR", "label of space-; none is the run's own"),
        ("description", "VARCHAR", "label of desc-"),
        ("suffix", "VARCHAR", "as bold, mask, timeseries"),
        ("size_bytes", "BIGINT", "none where the file is not there any more"),
    ),
)
PROBLEMS = Table(
    "problems",
    "something that could not be read, and is therefore wanting in the other tables",
    _columns(
        ("source", "VARCHAR", "dataset or derivative"),
        ("file", "VARCHAR", "relative to its folder"),
        ("problem", "VARCHAR", "what is wrong"),
    ),
)
TABLES = (
    DATASETS, PARTICIPANTS, ACQUISITIONS, RUNS, EVENTS, RECORDINGS, DERIVATIVES, MEASURES, QUALITY, VERDICTS, FINDINGS,
    RESULTS, PROBLEMS,
)  # fmt: skip
