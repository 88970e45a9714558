"""Pictures of how regions go together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig

Array = NDArray[np.floating[Any]]


def matrix_figure(
    title: str, matrices: Mapping[str, Array], sure: Mapping[str, NDArray[np.bool_]], names: Sequence[str], said: str
) -> fig.Figure:
    """Square matrices of coupling between regions, one frame each.

    Parameters
    ----------
    title : str
    matrices : mapping of label to (n, n) array
        Mean correlation; NaN where there is none. The diagonal is not shown.
    sure : mapping of label to (n, n) bool array
        Pairs that are significant, marked by a dot; a label that is not there has none.
    names : sequence of str
        Regions.
    said : str
        Caption.
    """
    count = len(names)
    side = min(6.4, max(2.6, 0.26 * count))
    frames = []
    for label, matrix in matrices.items():
        shown = np.where(np.eye(count, dtype=bool), np.nan, matrix)
        if not np.isfinite(shown).any():
            raise CoSpineError("holds no value", title, "leave this figure out")
        limit = max(float(np.nanpercentile(np.abs(shown), 99)), 1e-6)
        with fig.canvas(side + 4.4, side + 2.2) as drawing:
            axes = fig.place(drawing, 2.2, 0.3, side, side)
            drawn = axes.imshow(shown, cmap=fig.DIVERGING, vmin=-limit, vmax=limit, interpolation="none")
            axes.set_facecolor("#eef1f5")
            axes.set_xticks(range(count), names, rotation=90)
            axes.set_yticks(range(count), names)
            axes.tick_params(length=0, labelsize=min(8.0, 72 * side / count * 0.8))
            axes.spines[:].set_visible(False)
            rows, columns = np.nonzero(sure.get(label, np.zeros_like(shown, dtype=bool)) & ~np.eye(count, dtype=bool))
            axes.plot(columns, rows, "o", color="white", markeredgecolor=fig.INK, markeredgewidth=0.8, markersize=3.6)
            bar = fig.place(drawing, 2.2 + side + 0.3, 0.3 + side * 0.2, 0.16, side * 0.6)
            drawing.colorbar(drawn, cax=bar).outline.set_visible(False)  # pyright: ignore[reportCallIssue]
            bar.set_ylabel("correlation")
            frames.append(fig.Frame(label, fig.svg_of(drawing)))
    return fig.Figure(title=title, caption=said, alt=f"{title}: matrix in colour.", frames=tuple(frames))
