"""`cospine physio`: any recording to BIDS tables, peaks and pictures."""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cospine.errors import CoSpineError

if TYPE_CHECKING:
    from cospine.physio.peaks import Peaks
    from cospine.physio.recording import Recording

_KINDS = ("cardiac", "respiratory")
_AGREE_S = 0.1  # up to here two ways of placing a recording in time are taken to agree


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "physio",
        help="turn recordings of pulse and breathing into BIDS, find beats and breaths",
        description="Read recordings of pulse and breathing (Siemens PMU logs, CMRR logs and DICOM, Philips SCANPHYSLOG, Biopac "
        ".acq, BIDS tables, plain columns) and write them as BIDS tables, with the peaks that were found and a picture of "
        "every minute. Exit status: 0 done, 1 nothing found, 2 bad input.",
    )
    parser.add_argument(
        "files", metavar="FILE", type=Path, nargs="+",
        help="recordings; of a CMRR log set any one file or several; a BIDS table finds its sidecar",
    )  # fmt: skip
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder for the results; made if need be")
    parser.add_argument(
        "--rate", metavar="HZ", type=float, help="sampling rate, for files that do not say it or say it wrongly"
    )  # fmt: skip
    parser.add_argument(
        "--first-volume", metavar="TIME|DICOM|JSON",
        help="when the first stored volume began, on the scanner's clock: HH:MM:SS[.ffffff] or HHMMSS[.ffffff], a DICOM file of "
        "that volume, or the image's BIDS sidecar (default: volumes marked in the recording, or what its sidecar says)",
    )  # fmt: skip
    parser.set_defaults(function=run)


@dataclass(frozen=True, eq=False)
class _Channel:
    """A recording of pulse or breathing, the file it is from, and what its results are called."""

    path: Path
    recording: "Recording"
    label: str
    """`<stem>_recording-<kind>`."""


def run(args: argparse.Namespace) -> int:
    """Convert; 0 when done, 1 when neither pulse nor breathing was found, 2 when an input is bad."""
    errors: list[CoSpineError] = []
    first_volume_s: float | None = None
    if args.first_volume is not None:
        try:
            first_volume_s = _first_volume(args.first_volume)
        except CoSpineError as error:
            errors.append(error)
    from cospine.physio.io import read_files

    read, unread = read_files(args.files, args.rate)
    errors += unread
    found = [(path, one) for path, one in read if one.kind in _KINDS]
    channels = _named(found, errors)
    if not errors:
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"cannot be made ({error.strerror or error})"
            errors.append(CoSpineError(what, f"--output {args.output}", "Name another folder"))
    if errors:
        for error in errors:
            print(f"cospine physio: {error}", file=sys.stderr)
        return 2

    placed = [replace(one, recording=_placed(one.recording, first_volume_s)) for one in channels]
    peaks, reasons = _peaks([one.recording for one in placed])
    if not placed:
        reasons = [f"{', '.join(path.name for path in args.files)}: holds neither pulse nor breathing"]
    _write(args.output, placed, peaks, reasons)
    for reason in reasons:
        _say(reason)
    if not any(one is not None and one.onset_s.size for one in peaks):
        return 1
    print(args.output)
    return 0


# --- reading --------------------------------------------------------------------------------------------------------


def _first_volume(text: str) -> float:
    """Scanner time of the first volume, s since midnight, from a time, a sidecar or a DICOM file."""
    from cospine.bids.clock import clock_s, moment
    from cospine.bids.tables import read_json

    where = f"--first-volume {text}"
    at = clock_s(text)
    if at is not None:
        return at
    path = Path(text)
    if not path.is_file():
        raise CoSpineError("is neither a time nor a file", where, "Give HH:MM:SS.ffffff, a DICOM file, or the image's JSON")
    if path.suffix.lower() == ".json":
        try:
            sidecar = read_json(path)
        except (OSError, ValueError) as error:
            raise CoSpineError(f"cannot be read ({error})", where, "Give the image's BIDS sidecar") from error
        said = [sidecar.get("AcquisitionTime"), sidecar.get("AcquisitionDateTime")]
    else:
        said = _dicom_times(path, where)
    for value in said:
        when = moment(value)
        at = clock_s(value if when is None else when.time().isoformat())
        if at is not None:
            return at
    raise CoSpineError("has no AcquisitionTime", where, "Give the time itself, as HH:MM:SS.ffffff")


