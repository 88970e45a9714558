"""Memory that a step holds, and how many runs fit beside each other."""

import threading
from types import TracebackType

import psutil

_EVERY_S = 0.1


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
