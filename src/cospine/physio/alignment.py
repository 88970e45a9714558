"""Where recordings lie in time: on a run's own time, and which run each of them belongs to.

Recorders are started and stopped by hand, each channel apart; files are then named after runs by people. So no name is
believed where a clock can be asked: the scanner's time of day, on which both images and recordings are stamped, or volumes
that the recorder marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cospine.bids.clock import clock_difference_s
from cospine.physio.peaks import find_peaks
from cospine.physio.recording import Recording

TOLERANCE_S = 0.1
"""Up to here two ways of placing a recording are taken to agree."""

CLOCK_ERROR_S = 10.0
"""Clocks of recorder and scanner differ by less: beyond, marks that fit a run by number alone belong to another."""

WHOLE, PARTIAL = 0.95, 0.05
"""Shares of a run from which a recording covers it, and from which it covers a part worth using."""

_TR_TOLERANCE = 0.02  # spacing of volume marks against TR


@dataclass(frozen=True)
class Session:
    """A run as alignment sees it.

    Parameters
    ----------
    name : str
        For people.
    volumes : int
        Stored volumes.
    tr_s : float
        Repetition time.
    clock_s : float or None
        AcquisitionTime of the first stored volume, s since midnight.
    claimed : int or None
        Volumes that there were, where the file ends early and holds fewer.
    """

    name: str
    volumes: int
    tr_s: float
    clock_s: float | None = None
    claimed: int | None = None

    @property
    def duration_s(self) -> float:
        """Length of the run."""
        return self.volumes * self.tr_s


@dataclass(frozen=True, eq=False)
class Placed:
    """A recording on the time of a run.

    Parameters
    ----------
    recording : Recording
        With `start_s` for this run; None there where nothing says it.
    how : str
        `volume marks`, `scanner clock`, `StartTime`, or empty.
    coverage : float
        Share of the run in which there are samples.
    notes : tuple of str
        What does not agree, for the report.
    """

    recording: Recording
    how: str
    coverage: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Overlap:
    """How long every recording overlaps every run, s.

    Parameters
    ----------
    recordings : tuple of str
        Rows: file names (and channels).
    kinds : tuple of str
        Of the rows.
    runs : tuple of str
        Columns.
    seconds : ndarray (recordings, runs)
        NaN where nothing says when one of them was.
    """

    recordings: tuple[str, ...]
    kinds: tuple[str, ...]
    runs: tuple[str, ...]
    seconds: NDArray[np.float64] = field(repr=False)


def marked_start_s(recording: Recording, run: Session, near_s: float | None = None) -> float | None:
    """Start of a recording by the volumes marked in it, s from the first stored volume; None where the marks do not tell.

    Parameters
    ----------
    recording : Recording
        With marks of volumes.
    run : Session
        Its stored volumes and TR decide which marks are its own: as many as volumes, evenly spaced by TR.
    near_s : float, optional
        Start as another source has it. Where there are more marks than volumes (a scanner marks also those it throws away) the
        stretch closest to it is taken, if one is within half a TR; without it, nothing.
    """
    marks = np.sort(recording.volumes_s)
    expected = run.claimed or run.volumes
    if marks.size < expected or expected < 2:
        return None
    even = np.abs(np.diff(marks) - run.tr_s) <= max(_TR_TOLERANCE * run.tr_s, 2 / recording.rate_hz)
    lengths = np.r_[0, np.cumsum(even)]
    firsts = np.arange(marks.size - expected + 1)
    whole = lengths[firsts + expected - 1] - lengths[firsts] == expected - 1
    starts = -marks[firsts[whole]]
    if starts.size == 0 or (near_s is None and starts.size > 1):
        return None
    if near_s is None:
        return float(starts[0])
    best = float(starts[np.argmin(np.abs(starts - near_s))])
    return best if starts.size == 1 or abs(best - near_s) <= run.tr_s / 2 else None


def place(recording: Recording, run: Session) -> Placed:
    """Put a recording on the time of a run.

    Marked volumes go before the scanner's clock, and that before what a sidecar says; where two of them disagree the result
    says so.
    """
    claims: list[tuple[str, float]] = []
    if recording.clock_s is not None and run.clock_s is not None:
        claims.append(("scanner clock", clock_difference_s(recording.clock_s, run.clock_s)))
    if recording.start_s is not None:
        claims.append(("StartTime", recording.start_s))
    by_marks = marked_start_s(recording, run, claims[0][1] if claims else None)
    notes = []
    if by_marks is not None and claims and claims[0][0] == "scanner clock" and abs(by_marks - claims[0][1]) > CLOCK_ERROR_S:
        # as many volumes, but at another time: those of another run
        apart = abs(by_marks - claims[0][1])
        notes.append(f"{recording.source}: its volume marks would put it {apart:.0f} s off its clock: another run's, not used.")
        by_marks = None
    if by_marks is not None:
        claims.insert(0, ("volume marks", by_marks))
    if not claims:
        lacking = "no time that can be compared with the image's AcquisitionTime, and "
        lacking += (
            f"its {recording.volumes_s.size} volume marks are not {run.claimed or run.volumes} in a row, {run.tr_s:g} s apart"
            if recording.volumes_s.size
            else "no volume marks"
        )
        return Placed(recording, "", 0.0, (f"{recording.source} cannot be placed in time: {lacking}.",))
    how, start_s = claims[0]
    if how == "volume marks" and recording.volumes_s.size > (run.claimed or run.volumes):
        skipped = int(np.argmin(np.abs(np.sort(recording.volumes_s) + start_s)))
        there = recording.volumes_s.size
        notes.append(f"{recording.source}: the first {skipped} of its {there} volume marks are taken for volumes not stored.")
    notes += [
        f"{recording.source}: {other} puts it {abs(claim - start_s):.2f} s {'later' if claim > start_s else 'earlier'} "
        f"than {how}, which is used."
        for other, claim in claims[1:]
        if abs(claim - start_s) > TOLERANCE_S
    ]
    placed = recording.placed(start_s)
    return Placed(placed, how, placed.covers(0.0, run.duration_s), tuple(notes))


def overlap(recordings: Sequence[Recording], runs: Sequence[Session]) -> Overlap:
    """Overlap of recordings and runs on the scanner's clock, in seconds; NaN where one of them carries none."""
    seconds = np.full((len(recordings), len(runs)), np.nan)
    for row, recording in enumerate(recordings):
        for column, run in enumerate(runs):
            if recording.clock_s is None or run.clock_s is None:
                continue
            start = clock_difference_s(recording.clock_s, run.clock_s)
            seconds[row, column] = max(0.0, min(start + recording.duration_s, run.duration_s) - max(start, 0.0))
    return Overlap(
        tuple(one.source for one in recordings), tuple(one.kind for one in recordings),
        tuple(one.name for one in runs), seconds,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Choice:
    """The recording of one kind that serves a run.

    Parameters
    ----------
    placed : Placed or None
        None where no recording covers any part worth using.
    named : bool
        Whether it carries the run's own name.
    notes : tuple of str
        What people should know: taken from another run's file, partial, not placed, missing.
    """

    placed: Placed | None
    named: bool
    notes: tuple[str, ...]


def choose(kind: str, run: Session, own: Sequence[Recording], others: Sequence[Recording]) -> Choice:
    """Find the recording of a run: its own by name where it covers the run, else the one of the person that does.

    Parameters
    ----------
    kind : {"cardiac", "respiratory"}
        What is sought.
    run : Session
        The run.
    own : sequence of Recording
        Those named after the run, of any kind.
    others : sequence of Recording
        Those named after other runs of the person; only the scanner's clock can tell that one of them is this run's.
    """
    mine = [place(one, run) for one in own if one.kind == kind]
    notes = [note for one in mine for note in one.notes]
    best, aside = _best(mine)
    notes += aside
    if best is not None and best.coverage >= WHOLE:
        return Choice(best, True, tuple(notes))
    strangers = [place(one, run) for one in others if one.kind == kind and one.clock_s is not None and run.clock_s is not None]
    foreign = max(strangers, key=lambda one: one.coverage, default=None)
    if foreign is not None and foreign.coverage > max(PARTIAL, 0.0 if best is None else best.coverage + 0.1):
        instead = "no recording carries this run's name" if best is None else (
            f"{best.recording.source}, named after this run, covers {100 * best.coverage:.0f} % of it"
        )  # fmt: skip
        text = (
            f"{kind.capitalize()} recording taken from {foreign.recording.source}: by the scanner's clock it covers "
            f"{100 * foreign.coverage:.0f} % of this run; {instead}. Names may be swapped."
        )
        return Choice(foreign, False, (*notes, text, *foreign.notes, *_partial(kind, foreign, run)))
    if best is None:
        return Choice(None, True, (f"No {kind} recording.",))
    if best.coverage < PARTIAL:
        why = f": by its {best.how} it {_apart(best, run)}" if best.how else ""
        return Choice(None, True, (*notes, f"The {kind} recording {best.recording.source} covers nothing of this run{why}."))
    return Choice(best, True, (*notes, *_partial(kind, best, run)))


def _best(candidates: Sequence[Placed]) -> tuple[Placed | None, list[str]]:
    """The one that covers most; of several that cover as much, the one with the better signal, which is said."""
    most = max((one.coverage for one in candidates), default=0.0)
    equal = [one for one in candidates if one.coverage >= most - 0.01]
    if len(equal) < 2 or most < PARTIAL:
        return (equal[0] if equal else None), []
    worth = [float((found := find_peaks(one.recording).windows).quality[found.usable].sum()) for one in equal]
    best = equal[int(np.argmax(worth))]
    others = " and ".join(one.recording.source for one in equal if one is not best)
    return best, [f"{best.recording.source} is used, of better signal than {others}."]


def _partial(kind: str, placed: Placed, run: Session) -> tuple[str, ...]:
    if placed.coverage >= WHOLE:
        return ()
    text = f"The {kind} recording covers {100 * placed.coverage:.0f} % of the run; volumes outside of it are left unmodelled."
    return (text,)


def _apart(placed: Placed, run: Session) -> str:
    start = placed.recording.start_s or 0.0
    end = start + placed.recording.duration_s
    if start >= run.duration_s:
        return f"begins {start - run.duration_s:.0f} s after the run ends"
    return f"ends {-end:.0f} s before the run begins" if end <= 0 else "was made during it, but holds no samples there"
