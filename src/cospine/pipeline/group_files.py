"""What the group level writes: maps, tables and what they mean, each under its name in `group/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cospine.bids import Derivatives, build_name
from cospine.bids.atomic import protect
from cospine.bids.names import sidecar_of
from cospine.pipeline.group_inputs import Question


@dataclass
class GroupFiles:
    """Names and writes the files of one execution, and remembers them.

    Parameters
    ----------
    out : Derivatives
    folder : Path
        `group`, or a folder of it.
    """

    out: Derivatives
    folder: Path
    written: dict[str, list[tuple[Path, str]]] = field(default_factory=dict)

    def name(self, question: Question | None, suffix: str, extension: str, **entities: str | None) -> Path:
        """Where a file of a question belongs."""
        named: dict[str, str | int | None] = {}
        if question is not None:
            task, _, acq = question.task.partition("_acq-")
            named = {"task": task, "acq": acq or None, "contrast": question.contrast or None}
        named.update(entities)
        return self.folder / build_name({key: value for key, value in named.items() if value is not None}, suffix, extension)

    def image(self, key: str, path: Path, data: Any, affine: Any, description: str) -> None:
        """Write a map; its sidecar is shared by all maps of a contrast and space."""
        self.out.write_image(path, data, affine)
        self._remember(key, path, description)

    def table(
        self, key: str, path: Path, columns: Mapping[str, Sequence[Any]], about: Mapping[str, Any], description: str
    ) -> None:
        """Write a table, with what its columns are."""
        self.out.write_tsv(path, columns, about)
        self._remember(key, path, description)

    def sidecar(self, key: str, path: Path, content: Mapping[str, Any], description: str) -> None:
        """Write a JSON file."""
        self.out.write_json(path, content)
        self._remember(key, path, description)

    def settle(self) -> None:
        """Make what was written read-only, and remove what an earlier execution left: it would pass for a result of this one."""
        mine = {path for paths in self.written.values() for path, _ in paths}
        mine |= {sidecar_of(path) for path in mine}
        for path in sorted(self.folder.glob("*")):
            if path in mine:
                protect(path)
            elif path.is_file():
                path.unlink()

    def relative(self, path: Path) -> str:
        """The path as the page names it."""
        return path.relative_to(self.out.root).as_posix()

    def listed(self, key: str) -> tuple[tuple[str, str], ...]:
        """Files written under a key, with their descriptions."""
        return tuple((self.relative(path), text) for path, text in self.written.get(key, ()))

    def _remember(self, key: str, path: Path, description: str) -> None:
        self.written.setdefault(key, []).append((path, description))
