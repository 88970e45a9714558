"""What lies in the scanner's output: a folder, one file, or an archive, with strangers in it."""

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cospine.errors import CoSpineError

_RECORDINGS = (".puls", ".resp", ".ecg", ".ext", ".ext2", ".acq")
_TASK_LOGS = (".txt", ".csv", ".tsv", ".log")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_LOG_MARK = b"LogDataType"
_SCANPHYSLOG = "scanphyslog"
_LARGEST_UNPACKED = 1 << 39  # half a TB: an archive that claims more is broken or malicious


@dataclass(frozen=True)
class Sources:
    """The files of a tree by what they seem to be, each list sorted.

    Parameters
    ----------
    dicom : tuple of Path
        Files that begin as DICOM files do.
    recordings : tuple of Path
        Logs of pulse and breathing, told by ending or content.
    task_logs : tuple of Path
        Text that may be a log of the task.
    strangers : tuple of Path
        All others.
    """

    dicom: tuple[Path, ...]
    recordings: tuple[Path, ...]
    task_logs: tuple[Path, ...]
    strangers: tuple[Path, ...]


def find_sources(source: Path, unpacked: Path) -> Sources:
    """Sort a tree's files by what they are; archives in it are unpacked first.

    Parameters
    ----------
    source : Path
        Folder, file or archive (zip, tar and compressed tar).
    unpacked : Path
        Empty folder for the contents of archives.

    Raises
    ------
    CoSpineError
        When it does not exist, cannot be read, or an archive is damaged or reaches out of its folder.
    """
    if not source.exists():
        raise CoSpineError("does not exist", str(source), "Give the folder or archive that came from the scanner")
    dicom, recordings, task_logs, strangers = [], [], [], []
    for path in _files(source, unpacked):
        lowered = path.name.lower()
        head = _head(path)
        if lowered == "dicomdir":
            strangers.append(path)  # an index of the others
        elif _is_dicom(head):
            dicom.append(path)
        elif lowered.endswith(_RECORDINGS) or _SCANPHYSLOG in lowered or (lowered.endswith(".log") and _LOG_MARK in head):
            recordings.append(path)
        elif lowered.endswith(_TASK_LOGS) and not lowered.startswith("."):
            task_logs.append(path)
        else:
            strangers.append(path)
    return Sources(tuple(dicom), tuple(recordings), tuple(task_logs), tuple(strangers))


def _files(source: Path, unpacked: Path) -> Iterator[Path]:
    if source.is_file():
        yield from _expanded([source], unpacked)
        return
    found = []
    for folder, folders, names in os.walk(source, onerror=_unreadable):
        folders.sort()
        found += [Path(folder) / name for name in names]
    yield from _expanded(sorted(found), unpacked)


def _unreadable(error: OSError) -> None:
    raise CoSpineError(f"cannot be listed ({error.strerror or error})", str(error.filename), "Check who may read it")


def _expanded(paths: Iterable[Path], unpacked: Path) -> Iterator[Path]:
    """The files themselves, and in place of each archive what is in it; archives within archives stay closed."""
    for number, path in enumerate(paths):
        if not path.is_file():
            continue  # sockets, and links to nothing
        if path.name.lower().endswith(_ARCHIVES):
            folder = unpacked / f"{number:04d}"
            _unpack(path, folder)
            yield from sorted(one for one in folder.rglob("*") if one.is_file())
        else:
            yield path


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                members = packed.infolist()
                _check(archive, ((one.filename, one.file_size) for one in members))
                # a link in a zip is a file that holds a path; extractall leaves it one
                packed.extractall(folder, [one for one in members if not stat.S_ISLNK(one.external_attr >> 16)])
        else:
            with tarfile.open(archive) as packed:
                files = [one for one in packed.getmembers() if one.isfile()]
                _check(archive, ((one.name, one.size) for one in files))
                packed.extractall(folder, files, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise CoSpineError(
            f"cannot be unpacked ({error})", str(archive), "Copy the archive again, or give its contents"
        ) from error


def _check(archive: Path, members: Iterable[tuple[str, int]]) -> None:
    total = 0
    for name, size in members:
        total += size
        inside = PurePosixPath(name.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts:
            raise CoSpineError(f"holds a path that leaves its folder ({name})", str(archive), "Unpack it by hand and look")
    if total > _LARGEST_UNPACKED:
        raise CoSpineError(f"claims to hold {total / 1e9:.0f} GB", str(archive), "Unpack it by hand and look")


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(4096)
    except OSError as error:
        raise CoSpineError(f"cannot be read ({error.strerror or error})", str(path), "Check who may read it") from error


def _is_dicom(head: bytes) -> bool:
    """The mark after the preamble; or, without one, a first element of group 8 as old files have."""
    return head[128:132] == b"DICM" or (head[:2] == b"\x08\0" and head[2:4] in (b"\0\0", b"\x01\0", b"\x05\0", b"\x08\0"))
