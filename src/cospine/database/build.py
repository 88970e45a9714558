"""Building a catalogue: read every dataset and its derivatives, write one Parquet file a table."""

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cospine import __version__
from cospine.bids.tables import read_json
from cospine.bids.write import write_bytes, write_json
from cospine.database.demographics import demographic_columns, demographic_row
from cospine.database.duck import connect, identifier
from cospine.database.processed import ProcessedRows, processed_rows, raw_of, written_by_cospine
from cospine.database.raw import RawRows, dataset_identifier, raw_rows
from cospine.database.schema import CATALOGUE, PARTICIPANTS, QUALITY, SCHEMA_VERSION, TABLES, Column, Row, Table
from cospine.errors import CoSpineError

if TYPE_CHECKING:
    import duckdb

_LARGEST_ROW_BYTES = 1 << 26  # of JSON; the largest cell is a sidecar


@dataclass(frozen=True)
class Sources:
    """What a catalogue is made of: raw datasets and folders that `cospine run` wrote, each with its name in the catalogue."""

    raw: Mapping[str, Path]
    derivatives: Mapping[str, Path]


@dataclass(frozen=True)
class Built:
    """What was written.

    Parameters
    ----------
    folder : Path
        Of the catalogue.
    rows : mapping of str to int
        Of each table.
    problems : tuple of (source, file, problem)
        What could not be read.
    """

    folder: Path
    rows: Mapping[str, int]
    problems: tuple[tuple[str, str, str], ...] = field(repr=False)


def find_sources(folders: Sequence[Path]) -> tuple[Sources, list[CoSpineError]]:
    """Tell raw datasets and derivatives apart; what CoSpine wrote into a dataset's own `derivatives/` is found by itself.

    Parameters
    ----------
    folders : sequence of Path

    Returns
    -------
    sources : Sources
    errors : list of CoSpineError
        One for each folder that is neither, and one where no folder is left.
    """
    raw: list[Path] = []
    derivatives: list[Path] = []
    errors: list[CoSpineError] = []
    for folder in folders:
        kind = _kind(folder)
        if isinstance(kind, CoSpineError):
            errors.append(kind)
            continue
        place = raw if kind == "raw" else derivatives
        if folder.resolve() not in place:
            place.append(folder.resolve())
    for root in raw:
        inside = root / "derivatives"
        for one in sorted(inside.iterdir()) if inside.is_dir() else ():
            if written_by_cospine(one) and one.resolve() not in derivatives:
                derivatives.append(one.resolve())
    if not raw and not derivatives and not errors:
        errors.append(CoSpineError("no folder was given", "cospine database build", "name a BIDS dataset"))
    named_raw = _named((dataset_identifier(root), root) for root in raw)
    return Sources(named_raw, _named((root.name, root) for root in derivatives)), errors


def build(sources: Sources, output: Path) -> Built:
    """Write a catalogue; an older one under the same name is replaced when the new one is whole.

    Parameters
    ----------
    sources : Sources
        From :func:`find_sources`. Read only.
    output : Path
        Folder of the catalogue. Made when absent; refused when it holds anything but a catalogue.

    Returns
    -------
    Built

    Raises
    ------
    CoSpineError
        When the output cannot be used or a dataset's folder cannot be listed.
    """
    output = output.absolute()
    _check_output(sources, output)

    def relative(path: Path) -> str:
        return Path(os.path.relpath(path, output.resolve())).as_posix()

    read = [raw_rows(root, dataset, relative(root)) for dataset, root in sources.raw.items()]
    done = []
    unlinked: list[dict[str, Any]] = []
    for name, root in sources.derivatives.items():
        dataset = _dataset_of(root, sources.raw)
        if dataset is None:
            unlinked.append(
                {"source": name, "file": "dataset_description.json", "problem": "its raw dataset is not in the catalogue"}
            )
        done.append(processed_rows(root, name, dataset, relative(root)))
    tables = _tables(read, done)
    problems = _problems(read, sources.derivatives, done) + unlinked
    content = [(table, problems if table.name == "problems" else rows) for table, rows in tables]
    _write(output, content)
    told = tuple((one["source"], one["file"], one["problem"]) for one in problems)
    return Built(output, {table.name: len(rows) for table, rows in content}, told)


# --- what is read -----------------------------------------------------------------------------------------------------


def _kind(folder: Path) -> str | CoSpineError:
    remedy = "give a BIDS dataset, or a folder that cospine run wrote"
    if not folder.is_dir():
        return CoSpineError("is not a folder" if folder.exists() else "no such folder", str(folder), remedy)
    if written_by_cospine(folder):
        return "derivative"
    try:
        kind = read_json(folder / "dataset_description.json").get("DatasetType")
        people = any(one.name.startswith("sub-") for one in folder.iterdir())
    except (OSError, ValueError):
        kind, people = None, any(folder.glob("sub-*"))
    if kind == "derivative":
        return CoSpineError("holds derivatives that CoSpine did not write", str(folder), remedy)
    if not people and not (folder / "manifest.tsv").is_file():
        return CoSpineError("holds no sub-* folder", str(folder), remedy)
    return "raw"


