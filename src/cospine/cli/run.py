"""``cospine run``: preprocess the participants of a BIDS dataset, or analyse them as a group."""

import argparse
import logging
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cospine.bids import Run
    from cospine.pipeline.keeper import Planned

from cospine.errors import CoSpineError

LEVELS = ("participant", "group")


def add_parser(commands: Any) -> None:
    """Add the command to the program."""
    from cospine.pipeline.group_settings import GroupSettings
    from cospine.pipeline.settings import Settings

    parser = commands.add_parser(
        "run",
        help="preprocess a BIDS dataset, or analyse a group",
        description="participant: correct brain and cord motion of every BOLD run and report on it. group: analyse the contrasts "
        "that the participant level wrote, and report on all people.",
        epilog="Exit status: 0 all done; 1 some participant or analysis failed or was unreadable, the others were done; "
        "2 the command line is wrong or nothing can be processed.",
    )
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="dataset; never written to")
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR", help="derivatives; made when absent")
    parser.add_argument("analysis_level", choices=LEVELS, help="what to process: each participant, or the group")
    names = {one.name for one in fields(Settings)}
    for one in fields(Settings):
        _add_option(parser, one)
    group = parser.add_argument_group("group level")
    for one in fields(GroupSettings):
        if one.name not in names:
            _add_option(group, one)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="read the dataset (not the contents of images), say what would be done and why, stop",
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; twice: say all")
    parser.set_defaults(function=run)


def _add_option(parser: Any, one: "Field[Any]") -> None:
    """A flag of a field of settings."""
    how: dict[str, Any] = {key: value for key, value in one.metadata.items() if key != "help"}
    if isinstance(one.default, bool):
        how["action"] = "store_true"
    elif isinstance(one.default, str | int | float) and one.default:
        how["default"] = one.default
        how["help_default"] = f" (default: {one.default:g})" if isinstance(one.default, float) else f" (default: {one.default})"
    default = how.pop("help_default", "")
    parser.add_argument("--" + one.name.replace("_", "-"), help=one.metadata["help"] + default, **how)


