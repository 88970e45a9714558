"""Real metadata whose images are lines of a manifest: everything that is in them, and nothing that is not."""

import json

import pytest

from cospine.check.examine import examine
from cospine.cli.main import main

pytestmark = pytest.mark.shared


def about(root):
    found: dict[str, list] = {}
    for one in examine(root).findings:
        found.setdefault(one.code, []).append(one)
    return found


def people(findings):
    return sorted({one.participant for one in findings})


def test_motor(shared):
    found = about(shared / "data/ds005884-meta")
    everyone = [f"sub-{number:02d}" for number in range(1, 23)]
    assert {one.severity for of in found.values() for one in of} == {"warning", "info"}
    assert people(found["physio-swapped"]) == ["sub-04"]
    assert people(found["physio-of-another-run"]) == people(found["no-physio"]) == ["sub-08"]
    assert people(found["image-copied"]) == ["sub-10"]
    assert people(found["series-claimed-twice"]) == people(found["fieldmap-rotated"]) == ["sub-02"]
    assert people(found["fieldmap-polarity"]) == people(found["fieldmap-readout"]) == ["sub-17"]
    assert people(found["fieldmap-incomplete"]) == ["sub-22"]
    assert people(found["shim-readjusted"]) == ["sub-05", "sub-18"]
    assert people(found["protocol-deviation"]) == ["sub-10", "sub-17", "sub-22"]
    assert [one.participant for one in found["size-out-of-line"]] == ["sub-01", "sub-01", "sub-01", "sub-02"]
    for code in (
        "one-b0-identifier",
        "readout-on-non-epi",
        "task-name-differs",
        "physio-start-time",
        "fieldmap-not-stated",
        "stranger",
    ):
        assert people(found[code]) == everyone
    assert len(found["readme-contradicts"]) == 6
    for code in (
        "dialects",
        "description-contradicts",
        "crlf",
        "not-available",
        "litter",
        "clock-spelling",
        "task-description-differs",
    ):
        assert code in found
    for code in ("sidecar-copied", "physio-elsewhere", "physio-partial", "comment-contradicts", "fieldmap-gap", "fieldmap-shim",
                 "cut-transfer", "slice-order-differs", "no-slice-timing", "events-differ", "physio-duration"):  # fmt: skip
        assert code not in found


def test_pain(shared):
    found = about(shared / "data/ds005883-meta-part")
    everyone = [f"sub-{number:02d}" for number in range(1, 11)]
    assert people(found["cut-transfer"]) == ["sub-03", "sub-04", "sub-08"]
    assert people(found["physio-elsewhere"]) == ["sub-07"]
    assert people(found["fieldmap-shim"]) == ["sub-08"]
    assert people(found["phase-difference-named-phase1"]) == people(found["phase-shim"]) == everyone
    gaps = [one for one in found["fieldmap-gap"] if "epi" in one.files[0]]
    assert people(gaps) == [label for label in everyone if label not in ("sub-06", "sub-08")]
    assert all("min before" in one.message for one in gaps)
    assert people(found["protocol-deviation"]) == ["sub-08"]
    assert [one.message for one in found["readme-contradicts"]] == [
        "the README says 39 participants; there are folders of 10",
        "the README says 42-47 °C; heat_temperature in participants.tsv is sub-10 48 °C",
    ]
    for code in ("sidecar-copied", "physio-swapped", "image-copied", "crlf", "dialects", "size-out-of-line", "task-name-differs"):
        assert code not in found


@pytest.mark.parametrize("name", ["ds005884-meta", "ds005883-meta-part"])
def test_command(shared, name, tmp_path, capsys):
    out = tmp_path / "findings.json"
    assert main(["check", str(shared / "data" / name), "--json", str(out)]) == 0
    records = json.loads(out.read_text("utf-8"))
    assert {frozenset(one) for one in records} == {frozenset(("severity", "code", "participant", "files", "message", "remedy"))}
    assert f"{sum(one['severity'] == 'warning' for one in records)} warnings" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "alien"), [("head-neck", True), ("cord-bold", True), ("brain-task", True)])
def test_other_protocols_are_not_held_to_ours(shared, name, alien):
    found = about(shared / "data" / name)
    assert ("other-protocol" in found) is alien
    assert "protocol-deviation" not in found
