"""What a run writes of its first level, and what a person's runs of one task are combined into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from cospine.bids import Derivatives, Run, read_json
from cospine.bids.names import parse_name
from cospine.pipeline.seed_stage import SeedMaps
from cospine.pipeline.several_runs import by_task, remove_combined
from cospine.pipeline.spaces_stage import MNI, PAM50
from cospine.pipeline.stat_maps import Carried
from cospine.pipeline.task_stage import InSpace, TaskResult
from cospine.space.grid import Grid
from cospine.stats.fixed_effects import fixed_effects
from cospine.stats.glm import Fit

STATS = ("effect", "variance", "t", "z")
_UNITS = {
    "variance": "square of the unit of effect; 0 where there is no estimate",
    "t": "Student's t",
    "z": "standard normal deviate of the same tail probability as t",
}


def write_statistics(out: Derivatives, run: Run, found: TaskResult, grid: Grid, basis: Mapping[str, Any]) -> tuple[Path, ...]:
    """Maps of every contrast, natively and in every space, 0 where there is no estimate; one sidecar a contrast and space."""
    model = {
        **basis,
        "Model": found.model.name,
        "HRF": found.hrf,
        "Conditions": list(found.columns.conditions),
        "NuisanceColumns": found.nuisance,
        "Notes": list(found.notes),
        "Units": {"effect": "% of the local temporal mean, for a stimulus that lasts for ever", **_UNITS},
    }
    about = {name: {**model, "Contrast": weights} for name, weights in found.weights.items()}
    return tuple(_write_fit(out, run, found.fit, found.spaces, grid, about))


def write_seed(
    out: Derivatives, run: Run, seed: SeedMaps, task: TaskResult | None, grid: Grid, basis: Mapping[str, Any]
) -> tuple[Path, ...]:
    """Maps of a seed, and of how the task changes its coupling, like those of contrasts."""
    first, *interactions = seed.fit.contrasts
    model = {
        **basis,
        "Model": "none" if task is None else task.model.name,
        **({} if task is None else {"HRF": task.hrf, "Conditions": list(task.columns.conditions)}),
        "Seed": seed.region,
        "SeedScale": "Each slice's column has SD 1: of what the noise model leaves of the region's mean, its noise included, "
        "without slices excited together with that slice. Regions of few voxels have more noise in it",
    }
    unit = "% of the local temporal mean, for one standard deviation of the seed"
    about = {first: {**model, "Units": {"effect": unit, **_UNITS}}}
    for name in interactions:
        about[name] = {**model, "Units": {"effect": f"{unit}, by one unit of the contrast", **_UNITS}}
    return tuple(_write_fit(out, run, seed.fit, seed.spaces, grid, about))


def _write_fit(
    out: Derivatives, run: Run, found: Fit, spaces: Mapping[str, InSpace], grid: Grid, about: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Maps of contrasts (F apart) natively and in every space; `about` is what their sidecars say, by contrast."""
    written = []
    for name, contrast in found.contrasts.items():
        if contrast.test == "F":
            continue
        said = {
            **about[name],
            "Description": "First level: each slice with the design of its own acquisition times, noise whitened, physiology and "
            "motion in the model; not smoothed",
            "DegreesOfFreedom": [round(float(value), 2) for value in found.dof],
            "Smoothing_mm": [0, 0, 0],
        }
        maps = {"effect": contrast.effect, "variance": contrast.variance, "t": contrast.t, "z": contrast.z}
        written += write_maps(out, run, maps, grid, said, contrast=name)
    for space, there in spaces.items():
        for name, carried in there.contrasts.items():
            said = {
                **about[name],
                "Description": f"Effects estimated natively, carried from the {'cord' if space == PAM50 else 'brain'} alone and "
                "smoothed within it; variance of the smoothed effect",
                "DegreesOfFreedom": carried.dof,
                "Smoothing_mm": list(there.fwhm_mm),
                "AcquiredVoxel_mm": _voxel_along_world(grid),
                "SpatialReference": there.reference,
            }
            written += write_maps(out, run, _of(carried), there.grid, said, space=space, contrast=name)
    return written


def _voxel_along_world(grid: Grid) -> list[float]:
    """Voxel size along the world's x, y, z, each from the voxel axis nearest to it."""
    steps = np.abs(grid.affine[:3, :3])
    sizes = np.linalg.norm(steps, axis=0)
    return [round(float(sizes[np.argmax(steps[axis] / sizes)]), 4) for axis in range(3)]


