"""BIDS Stats Models: the ready ones, what is read, every fault named at once, contrasts against hand-made weights."""

import copy
import json

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.phantom.task import events
from cospine.stats.design import estimable, task_columns
from cospine.stats.events import Condition
from cospine.stats.model import builtin_model, check_model, contrast_vectors, group_design, read_model, run_model
from cospine.stats.specification import label_of

TIMES = np.arange(225)[:, None] * 2.68 + [0.0, 1.37]
END_S = 225 * 2.68
HEAT = {
    "onset": [str(10 + 20 * k) for k in range(24)],
    "duration": ["4"] * 24,
    "trial_type": ["hot", "warm", "left hand"] * 8,
    "score": [str(3 + k * k % 7) if k % 3 == 0 else "n/a" for k in range(24)],
}


def specification(**run) -> dict:
    """A model of three levels; `run` replaces entries of the node of runs."""
    instructions = [
        {"Name": "Factor", "Input": ["trial_type"]},
        {"Name": "Scale", "Input": ["score"], "Demean": True, "Rescale": False},
        {"Name": "Convolve", "Input": ["trial_type.*", "score"], "Model": "spm", "Derivative": True},
    ]
    node = {
        "Level": "Run",
        "Name": "run",
        "GroupBy": ["run", "subject"],
        "Transformations": {"Transformer": "pybids-transforms-v1", "Instructions": instructions},
        "Model": {"Type": "glm", "X": ["trial_type.hot", "trial_type.warm", "score", 1]},
        "Contrasts": [
            {"Name": "hot > warm", "ConditionList": ["trial_type.hot", "trial_type.warm"], "Weights": [1, -1], "Test": "t"},
            {"Name": "mean", "ConditionList": ["trial_type.hot", "trial_type.warm"], "Weights": ["1/2", 0.5], "Test": "pass"},
            {
                "Name": "any",
                "ConditionList": ["trial_type.hot", "trial_type.warm"],
                "Weights": [[1, 0], [0, 1]],
                "Test": "F",
            },
        ],
        "DummyContrasts": {"Contrasts": ["trial_type.*", "score"], "Test": "t"},
        **run,
    }
    subject = {
        "Level": "Subject", "Name": "subject", "GroupBy": ["subject", "contrast"],
        "Model": {"Type": "meta", "X": [1]}, "DummyContrasts": {"Test": "t"},
    }  # fmt: skip
    dataset = {
        "Level": "Dataset", "Name": "dataset", "GroupBy": ["contrast"],
        "Transformations": {
            "Transformer": "pybids-transforms-v1",
            "Instructions": [{"Name": "Factor", "Input": ["sex"]}, {"Name": "Scale", "Input": ["age"]}],
        },
        "Model": {"Type": "glm", "X": [1, "sex.F", "age"]},
        "Contrasts": [{"Name": "women", "ConditionList": ["sex.F"], "Weights": [1], "Test": "t"}],
    }  # fmt: skip
    return {
        "Name": "heat", "BIDSModelVersion": "1.0.0", "Input": {"task": ["heat"]}, "Nodes": [node, subject, dataset],
        "Edges": [
            {"Source": "run", "Destination": "subject"},
            {"Source": "subject", "Destination": "dataset", "Filter": {"contrast": ["hotGtWarm"]}},
        ],
    }  # fmt: skip


def columns_of(table) -> dict[str, list[str]]:
    return {name: [str(row[k]) for row in table.rows] for k, name in enumerate(table.columns)}


@pytest.mark.parametrize(("task", "labels"), [("pain", ["pain", "rating", "PR"]), ("motorL", ["motorL"]), ("motorR", ["motorR"])])
def test_ready_models_fit_the_datasets_they_are_for(task: str, labels: list[str]) -> None:
    model = builtin_model(task)
    assert model is not None
    assert model.builtin
    found = run_model(model, columns_of(events(task, 1, 225, 2.68)), task, TIMES, END_S)
    assert list(found.contrasts) == labels
    assert found.columns.values.shape == (225, 2, len(labels))
    weights = {name: one.weights for name, one in found.contrasts.items()}
    for k, (name, vector) in enumerate(weights.items()):
        np.testing.assert_array_equal(vector, np.eye(len(labels))[k])
        assert found.contrasts[name].test == "t"
    assert estimable(found.columns.values.transpose(1, 0, 2), weights, found.columns.names).usable == tuple(labels)
    assert check_model(model, {"run": (columns_of(events(task, 1, 225, 2.68)), task)}, 128.0) == ()


