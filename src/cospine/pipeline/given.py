"""What the user gives in place of our results, masks and peaks: found, checked before the long work, loaded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cospine.bids import Derivatives, Run, image_header, load_image, read_tsv
from cospine.errors import CoSpineError
from cospine.physio.given import given_peaks
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


def given_peaks_file(run: Run, settings: Settings) -> Path | None:
    """Table that replaces the heartbeats and breaths we would find."""
    if settings.physio_peaks is not None:
        return settings.physio_peaks
    if settings.overrides is not None:
        relative = Derivatives(_ROOT).path(run, "timeseries", ".tsv", desc="peaks").relative_to(_ROOT)
        if (settings.overrides / relative).is_file():
            return settings.overrides / relative
    return None


def check_given(runs: Sequence[Run], settings: Settings) -> None:
    """Refuse what is not there, fits no run, is not on the grid of its run, or is no table of peaks; all at once.

    Raises
    ------
    CoSpineError
        With every file that is wrong.
    """
    for path in (settings.cord_mask, settings.physio_peaks, settings.overrides):
        if path is not None and not path.exists():
            raise CoSpineError("no such file or folder", str(path), "check the path")
    for flag, path in (("--cord-mask", settings.cord_mask), ("--physio-peaks", settings.physio_peaks)):
        if path is not None and len(runs) != 1:
            raise CoSpineError(
                f"{flag} stands for one run, but {len(runs)} are chosen",
                str(path),
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
        peaks = given_peaks_file(run, settings)
        if peaks is not None:
            used.add(peaks)
            if not run.physio or "physio" in settings.ignore:
                wrong.append(f"{peaks} holds peaks, but {run.prefix} has no recording to put them on (or it is ignored)")
            try:
                given_peaks(read_tsv(peaks))
            except (CoSpineError, ValueError, OSError) as error:
                wrong.append(f"{peaks} is no table of peaks: {error}")
    if settings.overrides is not None:
        here = [*settings.overrides.rglob("*.nii*"), *settings.overrides.rglob("*_desc-peaks_timeseries.tsv")]
        wrong += [f"{path} is named as no mask or table of peaks of a chosen run" for path in sorted(here) if path not in used]
    if wrong:
        raise CoSpineError(
            "; ".join(wrong),
            "files given",
            "resample masks to the BOLD series; name overrides sub-XX/func/P_desc-brain_mask.nii.gz, P_label-SC_mask.nii.gz or "
            "P_desc-peaks_timeseries.tsv",
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
