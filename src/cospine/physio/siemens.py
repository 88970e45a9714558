"""Logs of the Siemens monitoring unit (PMU): `.puls`, `.resp`, `.ecg`, `.ext` of software VB, VD/VE and XA.

The log is one stream of words (on one line, as a rule): a few header words, then samples with codes among them, 5003 at the
end of the samples, and a footer of text with the times of the first and the last sample. The codes are

- 5000, 6000: the unit's own detection of a pulse or breath, and its end, on the sample before;
- 5002 .. 6002: a block of information for people, anywhere, any number of times;
- 5003, 6003: end of the samples, end of the log.

The footer has two clocks, ms since midnight: MDH is the scanner's, which images carry; MPCU is the unit's own, seconds apart
from it. Only MDH is used. The format is not published; what is said here was checked on logs of VB15, VE11 and XA,
whose numbers of samples agree with their footers to the sample.
"""

import logging
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cospine.bids.clock import DAY_S
from cospine.errors import CoSpineError
from cospine.physio.channels import are_volumes, rising_edges
from cospine.physio.recording import Kind, Recording, Sensor

_LOG = logging.getLogger(__name__)

_CHANNELS: dict[str, tuple[Kind, Sensor]] = {
    "PULS": ("cardiac", "ppg"),
    "RESP": ("respiratory", "belt"),
    "ECG": ("cardiac", "ecg"),
    "EXT": ("trigger", ""),
}
# Before VD, whose logs name no rate; from VD on every channel has 400 Hz.
_VB_RATE_HZ = {"PULS": 50.0, "RESP": 50.0, "ECG": 400.0, "EXT": 200.0}
_RATE_HZ = 400.0

_TOP = 4095
_ECG_LEAD = 8192  # ECG samples carry their lead above the 13th bit
_WIDE = 65_536  # words of the other sensors of a breathing log of version 3 are wider than 16 bits
_DIGITS = 10  # no word is longer; more digits are dirt
_LONG_BLOCK = 64
_USUAL_RATES_HZ = (50.0, 100.0, 200.0, 400.0)
_CLOCKS_APART = 0.0005  # 0.015 % was seen; a larger difference between footer and samples means that samples were lost
_COUNT_APART = 0.02

_FOOTER = re.compile(rb"(?:(?<=\s)|^)(?:(?:ECG|PULS|RESP|EXT2?)\s+(?:Freq|Min)\s|NrTrig\s|Log(?:Start|Stop)M(?:DH|PCU)Time)")
_TIME = re.compile(rb"Log(Start|Stop)MDHTime:\s{0,20}(\d{1,10})(?!\d)")
_SIGNS = re.compile(rb"(?:^|\s)500[023](?:\s|$)|LogSt(?:art|op)M(?:DH|PCU)Time|LOGVERSION")
_VERSION = re.compile(r"LOGVERSION(?:_([A-Z]{1,8}))?\D{0,20}(\d{1,3})")
_NAMED = re.compile(r"Logging (PULS|RESP|ECG|EXT)")
_PER_SECOND = re.compile(r"SAMPLES_PER_SECOND\s*=\s*(\d{1,6})")


