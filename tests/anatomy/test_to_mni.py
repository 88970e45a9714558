"""Normalisation to MNI: against known geometry, and antspyx's own reading of its files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from heads import Made, make_head

from cospine.anatomy.ants_bridge import antspyx, read_affine, read_displacement, to_ants
from cospine.anatomy.to_mni import BrainWarp, invert, jacobian, normalise_brain
from cospine.errors import CoSpineError
from cospine.space.grid import Grid
from cospine.space.templates import brain_template
from cospine.space.transform import Displacement

pytestmark = pytest.mark.slow

LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def head() -> Made:
    return make_head("LAS")


@pytest.fixture(scope="module")
def warp(head: Made) -> BrainWarp:
    return normalise_brain(head.image, head.grid, head.brain, brain_template(2))


def brain_points() -> np.ndarray:
    template = brain_template(2)
    points = template.grid.to_ras(np.argwhere(template.mask)[::211])
    return points[points[:, 2] > -60]


def test_points_of_the_brain_are_where_they_were_put(head: Made, warp: BrainWarp) -> None:
    points, truth = brain_points(), head.to_t1w(brain_points())
    error = np.linalg.norm(warp.forward.map(points) - truth, axis=1)
    linear = np.linalg.norm(warp.affine.map(points) - truth, axis=1)
    assert error.mean() < 1.0
    assert error.mean() < 0.5 * linear.mean()


def test_there_and_back(warp: BrainWarp) -> None:
    points = brain_points()
    assert np.linalg.norm(warp.inverse.map(warp.forward.map(points)) - points, axis=1).max() < 0.2
    assert warp.round_trip_mm < 0.2
    assert warp.jacobian_min > 0.2


def test_the_neck_follows_the_affine(warp: BrainWarp) -> None:
    neck = np.array([[0.0, -45, -115], [0, -45, -160], [20, -60, -200]])
    np.testing.assert_allclose(warp.forward.map(neck), warp.affine.map(neck), atol=0.05)
    # and comes to it without a jump
    line = np.stack([np.zeros(60), np.full(60, -38.0), np.linspace(-60, -119, 60)], axis=1)
    bend = warp.forward.map(line) - warp.affine.map(line)
    assert np.linalg.norm(np.diff(bend, axis=0), axis=1).max() < 0.4


def test_same_input_same_bytes(head: Made) -> None:
    first, second = (
        normalise_brain(head.image, head.grid, head.brain, brain_template(2), iterations=(2, 2, 1)) for _ in range(2)
    )
    for one, other in zip(first.forward.links, second.forward.links, strict=True):
        name = "vectors" if isinstance(one, Displacement) else "matrix"
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert first.corrected.tobytes() == second.corrected.tobytes()


def test_empty_mask_is_refused(head: Made) -> None:
    with pytest.raises(CoSpineError, match="mask is empty"):
        normalise_brain(head.image, head.grid, np.zeros(head.grid.shape, dtype=bool), brain_template(2))


def test_files_are_read_as_antspyx_reads_them(tmp_path: Path) -> None:
    ants = antspyx()
    rng = np.random.default_rng(3)
    affine = np.array([[-2.0, 0.3, 0, 10], [0.3, 2.0, 0, -7], [0, 0, 3.0, 5], [0, 0, 0, 1.0]])
    affine[:3, 1] -= affine[:3, 0] * (affine[:3, 0] @ affine[:3, 1]) / (affine[:3, 0] @ affine[:3, 0])
    grid = Grid((9, 10, 8), affine)
    vectors = rng.normal(size=(*grid.shape, 3)).astype(np.float32)
    template = to_ants(np.zeros(grid.shape), grid)
    field = ants.from_numpy(
        np.ascontiguousarray(vectors * LPS), template.origin, template.spacing, template.direction, has_components=True
    )
    ants.image_write(field, str(tmp_path / "warp.nii.gz"))
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        dimension=3,
        matrix=np.eye(3) + 0.1 * rng.normal(size=(3, 3)),
        translation=rng.normal(size=3),
        center=[5.0, 6, 7],
    )
    ants.write_transform(transform, str(tmp_path / "affine.mat"))
    points = grid.to_ras(rng.uniform(1, 6, size=(20, 3)))
    for path, ours in (
        (tmp_path / "warp.nii.gz", read_displacement(tmp_path / "warp.nii.gz")),
        (tmp_path / "affine.mat", read_affine(tmp_path / "affine.mat")),
    ):
        table = pd.DataFrame(points * LPS, columns=list("xyz"))
        theirs = ants.apply_transforms_to_points(3, table, [str(path)]).to_numpy()[:, :3] * LPS
        np.testing.assert_allclose(ours.map(points), theirs, atol=1e-4)


def test_inverse_and_jacobian_of_a_known_field() -> None:
    grid = Grid((40, 40, 40), np.diag([-2.0, 2, 2, 1]))
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
    # grows by a tenth along x about the middle, dies out toward the border
    fade = np.prod(np.sin(np.pi * (np.indices(grid.shape) + 0.5) / 40), axis=0)
    vectors = np.zeros((*grid.shape, 3))
    vectors[..., 0] = 0.1 * (points[..., 0] + 39) * fade
    warp = Displacement(grid, vectors)
    middle = points[12:28, 12:28, 12:28]
    np.testing.assert_allclose(invert(warp).map(warp.map(middle)), middle, atol=0.02)
    assert jacobian(warp)[20, 20, 20] == pytest.approx(1.1, abs=0.01)
