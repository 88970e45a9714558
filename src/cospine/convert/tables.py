"""The tables and texts of the dataset as a whole: participants, scans, description, README."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cospine import __version__
from cospine.bids import read_tsv, write_json, write_text, write_tsv
from cospine.convert.sidecars import clock_text
from cospine.errors import CoSpineError

BIDS_VERSION = "1.11.0"
_OLDEST = 89  # older people could be told apart by their age
_DAY_ONE = "1900-01-01"  # BIDS: dates before 1925 are no real ones

_COLUMNS: dict[str, Any] = {
    "age": {"Description": f"Age at the scan; {_OLDEST} for all who are older", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"M": "male", "F": "female", "O": "other"}},
}


def person(header: Mapping[str, str | tuple[str, ...]]) -> dict[str, str]:
    """Age and sex as a header gives them, `n/a` for none."""
    age, sex = str(header.get("PatientAge", "")), str(header.get("PatientSex", "")).upper()
    years = re.fullmatch(r"0*(\d{1,3})Y", age)
    return {
        "age": str(min(int(years[1]), _OLDEST)) if years else "n/a",
        "sex": sex if sex in ("M", "F", "O") else "n/a",
    }


def write_participants(existing: Path, staged: Path, participant: str, about: Mapping[str, str]) -> bool:
    """Add a participant to the table, sorted; rows that are there are not touched.

    Parameters
    ----------
    existing : Path
        `participants.tsv` of the dataset, which may not be there.
    staged : Path
        Where the new one is written.
    participant : str
        As `sub-01`.
    about : mapping
        `age`, `sex`.

    Returns
    -------
    bool
        Whether there was anything to change.
    """
    if existing.is_file():
        try:
            columns = read_tsv(existing)
        except (OSError, ValueError) as error:
            raise CoSpineError(f"cannot be read ({error})", str(existing), "Mend it, or move it away") from error
        if "participant_id" not in columns:
            raise CoSpineError("has no column participant_id", str(existing), "Mend it, or move it away")
    else:
        columns = {"participant_id": [], "age": [], "sex": []}
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if not any(row["participant_id"] == participant for row in rows):
        rows.append({name: about.get(name, "n/a") for name in columns} | {"participant_id": participant})
    ordered = sorted(rows, key=lambda row: natural(row["participant_id"]))
    before = list(zip(*columns.values(), strict=True))
    if existing.is_file() and before == [tuple(row[name] for name in columns) for row in ordered]:
        return False
    table = {name: [row[name] for row in ordered] for name in columns}
    described = existing.is_file() or existing.with_suffix(".json").exists()
    write_tsv(staged, table, None if described else _COLUMNS)
    return True


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Key for sorting in which sub-2 goes before sub-10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)


def write_scans(path: Path, images: Sequence[tuple[str, float | None]]) -> None:
    """`scans.tsv`: each image with the time of day of its acquisition, on an invented day."""
    times = [None if at is None else f"{_DAY_ONE}T{clock_text(at)}" for _, at in images]
    about = {
        "filename": "Image, relative to this table",
        "acq_time": {"Description": f"Start of the acquisition; the time of day is true, the date ({_DAY_ONE}) is not"},
    }
    write_tsv(path, {"filename": [name for name, _ in images], "acq_time": times}, about)


def write_description(root: Path, staged: Path, extra: Mapping[str, Any], converter_version: str) -> None:
    """dataset_description.json and README, where there are none."""
    if not (root / "dataset_description.json").exists():
        content: dict[str, Any] = {"Name": root.resolve().name, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"}
        content |= extra
        content["GeneratedBy"] = [
            {"Name": "CoSpine", "Version": __version__, "Description": "cospine convert"},
            {"Name": "dcm2niix", "Version": converter_version},
        ]
        write_json(staged / "dataset_description.json", content)
    if not any(root.glob("README*")):
        name = str(extra.get("Name", root.resolve().name))
        text = f"# {name}\n\nConverted from DICOM by `cospine convert`. Say here what was done, with whom, and why.\n"
        write_text(staged / "README.md", text)
