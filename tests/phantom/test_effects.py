"""Switches, and streams that do not disturb each other."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.phantom.effects import CLEAN, NAMES, REALISTIC, Effects, generator, number_of


def test_without_switches_off_what_is_named_and_nothing_else():
    effects = REALISTIC.without(["ghost", "noise"])
    assert {name for name in NAMES if not getattr(effects, name)} == {"ghost", "noise"}
    assert not any(getattr(REALISTIC.without(["all"]), name) for name in NAMES)


def test_an_unknown_effect_is_refused_with_the_known_ones():
    with pytest.raises(CoSpineError, match="ghosts") as error:
        REALISTIC.without(["ghosts"])
    assert "ghost" in error.value.remedy


def test_clean_keeps_motion_field_and_noise():
    assert CLEAN.motion
    assert CLEAN.field
    assert CLEAN.noise
    assert CLEAN.rotation_field
    assert not (CLEAN.ghost)
    assert not (CLEAN.physio)
    assert not (CLEAN.leakage)


def test_streams_are_repeatable_and_independent():
    draw = {key: generator(3, *key).standard_normal(4000) for key in [("a",), ("b",), ("a", 0), ("a", 1), (1, "a")]}
    np.testing.assert_array_equal(draw["a",], generator(3, "a").standard_normal(4000))
    keys = list(draw)
    for n, first in enumerate(keys):
        for second in keys[n + 1 :]:
            assert abs(np.corrcoef(draw[first], draw[second])[0, 1]) < 0.08
    assert number_of(3, "a") != number_of(4, "a")


@pytest.mark.parametrize(
    ("asked", "flag"),
    [({"pair_pose_mm_deg": (1.0, -1.0)}, "--pair-motion"), ({"pair_pose_mm_deg": (9.0, 0.0)}, "--pair-motion"),
     ({"recordings": "good"}, "--recordings"), ({"nod_deg": 9.0}, "--nod"), ({"nod_deg": float("nan")}, "--nod")],
)  # fmt: skip
def test_what_cannot_be_simulated_is_refused(asked: dict, flag: str):
    with pytest.raises(CoSpineError) as error:
        Effects(**asked)
    assert error.value.where == flag
