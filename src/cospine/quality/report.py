"""The report of one participant: one HTML file that needs nothing else, to read, to print and to send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import quote

from cospine.quality.figure import Figure

if TYPE_CHECKING:
    from jinja2 import Environment

Level = Literal["good", "look", "bad"]


class Finding(Protocol):
    """What the report reads of a finding (``cospine.bids`` has the class)."""

    @property
    def severity(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def files(self) -> tuple[str, ...]: ...
    @property
    def message(self) -> str: ...
    @property
    def remedy(self) -> str: ...


@dataclass(frozen=True)
class Verdict:
    """One line in plain words with its number; `level` says whether the reader should look closer."""

    level: Level
    text: str


@dataclass(frozen=True)
class Number:
    """One headline number of a run: shown as ``before → value unit`` when `before` is given.

    `exact` holds what is shown unrounded, under names of `cospine.quality.measures`.
    """

    label: str
    value: str
    unit: str = ""
    before: str = ""
    region: Literal["", "brain", "cord"] = ""
    exact: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Something that went wrong while the run was processed.

    Attributes
    ----------
    where : str
        Run and step.
    what : str
        What is wrong, in one sentence.
    remedy : str
        What to do about it.
    details : str
        Traceback or log excerpt; folded away in the page.
    """

    where: str
    what: str
    remedy: str = ""
    details: str = ""


@dataclass(frozen=True)
class Cost:
    """What a step took: wall time, and the most memory that the process and its children held meanwhile."""

    step: str
    seconds: float
    peak_gb: float


@dataclass(frozen=True)
class RunReport:
    """Everything the page says about one run, or about one anatomical image.

    Attributes
    ----------
    prefix : str
        BIDS prefix, e.g. ``sub-01_task-pain_run-1``; also the anchor in the page.
    title : str
        For people, e.g. ``pain, run 1``.
    facts : tuple of (label, value)
        What was read: file, shape, voxel size, TR, volumes, slice times, phase encoding, readout time, events,
        physiology, field map.
    verdicts : tuple of Verdict
    numbers : tuple of Number
    findings : tuple of Finding
        Problems of the input of this run.
    figures : tuple of Figure
    notes : tuple of str
        Warnings raised while it was processed.
    outputs : tuple of (file, description)
        What was written, paths relative to the derivatives.
    costs : tuple of Cost
        Time and memory of each step.
    further : mapping of name to float
        Measures that no headline number shows, under names of `cospine.quality.measures`.
    """

    prefix: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    numbers: tuple[Number, ...] = ()
    findings: tuple[Finding, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    costs: tuple[Cost, ...] = ()
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def measures(self) -> dict[str, float]:
        """All measures: those of the headline numbers, and the further ones."""
        return exact_of(self.numbers) | dict(self.further)


def exact_of(numbers: Sequence[Number]) -> dict[str, float]:
    """What headline numbers show, unrounded, by name."""
    return {name: value for number in numbers for name, value in number.exact.items()}


@dataclass(frozen=True)
class ParticipantReport:
    """Everything the page says about one participant.

    Attributes
    ----------
    participant : str
        ``sub-01``.
    dataset : str
        Name of the dataset.
    version : str
        Version of CoSpine.
    runs : tuple of RunReport
    anatomies : tuple of RunReport
        The person's anatomical images that runs were aligned to; shown once, before the runs.
    attributes : tuple of (label, value)
        Row of participants.tsv, sessions, anatomy found.
    findings : tuple of Finding
        Problems of the input that belong to no single run.
    errors : tuple of Failure
    methods : tuple of str
        Paragraphs of the methods text, to be pasted into a paper.
    citations : tuple of str
    settings, software, provenance : tuple of (label, value)
    created : str
        Date to print, given by the caller; nothing is printed when empty, so that the bytes repeat.
    """

    participant: str
    dataset: str
    version: str
    runs: tuple[RunReport, ...] = ()
    anatomies: tuple[RunReport, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()
    errors: tuple[Failure, ...] = ()
    methods: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    software: tuple[tuple[str, str], ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    created: str = ""


def participant_html(report: ParticipantReport) -> str:
    """The page as text: no script, no address outside the file, the same text for the same report.

    Parameters
    ----------
    report : ParticipantReport

    Returns
    -------
    str
        HTML 5, UTF-8.
    """
    return environment().get_template("participant.html.j2").render(report=report, found=_counts(report))


def environment() -> "Environment":
    """What turns the templates of this package into pages: everything escaped, everything defined."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("cospine.quality"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["data_uri"] = _data_uri
    made.filters["worst_first"] = _worst_first
    return made


def _data_uri(svg: str) -> str:
    """An SVG as a data address, percent-encoded: shorter than base64 and clean inside a double-quoted attribute."""
    return "data:image/svg+xml," + quote(" ".join(svg.split()), safe=" /:=+,;()!*@$?~-._'")


def _worst_first(findings: Sequence[Finding]) -> list[Finding]:
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda finding: (order.get(finding.severity, 3), finding.code, finding.files))


def _counts(report: ParticipantReport) -> dict[str, int]:
    """How many findings of each severity, over the participant and all runs."""
    every = [*report.findings, *(finding for run in report.runs for finding in run.findings)]
    return {kind: sum(finding.severity == kind for finding in every) for kind in ("error", "warning", "info")}
