"""The first level of a run that is made of arrays: effects come back where and as large as they were put in."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.pipeline.settings import Settings
from cospine.pipeline.task_stage import first_level, tissue_labels
from cospine.space.grid import Grid
from cospine.stats.design import task_columns
from cospine.stats.events import Condition

SHAPE, VOLUMES, TR = (14, 14, 6), 110, 2.0
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 4.0, 1.0]))
EFFECT = 2.0  # %


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rng = np.random.default_rng(5)
    brain, cord = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    brain[2:12, 2:12, 3:], cord[6:9, 6:9, :3] = True, True
    times = np.arange(VOLUMES)[:, None] * TR + np.linspace(0, 1.6, SHAPE[2])
    onsets = np.arange(8.0, 200, 24)
    events = tmp_path_factory.mktemp("events") / "sub-01_task-motorL_events.tsv"
    events.write_text("onset\tduration\r\n" + "".join(f"{onset}\t8\r\n" for onset in onsets))
    task = task_columns([Condition("x", onsets, np.full(onsets.size, 8.0), np.ones(onsets.size))], times).values[..., 0]
    active = np.zeros(SHAPE, bool)
    active[3:6, 3:6, 4:], active[6, 6:9, 1] = True, True
    head = rng.normal(size=(VOLUMES, 6)).cumsum(axis=0)
    slow = 10 * (head[:, 0] - head[2:, 0].mean())
    series = 500 + 5 * rng.normal(size=(*SHAPE, VOLUMES)) + slow
    series[active] += (5 * EFFECT * task.T[None, None] * np.ones((*SHAPE, 1)))[active]
    noise = SimpleNamespace(
        times_s=times,
        rows=np.arange(VOLUMES) >= 2,
        tissue=SimpleNamespace(csf=np.zeros(SHAPE, bool)),
        designs=lambda: np.repeat(head[None], SHAPE[2], axis=0),
        drift=np.empty((VOLUMES, 0)),
        head=head,
    )
    run = SimpleNamespace(events=events, task="motorL", volumes=VOLUMES, tr_s=TR, label="sub-01", slice_axis=2)
    return SimpleNamespace(
        run=run, noise=noise, series=np.asfortranarray(series, np.float32), brain=brain, cord=cord, active=active
    )


def level(made: Any, settings: Settings, **changes: Any) -> Any:
    run = SimpleNamespace(**{**vars(made.run), **changes})
    return first_level(run, GRID, made.noise, settings, made.series, made.brain, made.cord, None)


def test_effects_come_back_where_they_were_put_in(made: Any) -> None:
    found, why = level(made, Settings())
    assert not why
    assert list(found.fit.contrasts) == ["motorL"]
    effect, z = found.fit.contrasts["motorL"].effect, found.fit.contrasts["motorL"].z
    assert effect[made.active].mean() == pytest.approx(EFFECT, rel=0.05)
    inside = made.brain | made.cord
    assert np.isnan(effect[~inside]).all()
    quiet = z[inside & ~made.active]
    assert abs(quiet.mean()) < 0.15
    assert quiet.std() == pytest.approx(1, abs=0.12)
    assert np.median(z[made.active]) > 3
    # volumes not in steady state, the constant, head motion and the task
    np.testing.assert_array_equal(found.fit.dof, VOLUMES - 2 - 1 - 6 - 1)
    assert found.nuisance == 6
    assert any("motorL" in note for note in found.notes)


def test_another_response_and_another_model_are_used(made: Any, tmp_path: Path) -> None:
    found, _ = level(made, Settings(hrf="spm + derivative"))
    assert found.hrf == "spm + derivative"
    assert len(found.columns.names) == 2
    with pytest.raises(CoSpineError, match="exist"):
        level(made, Settings(model=tmp_path / "no.json"))


def test_without_model_events_or_volumes_it_says_why(made: Any) -> None:
    for settings, changes, words in (
        (Settings(), {"task": "rest"}, "no ready model"),
        (Settings(), {"events": None}, "no events"),
        (Settings(ignore=("events",)), {}, "ignored"),
    ):
        found, why = level(made, settings, **changes)
        assert found is None
        assert words in why
    wide = SimpleNamespace(**{**vars(made.noise), "designs": lambda: np.ones((SHAPE[2], VOLUMES, 95))})
    found, why = level(SimpleNamespace(**{**vars(made), "noise": wide}), Settings())
    assert found is None
    assert "--pnm-orders" in why


def test_kinds_of_tissue_are_told_apart(made: Any) -> None:
    csf = np.zeros(SHAPE, bool)
    csf[6:8, 6:8, :] = True
    labels = tissue_labels(made.brain, made.cord, csf)
    assert labels[6, 6, 5] == 3  # CSF in the brain
    assert labels[6, 6, 0] == 2  # never in the cord
    assert labels[3, 3, 4] == 1
