"""``cospine check``: what is wrong with a dataset, in one table."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cospine.errors import CoSpineError


def add_parser(commands: Any) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "check",
        help="say what is wrong with a dataset, and how to mend it",
        description="Find what is wrong with a BIDS dataset: what the official validator finds and what it cannot know. Works "
        "on a datalad clone without content, and on a tree whose images are lines of manifest.tsv, as far as that goes.",
        epilog="Exit status: 0 no error; 1 some; 2 the dataset or the card cannot be read.",
    )
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="dataset; never written to")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings as a list")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write them as a page")
    parser.add_argument(
        "--card", type=Path, metavar="FILE",
        help="protocol card to compare with (default: the dataset's code/protocol_card.json, else CoSpine's)",
    )  # fmt: skip
    parser.add_argument("--fix-plan", action="store_true", help="print a patch that mends what can be mended without looking")
    parser.add_argument(
        "--apply", type=Path, metavar="OUTPUT_DIR",
        help="carry the plan out on a copy of the metadata in the derivatives, which cospine run OUTPUT_DIR then uses",
    )  # fmt: skip
    parser.add_argument("--no-validator", action="store_true", help="leave out the official BIDS validator")
    parser.add_argument("-v", "--verbose", action="store_true", help="list what is worth knowing too, and all files")
    parser.set_defaults(function=run)


def run(chosen: argparse.Namespace) -> int:
    """Check; 0 without an error, 1 with some."""
    from cospine.bids import write_text
    from cospine.check.examine import examine
    from cospine.check.repair import apply_plan, make_plan, patch_text
    from cospine.check.report import as_records, page
    from cospine.cli.terminal import show_table

    for flag, path in (("--json", chosen.json), ("--html", chosen.html)):
        _writable(flag, path, chosen.bids_dir)
    live = sys.stderr.isatty()
    examination = examine(
        chosen.bids_dir,
        chosen.card,
        validator=not chosen.no_validator,
        said=lambda text: print(f"{text} ..", file=sys.stderr) if live else None,
    )
    if chosen.json is not None:
        write_text(chosen.json, json.dumps(as_records(examination.findings), indent=2, ensure_ascii=False))
    if chosen.html is not None:
        write_text(chosen.html, page(examination))
    table = sys.stderr if chosen.fix_plan else sys.stdout
    show_table(examination.findings, table, everything=chosen.verbose)
    if chosen.fix_plan or chosen.apply is not None:
        plan = make_plan(examination.scope)
        if chosen.fix_plan:
            print(patch_text(plan, examination.scope.index.root), end="")
        if chosen.apply is not None:
            folder = apply_plan(plan, examination.scope.index.root, chosen.apply)
            print(f"{len(plan.edits)} files mended, {len(plan.renames)} renamed in {folder}", file=sys.stderr)
    return 1 if examination.failed else 0


def _writable(flag: str, path: Path | None, bids_dir: Path) -> None:
    """Refuse to write into the dataset, before the work."""
    if path is None:
        return
    inside = path.resolve().is_relative_to(bids_dir.resolve())
    if inside and "derivatives" not in path.resolve().relative_to(bids_dir.resolve()).parts[:1]:
        raise CoSpineError("lies in the dataset, which is never written to", f"{flag} {path}", "name a file elsewhere")
    if path.is_dir():
        raise CoSpineError("is a folder", f"{flag} {path}", "name a file")
