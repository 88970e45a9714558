"""The figures of one question: maps over both templates, horns by level, people by region, sides."""

import numpy as np
from numpy.typing import NDArray

from cospine.pipeline.group_analysis import pairs_beforehand, region_label
from cospine.pipeline.group_answer import Answer, Maps
from cospine.quality.figure import Figure
from cospine.quality.group_charts import cord_grid_figure, people_figure
from cospine.quality.stat_figures import CordAnatomy, Layer, brain_stat_figure, cord_stat_figure, level_spans
from cospine.space.cord_template import CordTemplate
from cospine.space.templates import brain_template
from cospine.stats.regions import level_name

_LEAST_LIMIT_Z = 3.1
_QUARTERS = (("L", "dorsal"), ("L", "ventral"), ("R", "ventral"), ("R", "dorsal"))


def answer_figures(answer: Answer, cord: CordTemplate | None) -> tuple[Figure, ...]:
    """All figures of a question, in their order."""
    figures = []
    for name, maps in answer.maps.items():
        layers, said = _layers(answer, maps), _said(answer, maps)
        title = f"Group map of the {name}"
        if name == "brain":
            template = brain_template(1)
            anatomy = (template.t1, template.mask, template.grid.affine)
            figures.append(brain_stat_figure(title, layers, maps.significant, maps.grid.affine, anatomy, maps.space, said))
        elif cord is not None:
            what = "PAM50" if cord.name == "PAM50" else "the built-in cord template"
            figures.append(cord_stat_figure(title, layers, maps.significant, maps.grid.affine, cord_anatomy(cord), what, said))
    for system, words in (("spinal", "spinal segment"), ("vertebral", "vertebral level")):
        if system in answer.regional:
            figures.append(_grid(answer, system, words))
    for system, axis in (("spheres", "brain"), ("atlas", "atlas")):
        if system in answer.regional:
            figures.append(_people(answer, system, axis))
    if any(len(names) for names, _, _ in answer.sides.values()):
        figures.append(_sides(answer))
    return tuple(figures)


def cord_anatomy(cord: CordTemplate) -> CordAnatomy:
    """What the cord's figure needs of a template."""
    image = cord.contrast.get("T2s")
    names = {
        system: [level_name(n, system) for n in range(1, int(labels.max()) + 1)]
        for system, labels in (("vertebral", cord.vertebral), ("spinal", cord.spinal))
    }
    return CordAnatomy(
        image=cord.cord if image is None else image,
        cord=cord.cord,
        grey=cord.grey,
        affine=cord.grid.affine,
        centre_line=cord.centre_line,
        vertebral=level_spans(cord.vertebral, cord.grid.affine, names["vertebral"]),
        spinal=level_spans(cord.spinal, cord.grid.affine, names["spinal"]),
    )


def _layers(answer: Answer, maps: Maps) -> tuple[Layer, ...]:
    z = np.where(maps.mask, maps.z, np.nan)
    effect = np.where(maps.mask, maps.effect, np.nan)
    count = np.where(maps.count > 0, maps.count, np.nan).astype(np.float32)
    return (
        Layer("z", z, max(_LEAST_LIMIT_Z, _rounded(float(np.nanpercentile(np.abs(z), 99.9))))),
        Layer("effect", effect, max(_rounded(float(np.nanpercentile(np.abs(effect), 99.9))), 0.01), "%"),
        Layer("people", count, len(answer.analysis.people), signed=False),
    )


def _rounded(value: float) -> float:
    """Two significant digits, for a colour bar."""
    return float(f"{value:.2g}")


def _said(answer: Answer, maps: Maps) -> str:
    over = " and ".join(answer.maps)
    if len(answer.maps) > 1:
        over += " together"
    how = f"p < 0.05 by TFCE and {answer.permutations} {answer.kind}, corrected over {over}"
    return f"White outline: {how}." if maps.significant.any() else f"Nothing reaches {how}, so nothing is outlined."


def _grid(answer: Answer, system: str, words: str) -> Figure:
    means, test = answer.regional[system], answer.region_tests[system]
    corrected = answer.region_p[system]
    levels = sorted({one.level for one in means.regions})
    shape = (len(levels), len(_QUARTERS))
    effect, p = np.full(shape, np.nan), np.full(shape, np.nan)
    for k, one in enumerate(means.regions):
        column = _QUARTERS.index((one.side, one.part.removeprefix("quadrant-")))
        row = levels.index(one.level)
        effect[row, column], p[row, column] = test.effect[k], corrected[k]
    columns = [f"{'left' if side == 'L' else 'right'} {part}" for side, part in _QUARTERS]
    others = "vertebral levels are others" if system == "spinal" else "spinal segments are others"
    said = f"Rows are {words}s of the template ({others})."
    if system == "spinal":
        said += (
            " A star and bold type: p < 0.05, corrected over the regions that were named beforehand; the others are shown "
            "without a test."
        )
    else:
        said += " The same horns cut by vertebral level: shown, not tested a second time."
    return cord_grid_figure(f"Horns by {words}", [level_name(n, system) for n in levels], columns, effect, p, said)


def _people(answer: Answer, system: str, words: str) -> Figure:
    means = answer.regional[system]
    sites = [one.site for one in answer.analysis.people]
    return people_figure(
        f"Everyone's effect, {words} regions", [region_label(one) for one in means.regions], means.values, sites,
        answer.region_p[system], "effect (% of the mean signal)",
        "A dot a person, the diamond their mean with its 95 % interval (t). A star: p < 0.05 by permutation, corrected over the "
        "regions named beforehand and all contrasts.",
    )  # fmt: skip


def _sides(answer: Answer) -> Figure:
    names: list[str] = []
    index: list[NDArray[np.float64]] = []
    p: list[NDArray[np.float64]] = []
    for system, (pairs, values, _) in answer.sides.items():
        first = pairs_beforehand(answer.regional[system])
        held = np.isfinite(values).any(axis=0) & first if len(pairs) else first
        names += [pairs[k] for k in np.flatnonzero(held)]
        index.append(values[:, held])
        p.append(answer.side_p[system][held])
    return people_figure(
        "Laterality", names, np.concatenate(index, axis=1), [one.site for one in answer.analysis.people], np.concatenate(p),
        "laterality index: −1 all left, 1 all right",
        "(R − L) / (|R| + |L|) of each person, the diamond the mean with its 95 % interval. The index is wild where both "
        "sides are near 0; a star rests on the difference R − L instead: p < 0.05 by permutation, corrected over the pairs "
        "named beforehand.",
    )  # fmt: skip
