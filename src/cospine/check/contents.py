"""What sizes and keys tell of contents: copies, and cut transfers of files that are not here."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cospine.bids import Finding, finding
from cospine.bids.absent import Absent
from cospine.check.scope import FEWEST, Scope

_MIB = 1 << 20
# Compressed sizes of one kind of image differ by some per cent between people; a series cut in two by half.
_SMALL, _LARGE = 0.75, 1.33
_SMALLEST = 64 * 1024  # sizes below say nothing of images
_IMAGE = re.compile(r".+\.nii(\.gz)?")
_PERSON = re.compile(r"sub-[a-zA-Z0-9+]+")
_RUN = re.compile(r"_run-\d+")
_GLANCE = 1 << 13


def check_contents(scope: Scope) -> Iterator[Finding]:
    """All that sizes and contents tell."""
    if scope.index.manifest:
        yield finding(
            "bad-manifest", None, "manifest.tsv", f"cannot be used: {'; '.join(scope.index.manifest[:5])}",
            "Give a table with the columns path, size_bytes and annex_key.",
        )  # fmt: skip
    if scope.nothing_here:
        yield finding(
            "content-elsewhere",
            None,
            (),
            f"none of {len(scope.pictures)} images is here: names, sidecars, tables and sizes were checked, no voxel was",
            "Fetch the images, as with datalad get, and check again.",
        )
    yield from _copies(scope)
    yield from _sizes(scope)


# --- copies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """An image or a recording."""

    participant: str
    relative: str
    absent: Absent | None
    code: str


def _files(scope: Scope) -> list[_File]:
    images = [_File(one.participant, one.relative, one.absent, "image-copied") for one in scope.pictures]
    return images + [
        _File(person, entry.relative, scope.index.absent.get(entry.relative), "recording-copied")
        for person in scope.index.participants
        for entry in scope.index.entries(person, "func")
        if entry.name.suffix == "physio" and entry.name.extension != ".json"
    ]


def _copies(scope: Scope) -> Iterator[Finding]:
    files = _files(scope)
    groups: dict[str, list[_File]] = {}
    for one in files:
        if one.absent is not None and one.absent.key:
            groups.setdefault(one.absent.key, []).append(one)
    for members in (*(same for same in groups.values() if len(same) > 1), *_equal_here(scope, files)):
        owners = sorted({one.participant for one in members})
        whose = f"of {' and '.join(owners)} " if len(owners) > 1 else ""
        what = "images" if members[0].code == "image-copied" else "recordings"
        yield finding(
            members[0].code,
            owners[0] if len(owners) == 1 else None,
            sorted(one.relative for one in members),
            f"{len(members)} {what} {whose}hold the same, byte for byte",
            "Find out whose it is, and convert the others again.",
        )


def _equal_here(scope: Scope, files: list[_File]) -> list[list[_File]]:
    """Files on this disk with equal contents; only those of equal size and with the same blocks here and there are read whole."""
    here = [(one, scope.index.path(one.relative)) for one in files if one.absent is None]
    groups = _alike([(one, path) for one, path in here if path.is_file()], lambda path: str(path.stat().st_size))
    with ThreadPoolExecutor(4) as pool:
        for digest in (_glance, _digest):
            read = pool.map(lambda same, digest=digest: _alike(same, digest), groups)
            groups = [same for found in read for same in found]
    return [[one for one, _ in same] for same in groups]


def _alike(files: list[tuple[_File, Path]], digest: Callable[[Path], str]) -> list[list[tuple[_File, Path]]]:
    """Files in groups of two and more of one digest; none that cannot be read, which the reader tells."""
    groups: dict[str, list[tuple[_File, Path]]] = {}
    for one, path in files:
        try:
            groups.setdefault(digest(path), []).append((one, path))
        except OSError:
            continue
    return [same for same in groups.values() if len(same) > 1]


def _glance(path: Path) -> str:
    """Of blocks at the beginning, in the middle and at the end of a file."""
    total = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as stream:
        for at in (0, size // 2, max(size - _GLANCE, 0)):
            stream.seek(at)
            total.update(stream.read(_GLANCE))
    return total.hexdigest()


def _digest(path: Path) -> str:
    """Of the whole content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- sizes -----------------------------------------------------------------------------------------------------------


def _sizes(scope: Scope) -> Iterator[Finding]:
    """Sizes of files that are not here; of those that are the stream itself tells."""
    sizes = {
        path: content.size_bytes
        for path, content in scope.index.absent.items()
        if content.size_bytes is not None and _IMAGE.fullmatch(path)
    }
    usual = _usual(sizes)
    for path, size in sizes.items():
        person = next((part for part in path.split("/") if _PERSON.fullmatch(part)), None)
        middle = usual.get(path)
        ratio, aside = None, ""
        if middle is not None:
            ratio = size / middle
            aside = f", {100 * ratio:.0f} % of what the same image of others has ({middle / _MIB:.1f} MiB)"
        if size % _MIB == 0:
            content = "is empty" if size == 0 else f"has exactly {size // _MIB} MiB, as transfers are cut"
            yield finding(
                "cut-transfer", person, path, f"{content}{aside}",
                "Compare with the source, and transfer it again; the volumes that are whole can be used meanwhile.",
            )  # fmt: skip
        elif ratio is not None and not _SMALL <= ratio <= _LARGE:
            meaning = "cut short, or with fewer volumes" if ratio < 1 else "perhaps with more volumes"
            yield finding(
                "size-out-of-line", person, path, f"has {size / _MIB:.1f} MiB{aside}: {meaning}",
                "Compare with the source and with the protocol.",
            )  # fmt: skip


def _usual(sizes: Mapping[str, int]) -> dict[str, float]:
    """Median size of the same image in other people and runs, by path; nothing where they are few or small."""
    groups: dict[str, list[str]] = {}
    for path in sizes:
        groups.setdefault(_RUN.sub("", _PERSON.sub("sub", path)), []).append(path)
    found: dict[str, float] = {}
    for paths in groups.values():
        middle = median(sizes[path] for path in paths)
        if len(paths) >= FEWEST and middle >= _SMALLEST:
            found.update(dict.fromkeys(paths, middle))
    return found
