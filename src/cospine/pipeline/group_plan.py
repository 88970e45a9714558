"""Who is analysed in which question, who is left out and why, before any map is read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cospine.bids import image_header
from cospine.errors import CoSpineError
from cospine.pipeline.group_inputs import SPACE_OF, GroupInputs, Member, Question, read_atlas, read_group
from cospine.pipeline.group_settings import GroupSettings
from cospine.pipeline.settings import REGIONS
from cospine.space.grid import Grid
from cospine.stats.combat import too_few
from cospine.stats.sites import within_sites

FEWEST = 3
"""People below which a group, or one of two groups, is refused."""


@dataclass(frozen=True)
class Design:
    """Design of a group: one row a person.

    Attributes
    ----------
    names : tuple of str
        Columns.
    matrix : ndarray (people, columns)
    contrast : ndarray (columns,)
    groups : ndarray (people,) or None
        Which of two groups each person belongs to.
    said : str
        The test in words.
    of_sites : tuple of str
        Those of `names` that are sites.
    """

    names: tuple[str, ...]
    matrix: NDArray[np.float64] = field(repr=False)
    contrast: NDArray[np.float64] = field(repr=False)
    groups: NDArray[np.int_] | None = field(repr=False)
    said: str
    of_sites: tuple[str, ...] = ()

    @property
    def beside_sites(self) -> NDArray[np.float64]:
        """Columns (people, k) that are no site's."""
        return self.matrix[:, [name not in self.of_sites for name in self.names]]


@dataclass(frozen=True)
class Analysis:
    """One question, with the people who can answer it.

    Attributes
    ----------
    question : Question
    regions : tuple of str
        ``brain``, ``cord`` or both.
    people : tuple of Member
    excluded : tuple of (name, reason)
    design : Design
    """

    question: Question
    regions: tuple[str, ...]
    people: tuple[Member, ...]
    excluded: tuple[tuple[str, str], ...]
    design: Design

    @property
    def label(self) -> str:
        """For people."""
        return self.question.label

    @property
    def seed(self) -> str:
        """Region whose coupling the contrast is about; empty for one of the task's own."""
        effects = (effect for one in self.people for (question, _), effect in one.effects.items() if question == self.question)
        return next((str(effect.sidecar["Seed"]) for effect in effects if effect.sidecar.get("Seed")), "")

    @property
    def considered(self) -> int:
        """People who did the task."""
        return len(self.people) + len(self.excluded)


@dataclass(frozen=True)
class Refusal:
    """A question that could not be analysed: who was left out, and what is wrong."""

    question: Question
    considered: int
    excluded: tuple[tuple[str, str], ...]
    error: CoSpineError


@dataclass(frozen=True)
class GroupPlan:
    """All analyses to be done."""

    inputs: GroupInputs
    settings: GroupSettings
    analyses: tuple[Analysis, ...]
    refusals: tuple[Refusal, ...]

    @property
    def refused(self) -> tuple[str, ...]:
        """What cannot be done, for the terminal."""
        return tuple(f"{one.question.label}: {one.error}" for one in self.refusals)


def plan_group(bids_dir: Path, output_dir: Path, settings: GroupSettings) -> GroupPlan:
    """Read what there is and decide who is analysed.

    Raises
    ------
    CoSpineError
        When settings make no sense, nothing was found, or no question can be answered.
    """
    _check(settings)
    if settings.atlas is not None:
        read_atlas(settings.atlas)  # faults are told before the long work
    inputs = read_group(bids_dir, output_dir, settings)
    names = {name for one in inputs.members for name in one.called}
    if unknown := sorted(set(settings.exclude) - names):
        raise CoSpineError(f"not there: {', '.join(unknown)}", "--exclude", "name participants of the dataset")
    analyses, refusals = [], []
    for question in inputs.questions:
        considered = [one for one in inputs.members if question.task in one.tasks]
        regions = _regions(considered, question, settings)
        people, excluded = _sorted_out(considered, question, regions, settings)
        try:
            if len(people) < FEWEST:
                raise CoSpineError(
                    f"{len(people)} of {len(considered)} people are left, {FEWEST} are needed"
                    + (f" ({_counted(excluded)})" if excluded else ""),
                    question.label,
                    "process more people, or look at why the others were left out",
                )
            design = design_of(people, settings)
            if settings.combat and (fault := too_few([one.site for one in people])):
                raise CoSpineError(fault, f"{question.label}, --combat", "leave out --combat, or exclude the people of that site")
            analyses.append(Analysis(question, regions, tuple(people), tuple(excluded), design))
        except CoSpineError as error:
            refusals.append(Refusal(question, len(considered), tuple(excluded), error))
    if not analyses:
        raise CoSpineError(
            "; ".join(f"{one.question.label}: {one.error.what}" for one in refusals), "group", refusals[0].error.remedy
        )
    return GroupPlan(inputs, settings, tuple(analyses), tuple(refusals))


