"""Outlines moved to the edges of drawn sections: discs whose radius is known, blurred by voxels."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.anatomy.edges import sharpen_outlines
from cospine.anatomy.network import SECTION_PIXEL_MM, normalise_section

CORD_MM, CANAL_MM = 4.0, 6.5
HEIGHT = np.arange(6) * 4.0


def share(radius_mm: float, right: float = 0.0, anterior: float = 0.0) -> np.ndarray:
    """Share of each pixel in a disc, (64, 64)."""
    rows, columns = (np.indices((64, 64)) - 31.5) * SECTION_PIXEL_MM
    return np.clip((radius_mm - np.hypot(columns - right, rows - anterior)) / SECTION_PIXEL_MM + 0.5, 0, 1)


def section(csf: float, around: float, blur_mm: float = 0.7) -> np.ndarray:
    """Cord of brightness 1 in CSF in something else."""
    cord, canal = share(CORD_MM), share(CANAL_MM)
    image = cord + (canal - cord) * csf + (1 - canal) * around
    image = ndimage.gaussian_filter(image, blur_mm / SECTION_PIXEL_MM)
    rng = np.random.default_rng(2)
    image += 0.3 * (share(26.0) < 0.5) * rng.random((64, 64))  # something bright far away
    return normalise_section(image[None], np.ones((1, 64, 64), dtype=bool))[0]


def area(probability: np.ndarray) -> np.ndarray:
    return (probability >= 0.5).sum(axis=(1, 2)) * SECTION_PIXEL_MM**2


@pytest.mark.parametrize(("csf", "around"), [(1.4, 0.2), (0.3, 0.2), (0.3, 1.4), (1.4, 1.2)])
@pytest.mark.parametrize("seen_mm", [3.5, 4.8])
def test_outlines_too_large_or_too_small_come_to_the_edge(csf: float, around: float, seen_mm: float) -> None:
    sections = np.stack([section(csf, around)] * 6)
    found = sharpen_outlines(sections, np.stack([share(seen_mm)] * 6), np.zeros((6, 2)), HEIGHT, 4.0)
    assert abs(np.sqrt(area(found) / np.pi) - CORD_MM).max() < 0.3
    assert abs(seen_mm - CORD_MM) >= 0.5


def test_a_section_without_an_edge_takes_size_and_place_of_its_neighbours() -> None:
    sections = np.stack([section(1.4, 0.2)] * 6)
    sections[3] = 0.01 * sections[3]
    seen = np.stack([share(4.6)] * 6)
    seen[3] = share(4.6, right=0.0, anterior=2.4)
    found = sharpen_outlines(sections, seen, np.zeros((6, 2)), HEIGHT, 4.0)
    truth = share(CORD_MM) >= 0.5
    both = 2 * (truth & (found[3] >= 0.5)).sum() / (truth.sum() + (found[3] >= 0.5).sum())
    before = 2 * (truth & (seen[3] >= 0.5)).sum() / (truth.sum() + (seen[3] >= 0.5).sum())
    assert before < 0.8
    assert both > 0.9


def test_nothing_is_drawn_where_nothing_was_seen() -> None:
    sections = np.stack([section(1.4, 0.2)] * 6)
    seen = np.stack([share(4.6)] * 6)
    seen[[0, 4]] = 0
    found = sharpen_outlines(sections, seen, np.zeros((6, 2)), HEIGHT, 4.0)
    assert not found[[0, 4]].any()
    assert found[[1, 2, 3, 5]].any(axis=(1, 2)).all()
    nothing = np.zeros_like(seen)
    assert not sharpen_outlines(sections, nothing, np.zeros((6, 2)), HEIGHT, 4.0).any()


def test_where_sections_have_their_middles_does_not_matter() -> None:
    """The same cord seen in sections that are centred elsewhere."""
    off = 4
    sections = np.stack([section(1.4, 0.2)] * 6)
    seen = np.stack([share(4.6)] * 6)
    middle = np.zeros((6, 2))
    plain = sharpen_outlines(sections, seen, middle, HEIGHT, 4.0)
    for k in (2, 5):
        sections[k], seen[k] = np.roll(sections[k], off, axis=1), np.roll(seen[k], off, axis=1)
        middle[k, 0] = -off * SECTION_PIXEL_MM
    moved = sharpen_outlines(sections, seen, middle, HEIGHT, 4.0)
    np.testing.assert_allclose(np.roll(moved[[2, 5]], -off, axis=2), plain[[2, 5]], atol=1e-5)


def test_noise_alone_moves_nothing_far() -> None:
    rng = np.random.default_rng(0)
    sections = 0.02 * rng.normal(size=(6, 64, 64))
    seen = np.stack([share(4.0)] * 6)
    found = sharpen_outlines(sections, seen, np.zeros((6, 2)), HEIGHT, 4.0)
    np.testing.assert_allclose(area(found), area(seen), rtol=0.15)


def test_what_the_contrast_is_known_to_be_decides_where_most_sections_hardly_show_the_csf() -> None:
    """Four of six sections only fall off where the sac ends; the two that show the CSF tell the others where the cord ends."""
    clear, faint = section(1.4, 0.2), section(1.2, 0.1, blur_mm=1.4)
    sections = np.stack([faint, clear, faint, faint, clear, faint])
    seen = np.stack([share(4.8)] * 6)
    found = {
        known: np.sqrt(area(sharpen_outlines(sections, seen, np.zeros((6, 2)), HEIGHT, 4.0, csf_brighter=known)) / np.pi)
        for known in (None, True)
    }
    assert found[None].mean() > CORD_MM + 0.8, "these sections alone are taken for a cord in dark CSF"
    assert abs(found[True] - CORD_MM).max() < 0.4
