"""`cospine database`: a catalogue of datasets and what was found in them, asked by SQL."""

import argparse
import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cospine.errors import CoSpineError

if TYPE_CHECKING:
    from cospine.database.query import Answer

_WIDEST = 60  # characters of a cell on the terminal
_FORMATS = ("table", "csv", "json")
_DEFAULT = Path("catalogue")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "database",
        help="collect datasets, runs, quality and results in tables and ask them by SQL",
        description="Collect every dataset, participant, acquisition, run, quality measure and result in Parquet tables, and ask "
        "them by SQL (DuckDB's). Exit status: 0 done, 1 built, but something could not be read (the table problems names it), "
        "2 bad input.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    make = actions.add_parser("build", help="read datasets and derivatives, write the catalogue")
    make.add_argument(
        "folders", metavar="BIDS_DIR", type=Path, nargs="+",
        help="BIDS datasets (images may be absent, a manifest.tsv in their place) and folders that cospine run wrote, in any "
        "order; what CoSpine wrote into a dataset's derivatives/ is found by itself",
    )  # fmt: skip
    make.add_argument("--output", metavar="DIR", type=Path, default=_DEFAULT, help="the catalogue (default: ./catalogue)")
    make.set_defaults(function=build)

    ask = actions.add_parser("query", help="ask one question in SQL")
    ask.add_argument("sql", metavar="SQL", help='one SELECT, as "SELECT participant, tsnr_cord_after FROM quality"')
    ask.add_argument("--database", metavar="DIR", type=Path, default=_DEFAULT, help="the catalogue (default: ./catalogue)")
    ask.add_argument("--format", choices=_FORMATS, help="of the answer (default: by the ending of --output, else table)")
    ask.add_argument("--output", metavar="FILE", type=Path, help="write the answer here (default: the terminal)")
    ask.set_defaults(function=query)

    show = actions.add_parser("tables", help="list tables and columns")
    show.add_argument("name", metavar="TABLE", nargs="?", help="one table, with all its columns")
    show.add_argument("--database", metavar="DIR", type=Path, default=_DEFAULT, help="the catalogue (default: ./catalogue)")
    show.set_defaults(function=tables)


def build(args: argparse.Namespace) -> int:
    """Build; 0 when all could be read, 1 when something could not."""
    from cospine.database.build import build as build_catalogue
    from cospine.database.build import find_sources

    sources, errors = find_sources(args.folders)
    if errors:
        for error in errors:
            print(f"cospine database: {error}", file=sys.stderr)
        return 2
    built = build_catalogue(sources, args.output)
    for source, file, problem in built.problems:
        print(f"warning {source}/{file}: {problem}", file=sys.stderr)
    for name, rows in built.rows.items():
        print(f"{rows:8d}  {name}")
    print(args.output)
    return 1 if built.problems else 0


def query(args: argparse.Namespace) -> int:
    """Ask; 0 when answered."""
    from cospine.database.query import open_catalogue

    kind = args.format or (args.output.suffix.removeprefix(".").lower() if args.output is not None else "table")
    if kind not in _FORMATS:
        raise CoSpineError(f"does not say a format by its ending ({kind or 'none'})", f"--output {args.output}", "add --format")
    with open_catalogue(args.database) as catalogue:
        answer = catalogue.answer(args.sql)
    text = {"table": as_table, "csv": as_csv, "json": as_json}[kind](answer)
    if args.output is None:
        sys.stdout.write(text)
        return 0
    from cospine.bids.write import write_text  # takes longer to import than most answers

    try:
        write_text(args.output, text)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise CoSpineError(what, f"--output {args.output}", "name another file") from error
    return 0


def tables(args: argparse.Namespace) -> int:
    """List tables, or the columns of one."""
    from cospine.database.query import Answer, open_catalogue

    with open_catalogue(args.database) as catalogue:
        found = catalogue.tables
    if args.name is None:
        rows = [(name, one["Rows"], len(one["Columns"]), f"a row is {one['About']}") for name, one in found.items()]
        sys.stdout.write(as_table(Answer(("table", "rows", "columns", "what"), rows), widest=160))
        return 0
    if args.name not in found:
        raise CoSpineError(f"no such table in {args.database}", args.name, f"there are: {', '.join(found)}")
    columns = [(one["Name"], one["Type"], one["About"]) for one in found[args.name]["Columns"]]
    sys.stdout.write(as_table(Answer(("column", "type", "what"), columns), widest=160))
    return 0


def as_table(answer: "Answer", widest: int = _WIDEST) -> str:
    """Text for people: columns aligned, numbers to 6 digits, long cells cut, none as `n/a`."""
    cells = [list(answer.columns), *([_shown(value, widest) for value in row] for row in answer.rows)]
    right = [all(value is None or _is_number(value) for value in column) for column in zip(*answer.rows, strict=True)] or [
        False
    ] * len(answer.columns)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        for row in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:])]) + f"\n({len(answer.rows)} rows)\n"


def as_csv(answer: "Answer") -> str:
    """Comma-separated text, numbers in full, none as an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(["" if value is None else _flat(value) for value in row] for row in answer.rows)
    return stream.getvalue()


def as_json(answer: "Answer") -> str:
    """A list of objects, numbers in full, none and what is not finite as null."""
    rows = [dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows]
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _shown(value: Any, widest: int) -> str:
    if value is None:
        return "n/a"
    text = f"{value:.6g}" if isinstance(value, float) else str(_flat(value))
    text = text.replace("\n", " ").replace("\t", " ")
    return text if len(text) <= widest else text[: widest - 1] + "…"


def _flat(value: Any) -> Any:
    return json.dumps(_plain(value), ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
