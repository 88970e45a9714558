"""Opening recordings: which format a file is in, told by its content, and which other files belong to it."""

import logging
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cospine.bids import parse_name
from cospine.bids.tables import read_json
from cospine.errors import CoSpineError
from cospine.physio import biopac, cmrr, philips, siemens, tables
from cospine.physio.recording import Recording

_LOG = logging.getLogger(__name__)

_GZIP = b"\x1f\x8b"
_LARGEST_BYTES = 1 << 30
_PMU_ENDINGS = (".puls", ".resp", ".ecg", ".ext", ".ext2")
_RATES_HZ = (0.5, 1e5)  # nobody samples breathing more slowly, or sound faster
_LEVELS = 4  # a dataset's root lies at most so many folders above a recording


def read_recordings(path: Path, rate_hz: float | None = None, sidecar: Mapping[str, Any] | None = None) -> tuple[Recording, ...]:
    """Read the recordings of a file, in whichever of the known formats it is.

    Siemens PMU logs (`.puls`, `.resp`, `.ecg`, `.ext`), CMRR logs (with the volumes of the `_Info` log beside them; the
    `_Info` log stands for all logs of its run) and the DICOM file that holds them, Philips SCANPHYSLOG, Biopac `.acq`, BIDS
    `_physio.tsv[.gz]` with its sidecars, and plain columns of numbers. The format is told by the content; the ending
    counts only where the content does not tell.

    Parameters
    ----------
    path : Path
    rate_hz : float, optional
        Sampling rate, for files that do not say it or say it wrongly. Not for CMRR logs and `.acq`, which time every sample.
    sidecar : mapping, optional
        What is said of a table, in place of the JSON files found beside and above it.

    Returns
    -------
    tuple of Recording
        One a channel.

    Raises
    ------
    CoSpineError
        When the file cannot be opened, is in none of these formats, or is damaged; it says which and what to do.
    """
    path = Path(path)
    if rate_hz is not None and not 0 < rate_hz < float("inf"):
        raise CoSpineError(f"a sampling rate of {rate_hz:g} Hz is none", str(path), "Give a positive number")
    if path.suffix.lower() == ".json":
        raise CoSpineError(
            "is a sidecar, not a recording", str(path), "Give the table or log itself; its sidecar is found beside it"
        )
    try:
        recordings = _parse(path, _bytes(path), rate_hz, sidecar)
    except CoSpineError as error:
        if error.where != path.name:
            raise
        raise CoSpineError(error.what, str(path), error.remedy) from error
    for one in recordings:
        if not _RATES_HZ[0] <= one.rate_hz <= _RATES_HZ[1]:
            raise CoSpineError(
                f"is said to have been sampled at {one.rate_hz:g} Hz", str(path), "Give its sampling rate (--rate)"
            )
    return recordings


def _parse(path: Path, data: bytes, rate_hz: float | None, sidecar: Mapping[str, Any] | None) -> tuple[Recording, ...]:
    """Sniff and hand on."""
    name = path.name
    timed = data[128:132] == b"DICM" or name.lower().endswith(".acq") or b"LogDataType" in data[:4096]
    if timed and rate_hz is not None:
        _LOG.warning("%s: times its samples itself; the rate of %g Hz is not used", name, rate_hz)
    if data[128:132] == b"DICM":
        return cmrr.parse_dicom(data, name)
    if name.lower().endswith(".acq"):
        return biopac.parse_acq(data, name)
    head = data[:4096]
    if b"LogDataType" in head:
        return _cmrr_run(path, data)
    if b"v1raw" in head.lower():
        return philips.parse_scanphyslog(data, name, rate_hz)
    if name.lower().endswith(_PMU_ENDINGS) or (b"5002 LOGVERSION" in head or b"LogStartMDHTime" in data[-2000:]):
        return siemens.parse_pmu(data, name, rate_hz)
    return tables.parse_table(data, _sidecar(path) if sidecar is None else sidecar, name, rate_hz)


def read_files(files: Iterable[Path], rate_hz: float | None = None) -> tuple[list[tuple[Path, Recording]], list[CoSpineError]]:
    """Recordings of many files, each once: an `_Info` log stands for all logs of its run, and is read along with each of them.

    Returns
    -------
    found : list of (Path, Recording)
        Every channel with the file that it is from.
    errors : list of CoSpineError
        Files that cannot be read.
    """
    wanted: dict[Path, Path] = {}
    for path in files:
        logs = [one for one in related(path) if one != path] if path.name.lower().endswith("_info.log") else []
        wanted.update({one.absolute(): one for one in logs or [path]})
    found, errors = [], []
    for path in wanted.values():
        try:
            found += [(path, one) for one in read_recordings(path, rate_hz)]
        except CoSpineError as error:
            errors.append(error)
    return found, errors


