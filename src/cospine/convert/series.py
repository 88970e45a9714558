"""DICOM files put together to series: what one acquisition is, and what its header says of it."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cospine.bids.clock import clock_s
from cospine.errors import CoSpineError

Part = Literal["magnitude", "phase", "other"]

_PHYSIO_CLASS = "1.3.12.2.1107.5.9.1"  # Siemens' raw data, in which the CMRR sequence hides its logs
_NO_IMAGES = ("1.2.840.10008.5.1.4.1.1.88", "1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.11", "1.2.840.10008.1.3.10")
# of every file; of the first of a series the whole header is read
_KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "ImageType", "ComplexImageComponent", "Rows",
    "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "SeriesDate", "StudyDate", "EchoTime",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_ECHO_MS = 0.005  # echoes closer than this are one


@dataclass(frozen=True, eq=False)
class Series:
    """The files of one series that hold the same part of the signal.

    Parameters
    ----------
    uid : str
        SeriesInstanceUID.
    part : {"magnitude", "phase", "other"}
        What the voxels are: scanners put magnitude and phase into one series or into two.
    files : tuple of Path
        Sorted by InstanceNumber.
    header : mapping of str to str or tuple of str
        Every top-level text or number of the first file by its DICOM keyword; several values are a tuple.
    echo_times_ms : tuple of float
        Distinct echo times of all files, rising.
    start_s : float or None
        Earliest acquisition time, s since midnight.
    date : str
        Of the acquisition, YYYYMMDD; empty when not known.
    kind : {"image", "physio", "no image"}
        A PhysioLog of the CMRR sequence is `physio`; reports, raw data and segmentations are `no image`.
    notes : tuple of str
        What people should know, as files that are there twice.
    """

    uid: str
    part: Part
    files: tuple[Path, ...] = field(repr=False)
    header: Mapping[str, str | tuple[str, ...]] = field(repr=False)
    echo_times_ms: tuple[float, ...] = ()
    start_s: float | None = None
    date: str = ""
    kind: Literal["image", "physio", "no image"] = "image"
    notes: tuple[str, ...] = ()

    def text(self, keyword: str) -> str:
        """One value of the header as text; several joined by a backslash, none empty."""
        value = self.header.get(keyword, "")
        return value if isinstance(value, str) else "\\".join(value)

    @property
    def number(self) -> int:
        """SeriesNumber, 0 when there is none."""
        text = self.text("SeriesNumber")
        return int(text) if text.lstrip("-").isdigit() else 0

    @property
    def label(self) -> str:
        """For people: number, description, part and how many files."""
        named = self.text("SeriesDescription") or self.text("ProtocolName") or "without a description"
        phase = ", phase" if self.part == "phase" else ""
        files = f"{len(self.files)} file{'s' if len(self.files) > 1 else ''}"
        return f"series {self.number} {named} ({files}{phase})"


def read_series(files: Iterable[Path]) -> tuple[list[Series], list[CoSpineError]]:
    """Read the headers of DICOM files and group them.

    Returns
    -------
    series : list of Series
        In the order in which they were acquired.
    errors : list of CoSpineError
        Files that begin as DICOM and cannot be read.

    Raises
    ------
    CoSpineError
        When pydicom is not installed.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise CoSpineError("DICOM cannot be read: pydicom is not installed", "", "pip install cospine[convert]") from error
    groups: dict[tuple[str, Part], list[tuple[Path, Any]]] = {}
    errors = []
    for path in files:
        try:
            key, dataset = _read(path)
        except CoSpineError as error:
            errors.append(error)
            continue
        groups.setdefault(key, []).append((path, dataset))
    found = [_series(uid, part, members) for (uid, part), members in groups.items()]
    found.sort(key=lambda one: (one.date, one.start_s if one.start_s is not None else -1.0, one.number, one.part, one.uid))
    return found, errors


