"""What lies in a scanner's output."""

import tarfile
import zipfile
from pathlib import Path

import pytest
from scanner import noise, write_series

from cospine.convert.sources import find_sources
from cospine.errors import CoSpineError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "export"
    write_series(root / "a" / "b", 1, "bold", noise((8, 8, 2)))
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (root / "scan.puls").write_text("1 2 40 280 5002 LOGVERSION 103 6002 1 2 3 5003")
    (root / "Physio_PULS.log").write_text("UUID = x\nLogDataType = PULS\n")
    (root / "experiment.txt").write_text("*** Header Start ***")
    (root / "psychopy.log").write_text("0.1 EXP start")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "empty.IMA").write_bytes(b"")
    return root


def test_files_are_told_by_what_they_hold(tree: Path, tmp_path: Path) -> None:
    found = find_sources(tree, tmp_path / "unpacked")
    assert len(found.dicom) == 2
    assert [path.name for path in found.recordings] == ["Physio_PULS.log", "scan.puls"]
    assert [path.name for path in found.task_logs] == ["experiment.txt", "psychopy.log"]
    assert [path.name for path in found.strangers] == [".DS_Store", "DICOMDIR", "empty.IMA"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_as_good_as_its_folder(tree: Path, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"export.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in sorted(tree.rglob("*")):
                packed.write(path, path.relative_to(tree))
    else:
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(tree, "export")
    found = find_sources(archive, tmp_path / "unpacked")
    assert [path.read_bytes() for path in found.dicom] == [path.read_bytes() for path in find_sources(tree, tmp_path).dicom]
    assert len(found.recordings) == 2


@pytest.mark.parametrize("name", ["../outside.dcm", "/absolute.dcm"])
def test_an_archive_does_not_write_outside(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed:
        packed.writestr(name, b"x")
    with pytest.raises(CoSpineError, match="leaves its folder"):
        find_sources(tmp_path / "bad.zip", tmp_path / "unpacked")
    assert not (tmp_path / "outside.dcm").exists()


def test_a_damaged_archive_and_no_source_are_said(tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 cut")
    with pytest.raises(CoSpineError, match="cannot be unpacked"):
        find_sources(tmp_path / "cut.zip", tmp_path / "unpacked")
    with pytest.raises(CoSpineError, match="does not exist"):
        find_sources(tmp_path / "nowhere", tmp_path / "unpacked")
