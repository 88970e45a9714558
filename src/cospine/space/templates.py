"""Templates: the MNI152 brain from nilearn's package, and the PAM50 cord from wherever it can be had.

PAM50 is looked for in a given folder, in the folder that ``COSPINE_TEMPLATES`` names, and in the cache; then it is
downloaded, once; and where that fails, the built-in template of :mod:`cospine.space.cord_template` stands in. Which of
these it was stands in :attr:`CordTemplate.source`.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from scipy import ndimage

from cospine.errors import CoSpineError
from cospine.space.cord_template import (
    BOX_START,
    CONTRASTS,
    PAM50_AFFINE,
    PAM50_BOX,
    CordTemplate,
    cord_axis,
    parametric_cord_template,
    with_parametric_contrasts,
)
from cospine.space.grid import Grid

__all__ = ["PAM50_BOX", "BrainTemplate", "CordTemplate", "brain_template", "cord_template", "with_parametric_contrasts"]

_log = logging.getLogger(__name__)

PAM50_RELEASE = "r20250422"
PAM50_URL = f"https://github.com/spinalcordtoolbox/PAM50/releases/download/{PAM50_RELEASE}/PAM50-{PAM50_RELEASE}.zip"
_TIMEOUT_S = 20
_Kind = TypeVar("_Kind", bound=np.generic)
# The stubs of isal give the exception class the type of an instance.
_UNREADABLE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    ImageFileError,
    cast(type[Exception], igzip_lib.IsalError),
)
# SHA-256 of each array within the box, as float32 in Fortran order: the file's compression and data type may change,
# what we use of it may not. T1 and T2s were never at hand, and T2 only cropped: of these, place and shape are checked.
_SHA256 = {
    "cord": "0b5b9f60cf15d411780dbedb597513c53b44e2e00c6740741ae0fc3e3b7388e2",
    "csf": "32c2cb069a5aaf6e9c2282a8c33177480600bd590d5882b383ddeed9c0a0e1d1",
    "gm": "853772a277566bbf7d9bb4b4fa8f3e1a9b3b747f5b093b95f2288f4dd70ad80b",
    "wm": "6bd4ea2f80300a19151e2d24176d518351d26aa9a014b41abf38b8117983a796",
    "levels": "d2e367af3449b8631300325019cfd57223befb80f547f57e7f22a46f04fdb592",
    "spinal_levels": "42bae98cb5d8a842c2fe9d4572c8206b8095721580c84b8dff30da863371fe8f",
    "label_disc": "3e3295b2a91a3dcd18a44a86de56b83d77106045951d6f9eb0d639980d8d3aeb",
}


@dataclass(frozen=True)
class BrainTemplate:
    """The ICBM 152 nonlinear symmetric brain, version 2009a (Fonov et al., NeuroImage 2011), skull-stripped.

    Parameters
    ----------
    name : str
        BIDS name of the space, ``MNI152NLin2009aSym``.
    grid : Grid
        1 or 2 mm, RAS; both begin at (-98, -134, -72) mm.
    t1 : ndarray (x, y, z), float32
        T1-weighted intensity, 0-1, 0 outside of the brain.
    mask : ndarray (x, y, z), bool
        Brain, cerebellum and brainstem down to the foramen magnum, ventricles included.
    grey, white : ndarray (x, y, z), float32
        Tissue probabilities, 0-1.
    """

    name: str
    grid: Grid
    t1: NDArray[np.float32] = field(repr=False)
    mask: NDArray[np.bool_] = field(repr=False)
    grey: NDArray[np.float32] = field(repr=False)
    white: NDArray[np.float32] = field(repr=False)


def brain_template(resolution_mm: int = 1) -> BrainTemplate:
    """Read the MNI152 brain that nilearn's package carries.

    Parameters
    ----------
    resolution_mm : {1, 2}
        At 2 mm every second voxel of the 1 mm lattice is kept after binomial smoothing (1 2 1), so that the midline
        stays on a voxel and both lattices share their origin. Block means would move both by half a millimetre.

    Returns
    -------
    BrainTemplate
        Shared by all callers: its arrays are read-only.

    Raises
    ------
    ValueError
        For another resolution.
    CoSpineError
        When the installed nilearn does not hold the files.
    """
    if resolution_mm not in (1, 2):
        raise ValueError(f"the brain template comes at 1 or 2 mm, not {resolution_mm}")
    return _fine_brain() if resolution_mm == 1 else _coarse_brain()


@lru_cache(maxsize=1)
def _coarse_brain() -> BrainTemplate:
    """The brain template at 2 mm."""
    fine = _fine_brain()
    t1, grey, white = (_read_only(_every_second(array)) for array in (fine.t1, fine.grey, fine.white))
    mask = _read_only(_every_second(fine.mask.astype(np.float32)) > 0.5)
    grid = Grid(t1.shape, fine.grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    return BrainTemplate(fine.name, grid, t1, mask, grey, white)


@lru_cache(maxsize=1)
def _fine_brain() -> BrainTemplate:
    """The brain template as nilearn's package holds it."""
    spec = find_spec("nilearn")  # its place without importing it
    folder = Path(spec.origin).parent / "datasets" / "data" if spec and spec.origin else Path("nilearn")
    paths = [folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz" for name in ("t1", "gm", "wm")]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise CoSpineError(f"nilearn lacks {', '.join(missing)}", str(folder), "install nilearn 0.12 or later")
    images = [_open(path) for path in paths]
    t1, grey, white = (_read_only(_unit(np.asanyarray(image.dataobj))) for image in images)
    # the skull is gone in this image: what is left is the brain, but for specks
    mask = _read_only(np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(t1 > 0.05)), dtype=np.bool_))
    return BrainTemplate("MNI152NLin2009aSym", Grid(t1.shape, _affine(images[0])), t1, mask, grey, white)


