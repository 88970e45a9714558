"""A whole dataset at a coarse protocol: files, repeatability, switches, and truth against the images."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import interpolate, ndimage
from scipy.spatial.transform import Rotation

from cospine.check.examine import examine
from cospine.errors import CoSpineError
from cospine.phantom import scene, session, tissues
from cospine.phantom import simulate as simulation
from cospine.phantom.effects import REALISTIC, Effects, number_of
from cospine.phantom.motion import nod
from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.protocol import SMALL, Protocol
from cospine.phantom.scene import (
    Subject,
    all_but_fat,
    build_subject,
    epi_encoding,
    reach_mm,
    resting_pose,
    run_course,
    saturated_fat,
    signal,
    surroundings,
)

pytestmark = pytest.mark.slow

VOXEL = (4.0, 4.0, 8.0)
COARSE = replace(
    SMALL,
    name="coarse",
    shape=(48, 56, 35),
    voxel_mm=VOXEL,
    total_readout_s=SMALL.total_readout_s * 2.0 / 4.0,
    t1w_shape=(48, 72, 72),
    t1w_voxel_mm=(4.0, 4.0, 4.0),
    gre_shape=(48, 56, 35),
    gre_voxel_mm=VOXEL,
)  # fmt: skip
VOLUMES = 4


@pytest.fixture(scope="module")
def monkeymodule():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@cache
def person(seed: int, protocol: Protocol) -> Subject:
    """Anatomy and field take most of the time and depend on no effect: drawn once for all tests."""
    return build_subject(seed, protocol, REALISTIC)


def make(root: Path, monkeypatch: pytest.MonkeyPatch, effects: Effects = REALISTIC, fresh=False, **options) -> Path:
    monkeypatch.setitem(simulation.PROTOCOLS, "coarse", COARSE)
    monkeypatch.setattr(session, "FINEST_MM", (1.0, 1.0, 2.0))
    if not fresh:
        monkeypatch.setattr(simulation, "build_subject", lambda s, p, effects: replace(person(s, p), effects=effects))
    simulation.simulate(root, protocol="coarse", volumes=VOLUMES, effects=effects, **options)
    return root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, monkeymodule: pytest.MonkeyPatch) -> Path:
    """Two participants, one for each task."""
    return make(tmp_path_factory.mktemp("realistic") / "data", monkeymodule, participants=2, seed=7)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, monkeymodule: pytest.MonkeyPatch) -> Path:
    """One participant with every effect off."""
    return make(tmp_path_factory.mktemp("bare") / "data", monkeymodule, REALISTIC.without(["all"]), seed=7, task="pain")


NOD, PAIR_MM, PAIR_DEG = 3.0, 1.0, 1.0


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory, monkeymodule: pytest.MonkeyPatch) -> Path:
    """The first participant again, whose head moves within the pair and nods before the run."""
    effects = replace(REALISTIC, pair_pose_mm_deg=(PAIR_MM, PAIR_DEG), nod_deg=NOD)
    return make(tmp_path_factory.mktemp("moved") / "data", monkeymodule, effects, seed=7, task="pain")


def image(root: Path, name: str) -> np.ndarray:
    return np.asarray(nib.load(root / name).dataobj, np.float32)


def checksums(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def table(path: Path) -> dict[str, np.ndarray]:
    with open(path) as stream:
        names = stream.readline().split()
    return dict(zip(names, np.loadtxt(path, skiprows=1, ndmin=2).T, strict=True))


def test_the_official_validator_finds_no_error(dataset: Path, official_errors: Callable[[Path], list]):
    assert not (dataset / ".bidsignore").exists()
    assert official_errors(dataset) == []


def test_nothing_is_found_in_it_against_the_card_it_brings(dataset: Path):
    found = examine(dataset, validator=False)
    assert found.card.name == "CoSpine, digital, coarse"
    assert [one for one in found.findings if one.severity != "info"] == []


def test_images_and_sidecars_agree(dataset: Path):
    for sub, runs in (("sub-01", ("pain",)), ("sub-02", ("motorL", "motorR"))):
        for run in runs:
            stem = dataset / sub / "func" / f"{sub}_task-{run}_bold"
            bold = nib.load(f"{stem}.nii.gz")
            sidecar = json.loads(stem.with_suffix(".json").read_text())
            assert bold.shape == (*COARSE.shape, VOLUMES)
            assert bold.header.get_zooms()[3] == pytest.approx(sidecar["RepetitionTime"])
            assert nib.aff2axcodes(bold.affine) == ("L", "A", "S")
            assert len(sidecar["SliceTiming"]) == COARSE.shape[2]
            assert sidecar["PhaseEncodingDirection"] == "j"
            pair = [dataset / sub / "fmap" / f"{sub}_acq-{run}_dir-{d}_epi" for d in ("AP", "PA")]
            axes = [json.loads(p.with_suffix(".json").read_text())["PhaseEncodingDirection"] for p in pair]
            assert axes == ["j-", "j"]
            np.testing.assert_allclose(nib.load(f"{pair[0]}.nii.gz").affine, bold.affine, atol=1e-4)
    assert (dataset / "sub-01/fmap/sub-01_phasediff.nii.gz").exists()
    assert not (dataset / "sub-02/fmap/sub-02_phasediff.nii.gz").exists()


def test_same_seed_same_bytes(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A participant does not depend on how many there are, either."""
    monkeypatch.setattr(simulation, "build_subject", build_subject)
    again = checksums(make(tmp_path / "again", monkeypatch, fresh=True, participants=1, seed=7))
    first = checksums(dataset)
    compared = [name for name in again if "sub-01" in name]
    assert len(compared) > 30
    assert {name: again[name] for name in compared} == {name: first[name] for name in compared}


