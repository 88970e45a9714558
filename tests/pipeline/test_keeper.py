"""Steps are done again when, and only when, something that they depend on has changed."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.pipeline.keeper import Done, Keeper
from cospine.pipeline.record import read_record
from cospine.pipeline.settings import Settings


@dataclass(frozen=True, eq=False)
class Found:
    """A result that others refer to."""

    values: np.ndarray = field(repr=False)


class Lab:
    """Two steps, the second built on the first, that write a file each and count how often they were done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source.txt"
        self.source.write_text("1 2 3")
        self.done: list[str] = []
        self.versions = {"first": "1", "second": "1"}

    def run(self, settings: Settings = Settings(), *, plan: bool = False, facts: object = None) -> tuple[Keeper, Done, Done]:
        keeper = Keeper(self.folder / "work", settings, plan=plan)

        def first(watched: Settings) -> tuple[Found, tuple[Path, ...]]:
            self.done.append("first")
            path = self.folder / "first.txt"
            path.write_text(f"{watched.high_pass}")
            return Found(np.array(self.source.read_text().split(), dtype=float)), (path,)

        def second(watched: Settings) -> tuple[tuple[Found, float], tuple[Path, ...]]:
            self.done.append("second")
            path = self.folder / "second.txt"
            path.write_text(f"{watched.smoothing_brain}")
            return (one.value, float(one.value.values.sum())), (path,)

        one = keeper.step("sub-01", "first", self.versions["first"], first, files=[self.source], facts=facts)
        two = keeper.step("sub-01", "second", self.versions["second"], second, after=[one])
        return keeper, one, two

    def again(self, settings: Settings = Settings(), facts: object = None) -> list[str]:
        self.done.clear()
        self.run(settings, facts=facts)
        return list(self.done)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.run()
    assert made.done == ["first", "second"]
    return made


def test_nothing_is_done_twice_and_results_are_read_when_asked_for(lab: Lab) -> None:
    assert lab.again() == []
    _, one, two = lab.run()
    np.testing.assert_array_equal(one.value.values, [1, 2, 3])
    assert two.value[1] == 6
    # kept once: the second refers to the first's result
    assert two.value[0] is one.value


def test_a_setting_counts_for_the_step_that_read_it_alone(lab: Lab) -> None:
    assert lab.again(Settings(smoothing_brain=8)) == ["second"]
    assert lab.again(Settings(smoothing_brain=8, smoothing_cord=(1.0, 2.0), nprocs=3)) == []
    assert lab.again(Settings(smoothing_brain=8, high_pass=90)) == ["first", "second"]


def test_content_of_files_counts_not_their_times(lab: Lab) -> None:
    os.utime(lab.source, ns=(1, 1))
    assert lab.again() == []
    lab.source.write_text("1 2 4")  # as long as before
    assert lab.again() == ["first", "second"]


def test_outputs_that_are_gone_or_changed_are_made_again(lab: Lab) -> None:
    (lab.folder / "second.txt").unlink()
    assert lab.again() == ["second"]
    (lab.folder / "first.txt").write_text("mine")
    assert lab.again() == ["first"]  # its result is what it was: what builds on it stands


def test_version_and_facts_count(lab: Lab) -> None:
    lab.versions["second"] = "2"
    assert lab.again() == ["second"]
    assert lab.again(facts={"tr_s": 2.5}) == ["first", "second"]
    assert lab.again(facts={"tr_s": 2.5}) == []


def test_what_failed_is_done_again_and_nothing_vouches_for_it(lab: Lab) -> None:
    lab.source.write_text("no numbers")
    with pytest.raises(ValueError, match="could not convert"):
        lab.run()
    assert read_record(lab.folder / "work/sub-01/first.kept") is None
    lab.source.write_text("1 2 3")
    assert lab.again() == ["first"]


def test_a_plan_says_why_and_does_nothing(lab: Lab) -> None:
    lab.done.clear()
    keeper, *_ = lab.run(Settings(high_pass=90), plan=True)
    assert lab.done == []
    assert [(one.name, one.why) for one in keeper.planned] == [
        ("first", "--high-pass was 128, is 90"),
        ("second", "after first"),
    ]
    assert lab.again() == []


def test_a_step_inside_of_another_counts_for_both(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("a")
    done: list[str] = []

    def run(settings: Settings) -> list[str]:
        done.clear()
        keeper = Keeper(tmp_path / "work", settings)

        def inner(watched: Settings) -> tuple[str, tuple[Path, ...]]:
            done.append("inner")
            (tmp_path / "inner.txt").write_text("x")
            return f"{watched.seed}", (tmp_path / "inner.txt",)

        def outer(_: Settings) -> tuple[str, tuple[Path, ...]]:
            done.append("outer")
            return keeper.step("sub-01", "inner", "1", inner, files=[source]).value + "!", ()

        assert keeper.step("sub-01/run", "outer", "1", outer).value == f"{settings.seed}!"
        return list(done)

    assert run(Settings()) == ["outer", "inner"]
    assert run(Settings()) == []
    assert run(Settings(seed=3)) == ["outer", "inner"]
    source.write_text("bb")
    assert run(Settings(seed=3)) == ["outer", "inner"]
    (tmp_path / "inner.txt").unlink()
    assert run(Settings(seed=3)) == ["outer", "inner"]


def test_a_path_counts_by_what_lies_there(tmp_path: Path) -> None:
    done: list[str] = []

    def run(folder: Path) -> list[str]:
        done.clear()

        def compute(watched: Settings) -> tuple[None, tuple[Path, ...]]:
            assert watched.template_dir is not None
            done.append("template")
            return None, ()

        Keeper(tmp_path / "work", Settings(template_dir=folder)).step("sub-01", "template", "1", compute)
        return list(done)

    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        (folder / "PAM50_cord.nii.gz").write_text("cord")
        os.utime(folder / "PAM50_cord.nii.gz", ns=(5, 5))
    assert run(first) == ["template"]
    assert run(second) == []
    (second / "PAM50_cord.nii.gz").write_text("another")
    assert run(second) == ["template"]


def test_what_is_no_longer_asked_for_goes_with_its_files(lab: Lab) -> None:
    keeper, *_ = lab.run()
    keeper.forget_others("sub-01", ["first"])
    assert not (lab.folder / "second.txt").exists()
    assert (lab.folder / "first.txt").exists()
    assert lab.again() == ["second"]


def test_a_broken_result_is_said(lab: Lab) -> None:
    path = lab.folder / "work/sub-01/first.kept"
    path.write_bytes(path.read_bytes()[:-20])
    _, one, _ = lab.run()
    with pytest.raises(CoSpineError, match="Remove the work directory"):
        _ = one.value
