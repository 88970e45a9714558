"""The page: self-contained, repeatable, escaped, complete, and navigable."""

import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from cospine.quality import figure, methods, metrics, report, traces, verdicts


@dataclass(frozen=True)
class _Finding:
    severity: str
    code: str
    files: tuple[str, ...]
    message: str
    remedy: str


class _Page(HTMLParser):
    """Collects ids, links, images, text, and checks that tags close in order."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        if "id" in values:
            self.ids.append(values["id"] or "")
        if tag == "a":
            self.links.append(values["href"] or "")
        if tag == "img":
            self.images.append(values)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page_report() -> report.ParticipantReport:
    motion = np.zeros((12, 6))
    motion[6:, 1] = 0.4
    head = traces.head_motion(motion, 2.68)
    both = figure.Figure("Before and after", "Switch.", "Two pictures", (*head.frames, figure.Frame("After", head.svg)))
    old = metrics.RegionTsnr("cord", 90, 9.0, 9.0, 5.0, 7.0, 10.0, 12.0)
    new = replace(old, median=13.5)
    numbers = {
        "fd_mm": metrics.framewise_displacement(motion),
        "cord_shift_mm": np.random.default_rng(0).normal(0, 0.1, (12, 5, 2)),
        "tsnr_before": (old,),
        "tsnr_after": (new,),
    }
    runs = tuple(
        report.RunReport(
            prefix=f"sub-01_task-pain_run-{number}",
            title=f"pain, run {number}",
            facts=(("Repetition time", "2.68 s"),),
            verdicts=verdicts.run_verdicts(**numbers),
            numbers=verdicts.run_numbers(**numbers),
            findings=(
                _Finding("info", "oblique-affine", ("a.nii.gz",), "Tilted slices.", "Nothing to do."),
                _Finding("warning", "truncated-gzip", ("b.nii.gz",), "Only 12 <whole> volumes.", "Copy it again."),
            ),
            figures=(head, both),
            notes=("Two volumes were cut off.",),
            outputs=(("sub-01/func/x_bold.nii.gz", "corrected series"),),
        )
        for number in (1, 2)
    )
    text = methods.motion_methods("0.1.0")
    return report.ParticipantReport(
        participant="sub-01",
        dataset="Pain & cord",
        version="0.1.0",
        runs=runs,
        attributes=(("Age", "24"),),
        findings=(_Finding("error", "no-t1w", (), "No T1w.", "Add one."),),
        errors=(report.Failure("pain, run 3: motion", "Out of memory", "Use --low-mem.", "Traceback <here>"),),
        methods=text.paragraphs,
        citations=text.citations,
        settings=(("seed", "1"),),
        software=(("numpy", "2.1"),),
        provenance=(("Command", "cospine run in out participant"),),
    )


def test_page_says_everything_it_was_given(page_report: report.ParticipantReport) -> None:
    page = _Page(report.participant_html(page_report))
    for words in (
        "sub-01", "Pain & cord", "2 runs", "pain, run 2", "2.68 s", "Only 12 <whole> volumes.", "Copy it again.",
        "truncated-gzip", "No T1w.", "Out of memory", "Use --low-mem.", "Traceback <here>", "Two volumes were cut off.",
        "x_bold.nii.gz", "numpy", "seed", "cospine run in out participant", "1 error, 2 warnings, 2 remarks",
        "Power JD", "9.0 → 13.5",
    ):  # fmt: skip
        assert words in page.text, words


def test_page_needs_nothing_from_outside(page_report: report.ParticipantReport) -> None:
    html = report.participant_html(page_report)
    assert "script" not in _Page(html).tags
    assert "@import" not in html
    assert "url(" not in re.sub(r'src="data:[^"]*"', "", html)
    for address in re.findall(r'(?:src|href)="([^"]*)"', html):
        assert address.startswith(("#", "data:")), address[:60]


def test_page_repeats_byte_by_byte(page_report: report.ParticipantReport) -> None:
    assert report.participant_html(page_report) == report.participant_html(page_report)


def test_links_lead_somewhere_and_ids_are_unique(page_report: report.ParticipantReport) -> None:
    page = _Page(report.participant_html(page_report))
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert "#sub-01_task-pain_run-2" in page.links


def test_every_picture_has_words(page_report: report.ParticipantReport) -> None:
    page = _Page(report.participant_html(page_report))
    assert len(page.images) == 2 * 3
    assert all(image["alt"] for image in page.images)


def test_pictures_survive_the_address(page_report: report.ParticipantReport) -> None:
    from urllib.parse import unquote
    from xml.etree import ElementTree

    image = _Page(report.participant_html(page_report)).images[0]
    svg = unquote((image["src"] or "").removeprefix("data:image/svg+xml,"))
    original = page_report.runs[0].figures[0].svg
    assert ElementTree.fromstring(svg).tag == ElementTree.fromstring(original).tag
    assert " ".join(original.split()) == svg


def test_worst_findings_come_first(page_report: report.ParticipantReport) -> None:
    text = _Page(report.participant_html(page_report)).text
    assert text.index("truncated-gzip") < text.index("oblique-affine")


def test_participant_of_whom_nothing_could_be_run() -> None:
    page = _Page(report.participant_html(report.ParticipantReport("sub-09", "x", "0.1.0")))
    assert "No run was processed." in page.text
    assert "Nothing was found wanting" in page.text


def test_verdicts_follow_the_numbers() -> None:
    still, restless, wild = (np.r_[np.nan, np.full(99, mm)] for mm in (0.1, 0.3, 0.8))
    levels = [verdicts.run_verdicts(fd_mm=fd)[0].level for fd in (still, restless, wild)]
    assert levels == ["good", "look", "bad"]
    assert "99 of 100 volumes above 0.5 mm" in verdicts.run_verdicts(fd_mm=wild)[0].text


def test_cord_verdict_ignores_a_constant_offset() -> None:
    shift = np.zeros((20, 4, 2))
    shift[..., 1] = 5.0
    line = verdicts.run_verdicts(cord_shift_mm=shift)[0]
    assert line.level == "good"
    assert "RMS shift 0.00 mm" in line.text
    shift[::2, :, 0] += 2.0
    assert verdicts.run_verdicts(cord_shift_mm=shift)[0].level == "look"


@pytest.mark.parametrize(("before", "after", "level"), [(9.0, 12.0, "good"), (9.0, 8.0, "look"), (4.0, 5.0, "look")])
def test_tsnr_verdict(before: float, after: float, level: str) -> None:
    old = metrics.RegionTsnr("cord", 10, before, before, 1, 2, 3, 4)
    line = verdicts.run_verdicts(tsnr_before=(old,), tsnr_after=(replace(old, median=after),))[0]
    assert line.level == level
    assert f"{before:.1f} to {after:.1f}" in line.text


def test_tsnr_verdict_is_net_of_interpolation() -> None:
    old = metrics.RegionTsnr("cord", 10, 9.0, 9.0, 1, 2, 3, 4)
    new = replace(old, median=9.5)
    plain = verdicts.run_verdicts(tsnr_before=(old,), tsnr_after=(new,))[0]
    net = verdicts.run_verdicts(tsnr_before=(old,), tsnr_after=(new,), interpolation_gain={"cord": 1.1})[0]
    assert (plain.level, net.level) == ("good", "look")
    assert "interpolation alone gives up to 10 %" in net.text


@pytest.mark.parametrize("field", [None, "pepolar", "phasediff"])
@pytest.mark.parametrize("regions", [("brain", "cord"), ("brain",), ("cord",)])
def test_methods_cite_what_they_list_and_name_only_what_was_there(
    regions: tuple[str, ...], field: methods.FieldSource | None
) -> None:
    text = methods.motion_methods("0.1.0", regions=regions, field=field)
    body = " ".join(text.paragraphs)
    assert "0.1.0" in body
    assert ("cord" in body) == ("cord" in regions)
    assert ("Head motion was estimated" in body) == ("brain" in regions)
    for citation in text.citations:
        author = citation.split(" ")[0]
        year = re.search(r"\((\d{4})\)", citation)
        assert year is not None
        assert re.search(rf"{author}[^;]*{year.group(1)}", body), citation


def test_methods_say_how_distortion_was_corrected_or_that_it_was_not() -> None:
    none, pair, phase = (" ".join(methods.motion_methods("0.1.0", field=field).paragraphs) for field in (None, *_SOURCES))
    assert "no distortion correction were applied" in none
    assert "Hz" not in none
    for text in (pair, phase):
        assert "distortion correction" not in text
        assert "one fixed Jacobian for the whole run" in text
        assert "slice-wise alignment in the neck" in text
    assert "EPIs of different phase encoding" in pair
    assert "Jezzard" not in pair
    assert "phase difference of two gradient echoes" in phase
    assert "Andersson" not in phase
    unscaled = " ".join(methods.motion_methods("0.1.0", regions=("brain",), field="pepolar", jacobian=False).paragraphs)
    assert "not multiplied by the Jacobian" in unscaled
    assert "neck" not in unscaled


_SOURCES: tuple[methods.FieldSource, methods.FieldSource] = ("pepolar", "phasediff")


def test_no_field_is_said_loudly() -> None:
    (line,) = verdicts.field_verdicts(None, reason="there is no field map of this run")
    assert line.level == "bad"
    assert line.text.startswith("NOT corrected for distortion: there is no field map of this run.")
    (asked,) = verdicts.field_verdicts(None, reason="--field none", asked_for=True)
    assert asked.level == "look"


def test_a_good_field_is_one_good_line_with_its_numbers() -> None:
    (line,) = verdicts.field_verdicts(
        "the pair dir-AP, dir-PA", cord_mm=2.71, brain_mm=1.34, similarity=(0.7, 0.9), jacobian_min=0.31
    )
    assert line.level == "good"
    for words in ("dir-AP", "2.7 mm in the cord and 1.3 mm in the brain", "0.70 before, 0.90 after"):
        assert words in line.text


@pytest.mark.parametrize(
    ("given", "levels", "words"),
    [
        ({"similarity": (0.7, 0.47)}, ["bad"], "sign may be wrong"),
        ({"similarity": (0.7, float("nan"))}, ["bad"], "sign may be wrong"),
        ({"failed_checks": ("its shim differs", "27 min before the run.")}, ["good", "look", "look"], "27 min before the run."),
        ({"cutoff_z_mm": -129.2}, ["good", "look"], "z −129 mm"),
        ({"jacobian_min": 0.0}, ["good", "bad"], "folds"),
        ({"jacobian_min": 0.1}, ["good", "look"], "stretches"),
        ({"agreement": (1.02, 4.2)}, ["good", "good"], "slope 1.02"),
        ({"agreement": (0.6, 4.2)}, ["good", "look"], "disagree"),
        ({"agreement": (1.0, 9.0)}, ["good", "look"], "9.0 Hz"),
        ({"agreement": (-0.9, 4.2)}, ["good", "bad"], "sign"),
    ],
)
def test_doubts_about_a_field_are_lines_of_their_own(given: dict[str, Any], levels: list[str], words: str) -> None:
    lines = verdicts.field_verdicts("the pair", **given)
    assert [line.level for line in lines] == levels
    assert words in lines[-1].text
    assert ".." not in lines[-1].text


def test_field_numbers_show_what_there_is() -> None:
    assert verdicts.field_numbers() == ()
    cord, likeness = verdicts.field_numbers(cord_mm=2.73, cord_after_mm=0.13, similarity=(0.5, 0.85))
    assert (cord.before, cord.value, cord.region) == ("2.7", "0.1", "cord")
    assert (likeness.before, likeness.value) == ("0.50", "0.85")
    brain, only = verdicts.field_numbers(cord_mm=2.73, brain_mm=1.0)
    assert (brain.value, only.value, only.before) == ("1.0", "2.7", "")
