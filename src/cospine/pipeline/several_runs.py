"""A person's runs of one task, which are combined."""

from collections.abc import Sequence

from cospine.bids import Derivatives, Run
from cospine.bids.names import parse_name


def by_task(out: Derivatives, runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ in `run` alone, by their name without it; one without that entity is in none."""
    together: dict[str, list[Run]] = {}
    for run in runs:
        if run.entities.get("run") is not None:
            name = out.path(run, "x", run=None).name
            together.setdefault(name[: -len("_x.nii.gz")], []).append(run)
    return dict(sorted(together.items()))


def remove_combined(out: Derivatives, prefix: str, suffix: str) -> None:
    """Remove what runs were combined into before one of them was processed again: it would pass for its result."""
    for path in out.path(prefix, suffix, ".tsv", datatype="func").parent.glob(f"{prefix}_*_{suffix}.*"):
        name = parse_name(path.name)
        if name is not None and name.entities.get("run") is None:
            path.unlink()
