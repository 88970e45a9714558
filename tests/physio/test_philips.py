"""SCANPHYSLOG files, written here after the published descriptions of the format."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospine.errors import CoSpineError
from cospine.physio.philips import parse_scanphyslog

HEAD = (
    "## Somewhere, Release r32 (SWID 119)\n## Wed 20-04-2011 14:24:06\n## 179 -1351 306 171 -567 266 -30 375 0\n"
    "## Dockable table = FALSE\n"
)


def physlog(n: int = 600, *, ecg: bool = True, two_marks: bool = False) -> tuple[str, np.ndarray]:
    rng = np.random.default_rng(1)
    table = rng.integers(-2000, 2000, (n, 9))
    if not ecg:
        table[:, :4] = 0
    marks = np.zeros(n, int)
    marks[[100, 400]] |= 0x02
    marks[250] |= 0x04 | 0x01
    marks[50], marks[-10] = 0x10, 0x20
    rows = [
        " ".join(map(str, row)) + f" {mark:04x}" + (" 0000" if two_marks else "") for row, mark in zip(table, marks, strict=True)
    ]
    names = "# v1raw v2raw  v1 v2  ppu resp  gx gy gz mark" + (" mark2" if two_marks else "")
    return HEAD + names + "\n" + "\n".join(rows) + "\n", table


@pytest.mark.parametrize("two_marks", [False, True])
def test_sensors_and_their_marks(two_marks: bool):
    text, table = physlog(two_marks=two_marks)
    lead, second, pulse, breath = parse_scanphyslog(text.encode(), "S.log", rate_hz=496)
    assert [one.kind for one in (lead, second, pulse, breath)] == ["cardiac", "other", "cardiac", "respiratory"]
    assert (lead.sensor, pulse.sensor, breath.sensor) == ("ecg", "ppg", "belt")
    assert np.array_equal(pulse.samples, table[:, 4])
    assert np.array_equal(breath.samples, table[:, 5])
    assert np.array_equal(lead.samples, table[:, 2])
    assert pulse.marks_s == pytest.approx(np.array([100, 400]) / 496)
    assert breath.marks_s == pytest.approx([250 / 496])
    assert (pulse.clock_s, pulse.start_s, pulse.rate_hz) == (None, None, 496)


def test_unused_sensors_are_left_out_and_the_rate_is_said_to_be_assumed(caplog: pytest.LogCaptureFixture):
    text, _ = physlog(ecg=False)
    assert [one.source for one in parse_scanphyslog(text.encode(), "S.log")] == ["S.log ppu", "S.log resp"]
    assert "500 Hz is assumed" in caplog.text


def test_a_line_cut_off_is_left_out(caplog: pytest.LogCaptureFixture):
    text, table = physlog()
    recordings = parse_scanphyslog(text[:-20].encode(), "S.log", rate_hz=500)
    assert recordings[0].samples.size == len(table) - 1
    assert "1 lines" in caplog.text


@given(st.one_of(st.binary(max_size=500), st.text("# \n-0123456789abcdefv1raw", max_size=500).map(str.encode)))
@settings(max_examples=100, deadline=1000)
def test_bytes_give_recordings_or_a_reason(data: bytes):
    for head in (b"", b"# v1raw v2raw v1 v2 ppu resp gx gy gz mark\n"):
        try:
            recordings = parse_scanphyslog(head + data, "S.log")
        except CoSpineError:
            continue
        assert all(0 < one.samples.size <= len(data.splitlines()) for one in recordings)
