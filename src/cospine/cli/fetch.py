"""`cospine fetch`: a dataset, or part of it, from OpenNeuro."""

import argparse
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from cospine.errors import CoSpineError

_MOST_JOBS = 16
_EVERY_S = 0.2


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "fetch",
        help="fetch a dataset, or part of it, from OpenNeuro",
        description="Fetch a public dataset of OpenNeuro, or part of it. Size and free disk are shown before anything is "
        "fetched; every file is checked against the snapshot's checksum; what was begun goes on when it is run again. "
        "Exit status: 0 all here, 1 some file could not be fetched, 2 bad input, no network, or a disk too small.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="as ds005883 (heat pain) or ds005884 (hand grasp)")
    parser.add_argument("directory", metavar="DIR", type=Path, nargs="?", help="where to (default: ./DATASET)")
    parser.add_argument(
        "--participant", metavar="LABEL", nargs="+", default=[], help="these people only, with or without sub- (default: all)"
    )
    parser.add_argument(
        "--include", metavar="PATTERN", nargs="+", default=[],
        help="only paths that match, as 'sub-*/anat/*' or derivatives; files of the root always come along",
    )  # fmt: skip
    parser.add_argument("--exclude", metavar="PATTERN", nargs="+", default=[], help="leave out paths that match")
    parser.add_argument("--tag", metavar="VERSION", help="version of the dataset (default: the newest)")
    parser.add_argument("--yes", action="store_true", help="do not ask before fetching")
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched, file by file, and stop")
    parser.add_argument("--force", action="store_true", help="replace files that are here and differ from this version")
    parser.add_argument("--jobs", metavar="N", type=int, default=4, help=f"files at a time, 1 to {_MOST_JOBS} (default: 4)")
    parser.add_argument(
        "--endpoint", metavar="URL", help="another GraphQL interface than OpenNeuro's (default: COSPINE_OPENNEURO_URL, if set)"
    )
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Fetch; 0 when all is here, 1 when something failed."""
    from cospine.fetch.download import failures, fetch_all, new_session
    from cospine.fetch.openneuro import ENDPOINT, ENDPOINT_VARIABLE, Client
    from cospine.fetch.plan import Choice, choose, in_words, make_plan

    if not 1 <= args.jobs <= _MOST_JOBS:
        raise CoSpineError(f"is not between 1 and {_MOST_JOBS}", f"--jobs {args.jobs}", "give 4 or so")
    target = args.directory or Path(args.dataset)
    choice = Choice.of(args.participant, args.include, args.exclude)
    with new_session() as session:
        client = Client(session, args.endpoint or os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT)
        snapshot = client.snapshot(args.dataset, args.tag)
        files, folders = client.files(snapshot, choice.enters)
    plan = make_plan(choose(files, folders, choice), target, force=args.force)

    begun = f", {in_words(plan.begun_bytes)} of them begun" if plan.begun_bytes else ""
    print(f"{snapshot.dataset} {snapshot.tag} to {target}")
    print(f"  here already  {len(plan.here)} files, {in_words(sum(one.size_bytes for one in plan.here))}, checked")
    print(f"  to fetch      {len(plan.missing)} files, {in_words(plan.size_bytes)}{begun}")
    print(f"  free disk     {in_words(plan.free_bytes)}")
    if args.dry_run:
        for one in plan.missing:
            print(f"{one.size_bytes:>14d}  {one.path}")
        return 0
    if not plan.missing:
        return 0
    if not args.yes and not _agreed():
        print("nothing was fetched")
        return 1
    progress = _Progress(plan.size_bytes, plan.begun_bytes)
    results = fetch_all(plan, jobs=args.jobs, progress=progress)
    progress.end()
    failed = failures(results)
    by_size = sum(one.proof == "size" and one.file.size_bytes > 0 for one in results)
    print(f"{len(results) - len(failed)} files fetched and checked" + (f", {by_size} of them by size alone" if by_size else ""))
    for one in failed:
        print(f"cospine fetch: {one.file.path}: {one.error}", file=sys.stderr)
    if failed:
        print("cospine fetch: run the same command again; it goes on where it stopped", file=sys.stderr)
    return 1 if failed else 0


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise CoSpineError("nobody can be asked here", "cospine fetch", "give --yes to fetch, or --dry-run to look")
    return input("fetch? [y/N] ").strip().lower() in ("y", "yes")


@dataclass
class _Progress:
    """One line rewritten on a terminal, one line every tenth elsewhere."""

    size_bytes: int
    done_bytes: int
    began: float = field(default_factory=time.monotonic)
    shown: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.begun_bytes = self.done_bytes
        self.tenth = 10 * self.done_bytes // max(self.size_bytes, 1)

    def __call__(self, more: int) -> None:
        """Count bytes; from any thread."""
        with self.lock:
            self.done_bytes += more
            now = time.monotonic()
            tenth = 10 * self.done_bytes // max(self.size_bytes, 1)
            if sys.stderr.isatty():
                if now - self.shown > _EVERY_S:
                    self.shown = now
                    sys.stderr.write(f"\r\x1b[K{self._line(now)}")
                    sys.stderr.flush()
            elif tenth > self.tenth:
                self.tenth = tenth
                sys.stderr.write(self._line(now) + "\n")

    def end(self) -> None:
        """Leave the line."""
        if sys.stderr.isatty():
            sys.stderr.write("\n")

    def _line(self, now: float) -> str:
        from cospine.fetch.plan import in_words

        rate = max(self.done_bytes - self.begun_bytes, 0) / max(now - self.began, 1e-3)
        left = (self.size_bytes - self.done_bytes) / rate if rate else 0.0
        share = 100 * self.done_bytes / max(self.size_bytes, 1)
        done = f"{in_words(self.done_bytes)} of {in_words(self.size_bytes)}"
        return f"{share:3.0f}%  {done}, {in_words(rate)}/s, {left / 60:.0f} min left"
