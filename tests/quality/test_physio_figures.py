"""Figures of recordings: marks where the peaks are, gaps and clipping shown, and pages that stay small."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.physio.alignment import Overlap
from cospine.physio.peaks import Peaks, SignalQuality
from cospine.physio.recording import Recording
from cospine.quality import figure, physio_figures, physio_rates, physio_timing

TOP = 3400.0
PERIOD_S = {"cardiac": 0.85, "respiratory": 3.6}


def channel(
    kind: str, duration_s: float = 200.0, rate_hz: float = 400.0, start_s: float | None = -22.3
) -> tuple[Recording, Peaks]:
    """A wave with its maxima at the peaks, clipped at the top, with a gap from 100 to 104 s."""
    rng = np.random.default_rng(7)
    period = PERIOD_S[kind]
    onset = np.cumsum(np.clip(rng.normal(period, 0.05 * period, int(duration_s / period) + 20), 0.5 * period, None))
    onset = onset[onset < duration_s - 1]
    time = np.arange(int(duration_s * rate_hz)) / rate_hz
    turns = np.interp(time, onset, np.arange(onset.size))
    samples = np.clip(np.round(2048 + 1500 * np.cos(2 * np.pi * turns)), 0, TOP)
    samples[(time >= 100) & (time < 104)] = np.nan
    quality = np.full(onset.size, 0.9)
    quality[(onset > 50) & (onset < 60)] = 0.3
    mended = (onset >= 100) & (onset < 104)
    starts = np.arange(0.0, duration_s - 9, 10.0)
    windows = SignalQuality(starts, 10.0, np.where(starts == 50, 0.2, 0.9), starts != 50)
    recording = Recording(
        kind, samples, rate_hz, start_s=start_s, marks_s=onset + 0.1, limits=(0.0, TOP), source=f"recording-{kind}"
    )
    return recording, Peaks(kind, onset, quality, mended, windows)


def times() -> Overlap:
    seconds = np.array([[603.0, 0.0], [0.0, np.nan], [0.0, 0.0]])
    return Overlap(
        ("pain cardiac", "motor respiratory", "lost"),
        ("cardiac", "respiratory", "cardiac"),
        ("sub-01_task-pain", "motor"),
        seconds,
    )


def every_figure() -> dict[str, figure.Figure]:
    cardiac, respiratory = channel("cardiac"), channel("respiratory", duration_s=230.0, start_s=-60.0)
    run = (0.0, 150.0)
    slice_times = 2.68 * np.arange(50)[:, None] + np.linspace(0, 2.6, 9)
    phase = (2 * np.pi * slice_times / 0.87) % (2 * np.pi)
    return {
        "pulse": physio_figures.every_minute(*cardiac, run=run),
        "breathing": physio_figures.every_minute(*respiratory),
        "rates": physio_rates.rates([cardiac, respiratory], run=run, events=[(10.0, 4.0, "heat")]),
        "table": physio_timing.overlap_table(times()),
        "phases": physio_timing.phase_histogram(phase, phase - np.pi),
    }


@pytest.fixture(scope="module")
def figures() -> dict[str, figure.Figure]:
    return every_figure()


def test_every_figure_is_well_formed_and_says_what_it_is(figures: dict[str, figure.Figure]) -> None:
    for name, drawn in figures.items():
        assert drawn.title, name
        assert drawn.alt, name
        assert len(drawn.caption) > 60, name
        assert "nan" not in drawn.caption + drawn.alt, name
        assert ElementTree.fromstring(drawn.svg).tag.endswith("svg"), name
        drawing = re.sub(r"base64,[A-Za-z0-9+/=]+", "", drawn.svg)
        assert not re.search(r"\b(nan|inf)\b", drawing), name


def test_figures_repeat_byte_by_byte(figures: dict[str, figure.Figure]) -> None:
    assert every_figure() == figures


def _marks(svg: str, colour: str) -> int:
    """How many markers of a colour a figure has; markers are used, everything else is drawn."""
    return len(re.findall(rf'<use [^>]*style="fill: {colour}', svg))


def test_each_peak_of_the_shown_minutes_has_its_mark() -> None:
    recording, peaks = channel("cardiac")
    svg = physio_figures.every_minute(recording, peaks).svg
    doubtful = int(((peaks.quality < physio_figures.LOW_QUALITY) & ~peaks.mended).sum())
    assert _marks(svg, physio_figures.SET_COLOURS["cardiac"]) == peaks.onset_s.size - doubtful - int(peaks.mended.sum())
    assert _marks(svg, figure.WARN) == doubtful
    assert _marks(svg, "#ffffff") == int(peaks.mended.sum())


def test_a_mark_stands_on_its_peak() -> None:
    time = np.arange(0, 60, 0.01)
    recording = Recording("cardiac", np.exp(-(((time - 15) / 0.2) ** 2)), 100.0, start_s=0.0)
    windows = SignalQuality(np.empty(0), 10.0, np.empty(0), np.empty(0, bool))
    peaks = Peaks("cardiac", np.array([15.0]), np.ones(1), np.zeros(1, bool), windows)
    svg = physio_figures.every_minute(recording, peaks).svg
    place = re.search(rf'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="fill: {physio_figures.SET_COLOURS["cardiac"]}', svg)
    line = re.search(rf'<path d="([^"]+)"[^>]*style="fill: none; stroke: {physio_figures._SIGNAL}', svg)
    assert place is not None
    assert line is not None
    points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", line.group(1)), dtype=float)
    highest = points[np.argmin(points[:, 1])]
    assert abs(float(place.group(1)) - highest[0]) < 1.5, "less than a tenth of a second"
    assert abs(float(place.group(2)) - highest[1]) < 1.5
    left, right = points[:, 0].min(), points[:, 0].max()
    assert (highest[0] - left) / (right - left) == pytest.approx(0.25, abs=0.005), "a quarter of a minute"


def test_the_envelope_loses_no_peak() -> None:
    samples = np.zeros(24_000)
    spikes = np.array([17, 4003, 15_999, 23_990])
    samples[spikes] = 5.0
    samples[9000:9100] = np.nan
    seconds, values = physio_figures._envelope(samples, 400.0, 600)
    assert np.allclose(seconds[values == 5.0], spikes / 400)
    assert values.size <= 1200
    assert not np.isfinite(values[(seconds > 22.5) & (seconds < 22.75)]).any(), "gaps stay gaps"
    assert (np.diff(seconds) >= 0).all()


def test_only_minutes_of_the_run_are_drawn_and_the_rest_is_named() -> None:
    recording, peaks = channel("cardiac", duration_s=1500.0, rate_hz=50.0, start_s=-600.0)
    drawn = physio_figures.every_minute(recording, peaks, run=(0.0, 300.0))
    assert drawn.alt.startswith("Pulse signal in 7 rows")
    assert "9 min before and 9 min after the run" in drawn.caption
    unknown = physio_figures.every_minute(replace(recording, start_s=None), peaks)
    assert f"in {physio_figures.MAX_ROWS} rows" in unknown.alt
    assert "the last 5 of 25 minutes" in unknown.caption
    elsewhere = physio_figures.every_minute(recording, peaks, run=(5000.0, 5300.0))
    assert "none of them touches the run" in elsewhere.caption


def test_marks_of_the_recorder_clipping_and_gaps_are_there_only_where_they_are() -> None:
    recording, peaks = channel("cardiac")
    full = physio_figures.every_minute(recording, peaks).svg
    assert "clipped" in full
    assert "recorder" in full
    bare = replace(recording, limits=None, marks_s=np.empty(0), samples=np.nan_to_num(recording.samples))
    plain = physio_figures.every_minute(bare, peaks).svg
    assert "clipped" not in plain
    assert "own mark" not in plain
    assert full.count(physio_figures.GAP) > plain.count(physio_figures.GAP) == 0


def test_ten_minutes_at_400_hz_stay_below_half_a_megabyte() -> None:
    drawn = physio_figures.every_minute(*channel("cardiac", duration_s=640.0), run=(0.0, 600.0))
    assert len(drawn.svg) < 500_000


def test_recordings_without_anything_to_show() -> None:
    recording, peaks = channel("cardiac")
    nothing = SignalQuality(np.empty(0), 10.0, np.empty(0), np.empty(0, bool))
    none = Peaks("cardiac", np.empty(0), np.empty(0), np.empty(0, bool), nothing)
    assert "0 beats" in physio_figures.every_minute(recording, none).caption
    assert "no rate in the run" in physio_rates.rates([(recording, none)], run=(0.0, 150.0)).svg
    lost = replace(recording, samples=np.full(recording.samples.size, np.nan))
    assert physio_figures.every_minute(lost, peaks).svg
    with pytest.raises(CoSpineError, match="no sample"):
        physio_figures.every_minute(replace(recording, samples=np.empty(0)), none)
    with pytest.raises(CoSpineError, match="no recording"):
        physio_rates.rates([])
    with pytest.raises(CoSpineError, match="nothing to compare"):
        physio_timing.overlap_table(replace(times(), seconds=np.empty((0, 2))))
    with pytest.raises(CoSpineError, match="no phase"):
        physio_timing.phase_histogram(np.full((4, 3), np.nan), None)


def test_rates_are_those_of_the_run_and_break_over_holes() -> None:
    recording, peaks = channel("cardiac")
    assert "Heart rate 71 per minute" in physio_rates.rates([(recording, peaks)], run=(0.0, 150.0)).caption
    holed = np.array([False] * 60 + [True] * 20 + [False] * (peaks.onset_s.size - 80))
    fewer = Peaks("cardiac", peaks.onset_s[~holed], peaks.quality[~holed], peaks.mended[~holed], peaks.windows)
    drawn = physio_rates.rates([(recording, fewer)], run=(0.0, 150.0))
    assert "Heart rate 71 per minute" in drawn.caption, "a hole is no slow beat"


def test_running_median_keeps_holes() -> None:
    rate = np.array([60.0, 62, np.nan, 64, 300, 66, 68])
    smooth = physio_rates._running_median(rate, 5)
    assert np.isnan(smooth[2])
    assert smooth[4] == 67.0, "the outlier counts as one of four"
    assert smooth[0] == 61.0


def test_table_of_overlap_says_what_is_not_known() -> None:
    drawn = physio_timing.overlap_table(times())
    assert "pain cardiac lies over sub-01_task-pain for 603 s" in drawn.alt
    assert "lost lies over no run" in drawn.alt
    assert "not known" in drawn.svg
    unknown = replace(times(), seconds=np.full((3, 2), np.nan))
    assert "when lost was made is not known" in physio_timing.overlap_table(unknown).alt


def test_phases_in_step_with_the_slices_are_told_from_even_ones() -> None:
    rng = np.random.default_rng(1)
    even = rng.uniform(0, 2 * np.pi, (4000, 3))
    locked = np.tile(np.pi * np.arange(2), 2000)[:, None] + rng.normal(0, 0.05, (4000, 3))
    concentration = [
        float(
            re.search(r"([\d.]+) in the median slice", physio_timing.phase_histogram(phase % (2 * np.pi), None).caption).group(1)
        )  # pyright: ignore[reportOptionalMemberAccess]
        for phase in (even, locked)
    ]
    assert concentration[0] < 0.06
    assert concentration[1] > 0.95
    half = even.copy()
    half[:2000] = np.nan
    assert "known for 50 % of slice times" in physio_timing.phase_histogram(half, None).caption


@pytest.mark.parametrize(("seconds", "words"), [(0.0, "0:00"), (61.0, "1:01"), (-60.0, "−1:00"), (-0.2, "0:00")])
def test_minutes_and_seconds(seconds: float, words: str) -> None:
    assert physio_figures._clock_words(seconds) == words


def test_short_numbers_leave_text_and_images_alone() -> None:
    with figure.canvas(4, 3) as drawing:
        axes = figure.place(drawing, 0.5, 0.5, 3, 2)
        axes.imshow(np.arange(12.0).reshape(3, 4), extent=(0, 1 / 3, 0, 1 / 7), aspect="auto")
        axes.plot(np.linspace(0, 1 / 3, 23) ** 2, np.sin(np.arange(23)) / 7, marker="o")
        axes.set_xticks([0.025, 0.075], ["0.025", "0.075"])
        full, short = figure.svg_of(drawing), physio_figures.small_svg(drawing)
    assert len(short) < len(full)
    assert ">0.025<" in short
    images = [re.findall(r"<image [^>]*>", svg) for svg in (full, short)]
    assert images[0] == images[1] != []
    points = [
        np.array([float(one) for one in re.findall(r"-?[\d.]+", " ".join(re.findall(r'<path d="([^"]*)"', svg)))])
        for svg in (full, short)
    ]
    assert np.abs(points[0] - points[1]).max() <= 0.01
