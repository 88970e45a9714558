"""Progress and findings on the terminal."""

import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
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


_SAYS = {"error": "stops a run", "warning": "weakens it", "info": "worth knowing"}
_COLOURS = {"error": "\x1b[31m", "warning": "\x1b[33m", "info": "\x1b[36m"}
_OF_A_KIND = 3  # findings of one code shown before the rest is counted
_FILES = 3  # named before the rest is counted


def show_table(findings: Sequence[Finding], stream: TextIO, *, everything: bool = False) -> None:
    """Findings as a table: severity, code, who, what and what to do; at last how many there are.

    Parameters
    ----------
    findings : sequence of Finding
        Most severe first.
    stream : text stream
        Colours on a terminal alone.
    everything : bool
        What is worth knowing in full too, and all files.
    """
    live = stream.isatty()
    width = max(60, shutil.get_terminal_size((100, 24)).columns - 1)
    codes = max((len(one.code) for one in findings), default=0)
    for severity in _SAYS:
        shown = [one for one in findings if one.severity == severity]
        if not shown:
            continue
        title = f"{severity}: {_SAYS[severity]} ({len(shown)})"
        stream.write(f"{_COLOURS[severity]}{title}\x1b[0m\n" if live else f"{title}\n")
        if severity == "info" and not everything:
            counts = Counter(one.code for one in shown)
            text = ", ".join(f"{code} {count}" for code, count in counts.items()) + " (listed with -v)"
            stream.write(textwrap.fill(text, width, initial_indent="  ", subsequent_indent="  ") + "\n")
            continue
        told: Counter[str] = Counter()
        for one in shown:
            told[one.code] += 1
            if not everything and told[one.code] > _OF_A_KIND:
                continue
            files = one.files if everything else one.files[:_FILES]
            others = len(one.files) - len(files)
            where = ", ".join(files) + (f" and {others} more" if others else "") or one.participant or "dataset"
            pad = " " * (codes + 4)
            stream.write(f"  {one.code:<{codes}}  {where}\n")
            stream.write(textwrap.fill(one.message, width, initial_indent=pad, subsequent_indent=pad) + "\n")
            stream.write(textwrap.fill(f"-> {one.remedy}", width, initial_indent=pad, subsequent_indent=pad + "   ") + "\n")
        more = {code: count - _OF_A_KIND for code, count in told.items() if count > _OF_A_KIND}
        if more and not everything:
            text = "more of the same: " + ", ".join(f"{code} {count}" for code, count in more.items()) + " (listed with -v)"
            stream.write(textwrap.fill(text, width, initial_indent="  ", subsequent_indent="  ") + "\n")
    count = {severity: sum(one.severity == severity for one in findings) for severity in _SAYS}
    stream.write(f"{count['error']} errors, {count['warning']} warnings, {count['info']} worth knowing\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
