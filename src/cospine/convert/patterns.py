"""Patterns on DICOM attributes: shell-like by default, regular expressions between slashes."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """One test of one attribute.

    Parameters
    ----------
    text : str
        As written: `*bold*`; `a*|b*` for either; `!x` for not; `/regular expression/`, whose named groups can be used in
        names. Case does not count; the whole value must fit (a regular expression may fit anywhere).
    """

    text: str

    def __post_init__(self) -> None:
        self._compiled()

    def fits(self, values: tuple[str, ...]) -> Mapping[str, str] | None:
        """Named groups (often none) where any of the values fits, None where none does; for `!x` the other way round."""
        negated, compiled = self._compiled()
        found = next((match for value in values for one in compiled if (match := one.search(value))), None)
        if negated:
            return {} if found is None else None
        if found is None:
            return None
        return {key: value for key, value in found.groupdict().items() if value is not None}

    def _compiled(self) -> tuple[bool, list[re.Pattern[str]]]:
        """Whether negated, and the alternatives; raises `re.error` for what is no regular expression."""
        text = self.text.removeprefix("!")
        negated = text != self.text
        if len(text) > 2 and text.startswith("/") and text.endswith("/"):
            return negated, [re.compile(text[1:-1], re.IGNORECASE)]
        return negated, [re.compile(r"\A" + fnmatch.translate(one.strip()), re.IGNORECASE) for one in text.split("|")]


def match_all(tests: Mapping[str, tuple[Pattern, ...]], header: Mapping[str, str | tuple[str, ...]]) -> dict[str, str] | None:
    """Named groups where every pattern of every attribute fits, None otherwise. An absent attribute is an empty text."""
    groups: dict[str, str] = {}
    for keyword, patterns in tests.items():
        value = header.get(keyword, "")
        values = (value,) if isinstance(value, str) else value
        for pattern in patterns:
            found = pattern.fits(values)
            if found is None:
                return None
            groups.update(found)
    return groups