def test_with_everything_off_all_volumes_are_the_averaged_anatomy(bare: Path):
    series = image(bare, "sub-01/func/sub-01_task-pain_bold.nii.gz")
    truth = "sourcedata/truth/sub-01/func/sub-01_task-pain_desc-{}_boldref.nii.gz"
    undistorted, reference = (image(bare, truth.format(kind)) for kind in ("undistorted", "reference"))
    assert np.ptp(series, axis=-1).max() <= 1  # rounding: six discarded pulses leave a millionth of the approach to steady state
    np.testing.assert_allclose(undistorted, reference, atol=1e-3)
    assert reference.max() > 500
    # the anatomy by another road: SciPy's interpolation of the contrast, averaged over each voxel
    expected, got = voxel_average(7), series[..., 0]
    inside = expected > 0
    assert np.abs(got - expected)[inside].mean() < 0.02 * expected[inside].mean()
    assert np.corrcoef(got[inside], expected[inside])[0, 1] > 0.999


def voxel_average(seed: int) -> np.ndarray:
    subject = person(number_of(seed, "sub-01"), COARSE)
    shown = signal(
        subject,
        lambda t: tissues.signal_gre_epi(t, COARSE.te_s, COARSE.tr_s, COARSE.flip_deg),
        lambda t: saturated_fat(t) + all_but_fat(t),
    )
    affine = epi_encoding(subject, COARSE, "j").affine
    total = np.zeros(COARSE.shape)
    offsets = (np.arange(4) + 0.5) / 4 - 0.5
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in COARSE.shape), indexing="ij"), -1)
    for i in offsets:
        for j in offsets:
            for k in offsets:
                points = nib.affines.apply_affine(affine, voxels + np.array([i, j, k]))
                where = nib.affines.apply_affine(np.linalg.inv(subject.anatomy.affine), points)
                total += ndimage.map_coordinates(shown, where.reshape(-1, 3).T[::-1], order=1).reshape(COARSE.shape)
    return total / 64


def test_truth_field_undoes_the_distortion_of_the_reference(dataset: Path):
    """Signal truly at y is seen at y + f TRT: reading the reference there gives the undistorted image, and not at minus that."""
    root, p = dataset / "sourcedata/truth/sub-01/func", COARSE
    field = image(root, "sub-01_task-pain_fieldmap.nii.gz")
    undistorted = image(root, "sub-01_task-pain_desc-undistorted_boldref.nii.gz")
    reference = image(root, "sub-01_task-pain_desc-reference_boldref.nii.gz")
    brain = image(root, "sub-01_task-pain_desc-brain_mask.nii.gz") > 0
    i, j, k = np.meshgrid(*(np.arange(n) for n in p.shape), indexing="ij")

    def agreement(sign: float) -> float:
        shift = sign * field * p.total_readout_s
        seen = ndimage.map_coordinates(reference, [i, j + shift, k], order=1) * (1 + np.gradient(shift, axis=1))
        return np.corrcoef(seen[brain], undistorted[brain])[0, 1]

    assert agreement(1) > 0.95
    assert agreement(1) > agreement(0) > agreement(-1)


