"""Findings for machines and for people: a list of records, and one page that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cospine import __version__
from cospine.bids import CODES, Finding
from cospine.check.examine import Examination

_SAYS = {"error": "stops a run", "warning": "weakens it", "info": "worth knowing"}


def as_records(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as `--json` writes them.

    Returns
    -------
    list of dict
        `severity`, `code`, `participant` (or None), `files`, `message`, `remedy`.
    """
    return [
        {
            "severity": one.severity,
            "code": one.code,
            "participant": one.participant,
            "files": list(one.files),
            "message": one.message,
            "remedy": one.remedy,
        }
        for one in findings
    ]


@dataclass(frozen=True)
class _Group:
    """Findings of one code."""

    code: str
    severity: str
    meaning: str
    findings: tuple[Finding, ...]


def _groups(findings: Sequence[Finding]) -> list[_Group]:
    table: dict[str, list[Finding]] = {}
    for one in findings:
        table.setdefault(one.code, []).append(one)
    return [_Group(code, members[0].severity, CODES[code], tuple(members)) for code, members in table.items()]


def page(examination: Examination) -> str:
    """The page of an examination: HTML, self-contained."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("cospine.check", "templates"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scope = examination.scope
    people = scope.index.participants
    severities = list(_SAYS)
    matrix = {
        person: [
            sum(one.participant == person and one.severity == severity for one in examination.findings) for severity in severities
        ]
        for person in people
    }
    return environment.get_template("findings.html").render(
        name=scope.dataset.name,
        version=__version__,
        card=examination.card,
        runs=sum(len(person.runs) for person in scope.dataset.participants),
        images=len(scope.pictures),
        absent=sum(one.absent is not None for one in scope.pictures),
        people=people,
        matrix=matrix,
        says=_SAYS,
        counts={severity: examination.count(severity) for severity in severities},
        groups=_groups(examination.findings),
    )
