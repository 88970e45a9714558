"""The closed table of codes, and its copy in the contract."""

import re
from pathlib import Path

import pytest
from check.test_troubles import TROUBLES

from cospine.bids import CODES, SEVERITIES
from cospine.bids.codes import CHECK, READER

DOCS = Path(__file__).parents[2] / "docs"


def table_of(path: Path) -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning|info) \| (.+) \|$", path.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == len({code for code, _, _ in rows})
    return {code: (severity, meaning) for code, severity, meaning in rows}


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not beside the tests")
def test_the_contract_repeats_the_table():
    assert table_of(DOCS / "contract.md") == {code: (SEVERITIES[code], meaning) for code, meaning in CODES.items()}


def test_reader_and_check_share_no_code():
    assert not READER.keys() & CHECK.keys()


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not beside the tests")
def test_the_page_lists_every_trouble_that_is_tested():
    text = (DOCS / "check.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| `([a-z0-9-]+)` \|", text, re.MULTILINE)
    assert [(one.name, one.code) for one in TROUBLES] == rows
