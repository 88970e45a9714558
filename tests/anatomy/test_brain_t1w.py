"""The brain in T1-weighted heads made here: template's brain, known geometry."""

import numpy as np
import pytest
from heads import dice, make_head
from scipy import ndimage

from cospine.anatomy.bias import correct_bias
from cospine.anatomy.brain_t1w import find_brain_t1w, refine_mask
from cospine.anatomy.template_fit import fit_template
from cospine.space.grid import Grid
from cospine.space.lattice import at_spacing

pytestmark = pytest.mark.slow


def test_brain_of_a_head_in_an_unusual_orientation() -> None:
    head = make_head("PIL")
    brain = find_brain_t1w(head.image, head.grid)
    assert brain.found
    assert dice(brain.mask, head.brain) > 0.92
    # it ends where the brainstem does: within two voxels
    lowest = [head.grid.to_ras(np.argwhere(mask))[:, 2].min() for mask in (brain.mask, head.brain)]
    assert abs(lowest[0] - lowest[1]) <= 6.0


def test_template_is_brought_to_the_brain() -> None:
    head = make_head()
    fit = fit_template(head.image / head.bias, head.grid)
    points = np.array([[0, 60, 0], [0, -95, 0], [-60, -20, 0], [60, -20, 0], [0, -20, 70], [0, -30, -45.0]])
    assert np.linalg.norm(fit.to_t1w.map(points) - head.to_t1w(points), axis=1).mean() < 6.0
    assert fit.similarity > 0.5


@pytest.mark.parametrize("change", [-1, 1])
def test_refinement_brings_the_border_back(change: int) -> None:
    head = make_head()
    move = ndimage.binary_erosion if change < 0 else ndimage.binary_dilation
    coarse = np.asarray(move(head.brain, iterations=1 if change > 0 else 2), dtype=bool)
    if change > 0:  # the foramen is the coarse mask's to say
        height = head.grid.to_ras(np.moveaxis(np.indices(head.grid.shape), 0, -1))[..., 2]
        coarse &= height >= height[head.brain].min()
    refined = refine_mask(head.image / head.bias, head.grid, coarse)
    assert dice(refined, head.brain) > dice(coarse, head.brain) + (0.02 if change < 0 else 0)


def test_bias_is_taken_out() -> None:
    head = make_head()
    found = head.image / correct_bias(head.image, head.grid, head.brain)
    ratio = (found / head.bias)[head.brain]
    # the made head's cortex is thin against its voxels: half of the variation is what N4 gets
    assert ratio.std() / ratio.mean() < 0.6 * head.bias[head.brain].std()


def test_no_brain_is_said() -> None:
    rng = np.random.default_rng(1)
    i, j, _ = np.indices((60, 60, 60))
    neck = np.where(np.hypot(i - 30, j - 30) < 18, 300.0, 0) + np.abs(rng.normal(scale=10, size=(60, 60, 60)))
    found = find_brain_t1w(neck, Grid((60, 60, 60), np.diag([3.0, 3, 3, 1])))
    assert not found.found
    assert "resembles" in found.reason


def test_small_field_of_view_is_said() -> None:
    found = find_brain_t1w(np.ones((40, 40, 30)), Grid((40, 40, 30), np.diag([1.0, 1, 5, 1])))
    assert not found.found
    assert "does not fit" in found.reason


@pytest.mark.parametrize("size", [0.7, 1.0, 1.2, 1.5, 2.0])
def test_the_border_is_looked_for_on_fine_voxels(size: float) -> None:
    affine = np.array([[-size, 0, 0, 30], [0, 0, 1.0, -20], [0, size, 0, 5], [0, 0, 0, 1]])
    grid = Grid((24, 22, 26), affine)
    image = (grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1)) @ [1.0, 2.0, 3.0]).astype(np.float32)
    fine, lattice = at_spacing(image, grid, 1.0)
    assert (lattice.voxel_mm <= 1.05).all()
    # a ramp stays the same ramp: nothing is shifted
    places = lattice.to_ras(np.moveaxis(np.indices(lattice.shape), 0, -1))
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(fine[inner], (places @ [1.0, 2.0, 3.0])[inner], atol=0.02)