def parse_pmu(data: bytes, name: str = "", rate_hz: float | None = None) -> tuple[Recording, ...]:
    """Read a PMU log.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Its name; the ending says what was recorded where the content does not, and errors name it.
    rate_hz : float, optional
        Sampling rate, in place of what the log says.

    Returns
    -------
    tuple of Recording
        One; for an ECG one a lead, of which the first is the cardiac channel and the rest are "other" (they see the same
        heart). Samples outside the converter's range are gaps. `clock_s` is None where the footer is missing.

    Raises
    ------
    CoSpineError
        When this is no PMU log or holds no sample.
    """
    if b"\0" in data or not _SIGNS.search(data):
        raise CoSpineError("is no log of a Siemens monitoring unit", name, "Give the .puls, .resp, .ecg or .ext file itself")
    footer = _FOOTER.search(data)
    body, tail = (data, b"") if footer is None else (data[: footer.start()], data[footer.start() :])
    stream = _split(body.split(), name)
    channel = _channel(stream, name)
    version = stream.version
    words, marks = _without_header(stream, channel, name)
    if not words.size:
        raise CoSpineError("holds no sample", name, "Look whether the recording was stopped before it began")
    start_s, span_s = _times(tail, name)
    if not stream.ended:
        _LOG.warning("%s: the log breaks off before its end mark; what there is was read", name)

    nominal = rate_hz or _nominal_rate(stream, channel)
    columns, row_of = _deinterleave(words, channel, version, span_s, nominal)
    marks_row = np.unique(row_of[marks])
    rate = rate_hz or _measured_rate(columns[0].size, span_s, nominal, name)
    marks_s = marks_row[marks_row >= 0] / rate

    kind, sensor = _CHANNELS[channel]
    recordings = []
    for number, column in enumerate(columns):
        samples = _in_range(column, channel, name)
        volumes_s = np.empty(0)
        if kind == "trigger":
            seen = marks_s if marks_s.size else rising_edges(samples, rate)
            volumes_s = seen if are_volumes(seen, rate) else volumes_s
        recordings.append(
            Recording(
                kind=kind if number == 0 else "other",
                samples=samples,
                rate_hz=rate,
                clock_s=start_s,
                sensor=sensor,
                marks_s=marks_s,
                volumes_s=volumes_s,
                limits=(0.0, float(_TOP)) if channel in ("PULS", "RESP") else None,
                source=name if len(columns) == 1 else f"{name} lead {number + 1}",
            )
        )
    return tuple(recordings)


# --- words ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stream:
    """The words outside blocks; the texts of the blocks; the number of words before the first block; was 5003 there."""

    words: list[bytes]
    blocks: tuple[str, ...]
    before_first_block: int | None
    ended: bool

    @property
    def version(self) -> int | None:
        """Of the log, from VD on; None before."""
        for text in self.blocks:
            found = _VERSION.search(text)
            if found:
                return int(found[2])
        return None


def _split(words: list[bytes], name: str) -> _Stream:
    """Take the blocks out, whole ones wherever they stand and what is left of torn ones."""
    blocks, torn, end = _blocks(words)
    inside = np.zeros(len(words), dtype=bool)
    for begin, stop in blocks:
        inside[begin:stop] = True
    if torn:
        lost = sum(stop - begin for begin, stop in torn)
        _LOG.warning(
            "%s: %d blocks of information are torn (the first at word %d); %d words were taken out with them, "
            "which may shift what follows by a sample each",
            name, len(torn), torn[0][0], lost,
        )  # fmt: skip
    longest = max(blocks, key=lambda block: block[1] - block[0], default=(0, 0))
    if sum(_is_number(word) for word in words[slice(*longest)]) > _LONG_BLOCK:
        _LOG.warning("%s: a block of information holds %d words; were samples among them?", name, longest[1] - longest[0])
    outside = [word for word, hidden in zip(words[:end], inside[:end].tolist(), strict=True) if not hidden]
    known = [word for word in outside if _is_number(word)]
    if len(known) < len(outside):
        _LOG.warning("%s: %d words among the samples are no numbers; left out", name, len(outside) - len(known))
    before = sum(_is_number(word) for word in words[: blocks[0][0]]) if blocks else None
    texts = tuple(_text(words[begin:stop]) for begin, stop in blocks)
    return _Stream(known, texts, before, end < len(words))