def test_ready_model_survives_events_without_ratings() -> None:
    model = builtin_model("pain")
    assert model is not None
    table = columns_of(events("pain", 1, 225, 2.68))
    without = {name: cells for name, cells in table.items() if name not in ("PR", "UpR")}
    same = {**table, "PR": ["5" if cell != "n/a" else cell for cell in table["PR"]]}
    for columns, why in ((without, "no column PR in the events"), (same, "PR does not vary: it is left out")):
        found = run_model(model, columns, "pain", TIMES, END_S)
        assert list(found.contrasts) == ["pain", "rating"]
        assert any(why in note for note in found.notes)
        assert any("Contrast 'PR' is left out" in note for note in found.notes)
    assert "PR is not in the events of sub-01" in check_model(model, {"sub-01": (without, "pain")}, 128.0)[0]
    assert builtin_model("rest") is None
    assert builtin_model("motor") is not None


def test_a_model_becomes_columns_and_contrasts(tmp_path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(specification()))
    model = read_model(path)
    assert (model.source, model.high_pass_s, model.applies(task="heat"), model.applies(task="rest")) == (
        str(path),
        None,
        True,
        False,
    )
    found = run_model(model, HEAT, "heat", TIMES, END_S)
    hot, warm, score = "trial_type.hot", "trial_type.warm", "score"
    names = found.columns.names
    assert set(names) == {one + suffix for one in (hot, warm, score) for suffix in ("", "_derivative")}
    onsets = np.array([float(x) for x in HEAT["onset"]])
    scores = np.array([3 + k * k % 7 for k in range(0, 24, 3)], float)
    by_hand = task_columns(
        [
            Condition(hot, onsets[::3], np.full(8, 4.0), np.ones(8)),
            Condition(score, onsets[::3], np.full(8, 4.0), scores - scores.mean()),
        ],
        TIMES,
        "spm + derivative",
    )
    for name in by_hand.names:
        np.testing.assert_allclose(
            found.columns.values[..., names.index(name)], by_hand.values[..., by_hand.names.index(name)], atol=1e-12
        )
    assert list(found.contrasts) == ["hotGtWarm", "mean", "any", "hot", "warm", "score"]
    at = {name: names.index(name) for name in names}
    expected = np.zeros(6)
    expected[at[hot]], expected[at[warm]] = 1, -1
    np.testing.assert_array_equal(found.contrasts["hotGtWarm"].weights, expected)
    np.testing.assert_array_equal(found.contrasts["mean"].weights, np.abs(expected) / 2)
    assert found.contrasts["mean"].test == "pass"
    assert found.contrasts["any"].weights.shape == (2, 6)
    np.testing.assert_array_equal(found.contrasts["any"].weights.sum(axis=0), np.abs(expected))
    plain = run_model(model.with_hrf("glover"), HEAT, "heat", TIMES, END_S)
    assert plain.columns.names == (hot, warm, score) or set(plain.columns.names) == {hot, warm, score}


def test_finite_impulse_responses_are_tested_by_f_over_all_delays() -> None:
    content = specification(
        Transformations={
            "Transformer": "pybids-transforms-v1",
            "Instructions": [
                {"Name": "Factor", "Input": "trial_type"},
                {"Name": "Convolve", "Input": ["trial_type.*"], "Model": "fir", "FIRDelays": [0, 2, 4]},
            ],
        },
        Model={"Type": "glm", "X": ["trial_type.hot", "trial_type.warm", 1]},
        Contrasts=[
            {"Name": "differ", "ConditionList": ["trial_type.hot", "trial_type.warm"], "Weights": [1, -1], "Test": "F"},
            {"Name": "late", "ConditionList": ["trial_type.hot_delay_4"], "Weights": [1], "Test": "t"},
        ],
        DummyContrasts={"Test": "t"},
    )
    found = run_model(read_model(content), HEAT, "heat", TIMES, END_S)
    hot = [f"trial_type.hot_delay_{k}" for k in (0, 2, 4)]
    assert found.columns.names == (*hot, *(name.replace("hot", "warm") for name in hot))
    np.testing.assert_array_equal(found.contrasts["differ"].weights, np.hstack([np.eye(3), -np.eye(3)]))
    np.testing.assert_array_equal(found.contrasts["late"].weights, [0, 0, 1, 0, 0, 0])
    assert found.contrasts["hot"].test == "F"
    np.testing.assert_array_equal(found.contrasts["hot"].weights, np.eye(3, 6))


