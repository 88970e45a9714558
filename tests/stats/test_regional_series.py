"""Series come to one time; dummies and gaps are minded."""

import numpy as np
import pytest

from cospine.errors import CoSpineError
from cospine.space.grid import Grid
from cospine.stats.regional_series import regional_series, shifted
from cospine.stats.regions import Region, RegionSet

TR_S = 2.68
TIMES = np.array([0.0, 1.3, 0.0, 1.3])  # slices 0 and 2, 1 and 3 are simultaneous
SHAPE = (4, 6, 4)


def slow(times: np.ndarray, seed: int = 0) -> np.ndarray:
    """A course below a quarter of the sampling rate, at any times."""
    rng = np.random.default_rng(seed)
    return sum(
        a * np.sin(2 * np.pi * f * times + p)
        for a, f, p in zip(rng.standard_normal(20), rng.uniform(0.008, 0.25 / TR_S, 20), rng.uniform(0, 6.28, 20), strict=True)
    )


def region_set() -> RegionSet:
    labels = np.zeros(SHAPE, np.int32)
    labels[1:3, 1:3, :2] = 1
    labels[1:3, 3:5, 2:] = 2
    regions = (Region(1, "cord", "R", "dorsal", "spinal", 6), Region(2, "brain", "R", "sphere"))
    return RegionSet("native", Grid(SHAPE, np.diag([1.5, 1.5, 4.0, 1.0])), labels, regions)


def test_a_shift_is_the_course_at_another_time() -> None:
    times = np.arange(120) * TR_S
    late = shifted(np.stack([slow(times), slow(times)], axis=1), [1.0, -0.7], TR_S)
    spread = slow(times).std()
    for column, by in enumerate((1.0, -0.7)):
        error = late[:, column] - slow(times + by)
        assert np.std(error[5:-5]) < 0.02 * spread
        assert np.abs(error).max() < 0.35 * spread  # beyond the ends the course is not known
    np.testing.assert_allclose(shifted(late, [0.0, 0.0], TR_S), late, atol=1e-12)


def test_slices_of_one_region_agree_once_they_have_one_time() -> None:
    volumes = np.arange(150)
    series = np.zeros((*SHAPE, volumes.size), np.float32)
    for k in range(SHAPE[2]):
        series[..., k, :] = slow(volumes * TR_S + TIMES[k])
    raw = np.corrcoef(series[1, 1, 0], series[1, 1, 1])[0, 1]
    for one in regional_series(series, region_set(), TIMES, TR_S):
        assert np.corrcoef(one.values.T)[0, 1] > 0.998 > raw
        assert np.corrcoef(one.mean, slow(volumes * TR_S + 0.65))[0, 1] > 0.999


def test_regions_carry_their_slices_and_voxels() -> None:
    series = np.random.default_rng(0).standard_normal((*SHAPE, 30)).astype(np.float32)
    cord, brain = regional_series(series, region_set(), TIMES, TR_S)
    assert cord.region.name == "cord"
    assert (cord.slices.tolist(), brain.slices.tolist()) == ([0, 1], [2, 3])
    assert cord.voxels.tolist() == [4, 4]
    assert cord.values.shape == (30, 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_may_hold_the_slices(axis) -> None:
    series = np.random.default_rng(0).standard_normal((*SHAPE, 30)).astype(np.float32)
    regions = region_set()
    reference = regional_series(series, regions, TIMES, TR_S)
    order = {0: (2, 1, 0), 1: (0, 2, 1), 2: (0, 1, 2)}[axis]
    turned = RegionSet(
        "native",
        Grid(tuple(SHAPE[n] for n in order), np.eye(4)),  # type: ignore[arg-type]
        regions.labels.transpose(order),
        regions.regions,
    )
    found = regional_series(series.transpose((*order, 3)), turned, TIMES, TR_S, slice_axis=axis)
    for one, other in zip(reference, found, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)


def test_dummies_at_the_start_do_not_count_and_gaps_are_refused() -> None:
    series = np.random.default_rng(0).standard_normal((*SHAPE, 40)).astype(np.float32)
    loud = series.copy()
    loud[..., :3] = 1e6
    rows = np.arange(40) >= 3
    for one, other in zip(
        regional_series(series[..., 3:], region_set(), TIMES, TR_S),
        regional_series(loud, region_set(), TIMES, TR_S, rows=rows),
        strict=True,
    ):
        np.testing.assert_allclose(one.values, other.values)
    rows[20] = False
    with pytest.raises(CoSpineError, match="missing inside"):
        regional_series(series, region_set(), TIMES, TR_S, rows=rows)


def test_a_region_in_which_nothing_varies_is_left_out_and_shapes_must_fit() -> None:
    series = np.random.default_rng(0).standard_normal((*SHAPE, 40)).astype(np.float32)
    series[..., 2:, :] = 7
    assert [one.region.name for one in regional_series(series, region_set(), TIMES, TR_S)] == ["cord"]
    with pytest.raises(CoSpineError, match="slice times"):
        regional_series(series, region_set(), TIMES[:3], TR_S)
