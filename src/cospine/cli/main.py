"""``cospine``: one program, one file a command."""

import argparse
import sys
from collections.abc import Sequence

from cospine import __version__
from cospine.errors import CoSpineError
from cospine.threads import settle_libraries

settle_libraries()  # before any command imports them


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from cospine.cli import check, convert, database, demo, fetch, physio, run, segment, simulate

    top = argparse.ArgumentParser(
        prog="cospine",
        description="Simultaneous brain and cervical spinal cord fMRI: from raw images to a report.",
        epilog="Each command has its own --help.",
    )
    top.add_argument("--version", action="version", version=f"cospine {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (run, check, segment, physio, convert, database, fetch, demo, simulate):
        command.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process by default.

    Returns
    -------
    int
        Exit status: 0 all done, 1 some participant failed, 2 the command line is wrong or nothing can be done.
    """
    try:
        chosen = parser().parse_args(arguments)
    except SystemExit as stop:  # argparse has said what is wrong
        return int(stop.code or 0)
    try:
        return int(chosen.function(chosen))
    except CoSpineError as error:
        print(f"cospine: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncospine: interrupted; what was finished is kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
