"""Measure the table of the built-in cord template in a PAM50 folder, and show how well the two agree.

python benchmarks/measure_pam50.py PAM50/template             how well the table agrees with PAM50
python benchmarks/measure_pam50.py PAM50/template --write     measure it anew, write it, then show
python benchmarks/measure_pam50.py PAM50/template --figure F  pictures side by side
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.optimize import least_squares

from cospine.space import cord_template as model
from cospine.space.grid import Grid

TABLE = Path(model.__file__).with_name("cord_table.json")
STEP = 12  # slices of 0.5 mm from station to station
OUTLINE = ("y", "half_width", "front", "back", "power_front", "power_back")
GREY = (
    "ventral_x",
    "ventral_y",
    "ventral_rx",
    "ventral_ry",
    "base_x",
    "base_y",
    "base_r",
    "tip_x",
    "tip_y",
    "tip_r",
    "bridge_y",
    "bridge_r",
)
COLUMNS = ("z", *(f"cord_{n}" for n in OUTLINE), *(f"canal_{n}" for n in OUTLINE), *GREY)
# a wider field than the box: at C1 the cisterna is larger than it
START, STOP = (30, 36, 693), (111, 107, 991)


def read(folder: Path, name: str) -> np.ndarray:
    """An array of PAM50 within START..STOP."""
    data = np.asanyarray(nib.load(folder / f"PAM50_{name}.nii.gz").dataobj)
    return data[tuple(slice(a, b) for a, b in zip(START, STOP, strict=True))]


def field() -> Grid:
    """The grid of START..STOP."""
    affine = model.PAM50_AFFINE.copy()
    affine[:3, 3] = (model.PAM50_AFFINE @ [*START, 1])[:3]
    return Grid(tuple(np.subtract(STOP, START)), affine)


def one_slice(k: int) -> Grid:
    """The grid of one slice of the field."""
    affine = np.array(field().affine)
    affine[2, 3] += 0.5 * k
    return Grid((*field().shape[:2], 1), affine)


def fit(
    start: np.ndarray, low: np.ndarray, high: np.ndarray, part: str, rest: np.ndarray, k: int, target: np.ndarray
) -> np.ndarray:
    """Least squares of a part's parameters to the target section at slice k, from `start`, other parameters as in `rest`."""
    grid = one_slice(k)
    names = GREY if part == "grey" else [f"{part}_{n}" for n in OUTLINE]
    where = [COLUMNS.index(n) for n in names]

    def residual(p: np.ndarray) -> np.ndarray:
        row = rest.copy()
        row[where] = p
        row[0] = grid.affine[2, 3]
        above = row.copy()
        above[0] += 1.0
        return (model.sections({"columns": COLUMNS, "stations": [row, above]}, grid)[part][..., 0] - target).ravel()

    return least_squares(
        residual,
        np.clip(start, low + 1e-3, high - 1e-3),
        bounds=(low, high),
        diff_step=1e-2,
        x_scale=np.maximum(np.abs(high - low), 0.1),
    ).x


