"""Masks that the user gives in place of ours: found, checked before the long work, loaded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cospine.bids import Derivatives, Run, image_header, load_image
from cospine.errors import CoSpineError
from cospine.pipeline.motion_stage import Given
from cospine.pipeline.settings import Settings

_NAMES = {"brain": {"desc": "brain"}, "cord": {"label": "SC"}}
_ROOT = Path("derivatives")


def given_files(run: Run, settings: Settings) -> dict[str, Path]:
    """Files that replace our masks of a run, by region."""
    files: dict[str, Path] = {}
    if settings.overrides is not None:
        for region, entities in _NAMES.items():
            relative = Derivatives(_ROOT).path(run, "mask", **entities).relative_to(_ROOT)
            if (settings.overrides / relative).is_file():
                files[region] = settings.overrides / relative
    if settings.cord_mask is not None:
        files["cord"] = settings.cord_mask
    return files


def check_given(runs: Sequence[Run], settings: Settings) -> None:
    """Refuse masks that are not there, fit no run, or are not on the grid of theirs; all of them at once.

    Raises
    ------
    CoSpineError
        With every file that is wrong.
    """
    for path in (settings.cord_mask, settings.overrides):
        if path is not None and not path.exists():
            raise CoSpineError("no such file or folder", str(path), "check the path")
    if settings.cord_mask is not None and len(runs) != 1:
        raise CoSpineError(
            f"--cord-mask stands for one run, but {len(runs)} are chosen",
            str(settings.cord_mask),
            "choose one with --participant-label, --task and --run, or use --overrides",
        )
    if settings.cord_mask is not None and settings.regions == ("brain",):
        raise CoSpineError("a cord mask, but only the brain is asked for", "--cord-mask, --regions", "leave one of them out")
    wrong: list[str] = []
    used: set[Path] = set()
    for run in runs:
        for path in given_files(run, settings).values():
            used.add(path)
            header = image_header(path)
            if header.shape[:3] != run.shape[:3] or not np.allclose(header.affine, run.affine, atol=0.01):
                wrong.append(
                    f"{path} is not on the grid of {run.prefix} ({header.shape[:3]} against {run.shape[:3]}, or another affine)"
                )
    if settings.overrides is not None:
        strangers = [path for path in sorted(settings.overrides.rglob("*.nii*")) if path not in used]
        wrong += [f"{path} is named as no mask of a chosen run" for path in strangers]
    if wrong:
        raise CoSpineError(
            "; ".join(wrong),
            "masks given",
            "resample masks to the BOLD series; name overrides sub-XX/func/P_desc-brain_mask.nii.gz or P_label-SC_mask.nii.gz",
        )


def load_given(files: dict[str, Path]) -> Given:
    """Load the masks of a run.

    Raises
    ------
    CoSpineError
        When one is empty or cannot be read.
    """
    masks = {}
    for region, path in files.items():
        data, _ = load_image(path)
        if not (data > 0).any():
            raise CoSpineError("the mask is empty", str(path), "draw it, or leave it out")
        masks[region] = np.asfortranarray(data > 0)
    return Given(**masks)
