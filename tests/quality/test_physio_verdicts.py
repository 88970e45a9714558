"""Words about pulse, breathing and the noise model: the right level, the right number, nothing said twice."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cospine.physio.peaks import Peaks, SignalQuality
from cospine.physio.physiology import Channel
from cospine.physio.recording import Recording
from cospine.quality import physio_verdicts as words
from cospine.quality.methods import noise_methods
from cospine.signal.partial import PartialTests, partial_tests
from cospine.signal.simultaneous import shared_signal
from cospine.stats.collinearity import Collinearity, SharedWithTask, aliasing

RUN_S = 300.0


def covered(
    kind: str = "cardiac",
    *,
    per_min: float = 70.0,
    mended: float = 0.0,
    unusable: float = 0.0,
    coverage: float = 1.0,
    **facts: Any,
) -> Channel:
    """A channel from 20 s before the run to 20 s after it."""
    duration = RUN_S + 40
    onset = np.arange(0.5, duration - 0.5, 60 / per_min)
    rng = np.random.default_rng(0)
    starts = np.arange(0.0, duration - 9, 10.0)
    usable = np.arange(starts.size) >= round(unusable * starts.size)
    peaks = Peaks(
        kind, onset, np.full(onset.size, 0.9), rng.permutation(np.arange(onset.size) < round(mended * onset.size)),
        SignalQuality(starts, 10.0, np.where(usable, 0.9, 0.1), usable),
    )  # fmt: skip
    recording = Recording(kind, np.zeros(int(duration * 50)), 50.0, start_s=-20.0)
    return Channel(recording, peaks, coverage, **facts)


def test_a_good_channel_is_said_in_one_line() -> None:
    (line,) = words.physio_verdicts(
        {"cardiac": covered(how="scanner clock"), "respiratory": covered("respiratory", per_min=15)}, RUN_S
    )[:1]
    assert line.level == "good"
    assert line.text.startswith("Heart at 70 per minute")
    assert "350 beats in the run" in line.text
    assert "covers 100 % of the run, placed by scanner clock" in line.text


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        ({"per_min": 135.0}, "look", "the rate is unusual"),
        ({"coverage": 0.6}, "look", "left unmodelled"),
        ({"mended": 0.15}, "look", "look at every minute"),
        ({"unusable": 0.3}, "look", "look at every minute"),
        ({"mended": 0.4}, "bad", "too poor"),
        ({"unusable": 0.7}, "bad", "too poor"),
        ({"given": True}, "good", "as given by hand"),
    ],
)
def test_what_is_doubtful_in_a_channel_is_named(facts: dict[str, Any], level: str, said: str) -> None:
    line = words.physio_verdicts({"cardiac": covered(**facts)}, RUN_S)[-1]
    assert line.level == level
    assert said in line.text


def test_figures_of_a_channel_are_those_of_the_run() -> None:
    channel = covered(per_min=60.0, mended=0.25)
    found = words.channel_figures(channel.recording, channel.peaks, RUN_S)
    assert found.rate_per_min == pytest.approx(60.0)
    assert found.peaks == 300
    assert found.mended == pytest.approx(0.25, abs=0.05)
    before = words.channel_figures(channel.recording, channel.peaks, -1.0)
    assert before.peaks == 0
    assert np.isnan(before.rate_per_min)


def test_missing_channels_say_what_follows() -> None:
    (line,) = words.physio_verdicts({}, RUN_S, instead="components of CSF")
    assert line.level == "look"
    assert "covers this run; components of CSF stand in" in line.text
    note = "Recordings of pulse and breathing were ignored, as asked for."
    (asked,) = words.physio_verdicts({}, RUN_S, ignored=True, notes=[note])
    assert "ignored, as asked for; their noise stays in the data" in asked.text
    first, second = words.physio_verdicts({"cardiac": covered()}, RUN_S, notes=["No respiratory recording."])
    assert "No recording of the breathing" in first.text
    assert second.text.startswith("Heart")


def test_notes_of_alignment_become_lines() -> None:
    lines = words.physio_verdicts({"cardiac": covered()}, RUN_S, notes=["Names may be swapped."])
    assert ("look", "Names may be swapped.") in [(line.level, line.text) for line in lines]


def test_numbers_of_rates() -> None:
    numbers = words.physio_numbers({"cardiac": covered(), "respiratory": covered("respiratory", per_min=15.0)}, RUN_S)
    assert [(one.value, one.unit) for one in numbers] == [("70", "/min"), ("15.0", "/min")]


def fitted(strength: float, columns: int = 4, volumes: int = 130) -> tuple[PartialTests, dict[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    shape = (12, 12, 5)
    designs = rng.standard_normal((5, volumes, columns))
    cord = np.zeros(shape, bool)
    cord[4:8, 4:8] = True
    series = rng.standard_normal((*shape, volumes)) + strength * cord[..., None] * designs[None, None, :, :, 0]
    sets = {"cardiac": np.arange(columns // 2), "respiratory": np.arange(columns // 2, columns)}
    return partial_tests(series.astype(np.float32), designs, sets, mask=np.ones(shape, bool)), {"cord": cord, "brain": ~cord}


def test_the_model_is_judged_by_what_it_takes_beyond_chance() -> None:
    found, regions = fitted(0.5)
    cord, brain = words.model_verdicts(found, regions, volumes=130, physiological_columns=4)
    assert cord.level == "good"
    assert "beyond the 3 % that" in cord.text, "4 / (4 + 125)"
    assert brain.level == "look"
    assert "took nothing to speak of" in brain.text
    numbers = words.model_numbers(found, regions)
    assert [one.region for one in numbers] == ["cord", "brain"]
    assert float(numbers[0].value) == pytest.approx(100 * 0.25 / 1.25, abs=3)


def test_fluid_that_explains_itself_is_said_to() -> None:
    found, regions = fitted(0.5)
    found = replace(found, sets={"csf": found.sets["cardiac"]})
    fluid, cord = words.model_verdicts(
        found, {"CSF around the cord": regions["cord"], "cord": regions["cord"]}, volumes=130, physiological_columns=4
    )
    assert "explains itself" in fluid.text
    assert "explains itself" not in cord.text


def test_too_few_degrees_of_freedom_offer_fewer_harmonics() -> None:
    found, regions = fitted(0.5, columns=32, volumes=80)
    last = words.model_verdicts(found, regions, volumes=80, physiological_columns=32)[-1]
    assert last.level == "look"
    assert "leaves 47 degrees of freedom of 80 volumes" in last.text
    assert "Orders" in last.text


def shared(r2: float, chance: float = 0.04) -> Collinearity:
    one = SharedWithTask(np.array([r2, r2 - 0.02, np.nan]), np.full(3, chance))
    return Collinearity({"motion": one}, one)


@pytest.mark.parametrize(
    ("r2", "level", "said"),
    [(0.1, "good", "at most 0.09 (motion; by chance 0.04)"), (0.4, "look", "R² 0.39"), (0.87, "bad", "inflation 7.2")],
)
def test_columns_that_go_with_the_task(r2: float, level: str, said: str) -> None:
    (line,) = words.task_verdicts(shared(r2), (), tr_s=2.68)
    assert line.level == level
    assert said in line.text


def test_all_columns_together_are_judged_too() -> None:
    low, high = SharedWithTask(np.array([0.1]), np.array([0.04])), SharedWithTask(np.array([0.5]), np.array([0.15]))
    (line,) = words.task_verdicts(Collinearity({"cardiac": low, "motion": low}, high), (), tr_s=2.68)
    assert line.text.startswith("All noise columns together go with the task: R² 0.50")


@pytest.mark.parametrize(("per_min", "near"), [(20.9, True), (15.0, False)])
def test_breathing_that_aliases_onto_the_pain_trials_is_named(per_min: float, near: bool) -> None:
    aliased = aliasing({"respiratory": np.full(20, per_min / 60)}, 2.68, 10.1 + 39.1 * np.arange(15))
    (line,) = words.task_verdicts(shared(0.06), aliased, tr_s=2.68)
    assert line.level == ("look" if near else "good")
    assert ("breathing at 20.9 /min appears at 0.025 Hz" in line.text) is near
    assert ("neither pulse nor breathing" in line.text) is not near


@pytest.mark.parametrize(("leak", "level"), [(0.2, "look"), (0.0, "good")])
def test_leakage_is_what_neighbours_do_not_share(leak: float, level: str) -> None:
    rng = np.random.default_rng(5)
    series = rng.standard_normal((16, 24, 8, 40)).astype(np.float32)
    series[:, :, :4] += leak * np.roll(series[:, :, 4:], -7, axis=1)
    found = shared_signal(series, np.tile(np.arange(4.0), 2), np.ones(series.shape[:3], bool), pe_axis=1)
    line = words.leakage_verdict(found)
    assert line.level == level
    assert ("at a shift of +7 voxels" in line.text) is (leak > 0)


def test_thermal_noise_is_given_in_per_cent() -> None:
    mean = np.full((4, 4, 2), 200.0)
    line = words.thermal_verdict(np.full(mean.shape, 50.0), np.full(mean.shape, 8.0), mean, {"brain": mean > 0}, 100)
    assert "noise 4.0 % of the signal, 50 % of the components" in line.text


def test_methods_say_what_was_done_and_cite_it() -> None:
    full = noise_methods(cardiac=True, respiratory=True, rvt=True, hrv=True, compcor=True, cleaned=True, thermal="complex")
    text, cited = " ".join(full.paragraphs), " ".join(full.citations)
    assert "32 columns" in text
    for name in ("Glover", "Brooks", "Birn", "Chang", "Behzadi", "Barry", "Veraart", "Vizioli"):
        assert name in text, name
        assert name in cited, name
    assert len(set(full.citations)) == len(full.citations)
    pulse = noise_methods(cardiac=True, respiratory=False, rvt=True)
    assert "8 columns" in pulse.paragraphs[0]
    assert "Breathing was not recorded" in pulse.paragraphs[0]
    assert not any("Birn" in one for one in (*pulse.paragraphs, *pulse.citations)), "no respiration volume without breathing"
    nothing = noise_methods(cardiac=False, respiratory=False, compcor=True)
    assert nothing.paragraphs[0].startswith("No recording of pulse or breathing")
    assert not any("Glover" in one for one in nothing.citations)
