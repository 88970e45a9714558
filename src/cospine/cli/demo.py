"""``cospine demo``: digital participants, everything run on them."""

import argparse
import sys
from pathlib import Path
from typing import Any

_ORDERS = (2, 2, 0, 0)  # runs of 40 volumes hold no more


def add_parser(commands: Any) -> None:
    """Add the command to the program."""
    parser = commands.add_parser(
        "demo",
        help="make digital participants, run everything on them",
        description="Make small digital participants at two sites, run everything there is on them, say where the reports are.",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"), metavar="DIR", help="where (default: demo)")
    parser.add_argument("--participants", type=int, default=4, metavar="N", help="how many (default: 4)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the participants (default: 1)")
    parser.set_defaults(function=run)


def run(chosen: argparse.Namespace) -> int:
    """Make and process; returns the exit status."""
    from cospine.cli.terminal import Progress
    from cospine.errors import CoSpineError
    from cospine.phantom.simulate import simulate
    from cospine.pipeline.execute import execute, read_chosen
    from cospine.pipeline.settings import Settings

    raw, out = chosen.folder / "bids", chosen.folder / "derivatives"
    if raw.exists():
        raise CoSpineError("is there already", str(raw), "remove it, or name another folder: cospine demo DIR")
    print(f"Making {chosen.participants} digital participants in {raw} ..", file=sys.stderr)
    simulate(
        raw,
        participants=chosen.participants,
        seed=chosen.seed,
        protocol="small",
        progress=lambda text: print(f"  {text}", file=sys.stderr),
    )
    settings = Settings(pnm_orders=_ORDERS)
    outcome = execute(read_chosen(raw, settings), out, settings, Progress())
    print("\nReports, open them in a browser:")
    for path in outcome.reports:
        print(f"  {path.resolve()}")
    return 0 if outcome.complete else 1
