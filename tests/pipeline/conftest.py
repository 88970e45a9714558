"""A small digital participant, made once and processed once for all tests of the pipeline, whatever process they run in."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cospine.cli.main import main
from cospine.phantom.simulate import simulate

FULL = ("--pnm-orders", "2", "2", "0", "0", "--clean", "--export", "fsl")
"""Everything that level full can write; orders that leave degrees of freedom in 40 volumes."""


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Folder that the processes of one test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "digital"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def first_come(folder: Path, what: str) -> Iterator[bool]:
    """Whether this process is the first to ask for something; others wait until it is done."""
    with (folder / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / f"{what}.done"
        yield not done.exists()
        done.touch()


@pytest.fixture(scope="session")
def digital(common: Path) -> Path:
    """Its dataset, with the truth in `sourcedata/truth`."""
    with first_come(common, "bids") as first:
        if first:
            simulate(common / "bids", participants=1, seed=5, protocol="small", volumes=40)
    return common / "bids"


@pytest.fixture(scope="session")
def digital_done(common: Path, digital: Path) -> Path:
    """Its derivatives, as the command line makes them at level full from a copy that has no truth."""
    out, blind = common / "derivatives", common / "blind"
    with first_come(common, "derivatives") as first:
        if first:
            shutil.copytree(digital, blind, ignore=shutil.ignore_patterns("sourcedata"))
            assert main(["run", str(blind), str(out), "participant", *FULL]) == 0
    return out
