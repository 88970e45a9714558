"""What was found wanting in a dataset: one closed table of codes, one sentence of reason and remedy each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cospine.bids.codes import CHECK, READER, Severity

CODES: dict[str, str] = {code: meaning for code, (_, meaning) in (READER | CHECK).items()}
SEVERITIES: dict[str, Severity] = {code: severity for code, (severity, _) in (READER | CHECK).items()}


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
