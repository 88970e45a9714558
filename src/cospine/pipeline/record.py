"""What a step depended on and what it left, as it is written beside the step's result, and how files are known again."""

import hashlib
import json
import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cospine import __version__

logger = logging.getLogger(__name__)

Stamp = tuple[int, int]
"""Size of a file and its modification time in ns."""
_SOFTWARE = ("numpy", "scipy", "numba", "nibabel", "onnxruntime", "scikit-image", "nilearn", "pandas")


@dataclass(frozen=True)
class Record:
    """What a step depended on and what it left.

    Parameters
    ----------
    name, version : str
        As `motion`; the version is raised when the same inputs would give another result.
    software : str
        Versions of CoSpine and of the libraries it computes with.
    facts : str
        Digest of what is known of the run from sidecars and headers.
    declared : tuple of str
        Files it was said to read.
    files : mapping of str to (size, modification time in ns, digest)
        Those, and what steps inside of it read.
    settings : mapping of str to Any
        Parameters it read, with their values; of a path, a digest of what lies there.
    after : mapping of str to str
        Steps it builds on, and their digests.
    outputs, sidecars, inner : mapping of str to (size, modification time in ns)
        Files it wrote, what lies beside them, and what steps inside of it wrote.
    seconds : float
        How long it took.
    peak_bytes : int
        Most memory that the process and its children held meanwhile.
    """

    name: str
    version: str
    software: str
    facts: str
    declared: tuple[str, ...]
    files: Mapping[str, tuple[int, int, str]]
    settings: Mapping[str, Any]
    after: Mapping[str, str]
    outputs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    sidecars: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    inner: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float = 0.0
    peak_bytes: int = 0

    @cached_property
    def digest(self) -> str:
        """Of everything the result follows from; not of where files lie or when they were written."""
        contents = sorted((Path(name).name, digest) for name, (_, _, digest) in self.files.items())
        known = [self.name, self.version, self.software, self.facts, contents, self.settings, self.after]
        return digest_of(known)

    @property
    def written(self) -> set[Path]:
        """What it wrote, sidecars among it."""
        return {Path(name) for name in (*self.outputs, *self.sidecars)}

    def as_step(self, named: Callable[[Path], str]) -> dict[str, Any]:
        """As `logs/P_steps.json` has it; `named` tells how a file is called there."""
        return {
            "name": self.name,
            "version": self.version,
            "inputs": sorted({named(Path(name)) for name in self.files}),
            "parameters": dict(self.settings),
            "after": sorted(self.after),
            "outputs": sorted(named(Path(name)) for name in self.outputs),
            "digest": self.digest,
            "seconds": round(self.seconds, 2),
            "peak_gb": round(self.peak_bytes / 1e9, 3),
        }


def read_record(path: Path) -> Record | None:
    """The record of a kept step; None where there is none that can be read."""
    try:
        with open(path, "rb") as stream:
            content = json.loads(stream.readline())
        content["files"] = {name: tuple(known) for name, known in content["files"].items()}
        for written in ("outputs", "sidecars", "inner"):
            content[written] = {name: tuple(stamp) for name, stamp in content[written].items()}
        content["declared"] = tuple(content["declared"])
        return Record(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remove_stale(outputs: Iterable[Path]) -> None:
    """Remove what an earlier execution wrote and this one does not: it would pass for a result of these settings."""
    for path in sorted(outputs):
        if path.is_file():
            logger.info("%s of an earlier execution removed", path.name)
            path.unlink(missing_ok=True)


def stamp_of(path: Path) -> Stamp:
    """Size and time of a file.

    Raises
    ------
    OSError
        When it is not there.
    """
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def content_of(path: Path) -> tuple[int, int, str]:
    """Size, time and digest of a file; a file that is not there has none of them."""
    try:
        stamp = stamp_of(path)
        return *stamp, _digest(path, stamp)
    except OSError:
        return 0, 0, ""


def is_same(path: Path, known: tuple[int, int, str]) -> bool:
    """Whether a file is what it was: by size and time, or where those differ, by content."""
    try:
        stamp = stamp_of(path)
    except OSError:
        return known[2] == ""
    return stamp == known[:2] or (stamp[0] == known[0] and content_of(path)[2] == known[2])


@lru_cache(maxsize=4096)
def _digest(path: Path, stamp: Stamp) -> str:
    """Of a file's content; many steps read the same one, and it is read once for each stamp that it has."""
    del stamp
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_of(path: Path) -> str:
    """Digest of a file's content, or of the names, sizes and times of a folder's files."""
    if path.is_file():
        return content_of(path)[2]
    held = [(one.relative_to(path).as_posix(), *stamp_of(one)) for one in sorted(path.rglob("*")) if one.is_file()]
    return digest_of(held)


@cache
def software() -> str:
    """Versions of CoSpine and of what it computes with."""
    found = [f"cospine {__version__}", f"python {platform.python_version()}"]
    for name in _SOFTWARE:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def digest_of(facts: Any) -> str:
    """Digest of facts."""
    return hashlib.sha256(as_json(facts)).hexdigest()


def as_json(content: Any, *, ordered: bool = True) -> bytes:
    """Facts as JSON, always in the same order, or in that which they have (files as pages list them).

    Raises
    ------
    TypeError
        For what is no fact.
    """
    return json.dumps(content, sort_keys=ordered, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no fact")
