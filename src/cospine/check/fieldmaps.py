"""Field maps: how they are linked to their runs, and whether they fit them. The checks are those that `cospine run` makes."""

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.bids import FieldmapSet, Finding, Participant, Run, finding, image_header, readout_s
from cospine.bids.fieldmaps import WITHIN_SET
from cospine.bids.tables import words
from cospine.check.scope import Scope, listed
from cospine.errors import CoSpineError
from cospine.field.checks import PEPOLAR, Check, check_set, shim_distance

_NO_SHAPE = (1, 1, 1)  # of an image that is not here
_SHIFT = re.compile(r" and [\d.]+ mm apart")
_STATED = ("B0FieldSource", "IntendedFor")
# what a failed check is called, of a pair; None: not told of that kind
_CODES = {
    "phase encoding": "fieldmap-polarity",
    "readout time": "fieldmap-readout",
    "same grid": "fieldmap-rotated",
    "shim": "fieldmap-shim",
    "orientation": "fieldmap-orientation",
    "time gap": "fieldmap-gap",
}
_REMEDIES = {
    "fieldmap-polarity": "Correct PhaseEncodingDirection if it is wrong; a pair without opposite polarity gives no field.",
    "fieldmap-readout": "Compare with the protocol: a pair must be read out alike.",
    "fieldmap-rotated": "Nothing to do: the images are registered. Look at the result.",
    "fieldmap-shim": "Look at the corrected image: the field was measured under another shim.",
    "fieldmap-orientation": "Nothing to do: the field is brought to the run by registration.",
    "fieldmap-gap": "Look at the corrected image: the person may have moved between.",
    "phase-shim": "Nothing to do: a pair goes before it; where there is none, look at the corrected image.",
}


def check_fieldmaps(scope: Scope) -> Iterator[Finding]:
    """Links and fit of every field map to its runs."""
    for person in scope.dataset.participants:
        yield from _links(scope, person)
        yield from _fit(scope, person)
        yield from _shims(scope, person)


def _relative(scope: Scope, path: Path) -> str:
    return path.relative_to(scope.index.root).as_posix()


def _files(scope: Scope, images: Sequence[Path]) -> tuple[str, ...]:
    return tuple(_relative(scope, path) for path in images)


# --- links -----------------------------------------------------------------------------------------------------------


def _links(scope: Scope, person: Participant) -> Iterator[Finding]:
    by_name: dict[str, list[str]] = {}
    for run in person.runs:
        for one, how in person.fieldmaps_of(run):
            if how not in _STATED:
                by_name.setdefault(f"{one.identifier} to {run.prefix}, because {how}", []).extend(_files(scope, one.images))
    if by_name:
        yield finding(
            "fieldmap-not-stated",
            person.label,
            list(dict.fromkeys(file for files in by_name.values() for file in files)),
            f"neither IntendedFor nor B0FieldSource says which run they are for; linked by name: {'; '.join(by_name)}",
            "Add IntendedFor to them, or B0FieldSource to the runs; cospine check --fix-plan shows how.",
        )
    # by name, so that those that cannot be used count too
    sets: dict[str, dict[Hashable, list[str]]] = {}
    for picture in scope.pictures:
        if picture.participant == person.label and picture.entry.folder.endswith("fmap"):
            entities = picture.entry.name.entities.items()
            key = (picture.suffix == "epi", tuple(item for item in entities if item[0] not in WITHIN_SET))
            for name in words(picture.sidecar, "B0FieldIdentifier"):
                sets.setdefault(name, {}).setdefault(key, []).append(picture.relative)
    for name, members in sets.items():
        if len(members) > 1:
            yield finding(
                "one-b0-identifier",
                person.label,
                [file for files in members.values() for file in files],
                f"{len(members)} field maps share the B0FieldIdentifier {name!r}: other programs take them for one",
                "Give each its own; cospine check --fix-plan shows how.",
            )


# --- fit -------------------------------------------------------------------------------------------------------------


