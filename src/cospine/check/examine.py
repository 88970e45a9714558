"""All checks of a dataset, in one list."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cospine.bids import SEVERITIES, Dataset, Finding, finding, read_dataset
from cospine.check.contents import check_contents
from cospine.check.events import check_events
from cospine.check.fieldmaps import check_fieldmaps
from cospine.check.people import check_people
from cospine.check.protocol import IN_DATASET, Card, as_required, check_protocol, cospine_card, read_card
from cospine.check.readme import check_readme
from cospine.check.recordings import check_recordings
from cospine.check.scope import Scope
from cospine.check.sidecars import check_readable, check_sidecars, copied_files
from cospine.check.validator import check_with_validator

logger = logging.getLogger(__name__)

_ORDER = {"error": 0, "warning": 1, "info": 2}
# what follows from clocks, shims and orientations that sidecars state
_OF_SIDECARS = frozenset(
    {
        "physio-swapped", "physio-of-another-run", "physio-elsewhere", "physio-partial", "fieldmap-gap", "fieldmap-shim",
        "fieldmap-rotated", "fieldmap-orientation", "phase-shim", "shim-readjusted",
    }
)  # fmt: skip
# of what the reader says of every image that is not here: said once instead
_OF_CONTENT = ("content-missing",)


@dataclass(frozen=True, eq=False)
class Examination:
    """What was found in a dataset.

    Parameters
    ----------
    scope : Scope
        The dataset and its files.
    findings : tuple of Finding
        Errors first, then by code and file.
    card : Card
        What the acquisition was compared with.
    """

    scope: Scope
    findings: tuple[Finding, ...]
    card: Card

    @property
    def failed(self) -> bool:
        """Whether an error is among the findings."""
        return any(one.severity == "error" for one in self.findings)

    def count(self, severity: str) -> int:
        """How many findings there are of a severity."""
        return sum(one.severity == severity for one in self.findings)


def examine(
    root: Path,
    card: Path | None = None,
    *,
    verify: bool = True,
    validator: bool = True,
    said: Callable[[str], None] = logger.info,
) -> Examination:
    """Check a dataset.

    Parameters
    ----------
    root : Path
        Its folder; opened for reading only.
    card : Path, optional
        Protocol card; by default the dataset's own (`code/protocol_card.json`), else CoSpine's.
    verify : bool
        Read the images that are here to their end.
    validator : bool
        Run the official BIDS validator too, where there are images.
    said : callable
        Told, in words, what is being done.

    Returns
    -------
    Examination

    Raises
    ------
    CoSpineError
        When the folder or the card cannot be read.
    """
    chosen = chosen_card(root, card)
    said("reading names, sidecars, tables and images")
    dataset = read_dataset(root, verify=verify, absent=True)
    scope = scope_of(dataset)
    said("comparing")
    found = [*_of_reader(scope, chosen), *metadata_findings(scope, chosen), *check_contents(scope)]
    if validator and not scope.nothing_here and scope.index.participants:
        said("asking the official BIDS validator")
        found += check_with_validator(scope.index.root)
    elif validator:
        found.append(
            Finding(
                "info", "validator-absent", None, (), "the official BIDS validator was not run: it needs the images",
                "Fetch the images, and check again.",
            )
        )  # fmt: skip
    return Examination(scope, ordered(found), chosen)


def chosen_card(root: Path, card: Path | None) -> Card:
    """The card asked for, else the dataset's own, else CoSpine's.

    Raises
    ------
    CoSpineError
        When it cannot be read.
    """
    if card is not None:
        return read_card(card)
    own = Path(root) / IN_DATASET
    return read_card(own) if own.is_file() else cospine_card()


def scope_of(dataset: Dataset) -> Scope:
    """A dataset that was read, for the checks."""
    if dataset.index is None:
        raise ValueError("the dataset was not read from a folder")
    return Scope(dataset, dataset.index)


def metadata_findings(scope: Scope, card: Card) -> Iterator[Finding]:
    """Everything that names, sidecars, tables and recordings tell; reads no image but for its header."""
    yield from check_readable(scope)
    yield from check_sidecars(scope)
    copied = copied_files(scope)
    for one in (*check_fieldmaps(scope), *check_recordings(scope)):
        yield _qualified(one, copied)
    yield from check_events(scope)
    yield from check_people(scope, card.covered())
    yield from check_readme(scope)
    yield from check_protocol(scope, card)


def with_findings(dataset: Dataset) -> Dataset:
    """A dataset about to be processed, with what the checks of names, sidecars and tables find about those chosen.

    Recordings are judged where they are read, by the same functions.
    """
    scope = scope_of(dataset)
    chosen = {person.label for person in dataset.participants}
    found = [
        one
        for check in (check_sidecars, check_contents, check_fieldmaps, check_events)
        for one in check(scope)
        if one.severity != "info" and (one.participant in chosen or (one.participant is None and _names(one, chosen)))
    ]
    people = tuple(
        replace(
            person,
            findings=(
                *person.findings,
                *(one for one in found if one.participant == person.label or _names(one, {person.label})),
            ),
        )
        for person in dataset.participants
    )
    overlay = scope.index.overlay
    if overlay is not None:
        text = f"{len(overlay.files)} metadata files mended and {len(overlay.renames)} renamed by cospine check --apply are used"
        logger.info("%s (%s)", text, overlay.folder)
        found.append(
            finding(
                "overlay-used",
                None,
                tuple(sorted({*overlay.files, *overlay.renames})),
                text,
                f"Remove {overlay.folder} to read the dataset as it is.",
            )
        )
    return replace(dataset, participants=people, findings=ordered([*dataset.findings, *found]))


def _names(one: Finding, labels: set[str]) -> bool:
    """Whether a finding about several people names a file of one of these."""
    return any(file.split("/")[0] in labels for file in one.files)


def _qualified(one: Finding, copied: frozenset[str]) -> Finding:
    """A finding that rests on a clock, a shim or an orientation, which may be another's."""
    if one.code not in _OF_SIDECARS or not copied:
        return one
    stems = {file.partition(".")[0] for file in one.files}
    stems |= {f"{stem.partition('_recording-')[0].removesuffix('_physio')}_bold" for stem in stems}
    doubtful = sorted(f"{stem}.json" for stem in stems if f"{stem}.json" in copied)
    if not doubtful:
        return one
    return replace(one, message=f"{one.message}; but that rests on {', '.join(doubtful)}, whose content another image has too")


