"""BIDS Stats Models from JSON: what is understood becomes a `StatsModel`, everything else is refused by name, all at once.

The standard: https://bids-standard.github.io/stats-models
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, cast

from cospine.bids.tables import number
from cospine.errors import CoSpineError
from cospine.stats.hrf import FIR, HRF_MODELS
from cospine.stats.specification import CONSTANT, Contrast, Convolve, Dummies, Edge, Level, Node, StatsModel, Test, label_of
from cospine.stats.variables import Factor, Instruction, Scale, matching

_LEVELS: Mapping[str, Level] = {"Run": "run", "Subject": "subject", "Dataset": "dataset"}
_GROUPS = {
    "run": ({"run", "subject"}, {"session", "task"}),
    "subject": ({"subject", "contrast"}, {"session", "task"}),
    "dataset": ({"contrast"}, {"task"}),
}
_TRANSFORMER = "pybids-transforms-v1"
_NOISE = (
    "trans_", "rot_", "cosine", "csf", "white_matter", "global_signal", "framewise_displacement", "a_comp_cor", "c_comp_cor",
    "w_comp_cor", "t_comp_cor", "dvars", "std_dvars", "motion_outlier", "non_steady_state", "cord_shift",
)  # fmt: skip
_SPM_PARAMETERS = {
    "PeakDelay": 6, "PeakDispersion": 1, "UndershootDelay": 16, "UndershootDispersion": 1, "PeakUndershootRatio": 6
}  # fmt: skip


class _Faults(list[str]):
    """All that is wrong, gathered while reading goes on."""

    def add(self, where: str, what: str, remedy: str) -> None:
        self.append(f"{where}: {what}. {remedy}")

    def only(self, where: str, given: Any, known: Sequence[str], needed: Sequence[str] = ()) -> Mapping[str, Any]:
        """An object whose keys are all known; what is not is a fault."""
        if not isinstance(given, Mapping):
            self.add(where, f"is {_shown(given)}, no object", "Give an object in braces")
            return {}
        for key in given:
            if key not in (*known, "Description"):
                self.add(f"{where}.{key}", "is not understood", f"Leave it out; understood here are {', '.join(known)}")
        for key in needed:
            if key not in given:
                self.add(where, f"has no {key}", "Add it")
        return given

    def text(self, where: str, given: Any) -> str:
        if not isinstance(given, str) or not given.strip():
            self.add(where, f"is {_shown(given)}, no name", "Give some text")
            return ""
        return given

    def names(self, where: str, given: Any) -> tuple[str, ...]:
        """A list of names; one name alone will do."""
        listed = [given] if isinstance(given, str) else given
        if not isinstance(listed, list) or not listed or not all(isinstance(one, str) and one for one in listed):
            self.add(where, f"is {_shown(given)}, no list of names", "Give names in brackets")
            return ()
        return tuple(listed)

    def switch(self, where: str, given: Any) -> bool:
        if not isinstance(given, bool):
            self.add(where, f"is {_shown(given)}", "Give true or false")
        return given is True

    def test(self, where: str, given: Any) -> Test:
        if given not in ("t", "F", "pass"):
            self.add(where, f"is {_shown(given)}", 'Give "t", "F" or "pass"')
            return "t"
        return cast(Test, given)


def parse_model(content: Mapping[str, Any], source: str) -> StatsModel:
    """Model from the content of a file.

    Parameters
    ----------
    content : mapping
        JSON object.
    source : str
        Where it is from.

    Raises
    ------
    CoSpineError
        With every fault that it has.
    """
    faults = _Faults()
    known = ("Name", "BIDSModelVersion", "Input", "Nodes", "Edges")
    top = faults.only("model", content, known, ("Name", "BIDSModelVersion", "Nodes"))
    name = faults.text("Name", top["Name"]) if "Name" in top else ""
    version = top.get("BIDSModelVersion", "1.0.0")
    if not str(version).startswith("1."):
        faults.add("BIDSModelVersion", f"is {_shown(version)}", "Write it in version 1 of BIDS Stats Models")
    inputs = []
    for key, values in faults.only("Input", top.get("Input") or {}, ("task", "subject", "session", "run")).items():
        listed = values if isinstance(values, list) else [values]
        inputs.append((key, tuple(str(value) for value in listed)))
    given = top.get("Nodes")
    if not isinstance(given, list) or not given:
        given = []
        if "Nodes" in top:
            faults.add("Nodes", "holds no node", "Give a node of Level Run at least")
    high_pass: list[float] = []
    nodes = tuple(_node(f"Nodes[{k}]", one, faults, high_pass) for k, one in enumerate(given))
    _together(nodes, faults)
    edges = _edges(top.get("Edges"), nodes, faults)
    if faults:
        listed = "".join(f"\n- {fault}" for fault in faults)
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise CoSpineError(f"has {count}:{listed}\n", source, "docs/statistics.md tells what a model may hold")
    return StatsModel(
        name=name, description=str(top.get("Description", "")), inputs=tuple(inputs), nodes=nodes, edges=edges,
        high_pass_s=high_pass[0] if high_pass else None, source=source,
    )  # fmt: skip


def _node(where: str, given: Any, faults: _Faults, high_pass: list[float]) -> Node:
    known = ("Level", "Name", "GroupBy", "Transformations", "Model", "Contrasts", "DummyContrasts")
    node = faults.only(where, given, known, ("Level", "Name", "GroupBy", "Model"))
    level = _LEVELS.get(str(node.get("Level", "Run")))
    if level is None:
        faults.add(f"{where}.Level", f"is {_shown(node.get('Level'))}", f"Understood are {', '.join(_LEVELS)}")
        level = "run"
    name = faults.text(f"{where}.Name", node["Name"]) if "Name" in node else ""
    group_by = faults.names(f"{where}.GroupBy", node["GroupBy"]) if "GroupBy" in node else ()
    needed, allowed = _GROUPS[level]
    if group_by and not needed <= set(group_by) <= needed | allowed:
        faults.add(
            f"{where}.GroupBy", f"is {', '.join(group_by)}",
            f"At this level give {' and '.join(sorted(needed))}; {' and '.join(sorted(allowed))} may be added",
        )  # fmt: skip
    instructions, convolutions = _transformations(f"{where}.Transformations", node.get("Transformations"), level, faults)
    terms, further = _model(f"{where}.Model", node.get("Model", {"Type": "glm", "X": [1]}), level, faults, high_pass)
    convolutions += further
    if level == "run":
        _convolved(f"{where}.Model.X", terms, convolutions, faults)
    contrasts = _contrasts(f"{where}.Contrasts", node.get("Contrasts"), terms, convolutions, faults)
    dummies = _dummies(f"{where}.DummyContrasts", node.get("DummyContrasts"), faults)
    if not contrasts and dummies is None and level != "subject":
        faults.add(where, "has no contrast", 'Add Contrasts, or "DummyContrasts": {"Test": "t"} for each term')
    return Node(name, level, group_by, instructions, convolutions, terms, contrasts, dummies)


def _transformations(
    where: str, given: Any, level: Level, faults: _Faults
) -> tuple[tuple[Instruction, ...], tuple[Convolve, ...]]:
    if given is None:
        return (), ()
    content = faults.only(where, given, ("Transformer", "Instructions"), ("Transformer", "Instructions"))
    if content.get("Transformer", _TRANSFORMER) != _TRANSFORMER:
        faults.add(f"{where}.Transformer", f"is {_shown(content['Transformer'])}", f"Understood is {_TRANSFORMER}")
    instructions, convolutions = list[Instruction](), list[Convolve]()
    listed = content.get("Instructions", [])
    if not isinstance(listed, list):
        faults.add(f"{where}.Instructions", f"is {_shown(listed)}, no list", "Give instructions in brackets")
    for k, one in enumerate(listed if isinstance(listed, list) else []):
        at = f"{where}.Instructions[{k}]"
        kind = one.get("Name") if isinstance(one, Mapping) else None
        if kind == "Factor":
            faults.only(at, one, ("Name", "Input"), ("Input",))
            instructions.append(Factor(faults.names(f"{at}.Input", one.get("Input"))))
        elif kind == "Scale":
            faults.only(at, one, ("Name", "Input", "Demean", "Rescale"), ("Input",))
            demean, rescale = (faults.switch(f"{at}.{key}", one.get(key, True)) for key in ("Demean", "Rescale"))
            instructions.append(Scale(faults.names(f"{at}.Input", one.get("Input")), demean, rescale))
        elif kind == "Convolve" and level == "run":
            convolutions.append(_convolve(at, one, faults))
        else:
            known = "Factor, Scale, Convolve" if level == "run" else "Factor, Scale"
            faults.add(at, f"{_shown(kind)} is not understood", f"Understood at this level are {known}; do others in the tables")
        if convolutions and kind in ("Factor", "Scale"):
            faults.add(at, f"{kind} comes after Convolve", "Put Convolve last")
    return tuple(instructions), tuple(convolutions)


def _convolve(at: str, given: Mapping[str, Any], faults: _Faults) -> Convolve:
    faults.only(at, given, ("Name", "Input", "Model", "Derivative", "Dispersion", "FIRDelays"), ("Input",))
    inputs = faults.names(f"{at}.Input", given.get("Input"))
    model = given.get("Model", "spm")
    if model == FIR:
        if given.get("Derivative") or given.get("Dispersion"):
            faults.add(at, "FIR has no derivatives", "Leave Derivative and Dispersion out")
        return Convolve(inputs, FIR, _delays(f"{at}.FIRDelays", given.get("FIRDelays"), faults))
    derivative = faults.switch(f"{at}.Derivative", given.get("Derivative", False))
    dispersion = faults.switch(f"{at}.Dispersion", given.get("Dispersion", False))
    if "FIRDelays" in given:
        faults.add(f"{at}.FIRDelays", "stands beside a Model that is no FIR", 'Set "Model": "fir", or leave it out')
    if model not in ("spm", "glover"):
        faults.add(f"{at}.Model", f"is {_shown(model)}", "Understood are spm, glover and fir")
        model = "spm"
    if dispersion and not derivative:
        faults.add(f"{at}.Dispersion", "stands without Derivative", "Set Derivative to true as well")
    hrf = f"{model}{' + derivative' * derivative}{' + dispersion' * dispersion}"
    return Convolve(inputs, hrf if hrf in HRF_MODELS else "spm")


def _delays(where: str, given: Any, faults: _Faults) -> tuple[int, ...]:
    good = isinstance(given, list) and given and all(type(one) is int and one >= 0 for one in given)
    if not good or len(set(given)) < len(given):
        faults.add(where, f"is {_shown(given)}", "Give delays in TR: whole numbers from 0, each once")
        return (0,)
    return tuple(given)


def _model(
    where: str, given: Any, level: Level, faults: _Faults, high_pass: list[float]
) -> tuple[tuple[str, ...], tuple[Convolve, ...]]:
    known = ("Type", "X", "HRF", "Options") if level == "run" else ("Type", "X")
    content = faults.only(where, given, known, ("Type", "X"))
    kinds = {"run": ("glm",), "subject": ("meta", "glm"), "dataset": ("glm",)}[level]
    if content.get("Type", kinds[0]) not in kinds:
        faults.add(f"{where}.Type", f"is {_shown(content['Type'])}", f"At this level give {' or '.join(kinds)}")
    listed = content.get("X", [1])
    good = isinstance(listed, list) and listed and all((isinstance(x, str) and x) or (type(x) is int and x == 1) for x in listed)
    if not good:
        faults.add(f"{where}.X", f"is {_shown(listed)}", "Give a list of names of variables, and 1 for the intercept")
    terms = tuple(CONSTANT if x == 1 else x for x in listed) if good else (CONSTANT,)
    if level == "subject" and terms != (CONSTANT,):
        faults.add(f"{where}.X", f"is {_shown(listed)}", "Runs of a person are combined by fixed effects: give [1]")
    options = faults.only(f"{where}.Options", content.get("Options") or {}, ("HighPassFilterCutoffHz",))
    if "HighPassFilterCutoffHz" in options:
        cutoff = number(options["HighPassFilterCutoffHz"])
        if cutoff is None or not cutoff > 0:
            faults.add(f"{where}.Options.HighPassFilterCutoffHz", "is no frequency", "Give Hz, 0.0078125 for 128 s")
        else:
            high_pass.append(1 / cutoff)
    return terms, (_hrf(f"{where}.HRF", content["HRF"], faults),) if content.get("HRF") is not None else ()


def _hrf(where: str, given: Any, faults: _Faults) -> Convolve:
    content = faults.only(where, given, ("Variables", "Model", "Parameters"), ("Variables", "Model"))
    inputs = faults.names(f"{where}.Variables", content.get("Variables"))
    model, at = content.get("Model"), f"{where}.Parameters"
    if model == "FiniteImpulseResponse":
        chosen = faults.only(at, content.get("Parameters") or {}, ("Delays",), ("Delays",))
        return Convolve(inputs, FIR, _delays(f"{at}.Delays", chosen.get("Delays"), faults))
    if model != "DoubleGamma":
        faults.add(f"{where}.Model", f"is {_shown(model)}", "Understood are DoubleGamma and FiniteImpulseResponse")
    chosen = faults.only(at, content.get("Parameters") or {}, (*_SPM_PARAMETERS, "Derivatives"))
    for name, value in _SPM_PARAMETERS.items():
        if name in chosen and chosen[name] != value:
            faults.add(f"{at}.{name}", f"is {_shown(chosen[name])}", f"Only SPM's is there ({value}); for Glover's use Convolve")
    if chosen.get("Derivatives", 0) not in (0, 1):
        faults.add(f"{at}.Derivatives", f"is {_shown(chosen['Derivatives'])}", "Give 0 or 1; for more use Convolve")
    return Convolve(inputs, "spm + derivative" if chosen.get("Derivatives") == 1 else "spm")


def _convolved(where: str, terms: Sequence[str], convolutions: Sequence[Convolve], faults: _Faults) -> None:
    """Every term of a run must have a response, and one alone."""
    for term in terms:
        if term == CONSTANT:
            continue
        if term.startswith(_NOISE):
            faults.add(
                where, f"'{term}' is a column of noise",
                "Leave it out: drifts, motion and physiological noise are always in the model (--high-pass, --pnm-orders)",
            )  # fmt: skip
        elif not any(_covers(pattern, term) for one in convolutions for pattern in one.inputs):
            faults.add(where, f"'{term}' is not convolved with a response", "Name it in a Convolve instruction")
    literal = [(name, k) for k, one in enumerate(convolutions) for name in one.inputs]
    for name, k in literal:
        if any(j < k and _covers(other, name) for other, j in literal):
            faults.add(where, f"'{name}' is convolved twice", "Name it in one Convolve instruction, or in HRF")


def _covers(pattern: str, term: str) -> bool:
    """Whether an input of Convolve makes a term, or a column of a term's response."""
    stems = {term, *(term.partition(suffix)[0] for suffix in ("_derivative", "_dispersion", "_delay_") if suffix in term)}
    return any(pattern == stem or matching(pattern, [stem]) for stem in stems)


