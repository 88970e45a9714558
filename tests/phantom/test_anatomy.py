"""The individual's shape: maps to and from the template, tissues, masks, levels and regions."""

import numpy as np
import pytest
from scipy import ndimage

from cospine.phantom import tables
from cospine.phantom.anatomy import Anatomy, build_anatomy
from cospine.phantom.deformation import draw_deformation, identity
from cospine.phantom.neck import cord_centre
from cospine.phantom.regions import REGIONS
from cospine.phantom.tissues import NUMBER, TISSUES

pytestmark = pytest.mark.slow

SPACING = (1.0, 1.0, 2.0)


@pytest.fixture(scope="module")
def person() -> Anatomy:
    return build_anatomy(11, SPACING)


@pytest.fixture(scope="module")
def template() -> Anatomy:
    return build_anatomy(0, SPACING, individual=False)


def voxels(anatomy: Anatomy, points: np.ndarray) -> np.ndarray:
    """Nearest voxel, (k, j, i)."""
    return np.rint((points - anatomy.affine[:3, 3]) / np.diag(anatomy.affine)[:3]).astype(int)[:, ::-1]


def positions(anatomy: Anatomy, mask: np.ndarray) -> np.ndarray:
    k, j, i = np.nonzero(mask)
    return np.stack([i, j, k], 1) * np.diag(anatomy.affine)[:3] + anatomy.affine[:3, 3]


def grown(mask: np.ndarray, cross: np.ndarray, times: int) -> np.ndarray:
    return np.asarray(ndimage.binary_dilation(mask, cross, iterations=times))


def body_points(n: int, seed: int) -> np.ndarray:
    """Canonical points in head and neck."""
    rng = np.random.default_rng(seed)
    head = rng.uniform((-80, -120, -70), (80, 100, 90), (n, 3))
    neck = rng.uniform((-60, -100, -240), (60, 15, -70), (n, 3))
    return np.concatenate([head, neck])


# --- deformation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_deformation_there_and_back(seed: int) -> None:
    deformation = draw_deformation(np.random.default_rng(seed))
    canonical = body_points(3000, seed)
    there = deformation.to_individual(canonical)
    assert np.abs(deformation.to_canonical(there) - canonical).max() < 1e-4
    assert np.abs(there - identity().to_individual(canonical)).max() > 3  # somebody, not the template


@pytest.mark.parametrize("seed", range(8))
def test_deformation_does_not_fold(seed: int) -> None:
    deformation = draw_deformation(np.random.default_rng(seed))
    points = deformation.to_individual(body_points(2000, seed))
    step = 1e-3
    jacobian = np.stack(
        [
            (deformation.to_canonical(points + step * e) - deformation.to_canonical(points - step * e)) / (2 * step)
            for e in np.eye(3)
        ],
        -1,
    )
    determinant = np.linalg.det(jacobian)
    assert determinant.min() > 0.4
    assert determinant.max() < 2.2


def test_identity_moves_the_isocentre_only() -> None:
    points = body_points(100, 0)
    assert identity().to_individual(points) == pytest.approx(points - np.array([0, -20, -57]), abs=1e-6)


def test_cord_keeps_its_cross_section_where_the_neck_bends() -> None:
    """Across the curved axis the cord is as wide as the drawn size says, however steep the neck."""
    widths = []
    for seed in range(6):
        deformation = draw_deformation(np.random.default_rng(seed))
        z = np.array([-150.0, -150.0])
        ends = cord_centre(z) + np.array([[0, -3.0, 0], [0, 3.0, 0]])
        scale = np.linalg.norm(np.diff(deformation.to_individual(ends), axis=0)) / 6.0
        widths.append(scale / deformation.parameters[-1])
    assert np.array(widths) == pytest.approx(1.0, abs=0.12)  # the smooth warp adds a little of its own


# --- tissues ----------------------------------------------------------------------------------------------------


def test_shares_add_up(person: Anatomy) -> None:
    assert np.all(person.fractions.sum(0, dtype=np.int32) == 255)
    assert person.fractions.shape[0] == len(TISSUES)
    largest = np.take_along_axis(person.fractions, person.tissue[None], 0)[0].astype(int)
    assert np.all(largest >= person.fractions.max(0).astype(int) - 3)  # ties and rounding


