"""The files of a dataset, whether they are here or only known: by a line in manifest.tsv, or as a link into git-annex."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cospine.bids.index import DATATYPES, Entry, Index, read_index
from cospine.bids.names import ENTITIES, parse_name
from cospine.bids.tables import read_tsv

State = Literal["here", "listed", "link", "absent"]
MANIFEST = "manifest.tsv"
_KEY_SIZE = re.compile(r"[A-Z0-9_]+-s([0-9]{1,18})(?:-[^-]+)*--")
_SUBJECT = re.compile(r"sub-[a-zA-Z0-9+]+")


@dataclass(frozen=True)
class Known:
    """What is known of one file.

    Parameters
    ----------
    state : {'here', 'listed', 'link', 'absent'}
        On this disk; a line in the manifest; a link whose content is not here; its sidecar alone.
    size_bytes : int or None
        Of its content.
    annex_key : str or None
        Of git-annex.
    """

    state: State
    size_bytes: int | None = None
    annex_key: str | None = None


@dataclass(frozen=True)
class Listing:
    """All files of a dataset that are named as BIDS.

    Parameters
    ----------
    index : Index
        With those that only the manifest knows.
    manifest : mapping of str to Known
        Lines of the manifest, by path.
    problems : tuple of (file, text)
        Lines and folders that could not be read.
    """

    index: Index
    manifest: Mapping[str, Known] = field(repr=False)
    problems: tuple[tuple[str, str], ...] = ()

    def known(self, entry: Entry) -> Known:
        """What is known of a file of the index."""
        path = self.index.root / entry.relative
        try:
            return Known("here", path.stat().st_size, _key_of(path))
        except FileNotFoundError:
            pass  # a dangling link, or a line of the manifest
        except OSError:  # a loop of links, a folder that cannot be entered
            return Known("absent")
        if entry.relative in self.manifest:
            return self.manifest[entry.relative]
        key = _key_of(path)
        return Known("link", annex_size(key), key) if path.is_symlink() else Known("absent")


def read_listing(root: Path) -> Listing:
    """List a dataset's files, its manifest's included.

    Raises
    ------
    OSError
        When the root cannot be listed.
    """
    index = read_index(root)
    problems = [(folder, f"cannot be listed: {why}") for pairs in index.unreadable.values() for folder, why in pairs]
    manifest: dict[str, Known] = {}
    if (root / MANIFEST).exists():
        try:
            manifest, bad = _read_manifest(root / MANIFEST)
            problems += bad
        except (OSError, ValueError, KeyError) as error:
            text = f"has no column {error}" if isinstance(error, KeyError) else f"cannot be read: {error}"
            problems.append((MANIFEST, text))
    return Listing(_with_manifest(index, manifest), manifest, tuple(problems))


def annex_size(key: str | None) -> int | None:
    """Size in bytes that a git-annex key carries; None where it carries none."""
    match = _KEY_SIZE.match(key or "")
    return int(match[1]) if match else None


def _read_manifest(path: Path) -> tuple[dict[str, Known], list[tuple[str, str]]]:
    columns = read_tsv(path)
    files = columns["path"]
    sizes = columns.get("size_bytes", ["n/a"] * len(files))
    keys = columns.get("annex_key", ["n/a"] * len(files))
    manifest: dict[str, Known] = {}
    problems = []
    for line, (file, size, key) in enumerate(zip(files, sizes, keys, strict=True), start=2):
        if file == "n/a" or file.startswith("/") or ".." in file.split("/"):
            problems.append((MANIFEST, f"line {line}: {file!r} is no path inside the dataset"))
            continue
        annex_key = None if key == "n/a" else key
        stated = int(size) if re.fullmatch(r"[0-9]{1,18}", size) else None
        if stated is None and size != "n/a":
            problems.append((MANIFEST, f"line {line}: {size!r} is no size in bytes"))
        manifest[file] = Known("listed", annex_size(annex_key) if stated is None else stated, annex_key)
    return manifest, problems


def _with_manifest(index: Index, manifest: Mapping[str, Known]) -> Index:
    """The index, with the files that the manifest alone knows."""
    there = {entry.relative for entries in index.folders.values() for entry in entries}
    folders = {folder: list(entries) for folder, entries in index.folders.items()}
    strangers = dict(index.strangers)
    for path in sorted(manifest):
        folder, _, file = path.rpartition("/")
        parts = folder.split("/")
        if path in there or not _SUBJECT.fullmatch(parts[0]) or parts[-1] not in DATATYPES or len(parts) > 3:
            continue
        name = parse_name(file)
        if name is None or not name.extension or not all(key in ENTITIES for key in name.entities):
            continue
        folders.setdefault(folder, []).append(Entry(folder, file, name))
        strangers.setdefault(parts[0], ())
    ordered = {folder: tuple(sorted(entries, key=lambda one: one.file)) for folder, entries in folders.items()}
    return Index(index.root, ordered, strangers, index.unreadable)


def _key_of(path: Path) -> str | None:
    """Key of a file that git-annex holds: the name that its link points to."""
    try:
        target = os.readlink(path)
    except OSError:
        return None  # no link
    key = target.rpartition("/")[2]
    return key if _KEY_SIZE.match(key) else None