def _of_reader(scope: Scope, card: Card) -> list[Finding]:
    """What the reader found; of content that is nowhere here one finding of another check speaks."""
    found = [one for one in scope.dataset.findings if not (scope.nothing_here and one.code in _OF_CONTENT)]
    return _gathered([_as_meant(scope, card, one) for one in found])


def _as_meant(scope: Scope, card: Card, one: Finding) -> Finding:
    """A series too short for `cospine run` whose card wants it so is nothing wrong with the dataset."""
    if one.code != "too-few-volumes" or not all(as_required(scope, card, file) for file in one.files):
        return one
    return finding(
        "short-as-required",
        one.participant,
        one.files,
        f"{one.message}; so short by its card",
        "Nothing to do: cospine run leaves it aside.",
    )


def _gathered(findings: list[Finding]) -> list[Finding]:
    """One finding for what is said of many files of a person in the same words."""
    groups: dict[tuple[str, str | None, str, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.code, one.participant, one.message, one.remedy), []).append(one)
    return [
        replace(members[0], files=tuple(dict.fromkeys(file for one in members for file in one.files)))
        for members in groups.values()
    ]


def ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first, then by code, participant and file; each once."""
    unique = dict.fromkeys(findings)
    rank = {code: at for at, code in enumerate(SEVERITIES)}
    return tuple(sorted(unique, key=lambda one: (_ORDER[one.severity], rank[one.code], one.participant or "", one.files)))