def _contrasts(
    where: str, given: Any, terms: Sequence[str], convolutions: Sequence[Convolve], faults: _Faults
) -> tuple[Contrast, ...]:
    found = list[Contrast]()
    if given is not None and not isinstance(given, list):
        faults.add(where, f"is {_shown(given)}, no list", "Give contrasts in brackets")
    for k, one in enumerate(given if isinstance(given, list) else []):
        at = f"{where}[{k}]"
        needed = ("Name", "ConditionList", "Weights", "Test")
        content = faults.only(at, one, needed, needed)
        listed = content.get("ConditionList", [])
        listed = [CONSTANT if x == 1 else x for x in listed] if isinstance(listed, list) else listed
        conditions = faults.names(f"{at}.ConditionList", listed)
        test = faults.test(f"{at}.Test", content.get("Test", "t"))
        weights = _weights(f"{at}.Weights", content.get("Weights", []), len(conditions), test, faults)
        name = faults.text(f"{at}.Name", content.get("Name", "?"))
        for condition in conditions:
            if not any(_covers(term, condition) for term in terms):
                faults.add(f"{at}.ConditionList", f"'{condition}' is not in Model.X", "Add it there, or correct the name")
            if test != "F" and "_delay_" not in condition and any(
                one.hrf == FIR and any(_covers(pattern, condition) for pattern in one.inputs) for one in convolutions
            ):  # fmt: skip
                faults.add(
                    f"{at}.ConditionList", f"'{condition}' has no single column under FIR", "Name its _delay_<k>, or test F"
                )
        found.append(Contrast(name, conditions, weights, test))
    labels = [one.label for one in found]
    for one in found:
        if one.name and (not one.label or labels.count(one.label) > 1):
            faults.add(where, f"'{one.name}' makes the file name '{one.label}' of no or several contrasts", "Name it otherwise")
    return tuple(found)


