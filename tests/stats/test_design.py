"""Task columns against closed forms and nilearn, estimability against linear algebra, efficiency against simulation."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import gammainc

from cospine.errors import CoSpineError
from cospine.stats.design import efficiency, estimable, task_columns
from cospine.stats.events import Condition
from cospine.stats.hrf import HRF_MODELS, responses, typical_peak

ONSETS, DURATIONS, HEIGHTS = np.array([9.6, 48.0, 96.0]), np.array([4.8, 9.6, 4.8]), np.array([1.0, 2.0, 0.5])
CONDITION = Condition("heat", ONSETS, DURATIONS, HEIGHTS)
OFFSETS = np.array([0.0, 1.37, 0.0, 2.585])


def step_response(t, shape, late=0.0):
    """Integral of nilearn's difference of gamma densities, `late` s later, cut at 32 s and of area 1 (closed form)."""
    peak, undershoot, scale, ratio = shape

    def raw(t):
        since = np.clip(np.minimum(t, 32) - late, 0, None) / scale
        return gammainc(peak / scale, since) - ratio * gammainc(undershoot / scale, since)

    return raw(t) / raw(np.array(32.0))


@pytest.mark.parametrize(("family", "shape"), [("spm", (6, 16, 1, 0.167)), ("glover", (6, 12, 0.9, 0.48))])
def test_columns_are_the_closed_form_at_each_slices_own_times(family: str, shape) -> None:
    times = np.arange(60)[:, None] * 2.68 + OFFSETS
    found = task_columns([CONDITION], times, f"{family} + derivative")
    assert found.names == ("heat", "heat_derivative")

    def exact(late):
        blocks = zip(ONSETS, DURATIONS, HEIGHTS, strict=True)
        return sum(h * (step_response(times - o, shape, late) - step_response(times - o - d, shape, late)) for o, d, h in blocks)

    canonical, derivative = exact(0.0), (exact(0.0) - exact(0.1)) / 0.1
    np.testing.assert_allclose(found.values[..., 0], canonical, atol=1e-6 * canonical.max())
    weights = (canonical * derivative).sum(axis=0) / (canonical**2).sum(axis=0)
    np.testing.assert_allclose(found.values[..., 1], derivative - weights * canonical, atol=1e-6 * np.abs(derivative).max())
    assert np.abs(found.values[:, 0, 0] - found.values[:, 1, 0]).max() > 0.05 * canonical.max()
    np.testing.assert_array_equal(found.values[:, 0], found.values[:, 2])


@pytest.mark.parametrize("hrf", ["spm + derivative + dispersion", "glover + derivative + dispersion"])
def test_equals_nilearn_where_all_slices_share_one_time(hrf: str) -> None:
    """Nilearn moves onsets to a grid of TR / oversampling and its response by one step: an error that shrinks in proportion.

    With onsets on that grid, and a step that divides 32 s (other lengths are rounded), three grids extrapolate to a step of 0.
    """
    from nilearn.glm.first_level import compute_regressor

    times = np.arange(60) * 2.0
    ours = task_columns([CONDITION], times[:, None], hrf)
    events = np.vstack([ONSETS - 1e-7, DURATIONS, HEIGHTS])  # a hair early: rounding shall not push one to the next step
    grids = [compute_regressor(events, hrf, times, con_id="heat", oversampling=n) for n in (100, 200, 400)]
    assert list(ours.names) == grids[0][1]
    coarse, middle, fine = (columns for columns, _ in grids)
    theirs = (4 * (2 * fine - middle) - (2 * middle - coarse)) / 3
    scale = np.abs(ours.values[:, 0]).max(axis=0)
    assert (np.abs(ours.values[:, 0] - theirs).max(axis=0) < 1e-6 * scale).all()
    # as it comes (50 steps a TR) it is off by less than 1 %
    usual, _ = compute_regressor(np.vstack([ONSETS, DURATIONS, HEIGHTS]), hrf, times)
    assert (np.abs(ours.values[:, 0] - usual).max(axis=0) < 0.01 * scale).all()


def test_fir_is_nilearns_and_counts_an_impulse_once() -> None:
    from nilearn.glm.first_level import compute_regressor

    times = np.arange(60) * 2.4
    delays = [0, 1, 2, 5]
    ours = task_columns([CONDITION], times[:, None], "fir", delays)
    events = np.vstack([ONSETS - 1e-7, DURATIONS, HEIGHTS])
    theirs, names = compute_regressor(events, "fir", times, con_id="heat", fir_delays=delays)
    assert list(ours.names) == names
    assert ours.conditions == ("heat",) * 4
    np.testing.assert_allclose(ours.values[:, 0], theirs, atol=1e-12)
    tap = task_columns([Condition("tap", [5.0, 30.1], [0.0, 0.0], [1.0, 1.0])], times[:, None] + [0.0, 1.2], "fir", [0, 1])
    np.testing.assert_array_equal(tap.values.sum(axis=0), 2)


