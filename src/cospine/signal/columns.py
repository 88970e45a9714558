"""Nuisance columns that differ from slice to slice."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError


@dataclass(frozen=True, eq=False)
class SliceColumns:
    """Named time courses of every slice.

    Parameters
    ----------
    names : tuple of str
    columns : ndarray (t, slices, n), float64
        0 throughout where a slice has no such column; regression leaves it out there.
    descriptions : dict of str to str
        What each is, with its unit.
    """

    names: tuple[str, ...]
    columns: NDArray[np.float64] = field(repr=False)
    descriptions: dict[str, str] = field(repr=False)

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Self:
        """No columns, for (volumes, slices)."""
        return cls((), np.zeros((*shape[:2], 0)), {})

    @property
    def count(self) -> NDArray[np.int64]:
        """How many columns each slice (slices,) has."""
        return np.count_nonzero(np.any(self.columns != 0, axis=0), axis=1)

    def joined(self, other: "SliceColumns") -> "SliceColumns":
        """These and others of the same run.

        Raises
        ------
        CoSpineError
            Volumes or slices differ, or a name is there twice.
        """
        if self.columns.shape[:2] != other.columns.shape[:2] or set(self.names) & set(other.names):
            raise CoSpineError(
                f"columns {self.names} of {self.columns.shape[:2]} and {other.names} of {other.columns.shape[:2]} volumes and "
                "slices do not go together",
                "slice-wise columns",
                "Join columns of one run, each name once",
            )
        return SliceColumns(
            (*self.names, *other.names),
            np.concatenate([self.columns, other.columns], axis=2),
            {**self.descriptions, **other.descriptions},
        )

    def chosen(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Some of the columns (t, slices, names)."""
        return self.columns[..., [self.names.index(name) for name in names]]
