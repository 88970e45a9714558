"""Rows of a raw dataset: people, acquisitions, runs, events and recordings."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cospine.bids.clock import clock_s, moment
from cospine.bids.images import image_header
from cospine.bids.index import DATATYPES, IMAGE_EXTENSIONS, Entry, Index, read_index
from cospine.bids.names import build_name
from cospine.bids.tables import number, read_json, read_tsv, words
from cospine.database.demographics import Demographics
from cospine.database.listing import Known, known, problems_of
from cospine.errors import CoSpineError

_ENTITIES = {"session": "ses", "task": "task", "acquisition": "acq", "direction": "dir", "run": "run"}
_IMAGE_SUFFIXES = ("bold", "epi", "sbref", "T1w", "T2w", "phasediff", "phase1", "phase2", "magnitude1", "magnitude2", "fieldmap")
_NUMBERS = {
    "repetition_time_s": "RepetitionTime",
    "echo_time_s": "EchoTime",
    "echo_time1_s": "EchoTime1",
    "echo_time2_s": "EchoTime2",
    "inversion_time_s": "InversionTime",
    "flip_angle_deg": "FlipAngle",
    "slice_thickness_mm": "SliceThickness",
    "spacing_between_slices_mm": "SpacingBetweenSlices",
    "multiband_factor": "MultibandAccelerationFactor",
    "parallel_factor": "ParallelReductionFactorInPlane",
    "partial_fourier": "PartialFourier",
    "effective_echo_spacing_s": "EffectiveEchoSpacing",
    "total_readout_time_s": "TotalReadoutTime",
    "pixel_bandwidth_hz": "PixelBandwidth",
    "bandwidth_phase_encoding_hz": "BandwidthPerPixelPhaseEncode",
    "field_strength_t": "MagneticFieldStrength",
    "series_number": "SeriesNumber",
}
_TEXTS = {
    "phase_encoding": "PhaseEncodingDirection",
    "manufacturer": "Manufacturer",
    "model": "ManufacturersModelName",
    "software": "SoftwareVersions",
    "coil": "ReceiveCoilName",
    "institution": "InstitutionName",
    "serial_number": "DeviceSerialNumber",
    "series_description": "SeriesDescription",
    "protocol_name": "ProtocolName",
    "task_name": "TaskName",
}
_LISTS = {"b0_identifiers": "B0FieldIdentifier", "b0_sources": "B0FieldSource", "intended_for": "IntendedFor"}


@dataclass(frozen=True)
class RawRows:
    """Rows of one raw dataset, by table, and what could not be read.

    `demographics` is its participants table, whose columns are named only when all datasets are known.
    """

    dataset: str
    rows: dict[str, list[dict[str, Any]]] = field(repr=False)
    demographics: Demographics = field(repr=False)
    problems: list[tuple[str, str]] = field(repr=False)


def dataset_identifier(root: Path) -> str:
    """The ds number of its DOI, else the name of its folder."""
    try:
        doi = read_json(root / "dataset_description.json").get("DatasetDOI")
    except (OSError, ValueError):
        doi = None  # `raw_rows` lists it as a problem
    match = re.search(r"\bds[0-9]{6}\b", str(doi))
    return match[0] if match else root.name


def raw_rows(root: Path, dataset: str, path: str) -> RawRows:
    """Read all that a dataset says of itself.

    Parameters
    ----------
    root : Path
        Its folder; read only.
    dataset : str
        Its identifier in the catalogue.
    path : str
        Its folder as the catalogue names it.

    Returns
    -------
    RawRows

    Raises
    ------
    CoSpineError
        When the folder cannot be listed. All else that cannot be read is among the problems.
    """
    try:
        index = read_index(root)
    except OSError as error:
        raise CoSpineError(f"cannot be listed ({error.strerror or error})", str(root), "change its permissions") from error
    reader = _Reader(root, dataset, index, problems_of(index))
    rows = {name: list[dict[str, Any]]() for name in ("datasets", "participants", "acquisitions", "runs", "events", "recordings")}
    rows["datasets"].append(reader.about(path))
    demographics = reader.demographics()
    people = set(index.participants)
    for label in sorted(people | set(demographics.values)):
        rows["participants"].append(
            {"dataset": dataset, "participant": label, "listed": label in demographics.values, "has_folder": label in people}
        )
    for label in index.participants:
        recordings = [reader.recording(label, entry) for entry in reader.recordings(label)]
        rows["recordings"] += recordings
        for entry, file in reader.images(label):
            image = reader.acquisition(label, entry, file)
            rows["acquisitions"].append(image)
            if entry.name.suffix == "bold" and entry.name.entities.get("part", "mag") == "mag":
                events = reader.events(label, entry)
                rows["events"] += events or []
                own = sum(one["prefix"] == prefix_of(entry) for one in recordings)
                rows["runs"].append(_run(image, entry, None if events is None else len(events), own))
    return RawRows(dataset, rows, demographics, reader.problems)


def prefix_of(entry: Entry) -> str:
    """Beginning of the names of a run's files; that of a recording is without its `recording-`."""
    return "_".join(f"{key}-{value}" for key, value in entry.name.entities.items() if key != "recording")


