"""docs/database.md names every table, column and measure with its meaning."""

from pathlib import Path

from cospine.database.schema import TABLES
from cospine.quality.measures import MEASURES

TEXT = (Path(__file__).parents[2] / "docs" / "database.md").read_text()


def test_tables_and_columns() -> None:
    for table in TABLES:
        assert f"### `{table.name}`: a row is {table.about}\n" in TEXT
        for column in table.columns:
            assert f"| `{column.name}` | {column.type} | {column.about} |\n" in TEXT


def test_measures() -> None:
    for name, (region, meaning) in MEASURES.items():
        assert f"| `{name}` | {region} | {meaning} |\n" in TEXT