def cord_template(directory: Path | None = None, *, offline: bool = False) -> CordTemplate:
    """The cord template: PAM50 if it can be had, else the built-in one.

    Parameters
    ----------
    directory : Path, optional
        Folder of PAM50: the one that holds ``PAM50_cord.nii.gz``, its parent or its grandparent. Without it the folder in
        the environment's ``COSPINE_TEMPLATES`` is taken.
    offline : bool
        Do not try to download. ``COSPINE_OFFLINE`` in the environment (any text but 0) does the same.

    Returns
    -------
    CordTemplate
        `source` says which it is. `contrast` is None for what the folder lacks; see :func:`with_parametric_contrasts`.

    Raises
    ------
    CoSpineError
        When a folder was named that does not hold PAM50, or not all of it: everything that is wrong is listed.
    """
    named = directory or os.environ.get("COSPINE_TEMPLATES")
    if named:
        where = "--template-dir" if directory else "COSPINE_TEMPLATES"
        return _read_pam50(_template_folder(Path(named)), f"folder {Path(named).name} named by {where}")
    import pooch

    cache = Path(pooch.os_cache("cospine")) / f"PAM50-{PAM50_RELEASE}"
    if not cache.is_dir():
        if offline or os.environ.get("COSPINE_OFFLINE", "0") not in ("", "0"):
            return _built_in("PAM50 is not in the cache and downloading was forbidden")
        try:
            _download(cache)
        except (OSError, CoSpineError, zipfile.BadZipFile) as problem:
            # requests' errors are OSErrors
            reason = problem.what if isinstance(problem, CoSpineError) else type(problem).__name__
            return _built_in(f"PAM50 could not be downloaded from {PAM50_URL} ({reason})")
    return _read_pam50(cache, f"release {PAM50_RELEASE} downloaded from {PAM50_URL}")


def template_state(directory: Path | None = None) -> str:
    """Which cord template :func:`cord_template` would take, without reading or downloading it: a word for records."""
    if directory is not None or (named := os.environ.get("COSPINE_TEMPLATES")):
        return "--template-dir" if directory is not None else f"COSPINE_TEMPLATES={named}"
    import pooch

    return "downloaded" if (Path(pooch.os_cache("cospine")) / f"PAM50-{PAM50_RELEASE}").is_dir() else "not at hand"


