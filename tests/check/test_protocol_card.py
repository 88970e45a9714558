"""Protocol cards: what deviates, what does not, and cards that are none."""

import json

import pytest

from cospine.check.examine import examine
from cospine.check.protocol import cospine_card, read_card
from cospine.errors import CoSpineError
from cospine.phantom.protocol import FULL, PROTOCOLS, card

BOLD = "sub-01/func/sub-01_task-motorL_bold"


def written(folder, content):
    path = folder / "card.json"
    path.write_text(json.dumps(content))
    return path


def found(tree, path=None):
    return [
        one for one in examine(tree.root, path, validator=False).findings if one.code in ("protocol-deviation", "other-protocol")
    ]


def image(require, **match):
    return {"Name": "mine", "Images": [{"Match": {"suffix": "bold", **match}, "Require": require}]}


@pytest.mark.parametrize(
    ("require", "words"),
    [
        ({"EchoTime": 0.027, "FlipAngle": 80, "PhaseEncodingDirection": "j"}, ""),
        ({"EchoTime": 0.027, "FlipAngle": 80, "PhaseEncodingDirection": "j-"}, 'PhaseEncodingDirection "j" instead of "j-"'),
        ({"EchoTime": {"Value": 0.0275, "Tolerance": 0.001}}, ""),
        ({"EchoTime": 0.027, "FlipAngle": 80, "Shape": [16, 16, 9]}, "Shape [16, 16, 10] instead of [16, 16, 9]"),
        ({"EchoTime": 0.027, "FlipAngle": 80, "VoxelSize": {"Value": [12, 12, 12.3], "Tolerance": 0.1}}, "VoxelSize"),
        ({"EchoTime": 0.027, "FlipAngle": 80, "Volumes": 15}, "Volumes 14 instead of 15"),
        ({"EchoTime": 0.027, "FlipAngle": 80, "Multiband": 2}, "Multiband 1 instead of 2"),
        ({"EchoTime": 0.027, "FlipAngle": 80, "SliceOrder": list(range(10))}, "SliceOrder"),
        ({"NotThere": 1}, ""),
    ],
)
def test_what_deviates_is_named(tree, tmp_path, require, words):
    deviations = found(tree, written(tmp_path, image(require, task="motorL")))
    assert bool(deviations) is bool(words)
    if words:
        assert [one.participant for one in deviations] == ["sub-01", "sub-02"]
        assert words in deviations[0].message
        assert deviations[0].files == (f"{BOLD}.json",)


def test_another_protocol_is_said_once(tree, tmp_path):
    (one,) = found(tree, written(tmp_path, image({"EchoTime": 0.03, "FlipAngle": 75, "RepetitionTime": 2})))
    assert (one.code, one.participant) == ("other-protocol", None)


@pytest.mark.parametrize(
    "content",
    ["{", [], {}, {"Images": []}, {"Images": [1]}, {"Images": [{"Match": {"suffix": 1}, "Require": {"a": 1}}]},
     {"Images": [{"Match": {"task": "x"}, "Require": {"a": 1}}]}, {"Images": [{"Match": {"suffix": "bold"}, "Require": {}}]},
     {"Images": [{"Match": {"suffix": "bold"}, "Require": {"a": {"Value": 1}}}]},
     {"Images": [{"Match": {"suffix": "bold"}, "Require": {"a": {"Value": 1, "Tolerance": -1}}}]}],
)  # fmt: skip
def test_a_card_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "card.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CoSpineError) as caught:
        read_card(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy


def requirements(card):
    return {(json.dumps(dict(one.match)), key): value[0] for one in card.images for key, value in one.require.items()}


def test_the_card_of_the_phantom_at_full_size_is_ours(tmp_path):
    """Two that were written down apart."""
    ours, made = requirements(cospine_card()), requirements(read_card(written(tmp_path, card(FULL))))
    shared = ours.keys() & made.keys()
    assert len(shared) > 30
    assert {key for key in shared if ours[key] != pytest.approx(made[key])} == set()


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_what_simulate_writes_is_a_card(tmp_path, name):
    made = read_card(written(tmp_path, card(PROTOCOLS[name], 6)))
    assert {one.require["Volumes"][0] for one in made.images if "Volumes" in one.require} == {6}