def _run(image: Mapping[str, Any], entry: Entry, events: int | None, recordings: int) -> dict[str, Any]:
    same = ("dataset", "participant", *_ENTITIES, "file", "state", "volumes", "repetition_time_s")
    tr_s, volumes = image["repetition_time_s"], image["volumes"]
    return {
        **{key: image[key] for key in same},
        "prefix": prefix_of(entry),
        "duration_s": None if tr_s is None or volumes is None else tr_s * volumes,
        "events": events,
        "recordings": recordings,
    }


@dataclass(frozen=True)
class _Reader:
    """Reads parts of a dataset; what cannot be read is added to `problems`."""

    root: Path
    dataset: str
    index: Index
    problems: list[tuple[str, str]]

    def about(self, path: str) -> dict[str, Any]:
        """Row of the dataset."""
        content: dict[str, Any] = {}
        try:
            content = read_json(self.root / "dataset_description.json")
        except (OSError, ValueError) as error:
            self._say("dataset_description.json", error)
        keys = {"name": "Name", "bids_version": "BIDSVersion", "license": "License", "doi": "DatasetDOI"}
        return {
            "dataset": self.dataset,
            **{column: _text(content.get(key)) for column, key in keys.items()},
            "path": path,
            "participants": len(self.index.participants),
        }

    def demographics(self) -> Demographics:
        """participants.tsv, with the units of participants.json."""
        values: dict[str, dict[str, str]] = {}
        units: dict[str, str] = {}
        file = "participants.tsv"
        try:
            table = read_tsv(self.root / file)
            for row, cell in enumerate(table.pop("participant_id")):
                label = cell if cell.startswith("sub-") else f"sub-{cell}"
                if cell == "n/a" or label in values:
                    self.problems.append((file, f"row {row + 1}: {'no participant' if cell == 'n/a' else f'{label} again'}"))
                    continue
                values[label] = {name or "unnamed": column[row] for name, column in table.items()}
        except (OSError, ValueError) as error:
            self._say(file, error)
        except KeyError:
            self.problems.append((file, "has no column participant_id"))
        if (self.root / "participants.json").exists():
            try:
                for name, said in read_json(self.root / "participants.json").items():
                    if isinstance(said, dict) and isinstance(said.get("Units"), str):
                        units[name] = said["Units"]
            except (OSError, ValueError) as error:
                self._say("participants.json", error)
        return Demographics(self.dataset, values, units)

    def images(self, label: str) -> Iterator[tuple[Entry, Known]]:
        """Images of a person in the order of their paths, those included of which the sidecar alone is here."""
        for datatype in DATATYPES:
            entries = self.index.entries(label, datatype)
            images = {one.relative: one for one in entries if one.name.extension in IMAGE_EXTENSIONS}
            for one in entries:
                if one.name.extension != ".json" or one.name.suffix not in _IMAGE_SUFFIXES:
                    continue
                of = one.name.entities.items()
                if not any(
                    image.name.suffix == one.name.suffix and of <= image.name.entities.items() for image in images.values()
                ):
                    file = build_name(one.name.entities, one.name.suffix, ".nii.gz")
                    images[f"{one.folder}/{file}"] = Entry(one.folder, file, one.name)
            for path in sorted(images):
                yield images[path], known(self.index, images[path])

    def recordings(self, label: str) -> list[Entry]:
        """Physiological recordings of a person, those included of which the sidecar alone is here."""
        entries = [one for one in self.index.entries(label, "func") if one.name.suffix == "physio"]
        found = {one.relative: one for one in entries if one.name.extension in (".tsv.gz", ".tsv")}
        have = {prefix_of(one) + one.name.entities.get("recording", "") for one in found.values()}
        for one in entries:
            if one.name.extension == ".json" and prefix_of(one) + one.name.entities.get("recording", "") not in have:
                found[one.relative] = Entry(one.folder, one.file.removesuffix(".json") + ".tsv.gz", one.name)
        return [found[path] for path in sorted(found)]

    def acquisition(self, label: str, entry: Entry, file: Known) -> dict[str, Any]:
        """Row of an image."""
        content = self._sidecar(entry)
        entities = entry.name.entities
        times = content.get("SliceTiming")
        seconds = [value for value in (number(one) for one in times) if value is not None] if isinstance(times, list) else []
        dated = moment(content.get("AcquisitionDateTime"))
        shim = content.get("ShimSetting")
        return {
            "dataset": self.dataset,
            "participant": label,
            "file": entry.relative,
            "datatype": entry.folder.rpartition("/")[2],
            "suffix": entry.name.suffix,
            **{column: entities.get(key) for column, key in _ENTITIES.items()},
            "echo": entities.get("echo"),
            "part": entities.get("part"),
            "state": file.state,
            "size_bytes": file.size_bytes,
            "annex_key": file.annex_key,
            **self._header(entry, file),
            **{column: number(content.get(key)) for column, key in _NUMBERS.items()},
            "slice_times": len(times) if isinstance(times, list) else None,
            "slice_times_distinct": len({round(value, 4) for value in seconds}) if seconds else None,
            "slice_time_last_s": max(seconds, default=None),
            **{column: _text(content.get(key)) for column, key in _TEXTS.items()},
            "acquisition_clock_s": clock_s(content.get("AcquisitionTime") if dated is None else dated.time().isoformat()),
            "shim_setting": [number(value) for value in shim] if isinstance(shim, list) else None,
            **{column: list(words(content, key)) or None for column, key in _LISTS.items()},
            "sidecar": json.dumps(_plain(content), ensure_ascii=False, sort_keys=True) if content else None,
        }

    def recording(self, label: str, entry: Entry) -> dict[str, Any]:
        """Row of a recording."""
        content, file = self._sidecar(entry), known(self.index, entry)
        return {
            "dataset": self.dataset,
            "participant": label,
            "prefix": prefix_of(entry),
            "file": entry.relative,
            "recording": entry.name.entities.get("recording"),
            "state": file.state,
            "size_bytes": file.size_bytes,
            "annex_key": file.annex_key,
            "sampling_rate_hz": number(content.get("SamplingFrequency")),
            "start_time_as_stored": number(content.get("StartTime")),
            "columns": list(words(content, "Columns")) or None,
        }

    def events(self, label: str, entry: Entry) -> list[dict[str, Any]] | None:
        """Rows of a run's events; None without a table that can be read."""
        tables = self.index.applicable(entry, "events", (".tsv",))
        if not tables or not (self.root / tables[-1].relative).exists():
            return None
        file = tables[-1].relative
        try:
            columns = read_tsv(self.root / file)
            onsets = [_seconds(cell) for cell in columns.pop("onset")]
        except KeyError:
            self.problems.append((file, "has no column onset"))
            return None
        except (OSError, ValueError) as error:
            self._say(file, error)
            return None
        durations = [_seconds(cell) for cell in columns.pop("duration", ["n/a"] * len(onsets))]
        kinds = columns.pop("trial_type", ["n/a"] * len(onsets))
        same = {"dataset": self.dataset, "participant": label, "prefix": prefix_of(entry)}
        same |= {column: entry.name.entities.get(_ENTITIES[column]) for column in ("session", "task")}
        rows = []
        for n, (onset, duration, kind) in enumerate(zip(onsets, durations, kinds, strict=True)):
            others = {name: _cell(cells[n]) for name, cells in columns.items()}
            text = json.dumps(others, ensure_ascii=False) if others else None
            trial = None if kind == "n/a" else kind
            rows.append({**same, "row": n + 1, "onset_s": onset, "duration_s": duration, "trial_type": trial, "others": text})
        return rows

    def _sidecar(self, entry: Entry) -> Mapping[str, Any]:
        merged = self.index.sidecar(entry)
        for file, reason in merged.broken:
            if (file, f"cannot be read: {reason}") not in self.problems:
                self.problems.append((file, f"cannot be read: {reason}"))
        return merged.content

    def _header(self, entry: Entry, file: Known) -> dict[str, Any]:
        """Size and voxels, from the header of an image that is here."""
        if file.state != "here":
            return {"volumes": None}
        try:
            header = image_header(self.root / entry.relative)
        except CoSpineError as error:
            self.problems.append((entry.relative, error.what))
            return {"volumes": None}
        size = {f"size_{axis}": int(n) for axis, n in zip("ijk", header.shape[:3], strict=False)}
        voxel = {f"voxel_{axis}_mm": number(float(mm)) for axis, mm in zip("ijk", header.zooms_mm[:3], strict=False)}
        volumes = int(header.shape[3]) if len(header.shape) > 3 else 1
        tr_s = None if header.tr_s is None else number(float(header.tr_s))
        return {**size, **voxel, "volumes": volumes, "header_repetition_time_s": tr_s}

    def _say(self, file: str, error: OSError | ValueError) -> None:
        if isinstance(error, FileNotFoundError):
            self.problems.append((file, "is absent"))
        else:
            self.problems.append((file, f"cannot be read: {getattr(error, 'strerror', None) or error}"))


def _text(value: Any) -> str | None:
    """A JSON value as text: a string as it is, none for none, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    """A JSON value without NaN and infinity, which Python reads and JSON has not."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _seconds(cell: str) -> float | None:
    value = _cell(cell)
    return value if isinstance(value, float) else None


def _cell(cell: str) -> float | str | None:
    """A cell of a table: a finite number, text, or none."""
    if cell == "n/a":
        return None
    try:
        value = float(cell)
    except ValueError:
        return cell
    return value if math.isfinite(value) else None
