"""What the checks look at: a dataset, and every image of it with its sidecar, taken apart once."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cospine.bids import Dataset
from cospine.bids.absent import Absent
from cospine.bids.index import DATATYPES, IMAGE_EXTENSIONS, Entry, Index

MAJORITY = 0.8
"""Share of siblings from which what they agree on is the rule, and others deviate."""
FEWEST = 4
"""Siblings below which nothing is called a rule."""
_SHOWN = 6  # labels listed in a message before the rest is counted


@dataclass(frozen=True, eq=False)
class Picture:
    """One image, here or not, with its sidecar.

    Parameters
    ----------
    participant : str
        As `sub-01`.
    entry : Entry
        Its name.
    sidecar : mapping
        Merged by inheritance; empty where none can be read.
    json : str
        The most specific JSON file, relative to the root; empty for none.
    absent : Absent or None
        What is known of content that is not here.
    """

    participant: str
    entry: Entry
    sidecar: Mapping[str, Any]
    json: str
    absent: Absent | None

    @property
    def relative(self) -> str:
        """Path relative to the root."""
        return self.entry.relative

    @property
    def suffix(self) -> str:
        """As `bold`."""
        return self.entry.name.suffix

    @property
    def about(self) -> str:
        """The file to name when the trouble is in the metadata."""
        return self.json or self.relative

    @property
    def kind(self) -> tuple[Hashable, ...]:
        """What it has in common with the same image of other people and runs."""
        rest = tuple(item for item in self.entry.name.entities.items() if item[0] not in ("sub", "ses", "run"))
        return (self.entry.folder.rpartition("/")[2], rest, self.suffix)

    @property
    def is_epi(self) -> bool:
        """Whether it is an echo-planar image, by name and by what its sidecar says of the sequence."""
        if self.suffix in ("bold", "epi", "sbref"):
            return True
        said = " ".join(str(self.sidecar.get(key, "")) for key in ("ScanningSequence", "PulseSequenceType", "SequenceName"))
        return "EP" in said.upper().replace("_", " ").replace("\\", " ").split() or "EPI" in said.upper()


@dataclass(frozen=True, eq=False)
class Scope:
    """A dataset as the checks see it.

    Parameters
    ----------
    dataset : Dataset
        Read with `absent=True`.
    index : Index
        Its files.
    """

    dataset: Dataset
    index: Index

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """Every image of every person, sorted by path."""
        return tuple(
            self._picture(label, entry)
            for label in self.index.participants
            for datatype in DATATYPES
            for entry in self.index.entries(label, datatype)
            if entry.name.extension in IMAGE_EXTENSIONS and entry.name.entities.get("sub") == label.removeprefix("sub-")
        )

    def _picture(self, label: str, entry: Entry) -> Picture:
        sidecar = self.index.sidecar(entry)
        json = sidecar.files[-1] if sidecar.files else ""
        return Picture(label, entry, sidecar.content, json, self.index.absent.get(entry.relative))

    @cached_property
    def by_kind(self) -> dict[tuple[Hashable, ...], list[Picture]]:
        """Images that are the same in other people and runs."""
        table: dict[tuple[Hashable, ...], list[Picture]] = {}
        for one in self.pictures:
            table.setdefault(one.kind, []).append(one)
        return table

    @property
    def nothing_here(self) -> bool:
        """Whether there are images, and the content of none is here."""
        return bool(self.pictures) and all(one.absent is not None for one in self.pictures)


def rule_of(values: Iterable[Hashable]) -> Hashable | None:
    """What most siblings agree on; None where they are few, or do not agree."""
    counted = Counter(values)
    total = sum(counted.values())
    if total < FEWEST:
        return None
    value, times = counted.most_common(1)[0]
    return value if times >= MAJORITY * total and times < total else None


def frozen(value: Any) -> Hashable:
    """A JSON value that can be compared and counted."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), frozen(inner)) for key, inner in value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(frozen(inner) for inner in value)
    return value


def listed(labels: Iterable[str]) -> str:
    """Some labels, and how many more there are."""
    unique = list(dict.fromkeys(labels))
    more = len(unique) - _SHOWN
    return ", ".join(unique[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
