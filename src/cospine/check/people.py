"""participants.tsv against what is there, tables as written, images against their siblings, converters, scanners, litter."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from cospine.bids import Finding, Participant, Run, finding
from cospine.bids.tables import read_tsv
from cospine.check.recordings import KINDS, WORD, channels_there
from cospine.check.scope import Picture, Scope, frozen, listed, rule_of
from cospine.physio.recording import Kind

_CHANNEL: dict[Kind, re.Pattern[str]] = {
    "cardiac": re.compile(r"\b(puls\w*|ppg|cardiac|ecg|ekg|physio\w*)\b", re.IGNORECASE),
    "respiratory": re.compile(r"\b(resp\w*|breath\w*|belt|physio\w*)\b", re.IGNORECASE),
}
_LACKING = re.compile(
    r"\b(no|without|missing|lacks?|lacking|lost|absent|none|fail\w*|broke\w*|damaged|corrupt\w*|unusable|"
    r"not (?:recorded|acquired|available|saved|collected|there))\b",
    re.IGNORECASE,
)
_ONLY = re.compile(r"\bonly\b", re.IGNORECASE)
# of the person, not of a recording
_HEALTH = re.compile(r"\b(history|disease\w*|disorder\w*|condition\w*|surgery|medication\w*|problem\w*)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[;.]|\bbut\b", re.IGNORECASE)
_ABSENT = frozenset({"no", "n", "0", "false", "missing", "absent"})
_PRESENT = frozenset({"yes", "y", "1", "true", "present"})
# parameters that every image of a kind shares, whatever the person
_PARAMETERS = (
    "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "PartialFourier", "ParallelReductionFactorInPlane",
    "MultibandAccelerationFactor", "SliceThickness", "SpacingBetweenSlices", "BaseResolution", "AcquisitionMatrixPE",
    "PhaseEncodingDirection", "EffectiveEchoSpacing", "TotalReadoutTime", "PixelBandwidth", "BandwidthPerPixelPhaseEncode",
    "ReceiveCoilName", "MagneticFieldStrength", "NumberOfVolumesDiscardedByScanner",
)  # fmt: skip
_TOLERANCE = 1e-3
_TABLE_ENDINGS = (".tsv",)


def check_people(scope: Scope, covered: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """All of this module.

    Parameters
    ----------
    scope : Scope
    covered : mapping of str to frozenset of str
        Parameters that a protocol card judges, by suffix: they are not compared with siblings as well.
    """
    if not (scope.index.root / "participants.tsv").is_file():
        yield finding(
            "no-participants-table", None, (), "there is no participants.tsv: nothing is known of the people but their labels",
            "Add one row a person, with age, sex and site.",
        )  # fmt: skip
    yield from _comments(scope)
    yield from _tables(scope)
    yield from _parameters(scope, covered)
    yield from _names(scope)
    yield from _converters(scope)
    yield from _sites(scope)
    if scope.index.litter:
        files = scope.index.litter
        yield finding("litter", None, files, f"{len(files)} files that an operating system left behind", "Delete them.")


# --- participants.tsv -------------------------------------------------------------------------------------------------


def said_missing(attributes: Mapping[str, str], task: str, tasks: Sequence[str]) -> dict[Kind, str]:
    """Channels that a row of participants.tsv says a run lacks, each with the words that say so."""
    found: dict[Kind, str] = {}
    for column, value in attributes.items():
        for kind, words in _CHANNEL.items():
            if words.fullmatch(column.split("_")[0]) and value.lower() in _ABSENT:
                found.setdefault(kind, f"{column}: {value}")
        for clause in _CLAUSE.split(value):
            lacking = bool(_LACKING.search(clause))
            if _HEALTH.search(clause) or not (lacking or _ONLY.search(clause)):
                continue
            plain = re.sub(r"[^a-z0-9]", "", clause.lower())
            named = [one for one in tasks if one.lower() in plain]
            # motorL is named by "motor_L"; a name within a longer one that is named too does not count
            named = [one for one in named if not any(one != other and one in other for other in named)]
            if named and task not in named:
                continue
            spoken: list[Kind] = [kind for kind, words in _CHANNEL.items() if words.search(clause)]
            if not lacking:  # "only resp": the other one is missing
                spoken = [kind for kind in _CHANNEL if kind not in spoken] if len(spoken) == 1 else []
            for kind in spoken:
                found.setdefault(kind, f"{column}: {value}")
    return found


def _comments(scope: Scope) -> Iterator[Finding]:
    tasks = sorted({run.task for person in scope.dataset.participants for run in person.runs if run.task})
    speaking = any(
        said_missing(person.attributes, run.task, tasks) for person in scope.dataset.participants for run in person.runs
    )
    usual = any(channels_there(person, run) for person in scope.dataset.participants for run in person.runs)
    for person in scope.dataset.participants:
        for run in person.runs:
            said = said_missing(person.attributes, run.task, tasks)
            there = channels_there(person, run)
            yield from _contradicted(scope, person, run, said, there)
            commented = any(name.lower().startswith(("comment", "note", "remark")) for name in person.attributes)
            unsaid = [kind for kind in KINDS if kind not in there and kind not in said]
            if unsaid and usual and (speaking or commented):
                what = " and ".join(WORD[kind] for kind in unsaid)
                yield finding(
                    "comment-contradicts",
                    person.label,
                    ("participants.tsv", run.bold.relative_to(scope.index.root).as_posix()),
                    f"there is no recording of {what} for {run.prefix}, and participants.tsv does not say that it is missing",
                    "Add the recording, or say in participants.tsv that there is none.",
                )


def _contradicted(scope: Scope, person: Participant, run: Run, said: Mapping[Kind, str], there: set[Kind]) -> Iterator[Finding]:
    wrong: list[Kind] = [kind for kind in KINDS if kind in said and kind in there]
    if not wrong:
        return
    recordings = [path.relative_to(scope.index.root).as_posix() for path in run.physio]
    yield finding(
        "comment-contradicts",
        person.label,
        ("participants.tsv", *recordings),
        f"participants.tsv says {said[wrong[0]]!r}, and there is a recording of {' and '.join(WORD[kind] for kind in wrong)} "
        f"for {run.prefix}",
        "Find out whose recording it is, or correct the table.",
    )


# --- tables as written -------------------------------------------------------------------------------------------------


def tables_of(scope: Scope) -> list[str]:
    """Tables with a header line that are here, relative to the root."""
    return [
        entry.relative
        for entries in scope.index.folders.values()
        for entry in entries
        if entry.name.extension in _TABLE_ENDINGS and entry.name.suffix not in ("physio", "manifest")
        if entry.relative not in scope.index.absent
    ]


def _tables(scope: Scope) -> Iterator[Finding]:
    windows: list[str] = []
    spelt: dict[str, set[str]] = {}
    for relative in tables_of(scope):
        try:
            content = scope.index.path(relative).read_bytes()
        except OSError:
            continue  # whoever needs the table says so
        if b"\r\n" in content or b"\r" in content:
            windows.append(relative)
        wrong = {
            cell.strip()
            for line in content.decode("utf-8-sig", "replace").splitlines()[1:]
            for cell in line.split("\t")
            if re.fullmatch(r"\s*(N/A|n\.a\.?|NA|nan|none|null)\s*", cell, re.IGNORECASE) and cell != "n/a"
        }
        if wrong:
            spelt[relative] = wrong
    if windows:
        yield finding(
            "crlf",
            None,
            windows,
            f"{len(windows)} tables with line ends of Windows; read as meant",
            "Write them with plain line feeds.",
        )
    if spelt:
        words = sorted({word for found in spelt.values() for word in found})
        yield finding(
            "not-available", None, tuple(spelt), f"missing values spelt {', '.join(words)}; read as n/a",
            "Write n/a, as BIDS has it.",
        )  # fmt: skip


# --- images against their siblings -------------------------------------------------------------------------------------


def _parameters(scope: Scope, covered: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    deviations: dict[tuple[str, str], list[str]] = {}
    people: dict[str, str] = {}
    for pictures in scope.by_kind.values():
        for key in _PARAMETERS:
            if key in covered.get(pictures[0].suffix, frozenset()):
                continue
            values = {id(one): _rounded(one.sidecar[key]) for one in pictures if key in one.sidecar}
            rule = rule_of(values.values())
            if rule is None:
                continue
            for one in pictures:
                if id(one) in values and values[id(one)] != rule and not _close(values[id(one)], rule):
                    deviations.setdefault((one.participant, one.about), []).append(f"{key} {one.sidecar[key]} instead of {rule}")
                    people[one.about] = one.participant
    for (participant, file), texts in deviations.items():
        yield finding(
            "parameter-differs",
            participant,
            file,
            f"{'; '.join(texts)} in most others",
            "Compare with the protocol of the session.",
        )


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else frozen(value)


def _close(value: object, rule: object) -> bool:
    numbers = [one for one in (value, rule) if isinstance(one, int | float) and not isinstance(one, bool)]
    return len(numbers) == 2 and abs(numbers[0] - numbers[1]) <= _TOLERANCE * max(abs(numbers[0]), abs(numbers[1]))


def _names(scope: Scope) -> Iterator[Finding]:
    """Names that the scanner gave to series: those of another task or repetition stand out."""
    for pictures in scope.by_kind.values():
        names = {
            id(one): str(one.sidecar["ProtocolName"]) for one in pictures if isinstance(one.sidecar.get("ProtocolName"), str)
        }
        counted = sorted(names.values(), key=lambda name: -list(names.values()).count(name))
        if len(names) < 4 or len(set(names.values())) < 2 or 2 * list(names.values()).count(counted[0]) <= len(names):
            continue
        others = [one for one in pictures if id(one) in names and names[id(one)] != counted[0]]
        said = "; ".join(f"{one.participant} {names[id(one)]}" for one in others)
        yield finding(
            "series-name-differs",
            None,
            [one.about for one in others],
            f"most are named {counted[0]} at the scanner; {said}",
            "Find out whether it is the run it is named after.",
        )


# --- converters and scanners --------------------------------------------------------------------------------------------


def _version(picture: Picture) -> str:
    said = picture.sidecar.get("ConversionSoftwareVersion")
    return said.split()[0] if isinstance(said, str) and said.split() else ""


def _converters(scope: Scope) -> Iterator[Finding]:
    versions: dict[str, list[str]] = {}
    for one in scope.pictures:
        if _version(one):
            versions.setdefault(_version(one), []).append(one.participant)
    if len(versions) > 1:
        said = "; ".join(f"{version}: {listed(people)}" for version, people in sorted(versions.items()))
        yield finding(
            "dialects", None, (), f"sidecars of {len(versions)} versions of the converter ({said})",
            "Nothing to do: all are read. Convert all with one version to compare them key by key.",
        )  # fmt: skip
    try:
        description = json.loads((scope.index.root / "dataset_description.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # the reader says so
    generated = description.get("GeneratedBy") if isinstance(description, dict) else None
    for one in generated if isinstance(generated, list) else []:
        if not isinstance(one, dict) or "dcm2niix" not in str(one.get("Name", "")).lower():
            continue
        claimed = str(one.get("Version", ""))
        if claimed and versions and claimed.split()[0] not in versions:
            yield finding(
                "description-contradicts",
                None,
                "dataset_description.json",
                f"says dcm2niix {claimed}; the sidecars say {', '.join(sorted(versions))}",
                "Correct GeneratedBy.",
            )


def _sites(scope: Scope) -> Iterator[Finding]:
    sites: dict[tuple[str, ...], list[str]] = {}
    for one in scope.pictures:
        serial = one.sidecar.get("DeviceSerialNumber")
        place = re.sub(r"[\s_]+", " ", str(one.sidecar.get("InstitutionName", ""))).strip()
        maker = f"{one.sidecar.get('Manufacturer', '')} {one.sidecar.get('ManufacturersModelName', '')}".replace(
            "MAGNETOM ", ""
        ).strip()
        if serial is not None or place:
            sites.setdefault((place, maker, str(serial or "")), []).append(one.participant)
    merged: dict[str, list[str]] = {}
    for (place, maker, serial), people in sites.items():
        merged.setdefault(" ".join(word for word in (place, maker, serial) if word), []).extend(people)
    if merged:
        said = "; ".join(f"{name}: {len(set(people))} ({listed(people)})" for name, people in merged.items())
        plural = "scanner" if len(merged) == 1 else "scanners"
        yield finding("sites", None, (), f"{len(merged)} {plural}: {said}", "Nothing to do; a group analysis needs the site.")


def columns_of(scope: Scope, relative: str) -> dict[str, list[str]]:
    """A table, or nothing where it cannot be read."""
    try:
        return read_tsv(scope.index.path(relative))
    except (OSError, ValueError):
        return {}
