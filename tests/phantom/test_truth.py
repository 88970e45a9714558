"""Truth against rendered images: where the tables say the cord and brain are, the pictures show them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cospine.phantom import truth_files
from cospine.phantom.epi import Body, Encoding, State, Surroundings, apparent_position, build_lattice, one, render
from cospine.phantom.images import axial_affine
from cospine.phantom.pose import angles_of, rotation_matrix
from cospine.phantom.truth import (
    cord_truth,
    displacement,
    field_map,
    fit_rigid,
    head_truth,
    pose_about,
    reference_state,
)

SHAPE = (40, 44, 14)
VOLUMES = 5
PIVOT = np.array([0.0, -6.0, 14.0])


def toy(seed: int = 0, field: bool = True, motion: bool = True):
    """A ball of brain above a slanted cord, 1 x 1 x 2 mm; moving, in a field; 5 volumes of 14 slices."""
    rng = np.random.default_rng(seed)
    shape = (60, 70, 50)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-29.5, -34.5, -60)
    x, y, z = (affine[a, 3] + affine[a, a] * np.arange(shape[a]) for a in range(3))
    x, y, z = x[None, None, :], y[None, :, None], z[:, None, None]
    brain = (x**2 + y**2 + (z - 14) ** 2) < 15**2
    radius2 = (x - 0.1 * z) ** 2 / 5**2 + (y + 0.12 * (z + 20)) ** 2 / 4**2
    cord = (radius2 < 1) & (z < -6)
    soft = 1000 / (1 + np.exp((np.sqrt(radius2) - 1) * 8)) * (z < -4)
    field_affine = np.diag([10.0, 10, 10, 1.0])
    field_affine[:3, 3] = (-40, -40, -70)
    carried = np.zeros((3, 12, 9, 9), np.float32)
    if field:
        heights = -70 + 10 * np.arange(12)
        carried[0] = (30 + 0.2 * heights)[:, None, None] + rng.normal(0, 1.5, (12, 9, 9))
        carried[1] = 60
    body = Body(affine, soft.astype(np.float32), np.zeros(shape[::-1], np.uint8), field_affine, carried, PIVOT)
    level = np.where(cord, np.clip(np.round(-z / 14), 1, 9), 0).astype(np.uint8)
    subject = SimpleNamespace(anatomy=SimpleNamespace(affine=affine, brain_mask=brain, cord_mask=cord, vertebral_level=level))
    n = VOLUMES * SHAPE[2]
    base = np.array([0.5, -0.4, 0.3, 0.01, -0.02, 0.015])
    pose = np.tile(base, (n, 1))
    mech = np.zeros((n, 3))
    if motion:
        pose += rng.normal(0, 1, (n, 6)) * np.array([0.3, 0.3, 0.3, 0.004, 0.004, 0.004])
        mech = rng.normal(0, 0.4, (n, 3))
    state = State(pose, mech, rng.normal(0, 5, n) * field, rng.normal(0, 0.4, n) * field, np.ones((n, 1), np.float32), True)
    course = SimpleNamespace(
        times_s=np.zeros((VOLUMES, SHAPE[2])), state=state, base=base,
        motion=SimpleNamespace(jump_slice=np.zeros((VOLUMES, SHAPE[2]), bool), jump_volume=np.zeros(VOLUMES, bool)),
    )  # fmt: skip
    around = Surroundings(
        shim_hz=lambda p: (4 + 0.2 * p[..., 1] - 0.1 * p[..., 0]) * field,
        breathing_gain=lambda p: (6 - 0.2 * p[..., 2]) * field,
        blend=lambda p: np.clip((p[..., 2] + 60) / 60, 0, 1),
        falloff=one,
        warp=lambda p: 1e-6 * p**3,
    )
    encoding = Encoding(axial_affine(SHAPE, (1.5, 1.5, 4.0), np.array([0, 0, -22.0]), 0.08), SHAPE, "j", 0.04)
    return subject, course, body, around, encoding


def test_the_cord_is_shown_where_the_table_says():
    """Centroid of the rendered cord in every slice, volume against reference, as tissue and as it appears."""
    subject, course, body, around, encoding = toy()
    found = cord_truth(subject, course, body, around, encoding)
    lattice = build_lattice(encoding, body, around, (4, 4, 8))
    i, j = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")

    def centroids(state: State) -> np.ndarray:
        image = np.maximum(render(body, lattice, state), 1e-6)
        return np.stack([(image * w[..., None]).sum((0, 1)) / image.sum((0, 1)) for w in (i, j)], -1)[found.slices]

    at_rest = centroids(reference_state(course.base, SHAPE[2], True))
    inner = slice(1, -1)  # the cord's ends lie inside the first and last slice
    n = SHAPE[2]
    for volume in range(VOLUMES):
        rows = slice(volume * n, (volume + 1) * n)
        s = course.state
        state = State(s.pose[rows], s.cord_mm[rows], s.offset_hz[rows], s.breathing[rows], np.ones((n, 256), np.float32), True)
        moved = (centroids(state) - at_rest) * 1.5
        np.testing.assert_allclose(found.total[volume, inner, :2], moved[inner], atol=0.03)
    assert np.abs(found.total[..., 1] - found.mechanical[..., 1]).max() > 0.2
    assert len(found.slices) >= 10


def test_without_a_field_what_is_seen_is_what_the_tissue_does():
    subject, course, body, around, encoding = toy(field=False)
    found = cord_truth(subject, course, body, around, encoding)
    np.testing.assert_allclose(found.total, found.mechanical, atol=1e-9)


def test_at_rest_nothing_moves():
    subject, course, body, around, encoding = toy(field=False, motion=False)
    cord = cord_truth(subject, course, body, around, encoding)
    head = head_truth(subject, course, body, around, encoding)
    for values in (cord.total, head.volumes, head.slices, head.apparent):
        np.testing.assert_allclose(values, 0, atol=1e-5)


def test_drift_of_the_field_moves_what_is_seen_along_the_slice_plane_only():
    """+12 Hz and 0.04 s are 0.48 voxel, 0.72 mm, along j: y and z of the tilted slices."""
    subject, course, body, around, encoding = toy(field=False, motion=False)
    course.state.offset_hz[:] = 12.0
    head = head_truth(subject, course, body, around, encoding)
    np.testing.assert_allclose(head.volumes, 0, atol=1e-9)
    expected = [0, 0.72 * np.cos(0.08), 0.72 * np.sin(0.08), 0, 0, 0]
    np.testing.assert_allclose(head.apparent, np.tile(expected, (VOLUMES, 1)), atol=1e-4)


def test_pose_about_another_centre_moves_points_the_same():
    rng = np.random.default_rng(5)
    base, pose = rng.normal(0, 0.1, (2, 6))
    centre = np.array([3.0, -20, 15])
    points = rng.normal(0, 50, (20, 3))

    def push(p: np.ndarray, q: np.ndarray, about: np.ndarray) -> np.ndarray:
        return (q - about) @ rotation_matrix(p[3:]).T + about + p[:3]

    moved = pose_about(pose, base, PIVOT, centre)
    np.testing.assert_allclose(push(moved, push(base, points, PIVOT), centre), push(pose, points, PIVOT), atol=1e-10)
    np.testing.assert_allclose(fit_rigid(points, push(pose, points, centre), centre), pose, atol=1e-10)


def test_rotation_is_rz_ry_rx():
    """SciPy's lower-case (extrinsic) xyz turns about x first, then y, then z."""
    angles = np.array([0.1, -0.2, 0.3])
    np.testing.assert_allclose(rotation_matrix(angles), Rotation.from_euler("xyz", angles).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(angles_of(rotation_matrix(angles)), angles, atol=1e-12)


def test_field_map_holds_what_the_reference_is_distorted_by():
    subject, course, body, around, encoding = toy()
    hz = field_map(body, around, encoding, reference_state(course.base, SHAPE[2], True))
    points = nib.affines.apply_affine(body.affine, np.argwhere(subject.anatomy.cord_mask)[::37, ::-1])
    seen = apparent_position(
        points, body, around, encoding, reference_state(course.base, SHAPE[2], True), np.zeros(len(points), int)
    )
    inside = np.all((seen.nominal > 0) & (seen.nominal < np.array(SHAPE) - 1), axis=1)
    assert inside.sum() > 20
    mapped = ndimage.map_coordinates(hz, seen.nominal[inside].T, order=1)
    np.testing.assert_allclose(mapped, seen.field_hz[inside], atol=0.5)


def test_field_map_of_an_image_has_each_slice_at_its_own_moment():
    """Pose, breath and drift of slice k act on slice k: the same as mapping it alone."""
    _, course, body, around, encoding = toy()
    n = SHAPE[2]
    rows = slice(n, 2 * n)
    s = course.state
    state = State(s.pose[rows], s.cord_mm[rows], s.offset_hz[rows], s.breathing[rows], np.ones((n, 1), np.float32), True)
    hz = field_map(body, around, encoding, state)
    points = nib.affines.apply_affine(body.affine, np.argwhere(body.signal > 500)[::7, ::-1])
    for k in (2, 7, 11):
        # no other slice is looked at, so all points are followed at the moment of this one
        seen = apparent_position(points, body, around, encoding, state, np.full(len(points), k))
        here = np.abs(seen.nominal[:, 2] - k) < 0.5
        flat = np.column_stack([seen.nominal[here, :2], np.full(here.sum(), float(k))])
        inside = np.all((flat[:, :2] > 0) & (flat[:, :2] < np.array(SHAPE[:2]) - 1), axis=1)
        assert inside.sum() > 5
        mapped = ndimage.map_coordinates(hz, flat[inside].T, order=1)
        np.testing.assert_allclose(mapped, seen.field_hz[here][inside], atol=1.5)
    calm = field_map(body, around, encoding, replace(state, breathing=np.zeros(n)))
    i, j = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
    nominal = encoding.positions(np.stack([i, j, np.full_like(i, 7)], -1))
    expected = around.breathing_gain(nominal + around.warp(nominal)) * state.breathing[7]
    np.testing.assert_allclose((hz - calm)[..., 7], expected, atol=1e-4)


def test_the_contract_repeats_the_table_of_truth_files():
    bar = "=" * 53 + "  " + "=" * 62
    contract = (Path(__file__).parents[2] / "docs" / "contract.md").read_text()
    table, repeated = (text.split(bar)[1].split("\n") for text in (truth_files.__doc__ or "", contract))
    assert len(table) > 30
    assert [line.strip() for line in repeated] == [line.strip() for line in table]


def test_displacement_fields_mean_the_same_to_itk(tmp_path):
    """A NIfTI displacement field of a known map, read by antspyx, moves points as the map does (LPS and RAS)."""
    ants = pytest.importorskip("ants")
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = (-40, -50, -30)

    def known(p: np.ndarray) -> np.ndarray:
        return p + np.array([1.5, -2.0, 0.7]) + 0.02 * p[:, [1, 2, 0]]

    field = displacement(known, affine, (20, 22, 18))
    path = tmp_path / "field.nii.gz"
    image = nib.Nifti1Image(field, affine)
    image.header.set_intent("vector")
    nib.save(image, path)
    transform = ants.transform_from_displacement_field(ants.image_read(str(path)))
    point = np.array([5.0, -7.0, 3.0])
    lps = np.array([-1, -1, 1.0])
    moved = np.array(ants.apply_ants_transform_to_point(transform, (point * lps).tolist())) * lps
    np.testing.assert_allclose(moved, known(point[None])[0], atol=1e-4)