def test_hrf_of_the_standard_and_the_high_pass() -> None:
    content = specification(
        Transformations={"Transformer": "pybids-transforms-v1", "Instructions": [{"Name": "Factor", "Input": ["trial_type"]}]},
        Model={
            "Type": "glm", "X": ["trial_type.hot", "trial_type.warm"], "Options": {"HighPassFilterCutoffHz": 0.01},
            "HRF": {"Variables": ["trial_type.hot", "trial_type.warm"], "Model": "DoubleGamma", "Parameters": {"Derivatives": 1}},
        },
        DummyContrasts={"Contrasts": ["trial_type.hot_derivative"], "Test": "t"},
    )  # fmt: skip
    model = read_model(content)
    found = run_model(model, HEAT, "heat", TIMES, END_S)
    assert "trial_type.hot_derivative" in found.columns.names
    assert "hotDerivative" in found.contrasts
    assert model.high_pass_s == pytest.approx(100)
    assert check_model(model, {"a": (HEAT, "heat")}, 100.0) == ()
    with pytest.raises(CoSpineError, match=r"high-pass has a period of 100 s, the run's 128 s \(--high-pass\)"):
        check_model(model, {"a": (HEAT, "heat")}, 128.0)


def test_a_condition_of_some_runs_is_left_out_there_and_one_of_none_is_refused() -> None:
    model = read_model(specification())
    only_hot = {name: cells[::3] for name, cells in HEAT.items()}
    notes = check_model(model, {"sub-01": (HEAT, "heat"), "sub-02": (only_hot, "heat")}, 128.0)
    assert notes == ("trial_type.warm is not in the events of sub-02; it is left out there.",)
    found = run_model(model, only_hot, "heat", TIMES, END_S)
    assert list(found.contrasts) == ["hot", "score"]
    assert any("The run has no trial_type.warm" in note for note in found.notes)
    assert any("Contrast 'hot > warm' is left out: there is no trial_type.warm." in note for note in found.notes)
    late = {**HEAT, "onset": [x if kind != "warm" else "5000" for x, kind in zip(HEAT["onset"], HEAT["trial_type"], strict=True)]}
    emptied = run_model(model, late, "heat", TIMES, END_S)
    assert "trial_type.warm" not in emptied.columns.names
    assert any("8 of 24 events begin after the run's end" in note for note in emptied.notes)
    with pytest.raises(CoSpineError, match=r"no run has trial_type.warm.*The events have score, trial_type.hot"):
        check_model(model, {"sub-02": (only_hot, "heat"), "sub-03": (only_hot, "heat")}, 128.0)
    other = {**HEAT, "trial_type": ["x"] * 24, "score": ["n/a"] * 24}
    with pytest.raises(CoSpineError, match=r"none of the model's terms trial_type.hot.*its variables are trial_type.x"):
        run_model(model, other, "heat", TIMES, END_S)
    bad = {**HEAT, "onset": ["soon"] * 24}
    assert any(
        "sub-09: events: column onset holds" in note for note in check_model(model, {"a": (HEAT, ""), "sub-09": (bad, "")}, 128)
    )


