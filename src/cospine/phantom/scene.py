"""One participant in the scanner: bodies to render, surroundings, encodings and the state at every slice."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from cospine.phantom import modulation, susceptibility, task, tissues
from cospine.phantom.anatomy import Anatomy, build_anatomy
from cospine.phantom.effects import Effects, generator, number_of
from cospine.phantom.epi import Body, Encoding, State, Surroundings
from cospine.phantom.images import axial_affine, contrast
from cospine.phantom.landmarks import Landmarks, blend, landmarks_of, smoothstep
from cospine.phantom.modulation import Labels
from cospine.phantom.motion import STILL, MotionSettings, MotionTruth, nod, session_pose, simulate_motion, step_of_size
from cospine.phantom.physiology import (
    Physiology,
    b0_breathing_hz_per_unit,
    scanner_drift_hz,
    simulate_physiology,
    transit_delay_s,
    worst_case_rates,
)
from cospine.phantom.pose import compose
from cospine.phantom.protocol import Protocol, acquisition_times
from cospine.phantom.regions import REGIONS
from cospine.phantom.susceptibility import StaticField

# Grey values of a brain at about 1000, as Siemens images have.
BRAIN_LEVEL = 900.0
# Share of fat's signal that the saturation pulse leaves, and its resonance against water at 3 T.
FAT_LEFT, FAT_HZ = 0.08, -430.0
TILT_DEG = (-5.0, 12.0)
# The cord's own displacement: whole inside this ellipse around the centre line (mm), gone at `OUTER` times it,
# about the wall of the canal.
CORD_HALF_WIDTH_MM, CORD_HALF_DEPTH_MM, OUTER = 7.2, 5.4, 1.75
# Cells farther than this from any signal are never looked at; grows with the scale of motion, and by what a turn of the
# head about its pivot does to the vertex.
REACH_MM = 8.0
PIVOT_TO_VERTEX_MM = 150.0
# Gradient non-linearity: 3 mm at 140 mm from the isocentre (FACTS), growing with the third power.
WARP_MM_AT_140 = 3.0
# In front of the cord the jaw belongs to the head although it hangs below the foramen magnum.
JAW_BEGINS_MM, JAW_SLOPE = 22.0, 0.8

KINDS = {
    "csf": "csf", "vessel": "vessel", "grey_matter": "grey", "white_matter": "white", "cord_grey": "cord", "cord_white": "cord",
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """Everything about a person that outlasts a run."""

    anatomy: Anatomy
    static: StaticField
    landmarks: Landmarks
    labels: Labels
    seed: int
    effects: Effects

    def body(self, signal: NDArray[np.float32]) -> Body:
        """The person, showing some signal."""
        return Body(
            self.anatomy.affine, signal, self.labels.image, self.static.affine, self.field(),
            np.asarray(self.anatomy.head_pivot, float),
        )  # fmt: skip

    def field(self) -> NDArray[np.float32]:
        """Field that tissue carries, (3, z, y, x)."""
        if not self.effects.field:
            return np.zeros((3, *self.static.f0.shape), np.float32)
        return np.stack([self.static.f0, self.static.fx, self.static.fy]).astype(np.float32, copy=False)


def build_subject(seed: int, protocol: Protocol, effects: Effects) -> Subject:
    """Draw a person; the object grid is as fine as the protocol needs."""
    i, j, k = protocol.voxel_mm
    spacing = (i / 2, j / 2, k / 4)
    anatomy = build_anatomy(number_of(seed, "anatomy"), spacing, sulci=effects.individual_sulci)
    static = susceptibility.static_field(anatomy, number_of(seed, "static field"))
    landmarks = landmarks_of(anatomy.vertebral_level, anatomy.affine, anatomy.foramen_magnum_z, anatomy.t1_z)
    kind_of_tissue = np.array([modulation.CLASSES.index(KINDS.get(t.name, "static")) for t in tissues.TISSUES])
    labels = modulation.build_labels(
        anatomy.tissue, anatomy.region, kind_of_tissue, anatomy.affine, anatomy.foramen_magnum_z, len(REGIONS),
        generator(seed, "modulation"),
    )  # fmt: skip
    return Subject(anatomy, static, landmarks, labels, seed, effects)


# --- signal ---------------------------------------------------------------------------------------------------------


def signal(
    subject: Subject, of_tissue: Callable[[tissues.Tissue], float], share: Callable[[tissues.Tissue], float] = lambda _: 1.0
) -> NDArray[np.float32]:
    """Signal (z, y, x) on the object grid, with grey matter at `BRAIN_LEVEL`; ``share`` of each tissue takes part."""
    weights = np.array([of_tissue(t) for t in tissues.TISSUES])
    grey = next(w for t, w in zip(tissues.TISSUES, weights, strict=True) if t.name == "grey_matter")
    texture = subject.anatomy.texture
    if texture is None:
        texture = np.ones(subject.anatomy.tissue.shape, np.float32)
    shares = np.array([share(t) for t in tissues.TISSUES])
    return contrast(subject.anatomy.fractions, texture, weights * shares * BRAIN_LEVEL / grey)


def saturated_fat(t: tissues.Tissue) -> float:
    """Share of a tissue that is fat and survives saturation."""
    return FAT_LEFT if "fat" in t.name else 0.0


def all_but_fat(t: tissues.Tissue) -> float:
    """Share of a tissue that is water."""
    return 0.0 if "fat" in t.name else 1.0


@njit(cache=True, parallel=True)
def _attenuate(image, factor, to_factor):
    nz, ny, nx = image.shape
    fz, fy, fx = factor.shape
    for k in prange(nz):
        for j in range(ny):
            for i in range(nx):
                if image[k, j, i] == 0:
                    continue
                x = to_factor[0, 0] * i + to_factor[0, 1] * j + to_factor[0, 2] * k + to_factor[0, 3]
                y = to_factor[1, 0] * i + to_factor[1, 1] * j + to_factor[1, 2] * k + to_factor[1, 3]
                z = to_factor[2, 0] * i + to_factor[2, 1] * j + to_factor[2, 2] * k + to_factor[2, 3]
                x = min(max(x, 0.0), fx - 1.0)
                y = min(max(y, 0.0), fy - 1.0)
                z = min(max(z, 0.0), fz - 1.0)
                ix, iy, iz = min(int(x), fx - 2), min(int(y), fy - 2), min(int(z), fz - 2)
                tx, ty, tz = x - ix, y - iy, z - iz
                total = 0.0
                for c in range(8):
                    cx, cy, cz = c & 1, (c >> 1) & 1, c >> 2
                    share = (tx if cx else 1 - tx) * (ty if cy else 1 - ty) * (tz if cz else 1 - tz)
                    total += share * factor[iz + cz, iy + cy, ix + cx]
                image[k, j, i] *= total


def dropout(subject: Subject, normal: NDArray[np.float64], thickness_mm: float, te_s: float) -> NDArray[np.float32]:
    """What the gradient of the field through the slice leaves of the signal, on the field's grid.

    A gradient G (Hz/mm) across a slice of thickness d leaves ``|sinc(G d TE)|`` of a gradient echo (Reichenbach et al.,
    J Magn Reson Imaging 1997): 5 Hz/mm over 4 mm at 27 ms loses 42 %.

    Parameters
    ----------
    subject : Subject
    normal : (3,) array
        Unit vector across the slices.
    thickness_mm, te_s : float
    """
    static = subject.static
    k, j, i = np.meshgrid(*(np.arange(n) for n in static.f0.shape), indexing="ij")
    points = np.stack([i, j, k], -1) @ static.affine[:3, :3].T + static.affine[:3, 3]
    total = static.f0 + susceptibility.shim_field(static.shim, points.reshape(-1, 3)).reshape(static.f0.shape)
    gradient = np.stack(np.gradient(total)[::-1], -1) @ np.linalg.inv(static.affine[:3, :3])
    return np.abs(np.sinc(gradient @ normal * thickness_mm * te_s)).astype(np.float32)


def attenuate(subject: Subject, image: NDArray[np.float32], factor: NDArray[np.float32]) -> None:
    """Multiply an image on the object grid, in place, by a factor on the field's grid."""
    _attenuate(image, factor, np.linalg.inv(subject.static.affine) @ subject.anatomy.affine)


