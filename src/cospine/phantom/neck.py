"""The template neck: what fills each point below the skull, painted from the tables."""

from math import sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from cospine.phantom import tables
from cospine.phantom.shapes import capsule, ellipse, ellipsoid, inside, paint, smooth
from cospine.phantom.tissues import NUMBER

# NumPy's integers, here and below: a kernel would be compiled anew for every literal that it is called with.
CSF, BONE, MARROW, DISC, MUSCLE, FAT, VESSEL, AIRWAY, LUNG, GREY, WHITE, CORD_GREY, CORD_WHITE = (
    np.int64(NUMBER[name])
    for name in (
        "csf", "bone", "marrow", "disc", "muscle", "fat", "vessel", "airway", "lung", "grey_matter", "white_matter", "cord_grey",
        "cord_white",
    )
)  # fmt: skip

FORAMEN = tables.FORAMEN_MAGNUM_Z
# The tables, at every half millimetre of height.
PROFILE_BOTTOM, PROFILE_STEP = -320.0, 0.5
(
    CORD_Y, CORD_RX, CORD_RY, GREY_SIZE, DURA_Y, DURA_RX, DURA_RY, BODY_RX, BODY_RY,
    NECK_Y, NECK_RX, NECK_RY, AIR_Y, AIR_RX, AIR_RY, LEVEL, PLACE, PITCH,
) = np.arange(18)  # fmt: skip
# Length of the spinous process beyond the sac, C1 .. T4: short at C3-C5, long and sloping from C7 (Panjabi 1991).
SPINE_MM = np.array([5.0, 20.0, 15.0, 16.0, 19.0, 26.0, 34.0, 38.0, 38.0, 38.0, 38.0, 38.0])
# Free edge of the cord's fading into the MNI medulla.
BLEND_LOW, BLEND_HIGH = -66.8, -60.0


def neck_profile() -> NDArray[np.float64]:
    """The tables by height, (rows, 18): smooth, monotone between their entries (Fritsch & Carlson 1980)."""
    z = np.arange(PROFILE_BOTTOM, -40.0, PROFILE_STEP)
    rows = np.empty((len(z), 18))

    def smooth_table(table: NDArray[np.float64]) -> NDArray[np.float64]:
        ascending = table[::-1]
        curve = PchipInterpolator(ascending[:, 0], ascending[:, 1:])
        return np.asarray(curve(np.clip(z, ascending[0, 0], ascending[-1, 0])), float)

    cord = smooth_table(tables.CORD)
    rows[:, CORD_Y], rows[:, CORD_RX], rows[:, CORD_RY] = cord[:, 0], cord[:, 1] / 2, cord[:, 2] / 2
    rows[:, GREY_SIZE] = np.sqrt(smooth_table(tables.GREY_SHARE)[:, 0] / 0.205)
    dura = smooth_table(tables.DURA)
    rows[:, DURA_Y], rows[:, DURA_RX], rows[:, DURA_RY] = cord[:, 0] + dura[:, 0], dura[:, 1] / 2, dura[:, 2] / 2
    rows[:, BODY_RX : BODY_RY + 1] = smooth_table(tables.BODY) / 2
    rows[:, NECK_Y : NECK_RY + 1] = smooth_table(tables.NECK)
    rows[:, AIR_Y : AIR_RY + 1] = smooth_table(tables.AIRWAY)
    top = np.array(tables.VERTEBRA_TOP_Z)
    level = np.clip(np.searchsorted(-top, -z, side="left"), 1, len(top) - 1)
    rows[:, LEVEL] = level
    rows[:, PITCH] = top[level - 1] - top[level]
    rows[:, PLACE] = (top[level - 1] - z) / rows[:, PITCH]
    return rows


def cord_centre(z: NDArray[np.floating]) -> NDArray[np.float64]:
    """Middle of the cord (n, 3) at canonical heights (n,)."""
    profile = neck_profile()
    heights = PROFILE_BOTTOM + PROFILE_STEP * np.arange(len(profile))
    height = np.asarray(z, float)
    return np.stack([np.zeros_like(height), np.interp(height, heights, profile[:, CORD_Y]), height], -1)


@njit(cache=True)
def at_height(profile, column, z):
    """A smooth column of the profile at a height."""
    place = min(max((z - PROFILE_BOTTOM) / PROFILE_STEP, 0.0), profile.shape[0] - 1.001)
    row = int(place)
    return profile[row, column] + (place - row) * (profile[row + 1, column] - profile[row, column])


@njit(cache=True)
def outline(x, y, z, profile):
    """Distance to the skin of neck and trunk, with the angle between neck and jaw or occiput left to the head."""
    return ellipse(x, y - at_height(profile, NECK_Y, z), at_height(profile, NECK_RX, z), at_height(profile, NECK_RY, z))


