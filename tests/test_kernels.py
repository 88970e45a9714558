"""What must hold of every compiled kernel: the same bytes from the first run, which compiles it, and from all later ones."""

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

from numba.core.dispatcher import Dispatcher

import cospine


def kernels() -> dict[str, Dispatcher]:
    """Every kernel of the package by its full name."""
    found = {}
    for module in pkgutil.walk_packages(cospine.__path__, "cospine."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Dispatcher) and value.py_func.__module__ == module.name:
                found[f"{module.name}.{name}"] = value
    return found


def test_no_kernel_lets_the_compiler_change_its_arithmetic() -> None:
    """A kernel from the compile cache has passed the optimiser twice; where it may reorder sums it does so twice over."""
    all_kernels = kernels()
    assert len(all_kernels) > 50
    assert [name for name, kernel in all_kernels.items() if kernel.targetoptions.get("fastmath")] == []


def test_a_compiled_kernel_and_one_from_the_cache_give_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import hashlib, numpy as np\n"
        "from cospine.space.bspline import coefficients\n"
        "volume = np.random.default_rng(5).normal(size=(17, 33, 40)).astype(np.float32)\n"
        "print(hashlib.sha256(coefficients(volume).tobytes()).hexdigest())\n"
    )
    cache = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", program], env=cache, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbc"))
    assert first == second