def _read(path: Path) -> tuple[tuple[str, Part], Any]:
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that nobody asks for
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_KEYWORDS))
            key = str(dataset.get("SeriesInstanceUID") or ""), _part(dataset)
        except Exception as error:  # pydicom raises nearly anything on damaged files
            raise CoSpineError(f"cannot be read as DICOM ({error})", str(path), "Copy the file again") from error
    if not key[0]:
        raise CoSpineError("is DICOM without a SeriesInstanceUID", str(path), "Export it again, or take it away")
    return key, dataset


def _series(uid: str, part: Part, members: Sequence[tuple[Path, Any]]) -> Series:
    import pydicom

    once: dict[str, tuple[Path, Any]] = {}
    for path, dataset in members:
        once.setdefault(str(dataset.get("SOPInstanceUID") or path), (path, dataset))
    notes = []
    if len(once) < len(members):
        notes.append(f"{len(members) - len(once)} files are there twice (SOPInstanceUID); each is used once")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = sorted(once.values(), key=lambda one: (_integer(one[1].get("InstanceNumber")), one[0].name))
        times = [(date, at) for _, dataset in kept for date, at in [_when(dataset)] if at is not None]
        date, start_s = min(times, default=("", None))
        first = kept[0][1]
        return Series(
            uid=uid,
            part=part,
            files=tuple(path for path, _ in kept),
            header=_header(pydicom.dcmread(kept[0][0], stop_before_pixels=True, force=True, defer_size=4096)),
            echo_times_ms=_echoes(dataset for _, dataset in kept),
            start_s=start_s,
            date=date or str(first.get("StudyDate") or ""),
            kind=_kind(first),
            notes=tuple(notes),
        )


def _header(dataset: Any) -> dict[str, str | tuple[str, ...]]:
    header: dict[str, str | tuple[str, ...]] = {}
    for element in dataset:
        if not element.keyword or element.VR in ("SQ", "OB", "OW", "OF", "UN") or element.value is None:
            continue
        several = element.VM > 1
        header[element.keyword] = tuple(str(one) for one in element.value) if several else str(element.value)
    return header


def _kind(dataset: Any) -> Literal["image", "physio", "no image"]:
    sop_class = str(dataset.get("SOPClassUID") or "")
    if sop_class == _PHYSIO_CLASS or "PHYSIO" in [str(word) for word in dataset.get("ImageType") or ()]:
        return "physio"
    return "no image" if sop_class.startswith(_NO_IMAGES) or "Rows" not in dataset else "image"


def _part(dataset: Any) -> Part:
    words = [str(word).upper() for word in dataset.get("ImageType") or ()]
    component = str(dataset.get("ComplexImageComponent") or "").upper()
    if component == "PHASE" or {"P", "PHASE", "PHASE MAP"}.intersection(words):
        return "phase"
    if component in ("REAL", "IMAGINARY") or {"R", "I", "REAL", "IMAGINARY"}.intersection(words):
        return "other"
    return "magnitude"


def _when(dataset: Any) -> tuple[str, float | None]:
    """Date and time of day of the acquisition."""
    both = str(dataset.get("AcquisitionDateTime") or "")
    if len(both) >= 14:
        return both[:8], clock_s(both[8:].partition("+")[0].partition("-")[0])
    date = str(dataset.get("AcquisitionDate") or dataset.get("SeriesDate") or dataset.get("StudyDate") or "")
    return date, clock_s(dataset.get("AcquisitionTime") or "")


def _echoes(datasets: Iterable[Any]) -> tuple[float, ...]:
    times: list[float] = []
    for dataset in datasets:
        for value in _echo_times(dataset):
            if all(abs(value - one) > _ECHO_MS for one in times):
                times.append(value)
    return tuple(sorted(times))


def _echo_times(dataset: Any) -> list[float]:
    if dataset.get("EchoTime") is not None:
        return [float(dataset.EchoTime)]
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())
    frames = shared if any("MREchoSequence" in one for one in shared) else dataset.get("PerFrameFunctionalGroupsSequence") or ()
    return [float(one.MREchoSequence[0].EffectiveEchoTime) for one in frames if one.get("MREchoSequence")]


def _integer(value: Any) -> int:
    text = str(value or "")
    return int(text) if text.isdigit() else 0
