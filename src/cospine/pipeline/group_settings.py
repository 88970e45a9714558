"""Every parameter of the group level: its default, unit and help text, in one place."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cospine.pipeline.settings import REGIONS, option


@dataclass(frozen=True)
class GroupSettings:
    """Parameters of `cospine run .. group`; written into the sidecars of its outputs.

    Fields that `cospine.pipeline.settings.Settings` has too mean the same there.
    """

    participant_label: tuple[str, ...] = option((), "participants", nargs="+")
    session_label: tuple[str, ...] = option((), "sessions", nargs="+")
    task: tuple[str, ...] = option((), "tasks", nargs="+")
    regions: tuple[str, ...] = option((), "regions", nargs="+", choices=REGIONS)
    template_dir: Path | None = option(None, "template", type=Path)
    seed: int = option(0, "seed", type=int)
    contrast: tuple[str, ...] = option((), "contrasts to analyse (default: all that were written)", nargs="+", metavar="NAME")
    derivatives: tuple[Path, ...] = option(
        (), "derivatives of other datasets to analyse together with these", nargs="+", type=Path, metavar="DIR"
    )
    compare: str = option(
        "", "column of participants.tsv with two values: two groups are compared (default: one group against 0)",
        metavar="COLUMN",
    )  # fmt: skip
    covariates: tuple[str, ...] = option((), "columns of participants.tsv with numbers, taken out", nargs="+", metavar="COLUMN")
    combat: bool = option(False, "harmonise sites by ComBat: shift and spread of each voxel (three people at each site at least)")
    permutations: int = option(5000, "permutations or sign flips at most", type=int, metavar="N")
    cluster_p: float = option(0.001, "p that forms clusters, 0.001 at most", type=float, metavar="P")
    max_fd: float = option(0.5, "exclude who moved more: mean framewise displacement in mm", type=float, metavar="MM")
    min_cord_tsnr: float = option(5.0, "exclude whose cord is noisier: median tSNR after correction", type=float, metavar="X")
    exclude: tuple[str, ...] = option((), "participants to exclude, named in the flow", nargs="+", metavar="LABEL")
    atlas: Path | None = option(
        None,
        "labelled image in MNI (beside it a .tsv: index, name) whose regions are tested too",
        type=Path,
        metavar="FILE",
    )

    def parameters(self) -> dict[str, Any]:
        """Parameters as JSON holds them; where templates and other datasets lie is not among them."""
        left_out = {"template_dir", "derivatives", "atlas"}
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
