"""How many threads CoSpine computes with: one number, told to every library that has threads of its own.

Results do not depend on it. Kernels sum fixed parts in a fixed order, and libraries whose sums go by their threads have the same
number of them always, whatever the environment says: BLAS and ITK one.
"""

import os
import sys

# read by the libraries when they are first imported; threads of OpenMP that spin while they wait make a busy machine many times
# slower, and many small LAPACK calls want one thread each
_ALWAYS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
_chosen: list[int] = []


def settle_libraries() -> None:
    """Set what must not depend on the machine. Before numpy and ants are imported it costs nothing."""
    os.environ.update(_ALWAYS)
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(1, user_api="blas")


def use_threads(n: int | None = None) -> None:
    """Compute with `n` threads from now on, in this process; by default with one for every processor it may use.

    Parameters
    ----------
    n : int, optional
        1 or more. Where numba has been imported before it keeps to the number that it began with at most.
    """
    settle_libraries()
    _chosen[:] = [processors() if n is None else max(n, 1)]
    if "numba" in sys.modules:
        import numba

        numba.set_num_threads(min(threads(), numba.config.NUMBA_NUM_THREADS))
    else:
        os.environ["NUMBA_NUM_THREADS"] = str(threads())


def threads() -> int:
    """How many threads to compute with."""
    return _chosen[0] if _chosen else processors()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
