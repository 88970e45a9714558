"""The cord template: what it holds, the box that all cord outputs share, and the one that is built in.

PAM50 (De Leener et al., NeuroImage 2018) is the straight cord template that stands below the MNI152 brain. Where it cannot
be had, a template computed from the table of numbers beside this module stands in: on the same grid, with the same discs
and levels. ``benchmarks/measure_pam50.py`` measured the table.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cospine.space.grid import Grid

CONTRASTS = ("T1", "T2", "T2s")

# First voxel of the box in PAM50's own (141, 141, 991) lattice. Along z: from the disc below T1 to the top of PAM50, which
# is 2.5 mm above C1. In-plane: the canal from C2 down with 5 mm around it, and no more, since series are stored in it.
BOX_START = (43, 49, 693)
PAM50_AFFINE = np.array([[-0.5, 0, 0, 35.0], [0, 0.5, 0, -81.22000122070312], [0, 0, 0.5, -561.8400268554688], [0, 0, 0, 1]])
_START = np.eye(4)
_START[:3, 3] = BOX_START
PAM50_BOX = Grid((55, 47, 298), PAM50_AFFINE @ _START)

# Edge of a structure averaged over people is not sharp: width of its ramp, and of a logistic for grey matter.
_EDGE_MM, _GREY_EDGE_MM = 0.5, 0.16
# Ligament, dura and cortical bone around the canal, dark in every contrast.
_RIM_MM = 1.5
_DISC_HALF_MM = 2.5
_BLUR_MM = 0.35
# Relative to the brightest tissue. T2 was measured in PAM50; T1 and T2s follow the usual order of the tissues (MPRAGE:
# white > grey > CSF; T2*-weighted gradient echo: CSF > grey > white), which is what a registration needs.
_INTENSITY = {
    "T1": {"csf": 0.22, "white": 0.80, "grey": 0.70, "rim": 0.25, "body": 0.75, "disc": 0.45, "behind": 0.50},
    "T2s": {"csf": 1.00, "white": 0.60, "grey": 0.74, "rim": 0.20, "body": 0.28, "disc": 0.45, "behind": 0.40},
}


@dataclass(frozen=True)
class CordTemplate:
    """A cord template on :data:`PAM50_BOX`.

    Parameters
    ----------
    name : {'PAM50', 'PAM50-parametric'}
        Which template.
    source : str
        Where it came from and how far it was verified, a sentence for sidecars and reports.
    grid : Grid
        :data:`PAM50_BOX`.
    cord, csf, grey, white : ndarray (x, y, z), float32
        Probability of the cord, of the CSF around it, of its grey and its white matter.
    vertebral : ndarray (x, y, z), uint8
        Vertebral level of cord voxels: C1 = 1 .. C7 = 7, T1 = 8; 0 outside of the cord and above C1.
    spinal : ndarray (x, y, z), uint8
        Spinal segment of cord voxels: C1 = 1 .. C8 = 8, T1 = 9, T2 = 10. Not the vertebral level.
    discs : dict of int to ndarray (3,)
        Disc heights on the cord's axis, RAS mm, SCT's numbers: 1 = top of C1, 2 = C1-C2, 3 = C2-C3 .. 9 = T1-T2.
    contrast : dict of str to ndarray (x, y, z), float32, or None
        T1, T2 and T2s weighted image scaled to about 0-1; None where the template's folder has none.
    centre_line : ndarray (n, 3)
        Middle of the cord, RAS mm, top to bottom, a point a slice.
    """

    name: Literal["PAM50", "PAM50-parametric"]
    source: str
    grid: Grid
    cord: NDArray[np.float32] = field(repr=False)
    csf: NDArray[np.float32] = field(repr=False)
    grey: NDArray[np.float32] = field(repr=False)
    white: NDArray[np.float32] = field(repr=False)
    vertebral: NDArray[np.uint8] = field(repr=False)
    spinal: NDArray[np.uint8] = field(repr=False)
    discs: Mapping[int, NDArray[np.float64]] = field(repr=False)
    contrast: Mapping[str, NDArray[np.float32] | None] = field(repr=False)
    centre_line: NDArray[np.float64] = field(repr=False)


def parametric_cord_template(source: str = "the cord template that is built into CoSpine was asked for") -> CordTemplate:
    """Compute the built-in template from its table.

    Parameters
    ----------
    source : str
        Why it is used; becomes :attr:`CordTemplate.source` together with what it is.

    Returns
    -------
    CordTemplate
        Its name is ``PAM50-parametric``. All three contrasts are there.
    """
    table = load_table()
    grid = PAM50_BOX
    section = sections(table, grid)
    cord, canal, grey = section["cord"], section["canal"], section["grey"]
    csf = np.clip(canal - cord, 0.0, 1.0)
    z_mm = grid.to_ras(_along_z(grid))[:, 2]
    inside = cord >= 0.5
    discs = {int(n): np.array(point) for n, point in table["discs"].items()}
    tissue = {"csf": csf, "grey": grey, "white": np.clip(cord - grey, 0.0, 1.0)}
    surround = _surround(grid, section["canal_distance"], [discs[n][2] for n in range(3, 10)])
    intensity = {**_INTENSITY, "T2": table["t2_intensity"]}
    contrast = {name: _render(tissue, canal, surround, intensity[name]) for name in CONTRASTS}
    return CordTemplate(
        name="PAM50-parametric",
        source=f"CoSpine's built-in parametric template in PAM50 space, because {source}",
        grid=grid,
        cord=cord,
        csf=csf,
        grey=grey,
        white=tissue["white"],
        vertebral=_levels(inside, z_mm, [discs[n][2] for n in range(1, 10)]),
        spinal=_levels(inside, z_mm, table["spinal_boundaries_z"]),
        discs=discs,
        contrast=contrast,
        centre_line=cord_axis(cord, grid),
    )


def with_parametric_contrasts(template: CordTemplate) -> CordTemplate:
    """Give a template whose folder lacks contrasts those of the built-in one, and say so in its `source`."""
    lacking = [name for name in CONTRASTS if template.contrast.get(name) is None]
    if not lacking:
        return template
    built_in = parametric_cord_template().contrast
    contrast = {name: built_in[name] if name in lacking else template.contrast[name] for name in CONTRASTS}
    said = f"{template.source}; contrast {', '.join(lacking)}: not there, computed from CoSpine's built-in table"
    return replace(template, contrast=contrast, source=said)


def cord_axis(cord: NDArray, grid: Grid) -> NDArray[np.float64]:
    """Centre of mass of the cord in each slice of the box, RAS mm, (n, 3), top to bottom, smoothed by 1 mm along z."""
    index = [np.arange(n, dtype=np.float64) for n in cord.shape]
    weight = cord.sum(axis=(0, 1), dtype=np.float64)
    i = np.einsum("ijk,i->k", cord, index[0]) / weight
    j = np.einsum("ijk,j->k", cord, index[1]) / weight
    line = grid.to_ras(
        np.stack([gaussian_filter(i, 2.0, mode="nearest"), gaussian_filter(j, 2.0, mode="nearest"), index[2]], axis=1)
    )
    return line[::-1]


def load_table() -> dict[str, Any]:
    """The numbers of the built-in template, as ``cord_table.json`` holds them (mm, PAM50's world)."""
    return json.loads((files("cospine.space") / "cord_table.json").read_text(encoding="utf-8"))


def sections(table: Mapping[str, Any], grid: Grid) -> dict[str, NDArray[np.float32]]:
    """Cord, canal and grey matter on a grid whose axes run along PAM50's.

    Parameters
    ----------
    table : dict
        ``columns`` (names) and ``stations`` (a row a height), see :func:`load_table`.
    grid : Grid
        Any grid with PAM50's axis directions.

    Returns
    -------
    dict of str to ndarray (x, y, z), float32
        ``cord``, ``canal`` (everything within the dura) and ``grey`` probabilities, and ``canal_distance``: signed distance
        from the dura in mm, positive outside, along the line to the canal's middle.
    """
    x, y, z = (grid.to_ras(np.eye(3)[axis] * np.arange(n)[:, None])[:, axis] for axis, n in enumerate(grid.shape))
    column = _interpolate(table, z)
    half = np.abs(x)[:, None, None]
    cord = _superellipse(half, y[:, None] - column["cord_y"], column, "cord")
    canal = _superellipse(half, y[:, None] - column["canal_y"], column, "canal")
    grey = grey_distance(half, y[:, None] - column["cord_y"], column)
    cord_probability = _ramp(cord)
    return {
        "cord": cord_probability,
        "canal": np.maximum(_ramp(canal), cord_probability),
        "grey": (cord_probability / (1.0 + np.exp(np.clip(grey / _GREY_EDGE_MM, -30, 30)))).astype(np.float32),
        "canal_distance": canal.astype(np.float32),
    }


def grey_distance(half: NDArray, forward: NDArray, column: Mapping[str, NDArray]) -> NDArray[np.float64]:
    """Distance (mm, negative inside) to a butterfly: on each side an ellipse, a tapering rod to the back, and a bridge.

    Parameters
    ----------
    half, forward : ndarray
        Distance from the midline and from the cord's middle line toward anterior, mm; broadcast together.
    column : dict
        ``ventral_x, ventral_y, ventral_rx, ventral_ry`` (ellipse), ``base_x, base_y, base_r, tip_x, tip_y, tip_r`` (rod),
        ``bridge_y, bridge_r`` (band from one ellipse to the other), mm from the cord's middle.
    """
    u = np.hypot((half - column["ventral_x"]) / column["ventral_rx"], (forward - column["ventral_y"]) / column["ventral_ry"])
    ventral = (u - 1.0) * np.minimum(column["ventral_rx"], column["ventral_ry"])
    dx, dy = column["tip_x"] - column["base_x"], column["tip_y"] - column["base_y"]
    along = np.clip(((half - column["base_x"]) * dx + (forward - column["base_y"]) * dy) / (dx**2 + dy**2), 0.0, 1.0)
    radius = column["base_r"] + along * (column["tip_r"] - column["base_r"])
    dorsal = np.hypot(half - column["base_x"] - along * dx, forward - column["base_y"] - along * dy) - radius
    beyond = np.maximum(half - column["ventral_x"], 0.0)
    bridge = np.hypot(beyond, np.maximum(np.abs(forward - column["bridge_y"]) - column["bridge_r"], 0.0))
    bridge = np.where(bridge > 0, bridge, np.abs(forward - column["bridge_y"]) - column["bridge_r"])
    return np.minimum(np.minimum(ventral, dorsal), bridge)


def _superellipse(half: NDArray, forward: NDArray, column: Mapping[str, NDArray], part: str) -> NDArray[np.float64]:
    """Distance (mm, negative inside) along the ray from the middle to |x/a|^p + |y/b|^p = 1, b and p of its front or back."""
    front = forward >= 0
    depth = np.where(front, column[f"{part}_front"], column[f"{part}_back"])
    power = np.where(front, column[f"{part}_power_front"], column[f"{part}_power_back"])
    across, away = half + 1e-3, np.abs(forward) + 1e-3
    reach = ((across / column[f"{part}_half_width"]) ** power + (away / depth) ** power) ** (-1.0 / power)
    return np.hypot(across, away) * (1.0 - reach)


def _ramp(distance: NDArray) -> NDArray[np.float32]:
    """Share of a structure where its edge is `distance` mm away, negative inside."""
    return np.clip(0.5 - distance / (2 * _EDGE_MM), 0.0, 1.0).astype(np.float32)


def _interpolate(table: Mapping[str, Any], z: NDArray) -> dict[str, NDArray[np.float64]]:
    """Columns of the table at heights z: monotone cubic between stations, constant beyond the last."""
    from scipy.interpolate import PchipInterpolator

    rows = np.array(table["stations"], dtype=np.float64)
    rows = rows[np.argsort(rows[:, 0])]
    at = np.clip(z, rows[0, 0], rows[-1, 0])
    values = PchipInterpolator(rows[:, 0], rows[:, 1:], axis=0)(at)
    return dict(zip(table["columns"][1:], values.T, strict=True))


def _along_z(grid: Grid) -> NDArray[np.float64]:
    """Voxel indices of the box's first column, (z, 3)."""
    index = np.zeros((grid.shape[2], 3))
    index[:, 2] = np.arange(grid.shape[2])
    return index


def _levels(inside: NDArray[np.bool_], z_mm: NDArray, boundaries: list[float]) -> NDArray[np.uint8]:
    """Level n of cord voxels from boundary n down to boundary n + 1, which it owns; 0 above the first."""
    # half a slice of tolerance: boundaries stand on slices of the template
    level = np.searchsorted(-np.array(boundaries), -(z_mm + 0.25), side="right")
    level[level >= len(boundaries)] = 0
    level[np.isclose(z_mm, boundaries[-1])] = len(boundaries) - 1
    return np.where(inside, level, 0).astype(np.uint8)


def _surround(grid: Grid, canal: NDArray, discs_z: list[float]) -> dict[str, NDArray[np.float32]]:
    """Shares of rim, vertebral body, disc and what lies behind, outside of the canal."""
    y, z = grid.to_ras(np.eye(3)[1] * np.arange(grid.shape[1])[:, None])[:, 1], grid.to_ras(_along_z(grid))[:, 2]
    rim = np.clip((_RIM_MM + 0.5 - canal) / 1.0, 0.0, 1.0)
    # the canal's front is 6-9 mm before the cord's middle line at y = -46 mm
    anterior = np.clip((y + 40.5) / 1.0, 0.0, 1.0)[:, None]
    to_disc = np.abs(z[:, None] - np.array(discs_z)).min(axis=1)
    disc = np.clip(_DISC_HALF_MM + 0.5 - to_disc, 0.0, 1.0)
    shares = {
        "rim": rim,
        "body": (1 - rim) * anterior * (1 - disc),
        "disc": (1 - rim) * anterior * disc,
        "behind": (1 - rim) * (1 - anterior),
    }
    return {name: share.astype(np.float32) for name, share in shares.items()}


def _render(
    tissue: dict[str, NDArray], canal: NDArray, surround: dict[str, NDArray], intensity: Mapping[str, float]
) -> NDArray[np.float32]:
    """An image with the given intensity of each tissue, blurred as an average over people is."""
    image = sum(intensity[name] * share for name, share in tissue.items())
    image = image + (1 - canal) * sum(intensity[name] * share for name, share in surround.items())
    return gaussian_filter(image, _BLUR_MM / 0.5, mode="nearest").astype(np.float32)
