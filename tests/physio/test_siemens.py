"""PMU logs: exactly the samples that were written, at their time, from whatever the words around them are."""

import random
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospine.errors import CoSpineError
from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.recordings import pmu_log, record
from cospine.physio.recording import Recording
from cospine.physio.siemens import parse_pmu

DAY_MS = 86_400_000

# --- logs written here, from what is known of the format -------------------------------------------------------------

BLOCKS = [
    "uiHwRevisionPeru/ucHWRevLevel: 15, uiPartNbrPeruPub: 0, uiHwRevisionPpu/ucSWSubRevLevel: 127, uiPartNbrPpuPub: 32520, "
    "uiSwVersionPdau/ucSWMainRevLevel: 8",
    "MSGTYPE 103",
    "MSGTYPE 400",
    "currentCushionGain: 38",
    "RespChannelSelected: 0",
    "Learning phase finished: 12 34 56",
    "",
]
HEADS = {"puls": "1 2 40 280", "resp": "1 2 20 2", "ecg": "1 1 2 40 280", "ext": "1 2 10 1"}


@dataclass
class Log:
    """What a log is made of; `text` writes it."""

    ending: str
    style: str  # VB, VE, XA
    samples: list[int]
    marks: list[int] = field(default_factory=list)  # samples before a 5000
    blocks: list[tuple[int, str]] = field(default_factory=list)  # after so many samples
    start_ms: int = 40_000_000
    rate_hz: int = 400
    stretch: float = 1.0  # scanner's clock against the unit's
    mpcu_ms: int = 1362

    def text(self) -> str:
        name = self.ending.upper()
        head = {
            "VB": HEADS[self.ending],
            "VE": f"{HEADS[self.ending]} 5002 LOGVERSION_{name}   1 6002",
            "XA": f"{HEADS[self.ending]} 5002 LOGVERSION_{name}   3 6002 5002 MSGTYPE 103 6002",
        }[self.style]
        words = [head]
        for at, sample in enumerate(self.samples):
            words += [f"5002 {text} 6002" for place, text in self.blocks if place == at]
            words += [f"{sample}" if not self.wide else f"{sample} 33554432 98304 67108864 163840"]
            words += ["5000"] * self.marks.count(at)
        words += [f"5002 {text} 6002" for place, text in self.blocks if place >= len(self.samples)]
        stop_ms = self.start_ms + round((len(self.samples) - 1) * 1000 / self.rate_hz * self.stretch)
        return "\n".join(
            [
                " ".join(words) + " 5003",
                "ECG  Freq Per: 0 0",
                "PULS Freq Per: 77 777",
                "RESP Min Max Avg StdDiff: 2320 8100 4404 1174",
                "NrTrig NrMP NrArr AcqWin: 0 0 0 0",
                f"LogStartMDHTime:  {self.start_ms % DAY_MS}",
                f"LogStopMDHTime:   {stop_ms % DAY_MS}",
                f"LogStartMPCUTime: {(self.start_ms + self.mpcu_ms) % DAY_MS}",
                f"LogStopMPCUTime:  {(stop_ms + self.mpcu_ms) % DAY_MS}",
                "6003",
            ]
        )

    @property
    def wide(self) -> bool:
        return self.style == "XA" and self.ending == "resp"


@st.composite
def logs(draw: st.DrawFn) -> Log:
    ending, style = draw(st.sampled_from(["puls", "resp"])), draw(st.sampled_from(["VB", "VE", "XA"]))
    n = draw(st.integers(2, 900))
    samples = np.random.default_rng(draw(st.integers(0, 10_000))).integers(0, 4096, n).tolist()
    places = st.integers(0, n)
    return Log(
        ending,
        style,
        samples,
        marks=draw(st.lists(st.integers(0, n - 1), max_size=8, unique=True)),
        blocks=draw(st.lists(st.tuples(places, st.sampled_from(BLOCKS)), max_size=8)),
        start_ms=draw(st.integers(0, DAY_MS - 1)),
        rate_hz=50 if style == "VB" else 400,
        mpcu_ms=draw(st.integers(-3000, 3000)),
    )


