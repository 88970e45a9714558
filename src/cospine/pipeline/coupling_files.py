"""What a run writes of its coupling, and what a person's runs of one task are combined into."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.bids import Derivatives, Run, read_json, read_tsv
from cospine.bids.names import parse_name
from cospine.errors import CoSpineError
from cospine.pipeline.coupling_stage import RunCoupling
from cospine.pipeline.several_runs import by_task, remove_combined
from cospine.stats.coupling import Coupling, fisher_z
from cospine.stats.regions import level_system_of
from cospine.stats.specification import label_of

RESIDUALS, EVERY = "residuals", "everyslice"
LEAKAGE = "Leakage"
_WITHOUT = "pairs of slices that are excited together left out"


def write_coupling(out: Derivatives, run: Run, found: RunCoupling) -> tuple[Path, ...]:
    """Matrices of correlations, with and without simultaneous slices, and the courses that they are of."""
    written = []

    def table(kind: str, coupling: Coupling, without: bool, said: str) -> None:
        path = out.path(run, "relmat", ".tsv", desc=kind)
        about = {"Description": said, "Samples": coupling.samples, **_leak(found), "Notes": list(found.notes)}
        out.write_tsv(path, coupling.matrix(without), about)
        written.append(path)

    partial = f"Correlation of what the model of noise and task leaves, {found.free} degrees of freedom in a slice"
    table(RESIDUALS, found.residuals, True, f"{partial}; {_WITHOUT}")
    table(EVERY, found.residuals, False, f"{partial}; all pairs of slices")
    for condition, coupling in found.betas.items():
        table(label_of(f"betas {condition}"), coupling, True, f"Correlation over responses to single trials (LSS); {_WITHOUT}")
    path = out.path(run, "timeseries", ".tsv", desc="regions")
    courses = {one.region.name: one.mean for one in found.series}
    said = "Mean residuals of regions at the middle of the slice times, steady volumes"
    out.write_tsv(path, courses, {"Description": said, **_leak(found)})
    written.append(path)
    return tuple(written)


def combine_coupling(out: Derivatives, runs: Sequence[Run]) -> tuple[Path, ...]:
    """A person's runs of one task: the mean of Fisher's z, for each kind of table that two or more of them have."""
    written = []
    for prefix, of_task in by_task(out, runs).items():
        remove_combined(out, prefix, "relmat")
        kinds: dict[str, list[Path]] = {}
        for run in of_task:
            one = out.path(run, "relmat", ".tsv", desc="c")
            for path in sorted(one.parent.glob(one.name.replace("desc-c_", "desc-*_"))):
                if (name := parse_name(path.name)) is not None:
                    kinds.setdefault(name.entities["desc"], []).append(path)
        for kind, paths in sorted(kinds.items()):
            if len(paths) < 2:
                continue
            path = out.path(prefix, "relmat", ".tsv", datatype="func", desc=kind)
            about = {
                "Description": f"Mean over {len(paths)} runs, by Fisher's z",
                "Sources": [out.uri(one) for one in paths],
                LEAKAGE: ", ".join(sorted({leakage_said(one) or "unknown" for one in paths})),
            }
            out.write_tsv(path, mean_matrix([read_matrix(one) for one in paths]), about)
            written.append(path)
    return tuple(written)


def _leak(found: RunCoupling) -> dict[str, Any]:
    if found.leakage is None:
        return {LEAKAGE: "none found between simultaneous slices"}
    shares = [round(share, 4) for share in found.leakage.shares.tolist()]
    about = {"Slices": found.leakage.pairs.tolist(), "Shift": found.leakage.lag, "Shares": shares}
    return {LEAKAGE: "found between simultaneous slices, taken out", "LeakageOfPairs": about}


def leakage_said(path: Path) -> str:
    """What the sidecar of a table says of leakage; empty where it says nothing, as those of earlier versions."""
    sidecar = path.with_suffix(".json")
    return str(read_json(sidecar).get(LEAKAGE, "")) if sidecar.is_file() else ""


def mean_matrix(tables: Sequence[tuple[tuple[str, ...], NDArray[np.float64]]]) -> Mapping[str, list[str]]:
    """Mean of tables over the regions that all have, by Fisher's z."""
    names = [name for name in tables[0][0] if all(name in others for others, _ in tables)]
    stack = []
    for own, matrix in tables:
        at = [own.index(name) for name in names]
        stack.append(fisher_z(matrix[np.ix_(at, at)]))
    r = np.tanh(np.mean(stack, axis=0))
    systems = [level_system_of(name) for name in names]
    return {"region": names, "level_system": systems, **{name: _written(r[:, k]) for k, name in enumerate(names)}}


def read_matrix(path: Path) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """A square table of correlations: first column `region`, perhaps `level_system`, then one column a region.

    Raises
    ------
    CoSpineError
        When it is none.
    """
    try:
        columns = read_tsv(path)
        rows = columns.pop("region")
        columns.pop("level_system", None)
        names = tuple(columns)
        matrix = np.array([[np.nan if cell == "n/a" else float(cell) for cell in column] for column in columns.values()]).T
    except (OSError, ValueError, KeyError) as error:
        raise CoSpineError(f"is no table of coupling ({error})", str(path), "run the participant level again") from error
    if tuple(rows) != names or not np.allclose(matrix, matrix.T, equal_nan=True, atol=1e-4):
        raise CoSpineError("is no symmetric table of correlations", str(path), "run the participant level again")
    return names, matrix


def _written(values: NDArray[Any]) -> list[str]:
    return [f"{value:.5f}" if np.isfinite(value) else "n/a" for value in values]
