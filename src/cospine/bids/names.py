"""BIDS file names taken apart and put together.

A name is `key-value` entities, a suffix and an extension: `sub-01_task-pain_run-1_bold.nii.gz`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Order of the BIDS 1.11 schema; `from`, `to`, `mode`, `fmapid`, `stat` and `contrast` are not in it yet and stand
# where the names already in use (fMRIPrep, Nilearn) have them.
ENTITIES = (
    "sub", "tpl", "cohort", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk",
    "from", "to", "mode", "fmapid", "atlas", "seg", "scale", "res", "den", "label", "contrast", "desc", "stat",
)  # fmt: skip
_RANK = {key: rank for rank, key in enumerate(ENTITIES)}
_ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)")
_SUFFIX = re.compile(r"[a-zA-Z0-9]+")


@dataclass(frozen=True)
class Name:
    """The parts of one BIDS file name.

    Parameters
    ----------
    entities : mapping of str to str
        In the order of the name.
    suffix : str
        The last part, as `bold`.
    extension : str
        With its leading dot, as `.nii.gz`; empty for none.
    """

    entities: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    extension: str = ""


def parse_name(name: str) -> Name | None:
    """Take a file name apart.

    Parameters
    ----------
    name : str
        File name without its folder.

    Returns
    -------
    Name or None
        None for a stranger: a part that is not `key-value`, a key given twice, no suffix.
    """
    stem, dot, extension = name.partition(".")
    *parts, suffix = stem.split("_")
    if not _SUFFIX.fullmatch(suffix):
        return None
    entities: dict[str, str] = {}
    for part in parts:
        match = _ENTITY.fullmatch(part)
        if match is None or match[1] in entities:
            return None
        entities[match[1]] = match[2]
    return Name(entities, suffix, dot + extension)


def build_name(entities: Mapping[str, str | int | None], suffix: str, extension: str) -> str:
    """Put a file name together, its entities in the order of BIDS.

    Parameters
    ----------
    entities : mapping of str to str, int or None
        A value of None leaves its key out. A trailing `_` of a key is dropped, so that `from_` can be a keyword.
    suffix : str
        As `bold`.
    extension : str
        As `.nii.gz`.

    Returns
    -------
    str
        The file name.

    Raises
    ------
    ValueError
        For a key that BIDS and this project do not know, or a value, suffix or extension with forbidden characters.
    """
    known = {key.rstrip("_"): str(value) for key, value in entities.items() if value is not None}
    for key, value in known.items():
        if key not in _RANK:
            raise ValueError(f"unknown BIDS entity {key!r}")
        if not _ENTITY.fullmatch(f"{key}-{value}"):
            raise ValueError(f"{key}-{value}: a BIDS value holds letters and digits only")
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"{suffix!r}: a BIDS suffix holds letters and digits only")
    if extension and not re.fullmatch(r"(\.[a-zA-Z0-9]+)+", extension):
        raise ValueError(f"{extension!r} is not a file extension")
    parts = [f"{key}-{known[key]}" for key in sorted(known, key=_RANK.__getitem__)]
    return "_".join([*parts, suffix]) + extension


def sidecar_of(path: Path) -> Path:
    """Where the sidecar of a file lies: beside it, `.json` in place of its extension."""
    return path.with_name(path.name.partition(".")[0] + ".json")