@given(logs())
@settings(max_examples=80, deadline=2000)
def test_every_sample_comes_back_at_its_time(log: Log):
    (recording,) = parse_pmu(log.text().encode(), f"x.{log.ending}")
    assert recording.kind == {"puls": "cardiac", "resp": "respiratory"}[log.ending]
    assert np.array_equal(recording.samples, log.samples)
    assert recording.clock_s == log.start_ms / 1000
    assert recording.limits == (0, 4095)
    assert np.array_equal(np.rint(recording.marks_s * recording.rate_hz), sorted(log.marks))
    truth_s = np.arange(len(log.samples)) / log.rate_hz
    assert np.abs(np.arange(recording.samples.size) / recording.rate_hz - truth_s).max() <= 1 / log.rate_hz


@pytest.mark.parametrize("first_volume_s", [48675.86, 86_390.0, 12.0], ids=["day", "midnight inside", "midnight before the run"])
def test_logs_of_the_digital_participant_come_back_sample_for_sample(first_volume_s: float):
    recordings = record(simulate_physiology(3, 107.2), 107.2, 3)
    for kind, truth in recordings.items():
        text = pmu_log(truth, first_volume_s, mpcu_offset_ms=-1834, info_interval_s=7.0)
        assert text.count("5002") > 10
        (read,) = parse_pmu(text.encode(), f"x.{'puls' if kind == 'cardiac' else 'resp'}")
        assert np.array_equal(read.samples, truth.samples)
        assert read.rate_hz == 400
        assert np.array_equal(np.rint(read.marks_s * 400), truth.triggers)
        assert read.clock_s is not None
        start_s = (read.clock_s - first_volume_s + 43_200) % 86_400 - 43_200
        assert start_s == pytest.approx(truth.start_s, abs=1 / 400)


def test_midnight_inside_the_log_does_not_touch_the_rate():
    log = Log("puls", "VE", list(range(2000, 3600)), start_ms=DAY_MS - 1500)
    (recording,) = parse_pmu(log.text().encode(), "x.puls")
    assert recording.rate_hz == 400
    assert recording.clock_s == 86_398.5


def test_unit_clock_is_never_used(caplog: pytest.LogCaptureFixture):
    text = re.sub(r"LogSt\w+MDHTime.*\n", "", Log("puls", "VE", [5, 6, 7]).text())
    (recording,) = parse_pmu(text.encode(), "x.puls")
    assert recording.clock_s is None
    assert "LogStartMDHTime" in caplog.text


# --- rates -----------------------------------------------------------------------------------------------------------


def test_rate_follows_the_scanners_clock_where_the_two_run_apart():
    # 150 ppm over half an hour, as in a real log of VB15A: a quarter of a second at its end
    log = Log("puls", "VB", [7] * 90_000, rate_hz=50, stretch=1 - 150e-6)
    (recording,) = parse_pmu(log.text().encode(), "x.puls")
    assert recording.duration_s == pytest.approx(90_000 / 50 * (1 - 150e-6), abs=0.002)


@pytest.mark.parametrize(("style", "rate_hz"), [("VB", 400), ("VE", 50)])
def test_rate_of_the_footer_goes_before_that_of_the_software_version(style: str, rate_hz: int, caplog: pytest.LogCaptureFixture):
    (recording,) = parse_pmu(Log("resp", style, [7] * 3000, rate_hz=rate_hz).text().encode(), "x.resp")
    assert recording.rate_hz == rate_hz
    assert "by its footer" in caplog.text


def test_lost_samples_do_not_stretch_time(caplog: pytest.LogCaptureFixture):
    (recording,) = parse_pmu(Log("puls", "VE", [7] * 40_000, stretch=1.05).text().encode(), "x.puls")
    assert recording.rate_hz == 400
    assert "the footer says 105.0 s" in caplog.text