def _fit(scope: Scope, person: Participant) -> Iterator[Finding]:
    told: set[tuple[str, tuple[str, ...], str]] = set()
    for run in person.runs:
        for one, _ in person.fieldmaps_of(run):
            for check in _checks(one, run):
                code = _CODES[check.name] if one.kind == PEPOLAR else {**_CODES, "shim": "phase-shim"}[check.name]
                files = (*_files(scope, one.images), _relative(scope, run.bold))
                text = check.text
                if code == "fieldmap-shim":
                    text += _apart(one)
                mark = (code, files[:-1], text)
                if mark in told:
                    continue
                told.add(mark)
                yield finding(code, person.label, files, text, _REMEDIES[code])


def _checks(one: FieldmapSet, run: Run) -> list[Check]:
    """Checks that fail; of grids only where all are known."""
    grids = [_grid(path, sidecar) for path, sidecar in zip(one.images, one.sidecars, strict=True)]
    of_run = (run.affine, run.shape) if run.shape else _turned(run.sidecar)
    known = of_run is not None and all(grid is not None for grid in grids)
    affines = [grid[0] for grid in grids if grid is not None] if known else [np.eye(4)] * len(grids)
    shapes = [grid[1] for grid in grids if grid is not None] if known else [_NO_SHAPE] * len(grids)
    run_affine = of_run[0] if known and of_run is not None else np.eye(4)
    sidecars = [
        {**sidecar, "TotalReadoutTime": readout_s(sidecar, shape)} for sidecar, shape in zip(one.sidecars, shapes, strict=True)
    ]
    run_sidecar = {**run.sidecar, "TotalReadoutTime": run.total_readout_s}
    # magnitudes are measured with the phase: their grid and time say the same
    found = check_set(one.kind, sidecars, affines, shapes, run_sidecar, run_affine)
    failed = [check for check in found if check.passed is False]
    if known and any(shape == _NO_SHAPE for shape in shapes):  # where they lie is not known, only how they are turned
        failed = [replace(check, text=_SHIFT.sub("", check.text)) for check in failed]
    return failed


def _grid(path: Path, sidecar: Mapping[str, Any]) -> tuple[NDArray[np.float64], tuple[int, ...]] | None:
    try:
        header = image_header(path)
    except CoSpineError:
        return _turned(sidecar)
    return header.affine, header.shape


def _turned(sidecar: Mapping[str, Any]) -> tuple[NDArray[np.float64], tuple[int, ...]] | None:
    """Orientation alone, of an image that is not here, as its sidecar has it (DICOM: rows and columns, LPS)."""
    said = sidecar.get("ImageOrientationPatientDICOM")
    if not isinstance(said, list) or len(said) != 6 or not all(isinstance(v, int | float) and abs(v) <= 1.1 for v in said):
        return None
    rows, columns = np.array(said[:3], float), np.array(said[3:], float)
    normal = np.cross(rows, columns)
    if min(np.linalg.norm(rows), np.linalg.norm(columns), np.linalg.norm(normal)) < 0.5:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.stack([rows, columns, normal], axis=1) * np.array([[-1.0], [-1.0], [1.0]])
    return affine, _NO_SHAPE


def _apart(one: FieldmapSet) -> str:
    """Whether the two images of a pair differ in shim themselves."""
    distances = [shim_distance(one.sidecars[0], other) for other in one.sidecars[1:]]
    largest = max((d for d in distances if d), default=0.0)
    return f"; its images differ among themselves by {largest:g}" if largest else ""


# --- shims of runs ---------------------------------------------------------------------------------------------------


def _shims(scope: Scope, person: Participant) -> Iterator[Finding]:
    """Runs of one session under different shims."""
    for session in dict.fromkeys(run.session for run in person.runs):
        runs = [run for run in person.runs if run.session == session]
        groups: list[list[Run]] = []
        for run in runs:
            if shim_distance(run.sidecar, run.sidecar) is None:
                continue
            home = next((group for group in groups if shim_distance(group[0].sidecar, run.sidecar) == 0), None)
            if home is None:
                groups.append([run])
            else:
                home.append(run)
        if len(groups) > 1:
            distance = shim_distance(groups[0][0].sidecar, groups[1][0].sidecar)
            yield finding(
                "shim-readjusted",
                person.label,
                [_relative(scope, run.bold) for group in groups for run in group],
                f"ShimSetting of {listed(run.prefix for run in groups[0])} and {listed(run.prefix for run in groups[1])} "
                f"differs by {distance:g} (sum of absolute differences)",
                "Nothing to do: each run needs the field map of its own shim.",
            )
