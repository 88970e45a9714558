"""ITK composite files against antspyx: points and orders as ITK has them."""

import time
from pathlib import Path

import numpy as np
import pytest

from cospine.space.grid import Grid
from cospine.space.itk import composite_h5, read_composite_h5
from cospine.space.transform import Affine, Chain, Displacement, SliceShift, rigid_matrix

_OBLIQUE = rigid_matrix(np.array([5.0, -7.0, 11.0, 0.3, -0.2, 0.4]), np.zeros(3))
_SCALED = np.diag([1.1, 0.9, 1.05, 1.0])
ORIENTATIONS = {
    "RAS": np.diag([3.0, 2.0, 4.0, 1.0]),
    "LAS": np.diag([-3.0, 2.0, 4.0, 1.0]),
    "oblique LPI": _OBLIQUE @ np.diag([-3.0, -2.0, -4.0, 1.0]),
    "oblique PSR": _OBLIQUE @ np.array([[0, 0, 3.0, 0], [-2.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1.0]]),
}


def smooth_field(affine: np.ndarray, seed: int) -> Displacement:
    """Displacements of several mm that differ along all axes, on a grid with three different lengths."""
    rng = np.random.default_rng(seed)
    shape = (12, 15, 9)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    vectors = np.stack([3 * np.sin(index @ rng.normal(0, 0.2, 3) + rng.uniform(0, 6)) for _ in range(3)], axis=-1)
    return Displacement(Grid(shape, affine), vectors.astype(np.float32))


def inner_points(grid: Grid, seed: int = 3) -> np.ndarray:
    """Points well inside a grid: at its rim linear interpolation is done differently."""
    rng = np.random.default_rng(seed)
    return grid.to_ras(rng.uniform(0.25, 0.75, (40, 3)) * (np.array(grid.shape) - 1))


def map_by_ants(content: bytes, points: np.ndarray, folder: Path) -> np.ndarray:
    """What ITK makes of RAS points: through the file, in LPS."""
    import ants

    path = folder / "xfm.h5"
    path.write_bytes(content)
    transform = ants.read_transform(str(path))
    flip = np.array([-1.0, -1.0, 1.0])
    return np.array([ants.apply_ants_transform_to_point(transform, p * flip) for p in points]) * flip


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_points_go_where_itk_sends_them(name: str, tmp_path: Path) -> None:
    field = smooth_field(ORIENTATIONS[name], seed=1)
    turn = Affine(rigid_matrix(np.array([1.0, 2.0, -1.0, 0.05, 0.1, -0.1]), field.grid.centre) @ _SCALED)
    points = inner_points(field.grid)
    # not commutative: a wrong order is millimetres off
    for links in ((field,), (turn,), (field, turn), (turn, field), (turn, Chain((field, turn)))):
        expected = Chain(tuple(links)).map(points)
        np.testing.assert_allclose(map_by_ants(composite_h5(links), points, tmp_path), expected, atol=1e-3)
    assert np.abs(Chain((field, turn)).map(points) - Chain((turn, field)).map(points)).max() > 0.5


def test_an_image_resampled_by_ants_lands_where_the_points_say(tmp_path: Path) -> None:
    import ants

    shape = (24, 20, 18)
    moving = np.zeros(shape, dtype=np.float32)
    moving[15, 8, 10] = 1
    image = ants.from_numpy(moving, spacing=(2.0, 2.0, 2.0), direction=np.diag([-1.0, -1.0, 1.0]))
    path = tmp_path / "xfm.h5"
    shift = np.eye(4)
    shift[:3, 3] = [6.0, -4.0, 2.0]
    path.write_bytes(composite_h5([Affine(shift)]))
    moved = ants.apply_transforms(image, image, [str(path)], interpolator="nearestNeighbor").numpy()
    # output point + (6, -4, 2) mm RAS = the bright point, on a RAS grid of 2 mm
    assert np.argwhere(moved > 0.5).tolist() == [[12, 10, 9]]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_reading_gives_back_what_was_written(name: str) -> None:
    field = smooth_field(ORIENTATIONS[name], seed=2)
    turn = Affine(_OBLIQUE)
    chain = read_composite_h5(composite_h5([turn, field]))
    first, second = chain.links
    assert isinstance(first, Affine)
    assert isinstance(second, Displacement)
    np.testing.assert_allclose(first.matrix, turn.matrix, atol=1e-12)
    assert second.grid.matches(field.grid, 1e-9)
    np.testing.assert_allclose(second.vectors, field.vectors, atol=1.3e-4)


def test_what_ants_writes_is_read(tmp_path: Path) -> None:
    import ants

    rng = np.random.default_rng(5)
    vectors = rng.normal(0, 2, (8, 9, 10, 3)).astype(np.float32)
    field = ants.from_numpy(vectors, has_components=True, spacing=(3.0, 3.0, 3.0), origin=(-10.0, -12.0, -14.0))
    warp = ants.transform_from_displacement_field(field)
    turn = ants.create_ants_transform(
        transform_type="AffineTransform",
        matrix=_OBLIQUE[:3, :3] @ _SCALED[:3, :3],
        center=(4.0, 5.0, 6.0),
        translation=(1.0, 2.0, 3.0),
    )
    both = ants.compose_ants_transforms([warp, turn])
    path = tmp_path / "ants.h5"
    ants.write_transform(both, str(path))
    chain = read_composite_h5(path.read_bytes())
    flip = np.array([-1.0, -1.0, 1.0])
    points = rng.uniform(-3, 3, (20, 3))
    expected = np.array([ants.apply_ants_transform_to_point(both, p * flip) for p in points]) * flip
    np.testing.assert_allclose(chain.map(points), expected, atol=1e-3)


def test_bytes_depend_on_the_links_alone() -> None:
    field = smooth_field(_OBLIQUE, seed=4)
    first = composite_h5([field])
    time.sleep(1.1)  # times in HDF5 are whole seconds
    assert composite_h5([field]) == first
    assert composite_h5([smooth_field(_OBLIQUE, seed=5)]) != first


def test_a_smooth_field_is_compressed() -> None:
    grid = Grid((40, 40, 40), np.eye(4))
    ramp = np.linspace(0, 5, 40)[:, None, None, None] * np.ones((40, 40, 40, 3))
    content = composite_h5([Displacement(grid, ramp.astype(np.float32))])
    assert len(content) < 40**3 * 3 * 4 / 8


def test_what_itk_cannot_hold_is_refused() -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    with pytest.raises(ValueError, match="SliceShift"):
        composite_h5([SliceShift(grid, np.tile(np.eye(4), (4, 1, 1)))])
    with pytest.raises(ValueError, match="at least one"):
        composite_h5([])
    with pytest.raises(ValueError, match="not an HDF5 file"):
        read_composite_h5(b"#Insight Transform File V1.0")
