"""Reading a dataset: everything linked, and everything wrong with it listed at once, before any work starts."""

import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cospine.bids.attached import all_physio, physio_sidecars
from cospine.bids.fieldmaps import FieldmapImage, group_fieldmaps, link_fieldmaps
from cospine.bids.findings import Finding, finding
from cospine.bids.headers import read_header, survey_image
from cospine.bids.index import IMAGE_EXTENSIONS, Entry, Index, read_index
from cospine.bids.model import Dataset, FieldmapSet, Participant, Run
from cospine.bids.overlay import Overlay
from cospine.bids.runs import read_run, verify_run
from cospine.bids.tables import read_json, read_tsv
from cospine.errors import CoSpineError
from cospine.threads import threads

_log = logging.getLogger(__name__)
_FIELDMAP_SUFFIXES = (
    "epi",
    "phasediff",
    "phase1",
    "phase2",
    "fieldmap",
    "magnitude",
    "magnitude1",
    "magnitude2",
)
_ANATOMICAL_SUFFIXES = ("T1w", "T2w")
# Of an image read to its end: whether it can be used, and what is to be said of it.
_Surveyed = Mapping[str, tuple[bool, Finding | None]]
_ORDER = {"error": 0, "warning": 1, "info": 2}


def read_dataset(
    root: Path,
    *,
    participants: Collection[str] = (),
    sessions: Collection[str] = (),
    tasks: Collection[str] = (),
    runs: Collection[str] = (),
    verify: bool = True,
    absent: bool = False,
    overlay: Overlay | None = None,
) -> Dataset:
    """Read a BIDS dataset: link what belongs together, list all that is wrong with it.

    Parameters
    ----------
    root : Path
        Folder of the dataset. Opened for reading only.
    participants, sessions, tasks, runs : collection of str
        Labels to select, with or without `sub-`, `ses-`, `task-`, `run-`; empty for all. `1` and `01` are the same run.
    verify : bool
        Read the images to their end: are they whole and undamaged, and is the BOLD finite.
    absent : bool
        Keep anatomical and field-map images whose content is not here (a datalad clone, a manifest), as far as their sidecars go.
        Their paths lead nowhere: to look at metadata, never to process.
    overlay : Overlay, optional
        Mended metadata that stand in place of the dataset's.

    Returns
    -------
    Dataset
        With every finding; `runnable` are the runs that can be processed.

    Raises
    ------
    CoSpineError
        When the folder does not exist, is no folder or cannot be listed. Everything else is a finding.
    """
    root = Path(root)
    remedy = "Give the folder that holds dataset_description.json and the sub-* folders."
    if not root.exists():
        raise CoSpineError("no such folder", str(root), remedy)
    if not root.is_dir():
        raise CoSpineError("is not a folder", str(root), remedy)
    root = root.resolve()
    try:
        index = read_index(root, overlay)
    except OSError as error:
        reason = f"cannot be listed ({error.strerror})"
        raise CoSpineError(reason, str(error.filename or root), "Change its permissions.") from error
    findings: list[Finding] = []
    name = _description(root, findings)
    table = _participants_table(index, findings)
    wanted = [_with_prefix("sub", label) for label in participants]
    chosen = _choose(index, wanted, findings)
    if not wanted:
        _compare(index, table, findings)
    select = (
        {_with_prefix("ses", label) for label in sessions},
        {label.removeprefix("task-") for label in tasks},
        {_run_key(label) for label in runs},
    )
    surveyed = _survey(index, chosen) if verify else {}
    people = [_participant(index, label, table.get(label, {}), select, surveyed, absent) for label in chosen]
    if any(select):
        people = [one for one in people if one.runs]
    if verify:
        people = _verify(people, root)
    people = [replace(one, findings=(*one.findings, *(about for run in one.runs for about in run.findings))) for one in people]
    _no_bold(people, bool(chosen) and any(select), findings)
    for person in people:
        findings += person.findings
    findings = sorted(dict.fromkeys(findings), key=lambda one: _ORDER[one.severity])
    return Dataset(root, name, tuple(people), tuple(findings), index)


