"""The kernels of the field estimate against finite differences and dense algebra."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cospine.field import normal_equations, smoothness, unwarp_kernels
from cospine.field.gauss_newton import Level, Prior, improve
from cospine.space.bspline import coefficients

SHAPE = (3, 7, 4)
Q1, Q2, TURNED = np.float32(1), np.float32(-0.8), np.float32(1.2)
ALPHA = np.array([0.7, 1.3, 0.4], np.float32)
BETA = np.array([0.5, 0.9, 0.3], np.float32)
CROSSED = pytest.mark.parametrize("crossed", [False, True])


def random(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.normal(size=shape or SHAPE).astype(np.float32)


def linear(crossed: bool, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """A random system of one step: a, c, e, weights, steepness, stiffness and flatness."""
    rng = np.random.default_rng(seed)
    e = random(rng) if crossed else np.empty((0, 0, 0), np.float32)
    w, h, stiff = (rng.uniform(0.2, 2, SHAPE).astype(np.float32) for _ in range(3))
    h[:, -1] = 0  # no step beyond the last voxel
    flat = rng.uniform(0.2, 2, SHAPE).astype(np.float32)
    return {"a": random(rng), "c": random(rng), "e": e, "w": w, "h": h, "stiff": stiff, "flat": flat}


def difference_matrix(n: int) -> NDArray[np.float64]:
    """Central differences as the docstring of `normal_equations` has them."""
    out = np.zeros((n, n))
    for y in range(1, n - 1):
        out[y, [y - 1, y + 1]] = -0.5, 0.5
    out[0, :2] = -0.5, 0.5
    out[-1, -2:] = -0.5, 0.5
    return out


def jacobian(a: NDArray, c: NDArray, e: NDArray) -> NDArray[np.float64]:
    ns, n, nr = SHAPE
    along = np.kron(np.kron(np.eye(ns), difference_matrix(n)), np.eye(nr))
    out = np.diag(a.ravel().astype(float)) + c.ravel()[:, None] * along
    if e.size:
        out += e.ravel()[:, None] * np.kron(np.eye(ns * n), difference_matrix(nr))
    return out


def smooth(stiff: NDArray, alpha: NDArray, h: NDArray) -> NDArray[np.float64]:
    """Matrix whose quadratic form sums weighted squared differences of neighbours."""
    number = np.arange(stiff.size).reshape(SHAPE)
    out = np.zeros((stiff.size, stiff.size))
    for axis in range(3):
        ones = np.take(number, range(SHAPE[axis] - 1), axis).ravel()
        others = np.take(number, range(1, SHAPE[axis]), axis).ravel()
        for one, other in zip(ones, others, strict=True):
            k = alpha[axis] * (stiff.ravel()[one] + stiff.ravel()[other]) / 2 + (h.ravel()[one] if axis == 1 else 0)
            out[[one, other], [one, other]] += k
            out[[one, other], [other, one]] -= k
    return out


def bends(flat: NDArray, beta: NDArray) -> NDArray[np.float64]:
    """Matrix whose quadratic form sums weighted squared second differences."""
    out = np.zeros((flat.size, flat.size))
    for axis in range(3):
        parts = [np.eye(n) for n in SHAPE]
        second = np.zeros((SHAPE[axis], SHAPE[axis]))
        second[1:-1] = np.diff(np.eye(SHAPE[axis]), 2, axis=0)
        parts[axis] = second
        rows = np.kron(np.kron(parts[0], parts[1]), parts[2])
        out += beta[axis] * rows.T @ (flat.ravel()[:, None] * rows)
    return out


def dense(system: dict[str, NDArray], alpha: NDArray, damping: float) -> NDArray[np.float64]:
    j = jacobian(system["a"], system["c"], system["e"])
    data = j.T @ (system["w"].ravel()[:, None] * j)
    return data + smooth(system["stiff"], alpha, system["h"]) + damping * np.eye(len(j))


def times(d: NDArray, system: dict[str, NDArray], damping: float = 0.3) -> NDArray[np.float32]:
    a, c, e, w, h, stiff, flat = system.values()
    out, along = np.empty_like(d), np.empty_like(d)
    normal_equations.normal_times(d, a, c, e, w, h, np.float32(damping), along, np.empty_like(e), out)
    smoothness.add_derivative(d, ALPHA, stiff, BETA, flat, np.full((3, *SHAPE), np.nan, np.float32), out)
    return out


@CROSSED
def test_normal_equations_are_those_of_the_dense_matrix(crossed: bool) -> None:
    system = linear(crossed)
    matrix = dense(system, ALPHA, 0.3) + bends(system["flat"], BETA)
    columns = np.stack([times(unit.reshape(SHAPE), system).ravel() for unit in np.eye(len(matrix), dtype=np.float32)], axis=1)
    np.testing.assert_allclose(columns, matrix, atol=2e-5)
    np.testing.assert_allclose(columns, columns.T, atol=1e-5)
    assert np.linalg.eigvalsh(columns).min() > 0.29  # damping alone is 0.3


@CROSSED
def test_lines_are_solved_exactly(crossed: bool) -> None:
    """Without smoothness across lines the factors are those of the whole matrix; e counts with its diagonal."""
    system = linear(crossed, 1)
    alpha, beta = np.array([0, 1.3, 0], np.float32), np.array([0, 0.9, 0], np.float32)
    along = dict(system, e=np.empty((0, 0, 0), np.float32))
    matrix = dense(along, alpha, 0.3) + bends(system["flat"], beta)
    if crossed:
        matrix += np.diag((system["w"] * system["e"] ** 2 / 2).ravel())
    right = random(np.random.default_rng(2))
    a, c, e, w, h, stiff, flat = system.values()
    diagonal, first, second, out = (np.empty(SHAPE, np.float32) for _ in range(4))
    normal_equations.factorise(a, c, e, w, h, alpha, stiff, beta, flat, np.float32(0.3), diagonal, first, second)
    normal_equations.solve_lines(diagonal, first, second, right, out)
    assert diagonal.min() > 0
    np.testing.assert_allclose(out.ravel(), np.linalg.solve(matrix, right.ravel()), atol=1e-4)


@CROSSED
def test_preconditioner_is_positive_definite_with_smoothness_across(crossed: bool) -> None:
    a, c, e, w, h, stiff, flat = linear(crossed, 3).values()
    factors = [np.empty(SHAPE, np.float32) for _ in range(3)]
    normal_equations.factorise(a, c, e, w, h, ALPHA, stiff, BETA, flat, np.float32(0.01), *factors)
    assert factors[0].min() > 0
    inverse = np.empty((a.size, a.size))
    for n, unit in enumerate(np.eye(a.size, dtype=np.float32)):
        out = np.empty(SHAPE, np.float32)
        normal_equations.solve_lines(*factors, unit.reshape(SHAPE), out)
        inverse[:, n] = out.ravel()
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-5 * abs(inverse).max())
    assert np.linalg.eigvalsh((inverse + inverse.T) / 2).min() > 0


def smooth_images(shape: tuple[int, int, int], seed: int = 5) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return [(1 + 3 * ndimage.gaussian_filter(rng.normal(size=shape), 2.5)).astype(np.float32) for _ in range(2)]


@CROSSED
def test_gradient_is_that_of_the_cost(crossed: bool) -> None:
    """Finite differences of weighted squared residuals, roughness and steepness, in the direction of random changes."""
    shape, rng = (5, 14, 9), np.random.default_rng(4)
    images = smooth_images(shape)
    first, second = coefficients(images[0], along_y=True), coefficients(images[1])
    u = (2.5 * ndimage.gaussian_filter(rng.normal(size=shape), 1.0)).astype(np.float32)
    w = rng.uniform(0.5, 2, shape).astype(np.float32)
    stiff, flat = (rng.uniform(0.5, 1, shape).astype(np.float32) for _ in range(2))
    base = np.eye(3, 4, dtype=np.float32)
    if crossed:  # the second image's own axes: it is encoded along r of the first
        second = np.ascontiguousarray(second.transpose(0, 2, 1))
        base = base[[0, 2, 1]]
    m2 = Q2 * TURNED
    strength, free = np.float32(3), np.float32(0.05)
    barrier, curved = np.empty(shape, np.float32), np.empty(shape, np.float32)
    residual, mean, a, c = (np.empty(shape, np.float32) for _ in range(4))
    e = np.empty(shape if crossed else (0, 0, 0), np.float32)
    still, none = np.zeros((3, 4), np.float32), np.empty((0, 0, 0, 0), np.float32)

    def cost(u: NDArray[np.float32]) -> float:
        v1, s1, v2, s2 = (np.empty(shape, np.float32) for _ in range(4))
        unwarp_kernels.unwarp_still(first, u, Q1, v1, s1)
        unwarp_kernels.unwarp_moved(second, u, Q2, base, still, np.ones(shape, np.float32), v2, s2, none)
        unwarp_kernels.linearise(u, Q1, v1, s1, Q2, m2, v2, s2, residual, mean, a, c, e)
        data = 0.5 * float((w.astype(float) * residual.astype(float) ** 2).sum())
        smooth = smoothness.roughness(u, ALPHA, stiff) + smoothness.bending(u, BETA, flat)
        return data + smooth + smoothness.steepness(u, strength, free, barrier, curved)

    cost(u)
    found, along = np.empty(shape, np.float32), np.empty(shape, np.float32)
    normal_equations.gradient(w * residual, a, c, e, barrier, along, np.empty_like(e), found)
    smoothness.add_derivative(u, ALPHA, stiff, BETA, flat, np.empty((3, *shape), np.float32), found)
    assert np.count_nonzero(barrier) > 50
    for _ in range(4):
        change = random(rng, *shape)
        step = np.float32(2e-3)
        numeric = (cost(u + step * change) - cost(u - step * change)) / (2 * float(step))
        assert float(np.vdot(found, change)) == pytest.approx(numeric, rel=5e-3, abs=5e-2)


def test_stiffness_is_cauchys_weight() -> None:
    """1 / (1 + slope^2) of expected slopes: 1 on a plateau, 0.5 where the slope is what is expected."""
    flat = np.full(SHAPE, 3, np.float32)
    out = np.empty(SHAPE, np.float32)
    smoothness.stiffness(flat, ALPHA, out)
    np.testing.assert_array_equal(out, 1)
    for axis in range(3):
        ramp = (np.indices(SHAPE)[axis] / np.sqrt(ALPHA[axis])).astype(np.float32)
        smoothness.stiffness(ramp, ALPHA, out)
        np.testing.assert_allclose(np.take(out, range(1, SHAPE[axis] - 1), axis), 0.5, rtol=1e-5)
        assert (np.take(out, [0, -1], axis) > 0.5).all()  # half a difference at the ends


def test_steepness_costs_only_beyond_the_free_slope() -> None:
    u = np.zeros((1, 5, 1), np.float32)
    u[0, :, 0] = [0, 0.5, 1.5, 1.5, 0.7]
    first, second = np.empty_like(u), np.empty_like(u)
    value = smoothness.steepness(u, np.float32(10), np.float32(0.6), first, second)
    assert value == pytest.approx(5 * (0.4**2 + 0.2**2), rel=1e-5)
    np.testing.assert_allclose(first.ravel(), [0, 4, 0, -2, 0], atol=1e-5)
    np.testing.assert_array_equal(second.ravel(), [0, 10, 0, 10, 0])


def test_slopes_are_limited_where_they_are_too_steep_and_only_there() -> None:
    rng = np.random.default_rng(10)
    u = (0.3 * rng.normal(size=(4, 20, 3))).cumsum(axis=1).astype(np.float32)
    u[:, 12] += 5
    u[2] = 0.02 * np.arange(20)[:, None]
    out = np.empty_like(u)
    smoothness.limit_slopes(u, np.float32(0.75), out)
    assert np.abs(np.diff(u, axis=1)).max() > 3
    assert np.abs(np.diff(out, axis=1)).max() < 0.75 + 1e-5
    np.testing.assert_array_equal(out[2], u[2])
    spike = np.zeros((1, 9, 1), np.float32)
    spike[0, 4] = 2
    out = np.empty_like(spike)
    smoothness.limit_slopes(spike, np.float32(1), out)
    np.testing.assert_allclose(out.ravel(), [0, 0, 0, 0.5, 1.5, 0.5, 0, 0, 0])  # midway between a spike of 1 and a roof


def test_roughness_is_the_quadratic_form() -> None:
    rng = np.random.default_rng(6)
    u, stiff = random(rng), rng.uniform(0.2, 1, SHAPE).astype(np.float32)
    matrix = smooth(stiff, ALPHA, np.zeros(SHAPE))
    assert smoothness.roughness(u, ALPHA, stiff) == pytest.approx(0.5 * u.ravel() @ matrix @ u.ravel(), rel=1e-5)


def test_bending_is_the_quadratic_form_and_what_is_added_its_derivative() -> None:
    rng = np.random.default_rng(11)
    u, flat, before = random(rng), rng.uniform(0.2, 1, SHAPE).astype(np.float32), random(rng)
    none = np.zeros(3, np.float32)
    matrix = bends(flat, BETA)
    assert smoothness.bending(u, BETA, flat) == pytest.approx(0.5 * u.ravel() @ matrix @ u.ravel(), rel=1e-5)
    out = before.copy()
    smoothness.add_derivative(u, none, np.ones_like(u), BETA, flat, np.full((3, *SHAPE), np.nan, np.float32), out)
    np.testing.assert_allclose((out - before).ravel(), matrix @ u.ravel(), atol=1e-4)


def test_bending_leaves_steep_planes_alone() -> None:
    """A field that rises evenly costs nothing however steep it is; one bend of it weighs half once it is what is expected."""
    plane = (np.indices(SHAPE) * np.array([3, -5, 2]).reshape(3, 1, 1, 1)).sum(axis=0).astype(np.float32)
    flat = np.empty(SHAPE, np.float32)
    smoothness.flatness(plane, BETA, flat)
    np.testing.assert_array_equal(flat, 1)
    assert smoothness.bending(plane, BETA, flat) == 0
    bent = plane.copy()
    bent[:, 4:] += (np.arange(3) + 1)[:, None].astype(np.float32) / np.sqrt(BETA[1])
    smoothness.flatness(bent, BETA, flat)
    np.testing.assert_allclose(flat[:, 3], 0.5, rtol=1e-4)
    np.testing.assert_array_equal(np.delete(flat, 3, axis=1), 1)


def prior_of(voxel_mm: tuple[float, float, float], hz_per_voxel: float) -> Prior:
    image = np.zeros((9, 11, 10), np.float32)
    affine = np.diag([*voxel_mm, 1.0])
    return Prior(Level((image, image), (affine, affine), np.ones(image.shape), (1.0, -1.0), 1.0, False, 1 / hz_per_voxel, 0.1))


@pytest.mark.parametrize("axis", range(3))
def test_what_is_expected_of_a_field_is_in_hz_and_mm_on_every_axis(axis: int) -> None:
    """A field whose slope or curvature is the one expected weighs half, whatever the size of the voxels."""
    voxel = (4.0, 2.0, 1.5)
    prior = prior_of(voxel, 25.0)
    mm = np.indices((9, 11, 10))[axis] * voxel[axis]
    prior.weigh((7.0 * mm / 25.0).astype(np.float32))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(prior.stiff[inner], 0.5, rtol=1e-4)
    np.testing.assert_allclose(prior.flat, 1, rtol=1e-4)
    prior.weigh((0.5 * 0.4 * mm**2 / 25.0).astype(np.float32))
    np.testing.assert_allclose(prior.flat[inner], 0.5, rtol=1e-3)


def test_what_is_added_for_smoothness_is_the_derivative_of_its_cost() -> None:
    prior, rng = prior_of((4.0, 2.0, 1.5), 25.0), np.random.default_rng(12)
    u, change = random(rng, 9, 11, 10), random(rng, 9, 11, 10)
    prior.weigh(u)
    found = np.zeros_like(u)
    prior.add_derivative(u, found)
    numeric = (prior.cost(u + change) - prior.cost(u - change)) / 2  # exact for squares
    assert float(np.vdot(found, change)) == pytest.approx(numeric, rel=1e-4)


def test_unwarping_is_spline_interpolation() -> None:
    """Against SciPy's cubic spline, with a rotation that only part of the voxels follow; slopes by finite differences."""
    shape, rng = (9, 12, 10), np.random.default_rng(7)
    image = smooth_images(shape)[0]
    u = (3 * ndimage.gaussian_filter(rng.normal(size=shape), 2)).astype(np.float32)
    share = rng.uniform(0, 1, shape).astype(np.float32)
    base = np.array([[1, 0.05, 0, 0.3], [-0.05, 0.9, 0, 0.4], [0, 0, 1.1, -0.2]], np.float32)
    turn = np.array([[0, 0, 0.03, 0.2], [0, 0, -0.02, 0.1], [-0.03, 0.02, 0, 0]], np.float32)
    index = np.indices(shape).astype(float)

    def placed(matrix: NDArray) -> NDArray:
        return np.tensordot(matrix[:, :3].astype(float), index, 1) + matrix[:, 3, None, None, None]

    at = placed(base) + share * placed(turn)
    at[1] += Q2 * u
    within = np.all([(x > 1) & (x < n - 2) for x, n in zip(at, shape, strict=True)], axis=0)
    value, slope = np.empty(shape, np.float32), np.empty(shape, np.float32)
    across = np.empty((2, *shape), np.float32)
    unwarp_kernels.unwarp_moved(coefficients(image), u, Q2, base, turn, share, value, slope, across)
    expected = ndimage.map_coordinates(image.astype(float), at, order=3, mode="mirror")
    assert within.sum() > 300
    np.testing.assert_allclose(value[within], expected[within], atol=1e-4)
    for axis, found in ((0, across[0]), (1, slope), (2, across[1])):
        step = np.zeros((3, 1, 1, 1))
        step[axis] = 1e-3
        ends = [ndimage.map_coordinates(image.astype(float), at + sign * step, order=3, mode="mirror") for sign in (1, -1)]
        np.testing.assert_allclose(found[within], (ends[0] - ends[1])[within] / 2e-3, atol=2e-3)
    plain = np.empty(shape, np.float32)
    unwarp_kernels.unwarp_moved(coefficients(image), u, Q2, base, turn, share, plain, slope, np.empty((0, 0, 0, 0), np.float32))
    np.testing.assert_allclose(plain, value, atol=1e-5)
    still_value, still_slope = np.empty(shape, np.float32), np.empty(shape, np.float32)
    unwarp_kernels.unwarp_still(coefficients(image, along_y=True), u, Q2, still_value, still_slope)
    index[1] = np.clip(index[1] + Q2 * u, 0, shape[1] - 1)
    np.testing.assert_allclose(
        still_value, ndimage.map_coordinates(image.astype(float), index, order=3, mode="mirror"), atol=1e-4
    )


