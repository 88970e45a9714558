"""`cospine fetch` from the command line."""

from pathlib import Path

import pytest
from openneuro_server import BOLD, DATASET, Server

from cospine.cli.main import main


def test_command_line(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSPINE_OPENNEURO_URL", server.endpoint)
    target = tmp_path / "ds"

    def fetch(*more: str) -> int:
        return main(["fetch", DATASET, str(target), *more])

    assert fetch("--dry-run", "--participant", "01") == 0
    told = capsys.readouterr().out
    assert "ds005883 1.1.0" in told
    assert "to fetch      6 files, 1.0 MB" in told
    assert "free disk" in told
    assert BOLD in told
    assert not target.exists()
    assert fetch() == 2  # nobody to ask
    assert "--yes" in capsys.readouterr().err
    assert fetch("--yes", "--participant", "sub-01", "--tag", "1.0.0") == 0
    assert "6 files fetched and checked\n" in capsys.readouterr().out
    server.faults["sub-02/anat/sub-02_T1w.nii.gz"] = [("status", 404)]
    assert fetch("--yes") == 1
    assert "sub-02_T1w.nii.gz: the server refuses it" in capsys.readouterr().err
    assert fetch("--yes", "--jobs", "0") == 2
    assert fetch("--yes") == 0
    assert fetch("--yes") == 0
    assert "here already  11 files" in capsys.readouterr().out


def test_where_nothing_but_the_size_is_known_it_is_said(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.etags = False
    server.identities[BOLD] = "URL-s5--http&c%%x"
    arguments = ["fetch", DATASET, str(tmp_path / "d"), "--yes", "--endpoint", server.endpoint]
    assert main(arguments) == 0
    assert "1 of them by size alone" in capsys.readouterr().out