def measure(folder: Path) -> dict:
    """The table: stations every 6 mm, boundaries, discs, T2 intensities."""
    cord, csf, grey = (read(folder, n).astype(np.float32) for n in ("cord", "csf", "gm"))
    ends = np.argwhere(csf.any(axis=(0, 1))).ravel()
    canal = canal_of(cord, csf)
    lower = {"cord": [-48, 3, 2, 2, 1.6, 1.6], "canal": [-52, 6, 4, 4, 1.5, 1.5]}
    upper = {"cord": [-43, 8, 6, 6, 4, 4], "canal": [-40, 16, 12, 18, 6, 6]}
    guess = {"cord": [-46, 5.5, 3.5, 3.5, 2.2, 2.2], "canal": [-45, 9, 6, 6, 2.2, 2.2]}
    low = [0.3, -1.5, 0.3, 0.3, 0.2, -2.5, 0.15, 0.8, -4.5, 0.1, -1.5, 0.1]
    high = [4, 3.5, 3, 2, 3, 1, 1.2, 4, -0.5, 0.8, 1.5, 1.2]
    row = np.array([0, *guess["cord"], *guess["canal"], 1.5, 0.7, 1.0, 0.8, 1.2, -0.5, 0.5, 2.3, -2.3, 0.3, 0, 0.4])
    stations = []
    slices = sorted({*range(cord.shape[2] - 3, 2, -STEP), 2})[::-1]
    for k in slices:
        around = np.s_[max(k - 2, 0) : k + 3]
        for part, target in (("cord", cord), ("canal", canal), ("grey", grey)):
            at = min(k, ends[-1] - 2) if part == "canal" else k
            around = np.s_[at - 2 : at + 3]
            names = GREY if part == "grey" else [f"{part}_{n}" for n in OUTLINE]
            where = [COLUMNS.index(n) for n in names]
            bounds = (
                (np.array(low), np.array(high))
                if part == "grey"
                else (np.array(lower[part], float), np.array(upper[part], float))
            )
            row[where] = fit(row[where], *bounds, part, row, at if part == "canal" else k, target[..., around].mean(axis=2))
        row[0] = field().affine[2, 3] + 0.5 * k
        stations.append(np.round(row, 3).tolist())
    levels, spinal, discs = (read(folder, n) for n in ("levels", "spinal_levels", "label_disc"))
    grid = field()
    numbers = [n for n in np.unique(discs) if 1 <= n <= 9]
    table = {
        "about": "Measured from PAM50 by benchmarks/measure_pam50.py; mm in PAM50's world, exponents without unit",
        "columns": list(COLUMNS),
        "stations": stations,
        "discs": {str(n): np.round(grid.to_ras(np.argwhere(discs == n).mean(axis=0)), 2).tolist() for n in numbers},
        "spinal_boundaries_z": boundaries(spinal, grid),
        "t2_intensity": {},
    }
    if boundaries(levels, grid)[:9] != [p[2] for p in table["discs"].values()]:
        raise SystemExit("PAM50's vertebral levels do not end at its discs")
    table["t2_intensity"] = t2_intensity(folder, table)
    return table


def canal_of(cord: np.ndarray, csf: np.ndarray) -> np.ndarray:
    """Cord, CSF and the rim of voxels that PAM50 gives to neither."""
    from scipy.ndimage import binary_closing, binary_fill_holes

    both = (cord + csf) > 0
    filled = [binary_fill_holes(binary_closing(both[..., k], iterations=2)) for k in range(both.shape[2])]
    return np.stack(filled, axis=2).astype(np.float32)


def boundaries(levels: np.ndarray, grid: Grid) -> list[float]:
    """Top of each level (the slice above its highest), then the lowest slice within the field."""
    slices = [np.unique(np.where(levels == n)[2]) for n in np.unique(levels)[1:]]
    tops = [int(s.max()) + 1 for s in slices]
    return [round(float(grid.affine[2, 3] + 0.5 * k), 2) for k in [*tops, int(slices[-1].min())]]


def t2_intensity(folder: Path, table: dict) -> dict[str, float]:
    """Relative intensities of the tissues in PAM50's T2, by least squares on the box."""
    t2 = box_t2(folder)
    section = model.sections(table, model.PAM50_BOX)
    cord, canal, grey = section["cord"], section["canal"], section["grey"]
    surround = model._surround(model.PAM50_BOX, section["canal_distance"], [table["discs"][str(n)][2] for n in range(3, 10)])
    shares = {"csf": canal - cord, "grey": grey, "white": cord - grey, **{n: (1 - canal) * s for n, s in surround.items()}}
    design = np.stack([s.ravel() for s in shares.values()], axis=1)
    weights = np.linalg.lstsq(design, t2.ravel(), rcond=None)[0]
    return {n: round(float(w / weights[0]), 3) for n, w in zip(shares, weights, strict=True)}


def box_t2(folder: Path) -> np.ndarray:
    """PAM50's T2 in the box, from the cropped file."""
    image = nib.load(folder / "PAM50_t2_cropped.nii.gz")
    first = np.rint(np.linalg.inv(image.affine) @ model.PAM50_BOX.affine[:, 3])[:3].astype(int)
    return image.get_fdata()[tuple(slice(a, a + n) for a, n in zip(first, model.PAM50_BOX.shape, strict=True))]


def dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dice of two masks in each slice."""
    total = a.sum(axis=(0, 1)) + b.sum(axis=(0, 1))
    return 2 * (a & b).sum(axis=(0, 1)) / np.where(total == 0, np.nan, total)


def show(folder: Path, figure: Path | None) -> None:
    """Print agreement, slice by slice summarised; draw if asked."""
    ours = model.parametric_cord_template()
    offset = np.subtract(model.BOX_START, START)
    crop = tuple(slice(a, a + n) for a, n in zip(offset, model.PAM50_BOX.shape, strict=True))
    cord, csf, grey, white, levels, spinal = (
        read(folder, n)[crop] for n in ("cord", "csf", "gm", "wm", "levels", "spinal_levels")
    )
    canal = canal_of(cord.astype(np.float32), csf.astype(np.float32))
    t2 = box_t2(folder)
    covered = csf.any(axis=(0, 1))
    scores = {
        "cord": dice(ours.cord >= 0.5, cord > 0),
        "canal": dice((ours.cord + ours.csf >= 0.5)[..., covered], (canal > 0)[..., covered]),
        "grey at 0.5": dice(ours.grey >= 0.5, grey >= 0.5),
        "grey soft": 2 * np.minimum(ours.grey, grey).sum((0, 1)) / (ours.grey + grey).sum((0, 1)),
        "white soft": 2 * np.minimum(ours.white, white).sum((0, 1)) / (ours.white + white).sum((0, 1)),
    }
    for name, value in scores.items():
        middle, low, least = np.nanmedian(value), np.nanpercentile(value, 5), np.nanmin(value)
        print(f"{name:12s} Dice median {middle:.3f}  5th percentile {low:.3f}  lowest {least:.3f}")
    for name, (a, b) in {"vertebral": (ours.vertebral, levels), "spinal": (ours.spinal, spinal)}.items():
        tops = [(np.where(a == n)[2].max(), np.where(b == n)[2].max()) for n in np.unique(b)[1:]]
        apart = max(abs(int(p) - int(q)) for p, q in tops) * 0.5
        print(f"{name} boundaries: largest difference {apart:.1f} mm; numbers alike: {set(np.unique(a)) == set(np.unique(b))}")
    r = np.corrcoef(ours.contrast["T2"].ravel(), t2.ravel())[0, 1]
    each = [np.corrcoef(ours.contrast["T2"][..., k].ravel(), t2[..., k].ravel())[0, 1] for k in range(t2.shape[2])]
    print(f"T2 correlation {r:.3f}; of a slice: median {np.median(each):.3f}, lowest {np.min(each):.3f}")
    if figure:
        draw(ours, t2 / t2.max(), cord, grey, figure)


def draw(ours, t2: np.ndarray, cord: np.ndarray, grey: np.ndarray, figure: Path) -> None:
    """Axial sections at C2, C5, C7 and the mid-sagittal one, PAM50 above ours."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    canvas, axes = plt.subplots(4, 6, figsize=(22, 15))
    for column, level in enumerate((2, 5, 7)):
        k = int(np.median(np.where(ours.vertebral == level)[2]))
        for row, (image, mask) in enumerate(
            ((t2, cord > 0), (ours.contrast["T2"], ours.cord >= 0.5), (grey, cord > 0), (ours.grey, ours.cord >= 0.5))
        ):
            axes[row, column].imshow(image[..., k].T, origin="lower", cmap="gray", vmin=0, vmax=1)
            axes[row, column].contour(mask[..., k].T, [0.5], colors="r", linewidths=0.8)
            axes[row, column].set_title(f"{'PAM50' if row % 2 == 0 else 'built in'}, vertebral C{level}")
    for row, image in enumerate((t2, ours.contrast["T2"], ours.contrast["T1"], ours.contrast["T2s"])):
        axes[row, 3].imshow(image[27], origin="lower", cmap="gray", vmin=0, vmax=1, aspect="auto")
        axes[row, 4].imshow(image[:, 21], origin="lower", cmap="gray", vmin=0, vmax=1, aspect="auto")
        axes[row, 5].imshow(image[..., 120].T, origin="lower", cmap="gray", vmin=0, vmax=1)
    canvas.tight_layout()
    canvas.savefig(figure, dpi=50)


def written(table: dict) -> str:
    """The table as JSON, a line a row."""
    rows = ",\n    ".join(json.dumps(row) for row in table["stations"])
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items() if key != "stations"]
    return "{\n" + ",\n".join(lines) + f',\n  "stations": [\n    {rows}\n  ]\n}}\n'


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    if given.write:
        table = measure(given.folder)
        TABLE.write_text(written(table), encoding="utf-8")
    show(given.folder, given.figure)


if __name__ == "__main__":
    main()
