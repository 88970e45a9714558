"""`cospine convert`: scanner output to BIDS."""

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cospine.errors import CoSpineError


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "convert",
        help="turn scanner output (DICOM, recordings, logs of the task) into BIDS",
        description="Convert one person's session: DICOM through dcm2niix, named by a small YAML mapping; recordings of pulse "
        "and breathing placed by the scanner's clock; logs of the task (E-Prime, PsychoPy, tables) to events; faces taken out of "
        "anatomical images. All is made aside and laid in place at once, or not at all. Exit status: 0 done, 1 a series could "
        "not be converted (nothing was written), 2 bad input.",
    )
    parser.add_argument("source", metavar="SOURCE", type=Path, help="folder, archive (zip, tar) or file from the scanner")
    parser.add_argument("bids_dir", metavar="BIDS_DIR", type=Path, help="the dataset; made if need be")
    parser.add_argument(
        "-p", "--participant", "--participant-label", metavar="LABEL", required=True, help="whose session it is: 01 or sub-01"
    )
    parser.add_argument("-s", "--session", "--session-label", metavar="LABEL", help="01 or ses-01; left out by default")
    parser.add_argument(
        "-m", "--mapping", metavar="FILE.yaml", type=Path,
        help="what each series is called (default: the mapping of the CoSpine protocol; --show-mapping prints it)",
    )  # fmt: skip
    parser.add_argument(
        "--show-mapping", action=_ShowMapping, help="print the built-in mapping, to begin one's own from, and stop"
    )
    parser.add_argument(
        "--physio", metavar="[RUN=]PATH", nargs="+", default=[],
        help="recordings, or folders of them, that do not lie in SOURCE; the clock decides which run they belong to, unless it "
        "is named: task-pain=pulse.acq",
    )  # fmt: skip
    parser.add_argument(
        "--events", metavar="[RUN=]PATH", nargs="+", default=[],
        help="logs of the task, or folders of them, that do not lie in SOURCE; read as the mapping's events rules say",
    )  # fmt: skip
    parser.add_argument(
        "--deface", action=argparse.BooleanOptionalAction, default=True,
        help="take the face out of anatomical images; brain, cord and neck stay as they are",
    )  # fmt: skip
    parser.add_argument("--scans", action="store_true", help="write scans.tsv too (time of day true, date not)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made of what, and stop")
    parser.add_argument("--force", action="store_true", help="replace files that are there with other content")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more")
    parser.set_defaults(function=run)


class _ShowMapping(argparse.Action):
    """Prints and leaves, as --help does, before the other arguments are asked for."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from cospine.convert.mapping import built_in

        print(built_in(), end="")
        parser.exit()


def run(args: argparse.Namespace) -> int:
    """Convert; 0 when done, 1 when a series cannot be converted, 2 when an input is bad."""
    from cospine.convert.prepare import Request, describe, prepare
    from cospine.convert.session import ConversionFailed, convert

    # ended by a scheduler it leaves no images behind that still have a face
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("cospine").setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(args.verbose, 2)])
    request = Request(
        source=args.source,
        bids_dir=args.bids_dir,
        participant=args.participant.removeprefix("sub-"),
        session=None if args.session is None else args.session.removeprefix("ses-"),
        mapping=args.mapping,
        physio=tuple(args.physio),
        events=tuple(args.events),
        deface=args.deface,
        scans=args.scans,
    )
    with tempfile.TemporaryDirectory(prefix="cospine-convert-") as folder:
        prepared = prepare(request, Path(folder))
        if args.dry_run:
            print("\n".join(describe(prepared)))
        if prepared.errors:
            _list(prepared.errors)
            return 2
        if args.dry_run:
            return 0
        try:
            outcome = convert(prepared, force=args.force, said=_say)
        except ConversionFailed as failed:
            _list(failed.errors)
            return 2 if failed.existing else 1
    for note in outcome.notes:
        _say(f"note: {note}")
    for name in outcome.others:
        _say(f"note: {name}: was there before and is not of this conversion")
    _say(f"{len(outcome.written)} files written, {len(outcome.unchanged)} there already with the same bytes")
    print(args.bids_dir)
    return 0


def _list(errors: Iterable[CoSpineError]) -> None:
    for error in errors:
        print(f"cospine convert: {error}", file=sys.stderr)


def _say(text: str) -> None:
    print(f"cospine convert: {text}", file=sys.stderr)
