"""Charts of a group: regions, laterality, matrices of coupling, and the spread of quality."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cospine.errors import CoSpineError
from cospine.quality import figure as fig
from cospine.quality.group_report import number_text
from cospine.quality.measures import MEASURES
from cospine.quality.outliers import LIMIT, Spread

Array = NDArray[np.floating]

SITE_COLOURS = ("#0072b2", "#d55e00", "#00795a", "#cc79a7", "#7a5c00", "#56b4e9")
_ROW_IN = 0.24
_SPREAD_COLUMNS = 3


def cord_grid_figure(title: str, levels: Sequence[str], columns: Sequence[str], effect: Array, p: Array, said: str) -> fig.Figure:
    """Mean effect of each quarter of the cord at each level, as a table in colour.

    Parameters
    ----------
    title : str
    levels : sequence of str
        Top first.
    columns : sequence of str
        Quarters, the left side's first.
    effect : (levels, columns) array
        % of the mean signal; NaN where it was not measured.
    p : (levels, columns) array
        Corrected p; NaN where there was no test.
    said : str
        Which system of levels, and what is corrected over.
    """
    if not np.isfinite(effect).any():
        raise CoSpineError("holds no value", "the cord's regions", "leave this figure out")
    limit = max(float(np.nanmax(np.abs(effect))), 1e-6)
    rows = len(levels)
    with fig.canvas(8.2, 0.75 + rows * 0.36) as drawing:
        axes = fig.place(drawing, 1.0, 0.5, 5.6, rows * 0.36)
        shown = axes.imshow(effect, cmap=fig.DIVERGING, vmin=-limit, vmax=limit, aspect="auto", interpolation="none")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(rows), levels)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (row, column), value in np.ndenumerate(effect):
            if not np.isfinite(value):
                axes.text(column, row, "not covered", ha="center", va="center", fontsize=7.5, color=fig.MUTED)
                continue
            sure = np.isfinite(p[row, column]) and p[row, column] < 0.05
            ink = "white" if abs(value) > 0.62 * limit else fig.INK
            text = number_text(float(value), plus=True) + (" *" if sure else "")
            axes.text(column, row, text, ha="center", va="center", color=ink, fontweight="bold" if sure else "normal")
        bar = fig.place(drawing, 6.85, 0.5, 0.16, rows * 0.36)
        drawing.colorbar(shown, cax=bar).outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.set_ylabel("effect (% of the mean signal)")
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title=title,
        caption=f"Mean over people of the effect in each quarter of the cord. {said}",
        alt=f"{title}: table in colour of levels by left, right, dorsal and ventral.",
        frames=(fig.Frame("Effect", svg),),
    )


def people_figure(
    title: str, names: Sequence[str], values: Array, sites: Sequence[str], p: Array | None, axis: str, said: str
) -> fig.Figure:
    """Each person's value in each region as a dot, with the mean and its 95 % interval.

    Parameters
    ----------
    title : str
    names : sequence of str
        Regions.
    values : (people, regions) array
        NaN where a person has none.
    sites : sequence of str
        One a person; a colour each.
    p : (regions,) array, optional
        Corrected; a star below 0.05.
    axis : str
        What the values are, with the unit.
    said : str
        Caption.
    """
    from scipy import stats

    if not np.isfinite(values).any():
        raise CoSpineError("holds no value", title, "leave this figure out")
    colours = {site: SITE_COLOURS[n % len(SITE_COLOURS)] for n, site in enumerate(dict.fromkeys(sites))}
    limit = 1.08 * float(np.nanmax(np.abs(values)))
    height = len(names) * _ROW_IN
    with fig.canvas(fig.WIDTH_IN * 0.8, height + 1.0) as drawing:
        axes = fig.place(drawing, 2.4, 0.35, 5.9, height)
        axes.axvline(0, color=fig.RULE, linewidth=1.2)
        for row in range(len(names)):
            of_row = values[:, row]
            there = np.isfinite(of_row)
            apart = row + 0.3 * (np.arange(len(of_row)) / max(len(of_row) - 1, 1) - 0.5)
            for site, colour in colours.items():
                own = there & np.array([one == site for one in sites])
                axes.plot(of_row[own], apart[own], "o", markersize=3.4, color=colour, alpha=0.6, markeredgewidth=0)
            count = int(there.sum())
            if count > 1:
                mean = float(of_row[there].mean())
                half = float(stats.t.ppf(0.975, count - 1) * of_row[there].std(ddof=1) / np.sqrt(count))
                axes.plot([mean - half, mean + half], [row, row], color=fig.INK, linewidth=1.8, solid_capstyle="butt")
                axes.plot(mean, row, "D", color=fig.INK, markersize=4.6)
            if p is not None and np.isfinite(p[row]) and p[row] < 0.05:
                axes.text(1.01, row, "*", transform=axes.get_yaxis_transform(), va="center", fontsize=12, fontweight="bold")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlim=(-limit, limit), ylim=(len(names) - 0.5, -0.5), xlabel=axis)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        if len(colours) > 1:
            handles = [axes.plot([], [], "o", color=colour, markersize=4, label=site)[0] for site, colour in colours.items()]
            axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, fontsize=8)
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title=title, caption=said, alt=f"{title}: a dot a person, mean and interval.", frames=(fig.Frame(title, svg),)
    )


def quality_figure(
    spread: Sequence[Spread], people: Sequence[str], sites: Sequence[str], limits: Mapping[str, float]
) -> fig.Figure:
    """Every quality measure that a group is judged by: a dot a run, by site, outliers named.

    Parameters
    ----------
    spread : sequence of Spread
    people, sites : sequence of str
        One a run.
    limits : mapping of measure to float
        Stated rules of exclusion, drawn as lines.
    """
    if not spread:
        raise CoSpineError("no run has a quality record", "logs", "run the participant level again")
    order = list(dict.fromkeys(sites))
    rows = -(-len(spread) // _SPREAD_COLUMNS)
    tall = 0.62 + 0.24 * len(order)
    width = fig.WIDTH_IN / _SPREAD_COLUMNS
    with fig.canvas(fig.WIDTH_IN, rows * (tall + 0.62) + 0.1) as drawing:
        for n, one in enumerate(spread):
            row, column = divmod(n, _SPREAD_COLUMNS)
            axes = fig.place(drawing, column * width + 0.75, row * (tall + 0.62) + 0.32, width - 0.95, tall)
            heights = np.full(len(one.values), np.nan)
            for k, site in enumerate(order):
                own = np.array([where == site for where in sites]) & np.isfinite(one.values)
                heights[own] = k + _apart(one.values[own])
                axes.plot(one.values[own], heights[own], "o", color=SITE_COLOURS[k % len(SITE_COLOURS)], markersize=4, alpha=0.65,
                          markeredgewidth=0)  # fmt: skip
                if own.any():
                    axes.plot([np.median(one.values[own])] * 2, [k - 0.32, k + 0.32], color=fig.INK, linewidth=1.4)
            for at in np.flatnonzero(one.outliers):
                here = (one.values[at], heights[at])
                high = one.values[at] > np.nanmedian(one.values)
                axes.plot(*here, "o", markersize=8, markerfacecolor="none", markeredgecolor=fig.WARN)
                axes.annotate(str(people[at]), here, xytext=(-7 if high else 7, 0), textcoords="offset points", fontsize=7.5,
                              color=fig.WARN, ha="right" if high else "left", va="center")  # fmt: skip
            if one.name in limits:
                axes.axvline(limits[one.name], color=fig.WARN, linewidth=1, linestyle=(0, (4, 2)))
            axes.set_yticks(range(len(order)), order)
            axes.set(ylim=(len(order) - 0.4, -0.6), title=_title(one.name))
            axes.margins(x=0.08)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
        svg = fig.svg_of(drawing)
    return fig.Figure(
        title="Quality of everyone",
        caption=(
            "A dot a run; the black line is a site's median. Ringed and named: outliers on the bad side, by the modified z score "
            f"above {LIMIT:g} (Iglewicz and Hoaglin 1993). Dashed: a stated rule of exclusion. An outlier is no reason to "
            "exclude by itself: look at the page of that person."
        ),
        alt="Strip charts of the quality measures of all runs by site, outliers named.",
        frames=(fig.Frame("Quality", svg),),
    )


def _apart(values: Array) -> NDArray[np.float64]:
    """Small offsets that keep dots of nearly equal values from lying on each other; the same ones each time."""
    order = np.argsort(np.argsort(values)).astype(np.float64)
    return ((order * 0.618034) % 1.0 - 0.5) * 0.5


def _title(name: str) -> str:
    _, meaning = MEASURES[name]
    short = {
        "fd_mean_mm": "Head motion, mean FD (mm)",
        "cord_shift_rms_mm": "Cord motion, RMS (mm)",
        "std_dvars_mean": "Standardised DVARS",
        "tsnr_brain_after": "tSNR of the brain",
        "tsnr_cord_after": "tSNR of the cord",
        "cord_confidence_median": "Confidence of the cord mask",
        "cord_displacement_left_mm": "Cord distortion left (mm)",
        "brain_edge_after_mm": "Brain edge to anatomy (mm)",
        "cord_to_anatomy_after_mm": "Cord to anatomy (mm)",
        "brain_template_dice": "Brain in template (Dice)",
        "cord_template_dice": "Cord in template (Dice)",
        "heart_unusable_percent": "Pulse unusable (%)",
        "breathing_unusable_percent": "Breathing unusable (%)",
        "task_noise_vif_median": "Task VIF by noise columns",
        "residual_df_min": "Least residual df",
    }
    return short.get(name, meaning)