def _values(chosen: argparse.Namespace, kind: type) -> dict[str, Any]:
    """What was chosen of the fields of some settings.

    Raises
    ------
    CoSpineError
        When flags of the other analysis level were given.
    """
    from cospine.pipeline.group_settings import GroupSettings
    from cospine.pipeline.settings import Settings

    own = {one.name for one in fields(kind)}
    other = Settings if kind is GroupSettings else GroupSettings
    stray = [one.name for one in fields(other) if one.name not in own and _given(chosen, one)]
    if stray:
        flags = ", ".join("--" + name.replace("_", "-") for name in stray)
        raise CoSpineError(f"has no meaning at the {chosen.analysis_level} level", flags, "leave it out")
    given = {name: getattr(chosen, name) for name in own if getattr(chosen, name) is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _given(chosen: argparse.Namespace, one: "Field[Any]") -> bool:
    value = getattr(chosen, one.name)
    return value is not None and (tuple(value) if isinstance(value, list) else value) != one.default


def settings_of(chosen: argparse.Namespace) -> Any:
    """Settings from the parsed command line.

    Raises
    ------
    CoSpineError
        For a value that argparse cannot judge.
    """
    from cospine.physio.pnm import Orders
    from cospine.pipeline.settings import ENGINES, Settings

    settings = Settings(**_values(chosen, Settings))
    if settings.dummy_scans != "auto" and not (settings.dummy_scans.isascii() and settings.dummy_scans.isdigit()):
        raise CoSpineError("is neither a number of volumes nor auto", f"--dummy-scans {settings.dummy_scans}", "give one of them")
    if not settings.high_pass > 0:
        raise CoSpineError("is no period in s", f"--high-pass {settings.high_pass:g}", "give 100 or so")
    Orders.of(settings.pnm_orders)
    if settings.engine not in ENGINES and not settings.engine.startswith("tcp://"):
        raise CoSpineError("is none", f"--engine {settings.engine}", f"there are {', '.join(ENGINES)} and tcp://HOST:PORT")
    if not settings.mem_gb >= 0:
        raise CoSpineError("is no amount of memory", f"--mem-gb {settings.mem_gb:g}", "give GB, as 16")
    if settings.nprocs < 0:
        raise CoSpineError("is no number of cores", f"--nprocs {settings.nprocs}", "give 1 or more")
    return settings


def run(chosen: argparse.Namespace) -> int:
    """Preprocess or analyse; returns the exit status."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(chosen.verbose, 2)]
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:  # the log file hears more than the terminal
        handler.setLevel(level)
    logging.getLogger("cospine").setLevel(level)
    return _group(chosen) if chosen.analysis_level == "group" else _participants(chosen)


def _group(chosen: argparse.Namespace) -> int:
    from cospine.cli.terminal import Progress
    from cospine.pipeline.group import group_level, plan_group
    from cospine.pipeline.group_settings import GroupSettings

    settings = GroupSettings(**_values(chosen, GroupSettings))
    plan = plan_group(chosen.bids_dir, chosen.output_dir, settings)
    for note in plan.refused:
        print(f"cospine: {note}", file=sys.stderr)
    if chosen.dry_run:
        for one in plan.analyses:
            print(f"{one.label}: {len(one.people)} of {one.considered} people")
        return 1 if plan.refused else 0
    outcome = group_level(plan, chosen.bids_dir, chosen.output_dir, Progress())
    print(outcome.report)
    return 0 if outcome.complete else 1


def _participants(chosen: argparse.Namespace) -> int:
    from cospine.cli.terminal import Progress, show_findings
    from cospine.pipeline.execute import execute, planned, read_chosen
    from cospine.threads import use_threads

    settings = settings_of(chosen)
    use_threads(settings.nprocs or None)
    if chosen.dry_run and settings.reports_only:
        raise CoSpineError("say different things", "--dry-run --reports-only", "leave one of them out")
    # a plan is wanted at once: whether images are whole is seen when they are read
    dataset = read_chosen(chosen.bids_dir, settings, chosen.output_dir, verify=not chosen.dry_run)
    show_findings(dataset.findings, sys.stderr, infos=chosen.verbose > 0)
    for one in dataset.findings:
        if one.code == "overlay-used" and not chosen.verbose:
            print(f"{one.message}", file=sys.stderr)
    runs = dataset.runnable
    if not runs:
        raise CoSpineError("nothing can be processed", str(chosen.bids_dir), "mend the errors listed above")
    if chosen.dry_run:
        _show_plan(runs, planned(dataset, chosen.output_dir, settings))
        return 0 if not any(one.severity == "error" for one in dataset.findings) else 1
    outcome = execute(dataset, chosen.output_dir, settings, Progress(), lambda text: print(text, file=sys.stderr))
    for path in outcome.reports:
        print(path)
    return 0 if outcome.complete else 1


def _show_plan(runs: "Sequence[Run]", steps: "Sequence[Planned]") -> None:
    """Every run, and the steps that would be done with it and why."""
    of_runs: dict[str, list[Planned]] = {run.prefix: [] for run in runs}
    for one in steps:
        if one.unit in of_runs:
            of_runs[one.unit].append(one)
        else:
            print(f"{one.unit}: {one.name} ({one.why})")
    for run in runs:
        size = f"{' x '.join(map(str, run.shape[:3]))} voxels, {run.volumes} volumes, TR {run.tr_s:g} s"
        todo = of_runs[run.prefix]
        print(f"{run.label}: {size}" + ("" if todo else ": nothing to do"))
        # a step whose turn comes for another one's sake alone needs no line of its own
        first = [one for one in todo if not one.why.startswith("after ")]
        for one in first:
            print(f"    {one.name} ({one.why})")
        if rest := [one.name for one in todo if one not in first]:
            print(f"    then {', '.join(rest)}")
