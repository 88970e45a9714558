"""The command line of `cospine simulate`: what it hands on, and what it answers to a wrong word."""

from dataclasses import replace
from pathlib import Path

import pytest

from cospine.cli.main import main
from cospine.phantom import simulate as simulation
from cospine.phantom.effects import CLEAN


def test_flags_become_arguments_and_effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple] = []
    monkeypatch.setattr(simulation, "simulate", lambda *arguments: seen.append(arguments))
    numbers = ["--participants", "3", "--seed", "5", "--volumes", "9", "--cord-scale", "2"]
    words = [*numbers, "--pair-motion", "1", "0.5", "--nod", "-2", "--protocol", "small", "--task", "motor", "--preset", "clean"]
    assert main(["simulate", str(tmp_path / "new"), *words, "--without", "noise", "bold"]) == 0
    (directory, participants, seed, protocol, volumes, task, effects, _), *more = seen
    assert not more
    assert (directory, participants, seed, protocol, volumes, task) == (tmp_path / "new", 3, 5, "small", 9, "motor")
    asked = {"cord_scale": 2.0, "pair_pose_mm_deg": (1.0, 0.5), "nod_deg": -2.0}
    assert effects == replace(CLEAN.without(["noise", "bold"]), **asked)


@pytest.mark.parametrize(
    ("words", "said"), [(["--without", "ghosts"], "ghosts"), (["--volumes", "1"], "volumes"), (["--nod", "20"], "--nod")]
)
def test_a_wrong_word_is_answered_with_2_and_nothing_written(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["simulate", str(tmp_path / "new"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
