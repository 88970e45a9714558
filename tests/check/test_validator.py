"""The official validator's findings in our table, and what is said where it cannot be run."""

import json
import subprocess

import pytest

from cospine.check import validator


def answer(monkeypatch, stdout, stderr=b""):
    monkeypatch.setattr(validator, "_command", lambda: ["validator"])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, stdout, stderr))


def test_issues_become_findings(monkeypatch, tmp_path):
    issues = [
        {"code": "EMPTY_FILE", "severity": "error", "location": "/sub-01/anat/sub-01_T1w.nii.gz"},
        {"code": "EMPTY_FILE", "severity": "error", "location": "/sub-01/anat/sub-01_T2w.nii.gz"},
        {"code": "KEY", "subCode": "DwellTime", "severity": "warning", "location": "/sub-01/a.json"},
        {"code": "KEY", "subCode": "DwellTime", "severity": "warning", "location": "/sub-02/a.json"},
        {"code": "HINT", "severity": "ignore"},
    ]
    content = {
        "issues": {"issues": issues, "codeMessages": {"EMPTY_FILE": "Empty\nfiles.", "KEY": "A key is missing."}},
        "summary": {},
    }
    answer(monkeypatch, json.dumps(content).encode())
    empty, key = validator.check_with_validator(tmp_path)
    assert (empty.code, empty.severity, empty.participant) == ("validator-error", "error", "sub-01")
    assert empty.files == ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz")
    assert empty.message == "EMPTY_FILE: Empty files"
    assert (key.code, key.severity, key.participant) == ("validator-warning", "info", None)
    assert key.message == "KEY DwellTime: A key is missing"


@pytest.mark.parametrize("stdout", [b"", b"no JSON", b"[]", b"{}", b'{"issues": 1}'])
def test_an_answer_that_is_none_is_said(monkeypatch, tmp_path, stdout):
    answer(monkeypatch, stdout, b"first\nno such option\n")
    (one,) = validator.check_with_validator(tmp_path)
    assert (one.code, one.severity) == ("validator-absent", "info")


def test_where_it_is_not_installed_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(validator, "_command", lambda: None)
    (one,) = validator.check_with_validator(tmp_path)
    assert one.code == "validator-absent"
    assert "cospine[validator]" in one.remedy


def test_the_program_itself(tree):
    if validator._command() is None:
        pytest.skip("bids-validator-deno is not installed")
    found = list(validator.check_with_validator(tree.root))
    if any(one.code == "validator-absent" for one in found):
        pytest.skip(found[0].message)
    assert found
    assert {one.code for one in found} <= {"validator-error", "validator-warning"}
    (tree / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"")
    assert any(one.code == "validator-error" and "EMPTY_FILE" in one.message for one in validator.check_with_validator(tree.root))
