"""The cord drawn by hand: shapes of a cord, on the images they name, and drawn alike twice."""

from pathlib import Path

import numpy as np
import pytest
from outlines import mask, read_image, read_outlines


def area_of(vertices: np.ndarray) -> float:
    """Area of a polygon by the shoelace formula."""
    i, j = vertices.T
    return 0.5 * abs(np.dot(i, np.roll(j, 1)) - np.dot(j, np.roll(i, 1)))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_voxel_counts_when_half_of_it_is_inside() -> None:
    # from 1.5 to 4.9 along i: voxels 2-4 whole; voxel 5 begins at 4.5 and has 0.4 of its width inside
    box = np.array([[1.5, 2.0], [4.9, 2.0], [4.9, 6.0], [1.5, 6.0]])
    found = np.argwhere(mask(box, (9, 9)))
    assert set(found[:, 0]) == {2, 3, 4}
    assert set(found[:, 1]) == {2, 3, 4, 5, 6}  # the edges at 2.0 and 6.0 halve their voxels


def test_there_are_slices_of_five_images() -> None:
    outlines = read_outlines()
    assert len({outline.image for outline in outlines}) == 5
    assert len(outlines) == 18
    assert sum(outline.again is not None for outline in outlines) == 6


def test_drawn_twice_alike() -> None:
    twice = [outline for outline in read_outlines() if outline.again is not None]
    agreement = []
    for outline in twice:
        assert outline.again is not None
        shape = (int(outline.vertices[:, 0].max()) + 4, int(outline.vertices[:, 1].max()) + 4)
        agreement.append(dice(mask(outline.vertices, shape), mask(outline.again, shape)))
    assert min(agreement) > 0.93
    assert np.median(agreement) > 0.95


@pytest.mark.shared
def test_outlines_have_the_size_of_a_cord_on_their_images(shared: Path) -> None:
    """Area within 40-130 mm2 (cervical cord 50-95 mm2 in adults, larger where EPI blurs), darker than what surrounds it."""
    for outline in read_outlines():
        image, affine = read_image(outline, shared / "data")
        voxel = np.linalg.norm(affine[:3, :3], axis=0)
        assert 40 < area_of(outline.vertices) * voxel[0] * voxel[1] < 130, outline
        across, deep = np.ptp(outline.vertices, axis=0) * voxel[:2]
        assert 1.1 < across / deep < 2.2, outline
        drawn = mask(outline.vertices, image.shape[:2])
        assert abs(drawn.sum() / area_of(outline.vertices) - 1) < 0.06
        assert image[..., outline.slice][drawn].min() > 0, "the cord is inside of the image"