FAULTS = [
    (lambda m: m.pop("Name"), "model: has no Name"),
    (lambda m: m.update(Name=3), "Name: is 3, no name"),
    (
        lambda m: m["Nodes"][2]["Transformations"].update(Instructions={}),
        r"Nodes\[2\].Transformations.Instructions: is {}, no list",
    ),
    (lambda m: m.update(Weather="fine"), "model.Weather: is not understood"),
    (lambda m: m.update(BIDSModelVersion="2.0"), "BIDSModelVersion: is '2.0'"),
    (lambda m: m["Input"].update(space=["T1w"]), "Input.space: is not understood"),
    (lambda m: m.update(Nodes=[]), "Nodes: holds no node"),
    (lambda m: m["Nodes"][1].update(Level="Session"), r"Nodes\[1\].Level: is 'Session'"),
    (lambda m: m["Nodes"][1].update(Level="Run"), "Nodes: 2 of Level Run, 0 of Level Subject"),
    (lambda m: m["Nodes"][1].update(Name="run"), "2 are named 'run'"),
    (lambda m: m["Nodes"][0].update(GroupBy=["subject"]), r"Nodes\[0\].GroupBy: is subject"),
    (lambda m: m["Nodes"][0]["Transformations"].update(Transformer="mine"), "Transformer: is 'mine'"),
    (
        lambda m: instructions(m).insert(1, {"Name": "Orthogonalize", "Input": ["a"]}),
        r"Instructions\[1\]: 'Orthogonalize' is not",
    ),
    (lambda m: instructions(m)[1].update(ReplaceNA="before"), r"Instructions\[1\].ReplaceNA: is not understood"),
    (lambda m: instructions(m).append({"Name": "Scale", "Input": ["x"]}), "Scale comes after Convolve"),
    (lambda m: instructions(m)[2].update(Model="gamma"), r"Instructions\[2\].Model: is 'gamma'"),
    (lambda m: instructions(m)[2].update(Derivative="yes"), r"Instructions\[2\].Derivative: is 'yes'"),
    (lambda m: instructions(m)[2].update(Dispersion=True, Derivative=False), "Dispersion: stands without Derivative"),
    (lambda m: instructions(m)[2].update(FIRDelays=[1]), "FIRDelays: stands beside a Model that is no FIR"),
    (lambda m: instructions(m).append({"Name": "Convolve", "Input": ["score"]}), "'score' is convolved twice"),
    (lambda m: instructions(m)[2].update(Input=["trial_type.*"]), "'score' is not convolved"),
    (lambda m: m["Nodes"][0]["Model"].update(Formula="1 + x"), "Model.Formula: is not understood"),
    (lambda m: m["Nodes"][0]["Model"].update(Type="meta"), "Model.Type: is 'meta'"),
    (lambda m: m["Nodes"][0]["Model"]["X"].append("trans_x"), "'trans_x' is a column of noise"),
    (lambda m: m["Nodes"][0]["Model"].update(X=[1, 2]), "Model.X: is \\[1, 2\\]"),
    (lambda m: m["Nodes"][0]["Model"].update(Options={"LowPassFilterCutoffHz": 1}), "LowPassFilterCutoffHz: is not understood"),
    (lambda m: m["Nodes"][0]["Model"].update(Options={"HighPassFilterCutoffHz": 0}), "HighPassFilterCutoffHz: is no frequency"),
    (lambda m: m["Nodes"][0]["Model"].update(HRF={"Variables": ["a"], "Model": "Gamma"}), "HRF.Model: is 'Gamma'"),
    (
        lambda m: m["Nodes"][0]["Model"].update(HRF={"Variables": ["a"], "Model": "DoubleGamma", "Parameters": {"PeakDelay": 5}}),
        "PeakDelay: is 5",
    ),
    (lambda m: contrast(m).update(Weights=[1]), "Weights: holds 1 weights for 2 conditions"),
    (lambda m: contrast(m).update(Weights=["a", 1]), "Weights: is"),
    (lambda m: contrast(m).update(Weights=["1/0", 1]), "Weights: is"),
    (lambda m: contrast(m).update(Weights=[0, 0]), "weighs everything by 0"),
    (lambda m: contrast(m).update(Weights=[[1, 0], [0, 1]]), "holds 2 rows for a t test"),
    (lambda m: contrast(m).update(Test="z"), "Test: is 'z'"),
    (lambda m: contrast(m).update(ConditionList=["trial_type.cold", "trial_type.hot"]), "'trial_type.cold' is not in Model.X"),
    (lambda m: contrast(m).update(Name="mean!"), "'mean!' makes the file name 'mean'"),
    (lambda m: m["Nodes"][0].update(DummyContrasts={"Contrasts": 3, "Test": "t"}), "DummyContrasts.Contrasts: is 3"),
    (lambda m: [m["Nodes"][2].pop("Contrasts")], r"Nodes\[2\]: has no contrast"),
    (lambda m: m["Nodes"][1]["Model"].update(X=[1, "age"]), r"Nodes\[1\].Model.X: is .* fixed effects"),
    (lambda m: m["Edges"][0].update(Destination="nowhere"), "no node is named 'nowhere'"),
    (lambda m: m["Edges"][0].update(Source="dataset"), "'dataset' does not come before 'subject'"),
    (lambda m: m["Edges"].pop(), "not one edge leads to 'dataset'"),
    (lambda m: m["Edges"][1].update(Filter={"task": ["x"]}), "Filter.task: is not understood"),
]