@njit(cache=True)
def _vertebra(ax, y, z, profile, f):
    """Bones, discs and the vessels that run in them; ``ax`` is the distance to the midline."""
    row = int((z - PROFILE_BOTTOM) / PROFILE_STEP)
    level = int(profile[row, LEVEL])
    pitch = profile[row, PITCH]
    top = tables_top(level)
    place = (top - z) / pitch
    cy, rx, ry = at_height(profile, DURA_Y, z), at_height(profile, DURA_RX, z), at_height(profile, DURA_RY, z)
    v = y - cy
    front = ry + 2.2
    if level >= 2:
        # distance along z to the middle of the nearest disc; there is none above C2
        gap = min(1 - place, place if level > 2 else 9.0) * pitch
        half_disc = 0.5 * tables.DISC_SHARE * pitch
        waist = 1.0 - 0.07 * smooth((gap - half_disc) / 5.0)
        bx, by = at_height(profile, BODY_RX, z) * waist, at_height(profile, BODY_RY, z) * waist
        # flat at the back, where the canal is
        plane = max(ellipse(ax, v - front - by / waist, bx * 1.04, by), front + 0.3 - v)
        body = max(plane, half_disc - gap)
        paint(f, BONE, inside(body))
        paint(f, MARROW, inside(body + 1.0))
        paint(f, DISC, inside(max(plane - 0.6, gap - half_disc + 0.4)))
        # laminae: the back of a ring around the sac, over part of the height
        ring = abs(ellipse(ax, v, rx + 3.8, ry + 3.6)) - 2.2
        lamina = max(ring, v - 0.25 * ry, (abs(place - 0.55) - 0.29) * pitch)
        paint(f, BONE, inside(lamina))
        paint(f, MARROW, inside(lamina + 1.3))
        # articular pillars, jointed at the discs
        pillar = ellipse(ax - rx - 8.0, v + 1.0, 6.3, 7.0)
        joint = abs(gap + 0.25 * (v + 1.0)) - 0.7
        paint(f, BONE, inside(max(pillar, -joint)))
        paint(f, MARROW, inside(max(pillar + 1.4, 1.4 - joint)))
        # pedicles from body to pillar in the upper half
        pedicle = max(capsule(ax, v, rx - 1.0, front + 1.5, rx + 6.0, 1.0, 2.6), (abs(place - 0.35) - 0.2) * pitch)
        pedicle = max(pedicle, -ellipse(ax, v, rx + 1.6, ry + 1.6))
        paint(f, BONE, inside(pedicle))
        paint(f, MARROW, inside(pedicle + 1.2))
        # spinous process, sloping down
        back = -(ry + 4.0) - v
        length = SPINE_MM[level - 1]
        slope = 0.25 if level < 6 else 0.5
        half = 4.6 - 0.04 * back
        drop = (place - 0.5) * pitch - slope * back
        wing = max(ax - (2.6 + (0.8 if back > length - 6 else 0.0)), abs(drop) - half, -back, back - length)
        paint(f, BONE, inside(wing))
        paint(f, MARROW, inside(wing + 1.2))
    # atlas and the tooth of the axis
    if level <= 2:
        ring = abs(ellipse(ax, v - 4.0, rx + 5.5, ry + 13.5)) - 2.8
        ring = max(ring, abs(z + 81.5) - 4.2)
        paint(f, BONE, inside(ring))
        paint(f, MARROW, inside(ring + 1.3))
        mass = ellipsoid(ax - rx - 7.5, v - 3.0, z + 80.5, 7.0, 9.5, 8.0)
        paint(f, BONE, inside(mass))
        paint(f, MARROW, inside(mass + 1.3))
        axis_mass = ellipsoid(ax - rx - 4.0, v - 5.0, z + 94.5, 9.0, 8.0, 5.0)
        paint(f, BONE, inside(axis_mass))
        paint(f, MARROW, inside(axis_mass + 1.3))
        tooth = ellipsoid(ax, v - front - 6.5, z + 90.0, 5.4, 5.4, 17.5)
        paint(f, BONE, inside(tooth))
        paint(f, MARROW, inside(tooth + 1.2))
    # vertebral arteries in their foramina, C6 upwards
    if -176.0 < z < -72.0:
        artery = sqrt((ax - rx - 7.0) ** 2 + (v - ry - 1.0) ** 2)
        paint(f, BONE, inside(max(artery - 4.0, (abs(place - 0.45) - 0.22) * pitch)))
        paint(f, VESSEL, inside(artery - 2.1))


_TOPS = np.array(tables.VERTEBRA_TOP_Z)


@njit(cache=True)
def tables_top(level):
    """Upper edge of a vertebra by number."""
    return _TOPS[level - 1]


@njit(cache=True)
def grey_of_cord(ax, v, rx, ry, size):
    """Distance to the butterfly: two ventral horns, two dorsal horns and the bar that joins them."""
    ventral = ellipse(ax - 0.30 * rx * size, v - 0.20 * ry, 0.20 * rx * size, 0.34 * ry * size)
    dorsal = capsule(ax, v, 0.24 * rx * size, -0.02 * ry, 0.44 * rx * size, -0.64 * ry, 0.075 * rx * size)
    bar = max(ax - 0.30 * rx, abs(v - 0.02 * ry) - 0.09 * ry)
    return min(ventral, dorsal, bar)