def _with_prefix(key: str, label: str) -> str:
    return label if label.startswith(f"{key}-") else f"{key}-{label}"


def _run_key(label: str) -> str:
    label = label.removeprefix("run-")
    return label.lstrip("0") or "0"


def _description(root: Path, findings: list[Finding]) -> str:
    file = "dataset_description.json"
    remedy = 'Add it, with at least {"Name": "..", "BIDSVersion": "1.11.0"}.'
    try:
        content = read_json(root / file)
    except FileNotFoundError:
        findings.append(finding("no-description", None, file, "is absent; the folder is read as BIDS all the same", remedy))
    except (OSError, ValueError) as error:
        findings.append(finding("no-description", None, file, f"cannot be read: {error}", remedy))
    else:
        if isinstance(content.get("Name"), str) and content["Name"].strip():
            return content["Name"].strip()
    return root.resolve().name


def _participants_table(index: Index, findings: list[Finding]) -> dict[str, dict[str, str]]:
    path = index.path("participants.tsv")
    if not path.exists():
        return {}
    try:
        columns = read_tsv(path)
        labels = [_with_prefix("sub", label) for label in columns["participant_id"]]
    except (OSError, ValueError, KeyError) as error:
        reason = "has no column participant_id" if isinstance(error, KeyError) else str(error)
        findings.append(finding("bad-participants", None, path.name, f"cannot be used: {reason}", "Mend the table."))
        return {}
    others = [name for name in columns if name != "participant_id"]
    return {label: {name: columns[name][row] for name in others} for row, label in enumerate(labels)}


def _choose(index: Index, wanted: Sequence[str], findings: list[Finding]) -> list[str]:
    there = index.participants
    if not there:
        findings.append(
            finding(
                "no-participant",
                None,
                (),
                "the folder holds no sub-* folder",
                "Give the folder above the sub-* folders.",
            )
        )
        return []
    for label in sorted(set(wanted) - set(there)):
        shown = ", ".join(there[:10]) + (f" and {len(there) - 10} more" if len(there) > 10 else "")
        findings.append(
            finding(
                "no-such-participant",
                label,
                (),
                f"{label} was asked for and is not there",
                f"There are: {shown}.",
            )
        )
    return [label for label in there if not wanted or label in wanted]


def _compare(index: Index, table: Mapping[str, Mapping[str, str]], findings: list[Finding]) -> None:
    if not table:
        return
    file = "participants.tsv"
    for label in sorted(set(table) - set(index.participants)):
        findings.append(
            finding(
                "participant-not-there",
                label,
                file,
                "is listed and has no folder",
                "Remove the row or add the data.",
            )
        )
    for label in sorted(set(index.participants) - set(table)):
        findings.append(finding("participant-not-listed", label, file, "has a folder and no row", "Add the row."))


