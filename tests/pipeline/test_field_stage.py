"""Which field map corrects a run, and what becomes of one that cannot."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cospine.anatomy.cord_mask import CordMask
from cospine.bids import FieldmapSet, Participant, Run
from cospine.errors import CoSpineError
from cospine.pipeline import field_stage
from cospine.pipeline.field_stage import FieldSources, Source, correct, estimate_source, neck_follows
from cospine.pipeline.motion_stage import Masks, Motion
from cospine.pipeline.settings import Settings
from cospine.space.grid import Grid

SHAPE = (40, 44, 30)
AFFINE = np.diag([-5.0, 5.0, 6.0, 1.0])
AFFINE[:3, 3] = 97, -108, -80
READOUT = 0.04


def head() -> np.ndarray:
    points = (np.indices(SHAPE).reshape(3, -1).T @ AFFINE[:3, :3].T + AFFINE[:3, 3]).reshape(*SHAPE, 3)
    radius = np.linalg.norm(points / [70, 85, 75], axis=-1)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 1.5)
    return np.where(radius < 1, 800 + 1500 * texture, 10.0).astype(np.float32)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., FieldmapSet]:
    """Writes images with sidecars, as a set."""

    def make(kind: str, images: dict[str, np.ndarray], sidecars: list[dict], identifier: str = "map", **what) -> FieldmapSet:
        paths = []
        for name, data in images.items():
            paths.append(tmp_path / f"sub-01_{name}.nii.gz")
            nib.save(nib.Nifti1Image(data, what.get("affine", AFFINE)), paths[-1])
        about = {key: what[key] for key in ("echo_times_s",) if key in what}
        return FieldmapSet(identifier, kind, tuple(paths), tuple(sidecars), **about)  # type: ignore[arg-type]

    return make


def pair(write: Callable[..., FieldmapSet], second: np.ndarray | None = None, **what) -> FieldmapSet:
    image = head()
    shifted = np.roll(image, 1, axis=1)
    sidecars = [{"PhaseEncodingDirection": d, "TotalReadoutTime": READOUT} for d in ("j-", "j")]
    return write("pepolar", {"dir-AP_epi": image, "dir-PA_epi": shifted if second is None else second}, sidecars, "pair", **what)


def phase(write: Callable[..., FieldmapSet]) -> FieldmapSet:
    field = 30 * np.sin(np.indices(SHAPE)[1] / 7)
    noise = np.random.default_rng(1).uniform(-np.pi, np.pi, SHAPE)
    values = np.where(head() > 100, np.angle(np.exp(2j * np.pi * field * 0.00246)), noise).astype(np.float32)
    images = {"phasediff": values, "magnitude1": head()}
    return write("phasediff", images, [{"Units": "rad"}, {}], "gre", echo_times_s=(0.00492, 0.00738))


def run_of(tmp_path: Path, **what) -> Run:
    return replace(
        Run(
            participant="sub-01",
            session=None,
            entities={"sub": "01", "task": "rest"},
            bold=tmp_path / "sub-01_task-rest_bold.nii.gz",
            sidecar={},
            shape=(*SHAPE, 20),
            affine=AFFINE,
            volumes=20,
            tr_s=2.0,
            phase_encoding="j",
            total_readout_s=READOUT,
        ),
        **what,
    )


def person(run: Run, *sets: FieldmapSet) -> Participant:
    links = {run.prefix: tuple((one.identifier, "the only one") for one in sets)}
    return Participant("sub-01", (run,), fieldmaps=sets, links=links)


def moved_by_nothing(brain: np.ndarray) -> Motion:
    none = np.zeros(0)
    cord = CordMask(np.zeros(SHAPE, bool), np.zeros(SHAPE, np.float32), none.astype(int), none.reshape(0, 2), none, "none")
    times = np.zeros((20, SHAPE[2]))
    matrices = np.tile(np.eye(4), (20, SHAPE[2], 1, 1))
    return Motion(Masks(brain, cord), head(), None, None, times, np.ones(SHAPE[2]), matrices, 0.0)


def test_a_pair_goes_before_phase_and_phase_is_compared_with(tmp_path: Path, write: Callable[..., FieldmapSet]) -> None:
    run = run_of(tmp_path)
    choice = FieldSources(person(run, phase(write), pair(write)), Settings()).choice_for(run)
    assert choice.source is not None
    assert choice.source.kind == "pepolar"
    assert choice.source.directions == ("j-", "j")
    assert choice.other is not None
    assert choice.other.kind == "phasediff"
    shift = choice.source.field_hz[head() > 100] * READOUT * 2  # of the second image against the first, in voxels
    assert np.median(shift) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("bad", ["blank", "noise"])
def test_what_cannot_be_used_is_named_and_the_next_taken(tmp_path: Path, write: Callable[..., FieldmapSet], bad: str) -> None:
    second = np.zeros(SHAPE, np.float32)
    if bad == "noise":
        second = np.abs(np.random.default_rng(2).normal(0, 100, SHAPE)).astype(np.float32)
    run = run_of(tmp_path)
    choice = FieldSources(person(run, pair(write, second), phase(write)), Settings()).choice_for(run)
    assert choice.source is not None
    assert choice.source.kind == "phasediff"
    assert "field map pair could not be used" in choice.reason
    alone = FieldSources(person(run, pair(write, second)), Settings()).choice_for(run)
    assert alone.source is None
    assert "could not be used" in alone.reason
    with pytest.raises(CoSpineError, match="could not be used"):
        FieldSources(person(run, pair(write, second)), Settings(field="pepolar")).choice_for(run)


def test_no_correction_says_why(tmp_path: Path, write: Callable[..., FieldmapSet]) -> None:
    run = run_of(tmp_path)
    assert FieldSources(person(run), Settings()).choice_for(run).reason == "no field map belongs to this run"
    off = FieldSources(person(run, pair(write)), Settings(field="none")).choice_for(run)
    assert (off.source, off.asked_for) == (None, True)
    ignored = FieldSources(person(run, pair(write)), Settings(ignore=("fieldmaps",))).choice_for(run)
    assert (ignored.source, ignored.asked_for) == (None, True)
    bare = run_of(tmp_path, phase_encoding=None, total_readout_s=None)
    reason = FieldSources(person(bare, pair(write)), Settings()).choice_for(bare).reason
    assert "PhaseEncodingDirection and TotalReadoutTime" in reason


def test_each_field_map_is_estimated_once(
    tmp_path: Path, write: Callable[..., FieldmapSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def estimate(fieldmap: FieldmapSet) -> Source:
        made.append(fieldmap.identifier)
        return estimate_source(fieldmap)

    monkeypatch.setattr(field_stage, "estimate_source", estimate)
    run = run_of(tmp_path)
    sources = FieldSources(person(run, phase(write)), Settings())
    assert sources.choice_for(run).source is sources.choice_for(run).source
    assert made == ["gre"]


def test_a_field_map_elsewhere_is_refused_and_a_short_one_is_said(tmp_path: Path, write: Callable[..., FieldmapSet]) -> None:
    run, grid, brain = run_of(tmp_path), Grid(SHAPE, AFFINE), head() > 100
    choice = FieldSources(person(run, phase(write)), Settings()).choice_for(run)
    assert choice.source is not None
    away = AFFINE.copy()
    away[2, 3] += 400
    elsewhere = replace(choice, source=replace(choice.source, grid=Grid(SHAPE, away)), other=None)
    with pytest.raises(CoSpineError, match="holds 0% of the run's brain"):
        correct(run, elsewhere, moved_by_nothing(brain), grid, jacobian=True)
    higher = AFFINE.copy()
    higher[2, 3] += 30
    short = replace(choice, source=replace(choice.source, grid=Grid(SHAPE, higher)), other=None)
    found = correct(run, short, moved_by_nothing(brain), grid, jacobian=True)
    assert found is not None
    assert [check.name for check in found.choice.checks if check.passed is False][-1] == "coverage"


def test_a_map_without_units_is_not_guessed(write: Callable[..., FieldmapSet]) -> None:
    field = (20 * np.sin(np.indices(SHAPE)[1] / 7)).astype(np.float32)
    images = {"fieldmap": field, "magnitude": head()}
    with pytest.raises(CoSpineError, match="Units is not stated"):
        estimate_source(write("fieldmap", images, [{}, {}]))
    found = estimate_source(write("fieldmap", images, [{"Units": "Hz"}, {}]))
    inside = ndimage.binary_erosion(head() > 100, iterations=3)
    assert np.abs(found.field_hz - field)[inside].max() < 3


def test_unsteady_volumes_of_a_pair_are_left_out(write: Callable[..., FieldmapSet]) -> None:
    image = head()
    first = np.stack([1.4 * image, image, image], axis=-1)
    second = np.stack([np.roll(image, 1, axis=1)] * 2, axis=-1)
    sidecars = [{"PhaseEncodingDirection": d, "TotalReadoutTime": READOUT} for d in ("j-", "j")]
    found = estimate_source(write("pepolar", {"dir-AP_epi": first, "dir-PA_epi": second}, sidecars))
    assert found.pair is not None
    inside = head() > 100
    assert found.pair.distorted[0][inside].mean() == pytest.approx(image[inside].mean(), rel=0.01)


def test_readout_follows_from_echo_spacing_for_a_pair_too(write: Callable[..., FieldmapSet]) -> None:
    sidecars = [{"PhaseEncodingDirection": d, "EffectiveEchoSpacing": READOUT / (SHAPE[1] - 1)} for d in ("j-", "j")]
    images = {"dir-AP_epi": head(), "dir-PA_epi": np.roll(head(), 1, axis=1)}
    stated = estimate_source(pair(write))
    np.testing.assert_allclose(estimate_source(write("pepolar", images, sidecars)).field_hz, stated.field_hz, rtol=1e-5)
    with pytest.raises(CoSpineError, match="readout time is not stated"):
        estimate_source(write("pepolar", images, [{"PhaseEncodingDirection": d} for d in ("j-", "j")]))


def test_pivot_of_a_slab_is_a_point() -> None:
    brain = np.zeros(SHAPE, bool)
    brain[10:30, 10:30, 4:12] = True  # an eighth of it in the lowest slice
    assert np.isfinite(field_stage._below(brain, Grid(SHAPE, AFFINE))).all()


def test_neck_takes_less_and_less_of_the_heads_pose() -> None:
    brain = np.zeros((*SHAPE[:2], 60), bool)
    brain[..., 30:] = True
    share = neck_follows(Grid(brain.shape, AFFINE), brain)
    assert share is not None
    assert (np.diff(share) >= 0).all()
    assert share[30] == 1
    assert share[2] == 0
    flipped = AFFINE @ np.diag([1, 1, -1, 1])
    turned = neck_follows(Grid(brain.shape, flipped), brain[..., ::-1])
    assert turned is not None
    np.testing.assert_allclose(turned[::-1], share)
