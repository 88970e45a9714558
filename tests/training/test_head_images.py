"""The synthetic heads: that they are what they claim, and that image and target agree about where things are."""

import numpy as np
import pytest

from training import head_images, head_shapes
from training.head_shapes import CANAL, CORD, LABEL_STEP_MM, TISSUE_CLASS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bank() -> np.ndarray:
    return head_shapes.noise_bank()


@pytest.fixture(scope="module")
def person(bank: np.ndarray) -> tuple[head_shapes.Anatomy, np.ndarray, np.ndarray]:
    anatomy = head_shapes.draw_anatomy(np.random.default_rng(3), bank)
    anatomy = anatomy._replace(warp=np.zeros_like(anatomy.warp))
    labels, origin = head_shapes.render_labels(anatomy, 3)
    return anatomy, labels, origin


def test_noise_has_unit_variance_and_is_periodic(bank: np.ndarray) -> None:
    np.testing.assert_allclose(bank.std(axis=(1, 2, 3)), 1.0, rtol=1e-4)
    # The step over the border is as small as the steps inside: that is what periodic means here.
    inside = np.abs(np.diff(bank[2], axis=0)).mean()
    assert np.abs(bank[2, 0] - bank[2, -1]).mean() == pytest.approx(inside, rel=0.2)


def test_the_cord_runs_down_the_canal_without_a_gap(person: tuple[head_shapes.Anatomy, np.ndarray, np.ndarray]) -> None:
    anatomy, labels, origin = person
    for depth in range(10, 200, 10):
        section = labels[round((-depth - origin[2]) / LABEL_STEP_MM)]
        y, x = np.nonzero(section == CORD)
        row = anatomy.neck[depth]
        area = len(x) * LABEL_STEP_MM**2
        # A superellipse of exponent 2.2 has 3.25 times the product of its semi-axes; the slice cuts it obliquely.
        assert area == pytest.approx(3.25 * row[head_shapes.CORD_X] * row[head_shapes.CORD_Y] / row[head_shapes.TILT], rel=0.35)
        assert origin[0] + LABEL_STEP_MM * x.mean() == pytest.approx(row[head_shapes.X], abs=1.5)
        assert origin[1] + LABEL_STEP_MM * y.mean() == pytest.approx(row[head_shapes.Y], abs=1.5)
        assert (section == CANAL).any()


def test_sizes_of_brains_cover_children_and_large_adults(bank: np.ndarray) -> None:
    litres = []
    for index in range(3):
        anatomy = head_shapes.draw_anatomy(np.random.default_rng((9, index)), bank)
        labels, _ = head_shapes.render_labels(anatomy, index)
        classes = TISSUE_CLASS[labels]
        brain, rest = (float((classes == k).sum()) * LABEL_STEP_MM**3 * 1e-6 for k in (1, 2))
        assert 0.6 < brain < 1.9
        assert 0.06 < rest / brain < 0.25
        litres.append(brain)
    assert max(litres) > 1.1 * min(litres)


def test_shares_are_whole_and_a_seed_gives_the_same_sample(bank: np.ndarray) -> None:
    first = list(head_images.samples_of_person(5, 1, 2, bank))
    again = list(head_images.samples_of_person(5, 1, 2, bank))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.target, other.target)
        np.testing.assert_array_equal(one.target.sum(axis=0), 8)
        assert one.image.shape == head_images.CROP
        assert one.image.min() >= 0
        assert one.image.max() <= 1.5
    assert not np.array_equal(first[0].image, next(head_images.samples_of_person(5, 2, 1, bank)).image)


@pytest.mark.parametrize("keep_canal", [False, True])
def test_a_painted_cord_leaves_neither_label_nor_contrast(
    person: tuple[head_shapes.Anatomy, np.ndarray, np.ndarray], keep_canal: bool
) -> None:
    _, labels, _ = person
    image = np.where(labels == CORD, 5.0, np.where(labels == CANAL, 3.0, 1.0)).astype(np.float32)
    cord, canal = labels == CORD, labels == CANAL
    painted = head_images.paint_over_cord(np.random.default_rng(1), labels, image, keep_canal)
    assert not np.isin(TISSUE_CLASS[painted], (3, 4)).any()
    if keep_canal:
        np.testing.assert_array_equal(image[canal], 3.0)
        assert 1.0 <= np.median(image[cord]) <= 3.2
    else:
        np.testing.assert_allclose(image[cord | canal], 1.0, atol=1e-3)
    assert (labels == CORD).sum() == cord.sum()


def test_the_target_lies_where_the_distorted_image_shows_the_tissue() -> None:
    labels = np.zeros((60, 60, 60), dtype=np.uint8)
    labels[20:40, 24:32, 26:34] = CORD
    image = (labels == CORD).astype(np.float32)
    origin = np.array([-60.0, -60.0, -60.0])
    field = np.full((17, 17, 17), 7.0, dtype=np.float32)
    direction, axes = np.array([0.0, 1.0, 0.0]), head_shapes.rotation(0.1, -0.05, 0.08)
    voxel, native = np.array([2.0, 2.5, 4.0]), np.array([50, 40, 26])
    corner = np.zeros(3) - axes @ (native * voxel / 2)
    weighting = np.ones((17, 17, 17), dtype=np.float32)
    volume, _ = head_images._acquire(
        image, origin, weighting, field, direction, corner, axes, voxel, (26, 40, 50), np.array([1, 2, 2])
    )
    start = np.array([-45.0, -45.0, -45.0])
    value, view, target = head_images._resample(
        volume, labels, TISSUE_CLASS, origin, field, direction, corner, axes, voxel, start, (31, 31, 31), 2
    )
    assert view[5:26, 5:26, 5:26].all()

    def centre(weight: np.ndarray) -> np.ndarray:
        places = np.indices(weight.shape) * head_images.GRID_MM - 45.0
        return (places * weight).sum(axis=(1, 2, 3)) / weight.sum()

    # The tissue's own centre is voxel (29.5, 27.5, 29.5); it is seen 7 mm further back: the image pulls from p + field.
    np.testing.assert_allclose(centre(target[3].astype(float))[::-1], [-1.0, -12.0, -1.0], atol=0.3)
    np.testing.assert_allclose(centre(value), centre(target[3].astype(float)), atol=0.4)
