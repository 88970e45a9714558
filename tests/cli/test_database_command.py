"""`cospine database` from the command line."""

import json
from pathlib import Path

import pytest

from cospine.bids import write_json, write_tsv
from cospine.cli.main import main


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    write_json(root / "dataset_description.json", {"Name": "made", "BIDSVersion": "1.11.0"})
    write_tsv(root / "participants.tsv", {"participant_id": ["sub-01", "sub-02"], "age": [34, "n/a"]})
    for label in ("sub-01", "sub-02"):
        write_json(root / f"{label}/func/{label}_task-pain_bold.json", {"RepetitionTime": 2.68})
    return root


def test_build_and_ask(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = tmp_path / "catalogue"
    assert main(["database", "build", str(raw), "--output", str(catalogue)]) == 0
    assert "2  participants" in capsys.readouterr().out

    def ask(*arguments: str) -> str:
        assert main(["database", *arguments, "--database", str(catalogue)]) == 0
        return capsys.readouterr().out

    sql = "SELECT participant, age_years FROM participants ORDER BY 1"
    assert ask("query", sql).splitlines()[2:] == ["sub-01              34", "sub-02             n/a", "(2 rows)"]
    assert ask("query", sql, "--format", "csv") == "participant,age_years\nsub-01,34.0\nsub-02,\n"
    assert json.loads(ask("query", sql, "--format", "json"))[1] == {"participant": "sub-02", "age_years": None}
    assert ask("query", sql, "--output", str(tmp_path / "a.csv")) == ""
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "participant,age_years"
    assert "a row is a BOLD series" in ask("tables")
    assert "repetition_time_s" in ask("tables", "runs")


def test_what_is_wrong_is_said(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = ["--database", str(tmp_path / "catalogue")]
    assert main(["database", "build", str(tmp_path / "no"), str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("no such folder") == 2
    assert main(["database", "query", "SELECT 1", *catalogue]) == 2
    assert "cospine database build" in capsys.readouterr().err
    (raw / "participants.tsv").unlink()
    assert main(["database", "build", str(raw), "--output", str(tmp_path / "catalogue")]) == 1
    assert "warning raw/participants.tsv: is absent" in capsys.readouterr().err
    assert main(["database", "query", "DROP TABLE runs", *catalogue]) == 2
    assert "only read" in capsys.readouterr().err
    assert main(["database", "query", "SELECT 1", "--output", str(tmp_path / "x.xlsx"), *catalogue]) == 2
    assert "--format" in capsys.readouterr().err
    assert main(["database", "tables", "nothing", *catalogue]) == 2
    assert "participants" in capsys.readouterr().err
