"""The face is found and nothing else is, on a head with a face, made here."""

from dataclasses import dataclass

import numpy as np
import pytest
from heads import Made, make_head
from numpy.typing import NDArray

from cospine.anatomy.face import Face, face_of, find_face
from cospine.space.grid import Grid


@dataclass(frozen=True)
class Faced:
    """A head in an unusual orientation, what is face in it, and its cord."""

    head: Made
    image: NDArray[np.float32]
    features: NDArray[np.bool_]
    cord: NDArray[np.bool_]
    neck: NDArray[np.bool_]
    found: Face


@pytest.fixture(scope="module")
def faced() -> Faced:
    head = make_head("PIL")
    points = head.grid.to_ras(np.moveaxis(np.indices(head.grid.shape), 0, -1))
    mni = Made.to_mni(points)
    # eyes, nose, mouth and chin lie in this body in front of the skull's base; above, the margin about the brain begins
    body = (((mni - [0, 62, -62]) / [52, 42, 62]) ** 2).sum(axis=-1) < 1
    body &= ~head.brain & (mni[..., 2] < 0)
    cord = (np.hypot(points[..., 0] - 3, points[..., 1] + 35) < 6) & (points[..., 2] < -45) & ~head.brain
    neck = (np.hypot(points[..., 0] - 3, points[..., 1] + 15) < 40) & (mni[..., 2] < -70)
    image = np.where(body & (head.image < 300), 400, head.image).astype(np.float32)
    image[cord] = 650
    return Faced(
        head, image, body & (mni[..., 1] > 62) & (mni[..., 2] < -40), cord, neck & (mni[..., 1] < 25), find_face(image, head.grid)
    )


def test_brain_cord_and_neck_stay(faced: Faced) -> None:
    assert faced.found.found
    assert not (faced.found.mask & faced.head.brain).any()
    assert not (faced.found.mask & faced.cord).any()
    assert not (faced.found.mask & faced.neck).any()


def test_the_face_goes(faced: Faced) -> None:
    assert faced.features.sum() > 1000
    assert (faced.found.mask & faced.features).sum() / faced.features.sum() > 0.99
    # of the head as a whole little goes
    assert faced.image[faced.found.mask].sum() < 0.15 * faced.image.sum()


def test_other_images_of_the_session_lose_the_same_face(faced: Faced) -> None:
    place = faced.found.place
    assert place is not None
    affine = faced.head.grid.affine @ np.diag([2, 1, 1, 1])
    shape = (faced.head.grid.shape[0] // 2, *faced.head.grid.shape[1:])
    assert np.array_equal(face_of(place, Grid(shape, affine)), faced.found.mask[: 2 * shape[0] : 2])


def test_without_a_head_nothing_is_taken_out() -> None:
    small = find_face(np.ones((20, 20, 20)), Grid((20, 20, 20), np.diag([3.0, 3, 3, 1])))
    assert not small.found
    assert not small.mask.any()
    assert "too small" in small.reason
    body = np.random.default_rng(0).normal(100, 10, (32, 32, 32)).astype(np.float32)
    nobody = find_face(body, Grid((32, 32, 32), np.diag([3.0, 3, 3, 1])))
    assert not nobody.found
    assert not nobody.mask.any()
