"""`cospine check`: exit status, files written, and what the terminal shows."""

import json
from html.parser import HTMLParser

import pytest
from check.conftest import complete

from cospine.cli.main import main


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return complete(tmp_path_factory.mktemp("check") / "bids").root


def check(*arguments):
    return main(["check", "--no-validator", *map(str, arguments)])


def test_nothing_wrong_is_zero(root, capsys):
    assert check(root) == 0
    out = capsys.readouterr().out
    assert "0 errors, 0 warnings" in out
    assert "sites 1" in out
    assert "->" not in out
    assert check(root, "-v") == 0
    assert "->" in capsys.readouterr().out


def test_an_error_is_one(tmp_path, capsys):
    tree = complete(tmp_path / "bids", 1)
    tree.json("sub-01/func/sub-01_task-motorL_bold.json", RepetitionTime=None)
    assert check(tree.root) == 1
    assert "missing-repetition-time" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["no folder", "a file", "no card", "output in the dataset", "output is a folder"])
def test_what_cannot_be_read_is_two(root, tmp_path, what, capsys):
    (tmp_path / "file").write_text("x")
    arguments = {
        "no folder": [tmp_path / "none"],
        "a file": [tmp_path / "file"],
        "no card": [root, "--card", tmp_path / "none.json"],
        "output in the dataset": [root, "--json", root / "findings.json"],
        "output is a folder": [root, "--html", tmp_path],
    }[what]
    assert check(*arguments) == 2
    assert "cospine:" in capsys.readouterr().err
    assert not (root / "findings.json").exists()


class Page(HTMLParser):
    """What a page shows, and what it would fetch."""

    def __init__(self):
        super().__init__()
        self.text, self.fetched = "", []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for key, value in attrs if key in ("src", "href") and value and not value.startswith("#")]

    def handle_data(self, data):
        self.text += data


def test_findings_for_machines_and_for_people(tmp_path):
    tree = complete(tmp_path / "bids", 1)
    tree.json("sub-01/func/sub-01_task-motorL_bold.json", TaskName="<script>alert(1)</script>")
    assert check(tree.root, "--json", tmp_path / "out" / "a.json", "--html", tmp_path / "a.html") == 0
    records = json.loads((tmp_path / "out" / "a.json").read_text("utf-8"))
    (one,) = [record for record in records if record["code"] == "task-name-differs"]
    assert (one["severity"], one["participant"]) == ("warning", "sub-01")
    text = (tmp_path / "a.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    assert page.fetched == []
    assert "<script>" not in text
    assert "<script>alert(1)</script>" in page.text
    for record in records:
        assert record["message"] in page.text


def test_the_plan_is_printed_alone(tmp_path, capsys):
    tree = complete(tmp_path / "bids", 1)
    tree.json("sub-01/func/sub-01_task-motorL_bold.json", TaskName="motor")
    assert check(tree.root, "--fix-plan") == 0
    out = capsys.readouterr().out
    assert out.startswith("diff --git a/sub-01/func/sub-01_task-motorL_bold.json")
    assert '-  "TaskName": "motor",' in out
