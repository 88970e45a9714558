"""Seeds of a run that is made of arrays: what goes with them is found, and where the task makes it so."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cospine.bids import Derivatives, read_json
from cospine.errors import CoSpineError
from cospine.pipeline.execute import read_chosen
from cospine.pipeline.leakage_stage import Leaking
from cospine.pipeline.seed_stage import seed_maps
from cospine.pipeline.settings import Settings
from cospine.pipeline.task_files import write_seed
from cospine.signal.simultaneous import simultaneous_pairs
from cospine.space.grid import Grid
from cospine.stats.design import TaskColumns
from cospine.stats.leakage import Leakage
from cospine.stats.regions import Region, RegionSet

TR, VOLUMES, SHAPE = 2.0, 160, (10, 10, 8)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 4.0, 1.0]))
TIMES = np.array([0.0, 1.0, 0.4, 1.4] * 2)  # slices k and k + 4 are one excitation
SEED = "dorsal_R_spinal-C6"


@pytest.fixture(scope="module")
def made() -> Any:
    rng = np.random.default_rng(0)
    cord, brain = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    cord[4:7, 4:7, :4], brain[1:9, 1:9, 4:] = True, True
    labels = np.zeros(SHAPE, np.int32)
    labels[5:7, 4:6, 1:3] = 1
    times = np.arange(VOLUMES)[:, None] * TR + TIMES
    waves = [(f, rng.uniform(0, 6.28), rng.normal()) for f in np.linspace(0.01, 0.15, 30)]
    wave = sum(a * np.sin(2 * np.pi * f * times + p) for f, p, a in waves)
    wave /= wave.std()
    block = ((times % 40) < 20).astype(float)
    series = 500 + 5 * rng.standard_normal((*SHAPE, VOLUMES))
    series[labels > 0] += (15 * wave.T)[np.argwhere(labels > 0)[:, 2]]
    always, task = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    always[2:4, 2:4, 4:], task[6:8, 6:8, 4:] = True, True
    series[always] += (5 * wave.T)[np.argwhere(always)[:, 2]]
    series[task] += (10 * (wave * (block - 0.5)).T)[np.argwhere(task)[:, 2]]
    head = rng.standard_normal((VOLUMES, 6)).cumsum(axis=0)
    names = ("trial_type.heat", "trial_type.heat_derivative")
    columns = TaskColumns(names, np.stack([block, np.roll(block, 1, axis=0) - block], axis=2), names[:1] * 2)
    noise = SimpleNamespace(
        times_s=times,
        rows=np.arange(VOLUMES) >= 2,
        tissue=SimpleNamespace(csf=np.zeros(SHAPE, bool)),
        designs=lambda: np.repeat(head[None], SHAPE[2], axis=0),
    )
    regions = RegionSet("native", GRID, labels, (Region(1, SEED, "R", "dorsal", "spinal", 6),))
    return SimpleNamespace(
        noise=noise, series=np.asfortranarray(series, np.float32), brain=brain, cord=cord, always=always, with_task=task,
        regions=regions,
        task=SimpleNamespace(columns=columns, hrf="spm", model=SimpleNamespace(name="heat"), weights={"heat": {names[0]: 1.0}}),
    )  # fmt: skip


def mapped(made: Any, settings: Settings, **changes: Any) -> Any:
    run: Any = SimpleNamespace(
        tr_s=TR, slice_axis=2, label="sub-01", prefix="sub-01_task-heat", entities={"sub": "01", "task": "heat"}
    )
    given = {
        "run": run, "grid": GRID, "noise": made.noise, "task": made.task, "coupled": SimpleNamespace(regions=made.regions),
        "settings": settings, "corrected": made.series, "brain": made.brain, "cord": made.cord,
        "placement": SimpleNamespace(means={}), "slice_times_s": TIMES, "leaking": None,
        "write": lambda seed: None,
    }  # fmt: skip
    return seed_maps(**{**given, **changes})


def test_coupling_and_its_change_with_the_task_are_found_where_they_are(made: Any) -> None:
    (found,), notes = mapped(made, Settings(seed_regions=(SEED,)))
    assert not notes
    assert list(found.fit.contrasts) == ["seedDorsalRSpinalC6", "ppiDorsalRSpinalC6Heat"]
    seed, change = found.fit.contrasts.values()
    rest = made.brain & ~made.always & ~made.with_task
    assert seed.effect[made.always].mean() == pytest.approx(1.0, abs=0.1)  # 5 of 500 for one SD
    assert change.effect[made.with_task].mean() == pytest.approx(2.0, abs=0.3)  # 10 of 500 more within a block than without
    for one, other in ((seed, change), (change, seed)):
        assert np.mean(one.z[rest] > 1.645) == pytest.approx(0.05, abs=0.025)
        assert np.abs(other.z[made.always if one is seed else made.with_task]).mean() < 2


def test_without_a_task_there_is_the_seed_alone(made: Any) -> None:
    (found,), _ = mapped(made, Settings(seed_regions=(SEED,)), task=None)
    assert list(found.fit.contrasts) == ["seedDorsalRSpinalC6"]


def test_slices_excited_with_all_of_the_seed_have_no_estimate(made: Any) -> None:
    labels = np.where(np.arange(SHAPE[2]) == 1, made.regions.labels, 0)
    one_slice = RegionSet("native", GRID, labels, made.regions.regions)
    (found,), notes = mapped(made, Settings(seed_regions=(SEED,)), coupled=SimpleNamespace(regions=one_slice))
    z = found.fit.contrasts["seedDorsalRSpinalC6"].z
    assert np.isnan(z[..., 5]).all()
    assert any("1 of 8 slices" in note for note in notes)
    assert np.isfinite(z[made.brain & (np.arange(SHAPE[2]) == 6)]).all()


def test_what_cannot_be_is_said(made: Any) -> None:
    found, notes = mapped(made, Settings(seed_regions=("PAG", SEED)))
    assert [one.region for one in found] == [SEED]
    assert "seed PAG" in notes[0]
    few = SimpleNamespace(**{**vars(made.noise), "designs": lambda: np.zeros((SHAPE[2], VOLUMES, 147))})
    found, notes = mapped(made, Settings(seed_regions=(SEED,)), noise=few)
    assert not found
    assert "degrees of freedom" in notes[0]


def test_the_seed_is_not_held_against_itself(made: Any) -> None:
    (found,), _ = mapped(made, Settings(seed_regions=(SEED, SEED)))
    z = found.fit.contrasts["seedDorsalRSpinalC6"].z
    assert np.isnan(z[made.regions.mask(SEED)]).all()
    assert np.isnan(z[4, 4, 1])  # beside it
    assert np.isfinite(z[made.brain]).all()


def test_an_interaction_that_cannot_be_estimated_is_said_and_the_rest_stays(made: Any) -> None:
    columns = made.task.columns
    silent = columns.joined(TaskColumns(("warm",), np.zeros((*columns.values.shape[:2], 1)), ("warm",)))
    weights = {**made.task.weights, "warm": {"warm": 1.0}, "heatGtWarm": {"trial_type.heat": 1.0, "warm": -1.0}}
    task = SimpleNamespace(columns=silent, weights=weights, model=made.task.model)
    (found,), notes = mapped(made, Settings(seed_regions=(SEED,)), task=task)
    assert list(found.fit.contrasts) == ["seedDorsalRSpinalC6", "ppiDorsalRSpinalC6Heat"]
    assert sum("interaction with warm does not vary" in note for note in notes) == 2
    delays = TaskColumns(("heat_delay_0",), columns.values[..., :1], ("heat",))
    fir = SimpleNamespace(columns=delays, weights={"heat": {"heat_delay_0": 1.0}}, model=made.task.model)
    (found,), notes = mapped(made, Settings(seed_regions=(SEED,)), task=fir)
    assert list(found.fit.contrasts) == ["seedDorsalRSpinalC6"]
    assert "FIR" in notes[0]


def test_leakage_is_no_coupling_of_the_seed(made: Any) -> None:
    """The whole brain swings as one, and a share of it comes to the cord: the seed in the brain would find it there."""
    rng = np.random.default_rng(4)
    swing = rng.standard_normal(VOLUMES).astype(np.float32)
    own = 4 * rng.standard_normal((*SHAPE, VOLUMES)).astype(np.float32)
    own[:, :, 4:] += 8 * swing
    acquired = own.copy()
    acquired[:, :, :4] += 0.08 * np.roll(own[:, :, 4:], -2, axis=1)
    labels = np.zeros(SHAPE, np.int32)
    labels[2:4, 2:4, 6] = 1
    seed = RegionSet("native", GRID, labels, (Region(1, "S2_L", "L", "sphere"),))
    leakage = Leakage(simultaneous_pairs(TIMES), np.full(4, 0.08), 2, 1)
    leaking = Leaking(leakage, acquired, np.tile(np.eye(4), (SHAPE[2], 1, 1)), None)
    corrected = np.asfortranarray(500 + acquired)
    z = {}
    for name, given in {"left": None, "out": leaking}.items():
        (found,), _ = mapped(
            made,
            Settings(seed_regions=("S2_L",)),
            corrected=corrected,
            coupled=SimpleNamespace(regions=seed),
            leaking=given,
            task=None,
        )
        z[name] = found.fit.contrasts["seedS2L"].z[made.cord & (np.arange(SHAPE[2]) != 2)].mean()
    assert z["left"] > 1.2
    assert abs(z["out"]) < 0.4


def test_files_say_what_they_are(made: Any, tmp_path: Any) -> None:
    run: Any = SimpleNamespace(prefix="sub-01_task-heat", entities={"sub": "01", "task": "heat"})
    written: list[Any] = []

    def write(seed: Any) -> None:
        written.extend(write_seed(Derivatives(tmp_path / "out", tmp_path), run, seed, made.task, GRID, {}))

    mapped(made, Settings(seed_regions=(SEED,)), write=write)
    names = [path.name for path in written if path.suffix == ".json"]
    assert names == [f"sub-01_task-heat_contrast-{one}_statmap.json" for one in ("seedDorsalRSpinalC6", "ppiDorsalRSpinalC6Heat")]
    about = read_json(next(path for path in written if path.suffix == ".json"))
    assert about["Seed"] == SEED
    assert "one standard deviation of the seed" in about["Units"]["effect"]


def test_a_name_that_no_region_has_is_refused_before_the_work(tmp_path: Any) -> None:
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (tmp_path / "sub-01").mkdir()
    with pytest.raises(CoSpineError, match="no region is called dorsal_R_C6") as told:
        read_chosen(tmp_path, Settings(seed_regions=("dorsal_R_C6",)))
    assert "dorsal_R_spinal-C6" in str(told.value)