def _dicom_times(path: Path, where: str) -> list[str]:
    try:
        import pydicom
    except ImportError as error:
        raise CoSpineError("cannot be read as DICOM: pydicom is not installed", where, "pip install cospine[physio]") from error
    try:
        dataset = pydicom.dcmread(path, specific_tags=["AcquisitionTime", "AcquisitionDateTime"], stop_before_pixels=True)
        return [str(dataset.get(key) or "") for key in ("AcquisitionTime", "AcquisitionDateTime")]
    except Exception as error:  # pydicom raises nearly anything on damaged files
        raise CoSpineError(f"cannot be read as DICOM ({error})", where, "Give a DICOM file of the first volume") from error


def _named(found: Sequence[tuple[Path, "Recording"]], errors: list[CoSpineError]) -> list[_Channel]:
    """Name the results of every channel.

    A second channel of a kind from the same folder (pulse and ECG of one person) is numbered; the same name from two
    folders is an error, since nobody could tell later which is whose.
    """
    channels: list[_Channel] = []
    folder_of: dict[str, Path] = {}
    number: dict[str, int] = {}
    for path, recording in found:
        label = f"{_stem(path)}_recording-{recording.kind}"
        folder = folder_of.setdefault(label, path.absolute().parent)
        if folder != path.absolute().parent:
            what = f"would be written under the same name ({label}) as another one in {folder}"
            errors.append(CoSpineError(what, str(path), "Convert them one by one into folders of their own, or rename one"))
            continue
        number[label] = number.get(label, 0) + 1
        channels.append(_Channel(path, recording, label if number[label] == 1 else f"{label}{number[label]}"))
    return channels


def _stem(path: Path) -> str:
    """Name without what says format or channel: `sub-01_task-x_recording-pulse_physio.tsv.gz` gives `sub-01_task-x`."""
    name = path.name
    for ending in (".gz", path.with_suffix("").suffix if name.lower().endswith(".gz") else path.suffix):
        name = name[: -len(ending)] if ending and name.lower().endswith(ending.lower()) else name
    parts = [part for part in name.split("_") if not part.startswith("recording-")]
    endings = ("physio", "PULS", "RESP", "ECG", "EXT", "Info") if path.suffix.lower() in (".log", ".gz", ".tsv") else ()
    if len(parts) > 1 and parts[-1] in endings:
        parts = parts[:-1]
    # Dots would end the name for those who look for its extension.
    return "_".join(parts).replace(".", "-") or "recording"


# --- placing and finding --------------------------------------------------------------------------------------------


def _placed(recording: "Recording", first_volume_s: float | None) -> "Recording":
    """Start relative to the first volume: by the time given, else what the file says, else by the first volume it marks."""
    from cospine.bids.clock import clock_difference_s

    said: dict[str, float] = {}
    if first_volume_s is not None and recording.clock_s is not None:
        said["the time given"] = clock_difference_s(recording.clock_s, first_volume_s)
    if recording.start_s is not None:
        said["its sidecar"] = recording.start_s
    if recording.volumes_s.size:
        said["the first volume marked in it"] = -float(recording.volumes_s[0])
    if first_volume_s is not None and recording.clock_s is None:
        _say(f"{recording.source}: does not say when it was made; --first-volume cannot be used for it")
    if not said:
        _say(f"{recording.source}: when the first volume began is not known (--first-volume); onset_run is n/a")
        return recording
    (how, start_s), *others = said.items()
    for other, claim in others:
        if abs(claim - start_s) > _AGREE_S:
            apart = f"starts {start_s:.3f} s from the first volume by {how}, {claim:.3f} s by {other}"
            _say(f"{recording.source}: {apart}; the former is used")
    return recording.placed(start_s)


