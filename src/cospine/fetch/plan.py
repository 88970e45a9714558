"""What to fetch: the chosen part of a snapshot, less what is here already, against the room on the disk."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from cospine.errors import CoSpineError
from cospine.fetch.checksum import Mismatch, check_file
from cospine.fetch.openneuro import RemoteFile

_SPARE_BYTES = 100 << 20  # left free beside what is fetched


@dataclass(frozen=True)
class Choice:
    """Which files are wanted.

    Parameters
    ----------
    participants : tuple of str
        As `sub-01`; none for all.
    include, exclude : tuple of str
        Patterns of paths, where `*` passes `/`; a folder's name stands for all in it. None for all.
    """

    participants: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @classmethod
    def of(cls, participants: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> "Choice":
        """From the command line: participants with or without `sub-`."""
        labels = [label if label.startswith("sub-") else f"sub-{label}" for label in participants]
        return cls(tuple(dict.fromkeys(labels)), tuple(include), tuple(exclude))

    def enters(self, folder: str) -> bool:
        """Whether a folder can hold something wanted."""
        if any(_matches(folder, pattern) for pattern in self.exclude):
            return False
        if self.participants and folder.partition("/")[0] not in self.participants and not self._other(folder):
            return False
        return not self.include or any(_reaches(folder, pattern) for pattern in self.include)

    def takes(self, path: str) -> bool:
        """Whether a file is wanted. Files of the root always are: no dataset is one without them."""
        if any(_matches(path, pattern) for pattern in self.exclude):
            return False
        if "/" not in path:
            return True
        if self.participants and path.partition("/")[0] not in self.participants and not self._other(path):
            return False
        return not self.include or any(_matches(path, pattern) for pattern in self.include)

    def _other(self, path: str) -> bool:
        """Whether a path belongs to no participant and is asked for by name, as derivatives."""
        top = path.partition("/")[0]
        if top.startswith("sub-"):
            return False
        named = any(pattern.partition("/")[0] == top for pattern in self.include)
        labels = [part for part in path.split("/") if part.startswith("sub-")]
        return named and all(label in self.participants for label in labels[:1])


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Parameters
    ----------
    target : Path
        Folder of the dataset.
    missing : tuple of RemoteFile
        To be fetched.
    here : tuple of RemoteFile
        Already here and as they should be.
    begun_bytes : int
        Of the missing ones, fetched by an earlier attempt.
    free_bytes : int
        On the disk of the target.
    """

    target: Path
    missing: tuple[RemoteFile, ...] = field(repr=False)
    here: tuple[RemoteFile, ...] = field(repr=False)
    begun_bytes: int
    free_bytes: int

    @property
    def size_bytes(self) -> int:
        """Of what is missing."""
        return sum(one.size_bytes for one in self.missing)

    @property
    def left_bytes(self) -> int:
        """Still to be fetched."""
        return self.size_bytes - self.begun_bytes


def choose(files: Sequence[RemoteFile], folders: Sequence[str], choice: Choice) -> list[RemoteFile]:
    """The wanted files of a listing.

    Raises
    ------
    CoSpineError
        For participants that are not there, patterns that nothing matches, and files without an address.
    """
    there = sorted(folder for folder in folders if folder.startswith("sub-") and "/" not in folder)
    if absent := [label for label in choice.participants if label not in there]:
        shown = ", ".join(there[:30]) + (f" and {len(there) - 30} more" if len(there) > 30 else "")
        raise CoSpineError("not in this version", f"--participant {' '.join(absent)}", f"there are: {shown or 'none'}")
    wanted = [one for one in files if choice.takes(one.path)]
    for pattern in choice.include:
        if not any(_matches(one.path, pattern) for one in wanted):
            raise CoSpineError("matches no file", f"--include {pattern}", "quote the pattern; * passes /, as 'sub-*/anat/*'")
    if without := [one.path for one in wanted if not one.urls and one.size_bytes]:
        shown = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        raise CoSpineError("OpenNeuro gives no address", shown, "try later, or leave them out with --exclude")
    folded: dict[str, str] = {}
    for one in wanted:
        if folded.setdefault(one.path.lower(), one.path) != one.path:
            what = f"differs from {folded[one.path.lower()]} in case alone, which some disks cannot hold"
            raise CoSpineError(what, one.path, "leave one of them out with --exclude")
    return wanted


def make_plan(files: Sequence[RemoteFile], target: Path, *, force: bool = False) -> Plan:
    """Compare the wanted files with what is on the disk.

    Parameters
    ----------
    files : sequence of RemoteFile
    target : Path
        Folder of the dataset; may be absent.
    force : bool
        Fetch files anew that are here and differ.

    Raises
    ------
    CoSpineError
        When files are here that differ from the snapshot, or the disk is too small.
    """
    if target.exists() and not target.is_dir():
        raise CoSpineError("is a file", str(target), "name a folder")
    here, missing, differing = list[RemoteFile](), list[RemoteFile](), list[str]()
    begun = 0
    for one in files:
        path = target / one.path
        if path.is_symlink() or path.exists():
            found = check_file(path, one) if path.is_file() else Mismatch("is no file, or a link to nothing")
            if not isinstance(found, Mismatch):
                here.append(one)
                continue
            differing.append(f"{one.path} ({found.reason})")
        missing.append(one)
        part = part_of(path, one)
        begun += min(part.stat().st_size, one.size_bytes) if part.is_file() else 0
    if differing and not force:
        shown = "; ".join(differing[:5]) + (f"; and {len(differing) - 5} more" if len(differing) > 5 else "")
        raise CoSpineError(
            f"{len(differing)} files are here and differ from this version: {shown}",
            str(target),
            "name another folder, or --force to replace them",
        )
    plan = Plan(target, tuple(missing), tuple(here), begun, _free_bytes(target))
    if plan.left_bytes and plan.left_bytes + _SPARE_BYTES > plan.free_bytes:
        raise CoSpineError(
            f"the disk is too small: {in_words(plan.left_bytes)} are to come, {in_words(plan.free_bytes)} are free",
            str(target),
            "free some space, name a folder elsewhere, or narrow it with --participant or --include",
        )
    return plan


def part_of(path: Path, remote: RemoteFile) -> Path:
    """Where a file grows; named after its content, so that parts of different versions never meet."""
    digest = hashlib.sha256(f"{remote.identity} {remote.size_bytes}".encode()).hexdigest()[:12]
    return path.with_name(f".{path.name}.{digest}.part")


def in_words(size_bytes: float) -> str:
    """A size for people: `1.4 GB` (10^9 bytes)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "bytes" or size_bytes >= 100 else f"{size_bytes:.1f} {unit}"


def _free_bytes(target: Path) -> int:
    place = target.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.rstrip("/")
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*")


def _reaches(folder: str, pattern: str) -> bool:
    """Whether something in a folder may match: the plain beginning of the pattern and the folder agree as far as both go."""
    plain = pattern.rstrip("/")
    for sign in "*?[":
        plain = plain.partition(sign)[0]
    inside = f"{folder}/"
    return inside.startswith(plain) or plain.startswith(inside) or _matches(folder, pattern)
