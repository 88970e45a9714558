"""Cord segmentation by the Spinal Cord Toolbox, where the user has it: a process of its own that files pass to and from."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from cospine.bids import load_image
from cospine.bids.write import write_nifti
from cospine.errors import CoSpineError
from cospine.space.grid import Grid

PROGRAM = "sct_deepseg"
MODELS = (("spinalcord",), ("-task", "seg_sc_contrast_agnostic"))  # SCT 7, SCT 6
_LAST_WORDS = 400  # characters of its output that an error repeats


def segment_with_sct(image: NDArray, grid: Grid) -> NDArray[np.bool_]:
    """Cord mask of `sct_deepseg spinalcord` (SCT 7), or of the contrast-agnostic model as SCT 6 calls it.

    Parameters
    ----------
    image : ndarray (x, y, z)
        Any contrast.
    grid : Grid
        Its grid.

    Returns
    -------
    ndarray (x, y, z), bool

    Raises
    ------
    CoSpineError
        When the program is not there, fails, or answers on another grid.
    """
    check_sct()
    with TemporaryDirectory(prefix="cospine-sct-") as folder:
        source, target = Path(folder) / "image.nii.gz", Path(folder) / "cord.nii.gz"
        write_nifti(source, np.asarray(image, dtype=np.float32), grid.affine)
        for model in MODELS:
            done = subprocess.run(
                [PROGRAM, *model, "-i", str(source), "-o", str(target)], capture_output=True, text=True, check=False, cwd=folder
            )
            if done.returncode == 0 and target.is_file():
                break
        if done.returncode != 0 or not target.is_file():
            said = (done.stderr or done.stdout)[-_LAST_WORDS:].strip()
            raise CoSpineError(
                f"{PROGRAM} ended with status {done.returncode} and {'a' if target.is_file() else 'no'} mask: {said}",
                "--cord-seg sct",
                "run it by hand on the image, or leave --cord-seg at network",
            )
        mask, affine = load_image(target)
    if not Grid(mask.shape, affine).matches(grid):
        raise CoSpineError(
            f"{PROGRAM} answered on another grid",
            "--cord-seg sct",
            "leave --cord-seg at network, or give its mask by --cord-mask",
        )
    return mask > 0.5


def check_sct() -> None:
    """Refuse where the program is not on PATH.

    Raises
    ------
    CoSpineError
        Then.
    """
    if shutil.which(PROGRAM) is None:
        raise CoSpineError(
            f"{PROGRAM} is not on PATH", "--cord-seg sct", "install the Spinal Cord Toolbox, or leave --cord-seg at network"
        )
