"""Asking a catalogue: SQL in, rows out, nothing else touched."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cospine.database.duck import connect, identifier
from cospine.database.schema import CATALOGUE, SCHEMA_VERSION
from cospine.errors import CoSpineError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_READING = ("SELECT", "EXPLAIN", "MULTI")  # PIVOT without IN is a MULTI: it first looks which columns there are


@dataclass(frozen=True)
class Answer:
    """What a query returned."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(repr=False)


class Catalogue:
    """An open catalogue: its tables in memory, in a database that can reach no file.

    Use :func:`open_catalogue`; `with` closes it.

    Parameters
    ----------
    folder : Path
        Of the catalogue.
    description : mapping
        Content of its `catalogue.json`.
    database : DuckDBPyConnection
        With the tables loaded, locked.
    """

    def __init__(self, folder: Path, description: dict[str, Any], database: "duckdb.DuckDBPyConnection") -> None:
        self.folder = folder
        self.description = description
        self._database = database

    def __enter__(self) -> "Catalogue":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory."""
        self._database.close()

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Tables by name: `About`, `Rows`, `Columns` (`Name`, `Type`, `About`)."""
        return self.description["Tables"]

    def answer(self, sql: str, parameters: Sequence[Any] = ()) -> Answer:
        """Run one SELECT; the rows as tuples.

        Parameters
        ----------
        sql : str
            DuckDB's SQL, `?` for each parameter.
        parameters : sequence

        Raises
        ------
        CoSpineError
            For SQL that is wrong, more than one statement, or anything but a question.
        """
        relation = self._run(sql, parameters)
        names = tuple(one[0] for one in relation.description or ())
        return Answer(names, self._fetched(relation.fetchall))

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> "pd.DataFrame":
        """Run one SELECT; the rows as a DataFrame. Parameters and errors are those of :meth:`answer`."""
        return self._fetched(self._run(sql, parameters).df)

    def _run(self, sql: str, parameters: Sequence[Any]) -> "duckdb.DuckDBPyConnection":
        import duckdb

        remedy = "`cospine database tables` lists tables and columns"
        try:
            statements = self._database.extract_statements(sql)
            kinds = {str(one.type).rpartition(".")[2] for one in statements}
            if len(statements) != 1:
                raise CoSpineError(f"holds {len(statements)} statements", "the query", "give one SELECT")
            if not kinds <= set(_READING):
                raise CoSpineError(f"is a {kinds.pop()}; a catalogue is only read", "the query", "give one SELECT")
            return self._database.execute(sql, list(parameters))
        except duckdb.Error as error:
            raise CoSpineError(_told(error), "the query", remedy) from error

    def _fetched(self, fetch: Any) -> Any:
        import duckdb

        try:
            return fetch()
        except duckdb.Error as error:  # a cast that fails in the last row
            raise CoSpineError(_told(error), "the query", "mend the expression") from error


def open_catalogue(folder: Path | str) -> Catalogue:
    """Open a catalogue for questions.

    Parameters
    ----------
    folder : Path or str
        That `cospine database build` wrote.

    Returns
    -------
    Catalogue
        Its `query` gives a DataFrame.

    Raises
    ------
    CoSpineError
        When the folder holds no catalogue, one of another schema, or a damaged one.

    Examples
    --------
    >>> with open_catalogue("catalogue") as found:  # doctest: +SKIP
    ...     found.query("SELECT age_years, tsnr_cord_after FROM quality JOIN participants USING (dataset, participant)")
    """
    folder = Path(folder)
    remedy = "build it with `cospine database build`"
    try:
        description = json.loads(
            (folder / CATALOGUE).read_bytes()
        )  # not by cospine.bids, whose import takes longer than most answers
    except FileNotFoundError as error:
        raise CoSpineError("is no catalogue", str(folder), remedy) from error
    except (OSError, ValueError) as error:
        raise CoSpineError(f"cannot be read ({error})", str(folder / CATALOGUE), remedy) from error
    about = description if isinstance(description, dict) else {}
    if about.get("Schema") != SCHEMA_VERSION or not isinstance(about.get("Tables"), dict):
        raise CoSpineError(f"is of schema {about.get('Schema')}, this version reads {SCHEMA_VERSION}", str(folder), remedy)
    database = connect()
    try:
        import duckdb

        for name in description["Tables"]:
            if not name.isidentifier():
                raise CoSpineError(f"names a table {name!r}", str(folder / CATALOGUE), remedy)
            try:
                sql = f"CREATE TABLE {identifier(name)} AS SELECT * FROM read_parquet(?)"
                database.execute(sql, [str(folder / f"{name}.parquet")])
            except duckdb.Error as error:
                raise CoSpineError(f"cannot be read ({_told(error)})", str(folder / f"{name}.parquet"), remedy) from error
        # from here on nothing outside the memory can be read or written, whatever is asked
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
    except BaseException:
        database.close()
        raise
    return Catalogue(folder, description, database)


def _told(error: Exception) -> str:
    """What DuckDB says, without the picture of where in the query."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split()).rstrip(".!")
