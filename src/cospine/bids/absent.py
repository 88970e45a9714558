"""Files that are named but not here: lines of a manifest, and links of git-annex whose content was not fetched."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from cospine.bids.tables import read_tsv

MANIFEST = "manifest.tsv"
_KEY = re.compile(r"(?P<backend>[A-Z0-9_]+)(?:-s(?P<size>\d+))?(?:-[a-zA-Z]\d+)*--\S+")
_POINTER = b"/annex/objects/"
_POINTER_BYTES = 4096  # a pointer file of git-annex holds one short line


@dataclass(frozen=True)
class Absent:
    """What is known of a file that is not here.

    Parameters
    ----------
    size_bytes : int or None
        Of the content.
    key : str
        Of git-annex; equal keys are equal contents. Empty where it is not known.
    """

    size_bytes: int | None
    key: str = ""


def read_manifest(root: Path) -> tuple[dict[str, Absent], tuple[str, ...]]:
    """Read `manifest.tsv` of a dataset: `path`, `size_bytes` and, where known, `annex_key`.

    Returns
    -------
    files : dict of str to Absent
        By path relative to the root; empty where there is no manifest.
    wrong : tuple of str
        Lines that were left out, or of which only the path was used, each with the reason.

    Raises
    ------
    ValueError
        When there is a file of that name that is no such table.
    OSError
        When it cannot be opened.
    """
    path = root / MANIFEST
    if not path.is_file():
        return {}, ()
    table = read_tsv(path)
    if not {"path", "size_bytes"} <= table.keys():
        raise ValueError("has no columns path and size_bytes")
    keys = table.get("annex_key", ["n/a"] * len(table["path"]))
    found: dict[str, Absent] = {}
    wrong = []
    for line, (name, size, key) in enumerate(zip(table["path"], table["size_bytes"], keys, strict=True), start=2):
        parts = name.split("/")
        if name == "n/a" or "\0" in name or any(part in ("", ".", "..") for part in parts):
            wrong.append(f"line {line}: {name!r} is no path inside the dataset")
            continue
        if not (stated := size.isascii() and size.isdigit()) and size != "n/a":
            wrong.append(f"line {line}: {size!r} is no size in bytes")
        key = "" if key == "n/a" else key
        found[name] = Absent(int(size) if stated else annex_size(key), key)
    return found, tuple(wrong)


def annex_size(key: str) -> int | None:
    """Size in bytes that a git-annex key carries; None where it carries none, or is no key."""
    match = _KEY.fullmatch(key)
    return int(match["size"]) if match and match["size"] else None


def annex_key(path: Path) -> str:
    """Key of a file that git-annex holds, the name that its link points to; empty for any other file."""
    try:
        key = os.readlink(path).replace("\\", "/").rpartition("/")[2]
    except OSError:
        return ""  # no link
    return key if _KEY.fullmatch(key) else ""


def annex_content(path: Path) -> Absent | None:
    """What git-annex says of a file whose content is not here: a dangling link, or a pointer in place of the content.

    None for a file that is here, and for a link that leads elsewhere.
    """
    try:
        if path.is_symlink():
            if path.exists():
                return None
            target = os.readlink(path)
        elif path.stat().st_size <= _POINTER_BYTES:
            with path.open("rb") as stream:
                content = stream.read(_POINTER_BYTES)
            if not content.startswith(_POINTER):
                return None
            target = content.decode("utf-8", "replace").strip()
        else:
            return None
    except OSError:
        return None  # a file that cannot be looked at is told by whoever reads it
    key = target.replace("\\", "/").rpartition("/")[2]
    return Absent(annex_size(key), key) if _KEY.fullmatch(key) else Absent(None)