@pytest.mark.parametrize(("direction", "sign"), [("AP", -1.0), ("PA", 1.0)])
def test_truth_field_of_the_pair_undoes_its_distortion(dataset: Path, direction: str, sign: float):
    """The stored image, read at y + f TRT for `j` and y - f TRT for `j-`, is the undistorted spin echo; not the other way."""
    stem = f"fmap/sub-01_acq-pain_dir-{direction}"
    truth = f"sourcedata/truth/sub-01/{stem}"
    field, undistorted, brain = (
        image(dataset, f"{truth}_{n}.nii.gz") for n in ("fieldmap", "desc-undistorted_epi", "desc-brain_mask")
    )
    stored = image(dataset, f"sub-01/{stem}_epi.nii.gz")
    i, j, k = np.meshgrid(*(np.arange(n) for n in COARSE.shape), indexing="ij")

    def agreement(way: float) -> float:
        shift = way * field * COARSE.total_readout_s
        seen = ndimage.map_coordinates(stored, [i, j + shift, k], order=1) * (1 + np.gradient(shift, axis=1))
        return np.corrcoef(seen[brain > 0], undistorted[brain > 0])[0, 1]

    assert agreement(sign) > 0.88  # fat and folds keep it below 1
    assert agreement(sign) > agreement(0) > agreement(-sign)
    cord = image(dataset, f"{truth}_label-SC_mask.nii.gz") > 0
    assert cord.sum() > 20
    assert not (cord & (brain > 0)).any()


def poses(root: Path, entity: str) -> np.ndarray:
    name = root / f"sourcedata/truth/sub-01/fmap/sub-01_acq-{entity}_desc-pose_timeseries.tsv"
    return np.loadtxt(name, skiprows=1, usecols=range(1, 7), ndmin=2)


@pytest.mark.parametrize("direction", [0, 1])
def test_truth_field_of_the_pair_is_that_of_the_tissue_at_its_pose(moved: Path, direction: int):
    """In the head, where tissue follows it wholly: SciPy's rotation, interpolation and a written-out shim at some voxels."""
    stem = f"sourcedata/truth/sub-01/fmap/sub-01_acq-pain_dir-{('AP', 'PA')[direction]}"
    resting, breathing = (image(moved, f"{stem}_{n}.nii.gz") for n in ("desc-resting_fieldmap", "fieldmap"))
    brain = image(moved, f"{stem}_desc-brain_mask.nii.gz") > 0
    subject = person(number_of(7, "sub-01"), COARSE)
    static, pose = subject.static, poses(moved, "pain")[direction]
    voxels = np.argwhere(brain)[::50]
    nominal = nib.affines.apply_affine(nib.load(moved / f"{stem}_fieldmap.nii.gz").affine, voxels)
    x, y, z = nominal.T
    points = nominal * (1 + 3 / 140**3 * (0.4 * x**2 + 0.4 * y**2 + z**2)[:, None] * [0.5, 0.5, 1.0])
    in_head = points[:, 2] > subject.landmarks.foramen_magnum_z + 15
    assert in_head.sum() > 100
    pivot = np.asarray(subject.anatomy.head_pivot)
    tissue = Rotation.from_euler("xyz", pose[3:]).inv().apply(points - pivot - pose[:3]) + pivot
    axes = [static.affine[a, 3] + static.affine[a, a] * np.arange(static.f0.shape[2 - a]) for a in (2, 1, 0)]
    parts = [interpolate.RegularGridInterpolator(axes, f)(tissue[:, ::-1]) for f in (static.f0, static.fx, static.fy)]
    x, y, z = points.T / 100
    terms = [np.ones_like(x), x, y, z, x * y, z * x, z * y, z * z - (x * x + y * y) / 2, x * x - y * y]
    expected = parts[0] + parts[1] * pose[3] + parts[2] * pose[4] + np.transpose(terms) @ static.shim
    at = tuple(voxels[in_head].T)
    np.testing.assert_allclose(resting[at], expected[in_head], atol=0.02)
    # what the breath adds grows toward the chest, and within a slice has one sign
    change = breathing - resting
    assert 0.3 < np.abs(change).max() < 20
    assert np.abs(change[..., 5]).mean() != pytest.approx(0)
    assert (np.sign(change).max((0, 1)) * np.sign(change).min((0, 1)) >= 0).all()