def _named(pairs: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Folders by name; a second one of a name is numbered."""
    named: dict[str, Path] = {}
    for name, root in pairs:
        unique, n = name, 1
        while unique in named:
            n += 1
            unique = f"{name}_{n}"
        named[unique] = root
    return named


def _dataset_of(root: Path, raw: Mapping[str, Path]) -> str | None:
    """Dataset that derivatives come from: as they say themselves, else the one they lie in."""
    said = raw_of(root)
    for dataset, folder in raw.items():
        if folder == said or root.is_relative_to(folder):
            return dataset
    return None


def _tables(read: Sequence[RawRows], done: Sequence[ProcessedRows]) -> list[tuple[Table, list[Row]]]:
    demographics = [one.demographics for one in read]
    columns, names = demographic_columns(demographics, [column.name for column in PARTICIPANTS.columns])
    taken = {column.name for column in QUALITY.columns}
    measures = {column.name: column for one in done for column in one.columns if column.name not in taken}
    tables = []
    for table in TABLES:
        rows: list[Row] = [row for one in (*read, *done) for row in one.rows.get(table.name, ())]
        if table is PARTICIPANTS:
            table = table.with_columns(columns)
            rows = [
                {**row, **demographic_row(one.demographics, row["participant"], columns, names)}
                for one in read
                for row in one.rows["participants"]
            ]
        elif table is QUALITY:
            table = table.with_columns(measures.values())
        elif table.name == "runs":
            held = [(row["dataset"], row["prefix"]) for one in done for row in one.rows["quality"]]
            rows = [{**row, "processed": held.count((row["dataset"], row["prefix"]))} for row in rows]
        tables.append((table, rows))
    return tables


def _problems(read: Sequence[RawRows], derivatives: Iterable[str], done: Sequence[ProcessedRows]) -> list[dict[str, Any]]:
    found = [(one.dataset, one.problems) for one in read]
    found += [(name, one.problems) for name, one in zip(derivatives, done, strict=True)]
    return [{"source": source, "file": file, "problem": text} for source, pairs in found for file, text in pairs]


# --- what is written --------------------------------------------------------------------------------------------------


def _check_output(sources: Sources, output: Path) -> None:
    where = f"--output {output}"
    if output.exists() and not output.is_dir():
        raise CoSpineError("is a file", where, "name a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / CATALOGUE).is_file():
        raise CoSpineError("is a folder that holds something else than a catalogue", where, "name a new folder")
    if output.is_dir():
        own = {CATALOGUE, *(f"{table.name}.parquet" for table in TABLES)}
        if others := sorted(one.name for one in output.iterdir() if one.name not in own):
            what = f"holds files that are not the catalogue's ({', '.join(others[:5])})"
            raise CoSpineError(what, where, "move them away: the folder is replaced as a whole")
    for root in (*sources.raw.values(), *sources.derivatives.values()):
        if output.resolve() == root or root.is_relative_to(output.resolve()):
            raise CoSpineError("is, or holds, what the catalogue is made of", where, "name a folder of its own")
        inside = output.resolve().relative_to(root).parts if output.resolve().is_relative_to(root) else ("derivatives",)
        if inside[0] != "derivatives":
            raise CoSpineError(f"lies in {root}, which is only read", where, "name a folder outside, or in its derivatives/")


def _write(output: Path, content: Sequence[tuple[Table, Sequence[Row]]]) -> None:
    """Write all tables beside their place, then put them there in one step."""
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    fresh = output.with_name(f".{output.name}.{token}.part")
    with connect() as database:
        import duckdb

        try:
            fresh.mkdir(parents=True)
            about = {table.name: _write_table(database, fresh, table, rows) for table, rows in content}
            write_json(fresh / CATALOGUE, {"CoSpine": __version__, "Schema": SCHEMA_VERSION, "Tables": about})
            _replace(fresh, output, output.with_name(f".{output.name}.{token}.old"))
        except (OSError, duckdb.Error) as error:
            what = f"cannot be written ({getattr(error, 'strerror', None) or error})"
            raise CoSpineError(what, f"--output {output}", "check free space and permissions, or name another folder") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _replace(fresh: Path, output: Path, old: Path) -> None:
    if not output.exists():
        fresh.rename(output)
        return
    output.rename(old)
    try:
        fresh.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old)


def _write_table(database: "duckdb.DuckDBPyConnection", folder: Path, table: Table, rows: Sequence[Row]) -> dict[str, Any]:
    """Write one table; its description is returned."""
    lines = folder / f"{table.name}.jsonl"
    names = [column.name for column in table.columns]
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
    text = "".join(encoder.encode({name: row.get(name) for name in names}) + "\n" for row in rows)
    write_bytes(lines, text.encode("utf-8", errors="replace"))  # a lone surrogate in a JSON string is no character
    types = ", ".join(f"{identifier(column.name)} {column.type}" for column in table.columns)
    database.execute(f"CREATE OR REPLACE TABLE fresh ({types})")
    if rows:
        json_types = ", ".join(f"{identifier(column.name)}: '{column.type}'" for column in table.columns)
        database.execute(
            "INSERT INTO fresh SELECT * FROM read_json(?, format = 'newline_delimited', "
            f"maximum_object_size = {_LARGEST_ROW_BYTES}, columns = {{{json_types}}})",
            [str(lines)],
        )
    target = str(folder / f"{table.name}.parquet").replace("'", "''")
    database.execute(f"COPY fresh TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    lines.unlink()
    return {"About": table.about, "Rows": len(rows), "Columns": [_described(column) for column in table.columns]}


def _described(column: Column) -> dict[str, str]:
    return {"Name": column.name, "Type": column.type, "About": column.about}