def rules_text(settings: GroupSettings) -> str:
    """The rules of exclusion, for the page."""
    return (
        f"mean framewise displacement above {settings.max_fd:g} mm, median cord tSNR below {settings.min_cord_tsnr:g}, "
        "either of them not known, no map of the contrast in a space that is analysed, maps on another grid, "
        "missing values of what is compared or taken out"
    )


def measure(member: Member, task: str, name: str) -> float:
    """A quality measure of a person, mean over the runs of a task; NaN where there is none."""
    values = [run[name] for run in member.quality.get(task, {}).values() if name in run]
    return float(np.mean(values)) if values else float("nan")


def design_of(people: Sequence[Member], settings: GroupSettings) -> Design:
    """The design of a group: its mean, or two groups, with sites and covariates beside.

    Raises
    ------
    CoSpineError
        When what is compared has not two values with enough people each, is the same as site, or columns depend on each other.
    """
    sites = [one.site for one in people]
    several = len(set(sites)) > 1
    numbers = {name: np.array([float(one.attributes[name]) for one in people]) for name in settings.covariates}
    nuisance = {name: values - values.mean() for name, values in numbers.items()}
    site_columns = {}
    if several:
        # all sites but the last, against the last; centred, so that the first columns stay the people's own means
        for site in sorted(set(sites))[:-1]:
            column = np.array([float(one == site) for one in sites]) - np.array(
                [float(one == sorted(set(sites))[-1]) for one in sites]
            )
            site_columns[f"site {site}"] = column - column.mean()
    if not settings.compare:
        columns = {"mean": np.ones(len(people)), **site_columns, **nuisance}
        contrast = np.eye(len(columns))[0]
        matrix = np.column_stack(list(columns.values()))
        return _estimable(Design(tuple(columns), matrix, contrast, None, "mean of the group against 0", tuple(site_columns)))
    values = [one.site if settings.compare == "site" else one.attributes.get(settings.compare, "n/a") for one in people]
    kinds = sorted(set(values))
    counts = Counter(values)
    if len(kinds) != 2 or min(counts.values()) < FEWEST:
        said = ", ".join(f"{kind}: {counts[kind]}" for kind in kinds)
        raise CoSpineError(
            f"two values with {FEWEST} people each are needed; there are {said}",
            f"--compare {settings.compare}",
            "name another column",
        )
    groups = np.array([kinds.index(value) for value in values])
    alone = np.column_stack([groups == 0, groups == 1, *nuisance.values()]).astype(float)
    _estimable(Design((*kinds, *nuisance), alone, np.array([-1.0, 1.0, *[0.0] * len(nuisance)]), None, ""))
    within_sites(alone, [-1, 1, *[0] * len(nuisance)], sites)
    columns = {**{kind: (groups == n).astype(float) for n, kind in enumerate(kinds)}, **site_columns, **nuisance}
    contrast = np.zeros(len(columns))
    contrast[:2] = -1, 1
    said = f"{kinds[1]} minus {kinds[0]} ({settings.compare})"
    matrix = np.column_stack(list(columns.values()))
    return _estimable(Design(tuple(columns), matrix, contrast, groups, said, tuple(site_columns)))


def _estimable(design: Design) -> Design:
    people, columns = design.matrix.shape
    if np.linalg.matrix_rank(design.matrix) < columns:
        raise CoSpineError(
            f"columns depend on each other: {', '.join(design.names)}",
            "design of the group",
            "leave out --covariates that tell the same",
        )
    if people - columns < 2:
        raise CoSpineError(
            f"{columns} columns leave {people - columns} degrees of freedom of {people} people", "design of the group",
            "leave out --covariates, or analyse one site",
        )  # fmt: skip
    return design


def _check(settings: GroupSettings) -> None:
    faults = []
    if settings.permutations < 100:
        faults.append(f"--permutations {settings.permutations}: too few for a p value; give 1000 or more")
    if not 0 < settings.cluster_p <= 0.001:
        faults.append(f"--cluster-p {settings.cluster_p:g}: clusters are formed at 0.001 at most (a larger p is not valid)")
    if settings.compare in settings.covariates and settings.compare:
        faults.append(f"--covariates {settings.compare}: is what is compared")
    if settings.atlas is not None and not settings.atlas.is_file():
        faults.append(f"--atlas {settings.atlas}: no such file")
    if faults:
        raise CoSpineError("; ".join(faults), "the command line", "mend it")


