"""Memory: what a step holds, what goes back to the system, and series that lie on disk."""

import ctypes
import gc
import math
import mmap
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil
from numpy.typing import NDArray

_EVERY_S = 0.1
_LET_GO_S = 0.02


class Peak:
    """Context that measures the most memory (resident set) that this process and its children held.

    Attributes
    ----------
    bytes : int
        At every tenth of a second, and at both ends.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()
        self._process = psutil.Process()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._look()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        held = 0
        for one in (self._process, *self._process.children(recursive=True)):
            try:
                held += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.bytes = max(self.bytes, held)


class Scratch:
    """Arrays that lie in files, whose pages leave memory when there are too many of them; `--low-mem`.

    What computes with them need not know: pages come back from the file when they are touched. A file has no name, so nothing
    stays when the process ends, however that comes about.

    Parameters
    ----------
    folder : Path
        Where the files lie; on a disk, not in memory.
    most_bytes : int
        Resident set from which on pages are let go.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._maps: list[mmap.mmap] = []
        self._stop = threading.Event()
        self._process = psutil.Process()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A float32 array in Fortran order, its values 0.

        Raises
        ------
        OSError
            When the disk is full.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        n_bytes = 4 * math.prod(shape)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)  # a full disk is an error here, and would be a crash later
            else:
                file.truncate(n_bytes)
            held = mmap.mmap(file.fileno(), n_bytes)
        self._maps.append(held)
        return np.frombuffer(held, np.float32).reshape(shape, order="F")

    def close(self) -> None:
        """Stop watching; the arrays stay usable."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_LET_GO_S):
            if self._process.memory_info().rss > self._most:
                for held in self._maps:
                    held.madvise(mmap.MADV_DONTNEED)  # of a shared file: what was written stays in it


def give_back() -> None:
    """Return memory that is no longer used to the system: what refers to itself in a circle, and what the allocator keeps."""
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):  # another C library, which keeps no arenas
            return