def instructions(content):
    return content["Nodes"][0]["Transformations"]["Instructions"]


def contrast(content):
    return content["Nodes"][0]["Contrasts"][0]


@pytest.mark.parametrize(("spoil", "what"), FAULTS)
def test_what_is_not_understood_is_refused_with_its_place(spoil, what: str) -> None:
    content = specification()
    spoil(content)
    with pytest.raises(CoSpineError, match=what):
        read_model(content)


def test_all_faults_are_told_at_once() -> None:
    content = specification()
    content["Nodes"][0]["Model"]["Formula"] = "1 + hot"
    contrast(content)["Test"] = "z"
    content["Edges"].pop()
    with pytest.raises(CoSpineError) as caught:
        read_model(content)
    assert "has 3 faults" in caught.value.what
    assert all(part in caught.value.what for part in ("Formula", "Test", "not one edge"))


def test_files_that_are_no_model(tmp_path) -> None:
    path = tmp_path / "model.json"
    with pytest.raises(CoSpineError, match="does not exist"):
        read_model(path)
    path.write_text("{")
    with pytest.raises(CoSpineError, match="cannot be read"):
        read_model(path)
    path.write_text("[1]")
    with pytest.raises(CoSpineError, match="holds a list"):
        read_model(path)
    for content in (
        {},
        {"Nodes": 3},
        {"Name": "a", "BIDSModelVersion": "1.0.0", "Nodes": [3]},
        {"Nodes": [{"Contrasts": [None]}]},
    ):
        with pytest.raises(CoSpineError, match="fault"):
            read_model(content)


def test_any_entry_of_a_wrong_kind_is_a_named_fault() -> None:
    """Every value of the specification, one after the other, replaced by things of other kinds."""

    def places(value, path=()):
        if path:
            yield path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield from places(inner, (*path, key))

    for path in list(places(specification())):
        for strange in (None, 3.5, "", [], {}, [[]], True):
            content = copy.deepcopy(specification())
            holder = content
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = strange
            try:
                read_model(content)
            except CoSpineError as error:
                assert "fault" in error.what  # noqa: PT017 - any other exception is what this test is about


def test_without_edges_nodes_follow_each_other() -> None:
    content = specification()
    del content["Edges"]
    edges = read_model(content).edges
    assert [(edge.source, edge.destination) for edge in edges] == [("run", "subject"), ("subject", "dataset")]


def test_design_of_the_group() -> None:
    (node,) = read_model(specification()).dataset
    table = {"participant_id": ["sub-01", "sub-02", "sub-03"], "sex": ["F", "M", "F"], "age": ["20", "30", "n/a"]}
    names, values = group_design(node, table)
    assert names == ("1", "sex.F", "age")
    np.testing.assert_allclose(values, [[1, 1, -(0.5**0.5)], [1, 0, 0.5**0.5], [1, 1, np.nan]])
    contrasts, notes = contrast_vectors(node, names)
    np.testing.assert_array_equal(contrasts["women"].weights, [0, 1, 0])
    assert notes == ()
    with pytest.raises(CoSpineError, match=r"participants have no age\. There is no column age"):
        group_design(node, {"sex": ["F", "M", "F"]})


def test_labels_are_fit_for_files() -> None:
    names = ("trial_type.pain", "hot > warm", "left-hand press", "PR", "A<B", "***")
    assert [label_of(name) for name in names] == ["pain", "hotGtWarm", "leftHandPress", "PR", "ALtB", ""]
    model = read_model(specification())
    assert model.applies(task="heat", run="1")
    content = specification()
    content["Input"] = {"task": "heat", "run": [1]}
    assert read_model(content).applies(task="heat", run="01")
    assert not read_model(content).applies(task="heat", run="2")