def _participant(
    index: Index,
    label: str,
    attributes: Mapping[str, str],
    select: tuple[set[str], set[str], set[str]],
    surveyed: _Surveyed,
    absent: bool,
) -> Participant:
    findings: list[Finding] = []
    runs = [
        read_run(index, label, entry) for entry in _images(index, label, "func", ("bold",), findings) if _selected(entry, select)
    ]
    sessions = {run.session for run in runs} | {None}
    anatomical = _images(index, label, "anat", _ANATOMICAL_SUFFIXES, findings)
    usable = [one for one in anatomical if _usable(index, label, one, surveyed, absent, findings)]
    paths = {
        suffix: tuple(index.path(one.relative) for one in usable if one.name.suffix == suffix) for suffix in _ANATOMICAL_SUFFIXES
    }
    if runs and not any(one.name.suffix == "T1w" for one in anatomical):
        findings.append(finding("no-t1w", label, (), "no T1w image: no normalisation to MNI", "Add one if it was acquired."))
    findings += _orphans(index, label)
    fieldmaps = [one for one in _fieldmaps(index, label, surveyed, absent, findings) if not runs or one.session in sessions]
    links = link_fieldmaps(runs, fieldmaps, index.root)
    if runs and not any(select):
        findings += _unlinked(index.root, label, fieldmaps, links)
    runs = [_without_fieldmap(run, links, index.root) for run in runs]
    findings += [
        finding("unreadable-folder", label, folder, f"cannot be listed: {reason}", "Change its permissions.")
        for folder, reason in index.unreadable.get(label, ())
    ]
    if index.strangers.get(label):
        files = index.strangers[label]
        findings.append(finding("stranger", label, files, f"{len(files)} not named as BIDS; left alone", "Nothing to do."))
    return Participant(
        label=label,
        runs=tuple(runs),
        t1w=paths["T1w"],
        t2w=paths["T2w"],
        fieldmaps=tuple(fieldmaps),
        physio=all_physio(index, label),
        physio_sidecars=physio_sidecars(index, label),
        attributes=attributes,
        findings=tuple(findings),
        links=links,
    )


def _images(index: Index, participant: str, datatype: str, suffixes: Sequence[str], findings: list[Finding]) -> list[Entry]:
    """Return the images of some suffixes, each once, leaving aside those whose name contradicts their place."""
    chosen: dict[str, Entry] = {}
    for entry in index.entries(participant, datatype):
        if entry.name.suffix not in suffixes or entry.name.extension not in IMAGE_EXTENSIONS:
            continue
        entities = entry.name.entities
        session = entry.folder.split("/")[1] if entry.folder.count("/") == 2 else None
        reason = ""
        if f"sub-{entities.get('sub')}" != participant or entry.session != session:
            reason = f"the name does not belong in {entry.folder}/"
        elif datatype == "func" and "task" not in entities:
            reason = "the name has no task-"
        if reason:
            findings.append(
                finding(
                    "misplaced-file",
                    participant,
                    entry.relative,
                    f"{reason}; left aside",
                    "Rename or move it.",
                )
            )
            continue
        if entities.get("part", "mag") != "mag":
            continue  # phase, real or imaginary part beside the magnitude: no series of its own
        stem = entry.relative.removesuffix(entry.name.extension)
        if stem in chosen:
            both = sorted((chosen[stem], entry), key=lambda one: -len(one.name.extension))
            findings.append(
                finding(
                    "duplicate-image",
                    participant,
                    [one.relative for one in both],
                    f"the same image twice; {both[0].file} is used",
                    "Remove one of them.",
                )
            )
            entry = both[0]
        chosen[stem] = entry
    return list(chosen.values())


def _orphans(index: Index, participant: str) -> list[Finding]:
    """BOLD sidecars in a participant's `func` that no image there inherits from."""
    entries = index.entries(participant, "func")
    images = [one.name.entities.items() for one in entries if one.name.extension in IMAGE_EXTENSIONS]
    return [
        finding(
            "image-missing",
            participant,
            one.relative,
            "is the sidecar of an image that is not there",
            "Fetch or convert the image, or remove the sidecar.",
        )
        for one in entries
        if one.name.suffix == "bold" and one.name.extension == ".json"
        if not any(one.name.entities.items() <= entities for entities in images)
    ]


def _selected(entry: Entry, select: tuple[set[str], set[str], set[str]]) -> bool:
    sessions, tasks, runs = select
    run = entry.name.entities.get("run")
    return (
        (not sessions or entry.session in sessions)
        and (not tasks or entry.name.entities["task"] in tasks)
        and (not runs or (run is not None and _run_key(run) in runs))
    )


