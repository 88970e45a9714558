"""Real images that others made live outside the repository; tests that need them skip where they are absent."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the real images: ``COSPINE_SHARED``, else ``shared`` beside the repository."""
    folder = Path(os.environ.get("COSPINE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"the real images are not there: {folder / 'data'}")
    return folder
