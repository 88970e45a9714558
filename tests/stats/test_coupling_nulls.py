"""Each null takes away what it says, and keeps its level."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.stats.coupling_nulls import against_controls, coupling_null

PEOPLE, VOLUMES = 12, 120


def autocorrelated(rng: np.random.Generator, rho: float = 0.7) -> np.ndarray:
    noise = rng.standard_normal((PEOPLE, VOLUMES))
    for t in range(1, VOLUMES):
        noise[:, t] += rho * noise[:, t - 1]
    return noise


@pytest.mark.parametrize("kind", ["people", "shift", "phase"])
def test_level_holds_for_autocorrelated_courses(kind) -> None:
    rng = np.random.default_rng(0)
    p = [coupling_null(autocorrelated(rng), autocorrelated(rng), kind, draws=99, seed=k).p for k in range(300)]
    assert 0.015 < np.mean(np.array(p) <= 0.05) < 0.09


@pytest.mark.parametrize("kind", ["people", "shift", "phase"])
def test_coupling_of_each_person_is_found(kind) -> None:
    rng = np.random.default_rng(1)
    common = autocorrelated(rng)
    found = coupling_null(common + autocorrelated(rng), common + autocorrelated(rng), kind, draws=199)
    assert found.p == pytest.approx(1 / 200)
    assert found.excess > 0.3


def test_pairs_of_strangers_take_away_what_all_people_share() -> None:
    rng = np.random.default_rng(2)
    task = 2 * np.sin(np.arange(VOLUMES) / 3)
    a, b = autocorrelated(rng) + task, autocorrelated(rng) + task
    strangers = coupling_null(a, b, "people", draws=199)
    phases = coupling_null(a, b, "phase", draws=199)
    assert strangers.observed > 0.2
    assert strangers.null.mean() > 0.2
    assert strangers.p > 0.05
    assert phases.p == pytest.approx(1 / 200)  # the spectrum alone cannot know


def test_shifts_and_phases_keep_the_spread_that_autocorrelation_gives() -> None:
    rng = np.random.default_rng(3)
    # of the mean over people of z of AR(1) courses: sqrt((1 + rho²) / (1 - rho²) / volumes / people)
    expected = np.sqrt((1 + 0.49) / (1 - 0.49) / VOLUMES / PEOPLE)
    for kind in ("shift", "phase"):
        spread = [coupling_null(autocorrelated(rng), autocorrelated(rng), kind, draws=200, seed=k).null.std() for k in range(20)]
        assert np.mean(spread) == pytest.approx(expected, rel=0.15)


def test_controls_take_away_what_muscle_shows_as_well() -> None:
    rng = np.random.default_rng(4)
    shared = 0.2 + 0.1 * rng.standard_normal((15, 1))
    z = shared + 0.02 * rng.standard_normal((15, 2)) + np.array([0.0, 0.3])
    muscle = shared + 0.02 * rng.standard_normal((15, 2))
    muscle[0, 0] = np.nan
    found = against_controls(z, muscle, flips=200)
    assert found.p[0] > 0.01
    assert found.r[0] == pytest.approx(0, abs=0.02)
    assert found.r[1] == pytest.approx(np.tanh(0.3), abs=0.02)
    muscle[0] = np.nan
    assert against_controls(z, muscle, flips=10).people.tolist() == [14, 14]


def test_what_cannot_be_drawn_is_refused() -> None:
    courses = np.random.default_rng(0).standard_normal((PEOPLE, VOLUMES))
    with pytest.raises(CoSpineError, match="30 volumes"):
        coupling_null(courses[:, :20], courses[:, :20], "shift")
    with pytest.raises(CoSpineError, match="four people"):
        coupling_null(courses[:3], courses[:3], "people")
    with pytest.raises(CoSpineError, match="same shape"):
        coupling_null(courses, courses[1:], "phase")
