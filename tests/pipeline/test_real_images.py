"""Real series that others acquired, start to end."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cospine.cli.main import main

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def run(shared: Path, name: str, out: Path) -> Path:
    assert main(["run", str(shared / "data" / name), str(out), "participant"]) == 0
    return out


def median_tsnr(out: Path, prefix: str, mask: str) -> tuple[float, float]:
    folder = next(out.glob("sub-*/func"))
    inside = nib.load(folder / f"{prefix}_{mask}.nii.gz").get_fdata() > 0
    raw, corrected = (
        float(np.median(nib.load(folder / f"{prefix}_desc-{kind}_stat-tsnr_boldmap.nii.gz").get_fdata()[inside]))
        for kind in ("raw", "preproc")
    )
    return raw, corrected


def test_a_cord_series(shared: Path, tmp_path: Path) -> None:
    """Cervical cord only, thick slices, no slice times: cord found, tSNR raised, raw tSNR as SCT has it."""
    out = run(shared, "cord-bold", tmp_path)
    before, after = median_tsnr(out, "sub-01_task-rest", "label-SC_mask")
    assert after > 1.05 * before
    assert not (out / "sub-01/func/sub-01_task-rest_desc-headmotion_timeseries.tsv").exists()
    ours = nib.load(out / "sub-01/func/sub-01_task-rest_desc-raw_stat-tsnr_boldmap.nii.gz").get_fdata()
    theirs = np.nan_to_num(nib.load(shared / "data/peer/sct_cord-bold_tsnr.nii.gz").get_fdata())
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_head_without_a_neck(shared: Path, tmp_path: Path) -> None:
    """The BOLD ends at the cerebellum: the brain is corrected, and the report says why there is no cord."""
    out = run(shared, "head-neck", tmp_path)
    before, after = median_tsnr(out, "sub-01_task-fa", "desc-brain_mask")
    assert after > before
    assert "No cord was processed" in (out / "sub-01.html").read_text()


def test_a_brain_series_whose_header_lies_about_tr(shared: Path, tmp_path: Path) -> None:
    out = run(shared, "brain-task", tmp_path)
    before, after = median_tsnr(out, "sub-02_task-oneback_run-1", "desc-brain_mask")
    assert after > before
    assert "1.79355" in (out / "sub-02.html").read_text()