def _weights(where: str, given: Any, count: int, test: Test, faults: _Faults) -> tuple[tuple[float, ...], ...]:
    rows = given if isinstance(given, list) and given and all(isinstance(row, list) for row in given) else [given]
    try:
        found = tuple(tuple(_weight(value) for value in row) for row in rows)
    except (TypeError, ValueError, ZeroDivisionError):
        faults.add(where, f"is {_shown(given)}", 'Give numbers, or fractions as "1/3"')
        return ()
    if any(len(row) != count for row in found):
        faults.add(where, f"holds {len(found[0])} weights for {count} conditions", "Give one weight a condition")
    elif any(not any(row) for row in found):
        faults.add(where, "weighs everything by 0", "Give at least one weight that is not 0")
    if test != "F" and len(found) > 1:
        faults.add(where, f"holds {len(found)} rows for a {test} test", "Give one row, or test F")
    return found


def _weight(value: Any) -> float:
    if isinstance(value, str):
        return float(Fraction(value.replace(" ", "")))
    plain = number(value)
    if plain is None:
        raise ValueError(value)
    return plain


def _dummies(where: str, given: Any, faults: _Faults) -> Dummies | None:
    if given is None:
        return None
    content = faults.only(where, given, ("Contrasts", "Test"), ("Test",))
    listed = content.get("Contrasts")
    if isinstance(listed, list):
        listed = [CONSTANT if x == 1 else x for x in listed]
    test = faults.test(f"{where}.Test", content.get("Test", "t"))
    return Dummies(None if listed is None else faults.names(f"{where}.Contrasts", listed), test)


