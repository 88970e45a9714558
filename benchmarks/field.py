"""The field of reversed phase encoding beside PyHySCO's: real pairs, a sphere, digital participants.

`python benchmarks/field.py --shared ../shared --peer-python .venv-hysco/bin/python` (README.md says how to install it).
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `cospine` sets it, before numba comes

import nibabel as nib
import numpy as np
from field_scoring import (
    C7,
    FieldError,
    Outline,
    Truth,
    field_error,
    lines_through,
    ncc,
    object_mask,
    read_truth,
    slope,
    smallest_jacobian,
    to_grid,
    unwarp,
)
from field_tools import PEERS, SPHERES, STILL, Estimate, Pair, digital_pair, real_pairs, run_ours, run_peer
from numpy.typing import NDArray

from cospine.field.pepolar import PairField
from cospine.field.phasediff import field_from_phase_difference, phase_to_radians
from cospine.space.grid import Grid


def neutral(
    pair: Pair, field_hz: NDArray, poses: Sequence[NDArray] = STILL, share: NDArray | float = 1.0
) -> tuple[NDArray, NDArray]:
    """Both images undistorted by the same code, whoever found the field (and the motion between them)."""
    first, second = (
        unwarp(image, field_hz * encoding.voxels_per_hz, pair.axis, pair.affine, pose, share)
        for image, encoding, pose in zip(pair.images, pair.encodings, poses, strict=True)
    )
    return first, second


def corrected_by(pair: Pair, one: Estimate | PairField) -> tuple[NDArray, NDArray]:
    """Both images undistorted with what a tool found."""
    return neutral(pair, one.field_hz, one.poses, one.share)


def pair_rows(pair: Pair, estimates: Sequence[Estimate], true_hz: NDArray | None = None) -> list[list[str]]:
    """Similarity, Jacobian and time of every tool on one pair; similarity with the true field where it is known."""
    mask = object_mask(pair.images)
    factors = [encoding.voxels_per_hz for encoding in pair.encodings]
    name, before = f"{pair.name} {'×'.join(map(str, pair.images[0].shape))}", f"{ncc(*pair.images, mask):.4f}"
    rows = []
    for one in estimates:
        after, own = ncc(*corrected_by(pair, one), mask), ncc(*one.own, mask)
        least = smallest_jacobian(one.field_hz, factors, pair.axis)
        wall, cpu = one.wall_s / estimates[0].wall_s, one.cpu_s / estimates[0].cpu_s
        times = [f"{one.wall_s:.2f}", f"{wall:.1f}", f"{one.cpu_s:.2f}", f"{cpu:.1f}", f"{one.first_s:.2f}"]
        rows.append([name, one.tool, before, f"{after:.4f}", f"{own:.4f}", f"{least:.3f}", *times])
    if true_hz is not None:
        after, least = ncc(*neutral(pair, true_hz), mask), smallest_jacobian(true_hz, factors, pair.axis)
        rows.append([name, "true field", before, f"{after:.4f}", "", f"{least:.3f}", *[""] * 5])
    return rows


PAIR_HEAD = "pair|tool|NCC before|after|own output|min Jacobian|wall, s|× ours|CPU, s|× ours|first call, s"


def sphere_rows(pairs: dict[str, Pair], estimates: dict[str, list[Estimate]]) -> list[list[str]]:
    """Edge distance of the sphere at 26 and 52 ms from where it is at 13 ms.

    References: midway between the edges of the two raw 13 ms images, in which no tool has a share; the same after the offset of
    the whole object between the two scans (midway against midway) is removed; each tool's own corrected 13 ms images.
    """
    still = pairs[f"sphere {SPHERES[0]} ms"]
    axis, size = still.axis, still.voxel_mm
    lines = lines_through(np.mean(still.images, axis=0), axis)
    raw = Outline.midway(still.images, axis, lines)
    rows = []
    for ms in SPHERES[1:]:
        pair = pairs[f"sphere {ms} ms"]
        offset = raw.offset(Outline.midway(pair.images, axis, lines))
        for one, own in zip(estimates[pair.name], estimates[still.name], strict=True):
            after = corrected_by(pair, one)
            theirs = Outline.midway(corrected_by(still, own), axis, lines)
            voxels = [
                raw.distance(pair.images, axis),
                raw.distance(after, axis),
                theirs.distance(after, axis),
                offset,
                raw.distance(pair.images, axis, offset),
                raw.distance(after, axis, offset),
            ]
            rows.append([pair.name, one.tool, *(f"{size * value:.2f}" for value in voxels)])
    return rows


SPHERE_HEAD = (
    "pair|tool|edge distance before, mm|after|after, from own corrected 13 ms|"
    "offset of the scans, mm|before, without it|after, without it"
)


def phase_difference_of(shared: Path, pair: Pair) -> tuple[NDArray, NDArray]:
    """Field in Hz of `head-neck`'s GRE on its pair's grid, and where it was measured."""
    start = shared / "data" / "head-neck" / "sub-01" / "fmap" / "sub-01"
    phase, magnitude = (nib.load(f"{start}_{name}.nii.gz") for name in ("phasediff", "magnitude1"))
    sidecar = json.loads(Path(f"{start}_phasediff.json").read_text())
    grid = Grid(phase.shape, phase.affine)
    found = field_from_phase_difference(
        phase_to_radians(np.asarray(phase.dataobj)),
        np.asarray(magnitude.dataobj, dtype=np.float32),
        (sidecar["EchoTime1"], sidecar["EchoTime2"]),
        grid,
    )
    shape = pair.images[0].shape
    field, measured = (to_grid(values, phase.affine, shape, pair.affine) for values in (found.field_hz, found.measured))
    return field, measured > 0.99


def phase_rows(pair: Pair, shared: Path, estimates: Sequence[Estimate]) -> list[list[str]]:
    """`head-neck`'s pair against its phase difference (METHODS 6)."""
    field, measured = phase_difference_of(shared, pair)
    mask = object_mask(pair.images)
    rows = [["phase difference", f"{ncc(*neutral(pair, field), mask):.3f}", "", ""]]
    rows.append(["phase difference, sign flipped", f"{ncc(*neutral(pair, -field), mask):.3f}", "", ""])
    for one in estimates:
        images = corrected_by(pair, one)
        gain, correlation = slope(one.field_hz, field, measured & object_mask(images))
        rows.append([one.tool, f"{ncc(*images, mask):.3f}", f"{gain:.2f}", f"{correlation:.3f}"])
    return rows