def _blocks(words: list[bytes]) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
    """Blocks as ranges of words, codes included, in order; those of them that are torn; where the samples end."""
    blocks: list[tuple[int, int]] = []
    torn: list[tuple[int, int]] = []
    opened: int | None = None
    after = 0  # nothing before is looked at again, so that the time is linear
    end = len(words)
    codes = [(place, word) for place, word in enumerate(words) if word in (b"5002", b"5003", b"6002")]
    for place, code in [*codes, (len(words), b"5003")]:
        if code == b"6002" and opened is not None:
            blocks.append((opened, place + 1))
        elif code == b"6002":
            blocks.append((_begin_of_torn(words, after, place), place + 1))
            torn.append(blocks[-1])
        elif opened is not None:
            blocks.append((opened, _end_of_torn(words, opened, place)))
            torn.append(blocks[-1])
        after = place + 1
        opened = place if code == b"5002" else None
        if code == b"5003":
            end = place
            break
    return blocks, torn, end


def _is_number(word: bytes) -> bool:
    return len(word) <= _DIGITS and word.isdigit()


def _text(words: list[bytes]) -> str:
    return b" ".join(word[:60] for word in words[:40]).decode("latin-1")


def _end_of_torn(words: list[bytes], begin: int, limit: int) -> int:
    """Where a block without 6002 ends: after its text, and the one number that follows every text but "ACQ FINISHED"."""
    last = begin
    place = begin + 1
    while place < limit and place - last <= 2:
        if not words[place].isdigit():
            last = place
        place += 1
    if last > begin and last + 1 < limit and words[last].upper() != b"FINISHED" and words[last + 1].isdigit():
        last += 1
    return last + 1


def _begin_of_torn(words: list[bytes], after: int, end: int) -> int:
    """Where a block without 5002 begins: at the first of the words before 6002 that are text, with numbers between."""
    first = end
    place = end - 1
    while place >= after and first - place <= 2:
        if not words[place].isdigit():
            first = place
        place -= 1
    return first


def _channel(stream: _Stream, name: str) -> str:
    """PULS, RESP, ECG or EXT: as the log's text says, else as the file's ending does, else by the usual header words."""
    ending = name.lower().rpartition(".")[2].rstrip("2")
    by_name = {"puls": "PULS", "resp": "RESP", "ecg": "ECG", "ext": "EXT"}.get(ending)
    for text in stream.blocks:
        found = _VERSION.search(text) or _NAMED.search(text)
        if found and found[1]:
            said = next((key for key in _CHANNELS if found[1].startswith(key)), None)
            if said and by_name and said != by_name:
                _LOG.warning("%s: is named %s but says that it holds %s; taken for the latter", name, by_name, said)
            if said:
                return said
    usual = {b"1 2 40 280": "PULS", b"1 2 20 2": "RESP"}.get(b" ".join(stream.words[:4]))
    if not by_name and not usual:
        raise CoSpineError(
            "does not say which signal it holds", name, "Name the file .puls, .resp, .ecg or .ext, as the scanner does"
        )
    return by_name or usual or ""


def _without_header(stream: _Stream, channel: str, name: str) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Samples (n,) as they stand in the log, and the marked ones' places (m,) among them."""
    usual = 5 if channel == "ECG" else 4
    # A log that was cut at the front has lost its header; then the first words are samples.
    header = usual if stream.words and len(stream.words[0]) == 1 else 0
    begins = bool(stream.blocks) and bool(_VERSION.search(stream.blocks[0]) or _NAMED.search(stream.blocks[0]))
    if begins and stream.before_first_block is not None and stream.before_first_block <= 8:
        header = stream.before_first_block
    elif not header:
        _LOG.warning("%s: begins without its header; read from the first word on", name)
    words = np.array(stream.words[header:], dtype=f"S{_DIGITS}").astype(np.int64)
    is_code = (words == 5000) | (words == 6000) | (words == 6003)
    marks = np.cumsum(~is_code)[words == 5000] - 1
    return words[~is_code], marks[marks >= 0]


# --- channels and time ----------------------------------------------------------------------------------------------


def _nominal_rate(stream: _Stream, channel: str) -> float:
    for text in stream.blocks:
        found = _PER_SECOND.search(text)
        if found and int(found[1]) > 0:
            return float(found[1])
    return _VB_RATE_HZ[channel] if stream.version is None else _RATE_HZ


