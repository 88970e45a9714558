"""Statistical models applied: read or ready, to the columns and contrasts of one run, to the design of a group."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cospine.bids.tables import read_json
from cospine.errors import CoSpineError
from cospine.stats.design import TaskColumns, task_columns
from cospine.stats.events import EventRows, event_rows
from cospine.stats.model_reader import parse_model
from cospine.stats.specification import BUILT_IN, CONSTANT, Contrast, Node, StatsModel, Test, label_of
from cospine.stats.variables import is_pattern, made_of, matching

READY = ("pain", "motor")


@dataclass(frozen=True, eq=False)
class ContrastWeights:
    """A contrast as weights of columns.

    Parameters
    ----------
    name : str
    weights : ndarray (n,) or (q, n)
        Of the columns that were asked for, in their order.
    test : {"t", "F", "pass"}
    """

    name: str
    weights: NDArray[np.float64]
    test: Test

    @property
    def label(self) -> str:
        """Name fit for files."""
        return label_of(self.name)


@dataclass(frozen=True, eq=False)
class RunModel:
    """A model applied to one run.

    Parameters
    ----------
    columns : TaskColumns
    contrasts : mapping of str to ContrastWeights
        By label; those that the run's events allow.
    notes : tuple of str
        What was left out or assumed, in sentences.
    """

    columns: TaskColumns = field(repr=False)
    contrasts: Mapping[str, ContrastWeights]
    notes: tuple[str, ...]


def read_model(source: Path | Mapping[str, Any]) -> StatsModel:
    """Model of a BIDS Stats Models file.

    Parameters
    ----------
    source : Path or mapping
        File, or its content.

    Raises
    ------
    CoSpineError
        It cannot be read, or holds what is not understood: all faults at once, each with its place and remedy.
    """
    if isinstance(source, Mapping):
        return parse_model(source, "model")
    try:
        content = read_json(source)
    except FileNotFoundError as error:
        raise CoSpineError("does not exist", str(source), "Name a BIDS Stats Models file (JSON)") from error
    except (OSError, ValueError) as error:
        raise CoSpineError(f"cannot be read: {error}", str(source), "Give a BIDS Stats Models file (JSON)") from error
    return parse_model(content, str(source))


def builtin_model(task: str) -> StatsModel | None:
    """Ready model of a task, `pain` or `motor` (`motorL`, `motorR`); None for any other."""
    for name in READY:
        text = files("cospine.stats").joinpath("models", f"{name}.json").read_text(encoding="utf-8")
        model = parse_model(json.loads(text), BUILT_IN)
        if model.applies(task=task):
            return model
    return None


def run_model(model: StatsModel, columns: Mapping[str, Sequence[str]], task: str, times_s: ArrayLike, end_s: float) -> RunModel:
    """Task columns and contrasts of one run.

    A term that the run's events do not have is left out, with the contrasts that weigh it; both are noted.

    Parameters
    ----------
    model : StatsModel
    columns : mapping of str to sequence of str
        Of events.tsv.
    task : str
        The run's task label: its condition where events have no trial_type.
    times_s : (t, slices)
        When each slice of each volume was acquired.
    end_s : float
        Length of the run.

    Raises
    ------
    CoSpineError
        The events cannot be used (`event_rows`), or none of the model's terms or contrasts is left.
    """
    rows, notes = event_rows(columns, task, end_s)
    node, said = model.run, list(notes)
    variables, further = made_of(rows.columns, node.instructions, "events")
    said += further
    made = _columns(node, rows, variables, times_s)
    for term in node.terms:
        told = any(term in note.split() for note in further)
        if not told and not is_pattern(term) and term != CONSTANT and not _chosen([term], made):
            said.append(f"The run has no {term}: it is not in the model.")
    if made is None:
        there = ", ".join(sorted(variables)) or "none"
        raise CoSpineError(
            f"the run has none of the model's terms {', '.join(node.terms)}; its variables are {there}. {' '.join(said)}".strip(),
            f"model {model.name}",
            "Name trial types as the events do (trial_type.<name>), or give another model (--model)",
        )
    contrasts, missing = contrast_vectors(node, made.names, made.conditions)
    said += missing
    if not contrasts:
        raise CoSpineError(
            f"no contrast is left. {' '.join(missing)}",
            f"model {model.name}",
            "Name what the events have, or give another model",
        )
    return RunModel(made, contrasts, tuple(said))


def _columns(node: Node, rows: EventRows, variables: Mapping[str, NDArray[np.float64]], times_s: ArrayLike) -> TaskColumns | None:
    """Columns of the terms of a run's node; None where there are none."""
    made: TaskColumns | None = None
    names = sorted(variables)
    for convolution in node.convolutions:
        inputs = dict.fromkeys(name for pattern in convolution.inputs for name in matching(pattern, names))
        conditions = [rows.condition(name, variables[name]) for name in inputs]
        there = [condition for condition in conditions if condition is not None]
        if there:
            columns = task_columns(there, times_s, convolution.hrf, convolution.fir_delays)
            made = columns if made is None else made.joined(columns)
    if made is None:
        return None
    kept = _chosen([term for term in node.terms if term != CONSTANT], made)
    if not kept:
        return None
    return TaskColumns(tuple(made.names[k] for k in kept), made.values[..., kept], tuple(made.conditions[k] for k in kept))


