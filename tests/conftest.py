"""What all tests share: seeded Hypothesis, real images that others made, the official validator, and a SLURM cluster.

The images live outside the repository; tests that need them, or the cluster, skip where they are absent.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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


@pytest.fixture
def official_errors(tmp_path: Path) -> Callable[[Path], list[dict[str, object]]]:
    """What the official BIDS validator calls an error in a dataset."""
    program = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("bids-validator-deno is not installed")

    def errors(dataset: Path) -> list[dict[str, object]]:
        environment = {**os.environ, "DENO_DIR": str(tmp_path / "deno"), "DENO_NO_UPDATE_CHECK": "1"}
        command = [program, str(dataset), "--format", "json"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        return [one for one in json.loads(done.stdout)["issues"]["issues"] if one["severity"] == "error"]

    return errors


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """The cluster that ``tests/slurm/start`` makes, and no other, for one module at a time.

    ``COSPINE_SLURM=required`` fails where it is not.
    """
    wanting = _what_slurm_wants()
    if wanting and os.environ.get("COSPINE_SLURM") == "required":
        pytest.fail(wanting)
    if wanting:
        pytest.skip(wanting)
    # two cores are all there is, and tests run in parallel
    with open(Path(tempfile.gettempdir()) / "cospine-slurm-tests.lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _what_slurm_wants() -> str | None:
    if shutil.which("sbatch") is None:
        return "SLURM is not installed; as root, tests/slurm/start installs and starts a cluster of one node"
    command = ["sinfo", "--noheader", "--nodes", "cospine1", "--format", "%T"]
    try:
        state = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20).stdout.strip()
    except subprocess.TimeoutExpired:
        state = "does not answer"
    if state not in ("idle", "mixed", "allocated", "completing"):
        return f"the tests' own SLURM cluster does not run ({state or 'absent'}); as root, tests/slurm/start starts it"
    return None
