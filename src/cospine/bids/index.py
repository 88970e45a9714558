"""The files of a dataset: one pass over its folders, and the inheritance principle."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cospine.bids.names import ENTITIES, Name, parse_name
from cospine.bids.tables import read_json

DATATYPES = ("anat", "func", "fmap")
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
    """

    root: Path
    folders: Mapping[str, tuple[Entry, ...]]
    strangers: Mapping[str, tuple[str, ...]]
    unreadable: Mapping[str, tuple[tuple[str, str], ...]]
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
                self._json[relative] = (read_json(self.root / relative), "")
            except (OSError, ValueError) as error:
                self._json[relative] = (None, str(error))
        return self._json[relative]


def read_index(root: Path) -> Index:
    """List the files of a dataset without opening any.

    Only the root, `sub-*`, `ses-*` and the folders `anat`, `func`, `fmap` are entered; so derivatives, source data and
    whatever else lies about cost nothing.

    Parameters
    ----------
    root : Path
        Folder of the dataset.

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
    inside, folders[""], _ = _list(root, "")
    for subject in inside:
        if not _SUBJECT.fullmatch(subject):
            continue
        unknown: list[str] = []
        pending = [subject]
        while pending:
            folder = pending.pop()
            try:
                below, folders[folder], others = _list(root, folder)
            except OSError as error:
                reason = (folder, error.strerror or str(error))
                unreadable[subject] = (*unreadable.get(subject, ()), reason)
                continue
            unknown += others
            if folder.rpartition("/")[2] not in DATATYPES:
                pending += [f"{folder}/{name}" for name in below if name in DATATYPES or _SESSION.fullmatch(name)]
        strangers[subject] = tuple(sorted(unknown))
    return Index(root, folders, strangers, unreadable)


def _list(root: Path, folder: str) -> tuple[list[str], tuple[Entry, ...], list[str]]:
    """Return the sub-folders, the files understood and the paths of those that are not, each sorted."""
    below: list[str] = []
    entries: list[Entry] = []
    others: list[str] = []
    with os.scandir(root / folder) as listing:
        for item in sorted(listing, key=lambda one: one.name):
            if item.name.startswith("."):
                continue
            if item.is_dir():
                below.append(item.name)
                continue
            name = parse_name(item.name)
            if name is not None and name.extension and all(key in ENTITIES for key in name.entities):
                entries.append(Entry(folder, item.name, name))
            else:
                others.append(f"{folder}/{item.name}")
    return below, tuple(entries), others