def _chosen(terms: Sequence[str], columns: TaskColumns | None) -> list[int]:
    """Places of columns that terms name, by the columns' own name or their condition's."""
    if columns is None:
        return []
    return [
        k
        for k, names in enumerate(zip(columns.names, columns.conditions, strict=True))
        if any(term in names or matching(term, names) for term in terms)
    ]


def contrast_vectors(
    node: Node, names: Sequence[str], conditions: Sequence[str] | None = None
) -> tuple[dict[str, ContrastWeights], tuple[str, ...]]:
    """Contrasts of a node as weights of columns.

    Parameters
    ----------
    node : Node
    names : sequence of str
        Of the columns (n of them); the constant's is `1`.
    conditions : sequence of str, optional
        What each column belongs to (`TaskColumns.conditions`), where a condition has several columns; an F test of a condition
        without a column of its own name (FIR) is over all of its columns, each a row.

    Returns
    -------
    contrasts : dict of str to ContrastWeights
        By label.
    notes : tuple of str
        Contrasts that weigh what is not there, and are left out.
    """
    of = list(names) if conditions is None else list(conditions)
    notes, found = [], dict[str, ContrastWeights]()
    for contrast in (*node.contrasts, *_dummy_contrasts(node, names, of)):
        weights, why = _weights(contrast, list(names), of)
        if weights is None:
            notes.append(f"Contrast '{contrast.name}' is left out: {why}.")
        elif contrast.label in found:
            notes.append(f"Contrast '{contrast.name}' is left out: '{found[contrast.label].name}' has the same file name.")
        else:
            found[contrast.label] = ContrastWeights(contrast.name, weights, contrast.test)
    return found, tuple(notes)


def _dummy_contrasts(node: Node, names: Sequence[str], conditions: Sequence[str]) -> list[Contrast]:
    """One a term: its column, or all of its columns by F where none has its name."""
    if node.dummies is None:
        return []
    every = list(dict.fromkeys(conditions))
    named = node.dummies.conditions
    chosen = every if named is None else []
    for pattern in named or ():
        candidates = [*every, *(name for name in names if name not in every)]
        chosen += [pattern] if not is_pattern(pattern) else [one for one in matching(pattern, candidates) if one in every]
    explicit = {contrast.label for contrast in node.contrasts}
    dummies = []
    for name in dict.fromkeys(chosen):
        alone = name in names or name not in every
        contrast = Contrast(name, (name,), ((1.0,),), node.dummies.test if alone else "F")
        if contrast.label not in explicit:
            dummies.append(contrast)
    return dummies