@njit(cache=True)
def paint_canal(x, y, z, profile, f):
    """Epidural fat, dural sac and cord; returns the shares of the voxel in the cord and in the sac."""
    cy = at_height(profile, CORD_Y, z)
    rx, ry = at_height(profile, CORD_RX, z), at_height(profile, CORD_RY, z)
    dy, drx, dry = at_height(profile, DURA_Y, z), at_height(profile, DURA_RX, z), at_height(profile, DURA_RY, z)
    enter = smooth((BLEND_HIGH - z) / (BLEND_HIGH - BLEND_LOW))
    if abs(x) > drx + 6 or abs(y - dy) > dry + 6 or enter <= 0:
        return 0.0, 0.0
    sac = ellipse(x, y - dy, drx, dry)
    if z < FORAMEN - 2:
        # thickest behind, between the laminae
        paint(f, FAT, inside(sac - 0.9 - (0.9 if y < dy else 0.0) * smooth(1.4 - abs(x) / 5.0)) * 0.85)
    paint(f, CSF, inside(sac) * enter)
    v = y - cy
    cord = ellipse(x, v, rx, ry)
    share = inside(cord) * enter
    head = z > FORAMEN
    paint(f, WHITE if head else CORD_WHITE, share)
    # anterior median fissure
    paint(f, CSF, 0.5 * inside(max(abs(x) - 0.25, 0.5 * ry - v)) * share)
    grey = grey_of_cord(abs(x), v, rx, ry, at_height(profile, GREY_SIZE, z))
    paint(f, GREY if head else CORD_GREY, inside(max(grey, cord + 0.6)) * share)
    return share, inside(sac) * enter


@njit(cache=True)
def paint_neck(x, y, z, profile, f):
    """Everything of the neck inside the skin but canal and cord, from outside in."""
    ax = abs(x)
    cy = at_height(profile, DURA_Y, z)
    at_height(profile, DURA_RY, z)
    v = y - cy
    # planes of fat between the layers of the muscles of the neck, and the space behind the midline
    shell = ellipse(x, v + 12.0, 40.0, 38.0)
    if v < 4.0:
        paint(f, FAT, 0.55 * inside(abs(shell) - 0.9) * smooth((4.0 - v) / 8.0))
        paint(f, FAT, 0.5 * inside(abs(ellipse(x, v + 10.0, 29.0, 26.0)) - 0.7) * smooth((2.0 - v) / 8.0))
        paint(f, FAT, 0.35 * inside(ax - 0.9) * smooth((-v - 16.0) / 6.0))
    # sheath of the great vessels and the fat of the lateral neck
    paint(f, FAT, 0.8 * inside(ellipsoid(ax - 38.0, v - 14.0, z + 140.0, 11.0, 13.0, 75.0)))
    sternomastoid = ellipse(ax - 44.0 - 0.12 * (z + 100.0), v - 16.0 - 0.15 * (-z - 110.0), 6.5, 12.0)
    if z < -80.0:
        paint(f, MUSCLE, inside(sternomastoid))
    if z < -68.0:
        _vertebra(ax, y, z, profile, f)
    if z < -50.0:
        paint(f, VESSEL, inside(sqrt((ax - 25.0) ** 2 + (v - 31.0) ** 2) - 3.3))
        paint(f, VESSEL, inside(ellipse(ax - 33.0, v - 26.0, 5.5, 4.5)))
        air = ellipse(x, y - at_height(profile, AIR_Y, z), at_height(profile, AIR_RX, z), at_height(profile, AIR_RY, z))
        if z < -138.0:
            # cartilage of larynx and trachea, open behind
            paint(f, DISC, 0.8 * inside(max(abs(air - 1.6) - 1.0, at_height(profile, AIR_Y, z) - 4.0 - y)))
        if z > -132.0 and z < -108.0:
            # epiglottis region narrows the pharynx in front; hyoid bone as an arch
            hyoid = max(abs(ellipse(x, y - 4.0, 17.0, 17.0)) - 2.0, abs(z + 124.0) - 3.0, 2.0 - y)
            paint(f, BONE, inside(hyoid))
        paint(f, AIRWAY, inside(air))
    if z < -196.0:
        lung = ellipsoid(ax - 58.0, y + 40.0, z + 330.0, 46.0, 72.0, 126.0)
        paint(f, LUNG, inside(lung))


@njit(cache=True)
def level_of(z, tops):
    """Number of the vertebra or segment whose upper edge is the last above a height, 0 above the first."""
    number = 0
    for n in range(tops.shape[0]):
        if z < tops[n]:
            number = n + 1
    return number
