"""Slice-wise least squares: every slice has a design of its own, for every slice has times of its own.

The design of a slice holds everything that is to be taken out of it at once: slow drifts *and* nuisance columns. That is how the
high-pass of the data reaches the columns as well: by the theorem of Frisch, Waugh and Lovell the residuals of a joint fit are
those of high-passed data regressed on columns that went through the very same high-pass. Filtering the data first and regressing
unfiltered columns afterwards would put the columns' own drift back into the data (Lindquist 2019).

References
----------
Frisch R, Waugh FV (1933) Econometrica 1:387-401. Lovell MC (1963) J Am Stat Assoc 58:993-1010.
Lindquist MA et al. (2019) Modular preprocessing pipelines can reintroduce artifacts into fMRI data. Hum Brain Mapp 40:2358-2376.
"""

from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cospine.errors import CoSpineError
from cospine.signal.blocks import Block, each_block, slice_view

RANK_TOLERANCE = 1e-6
"""A column (unit norm) of which less is left beside the others adds nothing: files hold columns with single precision."""


@dataclass(frozen=True, eq=False)
class Bases:
    """Orthonormal bases of the designs of all slices, the constant apart.

    Parameters
    ----------
    fitted : ndarray (slices, t, r), float64
        Orthonormal over the volumes that are fitted, of mean 0 there, 0 at the others and beyond the slice's rank.
    rank : ndarray (slices,), int
        Columns of each slice that count, the constant not among them.
    rows : ndarray (t,), bool
        Volumes that are fitted.
    """

    fitted: NDArray[np.float64] = field(repr=False)
    rank: NDArray[np.int64]
    rows: NDArray[np.bool_] = field(repr=False)

    @property
    def residual_df(self) -> NDArray[np.int64]:
        """Degrees of freedom (slices,) that the fit leaves: fitted volumes less the constant and the rank."""
        return np.count_nonzero(self.rows) - 1 - self.rank


def slice_bases(designs: NDArray[np.floating], rows: NDArray[np.bool_] | None = None) -> Bases:
    """Orthonormal basis of every slice's design, by QR with pivoting.

    Constant columns, columns of zeros (a slice without cord has no cord shifts) and columns that others span are dropped. The
    constant itself is always part of the model and need not be among the columns.

    Parameters
    ----------
    designs : ndarray (slices, t, p)
        Columns of each slice at that slice's own times: drifts and nuisance together (see above), any units.
    rows : ndarray (t,), bool, optional
        Volumes to fit; the others (dummies) do not influence it, and designs need not be finite there.

    Returns
    -------
    Bases

    Raises
    ------
    CoSpineError
        A design is not finite in a fitted volume, or takes every degree of freedom.
    """
    designs = np.asarray(designs, dtype=np.float64)
    slices, volumes, _ = designs.shape
    rows = np.ones(volumes, bool) if rows is None else np.asarray(rows, dtype=bool)
    with threadpool_limits(1, user_api="blas"):  # many small factorisations: threads would only wait for each other
        bases = [_orthonormal(design[rows], k) for k, design in enumerate(designs)]
    rank = np.array([basis.shape[1] for basis in bases], dtype=np.int64)
    widest = int(rank.max(initial=0))
    if np.count_nonzero(rows) - 1 - widest < 1:
        raise CoSpineError(
            f"{widest} columns and a constant explain {np.count_nonzero(rows)} volumes completely",
            "slice-wise regression",
            "Take fewer columns: lower orders of the physiological model",
        )
    fitted = np.zeros((slices, volumes, widest))
    for k, basis in enumerate(bases):
        fitted[k, rows, : rank[k]] = basis
    return Bases(fitted, rank, rows)


def _orthonormal(design: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """Basis (t, rank) of one design (t, p)."""
    from scipy.linalg import qr

    if not np.isfinite(design).all():
        columns = np.flatnonzero(~np.isfinite(design).all(axis=0))
        raise CoSpineError(
            f"columns {columns.tolist()} of slice {index} are not finite in volumes that are to be fitted",
            "slice-wise regression",
            "Leave these volumes out (rows) or the columns",
        )
    centred = design - design.mean(axis=0) if len(design) else design
    norm = np.linalg.norm(centred, axis=0)
    varies = norm > RANK_TOLERANCE * np.linalg.norm(design, axis=0)
    scaled = centred[:, varies] / norm[varies]
    if not scaled.shape[1]:
        return scaled
    factors = qr(scaled, mode="economic", pivoting=True)
    q, r, _ = cast(tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]], factors)
    return q[:, : int(np.count_nonzero(np.abs(np.diag(r)) > RANK_TOLERANCE))]


def regress(
    series: NDArray,
    bases: Bases,
    *,
    keep_mean: bool = True,
    slice_axis: int = 2,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """What is left of a series after each slice's design is regressed out of it.

    One pass over memory; besides the result only a few MB are needed. Volumes that were not fitted stay as they are (but for the
    mean, where that is taken away): nothing is known of what the columns do there.

    Parameters
    ----------
    series : ndarray (x, y, z, t)
        Fortran order is fast; integers are taken as they are. Voxels that are not finite stay so, alone.
    bases : Bases
        As many slices and volumes as the series has (`slice_bases`).
    keep_mean : bool
        Whether each voxel keeps its mean over the fitted volumes; without it residuals have mean 0 over these.
    slice_axis : {0, 1, 2}
        Axis of the slices.
    out : ndarray (x, y, z, t), float32, optional
        Where to put the result; may be `series` itself.

    Returns
    -------
    ndarray (x, y, z, t), float32
        `out`, or a new array in Fortran order.

    Raises
    ------
    CoSpineError
        Shapes do not fit each other.
    """
    view = slice_view(series, slice_axis)
    if bases.fitted.shape[:2] != (view.shape[1], view.shape[0]):
        raise CoSpineError(
            f"designs of {bases.fitted.shape[0]} slices and {bases.fitted.shape[1]} volumes do not fit a series of "
            f"{view.shape[1]} slices and {view.shape[0]} volumes",
            "slice-wise regression",
            "Make the columns for this very run",
        )
    if out is None:
        out = np.empty(series.shape, np.float32, order="F")
    elif out.shape != series.shape or out.dtype != np.float32:
        raise CoSpineError(
            f"a result of shape {series.shape} does not fit into {out.dtype} {out.shape}",
            "slice-wise regression",
            "Give a float32 array of the series' shape",
        )
    target = slice_view(out, slice_axis)
    projection = np.ascontiguousarray(bases.fitted.transpose(0, 2, 1), dtype=np.float32)
    columns = bases.fitted.astype(np.float32)
    average = (bases.rows / np.count_nonzero(bases.rows)).astype(np.float32)

    def clean(block: Block, values: NDArray[np.float32]) -> None:
        # single precision holds because the mean goes first; what rounding leaves of it is orthogonal to the centred columns
        mean = average @ values
        values -= mean
        rank = bases.rank[block.slice_index]
        values -= columns[block.slice_index, :, :rank] @ (projection[block.slice_index, :rank] @ values)
        if keep_mean:
            values += mean
        else:
            values -= average @ values
        part = target[:, block.slice_index, block.rows]
        part[...] = values.reshape(part.shape)

    each_block(series, slice_axis, clean)
    return out
