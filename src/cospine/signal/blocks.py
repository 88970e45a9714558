"""A series walked slice by slice in blocks that fit the cache, on all cores, without a second copy of it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cospine.errors import CoSpineError
from cospine.threads import threads

BLOCK_VOXELS = 2048
"""Voxels of one slice that are worked on at once: with 225 volumes 1.8 MB, about what a core's cache holds."""


@dataclass(frozen=True, eq=False)
class Block:
    """Where a block lies in the (t, slice, row, column) view: number of the slice, range of its rows."""

    slice_index: int
    rows: slice


def slice_view(series: NDArray, slice_axis: int) -> NDArray:
    """View (t, slice, row, column) of a series (x, y, z, t); rows and columns are the in-plane axes, the slower one first.

    Raises
    ------
    CoSpineError
        The series is not four-dimensional or the axis none of the three of space.
    """
    if series.ndim != 4 or slice_axis not in (0, 1, 2):
        raise CoSpineError(
            f"a series of shape {series.shape} has no slices along axis {slice_axis}",
            "slice-wise signal",
            "Give (x, y, z, t) and a slice axis of 0, 1 or 2",
        )
    return np.moveaxis(series.T, 3 - slice_axis, 1)


def map_view(volume: NDArray, slice_axis: int) -> NDArray:
    """View (slice, row, column) of a map (x, y, z), in the order of `slice_view`."""
    return np.moveaxis(volume.T, 2 - slice_axis, 0)


def each_block(
    series: NDArray,
    slice_axis: int,
    work: Callable[[Block, NDArray[np.float32]], None],
    *,
    mask: NDArray[np.bool_] | None = None,
) -> None:
    """Call `work(block, values)` for every block of a series, in threads.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Any real type and memory order; Fortran order is fast.
    slice_axis : {0, 1, 2}
    work : callable
        Gets a `Block` and its values (t, voxels) as float32, C-contiguous, a buffer that it may overwrite. Called from
        several threads at once (NumPy lets go of the interpreter in what is expensive); blocks do not overlap, so that the
        result does not depend on the number of threads.
    mask : ndarray (x, y, z), bool, optional
        Blocks without a voxel of it are passed over.
    """
    view = slice_view(series, slice_axis)
    volumes, slices, height, width = view.shape
    step = max(1, BLOCK_VOXELS // max(width, 1))
    blocks = [Block(k, slice(j, min(j + step, height))) for k in range(slices) for j in range(0, height, step)]
    if mask is not None:
        inside = map_view(mask, slice_axis)
        blocks = [block for block in blocks if inside[block.slice_index, block.rows].any()]
    buffers = threading.local()

    def gather_and_work(block: Block) -> None:
        if not hasattr(buffers, "values"):
            buffers.values = np.empty(volumes * step * width, np.float32)
        part = view[:, block.slice_index, block.rows]
        values = buffers.values[: part.size].reshape(part.shape)
        np.copyto(values, part, casting="unsafe")
        with np.errstate(invalid="ignore"):  # a voxel that is not finite stays so; it concerns no other
            work(block, values.reshape(volumes, -1))

    # one matrix product a thread: products that themselves use several threads would wait for each other
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads()) as pool:
        for _ in pool.map(gather_and_work, blocks):
            pass
