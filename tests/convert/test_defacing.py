"""Faces in a conversion: taken out of the T1w and of what else was acquired with it, every other voxel as the scanner gave it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from scanner import rules, write_series

from cospine.bids import read_json
from cospine.cli.main import main
from tests.anatomy.heads import SPACING_MM, make_head


def test_faces_go_and_all_else_stays(tmp_path: Path) -> None:
    head = make_head("LAS")
    spacing = (SPACING_MM,) * 3
    t1w = np.rint(head.image).astype(np.uint16) + 1
    flair = t1w[::-1] + 5
    source = tmp_path / "source"
    write_series(source, 1, "t1", t1w, spacing=spacing, ScanningSequence="GR")
    write_series(source, 2, "flair", flair, spacing=spacing, ScanningSequence="SE")
    mapping = tmp_path / "m.yaml"
    series = [
        {"match": {"SeriesDescription": name.lower()}, "to": f"anat/{to}"} for name, to in (("t1", "T1w"), ("flair", "FLAIR"))
    ]
    mapping.write_text(yaml.safe_dump({"series": series}))
    flags = [str(source), str(tmp_path / "bids"), "-p", "01", "-m", str(mapping)]
    assert main(["convert", *flags]) == 0
    masks = []
    for suffix, given in (("T1w", t1w), ("FLAIR", flair)):
        stem = tmp_path / f"bids/sub-01/anat/sub-01_{suffix}"
        made = np.asarray(nib.load(f"{stem}.nii.gz").dataobj)
        masks.append(made == 0)  # nothing the scanner gave is 0
        assert np.array_equal(made[~masks[-1]], given[~masks[-1]])
        assert read_json(Path(f"{stem}.json"))["Defaced"] is True
    assert np.array_equal(masks[0], masks[1])
    assert not (masks[0] & head.brain).any()
    assert 0.05 < masks[0].mean() < 0.3


def test_without_a_t1w_nothing_goes_out_with_a_face(tmp_path: Path, capsys) -> None:
    write_series(tmp_path / "source", 1, "bold t2", np.ones((32, 32, 32), np.uint16), spacing=(4.0, 4.0, 4.0))
    mapping = tmp_path / "m.yaml"
    mapping.write_text(yaml.safe_dump(rules(to="anat/T2w", entities={})))
    flags = [str(tmp_path / "source"), str(tmp_path / "bids"), "-p", "01", "-m", str(mapping)]
    assert main(["convert", *flags]) == 1
    assert "there is none in this session" in capsys.readouterr().err
    assert not (tmp_path / "bids").exists()
    assert main(["convert", *flags, "--no-deface"]) == 0
