"""What is known of a dataset's files: on this disk, or only by a line in manifest.tsv or a link into git-annex."""

from dataclasses import dataclass
from typing import Literal

from cospine.bids.absent import MANIFEST, annex_key
from cospine.bids.index import Entry, Index

State = Literal["here", "listed", "link", "absent"]


@dataclass(frozen=True)
class Known:
    """What is known of one file.

    Parameters
    ----------
    state : {'here', 'listed', 'link', 'absent'}
        On this disk; a line in the manifest; a link whose content is not here; its sidecar alone.
    size_bytes : int or None
        Of its content.
    annex_key : str or None
        Of git-annex.
    """

    state: State
    size_bytes: int | None = None
    annex_key: str | None = None


def known(index: Index, entry: Entry) -> Known:
    """What is known of a file of the index."""
    path = index.root / entry.relative
    content = index.absent.get(entry.relative)
    if content is not None:
        # a link, or a short file that stands in its place
        state: State = "link" if path.is_symlink() or path.exists() else "listed"
        return Known(state, content.size_bytes, content.key or None)
    try:
        return Known("here", path.stat().st_size, annex_key(path) or None)
    except OSError:  # named by its sidecar alone, a loop of links, a folder that cannot be entered
        return Known("absent")


def problems_of(index: Index) -> list[tuple[str, str]]:
    """Lines and folders that could not be read, each with the reason."""
    folders = [(folder, f"cannot be listed: {why}") for pairs in index.unreadable.values() for folder, why in pairs]
    return folders + [(MANIFEST, reason) for reason in index.manifest]