def write_maps(
    out: Derivatives, subject: Run | str, maps: Mapping[str, NDArray], grid: Grid, about: Mapping[str, Any], **entities: str
) -> list[Path]:
    """Write the maps of one contrast and the sidecar that all of them share."""
    written = []
    for stat in STATS:
        path = out.path(subject, "statmap", stat=stat, **entities)
        out.write_image(path, np.nan_to_num(maps[stat], nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32), grid.affine)
        written.append(path)
    sidecar = out.path(subject, "statmap", ".json", **entities)
    out.write_json(sidecar, about)
    return [*written, sidecar]


def _of(carried: Carried) -> dict[str, NDArray[np.float32]]:
    return {"effect": carried.effect, "variance": carried.variance, "t": carried.t, "z": carried.z}


@dataclass(frozen=True)
class _Map:
    """One contrast of one run in one space, as it lies on disk."""

    effect: Path
    variance: Path
    sidecar: Path


def combine_runs(out: Derivatives, runs: Sequence[Run]) -> tuple[Path, ...]:
    """Combine a person's runs of one task by fixed effects, in every template space and contrast that two or more of them have.

    Parameters
    ----------
    out : Derivatives
        Where the runs' maps lie and the person's are written, under the same names without `run`.
    runs : sequence of Run
        Those that were processed.

    Returns
    -------
    tuple of Path
        What was written.
    """
    written: list[Path] = []
    for prefix, of_task in by_task(out, runs).items():
        remove_combined(out, prefix, "statmap")
        if len(of_task) < 2:
            continue
        for space in (MNI, PAM50):
            found: dict[str, list[_Map]] = {}
            for run in of_task:
                for contrast, one in _maps_of(out, run, space).items():
                    found.setdefault(contrast, []).append(one)
            for contrast, maps in sorted(found.items()):
                if len(maps) > 1:
                    written += _combined(out, prefix, space, contrast, maps)
    return tuple(written)


def _maps_of(out: Derivatives, run: Run, space: str) -> dict[str, _Map]:
    """A run's contrasts in a space."""
    found = {}
    pattern = out.path(run, "statmap", ".json", space=space, contrast="c").name.replace("contrast-c_", "contrast-*_")
    for sidecar in sorted(out.path(run, "statmap").parent.glob(pattern)):
        name = parse_name(sidecar.name)
        if name is not None:
            contrast = name.entities["contrast"]
            effect, variance = (
                out.path(run, "statmap", space=space, contrast=contrast, stat=stat) for stat in ("effect", "variance")
            )
            found[contrast] = _Map(effect, variance, sidecar)
    return found


def _combined(out: Derivatives, prefix: str, space: str, contrast: str, maps: Sequence[_Map]) -> list[Path]:
    images = [nib.Nifti1Image.from_filename(one.effect) for one in maps]
    sidecars = [read_json(one.sidecar) for one in maps]
    effects = np.stack([np.asarray(image.dataobj, dtype=np.float32) for image in images])
    variances = np.stack([np.asarray(nib.Nifti1Image.from_filename(one.variance).dataobj, dtype=np.float32) for one in maps])
    everywhere = np.all(variances > 0, axis=0)
    dofs = [float(sidecar["DegreesOfFreedom"]) for sidecar in sidecars]
    shape = images[0].shape
    result = {stat: np.zeros(shape, np.float32) for stat in STATS}
    both = fixed_effects(list(effects[:, everywhere]), list(variances[:, everywhere]), dofs)
    for stat, value in zip(STATS, (both.effect, both.variance, both.t, both.z), strict=True):
        result[stat][everywhere] = value
    about = {
        **{key: value for key, value in sidecars[0].items() if key not in ("Sources", "Notes", "DegreesOfFreedom")},
        "Description": f"Fixed effects over {len(maps)} runs, where all have an estimate; degrees of freedom are their median",
        "DegreesOfFreedom": round(float(np.median(both.dof)), 1),
        "Sources": [out.uri(one.effect) for one in maps],
    }
    grid = Grid(shape, np.asarray(images[0].affine))  # type: ignore[arg-type]
    return write_maps(out, prefix, result, grid, about, space=space, contrast=contrast)
