"""Asking: answers as asked for, and nothing but the catalogue touched."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cospine.cli.database import as_csv, as_json, as_table
from cospine.database import Answer, Catalogue, open_catalogue
from cospine.errors import CoSpineError


def test_a_data_frame_with_parameters(catalogue: Catalogue) -> None:
    table = catalogue.query("SELECT participant, fd_mean_mm FROM quality WHERE participant = ?", ["sub-02"])
    assert isinstance(table, pd.DataFrame)
    assert table["participant"].tolist() == ["sub-02"]


def test_tables_are_described(catalogue: Catalogue) -> None:
    for name, about in catalogue.tables.items():
        answer = catalogue.answer(f"SELECT * FROM {name}")
        assert list(answer.columns) == [one["Name"] for one in about["Columns"]]
        assert len(answer.rows) == about["Rows"]
        assert all(one["About"] for one in about["Columns"])


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "FROM runs SELECT prefix",
        "DESCRIBE runs",
        "SUMMARIZE quality",
        "EXPLAIN SELECT 1",
        "PIVOT measures ON region USING avg(value) GROUP BY participant",
    ],
)
def test_questions_of_every_kind(catalogue: Catalogue, sql: str) -> None:
    assert catalogue.answer(sql).rows


@pytest.mark.parametrize(
    "sql",
    [
        "COPY runs TO '{}/x.csv'",
        "COPY (SELECT 1) TO '{}/x.parquet' (FORMAT parquet)",
        "EXPORT DATABASE '{}/x'",
        "ATTACH '{}/x.db'",
        "CREATE TABLE x AS SELECT 1",
        "DELETE FROM runs",
        "DROP TABLE runs",
        "INSERT INTO runs SELECT * FROM runs",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD json",
        "PRAGMA database_list",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE runs",
        "",
        "SELECT * FROM '{}/secret.csv'",
        "SELECT * FROM read_csv('{}/secret.csv')",
        "SELECT * FROM read_text('{}/secret.csv')",
        "SELECT * FROM glob('{}/*')",
        "SELECT * FROM read_parquet('http://127.0.0.1:9/x')",
        "SELECT * FROM table_of_python",
        "SELECT nothing FROM runs",
        "SELEC",
        "SELECT 'x'::INTEGER",
    ],
)
def test_nothing_else_can_be_done(catalogue: Catalogue, tmp_path: Path, sql: str) -> None:
    table_of_python = pd.DataFrame({"x": [1]})  # DuckDB would find it by its name
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(CoSpineError) as caught:
        catalogue.answer(sql.format(tmp_path))
    assert caught.value.remedy
    assert [one.name for one in tmp_path.iterdir()] == ["secret.csv"]
    assert len(catalogue.answer("SELECT * FROM runs").rows) == 2
    assert len(table_of_python) == 1


def test_folders_that_are_no_catalogue(made: Path, tmp_path: Path) -> None:
    with pytest.raises(CoSpineError, match="no catalogue"):
        open_catalogue(tmp_path)
    for text in ("{", "[]", '{"Schema": 999, "Tables": {}}', '{"Schema": 1}'):
        (tmp_path / "catalogue.json").write_text(text)
        with pytest.raises(CoSpineError, match=r"cannot be read|schema"):
            open_catalogue(tmp_path)
    described = json.loads((made / "catalogue" / "catalogue.json").read_text())
    (tmp_path / "catalogue.json").write_text(json.dumps(described))
    (tmp_path / "datasets.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(CoSpineError, match=r"datasets\.parquet"):
        open_catalogue(tmp_path)
    (tmp_path / "catalogue.json").write_text(json.dumps({**described, "Tables": {'a"; DROP': {}}}))
    with pytest.raises(CoSpineError, match="names a table"):
        open_catalogue(tmp_path)


ANSWER = Answer(("name", "value", "list"), [("a,b\n", 1.23456789, [1.0, None]), (None, float("nan"), None)])


def test_formats() -> None:
    assert as_csv(ANSWER) == 'name,value,list\n"a,b\n",1.23456789,"[1.0, null]"\n,nan,\n'
    assert json.loads(as_json(ANSWER)) == [
        {"name": "a,b\n", "value": 1.23456789, "list": [1.0, None]},
        {"name": None, "value": None, "list": None},
    ]
    lines = as_table(ANSWER).splitlines()
    assert lines[0].split() == ["name", "value", "list"]
    assert lines[2].split(maxsplit=2) == ["a,b", "1.23457", "[1.0, null]"]
    assert lines[3].split() == ["n/a", "nan", "n/a"]
    assert lines[4] == "(2 rows)"


def test_a_table_without_rows() -> None:
    assert as_table(Answer(("a", "b"), [])).splitlines() == ["a  b", "-  -", "(0 rows)"]
