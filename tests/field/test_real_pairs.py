"""Real pairs of reversed phase encoding: similarity, a sphere's edge, and an independent phase-difference field."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from field import corrected_by, neutral, phase_difference_of
from field_scoring import Outline, lines_through, ncc, object_mask, slope, smallest_jacobian
from field_tools import SPHERES, Pair, real_pairs

from cospine.field.pepolar import PairField, estimate_field
from cospine.space.grid import Grid

pytestmark = pytest.mark.shared

AT_LEAST = {"head-neck": 0.97, "human": 0.97, "sphere 13 ms": 0.98, "sphere 26 ms": 0.98, "sphere 52 ms": 0.97}


@cache
def solved(shared: Path, name: str) -> tuple[Pair, PairField]:
    pair = real_pairs(shared)[name]
    return pair, estimate_field(list(pair.images), list(pair.encodings), Grid(pair.images[0].shape, pair.affine))


@pytest.mark.parametrize("name", AT_LEAST)
def test_the_two_images_agree_without_folding(shared: Path, name: str) -> None:
    """Judged by another unwarping than the estimator's own."""
    pair, found = solved(shared, name)
    mask = object_mask(pair.images)
    after = ncc(*corrected_by(pair, found), mask)
    assert after > max(AT_LEAST[name], ncc(*pair.images, mask))
    assert smallest_jacobian(found.field_hz, [one.voxels_per_hz for one in pair.encodings], pair.axis) > 0


def test_a_sphere_comes_home(shared: Path) -> None:
    """Its edge at 26 and 52 ms lies where it is at 13 ms: midway between the raw images, where displacements cancel.

    The 52 ms scan shows the whole sphere 0.9 mm elsewhere, raw images too: that is no distortion, and removed.
    """
    still = real_pairs(shared)[f"sphere {SPHERES[0]} ms"]
    lines = lines_through(np.mean(still.images, axis=0), still.axis)
    truth = Outline.midway(still.images, still.axis, lines)
    for ms in SPHERES[1:]:
        pair, found = solved(shared, f"sphere {ms} ms")
        offset = truth.offset(Outline.midway(pair.images, pair.axis, lines))
        before, after = (
            pair.voxel_mm * truth.distance(images, pair.axis, offset) for images in (pair.images, corrected_by(pair, found))
        )
        assert before > 4
        assert after < 0.8


def test_the_pair_agrees_with_the_phase_difference(shared: Path) -> None:
    """METHODS 6: another physics, another shim; slope after a second-order polynomial, and the sign."""
    pair, found = solved(shared, "head-neck")
    phase_hz, measured = phase_difference_of(shared, pair)
    inside = measured & object_mask(corrected_by(pair, found))
    gain, correlation = slope(found.field_hz, phase_hz, inside)
    assert 0.8 < gain < 1.2
    assert correlation > 0.8
    assert slope(found.field_hz, -phase_hz, inside)[0] < -0.8


def test_the_phase_difference_undistorts_the_pair(shared: Path) -> None:
    pair = real_pairs(shared)["head-neck"]
    phase_hz, _ = phase_difference_of(shared, pair)
    mask = object_mask(pair.images)
    before, right, wrong = (ncc(*neutral(pair, factor * phase_hz), mask) for factor in (0, 1, -1))
    assert right > 0.85 > before > wrong
