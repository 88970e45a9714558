"""Head and cord motion against the amplitudes of FACTS."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cospine.phantom.landmarks import blend, landmarks_of, typical_landmarks
from cospine.phantom.motion import (
    STILL,
    MotionSettings,
    cord_rms_mm,
    framewise_displacement,
    nod,
    session_pose,
    simulate_motion,
    step_of_size,
)
from cospine.phantom.physiology import simulate_physiology
from cospine.phantom.protocol import FULL, SMALL, acquisition_times
from cospine.phantom.task import events

LANDMARKS = typical_landmarks()


def slice_heights(protocol):
    k = np.arange(protocol.shape[2])
    return (k - (k.size - 1) / 2) * protocol.voxel_mm[2]


def run(seed, protocol=FULL, settings=None, task="pain"):
    n = protocol.volumes(task)
    onsets, durations = events(task, seed, n, protocol.tr_s).stimuli()
    physiology = simulate_physiology(seed, n * protocol.tr_s, task, onsets, durations)
    times = acquisition_times(protocol, n)
    return simulate_motion(seed, times, slice_heights(protocol), LANDMARKS, physiology, settings)


def dense(seed, z_mm, settings, t):
    """Motion of the tissue at one height, as if it were a slice taken all the time."""
    physiology = simulate_physiology(seed, float(t.max()))
    truth = simulate_motion(seed, t[:, None], np.array([z_mm]), LANDMARKS, physiology, settings)
    return truth, physiology


@pytest.mark.parametrize("protocol", [FULL, SMALL], ids=lambda p: p.name)
@pytest.mark.parametrize("seed", range(6))
def test_default_head_motion_lies_within_the_facts(seed, protocol):
    truth = run(seed, protocol)
    assert 0.1 <= framewise_displacement(truth.head).mean() <= 0.35
    calm = run(seed, protocol, MotionSettings(head_jumps=False, head_breathing=False, task_locked=False))
    assert np.abs(calm.head[..., :3]).max() <= 1.2 + 1e-9
    assert np.rad2deg(np.abs(calm.head[..., 3:]).max()) <= 1.2 + 1e-9


@pytest.mark.parametrize("severity", [0.0, 1.0])
@pytest.mark.parametrize("protocol", [FULL, SMALL], ids=lambda p: p.name)
def test_ends_of_the_range_stay_near_it(protocol, severity):
    means = [framewise_displacement(run(seed, protocol, MotionSettings(severity=severity)).head).mean() for seed in range(4)]
    assert min(means) >= 0.099
    assert max(means) <= 0.38
    assert (np.mean(means) > 0.25) == (severity == 1.0)


def test_framewise_displacement_by_hand():
    head = np.zeros((2, 3, 6))
    head[1, :, 0], head[1, :, 2], head[1, :, 4] = 0.1, -0.2, 0.002
    assert framewise_displacement(head) == pytest.approx([0.1 + 0.2 + 50 * 0.002])


def test_breathing_moves_the_head_at_each_slices_own_time():
    settings = replace(STILL, head_breathing=True)
    truth = run(3, FULL, settings)
    # Simultaneous slices see the same pose, neighbours do not.
    assert np.array_equal(truth.head[:, :35], truth.head[:, 35:])
    neighbours = np.abs(truth.head[:, 1:35, 2] - truth.head[:, :34, 2]).mean()
    within_pass = np.abs(truth.head[:, 2:35, 2] - truth.head[:, :33, 2]).mean()
    assert neighbours > 5 * within_pass
    t = np.arange(0.0, 300.0, 0.05)
    course, physiology = dense(3, 0.0, settings, t)
    breath_depth = np.median(physiology.breathing(physiology.peak_times_s[5:-5])) - np.median(
        physiology.breathing(physiology.inspiration_times_s[5:-5])
    )
    head = course.head[:, 0]
    chest = physiology.breathing(t - 0.15)
    shift = np.linalg.norm(np.polyfit(chest, head[:, :3], 1)[0]) * breath_depth
    pitch = np.rad2deg(np.polyfit(chest, head[:, 3], 1)[0]) * breath_depth
    assert 0.05 * 0.8 <= shift <= 0.2 * 1.2
    assert 0.05 * 0.8 <= pitch <= 0.15 * 1.2


def test_jumps_have_their_size_and_are_flagged():
    settings = replace(STILL, head_jumps=True)
    found = 0
    for seed in range(6):
        truth = run(seed, FULL, settings)
        flagged = np.flatnonzero(truth.jump_volume)
        still = np.abs(np.diff(truth.head.reshape(truth.head.shape[0], -1), axis=0)).max(axis=1) == 0
        moved = np.flatnonzero(~still)
        # Every change of pose touches a flagged volume.
        assert all(m in flagged or m + 1 in flagged for m in moved)
        if flagged.size:
            found += 1
            before, after = truth.head[flagged[0] - 1, 1], truth.head[flagged[0] + 2, 1]
            assert 0.3 <= np.linalg.norm((after - before)[:3]) <= 1.0
            assert 0.3 <= np.rad2deg(np.linalg.norm((after - before)[3:])) <= 1.0
        assert np.all(truth.jump_volume[np.any(truth.jump_slice, axis=1)])
    assert found >= 4


def test_cord_breathing_grows_downward_and_is_a_third_sideways():
    settings = replace(STILL, cord_breathing=True)
    t = np.arange(0.0, 240.0, 0.05)
    sizes = []
    for level in ("C2", "C3", "C5", "C7"):
        truth, _ = dense(1, LANDMARKS.vertebra_z[level], settings, t)
        ap, side = (np.ptp(np.percentile(truth.cord_mech[:, 0, axis], [5, 95])) for axis in (1, 0))
        sizes.append(ap)
        assert side == pytest.approx(ap / 3, rel=0.25)
    assert np.all(np.diff(sizes) > 0)
    assert 0.05 <= sizes[-1] <= 0.35


def test_cord_pulse_follows_the_heart_and_not_the_breath():
    truth, physiology = dense(2, LANDMARKS.vertebra_z["C5"], replace(STILL, cord_pulse=True), np.arange(0, 120, 0.01))
    t = np.arange(0, 120, 0.01)
    ap = truth.cord_mech[:, 0, 1]
    assert 0.02 <= np.ptp(np.percentile(ap, [2, 98])) <= 0.06 * 1.4
    beats = physiology.beat_times_s
    beats = beats[(beats > 2) & (beats < 118)]
    # The wave reaches the neck before the finger.
    near = np.array([ap[np.abs(t - b) < 0.4].argmax() * 0.01 - 0.4 for b in beats])
    assert -0.26 < np.median(near) < -0.12


def test_swallows_are_short_and_around_c4():
    truth = run(0, FULL, replace(STILL, swallows=True))
    assert 2 <= truth.swallow_times_s.size <= 6
    size = np.abs(truth.cord_mech[..., 1]).max(axis=0)
    assert LANDMARKS.vertebra_z["C5"] <= slice_heights(FULL)[size.argmax()] <= LANDMARKS.vertebra_z["C3"]
    assert 0.4 <= np.linalg.norm(truth.cord_mech, axis=-1).max() <= 1.5
    active = np.flatnonzero(size > 0.01)
    times = acquisition_times(FULL, 225)[:, active]
    moving = np.abs(truth.cord_mech[:, active, 1]) > 0
    nearest = np.abs(times[..., None] - truth.swallow_times_s).min(axis=-1)
    assert nearest[moving].max() <= 1.0


def test_largest_swallows():
    truth = run(0, SMALL, replace(STILL, swallows=True, largest_swallows=True))
    assert truth.swallow_times_s.size == 6
    t = np.arange(0.0, 107.0, 0.02)
    course, _ = dense(0, LANDMARKS.vertebra_z["C4"], replace(STILL, swallows=True, largest_swallows=True), t)
    assert 1.3 <= np.linalg.norm(course.cord_mech, axis=-1).max() <= 1.5


def test_cord_joins_the_head_without_a_step():
    z = np.arange(-140.0, 40.0, 0.5)
    physiology = simulate_physiology(4, 60.0)
    times = np.repeat(np.linspace(0.0, 60.0, 200)[:, None], z.size, axis=1)
    cord = simulate_motion(4, times, z, LANDMARKS, physiology).cord_mech
    assert np.all(cord[:, z >= LANDMARKS.foramen_magnum_z] == 0)
    # Half a millimetre of height changes the displacement by hundredths of it at most.
    assert np.abs(np.diff(cord, axis=1)).max() < 0.03


def test_neck_follows_the_head_down_to_t1():
    top, bottom = LANDMARKS.foramen_magnum_z, LANDMARKS.t1_z
    assert blend([top + 50, top, (top + bottom) / 2, bottom, bottom - 50], LANDMARKS) == pytest.approx([1, 1, 0.5, 0, 0])
    z = np.linspace(top + 10, bottom - 10, 2001)
    slope = np.diff(blend(z, LANDMARKS)) / np.diff(z)
    assert np.abs(np.diff(slope)).max() < 1e-4
    rigid = run(0, SMALL, replace(STILL, articulated=False))
    assert rigid.blend(bottom - 50.0) == 1.0


def test_everything_off_is_still():
    truth = run(0, SMALL, STILL)
    assert not truth.head.any()
    assert not truth.cord_mech.any()
    assert not truth.jump_slice.any()


@pytest.mark.parametrize("target", [0.0, 0.1, 0.3, 0.6])
def test_cord_motion_of_a_given_size(target):
    truth = run(5, SMALL, MotionSettings(cord_rms_mm=target))
    assert cord_rms_mm(truth.cord_mech, slice_heights(SMALL), LANDMARKS) == pytest.approx(target)


def test_grasping_pulls_the_lower_cord_to_its_side():
    settings = replace(STILL, task_locked=True)
    low = int(np.argmin(np.abs(slice_heights(FULL) - LANDMARKS.vertebra_z["C7"])))
    for task, sign in (("motorL", -1), ("motorR", 1)):
        truth = run(2, FULL, settings, task)
        onsets, durations = events(task, 2, 115, FULL.tr_s).stimuli()
        t = acquisition_times(FULL, 115)[:, low]
        inside = ((t[:, None] > onsets + 1) & (t[:, None] < onsets + durations)).any(axis=1)
        shift = truth.cord_mech[:, low, 0] * sign
        assert shift[inside].min() > 0.02
        assert np.median(np.abs(shift[~inside])) < 0.005


def test_same_seed_same_motion_other_seed_other_motion():
    a, b, c = run(1, SMALL), run(1, SMALL), run(2, SMALL)
    assert np.array_equal(a.head, b.head)
    assert np.array_equal(a.cord_mech, b.cord_mech)
    assert not np.allclose(a.head, c.head)


def test_images_of_a_pair_lie_closer_than_those_of_a_session():
    poses = [[session_pose(seed, name) for name in ("pain/AP", "pain/PA", "GRE")] for seed in range(20)]
    pair = np.mean([np.linalg.norm((ap - pa)[:3]) for ap, pa, _ in poses])
    session = np.mean([np.linalg.norm((ap - gre)[:3]) for ap, _, gre in poses])
    assert pair < 0.5 * session
    assert max(np.abs(pose[:3]).max() for row in poses for pose in row) <= 1.2
    assert np.array_equal(session_pose(3, "GRE"), session_pose(3, "GRE"))


def test_a_step_has_the_size_asked_for_in_a_direction_of_its_own():
    steps = np.array([step_of_size(np.random.default_rng(seed), 1.5, 2.0) for seed in range(200)])
    turns = Rotation.from_euler("xyz", steps[:, 3:])
    np.testing.assert_allclose(np.linalg.norm(steps[:, :3], axis=1), 1.5)
    np.testing.assert_allclose(turns.magnitude(), np.deg2rad(2.0))
    for directions in (steps[:, :3] / 1.5, turns.as_rotvec() / np.deg2rad(2.0)):
        assert np.abs(directions.mean(0)).max() < 0.15
        np.testing.assert_allclose(directions.T @ directions / 200, np.eye(3) / 3, atol=0.08)


def test_a_nod_lowers_the_chin():
    step = nod(2.0)
    chin = Rotation.from_euler("xyz", step[3:]).apply([0.0, 90.0, -20.0])
    assert chin[2] + 20.0 == pytest.approx(-90 * np.sin(np.deg2rad(2.0)), abs=0.02)
    assert chin[0] == 0
    assert not step[:3].any()


def test_landmarks_are_read_off_the_level_image():
    levels = np.zeros((20, 3, 3), dtype=np.uint8)
    levels[10:14, 1, 1], levels[4:10, 1, 1] = 1, 2
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-1, -1, -30)
    found = landmarks_of(levels, affine, 0.0, -40.0)
    assert found.vertebra_z == pytest.approx({"C1": -30 + 2 * 11.5, "C2": -30 + 2 * 6.5})
    assert found.depth([0.0, -20.0, -40.0]) == pytest.approx([0, 0.5, 1])
