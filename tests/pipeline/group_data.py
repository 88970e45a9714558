"""A small derivatives tree as the participant level leaves it, with effects in one horn and one place of the brain."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from cospine.bids.write import write_json, write_nifti, write_tsv
from cospine.space.cord_template import PAM50_BOX, parametric_cord_template
from cospine.space.grid import Grid
from cospine.space.templates import brain_template

MNI, PAM50 = "MNI152NLin2009aSym", "PAM50"
INSULA_MM = (38.0, 4.0, 2.0)
HORN_MM = (2.1, -46.4, -144.7)
"""Right dorsal horn, spinal segment C6, at the boundary of vertebral C4 and C5."""
EFFECT = 1.2
COUPLED = ("dorsal_R_spinal-C6", "anterior_insula_R", "dorsal_L_spinal-C6", "ACC", "ventral_R_spinal-C6")
QUALITY = {"fd_mean_mm": 0.2, "cord_shift_rms_mm": 0.15, "std_dvars_mean": 1.1, "tsnr_brain_after": 50.0, "tsnr_cord_after": 15.0}


def coarse(grid: Grid, factors: tuple[int, int, int]) -> Grid:
    affine = grid.affine.copy()
    affine[:3, :3] = affine[:3, :3] * np.array(factors)
    affine[:3, 3] = grid.to_ras((np.array(factors) - 1) / 2)
    return Grid(tuple(n // f for n, f in zip(grid.shape, factors, strict=True)), affine)


def grids() -> dict[str, Grid]:
    return {MNI: coarse(brain_template(2).grid, (4, 4, 4)), PAM50: coarse(PAM50_BOX, (2, 2, 8))}


def blob(grid: Grid, at: tuple[float, float, float], widths: tuple[float, float, float]) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return np.exp(-(((grid.to_ras(index) - np.array(at)) / np.array(widths)) ** 2).sum(axis=-1) / 2)


def noise(rng: np.random.Generator, shape: tuple[int, ...], sd: float) -> np.ndarray:
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 1.0)
    return sd * smooth / smooth.std()


def coupled(rng: np.random.Generator) -> dict[str, list]:
    """A table of correlations of one person: the first two regions go together, the others do not."""
    series = rng.standard_normal((60, len(COUPLED)))
    series[:, 1] += 1.5 * series[:, 0]
    series[:, 4] += 1.5 * series[:, 2]
    r = np.corrcoef(series.T)
    systems = ["spinal" if "spinal" in name else "none" for name in COUPLED]
    return {"region": list(COUPLED), "level_system": systems, **{name: r[:, k].tolist() for k, name in enumerate(COUPLED)}}


def write_group(
    raw: Path,
    out: Path,
    *,
    people: int = 8,
    sites: tuple[str, ...] = ("north", "south"),
    contrasts: tuple[str, ...] = ("heat",),
    runs: int = 2,
    seed: int = 0,
    effect: float = EFFECT,
    without: tuple[tuple[str, str], ...] = (),
) -> None:
    """Write raw dataset and derivatives of `people` of a pain task; `without` names (participant, contrast) to leave out."""
    rng = np.random.default_rng(seed)
    labels = [f"sub-{n + 1:02d}" for n in range(people)]
    write_json(raw / "dataset_description.json", {"Name": "Heat at two sites", "BIDSVersion": "1.11.0"})
    write_json(
        out / "dataset_description.json",
        {"Name": "derivatives", "BIDSVersion": "1.11.0", "DatasetType": "derivative", "DatasetLinks": {"raw": f"../{raw.name}"}},
    )
    write_tsv(
        raw / "participants.tsv",
        {
            "participant_id": labels,
            "age": [20 + 3 * n for n in range(people)],
            "sex": ["F" if n % 2 else "M" for n in range(people)],
            "site": [sites[n * len(sites) // people] for n in range(people)],
        },
    )
    shapes = {MNI: ((INSULA_MM, (9.0, 9.0, 9.0)),), PAM50: ((HORN_MM, (1.2, 1.6, 6.0)),)}
    places = grids()
    truth = {space: sum(blob(places[space], *one) for one in given) for space, given in shapes.items()}
    template = parametric_cord_template()
    for n, label in enumerate(labels):
        bold = raw / label / "func" / f"{label}_task-pain_run-1_bold.nii.gz"
        bold.parent.mkdir(parents=True)
        bold.touch()
        person = 1 + 0.2 * rng.standard_normal()
        measures = {name: value * (1 + 0.05 * rng.standard_normal()) for name, value in QUALITY.items()}
        write_json(
            out / "logs" / f"{label}_task-pain_run-1_quality.json",
            {"Measures": {name: {"Value": value} for name, value in measures.items()}},
        )
        table = coupled(rng)
        for kind in ("residuals", "everyslice"):
            write_tsv(out / label / "func" / f"{label}_task-pain_desc-{kind}_relmat.tsv", table)
        for space, grid in places.items():
            covered = np.ones(grid.shape, dtype=np.uint8)
            if space == PAM50:
                covered[..., : 2 + n % 3] = 0  # the lower end differs from person to person
            write_nifti(out / label / "func" / f"{label}_task-pain_space-{space}_desc-coverage_mask.nii.gz", covered, grid.affine)
            for contrast in contrasts:
                if (label, contrast) in without:
                    continue
                between = noise(rng, grid.shape, 0.12)
                parts = [effect * person * truth[space] + between + noise(rng, grid.shape, 0.12) for _ in range(runs)]
                names = [f"_run-{k + 1}" for k in range(runs)] if runs > 1 else []
                for run, values in zip(["", *names], [np.mean(parts, axis=0), *parts], strict=False):
                    stem = out / label / "func" / f"{label}_task-pain{run}_space-{space}_contrast-{contrast}"
                    write_nifti(
                        stem.with_name(f"{stem.name}_stat-effect_statmap.nii.gz"),
                        (values * covered).astype(np.float32),
                        grid.affine,
                    )
                    estimated = covered.astype(np.float32)
                    if label == "sub-01":
                        estimated[: grid.shape[0] // 3] = 0  # measured, and no estimate all the same
                    write_nifti(stem.with_name(f"{stem.name}_stat-variance_statmap.nii.gz"), 0.02 * estimated, grid.affine)
                    write_json(
                        stem.with_name(f"{stem.name}_statmap.json"),
                        {
                            "Units": "%",
                            "Model": "pain",
                            "HRF": "spm",
                            "Smoothing_mm": [2, 2, 6],
                            "AcquiredVoxel_mm": [1.5, 1.5, 4.0],
                            "SpatialReference": template.source,
                        },
                    )
                    if run:
                        write_nifti(
                            out / label / "func" / f"{label}_task-pain{run}_space-{space}_desc-coverage_mask.nii.gz",
                            covered, grid.affine,
                        )  # fmt: skip
