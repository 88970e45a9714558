"""The files of a dataset: one pass over its folders, and the inheritance principle."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cospine.bids.absent import Absent, annex_content, read_manifest
from cospine.bids.names import ENTITIES, Name, parse_name
from cospine.bids.overlay import Overlay
from cospine.bids.tables import read_json

DATATYPES = ("anat", "func", "fmap")
# what operating systems and editors leave behind
_LITTER = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|\._.*|.*~|.*\.swp", re.IGNORECASE)
IMAGE_EXTENSIONS = (".nii.gz", ".nii")
_SUBJECT = re.compile(r"sub-[a-zA-Z0-9+]+")
_SESSION = re.compile(r"ses-[a-zA-Z0-9+]+")


@dataclass(frozen=True)
class Entry:
    """One file whose name is understood.

    Parameters
    ----------
    folder : str
        Relative to the root, with `/`; empty for the root.
    file : str
        Its name.
    name : Name
        The name taken apart.
    """

    folder: str
    file: str
    name: Name

    @property
    def relative(self) -> str:
        """Path relative to the root."""
        return f"{self.folder}/{self.file}" if self.folder else self.file

    @property
    def session(self) -> str | None:
        """As `ses-1`."""
        value = self.name.entities.get("ses")
        return None if value is None else f"ses-{value}"


@dataclass(frozen=True)
class Sidecar:
    """JSON of a file, merged by the inheritance principle.

    Parameters
    ----------
    content : mapping
        Later, more specific files win key by key.
    files : tuple of str
        Those merged, relative to the root, most general first.
    broken : tuple of (str, str)
        Those that apply but cannot be read, each with the reason.
    """

    content: Mapping[str, Any]
    files: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Index:
    """Every file of a dataset that may matter, by folder.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    folders : mapping of str to tuple of Entry
        Files that are named as BIDS, by their folder.
    strangers : mapping of str to tuple of str
        Paths of files that are not, by participant; hidden files are not counted.
    unreadable : mapping of str to tuple of (str, str)
        Folders that could not be listed, each with the reason, by participant.
    absent : mapping of str to Absent
        Files that are named but not here, by path: lines of `manifest.tsv`, links of git-annex without content.
    litter : tuple of str
        Paths of files that operating systems leave behind (`.DS_Store`).
    manifest : tuple of str
        What is wrong with `manifest.tsv`: why it could not be read, or lines that cannot be used.
    overlay : Overlay or None
        Metadata mended by `cospine check --apply`, which stand in place of those of the dataset.
    """

    root: Path
    folders: Mapping[str, tuple[Entry, ...]]
    strangers: Mapping[str, tuple[str, ...]]
    unreadable: Mapping[str, tuple[tuple[str, str], ...]]
    absent: Mapping[str, Absent] = field(default_factory=dict)
    litter: tuple[str, ...] = ()
    manifest: tuple[str, ...] = ()
    overlay: Overlay | None = None
    _json: dict[str, tuple[Mapping[str, Any] | None, str]] = field(default_factory=dict, repr=False)

    @cached_property
    def participants(self) -> tuple[str, ...]:
        """Labels of the participants, sorted."""
        return tuple(sorted(self.strangers))

    def entries(self, participant: str, datatype: str) -> tuple[Entry, ...]:
        """Files of one participant and datatype, of all sessions, sorted by path."""
        return self._by_datatype.get((participant, datatype), ())

    @cached_property
    def _by_datatype(self) -> dict[tuple[str, str], tuple[Entry, ...]]:
        table: dict[tuple[str, str], tuple[Entry, ...]] = {}
        for folder in sorted(self.folders):
            key = (folder.partition("/")[0], folder.rpartition("/")[2])
            table[key] = table.get(key, ()) + self.folders[folder]
        return table

    def path(self, relative: str) -> Path:
        """Where a file lies: that of the overlay, where it has one; a renamed one under its old name."""
        if self.overlay is None:
            return self.root / relative
        return self.overlay.files.get(relative) or self.root / self.overlay.renames.get(relative, relative)

    def sidecar(self, entry: Entry) -> Sidecar:
        """Merge the JSON files that apply to a file: same suffix, entities a part of its own, in its folder or above."""
        content: dict[str, Any] = {}
        files: list[str] = []
        broken: list[tuple[str, str]] = []
        for candidate in self.applicable(entry, entry.name.suffix, (".json",)):
            loaded, reason = self._load(candidate.relative)
            if loaded is None:
                broken.append((candidate.relative, reason))
            else:
                files.append(candidate.relative)
                content.update(loaded)
        return Sidecar(content, tuple(files), tuple(broken))

    def applicable(self, entry: Entry, suffix: str, extensions: Sequence[str]) -> list[Entry]:
        """Files of a suffix that apply to a file by inheritance, most general first."""
        found: list[Entry] = []
        parts = entry.folder.split("/")
        for depth in range(len(parts) + 1):
            here = [
                candidate
                for candidate in self._by_suffix.get(("/".join(parts[:depth]), suffix), ())
                if candidate.name.extension in extensions and candidate.name.entities.items() <= entry.name.entities.items()
            ]
            found += sorted(here, key=lambda one: (len(one.name.entities), one.file))
        return found

    @cached_property
    def _by_suffix(self) -> dict[tuple[str, str], list[Entry]]:
        table: dict[tuple[str, str], list[Entry]] = {}
        for folder, entries in self.folders.items():
            for entry in entries:
                table.setdefault((folder, entry.name.suffix), []).append(entry)
        return table

    def _load(self, relative: str) -> tuple[Mapping[str, Any] | None, str]:
        if relative not in self._json:
            try:
                self._json[relative] = (read_json(self.path(relative)), "")
            except (OSError, ValueError) as error:
                self._json[relative] = (None, str(error))
        return self._json[relative]


def read_index(root: Path, overlay: Overlay | None = None) -> Index:
    """List the files of a dataset without opening any.

    Only the root, `sub-*`, `ses-*` and the folders `anat`, `func`, `fmap` are entered; so derivatives, source data and
    whatever else lies about cost nothing.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    overlay : Overlay, optional
        Mended names and metadata that stand in place of the dataset's.

    Returns
    -------
    Index
        All files by folder.

    Raises
    ------
    OSError
        When the root itself cannot be listed.
    """
    folders: dict[str, tuple[Entry, ...]] = {}
    strangers: dict[str, tuple[str, ...]] = {}
    unreadable: dict[str, tuple[tuple[str, str], ...]] = {}
    absent: dict[str, Absent] = {}
    litter: list[str] = []
    manifest, reason = _manifest(root)
    inside, folders[""], _ = _list(root, "", absent, litter)
    for subject in inside:
        if not _SUBJECT.fullmatch(subject):
            continue
        unknown: list[str] = []
        pending = [subject]
        while pending:
            folder = pending.pop()
            try:
                below, folders[folder], others = _list(root, folder, absent, litter)
            except OSError as error:
                unreadable[subject] = (*unreadable.get(subject, ()), (folder, error.strerror or str(error)))
                continue
            unknown += others
            if folder.rpartition("/")[2] not in DATATYPES:
                pending += [f"{folder}/{name}" for name in below if name in DATATYPES or _SESSION.fullmatch(name)]
        strangers[subject] = tuple(sorted(unknown))
    _add_manifest(manifest, folders, strangers, absent, litter)
    if overlay is not None:
        _rename(overlay.renames, folders, absent)
    return Index(root, folders, strangers, unreadable, absent, tuple(sorted(litter)), reason, overlay)


def _rename(renames: Mapping[str, str], folders: dict[str, tuple[Entry, ...]], absent: dict[str, Absent]) -> None:
    """Put files under the names that an overlay gives them; two may change places."""
    there = {entry.relative for entries in folders.values() for entry in entries}
    moved = {new: old for new, old in renames.items() if old in there}
    contents = {new: absent.pop(old) for new, old in moved.items() if old in absent}
    absent.update(contents)
    leaving = set(moved.values())
    kept = {folder: [one for one in entries if one.relative not in leaving] for folder, entries in folders.items()}
    for new in moved:
        folder, _, file = new.rpartition("/")
        name = _understood(file)
        if name is not None:
            kept.setdefault(folder, []).append(Entry(folder, file, name))
    for folder, entries in kept.items():
        folders[folder] = tuple(sorted(entries, key=lambda one: one.file))


def _manifest(root: Path) -> tuple[dict[str, Absent], tuple[str, ...]]:
    try:
        return read_manifest(root)
    except (OSError, ValueError) as error:
        return {}, (str(error),)


def _add_manifest(
    manifest: Mapping[str, Absent],
    folders: dict[str, tuple[Entry, ...]],
    strangers: dict[str, tuple[str, ...]],
    absent: dict[str, Absent],
    litter: list[str],
) -> None:
    """Put files that a manifest names, and that are not here, where they would be."""
    here = {entry.relative for entries in folders.values() for entry in entries} | {
        path for of in strangers.values() for path in of
    }
    added: dict[str, list[Entry]] = {}
    unknown: dict[str, list[str]] = {}
    for path, content in manifest.items():
        folder, _, file = path.rpartition("/")
        subject, *below = folder.split("/")
        if path in here:
            continue
        absent[path] = content
        if _LITTER.fullmatch(file):
            litter.append(path)
            continue
        inside = below[1:] if below and _SESSION.fullmatch(below[0]) else below
        if file.startswith(".") or not _SUBJECT.fullmatch(subject) or not (inside == [] or inside[0] in DATATYPES):
            continue
        strangers.setdefault(subject, ())
        name = _understood(file)
        if name is None:
            unknown.setdefault(subject, []).append(path)
        elif len(inside) <= 1:
            added.setdefault(folder, []).append(Entry(folder, file, name))
    for folder, entries in added.items():
        folders[folder] = tuple(sorted((*folders.get(folder, ()), *entries), key=lambda one: one.file))
    for subject, paths in unknown.items():
        strangers[subject] = tuple(sorted((*strangers[subject], *paths)))


def _understood(file: str) -> Name | None:
    name = parse_name(file)
    return name if name is not None and name.extension and all(key in ENTITIES for key in name.entities) else None


def _list(
    root: Path, folder: str, absent: dict[str, Absent], litter: list[str]
) -> tuple[list[str], tuple[Entry, ...], list[str]]:
    """Return the sub-folders, the files understood and the paths of those that are not, each sorted; adds what is not here."""
    below: list[str] = []
    entries: list[Entry] = []
    others: list[str] = []
    with os.scandir(root / folder) as listing:
        for item in sorted(listing, key=lambda one: one.name):
            path = f"{folder}/{item.name}" if folder else item.name
            if _LITTER.fullmatch(item.name):
                litter.append(path)
                continue
            if item.name.startswith("."):
                continue
            if item.is_dir():
                below.append(item.name)
                continue
            name = _understood(item.name)
            if name is None:
                others.append(path)
            else:
                entries.append(Entry(folder, item.name, name))
            large = name is None or name.extension not in (".json", ".tsv")
            if (item.is_symlink() or (large and folder)) and (content := annex_content(root / path)) is not None:
                absent[path] = content
    return below, tuple(entries), others
