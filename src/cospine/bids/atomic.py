"""Files that appear whole or not at all, and gzip streams whose bytes are the same every time."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from isal import igzip_threaded

from cospine.threads import threads as default_threads

CHUNK_BYTES = 1 << 23
PART = ".part"
"""Ending of files that are being written."""
_GZIP_LEVEL = 1


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file for binary writing that appears under its name only when all went well.

    Parameters
    ----------
    path : Path
        Target; its folders are made. On an exception nothing is left behind and an older file stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def protect(path: Path) -> None:
    """Take away everybody's leave to write a file; it can be replaced and removed as before."""
    with suppress(OSError):  # some file systems know no permissions
        path.chmod(path.stat().st_mode & ~0o222)


@contextmanager
def compressed(stream: BinaryIO, path: Path, n_bytes: int, threads: int | None) -> Iterator[BinaryIO]:
    """Give the stream itself, or for a `.gz` one that compresses in parallel (the bytes do not depend on `threads`)."""
    if path.suffix != ".gz":
        yield stream
        return
    if threads is None:
        threads = default_threads()
    threads = 1 if n_bytes < CHUNK_BYTES else max(1, threads)
    with igzip_threaded.open(stream, "wb", compresslevel=_GZIP_LEVEL, threads=threads) as packed:
        yield packed  # pyright: ignore[reportReturnType]
