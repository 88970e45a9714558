"""`cospine simulate`: write digital participants and their truth."""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "simulate",
        help="make digital participants whose truth is known",
        description="Write a BIDS dataset of digital brain and cord fMRI participants; the truth is in sourcedata/truth.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="new or empty folder")
    parser.add_argument("--participants", metavar="N", type=int, default=1, help="how many (default: 1)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="same seed, same bytes (default: 0)")
    parser.add_argument(
        "--protocol", choices=("full", "small"), default="full",
        help="full: 128x128x70, 1.5x1.5x4 mm; small: 96x112x35, 2x2x8 mm (default: full)",
    )  # fmt: skip
    parser.add_argument("--volumes", metavar="N", type=int, help="volumes a run (default: as the protocol has them)")
    parser.add_argument(
        "--task", choices=("pain", "motor"),
        help="the same task for everyone (default: the first half pain at site 1, the others motor at site 2)",
    )  # fmt: skip
    parser.add_argument(
        "--preset", choices=("realistic", "clean"), default="realistic",
        help="clean: without physiology, ghosts, leakage, fat and gradient non-linearity (default: realistic)",
    )  # fmt: skip
    parser.add_argument(
        "--without", metavar="EFFECT", nargs="+", action="extend", default=[],
        help="switch effects off: motion, field, physio, bold, noise ...; 'all' for every one",
    )  # fmt: skip
    parser.add_argument("--motion-scale", metavar="X", type=float, default=1.0, help="factor on head motion (default: 1)")
    parser.add_argument("--cord-scale", metavar="X", type=float, default=1.0, help="factor on cord motion (default: 1)")
    parser.add_argument("--noise-scale", metavar="X", type=float, default=1.0, help="factor on image noise (default: 1)")
    parser.add_argument(
        "--discarded", metavar="N", type=int, default=6,
        help="volumes thrown away before the first stored one; 0 leaves the approach to the steady state in (default: 6)",
    )  # fmt: skip
    parser.add_argument("--largest-swallows", action="store_true", help="swallows as large and many as they get")
    parser.add_argument("--worst-case-rates", action="store_true", help="pulse and breathing that alias onto the task")
    parser.add_argument("--randomised-onsets", action="store_true", help="stimuli at widely different intervals (null designs)")
    parser.add_argument("--individual-sulci", action="store_true", help="a cortex with folds of its own, not the template's")
    parser.add_argument("--phase", action="store_true", help="store phase images of the series as well (part-mag, part-phase)")
    parser.add_argument(
        "--pair-motion", metavar=("MM", "DEG"), type=float, nargs=2, default=(0.0, 0.0),
        help="the head moves between the two images of the pair, by a length and an angle; directions by seed (default: 0 0)",
    )  # fmt: skip
    parser.add_argument(
        "--nod", metavar="DEG", type=float, default=0.0,
        help="the head pitches between pair and run, chin down if positive; the trunk stays (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--recordings", choices=("clean", "typical", "noisy"), default="typical",
        help="sensors of pulse and breathing; noisy: movements, 10 %% clipped, baseline jumps, dropouts (default: typical)",
    )  # fmt: skip
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Simulate; 0 when done, 2 when the command line is wrong."""
    from cospine.errors import CoSpineError
    from cospine.phantom.effects import PRESETS
    from cospine.phantom.simulate import simulate

    begun = time.monotonic()

    def progress(message: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {message}", file=sys.stderr, flush=True)

    try:
        effects = replace(
            PRESETS[args.preset].without(args.without), motion_scale=args.motion_scale, cord_scale=args.cord_scale,
            noise_scale=args.noise_scale, discarded=args.discarded, largest_swallows=args.largest_swallows,
            worst_case_rates=args.worst_case_rates, pair_pose_mm_deg=tuple(args.pair_motion), nod_deg=args.nod,
            recordings=args.recordings, randomised_onsets=args.randomised_onsets,
            phase_images=args.phase, individual_sulci=args.individual_sulci,
        )  # fmt: skip
        simulate(args.directory, args.participants, args.seed, args.protocol, args.volumes, args.task, effects, progress)
    except CoSpineError as error:
        print(f"cospine simulate: {error}", file=sys.stderr)
        return 2
    print(args.directory)
    return 0
