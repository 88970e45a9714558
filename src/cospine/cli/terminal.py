"""Progress and findings on the terminal."""

import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TextIO

from cospine.bids import Finding
from cospine.pipeline.progress import Event


@dataclass
class Progress:
    """Shows events: one line rewritten on a terminal, one line an event elsewhere."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    started: float = field(default_factory=time.monotonic)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        live = self.stream.isatty()
        who = event.run or event.participant
        if event.failed:
            self._line(f"failed  {who}: {event.failed}", keep=True)
        elif not event.step:
            self._line(f"done    {who}  ({_clock(time.monotonic() - self.started)})", keep=True)
        elif live:
            self._line(f"{event.done:4.0%}  {who}: {event.step}{self._left(event.done)}", keep=False)
        else:
            self._line(f"{event.done:4.0%}    {who}: {event.step}{self._left(event.done)}", keep=True)

    def _left(self, done: float) -> str:
        if done < 0.05:
            return ""
        passed = time.monotonic() - self.started
        return f"  (about {_clock(passed * (1 - done) / done)} left)"

    def _line(self, text: str, *, keep: bool) -> None:
        if self.stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r\x1b[K" + (text if keep else text[:width]))
            self.stream.write("\n" if keep else "")
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def show_findings(findings: Iterable[Finding], stream: TextIO, *, infos: bool = False) -> None:
    """List what was found wanting: severity, where, why, remedy."""
    for one in findings:
        if one.severity == "info" and not infos:
            continue
        where = ", ".join(one.files) or one.participant or "dataset"
        stream.write(f"{one.severity:<7} {where}\n        {one.message}\n        -> {one.remedy}\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
