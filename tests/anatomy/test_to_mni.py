"""Normalisation to MNI against known geometry."""

import numpy as np
import pytest
from heads import Made, make_head

from cospine.anatomy.to_mni import BrainWarp, normalise_brain
from cospine.errors import CoSpineError
from cospine.register.diffeomorphic import Level
from cospine.space.templates import brain_template
from cospine.space.transform import Displacement

pytestmark = pytest.mark.slow


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
        normalise_brain(head.image, head.grid, head.brain, brain_template(2), levels=[Level(4, 2), Level(2, 2)]) for _ in range(2)
    )
    for one, other in zip(first.forward.links, second.forward.links, strict=True):
        name = "vectors" if isinstance(one, Displacement) else "matrix"
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert first.corrected.tobytes() == second.corrected.tobytes()


def test_empty_mask_is_refused(head: Made) -> None:
    with pytest.raises(CoSpineError, match="mask is empty"):
        normalise_brain(head.image, head.grid, np.zeros(head.grid.shape, dtype=bool), brain_template(2))
