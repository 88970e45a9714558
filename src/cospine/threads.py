"""How many threads CoSpine computes with: one number, told to every library that has threads of its own.

Results do not depend on it. Kernels sum fixed parts in a fixed order, and a library whose sums go by its threads has the same
number of them on every machine: BLAS one, onnxruntime `FIXED_THREADS`.
"""

import os
import sys

FIXED_THREADS = 8
"""Of onnxruntime, whatever is asked for: it sums convolutions in parts by the number of threads. Where there are fewer processors
the threads share them and sleep while they wait, which was found to cost nothing on two."""

# read by the libraries when they are first imported. Threads of OpenMP that spin while they wait make a busy machine many times
# slower; many small LAPACK calls want one thread each
ALWAYS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_chosen: list[int] = []


def settle_libraries() -> None:
    """Set what must be the same on every machine, whatever the environment says, for libraries that are imported after this."""
    os.environ.update(ALWAYS)


def use_threads(n: int | None = None) -> None:
    """Compute with `n` threads from now on, in this process; by default with one for every processor it may use.

    Parameters
    ----------
    n : int, optional
        1 or more. Where numba was imported before, its kernels keep to the number that it began with at most.
    """
    settle_libraries()
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(1, user_api="blas")
    _chosen[:] = [processors() if n is None else max(n, 1)]
    if "numba" in sys.modules:
        from numba import set_num_threads
        from numba.core import config

        set_num_threads(min(threads(), getattr(config, "NUMBA_NUM_THREADS")))  # noqa: B009 (made at import: no checker sees it)
    else:
        os.environ["NUMBA_NUM_THREADS"] = str(threads())


def threads() -> int:
    """How many threads to compute with."""
    return _chosen[0] if _chosen else processors()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
