"""DICOM files put together to series."""

import shutil
from pathlib import Path

import pytest
from scanner import STUDY, noise, write_series

from cospine.convert.series import read_series


def test_series_in_the_order_of_acquisition(tmp_path: Path) -> None:
    late = write_series(tmp_path, 2, "bold late", noise((8, 8, 2, 3)), at="10:00:00")
    early = write_series(tmp_path, 9, "bold early", noise((8, 8, 2)), at="09:00:00.5")
    found, errors = read_series([*late, *early])
    assert not errors
    assert [one.text("SeriesDescription") for one in found] == ["bold early", "bold late"]
    assert found[0].start_s == pytest.approx(9 * 3600 + 0.5)
    assert found[1].start_s == 36000.0
    assert [len(one.files) for one in found] == [2, 6]
    assert found[1].date == "20260131"
    assert found[1].number == 2


def test_echoes_and_parts_of_one_series(tmp_path: Path) -> None:
    for n, echo in enumerate((4.92, 7.38)):
        write_series(tmp_path, 5, "gre", noise((8, 8, 2)), echo_ms=echo, first_instance=1 + 2 * n)
    phase = ("ORIGINAL", "PRIMARY", "P", "ND")
    write_series(tmp_path, 5, "gre", noise((8, 8, 2)), echo_ms=7.38, first_instance=9, image_type=phase)
    found, _ = read_series(sorted(tmp_path.iterdir()))
    assert [(one.part, one.echo_times_ms, len(one.files)) for one in found] == [
        ("magnitude", (4.92, 7.38), 4),
        ("phase", (7.38,), 2),
    ]
    assert found[0].uid == found[1].uid == f"{STUDY}.5"


def test_a_file_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    files = write_series(tmp_path, 1, "bold", noise((8, 8, 3)))
    shutil.copy(files[0], tmp_path / "again.dcm")
    found, _ = read_series(sorted(tmp_path.iterdir()))
    assert len(found[0].files) == 3
    assert "1 files are there twice" in found[0].notes[0]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = write_series(tmp_path, 1, "bold", noise((8, 8, 1)))[0]
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole.read_bytes()[:200])
    found, errors = read_series([whole, cut])
    assert len(found) == 1
    assert [error.where for error in errors] == [str(cut)]


def test_reports_are_no_images(tmp_path: Path) -> None:
    structured_report = "1.2.840.10008.5.1.4.1.1.88.22"
    write_series(tmp_path, 1, "report", noise((8, 8, 1)), SOPClassUID=structured_report)
    write_series(tmp_path, 2, "log", noise((8, 8, 1)), image_type=("ORIGINAL", "PRIMARY", "RAWDATA", "PHYSIO"))
    found, _ = read_series(sorted(tmp_path.iterdir()))
    assert [one.kind for one in found] == ["no image", "physio"]