def test_same_seed_same_bytes() -> None:
    first, again, other = (build_anatomy(seed, (3.0, 3.0, 4.0)) for seed in (5, 5, 6))
    assert first.fractions.tobytes() == again.fractions.tobytes()
    assert first.texture is not None
    assert again.texture is not None
    assert first.texture.tobytes() == again.texture.tobytes()
    assert np.array_equal(first.region, again.region)
    assert np.mean(first.tissue != other.tissue) > 0.02


def test_boundaries_are_soft(person: Anatomy) -> None:
    """Around the cord a good part of the voxels is shared between cord and CSF."""
    cord = person.fractions[NUMBER["cord_white"]].astype(int) + person.fractions[NUMBER["cord_grey"]]
    assert 0.1 < np.mean(cord[cord > 0] < 230) < 0.5


def test_cord_lies_in_csf_in_bone(person: Anatomy) -> None:
    cross = np.zeros((3, 3, 3), bool)
    cross[1] = ndimage.generate_binary_structure(2, 1)
    neck = np.zeros(person.tissue.shape, bool)
    low, high = (voxels(person, person.discs[n][None])[0, 0] for n in (8, 3))
    neck[low:high] = True
    rim = grown(person.cord_mask, cross, 2) & ~grown(person.cord_mask, cross, 1)
    assert np.mean(person.fractions[NUMBER["csf"]][rim & neck]) > 0.75 * 255
    assert not np.any(person.cord_mask & ~person.canal_mask)
    wall = grown(person.canal_mask, cross, 6) & ~grown(person.canal_mask, cross, 2)
    bony = np.isin(person.tissue, [NUMBER[n] for n in ("bone", "marrow", "disc")])
    assert np.mean(bony[wall & neck]) > 0.35


def test_medulla_joins_the_cord_without_a_gap(person: Anatomy) -> None:
    line = person.centreline
    assert np.linalg.norm(np.diff(line, axis=0), axis=1) == pytest.approx(1.0, abs=0.02)
    assert line[0, 2] > person.foramen_magnum_z + 5
    above = person.deformation.to_individual(np.stack([np.zeros(20), np.linspace(-38, -44, 20), np.linspace(-45, -62, 20)], 1))
    inside = line[line[:, 2] > person.affine[2, 3] + 1]
    nerve = person.fractions[[NUMBER[n] for n in ("grey_matter", "white_matter", "cord_grey", "cord_white")]].sum(0, dtype=int)
    k, j, i = voxels(person, np.concatenate([above, inside])).T
    # the median fissure takes a little of the thinnest voxels
    assert nerve[k, j, i].min() > 0.7 * 255


def test_size_of_the_template_cord(template: Anatomy) -> None:
    """Diameters at C5 as Frostell et al. (2016) review them: 12.4 +- 1 mm by 7.9 +- 1 mm; grey matter about a
    fifth."""
    z = -145.0 - (-57.0)
    k = round((z - template.affine[2, 3]) / SPACING[2])
    cord = template.fractions[NUMBER["cord_white"], k].astype(float) + template.fractions[NUMBER["cord_grey"], k]
    x0 = round(-template.affine[0, 3])
    y0 = round(-45.9 + 20 - template.affine[1, 3])
    across = template.fractions[:, k, y0, x0 - 12 : x0 + 13]
    along = template.fractions[:, k, y0 - 10 : y0 + 11, x0]
    nerve = [NUMBER["cord_white"], NUMBER["cord_grey"]]
    assert across[nerve].sum() / 255 == pytest.approx(12.4, abs=0.8)
    # the fissure is not cord, but lies within the diameter
    assert along[nerve].sum() / 255 == pytest.approx(7.6, abs=0.9)
    assert cord.sum() / 255 == pytest.approx(np.pi / 4 * 12.7 * 7.7, rel=0.04)
    assert template.fractions[NUMBER["cord_grey"], k].sum() / cord.sum() == pytest.approx(0.21, abs=0.03)


def test_vertebrae_alternate_with_discs(template: Anatomy) -> None:
    tops = np.array(tables.VERTEBRA_TOP_Z[2:8])
    middles = (tops[:-1] + tops[1:]) / 2
    for heights, expected in ((tops, "disc"), (middles, "marrow")):
        points = cord_centre(heights) + np.array([0, 17.0, 0])
        k, j, i = voxels(template, template.deformation.to_individual(points)).T
        assert [TISSUES[t].name for t in template.tissue[k, j, i]] == [expected] * len(heights)


