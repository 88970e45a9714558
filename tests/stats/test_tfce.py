"""TFCE against nilearn's steps, against the integral done by hand, and the lattice against SciPy's labels."""

import numpy as np
import pytest
from nilearn.mass_univariate._utils import calculate_cluster_measures, calculate_tfce
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, generate_binary_structure

from cospine.errors import CoSpineError
from cospine.stats.tfce import Scratch, enhance, lattice, tfce


def smooth(seed: int, shape: tuple[int, int, int] = (9, 10, 11)) -> NDArray[np.float32]:
    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1)
    return (2 * values / values.std()).astype(np.float32)


@pytest.mark.parametrize(("connectivity", "rank"), [(6, 1), (18, 2), (26, 3)])
@pytest.mark.parametrize("two_sided", [True, False])
def test_the_exact_integral_is_the_limit_of_nilearns_steps(connectivity: int, rank: int, two_sided: bool) -> None:
    values = smooth(1)
    mask = np.ones(values.shape, bool)
    mask[:2] = False
    values[~mask] = 0
    step = float(np.abs(values).max() / 1000)
    structure = generate_binary_structure(3, rank)
    theirs = calculate_tfce(values[..., None].astype(float), structure, dh=step, two_sided_test=two_sided)[..., 0] * step
    ours = tfce(values, mask, connectivity=connectivity, two_sided=two_sided)
    np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())


def test_a_step_by_hand() -> None:
    """Three voxels of 1, one of them 3: the integral of 3^E h^H to 1, and of h^H from there to 3."""
    values = np.zeros((3, 1, 1), np.float32)
    values[:, 0, 0] = 1, 3, 1
    found = tfce(values, np.ones(values.shape, bool), extent=0.7, height=1.5)
    low = 3**0.7 / 2.5
    np.testing.assert_allclose(found[:, 0, 0], [low, low + (3**2.5 - 1) / 2.5, low], rtol=1e-6)


def test_signs_do_not_touch_and_mirror_each_other() -> None:
    values = smooth(2)
    mask = np.ones(values.shape, bool)
    np.testing.assert_array_equal(tfce(-values, mask), -tfce(values, mask))
    apart = tfce(np.maximum(values, 0), mask)
    np.testing.assert_array_equal(np.maximum(tfce(values, mask), 0), apart)


def test_what_is_outside_does_not_join_what_is_inside() -> None:
    values = np.full((3, 1, 1), 2, np.float32)
    mask = np.array([True, False, True]).reshape(3, 1, 1)
    found = tfce(values, mask)
    np.testing.assert_allclose(found[:, 0, 0], [8 / 3, 0, 8 / 3], rtol=1e-6)
    values[1] = np.nan
    np.testing.assert_array_equal(tfce(values, mask), found)


def test_the_largest_of_the_map_and_the_heaviest_cluster() -> None:
    values = smooth(3)
    mask = np.ones(values.shape, bool)
    where = lattice(mask)
    scratch = Scratch.of(where).arrays
    for _ in range(2):  # what it works in is handed back clean
        highest, heaviest = enhance(values.ravel(), where.place, where.offsets, scratch, 0.5, 2.0, 2.5, True, np.empty(0))
    assert highest == pytest.approx(np.abs(tfce(values, mask)).max(), rel=1e-6)
    _, masses = calculate_cluster_measures(
        values[..., None].astype(float), 2.5, generate_binary_structure(3, 1), two_sided_test=True
    )
    assert heaviest == pytest.approx(masses[0], rel=1e-5)


def test_no_voxels_or_no_such_neighbours_are_refused() -> None:
    with pytest.raises(CoSpineError, match="0 voxels"):
        lattice(np.zeros((3, 3, 3), bool))
    with pytest.raises(CoSpineError, match="connectivity 7"):
        lattice(np.ones((3, 3, 3), bool), 7)
