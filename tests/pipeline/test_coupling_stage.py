"""Coupling of a run that is made of arrays: regions where the templates say, slices at their own times."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cospine.bids import Derivatives, read_tsv
from cospine.pipeline.coupling_files import combine_coupling, read_matrix, write_coupling
from cospine.pipeline.coupling_stage import CONTROL, _most, couple, fold, run_regions
from cospine.pipeline.leakage_stage import find_leaking
from cospine.signal.simultaneous import simultaneous_pairs
from cospine.space.cord_template import parametric_cord_template
from cospine.space.grid import Grid
from cospine.space.resample import Shift
from cospine.stats.cord_regions import cord_regions
from cospine.stats.regions import RegionSet

TR, VOLUMES, SLICES = 2.5, 150, 46
SIZE = (2.0, 2.0, 4.0)
LOW = np.array([-56.0, -64.0, -112.0])
GRID = Grid((56, 36, SLICES), np.array([[2.0, 0, 0, LOW[0]], [0, 2, 0, LOW[1]], [0, 0, 4, LOW[2]], [0, 0, 0, 1]]))
TIMES = tuple(((np.arange(SLICES) % (SLICES // 2)) * 7 % (SLICES // 2)) * TR / (SLICES // 2))
"""Slices k and k + 23 are one excitation."""
TO_PAM50 = np.array([0.0, 0.0, -70.0])
"""The neck is that of PAM50, moved up; the brain is that of MNI."""
COUPLED = ("M1_hand_L", "ventral_R_spinal-C7")


def moved(by: np.ndarray) -> Any:
    return SimpleNamespace(inverse=SimpleNamespace(map=lambda points: points + by))


@pytest.fixture(scope="module")
def placed() -> Any:
    template = parametric_cord_template()
    anatomy = SimpleNamespace(to_mni=moved(np.zeros(3)), to_pam50=moved(TO_PAM50), template=template)
    points = GRID.to_ras(np.moveaxis(np.indices(GRID.shape), 0, -1))
    voxels = np.rint(template.grid.to_voxel(points + TO_PAM50)).astype(int)
    inside = ((voxels >= 0) & (voxels < np.array(template.grid.shape))).all(axis=-1)
    cord = np.zeros(GRID.shape, bool)
    cord[inside] = template.cord[tuple(voxels[inside].T)] >= 0.5
    cord &= points[..., 2] < -40
    brain = points[..., 2] > -20
    placement = SimpleNamespace(anatomy=anatomy, alignment=SimpleNamespace(to_t1w=SimpleNamespace(map=lambda points: points)))
    return SimpleNamespace(placement=placement, brain=brain, cord=cord, mean=np.full(GRID.shape, 500.0, np.float32))


@pytest.fixture(scope="module")
def regions(placed: Any) -> RegionSet:
    return run_regions("motorL", placed.placement, GRID, placed.mean, placed.brain, placed.cord, 2)


def made(regions: RegionSet, tmp_path: Path, *, leak: bool = False) -> Any:
    """A run in which the coupled regions share a slow wave, and by request slices that are excited together another."""
    rng = np.random.default_rng(3)
    times = np.arange(VOLUMES)[:, None] * TR + np.array(TIMES)
    series = 500 + 5 * rng.standard_normal((*GRID.shape, VOLUMES)).astype(np.float32)
    waves = [(f, rng.uniform(0, 2 * np.pi), rng.normal()) for f in np.linspace(0.02, 0.15, 24)]
    wave = sum(a * np.sin(2 * np.pi * f * times + p) for f, p, a in waves)
    for name in COUPLED:
        here = regions.mask(name)
        series[here] += (4 * wave.T / wave.std())[np.argwhere(here)[:, 2]]
    if leak:
        together = rng.standard_normal((VOLUMES, SLICES // 2))
        series += 5 * np.concatenate([together, together], axis=1).T[:, :]
    head = rng.standard_normal((VOLUMES, 6)).cumsum(axis=0)
    series += 3 * head[:, 0]
    noise = SimpleNamespace(times_s=times, rows=np.arange(VOLUMES) >= 2, designs=lambda: np.repeat(head[None], SLICES, axis=0))
    events = tmp_path / "sub-01_task-motorL_events.tsv"
    events.write_text("onset\tduration\ttrial_type\n" + "".join(f"{t}\t8\tgrasp\n" for t in range(10, 340, 30)))
    run = SimpleNamespace(
        task="motorL", slice_times_s=TIMES, tr_s=TR, volumes=VOLUMES, slice_axis=2, events=events, label="sub-01"
    )
    return SimpleNamespace(run=run, noise=noise, series=np.asfortranarray(series, np.float32))


def coupled(placed: Any, one: Any, **changes: Any) -> Any:
    given = {
        "run": one.run, "grid": GRID, "noise": one.noise, "task": None, "corrected": one.series, "mean": placed.mean,
        "brain": placed.brain, "cord": placed.cord, "placement": placed.placement, "slice_times_s": np.array(TIMES),
        "leaking": None,
    }  # fmt: skip
    return couple(**{**given, **changes})


def test_regions_lie_where_the_templates_have_them(regions: RegionSet, placed: Any) -> None:
    horns = cord_regions(placed.placement.anatomy.template, "spinal")
    found = [one for one in regions.regions if one.level]
    assert {one.level for one in found} <= {5, 6, 7, 8}
    assert len(found) >= 12
    for one in found:
        own = GRID.to_ras(np.argwhere(regions.mask(one.name))).mean(axis=0) + TO_PAM50
        true = horns.grid.to_ras(np.argwhere(horns.mask(one.name))).mean(axis=0)
        assert np.abs(own - true)[:2].max() < 1.2
        assert abs(own - true)[2] < 4
    hand = GRID.to_ras(np.argwhere(regions.mask("M1_hand_L"))).mean(axis=0)
    assert np.linalg.norm(hand - [-37, -23, 60]) < 3
    control = np.argwhere(regions.mask(CONTROL))
    cord = np.argwhere(placed.cord)
    for k in np.unique(control[:, 2])[::4]:
        here = 2.0 * control[control[:, 2] == k][:, None, :2]
        assert np.linalg.norm(here - 2.0 * cord[cord[:, 2] == k][None, :, :2], axis=-1).min() >= 14


def test_a_horn_between_large_voxels_takes_those_that_hold_most_of_it() -> None:
    """Label 1 has half of a voxel, 2 never a third; slice 0 has voxels 0-3, slice 1 voxels 4-5; 1 has most of the fourth."""
    share = {1: (6, 0, 2, 3, 1, 0), 2: (3, 3, 3, 2, 1, 2)}
    samples = np.zeros((12, 6), np.int32)
    for voxel in range(6):
        samples[: share[1][voxel], voxel] = 1
        samples[share[1][voxel] : share[1][voxel] + share[2][voxel], voxel] = 2
    slices = np.array([0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(_most(samples, slices), [1, 2, 0, 0, 0, 2])
    np.testing.assert_array_equal(_most(samples[:, [1, 4, 5]], np.array([0, 1, 1])), [2, 0, 2])  # label 1 has a twelfth


def test_folding_keeps_every_voxel_in_its_slice(regions: RegionSet) -> None:
    series = np.random.default_rng(0).standard_normal((*GRID.shape, 3)).astype(np.float32)
    folded, of, voxels = fold(series, regions, 2)
    for one in regions.regions:
        mine, theirs = regions.mask(one.name), of.mask(one.name)
        for k in range(SLICES):
            np.testing.assert_array_equal(
                np.sort(series[:, :, k][mine[:, :, k]], axis=0), np.sort(folded[:, 0, k][theirs[:, 0, k]], axis=0)
            )
    held = of.labels > 0
    np.testing.assert_array_equal(folded[held], series[tuple(voxels[held].T)])
    np.testing.assert_array_equal(of.labels[held], regions.labels[tuple(voxels[held].T)])


def test_what_two_regions_share_is_found_though_their_slices_are_apart_in_time(
    regions: RegionSet, placed: Any, tmp_path: Path
) -> None:
    found, why = coupled(placed, made(regions, tmp_path))
    assert not why
    names = [one.name for one in found.residuals.a]
    r = found.residuals.r_without
    at = names.index(COUPLED[0]), names.index(COUPLED[1])
    assert r[at] > 0.8
    others = r[np.triu_indices(len(names), 1)]
    assert np.median(np.abs(others)) < 0.12  # the head's motion is held fixed
    assert np.sort(others)[-2] < 0.4


def test_slices_excited_together_are_left_out(regions: RegionSet, placed: Any, tmp_path: Path) -> None:
    found, _ = coupled(placed, made(regions, tmp_path, leak=True))
    simultaneous, beside = found.between()
    assert simultaneous > 0.5
    assert abs(beside) < 0.1
    brain = np.array([one.level_system == "none" and one.name != CONTROL for one in found.residuals.a])
    pairs = np.outer(brain, [one.level_system == "spinal" for one in found.residuals.a])
    shared = pairs & (found.residuals.left_out > 0.05)
    assert shared.any()
    assert found.residuals.r[shared].mean() > found.residuals.r_without[shared].mean() + 0.05


def test_what_leaks_between_slices_is_taken_out_on_the_acquired_grid(regions: RegionSet, placed: Any, tmp_path: Path) -> None:
    """The whole brain swings as one; a share of each slice comes to its partner, before all is moved and unwarped."""
    one = made(regions, tmp_path)
    rng = np.random.default_rng(5)
    lag, moved_by, warped_by, factor = 7, 3, 2, np.float32(0.8)
    own = rng.standard_normal((*GRID.shape, VOLUMES)).astype(np.float32)
    own[placed.brain] += 4 * np.sin(np.arange(VOLUMES) / 4.0).astype(np.float32)
    half = SLICES // 2
    acquired = np.roll(np.roll(own, warped_by, axis=1), moved_by, axis=0)
    leak = 0.09 * np.roll(acquired[:, :, half:], -lag, axis=1)
    acquired[:, :, half:] += 0.09 * np.roll(acquired[:, :, :half], lag, axis=1)
    acquired[:, :, :half] += leak
    corrected = np.asfortranarray(500 + factor * np.roll(np.roll(acquired, -warped_by, axis=1), -moved_by, axis=0))
    shift = Shift(np.full(GRID.shape, warped_by, np.float32), 1, np.full(GRID.shape, factor))
    matrices = np.tile(np.eye(4), (VOLUMES, SLICES, 1, 1))
    matrices[..., 0, 3] = moved_by
    motion: Any = SimpleNamespace(reference=np.ones(GRID.shape), matrices=matrices)
    shared: Any = SimpleNamespace(leaks=True, lag=lag, pairs=simultaneous_pairs(TIMES))
    one.run.phase_encoding = "j"
    leaking = find_leaking(one.run, shared, acquired, motion, shift, one.noise, None)
    assert leaking is not None
    np.testing.assert_allclose(leaking.leakage.shares, 0.09, atol=0.01)
    inside = np.argwhere(regions.labels)
    seen = factor * acquired[tuple(leaking.where(inside).T)] + 500
    np.testing.assert_allclose(corrected[tuple(inside.T)], seen, rtol=1e-5)
    found = {}
    for name, given in {"left": None, "out": leaking}.items():
        result, _ = coupled(placed, one, corrected=corrected, leaking=given)
        horns = [k for k, region in enumerate(result.residuals.a) if region.level]
        hand = next(k for k, region in enumerate(result.residuals.a) if region.name == COUPLED[0])
        found[name] = float(np.abs(result.residuals.r_without[hand, horns]).mean())
        assert (result.leakage is None) == (given is None)
    assert found["left"] > 0.35
    assert found["out"] < 0.13
    assert not leaking.notes
    matrices[: VOLUMES // 2, :, 1, 3] += 2.0
    restless = find_leaking(one.run, shared, acquired, motion, shift, one.noise, None)
    assert restless is not None
    assert "2.0 voxels" in restless.notes[0]
    shared.leaks = False
    assert find_leaking(one.run, shared, acquired, motion, shift, one.noise, None) is None


def test_files_and_runs_together(regions: RegionSet, placed: Any, tmp_path: Path) -> None:
    one = made(regions, tmp_path)
    task = SimpleNamespace(columns=SimpleNamespace(beside=lambda designs: designs))
    found, _ = coupled(placed, one, task=task)
    assert set(found.betas) == {"grasp"}
    out = Derivatives(tmp_path / "out", tmp_path / "raw")
    runs: Any = [
        SimpleNamespace(prefix=f"sub-01_task-motorL_run-{n}", entities={"sub": "01", "task": "motorL", "run": str(n)})
        for n in (1, 2)
    ]
    for run in runs:
        written = write_coupling(out, run, found)
    assert len(written) == 4
    courses = read_tsv(written[-1])
    assert len(courses[COUPLED[0]]) == VOLUMES - 2
    stale = out.root / "sub-01/func/sub-01_task-motorL_desc-old_relmat.tsv"
    stale.write_text("region\n")
    both = combine_coupling(out, runs)
    assert [path.name for path in both] == [
        f"sub-01_task-motorL_desc-{kind}_relmat.tsv" for kind in ("betasGrasp", "everyslice", "residuals")
    ]
    assert not list((out.root / "sub-01/func").glob("*_desc-old_*"))  # what was combined before is no result of these runs
    names, r = read_matrix(both[-1])
    np.testing.assert_allclose(r, read_matrix(written[0])[1], atol=2e-5)
    assert names == read_matrix(written[0])[0]


def test_without_templates_times_or_freedom_it_says_why(regions: RegionSet, placed: Any, tmp_path: Path) -> None:
    one = made(regions, tmp_path)
    assert "times of the slices" in coupled(placed, one, slice_times_s=None)[1]
    nowhere = SimpleNamespace(anatomy=SimpleNamespace(to_mni=None, to_pam50=None))
    assert "templates" in coupled(placed, one, placement=nowhere)[1]
    many = SimpleNamespace(rows=one.noise.rows, designs=lambda: np.zeros((SLICES, VOLUMES, 140)))
    assert "degrees of freedom" in coupled(placed, one, noise=many)[1]
