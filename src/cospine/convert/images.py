"""dcm2niix: found, called for one series at a time, and what it made looked through.

Only the files of one part of one series are laid before it, under neutral names in a folder of their own, so that neither
strangers nor file names nor a defaults file in the home folder can change what comes out.
"""

import importlib
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib

from cospine.bids import read_json
from cospine.convert.plan import Item, Target
from cospine.errors import CoSpineError

_LOG = logging.getLogger(__name__)

_TIMEOUT_S = 3600
# what dcm2niix makes beside or in place of the image of a series, told by the name it gives
_BY_PRODUCTS = re.compile(r"_(Tilt|Eq|ROI\d*|MoCo|ADC|MRI|Crop|cropped)(_\d+)?$", re.IGNORECASE)
_ECHO_S = 2e-5


@dataclass(frozen=True, eq=False)
class Converted:
    """One image that dcm2niix made.

    Parameters
    ----------
    target : Target
        What it is to be.
    nifti : Path
        Uncompressed.
    sidecar : dict
        As dcm2niix wrote it.
    shape : tuple of int
    diffusion : tuple of Path
        `.bval` and `.bvec`, for diffusion series.
    warnings : tuple of str
        What dcm2niix warned of.
    """

    target: Target
    nifti: Path
    sidecar: dict[str, Any] = field(repr=False)
    shape: tuple[int, ...]
    diffusion: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converter:
    """The dcm2niix that is used."""

    program: Path
    version: str


def find_converter() -> Converter:
    """The dcm2niix of the Python package, else the one on PATH.

    Raises
    ------
    CoSpineError
        When there is none, or it does not run.
    """
    remedy = "pip install cospine[convert], or put dcm2niix on PATH"
    try:
        found: str | None = str(importlib.import_module("dcm2niix").bin)
    except ImportError:
        found = shutil.which("dcm2niix")
    if found is None:
        raise CoSpineError("dcm2niix is not installed", "", remedy)
    try:
        # it says its version and leaves with an exit status of its own
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CoSpineError(f"does not run ({error})", found, remedy) from error
    version = re.search(r"v\d+\.\d+\.\d+", said)
    if version is None:
        raise CoSpineError("does not say its version; is it dcm2niix?", found, remedy)
    return Converter(Path(found), version[0])


def convert_item(item: Item, converter: Converter, folder: Path) -> list[Converted]:
    """Convert one series.

    Parameters
    ----------
    item : Item
        Series and the images that it is to become.
    converter : Converter
    folder : Path
        Empty folder to work in.

    Returns
    -------
    list of Converted
        One for each target.

    Raises
    ------
    CoSpineError
        When dcm2niix fails, or makes other images than planned.
    """
    label = item.series.label
    source, made = folder / "dicom", folder / "nifti"
    source.mkdir(parents=True)
    made.mkdir()
    for number, path in enumerate(item.series.files):
        _lay(path, source / f"{number:06d}.dcm")
    # -g i: no defaults file; -ba y: no name, birth date, identifiers; -c "": no comment, which may hold a name
    options = ["-g", "i", "-b", "y", "-ba", "y", "-z", "n", "-f", "image", "-w", "2", "-d", "0", "-x", "n", "-c", ""]
    command = [str(converter.program), *options, "-o", str(made), str(source)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CoSpineError(f"dcm2niix failed ({error})", label, "Run dcm2niix on it by hand to see why") from error
    said = [line.strip() for line in (ran.stdout + ran.stderr).splitlines()]
    warnings = tuple(dict.fromkeys(line for line in said if line.lower().startswith(("warning", "error"))))
    niftis = sorted(made.glob("*.nii"))
    if ran.returncode != 0 or not niftis:
        reason = "; ".join(warnings) or (said[-1] if said else f"exit status {ran.returncode}")
        raise CoSpineError(
            f"dcm2niix could not convert it ({reason})", label, "Export the series again, or skip it in the mapping"
        )
    _LOG.debug("%s: dcm2niix made %s", label, [path.name for path in niftis])
    return _assigned(item, niftis, warnings)


def _lay(path: Path, link: Path) -> None:
    """Link to a file; where the file system knows no links, a copy."""
    try:
        os.symlink(path.absolute(), link)
    except OSError:
        shutil.copyfile(path, link)


def _assigned(item: Item, niftis: Sequence[Path], warnings: tuple[str, ...]) -> list[Converted]:
    """Each target its image, by echo time."""
    images = [path for path in niftis if not _BY_PRODUCTS.search(path.stem)]
    names = ", ".join(path.stem.replace("image", "..") for path in niftis)
    if len(images) != len(item.targets):
        what = f"dcm2niix made {len(images)} images of it ({names}), {len(item.targets)} expected"
        remedy = (
            "Look whether files are missing, or of different geometry, in the export; if it is no single acquisition, tell its "
            "parts apart in the mapping"
        )
        raise CoSpineError(what, item.series.label, remedy)
    found = [(path, _sidecar(path, item)) for path in images]
    found.sort(key=lambda one: float(one[1].get("EchoTime") or 0))
    converted = []
    for target, (path, sidecar) in zip(item.targets, found, strict=True):
        echo_s = None if target.echo_ms is None else target.echo_ms / 1000
        if echo_s is not None and abs(float(sidecar.get("EchoTime") or 0) - echo_s) > _ECHO_S:
            what = f"dcm2niix gives the echo time {sidecar.get('EchoTime')} s where the headers say {echo_s:g} s"
            raise CoSpineError(what, item.series.label, "Convert the series by hand and look")
        shape = tuple(int(n) for n in nib.Nifti1Image.from_filename(path).shape)
        diffusion = tuple(one for one in (path.with_suffix(".bval"), path.with_suffix(".bvec")) if one.is_file())
        converted.append(Converted(target, path, sidecar, shape, diffusion, warnings))
    _check_volumes(item, converted)
    return converted


def _sidecar(path: Path, item: Item) -> dict[str, Any]:
    try:
        return read_json(path.with_suffix(".json"))
    except (OSError, ValueError) as error:
        raise CoSpineError(f"dcm2niix wrote no sidecar ({error})", item.series.label, "Update dcm2niix") from error


def _check_volumes(item: Item, converted: Sequence[Converted]) -> None:
    """Every file must have gone in: mosaics and enhanced files hold volumes, others slices."""
    files = len(item.series.files)
    frames = item.series.text("NumberOfFrames")
    slices = sum(_slices(one.shape) for one in converted)
    if "MOSAIC" in item.series.text("ImageType"):
        held = sum(_volumes(one.shape) for one in converted)
        unit = "volumes"
    elif frames.isdigit() and int(frames) > 1:
        held, files, unit = slices, files * int(frames), "slices"
    else:
        held, unit = slices, "slices"
    if held != files:
        what = f"{files} {unit} went in, {held} came out"
        raise CoSpineError(
            what, item.series.label, "Look for missing or foreign files in the export; skip the series if it is broken off"
        )


def _volumes(shape: tuple[int, ...]) -> int:
    return shape[3] if len(shape) > 3 else 1


def _slices(shape: tuple[int, ...]) -> int:
    return (shape[2] if len(shape) > 2 else 1) * _volumes(shape)