PHASE_HEAD = "field|NCC of the pair after|slope against the phase difference|r"


def digital_row(pair: Pair, one: Estimate, truth: Truth) -> list[str]:
    """Errors against the truth."""
    error = field_error(one.field_hz, truth, pair.encodings[0].readout_s * pair.voxel_mm)
    least = smallest_jacobian(one.field_hz, [encoding.voxels_per_hz for encoding in pair.encodings], pair.axis)
    return [
        f"{pair.name} (truth {truth.source})",
        one.tool,
        *(f"{value:.2f}" for value in (error.brain_hz, error.brain_free_hz)),
        f"{100 * truth.excluded:.1f}",
        *(f"{value:.3f}" for value in (error.cord_mm, error.cord_p95_mm, error.whole_mm, error.whole_p95_mm)),
        by_level(error),
        f"{least:.3f}",
    ]


def by_level(error: FieldError) -> str:
    """Mean residual of each vertebral level, in words."""
    return ", ".join(f"{f'C{n}' if n <= C7 else f'T{n - C7}'} {value:.2f}" for n, value in error.by_level_mm.items() if n)


DIGITAL_HEAD = (
    "participant|tool|brain RMS, Hz|without a constant|excluded, %|"
    "cord to C7, mm|p95|all cord, mm|p95|by vertebra, mm|min Jacobian"
)


def table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    names = head.split("|")
    lines = [names, ["---", *["--:"] * (len(names) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the real images; without it only digital participants")
    parser.add_argument("--digital", type=Path, nargs="*", default=[], help="digital participants with a pain pair")
    parser.add_argument("--peer-python", type=Path, help="interpreter that has PyHySCO; without it only CoSpine")
    parser.add_argument(
        "--settings", default="default", help=f"of PyHySCO, comma-separated, of: {', '.join(PEERS)} [%(default)s]"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of CoSpine after the first [%(default)s]")
    parser.add_argument("--peer-repeats", type=int, default=1, help="runs of PyHySCO [%(default)s]")
    parser.add_argument("--output", type=Path, help="write the tables here as Markdown, too")
    arguments = parser.parse_args()
    peers = [PEERS[name] for name in arguments.settings.split(",")] if arguments.peer_python else []

    def estimates(pair: Pair) -> list[Estimate]:
        found = [run_ours(pair, arguments.repeats)]
        # the link itself, not what it points to: only there does Python know its environment
        python = Path(os.path.abspath(arguments.peer_python)) if peers else Path()
        found += [run_peer(peer, pair, python, arguments.peer_repeats) for peer in peers]
        print(pair.name, *(f"{one.tool} {one.wall_s:.2f} s" for one in found), file=sys.stderr, flush=True)
        return found

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{cores} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} at the start\n"]
    rows: list[list[str]] = []
    if arguments.shared:
        pairs = real_pairs(arguments.shared)
        found = {name: estimates(pair) for name, pair in pairs.items()}
        rows = [row for name, pair in pairs.items() for row in pair_rows(pair, found[name])]
        parts.append(table(SPHERE_HEAD, sphere_rows(pairs, found)))
        parts.append(table(PHASE_HEAD, phase_rows(pairs["head-neck"], arguments.shared, found["head-neck"])))
    errors = []
    for root in arguments.digital:
        pair = digital_pair(root)
        truth = read_truth(root, pair.encodings[0].voxels_per_hz, pair.axis)
        several = estimates(pair)
        rows += pair_rows(pair, several, truth.field_hz)
        errors += [digital_row(pair, one, truth) for one in several]
    parts.insert(1, table(PAIR_HEAD, rows))
    if errors:
        parts.append(table(DIGITAL_HEAD, errors))
    text = "\n".join(parts)
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