def test_weights_fall_to_zero_beyond_the_image() -> None:
    """And at edges: noise of 5 % and a tenth of two voxels' slope, by hand."""
    u = np.zeros((1, 4, 1), np.float32)
    u[0, :, 0] = [-0.5, 0, 0, 0.5]
    local, a, w = np.full_like(u, 2), np.zeros_like(u), np.empty_like(u)
    a[0, 2] = 3
    unwarp_kernels.weigh(local, a, u, Q1, np.float32(-1), np.float32(0.05), np.float32(0.1), np.float32(0.1), w)
    plain = 0.05**2 * (2**2 + 0.1**2)
    np.testing.assert_allclose(w.ravel(), [0, 1 / plain, 1 / (plain + 0.3**2), 0], rtol=1e-5)


def test_steps_lower_the_difference_of_the_images() -> None:
    """Two images of one line pattern, each moved half a voxel: displacement and agreement after a few steps."""
    shape = (8, 30, 8)
    y = np.indices(shape)[1]
    images = tuple((2 + np.sin((y - sign * 0.5) / 2.5)).astype(np.float32) for sign in (1, -1))
    affine = np.diag([2.0, 2, 2, 1])
    level = Level(images, (affine, affine), np.ones(shape, np.float32), (1.0, -1.0), 1.0, False, 0.04, 0.1)
    u, pose = improve(level, np.zeros(shape, np.float32), np.zeros(6), np.zeros(3), 12, 30, moving=False)
    np.testing.assert_allclose(u[:, 3:-3], 0.5, atol=0.05)
    np.testing.assert_array_equal(pose, 0)


def test_results_do_not_depend_on_the_order_of_threads() -> None:
    system = linear(True, 8)
    d = random(np.random.default_rng(9))
    results = [times(d, system) for _ in range(5)]
    assert all(np.array_equal(one, other) for one, other in itertools.pairwise(results))
