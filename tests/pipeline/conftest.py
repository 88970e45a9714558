"""A small digital participant, made once and processed once for all tests of the pipeline."""

from pathlib import Path

import pytest

from cospine.cli.main import main
from cospine.phantom.simulate import simulate

FULL = ("--pnm-orders", "2", "2", "0", "0", "--clean", "--export", "fsl")
"""Everything that level full can write; orders that leave degrees of freedom in 40 volumes."""


@pytest.fixture(scope="session")
def digital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its dataset, with the truth in `sourcedata/truth`."""
    folder = tmp_path_factory.mktemp("digital") / "bids"
    simulate(folder, participants=1, seed=5, protocol="small", volumes=40)
    return folder


@pytest.fixture(scope="session")
def full_flags() -> tuple[str, ...]:
    """With which `digital_done` was made."""
    return FULL


@pytest.fixture(scope="session")
def digital_done(digital: Path) -> Path:
    """Its derivatives, as the command line makes them at level full."""
    out = digital.parent / "derivatives"
    assert main(["run", str(digital), str(out), "participant", *FULL]) == 0
    return out