def test_the_step_between_the_images_of_a_pair_has_the_size_asked_for(dataset: Path, moved: Path):
    """Against where the second image would have been; the first stays where it was, and the T1w and the GRE map too."""
    before, after = poses(dataset, "pain"), poses(moved, "pain")
    np.testing.assert_array_equal(after[0], before[0])
    np.testing.assert_array_equal(poses(moved, "gre"), poses(dataset, "gre"))
    old, new = (Rotation.from_euler("xyz", p[1, 3:]) for p in (before, after))
    step = new * old.inv()
    assert np.rad2deg(step.magnitude()) == pytest.approx(PAIR_DEG, rel=1e-4)
    assert np.linalg.norm(after[1, :3] - step.apply(before[1, :3])) == pytest.approx(PAIR_MM, rel=1e-4)
    same = ("anat/sub-01_T1w", "fmap/sub-01_acq-pain_dir-AP_epi", "fmap/sub-01_phasediff")
    other = ("fmap/sub-01_acq-pain_dir-PA_epi", "func/sub-01_task-pain_bold")
    for names, equal in ((same, True), (other, False)):
        for name in names:
            old_image, new_image = (image(root, f"sub-01/{name}.nii.gz") for root in (dataset, moved))
            assert np.array_equal(old_image, new_image) == equal, name


def test_a_nod_turns_the_head_of_the_run_and_leaves_the_trunk(dataset: Path, moved: Path):
    """Where points of the T1w are in the run's reference, with the nod against without."""
    name = "sourcedata/truth/sub-01/func/sub-01_task-pain_from-boldref_to-T1w_mode-image_xfm.nii.gz"
    subject = person(number_of(7, "sub-01"), COARSE)
    picture = nib.load(moved / name)
    index = np.argwhere(np.ones(picture.shape[:3]))
    points = nib.affines.apply_affine(picture.affine, index)
    lps = np.array([-1.0, -1.0, 1.0])
    start, end = (points + lps * image(root, name).reshape(-1, 3) for root in (dataset, moved))
    near = np.linalg.norm(points - [0, -15, 30], axis=1) < 50
    a, b = start[near] - start[near].mean(0), end[near] - end[near].mean(0)
    turn = Rotation.align_vectors(b, a)[0].as_rotvec(degrees=True)
    # gradient non-linearity bends what is turned, a little
    np.testing.assert_allclose(turn, [-NOD, 0, 0], atol=0.15)
    trunk = (points[:, 2] < subject.landmarks.t1_z) & (points[:, 2] > -160) & (points[:, 1] < subject.anatomy.head_pivot[1])
    assert trunk.sum() > 100
    np.testing.assert_allclose(end[trunk], start[trunk], atol=1e-4)


def test_no_signal_leaves_the_cells_that_are_looked_at():
    """The farthest that any tissue gets with the largest nod is within reach."""
    subject = person(number_of(7, "sub-01"), COARSE)
    anatomy = subject.anatomy
    points = nib.affines.apply_affine(anatomy.affine, np.argwhere(anatomy.tissue > 0)[::101, ::-1])
    effects = replace(REALISTIC, nod_deg=5.0)
    pose = resting_pose(replace(subject, effects=effects), "pain/bold", nod(5.0))
    pivot = np.asarray(anatomy.head_pivot)
    around = surroundings(subject, None, warped=False)
    moved = Rotation.from_euler("xyz", pose[3:]).apply(points - pivot) + pivot + pose[:3]
    distance = around.blend(points) * np.linalg.norm(moved - points, axis=1)
    assert 8 < distance.max() < reach_mm(effects)


def test_truth_of_the_phase_difference(dataset: Path):
    """The stored phase is 2 pi dTE f of the map with the GRE's own shim; the EPI's shim differs by terms up to second order."""
    stem = "sourcedata/truth/sub-01/fmap/sub-01_acq-gre"
    field, with_epi_shim = (image(dataset, f"{stem}_{n}.nii.gz") for n in ("fieldmap", "desc-epishim_fieldmap"))
    magnitude, stored = (image(dataset, f"sub-01/fmap/sub-01_{n}.nii.gz") for n in ("magnitude1", "phasediff"))
    spacing = COARSE.gre_te_s[1] - COARSE.gre_te_s[0]
    bright = ndimage.binary_erosion(magnitude > 0.3 * np.percentile(magnitude, 99), iterations=2)
    assert bright.sum() > 1000
    rest = ((stored / 4096 - 0.5 - field * spacing + 0.5) % 1 - 0.5)[bright] / spacing
    assert np.median(np.abs(rest)) < 4  # Hz; voxels of 4 x 4 x 8 mm
    assert abs(np.median(rest)) < 1
    difference = (with_epi_shim - field)[bright]
    assert difference.std() > 5
    points = np.argwhere(bright) / 20 - 1
    x, y, z = points.T
    basis = np.stack([x**a * y**b * z**c for a in range(5) for b in range(5 - a) for c in range(5 - a - b)], 1)
    left = difference - basis @ np.linalg.lstsq(basis, difference, rcond=None)[0]
    assert left.std() < 0.05  # the warp makes the quadratic a quartic