def test_rate_in_the_log_and_rate_given():
    text = "1 2 40 280 5002 Logging PULSE signal: reduction factor = 1, PULS_SAMPLES_PER_SECOND = 100; X = 9 6002 1 2 3 5003"
    (said,) = parse_pmu(text.encode(), "x.puls")
    assert (said.rate_hz, said.samples.tolist()) == (100, [1, 2, 3])
    (given_rate,) = parse_pmu(text.encode(), "x.puls", rate_hz=75)
    assert given_rate.rate_hz == 75


# --- channels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("style", "n_leads"), [("VB", 2), ("VE", 2), ("XA", 4)])
def test_leads_of_an_ecg_are_told_apart(style: str, n_leads: int):
    leads = [np.arange(400) % 97 + 1000 + 100 * lead for lead in range(n_leads)]
    words = np.stack([lead + 8192 * at for at, lead in enumerate(leads)], axis=1).ravel()
    log = Log("ecg", style, words.tolist(), marks=[n_leads * 100 + 1], rate_hz=400 * n_leads)
    recordings = parse_pmu(log.text().encode(), "x.ecg")
    assert [one.kind for one in recordings] == ["cardiac"] + ["other"] * (n_leads - 1)
    assert {one.sensor for one in recordings} == {"ecg"}
    for one, lead in zip(recordings, leads, strict=True):
        assert np.array_equal(one.samples, lead)
        assert one.rate_hz == pytest.approx(400, rel=0.003)
        assert one.marks_s * one.rate_hz == pytest.approx([100])


def test_triggers_of_volumes():
    beat = np.zeros(4000, int)
    log = Log("ext", "VB", beat.tolist(), marks=list(range(100, 4000, 536)), rate_hz=200)
    (recording,) = parse_pmu(log.text().encode(), "x.ext")
    assert recording.kind == "trigger"
    assert recording.volumes_s == pytest.approx(np.arange(100, 4000, 536) / 200)


def test_content_goes_before_the_name(caplog: pytest.LogCaptureFixture):
    (recording,) = parse_pmu(Log("resp", "VE", [1, 2, 3]).text().encode(), "x.puls")
    assert recording.kind == "respiratory"
    assert "taken for the latter" in caplog.text


def test_other_sensors_of_a_breathing_log_are_left_out_when_words_are_lost():
    words = Log("resp", "XA", list(range(1000, 1400))).text().split(" ")
    torn = [word for at, word in enumerate(words) if at not in (40, 41, 83)]
    (recording,) = parse_pmu(" ".join(torn).encode(), "x.resp")
    lost = {int(words[at]) for at in (40, 41, 83) if int(words[at]) < 4096}
    assert recording.samples.tolist() == [value for value in range(1000, 1400) if value not in lost]


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS[:5])
@pytest.mark.parametrize("lost", ["5002", "6002"])
def test_torn_blocks_leave_no_words_among_the_samples(block: str, lost: str, caplog: pytest.LogCaptureFixture):
    samples = list(range(2000, 2600))
    text = Log("puls", "VE", samples, blocks=[(300, block)], marks=[299, 450]).text()
    begin = text.index(f"5002 {block} 6002")
    text = text[:begin] + text[begin:].replace(f"{lost} ", "", 1)
    (recording,) = parse_pmu(text.encode(), "x.puls")
    assert np.array_equal(recording.samples, samples)
    assert np.rint(recording.marks_s * 400).tolist() == [299, 450]
    assert "torn" in caplog.text


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_a_log_that_breaks_off_gives_what_there_is(cut: float, caplog: pytest.LogCaptureFixture):
    text = Log("puls", "VE", list(range(1000, 3000)), blocks=[(5, BLOCKS[0])]).text()
    body = text[: int(cut * text.index("5003"))].rsplit(" ", 1)[0]
    (recording,) = parse_pmu(body.encode(), "x.puls")
    assert np.array_equal(recording.samples, 1000 + np.arange(recording.samples.size))
    assert recording.samples.size > 0.9 * cut * 2000 - 10
    assert (recording.clock_s, recording.rate_hz) == (None, 400)
    assert "breaks off" in caplog.text


