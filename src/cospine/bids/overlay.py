"""Metadata mended beside a dataset that is never changed: sidecars and names that stand in place of the dataset's own.

`cospine check --apply OUTPUT_DIR` writes them to `OUTPUT_DIR/sourcedata/overlay`; whoever reads the dataset with them sees the
mended files under their mended names, and the images where they always were.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cospine.bids.tables import read_json
from cospine.errors import CoSpineError

FOLDER = "sourcedata/overlay"
PLAN = "overlay.json"
_AGAIN = "Run cospine check --apply again, or remove the folder."


@dataclass(frozen=True)
class Overlay:
    """Metadata that stand in place of a dataset's.

    Parameters
    ----------
    folder : Path
        Where they lie.
    files : mapping of str to Path
        Mended sidecars and tables, by the name they stand for, relative to the dataset's root.
    renames : mapping of str to str
        New name to the dataset's own.
    """

    folder: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)


def digest(content: bytes) -> str:
    """What tells whether a file of the dataset is still the one that was mended."""
    return hashlib.sha256(content).hexdigest()


def read_overlay(output_dir: Path, root: Path) -> Overlay | None:
    """Read the overlay of a dataset from a folder of derivatives; None where there is none.

    Raises
    ------
    CoSpineError
        When it cannot be read, or was made for files that have changed since.
    """
    folder = output_dir / FOLDER
    path = folder / PLAN
    if not path.is_file():
        return None
    try:
        plan = read_json(path)
    except (OSError, ValueError) as error:
        raise CoSpineError(f"cannot be read ({error})", str(path), _AGAIN) from error
    made_from, renames, files = (_strings(plan.get(key)) for key in ("MadeFrom", "Renames", "Files"))
    if made_from is None or renames is None or files is None:
        raise CoSpineError("is no plan of an overlay", str(path), _AGAIN)
    changed = [name for name, known in made_from.items() if _digest_of(root / name) != known]
    if changed:
        raise CoSpineError(f"was made for {', '.join(changed)}, which changed since or is gone", str(path), _AGAIN)
    here = {name: folder / stored for name, stored in files.items()}
    gone = [name for name, stored in here.items() if not stored.is_file()]
    if gone:
        raise CoSpineError(f"names {', '.join(gone)}, which is not there", str(path), _AGAIN)
    return Overlay(folder, here, renames)


def _digest_of(path: Path) -> str:
    try:
        return digest(path.read_bytes())
    except OSError:
        return ""


def _strings(value: Any) -> dict[str, str] | None:
    """A JSON object of strings whose keys and values are paths inside; None for anything else."""
    if not isinstance(value, dict):
        return None
    words = [*value, *value.values()]
    if not all(isinstance(word, str) and not word.startswith("/") and ".." not in word.split("/") for word in words):
        return None
    return {str(key): str(word) for key, word in value.items()}
