"""A catalogue of a small dataset and its derivatives."""

from collections.abc import Iterator
from pathlib import Path

import catalogue_data
import pytest

from cospine.database import Catalogue, open_catalogue
from cospine.database.build import build, find_sources


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `raw`, `out` and their `catalogue`."""
    folder = tmp_path_factory.mktemp("made")
    raw = catalogue_data.raw_dataset(folder / "raw")
    out = catalogue_data.derivatives(folder / "out", raw)
    sources, errors = find_sources([out, raw])
    assert errors == []
    assert build(sources, folder / "catalogue").problems == ()
    return folder


@pytest.fixture
def catalogue(made: Path) -> Iterator[Catalogue]:
    """It, open."""
    with open_catalogue(made / "catalogue") as found:
        yield found