def _weights(contrast: Contrast, names: list[str], conditions: list[str]) -> tuple[NDArray[np.float64] | None, str]:
    """Weights (n,) or (q, n); None, and why, where they cannot be had."""
    places = []
    for condition in contrast.conditions:
        if condition in names:
            places.append([names.index(condition)])
        elif condition in conditions and contrast.test == "F":
            places.append([k for k, one in enumerate(conditions) if one == condition])
        else:
            return None, f"there is no {condition}"
    count = {len(own) for own in places}
    if len(count) > 1:
        return None, "its conditions have different numbers of columns"
    rows = []
    for weights in contrast.weights:
        for delay in range(max(count)):
            row = np.zeros(len(names))
            np.add.at(row, [own[delay] for own in places], weights)
            rows.append(row)
    return (np.stack(rows) if contrast.test == "F" else rows[0]), ""


def check_model(
    model: StatsModel, tables: Mapping[str, tuple[Mapping[str, Sequence[str]], str]], high_pass_s: float
) -> tuple[str, ...]:
    """Hold a model against the events of every run that it is for, before any work.

    Parameters
    ----------
    model : StatsModel
    tables : mapping of str to (columns, task)
        Columns of events.tsv and the task label, by the run's name.
    high_pass_s : float
        Period of the run's high-pass.

    Returns
    -------
    tuple of str
        What single runs lack, which will be left out of them.

    Raises
    ------
    CoSpineError
        The model names variables that no run has, or a high-pass other than the run's. A ready model's terms may be absent.
    """
    faults, notes = list[str](), list[str]()
    if model.high_pass_s is not None and abs(model.high_pass_s - high_pass_s) > 0.01 * high_pass_s:
        faults.append(f"its high-pass has a period of {model.high_pass_s:.4g} s, the run's {high_pass_s:g} s (--high-pass)")
    lacking: dict[str, list[str]] = {}
    every: set[str] = set()
    for label, (columns, task) in tables.items():
        try:
            rows, _ = event_rows(columns, task, np.inf)
            variables, _ = made_of(rows.columns, model.run.instructions, "events")
        except CoSpineError as error:
            notes.append(f"{label}: {error}")
            continue
        known = {*variables, *rows.columns}
        every |= set(variables)
        for name in _literal_names(model.run):
            if name not in known:
                lacking.setdefault(name, []).append(label)
    usable = len(tables) - len(notes)
    for name, labels in lacking.items():
        if len(labels) < usable or model.builtin:
            notes.append(f"{name} is not in the events of {', '.join(labels)}; it is left out there.")
        else:
            faults.append(f"no run has {name}")
    if faults:
        raise CoSpineError(
            f"does not fit the dataset: {'; '.join(faults)}",
            model.source,
            f"The events have {', '.join(sorted(every)) or 'nothing that could be modelled'}",
        )
    return tuple(notes)


def _literal_names(node: Node) -> list[str]:
    """Variables and columns of events that a node names without a pattern."""
    named = [name for one in (*node.instructions, *node.convolutions) for name in one.inputs]
    named += [term for term in node.terms if not any(part in term for part in ("_derivative", "_dispersion", "_delay_"))]
    return [name for name in dict.fromkeys(named) if name != CONSTANT and not is_pattern(name)]


def group_design(node: Node, table: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Design of a node of Level Dataset.

    Parameters
    ----------
    node : Node
    table : mapping of str to sequence of str
        Columns of participants.tsv, a row a person that is analysed.

    Returns
    -------
    names : tuple of str
        `1` for the intercept.
    values : ndarray (people, k), float64
        NaN where a person has no value.

    Raises
    ------
    CoSpineError
        A term is no column, or makes none.
    """
    variables, notes = made_of(table, node.instructions, "participants")
    people = len(next(iter(table.values()), ()))
    columns: dict[str, NDArray[np.float64]] = {}
    absent = []
    for term in node.terms:
        found = {CONSTANT: np.ones(people)} if term == CONSTANT else {k: variables[k] for k in matching(term, list(variables))}
        columns |= found
        if not found:
            absent.append(term)
    if absent:
        raise CoSpineError(
            f"the participants have no {', '.join(absent)}. {' '.join(notes)}".strip(),
            f"node {node.name}",
            f"Their variables are {', '.join(sorted(variables)) or 'none'}; words become variables through Factor",
        )
    return tuple(columns), np.stack(list(columns.values()), axis=1)