def _fieldmaps(index: Index, participant: str, surveyed: _Surveyed, absent: bool, findings: list[Finding]) -> list[FieldmapSet]:
    images: list[FieldmapImage] = []
    for entry in _images(index, participant, "fmap", _FIELDMAP_SUFFIXES, findings):
        if not _usable(index, participant, entry, surveyed, absent, findings):
            continue
        sidecar = index.sidecar(entry)
        for file, reason in sidecar.broken:
            findings.append(finding("invalid-json", participant, file, f"cannot be read: {reason}", "Mend the file."))
        images.append(FieldmapImage(index.path(entry.relative), entry, sidecar.content))
    sets, incomplete = group_fieldmaps(participant, images)
    findings += incomplete
    return sets


def _usable(index: Index, participant: str, entry: Entry, surveyed: _Surveyed, absent: bool, findings: list[Finding]) -> bool:
    if read_header(index, participant, entry, findings) is None:
        return absent and entry.relative in index.absent
    usable, said = surveyed.get(entry.relative, (True, None))
    if said:
        findings.append(said)
    return usable


def _unlinked(
    root: Path,
    participant: str,
    fieldmaps: Sequence[FieldmapSet],
    links: Mapping[str, tuple[tuple[str, str], ...]],
) -> list[Finding]:
    used = {identifier for pairs in links.values() for identifier, _ in pairs}
    return [
        finding(
            "fieldmap-unlinked",
            participant,
            [path.relative_to(root).as_posix() for path in one.images],
            "no run names it, is named by it, shares its acq-, or has it as the only one",
            "Add B0FieldIdentifier to it and B0FieldSource to its runs, or IntendedFor to it.",
        )
        for one in fieldmaps
        if one.identifier not in used
    ]


def _without_fieldmap(run: Run, links: Mapping[str, tuple[tuple[str, str], ...]], root: Path) -> Run:
    if links.get(run.prefix):
        return run
    missing = finding(
        "no-fieldmap",
        run.participant,
        run.bold.relative_to(root).as_posix(),
        "no field map belongs to this run: distortion cannot be corrected",
        "Add or link one if it was acquired.",
    )
    return replace(run, findings=(*run.findings, missing))


def _survey(index: Index, participants: Sequence[str]) -> _Surveyed:
    """Read the anatomical and field-map images to their end."""
    entries = [
        (label, entry)
        for label in participants
        for datatype, suffixes in (("anat", _ANATOMICAL_SUFFIXES), ("fmap", _FIELDMAP_SUFFIXES))
        for entry in index.entries(label, datatype)
        if entry.name.suffix in suffixes and entry.name.extension in IMAGE_EXTENSIONS
    ]
    with ThreadPoolExecutor(threads()) as pool:
        results = pool.map(lambda pair: survey_image(index, *pair), entries)
        return {entry.relative: result for (_, entry), result in zip(entries, results, strict=True)}


def _verify(people: Sequence[Participant], root: Path) -> list[Participant]:
    _log.info("reading %d BOLD images to their end", sum(len(person.runs) for person in people))
    with ThreadPoolExecutor(threads()) as pool:
        pending = [[pool.submit(verify_run, run, root) for run in person.runs] for person in people]
        verified = [tuple(one.result() for one in futures) for futures in pending]
    return [replace(person, runs=runs) for person, runs in zip(people, verified, strict=True)]


def _no_bold(people: Sequence[Participant], selecting: bool, findings: list[Finding]) -> None:
    without = [person.label for person in people if not person.runs]
    if selecting and not people:
        message = "no run has the session, task or run that was asked for"
        findings.append(
            finding(
                "nothing-selected",
                None,
                (),
                message,
                "Ask for labels that are in the file names, or for none.",
            )
        )
    if not without:
        return
    remedy = "Add sub-XX_task-.._bold.nii.gz under func/, or leave the participant out."
    if len(without) == len(people):
        message = "no BOLD image in the whole dataset" if len(people) > 1 else "no BOLD image"
        findings.append(finding("no-bold", None, without, message, remedy))
        return
    findings += [finding("no-bold", label, label, "no BOLD image", remedy) for label in without]
