"""dcm2niix called, and what it makes looked through."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scanner import NAME, NUMBER, noise, rules, write_series

from cospine.convert import images
from cospine.convert.images import convert_item, find_converter
from cospine.convert.mapping import parse_mapping
from cospine.convert.plan import Item, make_plan
from cospine.convert.series import read_series
from cospine.errors import CoSpineError

pytest.importorskip("dcm2niix")


def items(folder: Path, mapping: dict | None = None) -> list[Item]:
    series, errors = read_series(sorted(folder.iterdir()))
    assert not errors
    plan, errors = make_plan(series, parse_mapping(mapping or rules(), "test"), "01", None)
    assert not errors
    return list(plan.items)


def test_every_voxel_arrives_where_it_was(tmp_path: Path) -> None:
    data = noise((10, 12, 5, 3))
    write_series(tmp_path / "d", 1, "bold", data, spacing=(2.0, 2.0, 4.0))
    (one,) = convert_item(items(tmp_path / "d")[0], find_converter(), tmp_path / "w")
    image = nib.load(one.nifti)
    assert one.shape == data.shape
    assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
    assert np.allclose(np.abs(image.header.get_zooms()), (2, 2, 4, 2))
    assert np.array_equal(np.asarray(image.dataobj), data)
    assert one.sidecar["RepetitionTime"] == 2.0


def test_nobody_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "d", 1, "bold", noise((8, 8, 4, 2)), ImageComments=f"scan of {NAME}", PatientComments=NUMBER)
    (one,) = convert_item(items(tmp_path / "d")[0], find_converter(), tmp_path / "w")
    for path in (one.nifti, one.nifti.with_suffix(".json")):
        content = path.read_bytes()
        assert b"Doe" not in content
        assert NUMBER.encode() not in content
        assert b"20260131" not in content
        assert b"1999" not in content


def test_a_defaults_file_in_the_home_folder_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "d", 1, "bold", noise((8, 8, 4, 2)))
    item = items(tmp_path / "d")[0]
    (plain,) = convert_item(item, find_converter(), tmp_path / "w1")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".dcm2nii.ini").write_text("isGZ=1\nisFlipY=0\nisCreateBIDS=0\nfilename=%n_%i\n")
    monkeypatch.setenv("HOME", str(home))
    (again,) = convert_item(item, find_converter(), tmp_path / "w2")
    assert again.nifti.read_bytes() == plain.nifti.read_bytes()
    assert again.sidecar == plain.sidecar


def test_echoes_go_to_their_names(tmp_path: Path) -> None:
    first, second = noise((8, 8, 3), 1), noise((8, 8, 3), 2)
    # the later echo is written first
    write_series(tmp_path / "d", 1, "gre", second, echo_ms=7.38)
    write_series(tmp_path / "d", 1, "gre", first, echo_ms=4.92, first_instance=9)
    mapping = {"series": [{"match": {"SeriesDescription": "gre"}, "to": "fmap/magnitude{echo}"}]}
    made = convert_item(items(tmp_path / "d", mapping)[0], find_converter(), tmp_path / "w")
    assert [one.target.suffix for one in made] == ["magnitude1", "magnitude2"]
    assert [one.sidecar["EchoTime"] for one in made] == [0.00492, 0.00738]
    assert np.array_equal(np.asarray(nib.load(made[0].nifti).dataobj), first)
    assert np.array_equal(np.asarray(nib.load(made[1].nifti).dataobj), second)


def test_a_missing_file_is_not_passed_over(tmp_path: Path) -> None:
    files = write_series(tmp_path / "d", 1, "bold", noise((8, 8, 4, 3)))
    files[6].unlink()
    with pytest.raises(CoSpineError, match=r"series 1 bold \(11 files\)"):
        convert_item(items(tmp_path / "d")[0], find_converter(), tmp_path / "w")


def test_without_dcm2niix_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(_: str) -> None:
        raise ImportError

    monkeypatch.setattr(images.importlib, "import_module", absent)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CoSpineError, match=r"dcm2niix is not installed. Pip install cospine\[convert\]"):
        find_converter()