def _built_in(reason: str) -> CordTemplate:
    """The built-in template, with a warning."""
    _log.warning("%s: the built-in parametric cord template stands in. --template-dir names a folder that holds PAM50", reason)
    return parametric_cord_template(reason)


def _template_folder(folder: Path) -> Path:
    """The folder that holds PAM50's files: the given one, or where it lies below."""
    for candidate in (folder, folder / "template", folder / "PAM50" / "template"):
        if any(candidate.glob("PAM50_*.nii.gz")):
            return candidate
    raise CoSpineError("no PAM50 files there (PAM50_cord.nii.gz and others)", str(folder), "name the folder PAM50/template")


def _read_pam50(folder: Path, origin: str) -> CordTemplate:
    """PAM50 from its folder, each file checked; all that is wrong in one error."""
    arrays, contrast, faults = {}, {}, []
    for name in _SHA256:
        try:
            arrays[name] = _in_box(folder / f"PAM50_{name}.nii.gz")
        except CoSpineError as fault:
            faults.append(f"{Path(fault.where).name}: {fault.what}")
    for name in CONTRASTS:
        paths = [folder / f"PAM50_{name.lower()}{end}.nii.gz" for end in ("", "_cropped")]
        path = next((path for path in paths if path.is_file()), None)
        try:
            contrast[name] = _scaled(_in_box(path)) if path else None
        except CoSpineError as fault:
            faults.append(f"{Path(fault.where).name}: {fault.what}")
    if faults:
        raise CoSpineError("PAM50 is not complete: " + "; ".join(faults), str(folder), "fetch PAM50 anew or name another folder")
    discs = {
        n: PAM50_BOX.to_ras(np.argwhere(arrays["label_disc"] == n).mean(axis=0))
        for n in range(1, 10)
        if (arrays["label_disc"] == n).any()
    }
    if len(discs) < 9:
        raise CoSpineError(
            f"discs 1-9 expected, found {sorted(discs)}", str(folder / "PAM50_label_disc.nii.gz"), "fetch PAM50 anew"
        )
    return CordTemplate(
        name="PAM50",
        source=f"PAM50, {origin}; {_verified(arrays)}",
        grid=PAM50_BOX,
        cord=arrays["cord"],
        csf=arrays["csf"],
        grey=arrays["gm"],
        white=arrays["wm"],
        vertebral=arrays["levels"].astype(np.uint8),
        spinal=arrays["spinal_levels"].astype(np.uint8),
        discs=discs,
        contrast=contrast,
        centre_line=cord_axis(arrays["cord"], PAM50_BOX),
    )


def _differing(folder: Path) -> list[str]:
    """Files whose contents in the box differ from those that CoSpine was tested with."""
    return [name for name in _SHA256 if _digest(_in_box(folder / f"PAM50_{name}.nii.gz")) != _SHA256[name]]


def _digest(array: NDArray[np.float32]) -> str:
    """SHA-256 of an array."""
    return hashlib.sha256(array.tobytes(order="F")).hexdigest()


def _verified(arrays: dict[str, NDArray[np.float32]]) -> str:
    """How the contents compare with those that CoSpine was tested with."""
    other = [name for name, array in arrays.items() if _digest(array) != _SHA256[name]]
    if not other:
        return "masks, tissues, levels and discs verified by checksum, contrasts by place and shape"
    _log.warning("PAM50 differs from the one that CoSpine was tested with in: %s", ", ".join(other))
    return f"differs from the one that CoSpine was tested with in: {', '.join(other)}"