def related(path: Path) -> tuple[Path, ...]:
    """The logs of the same run beside a CMRR log, itself included, sorted; for any other file itself alone."""
    stem, mark, ending = path.name.rpartition("_")
    if not mark or path.suffix.lower() != ".log" or ending[:-4].lower() not in ("info", "puls", "resp", "ecg", "ext"):
        return (path,)
    beside = (path.with_name(f"{stem}_{part}{path.suffix}") for part in ("ECG", "EXT", "Info", "PULS", "RESP"))
    return tuple(sorted({path, *(one for one in beside if one.is_file())}))


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CoSpineError("is no file", str(path), "Give the recording itself")
        if size > _LARGEST_BYTES:
            raise CoSpineError(f"has {size / 1e9:.1f} GB; no recording is so large", str(path), "Give the recording itself")
        data = path.read_bytes()
    except OSError as error:
        raise CoSpineError(
            f"cannot be read ({error.strerror or error})", str(path), "Check the path and who may read it"
        ) from error
    if not data:
        raise CoSpineError("is empty", str(path), "Copy the file again")
    return _unpacked(data, path) if data[:2] == _GZIP else data


def _unpacked(data: bytes, path: Path) -> bytes:
    """Content of a gzip file; of one that ends early what there is."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = unpacker.decompress(data, _LARGEST_BYTES)
        while unpacker.eof and unpacker.unused_data[:2] == _GZIP:
            rest = unpacker.unused_data
            unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            content += unpacker.decompress(rest, _LARGEST_BYTES)
    except zlib.error as error:
        raise CoSpineError(f"is damaged ({error})", str(path), "Copy the file again") from error
    if unpacker.unconsumed_tail:
        raise CoSpineError("unpacks to more than 1 GB; no recording is so large", str(path), "Give the recording itself")
    if not unpacker.eof:
        _LOG.warning("%s: the compressed data end early; what there is was read", path.name)
    if not content:
        raise CoSpineError("is empty", str(path), "Copy the file again")
    return content


def _cmrr_run(path: Path, data: bytes) -> tuple[Recording, ...]:
    """Recordings of one log, with the volumes of its run; of an `_Info` log those of all logs beside it."""
    own = cmrr.parse_log(data, path.name)
    others = [cmrr.parse_log(_bytes(one), one.name) for one in related(path) if one != path]
    wanted = others if not own.channels and own.volume_tics.size else [one for one in others if one.volume_tics.size]
    same = [one for one in wanted if one.uuid == own.uuid]
    if len(same) < len(wanted):
        names = ", ".join(one.name for one in wanted if one.uuid != own.uuid)
        _LOG.warning("%s: %s beside it is of another run (UUID); not used", path.name, names)
    recordings = cmrr.join_logs([own, *same])
    if not recordings:
        raise CoSpineError("holds no samples", str(path), "Give the _PULS and _RESP logs of the same run, or put them beside it")
    return recordings


def _sidecar(path: Path) -> Mapping[str, Any] | None:
    """JSON beside a table and, by BIDS's inheritance, above it; the nearer, more specific one wins key by key."""
    stem = path.name
    for ending in (".gz", ".tsv", ".csv", ".txt"):
        stem = stem[: -len(ending)] if stem.lower().endswith(ending) else stem
    found: list[Path] = []
    name = parse_name(path.name)
    if name is not None and name.suffix == "physio":
        folder = path.absolute().parent
        for _ in range(_LEVELS):
            here = [
                (len(candidate.entities), one)
                for one in sorted(folder.glob("*_physio.json")) + sorted(folder.glob("physio.json"))
                if (candidate := parse_name(one.name)) is not None and candidate.entities.items() <= name.entities.items()
            ]
            found = [one for _, one in sorted(here)] + found
            if (folder / "dataset_description.json").exists():
                break
            folder = folder.parent
    else:
        found = [one for one in (path.with_name(f"{stem}.json"),) if one.is_file()]
    merged: dict[str, Any] = {}
    for one in found:
        try:
            merged.update(read_json(one))
        except (OSError, ValueError) as error:
            raise CoSpineError(f"its sidecar cannot be read ({error})", str(one), "Mend or remove the sidecar") from error
    return merged if found else None
