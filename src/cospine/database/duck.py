"""DuckDB in memory, with no way out of it but what is asked for here."""

from typing import TYPE_CHECKING

from cospine.errors import CoSpineError

if TYPE_CHECKING:
    import duckdb


def connect() -> "duckdb.DuckDBPyConnection":
    """A database in memory that fetches no extension, sees no variable of Python and gives the same bytes every time.

    Raises
    ------
    CoSpineError
        When DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise CoSpineError("needs DuckDB, which is not installed", "cospine database", "pip install duckdb") from error
    options = {
        "threads": 1,  # row groups in the order of the rows
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "temp_directory": "",  # what does not fit the memory is an error, not a file in the current folder
    }
    return duckdb.connect(":memory:", config=options)


def identifier(name: str) -> str:
    """A name of a table or column as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'
