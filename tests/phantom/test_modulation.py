"""Labels and the table of factors."""

import numpy as np
import pytest

from cospine.phantom.modulation import (
    CARDIAC,
    CLASSES,
    CLUSTERS,
    INFLOW,
    RESPIRATORY,
    approach_to_steady_state,
    build_labels,
    freshness,
    modulation_table,
)

KINDS = np.arange(len(CLASSES))


def labels(seed: int = 0):
    rng = np.random.default_rng(seed)
    tissue = rng.integers(0, len(CLASSES), (12, 30, 30)).astype(np.uint8)
    region = rng.integers(0, 4, tissue.shape).astype(np.uint8)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    return tissue, region, build_labels(tissue, region, KINDS, affine, 20.0, 4, np.random.default_rng(seed))


class Sines:
    """A pulse and a breath of exactly unit height."""

    def pulse(self, t_s, delay_s):
        return 0.5 * np.sin(2 * np.pi * 1.1 * (t_s - delay_s))

    def breathing(self, t_s):
        return 0.5 * np.sin(2 * np.pi * 0.25 * t_s)


def test_labels_hold_the_tissue_class_and_the_region_where_blood_responds():
    tissue, region, made = labels()
    np.testing.assert_array_equal(made.kind[made.image], tissue)
    responds = np.isin(tissue, [CLASSES.index("grey"), CLASSES.index("cord")])
    np.testing.assert_array_equal(made.region[made.image], np.where(responds, region, 0))
    assert set(np.unique(made.cluster[made.image][tissue > 0])) == set(range(CLUSTERS))


def table(heart, activation=None, seed=0, inflow=True, volumes=400):
    _, _, made = labels()
    times = np.arange(volumes)[:, None] * 0.13 + np.array([0.0, 0.05])
    values = modulation_table(
        made, times, np.array([0.0, 0.02]), np.ones(2), heart, inflow, activation or {}, np.random.default_rng(seed)
    )
    return made, values


def test_without_heart_and_activation_nothing_changes():
    assert (table(None)[1] == 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_amplitudes_lie_in_their_ranges(seed: int):
    made, values = table(Sines(), seed=seed)
    swing = np.ptp(values, axis=0).max(0)
    for kind, name in enumerate(CLASSES):
        own = swing[(made.kind == kind) & (made.region == 0)].max()
        if name == "static":
            assert own == 0
            continue
        extra = INFLOW if name == "csf" else (0.0, 0.0)
        assert CARDIAC[name][0] + extra[0] < own < (CARDIAC[name][1] + RESPIRATORY[name][1] + extra[1]) * 1.1


def test_activation_multiplies_its_region_only():
    change = np.full((400, 2), 0.01)
    made, values = table(None, {2: change})
    np.testing.assert_allclose(values[..., made.region == 2], 1.01, rtol=1e-6)
    assert (values[..., made.region != 2] == 1).all()


def test_switching_inflow_off_changes_csf_only():
    made, on = table(Sines())
    _, off = table(Sines(), inflow=False)
    changed = (on != off).any((0, 1))
    assert (made.kind[changed] == CLASSES.index("csf")).all()
    assert changed.any()


def test_csf_is_fresher_the_longer_its_neighbours_have_rested():
    """Sequential slices 0.1 s apart of TR 1: a slice is excited 0.1 s after the one below; interleaved ones rest half a TR."""
    sequential = freshness(np.arange(10) * 0.1, 1.0)
    interleaved = freshness(np.array([0.5, 0.0, 0.6, 0.1, 0.7, 0.2, 0.8, 0.3, 0.9, 0.4]), 1.0)
    np.testing.assert_allclose(sequential[1:], 0.6)
    assert interleaved[2:8].min() > sequential[2:8].max()


def test_the_first_volume_of_all_sees_full_magnetisation():
    """90 degrees: after the first pulse the steady state 1 - E1 holds at once. 80: Bloch's recursion, pulse by pulse."""
    t1 = np.array([1.4, 4.3])
    right = approach_to_steady_state(t1, 2.68, 90.0, 0, 3)
    np.testing.assert_allclose(right[0], 1 / (1 - np.exp(-2.68 / t1)))
    np.testing.assert_allclose(right[1:], 1, atol=1e-12)
    e1, magnetisation, course = np.exp(-2.68 / t1), np.ones(2), []
    for _ in range(40):
        course.append(magnetisation)
        magnetisation = 1 - (1 - magnetisation * np.cos(np.deg2rad(80))) * e1
    np.testing.assert_allclose(approach_to_steady_state(t1, 2.68, 80.0, 1, 4), np.array(course[1:5]) / course[-1])
    np.testing.assert_allclose(approach_to_steady_state(t1, 2.68, 80.0, 6, 4), 1, atol=1e-4)