# --- scanner --------------------------------------------------------------------------------------------------------


def gradient_warp(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement (mm) by gradient non-linearity of the EPI: nothing at the isocentre, 3 mm at 140 mm along z.

    The third-order terms of a gradient coil's field: along each axis displacement grows as the coordinate times the
    squared distance, less across the bore than along it (Janke et al., Magn Reson Med 2004).
    """
    scale = np.array([0.5, 0.5, 1.0]) * WARP_MM_AT_140 / 140.0**3
    return points * (points**2 @ np.array([0.4, 0.4, 1.0]))[..., None] * scale


def surroundings(subject: Subject, shim: NDArray[np.float64] | None, warped: bool) -> Surroundings:
    """The scanner around a person; ``shim`` None is no shim at all, ``warped`` applies gradient non-linearity if it is on."""
    anatomy, landmarks, effects = subject.anatomy, subject.landmarks, subject.effects
    centre = anatomy.centreline[np.argsort(anatomy.centreline[:, 2])]
    heights = np.arange(-200.0, 201.0, 0.5)
    gain_seed = number_of(subject.seed, "breathing field")
    gain = b0_breathing_hz_per_unit(heights, landmarks, gain_seed)
    table = blend(heights, landmarks)

    def behind(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        z = points[..., 2]
        return (
            points[..., 0] - np.interp(z, centre[:, 2], centre[:, 0]),
            points[..., 1] - np.interp(z, centre[:, 2], centre[:, 1]),
        )

    def follow(points: NDArray[np.float64]) -> NDArray[np.float64]:
        lift = JAW_SLOPE * np.logaddexp(0, (behind(points)[1] - JAW_BEGINS_MM) / 4) * 4
        return np.interp(points[..., 2] + lift, heights, table)

    def falloff(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = behind(points)
        radius = np.sqrt((x / CORD_HALF_WIDTH_MM) ** 2 + (y / CORD_HALF_DEPTH_MM) ** 2)
        return 1 - smoothstep((radius - 1) / (OUTER - 1))

    def breathing_gain(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.interp(points[..., 2], heights, gain)

    parts = {}
    if effects.field and shim is not None:
        parts["shim_hz"] = lambda points: susceptibility.shim_field(shim, points.reshape(-1, 3)).reshape(points.shape[:-1])
    if effects.field and effects.breathing_field:
        parts["breathing_gain"] = breathing_gain
    if effects.motion:
        parts["falloff"] = falloff
        if effects.articulation:
            parts["blend"] = follow
    if effects.nonlinearity and warped:
        parts["warp"] = gradient_warp
    return Surroundings(**parts)


def epi_encoding(subject: Subject, protocol: Protocol, phase_encoding: str) -> Encoding:
    """Axial slices, tilted front to back as the operator chose, the brain in their middle from front to back."""
    tilt = np.deg2rad(generator(subject.seed, "tilt").uniform(*TILT_DEG))
    affine = axial_affine(protocol.shape, protocol.voxel_mm, np.zeros(3), tilt)
    brain = sample_mask(subject.anatomy.brain_mask, subject.anatomy.affine, 20_000)
    along = brain @ affine[:3, 1] / protocol.voxel_mm[1]
    affine[:3, 3] += affine[:3, 1] / protocol.voxel_mm[1] * (along.min() + along.max()) / 2
    return Encoding(affine, protocol.shape, phase_encoding, protocol.total_readout_s)


def sample_mask(mask: NDArray[np.bool_], affine: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Points (n, 3) in mm, evenly picked from a mask (z, y, x)."""
    flat = np.flatnonzero(mask)
    flat = flat[np.unique(np.linspace(0, len(flat) - 1, min(count, len(flat))).astype(int))]
    index = np.stack(np.unravel_index(flat, mask.shape), -1)[:, ::-1]
    return index @ affine[:3, :3].T + affine[:3, 3]


def slice_heights(subject: Subject, encoding: Encoding) -> NDArray[np.float64]:
    """Height (mm) at which each slice meets the centre line of the cord, straight on above its upper end."""
    line = subject.anatomy.centreline[np.argsort(subject.anatomy.centreline[:, 2])]
    k = encoding.voxels(line)[:, 2]
    numbers = np.arange(encoding.shape[2])
    heights = np.interp(numbers, k, line[:, 2])
    step = np.linalg.norm(encoding.affine[:3, 2]) * encoding.affine[2, 2] / np.linalg.norm(encoding.affine[:3, 2])
    heights = np.where(numbers > k[-1], line[-1, 2] + (numbers - k[-1]) * step, heights)
    return np.where(numbers < k[0], line[0, 2] + (numbers - k[0]) * step, heights)


# --- time -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """What happens during one run.

    ``base`` (6,) is the pose in which the run begins, relative to the T1w; ``state`` holds all volumes, flattened to
    (volumes x slices) rows.
    """

    times_s: NDArray[np.float64]
    physiology: Physiology
    events: task.Events | None
    activation: dict[str, NDArray[np.float64]]
    motion: MotionTruth
    base: NDArray[np.float64]
    state: State

    def volume(self, index: int) -> State:
        """State of one volume."""
        n = self.times_s.shape[1]
        rows = slice(index * n, (index + 1) * n)
        s = self.state
        return State(s.pose[rows], s.cord_mm[rows], s.offset_hz[rows], s.breathing[rows], s.modulation[rows], s.turn_field)


def motion_settings(effects: Effects) -> MotionSettings:
    """Motion as the effects have it."""
    if not effects.motion:
        return STILL
    physiological = effects.physiological_motion
    return MotionSettings(
        head_breathing=physiological, cord_breathing=physiological, cord_pulse=physiological,
        task_locked=effects.task_locked, articulated=effects.articulation, head_scale=effects.motion_scale,
        cord_scale=effects.cord_scale, largest_swallows=effects.largest_swallows,
    )  # fmt: skip


def reach_mm(effects: Effects) -> float:
    """How far any signal may be from where it is in the T1w."""
    shift, angle = effects.pair_pose_mm_deg
    asked = max(shift + np.deg2rad(angle) * PIVOT_TO_VERTEX_MM, np.deg2rad(abs(effects.nod_deg)) * PIVOT_TO_VERTEX_MM)
    return REACH_MM * max(1.0, effects.motion_scale, effects.cord_scale) + float(asked)


def resting_pose(subject: Subject, image: str, step: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Pose (6,) in which an image begins, relative to the T1w; ``step`` (6,) is taken on top of it."""
    if not subject.effects.motion:
        return np.zeros(6)
    pose = session_pose(number_of(subject.seed, "session"), image) * subject.effects.motion_scale
    # composing with nothing would still round
    return pose if step is None or not step.any() else compose(step, pose)


def pair_step(subject: Subject, name: str) -> NDArray[np.float64]:
    """Change of pose (6,) between the images of a task's pair that the effects ask for."""
    return step_of_size(generator(subject.seed, name, "pair motion"), *subject.effects.pair_pose_mm_deg)


def run_course(subject: Subject, protocol: Protocol, encoding: Encoding, name: str, volumes: int, image: str) -> Course:
    """Draw a run: task, physiology, motion and all that follows from them."""
    effects, seed = subject.effects, subject.seed
    times = acquisition_times(protocol, volumes)
    duration = volumes * protocol.tr_s
    table = task.events(name, number_of(seed, name, "events"), volumes, protocol.tr_s, effects.randomised_onsets)
    onsets, durations = table.stimuli()
    physiology = simulate_physiology(
        number_of(seed, name, "physiology"), duration, name, onsets, durations, task_locked=effects.task_locked,
        rates_per_min=worst_case_rates(name, protocol.tr_s) if effects.worst_case_rates else None,
    )  # fmt: skip
    heights = slice_heights(subject, encoding)
    motion = simulate_motion(
        number_of(seed, name, "motion"), times, heights, subject.landmarks, physiology, motion_settings(effects)
    )
    activation = {}
    if effects.bold:
        activation = task.activation(name, number_of(seed, name, "activation"), times, table)
    factors = modulation.modulation_table(
        subject.labels, times,
        transit_delay_s(heights, subject.landmarks, number_of(seed, name, "transit")),
        modulation.freshness(np.asarray(protocol.slice_times_s), protocol.tr_s),
        physiology if effects.physio else None, effects.inflow,
        {REGIONS.index(region): change for region, change in activation.items()},
        generator(seed, name, "signal"),
    )  # fmt: skip
    t1_s = np.array([modulation.T1_S[modulation.CLASSES[kind]] for kind in subject.labels.kind])
    factors *= modulation.approach_to_steady_state(t1_s, protocol.tr_s, protocol.flip_deg, effects.discarded, volumes)[
        :, None
    ].astype(np.float32)
    base = resting_pose(subject, image, nod(effects.nod_deg))
    offset = np.zeros(times.shape)
    if effects.field:
        offset = scanner_drift_hz(times, duration, number_of(seed, name, "drift"))
    state = State(
        compose(motion.head, base).reshape(-1, 6), motion.cord_mech.reshape(-1, 3), offset.ravel(),
        physiology.breathing(times).ravel(), factors.reshape(-1, factors.shape[-1]), effects.rotation_field,
    )  # fmt: skip
    return Course(times, physiology, table, activation, motion, base, state)
