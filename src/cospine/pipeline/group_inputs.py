"""What the group level reads: everyone's maps, coverage, quality and attributes, as the participant level left them on disk."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from cospine.bids import load_image, parse_name, read_json, read_tsv
from cospine.errors import CoSpineError
from cospine.pipeline.group_settings import GroupSettings
from cospine.space.grid import Grid
from cospine.stats.brain_regions import atlas_regions, read_label_names
from cospine.stats.regions import RegionSet

MNI, PAM50 = "MNI152NLin2009aSym", "PAM50"
SPACE_OF = {"brain": MNI, "cord": PAM50}
"""Where each region is analysed."""


@dataclass(frozen=True)
class Effect:
    """Where one map of one person lies, and what its sidecar says.

    Attributes
    ----------
    path : Path
        Effect in % of the local temporal mean, in a template's space.
    coverage : tuple of Path
        Masks of what was measured; a voxel counts that all of them hold.
    variance : Path or None
        Its variance; 0 where there is no estimate.
    sidecar : mapping
    """

    path: Path
    coverage: tuple[Path, ...]
    variance: Path | None = None
    sidecar: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Question:
    """What one analysis is about: a contrast of a task."""

    task: str
    contrast: str

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.task}: {self.contrast}"


@dataclass(frozen=True)
class Member:
    """One person of the group.

    Attributes
    ----------
    name : str
        ``sub-01``; with the dataset's name before it where there are several.
    site : str
        Column `site` of participants.tsv, else the dataset's name.
    attributes : mapping
        The row of participants.tsv.
    tasks : frozenset of str
        Tasks that the person did, by raw data and derivatives.
    effects : mapping of (Question, space) to Effect
        Over runs together.
    runs : mapping of (Question, space) to tuple of Effect
        Each run's own, where there are several.
    quality : mapping of task to mapping of run's prefix to measures
    coupling : mapping of (task, kind) to Path
        Tables of coupling between regions.
    courses : mapping of task to Path
        The regions' courses, of the first run.
    troubles : mapping of Question to str
        Why there is no map although there are files.
    """

    name: str
    label: str
    dataset: str
    site: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    tasks: frozenset[str] = frozenset()
    effects: Mapping[tuple[Question, str], Effect] = field(default_factory=dict, repr=False)
    runs: Mapping[tuple[Question, str], tuple[Effect, ...]] = field(default_factory=dict, repr=False)
    quality: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict, repr=False)
    coupling: Mapping[tuple[str, str], Path] = field(default_factory=dict, repr=False)
    courses: Mapping[str, Path] = field(default_factory=dict, repr=False)
    troubles: Mapping[Question, str] = field(default_factory=dict)

    @property
    def called(self) -> frozenset[str]:
        """What the command line may call this person."""
        return frozenset((self.name, self.label, self.label.removeprefix("sub-")))


@dataclass(frozen=True)
class GroupInputs:
    """Everyone, and the questions that their maps can answer."""

    dataset: str
    members: tuple[Member, ...]
    questions: tuple[Question, ...]
    notes: tuple[str, ...] = ()


def read_group(bids_dir: Path, output_dir: Path, settings: GroupSettings) -> GroupInputs:
    """Find what the participant level wrote for everyone.

    Parameters
    ----------
    bids_dir : Path
        Raw dataset.
    output_dir : Path
        Its derivatives.
    settings : GroupSettings
        Other derivatives, and what to choose.

    Raises
    ------
    CoSpineError
        When a folder is none of derivatives, or holds no map in a template's space, or none of what was asked for.
    """
    places = [(_raw_of(output_dir, bids_dir), output_dir), *((_raw_of(one, None), one) for one in settings.derivatives)]
    faults = [f"{root} is no folder of derivatives" for _, root in places if not (root / "dataset_description.json").is_file()]
    if not (bids_dir / "dataset_description.json").is_file():
        faults.append(f"{bids_dir} is no BIDS dataset (no dataset_description.json)")
    if faults:
        raise CoSpineError(
            "; ".join(faults),
            "BIDS_DIR, OUTPUT_DIR or --derivatives",
            "give the raw dataset, and folders that the participant level wrote",
        )
    several = len(places) > 1
    members: list[Member] = []
    names: list[str] = []
    for raw, root in places:
        name = (raw or root).resolve().name
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
        members += _members(raw, root, names[-1], several, settings)
    roots = [root.resolve() for _, root in places]
    if len(set(roots)) < len(roots):
        raise CoSpineError("names a folder twice", "--derivatives", "give each folder once, OUTPUT_DIR is among them")
    members = _chosen(members, settings)
    found = sorted({question for one in members for question in (*(key for key, _ in one.effects), *one.troubles)})
    if not found:
        raise CoSpineError(
            "no map of a contrast in a template's space",
            ", ".join(str(root) for _, root in places),
            "process the participants with anatomy and events; they are named *_space-*_contrast-*_stat-effect_statmap.nii.gz",
        )
    wanted = [one for one in found if not settings.contrast or one.contrast in settings.contrast]
    if unknown := sorted(set(settings.contrast) - {one.contrast for one in found}):
        there = ", ".join(sorted({one.contrast for one in found}))
        raise CoSpineError(f"nobody has the contrast {', '.join(unknown)}", "--contrast", f"there are: {there}")
    notes = [*_template_notes(members), *_model_notes(members)]
    notes += [
        f"The raw dataset of {root} was not found: participants.tsv, with sites and covariates, is not read."
        for raw, root in places
        if raw is None
    ]
    return GroupInputs(_name_of(places[0][0], places[0][1]), tuple(members), tuple(wanted), tuple(notes))


def read_atlas(path: Path) -> RegionSet:
    """An image of labels in MNI, with the names of a table beside it; names begin with ``atlas_``, apart from our own regions.

    Raises
    ------
    CoSpineError
        When it is none.
    """
    labels, affine = load_image(path)
    table = path.with_name(path.name.partition(".")[0] + ".tsv")
    names = read_label_names(table) if table.is_file() else None
    found = atlas_regions(labels, Grid(labels.shape[:3], affine), names, space=MNI, source=path.name)  # type: ignore[arg-type]
    return replace(found, regions=tuple(replace(one, name=f"atlas_{one.name}") for one in found.regions))


def load_effect(effect: Effect) -> tuple[NDArray[np.float32], NDArray[np.bool_], Grid]:
    """A map and what of it was measured.

    Returns
    -------
    values : ndarray (x, y, z)
        NaN where not measured.
    covered : ndarray (x, y, z), bool
    grid : Grid

    Raises
    ------
    CoSpineError
        When the mask is on another grid, or nothing was measured.
    """
    values, affine = load_image(effect.path)
    grid = Grid(values.shape[:3], affine)  # type: ignore[arg-type]
    covered = np.ones(values.shape, dtype=bool)
    for path in effect.coverage:
        mask, of_mask = load_image(path)
        if not Grid(mask.shape[:3], of_mask).matches(grid):  # type: ignore[arg-type]
            raise CoSpineError(f"is not on the grid of {effect.path.name}", path.name, "run the participant level again")
        covered &= mask > 0.5
    if effect.variance is not None:
        variance, of_variance = load_image(effect.variance)
        if not Grid(variance.shape[:3], of_variance).matches(grid):  # type: ignore[arg-type]
            raise CoSpineError(
                f"is not on the grid of {effect.path.name}", effect.variance.name, "run the participant level again"
            )
        covered &= variance > 0
    covered &= np.isfinite(values)
    if not covered.any():
        raise CoSpineError("nothing was measured", effect.path.name, "look at this person's page")
    return np.where(covered, values, np.float32(np.nan)).astype(np.float32), covered, grid


def _raw_of(root: Path, given: Path | None) -> Path | None:
    """The raw dataset of derivatives: the one given, else where their description says it lies."""
    if given is not None:
        return given
    try:
        links = read_json(root / "dataset_description.json").get("DatasetLinks", {})
    except (OSError, ValueError):
        return None
    raw = links.get("raw") if isinstance(links, dict) else None
    place = (root / unquote(raw)).resolve() if isinstance(raw, str) else None
    return place if place is not None and place.is_dir() else None


def _name_of(raw: Path | None, root: Path) -> str:
    for folder in (raw, root):
        if folder is None:
            continue
        try:
            name = read_json(folder / "dataset_description.json").get("Name")
        except (OSError, ValueError):
            continue
        if isinstance(name, str) and name.strip():
            return name.strip()
    return (raw or root).resolve().name


def _members(raw: Path | None, root: Path, short: str, several: bool, settings: GroupSettings) -> list[Member]:
    """Everyone of one dataset, by its table, its folders and its derivatives.

    Who has no site in a table that tells some has none: a site of one's own would be a column for one person.
    """
    table = _participants(raw)
    told = any(row.get("site", "n/a") != "n/a" for row in table.values())
    labels = {path.name for folder in (raw, root) if folder is not None for path in folder.glob("sub-*") if path.is_dir()}
    members = []
    for label in sorted(labels | set(table)):
        attributes = table.get(label, {})
        site = attributes.get("site", "n/a")
        members.append(
            _member(
                raw, root, label, settings,
                {
                    "name": f"{short}:{label}" if several else label,
                    "label": label,
                    "dataset": short,
                    "site": site if site != "n/a" else "" if told else short,
                    "attributes": attributes,
                },
            )
        )  # fmt: skip
    return members


def _participants(raw: Path | None) -> dict[str, dict[str, str]]:
    path = None if raw is None else raw / "participants.tsv"
    if path is None or not path.is_file():
        return {}
    try:
        columns = read_tsv(path)
        labels = [one if one.startswith("sub-") else f"sub-{one}" for one in columns["participant_id"]]
    except (OSError, ValueError, KeyError) as error:
        raise CoSpineError(f"cannot be used ({error})", str(path), "mend the table") from error
    return {label: {name: columns[name][row] for name in columns} for row, label in enumerate(labels)}


def _member(raw: Path | None, root: Path, label: str, settings: GroupSettings, who: dict[str, Any]) -> Member:
    folder = root / label
    sessions = {one.removeprefix("ses-") for one in settings.session_label}
    files = [path for path in sorted(folder.rglob("func/*")) if _of_session(path, sessions)]
    bold = [] if raw is None else [path for path in (raw / label).rglob("func/*_bold.nii*") if _of_session(path, sessions)]
    maps: dict[tuple[Question, str], list[Path]] = {}
    tables: dict[tuple[str, str], list[Path]] = {}
    courses: dict[str, Path] = {}
    for path in files:
        name = parse_name(path.name)
        if name is None or "task" not in name.entities:
            continue
        of = name.entities
        if name.suffix == "statmap" and name.extension.startswith(".nii") and of.get("stat") == "effect" and "space" in of:
            maps.setdefault((Question(_task(of), of.get("contrast", "")), of["space"]), []).append(path)
        if name.suffix == "relmat" and name.extension == ".tsv":
            tables.setdefault((_task(of), of.get("desc", "coupling")), []).append(path)
        if name.suffix == "timeseries" and name.extension == ".tsv" and of.get("desc") == "regions":
            courses.setdefault(_task(of), path)
    effects, runs, troubles = {}, {}, {}
    for (question, space), paths in maps.items():
        single = [path for path in paths if "_run-" in path.name]
        chosen = _over_runs(paths)
        if len(chosen) > 1:
            troubles[question] = f"has {len(chosen)} maps: {_which(chosen)}"
            continue
        effects[question, space] = _effect(chosen[0])
        if len(single) > 1:
            runs[question, space] = tuple(_effect(path) for path in single)
    coupling = {key: chosen[0] for key, paths in tables.items() if len(chosen := _over_runs(paths)) == 1}
    tasks = {_task(name.entities) for path in (*files, *bold) if (name := parse_name(path.name)) and "task" in name.entities}
    return Member(
        **who, tasks=frozenset(tasks), effects=effects, runs=runs, troubles=troubles, coupling=coupling, courses=courses,
        quality=_quality(root, label, sessions),
    )  # fmt: skip


def _over_runs(paths: Sequence[Path]) -> list[Path]:
    """Those over runs together; where there are none, those of single runs. One is wanted."""
    return [path for path in paths if "_run-" not in path.name] or list(paths)


def _which(paths: Sequence[Path]) -> str:
    """Why a person has several maps, and what to do."""
    entities = [name.entities for path in paths if (name := parse_name(path.name)) is not None]
    if len({one.get("ses") for one in entities}) > 1:
        return "several sessions; choose one with --session-label"
    if len({one.get("run") for one in entities}) > 1:
        return "runs that were not combined; process them together"
    return "several series of the task; leave all but one out of the participant level"


def _of_session(path: Path, sessions: set[str]) -> bool:
    name = parse_name(path.name)
    return not sessions or (name is not None and name.entities.get("ses") in sessions)


def _task(entities: Mapping[str, str]) -> str:
    """Task, and what makes two series of it different ones."""
    return entities["task"] + (f"_acq-{entities['acq']}" if "acq" in entities else "")


def _effect(path: Path) -> Effect:
    """A map with its masks of coverage: its own, or where runs were combined those of all runs."""
    stem = path.name.partition("_contrast-")[0]
    before, _, space = stem.partition("_space-")
    own = path.with_name(f"{stem}_desc-coverage_mask.nii.gz")
    of_runs = sorted(path.parent.glob(f"{before}_run-*_space-{space}_desc-coverage_mask.nii.gz"))
    sidecar = path.with_name(path.name.partition("_stat-")[0] + "_statmap.json")
    try:
        content = read_json(sidecar)
    except (OSError, ValueError):
        content = {}
    variance = path.with_name(path.name.replace("_stat-effect_", "_stat-variance_"))
    return Effect(path, (own,) if own.is_file() else tuple(of_runs), variance if variance.is_file() else None, content)


def _quality(root: Path, label: str, sessions: set[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Measures of each run, as the logs hold them."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for path in sorted((root / "logs").glob(f"{label}_*_quality.json")):
        name = parse_name(path.name)
        if name is None or "task" not in name.entities or not _of_session(path, sessions):
            continue
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise CoSpineError(f"cannot be read ({error})", str(path), "run the participant level again") from error
        measures = {key: value["Value"] for key, value in content.get("Measures", {}).items() if value.get("Value") is not None}
        found.setdefault(_task(name.entities), {})[path.name.removesuffix("_quality.json")] = measures
    return found


def _chosen(members: list[Member], settings: GroupSettings) -> list[Member]:
    wanted = {one if one.startswith("sub-") or ":" in one else f"sub-{one}" for one in settings.participant_label}
    there = {one.name for one in members} | {one.label for one in members}
    if missing := sorted(wanted - there):
        raise CoSpineError(f"not there: {', '.join(missing)}", "--participant-label", "name participants of the dataset")
    tasks = {one.removeprefix("task-") for one in settings.task}
    if missing := sorted(tasks - {task.partition("_")[0] for one in members for task in one.tasks}):
        raise CoSpineError(f"nobody did {', '.join(missing)}", "--task", "name a task of the dataset")
    if wanted:
        members = [one for one in members if one.name in wanted or one.label in wanted]
    if not tasks:
        return members
    return [_only(one, tasks) for one in members]


def _only(member: Member, tasks: set[str]) -> Member:
    def kept(pairs: Iterable[tuple[tuple[Question, str], Any]]) -> dict[tuple[Question, str], Any]:
        return {key: value for key, value in pairs if key[0].task.partition("_")[0] in tasks}

    return replace(
        member,
        tasks=frozenset(task for task in member.tasks if task.partition("_")[0] in tasks),
        effects=kept(member.effects.items()),
        runs=kept(member.runs.items()),
        coupling={key: path for key, path in member.coupling.items() if key[0].partition("_")[0] in tasks},
        quality={task: runs for task, runs in member.quality.items() if task.partition("_")[0] in tasks},
    )


def _template_notes(members: Iterable[Member]) -> tuple[str, ...]:
    """Whether everyone's cord was brought to the same template."""
    by_template: dict[str, list[str]] = {}
    for one in members:
        for (_, space), effect in one.effects.items():
            if space == PAM50 and "SpatialReference" in effect.sidecar:
                by_template.setdefault(str(effect.sidecar["SpatialReference"]), []).append(one.name)
    if len(by_template) < 2:
        return ()
    said = "; ".join(f"{template}: {', '.join(sorted(set(names)))}" for template, names in by_template.items())
    return (f"Cords were brought to different templates in the same space, which adds variance between people. {said}.",)


def _model_notes(members: Iterable[Member]) -> tuple[str, ...]:
    """Whether everyone's maps were made alike."""
    made: dict[tuple[str, str, str], set[str]] = {}
    for one in members:
        for (question, space), effect in one.effects.items():
            for key in ("Model", "HRF", "Smoothing_mm"):
                if key in effect.sidecar:
                    made.setdefault((question.label, space, key), set()).add(str(effect.sidecar[key]))
    return tuple(
        f"{label} in {space}: people differ in {key} ({'; '.join(sorted(values))})."
        for (label, space, key), values in made.items()
        if len(values) > 1
    )
