"""Tables of the dataset as a whole."""

from pathlib import Path

import pytest

from cospine.bids import read_json, read_tsv
from cospine.convert.tables import natural, person, write_description, write_participants, write_scans
from cospine.errors import CoSpineError


def test_participants_are_added_in_order_and_none_is_touched(tmp_path: Path) -> None:
    table, staged = tmp_path / "participants.tsv", tmp_path / "new.tsv"
    table.write_bytes(b"participant_id\tage\tsex\tcomments\r\nsub-10\t21\tF\tleft early\r\nsub-2\tN/A\tM\t\r\n")
    assert write_participants(table, staged, "sub-3", {"age": "30", "sex": "F"})
    assert read_tsv(staged) == {
        "participant_id": ["sub-2", "sub-3", "sub-10"],
        "age": ["n/a", "30", "21"],
        "sex": ["M", "F", "F"],
        "comments": ["n/a", "n/a", "left early"],
    }
    assert not write_participants(staged, table, "sub-10", {"age": "99", "sex": "M"})


def test_a_new_table_is_described(tmp_path: Path) -> None:
    assert write_participants(tmp_path / "none.tsv", tmp_path / "participants.tsv", "sub-01", {"age": "30", "sex": "n/a"})
    assert (tmp_path / "participants.tsv").read_text() == "participant_id\tage\tsex\nsub-01\t30\tn/a\n"
    assert read_json(tmp_path / "participants.json")["age"]["Units"] == "year"


def test_a_description_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "participants.json").write_text("{}")
    staged = tmp_path / "staged"
    staged.mkdir()
    assert write_participants(tmp_path / "participants.tsv", staged / "participants.tsv", "sub-01", {"age": "30"})
    assert [one.name for one in staged.iterdir()] == ["participants.tsv"]


def test_a_broken_table_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("id\tage\n1\t2\n")
    with pytest.raises(CoSpineError, match="no column participant_id"):
        write_participants(tmp_path / "participants.tsv", tmp_path / "new.tsv", "sub-01", {})


@pytest.mark.parametrize(
    ("age", "sex", "kept"),
    [("031Y", "M", ("31", "M")), ("095Y", "f", ("89", "F")), ("006M", "", ("n/a", "n/a")), ("", "X", ("n/a", "n/a"))],
)
def test_age_and_sex(age: str, sex: str, kept: tuple[str, str]) -> None:
    assert tuple(person({"PatientAge": age, "PatientSex": sex}).values()) == kept


def test_natural_order() -> None:
    assert sorted(["sub-10", "sub-2", "sub-A1", "sub-02"], key=natural) == ["sub-2", "sub-02", "sub-10", "sub-A1"]


def test_scans_tell_the_time_but_not_the_day(tmp_path: Path) -> None:
    write_scans(tmp_path / "sub-01_scans.tsv", [("func/a_bold.nii.gz", 43745.225), ("func/b_bold.nii.gz", None)])
    assert read_tsv(tmp_path / "sub-01_scans.tsv")["acq_time"] == ["1900-01-01T12:09:05.225000", "n/a"]


def test_a_description_that_is_there_stays(tmp_path: Path) -> None:
    root, staged = tmp_path / "root", tmp_path / "staged"
    root.mkdir()
    write_description(root, staged, {"Name": "Ours", "Authors": ["A"]}, "v1")
    made = read_json(staged / "dataset_description.json")
    assert (made["Name"], made["Authors"], made["DatasetType"]) == ("Ours", ["A"], "raw")
    assert [one["Name"] for one in made["GeneratedBy"]] == ["CoSpine", "dcm2niix"]
    (root / "dataset_description.json").write_text("{}")
    (root / "README").write_text("ours")
    write_description(root, tmp_path / "again", {}, "v1")
    assert not (tmp_path / "again").exists()
