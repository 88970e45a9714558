"""What was found wanting in a dataset: one closed table of codes, one sentence of reason and remedy each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]

# code: (severity, meaning). An error keeps its run or participant, or the one file it names, from being used;
# a warning says what was salvaged, assumed or left aside; an info is worth knowing.
_TABLE: dict[str, tuple[Severity, str]] = {
    "no-participant": ("error", "the folder holds no sub-* folder"),
    "no-such-participant": ("error", "a participant that was asked for is not there"),
    "nothing-selected": ("error", "no run has the session, task or run that was asked for"),
    "no-bold": ("error", "no BOLD image"),
    "unreadable-folder": ("error", "a folder that cannot be listed"),
    "content-missing": ("error", "the file is a link whose content is not on this disk"),
    "unreadable-image": ("error", "the header is no NIfTI header, or of a kind that cannot be used"),
    "corrupt-image": ("error", "the compressed data are damaged, not merely cut short"),
    "not-4d": ("error", "a BOLD image with one volume"),
    "too-few-volumes": ("error", "a BOLD series with fewer volumes than motion and tSNR need"),
    "broken-affine": ("error", "an affine that is singular or not finite"),
    "no-sidecar": ("error", "no JSON sidecar applies to a BOLD image"),
    "invalid-json": ("error", "a JSON file that cannot be read as a JSON object"),
    "missing-repetition-time": ("error", "RepetitionTime is absent; it is never guessed"),
    "bad-repetition-time": ("error", "RepetitionTime is no plausible number of seconds"),
    "no-description": ("warning", "dataset_description.json is absent or cannot be read"),
    "truncated-image": ("warning", "the file ends early; the whole volumes in it are used, if there are any"),
    "misnamed-compression": ("warning", "a .nii.gz that is not compressed, or a .nii that is; read by content"),
    "non-finite-voxels": ("warning", "NaN or infinite values in a BOLD image; read as 0"),
    "repetition-time-differs": ("warning", "sidecar and header disagree on TR by more than 1 %; the sidecar is used"),
    "affines-disagree": ("warning", "sform and qform place the image differently; the sform is used"),
    "no-orientation": ("warning", "neither sform nor qform is set; the orientation is unknown"),
    "image-missing": ("warning", "a BOLD sidecar without its image"),
    "duplicate-image": ("warning", "the same image as .nii and .nii.gz; the compressed one is used"),
    "misplaced-file": ("warning", "a file whose name and folder disagree, or with no task; it is left aside"),
    "no-slice-timing": ("warning", "no SliceTiming; one time a volume is used"),
    "slice-timing-length": ("warning", "SliceTiming has not one entry a slice; one time a volume is used"),
    "slice-timing-beyond-tr": ("warning", "SliceTiming reaches beyond TR, as milliseconds do; one time a volume is used"),
    "bad-slice-timing": ("warning", "SliceTiming is no list of times; one time a volume is used"),
    "bad-phase-encoding": ("warning", "PhaseEncodingDirection is none of i, i-, j, j-, k, k-; it is ignored"),
    "bad-readout-time": ("warning", "TotalReadoutTime is no plausible number of seconds; it is ignored"),
    "task-name-differs": ("warning", "TaskName and the task of the file name differ; the file name is used"),
    "bad-events": ("warning", "an events table without numeric onset and duration"),
    "physio-start-time": ("warning", "StartTime of a recording is a time of day, not seconds from the first volume"),
    "physio-sidecar": ("warning", "a recording without SamplingFrequency, StartTime or Columns"),
    "phase-difference-named-phase1": ("warning", "a phase difference named phase1; read as phasediff"),
    "fieldmap-incomplete": ("warning", "a field map that lacks a part; it cannot be used"),
    "fieldmap-unlinked": ("warning", "a field map that no run can be linked to"),
    "participant-not-there": ("warning", "participants.tsv lists a participant without a folder"),
    "bad-participants": ("warning", "participants.tsv cannot be read"),
    "participant-not-listed": ("info", "participants.tsv does not list a participant"),
    "oblique-affine": ("info", "an oblique image; used as it is"),
    "non-ras-affine": ("info", "the voxel axes are not right, anterior, superior; used as they are"),
    "readout-time-computed": ("info", "TotalReadoutTime computed from EffectiveEchoSpacing"),
    "no-readout-time": ("info", "phase-encoding direction or readout time absent: no distortion correction"),
    "no-t1w": ("info", "no T1w image"),
    "no-fieldmap": ("info", "no field map for a run"),
    "no-events": ("info", "no events for a task run"),
    "no-physio": ("info", "no physiological recording for a run"),
    "stranger": ("info", "files that are not named as BIDS; left alone"),
}  # fmt: skip
CODES: dict[str, str] = {code: meaning for code, (_, meaning) in _TABLE.items()}
SEVERITIES: dict[str, Severity] = {code: severity for code, (severity, _) in _TABLE.items()}


@dataclass(frozen=True)
class Finding:
    """One thing wrong, or worth knowing, about a dataset.

    Parameters
    ----------
    severity : {'error', 'warning', 'info'}
        An error keeps its run, participant or file from being used.
    code : str
        One of `CODES`.
    participant : str or None
        As `sub-01`; None for the dataset as a whole.
    files : tuple of str
        Relative to the dataset's root.
    message : str
        The reason, with numbers.
    remedy : str
        What to do about it.
    """

    severity: Severity
    code: str
    participant: str | None
    files: tuple[str, ...]
    message: str
    remedy: str

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code!r} is not in the table of codes")

    def __str__(self) -> str:
        where = ", ".join(self.files) or self.participant or "dataset"
        return f"{self.severity} {self.code}: {where}: {self.message}. {self.remedy}"


def finding(code: str, participant: str | None, files: Iterable[str] | str, message: str, remedy: str) -> Finding:
    """Make a finding with the severity that the table gives its code."""
    names = (files,) if isinstance(files, str) else tuple(files)
    return Finding(SEVERITIES[code], code, participant, names, message, remedy)


def has_error(findings: Iterable[Finding]) -> bool:
    """Whether an error is among them."""
    return any(one.severity == "error" for one in findings)


@dataclass
class Report:
    """Findings about one image as they come in; call it to add one.

    Parameters
    ----------
    participant : str
        As `sub-01`.
    image : str
        Relative to the root; the file of a finding that names no other.
    findings : list of Finding
        Grows.
    """

    participant: str
    image: str
    findings: list[Finding]

    def __call__(self, code: str, message: str, remedy: str, files: Sequence[str] = ()) -> None:
        self.findings.append(finding(code, self.participant, files or (self.image,), message, remedy))
