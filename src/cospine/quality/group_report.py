"""The report of a group: one HTML file in the style of the participants' pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsFloat

from cospine.quality.figure import Figure
from cospine.quality.report import Failure, Number, Verdict, environment


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes
    ----------
    title, caption : str
    columns : tuple of str
    rows : tuple of tuple of str
    marked : tuple of int
        Rows in bold.
    file : str
        Where all of it is, relative to the derivatives.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: tuple[int, ...] = ()
    file: str = ""


@dataclass(frozen=True)
class FlowBox:
    """The way of people through one analysis.

    Attributes
    ----------
    title, task : str
    considered, analysed : int
    excluded : tuple of (reason, names)
    by_site : str
        How many of which site were analysed.
    """

    title: str
    task: str
    considered: int
    analysed: int
    excluded: tuple[tuple[str, tuple[str, ...]], ...] = ()
    by_site: str = ""


@dataclass(frozen=True)
class AnalysisReport:
    """What the page says about one contrast, or about coupling.

    Attributes
    ----------
    key : str
        Anchor in the page.
    title : str
    verdicts, numbers, notes, facts, outputs
        As in `cospine.quality.report.RunReport`.
    parts : tuple of Figure or Table
        In their order.
    """

    key: str
    title: str
    verdicts: tuple[Verdict, ...] = ()
    numbers: tuple[Number, ...] = ()
    notes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    parts: tuple[Figure | Table, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class GroupReport:
    """Everything the page says about a group.

    Attributes
    ----------
    dataset, version : str
    people : int
    rules : str
        Rules of exclusion, one sentence without its stop.
    flows : tuple of FlowBox
    analyses, couplings : tuple of AnalysisReport
    quality : tuple of Figure or Table
    notes : tuple of str
    errors : tuple of Failure
        Analyses that were refused.
    attributes, settings, software, provenance : tuple of (label, value)
    methods, citations : tuple of str
    """

    dataset: str
    version: str
    people: int
    rules: str
    flows: tuple[FlowBox, ...] = ()
    analyses: tuple[AnalysisReport, ...] = ()
    couplings: tuple[AnalysisReport, ...] = ()
    quality: tuple[Figure | Table, ...] = ()
    notes: tuple[str, ...] = ()
    errors: tuple[Failure, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    software: tuple[tuple[str, str], ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    methods: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()


def group_html(report: GroupReport) -> str:
    """The page as text: no script, no address outside the file, the same text for the same report."""
    return environment().get_template("group.html.j2").render(report=report)


def p_text(p: float) -> str:
    """A p value for people."""
    if p != p:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number_text(value: SupportsFloat, digits: int = 2, *, plus: bool = False) -> str:
    """A rounded number with a true minus sign; a dash where there is none."""
    number = float(value)
    if number != number:
        return "–"
    return f"{round(number, digits) + 0.0:{'+' if plus else ''}.{digits}f}".replace("-", "−")


def place_text(mm: Sequence[float]) -> str:
    """A point in mm for people."""
    return ", ".join(f"{value:.0f}".replace("-", "−") for value in mm)
