"""What the user gives in place of our results, masks, discs and peaks: found, checked before the long work, loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.anatomy.given_discs import read_disc_image, read_discs
from cospine.bids import Dataset, Derivatives, Run, image_header, load_image, read_tsv
from cospine.errors import CoSpineError
from cospine.physio.given import given_peaks
from cospine.pipeline.motion_stage import Given
from cospine.pipeline.settings import Settings
from cospine.space.grid import Grid

_NAMES = {"brain": {"desc": "brain"}, "cord": {"label": "SC"}}
_ROOT = Path("derivatives")
_ENDINGS = ("*.nii*", "*_desc-peaks_timeseries.tsv", "*_desc-discs_points.tsv")


@dataclass(frozen=True)
class GivenAnatomy:
    """What the user gave in place of results of an anatomical image: masks on its grid, and the file that holds discs."""

    brain: NDArray[np.bool_] | None = field(default=None, repr=False)
    cord: NDArray[np.bool_] | None = field(default=None, repr=False)
    discs: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)


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


def anatomy_files(prefix: str, settings: Settings) -> dict[str, Path]:
    """Files that replace results of a person's anatomical image (`prefix`: `sub-01` or `sub-01_ses-1`): masks, discs."""
    files: dict[str, Path] = {}
    if settings.overrides is not None:
        out = Derivatives(_ROOT)
        names = {region: out.path(prefix, "mask", datatype="anat", **entities) for region, entities in _NAMES.items()}
        names["discs"] = out.path(prefix, "points", ".tsv", datatype="anat", desc="discs")
        for what, name in names.items():
            if (settings.overrides / name.relative_to(_ROOT)).is_file():
                files[what] = settings.overrides / name.relative_to(_ROOT)
    if settings.discs is not None:
        files["discs"] = settings.discs
    return files


def anatomy_prefix(image: Path) -> str:
    """What the results of an anatomical image are named after: `sub-01` or `sub-01_ses-1`."""
    return "_".join(part for part in image.name.split("_") if part.startswith(("sub-", "ses-")))


def check_given(dataset: Dataset, settings: Settings) -> None:
    """Refuse what is not there, fits no run, is not on the grid of its run, or is no table of peaks or discs; all at once.

    Raises
    ------
    CoSpineError
        With every file that is wrong.
    """
    runs = dataset.runnable
    for path in (settings.cord_mask, settings.physio_peaks, settings.overrides, settings.discs, settings.template_dir):
        if path is not None and not path.exists():
            raise CoSpineError("no such file or folder", str(path), "check the path")
    for flag, path in (("--cord-mask", settings.cord_mask), ("--physio-peaks", settings.physio_peaks)):
        if path is not None and len(runs) != 1:
            raise CoSpineError(
                f"{flag} stands for one run, but {len(runs)} are chosen",
                str(path),
                "choose one with --participant-label, --task and --run, or use --overrides",
            )
    people = sum(bool(one.runnable) for one in dataset.participants)
    if settings.discs is not None and people != 1:
        raise CoSpineError(
            f"--discs stands for one participant, but {people} are chosen",
            str(settings.discs),
            "choose one with --participant-label, or use --overrides",
        )
    if settings.cord_mask is not None and settings.regions == ("brain",):
        raise CoSpineError("a cord mask, but only the brain is asked for", "--cord-mask, --regions", "leave one of them out")
    used, wrong = _check_runs(runs, settings)
    for participant in dataset.participants:
        if participant.runnable:
            for image in (*participant.t1w, *participant.t2w):
                _check_anatomy(image, settings, used, wrong)
    if settings.overrides is not None:
        here = [path for ending in _ENDINGS for path in settings.overrides.rglob(ending)]
        wrong += [
            f"{path} is named as no mask, table of peaks or discs of what is chosen" for path in sorted(here) if path not in used
        ]
    if wrong:
        raise CoSpineError(
            "; ".join(dict.fromkeys(wrong)),
            "files given",
            "resample masks to the BOLD series or the anatomical image; name overrides sub-XX/func/P_desc-brain_mask.nii.gz, "
            "P_label-SC_mask.nii.gz, P_desc-peaks_timeseries.tsv, sub-XX/anat/sub-XX_desc-brain_mask.nii.gz, "
            "sub-XX_label-SC_mask.nii.gz or sub-XX_desc-discs_points.tsv",
        )


def _check_runs(runs: Sequence[Run], settings: Settings) -> tuple[set[Path], list[str]]:
    """Files that replace results of runs, and what is wrong with them."""
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
            if not run.physio or settings.ignores("physio"):
                wrong.append(f"{peaks} holds peaks, but {run.prefix} has no recording to put them on (or it is ignored)")
            try:
                given_peaks(read_tsv(peaks))
            except (CoSpineError, ValueError, OSError) as error:
                wrong.append(f"{peaks} is no table of peaks: {error}")
    return used, wrong


def _check_anatomy(image: Path, settings: Settings, used: set[Path], wrong: list[str]) -> None:
    """Add the files that replace results of an anatomical image to `used`, and what is wrong with them to `wrong`."""
    grid = image_header(image)
    for what, path in anatomy_files(anatomy_prefix(image), settings).items():
        used.add(path)
        if what == "discs":
            try:
                load_discs(path)
            except (CoSpineError, ValueError, OSError) as error:
                wrong.append(f"{path} holds no discs: {error}")
            continue
        header = image_header(path)
        if header.shape[:3] != grid.shape[:3] or not np.allclose(header.affine, grid.affine, atol=0.01):
            wrong.append(f"{path} is not on the grid of {image.name}")


def given_anatomy(files: Mapping[str, Path]) -> GivenAnatomy:
    """Load what the user gave in place of results of an anatomical image, see :func:`anatomy_files`.

    Raises
    ------
    CoSpineError
        When a mask is empty or cannot be read.
    """
    masks = {region: _mask(files[region]) for region in _NAMES if region in files}
    return GivenAnatomy(**masks, discs=files.get("discs"), files=dict(files))


def load_discs(path: Path) -> dict[int, NDArray[np.float64]]:
    """Discs that the user gave, by number, RAS mm: a table, or an image of single labelled voxels.

    Raises
    ------
    CoSpineError
        When the file holds none, with everything that is wrong in it.
    """
    if path.name.endswith((".nii", ".nii.gz")):
        data, affine = load_image(path)
        return read_disc_image(data, Grid(data.shape, affine), path.name)
    return read_discs(read_tsv(path), path.name)


def load_given(files: dict[str, Path]) -> Given:
    """Load the masks of a run.

    Raises
    ------
    CoSpineError
        When one is empty or cannot be read.
    """
    return Given(**{region: _mask(path) for region, path in files.items()})


def _mask(path: Path) -> NDArray[np.bool_]:
    data, _ = load_image(path)
    if not (data > 0).any():
        raise CoSpineError("the mask is empty", str(path), "draw it, or leave it out")
    return np.asfortranarray(data > 0)