def test_impulse_block_and_their_scale() -> None:
    for hrf in HRF_MODELS:
        canonical = responses(hrf)[0]
        assert canonical.block(np.array([-1.0, 0.0]), 8.0).tolist() == [0, 0]
        assert canonical.block(200.0, 500.0) == pytest.approx(1, abs=1e-6)  # a stimulus without end
        assert canonical.block(6.0, 1e-4) / 1e-4 == pytest.approx(float(canonical.impulse(6.0)), rel=1e-3)
        assert canonical.impulse([-0.1, 0.0, 33.0]).tolist() == [0, 0, 0]
    times, shape = np.arange(0, 40, 0.01), (6, 16, 1, 0.167)
    for duration in (4.0, 8.0):
        course = step_response(times, shape) - step_response(times - duration, shape)
        assert typical_peak(duration, "spm") == pytest.approx(course.max(), abs=1e-5)
    with pytest.raises(CoSpineError, match="'boxcar' is no response model"):
        responses("boxcar")


def test_the_command_line_offers_the_responses_that_there_are() -> None:
    from cospine.pipeline.settings import HRFS, Settings

    assert HRFS == HRF_MODELS
    assert Settings(model=Path("somewhere/model.json")).parameters()["model"] == "model.json"


def test_columns_that_cannot_be_made_are_refused() -> None:
    times = np.zeros((10, 2))
    for conditions in ([], [CONDITION, CONDITION]):
        with pytest.raises(CoSpineError, match="make no task columns"):
            task_columns(conditions, times)
    with pytest.raises(CoSpineError, match="make no task columns"):
        task_columns([CONDITION], np.arange(10.0))
    with pytest.raises(CoSpineError, match="make no columns"):
        task_columns([CONDITION], times, "fir", [1, 1])


def test_estimable_is_what_the_row_space_holds() -> None:
    rng = np.random.default_rng(1)
    design = rng.standard_normal((2, 40, 5))
    design[1, :, 2] = design[1, :, 0] - 2 * design[1, :, 1] + 5  # the constant is part of the model
    design[..., 4] = 0  # a slice without this noise column loses nothing
    contrasts = {"a": [1.0], "c": [0.0, 0, 1], "kept": [2.0, 1e3, 0], "d": [0.0, 0, 0, 1], "all": np.eye(3)}
    found = estimable(design * [1, 1e3, 1e-3, 1, 1], contrasts, ["a", "b", "c"])
    assert found.contrasts["d"].all()
    for name in ("a", "c", "all"):
        assert found.contrasts[name].tolist() == [True, False]
    # oracle: is the contrast a combination of rows of the centred design?
    for name, vector in contrasts.items():
        for k in range(2):
            centred = design[k] - design[k].mean(axis=0)
            scaled = np.atleast_2d(np.pad(np.atleast_2d(vector), ((0, 0), (0, 5 - np.atleast_2d(vector).shape[1]))))
            scaled = scaled / [1, 1e3, 1e-3, 1, 1]
            more = np.linalg.matrix_rank(np.vstack([centred, scaled]), tol=1e-9) > np.linalg.matrix_rank(centred, tol=1e-9)
            assert found.contrasts[name][k] == (not more)
    assert found.usable == ("kept", "d")
    assert any(note.startswith("Contrast 'a' cannot be estimated in 1 of 2 slices") and "c" in note for note in found.notes)


def test_a_column_that_does_not_vary_is_named() -> None:
    rng = np.random.default_rng(2)
    design = rng.standard_normal((3, 30, 3))
    design[:, :, 1] = 0
    rows = np.arange(30) > 3
    design[:, 0, 1] = 1  # only in a volume that is not fitted
    found = estimable(design, {"late": [0.0, 1.0], "first": [1.0]}, ["first", "late"], rows=rows)
    assert not found.contrasts["late"].any()
    assert found.usable == ("first",)
    assert found.notes == (
        "Contrast 'late' cannot be estimated in every slice: late does not vary or is spanned by other columns.",
    )
    np.testing.assert_array_equal(efficiency(design, [0.0, 1.0], rows=rows), 0)
    with pytest.raises(CoSpineError, match="weighs 4 columns of a design that has 3"):
        estimable(design, {"long": np.ones(4)}, [])


def test_efficiency_is_one_over_the_variance_of_the_effect() -> None:
    rng = np.random.default_rng(3)
    design = rng.standard_normal((2, 50, 4))
    design[1, :, 3] = design[1, :, 2]  # a redundant noise column costs nothing
    contrast = np.array([1.0, -1.0])
    found = efficiency(design, contrast)
    for k, columns in enumerate((slice(4), slice(3))):
        full = np.column_stack([design[k][:, columns], np.ones(50)])
        inverse = np.linalg.inv(full.T @ full)
        assert found[k] == pytest.approx(1 / (inverse[0, 0] + inverse[1, 1] - 2 * inverse[0, 1]))
    noise = rng.standard_normal((4000, 50))
    effects = noise @ np.linalg.pinv(np.column_stack([design[0], np.ones(50)]))[:2].T @ contrast
    assert effects.var() == pytest.approx(1 / found[0], rel=0.1)
