"""A stage of the pipeline: what goes in, by which version and parameters, and what comes out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """One stage for one run: the record from which it can be told whether it must be done again.

    Parameters
    ----------
    name : str
        As `head-motion`.
    version : str
        Raised when the same inputs and parameters would give another result.
    inputs : tuple of Path
        Files it reads, those of earlier steps included.
    parameters : mapping
        Values it depends on, as JSON holds them.
    outputs : tuple of Path
        Files it writes.
    """

    name: str
    version: str
    inputs: tuple[Path, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Path, ...] = ()

    def record(self, root: Path, raw: Path) -> dict[str, Any]:
        """As JSON, with paths relative to the derivatives (`root`) or the dataset (`raw`) and a digest of all but the outputs.

        A file outside of both is named by its file name alone. The digest knows names, not contents.
        """

        def named(path: Path) -> str:
            for scheme, folder in (("bids::", root), ("bids:raw:", raw)):
                if path.is_relative_to(folder):
                    return scheme + path.relative_to(folder).as_posix()
            return path.name

        content = {
            "name": self.name,
            "version": self.version,
            "inputs": sorted(named(path) for path in self.inputs),
            "parameters": dict(self.parameters),
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return {**content, "outputs": sorted(named(path) for path in self.outputs), "digest": digest}