def test_head_has_what_heads_have(person: Anatomy) -> None:
    places = {
        "eye": (33, 70, -33), "airway": (28, 52, -62), "muscle": (40, -70, -120), "white_matter": (25, -20, 28),
    }  # fmt: skip
    for name, place in places.items():
        k, j, i = voxels(person, person.deformation.to_individual(np.array([place], float)))[0]
        assert TISSUES[person.tissue[k, j, i]].name == name
    volume_ml = {t.name: person.fractions[n].sum(dtype=float) / 255 * np.prod(SPACING) / 1000 for n, t in enumerate(TISSUES)}
    assert 450 < volume_ml["grey_matter"] < 1100
    assert 300 < volume_ml["white_matter"] < 800
    assert 10 < volume_ml["eye"] < 20  # two globes of about 7 ml
    assert volume_ml["bone"] + volume_ml["marrow"] > 500


# --- masks, levels, regions -------------------------------------------------------------------------------------


def test_brain_ends_where_the_cord_begins(person: Anatomy) -> None:
    assert not np.any(person.brain_mask & person.cord_mask)
    heights = [person.deformation.to_canonical(positions(person, m))[:, 2] for m in (person.brain_mask, person.cord_mask)]
    assert heights[0].min() == pytest.approx(tables.FORAMEN_MAGNUM_Z, abs=2.1)
    assert heights[1].max() == pytest.approx(tables.FORAMEN_MAGNUM_Z, abs=2.1)
    volume = person.brain_mask.sum() * np.prod(SPACING) / 1e6
    assert 1.1 < volume < 1.9
    labels = np.empty(person.brain_mask.shape, np.int32)
    assert ndimage.label(person.brain_mask | person.cord_mask, output=labels) == 1


def test_levels_follow_the_tables(person: Anatomy) -> None:
    for image, tops in ((person.vertebral_level, tables.VERTEBRA_TOP_Z), (person.spinal_level, tables.SPINAL_TOP_Z)):
        assert np.array_equal(image > 0, person.cord_mask)
        for level in range(2, 8):
            z = person.deformation.to_canonical(positions(person, image == level))[:, 2]
            assert z.max() <= tops[level - 1] + 1e-6
            assert z.min() >= tops[level] - 1e-6


def test_spinal_is_not_vertebral(template: Anatomy) -> None:
    """Spinal segment C6 is centred at the boundary of vertebrae C4 and C5, 24.5 mm above vertebra C6."""
    spinal = positions(template, template.spinal_level == 6)[:, 2].mean()
    lower_c4 = positions(template, template.vertebral_level == 4)[:, 2].min()
    vertebral = positions(template, template.vertebral_level == 6)[:, 2].mean()
    assert spinal == pytest.approx(lower_c4, abs=2.0)
    assert spinal - vertebral == pytest.approx(24.5, abs=2.0)


def test_discs_lie_before_the_canal(person: Anatomy) -> None:
    heights = [person.discs[n][2] for n in sorted(person.discs)]
    assert np.all(np.diff(heights) < -10)
    line = person.centreline
    for n in range(3, 9):
        y = np.interp(person.discs[n][2], line[::-1, 2], line[::-1, 1])
        assert 6 < person.discs[n][1] - y < 13
    assert person.t1_z < person.discs[7][2] < person.discs[3][2] < person.foramen_magnum_z < person.head_pivot[2] + 8


def test_regions_are_where_their_names_say(person: Anatomy) -> None:
    assert set(np.unique(person.region)) == set(range(len(REGIONS)))
    where = {name: person.deformation.to_canonical(positions(person, person.region == n)) for n, name in enumerate(REGIONS) if n}
    for name, points in where.items():
        if "_R" in name:
            assert np.all(points[:, 0] > 0)
        if "_L" in name:
            assert np.all(points[:, 0] < 0)
    # spinal segments of the project's methods: C6 at -152..-137, C7-C8 at -184..-153 (PAM50 mm)
    for side in "RL":
        dorsal, ventral = where[f"dorsal_horn_{side}_C6"], where[f"ventral_horn_{side}_C7C8"]
        assert dorsal[:, 2].min() > -153
        assert dorsal[:, 2].max() < -136.5
        assert ventral[:, 2].min() > -185
        assert ventral[:, 2].max() < -152
        assert dorsal[:, 1].mean() < -46.3
        assert ventral[:, 1].mean() > -45.6
        area = len(dorsal) * np.prod(SPACING) / 15.2
        assert 1.0 < area < 4.0  # about 2 mm2 (METHODS)
    brain_regions = person.region >= REGIONS.index("insula_R")
    assert np.all(person.tissue[brain_regions] == NUMBER["grey_matter"])
