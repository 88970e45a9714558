"""The Spinal Cord Toolbox as a process of its own: what is passed, what comes back, what is said when it fails."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.pipeline.sct import segment_with_sct
from cospine.space.grid import Grid

GRID = Grid((6, 5, 4), np.array([[-1.5, 0, 0, 9], [0, 1.5, 0.2, -3], [0, -0.2, 4, 7], [0, 0, 0, 1.0]]))


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Put a stand-in for sct_deepseg on PATH: it gets the arguments, `source` and `target` are the files they name."""
    script = folder / "sct_deepseg"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {folder}/calls\n'
        'while [ $# -gt 0 ]; do case "$1" in -i) source="$2";; -o) target="$2";; esac; shift; done\n' + body
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_mask_comes_back_on_the_same_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    mask[2:4, 2, :] = 1
    nib.save(nib.Nifti1Image(mask, GRID.affine), tmp_path / "answer.nii.gz")
    program(tmp_path, monkeypatch, f'cp "$source" {tmp_path}/seen.nii.gz; cp {tmp_path}/answer.nii.gz "$target"\n')
    image = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)

    np.testing.assert_array_equal(segment_with_sct(image, GRID), mask > 0)

    seen = nib.load(tmp_path / "seen.nii.gz")
    np.testing.assert_allclose(seen.get_fdata(), image, atol=1e-6)
    np.testing.assert_allclose(seen.affine, GRID.affine, atol=1e-5)


def test_the_older_name_of_the_model_is_tried_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nib.save(nib.Nifti1Image(np.ones(GRID.shape, dtype=np.uint8), GRID.affine), tmp_path / "answer.nii.gz")
    program(
        tmp_path, monkeypatch, f'[ $(wc -l < {tmp_path}/calls) -lt 2 ] && exit 2\ncp {tmp_path}/answer.nii.gz "$target"\n'
    )  # fmt: skip
    assert segment_with_sct(np.zeros(GRID.shape), GRID).all()
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first.startswith("spinalcord -i ")
    assert second.startswith("-task seg_sc_contrast_agnostic -i ")


def test_its_last_words_are_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, 'echo "model is not installed" >&2; exit 3\n')
    with pytest.raises(CoSpineError, match=r"status 3.*model is not installed"):
        segment_with_sct(np.zeros(GRID.shape), GRID)


def test_another_grid_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nib.save(nib.Nifti1Image(np.ones((6, 5, 5), dtype=np.uint8), GRID.affine), tmp_path / "answer.nii.gz")
    program(tmp_path, monkeypatch, f'cp {tmp_path}/answer.nii.gz "$target"\n')
    with pytest.raises(CoSpineError, match="another grid"):
        segment_with_sct(np.zeros(GRID.shape), GRID)


def test_absent_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CoSpineError, match="not on PATH"):
        segment_with_sct(np.zeros(GRID.shape), GRID)