def test_phase_difference_measures_the_field_of_its_own_shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the same pose and no noise, 2 pi dTE f modulo 2 pi; it differs from the EPI's field by a quadratic (another shim)."""
    effects = REALISTIC.without(["motion", "noise", "breathing_field", "bias"])
    root = make(tmp_path / "data", monkeypatch, effects, seed=7, task="pain")
    stored = image(root, "sub-01/fmap/sub-01_phasediff.nii.gz")
    assert stored.min() >= 0
    assert stored.max() <= 4095
    turns = stored / 4096 - 0.5
    names = ("fieldmap", "desc-brain_mask")
    field, brain = (image(root, f"sourcedata/truth/sub-01/func/sub-01_task-pain_{n}.nii.gz") for n in names)
    inner = ndimage.binary_erosion(brain > 0, iterations=3)
    rest = turns[inner] - field[inner] * (COARSE.gre_te_s[1] - COARSE.gre_te_s[0])
    rest = (rest + 0.5) % 1 - 0.5
    points = np.argwhere(inner) / 20 - 1
    x, y, z = points.T
    basis = np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x, y * y, z * z], 1)
    left = rest - basis @ np.linalg.lstsq(basis, rest, rcond=None)[0]
    assert left.std() / 0.00246 < 3  # Hz
    assert rest.std() / 0.00246 > 3


def test_truth_masks_and_levels_are_plausible(dataset: Path):
    root = dataset / "sourcedata/truth/sub-01"
    for folder, prefix, voxel in (("func", "sub-01_task-pain", 128), ("anat", "sub-01", 64)):
        cord = image(root / folder, f"{prefix}_label-SC_mask.nii.gz") > 0
        brain = image(root / folder, f"{prefix}_desc-brain_mask.nii.gz") > 0
        levels = image(root / folder, f"{prefix}_desc-vertebrae_dseg.nii.gz")
        assert 1.0e6 < brain.sum() * voxel < 2.2e6  # mm3
        assert not (cord & brain).any()
        assert set(range(1, 8)) <= set(np.unique(levels))
        assert (levels[~cord] == 0).all()
        heights = [np.argwhere(levels == v)[:, 2].mean() for v in range(1, 8)]
        assert (np.diff(heights) < 0).all()


def test_motion_tables_hold_one_row_for_each_volume_and_slice(dataset: Path):
    root = dataset / "sourcedata/truth/sub-01/func"
    head = table(root / "sub-01_task-pain_desc-headmotion_timeseries.tsv")
    slices = table(root / "sub-01_task-pain_desc-headmotionslice_timeseries.tsv")
    cord = table(root / "sub-01_task-pain_desc-cordmotion_timeseries.tsv")
    assert len(head["trans_x"]) == VOLUMES
    assert len(slices["volume"]) == VOLUMES * COARSE.shape[2]
    assert set(cord["volume"]) == set(range(VOLUMES))
    np.testing.assert_allclose(cord["shift_i_mm"], cord["shift_mech_i_mm"] + cord["shift_b0_i_mm"], atol=1e-6)
    assert np.abs(cord["shift_b0_j_mm"]).max() > 0.05
    assert np.abs(cord["shift_b0_i_mm"]).max() < 0.1


def course_of(effects: Effects, protocol: Protocol = COARSE):
    subject = replace(person(number_of(7, "sub-01"), protocol), effects=effects)
    return subject, run_course(subject, protocol, epi_encoding(subject, protocol, "j"), "pain", VOLUMES, "pain/bold")


