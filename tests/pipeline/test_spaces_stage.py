"""A run in a template's space: one interpolation through everything, levels carried, what is not covered stays 0."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from cospine.pipeline.settings import Settings
from cospine.pipeline.spaces_stage import bring_to_spaces, coarser, in_space, levels_on, spaces_of
from cospine.space.grid import Grid
from cospine.space.resample import Shift
from cospine.space.templates import PAM50_BOX
from cospine.space.transform import Affine, SliceShift

RUN = SimpleNamespace(label="sub-01_task-rest")
GRID = Grid((18, 16, 12), np.array([[-2.0, 0, 0, 17], [0, 2, 0, -15], [0, 0, 4, -22], [0, 0, 0, 1.0]]))
TARGET = Grid((9, 8, 20), np.array([[2.0, 0, 0, -8], [0, 2, 0, -7], [0, 0, 2, -30], [0, 0, 0, 1.0]]))


def moved(*by: float) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return Affine(matrix)


def placement(**anatomy: object) -> SimpleNamespace:
    return SimpleNamespace(alignment=SimpleNamespace(to_epi=moved(0.7, -0.4, 1.1)), anatomy=SimpleNamespace(**anatomy))


def test_series_equals_the_composition_evaluated_with_scipy() -> None:
    rng = np.random.default_rng(3)
    series = np.asfortranarray(ndimage.gaussian_filter(rng.normal(size=(*GRID.shape, 3)), (1, 1, 1, 0)).astype(np.float32))
    matrices = np.tile(np.eye(4), (3, GRID.shape[2], 1, 1))
    matrices[..., :3, 3] += 0.3 * rng.normal(size=(3, GRID.shape[2], 3))
    shift = Shift(rng.normal(0, 0.2, GRID.shape).astype(np.float32), 1, rng.uniform(0.8, 1.2, GRID.shape).astype(np.float32))
    wanted = np.ones(TARGET.shape, dtype=bool)
    wanted[:, :, -1] = False

    space = in_space("PAM50", (TARGET, wanted, moved(0.2, 0.5, -0.3)), placement(), GRID, shift)
    got = np.stack(list(space.volumes(series, matrices)), axis=3)

    points = TARGET.to_ras(np.moveaxis(np.indices(TARGET.shape), 0, -1)) + np.array([0.9, 0.1, 0.8])
    at = GRID.to_voxel(points)
    held = wanted & np.all((at >= -0.5) & (at <= np.array(GRID.shape) - 0.5), axis=-1)
    np.testing.assert_array_equal(space.covered, held)
    assert 0 < held.sum() < wanted.sum()
    assert not got[~held].any()
    for t in range(3):
        source = GRID.to_voxel(SliceShift(GRID, matrices[t]).map(points))
        source[..., 1] += ndimage.map_coordinates(shift.voxels, np.moveaxis(at, -1, 0), order=1, mode="nearest")
        inside = held & np.all((source >= 0) & (source <= np.array(GRID.shape) - 1), axis=-1)
        expected = ndimage.map_coordinates(series[..., t], np.moveaxis(source, -1, 0), order=3, mode="mirror")
        expected = np.clip(expected, series[..., t].min(), series[..., t].max())
        expected *= ndimage.map_coordinates(shift.factor, np.moveaxis(at, -1, 0), order=1, mode="nearest")
        assert inside.sum() > 300
        np.testing.assert_allclose(got[inside, t], expected[inside], atol=2e-5)
    low, high = space.bounds(series)
    assert low <= got.min()
    assert got.max() <= high


def test_every_space_is_written_and_its_mean_leaves_the_dummies_out() -> None:
    rng = np.random.default_rng(4)
    series = np.asfortranarray(rng.normal(100, 1, (*GRID.shape, 4)).astype(np.float32))
    series[..., 0] += 50
    matrices = np.tile(np.eye(4), (4, GRID.shape[2], 1, 1))
    template = SimpleNamespace(grid=PAM50_BOX)
    middle = GRID.centre - PAM50_BOX.centre
    cord = SimpleNamespace(forward=moved(*middle), covered_z_mm=(-120.0, -100.0))
    where = placement(to_mni=None, to_pam50=cord, template=template, brain=SimpleNamespace(reason="no brain"))
    where.__dict__["means"], where.__dict__["notes"] = {}, ()
    written = {}

    def write(space: object, volumes: object) -> None:
        written[space.name] = np.stack(list(volumes), axis=3)

    from dataclasses import make_dataclass

    placed = make_dataclass("Placed", [(key, object) for key in vars(where)], frozen=True)(**vars(where))
    done = bring_to_spaces(RUN, placed, Settings(), GRID, series, matrices, None, 1, write)

    assert list(written) == ["PAM50"]
    assert written["PAM50"].shape == (*PAM50_BOX.shape, 4)
    space, mean = done.means["PAM50"]
    np.testing.assert_allclose(mean, written["PAM50"][..., 1:].mean(axis=3), rtol=1e-5)
    assert mean.max() < 125
    z = PAM50_BOX.to_ras(np.argwhere(space.covered))[:, 2]
    assert -120 <= z.min() < z.max() <= -100
    assert "no brain" in done.notes[0]


@pytest.mark.parametrize("asked", [("native",), ("native", "MNI"), ("PAM50",)])
def test_only_spaces_that_are_asked_for(asked: tuple[str, ...]) -> None:
    cord = SimpleNamespace(forward=moved(0, 0, 0), covered_z_mm=(-120.0, -100.0))
    brain = SimpleNamespace(forward=moved(0, 0, 0))
    where = placement(to_mni=brain, to_pam50=cord, template=SimpleNamespace(grid=PAM50_BOX))
    spaces, notes = spaces_of(where, Settings(output_spaces=asked))
    assert {name[:3] for name in spaces} == {one[:3] for one in asked if one != "native"}
    assert not notes


def test_coarser_voxels_lie_about_the_middle_of_those_they_join() -> None:
    coarse = coarser(PAM50_BOX, 2)
    np.testing.assert_allclose(coarse.voxel_mm, 1.0)
    np.testing.assert_allclose(coarse.to_ras([3, 4, 5]), PAM50_BOX.to_ras([6.5, 8.5, 10.5]))
    assert coarse.shape == tuple(-(-n // 2) for n in PAM50_BOX.shape)


def test_levels_follow_the_nearest_labelled_voxel_and_end_where_the_anatomy_does() -> None:
    anatomical = Grid((10, 10, 30), np.diag([1.0, 1, 1, 1]))
    labels = np.zeros(anatomical.shape, dtype=np.uint8)
    labels[4:6, 4:6, 10:20] = 3
    labels[4:6, 4:6, 20:] = 2
    run = Grid((5, 5, 12), np.diag([2.0, 2, 4, 1]))
    mask = np.zeros(run.shape, dtype=bool)
    mask[2, 2] = True
    got = levels_on(labels, anatomical, moved(0.5, 0.5, 0), mask, run)[2, 2]
    # slices at 0, 4, .. 44 mm; the labels span 10 to 29 mm
    np.testing.assert_array_equal(got, [0, 3, 3, 3, 3, 2, 2, 2, 2, 2, 0, 0])
    assert not levels_on(np.zeros_like(labels), anatomical, moved(0, 0, 0), mask, run).any()