def _together(nodes: Sequence[Node], faults: _Faults) -> None:
    names = [node.name for node in nodes]
    for name in sorted({name for name in names if names.count(name) > 1 and name}):
        faults.add("Nodes", f"{names.count(name)} are named '{name}'", "Give each node a name of its own")
    levels = [node.level for node in nodes]
    if nodes and (levels.count("run") != 1 or levels.count("subject") > 1):
        faults.add(
            "Nodes", f"{levels.count('run')} of Level Run, {levels.count('subject')} of Level Subject",
            "Give one of Level Run, at most one of Level Subject, and any number of Level Dataset",
        )  # fmt: skip


def _edges(given: Any, nodes: Sequence[Node], faults: _Faults) -> tuple[Edge, ...]:
    if given is None:  # the standard: nodes follow each other as they are listed
        found = tuple(Edge(one.name, other.name) for one, other in pairwise(nodes))
    else:
        if not isinstance(given, list):
            faults.add("Edges", f"is {_shown(given)}, no list", "Give edges in brackets")
        found = tuple(_edge(f"Edges[{k}]", one, faults) for k, one in enumerate(given if isinstance(given, list) else []))
    level = {node.name: ("run", "subject", "dataset").index(node.level) for node in nodes}
    contrasts = {node.name: {label_of(one.name) for one in node.contrasts} for node in nodes if node.dummies is None}
    for edge in found:
        absent = [name for name in (edge.source, edge.destination) if name not in level]
        if absent:
            faults.add("Edges", f"no node is named {', '.join(map(repr, absent))}", f"Nodes are {', '.join(level)}")
        elif level[edge.source] >= level[edge.destination]:
            faults.add("Edges", f"'{edge.source}' does not come before '{edge.destination}'", "Go from Run to Subject to Dataset")
        elif edge.contrasts is not None and edge.source in contrasts and level[edge.source] == 0:
            lost = [name for name in edge.contrasts if label_of(name) not in contrasts[edge.source]]
            if lost:
                faults.add("Edges", f"'{edge.source}' has no contrast {', '.join(lost)}", "Correct the Filter")
    for node in nodes:
        if node.level != "run" and node.name and sum(edge.destination == node.name for edge in found) != 1:
            faults.add("Edges", f"not one edge leads to '{node.name}'", "Give it one source")
    return found


def _edge(where: str, given: Any, faults: _Faults) -> Edge:
    content = faults.only(where, given, ("Source", "Destination", "Filter"), ("Source", "Destination"))
    chosen = faults.only(f"{where}.Filter", content.get("Filter") or {}, ("contrast",))
    contrasts = faults.names(f"{where}.Filter.contrast", chosen["contrast"]) if "contrast" in chosen else None
    return Edge(str(content.get("Source", "")), str(content.get("Destination", "")), contrasts)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + ".."