def test_switching_one_effect_off_leaves_the_others_as_they_were():
    subject, full = course_of(REALISTIC)
    for off, untouched in {
        "physio": ("pose", "cord_mm", "offset_hz", "breathing"),
        "bold": ("pose", "cord_mm", "offset_hz", "breathing"),
        "field": ("pose", "cord_mm", "breathing", "modulation"),
        "motion": ("offset_hz", "breathing", "modulation"),
    }.items():
        one_off = replace(subject, effects=REALISTIC.without([off]))
        course = run_course(one_off, COARSE, epi_encoding(one_off, COARSE, "j"), "pain", VOLUMES, "pain/bold")
        for name in untouched:
            np.testing.assert_array_equal(getattr(course.state, name), getattr(full.state, name), err_msg=f"{off}: {name}")
    still = replace(subject, effects=REALISTIC.without(["motion"]))
    course = run_course(still, COARSE, epi_encoding(still, COARSE, "j"), "pain", VOLUMES, "pain/bold")
    assert not course.state.pose.any()
    assert not course.state.cord_mm.any()


def test_gradient_non_linearity_is_nothing_at_the_isocentre_and_3_mm_at_140():
    subject = person(number_of(7, "sub-01"), COARSE)
    warp = surroundings(subject, None, warped=True).warp
    ends = np.array([[0.0, 0, 0], [0, 0, 140], [0, 0, -140]])
    np.testing.assert_allclose(warp(ends), [[0, 0, 0], [0, 0, 3], [0, 0, -3]], atol=1e-9)
    assert not surroundings(subject, None, warped=False).warp(ends).any()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"protocol": "huge"}, "protocol"),
        ({"task": "rest"}, "task"),
        ({"participants": 0}, "participant"),
        ({"volumes": 1}, "volumes"),
        ({"seed": -1}, "seed"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(options: dict, word: str, tmp_path: Path):
    with pytest.raises(CoSpineError, match=word):
        simulation.simulate(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path):
    (tmp_path / "something").write_text("mine")
    with pytest.raises(CoSpineError, match="in use"):
        simulation.simulate(tmp_path)


NULL = ("physio", "inflow", "breathing_field", "physiological_motion", "task_locked")


def test_a_null_run_depends_on_neither_pulse_nor_breathing(monkeypatch: pytest.MonkeyPatch):
    def of_two_bodies(effects: Effects) -> tuple:
        subject, first = course_of(effects)
        with monkeypatch.context() as patch:
            patch.setattr(scene, "simulate_physiology", lambda seed, *rest, **more: simulate_physiology(seed + 1, *rest, **more))
            second = course_of(effects)[1]
        assert not np.array_equal(first.physiology.beat_times_s, second.physiology.beat_times_s)
        return subject, first.state, second.state

    subject, first, second = of_two_bodies(REALISTIC.without(NULL))
    assert np.ptp(first.pose, axis=0).all()
    for name in ("pose", "cord_mm", "offset_hz", "modulation"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert not surroundings(subject, None, warped=True).breathing_gain(np.zeros((3, 3))).any()
    for kept, name in (("physio", "modulation"), ("physiological_motion", "pose"), ("physiological_motion", "cord_mm")):
        _, first, second = of_two_bodies(REALISTIC.without(set(NULL) - {kept}))
        assert not np.array_equal(getattr(first, name), getattr(second, name))


def test_phase_images_are_stored_beside_the_same_magnitude(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = make(tmp_path / "phase", monkeypatch, replace(REALISTIC, phase_images=True), seed=7, task="pain")
    stem = "sub-01/func/sub-01_task-pain_{}bold"
    magnitude, phase = (image(root, stem.format(f"part-{part}_") + ".nii.gz") for part in ("mag", "phase"))
    np.testing.assert_array_equal(magnitude, image(dataset, stem.format("") + ".nii.gz"))
    assert not (root / (stem.format("") + ".nii.gz")).exists()
    assert json.loads((root / (stem.format("part-phase_") + ".json")).read_text())["Units"] == "arbitrary"
    assert phase.min() >= 0
    assert phase.max() <= 4095
    turned = np.exp(2j * np.pi * phase / 4096)
    steady = np.abs(turned.mean(axis=-1))
    bright, air = magnitude.mean(axis=-1) > 300, magnitude.mean(axis=-1) < 20
    # smooth and hardly changing where there is signal, anything in air
    assert np.median(steady[bright]) > 0.9 > 0.7 > np.median(steady[air])
    step = np.angle(turned[1:] * turned[:-1].conj())[bright[1:] & bright[:-1]]
    assert np.median(np.abs(step)) < 0.5
    # breathing turns the phase of the neck more than that of the head
    wander = np.angle(turned * turned.mean(axis=-1, keepdims=True).conj()).std(axis=-1)
    assert np.median(wander[:, :, 4:12][bright[:, :, 4:12]]) > 2 * np.median(wander[:, :, 22:30][bright[:, :, 22:30]])