def _regions(people: Sequence[Member], question: Question, settings: GroupSettings) -> tuple[str, ...]:
    """Regions asked for, else those that at least half of the people have who have any map."""
    if settings.regions:
        return tuple(region for region in REGIONS if region in settings.regions)
    having = {region: sum((question, SPACE_OF[region]) in one.effects for one in people) for region in REGIONS}
    anyone = sum(any((question, SPACE_OF[region]) in one.effects for region in REGIONS) for one in people)
    return tuple(region for region in REGIONS if having[region] and 2 * having[region] >= anyone)


def _sorted_out(
    people: Sequence[Member], question: Question, regions: Sequence[str], settings: GroupSettings
) -> tuple[list[Member], list[tuple[str, str]]]:
    grids = {region: _common_grid(people, question, region) for region in regions}
    kept, excluded = [], []
    for one in people:
        reason = _reason(one, question, grids, settings)
        if reason:
            excluded.append((one.name, reason))
        else:
            kept.append(one)
    return kept, excluded


def _reason(one: Member, question: Question, grids: dict[str, Grid | None], settings: GroupSettings) -> str:
    """Why a person is left out; empty for who stays."""
    if one.called & set(settings.exclude):
        return "by --exclude"
    if not one.site:
        return "no value of site"
    if question in one.troubles:
        return one.troubles[question]
    there = [region for region in grids if (question, SPACE_OF[region]) in one.effects]
    if not there:
        return f"no map of {question.contrast}"
    for region, grid in grids.items():
        if region not in there:
            return f"no map of {question.contrast} in the {region} ({SPACE_OF[region]})"
        effect = one.effects[question, SPACE_OF[region]]
        if not effect.coverage and effect.variance is None:
            return f"nothing tells where it was measured in {SPACE_OF[region]}"
        if grid is not None and not _grid(effect.path).matches(grid):
            return f"map on another grid in {SPACE_OF[region]}"
    if reason := quality_reason(one, question.task, tuple(grids), settings):
        return reason
    if settings.compare not in ("", "site") and one.attributes.get(settings.compare, "n/a") == "n/a":
        return f"no value of {settings.compare}"
    for name in settings.covariates:
        if not _is_number(one.attributes.get(name, "n/a")):
            return f"no number in {name}"
    return ""


def quality_reason(one: Member, task: str, regions: Sequence[str], settings: GroupSettings) -> str:
    """Why a person's data are not good enough for a task by the stated rules; empty where they are.

    A value that is not known cannot be said to pass; a limit that nobody can miss (``--max-fd inf``, ``--min-cord-tsnr 0``) asks
    for none. Where the cord alone is analysed, the head's motion may never have been estimated, and is not asked for then.
    """
    if np.isfinite(settings.max_fd):
        moved = measure(one, task, "fd_mean_mm")
        if np.isnan(moved) and "brain" in regions:
            return "mean framewise displacement is not known (--max-fd inf does not ask for it)"
        if moved > settings.max_fd:
            return f"mean framewise displacement above {settings.max_fd:g} mm"
    if "cord" in regions and settings.min_cord_tsnr > 0:
        clear = measure(one, task, "tsnr_cord_after")
        if np.isnan(clear):
            return "median cord tSNR is not known (--min-cord-tsnr 0 does not ask for it)"
        if clear < settings.min_cord_tsnr:
            return f"median cord tSNR below {settings.min_cord_tsnr:g}"
    return ""


def _common_grid(people: Sequence[Member], question: Question, region: str) -> Grid | None:
    """The grid that most people's maps have."""
    found: list[tuple[Grid, int]] = []
    for one in people:
        effect = one.effects.get((question, SPACE_OF[region]))
        if effect is None:
            continue
        grid = _grid(effect.path)
        at = next((n for n, (other, _) in enumerate(found) if other.matches(grid)), None)
        if at is None:
            found.append((grid, 1))
        else:
            found[at] = (found[at][0], found[at][1] + 1)
    return max(found, key=lambda pair: pair[1])[0] if found else None


def _grid(path: Path) -> Grid:
    header = image_header(path)
    return Grid(header.shape[:3], header.affine)  # type: ignore[arg-type]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _counted(excluded: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in Counter(reason for _, reason in excluded).items())