def test_samples_outside_the_converter_are_gaps():
    (recording,) = parse_pmu(Log("puls", "VE", [1, 4095, 4096, 40_000, 2]).text().encode(), "x.puls")
    assert np.array_equal(recording.samples, [1, 4095, np.nan, np.nan, 2], equal_nan=True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no log"),
        (b"1 2 40 280 1500 1501", "is no log"),
        (b"1 2 40 280 5003", "holds no sample"),
        (b"\x89PNG\r\n\0 5003 ", "is no log"),
        (b"1 2 3 4 1500 5003", "which signal"),
    ],
)
def test_what_is_no_log_is_refused_with_a_reason(data: bytes, said: str):
    with pytest.raises(CoSpineError, match=said) as caught:
        parse_pmu(data, "x.puls" if said != "which signal" else "x.txt")
    assert caught.value.remedy


WORDS = ["5000", "5002", "5003", "6000", "6002", "6003", "0", "17", "4095", "4096", "99999", "-3", "1e5", "LOGVERSION_PULS",
         "LogStartMDHTime:", "LogStopMDHTime: 5", "9" * 40, "ACQ FINISHED", "µ", "1,5", "PULS Freq Per: 1 2", "\n"]  # fmt: skip


def recordings_or_error(data: bytes, name: str) -> tuple[Recording, ...] | CoSpineError:
    try:
        return parse_pmu(data, name)
    except CoSpineError as error:
        return error


def check_soup(data: bytes, name: str) -> None:
    """Either a reason, or no more samples than there are numbers."""
    begun = time.perf_counter()
    outcome = recordings_or_error(data, name)
    assert time.perf_counter() - begun < 1.0 + 4e-6 * len(data)
    if isinstance(outcome, CoSpineError):
        assert outcome.what
        assert outcome.remedy
        return
    n_numbers = sum(word.isdigit() for word in data.split())
    assert 0 < sum(one.samples.size for one in outcome) <= n_numbers
    for one in outcome:
        assert np.all((one.marks_s >= 0) & (one.marks_s <= one.duration_s))
        assert one.clock_s is None or 0 <= one.clock_s < 86_400


@given(st.binary(max_size=2000), st.sampled_from(["x.puls", "x.resp", "x.ecg", "x.ext", "x"]))
@settings(max_examples=150, deadline=2000)
def test_bytes_give_a_recording_or_a_reason(data: bytes, name: str):
    check_soup(data, name)
    check_soup(b"1 2 40 280 5002 LOGVERSION_PULS 1 6002 " + data, name)


@given(st.lists(st.sampled_from(WORDS), max_size=300), st.sampled_from(["x.puls", "x.resp", "x.ecg", "x.ext", "x"]))
@settings(max_examples=200, deadline=2000)
def test_words_give_a_recording_or_a_reason(words: list[str], name: str):
    check_soup(" ".join(words).encode(), name)


@given(st.lists(st.one_of(st.integers(0, 4095).map(str), st.just("5000"), st.sampled_from(BLOCKS)), min_size=1, max_size=300))
@settings(max_examples=150, deadline=2000)
def test_samples_are_exactly_the_words_outside_blocks_and_codes(parts: list[str]):
    words = [part if part.isdigit() else f"5002 {part} 6002" for part in parts]
    expected = [int(part) for part in parts if part.isdigit() and part != "5000"]
    data = f"1 2 40 280 5002 LOGVERSION_PULS   1 6002 {' '.join(words)} 5003".encode()
    if expected:
        assert parse_pmu(data, "x.puls")[0].samples.tolist() == expected
    else:
        with pytest.raises(CoSpineError, match="no sample"):
            parse_pmu(data, "x.puls")