def _deinterleave(
    words: NDArray[np.int64], channel: str, version: int | None, span_s: float | None, rate_hz: float
) -> tuple[list[NDArray[np.int64]], NDArray[np.intp]]:
    """Columns of a log that writes several sensors in turn, and the row in which each word ended up.

    ECG logs hold 2 leads, from version 3 on 4; breathing logs of version 3 hold the belt and 4 sensors of the coil
    (without such a coil constant words wider than 16 bits). Where the footer's duration makes another number, it counts.
    """
    in_turn = {"ECG": 2 if version is None or version < 3 else 4, "RESP": 1 if version is None or version < 3 else 5}
    n_columns = in_turn.get(channel, 1)
    if n_columns == 1 and channel != "ECG":
        return [words], np.arange(words.size)
    wide = words >= _WIDE
    if channel == "RESP" and wide.any():
        # told by their width, so that a lost word does not shift all that follow
        return [words[~wide]], np.cumsum(~wide) - 1
    if span_s:
        counted = round(words.size / (span_s * rate_hz + 1.0))
        if 1 <= counted <= 5 and abs(words.size / (counted * (span_s * rate_hz + 1.0)) - 1.0) < _COUNT_APART:
            n_columns = counted
    n_leads = 1 if channel == "RESP" else min(n_columns, words.size)
    return [words[lead::n_columns] for lead in range(n_leads)], np.arange(words.size) // n_columns


def _in_range(words: NDArray[np.int64], channel: str, name: str) -> NDArray[np.float64]:
    if channel == "ECG":
        return np.where(words < _WIDE, words % _ECG_LEAD, np.nan).astype(np.float64)
    if channel == "EXT":
        return words.astype(np.float64)
    beyond = words > _TOP
    if beyond.any():
        _LOG.warning("%s: %d samples lie outside the converter's range; taken for gaps", name, int(beyond.sum()))
    return np.where(beyond, np.nan, words).astype(np.float64)


def _times(footer: bytes, name: str) -> tuple[float | None, float | None]:
    """Scanner time of the first sample (s since midnight), and time from it to the last one, s; midnight may lie between."""
    found: dict[bytes, float] = {}
    for match in _TIME.finditer(footer):
        found.setdefault(match[1], int(match[2]) / 1000.0)
    start, stop = found.get(b"Start"), found.get(b"Stop")
    if start is None or not start < DAY_S:
        _LOG.warning("%s: the footer has no time of the scanner's clock (LogStartMDHTime); it can only be placed by hand", name)
        return None, None
    if stop is None or not stop < DAY_S:
        return start, None
    return start, stop - start if stop >= start else stop + DAY_S - start


def _measured_rate(n_samples: int, span_s: float | None, nominal_hz: float, name: str) -> float:
    """Rate on the scanner's clock.

    The nominal one where it meets the footer within a sample and the footer's rounding (2 ms); else what the footer says,
    since the unit's clock runs apart from the scanner's (0.5 s in an hour was seen); else, where samples must have been lost,
    the nominal one again.
    """
    if not span_s or n_samples < 2:
        return nominal_hz
    for usual_hz in (nominal_hz, *_USUAL_RATES_HZ):
        expected_s = (n_samples - 1) / usual_hz
        if abs(span_s - expected_s) > max(_CLOCKS_APART * expected_s, 1.0 / usual_hz + 0.002):
            continue
        rate_hz = usual_hz
        if abs(span_s - expected_s) > 1.0 / usual_hz + 0.002:
            rate_hz = (n_samples - 1) / span_s
        if rate_hz != nominal_hz:
            _LOG.warning(
                "%s: sampled at %g Hz by its kind, at %.4f Hz by its footer; the latter is used", name, nominal_hz, rate_hz
            )
        return rate_hz
    _LOG.warning(
        "%s: %d samples at %g Hz last %.1f s, but the footer says %.1f s; times are counted from the first sample at %g Hz",
        name, n_samples, nominal_hz, (n_samples - 1) / nominal_hz, span_s, nominal_hz,
    )  # fmt: skip
    return nominal_hz