def _peaks(recordings: "Sequence[Recording]") -> "tuple[list[Peaks | None], list[str]]":
    """Peaks of every recording (None where they could not be sought), and why there are none where there are none."""
    from cospine.physio.peaks import find_peaks

    found: list[Peaks | None] = []
    reasons = []
    for recording in recordings:
        try:
            peaks = find_peaks(recording)
        except CoSpineError as error:
            found.append(None)
            reasons.append(str(error))
            continue
        found.append(peaks)
        if not peaks.onset_s.size:
            what = "beat" if recording.kind == "cardiac" else "breath"
            reasons.append(f"{recording.source}: no {what} was found in {recording.duration_s:.0f} s of signal")
    return found, reasons


def _say(text: str) -> None:
    print(f"cospine physio: {text}", file=sys.stderr)


# --- writing --------------------------------------------------------------------------------------------------------


def _write(output: Path, channels: Sequence[_Channel], peaks: "Sequence[Peaks | None]", reasons: Sequence[str]) -> None:
    from cospine.bids.write import write_json, write_text, write_tsv
    from cospine.physio.written import bids_columns, bids_sidecar

    rows: dict[str, list[object]] = {column: [] for column in ("onset", "onset_run", "kind", "quality", "file")}
    for channel, found in zip(channels, peaks, strict=True):
        recording = channel.recording
        write_tsv(output / f"{channel.label}_physio.tsv.gz", bids_columns(recording))
        write_json(output / f"{channel.label}_physio.json", bids_sidecar(recording))
        if found is None:
            continue
        for page, svg in _pictures(recording, found):
            write_text(output / f"{channel.label}_peaks{page}.svg", svg)
        n = found.onset_s.size
        rows["onset"] += found.onset_s.round(6).tolist()
        rows["onset_run"] += ["n/a"] * n if recording.start_s is None else (found.onset_s + recording.start_s).round(6).tolist()
        rows["kind"] += [recording.kind] * n
        rows["quality"] += found.quality.round(4).tolist()
        rows["file"] += [channel.path.name] * n
    about: dict[str, Any] = {**_PEAK_COLUMNS, "found": bool(rows["onset"])}
    if reasons:
        about["reasons"] = list(reasons)
    write_tsv(output / "peaks.tsv", rows, about)


_PEAK_COLUMNS: dict[str, Any] = {
    "onset": {
        "Description": "Top of the pulse (photoplethysmogram), R (electrocardiogram) or end of inspiration, "
        "from the first sample of that recording",
        "Units": "s",
    },
    "onset_run": {"Description": "The same from the start of the first volume; n/a where that is not known", "Units": "s"},
    "kind": {"Description": "What was recorded", "Levels": {"cardiac": "heartbeats", "respiratory": "breaths"}},
    "quality": {"Description": "How far the peak is to be believed, 0 to 1", "Units": "1"},
    "file": "Recording in which it was found",
}


def _pictures(recording: "Recording", peaks: "Peaks") -> list[tuple[str, str]]:
    """Pictures of all minutes, as many to a page as the figure holds: what to add to the name, and the SVG."""
    from cospine.quality.physio_figures import MAX_ROWS, every_minute

    page_s = 60.0 * MAX_ROWS
    n_pages = max(1, math.ceil(recording.duration_s / page_s))
    if n_pages == 1:
        return [("", every_minute(recording, peaks).svg)]
    pictures = []
    for page in range(n_pages):
        first_s, last_s = page * page_s, (page + 1) * page_s
        at, to = (round(edge * recording.rate_hz) for edge in (first_s, last_s))
        if not recording.samples[at:to].size:
            continue
        inside = (peaks.onset_s >= first_s) & (peaks.onset_s < last_s)
        # rows go on from the recording's start, where that of the run is not known
        part = recording.placed(recording.start_s or 0.0).part(at, to)
        windows = replace(peaks.windows, start_s=peaks.windows.start_s - first_s)
        shown = replace(
            peaks,
            onset_s=peaks.onset_s[inside] - first_s,
            quality=peaks.quality[inside],
            mended=peaks.mended[inside],
            windows=windows,
        )
        pictures.append((f"-{page + 1}", every_minute(part, shown).svg))
    return pictures