def _in_box(path: Path) -> NDArray[np.float32]:
    """What a file on PAM50's lattice holds within the box, float32 in Fortran order."""
    try:
        image = _open(path)
    except FileNotFoundError:
        raise CoSpineError("missing", str(path)) from None
    except _UNREADABLE as problem:
        raise CoSpineError(f"cannot be read ({type(problem).__name__})", str(path)) from problem
    first = np.linalg.inv(PAM50_AFFINE) @ _affine(image)
    offset = np.array(BOX_START) - np.rint(first[:3, 3]).astype(int)
    if not np.allclose(first[:3, :3], np.eye(3), atol=1e-3) or np.abs(first[:3, 3] - np.rint(first[:3, 3])).max() > 0.02:
        raise CoSpineError("not on PAM50's 0.5 mm lattice", str(path))
    end = offset + PAM50_BOX.shape
    if len(image.shape) != 3 or (offset < 0).any() or (end > image.shape).any():
        raise CoSpineError(f"shape {image.shape} does not hold C1 to T1", str(path))
    data = np.asanyarray(image.dataobj)[tuple(slice(a, b) for a, b in zip(offset, end, strict=True))]
    if not np.isfinite(data).all() or not data.any():
        raise CoSpineError("empty or not finite between C1 and T1", str(path))
    return np.asfortranarray(data, dtype=np.float32)


def _affine(image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Voxel index to RAS mm."""
    return np.array(image.affine, dtype=np.float64)


def _open(path: Path) -> nib.Nifti1Image:
    """A gzipped NIfTI image, decompressed in memory: some times faster than nibabel's reading of a stream."""
    return nib.Nifti1Image.from_bytes(igzip.decompress(path.read_bytes()))


def _scaled(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A contrast scaled so that its 99.5th percentile is 1."""
    return image * np.float32(1 / np.percentile(image, 99.5))


def _unit(array: NDArray) -> NDArray[np.float32]:
    """An array scaled to a largest value of 1."""
    return array.astype(np.float32) * np.float32(1 / array.max())


def _read_only(array: NDArray[_Kind]) -> NDArray[_Kind]:
    """The array in Fortran order, sealed."""
    sealed = np.asfortranarray(array)
    sealed.setflags(write=False)
    return sealed


def _every_second(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every second voxel along each axis of the array smoothed by (1 2 1) / 4, which is 0 outside."""
    for axis in range(3):
        padded = np.moveaxis(np.pad(array, [(1, 2) if a == axis else (0, 0) for a in range(3)]), axis, 0)
        count = (array.shape[axis] + 1) // 2
        before, at, after = (padded[start : start + 2 * count : 2] for start in range(3))
        array = np.moveaxis((0.25 * before + 0.5 * at + 0.25 * after).astype(np.float32), 0, axis)
    return array


def _download(target: Path) -> None:
    """Fetch the release once, keep what is used of it, verify, and put it in place in one move.

    The archive's own checksum is not published; what we use of it is compared with the checksums of the arrays instead.
    A release that differs is kept beside the cache's place, so that it is neither used unsaid nor fetched again and again.
    """
    import pooch

    refused = target.with_name(target.name + "-differs")
    if not refused.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            # pooch's protocol names the arguments otherwise than its own downloader does
            fetch: Any = pooch.HTTPDownloader(timeout=_TIMEOUT_S, progressbar=False)
            archive = pooch.retrieve(PAM50_URL, known_hash=None, fname="PAM50.zip", path=work, downloader=fetch)
            unpacked = Path(work) / "template"
            _unpack(Path(archive), unpacked)
            _read_pam50(unpacked, "")  # whole, and on its lattice
            place = refused if _differing(unpacked) else target
            if not place.is_dir():  # another process may have been faster
                shutil.move(unpacked, place)
    if not target.is_dir():
        remedy = f"to use it all the same: --template-dir {refused}"
        raise CoSpineError(f"release {PAM50_RELEASE} differs from what CoSpine was tested with; {remedy}", str(refused), remedy)


def _unpack(archive: Path, folder: Path) -> None:
    """Write the files of the archive's template folder that are used, whatever folder they lie in."""
    wanted = {f"PAM50_{name}.nii.gz" for name in (*_SHA256, *(c.lower() for c in CONTRASTS))}
    folder.mkdir()
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.namelist():
            name = PurePosixPath(member).name  # never the path that the archive asks for
            if name in wanted and PurePosixPath(member).parent.name == "template":
                (folder / name).write_bytes(bundle.read(member))
