"""What a statistical model says: the subset of BIDS Stats Models that is understood here."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from cospine.stats.variables import Instruction

Level = Literal["run", "subject", "dataset"]
Test = Literal["t", "F", "pass"]
CONSTANT = "1"
"""Name of the intercept among the terms of a model."""


@dataclass(frozen=True)
class Convolve:
    """Variables that are convolved with a response.

    Parameters
    ----------
    inputs : tuple of str
        Names or patterns of variables.
    hrf : str
        One of `cospine.stats.hrf.HRF_MODELS`, or `fir`.
    fir_delays : tuple of int
        Delays in TR; empty but for `fir`.
    """

    inputs: tuple[str, ...]
    hrf: str = "spm"
    fir_delays: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contrast:
    """A contrast by the names of what it weighs.

    Parameters
    ----------
    name : str
    conditions : tuple of str
    weights : tuple of tuple of float
        One row for a t test; as many as wanted for an F test.
    test : {"t", "F", "pass"}
        `pass`: effect and variance are handed on, no test is asked for.
    """

    name: str
    conditions: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    test: Test = "t"

    @property
    def label(self) -> str:
        """Name fit for files: letters and digits alone."""
        return label_of(self.name)


@dataclass(frozen=True)
class Dummies:
    """Contrasts that are each one term of the model; all of them where `conditions` is None. Patterns are allowed."""

    conditions: tuple[str, ...] | None
    test: Test = "t"


@dataclass(frozen=True)
class Node:
    """One level of a model.

    Parameters
    ----------
    name : str
    level : {"run", "subject", "dataset"}
    group_by : tuple of str
    instructions : tuple of Factor or Scale
        What makes variables of the columns of events or participants.
    convolutions : tuple of Convolve
        At run level.
    terms : tuple of str
        Model.X: names or patterns of variables; `1` for the intercept.
    contrasts : tuple of Contrast
    dummies : Dummies or None
    """

    name: str
    level: Level
    group_by: tuple[str, ...]
    instructions: tuple[Instruction, ...]
    convolutions: tuple[Convolve, ...]
    terms: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    dummies: Dummies | None


@dataclass(frozen=True)
class Edge:
    """What goes from one node to the next: contrasts by name, or all where `contrasts` is None."""

    source: str
    destination: str
    contrasts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class StatsModel:
    """A model of runs, people and the dataset.

    Parameters
    ----------
    name, description : str
    inputs : tuple of (str, tuple of str)
        Which runs it is for: `task`, `subject`, `session`, `run` and the labels that are meant; all where there is none.
    nodes : tuple of Node
        One of runs, at most one of subjects, any number of datasets.
    edges : tuple of Edge
    high_pass_s : float or None
        Period of its high-pass; None where it names none.
    source : str
        File, or `built in`.
    """

    name: str
    description: str
    inputs: tuple[tuple[str, tuple[str, ...]], ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    high_pass_s: float | None
    source: str

    @property
    def run(self) -> Node:
        """Its node of runs."""
        return next(node for node in self.nodes if node.level == "run")

    @property
    def dataset(self) -> tuple[Node, ...]:
        """Its nodes of the dataset."""
        return tuple(node for node in self.nodes if node.level == "dataset")

    @property
    def builtin(self) -> bool:
        """Whether it is one that ships."""
        return self.source == BUILT_IN

    def applies(self, **labels: str | None) -> bool:
        """Whether it is meant for a run: `task`, `subject`, `session`, `run`, each a label without its key."""
        return all(
            any(_same(labels.get(entity), wanted) for wanted in values) for entity, values in self.inputs if entity in labels
        )

    def with_hrf(self, hrf: str) -> "StatsModel":
        """The same with another response model at run level."""
        nodes = tuple(
            replace(node, convolutions=tuple(Convolve(one.inputs, hrf) for one in node.convolutions)) for node in self.nodes
        )
        return replace(self, nodes=nodes)


BUILT_IN = "built in"


def label_of(name: str) -> str:
    """Letters and digits of a contrast's name, as files carry it: `trial_type.pain` is `pain`, `heat > warm` `heatGtWarm`."""
    text = name.removeprefix("trial_type.").replace(">", " gt ").replace("<", " lt ")
    first, *rest = re.findall(r"[A-Za-z0-9]+", text) or [""]
    return first + "".join(word[0].upper() + word[1:] for word in rest)


def _same(label: str | None, wanted: str) -> bool:
    if label is None:
        return False
    return label == wanted or (label.isdigit() and wanted.isdigit() and int(label) == int(wanted))