@given(st.randoms(use_true_random=False), logs())
@settings(max_examples=80, deadline=3000)
def test_mutilated_logs_give_a_recording_or_a_reason(rng: random.Random, log: Log):
    words = log.text().split(" ")
    for _ in range(rng.randint(1, 6)):
        a, b = sorted(rng.sample(range(len(words) + 1), 2))
        step = rng.choice(["cut", "repeat", "shuffle", "huge", "drop"])
        if step == "cut":
            words = words[a:] if rng.random() < 0.5 else words[:b]
        elif step == "repeat":
            words = (words[:b] + words[a:])[:20_000]
        elif step == "shuffle":
            part = words[a:b]
            rng.shuffle(part)
            words[a:b] = part
        elif step == "huge":
            words.insert(a, "9" * rng.randint(5, 5000))
        else:
            words = words[:a] + words[b:]
        words = words or ["5003"]
    check_soup(" ".join(words).encode(), f"x.{log.ending}")


@pytest.mark.parametrize(
    "data",
    [
        b"5002 " + b"7" * 10_000_000,
        b"5002 " * 400_000,
        b"6002 x " * 300_000,
        b"5002 a " * 300_000 + b"6002",
        b"LogStartMDHTime: " + b" " * 2_000_000,
        b"5003 " + b"LOGVERSION" * 200_000,
        b"ECG" + b" " * 2_000_000 + b" 5003 ",
    ],
    ids=["digits", "beginnings", "ends", "torn", "spaces", "versions", "footer"],
)
def test_time_is_linear(data: bytes):
    check_soup(data, "x.puls")


# --- real logs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared: Path) -> Path:
    folder = shared / "data" / "physio"
    if not folder.is_dir():
        pytest.skip("no recordings there")
    return folder


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "ours", "table"),
    [("sample_VB15A.resp", slice(0, 100), "pmu_VB15A_respiratory"), ("sample_VBX.puls", slice(0, 5), "pmu_VBX_cardiac")],
)
def test_samples_are_those_of_bidsphysio(real: Path, file: str, ours: slice, table: str):
    (recording,) = parse_pmu((real / "bidsphysio/pmu2bids" / file).read_bytes(), file)
    theirs = np.loadtxt(real / f"bidsphysio/pmu2bids/{table}.tsv", ndmin=1)
    assert np.array_equal(recording.samples[ours], theirs)
    assert recording.rate_hz == pytest.approx(50, rel=2e-4)


@pytest.mark.shared
@pytest.mark.parametrize(("file", "kind", "start_s"), [("puls", "cardiac", 39008.572), ("resp", "respiratory", 38973.66)])
def test_samples_before_the_second_block_count(real: Path, file: str, kind: str, start_s: float):
    # bidsphysio begins after the second block and drops some 200 samples before it, but keeps the start of the log: half a
    # second late. The footer decides: only with those samples is the log as long as it says.
    data = (real / f"bidsphysio/pmu2bids/sample_VE11C.{file}").read_bytes()
    (recording,) = parse_pmu(data, f"sample_VE11C.{file}")
    theirs = np.loadtxt(real / f"bidsphysio/pmu2bids/pmu_VE11C_{kind}.tsv")
    dropped = len(re.split(rb"5002.*?6002", data)[1].replace(b"5000", b"").split())
    assert dropped > 190
    assert np.array_equal(recording.samples[dropped : dropped + theirs.size], theirs)
    stop, begin = (int(re.search(rf"Log{end}MDHTime:\s*(\d+)".encode(), data)[1]) for end in ("Stop", "Start"))  # type: ignore[index]
    assert (recording.samples.size - 1) / 400 == pytest.approx((stop - begin) / 1000, abs=0.002)
    assert (recording.clock_s, recording.rate_hz, recording.kind) == (start_s, 400, kind)


@pytest.mark.shared
def test_breathing_log_of_version_3_holds_one_sample_in_five(real: Path):
    file = real / "physio-examples/siemens_vb/fingertapping.resp"
    (recording,) = parse_pmu(file.read_bytes(), file.name)
    assert recording.rate_hz == 400
    assert recording.samples.size == 52_539  # (52206.015 s - 52074.670 s) * 400 Hz + 1
    assert recording.samples.max() <= 4095
    assert np.abs(np.diff(recording.samples)).max() < 120  # a belt is smooth; words of other sensors would jump
    assert recording.marks_s.size == 23
    periods = np.diff(recording.marks_s)
    assert 3 < np.median(periods) < 8
