"""``cospine run``: preprocess the participants of a BIDS dataset."""

import argparse
import logging
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from cospine.errors import CoSpineError


def add_parser(commands: Any) -> None:
    """Add the command to the program."""
    from cospine.pipeline.settings import Settings

    parser = commands.add_parser(
        "run",
        help="preprocess a BIDS dataset",
        description="Correct brain and cord motion of every BOLD run and report on it.",
        epilog="Exit status: 0 all done; 1 some participant failed or was unreadable, the others were done; "
        "2 the command line is wrong or nothing can be processed.",
    )
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="dataset; never written to")
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR", help="derivatives; made when absent")
    parser.add_argument("analysis_level", choices=("participant",), help="what to process")
    for one in fields(Settings):
        how: dict[str, Any] = {key: value for key, value in one.metadata.items() if key != "help"}
        if isinstance(one.default, bool):
            how["action"] = "store_true"
        elif isinstance(one.default, str | int | float) and one.default:
            how["default"] = one.default
            how["help_default"] = (
                f" (default: {one.default:g})" if isinstance(one.default, float) else f" (default: {one.default})"
            )
        default = how.pop("help_default", "")
        parser.add_argument("--" + one.name.replace("_", "-"), help=one.metadata["help"] + default, **how)
    parser.add_argument("--dry-run", action="store_true", help="read and check the dataset, say what would be done, stop")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: say all")
    parser.set_defaults(function=run)


def settings_of(chosen: argparse.Namespace) -> Any:
    """Settings from the parsed command line.

    Raises
    ------
    CoSpineError
        For a value that argparse cannot judge.
    """
    from cospine.physio.pnm import Orders
    from cospine.pipeline.settings import Settings

    values: dict[str, Any] = {}
    for one in fields(Settings):
        value = getattr(chosen, one.name)
        if value is not None:
            values[one.name] = tuple(value) if isinstance(value, list) else value
    settings = Settings(**values)
    if settings.dummy_scans != "auto" and not (settings.dummy_scans.isascii() and settings.dummy_scans.isdigit()):
        raise CoSpineError("is neither a number of volumes nor auto", f"--dummy-scans {settings.dummy_scans}", "give one of them")
    if not settings.high_pass > 0:
        raise CoSpineError("is no period in s", f"--high-pass {settings.high_pass:g}", "give 100 or so")
    Orders.of(settings.pnm_orders)
    if settings.nprocs < 0:
        raise CoSpineError("is no number of cores", f"--nprocs {settings.nprocs}", "give 1 or more")
    return settings


def run(chosen: argparse.Namespace) -> int:
    """Preprocess; returns the exit status."""
    from cospine.cli.terminal import Progress, show_findings
    from cospine.pipeline.execute import execute, read_chosen

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(chosen.verbose, 2)]
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:  # the log file hears more than the terminal
        handler.setLevel(level)
    logging.getLogger("cospine").setLevel(level)
    settings = settings_of(chosen)
    dataset = read_chosen(chosen.bids_dir, settings, chosen.output_dir)
    show_findings(dataset.findings, sys.stderr, infos=chosen.verbose > 0)
    for one in dataset.findings:
        if one.code == "overlay-used" and not chosen.verbose:
            print(f"{one.message}", file=sys.stderr)
    runs = dataset.runnable
    if not runs:
        raise CoSpineError("nothing can be processed", str(chosen.bids_dir), "mend the errors listed above")
    if chosen.dry_run:
        for one in runs:
            print(f"{one.label}: {' x '.join(map(str, one.shape[:3]))} voxels, {one.volumes} volumes, TR {one.tr_s:g} s")
        return 0 if not any(one.severity == "error" for one in dataset.findings) else 1
    if settings.nprocs:
        import numba

        numba.set_num_threads(min(settings.nprocs, numba.get_num_threads()))
    outcome = execute(dataset, chosen.output_dir, settings, Progress())
    for path in outcome.reports:
        print(path)
    return 0 if outcome.complete else 1
