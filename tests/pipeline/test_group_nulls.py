"""Coupling that is a person's own is told from what everybody has in common, and from what the neck has too."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter

from cospine.bids.write import write_tsv
from cospine.errors import CoSpineError
from cospine.pipeline.coupling_stage import CONTROL
from cospine.pipeline.group_nulls import PairNull, pair_nulls

BRAIN, HORN, OTHER = "S2_L", "dorsal_R_spinal-C6", "dorsal_L_spinal-C6"


def noise(rng: np.random.Generator, volumes: int = 120) -> np.ndarray:
    return lfilter([1.0], [1.0, -0.3], rng.standard_normal(volumes))


def written(folder: Path, kind: str, people: int = 10) -> dict[str, Path]:
    rng = np.random.default_rng(4)
    common = noise(rng)
    paths = {}
    for n in range(people):
        table = {name: noise(rng) for name in (BRAIN, "ACC", HORN, OTHER, "ventral_R_spinal-C6", CONTROL)}
        shared = {"own": noise(rng), "everybody": common, "neck": noise(rng), "none": np.zeros(len(common))}[kind]
        for name in (BRAIN, HORN, *([CONTROL] if kind == "neck" else [])):
            table[name] = table[name] + 1.2 * shared
        paths[f"sub-{n:02d}"] = folder / f"sub-{n:02d}_timeseries.tsv"
        write_tsv(paths[f"sub-{n:02d}"], {name: values[: 120 - n % 3].tolist() for name, values in table.items()})
    return paths


def of(pairs: tuple[PairNull, ...], brain: str, cord: str) -> PairNull:
    return next(one for one in pairs if (one.brain, one.cord) == (brain, cord))


def test_a_persons_own_coupling_stands_against_every_null(tmp_path: Path) -> None:
    pairs = pair_nulls("pain", written(tmp_path, "own"), seed=1)
    assert {one.cord for one in pairs} == {HORN, OTHER}  # the horns that heat is expected in
    assert pairs[0] == of(pairs, BRAIN, HORN)
    assert pairs[0].p_holm < 0.05
    assert pairs[0].r > 0.4
    assert abs(pairs[0].expected) < 0.1
    assert all(one.p_holm > 0.05 for one in pairs[1:])
    assert all(set(one.p) == {"people", "shift", "phase", "control"} for one in pairs)


@pytest.mark.parametrize(("kind", "null"), [("everybody", "people"), ("neck", "control")])
def test_what_strangers_or_the_neck_have_too_does_not(tmp_path: Path, kind: str, null: str) -> None:
    found = of(pair_nulls("pain", written(tmp_path, kind), seed=1), BRAIN, HORN)
    assert found.p["shift"] < 0.05
    assert found.p["phase"] < 0.05
    assert found.p[null] > 0.05
    assert found.p_holm > 0.05


def test_a_strong_pair_survives_correction_over_as_many_pairs_as_there_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    paths = {}
    for n in range(12):
        own = noise(rng)
        horns = {f"dorsal_{side}_spinal-C{level}": noise(rng) for side in "LR" for level in (5, 6, 7)}
        spheres = {f"sphere{k}": noise(rng) for k in range(10)}
        table = {**horns, **spheres, "sphere3": own, HORN: own + 0.5 * noise(rng)}
        paths[f"sub-{n}"] = tmp_path / f"{n}.tsv"
        write_tsv(paths[f"sub-{n}"], {name: values.tolist() for name, values in table.items()})
    pairs = pair_nulls("pain", paths, seed=1)
    assert len(pairs) == 60
    assert (pairs[0].brain, pairs[0].cord) == ("sphere3", HORN)
    assert pairs[0].p_holm < 0.02
    assert all(one.p_holm > 0.05 for one in pairs[1:])


def test_a_course_that_does_not_vary_is_nobodys_coupling(tmp_path: Path) -> None:
    paths = written(tmp_path, "own", 6)
    first = next(iter(paths.values()))
    lines = first.read_text().splitlines()
    write_tsv(first, {name: [0.0] * (len(lines) - 1) for name in lines[0].split("\t")})
    assert {one.people for one in pair_nulls("pain", paths, seed=1)} == {5}


def test_another_task_has_all_horns_and_three_people_are_too_few(tmp_path: Path) -> None:
    assert len({one.cord for one in pair_nulls("rest", written(tmp_path, "none", 4), seed=1)}) == 3
    assert pair_nulls("pain", written(tmp_path, "none", 3), seed=1) == ()


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    paths = written(tmp_path, "none", 4)
    paths["sub-02"].write_text("S2_L\tACC\nx\ty\n")
    with pytest.raises(CoSpineError, match="sub-02"):
        pair_nulls("pain", paths, seed=1)
