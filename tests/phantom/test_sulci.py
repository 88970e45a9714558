"""Folds of an individual's own: where they are, what they leave alone."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.phantom.anatomy import build_anatomy
from cospine.phantom.head import Brain, load_brain
from cospine.phantom.sulci import fold
from cospine.phantom.tissues import NUMBER

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folded() -> Brain:
    return fold(load_brain(), 3)


def depth_mm() -> np.ndarray:
    return np.asarray(ndimage.distance_transform_edt(load_brain().maps[2] > 127))


def test_same_seed_same_folds_and_another_seed_others(folded: Brain) -> None:
    brain = load_brain()
    part = Brain(brain.maps[:, 60:140, 90:170, 50:130], brain.first, brain.distance)
    assert fold(part, 3).maps.tobytes() == fold(part, 3).maps.tobytes()
    outer = (depth_mm() > 1) & (depth_mm() < 12)
    one, other = folded.maps[0][outer].astype(float), fold(load_brain(), 4).maps[0][outer].astype(float)
    assert np.corrcoef(one, other)[0, 1] < 0.75


def test_outline_and_what_lies_deep_stay(folded: Brain) -> None:
    template = load_brain()
    np.testing.assert_array_equal(folded.maps[2], template.maps[2])
    assert folded.distance is template.distance
    deep = depth_mm() > 30
    np.testing.assert_array_equal(folded.maps[:, deep], template.maps[:, deep])
    # the cerebellum, behind and below
    corner = np.round(np.array([-15, -85, -55]) - template.first).astype(int)
    box = (slice(None), *(slice(low, low + n) for low, n in zip(corner[::-1], (20, 25, 30), strict=True)))
    np.testing.assert_array_equal(folded.maps[box], template.maps[box])


def test_tissues_are_shares_of_about_the_usual_size(folded: Brain) -> None:
    template = load_brain()
    assert (folded.maps[0].astype(int) + folded.maps[1] <= 256).all()
    grey, white = (folded.maps[n].sum(dtype=float) / template.maps[n].sum(dtype=float) for n in (0, 1))
    assert 0.75 < grey < 1.15
    assert 0.85 < white < 1.35


def test_sulci_are_thin_and_lined_with_grey_matter(folded: Brain) -> None:
    inside = (depth_mm() > 5) & (depth_mm() < 12)
    csf = 255 - folded.maps[0].astype(int) - folded.maps[1]
    # above the tentorium everything within 12 mm of the surface is the individual's own
    height = load_brain().first[2] + np.arange(csf.shape[0])
    inside &= (height > 15)[:, None, None]
    sulcus = (csf > 127) & inside
    assert 0.03 < sulcus.sum() / inside.sum() < 0.3
    width = np.asarray(ndimage.distance_transform_edt(csf > 127))
    assert np.percentile(width[sulcus], 99) < 4
    wall = ndimage.binary_dilation(csf > 127, iterations=2) & (csf < 20) & inside
    assert np.mean(folded.maps[0][wall] > folded.maps[1][wall]) > 0.9


def test_a_person_has_them_only_when_asked() -> None:
    spacing = (3.0, 3.0, 4.0)
    plain, own = build_anatomy(5, spacing), build_anatomy(5, spacing, sulci=True)
    np.testing.assert_array_equal(plain.brain_mask, own.brain_mask)
    np.testing.assert_array_equal(plain.cord_mask, own.cord_mask)
    assert plain.deformation.parameters.tobytes() == own.deformation.parameters.tobytes()
    grey = NUMBER["grey_matter"]
    assert np.mean((plain.tissue == grey)[plain.brain_mask] != (own.tissue == grey)[plain.brain_mask]) > 0.15
