"""What all tests share: seeded Hypothesis, and real images that others made.

The images live outside the repository; tests that need them skip where they are absent.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# the same examples on every machine: what passes once passes again; COSPINE_HYPOTHESIS=random goes looking for more
settings.register_profile("seeded", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile(os.environ.get("COSPINE_HYPOTHESIS", "seeded"))
# no test reaches for the network: without PAM50 at hand the built-in cord template is used
os.environ.setdefault("COSPINE_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the real images: ``COSPINE_SHARED``, else ``shared`` beside the repository."""
    folder = Path(os.environ.get("COSPINE_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"the real images are not there: {folder / 'data'}")
    return folder
