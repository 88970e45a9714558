"""What must hold of every compiled kernel: the same bytes from the first run, which compiles it, and from all later ones."""

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
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


REDUCTIONS = {"sum", "mean", "prod", "std", "var", "dot"}
COUNTS = {"failed"}  # whole numbers: any order will do


def sums_by_threads(kernel: Dispatcher) -> Iterator[str]:
    """What a parallel kernel adds up one part a thread: reductions of whole arrays, and sums that outlive a turn of a prange."""
    function = ast.parse(textwrap.dedent(inspect.getsource(kernel.py_func))).body[0]
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For) and "prange" in ast.unparse(node.iter)]
    inside = {id(node) for loop in loops for node in ast.walk(loop)}
    for node in ast.walk(function):
        method = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
        if method in REDUCTIONS and id(node) not in inside and "axis=" not in ast.unparse(node):
            yield ast.unparse(node)
    for loop in loops:
        stored = [node for node in ast.walk(loop) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        added = [node.target for node in ast.walk(loop) if isinstance(node, ast.AugAssign)]
        begun = {name.id for name in stored if all(name is not target for target in added)} | COUNTS
        yield from (target.id for target in added if isinstance(target, ast.Name) and target.id not in begun)


def test_no_kernel_sums_by_threads() -> None:
    parallel = {name: kernel for name, kernel in kernels().items() if kernel.targetoptions.get("parallel")}
    assert len(parallel) > 30
    assert [f"{name}: {what}" for name, kernel in parallel.items() for what in sums_by_threads(kernel)] == []


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
